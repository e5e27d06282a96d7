//! Which instruction set runs: detection, the cap from the environment, and the list of paths.
//!
//! Detection asks for feature bits, never for a CPU model, and happens once per process; so does
//! the reading of `TILEWISE_MAX_ISA`. This is the crate's only process-wide state.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, Result};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Float, Kernel, Portable};

/// The environment variable that caps the instruction set: `portable`, `avx2`, `avx512` or `amx`.
pub const MAX_ISA_VARIABLE: &str = "TILEWISE_MAX_ISA";

/// Names of all paths this build knows, slowest first.
#[cfg(target_arch = "x86_64")]
pub const ISA_NAMES: &[&str] = &["portable", "avx2", "avx512", "amx"];
/// Names of all paths this build knows, slowest first.
#[cfg(not(target_arch = "x86_64"))]
pub const ISA_NAMES: &[&str] = &["portable"];

/// An instruction set that this CPU has: the payloads cannot be made elsewhere, so a value is proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// `wide` on the build's baseline.
    Portable(Portable),
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX-512 and tiles of bf16: for products of halves, and of `f32` at other precisions. Whatever else is asked to run on it
    /// runs on AVX-512.
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
}

/// Proof that this CPU has AMX tiles of bf16 and AVX-512, and that the operating system lets this
/// process use them. Not a [`Simd`](crate::simd::Simd): tiles are no vectors.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amx {
    vectors: Avx512,
}

#[cfg(target_arch = "x86_64")]
impl Amx {
    /// The vectors beside the tiles.
    pub(crate) fn vectors(self) -> Avx512 {
        self.vectors
    }

    /// The proof, if CPU and operating system grant it.
    fn detect() -> Option<Self> {
        let vectors = Avx512::detect()?;
        has_bf16_tiles(cpu_features(), enabled_states, system_permits_tiles)
            .then_some(Self { vectors })
    }
}

impl Isa {
    /// The fastest path allowed here.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn best() -> Result<Self> {
        Ok(*available()?.last().expect("the portable path is always there"))
    }

    /// The fastest path allowed here for products of half-precision matrices.
    ///
    /// # Errors
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    #[inline]
    pub fn best_for_halves() -> Result<Self> {
        Ok(*available_for_halves()?.last().expect("the portable path is always there"))
    }

    /// The path on which everything runs that is no product for tiles: AVX-512 where this is
    /// AMX, otherwise this one.
    #[must_use]
    #[inline]
    pub fn without_tiles(self) -> Self {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx(amx) => Self::Avx512(amx.vectors),
            other => other,
        }
    }

    /// The path for runs of so many bytes, one of each at a time: where half a vector holds one, its other
    /// half would only reach into the next cache line. Each lane computes the same on both.
    #[inline(always)]
    pub(crate) fn for_runs_of(self, bytes: usize) -> Self {
        match self.without_tiles() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(vectors) if bytes <= 32 => Self::Avx2(Avx2::of(vectors)),
            other => other,
        }
    }

    /// The path called `name`, if this CPU has it and the cap allows it.
    ///
    /// # Errors
    /// If the name is unknown, or the path is missing or capped.
    pub fn by_name(name: &str) -> Result<Self> {
        let wanted = rank(name, "instruction set")?;
        available_for_halves()?.get(wanted).copied().ok_or_else(|| {
            Error::new(ErrorKind::Isa, "instruction set", "one of the available paths", name)
        })
    }

    /// `portable`, `avx2`, `avx512` or `amx`: as in the environment variable, file names and benchmark ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Amx(_) => "amx",
        }
    }

    /// Runs a kernel on this instruction set: one match, then a function compiled for it.
    #[inline]
    pub fn run<T: Float, K: Kernel<T>>(self, kernel: K) -> K::Output {
        T::dispatch(self, kernel)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::by_name(name)
    }
}

/// All paths that can run here, slowest first: what the CPU has, capped by `TILEWISE_MAX_ISA`.
/// Tiles, which serve one operation only, are left to [`available_for_halves`].
///
/// # Errors
/// If `TILEWISE_MAX_ISA` holds an unknown name.
pub fn available() -> Result<&'static [Isa]> {
    let all = available_for_halves()?;
    let vectors = all.iter().take_while(|isa| **isa == isa.without_tiles()).count();
    Ok(&all[..vectors])
}

/// All paths of products of half-precision matrices, slowest first: those of [`available`] and,
/// where CPU, operating system and `TILEWISE_MAX_ISA` allow it, `amx`.
///
/// # Errors
/// If `TILEWISE_MAX_ISA` holds an unknown name.
#[inline]
pub fn available_for_halves() -> Result<&'static [Isa]> {
    match AVAILABLE.get() {
        Some(Ok(list)) => Ok(list),
        _ => find_available(),
    }
}

static AVAILABLE: OnceLock<Result<Vec<Isa>>> = OnceLock::new();

/// The same where it is not known yet, or an error: apart, so that a small product does not carry it.
#[cold]
fn find_available() -> Result<&'static [Isa]> {
    match AVAILABLE.get_or_init(|| capped(std::env::var_os(MAX_ISA_VARIABLE).as_deref())) {
        Ok(list) => Ok(list),
        Err(error) => Err(error.clone()),
    }
}

/// The position of a path's name in [`ISA_NAMES`].
fn rank(name: &str, what: &str) -> Result<usize> {
    ISA_NAMES.iter().position(|&known| known == name).ok_or_else(|| {
        Error::new(
            ErrorKind::Isa,
            what,
            format!("one of {}", ISA_NAMES.join(", ")),
            format!("{name:?}"),
        )
    })
}

/// One detection per name in [`ISA_NAMES`].
const DETECTIONS: &[fn() -> Option<Isa>] = &[
    || Some(Isa::Portable(Portable::detect())),
    #[cfg(target_arch = "x86_64")]
    || Avx2::detect().map(Isa::Avx2),
    #[cfg(target_arch = "x86_64")]
    || Avx512::detect().map(Isa::Avx512),
    #[cfg(target_arch = "x86_64")]
    || Amx::detect().map(Isa::Amx),
];

/// The detected paths up to the one named by `cap`. A path is listed only with all slower ones, so
/// that a position in the list is a position in [`ISA_NAMES`]. What the cap excludes is not looked
/// for, nor is the kernel asked for it.
fn capped(cap: Option<&std::ffi::OsStr>) -> Result<Vec<Isa>> {
    let highest = match cap {
        None => ISA_NAMES.len() - 1,
        Some(name) => rank(&name.to_string_lossy(), MAX_ISA_VARIABLE)?,
    };
    Ok(detected(&DETECTIONS[..=highest]))
}

/// What is there, up to the first that is missing.
fn detected(detections: &[fn() -> Option<Isa>]) -> Vec<Isa> {
    detections.iter().map_while(|detect| detect()).collect()
}

/// The feature bits AMX-BF16 and AMX-TILE in EDX of leaf 7.
#[cfg(target_arch = "x86_64")]
const BF16_TILES: u32 = 1 << 22 | 1 << 24;

/// The states of tiles in XCR0: their configuration and their data.
#[cfg(target_arch = "x86_64")]
const TILE_STATES: u64 = 3 << 17;

/// Whether the CPU has tiles of bf16, the operating system saves them with a thread's state, and this process
/// may use them; each is asked only where those before it agree.
#[cfg(target_arch = "x86_64")]
fn has_bf16_tiles(
    features: Option<u32>,
    enabled: impl FnOnce() -> Option<u64>,
    permitted: impl FnOnce() -> bool,
) -> bool {
    features.is_some_and(|bits| bits & BF16_TILES == BF16_TILES)
        && enabled().is_some_and(|states| states & TILE_STATES == TILE_STATES)
        && permitted()
}

/// EDX of leaf 7, if there is such a leaf.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Option<u32> {
    use std::arch::x86_64::__cpuid_count;
    (__cpuid_count(0, 0).eax >= 7).then(|| __cpuid_count(7, 0).edx)
}

/// XCR0: the states that the operating system saves, if it saves any.
#[cfg(target_arch = "x86_64")]
fn enabled_states() -> Option<u64> {
    use std::arch::x86_64::{__cpuid_count, _xgetbv};
    #[target_feature(enable = "xsave")]
    fn register() -> u64 {
        // SAFETY: register 0 exists wherever XGETBV does.
        unsafe { _xgetbv(0) }
    }
    let os_uses_xsave = __cpuid_count(1, 0).ecx >> 27 & 1 == 1;
    // SAFETY: the bit says that the operating system has enabled XSAVE and XGETBV with it.
    os_uses_xsave.then(|| unsafe { register() })
}

/// Asks the kernel for the tiles, whose state is large: without this the first tile instruction
/// ends the process. The permission holds for all threads, those already running too.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn system_permits_tiles() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let status: isize;
    // SAFETY: a system call that takes two numbers and touches no memory of ours; it destroys the
    // two registers that are named.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => status,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    status == 0
}

/// How other systems hand out tiles is not known here.
#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn system_permits_tiles() -> bool {
    false
}

/// Sizes of the data caches of one core, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caches {
    pub(crate) l1: usize,
    pub(crate) l2: usize,
}

/// What is assumed where the CPU does not tell: what most have had since 2015.
const USUAL_CACHES: Caches = Caches { l1: 32 << 10, l2: 512 << 10 };

/// The caches of this CPU. They steer speed only, never results.
pub(crate) fn caches() -> Caches {
    static CACHES: OnceLock<Caches> = OnceLock::new();
    *CACHES.get_or_init(|| detect_caches().unwrap_or(USUAL_CACHES))
}

/// Whether an output of `bytes` is better written past the caches: with an input as large it does
/// not stay in the second level until somebody reads it.
pub(crate) fn outgrows_cache(bytes: usize) -> bool {
    bytes >= caches().l2
}

#[cfg(not(target_arch = "x86_64"))]
fn detect_caches() -> Option<Caches> {
    None
}

/// Reads the deterministic cache parameters: leaf 4 on Intel, 0x8000001D on AMD, same layout.
#[cfg(target_arch = "x86_64")]
fn detect_caches() -> Option<Caches> {
    use std::arch::x86_64::__cpuid_count;
    let highest = __cpuid_count(0, 0).eax;
    let extended = __cpuid_count(0x8000_0000, 0).eax;
    let size = |leaf: u32, level: u32| {
        (0..8).map(|index| __cpuid_count(leaf, index)).find_map(|found| {
            let (kind, at) = (found.eax & 31, found.eax >> 5 & 7);
            // Kinds: 1 data, 2 instructions, 3 unified.
            let holds_data = kind == 1 || kind == 3;
            let field = |shift: u32, mask: u32| (found.ebx >> shift & mask) as usize + 1;
            let bytes = field(22, 0x3FF) * field(12, 0x3FF) * field(0, 0xFFF);
            (holds_data && at == level).then_some(bytes * (found.ecx as usize + 1))
        })
    };
    let leaves = [(4, highest), (0x8000_001D, extended)];
    leaves
        .into_iter()
        .filter(|&(leaf, most)| leaf <= most)
        .find_map(|(leaf, _)| Some(Caches { l1: size(leaf, 1)?, l2: size(leaf, 2)? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_limits_the_list() {
        let all = capped(None).unwrap();
        let one = capped(Some("portable".as_ref())).unwrap();
        assert_eq!(one, &all[..1]);
    }

    fn not_to_be_asked<T>() -> T {
        panic!("asked although something is missing")
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn tiles_need_both_features_both_states_and_permission() {
        for features in [None, Some(0), Some(1 << 22), Some(1 << 24), Some(!BF16_TILES)] {
            assert!(!has_bf16_tiles(features, not_to_be_asked, not_to_be_asked));
        }
        for states in [None, Some(0), Some(1 << 17), Some(1 << 18), Some(!TILE_STATES)] {
            assert!(!has_bf16_tiles(Some(u32::MAX), || states, not_to_be_asked));
        }
        assert!(!has_bf16_tiles(Some(BF16_TILES), || Some(TILE_STATES), || false));
        assert!(has_bf16_tiles(Some(BF16_TILES), || Some(TILE_STATES), || true));
    }

    /// Products of halves then run on vectors, which other tests see to.
    #[test]
    fn what_is_missing_ends_the_list_and_nothing_behind_it_is_asked() {
        let there = || Some(Isa::Portable(Portable::detect()));
        let list = detected(&[there, there, || None, not_to_be_asked]);
        assert_eq!(list, [there().unwrap(); 2]);
    }

    #[test]
    fn unknown_cap_is_a_clear_error() {
        let error = capped(Some("avx1024".as_ref())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Isa);
        assert!(error.to_string().contains("TILEWISE_MAX_ISA"), "{error}");
        assert!(error.to_string().contains("portable"), "{error}");
        assert!(error.to_string().contains("avx1024"), "{error}");
    }
}
