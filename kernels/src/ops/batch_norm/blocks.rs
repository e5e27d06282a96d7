//! How rows and runs are cut so that whole cache lines can be written past the caches.

use std::ops::Range;

use crate::simd::{LINE, before_line};

/// Some rows of elements, which need not start with the first channel.
#[derive(Debug, PartialEq)]
pub(super) struct RowBlock {
    /// Where they lie.
    pub(super) range: Range<usize>,
    /// Elements per row.
    pub(super) width: usize,
    /// The channel that each row starts with; after the last channel comes the first one.
    pub(super) turn: usize,
    /// Whether each row starts with a cache line and consists of whole ones.
    pub(super) aligned: bool,
}

/// Elements of rows that are worked on together, so that the numbers of their channels are fetched
/// rarely; at least `ROWS` rows, which stay close in memory.
const BLOCK: usize = 4096;
const ROWS: usize = 16;

/// Cuts `data`, rows of `channels`, into blocks. Where they are to be `aligned` and channels fill
/// whole cache lines but the data does not start with one, the rows are taken to start at the first
/// line's boundary, in the midst of the channels; a part of a row remains at either end.
pub(super) fn row_blocks<T>(
    data: &[T],
    channels: usize,
    aligned: bool,
) -> impl Iterator<Item = RowBlock> + use<T> {
    let len = data.len();
    let aligned = aligned && (channels * size_of::<T>()).is_multiple_of(LINE);
    let turn = if aligned { before_line(data) } else { 0 };
    let step = ROWS.max(BLOCK / channels) * channels;
    let end = if turn > 0 { len - (channels - turn) } else { len };
    let part = move |range: Range<usize>, turn| {
        let width = range.len();
        (width > 0).then_some(RowBlock { range, width, turn, aligned: false })
    };
    let whole = (turn..end).step_by(step).map(move |at| {
        let range = at..end.min(at + step);
        RowBlock { range, width: channels, turn, aligned }
    });
    part(0..turn, 0).into_iter().chain(whole).chain(part(end..len, turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_rows_in_order() {
        let data = vec![0f32; 40_000];
        for (start, channels, rows) in [
            (0, 16, 1),
            (1, 16, 1),
            (3, 16, 2),
            (5, 32, 600),
            (16, 64, 33),
            (7, 1008, 20),
            (2, 7, 9),
        ] {
            let data = &data[start..start + channels * rows];
            for aligned in [false, true] {
                let mut at = 0;
                for block in row_blocks(data, channels, aligned) {
                    assert_eq!(block.range.start, at);
                    assert_eq!(block.turn, at % channels);
                    assert_eq!(block.range.len() % block.width, 0);
                    let whole = before_line(&data[at..]) == 0 && block.width % 16 == 0;
                    assert!(!block.aligned || whole);
                    at = block.range.end;
                }
                assert_eq!(at, data.len());
            }
        }
    }
}
