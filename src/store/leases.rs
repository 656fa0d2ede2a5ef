//! Leases: one replica at a time does a thing, for a while.
//!
//! A row, not an advisory lock, since distributed engines lack those. The time comes from the caller's clock;
//! replicas whose clocks differ by more than a lease's life may both hold it, so work under a lease must be safe to
//! do twice.

use chrono::{DateTime, Duration, Utc};
use diesel::sql_types::{BigInt, Text};
use diesel::{RunQueryDsl, sql_query};

use super::session::Session;
use crate::error::Result;

/// Makes the table where it is missing. Not a migration, as the lease guards those.
pub(super) fn create_table(connection: &mut Session) -> Result<()> {
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS leases (name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, until BIGINT NOT NULL)";
    // On PostgreSQL two processes that create the table at once both see it missing, and the later one fails on the
    // catalog's own unique index. It exists then.
    connection
        .execute_batch(TABLE)
        .or_else(|_| connection.execute_batch(TABLE))?;
    Ok(())
}

/// Takes or renews a lease. Returns whether `holder` has it now.
pub fn acquire(
    connection: &mut Session,
    name: &str,
    holder: &str,
    now: DateTime<Utc>,
    life: Duration,
) -> Result<bool> {
    let taken = sql_query(
        "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
         WHERE leases.holder = excluded.holder OR leases.until <= $4",
    )
    .bind::<Text, _>(name)
    .bind::<Text, _>(holder)
    .bind::<BigInt, _>((now + life).timestamp_micros())
    .bind::<BigInt, _>(now.timestamp_micros())
    .execute(connection)?;
    Ok(taken == 1)
}

/// Gives a lease back, if `holder` still has it.
pub fn release(connection: &mut Session, name: &str, holder: &str) -> Result<()> {
    sql_query("DELETE FROM leases WHERE name = $1 AND holder = $2")
        .bind::<Text, _>(name)
        .bind::<Text, _>(holder)
        .execute(connection)?;
    Ok(())
}
