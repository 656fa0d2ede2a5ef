//! The table `token_uses`: the time, the address and the repository of a token's last use.
//!
//! Apart from `tokens`, so that a use changes no version and, except for the first, writes no row that clients wait
//! for. The first use makes the row; the removal of a token removes it in the same transaction, after the token itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use diesel::backend::Backend;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Nullable, Text};
use diesel::{BoolExpressionMethods, ExpressionMethods, QueryDsl, RunQueryDsl, sql_query};

use super::prepared::Prepared;
use super::rows::{instant, micros};
use super::schema::{token_uses, tokens};
use super::session::{Session, direct};
use super::token_lookups::{self, UsedSecret};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::domain::token::LastUse;
use crate::error::{Error, Result};

/// The condition on the row of a token. The key alone would find it; with the registry, tables that are partitioned by
/// registry are read in one partition.
#[diesel::dsl::auto_type]
pub(super) fn of_token() -> _ {
    let token = token_uses::token_key.eq(tokens::key);
    let registry = token_uses::registry_key.eq(tokens::registry_key);
    token.and(registry)
}

/// The registry of tokens that are found by their keys. The plus keeps SQLite from an index that begins with the
/// registry: it would read all of its tokens for a few.
pub(super) fn checked_registry(connection: &Session) -> SqlLiteral<BigInt> {
    sql(match connection {
        Session::Sqlite(_) => "+tokens.registry_key",
        Session::Postgres(_) => "tokens.registry_key",
    })
}

/// A token, its registry and a use of it.
pub type TokenUse = (TokenKey, RegistryKey, LastUse);

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = token_uses)]
pub(super) struct UseRow {
    used_at: Option<i64>,
    address: Option<String>,
    repository: Option<String>,
}

impl UseRow {
    /// The last use in the row; `None` if there is none.
    pub(super) fn last_use(self) -> Result<Option<LastUse>> {
        let Some(at) = self.used_at else {
            return Ok(None);
        };
        let address = self.address.map(|address| address.parse()).transpose();
        Ok(Some(LastUse {
            at: instant(at)?,
            address: address.map_err(Error::internal)?,
            repository: self.repository,
        }))
    }
}

/// Keeps the last uses of tokens, each token once. Missing tokens are left out, and so are uses no later than the known
/// ones. Returns the number kept. Also keeps the lookups of the secrets that some of the tokens were used with.
///
/// One statement for all, which takes its rows in the order of their keys, so that replicas lock in one order.
pub fn record(
    connection: &mut Session,
    uses: &[TokenUse],
    secrets: &BTreeMap<TokenKey, UsedSecret>,
) -> Result<usize> {
    if uses.is_empty() {
        return Ok(0);
    }
    let kept = match connection {
        Session::Sqlite(sqlite) => upsert(uses, "").execute(sqlite),
        // A job that deletes one of these tokens meanwhile waits for the row, and then removes it too.
        Session::Postgres(postgres) => upsert(uses, "FOR KEY SHARE OF tokens").execute(postgres),
    }?;
    mark_used(connection, uses, secrets)?;
    Ok(kept)
}

/// Takes tokens out of the index of unused tokens, and out of that of tokens without lookups. Few uses do either, so
/// these tokens are looked for first; with locks, in the order of their keys.
fn mark_used(
    connection: &mut Session,
    uses: &[TokenUse],
    secrets: &BTreeMap<TokenKey, UsedSecret>,
) -> Result<()> {
    let keys = uses.iter().map(|(token, ..)| token.0);
    let registries = uses.iter().map(|(_, registry, _)| registry.0);
    let registries: BTreeSet<i64> = registries.collect();
    let unmarked = tokens::first_used_at.is_null();
    let changed = tokens::table
        .filter(
            tokens::key
                .eq_any(keys)
                .and(checked_registry(connection).eq_any(registries))
                .and(unmarked.or(tokens::key.eq_any(secrets.keys().map(|token| token.0)))),
        )
        .order(tokens::key)
        .select((tokens::key, tokens::first_used_at));
    let changed: HashMap<i64, Option<i64>> = match connection {
        Session::Sqlite(sqlite) => changed.load(sqlite),
        Session::Postgres(postgres) => changed.for_no_key_update().load(postgres),
    }?
    .into_iter()
    .collect();
    for (token, registry, last) in uses {
        let Some(first_used_at) = changed.get(&token.0) else {
            continue;
        };
        if first_used_at.is_none() {
            let row = diesel::update(tokens::table.find(token.0))
                .filter(tokens::registry_key.eq(registry.0))
                .set(tokens::first_used_at.eq(micros(last.at)));
            direct!(connection, |direct| Prepared(row).execute(direct))?;
        }
        if let Some(secret) = secrets.get(token) {
            token_lookups::note(connection, (*token, *registry), *secret)?;
        }
    }
    Ok(())
}

fn upsert<'f, DB>(uses: &[TokenUse], guard: &str) -> BoxedSqlQuery<'f, DB, SqlQuery>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text> + 'f,
    i64: ToSql<BigInt, DB>,
    Option<String>: ToSql<Nullable<Text>, DB>,
{
    let mut values = String::new();
    for first in (1..).step_by(5).take(uses.len()) {
        let comma = if first == 1 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(
            values,
            "{comma}(${first}, ${}, ${}, ${}, ${})",
            first + 1,
            first + 2,
            first + 3,
            first + 4
        );
    }
    // A use without a repository keeps the known one: see `LastUse::merge`.
    let statement = format!(
        "INSERT INTO token_uses (token_key, registry_key, seen_at, used_at, address, repository) \
         SELECT tokens.key, tokens.registry_key, uses.column3, uses.column3, uses.column4, uses.column5 \
         FROM (VALUES {values}) AS uses, tokens WHERE tokens.key = uses.column1 AND tokens.registry_key = uses.column2 \
         ORDER BY tokens.key {guard} \
         ON CONFLICT (token_key) DO UPDATE SET seen_at = excluded.seen_at, used_at = excluded.used_at, \
         address = excluded.address, repository = COALESCE(excluded.repository, token_uses.repository) \
         WHERE excluded.seen_at > token_uses.seen_at"
    );
    uses.iter().fold(
        sql_query(statement).into_boxed(),
        |query, (token, registry, last)| {
            query
                .bind::<BigInt, _>(token.0)
                .bind::<BigInt, _>(registry.0)
                .bind::<BigInt, _>(micros(last.at))
                .bind::<Nullable<Text>, _>(last.address.map(|address| address.to_string()))
                .bind::<Nullable<Text>, _>(last.repository.clone())
        },
    )
}

/// Removes the row of a token that is gone.
pub(super) fn delete(connection: &mut Session, registry: RegistryKey, token: i64) -> Result<()> {
    direct!(connection, |direct| diesel::delete(
        token_uses::table.find(token)
    )
    .filter(token_uses::registry_key.eq(registry.0))
    .execute(direct))?;
    Ok(())
}

/// Removes the rows of tokens that are gone.
pub(super) fn delete_many(
    connection: &mut Session,
    registry: RegistryKey,
    tokens: impl IntoIterator<Item = i64>,
) -> Result<()> {
    diesel::delete(token_uses::table.filter(token_uses::token_key.eq_any(tokens)))
        .filter(token_uses::registry_key.eq(registry.0))
        .execute(connection)?;
    Ok(())
}

/// Removes up to `limit` rows of a deleted registry, after its tokens. Returns the number; less than `limit` means all.
pub fn purge(connection: &mut Session, registry: RegistryKey, limit: i64) -> Result<i64> {
    let removed = sql_query(
        "DELETE FROM token_uses WHERE registry_key = $1 AND token_key IN \
         (SELECT token_key FROM token_uses WHERE registry_key = $1 LIMIT $2)",
    )
    .bind::<BigInt, _>(registry.0)
    .bind::<BigInt, _>(limit)
    .execute(connection)?;
    i64::try_from(removed).map_err(Error::internal)
}
