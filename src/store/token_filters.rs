//! Tokens of registries that end soon, have ended, or have not been used: totals and pages, each by an index.
//!
//! A page is found in two steps: first the keys of its tokens, in the order of their instants, then the tokens. Owns
//! the order of these lists; `tokens` owns that of a registry's whole list, `token_walks` that of all others.

use diesel::RunQueryDsl;
use diesel::sql_types::BigInt;

use super::rows::micros;
use super::session::{Session, direct};
use super::statement::{Dialect, Sql};
use super::token_conditions::{Indexes, NEVER_USED, conditions};
use crate::domain::filter::{ListPosition, Sought};
use crate::domain::id::RegistryKey;
use crate::error::{Error, Result};

/// The most registries of one statement that counts.
const COUNTED: usize = 500;
/// The most registries of one statement that finds a page: it has a part for each.
const FOUND: usize = 20;

/// A part of a filter in the order of an index: its order columns, its table and its condition.
struct IndexRange {
    at: &'static str,
    key: &'static str,
    registry: &'static str,
    rows: &'static str,
    condition: Sql,
}

/// The parts, and the place that all of them are beyond.
fn parts(dialect: Dialect, sought: &Sought) -> (Vec<IndexRange>, ListPosition) {
    if let Some((after, _)) = sought.ends() {
        let expiring = IndexRange {
            at: "tokens.expires_at",
            key: "tokens.key",
            registry: "tokens.registry_key",
            rows: "tokens",
            condition: conditions(dialect, sought, Indexes::Order),
        };
        // The last place of this instant: tokens that end at it have ended.
        let start = ListPosition {
            at: micros(after),
            key: i64::MAX,
        };
        return (vec![expiring], start);
    }
    let unused = sought.unused_since().map_or(i64::MAX, micros);
    let used = IndexRange {
        at: "token_uses.seen_at",
        key: "token_uses.token_key",
        registry: "token_uses.registry_key",
        rows: "token_uses",
        condition: Sql::of(" AND token_uses.seen_at <= ").number(unused),
    };
    let never_used = IndexRange {
        at: "tokens.created_at",
        key: "tokens.key",
        registry: "tokens.registry_key",
        rows: "tokens",
        condition: Sql::of(" AND tokens.created_at <= ")
            .number(unused)
            .text(format!(" AND {NEVER_USED}")),
    };
    let start = ListPosition {
        at: i64::MIN,
        key: i64::MIN,
    };
    (vec![used, never_used], start)
}

/// The number of tokens of registries that pass a filter of instants, but at most `most`.
pub fn count(
    connection: &mut Session,
    registries: &[RegistryKey],
    sought: &Sought,
    most: i64,
) -> Result<i64> {
    let mut total = 0;
    for sql in counting(Dialect::of(connection), registries, sought, most) {
        let found: i64 = direct!(connection, |direct| sql
            .returning::<BigInt>()
            .get_result(direct))?;
        total += found;
        if total >= most {
            return Ok(most);
        }
    }
    Ok(total)
}

/// The first `limit` of the tokens of registries that pass a filter of instants, beyond a place if there is one, without
/// the first `offset`, each with its place and its registry. Call it in a snapshot.
pub fn find(
    connection: &mut Session,
    registries: &[RegistryKey],
    sought: &Sought,
    after: Option<ListPosition>,
    (offset, limit): (i64, i64),
) -> Result<Vec<(ListPosition, RegistryKey)>> {
    let statements = finding(
        Dialect::of(connection),
        registries,
        sought,
        after,
        (offset, limit),
    );
    let several = statements.len() > 1;
    let mut found: Vec<(ListPosition, RegistryKey)> = Vec::new();
    for sql in statements {
        let rows: Vec<(i64, i64, i64)> = direct!(connection, |direct| sql
            .returning::<(BigInt, BigInt, BigInt)>()
            .load(direct))?;
        found.extend(
            rows.into_iter()
                .map(|(at, key, registry)| (ListPosition { at, key }, RegistryKey(registry))),
        );
        if several {
            found.sort_unstable_by_key(|(place, _)| (place.at, place.key));
            found.truncate(usize::try_from(limit.saturating_add(offset)).map_err(Error::internal)?);
        }
    }
    if several {
        found.drain(
            ..found
                .len()
                .min(usize::try_from(offset).map_err(Error::internal)?),
        );
    }
    Ok(found)
}

/// The statements that count the tokens and find a page of them, with the values written in, to examine plans.
#[must_use]
pub fn statements(
    dialect: Dialect,
    registries: &[RegistryKey],
    sought: &Sought,
    limit: i64,
) -> Vec<String> {
    let counts = counting(dialect, registries, sought, i64::MAX);
    let pages = finding(dialect, registries, sought, None, (0, limit));
    let all = counts.into_iter().chain(pages);
    all.map(|sql| sql.written(dialect)).collect()
}

/// The statements that count the parts.
fn counting(dialect: Dialect, registries: &[RegistryKey], sought: &Sought, most: i64) -> Vec<Sql> {
    let (parts, start) = parts(dialect, sought);
    let chunks = registries.chunks(COUNTED);
    let counts = chunks.flat_map(|registries| {
        parts.iter().map(move |part| {
            let among = Sql::of(format!(
                "SELECT COUNT(*) FROM (SELECT 1 AS one FROM {} WHERE {}",
                part.rows, part.registry
            ))
            .then(one_of(registries));
            among
                .then(part.condition.clone())
                .then(beyond(part, start))
                .text(" LIMIT ")
                .number(most)
                .text(") AS counted")
        })
    });
    counts.collect()
}

/// A registry, or several.
fn one_of(registries: &[RegistryKey]) -> Sql {
    match registries {
        [registry] => Sql::of(" = ").number(registry.0),
        registries => Sql::of(" IN (")
            .numbers(registries.iter().map(|registry| registry.0))
            .text(")"),
    }
}

/// The statements that find a page. If there are several, each finds as much as the page can need.
///
/// So does each part of one: PostgreSQL before 17 does not merge ordered indexes, but sorts all rows found.
fn finding(
    dialect: Dialect,
    registries: &[RegistryKey],
    sought: &Sought,
    after: Option<ListPosition>,
    (offset, limit): (i64, i64),
) -> Vec<Sql> {
    let (parts, start) = parts(dialect, sought);
    let after = after.unwrap_or(start);
    let enough = limit.saturating_add(offset);
    let statement = |registries: &[RegistryKey]| {
        let selects: Vec<_> = registries
            .iter()
            .flat_map(|registry| parts.iter().map(|part| select(part, *registry, after)))
            .collect();
        match <[Sql; 1]>::try_from(selects) {
            Ok([select]) => select,
            Err(selects) => {
                let mut all = Sql::default();
                for (place, select) in selects.into_iter().enumerate() {
                    let union = if place > 0 { " UNION ALL " } else { "" };
                    all = all
                        .text(union)
                        .text("SELECT * FROM (")
                        .then(select)
                        .text(" LIMIT ")
                        .number(enough)
                        .text(") AS part");
                }
                all.text(" ORDER BY moment, token")
            }
        }
    };
    let statements: Vec<_> = registries.chunks(FOUND).map(statement).collect();
    let (limit, offset) = if statements.len() > 1 {
        (enough, 0)
    } else {
        (limit, offset)
    };
    let bounded = |sql: Sql| {
        let sql = sql.text(" LIMIT ").number(limit);
        sql.text(" OFFSET ").number(offset)
    };
    statements.into_iter().map(bounded).collect()
}

/// The tokens of a registry in a part, in its order.
fn select(part: &IndexRange, registry: RegistryKey, after: ListPosition) -> Sql {
    let IndexRange {
        at,
        key,
        registry: home,
        rows,
        condition,
    } = part;
    Sql::of(format!(
        "SELECT {at} AS moment, {key} AS token, {home} AS home FROM {rows} WHERE {home} = "
    ))
    .number(registry.0)
    .then(condition.clone())
    .then(beyond(part, after))
    .text(" ORDER BY moment, token")
}

/// The rows of a part beyond a place, as one comparison for an index scan.
fn beyond(part: &IndexRange, place: ListPosition) -> Sql {
    Sql::of(format!(" AND ({}, {}) > (", part.at, part.key))
        .number(place.at)
        .text(", ")
        .number(place.key)
        .text(")")
}
