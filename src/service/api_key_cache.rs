//! Keys of API tokens made ready to use, and the claims that they sign.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use jsonwebtoken::{DecodingKey, Validation};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use serde::{Deserialize, Serialize};

use super::jwt::{self, Signer};
use crate::domain::api_token::ApiToken;
use crate::domain::id::ApiTokenId;
use crate::error::Result;

/// StackRox's issuer, by which its tools recognise such a token.
const ISSUER: &str = "https://stackrox.io/jwt";
/// StackRox's audience of API tokens.
const AUDIENCE: &str = "https://stackrox.io/jwt-sources#api-tokens";
/// The prefix of a key's id; its number follows. StackRox's one key is `jwtk0`.
pub(super) const KEY_ID: &str = "jwtk";

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: [&'static str; 1],
    jti: String,
    iat: i64,
    exp: i64,
    name: &'a str,
    roles: &'a [String],
}

/// The claims that are believed when a token comes back: all else is in our own table.
#[derive(Deserialize)]
struct Returned {
    jti: String,
}

/// A key made ready.
pub(super) struct ApiKey {
    signer: Signer,
    public: DecodingKey,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    pub(super) fn new(number: i64, private: &SecretBox<Vec<u8>>) -> Result<Self> {
        let pair = RsaKeyPair::from_pkcs8(private.expose_secret()).map_err(jwt::rejected)?;
        let public = DecodingKey::from_rsa_der(pair.public_key().as_ref());
        Ok(Self {
            signer: Signer::rs256(&format!("{KEY_ID}{number}"), pair)?,
            public,
        })
    }

    pub(super) fn sign(&self, token: &ApiToken) -> Result<SecretString> {
        self.signer.sign(&Claims {
            iss: ISSUER,
            aud: [AUDIENCE],
            jti: token.id.to_string(),
            iat: token.issued_at.timestamp(),
            exp: token.expires_at.timestamp(),
            name: &token.name,
            roles: &token.roles,
        })
    }

    pub(super) fn verify(&self, jwt: &str) -> Option<ApiTokenId> {
        let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud"]);
        // The row holds the end of a token, and our own clock tells if it has come.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Returned>(jwt, &self.public, &validation)
            .ok()?
            .claims;
        ApiTokenId::parse(&claims.jti).ok()
    }
}

/// Keys that were opened, by their number.
#[derive(Debug, Default)]
pub(super) struct ApiKeyCache {
    pub(super) keys: RwLock<BTreeMap<i64, Arc<ApiKey>>>,
    /// Requests that find no key wait here for the one that makes it.
    pub(super) making: tokio::sync::Mutex<()>,
}

impl ApiKeyCache {
    pub(super) fn get(&self, number: i64) -> Option<Arc<ApiKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&number).map(Arc::clone)
    }

    pub(super) fn newest(&self) -> Option<Arc<ApiKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.last_key_value().map(|(_, key)| Arc::clone(key))
    }
}
