//! Readers: a few threads, each holding one connection, fed by one bounded queue.
//!
//! A hop to a thread that already has its connection is more than twice as fast as a blocking pool with a checkout per
//! call, and the bound on the queue turns overload into an early 503 instead of a pile of waiting threads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use diesel::r2d2::{Pool, PooledConnection};
use tokio::sync::oneshot;

use super::fence::Fence;
use super::pool::{Checkout, Manager};
use super::priority::{Errand, rank};
use super::session::Session;
use super::watch::{Crew, Seat};
use crate::error::{Error, Outage, Result};
use crate::metrics;

/// The time for which a job waits for a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The time for which a caller waits for a read, and the time that a statement may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time for which a caller waits for a probe: monitors give up soon.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);
/// The time after which a thread that reads is given up. The server ends a statement before.
const DEADLINE: Duration = Duration::from_secs(11);

/// Waits for an answer, but not for ever: a frozen database keeps its connections alive and answers nobody.
pub(super) async fn patiently<T>(
    answer: oneshot::Receiver<Result<T>>,
    patience: Duration,
) -> Result<T> {
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Error::busy()),
        Err(_) => Err(Error::Unavailable {
            outage: Outage::Gone,
            source: Some("the database did not answer in time".into()),
        }),
    }
}

/// A piece of work for a reader thread.
trait Job: Send {
    /// Runs it and returns if the connection can be used again.
    fn run(&mut self, connection: &mut Session) -> Verdict;
    /// Answers with the result of `run`.
    fn answer(self: Box<Self>);
    /// Answers with a failure to get a connection.
    fn refuse(self: Box<Self>, error: Error);
    fn is_abandoned(&self) -> bool;
}

/// The state of a connection after a run.
#[derive(PartialEq, Eq)]
enum Verdict {
    /// It goes on being used.
    Sound,
    /// It is replaced before the next job.
    Spent,
    /// It was dead: the job runs again on another.
    Dead,
}

/// The next step of a thread after a job.
#[derive(PartialEq, Eq)]
pub(super) enum Next {
    Serve,
    Stop,
}

struct Read<T, F> {
    work: F,
    counted: metrics::Job,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Session) -> Result<T> + Send> Job for Read<T, F> {
    fn run(&mut self, connection: &mut Session) -> Verdict {
        let work = AssertUnwindSafe(|| (self.work)(connection));
        let result = self.counted.run(|| catch_unwind(work));
        let result = result.unwrap_or_else(|panic| Err(Error::internal(describe(&*panic))));
        let verdict = match result {
            Err(Error::Unavailable {
                outage: Outage::Gone,
                ..
            }) => Verdict::Dead,
            Err(Error::Unavailable { .. } | Error::Internal(_)) => Verdict::Spent,
            _ => Verdict::Sound,
        };
        self.result = Some(result);
        verdict
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            // The caller may have gone away meanwhile.
            let _ = self.answer.send(result);
        }
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.answer.send(Err(error));
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// The text of a panic, for the log.
pub(super) fn describe(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a store job panicked: {}", text.unwrap_or("no message"))
}

enum Message {
    Job(Box<dyn Job>),
    Stop,
}

pub(super) struct Readers {
    queue: Sender<Message>,
    threads: usize,
    crew: Crew,
    patience: Duration,
    counts: metrics::Door,
}

impl Readers {
    /// Starts the threads; `bound` is the number of jobs that may wait. The pool has two connections for each thread, since
    /// one that was given up keeps its own.
    pub(super) fn start(
        pool: Pool<Manager>,
        threads: usize,
        bound: usize,
        errand: Errand,
        counts: metrics::Door,
        fence: Arc<Fence>,
    ) -> Result<Self> {
        let (queue, jobs) = crossbeam_channel::bounded(bound);
        let start = move |number: usize, seat: Arc<Seat>| {
            let (pool, jobs, fence) = (pool.clone(), jobs.clone(), Arc::clone(&fence));
            std::thread::Builder::new()
                .name(format!("{}-{number}", errand.name()))
                .spawn(move || {
                    rank(errand);
                    serve(&pool, &jobs, &fence, &seat);
                })
        };
        Ok(Self {
            queue,
            threads,
            crew: Crew::start(threads, threads, DEADLINE, Box::new(start))?,
            patience: match errand {
                Errand::Probe => PROBE_PATIENCE,
                Errand::Read | Errand::List => PATIENCE,
            },
            counts,
        })
    }

    pub(super) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> Result<T> + Send + 'static,
    {
        if self.crew.is_blocked() {
            return Err(Error::Unavailable {
                outage: Outage::Gone,
                source: Some("every thread that reads waits for an answer of the database".into()),
            });
        }
        let (answer, result) = oneshot::channel();
        let job = Box::new(Read {
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
        patiently(result, self.patience).await
    }

    /// Updates the counts of waiting jobs and of the limit.
    pub(super) fn sample(&self, room: usize) {
        self.counts.queued(self.queue.len(), room);
    }

    /// Gives up threads that wait for too long. Returns true if there were any.
    pub(super) fn look(&self) -> bool {
        self.crew.look()
    }

    /// Lets every thread end after the queued jobs. Those of a full queue that nobody serves are lost.
    pub(super) fn stop(&self, until: Instant) {
        for _ in 0..self.threads {
            // This waits for a full queue: its jobs are in flight and get their answers.
            let _ = self.queue.send_deadline(Message::Stop, until);
        }
    }

    /// Waits until an instant for the threads to end. Returns true if they have.
    pub(super) fn join(&self, until: Instant) -> bool {
        self.crew.join(until)
    }
}

fn serve(pool: &Pool<Manager>, jobs: &Receiver<Message>, fence: &Fence, seat: &Seat) {
    let mut checkout: Option<PooledConnection<Manager>> = None;
    while let Ok(Message::Job(job)) = jobs.recv() {
        if job.is_abandoned() {
            continue;
        }
        if let Some(mut old) = checkout.take_if(|held| !fence.is_current(held.standing)) {
            old.spent = true;
        }
        let next = seat.work(|| run(pool, &mut checkout, job, jobs, fence));
        if next != Some(Next::Serve) {
            break;
        }
    }
    if seat.is_given_up()
        && let Some(held) = &mut checkout
    {
        held.spent = true;
    }
}

/// Runs a job, once more on a fresh connection if the held one turned out to be dead: after a restart of the database
/// every held connection is.
fn run(
    pool: &Pool<Manager>,
    checkout: &mut Option<PooledConnection<Manager>>,
    mut job: Box<dyn Job>,
    jobs: &Receiver<Message>,
    fence: &Fence,
) -> Next {
    let mut stale = None;
    let fresh = checkout.is_none();
    for last in [fresh, true] {
        let held = match checkout
            .take()
            .map_or_else(|| pool.get_timeout(CONNECT_TIMEOUT), Ok)
        {
            Ok(held) => checkout.insert(held),
            Err(error) => return refuse_all(job, jobs, &error.to_string()),
        };
        let Checkout {
            connection,
            standing,
            ..
        } = &mut **held;
        let admitted = fence.admit(connection, standing);
        let verdict = match admitted {
            Err(_) => Verdict::Dead,
            Ok(()) => job.run(connection),
        };
        let is_sound = verdict == Verdict::Sound;
        let confirmed = if is_sound {
            fence.confirm(connection, standing)
        } else {
            Ok(())
        };
        stale = admitted.and(confirmed).err();
        if is_sound && stale.is_none() {
            break;
        }
        held.spent = true;
        *checkout = None;
        if last || verdict == Verdict::Spent {
            break;
        }
    }
    match stale {
        Some(error) => job.refuse(error),
        None => job.answer(),
    }
    Next::Serve
}

/// Refuses all waiting jobs: without a database they fail now, rather than after a time-out each.
fn refuse_all(first: Box<dyn Job>, jobs: &Receiver<Message>, cause: &str) -> Next {
    let gone = || Error::Unavailable {
        outage: Outage::Gone,
        source: Some(cause.into()),
    };
    first.refuse(gone());
    for _ in 0..jobs.len() {
        match jobs.try_recv() {
            Ok(Message::Job(job)) => job.refuse(gone()),
            Ok(Message::Stop) => return Next::Stop,
            Err(_) => break,
        }
    }
    Next::Serve
}
