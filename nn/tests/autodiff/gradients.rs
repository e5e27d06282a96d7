//! The gradient of every operation against differences.

use tilewise_kernels::Activation;
use tilewise_nn::autodiff::{CrossEntropy, Tape, Tensor, Var, check_gradients};

use crate::common::{apart, normal, positive};

/// Checks `f` on `inputs`: h² of the differences and rounding leave about nine digits.
fn check<F>(inputs: &[Tensor<f64>], f: F)
where
    F: for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>,
{
    let check = check_gradients(inputs, f).unwrap();
    assert!(check.error < 1e-7, "{check:?}");
}

#[test]
fn arithmetic_with_every_way_of_stretching() {
    let shapes: [(&[usize], &[usize]); 8] = [
        (&[2, 3], &[2, 3]),
        (&[2, 3], &[3]),
        (&[2, 3], &[2, 1]),
        (&[3], &[2, 3]),
        (&[], &[2, 3]),
        (&[2, 1, 3], &[4, 1]),
        (&[2, 1, 3, 1], &[1, 2, 1, 2]),
        (&[1, 1], &[2, 2]),
    ];
    for (a, b) in shapes {
        let inputs = [normal(1, a), positive(2, b)];
        check(&inputs, |x| x[0] + x[1]);
        check(&inputs, |x| x[0] - x[1]);
        check(&inputs, |x| x[0] * x[1]);
        check(&inputs, |x| x[0] / x[1]);
    }
}

#[test]
fn elementary_functions() {
    let (x, above) = ([normal(3, &[2, 5])], [positive(4, &[7])]);
    check(&x, |x| -x[0]);
    check(&x, |x| x[0].exp());
    check(&above, |x| x[0].ln());
    check(&above, |x| x[0].sqrt());
    check(&x, |x| x[0].square());
    check(&x, |x| x[0].powi(0) + x[0]);
    check(&x, |x| x[0].powi(1));
    check(&x, |x| x[0].powi(5));
    check(&above, |x| x[0].powi(-3));
    check(&x, |x| 1.0 - 2.0 * x[0] + x[0] / 3.0);
}

#[test]
fn activations() {
    let x = [apart(5, &[3, 6])];
    check(&x, |x| x[0].relu());
    check(&x, |x| x[0].sigmoid());
    check(&x, |x| x[0].tanh());
    check(&x, |x| x[0].gelu());
    check(&x, |x| x[0].silu());
    for f in [
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Elu { alpha: 1.5 },
        Activation::LeakyRelu { slope: 0.1 },
    ] {
        check(&x, |x| x[0].activation(f));
    }
}

#[test]
fn dropout() {
    check(&[normal(21, &[5, 40])], |x| x[0].dropout(0.4, 5).square());
    let kept = |step: u64, rate: f64| {
        let tape = Tape::new().step(step);
        let ones = tape.constant(Tensor::full(1.0_f64, &[1000]).unwrap());
        ones.dropout(rate, 5).value().map(|y| y.data().iter().map(|y| *y != 0.0).collect())
    };
    let [first, again, next]: [Vec<bool>; 3] = [1, 1, 2].map(|step| kept(step, 0.4).unwrap());
    assert!(first == again && first != next);
    assert!(kept(1, 1.5).unwrap_err().to_string().contains("1.5"));
}

#[test]
fn matrix_products() {
    check(&[normal(6, &[4, 3]), normal(7, &[3, 5])], |x| x[0].matmul(x[1]));
    check(&[normal(6, &[4, 3]), normal(7, &[5, 3])], |x| x[0].matmul_t(x[1]));
    check(&[normal(6, &[3, 4]), normal(7, &[3, 5])], |x| x[0].t_matmul(x[1]));
    check(&[normal(6, &[2, 4, 3]), normal(7, &[3, 5])], |x| x[0].matmul(x[1]));
    check(&[normal(6, &[4, 4])], |x| x[0].matmul(x[0]));
}

#[test]
fn sums_and_layouts() {
    let x = [normal(8, &[2, 3, 4])];
    check(&x, |x| x[0].sum() * x[0].mean());
    for axes in [&[0][..], &[1], &[2], &[0, 2], &[0, 1, 2], &[]] {
        check(&x, |x| x[0].sum_over(axes).square());
        check(&x, |x| x[0].mean_over(axes).square());
    }
    check(&x, |x| x[0].reshape(&[6, 4]).transpose().exp());
    check(&x, |x| x[0].permute(&[2, 0, 1]).square());
    check(&x, |x| x[0].slice(1, 1, 2).square());
    check(&[normal(9, &[2, 2]), normal(10, &[2, 3])], |x| x[0].concat(&[x[1], x[0]], 1).square());
}

#[test]
fn softmax_and_its_loss() {
    let logits = [normal(11, &[4, 5])];
    check(&logits, |x| x[0].log_softmax());
    check(&logits, |x| x[0].softmax_cross_entropy(x[0].tape().labels("y", &[0, 4, 2, 2])) * 3.0);
    check(&logits, |x| {
        let labels = x[0].tape().labels("y", &[0, 9, 2, 2]);
        let loss = CrossEntropy::default().label_smoothing(0.1).ignore_label(9);
        x[0].tape().apply(loss, &[x[0], labels])
    });
}

#[test]
fn batch_normalisation() {
    let affine = [normal(12, &[3]), normal(13, &[3])];
    for dims in [&[6, 3][..], &[2, 3, 2, 2]] {
        let inputs = [normal(14, dims), affine[0].clone(), affine[1].clone()];
        check(&inputs, |x| x[0].batch_norm(x[1], x[2], 1e-5));
        // Only some of the gradients are wanted.
        check(&inputs[..1], |x| {
            let tape = x[0].tape();
            let gamma = tape.constant(Tensor::full(2.0, &[3]).unwrap());
            x[0].batch_norm(gamma, tape.constant(Tensor::zeros(&[3]).unwrap()), 1e-5)
        });
    }
}

#[test]
fn a_whole_network() {
    let inputs = [normal(15, &[8, 4]), normal(16, &[4, 6]), normal(17, &[6, 3]), normal(18, &[3])];
    check(&inputs, |x| {
        let tape = x[0].tape();
        let hidden = x[0].matmul(x[1]);
        let ones = tape.constant(Tensor::full(1.0, &[6]).unwrap());
        let zeros = tape.constant(Tensor::zeros(&[6]).unwrap());
        let hidden = hidden.batch_norm(ones, zeros, 1e-5).tanh();
        let logits = hidden.matmul(x[2]) + x[3];
        let penalty = 0.01 * x[1].square().sum();
        logits.softmax_cross_entropy(tape.labels("y", &[0, 1, 2, 0, 1, 2, 0, 1])) + penalty
    });
}

#[test]
fn the_checker_finds_a_wrong_gradient() {
    // sin'(x) is cos x; this says 1.
    #[derive(Debug)]
    struct Wrong;
    impl tilewise_nn::autodiff::Op<f64> for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn shape(
            &self,
            inputs: &[tilewise_nn::autodiff::Shape],
        ) -> tilewise_kernels::Result<tilewise_nn::autodiff::Shape> {
            Ok(inputs[0])
        }
        fn forward(
            &mut self,
            inputs: &[tilewise_nn::autodiff::View<'_, f64>],
            y: &mut [f64],
            _: tilewise_nn::layers::Pass,
        ) -> tilewise_kernels::Result<()> {
            y.iter_mut().zip(inputs[0].data).for_each(|(y, x)| *y = x.sin());
            Ok(())
        }
        fn backward(
            &mut self,
            saved: tilewise_nn::autodiff::Saved<'_, f64>,
            dx: tilewise_nn::autodiff::InputGradients<'_, '_, f64>,
            _: tilewise_nn::layers::Pass,
        ) -> tilewise_kernels::Result<()> {
            dx.iter_mut().flatten().for_each(|dx| dx.copy_from_slice(saved.dy));
            Ok(())
        }
    }
    let inputs = [normal(19, &[2]), normal(20, &[3])];
    let outcome =
        check_gradients(&inputs, |x| x[0].sum() + x[0].tape().apply(Wrong, &[x[1]]).sum());
    let outcome = outcome.unwrap();
    assert!(outcome.error > 0.01 && outcome.worst == "input 1", "{outcome:?}");
}
