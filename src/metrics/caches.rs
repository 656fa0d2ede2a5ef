//! What is remembered to save work, and what is held back after too many failures.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::registry::{Label, Registry};

/// Look-ups in what is remembered. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    entries: Family<Label, Gauge>,
    lookups: Family<[(&'static str, &'static str); 2], Counter>,
}

/// Look-ups of one kind.
#[derive(Debug, Clone)]
pub struct Cache {
    entries: Gauge,
    hits: Counter,
    misses: Counter,
}

impl Caches {
    /// What is counted of the cache with this name.
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

    /// Puts the counts where they are read.
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
    /// Counts a look-up and passes on what it found.
    pub fn found<T>(&self, found: Option<T>) -> Option<T> {
        let count = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        count.inc();
        found
    }

    /// So many are remembered.
    pub fn entries(&self, entries: u64) {
        self.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }
}

/// Requests that have to wait after too many failures. Cheap to clone.
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
    /// Somebody with a password was told to wait.
    pub fn password(&self) {
        self.passwords.inc();
    }

    /// Somebody with a token was told to wait.
    pub fn secret(&self) {
        self.secrets.inc();
    }

    /// Puts the counts where they are read.
    pub fn register(&self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_throttled",
            "Requests that were told to wait, as too much had failed before them",
            self.counts.clone(),
        );
    }
}
