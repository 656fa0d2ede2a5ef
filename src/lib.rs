//! Wharfinger: a self-hosted service that manages the tokens of container registries.
//!
//! The house has four floors, and each knows only those below it; a test keeps it so:
//!
//! - [`http`] translates: paths, headers and bodies to commands, results to answers. Decides nothing.
//! - [`service`] decides: who may do what, and what happens then, each use case in one store call.
//! - [`store`] remembers: SQLite or PostgreSQL behind two doors, one to read and one to write.
//! - [`domain`] knows the rules that need neither database nor clock.
//!
//! Beside them [`error`], [`clock`], [`metrics`] and [`waker`] are used by all and use none. [`config`] names the settings, [`app`] puts
//! everything together, [`server`] and [`tls`] listen, [`cli`] runs the commands. `docs/ARCHITECTURE.md` is the map with the reasons.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod http;
pub mod metrics;
pub mod server;
pub mod service;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod waker;

pub use error::Error;
