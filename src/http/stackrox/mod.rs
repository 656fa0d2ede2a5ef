//! API tokens of StackRox's API: `/v1/apitokens`, and two probes of its scripts.
//!
//! It follows StackRox's JSON gateway: bodies of any content type are decoded before authentication, and errors have
//! gRPC codes, from which the HTTP status follows. `docs/STACKROX.md` explains oddities.

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

use self::dress::dress;
use self::error::StackRox;
use self::examples::illustrate;
use self::wire::{ProtobufAny, Status};
use super::dialect::{self, Failure};
use super::routes::Routes;
use super::surface::{Document, Surface, WhileFrozen, below};

type Answer = dialect::Answer<StackRox>;

pub(super) static SURFACE: Surface = Surface {
    name: "stackrox",
    owns: |path| below(path, "/v1"),
    failure: |_, error| Failure::<StackRox>::from(error).into(),
    routes: |config| routes(config),
    unlisted: &[],
    any_method: &[],
    changes_by_get: &[],
    dress: Some(|request, next| Box::pin(dress(request, next))),
    while_frozen: WhileFrozen::None,
    queues: true,
    challenges_scripts: false,
    document: Some(Document {
        place: 3,
        title: "API tokens (StackRox)",
        url: "../openapi/stackrox.json",
        description: "Makes, lists and revokes tokens of this service's own APIs. The API token service of StackRox, \
                      self-hosted. Ids in examples are made up: `GET /v1/apitokens` lists the real ones.",
        base,
        routes: |config| routes(config),
        illustrate,
    }),
};

/// The document without paths.
fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        tags(
            (name = "APITokenService", description = "Make, list and revoke tokens of this service's own APIs"),
            (name = "AuthService", description = "Find out whose the credentials are"),
            (name = "PingService", description = "Find out whether this service answers"),
        ),
        components(schemas(Status, ProtobufAny)),
    )]
    struct Base;

    Base::openapi()
}

/// Adds every route of this surface.
fn routes(config: &mut impl Routes) {
    // More concrete routes come first: the router uses the first that matches.
    config
        .service(token::allowed_roles)
        .service(token::generate)
        .service(token::revoke)
        .service(token::list)
        .service(token::show)
        .service(probe::ping)
        .service(probe::status);
}
