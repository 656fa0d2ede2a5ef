//! Paths of the product whose data is the registry's own: images, not tokens.

use actix_web::HttpRequest;
use actix_web::web::Data;

use super::super::call::Head;
use super::super::{PREFIX, State, dialects};
use super::{Answer, Call};
use crate::domain::id::RegistryId;
use crate::domain::precondition::Precondition;
use crate::domain::text::quoted;
use crate::error::{Error, Result, What};

pub(super) const REPOSITORIES: &str = "/registries/{registryId}/repositories";
pub(super) const REPOSITORY: &str = "/registries/{registryId}/repositories/{tail:.*}";
pub(super) const ARTIFACTS: &str = "/registries/{registryId}/artifacts";
pub(super) const VULNERABILITY: &str = "/vulnerabilities/{vulnerabilityId}";
/// These paths, which are answered whatever the method.
pub(in super::super) const PATHS: [&str; 4] = [REPOSITORIES, REPOSITORY, ARTIFACTS, VULNERABILITY];

/// A request for images. The product's clients filter and order them by parameters, which here find nothing to act on.
#[derive(Debug)]
pub(super) struct Images(HttpRequest);

impl Head for Images {
    const TAKES_ANY: bool = true;

    fn read(request: &HttpRequest) -> Result<Self> {
        Ok(Self(request.clone()))
    }
}

fn elsewhere(what: What, request: &HttpRequest) -> Answer {
    let path = dialects::routed(request);
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    Err(Error::Elsewhere {
        what,
        which: quoted(path).to_string(),
    }
    .into())
}

/// A registry that is not there, or not for this caller, is told before anything of what would be in it.
async fn of_registry(what: What, state: &State, call: Call<(RegistryId, Images)>) -> Answer {
    let (registry, Images(request)) = call.head;
    state
        .service
        .registries()
        .show(&call.caller, registry, Precondition::default())
        .await?;
    elsewhere(what, &request)
}

pub(super) async fn repositories(state: Data<State>, call: Call<(RegistryId, Images)>) -> Answer {
    of_registry(What::Repository, &state, call).await
}

pub(super) async fn artifacts(state: Data<State>, call: Call<(RegistryId, Images)>) -> Answer {
    of_registry(What::Artifact, &state, call).await
}

pub(super) async fn vulnerabilities(state: Data<State>, call: Call<Images>) -> Answer {
    state.service.admit(&call.caller).await?;
    elsewhere(What::Vulnerability, &call.head.0)
}
