//! Requests that may be repeated because their answer got lost, and the difference between a repeat and another request
//! (draft-ietf-httpapi-idempotency-key-header).

use aws_lc_rs::digest::{Context, SHA256};

use super::id::ApiTokenId;
use crate::error::{Error, Field, Result};

/// The key by which a client can repeat a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The maximum length, in characters.
    pub const LIMIT: usize = 255;
    /// The pattern of the header.
    pub const PATTERN: &str = r#"^([!#-~]+|"([!#-\[\]-~]|\\["\\])+")$"#;

    /// Reads the value of the header: 1 to 255 visible characters, in double quotes as the draft has them, with `\"`
    /// and `\\` in them, or bare, as most clients send them. Both are the same key.
    pub fn parse(value: &[u8]) -> Result<Self> {
        let value = value.trim_ascii();
        let quoted = value.strip_prefix(b"\"");
        let mut key = String::new();
        let mut rest = quoted.unwrap_or(value).iter();
        let mut closed = quoted.is_none();
        while let Some(byte) = rest.next() {
            match (byte, quoted) {
                (b'"', Some(_)) => {
                    closed = rest.next().is_none();
                    break;
                }
                (b'\\', Some(_)) => match rest.next() {
                    Some(escaped @ (b'"' | b'\\')) => key.push(char::from(*escaped)),
                    _ => return Err(unreadable()),
                },
                (b'"', None) => return Err(unreadable()),
                (visible, _) if visible.is_ascii_graphic() => key.push(char::from(*visible)),
                _ => return Err(unreadable()),
            }
        }
        if !closed || key.is_empty() || key.len() > Self::LIMIT {
            return Err(unreadable());
        }
        Ok(Self(key))
    }
}

/// The error for a header that cannot be read, or comes more than once.
#[must_use]
pub fn unreadable() -> Error {
    Error::invalid(
        Field::IdempotencyKey,
        format!(
            "Idempotency-Key is not one key of 1 to {} visible ASCII characters, bare or in double quotes; \
             a fresh UUID does",
            IdempotencyKey::LIMIT
        ),
    )
}

/// A request with a key, by the digests that find and compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    place: [u8; 32],
    body: [u8; 32],
}

impl Attempt {
    /// A request with this key, to this path.
    #[must_use]
    pub fn new(key: &IdempotencyKey, method: &str, path: &str, body: &[u8]) -> Self {
        Self {
            place: hash(&[method.as_bytes(), path.as_bytes(), key.0.as_bytes()]),
            body: hash(&[body]),
        }
    }

    /// The digest that finds a repeat within an account. An API token is another principal than the password of its
    /// account, or than another token: one does not see the results of the other.
    #[must_use]
    pub fn digest(&self, bearer: Option<ApiTokenId>) -> [u8; 32] {
        let bearer = bearer.map(|id| id.0.into_bytes());
        hash(&[&self.place, bearer.as_ref().map_or(&[], |id| id)])
    }

    /// The digest that is equal for all bodies under one key. Keep it sealed: it is cheap to compute, and a body can hold
    /// a password, which could be found by trying.
    #[must_use]
    pub fn body(&self) -> &[u8; 32] {
        &self.body
    }
}

/// The lengths keep `ab`, `c` and `a`, `bc` apart.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_bare_or_quoted() {
        let uuid = "8e03978e-40d5-43dd-bc93-6894a57f9324";
        assert_eq!(key(uuid), key(&format!("\"{uuid}\"")));
        assert_eq!(key(r#" "a\"\\b" "#).0, r#"a"\b"#);
        assert_eq!(key(r"a\b").0, r"a\b");
        assert_eq!(
            key(&"x".repeat(IdempotencyKey::LIMIT)).0.len(),
            IdempotencyKey::LIMIT
        );
        for wrong in [
            "",
            " ",
            "\"\"",
            "\"a",
            "a\"",
            "\"a\"b",
            "\"a\";x=1",
            "a b",
            "\"a b\"",
            r#""a\b""#,
            "\"a\\",
            "ä",
            "a\tb",
            &"x".repeat(IdempotencyKey::LIMIT + 1),
        ] {
            let refused = IdempotencyKey::parse(wrong.as_bytes());
            assert!(refused.is_err(), "{wrong:?} was read");
        }
    }

    #[test]
    fn only_the_same_principal_with_the_same_key_at_the_same_place_repeats() {
        let one = Attempt::new(&key("a"), "POST", "/x", b"{}");
        assert_eq!(one, Attempt::new(&key("\"a\""), "POST", "/x", b"{}"));
        let bearer = |byte| Some(ApiTokenId(Uuid::from_bytes([byte; 16])));
        let mut digests = vec![
            one.digest(None),
            one.digest(bearer(1)),
            one.digest(bearer(2)),
        ];
        for (method, path, name) in [("PUT", "/x", "a"), ("POST", "/", "xa"), ("POST", "/x", "b")] {
            digests.push(Attempt::new(&key(name), method, path, b"{}").digest(None));
        }
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
        let other = Attempt::new(&key("a"), "POST", "/x", b"{ }");
        assert_eq!(other.digest(None), one.digest(None));
        assert_ne!(other.body(), one.body());
    }
}
