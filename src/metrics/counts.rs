//! Tokens in the database by kind and state, those that expire soon, and signing certificates. Counted now and then, as
//! counting takes time. All replicas report the same.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::registry::{Label, Registry, seconds};

/// The numbers of items that expire within a day, a week and 30 days; the longer times include the shorter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Soon {
    /// Within 24 hours.
    pub day: i64,
    /// Within 7 days.
    pub week: i64,
    /// Within 30 days.
    pub month: i64,
}

/// The tokens of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens that are neither disabled, expired nor revoked.
    pub active: i64,
    /// Disabled tokens that have not expired.
    pub disabled: i64,
    /// Expired tokens.
    pub expired: i64,
    /// Revoked tokens that are still listed.
    pub revoked: i64,
    /// Active tokens that expire soon.
    pub soon: Soon,
}

type Labels = [(&'static str, &'static str); 2];

/// The results of the last count. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Counts {
    tokens: Family<Labels, Gauge>,
    tokens_ending: Family<Labels, Gauge>,
    without_lookup: Gauge,
    certificates_ending: Family<Labels, Gauge>,
    first_end: Family<Label, Gauge<f64, std::sync::atomic::AtomicU64>>,
    refreshed: Gauge<f64, std::sync::atomic::AtomicU64>,
    failures: Counter,
    duration: Histogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            tokens: Family::default(),
            tokens_ending: Family::default(),
            without_lookup: Gauge::default(),
            certificates_ending: Family::default(),
            first_end: Family::default(),
            refreshed: Gauge::default(),
            failures: Counter::default(),
            duration: seconds(),
        }
    }
}

impl Soon {
    fn within(self) -> [(&'static str, i64); 3] {
        [("1d", self.day), ("7d", self.week), ("30d", self.month)]
    }
}

impl Counts {
    /// Sets the tokens of a kind. `states` are those that the kind has.
    pub fn tokens(&self, kind: &'static str, states: &[&'static str], tokens: Tokens) {
        for (state, count) in [
            ("active", tokens.active),
            ("disabled", tokens.disabled),
            ("expired", tokens.expired),
            ("revoked", tokens.revoked),
        ] {
            if states.contains(&state) {
                let labels = [("kind", kind), ("state", state)];
                self.tokens.get_or_create(&labels).set(count);
            }
        }
        for (within, count) in tokens.soon.within() {
            let labels = [("kind", kind), ("within", within)];
            self.tokens_ending.get_or_create(&labels).set(count);
        }
    }

    /// Sets the registry tokens whose secrets have no lookup.
    pub fn without_lookup(&self, tokens: i64) {
        self.without_lookup.set(tokens);
    }

    /// Sets the signing certificates of a role. `first_end` is in seconds since 1970.
    pub fn certificates(&self, role: &'static str, first_end: Option<f64>, soon: Soon) {
        match first_end {
            Some(end) => drop(self.first_end.get_or_create(&[("role", role)]).set(end)),
            None => drop(self.first_end.remove(&[("role", role)])),
        }
        for (within, count) in soon.within() {
            let labels = [("role", role), ("within", within)];
            self.certificates_ending.get_or_create(&labels).set(count);
        }
    }

    /// Records a complete count, at a time in seconds since 1970.
    pub fn refreshed(&self, at: f64, took: std::time::Duration) {
        self.refreshed.set(at);
        self.duration.observe(took.as_secs_f64());
    }

    /// Records a failed count.
    pub fn failed(&self) {
        self.failures.inc();
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = &mut registry.0;
        registry.register(
            "wharfinger_tokens",
            "Tokens that are kept",
            self.tokens.clone(),
        );
        registry.register(
            "wharfinger_tokens_ending",
            "Active tokens that end within a time; the longer times include the shorter",
            self.tokens_ending.clone(),
        );
        registry.register(
            "wharfinger_tokens_without_lookup",
            "Registry tokens whose secret only a walk finds, as they were made by an earlier version and not used since",
            self.without_lookup.clone(),
        );
        registry.register(
            "wharfinger_signing_certificates_ending",
            "Signing certificates in use that end within a time; the longer times include the shorter, and all those that ended",
            self.certificates_ending.clone(),
        );
        registry.register(
            "wharfinger_signing_certificates_end_timestamp_seconds",
            "When the first signing certificate in use ends, in seconds since 1970",
            self.first_end.clone(),
        );
        registry.register(
            "wharfinger_counts_refreshed_timestamp_seconds",
            "When tokens and certificates were last counted, in seconds since 1970; 0 before the first time",
            self.refreshed.clone(),
        );
        registry.register(
            "wharfinger_counts_failures",
            "Times that they could not be counted",
            self.failures.clone(),
        );
        registry.register_with_unit(
            "wharfinger_counts_duration",
            "How long counting them took",
            Unit::Seconds,
            self.duration.clone(),
        );
    }
}
