//! Fast, safe numeric kernels for training and running neural networks on a CPU.
//!
//! Matrix products, batch normalisation, softmax, losses, activations, reductions and optimiser
//! steps, forward and backward, for `f32` and `f64`; matrix products also for [`bf16`] and
//! [`f16`](struct@f16), summed in `f32`. Data is borrowed: slices, and matrices that are
//! views of slices ([`MatRef`], [`MatMut`]). The caller brings outputs, and steady use allocates
//! nothing. Matrices are row-major; a row is an example, a column a feature or a class.
//!
//! ```
//! use tilewise_kernels::{Activation, Exec, Gemm, MatMut, MatRef, gemm};
//!
//! let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // two examples of three features
//! let w = [0.5, -1.0, 0.25, 1.0, -0.5, 0.0]; // three features to two outputs
//! let (x, w) = (MatRef::new(&x, 2, 3)?, MatRef::new(&w, 3, 2)?);
//!
//! let mut y = [0.0_f32; 4];
//! gemm(1.0, x, w, 0.0, MatMut::new(&mut y, 2, 2)?)?;
//! assert_eq!(y, [-0.5, 1.0, 0.25, 1.0]);
//!
//! // The same with bias and ReLU in the same store.
//! let layer = Gemm::new(x, w)?.bias(&[0.25, -2.0]).activation(Activation::Relu);
//! layer.run(MatMut::new(&mut y, 2, 2)?, Exec::default())?;
//! assert_eq!(y, [0.0, 0.0, 0.5, 0.0]);
//! # Ok::<(), tilewise_kernels::Error>(())
//! ```
//!
//! # Operations
//!
//! | family | forward | backward or further forms |
//! |---|---|---|
//! | matrix products | [`gemm`], [`Gemm`], [`PackedA`], [`PackedB`], [`BatchedGemm`], [`ColumnMoments`] | transposes are views: [`MatRef::t`] |
//! | batch norm | [`batch_norm_forward`], [`batch_norm_inference`] | [`batch_norm_backward`] |
//! | norms of rows | [`layer_norm`], [`rms_norm`] | [`layer_norm_backward`], [`rms_norm_backward`] |
//! | images | [`im2col`], [`pool`] | [`col2im`], [`pool_backward`] |
//! | softmax | [`softmax`], [`log_softmax`], [`log_sum_exp`] | [`softmax_backward`], [`log_softmax_backward`] |
//! | losses on logits | [`SoftmaxCrossEntropy`], [`SigmoidCrossEntropy`], [`LinearCrossEntropy`] | loss and gradient in one pass; [in place](SoftmaxCrossEntropy::in_place) |
//! | losses of values | [`RegressionLoss`]: squared, absolute, Huber | loss and gradient in one pass |
//! | activations | [`activate`] | [`activate_backward`], [`activate_backward_from_input`] |
//! | dropout | [`Dropout::forward`] | [`Dropout::backward`]: the mask is drawn again |
//! | optimiser steps | [`SgdStep`], [`MomentumStep`], [`RmsPropStep`], [`AdagradStep`], [`AdamStep`] | one pass over memory each; `run_many` for many tensors; [`global_norm`] |
//! | reductions | [`sum`], [`mean`], [`mean_var`], [`max`], [`argmax`], [`l2_norm`] | [`column_sums`], [`column_mean_var`], [`row_sums`], [`argmax_rows`] |
//! | elementary functions | [`exp`], [`expm1`], [`ln`], [`log1p`] | [`erf`], [`rsqrt`] |
//! | conversions | [`convert`] to `bf16` and `f16` | and back |
//!
//! A free function runs on the fastest path and all threads that pay. Each has an op struct of the
//! same name ([`Softmax`] for [`softmax`]) whose `new` checks the arguments and whose `run` takes an
//! [`Exec`]: which instruction set, how many threads. A loss with its gradient:
//!
//! ```
//! use tilewise_kernels::{Exec, MatMut, MatRef, SoftmaxCrossEntropy, Targets};
//!
//! let logits = MatRef::new(&[5.0, 2.0, -1.0, 3.0], 1, 4)?;
//! let mut gradient = [0.0_f64; 4];
//! let loss = SoftmaxCrossEntropy::new(logits, Targets::Classes(&[1]))?
//!     .loss_and_gradient(MatMut::new(&mut gradient, 1, 4)?, Exec::serial())?;
//! assert!((loss.value - 3.17193539).abs() < 1e-8);
//! assert!((gradient[1] - (0.04192238 - 1.0)).abs() < 1e-8);
//! # Ok::<(), tilewise_kernels::Error>(())
//! ```
//!
//! # Instruction sets
//!
//! One binary holds every path. The CPU's feature bits choose among them when the program runs:
//! `portable`, `avx2` (with FMA and F16C) and `avx512` (F, BW, DQ, VL). [`available`] lists what can run,
//! `TILEWISE_MAX_ISA` caps it, [`Exec::isa`] forces one, and [`Isa::best`] tells which will run.
//! What is asked for in `f32` is computed in `f32`, whatever the path. Products of halves, and
//! those of `f32` at another [`Precision`], have one path more, `amx`, which is in the list
//! [`available_for_halves`].
//!
//! # Same bits
//!
//! On one path, an operation gives the same bits for any number of threads, any alignment and any
//! position of an element in its array. Different paths may differ in the last bits: their vectors
//! have different widths, and only some round a multiply-add once.
//!
//! ```
//! use tilewise_kernels::{Exec, Par, Sum};
//!
//! let x: Vec<f32> = (0..100_000).map(|i| (i as f32).sin()).collect();
//! let one = Sum::new(&x)?.run(Exec::serial())?;
//! let four = Sum::new(&x)?.run(Exec::default().par(Par::Threads(4)))?;
//! assert_eq!(one.to_bits(), four.to_bits());
//! # Ok::<(), tilewise_kernels::Error>(())
//! ```
//!
//! # Errors
//!
//! Arguments are checked before anything is written. An [`Error`] says what was wrong, what was
//! expected and what came.
//!
//! ```
//! use tilewise_kernels::{MatRef, MatMut, gemm};
//!
//! let (a, mut c) = ([0.0_f32; 6], [0.0_f32; 4]);
//! let a = MatRef::new(&a, 2, 3)?;
//! let error = gemm(1.0, a, a, 0.0, MatMut::new(&mut c, 2, 2)?).unwrap_err();
//! assert_eq!(error.to_string(), "gemm operand B: expected 3 rows, as A has columns, got 2 x 3");
//! # Ok::<(), tilewise_kernels::Error>(())
//! ```
//!
//! # The specification
//!
//! [`naive`] holds a twin of every operation: one obvious loop that accumulates in `f64`. It says
//! what an operation means, and every test compares with it.

#[allow(unsafe_code)]
mod buffer;
#[allow(unsafe_code)]
mod dispatch;
mod error;
mod exec;
mod gemm;
pub mod naive;
mod ops;
#[allow(unsafe_code)]
mod parallel;
#[allow(unsafe_code)]
pub mod simd;
mod view;

pub use dispatch::{ISA_NAMES, Isa, MAX_ISA_VARIABLE, available, available_for_halves};
pub use error::{Error, ErrorKind, Result};
pub use exec::Exec;
pub use gemm::{
    BatchedGemm, Blocking, ColumnMoments, Element, Gemm, GemmPlan, PackedA, PackedB, Precision,
    SumsTo, gemm,
};
pub use half::{bf16, f16};
// All that an element type knows of operations: the table of them.
use ops::compiled::Compiled;
pub use ops::*;
pub use parallel::{Par, Split};
pub use simd::Float;
pub use view::{MatMut, MatRef};
