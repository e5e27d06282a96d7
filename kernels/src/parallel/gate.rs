//! Threads of the pool that help a thread outside of it, and need not be waited for when they come late.
//!
//! A scope of rayon ends when every thread that it called has come, even where nothing is left to do by
//! then, and its caller sleeps until the last one has told it. On a virtual machine each of the two
//! takes as long as a product of 256 x 256 matrices. Here a thread that comes late finds the gate closed,
//! and the caller stays awake for those inside.

use std::any::Any;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::lobby::LOBBY;

/// The caller has ended its part: nobody may begin any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Looks at the count of those inside before the caller sleeps: about 100 microseconds, as long as waking
/// it may take.
const LOOKS: usize = 2000;

/// Runs `work` on this thread, and on up to `helpers` threads of the pool as long as this one is at it.
/// Returns when all that began have ended; a panic of any of them goes on here.
pub(super) fn run_with_helpers(helpers: usize, work: &(dyn Fn() + Sync)) {
    let gate = Arc::new(Gate::new(work));
    for _ in LOBBY.call(&gate, helpers)..helpers {
        let gate = Arc::clone(&gate);
        rayon::spawn(move || {
            gate.help();
            drop(gate);
            LOBBY.stay();
        });
    }
    // Also where `work` panics.
    let closing = Closing(&gate);
    work();
    drop(closing);
    let panic = gate.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

pub(super) struct Gate {
    /// Valid for those inside.
    work: *const (dyn Fn() + Sync),
    /// Number of helpers inside, and [`CLOSED`].
    inside: AtomicUsize,
    /// The first panic of a helper; the last one to leave a closed gate tells while it holds this.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    empty: Condvar,
}

// SAFETY: `work` may be called from any thread, since it is `Sync`, and it is called only by helpers that
// entered before the gate was closed; the caller, who borrows it, waits for these.
unsafe impl Send for Gate {}
// SAFETY: as above.
unsafe impl Sync for Gate {}

impl Gate {
    pub(super) fn new(work: &(dyn Fn() + Sync)) -> Self {
        // SAFETY: the same pointer; `help` follows it only while `run_with_helpers` borrows `work`.
        let work = unsafe {
            std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync + 'static)>(
                work,
            )
        };
        let (inside, panic, empty) = (AtomicUsize::new(0), Mutex::new(None), Condvar::new());
        Self { work, inside, panic, empty }
    }

    /// What a thread of the pool does when it gets here.
    pub(super) fn help(&self) {
        if self.inside.fetch_add(1, Ordering::Acquire) & CLOSED == 0 {
            // SAFETY: the gate was open when this helper was counted, so the caller waits for it.
            let work = unsafe { &*self.work };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
        }
        if self.inside.fetch_sub(1, Ordering::Release) == CLOSED + 1 {
            // Not between the caller's last look and its sleep.
            let _held = self.panic.lock();
            self.empty.notify_one();
        }
    }

    fn is_empty(&self) -> bool {
        self.inside.load(Ordering::Acquire) == CLOSED
    }
}

/// Closes the gate when it goes out of scope, and waits for those inside.
struct Closing<'a>(&'a Gate);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let Self(gate) = self;
        gate.inside.fetch_or(CLOSED, Ordering::AcqRel);
        for _ in 0..LOOKS {
            if gate.is_empty() {
                return;
            }
            spin_loop();
        }
        let mut held = gate.panic.lock().unwrap_or_else(PoisonError::into_inner);
        while !gate.is_empty() {
            held = gate.empty.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_inside_are_waited_for() {
        for patience in [Duration::ZERO, Duration::from_millis(20)] {
            let (count, both_began) = (AtomicUsize::new(0), Barrier::new(2));
            run_with_helpers(1, &|| {
                both_began.wait();
                if rayon::current_thread_index().is_some() {
                    std::thread::sleep(patience);
                }
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 2);
        }
    }

    #[test]
    fn a_late_helper_finds_nothing_to_do() {
        let work = || panic!("nobody is here any more");
        let gate = Gate::new(&work);
        drop(Closing(&gate));
        gate.help();
        assert!(gate.is_empty() && gate.panic.into_inner().is_ok_and(|panic| panic.is_none()));
    }

    #[test]
    fn panics_reach_the_caller() {
        for in_pool in [false, true] {
            let both_began = Barrier::new(2);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                run_with_helpers(1, &|| {
                    both_began.wait();
                    assert_ne!(rayon::current_thread_index().is_some(), in_pool, "as wanted");
                });
            }));
            assert!(outcome.is_err(), "in the pool: {in_pool}");
        }
    }
}
