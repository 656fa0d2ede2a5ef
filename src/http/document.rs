//! The OpenAPI documents, generated from the routes: one for each surface, and one for all of them.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::App;
use serde_json::Value;
use url::Url;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa_actix_web::AppExt as _;

use super::surface::{Document, Surfaces};
use super::{examples, onward, openapi30};

/// The document of all surfaces, from the same routes that serve them.
#[must_use]
pub(super) fn whole(surfaces: &Surfaces) -> OpenApi {
    let mut document = preface();
    // If a path names a server, generated clients ignore the host of their own configuration and send credentials
    // there (openapi-generator 7.26, in Python and PHP). So only the top level names servers, and the whole document
    // has none with a prefix, which only some of its paths have.
    let servers = document.servers.take();
    for (_, own) in surfaces.documented() {
        document.merge(written(own));
    }
    document.servers = servers;
    offer_basic_and_bearer_alone(&mut document);
    document
}

/// Removes all security schemes but two. Swagger UI shows this document first, with a form for each scheme, and the
/// others are Bearer under another name. The documents of their surfaces keep them.
fn offer_basic_and_bearer_alone(document: &mut OpenApi) {
    let components = document.components.get_or_insert_with(Default::default);
    let schemes = &mut components.security_schemes;
    schemes.retain(|name, _| matches!(name.as_str(), "basicAuth" | "bearerAuth"));
    let items = document.paths.paths.values_mut();
    for demands in items
        .flat_map(examples::operations)
        .filter_map(|operation| operation.security.as_mut())
    {
        for demand in demands
            .iter_mut()
            .filter(|demand| names(demand) == ["scannerAuth"])
        {
            *demand = SecurityRequirement::new("bearerAuth", [] as [&str; 0]);
        }
        demands.retain(|demand| !names(demand).iter().any(|name| name == "oauth2_implicit"));
    }
}

/// A document with the paths of a surface.
fn with_paths(document: OpenApi, own: &Document) -> OpenApi {
    App::new()
        .into_utoipa_app()
        .openapi(document)
        .configure(own.routes)
        .split_for_parts()
        .1
}

/// A surface's part of the document of all surfaces.
fn written(own: &Document) -> OpenApi {
    let mut document = with_paths((own.base)(), own);
    (own.illustrate)(&mut document);
    onward::link(&mut document);
    document
}

/// The document of one surface, with the parts of the preface that it needs.
pub(super) fn alone(own: &Document) -> OpenApi {
    let preface = preface();
    let mut document = written(own);
    document.info = preface.info;
    document.info.title = format!("{}: {}", document.info.title, own.title);
    document.info.description = Some(own.description.to_owned());
    document.servers = document.servers.or(preface.servers);
    let operations = document.paths.paths.values().flat_map(operations);
    let mut demands = Vec::new();
    for (_, operation) in operations {
        match &operation.security {
            Some(own) => demands.extend(own),
            None => document.security.clone_from(&preface.security),
        }
    }
    let used: BTreeSet<_> = demands
        .into_iter()
        .chain(document.security.iter().flatten())
        .flat_map(names)
        .collect();
    let components = document.components.get_or_insert_with(Default::default);
    let known = preface.components.unwrap_or_default().security_schemes;
    components.security_schemes.extend(known);
    components
        .security_schemes
        .retain(|name, _| used.contains(name));
    document
}

const BASIC_AUTH: &str = "The name and the password of an account. The first start of the service prints those of the first account, `admin`.";

/// An addition of ours: the product has no such tokens.
const BEARER_AUTH: &str = "An API token, as `POST /v1/apitokens/generate` gives it. It acts as the account that made it, within the token's roles. `POST /secret-scanning/report` takes the token of the setting `--secret-scanning-token` instead.";

const SCANNER_AUTH: &str = "The token of the setting `--secret-scanning-token`. It opens nothing else, and nothing else opens what it does.";

/// The common part of the documents: title, contact, server and security schemes.
fn preface() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(
            title = "Wharfinger",
            description = "Manages container registries and the tokens that open them. \
                           The API of IONOS Container Registry, self-hosted. Ids in examples are made up; the lists have \
                           the real ones.",
            contact(name = "The operator of this server"),
        ),
        servers((url = "/", description = "This server")),
        security(("basicAuth" = []), ("bearerAuth" = [])),
    )]
    struct Preface;

    let mut document = Preface::openapi();
    let mut basic = Http::new(HttpAuthScheme::Basic);
    basic.description = Some(BASIC_AUTH.to_owned());
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.bearer_format = Some("JWT".to_owned());
    bearer.description = Some(BEARER_AUTH.to_owned());
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("basicAuth", SecurityScheme::Http(basic));
    components.add_security_scheme("bearerAuth", SecurityScheme::Http(bearer));
    let mut scanner = Http::new(HttpAuthScheme::Bearer);
    scanner.description = Some(SCANNER_AUTH.to_owned());
    components.add_security_scheme("scannerAuth", SecurityScheme::Http(scanner));
    document
}

/// The names of the security schemes of a requirement, which utoipa exposes only as JSON.
fn names(requirement: &SecurityRequirement) -> Vec<String> {
    match serde_json::to_value(requirement) {
        Ok(Value::Object(demands)) => demands.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    }
}

/// A document as it is served and committed: indented JSON with a line end.
#[must_use]
pub fn document_json(document: &OpenApi) -> String {
    // Serialising a document from static parts cannot fail; an empty document would fail its test.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The same in OpenAPI 3.0.
#[must_use]
pub fn document_json_30(document: &OpenApi) -> String {
    let mut value = serde_json::to_value(document).unwrap_or_default();
    openapi30::convert(&mut value);
    format!("{value:#}\n")
}

/// Sets the servers of a document, below the public URL of the settings.
pub fn serve_at(document: &mut OpenApi, public_url: &Url) {
    let base = public_url.as_str().trim_end_matches('/');
    for server in document.servers.iter_mut().flatten() {
        server.url = format!("{base}{}", server.url.trim_end_matches('/'));
    }
}

/// The `Allow` header of every documented path. Every process needs them, and few need the descriptions
/// and examples of a whole document.
pub(super) fn methods(surfaces: &Surfaces) -> BTreeMap<String, String> {
    let documented = surfaces.documented().into_iter();
    let paths = documented.flat_map(|(_, own)| with_paths(preface(), own).paths.paths);
    paths.map(|(path, item)| (path, allow(&item))).collect()
}

fn allow(item: &PathItem) -> String {
    let methods: Vec<_> = operations(item).map(|(method, _)| method).collect();
    methods.join(", ")
}

/// The operations of a path, with their methods.
fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    let methods = [
        ("GET", &item.get),
        ("HEAD", &item.head),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    methods
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}
