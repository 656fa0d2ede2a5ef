//! The credentials in force of a restored database, and the disabling of its registry tokens and trusts.

use chrono::{DateTime, Utc};
use diesel::sql_types::BigInt;
use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, sql_query};
use uuid::Uuid;

use super::rows::{bytes, micros};
use super::schema::{tokens, trusts};
use super::session::Session;
use crate::domain::status::Status;
use crate::error::Result;

/// Tokens changed at once.
const BATCH: i64 = 1000;

/// The numbers of credentials in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, diesel::QueryableByName)]
pub struct LiveCredentials {
    /// Enabled accounts.
    #[diesel(sql_type = BigInt)]
    pub accounts: i64,
    /// Registry tokens that are enabled and have not expired.
    #[diesel(sql_type = BigInt)]
    pub tokens: i64,
    /// Registry tokens among those that never expire.
    #[diesel(sql_type = BigInt)]
    pub lasting_tokens: i64,
    /// Trusts that are enabled and have not ended, of issuers that are enabled.
    #[diesel(sql_type = BigInt)]
    pub trusts: i64,
    /// App tokens that have not expired.
    #[diesel(sql_type = BigInt)]
    pub app_tokens: i64,
    /// App tokens among those that never expire.
    #[diesel(sql_type = BigInt)]
    pub lasting_app_tokens: i64,
    /// API tokens that are neither revoked nor expired.
    #[diesel(sql_type = BigInt)]
    pub api_tokens: i64,
}

/// Counts the credentials in force.
pub fn standing(connection: &mut Session, now: DateTime<Utc>) -> Result<LiveCredentials> {
    let tokens = "SELECT COUNT(*) FROM tokens WHERE status = 'enabled' \
                  AND registry_key IN (SELECT key FROM registries WHERE deleted_at IS NULL)";
    let app_tokens = "SELECT COUNT(*) FROM app_tokens WHERE";
    let counted = sql_query(format!(
        "SELECT (SELECT COUNT(*) FROM accounts WHERE status = 'enabled' AND deleted_at IS NULL) AS accounts, \
         ({tokens} AND (expires_at IS NULL OR expires_at > $1)) AS tokens, \
         ({tokens} AND expires_at IS NULL) AS lasting_tokens, \
         (SELECT COUNT(*) FROM trusts INNER JOIN issuers ON issuers.key = trusts.issuer_key \
          WHERE trusts.status = 'enabled' AND issuers.status = 'enabled' \
          AND (trusts.expires_at IS NULL OR trusts.expires_at > $1) \
          AND registry_key IN (SELECT key FROM registries WHERE deleted_at IS NULL)) AS trusts, \
         ({app_tokens} expires_at IS NULL OR expires_at > $1) AS app_tokens, \
         ({app_tokens} expires_at IS NULL) AS lasting_app_tokens, \
         (SELECT COUNT(*) FROM api_tokens WHERE revoked_at IS NULL AND expires_at > $1) AS api_tokens"
    ));
    Ok(counted
        .bind::<BigInt, _>(micros(now))
        .get_result(connection)?)
}

/// Disables the enabled ones of the next registry tokens, and ends their refresh tokens by a new id for them. Returns
/// their number, and the key after which to go on.
pub fn disable_tokens(
    connection: &mut Session,
    after: i64,
    refresh_id: Uuid,
) -> Result<(usize, Option<i64>)> {
    let last: Option<i64> = tokens::table
        .filter(tokens::key.gt(after))
        .order(tokens::key)
        .select(tokens::key)
        .limit(BATCH)
        .load(connection)?
        .last()
        .copied();
    let Some(last) = last else {
        return Ok((0, None));
    };
    let disabled = diesel::update(tokens::table)
        .filter(tokens::key.gt(after))
        .filter(tokens::key.le(last))
        .filter(tokens::status.eq(Status::Enabled.as_str()))
        .set((
            tokens::status.eq(Status::Disabled.as_str()),
            tokens::version.eq(tokens::version + 1),
            tokens::refresh_id.eq(bytes(refresh_id)),
        ))
        .execute(connection)?;
    Ok((disabled, Some(last)))
}

/// Disables the enabled trusts, and ends what was issued for them. Returns their number.
pub fn disable_trusts(connection: &mut Session) -> Result<usize> {
    Ok(diesel::update(trusts::table)
        .filter(trusts::status.eq(Status::Enabled.as_str()))
        .set((
            trusts::status.eq(Status::Disabled.as_str()),
            trusts::version.eq(trusts::version + 1),
            trusts::generation.eq(trusts::generation + 1),
        ))
        .execute(connection)?)
}
