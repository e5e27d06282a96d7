//! The recorded computation as a plan sees it: what the loss and the outputs need, with neighbours fused
//! that one operation of the kernels can do together.

use std::any::Any;

use tilewise_kernels::{Activation, ColumnMoments, Float};

use super::super::op::Op;
use super::super::ops::{Activated, Arithmetic, BatchNorm, Binary, CrossEntropy, MatMul};
use super::super::tape::{Node, Origin};

/// The nodes of a tape, of which some are left out.
pub(super) struct Graph<T> {
    pub(super) nodes: Vec<Node<T>>,
    pub(super) loss: usize,
    /// Whether anything needs the node.
    pub(super) live: Vec<bool>,
    /// Whether the loss depends on the node.
    before_loss: Vec<bool>,
    /// How many operations read the node, and one more for the loss and for outputs.
    pub(super) readers: Vec<usize>,
    /// By batch normalisation: the product that takes its statistics.
    pub(super) statistics: Vec<Option<usize>>,
    /// By logits: whether the loss writes its gradient over them.
    pub(super) overwritten: Vec<bool>,
}

impl<T: Float> Graph<T> {
    pub(super) fn new(nodes: Vec<Node<T>>, loss: usize) -> Self {
        let count = nodes.len();
        let mut graph = Self {
            nodes,
            loss,
            live: vec![false; count],
            before_loss: vec![false; count],
            readers: vec![0; count],
            statistics: vec![None; count],
            overwritten: vec![false; count],
        };
        graph.find_live();
        graph.fuse();
        graph
    }

    /// Finds what the loss and the outputs need.
    fn find_live(&mut self) {
        for id in (0..self.nodes.len()).rev() {
            let node = &self.nodes[id];
            self.readers[id] += usize::from(id == self.loss) + usize::from(node.output.is_some());
            self.live[id] = self.readers[id] > 0;
            self.before_loss[id] |= id == self.loss;
            if let (true, Origin::Op { inputs, .. }) = (self.live[id], &node.origin) {
                for &input in inputs {
                    self.readers[input] += 1;
                    self.before_loss[input] |= self.before_loss[id];
                }
            }
        }
    }

    fn fuse(&mut self) {
        for id in 0..self.nodes.len() {
            if self.live[id] {
                self.bring_in_bias(id);
                self.bring_in_activation(id);
                self.bring_in_relu(id);
            }
        }
        for id in 0..self.nodes.len() {
            if self.live[id] {
                self.take_statistics(id);
                self.overwrite_logits(id);
            }
        }
    }

    /// The operation of a node, if it is a `K`.
    fn op<K: Op<T>>(&self, id: usize) -> Option<&K> {
        let Origin::Op { op, .. } = &self.nodes[id].origin else { return None };
        let op: &dyn Any = &**op;
        op.downcast_ref()
    }

    fn op_mut<K: Op<T>>(&mut self, id: usize) -> Option<&mut K> {
        let Origin::Op { op, .. } = &mut self.nodes[id].origin else { return None };
        let op: &mut dyn Any = &mut **op;
        op.downcast_mut()
    }

    pub(super) fn inputs(&self, id: usize) -> &[usize] {
        match &self.nodes[id].origin {
            Origin::Op { inputs, .. } => inputs,
            Origin::Leaf(_) => &[],
        }
    }

    /// Puts the operation of `inner`, which nobody else reads, in the place of that of `outer`.
    fn replace(&mut self, outer: usize, inner: usize, bias: Option<usize>) {
        let (before, rest) = self.nodes.split_at_mut(outer);
        let old = std::mem::replace(&mut rest[0].origin, Origin::nothing());
        std::mem::swap(&mut before[inner].origin, &mut rest[0].origin);
        if let Origin::Op { inputs, .. } = &mut rest[0].origin {
            inputs.extend(bias);
        }
        drop(old);
        (self.live[inner], self.readers[inner]) = (false, 0);
    }

    /// Matrix product, then a summand per column.
    fn bring_in_bias(&mut self, id: usize) {
        if self.op::<Binary<T>>(id).is_none_or(|op| op.kind != Arithmetic::Add) {
            return;
        }
        let [a, b] = [self.inputs(id)[0], self.inputs(id)[1]];
        for (product, bias) in [(a, b), (b, a)] {
            let plain = |op: &MatMul<T>| !op.bias && op.activation == Activation::Identity;
            let shape = self.nodes[product].shape;
            let cols = shape.dims().last().copied();
            let fits = self.nodes[bias].shape.dims().split_last().is_some_and(|(last, outer)| {
                Some(*last) == cols && outer.iter().all(|&extent| extent == 1)
            });
            if self.op::<MatMul<T>>(product).is_some_and(plain)
                && self.readers[product] == 1
                && self.nodes[id].shape == shape
                && fits
            {
                self.replace(id, product, Some(bias));
                if let Some(op) = self.op_mut::<MatMul<T>>(id) {
                    op.bias = true;
                }
                return;
            }
        }
    }

    /// Matrix product, then a function of each element.
    fn bring_in_activation(&mut self, id: usize) {
        let Some(&Activated(f)) = self.op::<Activated>(id) else { return };
        let product = self.inputs(id)[0];
        let plain = |op: &MatMul<T>| op.activation == Activation::Identity;
        if f.needs_input()
            || self.readers[product] != 1
            || !self.op::<MatMul<T>>(product).is_some_and(plain)
        {
            return;
        }
        self.replace(id, product, None);
        if let Some(op) = self.op_mut::<MatMul<T>>(id) {
            op.activation = f;
        }
    }

    /// Batch normalisation, then ReLU.
    fn bring_in_relu(&mut self, id: usize) {
        if self.op::<Activated>(id).is_none_or(|op| op.0 != Activation::Relu) {
            return;
        }
        let inner = self.inputs(id)[0];
        if self.readers[inner] != 1 || self.op::<BatchNorm<T>>(inner).is_none_or(|op| op.relu) {
            return;
        }
        self.replace(id, inner, None);
        if let Some(op) = self.op_mut::<BatchNorm<T>>(id) {
            op.relu = true;
        }
    }

    /// Batch normalisation of the rows of a product, which can measure its columns as it stores them.
    fn take_statistics(&mut self, id: usize) {
        if self.op::<BatchNorm<T>>(id).is_none() {
            return;
        }
        let product = self.inputs(id)[0];
        let rows = self.nodes[product].shape.rank() == 2;
        let Some(op) = self.op_mut::<MatMul<T>>(product).filter(|_| rows) else { return };
        op.moments = Some(ColumnMoments::new());
        self.statistics[id] = Some(product);
    }

    /// Cross-entropy of logits that nobody else reads, where its gradient will be wanted.
    fn overwrite_logits(&mut self, id: usize) {
        if self.op::<CrossEntropy>(id).is_none() || !self.before_loss[id] {
            return;
        }
        let logits = self.inputs(id)[0];
        let Origin::Op { op, .. } = &self.nodes[logits].origin else { return };
        let alone = self.readers[logits] == 1 && self.nodes[logits].watched;
        self.overwritten[logits] = alone && !op.uses().output;
    }
}
