//! A trained model with all that stands between it and raw data: the standardiser of its training
//! data, and the names of columns and classes, in one file.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::{Value as Json, json};
use tilewise_kernels::Float;

use crate::data::Standardizer;
use crate::data::csv::{Names, Table};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::matrix::Matrix;
use crate::model::Sequential;

/// The metadata's key in the file.
pub(crate) const KEY: &str = "tilewise";
pub(crate) const MEAN: &str = "standardizer.mean";
pub(crate) const SCALE: &str = "standardizer.scale";

/// A model that takes raw features and gives names of classes.
#[derive(Debug)]
pub struct Classifier<T: Float = f32> {
    model: Sequential<T>,
    standardizer: Standardizer<T>,
    names: Names,
}

impl<T: Float> Classifier<T> {
    /// A trained `model` with the standardiser of its training data and the names that go with it.
    ///
    /// # Errors
    /// If they are not of as many features or classes.
    pub fn new(model: Sequential<T>, standardizer: Standardizer<T>, names: Names) -> Result<Self> {
        let (inputs, classes) = (model.inputs(), model.outputs().max(2));
        for (what, expected, got) in [
            ("features of the standardizer", inputs, standardizer.features()),
            ("names of features", inputs, names.features.len()),
            ("names of classes", classes, names.classes.len()),
        ] {
            if got != expected {
                return Err(Error::shape(what, format!("{expected}, as the model has"), got));
            }
        }
        Ok(Self { model, standardizer, names })
    }

    /// The model, which takes standardised features.
    pub fn model(&self) -> &Sequential<T> {
        &self.model
    }

    /// What scales the features.
    pub fn standardizer(&self) -> &Standardizer<T> {
        &self.standardizer
    }

    /// What features and classes are called.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The most probable class of each row of raw features.
    ///
    /// # Errors
    /// If the number of columns differs, or a logit is NaN.
    pub fn predict(&self, x: &Matrix<T>) -> Result<Vec<&str>> {
        let classes = self.model.predict(&self.standardizer.transform(x)?)?;
        Ok(classes.into_iter().map(|class| &self.names.classes[class][..]).collect())
    }

    /// The same for the rows of a table, whose columns may be in any order and more than are needed.
    ///
    /// # Errors
    /// If a column is missing or a cell has no number.
    pub fn predict_table(&self, table: &Table) -> Result<Vec<&str>> {
        self.predict(&table.features(&self.names.features)?)
    }

    /// Writes everything but the plan of the model to a safetensors file, whole or not at all. The
    /// model's tensors have the names that [`Sequential::save`] gives them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (mean, scale) = self.standardizer.parts();
        let names = json!({"features": self.names.features, "classes": self.names.classes});
        let more = [(MEAN, mean), (SCALE, scale)];
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

    /// The same into a model that is built for the names in the file: a program that only predicts needs
    /// no numbers of features and classes.
    ///
    /// # Errors
    /// As for [`load`](Self::load), and if the model cannot be built.
    pub fn load_with(
        path: impl AsRef<Path>,
        build: impl FnOnce(&Names) -> Result<Sequential<T>>,
    ) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
        let source = path.display().to_string();
        let names = names(&bytes).ok_or_else(|| {
            let expected = "names of features and classes, as Classifier::save writes them";
            Error::format(&source, "metadata", expected, "something else")
        })?;
        let mut model = build(&names)?;
        let inputs = model.inputs();
        let (mut mean, mut scale) = (vec![T::ZERO; inputs], vec![T::ZERO; inputs]);
        let mut more = [(MEAN, &mut mean[..]), (SCALE, &mut scale[..])];
        model.load_safetensors_with(&bytes, &source, &mut more)?;
        Self::new(model, Standardizer::from_parts(mean, scale), names)
    }
}

fn names(bytes: &[u8]) -> Option<Names> {
    let json = metadata(bytes)?;
    Some(Names { features: list(&json, "features")?, classes: list(&json, "classes")? })
}

/// What a file says of the numbers in it.
pub(crate) fn metadata(bytes: &[u8]) -> Option<Json> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    serde_json::from_str(header.metadata().as_ref()?.get(KEY)?).ok()
}

/// The names in a field of it.
pub(crate) fn list(json: &Json, field: &str) -> Option<Vec<String>> {
    json.get(field)?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}
