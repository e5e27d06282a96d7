//! Batch normalisation: worked examples, laws, and its naive twin on every path.

use tilewise_kernels::{
    Affine, BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads, BatchStats, Exec,
    Float, available, naive,
};

/// Values in [-1, 1), the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn take<T: Float>(&mut self, n: usize, scale: f64, offset: f64) -> Vec<T> {
        (0..n).map(|_| T::from_f64(self.next() * scale + offset)).collect()
    }
}

struct Case<T> {
    dims: BatchNormDims,
    x: Vec<T>,
    dy: Vec<T>,
    gamma: Vec<T>,
    beta: Vec<T>,
    epsilon: T,
}

impl<T: Float> Case<T> {
    fn new(dims: BatchNormDims, offset: f64, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let (len, c) = (dims.len().unwrap(), dims.channels);
        // Uniform in [-0.17, 0.17): a standard deviation of 0.1.
        let x = numbers.take(len, 0.173, offset);
        let dy = numbers.take(len, 1.0, 0.2);
        let (gamma, beta) = (numbers.take(c, 1.0, 1.5), numbers.take(c, 1.0, 0.0));
        Self { dims, x, dy, gamma, beta, epsilon: T::from_f64(1e-5) }
    }

    fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: &self.gamma, beta: &self.beta }
    }

    fn forward(&self, relu: bool, exec: Exec) -> (Vec<T>, BatchStats<T>) {
        let mut y = vec![T::NAN; self.x.len()];
        let mut stats = BatchStats::new(self.dims.channels);
        let op = BatchNormForward::new(&self.x, self.dims, self.affine(), self.epsilon).unwrap();
        op.relu(relu).run(&mut y, &mut stats, exec).unwrap();
        (y, stats)
    }

    fn naive_forward(&self) -> (Vec<T>, BatchStats<T>) {
        let mut y = vec![T::NAN; self.x.len()];
        let mut stats = BatchStats::new(self.dims.channels);
        let affine = self.affine();
        naive::batch_norm_forward(&self.x, self.dims, affine, self.epsilon, &mut y, &mut stats);
        (y, stats)
    }

    fn backward(&self, dy: &[T], stats: &BatchStats<T>, relu: bool, exec: Exec) -> [Vec<T>; 3] {
        let mut grads = self.room();
        let op = BatchNormBackward::new(&self.x, self.dims, self.affine(), stats).unwrap();
        op.relu(relu).run(dy, borrow(&mut grads), exec).unwrap();
        grads
    }

    fn naive_backward(&self, dy: &[T], stats: &BatchStats<T>) -> [Vec<T>; 3] {
        let mut grads = self.room();
        naive::batch_norm_backward(
            &self.x,
            self.dims,
            self.affine(),
            stats,
            dy,
            borrow(&mut grads),
        );
        grads
    }

    fn room(&self) -> [Vec<T>; 3] {
        [self.x.len(), self.dims.channels, self.dims.channels].map(|len| vec![T::NAN; len])
    }
}

fn borrow<T>([dx, dgamma, dbeta]: &mut [Vec<T>; 3]) -> BatchNormGrads<'_, T> {
    BatchNormGrads { dx, dgamma, dbeta }
}

fn close<T: Float>(what: &str, fast: &[T], naive: &[T], tolerance: f64) {
    assert_eq!(fast.len(), naive.len());
    for (i, (fast, naive)) in fast.iter().zip(naive).enumerate() {
        let (fast, naive) = (fast.to_f64(), naive.to_f64());
        let fine = (fast - naive).abs() <= tolerance || (fast.is_nan() && naive.is_nan());
        assert!(fine, "{what}[{i}]: {fast:e}, expected {naive:e} within {tolerance:e}");
    }
}

fn rectified<T: Float>(y: &[T]) -> Vec<T> {
    y.iter().map(|&y| if y < T::ZERO { T::ZERO } else { y }).collect()
}

/// Row counts around the block of 128 and the chunk of 4096, widths around vectors and strips,
/// planes around vectors, blocks and cache lines.
fn shapes() -> Vec<BatchNormDims> {
    let mut shapes = Vec::new();
    for n in [2, 3, 7, 8, 9, 127, 128, 129, 300] {
        for c in [1, 2, 15, 16, 17, 63, 64, 65, 130] {
            shapes.push(BatchNormDims::rows(n, c));
        }
    }
    shapes.extend([BatchNormDims::rows(4096, 3), BatchNormDims::rows(4097, 33)]);
    shapes.extend([BatchNormDims::rows(9001, 5), BatchNormDims::rows(9001, 1)]);
    for (n, c, h, w) in [(2, 3, 1, 2), (3, 5, 3, 3), (1, 2, 7, 7), (5, 3, 16, 16), (40, 2, 7, 9)] {
        shapes.push(BatchNormDims::nchw(n, c, h, w).unwrap());
    }
    shapes.push(BatchNormDims::nchw(2, 3, 64, 64).unwrap());
    shapes.push(BatchNormDims::nchw(2, 3, 67, 71).unwrap());
    shapes.push(BatchNormDims::nhwc(2, 5, 5, 19).unwrap());
    shapes
}

fn agrees_with_naive<T: Float>(offset: f64) {
    for (seed, dims) in shapes().into_iter().enumerate() {
        let case = Case::<T>::new(dims, offset, seed as u64);
        let (y, stats) = case.naive_forward();
        let grads = case.naive_backward(&case.dy, &stats);
        let masked: Vec<T> = (case.dy.iter().zip(&y))
            .map(|(&dy, &y)| if y <= T::ZERO { T::ZERO } else { dy })
            .collect();
        let relu_grads = case.naive_backward(&masked, &stats);
        let count = (dims.outer * dims.inner) as f64;
        for &isa in available().unwrap() {
            let exec = Exec::default().isa(isa);
            let what = format!("{} {} {dims:?}", T::NAME, isa);
            // Sums of 64 products per chain, a cancellation of 9 at most, and a few roundings of
            // outputs that lie within 2 * (sqrt(3) * 2.5 + 1).
            let bound = T::EPSILON.to_f64() * 1e3;
            let (fast_y, fast_stats) = case.forward(false, exec);
            close(&format!("{what} y"), &fast_y, &y, bound);
            close(
                &format!("{what} mean"),
                &fast_stats.mean,
                &stats.mean,
                1e-2 * bound * (1.0 + offset.abs()),
            );
            close(&format!("{what} var"), &fast_stats.var, &stats.var, 1e-2 * bound);
            let (fast_relu, _) = case.forward(true, exec);
            close(&format!("{what} relu"), &fast_relu, &rectified(&y), bound);
            // Gradients grow with gamma / std, here below 25 and, for very few values, 1000.
            let steep = bound * if count < 10.0 { 1e3 } else { 30.0 };
            let fast = case.backward(&case.dy, &stats, false, exec);
            let fast_masked = case.backward(&case.dy, &stats, true, exec);
            for (k, name) in ["dx", "dgamma", "dbeta"].iter().enumerate() {
                let bound = if k == 0 { steep } else { bound * count.sqrt() };
                close(&format!("{what} {name}"), &fast[k], &grads[k], bound);
                close(&format!("{what} relu {name}"), &fast_masked[k], &relu_grads[k], bound);
            }
        }
    }
}

#[test]
fn f32_agrees_with_naive() {
    agrees_with_naive::<f32>(0.0);
}

#[test]
fn f64_agrees_with_naive() {
    agrees_with_naive::<f64>(0.0);
}
