//! The argument of this surface's handlers: a caller, authenticated by an API token, a password or a session cookie,
//! and then the path, the query and the body.

use std::future::Future;
use std::pin::Pin;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, dev};
use serde_json::Value;
use utoipa::IntoParams;

use super::Quay;
use super::error::SignIn;
use crate::error::{Error, Result};
use crate::http::call::{
    Body, Head, Json, authorization, basic, bearer, prove_bearer, prove_password, prove_session,
    read,
};
use crate::http::cookie;
use crate::http::dialect::Failure;
use crate::http::state::State;
use crate::service::access::Caller;

/// A request of an authenticated caller with head `H` and body `B`.
#[derive(Debug)]
pub(super) struct Call<H = (), B = ()> {
    /// The authenticated caller.
    pub caller: Caller,
    /// The path and the query.
    pub head: H,
    /// The body.
    pub body: B,
}

impl<H: Head, B: Body> FromRequest for Call<H, B> {
    type Error = Failure<Quay>;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let caller = identify(&request).await?;
            match read(&request, payload).await {
                Ok((head, body)) => Ok(Self { caller, head, body }),
                Err(error) => {
                    // Check permissions before reporting other errors.
                    let tokens = State::of(&request)?.service.app_tokens();
                    tokens.admit(&caller).await?;
                    Err(error.into())
                }
            }
        })
    }
}

async fn identify(request: &HttpRequest) -> Result<Caller> {
    if has_two_words(request) {
        if let Some(token) = bearer(request) {
            return prove_bearer(request, token).await;
        }
        // Quay accepts no password here. This needs no CSRF token: pages of other origins were refused before.
        if let Some(pair) = basic(request) {
            return prove_password(request, pair).await;
        }
    }
    prove_session(request)
}

/// Returns true if the `Authorization` header has two words. Quay ignores a header with more or fewer.
fn has_two_words(request: &HttpRequest) -> bool {
    authorization(request)
        .and_then(|header| header.to_str().ok())
        .is_some_and(|header| header.split_ascii_whitespace().count() == 2)
}

/// Which tokens a list has.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Expiring {
    /// If true, only returns those tokens expiring soon
    pub expiring: Option<bool>,
}

impl Head for Expiring {
    fn read(request: &HttpRequest) -> Result<Self> {
        let mut pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        let said = pairs.find(|(name, _)| name == "expiring");
        Ok(Self {
            expiring: said.map(|(_, value)| is_true(&value)),
        })
    }
}

/// Parses a boolean as Quay does: all texts are true but a few words for false.
fn is_true(text: &str) -> bool {
    !matches!(text, "" | "0" | "false" | "False" | "FALSE" | "null")
}

/// A body with a JSON content type, converted to the command `C`.
#[derive(Debug)]
pub(super) struct Document<C>(pub C);

impl<C: TryFrom<Value, Error = Error> + 'static> Body for Document<C> {
    async fn read(request: &HttpRequest, payload: dev::Payload) -> Result<Self> {
        if !request.headers().contains_key(CONTENT_TYPE) {
            return Err(Error::UnsupportedMediaType {
                sent: "a body without content type".to_owned(),
                supported: "application/json",
            });
        }
        let json = Json::<Value, C>::read(request, payload).await?;
        Ok(Self(json.0))
    }
}

/// A sign-in request with body `B`, from the origin of its session.
#[derive(Debug)]
pub(super) struct Visit<B>(pub B);

impl<B: Body> FromRequest for Visit<B> {
    type Error = Failure<SignIn>;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let sessions = State::of(&request)?.service.sessions();
            sessions.visitor(cookie::sent(&request), cookie::csrf_token(&request))?;
            Ok(Self(B::read(&request, payload).await?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn only_a_few_words_are_false() {
        for word in ["", "0", "false", "False", "FALSE", "null"] {
            assert!(!is_true(word), "{word}");
        }
        for word in ["true", "1", "no", "fALSE", "Null", " "] {
            assert!(is_true(word), "{word}");
        }
    }

    #[test]
    fn headers_have_two_words_or_none() {
        let two = |value: &str| {
            let request = TestRequest::get().insert_header(("authorization", value.to_owned()));
            has_two_words(&request.to_http_request())
        };
        assert!(two("Bearer x") && two("bearer   x "));
        assert!(!two("Bearer") && !two("Bearer x y") && !two(""));
    }
}
