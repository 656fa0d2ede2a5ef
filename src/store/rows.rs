//! Column values and what they mean.
//!
//! Both databases hold instants as whole microseconds since 1970, ids as 16 bytes and structures as JSON text, so
//! that one schema serves both and nothing depends on a database's own types.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::domain::Stamp;
use crate::domain::id::AccountId;
use crate::error::{Error, Result};

pub(super) fn micros(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_micros()
}

pub(super) fn instant(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::internal(format!("{micros} µs is no instant")))
}

pub(super) fn bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid> {
    Uuid::from_slice(bytes).map_err(Error::internal)
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(Error::internal)
}

pub(super) fn stamp(at: i64, by: &[u8], by_name: String) -> Result<Stamp> {
    Ok(Stamp {
        at: instant(at)?,
        by: AccountId(uuid(by)?),
        by_name,
    })
}

/// A stamp of three columns that are set together or not at all.
pub(super) fn optional_stamp(
    at: Option<i64>,
    by: Option<Vec<u8>>,
    by_name: Option<String>,
) -> Result<Option<Stamp>> {
    match (at, by, by_name) {
        (Some(at), Some(by), Some(by_name)) => stamp(at, &by, by_name).map(Some),
        _ => Ok(None),
    }
}
