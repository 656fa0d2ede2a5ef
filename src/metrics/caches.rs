//! Caches, and requests that were throttled after too many failures.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::registry::{Label, Registry};

/// Look-ups in caches. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    entries: Family<Label, Gauge>,
    lookups: Family<[(&'static str, &'static str); 2], Counter>,
}

/// Look-ups in one cache.
#[derive(Debug, Clone)]
pub struct Cache {
    entries: Gauge,
    hits: Counter,
    misses: Counter,
}

impl Caches {
    /// The counts of the cache with this name.
    #[must_use]
    pub fn cache(&self, name: &'static str) -> Cache {
        let count = |result| {
            let labels = [("cache", name), ("result", result)];
            self.lookups.get_or_create_owned(&labels)
        };
        Cache {
            entries: self.entries.get_or_create_owned(&[("cache", name)]),
            hits: count("hit"),
            misses: count("miss"),
        }
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_cache_entries",
            "What is remembered, about: what has just been added or dropped may be missing",
            self.entries.clone(),
        );
        registry.0.register(
            "wharfinger_cache_lookups",
            "Look-ups, by whether they found something to use",
            self.lookups.clone(),
        );
    }
}

impl Cache {
    /// Counts a look-up and returns its result.
    pub fn found<T>(&self, found: Option<T>) -> Option<T> {
        let count = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        count.inc();
        found
    }

    /// Sets the number of entries.
    pub fn entries(&self, entries: u64) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }
}

/// Requests that were throttled after too many failures. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Throttled {
    counts: Family<Label, Counter>,
    passwords: Counter,
    secrets: Counter,
}

impl Default for Throttled {
    fn default() -> Self {
        let counts = Family::<Label, Counter>::default();
        let of = |tried| counts.get_or_create_owned(&[("credential", tried)]);
        let (passwords, secrets) = (of("password"), of("secret"));
        Self {
            counts,
            passwords,
            secrets,
        }
    }
}

impl Throttled {
    /// Counts a throttled request with a password.
    pub fn password(&self) {
        self.passwords.inc();
    }

    /// Counts a throttled request with a token.
    pub fn secret(&self) {
        self.secrets.inc();
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_throttled",
            "Requests that were told to wait, as too much had failed before them",
            self.counts.clone(),
        );
    }
}
