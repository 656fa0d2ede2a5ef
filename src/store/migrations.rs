//! Brings the database to this version's tables.
//!
//! Several replicas may start at once on one database: a lease in a row decides who migrates. Its table is the one
//! that exists before any migration. A lease rather than an advisory lock, since distributed engines that speak
//! PostgreSQL's protocol lack those.

use std::sync::Arc;
use std::time::Duration;

use diesel::RunQueryDsl;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::leases;
use super::session::{Purpose, Session, Target};
use crate::clock::Clock;
use crate::error::{Error, Outage, Result};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The lease that the migrating process holds.
const LEASE: &str = "migrate";
/// How long a dead process keeps others waiting; renewed before each migration.
const LEASE_LIFE: chrono::Duration = chrono::Duration::seconds(30);
/// How often a waiting process looks.
const LOOK: Duration = Duration::from_millis(50);
/// How often a waiting process looks before it gives up: two minutes.
const LOOKS: u32 = 2400;

/// Runs every pending migration up to one, or waits for the process that does. Returns how many were run here.
pub(super) fn run(
    target: &Target,
    clock: &Arc<dyn Clock>,
    holder: &str,
    until: Option<&str>,
) -> Result<usize> {
    let mut connection = Session::open(target, Purpose::Migrate)?;
    for _ in 0..LOOKS {
        match try_run(&mut connection, clock, holder, until) {
            Ok(Some(applied)) => return Ok(applied),
            // Another process has the lease, or, on SQLite, the file at this very moment: switching to the
            // write-ahead log and upgrading a read lock fail at once instead of waiting.
            Ok(None) => {}
            Err(error) if error.chain().contains("database is locked") => {}
            Err(error) => return Err(error),
        }
        std::thread::park_timeout(LOOK);
    }
    Err(Error::Unavailable {
        outage: Outage::Busy,
        source: Some("another process holds the migration lease".into()),
    })
}

/// Runs what is pending; `None` while another process does.
fn try_run(
    connection: &mut Session,
    clock: &Arc<dyn Clock>,
    holder: &str,
    until: Option<&str>,
) -> Result<Option<usize>> {
    if let Session::Sqlite(_) = connection {
        // Kept in the file, so once is enough; it cannot be changed inside a transaction.
        connection.execute_batch("PRAGMA journal_mode = WAL")?;
    }
    leases::create_table(connection)?;
    if !leases::acquire(connection, LEASE, holder, clock.now(), LEASE_LIFE)? {
        return Ok(None);
    }
    let applied = run_pending(connection, clock, holder, until);
    leases::release(connection, LEASE, holder)?;
    applied.map(Some)
}

fn run_pending(
    connection: &mut Session,
    clock: &Arc<dyn Clock>,
    holder: &str,
    until: Option<&str>,
) -> Result<usize> {
    let mut applied = 0;
    while has_pending(connection)? {
        let last = self::applied(connection)?.pop();
        if until.is_some_and(|until| last.is_some_and(|last| *last >= *until)) {
            break;
        }
        leases::acquire(connection, LEASE, holder, clock.now(), LEASE_LIFE)?;
        let version = match connection {
            Session::Sqlite(sqlite) => sqlite
                .run_next_migration(SQLITE)
                .map(|version| version.to_string()),
            Session::Postgres(postgres) => postgres
                .run_next_migration(POSTGRES)
                .map(|version| version.to_string()),
        }
        .map_err(Error::Internal)?;
        tracing::info!(%version, "migrated the database");
        applied += 1;
    }
    Ok(applied)
}

fn has_pending(connection: &mut Session) -> Result<bool> {
    match connection {
        Session::Sqlite(sqlite) => sqlite.has_pending_migration(SQLITE),
        Session::Postgres(postgres) => postgres.has_pending_migration(POSTGRES),
    }
    .map_err(Error::Internal)
}

#[derive(diesel::QueryableByName)]
struct Applied {
    #[diesel(sql_type = diesel::sql_types::Text)]
    version: String,
}

/// Has the database every migration that this program knows? A newer database may have more.
///
/// Reads only, unlike diesel's own question, which would create its table.
pub fn is_current(connection: &mut Session) -> Result<bool> {
    let applied = applied(connection)?;
    Ok(known()?.iter().all(|version| applied.contains(version)))
}

/// The migrations that a database has, in their order.
pub fn applied(connection: &mut Session) -> Result<Vec<String>> {
    let rows = diesel::sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version")
        .load::<Applied>(connection)?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

/// The last of these migrations that this program does not know, if there is one.
pub fn unknown(versions: &[String]) -> Result<Option<&String>> {
    let known = known()?;
    Ok(versions.iter().rfind(|version| !known.contains(version)))
}

/// The migrations that this program knows: both databases have the same.
fn known() -> Result<Vec<String>> {
    versions::<diesel::sqlite::Sqlite>(&SQLITE)
}

fn versions<DB: diesel::backend::Backend>(source: &EmbeddedMigrations) -> Result<Vec<String>> {
    let migrations: Vec<Box<dyn Migration<DB>>> = source.migrations().map_err(Error::Internal)?;
    Ok(migrations
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect())
}

/// Undoes every migration, for the test that what goes up also comes down.
pub(super) fn revert_all(connection: &mut Session) -> Result<()> {
    match connection {
        Session::Sqlite(sqlite) => sqlite.revert_all_migrations(SQLITE).map(drop),
        Session::Postgres(postgres) => postgres.revert_all_migrations(POSTGRES).map(drop),
    }
    .map_err(Error::Internal)
}
