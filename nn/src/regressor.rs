//! A trained model of values with all that stands between it and raw data, as
//! [`Classifier`](crate::Classifier) is for classes.

use std::fs;
use std::path::Path;

use serde_json::json;
use tilewise_kernels::Float;

use crate::classifier::{KEY, MEAN, SCALE, list, metadata};
use crate::data::Standardizer;
use crate::data::csv::{Table, ValueNames};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::matrix::Matrix;
use crate::model::Sequential;

const VALUE_MEAN: &str = "values.mean";
const VALUE_SCALE: &str = "values.scale";

/// A model that takes raw features and gives values in their own units.
#[derive(Debug)]
pub struct Regressor<T: Float = f32> {
    model: Sequential<T>,
    features: Standardizer<T>,
    values: Standardizer<T>,
    names: ValueNames,
}

impl<T: Float> Regressor<T> {
    /// A `model` that was trained on standardised `features` to give standardised `values`, and the
    /// names that go with them.
    ///
    /// # Errors
    /// If they are not of as many features or values.
    pub fn new(
        model: Sequential<T>,
        features: Standardizer<T>,
        values: Standardizer<T>,
        names: ValueNames,
    ) -> Result<Self> {
        let (inputs, outputs) = (model.inputs(), model.outputs());
        for (what, expected, got) in [
            ("features of the standardizer", inputs, features.features()),
            ("names of features", inputs, names.features.len()),
            ("values of the standardizer", outputs, values.features()),
            ("names of values", outputs, names.values.len()),
        ] {
            if got != expected {
                return Err(Error::shape(what, format!("{expected}, as the model has"), got));
            }
        }
        Ok(Self { model, features, values, names })
    }

    /// The model, from standardised features to standardised values.
    pub fn model(&self) -> &Sequential<T> {
        &self.model
    }

    /// What features and values are called.
    pub fn names(&self) -> &ValueNames {
        &self.names
    }

    /// The values of each row of raw features.
    ///
    /// # Errors
    /// If the number of columns differs.
    pub fn predict(&self, x: &Matrix<T>) -> Result<Matrix<T>> {
        self.values.restore(&self.model.predict_values(&self.features.transform(x)?)?)
    }

    /// The same for the rows of a table, whose columns may be in any order and more than are needed.
    ///
    /// # Errors
    /// If a column is missing or a cell has no number.
    pub fn predict_table(&self, table: &Table) -> Result<Matrix<T>> {
        self.predict(&table.features(&self.names.features)?)
    }

    /// Writes everything but the plan of the model to a safetensors file, whole or not at all. The
    /// model's tensors have the names that [`Sequential::save`] gives them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let ((mean, scale), values) = (self.features.parts(), self.values.parts());
        let more = [(MEAN, mean), (SCALE, scale), (VALUE_MEAN, values.0), (VALUE_SCALE, values.1)];
        let names = json!({"features": self.names.features, "values": self.names.values});
        let bytes = self.model.to_safetensors_with(&more, Some((KEY, names.to_string())))?;
        write_atomically(path.as_ref(), &bytes)
    }

    /// Reads what [`save`](Self::save) wrote into `model`, which must be built as the saved one was.
    ///
    /// # Errors
    /// If the file cannot be read, is something else or does not fit the model.
    pub fn load(path: impl AsRef<Path>, model: Sequential<T>) -> Result<Self> {
        Self::load_with(path, |_| Ok(model))
    }

    /// The same into a model that is built for the names in the file.
    ///
    /// # Errors
    /// As for [`load`](Self::load), and if the model cannot be built.
    pub fn load_with(
        path: impl AsRef<Path>,
        build: impl FnOnce(&ValueNames) -> Result<Sequential<T>>,
    ) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
        let source = path.display().to_string();
        let names = names(&bytes).ok_or_else(|| {
            let expected = "names of features and values, as Regressor::save writes them";
            Error::format(&source, "metadata", expected, "something else")
        })?;
        let mut model = build(&names)?;
        let zeros = |n| vec![T::ZERO; n];
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let (mut mean, mut scale) = (zeros(inputs), zeros(inputs));
        let (mut value_mean, mut value_scale) = (zeros(outputs), zeros(outputs));
        let mut more = [
            (MEAN, &mut mean[..]),
            (SCALE, &mut scale[..]),
            (VALUE_MEAN, &mut value_mean[..]),
            (VALUE_SCALE, &mut value_scale[..]),
        ];
        model.load_safetensors_with(&bytes, &source, &mut more)?;
        let values = Standardizer::from_parts(value_mean, value_scale);
        Self::new(model, Standardizer::from_parts(mean, scale), values, names)
    }
}

fn names(bytes: &[u8]) -> Option<ValueNames> {
    let json = metadata(bytes)?;
    Some(ValueNames { features: list(&json, "features")?, values: list(&json, "values")? })
}
