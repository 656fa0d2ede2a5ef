//! Conversions of column values.
//!
//! Both databases hold instants as whole microseconds since 1970, periods as whole seconds, ids as 16 bytes and
//! structures as JSON text, so that one schema serves both and nothing depends on a database's own types.

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::{Binary, Text};
use diesel::sqlite::{Sqlite, SqliteValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::domain::Attribution;
use crate::domain::id::AccountId;
use crate::domain::labels::Labels;
use crate::domain::period::Period;
use crate::domain::status::Status;
use crate::error::{Error, Result};

pub(super) fn micros(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_micros()
}

pub(super) fn instant(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::internal(format!("{micros} µs is no instant")))
}

pub(super) fn period(seconds: i64) -> Result<Period> {
    Period::try_from(seconds)
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

/// The value of a column with labels: NULL for none.
pub(super) fn labels_to_json(labels: &Labels) -> Result<Option<String>> {
    (!labels.is_empty()).then(|| to_json(labels)).transpose()
}

/// A column of 16 bytes, read without a copy.
#[derive(Debug, Clone, Copy, FromSqlRow)]
pub(super) struct Id(pub(super) Uuid);

/// A column with JSON, read without a copy.
#[derive(Debug, FromSqlRow)]
pub(super) struct Json<T>(pub(super) T);

/// A column with a status, read without a copy.
#[derive(Debug, FromSqlRow)]
pub(super) struct Stated(pub(super) Status);

impl FromSql<Binary, Sqlite> for Id {
    fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        Ok(Self(Uuid::from_slice(value.read_blob())?))
    }
}

impl FromSql<Binary, Pg> for Id {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Uuid::from_slice(value.as_bytes())?))
    }
}

impl<T: DeserializeOwned> FromSql<Text, Sqlite> for Json<T> {
    fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        Ok(Self(serde_json::from_str(value.read_text())?))
    }
}

impl<T: DeserializeOwned> FromSql<Text, Pg> for Json<T> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(serde_json::from_slice(value.as_bytes())?))
    }
}

impl FromSql<Text, Sqlite> for Stated {
    fn from_sql(mut value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        Ok(Self(Status::from_stored(value.read_text())))
    }
}

impl FromSql<Text, Pg> for Stated {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let text = str::from_utf8(value.as_bytes())?;
        Ok(Self(Status::from_stored(text)))
    }
}

pub(super) fn stamp(at: i64, by: &[u8], by_name: String) -> Result<Attribution> {
    Ok(Attribution {
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
) -> Result<Option<Attribution>> {
    match (at, by, by_name) {
        (Some(at), Some(by), Some(by_name)) => stamp(at, &by, by_name).map(Some),
        _ => Ok(None),
    }
}
