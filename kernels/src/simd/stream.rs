//! Writing past the caches.

use std::marker::PhantomData;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Leave to write with [`Simd::stream`](super::Simd::stream). Streaming stores may become visible to
/// other threads later than whatever is stored after them, a lock's release included. Dropping this
/// value orders them: make one where a kernel's body begins, drop it where the body ends, on the same
/// thread (the value cannot leave it), and everything is as with plain stores.
#[derive(Debug)]
pub struct Streaming(PhantomData<*const ()>);

impl Streaming {
    /// Leave to stream until this is dropped.
    #[inline(always)]
    #[expect(clippy::new_without_default, reason = "what its drop does should be seen in the code")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl Drop for Streaming {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every CPU with 64-bit mode has the instruction.
        unsafe {
            std::arch::x86_64::_mm_sfence();
        }
    }
}

/// Elements of `data` before the first boundary of cache lines, at most all.
#[inline(always)]
pub(crate) fn before_line<T>(data: &[T]) -> usize {
    data.as_ptr().align_offset(LINE).min(data.len())
}

/// Where whole cache lines lie in a slice.
pub(crate) struct AlignedPart {
    /// Elements before the first.
    pub(crate) before: usize,
    /// Elements of them all.
    pub(crate) inside: usize,
}

impl AlignedPart {
    #[inline(always)]
    pub(crate) fn of<T>(data: &[T]) -> Self {
        let (before, line) = (before_line(data), LINE / size_of::<T>());
        Self { before, inside: (data.len() - before) / line * line }
    }

    /// Cuts a slice before and behind the lines.
    #[inline(always)]
    pub(crate) fn cut<'a, T>(&self, data: &'a [T]) -> [&'a [T]; 3] {
        let (head, rest) = data.split_at(self.before);
        let (lines, tail) = rest.split_at(self.inside);
        [head, lines, tail]
    }

    /// The same of a slice that is written.
    #[inline(always)]
    pub(crate) fn cut_mut<'a, T>(&self, data: &'a mut [T]) -> [&'a mut [T]; 3] {
        let (head, rest) = data.split_at_mut(self.before);
        let (lines, tail) = rest.split_at_mut(self.inside);
        [head, lines, tail]
    }
}
