//! The table `heartbeats`: a number of each process that serves, raised every second.

use diesel::sql_types::BigInt;
use diesel::{OptionalExtension as _, QueryableByName, RunQueryDsl as _, sql_query};

use super::session::Session;
use crate::error::Result;

/// Microseconds after which the row of a process that was killed is removed: a day.
const FORGOTTEN: i64 = 24 * 60 * 60 * 1_000_000;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Writes the number of a process, in a transaction of its own.
pub(super) fn write(session: &mut Session, process: i64, number: i64) -> Result<()> {
    sql_query(
        "INSERT INTO heartbeats (process, number, beaten_at) \
         VALUES ($1, $2, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)) \
         ON CONFLICT (process) DO UPDATE SET number = excluded.number, beaten_at = excluded.beaten_at",
    )
    .bind::<BigInt, _>(process)
    .bind::<BigInt, _>(number)
    .execute(session)?;
    Ok(())
}

/// The number of a process, as this connection's server knows it if it is a primary. A pooler can put another server
/// behind a connection.
pub(super) fn read(session: &mut Session, process: i64) -> Result<Option<i64>> {
    let row =
        sql_query("SELECT number FROM heartbeats WHERE process = $1 AND NOT pg_is_in_recovery()")
            .bind::<BigInt, _>(process)
            .get_result::<Number>(session)
            .optional()?;
    Ok(row.map(|row| row.number))
}

/// Removes the row of a process, and those of processes that were killed long ago.
pub(super) fn remove(session: &mut Session, process: i64) -> Result<()> {
    sql_query(
        "DELETE FROM heartbeats WHERE process = $1 \
         OR beaten_at < CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) - $2",
    )
    .bind::<BigInt, _>(process)
    .bind::<BigInt, _>(FORGOTTEN)
    .execute(session)?;
    Ok(())
}
