//! `faer`, `ndarray` and `nano-gemm`, the last of which plans a shape once.

use std::cell::RefCell;

use faer::linalg::matmul::matmul;
use faer::traits::ComplexField;
use faer::{Accum, Par};
use nano_gemm::Plan;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, LinalgScalar, ShapeBuilder};
use tilewise_kernels::{Float, MatMut, MatRef};

use super::product::{check_shapes, signed};

/// Element types that these crates know.
pub trait CrateElement: Float {
    /// `C = A B` by `faer`.
    fn faer(a: MatRef<Self>, b: MatRef<Self>, c: MatMut<Self>, threads: usize);

    /// `C = A B` by `ndarray`.
    fn ndarray(a: MatRef<Self>, b: MatRef<Self>, c: MatMut<Self>);

    /// `C = A B` by `nano-gemm`.
    fn nano_gemm(a: MatRef<Self>, b: MatRef<Self>, c: MatMut<Self>);
}

/// What a plan is for, and the plan.
type Kept<T> = ([usize; 3], bool, Plan<T>);

macro_rules! impl_crate_element {
    ($t:ident, $by_columns:ident, $any:ident) => {
        impl CrateElement for $t {
            fn faer(a: MatRef<$t>, b: MatRef<$t>, c: MatMut<$t>, threads: usize) {
                faer(a, b, c, threads);
            }

            fn ndarray(a: MatRef<$t>, b: MatRef<$t>, c: MatMut<$t>) {
                ndarray(a, b, c);
            }

            fn nano_gemm(a: MatRef<$t>, b: MatRef<$t>, c: MatMut<$t>) {
                thread_local! {
                    static KEPT: RefCell<Option<Kept<$t>>> = const { RefCell::new(None) };
                }
                let plan = |[m, n, k]: [usize; 3], lhs_by_columns| {
                    if lhs_by_columns { Plan::$by_columns(m, n, k) } else { Plan::$any(m, n, k) }
                };
                KEPT.with_borrow_mut(|kept| nano_gemm(kept, plan, a, b, c));
            }
        }
    };
}

impl_crate_element!(f32, new_colmajor_lhs_and_dst_f32, new_f32);
impl_crate_element!(f64, new_colmajor_lhs_and_dst_f64, new_f64);

/// `C = A B` by `faer`.
fn faer<T: Float + ComplexField>(a: MatRef<T>, b: MatRef<T>, mut c: MatMut<T>, threads: usize) {
    check_shapes(&a, &b, &c);
    let view = |m: &MatRef<T>| {
        let (row_stride, col_stride) = (signed(m.row_stride()), signed(m.col_stride()));
        // SAFETY: the view proves that the matrix lies inside its slice, which outlives this call.
        unsafe {
            faer::MatRef::from_raw_parts(
                m.data().as_ptr(),
                m.rows(),
                m.cols(),
                row_stride,
                col_stride,
            )
        }
    };
    let (rows, cols) = (c.rows(), c.cols());
    let (row_stride, col_stride) = (signed(c.row_stride()), signed(c.col_stride()));
    // SAFETY: as above, and `c` is borrowed mutably until this function returns.
    let out: faer::MatMut<T> = unsafe {
        faer::MatMut::from_raw_parts_mut(
            c.data_mut().as_mut_ptr(),
            rows,
            cols,
            row_stride,
            col_stride,
        )
    };
    let parallelism = if threads > 1 { Par::rayon(threads) } else { Par::Seq };
    matmul(out, Accum::Replace, view(&a), view(&b), <T as Float>::ONE, parallelism);
}

/// `C = A B` by `ndarray`.
fn ndarray<T: Float + LinalgScalar>(a: MatRef<T>, b: MatRef<T>, mut c: MatMut<T>) {
    check_shapes(&a, &b, &c);
    let a_shape = (a.rows(), a.cols()).strides((a.row_stride(), a.col_stride()));
    let b_shape = (b.rows(), b.cols()).strides((b.row_stride(), b.col_stride()));
    let c_shape = (c.rows(), c.cols()).strides((c.row_stride(), c.col_stride()));
    let a = ArrayView2::from_shape(a_shape, a.data()).expect("a view is in bounds");
    let b = ArrayView2::from_shape(b_shape, b.data()).expect("a view is in bounds");
    let c = ArrayViewMut2::from_shape(c_shape, c.data_mut());
    let mut c = c.expect("a view is in bounds and has no element twice");
    general_mat_mul(<T as Float>::ONE, &a, &b, <T as Float>::ZERO, &mut c);
}

/// `C = A B` by `nano-gemm`, whose own order is by columns: `Cᵀ = Bᵀ Aᵀ`. A plan whose left operand and
/// output have adjacent columns is faster than one for any strides.
fn nano_gemm<T: Float>(
    kept: &mut Option<Kept<T>>,
    make: impl Fn([usize; 3], bool) -> Plan<T>,
    a: MatRef<T>,
    b: MatRef<T>,
    mut c: MatMut<T>,
) {
    check_shapes(&a, &b, &c);
    assert!(c.col_stride() == 1, "rows of adjacent elements");
    let shape = [b.cols(), a.rows(), a.cols()];
    let by_columns = b.col_stride() == 1;
    if kept.as_ref().is_none_or(|kept| (kept.0, kept.1) != (shape, by_columns)) {
        *kept = Some((shape, by_columns, make(shape, by_columns)));
    }
    let Some((_, _, plan)) = kept else { unreachable!("made just before") };
    let ([m, n, k], c_stride) = (shape, signed(c.row_stride()));
    // SAFETY: the views prove that all three matrices lie inside their slices, `check_shapes` that they
    // fit the plan; where it expects a stride of 1 the assertion and `by_columns` prove it. `c` is
    // borrowed mutably, so it overlaps neither input.
    unsafe {
        plan.execute_unchecked(
            m,
            n,
            k,
            c.data_mut().as_mut_ptr(),
            1,
            c_stride,
            b.data().as_ptr(),
            signed(b.col_stride()),
            signed(b.row_stride()),
            a.data().as_ptr(),
            signed(a.col_stride()),
            signed(a.row_stride()),
            T::ZERO,
            T::ONE,
            false,
            false,
        );
    }
}
