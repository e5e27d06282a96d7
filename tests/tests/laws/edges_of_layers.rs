//! The same for the operations of layers: norms of rows, images, losses of values.

use tilewise_kernels::{ImageDims, Window};
use tilewise_tests::checks::im2col::Frame;
use tilewise_tests::checks::{im2col, layer_norm, pool, regression};
use tilewise_tests::data::Values;

use crate::edges::{EDGES, KINDS, all_hold, least};

#[test]
fn norms_of_rows_of_every_length_and_kind() {
    let mut cases = Vec::new();
    for (i, cols) in EDGES.into_iter().chain([63, 127, 129, 257, 1000]).enumerate() {
        for x in KINDS {
            let rows = [1, 3, 5][i % 3];
            for centred in [true, false] {
                let case = layer_norm::Case { rows, cols, centred, x, shift: i % 5, ..least() };
                cases.push(layer_norm::Case { dy: Values::Normal, seed: i as u64, ..case });
            }
        }
    }
    // More columns than a strip, more rows than a task.
    for rows in [2, 40, 300] {
        let case = layer_norm::Case { rows, cols: 200, x: Values::Offset, ..least() };
        cases.push(layer_norm::Case { centred: true, dy: Values::Wide, ..case });
    }
    all_hold(cases, layer_norm::check);
}

#[test]
fn losses_of_values_of_every_length_and_kind() {
    let mut cases = Vec::new();
    for (i, len) in EDGES.into_iter().chain([1023, 1025]).enumerate() {
        for outputs in KINDS {
            for distance in regression::DISTANCES {
                let targets = KINDS[i % KINDS.len()];
                let case = regression::Case { len, distance, outputs, targets, ..least() };
                cases.push(regression::Case { sum: i % 2 > 0, shift: i % 4, ..case });
            }
        }
    }
    all_hold(cases, regression::check);
}

/// Windows as large as the image, steps beyond the window, padding, planes of one element and none.
fn frames() -> Vec<Frame> {
    let image = |channels, height, width| ImageDims { channels, height, width };
    let all = [
        (image(1, 1, 1), Window::new(1, 1)),
        (image(2, 5, 4), Window::new(5, 4)),
        (image(3, 7, 9), Window::new(2, 2).stride(3, 4)),
        (image(1, 2, 2), Window::new(3, 3).padding(1, 1)),
        (image(2, 1, 9), Window::new(1, 4).stride(1, 2).padding(0, 3)),
        (image(0, 4, 4), Window::new(2, 2)),
        (image(1, 0, 3), Window::new(2, 2).padding(1, 1)),
        (image(2, 5, 17), Window::new(3, 3).padding(1, 1)),
        (image(9, 4, 4), Window::new(2, 2).stride(2, 2)),
        // Several vectors of squares, and rows and columns that are in none.
        (image(1, 5, 69), Window::new(2, 2).stride(2, 2)),
        (image(1, 2, 33), Window::new(2, 2).stride(2, 2)),
        // As many positions as pixels across, more and fewer of them down.
        (image(1, 3, 18), Window::new(3, 5).padding(2, 2)),
        (image(2, 6, 3), Window::new(4, 5).padding(0, 2)),
    ];
    all.map(|(dims, window)| Frame { dims, window }).to_vec()
}

#[test]
fn patches_of_every_frame_and_kind() {
    let apart = Window::new(2, 3).dilation(4, 3).padding(0, 2);
    let apart = Frame { dims: ImageDims { channels: 2, height: 5, width: 3 }, window: apart };
    // Elements so far apart that only some meet a small image.
    let far = Window::new(3, 3).dilation(6, 6).padding(6, 6);
    let far = Frame { dims: ImageDims { channels: 2, height: 4, width: 5 }, window: far };
    let mut cases = Vec::new();
    for (i, frame) in frames().into_iter().chain([apart, far]).enumerate() {
        for values in KINDS {
            cases.push(im2col::Case { frame, values, shift: i % 4, seed: i as u64 });
        }
    }
    all_hold(cases, im2col::check);
}

#[test]
fn pooling_of_every_frame_and_kind() {
    let mut cases = Vec::new();
    // An image without rows has windows of padding alone where the padding allows a position.
    for (i, frame) in frames().into_iter().filter(|frame| frame.dims.height > 0).enumerate() {
        for x in KINDS {
            for mean in [false, true] {
                let case = pool::Case { frame, mean, x, coarse: i % 2 > 0, ..least() };
                cases.push(pool::Case { dy: Values::Normal, shift: i % 3, ..case });
            }
        }
    }
    all_hold(cases, pool::check);
}
