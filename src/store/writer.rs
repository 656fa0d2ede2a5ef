//! The writer: one thread that commits groups.
//!
//! One writer a process makes durable writes cheap: all waiting jobs run in one transaction, a job that refuses leaves
//! nothing behind in it, and one `COMMIT` makes the others durable. **Every answer, errors included, is sent after that
//! commit**: on a full disk all jobs succeed and only the commit fails.
//!
//! Right before it the writer adds the data that jobs [gathered](Transaction) for one write.
//!
//! Between the commit and the answers SQLite's file is [checked](Condition): a commit to a removed file is lost.
//!
//! Jobs run more than once: with their group, after a sibling refused after a change (SQLite), or alone, after the
//! group met another replica's transaction (a serialisation failure, a deadlock) or a sibling panicked. So a job has no
//! effects but those on the connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use diesel::RunQueryDsl;
use diesel::r2d2::{Pool, PooledConnection};
use tokio::sync::oneshot;

use super::condition::Condition;
use super::fence::Fence;
use super::pool::{Checkout, Manager};
use super::readers::{Next, describe, patiently};
use super::session::Session;
use super::transaction::{Committed, Group, Transaction, lock_catalog};
use super::watch::{Crew, Seat};
use crate::domain::id::RegistryId;
use crate::error::{Error, Outage, Result};
use crate::metrics;
use crate::waker;

/// The most jobs in one transaction.
pub(super) const GROUP: usize = 128;
/// The number of runs of a job alone before its caller gets the error.
const ATTEMPTS: u32 = 3;
/// The time after its beginning in which a failed group is still tried job by job.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time for which a caller waits for a write.
const WAIT: Duration = Duration::from_secs(12);
/// The time after which the thread is given up while a transaction runs. The server ends each statement before, but not
/// a commit that waits for a standby.
const DEADLINE: Duration = Duration::from_secs(12);
/// The time for which a job waits for a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time without writes after which the write-ahead log is folded into the database file.
const IDLE: Duration = Duration::from_secs(5);
/// The time between two checks of the database's file while nothing is written.
const LOOK: Duration = Duration::from_secs(1);

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
            Self::Registry(id) | Self::CatalogAndRegistry(id) => Some(id),
            Self::Nothing | Self::Catalog => None,
        }
    }
}

/// A piece of work for the writer.
trait Job: Send {
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
enum Step {
    /// Keep its changes.
    Keep,
    /// It refused: undo its changes; the group goes on.
    Undo,
    /// The transaction cannot be trusted any more: run each job of the group on its own.
    Apart,
}

struct Write<T, F> {
    lock: Lock,
    work: F,
    counted: metrics::Job,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Transaction<'_>) -> Result<T> + Send> Job for Write<T, F> {
    fn lock(&self) -> Lock {
        self.lock
    }

    fn run(&mut self, transaction: &mut Transaction<'_>) -> Step {
        let work = AssertUnwindSafe(|| (self.work)(transaction));
        let result = self.counted.run(|| catch_unwind(work));
        let (result, step) = match result {
            Ok(result) => {
                let step = match &result {
                    Ok(_) => Step::Keep,
                    Err(Error::Unavailable { .. }) => Step::Apart,
                    Err(_) => Step::Undo,
                };
                (result, step)
            }
            Err(panic) => (Err(Error::internal(describe(&*panic))), Step::Apart),
        };
        self.result = Some(result);
        step
    }

    fn fail(&mut self, error: Error) {
        self.result = Some(Err(error));
    }

    fn answer(self: Box<Self>, committed: bool) {
        let result = match self.result {
            Some(result) if committed => result,
            Some(Err(error @ (Error::Internal(_) | Error::Unavailable { .. }))) => Err(error),
            // Not even a refusal holds: it may rest on a sibling's changes, which were rolled back.
            _ => Err(Error::Unavailable {
                outage: Outage::Conflict,
                source: None,
            }),
        };
        // The caller may have gone away meanwhile.
        let _ = self.answer.send(result);
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.answer.send(Err(error));
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn may_pass(&self) -> bool {
        !matches!(self.result, Some(Err(Error::Internal(_))))
    }

    fn is_refused(&self) -> bool {
        let refused = |outage| outage != Outage::Conflict;
        matches!(self.result, Some(Err(Error::Unavailable { outage, .. })) if refused(outage))
    }
}

enum Message {
    Job(Box<dyn Job>),
    Stop,
}

pub(super) struct Writer {
    queue: Sender<Message>,
    crew: Crew,
    counts: metrics::Door,
}

impl Writer {
    /// Starts the thread; `bound` is the number of jobs that may wait, and `most` that of threads that are given up at
    /// once. The pool has a connection for each of them too.
    pub(super) fn start(
        pool: Pool<Manager>,
        bound: usize,
        most: usize,
        counts: metrics::Store,
        condition: Arc<Condition>,
        fence: Arc<OnceLock<Fence>>,
        outages: Arc<AtomicU64>,
    ) -> Result<Self> {
        let (queue, jobs) = crossbeam_channel::bounded(bound);
        let door = counts.writes.clone();
        let start = move |_, seat: Arc<Seat>| {
            let jobs = jobs.clone();
            let thread = Thread {
                pool: pool.clone(),
                counts: counts.clone(),
                condition: Arc::clone(&condition),
                fence: Arc::clone(&fence),
                outages: Arc::clone(&outages),
                seat,
                checkout: None,
                dirty: false,
            };
            std::thread::Builder::new()
                .name("store-write".to_owned())
                .spawn(move || thread.serve(&jobs))
        };
        Ok(Self {
            queue,
            crew: Crew::start(1, most, DEADLINE, Box::new(start))?,
            counts: door,
        })
    }

    pub(super) async fn write<T, F>(&self, lock: Lock, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        if self.crew.is_blocked() {
            return Err(Error::Unavailable {
                outage: Outage::Gone,
                source: Some("every thread that writes waits for an answer of the database".into()),
            });
        }
        let (answer, result) = oneshot::channel();
        let job = Box::new(Write {
            lock,
            work,
            counted: self.counts.came(),
            result: None,
            answer,
        });
        self.queue
            .try_send(Message::Job(job))
            .map_err(|error| match error {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => {
                    self.counts.refuse(Error::busy())
                }
            })?;
        patiently(result, WAIT).await
    }

    /// Updates the counts of waiting jobs and of the limit.
    pub(super) fn sample(&self, room: usize) {
        self.counts.queued(self.queue.len(), room);
    }

    /// Gives up a thread that waits for too long. Returns true if it did.
    pub(super) fn look(&self) -> bool {
        self.crew.look()
    }

    /// Lets the thread end after the queued jobs. Those of a full queue that nobody serves are lost.
    pub(super) fn stop(&self, until: Instant) {
        let _ = self.queue.send_deadline(Message::Stop, until);
    }

    /// Waits until an instant for the thread to end. Returns true if it has.
    pub(super) fn join(&self, until: Instant) -> bool {
        self.crew.join(until)
    }
}

struct Thread {
    pool: Pool<Manager>,
    counts: metrics::Store,
    condition: Arc<Condition>,
    fence: Arc<OnceLock<Fence>>,
    outages: Arc<AtomicU64>,
    seat: Arc<Seat>,
    checkout: Option<PooledConnection<Manager>>,
    /// True if something was written since the log was last folded in.
    dirty: bool,
}

impl Thread {
    fn serve(mut self, jobs: &Receiver<Message>) {
        let mut quiet = Duration::ZERO;
        loop {
            let first = match jobs.recv_timeout(LOOK) {
                Ok(Message::Job(job)) => job,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    quiet += LOOK;
                    // The next start would take the log of the old file for that of the new one.
                    let moved = self.condition.look().is_err();
                    self.dirty |= moved;
                    if moved || quiet >= IDLE {
                        self.fold_log();
                    }
                    continue;
                }
            };
            quiet = Duration::ZERO;
            let mut group = vec![first];
            let mut stop = false;
            while group.len() < GROUP {
                match jobs.try_recv() {
                    Ok(Message::Job(job)) => group.push(job),
                    Ok(Message::Stop) => {
                        stop = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
            group.retain(|job| !job.is_abandoned());
            let closed = self.commit(group);
            if self.seat.is_given_up() {
                // The one that took this place serves the others, and has the log.
                if let Some(held) = &mut self.checkout {
                    held.spent = true;
                }
                return;
            }
            if stop || (closed && refuse_waiting(jobs) == Next::Stop) {
                break;
            }
        }
        self.fold_log();
        self.condition.forget_log();
    }

    /// Commits a group as one, or else job by job, and answers all. Returns true if no transaction can begin.
    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) -> bool {
        if group.is_empty() {
            return false;
        }
        let begun = Instant::now();
        match self.transact(&mut group) {
            Ok(()) => {
                waker::batch(|| group.into_iter().for_each(|job| job.answer(true)));
                false
            }
            Err(Trouble::Apart) => self.commit_apart(group, begun),
            Err(Trouble::Lost(loss)) => {
                waker::batch(|| {
                    for job in group {
                        job.refuse(loss.error());
                    }
                });
                loss.closed
            }
        }
    }

    /// Commits each job of a group that was rolled back on its own, while the callers can be asked to wait.
    ///
    /// The first loss ends it: a database that is away or full is so for all of them, and one try for each would keep
    /// all jobs behind them waiting for one time-out after the other.
    fn commit_apart(&mut self, group: Vec<Box<dyn Job>>, begun: Instant) -> bool {
        let mut end = None;
        for job in group {
            if end.is_none() && begun.elapsed() >= PATIENCE {
                end = Some(Loss::out_of_time());
            }
            match &end {
                Some(loss) => job.refuse(loss.error()),
                None if job.is_abandoned() => {}
                None => end = self.commit_alone(job, begun).err(),
            }
        }
        end.is_some_and(|loss| loss.closed)
    }

    fn commit_alone(
        &mut self,
        mut job: Box<dyn Job>,
        begun: Instant,
    ) -> std::result::Result<(), Loss> {
        for _ in 0..ATTEMPTS {
            match self.transact(std::slice::from_mut(&mut job)) {
                Ok(()) => {
                    job.answer(true);
                    return Ok(());
                }
                Err(Trouble::Apart) => {}
                Err(Trouble::Lost(loss)) => {
                    job.refuse(loss.error());
                    return Err(loss);
                }
            }
            if !job.may_pass() || begun.elapsed() >= PATIENCE {
                break;
            }
        }
        if job.is_refused() {
            self.condition.note_write(true);
        }
        job.answer(false);
        Ok(())
    }

    /// Runs the jobs in one transaction. `Ok` means committed, to the file that the next start will find.
    fn transact(&mut self, group: &mut [Box<dyn Job>]) -> std::result::Result<(), Trouble> {
        let seat = Arc::clone(&self.seat);
        // Nobody waits any more for an answer of a thread that was given up. It makes no second try.
        seat.work(|| self.transact_here(group)).unwrap_or_else(|| {
            Err(Trouble::Lost(Loss {
                outage: Outage::Gone,
                cause: "the database did not answer in time".to_owned(),
                closed: false,
            }))
        })
    }

    fn transact_here(&mut self, group: &mut [Box<dyn Job>]) -> std::result::Result<(), Trouble> {
        if self.condition.is_moved() {
            self.require_place()?;
        }
        let counted = self.counts.begin(group.len());
        let mut held = self.begin().inspect_err(|trouble| self.note(trouble))?;
        let outcome = transact_on(&mut held.connection, group, &self.seat);
        counted.ended(outcome.is_ok());
        let outcome = outcome.and_then(|(kept, proven)| {
            // A transaction that changed nothing commits on any server.
            if let Some(fence) = self.fence.get().filter(|_| !proven) {
                let confirmed = fence.confirm(&mut held);
                confirmed.map_err(|error| Trouble::Lost(Loss::closed(&error)))?;
            }
            Ok(kept)
        });
        match outcome {
            Ok(kept) => {
                self.dirty = true;
                self.checkout = Some(held);
                if kept == Step::Keep {
                    self.condition.note_log();
                    self.require_place()?;
                    self.condition.note_write(false);
                }
                Ok(())
            }
            Err(trouble) => {
                // A panicked or failed transaction may have left anything behind: a new connection has a clean state.
                self.give_up(&mut held);
                self.note(&trouble);
                Err(trouble)
            }
        }
    }

    fn note(&self, trouble: &Trouble) {
        if matches!(trouble, Trouble::Lost(loss) if loss.outage != Outage::Conflict) {
            self.condition.note_write(true);
        }
    }

    /// Refuses if SQLite's file is not in its place.
    fn require_place(&self) -> std::result::Result<(), Trouble> {
        self.condition.look().map_err(|fault| {
            Trouble::Lost(Loss {
                outage: Outage::Refusing,
                cause: fault.to_owned(),
                closed: true,
            })
        })
    }

    /// Begins a transaction, on a fresh connection if the held one was dead. Nothing has run yet, so a retry is safe.
    fn begin(&mut self) -> std::result::Result<PooledConnection<Manager>, Trouble> {
        let seen = self.outages.load(Ordering::Relaxed);
        if let Some(mut old) = self.checkout.take_if(|held| held.outages != seen) {
            self.give_up(&mut old);
        }
        if let Some(mut held) = self.checkout.take() {
            match self.begin_on(&mut held) {
                Ok(()) => return Ok(held),
                Err(error) => {
                    self.give_up(&mut held);
                    if outage_of(&error) != Outage::Gone {
                        return Err(Trouble::Lost(Loss::closed(&error)));
                    }
                }
            }
        }
        let mut held = self.pool.get_timeout(CONNECT_TIMEOUT).map_err(|error| {
            Trouble::Lost(Loss {
                outage: Outage::Gone,
                cause: error.to_string(),
                closed: true,
            })
        })?;
        if let Err(error) = self.begin_on(&mut held) {
            self.give_up(&mut held);
            return Err(Trouble::Lost(Loss::closed(&error)));
        }
        Ok(held)
    }

    fn begin_on(&self, held: &mut Checkout) -> Result<()> {
        if let Some(fence) = self.fence.get() {
            fence.admit(held)?;
        }
        begin_on(&mut held.connection)
    }

    /// The connection is closed when it is dropped.
    fn give_up(&self, held: &mut PooledConnection<Manager>) {
        held.spent = true;
        self.condition.forget_log();
    }

    /// Empties SQLite's write-ahead log, which otherwise stays as long as the largest burst made it.
    fn fold_log(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        if let Some(Session::Sqlite(_)) = self.checkout.as_ref().map(|held| &held.connection)
            && let Some(held) = &mut self.checkout
            && let Err(error) = held
                .connection
                .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        {
            tracing::warn!(%error, "the write-ahead log could not be emptied and grows further; check the disk");
        }
    }
}

/// Refuses all waiting jobs: without a database they fail now, rather than after a time-out a group.
fn refuse_waiting(jobs: &Receiver<Message>) -> Next {
    for _ in 0..jobs.len() {
        match jobs.try_recv() {
            Ok(Message::Job(job)) => job.refuse(Error::Unavailable {
                outage: Outage::Gone,
                source: Some("the jobs before it could not begin a transaction".into()),
            }),
            Ok(Message::Stop) => return Next::Stop,
            Err(_) => break,
        }
    }
    Next::Serve
}

fn begin_on(connection: &mut Session) -> Result<()> {
    let begin = match connection {
        // A plain BEGIN takes the write lock at the first write, and fails there if another process wrote since a read.
        Session::Sqlite(_) => "BEGIN IMMEDIATE",
        // Not by the server's default, which another engine has otherwise.
        Session::Postgres(_) => "BEGIN ISOLATION LEVEL READ COMMITTED",
    };
    Ok(connection.execute_batch(begin)?)
}

/// The reason for which a transaction did not commit.
enum Trouble {
    /// It was rolled back; each job may pass on its own.
    Apart,
    /// The database does not answer, or failed to commit.
    Lost(Loss),
}

/// The error for callers whose work was lost.
struct Loss {
    outage: Outage,
    /// For the log.
    cause: String,
    /// True if it failed before any job ran. Then waiting jobs would fail too.
    closed: bool,
}

impl Loss {
    fn closed(error: &Error) -> Self {
        Self {
            outage: outage_of(error),
            cause: source_of(error),
            closed: true,
        }
    }

    fn out_of_time() -> Self {
        Self {
            outage: Outage::Conflict,
            cause: "the group failed, and running its jobs one by one took too long".to_owned(),
            closed: false,
        }
    }

    fn error(&self) -> Error {
        Error::Unavailable {
            outage: self.outage,
            source: Some(self.cause.clone().into()),
        }
    }
}

/// Runs the jobs and ends the transaction: with `Keep` by a commit, with `Undo` by a rollback. Also returns true if something
/// was committed for sure, which a server that was replaced cannot do.
fn transact_on(
    connection: &mut Session,
    group: &mut [Box<dyn Job>],
    seat: &Seat,
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
        _ => run_all(connection, group, &mut gathered).map_err(apart)?,
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

/// Runs the jobs of a group. Returns the fate of the whole: it is kept if any job is.
fn run_all(
    connection: &mut Session,
    jobs: &mut [Box<dyn Job>],
    gathered: &mut Group,
) -> Result<Step> {
    if let Session::Sqlite(_) = connection {
        if let Some(step) = in_turn(connection, jobs, gathered)? {
            return Ok(step);
        }
        // On PostgreSQL, its locks are all that a group gathers before its jobs run.
        *gathered = Group::default();
        connection.execute_batch("ROLLBACK; BEGIN IMMEDIATE")?;
    }
    Ok(in_savepoints(connection, jobs, gathered)?)
}

/// Runs jobs on SQLite one after the other, without savepoints: they would cost a sixth of all the work, as each copies
/// every page that a job is the first to change. Returns nothing if a job refused after a change, which only a
/// savepoint could undo; most refuse after reads, or at a statement that failed.
fn in_turn(
    connection: &mut Session,
    jobs: &mut [Box<dyn Job>],
    gathered: &mut Group,
) -> Result<Option<Step>> {
    let mut kept = Step::Undo;
    let mut changes = changes(connection)?;
    for job in jobs {
        let mark = gathered.mark();
        match job.run(&mut Transaction::new(connection, gathered)) {
            Step::Keep => {
                kept = Step::Keep;
                changes = self::changes(connection)?;
            }
            // After an unexpected failure, such as a full disk, SQLite may have rolled back everything.
            Step::Undo if job.may_pass() && self::changes(connection)? == changes => {
                gathered.undo(&mark);
            }
            Step::Undo => return Ok(None),
            Step::Apart => return Ok(Some(Step::Apart)),
        }
    }
    Ok(Some(kept))
}

/// The number of rows that this connection has changed since it was opened. A failed statement changes none.
fn changes(connection: &mut Session) -> Result<i64> {
    Ok(diesel::select(total_changes()).get_result(connection)?)
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
        match job.run(&mut Transaction::new(connection, gathered)) {
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

fn outage_of(error: &Error) -> Outage {
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
