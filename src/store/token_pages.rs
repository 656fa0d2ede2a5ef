//! Pages of a registry's tokens, and their number.

use std::collections::HashMap;

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::sql_types::BigInt;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, IntoSql as _, JoinOnDsl, NullableExpressionMethods,
    OptionalExtension, QueryDsl, QueryResult, RunQueryDsl, SelectableHelper,
};

use super::counters::{self, SUM};
use super::prepared::Prepared;
use super::schema::{token_counts, token_uses, tokens};
use super::session::{Session, direct};
use super::token_uses::{UseRow, checked_registry, of_token};
use super::tokens::{BUCKET_BITS, TokenRow};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::domain::page::{DEFAULT_LIMIT, Window};
use crate::domain::tenant::TokenRules;
use crate::domain::token::{Token, VerbatimScopes};
use crate::error::{Error, Result};

/// The most tokens that a statement finds by their keys: libpq holds a whole result.
const AT_ONCE: usize = 100;
/// Positions a bucket.
const POSITIONS: i64 = 1 << BUCKET_BITS;

/// Selects tokens with their last uses and the total of their registry, as a [`CountedRow`].
macro_rules! counted {
    ($rows:expr, $total:expr) => {
        Prepared($rows.select(($total, TokenRow::as_select(), Option::<UseRow>::as_select())))
    };
}

/// Loads at most `most` tokens of a query. libpq holds a whole result, and the C library keeps its memory for the
/// thread: so the rows of a long page come one by one, which costs some microseconds each.
macro_rules! load {
    ($session:expr, $home:expr, $most:expr, $rows:expr, $total:expr) => {{
        let most = $most;
        match &mut *$session {
            Session::Postgres(connection) if most > DEFAULT_LIMIT => counted!($rows, $total)
                .load_iter::<CountedRow, PgRowByRowLoadingMode>(connection)
                .map_err(Error::from)
                .and_then(|rows| read(rows, $home, most)),
            session => direct!(session, |direct| counted!($rows, $total)
                .load_iter::<CountedRow, DefaultLoadingMode>(direct)
                .map_err(Error::from)
                .and_then(|rows| read(rows, $home, most))),
        }
    }};
}

/// The number of a registry's tokens, as a part of another statement: the database adds it up once, not for each row.
#[diesel::dsl::auto_type]
fn total_of(registry: i64) -> _ {
    let sum: SqlLiteral<BigInt> = sql::<BigInt>(SUM);
    token_counts::table
        .filter(token_counts::registry_key.eq(registry))
        .select(sum)
        .single_value()
        .assume_not_null()
}

/// The first page of a registry's tokens in creation order, and the total, in one statement.
pub fn first_page(
    connection: &mut Session,
    home: TokenRules,
    limit: i64,
) -> Result<(Vec<Token<VerbatimScopes>>, i64)> {
    // Only a row tells the total.
    if limit == 0 {
        return Ok((Vec::new(), counters::total(connection, home.key)?));
    }
    // From an earlier position PostgreSQL would walk over deleted rows that are not vacuumed yet.
    let first = token_counts::table
        .filter(
            token_counts::registry_key
                .eq(home.key.0)
                .and(token_counts::live.gt(0)),
        )
        .order(token_counts::bucket)
        .limit(1)
        .select(token_counts::bucket * POSITIONS)
        .single_value();
    let rows = tokens::table
        .left_join(token_uses::table.on(of_token()))
        .filter(
            tokens::registry_key
                .eq(home.key.0)
                .and(tokens::position.nullable().ge(first)),
        )
        .order(tokens::position)
        .limit(limit);
    let found = load!(connection, home, limit, rows, total_of(home.key.0))?;
    // Without a row there is no token.
    Ok((found.tokens, found.total.unwrap_or_default()))
}

/// A page of a registry's tokens in creation order that begins after so many, and the total. Call it in a snapshot.
pub fn page(
    connection: &mut Session,
    home: TokenRules,
    window: Window,
) -> Result<(Vec<Token<VerbatimScopes>>, i64)> {
    let (total, first) = beyond(connection, home.key, window.offset)?;
    let Some(first) = first else {
        return Ok((Vec::new(), total));
    };
    let total_as_found = total.into_sql::<BigInt>();
    let rows = beyond_position(home.key.0, first - 1).limit(window.limit);
    let found = load!(connection, home, window.limit, rows, total_as_found)?;
    Ok((found.tokens, total))
}

/// A registry's tokens beyond a position, in creation order, with their last uses.
#[diesel::dsl::auto_type]
fn beyond_position(registry: i64, position: i64) -> _ {
    tokens::table
        .left_join(token_uses::table.on(of_token()))
        .filter(
            tokens::registry_key
                .eq(registry)
                .and(tokens::position.gt(position)),
        )
        .order(tokens::position)
}

/// The number of a registry's tokens, and one of them.
type CountedRow = (i64, TokenRow, Option<UseRow>);

/// Tokens, and the total of their registry, which only a token tells.
struct Counted {
    tokens: Vec<Token<VerbatimScopes>>,
    total: Option<i64>,
}

/// Makes at most `most` tokens from rows as they come, since a list of rows would need as much memory again.
fn read(
    rows: impl Iterator<Item = QueryResult<CountedRow>>,
    home: TokenRules,
    most: i64,
) -> Result<Counted> {
    let mut found = Counted {
        tokens: Vec::new(),
        total: None,
    };
    for row in rows {
        let (total, row, used) = row?;
        if found.total.is_none() {
            let room = usize::try_from(most.min(total)).map_err(Error::internal)?;
            found.tokens.reserve(room);
        }
        found.total = Some(total);
        found.tokens.push(row.token(used, home)?);
    }
    Ok(found)
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

/// The first `limit` tokens of a registry beyond a position, in creation order, and the total. One statement finds both,
/// unless there is no such token.
pub fn page_after(
    connection: &mut Session,
    (home, position): (TokenRules, i64),
    limit: i64,
) -> Result<(Vec<Token<VerbatimScopes>>, i64)> {
    let rows = beyond_position(home.key.0, position).limit(limit);
    let found = load!(connection, home, limit, rows, total_of(home.key.0))?;
    let total = match found.total {
        Some(total) => total,
        None => counters::total(connection, home.key)?,
    };
    Ok((found.tokens, total))
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
        let rows: Vec<(i64, TokenRow, Option<UseRow>)> =
            direct!(connection, |direct| tokens::table
                .left_join(token_uses::table.on(of_token()))
                .filter(
                    tokens::key
                        .eq_any(keys)
                        .and(registry.clone().eq_any(&registries))
                )
                .select((
                    tokens::registry_key,
                    TokenRow::as_select(),
                    Option::<UseRow>::as_select()
                ))
                .load(direct))?;
        for (registry, row, used) in rows {
            if let Some(home) = homes.get(&registry) {
                tokens.push(row.token(used, *home)?);
            }
        }
    }
    Ok(tokens)
}
