//! A lock for those who share a study through a service that has none.
//!
//! The one thing of which the service makes sure is that two studies never have the same name. So
//! whoever wants the lock makes the study `<name> (lock N)`, N one more than the newest there is, and
//! has it if that succeeds. It is let go with an attribute, and the next one removes it. A lock whose
//! holder died is passed over in the same way after the grace period: of several who do that only one
//! can make the next. A holder who was slow or stopped for a while asks before it decides.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tonic::Code;

use super::client::Client;
use super::wire;
use crate::error::Result;
use crate::search::storage::lock::Silence;

const FREE: &str = "tilewise:free";

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct ServiceLock {
    client: Arc<Client>,
    name: String,
    id: i64,
    number: u64,
    /// Until when nobody can have passed it over, and nobody need be asked.
    sure: Instant,
}

impl ServiceLock {
    /// Waits for the lock of the study `name`, and passes over one that is held for longer than
    /// `grace`. Time during which the service cannot be reached does not count.
    pub(super) fn acquire(client: &Arc<Client>, name: &str, grace: Duration) -> Result<Self> {
        let (mut pause, mut seen) = (Duration::from_millis(1), None);
        let mut silence = Silence::new();
        loop {
            let locks = all(client, name)?;
            let newest = locks.iter().max_by_key(|lock| lock.number);
            let (now, number) = (client.outages(), newest.map_or(0, |lock| lock.number));
            let mut length = silence.after(pause);
            if seen != Some((number, now)) {
                (seen, silence, length) = (Some((number, now)), Silence::new(), Duration::ZERO);
            }
            if newest.is_none_or(|lock| lock.free) || length > grace {
                let (sure, number) = (Instant::now() + grace / 2, number + 1);
                if let Some(id) = make(client, &format!("{name} (lock {number})"))? {
                    for old in locks {
                        // Somebody may have been faster.
                        let _: Result<wire::Nothing, _> =
                            client.call("DeleteStudy", wire::Id { id: old.id });
                    }
                    let (client, name) = (client.clone(), name.to_owned());
                    return Ok(Self { client, name, id, number, sure });
                }
                continue;
            }
            sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(20));
        }
    }

    /// Whether nobody has passed it over.
    pub(crate) fn is_held(&self) -> Result<bool> {
        Ok(Instant::now() < self.sure
            || all(&self.client, &self.name)?.iter().all(|lock| lock.number <= self.number))
    }
}

impl Drop for ServiceLock {
    fn drop(&mut self) {
        let request = wire::SetAttribute { id: self.id, key: FREE.into(), value: "true".into() };
        // Fails if another took us for dead and removed it; nothing is left to do then.
        let _: Result<wire::Nothing, _> = self.client.call("SetStudySystemAttribute", request);
    }
}

struct Found {
    number: u64,
    id: i64,
    free: bool,
}

/// The locks of a study: the newest, and what has not been removed yet.
fn all(client: &Client, name: &str) -> Result<Vec<Found>> {
    let answer = client.call("GetAllStudies", wire::Nothing {});
    let studies: wire::Studies = answer.map_err(|status| client.error(&status))?;
    let found = studies.studies.iter().filter_map(|study| {
        let rest = study.name.strip_prefix(name)?.strip_prefix(" (lock ")?;
        let number = rest.strip_suffix(')')?.parse().ok()?;
        let free = study.system_attributes.contains_key(FREE);
        Some(Found { number, id: study.id, free })
    });
    Ok(found.collect())
}

/// The number of a new study; none if there is one of that name.
fn make(client: &Client, name: &str) -> Result<Option<i64>> {
    let request = wire::NewStudy { directions: vec![0], name: name.to_owned() };
    match client.call("CreateNewStudy", request) {
        Ok(wire::Id { id }) => Ok(Some(id)),
        Err(status) if status.code() == Code::AlreadyExists => Ok(None),
        Err(status) => Err(client.error(&status)),
    }
}
