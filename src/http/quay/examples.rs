//! What examples of this surface's document cannot be made from alone.

use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::super::{BODY_LIMIT, examples};
use super::error::Quay;
use crate::error::{Error, Field, What};

/// Adds the examples.
pub(in super::super) fn illustrate(document: &mut OpenApi) {
    examples::illustrate::<Quay>(document, "Quay", error, fit);
}

/// An error behind a status.
fn error(path: &str, status: &str) -> Option<Error> {
    Some(match status {
        "400" => Error::invalid(Field::Other("title"), "'title' is a required property"),
        "401" => Error::Unauthenticated,
        // What the two of a session refuse has shapes of its own.
        "403" if path.starts_with("/api/v1/sign") => return None,
        "403" => Error::Forbidden(String::new()),
        "404" => Error::not_found(What::AppToken, ""),
        "408" => Error::RequestTimeout,
        "409" => Error::Full(
            "your account has 500 app tokens, and no more than 500 are allowed; \
             delete one that is not needed any more"
                .to_owned(),
        ),
        "413" => Error::TooLarge { limit: BODY_LIMIT },
        "415" => Error::UnsupportedMediaType {
            sent: String::new(),
            supported: "application/json",
        },
        "429" => Error::RateLimited { retry_after: 1 },
        "500" => Error::internal("an example"),
        "503" => Error::busy(),
        _ => return None,
    })
}

/// Codes are in no list.
fn fit(_: &str, _: &str, example: &mut Value) {
    if let Some(Value::Object(token)) = example.pointer_mut("/tokens/0") {
        token.remove("token_code");
    }
}
