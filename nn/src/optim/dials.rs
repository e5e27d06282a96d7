//! What can be changed about an optimiser while it trains.

use tilewise_kernels::{Error, Result};

/// The settings of an optimiser that can be turned during a training; `None` where a rule has no such
/// thing. To turn some of them only, leave the others `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dials {
    /// The learning rate α.
    pub learning_rate: Option<f64>,
    /// How much of the old average of gradients stays: β of momentum, β₁ of Adam.
    pub momentum: Option<f64>,
    /// The rate of weight decay.
    pub weight_decay: Option<f64>,
}

impl Dials {
    /// Puts the given ones into `places`, in the order of the fields.
    pub(super) fn turn(self, places: [Option<&mut f64>; 3]) -> Result<()> {
        let names = ["learning rate", "momentum", "weight decay"];
        let values = [self.learning_rate, self.momentum, self.weight_decay];
        for (name, (value, place)) in names.into_iter().zip(values.iter().zip(&places)) {
            if let (Some(value), None) = (value, place) {
                return Err(Error::value(name, "none, as this optimizer has no such thing", value));
            }
        }
        for (value, place) in values.into_iter().zip(places) {
            if let (Some(value), Some(place)) = (value, place) {
                *place = value;
            }
        }
        Ok(())
    }
}
