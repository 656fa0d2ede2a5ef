//! The argument of this surface's handlers: the path, the query and the body, and then an authenticated caller, in the
//! order of StackRox's gateway.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::{FromRequest, HttpRequest, dev};
use utoipa::IntoParams;

use super::wire::GenerateToken;
use crate::domain::api_token::Wish;
use crate::error::{Error, Field, Result};
use crate::http::body;
use crate::http::call::{Body, Head, authorization, basic, bearer, prove_bearer, prove_password};
use crate::http::dialect::{Dialect, Failure};
use crate::service::access::Caller;

/// A request of dialect `S` with head `H` and body `B`.
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
            let head = H::read(&request)?;
            let body = B::read(&request, payload).await?;
            Ok(Self {
                caller: identify(&request).await?,
                head,
                body,
                surface: PhantomData,
            })
        })
    }
}

/// The credentials of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    /// None, or none that StackRox reads.
    Nothing,
    /// An API token.
    Bearer,
    /// The name and password of an account; this is the name.
    Basic(String),
}

impl Attempt {
    /// Reads the header like StackRox: `Bearer` in any case, `Basic` only in this case, and nothing if there are two.
    pub(super) fn of(request: &HttpRequest) -> Self {
        if bearer(request).is_some() {
            return Self::Bearer;
        }
        let exact =
            authorization(request).is_some_and(|header| header.as_bytes().starts_with(b"Basic "));
        match basic(request).filter(|_| exact) {
            Some((name, _)) => Self::Basic(name),
            None => Self::Nothing,
        }
    }
}

async fn identify(request: &HttpRequest) -> Result<Caller> {
    match (Attempt::of(request), bearer(request), basic(request)) {
        (Attempt::Bearer, Some(token), _) => prove_bearer(request, token).await,
        (Attempt::Basic(_), _, Some(pair)) => prove_password(request, pair).await,
        _ => Err(Error::Unauthenticated),
    }
}

/// Which tokens a list has.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Revoked {
    /// `true` for revoked tokens, `false` for those that are not; all if absent
    pub revoked: Option<bool>,
}

impl Head for Revoked {
    fn read(request: &HttpRequest) -> Result<Self> {
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        let values: Vec<_> = pairs
            .filter(|(name, _)| name == "revoked")
            .map(|(_, value)| value)
            .collect();
        match values.as_slice() {
            [] => Ok(Self { revoked: None }),
            [value] => parse_bool(value).map(|revoked| Self {
                revoked: Some(revoked),
            }),
            several => Err(Error::invalid(
                Field::Query,
                format!(
                    "too many values for field \"revoked\": {}",
                    several.join(", ")
                ),
            )),
        }
    }
}

/// Parses a boolean like Go's `strconv.ParseBool`: an Ansible module sends `False`.
fn parse_bool(text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(
            Field::Query,
            format!(
                "parsing field \"revoked\": strconv.ParseBool: parsing {}: invalid syntax",
                crate::domain::text::quoted(text)
            ),
        )),
    }
}

/// The body of a request for a token: JSON of any content type, as most scripts use `curl -d`.
#[derive(Debug)]
pub(super) struct Wished(pub Wish);

impl Body for Wished {
    async fn read(request: &HttpRequest, payload: dev::Payload) -> Result<Self> {
        let wire = body::json_of_any_type::<GenerateToken>(request, payload)
            .await
            .map_err(undecoded)?;
        Wish::try_from(wire).map(Self)
    }
}

/// Attributes a mistake in decoding a member to the body, not to the member.
fn undecoded(error: Error) -> Error {
    match error {
        Error::Invalid(_) => Error::invalid(Field::Body, error.to_string()),
        other => other,
    }
}
