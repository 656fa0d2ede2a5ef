//! The bodies of this surface for the fuzz targets, see [`crate::http::fuzzing`].

use super::wire::GenerateToken;
use crate::domain::api_token::Wish;
use crate::error::Result;
use crate::http::body::command;

/// The body that makes an API token.
pub fn wish(text: &[u8]) -> Result<Wish> {
    command::<GenerateToken, _>(text)
}
