//! `/registries`.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, put};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::path::Parameter;

use super::ids::RegistryPath;
use super::labelled::Labelled;
use super::precondition::{IfAbsent, IfChanged, IfMatch, looked, tagged};
use super::repeat::{Keyed, marked};
use super::token_query::parse_boolean;
use super::wire::{CreateRegistry, Links, Pagination, PatchRegistry, RegistryList, RegistryView};
use super::{Answer, Call, Conditional, Reused, Unchanged, listed};
use crate::domain::filter::{NameFilter, RegistryFilter};
use crate::domain::id::RegistryId;
use crate::domain::page::parse_limit;
use crate::domain::precondition::Precondition;
use crate::domain::registry::{NewRegistry, Registry, RegistryPatch};
use crate::domain::text::{has_control, quoted};
use crate::error::{Error, Field, Result, Violations};
use crate::http::call::{Head, Json, Query, Raw, Repeatable};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::state::State;
use crate::service::Put;
use crate::service::idempotency::Once;
use crate::service::registries::Listing;

/// The longest location to look for, in characters.
const LOCATION: usize = 255;

/// The registries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only registries whose name contains this, without regard to case
    #[serde(rename = "filter.name")]
    #[param(rename = "filter.name", pattern = r"^[^\x00-\x1F\x7F]*$")]
    name_contains: Option<String>,
    /// Only the registry with this name, or those with names that begin so: `team-*`. Without regard to case
    #[param(pattern = r"^[^\x00-\x1F\x7F]{1,255}\*?$")]
    name: Option<String>,
    /// Only registries in this location
    #[param(min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1F\x7F]*$")]
    location: Option<String>,
    /// True: only frozen registries. False: only others
    #[param(value_type = Option<bool>)]
    frozen: Option<String>,
    /// The maximum number of elements to return
    #[param(default = "100", pattern = "^0*([0-9]{1,3}|1000)$")]
    limit: Option<String>,
    /// `pagination.token` of the previous page
    #[serde(rename = "pagination.token")]
    #[param(rename = "pagination.token")]
    token: Option<String>,
}

impl Head for Listing {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(filter) = Query::<Filter>::read(request)?;
        let mut violations = Violations::default();
        let labels = violations.take(Labelled::read(request));
        let name = filter.name.as_deref().map(NameFilter::of_any).transpose();
        let name = violations.take(name);
        let location = violations.take(filter.location.map(parse_location).transpose());
        let frozen = filter.frozen.as_deref().map(parse_frozen).transpose();
        let frozen = violations.take(frozen);
        let limit = violations.take(parse_limit(filter.limit.as_deref()));
        let listing = (|| {
            let Labelled(labels) = labels?;
            Some(Self {
                filter: RegistryFilter {
                    name_contains: filter.name_contains,
                    name: name?,
                    location: location?,
                    frozen: frozen?,
                    labels,
                },
                limit: limit?,
                // The last page gives an empty token, and some clients send it back.
                token: filter.token.filter(|token| !token.is_empty()),
            })
        })();
        violations.finish(listing)
    }

    fn parameters() -> Vec<Parameter> {
        let mut all = Query::<Filter>::parameters();
        all.extend(Labelled::parameters());
        all
    }
}

fn parse_frozen(text: &str) -> Result<bool> {
    parse_boolean("frozen", Field::Frozen, text)
}

/// Reads a location to look for.
fn parse_location(text: String) -> Result<String> {
    if text.is_empty() || has_control(&text) || text.chars().count() > LOCATION {
        return Err(Error::invalid(
            Field::Location,
            format!(
                "location {} is no location such as de/fra; GET /locations lists them",
                quoted(&text)
            ),
        ));
    }
    Ok(text)
}

/// List all container registries
///
/// Lists registries in the order they were made. At most 1000 elements are returned at once.
#[utoipa::path(
    operation_id = "registriesGet", tag = "Registries", params(Filter, Labelled),
    responses((status = 200, description = "OK", body = RegistryList), Errors),
)]
#[get("/registries")]
pub(super) async fn list(state: Data<State>, call: Call<(Listing, Raw)>) -> Answer {
    let (listing, Raw(request)) = call.head;
    let (limit, token) = (listing.limit, listing.token.clone());
    let page = state
        .service
        .registries()
        .list(&call.caller, listing)
        .await?;
    let links = Links {
        previous: String::new(),
        this: link(&request, limit, token.as_deref()),
        next: page
            .next
            .as_deref()
            .map(|token| link(&request, limit, Some(token)))
            .unwrap_or_default(),
    };
    listed(
        &state,
        &RegistryList {
            id: "registries",
            r#type: "collection",
            href: "",
            items: page
                .registries
                .into_iter()
                .map(|registry| view(&state, registry))
                .collect(),
            pagination: Pagination {
                limit,
                token: page.next.unwrap_or_default(),
            },
            links,
        },
    )
}

fn link(request: &HttpRequest, limit: i64, token: Option<&str>) -> String {
    let page = token
        .map(|token| format!("&pagination.token={token}"))
        .unwrap_or_default();
    format!("{}?limit={limit}{page}", links::here(request))
}

fn view(state: &State, registry: Registry) -> RegistryView {
    let hostname = state.service.registries().hostname(&registry);
    RegistryView::new(registry, hostname)
}

/// Create container registry
///
/// Makes a registry. Its state is New in this answer and Running from then on.
#[utoipa::path(
    operation_id = "registriesPost", tag = "Registries", params(Keyed), request_body = CreateRegistry,
    responses(
        (status = 201, description = "The registry", body = RegistryView),
        (status = 409, description = "A registry of this name exists, the account has made the maximum number of registries, or the registry of an earlier request with this key has changed", body = ApiErrorResponse),
        Reused, BodyErrors, Errors,
    ),
)]
#[post("/registries")]
pub(super) async fn create(
    state: Data<State>,
    call: Call<(), Repeatable<CreateRegistry, NewRegistry>>,
) -> Answer {
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let registry = state
        .service
        .registries()
        .create(&call.caller, command, attempt)
        .await?;
    Ok(created(registry))
}

/// The answer with a new registry.
fn created(once: Once<Registry>) -> HttpResponse {
    let (tag, view) = (once.value.tag(), RegistryView::created(once.value));
    marked(tagged(StatusCode::CREATED, tag, view), once.repeated)
}

/// The answer to a change of a registry, even if nothing had to change.
fn kept(state: &State, registry: Registry) -> HttpResponse {
    tagged(StatusCode::OK, registry.tag(), view(state, registry))
}

/// Get a registry
///
/// Gets all information on a registry
#[utoipa::path(
    operation_id = "registriesFindById", tag = "Registries", params(RegistryPath, IfMatch, IfChanged),
    responses((status = 200, description = "OK", body = RegistryView), (status = 404, description = "The registry does not exist", body = ApiErrorResponse), Unchanged, Conditional, Errors),
)]
#[get("/{registryId}")]
pub(super) async fn show(state: Data<State>, call: Call<(RegistryId, Precondition)>) -> Answer {
    let (id, condition) = call.head;
    let look = state
        .service
        .registries()
        .show(&call.caller, id, condition)
        .await?;
    Ok(looked(look, |registry| view(&state, registry)))
}

/// Create or replace a container registry
///
/// Makes a registry with the id of the path, or replaces the one that has it
///
/// * "name" and "location" cannot be changed
#[utoipa::path(
    operation_id = "registriesPut", tag = "Registries", params(RegistryPath, IfMatch, IfAbsent, Keyed), request_body = CreateRegistry,
    responses(
        (status = 200, description = "The replaced registry", body = RegistryView),
        (status = 201, description = "The created registry", body = RegistryView),
        (status = 409, description = "Another registry has this name, the account has made the maximum number of registries, or the registry of an earlier request with this key has changed", body = ApiErrorResponse),
        Conditional, Reused, BodyErrors, Errors,
    ),
)]
#[put("/{registryId}")]
pub(super) async fn replace(
    state: Data<State>,
    call: Call<(RegistryId, Precondition), Repeatable<CreateRegistry, NewRegistry>>,
) -> Answer {
    let (id, condition) = call.head;
    let Repeatable {
        command, attempt, ..
    } = call.body;
    Ok(
        match state
            .service
            .registries()
            .replace(&call.caller, id, command, condition, attempt)
            .await?
        {
            Put::Created(registry) => created(registry),
            Put::Replaced(registry) => kept(&state, registry),
        },
    )
}

/// Update the properties of a registry
///
/// Changes what the body names
///
/// * an empty "apiSubnetAllowList" lifts the restriction
#[utoipa::path(
    operation_id = "registriesPatch", tag = "Registries", params(RegistryPath, IfMatch), request_body = PatchRegistry,
    responses((status = 200, description = "OK", body = RegistryView), (status = 404, description = "The registry does not exist", body = ApiErrorResponse), Conditional, BodyErrors, Errors),
)]
#[patch("/{registryId}")]
pub(super) async fn update(
    state: Data<State>,
    call: Call<(RegistryId, Precondition), Json<PatchRegistry, RegistryPatch>>,
) -> Answer {
    let (id, condition) = call.head;
    let patch = call.body.0;
    let registry = state
        .service
        .registries()
        .update(&call.caller, id, patch, condition)
        .await?;
    Ok(kept(&state, registry))
}

/// Delete registry
///
/// Deletes a registry with all its tokens
#[utoipa::path(
    operation_id = "registriesDelete", tag = "Registries", params(RegistryPath, IfMatch),
    responses((status = 204, description = "No content"), (status = 404, description = "The registry does not exist", body = ApiErrorResponse), Conditional, Errors),
)]
#[delete("/{registryId}")]
pub(super) async fn delete(state: Data<State>, call: Call<(RegistryId, Precondition)>) -> Answer {
    let (id, condition) = call.head;
    state
        .service
        .registries()
        .delete(&call.caller, id, condition)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
