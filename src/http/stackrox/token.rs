//! `/v1/apitokens`.

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpResponse, get, patch, post};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Answer;
use super::call::{Call, Revoked, Wished};
use super::error::{Revocation, StackRox};
use super::wire::{
    AllowedRoles, Empty, GenerateToken, GeneratedToken, Status, TokenList, TokenMetadata,
};
use crate::domain::api_token::ApiToken;
use crate::http::call::Path;
use crate::http::dialect;
use crate::http::pieces::{self, Items, PIECE};
use crate::http::state::State;

/// The token of a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct TokenPath {
    /// The id of the token
    #[param(example = "862ba387-230e-4a27-929d-ac48fa3e4916")]
    id: String,
}

/// The token acts as the account that asks for it, within the roles that it gets; nobody gives it roles that permit more than their own.
#[utoipa::path(
    operation_id = "GenerateToken",
    summary = "GenerateToken generates API token for a given user and role.",
    description = "The token acts as the account that asks for it, within the roles that it gets; nobody gives it roles that permit more than their own. It is shown in this answer only.",
    tag = "APITokenService", request_body = GenerateToken,
    responses(
        (status = 200, description = "A successful response.", body = GeneratedToken),
        (status = "default", description = "An unexpected error response.", body = Status),
    ),
)]
#[post("/v1/apitokens/generate")]
pub(super) async fn generate(state: Data<State>, call: Call<StackRox, (), Wished>) -> Answer {
    let tokens = state.service.api_tokens();
    let generated = tokens.generate(&call.caller, call.body.0).await?;
    Ok(HttpResponse::Ok().json(GeneratedToken::from(generated)))
}

/// Every role that permits no more than the caller's own.
#[utoipa::path(
    operation_id = "ListAllowedTokenRoles",
    summary = "GetAllowedTokenRoles return roles that user is allowed to request for API token.",
    description = "Every role that permits no more than the caller's own.",
    tag = "APITokenService",
    responses(
        (status = 200, description = "A successful response.", body = AllowedRoles),
        (status = "default", description = "An unexpected error response.", body = Status),
    ),
)]
#[get("/v1/apitokens/generate/allowed-roles")]
pub(super) async fn allowed_roles(state: Data<State>, call: Call<StackRox>) -> Answer {
    let role_names = state
        .service
        .api_tokens()
        .allowed_roles(&call.caller)
        .await?;
    Ok(HttpResponse::Ok().json(AllowedRoles { role_names }))
}

/// The list has expired tokens until they are removed.
#[utoipa::path(
    operation_id = "GetAPITokens",
    summary = "GetAPITokens returns all the API tokens.",
    description = "The list has expired tokens until they are removed. Everybody who may see tokens sees those of all accounts.",
    tag = "APITokenService", params(Revoked),
    responses(
        (status = 200, description = "A successful response.", body = TokenList<'_>),
        (status = "default", description = "An unexpected error response.", body = Status),
    ),
)]
#[get("/v1/apitokens")]
pub(super) async fn list(state: Data<State>, call: Call<StackRox, Revoked>) -> Answer {
    let budget = state.answers.unpaged.clone();
    let present = move |tokens: &mut dyn Iterator<Item = ApiToken>| {
        let mut views = tokens.map(TokenMetadata::from);
        let tokens = Items::new(&mut views);
        pieces::json(&budget, &TokenList { tokens }, PIECE)
    };
    let tokens = state.service.api_tokens();
    let body = tokens
        .list(&call.caller, call.head.revoked, present)
        .await?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(body))
}

/// A revoked token is found until it is removed, within the hour.
#[utoipa::path(
    operation_id = "GetAPIToken",
    summary = "GetAPIToken returns API token metadata for a given id.",
    description = "A revoked token is found until it is removed, within the hour.",
    tag = "APITokenService", params(TokenPath),
    responses(
        (status = 200, description = "A successful response.", body = TokenMetadata),
        (status = "default", description = "An unexpected error response.", body = Status),
    ),
)]
#[get("/v1/apitokens/{id}")]
pub(super) async fn show(state: Data<State>, call: Call<StackRox, Path<TokenPath>>) -> Answer {
    let tokens = state.service.api_tokens();
    let token = tokens.show(&call.caller, call.head.0.id).await?;
    Ok(HttpResponse::Ok().json(TokenMetadata::from(token)))
}

/// It fails from its next request on.
#[utoipa::path(
    operation_id = "RevokeToken",
    summary = "RevokeToken removes the API token for a given id.",
    description = "It fails from its next request on. Its metadata stays for a while, with `revoked`.",
    tag = "APITokenService", params(TokenPath),
    responses(
        (status = 200, description = "A successful response.", body = Object, content_type = "application/json", example = json!({})),
        (status = "default", description = "An unexpected error response.", body = Status),
    ),
)]
#[patch("/v1/apitokens/revoke/{id}")]
pub(super) async fn revoke(
    state: Data<State>,
    call: Call<Revocation, Path<TokenPath>>,
) -> dialect::Answer<Revocation> {
    let tokens = state.service.api_tokens();
    tokens.revoke(&call.caller, call.head.0.id).await?;
    Ok(HttpResponse::Ok().json(Empty {}))
}
