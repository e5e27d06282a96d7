//! Elementwise loops over operands that are stretched to a common shape, and the sums that undo the
//! stretching.

use tilewise_kernels::simd::{Kernel, Simd};
use tilewise_kernels::{ColumnSums, Exec, Float, MatRef, Result, RowSums, Sum};

use super::elementwise::{Binary, Each, Same, Times, line, update_line};
use super::op::View;
use super::shape::{MAX_RANK, Shape};

/// A walk over the elements of a shape in order, with the places of `N` operands: an outer part that
/// counts, and runs along which each operand moves by one or not at all.
struct Walk<const N: usize> {
    /// Outer extents and the operands' strides, innermost last.
    outer: [(usize, [usize; N]); MAX_RANK],
    rank: usize,
    /// Length of a run, and the operands' strides along it, 0 or 1.
    run: usize,
    steps: [usize; N],
}

impl<const N: usize> Walk<N> {
    fn new(shape: &Shape, operands: [&Shape; N]) -> Self {
        let strides = operands.map(|operand| operand.strides_in(shape));
        let mut axes = [(1, [0; N]); MAX_RANK];
        let mut rank = 0;
        for (axis, &extent) in shape.dims().iter().enumerate().filter(|(_, d)| **d != 1) {
            let here: [usize; N] = std::array::from_fn(|k| strides[k][axis]);
            // Two axes are one where every operand walks them as one.
            if rank > 0 {
                let (before, outer): (usize, [usize; N]) = axes[rank - 1];
                if (0..N).all(|k| outer[k] == here[k] * extent) {
                    axes[rank - 1] = (before * extent, here);
                    continue;
                }
            }
            axes[rank] = (extent, here);
            rank += 1;
        }
        // A scalar is a run of one.
        let (run, steps) = if rank == 0 { (1, [1; N]) } else { axes[rank - 1] };
        Self { outer: axes, rank: rank.saturating_sub(1), run, steps }
    }

    /// The first element of each run, and the operands' places there.
    fn runs(&self) -> Places<'_, N> {
        let runs: usize = self.outer[..self.rank].iter().map(|(extent, _)| extent).product();
        let left = if self.run == 0 { 0 } else { runs };
        Places { walk: self, left, first: 0, index: [0; MAX_RANK], places: [0; N] }
    }
}

/// The runs of a walk that are left.
struct Places<'a, const N: usize> {
    walk: &'a Walk<N>,
    left: usize,
    first: usize,
    index: [usize; MAX_RANK],
    places: [usize; N],
}

impl<const N: usize> Iterator for Places<'_, N> {
    type Item = (usize, [usize; N]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let here = (self.first, self.places);
        self.first += self.walk.run;
        for axis in (0..self.walk.rank).rev() {
            let (extent, strides) = self.walk.outer[axis];
            self.index[axis] += 1;
            for (place, stride) in self.places.iter_mut().zip(strides) {
                *place += stride;
            }
            if self.index[axis] < extent {
                break;
            }
            self.index[axis] = 0;
            for (place, stride) in self.places.iter_mut().zip(strides) {
                *place -= stride * extent;
            }
        }
        Some(here)
    }
}

/// Writes `f(a, b)` to `y` of `shape`.
pub(super) fn zip<T: Float>(
    f: impl Binary<T>,
    [a, b]: [View<'_, T>; 2],
    (y, shape): (&mut [T], &Shape),
    exec: Exec,
) -> Result<()> {
    let walk = Walk::new(shape, [&a.shape, &b.shape]);
    exec.path()?.run(Zip { f, walk, a: a.data, b: b.data, y });
    Ok(())
}

struct Zip<'a, T, F> {
    f: F,
    walk: Walk<2>,
    a: &'a [T],
    b: &'a [T],
    y: &'a mut [T],
}

impl<T: Float, F: Binary<T>> Kernel<T> for Zip<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { f, walk, a, b, y } = self;
        for (first, [i, j]) in walk.runs() {
            let y = &mut y[first..][..walk.run];
            match walk.steps {
                [0, 0] => line(simd, f, (Same(a[i]), Same(b[j])), y),
                [0, _] => line(simd, f, (Same(a[i]), Each(&b[j..][..y.len()])), y),
                [_, 0] => line(simd, f, (Each(&a[i..][..y.len()]), Same(b[j])), y),
                _ => line(simd, f, (Each(&a[i..][..y.len()]), Each(&b[j..][..y.len()])), y),
            }
        }
    }
}

/// Replaces `y` of `shape` by `f(y, b)`.
pub(super) fn update<T: Float>(
    f: impl Binary<T>,
    (y, shape): (&mut [T], &Shape),
    b: View<'_, T>,
    exec: Exec,
) -> Result<()> {
    let walk = Walk::new(shape, [&b.shape]);
    exec.path()?.run(Update { f, walk, y, b: b.data });
    Ok(())
}

struct Update<'a, T, F> {
    f: F,
    walk: Walk<1>,
    y: &'a mut [T],
    b: &'a [T],
}

impl<T: Float, F: Binary<T>> Kernel<T> for Update<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { f, walk, y, b } = self;
        for (first, [j]) in walk.runs() {
            let y = &mut y[first..][..walk.run];
            match walk.steps {
                [0] => update_line(simd, f, y, Same(b[j])),
                _ => {
                    let b = Each(&b[j..][..y.len()]);
                    update_line(simd, f, y, b);
                }
            }
        }
    }
}

/// Multiplies all of `y` by a number.
pub(super) fn times<T: Float>(y: &mut [T], factor: T, exec: Exec) -> Result<()> {
    if factor == T::ONE {
        return Ok(());
    }
    let (shape, factor) = (Shape::line(y.len()), [factor]);
    let factor = View { data: &factor, labels: &[], shape: Shape::SCALAR };
    update(Times, (y, &shape), factor, exec)
}

/// Which axes are summed.
pub(super) type Axes = [bool; MAX_RANK];

/// The axes of `of` along which `to` was stretched to it.
pub(super) fn stretched(of: &Shape, to: &Shape) -> Axes {
    std::array::from_fn(|axis| {
        axis < of.rank() && of.dims()[axis] != 1 && to.aligned(axis, of.rank()) == 1
    })
}

/// Room for partial sums; keeps its memory.
#[derive(Debug, Default)]
pub(super) struct SumSpace<T>([Vec<T>; 2]);

/// Sums `x` of `shape` over `axes` into `out`.
pub(super) fn sum_axes<T: Float>(
    (x, shape): (&[T], &Shape),
    axes: &Axes,
    out: &mut [T],
    SumSpace([space, other]): &mut SumSpace<T>,
    exec: Exec,
) -> Result<()> {
    let mut runs = Runs::new(shape, axes);
    let Some(dims) = runs.take_last() else {
        out.copy_from_slice(x);
        return Ok(());
    };
    if runs.summed() == 0 {
        return sum_middle(x, dims, out, exec);
    }
    space.resize(dims[0] * dims[2], T::ZERO);
    sum_middle(x, dims, space, exec)?;
    let (mut from, mut to) = (space, other);
    while let Some(dims) = runs.take_last() {
        if runs.summed() == 0 {
            return sum_middle(from, dims, out, exec);
        }
        to.resize(dims[0] * dims[2], T::ZERO);
        sum_middle(from, dims, to, exec)?;
        std::mem::swap(&mut from, &mut to);
    }
    Ok(())
}

/// Neighbouring axes that are summed or kept together.
struct Runs {
    extents: [(usize, bool); MAX_RANK],
    len: usize,
}

impl Runs {
    fn new(shape: &Shape, axes: &Axes) -> Self {
        let mut runs = Self { extents: [(1, false); MAX_RANK], len: 0 };
        for (&extent, &summed) in shape.dims().iter().zip(axes) {
            runs.push(extent, summed);
        }
        runs
    }

    fn push(&mut self, extent: usize, summed: bool) {
        match self.extents[..self.len].last_mut() {
            Some((last, kind)) if *kind == summed => *last *= extent,
            _ => {
                self.extents[self.len] = (extent, summed);
                self.len += 1;
            }
        }
    }

    fn summed(&self) -> usize {
        self.extents[..self.len].iter().filter(|(_, summed)| *summed).count()
    }

    /// Takes the last summed run out: what is before it, its extent, what is behind it.
    fn take_last(&mut self) -> Option<[usize; 3]> {
        let at = self.extents[..self.len].iter().rposition(|(_, summed)| *summed)?;
        let product = |runs: &[(usize, bool)]| runs.iter().map(|(extent, _)| extent).product();
        let dims = [
            product(&self.extents[..at]),
            self.extents[at].0,
            product(&self.extents[at + 1..self.len]),
        ];
        let (behind, len) = (self.extents, self.len);
        self.len = at;
        behind[at + 1..len].iter().for_each(|&(extent, summed)| self.push(extent, summed));
        Some(dims)
    }
}

/// Sums the middle one of three axes.
fn sum_middle<T: Float>(
    x: &[T],
    [outer, middle, inner]: [usize; 3],
    out: &mut [T],
    exec: Exec,
) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    if outer == 1 && inner == 1 {
        out[0] = Sum::new(x)?.run(exec)?;
        return Ok(());
    }
    if inner == 1 {
        return RowSums::new(MatRef::new(x, outer, middle)?, out)?.run(exec);
    }
    for (o, out) in out.chunks_exact_mut(inner).enumerate() {
        let x = MatRef::new(&x[o * middle * inner..], middle, inner)?;
        ColumnSums::new(x, out)?.run(exec)?;
    }
    Ok(())
}
