//! All that every request can reach.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use ipnet::IpNet;
use url::Url;

use super::budget::Budget;
use super::surface::{PREFIX, Surface, Surfaces};
use super::turned_away::TurnedAway;
use crate::clock::Random;
use crate::error::{Error, Result};
use crate::metrics::{Registry, Requests};
use crate::service::Service;

/// Where this service is reached, which is from where browsers may write, and through whom.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// The URL of the settings, which links are made with.
    pub public_url: Option<Url>,
    /// Who is believed where requests come from.
    pub proxies: Vec<IpNet>,
    /// Whether this process itself speaks TLS.
    pub tls: bool,
}

impl Origins {
    /// May browsers be told to come by https alone?
    pub(super) fn https(&self) -> bool {
        let public = self.public_url.as_ref();
        self.tls || public.is_some_and(|url| url.scheme() == "https")
    }
}

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
pub(super) struct Answers {
    pub(super) all: Budget,
    /// The part of it for lists without pages, which are as long as there are things.
    pub(super) unpaged: Budget,
}

/// Makes the OpenAPI documents for a public URL, as JSON by their paths.
type MakeDocuments = fn(Option<&Url>) -> BTreeMap<String, Bytes>;

/// All that is served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) surfaces: &'static Surfaces,
    /// The `Allow` header of every path, by its pattern.
    pub(super) methods: BTreeMap<String, String>,
    pub(super) requests: Requests,
    pub(super) make_documents: MakeDocuments,
}

/// The settings of an application.
#[derive(Debug)]
pub struct Settings {
    /// The addresses that it is reached at.
    pub origins: Origins,
    /// The memory of requests in flight.
    pub memory: Memory,
    /// The status of an answer to a request that made an app token.
    pub quay_created: StatusCode,
    /// Does the monitor's token show metrics where all is served?
    pub monitored: bool,
}

/// All that every request can reach.
#[derive(Debug)]
pub struct State {
    pub(super) service: Service,
    pub(super) random: Arc<dyn Random>,
    pub(super) origins: Origins,
    pub(super) bodies: Bodies,
    pub(super) answers: Answers,
    /// What answers a request that made an app token.
    pub(super) quay_created: StatusCode,
    pub(super) turned_away: TurnedAway,
    pub(super) registry: Registry,
    /// Whether a monitor is told where all is served.
    pub(super) monitored: bool,
    pub(super) served: Served,
    /// See [`State::documents`].
    documents: OnceLock<BTreeMap<String, Bytes>>,
}

impl State {
    /// The state of an application. `random` makes request ids, and `registry` has the counts of others.
    pub(super) fn new(
        service: Service,
        random: Arc<dyn Random>,
        settings: Settings,
        registry: Registry,
        served: Served,
    ) -> Self {
        let answers = settings.memory.answers;
        Self {
            service,
            random,
            origins: settings.origins,
            bodies: settings.memory.bodies,
            answers: Answers {
                unpaged: answers.part(2),
                all: answers,
            },
            quay_created: settings.quay_created,
            turned_away: TurnedAway::default(),
            registry,
            monitored: settings.monitored,
            served,
            documents: OnceLock::new(),
        }
    }

    /// The state of the application that a request belongs to.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] without one, which is a defect.
    pub(super) fn of(request: &HttpRequest) -> Result<&Data<Self>> {
        request
            .app_data::<Data<Self>>()
            .ok_or_else(|| Error::internal("the application has no state"))
    }

    /// The surface of a path as it is routed.
    pub(super) fn surface(&self, path: &str) -> &'static Surface {
        self.served.surfaces.of(path)
    }

    /// The `Allow` header of the path of a request, if the path is known.
    pub(super) fn allowed(&self, request: &HttpRequest) -> Option<&String> {
        let pattern = request.match_pattern()?;
        let bare = pattern
            .strip_prefix(PREFIX)
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or(&pattern);
        self.served.methods.get(bare)
    }

    /// The OpenAPI documents as JSON, by their paths. They are made at the first call, as most processes are not started
    /// for them.
    pub(super) fn documents(&self) -> &BTreeMap<String, Bytes> {
        let make = || (self.served.make_documents)(self.origins.public_url.as_ref());
        self.documents.get_or_init(make)
    }
}
