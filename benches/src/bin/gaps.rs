//! What a second thread brings where other work lies between calls: loops of one call and busy waiting, on one
//! thread and on as many as pay, in turns, from a thread outside of any pool.

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use tilewise_benches::measure::Summary;
use tilewise_kernels::{Exec, Exp, Gemm, MatMut, MatRef, Result};

/// Microseconds of other work after each call.
const GAPS: [u64; 4] = [0, 20, 100, 1000];
const ROUNDS: usize = 13;
/// How long a loop lasts, and how long threads may fall asleep before it.
const LOOP: Duration = Duration::from_millis(6);
const REST: Duration = Duration::from_millis(2);

fn main() -> Result<()> {
    println!(
        "time on one thread over that on as many as pay, by microseconds between calls: {GAPS:?}"
    );
    for [m, n, k] in [[128; 3], [192; 3], [256; 3], [64, 25, 12288], [12288, 25, 64]] {
        let (a, b, mut c) = (values(m * k), values(k * n), vec![0.0; m * n]);
        let product = |exec| {
            Gemm::new(MatRef::new(&a, m, k)?, MatRef::new(&b, k, n)?)?
                .run(MatMut::new(&mut c, m, n)?, exec)
        };
        show(&format!("gemm {m}x{n}x{k}"), product)?;
    }
    for len in [65_536, 262_144] {
        let (x, mut y) = (values(len), vec![0.0; len]);
        show(&format!("exp {len}"), |exec| Exp::new(black_box(&x), &mut y)?.run(exec))?;
    }
    Ok(())
}

/// Values between -1 and 1; their order does not matter to the time.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 101) as f32 / 50.0 - 1.0).collect()
}

fn show(name: &str, mut call: impl FnMut(Exec) -> Result<()>) -> Result<()> {
    print!("{name:<20}");
    for gap in GAPS {
        let mut samples = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for turn in 0..2 {
                let who = (round + turn) % 2;
                let exec = [Exec::serial(), Exec::default()][who];
                samples[who].push(seconds(Duration::from_micros(gap), || call(exec))?);
            }
        }
        let [one, all] = samples.map(|samples| Summary::new(&samples).median);
        print!("  {:.2} ({:.1} us)", one / all, all * 1e6);
    }
    println!();
    Ok(())
}

/// The mean time of a call.
fn seconds(gap: Duration, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    std::thread::sleep(REST);
    let (begin, mut calls, mut busy) = (Instant::now(), 0, Duration::ZERO);
    while begin.elapsed() < LOOP {
        let start = Instant::now();
        call()?;
        busy += start.elapsed();
        calls += 1;
        let rest = Instant::now();
        while rest.elapsed() < gap {
            spin_loop();
        }
    }
    Ok(busy.as_secs_f64() / f64::from(calls))
}
