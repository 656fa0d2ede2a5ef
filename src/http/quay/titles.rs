//! The titles of errors, and the page behind the `type` of each.

use actix_web::{HttpRequest, HttpResponse, get};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Answer;
use super::error::{NotFoundError, OutageErrors};
use super::wire::ErrorDescription;
use crate::error::{Error, What};
use crate::http::call::path;
use crate::http::links;

/// Every title with its description: all of Quay's, including unused ones, and ours for errors without one there.
const TITLES: [(&str, &str); 17] = [
    (
        "external_service_timeout",
        "Another service did not answer in time. It may when it is asked again.",
    ),
    (
        "invalid_request",
        "The request is malformed, or one of its values breaks a rule. `detail` says which.",
    ),
    (
        "invalid_response",
        "Another service answered with something that cannot be read.",
    ),
    (
        "invalid_token",
        "There are no credentials, or they open nothing.",
    ),
    ("expired_token", "The access token has ended."),
    (
        "insufficient_scope",
        "The credentials are good and do not permit this.",
    ),
    (
        "fresh_login_required",
        "The sign-in is too long ago for this. Sign in again.",
    ),
    ("exceeds_license", "The licence does not cover this."),
    ("not_found", "It does not exist, or you may not see it."),
    ("downstream_issue", "Another service failed."),
    (
        "foreign_origin",
        "A web page of another origin made a browser ask for this.",
    ),
    (
        "quota_exceeded",
        "There are as many of them as this service allows. Delete one that is not needed any more.",
    ),
    (
        "request_timeout",
        "The body of the request did not arrive in time.",
    ),
    (
        "request_too_large",
        "The body of the request is larger than this service reads.",
    ),
    (
        "too_many_requests",
        "Too much is under way from this address. Try again after `Retry-After`.",
    ),
    (
        "unavailable",
        "The service or its database cannot answer right now. Try again after `Retry-After`.",
    ),
    (
        "internal_error",
        "A defect of this service, whose log has the cause.",
    ),
];

/// The path of the page about a title.
pub(super) fn path_of(title: &str) -> String {
    format!("/api/v1/error/{title}")
}

/// The title of a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct TitlePath {
    /// The title of the error
    #[param(example = "not_found")]
    error_type: String,
}

/// The page that the `type` of an error links to.
#[utoipa::path(
    operation_id = "getErrorDescription",
    summary = "Get a detailed description of the error",
    description = "The page that the `type` of an error names. It needs no credentials.",
    tag = "error", security(()), params(TitlePath),
    responses((status = 200, description = "Successful invocation", body = ErrorDescription), NotFoundError, OutageErrors),
)]
#[get("/api/v1/error/{error_type}")]
pub(super) async fn describe(request: HttpRequest) -> Answer {
    let TitlePath { error_type: asked } = path(&request)?;
    let (title, description) = TITLES
        .into_iter()
        .find(|(title, _)| *title == asked)
        .ok_or_else(|| Error::not_found(What::Path, asked))?;
    Ok(HttpResponse::Ok().json(ErrorDescription {
        r#type: links::origin(&request).unwrap_or_default() + &path_of(title),
        title,
        description,
    }))
}

#[cfg(test)]
pub(super) fn is_explained(title: &str) -> bool {
    TITLES.iter().any(|(known, _)| *known == title)
}
