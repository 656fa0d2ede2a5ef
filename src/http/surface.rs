//! Dialects: how each surface words the one error type.

use std::fmt;
use std::marker::PhantomData;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};

use crate::error::Error;

/// A family of paths that speaks its own dialect.
pub(super) trait Surface: fmt::Debug + 'static {
    /// What a 401 offers, one challenge a line.
    const CHALLENGES: &'static [&'static str];

    /// Parameters of the query that mean nothing here and are sent all the same, each with a client that sends it. Others
    /// that the operation does not have are refused: a mistyped filter would let everything through. `None` if all are
    /// ignored.
    const IGNORED: Option<&'static [(&'static str, &'static str)]> = None;

    /// The status of an error.
    fn status(error: &Error) -> StatusCode;

    /// The body of an error.
    fn body(error: &Error) -> serde_json::Value;
}

/// An error on its way out of a surface.
#[derive(Debug)]
pub(super) struct Failure<S> {
    error: Error,
    surface: PhantomData<S>,
}

/// What handlers of a surface return.
pub(super) type Answer<S> = Result<HttpResponse, Failure<S>>;

impl<S> Failure<S> {
    /// The error behind it.
    pub(super) fn error(&self) -> &Error {
        &self.error
    }
}

impl<S> From<Error> for Failure<S> {
    fn from(error: Error) -> Self {
        Self {
            error,
            surface: PhantomData,
        }
    }
}

impl<S> fmt::Display for Failure<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<S: Surface> ResponseError for Failure<S> {
    fn status_code(&self) -> StatusCode {
        S::status(&self.error)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CACHE_CONTROL, "no-store"));
        match &self.error {
            Error::Unauthenticated | Error::NoRole | Error::StaleLogin => {
                for challenge in S::CHALLENGES {
                    response.append_header((WWW_AUTHENTICATE, *challenge));
                }
            }
            Error::RateLimited { retry_after } | Error::TooManyChanges { retry_after } => {
                response.insert_header((RETRY_AFTER, *retry_after));
            }
            Error::Unavailable { .. } => {
                response.insert_header((RETRY_AFTER, Error::RETRY_AFTER));
            }
            Error::MethodNotAllowed { allow, .. } => {
                if let Ok(allow) = HeaderValue::from_str(allow) {
                    response.insert_header((ALLOW, allow));
                }
            }
            _ => {}
        }
        response.json(S::body(&self.error))
    }
}
