//! Writing past the caches gives the bits of plain stores, wherever the output starts.

use half::{bf16, f16};

use super::Affine;
use super::ending::Added;
use super::gradient::Gradient;
use super::normalise::{BatchLines, Channel, Lines, NormaliseRows, normalise_run};
use super::outputs::Outputs;
use super::slope::{GradientRows, gradient_run};
use crate::dispatch::available;
use crate::ops::reduce::columns::{Columns, Group, sweep};
use crate::ops::storage::Storage;
use crate::simd::{Float, Kernel, Simd, Streaming};

fn numbers<T: Float>(count: usize, mut state: u64) -> Vec<T> {
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 0.9
    };
    (0..count).map(|_| T::from_f64(next())).collect()
}

/// Normalises `data` as rows of channels and as runs of its middle channel; the same of gradients.
struct Passes<'a, T, E> {
    gradient: Gradient<'a, T>,
    channels: usize,
    /// `x`, `dy` and a residual.
    data: [&'a [E]; 3],
    outputs: [&'a mut [E]; 6],
    streams: bool,
}

impl<T: Float, E: Storage<T>> Kernel<T> for Passes<'_, T, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { gradient, channels, data, outputs, streams } = self;
        let [y_rows, y_run, dx_rows, dx_run, dr_rows, dr_run] = outputs;
        let [x, _, r] = data;
        let (lines, channel) = (gradient.lines, Channel(channels / 2));
        let leave = streams.then(Streaming::new);
        let leave = leave.as_ref();
        let rows = NormaliseRows { channels, lines, leave };
        rows.run::<T, S, E, Added>(simd, [x, r], y_rows);
        let to = Outputs { dx: dx_rows, dr: Some(dr_rows) };
        GradientRows { channels, gradient, leave }.run::<S, E, Added>(simd, data, to);
        let (line, slope) = (lines.line(simd, channel), gradient.slope(simd, channel));
        normalise_run::<T, S, E, Added>(simd, line, [x, r], y_run, leave);
        let to = Outputs { dx: dx_run, dr: Some(dr_run) };
        gradient_run::<T, S, E, Added>(simd, &slope, data, to, leave);
    }
}

fn same_bits_streamed<T: Float, E: Storage<T> + PartialEq + std::fmt::Debug>() {
    for (channels, rows) in [(16, 1), (16, 300), (64, 7), (80, 70), (1008, 18), (7, 40), (17, 9)] {
        let len = channels * rows;
        let data = [1, 2, 9].map(|seed| numbers::<T>(len, seed));
        let data = data.map(|data| data.into_iter().map(E::narrow).collect::<Vec<E>>());
        let [x, dy, r] = data.each_ref().map(Vec::as_slice);
        let values: [Vec<T>; 6] = std::array::from_fn(|k| numbers(channels, 3 + k as u64));
        let [mean, mean_low, inv_std, dgamma, dbeta, gamma] = values.each_ref();
        let affine = Affine { gamma, beta: dbeta };
        let lines = BatchLines { mean, mean_low, inv_std, affine, floor: T::ZERO };
        let gradient = Gradient { lines, dgamma, dbeta, count: rows };
        for &isa in available().unwrap() {
            let pass = |start: usize, streams: bool| {
                let mut rooms = [(); 6].map(|()| vec![E::narrow(T::NAN); len + start]);
                let outputs = rooms.each_mut().map(|room| &mut room[start..]);
                isa.run(Passes { gradient, channels, data: [x, dy, r], outputs, streams });
                rooms.map(|room| room[start..].to_vec())
            };
            let plain = pass(0, false);
            for start in [0, 1, 3, 4, 8, 13] {
                assert_eq!(pass(start, true), plain, "{} {isa} {channels} from {start}", E::STORED);
            }
        }
    }
}

#[test]
fn same_bits_streamed_f32() {
    same_bits_streamed::<f32, f32>();
}

#[test]
fn same_bits_streamed_f64() {
    same_bits_streamed::<f64, f64>();
}

#[test]
fn same_bits_streamed_halves() {
    same_bits_streamed::<f32, bf16>();
    same_bits_streamed::<f32, f16>();
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
