//! A surface: a family of paths with a dialect of its own. Each is declared once, as a [`Surface`] in its folder.

use actix_web::HttpRequest;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::ServiceConfig;
use futures_util::future::LocalBoxFuture;
use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig as Documented;

use crate::error::Error;

/// The path of the metrics.
pub(super) const METRICS: &str = "/metrics";
/// The optional prefix of paths that clients of IONOS use; `ionosctl` always does.
pub const PREFIX: &str = "/containerregistries";

/// The path of the token endpoint for clients of registries.
pub const TOKEN_PATH: &str = "/token";

/// A middleware around all requests of a surface.
pub(super) type Dress =
    fn(
        ServiceRequest,
        Next<BoxBody>,
    ) -> LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, actix_web::Error>>;

/// A family of paths and its properties.
#[derive(Debug)]
pub(super) struct Surface {
    /// Its name in metrics and of its document.
    pub(super) name: &'static str,
    /// Returns true if the paths are its own, routed or not: it decides all below for their requests.
    pub(super) owns: fn(&str) -> bool,
    /// An error in its dialect, for a path without a handler.
    pub(super) failure: fn(&str, Error) -> actix_web::Error,
    /// Adds its routes.
    pub(super) routes: fn(&mut ServiceConfig),
    /// Its paths that no document lists, with their methods.
    pub(super) unlisted: &'static [(&'static str, &'static str)],
    /// Its paths that accept any method.
    pub(super) any_method: &'static [&'static str],
    /// Its paths whose GET changes something, so that HEAD is none of their methods.
    pub(super) changes_by_get: &'static [&'static str],
    /// The middleware for the common headers and form of its answers.
    pub(super) dress: Option<Dress>,
    /// The requests that it answers while a restored database is not confirmed.
    pub(super) while_frozen: WhileFrozen,
    /// True if its reads are refused while the read queue of the store is full.
    pub(super) queues: bool,
    /// True if a page's script gets the Basic challenge too. A browser then opens its own sign-in dialog.
    pub(super) challenges_scripts: bool,
    /// Its document, if its operations are for clients.
    pub(super) document: Option<Document>,
}

/// The requests that are answered while a restored database is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhileFrozen {
    /// All.
    All,
    /// Reads, which need Admin then.
    Reads,
    /// None: they issue credentials.
    None,
}

/// The OpenAPI document of a surface.
#[derive(Debug)]
pub(super) struct Document {
    /// Its position in the list of documents on pages.
    pub(super) place: u8,
    /// Its title on pages.
    pub(super) title: &'static str,
    /// Its URL, relative to `/docs/`. Swagger UI's list borrows it.
    pub(super) url: &'static str,
    /// Its description.
    pub(super) description: &'static str,
    /// The document without paths.
    pub(super) base: fn() -> OpenApi,
    /// Adds the paths.
    pub(super) routes: fn(&mut Documented<'_>),
    /// Adds examples of errors.
    pub(super) illustrate: fn(&mut OpenApi),
}

/// All surfaces of an application.
#[derive(Debug)]
pub(super) struct Surfaces {
    /// All surfaces, in the order in which routes are tried: frequent paths come before patterns of others.
    pub(super) all: &'static [&'static Surface],
    /// The surface for paths that no other owns.
    pub(super) fallback: &'static Surface,
}

impl Surfaces {
    /// The surface of a decoded path.
    pub(super) fn of(&self, path: &str) -> &'static Surface {
        let mut owners = self.all.iter().filter(|surface| (surface.owns)(path));
        owners.next().unwrap_or(&self.fallback)
    }

    /// The surfaces with a document, in the order in which pages show them.
    pub(super) fn documented(&self) -> Vec<(&'static str, &'static Document)> {
        let documented =
            |surface: &&'static Surface| Some((surface.name, surface.document.as_ref()?));
        let mut found: Vec<_> = self.all.iter().filter_map(documented).collect();
        found.sort_by_key(|(_, document)| document.place);
        found
    }
}

/// The decoded path of a request, as the router and all code that forms answers use it: `/%761/ping` is `/v1/ping`.
pub(super) fn routed(request: &HttpRequest) -> &str {
    request.match_info().as_str()
}

/// Returns true if `path` is `top` or below it.
pub(super) fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
