//! What travels sealed: cursors, cookies, refresh tokens. Nothing opens but what was given, where it belongs.
//!
//! The first byte says which of those given the input changes, or that the input stands by itself.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret as _;
use wharfinger_fuzz::service::Harbour;
use wharfinger_fuzz::{edited, instructed};

struct Given {
    harbour: Harbour,
    /// A cursor of registries, one of the audit trail, a cookie, a refresh token.
    texts: [String; 4],
}

static GIVEN: LazyLock<Given> = LazyLock::new(|| {
    let harbour = Harbour::start();
    let refresh = harbour.granted("team-a").refresh_token;
    let texts = [
        harbour.registry_cursor(),
        harbour.audit_cursor(),
        harbour.session().cookie.expose_secret().to_owned(),
        refresh
            .expect("it was asked for")
            .expose_secret()
            .to_owned(),
    ];
    Given { harbour, texts }
});

fuzz_target!(|input: &[u8]| {
    let Given { harbour, texts } = &*GIVEN;
    let Some((first, rest)) = instructed(input) else {
        return;
    };
    let text = match texts.get(usize::from(first % 8) / 2) {
        // Without its mark, and with one that is not its own.
        Some(text) if first % 8 == 7 => edited(text.strip_prefix("whrr_").unwrap_or(text), rest),
        Some(text) if first % 2 == 1 => edited(&format!("whrr_{text}"), rest),
        Some(text) if first < 128 => edited(text, rest),
        _ => String::from_utf8_lossy(rest).into_owned(),
    };
    let opened = [
        harbour.registries(Some(&text)).is_some(),
        harbour.audit(Some(&text)).is_some(),
        harbour.is_session(&text),
        harbour.refreshes(&text),
    ];
    let expected = texts.each_ref().map(|given| *given == text);
    assert_eq!(opened, expected, "{text:?}");
});
