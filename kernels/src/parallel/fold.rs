//! Reductions in trees of a fixed shape.

use std::sync::{Mutex, PoisonError};

use super::Split;
use super::gate::run_with_helpers;

/// What a reduction is made of.
pub(super) struct Fold<'a, W, R> {
    pub(super) leaf: &'a (dyn Fn(W) -> R + Sync),
    pub(super) merge: &'a (dyn Fn(R, R) -> R + Sync),
}

/// Reduces `work` in a tree that halves its blocks, on up to `tasks` threads.
pub(super) fn fold<W: Split, R: Send>(
    work: W,
    [block, tasks]: [usize; 2],
    with: &Fold<'_, W, R>,
) -> R {
    let blocks = work.units().div_ceil(block);
    if blocks <= 1 {
        return (with.leaf)(work);
    }
    let (left, right) = work.split(blocks / 2 * block);
    let (left, right) = if tasks <= 1 {
        (fold(left, [block, 1], with), fold(right, [block, 1], with))
    } else {
        let left_tasks = tasks / 2;
        join(
            || fold(left, [block, left_tasks], with),
            || fold(right, [block, tasks - left_tasks], with),
        )
    };
    (with.merge)(left, right)
}

/// Runs both, on two threads if another one comes in time.
fn join<A: Send, B: Send>(
    left: impl FnOnce() -> A + Send,
    right: impl FnOnce() -> B + Send,
) -> (A, B) {
    if rayon::current_thread_index().is_some() {
        return rayon::join(left, right);
    }
    let (left, right) = (Half::new(left), Half::new(right));
    run_with_helpers(1, &|| {
        left.run();
        right.run();
    });
    (left.result(), right.result())
}

/// What one of two threads runs, then what came of it.
struct Half<F, R>(Mutex<(Option<F>, Option<R>)>);

impl<R, F: FnOnce() -> R> Half<F, R> {
    fn new(run: F) -> Self {
        Self(Mutex::new((Some(run), None)))
    }

    /// Runs it unless another thread does.
    fn run(&self) {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).0.take();
        if let Some(run) = taken {
            let result = run();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(result);
        }
    }

    fn result(self) -> R {
        let (_, result) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.expect("whoever took it has ended, and a panic would have gone on")
    }
}
