//! Keys of issuers: how often they were fetched, and how old those are that cannot be fetched again.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::registry::{Label, Registry};

/// Fetches of the keys of issuers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct IssuerKeys {
    fetches: Family<Label, Counter>,
    successes: Counter,
    failures: Counter,
    stale: Gauge<f64, AtomicU64>,
}

impl Default for IssuerKeys {
    fn default() -> Self {
        let fetches = Family::<Label, Counter>::default();
        let of = |result| fetches.get_or_create_owned(&[("result", result)]);
        let (successes, failures) = (of("success"), of("failure"));
        Self {
            fetches,
            successes,
            failures,
            stale: Gauge::default(),
        }
    }
}

impl IssuerKeys {
    /// Counts a fetch.
    pub fn fetched(&self, success: bool) {
        let count = if success {
            &self.successes
        } else {
            &self.failures
        };
        count.inc();
    }

    /// Sets the age of the oldest keys whose last fetch failed, in seconds.
    pub fn stale(&self, seconds: f64) {
        self.stale.set(seconds);
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_issuer_keys_fetches",
            "Times that the keys of an issuer were fetched, by whether that gave any",
            self.fetches.clone(),
        );
        registry.0.register(
            "wharfinger_issuer_keys_stale_seconds",
            "The age of the oldest keys of an issuer whose last fetch failed; 0 if there are none",
            self.stale.clone(),
        );
    }
}
