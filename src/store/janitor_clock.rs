//! The table `janitor_clock`: the last look of all replicas' janitors at the wall clock. It has one row.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Nullable};
use diesel::{OptionalExtension, QueryDsl, RunQueryDsl, sql_query};

use super::rows::{instant, micros};
use super::schema::janitor_clock;
use super::session::Session;
use crate::domain::clock_check::{ClockCheck, Doubt};
use crate::error::Result;

/// The key of the row.
const KEY: i64 = 1;

/// The last look, if there was one.
pub fn read(connection: &mut Session) -> Result<Option<ClockCheck>> {
    let row: Option<(i64, Option<i64>, Option<i64>)> = janitor_clock::table
        .find(KEY)
        .select((
            janitor_clock::believed_at,
            janitor_clock::doubted_since,
            janitor_clock::doubted_at,
        ))
        .get_result(connection)
        .optional()?;
    let Some((believed_at, since, looked_at)) = row else {
        return Ok(None);
    };
    let doubt = match (since, looked_at) {
        (Some(since), Some(looked_at)) => Some(Doubt {
            since: instant(since)?,
            looked_at: instant(looked_at)?,
        }),
        _ => None,
    };
    Ok(Some(ClockCheck {
        believed_at: instant(believed_at)?,
        doubt,
    }))
}

/// Looks at the clock and keeps the result, unless it is of little use.
pub fn look(connection: &mut Session, now: DateTime<Utc>) -> Result<()> {
    let kept = read(connection)?;
    let seen = ClockCheck::look(kept, now);
    if kept.is_some_and(|kept| seen.adds_little_to(&kept)) {
        return Ok(());
    }
    sql_query(
        "INSERT INTO janitor_clock (key, believed_at, doubted_since, doubted_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (key) DO UPDATE SET believed_at = excluded.believed_at, \
         doubted_since = excluded.doubted_since, doubted_at = excluded.doubted_at",
    )
    .bind::<BigInt, _>(KEY)
    .bind::<BigInt, _>(micros(seen.believed_at))
    .bind::<Nullable<BigInt>, _>(seen.doubt.map(|doubt| micros(doubt.since)))
    .bind::<Nullable<BigInt>, _>(seen.doubt.map(|doubt| micros(doubt.looked_at)))
    .execute(connection)?;
    Ok(())
}
