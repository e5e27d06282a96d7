//! Random numbers by position: integers that vectors of any width compute alike.

/// 2^32 divided by the golden ratio, odd: what positions are apart before they are mixed. Without it, draws
/// some rows of 1024 apart would depend on each other.
const APART: u32 = 0x9E37_79B1;

/// The multipliers of MurmurHash3's finaliser for 32 bits (Appleby, in the public domain).
pub(super) const MULTIPLIERS: [u32; 2] = [0x85EB_CA6B, 0xC2B2_AE35];

/// How far lanes are apart from the first.
#[cfg(target_arch = "x86_64")]
pub(super) static STEPS: [u32; super::MOST_LANES] = {
    let mut steps = [0; super::MOST_LANES];
    let mut lane = 1;
    while lane < steps.len() {
        steps[lane] = APART.wrapping_mul(lane as u32);
        lane += 1;
    }
    steps
};

/// A stream of random numbers of 32 bits, 2^32 of them: draw `n` depends on the key and `n` alone, so that
/// any part of the stream can be had again, by any number of threads. A stream holds each number once.
///
/// The key goes in at two places of a hash with two multiplications: as an offset of the position and
/// between them. `kernels/tests/dropout.rs` shows that neighbours, rows, streams and seeds are independent,
/// as far as masks are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    offset: u32,
    pub(super) middle: u32,
}

impl Draws {
    /// The stream of a key, all bits of which should look random.
    pub(crate) fn new(key: u64) -> Self {
        Self { offset: key as u32, middle: (key >> 32) as u32 }
    }

    /// What is mixed for the draw at `position`.
    #[inline(always)]
    pub(super) fn start(self, position: u32) -> u32 {
        position.wrapping_mul(APART).wrapping_add(self.offset)
    }

    /// The draw at `position`.
    #[inline(always)]
    pub(super) fn at(self, position: u32) -> u32 {
        let x = self.start(position);
        let x = (x ^ (x >> 16)).wrapping_mul(MULTIPLIERS[0]) ^ self.middle;
        let x = (x ^ (x >> 13)).wrapping_mul(MULTIPLIERS[1]);
        x ^ (x >> 16)
    }
}
