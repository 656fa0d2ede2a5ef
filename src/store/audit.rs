//! The tables `audit_chains` and `audit_events`: events in the order in which a process wrote them.
//!
//! Owns rows and their order. What links them, and whether they are as they were written, is for the service to say.

use chrono::{DateTime, Utc};
use diesel::sql_types::BigInt;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, OptionalExtension, QueryDsl, RunQueryDsl,
    SelectableHelper, sql_query,
};
use uuid::Uuid;

use super::rows::{bytes, instant, micros, uuid};
use super::schema::{audit_chains, audit_events};
use super::session::Session;
use crate::domain::audit::{KeptEvent, Said};
use crate::error::{Error, Result};

/// A process's chain.
#[derive(Debug, Clone, PartialEq, Eq, diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = audit_chains)]
#[derive(diesel::QueryableByName)]
pub struct Chain {
    /// Its number.
    pub chain: i64,
    /// Which process, by an id of its own.
    pub writer: Vec<u8>,
    /// When it was opened, in microseconds since 1970.
    pub opened_at: i64,
    /// The data key that links and seals it.
    pub data_key: i64,
    /// The last event that was cut off; 0 if none.
    pub base_sequence: i64,
    /// That event's mac; empty if none.
    pub base_mac: Vec<u8>,
    /// The last event; the base's if there is none.
    pub head_sequence: i64,
    /// That event's mac.
    pub head_mac: Vec<u8>,
    /// Over all of these.
    pub seal: Vec<u8>,
}

/// Opens a chain, not sealed yet.
pub fn open(
    connection: &mut Session,
    writer: Uuid,
    data_key: i64,
    now: DateTime<Utc>,
) -> Result<Chain> {
    let mut chain = Chain {
        chain: 0,
        writer: bytes(writer),
        opened_at: micros(now),
        data_key,
        base_sequence: 0,
        base_mac: Vec::new(),
        head_sequence: 0,
        head_mac: Vec::new(),
        seal: Vec::new(),
    };
    chain.chain = diesel::insert_into(audit_chains::table)
        .values((
            audit_chains::writer.eq(&chain.writer),
            audit_chains::opened_at.eq(chain.opened_at),
            audit_chains::data_key.eq(chain.data_key),
            audit_chains::base_sequence.eq(chain.base_sequence),
            audit_chains::base_mac.eq(&chain.base_mac),
            audit_chains::head_sequence.eq(chain.head_sequence),
            audit_chains::head_mac.eq(&chain.head_mac),
            audit_chains::seal.eq(&chain.seal),
        ))
        .returning(audit_chains::chain)
        .get_result(connection)?;
    Ok(chain)
}

/// Finds a chain to change it: nobody else does before the transaction ends.
pub fn lock(connection: &mut Session, chain: i64) -> Result<Option<Chain>> {
    const FIND: &str = "SELECT * FROM audit_chains WHERE chain = $1";
    let found = match connection {
        // One writer at a time is all that there is.
        Session::Sqlite(sqlite) => sql_query(FIND).bind::<BigInt, _>(chain).get_result(sqlite),
        Session::Postgres(postgres) => sql_query(format!("{FIND} FOR UPDATE"))
            .bind::<BigInt, _>(chain)
            .get_result(postgres),
    };
    Ok(found.optional()?)
}

/// Keeps where a chain begins and ends, and its seal.
pub fn keep(connection: &mut Session, chain: &Chain) -> Result<()> {
    diesel::update(audit_chains::table.find(chain.chain))
        .set((
            audit_chains::base_sequence.eq(chain.base_sequence),
            audit_chains::base_mac.eq(&chain.base_mac),
            audit_chains::head_sequence.eq(chain.head_sequence),
            audit_chains::head_mac.eq(&chain.head_mac),
            audit_chains::seal.eq(&chain.seal),
        ))
        .execute(connection)?;
    Ok(())
}

/// Finds a chain.
pub fn find(connection: &mut Session, chain: i64) -> Result<Option<Chain>> {
    Ok(audit_chains::table
        .find(chain)
        .select(Chain::as_select())
        .get_result(connection)
        .optional()?)
}

/// Every chain, the first opened first.
pub fn chains(connection: &mut Session) -> Result<Vec<Chain>> {
    Ok(audit_chains::table
        .order(audit_chains::chain)
        .select(Chain::as_select())
        .load(connection)?)
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = audit_events)]
struct EventRow {
    chain: i64,
    sequence: i64,
    at: i64,
    kind: String,
    outcome: String,
    actor: Option<Vec<u8>>,
    actor_name: Option<String>,
    registry: Option<Vec<u8>>,
    subject_kind: String,
    subject: Option<Vec<u8>>,
    address: Option<String>,
    request_id: String,
    detail: String,
}

impl TryFrom<EventRow> for KeptEvent {
    type Error = Error;

    fn try_from(row: EventRow) -> Result<Self> {
        let id = |bytes: Option<Vec<u8>>| bytes.as_deref().map(uuid).transpose();
        Ok(Self {
            chain: row.chain,
            sequence: row.sequence,
            said: Said {
                at: instant(row.at)?,
                kind: row.kind,
                outcome: row.outcome,
                actor: id(row.actor)?,
                actor_name: row.actor_name,
                registry: id(row.registry)?,
                subject_kind: row.subject_kind,
                subject: id(row.subject)?,
                address: row.address,
                request_id: row.request_id,
                detail: row.detail,
            },
        })
    }
}

/// Adds an event.
pub fn insert(connection: &mut Session, event: &KeptEvent, mac: &[u8]) -> Result<()> {
    let said = &event.said;
    diesel::insert_into(audit_events::table)
        .values((
            audit_events::chain.eq(event.chain),
            audit_events::sequence.eq(event.sequence),
            audit_events::at.eq(micros(said.at)),
            audit_events::kind.eq(&said.kind),
            audit_events::outcome.eq(&said.outcome),
            audit_events::actor.eq(said.actor.map(bytes)),
            audit_events::actor_name.eq(&said.actor_name),
            audit_events::registry.eq(said.registry.map(bytes)),
            audit_events::subject_kind.eq(&said.subject_kind),
            audit_events::subject.eq(said.subject.map(bytes)),
            audit_events::address.eq(&said.address),
            audit_events::request_id.eq(&said.request_id),
            audit_events::detail.eq(&said.detail),
            audit_events::mac.eq(mac),
        ))
        .execute(connection)?;
    Ok(())
}

/// The events of a chain after one of them, in their order, each with its mac.
pub fn after(
    connection: &mut Session,
    chain: i64,
    sequence: i64,
    limit: i64,
) -> Result<Vec<(KeptEvent, Vec<u8>)>> {
    let rows: Vec<(EventRow, Vec<u8>)> = audit_events::table
        .filter(
            audit_events::chain
                .eq(chain)
                .and(audit_events::sequence.gt(sequence)),
        )
        .order(audit_events::sequence)
        .limit(limit)
        .select((EventRow::as_select(), audit_events::mac))
        .load(connection)?;
    rows.into_iter()
        .map(|(row, mac)| Ok((row.try_into()?, mac)))
        .collect()
}

/// Which events are wanted: those that meet all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
    /// Who.
    pub actor: Option<Uuid>,
    /// In which registry, or which registry.
    pub registry: Option<Uuid>,
    /// About what.
    pub subject: Option<Uuid>,
    /// What was done.
    pub kind: Option<String>,
    /// What became of it.
    pub outcome: Option<String>,
}

/// Where a walk through the events has come to, in the order of their instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// When that event was, in microseconds since 1970.
    pub at: i64,
    /// Its chain.
    pub chain: i64,
    /// Its place there.
    pub sequence: i64,
}

impl From<&KeptEvent> for Place {
    fn from(event: &KeptEvent) -> Self {
        Self {
            at: micros(event.said.at),
            chain: event.chain,
            sequence: event.sequence,
        }
    }
}

/// In which direction a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What happened last comes first.
    NewestFirst,
    /// What happened first comes first.
    OldestFirst,
}

/// Events beyond a place, in an order of instants.
pub fn list(
    connection: &mut Session,
    filter: &Filter,
    order: Order,
    beyond: Option<Place>,
    limit: i64,
) -> Result<Vec<KeptEvent>> {
    let (at, chain, sequence) = (
        audit_events::at,
        audit_events::chain,
        audit_events::sequence,
    );
    let mut wanted = audit_events::table
        .select(EventRow::as_select())
        .limit(limit)
        .into_boxed();
    if let Some(since) = filter.since {
        wanted = wanted.filter(at.ge(micros(since)));
    }
    if let Some(until) = filter.until {
        wanted = wanted.filter(at.lt(micros(until)));
    }
    if let Some(actor) = filter.actor {
        wanted = wanted.filter(audit_events::actor.eq(bytes(actor)));
    }
    if let Some(registry) = filter.registry {
        wanted = wanted.filter(audit_events::registry.eq(bytes(registry)));
    }
    if let Some(subject) = filter.subject {
        wanted = wanted.filter(audit_events::subject.eq(bytes(subject)));
    }
    if let Some(kind) = &filter.kind {
        wanted = wanted.filter(audit_events::kind.eq(kind));
    }
    if let Some(outcome) = &filter.outcome {
        wanted = wanted.filter(audit_events::outcome.eq(outcome));
    }
    // The bare bound on the instant is what an index can begin at.
    wanted = match (order, beyond) {
        (_, None) => wanted,
        (Order::NewestFirst, Some(place)) => wanted.filter(at.le(place.at)).filter(
            at.lt(place.at)
                .or(chain.lt(place.chain))
                .or(chain.eq(place.chain).and(sequence.lt(place.sequence))),
        ),
        (Order::OldestFirst, Some(place)) => wanted.filter(at.ge(place.at)).filter(
            at.gt(place.at)
                .or(chain.gt(place.chain))
                .or(chain.eq(place.chain).and(sequence.gt(place.sequence))),
        ),
    };
    wanted = match order {
        Order::NewestFirst => wanted.order((at.desc(), chain.desc(), sequence.desc())),
        Order::OldestFirst => wanted.order((at, chain, sequence)),
    };
    let rows = wanted.load::<EventRow>(connection)?;
    rows.into_iter().map(KeptEvent::try_from).collect()
}

/// A chain whose first event is from before an instant.
pub fn due(connection: &mut Session, before: DateTime<Utc>) -> Result<Option<i64>> {
    Ok(audit_chains::table
        .inner_join(
            audit_events::table.on(audit_events::chain
                .eq(audit_chains::chain)
                .and(audit_events::sequence.eq(audit_chains::base_sequence + 1))),
        )
        .filter(audit_events::at.lt(micros(before)))
        .select(audit_chains::chain)
        .first(connection)
        .optional()?)
}

/// Removes the events of a chain up to one of them.
pub fn cut(connection: &mut Session, chain: i64, sequence: i64) -> Result<usize> {
    let old = audit_events::table.filter(
        audit_events::chain
            .eq(chain)
            .and(audit_events::sequence.le(sequence)),
    );
    Ok(diesel::delete(old).execute(connection)?)
}
