//! A group of jobs in one transaction of the writer.
//!
//! Owns the order of locks, the fate of each job's changes, and the end of the transaction. Refuses to know threads,
//! queues and connections.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::RunQueryDsl;

use super::readers::describe;
use super::session::Session;
use super::standings::Standings;
use super::transaction::{Committed, Group, Transaction, lock_catalog};
use super::watch::Seat;
use crate::domain::id::RegistryId;
use crate::error::{Error, Outage, Result};

#[diesel::declare_sql_function]
extern "SQL" {
    /// SQLite's function.
    fn total_changes() -> diesel::sql_types::BigInt;
}

/// The rows that a job changes, so that groups of several replicas take their locks in one order and cannot deadlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Nothing that another writer's job could be changing.
    Nothing,
    /// Names that are unique in the whole data set: accounts.
    Catalog,
    /// Tokens of one registry. The job changes no account, membership, setting or API token: the jobs of a group that
    /// change tokens alone read these once for all of them.
    Tokens(RegistryId),
    /// Tokens and settings of one registry.
    Registry(RegistryId),
    /// One registry and its name: creating it.
    CatalogAndRegistry(RegistryId),
}

impl Lock {
    fn catalog(self) -> bool {
        matches!(self, Self::Catalog | Self::CatalogAndRegistry(_))
    }

    fn registry(self) -> Option<RegistryId> {
        match self {
            Self::Tokens(id) | Self::Registry(id) | Self::CatalogAndRegistry(id) => Some(id),
            Self::Nothing | Self::Catalog => None,
        }
    }
}

/// A piece of work for the writer.
pub(super) trait Job: Send {
    fn lock(&self) -> Lock;
    /// Runs it and keeps the result for `answer`.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Step;
    /// Keeps an error for `answer`, for a job whose success was lost.
    fn fail(&mut self, error: Error);
    /// Answers with the result of the last run. Without a commit a success is not reported.
    fn answer(self: Box<Self>, committed: bool);
    /// Answers that nothing was changed, or nothing is known to be.
    fn refuse(self: Box<Self>, error: Error);
    /// Returns true if the caller has gone away before the work began.
    fn is_abandoned(&self) -> bool;
    /// Returns true if another run can end otherwise. A panic is a defect and comes again.
    fn may_pass(&self) -> bool;
    /// Returns true if the last run failed because the database refused.
    fn is_refused(&self) -> bool;
}

/// The fate of a job's changes, and of its group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Keep its changes.
    Keep,
    /// It refused: undo its changes; the group goes on.
    Undo,
    /// The transaction cannot be trusted any more: run each job of the group on its own.
    Apart,
}

/// The number of groups with savepoints after one that could not do without.
const CAUTIOUS: u32 = 32;

/// The groups that have savepoints from the start. On PostgreSQL each refusal costs a group without them a second run, and
/// somebody who is refused all the time must not make every group run twice.
#[derive(Debug, Default)]
pub(super) struct Caution(u32);

impl Caution {
    /// Returns true if the next group is to have savepoints.
    fn is_advised(&mut self) -> bool {
        let advised = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        advised
    }
}

pub(super) fn begin(connection: &mut Session) -> Result<()> {
    let begin = match connection {
        // A plain BEGIN takes the write lock at the first write, and fails there if another process wrote since a read.
        Session::Sqlite(_) => "BEGIN IMMEDIATE",
        // Not by the server's default, which another engine has otherwise.
        Session::Postgres(_) => "BEGIN ISOLATION LEVEL READ COMMITTED",
    };
    Ok(connection.execute_batch(begin)?)
}

/// The reason for which a transaction did not commit.
pub(super) enum Trouble {
    /// It was rolled back; each job may pass on its own.
    Apart,
    /// The database does not answer, or failed to commit.
    Lost(Loss),
}

/// The error for callers whose work was lost.
pub(super) struct Loss {
    pub(super) outage: Outage,
    /// For the log.
    pub(super) cause: String,
    /// True if it failed before any job ran. Then waiting jobs would fail too.
    pub(super) closed: bool,
}

impl Loss {
    pub(super) fn closed(error: &Error) -> Self {
        Self {
            outage: outage_of(error),
            cause: source_of(error),
            closed: true,
        }
    }

    pub(super) fn out_of_time() -> Self {
        Self {
            outage: Outage::Conflict,
            cause: "the group failed, and running its jobs one by one took too long".to_owned(),
            closed: false,
        }
    }

    pub(super) fn error(&self) -> Error {
        Error::Unavailable {
            outage: self.outage,
            source: Some(self.cause.clone().into()),
        }
    }
}

/// Runs the jobs of a transaction that was begun, and ends it: with `Keep` by a commit, with `Undo` by a rollback. Also returns true if something
/// was committed for sure, which a server that was replaced cannot do.
pub(super) fn run(
    connection: &mut Session,
    group: &mut [Box<dyn Job>],
    seat: &Seat,
    caution: &mut Caution,
) -> std::result::Result<(Step, bool), Trouble> {
    // Until the commit each job can be tried alone without loss, after any failure.
    let apart = |error: Error| {
        tracing::warn!(
            error = error.chain(),
            "a group of writes was rolled back; each write is tried again alone"
        );
        Trouble::Apart
    };
    let mut gathered = Group::default();
    take_locks(connection, group, &mut gathered).map_err(apart)?;
    let kept = match group {
        // A job that is alone needs no savepoint: undoing it is undoing the transaction.
        [job] => job.run(&mut Transaction::new(connection, &mut gathered)),
        _ => run_all(connection, group, &mut gathered, caution).map_err(apart)?,
    };
    let committed = match kept {
        Step::Keep => write_gathered(connection, gathered).map_err(|error| {
            // Among several jobs the faulty one is unknown.
            if let [job] = group {
                job.fail(error);
                return Trouble::Apart;
            }
            apart(error)
        })?,
        Step::Undo => Vec::new(),
        Step::Apart => return Err(Trouble::Apart),
    };
    // The callers were told that nothing is known to be changed, and may have asked for the contrary since.
    let given_up = seat.is_given_up();
    let end = match connection {
        _ if kept == Step::Undo || given_up => "ROLLBACK",
        Session::Sqlite(_) => "COMMIT",
        // A transaction in which a statement failed is rolled back by its COMMIT, without an error. The SELECT fails
        // there, and costs nothing elsewhere, as both travel together.
        Session::Postgres(_) => "SELECT 1; COMMIT",
    };
    let ended = connection.execute_batch(end).map(|()| {
        let proven = !committed.is_empty() && !given_up;
        for work in committed.into_iter().filter(|_| !given_up) {
            work();
        }
        (kept, proven)
    });
    ended.map_err(|error| {
        let error = Error::from(error);
        match outage_of(&error) {
            Outage::Conflict => Trouble::Apart,
            outage => Trouble::Lost(Loss {
                outage,
                cause: format!("{end}: {}", source_of(&error)),
                closed: false,
            }),
        }
    })
}

impl Group {
    /// Runs a job among others.
    fn run(&mut self, connection: &mut Session, job: &mut Box<dyn Job>) -> Step {
        let step = job.run(&mut Transaction::new(connection, self));
        if !matches!(job.lock(), Lock::Tokens(_)) {
            self.standings = Standings::default();
        }
        step
    }
}

/// Runs the jobs of a group. Returns the fate of the whole: it is kept if any job is.
fn run_all(
    connection: &mut Session,
    jobs: &mut [Box<dyn Job>],
    gathered: &mut Group,
    caution: &mut Caution,
) -> Result<Step> {
    if caution.is_advised() {
        return Ok(in_savepoints(connection, jobs, gathered)?);
    }
    if let Some(step) = in_turn(connection, jobs, gathered)? {
        return Ok(step);
    }
    if let Session::Postgres(_) = connection {
        *caution = Caution(CAUTIOUS);
    }
    *gathered = Group::default();
    connection.execute_batch("ROLLBACK")?;
    begin(connection)?;
    take_locks(connection, jobs, gathered)?;
    Ok(in_savepoints(connection, jobs, gathered)?)
}

/// Runs jobs one after the other, without savepoints. On SQLite these would cost a sixth of all the work, as each copies
/// every page that a job is the first to change; on PostgreSQL each is a way there and back. Returns nothing if a job
/// refused and only a savepoint could undo what it did.
fn in_turn(
    connection: &mut Session,
    jobs: &mut [Box<dyn Job>],
    gathered: &mut Group,
) -> Result<Option<Step>> {
    let mut kept = Step::Undo;
    let mut changes = changes(connection)?;
    for job in jobs {
        let mark = gathered.mark();
        match gathered.run(connection, job) {
            Step::Keep => {
                kept = Step::Keep;
                changes = self::changes(connection)?;
            }
            // After an unexpected failure, such as a full disk, SQLite may have rolled back everything.
            Step::Undo
                if changes.is_some() && job.may_pass() && self::changes(connection)? == changes =>
            {
                gathered.undo(&mark);
            }
            Step::Undo => return Ok(None),
            Step::Apart => return Ok(Some(Step::Apart)),
        }
    }
    Ok(Some(kept))
}

/// The number of rows that this connection to SQLite has changed since it was opened. A failed statement changes none.
/// PostgreSQL does not count them, and after a failed statement only a savepoint saves the transaction.
fn changes(connection: &mut Session) -> Result<Option<i64>> {
    match connection {
        Session::Sqlite(sqlite) => Ok(Some(diesel::select(total_changes()).get_result(sqlite)?)),
        Session::Postgres(_) => Ok(None),
    }
}

/// Runs jobs, each in a savepoint of its own. Returns the fate of the whole: it is kept if any job is.
fn in_savepoints(
    connection: &mut Session,
    jobs: &mut [Box<dyn Job>],
    gathered: &mut Group,
) -> diesel::QueryResult<Step> {
    let mut kept = Step::Undo;
    // Ending a savepoint and beginning the next one are one round trip. The commit ends the last one.
    connection.execute_batch("SAVEPOINT job")?;
    for job in jobs {
        let mark = gathered.mark();
        match gathered.run(connection, job) {
            Step::Keep => {
                kept = Step::Keep;
                connection.execute_batch("RELEASE SAVEPOINT job; SAVEPOINT job")?;
            }
            Step::Undo => {
                gathered.undo(&mark);
                connection.execute_batch("ROLLBACK TO SAVEPOINT job")?;
            }
            Step::Apart => return Ok(Step::Apart),
        }
    }
    Ok(kept)
}

fn write_gathered(connection: &mut Session, gathered: Group) -> Result<Vec<Committed>> {
    catch_unwind(AssertUnwindSafe(|| gathered.write(connection)))
        .unwrap_or_else(|panic| Err(Error::internal(describe(&*panic))))
}

pub(super) fn outage_of(error: &Error) -> Outage {
    match error {
        Error::Unavailable { outage, .. } => *outage,
        _ => Outage::Refusing,
    }
}

fn source_of(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Locks, on PostgreSQL, the rows that the group is going to change: the catalog row, then the registries' counter rows
/// in the order of their keys. Without it groups of two replicas with crossing names deadlock. SQLite has one writer.
fn take_locks(
    connection: &mut Session,
    group: &[Box<dyn Job>],
    gathered: &mut Group,
) -> Result<()> {
    if group.iter().any(|job| job.lock().catalog()) {
        lock_catalog(connection)?;
    }
    let registries = group.iter().filter_map(|job| job.lock().registry());
    gathered.counters.lock(connection, registries)
}
