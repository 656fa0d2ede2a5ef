//! Absolute URLs of this service.

use actix_web::HttpRequest;
use actix_web::web::Data;
use url::Url;

use super::state::State;

/// Where a request's own path is reached: the public URL of the settings, else a loopback `Host` as it was sent.
///
/// Any other `Host` is the client's word alone and is not repeated: links are then without origin.
pub(super) fn here(request: &HttpRequest) -> String {
    let base = origin(request).unwrap_or_default();
    format!("{base}{}", request.path())
}

/// Where clients reach this service, without a slash at the end, as far as we can know.
pub(super) fn origin(request: &HttpRequest) -> Option<String> {
    let state = request.app_data::<Data<State>>();
    let public = state.and_then(|state| state.origins.public_url.as_ref());
    match public {
        Some(url) => Some(url.as_str().trim_end_matches('/').to_owned()),
        None => loopback_origin(request),
    }
}

/// Do clients reach this service by TLS, as far as we can know?
pub(super) fn is_secure(request: &HttpRequest) -> bool {
    let origins = request
        .app_data::<Data<State>>()
        .map(|state| &state.origins);
    let public = origins.and_then(|origins| origins.public_url.as_ref());
    public.map_or_else(|| serves_tls(request), |url| url.scheme() == "https")
}

/// Did this request come by TLS?
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
