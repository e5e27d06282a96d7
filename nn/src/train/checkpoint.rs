//! The whole state of a training in a file, from which it goes on bit for bit.
//!
//! A safetensors file: `model.N` are the model's tensors in their order, `optimizer.N.S` is slot `S`
//! of parameter `N`, and the metadata `tilewise` is a JSON object with the rest. Numbers in it are
//! written so that they come back with the same bits.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use safetensors::tensor::TensorView;
use safetensors::{SafeTensors, serialize};
use serde_json::{Value as Json, json};
use tilewise_kernels::Float;

use super::history::{Epoch, History};
use super::session::{Position, Snapshot};
use crate::error::{Error, Result};
use crate::files::{remove_unfinished, write_atomically};
use crate::model::{ModelState, decode, dtype, encode};
use crate::optim::{Dials, OptimizerState};

/// The metadata's only key: several would be written in any order.
const KEY: &str = "tilewise";
/// Counts up when the contents change their meaning.
const VERSION: u64 = 1;

/// Where the state of a training is kept, and after how many steps it is written anew.
#[derive(Debug, Clone)]
pub(super) struct Checkpoints {
    pub(super) path: PathBuf,
    pub(super) every: u64,
}

impl Checkpoints {
    /// Checks the settings and removes what a killed process left half written.
    pub(super) fn prepare(&self) -> Result<()> {
        if self.every == 0 {
            return Err(Error::argument("steps between checkpoints", "at least 1", 0));
        }
        remove_unfinished(&self.path)
    }

    /// Reads the state to go on from, if there is one. It must be of a training of that `course`.
    pub(super) fn resume<T: Float>(&self, course: &Json) -> Result<Option<Snapshot<T>>> {
        if !self.path.try_exists().map_err(|error| Error::io(&self.path, error))? {
            return Ok(None);
        }
        let snapshot = Snapshot::load(&self.path)?;
        let (was, is) = (snapshot.course.as_object(), course.as_object());
        let differs =
            is.into_iter().flatten().find(|(k, v)| was.and_then(|w| w.get(*k)) != Some(v));
        if let Some((what, value)) = differs {
            let file = self.path.display().to_string();
            let got = was.and_then(|was| was.get(what)).unwrap_or(&Json::Null);
            let expected =
                format!("{value} to go on from there (or remove the file to start anew)");
            return Err(Error::format(&file, format!("{what} of the training"), expected, got));
        }
        Ok(Some(snapshot))
    }
}

impl<T: Float> Snapshot<T> {
    /// Writes the state to a file, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomically(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is something else.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
        Self::from_bytes(&bytes, &path.display().to_string())
    }

    /// The bytes that [`save`](Self::save) writes.
    ///
    /// # Errors
    /// If the format cannot express the state.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let model = self.model.values.iter().enumerate();
        let model = model.map(|(n, values)| (format!("model.{n}"), values));
        let optimizer = self.optimizer.slots.iter().enumerate().flat_map(|(n, slots)| {
            slots.iter().enumerate().map(move |(s, values)| (format!("optimizer.{n}.{s}"), values))
        });
        let tensors: Vec<_> =
            model.chain(optimizer).map(|(name, v)| (name, v.len(), encode(v))).collect();
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, len, bytes)| Ok((name, TensorView::new(dtype::<T>(), vec![*len], bytes)?)))
            .collect();
        let metadata = HashMap::from([(KEY.to_owned(), self.metadata().to_string())]);
        views.and_then(|views| serialize(views, Some(metadata))).map_err(
            |error: safetensors::SafeTensorError| {
                Error::format("checkpoint", "state", "tensors that can be written", error)
            },
        )
    }

    /// Reads the bytes of a file; `source` names them in errors.
    ///
    /// # Errors
    /// If they are something else.
    pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Self> {
        let failed = |got: &dyn std::fmt::Display| {
            let expected = format!("the state of a training in {:?}", dtype::<T>());
            Error::format(source, "contents", expected, got)
        };
        let file = SafeTensors::deserialize(bytes).map_err(|error| failed(&error))?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| failed(&error))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let text = text.ok_or_else(|| failed(&"no metadata, as a file of weights"))?;
        let json: Json = serde_json::from_str(text).map_err(|error| failed(&error))?;
        match json.get("version").and_then(Json::as_u64) {
            Some(VERSION) => {}
            Some(other) => return Err(failed(&format!("version {other}"))),
            None => return Err(failed(&"no version")),
        }
        let mut tensors = file.tensors().into_iter().collect();
        read(&json, &mut tensors)
            .filter(|_| tensors.is_empty())
            .ok_or_else(|| failed(&"other tensors or fields"))
    }

    fn metadata(&self) -> Json {
        let Position { epoch, step, loss_sum, rows, time } = self.position;
        let Dials { learning_rate, momentum, weight_decay } = self.dials;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let epochs = self.history.epochs.iter().map(|e| {
            json!([
                e.train_loss,
                e.valid_loss,
                e.valid_accuracy,
                e.steps,
                e.learning_rate,
                nanos(e.train_time)
            ])
        });
        json!({
            "version": VERSION,
            "model": {"tensors": self.model.values.len(), "counts": self.model.counts, "step": self.model.step},
            "optimizer": {
                "slots": self.optimizer.slots.iter().map(Vec::len).collect::<Vec<_>>(),
                "step": self.optimizer.step,
                "dials": [learning_rate, momentum, weight_decay],
            },
            "position": [epoch, step, loss_sum, rows, nanos(time)],
            "rate": self.rate,
            "history": {"epochs": epochs.collect::<Vec<_>>(), "stopped": self.history.stopped},
            "course": self.course,
        })
    }
}

/// The state that is described by the metadata, with `tensors` taken out.
fn read<T: Float>(
    json: &Json,
    tensors: &mut HashMap<String, TensorView<'_>>,
) -> Option<Snapshot<T>> {
    let mut take = |name: &str| {
        let view = tensors.remove(name).filter(|view| view.dtype() == dtype::<T>())?;
        let mut values = vec![T::ZERO; view.data().len() / size_of::<T>()];
        decode(view.data(), &mut values);
        Some(values)
    };
    let model = json.get("model")?;
    // Names run out before a lying number of tensors does.
    let values: Option<_> =
        (0..model.get("tensors")?.as_u64()?).map(|n| take(&format!("model.{n}"))).collect();
    let counts: Option<_> = model.get("counts")?.as_array()?.iter().map(Json::as_u64).collect();
    let model = ModelState { values: values?, counts: counts?, step: model.get("step")?.as_u64()? };

    let optimizer = json.get("optimizer")?;
    let slots = optimizer.get("slots")?.as_array()?.iter().enumerate();
    let slots: Option<_> = slots
        .map(|(n, slots)| {
            (0..slots.as_u64()?).map(|s| take(&format!("optimizer.{n}.{s}"))).collect()
        })
        .collect();
    let [learning_rate, momentum, weight_decay] = &optimizer.get("dials")?.as_array()?[..] else {
        return None;
    };
    let dials = Dials {
        learning_rate: learning_rate.as_f64(),
        momentum: momentum.as_f64(),
        weight_decay: weight_decay.as_f64(),
    };
    let optimizer = OptimizerState { step: optimizer.get("step")?.as_u64()?, slots: slots? };

    let [epoch, step, loss_sum, rows, time] = &json.get("position")?.as_array()?[..] else {
        return None;
    };
    let position = Position {
        epoch: epoch.as_u64()?,
        step: usize::try_from(step.as_u64()?).ok()?,
        loss_sum: loss_sum.as_f64()?,
        rows: usize::try_from(rows.as_u64()?).ok()?,
        time: Duration::from_nanos(time.as_u64()?),
    };
    let history = history(json.get("history")?)?;
    Some(Snapshot {
        model,
        optimizer,
        dials,
        position,
        rate: json.get("rate")?.as_f64()?,
        history,
        course: json.get("course")?.clone(),
    })
}

fn history(json: &Json) -> Option<History> {
    let epoch = |json: &Json| {
        let [train_loss, valid_loss, valid_accuracy, steps, rate, time] = &json.as_array()?[..]
        else {
            return None;
        };
        Some(Epoch {
            train_loss: train_loss.as_f64()?,
            valid_loss: valid_loss.as_f64()?,
            valid_accuracy: valid_accuracy.as_f64()?,
            steps: steps.as_u64()?,
            learning_rate: rate.as_f64(),
            train_time: Duration::from_nanos(time.as_u64()?),
        })
    };
    let epochs: Option<_> = json.get("epochs")?.as_array()?.iter().map(epoch).collect();
    let stopped = json.get("stopped")?.as_str().map(str::to_owned);
    Some(History { epochs: epochs?, first_step: None, stopped })
}
