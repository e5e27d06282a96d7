//! A batch with everything that the passes need, run by the kernels or by their naive twins.

use tilewise_kernels::{
    Affine, BatchNormBackward, BatchNormDims, BatchNormForward, BatchNormGrads, BatchStats, Exec,
    Float, naive,
};

/// Values in [-1, 1), the same for the same seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub(crate) fn take<T: Float>(&mut self, n: usize, scale: f64, offset: f64) -> Vec<T> {
        (0..n).map(|_| T::from_f64(self.next() * scale + offset)).collect()
    }
}

pub(crate) struct Case<T> {
    pub(crate) dims: BatchNormDims,
    pub(crate) x: Vec<T>,
    pub(crate) dy: Vec<T>,
    pub(crate) gamma: Vec<T>,
    pub(crate) beta: Vec<T>,
    pub(crate) epsilon: T,
}

impl<T: Float> Case<T> {
    pub(crate) fn new(dims: BatchNormDims, offset: f64, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let (len, c) = (dims.len().unwrap(), dims.channels);
        // Uniform in [-0.17, 0.17): a standard deviation of 0.1.
        let x = numbers.take(len, 0.173, offset);
        let dy = numbers.take(len, 1.0, 0.2);
        let (gamma, beta) = (numbers.take(c, 1.0, 1.5), numbers.take(c, 1.0, 0.0));
        Self { dims, x, dy, gamma, beta, epsilon: T::from_f64(1e-5) }
    }

    pub(crate) fn affine(&self) -> Affine<'_, T> {
        Affine { gamma: &self.gamma, beta: &self.beta }
    }

    pub(crate) fn forward(&self, relu: bool, exec: Exec) -> (Vec<T>, BatchStats<T>) {
        let mut y = vec![T::NAN; self.x.len()];
        let mut stats = BatchStats::new(self.dims.channels);
        let op = BatchNormForward::new(&self.x, self.dims, self.affine(), self.epsilon).unwrap();
        op.relu(relu).run(&mut y, &mut stats, exec).unwrap();
        (y, stats)
    }

    pub(crate) fn naive_forward(&self) -> (Vec<T>, BatchStats<T>) {
        let mut y = vec![T::NAN; self.x.len()];
        let mut stats = BatchStats::new(self.dims.channels);
        let affine = self.affine();
        naive::batch_norm_forward(&self.x, self.dims, affine, self.epsilon, &mut y, &mut stats);
        (y, stats)
    }

    pub(crate) fn backward(
        &self,
        dy: &[T],
        stats: &BatchStats<T>,
        relu: bool,
        exec: Exec,
    ) -> [Vec<T>; 3] {
        let mut grads = self.room();
        let op = BatchNormBackward::new(&self.x, self.dims, self.affine(), stats).unwrap();
        op.relu(relu).run(dy, borrow(&mut grads), exec).unwrap();
        grads
    }

    pub(crate) fn naive_backward(&self, dy: &[T], stats: &BatchStats<T>) -> [Vec<T>; 3] {
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

    pub(crate) fn room(&self) -> [Vec<T>; 3] {
        [self.x.len(), self.dims.channels, self.dims.channels].map(|len| vec![T::NAN; len])
    }
}

pub(crate) fn borrow<T>([dx, dgamma, dbeta]: &mut [Vec<T>; 3]) -> BatchNormGrads<'_, T> {
    BatchNormGrads { dx, dgamma, dbeta }
}

pub(crate) fn close<T: Float>(what: &str, fast: &[T], naive: &[T], tolerance: f64) {
    assert_eq!(fast.len(), naive.len());
    for (i, (fast, naive)) in fast.iter().zip(naive).enumerate() {
        let (fast, naive) = (fast.to_f64(), naive.to_f64());
        let fine = (fast - naive).abs() <= tolerance || (fast.is_nan() && naive.is_nan());
        assert!(fine, "{what}[{i}]: {fast:e}, expected {naive:e} within {tolerance:e}");
    }
}

pub(crate) fn rectified<T: Float>(y: &[T]) -> Vec<T> {
    y.iter().map(|&y| if y < T::ZERO { T::ZERO } else { y }).collect()
}
