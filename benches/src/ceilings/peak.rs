//! The rate of multiply-adds right beside what is made of them.
//!
//! A CPU lowers its clock under dense wide vectors and follows its temperature: what a loop reaches in the
//! first seconds of a run is not there any more after milliseconds of matrix products.

use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::amx::{self, Source};
use super::arithmetic::flops;
use crate::case::{Case, Implementation, Who};
use crate::measure::Clock;

/// Does some work, and returns how much.
type Body = Box<dyn FnMut() -> f64 + Send>;

/// The loops of the ceilings, ready to be timed: one for each thread of an implementation of ours.
pub struct Peak {
    bodies: Vec<Mutex<Body>>,
}

impl Peak {
    /// What bounds `by` in a matrix product: multiply-adds of its path, tiles where it has them for `bf16`.
    /// `None` for other operations and others' code, and where values are split, which multiplies several
    /// times what is counted.
    pub fn of(case: &Case, by: Implementation) -> Option<Self> {
        let (Who::Tilewise(isa) | Who::Prepacked(isa)) = by.who else { return None };
        let mut parts = case.id.split('/');
        let (op, dtype) = (parts.next()?, parts.next()?);
        if !["gemm", "gemm_batched", "gemm_to_halves"].contains(&op) {
            return None;
        }
        let body = |_| -> Option<Mutex<Body>> {
            Some(Mutex::new(match (dtype, amx::tiles(isa, Source::Registers)) {
                ("f64", _) => Box::new(flops::<f64>(isa)),
                ("bf16", Some(tiles)) => Box::new(tiles),
                // Without tiles `bf16` is widened.
                ("f32" | "bf16", _) => Box::new(flops::<f32>(isa)),
                _ => return None,
            }))
        };
        let bodies = (0..by.threads).map(body).collect::<Option<_>>()?;
        Some(Self { bodies })
    }

    /// Operations per second, all threads in sum: a single one is the caller's, several are those of the
    /// pool, which compute our products too. Takes about `time`.
    pub fn rate(&mut self, clock: Clock, time: Duration) -> f64 {
        if let [body] = &mut self.bodies[..] {
            return rate(body.get_mut().unwrap_or_else(PoisonError::into_inner), clock, time);
        }
        // Together, since they may share a core or its clock.
        let start = Barrier::new(rayon::current_num_threads());
        let all = rayon::broadcast(|thread| {
            start.wait();
            let body = self.bodies.get(thread.index());
            let body = body.map(|body| body.lock().unwrap_or_else(PoisonError::into_inner));
            body.map_or(0.0, |mut body| rate(&mut body, clock, time))
        });
        all.into_iter().sum()
    }
}

fn rate(body: &mut Body, clock: Clock, time: Duration) -> f64 {
    // Its code and operands come back into the caches.
    body();
    let mut amount = 0.0;
    let seconds = clock.time(|| {
        let start = Instant::now();
        while amount == 0.0 || start.elapsed() < time {
            amount += body();
        }
    });
    amount / seconds
}

#[cfg(test)]
mod tests {
    use tilewise_kernels::Isa;

    use super::*;
    use crate::cases;

    fn peak(case: &str, who: Who, threads: usize) -> Option<Peak> {
        Peak::of(&cases::find(case).expect("a case"), Implementation { who, threads })
    }

    #[test]
    fn products_of_ours_have_a_peak_on_as_many_threads() {
        let isa = Isa::best().expect("a path");
        let halves = Isa::best_for_halves().expect("a path");
        for (case, who) in [
            ("gemm/f32/8x8x8", Who::Tilewise(isa)),
            ("gemm/f64/8x8x8-tn", Who::Prepacked(isa)),
            ("gemm/bf16/8x8x8", Who::Tilewise(halves)),
            ("gemm/bf16/8x8x8", Who::Tilewise(isa)),
            ("gemm_batched/f32/1024x8x8x8", Who::Tilewise(isa)),
            ("gemm_to_halves/bf16/64x64x64", Who::Tilewise(halves)),
        ] {
            for threads in 1..=2 {
                let mut peak = peak(case, who, threads).expect(case);
                let rate = peak.rate(Clock::of(threads), Duration::ZERO);
                assert!(rate > 0.0 && rate.is_finite(), "{case} on {threads}: {rate}");
            }
        }
    }

    #[test]
    fn what_the_loops_do_not_bound_has_none() {
        let isa = Isa::best().expect("a path");
        for (case, who) in [
            ("gemm/f32/8x8x8", Who::Naive),
            ("gemm/f16/8x8x8", Who::Tilewise(isa)),
            ("gemm/f32-as-bf16x6/256x256x256", Who::Tilewise(isa)),
            ("gemm_to_halves/f16/64x64x64", Who::Tilewise(isa)),
            ("softmax/f32/128x10", Who::Tilewise(isa)),
            ("training_step/f32/64x64-128-10", Who::Tilewise(isa)),
        ] {
            assert!(peak(case, who, 1).is_none(), "{case}");
        }
    }
}
