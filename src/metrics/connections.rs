//! Connections that clients have open.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::registry::Registry;

/// The open connections, and those that were closed because of a limit. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    open: Gauge,
    refused: Counter,
    evicted: Counter,
}

impl Connections {
    /// Counts an opened connection.
    pub fn open(&self) {
        self.open.inc();
    }

    /// Counts a closed connection.
    pub fn close(&self) {
        self.open.dec();
    }

    /// Counts a new connection that was closed at once, as all others were busy.
    pub fn refuse(&self) {
        self.refused.inc();
    }

    /// Counts an idle connection that was closed for a new one.
    pub fn evict(&self) {
        self.evicted.inc();
    }

    /// Registers the metrics.
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
