//! Errors in the form of StackRox's gateway: a gRPC code, its HTTP status, and StackRox's messages.

use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::wire::Status;
use crate::error::{Error, Field, Reach};
use crate::http::dialect::Dialect;

/// The dialect of this surface.
#[derive(Debug)]
pub(in super::super) struct StackRox;

impl Dialect for StackRox {
    /// None here: `dress` adds the challenge of a 401, which is its message and depends on the request.
    const CHALLENGES: &'static [&'static str] = &[];

    fn status(error: &Error) -> StatusCode {
        code(error).status()
    }

    fn body(error: &Error) -> Value {
        body(code(error), message(error))
    }
}

/// The dialect of revoking a token, where StackRox answers an unknown id with an unclassified error.
#[derive(Debug)]
pub(in super::super) struct Revocation;

impl Dialect for Revocation {
    const CHALLENGES: &'static [&'static str] = StackRox::CHALLENGES;

    fn status(error: &Error) -> StatusCode {
        match error {
            Error::NotFound { .. } => Code::Internal.status(),
            other => StackRox::status(other),
        }
    }

    fn body(error: &Error) -> Value {
        match error {
            Error::NotFound { which, .. } => body(Code::Internal, no_token(which)),
            other => StackRox::body(other),
        }
    }
}

/// The gRPC codes that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// The HTTP status that grpc-gateway maps it to.
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition => StatusCode::BAD_REQUEST,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The body of an error.
pub(super) fn body(code: Code, message: String) -> Value {
    json!(Status {
        code: code as i32,
        error: message.clone(),
        message,
        details: Vec::new(),
    })
}

fn code(error: &Error) -> Code {
    use crate::error::What;
    match error {
        Error::Unauthenticated | Error::NoRole | Error::StaleLogin => Code::Unauthenticated,
        Error::CsrfToken
        | Error::ForeignOrigin
        | Error::Forbidden(_)
        | Error::Unpermitted(_)
        | Error::Excessive(_) => Code::PermissionDenied,
        // StackRox has no 404 for ids.
        Error::NotFound {
            what: What::ApiToken,
            ..
        }
        | Error::Invalid(_)
        | Error::UnsupportedMediaType { .. }
        | Error::TooLarge { .. } => Code::InvalidArgument,
        Error::NotFound { .. } | Error::Elsewhere { .. } => Code::NotFound,
        Error::NameTaken { .. } => Code::AlreadyExists,
        // Not ResourceExhausted: clients retry after its 429, which does not help here.
        Error::Unsuited(_)
        | Error::Precondition(_)
        | Error::KeyReused
        | Error::Outdated(_)
        | Error::Full(_) => Code::FailedPrecondition,
        Error::MethodNotAllowed { .. } => Code::Unimplemented,
        Error::RequestTimeout => Code::DeadlineExceeded,
        Error::RateLimited { .. } | Error::TooManyChanges { .. } => Code::ResourceExhausted,
        Error::Unavailable { .. } | Error::Frozen => Code::Unavailable,
        Error::Internal(_) => Code::Internal,
    }
}

/// StackRox's message if it has one, or else our own.
fn message(error: &Error) -> String {
    use crate::error::What;
    match error {
        Error::Unauthenticated => "credentials not found".to_owned(),
        Error::NoRole => "access for this user is not authorized: no valid role, please contact your system administrator".to_owned(),
        Error::ForeignOrigin | Error::Forbidden(_) => format!("not authorized: {error}"),
        Error::Unpermitted(lack) => format!(
            "not authorized: \"{}\" for \"{}\"",
            access(lack.needed),
            lack.resource
        ),
        // In the form of a go-multierror list, with an order of its own.
        Error::Excessive(lacks) => {
            let points: Vec<_> = lacks
                .iter()
                .map(|lack| {
                    format!(
                        "* resource={}, access scope=\"Unrestricted\": requested access is {}, when user access is {}",
                        lack.resource,
                        access(lack.needed),
                        access(lack.held)
                    )
                })
                .collect();
            let plural = if points.len() == 1 { "error" } else { "errors" };
            format!(
                "not authorized: {} {plural} occurred:\n\t{}\n\n",
                points.len(),
                points.join("\n\t")
            )
        }
        Error::NotFound {
            what: What::ApiToken,
            which,
            ..
        } => format!("{}: invalid arguments", no_token(which)),
        Error::NotFound { .. } => "Not Found".to_owned(),
        Error::MethodNotAllowed { .. } => "Method Not Allowed".to_owned(),
        // StackRox adds `invalid arguments` to most errors, but not to decoding errors of its gateway and to a past
        // expiration.
        Error::Invalid(violations) if violations.iter().any(|violation| !is_bare(violation.field)) => {
            format!("{error}: invalid arguments")
        }
        other => other.to_string(),
    }
}

fn is_bare(field: Field) -> bool {
    matches!(
        field,
        Field::Body | Field::Query | Field::Other("expiration")
    )
}

fn no_token(id: &str) -> String {
    format!("token with id '{id}' does not exist")
}

/// StackRox's name for a level of permission.
pub(super) fn access(reach: Reach) -> &'static str {
    match reach {
        Reach::Nothing => "NO_ACCESS",
        Reach::Read => "READ_ACCESS",
        Reach::Write => "READ_WRITE_ACCESS",
    }
}
