//! `/registries/{registryId}/api-tokens`.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ETAG};
use actix_web::web::Data;
use actix_web::{HttpResponse, delete, get, post};

use super::ids::{ApiTokenPath, RegistryPath};
use super::issued::shown;
use super::precondition::{IfChanged, IfMatch, looked};
use super::repeat::{Keyed, marked};
use super::token::Page;
use super::wire::{IssuedList, IssuedView, PostRegistryApiToken};
use super::{Answer, Call, Conditional, Reused, Unchanged};
use crate::domain::api_token::NewRegistryApiToken;
use crate::domain::id::{ApiTokenId, RegistryId};
use crate::domain::page::Window;
use crate::domain::precondition::Precondition;
use crate::http::call::{Raw, Repeatable};
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::state::State;

/// List the API tokens of a registry
///
/// Lists registry API tokens in the order they were made: all of them for whoever manages the members of the registry, else the caller's own
#[utoipa::path(
    operation_id = "registriesApiTokensGet", tag = "Registry API tokens", params(RegistryPath, Page),
    responses((status = 200, description = "OK", body = IssuedList), (status = 404, description = "The registry does not exist", body = ApiErrorResponse), Errors),
)]
#[get("/{registryId}/api-tokens")]
pub(super) async fn list(state: Data<State>, call: Call<(RegistryId, (Window, Raw))>) -> Answer {
    let (registry, (window, Raw(request))) = call.head;
    let tokens = state.service.registry_api_tokens();
    let page = tokens.list(&call.caller, registry, window).await?;
    shown(&state, "api-tokens", page, (window, "", &request))
}

/// Make an API token of a registry
///
/// Makes a Bearer token that acts on this registry alone, within its level and within what its maker may do there at that time
///
/// * nobody can give a level that permits more than they may do there themselves
///
/// * the token is only available once in this response
#[utoipa::path(
    operation_id = "registriesApiTokensPost", tag = "Registry API tokens", params(RegistryPath, Keyed), request_body = PostRegistryApiToken,
    responses(
        (status = 201, description = "The API token, with the token itself", body = IssuedView),
        (status = 404, description = "The registry does not exist", body = ApiErrorResponse),
        (status = 409, description = "The registry has the maximum number of API tokens in force, or the API token of an earlier request with this key has ended", body = ApiErrorResponse),
        Reused, BodyErrors, Errors,
    ),
)]
#[post("/{registryId}/api-tokens")]
pub(super) async fn create(
    state: Data<State>,
    call: Call<RegistryId, Repeatable<PostRegistryApiToken, NewRegistryApiToken>>,
) -> Answer {
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let tokens = state.service.registry_api_tokens();
    let once = tokens
        .create(&call.caller, call.head, command, attempt)
        .await?;
    let now = state.service.now();
    let tag = once.value.token.tag_at(now);
    let view = IssuedView::new(once.value.token, now).with_secret(once.value.secret);
    let answer = HttpResponse::build(StatusCode::CREATED)
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((ETAG, tag.to_string()))
        .json(view);
    Ok(marked(answer, once.repeated))
}

/// Get an API token of a registry
///
/// Gets all information on a registry API token, but the token itself
#[utoipa::path(
    operation_id = "registriesApiTokensFindById", tag = "Registry API tokens", params(RegistryPath, ApiTokenPath, IfMatch, IfChanged),
    responses((status = 200, description = "OK", body = IssuedView), (status = 404, description = "The registry or the API token does not exist", body = ApiErrorResponse), Unchanged, Conditional, Errors),
)]
#[get("/{registryId}/api-tokens/{apiTokenId}")]
pub(super) async fn show(
    state: Data<State>,
    call: Call<(RegistryId, (ApiTokenId, Precondition))>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let tokens = state.service.registry_api_tokens();
    let look = tokens.show(&call.caller, registry, id, condition).await?;
    let now = state.service.now();
    Ok(looked(look, |token| IssuedView::new(token, now)))
}

/// Revoke an API token of a registry
///
/// Revokes a registry API token: it fails from the next request on, and stays listed for a while
#[utoipa::path(
    operation_id = "registriesApiTokensDelete", tag = "Registry API tokens", params(RegistryPath, ApiTokenPath, IfMatch),
    responses((status = 204, description = "No content"), (status = 404, description = "The registry or the API token does not exist", body = ApiErrorResponse), Conditional, Errors),
)]
#[delete("/{registryId}/api-tokens/{apiTokenId}")]
pub(super) async fn revoke(
    state: Data<State>,
    call: Call<(RegistryId, (ApiTokenId, Precondition))>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let tokens = state.service.registry_api_tokens();
    tokens.revoke(&call.caller, registry, id, condition).await?;
    Ok(HttpResponse::NoContent().finish())
}
