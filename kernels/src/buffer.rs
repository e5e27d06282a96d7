//! Scratch memory for packing: 64-byte aligned and kept per thread, so that steady use allocates
//! nothing.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::simd::Float;

/// A cache line, and the width of the widest vector.
const ALIGNMENT: usize = 64;

/// Uninitialised, 64-byte aligned bytes.
struct Bytes {
    start: NonNull<u8>,
    len: usize,
}

impl Bytes {
    const fn empty() -> Self {
        Self { start: NonNull::dangling(), len: 0 }
    }

    fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: `grown` asks for more than the current length, so `len` is not zero.
        let raw = unsafe { alloc(layout) };
        Self { start: NonNull::new(raw).unwrap_or_else(|| handle_alloc_error(layout)), len }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, ALIGNMENT).expect("scratch smaller than the address space")
    }

    /// These bytes if they are enough, else newly allocated ones.
    fn grown(self, len: usize) -> Self {
        if len <= self.len { self } else { Self::new(len) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated in `new` with this very layout, and dropped once.
            unsafe { dealloc(self.start.as_ptr(), Self::layout(self.len)) }
        }
    }
}

/// Owned, 64-byte aligned room for elements, reached by address only.
pub(crate) struct AlignedVec<T> {
    bytes: Bytes,
    kind: PhantomData<T>,
}

// SAFETY: owns plain values, as `Vec<T>` does.
unsafe impl<T: Copy + Send> Send for AlignedVec<T> {}
// SAFETY: shared access only reads plain values.
unsafe impl<T: Copy + Sync> Sync for AlignedVec<T> {}

impl<T: Copy> AlignedVec<T> {
    /// Room for `len` elements, all bits zero; `None` where they do not fit the address space.
    pub(crate) fn zeroed(len: usize) -> Option<Self> {
        let size =
            len.checked_mul(size_of::<T>()).filter(|&size| size <= isize::MAX as usize / 2)?;
        let bytes = Bytes::empty().grown(size);
        // SAFETY: `size` bytes were just allocated.
        unsafe { bytes.start.as_ptr().write_bytes(0, size) };
        Some(Self { bytes, kind: PhantomData })
    }

    pub(crate) fn as_ptr(&self) -> *const T {
        self.bytes.start.as_ptr().cast_const().cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.bytes.start.as_ptr().cast()
    }
}

thread_local! {
    /// Taken while in use: a task that rayon runs meanwhile on this thread gets memory of its own.
    static KEPT: Cell<Option<Bytes>> = const { Cell::new(None) };
}

/// Calls `body` with the address of `len` elements of uninitialised, 64-byte aligned memory.
pub(crate) fn with_scratch<T: Float, R>(len: usize, body: impl FnOnce(*mut T) -> R) -> R {
    let size = len.checked_mul(size_of::<T>()).expect("scratch smaller than the address space");
    let bytes = KEPT.take().unwrap_or(Bytes::empty()).grown(size);
    let result = body(bytes.start.as_ptr().cast());
    KEPT.set(Some(bytes));
    result
}

/// Calls `body` with `len` zeros, 64-byte aligned.
pub(crate) fn with_zeros<T: Float, R>(len: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    if len == 0 {
        return body(&mut []);
    }
    with_scratch(len, |start: *mut T| {
        // SAFETY: `len` elements from `start` are ours for the call, aligned for any float, and all
        // zero bytes are a float's zero.
        body(unsafe {
            start.write_bytes(0, len);
            std::slice::from_raw_parts_mut(start, len)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_aligned_reused_and_nests() {
        let first = with_scratch::<f32, _>(100, |outer| {
            assert_eq!(outer.align_offset(ALIGNMENT), 0);
            with_scratch::<f64, _>(10, |inner| assert_ne!(outer.cast::<u8>(), inner.cast::<u8>()));
            outer as usize
        });
        let _ = first;
        let again = with_scratch::<f32, _>(10, |p| p as usize);
        assert_eq!(again, with_scratch::<f32, _>(10, |p| p as usize));
    }
}
