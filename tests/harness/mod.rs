//! Starts real servers for tests: in this process with a clock that tests move, or as the real program.

mod database;
mod fill;
mod mask;
mod program;
mod server;

pub use database::{Backend, Database, on_server};
pub use fill::{fill, remove};
pub use mask::masked;
pub use program::Program;
pub use server::{ADMIN_PASSWORD, Actor, Answer, Server};
