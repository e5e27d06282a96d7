//! What the machine can do at most, measured in the same run as what is compared with it: the rate
//! of multiply-adds on each path, and the bandwidth of each level of memory.
//!
//! Written in the vector vocabulary of the kernels, so that a ceiling is one of what our code may
//! use. Of several ways to move data the fastest counts, and of several attempts the best: a ceiling
//! that is too low would flatter everybody.

use std::fs;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use tilewise_kernels::simd::{Kernel, Simd};
use tilewise_kernels::{Float, Isa, available};

use crate::case::Case;
use crate::record::Ceiling;

/// All of them, for one number of threads.
#[derive(Debug, Clone, Default)]
pub struct Ceilings {
    /// In the order in which they were measured.
    pub list: Vec<Ceiling>,
    /// Names of the levels of memory and how many bytes they hold per thread, smallest first.
    levels: Vec<(String, usize)>,
}

impl Ceilings {
    /// Measures for about `seconds`, on that many threads at once.
    ///
    /// # Panics
    /// If `TILEWISE_MAX_ISA` holds an unknown name.
    pub fn measure(threads: usize, seconds: f64) -> Self {
        let paths = available().unwrap_or_else(|error| panic!("{error}"));
        let levels = levels();
        let parts = 2 * paths.len() + 2 * levels.len();
        let each = Duration::from_secs_f64(seconds / parts as f64);
        let mut list = Vec::new();
        for &isa in paths {
            for (name, rate) in [
                (f32::NAME, on_threads(threads, each, || flops::<f32>(isa))),
                (f64::NAME, on_threads(threads, each, || flops::<f64>(isa))),
            ] {
                list.push(Ceiling { name: format!("flops/{name}/{isa}"), rate });
            }
        }
        let best = *paths.last().expect("never empty");
        for (level, bytes) in &levels {
            // Half of a level: other data needs room too.
            let values = bytes / 2 / size_of::<f32>();
            let read = on_threads(threads, each, || reader(best, values));
            let copy = on_threads(threads, each, || copier(best, values));
            list.push(Ceiling { name: format!("read/{level}"), rate: read });
            list.push(Ceiling { name: format!("copy/{level}"), rate: copy });
        }
        Self { list, levels }
    }

    fn rate(&self, name: &str) -> Option<f64> {
        self.list.iter().find(|ceiling| ceiling.name == name).map(|ceiling| ceiling.rate)
    }

    /// The seconds below which no call of `case` can take on a path: its operations at the rate of
    /// multiply-adds or its bytes at the bandwidth of the level that holds them, whichever is longer.
    /// `None` where nothing is counted.
    pub fn shortest(&self, case: &Case, isa: Isa) -> Option<f64> {
        let dtype = case.id.split('/').nth(1)?;
        let arithmetic =
            self.rate(&format!("flops/{dtype}/{isa}")).map(|rate| case.flops as f64 / rate);
        let last = self.levels.last()?;
        let holds = |level: &&(String, usize)| level.1 as u64 >= case.bytes;
        let (level, _) = self.levels.iter().find(|level| holds(level)).unwrap_or(last);
        let bandwidth =
            self.rate(&format!("read/{level}"))?.max(self.rate(&format!("copy/{level}"))?);
        let longest = arithmetic.unwrap_or(0.0).max(case.bytes as f64 / bandwidth);
        (longest > 0.0).then_some(longest)
    }
}

/// Bytes of the array that stands for main memory: more than what one core gets of a cache shared by
/// dozens, and little enough for a small machine.
const MAIN_MEMORY: usize = 512 << 20;

/// The largest array that counts as inside a shared third-level cache, of which virtual machines
/// report the whole although neighbours use it too.
const SHARED_CACHE: usize = 32 << 20;

/// The data caches of the first CPU as (level, bytes).
pub fn caches() -> Vec<(u32, usize)> {
    let mut found = Vec::new();
    for index in 0..8 {
        let read = |file: &str| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
            fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
        };
        let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size"))
        else {
            continue;
        };
        let kibibytes = size.strip_suffix('K').and_then(|digits| digits.parse::<usize>().ok());
        if let (Ok(level), Some(kibibytes), true) =
            (level.parse(), kibibytes, kind != "Instruction")
        {
            found.push((level, kibibytes << 10));
        }
    }
    found
}

/// Names and sizes of the levels to measure. Where the system tells no caches, usual sizes.
fn levels() -> Vec<(String, usize)> {
    let mut caches = caches();
    if caches.is_empty() {
        caches = vec![(1, 32 << 10), (2, 512 << 10), (3, 8 << 20)];
    }
    let bounded = |(level, bytes): (u32, usize)| (format!("L{level}"), bytes.min(SHARED_CACHE));
    let mut levels: Vec<_> = caches.into_iter().map(bounded).collect();
    levels.push(("memory".into(), MAIN_MEMORY));
    levels
}

/// The rates of all threads in sum. `make` builds on each thread a body that does some work and
/// returns how much; the best of many calls within `time` counts.
fn on_threads<B: FnMut() -> f64>(
    threads: usize,
    time: Duration,
    make: impl Fn() -> B + Sync,
) -> f64 {
    let barrier = Barrier::new(threads);
    let one = || {
        let mut body = make();
        body();
        barrier.wait();
        let start = Instant::now();
        let mut best = 0.0_f64;
        while best == 0.0 || start.elapsed() < time {
            let call = Instant::now();
            let amount = body();
            best = best.max(amount / call.elapsed().as_secs_f64());
        }
        best
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|thread| thread.join().expect("a ceiling's thread")).sum()
    })
}

/// Independent sums: more than latency times units on any CPU, and few enough for 16 registers.
const SUMS: usize = 12;

struct MultiplyAdds {
    steps: usize,
}

impl<T: Float> Kernel<T> for MultiplyAdds {
    /// A value that depends on every step, and the number of operations.
    type Output = (T, f64);

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> (T, f64) {
        // Sums approach 1: numbers stay normal, which keeps the rate that of usual data.
        let half = simd.splat(black_box(T::HALF));
        let mut sums = [simd.splat(T::ONE); SUMS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = simd.mul_add(*sum, half, half);
            }
        }
        let mut total = simd.zero();
        for sum in sums {
            total = simd.add(total, sum);
        }
        (simd.sum_lanes(total), (2 * S::LANES * SUMS * self.steps) as f64)
    }
}

fn flops<T: Float>(isa: Isa) -> impl FnMut() -> f64 {
    move || {
        let (value, count) = isa.run::<T, _>(MultiplyAdds { steps: 20_000 });
        black_box(value);
        count
    }
}

/// Vectors per turn of a loop, each with its own sum, so that nothing waits for additions.
const AT_ONCE: usize = 8;

struct Read<'a>(&'a [f32]);

impl Kernel<f32> for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) -> f32 {
        let mut sums = [simd.zero(); AT_ONCE];
        for block in self.0.chunks_exact(AT_ONCE * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = simd.add(*sum, simd.load(&block[i * S::LANES..]));
            }
        }
        let mut total = simd.zero();
        for sum in sums {
            total = simd.add(total, sum);
        }
        simd.sum_lanes(total)
    }
}

struct Copy<'a>(&'a [f32], &'a mut [f32]);

impl Kernel<f32> for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<f32>>(self, simd: S) {
        let width = AT_ONCE * S::LANES;
        for (from, to) in self.0.chunks_exact(width).zip(self.1.chunks_exact_mut(width)) {
            for i in 0..AT_ONCE {
                simd.store(simd.load(&from[i * S::LANES..]), &mut to[i * S::LANES..]);
            }
        }
    }
}

/// Values per cache line of 64 bytes.
const LINE: usize = 16;

/// `len` values, and where among them a cache line begins.
fn aligned(len: usize) -> (Vec<f32>, usize) {
    let values = vec![1.0; len + LINE];
    // Offsets are in values; a failure to find one costs speed only.
    let start = values.as_ptr().align_offset(64);
    (values, start.min(LINE))
}

/// Values that one call moves of an array bigger than that: among many short calls some meet a quiet
/// machine. The window then moves on, so that nothing is in a cache when its turn comes again.
const WINDOW: usize = 4 << 20;

/// A place in an array that is walked by windows, round and round.
struct Walk {
    len: usize,
    at: usize,
}

impl Walk {
    fn next(&mut self) -> std::ops::Range<usize> {
        let start = self.at;
        let end = (start + WINDOW).min(self.len);
        self.at = if end == self.len { 0 } else { end };
        start..end
    }
}

/// Repetitions that make a call some 100 microseconds long where the array is small.
fn repetitions(values: usize) -> usize {
    (1_000_000 / values.max(1)).max(1)
}

fn reader(isa: Isa, values: usize) -> impl FnMut() -> f64 {
    let (data, start) = aligned(values);
    let times = repetitions(values);
    let mut walk = Walk { len: values, at: 0 };
    move || {
        let window = walk.next();
        let data = &data[start..][window];
        for _ in 0..times {
            black_box(isa.run(Read(black_box(data))));
        }
        (times * size_of_val(data)) as f64
    }
}

/// Copies in turn by our vectors and by the system, whose copy of a big array does not read what it
/// overwrites.
fn copier(isa: Isa, values: usize) -> impl FnMut() -> f64 {
    // Both arrays together are as big as what a reader reads.
    let len = values / 2;
    let ((from, i), (mut to, j)) = (aligned(len), aligned(len));
    let times = repetitions(len);
    let mut walk = Walk { len, at: 0 };
    let mut turn = 0;
    move || {
        turn += 1;
        let window = walk.next();
        let bytes = window.len() * size_of::<f32>();
        for _ in 0..times {
            let from = black_box(&from[i..][window.clone()]);
            let to = &mut to[j..][window.clone()];
            if turn % 2 == 0 {
                isa.run(Copy(from, to));
            } else {
                to.copy_from_slice(from);
            }
        }
        black_box(&to);
        (2 * times * bytes) as f64
    }
}
