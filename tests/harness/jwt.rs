//! JSON Web Tokens and the keys behind them, read and made without the product's own code for either.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom as Entropy;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData as _};
use secrecy::SecretString;
use serde_json::{Value, json};
use wharfinger::clock::SystemRandom;
use wharfinger::domain::id::RegistryId;
use wharfinger::domain::signing::KeyRole;
use wharfinger::service::data_keys::{DataKeys, ServerKey};
use wharfinger::store::data_keys::Sealed;
use wharfinger::store::{Settings, Store, Target, registries, signing_keys};

use super::Server;

/// A part of a JWT as JSON: 0 is the header, 1 the claims.
pub fn part(jwt: &str, index: usize) -> Value {
    let parts: Vec<_> = jwt.split('.').collect();
    assert_eq!(parts.len(), 3, "{jwt}");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[index]).unwrap()).unwrap()
}

pub fn header(jwt: &str) -> Value {
    part(jwt, 0)
}

pub fn claims(jwt: &str) -> Value {
    part(jwt, 1)
}

/// A JWT with any signature.
pub fn with_signature(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// A JWT signed with a key.
pub fn signed(header: &Value, claims: &Value, key: &KeyPair) -> String {
    with_signature(header, claims, |text| key.sign(text))
}

/// Was a JWT signed, with this algorithm, by the key of this `SubjectPublicKeyInfo`?
pub fn is_signed_by(jwt: &str, algorithm: &str, public_key: &[u8]) -> bool {
    let (text, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    match algorithm {
        "ES256" => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public_key)
            .verify(text.as_bytes(), &signature)
            .is_ok(),
        "RS256" => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key)
            .verify(text.as_bytes(), &signature)
            .is_ok(),
        _ => false,
    }
}

/// libtrust's fingerprint of a `SubjectPublicKeyInfo`, digit by digit.
pub fn fingerprint(public_key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public_key);
    let bits: Vec<_> = hash.as_ref()[..30]
        .iter()
        .map(|byte| format!("{byte:08b}"))
        .collect();
    let bits = bits.concat();
    let digit = |place: usize| {
        let value = u8::from_str_radix(&bits[place * 5..place * 5 + 5], 2).unwrap();
        char::from(if value < 26 {
            b'A' + value
        } else {
            b'2' + value - 26
        })
    };
    let digits: String = (0..48).map(digit).collect();
    let groups: Vec<_> = (0..12).map(|group| &digits[group * 4..][..4]).collect();
    groups.join(":")
}

/// The `SubjectPublicKeyInfo` of a certificate in DER: the seventh part of what is signed in it.
pub fn public_key_of(certificate: &[u8]) -> Vec<u8> {
    let mut rest = element(element(certificate).1).1;
    for _ in 0..6 {
        rest = &rest[element(rest).0..];
    }
    rest[..element(rest).0].to_vec()
}

/// The length of the first element of DER, with its head, and its content.
fn element(der: &[u8]) -> (usize, &[u8]) {
    let (head, length) = match der[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let bytes = usize::from(long & 0x7f);
            let digits = der[2..2 + bytes].iter();
            let length = digits.fold(0, |length, byte| length << 8 | usize::from(*byte));
            (2 + bytes, length)
        }
    };
    (head + length, &der[head..head + length])
}

/// A key of a test's own, or one stolen from the database.
pub struct KeyPair {
    pub algorithm: &'static str,
    /// PKCS #8 in DER.
    pub private: Vec<u8>,
    /// A `SubjectPublicKeyInfo` in DER.
    pub public: Vec<u8>,
    /// In DER.
    pub certificate: Vec<u8>,
}

impl KeyPair {
    /// A new one, with a certificate that signs itself.
    pub fn generate(algorithm: &'static str) -> Self {
        let scheme = match algorithm {
            "ES256" => &PKCS_ECDSA_P256_SHA256,
            _ => &PKCS_RSA_SHA256,
        };
        let pair = rcgen::KeyPair::generate_for(scheme).unwrap();
        let params = rcgen::CertificateParams::default();
        Self {
            algorithm,
            private: pair.serialize_der(),
            public: pair.subject_public_key_info(),
            certificate: params.self_signed(&pair).unwrap().der().to_vec(),
        }
    }

    /// The key that signs for a registry, which only a holder of the database and the server key can read.
    pub async fn stolen(server: &Server, registry: &str, role: KeyRole) -> Self {
        let store = Store::open(&Settings {
            target: Target::parse(&server.database.url).unwrap(),
            readers: 1,
            queue: 1,
            read_fence: None,
        })
        .unwrap();
        let server_key = ServerKey::parse(&SecretString::from("A".repeat(43) + "=")).unwrap();
        let vault = DataKeys::open(&store, &server_key, &*server.clock, &SystemRandom)
            .await
            .unwrap();
        let id = RegistryId::parse(registry).unwrap();
        let key = store
            .read(move |connection| {
                let registry = registries::find_key(connection, id)?.unwrap();
                let current = signing_keys::current(connection, registry, role)?.unwrap();
                signing_keys::find(connection, registry, current.number)
            })
            .await
            .unwrap()
            .unwrap();
        store.close();
        let context = format!(
            "signing-key/{}/{}/{}",
            key.registry.0,
            role.as_str(),
            key.kid
        );
        let sealed = Sealed {
            bytes: key.sealed_private.clone(),
            key: key.seal_key,
        };
        Self {
            algorithm: key.algorithm.as_str(),
            private: vault.open_sealed(&context, &sealed).unwrap().to_vec(),
            public: key.public_key,
            certificate: key.certificate,
        }
    }

    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = Entropy::new();
        if self.algorithm == "ES256" {
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.private).unwrap();
            return pair.sign(&random, text).unwrap().as_ref().to_vec();
        }
        let pair = RsaKeyPair::from_pkcs8(&self.private).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
            .unwrap();
        signature
    }

    /// A header that names this key by its fingerprint.
    pub fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": self.algorithm, "kid": fingerprint(&self.public)})
    }
}
