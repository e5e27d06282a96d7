//! npy and npz files: arrays of numpy.
//!
//! An npy file is a magic number, a version, the length of a header, the header (a Python dictionary
//! with the element type, the order of the elements and the shape) and the elements. An npz file is a
//! zip file of them. Numbers and booleans of either byte order and both orders of elements are read;
//! pickled objects are refused. As in [`idx`](super::idx), never more is read than a header announces
//! and one byte beyond, so that a lying header or a zip bomb costs no more than its own size.
//!
//! ```
//! use tilewise_nn::Matrix;
//! use tilewise_nn::data::npy::Array;
//!
//! let features = Matrix::from_rows(&[[1.0f32, 2.0], [3.0, 4.0]])?;
//! let bytes = Array::from_matrix(&features).to_npy();
//! let array = Array::from_npy(&bytes, "features.npy")?;
//! assert_eq!(array.shape(), [2, 2]);
//! assert_eq!(array.matrix::<f32>()?, features);
//! # Ok::<(), tilewise_nn::Error>(())
//! ```

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use tilewise_kernels::Float;
use zip::ZipArchive;

use super::npy_header::{Element, Header};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Arrays with more bytes are refused; a zip bomb stops here.
const MAX_BYTES: usize = 1 << 33;
/// More arrays than that in one file are not data.
const MAX_ARRAYS: usize = 1 << 16;

/// An array of numbers with its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    name: String,
    header: Header,
    bytes: Vec<u8>,
}

/// Reads an npy file.
///
/// # Errors
/// If the file cannot be read, is not an npy file of numbers, or is shorter or longer than its header
/// says.
pub fn read(path: impl AsRef<Path>) -> Result<Array> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    Array::from_reader(&mut BufReader::new(file), &path.display().to_string())
}

/// Reads all arrays of an npz file, in its order, with their names.
///
/// # Errors
/// As for [`read`]; the error names the array too.
pub fn read_npz(path: impl AsRef<Path>) -> Result<Vec<(String, Array)>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    npz_from_reader(BufReader::new(file), &path.display().to_string())
}

/// The same from bytes; `source` names them in errors.
///
/// # Errors
/// As for [`read_npz`].
pub fn npz_from_bytes(bytes: &[u8], source: &str) -> Result<Vec<(String, Array)>> {
    npz_from_reader(std::io::Cursor::new(bytes), source)
}

fn npz_from_reader(reader: impl Read + Seek, source: &str) -> Result<Vec<(String, Array)>> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::format(source, "contents", "an npz file, which is a zip file of arrays", error)
    };
    let mut zip = ZipArchive::new(reader).map_err(|error| failed(&error))?;
    if zip.len() > MAX_ARRAYS {
        return Err(failed(&format!("{} files", zip.len())));
    }
    let mut arrays = Vec::with_capacity(zip.len());
    for index in 0..zip.len() {
        let mut file = zip.by_index(index).map_err(|error| failed(&error))?;
        let full = file.name().map_err(|error| failed(&error))?.escape_debug().to_string();
        let Some(name) = full.strip_suffix(".npy").map(str::to_owned) else {
            return Err(Error::format(source, "name of an array", "an end in .npy", full));
        };
        let array = Array::from_reader(&mut file, &format!("{source}: {name}"))?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

/// The bytes of an npz file of `arrays`, which are stored as they are.
///
/// # Errors
/// If the format cannot express them, as with two arrays of one name.
pub fn to_npz<'a>(arrays: impl IntoIterator<Item = (&'a str, &'a Array)>) -> Result<Vec<u8>> {
    use std::io::Write;
    let failed = |name: &str, error: &dyn std::fmt::Display| {
        Error::format("npz", format!("array {name}"), "one that can be written", error)
    };
    let stored = zip::CompressionMethod::Stored;
    let options = zip::write::SimpleFileOptions::default().compression_method(stored);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, array) in arrays {
        let bytes = array.to_npy();
        let options = options.large_file(u32::try_from(bytes.len()).is_err());
        zip.start_file(format!("{name}.npy"), options).map_err(|error| failed(name, &error))?;
        zip.write_all(&bytes).map_err(|error| failed(name, &error))?;
    }
    Ok(zip.finish().map_err(|error| failed("", &error))?.into_inner())
}

impl Array {
    /// Reads the bytes of an npy file; `source` names them in errors.
    ///
    /// # Errors
    /// As for [`read`].
    pub fn from_npy(bytes: &[u8], source: &str) -> Result<Self> {
        Self::from_reader(&mut &*bytes, source)
    }

    fn from_reader(reader: &mut dyn Read, source: &str) -> Result<Self> {
        let header = Header::read(reader, source)?;
        let elements = header.elements();
        let size = elements.and_then(|n| n.checked_mul(header.element.size()));
        let size = size.filter(|&size| size <= MAX_BYTES).ok_or_else(|| {
            let expected = format!("at most {MAX_BYTES} bytes of elements");
            Error::format(source, "shape", expected, format!("{:?}", header.shape))
        })?;
        let mut bytes = Vec::new();
        let outcome = reader.take(size as u64 + 1).read_to_end(&mut bytes);
        outcome.map_err(|error| Error::format(source, "elements", "readable data", error))?;
        if bytes.len() != size {
            let got = if bytes.len() > size { "more".to_owned() } else { bytes.len().to_string() };
            let expected = format!("{size} bytes for {:?}", header.shape);
            return Err(Error::format(source, "elements", expected, got));
        }
        Ok(Self { name: source.to_owned(), header, bytes })
    }

    /// The extents, slowest first; none for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// An array of the elements of a matrix, of two dimensions.
    pub fn from_matrix<T: Float>(matrix: &Matrix<T>) -> Self {
        Self::from_values(&[matrix.rows(), matrix.cols()], matrix.data())
    }

    /// An array of that shape. The number of values must be the product of the extents.
    pub(crate) fn from_values<T: Float>(shape: &[usize], values: &[T]) -> Self {
        let bytes = crate::model::encode(values);
        Self::from_bytes(shape, Element::float(size_of::<T>()), bytes)
    }

    /// An array over bytes of that many elements.
    pub(crate) fn from_bytes(shape: &[usize], element: Element, bytes: Vec<u8>) -> Self {
        let header = Header { element, fortran: false, shape: shape.to_vec() };
        Self { name: "array".to_owned(), header, bytes }
    }

    /// What the elements are.
    pub(crate) fn element(&self) -> Element {
        self.header.element
    }

    /// The bytes of an npy file.
    pub fn to_npy(&self) -> Vec<u8> {
        let mut bytes = self.header.to_bytes();
        bytes.extend_from_slice(&self.bytes);
        bytes
    }

    /// The elements as numbers, last dimension fastest. Integers beyond 2^53 are rounded.
    pub fn values(&self) -> Vec<f64> {
        let element = self.header.element;
        self.ordered().map(|bytes| element.number(bytes)).collect()
    }

    /// The bytes of the elements, last dimension fastest, as they are otherwise.
    pub(crate) fn ordered_bytes(&self) -> Vec<u8> {
        self.ordered().flatten().copied().collect()
    }

    /// The bytes of each element, last dimension fastest.
    fn ordered(&self) -> impl Iterator<Item = &[u8]> {
        let size = self.header.element.size();
        let places = self.header.places(self.bytes.len() / size);
        places.into_iter().map(move |place| &self.bytes[place * size..][..size])
    }

    /// One row for each index of the first dimension, with all its elements; a column for an array of
    /// one dimension.
    ///
    /// # Errors
    /// If the array is a single number.
    pub fn matrix<T: Float>(&self) -> Result<Matrix<T>> {
        let [rows, rest @ ..] = self.shape() else {
            return Err(Error::format(&self.name, "shape", "at least one dimension", "none"));
        };
        let cols = rest.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        let cols = cols.ok_or_else(|| {
            Error::format(&self.name, "shape", "no overflow", format!("{:?}", self.shape()))
        })?;
        let values = self.values().into_iter().map(T::from_f64).collect();
        Matrix::new(values, *rows, cols)
    }

    /// The elements as classes: whole numbers of 0 or more, in one dimension or in one column.
    ///
    /// # Errors
    /// If the shape or a value is another.
    pub fn labels(&self) -> Result<Vec<usize>> {
        if !matches!(self.shape(), [_] | [_, 1]) {
            let got = format!("{:?}", self.shape());
            return Err(Error::format(&self.name, "shape", "one label per row", got));
        }
        let label = |(row, &value): (usize, &f64)| {
            // Larger ones would not be exact, and no class has such a number.
            if value.fract() == 0.0 && (0.0..4_294_967_296.0).contains(&value) {
                return Ok(value as usize);
            }
            let what = format!("label of row {row}");
            Err(Error::format(&self.name, what, "a whole number of 0 or more", value))
        };
        self.values().iter().enumerate().map(label).collect()
    }
}
