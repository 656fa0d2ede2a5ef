//! The tables `registries` and `registry_counters`.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Integer, Nullable, Text};
use diesel::{
    BoolExpressionMethods, EscapeExpressionMethods, ExpressionMethods, JoinOnDsl,
    OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper, TextExpressionMethods,
};

use super::failure::on_unique;
use super::rows::{
    bytes, from_json, instant, labels_to_json, micros, optional_stamp, period, stamp, to_json, uuid,
};
use super::schema::{registries, registry_counters, registry_members, signing_keys};
use super::session::{Session, direct};
use crate::domain::Attribution;
use crate::domain::filter::{NameFilter, RegistryFilter};
use crate::domain::id::{AccountId, AccountKey, RegistryId, RegistryKey};
use crate::domain::labels::Labels;
use crate::domain::life::Lives;
use crate::domain::period::Period;
use crate::domain::registry::{NewRegistry, Registry};
use crate::domain::signing::KeyRole;
use crate::domain::tenant::Tenant;
use crate::domain::token_verifier::TokenVerifier;
use crate::error::{Error, Result, What};

#[diesel::declare_sql_function]
extern "SQL" {
    /// A text with every `part` of it replaced. To look for a text as it is: SQLite's LIKE disregards case, and the
    /// databases have no other function of one name for that.
    fn replace(text: Nullable<Text>, part: Text, by: Text) -> Nullable<Text>;

    /// So many characters of a text from a place on, the first of which is 1.
    fn substr(text: Text, from: Integer, length: Integer) -> Text;
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = registries)]
pub(super) struct RegistryRow {
    key: i64,
    uuid: Vec<u8>,
    name: String,
    location: String,
    schedule: Option<String>,
    features: String,
    subnets: String,
    verifier: String,
    default_life: Option<i64>,
    maximum_life: Option<i64>,
    maximum_secret_age: Option<i64>,
    frozen_at: Option<i64>,
    description: Option<String>,
    labels: Option<String>,
    version: i64,
    created_at: i64,
    created_by: Vec<u8>,
    created_by_name: String,
    modified_at: Option<i64>,
    modified_by: Option<Vec<u8>>,
    modified_by_name: Option<String>,
}

impl TryFrom<RegistryRow> for Registry {
    type Error = Error;

    fn try_from(row: RegistryRow) -> Result<Self> {
        let RegistryRow {
            key,
            uuid: id,
            name,
            location,
            schedule,
            features,
            subnets,
            verifier,
            default_life,
            maximum_life,
            maximum_secret_age,
            frozen_at,
            description,
            labels,
            version,
            created_at,
            created_by,
            created_by_name,
            modified_at,
            modified_by,
            modified_by_name,
        } = row;
        Ok(Self {
            key: RegistryKey(key),
            id: RegistryId(uuid(&id)?),
            name,
            location,
            schedule: schedule.as_deref().map(from_json).transpose()?,
            features: from_json(&features)?,
            api_subnet_allow_list: from_json(&subnets)?,
            verifier: TokenVerifier::from_stored(&verifier),
            lives: lives(default_life, maximum_life)?,
            maximum_secret_age: maximum_secret_age.map(period).transpose()?,
            frozen_at: frozen_at.map(instant).transpose()?,
            description,
            labels: labels.as_deref().map_or(Ok(Labels::default()), from_json)?,
            version,
            created: stamp(created_at, &created_by, created_by_name)?,
            modified: optional_stamp(modified_at, modified_by, modified_by_name)?,
        })
    }
}

/// The columns that a change of a registry can change.
#[derive(diesel::AsChangeset, diesel::Insertable)]
#[diesel(table_name = registries, treat_none_as_null = true, treat_none_as_default_value = false)]
struct Columns {
    schedule: Option<String>,
    features: String,
    subnets: String,
    verifier: &'static str,
    default_life: Option<i64>,
    maximum_life: Option<i64>,
    maximum_secret_age: Option<i64>,
    frozen_at: Option<i64>,
    description: Option<String>,
    labels: Option<String>,
    version: i64,
}

impl Columns {
    fn of(registry: &Registry) -> Result<Self> {
        let Registry {
            key: _,
            id: _,
            name: _,
            location: _,
            schedule,
            features,
            api_subnet_allow_list,
            verifier,
            lives: Lives { default, maximum },
            maximum_secret_age,
            frozen_at,
            description,
            labels,
            version,
            created: _,
            modified: _,
        } = registry;
        Ok(Self {
            schedule: schedule.as_ref().map(to_json).transpose()?,
            features: to_json(features)?,
            subnets: to_json(api_subnet_allow_list)?,
            verifier: verifier.as_str(),
            default_life: default.map(Period::seconds),
            maximum_life: maximum.map(Period::seconds),
            maximum_secret_age: maximum_secret_age.map(Period::seconds),
            frozen_at: frozen_at.map(micros),
            description: description.clone(),
            labels: labels_to_json(labels)?,
            version: *version,
        })
    }
}

/// The life of a registry's tokens, from its columns.
pub(super) fn lives(default: Option<i64>, maximum: Option<i64>) -> Result<Lives> {
    Ok(Lives {
        default: default.map(period).transpose()?,
        maximum: maximum.map(period).transpose()?,
    })
}

/// The key of a living registry, as far as work on its tokens needs it.
pub fn find_key(connection: &mut Session, id: RegistryId) -> Result<Option<RegistryKey>> {
    let key = direct!(connection, |direct| registries::table
        .filter(
            registries::uuid
                .eq(bytes(id.0))
                .and(registries::deleted_at.is_null()),
        )
        .select(registries::key)
        .get_result(direct))
    .optional()?;
    Ok(key.map(RegistryKey))
}

/// A living registry by its public id.
pub fn find(connection: &mut Session, id: RegistryId) -> Result<Option<Registry>> {
    registries::table
        .filter(
            registries::uuid
                .eq(bytes(id.0))
                .and(registries::deleted_at.is_null()),
        )
        .select(RegistryRow::as_select())
        .get_result(connection)
        .optional()?
        .map(Registry::try_from)
        .transpose()
}

/// The public id of a living registry.
pub fn find_id(connection: &mut Session, key: RegistryKey) -> Result<Option<RegistryId>> {
    let id: Option<Vec<u8>> = registries::table
        .filter(
            registries::key
                .eq(key.0)
                .and(registries::deleted_at.is_null()),
        )
        .select(registries::uuid)
        .get_result(connection)
        .optional()?;
    id.map(|id| Ok(RegistryId(uuid(&id)?))).transpose()
}

/// The public id and the name of a living registry.
pub fn named(connection: &mut Session, key: RegistryKey) -> Result<Option<(RegistryId, String)>> {
    let found: Option<(Vec<u8>, String)> = direct!(connection, |direct| registries::table
        .filter(
            registries::key
                .eq(key.0)
                .and(registries::deleted_at.is_null()),
        )
        .select((registries::uuid, registries::name))
        .get_result(direct))
    .optional()?;
    found
        .map(|(id, name)| Ok((RegistryId(uuid(&id)?), name)))
        .transpose()
}

pub(super) type TenantRow = (
    i64,
    Vec<u8>,
    String,
    String,
    String,
    Option<i64>,
    Option<i64>,
);
/// The columns of a [`TenantRow`].
pub(super) const TENANT: (
    registries::key,
    registries::uuid,
    registries::name,
    registries::verifier,
    registries::subnets,
    registries::maximum_secret_age,
    registries::frozen_at,
) = (
    registries::key,
    registries::uuid,
    registries::name,
    registries::verifier,
    registries::subnets,
    registries::maximum_secret_age,
    registries::frozen_at,
);

pub(super) fn to_tenant(
    (key, id, name, verifier, subnets, maximum_secret_age, frozen_at): TenantRow,
) -> Result<Tenant> {
    Ok(Tenant {
        key: RegistryKey(key),
        id: RegistryId(uuid(&id)?),
        name,
        verifier: TokenVerifier::from_stored(&verifier),
        api_subnet_allow_list: from_json(&subnets)?,
        maximum_secret_age: maximum_secret_age.map(period).transpose()?,
        frozen: frozen_at.is_some(),
    })
}

/// A living registry by its public id, as far as logins need it.
pub fn tenant(connection: &mut Session, id: RegistryId) -> Result<Option<Tenant>> {
    direct!(connection, |direct| registries::table
        .filter(
            registries::uuid
                .eq(bytes(id.0))
                .and(registries::deleted_at.is_null()),
        )
        .select(TENANT)
        .get_result(direct))
    .optional()?
    .map(to_tenant)
    .transpose()
}

/// A living registry by its name, as far as logins need it.
pub fn tenant_named(connection: &mut Session, name: &str) -> Result<Option<Tenant>> {
    direct!(connection, |direct| registries::table
        .filter(
            registries::name
                .eq(name)
                .and(registries::deleted_at.is_null()),
        )
        .select(TENANT)
        .get_result(direct))
    .optional()?
    .map(to_tenant)
    .transpose()
}

/// Living registries that have a key of a role in use, in creation order.
pub fn tenants_with_key(connection: &mut Session, role: KeyRole) -> Result<Vec<Tenant>> {
    registries::table
        .inner_join(signing_keys::table.on(signing_keys::registry_key.eq(registries::key)))
        .filter(
            signing_keys::role
                .eq(role.as_str())
                .and(signing_keys::retired_at.is_null())
                .and(registries::deleted_at.is_null()),
        )
        .order(registries::key)
        .select(TENANT)
        .load(connection)?
        .into_iter()
        .map(to_tenant)
        .collect()
}

/// The id of the living registry with a name.
pub fn id_named(connection: &mut Session, name: &str) -> Result<Option<RegistryId>> {
    let id = registries::table
        .filter(
            registries::name
                .eq(name)
                .and(registries::deleted_at.is_null()),
        )
        .select(registries::uuid)
        .get_result::<Vec<u8>>(connection)
        .optional()?;
    id.map(|id| Ok(RegistryId(uuid(&id)?))).transpose()
}

/// The number of living registries that an account made.
pub fn count_made_by(connection: &mut Session, account: AccountId) -> Result<i64> {
    Ok(registries::table
        .filter(
            registries::created_by
                .eq(bytes(account.0))
                .and(registries::deleted_at.is_null()),
        )
        .count()
        .get_result(connection)?)
}

/// Living registries after a key that pass a filter, in creation order, also by member.
pub fn list(
    connection: &mut Session,
    after: RegistryKey,
    filter: &RegistryFilter,
    member: Option<AccountKey>,
    limit: i64,
) -> Result<Vec<Registry>> {
    let mut query = registries::table
        .filter(
            registries::deleted_at
                .is_null()
                .and(registries::key.gt(after.0)),
        )
        .order(registries::key)
        .limit(limit)
        .select(RegistryRow::as_select())
        .into_boxed();
    let RegistryFilter {
        name_contains,
        name,
        location,
        frozen,
        labels,
    } = filter;
    match name {
        Some(NameFilter::Exactly(name)) => {
            query = query.filter(registries::name.eq(name.to_ascii_lowercase()));
        }
        Some(NameFilter::Beginning(start)) => {
            let length = i32::try_from(start.chars().count()).map_err(Error::internal)?;
            let beginning = substr(registries::name, 1, length);
            query = query.filter(beginning.eq(start.to_ascii_lowercase()));
        }
        None => {}
    }
    if let Some(location) = location {
        query = query.filter(registries::location.eq(location));
    }
    if let Some(frozen) = frozen {
        query = query.filter(registries::frozen_at.is_not_null().eq(*frozen));
    }
    if let Some(text) = name_contains {
        let escaped = text
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        query = query.filter(registries::name.like(format!("%{escaped}%")).escape('\\'));
    }
    for label in labels {
        let without = replace(registries::labels, label.as_member(), "");
        query = query.filter(without.ne(registries::labels));
    }
    if let Some(account) = member {
        let own = registry_members::table
            .filter(registry_members::account_key.eq(account.0))
            .select(registry_members::registry_key);
        query = query.filter(registries::key.eq_any(own));
    }
    query
        .load::<RegistryRow>(connection)?
        .into_iter()
        .map(Registry::try_from)
        .collect()
}

/// Adds a registry, and the counter for its tokens' positions.
pub fn insert(
    connection: &mut Session,
    id: RegistryId,
    new: &NewRegistry,
    created: &Attribution,
) -> Result<Registry> {
    let mut registry = new.made(id, created);
    let inserted = diesel::insert_into(registries::table)
        .values((
            Columns::of(&registry)?,
            registries::uuid.eq(bytes(id.0)),
            registries::name.eq(&registry.name),
            registries::location.eq(&registry.location),
            registries::created_at.eq(micros(created.at)),
            registries::created_by.eq(bytes(created.by.0)),
            registries::created_by_name.eq(&created.by_name),
        ))
        .returning(registries::key)
        .get_result::<i64>(connection);
    // The caller refuses a taken id before: so the conflict is the name's.
    let key = on_unique(inserted, || {
        Error::name_taken(What::Registry, &registry.name)
    })?;
    diesel::insert_into(registry_counters::table)
        .values((
            registry_counters::registry_key.eq(key),
            registry_counters::next_position.eq(0),
        ))
        .execute(connection)?;
    registry.key = RegistryKey(key);
    Ok(registry)
}

/// Keeps a changed registry, and the account that changed it; a command has none, and leaves the one before.
pub fn update(
    connection: &mut Session,
    registry: &mut Registry,
    modified: Option<Attribution>,
) -> Result<()> {
    registry.version += 1;
    diesel::update(registries::table.find(registry.key.0))
        .set((
            Columns::of(registry)?,
            modified.as_ref().map(|modified| {
                (
                    registries::modified_at.eq(micros(modified.at)),
                    registries::modified_by.eq(bytes(modified.by.0)),
                    registries::modified_by_name.eq(&modified.by_name),
                )
            }),
        ))
        .execute(connection)?;
    registry.modified = modified.or(registry.modified.take());
    Ok(())
}

/// Marks a registry as deleted: it is not found any more, and its name and id are free. Its rows are purged later.
pub fn mark_deleted(connection: &mut Session, key: RegistryKey, now: DateTime<Utc>) -> Result<()> {
    diesel::update(registries::table.find(key.0))
        .set(registries::deleted_at.eq(micros(now)))
        .execute(connection)?;
    Ok(())
}

/// A registry that is marked as deleted and still has rows, if there is one.
pub fn next_deleted(connection: &mut Session) -> Result<Option<RegistryKey>> {
    let key = registries::table
        .filter(registries::deleted_at.is_not_null())
        .order(registries::deleted_at)
        .select(registries::key)
        .first(connection)
        .optional()?;
    Ok(key.map(RegistryKey))
}

/// Removes the last rows of a deleted registry, once its tokens are gone. Returns true if there were any.
pub fn purge(connection: &mut Session, key: RegistryKey) -> Result<bool> {
    // An older release beside this one leaves them when it deletes a registry.
    remove_members(connection, key)?;
    diesel::delete(registry_counters::table.find(key.0)).execute(connection)?;
    // A release that knows no signing keys leaves them when it deletes a registry.
    super::signing_keys::delete_all(connection, key)?;
    let removed = diesel::delete(
        registries::table.filter(
            registries::key
                .eq(key.0)
                .and(registries::deleted_at.is_not_null()),
        ),
    )
    .execute(connection)?;
    Ok(removed > 0)
}

/// Ends every membership of a registry.
pub fn remove_members(connection: &mut Session, registry: RegistryKey) -> Result<()> {
    diesel::delete(registry_members::table.filter(registry_members::registry_key.eq(registry.0)))
        .execute(connection)?;
    Ok(())
}
