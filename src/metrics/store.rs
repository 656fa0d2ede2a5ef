//! The two queues of the store: waiting jobs, times of waiting and work, and results of groups.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::registry::{Label, Registry, seconds};

/// Buckets for the number of jobs that share a transaction.
const GROUPS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

type Times = Family<Label, Histogram, fn() -> Histogram>;

/// Both queues. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    /// The read queue.
    pub reads: Door,
    /// The write queue.
    pub writes: Door,
    queued: Family<Label, Gauge>,
    limits: Family<Label, Gauge>,
    refused: Family<Label, Counter>,
    waits: Times,
    runs: Times,
    sizes: Histogram,
    transactions: Times,
}

/// A queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    queued: Gauge,
    limit: Gauge,
    refused: Counter,
    wait: Histogram,
    run: Histogram,
}

/// A job in a queue.
#[derive(Debug)]
pub struct Job {
    door: Door,
    came: Instant,
    waited: bool,
}

/// Jobs that share a transaction.
#[derive(Debug)]
pub struct Group {
    transactions: Times,
    begun: Instant,
}

impl Default for Store {
    fn default() -> Self {
        let (queued, limits, refused) = (Family::default(), Family::default(), Family::default());
        let times = || Times::new_with_constructor(seconds);
        let (waits, runs) = (times(), times());
        let door = |name| {
            let label = [("door", name)];
            Door(Arc::new(Counts {
                queued: Family::get_or_create_owned(&queued, &label),
                limit: Family::get_or_create_owned(&limits, &label),
                refused: Family::get_or_create_owned(&refused, &label),
                wait: waits.get_or_create_owned(&label),
                run: runs.get_or_create_owned(&label),
            }))
        };
        Self {
            reads: door("read"),
            writes: door("write"),
            queued: queued.clone(),
            limits: limits.clone(),
            refused: refused.clone(),
            waits: waits.clone(),
            runs: runs.clone(),
            sizes: Histogram::new(GROUPS),
            transactions: times(),
        }
    }
}

impl Store {
    /// Begins a group of jobs that share a transaction.
    #[must_use]
    pub fn begin(&self, jobs: usize) -> Group {
        self.sizes
            .observe(f64::from(u32::try_from(jobs).unwrap_or(u32::MAX)));
        Group {
            transactions: self.transactions.clone(),
            begun: Instant::now(),
        }
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = &mut registry.0;
        registry.register(
            "wharfinger_store_queue_jobs",
            "Jobs that wait for the database",
            self.queued.clone(),
        );
        registry.register(
            "wharfinger_store_queue_limit_jobs",
            "Jobs that may wait before others are turned away",
            self.limits.clone(),
        );
        registry.register(
            "wharfinger_store_refused",
            "Jobs that were turned away, as the queue was full",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "wharfinger_store_wait",
            "How long jobs waited for their first run",
            Unit::Seconds,
            self.waits.clone(),
        );
        registry.register_with_unit(
            "wharfinger_store_run",
            "How long jobs ran, without the commit",
            Unit::Seconds,
            self.runs.clone(),
        );
        registry.register(
            "wharfinger_store_group_jobs",
            "Jobs in a transaction of the writer",
            self.sizes.clone(),
        );
        registry.register_with_unit(
            "wharfinger_store_transaction",
            "How long transactions of the writer took, by what became of them",
            Unit::Seconds,
            self.transactions.clone(),
        );
    }
}

impl Door {
    /// Counts a new job.
    #[must_use]
    pub fn came(&self) -> Job {
        Job {
            door: self.clone(),
            came: Instant::now(),
            waited: false,
        }
    }

    /// Counts a refused job and returns its error.
    pub fn refuse<E>(&self, error: E) -> E {
        self.0.refused.inc();
        error
    }

    /// Sets the number of waiting jobs and its limit.
    pub fn queued(&self, jobs: usize, limit: usize) {
        let count = |jobs| i64::try_from(jobs).unwrap_or(i64::MAX);
        self.0.queued.set(count(jobs));
        self.0.limit.set(count(limit));
    }
}

impl Job {
    /// Runs and times the job.
    pub fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        if !std::mem::replace(&mut self.waited, true) {
            self.door.0.wait.observe((begun - self.came).as_secs_f64());
        }
        let done = work();
        self.door.0.run.observe(begun.elapsed().as_secs_f64());
        done
    }
}

impl Group {
    /// Ends the group. If its transaction was not committed, it is tried again, or its jobs are refused.
    pub fn ended(self, committed: bool) {
        let end = if committed {
            "committed"
        } else {
            "rolled-back"
        };
        let times = self.transactions.get_or_create_owned(&[("end", end)]);
        times.observe(self.begun.elapsed().as_secs_f64());
    }
}
