//! What the program counts and times, as Prometheus reads it.
//!
//! Each part of the house has its own counts here, made where the part is made and kept by it; [`Registry`] is where
//! they are put together to be read. Nothing is global. Owns names, labels and buckets; `docs/METRICS.md` lists them.
//! No label ever comes from a caller: every set of values is known when the program starts.

mod caches;
mod connections;
mod counts;
mod passwords;
mod process;
mod requests;
mod store;
mod tls;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::histogram::Histogram;

pub use self::caches::{Cache, Caches, Throttled};
pub use self::connections::Connections;
pub use self::counts::{Counts, Soon, Tokens};
pub use self::passwords::Passwords;
pub use self::process::Process;
pub use self::requests::{Requests, Route, Watch};
pub use self::store::{Door, Group, Job, Store};
pub use self::tls::Reloads;

/// What is served under `/metrics` is written in.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where counts are put together to be read.
#[derive(Debug, Default)]
pub struct Registry(prometheus_client::registry::Registry);

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

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// A label and its value.
type Label = [(&'static str, &'static str); 1];
