//! oneDNN's `f32` matrix product through its C API of version 3, opened when the program runs.
//!
//! A product is a compiled primitive there. It is kept from call to call, as its users do, so that
//! compiling costs nobody anything in a timed call.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock};

use libloading::os::unix::Library;
use tilewise_kernels::{Float, MatMut, MatRef};

use super::library::{function, open_first};
use super::product::check_shapes;

/// Everything oneDNN makes is a pointer to something opaque, and every call returns 0 or what failed.
type Handle = *mut c_void;
type Dims = [i64; 12];

#[repr(C)]
struct Argument {
    kind: c_int,
    memory: Handle,
}

const SOURCE: c_int = 1;
const DESTINATION: c_int = 17;
const WEIGHTS: c_int = 33;

#[repr(C)]
struct Version {
    major: c_int,
    minor: c_int,
    patch: c_int,
}

type DescribeMemory =
    unsafe extern "C" fn(*mut Handle, c_int, *const i64, c_int, *const i64) -> c_int;
type DescribeProduct =
    unsafe extern "C" fn(*mut Handle, Handle, Handle, Handle, Handle, Handle, Handle) -> c_int;
type Execute = unsafe extern "C" fn(Handle, Handle, c_int, *const Argument) -> c_int;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;

/// The functions of the library, and its CPU with a queue.
struct OneDnn {
    version: String,
    describe_memory: DescribeMemory,
    describe_product: DescribeProduct,
    create_primitive: unsafe extern "C" fn(*mut Handle, Handle) -> c_int,
    create_memory: unsafe extern "C" fn(*mut Handle, Handle, Handle, Handle) -> c_int,
    set_data: unsafe extern "C" fn(Handle, Handle) -> c_int,
    execute: Execute,
    wait: unsafe extern "C" fn(Handle) -> c_int,
    destroy_description: Destroy,
    destroy_product_description: Destroy,
    destroy_primitive: Destroy,
    destroy_memory: Destroy,
    /// Of its OpenMP runtime: primitives are compiled for as many threads as this was told last.
    set_threads: unsafe extern "C" fn(c_int),
    // Never null after opening; atomic because pointers are not shared between threads otherwise.
    engine: AtomicPtr<c_void>,
    stream: AtomicPtr<c_void>,
    product: Mutex<Option<Product>>,
}

/// What a primitive is compiled for: rows, columns and strides of A, B and C, and threads.
type Shape = ([[i64; 4]; 3], usize);

/// A compiled product with the memory objects of A, B and C.
struct Product {
    shape: Shape,
    primitive: AtomicPtr<c_void>,
    memories: [AtomicPtr<c_void>; 3],
}

fn open() -> Result<&'static OneDnn, String> {
    static OPENED: OnceLock<Result<OneDnn, String>> = OnceLock::new();
    OPENED.get_or_init(OneDnn::open).as_ref().map_err(Clone::clone)
}

/// The library's version, or why it cannot be used.
pub(super) fn version() -> Result<&'static str, String> {
    open().map(|found| found.version.as_str())
}

/// Element types, of which oneDNN multiplies only `f32`.
pub trait OneDnnElement: Float {
    /// `C = A B`.
    fn onednn(a: MatRef<Self>, b: MatRef<Self>, c: MatMut<Self>, threads: usize);
}

impl OneDnnElement for f32 {
    fn onednn(a: MatRef<f32>, b: MatRef<f32>, c: MatMut<f32>, threads: usize) {
        multiply(a, b, c, threads);
    }
}

impl OneDnnElement for f64 {
    fn onednn(_a: MatRef<f64>, _b: MatRef<f64>, _c: MatMut<f64>, _threads: usize) {
        panic!("onednn multiplies no f64");
    }
}

/// `C = A B`.
fn multiply(a: MatRef<f32>, b: MatRef<f32>, mut c: MatMut<f32>, threads: usize) {
    let library = open().unwrap_or_else(|why| panic!("onednn: {why}"));
    check_shapes(&a, &b, &c);
    let sizes = |sizes: [usize; 4]| sizes.map(|size| size as i64);
    let shapes = [
        sizes([a.rows(), a.cols(), a.row_stride(), a.col_stride()]),
        sizes([b.rows(), b.cols(), b.row_stride(), b.col_stride()]),
        sizes([c.rows(), c.cols(), c.row_stride(), c.col_stride()]),
    ];
    let shape = (shapes, threads);
    let mut kept = library.product.lock().expect("no panic while locked");
    if kept.as_ref().is_none_or(|product| product.shape != shape) {
        kept.take().into_iter().for_each(|old| library.destroy(old));
        *kept = Some(library.compile(shape).unwrap_or_else(|why| panic!("onednn: {why}")));
    }
    let product = kept.as_ref().expect("just compiled");
    let data =
        [a.data().as_ptr().cast_mut(), b.data().as_ptr().cast_mut(), c.data_mut().as_mut_ptr()];
    // SAFETY: the views prove that the three matrices lie inside their slices, the assertion that the
    // shapes fit; `c` is borrowed mutably, so it overlaps neither input, and those are only read.
    unsafe { library.run(product, data.map(<*mut f32>::cast)) }.expect("a compiled product runs");
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
            Ok(Self {
                version: format!("{major}.{minor}.{patch}"),
                describe_memory: function(library, "dnnl_memory_desc_create_with_strides")?,
                describe_product: function(library, "dnnl_matmul_primitive_desc_create")?,
                create_primitive: function(library, "dnnl_primitive_create")?,
                create_memory: function(library, "dnnl_memory_create")?,
                set_data: function(library, "dnnl_memory_set_data_handle")?,
                execute: function(library, "dnnl_primitive_execute")?,
                wait: function(library, "dnnl_stream_wait")?,
                destroy_description: function(library, "dnnl_memory_desc_destroy")?,
                destroy_product_description: function(library, "dnnl_primitive_desc_destroy")?,
                destroy_primitive: function(library, "dnnl_primitive_destroy")?,
                destroy_memory: function(library, "dnnl_memory_destroy")?,
                set_threads: function(library, "omp_set_num_threads")?,
                engine: AtomicPtr::new(engine),
                stream: AtomicPtr::new(stream),
                product: Mutex::new(None),
            })
        }
    }

    fn compile(&self, shape: Shape) -> Result<Product, String> {
        const F32: c_int = 3;
        let (matrices, threads) = shape;
        let engine = load(&self.engine);
        let mut descriptions = [null_mut(); 3];
        let mut memories = [null_mut(); 3];
        // SAFETY: types as in `functions`; all handles were made by the library just before, and it
        // copies descriptions into what is made of them.
        unsafe {
            (self.set_threads)(c_int::try_from(threads).unwrap_or(c_int::MAX));
            for (i, [rows, cols, row_stride, col_stride]) in matrices.into_iter().enumerate() {
                let (mut dims, mut strides): (Dims, Dims) = ([0; 12], [0; 12]);
                [dims[0], dims[1], strides[0], strides[1]] = [rows, cols, row_stride, col_stride];
                let (dims, strides) = (dims.as_ptr(), strides.as_ptr());
                let describe = |out| (self.describe_memory)(out, 2, dims, F32, strides);
                descriptions[i] = made("a matrix", describe)?;
                let create = |out| (self.create_memory)(out, descriptions[i], engine, null_mut());
                memories[i] = made("its memory", create)?;
            }
            let [a, b, c] = descriptions;
            let none = null_mut();
            let describe = |out| (self.describe_product)(out, engine, a, b, none, c, none);
            let description = made("a product", describe)?;
            let primitive = made("its code", |out| (self.create_primitive)(out, description))?;
            check((self.destroy_product_description)(description), "clearing up")?;
            for description in descriptions {
                check((self.destroy_description)(description), "clearing up")?;
            }
            let (primitive, memories) = (AtomicPtr::new(primitive), memories.map(AtomicPtr::new));
            Ok(Product { shape, primitive, memories })
        }
    }

    /// # Safety
    /// `data` must point to matrices of the product's shape: two to read, one to write.
    unsafe fn run(&self, product: &Product, data: [Handle; 3]) -> Result<(), String> {
        let [a, b, c] = product.memories.each_ref().map(load);
        let kinds = [(SOURCE, a), (WEIGHTS, b), (DESTINATION, c)];
        let arguments = kinds.map(|(kind, memory)| Argument { kind, memory });
        // SAFETY: types as in `functions`, live handles, and matrices as promised by the caller.
        unsafe {
            for (argument, data) in arguments.iter().zip(data) {
                check((self.set_data)(argument.memory, data), "a matrix")?;
            }
            let (primitive, stream) = (load(&product.primitive), load(&self.stream));
            check((self.execute)(primitive, stream, 3, arguments.as_ptr()), "a product")?;
            check((self.wait)(stream), "waiting")
        }
    }

    fn destroy(&self, product: Product) {
        // SAFETY: types as in `functions`; the handles are live and not used again. A failure would
        // only leak them.
        unsafe {
            (self.destroy_primitive)(load(&product.primitive));
            for memory in &product.memories {
                (self.destroy_memory)(load(memory));
            }
        }
    }
}
