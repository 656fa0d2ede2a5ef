//! The probes of scripts: `/v1/ping`, and the check of credentials.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};

use super::Answer;
use super::call::Call;
use super::error::StackRox;
use super::wire::{AuthStatus, Pong, Status};
use crate::http::state::State;

/// Needs no credentials and asks no database.
#[utoipa::path(
    operation_id = "Ping",
    summary = "Ping says that this service answers.",
    description = "Needs no credentials and asks no database.",
    tag = "PingService", security(()),
    responses(
        (status = 200, description = "A successful response.", body = Pong),
        (status = "default", description = "An unexpected error response.", body = Status),
    ),
)]
#[get("/v1/ping")]
pub(super) async fn ping() -> HttpResponse {
    HttpResponse::Ok().json(Pong { status: "ok" })
}

/// The user of the credentials, their end, and their roles.
#[utoipa::path(
    operation_id = "GetAuthStatus",
    summary = "GetAuthStatus returns the status for the current client.",
    description = "The account of the credentials, their end, and their roles.",
    tag = "AuthService",
    responses(
        (status = 200, description = "A successful response.", body = AuthStatus),
        (status = "default", description = "An unexpected error response.", body = Status),
    ),
)]
#[get("/v1/auth/status")]
pub(super) async fn status(state: Data<State>, call: Call<StackRox>) -> Answer {
    let whoami = state.service.api_tokens().whoami(&call.caller).await?;
    Ok(HttpResponse::Ok().json(AuthStatus::from(whoami)))
}
