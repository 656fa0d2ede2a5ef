//! HTTP: a folder for each surface, and the parts that surfaces share. Only this module uses utoipa.
//!
//! A handler has three steps: wire to command, one service call, domain to wire. It owns paths, headers, bodies and
//! statuses. It has no rules, no SQL and no clock.

mod body;
mod budget;
mod call;
mod connection;
mod cookie;
mod dialect;
mod document;
mod examples;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod links;
mod metrics;
mod native;
mod objects;
mod onward;
mod openapi30;
mod operations;
mod pages;
mod pieces;
mod progress;
mod responses;
mod routes;
mod schema;
mod seats;
mod shown;
mod source;
mod state;
mod surface;
mod surfaces;
mod turned_away;
mod unrouted;

mod quay;
mod registries;
mod registry_auth;
mod stackrox;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::web::{Bytes, Data};
use actix_web::{App, middleware, web};
use url::Url;
use utoipa::openapi::OpenApi;

pub use self::body::BODY_LIMIT;
pub use self::budget::Budget;
pub use self::connection::{Bounds, Connection};
pub use self::document::{document_json, document_json_30, serve_at};
pub use self::native::Code;
pub use self::seats::{Seat, Seats};
pub use self::state::{Bodies, Door, Memory, Origins, Settings, State};
pub use self::surface::{PREFIX, TOKEN_PATH};

use self::state::Served;
use self::surfaces::SURFACES;
use crate::clock::Random;
use crate::metrics::Registry;
use crate::service::Service;
use crate::waker::CrossThreadWaker;

/// The document of all surfaces, from the same routes that serve them.
#[must_use]
pub fn document() -> OpenApi {
    document::whole(&SURFACES)
}

/// The names of the documents of single surfaces.
pub fn document_names() -> impl Iterator<Item = &'static str> {
    SURFACES.documented().into_iter().map(|(name, _)| name)
}

/// The document of the surface with this name, if there is one. It is complete by itself.
#[must_use]
pub fn document_of(name: &str) -> Option<OpenApi> {
    let documented = SURFACES.documented();
    let (_, own) = documented.into_iter().find(|(own, _)| *own == name)?;
    Some(document::alone(own))
}

/// The documents as they are served, by path.
fn documents(public_url: Option<&Url>) -> BTreeMap<String, Bytes> {
    let documented = SURFACES.documented().into_iter();
    let alone = documented.map(|(name, own)| (name, document::alone(own)));
    let mut served = BTreeMap::new();
    for (name, mut document) in alone.chain([("wharfinger", document())]) {
        if let Some(url) = public_url {
            serve_at(&mut document, url);
        }
        let path = match name {
            "wharfinger" => "/openapi.json".to_owned(),
            name => format!("/openapi/{name}.json"),
        };
        served.insert(path, document_json(&document).into());
        let older = document_json_30(&document);
        served.insert(format!("/openapi/3.0/{name}.json"), older.into());
    }
    served
}

/// The state of the whole application. `random` makes request ids, and `registry` has the metrics of other parts.
#[must_use]
pub fn state(
    service: Service,
    random: Arc<dyn Random>,
    settings: Settings,
    mut registry: Registry,
) -> State {
    let mut methods = document::methods(&SURFACES);
    let unlisted = SURFACES.all.iter().flat_map(|surface| surface.unlisted);
    methods.extend(unlisted.map(|(path, allow)| ((*path).to_owned(), (*allow).to_owned())));
    let changing = |path: &String| {
        let mut surfaces = SURFACES.all.iter();
        surfaces.any(|surface| surface.changes_by_get.contains(&path.as_str()))
    };
    for (_, allow) in methods.iter_mut().filter(|(path, allow)| {
        allow.starts_with("GET") && !allow.contains("HEAD") && !changing(path)
    }) {
        *allow = allow.replacen("GET", guard::GET_AND_HEAD, 1);
    }
    let requests = metrics::requests(&SURFACES, &methods);
    requests.register(&mut registry);
    service.metrics().register(&mut registry);
    let served = Served {
        surfaces: &SURFACES,
        methods,
        requests,
        make_documents: documents,
    };
    State::new(service, random, settings, registry, served)
}

/// Gives a worker its waker, or none if no descriptor is free.
fn add_waker(config: &mut web::ServiceConfig) {
    match CrossThreadWaker::new() {
        Ok(waker) => drop(config.app_data(Rc::new(waker))),
        Err(error) => {
            tracing::warn!(
                %error,
                "a worker runs without its own waker and will be slower under overload; raise the limit of open files \
                 and restart"
            );
        }
    }
}

/// The whole application, as every worker builds it.
pub fn app(
    state: Data<State>,
    door: Door,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl actix_web::body::MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let monitored = state.monitored;
    let routes = move |config: &mut web::ServiceConfig| match door {
        Door::Metrics => metrics::open(config),
        Door::Service => {
            if monitored {
                config.configure(metrics::guarded);
            }
            for surface in SURFACES.all {
                config.configure(surface.routes);
            }
        }
    };
    App::new()
        .wrap(middleware::from_fn(guard::guard))
        // Outside of the guard, so that its refusals look like all others.
        .wrap(middleware::from_fn(dress))
        .wrap(middleware::from_fn(progress::accompany))
        .app_data(state)
        .app_data(door)
        .configure(add_waker)
        .configure(routes)
        .default_service(web::to(unrouted::unrouted))
}

/// Gives an answer the headers and the form of its surface.
async fn dress(
    request: ServiceRequest,
    next: middleware::Next<actix_web::body::BoxBody>,
) -> Result<ServiceResponse, actix_web::Error> {
    let surface = SURFACES.of(surface::routed(request.request()));
    match surface.dress {
        Some(dress) => dress(request, next).await,
        None => next.call(request).await,
    }
}
