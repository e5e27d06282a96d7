//! Matrix multiplication, `C = A B`.

use std::str::FromStr;

use tilewise_kernels::{
    Float, Gemm, Isa, MatMut, MatRef, PackedB, Precision, SumsTo, available, available_for_halves,
    bf16, f16, naive,
};

use crate::case::{Case, Implementation, Who, Work, Workload};
use crate::data::{Random, append, assert_close};
use crate::peers::{self, Owned, Peer};

/// Above this many multiplications the naive twin checks some rows only, and is not timed.
const NAIVE_LIMIT: usize = 1 << 21;

/// Squares from a few registers to beyond all caches; layers of small and middle-sized networks with
/// their weight (`tn`) and input (`nt`) gradients; layers of transformers; skinny ones; single rows and
/// columns; the transposes of one square; rows that lie a large power of two apart.
#[rustfmt::skip]
const SHAPES: &[&str] = &[
    "8", "16", "24", "32", "48", "64", "96", "128", "192", "256", "384", "512", "1024", "2048", "4096",
    "128x10x256", "10x256x128-tn",
    "64x25x12288", "12288x25x64-tn", "64x12288x25-nt",
    "512x512x784", "784x512x128-tn", "128x784x512-nt",
    "512x768x768", "512x3072x768", "512x768x3072", "128x4096x1024",
    "4096x32x4096", "32x4096x4096", "4096x4096x32",
    "1x1024x1024", "1x1024x1024-nt", "1024x1x1024",
    "1x4096x4096", "1x4096x4096-nt", "4096x1x4096",
    "512-tn", "512-nt", "512-tt",
    "256x2048x2048-tn", "256x2048x2048-nt", "240x2040x2040-nt",
];

/// What is multiplied: `m` x `k` by `k` x `n`, row-major or transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    m: usize,
    n: usize,
    k: usize,
    /// A is stored as `k` x `m`.
    a_transposed: bool,
    /// B is stored as `n` x `k`.
    b_transposed: bool,
}

impl FromStr for Shape {
    type Err = String;

    /// Reads `n` (a square) or `MxNxK`, then perhaps `-tn`, `-nt` or `-tt`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected N or MxNxK, perhaps with -tn, -nt or -tt, got {text:?}");
        let (sizes, layout) = text.split_once('-').unwrap_or((text, "nn"));
        let sizes: Vec<usize> =
            sizes.split('x').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let [m, n, k] = match sizes[..] {
            [n] => [n; 3],
            [m, n, k] => [m, n, k],
            _ => return Err(wrong()),
        };
        let (a_transposed, b_transposed) = match layout {
            "nn" => (false, false),
            "tn" => (true, false),
            "nt" => (false, true),
            "tt" => (true, true),
            _ => return Err(wrong()),
        };
        Ok(Self { m, n, k, a_transposed, b_transposed })
    }
}

impl Shape {
    fn multiplications(self) -> usize {
        self.m * self.n * self.k
    }

    fn layout(self) -> &'static str {
        match (self.a_transposed, self.b_transposed) {
            (false, false) => "",
            (true, false) => "-tn",
            (false, true) => "-nt",
            (true, true) => "-tt",
        }
    }
}

/// The usual shapes.
pub fn shapes() -> Vec<Shape> {
    SHAPES.iter().map(|text| text.parse().expect("a valid shape")).collect()
}

/// What operands are made of whose products are summed in `T`.
pub(crate) trait Operand<T: Float>: SumsTo<T> {
    /// As in ids.
    const NAME: &'static str;
    /// The paths that multiply this type.
    const PATHS: fn() -> tilewise_kernels::Result<&'static [Isa]>;

    fn nearest(x: f64) -> Self;

    /// `C = A B` by a peer.
    fn by_peer(by: Peer, a: MatRef<Self>, b: MatRef<Self>, c: MatMut<T>, threads: usize);

    /// The same in memory of the peer's own.
    fn owned(by: Peer, a: MatRef<Self>, b: MatRef<Self>) -> Box<dyn Owned>;
}

macro_rules! impl_operand {
    ($($t:ident to $sum:ident: $paths:path, $multiply:path, $owned:path;)*) => {$(
        impl Operand<$sum> for $t {
            const NAME: &'static str = stringify!($t);
            const PATHS: fn() -> tilewise_kernels::Result<&'static [Isa]> = $paths;

            fn nearest(x: f64) -> Self {
                $t::from_f64(x)
            }

            fn by_peer(
                by: Peer,
                a: MatRef<Self>,
                b: MatRef<Self>,
                c: MatMut<$sum>,
                threads: usize,
            ) {
                $multiply(by, a, b, c, threads);
            }

            fn owned(by: Peer, a: MatRef<Self>, b: MatRef<Self>) -> Box<dyn Owned> {
                $owned(by, a, b)
            }
        }
    )*};
}

/// Nobody who multiplies halves wants to own them.
fn nobody<E: Operand<f32>>(by: Peer, _a: MatRef<E>, _b: MatRef<E>) -> Box<dyn Owned> {
    panic!("{by} multiplies no {}", E::NAME);
}

impl_operand! {
    f32 to f32: available, peers::multiply, peers::own_product;
    f64 to f64: available, peers::multiply, peers::own_product;
    bf16 to f32: available_for_halves, peers::multiply_half, nobody;
    f16 to f32: available_for_halves, peers::multiply_half, nobody;
}

/// One case per shape.
pub(crate) fn cases<T: Float, E: Operand<T>>(shapes: &[Shape]) -> Vec<Case> {
    cases_at::<T, E>(shapes, Precision::F32)
}

/// Multiplications from which on other precisions are worth asking for.
const PRECISION_LIMIT: usize = 1 << 24;

/// Those of `f32` at other precisions, beside peers in `f32`.
pub(crate) fn cases_at_precisions(shapes: &[Shape]) -> Vec<Case> {
    let large = |shape: &&Shape| shape.multiplications() >= PRECISION_LIMIT;
    let large: Vec<Shape> = shapes.iter().filter(large).copied().collect();
    let precisions = [Precision::Bf16x6, Precision::Bf16x3, Precision::Bf16];
    precisions.into_iter().flat_map(|precision| cases_at::<f32, f32>(&large, precision)).collect()
}

fn cases_at<T: Float, E: Operand<T>>(shapes: &[Shape], precision: Precision) -> Vec<Case> {
    let plain = precision == Precision::F32;
    let name = if plain { E::NAME.to_owned() } else { format!("{}-as-{precision}", E::NAME) };
    let case = |&shape: &Shape| {
        let Shape { m, n, k, .. } = shape;
        let id = format!("gemm/{name}/{m}x{n}x{k}{}", shape.layout());
        let work = Work::Flops(2 * shape.multiplications() as u64);
        let bytes = (m * k + k * n) * size_of::<E>() + m * n * size_of::<T>();
        let mut case =
            Case::new(id, work, move || Product::<T, E>::new(shape, precision)).moving(bytes);
        case.paths = if plain { E::PATHS } else { available_for_halves };
        case.naive = shape.multiplications() <= NAIVE_LIMIT;
        case.packs = true;
        case
    };
    shapes.iter().map(case).collect()
}

struct Product<T, E> {
    shape: Shape,
    precision: Precision,
    a: Vec<E>,
    b: Vec<E>,
    /// B once more, for who wants it packed.
    packed: Option<PackedB<E>>,
    /// Both once more, for who takes only memory of his own.
    owned: Option<Box<dyn Owned>>,
    c: Vec<T>,
}

/// A row-major matrix, or the transpose of one.
fn view<T>(data: &[T], [rows, cols]: [usize; 2], transposed: bool) -> MatRef<'_, T> {
    let view = if transposed {
        MatRef::new(data, cols, rows).map(MatRef::t)
    } else {
        MatRef::new(data, rows, cols)
    };
    view.expect("a matrix of this shape")
}

fn narrow<T: Float, E: Operand<T>>(values: Vec<f64>) -> Vec<E> {
    values.into_iter().map(E::nearest).collect()
}

impl<T: Float, E: Operand<T>> Product<T, E> {
    fn new(shape: Shape, precision: Precision) -> Self {
        let Shape { m, n, k, .. } = shape;
        let mut random = Random::new(2);
        let mut uniform = |len| narrow(random.uniform(len, -1.0, 1.0));
        let (a, b) = (uniform(m * k), uniform(k * n));
        Self { shape, precision, a, b, packed: None, owned: None, c: vec![T::ZERO; m * n] }
    }

    /// Packs B for those that want it packed, and copies both for those that want to own them.
    fn pack(&mut self, by: Implementation) {
        let Shape { m, n, k, a_transposed, b_transposed } = self.shape;
        let a = view(&self.a, [m, k], a_transposed);
        let b = view(&self.b, [k, n], b_transposed);
        if let Who::Prepacked(isa) = by.who {
            let packed = PackedB::for_precision(b, self.precision, isa);
            self.packed = Some(packed.expect("a size that fits"));
        }
        if let Some(peer) = by.peer().filter(|peer| peer.owns_memory()) {
            self.owned = Some(E::owned(peer, a, b));
        }
    }

    /// Row `i` of the product, by the naive twin.
    fn naive_row(&self, i: usize) -> Vec<f64> {
        let Shape { m, n, k, a_transposed, b_transposed } = self.shape;
        let a = view(&self.a, [m, k], a_transposed).split_rows(i).1.split_rows(1).0;
        let b = view(&self.b, [k, n], b_transposed);
        let mut row = vec![T::ZERO; n];
        let c = MatMut::new(&mut row, 1, n).expect("a row");
        naive::gemm(T::ONE, a, b, T::ZERO, c);
        row.iter().map(|value| value.to_f64()).collect()
    }
}

impl<T: Float, E: Operand<T>> Workload for Product<T, E> {
    fn run(&mut self, by: Implementation) {
        let Shape { m, n, k, a_transposed, b_transposed } = self.shape;
        let a = view(&self.a, [m, k], a_transposed);
        let b = view(&self.b, [k, n], b_transposed);
        let c = MatMut::new(&mut self.c, m, n).expect("an output of this shape");
        if let Some(exec) = by.exec() {
            let done = match &self.packed {
                Some(packed) if matches!(by.who, Who::Prepacked(_)) => {
                    Gemm::with_packed(a, packed).and_then(|op| op.run(c, exec))
                }
                _ => Gemm::new(a, b).and_then(|op| op.precision(self.precision).run(c, exec)),
            };
            return done.expect("valid arguments");
        }
        match by.peer() {
            Some(peer) if peer.owns_memory() => self.owned.as_mut().expect("verified").run(),
            Some(peer) => E::by_peer(peer, a, b, c, by.threads),
            None => naive::gemm(T::ONE, a, b, T::ZERO, c),
        }
    }

    fn outputs(&self) -> Vec<f64> {
        let mut all = Vec::new();
        append(&self.c, &mut all);
        all
    }

    fn tolerance(&self) -> f64 {
        0.0
    }

    /// Multiplies small multiples of 1/8, whose products every order of summation adds exactly: no
    /// tolerance hides a mistake. Timing then uses full mantissas again.
    fn verify(&mut self, by: Implementation) {
        let Shape { m, n, k, .. } = self.shape;
        let mut random = Random::new(3);
        let a = std::mem::replace(&mut self.a, narrow(random.eighths(m * k)));
        let b = std::mem::replace(&mut self.b, narrow(random.eighths(k * n)));
        self.c.fill(T::NAN);
        self.pack(by);
        self.run(by);
        if let Some(owned) = self.owned.as_ref().filter(|_| by.owns_memory()) {
            self.c = owned.outputs().into_iter().map(T::from_f64).collect();
        }
        let every = self.shape.multiplications() <= NAIVE_LIMIT;
        let rows = (0..m).filter(|&i| every || [0, m / 3, m / 2, m - 1].contains(&i));
        for i in rows {
            let mut got = Vec::new();
            append(&self.c[i * n..][..n], &mut got);
            assert_close(&format!("{by}, row {i}"), &self.naive_row(i), &got, self.tolerance());
        }
        self.a = a;
        self.b = b;
        self.pack(by);
    }
}
