//! States of things on the wire: `ETag`, and the headers with preconditions.

use std::borrow::Cow;

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, IntoResponses};

use crate::domain::precondition::{Look, Precondition, Tag};
use crate::error::Result;
use crate::http::call::Head;
use crate::http::native::ApiErrorResponse;
use crate::http::responses::{Responses, described, described_bare};
use crate::http::schema::{matching, optional_header};

/// Tags of states, or `*` for any (RFC 9110 §13.1).
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$"#;

/// The header of operations on something that is there.
pub(super) struct IfMatch;

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Acts only if the resource is in one of these states: the `ETag` of an answer, with its quotes, or * for any state";
        vec![optional_header("If-Match", description, matching(TAGS))]
    }
}

/// The header of operations that make something.
pub(super) struct IfAbsent;

impl IntoParams for IfAbsent {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "Acts only if the resource is in none of these states; * acts only if the resource does not exist";
        vec![optional_header(
            "If-None-Match",
            description,
            matching(TAGS),
        )]
    }
}

/// The header of operations that show something.
pub(super) struct IfChanged;

impl IntoParams for IfChanged {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The `ETag` of an earlier answer. If the resource is still in that state, the answer is 304 without a body";
        vec![optional_header(
            "If-None-Match",
            description,
            matching(TAGS),
        )]
    }
}

/// The answer to a request that names another state.
pub(super) struct Conditional;

impl IntoResponses for Conditional {
    fn responses() -> Responses {
        described::<ApiErrorResponse>(&[(
            412,
            "The resource is not in the state that the request wants; nothing was changed",
        )])
    }
}

/// The answer to a read of a state that the client has already.
pub(super) struct Unchanged;

impl IntoResponses for Unchanged {
    fn responses() -> Responses {
        described_bare(&[(304, "The resource is in the state that the request names")])
    }
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
