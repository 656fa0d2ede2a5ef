//! Examples of this surface's document.

use serde_json::Value;
use utoipa::openapi::{OpenApi, Server};

use super::super::examples;
use super::error::StackRox;

/// Adds the examples, and that these paths have no prefix.
pub(in super::super) fn illustrate(document: &mut OpenApi) {
    // The one error that every operation has is an example of itself.
    examples::illustrate::<StackRox>(document, "V1", |_, _| None, fit);
    for item in document.paths.paths.values_mut() {
        item.servers = Some(vec![Server::new("/")]);
    }
}

/// An empty object has no members to make an example of.
fn fit(_: &str, _: &str, example: &mut Value) {
    if example.is_null() {
        *example = Value::Object(serde_json::Map::new());
    }
}
