//! Examples of this surface's document.

use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::error::StackRox;
use crate::http::examples;

/// Adds the examples.
pub(in super::super) fn illustrate(document: &mut OpenApi) {
    // The error that all operations share has an example of its own.
    examples::illustrate::<StackRox>(document, "V1", |_, _| None, fit);
}

/// Sets the example of an empty object, which has no members.
fn fit(_: &str, _: &str, example: &mut Value) {
    if example.is_null() {
        *example = Value::Object(serde_json::Map::new());
    }
}
