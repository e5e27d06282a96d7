//! Images shared among threads, and what each of them reads and writes.

use tilewise_kernels::{Exec, Par, Result, Split};

/// Elements of patches below which a second thread would hardly have begun.
const LEAST: usize = 1 << 18;

/// Neighbouring images in groups, in the order of a minibatch.
pub(super) struct Images<'a, T> {
    /// Images of a group; the last one may have fewer.
    pub(super) group: usize,
    /// What is read.
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    /// What is written: for each image, and for each group.
    pub(super) out: &'a mut [T],
    pub(super) sums: &'a mut [T],
    /// Elements of these for each image, and of the last for each group.
    pub(super) sizes: [usize; 4],
}

impl<T: Send + Sync> Split for Images<'_, T> {
    fn units(&self) -> usize {
        (self.x.len() / self.sizes[0].max(1)).div_ceil(self.group)
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let images = mid * self.group;
        let [x, dy, out, sums] = self.sizes;
        let (x, x_rest) = self.x.split_at((images * x).min(self.x.len()));
        let (dy, dy_rest) = self.dy.split_at((images * dy).min(self.dy.len()));
        let (out, out_rest) = self.out.split_at_mut((images * out).min(self.out.len()));
        let (sums, sums_rest) = self.sums.split_at_mut(mid * sums);
        (
            Self { x, dy, out, sums, ..self },
            Self { x: x_rest, dy: dy_rest, out: out_rest, sums: sums_rest, ..self },
        )
    }
}

/// How many threads share `groups` groups of images with `elements` of patches, and how each of them runs:
/// alone where there are several.
pub(super) fn threads(exec: Exec, groups: usize, elements: usize) -> (usize, Exec) {
    let wanted = match exec.threads() {
        Par::Serial => 1,
        Par::Threads(count) => count,
        Par::Auto if elements < LEAST => 1,
        // The pool is looked at last: little work must not start it.
        Par::Auto => rayon::current_num_threads(),
    };
    let count = wanted.clamp(1, groups.max(1));
    (count, if count > 1 { exec.par(Par::Serial) } else { exec })
}

/// Calls `body` for each group of `images`, in one thread for each of `spaces`.
pub(super) fn share<T: Send + Sync>(
    images: Images<'_, T>,
    spaces: &mut [Vec<T>],
    body: &(impl Fn(Images<'_, T>, &mut Vec<T>) -> Result<()> + Sync),
) -> Result<()> {
    match spaces {
        [] => Ok(()),
        [space] => {
            let mut rest = images;
            while rest.units() > 1 {
                let (first, others) = rest.split(1);
                body(first, space)?;
                rest = others;
            }
            if rest.units() == 1 { body(rest, space) } else { Ok(()) }
        }
        _ => {
            let (few, others) = spaces.split_at_mut(spaces.len() / 2);
            let mid = images.units() * few.len() / (few.len() + others.len());
            let (first, rest) = images.split(mid);
            let (one, other) =
                rayon::join(|| share(first, few, body), || share(rest, others, body));
            one.and(other)
        }
    }
}
