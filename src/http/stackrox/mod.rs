//! API tokens as StackRox has them: `/v1/apitokens`, and two probes that its scripts send.
//!
//! Speaks what StackRox's JSON gateway speaks: bodies are decoded before anybody is asked who they are, whatever their
//! type says, and errors are gRPC's, with a status of HTTP made of gRPC's code. Where that is odd, `docs/STACKROX.md`
//! says why.

mod call;
mod dress;
mod error;
mod examples;
#[cfg(fuzzing)]
pub mod fuzzing;
mod probe;
mod token;
mod wire;

use utoipa::OpenApi;

pub(super) use self::dress::dress;
pub(super) use self::error::{Revocation, StackRox};
pub(super) use self::examples::illustrate;

use self::wire::{ProtobufAny, Status};
use super::routes::Routes;
use super::surface;

type Answer = surface::Answer<StackRox>;

/// Does this surface answer under a path?
pub(super) fn owns(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// What the document says beside its paths.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        tags(
            (name = "APITokenService", description = "Make, list and revoke tokens of this service's own APIs"),
            (name = "AuthService", description = "Find out who the credentials are"),
            (name = "PingService", description = "Find out whether this service answers"),
        ),
        components(schemas(Status, ProtobufAny)),
    )]
    struct Base;

    Base::openapi()
}

/// Adds every route of this surface.
pub(super) fn routes(config: &mut impl Routes) {
    // What is more concrete comes first: the router takes the first that fits.
    config
        .service(token::allowed_roles)
        .service(token::generate)
        .service(token::revoke)
        .service(token::list)
        .service(token::show)
        .service(probe::ping)
        .service(probe::status);
}
