//! The documents and their pages: `/openapi.json` for all surfaces, `/openapi/{name}.json` for one, the same in OpenAPI
//! 3.0 at `/openapi/3.0/{name}.json`, and Swagger UI at `/docs`.
//!
//! Swagger UI comes from files inside the program and contacts no other host, which a strict policy enforces. Links
//! cannot configure it, it stores no credentials, and it sends no document to a validator.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ContentEncoding, HeaderName,
    LOCATION, VARY,
};
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get, routes};
use serde_json::json;
use utoipa_swagger_ui::Config;

use super::dialect::{Answer, Failure};
use super::links;
use super::native::Native;
use super::state::State;
use super::surface::{Surface, Surfaces, WhileFrozen, routed};
use crate::domain::text::quoted;
use crate::error::{Error, What};

/// The documents and their pages.
pub(super) static SURFACE: Surface = Surface {
    name: "documents",
    owns: |path| {
        let first = path.split('/').nth(1).unwrap_or_default();
        path == "/" || matches!(first, "docs" | "openapi" | "openapi.json")
    },
    failure: |_, error| Failure::<Native>::from(error).into(),
    routes,
    unlisted: &[
        ("/", "GET"),
        ("/openapi.json", "GET"),
        ("/openapi/{name}.json", "GET"),
        ("/openapi/3.0/{name}.json", "GET"),
        ("/docs", "GET"),
        ("/docs/{_:.*}", "GET"),
    ],
    any_method: &[],
    changes_by_get: &[],
    dress: None,
    while_frozen: WhileFrozen::All,
    queues: true,
    challenges_scripts: false,
    document: None,
};

/// Content from this origin only, and no frames. Swagger UI sets inline styles and uses `data:` URLs for its icons.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
/// The files are public, and change with the version of this program.
const REVALIDATED: &str = "no-cache";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

fn routes(config: &mut ServiceConfig) {
    let headers = DefaultHeaders::new()
        .add((CONTENT_SECURITY_POLICY, POLICY))
        .add((CACHE_CONTROL, REVALIDATED))
        .add((OPENER_POLICY, "same-origin"));
    config
        .service(root)
        .service(openapi)
        .service(docs)
        .service(web::scope("/docs").wrap(headers).service(file));
}

fn configuration(surfaces: &Surfaces) -> Config<'static> {
    // Relative, so that it works behind a proxy that adds a prefix.
    let whole = utoipa_swagger_ui::Url::new("All of Wharfinger", "../openapi.json");
    let documents = surfaces
        .documented()
        .into_iter()
        .map(|(_, own)| utoipa_swagger_ui::Url::new(own.title, own.url));
    // The standalone layout (the default) has the list of documents.
    Config::new(std::iter::once(whole).chain(documents))
        .query_config_enabled(false)
        .validator_url("none")
        .persist_authorization(false)
        .deep_linking(true)
        .display_request_duration(true)
        .try_it_out_enabled(true)
}

/// Our own files of the page. They replace those of Swagger UI with the same name.
const OWN: [(&str, &str, &str); 3] = [
    (
        "index.html",
        "text/html; charset=utf-8",
        include_str!("pages/index.html"),
    ),
    (
        "page.css",
        "text/css; charset=utf-8",
        include_str!("pages/page.css"),
    ),
    (
        "page.js",
        "text/javascript; charset=utf-8",
        include_str!("pages/page.js"),
    ),
];

/// A file of Swagger UI, served without a copy: the library's own handler copies it for each request.
#[get("/{_:.*}")]
async fn file(request: HttpRequest, state: Data<State>) -> Answer<Native> {
    let name = match request.match_info().query("_") {
        "" => "index.html",
        name => name,
    };
    if let Some((_, content_type, text)) = OWN.iter().find(|(own, ..)| *own == name) {
        return Ok(HttpResponse::Ok().content_type(*content_type).body(*text));
    }
    let found = utoipa_swagger_ui::serve(name, Arc::new(configuration(state.served.surfaces)))
        .map_err(|error| Error::internal(error.to_string()))?
        .ok_or_else(|| Error::not_found(What::Path, quoted(request.path())))?;
    let mut answer = HttpResponse::Ok();
    answer.content_type(found.content_type);
    if found.gzpipped {
        answer.insert_header(ContentEncoding::Gzip);
    }
    Ok(answer.body(match found.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }))
}

/// A document, generated at the first request for one.
#[routes]
#[get("/openapi.json")]
#[get("/openapi/{name}.json")]
#[get("/openapi/3.0/{name}.json")]
async fn openapi(request: HttpRequest, state: Data<State>) -> Answer<Native> {
    let path = routed(&request);
    let document = state.documents().get(path);
    let document = document.ok_or_else(|| Error::not_found(What::Path, quoted(path)))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CACHE_CONTROL, REVALIDATED))
        .body(document.clone()))
}

/// Redirects people to the page, and gives programs the addresses of the documents.
#[get("/")]
async fn root(request: HttpRequest) -> HttpResponse {
    let base = links::origin(&request).unwrap_or_default();
    let accepted = request
        .headers()
        .get(ACCEPT)
        .and_then(|types| types.to_str().ok());
    if accepted.is_some_and(|types| types.contains("text/html")) {
        return HttpResponse::Found()
            .insert_header((LOCATION, format!("{base}/docs/")))
            .insert_header((VARY, "Accept"))
            .finish();
    }
    HttpResponse::Ok()
        .insert_header((VARY, "Accept"))
        .json(json!({
            "name": "Wharfinger",
            "documentation": format!("{base}/docs/"),
            "openapi": format!("{base}/openapi.json"),
        }))
}

/// Redirects to the path with a slash, without which the page's relative links would fail.
#[get("/docs")]
async fn docs() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header(("Location", "docs/"))
        .finish()
}
