//! Where threads of the pool stay awake for a moment after they have helped.
//!
//! Waking a thread takes tens of microseconds on a virtual machine, of the one that wakes as well. The
//! operations of a network follow each other faster than that, so a thread that has helped looks out for
//! the next call for [`STAY`] before it goes back to the pool, and lets other work of the pool pass.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rayon::Yield;

use super::gate::Gate;

/// How long a thread stays, in nanoseconds: longer than what lies between two operations of a training step,
/// short beside what anybody would notice.
const STAY: u64 = 200_000;

/// How long it stays in all before it goes back to the pool once, in nanoseconds: what lies below on its stack
/// may be work of the pool that waits for it.
const MOST: u64 = 5_000_000;

/// Looks at the door between two looks at the pool: about ten microseconds.
const LOOKS: usize = 256;

/// A grain's share of work takes about ten microseconds. So many grains are worth the call for a thread that
/// sleeps, whatever comes after.
const WORTH_WAKING: usize = 32;

/// The lobby of the global pool, the only one that callers outside of it call upon.
pub(super) static LOBBY: Lobby = Lobby::new();

pub(super) struct Lobby {
    /// Threads that stay, also while they look at the pool.
    present: AtomicUsize,
    /// Those at the door that nobody has claimed.
    free: AtomicUsize,
    /// Length of `calls`, to be looked at without the lock.
    waiting: AtomicUsize,
    /// One entry per claimed thread. It does not matter which of them answers which call.
    calls: Mutex<VecDeque<Arc<Gate>>>,
    /// When somebody last ended alone what threads that are awake would have helped with, as [`now`] tells.
    alone: AtomicU64,
}

impl Lobby {
    const fn new() -> Self {
        Self {
            present: AtomicUsize::new(0),
            free: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            calls: Mutex::new(VecDeque::new()),
            alone: AtomicU64::new(0),
        }
    }

    /// Whether work of so many grains gains by a call: threads are awake, or it is long, or it is one of
    /// several in a row, for which they will be.
    pub(super) fn pays(&self, grains: usize) -> bool {
        grains >= WORTH_WAKING
            || self.present.load(Ordering::Relaxed) > 0
            || now().saturating_sub(self.alone.load(Ordering::Relaxed)) < STAY
    }

    /// Somebody has just done alone what would have gained by threads that are awake.
    pub(super) fn was_missed(&self) {
        self.alone.store(now(), Ordering::Relaxed);
    }

    /// Calls up to `wanted` of those who stay to the gate, and says how many come.
    pub(super) fn call(&self, gate: &Arc<Gate>, wanted: usize) -> usize {
        let claim = |free: usize| free.checked_sub(free.min(wanted));
        let Ok(free) = self.free.fetch_update(Ordering::AcqRel, Ordering::Relaxed, claim) else {
            return 0;
        };
        let claimed = free.min(wanted);
        if claimed > 0 {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.extend((0..claimed).map(|_| Arc::clone(gate)));
            self.waiting.store(calls.len(), Ordering::Release);
        }
        claimed
    }

    /// Answers calls until none has come for [`STAY`]. For threads of the global pool.
    pub(super) fn stay(&self) {
        thread_local! {
            static STAYS: Cell<bool> = const { Cell::new(false) };
        }
        // A thread that looks at the pool may find such a call there: it is here already.
        if STAYS.replace(true) {
            return;
        }
        self.present.fetch_add(1, Ordering::Relaxed);
        let began = now();
        let mut since = began;
        while now() - since < STAY && now() - began < MOST {
            self.free.fetch_add(1, Ordering::Release);
            // Who is claimed waits for the call, which is on its way.
            let answered = loop {
                if self.answer() {
                    break true;
                }
                if self.leave() {
                    break false;
                }
            };
            if answered || rayon::yield_now() == Some(Yield::Executed) {
                since = now();
            }
        }
        self.present.fetch_sub(1, Ordering::Relaxed);
        STAYS.set(false);
    }

    /// Looks for a call for a while, and answers one.
    fn answer(&self) -> bool {
        for _ in 0..LOOKS {
            if self.waiting.load(Ordering::Acquire) > 0
                && let Some(gate) = self.next_call()
            {
                gate.help();
                return true;
            }
            spin_loop();
        }
        false
    }

    fn next_call(&self) -> Option<Arc<Gate>> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = calls.pop_front();
        self.waiting.store(calls.len(), Ordering::Release);
        gate
    }

    /// Takes this thread from the door, unless all there are claimed.
    fn leave(&self) -> bool {
        let one_less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less).is_ok()
    }
}

/// Nanoseconds since [`STAY`] before the first call of this: a time of 0 is long past.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    STAY + START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread::{scope, sleep};
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_claimed_thread_answers_one_call() {
        const CALLS: usize = 200;
        let (lobby, over) = (Lobby::new(), AtomicBool::new(false));
        let caller = || {
            for _ in 0..CALLS {
                let helped = AtomicUsize::new(0);
                let work = || {
                    helped.fetch_add(1, Ordering::Release);
                };
                let gate = Arc::new(Gate::new(&work));
                let mut claimed = 0;
                while claimed == 0 {
                    claimed = lobby.call(&gate, 2);
                    std::thread::yield_now();
                }
                assert!(claimed <= 2);
                while helped.load(Ordering::Acquire) < claimed || Arc::strong_count(&gate) > 1 {
                    std::thread::yield_now();
                }
                assert_eq!(helped.load(Ordering::Acquire), claimed);
            }
        };
        scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        lobby.stay();
                    }
                });
            }
            let callers = [scope.spawn(caller), scope.spawn(caller)];
            let outcomes = callers.map(|caller| caller.join());
            over.store(true, Ordering::Relaxed);
            assert!(outcomes.iter().all(Result::is_ok));
        });
        assert_eq!([lobby.free.into_inner(), lobby.present.into_inner()], [0, 0], "all have left");
        assert!(lobby.calls.into_inner().is_ok_and(|calls| calls.is_empty()));
    }

    #[test]
    fn short_work_pays_where_it_follows_other_work() {
        let lobby = Lobby::new();
        assert!(!lobby.pays(WORTH_WAKING - 1) && lobby.pays(WORTH_WAKING));
        // This thread may be held up in between.
        let followed = (0..1000).any(|_| {
            lobby.was_missed();
            lobby.pays(2)
        });
        assert!(followed);
        lobby.was_missed();
        sleep(Duration::from_nanos(2 * STAY));
        assert!(!lobby.pays(2));
        lobby.present.fetch_add(1, Ordering::Relaxed);
        assert!(lobby.pays(2));
    }
}
