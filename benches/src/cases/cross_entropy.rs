//! Cross-entropy of logits: the mean loss and its gradient together, and the loss alone.

use std::any::Any;

use tilewise_kernels::{
    Exec, Float, MatMut, MatRef, Reduction, Result, SigmoidCrossEntropy, SoftmaxCrossEntropy,
    Targets, naive,
};

use super::{LOGITS, counts};
use crate::case::{Case, Implementation, Work, Workload};
use crate::data::{Random, append};
use crate::peers::{self, Owned, Peer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Softmax cross-entropy with one class per row.
    Softmax,
    /// The same without the gradient. The naive twin has no such form and does both.
    SoftmaxLoss,
    /// Sigmoid cross-entropy with one target per logit.
    Sigmoid,
}

impl Form {
    const ALL: [Self; 3] = [Self::Softmax, Self::SoftmaxLoss, Self::Sigmoid];

    fn op(self) -> &'static str {
        match self {
            Self::Softmax => "cross_entropy",
            Self::SoftmaxLoss => "cross_entropy_loss",
            Self::Sigmoid => "sigmoid_cross_entropy",
        }
    }

    /// Values read and written per logit: it and its gradient; it alone; both and a target.
    fn values(self) -> usize {
        match self {
            Self::Softmax => 2,
            Self::SoftmaxLoss => 1,
            Self::Sigmoid => 3,
        }
    }

    /// Operations per logit.
    fn flops<T: Float>(self) -> usize {
        let (exp, ln) = (counts::exp::<T>(), counts::ln::<T>());
        match self {
            // A maximum, a difference, a sum; the scale of the gradient.
            Self::Softmax => exp + 4,
            Self::SoftmaxLoss => exp + 3,
            // |z|, max(z, 0) - z t + ln(1 + e^-|z|), its sum; (sigmoid - t) times a scale.
            Self::Sigmoid => exp + ln + 10,
        }
    }
}

/// Every form on every shape.
pub fn cases<T: Float>() -> Vec<Case> {
    let on = |shape: [usize; 2]| Form::ALL.map(|form| case::<T>(form, shape));
    LOGITS.into_iter().flat_map(on).collect()
}

fn case<T: Float>(form: Form, [rows, cols]: [usize; 2]) -> Case {
    let id = format!("{}/{}/{rows}x{cols}", form.op(), T::NAME);
    let (len, work) = (rows * cols, Work::values::<T>(form.values() * rows * cols));
    Case::new(id, work, move || Logits::<T>::new(form, [rows, cols]))
        .counting(form.flops::<T>() * len)
}

struct Logits<T> {
    form: Form,
    rows: usize,
    cols: usize,
    logits: Vec<T>,
    labels: Vec<usize>,
    /// For the sigmoid form; empty otherwise.
    targets: Vec<T>,
    dlogits: Vec<T>,
    loss: T,
    /// For who takes only memory of his own, and whether the last call computed there.
    owned: Option<Box<dyn Owned>>,
    apart: bool,
}

impl<T: Float> Logits<T> {
    fn new(form: Form, [rows, cols]: [usize; 2]) -> Self {
        let mut random = Random::new(1);
        let len = rows * cols;
        Self {
            form,
            rows,
            cols,
            logits: random.uniform(len, -5.0, 5.0),
            labels: random.below(rows, cols),
            targets: random.uniform(if form == Form::Sigmoid { len } else { 0 }, 0.0, 1.0),
            dlogits: vec![T::ZERO; len],
            loss: T::ZERO,
            owned: None,
            apart: false,
        }
    }

    fn theirs(&mut self, peer: Peer) {
        let own = (self as &mut dyn Any).downcast_mut::<Logits<f32>>().expect("a case in f32");
        let Logits { rows, cols, logits, labels, owned, .. } = own;
        let logits = MatRef::new(logits, *rows, *cols).expect("a matrix of this shape");
        owned.get_or_insert_with(|| peers::own_cross_entropy(peer, logits, labels)).run();
    }

    fn fast(&mut self, exec: Exec) -> Result<T> {
        let Self { form, rows, cols, logits, labels, targets, dlogits, .. } = self;
        if *form == Form::Sigmoid {
            let op = SigmoidCrossEntropy::new(logits, targets)?;
            return op.loss_and_gradient(dlogits, exec).map(|loss| loss.value);
        }
        let logits = MatRef::new(logits, *rows, *cols)?;
        let op = SoftmaxCrossEntropy::new(logits, Targets::Classes(labels))?;
        let loss = match form {
            Form::SoftmaxLoss => op.loss(exec)?,
            _ => op.loss_and_gradient(MatMut::new(dlogits, *rows, *cols)?, exec)?,
        };
        Ok(loss.value)
    }

    fn naive(&mut self) -> Result<T> {
        let Self { form, rows, cols, logits, labels, targets, dlogits, .. } = self;
        let loss = if *form == Form::Sigmoid {
            naive::sigmoid_cross_entropy(logits, targets, Reduction::Mean, dlogits)
        } else {
            naive::softmax_cross_entropy(
                MatRef::new(logits, *rows, *cols)?,
                Targets::Classes(labels),
                naive::CrossEntropyOptions::default(),
                MatMut::new(dlogits, *rows, *cols)?,
            )
        };
        Ok(loss.value)
    }
}

impl<T: Float> Workload for Logits<T> {
    fn run(&mut self, by: Implementation) {
        self.apart = by.owns_memory();
        if let Some(peer) = by.peer() {
            return self.theirs(peer);
        }
        let loss = match by.exec() {
            Some(exec) => self.fast(exec),
            None => self.naive(),
        };
        self.loss = loss.expect("valid arguments");
    }

    /// The gradients, if they were asked for, times the rows, since the mean makes them small.
    fn outputs(&self) -> Vec<f64> {
        let (mut all, mut loss) = (Vec::new(), self.loss.to_f64());
        if let Some(owned) = self.owned.as_ref().filter(|_| self.apart) {
            all = owned.outputs();
            loss = all.pop().expect("the loss comes last");
        } else if self.form != Form::SoftmaxLoss {
            append(&self.dlogits, &mut all);
        }
        all.iter_mut().for_each(|gradient| *gradient *= self.rows as f64);
        all.push(loss);
        all
    }

    /// Sums of as many terms as a row has classes, each with a few roundings.
    fn tolerance(&self) -> f64 {
        (self.cols + 16) as f64 * T::EPSILON.to_f64()
    }
}
