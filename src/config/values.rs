//! The values of settings, as clap reads them.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use crate::domain::period::Period;
use crate::domain::signing::Algorithm;
use crate::domain::unicode::BYTE_ORDER_MARK;

/// The retention of expired items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Until somebody deletes it.
    Forever,
    /// For this time.
    For(Duration),
}

impl From<Retention> for Option<Duration> {
    fn from(retention: Retention) -> Self {
        match retention {
            Retention::Forever => None,
            Retention::For(time) => Some(time),
        }
    }
}

/// The time after which a database server that was replaced answers nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFence {
    /// It is not looked for.
    Off,
    /// After this time.
    After(Duration),
}

impl From<ReadFence> for Option<Duration> {
    fn from(fence: ReadFence) -> Self {
        match fence {
            ReadFence::Off => None,
            ReadFence::After(time) => Some(time),
        }
    }
}

pub(super) type Parsed<T> = std::result::Result<T, String>;

#[expect(
    clippy::unnecessary_wraps,
    reason = "what a value parser of clap looks like"
)]
pub(super) fn secret(text: &str) -> Parsed<SecretString> {
    // A variable that was filled from a file may begin with the file's byte order mark.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    Ok(text.to_owned().into())
}

pub(super) fn http_url(text: &str) -> Parsed<Url> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        return Ok(url);
    }
    Err(
        "a URL such as https://tokens.example.com is needed, without user, query and fragment"
            .to_owned(),
    )
}

pub(super) fn domain(text: &str) -> Parsed<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    // A registry's name adds up to 63 characters and a dot to the 253 that a host name may have.
    if text.len() <= 189 && text.split('.').all(label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a domain such as registry.example.com is needed".to_owned())
}

pub(super) fn location(text: &str) -> Parsed<String> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match text.split_once('/') {
        Some((country, place)) if part(country) && part(place) => Ok(text.to_owned()),
        _ => Err("a location such as de/fra is needed".to_owned()),
    }
}

/// A time limit. Zero is refused: every request would fail.
pub(super) fn bound(text: &str) -> Parsed<Duration> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("a time above zero is needed, such as 10s".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// A time between two others, ends included.
pub(super) fn between(text: &str, least: &str, most: &str) -> Parsed<Duration> {
    let read = |text: &str| humantime::parse_duration(text).map_err(|error| error.to_string());
    let time = read(text)?;
    if time < read(least)? || time > read(most)? {
        return Err(format!("a time from {least} to {most} is needed"));
    }
    Ok(time)
}

/// At least 1m: clients treat a JWT with a shorter lifetime as if it lasted a minute (the minimum of the token
/// specification). At most 24h: a JWT cannot be revoked.
pub(super) fn jwt_life(text: &str) -> Parsed<Duration> {
    between(text, "1m", "24h")
}

/// At most 90d, well below the lifetime of the certificates, so that a service that was off for months still has a key.
pub(super) fn key_rotation(text: &str) -> Parsed<Duration> {
    between(text, "1h", "90d")
}

/// At least 1m: a shorter one could hardly be used.
pub(super) fn app_token_life(text: &str) -> Parsed<Duration> {
    between(text, "1m", "100y")
}

/// In whole seconds, as the API shows it.
pub(super) fn token_life(text: &str) -> Parsed<Period> {
    let life = between(text, "1m", "36500d")?;
    let seconds = i64::try_from(life.as_secs()).ok();
    seconds
        .and_then(Period::of_seconds)
        .ok_or_else(|| "a time of 1m to 36500d is needed".to_owned())
}

pub(super) fn notice_window(text: &str) -> Parsed<Duration> {
    between(text, "0s", "3650d")
}

/// At least 1m: a round of the janitor ends when nothing is due, so nothing may fall due again during it.
pub(super) fn notice_repeat(text: &str) -> Parsed<Duration> {
    between(text, "1m", "3650d")
}

/// A network; a single address is a network of one.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(alone);
    network.ok_or_else(|| {
        "an address or network such as 10.1.0.0/16 or 2001:db8::1 is needed".to_owned()
    })
}

/// At most 255 bytes: it is in every JWT and in the configuration of every registry.
pub(super) fn issuer(text: &str) -> Parsed<String> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err("a name of 1 to 255 bytes without control characters is needed".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn algorithm(text: &str) -> Parsed<Algorithm> {
    Algorithm::parse(text).map_err(|error| error.to_string())
}

/// At least 3s, as a heartbeat comes every second.
pub(super) fn read_fence(text: &str) -> Parsed<ReadFence> {
    if text == "off" {
        return Ok(ReadFence::Off);
    }
    between(text, "3s", "60s")
        .map(ReadFence::After)
        .map_err(|error| format!("{error}, or off"))
}

pub(super) fn retention(text: &str) -> Parsed<Retention> {
    if text == "forever" {
        return Ok(Retention::Forever);
    }
    humantime::parse_duration(text)
        .map(Retention::For)
        .map_err(|error| error.to_string())
}
