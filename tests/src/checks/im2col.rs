//! Patches of images, and their sums.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Exec, ImageDims, Isa, Patches, Window, naive};

use crate::compare::same_bits;
use crate::data::{Rng, Values};
use crate::field::Field;
use crate::laws::{one_result, unexpected};
use crate::real::{Real, widen};
use crate::tracked::Tracked;

/// An image and a window that fits it.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// The image.
    pub dims: ImageDims,
    /// The window.
    pub window: Window,
}

impl<'a> Arbitrary<'a> for Frame {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Self::draw(u, 3)
    }
}

impl Frame {
    /// One whose window's elements are at most `apart` from each other.
    ///
    /// # Errors
    /// None in practice: exhausted bytes give the smallest.
    pub fn draw(u: &mut Unstructured<'_>, apart: usize) -> arbitrary::Result<Self> {
        let mut window = Window::new(1, 1);
        let mut sizes = [0; 2];
        for (axis, size) in sizes.iter_mut().enumerate() {
            window.kernel[axis] = u.int_in_range(1..=4)?;
            window.stride[axis] = u.int_in_range(1..=3)?;
            window.dilation[axis] = u.int_in_range(1..=apart)?;
            window.padding[axis] = u.int_in_range(0..=window.kernel[axis] - 1)?;
            let extent = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
            let least = extent.saturating_sub(2 * window.padding[axis]);
            *size = least + u.int_in_range(0..=12)?;
        }
        let [height, width] = sizes;
        let channels = u.int_in_range(0..=4)?;
        Ok(Self { dims: ImageDims { channels, height, width }, window })
    }

    /// Elements of the image.
    pub fn len(&self) -> usize {
        self.dims.channels * self.dims.height * self.dims.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One image.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Its shape.
    pub frame: Frame,
    /// The kind of its values.
    pub values: Values,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=17))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

/// Checks `f32` and `f64`.
///
/// # Errors
/// What differs, where and by how much.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    check_as::<f32>(isa, case)?;
    check_as::<f64>(isa, case)
}

fn check_as<T: Real>(isa: Isa, case: &Case) -> Result<(), String> {
    let Frame { dims, window } = case.frame;
    let patches = Patches::new(dims, window).map_err(unexpected)?;
    let [weights, positions] = patches.shape();
    let image: Vec<T> = case.values.fill(case.frame.len(), &mut Rng::new(case.seed, 0));
    let got = one_result(isa, case.shift, |exec, shift| {
        gather(&patches, &image, weights * positions, (exec, shift))
    })?;
    let mut want = vec![T::ZERO; weights * positions];
    naive::im2col(&image, dims, window, &mut want);
    same_bits("columns", &got, &want)?;

    let columns: Vec<T> = case.values.fill(weights * positions, &mut Rng::new(case.seed, 1));
    let got = one_result(isa, case.shift, |exec, shift| {
        scatter(&patches, &columns, image.len(), (exec, shift))
    })?;
    let mut want = vec![0.0; image.len()];
    naive::col2im(&widen(&columns), dims, window, &mut want);
    // The terms of every sum, by the patches of an image of indices.
    let numbers: Vec<f64> = (1..=image.len()).map(|i| i as f64).collect();
    let mut owners = vec![0.0; weights * positions];
    naive::im2col(&numbers, dims, window, &mut owners);
    let mut terms = vec![Vec::new(); image.len() + 1];
    for (owner, &term) in owners.iter().zip(&columns) {
        terms[*owner as usize].push(Tracked::exact(term));
    }
    for (i, terms) in terms.into_iter().skip(1).enumerate() {
        Tracked::sum(terms).expect("image", i, got[i], want[i])?;
    }
    Ok(())
}

fn gather<T: Real>(
    patches: &Patches,
    image: &[T],
    len: usize,
    (exec, shift): (Exec, usize),
) -> Result<Vec<T>, String> {
    let image = Field::vector(shift, image);
    let mut columns = Field::output_vector(shift / 2, len);
    patches.gather(image.slice(), columns.slice_mut(), exec).map_err(unexpected)?;
    columns.intact("columns").map(|()| columns.values())
}

fn scatter<T: Real>(
    patches: &Patches,
    columns: &[T],
    len: usize,
    (exec, shift): (Exec, usize),
) -> Result<Vec<T>, String> {
    let columns = Field::vector(shift, columns);
    let mut image = Field::output_vector(shift / 2, len);
    patches.scatter(columns.slice(), image.slice_mut(), exec).map_err(unexpected)?;
    image.intact("image").map(|()| image.values())
}
