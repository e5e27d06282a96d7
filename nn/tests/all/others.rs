//! Files and conventions beside those of other programs, by a Python that has what a test names. Its path
//! is in `TILEWISE_PYTHON`; where something is missing, the test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;
use tilewise_kernels::{EpsilonPlacement, Exec};
use tilewise_nn::data::npy::{self, Array, to_npz};
use tilewise_nn::init::Init;
use tilewise_nn::layers::{BatchNorm, Layer, Parameter, ParameterKind, Pass};
use tilewise_nn::optim::OptimizerState;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all/with_others.py");
/// As in the script.
const BATCHES: [[f64; 4]; 3] = [[1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0], [0.5, -1.0, 7.0, 2.0]];
const GRADIENTS: [f64; 4] = [-10.0, 3.0, 0.5, -2.0];

pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// What a part of the script found.
pub(crate) fn ask(part: &str, directory: &Path) -> Json {
    let python = std::env::var("TILEWISE_PYTHON").expect("TILEWISE_PYTHON is set");
    let output = Command::new(&python).arg(SCRIPT).arg(part).arg(directory).output();
    let output = output.unwrap_or_else(|error| panic!("{python}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{part} by {python}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[track_caller]
fn near(ours: &[f64], theirs: &[f64], bound: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let far = (ours - theirs).abs() > bound * (1.0 + theirs.abs());
        assert!(!far, "{what}, {at}: {ours} here, {theirs} there");
    }
}

fn normal(rows: usize, cols: usize, seed: u64) -> Matrix<f64> {
    let mut random = Random::new(seed);
    Matrix::new((0..rows * cols).map(|_| random.normal()).collect(), rows, cols).unwrap()
}

#[test]
#[ignore = "needs a Python with numpy: its path in TILEWISE_PYTHON"]
fn d18_numpy_reads_our_arrays_and_we_read_its() {
    let directory = scratch("with_numpy");
    let (doubles, singles) = (normal(3, 2, 1), Matrix::from_rows(&[[1.5f32, -2.0]]).unwrap());
    let mut model =
        Sequential::new().linear(2, 3).batch_norm().relu().linear(3, 2).build(1).unwrap();
    let data = Dataset::new(normal_single(8, 2), vec![0, 1, 0, 1, 0, 1, 0, 1], 2).unwrap();
    Trainer::new(Adam::default()).epochs(2).fit(&mut model, &data, &data).unwrap();
    model.save_npz(directory.join("weights.npz")).unwrap();
    let weights = npy::read_npz(directory.join("weights.npz")).unwrap();
    let own =
        [("doubles", Array::from_matrix(&doubles)), ("singles", Array::from_matrix(&singles))];
    let all = own.iter().map(|(name, array)| (*name, array));
    let all = all.chain(weights.iter().map(|(name, array)| (&name[..], array)));
    fs::write(directory.join("ours.npz"), to_npz(all).unwrap()).unwrap();
    let found = ask("numpy", &directory);
    assert_eq!(found.as_object().unwrap().len(), 2 + weights.len());
    assert_eq!(
        (&found["doubles"][0], &found["singles"][0]),
        (&"float64".into(), &"float32".into())
    );
    assert_eq!(found["1.num_batches_tracked"], serde_json::json!(["int64", [], [2]]));
    assert_eq!(numbers(&found["doubles"][2]), doubles.data());
    for (name, array) in &weights {
        assert_eq!(numbers(&found[name][2]), array.values(), "{name}");
    }
    for file in ["theirs.npz", "deflated.npz"] {
        let arrays = npy::read_npz(directory.join(file)).unwrap();
        let array = |name: &str| &arrays.iter().find(|(other, _)| other == name).unwrap().1;
        let counting: Vec<f64> = (0..24).map(f64::from).collect();
        assert_eq!(
            (array("bytes").shape(), array("bytes").values()),
            (&[2, 3, 4][..], counting.clone())
        );
        assert_eq!(
            (array("fortran").shape(), array("fortran").values()),
            (&[2, 3, 4][..], counting)
        );
        assert_eq!(array("halves").values(), [0.5, -2.0]);
        near(
            &array("doubles").values(),
            &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0].map(|x| x / 6.0),
            1e-15,
            file,
        );
        assert_eq!(
            (array("flags").values(), array("single").values()),
            (vec![1.0, 0.0], vec![3.5])
        );
        assert_eq!(array("labels").labels().unwrap(), [2, 0]);
    }
    let error = npy::read(directory.join("objects.npy")).unwrap_err().to_string();
    assert!(
        error.contains("header: expected a dictionary of descr (numbers or booleans)"),
        "{error}"
    );
}

fn normal_single(rows: usize, cols: usize) -> Matrix<f32> {
    let values = normal(rows, cols, 5).data().iter().map(|&x| x as f32).collect();
    Matrix::new(values, rows, cols).unwrap()
}

fn network() -> Sequential<f64> {
    let plan = Sequential::new().linear(6, 8).batch_norm().relu().linear(8, 5).layer_norm().tanh();
    plan.linear(5, 4).build_as(1).unwrap()
}

fn images() -> Sequential {
    let plan = Sequential::new().input_image(2, 6, 6).conv2d_same(3, 3).batch_norm().relu();
    plan.max_pool(2).flatten().linear(27, 4).build(1).unwrap()
}

/// Two epochs of three minibatches, in order.
fn train(optimizer: &dyn Optimizer<f64>, x: &Matrix<f64>, labels: &[usize]) -> Sequential<f64> {
    let (mut model, mut state) = (network(), OptimizerState::new());
    for rows in [0..8, 8..16, 16..24, 0..8, 8..16, 16..24] {
        let rows: Vec<usize> = rows.collect();
        let picked: Vec<usize> = rows.iter().map(|&row| labels[row]).collect();
        let x = x.select_rows(&rows).unwrap();
        model.loss_and_gradients(&x, &picked, &SoftmaxCrossEntropy::default()).unwrap();
        state.step(optimizer, &mut model).unwrap();
    }
    model
}

/// PyTorch's optimisers with its defaults, as the page about migration writes them.
fn of_pytorch() -> [(&'static str, Box<dyn Optimizer<f64>>); 8] {
    let momentum = || Sgd::momentum(0.9).learning_rate(0.1);
    let rmsprop = RmsProp::default().learning_rate(0.01).beta(0.99);
    [
        ("sgd", Box::new(Sgd::new(0.1))),
        ("momentum", Box::new(momentum())),
        ("nesterov", Box::new(momentum().nesterov())),
        ("rmsprop", Box::new(rmsprop.epsilon(1e-8, EpsilonPlacement::Outside))),
        ("adagrad", Box::new(Adagrad::default())),
        ("adam", Box::new(Adam::default())),
        ("adamw", Box::new(Adam::adamw(0.1).learning_rate(0.01))),
        ("adamw_all", Box::new(Adam::adamw(0.01).decay_everything())),
    ]
}

#[test]
#[ignore = "needs a Python with torch and safetensors: its path in TILEWISE_PYTHON"]
fn d18_pytorch_trains_loads_and_answers_as_we_do() {
    let directory = scratch("with_torch");
    let file = |name: &str| directory.join(name);
    let (x, pixels) = (normal(24, 6, 2), normal_single(5, 72));
    let labels: Vec<usize> = (0..24).map(|row| row * 7 % 4).collect();
    network().save(file("start.safetensors")).unwrap();
    let mut trained = Vec::new();
    for (name, optimizer) in of_pytorch() {
        let model = train(&*optimizer, &x, &labels);
        model.save(file(&format!("{name}.safetensors"))).unwrap();
        model.save_npz(file(&format!("{name}.npz"))).unwrap();
        trained.push((name, model));
    }
    let mut convolutional = images();
    let pictures = Dataset::new(pixels.clone(), vec![0, 1, 2, 3, 0], 4).unwrap();
    Trainer::new(Adam::default()).epochs(3).fit(&mut convolutional, &pictures, &pictures).unwrap();
    convolutional.save(file("images.safetensors")).unwrap();
    let y = Matrix::new(labels.iter().map(|&label| label as f64).collect(), 24, 1).unwrap();
    let arrays = [Array::from_matrix(&x), Array::from_matrix(&y), Array::from_matrix(&pixels)];
    let data = to_npz(["x", "y", "pixels"].into_iter().zip(&arrays)).unwrap();
    fs::write(file("data.npz"), data).unwrap();

    let found = ask("torch", &directory);
    for (name, model) in &trained {
        // Six steps of the same formulas in f64.
        let difference = found["difference"][name].as_f64().unwrap();
        assert!(difference < 1e-12, "{name}: weights differ by {difference}");
        let logits = model.logits(&x).unwrap();
        near(logits.data(), &numbers(&found["logits"][name]), 1e-12, name);
    }
    let adam = &trained.iter().find(|(name, _)| *name == "adam").unwrap().1;
    near(adam.logits(&x).unwrap().data(), &numbers(&found["logits"]["npz"]), 1e-12, "npz");
    // And the other way.
    for format in ["safetensors", "npz"] {
        let mut model = network();
        match format {
            "npz" => model.load_npz(file("theirs.npz")).unwrap(),
            _ => model.load(file("theirs.safetensors")).unwrap(),
        }
        near(model.logits(&x).unwrap().data(), &numbers(&found["theirs"]), 1e-12, format);
    }
    let mut biased = network();
    biased.load(file("biased.safetensors")).unwrap();
    near(biased.logits(&x).unwrap().data(), &numbers(&found["biased"]), 1e-12, "biased");
    let wide = |model: &Sequential| -> Vec<f64> {
        model.logits(&pixels).unwrap().data().iter().map(|&z| f64::from(z)).collect()
    };
    near(&wide(&convolutional), &numbers(&found["images"]), 1e-5, "images");
    convolutional.load(file("their_images.safetensors")).unwrap();
    near(&wide(&convolutional), &numbers(&found["their_images"]), 1e-5, "their images");

    assert_eq!(found["epsilon"], BatchNormConvention::PyTorch.epsilon());
    near(&course(BatchNormConvention::PyTorch), &flat(&found["PyTorch"]), 1e-12, "PyTorch");
    near(&course(BatchNormConvention::Cumulative), &flat(&found["Cumulative"]), 1e-12, "None");
    let (xavier, he) = (("XavierUniform", Init::XavierUniform), ("HeUniform", Init::HeUniform));
    check_limits(&found, &[xavier, he, ("TorchUniform", Init::TorchUniform)]);
}

/// Running mean and variance after each minibatch.
fn course(convention: BatchNormConvention) -> Vec<f64> {
    let mut layer = BatchNorm::<f64>::new(1, convention);
    let mut course = Vec::new();
    for batch in BATCHES {
        let z = Matrix::new(batch.to_vec(), 4, 1).unwrap();
        layer.forward(&z, &mut z.clone(), Pass::default()).unwrap();
        course.extend([layer.running_mean()[0], layer.running_var()[0]]);
    }
    course
}

pub(crate) fn flat(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().flat_map(numbers).collect()
}

/// Largest values of 25 x 12288 draws are near the limit on both sides.
fn check_limits(found: &Json, inits: &[(&str, Init)]) {
    for (name, init) in inits {
        let mut weights = vec![0.0f64; 25 * 12288];
        init.fill(&mut weights, 12288, 25, 1);
        let largest = weights.iter().fold(0.0f64, |largest, w| largest.max(w.abs()));
        let theirs = found["limits"][name].as_f64().unwrap();
        assert!((largest / theirs - 1.0).abs() < 1e-3, "{name}: {largest} here, {theirs} there");
    }
}

/// The value of a weight, at first 1, after each gradient.
fn steps(optimizer: &dyn Optimizer<f64>) -> Vec<f64> {
    let mut w = Parameter::new("w", ParameterKind::Weight, &[1], 1.0);
    let mut state = vec![vec![0.0]; optimizer.slots()];
    let step = |(at, gradient): (usize, f64)| {
        w.gradient[0] = gradient;
        optimizer.update(&mut w, &mut state, at as u64 + 1, Exec::default()).unwrap();
        w.value[0]
    };
    GRADIENTS.into_iter().enumerate().map(step).collect()
}

#[test]
#[ignore = "needs a Python with keras and tensorflow: its path in TILEWISE_PYTHON"]
fn b20_keras_keeps_statistics_and_steps_as_we_say() {
    let found = ask("keras", &scratch("with_keras"));
    let keras = BatchNormConvention::Keras;
    assert_eq!(found["epsilon"], keras.epsilon());
    near(&course(keras), &flat(&found["Keras"]), 1e-6, "Keras");
    // `trainable = False` neither uses nor updates the minibatch's.
    assert_eq!(numbers(&found["frozen"]), [0.0, 1.0]);
    check_limits(&found, &[("XavierUniform", Init::XavierUniform)]);
    let rmsprop = RmsProp::default().epsilon(1e-7, EpsilonPlacement::Inside);
    let of_keras: [(&str, Box<dyn Optimizer<f64>>); 5] = [
        ("sgd", Box::new(Sgd::new(0.01))),
        ("momentum", Box::new(Sgd::momentum(0.9))),
        ("nesterov", Box::new(Sgd::momentum(0.9).nesterov())),
        ("rmsprop", Box::new(rmsprop)),
        ("adam", Box::new(Adam::default().epsilon(1e-7))),
    ];
    for (name, optimizer) in of_keras {
        near(&steps(&*optimizer), &numbers(&found["steps"][name]), 1e-6, name);
    }
    let inside = rmsprop.learning_rate(0.5).epsilon(2.0, EpsilonPlacement::Inside);
    near(&steps(&inside), &numbers(&found["steps"]["rmsprop_place"]), 1e-6, "inside");
    near(&keras_adam(), &numbers(&found["steps"]["adam_place"]), 1e-6, "before the correction");
    // With v at its old rates.
    let (mut w, mut v) = (1.0, 0.0);
    let moved = GRADIENTS.into_iter().zip([0.1, 0.01, 0.1, 0.02]).map(|(gradient, rate)| {
        v = 0.9 * v - rate * gradient;
        w += v;
        w
    });
    near(&moved.collect::<Vec<_>>(), &numbers(&found["steps"]["rates"]), 1e-6, "rates");
    let schedule = Schedule::inverse_time(0.5);
    let factors = [0.0, 1.0, 2.0, 3.0].map(|t| schedule.factor(t));
    near(&factors, &numbers(&found["decay"]), 1e-6, "decay");
}

/// Adam with ε = 2 added to √v before the bias correction, as the page about migration says of Keras.
fn keras_adam() -> Vec<f64> {
    let (mut w, mut m, mut v) = (1.0, 0.0, 0.0);
    let step = |(t, gradient): (i32, f64)| {
        m = 0.9 * m + 0.1 * gradient;
        v = 0.999 * v + 0.001 * gradient * gradient;
        let rate = 0.5 * (1.0 - 0.999f64.powi(t)).sqrt() / (1.0 - 0.9f64.powi(t));
        w -= rate * m / (v.sqrt() + 2.0);
        w
    };
    (1..).zip(GRADIENTS).map(step).collect()
}

#[test]
#[ignore = "needs a Python with tensorflow: its path in TILEWISE_PYTHON"]
fn b20_tensorflow_fused_keeps_statistics_as_we_say() {
    let found = ask("tensorflow", &scratch("with_tensorflow"));
    let ours = course(BatchNormConvention::TensorFlowFused);
    near(&ours, &flat(&found["TensorFlowFused"]), 1e-6, "TensorFlow");
}

#[test]
#[ignore = "needs a Python with paddle: its path in TILEWISE_PYTHON"]
fn b20_paddle_keeps_statistics_and_steps_as_we_say() {
    let found = ask("paddle", &scratch("with_paddle"));
    assert_eq!(found["epsilon"], BatchNormConvention::Onnx.epsilon());
    near(&course(BatchNormConvention::Onnx), &flat(&found["Onnx"]), 1e-6, "PaddlePaddle");
    near(&steps(&Adam::default()), &numbers(&found["steps"]["adam"]), 1e-6, "Adam");
}
