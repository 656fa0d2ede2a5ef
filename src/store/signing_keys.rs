//! The table `signing_keys`: the keys that sign the JWTs of each registry, private parts sealed.
//!
//! Rows are added and retired, never changed otherwise, so a row read under a number stays true. They belong to a
//! registry and are removed with it.

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, OptionalExtension, QueryDsl, RunQueryDsl,
    SelectableHelper,
};

use super::rows::{instant, micros, uuid};
use super::schema::{registries, signing_keys};
use super::session::{Session, direct};
use crate::domain::id::{RegistryId, RegistryKey, SigningKeyNumber};
use crate::domain::signing::{Algorithm, KeyRole};
use crate::error::Result;

/// A stored key.
#[derive(Clone)]
pub struct SigningKey {
    /// Internal key.
    pub number: SigningKeyNumber,
    /// The registry whose tokens it signs.
    pub registry: RegistryKey,
    /// The role.
    pub role: KeyRole,
    /// The algorithm of its signatures.
    pub algorithm: Algorithm,
    /// Its fingerprint, unique among all keys.
    pub kid: String,
    /// Its certificate, in DER.
    pub certificate: Vec<u8>,
    /// The public part: a `SubjectPublicKeyInfo` in DER.
    pub public_key: Vec<u8>,
    /// The private part: PKCS #8 in DER, sealed.
    pub sealed_private: Vec<u8>,
    /// The data key that sealed it.
    pub seal_key: i64,
    /// When its certificate begins.
    pub not_before: DateTime<Utc>,
    /// When its certificate ends.
    pub not_after: DateTime<Utc>,
    /// The beginning of its use.
    pub active_from: DateTime<Utc>,
    /// The end of its use.
    pub retired_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("number", &self.number)
            .field("registry", &self.registry)
            .field("role", &self.role)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// A new key, without a number.
#[derive(Clone)]
pub struct NewSigningKey {
    /// The registry whose tokens it signs.
    pub registry: RegistryKey,
    /// The role.
    pub role: KeyRole,
    /// The algorithm of its signatures.
    pub algorithm: Algorithm,
    /// Its fingerprint.
    pub kid: String,
    /// Its certificate, in DER.
    pub certificate: Vec<u8>,
    /// The public part: a `SubjectPublicKeyInfo` in DER.
    pub public_key: Vec<u8>,
    /// The private part: PKCS #8 in DER, sealed.
    pub sealed_private: Vec<u8>,
    /// The data key that sealed it.
    pub seal_key: i64,
    /// When its certificate begins.
    pub not_before: DateTime<Utc>,
    /// When its certificate ends.
    pub not_after: DateTime<Utc>,
    /// The beginning of its use.
    pub active_from: DateTime<Utc>,
}

impl std::fmt::Debug for NewSigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSigningKey")
            .field("registry", &self.registry)
            .field("role", &self.role)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The key that signs now, as far as a request needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// Internal key.
    pub number: SigningKeyNumber,
    /// When its certificate begins.
    pub not_before: DateTime<Utc>,
    /// When its certificate ends.
    pub not_after: DateTime<Utc>,
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = signing_keys)]
struct SigningKeyRow {
    key: i64,
    registry_key: i64,
    role: String,
    algorithm: String,
    kid: String,
    certificate: Vec<u8>,
    public_key: Vec<u8>,
    sealed_private: Vec<u8>,
    seal_key: i64,
    not_before: i64,
    not_after: i64,
    active_from: i64,
    retired_at: Option<i64>,
}

impl TryFrom<SigningKeyRow> for SigningKey {
    type Error = crate::Error;

    fn try_from(row: SigningKeyRow) -> Result<Self> {
        Ok(Self {
            number: SigningKeyNumber(row.key),
            registry: RegistryKey(row.registry_key),
            role: KeyRole::from_stored(&row.role)?,
            algorithm: Algorithm::parse(&row.algorithm)?,
            kid: row.kid,
            certificate: row.certificate,
            public_key: row.public_key,
            sealed_private: row.sealed_private,
            seal_key: row.seal_key,
            not_before: instant(row.not_before)?,
            not_after: instant(row.not_after)?,
            active_from: instant(row.active_from)?,
            retired_at: row.retired_at.map(instant).transpose()?,
        })
    }
}

/// The key of a registry in use in a role: the newest that is not retired.
pub fn current(
    connection: &mut Session,
    registry: RegistryKey,
    role: KeyRole,
) -> Result<Option<Current>> {
    let row: Option<CurrentRow> = direct!(connection, |direct| signing_keys::table
        .filter(
            signing_keys::registry_key
                .eq(registry.0)
                .and(signing_keys::role.eq(role.as_str()))
                .and(signing_keys::retired_at.is_null()),
        )
        .order((signing_keys::active_from.desc(), signing_keys::key.desc()))
        .select(CURRENT)
        .get_result(direct))
    .optional()?;
    row.map(to_current).transpose()
}

pub(super) type CurrentRow = (i64, i64, i64);
/// The columns of a [`CurrentRow`].
pub(super) const CURRENT: (
    signing_keys::key,
    signing_keys::not_before,
    signing_keys::not_after,
) = (
    signing_keys::key,
    signing_keys::not_before,
    signing_keys::not_after,
);

pub(super) fn to_current((number, not_before, not_after): CurrentRow) -> Result<Current> {
    Ok(Current {
        number: SigningKeyNumber(number),
        not_before: instant(not_before)?,
        not_after: instant(not_after)?,
    })
}

/// A key of a registry by its number.
pub fn find(
    connection: &mut Session,
    registry: RegistryKey,
    number: SigningKeyNumber,
) -> Result<Option<SigningKey>> {
    signing_keys::table
        .filter(
            signing_keys::registry_key
                .eq(registry.0)
                .and(signing_keys::key.eq(number.0)),
        )
        .select(SigningKeyRow::as_select())
        .get_result(connection)
        .optional()?
        .map(SigningKey::try_from)
        .transpose()
}

/// A key by its fingerprint, which no two keys share.
pub fn find_by_kid(connection: &mut Session, kid: &str) -> Result<Option<SigningKey>> {
    signing_keys::table
        .filter(signing_keys::kid.eq(kid))
        .select(SigningKeyRow::as_select())
        .get_result(connection)
        .optional()?
        .map(SigningKey::try_from)
        .transpose()
}

/// Returns true if a key of a registry is in use, or was after an instant.
pub fn stands(
    connection: &mut Session,
    registry: RegistryKey,
    number: SigningKeyNumber,
    since: DateTime<Utc>,
) -> Result<bool> {
    let retired: Option<Option<i64>> = direct!(connection, |direct| signing_keys::table
        .filter(
            signing_keys::registry_key
                .eq(registry.0)
                .and(signing_keys::key.eq(number.0)),
        )
        .select(signing_keys::retired_at)
        .get_result(direct))
    .optional()?;
    Ok(retired.is_some_and(|at| is_standing(at, since)))
}

/// Returns true for a key in use, or retired after an instant.
pub(super) fn is_standing(retired: Option<i64>, since: DateTime<Utc>) -> bool {
    retired.is_none_or(|at| at > micros(since))
}

/// The keys of a registry in a role that are in use, or were after an instant; the last inserted first.
pub fn list(
    connection: &mut Session,
    registry: RegistryKey,
    role: KeyRole,
    since: DateTime<Utc>,
) -> Result<Vec<SigningKey>> {
    signing_keys::table
        .filter(
            signing_keys::registry_key
                .eq(registry.0)
                .and(signing_keys::role.eq(role.as_str()))
                .and(
                    signing_keys::retired_at
                        .is_null()
                        .or(signing_keys::retired_at.gt(micros(since))),
                ),
        )
        .order(signing_keys::key.desc())
        .select(SigningKeyRow::as_select())
        .load::<SigningKeyRow>(connection)?
        .into_iter()
        .map(SigningKey::try_from)
        .collect()
}

/// Adds a key.
pub fn insert(connection: &mut Session, new: &NewSigningKey) -> Result<SigningKeyNumber> {
    let number: i64 = diesel::insert_into(signing_keys::table)
        .values((
            signing_keys::registry_key.eq(new.registry.0),
            signing_keys::role.eq(new.role.as_str()),
            signing_keys::algorithm.eq(new.algorithm.as_str()),
            signing_keys::kid.eq(&new.kid),
            signing_keys::certificate.eq(&new.certificate),
            signing_keys::public_key.eq(&new.public_key),
            signing_keys::sealed_private.eq(&new.sealed_private),
            signing_keys::seal_key.eq(new.seal_key),
            signing_keys::not_before.eq(micros(new.not_before)),
            signing_keys::not_after.eq(micros(new.not_after)),
            signing_keys::active_from.eq(micros(new.active_from)),
        ))
        .returning(signing_keys::key)
        .get_result(connection)?;
    Ok(SigningKeyNumber(number))
}

/// Retires the key that a registry uses in a role.
pub fn retire(
    connection: &mut Session,
    registry: RegistryKey,
    role: KeyRole,
    now: DateTime<Utc>,
) -> Result<()> {
    diesel::update(
        signing_keys::table.filter(
            signing_keys::registry_key
                .eq(registry.0)
                .and(signing_keys::role.eq(role.as_str()))
                .and(signing_keys::retired_at.is_null()),
        ),
    )
    .set(signing_keys::retired_at.eq(micros(now)))
    .execute(connection)?;
    Ok(())
}

/// Removes every key of a registry: it is deleted, or none of them is trusted any more.
pub fn delete_all(connection: &mut Session, registry: RegistryKey) -> Result<()> {
    diesel::delete(signing_keys::table.filter(signing_keys::registry_key.eq(registry.0)))
        .execute(connection)?;
    Ok(())
}

/// Removes the keys that were retired at or before an instant, up to `limit`. Returns their number.
pub fn delete_retired(connection: &mut Session, until: DateTime<Utc>, limit: i64) -> Result<usize> {
    let keys: Vec<i64> = signing_keys::table
        .filter(signing_keys::retired_at.le(micros(until)))
        .order(signing_keys::retired_at)
        .limit(limit)
        .select(signing_keys::key)
        .load(connection)?;
    Ok(
        diesel::delete(signing_keys::table.filter(signing_keys::key.eq_any(keys)))
            .execute(connection)?,
    )
}

/// Returns true if there is a key that was retired at or before an instant.
pub fn any_retired(connection: &mut Session, until: DateTime<Utc>) -> Result<bool> {
    Ok(signing_keys::table
        .filter(signing_keys::retired_at.le(micros(until)))
        .select(signing_keys::key)
        .first::<i64>(connection)
        .optional()?
        .is_some())
}

/// The position of a walk through leaves in the order of an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafPosition {
    at: i64,
    key: i64,
}

/// Walks through the leaves in use of living registries in the order of an instant, one at a time: the first that meets
/// a condition, after the position of the walk.
macro_rules! next_leaf {
    ($connection:expr, $instant:ident, $condition:expr, $after:expr) => {{
        let (instant, key) = (signing_keys::$instant, signing_keys::key);
        let mut query = signing_keys::table
            .inner_join(registries::table.on(registries::key.eq(signing_keys::registry_key)))
            .filter(
                signing_keys::role
                    .eq(KeyRole::Leaf.as_str())
                    .and(signing_keys::retired_at.is_null())
                    .and($condition)
                    .and(registries::deleted_at.is_null()),
            )
            .order((instant, key))
            .select((registries::uuid, instant, key))
            .into_boxed();
        if let Some(after) = $after {
            let later = instant.eq(after.at).and(key.gt(after.key));
            query = query.filter(instant.gt(after.at).or(later));
        }
        placed(query.first($connection).optional()?)
    }};
}

/// The living registry with the oldest leaf in use that began to sign at or before an instant, after a walk's position.
pub fn next_due(
    connection: &mut Session,
    until: DateTime<Utc>,
    after: Option<LeafPosition>,
) -> Result<Option<(RegistryId, LeafPosition)>> {
    let due = signing_keys::active_from.le(micros(until));
    next_leaf!(connection, active_from, due, after)
}

/// The living registry with the first leaf in use that begins after an instant, after a walk's position.
pub fn next_early(
    connection: &mut Session,
    now: DateTime<Utc>,
    after: Option<LeafPosition>,
) -> Result<Option<(RegistryId, LeafPosition)>> {
    let early = signing_keys::not_before.gt(micros(now));
    next_leaf!(connection, not_before, early, after)
}

fn placed(row: Option<(Vec<u8>, i64, i64)>) -> Result<Option<(RegistryId, LeafPosition)>> {
    row.map(|(id, at, key)| Ok((RegistryId(uuid(&id)?), LeafPosition { at, key })))
        .transpose()
}

/// An authority in use whose certificate is not valid yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyAuthority {
    /// Internal key.
    pub number: SigningKeyNumber,
    /// The name of its registry.
    pub registry: String,
    /// When its certificate begins.
    pub not_before: DateTime<Utc>,
}

/// The authorities in use of living registries that begin after an instant, up to `limit`.
pub fn early_authorities(
    connection: &mut Session,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<EarlyAuthority>> {
    let rows: Vec<(i64, String, i64)> = signing_keys::table
        .inner_join(registries::table.on(registries::key.eq(signing_keys::registry_key)))
        .filter(
            signing_keys::role
                .eq(KeyRole::Authority.as_str())
                .and(signing_keys::retired_at.is_null())
                .and(signing_keys::not_before.gt(micros(now)))
                .and(registries::deleted_at.is_null()),
        )
        .order((signing_keys::not_before, signing_keys::key))
        .select((
            signing_keys::key,
            registries::name,
            signing_keys::not_before,
        ))
        .limit(limit)
        .load(connection)?;
    rows.into_iter()
        .map(|(number, registry, not_before)| {
            Ok(EarlyAuthority {
                number: SigningKeyNumber(number),
                registry,
                not_before: instant(not_before)?,
            })
        })
        .collect()
}

/// The latest beginning of the certificates in use that are not valid yet. Nobody checks the dates of pinned keys.
pub fn latest_begin(connection: &mut Session, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let begin: Option<i64> = signing_keys::table
        .inner_join(registries::table.on(registries::key.eq(signing_keys::registry_key)))
        .filter(
            signing_keys::role
                .ne(KeyRole::Pinned.as_str())
                .and(signing_keys::retired_at.is_null())
                .and(signing_keys::not_before.gt(micros(now)))
                .and(registries::deleted_at.is_null()),
        )
        .order(signing_keys::not_before.desc())
        .select(signing_keys::not_before)
        .first(connection)
        .optional()?;
    begin.map(instant).transpose()
}

/// The end of the first certificate in use that ends; none while no registry has keys.
pub fn earliest_end(connection: &mut Session) -> Result<Option<DateTime<Utc>>> {
    // An older release marks a registry as deleted and leaves its keys.
    let end: Option<i64> = signing_keys::table
        .inner_join(registries::table.on(registries::key.eq(signing_keys::registry_key)))
        .filter(
            signing_keys::retired_at
                .is_null()
                .and(registries::deleted_at.is_null()),
        )
        .order(signing_keys::not_after)
        .select(signing_keys::not_after)
        .first(connection)
        .optional()?;
    end.map(instant).transpose()
}

/// Returns true if a registry has any key, of any role, in use or not.
pub fn any(connection: &mut Session, registry: RegistryKey) -> Result<bool> {
    Ok(signing_keys::table
        .filter(signing_keys::registry_key.eq(registry.0))
        .select(signing_keys::key)
        .first::<i64>(connection)
        .optional()?
        .is_some())
}
