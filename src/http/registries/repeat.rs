//! Repeatable requests on the wire: `Idempotency-Key`, and the mark of repeated answers.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderName, HeaderValue};
use utoipa::{IntoParams, IntoResponses};

use crate::http::native::ApiErrorResponse;

/// The header of an answer that was given before.
pub(super) const REPLAYED: &str = "Idempotency-Replayed";

/// For what makes something.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) struct Keyed {
    /// A key of the client's own for this request, such as a fresh UUID: sent again with it within 15 minutes, the request
    /// gets the same answer and makes nothing more
    #[param(
        rename = "Idempotency-Key",
        nullable = false,
        pattern = r#"^([!#-~]+|"([!#-\[\]-~]|\\["\\])+")$"#,
        max_length = 255
    )]
    idempotency_key: Option<String>,
}

/// The further answers to such a request.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its shape is used")]
pub(super) enum Reused {
    /// The key came with another body before
    #[response(status = 422)]
    UnprocessableContent(ApiErrorResponse),
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
