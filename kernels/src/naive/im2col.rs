//! An image as the matrix of its patches, and back.

use crate::ops::{ImageDims, Window};
use crate::simd::Float;

/// Where element `tap` of a window at `position` lies along an axis; `None` in the padding.
pub(super) fn place(
    window: Window,
    axis: usize,
    [position, tap]: [usize; 2],
    size: usize,
) -> Option<usize> {
    let at = (position * window.stride[axis] + tap * window.dilation[axis]) as isize;
    let at = at - window.padding[axis] as isize;
    usize::try_from(at).ok().filter(|&at| at < size)
}

/// For every weight and position, the index in the matrix and that in the image, if there is one.
fn places(dims: ImageDims, window: Window) -> Vec<(usize, Option<usize>)> {
    let [down, across] = window.positions(dims).expect("a window that fits");
    let mut places = Vec::new();
    for channel in 0..dims.channels {
        for i in 0..window.kernel[0] {
            for j in 0..window.kernel[1] {
                for y in 0..down {
                    for x in 0..across {
                        let row = place(window, 0, [y, i], dims.height);
                        let col = place(window, 1, [x, j], dims.width);
                        let at = row
                            .zip(col)
                            .map(|(row, col)| (channel * dims.height + row) * dims.width + col);
                        places.push((places.len(), at));
                    }
                }
            }
        }
    }
    places
}

/// Writes the patches of `image` to `columns`, zeros for the padding.
///
/// # Panics
/// If the window does not fit or a length differs.
pub fn im2col<T: Float>(image: &[T], dims: ImageDims, window: Window, columns: &mut [T]) {
    for (to, from) in places(dims, window) {
        columns[to] = from.map_or(T::ZERO, |from| image[from]);
    }
}

/// Sums the patches in `columns` into `image`, which is overwritten.
///
/// # Panics
/// If the window does not fit or a length differs.
pub fn col2im<T: Float>(columns: &[T], dims: ImageDims, window: Window, image: &mut [T]) {
    let mut sums = vec![0.0; image.len()];
    for (from, to) in places(dims, window) {
        if let Some(to) = to {
            sums[to] += columns[from].to_f64();
        }
    }
    image.iter_mut().zip(sums).for_each(|(to, sum)| *to = T::from_f64(sum));
}
