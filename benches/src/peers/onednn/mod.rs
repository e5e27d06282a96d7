//! oneDNN through its C API of version 3, opened when the program runs.
//!
//! An operation on a shape is a compiled primitive there. It is kept from call to call, as its users do,
//! so that compiling costs nobody anything in a timed call.

mod norm;
mod product;
mod softmax;

pub(super) use norm::{backward, forward, inference};
pub(super) use product::{OneDnnElement, OneDnnHalf, multiply_half};
pub(super) use softmax::{softmax, softmax_backward};

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock};

use libloading::os::unix::Library;

use super::library::{function, open_first};

/// Everything oneDNN makes is a pointer to something opaque, and every call returns 0 or what failed.
type Handle = *mut c_void;

/// The library's numbers for what an argument of a primitive is.
mod kind {
    use std::ffi::c_int;

    pub(super) const SOURCE: c_int = 1;
    pub(super) const DESTINATION: c_int = 17;
    pub(super) const WEIGHTS: c_int = 33;
    pub(super) const MEAN: c_int = 49;
    pub(super) const VARIANCE: c_int = 50;
    pub(super) const SCALE: c_int = 51;
    pub(super) const SHIFT: c_int = 52;
    pub(super) const WORKSPACE: c_int = 64;
    pub(super) const SOURCE_GRADIENT: c_int = 129;
    pub(super) const DESTINATION_GRADIENT: c_int = 145;
    pub(super) const SCALE_GRADIENT: c_int = 255;
    pub(super) const SHIFT_GRADIENT: c_int = 256;
}

/// The library's numbers for what a primitive is made for.
mod purpose {
    use std::ffi::c_int;

    pub(super) const TRAINING: c_int = 64;
    pub(super) const INFERENCE: c_int = 96;
    pub(super) const BACKWARD: c_int = 128;
}

#[repr(C)]
struct Argument {
    kind: c_int,
    memory: Handle,
}

#[repr(C)]
struct Version {
    major: c_int,
    minor: c_int,
    patch: c_int,
}

/// The elements of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub enum Dtype {
    F16 = 1,
    Bf16 = 2,
    F32 = 3,
}

/// How a tensor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    dtype: Dtype,
    rank: usize,
    sizes: [i64; 4],
    strides: [i64; 4],
}

impl Layout {
    fn new(dtype: Dtype, dims: &[[usize; 2]]) -> Self {
        let (mut sizes, mut strides) = ([1; 4], [1; 4]);
        for (i, &[size, stride]) in dims.iter().enumerate() {
            // The library counts in 64 bits, and no buffer has 2^63 elements.
            (sizes[i], strides[i]) = (size as i64, stride as i64);
        }
        Self { dtype, rank: dims.len(), sizes, strides }
    }

    fn vector(len: usize) -> Self {
        Self::new(Dtype::F32, &[[len, 1]])
    }

    fn matrix(rows: usize, cols: usize) -> Self {
        Self::new(Dtype::F32, &[[rows, cols], [cols, 1]])
    }
}

type DescribeMemory =
    unsafe extern "C" fn(*mut Handle, c_int, *const i64, c_int, *const i64) -> c_int;
type Execute = unsafe extern "C" fn(Handle, Handle, c_int, *const Argument) -> c_int;
type QueryMemory = unsafe extern "C" fn(Handle, c_int, c_int) -> Handle;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;

/// The functions of the library, and its CPU with a queue.
struct OneDnn {
    version: String,
    describe_memory: DescribeMemory,
    query_memory: QueryMemory,
    create_primitive: unsafe extern "C" fn(*mut Handle, Handle) -> c_int,
    create_memory: unsafe extern "C" fn(*mut Handle, Handle, Handle, Handle) -> c_int,
    set_data: unsafe extern "C" fn(Handle, Handle) -> c_int,
    execute: Execute,
    wait: unsafe extern "C" fn(Handle) -> c_int,
    destroy_description: Destroy,
    destroy_primitive_description: Destroy,
    destroy_primitive: Destroy,
    destroy_memory: Destroy,
    product: product::Describe,
    norm: norm::Describe,
    norm_backward: norm::DescribeBackward,
    softmax: softmax::Describe,
    softmax_backward: softmax::DescribeBackward,
    /// Of its OpenMP runtime: primitives are compiled for as many threads as this was told last.
    set_threads: unsafe extern "C" fn(c_int),
    // Never null after opening; atomic because pointers are not shared between threads otherwise.
    engine: AtomicPtr<c_void>,
    stream: AtomicPtr<c_void>,
}

/// The last primitive of some kind, and what it was compiled for.
type Kept<K> = Mutex<Option<(K, Primitive)>>;

/// A compiled operation, with a memory object for each argument.
struct Primitive {
    code: AtomicPtr<c_void>,
    arguments: Vec<(c_int, AtomicPtr<c_void>)>,
    /// What it keeps for its backward pass, in memory of its own.
    workspace: Option<AtomicPtr<c_void>>,
}

fn open() -> Result<&'static OneDnn, String> {
    static OPENED: OnceLock<Result<OneDnn, String>> = OnceLock::new();
    OPENED.get_or_init(OneDnn::open).as_ref().map_err(Clone::clone)
}

/// The library's version, or why it cannot be used.
pub(super) fn version() -> Result<&'static str, String> {
    open().map(|found| found.version.as_str())
}

fn check(status: c_int, what: &str) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(format!("{what}: status {status}")) }
}

/// The handle that `make` writes.
fn made(what: &str, make: impl FnOnce(*mut Handle) -> c_int) -> Result<Handle, String> {
    let mut handle = null_mut();
    check(make(&mut handle), what)?;
    Ok(handle)
}

fn load(atomic: &AtomicPtr<c_void>) -> Handle {
    atomic.load(Ordering::Relaxed)
}

/// What an argument's data is, from a slice that is only read.
fn read<T>(values: &[T]) -> Handle {
    values.as_ptr().cast_mut().cast()
}

/// What an argument's data is, from a slice that is written.
fn write<T>(values: &mut [T]) -> Handle {
    values.as_mut_ptr().cast()
}

/// Runs the primitive that is kept for `key`, which it compiles first where it is another's: `tensors` are
/// the layouts of its arguments, and `describe` makes its description from theirs.
///
/// # Safety
/// Each of `data` must point to a tensor of the layout at its place, to read or to write as the primitive
/// does with that argument, and what is written must overlap nothing else.
unsafe fn run<K: PartialEq, const N: usize>(
    kept: &Kept<K>,
    key: K,
    threads: usize,
    tensors: impl FnOnce() -> ([(c_int, Layout); N], Description<N>),
    data: [Handle; N],
) {
    let library = open().unwrap_or_else(|why| panic!("onednn: {why}"));
    let mut kept = kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if kept.as_ref().is_none_or(|(old, _)| *old != key) {
        kept.take().into_iter().for_each(|(_, old)| library.destroy(old));
        let (arguments, describe) = tensors();
        let primitive = library.compile(threads, &arguments, describe);
        *kept = Some((key, primitive.unwrap_or_else(|why| panic!("onednn: {why}"))));
    }
    let (_, primitive) = kept.as_ref().expect("just compiled");
    // SAFETY: as promised by the caller.
    unsafe { library.execute(primitive, &data) }.unwrap_or_else(|why| panic!("onednn: {why}"));
}

/// Makes a primitive's description from the descriptions of its arguments.
type Description<const N: usize> =
    Box<dyn FnOnce(&OneDnn, [Handle; N], Handle) -> Result<Handle, String>>;

impl OneDnn {
    fn open() -> Result<Self, String> {
        let (library, file) = open_first(&["libdnnl.so.3"])?;
        Self::functions(library).map_err(|error| format!("{file} {error}"))
    }

    fn functions(library: &'static Library) -> Result<Self, String> {
        type CreateEngine = unsafe extern "C" fn(*mut Handle, c_int, usize) -> c_int;
        type CreateStream = unsafe extern "C" fn(*mut Handle, Handle, c_uint) -> c_int;
        const CPU: c_int = 1;
        const IN_ORDER: c_uint = 1;
        // SAFETY: these are the functions' types in oneDNN's `dnnl.h` of version 3, which the file's
        // name promises, and the arguments are valid.
        unsafe {
            let version: unsafe extern "C" fn() -> *const Version =
                function(library, "dnnl_version")?;
            let Version { major, minor, patch } = &*version();
            let create_engine: CreateEngine = function(library, "dnnl_engine_create")?;
            let create_stream: CreateStream = function(library, "dnnl_stream_create")?;
            let engine = made("its engine", |out| create_engine(out, CPU, 0))?;
            let stream = made("its stream", |out| create_stream(out, engine, IN_ORDER))?;
            let of = |operation: &str| format!("dnnl_{operation}_primitive_desc_create");
            Ok(Self {
                version: format!("{major}.{minor}.{patch}"),
                describe_memory: function(library, "dnnl_memory_desc_create_with_strides")?,
                query_memory: function(library, "dnnl_primitive_desc_query_md")?,
                create_primitive: function(library, "dnnl_primitive_create")?,
                create_memory: function(library, "dnnl_memory_create")?,
                set_data: function(library, "dnnl_memory_set_data_handle")?,
                execute: function(library, "dnnl_primitive_execute")?,
                wait: function(library, "dnnl_stream_wait")?,
                destroy_description: function(library, "dnnl_memory_desc_destroy")?,
                destroy_primitive_description: function(library, "dnnl_primitive_desc_destroy")?,
                destroy_primitive: function(library, "dnnl_primitive_destroy")?,
                destroy_memory: function(library, "dnnl_memory_destroy")?,
                product: function(library, &of("matmul"))?,
                norm: function(library, &of("batch_normalization_forward"))?,
                norm_backward: function(library, &of("batch_normalization_backward"))?,
                softmax: function(library, &of("softmax_forward"))?,
                softmax_backward: function(library, &of("softmax_backward"))?,
                set_threads: function(library, "omp_set_num_threads")?,
                engine: AtomicPtr::new(engine),
                stream: AtomicPtr::new(stream),
            })
        }
    }

    fn compile<const N: usize>(
        &self,
        threads: usize,
        arguments: &[(c_int, Layout); N],
        describe: Description<N>,
    ) -> Result<Primitive, String> {
        const WORKSPACE_QUERY: c_int = 135;
        let engine = load(&self.engine);
        let mut descriptions = [null_mut(); N];
        let mut memories = Vec::new();
        // SAFETY: types as in `functions`; all handles were made by the library just before, and it
        // copies descriptions into what is made of them.
        unsafe {
            (self.set_threads)(c_int::try_from(threads).unwrap_or(c_int::MAX));
            for (description, (kind, layout)) in descriptions.iter_mut().zip(arguments) {
                *description = self.describe(layout)?;
                let create = |out| (self.create_memory)(out, *description, engine, null_mut());
                memories.push((*kind, AtomicPtr::new(made("a tensor's memory", create)?)));
            }
            let description = describe(self, descriptions, engine)?;
            let code = made("its code", |out| (self.create_primitive)(out, description))?;
            // Nothing, or the description of no elements, where there is none.
            let workspace = (self.query_memory)(description, WORKSPACE_QUERY, 0);
            // Has the library allocate it.
            let own = usize::MAX as Handle;
            let workspace = if workspace.is_null() {
                None
            } else {
                let create = |out| (self.create_memory)(out, workspace, engine, own);
                Some(AtomicPtr::new(made("its workspace", create)?))
            };
            check((self.destroy_primitive_description)(description), "clearing up")?;
            for description in descriptions {
                check((self.destroy_description)(description), "clearing up")?;
            }
            Ok(Primitive { code: AtomicPtr::new(code), arguments: memories, workspace })
        }
    }

    /// The description of a tensor, which must be destroyed.
    fn describe(&self, layout: &Layout) -> Result<Handle, String> {
        let (sizes, strides) = (layout.sizes.as_ptr(), layout.strides.as_ptr());
        let (rank, dtype) = (layout.rank as c_int, layout.dtype as c_int);
        // SAFETY: types as in `functions`, and the library reads no more than `rank` numbers, at most 4.
        let describe = |out| unsafe { (self.describe_memory)(out, rank, sizes, dtype, strides) };
        made("a tensor", describe)
    }

    /// # Safety
    /// As for [`run`].
    unsafe fn execute(&self, primitive: &Primitive, data: &[Handle]) -> Result<(), String> {
        let mut arguments: [Argument; 10] =
            std::array::from_fn(|_| Argument { kind: 0, memory: null_mut() });
        let mut count = 0;
        // SAFETY: types as in `functions`, live handles, and tensors as promised by the caller.
        unsafe {
            for ((kind, memory), &data) in primitive.arguments.iter().zip(data) {
                let memory = load(memory);
                check((self.set_data)(memory, data), "a tensor")?;
                arguments[count] = Argument { kind: *kind, memory };
                count += 1;
            }
            if let Some(workspace) = &primitive.workspace {
                arguments[count] = Argument { kind: kind::WORKSPACE, memory: load(workspace) };
                count += 1;
            }
            let (code, stream) = (load(&primitive.code), load(&self.stream));
            check((self.execute)(code, stream, count as c_int, arguments.as_ptr()), "a call")?;
            check((self.wait)(stream), "waiting")
        }
    }

    fn destroy(&self, primitive: Primitive) {
        // SAFETY: types as in `functions`; the handles are live and not used again. A failure would
        // only leak them.
        unsafe {
            (self.destroy_primitive)(load(&primitive.code));
            let memories = primitive.arguments.iter().map(|(_, memory)| memory);
            for memory in memories.chain(&primitive.workspace) {
                (self.destroy_memory)(load(memory));
            }
        }
    }
}
