//! Tiles of one thread: their configuration, and the kernel that sums products in them.
//!
//! ```text
//!                            b: one step is 16 pairs of k for 2 x 16 columns
//!                            [ tmm6 | tmm7 ]
//!   a: 2 x 16 rows    [tmm4] [ tmm0 | tmm1 ]
//!      of 16 pairs    [tmm5] [ tmm2 | tmm3 ]   32 x 32 sums in f32
//! ```

use std::arch::asm;
use std::marker::PhantomData;

use crate::dispatch::Amx;

/// Rows of a tile, and its columns of 32 bits.
pub(super) const SIDE: usize = 16;
/// Steps of k that one instruction takes: 16 pairs.
pub(super) const STEPS: usize = 2 * SIDE;
/// Pairs of bf16, or sums, in a tile.
pub(super) const PAIRS: usize = SIDE * SIDE;
/// Tiles of sums side by side and one above the other.
pub(super) const ABREAST: usize = 2;
/// Rows and columns of so many tiles.
pub(super) const LANES: usize = ABREAST * SIDE;
/// Sums in them.
pub(super) const SQUARE: usize = LANES * LANES;

/// Bytes per row of a tile: a cache line.
pub(super) const LINE: usize = 4 * SIDE;

/// What LDTILECFG reads: palette 1, and rows and bytes per row of every tile.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// The tiles of this thread, configured. Dropping it, in a panic too, releases them: as long as they
/// are in use, every switch to another thread has to save 8 KiB more.
pub(super) struct Tiles {
    /// Another thread's tiles are not configured.
    of_this_thread: PhantomData<*const ()>,
}

impl Tiles {
    /// Eight tiles of 16 rows of 64 bytes.
    pub(super) fn configure(_proof: Amx) -> Self {
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_per_row: [0; 16],
            rows: [0; 16],
        };
        configuration.bytes_per_row[..8].fill(LINE as u16);
        configuration.rows[..8].fill(SIDE as u8);
        // SAFETY: the proof says that the instruction exists and is permitted; it reads the 64 bytes
        // of the configuration, which is valid for palette 1. Tiles are not saved across calls, and
        // the compiler uses none.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                configuration = in(reg) &raw const configuration,
                options(nostack, preserves_flags, readonly),
            );
        }
        Self { of_this_thread: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: a value exists only where detection found tiles; nothing is read or written.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
    }
}

/// Up to 32 x 32 sums over some steps of k. Distances are in bytes.
pub(super) struct Square {
    /// Packed tiles of A and B: of every step one or two.
    pub(super) a: *const u32,
    pub(super) b: *const u32,
    /// Number of steps.
    pub(super) steps: usize,
    /// Tiles of sums to go on from, two by two, or null to begin with zeros.
    pub(super) sums: *const f32,
    /// Where the sums go; columns of a tile are neighbours.
    pub(super) to: *mut f32,
    /// Distance between rows of a tile there, to the tile on the right and to the one below.
    pub(super) strides: [usize; 3],
}

/// The kernel for some of the four tiles of sums: all of k in one block of assembly, since the
/// compiler knows nothing of what tiles hold.
///
/// A panel of B is used again at once and stays in the first-level cache; A and the sums pass by, and
/// TILELOADDT1 keeps them from pushing it out, which makes a third of the speed.
macro_rules! kernel {
    (
        $square:expr, sums $($sum:literal at $at:literal),+;
        steps $($step:literal),+;
        advance $a_step:literal $b_step:literal;
        left $($left:literal),+; right $($right:literal),*
    ) => {
        asm!(
            "test {sums}, {sums}",
            "jz 2f",
            $(concat!("tileloaddt1 tmm", $sum, ", [{sums} + {line}*1 + ", $at, "]"),)+
            "jmp 3f",
            "2:",
            $(concat!("tilezero tmm", $sum),)+
            "3:",
            "test {steps}, {steps}",
            "jz 5f",
            "4:",
            $($step,)+
            concat!("add {a}, ", $a_step),
            concat!("add {b}, ", $b_step),
            "dec {steps}",
            "jnz 4b",
            "5:",
            $($left,)+
            "add {to}, {beside}",
            "add {below}, {beside}",
            $($right,)*
            a = inout(reg) $square.a => _,
            b = inout(reg) $square.b => _,
            steps = inout(reg) $square.steps => _,
            line = in(reg) LINE,
            sums = in(reg) $square.sums,
            to = inout(reg) $square.to => _,
            below = inout(reg) $square.to.wrapping_byte_add($square.strides[2]) => _,
            stride = in(reg) $square.strides[0],
            beside = in(reg) $square.strides[1],
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Tiles {
    /// Sums `square` over `down` times `across` tiles, 1 or 2 each.
    ///
    /// # Safety
    /// Its addresses must be readable, and writable where the sums go, over so many whole tiles and
    /// all steps.
    pub(super) unsafe fn sum(&self, square: &Square, [down, across]: [usize; 2]) {
        // SAFETY: a value of this type says that tiles exist and are configured on this thread; the
        // caller vouches for the addresses.
        unsafe {
            match (down, across) {
                (1, 1) => kernel!(square, sums 0 at 0;
                    steps "tileloaddt1 tmm4, [{a} + {line}*1]", "tileloadd tmm6, [{b} + {line}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6";
                    advance 1024 1024;
                    left "tilestored [{to} + {stride}*1], tmm0"; right),
                (1, _) => kernel!(square, sums 0 at 0, 1 at 1024;
                    steps "tileloaddt1 tmm4, [{a} + {line}*1]", "tileloadd tmm6, [{b} + {line}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm7, [{b} + {line}*1 + 1024]", "tdpbf16ps tmm1, tmm4, tmm7";
                    advance 1024 2048;
                    left "tilestored [{to} + {stride}*1], tmm0";
                    right "tilestored [{to} + {stride}*1], tmm1"),
                (_, 1) => kernel!(square, sums 0 at 0, 2 at 2048;
                    steps "tileloaddt1 tmm4, [{a} + {line}*1]", "tileloadd tmm6, [{b} + {line}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloaddt1 tmm5, [{a} + {line}*1 + 1024]", "tdpbf16ps tmm2, tmm5, tmm6";
                    advance 2048 1024;
                    left "tilestored [{to} + {stride}*1], tmm0",
                        "tilestored [{below} + {stride}*1], tmm2"; right),
                (_, _) => kernel!(square, sums 0 at 0, 1 at 1024, 2 at 2048, 3 at 3072;
                    steps "tileloaddt1 tmm4, [{a} + {line}*1]", "tileloadd tmm6, [{b} + {line}*1]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm7, [{b} + {line}*1 + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
                        "tileloaddt1 tmm5, [{a} + {line}*1 + 1024]", "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm3, tmm5, tmm7";
                    advance 2048 2048;
                    left "tilestored [{to} + {stride}*1], tmm0",
                        "tilestored [{below} + {stride}*1], tmm2";
                    right "tilestored [{to} + {stride}*1], tmm1",
                        "tilestored [{below} + {stride}*1], tmm3"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::arch::x86_64::{__cpuid_count, _xgetbv};
    use std::panic::catch_unwind;

    use super::*;
    use crate::dispatch::{Isa, available_for_halves};

    /// Whether the configuration of tiles on this thread is other than released; `None` where the
    /// CPU does not tell.
    fn in_use() -> Option<bool> {
        #[target_feature(enable = "xsave")]
        fn states_in_use() -> u64 {
            // SAFETY: register 1 exists, as the caller has seen.
            unsafe { _xgetbv(1) }
        }
        let tells = __cpuid_count(13, 1).eax >> 2 & 1 == 1;
        // SAFETY: a CPU with tiles has XGETBV.
        tells.then(|| unsafe { states_in_use() } >> 17 & 1 == 1)
    }

    #[test]
    fn tiles_are_released_after_use_and_after_a_panic() {
        for isa in available_for_halves().unwrap() {
            let &Isa::Amx(amx) = isa else { continue };
            let tiles = Tiles::configure(amx);
            assert_ne!(in_use(), Some(false));
            drop(tiles);
            assert_ne!(in_use(), Some(true));
            let outcome = catch_unwind(|| {
                let _tiles = Tiles::configure(amx);
                panic!("while tiles are in use");
            });
            assert!(outcome.is_err());
            assert_ne!(in_use(), Some(true));
        }
    }
}
