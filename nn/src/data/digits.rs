//! Real handwritten digits, embedded.

use tilewise_kernels::Float;

use super::Dataset;
use crate::error::Result;
use crate::matrix::Matrix;

const PIXELS: usize = 64;
const CLASSES: usize = 10;
/// The largest grey value.
const WHITE: f64 = 16.0;

/// 65 bytes per image: 8 x 8 grey values 0 ..= 16, row after row, then the digit.
static RECORDS: &[u8] = include_bytes!("../../data/digits.u8");

/// 1797 handwritten digits as 8 x 8 images, 64 features in [0, 1], with their ten classes.
///
/// From "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine
/// Learning Repository (1998): the part that 13 of the 43 writers gave, in its order.
///
/// # Errors
/// None in practice; the data is checked like any other.
pub fn digits<T: Float>() -> Result<Dataset<T>> {
    let mut pixels = Vec::with_capacity(RECORDS.len());
    let mut labels = Vec::with_capacity(RECORDS.len() / (PIXELS + 1));
    for record in RECORDS.as_chunks::<{ PIXELS + 1 }>().0 {
        let (label, image) = (record[PIXELS], &record[..PIXELS]);
        pixels.extend(image.iter().map(|&grey| T::from_f64(f64::from(grey) / WHITE)));
        labels.push(usize::from(label));
    }
    let features = Matrix::new(pixels, labels.len(), PIXELS)?;
    Dataset::new(features, labels, CLASSES)
}
