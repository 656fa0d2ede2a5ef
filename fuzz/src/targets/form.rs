//! The token endpoint's form and query. Accepted requests have all required fields and keep the bounds, and no error
//! repeats a password or a refresh token.

use crate::marks::{MARK, in_form};
use secrecy::ExposeSecret as _;
use wharfinger::error::{Error, Result};
use wharfinger::http::fuzzing::registry_auth::{Form, form, query};
use wharfinger::service::grants::Login;

/// Somebody, for a query.
const AUTHORIZATION: &str = "Basic c29tZWJvZHk6c2VjcmV0";

/// Checks one input.
pub fn run(input: &[u8]) {
    check(form(input));
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let marked = in_form(text, &["password", "refresh_token", "subject_token"]);
    check(form(marked.as_bytes()));
    if let Some(asked) = query(AUTHORIZATION, text) {
        check(asked.map(Form::Ask));
    }
}

fn check(asked: Result<Form>) {
    match asked {
        Ok(Form::Exchange(exchange)) => {
            assert!(!exchange.service.is_empty());
            assert!(!exchange.presented.name().is_empty());
            let jwt = exchange.presented.password();
            assert!(!jwt.expose_secret().is_empty());
            assert!(!format!("{exchange:?}").contains(MARK), "a JWT is shown");
        }
        Ok(Form::Ask(ask)) => {
            assert!(!ask.service.is_empty());
            assert!(ask.wanted.len() <= 100);
            assert!(ask.wanted.iter().all(|access| access.actions.len() <= 20));
            let secret = match &ask.login {
                Login::Password(presented) => presented.password(),
                Login::Refresh { token, .. } => token,
            };
            assert!(!secret.expose_secret().is_empty());
            assert!(
                !format!("{:?}", ask.login).contains(MARK),
                "a secret is shown"
            );
        }
        Err(error) => {
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
            assert!(
                !format!("{error} {error:?}").contains(MARK),
                "{error} tells a secret"
            );
        }
    }
}
