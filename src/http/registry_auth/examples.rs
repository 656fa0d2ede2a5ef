//! Additions to the generated examples of this surface's document.

use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::error::Passing;
use crate::error::{Error, Field};
use crate::http::examples;

/// Adds the examples.
pub(in super::super) fn illustrate(document: &mut OpenApi) {
    examples::illustrate::<Passing>(document, "Registry", error, fit);
}

/// An error behind a status.
fn error(_: &str, status: &str) -> Option<Error> {
    Some(match status {
        "400" => Error::invalid(Field::Other("service"), "the parameter service is missing"),
        "401" => Error::Unauthenticated,
        "403" => Error::Forbidden(
            "the scopes of \"ci-pull\" do not grant \"push\" on repository \"team/app\"".to_owned(),
        ),
        "408" => Error::RequestTimeout,
        "413" => Error::TooLarge { limit: 256 * 1024 },
        "415" => Error::UnsupportedMediaType {
            sent: "the content type \"text/plain\"".to_owned(),
            supported: "application/x-www-form-urlencoded",
        },
        "429" => Error::RateLimited { retry_after: 1 },
        "500" => Error::internal("an example"),
        "503" => Error::busy(),
        _ => return None,
    })
}

/// Removes what an answer has only if the request asked for a refresh token or an exchange.
fn fit(_: &str, _: &str, example: &mut Value) {
    if let Value::Object(members) = example {
        let rare = ["refresh_token", "issued_token_type", "token_type"];
        members.retain(|name, _| !rare.contains(&name.as_str()));
    }
}
