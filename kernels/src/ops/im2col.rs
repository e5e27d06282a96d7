//! An image as the matrix of its patches, and back: a convolution becomes a matrix product.
//!
//! For an image of `C` planes and a window of `h` x `w` with `P` positions, the matrix has `C·h·w` rows,
//! one per weight of a filter (channel, row and column of the window, the last the fastest, as PyTorch
//! stores filters), and `P` columns, one per position. A product with the filters, one per row, gives
//! the planes of the result.
//!
//! Bytes: the matrix is written (or read) once, `C·h·w·P` elements; a row of the image is read `h·w`
//! times while it is in cache.

use std::ops::Range;

use super::window::{ImageDims, Window};
use crate::error::{Result, check_len, checked_area};
use crate::exec::Exec;
use crate::parallel::Split;
use crate::simd::{Float, Kernel, Simd};

/// Elements below which a second thread costs more than it brings.
const GRAIN: usize = 1 << 16;

/// Writes the patches of `image` to `columns`, zeros for the padding.
///
/// # Errors
/// If the window does not fit or a length differs.
pub fn im2col<T: Float>(
    image: &[T],
    dims: ImageDims,
    window: Window,
    columns: &mut [T],
) -> Result<()> {
    Patches::new(dims, window)?.gather(image, columns, Exec::default())
}

/// Sums the patches in `columns` into `image`, which is overwritten: the adjoint of [`im2col`], and its
/// backward pass.
///
/// # Errors
/// If the window does not fit or a length differs.
pub fn col2im<T: Float>(
    columns: &[T],
    dims: ImageDims,
    window: Window,
    image: &mut [T],
) -> Result<()> {
    Patches::new(dims, window)?.scatter(columns, image, Exec::default())
}

/// The patches of images of one shape; see [`im2col`] and [`col2im`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    dims: ImageDims,
    window: Window,
    positions: [usize; 2],
}

impl Patches {
    /// Checks that the window fits.
    ///
    /// # Errors
    /// If an extent of the window, a stride or a dilation is 0, the window is larger than the padded
    /// image or a size overflows.
    pub fn new(dims: ImageDims, window: Window) -> Result<Self> {
        dims.len()?;
        let positions = window.positions(dims)?;
        let patches = Self { dims, window, positions };
        let weights = checked_area("window", dims.channels, window.area())?;
        checked_area("patches", weights, checked_area("positions", positions[0], positions[1])?)?;
        Ok(patches)
    }

    /// Rows and columns of the matrix: weights of a filter, and positions of the window.
    pub fn shape(&self) -> [usize; 2] {
        [self.dims.channels * self.window.area(), self.positions[0] * self.positions[1]]
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Positions down and across: the shape of a plane of the result.
    pub fn positions(&self) -> [usize; 2] {
        self.positions
    }

    /// Writes the patches of `image`; see [`im2col`].
    ///
    /// # Errors
    /// If a length differs or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn gather<T: Float>(&self, image: &[T], columns: &mut [T], exec: Exec) -> Result<()> {
        self.check(image.len(), columns.len()).map_err(|error| error.within("im2col"))?;
        (T::compiled().im2col)(self, image, columns, exec)
    }

    /// Sums patches into `image`; see [`col2im`].
    ///
    /// # Errors
    /// If a length differs or `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn scatter<T: Float>(&self, columns: &[T], image: &mut [T], exec: Exec) -> Result<()> {
        self.check(image.len(), columns.len()).map_err(|error| error.within("col2im"))?;
        (T::compiled().col2im)(self, columns, image, exec)
    }

    fn check(&self, image: usize, columns: usize) -> Result<()> {
        let [weights, positions] = self.shape();
        check_len("image", self.dims.len()?, image)?;
        check_len("columns", weights * positions, columns)
    }

    pub(crate) fn execute_gather<T: Float>(
        &self,
        image: &[T],
        columns: &mut [T],
        exec: Exec,
    ) -> Result<()> {
        let isa = exec.path()?;
        let [_, positions] = self.shape();
        let work = Gather { patches: *self, first: 0, image, columns };
        let grain = (GRAIN / positions.max(1)).max(1);
        exec.threads().divide(work, grain, &|piece| isa.run(piece));
        Ok(())
    }

    pub(crate) fn execute_scatter<T: Float>(
        &self,
        columns: &[T],
        image: &mut [T],
        exec: Exec,
    ) -> Result<()> {
        let isa = exec.path()?;
        let [_, positions] = self.shape();
        let work = Scatter { patches: *self, columns, image };
        let grain = (GRAIN / (positions * self.window.area()).max(1)).max(1);
        exec.threads().divide(work, grain, &|piece| isa.run(piece));
        Ok(())
    }

    fn plane(&self) -> usize {
        self.dims.height * self.dims.width
    }
}

/// Rows of the matrix.
struct Gather<'a, T> {
    patches: Patches,
    /// The row of the whole matrix that this part begins with.
    first: usize,
    image: &'a [T],
    columns: &'a mut [T],
}

impl<T: Float> Split for Gather<'_, T> {
    fn units(&self) -> usize {
        self.columns.len() / self.patches.shape()[1].max(1)
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (columns, rest) = self.columns.split_at_mut(mid * self.patches.shape()[1]);
        (Self { columns, ..self }, Self { first: self.first + mid, columns: rest, ..self })
    }
}

impl<T: Float> Kernel<T> for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Patches { dims, window, positions } = self.patches;
        let rows = self.columns.chunks_exact_mut(self.patches.shape()[1].max(1));
        for (i, row) in rows.enumerate() {
            let (channel, down, across) = weight(window, self.first + i);
            let plane = &self.image[channel * self.patches.plane()..][..self.patches.plane()];
            let inside = window.inside(1, across, [positions[1], dims.width]);
            if window.stride == [1, 1] && positions[1] == dims.width {
                let lines = window.inside(0, down, [positions[0], dims.height]);
                let down = window.place(0, lines.start, down, dims.height);
                let across = window.place(1, inside.start, across, dims.width);
                match down.zip(across).filter(|_| !lines.is_empty() && !inside.is_empty()) {
                    Some((down, across)) => {
                        let source = &plane[down * dims.width + across..];
                        shift(source, row, dims.width, [lines, inside]);
                    }
                    None => row.fill(T::ZERO),
                }
                continue;
            }
            for (y, line) in row.chunks_exact_mut(positions[1]).enumerate() {
                let Some(from) = window.place(0, y, down, dims.height) else {
                    line.fill(T::ZERO);
                    continue;
                };
                let source = &plane[from * dims.width..][..dims.width];
                clear(&mut line[..inside.start]);
                clear(&mut line[inside.end..]);
                let line = &mut line[inside.clone()];
                let Some(start) = window.place(1, inside.start, across, dims.width) else {
                    continue;
                };
                match window.stride[1] {
                    1 => copy(simd, &source[start..][..line.len()], line),
                    step => {
                        let picked = source[start..].iter().step_by(step);
                        line.iter_mut().zip(picked).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

/// Planes of the image, each with its rows of the matrix.
struct Scatter<'a, T> {
    patches: Patches,
    columns: &'a [T],
    image: &'a mut [T],
}

impl<T: Float> Split for Scatter<'_, T> {
    fn units(&self) -> usize {
        self.image.len() / self.patches.plane().max(1)
    }

    fn split(self, mid: usize) -> (Self, Self) {
        let (image, image_rest) = self.image.split_at_mut(mid * self.patches.plane());
        let rows = mid * self.patches.window.area() * self.patches.shape()[1];
        let (columns, columns_rest) = self.columns.split_at(rows);
        (Self { columns, image, ..self }, Self { columns: columns_rest, image: image_rest, ..self })
    }
}

impl<T: Float> Kernel<T> for Scatter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Patches { dims, window, positions } = self.patches;
        let area = window.area();
        self.image.fill(T::ZERO);
        let rows = self.columns.chunks_exact(self.patches.shape()[1].max(1));
        for (i, row) in rows.enumerate() {
            let (channel, down, across) = weight(window, i);
            debug_assert_eq!(channel, i / area);
            let plane = &mut self.image[channel * self.patches.plane()..][..self.patches.plane()];
            let inside = window.inside(1, across, [positions[1], dims.width]);
            let start = window.place(1, inside.start, across, dims.width);
            let Some(start) = start.filter(|_| !inside.is_empty()) else { continue };
            for (y, line) in row.chunks_exact(positions[1]).enumerate() {
                let Some(to) = window.place(0, y, down, dims.height) else { continue };
                let target = &mut plane[to * dims.width..][start..dims.width];
                let line = &line[inside.clone()];
                match window.stride[1] {
                    1 => add(simd, line, target),
                    step => {
                        let picked = target.iter_mut().step_by(step);
                        picked.zip(line).for_each(|(to, from)| *to += *from);
                    }
                }
            }
        }
    }
}

/// A row of the matrix where positions stand as the elements of a plane of that `width` do: the plane from
/// the first element that is taken, moved as a whole, and zeros where `lines` and columns are not `inside`.
#[inline(always)]
fn shift<T: Float>(source: &[T], row: &mut [T], width: usize, [lines, inside]: [Range<usize>; 2]) {
    let (before, rest) = row.split_at_mut(lines.start * width);
    let (row, behind) = rest.split_at_mut(lines.len() * width);
    before.fill(T::ZERO);
    behind.fill(T::ZERO);
    let moved = &mut row[inside.start..(lines.len() - 1) * width + inside.end];
    moved.copy_from_slice(&source[..moved.len()]);
    for line in row.chunks_exact_mut(width) {
        clear(&mut line[..inside.start]);
        clear(&mut line[inside.end..]);
    }
}

/// Clears the padding at one side of a line. Mostly it is a single element, for which there need not be a
/// call.
#[inline(always)]
fn clear<T: Float>(side: &mut [T]) {
    match side {
        [] => {}
        [only] => *only = T::ZERO,
        more => more.fill(T::ZERO),
    }
}

/// Copies a line, which is often shorter than a call to copy it takes.
#[inline(always)]
fn copy<T: Float, S: Simd<T>>(simd: S, from: &[T], to: &mut [T]) {
    for (from, to) in from.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
        simd.store_partial(simd.load_partial(from), to);
    }
}

/// Adds a line to the first elements of another one.
#[inline(always)]
fn add<T: Float, S: Simd<T>>(simd: S, line: &[T], to: &mut [T]) {
    for (from, to) in line.chunks(S::LANES).zip(to.chunks_mut(S::LANES)) {
        let to = &mut to[..from.len()];
        simd.store_partial(simd.add(simd.load_partial(to), simd.load_partial(from)), to);
    }
}

/// Channel, row and column of the weight that a row of the matrix belongs to.
fn weight(window: Window, row: usize) -> (usize, usize, usize) {
    let [_, across] = window.kernel;
    (row / window.area(), row % window.area() / across, row % across)
}
