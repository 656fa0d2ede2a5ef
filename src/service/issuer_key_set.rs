//! The keys of an issuer: a JSON Web Key Set (RFC 7517), and the check of a signature with it.
//!
//! Owns which keys of a set are usable, and which fits a JWT. A key fits an algorithm by its own type, so that a public
//! key is never taken for a shared one. Refuses to know where a set comes from.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

use crate::domain::key_source::{JwtAlgorithm, KEYS};
use crate::domain::workload_jwt::WorkloadJwt;

/// The least bytes of an RSA modulus: 2048 bits.
const MODULUS_LEAST: usize = 256;
/// The most bytes: 8192 bits. A larger one takes longer to check with than anybody needs.
const MODULUS_MOST: usize = 1024;

/// The type of a key, as far as algorithms need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyType {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// A public key of an issuer.
struct Key {
    kid: Option<String>,
    /// The only algorithm that the set allows for it, if it names one.
    algorithm: Option<String>,
    r#type: KeyType,
    public: DecodingKey,
}

/// The usable keys of an issuer.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySet({} keys)", self.0.len())
    }
}

/// The answer of a set about a JWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// A key of the set signed it.
    Fits,
    /// The set has its key, and the signature or the algorithm is wrong.
    Wrong,
    /// The set does not have its key.
    Unknown,
}

impl KeySet {
    /// Reads a set of at most 64 keys. Keys that cannot be used are left out.
    ///
    /// # Errors
    ///
    /// The reason: it is no set, has too many keys, or none that can be used.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("the key set has no list \"keys\"")?;
        if keys.len() > KEYS {
            return Err(format!(
                "the key set has {} keys, more than {KEYS}",
                keys.len()
            ));
        }
        let usable = keys.iter().filter_map(Value::as_object).filter_map(key);
        let usable: Vec<_> = usable.collect();
        if usable.is_empty() {
            return Err(format!(
                "none of the {} keys of the set can be used",
                keys.len()
            ));
        }
        Ok(Self(usable))
    }

    /// Checks the signature of a JWT. One that names no key has to be of the only key for its algorithm.
    pub(super) fn check(&self, jwt: &WorkloadJwt) -> Check {
        let named = |key: &&Key| jwt.kid.is_none() || key.kid == jwt.kid;
        let named: Vec<_> = self.0.iter().filter(named).collect();
        if named.is_empty() {
            return Check::Unknown;
        }
        let Some(algorithm) = jwt.algorithm else {
            return Check::Wrong;
        };
        let mut fitting = named.into_iter().filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) if key.signed(jwt, algorithm) => Check::Fits,
            _ => Check::Wrong,
        }
    }
}

impl Key {
    fn fits(&self, algorithm: JwtAlgorithm) -> bool {
        let needed = match algorithm {
            JwtAlgorithm::Rs256
            | JwtAlgorithm::Rs384
            | JwtAlgorithm::Rs512
            | JwtAlgorithm::Ps256
            | JwtAlgorithm::Ps384
            | JwtAlgorithm::Ps512 => KeyType::Rsa,
            JwtAlgorithm::Es256 => KeyType::P256,
            JwtAlgorithm::Es384 => KeyType::P384,
            JwtAlgorithm::EdDsa => KeyType::Ed25519,
        };
        let named = self.algorithm.as_deref();
        self.r#type == needed && named.is_none_or(|named| named == algorithm.as_str())
    }

    fn signed(&self, jwt: &WorkloadJwt, algorithm: JwtAlgorithm) -> bool {
        let algorithm = match algorithm {
            JwtAlgorithm::Rs256 => Algorithm::RS256,
            JwtAlgorithm::Rs384 => Algorithm::RS384,
            JwtAlgorithm::Rs512 => Algorithm::RS512,
            JwtAlgorithm::Ps256 => Algorithm::PS256,
            JwtAlgorithm::Ps384 => Algorithm::PS384,
            JwtAlgorithm::Ps512 => Algorithm::PS512,
            JwtAlgorithm::Es256 => Algorithm::ES256,
            JwtAlgorithm::Es384 => Algorithm::ES384,
            JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        };
        let (signed, signature) = jwt.parts();
        crypto::verify(signature, signed, &self.public, algorithm).unwrap_or(false)
    }
}

/// A key, if it may sign and can be used.
fn key(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    // SPIFFE has a word of its own.
    if !matches!(text("use"), None | Some("sig" | "jwt-svid")) {
        return None;
    }
    let (r#type, public) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let (modulus, exponent) = (text("n")?, text("e")?);
            let length = URL_SAFE_NO_PAD.decode(modulus).ok()?.len();
            if !(MODULUS_LEAST..=MODULUS_MOST).contains(&length) {
                return None;
            }
            let odd = |number: &Vec<u8>| number.last().is_some_and(|last| last % 2 == 1);
            let number = URL_SAFE_NO_PAD.decode(exponent).ok().filter(odd)?;
            // One and even numbers let anybody sign.
            if number.iter().all(|byte| *byte <= 1) && number.len() == 1 {
                return None;
            }
            let key = DecodingKey::from_rsa_components(modulus, exponent).ok()?;
            (KeyType::Rsa, key)
        }
        ("EC", Some(curve)) => {
            let (r#type, length) = match curve {
                "P-256" => (KeyType::P256, 32),
                "P-384" => (KeyType::P384, 48),
                _ => return None,
            };
            let (x, y) = (text("x")?, text("y")?);
            let whole = |part: &Vec<u8>| part.len() == length;
            let part = |part| URL_SAFE_NO_PAD.decode(part).ok().filter(whole);
            // Uncompressed (SEC 1 §2.3.3).
            let point = [&[4][..], &part(x)?, &part(y)?].concat();
            let algorithm: &'static dyn VerificationAlgorithm = match r#type {
                KeyType::P384 => &ECDSA_P384_SHA384_FIXED,
                _ => &ECDSA_P256_SHA256_FIXED,
            };
            // One beside the curve would take the place of a good one.
            ParsedPublicKey::new(algorithm, point).ok()?;
            (r#type, DecodingKey::from_ec_components(x, y).ok()?)
        }
        ("OKP", Some("Ed25519")) => {
            let bytes = URL_SAFE_NO_PAD.decode(text("x")?).ok()?;
            ParsedPublicKey::new(&ED25519, bytes).ok()?;
            let key = DecodingKey::from_ed_components(text("x")?).ok()?;
            (KeyType::Ed25519, key)
        }
        _ => return None,
    };
    Some(Key {
        kid: text("kid").map(str::to_owned),
        algorithm: text("alg").map(str::to_owned),
        r#type,
        public,
    })
}
