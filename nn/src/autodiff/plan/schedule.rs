//! The order of the steps, and memory for what they write: buffers are assigned by lifetime, once.

use tilewise_kernels::Float;

use super::super::op::MAX_INPUTS;
use super::super::tape::{Leaf, Origin};
use super::graph::Graph;

/// A stretch of the plan's memory that some steps write and read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer {
    pub(super) len: usize,
    /// Its place in the plan's memory.
    pub(super) slot: usize,
    /// The first and the last step that touch it.
    first: usize,
    last: usize,
    /// Whether it needs a place of exactly its length, as gradients do that go to an optimiser.
    exact: bool,
}

/// Where the gradient by one input of an operation goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    /// The buffer that the operation writes.
    pub(super) to: usize,
    /// Where it is added afterwards, if it is not the first part of a sum.
    pub(super) add_to: Option<usize>,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Kind {
    /// Runs the operation of a node; batch normalisation with the statistics that a product took.
    Forward { node: usize, statistics: Option<usize> },
    /// Cross-entropy, whose gradient replaces the logits.
    Loss { node: usize },
    /// Multiplies the gradient that a loss left by that of the loss.
    Scale { node: usize, gradient: usize },
    /// Walks back over the operation of a node.
    Backward { node: usize, dx: [Option<Write>; MAX_INPUTS] },
    /// Adds the second buffer to the first.
    Add { to: usize, from: usize },
    /// Moves a variable, by its index, against its gradient.
    Update { variable: usize, gradient: usize },
}

/// The steps, and where everything is.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) steps: Vec<Kind>,
    pub(super) buffers: Vec<Buffer>,
    /// By node: the buffer of its value, if the plan holds it, and of the gradient by it.
    pub(super) values: Vec<Option<usize>>,
    pub(super) gradients: Vec<Option<usize>>,
    /// Lengths of the plan's pieces of memory.
    pub(super) slots: Vec<usize>,
    /// The gradient by the loss, which is 1.
    pub(super) seed: Option<usize>,
}

/// No step: the end of a plan.
const END: usize = usize::MAX;

impl Schedule {
    /// Of a graph; variables are moved as soon as their gradient is complete if `updates`.
    pub(super) fn new<T: Float>(graph: &Graph<T>, updates: bool) -> Self {
        let count = graph.nodes.len();
        let mut schedule =
            Self { values: vec![None; count], gradients: vec![None; count], ..Self::default() };
        schedule.forward(graph);
        schedule.backward(graph);
        schedule.finish(graph, updates);
        schedule.find_lifetimes(graph);
        schedule.assign();
        schedule
    }

    fn buffer(&mut self, len: usize, exact: bool) -> usize {
        self.buffers.push(Buffer { len, slot: 0, first: END, last: 0, exact });
        self.buffers.len() - 1
    }

    fn forward<T: Float>(&mut self, graph: &Graph<T>) {
        for (node, value) in graph.nodes.iter().enumerate() {
            if !graph.live[node] || matches!(value.origin, Origin::Leaf(_)) {
                continue;
            }
            self.values[node] = Some(self.buffer(value.shape.len(), false));
            let over = graph.inputs(node).first().filter(|&&logits| graph.overwritten[logits]);
            self.steps.push(match over {
                Some(&logits) => {
                    self.gradients[logits] = self.values[logits];
                    Kind::Loss { node }
                }
                None => Kind::Forward { node, statistics: graph.statistics[node] },
            });
        }
    }

    fn backward<T: Float>(&mut self, graph: &Graph<T>) {
        if !graph.nodes[graph.loss].watched {
            return;
        }
        let seed = self.buffer(1, false);
        (self.seed, self.gradients[graph.loss]) = (Some(seed), Some(seed));
        for node in (0..=graph.loss).rev() {
            let (true, Some(_)) = (graph.live[node], self.gradients[node]) else { continue };
            let inputs = graph.inputs(node);
            if inputs.is_empty() {
                continue;
            }
            if graph.overwritten[inputs[0]] {
                // Of the loss itself it is complete: its factor is 1.
                let gradient = self.gradients[inputs[0]].filter(|_| node != graph.loss);
                self.steps.extend(gradient.map(|gradient| Kind::Scale { node, gradient }));
                continue;
            }
            let mut dx = [None; MAX_INPUTS];
            for (dx, &input) in dx.iter_mut().zip(inputs) {
                if graph.nodes[input].watched {
                    *dx = Some(self.write(graph, input));
                }
            }
            self.steps.push(Kind::Backward { node, dx });
        }
    }

    /// A place for one more part of the gradient by `input`.
    fn write<T: Float>(&mut self, graph: &Graph<T>, input: usize) -> Write {
        let value = &graph.nodes[input];
        let add_to = self.gradients[input];
        let exact = matches!(value.origin, Origin::Leaf(_)) && add_to.is_none();
        let to = self.buffer(value.shape.len(), exact);
        if add_to.is_none() {
            self.gradients[input] = Some(to);
        }
        Write { to, add_to }
    }

    /// Sums of the gradients of variables that were watched in several places, and their updates, each
    /// behind the last step that needs the old value or adds to the gradient.
    fn finish<T: Float>(&mut self, graph: &Graph<T>, updates: bool) {
        let mut behind: Vec<(usize, Vec<Kind>)> = Vec::new();
        for (variable, leaves) in variables(graph) {
            let mut parts = leaves.iter().filter_map(|&leaf| self.gradients[leaf]);
            let Some(gradient) = parts.next() else { continue };
            let mut steps: Vec<_> = parts.map(|from| Kind::Add { to: gradient, from }).collect();
            if updates {
                steps.push(Kind::Update { variable, gradient });
            }
            behind.push((self.last_use(graph, &leaves), steps));
        }
        // From the last place to the first, so that earlier places stay where they are, and so at one place.
        behind.reverse();
        behind.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        for (place, steps) in behind {
            self.steps.splice(place + 1..place + 1, steps);
        }
    }

    /// The last step of an operation on one of `leaves`.
    fn last_use<T: Float>(&self, graph: &Graph<T>, leaves: &[usize]) -> usize {
        let reads = |kind: &Kind| match kind {
            Kind::Forward { node, .. }
            | Kind::Loss { node }
            | Kind::Scale { node, .. }
            | Kind::Backward { node, .. } => {
                graph.inputs(*node).iter().any(|input| leaves.contains(input))
            }
            Kind::Add { .. } | Kind::Update { .. } => false,
        };
        self.steps.iter().rposition(reads).unwrap_or(self.steps.len().saturating_sub(1))
    }

    fn touch(&mut self, buffer: Option<usize>, step: usize) {
        if let Some(buffer) = buffer {
            let Buffer { first, last, .. } = &mut self.buffers[buffer];
            (*first, *last) = ((*first).min(step), (*last).max(step));
        }
    }

    fn find_lifetimes<T: Float>(&mut self, graph: &Graph<T>) {
        let steps = std::mem::take(&mut self.steps);
        // Written before the first step.
        self.touch(self.seed, 0);
        for (step, kind) in steps.iter().enumerate() {
            match *kind {
                Kind::Forward { node, .. } | Kind::Loss { node } => {
                    self.touch(self.values[node], step);
                    for &input in graph.inputs(node) {
                        self.touch(self.values[input], step);
                    }
                }
                Kind::Scale { node, gradient } => {
                    self.touch(self.gradients[node], step);
                    self.touch(Some(gradient), step);
                }
                Kind::Backward { node, dx } => {
                    self.touch(self.gradients[node], step);
                    let Origin::Op { op, inputs } = &graph.nodes[node].origin else { continue };
                    if op.uses().output {
                        self.touch(self.values[node], step);
                    }
                    for &input in inputs.iter().filter(|_| op.uses().inputs) {
                        self.touch(self.values[input], step);
                    }
                    for Write { to, add_to } in dx.into_iter().flatten() {
                        self.touch(Some(to), step);
                        self.touch(add_to, step);
                    }
                }
                Kind::Add { to, from } => {
                    self.touch(Some(to), step);
                    self.touch(Some(from), step);
                }
                Kind::Update { gradient, .. } => self.touch(Some(gradient), step),
            }
        }
        self.steps = steps;
        self.keep(graph);
    }

    /// Keeps what is read after a run: the loss, outputs, and gradients that no step consumed.
    fn keep<T: Float>(&mut self, graph: &Graph<T>) {
        for (node, value) in graph.nodes.iter().enumerate() {
            if node == graph.loss || value.output.is_some() {
                self.touch(self.values[node], END - 1);
            }
            let leaf = matches!(value.origin, Origin::Leaf(_));
            let gradient = self.gradients[node].filter(|&buffer| leaf && !self.updates(buffer));
            self.touch(gradient, END - 1);
        }
    }

    /// Whether an update consumes a gradient.
    pub(super) fn updates(&self, buffer: usize) -> bool {
        let of = |kind: &Kind| matches!(kind, Kind::Update { gradient, .. } if *gradient == buffer);
        self.steps.iter().any(of)
    }

    /// Gives every buffer a slot that no other one uses at the same time.
    fn assign(&mut self) {
        // By slot: the last step that needs it, and whether its length is fixed.
        let mut taken: Vec<(usize, bool)> = Vec::new();
        let mut order: Vec<usize> = (0..self.buffers.len()).collect();
        order.sort_by_key(|&buffer| self.buffers[buffer].first);
        for buffer in order {
            let Buffer { len, first, last, exact, .. } = self.buffers[buffer];
            let free = |slot: usize| taken[slot].0 < first && taken[slot].1 == exact;
            let fits = |slot: usize| if exact { self.slots[slot] == len } else { true };
            // The one whose length is nearest, so that little grows and little is wasted.
            let best = (0..taken.len())
                .filter(|&slot| free(slot) && fits(slot))
                .min_by_key(|&slot| self.slots[slot].abs_diff(len));
            let slot = best.unwrap_or_else(|| {
                taken.push((0, exact));
                self.slots.push(len);
                taken.len() - 1
            });
            taken[slot].0 = last;
            self.slots[slot] = self.slots[slot].max(len);
            self.buffers[buffer].slot = slot;
        }
    }
}

/// Watched variables by index, each with its leaves in the order of the tape.
fn variables<T: Float>(graph: &Graph<T>) -> Vec<(usize, Vec<usize>)> {
    let mut found: Vec<(usize, Vec<usize>)> = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let Origin::Leaf(Leaf::Variable(variable)) = &node.origin else { continue };
        let index = variable.index();
        match found.iter_mut().find(|(known, _)| *known == index) {
            Some((_, leaves)) => leaves.push(id),
            None => found.push((index, vec![id])),
        }
    }
    found
}
