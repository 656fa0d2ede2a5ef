//! `/metrics`: what the program counts, for the operator's monitor.
//!
//! Served where all is served to who has the token of `--metrics-token`, and at `--metrics-listen` to everybody. Without
//! either there is no such path.

use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get};
use serde_json::Value;

use super::State;
use super::call::{bearer, origin};
use super::registries::{self, Registries, said};
use super::surface::{Answer, Surface};
use super::{PREFIX, dialects, registry_auth};
use crate::error::Error;
use crate::metrics::{self, Requests, Route, Watch};

/// The methods of this path, which no document lists.
pub(super) const METHODS: [(&str, &str); 1] = [("/metrics", "GET")];

/// The dialect of what a monitor alone may ask: it is offered no other way in.
#[derive(Debug)]
pub(super) struct Monitoring;

impl Surface for Monitoring {
    const CHALLENGES: &'static [&'static str] = &[r#"Bearer realm="wharfinger""#];

    fn status(error: &Error) -> StatusCode {
        Registries::status(error)
    }

    fn body(error: &Error) -> Value {
        match error {
            Error::Unauthenticated => said(
                error,
                "the credentials are missing or wrong; send the token of --metrics-token as Bearer"
                    .to_owned(),
            ),
            other => Registries::body(other),
        }
    }
}

/// The path for who has the token.
pub(super) fn guarded(config: &mut ServiceConfig) {
    config.service(for_monitor);
}

/// The path for everybody.
pub(super) fn open(config: &mut ServiceConfig) {
    config.service(for_all);
}

#[get("/metrics")]
async fn for_monitor(request: HttpRequest, state: Data<State>) -> Answer<Monitoring> {
    let metrics = state.service.metrics();
    metrics.admit(bearer(&request).as_ref(), origin(&request))?;
    Ok(told(&state))
}

#[get("/metrics")]
async fn for_all(state: Data<State>) -> HttpResponse {
    told(&state)
}

fn told(state: &State) -> HttpResponse {
    state.service.metrics().sample();
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE))
        .body(state.registry.text())
}

/// Counts requests by the routes of an application, with their methods.
pub(super) fn requests<'a>(
    methods: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Requests {
    let listed = methods.into_iter().map(|(pattern, methods)| Route {
        surface: dialects::surface(pattern),
        pattern,
        methods,
    });
    // Proxies pass on whatever method they got.
    let whatever = [registry_auth::PASSING]
        .into_iter()
        .chain(registries::ELSEWHERE);
    let unlisted = whatever.map(|pattern| Route {
        surface: dialects::surface(pattern),
        pattern,
        methods: "",
    });
    Requests::new(&dialects::SURFACES, listed.chain(unlisted))
}

/// Counts a request that was answered.
pub(super) fn count(watch: &Watch, method: &Method, request: &HttpRequest, status: StatusCode) {
    let path = dialects::routed(request);
    let bare = path.strip_prefix(PREFIX);
    let surface = dialects::surface(path);
    watch.answered(surface, path, bare, method.as_str(), status.as_u16());
}
