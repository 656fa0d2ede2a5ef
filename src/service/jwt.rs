//! JSON Web Tokens for registries: their claims, their signature and the check of one that comes back.
//!
//! Owns the form (`contracts` of Distribution and zot: string `aud`, whole seconds, back-dated beginnings). Refuses to
//! know who is granted what, and where keys are kept. The algorithm and the key of a check come from our own table;
//! from the JWT's header only the name of the key is taken.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{DecodingKey, Validation};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::domain::id::{RegistryKey, SigningKeyNumber};
use crate::domain::scope::Access;
use crate::domain::signing::{Algorithm, KeyRole};
use crate::domain::text::has_control;
use crate::error::{Error, Result};
use crate::store::signing_keys::SigningKey;

/// The time by which JWTs are back-dated: zot allows no difference between clocks and refuses a JWT from the future.
const BACKDATED: TimeDelta = TimeDelta::seconds(30);
/// The longest JWT looked at, in bytes: a hundred long names fit.
const LENGTH: usize = 64 * 1024;
/// Bytes of an uncompressed point of P-256, which the `SubjectPublicKeyInfo` of such a key ends with (RFC 5480 §2.2).
const POINT: usize = 65;

/// The claims of a JWT (the Distribution token specification).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer, as the registry's configuration names us.
    pub iss: String,
    /// The name that was logged in with.
    pub sub: String,
    /// The registry's service name. A string, since Distribution 2 refuses an array.
    pub aud: String,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// When it begins.
    pub nbf: i64,
    /// When it was issued, as far as registries are concerned.
    pub iat: i64,
    /// Unique; for this service also a sealed reference to the holder that it was issued to.
    pub jti: String,
    /// The granted access: concrete names and actions.
    pub access: Vec<AccessClaim>,
}

/// One resource and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaim {
    /// The resource's type.
    pub r#type: String,
    /// Its name.
    pub name: String,
    /// The allowed actions.
    pub actions: Vec<String>,
}

impl Claims {
    /// The claims of a JWT, without the access.
    #[must_use]
    pub fn new(
        issuer: &str,
        subject: &str,
        service: &str,
        id: String,
        now: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Self {
        let begin = (now - BACKDATED).timestamp();
        Self {
            iss: issuer.to_owned(),
            sub: subject.to_owned(),
            aud: service.to_owned(),
            exp: end.timestamp(),
            nbf: begin,
            iat: begin,
            jti: id,
            access: Vec::new(),
        }
    }

    /// Returns true if it grants all the needed access.
    #[must_use]
    pub fn covers(&self, needed: &Access) -> bool {
        let held = |action: &String| {
            self.access.iter().any(|access| {
                access.r#type == needed.r#type
                    && access.name == needed.name
                    && access.actions.contains(action)
            })
        };
        needed.actions.iter().all(held)
    }
}

/// A private key made ready: parsing it costs more than signing.
pub struct Signer {
    header: String,
    pair: Pair,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    kid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5c: Option<[String; 1]>,
}

impl Signer {
    /// Makes a key ready to sign; `private` is its PKCS #8 in DER.
    ///
    /// A leaf sends its certificate along. A pinned key does not: Distribution 3 with nothing but a `jwks` file
    /// refuses every JWT with a certificate.
    pub fn new(key: &SigningKey, private: &[u8]) -> Result<Self> {
        let certificate = (key.role == KeyRole::Leaf).then(|| [STANDARD.encode(&key.certificate)]);
        let header = Header {
            typ: "JWT",
            alg: key.algorithm.as_str(),
            kid: &key.kid,
            x5c: certificate,
        };
        let pair = match key.algorithm {
            Algorithm::Es256 => Pair::Ecdsa(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private)
                    .map_err(rejected)?,
            ),
            Algorithm::Rs256 => Pair::Rsa(RsaKeyPair::from_pkcs8(private).map_err(rejected)?),
        };
        Ok(Self {
            header: encode(&header)?,
            pair,
        })
    }

    /// Makes an RSA key without certificate ready to sign.
    pub fn rs256(kid: &str, pair: RsaKeyPair) -> Result<Self> {
        let header = Header {
            typ: "JWT",
            alg: Algorithm::Rs256.as_str(),
            kid,
            x5c: None,
        };
        Ok(Self {
            header: encode(&header)?,
            pair: Pair::Rsa(pair),
        })
    }

    /// Signs. Its cost is that of the signature.
    pub fn sign(&self, claims: &impl Serialize) -> Result<SecretString> {
        let failed = |_| Error::internal("signing failed");
        let mut jwt = format!("{}.{}", self.header, encode(claims)?);
        // The random numbers of signatures are the cryptographic library's own business.
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => {
                URL_SAFE_NO_PAD.encode(pair.sign(&random, jwt.as_bytes()).map_err(failed)?)
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, jwt.as_bytes(), &mut signature)
                    .map_err(failed)?;
                URL_SAFE_NO_PAD.encode(signature)
            }
        };
        jwt.push('.');
        jwt.push_str(&signature);
        Ok(jwt.into())
    }
}

/// The error for a stored key that cannot be used.
#[must_use]
pub fn rejected(error: aws_lc_rs::error::KeyRejected) -> Error {
    Error::internal(format!("a signing key is no good: {error}"))
}

fn encode(part: &impl Serialize) -> Result<String> {
    serde_json::to_vec(part)
        .map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
        .map_err(Error::internal)
}

/// A public key made ready, with its registry.
pub struct Verifier {
    /// The number of the key.
    pub number: SigningKeyNumber,
    /// The registry of the key.
    pub registry: RegistryKey,
    key: DecodingKey,
    algorithm: jsonwebtoken::Algorithm,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Makes a key ready to check signatures.
    pub fn new(key: &SigningKey) -> Result<Self> {
        let (decoding, algorithm) = public_key(key)?;
        Ok(Self {
            number: key.number,
            registry: key.registry,
            key: decoding,
            algorithm,
        })
    }

    /// The claims of a JWT, if it was signed with this key, for this audience, and is in force. `None` gives no reason.
    #[must_use]
    pub fn verify(
        &self,
        jwt: &str,
        issuer: &str,
        service: &str,
        now: DateTime<Utc>,
    ) -> Option<Claims> {
        let mut validation = Validation::new(self.algorithm);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[service]);
        validation.set_required_spec_claims(&["iss", "aud"]);
        // Our own clock decides if it is in force, not the machine's.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(jwt, &self.key, &validation)
            .ok()?
            .claims;
        (claims.nbf <= now.timestamp() && now.timestamp() < claims.exp).then_some(claims)
    }
}

fn public_key(key: &SigningKey) -> Result<(DecodingKey, jsonwebtoken::Algorithm)> {
    Ok(match key.algorithm {
        Algorithm::Es256 => {
            let point = key
                .public_key
                .last_chunk::<POINT>()
                .ok_or_else(|| Error::internal("a stored public key cannot be read"))?;
            (
                DecodingKey::from_ec_der(point),
                jsonwebtoken::Algorithm::ES256,
            )
        }
        Algorithm::Rs256 => (
            DecodingKey::from_rsa_der(&key.public_key),
            jsonwebtoken::Algorithm::RS256,
        ),
    })
}

/// The public part of a key as a JSON Web Key (RFC 7517), under the id that the JWTs name.
pub fn web_key(key: &SigningKey) -> Result<Jwk> {
    let (decoding, algorithm) = public_key(key)?;
    let mut jwk = Jwk::from_decoding_key(&decoding, Some(algorithm)).map_err(Error::internal)?;
    jwk.common.key_id = Some(key.kid.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}

/// The id of the key that a JWT names. The sender chose it, so it only serves to find the key.
#[must_use]
pub fn named_key(jwt: &str) -> Option<String> {
    if jwt.len() > LENGTH {
        return None;
    }
    let kid = jsonwebtoken::decode_header(jwt).ok()?.kid?;
    // A NUL is an error to PostgreSQL, and no key has one in its name.
    (!has_control(&kid)).then_some(kid)
}
