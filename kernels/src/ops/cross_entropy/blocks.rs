//! The products of linear cross-entropy: a block of rows, tile by tile.

use super::Plan;
use super::linear::{LinearCrossEntropy, LinearCrossEntropyGrads};
use super::tiles::{Fold, Gradient, Rescaled, States};
use crate::error::Result;
use crate::exec::Exec;
use crate::gemm::Gemm;
use crate::ops::rows::row_grain;
use crate::simd::Float;
use crate::view::{MatMut, MatRef};

/// Rows of the hidden matrix.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) first: usize,
    pub(super) count: usize,
}

/// The tiles of the logits.
pub(super) struct Tiles<'a, 'b, T> {
    pub(super) op: &'b LinearCrossEntropy<'a, T>,
    pub(super) plan: &'b Plan<'a, T>,
    pub(super) width: usize,
    pub(super) exec: Exec,
}

impl<'a, T: Float> Tiles<'a, '_, T> {
    /// First class and width of each.
    fn each(&self) -> impl DoubleEndedIterator<Item = [usize; 2]> + use<T> {
        let (classes, width) = (self.op.weights.cols(), self.width);
        (0..classes.div_ceil(width)).map(move |i| [i * width, width.min(classes - i * width)])
    }

    fn hidden(&self, block: Block) -> Result<MatRef<'a, T>> {
        let hidden = &self.op.hidden;
        part(
            hidden.data(),
            [block.count, hidden.cols()],
            [hidden.row_stride(), hidden.col_stride()],
            [block.first, 0],
        )
    }

    fn weights(&self, [class, width]: [usize; 2]) -> Result<MatRef<'a, T>> {
        let weights = &self.op.weights;
        let strides = [weights.row_stride(), weights.col_stride()];
        part(weights.data(), [weights.rows(), width], strides, [0, class])
    }

    /// Computes the logits of a tile.
    fn logits(&self, block: Block, tile: [usize; 2], to: &mut [T]) -> Result<()> {
        let [class, width] = tile;
        let mut product = Gemm::new(self.hidden(block)?, self.weights(tile)?)?;
        if let Some(bias) = self.op.bias {
            product = product.bias(&bias[class..class + width]);
        }
        product.run(MatMut::new(to, block.count, width)?, self.exec)
    }

    /// Brings the logits of all tiles into `states`; those of the last tile stay in `logits`.
    pub(super) fn fold(
        &self,
        block: Block,
        states: &mut States<'_, T>,
        logits: &mut [T],
    ) -> Result<()> {
        let isa = self.exec.path()?;
        let labels = &self.op.labels[block.first..block.first + block.count];
        states.reset();
        let mut seen = T::ZERO;
        for [class, width] in self.each() {
            self.logits(block, [class, width], logits)?;
            let rules = self.plan.rules.of_classes(class, width);
            let z = MatRef::new(logits, block.count, width)?;
            let work = Fold { rules: &rules, z, labels, class, seen, states: states.reborrow() };
            self.exec.threads().divide(work, row_grain(width), &|piece| isa.run(piece));
            seen += rules.floor_total;
        }
        Ok(())
    }

    /// The sum of the losses of a block's rows; `states` become what their gradients need.
    pub(super) fn finish(
        &self,
        block: Block,
        states: &mut States<'_, T>,
        losses: Option<&mut [T]>,
    ) -> Result<f64> {
        let scale = self.plan.reduction.scale(self.plan.weight);
        let labels = &self.op.labels[block.first..block.first + block.count];
        let rules = &self.plan.rules;
        let work = Rescaled { rules, labels, scale, states: states.reborrow(), losses };
        Ok(self.exec.path()?.run(work))
    }

    /// Adds what a block of rows has to the gradients.
    pub(super) fn gradients(
        &self,
        block: Block,
        states: &mut States<'_, T>,
        logits: &mut [T],
        grads: &mut LinearCrossEntropyGrads<'_, T>,
    ) -> Result<()> {
        let isa = self.exec.path()?;
        let scale = self.plan.reduction.scale(self.plan.weight);
        let labels = &self.op.labels[block.first..block.first + block.count];
        let last = self.each().next_back();
        for tile in self.each().rev() {
            let [class, width] = tile;
            let is_last = Some(tile) == last;
            if !is_last {
                self.logits(block, tile, logits)?;
            }
            let rules = self.plan.rules.of_classes(class, width);
            let z = MatMut::new(logits, block.count, width)?;
            let states = states.reborrow();
            let work = Gradient { rules: &rules, z, labels, class, scale, states };
            self.exec.threads().divide(work, row_grain(width), &|piece| isa.run(piece));
            let dlogits = MatRef::new(logits, block.count, width)?;
            self.products(block, tile, dlogits, grads, is_last)?;
        }
        Ok(())
    }

    /// Adds the products of a tile's gradient to those of hidden matrix, weights and bias; the first
    /// ones are written.
    fn products(
        &self,
        block: Block,
        tile: [usize; 2],
        dlogits: MatRef<'_, T>,
        grads: &mut LinearCrossEntropyGrads<'_, T>,
        first_tile: bool,
    ) -> Result<()> {
        let keep = |first: bool| if first { T::ZERO } else { T::ONE };
        let first_block = block.first == 0;
        let LinearCrossEntropyGrads { dhidden, dweights, dbias } = grads;
        let rows = part_mut(dhidden, [block.count, self.op.hidden.cols()], [block.first, 0])?;
        let by_hidden = Gemm::new(dlogits, self.weights(tile)?.t())?;
        by_hidden.beta(keep(first_tile)).run(rows, self.exec)?;
        let [class, width] = tile;
        let columns = part_mut(dweights, [self.op.weights.rows(), width], [0, class])?;
        let by_weights = Gemm::new(self.hidden(block)?.t(), dlogits)?;
        by_weights.beta(keep(first_block)).run(columns, self.exec)?;
        if let Some(dbias) = dbias {
            let dbias = &mut dbias[class..class + width];
            if first_block {
                dbias.fill(T::ZERO);
            }
            for row in 0..block.count {
                dbias.iter_mut().zip(dlogits.row(row)).for_each(|(sum, &d)| *sum += d);
            }
        }
        Ok(())
    }
}

/// The rows and columns of a matrix from `first` on.
fn part<T>(
    data: &[T],
    shape: [usize; 2],
    strides: [usize; 2],
    first: [usize; 2],
) -> Result<MatRef<'_, T>> {
    let at = (first[0] * strides[0] + first[1] * strides[1]).min(data.len());
    MatRef::with_strides(&data[at..], shape, strides)
}

/// The same, to be written.
fn part_mut<'a, T>(
    matrix: &'a mut MatMut<'_, T>,
    shape: [usize; 2],
    first: [usize; 2],
) -> Result<MatMut<'a, T>> {
    let strides = [matrix.row_stride(), matrix.col_stride()];
    let data = matrix.data_mut();
    let at = (first[0] * strides[0] + first[1] * strides[1]).min(data.len());
    MatMut::with_strides(&mut data[at..], shape, strides)
}
