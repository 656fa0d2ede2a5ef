//! `/api/v1/user/apptoken`, and the list of the app tokens of all accounts.

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpResponse, delete, get, post};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Answer;
use super::call::{Call, Document, Expiring};
use super::error::{BodyErrors, Errors, FullError};
use super::wire::{NewToken, OneToken, TokenList, TokenView};
use crate::domain::app_token::{AppToken, Title};
use crate::error::Result;
use crate::http::budget::Budget;
use crate::http::call::Path;
use crate::http::pieces::{self, Items, PIECE, Pieces};
use crate::http::state::State;

/// The token of a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct TokenPath {
    /// The uuid of the app specific token
    #[param(example = "5a0c3b57-7a0f-4c2e-9a1c-8f1a60b7e2d4")]
    token_uuid: String,
}

/// Without their codes, and expired ones among them until they are removed.
#[utoipa::path(
    operation_id = "listAppTokens",
    summary = "Lists the app specific tokens for the user.",
    description = "Without their codes, in the order in which they were made. The list has expired tokens until they are removed. Nobody sees the tokens of another account.",
    tag = "appspecifictokens", params(Expiring),
    security(("oauth2_implicit" = ["user:admin"]), ("basicAuth" = []), ("bearerAuth" = [])),
    responses((status = 200, description = "Successful invocation", body = TokenList<'_>), Errors),
)]
#[get("/api/v1/user/apptoken")]
pub(super) async fn list(state: Data<State>, call: Call<Expiring>) -> Answer {
    let Expiring { expiring } = call.head;
    let tokens = state.service.app_tokens();
    let present = present(state.answers.unpaged.clone(), expiring);
    let body = tokens
        .list(&call.caller, expiring.unwrap_or_default(), present)
        .await?;
    Ok(listed(body))
}

/// It ends when this server says.
#[utoipa::path(
    operation_id = "createAppToken",
    summary = "Create a new app specific token for user.",
    description = "It opens every registry that the account may use: log in as `$app` with `token_code` as the password. It ends when this server's settings say. A server that is set to answer as the product does answers 200 instead of 201.",
    tag = "appspecifictokens",
    security(("oauth2_implicit" = ["user:admin"]), ("basicAuth" = []), ("bearerAuth" = [])),
    request_body(content = NewToken, description = "Description of a new token."),
    responses((status = 200, description = "Successful creation, on a server that is set to answer as the product does", body = OneToken), (status = 201, description = "Successful creation", body = OneToken), FullError, BodyErrors, Errors),
)]
#[post("/api/v1/user/apptoken")]
pub(super) async fn create(state: Data<State>, call: Call<(), Document<Title>>) -> Answer {
    let tokens = state.service.app_tokens();
    let made = tokens.create(&call.caller, call.body.0).await?;
    Ok(HttpResponse::build(state.quay_created).json(OneToken::from(made)))
}

/// With its code, unless this server shows codes but once.
#[utoipa::path(
    operation_id = "getAppToken",
    summary = "Returns a specific app token for the user.",
    description = "With its code, unless this server shows codes but once. An expired token is not found.",
    tag = "appspecifictokens", params(TokenPath),
    security(("oauth2_implicit" = ["user:admin"]), ("basicAuth" = []), ("bearerAuth" = [])),
    responses((status = 200, description = "Successful invocation", body = OneToken), Errors),
)]
#[get("/api/v1/user/apptoken/{token_uuid}")]
pub(super) async fn show(state: Data<State>, call: Call<Path<TokenPath>>) -> Answer {
    let tokens = state.service.app_tokens();
    let found = tokens.show(&call.caller, call.head.0.token_uuid).await?;
    Ok(HttpResponse::Ok().json(OneToken::from(found)))
}

/// It opens nothing from its next use on.
#[utoipa::path(
    operation_id = "revokeAppToken",
    summary = "Revokes a specific app token for the user.",
    description = "It opens nothing from its next use on, and is gone. An expired one can be removed, too.",
    tag = "appspecifictokens", params(TokenPath),
    security(("oauth2_implicit" = ["user:admin"]), ("basicAuth" = []), ("bearerAuth" = [])),
    responses((status = 204, description = "Deleted"), Errors),
)]
#[delete("/api/v1/user/apptoken/{token_uuid}")]
pub(super) async fn delete(state: Data<State>, call: Call<Path<TokenPath>>) -> Answer {
    let tokens = state.service.app_tokens();
    tokens.delete(&call.caller, call.head.0.token_uuid).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Needs a role that may read accounts.
#[utoipa::path(
    operation_id = "listAllAppTokens",
    summary = "Lists the app specific tokens of all accounts.",
    description = "Without their codes, in the order in which they were made. It needs a role with Read permission for Access.",
    tag = "superuser", params(Expiring),
    security(("oauth2_implicit" = ["user:admin"]), ("basicAuth" = []), ("bearerAuth" = [])),
    responses((status = 200, description = "Successful invocation", body = TokenList<'_>), Errors),
)]
#[get("/api/v1/superuser/apptokens")]
pub(super) async fn list_all(state: Data<State>, call: Call<Expiring>) -> Answer {
    let Expiring { expiring } = call.head;
    let tokens = state.service.app_tokens();
    let present = present(state.answers.unpaged.clone(), expiring);
    let body = tokens
        .list_all(&call.caller, expiring.unwrap_or_default(), present)
        .await?;
    Ok(listed(body))
}

/// Serialises a list as JSON.
fn present(
    budget: Budget,
    only_expiring: Option<bool>,
) -> impl Fn(&mut dyn Iterator<Item = AppToken>) -> Result<Pieces> + Clone + Send + 'static {
    move |tokens| {
        let mut views = tokens.map(TokenView::from);
        let answer = TokenList {
            tokens: Items::new(&mut views),
            only_expiring,
        };
        pieces::json(&budget, &answer, PIECE)
    }
}

fn listed(body: Pieces) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(body)
}
