//! Dropout.

use crate::simd::Float;

/// `y` is 0 where the draw at the value's position is below `rate`, of 2^32 levels, and `x / (1 - rate)`
/// elsewhere. The first value is at position `first` of stream `stream` of `seed`. The backward pass is the
/// same of gradients.
///
/// # Panics
/// If the lengths differ or `rate` is not in [0, 1].
pub fn dropout<T: Float>(rate: f64, [seed, stream, first]: [u64; 3], x: &[T], y: &mut [T]) {
    assert_eq!(x.len(), y.len());
    assert!((0.0..=1.0).contains(&rate));
    const LEVELS: f64 = 4_294_967_296.0;
    let most = if rate == 1.0 { LEVELS } else { LEVELS - 1.0 };
    let limit = (rate * LEVELS).round().min(most);
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        let dropped = f64::from(draw(seed, stream, first.wrapping_add(i as u64))) < limit;
        *y = T::from_f64(if dropped { 0.0 } else { x.to_f64() * (LEVELS / (LEVELS - limit)) });
    }
}

/// A random number as a function of seed, stream and position: a hash of the position's lower half, into
/// which the two halves of a key go.
fn draw(seed: u64, stream: u64, position: u64) -> u32 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let key = mix(mix(seed.wrapping_add(GOLDEN)) ^ stream.wrapping_mul(GOLDEN));
    let key = mix(key.wrapping_add((position >> 32).wrapping_mul(GOLDEN)));
    let mut x = (position as u32).wrapping_mul(0x9E37_79B1).wrapping_add(key as u32);
    x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B);
    x ^= (key >> 32) as u32;
    x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
