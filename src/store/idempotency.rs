//! The table `idempotency`: sealed answers to requests that may come again.
//!
//! A row belongs to an account, and is found by a digest that identifies the request. It is removed soon.

use chrono::{DateTime, Utc};
use diesel::sql_types::BigInt;
use diesel::{ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, sql_query};

use super::data_keys::Sealed;
use super::failure::on_unique;
use super::rows::micros;
use super::schema::idempotency;
use super::session::{Session, direct};
use crate::domain::id::AccountKey;
use crate::error::{Error, Outage, Result};

/// The answer to a request, unless it is too old or there is none.
pub fn find(
    connection: &mut Session,
    account: AccountKey,
    digest: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Sealed>> {
    let row: Option<(Vec<u8>, i64)> = direct!(connection, |direct| idempotency::table
        .find((account.0, digest))
        .filter(idempotency::expires_at.gt(micros(now)))
        .select((idempotency::sealed_answer, idempotency::seal_key))
        .get_result(direct))
    .optional()?;
    Ok(row.map(|(bytes, key)| Sealed { bytes, key }))
}

/// Keeps an answer, and replaces one that was too old.
///
/// # Errors
///
/// [`Error::Unavailable`] if another transaction was faster: the next try of the job finds its answer.
pub fn insert(
    connection: &mut Session,
    account: AccountKey,
    digest: &[u8],
    answer: &Sealed,
    (now, expires_at): (DateTime<Utc>, DateTime<Utc>),
) -> Result<()> {
    let old = idempotency::table
        .find((account.0, digest))
        .filter(idempotency::expires_at.le(micros(now)));
    direct!(connection, |direct| diesel::delete(old).execute(direct))?;
    let inserted = direct!(connection, |direct| diesel::insert_into(idempotency::table)
        .values((
            idempotency::account_key.eq(account.0),
            idempotency::key_digest.eq(digest),
            idempotency::sealed_answer.eq(&answer.bytes),
            idempotency::seal_key.eq(answer.key),
            idempotency::expires_at.eq(micros(expires_at)),
        ))
        .execute(direct));
    on_unique(inserted, || Error::Unavailable {
        outage: Outage::Conflict,
        source: Some("another transaction answered the same request".into()),
    })?;
    Ok(())
}

/// Returns true if there is an answer that is too old.
pub fn any_expired(connection: &mut Session, now: DateTime<Utc>) -> Result<bool> {
    let found: Option<i64> = idempotency::table
        .filter(idempotency::expires_at.le(micros(now)))
        .select(idempotency::account_key)
        .first(connection)
        .optional()?;
    Ok(found.is_some())
}

/// Removes up to `limit` answers that are too old. Returns their number.
pub fn delete_expired(connection: &mut Session, now: DateTime<Utc>, limit: i64) -> Result<usize> {
    Ok(sql_query(
        "DELETE FROM idempotency WHERE (account_key, key_digest) IN \
         (SELECT account_key, key_digest FROM idempotency WHERE expires_at <= $1 LIMIT $2)",
    )
    .bind::<BigInt, _>(micros(now))
    .bind::<BigInt, _>(limit)
    .execute(connection)?)
}
