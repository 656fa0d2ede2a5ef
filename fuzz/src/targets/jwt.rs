//! JWTs of registries and API tokens. Only signed JWTs pass, byte by byte, each only in its own place.
//!
//! The first byte selects one of two right JWTs and the part that the input changes, or a new part that the input makes
//! up. ECDSA permits one change, which is not tried: another signature of the same text by the same key. Chance does
//! not find such a signature, and the JWT would say the same.

use std::sync::LazyLock;

use crate::service::RunningService;
use crate::{edited, instructed};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;

struct Given {
    service: RunningService,
    registry: String,
    api: String,
    /// Of another registry.
    foreign: String,
}

static GIVEN: LazyLock<Given> = LazyLock::new(|| {
    let service = RunningService::start();
    let jwt = |registry| service.granted(registry).jwt.expose_secret().to_owned();
    let (registry, foreign, api) = (jwt("team-a"), jwt("team-b"), service.api_token());
    Given {
        registry,
        foreign,
        api,
        service,
    }
});

/// Checks one input.
pub fn run(input: &[u8]) {
    let given = &*GIVEN;
    let Some((first, rest)) = instructed(input) else {
        return;
    };
    let right = match first % 3 {
        0 => &given.registry,
        1 => &given.api,
        _ => &given.foreign,
    };
    let mut parts: Vec<Vec<u8>> = right
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).expect("it was made here"))
        .collect();
    let jwt = match first / 3 % 10 {
        0 => edited(right, rest),
        // A part with changes.
        part @ 1..=3 => {
            change(&mut parts[usize::from(part) - 1], rest);
            join(&parts)
        }
        // A part of the input's making.
        part @ 4..=6 => {
            parts[usize::from(part) - 4] = rest.to_vec();
            join(&parts)
        }
        // The signature of another, or none.
        7 => format!(
            "{}{}",
            &right[..=last_dot(right)],
            foreign_signature(given, rest)
        ),
        // A header that names another algorithm, and what it would take: the public parts as a key.
        8 => {
            for (old, new) in [("ES256", "HS256"), ("RS256", "HS256")] {
                parts[0] = replaced(&parts[0], old, new);
            }
            change(&mut parts[1], rest);
            let text = join(&parts[..2]);
            let key = hmac::Key::new(hmac::HMAC_SHA256, rest);
            parts[2] = hmac::sign(&key, text.as_bytes()).as_ref().to_vec();
            join(&parts)
        }
        _ => String::from_utf8_lossy(rest).into_owned(),
    };
    assert_eq!(given.service.passes(&jwt), jwt == given.registry, "{jwt}");
    assert_eq!(given.service.identifies(&jwt), jwt == given.api, "{jwt}");
}

fn change(part: &mut Vec<u8>, input: &[u8]) {
    // One letter for each byte, there and back.
    let text: String = part.iter().copied().map(char::from).collect();
    *part = edited(&text, input).chars().map(|c| c as u8).collect();
}

fn join(parts: &[Vec<u8>]) -> String {
    let parts: Vec<_> = parts
        .iter()
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .collect();
    parts.join(".")
}

fn replaced(part: &[u8], old: &str, new: &str) -> Vec<u8> {
    String::from_utf8_lossy(part).replace(old, new).into_bytes()
}

fn last_dot(jwt: &str) -> usize {
    jwt.rfind('.').expect("a JWT has three parts")
}

fn foreign_signature<'a>(given: &'a Given, input: &[u8]) -> &'a str {
    let other = match input.first().copied().unwrap_or_default() % 4 {
        0 => return "",
        1 => &given.registry,
        2 => &given.api,
        _ => &given.foreign,
    };
    &other[last_dot(other) + 1..]
}
