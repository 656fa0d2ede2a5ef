//! `/locations` and `/names`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get, head};

use super::wire::{LocationItem, LocationsResponse};
use super::{Answer, Call};
use crate::domain::registry::RegistryName;
use crate::error::{Error, Result, What};
use crate::http::call::{Head, segment};
use crate::http::native::{BareErrors, Errors};
use crate::http::state::State;

/// List locations
///
/// Lists where registries can be made.
#[utoipa::path(operation_id = "locationsGet", tag = "Locations", responses((status = 200, description = "OK", body = LocationsResponse), Errors))]
#[get("/locations")]
pub(super) async fn locations(state: Data<State>, call: Call) -> Answer {
    let locations = state.service.registries();
    let locations = locations.locations(&call.caller).await?;
    let items = locations
        .iter()
        .map(|id| LocationItem { id: id.clone() })
        .collect();
    Ok(HttpResponse::Ok().json(LocationsResponse {
        id: "locations",
        r#type: "collection",
        href: "",
        items,
    }))
}

impl Head for RegistryName {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&segment(request, "name")?)
    }
}

/// Check whether a registry name is taken
///
/// Answers 200 if a registry of this name exists, 404 if the name is free, 400 if no registry can have it. There is no body.
#[utoipa::path(
    operation_id = "namesCheckUsage",
    tag = "Names",
    params(("name" = String, Path, description = "The desired registry name", pattern = r"^[a-z][-a-z0-9]{1,61}[a-z0-9]$", min_length = 3, max_length = 63, example = "team-a")),
    responses((status = 200, description = "The name is taken"), (status = 404, description = "The name is free"), BareErrors),
)]
#[head("/names/{name}")]
pub(super) async fn check_name(state: Data<State>, call: Call<RegistryName>) -> Answer {
    let name = call.head.as_str().to_owned();
    if state
        .service
        .registries()
        .is_name_taken(&call.caller, call.head)
        .await?
    {
        return Ok(HttpResponse::Ok().finish());
    }
    Err(Error::not_found(What::Registry, format!("named {name}")).into())
}
