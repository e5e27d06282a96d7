//! Writing past the caches gives the bits of plain stores, wherever the output starts.

use super::Affine;
use super::gradient::{Gradient, GradientRows, gradient_run};
use super::normalise::{BatchLines, Channel, Lines, NormaliseRows, normalise_run};
use crate::dispatch::available;
use crate::ops::reduce::columns::{Columns, Group, sweep};
use crate::simd::{Float, Kernel, Simd, Streaming};

fn numbers<T: Float>(count: usize, mut state: u64) -> Vec<T> {
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 0.9
    };
    (0..count).map(|_| T::from_f64(next())).collect()
}

/// Normalises `data` as rows of channels and as runs of its middle channel; the same of gradients.
struct Passes<'a, T> {
    gradient: Gradient<'a, T>,
    channels: usize,
    data: [&'a [T]; 2],
    outputs: [&'a mut [T]; 4],
    streams: bool,
}

impl<T: Float> Kernel<T> for Passes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { gradient, channels, data: [x, dy], outputs, streams } = self;
        let [y_rows, y_run, dx_rows, dx_run] = outputs;
        let (lines, channel) = (gradient.lines, Channel(channels / 2));
        let leave = streams.then(Streaming::new);
        let leave = leave.as_ref();
        NormaliseRows { channels, lines, leave }.run::<T, S, true>(simd, x, y_rows);
        GradientRows { channels, gradient, leave }.run::<S, true>(simd, [x, dy], dx_rows);
        let (line, slope) = (lines.line(simd, channel), gradient.slope(simd, channel));
        normalise_run::<T, S, true>(simd, line, x, y_run, leave);
        gradient_run::<T, S, true>(simd, &slope, [x, dy], dx_run, leave);
    }
}

fn same_bits_streamed<T: Float>() {
    for (channels, rows) in [(16, 1), (16, 300), (64, 7), (80, 70), (1008, 18), (7, 40), (17, 9)] {
        let len = channels * rows;
        let (x, dy) = (numbers::<T>(len, 1), numbers::<T>(len, 2));
        let values: [Vec<T>; 6] = std::array::from_fn(|k| numbers(channels, 3 + k as u64));
        let [mean, mean_low, inv_std, dgamma, dbeta, gamma] = values.each_ref();
        let affine = Affine { gamma, beta: dbeta };
        let lines = BatchLines { mean, mean_low, inv_std, affine };
        let gradient = Gradient { lines, dgamma, dbeta, count: rows };
        for &isa in available().unwrap() {
            let pass = |start: usize, streams: bool| {
                let mut rooms = [(); 4].map(|()| vec![T::NAN; len + start]);
                let outputs = rooms.each_mut().map(|room| &mut room[start..]);
                isa.run(Passes { gradient, channels, data: [&x, &dy], outputs, streams });
                rooms.map(|room| room[start..].to_vec())
            };
            let plain = pass(0, false);
            for start in [0, 1, 3, 4, 8, 13] {
                assert_eq!(pass(start, true), plain, "{} {isa} {channels} from {start}", T::NAME);
            }
        }
    }
}

#[test]
fn same_bits_streamed_f32() {
    same_bits_streamed::<f32>();
}

#[test]
fn same_bits_streamed_f64() {
    same_bits_streamed::<f64>();
}

/// Loads the groups of a row that starts anew after its last element.
struct Turn<'a, T> {
    row: &'a [T],
    turn: usize,
    out: &'a mut [T],
}

impl<T: Float> Columns<T> for Turn<'_, T> {
    #[inline(always)]
    fn group<S: Simd<T>, const V: usize, const WHOLE: bool>(
        &mut self,
        simd: S,
        group: Group<V, WHOLE>,
    ) {
        group.store(simd, group.load_turned(simd, self.row, self.turn), self.out);
    }
}

impl<T: Float> Kernel<T> for Turn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        sweep(simd, self.row.len(), &mut self);
    }
}

#[test]
fn turned_rows_start_in_their_midst() {
    for len in [1, 5, 16, 31, 64, 100, 130] {
        let row = numbers::<f32>(len, 1);
        for turn in (0..len).step_by(3) {
            for &isa in available().unwrap() {
                let mut out = vec![0.0; len];
                isa.run(Turn { row: &row, turn, out: &mut out });
                let want: Vec<f32> = (0..len).map(|i| row[(i + turn) % len]).collect();
                assert_eq!(out, want, "{isa} {len} from {turn}");
            }
        }
    }
}
