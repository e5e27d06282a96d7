//! Native matrix multiplications, opened when the program runs if they are there: nothing of them is
//! needed to build, and where one is missing the others still run.
//!
//! Libraries with CBLAS (the one with 32-bit integers) are called here, oneDNN in a file of its own.
//! They are looked for in the directories of [`PEERS_VARIABLE`], then where the system's loader looks,
//! and never unloaded, since their threads may outlive any handle.

use std::borrow::Cow;
use std::error::Error;
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use tilewise_kernels::{Float, MatMut, MatRef};

use crate::onednn;

/// The environment variable that lists directories of native libraries, separated by colons.
pub const PEERS_VARIABLE: &str = "TILEWISE_PEERS";

/// A native library that multiplies matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// Intel's Math Kernel Library.
    Mkl,
    /// OpenBLAS, plain or as packaged for `SciPy`.
    OpenBlas,
    /// BLIS.
    Blis,
    /// oneDNN, which has no CBLAS and multiplies `f32` only.
    OneDnn,
}

impl Native {
    /// All that are known.
    pub const ALL: [Self; 4] = [Self::Mkl, Self::OpenBlas, Self::Blis, Self::OneDnn];

    /// As in benchmark ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mkl => "mkl",
            Self::OpenBlas => "openblas",
            Self::Blis => "blis",
            Self::OneDnn => "onednn",
        }
    }

    /// The library's own words about its version, or why it cannot be used on that many threads.
    /// The first question opens the library, and `threads` decides for the whole process whether
    /// MKL gets a thread pool.
    ///
    /// # Errors
    /// If the library is absent, lacks a function, or cannot run on that many threads.
    pub fn version(self, threads: usize) -> Result<&'static str, String> {
        if self == Self::OneDnn {
            return onednn::version();
        }
        let blas = self.open(threads)?;
        if threads > 1 && blas.set_threads.is_none() {
            return Err(format!("{} has no function that sets its thread count", blas.file));
        }
        Ok(&blas.version)
    }

    /// Whether it is here and can run a case on that many threads.
    pub fn can(self, case: &str, threads: usize) -> bool {
        let mut parts = case.split('/');
        let (op, dtype) = (parts.next(), parts.next());
        let known = op == Some("gemm") && (self != Self::OneDnn || dtype == Some("f32"));
        known && self.version(threads).is_ok()
    }

    fn open(self, threads: usize) -> Result<&'static Blas, String> {
        static OPENED: [OnceLock<Result<Blas, String>>; 4] = [const { OnceLock::new() }; 4];
        OPENED[self as usize]
            .get_or_init(|| Blas::open(self, threads))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// File names, the likeliest first, each with the prefix of its functions.
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Mkl => &[("libmkl_rt.so.3", ""), ("libmkl_rt.so.2", ""), ("libmkl_rt.so", "")],
            Self::OpenBlas => &[
                ("libscipy_openblas.so", "scipy_"),
                ("libopenblas.so.0", ""),
                ("libopenblas.so", ""),
            ],
            Self::Blis => &[("libblis.so.4", ""), ("libblis.so", "")],
            Self::OneDnn => &[],
        }
    }
}

impl fmt::Display for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `cblas_sgemm` and `cblas_dgemm`.
type Gemm<T> = unsafe extern "C" fn(
    order: c_int,
    a_transposed: c_int,
    b_transposed: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: T,
    a: *const T,
    a_stride: c_int,
    b: *const T,
    b_stride: c_int,
    beta: T,
    c: *mut T,
    c_stride: c_int,
);

/// A function that sets the thread count. BLIS counts in its own 64-bit type.
enum SetThreads {
    Int(unsafe extern "C" fn(c_int)),
    Wide(unsafe extern "C" fn(i64)),
}

/// The functions of an opened library.
struct Blas {
    file: String,
    version: String,
    sgemm: Gemm<f32>,
    dgemm: Gemm<f64>,
    set_threads: Option<SetThreads>,
    /// The thread count last set; 0 before the first.
    threads: AtomicUsize,
}

/// The directories of [`PEERS_VARIABLE`].
fn directories() -> Vec<PathBuf> {
    let listed = std::env::var_os(PEERS_VARIABLE).unwrap_or_default();
    std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Binds a library's calls to itself and what it names as its needs, not to a namesake that was opened
/// before: the `cblas_sgemm` of one must not end in the `sgemm_` of another. Without this flag of
/// glibc's loader only one library per process can be trusted.
const OWN_SYMBOLS: c_int = if cfg!(all(target_os = "linux", target_env = "gnu")) { 0x8 } else { 0 };

/// Opens the first of `names` that is there, shut off from the others.
pub(crate) fn open_first(names: &[&'static str]) -> Result<(Library, &'static str), String> {
    open_with(names, RTLD_NOW | RTLD_LOCAL | OWN_SYMBOLS)
}

fn open_with(names: &[&'static str], flags: c_int) -> Result<(Library, &'static str), String> {
    let open = |path: &OsStr| {
        // SAFETY: opening runs the library's initialisers. These libraries' do nothing but detect
        // the CPU, read the environment and start threads.
        unsafe { Library::open(Some(path), flags) }
    };
    for directory in directories() {
        for name in names {
            let path = directory.join(name);
            if path.is_file() {
                return open(path.as_os_str()).map(|found| (found, *name)).map_err(|error| {
                    // The loader's own words are in the source.
                    let why = error.source().map_or(error.to_string(), |source| source.to_string());
                    format!("could not be opened: {why}")
                });
            }
        }
    }
    let found =
        names.iter().find_map(|name| Some((open(Path::new(name).as_os_str()).ok()?, *name)));
    found.ok_or_else(|| "absent".into())
}

/// A function of `library`.
///
/// # Safety
/// `F` must be the type of a pointer to that function.
pub(crate) unsafe fn function<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // SAFETY: as promised by the caller. The pointer stays valid: libraries are never closed.
    let symbol = unsafe { library.get::<F>(name.as_bytes()) };
    symbol.map(|symbol| *symbol).map_err(|_| format!("has no {name}"))
}

impl Blas {
    fn open(which: Native, threads: usize) -> Result<Self, String> {
        let names: Vec<_> = which.files().iter().map(|(name, _)| *name).collect();
        let (library, file) = open_first(&names)?;
        // Never closed, not even if something is missing from it.
        let library = Box::leak(Box::new(library));
        let prefix =
            which.files().iter().find(|(name, _)| *name == file).map_or("", |found| found.1);
        let complete = || {
            // SAFETY: these are the types of these two functions in every CBLAS with 32-bit integers.
            let (sgemm, dgemm) = unsafe {
                (
                    function::<Gemm<f32>>(library, &format!("{prefix}cblas_sgemm"))?,
                    function::<Gemm<f64>>(library, &format!("{prefix}cblas_dgemm"))?,
                )
            };
            let set_threads = match which {
                Native::Mkl => mkl_threads(library, threads)?,
                Native::OpenBlas => openblas_threads(library, prefix),
                Native::Blis => blis_threads(library),
                Native::OneDnn => None,
            };
            let version = version(which, library, prefix);
            let (file, threads) = (file.into(), AtomicUsize::new(0));
            Ok(Self { file, version, sgemm, dgemm, set_threads, threads })
        };
        complete().map_err(|error: String| format!("{file} {error}"))
    }

    /// Sets the thread count where it has changed, so that calls in a row pay nothing for it.
    fn use_threads(&self, threads: usize) {
        if self.threads.swap(threads, Ordering::Relaxed) == threads {
            return;
        }
        let count = c_int::try_from(threads).unwrap_or(c_int::MAX);
        // The libraries document that any positive count is allowed at any time.
        match self.set_threads {
            // SAFETY: see above.
            Some(SetThreads::Int(set)) => unsafe { set(count) },
            // SAFETY: see above.
            Some(SetThreads::Wide(set)) => unsafe { set(i64::from(count)) },
            None => {}
        }
    }
}

/// Chooses MKL's thread pool, which must happen before it computes anything: none for one thread,
/// OpenMP where its runtime is found beside it. `MKL_THREADING_LAYER` has the last word.
fn mkl_threads(library: &Library, threads: usize) -> Result<Option<SetThreads>, String> {
    const INTEL: c_int = 0;
    const SEQUENTIAL: c_int = 1;
    let chosen = std::env::var_os("MKL_THREADING_LAYER").is_some();
    // MKL looks for this runtime's functions among the global symbols.
    let open = || open_with(&["libiomp5.so", "libomp.so.5"], RTLD_NOW | RTLD_GLOBAL).ok();
    let openmp = if threads > 1 { open() } else { None };
    let pool = chosen || openmp.is_some();
    // SAFETY: these are the functions' types in `mkl_service.h` and in LLVM's `omp.h`, and all
    // values passed are valid.
    unsafe {
        if !chosen {
            let set: unsafe extern "C" fn(c_int) -> c_int =
                function(library, "MKL_Set_Threading_Layer")?;
            set(if pool { INTEL } else { SEQUENTIAL });
        }
        if let Some((runtime, _)) = &openmp {
            // Idle workers would otherwise spin for 0.2 s on the CPUs of whoever is timed next.
            let set: Result<unsafe extern "C" fn(c_int), _> =
                function(runtime, "kmp_set_blocktime");
            set.into_iter().for_each(|set| set(0));
        }
        std::mem::forget(openmp);
        let set = function(library, "MKL_Set_Num_Threads")?;
        Ok(pool.then_some(SetThreads::Int(set)))
    }
}

fn openblas_threads(library: &Library, prefix: &str) -> Option<SetThreads> {
    // SAFETY: this is the function's type in OpenBLAS's `cblas.h`.
    let set = unsafe { function(library, &format!("{prefix}openblas_set_num_threads")) };
    set.ok().map(SetThreads::Int)
}

fn blis_threads(library: &Library) -> Option<SetThreads> {
    // SAFETY: this is the function's type in `blis.h`, whose `dim_t` has 64 bits on 64-bit machines.
    let set = unsafe { function(library, "bli_thread_set_num_threads") };
    if cfg!(target_pointer_width = "64") { set.ok().map(SetThreads::Wide) } else { None }
}

/// The kind of CPU that BLIS takes this one for.
fn blis_kernels(library: &Library) -> Option<Cow<'static, str>> {
    // SAFETY: these are the functions' types in `blis.h`, where `arch_t` is an enumeration; the text
    // is a constant.
    unsafe {
        // With `BLIS_ARCH_TYPE` set, the query needs tables that only this makes.
        let initialise: unsafe extern "C" fn() = function(library, "bli_init").ok()?;
        initialise();
        let query: unsafe extern "C" fn() -> c_int = function(library, "bli_arch_query_id").ok()?;
        let name: unsafe extern "C" fn(c_int) -> *const c_char =
            function(library, "bli_arch_string").ok()?;
        Some(CStr::from_ptr(name(query())).to_string_lossy())
    }
}

/// What the library says of its version: a line, or "unknown version".
fn version(which: Native, library: &Library, prefix: &str) -> String {
    type Text = unsafe extern "C" fn() -> *const c_char;
    let text = |name: &str| {
        // SAFETY: the functions asked for below have this type and return a string that stays.
        unsafe { Some(CStr::from_ptr(function::<Text>(library, name).ok()?()).to_string_lossy()) }
    };
    let mut buffer = [0; 256];
    let said = match which {
        Native::Mkl => {
            // SAFETY: this is the function's type, and it writes at most as many bytes as it is told.
            unsafe {
                function(library, "MKL_Get_Version_String").ok().map(|get| {
                    let get: unsafe extern "C" fn(*mut c_char, c_int) = get;
                    get(buffer.as_mut_ptr().cast(), 255);
                })
            };
            CStr::from_bytes_until_nul(&buffer).ok().map(CStr::to_string_lossy)
        }
        Native::OpenBlas => text(&format!("{prefix}openblas_get_config")),
        Native::Blis => text("bli_info_get_version_str").map(|version| {
            let kernels = blis_kernels(library).unwrap_or("unknown".into());
            format!("{version}, kernels {kernels}").into()
        }),
        Native::OneDnn => None,
    };
    let said = said.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    if said.is_empty() { "unknown version".into() } else { said }
}

/// Element types that native libraries know.
pub trait NativeProduct: Float {
    /// `C = A B` by `by`, which must know the type.
    fn native(by: Native, a: MatRef<Self>, b: MatRef<Self>, c: MatMut<Self>, threads: usize);
}

macro_rules! impl_cblas {
    ($t:ident, $function:ident, $onednn:expr) => {
        impl NativeProduct for $t {
            fn native(by: Native, a: MatRef<$t>, b: MatRef<$t>, mut c: MatMut<$t>, threads: usize) {
                if by == Native::OneDnn {
                    let multiply: fn(MatRef<$t>, MatRef<$t>, MatMut<$t>, usize) = $onednn;
                    return multiply(a, b, c, threads);
                }
                let blas = by.open(threads).unwrap_or_else(|why| panic!("{by}: {why}"));
                blas.use_threads(threads);
                assert!(a.cols() == b.rows() && a.rows() == c.rows() && b.cols() == c.cols());
                assert!(c.col_stride() == 1 && c.row_stride() >= c.cols());
                const ROW_MAJOR: c_int = 101;
                let (a_transposed, a_stride) = layout(&a);
                let (b_transposed, b_stride) = layout(&b);
                let (m, n, k) = (int(a.rows()), int(b.cols()), int(a.cols()));
                let (a, b) = (a.data().as_ptr(), b.data().as_ptr());
                let (c_stride, c) = (int(c.row_stride()), c.data_mut().as_mut_ptr());
                // SAFETY: the views prove that all three matrices lie inside their slices, the
                // assertions that the shapes fit, and `c` is borrowed mutably, so it overlaps
                // neither input. CBLAS does not read C where beta is 0.
                unsafe {
                    (blas.$function)(
                        ROW_MAJOR,
                        a_transposed,
                        b_transposed,
                        m,
                        n,
                        k,
                        1.0,
                        a,
                        a_stride,
                        b,
                        b_stride,
                        0.0,
                        c,
                        c_stride,
                    );
                }
            }
        }
    };
}

impl_cblas!(f32, sgemm, onednn::multiply);
impl_cblas!(f64, dgemm, |_, _, _, _| panic!("onednn multiplies f32 only"));

/// Whether CBLAS sees a transposed matrix, and the distance of its rows. A matrix of one row or
/// column can be seen both ways, but CBLAS insists that a stored row be as long as it is wide.
fn layout<T>(matrix: &MatRef<T>) -> (c_int, c_int) {
    const PLAIN: c_int = 111;
    const TRANSPOSED: c_int = 112;
    if matrix.col_stride() == 1 && matrix.row_stride() >= matrix.cols() {
        return (PLAIN, int(matrix.row_stride()));
    }
    assert!(matrix.row_stride() == 1 && matrix.col_stride() >= matrix.rows());
    (TRANSPOSED, int(matrix.col_stride()))
}

fn int(value: usize) -> c_int {
    c_int::try_from(value).expect("a size below 2^31")
}
