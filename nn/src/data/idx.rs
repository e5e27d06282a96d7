//! idx files, plain or gzipped: the format of MNIST and its successors.
//!
//! Big-endian: two zero bytes, the element type, the number of dimensions, the extent of each as
//! four bytes, then the elements, last dimension fastest. Only unsigned bytes (type 8) are read.
//! Never more is read than the header announces and one byte beyond, and memory grows with what is
//! really there, so that a lying header or a gzip bomb costs no more than its own size.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tilewise_kernels::Float;

use super::Dataset;
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Files with more elements are refused: 2 GiB is 43 times Fashion-MNIST, and a gzip bomb stops here.
const MAX_ELEMENTS: usize = 1 << 31;
const MAX_DIMENSIONS: u8 = 4;
const UNSIGNED_BYTE: u8 = 8;

/// The contents of an idx file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// The extents, slowest first; 1 to 4 of them.
    pub dims: Vec<usize>,
    /// The elements, last dimension fastest.
    pub data: Vec<u8>,
}

/// Reads an idx file, gzipped or not.
///
/// # Errors
/// If the file cannot be read, is not an idx file of unsigned bytes, or is shorter or longer than
/// its header says.
pub fn read(path: impl AsRef<Path>) -> Result<Idx> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    from_reader(BufReader::new(file), &path.display().to_string())
}

/// The same from bytes; `source` names them in errors.
///
/// # Errors
/// As for [`read`].
pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Idx> {
    from_reader(bytes, source)
}

/// Images and labels of a classification problem from two idx files, with features in [0, 1].
///
/// # Errors
/// As for [`read`], and if the files do not belong together or a label is not below `classes`.
pub fn read_dataset<T: Float>(
    images: impl AsRef<Path>,
    labels: impl AsRef<Path>,
    classes: usize,
) -> Result<Dataset<T>> {
    let (images_name, labels_name) = (images.as_ref().display(), labels.as_ref().display());
    let (images, labels) = (read(images.as_ref())?, read(labels.as_ref())?);
    let wrong = |name: &std::path::Display<'_>, expected: &str, dims: &[usize]| {
        Error::format(&name.to_string(), "dimensions", expected, format!("{dims:?}"))
    };
    let [rows, pixels @ ..] = &images.dims[..] else {
        return Err(wrong(&images_name, "at least one", &images.dims));
    };
    if labels.dims != [*rows] {
        let expected = format!("[{rows}], one label for each of {images_name}");
        return Err(wrong(&labels_name, &expected, &labels.dims));
    }
    let white = f64::from(u8::MAX);
    let values = images.data.iter().map(|&grey| T::from_f64(f64::from(grey) / white)).collect();
    // Without rows, the other extents may be anything.
    let pixels = product(pixels).ok_or_else(|| wrong(&images_name, "no overflow", &images.dims))?;
    let features = Matrix::new(values, *rows, pixels)?;
    let labels = labels.data.into_iter().map(usize::from).collect();
    Dataset::new(features, labels, classes).map_err(|error| error.within(labels_name))
}

fn from_reader(mut reader: impl BufRead, source: &str) -> Result<Idx> {
    let start = reader.fill_buf().map_err(|error| unreadable(source, &error))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        parse(MultiGzDecoder::new(reader), source)
    } else {
        parse(reader, source)
    }
}

fn parse(mut reader: impl Read, source: &str) -> Result<Idx> {
    let magic = take::<4>(&mut reader, source, "magic number")?;
    let [0, 0, UNSIGNED_BYTE, dimensions @ 1..=MAX_DIMENSIONS] = magic else {
        let expected = format!("00 00 08 and 1 to {MAX_DIMENSIONS} dimensions");
        return Err(Error::format(source, "magic number", expected, format!("{magic:02x?}")));
    };
    let mut dims = Vec::new();
    for index in 0..dimensions {
        let extent = take::<4>(&mut reader, source, &format!("extent of dimension {index}"))?;
        dims.push(u32::from_be_bytes(extent) as usize);
    }
    let elements =
        product(&dims).filter(|&elements| elements <= MAX_ELEMENTS).ok_or_else(|| {
            let expected = format!("at most {MAX_ELEMENTS} elements");
            Error::format(source, "dimensions", expected, format!("{dims:?}"))
        })?;
    let mut data = Vec::new();
    reader
        .take(elements as u64 + 1)
        .read_to_end(&mut data)
        .map_err(|error| unreadable(source, &error))?;
    if data.len() != elements {
        let got = if data.len() > elements { "more".to_owned() } else { data.len().to_string() };
        let expected = format!("{elements} elements for {dims:?}");
        return Err(Error::format(source, "data", expected, got));
    }
    Ok(Idx { dims, data })
}

fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
}

fn take<const N: usize>(reader: &mut impl Read, source: &str, what: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => {
                let got = format!("the end after {filled}");
                return Err(Error::format(source, what, format!("{N} bytes"), got));
            }
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(source, &error)),
        }
    }
    Ok(bytes)
}

fn unreadable(source: &str, error: &std::io::Error) -> Error {
    Error::format(source, "contents", "readable data, gzipped without damage or plain", error)
}
