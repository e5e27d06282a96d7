//! What looks at a training while it runs, and may change its course.

use tilewise_kernels::Float;

use super::session::Session;
use crate::error::{Error, Result};

/// A companion of a training: called after every step and every epoch, it sees where the training
/// stands and may stop it, turn the learning rate, keep the state and go back to it.
///
/// ```
/// use tilewise_nn::prelude::*;
/// use tilewise_nn::{Callback, Session};
///
/// /// Halves the learning rate after every epoch.
/// struct Halve;
///
/// impl Callback for Halve {
///     fn epoch(&mut self, session: &mut Session<'_>) -> Result<()> {
///         let rate = session.dials().learning_rate.unwrap_or(0.0);
///         session.set_learning_rate(rate / 2.0)
///     }
/// }
///
/// let data = digits()?;
/// let mut model = Sequential::new().linear(64, 10).build(1)?;
/// let trainer = Trainer::new(Adam::default()).epochs(2);
/// let history = trainer.fit_with(&mut model, &data, &data, &mut [&mut Halve])?;
/// assert_eq!(history.epochs[1].learning_rate, Some(0.0005));
/// # Ok::<(), Error>(())
/// ```
pub trait Callback<T: Float = f32> {
    /// Before the first step.
    ///
    /// # Errors
    /// An error ends the training.
    fn begin(&mut self, _session: &mut Session<'_, T>) -> Result<()> {
        Ok(())
    }

    /// After every step.
    ///
    /// # Errors
    /// An error ends the training.
    fn step(&mut self, _session: &mut Session<'_, T>) -> Result<()> {
        Ok(())
    }

    /// After every epoch, when the validation data was measured; the epoch is the last of
    /// [`history`](Session::history).
    ///
    /// # Errors
    /// An error ends the training.
    fn epoch(&mut self, _session: &mut Session<'_, T>) -> Result<()> {
        Ok(())
    }

    /// When a loss or a gradient is not finite: `error` says where. The step was not taken. The training
    /// ends with this error unless a callback goes back to a snapshot.
    ///
    /// # Errors
    /// Another error ends the training instead.
    fn diverged(&mut self, _session: &mut Session<'_, T>, _error: &Error) -> Result<()> {
        Ok(())
    }

    /// After the last epoch, or when the training was stopped, but not after an error.
    ///
    /// # Errors
    /// An error is the training's.
    fn end(&mut self, _session: &mut Session<'_, T>) -> Result<()> {
        Ok(())
    }
}
