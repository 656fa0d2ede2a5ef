//! Issuers: services that sign JWTs for workloads, such as a CI service or a cluster.
//!
//! Owns the rules for an issuer's URL, keys and algorithms. Refuses to know how keys are fetched and signatures checked.

use std::net::IpAddr;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use url::{Host, Url};
use uuid::Uuid;

use super::Attribution;
use super::audit::{Recorded, SubjectKind};
use super::escalation::{Changeable, Credential, Holder};
use super::id::{IssuerId, IssuerKey};
use super::issuer_kind::IssuerKind;
use super::membership::Rights;
use super::network::{NoRequest, OutgoingNetworks};
use super::patch::Patch;
use super::precondition::Tag;
use super::status::Status;
use super::text::quoted;
use crate::error::{Error, Field, Result};

/// The most issuers of a service.
const ISSUERS: i64 = 100;
/// The longest URL, in bytes.
const URL: usize = 512;
/// The most keys of an issuer.
pub const KEYS: usize = 64;
/// The most bytes of an issuer's keys as JSON.
pub const JWKS: usize = 256 * 1024;
/// The most bytes of certificates.
const CA: usize = 64 * 1024;
/// The most certificates.
const CERTIFICATES: usize = 16;

macro_rules! algorithms {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// An algorithm of a JWT's signature (RFC 7518 §3.1, RFC 8037), by a private key: none by a shared secret.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum JwtAlgorithm {
            $($(#[$doc])* $name,)*
        }

        impl JwtAlgorithm {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in the head of a JWT.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

algorithms! {
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256 = "RS256",
    /// RSA, PKCS #1 v1.5, with SHA-384.
    Rs384 = "RS384",
    /// RSA, PKCS #1 v1.5, with SHA-512.
    Rs512 = "RS512",
    /// RSA, PSS, with SHA-256.
    Ps256 = "PS256",
    /// RSA, PSS, with SHA-384.
    Ps384 = "PS384",
    /// RSA, PSS, with SHA-512.
    Ps512 = "PS512",
    /// ECDSA on P-256 with SHA-256.
    Es256 = "ES256",
    /// ECDSA on P-384 with SHA-384.
    Es384 = "ES384",
    /// Ed25519.
    EdDsa = "EdDSA",
}

impl JwtAlgorithm {
    /// Those of a new issuer.
    pub const DEFAULT: [Self; 2] = [Self::Rs256, Self::Es256];

    /// The algorithm of a name.
    #[must_use]
    pub fn from_stored(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == name)
    }

    /// Reads the algorithms of an issuer: one at least, each once.
    pub fn parse_list(names: &[String]) -> Result<Vec<Self>> {
        let mut read: Vec<Self> = Vec::new();
        for name in names {
            let known = Self::from_stored(name).ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|known| known.as_str()).collect();
                Error::invalid(
                    Field::Algorithms,
                    format!(
                        "algorithms: {} is none of {}; none and those with a shared secret (HS256) are never accepted",
                        quoted(name),
                        known.join(", ")
                    ),
                )
            })?;
            if read.contains(&known) {
                return Err(Error::invalid(
                    Field::Algorithms,
                    format!("algorithms has {name} twice; name each once"),
                ));
            }
            read.push(known);
        }
        if read.is_empty() {
            return Err(Error::invalid(
                Field::Algorithms,
                "algorithms is empty; name one at least, such as RS256",
            ));
        }
        Ok(read)
    }
}

/// Reads a URL in its one canonical form, since an issuer's is compared byte by byte.
fn parse_url(member: &str, field: Field, text: &str, query: bool) -> Result<Url> {
    let wrong = |why: &str| Error::invalid(field, format!("{member} {} {why}", quoted(text)));
    if text.len() > URL {
        return Err(wrong(&format!(
            "has {} bytes; at most {URL} are allowed",
            text.len()
        )));
    }
    let url = Url::parse(text)
        .map_err(|_| wrong("is no URL such as https://token.actions.githubusercontent.com"))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => {
            return Err(wrong(
                "would be fetched in clear text, so its keys could be forged; use https",
            ));
        }
        _ => return Err(wrong("does not begin with https://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user name; leave out all before the @"));
    }
    if url.fragment().is_some() {
        return Err(wrong("has a fragment; leave out the # and all after it"));
    }
    if url.query().is_some() && !query {
        return Err(wrong("has a query; leave out the ? and all after it"));
    }
    let canonical = url.as_str();
    if canonical != text && canonical.strip_suffix('/') != Some(text) {
        // A slash that nobody sent would be another issuer.
        let bare = canonical
            .strip_suffix('/')
            .filter(|_| !text.trim_end().ends_with(['/', '\\']));
        let right = quoted(bare.unwrap_or(canonical));
        return Err(wrong(&format!("is written {right}")));
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        _ => None,
    };
    let refused = address.map(|address| OutgoingNetworks::default().admit(address));
    if let Some(Err(never @ NoRequest::Never(_))) = refused {
        return Err(wrong(&format!("has an address that cannot be: {never}")));
    }
    Ok(url)
}

/// The URL of an issuer: the claim `iss` of its JWTs, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerUrl(String);

impl IssuerUrl {
    /// Reads a URL of at most 512 bytes: https with host, port and path; http for this machine alone.
    pub fn parse(text: &str) -> Result<Self> {
        parse_url("url", Field::Url, text, false)?;
        Ok(Self(text.to_owned()))
    }

    /// A URL that was checked when it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The URL as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The URL of a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl(String);

impl JwksUrl {
    /// Reads a URL in the form of an issuer's; it may have a query.
    pub fn parse(text: &str) -> Result<Self> {
        parse_url("jwksUrl", Field::JwksUrl, text, true)?;
        Ok(Self(text.to_owned()))
    }

    /// A URL that was checked when it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The URL as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key set as it was given to us (RFC 7517 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwks(String);

/// Members of a key that only its owner may have (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl Jwks {
    /// Reads a key set of 1 to 64 public keys in at most 256 KiB, one of which at least has a known type.
    pub fn parse(set: &Map<String, Value>) -> Result<Self> {
        let wrong = |why: String| Error::invalid(Field::Jwks, format!("jwks {why}"));
        let keys = set.get("keys").and_then(Value::as_array).ok_or_else(|| {
            wrong(
                "has no list \"keys\"; paste the whole answer of the issuer's jwks_uri".to_owned(),
            )
        })?;
        if keys.is_empty() || keys.len() > KEYS {
            return Err(wrong(format!("has {} keys; send 1 to {KEYS}", keys.len())));
        }
        let mut usable = false;
        for (at, key) in keys.iter().enumerate() {
            let key = key
                .as_object()
                .ok_or_else(|| wrong(format!("has a key that is no object, at {at}")))?;
            if let Some(member) = PRIVATE.iter().find(|member| key.contains_key(**member)) {
                return Err(wrong(format!(
                    "has a private or shared key: the key at {at} has a member \"{member}\"; paste public keys alone, and \
                     replace this key at its issuer, as it was sent to another service"
                )));
            }
            let text = |name: &str| key.get(name).and_then(Value::as_str);
            let has = |names: &[&str]| names.iter().all(|name| text(name).is_some());
            usable |= match text("kty") {
                Some("RSA") => has(&["n", "e"]),
                Some("EC") => has(&["crv", "x", "y"]),
                Some("OKP") => has(&["crv", "x"]),
                _ => false,
            };
        }
        if !usable {
            return Err(wrong(
                "has no key of the types RSA, EC and OKP with all members of its type".to_owned(),
            ));
        }
        let text = serde_json::to_string(set).map_err(Error::internal)?;
        if text.len() > JWKS {
            return Err(wrong(format!(
                "has {} bytes; at most {JWKS} are allowed",
                text.len()
            )));
        }
        Ok(Self(text))
    }

    /// A key set that was checked when it was stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// Its JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The place of an issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The issuer's own document names it: `/.well-known/openid-configuration` (`OpenID` Connect Discovery §4).
    Discovery,
    /// This URL.
    JwksUrl(JwksUrl),
    /// Here: nothing is fetched.
    Inline(Jwks),
}

impl KeySource {
    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::JwksUrl(_) => "jwks-url",
            Self::Inline(_) => "inline",
        }
    }

    /// The source of what a caller sent: a URL, a key set, or neither for discovery.
    pub fn of(url: Option<JwksUrl>, jwks: Option<Jwks>) -> Result<Self> {
        match (url, jwks) {
            (None, None) => Ok(Self::Discovery),
            (Some(url), None) => Ok(Self::JwksUrl(url)),
            (None, Some(jwks)) => Ok(Self::Inline(jwks)),
            (Some(_), Some(_)) => Err(Error::invalid(
                Field::Jwks,
                "jwks and jwksUrl are two places of the keys; send one of them, or neither for discovery",
            )),
        }
    }
}

/// Certificates of authorities that an issuer's server may have its own from, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities(String);

impl Authorities {
    /// Reads 1 to 16 certificates in at most 64 KiB.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid(Field::Ca, format!("ca {why}"));
        if text.len() > CA {
            return Err(wrong(format!(
                "has {} bytes; at most {CA} are allowed",
                text.len()
            )));
        }
        if text.contains("PRIVATE KEY") {
            return Err(wrong(
                "has a private key; send certificates alone, and replace that key".to_owned(),
            ));
        }
        let read = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Vec<_>>();
        let (count, mut roots) = (read.len(), RootCertStore::empty());
        for certificate in read {
            let added = certificate.ok().map(|certificate| roots.add(certificate));
            if !matches!(added, Some(Ok(()))) {
                return Err(wrong("has a certificate that cannot be read".to_owned()));
            }
        }
        if count == 0 || count > CERTIFICATES {
            return Err(wrong(format!(
                "has {count} certificates; send 1 to {CERTIFICATES} as PEM"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// Certificates that were checked when they were stored.
    #[must_use]
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The PEM as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Internal key.
    pub key: IssuerKey,
    /// Public id.
    pub id: IssuerId,
    /// Its URL. No two issuers have one.
    pub url: IssuerUrl,
    /// Its kind.
    pub kind: IssuerKind,
    /// The place of its keys.
    pub keys: KeySource,
    /// Authorities for its server, beside those that the service trusts anyway; none with keys inline.
    pub ca: Option<Authorities>,
    /// The algorithms of its JWTs.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The status.
    pub status: Status,
    /// Counts every change.
    pub version: i64,
    /// The account that made it, and the time.
    pub created: Attribution,
    /// The account that last changed it, and the time.
    pub modified: Option<Attribution>,
}

/// An issuer, as far as the check of a JWT needs it: all but its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRules {
    /// Internal key.
    pub key: IssuerKey,
    /// Public id.
    pub id: IssuerId,
    /// Its URL.
    pub url: IssuerUrl,
    /// Its kind.
    pub kind: IssuerKind,
    /// The algorithms of its JWTs.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The status.
    pub status: Status,
    /// Counts every change. Keys are kept for one version.
    pub version: i64,
}

/// An issuer as lists show it: without its keys and authorities, which are long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedIssuer {
    /// All else.
    pub rules: IssuerRules,
    /// The place of its keys, if it is a URL.
    pub jwks_url: Option<JwksUrl>,
    /// The account that made it, and the time.
    pub created: Attribution,
    /// The account that last changed it, and the time.
    pub modified: Option<Attribution>,
}

impl Issuer {
    /// The tag of its state.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag {
            key: self.key.0,
            version: self.version,
            state: 0,
        }
    }

    /// Replaces all but the URL and the kind. Returns true if anything changed.
    pub fn replace(&mut self, new: NewIssuer) -> Result<bool> {
        let NewIssuer {
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
        } = new;
        let (jwks_url, jwks) = match keys {
            KeySource::Discovery => (Patch::Clear, Patch::Clear),
            KeySource::JwksUrl(url) => (Patch::Set(url), Patch::Clear),
            KeySource::Inline(jwks) => (Patch::Clear, Patch::Set(jwks)),
        };
        self.update(IssuerPatch {
            url: Some(url.0),
            kind: Some(kind),
            jwks_url,
            jwks,
            ca: ca.into(),
            algorithms: Some(algorithms),
            status: Some(status),
        })
    }

    /// Applies a patch. Returns true if anything changed.
    pub fn update(&mut self, patch: IssuerPatch) -> Result<bool> {
        let IssuerPatch {
            url,
            kind,
            jwks_url,
            jwks,
            ca,
            algorithms,
            status,
        } = patch;
        if let Some(url) = url.filter(|url| *url != self.url.0) {
            return Err(Error::invalid(
                Field::Url,
                format!(
                    "\"url\" cannot be changed: this issuer's is {}, not {}; make another issuer",
                    self.url.0,
                    quoted(&url)
                ),
            ));
        }
        if let Some(kind) = kind.filter(|kind| *kind != self.kind) {
            return Err(Error::invalid(
                Field::Kind,
                format!(
                    "\"kind\" cannot be changed: this issuer's is {}, not {kind}; its trusts pin the claims of its kind",
                    self.kind
                ),
            ));
        }
        let before = self.clone();
        match (jwks_url, jwks, &self.keys) {
            (Patch::Set(url), Patch::Set(jwks), _) => {
                self.keys = KeySource::of(Some(url), Some(jwks))?;
            }
            (Patch::Set(url), _, _) => self.keys = KeySource::JwksUrl(url),
            (_, Patch::Set(jwks), _) => self.keys = KeySource::Inline(jwks),
            (Patch::Clear, _, KeySource::JwksUrl(_)) | (_, Patch::Clear, KeySource::Inline(_)) => {
                self.keys = KeySource::Discovery;
            }
            _ => {}
        }
        if let Some(ca) = ca.change() {
            self.ca = ca;
        }
        if let Some(algorithms) = algorithms {
            self.algorithms = algorithms;
        }
        if let Some(status) = status {
            self.status = status;
        }
        check_ca(&self.keys, self.ca.as_ref())?;
        Ok(before != *self)
    }
}

fn check_ca(keys: &KeySource, ca: Option<&Authorities>) -> Result<()> {
    if matches!(keys, KeySource::Inline(_)) && ca.is_some() {
        return Err(Error::invalid(
            Field::Ca,
            "ca is for an issuer whose keys are fetched, and jwks gives the keys themselves; leave one of them out",
        ));
    }
    Ok(())
}

/// Whoever chooses the keys of an issuer can sign for any workload of any trust, on every registry.
impl Credential for Issuer {
    type Held = Holder<Rights>;

    fn require_held(&self, held: &Holder<Rights>) -> Result<()> {
        if !held.rights.is_full() {
            return Err(Error::Forbidden(
                "whoever chooses the keys of an issuer can open every registry that trusts it; this needs all rights on \
                 every registry"
                    .to_owned(),
            ));
        }
        if held.until.is_some() {
            return Err(Error::Forbidden(
                "the change to the issuer would outlast this API token; send the request with a password"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

impl Changeable for Issuer {
    fn is_wider_than(&self, before: &Self) -> bool {
        let enabled = (before.status, self.status) == (Status::Disabled, Status::Enabled);
        let fewer = self
            .algorithms
            .iter()
            .all(|known| before.algorithms.contains(known));
        enabled || !fewer || self.keys != before.keys || self.ca != before.ca
    }
}

/// Refuses an issuer to a service that has `made`.
pub fn admit_issuer(made: i64) -> Result<()> {
    if made < ISSUERS {
        return Ok(());
    }
    Err(Error::Full(format!(
        "this service has {made} issuers, and no more than {ISSUERS} are allowed; delete one that is not needed any more"
    )))
}

impl Recorded for Issuer {
    const KIND: SubjectKind = SubjectKind::Issuer;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        let Self {
            key: _,
            id: _,
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
            version,
            created: _,
            modified: _,
        } = self;
        let algorithms: Vec<_> = algorithms.iter().map(|known| known.as_str()).collect();
        let mut record = json!({
            "url": url.as_str(),
            "kind": kind.as_str(),
            "keys": keys.as_str(),
            "algorithms": algorithms,
            "status": status.as_str(),
            "version": version,
        });
        let told = match keys {
            KeySource::Discovery => None,
            KeySource::JwksUrl(url) => Some(("jwksUrl", url.as_str())),
            KeySource::Inline(jwks) => Some(("jwks", jwks.as_str())),
        };
        let ca = ca.as_ref().map(|ca| ("ca", ca.as_str()));
        if let Value::Object(record) = &mut record {
            let told = told.into_iter().chain(ca);
            record.extend(told.map(|(name, text)| (name.to_owned(), text.into())));
        }
        record
    }
}

/// A new issuer, or the replacement of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIssuer {
    /// Its URL.
    pub url: IssuerUrl,
    /// Its kind.
    pub kind: IssuerKind,
    /// The place of its keys.
    pub keys: KeySource,
    /// Authorities for its server.
    pub ca: Option<Authorities>,
    /// The algorithms of its JWTs.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The status.
    pub status: Status,
}

impl NewIssuer {
    /// The issuer, before the store gives it a key.
    pub fn made(self, id: IssuerId, created: &Attribution) -> Result<Issuer> {
        let Self {
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
        } = self;
        check_ca(&keys, ca.as_ref())?;
        Ok(Issuer {
            key: IssuerKey(0),
            id,
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
            version: 1,
            created: created.clone(),
            modified: None,
        })
    }
}

/// Changes to an issuer; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuerPatch {
    /// The URL that the caller read. It cannot be changed, so another one is refused.
    pub url: Option<String>,
    /// The kind that the caller read, likewise.
    pub kind: Option<IssuerKind>,
    /// Fetches the keys from another place; without one, by discovery.
    pub jwks_url: Patch<JwksUrl>,
    /// Replaces the keys that are kept here; without them, the keys are fetched by discovery.
    pub jwks: Patch<Jwks>,
    /// Changes the authorities.
    pub ca: Patch<Authorities>,
    /// Replaces the algorithms.
    pub algorithms: Option<Vec<JwtAlgorithm>>,
    /// Changes the status.
    pub status: Option<Status>,
}

impl IssuerPatch {
    /// Returns true if it disables the issuer and changes nothing else.
    #[must_use]
    pub fn only_disables(&self) -> bool {
        let Self {
            url: _,
            kind: _,
            jwks_url,
            jwks,
            ca,
            algorithms,
            status,
        } = self;
        let same_keys = jwks_url.is_keep() && jwks.is_keep() && ca.is_keep();
        same_keys && algorithms.is_none() && *status == Some(Status::Disabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuers_url_is_taken_in_its_canonical_form_alone() {
        for right in [
            "https://token.actions.githubusercontent.com",
            "https://gitlab.example.com:8443",
            "https://oidc.circleci.com/org/4a5b6c7d",
            "https://forgejo.example.com/api/actions",
            "https://login.example.com/",
            "https://[2001:db8::1]/a",
            "http://localhost:8080",
            "http://127.0.0.1:8080/issuer",
            "http://[::1]:8080",
        ] {
            assert_eq!(IssuerUrl::parse(right).unwrap().as_str(), right);
        }
        let long = format!("https://example.com/{}", "a".repeat(URL));
        for (wrong, why) in [
            ("", "is no URL"),
            ("gitlab.example.com", "is no URL"),
            ("ftp://example.com", "does not begin with https://"),
            ("http://example.com", "clear text"),
            ("http://localhost.example.com", "clear text"),
            ("https://user@example.com", "has a user name"),
            ("https://user:password@example.com", "has a user name"),
            ("https://example.com?a=b", "has a query"),
            ("https://example.com#a", "has a fragment"),
            ("https://169.254.169.254", "never asked"),
            ("https://[::ffff:169.254.169.254]/a", "is written"),
            ("https://[::ffff:a9fe:a9fe]/a", "never asked"),
            ("https://EXAMPLE.com", "is written \"https://example.com\""),
            (
                "https://EXAMPLE.com/",
                "is written \"https://example.com/\"",
            ),
            ("HTTPS://example.com", "is written"),
            ("https://example.com:443", "is written"),
            ("https://example.com/a/../b", "is written"),
            ("https:\\\\example.com", "is written"),
            (" https://example.com", "is written"),
            ("https://ex\tample.com", "is written"),
            ("https://bücher.example", "is written"),
            (&long, "at most 512"),
        ] {
            let told = IssuerUrl::parse(wrong).unwrap_err().to_string();
            assert!(told.contains(why), "{wrong}: {told}");
        }
        assert!(JwksUrl::parse("https://example.com/keys?app=1").is_ok());
    }

    #[test]
    fn a_key_set_has_public_keys_alone() {
        let parse = |set: Value| Jwks::parse(set.as_object().unwrap());
        let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "a"});
        let set = parse(json!({"keys": [rsa], "more": 1})).unwrap();
        assert_eq!(set.as_str(), json!({"keys": [rsa], "more": 1}).to_string());
        // A key of another type is skipped when it is used.
        assert!(parse(json!({"keys": [{"kty": "AKP"}, rsa]})).is_ok());
        for member in PRIVATE {
            let mut private = rsa.clone();
            private[member] = json!("c2VjcmV0");
            let told = parse(json!({"keys": [rsa, private]})).unwrap_err();
            let told = told.to_string();
            assert!(
                told.contains("private or shared") && told.contains("at 1"),
                "{told}"
            );
            assert!(!told.contains("c2VjcmV0"), "{told}");
        }
        let many = vec![rsa.clone(); KEYS + 1];
        let mut large = rsa.clone();
        large["x5c"] = json!(["a".repeat(JWKS)]);
        for wrong in [
            json!({}),
            json!({"keys": {}}),
            json!({"keys": []}),
            json!({"keys": many}),
            json!({"keys": ["a"]}),
            json!({"keys": [{"kty": "RSA", "n": "AQAB"}]}),
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "a"}]}),
            json!({"keys": [large]}),
        ] {
            assert!(parse(wrong.clone()).is_err(), "{:.80}", wrong.to_string());
        }
    }

    #[test]
    fn no_algorithm_has_a_shared_secret() {
        let parse = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            JwtAlgorithm::parse_list(&names)
        };
        assert_eq!(parse(&["RS256", "ES256"]).unwrap(), JwtAlgorithm::DEFAULT);
        for wrong in [
            &["HS256"][..],
            &["none"],
            &["rs256"],
            &[],
            &["RS256", "RS256"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
