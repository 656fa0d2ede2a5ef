//! Errors in the shape of the OCI distribution specification: `{"errors": [{"code", "message", "detail"}]}`.

use actix_web::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoResponses, ToSchema};

use crate::error::Error;
use crate::http::dialect::Dialect;
use crate::http::responses::{Responses, described};

/// The errors, in the form of registries
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct OciErrors {
    /// One entry for each thing that was wrong
    errors: Vec<OciError>,
}

#[derive(Debug, Serialize, ToSchema)]
struct OciError {
    /// The kind of error, for programs
    #[schema(example = "UNAUTHORIZED")]
    code: &'static str,
    /// The mistake and the right way, for people
    #[schema(
        example = "the credentials are missing or wrong; send a registry token's name and secret"
    )]
    message: String,
    /// The parameter that was wrong; absent if none was
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, example = json!({"parameter": "service"}))]
    detail: Option<Value>,
}

/// The errors of every operation.
pub(super) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> Responses {
        described::<OciErrors>(&[
            (400, "A parameter is missing or wrong"),
            (401, "The credentials are missing or wrong"),
            (429, "Too many requests from this address or account"),
            (500, "An internal error"),
            (503, "The service or its database cannot answer right now"),
        ])
    }
}

/// The errors of reading a form.
pub(super) struct FormErrors;

impl IntoResponses for FormErrors {
    fn responses() -> Responses {
        described::<OciErrors>(&[
            (408, "The body took too long to arrive"),
            (413, "The body is larger than 256 KiB"),
            (415, "The body is no form by its content type"),
        ])
    }
}

/// The dialect of the token endpoint.
#[derive(Debug)]
pub(in super::super) struct TokenEndpoint;

impl Dialect for TokenEndpoint {
    const CHALLENGES: &'static [&'static str] = &[r#"Basic realm="wharfinger", charset="UTF-8""#];

    /// Never 403: containerd asks by POST first and falls back to GET on 400, 401, 404 and 405, not on 403.
    fn status(error: &Error) -> StatusCode {
        match error {
            Error::CsrfToken
            | Error::ForeignOrigin
            | Error::Forbidden(_)
            | Error::Unpermitted(_)
            | Error::Excessive(_) => StatusCode::BAD_REQUEST,
            other => status(other),
        }
    }

    fn body(error: &Error) -> Value {
        body(error)
    }
}

/// The same for logins with an app token: Quay's message for a wrong code. Only the user name selects it, so it reveals
/// nothing.
#[derive(Debug)]
pub(in super::super) struct CodeLogin;

impl Dialect for CodeLogin {
    const CHALLENGES: &'static [&'static str] = TokenEndpoint::CHALLENGES;

    fn status(error: &Error) -> StatusCode {
        TokenEndpoint::status(error)
    }

    fn body(error: &Error) -> Value {
        match error {
            Error::Unauthenticated => json!(OciErrors {
                errors: vec![OciError {
                    code: code(error),
                    message: "Invalid token".to_owned(),
                    detail: Some(json!({})),
                }],
            }),
            other => body(other),
        }
    }
}

/// The dialect of the endpoint for proxies.
#[derive(Debug)]
pub(in super::super) struct Passing;

impl Dialect for Passing {
    const CHALLENGES: &'static [&'static str] = TokenEndpoint::CHALLENGES;

    fn status(error: &Error) -> StatusCode {
        status(error)
    }

    fn body(error: &Error) -> Value {
        body(error)
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Unauthenticated | Error::NoRole | Error::StaleLogin => StatusCode::UNAUTHORIZED,
        Error::CsrfToken
        | Error::ForeignOrigin
        | Error::Forbidden(_)
        | Error::Unpermitted(_)
        | Error::Excessive(_) => StatusCode::FORBIDDEN,
        Error::NotFound { .. } | Error::Elsewhere { .. } => StatusCode::NOT_FOUND,
        Error::NameTaken { .. } | Error::Unsuited(_) | Error::Outdated(_) | Error::Full(_) => {
            StatusCode::CONFLICT
        }
        Error::Invalid(_) => StatusCode::BAD_REQUEST,
        Error::Precondition(_) => StatusCode::PRECONDITION_FAILED,
        Error::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Error::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Error::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Error::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::RateLimited { .. } | Error::TooManyChanges { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Unavailable { .. } | Error::Frozen => StatusCode::SERVICE_UNAVAILABLE,
        Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn body(error: &Error) -> Value {
    let errors = match error {
        Error::Invalid(violations) => violations
            .iter()
            .map(|violation| OciError {
                code: "UNSUPPORTED",
                message: violation.message.clone(),
                detail: Some(json!({ "parameter": violation.field.as_str() })),
            })
            .collect(),
        Error::Unauthenticated => vec![OciError {
            code: "UNAUTHORIZED",
            message: "the credentials are missing or wrong; send a registry token's name and secret, a trust's name and a JWT, or an account's name and password"
                .to_owned(),
            detail: None,
        }],
        other => vec![OciError {
            code: code(other),
            message: other.to_string(),
            detail: None,
        }],
    };
    json!(OciErrors { errors })
}

/// The codes of the specification, and Distribution's own two for our failures.
fn code(error: &Error) -> &'static str {
    match error {
        Error::Unauthenticated | Error::NoRole | Error::StaleLogin => "UNAUTHORIZED",
        Error::CsrfToken
        | Error::ForeignOrigin
        | Error::Forbidden(_)
        | Error::Unpermitted(_)
        | Error::Excessive(_) => "DENIED",
        Error::RateLimited { .. } | Error::TooManyChanges { .. } => "TOOMANYREQUESTS",
        Error::TooLarge { .. } => "SIZE_INVALID",
        Error::Unavailable { .. } | Error::Frozen => "UNAVAILABLE",
        Error::Internal(_) => "UNKNOWN",
        _ => "UNSUPPORTED",
    }
}
