//! States of things on the wire: `ETag`, and the headers with preconditions.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::{IntoParams, IntoResponses};

use super::super::call::Head;
use crate::domain::precondition::{Look, Precondition, Tag};
use crate::error::Result;
use crate::http::native::ApiErrorResponse;

/// For what shows or changes something that is there.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) struct IfMatch {
    /// Only if the resource is in one of these states: the `ETag` of an answer, with its quotes, or * for any
    #[param(
        rename = "If-Match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$"#
    )]
    if_match: Option<String>,
}

/// For what makes something.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) struct IfAbsent {
    /// Only if the resource is in none of these states; * makes it only if there is none
    #[param(
        rename = "If-None-Match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$"#
    )]
    if_none_match: Option<String>,
}

/// For what shows something.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) struct IfChanged {
    /// The `ETag` of an earlier answer: 304 without a body if the resource is still in that state
    #[param(
        rename = "If-None-Match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$"#
    )]
    if_none_match: Option<String>,
}

/// The answer to a request that names another state.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) enum Conditional {
    /// The resource is not in the state that the request wants; nothing was changed
    #[response(status = 412)]
    PreconditionFailed(ApiErrorResponse),
}

/// The answer to a read of a state that the client has already.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) enum Unchanged {
    /// The resource is in the state that the request names
    #[response(status = 304)]
    NotModified,
}

impl Head for Precondition {
    fn read(request: &HttpRequest) -> Result<Self> {
        let (if_match, if_none_match) = (field(request, IF_MATCH), field(request, IF_NONE_MATCH));
        Self::parse(if_match.as_deref(), if_none_match.as_deref())
    }
}

/// The value of a header that may have several lines (RFC 9110 §5.3).
fn field(request: &HttpRequest, name: HeaderName) -> Option<Cow<'_, [u8]>> {
    let mut lines = request.headers().get_all(name);
    let first = Cow::Borrowed(lines.next()?.as_bytes());
    Some(lines.fold(first, |value, line| {
        Cow::Owned([&value, line.as_bytes()].join(&b", "[..]))
    }))
}

/// An answer with a thing and its `ETag`.
pub(super) fn tagged(status: StatusCode, tag: Tag, view: impl Serialize) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((ETAG, tag.to_string()))
        .json(view)
}

/// The answer to a GET of a thing.
pub(super) fn looked<T, V: Serialize>(look: Look<T>, view: impl FnOnce(T) -> V) -> HttpResponse {
    match look {
        Look::At(thing, tag) => tagged(StatusCode::OK, tag, view(thing)),
        Look::Known(tag) => HttpResponse::NotModified()
            .insert_header((ETAG, tag.to_string()))
            .finish(),
    }
}
