//! The cookie of a session and the header that goes with it.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};
use secrecy::ExposeSecret as _;

use super::links;
use crate::service::sessions::{SESSION_LIFE, Ticket};

/// Not Quay's `session`, which another service on the same domain may use too.
const NAME: &str = "wharfinger-session";
/// The name with TLS: by the prefix, neither another host of the domain nor a connection without TLS can set it (RFC
/// 6265bis §4.1.3.2).
const NAME_BY_TLS: &str = "__Host-wharfinger-session";
/// The request header with the CSRF token.
pub(super) const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");
/// The answer header with the CSRF token for the next request.
pub(super) const NEXT_CSRF: HeaderName = HeaderName::from_static("x-next-csrf-token");

/// The session cookie of a request, the first of several.
pub(super) fn sent(request: &HttpRequest) -> Option<&str> {
    let headers = request.headers().get_all(header::COOKIE);
    headers
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(sent, _)| *sent == name(request))
        .map(|(_, value)| value)
}

fn name(request: &HttpRequest) -> &'static str {
    if links::is_secure(request) {
        NAME_BY_TLS
    } else {
        NAME
    }
}

/// The CSRF token of a request.
pub(super) fn csrf_token(request: &HttpRequest) -> Option<&str> {
    request.headers().get(CSRF)?.to_str().ok()
}

/// The header that sets the session cookie.
pub(super) fn keep(request: &HttpRequest, ticket: &Ticket) -> (HeaderName, String) {
    let life = SESSION_LIFE.num_seconds();
    set(request, ticket.cookie.expose_secret(), life)
}

/// The header that removes the session cookie.
pub(super) fn forget(request: &HttpRequest) -> (HeaderName, String) {
    set(request, "", 0)
}

fn set(request: &HttpRequest, value: &str, seconds: i64) -> (HeaderName, String) {
    // Clients of a server without TLS would not send a `Secure` cookie back.
    let secure = if links::is_secure(request) {
        "; Secure"
    } else {
        ""
    };
    let name = name(request);
    let cookie =
        format!("{name}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax{secure}");
    (header::SET_COOKIE, cookie)
}
