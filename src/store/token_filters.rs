//! Tokens of a registry that end soon or have not been used: totals and pages, each by an index.
//!
//! A page is found in two steps: first the keys of its tokens, in the order of their instants, then the tokens. Owns
//! the order of filtered lists; `tokens` owns that of the whole list.

use std::collections::HashMap;

use diesel::backend::Backend;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType};
use diesel::{QueryableByName, RunQueryDsl, sql_query};

use super::rows::micros;
use super::session::{Session, direct};
use super::token_pages;
use crate::domain::filter::{ListPosition, Sought};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::domain::registry::TokenRules;
use crate::domain::token::{Token, VerbatimScopes};
use crate::error::Result;

/// A part of a filter in the order of an index: its order columns, table and condition. `$1` is the registry.
struct IndexRange {
    at: &'static str,
    key: &'static str,
    rows: &'static str,
}

/// Tokens that end until `$2`.
const EXPIRING: IndexRange = IndexRange {
    at: "tokens.expires_at",
    key: "tokens.key",
    rows: "tokens WHERE tokens.registry_key = $1 AND tokens.expires_at <= $2",
};
/// Tokens that end until `$2` and were not used after `$3`.
const EXPIRING_UNUSED: IndexRange = IndexRange {
    rows: "tokens WHERE tokens.registry_key = $1 AND tokens.expires_at <= $2 AND $3 >= \
           COALESCE((SELECT seen_at FROM token_uses WHERE token_key = tokens.key), tokens.created_at)",
    ..EXPIRING
};
/// Tokens that were used, and not after `$2`.
const USED: IndexRange = IndexRange {
    at: "token_uses.seen_at",
    key: "token_uses.token_key",
    rows: "token_uses WHERE token_uses.registry_key = $1 AND token_uses.seen_at <= $2",
};
/// Tokens never used and not made after `$2`. An older release notes a first use in `token_uses` alone. Not by NOT
/// EXISTS, for which PostgreSQL reads all of `token_uses`, of all registries, to find a hundred.
const NEVER_USED: IndexRange = IndexRange {
    at: "tokens.created_at",
    key: "tokens.key",
    rows: "tokens WHERE tokens.registry_key = $1 AND tokens.created_at <= $2 AND tokens.first_used_at IS NULL \
           AND (SELECT token_key FROM token_uses WHERE token_key = tokens.key) IS NULL",
};

/// The parts, the values of their placeholders, and the place that all of them are beyond.
fn parts(registry: RegistryKey, sought: Sought) -> (&'static [IndexRange], Vec<i64>, ListPosition) {
    let Sought {
        expiring,
        unused_since,
    } = sought;
    let unused = unused_since.map(micros);
    match (expiring, unused) {
        (Some((now, until)), unused) => {
            let parts: &[IndexRange] = if unused.is_some() {
                &[EXPIRING_UNUSED]
            } else {
                &[EXPIRING]
            };
            let values = [registry.0, micros(until)].into_iter().chain(unused);
            // The last place of this instant: tokens that end at it have ended.
            let start = ListPosition {
                at: micros(now),
                key: i64::MAX,
            };
            (parts, values.collect(), start)
        }
        (None, unused) => {
            let values = vec![registry.0, unused.unwrap_or(i64::MAX)];
            let start = ListPosition {
                at: i64::MIN,
                key: i64::MIN,
            };
            (&[USED, NEVER_USED], values, start)
        }
    }
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    moment: i64,
    #[diesel(sql_type = BigInt)]
    token: i64,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    tokens: i64,
}

/// The number of a registry's tokens that pass a filter.
pub fn count(connection: &mut Session, registry: RegistryKey, sought: Sought) -> Result<i64> {
    let (statements, values) = counting(registry, sought);
    let mut total = 0;
    for statement in statements {
        let counted: Counted = direct!(connection, |direct| bound(&statement, &values)
            .get_result(direct))?;
        total += counted.tokens;
    }
    Ok(total)
}

/// The first `limit` of the tokens that pass a filter, beyond a place if there is one, without the first `offset`, and
/// the place of the last of them. Call it in a snapshot.
pub fn page(
    connection: &mut Session,
    home: TokenRules,
    sought: Sought,
    after: Option<ListPosition>,
    offset: i64,
    limit: i64,
) -> Result<Vec<(ListPosition, Token<VerbatimScopes>)>> {
    let (statement, values) = finding(home.key, sought, after, offset, limit);
    let found: Vec<Found> = direct!(connection, |direct| bound(&statement, &values).load(direct))?;
    let keys = found.iter().map(|found| TokenKey(found.token));
    let mut tokens: HashMap<_, _> = token_pages::with_keys(connection, home, keys)?
        .into_iter()
        .map(|token| (token.key.0, token))
        .collect();
    let place = |found: &Found| ListPosition {
        at: found.moment,
        key: found.token,
    };
    Ok(found
        .iter()
        .filter_map(|found| Some((place(found), tokens.remove(&found.token)?)))
        .collect())
}

/// The statements that count the tokens and find a page of them, with the values written in, to examine plans.
#[must_use]
pub fn statements(registry: RegistryKey, sought: Sought, limit: i64) -> Vec<String> {
    let written = |statement: &str, values: &[i64]| {
        // From the last on, since $1 begins $10.
        let values = values.iter().enumerate().rev();
        values.fold(statement.to_owned(), |statement, (index, value)| {
            statement.replace(&format!("${}", index + 1), &value.to_string())
        })
    };
    let (counts, values) = counting(registry, sought);
    let counts = counts.iter().map(|count| written(count, &values));
    let (page, values) = finding(registry, sought, None, 0, limit);
    counts.chain([written(&page, &values)]).collect()
}

/// The statements that count the parts, and the values of each.
fn counting(registry: RegistryKey, sought: Sought) -> (Vec<String>, Vec<i64>) {
    let (parts, mut values, start) = parts(registry, sought);
    let first = values.len() + 1;
    values.extend([start.at, start.key]);
    let count = |part: &IndexRange| {
        let beyond = beyond(part, first);
        format!("SELECT COUNT(*) AS tokens FROM {}{beyond}", part.rows)
    };
    (parts.iter().map(count).collect(), values)
}

/// The statement that finds a page, and its values.
fn finding(
    registry: RegistryKey,
    sought: Sought,
    after: Option<ListPosition>,
    offset: i64,
    limit: i64,
) -> (String, Vec<i64>) {
    let (parts, mut values, start) = parts(registry, sought);
    let after = after.unwrap_or(start);
    let first = values.len() + 1;
    values.extend([after.at, after.key]);
    if parts.len() > 1 {
        values.push(limit.saturating_add(offset));
    }
    values.extend([limit, offset]);
    (statement(parts, first), values)
}

/// The statement that finds a page of the parts. The values from `first` on are the place, then for several parts limit
/// and offset together, the limit and the offset: in the order in which they are first named, as SQLite counts.
///
/// Each of several parts returns no more than the page can need: PostgreSQL before 17 does not merge ordered indexes,
/// but sorts all rows found.
fn statement(parts: &[IndexRange], first: usize) -> String {
    let next = first + 2;
    let select = |part: &IndexRange| {
        let IndexRange { at, key, rows } = part;
        let beyond = beyond(part, first);
        format!("SELECT {at} AS moment, {key} AS token FROM {rows}{beyond} ORDER BY moment, token")
    };
    match parts {
        [part] => format!("{} LIMIT ${next} OFFSET ${}", select(part), next + 1),
        parts => {
            let bounded = |part| format!("SELECT * FROM ({} LIMIT ${next}) AS part", select(part));
            let bounded: Vec<_> = parts.iter().map(bounded).collect();
            let all = bounded.join(" UNION ALL ");
            let (limit, offset) = (next + 1, next + 2);
            format!("{all} ORDER BY moment, token LIMIT ${limit} OFFSET ${offset}")
        }
    }
}

/// The rows of a part beyond the place in the values from `first` on, as one comparison for an index scan.
fn beyond(part: &IndexRange, first: usize) -> String {
    let (at, key) = (part.at, part.key);
    format!(" AND ({at}, {key}) > (${first}, ${})", first + 1)
}

fn bound<'f, DB>(statement: &str, values: &[i64]) -> BoxedSqlQuery<'f, DB, SqlQuery>
where
    DB: Backend + HasSqlType<BigInt> + 'f,
    i64: ToSql<BigInt, DB>,
{
    values
        .iter()
        .fold(sql_query(statement).into_boxed(), |query, value| {
            query.bind::<BigInt, _>(*value)
        })
}
