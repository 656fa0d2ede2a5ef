//! Brings the database to this version's tables.
//!
//! Several replicas may start at once on one database: a lease in a row selects the one that migrates. Only its table
//! exists before any migration. It is a lease rather than an advisory lock, since distributed engines that speak
//! PostgreSQL's protocol lack those. A start without pending migrations takes no lease and writes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use diesel::RunQueryDsl;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::leases::{self, Held, Lease};
use super::session::{Index, Purpose, Session, Target};
use crate::clock::Clock;
use crate::error::{Error, Outage, Result};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The table that diesel keeps.
const TABLE: &str = "__diesel_schema_migrations";

/// The lease that the migrating process holds, and renews while it does.
const LEASE: Lease = Lease {
    name: "migrate",
    life: TimeDelta::seconds(5),
    // The life of the lease in the release before.
    longest: Some(TimeDelta::seconds(30)),
};
/// The time after which the holder renews it.
const RENEWAL: Duration = Duration::from_secs(1);
/// The time between two looks of a waiting process.
const LOOK: Duration = Duration::from_millis(50);
/// The number of looks of a waiting process before it gives up: two minutes.
const LOOKS: u32 = 2400;
/// The time after which a waiting process logs again the process that it waits for.
const REMINDER: Duration = Duration::from_secs(10);

/// Runs every pending migration up to one, or waits for the process that does. Returns the number run here.
pub(super) fn run(
    target: &Target,
    clock: &Arc<dyn Clock>,
    holder: &str,
    until: Option<&str>,
) -> Result<usize> {
    let index = Index::find(target);
    let mut migrator = Migrator {
        connection: Session::open_with(target, Purpose::Migrate, index)?,
        target,
        clock,
        holder,
        until,
        applied: 0,
    };
    let mut waiting = Waiting::default();
    for _ in 0..LOOKS {
        match migrator.run() {
            Ok(Turn::Done) => return Ok(migrator.applied),
            Ok(Turn::Held) => waiting.tell(&mut migrator)?,
            // On SQLite another process may have the file at this very moment: switching to the write-ahead log and
            // upgrading a read lock fail at once instead of waiting.
            Err(error) if error.chain().contains("database is locked") => {}
            Err(error) => return Err(error),
        }
        std::thread::park_timeout(LOOK);
    }
    let holder = waiting.holder.unwrap_or_else(|| "nobody".to_owned());
    Err(Error::Unavailable {
        outage: Outage::Busy,
        source: Some(format!("another process migrates the database: {holder}").into()),
    })
}

/// The result of a try.
#[derive(PartialEq, Eq)]
enum Turn {
    /// Nothing is pending.
    Done,
    /// Another process has the lease.
    Held,
}

/// Logs the process that this one waits for, repeatedly.
#[derive(Default)]
struct Waiting {
    holder: Option<String>,
    told: Option<Instant>,
}

impl Waiting {
    fn tell(&mut self, migrator: &mut Migrator<'_>) -> Result<()> {
        let Some(held) = leases::find(&mut migrator.connection, LEASE)? else {
            return Ok(());
        };
        let due = self.told.is_none_or(|told| told.elapsed() >= REMINDER);
        if due || self.holder.as_ref() != Some(&held.holder) {
            migrator.name(&held)?;
            self.told = Some(Instant::now());
        }
        self.holder = Some(held.holder);
        Ok(())
    }
}

/// A process that migrates, or waits to.
struct Migrator<'a> {
    connection: Session,
    target: &'a Target,
    clock: &'a Arc<dyn Clock>,
    holder: &'a str,
    until: Option<&'a str>,
    applied: usize,
}

impl Migrator<'_> {
    fn run(&mut self) -> Result<Turn> {
        keep_log(&mut self.connection)?;
        if !self.is_pending()? {
            return Ok(Turn::Done);
        }
        leases::create_table(&mut self.connection)?;
        if !self.acquire()? {
            return Ok(Turn::Held);
        }
        let turn = self.run_leased();
        let released = leases::release(&mut self.connection, LEASE, self.holder);
        turn.and_then(|turn| released.map(|()| turn))
    }

    /// Runs pending migrations, while another thread renews the lease: a migration may take longer than that lasts.
    fn run_leased(&mut self) -> Result<Turn> {
        let (target, clock, holder) = (self.target, self.clock, self.holder);
        std::thread::scope(|scope| {
            let (running, ended) = crossbeam_channel::bounded::<()>(0);
            // Not on SQLite: a migration has the one lock to write, so nobody else can take the lease meanwhile.
            if !target.is_sqlite() {
                scope.spawn(move || renew(target, clock, holder, &ended));
            }
            let turn = self.run_pending();
            drop(running);
            turn
        })
    }

    fn run_pending(&mut self) -> Result<Turn> {
        while self.is_pending()? {
            // The lease is lost if this process stood still for longer than it lasts.
            if !self.acquire()? {
                return Ok(Turn::Held);
            }
            let version = match &mut self.connection {
                Session::Sqlite(sqlite) => sqlite
                    .run_next_migration(SQLITE)
                    .map(|version| version.to_string()),
                Session::Postgres(postgres) => postgres
                    .run_next_migration(POSTGRES)
                    .map(|version| version.to_string()),
            }
            .map_err(Error::Internal)?;
            tracing::info!(%version, "the database was migrated");
            self.applied += 1;
        }
        Ok(Turn::Done)
    }

    fn acquire(&mut self) -> Result<bool> {
        acquire(&mut self.connection, &**self.clock, self.holder)
    }

    /// Reads only, unlike diesel's own check, which would create its table.
    fn is_pending(&mut self) -> Result<bool> {
        if !self.connection.has_table(TABLE)? {
            return Ok(true);
        }
        let applied = applied(&mut self.connection)?;
        let reached = |until| applied.last().is_some_and(|last| last.as_str() >= until);
        Ok(!self.until.is_some_and(reached) && !has_all(&applied)?)
    }

    fn name(&mut self, held: &Held) -> Result<()> {
        let now = leases::shared_time(&mut self.connection, self.clock.now())?;
        tracing::info!(
            holder = %held.holder,
            seconds_left = held.seconds_left(now),
            "another process migrates the database; this one waits until it has ended or its lease expires"
        );
        Ok(())
    }
}

fn acquire(connection: &mut Session, clock: &dyn Clock, holder: &str) -> Result<bool> {
    let now = leases::shared_time(connection, clock.now())?;
    leases::acquire(connection, LEASE, holder, now)
}

/// Renews the lease until the migrations have ended, over a connection of its own.
fn renew(target: &Target, clock: &Arc<dyn Clock>, holder: &str, ended: &Receiver<()>) {
    let mut connection = None;
    while ended.recv_timeout(RENEWAL) == Err(RecvTimeoutError::Timeout) {
        let renewed = match &mut connection {
            Some(connection) => acquire(connection, &**clock, holder).map(drop),
            None => Session::open(target, Purpose::Write)
                .map_err(Error::from)
                .and_then(|opened| acquire(connection.insert(opened), &**clock, holder).map(drop)),
        };
        if let Err(error) = renewed {
            tracing::warn!(
                error = error.chain(),
                "the lease for the migration could not be renewed; check the database"
            );
            connection = None;
        }
    }
}

/// Sets SQLite's write-ahead mode. Its file keeps that, so it is only set if the file does not have it yet; it cannot
/// be changed inside a transaction.
fn keep_log(connection: &mut Session) -> Result<()> {
    let Session::Sqlite(sqlite) = connection else {
        return Ok(());
    };
    let Mode { journal_mode } = diesel::sql_query("PRAGMA journal_mode").get_result(sqlite)?;
    if journal_mode != "wal" {
        connection.execute_batch("PRAGMA journal_mode = WAL")?;
    }
    Ok(())
}

#[derive(diesel::QueryableByName)]
struct Mode {
    #[diesel(sql_type = diesel::sql_types::Text)]
    journal_mode: String,
}

#[derive(diesel::QueryableByName)]
struct Applied {
    #[diesel(sql_type = diesel::sql_types::Text)]
    version: String,
}

/// Returns true if the database has every migration of this program. It may have more. Reads only.
pub fn is_current(connection: &mut Session) -> Result<bool> {
    has_all(&applied(connection)?)
}

fn has_all(applied: &[String]) -> Result<bool> {
    Ok(known()?.iter().all(|version| applied.contains(version)))
}

/// The migrations of a database, in their order.
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
