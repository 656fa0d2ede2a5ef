//! Filters of tokens as conditions of SQL: their one translation.

use super::rows::{bytes, micros};
use super::statement::{Dialect, Sql};
use crate::domain::account::name_key;
use crate::domain::filter::{Maker, NameFilter, Sought, TokenFilter, TokenState};
use crate::domain::scope::REPOSITORY_ACTIONS;
use crate::domain::status::Status;

/// The use of indexes by conditions on names and on ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indexes {
    /// They may lead to the rows.
    Lead,
    /// That of ends gives the order: the place of the page is the beginning of its range.
    Order,
    /// They check rows that are found by their position. SQLite would otherwise take one of their indexes for each
    /// stretch of positions.
    Check,
}

/// The last use of a token, or else its creation.
pub(super) const LAST_SEEN: &str = "COALESCE((SELECT seen_at FROM token_uses WHERE token_uses.token_key = tokens.key \
                                    AND token_uses.registry_key = tokens.registry_key), tokens.created_at)";
/// A token that was never used. An older release notes a first use in `token_uses` alone. Not by NOT EXISTS, for which
/// PostgreSQL reads all of `token_uses`, of all registries, to find a hundred.
pub(super) const NEVER_USED: &str = "tokens.first_used_at IS NULL \
                          AND (SELECT token_key FROM token_uses WHERE token_uses.token_key = tokens.key \
                          AND token_uses.registry_key = tokens.registry_key) IS NULL";

/// The conditions of a filter on a row of `tokens`, but for those on registries, each after an AND. Of conditions on
/// scopes it has what every token that meets them meets.
pub(super) fn conditions(dialect: Dialect, sought: &Sought, indexes: Indexes) -> Sql {
    let TokenFilter {
        registries: _,
        name,
        description,
        state,
        created_by,
        expiring_within: _,
        expired_since: _,
        unused_since: _,
        never_used,
        created_before,
        created_after,
        can_open,
        carries,
        labels,
    } = sought.filter();
    let check = (dialect, indexes) == (Dialect::Sqlite, Indexes::Check);
    let mut sql = Sql::default();
    if let Some(name) = name {
        sql = sql.then(named(dialect, name, check));
    }
    if let Some(text) = description {
        let folded = folded(dialect, "tokens.description");
        sql = sql
            .text(" AND ")
            .then(contains(dialect, &folded, name_key(text)));
    }
    if let Some(state) = state {
        sql = sql.then(in_state(*state, micros(sought.now())));
    }
    match created_by {
        Some(Maker::Id(id)) => sql = sql.text(" AND tokens.created_by = ").bytes(bytes(id.0)),
        Some(Maker::Named(name)) => {
            let folded = folded(dialect, "tokens.created_by_name");
            sql = sql.text(format!(" AND {folded} = ")).word(name_key(name));
        }
        None => {}
    }
    if let Some((after, until)) = sought.ends() {
        let ends = if check {
            "+tokens.expires_at"
        } else {
            "tokens.expires_at"
        };
        if indexes != Indexes::Order {
            sql = sql.text(format!(" AND {ends} > ")).number(micros(after));
        }
        sql = sql.text(format!(" AND {ends} <= ")).number(micros(until));
    }
    if let Some(unused) = sought.unused_since() {
        sql = sql.text(" AND ").number(micros(unused));
        sql = sql.text(format!(" >= {LAST_SEEN}"));
    }
    match never_used {
        Some(true) => sql = sql.text(format!(" AND {NEVER_USED}")),
        Some(false) => sql = sql.text(format!(" AND NOT ({NEVER_USED})")),
        None => {}
    }
    if let Some(after) = created_after {
        sql = sql
            .text(" AND tokens.created_at >= ")
            .number(micros(*after));
    }
    if let Some(before) = created_before {
        sql = sql
            .text(" AND tokens.created_at < ")
            .number(micros(*before));
    }
    if let Some(opening) = can_open {
        let (name, actions) = opening.hints();
        let texts = [as_json(name), "*".to_owned()];
        sql = sql.then(contains_any(dialect, "tokens.scopes", texts));
        for action in actions {
            let texts = [action, "*"].map(as_json);
            sql = sql.then(contains_any(dialect, "tokens.scopes", texts));
        }
    }
    if let Some(action) = carries {
        let action = action.as_str();
        let any = REPOSITORY_ACTIONS.contains(&action).then_some("*");
        let texts = [Some(action), any].into_iter().flatten().map(as_json);
        sql = sql.then(contains_any(dialect, "tokens.scopes", texts));
    }
    for label in labels {
        let found = contains(dialect, "tokens.labels", label.as_member());
        sql = sql.text(" AND ").then(found);
    }
    sql
}

/// The condition on the name. A key has ASCII letters, digits and hyphens alone. SQLite compares texts by their bytes;
/// PostgreSQL compares them as the database was made, so that names with a common beginning may be no range.
fn named(dialect: Dialect, name: &NameFilter, check: bool) -> Sql {
    let key = if check {
        "+tokens.name_key"
    } else {
        "tokens.name_key"
    };
    match (name, dialect) {
        (NameFilter::Exactly(name), _) => Sql::of(format!(" AND {key} = ")).word(name),
        (NameFilter::Beginning(start), Dialect::Sqlite) => Sql::of(format!(" AND {key} >= "))
            .word(start)
            .text(format!(" AND {key} < "))
            .word(after(start)),
        (NameFilter::Beginning(start), Dialect::Postgres) => {
            Sql::of(format!(" AND starts_with({key}, "))
                .word(start)
                .text(")")
        }
    }
}

/// The first text after all that begin with an ASCII text.
fn after(start: &str) -> String {
    let mut chars = start.chars();
    let last = chars.next_back().map(|last| char::from(last as u8 + 1));
    chars.chain(last).collect()
}

fn in_state(state: TokenState, now: i64) -> Sql {
    let enabled = Sql::of(" AND tokens.status = ").word(Status::Enabled.as_str());
    match state {
        TokenState::Disabled => Sql::of(" AND tokens.status <> ").word(Status::Enabled.as_str()),
        TokenState::Enabled => enabled
            .text(" AND COALESCE(tokens.expires_at > ")
            .number(now)
            .text(", TRUE)"),
        TokenState::Expired => enabled
            .text(" AND COALESCE(tokens.expires_at <= ")
            .number(now)
            .text(", FALSE)"),
    }
}

/// Returns a text as it is in JSON of ours.
fn as_json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A column with the letters of ASCII in lower case, as [`name_key`] has them.
fn folded(dialect: Dialect, column: &str) -> String {
    match dialect {
        // Of ASCII alone.
        Dialect::Sqlite => format!("lower({column})"),
        Dialect::Postgres => format!(
            "translate({column}, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')"
        ),
    }
}

/// The column contains a text, as it is.
fn contains(dialect: Dialect, column: &str, text: String) -> Sql {
    let function = match dialect {
        Dialect::Sqlite => "instr",
        Dialect::Postgres => "strpos",
    };
    Sql::of(format!("{function}({column}, "))
        .word(text)
        .text(") > 0")
}

fn contains_any(
    dialect: Dialect,
    column: &'static str,
    texts: impl IntoIterator<Item = String>,
) -> Sql {
    let mut sql = Sql::of(" AND (");
    for (place, text) in texts.into_iter().enumerate() {
        if place > 0 {
            sql = sql.text(" OR ");
        }
        sql = sql.then(contains(dialect, column, text));
    }
    sql.text(")")
}
