//! Examples of this surface's document.

use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::super::examples;
use super::error::StackRox;

/// Adds the examples.
pub(in super::super) fn illustrate(document: &mut OpenApi) {
    // The one error that every operation has is an example of itself.
    examples::illustrate::<StackRox>(document, "V1", |_, _| None, fit);
}

/// An empty object has no members to make an example of.
fn fit(_: &str, _: &str, example: &mut Value) {
    if example.is_null() {
        *example = Value::Object(serde_json::Map::new());
    }
}
