//! Conversion to halves and back.

use arbitrary::{Arbitrary, Unstructured};
use tilewise_kernels::{Convert, ConvertTo, Exec, Isa, bf16, f16, naive};

use crate::data::{Rng, Values, size};
use crate::laws::{one_result, unexpected};

/// One call of each conversion.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Number of elements.
    #[arbitrary(with = |u: &mut Unstructured<'_>| size(u, 150))]
    pub len: usize,
    /// The kind of values; without one, random bits.
    pub values: Option<Values>,
    /// A factor of the values: the second makes most `f16` subnormal, the third most too large, the last
    /// most `bf16` subnormal.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.choose(&[1.0, 1e-5, 7e4, 1e-38]).copied())]
    pub scale: f64,
    /// Elements by which the second alignment differs.
    #[arbitrary(with = |u: &mut Unstructured<'_>| u.int_in_range(0..=33))]
    pub shift: usize,
    /// Of the values.
    pub seed: u64,
}

/// An element type and its bits as a number, which tells every NaN and both zeros apart.
trait Bits: naive::Number + Default + PartialEq + std::fmt::Debug {
    /// Marks memory that nobody may write.
    const CANARY: Self;
    /// The bit that makes a NaN quiet.
    const QUIET: u64;

    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! impl_bits {
    ($t:ident, $bits:ident, $canary:expr, $quiet:expr) => {
        impl Bits for $t {
            const CANARY: Self = $t::from_bits($canary);
            const QUIET: u64 = $quiet;

            fn of(bits: u64) -> Self {
                $t::from_bits(bits as $bits)
            }
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
        }
    };
}

impl_bits!(f32, u32, 0x7FC0_BEEF, 0x0040_0000);
impl_bits!(bf16, u16, 0x7FCB, 0x0040);
impl_bits!(f16, u16, 0x7EEF, 0x0200);

/// Checks all four conversions.
///
/// # Errors
/// What differs, and where.
pub fn check(isa: Isa, case: &Case) -> Result<(), String> {
    let mut rng = Rng::new(case.seed, 0);
    let singles: Vec<f32> = match case.values {
        None => (0..case.len).map(|_| f32::from_bits(rng.bits() as u32)).collect(),
        Some(kind) => {
            let values: Vec<f64> = kind.fill(case.len, &mut rng);
            values.iter().map(|x| (x * case.scale) as f32).collect()
        }
    };
    let halves: Vec<u64> = (0..case.len).map(|_| rng.bits() & 0xFFFF).collect();
    let brains: Vec<bf16> = halves.iter().map(|&bits| bf16::of(bits)).collect();
    let small: Vec<f16> = halves.iter().map(|&bits| f16::of(bits)).collect();
    converts::<f32, bf16>(isa, &singles, case.shift)?;
    converts::<f32, f16>(isa, &singles, case.shift)?;
    converts::<bf16, f32>(isa, &brains, case.shift)?;
    converts::<f16, f32>(isa, &small, case.shift)
}

fn converts<A, B>(isa: Isa, x: &[A], shift: usize) -> Result<(), String>
where
    A: Bits + ConvertTo<B>,
    B: Bits,
{
    // Bits as numbers, which `f64` holds exactly: equal ones are the same bits.
    let got = one_result(isa, shift, |exec, shift| {
        let y = converted::<A, B>(x, exec, shift)?;
        Ok(y.iter().map(|y| y.bits() as f64).collect())
    })?;
    let mut want = vec![B::default(); x.len()];
    naive::convert(x, &mut want);
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        let got = B::of(got as u64);
        let right =
            if want.to_f64().is_nan() { is_quiet(x[i], got) } else { got.bits() == want.bits() };
        if !right {
            return Err(format!("y[{i}] of {:?}: got {got:?}, want {want:?}", x[i]));
        }
    }
    Ok(())
}

/// Whether `y` is a quiet NaN with the sign of `x`.
fn is_quiet<A: Bits, B: Bits>(x: A, y: B) -> bool {
    let negative = |value: f64| value.is_sign_negative();
    let sign = negative(x.to_f64()) == negative(y.to_f64());
    sign && y.to_f64().is_nan() && y.bits() & B::QUIET != 0
}

/// The output, `shift` elements into a buffer full of canaries.
fn converted<A, B>(x: &[A], exec: Exec, shift: usize) -> Result<Vec<B>, String>
where
    A: Bits + ConvertTo<B>,
    B: Bits,
{
    const MARGIN: usize = 40;
    let input: Vec<A> = vec![A::CANARY; shift].into_iter().chain(x.iter().copied()).collect();
    let mut buffer = vec![B::CANARY; MARGIN + shift / 2 + x.len() + MARGIN];
    let start = MARGIN + shift / 2;
    let y = &mut buffer[start..][..x.len()];
    Convert::new(&input[shift..], y).and_then(|op| op.run(exec)).map_err(unexpected)?;
    let y = y.to_vec();
    let outside = |i: usize| i < start || i >= start + x.len();
    let hit = |i: &usize| outside(*i) && buffer[*i].bits() != B::CANARY.bits();
    match (0..buffer.len()).find(hit) {
        Some(i) => Err(format!(
            "y: wrote outside, at {} from its first element",
            i as isize - start as isize
        )),
        None => Ok(y),
    }
}
