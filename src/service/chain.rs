//! The chains of the audit trail.
//!
//! Each process links its events to a chain of its own by a keyed hash: every event covers the one before, and the
//! chain's sealed row holds its start and its end. So every change, removal, insertion or cut can be found; a reset of
//! the whole database to an earlier state cannot. Owns the form of the links. Refuses to know the meaning of events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::{constant_time, hmac};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::data_keys::DataKeys;
use super::loss_log::{Loss, LossLog};
use crate::clock::{Clock, Random};
use crate::domain::audit::{Event, KeptEvent, Said};
use crate::domain::excerpt::Text;
use crate::error::{Error, Result};
use crate::store::audit::{self as table, Chain};
use crate::store::{Committed, Ledger, Lock, Session, Store, data_keys, lock_catalog};

/// The name of the number of chains among the data set's facts.
const CHAINS: &str = "audit-chains";
/// Events read at once.
pub(super) const BATCH: i64 = 1000;

/// The chain of this process.
#[derive(Debug)]
pub struct Trail {
    writer: Uuid,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    losses: Arc<LossLog>,
    /// Opened when the first event comes: most commands write none.
    ledger: tokio::sync::OnceCell<Arc<dyn Ledger>>,
}

impl Trail {
    /// A chain that is not opened yet.
    pub fn new(
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        losses: Arc<LossLog>,
    ) -> Result<Self> {
        Ok(Self {
            writer: random.uuid()?,
            clock,
            random,
            losses,
            ledger: tokio::sync::OnceCell::new(),
        })
    }

    /// The ledger, if its chain is open.
    pub(super) fn opened(&self) -> Option<Arc<dyn Ledger>> {
        self.ledger.get().cloned()
    }

    /// The ledger that adds events to this process's chain. Opens the chain if it is not open yet.
    pub(super) async fn open(
        &self,
        store: &Store,
        vault: &Arc<DataKeys>,
    ) -> Result<Arc<dyn Ledger>> {
        let open = || async {
            let (sealed_by, writer, now) = (Arc::clone(vault), self.writer, self.clock.now());
            let last = store
                .write(Lock::Catalog, move |connection| {
                    // It is open already if the answer to the first job was lost, as its request was given up.
                    let chain = match table::of_writer(connection, writer)? {
                        Some(chain) => table::find(connection, chain)?,
                        None => None,
                    };
                    let chain = match chain {
                        Some(chain) => chain,
                        None => open(connection, &sealed_by, writer, now)?,
                    };
                    Ok(Place::of(&chain, writer))
                })
                .await?;
            let pen = Pen {
                data_keys: Arc::clone(vault),
                clock: Arc::clone(&self.clock),
                random: Arc::clone(&self.random),
                losses: Arc::clone(&self.losses),
                last: Arc::new(Mutex::new(last)),
            };
            Ok(Arc::new(pen) as Arc<dyn Ledger>)
        };
        self.ledger.get_or_try_init(open).await.cloned()
    }
}

/// Opens a chain.
fn open(
    connection: &mut Session,
    vault: &DataKeys,
    writer: Uuid,
    now: DateTime<Utc>,
) -> Result<Chain> {
    let (number, key) = vault.newest_audit_key()?;
    let mut chain = table::open(connection, writer, number, now)?;
    chain.seal = seal(key, &chain);
    table::keep(connection, &chain)?;
    match count(connection, vault) {
        Ok(known) => {
            let fact = count_fact(key, number, known.unwrap_or(0) + 1);
            data_keys::set_fact(connection, CHAINS, &fact)?;
        }
        // A damaged chain is for `verify` to report, and no reason not to serve.
        Err(error @ Error::Internal(_)) => {
            tracing::error!(
                error = error.chain(),
                "the count of audit chains is damaged; run `wharfinger audit verify`"
            );
        }
        Err(error) => return Err(error),
    }
    Ok(chain)
}

/// The last event of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    chain: i64,
    /// A database that lost the row can give its number to another writer's chain.
    writer: Uuid,
    sequence: i64,
}

impl Place {
    fn of(chain: &Chain, writer: Uuid) -> Self {
        Self {
            chain: chain.chain,
            writer,
            sequence: chain.head_sequence,
        }
    }

    /// Returns true if a chain is this one.
    fn is_in(&self, chain: &Chain) -> bool {
        chain.writer == self.writer.as_bytes()
    }
}

/// Adds events to a chain.
#[derive(Debug)]
struct Pen {
    data_keys: Arc<DataKeys>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    losses: Arc<LossLog>,
    /// The last event that was acknowledged.
    last: Arc<Mutex<Place>>,
}

impl Pen {
    /// The chain with its writer, locked, or a new one if it lacks events that were acknowledged.
    fn chain(&self, connection: &mut Session, known: Place) -> Result<(Chain, Uuid, Option<Loss>)> {
        let found = table::lock(connection, known.chain)?;
        let kept = match found.filter(|chain| known.is_in(chain)) {
            Some(chain) if chain.head_sequence >= known.sequence => {
                return Ok((chain, known.writer, None));
            }
            Some(chain) => chain.head_sequence,
            None => 0,
        };
        let now = self.clock.now();
        let loss = Loss {
            chain: known.chain,
            first: kept + 1,
            last: known.sequence,
            kept_at: table::latest(connection)?.unwrap_or(now),
            found_at: now,
        };
        // Not the old one: its numbers stand for the lost events wherever they were exported.
        let writer = self.random.uuid()?;
        // Chains are counted.
        lock_catalog(connection)?;
        let chain = open(connection, &self.data_keys, writer, now)?;
        Ok((chain, writer, Some(loss).filter(|loss| loss.events() > 0)))
    }
}

fn last(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger for Pen {
    fn write(&self, connection: &mut Session, events: Vec<Event>) -> Result<Committed> {
        let seen = *last(&self.last);
        let (mut chain, writer, loss) = self.chain(connection, seen)?;
        let gone = || Error::internal("the data key of this process's audit chain is gone");
        let key = self.data_keys.audit_key(chain.data_key).ok_or_else(gone)?;
        let events: Vec<_> = loss
            .map(|loss| loss.event())
            .into_iter()
            .chain(events)
            .collect();
        let mut linked = Vec::with_capacity(events.len());
        for event in events {
            let kept = KeptEvent {
                chain: chain.chain,
                sequence: chain.head_sequence + 1,
                said: said(event),
            };
            let mac = link(key, &chain.head_mac, &kept);
            chain.head_sequence = kept.sequence;
            chain.head_mac.clone_from(&mac);
            linked.push((kept, mac));
        }
        chain.seal = seal(key, &chain);
        table::insert(connection, linked)?;
        table::keep(connection, &chain)?;
        let (place, known) = (Place::of(&chain, writer), Arc::clone(&self.last));
        let losses = Arc::clone(&self.losses);
        Ok(Box::new(move || {
            let mut known = last(&known);
            if known.writer == place.writer {
                known.sequence = known.sequence.max(place.sequence);
            } else if *known == seen {
                *known = place;
            }
            drop(known);
            if let Some(loss) = loss {
                losses.note(loss);
            }
        }))
    }

    fn is_behind(&self, connection: &mut Session) -> Result<bool> {
        let known = *last(&self.last);
        let chain = table::find(connection, known.chain)?;
        let chain = chain.filter(|chain| known.is_in(chain));
        Ok(chain.is_none_or(|chain| chain.head_sequence < known.sequence))
    }
}

fn said(event: Event) -> Said {
    Said {
        at: event.at,
        kind: event.kind.as_str().to_owned(),
        outcome: event.outcome.as_str().to_owned(),
        actor: event.actor.map(|id| id.0),
        actor_name: event.actor_name.map(Text::into_string),
        registry: event.registry.map(|id| id.0),
        subject_kind: event.subject_kind.as_str().to_owned(),
        subject: event.subject,
        address: event
            .address
            .map(|address| address.to_canonical().to_string()),
        request_id: event.request_id.into_string(),
        detail: event.detail.into_json(),
    }
}

/// Bytes to be hashed, each part with its length, so that no two meanings have the same bytes.
struct Message(hmac::Context);

impl Message {
    fn new(key: &hmac::Key, what: &str) -> Self {
        Self(hmac::Context::with_key(key)).part(what.as_bytes())
    }

    fn part(mut self, bytes: &[u8]) -> Self {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.0.update(&length.to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn number(self, number: i64) -> Self {
        self.part(&number.to_be_bytes())
    }

    /// A part that may be missing, which differs from an empty one.
    fn optional(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.part(&[1]).part(bytes),
            None => self.part(&[0]),
        }
    }

    fn mac(self) -> Vec<u8> {
        self.0.sign().as_ref().to_vec()
    }
}

/// The keyed hash that links an event to the one before.
pub(super) fn link(key: &hmac::Key, before: &[u8], event: &KeptEvent) -> Vec<u8> {
    let said = &event.said;
    let id = |id: &Option<Uuid>| id.map(Uuid::into_bytes);
    Message::new(key, "event")
        .part(before)
        .number(event.chain)
        .number(event.sequence)
        .number(said.at.timestamp_micros())
        .part(said.kind.as_bytes())
        .part(said.outcome.as_bytes())
        .optional(id(&said.actor).as_ref().map(<[u8; 16]>::as_slice))
        .optional(said.actor_name.as_deref().map(str::as_bytes))
        .optional(id(&said.registry).as_ref().map(<[u8; 16]>::as_slice))
        .part(said.subject_kind.as_bytes())
        .optional(id(&said.subject).as_ref().map(<[u8; 16]>::as_slice))
        .optional(said.address.as_deref().map(str::as_bytes))
        .part(said.request_id.as_bytes())
        .part(said.detail.as_bytes())
        .mac()
}

/// The seal of a chain's row, so that nobody moves its ends.
pub(super) fn seal(key: &hmac::Key, chain: &Chain) -> Vec<u8> {
    Message::new(key, "chain")
        .number(chain.chain)
        .part(&chain.writer)
        .number(chain.opened_at)
        .number(chain.data_key)
        .number(chain.base_sequence)
        .part(&chain.base_mac)
        .number(chain.head_sequence)
        .part(&chain.head_mac)
        .mac()
}

pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// The fact with the number of chains, with a hash so that no whole chain can be removed unseen.
fn count_fact(key: &hmac::Key, number: i64, count: i64) -> Vec<u8> {
    let mac = Message::new(key, CHAINS).number(number).number(count).mac();
    [&number.to_be_bytes()[..], &count.to_be_bytes(), &mac].concat()
}

/// The number of chains that there have to be; `None` before the first.
pub(super) fn count(connection: &mut Session, vault: &DataKeys) -> Result<Option<i64>> {
    let Some(fact) = data_keys::fact(connection, CHAINS)? else {
        return Ok(None);
    };
    let read = || {
        let (number, rest) = fact.split_first_chunk::<8>()?;
        let (count, _) = rest.split_first_chunk::<8>()?;
        let (number, count) = (i64::from_be_bytes(*number), i64::from_be_bytes(*count));
        let whole = count_fact(vault.audit_key(number)?, number, count);
        same(&whole, &fact).then_some(count)
    };
    let damaged = || Error::internal("the number of audit chains was changed outside the service");
    read().map(Some).ok_or_else(damaged)
}

/// Removes events from before an instant from the start of a chain, up to a batch. Returns their number.
pub fn cut(
    connection: &mut Session,
    vault: &DataKeys,
    chain: i64,
    before: DateTime<Utc>,
) -> Result<usize> {
    let Some(mut chain) = table::lock(connection, chain)? else {
        return Ok(0);
    };
    let key = vault.audit_key(chain.data_key);
    let key = key.filter(|key| same(&seal(key, &chain), &chain.seal));
    let Some(key) = key else {
        // A chain that somebody changed is evidence: it stays.
        tracing::error!(
            chain = chain.chain,
            "an audit chain was changed outside the service, so its old events are kept; run `wharfinger audit verify`"
        );
        return Ok(0);
    };
    let events = table::after(connection, chain.chain, chain.base_sequence, BATCH)?;
    let old = events
        .into_iter()
        .take_while(|(event, _)| event.said.at < before);
    let Some((last, mac)) = old.last() else {
        return Ok(0);
    };
    chain.base_sequence = last.sequence;
    chain.base_mac = mac;
    chain.seal = seal(key, &chain);
    table::keep(connection, &chain)?;
    table::cut(connection, chain.chain, last.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Random, SystemClock, SystemRandom};
    use crate::service::data_keys::ServerKey;
    use crate::store::{self, Settings, Target};

    /// As if the answer to the first opening was lost, because its request was given up.
    #[tokio::test]
    async fn a_chain_that_is_open_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Sqlite(folder.path().join("wharfinger.db"));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        store::migrate(&target, &clock, "test").unwrap();
        let (readers, queue) = (1, 8);
        let settings = Settings {
            target,
            readers,
            queue,
            read_fence: None,
        };
        let store = Store::open(&settings).unwrap();
        let key = ServerKey::generate(&SystemRandom).unwrap();
        let keys = DataKeys::open(&store, &key, &*clock, &SystemRandom);
        let keys = Arc::new(keys.await.unwrap());
        let writer = (&SystemRandom as &dyn Random).uuid().unwrap();
        for _ in 0..2 {
            let trail = Trail {
                writer,
                clock: Arc::clone(&clock),
                random: Arc::new(SystemRandom),
                losses: Arc::default(),
                ledger: tokio::sync::OnceCell::new(),
            };
            trail.open(&store, &keys).await.unwrap();
        }
        let chains = store.read(move |connection| count(connection, &keys)).await;
        assert_eq!(chains.unwrap(), Some(1));
        store.close();
    }

    /// An event as version 0.1.0 kept it, with whole records: it has to verify for as long as it is kept.
    #[test]
    fn events_of_earlier_releases_are_linked_as_they_were() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let scopes = "x".repeat(15_000);
        let record =
            |version| format!(r#"{{"name":"ci","scopes":["{scopes}"],"version":{version}}}"#);
        let event = KeptEvent {
            chain: 1,
            sequence: 42,
            said: Said {
                at: DateTime::from_timestamp_micros(1_795_262_400_000_001).unwrap(),
                kind: "update".to_owned(),
                outcome: "success".to_owned(),
                actor: Some(Uuid::from_u128(1)),
                actor_name: Some("admin".to_owned()),
                registry: Some(Uuid::from_u128(2)),
                subject_kind: "token".to_owned(),
                subject: Some(Uuid::from_u128(3)),
                address: None,
                request_id: "r".repeat(64),
                detail: format!(r#"{{"after":{},"before":{}}}"#, record(2), record(1)),
            },
        };
        let mac = data_encoding::HEXLOWER.encode(&link(&key, &[9; 32], &event));
        assert_eq!(
            mac,
            "311c26b63afdc9f59ed5acfe57cdaa5de8d8f06f9c30e09bfdd978bb6680fb98"
        );
    }
}
