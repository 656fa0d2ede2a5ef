//! JWTs of workloads, made by issuers elsewhere.
//!
//! Owns the bounds within which one is read, and the rules for its times and its audience. Refuses to know keys:
//! everything in a JWT is the word of whoever sent it until its signature fits.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::account::PASSWORD_MAXIMUM;
use super::claims::only_audience;
use super::key_source::JwtAlgorithm;
use super::strict_json;
use super::trust_refusal::RefusalReason;
use crate::error::{Error, Field, Result};

/// The longest JWT, in bytes: longer ones fit into no header of HTTP Basic.
const LENGTH: usize = 6 * 1024;
/// The longest id of a key, in bytes.
const KID: usize = 256;
/// The difference allowed between clocks.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);
/// White space around a JWT that is cut off, in bytes: files and variables often end in a line end.
const AROUND: usize = 16;

/// A JWT as it was sent, and what it says of itself.
#[derive(Debug)]
pub struct WorkloadJwt {
    text: SecretString,
    /// The length of what is signed.
    signed: usize,
    /// The algorithm; `None` for one that no issuer may have.
    pub algorithm: Option<JwtAlgorithm>,
    /// The id of the key.
    pub kid: Option<String>,
    /// The issuer (`iss`).
    pub issuer: String,
    /// All claims.
    pub claims: Value,
}

/// Returns true if a text has the form of a JWT. No account's password has it, as each is shorter.
#[must_use]
pub fn is_jwt(text: &SecretString) -> bool {
    let text = text.expose_secret().trim_ascii();
    text.len() > PASSWORD_MAXIMUM
        && text.starts_with("eyJ")
        && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl WorkloadJwt {
    /// Reads a JWT of at most 6 KiB with an issuer, whose head and claims are JSON objects without doubles. `None`
    /// gives no reason.
    #[must_use]
    pub fn read(sent: &SecretString) -> Option<Self> {
        let sent = sent.expose_secret();
        let text = sent.trim_ascii();
        if text.len() > LENGTH || sent.len() - text.len() > AROUND {
            return None;
        }
        let (signed, _) = text.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let part = |part: &str| {
            let json = URL_SAFE_NO_PAD.decode(part).ok()?;
            strict_json::parse(&json).ok().filter(Value::is_object)
        };
        let (head, claims) = (part(head)?, part(claims)?);
        // An extension that has to be understood (RFC 7515 §4.1.11).
        if head.get("crit").is_some() {
            return None;
        }
        let kid = match head.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID => Some(kid.clone()),
            Some(_) => return None,
        };
        Some(Self {
            signed: signed.len(),
            algorithm: JwtAlgorithm::from_stored(head.get("alg")?.as_str()?),
            kid,
            issuer: claims.get("iss")?.as_str()?.to_owned(),
            claims,
            text: text.to_owned().into(),
        })
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &SecretString {
        &self.text
    }

    /// The bytes that are signed, and the signature in base64.
    #[must_use]
    pub fn parts(&self) -> (&[u8], &str) {
        let (signed, rest) = self.text.expose_secret().split_at(self.signed);
        (signed.as_bytes(), rest.trim_start_matches('.'))
    }

    /// The instant from which it is refused: its end (`exp`) and the leeway. `None` if it has none.
    #[must_use]
    pub fn end(&self) -> Option<DateTime<Utc>> {
        self.instant("exp")?.checked_add_signed(LEEWAY)
    }

    /// The reason to refuse it at an instant for an audience. It must have exactly one audience and an end.
    #[must_use]
    pub fn fault_at(&self, audience: &str, now: DateTime<Utc>) -> Option<RefusalReason> {
        let latest = now + LEEWAY;
        // Of a time that cannot be read, nobody knows whether it has come.
        let to_come = |name| {
            self.claims.get(name).is_some() && self.instant(name).is_none_or(|time| time > latest)
        };
        if only_audience(&self.claims) != Some(audience) {
            Some(RefusalReason::Audience)
        } else if self.end().is_none_or(|end| end <= now) {
            Some(RefusalReason::Expired)
        } else if to_come("nbf") || to_come("iat") {
            Some(RefusalReason::NotYetValid)
        } else {
            None
        }
    }

    /// A hash that names it: of its issuer's URL, and of its `jti`, or of its head and claims.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        let (signed, _) = self.parts();
        // A `jti` and a JWT have no text in common: this one has a zero byte.
        let named = match self.claims.get("jti") {
            Some(Value::String(id)) if !id.is_empty() => [&b"jti\0"[..], id.as_bytes()].concat(),
            _ => signed.to_vec(),
        };
        let whole = [self.issuer.as_bytes(), b"\0", &named].concat();
        digest(&SHA256, &whole).as_ref().to_vec()
    }

    /// A time in seconds since 1970, which may have a fraction.
    fn instant(&self, name: &str) -> Option<DateTime<Utc>> {
        let seconds = self.claims.get(name)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a number out of range becomes the first or last, which is no instant"
        )]
        let fraction = || seconds.as_f64().map(|seconds| seconds.floor() as i64);
        DateTime::from_timestamp(seconds.as_i64().or_else(fraction)?, 0)
    }
}

/// The claims of a workload for a question about a trust, of which nothing is proven.
#[derive(Debug)]
pub struct Unproven {
    /// The claims.
    pub claims: Value,
    /// The algorithm of the JWT that they came in, as that says; `None` for claims alone.
    pub algorithm: Option<String>,
}

impl Unproven {
    /// Reads a JWT within the bounds of a login.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the reason for which no login takes it. The message repeats nothing of it.
    pub fn read(jwt: &str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(Field::Jwt, format!("jwt {why}"));
        if jwt.len() > LENGTH {
            let length = jwt.len();
            return Err(wrong(&format!(
                "has {length} bytes; at most {LENGTH} are allowed"
            )));
        }
        let parts: Vec<_> = jwt.split('.').collect();
        let [head, payload, _] = parts.as_slice() else {
            return Err(wrong("does not have three parts with dots between them"));
        };
        let part = |name: &str, part: &str| {
            let json = URL_SAFE_NO_PAD.decode(part);
            let json = json.map_err(|_| wrong(&format!("has a {name} that is not base64url")))?;
            let value = strict_json::parse(&json)
                .map_err(|why| wrong(&format!("has a {name} that is no plain JSON: {why}")))?;
            let object = Some(value).filter(Value::is_object);
            object.ok_or_else(|| wrong(&format!("has a {name} that is no object")))
        };
        let (head, claims) = (part("head", head)?, part("payload", payload)?);
        if head.get("crit").is_some() {
            return Err(wrong(
                "has a head with \"crit\", an extension that no login takes",
            ));
        }
        let algorithm = head.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.ok_or_else(|| wrong("has a head without \"alg\""))?;
        Ok(Self {
            algorithm: Some(algorithm.to_owned()),
            claims,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(head: &str, claims: &str) -> SecretString {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        format!("{}.{}.c2lnbmF0dXJl", part(head), part(claims)).into()
    }

    fn read(head: &str, claims: &str) -> Option<WorkloadJwt> {
        WorkloadJwt::read(&sent(head, claims))
    }

    const HEAD: &str = r#"{"alg":"RS256","kid":"1"}"#;
    const CLAIMS: &str = r#"{"iss":"https://ci.example.com"}"#;

    fn of(claims: &Value) -> WorkloadJwt {
        let mut whole = json!({"iss": "https://ci.example.com", "aud": "here", "exp": 1000});
        for (name, value) in claims.as_object().unwrap() {
            whole[name] = value.clone();
        }
        read(HEAD, &whole.to_string()).unwrap()
    }

    #[test]
    fn a_jwt_is_read_as_it_was_sent() {
        let jwt = read(HEAD, CLAIMS).unwrap();
        assert_eq!(jwt.algorithm, Some(JwtAlgorithm::Rs256));
        assert_eq!(jwt.kid.as_deref(), Some("1"));
        assert_eq!(jwt.issuer, "https://ci.example.com");
        let (signed, signature) = jwt.parts();
        assert_eq!(signature, "c2lnbmF0dXJl");
        assert!(
            sent(HEAD, CLAIMS)
                .expose_secret()
                .as_bytes()
                .starts_with(signed)
        );
        let padded = format!(" {}\r\n", sent(HEAD, CLAIMS).expose_secret());
        assert!(WorkloadJwt::read(&padded.into()).is_some());
        for never in ["none", "HS256", "rs256", ""] {
            let head = json!({"alg": never}).to_string();
            assert_eq!(read(&head, CLAIMS).unwrap().algorithm, None, "{never}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_not_read() {
        let kid = |length| json!({"alg": "RS256", "kid": "k".repeat(length)}).to_string();
        assert!(read(&kid(KID), CLAIMS).is_some());
        assert!(read(&kid(KID + 1), CLAIMS).is_none());
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"iss":"i","x":{open}{close}}}"#)
        };
        assert!(read(HEAD, &nested(31)).is_some());
        assert!(read(HEAD, &nested(100)).is_none());
        let long = |length| json!({"iss": "i", "x": "x".repeat(length)}).to_string();
        assert!(read(HEAD, &long(4000)).is_some());
        assert!(read(HEAD, &long(6000)).is_none());
        for (head, claims) in [
            (r#"{"alg":"RS256","alg":"none"}"#, CLAIMS),
            (HEAD, r#"{"iss":"a","iss":"b"}"#),
            (r#"{"alg":"RS256","crit":["b64"]}"#, CLAIMS),
            (r#"{"alg":"RS256","kid":1}"#, CLAIMS),
            (r#"{"kid":"1"}"#, CLAIMS),
            (HEAD, r#"{"iss":1}"#),
            (HEAD, "{}"),
            (HEAD, "[]"),
            (HEAD, ""),
        ] {
            assert!(read(head, claims).is_none(), "{head} {claims}");
        }
        for text in ["", ".", "..", "eyJ", "eyJhbGciOiJub25lIn0.e30", "ä.ö.ü"] {
            assert!(
                WorkloadJwt::read(&text.to_owned().into()).is_none(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_jwt_has_one_audience() {
        let now = DateTime::from_timestamp(1000, 0).unwrap();
        for fits in [json!("here"), json!(["here"])] {
            assert_eq!(of(&json!({"aud": fits})).fault_at("here", now), None);
        }
        for other in [
            json!("there"),
            json!(["here", "there"]),
            json!(["here", "here"]),
            json!([]),
            json!(null),
            json!(1),
        ] {
            let fault = of(&json!({"aud": other})).fault_at("here", now);
            assert_eq!(fault, Some(RefusalReason::Audience), "{other}");
        }
    }

    #[test]
    fn times_are_compared_with_a_leeway_of_a_minute() {
        let fault = |claims: Value| {
            let now = DateTime::from_timestamp(1000, 0).unwrap();
            of(&claims).fault_at("here", now)
        };
        for fits in [
            json!({"exp": 941}),
            json!({"exp": 941.9}),
            json!({"exp": 1e9}),
            json!({"nbf": 1060}),
            json!({"iat": 1060}),
            json!({"nbf": -1, "iat": 0}),
        ] {
            assert_eq!(fault(fits.clone()), None, "{fits}");
        }
        for over in [
            json!({"exp": 940}),
            json!({"exp": null}),
            json!({"exp": "2000"}),
            json!({"exp": 1e300}),
            json!({"exp": u64::MAX}),
            json!({"exp": -1e300}),
        ] {
            assert_eq!(fault(over.clone()), Some(RefusalReason::Expired), "{over}");
        }
        for early in [
            json!({"nbf": 1061}),
            json!({"iat": 1061}),
            json!({"iat": "1"}),
            json!({"nbf": null}),
            json!({"nbf": 1e300}),
        ] {
            assert_eq!(
                fault(early.clone()),
                Some(RefusalReason::NotYetValid),
                "{early}"
            );
        }
    }

    #[test]
    fn jwts_have_names_of_their_own() {
        let names = [
            of(&json!({"jti": "1"})),
            of(&json!({"jti": "2"})),
            of(&json!({})),
            of(&json!({"x": 1})),
        ]
        .map(|jwt| jwt.name());
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name));
        }
        // One that is signed again with the same id has been exchanged.
        assert_eq!(names[0], of(&json!({"jti": "1", "exp": 2000})).name());
        let other = of(&json!({"jti": "1", "iss": "https://other.example.com"}));
        assert_ne!(names[0], other.name());
    }

    #[test]
    fn the_claims_of_a_jwt_are_read_and_nothing_of_it_is_repeated() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let of =
            |payload: &str| Unproven::read(&format!("{}.{}.c2ln", encode(HEAD), encode(payload)));
        let read = of(r#"{"sub":"a"}"#).unwrap();
        assert_eq!(
            (read.claims, read.algorithm.as_deref()),
            (json!({"sub": "a"}), Some("RS256"))
        );
        let long = format!("e30.{}.c2ln", "a".repeat(LENGTH));
        for (wrong, why) in [
            ("", "three parts"),
            ("a.b", "three parts"),
            ("a.b.c.d", "three parts"),
            ("e30.ä.c2ln", "payload that is not base64url"),
            ("ä.e30.c2ln", "head that is not base64url"),
            ("e30.e30.c2ln", "without \"alg\""),
            ("eyJhbGciOiJSUzI1NiIsImNyaXQiOltdfQ.e30.c2ln", "crit"),
            (&long, "at most 6144"),
        ] {
            let told = Unproven::read(wrong).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
        for wrong in [
            r#""hunter2""#,
            r#"{"a":"hunter2","a":1}"#,
            "{hunter2",
            &format!("{}1{}", "[".repeat(100), "]".repeat(100)),
        ] {
            let told = of(wrong).unwrap_err().to_string();
            assert!(
                told.starts_with("jwt has a payload") && !told.contains("hunter2"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_jwt_that_is_too_long_is_told_by_its_length() {
        let told = |length| Unproven::read(&"a".repeat(length)).unwrap_err().to_string();
        assert!(told(LENGTH).contains("three parts"));
        assert!(told(LENGTH + 1).contains("6145 bytes; at most 6144"));
    }

    #[test]
    fn a_jwt_is_longer_than_a_password_and_has_two_dots() {
        let text = |length: usize| format!("eyJ.{}.", "a".repeat(length - 5));
        for (text, is) in [
            (text(PASSWORD_MAXIMUM), false),
            (text(PASSWORD_MAXIMUM + 1), true),
            (format!(" {}\n", text(PASSWORD_MAXIMUM + 1)), true),
            (format!("{}.", text(90)), false),
            (text(90).replace("eyJ", "abc"), false),
            (text(90).replace('.', "-"), false),
        ] {
            assert_eq!(is_jwt(&text.as_str().into()), is, "{text}");
        }
    }
}
