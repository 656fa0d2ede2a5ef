//! Leases: one process at a time does some work, for a while.
//!
//! A row, not an advisory lock, since distributed engines lack those. Processes whose clocks differ by more than a
//! lease's life may both hold it, so work under a lease must be safe to do twice.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, RunQueryDsl, sql_query};

use super::session::Session;
use crate::clock::Random;
use crate::error::{Error, Result};

/// The name and the times of a lease.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Its name in the table.
    pub name: &'static str,
    /// The time after which others stop waiting for a dead holder.
    pub life: TimeDelta,
    /// The longest time from now to the end of a valid lease. A later end was set by a wrong clock, and is void.
    pub longest: Option<TimeDelta>,
}

/// The holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Held {
    /// The name that [`holder`] made, or that an earlier release made.
    #[diesel(sql_type = Text)]
    pub holder: String,
    #[diesel(sql_type = BigInt)]
    until: i64,
}

impl Held {
    /// The rest of its time after `now` if it is not renewed, in whole seconds.
    #[must_use]
    pub fn seconds_left(&self, now: DateTime<Utc>) -> i64 {
        self.until
            .saturating_sub(now.timestamp_micros())
            .div_euclid(1_000_000)
            .max(0)
    }
}

/// A unique name for this process that leads an operator to it: its machine, its number and an id.
pub fn holder(random: &dyn Random) -> Result<String> {
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy();
    let (process, id) = (std::process::id(), random.uuid()?);
    Ok(format!("{machine}, process {process}, {id}"))
}

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = BigInt)]
    now: i64,
}

/// The time on which all users of the database agree: PostgreSQL's own clock, or `local` for SQLite's one machine.
pub fn shared_time(connection: &mut Session, local: DateTime<Utc>) -> Result<DateTime<Utc>> {
    let Session::Postgres(postgres) = connection else {
        return Ok(local);
    };
    let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS now";
    let Now { now } = sql_query(sql).get_result(postgres)?;
    DateTime::from_timestamp_micros(now)
        .ok_or_else(|| Error::internal(format!("the database's clock is at {now}")))
}

/// Makes the table if it is missing. Not a migration, as the lease guards those.
pub(super) fn create_table(connection: &mut Session) -> Result<()> {
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS leases (name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, until BIGINT NOT NULL)";
    // On PostgreSQL two processes that create the table at once both see it missing, and the later one fails on the
    // catalog's own unique index. The table exists then.
    connection
        .execute_batch(TABLE)
        .or_else(|_| connection.execute_batch(TABLE))?;
    Ok(())
}

/// Takes or renews a lease. Returns true if `holder` has it now.
pub fn acquire(
    connection: &mut Session,
    lease: Lease,
    holder: &str,
    now: DateTime<Utc>,
) -> Result<bool> {
    let longest = lease.longest.unwrap_or(TimeDelta::MAX);
    let void_after = now.checked_add_signed(longest);
    let void_after = void_after.map_or(i64::MAX, |end| end.timestamp_micros());
    let taken = sql_query(
        "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
         WHERE leases.holder = excluded.holder OR leases.until <= $4 OR leases.until > $5",
    )
    .bind::<Text, _>(lease.name)
    .bind::<Text, _>(holder)
    .bind::<BigInt, _>((now + lease.life).timestamp_micros())
    .bind::<BigInt, _>(now.timestamp_micros())
    .bind::<BigInt, _>(void_after)
    .execute(connection)?;
    Ok(taken == 1)
}

/// The holder of a lease, if there is one.
pub fn find(connection: &mut Session, lease: Lease) -> Result<Option<Held>> {
    let found: Vec<Held> = sql_query("SELECT holder, until FROM leases WHERE name = $1")
        .bind::<Text, _>(lease.name)
        .load(connection)?;
    Ok(found.into_iter().next())
}

/// Gives a lease back, if `holder` still has it.
pub fn release(connection: &mut Session, lease: Lease, holder: &str) -> Result<()> {
    sql_query("DELETE FROM leases WHERE name = $1 AND holder = $2")
        .bind::<Text, _>(lease.name)
        .bind::<Text, _>(holder)
        .execute(connection)?;
    Ok(())
}
