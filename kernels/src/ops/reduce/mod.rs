//! Reductions: sums, means, variances, maxima and norms of slices, columns and rows.
//!
//! Every result is the same for any number of threads. Values are summed in the element type over
//! blocks of fixed size, in a fixed tree of lanes; blocks are added in `f64`, in order. The error
//! of a sum is thus below about `100 EPSILON` times the sum of magnitudes, whatever the length.

mod along;
mod by_column;
mod by_row;
pub(crate) mod columns;
pub(crate) mod moments;
pub(crate) mod runs;
mod whole;

pub use by_column::{ColumnMeanVar, ColumnSums, column_mean_var, column_sums};
pub use by_row::{ArgmaxRows, RowSums, argmax_rows, row_sums};
pub use whole::{
    Argmax, L2Norm, Max, Mean, MeanVar, Sum, argmax, l2_norm, max, mean, mean_var, sum,
};

use crate::error::{Error, ErrorKind, Result};
use crate::view::MatRef;

/// Elements below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 15;

/// Checks that a matrix called `what` has contiguous rows.
fn check_rows<T>(what: &str, x: &MatRef<'_, T>) -> Result<()> {
    if x.has_contiguous_rows() {
        return Ok(());
    }
    let got = format!("column stride {}", x.col_stride());
    Err(Error::new(ErrorKind::Stride, what, "contiguous rows (column stride 1)", got))
}

/// The error for an operation that needs at least one value.
fn nothing(what: &str) -> Error {
    Error::shape(what, "at least 1 element", "none")
}
