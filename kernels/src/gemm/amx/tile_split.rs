//! The kernels that sum products of parts: 32 x 32 sums, two tiles of every part of A and of B at each
//! step, in an order in which each product shares an operand with the one before it.

use std::arch::asm;

use super::operand::Scheme;
use super::tile::{LINE, Square, Tiles};

/// Loads the two tiles of a part of A (which passes by), of B or of both from these bytes on, and
/// multiplies them with what is there of the other.
macro_rules! load {
    (a $at:literal, $next:literal) => {
        concat!(
            "tileloaddt1 tmm4, [{a} + {line}*1 + ",
            $at,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tileloaddt1 tmm5, [{a} + {line}*1 + ",
            $next,
            "]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
    (b $at:literal, $next:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {line}*1 + ",
            $at,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tileloadd tmm7, [{b} + {line}*1 + ",
            $next,
            "]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
    (both $a:literal, $a_next:literal; $b:literal, $b_next:literal) => {
        concat!(
            "tileloaddt1 tmm4, [{a} + {line}*1 + ",
            $a,
            "]\n",
            "tileloadd tmm6, [{b} + {line}*1 + ",
            $b,
            "]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm7, [{b} + {line}*1 + ",
            $b_next,
            "]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tileloaddt1 tmm5, [{a} + {line}*1 + ",
            $a_next,
            "]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
}

/// From the first step on.
macro_rules! begin {
    () => {
        "mov {a}, {first_a}\nmov {b}, {first_b}\nmov {steps}, {count}"
    };
}

/// The next step, whose parts come after so many bytes, if there is one.
macro_rules! next {
    ($bytes:literal, $to:literal) => {
        concat!("add {a}, ", $bytes, "\nadd {b}, ", $bytes, "\ndec {steps}\njnz ", $to)
    };
}

macro_rules! kernel {
    ($square:expr, $($line:expr),+) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            begin!(),
            "test {steps}, {steps}",
            "jz 4f",
            $($line,)+
            "4:",
            "tilestored [{to} + {stride}*1], tmm0",
            "tilestored [{below} + {stride}*1], tmm2",
            "add {to}, {beside}",
            "add {below}, {beside}",
            "tilestored [{to} + {stride}*1], tmm1",
            "tilestored [{below} + {stride}*1], tmm3",
            first_a = in(reg) $square.a,
            first_b = in(reg) $square.b,
            count = in(reg) $square.steps,
            a = out(reg) _,
            b = out(reg) _,
            steps = out(reg) _,
            line = in(reg) LINE,
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

/// The same for parts in which a step takes so many bytes: the first lines sum some products over all
/// steps, and those after `then`, if there are any, others.
macro_rules! steps {
    ($square:expr, $bytes:literal, $($line:expr),+) => {
        kernel!($square, "2:", $($line,)+ next!($bytes, "2b"))
    };
    ($square:expr, $bytes:literal, $($line:expr),+; then $($later:expr),+) => {
        kernel!(
            $square, "2:", $($line,)+ next!($bytes, "2b"),
            begin!(), "3:", $($later,)+ next!($bytes, "3b")
        )
    };
}

impl Tiles {
    /// Sums `square`, four whole tiles of products of parts, beginning with zeros. Of six products the five
    /// small ones are summed over all steps before the first of the large ones comes. Of a transposed
    /// product, which is `turned`, those come first that come first of the product.
    ///
    /// # Safety
    /// Its addresses must be readable, and writable where the sums go, over all steps of all parts.
    pub(super) unsafe fn sum_parts(&self, scheme: Scheme, turned: bool, square: &Square) {
        // SAFETY: a value of this type says that tiles exist and are configured on this thread; the
        // caller vouches for the addresses.
        unsafe {
            match (scheme, turned) {
                (Scheme::Six, false) => steps!(
                    square, 6144,
                    load!(both 0, 1024; 4096, 5120),
                    load!(b 2048, 3072),
                    load!(a 2048, 3072),
                    load!(b 0, 1024),
                    load!(a 4096, 5120);
                    then load!(both 0, 1024; 0, 1024)
                ),
                (Scheme::Six, true) => steps!(
                    square, 6144,
                    load!(both 4096, 5120; 0, 1024),
                    load!(a 2048, 3072),
                    load!(b 2048, 3072),
                    load!(a 0, 1024),
                    load!(b 4096, 5120);
                    then load!(both 0, 1024; 0, 1024)
                ),
                (Scheme::Three | Scheme::One, false) => steps!(
                    square,
                    4096,
                    load!(both 0, 1024; 2048, 3072),
                    load!(b 0, 1024),
                    load!(a 2048, 3072)
                ),
                (Scheme::Three | Scheme::One, true) => steps!(
                    square,
                    4096,
                    load!(both 2048, 3072; 0, 1024),
                    load!(a 0, 1024),
                    load!(b 2048, 3072)
                ),
            }
        }
    }
}
