//! Patches of images and their sums, and pooling.

use tilewise_kernels::{Float, ImageDims, Patches, Pool, Pooling, Window, naive};

use crate::case::{Case, Simple, Work};
use crate::data::Random;

/// Channels and sides of an image, the side of the window and its step: the first layers of a network
/// for small images, and the middle of one for photographs.
const SHAPES: [([usize; 2], usize, usize); 3] =
    [([1, 28], 5, 1), ([32, 28], 3, 1), ([64, 56], 3, 2)];

/// All of them on every shape.
pub fn cases<T: Float>() -> Vec<Case> {
    SHAPES
        .into_iter()
        .flat_map(|shape| {
            [
                im2col::<T>(shape),
                col2im::<T>(shape),
                pool::<T>(Pooling::Max, shape),
                pool::<T>(Pooling::Mean, shape),
            ]
        })
        .collect()
}

fn frame(([channels, side], window, step): ([usize; 2], usize, usize)) -> (ImageDims, Window) {
    let around = window / 2;
    let dims = ImageDims { channels, height: side, width: side };
    (dims, Window::from(window).stride(step, step).padding(around, around))
}

fn id<T: Float>(op: &str, ([channels, side], window, step): ([usize; 2], usize, usize)) -> String {
    format!("{op}/{}/{channels}x{side}x{side}-{window}x{window}-step{step}", T::NAME)
}

fn sizes((dims, window): (ImageDims, Window)) -> [usize; 2] {
    let patches = Patches::new(dims, window).expect("a window that fits");
    let [weights, positions] = patches.shape();
    [dims.channels * dims.height * dims.width, weights * positions]
}

fn im2col<T: Float>(shape: ([usize; 2], usize, usize)) -> Case {
    let (dims, window) = frame(shape);
    let [image, columns] = sizes((dims, window));
    Case::new(id::<T>("im2col", shape), Work::values::<T>(image + columns), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(image, -1.0, 1.0)],
            columns,
            0.0,
            move |inputs, out, exec| Patches::new(dims, window)?.gather(&inputs[0], out, exec),
            move |inputs, out| naive::im2col(&inputs[0], dims, window, out),
        )
    })
}

fn col2im<T: Float>(shape: ([usize; 2], usize, usize)) -> Case {
    let (dims, window) = frame(shape);
    let [image, columns] = sizes((dims, window));
    Case::new(id::<T>("col2im", shape), Work::values::<T>(image + columns), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(columns, -1.0, 1.0)],
            image,
            window.area() as f64 * T::EPSILON.to_f64(),
            move |inputs, out, exec| Patches::new(dims, window)?.scatter(&inputs[0], out, exec),
            move |inputs, out| naive::col2im(&inputs[0], dims, window, out),
        )
    })
    .counting(columns)
}

fn pool<T: Float>(kind: Pooling, shape: ([usize; 2], usize, usize)) -> Case {
    let op = if kind == Pooling::Max { "max_pool" } else { "mean_pool" };
    let (dims, window) = frame(shape);
    let [image, columns] = sizes((dims, window));
    let pooled = columns / window.area();
    Case::new(id::<T>(op, shape), Work::values::<T>(image + pooled), move || {
        Simple::<T, _, _>::new(
            vec![Random::new(1).uniform(image, -1.0, 1.0)],
            pooled,
            window.area() as f64 * T::EPSILON.to_f64(),
            move |inputs, out, exec| Pool::new(kind, dims, window)?.forward(&inputs[0], out, exec),
            move |inputs, out| naive::pool(kind, &inputs[0], dims, window, out),
        )
    })
    .counting(columns)
}
