//! The search for the token of a secret, among the tokens of all registries.
//!
//! The digest of a secret is bound to its row, so it cannot be searched for. Beside it a row keeps the lookup of each of
//! its secrets, a keyed hash of the secret alone, in an index. A lookup finds and proves nothing: compare the digest.
//!
//! `lookup` is of the secret with the number `lookup_version`, and `previous_lookup` of the one before. Rows of releases
//! before this one have none, and those releases rotate a token without them. So a row whose `lookup_version` is not
//! its `secret_version` counts as one without lookups. An index of its own has these rows, and they are walked.

use diesel::sql_types::{BigInt, Binary, Nullable};
use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, SelectableHelper, sql_query};

use super::credentials::{SecretDigest, secret_before};
use super::rows::uuid;
use super::schema::tokens;
use super::session::Session;
use crate::domain::id::{RegistryKey, TokenId, TokenKey};
use crate::domain::rotation::Generation;
use crate::domain::secret::Lookup;
use crate::error::Result;

/// The condition of the index `tokens_without_lookup`, word for word.
const WITHOUT: &str = "((lookup IS NULL) OR (lookup_version <> secret_version) \
    OR ((previous_digest IS NOT NULL) AND (previous_lookup IS NULL)))";

/// The digest of a secret, with its owner.
#[derive(Debug, Clone)]
pub struct StoredSecret {
    /// Internal key.
    pub key: TokenKey,
    /// Public id, to which the secret is bound.
    pub id: TokenId,
    /// The registry of the token.
    pub registry: RegistryKey,
    /// The keyed hash.
    pub secret: SecretDigest,
    /// The number of the secret among its token's.
    pub secret_version: i64,
}

#[derive(diesel::Queryable, diesel::QueryableByName, diesel::Selectable)]
#[diesel(table_name = tokens)]
struct SecretRow {
    key: i64,
    uuid: Vec<u8>,
    registry_key: i64,
    secret_digest: Vec<u8>,
    secret_key: i64,
    secret_version: i64,
    previous_digest: Option<Vec<u8>>,
    previous_key: Option<i64>,
}

impl SecretRow {
    /// The current secret, and the previous one if there is one, ended or not.
    fn secrets(self) -> Result<impl Iterator<Item = StoredSecret>> {
        let id = TokenId(uuid(&self.uuid)?);
        let of = move |secret, secret_version| StoredSecret {
            key: TokenKey(self.key),
            id,
            registry: RegistryKey(self.registry_key),
            secret,
            secret_version,
        };
        let current = SecretDigest {
            digest: self.secret_digest,
            key: self.secret_key,
        };
        let before = secret_before(self.previous_digest, self.previous_key);
        let before = before.map(|before| of(before, self.secret_version - 1));
        Ok([of(current, self.secret_version)].into_iter().chain(before))
    }
}

fn secrets(rows: Vec<SecretRow>) -> Result<Vec<StoredSecret>> {
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        kept.extend(row.secrets()?);
    }
    Ok(kept)
}

/// The secrets of the tokens that have one of these lookups. Few tokens do, and it may be that none of the secrets is
/// the right one.
pub fn find(connection: &mut Session, lookups: &[Lookup]) -> Result<Vec<StoredSecret>> {
    let values = || lookups.iter().map(|lookup| lookup.0.to_vec());
    // One statement for each index: one with OR might read the whole table.
    let mut rows: Vec<SecretRow> = tokens::table
        .filter(tokens::lookup.eq_any(values()))
        .select(SecretRow::as_select())
        .load(connection)?;
    let before: Vec<SecretRow> = tokens::table
        .filter(tokens::previous_lookup.eq_any(values()))
        .select(SecretRow::as_select())
        .load(connection)?;
    rows.extend(before);
    secrets(rows)
}

/// The secrets of tokens without lookups, in the order of the tokens' keys: those of up to `limit` tokens, beyond a
/// key. They include those of deleted registries until they are purged.
pub fn without(
    connection: &mut Session,
    beyond: TokenKey,
    limit: i64,
) -> Result<Vec<StoredSecret>> {
    let rows: Vec<SecretRow> = sql_query(format!(
        "SELECT key, uuid, registry_key, secret_digest, secret_key, secret_version, previous_digest, previous_key \
         FROM {} WHERE {WITHOUT} AND key > $1 ORDER BY key LIMIT $2",
        those_without(connection)
    ))
    .bind::<BigInt, _>(beyond.0)
    .bind::<BigInt, _>(limit)
    .load(connection)?;
    secrets(rows)
}

#[derive(diesel::QueryableByName)]
struct Part {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
}

/// Counts the tokens without lookups beyond a key, up to `limit`. Returns the number and the last of their keys.
pub fn count_without(
    connection: &mut Session,
    beyond: TokenKey,
    limit: i64,
) -> Result<(i64, Option<TokenKey>)> {
    let Part { number, last } = sql_query(format!(
        "SELECT COUNT(*) AS number, MAX(key) AS last FROM \
         (SELECT key FROM {} WHERE {WITHOUT} AND key > $1 ORDER BY key LIMIT $2) AS part",
        those_without(connection)
    ))
    .bind::<BigInt, _>(beyond.0)
    .bind::<BigInt, _>(limit)
    .get_result(connection)?;
    Ok((number, last.map(TokenKey)))
}

/// The table by the index of those without. SQLite would walk the table itself, whose key is its order.
fn those_without(connection: &Session) -> &'static str {
    match connection {
        Session::Sqlite(_) => "tokens INDEXED BY tokens_without_lookup",
        Session::Postgres(_) => "tokens",
    }
}

/// The lookup of a secret that a token was used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedSecret {
    /// The one of the token's two secrets at that time.
    pub generation: Generation,
    /// Its number. A token that was rotated since does not take its lookup.
    pub version: i64,
    /// The lookup.
    pub lookup: Lookup,
}

/// Keeps the lookup of a used secret, if the token still has the secret in the same place. Changes no version.
pub(super) fn note(
    connection: &mut Session,
    (token, registry): (TokenKey, RegistryKey),
    used: UsedSecret,
) -> Result<()> {
    // On the right are the values before the change. An earlier release rotated a token whose `lookup_version` is one
    // less: its `lookup` is that of the previous secret by now.
    let statement = match used.generation {
        Generation::Current => {
            "UPDATE tokens SET lookup = $1, lookup_version = secret_version, previous_lookup = CASE \
             WHEN previous_digest IS NULL THEN NULL \
             WHEN lookup_version = secret_version THEN previous_lookup \
             WHEN lookup_version = secret_version - 1 THEN lookup END \
             WHERE key = $2 AND registry_key = $3 AND secret_version = $4"
        }
        Generation::Previous => {
            "UPDATE tokens SET previous_lookup = $1, lookup_version = secret_version, lookup = CASE \
             WHEN lookup_version = secret_version THEN lookup END \
             WHERE key = $2 AND registry_key = $3 AND secret_version = $4 + 1 AND previous_digest IS NOT NULL"
        }
    };
    sql_query(statement)
        .bind::<Binary, _>(used.lookup.0.to_vec())
        .bind::<BigInt, _>(token.0)
        .bind::<BigInt, _>(registry.0)
        .bind::<BigInt, _>(used.version)
        .execute(connection)?;
    Ok(())
}
