//! Initial weights and their seeds.

use tilewise_nn::init::Init;
use tilewise_nn::prelude::*;

const INPUTS: usize = 12288;
const OUTPUTS: usize = 25;

fn draw(init: Init, seed: u64) -> Vec<f32> {
    let mut weights = vec![f32::NAN; INPUTS * OUTPUTS];
    init.fill(&mut weights, INPUTS, OUTPUTS, seed);
    weights
}

fn deviation(weights: &[f32]) -> f64 {
    let n = weights.len() as f64;
    let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
    assert!(mean.abs() < 2e-4, "mean {mean}");
    (weights.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[test]
fn d10_xavier_uniform_has_its_limit_and_deviation() {
    let weights = draw(Init::XavierUniform, 1);
    let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    assert!(f64::from(largest) <= 0.022_074_64 && largest > 0.022, "{largest}");
    let std = deviation(&weights);
    assert!((std / 0.012_744_8 - 1.0).abs() < 0.01, "{std}");
}

#[test]
fn d10_every_distribution_has_its_variance() {
    let fan_in = INPUTS as f64;
    let fan_sum = (INPUTS + OUTPUTS) as f64;
    for (init, variance) in [
        (Init::XavierUniform, 2.0 / fan_sum),
        (Init::XavierNormal, 2.0 / fan_sum),
        (Init::HeUniform, 2.0 / fan_in),
        (Init::HeNormal, 2.0 / fan_in),
        (Init::LecunUniform, 1.0 / fan_in),
        (Init::LecunNormal, 1.0 / fan_in),
        (Init::TorchUniform, 1.0 / (3.0 * fan_in)),
    ] {
        let std = deviation(&draw(init, 2));
        assert!((std / variance.sqrt() - 1.0).abs() < 0.01, "{init:?}: {std}");
    }
    assert!(draw(Init::Zeros, 3).iter().all(|&w| w == 0.0));
    assert!(draw(Init::Constant(0.5), 3).iter().all(|&w| w == 0.5));
}

#[test]
fn d10_same_seed_gives_the_same_bits() {
    let bits = |seed| draw(Init::HeNormal, seed).iter().map(|w| w.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(5), bits(5));
    assert_ne!(bits(5), bits(6));
    // A fingerprint taken once: other CPUs and later versions must give it too.
    let fingerprint = |init| {
        draw(init, 5).iter().fold(0u64, |sum, w| {
            sum.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(w.to_bits())
        })
    };
    assert_eq!(fingerprint(Init::XavierUniform), UNIFORM);
    assert_eq!(fingerprint(Init::HeNormal), NORMAL);
}

const UNIFORM: u64 = 205_371_374_386_735_443;
const NORMAL: u64 = 13_470_240_078_264_619_662;

#[test]
fn d10_both_element_types_get_the_same_model() {
    let plan = || Sequential::new().linear(5, 3).tanh().linear(3, 2);
    let single = plan().build(9).unwrap();
    let double = plan().build_as::<f64>(9).unwrap();
    for (a, b) in single.layers().zip(double.layers()) {
        for (a, b) in a.parameters().iter().zip(b.parameters()) {
            assert!(a.value.iter().zip(&b.value).all(|(&a, &b)| a == b as f32));
        }
    }
}

#[test]
fn d10_orthogonal_weights_keep_norms() {
    for [inputs, outputs] in [[12, 5], [5, 12], [40, 40], [1, 1], [0, 3], [3, 0]] {
        let mut weights = vec![f64::NAN; inputs * outputs];
        Init::Orthogonal.fill(&mut weights, inputs, outputs, 4);
        let row = |i: usize| (0..inputs).map(move |k| (i, k)).collect::<Vec<_>>();
        let column = |k: usize| (0..outputs).map(move |i| (i, k)).collect::<Vec<_>>();
        let lines: Vec<_> = if outputs <= inputs {
            (0..outputs).map(row).collect()
        } else {
            (0..inputs).map(column).collect()
        };
        let at = |(i, k): (usize, usize)| weights[i * inputs + k];
        for (i, a) in lines.iter().enumerate() {
            for (j, b) in lines.iter().enumerate() {
                let product: f64 = a.iter().zip(b).map(|(&a, &b)| at(a) * at(b)).sum();
                let expected = f64::from(u8::from(i == j));
                assert!((product - expected).abs() < 1e-14, "{inputs} x {outputs}: {product}");
            }
        }
    }
    let bits = |seed| draw_square(seed).iter().map(|w| w.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(1), bits(1));
    assert_ne!(bits(1), bits(2));
}

fn draw_square(seed: u64) -> Vec<f32> {
    let mut weights = vec![f32::NAN; 64];
    Init::Orthogonal.fill(&mut weights, 8, 8, seed);
    weights
}
