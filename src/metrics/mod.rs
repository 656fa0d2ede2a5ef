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
mod registry;
mod requests;
mod store;
mod tls;

pub use self::caches::{Cache, Caches, Throttled};
pub use self::connections::Connections;
pub use self::counts::{Counts, Soon, Tokens};
pub use self::passwords::Passwords;
pub use self::process::Process;
pub use self::registry::Registry;
pub use self::requests::{Requests, Route, Watch};
pub use self::store::{Door, Group, Job, Store};
pub use self::tls::Reloads;

/// What is served under `/metrics` is written in.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
