//! Weights as npz files of numpy, with the names of the safetensors ones.

use std::fs;
use std::path::Path;

use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};
use tilewise_kernels::Float;

use super::Sequential;
use super::weights::dtype;
use crate::data::npy::{Array, npz_from_bytes, to_npz};
use crate::data::npy_header::Element;
use crate::error::{Error, Result};
use crate::files::write_atomically;

impl<T: Float> Sequential<T> {
    /// Writes all weights and running statistics to an npz file, whole or not at all:
    /// `numpy.load(path)["0.weight"]`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_npz(&self, path: impl AsRef<Path>) -> Result<()> {
        let float = Element::float(size_of::<T>());
        let arrays: Vec<(String, Array)> = self
            .tensors()
            .into_iter()
            .map(|tensor| {
                let element = if tensor.dtype == Dtype::I64 { Element::count() } else { float };
                (tensor.name, Array::from_bytes(&tensor.shape, element, tensor.bytes))
            })
            .collect();
        let bytes = to_npz(arrays.iter().map(|(name, array)| (&name[..], array)))?;
        write_atomically(path.as_ref(), &bytes)
    }

    /// Takes all weights and running statistics from an npz file, by the rules of
    /// [`load`](Self::load). Elements must be of this model's type.
    ///
    /// # Errors
    /// If the file cannot be read, is not an npz file or does not fit; nothing changes then.
    pub fn load_npz(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
        self.load_npz_bytes(&bytes, &path.display().to_string())
    }

    /// The same from bytes; `source` names them in errors.
    ///
    /// # Errors
    /// As for [`load_npz`](Self::load_npz).
    pub fn load_npz_bytes(&mut self, bytes: &[u8], source: &str) -> Result<()> {
        let arrays = npz_from_bytes(bytes, source)?;
        let mut tensors = Vec::with_capacity(arrays.len());
        for (name, array) in &arrays {
            let element = array.element();
            let dtype = if element == Element::count() {
                Dtype::I64
            } else if element == Element::float(size_of::<T>()) {
                dtype::<T>()
            } else {
                let expected = Element::float(size_of::<T>()).descr();
                return Err(Error::format(
                    source,
                    format!("array {name}"),
                    expected,
                    element.descr(),
                ));
            };
            tensors.push((name, dtype, array.shape().to_vec(), array.ordered_bytes()));
        }
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
            })
            .collect();
        let file = views.and_then(|views| serialize(views, None)).map_err(
            |error: safetensors::SafeTensorError| {
                Error::format(source, "arrays", "tensors of a model", error)
            },
        )?;
        self.load_safetensors(&file, source)
    }
}
