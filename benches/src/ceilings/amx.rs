//! The rate of AMX's products of `bf16` tiles. Its intrinsics are not stable, its instructions in
//! `asm!` are.

use tilewise_kernels::Isa;

/// One call of a body that keeps the tile unit busy, from registers only or with every tile loaded
/// from the first-level cache; returns the number of floating-point operations. `None` where `isa` has
/// no tiles.
#[cfg(target_arch = "x86_64")]
pub(super) fn tiles(isa: Isa, from: Source) -> Option<impl FnMut() -> f64> {
    tile::Operands::new(isa).map(|mut operands| move || operands.run(from))
}

/// There are none here.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn tiles(_isa: Isa, _from: Source) -> Option<fn() -> f64> {
    None
}

/// Where the operands of a product come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Tile registers that stay loaded.
    Registers,
    /// Two tiles of A and two of B, loaded from the first-level cache, for every four products.
    FirstLevel,
}

#[cfg(target_arch = "x86_64")]
mod tile {
    use std::arch::asm;

    use tilewise_kernels::Isa;

    use super::Source;
    use crate::data::Random;

    /// 64 bytes that say how large each tile is.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// Bytes of a row of a tile.
    const ROW: usize = 64;
    /// Values of `bf16` in a tile of 16 rows.
    const TILE: usize = 16 * ROW / 2;
    /// Pairs of tiles that one turn goes through: A and B take 32 KiB together.
    const STEPS: usize = 8;
    /// Multiply-adds of one instruction: 16 x 16 x 32, two operations each.
    const FLOPS: usize = 2 * 16 * 16 * 32;
    /// Turns of one call: some 50 microseconds.
    const TURNS: usize = 256;

    #[repr(C, align(64))]
    struct Tiles([u16; 2 * STEPS * TILE]);

    /// Random operands of both kinds of turns, and one tile of the result. Proof that this process may
    /// use tiles.
    pub(super) struct Operands {
        configuration: Box<Configuration>,
        a: Box<Tiles>,
        b: Box<Tiles>,
        c: Box<[f32; 16 * 16]>,
    }

    impl Operands {
        /// `None` for a path without tiles. One with them exists only where the CPU has them and the
        /// system lets this process use them.
        pub(super) fn new(isa: Isa) -> Option<Self> {
            if isa == isa.without_tiles() {
                return None;
            }
            let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
            row_bytes[..8].fill(ROW as u16);
            rows[..8].fill(16);
            let configuration =
                Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows };
            let mut random = Random::new(1);
            // Positive, full mantissas: sums grow and never vanish.
            let mut tiles = || {
                let values = random.uniform::<f32>(2 * STEPS * TILE, 0.5, 1.0);
                let mut tiles = Box::new(Tiles([0; 2 * STEPS * TILE]));
                for (tile, value) in tiles.0.iter_mut().zip(values) {
                    *tile = (value.to_bits() >> 16) as u16;
                }
                tiles
            };
            let (a, b) = (tiles(), tiles());
            let configuration = Box::new(configuration);
            Some(Self { configuration, a, b, c: Box::new([0.0; 16 * 16]) })
        }

        /// Multiplies for a while.
        ///
        /// # Panics
        /// If what comes out is not what was to be multiplied.
        pub(super) fn run(&mut self, from: Source) -> f64 {
            let products = match from {
                Source::Registers => self.registers_only(),
                Source::FirstLevel => self.through_first_level(),
            };
            let steps = if from == Source::Registers { 1 } else { STEPS };
            let expected = self.first_sum(steps) * TURNS as f32;
            let off = (self.c[0] - expected).abs() / expected;
            assert!(off < 1e-3, "AMX: expected {expected} in its first tile, got {}", self.c[0]);
            (products * FLOPS) as f64
        }

        /// Element (0, 0) of the first tile after `steps` steps: B holds pairs of rows side by side.
        fn first_sum(&self, steps: usize) -> f32 {
            let value = |bits: u16| f32::from_bits(u32::from(bits) << 16);
            let product = |step: usize, k: usize| {
                let at = 2 * step * TILE;
                value(self.a.0[at + k]) * value(self.b.0[at + k / 2 * (ROW / 2) + k % 2])
            };
            (0..steps).flat_map(|step| (0..32).map(move |k| product(step, k))).sum()
        }

        /// Six independent sums, more than latency times rate.
        fn registers_only(&mut self) -> usize {
            // SAFETY: there are `Operands` only where tiles may be used. They are configured
            // as 16 rows of 64 bytes at a stride of 64: each load reads 1 KiB of an array that is as
            // long, and the store writes all 1 KiB of `c`. All tiles are named as overwritten and
            // released at the end.
            unsafe {
                asm!(
                    "ldtilecfg [{configuration}]",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2",
                    "tilezero tmm3", "tilezero tmm4", "tilezero tmm5",
                    "tileloadd tmm6, [{a} + {row} * 1]",
                    "tileloadd tmm7, [{b} + {row} * 1]",
                    "2:",
                    "tdpbf16ps tmm0, tmm6, tmm7",
                    "tdpbf16ps tmm1, tmm6, tmm7",
                    "tdpbf16ps tmm2, tmm6, tmm7",
                    "tdpbf16ps tmm3, tmm6, tmm7",
                    "tdpbf16ps tmm4, tmm6, tmm7",
                    "tdpbf16ps tmm5, tmm6, tmm7",
                    "dec {turns}",
                    "jnz 2b",
                    "tilestored [{c} + {row} * 1], tmm0",
                    "tilerelease",
                    configuration = in(reg) &raw const *self.configuration,
                    a = in(reg) self.a.0.as_ptr(),
                    b = in(reg) self.b.0.as_ptr(),
                    c = in(reg) self.c.as_mut_ptr(),
                    row = in(reg) ROW,
                    turns = inout(reg) TURNS => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
            6 * TURNS
        }

        /// A square of two by two sums, as a product of matrices keeps.
        fn through_first_level(&mut self) -> usize {
            // SAFETY: as in `registers_only`; each of `STEPS` steps reads 2 KiB of A and of B, which
            // is all that the arrays hold, and a turn begins at their start again.
            unsafe {
                asm!(
                    "ldtilecfg [{configuration}]",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "3:",
                    "mov {at}, 0",
                    "2:",
                    "lea {a_at}, [{a} + {at}]",
                    "lea {b_at}, [{b} + {at}]",
                    "tileloadd tmm6, [{b_at} + {row} * 1]",
                    "tileloadd tmm4, [{a_at} + {row} * 1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{a_at} + {row} * 1 + 1024]",
                    "tdpbf16ps tmm1, tmm5, tmm6",
                    "tileloadd tmm7, [{b_at} + {row} * 1 + 1024]",
                    "tdpbf16ps tmm2, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {at}, 2048",
                    "cmp {at}, {end}",
                    "jne 2b",
                    "dec {turns}",
                    "jnz 3b",
                    "tilestored [{c} + {row} * 1], tmm0",
                    "tilerelease",
                    configuration = in(reg) &raw const *self.configuration,
                    a = in(reg) self.a.0.as_ptr(),
                    b = in(reg) self.b.0.as_ptr(),
                    c = in(reg) self.c.as_mut_ptr(),
                    row = in(reg) ROW,
                    turns = inout(reg) TURNS => _,
                    a_at = out(reg) _,
                    b_at = out(reg) _,
                    at = out(reg) _,
                    end = const 2048 * STEPS,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
            4 * STEPS * TURNS
        }
    }
}
