//! The tables `audit_chains` and `audit_events`: events in the order in which a process wrote them.
//!
//! Owns rows and their order. The service owns the links between them and their check.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::sql_types::Bool;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods,
    OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper, TextExpressionMethods,
};
use serde_json::Value;
use uuid::Uuid;

use super::prepared::Prepared;
use super::rows::{bytes, instant, micros, uuid};
use super::schema::{audit_chains, audit_events};
use super::session::{Session, direct};
use crate::domain::audit::{KeptEvent, Kind, Outcome, Said};
use crate::domain::bulk::RunState;
use crate::error::{Error, Result};

/// Rows in a statement.
const ROWS: usize = 500;

/// A process's chain.
#[derive(Debug, Clone, PartialEq, Eq, diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = audit_chains)]
pub struct Chain {
    /// Its number.
    pub chain: i64,
    /// The process, by an id of its own.
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
    /// The seal of all of these.
    pub seal: Vec<u8>,
}

/// The chain that a process has opened, if it has.
pub fn of_writer(connection: &mut Session, writer: Uuid) -> Result<Option<i64>> {
    Ok(audit_chains::table
        .filter(audit_chains::writer.eq(bytes(writer)))
        .select(audit_chains::chain)
        .first(connection)
        .optional()?)
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

/// Finds a chain and locks it until the transaction ends.
pub fn lock(connection: &mut Session, chain: i64) -> Result<Option<Chain>> {
    let find = audit_chains::table.find(chain);
    let found = match connection {
        // SQLite has one writer at a time.
        Session::Sqlite(sqlite) => find.first(sqlite),
        Session::Postgres(postgres) => find.for_update().first(postgres),
    };
    Ok(found.optional()?)
}

/// Keeps the start and the end of a chain, and its seal.
pub fn keep(connection: &mut Session, chain: &Chain) -> Result<()> {
    let update = diesel::update(audit_chains::table.find(chain.chain)).set((
        audit_chains::base_sequence.eq(chain.base_sequence),
        audit_chains::base_mac.eq(&chain.base_mac),
        audit_chains::head_sequence.eq(chain.head_sequence),
        audit_chains::head_mac.eq(&chain.head_mac),
        audit_chains::seal.eq(&chain.seal),
    ));
    direct!(connection, |direct| Prepared(update).execute(direct))?;
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

/// The time of the last event of all chains.
pub fn latest(connection: &mut Session) -> Result<Option<DateTime<Utc>>> {
    let at: Option<i64> = audit_events::table
        .order(audit_events::at.desc())
        .select(audit_events::at)
        .limit(1)
        .get_result(connection)
        .optional()?;
    at.map(instant).transpose()
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

#[derive(diesel::Insertable)]
#[diesel(table_name = audit_events)]
// Without the attribute, an absent column would make another statement.
#[diesel(treat_none_as_default_value = false)]
struct NewEvent {
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
    mac: Vec<u8>,
}

impl From<(KeptEvent, Vec<u8>)> for NewEvent {
    fn from((event, mac): (KeptEvent, Vec<u8>)) -> Self {
        let said = event.said;
        Self {
            chain: event.chain,
            sequence: event.sequence,
            at: micros(said.at),
            kind: said.kind,
            outcome: said.outcome,
            actor: said.actor.map(bytes),
            actor_name: said.actor_name,
            registry: said.registry.map(bytes),
            subject_kind: said.subject_kind,
            subject: said.subject.map(bytes),
            address: said.address,
            request_id: said.request_id,
            detail: said.detail,
            mac,
        }
    }
}

/// Adds events, each with its mac.
pub fn insert(connection: &mut Session, events: Vec<(KeptEvent, Vec<u8>)>) -> Result<()> {
    let rows: Vec<NewEvent> = events.into_iter().map(NewEvent::from).collect();
    match connection {
        // In SQLite a statement costs nothing but its work, and the plan of one row serves any number of them.
        Session::Sqlite(sqlite) => {
            for row in rows {
                diesel::insert_into(audit_events::table)
                    .values(row)
                    .execute(sqlite)?;
            }
        }
        // In PostgreSQL a statement costs a round trip.
        Session::Postgres(postgres) => {
            for rows in rows.chunks(ROWS) {
                diesel::insert_into(audit_events::table)
                    .values(rows)
                    .execute(postgres)?;
            }
        }
    }
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

/// The number of events that belong to no chain, or lie before the first one of their chain.
///
/// # Errors
///
/// Those of the database.
pub fn strays(connection: &mut Session) -> Result<i64> {
    Ok(audit_events::table
        .left_join(audit_chains::table.on(audit_chains::chain.eq(audit_events::chain)))
        .filter(
            audit_chains::chain.is_null().or(audit_events::sequence
                .nullable()
                .le(audit_chains::base_sequence.nullable())),
        )
        .count()
        .get_result(connection)?)
}

/// The number of events with a value of another type than its column's, as SQLite allows: it reads back the same, and
/// no filter finds it.
///
/// # Errors
///
/// Those of the database.
pub fn mistyped(connection: &mut Session) -> Result<i64> {
    let Session::Sqlite(sqlite) = connection else {
        return Ok(0);
    };
    let wrong = sql::<Bool>(
        "NOT (typeof(at) = 'integer' AND typeof(kind) = 'text' AND typeof(outcome) = 'text' \
         AND typeof(actor) IN ('blob', 'null') AND typeof(actor_name) IN ('text', 'null') \
         AND typeof(registry) IN ('blob', 'null') AND typeof(subject_kind) = 'text' \
         AND typeof(subject) IN ('blob', 'null') AND typeof(address) IN ('text', 'null') \
         AND typeof(request_id) = 'text' AND typeof(detail) = 'text' AND typeof(mac) = 'blob')",
    );
    Ok(audit_events::table
        .filter(wrong)
        .count()
        .get_result(sqlite)?)
}

/// The wanted events: those that meet all given conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// At or after this instant.
    pub since: Option<DateTime<Utc>>,
    /// Before this instant.
    pub until: Option<DateTime<Utc>>,
    /// By this actor.
    pub actor: Option<Uuid>,
    /// In this registry, or about it.
    pub registry: Option<Uuid>,
    /// About this subject.
    pub subject: Option<Uuid>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With this outcome.
    pub outcome: Option<String>,
    /// Of a token that this bulk run changed.
    pub bulk: Option<Uuid>,
}

/// The most by which clocks of replicas may differ for a bulk run to be found whole.
const SKEW: TimeDelta = TimeDelta::hours(1);

/// The bounds of the events of a bulk run, which have no index: its actor, and the time from its begin to its end.
#[derive(Default)]
struct Work {
    actor: Option<Vec<u8>>,
    from: Option<i64>,
    to: Option<i64>,
}

/// Finds the bounds by the events of the run itself. `None` if there are none.
fn work(connection: &mut Session, bulk: Uuid) -> Result<Option<Work>> {
    let rows: Vec<(Option<Vec<u8>>, i64, String)> = audit_events::table
        .filter(
            audit_events::subject
                .eq(bytes(bulk))
                .and(audit_events::kind.eq(Kind::Bulk.as_str()))
                .and(audit_events::outcome.eq(Outcome::Success.as_str())),
        )
        .order(audit_events::at)
        .select((audit_events::actor, audit_events::at, audit_events::detail))
        .limit(2)
        .load(connection)?;
    let mut found = None;
    for (actor, at, detail) in rows {
        let work: &mut Work = found.get_or_insert_default();
        work.actor = actor;
        let margin = SKEW.num_microseconds().unwrap_or_default();
        let detail: Value = serde_json::from_str(&detail).unwrap_or_default();
        let state = detail.pointer("/after/state").and_then(Value::as_str);
        if state == Some(RunState::Running.as_str()) {
            work.from = Some(at - margin);
        } else {
            work.to = Some(at + margin);
        }
    }
    Ok(found)
}

/// The position of a walk through the events, in the order of their instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPosition {
    /// The event's instant, in microseconds since 1970.
    pub at: i64,
    /// Its chain.
    pub chain: i64,
    /// Its sequence number there.
    pub sequence: i64,
}

impl From<&KeptEvent> for EventPosition {
    fn from(event: &KeptEvent) -> Self {
        Self {
            at: micros(event.said.at),
            chain: event.chain,
            sequence: event.sequence,
        }
    }
}

/// The direction of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The latest event first.
    NewestFirst,
    /// The earliest event first.
    OldestFirst,
}

/// Events beyond a place, in an order of instants.
pub fn list(
    connection: &mut Session,
    filter: &Filter,
    order: Order,
    beyond: Option<EventPosition>,
    limit: i64,
) -> Result<Vec<KeptEvent>> {
    let (at, chain, sequence) = (
        audit_events::at,
        audit_events::chain,
        audit_events::sequence,
    );
    let work = match filter.bulk {
        Some(bulk) => match work(connection, bulk)? {
            Some(work) => work,
            None => return Ok(Vec::new()),
        },
        None => Work::default(),
    };
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
    if let Some(bulk) = filter.bulk {
        // No member of `before` and `after` is followed by this, so no label looks like it.
        let told = format!("%\"bulk\":\"{bulk}\",\"credential\":{{%");
        wanted = wanted
            .filter(audit_events::actor.eq(work.actor))
            .filter(audit_events::detail.like(told));
    }
    if let Some(from) = work.from {
        wanted = wanted.filter(at.ge(from));
    }
    if let Some(to) = work.to {
        wanted = wanted.filter(at.le(to));
    }
    // An index can start only at the bare bound on the instant.
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

/// A chain whose first event is from before an instant, except `others`.
pub fn due(connection: &mut Session, before: DateTime<Utc>, others: &[i64]) -> Result<Option<i64>> {
    Ok(audit_chains::table
        .inner_join(
            audit_events::table.on(audit_events::chain
                .eq(audit_chains::chain)
                .and(audit_events::sequence.eq(audit_chains::base_sequence + 1))),
        )
        .filter(audit_events::at.lt(micros(before)))
        .filter(audit_chains::chain.ne_all(others.to_vec()))
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
