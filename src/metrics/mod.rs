//! Metrics for Prometheus.
//!
//! Each part of the program keeps its own metrics and registers them with a [`Registry`]. Nothing is global.
//! This module owns names, labels and buckets; `docs/METRICS.md` lists them. No label value comes from a caller: all
//! are known when the program starts.

mod caches;
mod connections;
mod counts;
mod issuers;
mod losses;
mod passwords;
mod process;
mod registry;
mod requests;
mod store;
mod tls;

pub use self::caches::{Cache, Caches, Throttled};
pub use self::connections::Connections;
pub use self::counts::{Counts, Soon, Tokens};
pub use self::issuers::IssuerKeys;
pub use self::losses::Losses;
pub use self::passwords::Passwords;
pub use self::process::Process;
pub use self::registry::Registry;
pub use self::requests::{Requests, Route, Watch};
pub use self::store::{Door, Group, Job, Store};
pub use self::tls::Reloads;

/// The content type of `/metrics`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
