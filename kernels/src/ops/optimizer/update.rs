//! The body of all steps: a rule applied along the parameters of one tensor.

use super::Rule;
use super::options::{Noise, Prepared};
use super::state::{State, load, store};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, LINE, Simd};

/// Neighbouring elements of one tensor; all slices have one length.
pub(super) struct Update<'a, T, R, const N: usize, M> {
    pub(super) rule: R,
    pub(super) options: Prepared<T>,
    /// Where they are in the tensor, and its random numbers.
    pub(super) at: u64,
    pub(super) noise: Option<Noise>,
    pub(super) params: &'a mut [T],
    pub(super) grads: &'a [T],
    pub(super) state: [&'a mut [M]; N],
}

impl<T, R, const N: usize, M> Split for Update<'_, T, R, N, M>
where
    T: Float,
    R: Rule<T, N>,
    M: State<T>,
{
    fn units(&self) -> usize {
        self.params.len()
    }

    fn split(mut self, mid: usize) -> (Self, Self) {
        let (params, params_rest) = self.params.split_at_mut(mid);
        let (grads, grads_rest) = self.grads.split_at(mid);
        let state = self.state.each_mut().map(|state| {
            let (head, rest) = std::mem::take(state).split_at_mut(mid);
            *state = head;
            rest
        });
        let at = self.at + mid as u64;
        let rest = Self { at, params: params_rest, grads: grads_rest, state, ..self };
        (Self { params, grads, ..self }, rest)
    }
}

impl<T, R, const N: usize, M> Kernel<T> for Update<'_, T, R, N, M>
where
    T: Float,
    R: Rule<T, N>,
    M: State<T>,
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let (width, len) = (2 * S::LANES, self.params.len());
        let mut from = 0;
        // The last step may be shorter; the compiler knows the others' length.
        while len - from >= width {
            self.step(simd, from, from + width);
            from += width;
        }
        if from < len {
            self.step(simd, from, len);
        }
    }
}

impl<T, R, const N: usize, M> Update<'_, T, R, N, M>
where
    T: Float,
    R: Rule<T, N>,
    M: State<T>,
{
    /// At most two vectors of elements. Loops and no closures: those might not be inlined, and vectors
    /// would travel through memory.
    #[inline(always)]
    fn step<S: Simd<T>>(&mut self, simd: S, from: usize, to: usize) {
        ask_ahead(simd, self.params, from);
        ask_ahead(simd, self.grads, from);
        for slot in 0..N {
            ask_ahead(simd, self.state[slot], from);
        }
        let (mut low, mut high) = ([simd.zero(); N], [simd.zero(); N]);
        for slot in 0..N {
            [low[slot], high[slot]] = M::load(simd, &self.state[slot][from..to]);
        }
        let [w_low, w_high] = load(simd, &self.params[from..to]);
        let [g_low, g_high] = load(simd, &self.grads[from..to]);
        let g_low = self.options.gradient(simd, g_low);
        let g_high = self.options.gradient(simd, g_high);
        let w_low = self.rule.update(simd, w_low, g_low, &mut low);
        let w_high = self.rule.update(simd, w_high, g_high, &mut high);
        store(simd, [w_low, w_high], &mut self.params[from..to]);
        for slot in 0..N {
            let (values, state) = ([low[slot], high[slot]], &mut self.state[slot][from..to]);
            if let Some(noise) = self.noise {
                let bits = noise.bits(self.at + from as u64, slot, 2 * S::LANES);
                M::store(simd, values, state, Some(&bits));
            } else {
                M::store(simd, values, state, None);
            }
        }
    }
}

/// How far ahead of its use memory is asked for, in bytes: without, it waits while a root and a quotient
/// are computed, and they wait for it.
const AHEAD: usize = 1024;

/// Asks for what a step that lies [`AHEAD`] of the one at `from` will want of `data`, if it is there.
#[inline(always)]
fn ask_ahead<T: Float, S: Simd<T>, X>(simd: S, data: &[X], from: usize) {
    let start = data.as_ptr().wrapping_add(from).cast::<T>();
    for line in (0..2 * S::LANES * size_of::<X>()).step_by(LINE) {
        simd.prefetch(start.wrapping_byte_add(AHEAD + line));
    }
}
