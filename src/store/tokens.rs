//! The table `tokens`.
//!
//! List order is creation order, by a position that the writer assigns per registry. Live tokens are counted per bucket
//! of 4 096 positions, in the transaction that adds or removes them, so a total is a short sum and a deep offset walks
//! buckets instead of rows.

use chrono::{DateTime, Utc};
use diesel::sql_types::BigInt;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods,
    OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper, sql_query,
};
use uuid::Uuid;

use super::credentials::{NewSecret, secrets_of};
use super::failure::on_unique;
use super::prepared::Prepared;
use super::rows::{
    Id, Json, Stated, bytes, from_json, instant, labels_to_json, micros, to_json, uuid,
};
use super::schema::{registries, token_uses, tokens};
use super::session::{Session, direct};
use super::token_uses::{self as uses, UseRow, of_token};
use super::transaction::Transaction;
use super::trusts;
use crate::domain::Attribution;
use crate::domain::account::name_key;
use crate::domain::allow_list::AllowList;
use crate::domain::caps::Caps;
use crate::domain::id::{AccountId, RegistryId, RegistryKey, TokenId, TokenKey};
use crate::domain::labels::Labels;
use crate::domain::tenant::TokenRules;
use crate::domain::token::{NewToken, Token, VerbatimScopes};
use crate::error::{Error, Result, What};

/// Positions a bucket, as a power of two.
pub(super) const BUCKET_BITS: u32 = 12;

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = tokens)]
pub(super) struct TokenRow {
    key: i64,
    uuid: Id,
    position: i64,
    name: String,
    description: Option<String>,
    labels: Option<Json<Labels>>,
    status: Stated,
    expires_at: Option<i64>,
    scopes: Json<VerbatimScopes>,
    cidrs: Json<AllowList>,
    secret_at: i64,
    previous_at: Option<i64>,
    previous_until: Option<i64>,
    version: i64,
    created_at: i64,
    created_by: Id,
    created_by_name: String,
    modified_at: Option<i64>,
    modified_by: Option<Id>,
    modified_by_name: Option<String>,
}

/// With its last use, if there was one.
pub(super) type UsedRow = (TokenRow, Option<UseRow>);

impl TokenRow {
    pub(super) fn token(
        self,
        used: Option<UseRow>,
        home: TokenRules,
    ) -> Result<Token<VerbatimScopes>> {
        let Self {
            key,
            uuid: Id(id),
            position,
            name,
            description,
            labels,
            status: Stated(status),
            expires_at,
            scopes: Json(scopes),
            cidrs: Json(allowed_cidrs),
            secret_at,
            previous_at,
            previous_until,
            version,
            created_at,
            created_by,
            created_by_name,
            modified_at,
            modified_by,
            modified_by_name,
        } = self;
        let stamp = |at, by: Id, by_name| -> Result<_> {
            let (at, by) = (instant(at)?, AccountId(by.0));
            Ok(Attribution { at, by, by_name })
        };
        let modified = match (modified_at, modified_by, modified_by_name) {
            (Some(at), Some(by), Some(by_name)) => Some(stamp(at, by, by_name)?),
            _ => None,
        };
        let age = home.maximum_secret_age;
        Ok(Token {
            key: TokenKey(key),
            id: TokenId(id),
            registry: home.key,
            position,
            name,
            description,
            labels: labels.map(|Json(labels)| labels).unwrap_or_default(),
            status,
            expiry_date: expires_at.map(instant).transpose()?,
            scopes,
            allowed_cidrs,
            secrets: secrets_of(age, secret_at, previous_at, previous_until)?,
            version,
            created: stamp(created_at, created_by, created_by_name)?,
            modified,
            last_used: used.map(UseRow::last_use).transpose()?.flatten(),
        })
    }
}

/// The columns that a change of a token can change.
#[derive(diesel::AsChangeset, diesel::Insertable)]
#[diesel(table_name = tokens, treat_none_as_null = true, treat_none_as_default_value = false)]
struct Columns {
    description: Option<String>,
    labels: Option<String>,
    status: &'static str,
    expires_at: Option<i64>,
    scopes: String,
    cidrs: String,
    version: i64,
}

impl Columns {
    fn of(token: &Token) -> Result<Self> {
        let Token {
            key: _,
            id: _,
            registry: _,
            position: _,
            name: _,
            description,
            labels,
            status,
            expiry_date,
            scopes,
            allowed_cidrs,
            secrets: _,
            version,
            created: _,
            modified: _,
            last_used: _,
        } = token;
        Ok(Self {
            description: description.clone(),
            labels: labels_to_json(labels)?,
            status: status.as_str(),
            expires_at: expiry_date.map(micros),
            scopes: to_json(scopes)?,
            cidrs: to_json(allowed_cidrs)?,
            version: *version,
        })
    }
}

/// Finds a token of a registry by its public id.
pub fn find(connection: &mut Session, home: TokenRules, id: TokenId) -> Result<Option<Token>> {
    show(connection, home, id)?.map(with_scopes).transpose()
}

/// The token with its scopes read.
pub fn with_scopes(token: Token<VerbatimScopes>) -> Result<Token> {
    token.with_scopes(|kept| from_json(kept.get()))
}

/// Finds a token of a registry by its public id, with its last use.
pub fn show(
    connection: &mut Session,
    home: TokenRules,
    id: TokenId,
) -> Result<Option<Token<VerbatimScopes>>> {
    direct!(connection, |direct| tokens::table
        .left_join(token_uses::table.on(of_token()))
        .filter(
            tokens::registry_key
                .eq(home.key.0)
                .and(tokens::uuid.eq(bytes(id.0))),
        )
        .select((TokenRow::as_select(), Option::<UseRow>::as_select()))
        .get_result::<UsedRow>(direct))
    .optional()?
    .map(|(row, used)| row.token(used, home))
    .transpose()
}

/// Adds a token at the end of its registry's order, unless the registry is full. Call it behind the registry's lock.
///
/// # Errors
///
/// [`Error::NameTaken`] if a token or a trust of the registry has the name.
pub fn insert(
    transaction: &mut Transaction<'_>,
    home: TokenRules,
    id: TokenId,
    new: &NewToken,
    (secret, refresh_id): (&NewSecret, Uuid),
    created: &Attribution,
    caps: Caps,
) -> Result<Token> {
    let registry = home.key;
    let name_key = name_key(new.name.as_str());
    if trusts::has_name(transaction, registry, &name_key)? {
        return Err(Error::name_taken(What::Trust, new.name.as_str()));
    }
    let position = transaction.next_position(registry)?;
    // There are no more tokens than positions, so most registries need no count.
    if position > caps.tokens {
        caps.admit_token(transaction.total(registry)?)?;
    }
    let mut token = new.made(id, home, position, created);
    let row = Columns::of(&token)?;
    let inserted = direct!(&mut **transaction, |direct| diesel::insert_into(
        tokens::table
    )
    .values((
        row,
        tokens::uuid.eq(bytes(id.0)),
        tokens::registry_key.eq(registry.0),
        tokens::position.eq(position),
        tokens::name.eq(&token.name),
        tokens::name_key.eq(&name_key),
        tokens::secret_digest.eq(&secret.digest.digest),
        tokens::secret_key.eq(secret.digest.key),
        tokens::secret_version.eq(1),
        tokens::lookup.eq(secret.lookup.0.to_vec()),
        tokens::lookup_version.eq(1),
        tokens::secret_at.eq(micros(created.at)),
        tokens::refresh_id.eq(bytes(refresh_id)),
        tokens::created_at.eq(micros(created.at)),
        tokens::created_by.eq(bytes(created.by.0)),
        tokens::created_by_name.eq(&created.by_name),
    ))
    .returning(tokens::key)
    .get_result::<i64>(direct));
    // The caller looks for a taken id and a position is assigned once: so the conflict is the name's.
    let key = on_unique(inserted, || Error::name_taken(What::Token, &token.name))?;
    transaction.count(registry, bucket(position), 1);
    token.key = TokenKey(key);
    Ok(token)
}

/// Keeps a changed token, and the account that changed it.
pub fn update(connection: &mut Session, token: &mut Token, modified: Attribution) -> Result<()> {
    token.version += 1;
    let row = tokens::table.filter(
        tokens::registry_key
            .eq(token.registry.0)
            .and(tokens::key.eq(token.key.0)),
    );
    let update = diesel::update(row).set((
        Columns::of(token)?,
        tokens::modified_at.eq(micros(modified.at)),
        tokens::modified_by.eq(bytes(modified.by.0)),
        tokens::modified_by_name.eq(&modified.by_name),
    ));
    direct!(connection, |direct| Prepared(update).execute(direct))?;
    token.modified = Some(modified);
    Ok(())
}

/// Ends the refresh tokens issued for a token.
pub fn end_refresh_tokens(connection: &mut Session, token: &Token, refresh_id: Uuid) -> Result<()> {
    diesel::update(tokens::table.find(token.key.0))
        .filter(tokens::registry_key.eq(token.registry.0))
        .set(tokens::refresh_id.eq(bytes(refresh_id)))
        .execute(connection)?;
    Ok(())
}

/// The previous secret; none by default.
#[derive(Default, diesel::AsChangeset)]
#[diesel(table_name = tokens, treat_none_as_null = true)]
struct Before {
    #[diesel(column_name = previous_digest)]
    digest: Option<Vec<u8>>,
    #[diesel(column_name = previous_key)]
    key: Option<i64>,
    #[diesel(column_name = previous_at)]
    made_at: Option<i64>,
    #[diesel(column_name = previous_until)]
    until: Option<i64>,
    #[diesel(column_name = previous_lookup)]
    lookup: Option<Vec<u8>>,
}

/// Keeps a token with a new secret, and the account that made it. The old secret becomes the previous one.
pub fn rotate(
    connection: &mut Session,
    token: &mut Token,
    secret: &NewSecret,
    modified: Attribution,
) -> Result<()> {
    let row = tokens::table
        .find(token.key.0)
        .filter(tokens::registry_key.eq(token.registry.0));
    let before = match token.secrets.previous {
        Some(previous) => {
            let (digest, key, version, lookup, of) = row
                .select((
                    tokens::secret_digest,
                    tokens::secret_key,
                    tokens::secret_version,
                    tokens::lookup,
                    tokens::lookup_version,
                ))
                .get_result::<(_, _, i64, Option<Vec<u8>>, Option<i64>)>(connection)?;
            Before {
                digest: Some(digest),
                key: Some(key),
                made_at: Some(micros(previous.made_at)),
                until: Some(micros(previous.until)),
                // Of another secret if an earlier release has rotated the token.
                lookup: lookup.filter(|_| of == Some(version)),
            }
        }
        None => Before::default(),
    };
    diesel::update(row)
        .set((
            before,
            tokens::secret_digest.eq(&secret.digest.digest),
            tokens::secret_key.eq(secret.digest.key),
            tokens::secret_version.eq(tokens::secret_version + 1),
            tokens::lookup.eq(secret.lookup.0.to_vec()),
            tokens::lookup_version.eq((tokens::secret_version + 1).nullable()),
            tokens::secret_at.eq(micros(token.secrets.made_at)),
        ))
        .execute(connection)?;
    update(connection, token, modified)
}

/// Ends a token's previous secret now, and keeps the account that did that. Its digest stays, to recognise it later.
pub fn end_previous(
    connection: &mut Session,
    token: &mut Token,
    modified: Attribution,
) -> Result<()> {
    if let Some(previous) = &mut token.secrets.previous {
        previous.until = previous.until.min(modified.at);
        diesel::update(tokens::table.find(token.key.0))
            .filter(tokens::registry_key.eq(token.registry.0))
            .set(tokens::previous_until.eq(micros(previous.until)))
            .execute(connection)?;
    }
    update(connection, token, modified)
}

/// Removes a token of a registry by its public id. Returns true if there was one.
pub fn delete(
    transaction: &mut Transaction<'_>,
    registry: RegistryKey,
    id: TokenId,
) -> Result<bool> {
    let gone: Option<(i64, i64)> = direct!(&mut **transaction, |direct| diesel::delete(
        tokens::table.filter(
            tokens::registry_key
                .eq(registry.0)
                .and(tokens::uuid.eq(bytes(id.0))),
        ),
    )
    .returning((tokens::key, tokens::position))
    .get_result(direct))
    .optional()?;
    if let Some((key, position)) = gone {
        uses::delete(transaction, registry, key)?;
        transaction.count(registry, bucket(position), -1);
    }
    Ok(gone.is_some())
}

/// A living registry with a token that expired at or before an instant: the one with the oldest expiry.
pub fn next_expired(
    connection: &mut Session,
    until: DateTime<Utc>,
) -> Result<Option<(RegistryId, RegistryKey)>> {
    let row: Option<(Vec<u8>, i64)> = tokens::table
        .inner_join(registries::table.on(registries::key.eq(tokens::registry_key)))
        .filter(
            tokens::expires_at
                .le(micros(until))
                .and(registries::deleted_at.is_null()),
        )
        .order(tokens::expires_at)
        .select((registries::uuid, registries::key))
        .first(connection)
        .optional()?;
    row.map(|(id, key)| Ok((RegistryId(uuid(&id)?), RegistryKey(key))))
        .transpose()
}

/// Removes up to `limit` tokens of a registry that expired at or before an instant. Returns their number.
pub fn delete_expired(
    transaction: &mut Transaction<'_>,
    registry: RegistryKey,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<i64> {
    let found: Vec<(i64, i64)> = tokens::table
        .filter(
            tokens::registry_key
                .eq(registry.0)
                .and(tokens::expires_at.le(micros(until))),
        )
        .order(tokens::expires_at)
        .limit(limit)
        .select((tokens::key, tokens::position))
        .load(&mut **transaction)?;
    let keys = found.iter().map(|(key, _)| *key);
    diesel::delete(tokens::table.filter(tokens::key.eq_any(keys.clone())))
        .filter(tokens::registry_key.eq(registry.0))
        .execute(&mut **transaction)?;
    uses::delete_many(transaction, registry, keys)?;
    for (_, position) in &found {
        transaction.count(registry, bucket(*position), -1);
    }
    i64::try_from(found.len()).map_err(Error::internal)
}

/// Removes up to `limit` tokens of a deleted registry. Returns the number removed; fewer than `limit` means all. Their
/// last uses are removed apart, see [`uses::purge`].
pub fn purge(transaction: &mut Transaction<'_>, registry: RegistryKey, limit: i64) -> Result<i64> {
    let removed = sql_query(
        "DELETE FROM tokens WHERE registry_key = $1 \
         AND key IN (SELECT key FROM tokens WHERE registry_key = $1 LIMIT $2)",
    )
    .bind::<BigInt, _>(registry.0)
    .bind::<BigInt, _>(limit)
    .execute(&mut **transaction)?;
    let removed = i64::try_from(removed).map_err(Error::internal)?;
    if removed < limit {
        transaction.forget_counts(registry)?;
    }
    Ok(removed)
}

/// The bucket of a position.
fn bucket(position: i64) -> i64 {
    position >> BUCKET_BITS
}
