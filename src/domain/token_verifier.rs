//! The trust anchors with which registries verify JWTs.

use super::text::quoted;
use crate::error::{Error, Field, Result};

/// The trust anchor with which a registry verifies a JWT of this service. It decides how the signing key may change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenVerifier {
    /// A JWT carries its certificate, and the registry trusts the CA that this service keeps for it. So the signing key
    /// rotates on schedule without a restart of the registry. For Distribution 2.8 and 3.
    #[default]
    X5c,
    /// The registry trusts one key, and a JWT carries only that key's id: the key changes on command alone, and then
    /// the registry has to be given the new one and restarted. zot, or Distribution with `jwks` only.
    Pinned,
}

impl TokenVerifier {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X5c, Self::Pinned];

    /// The word on the wire and in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X5c => "x5c",
            Self::Pinned => "pinned",
        }
    }

    /// The verifier of a stored word. Only `x5c` lets a key change by itself.
    #[must_use]
    pub fn from_stored(word: &str) -> Self {
        if word == "x5c" {
            Self::X5c
        } else {
            Self::Pinned
        }
    }

    /// Reads a verifier as a caller sends it.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "x5c" => Ok(Self::X5c),
            "pinned" => Ok(Self::Pinned),
            _ => Err(Error::invalid(
                Field::TokenVerifier,
                format!(
                    "tokenVerifier {} is neither \"x5c\" nor \"pinned\"",
                    quoted(text)
                ),
            )),
        }
    }
}
