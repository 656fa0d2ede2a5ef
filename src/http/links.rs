//! Absolute URLs of this service.

use actix_web::HttpRequest;
use actix_web::web::Data;
use url::Url;

use super::state::State;

/// The URL of a request's own path, by the public URL of the settings, or else a loopback `Host`.
///
/// Any other `Host` comes from the client and is not trusted: links then have no origin.
pub(super) fn here(request: &HttpRequest) -> String {
    let base = origin(request).unwrap_or_default();
    format!("{base}{}", request.path())
}

/// The URL of this service for clients, without a final slash, as far as it is known.
pub(super) fn origin(request: &HttpRequest) -> Option<String> {
    let state = request.app_data::<Data<State>>();
    let public = state.and_then(|state| state.origins.public_url.as_ref());
    match public {
        Some(url) => Some(url.as_str().trim_end_matches('/').to_owned()),
        None => loopback_origin(request),
    }
}

/// Returns true if clients reach this service by TLS, as far as it is known.
pub(super) fn is_secure(request: &HttpRequest) -> bool {
    let origins = request
        .app_data::<Data<State>>()
        .map(|state| &state.origins);
    let public = origins.and_then(|origins| origins.public_url.as_ref());
    public.map_or_else(|| serves_tls(request), |url| url.scheme() == "https")
}

/// Returns true if this request came by TLS.
fn serves_tls(request: &HttpRequest) -> bool {
    let state = request.app_data::<Data<State>>();
    state.is_some_and(|state| state.origins.tls)
}

/// The host that a request was sent to.
pub(super) fn host(request: &HttpRequest) -> Option<&str> {
    let host = request.headers().get(actix_web::http::header::HOST);
    host?.to_str().ok()
}

fn loopback_origin(request: &HttpRequest) -> Option<String> {
    let host = host(request)?;
    let scheme = if serves_tls(request) { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://{host}")).ok()?;
    let bare = url.path() == "/"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (bare && is_loopback(&url)).then(|| url.origin().ascii_serialization())
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
