//! Splitting work over threads without changing results.
//!
//! An operation describes its work as a value that can be cut in two ([`Split`]); [`Par::divide`]
//! cuts it until the pieces are as small as the thread count asks and runs them in the caller's
//! rayon pool. Elementwise and row-wise work gives the same bits however it is cut. Sums over rows
//! are taken over blocks of fixed size and merged in a fixed order, so that the number of threads
//! never shows in a result.

mod fold;
mod gate;
mod lobby;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use fold::{Fold, fold};
use lobby::LOBBY;

/// How many threads an operation may use. Results never depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Par {
    /// The calling thread only.
    Serial,
    /// At most this many tasks at once in the current rayon pool; 0 and 1 mean serial.
    Threads(usize),
    /// As many as the current rayon pool has, where the work is large enough to pay for it.
    #[default]
    Auto,
}

/// Work that can be cut in two at a unit boundary (a row, a vector, a tile).
pub trait Split: Send + Sized {
    /// Number of units.
    fn units(&self) -> usize;
    /// The first `mid` units and the rest.
    fn split(self, mid: usize) -> (Self, Self);
}

impl Par {
    /// The number of tasks for `units` of work of which one task should have at least `grain`.
    /// An exact thread count is obeyed; only [`Par::Auto`] weighs the grain.
    pub(crate) fn tasks(self, units: usize, grain: usize) -> usize {
        let wanted = match self {
            Self::Serial => 1,
            Self::Threads(count) => count,
            // The pool is looked at last: a small operation must not start it.
            Self::Auto if units < 2 * grain.max(1) => 1,
            Self::Auto => {
                let (threads, grains) = (rayon::current_num_threads(), units / grain.max(1));
                // Long work is cut finer, so that a thread that was held up does not hold up all.
                let finer = if threads > 1 && grains >= 64 * threads { 4 } else { 1 };
                (finer * threads).min(grains)
            }
        };
        wanted.clamp(1, units.max(1))
    }

    /// Whether to call other threads for so many grains now. A thread of a pool asks its neighbours by
    /// putting work where they look for it; any other one may have to wake them.
    fn pays(self, grains: usize) -> bool {
        self != Self::Auto || rayon::current_thread_index().is_some() || LOBBY.pays(grains)
    }

    /// Runs `body` on pieces of `work`, one per task.
    pub(crate) fn divide<W: Split>(self, work: W, grain: usize, body: &(impl Fn(W) + Sync)) {
        match self.tasks(work.units(), grain) {
            1 => body(work),
            _ if !self.pays(work.units() / grain.max(1)) => {
                body(work);
                LOBBY.was_missed();
            }
            // By reference: threads are the same for every body, and need not be compiled for each.
            tasks => cut(work, tasks, body),
        }
    }

    /// Runs `body(0)`, `body(1)`, … `body(count - 1)`, of which one task should have `grain`.
    pub(crate) fn for_each(self, count: usize, grain: usize, body: &(impl Fn(usize) + Sync)) {
        self.for_each_run(count, grain, &|run| run.for_each(body));
    }

    /// The same in runs of neighbours.
    pub(crate) fn for_each_run(
        self,
        count: usize,
        grain: usize,
        body: &(impl Fn(Range<usize>) + Sync),
    ) {
        self.divide(Indices { first: 0, count }, grain, &|piece: Indices| {
            body(piece.first..piece.first + piece.count);
        });
    }
}

impl Par {
    /// Reduces `work`: `leaf` on blocks of `block` units (the last one may be shorter), `merge` on
    /// neighbours, pairwise, in a tree whose shape depends on the number of units alone. Nothing is
    /// allocated. One task should have at least `grain` units.
    pub(crate) fn fold_blocks<W: Split, R: Send>(
        self,
        work: W,
        [block, grain]: [usize; 2],
        leaf: &(impl Fn(W) -> R + Sync),
        merge: &(impl Fn(R, R) -> R + Sync),
    ) -> R {
        let tasks = self.tasks(work.units(), grain);
        let alone = tasks > 1 && !self.pays(work.units() / grain.max(1));
        let all = fold(work, [block, if alone { 1 } else { tasks }], &Fold { leaf, merge });
        if alone {
            LOBBY.was_missed();
        }
        all
    }
}

/// Runs `body` on `tasks` pieces of `work`. A thread of a pool shares them with the others there. Any
/// other thread begins at once and lets threads of the pool take pieces as they wake, which takes a
/// sleeping one as long as a small product.
fn cut<W: Split>(work: W, tasks: usize, body: &(dyn Fn(W) + Sync)) {
    if rayon::current_thread_index().is_some() {
        return halve(work, tasks, body);
    }
    let pieces = Mutex::new(Pieces::new(work, tasks));
    let take = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    let helpers = tasks.min(rayon::current_num_threads()) - 1;
    gate::run_with_helpers(helpers, &|| {
        while let Some(piece) = take() {
            body(piece);
        }
    });
}

fn halve<W: Split>(work: W, tasks: usize, body: &(dyn Fn(W) + Sync)) {
    match split(work, tasks) {
        (work, None) => body(work.0),
        (left, Some(right)) => {
            rayon::join(|| halve(left.0, left.1, body), || halve(right.0, right.1, body));
        }
    }
}

/// Work and the number of tasks that it is for.
type Share<W> = (W, usize);

/// Cuts work for more than one task in two.
fn split<W: Split>(work: W, tasks: usize) -> (Share<W>, Option<Share<W>>) {
    // A cut that must not split a unit may leave a piece with fewer units than its tasks, even none.
    let tasks = tasks.min(work.units());
    if tasks <= 1 {
        return ((work, 1), None);
    }
    let left_tasks = tasks / 2;
    let mid = work.units() * left_tasks / tasks;
    let (left, right) = work.split(mid);
    ((left, left_tasks), Some((right, tasks - left_tasks)))
}

/// The pieces of some work, first to last, cut when they are taken.
struct Pieces<W> {
    /// What is left, the next share on top. Halving the largest count of tasks takes fewer.
    rest: [Option<Share<W>>; usize::BITS as usize],
    count: usize,
}

impl<W: Split> Pieces<W> {
    fn new(work: W, tasks: usize) -> Self {
        let mut pieces = Self { rest: std::array::from_fn(|_| None), count: 0 };
        pieces.push((work, tasks));
        pieces
    }

    fn push(&mut self, share: Share<W>) {
        self.rest[self.count] = Some(share);
        self.count += 1;
    }
}

impl<W: Split> Iterator for Pieces<W> {
    type Item = W;

    fn next(&mut self) -> Option<W> {
        self.count = self.count.checked_sub(1)?;
        let mut share = self.rest[self.count].take()?;
        loop {
            match split(share.0, share.1) {
                (left, Some(right)) => {
                    self.push(right);
                    share = left;
                }
                (whole, None) => return Some(whole.0),
            }
        }
    }
}

struct Indices {
    first: usize,
    count: usize,
}

impl Split for Indices {
    fn units(&self) -> usize {
        self.count
    }

    fn split(self, mid: usize) -> (Self, Self) {
        (
            Self { first: self.first, count: mid },
            Self { first: self.first + mid, count: self.count - mid },
        )
    }
}

/// A row-major matrix that is cut between columns: every part may write its own columns of all
/// rows, which slices cannot express.
pub(crate) struct ColumnsMut<'a, T> {
    /// The first element of this part's first row.
    start: *mut T,
    rows: usize,
    width: usize,
    /// Distance between rows: the width of the whole matrix.
    stride: usize,
    marker: PhantomData<&'a mut [T]>,
}

// SAFETY: a part owns its elements as a mutable slice does; parts never share one.
unsafe impl<T: Send> Send for ColumnsMut<'_, T> {}

impl<'a, T> ColumnsMut<'a, T> {
    /// All columns of `data`, which holds `rows * width` elements.
    pub(crate) fn new(data: &'a mut [T], rows: usize, width: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(width));
        Self { start: data.as_mut_ptr(), rows, width, stride: width, marker: PhantomData }
    }

    /// This part's columns of row `i`.
    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows);
        // SAFETY: row `i` of the matrix is inside the slice given to `new`, and this part's columns
        // of it are no other part's; the borrow of `self` keeps two rows from being out at once.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.stride), self.width) }
    }

    /// Columns before those that start at a multiple of `bytes`, if these are the same in every row.
    pub(crate) fn before_lines(&self, bytes: usize) -> Option<usize> {
        let step = self.stride.wrapping_mul(size_of::<T>());
        let before = self.start.align_offset(bytes);
        (step.is_multiple_of(bytes) && before <= self.width).then_some(before)
    }

    /// `rows` rows of `width` elements, `stride` apart.
    ///
    /// # Safety
    /// They must lie in one allocation, and for `'a` nobody else may touch them.
    pub(crate) unsafe fn from_raw(start: *mut T, [rows, width]: [usize; 2], stride: usize) -> Self {
        Self { start, rows, width, stride, marker: PhantomData }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The first `mid` columns and the rest.
    pub(crate) fn split(self, mid: usize) -> (Self, Self) {
        assert!(mid <= self.width);
        // No element may be there: a matrix without rows has columns all the same.
        let start = self.start.wrapping_add(mid);
        (Self { width: mid, ..self }, Self { start, width: self.width - mid, ..self })
    }

    /// `count` columns from `first` on, borrowed.
    pub(crate) fn part(&mut self, first: usize, count: usize) -> ColumnsMut<'_, T> {
        assert!(first <= self.width && count <= self.width - first);
        let start = self.start.wrapping_add(first);
        ColumnsMut { start, width: count, marker: PhantomData, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_index_runs_once() {
        for par in [Par::Serial, Par::Threads(3), Par::Threads(50), Par::Auto] {
            let seen: Vec<AtomicUsize> = (0..17).map(|_| AtomicUsize::new(0)).collect();
            par.for_each(17, 1, &|i| {
                seen[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{par:?}");
        }
    }

    /// Pairs of units that must stay together, as the tiles of a row do.
    struct Pairs(usize);

    impl Split for Pairs {
        fn units(&self) -> usize {
            2 * self.0
        }

        fn split(self, mid: usize) -> (Self, Self) {
            assert!(self.0 > 0, "nothing to split");
            (Self(mid / 2), Self(self.0 - mid / 2))
        }
    }

    #[test]
    fn a_lopsided_cut_leaves_nothing_that_is_split_further() {
        for (pairs, threads) in [(1, 2), (1, 7), (2, 7), (5, 9), (0, 3)] {
            let done = AtomicUsize::new(0);
            Par::Threads(threads).divide(Pairs(pairs), 1, &|piece: Pairs| {
                done.fetch_add(piece.0, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), pairs, "{pairs} pairs, {threads} threads");
        }
    }

    #[test]
    fn folded_tree_does_not_depend_on_threads() {
        let show = |par: Par| {
            par.fold_blocks(
                Indices { first: 0, count: 23 },
                [4, 1],
                &|piece| format!("{}+{}", piece.first, piece.count),
                &|left, right| format!("({left} {right})"),
            )
        };
        assert_eq!(show(Par::Serial), "((0+4 (4+4 8+4)) (12+4 (16+4 20+3)))");
        assert_eq!(show(Par::Threads(5)), show(Par::Serial));
    }

    #[test]
    fn column_parts_cover_the_matrix_once() {
        let mut data = vec![0; 3 * 7];
        let (mut left, mut right) = ColumnsMut::new(&mut data, 3, 7).split(2);
        (0..3).for_each(|i| left.row(i).iter_mut().for_each(|x| *x += 1));
        (0..3).for_each(|i| right.part(1, 4).row(i).iter_mut().for_each(|x| *x += 3));
        assert_eq!(data, [1, 1, 0, 3, 3, 3, 3].repeat(3));
    }

    #[test]
    fn lines_begin_at_the_same_columns_where_rows_are_whole_lines() {
        let mut data = [0u64; 3 * 16];
        let mut all = ColumnsMut::new(&mut data, 3, 16);
        let lead = (8 - all.start.addr() % 64 / 8) % 8;
        assert_eq!(all.before_lines(64), Some(lead));
        assert_eq!(all.part(lead + 1, 8).before_lines(64), Some(7));
        assert_eq!(all.part(lead + 1, 6).before_lines(64), None);
        assert_eq!(ColumnsMut::new(&mut data[..12], 2, 6).before_lines(64), None);
    }

    #[test]
    fn auto_stays_serial_below_two_grains() {
        assert_eq!(Par::Auto.tasks(199, 100), 1);
        assert_eq!(Par::Threads(2).tasks(199, 100), 2);
        assert_eq!(Par::Threads(0).tasks(0, 0), 1);
    }
}
