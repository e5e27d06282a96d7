//! The gradient checker for layers, those of the crate and one that a user wrote.

use tilewise_kernels::{Activation, Exec, ImageDims, Pooling, Result, Window};
use tilewise_nn::Matrix;
use tilewise_nn::autodiff::check_layer;
use tilewise_nn::init::Init;
use tilewise_nn::layers::{
    ActivationLayer, BatchNorm, BatchNormConvention, Conv2d, Dropout, Layer, Linear, Parameter,
    ParameterKind, Pass, Pool2d, RowNormalization, Saved,
};

use crate::common::apart;

fn batch() -> Matrix<f64> {
    Matrix::new(apart(1, &[5, 4]).into_data(), 5, 4).unwrap()
}

fn linear(outputs: usize) -> Linear<f64> {
    Linear::new([4, outputs], true, Init::HeUniform, 1).unwrap()
}

fn conv2d(bias: bool) -> Conv2d<f64> {
    let image = ImageDims { channels: 1, height: 2, width: 2 };
    let window = Window::from(2).padding(1, 0);
    Conv2d::new(image, (3, window), bias, Init::HeUniform, 2).unwrap()
}

#[test]
fn d20_every_layer_of_the_crate_passes_by_input_and_parameters() {
    let image = ImageDims { channels: 1, height: 2, width: 2 };
    let norm = || BatchNorm::new(4, BatchNormConvention::PyTorch);
    let mut running = norm();
    Layer::<f64>::set_statistics(&mut running, true, false);
    let planes = BatchNorm::new(2, BatchNormConvention::Keras).positions(2);
    let pool = |kind, window| Pool2d::new(kind, image, window).unwrap();
    let mut layers: Vec<Box<dyn Layer<f64>>> = vec![
        Box::new(linear(3)),
        Box::new(Linear::new([4, 3], false, Init::HeUniform, 1).unwrap()),
        Box::new(conv2d(true)),
        Box::new(conv2d(false)),
        Box::new(norm()),
        Box::new(norm().relu(true)),
        Box::new(running),
        Box::new(planes),
        Box::new(RowNormalization::layer(4)),
        Box::new(RowNormalization::rms(4)),
        Box::new(pool(Pooling::Max, Window::new(2, 1))),
        Box::new(pool(Pooling::Mean, Window::from(2).padding(1, 1))),
        Box::new(Dropout::new(0.5, 7).unwrap()),
    ];
    for f in [
        Activation::Relu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softplus,
        Activation::Elu { alpha: 0.7 },
        Activation::LeakyRelu { slope: 0.1 },
    ] {
        layers.push(Box::new(ActivationLayer(f)));
        layers.push(Box::new(linear(5).activation(f).unwrap()));
        layers.push(Box::new(conv2d(true).activation(f).unwrap()));
    }
    for f in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
        layers.push(Box::new(ActivationLayer(f)));
        let error = linear(5).activation(f).unwrap_err().to_string();
        assert!(error.contains("known from its output"), "{error}");
        assert!(conv2d(true).activation(f).is_err());
    }
    for layer in &mut layers {
        let check = check_layer(&mut **layer, &batch()).unwrap();
        assert!(check.error < 1e-7, "{} {:?}: {check:?}", layer.kind(), layer.fused());
    }
}

/// Forward and backward of a layer, and of an activation behind it if there is one: all bits.
fn passes(layer: &mut dyn Layer<f32>, behind: Option<Activation>) -> Vec<u32> {
    let pass = Pass::default();
    let values = apart(3, &[70, 4]).into_data();
    let x = Matrix::new(values.iter().map(|&x| x as f32).collect(), 70, 4).unwrap();
    let width = layer.output_width(4).unwrap();
    let [mut y, mut z, mut dz] = [(); 3].map(|()| Matrix::zeros(70, width).unwrap());
    let dy = (0..70 * width).map(|i| (i % 13) as f32 - 6.0).collect();
    let dy = Matrix::new(dy, 70, width).unwrap();
    let mut dx = Matrix::zeros(70, 4).unwrap();
    layer.forward(&x, &mut z, pass).unwrap();
    match behind {
        Some(f) => {
            let mut f = ActivationLayer(f);
            f.forward(&z, &mut y, pass).unwrap();
            f.backward(Saved { x: &z, y: &y, dy: &dy }, Some(&mut dz), pass).unwrap();
        }
        None => (y, dz) = (z.clone(), dy),
    }
    layer.backward(Saved { x: &x, y: &z, dy: &dz }, Some(&mut dx), pass).unwrap();
    let gradients = layer.parameters().iter().flat_map(|p| &p.gradient);
    y.data().iter().chain(dx.data()).chain(gradients).map(|x| x.to_bits()).collect()
}

#[test]
fn an_activation_in_the_store_is_the_one_behind_it() {
    let image = ImageDims { channels: 1, height: 2, width: 2 };
    for f in [Activation::Relu, Activation::Sigmoid, Activation::Elu { alpha: 0.5 }] {
        let linear = Linear::new([4, 37], true, Init::HeUniform, 1).unwrap();
        let conv = Conv2d::new(image, (9, Window::from(1)), true, Init::HeUniform, 2).unwrap();
        let stored = linear.clone().activation(f).unwrap();
        assert_eq!(passes(&mut stored.clone(), None), passes(&mut linear.clone(), Some(f)));
        let stored = conv.clone().activation(f).unwrap();
        assert_eq!(passes(&mut stored.clone(), None), passes(&mut conv.clone(), Some(f)));
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
