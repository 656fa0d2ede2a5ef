//! Pages of a registry's tokens, and their number.

use std::collections::HashMap;

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::sql_types::{BigInt, Nullable};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, OptionalExtension, QueryDsl, QueryResult,
    RunQueryDsl, SelectableHelper,
};

use super::counters::SUM;
use super::prepared::Prepared;
use super::schema::{token_counts, token_uses, tokens};
use super::session::{Session, direct};
use super::token_uses::{UseRow, checked_registry, of_token};
use super::tokens::{BUCKET_BITS, TokenRow, UsedRow};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::domain::page::{DEFAULT_LIMIT, Window};
use crate::domain::tenant::TokenRules;
use crate::domain::token::{Token, VerbatimScopes};
use crate::error::{Error, Result};

/// The most tokens that a statement finds by their keys: libpq holds a whole result.
const AT_ONCE: usize = 100;

/// Loads at most `most` tokens of a query. libpq holds a whole result, and the C library keeps its memory for the
/// thread: so the rows of a long page come one by one, which costs some microseconds each.
macro_rules! load {
    ($session:expr, $home:expr, $most:expr, $query:expr) => {{
        let most = $most;
        match $session {
            Session::Postgres(connection) if most > DEFAULT_LIMIT => $query
                .load_iter::<UsedRow, PgRowByRowLoadingMode>(connection)
                .map_err(Error::from)
                .and_then(|rows| read(rows, $home, most)),
            session => direct!(session, |direct| $query
                .load_iter::<UsedRow, DefaultLoadingMode>(direct)
                .map_err(Error::from)
                .and_then(|rows| read(rows, $home, most))),
        }
    }};
}

/// A page of a registry's tokens in creation order, and the total. Call it in a snapshot.
pub fn page(
    connection: &mut Session,
    home: TokenRules,
    window: Window,
) -> Result<(Vec<Token<VerbatimScopes>>, i64)> {
    let (total, first) = match window.offset {
        0 => beginning(connection, home.key)?,
        offset => beyond(connection, home.key, offset)?,
    };
    let Some(first) = first else {
        return Ok((Vec::new(), total));
    };
    let found = load!(
        connection,
        home,
        window.limit.min(total),
        tokens::table
            .left_join(token_uses::table.on(of_token()))
            .filter(
                tokens::registry_key
                    .eq(home.key.0)
                    .and(tokens::position.ge(first)),
            )
            .order(tokens::position)
            .limit(window.limit)
            .select((TokenRow::as_select(), Option::<UseRow>::as_select()))
    )?;
    Ok((found, total))
}

/// Makes at most `most` tokens from rows as they come, since a list of rows would need as much memory again.
fn read(
    rows: impl Iterator<Item = QueryResult<UsedRow>>,
    home: TokenRules,
    most: i64,
) -> Result<Vec<Token<VerbatimScopes>>> {
    let mut tokens = Vec::with_capacity(usize::try_from(most).map_err(Error::internal)?);
    for row in rows {
        let (row, used) = row?;
        tokens.push(row.token(used, home)?);
    }
    Ok(tokens)
}

/// The number of a registry's tokens, and a position with none of them before it, if there are any. One statement finds
/// both, with any number of buckets. The position is that of a bucket with tokens: from an earlier one PostgreSQL would
/// walk over deleted rows that are not vacuumed yet.
fn beginning(connection: &mut Session, registry: RegistryKey) -> Result<(i64, Option<i64>)> {
    let first = sql::<Nullable<BigInt>>(
        "(SELECT bucket FROM token_counts WHERE live > 0 AND registry_key = ",
    )
    .bind::<BigInt, _>(registry.0)
    .sql(" ORDER BY bucket LIMIT 1)");
    let (total, bucket): (i64, Option<i64>) = direct!(connection, |direct| Prepared(
        token_counts::table
            .filter(token_counts::registry_key.eq(registry.0))
            .select((sql::<BigInt>(SUM), first))
    )
    .get_result(direct))?;
    Ok((total, bucket.map(|bucket| bucket << BUCKET_BITS)))
}

/// The number of a registry's tokens, and a position with `offset` of them before it, if there are more.
fn beyond(
    connection: &mut Session,
    registry: RegistryKey,
    offset: i64,
) -> Result<(i64, Option<i64>)> {
    let buckets: Vec<(i64, i64)> = direct!(connection, |direct| token_counts::table
        .filter(token_counts::registry_key.eq(registry.0))
        .order(token_counts::bucket)
        .select((token_counts::bucket, token_counts::live))
        .load(direct))?;
    let total = buckets.iter().map(|(_, live)| live).sum();
    let mut skip = offset;
    let bucket = buckets.iter().find_map(|(bucket, live)| {
        let here = skip < *live;
        if !here {
            skip -= live;
        }
        here.then_some(*bucket)
    });
    let first = match bucket {
        Some(bucket) => position_after(connection, registry, bucket << BUCKET_BITS, skip)?,
        None => None,
    };
    Ok((total, first))
}

/// The position of a registry's token that comes so many after the first from a position on. By the index alone, since
/// a bucket has thousands to skip.
fn position_after(
    connection: &mut Session,
    registry: RegistryKey,
    from: i64,
    skip: i64,
) -> Result<Option<i64>> {
    if skip == 0 {
        return Ok(Some(from));
    }
    Ok(direct!(connection, |direct| tokens::table
        .filter(
            tokens::registry_key
                .eq(registry.0)
                .and(tokens::position.ge(from)),
        )
        .order(tokens::position)
        .offset(skip)
        .limit(1)
        .select(tokens::position)
        .get_result(direct))
    .optional()?)
}

/// The first `limit` tokens of a registry beyond a position, in creation order.
pub fn page_after(
    connection: &mut Session,
    home: TokenRules,
    position: i64,
    limit: i64,
) -> Result<Vec<Token<VerbatimScopes>>> {
    load!(
        connection,
        home,
        limit,
        tokens::table
            .left_join(token_uses::table.on(of_token()))
            .filter(
                tokens::registry_key
                    .eq(home.key.0)
                    .and(tokens::position.gt(position)),
            )
            .order(tokens::position)
            .limit(limit)
            .select((TokenRow::as_select(), Option::<UseRow>::as_select()))
    )
}

/// Tokens of registries by their keys, in any order. Loads a hundred of them in a statement.
pub fn with_keys(
    connection: &mut Session,
    homes: &[TokenRules],
    keys: &[TokenKey],
) -> Result<Vec<Token<VerbatimScopes>>> {
    let homes: HashMap<i64, TokenRules> = homes.iter().map(|home| (home.key.0, *home)).collect();
    let registries: Vec<_> = homes.keys().copied().collect();
    let keys: Vec<_> = keys.iter().map(|key| key.0).collect();
    let registry = checked_registry(connection);
    let mut tokens = Vec::with_capacity(keys.len());
    for keys in keys.chunks(AT_ONCE) {
        let rows: Vec<(i64, UsedRow)> = direct!(connection, |direct| tokens::table
            .left_join(token_uses::table.on(of_token()))
            .filter(
                tokens::key
                    .eq_any(keys)
                    .and(registry.clone().eq_any(&registries))
            )
            .select((
                tokens::registry_key,
                (TokenRow::as_select(), Option::<UseRow>::as_select())
            ))
            .load(direct))?;
        for (registry, (row, used)) in rows {
            if let Some(home) = homes.get(&registry) {
                tokens.push(row.token(used, *home)?);
            }
        }
    }
    Ok(tokens)
}
