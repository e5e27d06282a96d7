//! Conversions to halves and back, against the specification and against the `half` crate: all 2^16
//! halves, all `f32` near which rounding turns, and on request all of them:
//! `cargo test --release -p tilewise-kernels --test convert -- --ignored --nocapture`

use tilewise_kernels::*;

/// A half by its bits.
trait Bits: naive::Number + ConvertTo<f32> {
    fn of(bits: u16) -> Self;
    fn bits(self) -> u16;
    fn crates(x: f32) -> Self;
    const NAME: &str;
    const INFINITY: u16;
}

macro_rules! impl_bits {
    ($half:ident) => {
        impl Bits for $half {
            const NAME: &str = stringify!($half);
            const INFINITY: u16 = $half::INFINITY.to_bits();

            fn of(bits: u16) -> Self {
                Self::from_bits(bits)
            }
            fn bits(self) -> u16 {
                self.to_bits()
            }
            fn crates(x: f32) -> Self {
                Self::from_f32(x)
            }
        }
    };
}

impl_bits!(bf16);
impl_bits!(f16);

fn every_half<H: Bits>() -> Vec<H> {
    (0..=u16::MAX).map(H::of).collect()
}

fn widened<H: Bits>(x: &[H], isa: Isa) -> Vec<f32> {
    let mut y = vec![9.0; x.len()];
    Convert::new(x, &mut y).unwrap().run(Exec::serial().isa(isa)).unwrap();
    y
}

fn widening_is_exact<H: Bits>() {
    let halves = every_half::<H>();
    let mut want = vec![0.0_f32; halves.len()];
    naive::convert(&halves, &mut want);
    let first = widened(&halves, available().unwrap()[0]);
    for &isa in available().unwrap() {
        for ((half, got), (want, first)) in
            halves.iter().zip(widened(&halves, isa)).zip(want.iter().zip(&first))
        {
            let at = format!("{} {:#06x} on {isa}", H::NAME, half.bits());
            assert_eq!(got.to_bits(), first.to_bits(), "{at}: another path");
            assert_eq!(got.is_nan(), half.to_f64().is_nan(), "{at}");
            if got.is_nan() {
                assert!(got.to_bits() & 1 << 22 != 0, "{at}: a signalling NaN");
            } else {
                assert_eq!(got.to_bits(), want.to_bits(), "{at}");
            }
        }
    }
}

#[test]
fn every_half_widens_exactly() {
    widening_is_exact::<bf16>();
    widening_is_exact::<f16>();
}

/// Checks `x` on every path.
fn narrows_right<H: Bits>(x: &[f32])
where
    f32: ConvertTo<H>,
{
    let (mut want, mut got) = (vec![H::of(0); x.len()], vec![H::of(0); x.len()]);
    naive::convert(x, &mut want);
    for (x, want) in x.iter().zip(&mut want) {
        let crates = H::crates(*x);
        if x.is_nan() {
            // The specification has any NaN here; the crate says which.
            *want = crates;
        }
        assert!(want.bits() == crates.bits(), "{} of {:#010x}", H::NAME, x.to_bits());
    }
    for &isa in available().unwrap() {
        Convert::new(x, &mut got).unwrap().run(Exec::serial().isa(isa)).unwrap();
        let different = got.iter().zip(&want).position(|(got, want)| got.bits() != want.bits());
        if let Some(i) = different {
            let [got, want] = [got[i], want[i]].map(H::bits);
            let input = x[i].to_bits();
            panic!("{} of {input:#010x} on {isa}: {got:#06x}, not {want:#06x}", H::NAME);
        }
    }
}

/// Every half, every midpoint of two neighbours, where rounding turns, and the `f32` beside them.
fn turning_points<H: Bits>() -> Vec<f32> {
    let mut points = Vec::new();
    for bits in 0..H::INFINITY {
        let [low, high] = [bits, bits + 1].map(|bits| H::of(bits).to_f64());
        // Above the largest half, rounding turns where the next one would be half way.
        let step = if high.is_finite() { high - low } else { low - H::of(bits - 1).to_f64() };
        for middle in [low as f32, (low + step / 2.0) as f32] {
            let near = [middle.next_down(), middle, middle.next_up()];
            points.extend(near.iter().flat_map(|&x| [x, -x]));
        }
    }
    points.extend([f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-45, 0.0, -0.0]);
    // Quiet and signalling, of both signs, with payloads high, low and none.
    let payloads = [0x0040_0000, 0x0000_0001, 0x0020_0000, 0x0000_2000, 0x0055_5555, 0x007F_FFFF];
    points.extend(payloads.iter().flat_map(|payload| {
        [0x7F80_0000, 0xFF80_0000_u32].map(|infinity| f32::from_bits(infinity | payload))
    }));
    points
}

#[test]
fn rounding_turns_where_it_should() {
    narrows_right::<bf16>(&turning_points::<bf16>());
    narrows_right::<f16>(&turning_points::<f16>());
}

#[test]
fn lengths_must_agree() {
    let mut y = [bf16::ONE; 2];
    let error = convert(&[1.0_f32, 2.0, 3.0], &mut y).unwrap_err();
    assert_eq!(error.to_string(), "convert output: expected 3 elements, got 2 elements");
    assert_eq!(y, [bf16::ONE; 2]);
}

#[test]
#[ignore = "minutes: all 2^32 inputs of two conversions on every path"]
fn every_single_narrows_right() {
    const CHUNK: u64 = 1 << 16;
    let part = |first: u64| {
        for start in (first..first + (1 << 31)).step_by(CHUNK as usize) {
            let x: Vec<f32> = (start..start + CHUNK).map(|i| f32::from_bits(i as u32)).collect();
            narrows_right::<bf16>(&x);
            narrows_right::<f16>(&x);
        }
    };
    std::thread::scope(|scope| {
        let halves = [0, 1 << 31].map(|first| scope.spawn(move || part(first)));
        halves.into_iter().for_each(|half| half.join().expect("all of them are right"));
    });
    println!("2^32 inputs, 2 types, {} paths: no difference", available().unwrap().len());
}
