//! The configuration of a registry that makes it take this service's tokens.
//!
//! Owns the text for each registry product. Refuses to know the source of the facts.

use serde_json::json;

use super::text::{has_control, quoted};
use super::token_verifier::TokenVerifier;
use crate::error::{Error, Field, Result};

/// The longest path of a bundle, in bytes.
const PATH: usize = 4096;

/// A registry product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Distribution 2.8, as Debian's `docker-registry` is.
    Distribution2,
    /// Distribution 3.
    Distribution3,
    /// zot 2.1.
    Zot,
}

impl Product {
    /// All of them, by their names.
    pub const ALL: [(&'static str, Self); 3] = [
        ("distribution2", Self::Distribution2),
        ("distribution3", Self::Distribution3),
        ("zot", Self::Zot),
    ];

    /// Reads the name of a product.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "docker" {
            return Err(Error::invalid(
                Field::For,
                "for=docker names a client; name the registry that it talks to: distribution2 for Debian's \
                 docker-registry and registry:2, distribution3 for registry:3, or zot",
            ));
        }
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, product)| *product).ok_or_else(|| {
            Error::invalid(
                Field::For,
                format!(
                    "for={} is not distribution2, distribution3 or zot",
                    quoted(text)
                ),
            )
        })
    }
}

/// The path of the bundle on the registry's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundlePath(String);

impl BundlePath {
    /// Reads a path: not empty, without control characters, at most 4 096 bytes.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > PATH || has_control(text) {
            return Err(Error::invalid(
                Field::Bundle,
                format!(
                    "bundle={} is no path; send the path of the bundle on the registry's machine, such as \
                     bundle=/etc/docker/registry/wharfinger.pem",
                    quoted(text)
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The facts that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The address of the token endpoint.
    pub realm: String,
    /// The registry's service name.
    pub service: String,
    /// The issuer of the tokens.
    pub issuer: String,
    /// The path of the bundle.
    pub bundle: BundlePath,
    /// The registry's verifier of tokens.
    pub verifier: TokenVerifier,
}

/// The error for an unknown address of the token endpoint, which the configuration has to name.
#[must_use]
pub fn no_address() -> Error {
    Error::Unsuited(
        "the address at which clients reach this service is not known; set --public-url, or send the request to a \
         loopback address"
            .to_owned(),
    )
}

/// The text to paste.
///
/// # Errors
///
/// [`Error::Unsuited`] if the product cannot check the tokens of this registry.
pub fn render(product: Product, facts: &Facts) -> Result<String> {
    let trust = match (product, facts.verifier) {
        (Product::Zot, TokenVerifier::X5c) => {
            return Err(Error::Unsuited(
                "zot holds one key and reads no certificates from tokens: set the registry's tokenVerifier to \"pinned\" first"
                    .to_owned(),
            ));
        }
        (Product::Zot, TokenVerifier::Pinned) => return Ok(zot(facts)),
        // Distribution 3 looks a key of a certificate up by its RFC 7638 thumbprint alone, one of a key set by any id.
        (Product::Distribution3, TokenVerifier::Pinned) => "jwks",
        (Product::Distribution2 | Product::Distribution3, _) => "rootcertbundle",
    };
    let mut text = format!(
        "auth:\n  token:\n    realm: {}\n    service: {}\n    issuer: {}\n    {trust}: {}\n",
        scalar(&facts.realm),
        scalar(&facts.service),
        scalar(&facts.issuer),
        scalar(&facts.bundle.0),
    );
    if product == Product::Distribution3 {
        text.push_str("    signingalgorithms: [ES256, RS256]\n");
    }
    Ok(text)
}

/// Quotes a text: every JSON string is a YAML scalar.
fn scalar(text: &str) -> String {
    json!(text).to_string()
}

fn zot(facts: &Facts) -> String {
    let config = json!({
        "http": {
            "auth": {
                "bearer": {
                    "realm": facts.realm,
                    "service": facts.service,
                    "cert": facts.bundle.0,
                }
            }
        }
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(verifier: TokenVerifier) -> Facts {
        Facts {
            realm: "https://tokens.example.com/token".to_owned(),
            service: "demo.example.com".to_owned(),
            issuer: "wharfinger".to_owned(),
            bundle: BundlePath::parse("/etc/a \"b\": c.pem").unwrap(),
            verifier,
        }
    }

    #[test]
    fn every_product_gets_what_it_reads() {
        let x5c = facts(TokenVerifier::X5c);
        let pinned = facts(TokenVerifier::Pinned);
        assert_eq!(
            render(Product::Distribution2, &x5c).unwrap(),
            r#"auth:
  token:
    realm: "https://tokens.example.com/token"
    service: "demo.example.com"
    issuer: "wharfinger"
    rootcertbundle: "/etc/a \"b\": c.pem"
"#
        );
        let text = render(Product::Distribution3, &x5c).unwrap();
        assert!(text.contains("\n    rootcertbundle: ") && text.contains("[ES256, RS256]"));
        let text = render(Product::Distribution3, &pinned).unwrap();
        assert!(text.contains("\n    jwks: ") && !text.contains("rootcertbundle"));
        assert!(matches!(
            render(Product::Zot, &x5c),
            Err(Error::Unsuited(message)) if message.contains("pinned")
        ));
        let zot: serde_json::Value =
            serde_json::from_str(&render(Product::Zot, &pinned).unwrap()).unwrap();
        assert_eq!(zot["http"]["auth"]["bearer"]["cert"], "/etc/a \"b\": c.pem");
    }

    #[test]
    fn paths_are_text_without_controls() {
        for wrong in ["", "a\nb", "\0", &"x".repeat(PATH + 1)] {
            assert!(BundlePath::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
