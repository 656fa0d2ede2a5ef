//! Machine secrets, which the service generates.
//!
//! A secret is a prefix, random digits, and a CRC-32 over all before it. The prefix lets scanners and people
//! recognise it, the checksum lets a typo fail before the database is asked. It is stored as an HMAC-SHA-256, which is
//! enough for a secret that nobody can guess; passwords of people are bcrypt's business.
//!
//! | Kind | Prefix | Random digits | Checksum | Base |
//! |---|---|---|---|---|
//! | registry token | `whrt_` | 33 (192 bits) | 6 | 62 |
//! | app token | `WHA` | 110 (568 bits) | 7 | 36, as Quay's codes |

use std::borrow::Cow;

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// The prefix of refresh tokens of registries' clients, for scanners and people. The rest is sealed.
pub const REFRESH_PREFIX: &str = "whrr_";
/// The prefix of the passwords that workloads get for their JWTs. The rest is sealed.
pub const WORKLOAD_PREFIX: &str = "whrw_";
/// Random bytes in the secret of a registry token.
pub const TOKEN_ENTROPY: usize = 24;
/// Random bytes in the code of an app token.
pub const CODE_ENTROPY: usize = 71;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The kind of a secret, by its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A registry, by the scopes of its token.
    RegistryToken,
    /// Every registry that an account may use.
    AppToken,
}

impl SecretKind {
    const ALL: [Self; 2] = [Self::RegistryToken, Self::AppToken];

    /// The prefix of every secret of this kind.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::RegistryToken => "whrt_",
            Self::AppToken => "WHA",
        }
    }

    /// The kind of a string whose prefix and checksum are right.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let kind = Self::ALL
            .into_iter()
            .find(|kind| text.starts_with(kind.prefix()))?;
        let covered = text.len().checked_sub(kind.checksum_digits())?;
        let whole = covered == kind.prefix().len() + kind.random_digits();
        let (covered, checksum) = text.split_at_checked(covered)?;
        // A checksum is no secret: a string with a right one may still hold anything, such as a NUL.
        let digits = covered.strip_prefix(kind.prefix())?.bytes();
        let plain = digits
            .into_iter()
            .all(|digit| kind.alphabet().contains(&digit));
        (whole && plain && kind.checksum_of(covered) == checksum).then_some(kind)
    }

    fn alphabet(self) -> &'static [u8] {
        let (capitals, _) = DIGITS.split_at(36);
        match self {
            Self::RegistryToken => DIGITS,
            Self::AppToken => capitals,
        }
    }

    fn base(self) -> u64 {
        match self {
            Self::RegistryToken => 62,
            Self::AppToken => 36,
        }
    }

    /// As many as hold the entropy: ⌈192 / log₂ 62⌉, ⌈568 / log₂ 36⌉.
    fn random_digits(self) -> usize {
        match self {
            Self::RegistryToken => 33,
            Self::AppToken => 110,
        }
    }

    /// As many as hold a CRC-32: ⌈32 / log₂ 62⌉, ⌈32 / log₂ 36⌉.
    fn checksum_digits(self) -> usize {
        match self {
            Self::RegistryToken => 6,
            Self::AppToken => 7,
        }
    }

    fn checksum_of(self, text: &str) -> String {
        let checksum = crc32fast::hash(text.as_bytes()).to_be_bytes();
        digits(&checksum, self.base(), self.checksum_digits())
    }

    fn mint(self, entropy: &[u8]) -> SecretString {
        let random = Zeroizing::new(digits(entropy, self.base(), self.random_digits()));
        // The final length: growing would leave a copy of the beginning behind.
        let length = self.prefix().len() + random.len() + self.checksum_digits();
        let mut secret = String::with_capacity(length);
        secret.push_str(self.prefix());
        secret.push_str(&random);
        secret.push_str(&self.checksum_of(&secret));
        secret.into()
    }
}

/// Returns true if this is a machine secret, by prefix and checksum. It is tried only as a token, never as a password.
#[must_use]
pub fn is_machine_secret(text: &str) -> bool {
    SecretKind::of(text).is_some()
}

/// The form of a credential, by its beginning. A mistyped or cut secret counts too: the rest could be guessed.
struct Form {
    prefix: &'static str,
    /// Returns true if this byte can follow.
    digit: fn(u8) -> bool,
    /// The fewest bytes that have to follow.
    least: usize,
}

const FORMS: [Form; 6] = [
    Form {
        prefix: "whrt_",
        digit: is_url_safe,
        least: 16,
    },
    Form {
        prefix: REFRESH_PREFIX,
        digit: is_url_safe,
        least: 16,
    },
    Form {
        prefix: WORKLOAD_PREFIX,
        digit: is_url_safe,
        least: 16,
    },
    Form {
        prefix: "WHA",
        digit: |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        least: 32,
    },
    // A JWT: `{"` in base64, then three parts with dots between them.
    Form {
        prefix: "eyJ",
        digit: |byte| is_url_safe(byte) || byte == b'.',
        least: 16,
    },
    // A session's cookie, and any sealed text: it begins with a data key's number, whose upper 54 bits are zero.
    Form {
        prefix: "AAAAAAAAA",
        digit: is_url_safe,
        least: 32,
    },
];

/// A digit of base64 for URLs (RFC 4648 §5).
pub(super) fn is_url_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// A text in which every string in the form of a secret is replaced after its prefix: the secrets of registry tokens,
/// codes of app tokens, refresh tokens, passwords of workloads, JWTs and cookies of sessions.
#[must_use]
pub fn masked(text: &str) -> Cow<'_, str> {
    FORMS
        .iter()
        .fold(Cow::Borrowed(text), |text, form| form.mask(text))
}

impl Form {
    fn mask<'a>(&self, text: Cow<'a, str>) -> Cow<'a, str> {
        if !text.contains(self.prefix) {
            return text;
        }
        let mut masked = String::with_capacity(text.len());
        let mut rest = &*text;
        while let Some((before, after)) = rest.split_once(self.prefix) {
            let length = after.bytes().take_while(|byte| (self.digit)(*byte)).count();
            masked.push_str(before);
            masked.push_str(self.prefix);
            rest = after;
            if length >= self.least {
                masked.push_str("[masked]");
                rest = after.get(length..).unwrap_or_default();
            }
        }
        masked.push_str(rest);
        Cow::Owned(masked)
    }
}

/// The most white space around a secret that is cut off, in bytes: files and variables often end in a line end.
const AROUND: usize = 16;

/// The machine secret, if the whole text is one but for white space around it. That is left out.
#[must_use]
pub fn bare(text: &str) -> Option<&str> {
    let bare = text.trim();
    (text.len() - bare.len() <= AROUND && is_machine_secret(bare)).then_some(bare)
}

/// Makes the secret of a registry token from random bytes.
#[must_use]
pub fn token_secret(entropy: [u8; TOKEN_ENTROPY]) -> SecretString {
    SecretKind::RegistryToken.mint(&entropy)
}

/// Makes the code of an app token from random bytes.
#[must_use]
pub fn app_token_code(entropy: [u8; CODE_ENTROPY]) -> SecretString {
    SecretKind::AppToken.mint(&entropy)
}

/// The stored digest of a secret. It binds the kind and the owner, so a digest moved to another row opens nothing.
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

/// The value by which the secret of a registry token finds its row. It proves nothing: that is for the [`digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup(pub [u8; LOOKUP]);

/// Bytes in a [`Lookup`].
pub const LOOKUP: usize = 16;
/// It begins like no prefix of a secret, so no lookup is the digest of anything.
const LOOKUP_CONTEXT: &[u8] = b"lookup/";

/// The lookup of a secret: a keyed hash of the secret alone. Unlike the digest it is bound to no owner.
#[must_use]
pub fn lookup(key: &hmac::Key, secret: &SecretString) -> Lookup {
    let mut context = hmac::Context::with_key(key);
    context.update(LOOKUP_CONTEXT);
    context.update(secret.expose_secret().as_bytes());
    let mut lookup = [0; LOOKUP];
    for (byte, hashed) in lookup.iter_mut().zip(context.sign().as_ref()) {
        *byte = *hashed;
    }
    Lookup(lookup)
}

/// Digits divided off at once: in a base up to 62 they are less than 2^32.
const GROUP: usize = 5;

/// A big-endian number in a base up to 62, most significant digit first, padded with zeros to `width` digits.
fn digits(number: &[u8], base: u64, width: usize) -> String {
    let limb = |bytes: &[u8]| {
        let bytes = bytes.iter();
        bytes.fold(0, |limb, byte| limb << 8 | u64::from(*byte))
    };
    // Of 32 bits each, so that a remainder has room above one.
    let mut limbs: Vec<u64> = number.rchunks(4).rev().map(limb).collect();
    let divisor = [base; GROUP].iter().product::<u64>();
    let mut digits = vec!['0'; width];
    for group in digits.rchunks_mut(GROUP) {
        let mut remainder = 0;
        for limb in &mut limbs {
            let value = remainder << 32 | *limb;
            (*limb, remainder) = (value / divisor, value % divisor);
        }
        for digit in group.iter_mut().rev() {
            let place = usize::try_from(remainder % base).ok();
            let found = place.and_then(|place| DIGITS.get(place));
            *digit = found.copied().map_or('0', char::from);
            remainder /= base;
        }
    }
    digits.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn the_digits_hold_the_entropy() {
        // 62^33 > 2^192, 36^110 > 2^568, 62^6 > 2^32, 36^7 > 2^32: no digit is lost, and none is to spare.
        for (bytes, base, width) in [(24, 62, 33), (71, 36, 110), (4, 62, 6), (4, 36, 7)] {
            let wider = digits(&vec![0xff; bytes], base, width + 1);
            assert_eq!(wider.as_bytes()[0], b'0', "{bytes} bytes in base {base}");
            assert_ne!(wider.as_bytes()[1], b'0', "{bytes} bytes in base {base}");
        }
        assert_eq!(digits(&[0xff; 4], 62, 6), "4gfFC3");
        assert_eq!(digits(&[0, 0, 0, 62], 62, 6), "000010");
        assert_eq!(digits(&[0xff; 4], 36, 7), "1Z141Z3");
    }

    #[test]
    fn a_typo_is_no_secret() {
        let token = (
            token_secret([9; TOKEN_ENTROPY]),
            SecretKind::RegistryToken,
            44,
        );
        let code = (app_token_code([9; CODE_ENTROPY]), SecretKind::AppToken, 120);
        for (secret, kind, length) in [token, code] {
            let text = secret.expose_secret();
            assert_eq!(text.len(), length);
            assert_eq!(SecretKind::of(text), Some(kind));
            for at in 0..text.len() {
                let mut typo = text.as_bytes().to_vec();
                typo[at] = if typo[at] == b'X' { b'Y' } else { b'X' };
                assert!(
                    !is_machine_secret(std::str::from_utf8(&typo).unwrap()),
                    "a typo at {at} passed"
                );
            }
            for wrong in [&text[..length - 1], &format!("{text}0")] {
                assert!(!is_machine_secret(wrong), "{wrong:?} passed");
            }
        }
        for kind in SecretKind::ALL {
            for odd in ['\0', 'ä', '-', '_', '{'] {
                let plain = "0".repeat(kind.random_digits() - odd.len_utf8());
                let covered = format!("{}{odd}{plain}", kind.prefix());
                let whole = format!("{covered}{}", kind.checksum_of(&covered));
                assert!(!is_machine_secret(&whole), "{whole:?} passed");
            }
        }
        let lower = format!("WHAx{}", "0".repeat(109));
        let lower = format!("{lower}{}", SecretKind::AppToken.checksum_of(&lower));
        assert!(!is_machine_secret(&lower), "{lower:?} passed");
        for wrong in ["", "whrt_", "whrt_ä", "WHA", "WHAä"] {
            assert!(!is_machine_secret(wrong), "{wrong:?} passed");
        }
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let token = token_secret([9; TOKEN_ENTROPY]);
        let code = app_token_code([9; CODE_ENTROPY]);
        let jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL3N0YWNrcm94LmlvL2p3dCJ9.c2lnbmF0dXJl";
        let cookie = "AAAAAAAAAAFIl4dZ0cVnW2c0Q0dNVfF7uXq0mU3v5wYb-_k0aaB1b2c3d4e5f6";
        let refresh = format!("{REFRESH_PREFIX}{cookie}");
        let workload = format!("{WORKLOAD_PREFIX}{cookie}");
        let (token, code) = (token.expose_secret(), code.expose_secret());
        for secret in [
            token,
            code,
            jwt,
            cookie,
            refresh.as_str(),
            workload.as_str(),
        ] {
            // The rest must be of no use: only the prefix may stay.
            for text in [
                secret.to_owned(),
                format!("/registries/{secret}/tokens?a={secret}"),
                format!("\"{secret}\"…"),
                format!("x{secret}é{secret}"),
                secret.get(..secret.len() - 1).unwrap().to_owned(),
                secret.chars().take(44).collect(),
            ] {
                let masked = masked(&text);
                assert!(masked.contains("[masked]"), "{text}: {masked}");
                let piece = secret.get(12..30).unwrap();
                assert!(!masked.contains(piece), "{text}: {masked}");
            }
        }
        for plain in [
            "",
            "/registries/0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11/tokens",
            "whrt_none WHARF eyJ AAAAAAAAAAAA whrr_",
            "whrt_whrt_é",
        ] {
            assert_eq!(masked(plain), plain);
        }
    }

    #[test]
    fn a_secret_is_known_in_a_little_white_space() {
        let secret = token_secret([9; TOKEN_ENTROPY]);
        let secret = secret.expose_secret();
        for (before, after) in [
            ("", ""),
            ("", "\n"),
            ("\t", "\r\n"),
            ("\u{2003}", &" ".repeat(13)),
        ] {
            assert_eq!(bare(&format!("{before}{secret}{after}")), Some(secret));
        }
        for (before, after) in [
            ("", "\0"),
            ("x", ""),
            (" ", &" ".repeat(16)),
            ("\u{feff}", ""),
        ] {
            assert_eq!(bare(&format!("{before}{secret}{after}")), None, "{after:?}");
        }
        assert_eq!(bare(" a password "), None);
    }

    #[test]
    fn codes_are_upper_case_and_digits() {
        let code = app_token_code(std::array::from_fn(|at| u8::try_from(at * 3).unwrap()));
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        assert!(code.expose_secret().bytes().all(plain));
    }

    #[test]
    fn a_lookup_belongs_to_one_key_and_is_the_digest_of_nothing() {
        let key = |byte| hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
        let (secret, other) = (token_secret([9; 24]), token_secret([8; 24]));
        assert_eq!(lookup(&key(1), &secret), lookup(&key(1), &secret));
        assert_ne!(lookup(&key(1), &secret), lookup(&key(2), &secret));
        assert_ne!(lookup(&key(1), &secret), lookup(&key(1), &other));
        for kind in SecretKind::ALL {
            assert!(!kind.prefix().as_bytes().starts_with(&LOOKUP_CONTEXT[..1]));
        }
    }

    #[test]
    fn a_digest_belongs_to_one_owner() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let secret = token_secret([9; TOKEN_ENTROPY]);
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

    /// Secrets that were given out stay valid: these values were made by another program.
    #[test]
    fn the_form_of_secrets_and_of_what_is_stored_of_them_never_changes() {
        let token = token_secret([7; TOKEN_ENTROPY]);
        assert_eq!(
            token.expose_secret(),
            "whrt_04hRzgefUy8S7YcHUrJGoeiJTKldGueU30I7AJF"
        );
        assert_eq!(
            app_token_code([7; CODE_ENTROPY]).expose_secret(),
            "WHA0M0X0MTZFI7D25F2S3366UBQUI7IS6G90W5JA4VSZXTBMHRHMHLERBBEABABLYI0RFW8406EWG9OT1JLQ7Q9XVWM1FVB10UZNCVIEQGD95IOSN03GCMDI"
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let owner = uuid::Uuid::from_u128(7);
        assert_eq!(
            HEXLOWER.encode(&digest(&key, SecretKind::RegistryToken, owner, &token)),
            "91292dcd6c58c3beaa96f34502a5ee3a38d12865f74d136288dca398de3ec9b5"
        );
        assert_eq!(
            HEXLOWER.encode(&lookup(&key, &token).0),
            "4198c791a9c76bafac75a401be7bf364"
        );
    }
}
