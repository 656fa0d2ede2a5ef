//! The only place that names actix and utoipa: a folder per surface, and what the surfaces share.
//!
//! A handler has three steps: wire to command, one service call, domain to wire. Owns paths, headers, bodies and
//! statuses. Refuses to decide anything: no rule, no SQL and no clock here.

mod body;
mod budget;
mod call;
mod connection;
mod dialects;
mod document;
mod examples;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod links;
mod metrics;
mod objects;
mod onward;
mod openapi30;
mod operations;
mod pages;
mod pieces;
mod routes;
mod seats;
mod shown;
mod source;
mod surface;
mod unrouted;

mod quay;
pub mod registries;
mod registry_auth;
mod stackrox;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, middleware, web};

pub use self::budget::Budget;
pub use self::connection::{Bounds, Connection};
pub use self::document::{
    document, document_json, document_json_30, document_names, document_of, serve_at,
};
pub use self::guard::Origins;
pub use self::seats::{Seat, Seats};
use crate::bell::Bell;
use crate::clock::Random;
use crate::metrics::{Registry, Requests};
use crate::service::Service;

/// The prefix that clients of IONOS use beside the bare paths; `ionosctl` always puts it there.
pub const PREFIX: &str = "/containerregistries";

/// Where registries' clients get their tokens.
pub const TOKEN_PATH: &str = "/token";

/// The largest body read, in bytes.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// The limits of all request bodies together.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// The time in which a body has to arrive.
    pub timeout: Duration,
    /// The memory of all bodies.
    pub memory: Budget,
    /// The part of it for bodies that are read before their caller is known, and for long heads.
    pub unproven: Budget,
}

/// The memory that requests in flight may take.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Of bodies.
    pub bodies: Bodies,
    /// Of large answers.
    pub answers: Budget,
}

/// The memory of all large answers together.
#[derive(Debug)]
struct Answers {
    all: Budget,
    /// The part of it for lists without pages, which are as long as there are things.
    unpaged: Budget,
}

/// What every request can reach.
#[derive(Debug)]
pub struct State {
    service: Service,
    random: Arc<dyn Random>,
    origins: Origins,
    bodies: Bodies,
    answers: Answers,
    /// What answers a request that made an app token.
    quay_created: StatusCode,
    turned_away: guard::TurnedAway,
    requests: Requests,
    registry: Registry,
    /// Whether a monitor is told where all is served.
    monitored: bool,
    /// The `Allow` header of every path, by its pattern.
    methods: BTreeMap<String, String>,
    /// The OpenAPI documents as JSON, by their paths, once one was asked for: see [`State::documents`].
    documents: OnceLock<BTreeMap<String, Bytes>>,
}

impl State {
    /// `random` is where request ids come from, `quay_created` what answers a request that made an app token. `registry` has what is counted elsewhere than here; `monitored` says
    /// whether it is told to who has the monitor's token.
    #[must_use]
    pub fn new(
        service: Service,
        random: Arc<dyn Random>,
        origins: Origins,
        Memory { bodies, answers }: Memory,
        quay_created: StatusCode,
        mut registry: Registry,
        monitored: bool,
    ) -> Self {
        let mut methods = document::methods(&document());
        methods.extend(pages::METHODS.map(|(path, allow)| (path.to_owned(), allow.to_owned())));
        methods.extend(
            registry_auth::METHODS.map(|(path, allow)| (path.to_owned(), allow.to_owned())),
        );
        methods
            .extend(operations::METHODS.map(|(path, allow)| (path.to_owned(), allow.to_owned())));
        methods.extend(metrics::METHODS.map(|(path, allow)| (path.to_owned(), allow.to_owned())));
        for allow in methods
            .values_mut()
            .filter(|allow| allow.starts_with("GET") && !allow.contains("HEAD"))
        {
            *allow = allow.replacen("GET", guard::GET_AND_HEAD, 1);
        }
        let requests = metrics::requests(&methods);
        requests.register(&mut registry);
        service.metrics().register(&mut registry);
        Self {
            service,
            random,
            origins,
            bodies,
            answers: Answers {
                unpaged: answers.part(2),
                all: answers,
            },
            quay_created,
            turned_away: guard::TurnedAway::default(),
            requests,
            registry,
            monitored,
            methods,
            documents: OnceLock::new(),
        }
    }

    /// The `Allow` header of the path of a request, if the path is known.
    fn allowed(&self, request: &HttpRequest) -> Option<&String> {
        let pattern = request.match_pattern()?;
        let bare = pattern
            .strip_prefix(PREFIX)
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or(&pattern);
        self.methods.get(bare)
    }

    /// Made at the first call: most processes are not started for them.
    fn documents(&self) -> &BTreeMap<String, Bytes> {
        let public_url = self.origins.public_url.as_ref();
        self.documents.get_or_init(|| pages::documents(public_url))
    }
}

/// A worker goes on without a bell, if there is no room for another descriptor.
fn hang_bell(config: &mut web::ServiceConfig) {
    match Bell::hang() {
        Ok(bell) => drop(config.app_data(Rc::new(bell))),
        Err(error) => {
            tracing::warn!(%error, "a worker has no bell, and will be slower under overload");
        }
    }
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// All that is served; metrics to who has the monitor's token, if there is one.
    Service,
    /// Metrics, and nothing else.
    Metrics,
}

/// The whole application, as every worker builds it.
pub fn app(
    state: Data<State>,
    door: Door,
) -> App<
    impl actix_web::dev::ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse<impl actix_web::body::MessageBody>,
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
            // One after the other is tried, so what is asked for most often comes before patterns of the others.
            config
                .configure(operations::routes)
                .configure(registry_auth::routes)
                .configure(registries::routes)
                .service(web::scope(PREFIX).configure(registries::routes))
                .configure(stackrox::routes)
                .configure(quay::routes)
                .configure(pages::routes);
        }
    };
    App::new()
        .wrap(middleware::from_fn(guard::guard))
        // Outside of the guard, whose refusals are to look like all others.
        .wrap(middleware::from_fn(stackrox::dress))
        .wrap(middleware::from_fn(quay::dress))
        .wrap(middleware::from_fn(connection::accompany))
        .app_data(state)
        .configure(hang_bell)
        .configure(routes)
        .default_service(web::to(unrouted::unrouted))
}
