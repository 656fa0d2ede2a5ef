//! Events that changed nothing: logins, refusals, codes that were shown again.
//!
//! Such events gather in memory and are written once a second, so that no request waits for them and a flood costs
//! little. Of equal events, the first in a minute is written at once and the others as one sum when the minute is over.
//! Events are equal if they come from the same network to the same end, by the same account or token. Unproven names
//! make no difference, or a flood of invented ones would fill the trail. New events in a minute beyond a number are
//! summed by kind and outcome alone, so that a client with many networks or tokens does not fill the disk. A process
//! that is killed forgets at most the last second, and the sums of the running minute. Owns the waiting events, and
//! bounds them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use uuid::Uuid;

use crate::domain::audit::{Event, Kind, Outcome};
use crate::domain::excerpt::Text;
use crate::domain::id::RegistryId;
use crate::domain::network::network;
use crate::error::{Error, Result};
use crate::store::{Ledger, Lock, Store, registries};

/// The most events that wait to be written.
const EVENTS: usize = 20_000;
/// The most sums of one minute that tell networks, names and tokens apart. Those of the minute before come on top.
const SUMS: usize = 6000;
/// The part of them that is refusals of strangers.
const STRANGERS: usize = 600;
/// Events in a store job: the writer has others to serve.
const BATCH: usize = 200;

/// Events that are not written yet.
#[derive(Debug)]
pub struct AuditBuffer {
    /// The start of the count of minutes: the wall clock may be set.
    began: Instant,
    waiting: Mutex<Waiting>,
    /// Held while events are written, so that none is written twice.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<Event>,
    /// The sums, by the key of equal events. `None` while there was only one event, as for most in a flood from many
    /// places: it is among the events, and the entry for the rest of the minute must be small.
    sums: HashMap<Key, Option<Box<Sum>>>,
    /// The latest minute that had an event.
    minute: u64,
    /// New sums of that minute that are refusals of strangers.
    strangers: usize,
    /// Its other new sums.
    others: usize,
    /// Events for which there was no room.
    dropped: u64,
}

/// The key by which events are equal.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    minute: u64,
    kind: Kind,
    outcome: Outcome,
    network: Option<IpAddr>,
    name: Option<String>,
    registry: Option<Uuid>,
    subject: Option<Uuid>,
}

/// The number and the last of equal events, without the first, which is written or waits to be.
#[derive(Debug)]
struct Sum {
    last: Event,
    count: u64,
}

/// Returns true for a refusal of a stranger, which everybody can cause. A client with a right secret is no stranger.
fn is_of_a_stranger(event: &Event) -> bool {
    event.kind == Kind::Refuse && event.actor.is_none() && event.subject.is_none()
}

impl Waiting {
    /// Returns true if there is room for another sum of this minute.
    fn has_room(&mut self, event: &Event, minute: u64) -> bool {
        // An event of the minute before may come late, and counts in this one.
        if self.minute < minute {
            (self.minute, self.strangers, self.others) = (minute, 0, 0);
        }
        let (found, room) = if is_of_a_stranger(event) {
            (&mut self.strangers, STRANGERS)
        } else {
            (&mut self.others, SUMS - STRANGERS)
        };
        *found += 1;
        *found <= room
    }

    fn add(&mut self, event: Event) {
        // Refusals leave half of the room to the others.
        let room = match event.kind {
            Kind::Refuse => EVENTS / 2,
            _ => EVENTS,
        };
        if self.events.len() < room {
            self.events.push(event);
        } else {
            self.dropped += 1;
        }
    }

    /// Queues the sums of minutes that are over.
    fn close(&mut self, before: u64) {
        let over = self.sums.extract_if(|key, _| key.minute < before);
        let over: Vec<_> = over.filter_map(|(_, sum)| sum).collect();
        for sum in over {
            let Sum { mut last, count } = *sum;
            last.detail = std::mem::take(&mut last.detail).with("count", count);
            self.add(last);
        }
    }
}

impl AuditBuffer {
    /// Makes an empty buffer. Minutes are counted from `began`.
    #[must_use]
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            waiting: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    fn minute(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began).as_secs() / 60
    }

    /// Notes an event that happens at this instant.
    pub fn count(&self, event: Event, now: Instant) {
        let proven = !is_of_a_stranger(&event);
        let mut key = Key {
            minute: self.minute(now),
            kind: event.kind,
            outcome: event.outcome,
            network: event.address.map(network),
            name: event
                .actor_name
                .clone()
                .filter(|_| proven)
                .map(Text::into_string),
            registry: event.registry.map(|id| id.0),
            subject: event.subject,
        };
        let mut waiting = self.lock();
        let mut further = false;
        if !waiting.sums.contains_key(&key) && !waiting.has_room(&event, key.minute) {
            further = true;
            key = Key {
                network: None,
                name: None,
                registry: None,
                subject: None,
                ..key
            };
        }
        if let Some(sum) = waiting.sums.get_mut(&key) {
            // A sum of many accounts and addresses is nobody's.
            let event = if further { event.of_nobody() } else { event };
            match sum {
                Some(sum) => {
                    // Of several registries that were asked for, a sum names none.
                    let same = sum.last.registry_name == event.registry_name;
                    sum.last = event;
                    if !same {
                        sum.last.registry_name = None;
                    }
                    sum.count += 1;
                }
                None => {
                    *sum = Some(Box::new(Sum {
                        last: event,
                        count: 1,
                    }));
                }
            }
        } else {
            waiting.sums.insert(key, None);
            waiting.add(event);
        }
    }

    /// Writes the waiting events; at the end of a process also the sums of a minute that is not over. Returns the
    /// number of events written. Events that could not be written wait for the next time.
    pub(super) async fn flush(
        &self,
        store: &Store,
        ledger: impl AsyncFn() -> Result<Arc<dyn Ledger>>,
        now: Instant,
        last: bool,
    ) -> Result<usize> {
        let _writing = self.writing.lock().await;
        let before = if last { u64::MAX } else { self.minute(now) };
        {
            let mut waiting = self.lock();
            waiting.close(before);
            let dropped = std::mem::take(&mut waiting.dropped);
            if dropped > 0 {
                tracing::warn!(
                    dropped,
                    "more events came than can be kept, so the audit trail lacks some; check that the database \
                     accepts writes"
                );
            }
        }
        let mut written = 0;
        loop {
            // They stay in the buffer until they are written, in case this future is dropped half-way.
            let batch: Arc<[Event]> = self.lock().events.iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                return Ok(written);
            }
            let done = match ledger().await {
                Ok(ledger) => write(store, ledger, Arc::clone(&batch)).await,
                Err(error) => Err(error),
            };
            // A defect comes again with the same events: they must not block the others for ever.
            if !matches!(done, Err(Error::Unavailable { .. })) {
                self.lock().events.drain(..batch.len());
            }
            done?;
            written += batch.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(store: &Store, ledger: Arc<dyn Ledger>, events: Arc<[Event]>) -> Result<()> {
    store
        .write(Lock::Nothing, move |connection| {
            let mut events = events.to_vec();
            // A flood asks for one registry again and again.
            let mut known: HashMap<String, Option<RegistryId>> = HashMap::new();
            for event in &mut events {
                let Some(name) = event.registry_name.take() else {
                    continue;
                };
                event.registry = if let Some(id) = known.get(&name) {
                    *id
                } else {
                    let id = registries::id_named(connection, &name)?;
                    known.insert(name, id);
                    id
                };
            }
            connection.tell(&ledger, events);
            Ok(())
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::domain::audit::{By, SubjectKind};
    use crate::service::audit_buffer::*;

    #[test]
    fn what_is_new_beyond_a_number_is_summed_up_in_one_event() {
        let now = Instant::now();
        let incidents = AuditBuffer::new(now);
        let at = chrono::DateTime::from_timestamp(1_795_262_400, 0).unwrap();
        let refuse = |number: usize, now| {
            let mut by = By::command();
            let address = u32::try_from(number).unwrap();
            by.origin.address = Some(IpAddr::V4(address.into()));
            let subject = (SubjectKind::Service, None);
            let event = Event::of(Kind::Refuse, Outcome::Unauthenticated, subject, by, at);
            incidents.count(event, now);
        };
        for number in 0..STRANGERS + 100 {
            refuse(number, now);
        }
        let written = || incidents.lock().events.len();
        assert_eq!(written(), STRANGERS + 1);
        // The next minute has as much room again.
        let next = now + Duration::from_mins(1);
        for number in 0..STRANGERS + 100 {
            refuse(number, next);
        }
        assert_eq!(written(), 2 * (STRANGERS + 1));
        incidents.lock().close(1);
        let last = incidents.lock().events.pop().unwrap();
        // Of many addresses it names none.
        assert_eq!(last.address, None);
        let detail = last.detail.into_json();
        assert!(detail.contains(r#""count":99"#), "{detail}");
    }

    #[test]
    fn of_what_is_alone_nothing_is_kept_twice() {
        let now = Instant::now();
        let incidents = AuditBuffer::new(now);
        let at = chrono::DateTime::from_timestamp(1_795_262_400, 0).unwrap();
        let count = |kind| {
            let subject = (SubjectKind::Service, None);
            let event = Event::of(kind, Outcome::Success, subject, By::command(), at);
            incidents.count(event, now);
        };
        let sums = || {
            let sums = &incidents.lock().sums;
            let mut counts: Vec<_> = sums
                .values()
                .map(|sum| sum.as_ref().map(|sum| sum.count))
                .collect();
            counts.sort_unstable();
            counts
        };
        count(Kind::Login);
        count(Kind::Reveal);
        assert_eq!(sums(), [None, None]);
        count(Kind::Login);
        count(Kind::Login);
        assert_eq!(sums(), [None, Some(2)]);
        assert_eq!(incidents.lock().events.len(), 2);
    }
}
