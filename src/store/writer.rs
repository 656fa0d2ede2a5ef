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
//! Jobs run more than once: with their group, after a sibling refused (on SQLite only after a change), or alone, after the
//! group met another replica's transaction (a serialisation failure, a deadlock) or a sibling panicked. So a job has no
//! effects but those on the connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use diesel::r2d2::{Pool, PooledConnection};
use tokio::sync::oneshot;

use super::condition::Condition;
use super::fence::Fence;
use super::pool::{Checkout, Manager};
use super::readers::{Next, describe, patiently};
use super::session::Session;
use super::transaction::Transaction;
use super::watch::{Crew, Seat};
use super::write_group::{self, Caution, Job, Lock, Loss, Step, Trouble, outage_of};
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
        fence: Arc<Fence>,
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
                seat,
                checkout: None,
                caution: Caution::default(),
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
    fence: Arc<Fence>,
    seat: Arc<Seat>,
    checkout: Option<PooledConnection<Manager>>,
    caution: Caution,
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
        let outcome = write_group::run(&mut held.connection, group, &self.seat, &mut self.caution);
        counted.ended(outcome.is_ok());
        let outcome = outcome.and_then(|(kept, proven)| {
            // A transaction that changed nothing commits on any server.
            if !proven {
                let Checkout {
                    connection,
                    standing,
                    ..
                } = &mut *held;
                let confirmed = self.fence.confirm(connection, standing);
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
        let fence = Arc::clone(&self.fence);
        let is_old = |held: &mut PooledConnection<Manager>| !fence.is_current(held.standing);
        if let Some(mut old) = self.checkout.take_if(is_old) {
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
        self.fence.admit(&mut held.connection, &mut held.standing)?;
        write_group::begin(&mut held.connection)
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
