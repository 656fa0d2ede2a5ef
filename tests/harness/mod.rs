//! Starts real servers for tests: in this process with a clock that tests move, or as the real program.

mod client;
mod cluster;
mod database;
mod fill;
mod issuer;
mod jwt;
mod mask;
mod patience;
mod program;
mod promise;
mod server;

pub use client::{Minted, encoded, scopes};
pub use cluster::{Cluster, Front};
pub use database::{Backend, Database, on_server};
pub use fill::{fill, remove};
pub use issuer::{Issuer, Mood, jwk, part};
pub use jwt::{
    KeyPair, claims, fingerprint, header, is_signed_by, public_key_of, signed, with_signature,
};
pub use mask::masked;
pub use patience::{PATIENCE, Patience, Watchdog, within_patience};
pub use program::Program;
pub use server::{
    ADMIN_PASSWORD, Actor, Answer, Server, Ticket, WITHOUT_BACKGROUND, WITHOUT_REFRESH_TOKENS,
};
