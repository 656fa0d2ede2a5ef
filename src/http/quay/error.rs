//! Errors in Quay's form: six members, two of them twice, and three other forms that its framework makes.

use actix_web::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoResponses, ToSchema};

use super::titles;
use crate::error::{Error, Field, Violation};
use crate::http::dialect::Dialect;
use crate::http::responses::{Responses, described};

/// The dialect of this surface.
#[derive(Debug)]
pub(in super::super) struct Quay;

impl Dialect for Quay {
    /// None: Quay has none on its 401.
    const CHALLENGES: &'static [&'static str] = &[];

    fn status(error: &Error) -> StatusCode {
        match error {
            Error::Unauthenticated | Error::NoRole | Error::StaleLogin => StatusCode::UNAUTHORIZED,
            Error::CsrfToken
            | Error::ForeignOrigin
            | Error::Forbidden(_)
            | Error::Unpermitted(_)
            | Error::Excessive(_) => StatusCode::FORBIDDEN,
            Error::NotFound { .. } | Error::Elsewhere { .. } => StatusCode::NOT_FOUND,
            Error::NameTaken { .. } | Error::Unsuited(_) | Error::Invalid(_) => {
                StatusCode::BAD_REQUEST
            }
            Error::Outdated(_) | Error::Full(_) => StatusCode::CONFLICT,
            Error::Precondition(_) => StatusCode::PRECONDITION_FAILED,
            Error::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Error::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Error::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Error::RateLimited { .. } | Error::TooManyChanges { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Error::Unavailable { .. } | Error::Frozen => StatusCode::SERVICE_UNAVAILABLE,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// `type` is a path here. `dress` makes it an absolute URL if the service's own is known.
    fn body(error: &Error) -> Value {
        let message = |message| {
            json!(ApiError {
                message: Some(message),
                ..ApiError::default()
            })
        };
        match error {
            Error::CsrfToken => json!(ApiError {
                error: Some("CSRF token was invalid or missing."),
                ..ApiError::default()
            }),
            Error::MethodNotAllowed { .. } => {
                message("The method is not allowed for the requested URL.")
            }
            Error::UnsupportedMediaType { .. } => message(
                "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.",
            ),
            Error::Invalid(violations) if violations.iter().any(is_unreadable) => message(
                "The browser (or proxy) sent a request that this server could not understand.",
            ),
            other => {
                let (title, detail) = (title(other), detail(other));
                json!(ApiError {
                    status: Some(Self::status(other).as_u16()),
                    r#type: Some(titles::path_of(title)),
                    title: Some(title),
                    error_type: Some(title),
                    error_message: Some(detail.clone()),
                    detail: Some(detail),
                    ..ApiError::default()
                })
            }
        }
    }
}

/// The dialect of signing in, where a wrong password is a 403 of its own form.
#[derive(Debug)]
pub(in super::super) struct SignIn;

impl Dialect for SignIn {
    const CHALLENGES: &'static [&'static str] = Quay::CHALLENGES;

    fn status(error: &Error) -> StatusCode {
        match error {
            Error::Unauthenticated => StatusCode::FORBIDDEN,
            other => Quay::status(other),
        }
    }

    fn body(error: &Error) -> Value {
        match error {
            Error::Unauthenticated => json!(ApiError {
                needs_email_verification: Some(false),
                invalid_credentials: Some(true),
                message: Some("Invalid Username or Password"),
                ..ApiError::default()
            }),
            other => Quay::body(other),
        }
    }
}

/// Returns true if the body cannot be read at all, as opposed to one with wrong content.
fn is_unreadable(violation: &Violation) -> bool {
    violation.field == Field::Body
}

fn title(error: &Error) -> &'static str {
    match error {
        Error::Unauthenticated | Error::NoRole => "invalid_token",
        Error::StaleLogin => "fresh_login_required",
        Error::CsrfToken | Error::Forbidden(_) | Error::Unpermitted(_) | Error::Excessive(_) => {
            "insufficient_scope"
        }
        Error::ForeignOrigin => "foreign_origin",
        Error::Full(_) => "quota_exceeded",
        Error::NotFound { .. } | Error::Elsewhere { .. } => "not_found",
        Error::NameTaken { .. }
        | Error::Unsuited(_)
        | Error::Precondition(_)
        | Error::KeyReused
        | Error::Outdated(_)
        | Error::Invalid(_)
        | Error::MethodNotAllowed { .. }
        | Error::UnsupportedMediaType { .. } => "invalid_request",
        Error::RequestTimeout => "request_timeout",
        Error::TooLarge { .. } => "request_too_large",
        Error::RateLimited { .. } | Error::TooManyChanges { .. } => "too_many_requests",
        Error::Unavailable { .. } | Error::Frozen => "unavailable",
        Error::Internal(_) => "internal_error",
    }
}

/// Quay's message if it has one, or else our own.
fn detail(error: &Error) -> String {
    match error {
        Error::Unauthenticated | Error::NoRole => "Requires authentication".to_owned(),
        Error::StaleLogin => "Requires fresh login".to_owned(),
        Error::Forbidden(_) | Error::Unpermitted(_) | Error::Excessive(_) => {
            "Unauthorized".to_owned()
        }
        Error::NotFound { .. } | Error::Elsewhere { .. } => "Not Found".to_owned(),
        other => other.to_string(),
    }
}

/// An error: six members, two of them twice. The product's framework makes others, which have `message` alone, or
/// `error` alone for want of a session's CSRF token
// One shape for all, since generators make one type of the errors of an operation, or give up (progenitor).
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ApiError {
    /// The status of the response; absent where there is a `message` or an `error`, as the next five are
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 404)]
    status: Option<u16>,
    /// A page that explains the error; absent likewise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "https://wharfinger.example.com/api/v1/error/not_found"
    )]
    r#type: Option<String>,
    /// The kind of error, for programs; absent likewise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "not_found")]
    title: Option<&'static str>,
    /// The error in words, for people; absent likewise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Not Found")]
    detail: Option<String>,
    /// `detail` again, under the name that older clients read; absent likewise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Not Found")]
    error_message: Option<String>,
    /// `title` again, under the name that older clients read; absent likewise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "not_found")]
    error_type: Option<&'static str>,
    /// The error in words, for people; only in errors of the framework, and in those of a sign-in
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "The method is not allowed for the requested URL."
    )]
    message: Option<&'static str>,
    /// The error in words, for people; only in answers for want of a session's CSRF token
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "CSRF token was invalid or missing.")]
    error: Option<&'static str>,
    /// Always `false`; only in an answer to a sign-in that failed
    #[serde(
        skip_serializing_if = "Option::is_none",
        rename = "needsEmailVerification"
    )]
    #[schema(nullable = false, example = false)]
    needs_email_verification: Option<bool>,
    /// True if name and password do not belong together; only in an answer to a sign-in that failed
    #[serde(skip_serializing_if = "Option::is_none", rename = "invalidCredentials")]
    #[schema(nullable = false, example = true)]
    invalid_credentials: Option<bool>,
}

/// The errors of every operation on tokens: first those of the product's document.
pub(super) struct Errors;

impl IntoResponses for Errors {
    fn responses() -> Responses {
        described::<ApiError>(&[
            (400, "Bad Request"),
            (401, "Session required"),
            (403, "Unauthorized access"),
            (404, "Not found"),
            (429, "Too many requests from this address or account"),
            (500, "An internal error"),
            (503, "The service or its database cannot answer right now"),
        ])
    }
}

/// The error of making one more.
pub(super) struct FullError;

impl IntoResponses for FullError {
    fn responses() -> Responses {
        described::<ApiError>(&[(409, "The account has the maximum number of app tokens")])
    }
}

/// The errors of reading a body.
pub(super) struct BodyErrors;

impl IntoResponses for BodyErrors {
    fn responses() -> Responses {
        described::<ApiError>(&[
            (408, "The body took too long to arrive"),
            (413, "The body is larger than 1 MiB"),
            (415, "The body is not JSON by its content type"),
        ])
    }
}

/// The errors of signing in, beside those of its body.
pub(super) struct SignInErrors;

impl IntoResponses for SignInErrors {
    fn responses() -> Responses {
        described::<ApiError>(&[
            (400, "Bad Request"),
            (403, "Wrong credentials, or no CSRF token"),
            (429, "Too many requests from this address or account"),
            (500, "An internal error"),
            (503, "The service or its database cannot answer right now"),
        ])
    }
}

/// The error of signing out.
pub(super) struct SignOutErrors;

impl IntoResponses for SignOutErrors {
    fn responses() -> Responses {
        described::<ApiError>(&[(403, "No CSRF token, or that of another session")])
    }
}

/// The errors of an exchange.
pub(super) struct ExchangeErrors;

impl IntoResponses for ExchangeErrors {
    fn responses() -> Responses {
        described::<ApiError>(&[
            (400, "No registry has this name"),
            (
                401,
                "The name or the JWT is missing or wrong, or the JWT was exchanged before",
            ),
            (429, "Too many requests from this address or account"),
            (500, "An internal error"),
            (
                503,
                "The service, its database or the issuer's keys cannot answer right now",
            ),
        ])
    }
}

/// The errors of what asks no more of a server than that it works.
pub(super) struct OutageErrors;

impl IntoResponses for OutageErrors {
    fn responses() -> Responses {
        described::<ApiError>(&[
            (500, "An internal error"),
            (503, "The service or its database cannot answer right now"),
        ])
    }
}

/// The one error of a page that all may read.
pub(super) struct NotFoundError;

impl IntoResponses for NotFoundError {
    fn responses() -> Responses {
        described::<ApiError>(&[(404, "Not found")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::What;

    #[test]
    fn every_title_is_explained() {
        for error in [
            Error::Unauthenticated,
            Error::NoRole,
            Error::StaleLogin,
            Error::CsrfToken,
            Error::ForeignOrigin,
            Error::Forbidden(String::new()),
            Error::not_found(What::AppToken, ""),
            Error::invalid(Field::Other("title"), ""),
            Error::Unsuited(String::new()),
            Error::Full(String::new()),
            Error::RequestTimeout,
            Error::TooLarge { limit: 1 },
            Error::RateLimited { retry_after: 1 },
            Error::busy(),
            Error::internal("x"),
        ] {
            assert!(titles::is_explained(title(&error)), "{error:?}");
        }
    }
}
