//! The exchange of a workload's JWT for a password, as Quay has it for robots. `QuayAccessToken` of the External Secrets
//! Operator asks for it.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get};

use super::Answer;
use super::error::ExchangeErrors;
use super::wire::RobotToken;
use crate::error::Error;
use crate::http::call::{basic, origin};
use crate::http::source::source;
use crate::http::state::State;
use crate::service::access::Presented;
use crate::service::exchanges::{Exchange, PasswordForm};

/// The path. Its GET changes something: a JWT is exchanged once.
pub(super) const PATH: &str = "/oauth2/federation/robot/token";

/// Each JWT is exchanged once.
#[utoipa::path(
    operation_id = "getFederatedRobotToken",
    summary = "Get a short-lived token for a workload.",
    description = "HTTP Basic with `<registry>+<trust>` and the JWT of a workload, once for each JWT. The answer is a password for the same name that lasts an hour at most. It has the form of a JWT, so that clients can read when it ends.",
    tag = "robot", security(("basicAuth" = [])),
    responses((status = 200, description = "Successful invocation", body = RobotToken), ExchangeErrors),
)]
#[get("/oauth2/federation/robot/token")]
pub(super) async fn exchange(state: Data<State>, request: HttpRequest) -> Answer {
    let (name, jwt) = basic(&request).ok_or(Error::Unauthenticated)?;
    let exchanges = state.service.exchanges();
    let exchange = Exchange {
        service: exchanges.service_of(&name)?,
        presented: Presented::new(name, jwt, source(&request)),
        form: PasswordForm::Jwt,
        origin: origin(&request),
    };
    let given = exchanges.exchange(exchange).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(RobotToken {
            token: given.password.into(),
        }))
}
