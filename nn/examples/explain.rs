//! What training steps consist of and where their time goes:
//! `cargo run --release --example explain -- tiny 512 1 f32` for a network (`digits`, `tiny`, `images` or
//! `colours`), rows of a minibatch, a number of threads, and a precision (`f32`, `bf16x6`, `bf16x3`, `bf16`).

use std::time::{Duration, Instant};

use tilewise_kernels::{Exec, Par, Precision};
use tilewise_nn::optim::OptimizerState;
use tilewise_nn::prelude::*;
use tilewise_nn::random::Random;
use tilewise_nn::{SequentialBuilder, StepRule};

/// Steps before the clock runs, and steps that are measured.
const STEPS: [usize; 2] = [20, 60];

fn network(name: &str) -> Option<SequentialBuilder> {
    let images = |input: SequentialBuilder, filters: [usize; 2], last: usize| {
        let [first, second] = filters;
        let layers = input.conv2d_same(first, 3).batch_norm().relu().max_pool(2);
        let layers = layers.conv2d_same(second, 3).batch_norm().relu().max_pool(2);
        layers.flatten().linear(last, 10)
    };
    Some(match name {
        "digits" => {
            let layers = Sequential::new().linear(784, 512).batch_norm().relu();
            layers.linear(512, 256).batch_norm().relu().linear(256, 10)
        }
        "tiny" => {
            let layers = Sequential::new().linear(64, 25).batch_norm().relu();
            layers.linear(25, 12).batch_norm().relu().linear(12, 6)
        }
        "images" => images(Sequential::new().input_image(1, 28, 28), [16, 32], 32 * 7 * 7),
        "colours" => images(Sequential::new().input_image(3, 32, 32), [32, 64], 64 * 8 * 8),
        _ => return None,
    })
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: usize| {
        arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let name = arguments.first().map_or("digits", String::as_str);
    let (rows, threads) = (number(1, 128), number(2, 1));
    let Some(layers) = network(name) else {
        eprintln!("explain: no network {name}: digits, tiny, images or colours");
        return Ok(());
    };
    let mut model = layers.build(1)?;
    let all = [Precision::Bf16x6, Precision::Bf16x3, Precision::Bf16];
    let asked = arguments.get(3).and_then(|name| all.into_iter().find(|p| p.name() == name));
    model.set_precision(asked.unwrap_or_default());
    let par = if threads == 1 { Par::Serial } else { Par::Auto };
    model.set_exec(Exec::default().par(par));

    let mut random = Random::new(1);
    let values = (0..rows * model.inputs()).map(|_| random.normal() as f32).collect();
    let x = Matrix::new(values, rows, model.inputs())?;
    let labels: Vec<usize> = (0..rows).map(|_| random.below(model.outputs())).collect();
    let (loss, adam) = (SoftmaxCrossEntropy::default(), Adam::default().learning_rate(1e-4));
    let rule = StepRule { loss: &loss, optimizer: &adam, rate: 1.0 };
    let mut state = OptimizerState::new();

    let mut whole = Vec::new();
    for _ in 0..STEPS[0] + STEPS[1] {
        let start = Instant::now();
        model.train_step(&x, &labels, &rule, &mut state)?;
        whole.push(start.elapsed());
    }
    let mut told = Vec::new();
    for _ in 0..STEPS[1] {
        told.push(model.explain(&x, &labels, &rule, &mut state)?);
    }
    let Some(mut explanation) = told.last().cloned() else { return Ok(()) };
    for (index, step) in explanation.steps.iter_mut().enumerate() {
        step.time = median(told.iter().map(|told| told.steps[index].time).collect());
    }
    let parts: Duration = explanation.steps.iter().map(|step| step.time).sum();
    println!("{explanation}");
    let whole = median(whole.split_off(STEPS[0]));
    println!("a step in {} takes {whole:.1?}, its parts {parts:.1?}", model.precision());
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
