//! The tables `meta` and `data_keys`: facts about the data set, and the sealed keys of its secrets.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Binary, Text};
use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper, sql_query,
};

use super::rows::micros;
use super::schema::{data_keys, meta};
use super::session::Session;
use crate::error::Result;

/// A data key, sealed by the server key.
#[derive(Debug, Clone, diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = data_keys)]
pub struct SealedKey {
    /// The number that digests and sealed values name.
    pub key: i64,
    /// The purpose.
    pub purpose: String,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
    /// The id of the server key that sealed it.
    pub server_key_id: String,
}

/// A value that a data key sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The sealed bytes.
    pub bytes: Vec<u8>,
    /// The data key's number.
    pub key: i64,
}

/// A fact about the data set.
pub fn fact(connection: &mut Session, name: &str) -> Result<Option<Vec<u8>>> {
    Ok(meta::table
        .find(name)
        .select(meta::value)
        .get_result(connection)
        .optional()?)
}

/// Notes a fact for good. Fails if it is already there.
pub fn note_fact(connection: &mut Session, name: &str, value: &[u8]) -> Result<()> {
    diesel::insert_into(meta::table)
        .values((meta::name.eq(name), meta::value.eq(value)))
        .execute(connection)?;
    Ok(())
}

/// Sets a fact about the data set, new or not.
pub fn set_fact(connection: &mut Session, name: &str, value: &[u8]) -> Result<()> {
    sql_query(
        "INSERT INTO meta (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind::<Text, _>(name)
    .bind::<Binary, _>(value)
    .execute(connection)?;
    Ok(())
}

/// Removes a fact about the data set.
pub fn forget_fact(connection: &mut Session, name: &str) -> Result<()> {
    diesel::delete(meta::table.find(name)).execute(connection)?;
    Ok(())
}

/// Every data key that is not retired, oldest first.
pub fn list(connection: &mut Session) -> Result<Vec<SealedKey>> {
    Ok(data_keys::table
        .filter(data_keys::retired_at.is_null())
        .order(data_keys::key)
        .select(SealedKey::as_select())
        .load(connection)?)
}

/// Every data key, retired ones too.
pub fn every(connection: &mut Session) -> Result<Vec<SealedKey>> {
    Ok(data_keys::table
        .order(data_keys::key)
        .select(SealedKey::as_select())
        .load(connection)?)
}

/// Keeps a data key under the seal of another server key.
pub fn reseal(
    connection: &mut Session,
    key: i64,
    sealed: &[u8],
    server_key_id: &str,
) -> Result<()> {
    diesel::update(data_keys::table.find(key))
        .set((
            data_keys::sealed.eq(sealed),
            data_keys::server_key_id.eq(server_key_id),
        ))
        .execute(connection)?;
    Ok(())
}

/// Keeps a data key once more, sealed by another data key.
pub fn keep_copy(connection: &mut Session, key: i64, copy: &Sealed) -> Result<()> {
    let value = [&copy.key.to_be_bytes()[..], &copy.bytes].concat();
    set_fact(connection, &copy_name(key), &value)
}

/// The copy that [`keep_copy`] kept, if there is one.
pub fn copy(connection: &mut Session, key: i64) -> Result<Option<Sealed>> {
    let value = fact(connection, &copy_name(key))?;
    Ok(value.and_then(|value| {
        let (number, bytes) = value.split_first_chunk::<8>()?;
        Some(Sealed {
            bytes: bytes.to_vec(),
            key: i64::from_be_bytes(*number),
        })
    }))
}

fn copy_name(key: i64) -> String {
    format!("data-key/{key}")
}

/// Adds a data key. Its seal binds its number, which only the database knows, so `seal` makes it in between.
pub fn insert(
    connection: &mut Session,
    purpose: &str,
    server_key_id: &str,
    now: DateTime<Utc>,
    seal: impl FnOnce(i64) -> Result<Vec<u8>>,
) -> Result<()> {
    let key: i64 = diesel::insert_into(data_keys::table)
        .values((
            data_keys::purpose.eq(purpose),
            data_keys::sealed.eq(Vec::new()),
            data_keys::server_key_id.eq(server_key_id),
            data_keys::created_at.eq(micros(now)),
        ))
        .returning(data_keys::key)
        .get_result(connection)?;
    let sealed = seal(key)?;
    diesel::update(data_keys::table.find(key))
        .set(data_keys::sealed.eq(sealed))
        .execute(connection)?;
    Ok(())
}
