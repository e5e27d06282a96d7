//! What all optimisers can be told: weight decay and clipping.

use tilewise_kernels::{
    Error, Exec, Float, GlobalNorm, Result, StepOptions, StepTensor, clip_factor,
};

use super::Stepped;
use crate::layers::ParameterKind;

/// Weight decay and clipping, off at first.
///
/// Weight decay is for weights only, unless everything is asked for. Scales, shifts and biases are few
/// and cannot overfit; pulling the scale of batch normalisation towards zero only changes the learning
/// rate of the layer before it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Settings {
    pub(super) decay: f64,
    pub(super) decay_everything: bool,
    pub(super) clip_value: Option<f64>,
    pub(super) clip_norm: Option<f64>,
}

/// The builder methods for [`Settings`] in a field of that name.
macro_rules! settings {
    () => {
        /// Adds `rate` times each weight to its gradient. Biases, and the scales and shifts of
        /// batch normalisation, are left alone.
        #[must_use]
        pub fn weight_decay(self, rate: f64) -> Self {
            Self { settings: Settings { decay: rate, ..self.settings }, ..self }
        }

        /// Makes weight decay apply to biases, scales and shifts too.
        #[must_use]
        pub fn decay_everything(self) -> Self {
            Self { settings: Settings { decay_everything: true, ..self.settings }, ..self }
        }

        /// Cuts every element of a gradient to [-limit, limit].
        #[must_use]
        pub fn clip_value(self, limit: f64) -> Self {
            Self { settings: Settings { clip_value: Some(limit), ..self.settings }, ..self }
        }

        /// Shrinks all gradients of a step by one factor where the norm of all together is above
        /// `limit` (Pascanu, Mikolov and Bengio 2013); before elements are cut, if they are. A norm
        /// that is not finite is an error.
        #[must_use]
        pub fn clip_norm(self, limit: f64) -> Self {
            Self { settings: Settings { clip_norm: Some(limit), ..self.settings }, ..self }
        }
    };
}
pub(super) use settings;

impl Settings {
    /// Calls `run` with the weight decay and the options of the step for all `parameters`, or, where
    /// that makes a difference, apart for those that decay and those that do not.
    pub(super) fn apply<T: Float, const N: usize>(
        self,
        parameters: &mut [Stepped<'_, T>],
        exec: Exec,
        run: impl Fn(f64, StepOptions, &mut [StepTensor<'_, T, N>]) -> Result<()>,
    ) -> Result<()> {
        let options = self.options(parameters, exec)?;
        let decays = |kind| self.decay_everything || kind == ParameterKind::Weight;
        let mut decayed = Vec::with_capacity(parameters.len());
        let mut others = Vec::new();
        for Stepped { parameter, state } in parameters {
            let slots = state.len();
            let Ok(state) = <&mut [Vec<T>; N]>::try_from(&mut **state) else {
                let expected = format!("{N} vectors for each parameter");
                return Err(Error::shape("state of the optimizer", expected, slots));
            };
            let group = if self.decay == 0.0 || decays(parameter.kind) {
                &mut decayed
            } else {
                &mut others
            };
            let state = state.each_mut().map(Vec::as_mut_slice);
            group.push(StepTensor {
                params: &mut parameter.value,
                grads: &parameter.gradient,
                state,
            });
        }
        run(self.decay, options, &mut decayed)?;
        if others.is_empty() { Ok(()) } else { run(0.0, options, &mut others) }
    }

    fn options<T: Float>(self, parameters: &[Stepped<'_, T>], exec: Exec) -> Result<StepOptions> {
        let mut options = StepOptions::default();
        if let Some(limit) = self.clip_value {
            options.limit = limit;
        }
        if let Some(limit) = self.clip_norm {
            if !(limit.is_finite() && limit > 0.0) {
                let expected = "a finite value above 0";
                return Err(Error::value("limit of the gradients' norm", expected, limit));
            }
            let gradients: Vec<_> =
                parameters.iter().map(|stepped| &stepped.parameter.gradient[..]).collect();
            let norm = GlobalNorm::new(&gradients).run(exec)?;
            if !norm.is_finite() {
                return Err(Error::value("norm of all gradients", "a finite value", norm));
            }
            options.factor = clip_factor(norm, limit);
        }
        Ok(options)
    }
}
