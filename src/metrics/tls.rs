//! Reloads of the server's TLS files.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::registry::{Label, Registry};

/// The counts of reloads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloads(Family<Label, Counter>);

impl Default for Reloads {
    fn default() -> Self {
        let counts = Family::<Label, Counter>::default();
        // Present from the start, so that the first one shows as an increase.
        for result in ["taken", "refused"] {
            drop(counts.get_or_create(&[("result", result)]));
        }
        Self(counts)
    }
}

impl Reloads {
    /// Counts a reload. `taken` is true if the server uses the new files.
    pub fn count(&self, taken: bool) {
        let result = if taken { "taken" } else { "refused" };
        self.0.get_or_create(&[("result", result)]).inc();
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_tls_reloads",
            "Times that the files of TLS were read anew, and taken or refused",
            self.0.clone(),
        );
    }
}
