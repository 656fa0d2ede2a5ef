//! The registry of metrics, and the types that all metrics share.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::Histogram;

/// The registry of all metrics.
#[derive(Debug, Default)]
pub struct Registry(pub(super) prometheus_client::registry::Registry);

impl Registry {
    /// The values of all metrics as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.0);
        text
    }
}

/// Buckets of durations, in seconds.
const SECONDS: [f64; 13] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

pub(super) fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// A label and its value.
pub(super) type Label = [(&'static str, &'static str); 1];
