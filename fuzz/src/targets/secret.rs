//! Machine secrets. A made secret passes, a text that differs in one letter fails, and every text that passes has the
//! checksum that is computed here again, bit by bit.

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use wharfinger::domain::secret::{
    CODE_ENTROPY, SecretKind, TOKEN_ENTROPY, app_token_code, digest, is_machine_secret,
    token_secret,
};

/// Checks one input.
pub fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(kind) = SecretKind::of(text)
    {
        assert!(is_sound(kind, text), "{text:?} passes");
    }
    let Some((at, rest)) = input.split_first_chunk::<2>() else {
        return;
    };
    let entropy = |at: usize| rest.get(at).copied().unwrap_or_default();
    let token: [u8; TOKEN_ENTROPY] = std::array::from_fn(entropy);
    let code: [u8; CODE_ENTROPY] = std::array::from_fn(entropy);
    let [place, letter] = *at;
    check(
        SecretKind::RegistryToken,
        &token_secret(token),
        place,
        letter,
    );
    check(SecretKind::AppToken, &app_token_code(code), place, letter);
}

fn check(kind: SecretKind, secret: &SecretString, place: u8, letter: u8) {
    let text = secret.expose_secret();
    assert_eq!(SecretKind::of(text), Some(kind));
    assert!(is_sound(kind, text), "{text:?} was made");

    let place = usize::from(place) % text.len();
    let mut typo = text.as_bytes().to_vec();
    typo[place] = letter & 0x7f;
    let typo = String::from_utf8(typo).expect("ASCII");
    if typo != text {
        assert!(
            !is_machine_secret(&typo),
            "{typo:?} is {text:?} with a typo"
        );
    }
    assert!(!is_machine_secret(&text[..place]));

    let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
    let of = |owner, secret: &SecretString| digest(&key, kind, Uuid::from_u128(owner), secret);
    assert_eq!(of(1, secret), of(1, secret));
    assert_ne!(of(1, secret), of(2, secret));
    if typo != text {
        assert_ne!(of(1, secret), of(1, &typo.into()));
    }
}

/// As the table in `domain::secret` has it.
fn is_sound(kind: SecretKind, text: &str) -> bool {
    let (prefix, random, checksum, base) = match kind {
        SecretKind::RegistryToken => ("whrt_", 33, 6, 62),
        SecretKind::AppToken => ("WHA", 110, 7, 36),
    };
    let value = |letter: char| match letter {
        '0'..='9' => Some(letter as u64 - '0' as u64),
        'A'..='Z' => Some(letter as u64 - 'A' as u64 + 10),
        'a'..='z' if base == 62 => Some(letter as u64 - 'a' as u64 + 36),
        _ => None,
    };
    let Some(digits) = text.strip_prefix(prefix) else {
        return false;
    };
    let plain = digits.chars().all(|digit| value(digit).is_some());
    if !plain || digits.len() != random + checksum {
        return false;
    }
    let (covered, sum) = text.split_at(prefix.len() + random);
    let sum = sum.chars().fold(0, |sum, digit| {
        sum * base + value(digit).unwrap_or_default()
    });
    sum == u64::from(crc32(covered.as_bytes()))
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
            1 => (sum >> 1) ^ 0xedb8_8320,
            _ => sum >> 1,
        })
    })
}
