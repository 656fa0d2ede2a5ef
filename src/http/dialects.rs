//! Which dialect answers what reaches no handler, and the error behind an answer whatever its dialect.

use actix_web::HttpRequest;

use super::metrics::Monitoring;
use super::quay::{self, Quay, SignIn};
use super::registries::{Registries, Scanning};
use super::registry_auth::{self, CodeLogin, Passing, TokenEndpoint};
use super::stackrox::{self, Revocation, StackRox};
use super::surface::Failure;
use crate::error::Error;

/// Whose paths there are.
pub(super) const SURFACES: [&str; 6] = [
    "registries",
    "registry-access",
    "stackrox",
    "quay",
    "documents",
    "operations",
];

/// Whose path it is.
pub(super) fn surface(path: &str) -> &'static str {
    let first = path.split('/').nth(1).unwrap_or_default();
    if registry_auth::owns(path) {
        "registry-access"
    } else if stackrox::owns(path) {
        "stackrox"
    } else if quay::owns(path) {
        "quay"
    } else if matches!(first, "healthz" | "readyz" | "metrics") {
        "operations"
    } else if path == "/" || matches!(first, "docs" | "openapi" | "openapi.json") {
        "documents"
    } else {
        "registries"
    }
}

/// The path of a request as it is routed: `/%761/ping` is `/v1/ping` to the router, and so to all that words answers.
pub(super) fn routed(request: &HttpRequest) -> &str {
    request.match_info().as_str()
}

/// An error for a path that no handler has seen, in the dialect of those who ask there.
pub(super) fn failure(path: &str, error: Error) -> actix_web::Error {
    if registry_auth::is_passing(path) {
        Failure::<Passing>::from(error).into()
    } else if registry_auth::owns(path) {
        Failure::<TokenEndpoint>::from(error).into()
    } else if stackrox::owns(path) {
        Failure::<StackRox>::from(error).into()
    } else if quay::owns(path) {
        Failure::<Quay>::from(error).into()
    } else {
        Failure::<Registries>::from(error).into()
    }
}

/// The error that an answer was made of.
pub(super) fn cause(error: &actix_web::Error) -> Option<&Error> {
    error
        .as_error::<Failure<Registries>>()
        .map(Failure::error)
        .or_else(|| error.as_error::<Failure<Scanning>>().map(Failure::error))
        .or_else(|| error.as_error::<Failure<Monitoring>>().map(Failure::error))
        .or_else(|| {
            error
                .as_error::<Failure<TokenEndpoint>>()
                .map(Failure::error)
        })
        .or_else(|| error.as_error::<Failure<CodeLogin>>().map(Failure::error))
        .or_else(|| error.as_error::<Failure<Passing>>().map(Failure::error))
        .or_else(|| error.as_error::<Failure<StackRox>>().map(Failure::error))
        .or_else(|| error.as_error::<Failure<Revocation>>().map(Failure::error))
        .or_else(|| error.as_error::<Failure<Quay>>().map(Failure::error))
        .or_else(|| error.as_error::<Failure<SignIn>>().map(Failure::error))
}
