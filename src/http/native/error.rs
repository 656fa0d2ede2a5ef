//! Errors: `{"httpStatus": …, "messages": [{"errorCode", "message"}]}`.

use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::code::Code;
use crate::error::Error;
use crate::http::dialect::Dialect;
use crate::http::responses::{Responses, described, described_bare};

/// The body of an error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct ApiErrorResponse {
    /// The status of the response
    #[schema(example = 404)]
    http_status: u16,
    /// One message for each thing that was wrong
    messages: Vec<ApiErrorMessage>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApiErrorMessage {
    /// The kind of error, for programs
    #[schema(example = "token-not-found")]
    error_code: String,
    /// The mistake and the right way, for people
    #[schema(example = "token 5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10 not found")]
    message: String,
}

/// The errors that every operation can answer with.
pub(in super::super) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> Responses {
        described::<ApiErrorResponse>(&[
            (400, "A parameter or the body breaks a rule"),
            (401, "The credentials are missing or wrong"),
            (
                403,
                "The account's roles and memberships do not permit this",
            ),
            (429, "Too many requests from this address or account"),
            (500, "An internal error"),
            (503, "The service or its database cannot answer right now"),
        ])
    }
}

/// The errors of reading a body.
pub(in super::super) struct BodyErrors;

impl IntoResponses for BodyErrors {
    fn responses() -> Responses {
        described::<ApiErrorResponse>(&[
            (408, "The body took too long to arrive"),
            (413, "The body is larger than 1 MiB"),
            (415, "The body is not JSON by its content type"),
        ])
    }
}

/// The errors of a HEAD request, which has no body to say more.
pub(in super::super) struct BareErrors;

impl IntoResponses for BareErrors {
    fn responses() -> Responses {
        described_bare(&[
            (400, "The name is one that no registry can have"),
            (401, "The credentials are missing or wrong"),
            (403, "The account's roles do not permit this"),
            (429, "Too many requests from this address or account"),
            (500, "An internal error"),
            (503, "The service or its database cannot answer right now"),
        ])
    }
}

/// This dialect.
#[derive(Debug)]
pub(crate) struct Native;

impl Dialect for Native {
    /// Basic first, which the product's clients know.
    const CHALLENGES: &'static [&'static str] = &[
        r#"Basic realm="wharfinger", charset="UTF-8""#,
        r#"Bearer realm="wharfinger""#,
    ];

    const IGNORED: Option<&'static [(&'static str, &'static str)]> = Some(&[
        ("depth", "ionosctl, with --wait"),
        ("maxResults", "the Node SDK"),
        ("pretty", "the Python SDK"),
    ]);

    fn status(error: &Error) -> StatusCode {
        Code::of(error).status()
    }

    fn body(error: &Error) -> serde_json::Value {
        match error {
            Error::Invalid(violations) => {
                let messages = violations.iter().map(|violation| ApiErrorMessage {
                    error_code: Code::Invalid(violation.field).text(),
                    message: violation.message.clone(),
                });
                worded(error, messages.collect())
            }
            other => said(other, other.to_string()),
        }
    }
}

/// The body of an error with a message of the handler.
pub(in super::super) fn said(error: &Error, message: String) -> serde_json::Value {
    let error_code = Code::of(error).text();
    worded(
        error,
        vec![ApiErrorMessage {
            error_code,
            message,
        }],
    )
}

fn worded(error: &Error, messages: Vec<ApiErrorMessage>) -> serde_json::Value {
    serde_json::json!(ApiErrorResponse {
        http_status: Native::status(error).as_u16(),
        messages
    })
}
