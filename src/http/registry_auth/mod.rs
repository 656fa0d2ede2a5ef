//! The endpoints for clients of registries (`/token`) and for proxies in front of registries (`/v2/check`).
//!
//! They implement the Distribution token specification, with errors of the OCI distribution specification.

mod check;
mod demand;
mod error;
mod examples;
#[cfg(fuzzing)]
pub mod fuzzing;
mod token;

use actix_web::web;
use utoipa::OpenApi;

use self::error::{OciErrors, Passing, TokenEndpoint};
use self::examples::illustrate;
use super::dialect::Failure;
use super::routes::Routes;
use super::surface::{Document, Surface, TOKEN_PATH, WhileFrozen, below};

/// Another path of the token endpoint, for clients and proxies that need all paths of a registry below `/v2/`.
const SECOND_TOKEN_PATH: &str = "/v2/auth";

/// The check with the original path appended, for any method.
const PASSING: &str = "/v2/check/{service}/{original:.*}";

pub(super) static SURFACE: Surface = Surface {
    name: "registry-access",
    owns: |path| below(path, TOKEN_PATH) || below(path, "/v2"),
    failure: |path, error| {
        if below(path, "/v2/check") {
            Failure::<Passing>::from(error).into()
        } else {
            Failure::<TokenEndpoint>::from(error).into()
        }
    },
    routes: |config| routes(config),
    unlisted: &[(SECOND_TOKEN_PATH, "GET, POST")],
    any_method: &[PASSING],
    changes_by_get: &[],
    dress: None,
    while_frozen: WhileFrozen::None,
    queues: true,
    // Clients of registries follow the challenge.
    challenges_scripts: true,
    document: Some(Document {
        place: 2,
        title: "Registry access",
        url: "../openapi/registry-access.json",
        description: "Gives the clients of registries their JWTs, and tells the proxies in front of registries what \
                      may pass.",
        base,
        routes: |config| routes(config),
        illustrate,
    }),
};

/// The document without paths.
fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        tags((name = "Registry access", description = "Requests of the clients of registries and of the proxies in front of registries")),
        components(schemas(OciErrors)),
    )]
    struct Base;

    Base::openapi()
}

/// Adds every route of this surface.
fn routes(config: &mut impl Routes) {
    config
        .service(token::by_query)
        .service(token::by_form)
        .service(check::check)
        .map(|config| {
            config
                .route(SECOND_TOKEN_PATH, web::get().to(token::answer_query))
                .route(SECOND_TOKEN_PATH, web::post().to(token::answer_form))
                .route(PASSING, web::to(check::by_path))
        });
}
