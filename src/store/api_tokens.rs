//! The table `api_tokens`: the stored part of API tokens. The tokens themselves are stored nowhere.
//!
//! A row is revoked in place and removed later; its id never comes back.

use chrono::{DateTime, Utc};
use diesel::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl};

use super::parts::in_parts;
use super::rows::{bytes, from_json, instant, micros, to_json, uuid};
use super::schema::api_tokens;
use super::session::{Session, direct};
use crate::domain::api_token::{ApiToken, NewApiToken};
use crate::domain::id::{AccountId, AccountKey, ApiTokenId, RegistryKey};
use crate::domain::registry_api_token::{Confinement, TokenLevel};
use crate::domain::token::LastUse;
use crate::error::Result;

/// A token as its own requests need it.
#[derive(Debug, Clone)]
pub struct CurrentToken {
    /// The account on whose behalf it acts.
    pub account: AccountKey,
    /// The public part.
    pub token: ApiToken,
    /// The one registry that it acts on, if it is a registry API token.
    pub confinement: Option<Confinement>,
}

/// The columns of an [`ApiToken`], the account's key, and the registry's key and the level of a registry API token.
type Row = (
    Vec<u8>,
    String,
    String,
    i64,
    i64,
    Option<i64>,
    i64,
    Option<i64>,
    Option<String>,
);
type Columns = (
    api_tokens::uuid,
    api_tokens::name,
    api_tokens::roles,
    api_tokens::issued_at,
    api_tokens::expires_at,
    api_tokens::revoked_at,
    api_tokens::account_key,
    api_tokens::registry_key,
    api_tokens::level,
);
const COLUMNS: Columns = (
    api_tokens::uuid,
    api_tokens::name,
    api_tokens::roles,
    api_tokens::issued_at,
    api_tokens::expires_at,
    api_tokens::revoked_at,
    api_tokens::account_key,
    api_tokens::registry_key,
    api_tokens::level,
);

fn read(
    (id, name, roles, issued_at, expires_at, revoked_at, account, registry, level): Row,
) -> Result<CurrentToken> {
    Ok(CurrentToken {
        account: AccountKey(account),
        confinement: registry.map(|registry| Confinement {
            registry: RegistryKey(registry),
            level: level.as_deref().and_then(TokenLevel::from_stored),
        }),
        token: ApiToken {
            id: ApiTokenId(uuid(&id)?),
            name,
            roles: from_json(&roles)?,
            issued_at: instant(issued_at)?,
            expires_at: instant(expires_at)?,
            revoked: revoked_at.is_some(),
        },
    })
}

/// Adds a token.
pub fn insert(connection: &mut Session, new: &NewApiToken) -> Result<()> {
    let roles = to_json(&new.token.roles)?;
    direct!(connection, |direct| diesel::insert_into(api_tokens::table)
        .values((
            api_tokens::uuid.eq(bytes(new.token.id.0)),
            api_tokens::account_key.eq(new.account.0),
            api_tokens::created_by.eq(bytes(new.created.by.0)),
            api_tokens::created_by_name.eq(&new.created.by_name),
            api_tokens::name.eq(&new.token.name),
            api_tokens::roles.eq(&roles),
            api_tokens::issued_at.eq(micros(new.token.issued_at)),
            api_tokens::expires_at.eq(micros(new.token.expires_at)),
            api_tokens::description.eq(&new.description),
            api_tokens::registry_key.eq(new.confinement.map(|bound| bound.registry.0)),
            api_tokens::level.eq(new
                .confinement
                .and_then(|bound| bound.level)
                .map(TokenLevel::as_str)),
        ))
        .execute(direct))?;
    Ok(())
}

/// Finds a token, revoked or expired ones too.
pub fn find(connection: &mut Session, id: ApiTokenId) -> Result<Option<CurrentToken>> {
    direct!(connection, |direct| api_tokens::table
        .filter(api_tokens::uuid.eq(bytes(id.0)))
        .select(COLUMNS)
        .get_result(direct))
    .optional()?
    .map(read)
    .transpose()
}

/// When a token was last used, as far as is known.
pub fn used_at(connection: &mut Session, id: ApiTokenId) -> Result<Option<DateTime<Utc>>> {
    let used: Option<Option<i64>> = api_tokens::table
        .filter(api_tokens::uuid.eq(bytes(id.0)))
        .select(api_tokens::used_at)
        .get_result(connection)
        .optional()?;
    used.flatten().map(instant).transpose()
}

/// Passes to `present` every token but registry API tokens, or only the revoked or the unrevoked ones; oldest first.
pub fn list<P>(
    connection: &mut Session,
    revoked: Option<bool>,
    present: impl FnOnce(&mut dyn Iterator<Item = ApiToken>) -> Result<P>,
) -> Result<P> {
    let part = |connection: &mut Session, after: i64, limit: i64| {
        let all = api_tokens::table
            .filter(api_tokens::key.gt(after))
            .filter(api_tokens::registry_key.is_null())
            .order(api_tokens::key)
            .limit(limit)
            .select((api_tokens::key, COLUMNS))
            .into_boxed();
        let wanted = match revoked {
            None => all,
            Some(true) => all.filter(api_tokens::revoked_at.is_not_null()),
            Some(false) => all.filter(api_tokens::revoked_at.is_null()),
        };
        wanted
            .load::<(i64, Row)>(connection)?
            .into_iter()
            .map(|(key, row)| Ok((key, read(row)?.token)))
            .collect()
    };
    in_parts(connection, part, present)
}

/// The number of tokens neither revoked nor expired, without registry API tokens.
pub fn count_in_force(connection: &mut Session, now: DateTime<Utc>) -> Result<i64> {
    Ok(direct!(connection, |direct| api_tokens::table
        .filter(
            api_tokens::revoked_at
                .is_null()
                .and(api_tokens::expires_at.gt(micros(now)))
                .and(api_tokens::registry_key.is_null()),
        )
        .count()
        .get_result(direct))?)
}

/// The number of a registry's API tokens neither revoked nor expired: of all, and of those that act for an account.
pub fn count_of_registry(
    connection: &mut Session,
    registry: RegistryKey,
    account: AccountKey,
    now: DateTime<Utc>,
) -> Result<(i64, i64)> {
    let in_force = || {
        api_tokens::table
            .filter(
                api_tokens::registry_key
                    .eq(registry.0)
                    .and(api_tokens::revoked_at.is_null())
                    .and(api_tokens::expires_at.gt(micros(now))),
            )
            .count()
    };
    let all = direct!(connection, |direct| in_force().get_result(direct))?;
    let own = api_tokens::account_key.eq(account.0);
    let own = direct!(connection, |direct| in_force()
        .filter(own)
        .get_result(direct))?;
    Ok((all, own))
}

/// Removes the API tokens of a registry.
pub fn delete_all_of_registry(connection: &mut Session, registry: RegistryKey) -> Result<()> {
    diesel::delete(api_tokens::table.filter(api_tokens::registry_key.eq(registry.0)))
        .execute(connection)?;
    Ok(())
}

/// Revokes a token; a revoked one stays as it is. Returns true if there is one.
pub fn revoke(
    connection: &mut Session,
    id: ApiTokenId,
    by: Option<AccountId>,
    now: DateTime<Utc>,
) -> Result<bool> {
    let token = api_tokens::table.filter(api_tokens::uuid.eq(bytes(id.0)));
    let revoked = diesel::update(token.filter(api_tokens::revoked_at.is_null()))
        .set((
            api_tokens::revoked_at.eq(micros(now)),
            api_tokens::revoked_by.eq(by.map(|by| bytes(by.0))),
        ))
        .execute(connection)?;
    Ok(revoked > 0 || find(connection, id)?.is_some())
}

/// Keeps the last uses of tokens that are still there. Uses no later than the known ones are left out. Returns the
/// number kept. Pass the tokens in the order of their ids, so that replicas take locks in one order.
pub fn record(connection: &mut Session, uses: &[(ApiTokenId, LastUse)]) -> Result<usize> {
    let mut kept = 0;
    for (token, last) in uses {
        let older = api_tokens::used_at
            .is_null()
            .or(api_tokens::used_at.lt(micros(last.at)));
        let token = api_tokens::table.filter(api_tokens::uuid.eq(bytes(token.0)));
        kept += diesel::update(token.filter(older))
            .set(api_tokens::used_at.eq(micros(last.at)))
            .execute(connection)?;
    }
    Ok(kept)
}

/// Revokes the tokens of an account that are in force. Returns their number.
pub fn revoke_all_of_account(
    connection: &mut Session,
    account: AccountKey,
    by: Option<AccountId>,
    now: DateTime<Utc>,
) -> Result<usize> {
    let in_force = api_tokens::table
        .filter(api_tokens::account_key.eq(account.0))
        .filter(api_tokens::revoked_at.is_null())
        .filter(api_tokens::expires_at.gt(micros(now)));
    Ok(diesel::update(in_force)
        .set((
            api_tokens::revoked_at.eq(micros(now)),
            api_tokens::revoked_by.eq(by.map(|by| bytes(by.0))),
        ))
        .execute(connection)?)
}

/// The instants before which removable tokens were over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Revoked before this.
    pub revoked: DateTime<Utc>,
    /// Expired before this.
    pub expired: DateTime<Utc>,
}

/// Removes tokens that were over by then, up to `limit`. Returns their number.
pub fn delete_over(connection: &mut Session, until: Deadlines, limit: i64) -> Result<usize> {
    let keys = over(connection, until, limit)?;
    Ok(
        diesel::delete(api_tokens::table.filter(api_tokens::key.eq_any(keys)))
            .execute(connection)?,
    )
}

/// Returns true if there is a token that was over by then.
pub fn any_over(connection: &mut Session, until: Deadlines) -> Result<bool> {
    Ok(!over(connection, until, 1)?.is_empty())
}

fn over(connection: &mut Session, until: Deadlines, limit: i64) -> Result<Vec<i64>> {
    Ok(api_tokens::table
        .filter(
            api_tokens::revoked_at
                .lt(micros(until.revoked))
                .or(api_tokens::expires_at.lt(micros(until.expired))),
        )
        .select(api_tokens::key)
        .limit(limit)
        .load(connection)?)
}

/// The tokens that need a notice: they end soon, and had no notice lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soon {
    /// They are not over now,
    pub now: DateTime<Utc>,
    /// end before this,
    pub until: DateTime<Utc>,
    /// and had their last notice at this time or before, if ever.
    pub silent_since: DateTime<Utc>,
}

/// Notes a notice for tokens that need one, up to `limit`, and returns them, the first to end first.
pub fn note_ending(connection: &mut Session, soon: Soon, limit: i64) -> Result<Vec<ApiToken>> {
    let due = ending(connection, soon, limit)?;
    let keys: Vec<i64> = due.iter().map(|(key, _)| *key).collect();
    diesel::update(api_tokens::table.filter(api_tokens::key.eq_any(keys)))
        .set(api_tokens::noticed_at.eq(micros(soon.now)))
        .execute(connection)?;
    due.into_iter()
        .map(|(_, row)| Ok(read(row)?.token))
        .collect()
}

/// Returns true if there is a token that needs a notice.
pub fn any_ending(connection: &mut Session, soon: Soon) -> Result<bool> {
    Ok(!ending(connection, soon, 1)?.is_empty())
}

fn ending(connection: &mut Session, soon: Soon, limit: i64) -> Result<Vec<(i64, Row)>> {
    Ok(api_tokens::table
        .filter(
            api_tokens::expires_at
                .gt(micros(soon.now))
                .and(api_tokens::expires_at.lt(micros(soon.until)))
                .and(api_tokens::revoked_at.is_null())
                .and(
                    api_tokens::noticed_at
                        .is_null()
                        .or(api_tokens::noticed_at.le(micros(soon.silent_since))),
                ),
        )
        .order((api_tokens::expires_at, api_tokens::key))
        .select((api_tokens::key, COLUMNS))
        .limit(limit)
        .load(connection)?)
}
