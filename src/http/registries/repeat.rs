//! Repeatable requests on the wire: `Idempotency-Key`, and the mark of repeated answers.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderName, HeaderValue};
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, IntoResponses};

use crate::domain::idempotency::IdempotencyKey;
use crate::http::native::ApiErrorResponse;
use crate::http::responses::{Responses, described};
use crate::http::schema::{matching, optional_header};

/// The header of an answer that was given before.
pub(super) const REPLAYED: &str = "Idempotency-Replayed";

/// The header of operations that make something.
pub(super) struct Keyed;

impl IntoParams for Keyed {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut key = matching(IdempotencyKey::PATTERN);
        key.max_length = Some(IdempotencyKey::LIMIT);
        let description = "A key that the client chooses for this request, such as a fresh UUID. The same request with the same key within 15 minutes gets the same answer and makes nothing more";
        vec![optional_header("Idempotency-Key", description, key)]
    }
}

/// The further answers to such a request.
pub(super) struct Reused;

impl IntoResponses for Reused {
    fn responses() -> Responses {
        described::<ApiErrorResponse>(&[(422, "The key came with another body before")])
    }
}

/// Marks an answer if it was given before.
pub(super) fn marked(mut answer: HttpResponse, repeated: bool) -> HttpResponse {
    if repeated {
        let name = HeaderName::from_static("idempotency-replayed");
        let headers = answer.headers_mut();
        headers.insert(name, HeaderValue::from_static("true"));
    }
    answer
}
