//! Pooling, forward and backward.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Exec, Isa, Pool, Pooling, naive};

use super::im2col::Frame;
use crate::compare::same_bits;
use crate::data::{Rng, Values};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// One image.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Its shape; the window's elements are neighbours.
    #[arbitrary(with = |u: &mut Unstructured<'_>| Frame::draw(u, 1))]
    pub frame: Frame,
    /// Whether the mean is taken, not the largest.
    pub mean: bool,
    /// The kind of the image's values.
    pub x: Values,
    /// The kind of the gradients.
    pub dy: Values,
    /// Whether x has few different values, so that there are equals.
    pub coarse: bool,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let Frame { dims, window } = case.frame;
    let kind = if case.mean { Pooling::Mean } else { Pooling::Max };
    let pool = Pool::new(kind, dims, window);
    if dims.height == 0 || dims.width == 0 {
        return pool.map_or(Ok(()), |pool| Err(format!("no pixels, and yet {pool:?}")));
    }
    let pool = pool.map_err(unexpected)?;
    let pooled = dims.channels * pool.positions()[0] * pool.positions()[1];
    let mut x: Vec<T> = case.x.fill(case.frame.len(), &mut Rng::new(case.seed, 0));
    if case.coarse {
        x.iter_mut().for_each(|x| *x = T::from_f64((x.to_f64() * 2.0).round()));
    }
    let dy: Vec<T> = case.dy.fill(pooled, &mut Rng::new(case.seed, 1));
    let got = one_result(isa, case.shift, |exec, shift| run(&pool, [&x, &dy], exec, shift))?;
    let (y, dx) = got.split_at(pooled);
    let (mut want, mut want_dx) = (vec![0.0; pooled], vec![0.0; x.len()]);
    naive::pool(kind, &widen(&x), dims, window, &mut want);
    naive::pool_backward(kind, [&widen(&x), &widen(&dy)], dims, window, &mut want_dx);
    if kind == Pooling::Max {
        let mut want = vec![T::ZERO; pooled];
        naive::pool(kind, &x, dims, window, &mut want);
        same_bits("y", y, &want)?;
    }
    // What every window holds, and where each gradient goes, by the twin on indices.
    let [inside, targets] = terms(case, &x, pooled);
    for (i, window) in inside.iter().enumerate() {
        let share = Tracked::exact(T::from_usize(window.len()));
        let mean = Tracked::sum(window.iter().map(|&at| Tracked::exact(x[at]))) / share;
        if case.mean {
            mean.expect("y", i, y[i], want[i])?;
        }
    }
    let mut sums = vec![Vec::new(); x.len()];
    for (i, targets) in targets.iter().enumerate() {
        for &at in targets {
            let share = Tracked::exact(T::from_usize(targets.len()));
            sums[at].push(Tracked::exact(dy[i]) / share);
        }
    }
    for (i, terms) in sums.into_iter().enumerate() {
        Tracked::sum(terms).expect("dx", i, dx[i], want_dx[i])?;
    }
    Ok(())
}

/// For every window, its elements and those that its gradient goes to.
fn terms<T: Real>(case: &Case, x: &[T], pooled: usize) -> [Vec<Vec<usize>>; 2] {
    let Frame { dims, window } = case.frame;
    let goes = |kind, i: usize| {
        let (mut dy, mut dx) = (vec![0.0; pooled], vec![0.0; x.len()]);
        dy[i] = 1.0;
        naive::pool_backward(kind, [&widen(x), &dy], dims, window, &mut dx);
        (0..x.len()).filter(|&at| dx[at] != 0.0).collect::<Vec<_>>()
    };
    let kind = if case.mean { Pooling::Mean } else { Pooling::Max };
    [Pooling::Mean, kind].map(|kind| (0..pooled).map(|i| goes(kind, i)).collect())
}

fn run<T: Real>(
    pool: &Pool,
    [x, dy]: [&[T]; 2],
    exec: Exec,
    shift: usize,
) -> Result<Vec<T>, String> {
    let (x, dy) = (Field::vector(shift, x), Field::vector(shift / 3, dy));
    let mut y = Field::output_vector(shift / 2, dy.slice().len());
    let mut dx = Field::output_vector(shift, x.slice().len());
    pool.forward(x.slice(), y.slice_mut(), exec).map_err(unexpected)?;
    pool.backward(x.slice(), dy.slice(), dx.slice_mut(), exec).map_err(unexpected)?;
    y.intact("y")?;
    dx.intact("dx")?;
    Ok([y.values(), dx.values()].concat())
}
