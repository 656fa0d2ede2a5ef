//! The table `trusts`, always with the issuer of each.
//!
//! A trust shares the names of its registry's tokens. Two tables have no index together, so whoever adds a row to either
//! holds the registry's lock ([`Lock::Registry`](super::Lock)), and looks into the other table behind it.

use diesel::sql_types::BigInt;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, OptionalExtension, QueryDsl, RunQueryDsl,
    SelectableHelper, sql_query,
};

use super::failure::on_unique;
use super::issuers::RulesRow;
use super::rows::{Json, bytes, instant, micros, optional_stamp, period, stamp, to_json, uuid};
use super::schema::{issuers, registries, tokens, trust_refusals, trusts};
use super::session::{Session, direct};
use crate::domain::Attribution;
use crate::domain::account::name_key;
use crate::domain::allow_list::AllowList;
use crate::domain::claims::ClaimRules;
use crate::domain::id::{IssuerKey, RegistryKey, TrustId, TrustKey};
use crate::domain::page::Window;
use crate::domain::period::Period;
use crate::domain::status::Status;
use crate::domain::token_scope::Scope;
use crate::domain::trust::Trust;
use crate::error::{Error, Result, What};

/// The most trusts that one statement removes.
const BATCH: i64 = 1000;

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = trusts)]
struct TrustRow {
    key: i64,
    uuid: Vec<u8>,
    registry_key: i64,
    name: String,
    audience: Option<String>,
    claims: Json<ClaimRules>,
    scopes: Json<Vec<Scope>>,
    cidrs: Json<AllowList>,
    maximum_life: Option<i64>,
    status: String,
    expires_at: Option<i64>,
    generation: i64,
    version: i64,
    created_at: i64,
    created_by: Vec<u8>,
    created_by_name: String,
    modified_at: Option<i64>,
    modified_by: Option<Vec<u8>>,
    modified_by_name: Option<String>,
}

fn trust((row, issuer): (TrustRow, RulesRow)) -> Result<Trust> {
    let TrustRow {
        key,
        uuid: id,
        registry_key,
        name,
        audience,
        claims: Json(claims),
        scopes: Json(scopes),
        cidrs: Json(allowed_cidrs),
        maximum_life,
        status,
        expires_at,
        generation,
        version,
        created_at,
        created_by,
        created_by_name,
        modified_at,
        modified_by,
        modified_by_name,
    } = row;
    Ok(Trust {
        key: TrustKey(key),
        id: TrustId(uuid(&id)?),
        registry: RegistryKey(registry_key),
        name,
        issuer: issuer.try_into()?,
        audience,
        claims,
        scopes,
        allowed_cidrs,
        maximum_life: maximum_life.map(period).transpose()?,
        status: Status::from_stored(&status),
        expiry_date: expires_at.map(instant).transpose()?,
        generation,
        version,
        created: stamp(created_at, &created_by, created_by_name)?,
        modified: optional_stamp(modified_at, modified_by, modified_by_name)?,
    })
}

/// The columns that a change of a trust can change.
#[derive(diesel::AsChangeset, diesel::Insertable)]
#[diesel(table_name = trusts, treat_none_as_null = true, treat_none_as_default_value = false)]
struct Columns {
    issuer_key: i64,
    audience: Option<String>,
    claims: String,
    scopes: String,
    cidrs: String,
    maximum_life: Option<i64>,
    status: &'static str,
    expires_at: Option<i64>,
    generation: i64,
    version: i64,
}

impl Columns {
    fn of(trust: &Trust) -> Result<Self> {
        let Trust {
            key: _,
            id: _,
            registry: _,
            name: _,
            issuer,
            audience,
            claims,
            scopes,
            allowed_cidrs,
            maximum_life,
            status,
            expiry_date,
            generation,
            version,
            created: _,
            modified: _,
        } = trust;
        Ok(Self {
            issuer_key: issuer.key.0,
            audience: audience.clone(),
            claims: to_json(claims)?,
            scopes: to_json(scopes)?,
            cidrs: to_json(allowed_cidrs)?,
            maximum_life: maximum_life.map(Period::seconds),
            status: status.as_str(),
            expires_at: expiry_date.map(micros),
            generation: *generation,
            version: *version,
        })
    }
}

/// All trusts, each with its issuer.
#[diesel::dsl::auto_type]
fn with_issuers() -> _ {
    trusts::table.inner_join(issuers::table.on(issuers::key.eq(trusts::issuer_key)))
}

/// Finds a trust of a registry by its public id.
pub fn find(connection: &mut Session, registry: RegistryKey, id: TrustId) -> Result<Option<Trust>> {
    direct!(connection, |direct| with_issuers()
        .filter(
            trusts::registry_key
                .eq(registry.0)
                .and(trusts::uuid.eq(bytes(id.0))),
        )
        .select((TrustRow::as_select(), RulesRow::as_select()))
        .get_result(direct))
    .optional()?
    .map(trust)
    .transpose()
}

/// Finds a trust of a registry by its name, for a login, without regard to ASCII case.
pub fn named(connection: &mut Session, registry: RegistryKey, name: &str) -> Result<Option<Trust>> {
    direct!(connection, |direct| with_issuers()
        .filter(
            trusts::registry_key
                .eq(registry.0)
                .and(trusts::name_key.eq(name_key(name))),
        )
        .select((TrustRow::as_select(), RulesRow::as_select()))
        .get_result(direct))
    .optional()?
    .map(trust)
    .transpose()
}

/// Finds a trust of a registry by its key, for a login with a reference.
pub fn keyed(
    connection: &mut Session,
    registry: RegistryKey,
    key: TrustKey,
) -> Result<Option<Trust>> {
    direct!(connection, |direct| with_issuers()
        .filter(
            trusts::registry_key
                .eq(registry.0)
                .and(trusts::key.eq(key.0)),
        )
        .select((TrustRow::as_select(), RulesRow::as_select()))
        .get_result(direct))
    .optional()?
    .map(trust)
    .transpose()
}

/// A page of a registry's trusts in creation order, and the total. Call it in a snapshot.
pub fn page(
    connection: &mut Session,
    registry: RegistryKey,
    window: Window,
) -> Result<(Vec<Trust>, i64)> {
    let total = count(connection, registry)?;
    let rows: Vec<(TrustRow, RulesRow)> = direct!(connection, |direct| with_issuers()
        .filter(trusts::registry_key.eq(registry.0))
        .order(trusts::key)
        .offset(window.offset)
        .limit(window.limit)
        .select((TrustRow::as_select(), RulesRow::as_select()))
        .load(direct))?;
    let found: Result<_> = rows.into_iter().map(trust).collect();
    Ok((found?, total))
}

/// The number of a registry's trusts.
pub fn count(connection: &mut Session, registry: RegistryKey) -> Result<i64> {
    Ok(trusts::table
        .filter(trusts::registry_key.eq(registry.0))
        .count()
        .get_result(connection)?)
}

/// The number of an issuer's trusts, without those of deleted registries.
pub fn count_of_issuer(connection: &mut Session, issuer: IssuerKey) -> Result<i64> {
    Ok(trusts::table
        .inner_join(registries::table.on(registries::key.eq(trusts::registry_key)))
        .filter(
            trusts::issuer_key
                .eq(issuer.0)
                .and(registries::deleted_at.is_null()),
        )
        .count()
        .get_result(connection)?)
}

/// Returns true if a trust of a registry has a name, without regard to ASCII case. Call it behind the registry's lock.
pub(super) fn has_name(
    connection: &mut Session,
    registry: RegistryKey,
    name_key: &str,
) -> Result<bool> {
    let found = direct!(connection, |direct| trusts::table
        .filter(
            trusts::registry_key
                .eq(registry.0)
                .and(trusts::name_key.eq(name_key)),
        )
        .select(trusts::key)
        .get_result::<i64>(direct))
    .optional()?;
    Ok(found.is_some())
}

/// Adds a trust, and gives it its key. Call it behind the registry's lock.
///
/// # Errors
///
/// [`Error::NameTaken`] if a trust or a token of the registry has the name.
pub fn insert(connection: &mut Session, trust: &mut Trust) -> Result<()> {
    let name_key = name_key(&trust.name);
    let token: Option<i64> = tokens::table
        .filter(
            tokens::registry_key
                .eq(trust.registry.0)
                .and(tokens::name_key.eq(&name_key)),
        )
        .select(tokens::key)
        .get_result(connection)
        .optional()?;
    if token.is_some() {
        return Err(Error::name_taken(What::Token, &trust.name));
    }
    let created = &trust.created;
    let inserted = diesel::insert_into(trusts::table)
        .values((
            Columns::of(trust)?,
            trusts::uuid.eq(bytes(trust.id.0)),
            trusts::registry_key.eq(trust.registry.0),
            trusts::name.eq(&trust.name),
            trusts::name_key.eq(name_key),
            trusts::created_at.eq(micros(created.at)),
            trusts::created_by.eq(bytes(created.by.0)),
            trusts::created_by_name.eq(&created.by_name),
        ))
        .returning(trusts::key)
        .get_result::<i64>(connection);
    // The caller looks for a taken id, so the conflict is the name's.
    let key = on_unique(inserted, || Error::name_taken(What::Trust, &trust.name))?;
    trust.key = TrustKey(key);
    Ok(())
}

/// Keeps a changed trust, and the account that changed it.
pub fn update(connection: &mut Session, trust: &mut Trust, modified: Attribution) -> Result<()> {
    trust.version += 1;
    diesel::update(trusts::table.find(trust.key.0))
        .set((
            Columns::of(trust)?,
            trusts::modified_at.eq(micros(modified.at)),
            trusts::modified_by.eq(bytes(modified.by.0)),
            trusts::modified_by_name.eq(&modified.by_name),
        ))
        .execute(connection)?;
    trust.modified = Some(modified);
    Ok(())
}

/// Removes a trust, and then its refusals: one that is kept meanwhile finds no trust.
pub fn delete(connection: &mut Session, trust: TrustKey) -> Result<()> {
    diesel::delete(trusts::table.find(trust.0)).execute(connection)?;
    diesel::delete(trust_refusals::table.filter(trust_refusals::trust_key.eq(trust.0)))
        .execute(connection)?;
    Ok(())
}

/// Removes all trusts of an issuer, with their refusals.
pub fn delete_of_issuer(connection: &mut Session, issuer: IssuerKey) -> Result<()> {
    while delete_some(connection, "issuer_key", issuer.0, BATCH)? == BATCH {}
    Ok(())
}

/// Removes up to `limit` trusts of a deleted registry, with their refusals. Returns the number removed; fewer than
/// `limit` means all.
pub fn purge(connection: &mut Session, registry: RegistryKey, limit: i64) -> Result<i64> {
    delete_some(connection, "registry_key", registry.0, limit)
}

/// Removes up to `limit` trusts with this value in a column, and then their refusals, as [`delete`] does.
fn delete_some(connection: &mut Session, column: &str, value: i64, limit: i64) -> Result<i64> {
    #[derive(diesel::QueryableByName)]
    struct Gone {
        #[diesel(sql_type = BigInt)]
        key: i64,
    }
    let gone: Vec<Gone> = sql_query(format!(
        "DELETE FROM trusts WHERE key IN (SELECT key FROM trusts WHERE {column} = $1 ORDER BY key LIMIT $2) \
         RETURNING key"
    ))
    .bind::<BigInt, _>(value)
    .bind::<BigInt, _>(limit)
    .load(connection)?;
    let keys = gone.iter().map(|gone| gone.key);
    diesel::delete(trust_refusals::table.filter(trust_refusals::trust_key.eq_any(keys)))
        .execute(connection)?;
    i64::try_from(gone.len()).map_err(Error::internal)
}
