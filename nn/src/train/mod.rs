//! The training loop: epochs of shuffled minibatches, with callbacks, a progress bar and a history.

mod callback;
mod checkpoint;
mod graph;
mod history;
mod keep;
mod minibatch;
mod progress;
mod run;
mod session;
mod tensorboard;

use std::path::PathBuf;

use tilewise_kernels::Float;

pub use callback::Callback;
pub use history::{Epoch, History, sparkline};
pub use keep::{EarlyStopping, KeepBest, Monitor};
pub use session::{Session, Snapshot};
pub use tensorboard::{EventFile, TensorBoard};

use checkpoint::Checkpoints;
use minibatch::Data;

use crate::data::Supervised;
use crate::error::Result;
use crate::loss::{Loss, SoftmaxCrossEntropy};
use crate::model::Sequential;
use crate::optim::{Optimizer, Schedule};

/// How to train: an optimiser, a loss and the size of things.
#[derive(Debug, Clone)]
#[must_use]
pub struct Trainer<O, L = SoftmaxCrossEntropy> {
    optimizer: O,
    loss: L,
    plan: Plan,
}

/// The size of things.
#[derive(Debug, Clone)]
struct Plan {
    schedule: Schedule,
    epochs: u64,
    batch_size: usize,
    accumulate: usize,
    drop_last: bool,
    seed: u64,
    progress: bool,
    checkpoints: Option<Checkpoints>,
}

impl<O> Trainer<O> {
    /// 10 epochs of minibatches of 64 with softmax cross-entropy.
    pub fn new(optimizer: O) -> Self {
        let plan = Plan {
            schedule: Schedule::default(),
            epochs: 10,
            batch_size: 64,
            accumulate: 1,
            drop_last: false,
            seed: 0,
            progress: true,
            checkpoints: None,
        };
        Self { optimizer, loss: SoftmaxCrossEntropy::default(), plan }
    }
}

impl<O, L> Trainer<O, L> {
    /// Sets the loss.
    pub fn loss<M>(self, loss: M) -> Trainer<O, M> {
        let Self { optimizer, plan, .. } = self;
        Trainer { optimizer, loss, plan }
    }

    /// Sets how the learning rate changes over time; it does not at first.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.plan.schedule = schedule;
        self
    }

    /// Sets how often the training data is gone through.
    pub fn epochs(mut self, epochs: u64) -> Self {
        self.plan.epochs = epochs;
        self
    }

    /// Sets the number of rows per minibatch.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.plan.batch_size = batch_size;
        self
    }

    /// Sums the gradients of `minibatches` minibatches for one step (1 at first), each weighed by its
    /// rows: the step of a minibatch as large as all together, where that would not fit into memory.
    /// Batch normalisation still sees one at a time. The last step of an epoch may have fewer.
    pub fn accumulate(mut self, minibatches: usize) -> Self {
        self.plan.accumulate = minibatches;
        self
    }

    /// Leaves out the last minibatch of an epoch where it is smaller than the others.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.plan.drop_last = drop_last;
        self
    }

    /// Sets the seed of the order of rows.
    pub fn seed(mut self, seed: u64) -> Self {
        self.plan.seed = seed;
        self
    }

    /// Turns the progress bar on (the default) or off: place in the epoch, loss, the course of the
    /// validation loss and the time left. It shows on a terminal only.
    pub fn progress(mut self, progress: bool) -> Self {
        self.plan.progress = progress;
        self
    }

    /// Writes the whole state of the training to the file `path` after every `steps` steps and at the
    /// end, each time whole or not at all: weights, what the optimiser keeps, running statistics,
    /// random generators, place in the data and history. Where the file is there already, training
    /// goes on from it, to the same bits as if it had never been interrupted; killed at any moment, it
    /// loses what it did since the last state, and no more. Callbacks should know what they know from
    /// the [`Session`], as those of this crate do: their own fields are not in the file.
    ///
    /// The file must be of a training of the same data with the same seed and sizes, and the model
    /// built as it was then, with the same seed, by which dropout draws; the number of epochs may be another. A training that a callback stopped stays so.
    pub fn checkpoints(mut self, path: impl Into<PathBuf>, steps: u64) -> Self {
        self.plan.checkpoints = Some(Checkpoints { path: path.into(), every: steps });
        self
    }

    /// Trains `model` on `train` and measures it on `valid` after every epoch: data sets of classes, or of
    /// values ([`Regression`](crate::data::Regression)) with a loss that takes them.
    ///
    /// # Errors
    /// Before anything changes: if the data does not fit the model, a feature is not finite, or a
    /// minibatch would be too small for a layer. Later: if a loss or a gradient is not finite; the
    /// error names the step and the layer, and the weights are those before that step, but where a
    /// gradient is not finite for layers behind its own.
    pub fn fit<T: Float, D: Supervised<T> + ?Sized>(
        &self,
        model: &mut Sequential<T>,
        train: &D,
        valid: &D,
    ) -> Result<History>
    where
        O: Optimizer<T> + Clone,
        L: Loss<T>,
    {
        self.fit_with(model, train, valid, &mut [])
    }

    /// The same in the company of `callbacks`, which are called in their order.
    ///
    /// # Errors
    /// As for [`fit`](Self::fit), and if a callback says so.
    pub fn fit_with<T: Float, D: Supervised<T> + ?Sized>(
        &self,
        model: &mut Sequential<T>,
        train: &D,
        valid: &D,
        callbacks: &mut [&mut dyn Callback<T>],
    ) -> Result<History>
    where
        O: Optimizer<T> + Clone,
        L: Loss<T>,
    {
        let mut optimizer = self.optimizer.clone();
        let session = Session::new(model, &mut optimizer);
        let data = [train, valid].map(Data::of);
        run::Run::new(&self.plan, &self.loss, data, session)?.all(callbacks)
    }
}
