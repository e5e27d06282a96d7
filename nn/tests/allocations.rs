//! D13: a steady step of a plan allocates nothing. A program of its own, because it counts for all threads.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use tilewise_kernels::{Activation, EpsilonPlacement, Exec};
use tilewise_nn::autodiff::{Feed, Plan, Tensor, Variables};
use tilewise_nn::loss::{
    Huber, Loss, MeanAbsoluteError, MeanSquaredError, SigmoidCrossEntropy, SoftmaxCrossEntropy,
    Targets,
};
use tilewise_nn::optim::{Adagrad, Adam, Optimizer, OptimizerState, RmsProp, Sgd};
use tilewise_nn::random::Random;
use tilewise_nn::{Matrix, Sequential, SequentialBuilder, StepRule};

/// The system's allocator, which counts what it is asked for.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROWS: usize = 64;
const LABELS: [usize; ROWS] = [3; ROWS];

fn drawn(seed: u64, dims: &[usize]) -> Tensor<f32> {
    let mut random = Random::new(seed);
    let len = dims.iter().product();
    Tensor::new((0..len).map(|_| 0.1 * random.normal() as f32).collect(), dims).unwrap()
}

/// A network with all fusions and some operations that stretch, reduce and move.
fn plan(
    variables: &mut Variables<f32>,
    optimizer: impl Optimizer<f32> + Send + Sync + 'static,
) -> Plan<f32> {
    let shapes: [&[usize]; 7] =
        [&[200, 300], &[300], &[300], &[100, 300], &[100], &[100, 10], &[10]];
    let all = shapes.map(|dims| variables.add(drawn(dims.len() as u64, dims)));
    let variables = &*variables;
    Plan::training(optimizer, |tape| {
        let [w1, gamma, beta, w2, b2, w3, b3] = all.map(|v| tape.watch(variables, v));
        let x = tape.input("x", drawn(9, &[ROWS, 200]));
        let hidden = x.matmul(w1).batch_norm(gamma, beta, 1e-5).relu();
        let hidden = (hidden.matmul_t(w2) + b2).activation(Activation::Gelu);
        let centred = hidden - hidden.mean_over(&[1]).reshape(&[ROWS, 1]);
        let scaled = centred / (centred.square().mean() + 1e-3).sqrt();
        let turned = scaled.slice(1, 50, 50).concat(&[scaled.slice(1, 0, 50)], 1);
        let logits = (turned.transpose().transpose().matmul(w3) + b3).output("logits");
        let loss = logits.softmax_cross_entropy(tape.labels("y", &LABELS));
        loss + 1e-4 * (w1.square().sum() + w3.square().sum())
    })
    .unwrap()
    .exec(Exec::serial())
}

/// Allocations of ten steps behind the first two.
fn allocations(optimizer: impl Optimizer<f32> + Send + Sync + 'static) -> u64 {
    let mut variables = Variables::new();
    let mut plan = plan(&mut variables, optimizer);
    let x: Vec<_> = (0..12).map(|seed| drawn(20 + seed, &[ROWS, 200])).collect();
    let mut before = 0;
    for (step, x) in x.iter().enumerate() {
        if step == 2 {
            before = COUNT.load(Ordering::Relaxed);
        }
        let feeds = [Feed::values("x", x.data()), Feed::labels("y", &LABELS)];
        let loss = plan.run(&mut variables, &feeds).unwrap();
        assert!(loss.is_finite());
    }
    COUNT.load(Ordering::Relaxed) - before
}

/// Allocations of ten training steps of a model behind the first two.
fn allocations_of_model(builder: SequentialBuilder, loss: &dyn Loss<f32>, classes: bool) -> u64 {
    let mut model = builder.build(1).unwrap();
    model.set_exec(Exec::serial());
    let x = Matrix::new(drawn(5, &[ROWS, model.inputs()]).into_data(), ROWS, model.inputs());
    let (x, mut state, adam) = (x.unwrap(), OptimizerState::new(), Adam::default());
    let values = Matrix::zeros(ROWS, model.outputs()).unwrap();
    let rule = StepRule { loss, optimizer: &adam, rate: 1.0 };
    let mut before = 0;
    for step in 0..12 {
        if step == 2 {
            before = COUNT.load(Ordering::Relaxed);
        }
        let targets = if classes { Targets::from(&LABELS) } else { Targets::from(&values) };
        assert!(model.train_step(&x, targets, &rule, &mut state).unwrap().is_finite());
    }
    COUNT.load(Ordering::Relaxed) - before
}

/// Models of all layers and losses.
fn models_allocate_nothing() {
    let entropy = SoftmaxCrossEntropy::default().label_smoothing(0.1);
    let rows = Sequential::new().linear(30, 20).batch_norm().relu();
    let rows = rows.residual(|body| body.linear(20, 20).layer_norm().gelu()).dropout(0.1);
    assert_eq!(allocations_of_model(rows.rms_norm().linear(20, 4), &entropy, true), 0, "rows");
    let first = Sequential::new().input(30).layer_norm().batch_norm().linear(30, 4);
    assert_eq!(allocations_of_model(first, &SigmoidCrossEntropy, false), 0, "norms first");
    let images = Sequential::new().input_image(2, 9, 8).conv2d_same(6, 3).batch_norm().relu();
    let images = images.max_pool(2).conv2d(5, 2).relu().residual(|body| body.conv2d_same(5, 3));
    let images = images.global_average_pool().linear(5, 3);
    for loss in [&MeanSquaredError as &dyn Loss<f32>, &MeanAbsoluteError, &Huber::new(0.1)] {
        assert_eq!(allocations_of_model(images.clone(), loss, false), 0, "images");
    }
    let words = Sequential::new().input(3).linear(3, 2).relu().linear(2, 4);
    assert_eq!(allocations_of_model(words, &entropy, true), 0, "without normalisation");
}

#[test]
fn d13_a_steady_step_allocates_nothing() {
    let before = COUNT.load(Ordering::Relaxed);
    drop(vec![1_u8; 100]);
    assert!(COUNT.load(Ordering::Relaxed) > before, "the counter counts");

    assert_eq!(allocations(Sgd::new(0.01)), 0, "SGD");
    assert_eq!(allocations(Sgd::momentum(0.9).weight_decay(1e-4)), 0, "momentum");
    let rms = RmsProp::default().epsilon(1e-6, EpsilonPlacement::Inside);
    assert_eq!(allocations(rms), 0, "RMSprop");
    assert_eq!(allocations(Adagrad::default()), 0, "Adagrad");
    assert_eq!(allocations(Adam::adamw(0.01).clip_value(1.0)), 0, "AdamW");

    models_allocate_nothing();
}
