//! Losses of the database.

use prometheus_client::metrics::counter::Counter;

use super::registry::Registry;

/// The number of lost events. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    events: Counter,
}

impl Losses {
    /// Counts lost events.
    pub fn add(&self, events: i64) {
        self.events.inc_by(u64::try_from(events).unwrap_or(0));
    }

    /// Registers the metric.
    pub fn register(&self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_lost_events",
            "Events of the audit trail that the database acknowledged to this process and does not have any more",
            self.events.clone(),
        );
    }
}
