//! The registry that is read, and the forms that all counts share.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::Histogram;

/// Where counts are put together to be read.
#[derive(Debug, Default)]
pub struct Registry(pub(super) prometheus_client::registry::Registry);

impl Registry {
    /// What all counts stand at, as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A String takes whatever is written.
        let _ = encode(&mut text, &self.0);
        text
    }
}

/// Steps of times, in seconds: from what memory takes to what nobody waits for.
const SECONDS: [f64; 13] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

pub(super) fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// A label and its value.
pub(super) type Label = [(&'static str, &'static str); 1];
