//! The OpenAPI document, generated from the routes.

use std::collections::BTreeMap;

use actix_web::App;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::PathItem;
use utoipa_actix_web::AppExt as _;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{quay, registries, registry_auth, stackrox};

/// The document of all surfaces, from the same routes that serve them.
#[must_use]
pub fn document() -> OpenApi {
    let mut document = surface(registries::base(), registries::routes);
    registries::illustrate(&mut document);
    let mut access = surface(registry_auth::base(), registry_auth::routes);
    registry_auth::illustrate(&mut access);
    document.merge(access);
    let mut api_tokens = surface(stackrox::base(), stackrox::routes);
    stackrox::illustrate(&mut api_tokens);
    document.merge(api_tokens);
    let mut of_quay = surface(quay::base(), quay::routes);
    quay::illustrate(&mut of_quay);
    document.merge(of_quay);
    document
}

fn surface(base: OpenApi, routes: fn(&mut ServiceConfig<'_>)) -> OpenApi {
    App::new()
        .into_utoipa_app()
        .openapi(base)
        .configure(routes)
        .split_for_parts()
        .1
}

/// A document as it is served and committed: JSON for people to read, with a line end.
#[must_use]
pub fn document_json(document: &OpenApi) -> String {
    // Serialising what utoipa built from static parts cannot fail; an empty document would fail its test.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The `Allow` header of every path of a document.
pub(super) fn methods(document: &OpenApi) -> BTreeMap<String, String> {
    document
        .paths
        .paths
        .iter()
        .map(|(path, item)| (path.clone(), allow(item)))
        .collect()
}

fn allow(item: &PathItem) -> String {
    let methods = [
        ("GET", &item.get),
        ("HEAD", &item.head),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    let present: Vec<_> = methods
        .into_iter()
        .filter(|(_, operation)| operation.is_some())
        .map(|(method, _)| method)
        .collect();
    present.join(", ")
}
