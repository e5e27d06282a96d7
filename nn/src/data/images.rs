//! Images in folders: one folder per class, named after it, with PNG, JPEG or PNM files in it (feature
//! `images`).
//!
//! ```no_run
//! use tilewise_nn::data::images::Images;
//!
//! // signs/train/fist/001.png, signs/train/peace/001.jpg and so on
//! let images = Images::new(64, 64);
//! let train = images.read_folder::<f32>("signs/train")?;
//! let test = images.read_folder_like::<f32>("signs/test", &train.names)?;
//! assert_eq!(train.data.features().cols(), 3 * 64 * 64);
//! # Ok::<(), tilewise_nn::Error>(())
//! ```
//!
//! An image becomes a row of values from 0 to 1, channel by channel, as convolutions here and in PyTorch
//! take it. Nothing is decoded before its size is known to fit, so that a small file that claims to be an
//! enormous image costs no more than its own size.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, imageops::FilterType};
use tilewise_kernels::Float;

use super::Dataset;
use super::csv::{Labelled, Names, in_order, list};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Longer sides are refused where images are scaled; cameras stay below.
const MAX_SIDE: u32 = 1 << 14;
/// Decoded images with more bytes are refused.
const MAX_BYTES: u64 = 1 << 29;

/// What images are made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Images {
    width: u32,
    height: u32,
    grey: bool,
    resized: bool,
}

impl Images {
    /// Red, green and blue of images of `width` times `height` pixels; transparency is left out.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, grey: false, resized: false }
    }

    /// Takes one channel, the brightness, instead of three.
    pub fn grey(self) -> Self {
        Self { grey: true, ..self }
    }

    /// Scales images of other sizes; without it they are errors.
    pub fn resized(self) -> Self {
        Self { resized: true, ..self }
    }

    /// Values of an image.
    ///
    /// # Errors
    /// If there are none, or more than memory has addresses.
    pub fn features(self) -> Result<usize> {
        let channels: usize = if self.grey { 1 } else { 3 };
        channels
            .checked_mul(self.width as usize)
            .and_then(|line| line.checked_mul(self.height as usize))
            .filter(|&features| features > 0)
            .ok_or_else(|| {
                let got = format!("{} x {}", self.width, self.height);
                Error::argument("size of the images", "at least one pixel", got)
            })
    }

    /// Reads one image.
    ///
    /// # Errors
    /// If the file cannot be read, is not a PNG, JPEG or PNM image, is damaged, or has another size.
    pub fn read<T: Float>(self, path: impl AsRef<Path>) -> Result<Vec<T>> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        self.decode(BufReader::new(file), &path.display().to_string())
    }

    /// The same from bytes; `source` names them in errors.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn from_bytes<T: Float>(self, bytes: &[u8], source: &str) -> Result<Vec<T>> {
        self.decode(Cursor::new(bytes), source)
    }

    /// Reads all images in the folders of `root`. The folders are the classes, in the order of their
    /// names, or of their values where all are numbers; images come in the order of their names. Files
    /// beside the folders, and whatever has a name that begins with a dot, are left alone.
    ///
    /// # Errors
    /// If there are no folders, one has no images or another folder in it, or as for
    /// [`read`](Self::read); the error names the file.
    pub fn read_folder<T: Float>(self, root: impl AsRef<Path>) -> Result<Labelled<T>> {
        let root = root.as_ref();
        let found = folders(root)?;
        let names = Names {
            features: (0..self.features()?).map(|feature| feature.to_string()).collect(),
            classes: in_order(found.iter().map(|(name, _)| &name[..])),
        };
        let data = self.gather(&found, &names.classes)?;
        Ok(Labelled { data, names })
    }

    /// The same with the numbers of classes of another data set: test data beside training data. A class
    /// without a folder has no images.
    ///
    /// # Errors
    /// As for [`read_folder`](Self::read_folder), and if a folder is none of those classes.
    pub fn read_folder_like<T: Float>(
        self,
        root: impl AsRef<Path>,
        names: &Names,
    ) -> Result<Dataset<T>> {
        self.gather(&folders(root.as_ref())?, &names.classes)
    }

    fn gather<T: Float>(
        self,
        found: &[(String, PathBuf)],
        classes: &[String],
    ) -> Result<Dataset<T>> {
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for (name, folder) in found {
            let class = classes.iter().position(|class| class == name).ok_or_else(|| {
                let source = folder.display().to_string();
                Error::format(&source, "class", format!("one of {}", list(classes)), name)
            })?;
            for path in files(folder)? {
                values.extend(self.read::<T>(path)?);
                labels.push(class);
            }
        }
        let features = Matrix::new(values, labels.len(), self.features()?)?;
        Dataset::new(features, labels, classes.len())
    }

    fn decode<T: Float>(self, reader: impl BufRead + Seek, source: &str) -> Result<Vec<T>> {
        let features = self.features()?;
        let failed = |got: &dyn std::fmt::Display| {
            Error::format(source, "contents", "a PNG, JPEG or PNM image without damage", got)
        };
        let mut reader =
            ImageReader::new(reader).with_guessed_format().map_err(|error| failed(&error))?;
        if reader.format().is_none() {
            return Err(failed(&"none of them"));
        }
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_BYTES);
        reader.limits(limits);
        let decoder = reader.into_decoder().map_err(|error| failed(&error))?;
        self.check_size(decoder.dimensions(), decoder.total_bytes(), source)?;
        let mut image = DynamicImage::from_decoder(decoder).map_err(|error| failed(&error))?;
        if (image.width(), image.height()) != (self.width, self.height) {
            image = image.resize_exact(self.width, self.height, FilterType::Triangle);
        }
        let (pixels, channels) = if self.grey {
            (image.into_luma8().into_raw(), 1)
        } else {
            (image.into_rgb8().into_raw(), 3)
        };
        let white = f64::from(u8::MAX);
        let mut values = Vec::with_capacity(features);
        for channel in 0..channels {
            let plane = pixels.iter().skip(channel).step_by(channels);
            values.extend(plane.map(|&value| T::from_f64(f64::from(value) / white)));
        }
        Ok(values)
    }

    /// Checks what an image says of itself before it is decoded.
    fn check_size(self, (width, height): (u32, u32), bytes: u64, source: &str) -> Result<()> {
        let got = || format!("{width} x {height}");
        if !self.resized && (width, height) != (self.width, self.height) {
            let expected =
                format!("{} x {} (Images::resized scales others)", self.width, self.height);
            return Err(Error::format(source, "pixels", expected, got()));
        }
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE || bytes > MAX_BYTES {
            let expected = format!("sides from 1 to {MAX_SIDE}, and at most {MAX_BYTES} bytes");
            return Err(Error::format(source, "pixels", expected, got()));
        }
        Ok(())
    }
}

/// The folders of classes with their names, in order.
fn folders(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for path in visible(root)? {
        if path.is_dir() {
            found.push((name(&path)?.to_owned(), path));
        }
    }
    if found.is_empty() {
        let expected = "a folder for each class, with images in it";
        return Err(Error::format(&root.display().to_string(), "folders", expected, "none"));
    }
    Ok(found)
}

/// The images of a class, in order; never none.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let found = visible(folder)?;
    let wrong = |expected: &str, got: String| {
        Error::format(&folder.display().to_string(), "images", expected, got)
    };
    if let Some(other) = found.iter().find(|path| !path.is_file()) {
        return Err(wrong("files only", other.display().to_string()));
    }
    if found.is_empty() { Err(wrong("at least one", "none".to_owned())) } else { Ok(found) }
}

/// What is in a directory and not hidden, in the order of names.
fn visible(directory: &Path) -> Result<Vec<PathBuf>> {
    let named = |error| Error::io(directory, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if !name(&path)?.starts_with('.') {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn name(path: &Path) -> Result<&str> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::format(&path.display().to_string(), "name", "UTF-8", "other bytes"))
}
