//! Neural networks on a CPU: layers, losses, optimisers, data and training, composed of
//! [`tilewise_kernels`].
//!
//! ```no_run
//! use tilewise_nn::prelude::*;
//!
//! let (train, test) = digits()?.stratified_split(360, 1)?;
//! let mut model =
//!     Sequential::new().linear(64, 128).batch_norm().relu().linear(128, 10).build(2)?;
//! let history = Trainer::new(Adam::default()).epochs(20).fit(&mut model, &train, &test)?;
//! assert!(model.evaluate(&test)?.accuracy > 0.95);
//! model.save("digits.safetensors")?;
//! history.save_svg("digits.svg")?;
//! # Ok::<(), tilewise_nn::Error>(())
//! ```
//!
//! Everything is generic over `f32` (the default) and `f64`. For one instruction set, a training
//! run gives the same bits for any number of threads.

#![forbid(unsafe_code)]

pub mod autodiff;
mod classifier;
pub mod data;
mod error;
mod files;
pub mod init;
pub mod layers;
pub mod loss;
mod matrix;
pub mod metrics;
mod model;
pub mod optim;
mod plot;
mod portable;
pub mod random;
mod regressor;
pub mod search;
mod train;

pub use classifier::Classifier;
pub use error::{Error, Result};
pub use matrix::Matrix;
pub use model::{
    GradientCheck, Metrics, ModelState, Sequential, SequentialBuilder, StepRule, Summary,
    SummaryRow, gradient_check,
};
pub use regressor::Regressor;
pub use train::{
    Callback, EarlyStopping, Epoch, EventFile, History, KeepBest, Monitor, Session, Snapshot,
    TensorBoard, Trainer, sparkline,
};

/// What most programs need.
pub mod prelude {
    pub use crate::data::{Dataset, Regression, Standardizer, digits};
    pub use crate::error::{Error, Result};
    pub use crate::init::Init;
    pub use crate::layers::BatchNormConvention;
    pub use crate::loss::{
        Huber, Loss, MeanAbsoluteError, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy,
        Targets,
    };
    pub use crate::matrix::Matrix;
    pub use crate::model::{Metrics, Sequential};
    pub use crate::optim::{Adagrad, Adam, Optimizer, RmsProp, Schedule, Sgd};
    pub use crate::train::{EarlyStopping, History, KeepBest, Trainer};
}

/// The examples of the README, compiled and run with the other documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The same for the pages of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../docs/questions.md")]
struct Questions;

#[cfg(doctest)]
#[doc = include_str!("../../docs/migrating.md")]
struct Migrating;
