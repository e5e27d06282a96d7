//! What the suite promises of its cases, without running them.

use std::collections::BTreeSet;

use tilewise_benches::Case;
use tilewise_benches::cases::{Dtype, Family, find};
use tilewise_benches::noise::Noise;

fn all() -> Vec<Case> {
    let of = |dtype| Family::ALL.into_iter().flat_map(move |family| family.cases(dtype));
    Dtype::ALL.into_iter().flat_map(of).collect()
}

#[test]
fn every_case_has_an_id_of_its_own_and_its_work_counted() {
    let mut seen = BTreeSet::new();
    for case in all() {
        let id = &case.id;
        assert_eq!(id.split('/').count(), 3, "{id}");
        assert!(seen.insert(id.clone()), "{id} twice");
        assert!(case.bytes > 0 && 0 < case.held && case.held <= case.bytes, "{id}");
        let moves = ["convert/", "im2col/"].iter().any(|op| id.starts_with(op));
        assert!(case.flops > 0 || moves, "{id}");
    }
}

/// Other processes build the same problems from these.
#[test]
fn cases_are_found_by_their_ids() {
    for id in [
        "gemm/f32/4096x4096x4096",
        "gemm/bf16/512x3072x768",
        "gemm/f64/512x512x512-tt",
        "gemm/f32/33x55x77-nt",
        "gemm_batched/f32/64x16x16x16",
        "gemm_batched/f32/96x64x64x64",
        "batch_norm/f32/512x1024-relu",
        "batch_norm_backward/f32/32x64x56x56-nchw-relu",
        "batch_norm_inference/f64/64x56x56x64-nhwc",
        "batch_norm/bf16/4096x1024",
        "batch_norm_backward/f16/64x56x56x64-nhwc-add-relu",
        "softmax/f32/64x128256",
        "cross_entropy/f32/512x32000",
        "cross_entropy_loss/f32/1024x50",
        "sigmoid_cross_entropy/f32/4096x1000",
        "adam/f32/25000000",
        "rmsprop/f32/30000",
        "adam/f32/200x1000",
        "layer_norm_backward/f32/512x768",
        "huber/f64/4096",
        "im2col/f32/32x28x28-3x3-step1",
        "convert/f32-bf16/100000",
        "convert/f16-f32/4096",
        "training_step/f32/128x64-25-12-6",
        "training_step/f32/512x784-512-256-10",
        "training_step/f32-as-bf16/128x784-512-256-10",
        "training_step/f32-as-bf16x6/512x784-512-256-10",
    ] {
        assert_eq!(find(id).map(|case| case.id).as_deref(), Some(id));
    }
    for id in ["gemm/f32/8x8", "gemm/i8/8x8x8", "adam/f32/7", "nothing", ""] {
        assert!(find(id).is_none(), "{id}");
    }
}

#[test]
fn operations_and_bytes_are_those_of_the_definition() {
    let counted = |id: &str| {
        let case = find(id).expect("a case of the suite");
        [case.flops, case.bytes, case.held]
    };
    let bytes = 4 * (2 * 3 + 3 * 5 + 2 * 5);
    assert_eq!(counted("gemm/f32/2x5x3"), [2 * 2 * 5 * 3, bytes, bytes]);
    // Halves in, `f32` out.
    assert_eq!(counted("gemm/bf16/2x5x3")[1], 2 * (2 * 3 + 3 * 5) + 4 * 2 * 5);
    // Reads four values of each parameter, writes three of them back.
    assert_eq!(counted("adam/f32/10000")[1..], [7 * 40_000, 4 * 40_000]);
    assert_eq!(counted("convert/f32-f16/4096"), [0, 6 * 4096, 6 * 4096]);
    assert_eq!(counted("cross_entropy/f64/128x10")[1], 2 * 8 * 1280);
    // Forward and weight gradient of three layers, input gradient of the last two.
    let products = 2 * (64 * 25) + 3 * (25 * 12) + 3 * (12 * 6);
    assert_eq!(counted("training_step/f32/128x64-25-12-6")[0], 2 * 128 * products);
}

#[test]
fn a_noisy_machine_is_called_so() {
    let quiet = Noise { load: Some(0.3), steal: Some(0.0), spread: 0.05, probes: 100 };
    assert_eq!(quiet.warning(2), None);
    assert_eq!(Noise { load: None, steal: None, ..quiet.clone() }.warning(2), None);
    for (noise, why) in [
        (Noise { load: Some(3.0), ..quiet.clone() }, "3.0 processes wanted 2 CPUs"),
        (Noise { steal: Some(0.1), ..quiet.clone() }, "took 10 % of the processor time"),
        (Noise { spread: 0.4, ..quiet.clone() }, "times 40 % apart"),
    ] {
        let warning = noise.warning(2).expect("a warning");
        assert!(warning.contains(why), "{warning}");
    }
}
