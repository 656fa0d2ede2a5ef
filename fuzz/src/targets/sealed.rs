//! Sealed texts: cursors, cookies, refresh tokens. Only texts that the service gave open, each only in its own place.
//!
//! The first byte selects the given text that the input changes, or says that the input stands by itself.

use std::sync::LazyLock;

use crate::service::RunningService;
use crate::{edited, instructed};
use secrecy::ExposeSecret as _;

struct Given {
    service: RunningService,
    /// A cursor of registries, one of the audit trail, a cookie, a refresh token.
    texts: [String; 4],
}

static GIVEN: LazyLock<Given> = LazyLock::new(|| {
    let service = RunningService::start();
    let refresh = service.granted("team-a").refresh_token;
    let texts = [
        service.registry_cursor(),
        service.audit_cursor(),
        service.session().cookie.expose_secret().to_owned(),
        refresh
            .expect("it was asked for")
            .expose_secret()
            .to_owned(),
    ];
    Given { service, texts }
});

/// Checks one input.
pub fn run(input: &[u8]) {
    let Given { service, texts } = &*GIVEN;
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
        service.registries(Some(&text)).is_some(),
        service.audit(Some(&text)).is_some(),
        service.is_session(&text),
        service.refreshes(&text),
    ];
    let expected = texts.each_ref().map(|given| *given == text);
    assert_eq!(opened, expected, "{text:?}");
}
