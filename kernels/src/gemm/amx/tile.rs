//! Tiles of one thread: their configuration, and the kernel that sums products in them.
//!
//! ```text
//!                    b: one step is 16 pairs of k for up to 4 x 16 columns
//!                    [ tmm5 | tmm6 | tmm7 | tmm5 ]
//!   a: 16 rows x     ----------------------------
//!   16 pairs [tmm4]  [ tmm0 | tmm1 | tmm2 | tmm3 ]   16 x 64 sums in f32
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
/// Tiles of sums side by side.
pub(super) const ABREAST: usize = 4;
/// Columns of so many tiles.
pub(super) const COLS: usize = ABREAST * SIDE;
/// Sums in them.
pub(super) const STRIP: usize = SIDE * COLS;

/// Bytes per row of a tile: a cache line.
const LINE: usize = 4 * SIDE;

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

/// Up to 16 x 64 sums over some steps of k. Distances are in bytes.
pub(super) struct Strip {
    /// The first tile of A: 16 rows of 16 pairs.
    pub(super) a: *const u32,
    /// Distance between its rows, and from tile to tile.
    pub(super) a_strides: [usize; 2],
    /// The first of the packed tiles of B: 16 pairs of rows of 16 columns, those side by side one
    /// after the other.
    pub(super) b: *const u32,
    /// Number of tiles of A.
    pub(super) steps: usize,
    /// Sums to go on from, or null to begin with zeros.
    pub(super) sums: *const f32,
    /// Distance between rows of those.
    pub(super) sums_stride: usize,
    /// Where the sums go; neighbouring columns are neighbours.
    pub(super) to: *mut f32,
    /// Distance between rows there.
    pub(super) to_stride: usize,
}

/// The kernel for tiles of sums $i, with tiles of B in $t: all of k in one block of assembly, since
/// the compiler knows nothing of what tiles hold.
macro_rules! kernel {
    ($strip:expr, step $step:literal, $($i:literal at $column:literal, B $t:literal at $tile:literal);+) => {
        asm!(
            "test {sums}, {sums}",
            "jz 2f",
            $(concat!("tileloadd tmm", $i, ", [{sums} + {sums_stride}*1 + ", $column, "]"),)+
            "jmp 3f",
            "2:",
            $(concat!("tilezero tmm", $i),)+
            "3:",
            "test {steps}, {steps}",
            "jz 5f",
            "4:",
            "tileloadd tmm4, [{a} + {a_stride}*1]",
            $(concat!("tileloadd tmm", $t, ", [{b} + {line}*1 + ", $tile, "]"),
            concat!("tdpbf16ps tmm", $i, ", tmm4, tmm", $t),)+
            "add {a}, {a_step}",
            concat!("add {b}, ", $step),
            "dec {steps}",
            "jnz 4b",
            "5:",
            $(concat!("tilestored [{to} + {to_stride}*1 + ", $column, "], tmm", $i),)+
            a = inout(reg) $strip.a => _,
            a_stride = in(reg) $strip.a_strides[0],
            a_step = in(reg) $strip.a_strides[1],
            b = inout(reg) $strip.b => _,
            line = in(reg) LINE,
            steps = inout(reg) $strip.steps => _,
            sums = in(reg) $strip.sums,
            sums_stride = in(reg) $strip.sums_stride,
            to = in(reg) $strip.to,
            to_stride = in(reg) $strip.to_stride,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Tiles {
    /// Sums `strip` over `abreast` tiles, 1 to 4.
    ///
    /// # Safety
    /// Its addresses must be readable, and writable where the sums go, over whole tiles: 16 rows,
    /// `abreast` times 16 columns, all steps.
    pub(super) unsafe fn sum(&self, strip: &Strip, abreast: usize) {
        // SAFETY: a value of this type says that tiles exist and are configured on this thread; the
        // caller vouches for the addresses.
        unsafe {
            match abreast {
                1 => kernel!(strip, step 1024, 0 at 0, B 5 at 0),
                2 => kernel!(strip, step 2048, 0 at 0, B 5 at 0; 1 at 64, B 6 at 1024),
                3 => kernel!(strip, step 3072, 0 at 0, B 5 at 0; 1 at 64, B 6 at 1024;
                    2 at 128, B 7 at 2048),
                _ => kernel!(strip, step 4096, 0 at 0, B 5 at 0; 1 at 64, B 6 at 1024;
                    2 at 128, B 7 at 2048; 3 at 192, B 5 at 3072),
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
