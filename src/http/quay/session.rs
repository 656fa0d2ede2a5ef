//! Signing in and out, for clients that have a password and keep cookies.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get, post};
use secrecy::ExposeSecret as _;
use utoipa::IntoParams;

use super::Answer;
use super::call::{Document, Visit};
use super::error::{BodyErrors, OutageErrors, SignIn, SignInErrors, SignOutErrors};
use super::wire::{Credentials, CsrfToken, Success};
use crate::http::call::origin;
use crate::http::cookie;
use crate::http::dialect;
use crate::http::source::source;
use crate::http::state::State;
use crate::service::access::Presented;

/// The header that a session's requests send with the cookie.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
struct Proof {
    /// The session's CSRF token
    #[param(
        rename = "X-CSRF-Token",
        nullable = false,
        example = "ZXhhbXBsZWV4YW1wbGVleGFt"
    )]
    csrf_token: Option<String>,
}

impl Proof {
    fn of(request: &HttpRequest) -> Self {
        Self {
            csrf_token: cookie::csrf_token(request).map(str::to_owned),
        }
    }
}

/// A client with a session gets the same again.
#[utoipa::path(
    operation_id = "getCsrfToken",
    summary = "Begin a session.",
    description = "Answers with the session's CSRF token, and sets its cookie. A client with a session keeps it.",
    tag = "user", security(()),
    responses((status = 200, description = "Successful invocation", body = CsrfToken), OutageErrors),
)]
#[get("/csrf_token")]
pub(super) async fn visit(state: Data<State>, request: HttpRequest) -> Answer {
    let ticket = state.service.sessions().visit(cookie::sent(&request))?;
    Ok(HttpResponse::Ok()
        .insert_header(cookie::keep(&request, &ticket))
        .json(CsrfToken {
            csrf_token: ticket.csrf_token.expose_secret().to_owned(),
        }))
}

/// The session is another one after that.
#[utoipa::path(
    operation_id = "signinUser",
    summary = "Sign in the user with the specified credentials.",
    description = "With the cookie of `GET /csrf_token`, and its CSRF token. Sets the cookie of another session, whose CSRF token is in the header `X-Next-CSRF-Token`.",
    tag = "user", security(()), params(Proof), request_body = Credentials,
    responses((status = 200, description = "Successful creation", body = Success), BodyErrors, SignInErrors),
)]
#[post("/api/v1/signin")]
pub(super) async fn sign_in(
    state: Data<State>,
    request: HttpRequest,
    attempt: Visit<Document<Credentials>>,
) -> dialect::Answer<SignIn> {
    let Visit(Document(Credentials { username, password })) = attempt;
    let presented = Presented::new(username, password, source(&request));
    let Proof { csrf_token } = Proof::of(&request);
    let sessions = state.service.sessions();
    let ticket = sessions
        .sign_in(
            cookie::sent(&request),
            csrf_token.as_deref(),
            presented,
            origin(&request),
        )
        .await?;
    Ok(HttpResponse::Ok()
        .insert_header(cookie::keep(&request, &ticket))
        .insert_header((cookie::NEXT_CSRF, ticket.csrf_token.expose_secret()))
        .json(Success { success: true }))
}

/// Without a session it is no error.
#[utoipa::path(
    operation_id = "logout",
    summary = "Request that the current user be signed out.",
    description = "Has the client forget its cookie. Without a session it is no error.",
    tag = "user", security(()), params(Proof),
    responses((status = 200, description = "Successful creation", body = Success), SignOutErrors, OutageErrors),
)]
#[post("/api/v1/signout")]
pub(super) async fn sign_out(state: Data<State>, request: HttpRequest) -> Answer {
    if let Some(cookie) = cookie::sent(&request) {
        let Proof { csrf_token } = Proof::of(&request);
        let sessions = state.service.sessions();
        sessions.confirm(cookie, csrf_token.as_deref())?;
    }
    Ok(HttpResponse::Ok()
        .insert_header(cookie::forget(&request))
        .json(Success { success: true }))
}
