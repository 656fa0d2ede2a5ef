//! Connections that clients have open.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::registry::Registry;

/// The connections that are open, and those that were closed for want of room. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    open: Gauge,
    refused: Counter,
    evicted: Counter,
}

impl Connections {
    /// One was opened.
    pub fn open(&self) {
        self.open.inc();
    }

    /// One was closed.
    pub fn close(&self) {
        self.open.dec();
    }

    /// A new one was closed at once, as all others were busy.
    pub fn refuse(&self) {
        self.refused.inc();
    }

    /// An idle one was told to make room for a new one.
    pub fn evict(&self) {
        self.evicted.inc();
    }

    /// Puts the counts where they are read.
    pub fn register(&self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_connections",
            "Connections that clients have open",
            self.open.clone(),
        );
        registry.0.register(
            "wharfinger_connections_refused",
            "New connections that were closed at once, as a limit was reached and all others were busy",
            self.refused.clone(),
        );
        registry.0.register(
            "wharfinger_connections_evicted",
            "Connections that waited for their clients and were closed to make room for new ones",
            self.evicted.clone(),
        );
    }
}
