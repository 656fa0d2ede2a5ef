//! A surface: a family of paths with a dialect of its own. Each declares itself once, as a [`Surface`] in its folder.

use actix_web::HttpRequest;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::ServiceConfig;
use futures_util::future::LocalBoxFuture;
use utoipa::openapi::OpenApi;
use utoipa_actix_web::service_config::ServiceConfig as Documented;

use crate::error::Error;

/// The prefix that clients of IONOS use beside the bare paths; `ionosctl` always puts it there.
pub const PREFIX: &str = "/containerregistries";

/// Where registries' clients get their tokens.
pub const TOKEN_PATH: &str = "/token";

/// A middleware around all requests of a surface.
pub(super) type Dress =
    fn(
        ServiceRequest,
        Next<BoxBody>,
    ) -> LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, actix_web::Error>>;

/// A family of paths, and all that differs between it and others.
#[derive(Debug)]
pub(super) struct Surface {
    /// Its name in metrics, and that of its document.
    pub(super) name: &'static str,
    /// Does it answer requests of this path that no route takes?
    pub(super) owns: fn(&str) -> bool,
    /// An error in its dialect, for a path that no handler has seen.
    pub(super) failure: fn(&str, Error) -> actix_web::Error,
    /// Adds its routes.
    pub(super) routes: fn(&mut ServiceConfig),
    /// Its paths that no document lists, with their methods.
    pub(super) unlisted: &'static [(&'static str, &'static str)],
    /// Its paths that are answered whatever the method.
    pub(super) any_method: &'static [&'static str],
    /// The headers and forms that all its answers have.
    pub(super) dress: Option<Dress>,
    /// The requests that it answers while a restored database is not confirmed.
    pub(super) while_frozen: WhileFrozen,
    /// Do its reads ask the database through the queue that may be full?
    pub(super) queues: bool,
    /// Does a page's script get the Basic challenge too? A browser then opens its own sign-in box.
    pub(super) challenges_scripts: bool,
    /// Its document, if its operations are for clients.
    pub(super) document: Option<Document>,
}

/// The requests that are answered while a restored database is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhileFrozen {
    /// All.
    All,
    /// Reads, which let in administrators alone.
    Reads,
    /// None: they give something to be let in with.
    None,
}

/// The OpenAPI document of a surface.
#[derive(Debug)]
pub(super) struct Document {
    /// Its place among the documents that pages show.
    pub(super) place: u8,
    /// Its title on pages.
    pub(super) title: &'static str,
    /// Its URL, seen from `/docs/`.
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
    /// Each, in the order in which routes are tried: a path that is asked for often comes before patterns of others.
    pub(super) all: &'static [&'static Surface],
    /// The one that answers for paths that none owns.
    pub(super) fallback: &'static Surface,
}

impl Surfaces {
    /// The surface of a path as it is routed.
    pub(super) fn of(&self, path: &str) -> &'static Surface {
        let mut owners = self.all.iter().filter(|surface| (surface.owns)(path));
        owners.next().unwrap_or(&self.fallback)
    }

    /// Those with a document, in the order in which pages show them.
    pub(super) fn documented(&self) -> Vec<(&'static str, &'static Document)> {
        let documented =
            |surface: &&'static Surface| Some((surface.name, surface.document.as_ref()?));
        let mut found: Vec<_> = self.all.iter().filter_map(documented).collect();
        found.sort_by_key(|(_, document)| document.place);
        found
    }
}

/// The path of a request as it is routed: `/%761/ping` is `/v1/ping` to the router, and so to all that words answers.
pub(super) fn routed(request: &HttpRequest) -> &str {
    request.match_info().as_str()
}

/// Is a path this one or below it?
pub(super) fn below(path: &str, top: &str) -> bool {
    path.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
