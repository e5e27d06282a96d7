//! Numbers that are known beforehand.

use tilewise_kernels::{EpsilonPlacement, Float};
use tilewise_nn::autodiff::{Tape, Tensor, Var, Variable, Variables, add, div, mul, neg, sub};
use tilewise_nn::optim::{Adam, Optimizer, RmsProp, Sgd};

/// c₀ w² + c₁ w + c₂.
fn quadratic<'t, T: Float>(tape: &'t Tape<T>, w: Var<'t, T>, c: [f64; 3]) -> Var<'t, T> {
    let c = c.map(|c| tape.constant(Tensor::scalar(T::from_f64(c))));
    c[0] * w.square() + c[1] * w + c[2]
}

/// Steps towards the minimum of w² - 10 w + 25, at 5, from 0.
struct Descent<T: Float> {
    variables: Variables<T>,
    w: Variable,
}

impl<T: Float> Descent<T> {
    fn new() -> Self {
        let mut variables = Variables::new();
        let w = variables.add(Tensor::scalar(T::ZERO));
        Self { variables, w }
    }

    fn step(&mut self, optimizer: &dyn Optimizer<T>) -> T {
        let tape = Tape::new();
        let w = tape.watch(&self.variables, self.w);
        let gradients = quadratic(&tape, w, [1.0, -10.0, 25.0]).gradients().unwrap();
        self.variables.step(optimizer, &gradients).unwrap();
        self.variables.data(self.w).unwrap()[0]
    }
}

#[test]
fn d3_sgd_finds_the_minimum_in_f64() {
    let mut descent = Descent::<f64>::new();
    assert!((descent.step(&Sgd::new(0.01)) - 0.1).abs() < 1e-15);
    let w = (1..1000).map(|_| descent.step(&Sgd::new(0.01))).last().unwrap();
    // 5 - 5 · 0.98^1000.
    assert!((w - 4.9999999916).abs() < 1e-10, "{w}");
}

#[test]
fn d3_sgd_settles_where_f32_ends() {
    let mut descent = Descent::<f32>::new();
    let w = (0..2000).map(|_| descent.step(&Sgd::new(0.01))).last().unwrap();
    assert!((w - 4.9999886).abs() < 2e-6, "{w}");
    assert_eq!(descent.step(&Sgd::new(0.01)), w, "it has settled");
}

#[test]
fn d4_coefficients_are_data() {
    for (c, minimum) in [([1.0, -10.0, 25.0], 5.0), ([1.0, -20.0, 100.0], 10.0)] {
        let mut variables = Variables::new();
        let w = variables.add(Tensor::scalar(0.0_f64));
        for _ in 0..1000 {
            let tape = Tape::new();
            let c_at = tape.input("c", Tensor::new(c.to_vec(), &[3]).unwrap());
            let w = tape.watch(&variables, w);
            let at = |i| c_at.slice(0, i, 1);
            let loss = (at(0) * w.square() + at(1) * w + at(2)).sum();
            variables.step(&Sgd::new(0.01), &loss.gradients().unwrap()).unwrap();
        }
        assert!((variables.data(w).unwrap()[0] - minimum).abs() < 2e-8);
    }
}

#[test]
fn d5_only_the_forward_pass_is_written() {
    let mut variables = Variables::new();
    let (w, v) = (variables.add(Tensor::scalar(0.0_f64)), variables.add(Tensor::scalar(2.0)));
    let tape = Tape::new();
    let (w_at, v_at) = (tape.watch(&variables, w), tape.unwatched(&variables, v));
    let loss = quadratic(&tape, w_at, [1.0, -10.0, 25.0]) * v_at * 0.5;
    let gradients = loss.gradients().unwrap();
    assert_eq!(gradients.of(w_at).unwrap().item().unwrap(), -10.0);
    assert_eq!(gradients.of_variable(w).unwrap().item().unwrap(), -10.0);
    assert!(gradients.of(v_at).is_none() && gradients.of_variable(v).is_none());
}

#[test]
fn d6_variables_are_assigned() {
    let mut variables = Variables::new();
    let w = variables.add(Tensor::zeros(&[2]).unwrap());
    let new = Tensor::new(vec![1.5_f32, -2.0], &[2]).unwrap();
    variables.assign(w, &new).unwrap();
    assert_eq!(variables.value(w).unwrap(), new);
    let error = variables.assign(w, &Tensor::scalar(1.0)).unwrap_err().to_string();
    assert_eq!(error, "assigned value: expected [2], got []");
}

#[test]
fn d7_optimizers_swap_in_one_line() {
    let rms = RmsProp::default().learning_rate(0.01).epsilon(1e-8, EpsilonPlacement::Outside);
    let cases: [(&dyn Optimizer<f64>, &[f64]); 5] = [
        (&Sgd::new(0.01), &[0.1, 0.198, 0.29404]),
        (&Sgd::momentum(0.9).ewa(), &[0.01, 0.02898, 0.056004]),
        (&Sgd::momentum(0.9), &[0.1, 0.288, 0.55144]),
        (&rms, &[0.0316228, 0.0544953, 0.0736122]),
        (&Adam::default().learning_rate(0.1), &[0.1, 0.1999422]),
    ];
    for (optimizer, expected) in cases {
        let mut descent = Descent::<f64>::new();
        for (step, &expected) in expected.iter().enumerate() {
            let w = descent.step(optimizer);
            assert!((w - expected).abs() < 5e-8, "step {}: {w} for {expected}", step + 1);
        }
    }
}

#[test]
fn d9_operators_and_functions_give_equal_bits() {
    let tape = Tape::new();
    let a = tape.constant(Tensor::new(vec![0.1_f32, -2.7, 1e-30, 3.3], &[2, 2]).unwrap());
    let b = tape.constant(Tensor::new(vec![7.7_f32, 0.3], &[2]).unwrap());
    let bits = |x: Var<'_, f32>| -> Vec<u32> {
        x.value().unwrap().data().iter().map(|x| x.to_bits()).collect()
    };
    assert_eq!(bits(a + b), bits(add(a, b)));
    assert_eq!(bits(a - b), bits(sub(a, b)));
    assert_eq!(bits(a * b), bits(mul(a, b)));
    assert_eq!(bits(a / b), bits(div(a, b)));
    assert_eq!(bits(-a), bits(neg(a)));
    let two = tape.constant(Tensor::scalar(2.0));
    assert_eq!(bits(2.0 / a), bits(div(two, a)));
    assert_eq!(bits(a * 2.0), bits(mul(a, two)));
    assert_ne!(bits(a - b), bits(sub(b, a)), "the test can tell results apart");
}
