//! The tape: runs operations as they are recorded, and walks back over them.

use std::cell::{Cell, RefCell};

use tilewise_kernels::{Error as Argument, Exec, Float, Precision};

use super::op::{MAX_INPUTS, Op, Saved, View, named};
use super::shape::Shape;
use super::tensor::Tensor;
use super::var::Var;
use super::variables::{Variable, Variables};
use crate::error::{Error, Result};
use crate::layers::Pass;

/// What a node that no operation computed is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leaf {
    /// Data that stays.
    Constant,
    /// Data that a plan is fed with.
    Input(String),
    /// A variable.
    Variable(Variable),
}

/// Where a node comes from.
#[derive(Debug)]
pub(super) enum Origin<T> {
    Leaf(Leaf),
    Op { op: Box<dyn Op<T>>, inputs: Vec<usize> },
}

impl<T> Origin<T> {
    /// For a node that another one took the operation of.
    pub(super) fn nothing() -> Self {
        Self::Leaf(Leaf::Constant)
    }
}

/// A value on the tape.
#[derive(Debug)]
pub(super) struct Node<T> {
    pub(super) origin: Origin<T>,
    pub(super) shape: Shape,
    pub(super) data: Vec<T>,
    /// Class labels, which are instead of data.
    pub(super) labels: Option<Vec<usize>>,
    /// Whether a watched value is behind it.
    pub(super) watched: bool,
    /// A name under which a plan gives it out.
    pub(super) output: Option<String>,
}

impl<T: Float> Node<T> {
    /// Whether it is class labels, which are no numbers.
    pub(super) fn is_labels(&self) -> bool {
        self.labels.is_some()
    }

    /// With data only if that is wanted; labels always are.
    pub(super) fn view(&self, with_data: bool) -> View<'_, T> {
        let data = if with_data { &self.data[..] } else { &[] };
        View { data, labels: self.labels.as_deref().unwrap_or_default(), shape: self.shape }
    }
}

/// A record of a computation, written with ordinary Rust: loops, branches and functions. Every operation
/// runs as it is written down. Tapes know nothing of each other, and all memory goes with them.
///
/// Operations on [`Var`]s do not return `Result`: the first error stays with the tape, what follows from
/// it is not computed, and it comes out where a value or a gradient is asked for.
///
/// ```
/// use tilewise_nn::autodiff::{Tape, Tensor};
///
/// let tape = Tape::new();
/// let w = tape.watched(Tensor::scalar(0.0_f64));
/// let j = w.square() - 10.0 * w + 25.0;
/// assert_eq!(j.value()?.item()?, 25.0);
/// assert_eq!(j.gradients()?.of(w).unwrap().item()?, -10.0);
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
#[derive(Debug)]
pub struct Tape<T: Float = f32> {
    pub(super) nodes: RefCell<Vec<Node<T>>>,
    /// The first error.
    failure: RefCell<Option<Argument>>,
    persistent: bool,
    used: Cell<bool>,
    pub(super) pass: Pass,
}

impl<T: Float> Default for Tape<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The place of a value that could not be computed.
pub(super) const FAILED: usize = usize::MAX;

impl<T: Float> Tape<T> {
    /// An empty tape that gives gradients once.
    pub fn new() -> Self {
        Self {
            nodes: RefCell::default(),
            failure: RefCell::default(),
            persistent: false,
            used: Cell::new(false),
            pass: Pass::default(),
        }
    }

    /// An empty tape that gives gradients as often as wanted.
    pub fn persistent() -> Self {
        Self { persistent: true, ..Self::new() }
    }

    /// Sets instruction set and threads.
    #[must_use]
    pub fn exec(self, exec: Exec) -> Self {
        Self { pass: Pass { exec, ..self.pass }, ..self }
    }

    /// Sets how exactly matrices are multiplied; everything else is in the type of the values.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { pass: Pass { precision, ..self.pass }, ..self }
    }

    /// Sets the number of the step, by which random operations draw.
    #[must_use]
    pub fn step(self, step: u64) -> Self {
        Self { pass: Pass { step, ..self.pass }, ..self }
    }

    /// A value that no gradient is wanted by, the same in every replay of a plan.
    pub fn constant(&self, value: Tensor<T>) -> Var<'_, T> {
        self.leaf(Leaf::Constant, value, false)
    }

    /// A value that a plan is fed with under this `name`; here it has the given one.
    pub fn input(&self, name: &str, value: Tensor<T>) -> Var<'_, T> {
        self.leaf(Leaf::Input(name.to_owned()), value, false)
    }

    /// Class labels, one per example, for losses; a plan is fed with them under this `name`.
    pub fn labels(&self, name: &str, labels: &[usize]) -> Var<'_, T> {
        let shape = match Shape::new(&[labels.len()]) {
            Ok(shape) => shape,
            Err(error) => return self.failed(error),
        };
        let origin = Origin::Leaf(Leaf::Input(name.to_owned()));
        let (data, labels) = (Vec::new(), Some(labels.to_vec()));
        self.push(Node { origin, shape, data, labels, watched: false, output: None })
    }

    /// A value that a gradient is wanted by.
    pub fn watched(&self, value: Tensor<T>) -> Var<'_, T> {
        self.leaf(Leaf::Constant, value, true)
    }

    /// The value of a variable, which a gradient is wanted by.
    pub fn watch(&self, variables: &Variables<T>, variable: Variable) -> Var<'_, T> {
        self.variable(variables, variable, true)
    }

    /// The value of a variable, as a constant of this step: no gradient, and no update.
    pub fn unwatched(&self, variables: &Variables<T>, variable: Variable) -> Var<'_, T> {
        self.variable(variables, variable, false)
    }

    fn variable(&self, from: &Variables<T>, variable: Variable, watched: bool) -> Var<'_, T> {
        match from.value(variable) {
            Ok(value) => self.leaf(Leaf::Variable(variable), value, watched),
            Err(error) => self.failed(error),
        }
    }

    fn leaf(&self, leaf: Leaf, value: Tensor<T>, watched: bool) -> Var<'_, T> {
        let shape = value.shape();
        let (origin, data) = (Origin::Leaf(leaf), value.into_data());
        self.push(Node { origin, shape, data, labels: None, watched, output: None })
    }

    fn push(&self, node: Node<T>) -> Var<'_, T> {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(node);
        Var { tape: self, id: nodes.len() - 1 }
    }

    /// Records an operation and runs it.
    pub fn apply<'t>(&'t self, op: impl Op<T>, inputs: &[Var<'t, T>]) -> Var<'t, T> {
        if inputs.iter().any(|input| input.id == FAILED) {
            return Var { tape: self, id: FAILED };
        }
        match self.run(Box::new(op), inputs) {
            Ok(node) => self.push(node),
            Err(error) => self.failed(error),
        }
    }

    fn run(
        &self,
        mut op: Box<dyn Op<T>>,
        inputs: &[Var<'_, T>],
    ) -> tilewise_kernels::Result<Node<T>> {
        let name = op.name();
        if inputs.len() > MAX_INPUTS {
            let expected = format!("at most {MAX_INPUTS} inputs");
            return Err(Argument::shape(name, expected, inputs.len()));
        }
        if !inputs.iter().all(|input| std::ptr::eq(input.tape, self)) {
            return Err(Argument::value(name, "operands of this tape", "one of another"));
        }
        let nodes = self.nodes.borrow();
        let inputs: Vec<usize> = inputs.iter().map(|input| input.id).collect();
        let shapes: Vec<Shape> = inputs.iter().map(|&id| nodes[id].shape).collect();
        let shape = op.shape(&shapes).map_err(|error| named(error, name, &shapes))?;
        for (number, &id) in inputs.iter().enumerate() {
            check_labels(&*op, number, &nodes[id]).map_err(|error| named(error, name, &shapes))?;
        }
        let views: Vec<View<'_, T>> = inputs.iter().map(|&id| nodes[id].view(true)).collect();
        let mut data = vec![T::ZERO; shape.len()];
        op.forward(&views, &mut data, self.pass).map_err(|error| named(error, name, &shapes))?;
        let watched = inputs.iter().any(|&id| nodes[id].watched);
        let origin = Origin::Op { op, inputs };
        Ok(Node { origin, shape, data, labels: None, watched, output: None })
    }

    /// Keeps the first error.
    pub(super) fn failed(&self, error: Argument) -> Var<'_, T> {
        self.failure.borrow_mut().get_or_insert(error);
        Var { tape: self, id: FAILED }
    }

    /// The first error, for a value that could not be computed.
    pub(super) fn failure(&self) -> Error {
        let failure = self.failure.borrow().clone();
        failure.map_or_else(|| Error::failed("a value that could not be computed"), Error::from)
    }

    /// The derivatives of `loss` by all watched leaves before it.
    pub(super) fn gradients(&self, loss: usize) -> Result<Gradients<T>> {
        if self.used.replace(true) && !self.persistent {
            let expected = "a persistent tape for a second use";
            return Err(Error::argument("gradients", expected, "one that was used"));
        }
        let mut nodes = self.nodes.borrow_mut();
        if nodes[loss].shape.len() != 1 {
            let shape = nodes[loss].shape;
            return Err(Error::shape("loss", "a single element", shape));
        }
        let mut all: Vec<Option<Vec<T>>> = vec![None; loss + 1];
        all[loss] = nodes[loss].watched.then(|| vec![T::ONE]);
        for id in (0..=loss).rev() {
            let Origin::Op { .. } = nodes[id].origin else { continue };
            let Some(dy) = all[id].take() else { continue };
            let (before, rest) = nodes.split_at_mut(id);
            for (input, dx) in back(before, &mut rest[0], &dy, self.pass)? {
                match &mut all[input] {
                    None => all[input] = Some(dx),
                    Some(sum) => sum.iter_mut().zip(dx).for_each(|(sum, dx)| *sum += dx),
                }
            }
        }
        let leaves = all.into_iter().enumerate().map(|(id, gradient)| {
            let node = &nodes[id];
            let variable = match &node.origin {
                Origin::Leaf(Leaf::Variable(variable)) => Some(*variable),
                _ => None,
            };
            let gradient = gradient.filter(|_| matches!(node.origin, Origin::Leaf(_)));
            (variable, gradient.map(|data| Tensor::of_shape(data, node.shape)))
        });
        Ok(Gradients { leaves: leaves.collect() })
    }
}

/// Checks that an input is class labels where the operation takes such, and numbers elsewhere.
fn check_labels<T: Float>(
    op: &dyn Op<T>,
    number: usize,
    node: &Node<T>,
) -> tilewise_kernels::Result<()> {
    let kinds = ["numbers", "class labels"];
    let [wanted, got] = [op.takes_labels(number), node.is_labels()].map(usize::from);
    if wanted == got {
        return Ok(());
    }
    Err(Argument::value(format!("input {number}"), kinds[wanted], kinds[got]))
}

/// The gradients by the watched inputs of `node`, which all stand `before` it.
fn back<T: Float>(
    before: &[Node<T>],
    node: &mut Node<T>,
    dy: &[T],
    pass: Pass,
) -> Result<Vec<(usize, Vec<T>)>> {
    let Origin::Op { op, inputs } = &mut node.origin else { return Ok(Vec::new()) };
    let uses = op.uses();
    let views: Vec<View<'_, T>> = inputs.iter().map(|&id| before[id].view(uses.inputs)).collect();
    let data = if uses.output { &node.data[..] } else { &[] };
    let output = View { data, labels: &[], shape: node.shape };
    let wanted = |id: &usize| before[*id].watched.then(|| vec![T::ZERO; before[*id].shape.len()]);
    let mut buffers: Vec<Option<Vec<T>>> = inputs.iter().map(wanted).collect();
    let mut places: Vec<Option<&mut [T]>> = buffers.iter_mut().map(Option::as_deref_mut).collect();
    op.backward(Saved { inputs: &views, output, dy }, &mut places, pass).map_err(|error| {
        let shapes: Vec<Shape> = views.iter().map(|view| view.shape).collect();
        named(error, op.name(), &shapes).within("backward")
    })?;
    Ok(inputs.iter().zip(buffers).filter_map(|(&id, dx)| Some((id, dx?))).collect())
}

/// The derivatives of a loss by what was watched.
#[derive(Debug, Clone)]
pub struct Gradients<T: Float = f32> {
    /// By place on the tape: which variable it is, and the derivative.
    leaves: Vec<(Option<Variable>, Option<Tensor<T>>)>,
}

impl<T: Float> Gradients<T> {
    /// The derivative by a watched value; `None` for others, and where the loss does not depend on it.
    pub fn of(&self, leaf: Var<'_, T>) -> Option<&Tensor<T>> {
        self.leaves.get(leaf.id)?.1.as_ref()
    }

    /// The derivative by a variable, summed over the places where it was watched.
    pub fn of_variable(&self, variable: Variable) -> Option<Tensor<T>> {
        let of = |(at, gradient): &(Option<Variable>, Option<Tensor<T>>)| {
            if *at == Some(variable) { gradient.clone() } else { None }
        };
        self.leaves.iter().filter_map(of).reduce(|mut sum, other| {
            sum.data_mut().iter_mut().zip(other.data()).for_each(|(sum, x)| *sum += *x);
            sum
        })
    }
}
