//! Convolution of images, as a matrix product with their patches.

use tilewise_kernels::{
    Activation, Error, Exec, Float, Gemm, ImageDims, MatMut, MatRef, Patches, Result, Window,
};

use super::activation::Stored;
use super::share::{Images, share, threads};
use super::{
    ChannelAffine, Layer, Parameter, ParameterKind, Pass, Saved, absorb, channel_sums, room,
};
use crate::init::Init;
use crate::matrix::Matrix;

/// Bytes of patches that are made at a time, for as many images as fit: what is multiplied with them, and what
/// comes of it, are in the second-level cache besides.
const PATCH_BYTES: usize = 1 << 18;

/// Parts of a minibatch for which gradients by the filters are summed apart, so that several threads can; as
/// many for any number of threads, because bits depend on it.
const GROUPS: usize = 4;

/// Weights above which products are large enough to be shared by threads themselves.
const MANY_WEIGHTS: usize = 1 << 18;

/// Filters that slide over images. An image is a row of its columns, channel by channel and each row by
/// row, and so is the result. Filters are stored `[filters, channels, height, width]`, as PyTorch does.
#[derive(Debug, Clone)]
pub struct Conv2d<T = f32> {
    image: ImageDims,
    filters: usize,
    patches: Patches,
    /// The filters, then the bias where there is one.
    parameters: Vec<Parameter<T>>,
    /// By thread: patches of a few images, or the gradients by them.
    rooms: Vec<Vec<T>>,
    /// Parts of the gradient by the filters.
    sums: Vec<T>,
    stored: Stored<T>,
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
        let (rooms, sums, stored) = Default::default();
        Ok(Self { image, filters, patches, parameters, rooms, sums, stored })
    }

    /// Applies `f` to the outputs as they are stored, as an activation layer behind this one would in a
    /// pass of its own.
    ///
    /// # Errors
    /// If the gradient of `f` needs its input, which is not kept: GELU and SiLU.
    pub fn activation(mut self, f: Activation) -> crate::Result<Self> {
        self.stored.apply(f)?;
        Ok(self)
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

    /// The forward pass.
    fn run(
        &self,
        x: &Matrix<T>,
        y: &mut Matrix<T>,
        rooms: &mut Vec<Vec<T>>,
        pass: Pass,
    ) -> Result<()> {
        let ([width, patches, outputs], count) = (self.sizes(), x.rows());
        if x.data().is_empty() || y.data().is_empty() {
            return Ok(());
        }
        let (threads, exec) = threads(pass.exec, count, count * patches);
        let images = Images {
            group: self.images().min(count.div_ceil(threads)),
            x: x.data(),
            dy: &[],
            out: y.data_mut(),
            sums: &mut [],
            sizes: [width, 0, outputs, 0],
        };
        let pass = Pass { exec, ..pass };
        share(images, some(rooms, threads), &|images, room| self.convolve(images, room, pass))
    }

    /// The forward pass of a few images.
    fn convolve(
        &self,
        Images { x, out: y, .. }: Images<'_, T>,
        space: &mut Vec<T>,
        pass: Pass,
    ) -> Result<()> {
        let [_, patches, outputs] = self.sizes();
        let [weights, positions] = self.patches.shape();
        let count = y.len() / outputs;
        let columns = room(space, count * patches);
        self.many(count)?.gather(x, columns, pass.exec)?;
        let product = Gemm::new(self.weight()?, MatRef::new(columns, weights, positions)?)?;
        let product = product.precision(pass.precision);
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
        let product = product.activation(self.stored.function);
        product.batched(count, [0, patches])?.run(y, outputs, pass.exec)
    }
}

/// As many rooms as there are threads.
fn some<T>(rooms: &mut Vec<Vec<T>>, threads: usize) -> &mut [Vec<T>] {
    if rooms.len() < threads {
        rooms.resize_with(threads, Vec::new);
    }
    &mut rooms[..threads]
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
        let mut rooms = std::mem::take(&mut self.rooms);
        let outcome = self.run(x, y, &mut rooms, pass);
        self.rooms = rooms;
        outcome
    }

    fn infer(&self, x: &Matrix<T>, y: &mut Matrix<T>, exec: Exec) -> Result<()> {
        self.run(x, y, &mut Vec::new(), Pass { exec, ..Pass::default() })
    }

    /// Makes the patches again: keeping those of a whole batch would take several times its memory.
    fn backward(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let mut stored = std::mem::take(&mut self.stored);
        let dz = stored.gradient(saved, pass.exec);
        let outcome = dz.and_then(|dz| self.gradients(Saved { dy: dz, ..saved }, dx, pass));
        self.stored = stored;
        outcome
    }

    fn absorb(&mut self, affine: &ChannelAffine) -> bool {
        self.stored.is_plain() && absorb(&mut self.parameters, affine)
    }

    fn take_activation(&mut self, f: Activation) -> bool {
        self.stored.take(f)
    }

    fn fused(&self) -> Vec<&'static str> {
        let bias = (self.parameters.len() > 1).then_some("bias");
        bias.into_iter().chain(self.stored.name()).collect()
    }

    fn flops(&self, rows: usize, _: usize) -> u64 {
        let [weights, positions] = self.patches.shape();
        2 * (rows * weights * positions * self.filters) as u64
    }

    fn parameters(&self) -> &[Parameter<T>] {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut [Parameter<T>] {
        &mut self.parameters
    }
}

impl<T: Float> Conv2d<T> {
    /// All gradients, of one by the sums that are stored.
    fn gradients(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        pass: Pass,
    ) -> Result<()> {
        let (mut rooms, mut sums) =
            (std::mem::take(&mut self.rooms), std::mem::take(&mut self.sums));
        let outcome = self.products(saved, dx, (&mut rooms, &mut sums), pass);
        (self.rooms, self.sums) = (rooms, sums);
        outcome?;
        if let [_, bias] = &mut self.parameters[..] {
            let dims = [saved.dy.rows(), self.filters, self.patches.shape()[1]];
            let (dy, sums) = (saved.dy.data(), &mut bias.gradient);
            channel_sums(dy, dims, sums, &mut some(&mut self.rooms, 1)[0], pass.exec)?;
        }
        Ok(())
    }

    /// The gradients by the filters and by the images.
    fn products(
        &mut self,
        saved: Saved<'_, T>,
        dx: Option<&mut Matrix<T>>,
        (rooms, sums): (&mut Vec<Vec<T>>, &mut Vec<T>),
        pass: Pass,
    ) -> Result<()> {
        let ([width, patches, outputs], count) = (self.sizes(), saved.x.rows());
        let weights = self.parameters[0].value.len();
        let groups = if weights > MANY_WEIGHTS { 1 } else { GROUPS.min(count) };
        if groups == 0 || saved.x.data().is_empty() || saved.dy.data().is_empty() {
            self.parameters[0].gradient.fill(T::ZERO);
            return Ok(());
        }
        let group = count.div_ceil(groups);
        let (dx, out) = dx.map_or((&mut [][..], 0), |dx| (dx.data_mut(), width));
        let images = Images {
            group,
            x: saved.x.data(),
            dy: saved.dy.data(),
            out: dx,
            sums: room(sums, count.div_ceil(group) * weights),
            sizes: [width, outputs, out, weights],
        };
        let (threads, exec) = threads(pass.exec, count.div_ceil(group), count * patches);
        let pass = Pass { exec, ..pass };
        let this = &*self;
        share(images, some(rooms, threads), &|images, room| this.group(images, room, pass))?;
        let gradient = &mut self.parameters[0].gradient;
        gradient.copy_from_slice(&sums[..weights]);
        for part in sums[weights..count.div_ceil(group) * weights].chunks(weights) {
            gradient.iter_mut().zip(part).for_each(|(sum, part)| *sum += *part);
        }
        Ok(())
    }

    /// The same of one group: the sum over its images of the gradient by the result times the patches, image
    /// after image.
    fn group(
        &self,
        Images { x, dy, out: dx, sums, .. }: Images<'_, T>,
        space: &mut Vec<T>,
        pass: Pass,
    ) -> Result<()> {
        let [width, patches, outputs] = self.sizes();
        let ([weights, positions], filters) = (self.patches.shape(), self.filters);
        let at_a_time = self.images();
        let (mut beta, mut images) = (T::ZERO, dx.chunks_mut(at_a_time * width));
        for (x, dy) in x.chunks(at_a_time * width).zip(dy.chunks(at_a_time * outputs)) {
            let count = dy.len() / outputs;
            let columns = room(space, count * patches);
            self.many(count)?.gather(x, columns, pass.exec)?;
            for (dy, columns) in dy.chunks(outputs).zip(columns.chunks(patches)) {
                let columns = MatRef::new(columns, weights, positions)?;
                let product = Gemm::new(MatRef::new(dy, filters, positions)?, columns.t())?;
                let product = product.precision(pass.precision);
                let product = product.beta(beta);
                product.run(MatMut::new(&mut *sums, filters, weights)?, pass.exec)?;
                beta = T::ONE;
            }
            let Some(dx) = images.next() else { continue };
            let product = Gemm::new(self.weight()?.t(), MatRef::new(dy, filters, positions)?)?;
            let product = product.precision(pass.precision);
            let product = product.batched(count, [0, outputs])?;
            product.run(MatMut::new(&mut *columns, weights, positions)?, patches, pass.exec)?;
            self.many(count)?.scatter(columns, dx, pass.exec)?;
        }
        Ok(())
    }
}
