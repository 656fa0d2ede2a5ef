//! The table `app_tokens`: tokens that open registries on behalf of an account.
//!
//! A row belongs to its account for good and goes with it; its id and its code never come back.

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl,
    SelectableHelper,
};

use super::credentials::SecretDigest;
use super::data_keys::Sealed;
use super::parts::in_parts;
use super::rows::{bytes, instant, micros, uuid};
use super::schema::app_tokens;
use super::session::{Session, direct};
use crate::domain::app_token::{AppToken, Title, lookup};
use crate::domain::id::{AccountKey, AppTokenId, AppTokenKey};
use crate::domain::token::LastUse;
use crate::error::{Error, Result};

/// A new token.
#[derive(Debug, Clone)]
pub struct NewAppToken {
    /// Public id.
    pub id: AppTokenId,
    /// The account.
    pub account: AccountKey,
    /// The title.
    pub title: Title,
    /// The value by which its code is found.
    pub lookup: String,
    /// The digest of its code.
    pub secret: SecretDigest,
    /// The sealed code, if it is to be shown again.
    pub code: Option<Sealed>,
    /// When it is made.
    pub created_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
}

impl From<NewAppToken> for AppToken {
    fn from(new: NewAppToken) -> Self {
        Self {
            id: new.id,
            title: new.title.into(),
            created_at: new.created_at,
            expires_at: new.expires_at,
            used_at: None,
        }
    }
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = app_tokens)]
struct AppTokenRow {
    uuid: Vec<u8>,
    title: String,
    created_at: i64,
    expires_at: Option<i64>,
    used_at: Option<i64>,
}

impl TryFrom<AppTokenRow> for AppToken {
    type Error = Error;

    fn try_from(row: AppTokenRow) -> Result<Self> {
        let AppTokenRow {
            uuid: id,
            title,
            created_at,
            expires_at,
            used_at,
        } = row;
        Ok(Self {
            id: AppTokenId(uuid(&id)?),
            title,
            created_at: instant(created_at)?,
            expires_at: expires_at.map(instant).transpose()?,
            used_at: used_at.map(instant).transpose()?,
        })
    }
}

/// Adds a token.
pub fn insert(connection: &mut Session, new: &NewAppToken) -> Result<()> {
    direct!(connection, |direct| diesel::insert_into(app_tokens::table)
        .values((
            app_tokens::uuid.eq(bytes(new.id.0)),
            app_tokens::account_key.eq(new.account.0),
            app_tokens::title.eq(new.title.as_str()),
            app_tokens::lookup.eq(&new.lookup),
            app_tokens::secret_digest.eq(&new.secret.digest),
            app_tokens::secret_key.eq(new.secret.key),
            app_tokens::sealed_code.eq(new.code.as_ref().map(|sealed| &sealed.bytes)),
            app_tokens::seal_key.eq(new.code.as_ref().map(|sealed| sealed.key)),
            app_tokens::created_at.eq(micros(new.created_at)),
            app_tokens::expires_at.eq(new.expires_at.map(micros)),
        ))
        .execute(direct))?;
    Ok(())
}

/// Tokens that end after the first instant and not after the second.
pub type Ending = (DateTime<Utc>, DateTime<Utc>);

/// Passes to `present` the tokens of an account, or of every one, in creation order; with `ending`, only those in it.
pub fn list<P>(
    connection: &mut Session,
    account: Option<AccountKey>,
    ending: Option<Ending>,
    present: impl FnOnce(&mut dyn Iterator<Item = AppToken>) -> Result<P>,
) -> Result<P> {
    let part = |connection: &mut Session, after: i64, limit: i64| {
        let mut wanted = app_tokens::table
            .filter(app_tokens::key.gt(after))
            .order(app_tokens::key)
            .limit(limit)
            .select((app_tokens::key, AppTokenRow::as_select()))
            .into_boxed();
        if let Some(account) = account {
            wanted = wanted.filter(app_tokens::account_key.eq(account.0));
        }
        if let Some((after, until)) = ending {
            wanted = wanted.filter(
                app_tokens::expires_at
                    .gt(micros(after))
                    .and(app_tokens::expires_at.le(micros(until))),
            );
        }
        wanted
            .load::<(i64, AppTokenRow)>(connection)?
            .into_iter()
            .map(|(key, row)| Ok((key, AppToken::try_from(row)?)))
            .collect()
    };
    in_parts(connection, part, present)
}

/// The number of tokens of an account, expired ones too.
pub fn count(connection: &mut Session, account: AccountKey) -> Result<i64> {
    Ok(direct!(connection, |direct| app_tokens::table
        .filter(app_tokens::account_key.eq(account.0))
        .count()
        .get_result(direct))?)
}

/// A token of an account, expired ones too, and its code if that may be shown again.
pub fn find(
    connection: &mut Session,
    account: AccountKey,
    id: AppTokenId,
) -> Result<Option<(AppToken, Option<Sealed>)>> {
    type Row = (AppTokenRow, Option<Vec<u8>>, Option<i64>);
    let row: Option<Row> = app_tokens::table
        .filter(
            app_tokens::account_key
                .eq(account.0)
                .and(app_tokens::uuid.eq(bytes(id.0))),
        )
        .select((
            AppTokenRow::as_select(),
            app_tokens::sealed_code,
            app_tokens::seal_key,
        ))
        .get_result(connection)
        .optional()?;
    let Some((row, code, key)) = row else {
        return Ok(None);
    };
    let code = code.zip(key).map(|(bytes, key)| Sealed { bytes, key });
    Ok(Some((row.try_into()?, code)))
}

/// The account that a token belongs to.
pub fn owner(connection: &mut Session, id: AppTokenId) -> Result<Option<AccountKey>> {
    let key: Option<i64> = app_tokens::table
        .filter(app_tokens::uuid.eq(bytes(id.0)))
        .select(app_tokens::account_key)
        .get_result(connection)
        .optional()?;
    Ok(key.map(AccountKey))
}

/// Removes a token of an account. Returns true if there was one.
pub fn delete(connection: &mut Session, account: AccountKey, id: AppTokenId) -> Result<bool> {
    let token = app_tokens::table.filter(
        app_tokens::account_key
            .eq(account.0)
            .and(app_tokens::uuid.eq(bytes(id.0))),
    );
    Ok(diesel::delete(token).execute(connection)? > 0)
}

/// Removes every token of an account. Returns their number.
pub fn remove_all_of_account(connection: &mut Session, account: AccountKey) -> Result<usize> {
    let all = app_tokens::table.filter(app_tokens::account_key.eq(account.0));
    Ok(diesel::delete(all).execute(connection)?)
}

/// The part of a token that its use needs.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Internal key.
    pub key: AppTokenKey,
    /// Public id.
    pub id: AppTokenId,
    /// The account on whose behalf it opens registries.
    pub account: AccountKey,
    /// The digest of its code.
    pub secret: SecretDigest,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = app_tokens)]
struct CredentialRow {
    key: i64,
    uuid: Vec<u8>,
    account_key: i64,
    secret_digest: Vec<u8>,
    secret_key: i64,
    expires_at: Option<i64>,
}

impl TryFrom<CredentialRow> for Credential {
    type Error = Error;

    fn try_from(row: CredentialRow) -> Result<Self> {
        let CredentialRow {
            key,
            uuid: id,
            account_key,
            secret_digest,
            secret_key,
            expires_at,
        } = row;
        Ok(Self {
            key: AppTokenKey(key),
            id: AppTokenId(uuid(&id)?),
            account: AccountKey(account_key),
            secret: SecretDigest {
                digest: secret_digest,
                key: secret_key,
            },
            expires_at: expires_at.map(instant).transpose()?,
        })
    }
}

/// The credential that a code may be of, for a login.
pub fn credential_for(connection: &mut Session, code: &str) -> Result<Option<Credential>> {
    direct!(connection, |direct| app_tokens::table
        .filter(app_tokens::lookup.eq(lookup(code)))
        .select(CredentialRow::as_select())
        .get_result::<CredentialRow>(direct))
    .optional()?
    .map(Credential::try_from)
    .transpose()
}

/// The credential with a key, for requests after a login.
pub fn credential(connection: &mut Session, key: AppTokenKey) -> Result<Option<Credential>> {
    direct!(connection, |direct| app_tokens::table
        .find(key.0)
        .select(CredentialRow::as_select())
        .get_result::<CredentialRow>(direct))
    .optional()?
    .map(Credential::try_from)
    .transpose()
}

/// Keeps the last uses of tokens that are still there. Uses no later than the known ones are left out. Returns the
/// number kept. Pass the tokens in the order of their keys, so that replicas take locks in one order.
pub fn record(connection: &mut Session, uses: &[(AppTokenKey, LastUse)]) -> Result<usize> {
    let mut kept = 0;
    for (token, last) in uses {
        let older = app_tokens::used_at
            .is_null()
            .or(app_tokens::used_at.lt(micros(last.at)));
        kept += diesel::update(app_tokens::table.find(token.0).filter(older))
            .set((
                app_tokens::used_at.eq(micros(last.at)),
                app_tokens::used_address.eq(last.address.map(|address| address.to_string())),
            ))
            .execute(connection)?;
    }
    Ok(kept)
}

/// Removes tokens that expired before an instant, up to `limit`. Returns their number.
pub fn delete_expired(
    connection: &mut Session,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<usize> {
    let keys = expired(connection, before, limit)?;
    Ok(
        diesel::delete(app_tokens::table.filter(app_tokens::key.eq_any(keys)))
            .execute(connection)?,
    )
}

/// Returns true if there is a token that expired before an instant.
pub fn any_expired(connection: &mut Session, before: DateTime<Utc>) -> Result<bool> {
    Ok(!expired(connection, before, 1)?.is_empty())
}

fn expired(connection: &mut Session, before: DateTime<Utc>, limit: i64) -> Result<Vec<i64>> {
    Ok(app_tokens::table
        .filter(app_tokens::expires_at.lt(micros(before)))
        .select(app_tokens::key)
        .limit(limit)
        .load(connection)?)
}
