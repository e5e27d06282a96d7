//! The gradient checker for layers, those of the crate and one that a user wrote.

use tilewise_kernels::{Activation, Exec, Result};
use tilewise_nn::Matrix;
use tilewise_nn::autodiff::check_layer;
use tilewise_nn::init::Init;
use tilewise_nn::layers::{
    ActivationLayer, BatchNorm, BatchNormConvention, Dropout, Layer, Linear, Parameter,
    ParameterKind, Pass, Saved,
};

use crate::common::apart;

fn batch() -> Matrix<f64> {
    Matrix::new(apart(1, &[5, 4]).into_data(), 5, 4).unwrap()
}

#[test]
fn layers_of_the_crate_pass() {
    let mut layers: [Box<dyn Layer<f64>>; 4] = [
        Box::new(Linear::new([4, 3], true, Init::HeUniform, 1).unwrap()),
        Box::new(BatchNorm::new(4, BatchNormConvention::PyTorch)),
        Box::new(ActivationLayer(Activation::Gelu)),
        Box::new(Dropout::new(0.5, 7).unwrap()),
    ];
    for layer in &mut layers {
        let check = check_layer(&mut **layer, &batch()).unwrap();
        assert!(check.error < 1e-7, "{}: {check:?}", layer.kind());
    }
}

/// y = x · e^s with a scale s per column, and a gradient that is right or not.
#[derive(Debug)]
struct Scaled {
    log_scale: [Parameter<f64>; 1],
    right: bool,
}

impl Scaled {
    fn new(right: bool) -> Self {
        let log_scale = [Parameter::new("log_scale", ParameterKind::Scale, &[4], 0.3)];
        Self { log_scale, right }
    }
}

impl Layer<f64> for Scaled {
    fn kind(&self) -> &'static str {
        "scaled"
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        Ok(input)
    }

    fn forward(&mut self, x: &Matrix<f64>, y: &mut Matrix<f64>, pass: Pass) -> Result<()> {
        self.infer(x, y, pass.exec)
    }

    fn infer(&self, x: &Matrix<f64>, y: &mut Matrix<f64>, _: Exec) -> Result<()> {
        for (i, y) in y.data_mut().iter_mut().enumerate() {
            *y = x.data()[i] * self.log_scale[0].value[i % 4].exp();
        }
        Ok(())
    }

    fn backward(
        &mut self,
        saved: Saved<'_, f64>,
        dx: Option<&mut Matrix<f64>>,
        _: Pass,
    ) -> Result<()> {
        let [log_scale] = &mut self.log_scale;
        log_scale.gradient.fill(0.0);
        for (i, dy) in saved.dy.data().iter().enumerate() {
            let y = if self.right { saved.y } else { saved.x };
            log_scale.gradient[i % 4] += dy * y.data()[i];
        }
        if let Some(dx) = dx {
            for (i, dx) in dx.data_mut().iter_mut().enumerate() {
                *dx = saved.dy.data()[i] * log_scale.value[i % 4].exp();
            }
        }
        Ok(())
    }

    fn parameters(&self) -> &[Parameter<f64>] {
        &self.log_scale
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<f64>] {
        &mut self.log_scale
    }
}

#[test]
fn d20_a_layer_of_ones_own_passes() {
    let mut layer = Scaled::new(true);
    let check = check_layer(&mut layer, &batch()).unwrap();
    assert!(check.error < 1e-7, "{check:?}");
    assert_eq!(layer.log_scale[0].value, [0.3; 4], "parameters are as before");
}

#[test]
fn d20_a_wrong_one_does_not() {
    let check = check_layer(&mut Scaled::new(false), &batch()).unwrap();
    assert!(check.error > 0.01 && check.worst == "log_scale", "{check:?}");
}
