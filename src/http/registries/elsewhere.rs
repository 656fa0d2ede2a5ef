//! Paths of the product for images, which are the registry's own data.
//!
//! A registry's lists of repositories and of artifacts are empty: `ionosctl container-registry repository list`, the
//! SDKs' `registries_repositories_get` and Ansible's `registry_repository_info` treat a 404 as a failure. All other
//! paths are 404, above all vulnerabilities: an empty list of them would look like a clean image.

use actix_web::http::Method;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::{Answer, Call};
use crate::domain::id::RegistryId;
use crate::domain::page::Window;
use crate::domain::precondition::Precondition;
use crate::domain::text::quoted;
use crate::error::{Error, Result, What};
use crate::http::call::Head;
use crate::http::links;
use crate::http::state::State;
use crate::http::surface::PREFIX;
use crate::http::surface::routed;

pub(super) const REPOSITORIES: &str = "/registries/{registryId}/repositories";
pub(super) const REPOSITORY: &str = "/registries/{registryId}/repositories/{tail:.*}";
pub(super) const ARTIFACTS: &str = "/registries/{registryId}/artifacts";
pub(super) const VULNERABILITY: &str = "/vulnerabilities/{vulnerabilityId}";
/// These paths, which accept any method.
pub(super) const PATHS: [&str; 4] = [REPOSITORIES, REPOSITORY, ARTIFACTS, VULNERABILITY];

/// A request for images. It ignores the parameters by which the product's clients filter and sort them.
#[derive(Debug)]
pub(super) struct Images(HttpRequest);

impl Head for Images {
    const TAKES_ANY: bool = true;

    fn read(request: &HttpRequest) -> Result<Self> {
        Ok(Self(request.clone()))
    }
}

fn elsewhere(what: What, request: &HttpRequest) -> Error {
    let path = routed(request);
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    Error::Elsewhere {
        what,
        which: quoted(path).to_string(),
    }
}

/// An empty list of a registry's images, in the product's form.
#[derive(Debug, Serialize)]
struct NoImages {
    id: &'static str,
    r#type: &'static str,
    href: &'static str,
    items: [(); 0],
    offset: i64,
    limit: i64,
    #[serde(rename = "_links")]
    links: OwnLink,
}

#[derive(Debug, Serialize)]
struct OwnLink {
    #[serde(rename = "self")]
    this: String,
}

/// Answers for a registry's images. A missing or forbidden registry is reported first.
async fn of_registry(
    what: What,
    state: &State,
    call: Call<(RegistryId, Images)>,
) -> Result<HttpRequest> {
    let (registry, Images(request)) = call.head;
    state
        .service
        .registries()
        .show(&call.caller, registry, Precondition::default())
        .await?;
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(elsewhere(what, &request));
    }
    Ok(request)
}

fn none(id: &'static str, request: &HttpRequest) -> Answer {
    let Window { offset, limit } = Window::read(request)?;
    Ok(HttpResponse::Ok().json(NoImages {
        id,
        r#type: "collection",
        href: "",
        items: [],
        offset,
        limit,
        links: OwnLink {
            this: links::here(request),
        },
    }))
}

/// The repositories of a registry: an empty list.
pub(super) async fn repositories(state: Data<State>, call: Call<(RegistryId, Images)>) -> Answer {
    none(
        "repositories",
        &of_registry(What::Repository, &state, call).await?,
    )
}

/// One repository of a registry, or a path below it: not found.
pub(super) async fn repository(state: Data<State>, call: Call<(RegistryId, Images)>) -> Answer {
    let request = of_registry(What::Repository, &state, call).await?;
    Err(elsewhere(What::Repository, &request).into())
}

/// The artifacts of a registry: an empty list.
pub(super) async fn artifacts(state: Data<State>, call: Call<(RegistryId, Images)>) -> Answer {
    none(
        "artifacts",
        &of_registry(What::Artifact, &state, call).await?,
    )
}

pub(super) async fn vulnerabilities(state: Data<State>, call: Call<Images>) -> Answer {
    state.service.admit(&call.caller).await?;
    Err(elsewhere(What::Vulnerability, &call.head.0).into())
}
