//! One step for many tensors: their elements are divided among threads as if they were one.

use std::iter::once;

use super::{GRAIN, Rule, Update, check_lengths};
use crate::error::Result;
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// A tensor of parameters with what a step needs: its gradient and `N` vectors of state, all of one
/// length, which may be 0.
#[derive(Debug)]
pub struct StepTensor<'a, T, const N: usize> {
    /// The parameters, to be updated.
    pub params: &'a mut [T],
    /// Their gradients.
    pub grads: &'a [T],
    /// The state, to be updated, in the order of the step's `run`.
    pub state: [&'a mut [T]; N],
}

impl<T: Float, const N: usize> StepTensor<'_, T, N> {
    fn update<R: Rule<T, N>>(&mut self, rule: R) -> Update<'_, T, R, N> {
        let Self { params, grads, state } = self;
        Update { rule, params, grads, state: state.each_mut().map(|state| &mut **state) }
    }
}

/// Applies `rule` to all tensors of the step called `what`, whose state is called `names`.
pub(super) fn apply_many<T: Float, R: Rule<T, N>, const N: usize>(
    rule: R,
    what: &str,
    names: [&str; N],
    tensors: &mut [StepTensor<'_, T, N>],
    exec: Exec,
) -> Result<()> {
    for (i, tensor) in tensors.iter().enumerate() {
        let state: [_; N] = std::array::from_fn(|k| (names[k], &*tensor.state[k]));
        check_lengths(what, tensor.params, tensor.grads, &state)
            .map_err(|error| error.within(format!("tensor {i}")))?;
    }
    let isa = exec.path()?;
    let work = Updates { rule, head: none(rule), tensors, tail: none(rule) };
    exec.threads().divide(work, GRAIN, &|piece| isa.run(piece));
    Ok(())
}

/// No elements.
fn none<'a, T: Float, R: Rule<T, N>, const N: usize>(rule: R) -> Update<'a, T, R, N> {
    Update { rule, params: &mut [], grads: &[], state: [(); N].map(|()| &mut [][..]) }
}

/// Neighbouring tensors, and what was cut off those beside them.
struct Updates<'a, 't, T, R, const N: usize> {
    rule: R,
    /// The end of the tensor before.
    head: Update<'a, T, R, N>,
    tensors: &'a mut [StepTensor<'t, T, N>],
    /// The start of the tensor behind.
    tail: Update<'a, T, R, N>,
}

impl<T: Float, R: Rule<T, N>, const N: usize> Split for Updates<'_, '_, T, R, N> {
    fn units(&self) -> usize {
        let whole: usize = self.tensors.iter().map(|tensor| tensor.params.len()).sum();
        self.head.units() + whole + self.tail.units()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let Self { rule, head, tensors, tail } = self;
        if mid < head.units() {
            let (head, rest) = head.split(mid);
            let first = Self { rule, head, tensors: &mut [], tail: none(rule) };
            return (first, Self { rule, head: rest, tensors, tail });
        }
        let mut left = mid - head.units();
        let whole = tensors.iter().take_while(|tensor| {
            let fits = tensor.params.len() <= left;
            left -= if fits { tensor.params.len() } else { 0 };
            fits
        });
        let (whole, rest) = tensors.split_at_mut(whole.count());
        let Some((cut, behind)) = rest.split_first_mut() else {
            let (tail, rest) = tail.split(left);
            let last = Self { rule, head: rest, tensors: &mut [], tail: none(rule) };
            return (Self { rule, head, tensors: whole, tail }, last);
        };
        let (end, start) = cut.update(rule).split(left);
        let rest = Self { rule, head: start, tensors: behind, tail };
        (Self { rule, head, tensors: whole, tail: end }, rest)
    }
}

impl<T: Float, R: Rule<T, N>, const N: usize> Kernel<T> for Updates<'_, '_, T, R, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { rule, head, tensors, tail } = self;
        let whole = tensors.iter_mut().map(|tensor| tensor.update(rule));
        for update in once(head).chain(whole).chain(once(tail)) {
            update.run(simd);
        }
    }
}
