//! The vocabulary of a measurement: who runs, what, and how much work that is.

use std::fmt;

use tilewise_kernels::{Exec, Float, Isa, Result, available};

use crate::data::{append, assert_close};
use crate::peers::{Native, Owned, Peer, RustCrate};

/// Whose code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The executable specification in `tilewise_kernels::naive`.
    Naive,
    /// Our kernel on one instruction set.
    Tilewise(Isa),
    /// The same for a matrix product whose right operand was packed before, as weights can be.
    Prepacked(Isa),
    /// A crate that this was built with.
    Crate(RustCrate),
    /// A native library found when the program runs.
    Native(Native),
}

/// Whose code runs, on how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Implementation {
    /// Whose code.
    pub who: Who,
    /// At most this many threads; 1 means the calling thread.
    pub threads: usize,
}

impl Implementation {
    /// On the calling thread.
    pub fn serial(who: Who) -> Self {
        Self { who, threads: 1 }
    }

    /// Whether this is ours and meant to be fast.
    pub fn is_tilewise(self) -> bool {
        matches!(self.who, Who::Tilewise(_) | Who::Prepacked(_))
    }

    /// Who else this is: `None` where it is ours.
    pub(crate) fn peer(self) -> Option<Peer> {
        match self.who {
            Who::Crate(rust) => Some(Peer::Crate(rust)),
            Who::Native(native) => Some(Peer::Native(native)),
            _ => None,
        }
    }

    /// Whether it computes in memory of its own.
    pub(crate) fn owns_memory(self) -> bool {
        self.peer().is_some_and(Peer::owns_memory)
    }

    /// How our kernels are told to run this: `None` where it is not ours.
    pub(crate) fn exec(self) -> Option<Exec> {
        let (Who::Tilewise(isa) | Who::Prepacked(isa)) = self.who else { return None };
        // Above one thread the kernel itself decides whether they pay, as it does for users.
        let exec = if self.threads == 1 { Exec::serial() } else { Exec::default() };
        Some(exec.isa(isa))
    }
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.who {
            Who::Naive => "naive",
            Who::Tilewise(isa) | Who::Prepacked(isa) => isa.name(),
            Who::Crate(rust) => rust.name(),
            Who::Native(native) => native.name(),
        })?;
        if matches!(self.who, Who::Prepacked(_)) {
            f.write_str("-packed")?;
        }
        if self.threads > 1 { write!(f, "-{}threads", self.threads) } else { Ok(()) }
    }
}

/// What one call achieves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Floating-point operations.
    Flops(u64),
    /// Bytes that must move at least: each input read once, each output written once.
    Bytes(u64),
}

impl Work {
    /// Work that reads and writes `count` values of type `T` in all.
    pub fn values<T>(count: usize) -> Self {
        Self::Bytes((count * size_of::<T>()) as u64)
    }
}

/// An operation with its buffers.
pub trait Workload: Send {
    /// One call.
    fn run(&mut self, by: Implementation);

    /// What the last call computed.
    fn outputs(&self) -> Vec<f64>;

    /// Brings state that calls change back to the start.
    fn reset(&mut self) {}

    /// How far results may lie from the naive twin's, relative to values above 1.
    fn tolerance(&self) -> f64;

    /// Panics if `by` computes something else than the naive twin.
    fn verify(&mut self, by: Implementation) {
        self.reset();
        self.run(Implementation::serial(Who::Naive));
        let expected = self.outputs();
        self.reset();
        self.run(by);
        // Others may round more coarsely than we allow ourselves to, and are not to be left out for it.
        let slack = if by.peer().is_some() { 8.0 } else { 1.0 };
        assert_close(&by.to_string(), &expected, &self.outputs(), slack * self.tolerance());
    }
}

/// What somebody else computes from the same inputs, on that many threads.
type Theirs<T> = Box<dyn Fn(Peer, &[Vec<T>], &mut Vec<T>, usize) + Send>;
/// The same in memory of his own.
type Own<T> = Box<dyn Fn(Peer, &[Vec<T>]) -> Box<dyn Owned> + Send>;

/// A workload that writes one buffer from others, by our kernel and by its naive twin.
pub(crate) struct Simple<T, F, N> {
    inputs: Vec<Vec<T>>,
    out: Vec<T>,
    tolerance: f64,
    fast: F,
    naive: N,
    theirs: Option<Theirs<T>>,
    own: Option<Own<T>>,
    owned: Option<Box<dyn Owned>>,
    /// Whether the last call computed there.
    apart: bool,
}

impl<T, F, N> Simple<T, F, N>
where
    T: Float,
    F: Fn(&[Vec<T>], &mut [T], Exec) -> Result<()> + Send,
    N: Fn(&[Vec<T>], &mut [T]) + Send,
{
    /// A workload with `len` outputs and a [`Workload::tolerance`].
    pub(crate) fn new(inputs: Vec<Vec<T>>, len: usize, tolerance: f64, fast: F, naive: N) -> Self {
        let out = vec![T::ZERO; len];
        let (theirs, own, owned, apart) = (None, None, None, false);
        Self { inputs, out, tolerance, fast, naive, theirs, own, owned, apart }
    }

    /// The same with peers, where [`crate::peers`] says that they can.
    pub(crate) fn beside(
        self,
        theirs: impl Fn(Peer, &[Vec<T>], &mut Vec<T>, usize) + Send + 'static,
    ) -> Self {
        Self { theirs: Some(Box::new(theirs)), ..self }
    }

    /// The same with peers who compute in memory of their own.
    pub(crate) fn apart(
        self,
        own: impl Fn(Peer, &[Vec<T>]) -> Box<dyn Owned> + Send + 'static,
    ) -> Self {
        Self { own: Some(Box::new(own)), ..self }
    }
}

impl<T, F, N> Workload for Simple<T, F, N>
where
    T: Float,
    F: Fn(&[Vec<T>], &mut [T], Exec) -> Result<()> + Send,
    N: Fn(&[Vec<T>], &mut [T]) + Send,
{
    fn run(&mut self, by: Implementation) {
        self.apart = by.owns_memory();
        if let Some(exec) = by.exec() {
            return (self.fast)(&self.inputs, &mut self.out, exec).expect("valid arguments");
        }
        if let (Some(peer), Some(own), true) = (by.peer(), &self.own, self.apart) {
            return self.owned.get_or_insert_with(|| own(peer, &self.inputs)).run();
        }
        match (by.peer(), &self.theirs) {
            (Some(peer), Some(theirs)) => theirs(peer, &self.inputs, &mut self.out, by.threads),
            _ => (self.naive)(&self.inputs, &mut self.out),
        }
    }

    /// Whoever writes nothing must not pass for the one before.
    fn reset(&mut self) {
        self.out.fill(T::NAN);
    }

    fn outputs(&self) -> Vec<f64> {
        if let Some(owned) = self.owned.as_ref().filter(|_| self.apart) {
            return owned.outputs();
        }
        let mut all = Vec::new();
        append(&self.out, &mut all);
        all
    }

    fn tolerance(&self) -> f64 {
        self.tolerance
    }
}

/// One operation on one shape.
pub struct Case {
    /// `<op>/<dtype>/<shape>`
    pub id: String,
    /// What one call achieves.
    pub work: Work,
    /// Floating-point operations of one call; 0 where they are not counted.
    pub flops: u64,
    /// Bytes that one call must move at least; 0 where they are not counted.
    pub bytes: u64,
    /// Bytes of memory that one call touches: fewer than it moves where something is read and written.
    pub held: u64,
    /// Whether the naive twin is quick enough to be timed.
    pub naive: bool,
    /// Whether this is a matrix product whose right operand can be packed before.
    pub packs: bool,
    /// Our paths for it, the fastest last.
    pub paths: fn() -> Result<&'static [Isa]>,
    prepare: Box<dyn Fn() -> Box<dyn Workload> + Send + Sync>,
}

impl Case {
    /// A case that also times the naive twin.
    pub fn new<W: Workload + 'static>(
        id: String,
        work: Work,
        prepare: impl Fn() -> W + Send + Sync + 'static,
    ) -> Self {
        let prepare = Box::new(move || Box::new(prepare()) as Box<dyn Workload>);
        let (flops, bytes) = match work {
            Work::Flops(count) => (count, 0),
            Work::Bytes(count) => (0, count),
        };
        Self {
            id,
            work,
            flops,
            bytes,
            held: bytes,
            naive: true,
            packs: false,
            paths: available,
            prepare,
        }
    }

    /// The same with the floating-point operations of one call counted, too.
    #[must_use]
    pub fn counting(self, flops: usize) -> Self {
        Self { flops: flops as u64, ..self }
    }

    /// The same with the bytes counted that one call must move at least, too.
    #[must_use]
    pub fn moving(self, bytes: usize) -> Self {
        Self { bytes: bytes as u64, held: bytes as u64, ..self }
    }

    /// The same where a call touches fewer bytes than it moves.
    #[must_use]
    pub fn holding(self, bytes: usize) -> Self {
        Self { held: bytes as u64, ..self }
    }

    /// Makes the buffers.
    pub fn prepare(&self) -> Box<dyn Workload> {
        (self.prepare)()
    }

    /// Everything that can run this case in this process: each path on one thread, the best one also
    /// on `threads`, and other people's code.
    ///
    /// # Panics
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn implementations(&self, threads: usize) -> Vec<Implementation> {
        let paths = (self.paths)().unwrap_or_else(|error| panic!("{error}"));
        let mut list = Vec::new();
        if self.naive {
            list.push(Implementation::serial(Who::Naive));
        }
        list.extend(paths.iter().map(|&isa| Implementation::serial(Who::Tilewise(isa))));
        let best = *paths.last().expect("never empty");
        if threads > 1 {
            list.push(Implementation { who: Who::Tilewise(best), threads });
        }
        if self.packs {
            list.push(Implementation::serial(Who::Prepacked(best)));
        }
        list.extend(self.crates(1));
        if threads > 1 {
            list.extend(self.crates(threads));
        }
        list.extend(self.natives());
        list
    }

    /// Other crates that can run this case on that many threads.
    pub fn crates(&self, threads: usize) -> Vec<Implementation> {
        let able = RustCrate::ALL.into_iter().filter(|rust| rust.can(&self.id, threads));
        able.map(|rust| Implementation { who: Who::Crate(rust), threads }).collect()
    }

    /// Native libraries that are here and can run this case, on one thread: on several their thread
    /// pools would disturb whoever is timed next in the same process.
    pub fn natives(&self) -> Vec<Implementation> {
        let able = Native::ALL.into_iter().filter(|native| native.can(&self.id, 1));
        able.map(|native| Implementation::serial(Who::Native(native))).collect()
    }
}
