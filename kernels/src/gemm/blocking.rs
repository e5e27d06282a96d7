//! Block sizes: pure functions of the tile, the caches and the shape.
//!
//! A block of B (`kc x nc`) stays in the second-level cache while all rows of A pass by; a panel of
//! A (`ROWS x kc`) stays in the first-level cache while it meets the panels of that block. This
//! walks along the rows of C and reads B from the second level, which serves several times the
//! bandwidth of anything behind it.

use crate::dispatch::Caches;

/// Sizes of the blocks that the packed multiplication works in. Results depend on `kc` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocking {
    /// Steps of k per block: sums are taken over this many products, then added to C.
    pub kc: usize,
    /// Rows of A packed at once.
    pub mc: usize,
    /// Columns of B packed at once.
    pub nc: usize,
}

/// Bytes of one row of an A panel block: `kc` is this over the size of an element. It is fixed, not
/// taken from the caches, so that results are the same on CPUs with different caches. Nine rows
/// take 36 KiB, three quarters of a 48 KiB first-level cache.
pub(super) const K_BYTES: usize = 4096;

/// Bytes of A packed at once: large, since panels are read once per block of B, in order.
const A_BYTES: usize = 16 << 20;

impl Blocking {
    /// Larger sizes are taken as this: a packed block then has a size that cannot overflow, however
    /// large the matrices are that strides of zero describe.
    pub const MOST: usize = 1 << 14;

    /// Sizes for elements of `size` bytes, tiles of `cols` columns and `k` steps.
    pub(super) fn new(size: usize, cols: usize, k: usize, caches: Caches) -> Self {
        let kc = Self::even_steps(k, K_BYTES / size);
        // 40 % of the second level: the A panel, C and the next panels want the rest.
        let columns = caches.l2 * 2 / 5 / (kc * size);
        Self { kc, mc: A_BYTES / (kc * size), nc: (columns / cols).max(1) * cols }
    }

    /// Rows of A in blocks of `kc` steps that stay in the second-level cache beside B and C.
    pub(super) fn near_rows(size: usize, kc: usize, caches: Caches) -> usize {
        (caches.l2 / 8 / (kc * size)).clamp(1, Self::MOST)
    }

    /// Sizes for tiles of bf16 with panels of 32 columns of B.
    pub(super) fn of_tiles(caches: Caches) -> Self {
        // A panel of B is read once for every 32 rows: two thirds of the first level, while A and C
        // pass by.
        let kc = caches.l1 * 2 / 3 / (32 * 2) / 32 * 32;
        // A block of sums (mc x nc) stays in the second level while all of k passes, beside the
        // blocks of A and B that are in use: at 2 MiB they take a quarter, an eighth and a quarter,
        // which leaves room for what other threads of the machine leave behind.
        let side = (caches.l2 / 8 / size_of::<f32>()).isqrt() / 32 * 32;
        Self { kc: kc.max(32), mc: side.max(32), nc: (2 * side).max(32) }
    }

    /// Sizes for tiles of numbers in so many bf16 parts, in blocks of `kc` steps. A block of B stays in the
    /// second level, of which it takes seven sixteenths: a panel of A, the next one and sums that pass by want
    /// the rest, and a fuller one is slower. The more rows, the less often B is read from further away; the sums of 2048 take a few MiB there.
    pub(super) fn of_parts(caches: Caches, kc: usize, parts: usize) -> Self {
        let columns = caches.l2 * 7 / 16 / (kc * parts * size_of::<u16>());
        Self { kc, mc: 2048, nc: columns.max(32) / 32 * 32 }
    }

    /// Blocks of B of the same size for up to 4096 columns.
    pub(super) fn wide(self, cols: usize) -> Self {
        let nc = cols.clamp(self.nc, self.nc.max(4096)).next_multiple_of(32);
        Self { kc: (self.kc * self.nc / nc / 32 * 32).max(32), nc, ..self }
    }

    /// The same with every size from 1 to [`MOST`](Self::MOST) and `kc` cutting `k` evenly.
    pub(super) fn fitted(self, k: usize) -> Self {
        let [kc, mc, nc] = [self.kc, self.mc, self.nc].map(|size| size.clamp(1, Self::MOST));
        Self { kc: Self::even_steps(k, kc), mc, nc }
    }

    /// `k` cut evenly into the fewest blocks of at most `kc` steps.
    fn even_steps(k: usize, kc: usize) -> usize {
        let blocks = k.div_ceil(kc).max(1);
        k.div_ceil(blocks).max(1)
    }
}

/// Whether `lines` cache lines that lie `stride` bytes apart stay in a first-level cache of 64 sets
/// and 8 ways: strides with a large power of two use few of the sets.
pub(super) fn stays_in_first_level(lines: usize, stride: usize) -> bool {
    let power_of_two = 1 << stride.trailing_zeros().min(12);
    let sets = 4096 / power_of_two.max(64);
    lines <= 8 * sets
}

/// Whether a matrix of these sides stays in the second-level cache beside all that passes by.
pub(super) fn stays_in_second_level(sides: [usize; 2], size: usize, caches: Caches) -> bool {
    sides[0].saturating_mul(sides[1]).saturating_mul(size) <= caches.l2 / 2
}

/// `total` cut into the fewest pieces of at most `most`, as evenly as possible: `(start, length)`.
pub(super) fn even_pieces(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = total.div_ceil(most);
    let (short, longer) = (total / count.max(1), total % count.max(1));
    (0..count).map(move |i| (i * short + i.min(longer), short + usize::from(i < longer)))
}

/// `total` cut into panels of at most `most`: whole ones first, the last two of near-equal height,
/// since a thin one would leave the multiply-add units waiting: `(start, length)`. No divisions by
/// sizes known only at run time, which would cost a small product more than its sums.
#[inline(always)]
pub(super) fn panels(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = total - start;
        let length = if left > most && left < 2 * most { left.div_ceil(2) } else { left.min(most) };
        let piece = (start, length);
        start += length;
        (length > 0).then_some(piece)
    })
}

/// How much of `total` lies in panels that stay as they are when [`panels`] begins anew behind one of
/// them.
#[inline]
pub(super) fn whole_panels(total: usize, most: usize) -> usize {
    let even = usize::from(!total.is_multiple_of(most));
    (total / most).saturating_sub(even) * most
}

/// How vectors of columns are cut into strips of `most` and narrower ones: the vectors in strips of
/// `most`, and the width of the strips after them. Where `evenly`, four vectors become two strips of two
/// rather than three and one: tiles of one vector read more than they multiply.
#[inline(always)]
pub(super) fn strips(vectors: usize, most: usize, evenly: bool) -> (usize, usize) {
    let rest = vectors % most;
    if evenly && most == 3 && rest == 1 && vectors > 1 {
        (vectors - 4, 2)
    } else {
        (vectors - rest, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_evenly() {
        for total in 0..70 {
            for most in 1..20 {
                let pieces: Vec<_> = even_pieces(total, most).collect();
                let mut next = 0;
                for &(start, length) in &pieces {
                    assert_eq!(start, next);
                    assert!(length >= 1 && length <= most);
                    next += length;
                }
                assert_eq!(next, total);
                let lengths = pieces.iter().map(|piece| piece.1);
                let spread = lengths.clone().max().unwrap_or(0) - lengths.min().unwrap_or(0);
                assert!(spread <= 1);
            }
        }
    }

    #[test]
    fn panels_cover_and_none_is_thin() {
        for total in 0..100 {
            for most in 1..10 {
                let mut next = 0;
                for (start, length) in panels(total, most) {
                    assert_eq!(start, next);
                    assert!(length <= most && (2 * length >= most || total < most));
                    next += length;
                }
                assert_eq!(next, total);
            }
        }
    }

    #[test]
    fn strips_cover_and_only_forced_ones_are_thin() {
        for (vectors, most, evenly) in
            (0..40).flat_map(|n| (1..4).flat_map(move |most| [true, false].map(|e| (n, most, e))))
        {
            let (whole, width) = strips(vectors, most, evenly);
            assert!(whole % most == 0 && width < most.max(2));
            assert!(whole == vectors || (vectors - whole) % width == 0);
            let thin = most == 3 && width == 1 && vectors > 1;
            assert_eq!(thin, !evenly && most == 3 && vectors % 3 == 1 && vectors > 1);
        }
    }

    #[test]
    fn panels_behind_whole_ones_stay_as_they_are() {
        for total in 0..100 {
            for most in 1..10 {
                let all: Vec<_> = panels(total, most).collect();
                for cut in (0..=whole_panels(total, most)).step_by(most) {
                    let rest = panels(total - cut, most).map(|(start, size)| (cut + start, size));
                    let both: Vec<_> = panels(cut, most).chain(rest).collect();
                    assert_eq!(both, all, "{total} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn blocks_fit_their_caches() {
        let caches = Caches { l1: 48 << 10, l2: 2 << 20 };
        let tiles = Blocking::of_tiles(caches);
        assert_eq!(tiles, Blocking { kc: 512, mc: 256, nc: 512 });
        assert_eq!(tiles.wide(5000), Blocking { kc: 64, mc: 256, nc: 4096 });
        assert_eq!(tiles.wide(10), tiles);
        assert_eq!(Blocking::of_parts(caches, 384, 3), Blocking { kc: 384, mc: 2048, nc: 384 });
        let least = Blocking::of_tiles(Caches { l1: 1 << 10, l2: 4 << 10 });
        assert_eq!(least, Blocking { kc: 32, mc: 32, nc: 32 });
        let f32_blocks = Blocking::new(4, 48, 1 << 20, caches);
        assert_eq!(f32_blocks.kc, 1024);
        assert_eq!(f32_blocks.nc % 48, 0);
        assert!(f32_blocks.nc * f32_blocks.kc * 4 <= caches.l2 / 2);
        assert_eq!(Blocking::new(4, 48, 1025, caches).kc, 513);
        let few_steps = Blocking::new(4, 48, 32, caches);
        assert!(few_steps.nc > 30 * f32_blocks.nc && few_steps.nc * 32 * 4 <= caches.l2 / 2);
        assert_eq!(
            Blocking { kc: 100, mc: 0, nc: 0 }.fitted(201),
            Blocking { kc: 67, mc: 1, nc: 1 }
        );
    }
}
