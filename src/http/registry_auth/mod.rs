//! What the clients of registries and proxies in front of registries ask: for a JWT at `/token`, whether a request
//! may pass at `/v2/check`.
//!
//! Speaks the Distribution token specification and answers errors as the OCI distribution specification has them.

mod check;
mod demand;
mod error;
mod examples;
#[cfg(fuzzing)]
pub mod fuzzing;
mod token;

use actix_web::web;
use utoipa::OpenApi;

pub(super) use self::error::{CodeLogin, Passing, TokenEndpoint};
pub(super) use self::examples::illustrate;

use self::error::OciErrors;
use super::routes::Routes;

/// Another path of the token endpoint, for clients and proxies that keep all of a registry below `/v2/`.
const SECOND_TOKEN_PATH: &str = "/v2/auth";

/// Where a proxy asks with the path that it was asked for, whatever the method.
pub(super) const PASSING: &str = "/v2/check/{service}/{original:.*}";

/// The methods of those paths that the document does not list.
pub(super) const METHODS: [(&str, &str); 1] = [(SECOND_TOKEN_PATH, "GET, POST")];

/// Does this surface answer what no route takes under a path?
pub(super) fn owns(path: &str) -> bool {
    [super::TOKEN_PATH, "/v2"].iter().any(|own| {
        path.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// What the document says beside its paths.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        tags((name = "Registry access", description = "What the clients of registries and the proxies in front of registries ask")),
        components(schemas(OciErrors)),
    )]
    struct Base;

    Base::openapi()
}

/// Is it a proxy that asks under a path?
pub(super) fn is_passing(path: &str) -> bool {
    path == "/v2/check" || path.starts_with("/v2/check/")
}

/// Adds every route of this surface.
pub(super) fn routes(config: &mut impl Routes) {
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
