//! The table `registry_members`, and registries as a member sees them: found with the membership, in one query.

use diesel::sql_types::{BigInt, Text};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods,
    OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper, sql_query,
};

use super::registries::{RegistryRow, TENANT, TenantRow, lives, to_tenant};
use super::rows::{bytes, period, uuid};
use super::schema::{accounts, registries, registry_members};
use super::session::{Session, direct};
use crate::domain::id::{AccountId, AccountKey, RegistryId, RegistryKey};
use crate::domain::life::Lives;
use crate::domain::membership::{Member, Membership};
use crate::domain::page::Window;
use crate::domain::registry::Registry;
use crate::domain::status::Status;
use crate::domain::tenant::{Home, Tenant, TokenRules};
use crate::error::Result;

/// Living registries, each with an account's membership.
#[diesel::dsl::auto_type]
fn seen_by(account: i64) -> _ {
    registries::table
        .left_join(
            registry_members::table.on(registry_members::registry_key
                .eq(registries::key)
                .and(registry_members::account_key.eq(account))),
        )
        .filter(registries::deleted_at.is_null())
}

pub(super) fn membership(level: Option<&str>) -> Option<Membership> {
    level.and_then(Membership::from_stored)
}

/// A living registry by its public id, with an account's membership.
pub fn registry(
    connection: &mut Session,
    id: RegistryId,
    account: AccountKey,
) -> Result<Option<(Registry, Option<Membership>)>> {
    direct!(connection, |direct| seen_by(account.0)
        .filter(registries::uuid.eq(bytes(id.0)))
        .select((RegistryRow::as_select(), registry_members::level.nullable()))
        .get_result::<(RegistryRow, Option<String>)>(direct))
    .optional()?
    .map(|(row, level)| Ok((Registry::try_from(row)?, membership(level.as_deref()))))
    .transpose()
}

/// A living registry with an account's membership, as far as work on its tokens needs it.
pub fn home(
    connection: &mut Session,
    id: RegistryId,
    account: AccountKey,
) -> Result<Option<(TokenRules, Option<Membership>)>> {
    let row: Option<(HomeRow, Option<String>)> = direct!(connection, |direct| seen_by(account.0)
        .filter(registries::uuid.eq(bytes(id.0)))
        .select((HOME, registry_members::level.nullable()))
        .get_result(direct))
    .optional()?;
    row.map(|(row, level)| Ok((to_home(row)?, membership(level.as_deref()))))
        .transpose()
}

/// The columns of a registry that work on its tokens needs.
pub(super) type HomeRow = (i64, Option<i64>, Option<i64>, Option<i64>);
pub(super) const HOME: (
    registries::key,
    registries::default_life,
    registries::maximum_life,
    registries::maximum_secret_age,
) = (
    registries::key,
    registries::default_life,
    registries::maximum_life,
    registries::maximum_secret_age,
);

pub(super) fn to_home((key, default, maximum, age): HomeRow) -> Result<TokenRules> {
    Ok(TokenRules {
        key: RegistryKey(key),
        lives: lives(default, maximum)?,
        maximum_secret_age: age.map(period).transpose()?,
    })
}

/// Living registries with an account's membership, in creation order, as far as lists of their tokens need them: those
/// with the ids, or else all, or with `own` those that the account is a member of.
pub fn homes(
    connection: &mut Session,
    account: AccountKey,
    ids: &[RegistryId],
    own: bool,
) -> Result<Vec<(Home, Option<Membership>)>> {
    type Row = (i64, Vec<u8>, String, Option<i64>, Option<String>);
    let columns = (
        registries::key,
        registries::uuid,
        registries::name,
        registries::maximum_secret_age,
        registry_members::level.nullable(),
    );
    let rows: Vec<Row> = if !ids.is_empty() {
        let ids = ids.iter().map(|id| bytes(id.0));
        let named = seen_by(account.0).filter(registries::uuid.eq_any(ids));
        named.select(columns).load(connection)?
    } else if own {
        registry_members::table
            .inner_join(registries::table.on(registries::key.eq(registry_members::registry_key)))
            .filter(
                registry_members::account_key
                    .eq(account.0)
                    .and(registries::deleted_at.is_null()),
            )
            .order(registries::key)
            .select(columns)
            .load(connection)?
    } else {
        let all = seen_by(account.0).order(registries::key);
        all.select(columns).load(connection)?
    };
    rows.into_iter()
        .map(|(key, id, name, age, level)| {
            let home = Home {
                id: RegistryId(uuid(&id)?),
                name,
                rules: TokenRules {
                    key: RegistryKey(key),
                    // A list changes no token.
                    lives: Lives::default(),
                    maximum_secret_age: age.map(period).transpose()?,
                },
            };
            Ok((home, membership(level.as_deref())))
        })
        .collect()
}

/// The key of a living registry, with an account's membership, as far as work on its members needs it.
pub fn registry_key(
    connection: &mut Session,
    id: RegistryId,
    account: AccountKey,
) -> Result<Option<(RegistryKey, Option<Membership>)>> {
    let row: Option<(i64, Option<String>)> = direct!(connection, |direct| seen_by(account.0)
        .filter(registries::uuid.eq(bytes(id.0)))
        .select((registries::key, registry_members::level.nullable()))
        .get_result(direct))
    .optional()?;
    Ok(row.map(|(key, level)| (RegistryKey(key), membership(level.as_deref()))))
}

/// A living registry by its public id, with an account's membership, as far as logins need it.
pub fn tenant(
    connection: &mut Session,
    id: RegistryId,
    account: AccountKey,
) -> Result<Option<(Tenant, Option<Membership>)>> {
    direct!(connection, |direct| seen_by(account.0)
        .filter(registries::uuid.eq(bytes(id.0)))
        .select((TENANT, registry_members::level.nullable()))
        .get_result::<(TenantRow, Option<String>)>(direct))
    .optional()?
    .map(|(row, level)| Ok((to_tenant(row)?, membership(level.as_deref()))))
    .transpose()
}

/// The level of an account on a registry.
pub fn level(
    connection: &mut Session,
    registry: RegistryKey,
    account: AccountKey,
) -> Result<Option<Membership>> {
    let level: Option<String> = direct!(connection, |direct| registry_members::table
        .find((registry.0, account.0))
        .select(registry_members::level)
        .get_result(direct))
    .optional()?;
    Ok(membership(level.as_deref()))
}

/// The distinct levels of an account on all registries.
pub fn levels(connection: &mut Session, account: AccountKey) -> Result<Vec<Membership>> {
    let levels: Vec<String> = registry_members::table
        .filter(registry_members::account_key.eq(account.0))
        .select(registry_members::level)
        .distinct()
        .load(connection)?;
    Ok(levels
        .iter()
        .filter_map(|level| membership(Some(level)))
        .collect())
}

/// A page of a registry's members in the order in which their accounts were made, and the total. Call it in a snapshot.
pub fn page(
    connection: &mut Session,
    registry: RegistryKey,
    window: Window,
) -> Result<(Vec<Member>, i64)> {
    let members = || {
        registry_members::table
            .inner_join(accounts::table.on(accounts::key.eq(registry_members::account_key)))
            .filter(
                registry_members::registry_key
                    .eq(registry.0)
                    .and(accounts::deleted_at.is_null()),
            )
    };
    let total = members().count().get_result(connection)?;
    let rows: Vec<(i64, Vec<u8>, String, String, String)> = members()
        .order(registry_members::account_key)
        .offset(window.offset)
        .limit(window.limit)
        .select((
            accounts::key,
            accounts::uuid,
            accounts::name,
            accounts::status,
            registry_members::level,
        ))
        .load(connection)?;
    let mut found = Vec::with_capacity(rows.len());
    for (key, id, name, status, level) in rows {
        // A level of a later release is none here.
        if let Some(level) = Membership::from_stored(&level) {
            found.push(Member {
                registry,
                key: AccountKey(key),
                account: AccountId(uuid(&id)?),
                name,
                status: Status::from_stored(&status),
                level,
            });
        }
    }
    Ok((found, total))
}

/// The number of a registry's members, without deleted accounts.
pub fn count(connection: &mut Session, registry: RegistryKey) -> Result<i64> {
    Ok(registry_members::table
        .filter(registry_members::registry_key.eq(registry.0))
        .count()
        .get_result(connection)?)
}

/// The registries that an account is a member of, in creation order, by key and name.
pub fn of_account(
    connection: &mut Session,
    account: AccountKey,
) -> Result<Vec<(RegistryKey, String, Membership)>> {
    let rows: Vec<(i64, String, String)> = registry_members::table
        .inner_join(registries::table.on(registries::key.eq(registry_members::registry_key)))
        .filter(
            registry_members::account_key
                .eq(account.0)
                .and(registries::deleted_at.is_null()),
        )
        .order(registries::key)
        .select((registries::key, registries::name, registry_members::level))
        .load(connection)?;
    let known = rows.into_iter().filter_map(|(key, name, level)| {
        Membership::from_stored(&level).map(|level| (RegistryKey(key), name, level))
    });
    Ok(known.collect())
}

/// A registry that an account is a member of, by its id and its name, and the account's level there.
pub type Belonging = (RegistryId, String, Membership);

/// The first registries that an account is a member of, in creation order, by id and name, and the number of all. Call it
/// in a snapshot.
pub fn first_of_account(
    connection: &mut Session,
    account: AccountKey,
    limit: i64,
) -> Result<(Vec<Belonging>, i64)> {
    let theirs = || {
        registry_members::table
            .inner_join(registries::table.on(registries::key.eq(registry_members::registry_key)))
            .filter(
                registry_members::account_key
                    .eq(account.0)
                    .and(registries::deleted_at.is_null()),
            )
    };
    let total = theirs().count().get_result(connection)?;
    let rows: Vec<(Vec<u8>, String, String)> = theirs()
        .order(registries::key)
        .limit(limit)
        .select((registries::uuid, registries::name, registry_members::level))
        .load(connection)?;
    let known = rows.into_iter().filter_map(|(id, name, level)| {
        // A level of a later release is none here.
        let level = membership(Some(&level))?;
        Some(uuid(&id).map(|id| (RegistryId(id), name, level)))
    });
    Ok((known.collect::<Result<_>>()?, total))
}

/// Makes an account a member, or changes its level.
pub fn set(
    connection: &mut Session,
    registry: RegistryKey,
    account: AccountKey,
    level: Membership,
) -> Result<()> {
    sql_query(
        "INSERT INTO registry_members (registry_key, account_key, level) VALUES ($1, $2, $3) \
         ON CONFLICT (registry_key, account_key) DO UPDATE SET level = excluded.level",
    )
    .bind::<BigInt, _>(registry.0)
    .bind::<BigInt, _>(account.0)
    .bind::<Text, _>(level.as_str())
    .execute(connection)?;
    Ok(())
}

/// Ends a membership. Returns true if there was one.
pub fn remove(
    connection: &mut Session,
    registry: RegistryKey,
    account: AccountKey,
) -> Result<bool> {
    let removed = diesel::delete(registry_members::table.find((registry.0, account.0)))
        .execute(connection)?;
    Ok(removed > 0)
}

/// Ends every membership of an account.
pub fn remove_all_of_account(connection: &mut Session, account: AccountKey) -> Result<()> {
    diesel::delete(registry_members::table.filter(registry_members::account_key.eq(account.0)))
        .execute(connection)?;
    Ok(())
}
