//! What a builder was told, and how layers come of it: shapes are carried from one to the next.

use tilewise_kernels::{Activation, Float, ImageDims, Pooling, Window};

use super::Sequential;
use super::pass::Wire;
use crate::error::{Error, Result};
use crate::init::Init;
use crate::layers::{
    ActivationLayer, Add, BatchNorm, BatchNormConvention, Conv2d, Dropout, Embedding, Layer,
    Linear, Pool2d, RowNormalization,
};
use crate::random::Random;

/// One call to the builder.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Layer(LayerPlan),
    Flatten,
    Residual { body: Vec<Plan>, shortcut: Vec<Plan> },
}

/// A layer without what the layers before it tell.
#[derive(Debug, Clone, Copy)]
pub(super) enum LayerPlan {
    Linear {
        inputs: usize,
        outputs: usize,
        init: Init,
    },
    Conv2d {
        filters: usize,
        window: Window,
        init: Init,
    },
    /// Without a window, that of the whole image.
    Pool {
        kind: Pooling,
        window: Option<Window>,
    },
    BatchNorm {
        convention: BatchNormConvention,
        epsilon: f64,
    },
    /// Centred or not.
    RowNorm {
        centred: bool,
    },
    Embedding {
        count: usize,
        dim: usize,
    },
    Activation(Activation),
    Dropout(f64),
}

/// What flows between layers: columns, and whether they are an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Flat(usize),
    Image(ImageDims),
}

impl Shape {
    fn width(self) -> usize {
        match self {
            Self::Flat(width) => width,
            Self::Image(ImageDims { channels, height, width }) => channels * height * width,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Flat(width) => format!("{width} columns"),
            Self::Image(ImageDims { channels, height, width }) => {
                format!("{channels} x {height} x {width}")
            }
        }
    }

    /// The image, for a layer that needs one.
    fn image(self) -> Result<ImageDims> {
        match self {
            Self::Image(dims) => Ok(dims),
            Self::Flat(_) => {
                let expected = "an image (begin with input_image(channels, height, width))";
                Err(Error::shape("input", expected, self.describe()))
            }
        }
    }
}

/// Layers under construction.
pub(super) struct Assembly<T: Float> {
    layers: Vec<(usize, Box<dyn Layer<T>>)>,
    wires: Vec<Wire>,
    random: Random,
    /// Where the next layer stands, counting those that another one does the work of.
    position: usize,
    /// The value that the next layer reads, and its shape.
    value: usize,
    shape: Shape,
}

impl<T: Float> Assembly<T> {
    /// The model of `plans` on inputs of the given shape.
    pub(super) fn model(plans: &[Plan], input: Shape, seed: u64) -> Result<Sequential<T>> {
        let mut assembly = Self {
            layers: Vec::with_capacity(plans.len()),
            wires: Vec::with_capacity(plans.len()),
            random: Random::new(seed),
            position: 0,
            value: 0,
            shape: input,
        };
        assembly.extend(plans)?;
        Sequential::from_parts(input.width(), assembly.layers, assembly.wires)
    }

    fn extend(&mut self, plans: &[Plan]) -> Result<()> {
        let mut rest = plans;
        while let Some((plan, after)) = rest.split_first() {
            rest = after;
            match plan {
                Plan::Residual { body, shortcut } => self.fork(body, shortcut)?,
                // Columns stay where they are; only their meaning changes.
                Plan::Flatten => {
                    self.position += 1;
                    self.shape = Shape::Flat(self.shape.width());
                }
                Plan::Layer(plan) => {
                    let next = match after.first() {
                        Some(Plan::Layer(next)) => Some(next),
                        _ => None,
                    };
                    self.layer(plan, next)?;
                    if plan.takes_in(next) {
                        self.position += 1;
                        rest = &after[1..];
                    }
                }
            }
        }
        Ok(())
    }

    fn layer(&mut self, plan: &LayerPlan, next: Option<&LayerPlan>) -> Result<()> {
        let seed = self.random.stream(self.position as u64).bits();
        let name = format!("layer {} {}", self.position, plan.kind());
        let made = plan.make(&mut self.shape, next, seed);
        self.push(made.map_err(|error| error.within(name))?, None);
        Ok(())
    }

    fn push(&mut self, layer: Box<dyn Layer<T>>, plus: Option<usize>) {
        self.layers.push((self.position, layer));
        self.wires.push(Wire { from: self.value, plus });
        self.value = self.layers.len();
        self.position += 1;
    }

    /// Two branches from here, and their sum.
    fn fork(&mut self, body: &[Plan], shortcut: &[Plan]) -> Result<()> {
        let (start, shape) = (self.value, self.shape);
        self.extend(body)?;
        let (end, body_shape) = (self.value, self.shape);
        (self.value, self.shape) = (start, shape);
        self.extend(shortcut)?;
        if self.shape != body_shape {
            return Err(Error::shape(
                format!("layer {} add: shortcut", self.position),
                format!("{}, as the block gives (see residual_with)", body_shape.describe()),
                self.shape.describe(),
            ));
        }
        let shortcut = std::mem::replace(&mut self.value, end);
        self.push(Box::new(Add), Some(shortcut));
        Ok(())
    }
}

impl LayerPlan {
    fn kind(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Conv2d { .. } => "conv2d",
            Self::Pool { kind: Pooling::Max, .. } => "max_pool",
            Self::Pool { .. } => "average_pool",
            Self::BatchNorm { .. } => "batch_norm",
            Self::RowNorm { centred: true } => "layer_norm",
            Self::RowNorm { .. } => "rms_norm",
            Self::Embedding { .. } => "embedding",
            Self::Activation(_) => "activation",
            Self::Dropout(_) => "dropout",
        }
    }

    /// Whether this layer does the work of the next one too.
    fn takes_in(&self, next: Option<&Self>) -> bool {
        match (self, next) {
            (Self::BatchNorm { .. }, Some(Self::Activation(f))) => *f == Activation::Relu,
            (Self::Linear { .. } | Self::Conv2d { .. }, Some(Self::Activation(f))) => {
                !f.needs_input()
            }
            _ => false,
        }
    }

    /// What a product is followed by in its store.
    fn stored(&self, next: Option<&Self>) -> Activation {
        match next {
            Some(Self::Activation(f)) if self.takes_in(next) => *f,
            _ => Activation::Identity,
        }
    }

    /// The layer on inputs of the given shape, which becomes that of its outputs.
    fn make<T: Float>(
        &self,
        shape: &mut Shape,
        next: Option<&Self>,
        seed: u64,
    ) -> Result<Box<dyn Layer<T>>> {
        let bias = !matches!(next, Some(Self::BatchNorm { .. }));
        Ok(match *self {
            Self::Linear { inputs, outputs, init } => {
                *shape = Shape::Flat(outputs);
                let layer = Linear::new([inputs, outputs], bias, init, seed)?;
                Box::new(layer.activation(self.stored(next))?)
            }
            Self::Conv2d { filters, window, init } => {
                let layer = Conv2d::new(shape.image()?, (filters, window), bias, init, seed)?;
                *shape = Shape::Image(layer.output());
                Box::new(layer.activation(self.stored(next))?)
            }
            Self::Pool { kind, window } => {
                let image = shape.image()?;
                let window = window.unwrap_or(Window::new(image.height, image.width));
                let layer = Pool2d::new(kind, image, window)?;
                *shape = Shape::Image(layer.output());
                Box::new(layer)
            }
            Self::BatchNorm { convention, epsilon } => {
                let (channels, positions) = match *shape {
                    Shape::Flat(width) => (width, 1),
                    Shape::Image(image) => (image.channels, image.height * image.width),
                };
                let layer = BatchNorm::new(channels, convention).positions(positions);
                Box::new(layer.epsilon(epsilon)?.relu(self.takes_in(next)))
            }
            Self::RowNorm { centred: true } => Box::new(RowNormalization::layer(shape.width())),
            Self::RowNorm { .. } => Box::new(RowNormalization::rms(shape.width())),
            Self::Embedding { count, dim } => {
                let layer = Embedding::new(shape.width(), [count, dim], seed)?;
                *shape = Shape::Flat(shape.width() * dim);
                Box::new(layer)
            }
            Self::Activation(f) => Box::new(ActivationLayer(f)),
            Self::Dropout(rate) => Box::new(Dropout::new(rate, seed)?),
        })
    }
}
