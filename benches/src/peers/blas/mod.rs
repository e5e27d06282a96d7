//! Libraries with CBLAS, the one with 32-bit integers: MKL, OpenBLAS and BLIS.

mod products;

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tilewise_kernels::{bf16, f16};

pub(super) use self::products::{CblasElement, CblasHalf};
pub(super) use self::products::{multiply, multiply_batch, multiply_half};
use super::Native;
use super::library::{function, open_first, open_with};

/// `cblas_sgemm`, `cblas_dgemm`, and MKL's with inputs of another type than the output.
type Gemm<T, O = T> = unsafe extern "C" fn(
    order: c_int,
    a_transposed: c_int,
    b_transposed: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: O,
    a: *const T,
    a_stride: c_int,
    b: *const T,
    b_stride: c_int,
    beta: O,
    c: *mut O,
    c_stride: c_int,
);

/// MKL's `cblas_sgemm_batch_strided` and `cblas_dgemm_batch_strided`.
type BatchedGemm<T> = unsafe extern "C" fn(
    order: c_int,
    a_transposed: c_int,
    b_transposed: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: T,
    a: *const T,
    a_stride: c_int,
    a_distance: c_int,
    b: *const T,
    b_stride: c_int,
    b_distance: c_int,
    beta: T,
    c: *mut T,
    c_stride: c_int,
    c_distance: c_int,
    count: c_int,
);

/// A function that sets the thread count. BLIS counts in its own 64-bit type.
enum SetThreads {
    Int(unsafe extern "C" fn(c_int)),
    Wide(unsafe extern "C" fn(i64)),
}

/// The functions of an opened library.
pub struct Blas {
    file: String,
    version: String,
    sgemm: Gemm<f32>,
    dgemm: Gemm<f64>,
    sgemm_batch: Option<BatchedGemm<f32>>,
    dgemm_batch: Option<BatchedGemm<f64>>,
    bf16: Option<Gemm<bf16, f32>>,
    f16: Option<Gemm<f16, f32>>,
    set_threads: Option<SetThreads>,
    /// The thread count last set; 0 before the first.
    threads: AtomicUsize,
}

/// The library, opened by the first call. `threads` decides then for the whole process whether MKL gets
/// a thread pool.
fn open(which: Native, threads: usize) -> Result<&'static Blas, String> {
    static OPENED: [OnceLock<Result<Blas, String>>; Native::ALL.len()] =
        [const { OnceLock::new() }; Native::ALL.len()];
    OPENED[which as usize].get_or_init(|| Blas::open(which, threads)).as_ref().map_err(Clone::clone)
}

/// The library's own words about its version, or why it cannot be used on that many threads.
pub(super) fn version(which: Native, threads: usize) -> Result<&'static str, String> {
    let blas = open(which, threads)?;
    if threads > 1 && blas.set_threads.is_none() {
        return Err(format!("{} has no function that sets its thread count", blas.file));
    }
    Ok(&blas.version)
}

/// File names, the likeliest first, each with the prefix of its functions.
fn files(which: Native) -> &'static [(&'static str, &'static str)] {
    match which {
        Native::Mkl => &[("libmkl_rt.so.3", ""), ("libmkl_rt.so.2", ""), ("libmkl_rt.so", "")],
        Native::OpenBlas => {
            &[("libscipy_openblas.so", "scipy_"), ("libopenblas.so.0", ""), ("libopenblas.so", "")]
        }
        Native::Blis => &[("libblis.so.4", ""), ("libblis.so", "")],
        Native::LibXsmm | Native::LibXsmmAsked | Native::OneDnn => &[],
    }
}

impl Blas {
    fn open(which: Native, threads: usize) -> Result<Self, String> {
        let names: Vec<_> = files(which).iter().map(|(name, _)| *name).collect();
        let (library, file) = open_first(&names)?;
        let prefix =
            files(which).iter().find(|(name, _)| *name == file).map_or("", |found| found.1);
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
                Native::LibXsmm | Native::LibXsmmAsked | Native::OneDnn => None,
            };
            let version = described(which, library, prefix);
            let (file, threads) = (file.into(), AtomicUsize::new(0));
            // SAFETY: these are the types of these functions in MKL, which alone has them.
            let (sgemm_batch, dgemm_batch, bf16, f16) = unsafe {
                (
                    function(library, "cblas_sgemm_batch_strided").ok(),
                    function(library, "cblas_dgemm_batch_strided").ok(),
                    function(library, "cblas_gemm_bf16bf16f32").ok(),
                    function(library, "cblas_gemm_f16f16f32").ok(),
                )
            };
            Ok(Self {
                file,
                version,
                sgemm,
                dgemm,
                sgemm_batch,
                dgemm_batch,
                bf16,
                f16,
                set_threads,
                threads,
            })
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
fn described(which: Native, library: &Library, prefix: &str) -> String {
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
        Native::LibXsmm | Native::LibXsmmAsked | Native::OneDnn => None,
    };
    let said = said.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    if said.is_empty() { "unknown version".into() } else { said }
}
