//! Functions for the fuzz targets in `fuzz/`, only in their build (`--cfg fuzzing`).
//!
//! They call the code behind the handlers. The targets check the results.

use std::net::IpAddr;

use actix_web::http::header::{HeaderMap, HeaderValue, X_FORWARDED_FOR};
use ipnet::IpNet;
use secrecy::SecretString;

pub use super::quay::fuzzing as quay;
pub use super::registries::fuzzing as registries;
pub use super::registry_auth::fuzzing as registry_auth;
pub use super::stackrox::fuzzing as stackrox;
use super::{call, source};

/// The name and password of an `Authorization` header.
#[must_use]
pub fn basic(header: &[u8]) -> Option<(String, SecretString)> {
    call::read_basic(&HeaderValue::from_bytes(header).ok()?)
}

/// The source of a request from `peer` with these `X-Forwarded-For` headers. `None` if no request can have them.
#[must_use]
pub fn source(peer: IpAddr, lines: &[&str], proxies: &[IpNet]) -> Option<IpAddr> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).ok()?);
    }
    Some(source::behind(peer, &headers, proxies))
}
