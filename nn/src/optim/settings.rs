//! What all optimisers can be told: weight decay and clipping.

use tilewise_kernels::{
    Error, Exec, Float, GlobalNorm, Result, StepOptions, StepTensor, clip_factor,
};

use super::Stepped;
use crate::layers::Parameter;

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
        /// normalisation, are left alone, unless their [`decay`](crate::layers::Parameter::decay) is set.
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

/// What parameters that move together have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    /// A factor on the learning rate.
    pub(super) rate: f64,
    pub(super) decay: f64,
}

impl Settings {
    /// Calls `run` with the options of the step for each group of `parameters` that have the same
    /// rate and the same weight decay.
    pub(super) fn apply<T: Float, const N: usize>(
        self,
        parameters: &mut [Stepped<'_, T>],
        exec: Exec,
        run: impl Fn(Group, StepOptions, &mut [StepTensor<'_, T, N>]) -> Result<()>,
    ) -> Result<()> {
        let options = self.options(parameters, exec)?;
        // Plans move one parameter at a time, and allocate nothing.
        if let [only] = parameters {
            let (group, tensor) = self.grouped(only)?;
            return run(group, options, &mut [tensor]);
        }
        let count = parameters.len();
        let mut groups: Vec<(Group, Vec<_>)> = Vec::with_capacity(2);
        for stepped in parameters {
            let (group, tensor) = self.grouped(stepped)?;
            match groups.iter_mut().find(|(other, _)| *other == group) {
                Some((_, tensors)) => tensors.push(tensor),
                None => {
                    let mut tensors = Vec::with_capacity(count);
                    tensors.push(tensor);
                    groups.push((group, tensors));
                }
            }
        }
        // Settings outside their domain are errors for every group, so that the first finds them.
        groups.iter_mut().try_for_each(|(group, tensors)| run(*group, options, tensors))
    }

    /// One parameter as the kernels take it, and the group that it belongs to.
    fn grouped<'a, T: Float, const N: usize>(
        self,
        Stepped { parameter, state, rate }: &'a mut Stepped<'_, T>,
    ) -> Result<(Group, StepTensor<'a, T, N>)> {
        let slots = state.len();
        let Ok(state) = <&mut [Vec<T>; N]>::try_from(&mut **state) else {
            let expected = format!("{N} vectors for each parameter");
            return Err(Error::shape("state of the optimizer", expected, slots));
        };
        let decay = if self.decay_everything { 1.0 } else { parameter.decay };
        check_factors(*rate, parameter)?;
        let group = Group { rate: *rate * parameter.rate, decay: self.decay * decay };
        let tensor = StepTensor {
            params: &mut parameter.value,
            grads: &parameter.gradient,
            state: state.each_mut().map(Vec::as_mut_slice),
        };
        Ok((group, tensor))
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

/// Checks what a parameter says of its learning rate, `rate` times which is taken, and of its decay.
pub(crate) fn check_factors<T>(rate: f64, parameter: &Parameter<T>) -> Result<()> {
    check_factor("learning rate", rate * parameter.rate, parameter.name)?;
    check_factor("weight decay", parameter.decay, parameter.name)
}

fn check_factor(on: &str, factor: f64, parameter: &str) -> Result<()> {
    if factor >= 0.0 && factor.is_finite() {
        return Ok(());
    }
    let what = format!("factor on the {on} of {parameter}");
    Err(Error::value(what, "a finite value of 0 or more", factor))
}
