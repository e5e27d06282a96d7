//! The kernels that sum products of parts: 32 x 32 sums, two tiles of every part of A and of B at each
//! step, in an order in which each product shares an operand with the one before it.
//!
//! Tiles leave the vectors idle, and vectors between their instructions cost them nothing: so the sums of
//! the square before are added to those of earlier blocks meanwhile, and what comes next is fetched.

use std::arch::asm;

use super::guard::AddSquare;
use super::operand::Scheme;
use super::tile::{LINE, Tiles};

/// Loads the two tiles of a part of A, of B or of both from these bytes on, and multiplies them with what
/// is there of the other. The first parts are needed once more and may stay in the first level, the others pass by.
macro_rules! load {
    (a $hint:literal $at:literal, $next:literal) => {
        concat!(
            "tileload",
            $hint,
            " tmm4, [{a} + {line}*1 + ",
            $at,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tileload",
            $hint,
            " tmm5, [{a} + {line}*1 + ",
            $next,
            "]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
    (b $hint:literal $at:literal, $next:literal) => {
        concat!(
            "tileload",
            $hint,
            " tmm6, [{b} + {line}*1 + ",
            $at,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tileload",
            $hint,
            " tmm7, [{b} + {line}*1 + ",
            $next,
            "]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
    (both $a_hint:literal $a:literal, $a_next:literal; $b_hint:literal $b:literal, $b_next:literal) => {
        concat!(
            "tileload",
            $a_hint,
            " tmm4, [{a} + {line}*1 + ",
            $a,
            "]\n",
            "tileload",
            $b_hint,
            " tmm6, [{b} + {line}*1 + ",
            $b,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileload",
            $b_hint,
            " tmm7, [{b} + {line}*1 + ",
            $b_next,
            "]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tileload",
            $a_hint,
            " tmm5, [{a} + {line}*1 + ",
            $a_next,
            "]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
}

/// Adds a line of sums that starts after so many bytes, and fetches a line of what comes next.
macro_rules! beside {
    ($at:literal) => {
        concat!(
            "vmovups zmm16, [{more} + ",
            $at,
            "]\n",
            "prefetcht1 [{ahead} + ",
            $at,
            "]\n",
            "vaddps zmm16, zmm16, [{sums} + ",
            $at,
            "]\n",
            "vmovups [{sums} + ",
            $at,
            "], zmm16\n",
        )
    };
}

/// After four lines: on to the next ones, of the idle square where those of the sums are done.
macro_rules! advance {
    () => {
        concat!(
            "prefetcht1 [{after}]\n",
            "prefetcht1 [{after} + 64]\n",
            "add {more}, 256\nadd {sums}, 256\nadd {ahead}, 256\nadd {after}, 128\n",
            "dec {left}\ncmovz {more}, {idle}\ncmovz {sums}, {idle}\n",
        )
    };
}

macro_rules! kernel {
    ($work:expr, $meanwhile:expr, $($line:expr),+) => {{
        let Meanwhile { add, idle, ahead: [ahead, after] } = $meanwhile;
        let AddSquare { mut more, to: mut sums, mut left } = add;
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "mov {steps}, {count}",
            "test {steps}, {steps}",
            "jz 4f",
            $($line,)+
            "4:",
            "tilestored [{to} + {line}*1], tmm0",
            "tilestored [{to} + {line}*1 + 1024], tmm1",
            "tilestored [{to} + {line}*1 + 2048], tmm2",
            "tilestored [{to} + {line}*1 + 3072], tmm3",
            a = inout(reg) $work.a => _,
            b = inout(reg) $work.b => _,
            count = in(reg) $work.steps,
            steps = out(reg) _,
            line = in(reg) LINE,
            to = in(reg) $work.to,
            more = inout(reg) more,
            sums = inout(reg) sums,
            left = inout(reg) left,
            idle = in(reg) idle,
            ahead = inout(reg) ahead => _,
            after = inout(reg) after => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, out("zmm16") _,
            options(nostack),
        );
        AddSquare { more, to: sums, left }
    }};
}

/// All steps from the first to the last of parts that take so many bytes.
macro_rules! up {
    ($bytes:literal, $($line:expr),+) => {
        concat!(
            "2:\n", $($line,)+
            "add {a}, ", $bytes, "\nadd {b}, ", $bytes, "\ndec {steps}\njnz 2b"
        )
    };
}

/// And back: what was read last may still be near.
macro_rules! down {
    ($bytes:literal, $($line:expr),+) => {
        concat!(
            "mov {steps}, {count}\n3:\n",
            "sub {a}, ", $bytes, "\nsub {b}, ", $bytes, "\n", $($line,)+
            "dec {steps}\njnz 3b"
        )
    };
}

/// Panels of parts, and where their products go.
pub(super) struct Parts {
    /// Packed tiles of A and B.
    pub(super) a: *const u32,
    pub(super) b: *const u32,
    /// Number of steps.
    pub(super) steps: usize,
    /// Where the four tiles of sums go, one after the other.
    pub(super) to: *mut f32,
}

/// What happens beside the products: four lines of sums are added twice for each step, and eight and four
/// that come next are fetched into the second level, whether they exist or not.
pub(super) struct Meanwhile {
    pub(super) add: AddSquare,
    /// Zeros, which are added to themselves when nothing is left: four lines for two of each step.
    pub(super) idle: *mut f32,
    pub(super) ahead: [*const u32; 2],
}

impl Tiles {
    /// Sums four whole tiles of products of parts, beginning with zeros, and tells what is left to be added of
    /// the square before. Of six products the five
    /// small ones are summed over all steps before the first of the large ones comes. Of a transposed
    /// product, which is `turned`, those come first that come first of the product.
    ///
    /// # Safety
    /// Addresses must be readable, and writable where sums go, over all steps of all parts.
    pub(super) unsafe fn sum_parts(
        &self,
        (scheme, turned): (Scheme, bool),
        work: &Parts,
        meanwhile: Meanwhile,
    ) -> AddSquare {
        // SAFETY: a value of this type says that tiles exist and are configured on this thread; the
        // caller vouches for the addresses.
        unsafe {
            match scheme {
                Scheme::Six => Self::sum_six(turned, work, meanwhile),
                Scheme::Four => Self::sum_four(turned, work, meanwhile),
                Scheme::Three | Scheme::One => Self::sum_three(turned, work, meanwhile),
            }
        }
    }

    /// Six products.
    ///
    /// # Safety
    /// As of `sum_parts`, on a thread whose tiles are configured.
    unsafe fn sum_six(turned: bool, work: &Parts, meanwhile: Meanwhile) -> AddSquare {
        // SAFETY: tiles are configured, and the caller vouches for the addresses.
        unsafe {
            match turned {
                false => kernel!(
                    work,
                    meanwhile,
                    up!(
                        6144,
                        load!(both "d" 0, 1024; "dt1" 4096, 5120),
                        beside!(0),
                        load!(b "dt1" 2048, 3072),
                        beside!(64),
                        load!(a "dt1" 2048, 3072),
                        beside!(128),
                        load!(b "d" 0, 1024),
                        beside!(192),
                        load!(a "dt1" 4096, 5120),
                        advance!()
                    ),
                    down!(
                        6144,
                        beside!(0),
                        beside!(64),
                        load!(both "d" 0, 1024; "d" 0, 1024),
                        beside!(128),
                        beside!(192),
                        advance!()
                    )
                ),
                true => kernel!(
                    work,
                    meanwhile,
                    up!(
                        6144,
                        load!(both "dt1" 4096, 5120; "d" 0, 1024),
                        beside!(0),
                        load!(a "dt1" 2048, 3072),
                        beside!(64),
                        load!(b "dt1" 2048, 3072),
                        beside!(128),
                        load!(a "d" 0, 1024),
                        beside!(192),
                        load!(b "dt1" 4096, 5120),
                        advance!()
                    ),
                    down!(
                        6144,
                        beside!(0),
                        beside!(64),
                        load!(both "d" 0, 1024; "d" 0, 1024),
                        beside!(128),
                        beside!(192),
                        advance!()
                    )
                ),
            }
        }
    }

    /// Three products.
    ///
    /// # Safety
    /// As of `sum_parts`, on a thread whose tiles are configured.
    unsafe fn sum_three(turned: bool, work: &Parts, meanwhile: Meanwhile) -> AddSquare {
        // SAFETY: tiles are configured, and the caller vouches for the addresses.
        unsafe {
            match turned {
                false => kernel!(
                    work,
                    meanwhile,
                    up!(
                        4096,
                        beside!(0),
                        beside!(64),
                        load!(both "d" 0, 1024; "dt1" 2048, 3072),
                        beside!(128),
                        beside!(192),
                        advance!(),
                        load!(b "d" 0, 1024),
                        beside!(0),
                        beside!(64),
                        load!(a "dt1" 2048, 3072),
                        beside!(128),
                        beside!(192),
                        advance!()
                    )
                ),
                true => kernel!(
                    work,
                    meanwhile,
                    up!(
                        4096,
                        beside!(0),
                        beside!(64),
                        load!(both "dt1" 2048, 3072; "d" 0, 1024),
                        beside!(128),
                        beside!(192),
                        advance!(),
                        load!(a "d" 0, 1024),
                        beside!(0),
                        beside!(64),
                        load!(b "dt1" 2048, 3072),
                        beside!(128),
                        beside!(192),
                        advance!()
                    )
                ),
            }
        }
    }

    /// All four products of two parts, those of small parts first.
    ///
    /// # Safety
    /// As of `sum_parts`, on a thread whose tiles are configured.
    unsafe fn sum_four(turned: bool, work: &Parts, meanwhile: Meanwhile) -> AddSquare {
        // SAFETY: tiles are configured, and the caller vouches for the addresses.
        unsafe {
            match turned {
                false => kernel!(
                    work,
                    meanwhile,
                    up!(
                        4096,
                        load!(both "d" 2048, 3072; "d" 2048, 3072),
                        beside!(0),
                        beside!(64),
                        load!(a "d" 0, 1024),
                        beside!(128),
                        beside!(192),
                        advance!(),
                        load!(b "d" 0, 1024),
                        beside!(0),
                        beside!(64),
                        load!(a "d" 2048, 3072),
                        beside!(128),
                        beside!(192),
                        advance!()
                    )
                ),
                true => kernel!(
                    work,
                    meanwhile,
                    up!(
                        4096,
                        load!(both "d" 2048, 3072; "d" 2048, 3072),
                        beside!(0),
                        beside!(64),
                        load!(b "d" 0, 1024),
                        beside!(128),
                        beside!(192),
                        advance!(),
                        load!(a "d" 0, 1024),
                        beside!(0),
                        beside!(64),
                        load!(b "d" 2048, 3072),
                        beside!(128),
                        beside!(192),
                        advance!()
                    )
                ),
            }
        }
    }
}
