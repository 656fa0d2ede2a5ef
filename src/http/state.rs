//! The state that all requests share.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data};
use ipnet::IpNet;
use url::Url;

use super::budget::Budget;
use super::surface::{METRICS, PREFIX, Surface, Surfaces, routed};
use super::turned_away::TurnedAway;
use crate::clock::Random;
use crate::error::{Error, Result};
use crate::metrics::{Registry, Requests};
use crate::service::Service;

/// The public URL, from which browsers may write, and the trusted proxies.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// The public URL of the settings, for links.
    pub public_url: Option<Url>,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub proxies: Vec<IpNet>,
    /// True if this process itself serves TLS.
    pub tls: bool,
}

impl Origins {
    /// Returns true if browsers may be told to use https only.
    pub(super) fn https(&self) -> bool {
        let public = self.public_url.as_ref();
        self.tls || public.is_some_and(|url| url.scheme() == "https")
    }
}

/// The limits of all request bodies together.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// The time limit for a body to arrive.
    pub timeout: Duration,
    /// The memory of all bodies.
    pub memory: Budget,
    /// The part of it for bodies that are read before authentication, and for long heads.
    pub unproven: Budget,
}

/// The memory that running requests may take.
#[derive(Debug, Clone)]
pub struct Memory {
    /// For bodies.
    pub bodies: Bodies,
    /// For large answers.
    pub answers: Budget,
}

/// The memory of all large answers together.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) all: Budget,
    /// The part of it for lists without pages, whose length is unlimited.
    pub(super) unpaged: Budget,
}

/// Makes the OpenAPI documents for a public URL, as JSON by path.
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
    /// The public URL and the trusted proxies.
    pub origins: Origins,
    /// The memory of running requests.
    pub memory: Memory,
    /// The status of the answer that makes an app token.
    pub quay_created: StatusCode,
    /// True if the main address serves metrics with the monitor's token.
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
    /// The status of the answer that makes an app token, from the settings.
    pub(super) quay_created: StatusCode,
    pub(super) turned_away: TurnedAway,
    pub(super) registry: Registry,
    /// True if the main address serves metrics with the monitor's token, from the settings.
    pub(super) monitored: bool,
    pub(super) served: Served,
    /// See [`State::documents`].
    documents: OnceLock<BTreeMap<String, Bytes>>,
}

/// The purpose of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// All surfaces, and metrics with the monitor's token, if there is one.
    Service,
    /// Only metrics.
    Metrics,
}

impl State {
    /// The state of an application. `random` makes request ids, and `registry` has the metrics of other parts.
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
    /// [`Error::Internal`] if it is missing, which is a defect.
    pub(super) fn of(request: &HttpRequest) -> Result<&Data<Self>> {
        request
            .app_data::<Data<Self>>()
            .ok_or_else(|| Error::internal("the application has no state"))
    }

    /// The surface of a decoded path.
    pub(super) fn surface(&self, path: &str) -> &'static Surface {
        self.served.surfaces.of(path)
    }

    /// The route of a request, whatever its method: the pattern, and the `Allow` header. The path counts as it is routed,
    /// which actix's `match_pattern` outside of a handler does not.
    pub(super) fn route(&self, request: &HttpRequest) -> Option<(&str, &String)> {
        let path = routed(request);
        let (surface, bare) = (self.surface(path).name, path.strip_prefix(PREFIX));
        let pattern = self.served.requests.pattern(surface, path, bare)?;
        let allow = self.served.methods.get(pattern)?;
        self.serves(request, pattern).then_some((pattern, allow))
    }

    /// True if the address that a request came to has a route.
    pub(super) fn serves(&self, request: &HttpRequest, pattern: &str) -> bool {
        match request.app_data() {
            Some(Door::Metrics) => pattern == METRICS,
            Some(Door::Service) | None => self.monitored || pattern != METRICS,
        }
    }

    /// The OpenAPI documents as JSON, by path. They are made at the first call, since most processes do not need them.
    pub(super) fn documents(&self) -> &BTreeMap<String, Bytes> {
        let make = || (self.served.make_documents)(self.origins.public_url.as_ref());
        self.documents.get_or_init(make)
    }
}
