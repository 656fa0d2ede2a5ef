//! Whole tables, row by row, out of one database and into another, which may be of the other kind.
//!
//! A row is a JSON array in the order of its table's columns; bytes are hexadecimal. The databases make and read these
//! texts themselves, and name the columns: a column that a migration adds needs no change here. Owns the list of tables
//! to read. Refuses to know the use of the rows.

use diesel::connection::DefaultLoadingMode;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use serde::{Deserialize, Serialize};

use super::session::{Index, Purpose, Session, Target};
use crate::error::{Error, Field, Result};

/// Tables that a dump has.
pub const TABLES: &[&str] = &[
    "account_roles",
    "accounts",
    "api_tokens",
    "app_tokens",
    "audit_chains",
    "audit_events",
    "data_keys",
    "exchanged_jwts",
    "issuers",
    "meta",
    "registries",
    "registry_counters",
    "registry_members",
    "role_permissions",
    "roles",
    "signing_keys",
    "token_counts",
    "token_uses",
    "tokens",
    "trust_refusals",
    "trusts",
];

/// Tables that a dump omits, with the reason.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "leases",
        "they belong to processes that run on the database",
    ),
    (
        "idempotency",
        "it is of use for minutes, to requests that a restored data set never saw",
    ),
    (
        "bulk_runs",
        "they change tokens as they were found, and would go on with other ones",
    ),
    ("bulk_refusals", "they belong to bulk_runs"),
    (
        "heartbeats",
        "they belong to processes that run on the database",
    ),
    (
        "janitor_clock",
        "it tells of the clock of the machines that run on the database",
    ),
    (
        "__diesel_schema_migrations",
        "the dump says itself which version its tables have",
    ),
];

/// The gap between the numbers of a dump and the next ones. After the dump, higher numbers were assigned that it does
/// not know, and credentials sealed to those (refresh tokens, sessions, entity tags) still exist: they must never fit a
/// later row.
pub const GAP: i64 = 1_000_000;
/// The columns with such numbers that are not keys.
const VERSIONS: [&str; 4] = ["generation", "version", "secret_version", "lookup_version"];

/// A table of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in the order of a row's values.
    pub columns: Vec<String>,
    /// The number of its rows.
    pub rows: i64,
    /// The number of rows that belong to something deleted. Backups of older releases do not have it.
    #[serde(default)]
    pub deleted: i64,
    /// The last value of its key, if the database assigns it.
    pub last_key: Option<i64>,
}

/// A column as the database describes it.
#[derive(Debug, QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

/// Opens a database and reads from one snapshot, without a time limit.
pub fn read<T>(target: &Target, reads: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
    Session::open(target, Purpose::Dump)?.snapshot(reads)
}

/// Opens a database and changes it in one transaction, without a time limit. Other writers wait.
pub fn write<T>(target: &Target, writes: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
    let mut connection = Session::open(target, Purpose::Migrate)?;
    let begin = match connection {
        Session::Sqlite(_) => "BEGIN IMMEDIATE",
        Session::Postgres(_) => "BEGIN; SELECT name FROM meta WHERE name = 'catalog' FOR UPDATE",
    };
    connection.execute_batch(begin)?;
    // A failure is undone when the connection closes.
    let written = writes(&mut connection)?;
    connection.execute_batch("COMMIT")?;
    Ok(written)
}

/// Returns true if the database has tables of this service, empty or not.
pub fn is_there(target: &Target) -> Result<bool> {
    if let Target::Sqlite(path) = target
        && !path.exists()
    {
        return Ok(false);
    }
    Session::open_with(target, Purpose::Dump, Index::find(target))?.has_table("accounts")
}

/// The tables of a dump of this state. The database of an older release lacks some of [`TABLES`].
pub fn tables(connection: &mut Session) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for name in TABLES {
        let columns = columns(connection, name)?;
        if columns.is_empty() {
            continue;
        }
        let marked = columns.iter().any(|column| column.name == "deleted_at");
        let mut count = |what| {
            let sql = format!("SELECT COUNT({what}) AS number FROM {name}");
            Ok::<_, Error>(number(connection, &sql)?.unwrap_or(0))
        };
        tables.push(Table {
            name: (*name).to_owned(),
            rows: count("*")?,
            deleted: if marked { count("deleted_at")? } else { 0 },
            columns: columns.into_iter().map(|column| column.name).collect(),
            last_key: last_key(connection, name)?,
        });
    }
    Ok(tables)
}

/// Passes every row of a table to `give`, as it comes from the database.
pub fn rows(
    connection: &mut Session,
    table: &Table,
    mut give: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    let (array, hexadecimal) = match connection {
        Session::Sqlite(_) => ("json_array", ("hex(", ")")),
        Session::Postgres(_) => ("json_build_array", ("encode(", ", 'hex')")),
    };
    let values: Vec<_> = columns(connection, &table.name)?
        .into_iter()
        .map(|Column { name, kind }| match kind.as_str() {
            // Null stays null: SQLite's hex() makes an empty text of it.
            "bytes" => format!(
                "CASE WHEN {name} IS NULL THEN NULL ELSE {}{name}{} END",
                hexadecimal.0, hexadecimal.1
            ),
            _ => name,
        })
        .collect();
    let query = sql_query(format!(
        "SELECT CAST({array}({}) AS TEXT) AS line FROM {}",
        values.join(", "),
        table.name
    ));
    // Row by row: a table may be larger than memory.
    match connection {
        Session::Sqlite(connection) => query
            .load_iter::<Line, DefaultLoadingMode>(connection)?
            .try_for_each(|row| give(&row?.line)),
        Session::Postgres(connection) => query
            .load_iter::<Line, PgRowByRowLoadingMode>(connection)?
            .try_for_each(|row| give(&row?.line)),
    }
}

/// Empties a table, which the migrations may have filled, before a dump's rows. Fails unless it has the dump's columns.
pub fn prepare(connection: &mut Session, table: &Table) -> Result<()> {
    let known = TABLES.contains(&table.name.as_str());
    let same = |columns: Vec<Column>| {
        columns.len() == table.columns.len()
            && columns
                .iter()
                .all(|column| table.columns.contains(&column.name))
    };
    if !known || !same(columns(connection, &table.name)?) {
        return Err(Error::invalid(
            Field::Setting,
            format!("the table {} has other columns here", table.name),
        ));
    }
    connection.execute_batch(&format!("DELETE FROM {}", table.name))?;
    Ok(())
}

/// Adds rows to a table, from a JSON array of them.
pub fn insert(connection: &mut Session, table: &Table, rows: &str) -> Result<()> {
    let kinds = columns(connection, &table.name)?;
    let sqlite = matches!(connection, Session::Sqlite(_));
    let value = |(at, name): (usize, &String)| {
        let kind = kinds.iter().find(|column| column.name == *name);
        let kind = kind.map_or("", |column| column.kind.as_str());
        let text = if sqlite {
            format!("json_extract(value, '$[{at}]')")
        } else {
            format!("value ->> {at}")
        };
        match (kind, sqlite) {
            ("bytes", true) => format!("unhex({text})"),
            ("bytes", false) => format!("decode({text}, 'hex')"),
            ("number", _) if VERSIONS.contains(&name.as_str()) => {
                format!("CAST({text} AS BIGINT) + {GAP}")
            }
            ("number", false) => format!("CAST({text} AS BIGINT)"),
            _ => text,
        }
    };
    let values: Vec<_> = table.columns.iter().enumerate().map(value).collect();
    let each = if sqlite {
        "json_each($1)"
    } else {
        "json_array_elements(CAST($1 AS json))"
    };
    sql_query(format!(
        "INSERT INTO {} ({}) SELECT {} FROM {each}",
        table.name,
        table.columns.join(", "),
        values.join(", ")
    ))
    .bind::<Text, _>(rows)
    .execute(connection)?;
    Ok(())
}

/// Sets a table's next numbers well after those of the dump, see [`GAP`].
pub fn skip_ahead(connection: &mut Session, table: &Table) -> Result<()> {
    let Some(last) = table.last_key else {
        return Ok(());
    };
    let (name, next) = (&table.name, last.saturating_add(GAP));
    let sql = match connection {
        Session::Sqlite(_) => format!(
            "DELETE FROM sqlite_sequence WHERE name = '{name}'; \
             INSERT INTO sqlite_sequence (name, seq) VALUES ('{name}', {next})"
        ),
        Session::Postgres(_) => format!(
            "SELECT setval(pg_get_serial_sequence('{name}', '{}'), {next})",
            identity(connection, name)?.unwrap_or_default()
        ),
    };
    connection.execute_batch(&sql)?;
    Ok(())
}

/// Returns true if there is a table with any row.
pub fn has_any(connection: &mut Session, table: &str) -> Result<bool> {
    let sql = format!(
        "SELECT CAST(COUNT(*) AS BIGINT) AS number FROM (SELECT 1 FROM {table} LIMIT 1) AS rows"
    );
    Ok(connection.has_table(table)? && number(connection, &sql)? != Some(0))
}

/// The columns of a table; none if there is no such table.
fn columns(connection: &mut Session, table: &str) -> Result<Vec<Column>> {
    let sql = match connection {
        Session::Sqlite(_) => {
            "SELECT name, CASE type WHEN 'BLOB' THEN 'bytes' WHEN 'TEXT' THEN 'text' WHEN 'INTEGER' THEN 'number' \
             WHEN 'BIGINT' THEN 'number' ELSE type END AS kind FROM pragma_table_info($1) ORDER BY cid"
        }
        Session::Postgres(_) => {
            "SELECT CAST(column_name AS TEXT) AS name, CASE data_type WHEN 'bytea' THEN 'bytes' WHEN 'text' THEN 'text' \
             WHEN 'bigint' THEN 'number' ELSE CAST(data_type AS TEXT) END AS kind FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position"
        }
    };
    let columns: Vec<Column> = sql_query(sql).bind::<Text, _>(table).load(connection)?;
    // A value of a type that only one of the databases has would come back as another one.
    let odd = columns
        .iter()
        .find(|column| !["bytes", "text", "number"].contains(&column.kind.as_str()));
    match odd {
        Some(column) => Err(Error::internal(format!(
            "the column {table}.{} is of the type {}",
            column.name, column.kind
        ))),
        None => Ok(columns),
    }
}

/// The column whose values PostgreSQL assigns.
fn identity(connection: &mut Session, table: &str) -> Result<Option<String>> {
    let found: Vec<Line> = sql_query(
        "SELECT CAST(column_name AS TEXT) AS line FROM information_schema.columns \
         WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'",
    )
    .bind::<Text, _>(table)
    .load(connection)?;
    Ok(found.into_iter().next().map(|found| found.line))
}

/// The last number that a table assigned; `None` if it assigns none. Not its largest key: the keys beyond that were used
/// too, and [`GAP`] must begin after all of them.
fn last_key(connection: &mut Session, table: &str) -> Result<Option<i64>> {
    let sql = match connection {
        Session::Sqlite(_) => format!(
            "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0) AS number \
             FROM sqlite_master WHERE type = 'table' AND name = '{table}' AND sql LIKE '%AUTOINCREMENT%'"
        ),
        Session::Postgres(_) => match identity(connection, table)? {
            Some(column) => format!(
                "SELECT COALESCE(pg_sequence_last_value(CAST(pg_get_serial_sequence('{table}', '{column}') AS regclass)), 0) \
                 AS number"
            ),
            None => return Ok(None),
        },
    };
    number(connection, &sql)
}

/// The single number that a query returns.
fn number(connection: &mut Session, sql: &str) -> Result<Option<i64>> {
    let found: Vec<Number> = sql_query(sql).load(connection)?;
    Ok(found.into_iter().next().and_then(|found| found.number))
}
