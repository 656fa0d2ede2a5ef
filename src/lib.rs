//! Wharfinger: a self-hosted service that manages the tokens of container registries.
//!
//! There are four layers. Each uses only those below it, and a test enforces it:
//!
//! - [`http`] translates paths, headers and bodies to commands, and results to answers. It decides nothing.
//! - [`service`] checks permissions and runs the use cases, each in one store call.
//! - [`store`] keeps the data in SQLite or PostgreSQL, behind two queues, one to read and one to write.
//! - [`domain`] has the rules that need neither database nor clock.
//!
//! [`outgoing`] asks other machines, for the service. All layers use [`error`], [`clock`], [`metrics`] and [`waker`], which use none of them. [`config`] has the settings,
//! [`app`] puts everything together, [`server`] and [`tls`] listen, [`cli`] runs the commands. See
//! `docs/ARCHITECTURE.md`.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod error;
pub mod http;
pub mod metrics;
pub mod outgoing;
pub mod server;
pub mod service;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod waker;

pub use error::Error;
