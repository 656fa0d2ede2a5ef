//! The dialect of the registries API, also used by paths without their own: probes, documents, metrics.

mod code;
mod error;

pub use self::code::Code;
pub(super) use self::error::Native;
pub(super) use self::error::{ApiErrorResponse, BareErrors, BodyErrors, Errors, said};
