//! Convolution of images, as a matrix product with their patches.

use tilewise_kernels::{
    Error, Exec, Float, Gemm, ImageDims, MatMut, MatRef, Patches, Result, Window,
};

use super::{
    ChannelAffine, Layer, Parameter, ParameterKind, Pass, Saved, absorb, channel_sums, room,
};
use crate::init::Init;
use crate::matrix::Matrix;

/// Bytes of patches that are made at a time, for as many images as fit: about a second-level cache.
const PATCH_BYTES: usize = 1 << 20;

/// Filters that slide over images. An image is a row of its columns, channel by channel and each row by
/// row, and so is the result. Filters are stored `[filters, channels, height, width]`, as PyTorch does.
#[derive(Debug, Clone)]
pub struct Conv2d<T = f32> {
    image: ImageDims,
    filters: usize,
    patches: Patches,
    /// The filters, then the bias where there is one.
    parameters: Vec<Parameter<T>>,
    /// Patches of a few images, and their gradients.
    room: Vec<T>,
}

impl<T: Float> Conv2d<T> {
    /// A layer of `filters` filters of `window` over images of shape `image`, with weights drawn from
    /// `init` by `seed` and, if `bias`, a bias of zeros.
    ///
    /// # Errors
    /// If the window does not fit or a size overflows.
    pub fn new(
        image: ImageDims,
        (filters, window): (usize, Window),
        bias: bool,
        init: Init,
        seed: u64,
    ) -> crate::Result<Self> {
        let patches = Patches::new(image, window)?;
        let [inputs, positions] = patches.shape();
        Matrix::<T>::zeros(filters, inputs)?;
        let outputs = filters.checked_mul(positions);
        outputs.ok_or_else(|| crate::Error::argument("filters", "fewer", filters))?;
        let [height, width] = window.kernel;
        let shape = [filters, image.channels, height, width];
        let mut weight = Parameter::new("weight", ParameterKind::Weight, &shape, T::ZERO);
        init.fill_filters(&mut weight.value, [inputs, filters], window.area(), seed);
        let mut parameters = vec![weight];
        if bias {
            parameters.push(Parameter::new("bias", ParameterKind::Bias, &[filters], T::ZERO));
        }
        Ok(Self { image, filters, patches, parameters, room: Vec::new() })
    }

    /// The shape of the result.
    pub fn output(&self) -> ImageDims {
        let [height, width] = self.patches.positions();
        ImageDims { channels: self.filters, height, width }
    }

    /// Columns of the input, elements of an image's patches, and columns of the output.
    fn sizes(&self) -> [usize; 3] {
        let [weights, positions] = self.patches.shape();
        let ImageDims { channels, height, width } = self.image;
        [channels * height * width, weights * positions, self.filters * positions]
    }

    /// Images whose patches are made at a time.
    fn images(&self) -> usize {
        let [_, patches, _] = self.sizes();
        (PATCH_BYTES / (patches * size_of::<T>()).max(1)).max(1)
    }

    /// The patches of several images: those of one image with as many channels as all of them have.
    fn many(&self, images: usize) -> Result<Patches> {
        let dims = ImageDims { channels: images * self.image.channels, ..self.image };
        Patches::new(dims, self.patches.window())
    }

    fn weight(&self) -> Result<MatRef<'_, T>> {
        MatRef::new(&self.parameters[0].value, self.filters, self.patches.shape()[0])
    }

    fn convolve(
        &self,
        x: &Matrix<T>,
        y: &mut Matrix<T>,
        space: &mut Vec<T>,
        exec: Exec,
    ) -> Result<()> {
        let [width, patches, outputs] = self.sizes();
        let [weights, positions] = self.patches.shape();
        let at_a_time = self.images();
        let images = x.data().chunks(at_a_time * width.max(1));
        for (x, y) in images.zip(y.data_mut().chunks_mut((at_a_time * outputs).max(1))) {
            let count = y.len() / outputs.max(1);
            let columns = room(space, count * patches);
            self.many(count)?.gather(x, columns, exec)?;
            let product = Gemm::new(self.weight()?, MatRef::new(columns, weights, positions)?)?;
            let product = match self.parameters.get(1) {
                // One value for each row of the result: a residual that does not move along rows.
                Some(bias) => product.residual(MatRef::with_strides(
                    &bias.value,
                    [self.filters, positions],
                    [1, 0],
                )?),
                None => product,
            };
            let y = MatMut::new(y, self.filters, positions)?;
            product.batched(count, [0, patches])?.run(y, outputs, exec)?;
        }
        Ok(())
    }
}

impl<T: Float> Layer<T> for Conv2d<T> {
    fn kind(&self) -> &'static str {
        "conv2d"
    }

    fn output_width(&self, input: usize) -> Result<usize> {
        let [width, _, outputs] = self.sizes();
        if input == width {
            return Ok(outputs);
        }
        let ImageDims { channels, height, width: across } = self.image;
        let expected = format!("{width} columns for {channels} x {height} x {across}");
        Err(Error::shape("input", expected, format!("{input} columns")))
    }

    fn forward(&mut self, x: &Matrix<T>, y: &mut Matrix<T>, pass: Pass) -> Result<()> {
        let mut room = std::mem::take(&mut self.room);
        let outcome = self.convolve(x, y, &mut room, pass.exec);
        self.room = room;
        outcome
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        self.convolve(x, y, &mut Vec::new(), exec)
    }

    /// Makes the patches again: keeping those of a whole batch would take several times its memory.
    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let mut space = std::mem::take(&mut self.room);
        self.weight_gradient(saved, &mut space, pass.exec)?;
        if let Some(dx) = dx {
            self.input_gradient(saved.dy, dx, &mut space, pass.exec)?;
        }
        if let [_, bias] = &mut self.parameters[..] {
            let dims = [saved.dy.rows(), self.filters, self.patches.shape()[1]];
            let (dy, sums) = (saved.dy.data(), &mut bias.gradient);
            channel_sums(dy, dims, sums, &mut space, pass.exec)?;
        }
        self.room = space;
        Ok(())
    }

    fn absorb(&mut self, affine: &ChannelAffine) -> bool {
        absorb(&mut self.parameters, affine)
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
}

impl<T: Float> Conv2d<T> {
    /// The sum over images of the gradient by the result times the patches, image after image.
    fn weight_gradient(
        &mut self,
        saved: Saved<'_, T>,
        space: &mut Vec<T>,
        exec: Exec,
    ) -> Result<()> {
        let [width, patches, outputs] = self.sizes();
        let ([weights, positions], filters) = (self.patches.shape(), self.filters);
        let at_a_time = self.images();
        let images = saved.x.data().chunks(at_a_time * width.max(1));
        let mut beta = T::ZERO;
        for (x, dy) in images.zip(saved.dy.data().chunks((at_a_time * outputs).max(1))) {
            let count = dy.len() / outputs.max(1);
            let columns = room(space, count * patches);
            self.many(count)?.gather(x, columns, exec)?;
            for (dy, columns) in dy.chunks(outputs).zip(columns.chunks(patches)) {
                let columns = MatRef::new(columns, weights, positions)?;
                let product = Gemm::new(MatRef::new(dy, filters, positions)?, columns.t())?;
                let gradient = &mut self.parameters[0].gradient;
                product.beta(beta).run(MatMut::new(gradient, filters, weights)?, exec)?;
                beta = T::ONE;
            }
        }
        if beta == T::ZERO {
            self.parameters[0].gradient.fill(T::ZERO);
        }
        Ok(())
    }

    fn input_gradient(
        &self,
        dy: &Matrix<T>,
        dx: &mut Matrix<T>,
        space: &mut Vec<T>,
        exec: Exec,
    ) -> Result<()> {
        let [width, patches, outputs] = self.sizes();
        let [weights, positions] = self.patches.shape();
        let at_a_time = self.images();
        let images = dy.data().chunks((at_a_time * outputs).max(1));
        for (dy, dx) in images.zip(dx.data_mut().chunks_mut(at_a_time * width.max(1))) {
            let count = dy.len() / outputs.max(1);
            let columns = room(space, count * patches);
            let dy = MatRef::new(dy, self.filters, positions)?;
            let product = Gemm::new(self.weight()?.t(), dy)?.batched(count, [0, outputs])?;
            product.run(MatMut::new(columns, weights, positions)?, patches, exec)?;
            self.many(count)?.scatter(columns, dx, exec)?;
        }
        Ok(())
    }
}
