//! Plans: a step recorded once and replayed with new data.
//!
//! * [`graph`]: what is needed of the recording, and which operations become one.
//! * [`schedule`]: the order of the steps, and memory by lifetime.
//! * [`execute`]: running a step.
//! * [`explain`]: what a user is told.

mod execute;
mod explain;
mod graph;
mod schedule;

use std::time::{Duration, Instant};

pub use explain::{Explanation, PlanStep};

use execute::{Memory, Placed, replay};
use graph::Graph;
use schedule::Schedule;
use tilewise_kernels::{Exec, Float, Precision};

use super::shape::Shape;
use super::tape::{Leaf, Node, Origin, Tape};
use super::var::Var;
use super::variables::{Variable, Variables};
use crate::error::{Error, Result};
use crate::layers::Pass;
use crate::optim::Optimizer;

/// New data for an [input](Tape::input) or for [labels](Tape::labels) of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a, T> {
    name: &'a str,
    data: Fed<'a, T>,
}

#[derive(Debug, Clone, Copy)]
enum Fed<'a, T> {
    Values(&'a [T]),
    Labels(&'a [usize]),
}

impl<'a, T: Float> Feed<'a, T> {
    /// Elements, as many as the input was recorded with.
    pub fn values(name: &'a str, values: &'a [T]) -> Self {
        Self { name, data: Fed::Values(values) }
    }

    /// Class labels, as many as were recorded.
    pub fn labels(name: &'a str, labels: &'a [usize]) -> Self {
        Self { name, data: Fed::Labels(labels) }
    }
}

/// Where a value is found.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// It was fused away.
    Nothing,
    Buffer(usize),
    Constant(usize),
    /// One of the inputs, by number.
    Feed(usize),
    /// One of the variables, by index.
    Variable(usize),
}

/// A value of the recording.
#[derive(Debug, Clone, Copy)]
struct Value {
    shape: Shape,
    source: Source,
}

/// What a plan is fed with.
#[derive(Debug)]
struct Input {
    name: String,
    len: usize,
    labels: bool,
}

/// A variable that a plan reads.
#[derive(Debug)]
struct Used {
    variable: Variable,
    shape: Shape,
    /// The node by which its gradient is found.
    leaf: usize,
}

/// A computation that was recorded once and is replayed with new data and the variables' current values.
///
/// Control flow is that of the recording, and so are all shapes. Memory is assigned when the plan is made; a
/// steady step on one thread allocates nothing. Neighbours that a kernel can do together are one step: bias
/// and activation in the store of a matrix product, the statistics of batch normalisation too, the ReLU
/// behind it, softmax and cross-entropy with the gradient over the logits, and the update of a variable as
/// soon as its gradient is complete, whose memory then serves the next.
///
/// ```
/// use tilewise_nn::autodiff::{Feed, Plan, Tensor, Variables};
/// use tilewise_nn::optim::Sgd;
///
/// let mut variables = Variables::new();
/// let w = variables.add(Tensor::scalar(0.0_f64));
/// let mut plan = Plan::training(Sgd::new(0.01), |tape| {
///     let w = tape.watch(&variables, w);
///     let c = tape.input("c", Tensor::new(vec![1.0, -10.0, 25.0], &[3]).unwrap());
///     (c.slice(0, 0, 1) * w.square() + c.slice(0, 1, 1) * w + c.slice(0, 2, 1)).sum()
/// })?;
/// for _ in 0..1000 {
///     plan.run(&mut variables, &[Feed::values("c", &[1.0, -20.0, 100.0])])?;
/// }
/// assert!((variables.data(w)?[0] - 10.0).abs() < 1e-7);
/// # Ok::<(), tilewise_nn::Error>(())
/// ```
pub struct Plan<T: Float = f32> {
    schedule: Schedule,
    slots: Vec<Vec<T>>,
    values: Vec<Value>,
    /// By node.
    ops: Vec<Option<Placed<T>>>,
    constants: Vec<Vec<T>>,
    inputs: Vec<Input>,
    /// By input: which of the feeds of the current run it is.
    fed: Vec<usize>,
    used: Vec<Used>,
    outputs: Vec<(String, usize)>,
    loss: usize,
    optimizer: Option<Box<dyn Optimizer<T> + Send + Sync>>,
    exec: Exec,
    precision: Precision,
    runs: u64,
    /// By step: the time of all runs.
    times: Vec<Duration>,
}

impl<T: Float> Plan<T> {
    /// A plan that computes what `step` returns, a single number, and its gradients.
    ///
    /// # Errors
    /// If the recording failed, its result is not a single number, or it has two inputs of one name.
    pub fn record<F>(step: F) -> Result<Self>
    where
        F: for<'t> FnOnce(&'t Tape<T>) -> Var<'t, T>,
    {
        Self::new(None, step)
    }

    /// A plan that also moves the watched variables by `optimizer`.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn training<F>(
        optimizer: impl Optimizer<T> + Send + Sync + 'static,
        step: F,
    ) -> Result<Self>
    where
        F: for<'t> FnOnce(&'t Tape<T>) -> Var<'t, T>,
    {
        Self::new(Some(Box::new(optimizer)), step)
    }

    fn new<F>(optimizer: Option<Box<dyn Optimizer<T> + Send + Sync>>, step: F) -> Result<Self>
    where
        F: for<'t> FnOnce(&'t Tape<T>) -> Var<'t, T>,
    {
        let tape = Tape::new();
        let loss = step(&tape);
        let shape = loss.shape()?;
        if shape.len() != 1 {
            return Err(Error::shape("loss", "a single element", shape));
        }
        if !std::ptr::eq(loss.tape, &tape) {
            return Err(Error::argument("loss", "a value of the tape", "one of another"));
        }
        let loss = loss.id;
        if matches!(tape.nodes.borrow()[loss].origin, Origin::Leaf(_)) {
            return Err(Error::argument("loss", "the result of an operation", "a value as given"));
        }
        let graph = Graph::new(tape.nodes.into_inner(), loss);
        let at_once = optimizer.as_ref().is_some_and(|optimizer| optimizer.separable());
        let schedule = Schedule::new(&graph, at_once);
        Self::assemble(graph, schedule, optimizer)
    }

    fn assemble(
        graph: Graph<T>,
        schedule: Schedule,
        optimizer: Option<Box<dyn Optimizer<T> + Send + Sync>>,
    ) -> Result<Self> {
        let mut plan = Self {
            slots: schedule.slots.iter().map(|&len| vec![T::ZERO; len]).collect(),
            times: vec![Duration::ZERO; schedule.steps.len()],
            schedule,
            values: Vec::new(),
            ops: Vec::new(),
            constants: Vec::new(),
            inputs: Vec::new(),
            fed: Vec::new(),
            used: Vec::new(),
            outputs: Vec::new(),
            loss: graph.loss,
            optimizer,
            exec: Exec::default(),
            precision: Precision::default(),
            runs: 0,
        };
        for (id, (node, live)) in graph.nodes.into_iter().zip(graph.live).enumerate() {
            let computed = matches!(node.origin, Origin::Op { .. });
            plan.outputs.extend(node.output.clone().filter(|_| computed).map(|name| (name, id)));
            plan.take_in(id, node, live)?;
        }
        plan.fed = vec![0; plan.inputs.len()];
        Ok(plan)
    }

    /// Takes in the next node of the recording.
    fn take_in(&mut self, id: usize, node: Node<T>, live: bool) -> Result<()> {
        let of_labels = node.is_labels();
        let Node { origin, shape, data, .. } = node;
        let mut placed = None;
        let source = match origin {
            _ if !live => Source::Nothing,
            Origin::Op { op, inputs } => {
                placed = Some(Placed { op, inputs });
                self.schedule.values[id].map_or(Source::Nothing, Source::Buffer)
            }
            Origin::Leaf(Leaf::Constant) => {
                self.constants.push(data);
                Source::Constant(self.constants.len() - 1)
            }
            Origin::Leaf(Leaf::Input(name)) => {
                if self.inputs.iter().any(|input| input.name == name) {
                    return Err(Error::argument("input", "a name of its own", name));
                }
                self.inputs.push(Input { name, len: shape.len(), labels: of_labels });
                Source::Feed(self.inputs.len() - 1)
            }
            Origin::Leaf(Leaf::Variable(variable)) => {
                self.used.push(Used { variable, shape, leaf: id });
                Source::Variable(variable.index())
            }
        };
        self.values.push(Value { shape, source });
        self.ops.push(placed);
        Ok(())
    }

    /// Sets instruction set and threads.
    #[must_use]
    pub fn exec(self, exec: Exec) -> Self {
        Self { exec, ..self }
    }

    /// Sets how exactly matrices are multiplied: see
    /// [`Sequential::set_precision`](crate::Sequential::set_precision).
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Replays the step: the loss. Random operations draw by the number of the run, from 1.
    ///
    /// # Errors
    /// If an input was not fed, or with something else than was recorded; if `variables` are not those of
    /// the recording; if a label is outside its range or the optimiser's settings are. No variable is moved
    /// then. (Where the backward pass of an operation of one's own fails, some may have been.)
    pub fn run(&mut self, variables: &mut Variables<T>, feeds: &[Feed<'_, T>]) -> Result<T> {
        self.check(variables, feeds)?;
        let Self { exec, precision, .. } = *self;
        let pass = Pass { exec, precision, step: self.runs + 1, ..Pass::default() };
        let Self { schedule, slots, values, ops, constants, fed, optimizer, times, .. } = self;
        let buffers = &schedule.buffers;
        let mut memory = Memory { values, buffers, slots, constants, feeds, fed, variables, pass };
        if let Some(seed) = schedule.seed {
            memory.fill(seed, T::ONE);
        }
        for (step, time) in schedule.steps.iter().zip(times) {
            let start = Instant::now();
            replay(step, schedule, ops, &mut memory, optimizer.as_deref())?;
            *time += start.elapsed();
        }
        self.update_together(variables)?;
        variables.steps += u64::from(self.updates_at_once());
        self.runs += 1;
        Ok(self.value(self.loss)[0])
    }

    /// The value of a node that is kept after a run.
    fn value(&self, node: usize) -> &[T] {
        match self.values[node].source {
            Source::Buffer(buffer) => self.data(buffer),
            Source::Constant(constant) => &self.constants[constant],
            _ => &[],
        }
    }

    fn data(&self, buffer: usize) -> &[T] {
        let buffer = self.schedule.buffers[buffer];
        &self.slots[buffer.slot][..buffer.len]
    }

    /// What the last run computed of a value that was [named](Var::output) in the recording; `None` for
    /// other names, and for a leaf.
    pub fn output(&self, name: &str) -> Option<&[T]> {
        let (_, node) = self.outputs.iter().find(|(known, _)| known == name)?;
        Some(self.value(*node))
    }

    /// The derivative by a variable in the last run, unless an update consumed it.
    pub fn gradient(&self, variable: Variable) -> Option<&[T]> {
        let of = |used: &&Used| used.variable == variable;
        let mut buffers =
            self.used.iter().filter(of).filter_map(|used| self.schedule.gradients[used.leaf]);
        let buffer = buffers.next()?;
        (!self.schedule.updates(buffer)).then(|| self.data(buffer))
    }

    /// Bytes of memory for all values and gradients that the plan holds.
    pub fn memory(&self) -> usize {
        self.slots.iter().map(|slot| size_of_val(&slot[..])).sum()
    }

    /// Finds the feeds of all inputs and checks everything that a run depends on.
    fn check(&mut self, variables: &Variables<T>, feeds: &[Feed<'_, T>]) -> Result<()> {
        for (input, at) in self.inputs.iter().zip(&mut self.fed) {
            let named = feeds.iter().position(|feed| feed.name == input.name);
            *at = named.ok_or_else(|| {
                Error::argument("feeds of the plan", format!("one for {}", input.name), "none")
            })?;
            let (labels, len) = match feeds[*at].data {
                Fed::Values(values) => (false, values.len()),
                Fed::Labels(labels) => (true, labels.len()),
            };
            if (labels, len) != (input.labels, input.len) {
                let what =
                    |labels, len| format!("{len} {}", if labels { "labels" } else { "values" });
                let (expected, got) = (what(input.labels, input.len), what(labels, len));
                return Err(Error::shape(format!("feed {}", input.name), expected, got));
            }
        }
        for Used { variable, shape, .. } in &self.used {
            let place = variables.place(*variable)?;
            if variables.all[place].shape != *shape {
                return Err(Error::shape("variable", *shape, variables.all[place].shape));
            }
        }
        Ok(())
    }

    /// Whether variables are moved in steps of the plan.
    fn updates_at_once(&self) -> bool {
        self.optimizer.as_ref().is_some_and(|optimizer| optimizer.separable())
    }

    /// The step of an optimiser that must see all gradients before it moves anything.
    fn update_together(&mut self, variables: &mut Variables<T>) -> Result<()> {
        let Some(optimizer) = self.optimizer.as_deref().filter(|_| !self.updates_at_once()) else {
            return Ok(());
        };
        let mut gradients = vec![None; variables.all.len()];
        for Used { variable, .. } in &self.used {
            if let Some(gradient) = self.gradient(*variable) {
                gradients[variable.index()] = Some(gradient.to_vec());
            }
        }
        variables.step_by(optimizer, gradients)
    }
}
