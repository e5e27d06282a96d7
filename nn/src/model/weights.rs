//! Weights as safetensors files, with the tensor names of PyTorch's `Sequential.state_dict()`: the
//! layer's position, then `weight`, `bias`, `running_mean`, `running_var` or
//! `num_batches_tracked`. A linear weight is `[outputs, inputs]` there and here.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use tilewise_kernels::Float;

use super::Sequential;
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::layers::{Buffer, BufferMut};

/// How the names of what a [`Classifier`](crate::Classifier) adds to its model's tensors begin.
const CLASSIFIER: &str = "standardizer.";

/// One tensor of a model as the file has it.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl<T: Float> Sequential<T> {
    /// Writes all weights and running statistics to a safetensors file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        write_atomically(path, &self.to_safetensors()?)
    }

    /// The bytes that [`save`](Self::save) writes.
    ///
    /// # Errors
    /// If the format cannot express the model.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        self.to_safetensors_with(&[], None)
    }

    /// The same with vectors beside the model's and one text in the metadata.
    pub(crate) fn to_safetensors_with(
        &self,
        more: &[(&str, &[T])],
        metadata: Option<(&str, String)>,
    ) -> Result<Vec<u8>> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::format("safetensors", "model", "tensors that can be written", error)
        };
        let mut tensors = self.tensors();
        tensors.extend(more.iter().map(|(name, values)| Tensor {
            name: (*name).to_owned(),
            dtype: dtype::<T>(),
            shape: vec![values.len()],
            bytes: encode(values),
        }));
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|t| Ok((&t.name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes)?)))
            .collect();
        let views = views.map_err(|error: safetensors::SafeTensorError| failed(&error))?;
        let metadata = metadata.map(|(key, text)| HashMap::from([(key.to_owned(), text)]));
        serialize(views, metadata).map_err(|error| failed(&error))
    }

    /// Takes all weights and running statistics from a safetensors file. Every tensor of the model
    /// must be there with its shape and element type, and no other; else nothing changes.
    ///
    /// # Errors
    /// If the file cannot be read, is not a safetensors file or does not fit; the error names the
    /// file and the tensor.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
        self.load_safetensors(&bytes, &path.display().to_string())
    }

    /// The same from bytes; `source` names them in errors.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn load_safetensors(&mut self, bytes: &[u8], source: &str) -> Result<()> {
        self.load_safetensors_with(bytes, source, &mut [])
    }

    /// The same from a file that has the vectors `more` beside the model's.
    pub(crate) fn load_safetensors_with(
        &mut self,
        bytes: &[u8],
        source: &str,
        more: &mut [(&str, &mut [T])],
    ) -> Result<()> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| Error::format(source, "header", "a valid safetensors file", error))?;
        let mut found: HashMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
        let own = self.tensors();
        let others = more.iter().map(|(name, values)| Tensor {
            name: (*name).to_owned(),
            dtype: dtype::<T>(),
            shape: vec![values.len()],
            bytes: Vec::new(),
        });
        let count_own = own.len();
        let expected: Vec<Tensor> = own.into_iter().chain(others).collect();
        let mut loaded = Vec::with_capacity(expected.len());
        for tensor in &expected {
            let what = format!("tensor {}", tensor.name);
            let view = found
                .remove(&tensor.name)
                .ok_or_else(|| Error::format(source, &what, describe(tensor), missing(&file)))?;
            if view.dtype() != tensor.dtype || view.shape() != tensor.shape {
                let got = format!("{:?} {:?}", view.dtype(), view.shape());
                return Err(Error::format(source, &what, describe(tensor), got));
            }
            if tensor.dtype == Dtype::I64 && count(view.data()).is_none() {
                return Err(Error::format(source, &what, "a count", "a negative number"));
            }
            loaded.push(view);
        }
        if let Some(extra) = found.keys().min() {
            let what = format!("tensor {}", extra.escape_debug());
            let expected = match extra.starts_with(CLASSIFIER) {
                true => "only tensors of the model (Classifier or Regressor reads this file)",
                false => "only tensors of the model",
            };
            return Err(Error::format(source, what, expected, "one more"));
        }
        let (own, others) = loaded.split_at(count_own);
        self.assign(own);
        for ((_, values), view) in more.iter_mut().zip(others) {
            decode(view.data(), values);
        }
        Ok(())
    }

    /// All tensors, in the order in which [`assign`](Self::assign) takes them.
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for (position, layer) in self.positions.iter().zip(&self.layers) {
            for parameter in layer.parameters() {
                tensors.push(Tensor {
                    name: format!("{position}.{}", parameter.name),
                    dtype: dtype::<T>(),
                    shape: parameter.shape.clone(),
                    bytes: encode(&parameter.value),
                });
            }
            for (name, buffer) in layer.buffers() {
                let (dtype, shape, bytes) = match buffer {
                    Buffer::Values(values) => (dtype::<T>(), vec![values.len()], encode(values)),
                    Buffer::Count(count) => (Dtype::I64, vec![], count.to_le_bytes().to_vec()),
                };
                tensors.push(Tensor { name: format!("{position}.{name}"), dtype, shape, bytes });
            }
        }
        tensors
    }

    /// Takes checked tensors, one for each of [`tensors`](Self::tensors).
    fn assign(&mut self, loaded: &[TensorView<'_>]) {
        let mut loaded = loaded.iter().map(TensorView::data);
        for layer in &mut self.layers {
            for (parameter, bytes) in layer.parameters_mut().iter_mut().zip(loaded.by_ref()) {
                decode(bytes, &mut parameter.value);
            }
            for ((_, buffer), bytes) in layer.buffers_mut().into_iter().zip(loaded.by_ref()) {
                match buffer {
                    BufferMut::Values(values) => decode(bytes, values),
                    BufferMut::Count(value) => *value = count(bytes).unwrap_or(0),
                }
            }
        }
    }
}

/// What there is in the place of a tensor: most often, layers stand at other positions in the file.
fn missing(file: &SafeTensors<'_>) -> String {
    /// More would hide the rest of the message.
    const SHOWN: usize = 8;
    let mut names = file.names();
    names.sort_unstable();
    let dots = if names.len() > SHOWN { ", …" } else { "" };
    names.truncate(SHOWN);
    format!("no such tensor among {}{dots}", names.join(", ").escape_debug())
}

fn describe(tensor: &Tensor) -> String {
    format!("{:?} {:?}", tensor.dtype, tensor.shape)
}

pub(crate) fn dtype<T: Float>() -> Dtype {
    if size_of::<T>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

pub(crate) fn encode<T: Float>(values: &[T]) -> Vec<u8> {
    match dtype::<T>() {
        Dtype::F32 => values.iter().flat_map(|x| (x.to_f64() as f32).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.to_f64().to_le_bytes()).collect(),
    }
}

pub(crate) fn decode<T: Float>(bytes: &[u8], values: &mut [T]) {
    match dtype::<T>() {
        Dtype::F32 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = T::from_f64(f64::from(f32::from_le_bytes(*bytes)));
            }
        }
        _ => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *value = T::from_f64(f64::from_le_bytes(*bytes));
            }
        }
    }
}

/// A count that is kept as a signed number.
fn count(bytes: &[u8]) -> Option<u64> {
    let value = i64::from_le_bytes(*bytes.first_chunk()?);
    u64::try_from(value).ok()
}
