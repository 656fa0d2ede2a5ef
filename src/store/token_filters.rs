//! Tokens of a registry by what ends soon and by what has not been used: totals and pages, each by an index.
//!
//! A page is found in two steps: first the keys of its tokens, in the order of their instants, then the tokens. Owns the
//! order of filtered lists; `tokens` owns that of the whole list.

use std::collections::HashMap;

use diesel::backend::Backend;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType};
use diesel::{QueryableByName, RunQueryDsl, sql_query};

use super::rows::micros;
use super::session::{Session, direct};
use super::tokens;
use crate::domain::filter::{Place, Sought};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::domain::registry::Home;
use crate::domain::token::{Token, VerbatimScopes};
use crate::error::Result;

/// A part of what is sought that an index has in order: its columns for the order, its table, and what holds of its
/// rows. `$1` is the registry.
struct Part {
    at: &'static str,
    key: &'static str,
    rows: &'static str,
}

/// What ends until `$2`.
const EXPIRING: Part = Part {
    at: "tokens.expires_at",
    key: "tokens.key",
    rows: "tokens WHERE tokens.registry_key = $1 AND tokens.expires_at <= $2",
};
/// What ends until `$2` and was not used after `$3`.
const EXPIRING_UNUSED: Part = Part {
    rows: "tokens WHERE tokens.registry_key = $1 AND tokens.expires_at <= $2 AND $3 >= \
           COALESCE((SELECT seen_at FROM token_uses WHERE token_key = tokens.key), tokens.created_at)",
    ..EXPIRING
};
/// What was used, and not after `$2`.
const USED: Part = Part {
    at: "token_uses.seen_at",
    key: "token_uses.token_key",
    rows: "token_uses WHERE token_uses.registry_key = $1 AND token_uses.seen_at <= $2",
};
/// What was never used and not made after `$2`. An older release beside this one notes a first use in `token_uses` alone.
const NEVER_USED: Part = Part {
    at: "tokens.created_at",
    key: "tokens.key",
    rows: "tokens WHERE tokens.registry_key = $1 AND tokens.created_at <= $2 AND tokens.first_used_at IS NULL \
           AND NOT EXISTS (SELECT 1 FROM token_uses WHERE token_key = tokens.key)",
};

/// The parts, what their places for values stand for, and the place that all of them are beyond.
fn parts(registry: RegistryKey, sought: Sought) -> (&'static [Part], Vec<i64>, Place) {
    let Sought {
        expiring,
        unused_since,
    } = sought;
    let unused = unused_since.map(micros);
    match (expiring, unused) {
        (Some((now, until)), unused) => {
            let parts: &[Part] = if unused.is_some() {
                &[EXPIRING_UNUSED]
            } else {
                &[EXPIRING]
            };
            let values = [registry.0, micros(until)].into_iter().chain(unused);
            // The end of what ends at this instant: it has ended.
            let start = Place {
                at: micros(now),
                key: i64::MAX,
            };
            (parts, values.collect(), start)
        }
        (None, unused) => {
            let values = vec![registry.0, unused.unwrap_or(i64::MAX)];
            let start = Place {
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

/// How many tokens of a registry are sought.
pub fn count(connection: &mut Session, registry: RegistryKey, sought: Sought) -> Result<i64> {
    let (parts, mut values, start) = parts(registry, sought);
    let first = values.len() + 1;
    values.extend([start.at, start.key]);
    let mut total = 0;
    for part in parts {
        let statement = format!(
            "SELECT COUNT(*) AS tokens FROM {}{}",
            part.rows,
            beyond(part, first)
        );
        let counted: Counted = direct!(connection, |direct| bound(&statement, &values)
            .get_result(direct))?;
        total += counted.tokens;
    }
    Ok(total)
}

/// The first `limit` of the tokens that are sought, beyond a place if there is one, without the first `offset`, and where
/// the last of them stands. To be called in a snapshot.
pub fn page(
    connection: &mut Session,
    home: Home,
    sought: Sought,
    after: Option<Place>,
    offset: i64,
    limit: i64,
) -> Result<Vec<(Place, Token<VerbatimScopes>)>> {
    let (parts, mut values, start) = parts(home.key, sought);
    let after = after.unwrap_or(start);
    let first = values.len() + 1;
    values.extend([after.at, after.key, limit, offset]);
    let statement = statement(parts, first);
    let found: Vec<Found> = direct!(connection, |direct| bound(&statement, &values).load(direct))?;
    let keys = found.iter().map(|found| TokenKey(found.token));
    let mut tokens: HashMap<_, _> = tokens::with_keys(connection, home, keys)?
        .into_iter()
        .map(|token| (token.key.0, token))
        .collect();
    let place = |found: &Found| Place {
        at: found.moment,
        key: found.token,
    };
    Ok(found
        .iter()
        .filter_map(|found| Some((place(found), tokens.remove(&found.token)?)))
        .collect())
}

/// What finds a page of the parts; the values from `first` on are the place, the limit and the offset.
fn statement(parts: &[Part], first: usize) -> String {
    let selects: Vec<_> = parts
        .iter()
        .map(|part| {
            let Part { at, key, rows } = part;
            let beyond = beyond(part, first);
            format!("SELECT {at} AS moment, {key} AS token FROM {rows}{beyond}")
        })
        .collect();
    format!(
        "{} ORDER BY moment, token LIMIT ${} OFFSET ${}",
        selects.join(" UNION ALL "),
        first + 2,
        first + 3
    )
}

/// The rows of a part beyond the place that the values from `first` on are. As one comparison, so that an index is
/// entered there.
fn beyond(part: &Part, first: usize) -> String {
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

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection as _;
    use diesel::sql_types::Text;
    use diesel::{Connection as _, SqliteConnection};

    use super::*;

    #[derive(QueryableByName)]
    struct Step {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    /// What SQLite does for the page of some parts.
    fn plan(parts: &[Part], values: usize) -> String {
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let mut folders: Vec<_> = std::fs::read_dir("migrations/sqlite")
            .unwrap()
            .map(|folder| folder.unwrap().path().join("up.sql"))
            .collect();
        folders.sort();
        for up in folders {
            let up = std::fs::read_to_string(up).unwrap();
            connection.batch_execute(&up).unwrap();
        }
        let explain = format!("EXPLAIN QUERY PLAN {}", statement(parts, values + 1));
        let values = vec![1; values + 4];
        let steps: Vec<Step> = bound(&explain, &values).load(&mut connection).unwrap();
        let steps: Vec<_> = steps.into_iter().map(|step| step.detail).collect();
        steps.join("\n")
    }

    #[test]
    fn every_page_comes_from_indexes_in_order() {
        let expiring = "SEARCH tokens USING COVERING INDEX tokens_registry_expires_at \
                        (registry_key=? AND expires_at>? AND expires_at<?)";
        assert_eq!(plan(&[EXPIRING], 2), expiring);
        let unused = plan(&[EXPIRING_UNUSED], 3);
        assert!(unused.contains("tokens_registry_expires_at"), "{unused}");
        let both = plan(&[USED, NEVER_USED], 2);
        for index in ["token_uses_registry_seen_at_key", "tokens_never_used"] {
            assert!(both.contains(&format!("COVERING INDEX {index}")), "{both}");
        }
        assert!(both.contains("MERGE (UNION ALL)"), "{both}");
        for plan in [unused, both] {
            assert!(!plan.contains("TEMP B-TREE"), "sorts: {plan}");
            assert!(!plan.contains("SCAN"), "{plan}");
        }
    }
}
