//! The audit trail: changes and refusals, listed, exported and verified.
//!
//! A change is kept in the transaction that makes it, so that there is neither without the other. Events without a
//! change are gathered by [`incidents`](crate::service::audit_buffer). Owns the permission to read the trail, and the
//! result of a check of the [chains](super::chain).

use std::sync::Arc;

use super::access::Caller;
use super::chain::{BATCH, count, link, same, seal};
use super::core::Core;
use super::core::Length;
use crate::domain::account::Actor;
use crate::domain::audit::KeptEvent;
use crate::domain::permission::{Level, Resource};
use crate::error::{Error, Field, Result};
use crate::store::audit::{self as table, Chain, Order};
pub use crate::store::audit::{EventPosition, Filter};

/// Events of a part of an export. A client that reads slowly makes the server hold one.
const PART: i64 = 50;

/// Looking into the trail is looking into the service itself.
fn permitted(actor: &Actor) -> Result<()> {
    let permissions = &actor.permissions;
    permissions.require(Resource::Administration, Level::Read)
}

/// The result of a check of all chains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Chains looked at.
    pub chains: usize,
    /// Events looked at.
    pub events: u64,
    /// The differences from the trail as it was written; empty if there are none.
    pub faults: Vec<String>,
}

/// A page of events.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The newest first.
    pub events: Vec<KeptEvent>,
    /// The start of the next page, if there is one.
    pub next: Option<String>,
}

/// A part of an export.
#[derive(Debug, Clone)]
pub struct ExportPart {
    /// The oldest first.
    pub events: Vec<KeptEvent>,
    /// The position beyond which there may be more.
    pub next: Option<EventPosition>,
}

/// Audit use cases.
#[derive(Debug)]
pub struct Audit<'a> {
    core: &'a Core,
}

impl<'a> Audit<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A page of the events that a filter lets through, the newest first.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: Filter,
        limit: i64,
        token: Option<&str>,
    ) -> Result<EventPage> {
        let context = format!("audit {filter:?}");
        let beyond = token
            .map(|token| self.open_cursor(&context, token))
            .transpose()?;
        let mut events = self
            .core
            .read_list(caller, Length::of_page(limit), move |connection, actor| {
                permitted(actor)?;
                // One more than asked for tells whether there is a next page.
                table::list(connection, &filter, Order::NewestFirst, beyond, limit + 1)
            })
            .await?;
        let kept = usize::try_from(limit).map_err(Error::internal)?;
        let more = events.len() > kept;
        events.truncate(kept);
        let next = match events.last().filter(|_| more) {
            Some(last) => Some(self.seal_cursor(&context, EventPosition::from(last))?),
            None => None,
        };
        Ok(EventPage { events, next })
    }

    /// The next part of an export.
    pub async fn export(
        &self,
        caller: &Caller,
        filter: Filter,
        beyond: Option<EventPosition>,
    ) -> Result<ExportPart> {
        let events = self
            .core
            .read(caller, move |connection, actor| {
                permitted(actor)?;
                table::list(connection, &filter, Order::OldestFirst, beyond, PART)
            })
            .await?;
        let full = i64::try_from(events.len()).map_err(Error::internal)? == PART;
        let next = events.last().filter(|_| full).map(EventPosition::from);
        Ok(ExportPart { events, next })
    }

    /// Looks at every event of every chain. Works beside servers that go on writing.
    pub async fn verify(&self) -> Result<Report> {
        let vault = Arc::clone(&self.core.data_keys);
        let (chains, expected, strays, mistyped) = self
            .core
            .store
            .read(move |connection| {
                connection.snapshot(|connection| {
                    let chains = table::chains(connection)?;
                    let strays = table::strays(connection)?;
                    let mistyped = table::mistyped(connection)?;
                    Ok((chains, count(connection, &vault), strays, mistyped))
                })
            })
            .await?;
        let mut report = Report {
            chains: chains.len(),
            ..Report::default()
        };
        match expected {
            Ok(expected) => {
                let found = i64::try_from(chains.len()).map_err(Error::internal)?;
                let expected = expected.unwrap_or(0);
                if found != expected {
                    report.faults.push(format!(
                        "there are {found} chains where {expected} were opened"
                    ));
                }
            }
            Err(error @ Error::Internal(_)) => report.faults.push(error.cause()),
            Err(error) => return Err(error),
        }
        if strays > 0 {
            let fault =
                format!("{strays} events are in no chain or before the beginning of theirs");
            report.faults.push(fault);
        }
        if mistyped > 0 {
            let fault = format!("{mistyped} events have a value of another type than its column");
            report.faults.push(fault);
        }
        for chain in chains {
            self.verify_chain(chain, &mut report).await?;
        }
        Ok(report)
    }

    async fn verify_chain(&self, chain: Chain, report: &mut Report) -> Result<()> {
        let name = format!("chain {}", chain.chain);
        let vault = Arc::clone(&self.core.data_keys);
        let Some(key) = vault.audit_key(chain.data_key) else {
            report
                .faults
                .push(format!("{name}: its row names a key that does not exist"));
            return Ok(());
        };
        if !same(&seal(key, &chain), &chain.seal) {
            report.faults.push(format!("{name}: its row was changed"));
            return Ok(());
        }
        let (mut sequence, mut mac) = (chain.base_sequence, chain.base_mac.clone());
        loop {
            let (number, from) = (chain.chain, sequence);
            let (events, now) = self
                .core
                .store
                .read(move |connection| {
                    connection.snapshot(|connection| {
                        let events = table::after(connection, number, from, BATCH)?;
                        Ok((events, table::find(connection, number)?))
                    })
                })
                .await?;
            // Meanwhile events older than the retention may be removed, and later ones added.
            if let Some(now) = &now
                && now.base_sequence > sequence
                && same(&seal(key, now), &now.seal)
            {
                (sequence, mac) = (now.base_sequence, now.base_mac.clone());
                continue;
            }
            let head = now.map_or(chain.head_sequence, |now| now.head_sequence);
            let read = events.len();
            for (event, stored) in events {
                if event.sequence != sequence + 1 {
                    report.faults.push(format!(
                        "{name}: events {} to {} are missing",
                        sequence + 1,
                        event.sequence - 1
                    ));
                    return Ok(());
                }
                if event.sequence > head {
                    report.faults.push(format!(
                        "{name}: there is an event {} behind its end",
                        event.sequence
                    ));
                    return Ok(());
                }
                let linked = link(key, &mac, &event);
                if !same(&linked, &stored) {
                    report
                        .faults
                        .push(format!("{name}: event {} was changed", event.sequence));
                    return Ok(());
                }
                (sequence, mac) = (event.sequence, linked);
                report.events += 1;
                if event.sequence == chain.head_sequence && !same(&mac, &chain.head_mac) {
                    report
                        .faults
                        .push(format!("{name}: event {} is not its last", event.sequence));
                    return Ok(());
                }
            }
            if i64::try_from(read).map_err(Error::internal)? < BATCH {
                if sequence < head {
                    report.faults.push(format!(
                        "{name}: events {} to {head} are missing",
                        sequence + 1
                    ));
                }
                return Ok(());
            }
        }
    }

    fn seal_cursor(&self, context: &str, place: EventPosition) -> Result<String> {
        let bytes = [place.at, place.chain, place.sequence].map(i64::to_be_bytes);
        let random = &*self.core.random;
        self.core
            .data_keys
            .seal_cursor(random, context, bytes.as_flattened())
    }

    fn open_cursor(&self, context: &str, token: &str) -> Result<EventPosition> {
        let read = || {
            let bytes = self.core.data_keys.open_cursor(context, token)?;
            let (at, rest) = bytes.split_first_chunk::<8>()?;
            let (chain, rest) = rest.split_first_chunk::<8>()?;
            Some(EventPosition {
                at: i64::from_be_bytes(*at),
                chain: i64::from_be_bytes(*chain),
                sequence: i64::from_be_bytes(rest.try_into().ok()?),
            })
        };
        read().ok_or_else(|| {
            Error::invalid(
                Field::PaginationToken,
                "the pagination token does not belong to this list with this filter; start without one",
            )
        })
    }
}
