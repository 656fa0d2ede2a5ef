//! The middleware of all requests: request id, origin check, log, and security headers for browsers.

use std::rc::Rc;

use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use tracing::Instrument as _;
use url::{Host, Url};

use super::call::RequestId;
use super::dialect::{Failure, cause};
use super::native::Native;
use super::state::State;
use super::surface::{Surface, WhileFrozen, routed};
use super::{links, metrics};
use crate::domain::secret::masked;
use crate::error::{Error, Outage, Result};
use crate::waker::CrossThreadWaker;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
/// The request headers that identify a request of a script.
const DECIDES_CHALLENGE: HeaderValue = HeaderValue::from_static("Sec-Fetch-Mode, X-Requested-With");
/// Security headers of every answer: no content sniffing, no frames, no referrer, use by this origin only.
const BINDING: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];
/// Headers of answers that do not set them: the answer is no page, and is not cached.
const UNLESS_SAID: [(HeaderName, HeaderValue); 2] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];
/// A year, without subdomains, which may belong to others.
const HTTPS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// The beginning of the `Allow` header of a path that answers HEAD like GET.
pub(super) const GET_AND_HEAD: &str = "GET, HEAD";
/// The longest request id accepted from a client, in bytes.
const ID_LENGTH: usize = 64;

/// Wraps every request.
pub(super) async fn guard(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> std::result::Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let state = request.app_data::<Data<State>>().cloned();
    let state = state.as_ref().map(Data::get_ref);
    let surface = state.map(|state| state.surface(routed(request.request())));
    let watch = state.map(|state| state.served.requests.begin());
    let id = request_id(&request, state);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let span = tracing::info_span!("request", id = %id, method = %request.method(), path = %Told(routed(request.request())));
    async move {
        let let_in = match check_origin(&request, state)
            .and_then(|()| check_room(&request, state, surface))
        {
            Ok(()) => check_freeze(&request, state, surface).await,
            refused => refused,
        };
        let response = match let_in {
            Ok(()) => {
                if method == Method::HEAD
                    && state.is_some_and(|state| reads_by_get(&request, state))
                {
                    request.head_mut().method = Method::GET;
                }
                let waker = request.app_data::<Rc<CrossThreadWaker>>().cloned();
                let call = next.call(request);
                let answer = match waker {
                    Some(waker) => waker.run(call).await,
                    None => call.await,
                };
                let answer = answer?.map_into_boxed_body();
                // The connection would read a stream (an export of everything) to its end and send nothing of it.
                if method == Method::HEAD && answer.response().body().size() == BodySize::Stream {
                    // No length is told, as GET tells none (RFC 9110 §8.6).
                    answer.map_body(|_, _| BoxBody::new(actix_web::body::None::new()))
                } else {
                    answer
                }
            }
            Err(error) => {
                let path = routed(request.request());
                let failure = match surface {
                    Some(surface) => (surface.failure)(path, error),
                    None => Failure::<Native>::from(error).into(),
                };
                request.error_response(failure)
            }
        };
        let https = state.is_some_and(|state| state.origins.https());
        let response = label(response, &id, https, surface);
        if let (Some(watch), Some(surface)) = (watch, surface) {
            metrics::count(
                &watch,
                surface,
                &method,
                response.request(),
                response.status(),
            );
        }
        log(&response, state);
        Ok(response)
    }
    .instrument(span)
    .await
}

fn label(
    mut response: ServiceResponse<BoxBody>,
    id: &str,
    https: bool,
    surface: Option<&Surface>,
) -> ServiceResponse<BoxBody> {
    let silently = surface.is_none_or(|surface| !surface.challenges_scripts);
    if response.status() == StatusCode::UNAUTHORIZED && silently {
        challenge_scripts_silently(&mut response);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in BINDING {
        headers.insert(name, value);
    }
    for (name, value) in UNLESS_SAID {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HTTPS_ONLY);
    }
    response
}

/// Returns true if HEAD of this path is answered like GET. The connection leaves out the body (RFC 9110 §9.3.2).
fn reads_by_get(request: &ServiceRequest, state: &State) -> bool {
    let route = state.route(request.request());
    route.is_some_and(|(_, allow)| allow.starts_with(GET_AND_HEAD))
}

/// Removes the Basic challenge from a 401 to a page's script: the browser would open its own sign-in dialog, and the
/// script would wait for it.
fn challenge_scripts_silently(response: &mut ServiceResponse<BoxBody>) {
    let challenges = response.headers().get_all(WWW_AUTHENTICATE);
    let (basic, others): (Vec<_>, Vec<_>) = challenges
        .cloned()
        .partition(|challenge| challenge.as_bytes().starts_with(b"Basic "));
    if basic.is_empty() {
        return;
    }
    let asked = response.request().headers();
    let by_script = asked.contains_key(REQUESTED_WITH)
        || asked
            .get(FETCH_MODE)
            .is_some_and(|mode| mode.as_bytes() != b"navigate");
    let headers = response.headers_mut();
    headers.append(VARY, DECIDES_CHALLENGE);
    if by_script {
        headers.remove(WWW_AUTHENTICATE);
        for challenge in others {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
    }
}

/// A path for the log, with control characters escaped. It is the decoded path of the router: an encoded secret would
/// not be recognised and masked.
struct Told<'a>(&'a str);

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte);
        // Escaping writes character by character, which took a twentieth of a GET's instructions.
        if self.0.bytes().all(plain) {
            f.write_str(self.0)
        } else {
            self.0.escape_debug().fmt(f)
        }
    }
}

/// The request id of the client or a proxy if it is a harmless word and no secret, or else a new one.
fn request_id(request: &ServiceRequest, state: Option<&State>) -> String {
    let sent = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok());
    let harmless = |id: &&str| {
        !id.is_empty()
            && id.len() <= ID_LENGTH
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && masked(id) == **id
    };
    match (sent.filter(harmless), state) {
        (Some(id), _) => id.to_owned(),
        (None, Some(state)) => state
            .random
            .uuid()
            .map(|id| id.to_string())
            .unwrap_or_default(),
        (None, None) => String::new(),
    }
}

/// Refuses writes that a page of another origin makes a browser send, before the body is read.
///
/// Browsers send `Origin` with every unsafe request and, newer ones, `Sec-Fetch-Site`; other clients send neither.
fn check_origin(request: &ServiceRequest, state: Option<&State>) -> Result<()> {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    ) {
        return Ok(());
    }
    let foreign_site = request
        .headers()
        .get(FETCH_SITE)
        .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    let foreign_origin = request
        .headers()
        .get_all(ORIGIN)
        .any(|origin| !is_own(origin, request, state));
    if foreign_site || foreign_origin {
        return Err(Error::ForeignOrigin);
    }
    Ok(())
}

/// Refuses a read early if the read queue is full, which saves most of its cost under a flood. Probes have a reader of
/// their own. Requests that may write are left to the store, since they use two queues.
fn check_room(
    request: &ServiceRequest,
    state: Option<&State>,
    surface: Option<&Surface>,
) -> Result<()> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match state {
        Some(state) if reads && surface.is_none_or(|surface| surface.queues) => {
            state.service.require_room()
        }
        _ => Ok(()),
    }
}

/// While the service is frozen, only probes, documents and reads of the registries API pass, and reads need Admin.
/// Writes are refused, and so are surfaces that issue credentials.
async fn check_freeze(
    request: &ServiceRequest,
    state: Option<&State>,
    surface: Option<&Surface>,
) -> Result<()> {
    let Some(service) = state.map(|state| &state.service) else {
        return Ok(());
    };
    if !service.is_frozen() {
        return Ok(());
    }
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    match surface.map(|surface| surface.while_frozen) {
        Some(WhileFrozen::All) => Ok(()),
        Some(WhileFrozen::Reads) if looks => Ok(()),
        // Boxed, so that other requests do not reserve space for it.
        _ if Box::pin(service.freeze().heed()).await?.is_none() => Ok(()),
        _ => Err(Error::Frozen),
    }
}

/// Returns true for the public URL's origin, and for an IP address that the request was sent to: any address without a
/// public URL, only a loopback address with one.
///
/// A name in `Host` proves nothing: its owner can point it to this service after a page was loaded under it (DNS
/// rebinding). An address cannot be redirected, and browsers resolve `localhost` by themselves (RFC 6761 §6.3). The
/// comparison with the host ignores the scheme: a proxy in front may have ended TLS.
fn is_own(origin: &HeaderValue, request: &ServiceRequest, state: Option<&State>) -> bool {
    let Some(origin) = origin
        .to_str()
        .ok()
        .and_then(|origin| Url::parse(origin).ok())
    else {
        return false;
    };
    let public = state.and_then(|state| state.origins.public_url.as_ref());
    if public.is_some_and(|public| public.origin() == origin.origin()) {
        return true;
    }
    let is_address = matches!(origin.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
    if !links::is_loopback(&origin) && (public.is_some() || !is_address) {
        return false;
    }
    let host = links::host(request.request());
    host.and_then(|host| Url::parse(&format!("{}://{host}", origin.scheme())).ok())
        .is_some_and(|own| own.origin() == origin.origin())
}

/// Logs one line per request: our own failures as errors with the whole cause, all others at debug level.
fn log(response: &ServiceResponse<BoxBody>, state: Option<&State>) {
    let status = response.status().as_u16();
    let error = cause(response.response());
    match error.as_deref() {
        Some(error @ Error::Internal(_)) => {
            tracing::error!(status, error = error.chain(), "the request failed");
        }
        Some(Error::Unavailable {
            outage: Outage::Busy,
            ..
        }) if let Some(state) = state => {
            tracing::debug!(status, "the request was refused, as a queue was full");
            let told = state.turned_away.count(state.service.instant());
            if let Some(requests) = told {
                tracing::warn!(
                    requests,
                    "requests were refused, as a queue was full; reduce the load or give the service more cores"
                );
            }
        }
        Some(
            error @ Error::Unavailable {
                outage: Outage::Issuer,
                ..
            },
        ) => {
            tracing::warn!(
                status,
                error = error.chain(),
                "the request was answered with 503, as there are no keys to check its JWT with"
            );
        }
        Some(error @ Error::Unavailable { .. }) => {
            tracing::warn!(
                status,
                error = error.chain(),
                "the request was answered with 503; check the database"
            );
        }
        // Without an error it is /readyz, which reports itself what is missing.
        None if status == 503 => tracing::debug!(status, "the request was answered"),
        None if status >= 500 => tracing::error!(status, "the request failed"),
        // StackRox answers some refusals with 500 and 501.
        _ => tracing::debug!(status, "the request was answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_escaped() {
        for path in [
            "/registries/5f0a/tokens",
            "/a%0a(b)~c",
            "/a\u{1b}[31m",
            "/a b\n",
            "/\"'\\",
            "/é\u{200b}\u{7f}",
            "",
        ] {
            assert_eq!(Told(path).to_string(), path.escape_debug().to_string());
        }
    }
}
