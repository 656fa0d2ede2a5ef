//! `/registries/{registryId}/tokens/{tokenId}/rotate` and `…/previous-secret`.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpResponse, delete, post};
use serde::Deserialize;
use utoipa::ToSchema;

use super::ids::{RegistryPath, TokenPath};
use super::precondition::IfMatch;
use super::repeat::{Keyed, Reused};
use super::token::minted;
use super::wire::TokenView;
use super::{Answer, Call, Conditional};
use crate::domain::id::{RegistryId, TokenId};
use crate::domain::precondition::Precondition;
use crate::domain::rotation::Grace;
use crate::error::{Error, Result};
use crate::http::call::Repeatable;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::state::State;

/// The way in which a token gets a new secret
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = RotateTokenInput)]
pub(super) struct RotateToken {
    /// The time for which the old secret still works, up to P30D; with PT0S it ends at once
    #[schema(
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "PT24H"
    )]
    grace_period: String,
}

impl TryFrom<RotateToken> for Grace {
    type Error = Error;

    fn try_from(body: RotateToken) -> Result<Self> {
        Self::parse(&body.grace_period)
    }
}

/// Rotate a token
///
/// Gives the token a new secret. The old secret, and its JWTs and refresh tokens, go on working until the grace ends
///
/// * password is only available once in this response
///
/// * the caller needs every right that the token has
///
/// * a second rotation within the grace ends the older secret at once
#[utoipa::path(
    operation_id = "registriesTokensRotate", tag = "Tokens", params(RegistryPath, TokenPath, IfMatch, Keyed), request_body = RotateToken,
    responses((status = 200, description = "The token, with its new password", body = TokenView), (status = 404, description = "The registry or the token does not exist", body = ApiErrorResponse), (status = 409, description = "The answer to this Idempotency-Key cannot be given again, as the token has changed since", body = ApiErrorResponse), Conditional, Reused, BodyErrors, Errors),
)]
#[post("/{registryId}/tokens/{tokenId}/rotate")]
pub(super) async fn rotate(
    state: Data<State>,
    call: Call<(RegistryId, (TokenId, Precondition)), Repeatable<RotateToken, Grace>>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let rotated = state
        .service
        .tokens()
        .rotate(&call.caller, registry, id, command, condition, attempt)
        .await?;
    Ok(minted(&state, StatusCode::OK, rotated))
}

/// End the previous secret of a token
///
/// Ends the previous secret, and its JWTs and refresh tokens, before the grace ends
///
/// * without a previous secret nothing changes
#[utoipa::path(
    operation_id = "registriesTokensPreviousSecretDelete", tag = "Tokens", params(RegistryPath, TokenPath, IfMatch),
    responses((status = 204, description = "No content"), (status = 404, description = "The registry or the token does not exist", body = ApiErrorResponse), Conditional, Errors),
)]
#[delete("/{registryId}/tokens/{tokenId}/previous-secret")]
pub(super) async fn end_previous(
    state: Data<State>,
    call: Call<(RegistryId, (TokenId, Precondition))>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    state
        .service
        .tokens()
        .end_previous_secret(&call.caller, registry, id, condition)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
