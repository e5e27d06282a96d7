//! A model as a table.

use std::fmt;

use tilewise_kernels::Float;

use super::Sequential;
use crate::layers::Buffer;

/// One layer in a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SummaryRow {
    /// Such as `layer 2 batch_norm`, as errors have it.
    pub name: String,
    /// What goes in: 0 for the features, i + 1 for what comes out of row i. What is added to the output
    /// in a residual block comes second.
    pub reads: Vec<usize>,
    /// Number of columns that come out.
    pub outputs: usize,
    /// Number of trained values.
    pub parameters: usize,
    /// Number of values that are saved but not trained.
    pub buffers: usize,
}

/// What a model is made of; prints as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Number of features.
    pub inputs: usize,
    /// First to last. A ReLU that runs inside the layer before it has no row of its own.
    pub rows: Vec<SummaryRow>,
}

impl<T: Float> Sequential<T> {
    /// The layers with what comes out of them and what they hold.
    pub fn summary(&self) -> Summary {
        let mut widths = vec![self.inputs];
        let mut rows = Vec::with_capacity(self.layers.len());
        for ((layer, name), wire) in self.layers.iter().zip(&self.names).zip(&self.wires) {
            // Checked when the model was built.
            let width = widths[wire.from];
            let width = layer.output_width(width).unwrap_or(width);
            widths.push(width);
            let buffers = layer.buffers();
            let buffers = buffers.iter().map(|(_, buffer)| match buffer {
                Buffer::Values(values) => values.len(),
                Buffer::Count(_) => 1,
            });
            rows.push(SummaryRow {
                name: name.clone(),
                reads: std::iter::once(wire.from).chain(wire.plus).collect(),
                outputs: width,
                parameters: layer.parameters().iter().map(|p| p.value.len()).sum(),
                buffers: buffers.sum(),
            });
        }
        Summary { inputs: self.inputs, rows }
    }
}

impl Summary {
    /// Number of trained values.
    pub fn parameters(&self) -> usize {
        self.rows.iter().map(|row| row.parameters).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = "layer";
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(title.len());
        writeln!(f, "{title:width$}  {:>9}  {:>12}", "outputs", "parameters")?;
        writeln!(f, "{:width$}  {:>9}  {:>12}", "input", self.inputs, 0)?;
        for row in &self.rows {
            writeln!(f, "{:width$}  {:>9}  {:>12}", row.name, row.outputs, row.parameters)?;
        }
        let buffers: usize = self.rows.iter().map(|row| row.buffers).sum();
        write!(f, "{} trained values, {buffers} others", self.parameters())
    }
}
