//! The body of all steps: a rule applied along the parameters of one tensor.

use super::Rule;
use super::options::{Noise, Prepared};
use super::state::{State, load, store};
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

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
        let width = 2 * S::LANES;
        let step = Step { rule: self.rule, options: self.options };
        let mut from = 0;
        // The last step may be shorter; the compiler knows the others' length.
        while self.params.len() - from >= width {
            let noise = self.noise.map(|noise| (noise, self.at + from as u64));
            let w = &mut self.params[from..from + width];
            let g = &self.grads[from..from + width];
            let state = self.state.each_mut().map(|state| &mut state[from..from + width]);
            step.run(simd, w, g, state, noise);
            from += width;
        }
        if from < self.params.len() {
            let noise = self.noise.map(|noise| (noise, self.at + from as u64));
            let state = self.state.each_mut().map(|state| &mut state[from..]);
            step.run(simd, &mut self.params[from..], &self.grads[from..], state, noise);
        }
    }
}

#[derive(Clone, Copy)]
struct Step<T, R> {
    rule: R,
    options: Prepared<T>,
}

impl<T: Float, R> Step<T, R> {
    /// At most two vectors of elements, with the random numbers and the position of the first if
    /// wanted.
    #[inline(always)]
    fn run<S, M, const N: usize>(
        self,
        simd: S,
        w: &mut [T],
        g: &[T],
        state: [&mut [M]; N],
        noise: Option<(Noise, u64)>,
    ) where
        S: Simd<T>,
        R: Rule<T, N>,
        M: State<T>,
    {
        let mut values = [[simd.zero(); N]; 2];
        for (slot, state) in state.iter().enumerate() {
            let [low, high] = M::load(simd, state);
            (values[0][slot], values[1][slot]) = (low, high);
        }
        let [low, high] = load(simd, g).map(|g| self.options.gradient(simd, g));
        let [w_low, w_high] = load(simd, w);
        let [v_low, v_high] = &mut values;
        let new = [
            self.rule.update(simd, w_low, low, v_low),
            self.rule.update(simd, w_high, high, v_high),
        ];
        store(simd, new, w);
        for (slot, state) in state.into_iter().enumerate() {
            let values = [values[0][slot], values[1][slot]];
            let bits = noise.map(|(noise, at)| noise.bits(at, slot, 2 * S::LANES));
            M::store(simd, values, state, bits.as_ref());
        }
    }
}
