//! `/me`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get, put};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};

use super::account::Alteration;
use super::precondition::IfMatch;
use super::wire::{IdentityView, PutPassword};
use super::{Answer, Call, Conditional};
use crate::domain::precondition::Precondition;
use crate::error::Result;
use crate::http::call::{Head, Json};
use crate::http::native::{BodyErrors, Errors};
use crate::http::schema::{matching, optional_header};
use crate::http::state::State;
use crate::service::account_rules::IssuedTokens;
use crate::service::me::PasswordChange;

/// Operations that take the session of a client that signed in, too.
#[derive(Debug)]
pub(super) struct Session;

impl Head for Session {
    const TAKES_SESSIONS: bool = true;

    fn read(_: &HttpRequest) -> Result<Self> {
        Ok(Self)
    }
}

/// The header that a session's requests send with the cookie when they change something.
pub(super) struct CsrfHeader;

impl IntoParams for CsrfHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description =
            "The CSRF token of the session. Only requests with the cookie of a session need it";
        let token = matching("^[A-Za-z0-9_-]*$");
        let header = optional_header("X-CSRF-Token", description, token);
        let example = Some("ZXhhbXBsZWV4YW1wbGVleGFt".into());
        vec![ParameterBuilder::from(header).example(example).build()]
    }
}

/// Who am I
///
/// Says which account a request acts for, by which credential it came, and what it may do now. Every caller may ask, also a session
#[utoipa::path(
    operation_id = "meGet", tag = "Me",
    responses((status = 200, description = "OK", body = IdentityView), Errors),
)]
#[get("/me")]
pub(super) async fn show(state: Data<State>, call: Call<Session>) -> Answer {
    let identity = state.service.me().show(&call.caller).await?;
    Ok(HttpResponse::Ok().json(IdentityView::from(identity)))
}

/// Change my password
///
/// Gives the caller's account another password
///
/// * needs the present password, and comes with it by HTTP Basic, or with a session; an API token is refused
///
/// * ends sessions, refresh tokens and JWTs at once; API tokens and app tokens go on working, unless revokeTokens ends them
///
/// * a wrong presentPassword is 400 and counts as a failed login
#[utoipa::path(
    operation_id = "mePasswordPut", tag = "Me", params(Alteration, IfMatch, CsrfHeader), request_body = PutPassword,
    responses((status = 204, description = "No content"), Conditional, BodyErrors, Errors),
)]
#[put("/password")]
pub(super) async fn set_password(
    state: Data<State>,
    call: Call<(Session, (IssuedTokens, Precondition)), Json<PutPassword, PasswordChange>>,
) -> Answer {
    let (_, (tokens, condition)) = call.head;
    let wish = call.body.0;
    let me = state.service.me();
    me.set_password(&call.caller, wish, tokens, condition)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
