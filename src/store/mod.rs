//! The database: the only place that names diesel.
//!
//! [`Store::read`] and [`Store::write`] are the only two entries; callers cannot tell the kind of database. A job is a
//! closure over a [`Session`], or over a [`Transaction`] if it writes; inside it the modules of this folder, one a
//! table, give typed access. Owns connections, threads, transactions, migrations and SQL. Refuses to know permissions.
//!
//! A unique row is looked up by `get_result`, not by `first`: that adds a `LIMIT` by a bound value, for which SQLite
//! plans the statement anew each time.

mod condition;
mod failure;
mod fence;
mod limiter;
mod parts;
mod pool;
mod poolers;
mod postgres_url;
mod prepared;
mod priority;
mod readers;
mod rows;
mod schema;
mod session;
mod standings;
mod statement;
mod token_conditions;
mod transaction;
mod watch;
mod write_group;
mod writer;

pub mod accounts;
pub mod api_tokens;
pub mod app_tokens;
pub mod audit;
pub mod bulk_runs;
pub mod counters;
pub mod counts;
pub mod credentials;
pub mod data_keys;
pub mod dump;
pub mod exchanged_jwts;
pub mod frozen;
mod heartbeats;
pub mod idempotency;
pub mod issued;
pub mod issuers;
pub mod janitor_clock;
pub mod joined;
pub mod leases;
pub mod members;
pub mod migrations;
pub mod registries;
pub mod roles;
pub mod signing_keys;
pub mod token_filters;
pub mod token_lookups;
pub mod token_pages;
pub mod token_uses;
pub mod token_walks;
pub mod tokens;
pub mod trust_refusals;
pub mod trusts;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};
use diesel::r2d2::{NopErrorHandler, Pool};

use self::condition::Condition;
pub use self::condition::{FileState, Health, Integrity};
use self::fence::Fence;
use self::limiter::ConcurrencyLimiter;
use self::pool::Manager;
pub use self::postgres_url::Url;
use self::priority::Errand;
use self::readers::Readers;
use self::session::{Index, Purpose};
pub use self::session::{Session, Target};
pub use self::standings::Proven;
pub use self::statement::Dialect;
pub use self::transaction::{Committed, Ledger, Transaction, lock_catalog};
use self::watch::{Crew, Seat};
pub use self::write_group::Lock;
use self::writer::{GROUP, Writer};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics;

/// The time for which closing waits for threads. Nobody waits for their answers any more.
const CLOSING: Duration = Duration::from_secs(5);
/// The time between two looks for threads that wait for too long.
const LOOK: Duration = Duration::from_millis(500);
/// The time after which a heartbeat counts as lost, and another connection is tried.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// The most heartbeats that wait for silent servers. One that waits for the row of another one gives up after ten seconds.
const HEARTBEATS: usize = 8;

/// The time that a read or a write may take, its wait included, before the limit is lowered. Writes wait for the disk.
const READ_MOMENT: Duration = Duration::from_millis(100);
const WRITE_MOMENT: Duration = Duration::from_millis(750);
/// Probes that may wait for their reader.
const PROBES: usize = 64;
/// SQLite's page caches, in KiB: of all readers together, so that memory does not grow with their number; of the reader
/// for long lists, which reads most pages once; and of the reader for probes, which reads a page or two.
const READ_CACHE: usize = 32 * 1024;
const LIST_CACHE: usize = 4 * 1024;
const PROBE_CACHE: usize = 256;

/// The settings of the store.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database.
    pub target: Target,
    /// Threads that read, each with a connection of its own.
    pub readers: usize,
    /// The most jobs that may wait in either queue before callers are turned away.
    pub queue: usize,
    /// The age beyond which no answer of a serving process may be out of date on a cluster of PostgreSQL; `None` for
    /// no fence. SQLite has none.
    pub read_fence: Option<Duration>,
}

impl Settings {
    /// The default number of readers: SQLite reads are bound by the cores, PostgreSQL's by the network.
    #[must_use]
    pub fn default_readers(target: &Target) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        if target.is_sqlite() {
            cores.clamp(2, 4)
        } else {
            16
        }
    }
}

/// The open database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    index: Index,
    condition: Arc<Condition>,
    readers: Readers,
    reading: ConcurrencyLimiter,
    /// One reader for long lists: an allocator keeps the memory of a long list for its thread, so that every reader
    /// that ever read one would stay larger.
    lister: Readers,
    /// One reader for probes alone.
    prober: Readers,
    writer: Writer,
    writing: ConcurrencyLimiter,
    read_fence: Option<Duration>,
    fence: Arc<Fence>,
    watch: Mutex<Option<Watch>>,
    calls: AtomicU64,
    frozen: AtomicBool,
    counts: metrics::Store,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a database whose tables are current, see [`migrate`]. Connections are made when first needed, so this
    /// does not fail while a server is away.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if SQLite's file is not there.
    pub fn open(settings: &Settings) -> Result<Self> {
        let condition = Condition::watch(&settings.target)?;
        let index = Index::find(&settings.target);
        if index == Index::Own {
            tracing::warn!(
                "the disk is full, so the database cannot be shared and commands find it locked; free space and restart"
            );
        }
        let fence = Arc::new(Fence::default());
        // On PostgreSQL a thread that was given up keeps its connection.
        let spare = |size: usize| if settings.target.is_sqlite() { 0 } else { size };
        let pool = |purpose, size: usize| {
            Pool::builder()
                .max_size(u32::try_from(size).unwrap_or(u32::MAX))
                .min_idle(Some(0))
                .idle_timeout(None)
                .max_lifetime(None)
                .test_on_check_out(true)
                // The caller that fails to get a connection logs the cause, once and with its request.
                .error_handler(Box::new(NopErrorHandler))
                .connection_timeout(Duration::from_secs(2))
                .build_unchecked(Manager {
                    target: settings.target.clone(),
                    purpose,
                    index,
                    condition: Arc::clone(&condition),
                    fence: Arc::clone(&fence),
                })
        };
        let counts = metrics::Store::default();
        let cache = READ_CACHE / settings.readers.max(1);
        let readers = |size: usize, cache, queue, errand| {
            Readers::start(
                pool(Purpose::Read { cache }, size + spare(size)),
                size,
                queue,
                errand,
                counts.reads.clone(),
                Arc::clone(&fence),
            )
        };
        let lister = readers(1, LIST_CACHE, settings.queue, Errand::List)?;
        let prober = readers(1, PROBE_CACHE, PROBES, Errand::Probe)?;
        let readers = readers(settings.readers, cache, settings.queue, Errand::Read)?;
        let writer = Writer::start(
            pool(Purpose::Write, 1 + spare(settings.readers)),
            settings.queue,
            settings.readers,
            counts.clone(),
            Arc::clone(&condition),
            Arc::clone(&fence),
        )?;
        // The queues bound the waiting jobs; the jobs at work come on top.
        let most = |at_work: usize| settings.queue.saturating_add(at_work);
        let inner = Inner {
            target: settings.target.clone(),
            index,
            condition: Arc::clone(&condition),
            readers,
            reading: ConcurrencyLimiter::new(most(settings.readers), READ_MOMENT),
            lister,
            prober,
            writer,
            writing: ConcurrencyLimiter::new(most(GROUP), WRITE_MOMENT),
            read_fence: settings.read_fence.filter(|_| !settings.target.is_sqlite()),
            fence,
            watch: Mutex::default(),
            calls: AtomicU64::new(0),
            frozen: AtomicBool::new(false),
            counts,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Runs a job that only reads. It may be run again if its connection turned out to be dead.
    ///
    /// # Errors
    ///
    /// The job's own; [`Error::Unavailable`] while the queue is too long or the database away.
    pub async fn read<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> Result<T> + Send + 'static,
    {
        self.inner.calls.fetch_add(1, Ordering::Relaxed);
        let inside = self.inner.reading.enter(Instant::now());
        let inside = inside.map_err(|full| self.inner.counts.reads.refuse(full))?;
        let result = self.inner.readers.read(job).await;
        inside.done(Instant::now());
        result
    }

    /// Runs a job that reads more than a short page.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub async fn read_long<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> Result<T> + Send + 'static,
    {
        self.inner.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.lister.read(job).await
    }

    /// Runs a job that only reads, of a rare kind: it waits for other probes only.
    ///
    /// # Errors
    ///
    /// As [`Store::read`].
    pub async fn probe<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> Result<T> + Send + 'static,
    {
        self.inner.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.prober.read(job).await
    }

    /// Refuses if a job that reads would be turned away, and counts the refusal.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if it would.
    pub fn require_room(&self) -> Result<()> {
        if self.is_full() {
            return Err(self.inner.counts.reads.refuse(Error::busy()));
        }
        Ok(())
    }

    /// Returns true if a job that reads would be turned away.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner.reading.is_full()
    }

    /// Runs a job that writes; its success is durable when this returns. It may be run several times, and only the
    /// last run's effects stay, so it must have none but those on the transaction.
    ///
    /// # Errors
    ///
    /// The job's own, and then it changed nothing; [`Error::Frozen`] while the store is frozen; [`Error::Unavailable`]
    /// while the queue is too long or the database away or refusing. Only if the connection was lost during the commit
    /// itself may the change have been made all the same.
    pub async fn write<T, F>(&self, lock: Lock, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
        if self.is_frozen() {
            return Err(Error::Frozen);
        }
        self.inner.calls.fetch_add(1, Ordering::Relaxed);
        let inside = self.inner.writing.enter(Instant::now());
        let inside = inside.map_err(|full| self.inner.counts.writes.refuse(full))?;
        let result = self.inner.writer.write(lock, job).await;
        inside.done(Instant::now());
        result
    }

    /// Begins or ends the refusal of every write.
    pub fn freeze(&self, frozen: bool) {
        self.inner.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Returns true if writes are refused.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.inner.frozen.load(Ordering::Relaxed)
    }

    /// Notes, for a later start, that a server runs on the database until this is [closed](Self::close). Checks
    /// SQLite's file in the background if the server before was not closed. On PostgreSQL, fences reads off from a server
    /// that was replaced, and watches over threads that wait for a silent one. `process` is a number that no other process
    /// has.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] if a thread cannot be started.
    pub fn begin_serving(&self, process: i64) -> Result<()> {
        let inner = &self.inner;
        inner.condition.begin(&inner.target, inner.index);
        if inner.target.is_sqlite() {
            return Ok(());
        }
        let mut watch = inner.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_none() {
            *watch = Some(self.watch(process)?);
        }
        Ok(())
    }

    fn watch(&self, process: i64) -> Result<Watch> {
        let heartbeats = match self.inner.read_fence {
            Some(period) => Some(self.start_fence(period, process)?),
            None => None,
        };
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let (inner, beats) = (Arc::downgrade(&self.inner), heartbeats.clone());
        let thread = std::thread::Builder::new()
            .name("store-watch".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    let Some(inner) = inner.upgrade() else { return };
                    let mut replaced = inner.writer.look();
                    for readers in [&inner.readers, &inner.lister, &inner.prober] {
                        replaced |= readers.look();
                    }
                    // A slow job is no outage where heartbeats tell of those.
                    let silent = beats.as_ref().map_or(replaced, |beats| beats.look());
                    if silent {
                        inner.fence.note_outage();
                    }
                }
            })
            .map_err(Error::internal)?;
        Ok(Watch {
            stop,
            thread,
            heartbeats,
        })
    }

    fn start_fence(&self, period: Duration, process: i64) -> Result<Arc<Crew>> {
        let fence = Arc::clone(&self.inner.fence);
        let target = self.inner.target.clone();
        fence.close(period, process);
        let start = move |_, seat: Arc<Seat>| {
            let (fence, target) = (Arc::clone(&fence), target.clone());
            std::thread::Builder::new()
                .name("store-heartbeat".to_owned())
                .spawn(move || fence.beat(&target, &seat))
        };
        Ok(Arc::new(Crew::start(
            1,
            HEARTBEATS,
            HEARTBEAT,
            Box::new(start),
        )?))
    }

    /// The state of the database, as this process last saw it.
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.condition.health()
    }

    /// Returns true if other processes may write at the same time.
    #[must_use]
    pub fn has_replicas(&self) -> bool {
        !self.inner.target.is_sqlite()
    }

    /// The number of connections that were opened since the start. A new one can lead to another server.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.inner.fence.connections()
    }

    /// The number of jobs since the start: a request of a known caller makes one.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.calls.load(Ordering::Relaxed)
    }

    /// The counts of reads and writes, as they are now.
    #[must_use]
    pub fn counts(&self) -> &metrics::Store {
        self.inner.readers.sample(self.inner.reading.room());
        self.inner.writer.sample(self.inner.writing.room());
        &self.inner.counts
    }

    /// Finishes the queued jobs and ends the threads. Later jobs are turned away.
    pub fn close(&self) {
        let inner = &self.inner;
        let until = Instant::now() + CLOSING;
        for readers in [&inner.readers, &inner.lister, &inner.prober] {
            readers.stop(until);
        }
        inner.writer.stop(until);
        // A thread that waits for a silent database would keep the process from ending.
        let mut ended = true;
        for readers in [&inner.readers, &inner.lister, &inner.prober] {
            ended &= readers.join(until);
        }
        ended &= inner.writer.join(until);
        let watch = inner
            .watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(watch) = watch {
            inner.fence.stop();
            ended &= watch.end(until);
        }
        if ended {
            inner.condition.end();
        } else {
            tracing::warn!(
                "the database did not answer before the process ended, so the work of a thread is lost; check the database"
            );
        }
    }
}

/// The threads that watch over the others.
struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    heartbeats: Option<Arc<Crew>>,
}

impl Watch {
    /// Ends them. Returns true if all of them have ended by an instant.
    fn end(self, until: Instant) -> bool {
        drop(self.stop);
        let watched = self.thread.join().is_ok();
        self.heartbeats.is_none_or(|beats| beats.join(until)) && watched
    }
}

/// Brings the tables up to date, or waits while another process does. Returns the number of migrations run here. Refuses a
/// database behind a pooler that would break promises.
pub fn migrate(target: &Target, clock: &Arc<dyn Clock>, holder: &str) -> Result<usize> {
    migrate_until(target, clock, holder, None)
}

/// Brings the tables up to date up to a migration.
pub fn migrate_until(
    target: &Target,
    clock: &Arc<dyn Clock>,
    holder: &str,
    until: Option<&str>,
) -> Result<usize> {
    if let Target::Sqlite(path) = target
        && let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
    {
        std::fs::create_dir_all(folder).map_err(crate::Error::internal)?;
    }
    if let Target::Sqlite(path) = target {
        make_private(path);
    }
    poolers::refuse(target, holder)?;
    migrations::run(target, clock, holder, until)
}

/// Makes the database's file, if there is none, so that only its owner can read it; SQLite gives the files beside it
/// the same mode. An error here comes again, with its reason, when the file is opened.
fn make_private(path: &std::path::Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
}
