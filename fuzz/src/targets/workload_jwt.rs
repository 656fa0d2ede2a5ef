//! The JWT of a workload, before anybody vouches for it. The text that is read is that which a plain reader of JSON finds in it, within
//! the bounds; and what passes at an instant for an audience has that audience alone, and an end that has not come.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use secrecy::SecretString;
use serde_json::Value;
use wharfinger::domain::workload_jwt::WorkloadJwt;

const AUDIENCE: &str = "a";
const NOW: i64 = 1000;

/// Checks one input: as it is, and as head and claims with a line end between them.
pub fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        check(text);
    }
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    if let (Some(head), Some(claims)) = (parts.next(), parts.next()) {
        let part = |json| URL_SAFE_NO_PAD.encode(json);
        check(&format!("{}.{}.c2ln", part(head), part(claims)));
    }
}

fn check(text: &str) {
    let Some(jwt) = WorkloadJwt::read(&SecretString::from(text)) else {
        return;
    };
    assert!(text.trim_ascii().len() <= 6 * 1024);
    let parts: Vec<_> = text.trim_ascii().split('.').collect();
    let [head, claims, signature] = parts[..] else {
        panic!("a JWT has three parts");
    };
    let plain = |part: &str| -> Value {
        let json = URL_SAFE_NO_PAD.decode(part).expect("it was read before");
        serde_json::from_slice(&json).expect("it was read before")
    };
    let (head, plain_claims) = (plain(head), plain(claims));
    assert_eq!(jwt.claims, plain_claims);
    assert_eq!(jwt.kid.as_deref(), head.get("kid").and_then(Value::as_str));
    assert!(jwt.kid.as_ref().is_none_or(|kid| kid.len() <= 256));
    assert_eq!(Some(jwt.issuer.as_str()), plain_claims["iss"].as_str());
    let (signed, found) = jwt.parts();
    assert_eq!(found, signature);
    assert!(text.trim_ascii().as_bytes().starts_with(signed));
    assert_eq!(jwt.name().len(), 32);
    let now = DateTime::from_timestamp(NOW, 0).expect("an instant");
    if jwt.fault_at(AUDIENCE, now).is_none() {
        let aud = &plain_claims["aud"];
        assert!(*aud == AUDIENCE || *aud == Value::from(vec![AUDIENCE]));
        let time = |name: &str| plain_claims[name].as_f64();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (earliest, latest) = ((NOW - 60) as f64, (NOW + 61) as f64);
        assert!(time("exp").is_some_and(|end| end > earliest));
        for begin in ["nbf", "iat"] {
            assert!(plain_claims.get(begin).is_none() || time(begin).is_some_and(|at| at < latest));
        }
    }
}
