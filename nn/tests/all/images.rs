//! Convolution, pooling and batch normalisation of images.

use crate::layers::{normal, passes};
use tilewise_kernels::{Exec, ImageDims, Par, Window};
use tilewise_nn::SequentialBuilder;
use tilewise_nn::init::Init;
use tilewise_nn::layers::{Conv2d, Layer};
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

#[test]
fn d20_convolutions_pass_the_gradient_check() {
    let plan = || Sequential::new().input_image(2, 6, 5);
    passes(plan().conv2d(3, 3).tanh().conv2d(2, 2), 3, 1);
    let window = Window::new(3, 2).stride(2, 1).padding(1, 1).dilation(1, 2);
    passes(plan().conv2d(3, window).tanh().conv2d_same(2, 3).flatten(), 3, 2);
    passes(plan().conv2d_same(3, 3).batch_norm().relu().conv2d(2, 4), 3, 3);
}

#[test]
fn d20_pooling_passes_the_gradient_check() {
    let plan = || Sequential::new().input_image(1, 6, 6).conv2d_same(3, 3);
    passes(plan().max_pool(2).conv2d(2, 2), 3, 1);
    passes(plan().average_pool(3).conv2d(2, 2), 3, 2);
    passes(plan().max_pool_window(Window::new(3, 3).stride(2, 2).padding(1, 1)).conv2d(2, 2), 3, 3);
    passes(plan().average_pool_window(Window::new(3, 2).stride(1, 2).padding(1, 0)).tanh(), 3, 4);
    passes(plan().global_average_pool().flatten().linear(3, 2), 3, 5);
}

#[test]
fn d20_residual_blocks_of_images_pass_the_gradient_check() {
    let block = |block: SequentialBuilder| {
        block.conv2d_same(3, 3).batch_norm().relu().conv2d_same(3, 3).batch_norm()
    };
    let plan = Sequential::new().input_image(1, 5, 5).conv2d(3, 2).residual(block).relu();
    let wider = |block: SequentialBuilder| block.conv2d_same(4, 3).tanh();
    let plan = plan.residual_with(wider, |shortcut| shortcut.conv2d(4, 1));
    passes(plan.global_average_pool().flatten().linear(4, 2), 3, 4);
}

/// The definition, one product at a time.
fn convolve(layer: &Conv2d<f64>, image: ImageDims, window: Window, x: &Matrix<f64>) -> Vec<f64> {
    let [weight, bias] = Layer::parameters(layer) else { panic!("a weight and a bias") };
    let ImageDims { channels, height, width } = image;
    let [down, across] = window.positions(image).unwrap();
    let mut y = Vec::new();
    for row in 0..x.rows() {
        for (filter, bias) in bias.value.iter().enumerate() {
            for place in 0..down * across {
                let mut sum = *bias;
                for tap in 0..channels * window.area() {
                    let [channel, inside] = [tap / window.area(), tap % window.area()];
                    let at = |axis: usize, place: usize, tap: usize| {
                        (place * window.stride[axis] + tap * window.dilation[axis])
                            .checked_sub(window.padding[axis])
                    };
                    let i = at(0, place / across, inside / window.kernel[1]);
                    let j = at(1, place % across, inside % window.kernel[1]);
                    if let (Some(i), Some(j)) = (i, j)
                        && i < height
                        && j < width
                    {
                        let weight = weight.value[filter * channels * window.area() + tap];
                        sum += weight * x.row(row)[(channel * height + i) * width + j];
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

#[test]
fn a_convolution_is_its_definition() {
    for (channels, window) in [
        (1, Window::from(1)),
        (3, Window::from(3)),
        (2, Window::new(2, 3).stride(2, 1).padding(1, 2)),
        (2, Window::new(3, 2).dilation(2, 3).padding(0, 1)),
    ] {
        let image = ImageDims { channels, height: 7, width: 6 };
        let mut layer = Conv2d::new(image, (4, window), true, Init::HeNormal, 1).unwrap();
        let mut random = Random::new(5);
        layer.parameters_mut()[1].value.iter_mut().for_each(|b| *b = random.normal());
        let x = normal(3, channels * 42, 2);
        let mut y = Matrix::zeros(3, Layer::output_width(&layer, x.cols()).unwrap()).unwrap();
        layer.infer(&x, &mut y, Exec::default()).unwrap();
        let want = convolve(&layer, image, window, &x);
        assert_eq!(y.data().len(), want.len());
        let off = y.data().iter().zip(&want).map(|(y, want)| (y - want).abs());
        assert!(off.fold(0.0, f64::max) < 1e-13, "{window:?}");
        let alone = x.select_rows(&[2]).unwrap();
        let mut y2 = Matrix::zeros(1, y.cols()).unwrap();
        layer.infer(&alone, &mut y2, Exec::default()).unwrap();
        assert_eq!(y2.row(0), y.row(2), "an image alone and in a batch");
    }
}

#[test]
fn filters_are_drawn_for_all_that_they_reach() {
    let image = ImageDims { channels: 16, height: 8, width: 8 };
    let layer = |init| Conv2d::<f64>::new(image, (64, Window::from(3)), true, init, 1).unwrap();
    for (init, variance) in [
        (Init::HeUniform, 2.0 / (16.0 * 9.0)),
        (Init::XavierNormal, 2.0 / (16.0 * 9.0 + 64.0 * 9.0)),
    ] {
        let layer = layer(init);
        let weights = &layer.parameters()[0].value;
        assert_eq!(layer.parameters()[0].shape, [64, 16, 3, 3]);
        let square = weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
        assert!((square / variance - 1.0).abs() < 0.05, "{init:?}: {square}");
    }
}

#[test]
fn b2_batch_norm_of_an_image_normalises_its_channels() {
    let plan = Sequential::new().input_image(2, 3, 4).batch_norm();
    let mut model = plan.build_as::<f64>(1).unwrap();
    let x = normal(5, 24, 1);
    assert_eq!(model.layers().next().unwrap().parameters()[0].value.len(), 2);
    model.recalibrate(&x).unwrap();
    let y = model.logits(&x).unwrap();
    for channel in 0..2 {
        let plane = |row: usize| y.row(row)[channel * 12..][..12].to_vec();
        let all: Vec<f64> = (0..5).flat_map(plane).collect();
        let mean = all.iter().sum::<f64>() / 60.0;
        let var = all.iter().map(|y| y * y).sum::<f64>() / 60.0 - mean * mean;
        assert!(mean.abs() < 1e-12 && (var - 1.0).abs() < 1e-4, "{mean} {var}");
    }
    // A single image has enough values for its channels.
    let one = x.select_rows(&[0]).unwrap();
    model.loss_and_gradients(&one, &normal(1, 24, 2), &MeanSquaredError).unwrap();
}

#[test]
fn k10_images_train_to_the_same_bits_on_any_number_of_threads() {
    let train = |exec: Exec| {
        let plan = Sequential::new().input_image(1, 8, 8).conv2d_same(4, 3).batch_norm().relu();
        let plan = plan.max_pool(2).residual(|block| block.conv2d_same(4, 3)).flatten();
        let mut model = plan.linear(64, 3).build(1).unwrap();
        model.set_exec(exec);
        let x = normal(20, 64, 1);
        let x = Matrix::new(x.data().iter().map(|&x| x as f32).collect(), 20, 64).unwrap();
        let labels: Vec<usize> = (0..20).map(|row| row % 3).collect();
        let mut state = tilewise_nn::optim::OptimizerState::new();
        for _ in 0..3 {
            let loss = SoftmaxCrossEntropy::default();
            model.loss_and_gradients(&x, &labels, &loss).unwrap();
            state.step(&Adam::default(), &mut model).unwrap();
        }
        model.to_safetensors().unwrap()
    };
    let serial = train(Exec::serial());
    for threads in [2, 3, 7] {
        assert!(train(Exec::default().par(Par::Threads(threads))) == serial, "{threads}");
    }
}

#[test]
fn d15_real_digits_are_learned_by_a_convolutional_network() {
    let (train, test) = digits().unwrap().stratified_split(360, 1).unwrap();
    let plan = Sequential::new().input_image(1, 8, 8).conv2d_same(12, 3).batch_norm().relu();
    let plan = plan.max_pool(2).residual(|block| block.conv2d_same(12, 3).batch_norm()).relu();
    let mut model = plan.flatten().linear(12 * 16, 10).build(1).unwrap();
    Trainer::new(Adam::default().learning_rate(0.003))
        .epochs(6)
        .seed(1)
        .progress(false)
        .fit(&mut model, &train, &test)
        .unwrap();
    let accuracy = model.evaluate(&test).unwrap().accuracy;
    assert!(accuracy >= 0.97, "{accuracy}");
}

#[test]
fn layers_of_images_say_what_they_lack() {
    let error = |plan: SequentialBuilder| plan.build(1).unwrap_err().to_string();
    let columns = error(Sequential::new().linear(4, 4).conv2d(2, 3));
    assert!(
        columns.starts_with("layer 1 conv2d: input: expected an image (begin with"),
        "{columns}"
    );
    let plan = || Sequential::new().input_image(1, 4, 4);
    let large = error(plan().conv2d(2, 3).max_pool(3));
    assert_eq!(
        large,
        "layer 1 max_pool: pool: window: expected at most 2 high, as the padded image is, got 3"
    );
    let zero = error(plan().conv2d(2, Window::from(2).stride(1, 0)));
    assert_eq!(zero, "layer 0 conv2d: stride: expected at least 1, got 0");
    let width = error(plan().conv2d(2, 3).flatten().linear(9, 2));
    assert_eq!(width, "layer 2 linear: input: expected 9 columns, got 8 columns");
}
