//! Dialects: the form of errors on each surface.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};

use crate::error::Error;

/// The form of errors on one surface.
pub(super) trait Dialect: fmt::Debug + 'static {
    /// The challenges of a 401, one per header line.
    const CHALLENGES: &'static [&'static str];

    /// Query parameters that are ignored, each with a client that sends it. Other unknown ones are refused: a mistyped
    /// filter would let everything through. `None` if all unknown ones are ignored.
    const IGNORED: Option<&'static [(&'static str, &'static str)]> = None;

    /// The status of an error.
    fn status(error: &Error) -> StatusCode;

    /// The body of an error.
    fn body(error: &Error) -> serde_json::Value;
}

/// An error on its way out, in a dialect.
#[derive(Debug)]
pub(super) struct Failure<D> {
    error: Arc<Error>,
    dialect: PhantomData<D>,
}

/// The error that an answer was made of, as an extension of the answer.
struct Cause(Arc<Error>);

/// The error that an answer was made of, whatever its dialect.
pub(super) fn cause<B>(response: &HttpResponse<B>) -> Option<Arc<Error>> {
    let extensions = response.extensions();
    extensions.get().map(|Cause(error)| Arc::clone(error))
}

/// The return type of handlers.
pub(super) type Answer<D> = Result<HttpResponse, Failure<D>>;

impl<D> Deref for Failure<D> {
    type Target = Error;

    fn deref(&self) -> &Error {
        &self.error
    }
}

impl<D> From<Error> for Failure<D> {
    fn from(error: Error) -> Self {
        Self {
            error: Arc::new(error),
            dialect: PhantomData,
        }
    }
}

impl<D> fmt::Display for Failure<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<D: Dialect> ResponseError for Failure<D> {
    fn status_code(&self) -> StatusCode {
        D::status(&self.error)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((CACHE_CONTROL, "no-store"));
        match &*self.error {
            Error::Unauthenticated | Error::NoRole | Error::StaleLogin => {
                for challenge in D::CHALLENGES {
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
        let mut response = response.json(D::body(&self.error));
        response
            .extensions_mut()
            .insert(Cause(Arc::clone(&self.error)));
        response
    }
}
