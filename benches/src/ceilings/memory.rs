//! The bandwidth of the levels of memory.

use std::hint::black_box;
use std::ops::Range;

use tilewise_kernels::Isa;
use tilewise_kernels::simd::{Kernel, Simd, Streaming};

/// Vectors per turn of a loop, each with its own sum, so that nothing waits for additions.
const AT_ONCE: usize = 8;

struct Read<'a>(&'a [f32]);

impl Kernel<f32> for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) -> f32 {
        let mut sums = [simd.zero(); AT_ONCE];
        for block in self.0.chunks_exact(AT_ONCE * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = simd.add(*sum, simd.load(&block[i * S::LANES..]));
            }
        }
        let mut total = simd.zero();
        for sum in sums {
            total = simd.add(total, sum);
        }
        simd.sum_lanes(total)
    }
}

struct Copy<'a>(&'a [f32], &'a mut [f32]);

impl Kernel<f32> for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let width = AT_ONCE * S::LANES;
        for (from, to) in self.0.chunks_exact(width).zip(self.1.chunks_exact_mut(width)) {
            for i in 0..AT_ONCE {
                simd.store(simd.load(&from[i * S::LANES..]), &mut to[i * S::LANES..]);
            }
        }
    }
}

/// Adds to every value in place.
struct Update<'a>(&'a mut [f32]);

impl Kernel<f32> for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let one = simd.splat(1.0);
        for block in self.0.chunks_exact_mut(AT_ONCE * S::LANES) {
            for i in 0..AT_ONCE {
                let at = &mut block[i * S::LANES..];
                simd.store(simd.add(simd.load(at), one), at);
            }
        }
    }
}

/// Copies past the caches, or writes one value everywhere where there is nothing to copy.
struct Stream<'a>(Option<&'a [f32]>, &'a mut [f32]);

impl Kernel<f32> for Stream<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let leave = Streaming::new();
        let width = AT_ONCE * S::LANES;
        let Some(from) = self.0 else {
            let one = simd.splat(1.0);
            for to in self.1.chunks_exact_mut(width) {
                for i in 0..AT_ONCE {
                    simd.stream(one, &mut to[i * S::LANES..], &leave);
                }
            }
            return;
        };
        for (from, to) in from.chunks_exact(width).zip(self.1.chunks_exact_mut(width)) {
            for i in 0..AT_ONCE {
                simd.stream(simd.load(&from[i * S::LANES..]), &mut to[i * S::LANES..], &leave);
            }
        }
    }
}

/// Values per cache line of 64 bytes.
const LINE: usize = 16;

/// `len` values, and where among them a cache line begins.
fn aligned(len: usize) -> (Vec<f32>, usize) {
    let values = vec![1.0; len + LINE];
    // Offsets are in values; a failure to find one costs speed only.
    let start = values.as_ptr().align_offset(64);
    (values, start.min(LINE))
}

/// Values that one call moves of an array bigger than that: among many short calls some meet a quiet
/// machine. The window then moves on, so that nothing is in a cache when its turn comes again.
const WINDOW: usize = 4 << 20;

/// A place in an array that is walked by windows, round and round.
struct Walk {
    len: usize,
    at: usize,
}

impl Walk {
    fn next(&mut self) -> Range<usize> {
        let start = self.at;
        let end = (start + WINDOW).min(self.len);
        self.at = if end == self.len { 0 } else { end };
        start..end
    }
}

/// Repetitions that make a call some 100 microseconds long where the array is small.
fn repetitions(values: usize) -> usize {
    (1_000_000 / values.max(1)).max(1)
}

/// One call reads some of an array of `values`, and returns the bytes.
pub(super) fn reader(isa: Isa, values: usize) -> impl FnMut() -> f64 {
    let (data, start) = aligned(values);
    let times = repetitions(values);
    let mut walk = Walk { len: values, at: 0 };
    move || {
        let window = walk.next();
        let data = &data[start..][window];
        for _ in 0..times {
            black_box(isa.run(Read(black_box(data))));
        }
        (times * size_of_val(data)) as f64
    }
}

/// One call copies some of an array to another, `values` in both; returns the bytes read and written.
/// Copies in turn by our vectors and by the system, whose copy of a big array does not read what it
/// overwrites.
pub(super) fn copier(isa: Isa, values: usize) -> impl FnMut() -> f64 {
    // Both arrays together are as big as what a reader reads.
    let len = values / 2;
    let ((from, i), (mut to, j)) = (aligned(len), aligned(len));
    let times = repetitions(len);
    let mut walk = Walk { len, at: 0 };
    let mut turn = 0;
    move || {
        turn += 1;
        let window = walk.next();
        let bytes = window.len() * size_of::<f32>();
        for _ in 0..times {
            let from = black_box(&from[i..][window.clone()]);
            let to = &mut to[j..][window.clone()];
            if turn % 2 == 0 {
                isa.run(Copy(from, to));
            } else {
                to.copy_from_slice(from);
            }
        }
        black_box(&to);
        (2 * times * bytes) as f64
    }
}

/// One call reads and writes some of an array of `values` in place; returns the bytes of both.
pub(super) fn updater(isa: Isa, values: usize) -> impl FnMut() -> f64 {
    let (mut data, start) = aligned(values);
    let times = repetitions(values);
    let mut walk = Walk { len: values, at: 0 };
    move || {
        let window = walk.next();
        let bytes = window.len() * size_of::<f32>();
        for _ in 0..times {
            isa.run(Update(black_box(&mut data[start..][window.clone()])));
        }
        (2 * times * bytes) as f64
    }
}

/// The copier past the caches, for arrays that are in none.
pub(super) fn streaming_copier(isa: Isa, values: usize) -> impl FnMut() -> f64 {
    let len = values / 2;
    let ((from, i), (mut to, j)) = (aligned(len), aligned(len));
    let mut walk = Walk { len, at: 0 };
    move || {
        let window = walk.next();
        let bytes = 2 * window.len() * size_of::<f32>();
        isa.run(Stream(Some(&from[i..][window.clone()]), &mut to[j..][window]));
        black_box(&to);
        bytes as f64
    }
}

/// One call writes some of an array of `values` past the caches; returns the bytes.
pub(super) fn streaming_writer(isa: Isa, values: usize) -> impl FnMut() -> f64 {
    let (mut to, start) = aligned(values);
    let mut walk = Walk { len: values, at: 0 };
    move || {
        let window = walk.next();
        let bytes = window.len() * size_of::<f32>();
        isa.run(Stream(None, &mut to[start..][window]));
        black_box(&to);
        bytes as f64
    }
}
