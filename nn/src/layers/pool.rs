//! Pooling of images.

use tilewise_kernels::{Error, Exec, Float, ImageDims, Pool, Pooling, Result, Window};

use super::{Layer, Pass, Saved};
use crate::matrix::Matrix;

/// The largest or the mean value of every window of each channel.
#[derive(Debug, Clone)]
pub struct Pool2d {
    kind: Pooling,
    image: ImageDims,
    window: Window,
    positions: [usize; 2],
}

impl Pool2d {
    /// A layer over images of shape `image`.
    ///
    /// # Errors
    /// If the window does not fit.
    pub fn new(kind: Pooling, image: ImageDims, window: Window) -> crate::Result<Self> {
        let positions = Pool::new(kind, image, window)?.positions();
        Ok(Self { kind, image, window, positions })
    }

    /// The shape of the result.
    pub fn output(&self) -> ImageDims {
        let [height, width] = self.positions;
        ImageDims { channels: self.image.channels, height, width }
    }

    /// A batch of images is one image with all their channels.
    fn batch(&self, images: usize) -> Result<Pool> {
        let dims = ImageDims { channels: images * self.image.channels, ..self.image };
        Pool::new(self.kind, dims, self.window)
    }
}

impl<T: Float> Layer<T> for Pool2d {
    fn kind(&self) -> &'static str {
        match self.kind {
            Pooling::Max => "max_pool",
            Pooling::Mean => "average_pool",
        }
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        let ImageDims { channels, height, width } = self.image;
        let expected = channels * height * width;
        if input == expected {
            return Ok(channels * self.positions[0] * self.positions[1]);
        }
        let expected = format!("{expected} columns for {channels} x {height} x {width}");
        Err(Error::shape("input", expected, format!("{input} columns")))
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        Layer::infer(self, x, y, pass.exec)
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        self.batch(x.rows())?.forward(x.data(), y.data_mut(), exec)
    }

    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let Some(dx) = dx else { return Ok(()) };
        let pool = self.batch(saved.x.rows())?;
        pool.backward(saved.x.data(), saved.dy.data(), dx.data_mut(), pass.exec)
    }
}
