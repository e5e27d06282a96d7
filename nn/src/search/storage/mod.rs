//! Where studies are kept: in memory, in a journal file that Optuna reads and writes as well, or in
//! Optuna's storage service.

mod journal;
pub(crate) mod json;
mod lock;
pub(crate) mod op;
pub(crate) mod replay;
#[cfg(feature = "grpc")]
mod service;
pub(crate) mod time;
pub(crate) mod worker;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

use journal::{Flush, Journal};
pub(crate) use op::Op;
pub(crate) use replay::{Event, Replay, StudyState};
#[cfg(feature = "grpc")]
use service::{Service, ServiceLock};

use crate::error::Result;
use crate::search::record::TrialRecord;
use worker::{WORKER, Worker};

/// Optuna's grace period: who does nothing for so long is taken for dead.
const GRACE: Duration = Duration::from_secs(30);

/// A name that nobody else has: 128 bits of the system's randomness.
pub(crate) fn unique() -> String {
    let bits = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", bits(), bits())
}

/// What a write needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To be seen by others soon.
    Note,
    /// To be on the disk with the next flush.
    End,
    /// To be on the disk when it is done.
    Keep,
    /// That nobody else decides anything at the same time. A trial that has begun need not be on the
    /// disk: what comes later brings it there, and if nothing does, it begins again with the same draws.
    Decide,
}

/// What came of a write.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// What happened since the last look, own records included.
    pub(crate) events: Vec<(usize, Event)>,
    /// The storage's number of the trial that was made.
    pub(crate) created: Option<u64>,
    /// Somebody else took the trial that was to be begun; nothing after that was written.
    pub(crate) lost: bool,
}

#[derive(Debug)]
enum Place {
    Memory(Worker),
    File(Journal, Worker),
    #[cfg(feature = "grpc")]
    Service(Box<Service>),
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
enum Held {
    File(lock::Lock),
    #[cfg(feature = "grpc")]
    Service(ServiceLock),
}

impl Held {
    /// Whether nobody took us for dead meanwhile.
    fn is_held(&self) -> Result<bool> {
        match self {
            Self::File(lock) => Ok(lock.is_held()),
            #[cfg(feature = "grpc")]
            Self::Service(lock) => lock.is_held(),
        }
    }
}

/// All studies, with where they are written.
#[derive(Debug)]
pub(crate) struct Storage {
    replay: Replay,
    place: Place,
}

impl Storage {
    /// Kept in memory only.
    pub(crate) fn in_memory() -> Self {
        Self { replay: Replay::default(), place: Place::Memory(Worker::in_memory()) }
    }

    /// Kept in the journal at `path`; other writers are waited for, at most for the grace period
    /// where they do nothing.
    pub(crate) fn open(path: &Path, grace: Option<Duration>) -> Result<Self> {
        let journal = Journal::open(path, grace.unwrap_or(GRACE))?;
        let worker = Worker::beside(path)?;
        Ok(Self { replay: Replay::default(), place: Place::File(journal, worker) })
    }

    /// Kept in the storage service at `url`.
    #[cfg(feature = "grpc")]
    pub(crate) fn at(url: &str, study: &str, grace: Option<Duration>) -> Result<Self> {
        let service = Service::new(url, study, grace.unwrap_or(GRACE))?;
        Ok(Self { replay: Replay::default(), place: Place::Service(Box::new(service)) })
    }

    /// Whether others may write, too.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self.place, Place::Memory(_))
    }

    /// The name of this worker.
    pub(crate) fn worker(&self) -> &str {
        match &self.place {
            Place::Memory(worker) | Place::File(_, worker) => &worker.id,
            #[cfg(feature = "grpc")]
            Place::Service(service) => service.worker(),
        }
    }

    pub(crate) fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Who runs a trial, if that is one of ours.
    pub(crate) fn owner<'a>(&self, trial: &'a TrialRecord) -> Option<&'a str> {
        match &self.place {
            Place::Memory(_) | Place::File(..) => trial.system_attrs.get(WORKER)?.as_str(),
            #[cfg(feature = "grpc")]
            Place::Service(_) => Service::owner(trial),
        }
    }

    /// Leaves a trial of ours to others; that of a journal when this process ends.
    #[cfg_attr(not(feature = "grpc"), expect(unused_variables, reason = "for services"))]
    pub(crate) fn abandon(&self, id: u64) {
        #[cfg(feature = "grpc")]
        if let Place::Service(service) = &self.place {
            service.abandon(id);
        }
    }

    /// Whether a trial that runs, with the storage's number `id`, will never be finished by the one
    /// who began it.
    #[cfg_attr(not(feature = "grpc"), expect(unused_variables, reason = "for services"))]
    pub(crate) fn is_abandoned(&self, id: u64, trial: &TrialRecord) -> bool {
        match &self.place {
            Place::Memory(_) => false,
            Place::File(journal, worker) => {
                let others = self.owner(trial).filter(|&owner| owner != worker.id);
                others.is_some_and(|owner| Worker::is_dead(journal.path(), owner))
            }
            #[cfg(feature = "grpc")]
            Place::Service(service) => service.is_abandoned(id, trial),
        }
    }

    /// Takes in what others wrote; gives what happened and in which study.
    pub(crate) fn sync(&mut self) -> Result<Vec<(usize, Event)>> {
        let replay = &mut self.replay;
        match &mut self.place {
            Place::Memory(_) => Ok(Vec::new()),
            Place::File(journal, _) => {
                let mut events = Vec::new();
                journal.read(|op| events.extend(replay.apply(op)))?;
                Ok(events)
            }
            #[cfg(feature = "grpc")]
            Place::Service(service) => service.sync(replay),
        }
    }

    /// Takes in attributes of studies as well, which services do not send along.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        #[cfg(feature = "grpc")]
        if let Place::Service(service) = &self.place {
            service.refresh(&mut self.replay)?;
        }
        Ok(())
    }

    /// Brings to the disk what waits for it.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match &mut self.place {
            Place::File(journal, _) => journal.flush(),
            _ => Ok(()),
        }
    }

    #[cfg_attr(not(feature = "grpc"), expect(unused_variables, reason = "for services"))]
    fn lock(&self, need: Need) -> Result<Option<Held>> {
        match &self.place {
            Place::Memory(_) => Ok(None),
            // Appending is what must not happen twice at a time.
            Place::File(journal, _) => journal.lock().map(|lock| Some(Held::File(lock))),
            #[cfg(feature = "grpc")]
            Place::Service(service) if need == Need::Decide => {
                service.lock().map(|lock| Some(Held::Service(lock)))
            }
            #[cfg(feature = "grpc")]
            Place::Service(_) => Ok(None),
        }
    }

    /// Lets `decide` say what to write when it has seen everything that was written before; with
    /// [`Need::Decide`], nobody else writes in between.
    pub(crate) fn write(
        &mut self,
        need: Need,
        decide: impl FnOnce(&Self) -> Vec<Op>,
    ) -> Result<Written> {
        let mut events = Vec::new();
        let held = loop {
            let held = self.lock(need)?;
            events.extend(self.sync()?);
            // Whoever was stopped for a while may have been passed over, and what it saw be old.
            if held.as_ref().map_or(Ok(true), Held::is_held)? {
                break held;
            }
        };
        let ops = decide(self);
        let mut written = Written { events, ..Written::default() };
        if ops.is_empty() {
            return Ok(written);
        }
        if ops.iter().any(|op| matches!(op, Op::CreateTrial { .. })) {
            written.created = Some(self.replay.trial_count());
        }
        match &mut self.place {
            Place::Memory(_) => {
                let events = ops.into_iter().filter_map(|op| self.replay.apply(op));
                written.events.extend(events);
            }
            Place::File(journal, worker) => {
                let flush = match need {
                    Need::Note | Need::Decide => Flush::Later,
                    Need::End => Flush::Soon,
                    Need::Keep => Flush::Now,
                };
                journal.append(&worker.id, &ops, flush)?;
                // What the file says is what happened, also to ourselves.
                written.events.extend(self.sync()?);
            }
            #[cfg(feature = "grpc")]
            Place::Service(service) => {
                let sent = service.send(&mut self.replay, &ops)?;
                (written.created, written.lost) = (sent.created, sent.lost);
                written.events.extend(self.sync()?);
            }
        }
        drop(held);
        Ok(written)
    }
}
