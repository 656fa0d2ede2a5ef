//! Additions to the generated examples of this surface's document.

use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::error::{Quay, SignIn};
use crate::error::{Error, Field, What};
use crate::http::body::BODY_LIMIT;
use crate::http::dialect::Dialect as _;
use crate::http::examples;

const SIGN_IN: &str = "/api/v1/signin";

/// Adds the examples.
pub(in super::super) fn illustrate(document: &mut OpenApi) {
    examples::illustrate::<Quay>(document, "Quay", error, fit);
}

/// An error behind a status.
fn error(path: &str, status: &str) -> Option<Error> {
    Some(match status {
        "400" => Error::invalid(Field::Other("title"), "'title' is a required property"),
        "401" => Error::Unauthenticated,
        // `fit` makes it in the sign-in's own dialect.
        "403" if path == SIGN_IN => return None,
        "403" if path == "/api/v1/signout" => Error::CsrfToken,
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

/// Removes codes from lists, and sets the refusal of a sign-in.
fn fit(path: &str, status: &str, example: &mut Value) {
    if (path, status) == (SIGN_IN, "403") {
        *example = SignIn::body(&Error::Unauthenticated);
    }
    if let Some(Value::Object(token)) = example.pointer_mut("/tokens/0") {
        token.remove("token_code");
    }
}
