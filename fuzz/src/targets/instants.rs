//! Instants. An accepted instant is shown with a four-digit year and reads as the same instant again.

use chrono::{DateTime, SecondsFormat, Utc};
use wharfinger::domain::evaluation::parse_address;
use wharfinger::domain::page::{MAXIMUM_LIMIT, Window};
use wharfinger::domain::token::parse_expiry;
use wharfinger::http::fuzzing::stackrox;

/// Checks one input.
pub fn run(text: &str) {
    if let Ok(instant) = parse_expiry(text) {
        let shown = instant.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        check(&shown, instant);
        assert_eq!(parse_expiry(&shown).expect("it was read before"), instant);
    }
    let body = serde_json::json!({ "name": "x", "expiration": text }).to_string();
    if let Ok(wish) = stackrox::wish(body.as_bytes()) {
        let instant = wish.expires_at.expect("it was sent");
        check(
            &instant.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            instant,
        );
    }
    if let Ok(address) = parse_address(text) {
        assert_eq!(parse_address(&address.to_string()).ok(), Some(address));
    }
    let (offset, limit) = text.split_once(' ').unwrap_or((text, "1"));
    if let Ok(window) = Window::parse(Some(offset), Some(limit)) {
        assert!(window.offset >= 0 && (0..=MAXIMUM_LIMIT).contains(&window.limit));
        let _ = (window.next(i64::MAX), window.previous(i64::MAX));
    }
}

/// As clients in Go read it: `2027-01-13T16:27:42Z`, never `+12027-…`.
fn check(shown: &str, instant: DateTime<Utc>) {
    let year = shown.split('-').next().unwrap_or_default();
    assert!(
        year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()),
        "shown as {shown}"
    );
    let read = DateTime::parse_from_rfc3339(shown).expect("it is RFC 3339");
    assert_eq!(read.to_utc(), instant);
}
