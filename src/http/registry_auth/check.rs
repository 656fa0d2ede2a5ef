//! The endpoint that authorises requests for proxies in front of registries.
//!
//! nginx (`auth_request`) and Traefik (`ForwardAuth`) send the original request in headers, Envoy (`ext_authz`) as the
//! request itself with a path prefix. The proxy's configuration names the registry, never a host that the client could
//! choose.

use std::fmt::Write as _;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, get};
use serde::Deserialize;
use utoipa::IntoParams;

use super::demand::needed;
use super::error::{Errors, OciErrors, Passing};
use crate::domain::scope::{Access, joined};
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result, What};
use crate::http::call::{basic, bearer, origin};
use crate::http::dialect::{self, Failure};
use crate::http::links;
use crate::http::source::source;
use crate::http::state::State;
use crate::http::surface::TOKEN_PATH;
use crate::service::access::Presented;
use crate::service::grants::{Pass, Passage, Verdict};

type Answer = dialect::Answer<Passing>;

/// The method and the path of the original request: in the headers of nginx, of Kubernetes' ingress-nginx (a whole
/// URL), and of Traefik.
const FAMILIES: [(&str, &str); 3] = [
    ("x-original-method", "x-original-uri"),
    ("x-original-method", URL),
    ("x-forwarded-method", "x-forwarded-uri"),
];

const URL: &str = "x-original-url";

/// Which registry a proxy stands in front of.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Service {
    /// The registry's service name, which is its hostname; written into the proxy's configuration
    #[param(example = "team-a.localhost")]
    service: String,
}

/// The headers by which nginx passes on the original request.
#[derive(Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Header)]
struct Original {
    /// The method of the original request; Traefik calls it `X-Forwarded-Method`
    #[param(rename = "X-Original-Method", example = "GET")]
    method: String,
    /// The path and query of the original request, as they came; Traefik calls it `X-Forwarded-Uri`
    #[param(rename = "X-Original-URI", example = "/v2/team/app/manifests/latest")]
    uri: String,
}

/// Check a request to a registry
///
/// For a proxy in front of any registry: nginx `auth_request`, Traefik `ForwardAuth`, Envoy `ext_authz`. Reads the
/// client's own credentials, HTTP Basic or a JWT of `/token`, and decides by what they open now: a token that is
/// disabled, expired or deleted fails on its very next request.
#[utoipa::path(
    operation_id = "registryCheck", tag = "Registry access", security(("basicAuth" = [])), params(Service, Original),
    responses(
        (status = 200, description = "The request may pass"),
        (status = 403, description = "The credentials do not permit it", body = OciErrors),
        Errors,
    ),
)]
#[get("/v2/check")]
pub(super) async fn check(state: Data<State>, request: HttpRequest) -> Answer {
    let service = web::Query::<Service>::from_query(request.query_string())
        .map(|query| query.into_inner().service)
        .map_err(|_| {
            Error::invalid(
                Field::Other("service"),
                "the proxy has to name the registry: /v2/check?service=HOSTNAME",
            )
        })?;
    let Original { method, uri } = original(&request)?;
    decide(&state, &request, service, &method, &uri).await
}

/// The endpoint for Envoy: the original method, and the original path after ours.
pub(super) async fn by_path(state: Data<State>, request: HttpRequest) -> Answer {
    let ours = |uri: &str| {
        let rest = uri.strip_prefix("/v2/check/")?;
        let (service, _) = rest.split_once('/')?;
        let original = rest.get(service.len()..)?;
        Some((service.to_owned(), original.to_owned()))
    };
    // The raw path: the router's is decoded. The router also matches `/v2/%63heck/`, which no proxy sends.
    let uri = request
        .uri()
        .path_and_query()
        .map_or("", actix_web::http::uri::PathAndQuery::as_str);
    let (service, uri) =
        ours(uri).ok_or_else(|| Error::not_found(What::Path, quoted(request.path())))?;
    let method = request.method().as_str().to_owned();
    decide(&state, &request, service, &method, &uri).await
}

async fn decide(
    state: &State,
    request: &HttpRequest,
    service: String,
    method: &str,
    uri: &str,
) -> Answer {
    // The service goes into a quoted value in a header of the answer.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    if !service.bytes().all(plain) {
        return Err(Error::invalid(Field::Other("service"), "the service is no host name").into());
    }
    let needed = needed(method, uri, is_form(request));
    let scope = needed.clone().unwrap_or_default();
    let challenge = |service: &str, error| challenge(request, service, &scope, error);
    let Some(pass) = credentials(request) else {
        return Ok(refuse(&challenge(&service, None)));
    };
    let rejected = matches!(pass, Pass::Jwt { .. }).then_some("invalid_token");
    let passage = Passage {
        pass,
        service: service.clone(),
        needed,
        origin: origin(request),
    };
    match state.service.grants().check(passage).await {
        Ok(Verdict::Pass) => Ok(HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .finish()),
        // containerd uploads instead of mounting on a 401 without `error`, and gives up on anything else.
        Ok(Verdict::NotFromThere) => Ok(refuse(&challenge(&service, None))),
        Ok(Verdict::AskForMore) => Ok(refuse(&challenge(&service, Some("insufficient_scope")))),
        Err(Error::Unauthenticated) => Ok(refuse(&challenge(&service, rejected))),
        Err(error) => Err(error.into()),
    }
}

/// The method and the URI of the original request. A client can send such headers too, and a proxy forwards those that
/// it does not set. So each has to come once and in a complete pair, and several pairs have to be equal.
fn original(request: &HttpRequest) -> Result<Original> {
    let wrong = |message: &str| Error::invalid(Field::Other("original-request"), message);
    let mut found: Option<Original> = None;
    for (method, uri) in FAMILIES {
        let Some(sent) = single(request, uri)? else {
            continue;
        };
        let Some(method) = single(request, method)? else {
            if found.is_some() {
                return Err(contradiction());
            }
            return Err(wrong(&format!(
                "the proxy has to send {method} together with {uri}"
            )));
        };
        let path = if uri == URL {
            path_of(&sent).ok_or_else(|| match found {
                Some(_) => contradiction(),
                None => wrong(&format!("{uri} is no URL with a path")),
            })?
        } else {
            &sent
        };
        let pair = Original {
            method,
            uri: path.to_owned(),
        };
        if found.as_ref().is_some_and(|found| *found != pair) {
            return Err(contradiction());
        }
        found = Some(pair);
    }
    // A method without its path would come from the client, beside the proxy's pair of another kind.
    for (method, _) in FAMILIES {
        if let Some(sent) = single(request, method)?
            && found.as_ref().is_some_and(|found| found.method != sent)
        {
            return Err(contradiction());
        }
    }
    found.ok_or_else(|| {
        wrong("the proxy has to send X-Original-Method and X-Original-URI of the original request")
    })
}

/// The raw path and query of `http://host/path?query`. The host comes from the client, so it must not contain
/// characters of a path.
fn path_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let (host, path) = rest.split_at_checked(rest.find('/')?)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    host.bytes().all(plain).then_some(path)
}

/// A header that may be sent only once. Text that is not ASCII is read byte by byte, and is an odd path like others.
fn single(request: &HttpRequest, name: &str) -> Result<Option<String>> {
    let mut values = request.headers().get_all(name);
    let first = values.next();
    if values.next().is_some() {
        return Err(contradiction());
    }
    Ok(first.map(|value| value.as_bytes().iter().copied().map(char::from).collect()))
}

/// The error if a client imitates the proxy's headers. This is no misconfiguration, so it is refused as forbidden.
fn contradiction() -> Error {
    Error::Forbidden("the headers name different original requests".to_owned())
}

/// Returns true if any of the content types sent is that of a form.
fn is_form(request: &HttpRequest) -> bool {
    request.headers().get_all(CONTENT_TYPE).any(|sent| {
        let sent = sent.as_bytes().to_ascii_lowercase();
        let holds = |word: &[u8]| sent.windows(word.len()).any(|window| window == word);
        holds(b"form-urlencoded") || holds(b"form-data")
    })
}

fn credentials(request: &HttpRequest) -> Option<Pass> {
    if let Some(jwt) = bearer(request) {
        return Some(Pass::Jwt {
            jwt,
            source: source(request),
        });
    }
    let (name, password) = basic(request)?;
    Some(Pass::Password(Presented::new(
        name,
        password,
        source(request),
    )))
}

/// A challenge that sends the client to the token endpoint, as a registry does, if our URL is known. Otherwise a Basic
/// challenge: the client then sends its name and secret with every request.
fn challenge(
    request: &HttpRequest,
    service: &str,
    needed: &[Access],
    error: Option<&str>,
) -> String {
    let Some(origin) = links::origin(request) else {
        return r#"Basic realm="wharfinger", charset="UTF-8""#.to_owned();
    };
    let mut text = format!(r#"Bearer realm="{origin}{TOKEN_PATH}",service="{service}""#);
    if !needed.is_empty() {
        let _ = write!(text, r#",scope="{}""#, joined(needed));
    }
    if let Some(error) = error {
        let _ = write!(text, r#",error="{error}""#);
    }
    text
}

fn refuse(challenge: &str) -> HttpResponse {
    let mut response = Failure::<Passing>::from(Error::Unauthenticated).error_response();
    if let Ok(value) = HeaderValue::from_str(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn read(headers: &[(&str, &str)]) -> Option<(String, String)> {
        let mut request = TestRequest::default();
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        let Original { method, uri } = original(&request.to_http_request()).ok()?;
        Some((method, uri))
    }

    #[test]
    fn the_original_request_is_told_once_and_wholly() {
        let pair = |method: &str, path: &str| Some((method.to_owned(), path.to_owned()));
        let (method, path) = ("X-Original-Method", "X-Original-URI");
        let (other_method, other_path) = ("X-Forwarded-Method", "X-Forwarded-Uri");
        assert_eq!(
            read(&[(method, "PUT"), (path, "/v2/a")]),
            pair("PUT", "/v2/a")
        );
        assert_eq!(
            read(&[(other_method, "GET"), (other_path, "/v2/a?b")]),
            pair("GET", "/v2/a?b")
        );
        assert_eq!(
            read(&[
                (method, "GET"),
                ("X-Original-URL", "https://h:5000/v2/a?b=://c/v2/d")
            ]),
            pair("GET", "/v2/a?b=://c/v2/d")
        );
        // Only a URL has text before its path.
        assert_eq!(
            read(&[(method, "GET"), (path, "/v2/a?b=://c/v2/d")]),
            pair("GET", "/v2/a?b=://c/v2/d")
        );
        for wrong in [
            &[][..],
            &[(method, "GET")],
            &[(path, "/v2/")],
            &[(method, "GET"), (other_path, "/v2/")],
            &[(method, "GET"), (method, "GET"), (path, "/v2/")],
            &[(method, "GET"), (path, "/v2/"), (path, "/v2/a")],
            &[(method, "PUT"), (path, "/v2/"), (other_method, "GET")],
            &[(method, "GET"), (path, "/v2/"), (other_path, "/v2/")],
            &[
                (method, "GET"),
                (path, "/v2/"),
                (other_method, "GET"),
                (other_path, "/v2/a"),
            ],
            &[
                (method, "GET"),
                (path, "/v2/"),
                ("X-Original-URL", "https://h/v2/a"),
            ],
            &[(method, "GET"), ("X-Original-URL", "/v2/a")],
            &[(method, "GET"), ("X-Original-URL", "https://h")],
            &[(method, "GET"), ("X-Original-URL", "https://h?/v2/a")],
            &[(method, "GET"), ("X-Original-URL", "https://h@x/v2/a")],
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
