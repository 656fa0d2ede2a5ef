//! Machine secrets: what the service generates and hands out once.
//!
//! A secret is `prefix` + 33 base-62 digits (192 random bits) + 6 base-62 digits of a CRC-32 over all before it. The
//! prefix lets scanners and people recognise it, the checksum lets a typo fail before the database is asked. It is
//! stored as an HMAC-SHA-256, which is enough for a secret that nobody can guess; passwords of people are bcrypt's
//! business.

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};

/// Random bytes in a secret.
pub const ENTROPY: usize = 24;
/// Base-62 digits that hold [`ENTROPY`] bytes: ⌈192 / log₂ 62⌉.
const BODY: usize = 33;
/// Base-62 digits that hold a CRC-32: ⌈32 / log₂ 62⌉.
const CHECKSUM: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a secret opens, told by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A registry, by the scopes of its token.
    RegistryToken,
}

impl SecretKind {
    const ALL: [Self; 1] = [Self::RegistryToken];

    /// What every secret of this kind begins with.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::RegistryToken => "whrt_",
        }
    }

    /// The kind of a string whose prefix and checksum are right.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let kind = Self::ALL
            .into_iter()
            .find(|kind| text.starts_with(kind.prefix()))?;
        let covered = text.len().checked_sub(CHECKSUM)?;
        let whole = text.len() == kind.prefix().len() + BODY + CHECKSUM;
        let (covered, checksum) = text.split_at_checked(covered)?;
        (whole && checksum_of(covered) == checksum).then_some(kind)
    }
}

/// Is this a machine secret, by prefix and checksum? Such a string is tried only as a token, never as a password.
#[must_use]
pub fn is_machine_secret(text: &str) -> bool {
    SecretKind::of(text).is_some()
}

/// Makes a secret from random bytes.
#[must_use]
pub fn mint(kind: SecretKind, entropy: [u8; ENTROPY]) -> SecretString {
    let mut secret = format!("{}{}", kind.prefix(), base62(&entropy, BODY));
    secret.push_str(&checksum_of(&secret));
    secret.into()
}

/// What is stored of a secret. It binds the kind and the owner, so a digest moved to another row opens nothing.
#[must_use]
pub fn digest(
    key: &hmac::Key,
    kind: SecretKind,
    owner: uuid::Uuid,
    secret: &SecretString,
) -> Vec<u8> {
    let mut context = hmac::Context::with_key(key);
    context.update(kind.prefix().as_bytes());
    context.update(owner.as_bytes());
    context.update(secret.expose_secret().as_bytes());
    context.sign().as_ref().to_vec()
}

fn checksum_of(text: &str) -> String {
    base62(&crc32fast::hash(text.as_bytes()).to_be_bytes(), CHECKSUM)
}

/// A big-endian number in base 62, most significant digit first, padded with zeros to `width` digits.
fn base62(number: &[u8], width: usize) -> String {
    let mut number = number.to_vec();
    let mut digits = vec!['0'; width];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_usize;
        for byte in &mut number {
            let value = remainder * 256 + usize::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        *digit = DIGITS.get(remainder).copied().map_or('0', char::from);
    }
    digits.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_holds_the_entropy() {
        // 62^33 > 2^192 and 62^6 > 2^32: no digit is lost.
        assert_eq!(base62(&[0xff; 24], BODY + 1).as_bytes()[0], b'0');
        assert_eq!(base62(&[0xff; 4], CHECKSUM), "4gfFC3");
        assert_eq!(base62(&[0, 0, 0, 62], CHECKSUM), "000010");
    }

    #[test]
    fn a_typo_is_no_secret() {
        let secret = mint(SecretKind::RegistryToken, [9; ENTROPY]);
        let text = secret.expose_secret();
        assert_eq!(text.len(), 44);
        assert_eq!(SecretKind::of(text), Some(SecretKind::RegistryToken));
        for at in 0..text.len() {
            let mut typo = text.as_bytes().to_vec();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            assert!(
                !is_machine_secret(std::str::from_utf8(&typo).unwrap()),
                "a typo at {at} passed"
            );
        }
        for wrong in ["", "whrt_", "whrt_ä", &text[..43], &format!("{text}0")] {
            assert!(!is_machine_secret(wrong), "{wrong:?} passed");
        }
    }

    #[test]
    fn a_digest_belongs_to_one_owner() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let secret = mint(SecretKind::RegistryToken, [9; ENTROPY]);
        let of = |owner| {
            digest(
                &key,
                SecretKind::RegistryToken,
                uuid::Uuid::from_u128(owner),
                &secret,
            )
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
