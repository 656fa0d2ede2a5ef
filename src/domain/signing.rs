//! Signing keys that registries trust: their roles, algorithms and ids.
//!
//! Owns the words for them and the fingerprint that names a key. Refuses to know how keys are made, kept or used.

use aws_lc_rs::digest;
use data_encoding::BASE32_NOPAD;

use super::text::quoted;
use super::token_verifier::TokenVerifier;
use crate::error::{Error, Field, Result};

/// Bytes of the fingerprint that make a key's id.
const KEY_ID: usize = 30;
/// The algorithm of JWTs. Every registry reads these two, the oldest one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA of 2 048 bits, PKCS #1 v1.5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// The name in JWTs (RFC 7518 §3.1) and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm of a name, in upper or lower case.
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_str() {
            "ES256" => Ok(Self::Es256),
            "RS256" => Ok(Self::Rs256),
            _ => Err(Error::invalid(
                Field::Setting,
                format!("algorithm {} is neither ES256 nor RS256", quoted(text)),
            )),
        }
    }
}

/// The role of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// A registry's certificate authority, which signs its leaves.
    Authority,
    /// Signs JWTs; its certificate, signed by the authority, travels in each of them.
    Leaf,
    /// Signs JWTs; the registry holds this very key.
    Pinned,
}

impl KeyRole {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "ca",
            Self::Leaf => "leaf",
            Self::Pinned => "pinned",
        }
    }

    /// The role of a stored word.
    pub fn from_stored(word: &str) -> Result<Self> {
        match word {
            "ca" => Ok(Self::Authority),
            "leaf" => Ok(Self::Leaf),
            "pinned" => Ok(Self::Pinned),
            _ => Err(Error::internal(format!("{word} is no role of a key"))),
        }
    }

    /// The role of the key that signs the JWTs of a registry.
    #[must_use]
    pub fn of_signer(verifier: TokenVerifier) -> Self {
        match verifier {
            TokenVerifier::X5c => Self::Leaf,
            TokenVerifier::Pinned => Self::Pinned,
        }
    }

    /// The role of the key whose certificate a registry needs to trust its JWTs.
    #[must_use]
    pub fn of_anchor(verifier: TokenVerifier) -> Self {
        match verifier {
            TokenVerifier::X5c => Self::Authority,
            TokenVerifier::Pinned => Self::Pinned,
        }
    }
}

/// The id of a public key, from its `SubjectPublicKeyInfo` in DER: the fingerprint of libtrust, by which Distribution 2
/// finds keys. The first 30 bytes of a SHA-256 in base 32, a colon after every fourth digit.
#[must_use]
pub fn key_id(public_key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public_key);
    let digits = BASE32_NOPAD.encode(hash.as_ref().get(..KEY_ID).unwrap_or_default());
    let mut id = String::with_capacity(digits.len() * 5 / 4);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 4 == 0 {
            id.push(':');
        }
        id.push(digit);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_are_twelve_groups_of_four() {
        // The base 32 of the first 30 bytes of SHA-256(""), as other tools give it.
        assert_eq!(
            key_id(b""),
            "4OYM:IQUY:7QOB:JGX3:6TEJ:S35Z:EQT2:4QPE:MSNZ:GTFE:SWMR:W6CS"
        );
    }

    #[test]
    fn algorithms_have_one_name_each() {
        for name in ["ES256", "RS256"] {
            assert_eq!(Algorithm::parse(name).unwrap().as_str(), name);
            assert_eq!(
                Algorithm::parse(&name.to_lowercase()).unwrap().as_str(),
                name
            );
        }
        for wrong in ["", "HS256", "none", "PS256", "EdDSA"] {
            assert!(Algorithm::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
