//! The vector vocabulary: what an instruction set can do, in the words every kernel is written in.
//!
//! A value of a type that implements [`Simd`] is the proof that this CPU has the instruction set:
//! its fields are private and only run-time detection makes one. A [`Kernel`] is one body that runs
//! on any of them; [`Simd::call`] enters it in a function compiled for that instruction set.
//! Everything between `call` and an intrinsic is `#[inline(always)]`, or vectors would travel
//! through memory.

mod draws;
mod float;
mod half;
pub(crate) mod math;
mod opaque;
mod portable;
mod stream;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

pub use self::half::Half;
pub use draws::Draws;
pub use float::Float;
pub(crate) use opaque::{opaque, opaque_distance};
pub use portable::Portable;
pub use stream::Streaming;
pub(crate) use stream::{AlignedPart, LINE, before_line};

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;

/// Lanes of the widest vectors.
pub(crate) const MOST_LANES: usize = 16;

/// A body that runs on any instruction set, generic over the vector type.
pub trait Kernel<T: Float> {
    /// What the body returns.
    type Output;

    /// The body. Mark it `#[inline(always)]`.
    fn run<S: Simd<T>>(self, simd: S) -> Self::Output;
}

/// Vectors of `T` on one instruction set. The value itself proves that the CPU has it.
///
/// Loads and stores take slices and check them; the pointer forms are for the rooms that pack and
/// multiply matrices. Lane `i` always holds element `i`; operations on partial vectors run the same
/// instructions as on whole ones, so that an element's result does not depend on where it stands.
pub trait Simd<T: Float>: Copy + Send + Sync + 'static {
    /// A vector.
    type V: Copy + Send + Sync;
    /// The result of a comparison, one truth value per lane.
    type M: Copy;
    /// How many lanes a partial load or store touches, in the form the instructions want.
    type Tail: Copy + Send + Sync;

    /// Elements per vector.
    const LANES: usize;
    /// Architectural vector registers: what a register tile may use.
    const REGISTERS: usize;
    /// Whether [`mul_add`](Self::mul_add) rounds once.
    const FUSED: bool;
    /// The name of this path: `portable`, `avx2` or `avx512`.
    const NAME: &'static str;

    /// Runs `kernel` in a function compiled for this instruction set.
    fn call<K: Kernel<T>>(self, kernel: K) -> K::Output;

    /// All lanes `x`.
    fn splat(self, x: T) -> Self::V;
    /// The first `LANES` elements. Panics if there are fewer.
    fn load(self, src: &[T]) -> Self::V;
    /// Writes all lanes to the first `LANES` elements. Panics if there are fewer.
    fn store(self, v: Self::V, dst: &mut [T]);
    /// The same past the caches, where there is an instruction for it and `dst` is aligned to a
    /// vector: the line is not read first and pushes nothing out. For outputs that would not stay in
    /// the cache anyway; neighbouring vectors of a line should follow each other at once.
    #[inline(always)]
    fn stream(self, v: Self::V, dst: &mut [T], _leave: &Streaming) {
        self.store(v, dst);
    }
    /// The first `2 * LANES` halves as two vectors, exactly (in `f64`: by way of `f32`). Panics if
    /// there are fewer.
    #[inline(always)]
    fn load_halves<H: Half>(self, src: &[H]) -> [Self::V; 2] {
        let mut values = [T::ZERO; 2 * MOST_LANES];
        for (value, half) in values.iter_mut().zip(&src[..2 * Self::LANES]) {
            *value = T::from_f64(half.widen().into());
        }
        [self.load(&values), self.load(&values[Self::LANES..])]
    }
    /// Writes two vectors as `2 * LANES` halves, rounded (in `f64`: by way of `f32`). Panics if there
    /// is room for fewer.
    #[inline(always)]
    fn store_halves<H: Half>(self, v: [Self::V; 2], dst: &mut [H]) {
        let mut values = [T::ZERO; 2 * MOST_LANES];
        self.store(v[0], &mut values);
        self.store(v[1], &mut values[Self::LANES..]);
        for (value, half) in values.iter().zip(&mut dst[..2 * Self::LANES]) {
            *half = H::narrow(value.to_f64() as f32);
        }
    }
    /// The same past the caches; see [`stream`](Self::stream).
    #[inline(always)]
    fn stream_halves<H: Half>(self, v: [Self::V; 2], dst: &mut [H], _leave: &Streaming) {
        self.store_halves(v, dst);
    }
    /// The `2 * LANES` bf16 from `src` on, exactly but for the payloads of NaN: those at even places, and
    /// those at odd ones, which is how a vector of pairs comes apart with the least effort.
    ///
    /// # Safety
    /// They must be readable.
    #[inline(always)]
    unsafe fn load_pairs(self, src: *const ::half::bf16) -> [Self::V; 2] {
        let mut values = [[T::ZERO; MOST_LANES]; 2];
        for i in 0..2 * Self::LANES {
            // SAFETY: as promised by the caller.
            values[i % 2][i / 2] = T::from_f64(unsafe { *src.add(i) }.widen().into());
        }
        [self.load(&values[0]), self.load(&values[1])]
    }
    /// The first `LANES` halves, exactly (in `f64`: by way of `f32`). Panics if there are fewer.
    #[inline(always)]
    fn load_half<H: Half>(self, src: &[H]) -> Self::V {
        let mut values = [T::ZERO; MOST_LANES];
        half::widen_all(&src[..Self::LANES], &mut values);
        self.load(&values)
    }
    /// Writes `LANES` halves, rounded (in `f64`: by way of `f32`). Panics if there is room for fewer.
    #[inline(always)]
    fn store_half<H: Half>(self, v: Self::V, dst: &mut [H]) {
        let mut values = [T::ZERO; MOST_LANES];
        self.store(v, &mut values);
        half::narrow_all(&values, &mut dst[..Self::LANES]);
    }
    /// The same past the caches; see [`stream`](Self::stream).
    #[inline(always)]
    fn stream_half<H: Half>(self, v: Self::V, dst: &mut [H], _leave: &Streaming) {
        self.store_half(v, dst);
    }
    /// The first `min(len, LANES)` halves, the other lanes zero.
    #[inline(always)]
    fn load_half_partial<H: Half>(self, src: &[H]) -> Self::V {
        let (mut copy, count) = ([H::default(); MOST_LANES], src.len().min(Self::LANES));
        copy[..count].copy_from_slice(&src[..count]);
        self.load_half(&copy)
    }
    /// Writes the first `min(len, LANES)` lanes as halves.
    #[inline(always)]
    fn store_half_partial<H: Half>(self, v: Self::V, dst: &mut [H]) {
        let (mut copy, count) = ([H::default(); MOST_LANES], dst.len().min(Self::LANES));
        self.store_half(v, &mut copy);
        dst[..count].copy_from_slice(&copy[..count]);
    }
    /// The first `min(len, LANES)` elements, the other lanes zero.
    fn load_partial(self, src: &[T]) -> Self::V;
    /// Writes the first `min(len, LANES)` lanes.
    fn store_partial(self, v: Self::V, dst: &mut [T]);

    /// The first `min(len, LANES)` elements, the other lanes `fill`.
    #[inline(always)]
    fn load_or(self, src: &[T], fill: T) -> Self::V {
        if src.len() >= Self::LANES {
            return self.load(src);
        }
        self.first_lanes(src.len(), self.load_partial(src), self.splat(fill))
    }

    /// Lane `i` of `v` where `i < count`, of `other` elsewhere.
    fn first_lanes(self, count: usize, v: Self::V, other: Self::V) -> Self::V;

    /// A partial access of `count <= LANES` lanes.
    fn tail(self, count: usize) -> Self::Tail;
    /// `LANES` elements from `src`, any alignment.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_ptr(self, src: *const T) -> Self::V;
    /// Writes `LANES` elements to `dst`, any alignment.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store_ptr(self, v: Self::V, dst: *mut T);
    /// The same past the caches, where there is an instruction for it; see [`stream`](Self::stream).
    ///
    /// # Safety
    /// They must be writable, and aligned to a vector.
    #[inline(always)]
    unsafe fn stream_ptr(self, v: Self::V, dst: *mut T, _leave: &Streaming) {
        // SAFETY: as promised by the caller.
        unsafe { self.store_ptr(v, dst) }
    }
    /// As many elements from `src` as `tail` says, the other lanes zero.
    ///
    /// # Safety
    /// They must be readable; nothing beyond them is touched.
    unsafe fn load_tail(self, src: *const T, tail: Self::Tail) -> Self::V;
    /// Writes as many lanes to `dst` as `tail` says.
    ///
    /// # Safety
    /// They must be writable; nothing beyond them is touched.
    unsafe fn store_tail(self, v: Self::V, dst: *mut T, tail: Self::Tail);

    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where [`FUSED`](Self::FUSED).
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, rounded once where [`FUSED`](Self::FUSED).
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The square root, correctly rounded.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// The larger one; `b` where either is NaN or they are equal.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one; `b` where either is NaN or they are equal.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The absolute value; clears the sign bit.
    fn abs(self, a: Self::V) -> Self::V;
    /// The magnitude of `a` with the sign bit of `sign`.
    fn copy_sign(self, a: Self::V, sign: Self::V) -> Self::V;
    /// The nearest integer, ties to even. Needs |a| below 2^(mantissa bits - 2).
    fn round(self, a: Self::V) -> Self::V;

    /// `a < b`; false where either is NaN.
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a <= b`; false where either is NaN.
    fn le(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a == b`; false where either is NaN.
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// Where `a` is NaN.
    fn is_nan(self, a: Self::V) -> Self::M;
    /// Where the mask holds `a`, elsewhere `b`.
    fn select(self, mask: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// Whether the mask holds anywhere.
    fn any(self, mask: Self::M) -> bool;

    /// 2 to the power `n`, for integral `n` in the range of normal numbers.
    fn pow2(self, n: Self::V) -> Self::V;
    /// floor(log2(a)) for positive, finite, normal `a`.
    fn exponent(self, a: Self::V) -> Self::V;
    /// `a / 2^exponent(a)`, in [1, 2), for positive, finite, normal `a`.
    fn mantissa(self, a: Self::V) -> Self::V;

    /// `a * 2^n` for integral `n` of at most twice the normal range; one rounding when the result
    /// is subnormal and `a` is not.
    #[inline(always)]
    fn scale_pow2(self, a: Self::V, n: Self::V) -> Self::V {
        let half = self.round(self.mul(n, self.splat(T::HALF)));
        let rest = self.sub(n, half);
        self.mul(self.mul(a, self.pow2(half)), self.pow2(rest))
    }

    /// The same where `2^n` and the result are normal.
    #[inline(always)]
    fn scale_normal(self, a: Self::V, n: Self::V) -> Self::V {
        self.mul(a, self.pow2(n))
    }

    /// Where the draws at `position`, `position + 1` and so on, lane by lane, are below `limit`.
    #[inline(always)]
    fn drawn_below(self, draws: Draws, position: u32, limit: u32) -> Self::M {
        let mut below = [T::ZERO; MOST_LANES];
        for (lane, below) in below[..Self::LANES].iter_mut().enumerate() {
            if draws.at(position.wrapping_add(lane as u32)) < limit {
                *below = T::ONE;
            }
        }
        self.lt(self.zero(), self.load(&below))
    }

    /// Turns a square of `LANES` vectors: lane `j` of vector `i` becomes lane `i` of vector `j`.
    /// Panics if there are not exactly `LANES`.
    fn transpose(self, square: &mut [Self::V]);

    /// Lane `i` is the sum of the lanes of vector `i`, in an order of their own. Panics if there
    /// are not exactly `LANES` vectors; leaves anything in them.
    #[inline(always)]
    fn sum_each(self, square: &mut [Self::V]) -> Self::V {
        self.transpose(square);
        let mut count = Self::LANES;
        while count > 1 {
            count /= 2;
            for i in 0..count {
                square[i] = self.add(square[2 * i], square[2 * i + 1]);
            }
        }
        square[0]
    }

    /// The sum of the lanes, halves added to halves.
    fn sum_lanes(self, a: Self::V) -> T;
    /// The largest lane; unspecified where a lane is NaN.
    fn max_lanes(self, a: Self::V) -> T;

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(T::ZERO)
    }

    /// `-a`; flips the sign bit.
    #[inline(always)]
    fn neg(self, a: Self::V) -> Self::V {
        self.sub(self.splat(T::NEG_ZERO), a)
    }

    /// The larger one; NaN where either is NaN.
    #[inline(always)]
    fn max_nan(self, a: Self::V, b: Self::V) -> Self::V {
        self.select(self.is_nan(a), a, self.max(a, b))
    }

    /// Asks for the cache line at `src` ahead of its use. Never faults, any address will do.
    #[inline(always)]
    fn prefetch(self, _src: *const T) {}
}
