//! Identities.
//!
//! A public id (`…Id`) is a UUID that callers see and may choose; it can come back after a deletion. An internal key
//! (`…Key`) is the database's own number and never comes back, so data that outlives a request refers to the key.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Field, Result, What};

/// Reads an id in the one form that is accepted: 8-4-4-4-12 hexadecimal digits, upper or lower case.
///
/// The `uuid` crate also reads braces, URNs and bare digits, which the API's pattern
/// (`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`) refuses.
fn parse_hyphenated(text: &str, what: What, field: Field) -> Result<Uuid> {
    let hyphenated = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| matches!(i, 8 | 13 | 18 | 23) == (b == b'-'));
    hyphenated
        .then(|| Uuid::try_parse(text).ok())
        .flatten()
        .ok_or_else(|| {
            Error::invalid(
                field,
                format!(
                    "{} is no {what} id; an id looks like 5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10",
                    super::text::quoted(text)
                ),
            )
        })
}

macro_rules! public_id {
    ($(#[$doc:meta])* $name:ident, $what:expr, $field:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads an id; anything but 8-4-4-4-12 hexadecimal digits is refused.
            pub fn parse(text: &str) -> Result<Self> {
                parse_hyphenated(text, $what, $field).map(Self)
            }
        }

        impl fmt::Display for $name {
            /// Hyphenated, in lower case.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

public_id! {
    /// A registry's public id, unique among living registries.
    RegistryId, What::Registry, Field::RegistryId
}
public_id! {
    /// A token's public id, unique within its registry.
    TokenId, What::Token, Field::TokenId
}
public_id! {
    /// An account's public id.
    AccountId, What::Account, Field::AccountId
}
public_id! {
    /// An API token's public id, which its JWT carries as `jti`; never used twice.
    ApiTokenId, What::ApiToken, Field::ApiTokenId
}
public_id! {
    /// An app token's public id, never used twice.
    AppTokenId, What::AppToken, Field::AppTokenId
}

public_id! {
    /// The public id of a run, never used twice.
    BulkId, What::Bulk, Field::BulkId
}

public_id! {
    /// An issuer's public id.
    IssuerId, What::Issuer, Field::IssuerId
}
public_id! {
    /// A trust's public id, unique within its registry.
    TrustId, What::Trust, Field::TrustId
}

/// A registry's internal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryKey(pub i64);

/// A token's internal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey(pub i64);

/// An account's internal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey(pub i64);

/// An app token's internal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppTokenKey(pub i64);

/// The internal key of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkKey(pub i64);

/// An issuer's internal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerKey(pub i64);

/// A trust's internal key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustKey(pub i64);

/// A signing key's internal key, called a number, since it is a key already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SigningKeyNumber(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = "5F0AD6FC-0c3c-4c39-8a8c-0e5d6c2b7a10";
        assert_eq!(TokenId::parse(id).unwrap().to_string(), id.to_lowercase());
        for wrong in [
            "",
            "5f0ad6fc0c3c4c398a8c0e5d6c2b7a10",
            "{5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10}",
            "urn:uuid:5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10",
            "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a1",
            "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a1g",
            "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10 ",
            "5f0ad6f-c0c3c-4c39-8a8c-0e5d6c2b7a10",
        ] {
            assert!(TokenId::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
