//! The shapes worth measuring, one file per family of operations.

pub mod activation;
pub mod batch_norm;
pub mod convert;
mod counts;
pub mod cross_entropy;
pub mod gemm;
pub mod gemm_batched;
pub mod gemm_to_halves;
pub mod image;
pub mod layer_norm;
pub mod linear_cross_entropy;
mod naive_network;
pub mod optimizer;
pub mod reduce;
pub mod regression;
pub mod softmax;
pub mod training_step;
pub mod vector_math;

use tilewise_kernels::{MatMut, MatRef, Storage, bf16, f16};

use crate::case::Case;
use crate::peers;

/// Elements of a vector: in the first-level cache, in the second, and beyond both.
const LENGTHS: [usize; 3] = [4_096, 100_000, 4_000_000];

/// Rows and classes: two small classifiers, a thousand classes, and the vocabularies of language models.
const LOGITS: [[usize; 2]; 5] = [[128, 10], [1024, 50], [4096, 1000], [512, 32_000], [64, 128_256]];

/// Operations that are benchmarked together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Matrix products.
    Gemm,
    /// Batch normalisation, and that of rows.
    BatchNorm,
    /// Losses on logits, and those of regressions.
    CrossEntropy,
    /// Softmax and its relatives.
    Softmax,
    /// Optimiser steps.
    Optimizer,
    /// Sums, maxima and the like.
    Reduce,
    /// Activations.
    Activation,
    /// Elementary functions.
    VectorMath,
    /// Conversions between element types.
    Convert,
    /// Patches of images, and pooling.
    Image,
    /// Whole training steps.
    TrainingStep,
}

/// The type of an operation's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 64 bits.
    F64,
    /// The upper half of `f32`: matrix products, which give `f32`, and batches that are stored so.
    Bf16,
    /// IEEE half precision, of the same.
    F16,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Gemm,
        Self::BatchNorm,
        Self::CrossEntropy,
        Self::Softmax,
        Self::Optimizer,
        Self::Reduce,
        Self::Activation,
        Self::VectorMath,
        Self::Convert,
        Self::Image,
        Self::TrainingStep,
    ];

    /// Whether its speed is that of memory, or of an elementary function, not of multiplication.
    pub fn is_bound_by_memory(self) -> bool {
        !matches!(self, Self::Gemm | Self::TrainingStep)
    }

    /// Its cases. The kernels of all cases are compiled here, once, and not in every program that asks.
    pub fn cases(self, dtype: Dtype) -> Vec<Case> {
        let more = match (self, dtype) {
            (Self::Gemm, _) => {
                products(dtype, &gemm::shapes()).into_iter().chain(to_halves(dtype)).collect()
            }
            (Self::TrainingStep, Dtype::F32) => training_step::cases_at_precisions(),
            _ => Vec::new(),
        };
        let rest = match dtype {
            Dtype::F32 => self.of::<f32>(),
            Dtype::F64 => self.of::<f64>(),
            Dtype::Bf16 => self.stored::<bf16>(),
            Dtype::F16 => self.stored::<f16>(),
        };
        more.into_iter().chain(rest).collect()
    }

    /// Of buffers that only store halves.
    fn stored<E: Storage<f32>>(self) -> Vec<Case> {
        match self {
            Self::BatchNorm => batch_norm::cases::<f32, E>(),
            _ => Vec::new(),
        }
    }

    fn of<T: peers::Element + optimizer::Kept<T>>(self) -> Vec<Case> {
        match self {
            Self::Gemm => gemm_batched::cases::<T>(),
            Self::BatchNorm => {
                let rows = layer_norm::cases::<T>();
                batch_norm::cases::<T, T>().into_iter().chain(rows).collect()
            }
            Self::CrossEntropy => {
                let linear = linear_cross_entropy::cases::<T>();
                let values = regression::cases::<T>();
                let logits = cross_entropy::cases::<T>();
                logits.into_iter().chain(linear).chain(values).collect()
            }
            Self::Softmax => softmax::cases::<T>(),
            Self::Optimizer => optimizer::cases::<T>(),
            Self::Reduce => reduce::cases::<T>(),
            Self::Activation => activation::cases::<T>(),
            Self::VectorMath => vector_math::cases::<T>(),
            Self::Convert => convert::cases::<T>(),
            Self::Image => image::cases::<T>(),
            Self::TrainingStep => training_step::cases::<T>(),
        }
    }
}

impl Dtype {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F64, Self::Bf16, Self::F16];

    /// By its name in ids.
    fn named(name: &str) -> Option<Self> {
        match name {
            "f32" => Some(Self::F32),
            "f64" => Some(Self::F64),
            "bf16" => Some(Self::Bf16),
            "f16" => Some(Self::F16),
            _ => None,
        }
    }
}

/// Matrix products of these shapes.
pub fn products(dtype: Dtype, shapes: &[gemm::Shape]) -> Vec<Case> {
    match dtype {
        Dtype::F32 => {
            let other = gemm::cases_at_precisions(shapes);
            gemm::cases::<f32, f32>(shapes).into_iter().chain(other).collect()
        }
        Dtype::F64 => gemm::cases::<f64, f64>(shapes),
        Dtype::Bf16 => gemm::cases::<f32, bf16>(shapes),
        Dtype::F16 => gemm::cases::<f32, f16>(shapes),
    }
}

/// Matrix products whose C is of the type of the operands.
fn to_halves(dtype: Dtype) -> Vec<Case> {
    match dtype {
        Dtype::Bf16 => gemm_to_halves::to_bf16::cases(),
        Dtype::F16 => gemm_to_halves::to_f16::cases(),
        _ => Vec::new(),
    }
}

/// The case of an id: a matrix product of any shape, or one of the suite's.
pub fn find(id: &str) -> Option<Case> {
    let mut parts = id.splitn(3, '/');
    let (op, types, shape) = (parts.next()?, parts.next()?, parts.next()?);
    // Of two types, as a conversion has, the one that our kernels compute in counts.
    let dtype = if types.contains('-') { Dtype::F32 } else { Dtype::named(types)? };
    let cases = match (op, shape.parse()) {
        ("gemm", Ok(shape)) => products(dtype, &[shape]),
        _ => Family::ALL.into_iter().flat_map(|family| family.cases(dtype)).collect(),
    };
    cases.into_iter().find(|case| case.id == id)
}

fn matrix<T>(data: &[T], [rows, cols]: [usize; 2]) -> MatRef<'_, T> {
    MatRef::new(data, rows, cols).expect("a matrix of this shape")
}

fn matrix_mut<T>(data: &mut [T], [rows, cols]: [usize; 2]) -> MatMut<'_, T> {
    MatMut::new(data, rows, cols).expect("a matrix of this shape")
}
