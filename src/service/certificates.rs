//! The making of signing keys and their certificates.
//!
//! Owns key generation and X.509. Refuses to know where keys are kept and when they are due. Everything here computes
//! for long, so it is for a thread that may block.

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData as _, SerialNumber,
};
use secrecy::{ExposeSecret as _, SecretBox};

use crate::domain::signing::{Algorithm, KeyRole, key_id};
use crate::error::{Error, Result};

/// The life of an authority or a pinned key: no operator should have to restart a registry for a date.
pub const AUTHORITY_LIFE: TimeDelta = TimeDelta::days(20 * 365);
/// The life of a leaf unless its authority ends sooner: long past its rotation, to outlast weeks without a service.
pub const LEAF_LIFE: TimeDelta = TimeDelta::days(180);
/// The start of self-signed certificates, in seconds since 1970: 2020-01-01T00:00:00Z. A fixed date in the past: with a
/// clock that is ahead, a new certificate would else be useless to its registry.
const ANCHOR_BEGIN: i64 = 1_577_836_800;
/// The time by which leaves begin in the past, for registries whose clocks are behind.
const BACKDATED: TimeDelta = TimeDelta::hours(1);
/// Random bytes of a serial number: RFC 5280 §4.1.2.2 allows 20 with the first bit clear.
pub const SERIAL: usize = 16;

/// A key just made.
pub struct Made {
    /// The role of the key.
    pub role: KeyRole,
    /// The algorithm of its signatures.
    pub algorithm: Algorithm,
    /// Its fingerprint.
    pub kid: String,
    /// Its certificate, in DER.
    pub certificate: Vec<u8>,
    /// The public part: a `SubjectPublicKeyInfo` in DER.
    pub public_key: Vec<u8>,
    /// The private part: PKCS #8 in DER.
    pub private: SecretBox<Vec<u8>>,
    /// When its certificate begins.
    pub not_before: DateTime<Utc>,
    /// When its certificate ends.
    pub not_after: DateTime<Utc>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made")
            .field("role", &self.role)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The subject of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The registry's host name.
    pub service: String,
    /// The registry's id, which tells it from a namesake.
    pub registry: String,
}

/// The issuer of leaves.
#[derive(Debug)]
pub struct Authority<'a> {
    /// The algorithm of its signatures.
    pub algorithm: Algorithm,
    /// The private part: PKCS #8 in DER.
    pub private: &'a SecretBox<Vec<u8>>,
    /// When its certificate ends; no leaf outlives it.
    pub not_after: DateTime<Utc>,
}

/// Makes a key whose certificate signs itself: an authority, or a pinned key.
pub fn make_anchor(
    role: KeyRole,
    algorithm: Algorithm,
    subject: &Subject,
    serial: [u8; SERIAL],
    now: DateTime<Utc>,
) -> Result<Made> {
    let pair = generate(algorithm)?;
    let begin = DateTime::from_timestamp_secs(ANCHOR_BEGIN)
        .ok_or_else(|| Error::internal("the date of anchors is no date"))?;
    let end = now + AUTHORITY_LIFE;
    let params = params(role, subject, serial, (begin, end))?;
    let certificate = params.self_signed(&pair).map_err(Error::internal)?;
    Ok(made(
        role,
        algorithm,
        &pair,
        certificate.der().to_vec(),
        (begin, end),
    ))
}

/// Makes a key whose certificate an authority signs.
pub fn make_leaf(
    authority: &Authority<'_>,
    algorithm: Algorithm,
    subject: &Subject,
    serial: [u8; SERIAL],
    now: DateTime<Utc>,
) -> Result<Made> {
    let pair = generate(algorithm)?;
    let begin = now - BACKDATED;
    let end = authority.not_after.min(now + LEAF_LIFE);
    let params = params(KeyRole::Leaf, subject, serial, (begin, end))?;
    // Of the issuer's certificate only its name and key enter the leaf's.
    let parent = params_of_authority(subject);
    let signer = KeyPair::from_pkcs8_der_and_sign_algo(
        &authority.private.expose_secret().as_slice().into(),
        scheme(authority.algorithm),
    )
    .map_err(Error::internal)?;
    let certificate = params
        .signed_by(&pair, &Issuer::from_params(&parent, signer))
        .map_err(Error::internal)?;
    Ok(made(
        KeyRole::Leaf,
        algorithm,
        &pair,
        certificate.der().to_vec(),
        (begin, end),
    ))
}

fn made(
    role: KeyRole,
    algorithm: Algorithm,
    pair: &KeyPair,
    certificate: Vec<u8>,
    (not_before, not_after): (DateTime<Utc>, DateTime<Utc>),
) -> Made {
    let public_key = pair.subject_public_key_info();
    Made {
        role,
        algorithm,
        kid: key_id(&public_key),
        certificate,
        public_key,
        private: SecretBox::new(Box::new(pair.serialize_der())),
        not_before,
        not_after,
    }
}

/// The random numbers of keys are the cryptographic library's own business.
fn generate(algorithm: Algorithm) -> Result<KeyPair> {
    KeyPair::generate_for(scheme(algorithm)).map_err(Error::internal)
}

/// Makes an RSA key that needs no certificate: PKCS #8 in DER.
pub fn make_rsa_key() -> Result<SecretBox<Vec<u8>>> {
    let pair = generate(Algorithm::Rs256)?;
    Ok(SecretBox::new(Box::new(pair.serialize_der())))
}

fn scheme(algorithm: Algorithm) -> &'static rcgen::SignatureAlgorithm {
    match algorithm {
        Algorithm::Es256 => &PKCS_ECDSA_P256_SHA256,
        Algorithm::Rs256 => &PKCS_RSA_SHA256,
    }
}

fn params_of_authority(subject: &Subject) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(KeyRole::Authority, subject);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(
    role: KeyRole,
    subject: &Subject,
    serial: [u8; SERIAL],
    (begin, end): (DateTime<Utc>, DateTime<Utc>),
) -> Result<CertificateParams> {
    let mut params = match role {
        KeyRole::Authority => params_of_authority(subject),
        KeyRole::Leaf | KeyRole::Pinned => {
            let mut params = CertificateParams::default();
            params.distinguished_name = name(role, subject);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.use_authority_key_identifier_extension = role == KeyRole::Leaf;
            params
        }
    };
    params.not_before = seconds(begin)?;
    params.not_after = seconds(end)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// The id sets a registry apart from a namesake made later, whose certificates must not pass for its own.
fn name(role: KeyRole, subject: &Subject) -> DistinguishedName {
    let title = match role {
        KeyRole::Authority => "token authority",
        KeyRole::Leaf | KeyRole::Pinned => "token signing key",
    };
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Wharfinger");
    name.push(DnType::OrganizationalUnitName, subject.registry.as_str());
    name.push(
        DnType::CommonName,
        format!("{title} of {}", short(&subject.service)),
    );
    name
}

/// A common name holds 64 characters (RFC 5280, appendix A.1); registries check no more than that it parses.
fn short(service: &str) -> String {
    service.chars().take(40).collect()
}

fn seconds(instant: DateTime<Utc>) -> Result<time::OffsetDateTime> {
    time::OffsetDateTime::from_unix_timestamp(instant.timestamp()).map_err(Error::internal)
}
