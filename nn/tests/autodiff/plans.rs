//! Plans: the bits of tapes, new data in the same step, and what they say about themselves.

use tilewise_kernels::{Exec, Float, Par, Precision, available};
use tilewise_nn::autodiff::{Feed, Plan, Tape, Tensor, Variables};
use tilewise_nn::optim::{Adam, Optimizer, Sgd};

use crate::networks::Network;

/// Trains a network by a plan and its twin by tapes, with new data in every step, and compares all bits.
fn planned_equals_eager<T: Float, O>(seed: u64, rows: usize, optimizer: O, exec: Exec)
where
    O: Optimizer<T> + Clone + Send + Sync + 'static,
{
    let [mut planned, mut eager] = [Network::<T>::of(seed), Network::<T>::of(seed)];
    planned.variables.set_exec(exec);
    eager.variables.set_exec(exec);
    let first = planned.batch(0, rows);
    let mut plan = Plan::training(optimizer.clone(), |tape| planned.loss(tape, &first)).unwrap();
    plan = plan.exec(exec);
    for step in 1..5 {
        let batch = planned.batch(step, rows);
        let feeds = [Feed::values("x", batch.0.data()), Feed::labels("y", &batch.1)];
        let loss = plan.run(&mut planned.variables, &feeds).unwrap();

        let tape = Tape::new().exec(exec).step(step);
        let twin = eager.loss(&tape, &batch);
        assert_eq!(twin.item().unwrap(), loss, "seed {seed}, step {step}: {:?}", planned.pieces);
        eager.variables.step(&optimizer, &twin.gradients().unwrap()).unwrap();
        let (a, b) = (planned.values(), eager.values());
        let apart = a.iter().zip(&b).position(|(a, b)| a != b);
        assert_eq!(
            apart,
            None,
            "seed {seed}, step {step}: {:?}\n{}",
            planned.pieces,
            plan.explain()
        );
    }
    assert_eq!(planned.variables.steps(), 4);
}

#[test]
fn d13_planned_equals_eager_on_random_networks() {
    for seed in 0..40 {
        let rows = [2, 3, 17, 64, 130][seed as usize % 5];
        planned_equals_eager::<f32, _>(seed, rows, Sgd::momentum(0.9), Exec::default());
        planned_equals_eager::<f64, _>(seed, rows, Adam::default(), Exec::default());
    }
}

#[test]
fn d13_planned_equals_eager_on_every_path() {
    for isa in available().unwrap() {
        for seed in 40..50 {
            let exec = Exec::serial().isa(*isa);
            planned_equals_eager::<f32, _>(seed, 33, Sgd::new(0.1), exec);
        }
    }
}

#[test]
fn k10_a_plan_trains_to_the_same_bits_on_any_number_of_threads() {
    let train = |seed: u64, exec: Exec| {
        let mut network = Network::<f32>::of(seed);
        network.variables.set_exec(exec);
        let first = network.batch(0, 130);
        let optimizer = Adam::default().learning_rate(0.01);
        let plan = Plan::training(optimizer, |tape| network.loss(tape, &first)).unwrap();
        let mut plan = plan.exec(exec);
        let mut losses = Vec::new();
        for step in 1..=8 {
            let (x, y) = network.batch(step, 130);
            let feeds = [Feed::values("x", x.data()), Feed::labels("y", &y)];
            losses.push(plan.run(&mut network.variables, &feeds).unwrap());
        }
        (losses, network.values())
    };
    for seed in 70..78 {
        let serial = train(seed, Exec::serial());
        assert!(train(seed, Exec::default()) == serial, "seed {seed}, automatic");
        for threads in [2, 3, 7] {
            let exec = Exec::default().par(Par::Threads(threads));
            assert!(train(seed, exec) == serial, "seed {seed}, {threads} threads");
        }
    }
}

#[test]
fn d13_planned_equals_eager_in_every_precision() {
    for precision in [Precision::Bf16x6, Precision::Bf16x3, Precision::Bf16] {
        for seed in 80..84 {
            let mut network = Network::<f32>::of(seed);
            let batch = network.batch(1, 65);
            let plan = Plan::record(|tape| network.loss(tape, &batch)).unwrap();
            let mut plan = plan.precision(precision);
            let feeds = [Feed::values("x", batch.0.data()), Feed::labels("y", &batch.1)];
            let loss = plan.run(&mut network.variables, &feeds).unwrap();
            let tape = Tape::new().step(1).precision(precision);
            let twin = network.loss(&tape, &batch);
            assert_eq!(twin.item().unwrap(), loss, "{precision}, seed {seed}");
            let gradients = twin.gradients().unwrap();
            let plain = network.loss(&Tape::new().step(1), &batch).gradients().unwrap();
            let mut apart = false;
            for w in &network.handles {
                let expected = gradients.of_variable(*w).unwrap();
                assert_eq!(plan.gradient(*w).unwrap(), expected.data());
                apart |= expected != plain.of_variable(*w).unwrap();
            }
            assert!(apart || precision != Precision::Bf16, "seed {seed} is not rounded");
        }
    }
}

#[test]
fn an_optimizer_that_must_see_all_gradients_does() {
    for seed in 50..60 {
        let optimizer = Sgd::new(0.1).clip_norm(0.01);
        planned_equals_eager::<f64, _>(seed, 8, optimizer, Exec::default());
    }
}

#[test]
fn d4_the_same_step_takes_other_coefficients() {
    let mut variables = Variables::new();
    let w = variables.add(Tensor::scalar(0.0_f64));
    let mut plan = Plan::training(Sgd::new(0.01), |tape| {
        let w = tape.watch(&variables, w);
        let c = tape.input("c", Tensor::zeros(&[3]).unwrap());
        (c.slice(0, 0, 1) * w.square() + c.slice(0, 1, 1) * w + c.slice(0, 2, 1)).sum()
    })
    .unwrap();
    let steps = plan.explain().steps.len();
    for (c, minimum) in [([1.0, -10.0, 25.0], 5.0), ([1.0, -20.0, 100.0], 10.0)] {
        variables.assign(w, &Tensor::scalar(0.0)).unwrap();
        for _ in 0..1000 {
            plan.run(&mut variables, &[Feed::values("c", &c)]).unwrap();
        }
        // minimum · 0.98^1000 is left.
        assert!((variables.data(w).unwrap()[0] - minimum).abs() < 2e-8);
    }
    assert_eq!(plan.explain().steps.len(), steps, "nothing was planned anew");
}

#[test]
fn without_an_optimizer_gradients_can_be_read() {
    for seed in 60..70 {
        let mut network = Network::<f64>::of(seed);
        let batch = network.batch(1, 9);
        let mut plan = Plan::record(|tape| network.loss(tape, &batch)).unwrap();
        let feeds = [Feed::values("x", batch.0.data()), Feed::labels("y", &batch.1)];
        let before = network.values();
        let loss = plan.run(&mut network.variables, &feeds).unwrap();
        assert_eq!(network.values(), before);

        let tape = Tape::new().step(1);
        let twin = network.loss(&tape, &batch);
        assert_eq!(twin.item().unwrap(), loss);
        let gradients = twin.gradients().unwrap();
        for w in &network.handles {
            let expected = gradients.of_variable(*w).unwrap();
            assert_eq!(plan.gradient(*w).unwrap(), expected.data());
        }
        assert_eq!(plan.output("logits").unwrap().len(), 9 * network.classes);
        assert_eq!(plan.output("nothing"), None);
    }
}

#[test]
fn a_variable_in_several_places_gets_one_update() {
    let train = |planned: bool| {
        let mut variables = Variables::new();
        let w = variables.add(Tensor::scalar(0.3_f64));
        let v = variables.add(Tensor::scalar(-0.7_f64));
        macro_rules! loss {
            ($tape:expr) => {{
                let (a, b) = ($tape.watch(&variables, w), $tape.watch(&variables, w));
                let (c, v) = ($tape.unwatched(&variables, w), $tape.watch(&variables, v));
                (a * v).exp() + (b * c).square() * v + a.tanh() / (v * v + 1.0)
            }};
        }
        if planned {
            let mut plan = Plan::training(Sgd::new(0.1), |tape| loss!(tape)).unwrap();
            for _ in 0..3 {
                plan.run(&mut variables, &[]).unwrap();
            }
        } else {
            for _ in 0..3 {
                let tape = Tape::new();
                let gradients = loss!(tape).gradients().unwrap();
                variables.step(&Sgd::new(0.1), &gradients).unwrap();
            }
        }
        [variables.data(w).unwrap()[0], variables.data(v).unwrap()[0]]
    };
    assert_eq!(train(true), train(false));
}

#[test]
fn a_loss_on_the_side_leaves_the_gradients_alone() {
    let mut variables = Variables::new();
    let w = variables.add(Tensor::new(vec![0.1_f64, 0.2, -0.3, 0.4], &[2, 2]).unwrap());
    let x = Tensor::new(vec![1.0, -2.0, 0.5, 3.0], &[2, 2]).unwrap();
    let mut plan = Plan::record(|tape| {
        let w = tape.watch(&variables, w);
        let side = tape.constant(x.clone()).matmul(w);
        let side = side.softmax_cross_entropy(tape.labels("y", &[0, 1])).output("side");
        assert!(side.value().is_ok());
        w.square().sum()
    })
    .unwrap();
    plan.run(&mut variables, &[Feed::labels("y", &[0, 1])]).unwrap();
    assert_eq!(plan.gradient(w).unwrap(), [0.2, 0.4, -0.6, 0.8]);
    assert!(plan.output("side").unwrap()[0] > 0.0);
}

/// A batch-normalised network of one hidden layer.
fn classifier(variables: &mut Variables<f32>) -> Plan<f32> {
    let x = Tensor::full(0.5, &[32, 20]).unwrap();
    let w = variables.add(Tensor::full(0.1, &[20, 40]).unwrap());
    let [gamma, beta] = [1.0, 0.0].map(|x| variables.add(Tensor::full(x, &[40]).unwrap()));
    let v = variables.add(Tensor::full(0.1, &[40, 5]).unwrap());
    let b = variables.add(Tensor::zeros(&[5]).unwrap());
    let variables = &*variables;
    Plan::training(Sgd::new(0.1), |tape| {
        let [w, gamma, beta, v, b] =
            [w, gamma, beta, v, b].map(|variable| tape.watch(variables, variable));
        let hidden = tape.input("x", x).matmul(w).batch_norm(gamma, beta, 1e-5).relu();
        (hidden.matmul(v) + b).softmax_cross_entropy(tape.labels("y", &[1; 32]))
    })
    .unwrap()
}

#[test]
fn a_plan_explains_its_fusions() {
    let mut variables = Variables::new();
    let mut plan = classifier(&mut variables);
    let x = vec![0.25; 32 * 20];
    plan.run(&mut variables, &[Feed::values("x", &x), Feed::labels("y", &[3; 32])]).unwrap();
    let explanation = plan.explain();
    let names: Vec<_> = explanation.steps.iter().map(|step| &step.name[..]).collect();
    assert_eq!(
        names,
        [
            "matmul + statistics",
            "batch_norm + relu, statistics from the matmul",
            "matmul + bias",
            "softmax_cross_entropy with its gradient over the logits",
            "gradients of matmul + bias",
            "update of variable 3",
            "update of variable 4",
            "gradients of batch_norm + relu",
            "update of variable 1",
            "update of variable 2",
            "gradients of matmul + statistics",
            "update of variable 0",
        ]
    );
    assert_eq!(explanation.steps[0].flops, 2 * 32 * 20 * 40);
    assert_eq!(explanation.steps[0].bytes, 4 * (32 * 20 + 20 * 40 + 32 * 40));
    // As many as forward for each of input and weights, and the sums for the bias.
    assert_eq!(explanation.steps[4].flops, 2 * 2 * 32 * 40 * 5 + 32 * 5);
    assert!(explanation.steps.iter().all(|step| !step.time.is_zero()));
    assert!(explanation.memory < explanation.memory_unshared);
    let table = explanation.to_string();
    assert_eq!(table.lines().count(), names.len() + 2, "{table}");
    assert!(table.contains("[32, 40]") && table.contains("51.2"), "{table}");
}

#[test]
fn what_does_not_fit_the_recording_is_an_error() {
    let mut variables = Variables::new();
    let mut plan = classifier(&mut variables);
    let mut error =
        |feeds: &[Feed<'_, f32>]| plan.run(&mut variables, feeds).unwrap_err().to_string();
    let (x, y) = (vec![0.25; 32 * 20], [3; 32]);
    assert_eq!(error(&[Feed::values("x", &x)]), "feeds of the plan: expected one for y, got none");
    assert_eq!(
        error(&[Feed::values("x", &x[1..]), Feed::labels("y", &y)]),
        "feed x: expected 640 values, got 639 values"
    );
    assert_eq!(
        error(&[Feed::values("x", &x), Feed::values("y", &x[..32])]),
        "feed y: expected 32 labels, got 32 values"
    );
    let label = error(&[Feed::values("x", &x), Feed::labels("y", &[5; 32])]);
    assert!(label.starts_with("softmax_cross_entropy of [32, 5] and [32]: "), "{label}");
    let mut others = Variables::new();
    classifier(&mut others);
    let feeds = [Feed::values("x", &x), Feed::labels("y", &y)];
    assert!(plan.run(&mut others, &feeds).is_err(), "variables of another model");
    plan.run(&mut variables, &feeds).unwrap();
}

#[test]
fn a_recording_that_fails_makes_no_plan() {
    let fails = |f: fn(&Tape<f32>) -> tilewise_nn::autodiff::Var<'_, f32>| {
        Plan::record(f).unwrap_err().to_string()
    };
    assert!(fails(|tape| tape.watched(Tensor::zeros(&[2, 3]).unwrap()).relu()).contains("[2, 3]"));
    assert!(fails(|tape| tape.watched(Tensor::scalar(1.0))).contains("result of an operation"));
    let twice =
        fails(|tape| tape.input("x", Tensor::scalar(1.0)) + tape.input("x", Tensor::scalar(1.0)));
    assert_eq!(twice, "input: expected a name of its own, got x");
    let wrong = fails(|tape| {
        let x = tape.watched(Tensor::zeros(&[2, 3]).unwrap());
        x.matmul(x).sum()
    });
    assert!(wrong.starts_with("matmul of [2, 3] and [2, 3]"), "{wrong}");
}
