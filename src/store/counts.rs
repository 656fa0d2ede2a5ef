//! Counts of rows, for monitors.
//!
//! Each count walks an index and reads nothing else, a part at a time, so that no reader is busy with it for long.

use chrono::{DateTime, Utc};
use diesel::sql_types::BigInt;
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, sql_query};

use super::rows::{instant, micros};
use super::schema::{api_tokens, signing_keys};
use super::session::Session;
use crate::domain::signing::KeyRole;
use crate::error::Result;

/// Rows in a part.
pub const PART: i64 = 10_000;

/// The rows to add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Registry tokens, whose buckets hold their number.
    TokenCounts,
    /// App tokens.
    AppTokens,
}

/// A row among those that are added up.
type Place = (i64, i64);

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    first: i64,
    #[diesel(sql_type = BigInt)]
    second: i64,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Adds up a part of the rows after a place. Returns the sum, and the end of the part unless it was the last.
pub fn add_up(
    connection: &mut Session,
    rows: Rows,
    after: Option<Place>,
) -> Result<(i64, Option<Place>)> {
    let (table, [first, second], count) = match rows {
        Rows::TokenCounts => ("token_counts", ["registry_key", "bucket"], "live"),
        Rows::AppTokens => ("app_tokens", ["account_key", "key"], "CAST(1 AS BIGINT)"),
    };
    let (a, b) = after.unwrap_or((i64::MIN, i64::MIN));
    let part: Vec<Row> = sql_query(format!(
        "SELECT {first} AS first, {second} AS second, {count} AS count FROM {table} \
         WHERE ({first}, {second}) > ($1, $2) ORDER BY {first}, {second} LIMIT {PART}"
    ))
    .bind::<BigInt, _>(a)
    .bind::<BigInt, _>(b)
    .load(connection)?;
    let sum = part.iter().map(|row| row.count).sum();
    let last = part.last().filter(|_| is_full(part.len()));
    Ok((sum, last.map(|row| (row.first, row.second))))
}

fn is_full(part: usize) -> bool {
    i64::try_from(part).is_ok_and(|rows| rows >= PART)
}

/// The kind of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Registry tokens that expire.
    Tokens,
    /// Registry tokens that expire and are disabled.
    DisabledTokens,
    /// App tokens that expire.
    AppTokens,
    /// API tokens that nobody revoked.
    ApiTokens,
    /// Certificates of signing keys in use.
    Certificates(KeyRole),
}

impl Times {
    /// Returns true if no other count gives the number of these rows.
    #[must_use]
    pub fn all_count(self) -> bool {
        matches!(self, Self::DisabledTokens | Self::ApiTokens)
    }

    /// The column, and the condition on its table's rows.
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Tokens => ("expires_at", "tokens WHERE"),
            Self::DisabledTokens => ("expires_at", "tokens WHERE status = 'disabled' AND"),
            Self::AppTokens => ("expires_at", "app_tokens WHERE"),
            Self::ApiTokens => ("expires_at", "api_tokens WHERE revoked_at IS NULL AND"),
            Self::Certificates(KeyRole::Authority) => (
                "not_after",
                "signing_keys WHERE role = 'ca' AND retired_at IS NULL AND",
            ),
            Self::Certificates(KeyRole::Pinned) => (
                "not_after",
                "signing_keys WHERE role = 'pinned' AND retired_at IS NULL AND",
            ),
            Self::Certificates(KeyRole::Leaf) => (
                "not_after",
                "signing_keys WHERE role = 'leaf' AND retired_at IS NULL AND",
            ),
        }
    }
}

/// A part of the times.
#[derive(Debug)]
pub struct EndsPart {
    /// The times, each with the number of rows that end then.
    pub ends: Vec<(DateTime<Utc>, i64)>,
    /// The end of the part, unless it was the last.
    pub last: Option<DateTime<Utc>>,
}

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Reads a part of the times after an instant, up to another one.
pub fn ends(
    connection: &mut Session,
    times: Times,
    after: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<EndsPart> {
    let (column, source) = times.source();
    let part: Vec<Number> = sql_query(format!(
        "SELECT {column} AS number FROM {source} {column} > $1 AND {column} <= $2 ORDER BY {column} LIMIT {PART}"
    ))
    .bind::<BigInt, _>(after.map_or(i64::MIN, micros))
    .bind::<BigInt, _>(until.map_or(i64::MAX, micros))
    .load(connection)?;
    let mut ends: Vec<(i64, i64)> = Vec::new();
    for Number { number } in &part {
        match ends.last_mut() {
            Some((at, count)) if at == number => *count += 1,
            _ => ends.push((*number, 1)),
        }
    }
    let mut last = None;
    if is_full(part.len()) {
        // There may be more rows of the last instant. It is left to the next part, unless this part is nothing else.
        if ends.len() > 1 {
            ends.pop();
        } else if let Some((at, count)) = ends.last_mut() {
            let all = format!("SELECT COUNT(*) AS number FROM {source} {column} = $1");
            let all: Number = sql_query(all)
                .bind::<BigInt, _>(*at)
                .get_result(connection)?;
            *count = all.number;
        }
        last = ends.last().map(|(at, _)| instant(*at)).transpose()?;
    }
    let ends = ends
        .into_iter()
        .map(|(at, count)| Ok((instant(at)?, count)));
    Ok(EndsPart {
        ends: ends.collect::<Result<_>>()?,
        last,
    })
}

/// The number of disabled registry tokens that never expire.
pub fn disabled_for_ever(connection: &mut Session) -> Result<i64> {
    // The word is written into the statement, not bound: a plan for any word cannot use the index on this one.
    let count: Number = sql_query(
        "SELECT COUNT(*) AS number FROM tokens WHERE status = 'disabled' AND expires_at IS NULL",
    )
    .get_result(connection)?;
    Ok(count.number)
}

/// The number of revoked API tokens that are still listed.
pub fn revoked_api_tokens(connection: &mut Session) -> Result<i64> {
    Ok(api_tokens::table
        .filter(api_tokens::revoked_at.is_not_null())
        .count()
        .get_result(connection)?)
}

/// The end of the first certificate in use of a role.
pub fn first_end(connection: &mut Session, role: KeyRole) -> Result<Option<DateTime<Utc>>> {
    let end: Option<i64> = signing_keys::table
        .filter(signing_keys::role.eq(role.as_str()))
        .filter(signing_keys::retired_at.is_null())
        .order(signing_keys::not_after)
        .select(signing_keys::not_after)
        .first(connection)
        .optional()?;
    end.map(instant).transpose()
}
