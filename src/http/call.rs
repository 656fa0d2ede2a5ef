//! The argument of handlers: an authenticated caller, the path and query, and the body, read in that order.
//!
//! It is one extractor, since actix polls several concurrently: a malformed body would then be refused before the
//! password is checked.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::http::header::{AUTHORIZATION, HeaderValue};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::de::value::{self, MapDeserializer};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use zeroize::Zeroizing;

use super::body;
use super::cookie;
use super::dialect::{Dialect, Failure};
use super::source::source;
use super::state::State;
use super::surface::PREFIX;
use crate::domain::audit::Origin;
use crate::domain::id::AccountId;
use crate::domain::idempotency::{self, Attempt, IdempotencyKey};
use crate::domain::text::{nearest, quoted};
use crate::error::{Error, Field, Result, Violations};
use crate::service::access::{Caller, Presented};

/// The maximum of unknown query parameters that an error names.
const UNKNOWN_TOLD: usize = 20;
/// The maximum length of the `Authorization` header, in bytes.
const AUTHORIZATION_LIMIT: usize = 8 * 1024;

/// A request of surface `S` with head `H` and body `B`.
#[derive(Debug)]
pub(super) struct Call<S, H = (), B = ()> {
    /// The authenticated caller.
    pub caller: Caller,
    /// The path and the query.
    pub head: H,
    /// The body.
    pub body: B,
    surface: PhantomData<S>,
}

impl<S: Dialect, H: Head, B: Body> FromRequest for Call<S, H, B> {
    type Error = Failure<S>;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, Failure<S>>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let caller = identify::<H>(&request).await?;
            let parts = async {
                require_known::<S, H>(&request)?;
                read(&request, payload).await
            };
            let (head, body) = match parts.await {
                Ok(parts) => parts,
                Err(error) => {
                    // A cached password proof does not show that the account is still enabled, so check that before
                    // reporting other errors.
                    State::of(&request)?.service.admit(&caller).await?;
                    return Err(error.into());
                }
            };
            Ok(Self {
                caller,
                head,
                body,
                surface: PhantomData,
            })
        })
    }
}

/// Reads the head first, so that its errors come first.
pub(super) async fn read<H: Head, B: Body>(
    request: &HttpRequest,
    payload: dev::Payload,
) -> Result<(H, B)> {
    let head = H::read(request)?;
    Ok((head, B::read(request, payload).await?))
}

async fn identify<H: Head>(request: &HttpRequest) -> Result<Caller> {
    if let Some(token) = bearer(request) {
        return prove_bearer(request, token).await;
    }
    if H::TAKES_SESSIONS && authorization(request).is_none() {
        return prove_session(request);
    }
    prove_password(request, basic(request).ok_or(Error::Unauthenticated)?).await
}

/// Authenticates a caller with an API token.
pub(super) async fn prove_bearer(request: &HttpRequest, token: SecretString) -> Result<Caller> {
    let service = &State::of(request)?.service;
    service.identify_bearer(&token, origin(request)).await
}

/// Authenticates a caller with a name and a password.
pub(super) async fn prove_password(
    request: &HttpRequest,
    (name, password): (String, SecretString),
) -> Result<Caller> {
    let presented = Presented::new(name, password, source(request));
    let service = &State::of(request)?.service;
    service.identify(presented, origin(request)).await
}

/// Authenticates a caller with the cookie of a session. A request that changes something has its CSRF token too.
pub(super) fn prove_session(request: &HttpRequest) -> Result<Caller> {
    let cookie = cookie::sent(request).ok_or(Error::Unauthenticated)?;
    let sessions = State::of(request)?.service.sessions();
    if !request.method().is_safe() {
        sessions.confirm(cookie, cookie::csrf_token(request))?;
    }
    Ok(sessions.identify(cookie)?.from(origin(request)))
}

/// The id of a request, for answers and log lines.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub String);

/// The source address of a request, and its id.
pub(super) fn origin(request: &HttpRequest) -> Origin {
    let id = request.extensions().get::<RequestId>().cloned();
    Origin {
        address: Some(source(request)),
        request_id: id.map(|id| id.0).unwrap_or_default(),
    }
}

/// The `Authorization` header. `None` if there are several, which would be ambiguous.
pub(super) fn authorization(request: &HttpRequest) -> Option<&HeaderValue> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    match (headers.next(), headers.next()) {
        (Some(header), None) => Some(header),
        _ => None,
    }
}

/// The name and password of a request with HTTP Basic.
pub(super) fn basic(request: &HttpRequest) -> Option<(String, SecretString)> {
    read_basic(authorization(request)?)
}

/// The token of a request with `Authorization: Bearer …` (RFC 6750 §2.1).
pub(super) fn bearer(request: &HttpRequest) -> Option<SecretString> {
    let (scheme, token) = authorization(request)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().into())
}

/// The name and password of an `Authorization: Basic …` header (RFC 7617): all after the first colon is password.
///
/// We announce UTF-8, but Swagger UI encodes with the browser's `btoa`, which gives Latin-1. So text that is not UTF-8
/// is read as Latin-1: otherwise no password with an umlaut would work there.
pub(super) fn read_basic(header: &HeaderValue) -> Option<(String, SecretString)> {
    if header.len() > AUTHORIZATION_LIMIT {
        return None;
    }
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let text = Zeroizing::new(match str::from_utf8(&decoded) {
        Ok(text) => text.to_owned(),
        Err(_) => decoded.iter().copied().map(char::from).collect(),
    });
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.into()))
}

/// Refuses unknown query parameters, if the surface does so.
fn require_known<S: Dialect, H: Head>(request: &HttpRequest) -> Result<()> {
    let (Some(ignored), query @ [_, ..]) = (S::IGNORED, request.query_string().as_bytes()) else {
        return Ok(());
    };
    if H::TAKES_ANY {
        return Ok(());
    }
    let known = H::parameters();
    let known: Vec<_> = known.iter().map(|known| known.name.as_str()).collect();
    let mut violations = Violations::default();
    let unknown = url::form_urlencoded::parse(query).filter(|(name, _)| {
        let ignored = ignored.iter().any(|(ignored, _)| *ignored == name);
        !ignored && !known.contains(&&**name)
    });
    for (name, _) in unknown.take(UNKNOWN_TOLD) {
        let hint = match nearest(&known, &name) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None if known.is_empty() => "this operation has none".to_owned(),
            None => format!("known are {}", known.join(", ")),
        };
        let problem = format!("unknown parameter {}; {hint}", quoted(&name));
        violations.push(Field::Query, problem);
    }
    violations.finish(Some(()))
}

/// A value that is read from the path and the query.
pub(super) trait Head: Sized + 'static {
    /// True if unknown query parameters are ignored.
    const TAKES_ANY: bool = false;
    /// True if the cookie of a session is taken for credentials, in a request without others.
    const TAKES_SESSIONS: bool = false;

    /// Reads it.
    fn read(request: &HttpRequest) -> Result<Self>;

    /// The query parameters that it reads, as in the document.
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }
}

impl Head for () {
    fn read(_: &HttpRequest) -> Result<Self> {
        Ok(())
    }
}

impl<A: Head, B: Head> Head for (A, B) {
    const TAKES_ANY: bool = A::TAKES_ANY || B::TAKES_ANY;
    const TAKES_SESSIONS: bool = A::TAKES_SESSIONS || B::TAKES_SESSIONS;

    fn read(request: &HttpRequest) -> Result<Self> {
        Ok((A::read(request)?, B::read(request)?))
    }

    fn parameters() -> Vec<Parameter> {
        let mut all = A::parameters();
        all.extend(B::parameters());
        all
    }
}

/// The parameters of a path.
pub(super) fn path<T: DeserializeOwned>(request: &HttpRequest) -> Result<T> {
    let segments = MapDeserializer::new(request.match_info().iter());
    T::deserialize(segments).map_err(|error: value::Error| Error::internal(error))
}

/// Parameters of a path, as they were sent.
#[derive(Debug)]
pub(super) struct Path<T>(pub T);

impl<T: DeserializeOwned + 'static> Head for Path<T> {
    fn read(request: &HttpRequest) -> Result<Self> {
        path(request).map(Self)
    }
}

/// The text of a path segment.
pub(super) fn segment(request: &HttpRequest, name: &str) -> Result<String> {
    request
        .match_info()
        .get(name)
        .map(str::to_owned)
        .ok_or_else(|| Error::internal(format!("the route has no part {name}")))
}

/// Parameters of the query.
#[derive(Debug)]
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned + 'static> Head for Query<T> {
    fn read(request: &HttpRequest) -> Result<Self> {
        let query = web::Query::<T>::from_query(request.query_string()).map_err(|error| {
            let reason = error.to_string();
            let repeated = reason.split_once("duplicate field `");
            let repeated = repeated.and_then(|(_, rest)| rest.split_once('`'));
            let message = match repeated {
                Some((name, _)) => format!("{name} is there more than once; send it once"),
                None => format!("the query cannot be read: {reason}"),
            };
            Error::invalid(Field::Query, message)
        })?;
        Ok(Self(query.into_inner()))
    }
}

impl<T: IntoParams> Query<T> {
    /// The parameters of a type, as in the document.
    pub(super) fn parameters() -> Vec<Parameter> {
        T::into_params(|| Some(ParameterIn::Query))
    }
}

/// The values of a parameter that may come several times, in their order.
pub(super) fn repeated(request: &HttpRequest, parameter: &str) -> Vec<String> {
    url::form_urlencoded::parse(request.query_string().as_bytes())
        .filter(|(name, _)| name == parameter)
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// The whole request, for answers that depend on its host and path.
#[derive(Debug)]
pub(super) struct Raw(pub HttpRequest);

impl Head for Raw {
    fn read(request: &HttpRequest) -> Result<Self> {
        Ok(Self(request.clone()))
    }
}

/// A value that is read from the body.
pub(super) trait Body: Sized + 'static {
    /// Reads it, or says what is wrong with it.
    fn read(request: &HttpRequest, payload: dev::Payload) -> impl Future<Output = Result<Self>>;
}

impl Body for () {
    /// An unexpected body is ignored.
    async fn read(_: &HttpRequest, _: dev::Payload) -> Result<Self> {
        Ok(())
    }
}

/// A JSON body of the wire type `W`, converted to the command `C`.
#[derive(Debug)]
pub(super) struct Json<W, C>(pub(super) C, PhantomData<W>);

impl<W, C> Body for Json<W, C>
where
    W: DeserializeOwned + 'static,
    C: TryFrom<W, Error = Error> + 'static,
{
    async fn read(request: &HttpRequest, payload: dev::Payload) -> Result<Self> {
        let text = body::json(request, payload).await?;
        command::<W, C>(&text).map(|command| Self(command, PhantomData))
    }
}

/// A JSON body like [`Json`], of a request that a client may repeat: with a key it is carried out once.
#[derive(Debug)]
pub(super) struct Repeatable<W, C> {
    pub(super) command: C,
    /// The identity of the request for the detection of repeats, if it has a key.
    pub(super) attempt: Option<Attempt>,
    wire: PhantomData<W>,
}

impl<W, C> Body for Repeatable<W, C>
where
    W: DeserializeOwned + 'static,
    C: TryFrom<W, Error = Error> + 'static,
{
    async fn read(request: &HttpRequest, payload: dev::Payload) -> Result<Self> {
        let key = idempotency_key(request)?;
        let text = body::json(request, payload).await?;
        let attempt = match key {
            Some(key) => {
                let path = canonical_path(request)?;
                let method = request.method().as_str();
                Some(Attempt::new(&key, method, &path, &text))
            }
            None => None,
        };
        Ok(Self {
            command: command::<W, C>(&text)?,
            attempt,
            wire: PhantomData,
        })
    }
}

/// The canonical path of a request: the pattern of its route without the prefix, with ids in the form in which this
/// service writes them.
fn canonical_path(request: &HttpRequest) -> Result<String> {
    let pattern = request
        .match_pattern()
        .ok_or_else(|| Error::internal("the request has no route"))?;
    let bare = pattern.strip_prefix(PREFIX).unwrap_or(&pattern);
    let part = |part: &str| match part
        .strip_prefix('{')
        .and_then(|part| part.strip_suffix('}'))
    {
        Some(name) => {
            let text = segment(request, name)?;
            // A segment that is no id stays as it is.
            let id = AccountId::parse(&text);
            Ok(id.map_or(text, |id| id.to_string()))
        }
        None => Ok(part.to_owned()),
    };
    let parts: Result<Vec<_>> = bare.split('/').map(part).collect();
    Ok(parts?.join("/"))
}

/// The `Idempotency-Key` header.
fn idempotency_key(request: &HttpRequest) -> Result<Option<IdempotencyKey>> {
    let mut keys = request.headers().get_all("idempotency-key");
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => IdempotencyKey::parse(key.as_bytes()).map(Some),
        _ => Err(idempotency::unreadable()),
    }
}

/// Converts a JSON text of the wire type `W` to a command.
fn command<W: DeserializeOwned, C: TryFrom<W, Error = Error>>(text: &[u8]) -> Result<C> {
    C::try_from(body::parse(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn read(header: &[u8]) -> Option<(String, String)> {
        read_basic(&HeaderValue::from_bytes(header).unwrap())
            .map(|(name, password)| (name, password.expose_secret().to_owned()))
    }

    #[test]
    fn credentials_are_split_at_the_first_colon() {
        let header =
            |credentials: &[u8]| format!("Basic {}", STANDARD.encode(credentials)).into_bytes();
        let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(read(&header(b"alice:a:b")), pair("alice", "a:b"));
        assert_eq!(
            read(&header("jörg:pässword".as_bytes())),
            pair("jörg", "pässword")
        );
        assert_eq!(
            read(&header(b"j\xf6rg:p\xe4ssword")),
            pair("jörg", "pässword")
        );
        assert_eq!(read(b"bAsIc  YTpi "), pair("a", "b"));
        assert_eq!(read(&header(b":")), pair("", ""));
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "Bearer YTpi",
            "Basic YWI=",
            "Basic Y",
            "Basic YTpi YTpi",
            "BasicYTpi",
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong:?} was read");
        }
        assert_eq!(read(b"Basic \xff"), None);
        assert_eq!(read(&header(&[b':'; AUTHORIZATION_LIMIT])), None);
    }
}
