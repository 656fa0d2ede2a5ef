//! The table `exchanged_jwts`: JWTs that were exchanged for a password, so that none is exchanged twice.
//!
//! A row is kept as long as its JWT could be accepted, and removed soon after.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Binary};
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, sql_query};

use super::prepared::Prepared;
use super::rows::micros;
use super::schema::exchanged_jwts;
use super::session::{Session, direct};
use crate::error::Result;

/// Notes that a JWT was exchanged. `jwt` is a hash that names it, and `until` an instant from which it is refused anyway.
/// Returns false if it was exchanged before; then nothing is changed. An issuer that is made anew has the same JWTs.
///
/// Of two transactions at once, the second waits for the first, on PostgreSQL too.
pub fn insert(connection: &mut Session, jwt: &[u8], until: DateTime<Utc>) -> Result<bool> {
    let statement = Prepared(
        sql_query(
            "INSERT INTO exchanged_jwts (jwt, expires_at) VALUES ($1, $2) ON CONFLICT (jwt) DO NOTHING",
        )
        .bind::<Binary, _>(jwt.to_vec())
        .bind::<BigInt, _>(micros(until)),
    );
    Ok(direct!(connection, |direct| statement.execute(direct))? > 0)
}

/// Returns true if there is a row whose JWT has ended.
pub fn any_ended(connection: &mut Session, now: DateTime<Utc>) -> Result<bool> {
    let found: Option<i64> = exchanged_jwts::table
        .filter(exchanged_jwts::expires_at.le(micros(now)))
        .select(exchanged_jwts::expires_at)
        .first(connection)
        .optional()?;
    Ok(found.is_some())
}

/// Removes up to `limit` rows whose JWTs have ended. Returns their number.
pub fn delete_ended(connection: &mut Session, now: DateTime<Utc>, limit: i64) -> Result<usize> {
    Ok(sql_query(
        "DELETE FROM exchanged_jwts WHERE jwt IN (SELECT jwt FROM exchanged_jwts WHERE expires_at <= $1 ORDER BY jwt \
         LIMIT $2)",
    )
    .bind::<BigInt, _>(micros(now))
    .bind::<BigInt, _>(limit)
    .execute(connection)?)
}
