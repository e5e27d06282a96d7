//! What a plan consists of, step by step.

use std::fmt::{self, Write as _};
use std::time::Duration;

use tilewise_kernels::Float;

use super::super::shape::Shape;
use super::execute::Placed;
use super::schedule::{Kind, Write};
use super::{Plan, Source};

/// A step as a user sees it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlanStep {
    /// What is done, with everything that was fused into it.
    pub name: String,
    /// The shape of what is written.
    pub shape: Shape,
    /// Additions, multiplications and elementary functions, counted from the shapes.
    pub flops: u64,
    /// Bytes of what is read and written, each once.
    pub bytes: u64,
    /// The mean time of a run so far.
    pub time: Duration,
}

/// The steps of a plan; prints as a table. See [`Plan::explain`].
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// In the order in which they run.
    pub steps: Vec<PlanStep>,
    /// Bytes of memory for values and gradients.
    pub memory: usize,
    /// What they would take if none shared a place.
    pub memory_unshared: usize,
}

impl<T: Float> Plan<T> {
    /// What the plan does: its steps with what was fused into them, operations, bytes, and the time that they
    /// took in the runs so far.
    pub fn explain(&self) -> Explanation {
        let runs = u32::try_from(self.runs.max(1)).unwrap_or(u32::MAX);
        let steps = self.schedule.steps.iter().zip(&self.times);
        Explanation {
            steps: steps.map(|(step, &time)| self.describe(step, time / runs)).collect(),
            memory: self.memory(),
            memory_unshared: self.schedule.buffers.iter().map(|b| b.len * size_of::<T>()).sum(),
        }
    }

    fn describe(&self, step: &Kind, time: Duration) -> PlanStep {
        let (name, shape, flops, elements) = match *step {
            Kind::Forward { node, statistics } => {
                let name = self.name(node);
                let name = match statistics {
                    Some(_) => format!("{name}, statistics from the matmul"),
                    None => name.to_owned(),
                };
                (name, self.values[node].shape, self.flops(node), self.read(node) + self.len(node))
            }
            Kind::Loss { node } => {
                let name = format!("{} with its gradient over the logits", self.name(node));
                let logits = self.first_input(node);
                (name, self.values[logits].shape, self.flops(node), 2 * self.len(logits))
            }
            Kind::Scale { node, .. } => {
                let logits = self.first_input(node);
                let len = self.len(logits);
                let name = format!("gradient of {} times its factor", self.name(node));
                (name, self.values[logits].shape, len as u64, 2 * len)
            }
            Kind::Backward { node, dx } => self.describe_backward(node, &dx),
            Kind::Add { to, .. } => {
                let len = self.schedule.buffers[to].len;
                ("sum of gradients".to_owned(), Shape::line(len), len as u64, 3 * len)
            }
            Kind::Update { variable, gradient } => {
                let len = self.schedule.buffers[gradient].len;
                let slots = self.optimizer.as_ref().map_or(0, |rule| rule.slots());
                let name = format!("update of variable {variable}");
                // Parameters and state are read and written, the gradient read.
                (name, Shape::line(len), ((2 + 4 * slots) * len) as u64, (3 + 2 * slots) * len)
            }
        };
        PlanStep { name, shape, flops, bytes: (elements * size_of::<T>()) as u64, time }
    }

    fn describe_backward(&self, node: usize, dx: &[Option<Write>]) -> (String, Shape, u64, usize) {
        let writes = dx.iter().flatten();
        let name = format!("gradients of {}", self.name(node));
        let written: usize = writes
            .map(|write| {
                // A sum is read, and read and written once more.
                let len = self.schedule.buffers[write.to].len;
                if write.add_to.is_some() { 4 * len } else { len }
            })
            .sum();
        let Some(placed) = &self.ops[node] else { return (name, Shape::SCALAR, 0, 0) };
        let wanted: Vec<bool> = dx[..placed.inputs.len()].iter().map(Option::is_some).collect();
        let flops =
            placed.op.backward_flops(&self.shapes(placed), &self.values[node].shape, &wanted);
        let uses = placed.op.uses();
        let saved = if uses.inputs { self.read(node) } else { 0 }
            + if uses.output { self.len(node) } else { 0 };
        (name, self.values[node].shape, flops, saved + self.len(node) + written)
    }

    fn name(&self, node: usize) -> &'static str {
        self.ops[node].as_ref().map_or("", |placed| placed.op.name())
    }

    fn len(&self, node: usize) -> usize {
        self.values[node].shape.len()
    }

    fn first_input(&self, node: usize) -> usize {
        self.ops[node].as_ref().map_or(node, |placed| placed.inputs[0])
    }

    /// Elements that the operation of a node reads.
    fn read(&self, node: usize) -> usize {
        let Some(placed) = &self.ops[node] else { return 0 };
        let stored = |&&input: &&usize| !matches!(self.values[input].source, Source::Nothing);
        placed.inputs.iter().filter(stored).map(|&input| self.len(input)).sum()
    }

    fn flops(&self, node: usize) -> u64 {
        let Some(placed) = &self.ops[node] else { return 0 };
        placed.op.flops(&self.shapes(placed), &self.values[node].shape)
    }

    fn shapes(&self, placed: &Placed<T>) -> Vec<Shape> {
        placed.inputs.iter().map(|&input| self.values[input].shape).collect()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or(0).max(4);
        writeln!(
            f,
            "{:width$}  {:>14}  {:>10}  {:>10}  {:>10}",
            "step", "shape", "kflop", "KiB", "µs"
        )?;
        for step in &self.steps {
            let mut shape = String::new();
            write!(shape, "{}", step.shape)?;
            let (flops, bytes) = (step.flops as f64 / 1e3, step.bytes as f64 / 1024.0);
            let time = step.time.as_secs_f64() * 1e6;
            writeln!(
                f,
                "{:width$}  {shape:>14}  {flops:10.1}  {bytes:10.1}  {time:10.1}",
                step.name
            )?;
        }
        let [kept, all] = [self.memory, self.memory_unshared].map(|bytes| bytes as f64 / 1024.0);
        write!(
            f,
            "memory for values and gradients: {kept:.1} KiB; {all:.1} KiB if none shared a place"
        )
    }
}

impl<T: Float> fmt::Debug for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("steps", &self.schedule.steps).finish_non_exhaustive()
    }
}
