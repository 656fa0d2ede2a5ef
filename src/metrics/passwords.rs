//! Checks of passwords by bcrypt.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::registry::{Label, Registry, seconds};

/// Checks of passwords by bcrypt. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Passwords {
    waiting: Gauge,
    running: Gauge,
    threads: Gauge,
    checks: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    duration: Histogram,
}

impl Default for Passwords {
    fn default() -> Self {
        let counted = Self {
            waiting: Gauge::default(),
            running: Gauge::default(),
            threads: Gauge::default(),
            checks: Family::default(),
            refused: Family::default(),
            duration: seconds(),
        };
        // Present from the start, so that the first one shows as an increase.
        for result in ["right", "wrong"] {
            drop(counted.checks.get_or_create(&[("result", result)]));
        }
        for reason in ["source", "full"] {
            drop(counted.refused.get_or_create(&[("reason", reason)]));
        }
        counted
    }
}

impl Passwords {
    /// Sets the number of threads.
    pub fn started(&self, threads: usize) {
        self.threads.set(i64::try_from(threads).unwrap_or(i64::MAX));
    }

    /// Sets the number of waiting checks.
    pub fn waiting(&self, checks: usize) {
        self.waiting.set(i64::try_from(checks).unwrap_or(i64::MAX));
    }

    /// Runs and times a check, which returns true if the password is right.
    pub fn run(&self, check: impl FnOnce() -> bool) -> bool {
        self.running.inc();
        let begun = Instant::now();
        let right = check();
        self.duration.observe(begun.elapsed().as_secs_f64());
        self.running.dec();
        let result = if right { "right" } else { "wrong" };
        self.checks.get_or_create(&[("result", result)]).inc();
        right
    }

    /// Counts a refused check: its source has too many waiting.
    pub fn refused_source(&self) {
        self.refused.get_or_create(&[("reason", "source")]).inc();
    }

    /// Counts a refused check: too many wait in all.
    pub fn refused_full(&self) {
        self.refused.get_or_create(&[("reason", "full")]).inc();
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = &mut registry.0;
        registry.register(
            "wharfinger_password_checks_waiting",
            "Checks by bcrypt that wait for a thread",
            self.waiting.clone(),
        );
        registry.register(
            "wharfinger_password_checks_running",
            "Checks by bcrypt under way",
            self.running.clone(),
        );
        registry.register(
            "wharfinger_password_threads",
            "Threads that check passwords",
            self.threads.clone(),
        );
        registry.register(
            "wharfinger_password_checks",
            "Checks by bcrypt, by what came of them",
            self.checks.clone(),
        );
        registry.register(
            "wharfinger_password_checks_refused",
            "Checks that were turned away: too many of one source waited, or too many in all",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "wharfinger_password_check_duration",
            "How long checks by bcrypt took, without the wait",
            Unit::Seconds,
            self.duration.clone(),
        );
    }
}
