//! `/metrics`, for the operator's monitor.
//!
//! The main address serves it with the token of `--metrics-token`, and `--metrics-listen` without authentication.
//! Without either setting the path does not exist.

use std::collections::BTreeMap;

use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get};
use serde_json::Value;

use super::call::{bearer, origin};
use super::dialect::{Answer, Dialect};
use super::native::{Native, said};
use super::state::State;
use super::surface::{PREFIX, Surface, Surfaces, routed};
use crate::error::Error;
use crate::metrics::{self, Requests, Route, Watch};

/// The dialect of requests by the monitor: a 401 offers only its token.
#[derive(Debug)]
pub(super) struct Monitoring;

impl Dialect for Monitoring {
    const CHALLENGES: &'static [&'static str] = &[r#"Bearer realm="wharfinger""#];

    fn status(error: &Error) -> StatusCode {
        Native::status(error)
    }

    fn body(error: &Error) -> Value {
        match error {
            Error::Unauthenticated => said(
                error,
                "the credentials are missing or wrong; send the token of --metrics-token as Bearer"
                    .to_owned(),
            ),
            other => Native::body(other),
        }
    }
}

/// Adds the path with authentication by token.
pub(super) fn guarded(config: &mut ServiceConfig) {
    config.service(for_monitor);
}

/// Adds the path without authentication.
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

/// The counters of requests by the routes of an application, with their methods.
pub(super) fn requests(surfaces: &Surfaces, methods: &BTreeMap<String, String>) -> Requests {
    let listed = methods.iter().map(|(pattern, methods)| Route {
        surface: surfaces.of(pattern).name,
        pattern,
        methods,
    });
    let any_method = surfaces.all.iter().flat_map(|surface| {
        surface.any_method.iter().map(|pattern| Route {
            surface: surface.name,
            pattern,
            methods: "",
        })
    });
    let names: Vec<_> = surfaces.all.iter().map(|surface| surface.name).collect();
    Requests::new(&names, listed.chain(any_method))
}

/// Counts a request that was answered by a surface.
pub(super) fn count(
    watch: &Watch,
    surface: &Surface,
    method: &Method,
    request: &HttpRequest,
    status: StatusCode,
) {
    let path = routed(request);
    let bare = path.strip_prefix(PREFIX);
    watch.answered(surface.name, path, bare, method.as_str(), status.as_u16());
}
