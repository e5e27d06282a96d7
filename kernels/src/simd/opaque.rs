//! Values that the compiler takes as they come.

/// The same address, of which the compiler forgets where it came from: left alone, it derives addresses
/// that lie regularly from each other, in more additions than it saves registers.
#[inline(always)]
#[cfg_attr(
    all(target_arch = "x86_64", not(miri)),
    expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "nothing is read: there is no instruction"
    )
)]
pub(crate) fn opaque<T>(address: *const T) -> *const T {
    // `std::hint::black_box` does the same by way of memory.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut same = address;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) same, options(pure, nomem, nostack, preserves_flags));
        }
        same
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    std::hint::black_box(address)
}

/// The same for a distance between addresses.
#[inline(always)]
pub(crate) fn opaque_distance(distance: usize) -> usize {
    opaque(std::ptr::without_provenance::<u8>(distance)).addr()
}
