//! The document and its pages: `/openapi.json`, and Swagger UI at `/docs`.
//!
//! Swagger UI comes from files inside the program: it asks no other host for anything, and a strict policy keeps it
//! from doing so. A link cannot configure it, it keeps no credentials, and it sends the document to no validator.

use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Data};
use actix_web::{HttpResponse, route};
use utoipa_actix_web::service_config::ServiceConfig;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::State;

/// The methods of these paths, which no document lists.
pub(super) const METHODS: [(&str, &str); 3] = [
    ("/openapi.json", "GET, HEAD"),
    ("/docs", "GET, HEAD"),
    ("/docs/{_:.*}", "GET"),
];

/// Everything from this origin, nothing in frames. Swagger UI sets styles of its own on elements, and draws its
/// icons from `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.map(|config| {
        let headers = DefaultHeaders::new()
            .add((CONTENT_SECURITY_POLICY, POLICY))
            .add((X_FRAME_OPTIONS, "DENY"))
            .add((REFERRER_POLICY, "no-referrer"))
            .add((OPENER_POLICY, "same-origin"));
        config
            .service(openapi)
            .service(docs)
            .service(web::scope("/docs").wrap(headers).service(swagger_ui()))
    });
}

fn swagger_ui() -> SwaggerUi {
    // Relative, so that it works behind a proxy that adds a prefix.
    let config = Config::from("../openapi.json")
        .query_config_enabled(false)
        .validator_url("none")
        .persist_authorization(false)
        .deep_linking(true)
        .display_request_duration(true)
        .try_it_out_enabled(true)
        .use_base_layout();
    SwaggerUi::new("/{_:.*}").config(config)
}

/// The document, as it was generated when this process started.
#[route("/openapi.json", method = "GET", method = "HEAD")]
async fn openapi(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(state.document.clone())
}

/// Without the slash the page's own relative links would lead astray.
#[route("/docs", method = "GET", method = "HEAD")]
async fn docs() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header(("Location", "docs/"))
        .finish()
}
