//! The bodies of this surface for the fuzz targets, see [`crate::http::fuzzing`].

use secrecy::SecretString;
use serde_json::Value;

use super::wire::Credentials;
use crate::domain::app_token::Title;
use crate::error::Result;
use crate::http::body::command;

/// The body that makes an app token.
pub fn title(text: &[u8]) -> Result<Title> {
    command::<Value, _>(text)
}

/// The body of a sign-in: a name and a password.
pub fn credentials(text: &[u8]) -> Result<(String, SecretString)> {
    command::<Value, Credentials>(text).map(|sent| (sent.username, sent.password))
}
