//! An `Authorization` header. The name and password in it are the same after writing and reading them again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use wharfinger::http::fuzzing::basic;

/// Checks one input.
pub fn run(header: &[u8]) {
    let Some((name, password)) = basic(header) else {
        return;
    };
    let password = password.expose_secret();
    assert!(!name.contains(':'), "a name goes on after its end");
    let pair = format!("{name}:{password}");
    let again = format!("Basic {}", STANDARD.encode(&pair));
    // Latin-1 text is longer in UTF-8, and may be too long then.
    if again.len() > 8 * 1024 {
        return;
    }
    let (name_again, password_again) = basic(again.as_bytes()).expect("it was read before");
    assert_eq!(name, name_again);
    assert_eq!(password, password_again.expose_secret());
}
