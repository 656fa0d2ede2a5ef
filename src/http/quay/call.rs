//! What a handler of this surface gets: a proven caller first, by an API token, by a password, or by a session's
//! cookie; then the path, the query and the body.

use std::future::Future;
use std::pin::Pin;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, dev};
use serde_json::Value;

use super::super::call::{
    Body, Head, Json, authorization, basic, bearer, origin, prove_bearer, prove_password, read,
    segment,
};
use super::super::dialect::Failure;
use super::super::state::State;
use super::error::SignIn;
use super::{Quay, cookie};
use crate::error::{Error, Result};
use crate::service::access::Caller;

/// A request of a known caller with head `H` and body `B`.
#[derive(Debug)]
pub(super) struct Call<H = (), B = ()> {
    /// Who asks.
    pub caller: Caller,
    /// What the path and the query say.
    pub head: H,
    /// What the body says.
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
                    // Who may not do this learns nothing of what else was wrong.
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
        // Quay takes no password here. It needs no CSRF token: foreign pages were refused before.
        if let Some(pair) = basic(request) {
            return prove_password(request, pair).await;
        }
    }
    let cookie = cookie::sent(request).ok_or(Error::Unauthenticated)?;
    let sessions = State::of(request)?.service.sessions();
    if !request.method().is_safe() {
        sessions.confirm(cookie, cookie::csrf_token(request))?;
    }
    Ok(sessions.identify(cookie)?.from(origin(request)))
}

/// Quay takes an `Authorization` header of more or fewer words for none.
fn has_two_words(request: &HttpRequest) -> bool {
    authorization(request)
        .and_then(|header| header.to_str().ok())
        .is_some_and(|header| header.split_ascii_whitespace().count() == 2)
}

/// The id of a path, as it came: what is no id is none of a token.
#[derive(Debug)]
pub(super) struct Uuid(pub String);

impl Head for Uuid {
    fn read(request: &HttpRequest) -> Result<Self> {
        segment(request, "token_uuid").map(Self)
    }
}

/// Whether only tokens that end soon are wanted; nothing if the query does not say.
#[derive(Debug)]
pub(super) struct Expiring(pub Option<bool>);

impl Head for Expiring {
    fn read(request: &HttpRequest) -> Result<Self> {
        let mut pairs = url::form_urlencoded::parse(request.query_string().as_bytes());
        let said = pairs.find(|(name, _)| name == "expiring");
        Ok(Self(said.map(|(_, value)| is_true(&value))))
    }
}

/// What Quay takes for true: all but a few words for false.
fn is_true(text: &str) -> bool {
    !matches!(text, "" | "0" | "false" | "False" | "FALSE" | "null")
}

/// A body that says that it is JSON, as the command `C` that it means.
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

/// A request of somebody who wants to sign in: from where its session was made, with body `B`.
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
