//! The dialect of the registries API, in which all paths answer that have none of their own: probes, documents, metrics.

mod code;
mod error;

pub use self::code::Code;
pub(super) use self::error::Native;
pub(super) use self::error::{ApiErrorResponse, BareErrors, BodyErrors, Errors, said};
