//! The keys of an issuer: the URL that names it, the place of its keys or the keys themselves, and the algorithms.
//!
//! Owns the rules for them as they are written. Refuses to know how keys are fetched and signatures checked.

use std::net::IpAddr;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value};
use url::{Host, Url};

use super::network::{NoRequest, OutgoingNetworks};
use super::text::quoted;
use crate::error::{Error, Field, Result};

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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
