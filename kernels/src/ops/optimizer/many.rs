//! One step for many tensors: their elements are divided among threads as if they were one.

use std::iter::once;

use super::options::Prepared;
use super::state::State;
use super::update::Update;
use super::{Rule, check_lengths};
use crate::error::Result;
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Parameters below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 14;

/// A tensor of parameters with what a step needs: its gradient and `N` vectors of state, of the
/// parameters' type or of [`bf16`](crate::bf16), all of one length, which may be 0.
#[derive(Debug)]
pub struct StepTensor<'a, T, const N: usize, M = T> {
    /// The parameters, to be updated.
    pub params: &'a mut [T],
    /// Their gradients.
    pub grads: &'a [T],
    /// The state, to be updated, in the order of the step's `run`.
    pub state: [&'a mut [M]; N],
}

/// Applies `rule` to all tensors of the step called `what`, whose state is called `names`.
pub(super) fn apply<T, R, M, const N: usize>(
    (rule, options): (R, Prepared<T>),
    what: &str,
    names: [&str; N],
    tensors: &mut [StepTensor<'_, T, N, M>],
    exec: Exec,
) -> Result<()>
where
    T: Float,
    R: Rule<T, N>,
    M: State<T>,
{
    let many = tensors.len() > 1;
    for (i, tensor) in tensors.iter().enumerate() {
        check_lengths(what, names, tensor)
            .map_err(|error| if many { error.within(format!("tensor {i}")) } else { error })?;
    }
    let isa = exec.path()?;
    let how = How { rule, options };
    let work = Updates { how, head: how.nothing(), first: 0, tensors, tail: how.nothing() };
    exec.threads().divide(work, GRAIN, &|piece| isa.run(piece));
    Ok(())
}

/// What is done to every tensor.
#[derive(Clone, Copy)]
struct How<T, R> {
    rule: R,
    options: Prepared<T>,
}

impl<T: Float, R: Copy> How<T, R> {
    /// The update of tensor `number`.
    fn update<'a, M, const N: usize>(
        self,
        number: usize,
        tensor: &'a mut StepTensor<'_, T, N, M>,
    ) -> Update<'a, T, R, N, M> {
        let Self { rule, options } = self;
        let StepTensor { params, grads, state } = tensor;
        let state = state.each_mut().map(|state| &mut **state);
        Update { rule, options, at: 0, noise: options.noise(number), params, grads, state }
    }

    /// No elements.
    fn nothing<'a, M, const N: usize>(self) -> Update<'a, T, R, N, M> {
        let Self { rule, options } = self;
        let state = [(); N].map(|()| &mut [][..]);
        Update { rule, options, at: 0, noise: None, params: &mut [], grads: &[], state }
    }
}

/// Neighbouring tensors, and what was cut off those beside them.
struct Updates<'a, 't, T, R, const N: usize, M> {
    how: How<T, R>,
    /// The end of the tensor before.
    head: Update<'a, T, R, N, M>,
    /// The number of the first whole tensor.
    first: usize,
    tensors: &'a mut [StepTensor<'t, T, N, M>],
    /// The start of the tensor behind.
    tail: Update<'a, T, R, N, M>,
}

impl<T, R, const N: usize, M> Split for Updates<'_, '_, T, R, N, M>
where
    T: Float,
    R: Rule<T, N>,
    M: State<T>,
{
    fn units(&self) -> usize {
        let whole: usize = self.tensors.iter().map(|tensor| tensor.params.len()).sum();
        self.head.units() + whole + self.tail.units()
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let Self { how, head, first, tensors, tail } = self;
        if mid < head.units() {
            let (head, rest) = head.split(mid);
            let start = Self { how, head, first, tensors: &mut [], tail: how.nothing() };
            return (start, Self { how, head: rest, first, tensors, tail });
        }
        let mut left = mid - head.units();
        let whole = tensors.iter().take_while(|tensor| {
            let fits = tensor.params.len() <= left;
            left -= if fits { tensor.params.len() } else { 0 };
            fits
        });
        let (whole, rest) = tensors.split_at_mut(whole.count());
        let number = first + whole.len();
        let Some((cut, behind)) = rest.split_first_mut() else {
            let (tail, rest) = tail.split(left);
            let nothing = how.nothing();
            let last = Self { how, head: rest, first: number, tensors: &mut [], tail: nothing };
            return (Self { how, head, first, tensors: whole, tail }, last);
        };
        let (end, start) = how.update(number, cut).split(left);
        let rest = Self { how, head: start, first: number + 1, tensors: behind, tail };
        (Self { how, head, first, tensors: whole, tail: end }, rest)
    }
}

impl<T, R, const N: usize, M> Kernel<T> for Updates<'_, '_, T, R, N, M>
where
    T: Float,
    R: Rule<T, N>,
    M: State<T>,
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { how, head, first, tensors, tail } = self;
        let numbered = tensors.iter_mut().enumerate();
        let whole = numbered.map(|(i, tensor)| how.update(first + i, tensor));
        for update in once(head).chain(whole).chain(once(tail)) {
            update.run(simd);
        }
    }
}
