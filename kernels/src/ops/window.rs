//! Windows that slide over images: where they lie, for patches and for pooling.

use crate::error::{Error, Result, checked_area};

/// The extents of one image, stored channel by channel, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDims {
    /// Number of planes.
    pub channels: usize,
    /// Rows of each plane.
    pub height: usize,
    /// Columns of each plane.
    pub width: usize,
}

impl ImageDims {
    /// Number of elements.
    ///
    /// # Errors
    /// If it overflows.
    pub fn len(&self) -> Result<usize> {
        checked_area("image", self.channels, self.plane()?)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.channels == 0 || self.height == 0 || self.width == 0
    }

    fn plane(&self) -> Result<usize> {
        checked_area("image plane", self.height, self.width)
    }
}

/// A window and its steps; each pair is for rows and for columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Elements of the window.
    pub kernel: [usize; 2],
    /// Distance between neighbouring positions of the window.
    pub stride: [usize; 2],
    /// Rows and columns around the image on each side.
    pub padding: [usize; 2],
    /// Distance between neighbouring elements of the window.
    pub dilation: [usize; 2],
}

impl From<usize> for Window {
    /// A square window that moves by 1 inside the image.
    fn from(side: usize) -> Self {
        Self::new(side, side)
    }
}

impl Window {
    /// A window of `height` x `width` that moves by 1 inside the image.
    pub fn new(height: usize, width: usize) -> Self {
        Self { kernel: [height, width], stride: [1, 1], padding: [0, 0], dilation: [1, 1] }
    }

    /// The same with other steps.
    #[must_use]
    pub fn stride(self, down: usize, across: usize) -> Self {
        Self { stride: [down, across], ..self }
    }

    /// The same with rows and columns of padding on each side.
    #[must_use]
    pub fn padding(self, rows: usize, cols: usize) -> Self {
        Self { padding: [rows, cols], ..self }
    }

    /// The same with elements further apart.
    #[must_use]
    pub fn dilation(self, down: usize, across: usize) -> Self {
        Self { dilation: [down, across], ..self }
    }

    /// How many positions the window has on an image, down and across.
    ///
    /// # Errors
    /// If an extent, a stride or a dilation is 0, or the window is larger than the padded image.
    pub fn positions(&self, image: ImageDims) -> Result<[usize; 2]> {
        let mut positions = [0; 2];
        for (axis, size) in [image.height, image.width].into_iter().enumerate() {
            for (what, value) in [
                ("kernel size", self.kernel[axis]),
                ("stride", self.stride[axis]),
                ("dilation", self.dilation[axis]),
            ] {
                if value == 0 {
                    return Err(Error::value(what, "at least 1", value));
                }
            }
            let extent = (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]);
            let extent = extent.saturating_add(1);
            let padded = size.saturating_add(self.padding[axis].saturating_mul(2));
            let Some(room) = padded.checked_sub(extent) else {
                let side = ["high", "wide"][axis];
                let expected = format!("at most {padded} {side}, as the padded image is");
                return Err(Error::shape("window", expected, extent));
            };
            positions[axis] = room / self.stride[axis] + 1;
        }
        Ok(positions)
    }

    /// Number of elements of the window.
    pub fn area(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }

    /// Where in the image element `tap` of the window lies at `position`; `None` in the padding.
    #[inline(always)]
    pub(crate) fn place(
        &self,
        axis: usize,
        position: usize,
        tap: usize,
        size: usize,
    ) -> Option<usize> {
        let padded = position * self.stride[axis] + tap * self.dilation[axis];
        padded.checked_sub(self.padding[axis]).filter(|&place| place < size)
    }

    /// The positions at which element `tap` of the window is inside the image: a range of `positions`.
    #[inline(always)]
    pub(crate) fn inside(
        &self,
        axis: usize,
        tap: usize,
        [positions, size]: [usize; 2],
    ) -> std::ops::Range<usize> {
        let (stride, ahead) = (self.stride[axis], tap * self.dilation[axis]);
        let first = self.padding[axis].saturating_sub(ahead).div_ceil(stride);
        let end = (self.padding[axis] + size).saturating_sub(ahead).div_ceil(stride);
        first.min(positions)..end.clamp(first.min(positions), positions)
    }
}
