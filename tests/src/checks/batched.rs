//! Many matrix products in one call: each has the bits of the product alone, which is near the twin's.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Activation, Exec, Gemm, Isa, MatMut, MatRef, PackedA, PackedB, naive};

use super::activation::ALL;
use crate::compare::{Magnitude, expect, same_bits};
use crate::data::{Rng, Values, size};
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};

/// One batch.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Number of products.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(1..=9))]
    pub count: usize,
    /// Rows of A and C, columns of B and C, and what they are summed over.
    #[arbitrary(with = |u: &mut Unstructured<'_>| Ok([size(u, 33)?, size(u, 33)?, size(u, 40)?]))]
    pub shape: [usize; 3],
    /// Whether all products share A, or B.
    pub shared: [bool; 2],
    /// Whether A, or B, is stored as its transpose.
    pub transposed: [bool; 2],
    /// Unused elements between one matrix and the next, of A, B and C.
    #[arbitrary(with = |u: &mut Unstructured<'_>| Ok([gap(u)?, gap(u)?, gap(u)?]))]
    pub gaps: [usize; 3],
    /// Whether row `i` of every C comes before row `i + 1` of any, as the heads of attention lie.
    pub interleaved: bool,
    /// Whether a shared A, or B, is packed first.
    pub packed: [bool; 2],
    /// Whether the old C counts half, otherwise it holds NaN, which must not be read.
    pub adds: bool,
    /// Whether a bias is added.
    pub bias: bool,
    /// Whether one residual is added to every C.
    pub residual: bool,
    /// What is applied last.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&ALL).copied())]
    pub activation: Activation,
    /// Of the values.
    pub seed: u64,
}

fn gap(u: &mut Unstructured<'_>) -> arbitrary::Result<usize> {
    u.int_in_range(0..=5)
}

/// Matrices of one shape in one slice.
struct Batch<T> {
    data: Vec<T>,
    shape: [usize; 2],
    strides: [usize; 2],
    /// From one matrix to the next.
    step: usize,
}

impl<T: Real> Batch<T> {
    fn input(case: &Case, which: usize, shape: [usize; 2]) -> Self {
        let Case { count, shared, transposed, gaps, seed, .. } = *case;
        let step = if shared[which] { 0 } else { shape[0] * shape[1] + gaps[which] };
        let strides = if transposed[which] { [1, shape[0]] } else { [shape[1], 1] };
        let len = (count - 1) * step + shape[0] * shape[1];
        let mut data = vec![T::CANARY; len];
        let mut rng = Rng::new(seed, which as u64);
        for i in 0..count {
            let matrix = &mut data[i * step..][..shape[0] * shape[1]];
            matrix.fill_with(|| Values::Normal.draw(&mut rng));
        }
        Self { data, shape, strides, step }
    }

    /// C before the call, canaries around its elements.
    fn output(case: &Case) -> Self {
        let Case { count, shape: [m, n, _], interleaved, gaps, adds, seed, .. } = *case;
        let (step, row) = match interleaved {
            true => (n, count * n + gaps[2]),
            false => (m * n + gaps[2], n),
        };
        let empty = m == 0 || n == 0;
        let len = if empty { 0 } else { (count - 1) * step + (m - 1) * row + n };
        let mut batch = Self { data: vec![T::CANARY; len], shape: [m, n], strides: [row, 1], step };
        let mut rng = Rng::new(seed, 2);
        for at in batch.places(count) {
            batch.data[at] = if adds { Values::Normal.draw(&mut rng) } else { T::NAN };
        }
        batch
    }

    /// Where the elements of `count` matrices lie, matrix by matrix, row by row.
    fn places(&self, count: usize) -> Vec<usize> {
        let Self { shape: [rows, cols], strides, step, .. } = *self;
        let row = move |i: usize, r: usize| {
            (0..cols).map(move |j| i * step + r * strides[0] + j * strides[1])
        };
        (0..count).flat_map(|i| (0..rows).flat_map(move |r| row(i, r))).collect()
    }

    fn widened(&self) -> Batch<f64> {
        let Self { shape, strides, step, .. } = *self;
        Batch { data: widen(&self.data), shape, strides, step }
    }

    /// Matrix `i`; the slice goes on.
    fn view(&self, i: usize) -> Result<MatRef<'_, T>, String> {
        MatRef::with_strides(&self.data[i * self.step..], self.shape, self.strides)
            .map_err(unexpected)
    }
}

impl Case {
    /// Whether A (0) or B (1) is packed beforehand: one matrix, for all products.
    fn packs(&self, which: usize) -> bool {
        self.packed[which] && self.shared[which]
    }
}

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, and where.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let Case { count, shape: [m, n, k], .. } = *case;
    let (a, b) = (Batch::<T>::input(case, 0, [m, k]), Batch::<T>::input(case, 1, [k, n]));
    let after = After::new(case);
    let got = one_result(isa, 0, |exec, _| together(case, [&a, &b], &after, exec.isa(isa)))?;
    let before = Batch::<T>::output(case);
    let places = before.places(count);
    for i in 0..count {
        let own = &places[i * m * n..][..m * n];
        let mut c: Vec<T> = own.iter().map(|&at| before.data[at]).collect();
        // Packed operands always have their sums in the order that needs asking for here.
        let one = Gemm::new(a.view(i)?, b.view(i)?).map_err(unexpected)?;
        let one = one.batch_invariant([0, 1].into_iter().any(|which| case.packs(which)));
        let to = MatMut::new(&mut c, m, n).map_err(unexpected)?;
        after.configured(case, one)?.run(to, Exec::serial().isa(isa)).map_err(unexpected)?;
        same_bits(&format!("product {i}"), &got[i * m * n..][..m * n], &c)?;
    }
    // The twin has no more than the products.
    if case.bias || case.residual || case.activation != Activation::Identity {
        return Ok(());
    }
    near_the_twin(case, [&a, &b], &got)
}

/// What is done to every product.
struct After<T> {
    bias: Vec<T>,
    residual: Vec<T>,
}

impl<T: Real> After<T> {
    fn new(case: &Case) -> Self {
        let [m, n, _] = case.shape;
        let values = |count, stream| Values::Normal.fill(count, &mut Rng::new(case.seed, stream));
        Self { bias: values(n, 3), residual: values(m * n, 4) }
    }

    fn configured<'a>(&'a self, case: &Case, gemm: Gemm<'a, T>) -> Result<Gemm<'a, T>, String> {
        let [m, n, _] = case.shape;
        let beta = if case.adds { T::HALF } else { T::ZERO };
        let mut gemm = gemm.beta(beta).activation(case.activation);
        if case.bias {
            gemm = gemm.bias(&self.bias);
        }
        if case.residual {
            gemm = gemm.residual(MatRef::new(&self.residual, m, n).map_err(unexpected)?);
        }
        Ok(gemm)
    }
}

/// All products in one call, matrix by matrix.
fn together<T: Real>(
    case: &Case,
    [a, b]: [&Batch<T>; 2],
    after: &After<T>,
    exec: Exec,
) -> Result<Vec<T>, String> {
    let Case { count, shape: [m, n, _], .. } = *case;
    let isa = exec.path().map_err(unexpected)?;
    let panels_of_a = PackedA::for_isa(a.view(0)?, isa).map_err(unexpected)?;
    let panels_of_b = PackedB::for_isa(b.view(0)?, isa).map_err(unexpected)?;
    let one = match [0, 1].map(|which| case.packs(which)) {
        [false, false] => Gemm::new(a.view(0)?, b.view(0)?),
        [false, true] => Gemm::with_packed(a.view(0)?, &panels_of_b),
        [true, false] => Gemm::with_packed_lhs(&panels_of_a, b.view(0)?),
        [true, true] => Gemm::with_both_packed(&panels_of_a, &panels_of_b),
    };
    let mut c = Batch::<T>::output(case);
    let (places, strides) = (c.places(count), c.strides);
    let first = MatMut::with_strides(&mut c.data, [m, n], strides).map_err(unexpected)?;
    after
        .configured(case, one.map_err(unexpected)?)?
        .batched(count, [a.step, b.step])
        .and_then(|batch| batch.run(first, c.step, exec))
        .map_err(unexpected)?;
    let mut inside = vec![false; c.data.len()];
    places.iter().for_each(|&at| inside[at] = true);
    let canary = T::CANARY.bits();
    match (0..inside.len()).find(|&at| !inside[at] && c.data[at].bits() != canary) {
        Some(at) => Err(format!("wrote between the matrices, at {at}")),
        None => Ok(places.iter().map(|&at| c.data[at]).collect()),
    }
}

/// Checks all products against the twin in `f64`: k + 1 roundings of each term, one for the old C.
fn near_the_twin<T: Real>(case: &Case, [a, b]: [&Batch<T>; 2], got: &[T]) -> Result<(), String> {
    let Case { count, shape: [m, n, k], .. } = *case;
    let beta = if case.adds { 0.5 } else { 0.0 };
    let (a, b, mut c) = (a.widened(), b.widened(), Batch::<T>::output(case).widened());
    let places = c.places(count);
    let old: Vec<f64> = places.iter().map(|&at| c.data[at]).collect();
    let (step, strides) = (c.step, c.strides);
    let to = MatMut::with_strides(&mut c.data, [m, n], strides).map_err(unexpected)?;
    naive::batched_gemm(count, 1.0, (a.view(0)?, a.step), (b.view(0)?, b.step), beta, (to, step));
    for (at, &got) in got.iter().enumerate() {
        let [product, i, j] = [at / (m * n), at / n % m, at % n];
        let mut magnitude = Magnitude::default();
        let (a, b) = (a.view(product)?, b.view(product)?);
        (0..k).for_each(|p| magnitude.add(a.at(i, p) * b.at(p, j)));
        magnitude.add(if case.adds { beta * old[at] } else { 0.0 });
        let want = c.data[places[at]];
        expect("c", (product, i, j), got, want, magnitude.bound::<T>((k + 3) as f64))?;
    }
    Ok(())
}
