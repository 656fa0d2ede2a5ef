//! The tables `accounts`, `account_roles`, `roles` and `role_permissions`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::sql_types::Bool;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods,
    OptionalExtension, QueryDsl, RunQueryDsl, SelectableHelper,
};
use uuid::Uuid;

use super::failure::on_unique;
use super::registries::substr;
use super::rows::{Id, bytes, instant, micros, uuid};
use super::schema::{account_roles, accounts, role_permissions, roles};
use super::session::{Session, direct};
use crate::domain::account::{Account, Actor, NewAccount, account_keys};
use crate::domain::filter::{AccountFilter, NameFilter};
use crate::domain::id::{AccountId, AccountKey};
use crate::domain::page::Window;
use crate::domain::patch::Patch;
use crate::domain::permission::Level;
use crate::domain::role::Permissions;
use crate::domain::status::Status;
use crate::domain::text::quoted;
use crate::domain::unicode::folded;
use crate::error::{Error, Field, Result, What};

/// The form of password hashes made over the compared form of the password
/// ([`opaque`](crate::domain::unicode::opaque)).
const OPAQUE: &str = "opaque";

/// The part of an account that verifies a password.
#[derive(Debug, Clone)]
pub struct Login {
    /// The key of the account.
    pub key: AccountKey,
    /// Public id.
    pub id: AccountId,
    /// The account's version, which changes with the password.
    pub version: i64,
    /// The bcrypt hash; none for an account without password.
    pub password_hash: Option<String>,
    /// True if the hash is over the compared form of the password. If not, it is over the password as it was sent.
    pub opaque: bool,
}

/// An account as it is now, with its rights.
#[derive(Debug, Clone)]
pub struct CurrentAccount {
    /// The actor.
    pub actor: Actor,
    /// The status.
    pub status: Status,
}

/// Picks the one of the rows that a name means. Each comes with its key.
fn meant<T>(name: &str, rows: Vec<(String, T)>) -> Option<T> {
    let [_, old] = account_keys(name);
    let of_old = |(key, _): &(String, T)| *key == old;
    let mut rows = rows.into_iter();
    let first = rows.next()?;
    let found = match rows.next() {
        Some(second) if of_old(&second) => second,
        _ => first,
    };
    Some(found.1)
}

/// Finds the login of a name, compared without regard to case.
pub fn login(connection: &mut Session, name: &str) -> Result<Option<Login>> {
    type Row = (i64, Vec<u8>, i64, Option<String>, Option<String>);
    let rows: Vec<(String, Row)> = direct!(connection, |direct| accounts::table
        .filter(
            accounts::name_key
                .eq_any(account_keys(name))
                .and(accounts::deleted_at.is_null()),
        )
        .select((
            accounts::name_key,
            (
                accounts::key,
                accounts::uuid,
                accounts::version,
                accounts::password_hash,
                accounts::password_form,
            ),
        ))
        .load(direct))?;
    let login = meant(name, rows).map(|(key, id, version, password_hash, form)| {
        Ok(Login {
            key: AccountKey(key),
            id: AccountId(uuid(&id)?),
            version,
            password_hash,
            opaque: form.as_deref() == Some(OPAQUE),
        })
    });
    login.transpose()
}

/// Reads an account and its roles' permissions in one query, for every request. `None` once it is deleted.
pub fn standing(connection: &mut Session, key: AccountKey) -> Result<Option<CurrentAccount>> {
    type Row = (Vec<u8>, String, String, i64, Option<String>, Option<i64>);
    let rows: Vec<Row> = direct!(connection, |direct| accounts::table
        .left_join(account_roles::table.on(account_roles::account_key.eq(accounts::key)))
        .left_join(
            role_permissions::table.on(role_permissions::role_key
                .nullable()
                .eq(account_roles::role_key.nullable())),
        )
        .filter(accounts::key.eq(key.0).and(accounts::deleted_at.is_null()))
        .select((
            accounts::uuid,
            accounts::name,
            accounts::status,
            accounts::version,
            role_permissions::resource.nullable(),
            role_permissions::level.nullable(),
        ))
        .load(direct))?;
    let mut standing: Option<CurrentAccount> = None;
    for (id, name, status, version, resource, level) in rows {
        let standing = match &mut standing {
            Some(standing) => standing,
            none => none.insert(without_permissions(key, (&id, name, &status, version))?),
        };
        if let (Some(resource), Some(level)) = (resource, level.and_then(Level::from_stored)) {
            standing.actor.permissions.grant(resource, level);
        }
    }
    Ok(standing)
}

/// An account by its id, name, status and version.
pub(super) fn without_permissions(
    key: AccountKey,
    (id, name, status, version): (&[u8], String, &str, i64),
) -> Result<CurrentAccount> {
    Ok(CurrentAccount {
        actor: Actor {
            key,
            id: AccountId(uuid(id)?),
            name,
            version,
            permissions: Permissions::default(),
            bearer: None,
        },
        status: Status::from_stored(status),
    })
}

/// The hash of an account's password, and the id that its refresh tokens are bound to beside it.
#[derive(Debug)]
pub struct Secret {
    /// The account's version.
    pub version: i64,
    /// The bcrypt hash; none for an account without password.
    pub password_hash: Option<String>,
    /// The id that refresh tokens are bound to, beside the hash; none in rows of earlier releases.
    pub refresh_id: Option<Uuid>,
}

/// Reads the stored secret of an account. `None` once it is deleted.
pub fn secret(connection: &mut Session, key: AccountKey) -> Result<Option<Secret>> {
    type Row = (i64, Option<String>, Option<Id>);
    let row: Option<Row> = direct!(connection, |direct| accounts::table
        .filter(accounts::key.eq(key.0).and(accounts::deleted_at.is_null()))
        .select((
            accounts::version,
            accounts::password_hash,
            accounts::refresh_id,
        ))
        .get_result(direct))
    .optional()?;
    Ok(row.map(|(version, password_hash, id)| Secret {
        version,
        password_hash,
        refresh_id: id.map(|id| id.0),
    }))
}

/// Returns true if there is any account, deleted ones included. False means a first start.
pub fn any_ever(connection: &mut Session) -> Result<bool> {
    Ok(accounts::table
        .select(accounts::key)
        .limit(1)
        .first::<i64>(connection)
        .optional()?
        .is_some())
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = accounts)]
struct AccountRow {
    key: i64,
    uuid: Vec<u8>,
    name: String,
    status: String,
    version: i64,
    created_at: i64,
    modified_at: i64,
    description: Option<String>,
}

/// Rows with the names of their roles.
fn with_roles(connection: &mut Session, rows: Vec<AccountRow>) -> Result<Vec<Account>> {
    let keys: Vec<i64> = rows.iter().map(|row| row.key).collect();
    let held: Vec<(i64, String)> = account_roles::table
        .inner_join(roles::table.on(roles::key.eq(account_roles::role_key)))
        .filter(account_roles::account_key.eq_any(keys))
        .order((account_roles::account_key, account_roles::position))
        .select((account_roles::account_key, roles::name))
        .load(connection)?;
    let mut names: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for (account, role) in held {
        names.entry(account).or_default().push(role);
    }
    rows.into_iter()
        .map(|row| {
            let AccountRow {
                key,
                uuid: id,
                name,
                status,
                version,
                created_at,
                modified_at,
                description,
            } = row;
            Ok(Account {
                key: AccountKey(key),
                id: AccountId(uuid(&id)?),
                name,
                status: Status::from_stored(&status),
                version,
                roles: names.remove(&key).unwrap_or_default(),
                description,
                created_at: instant(created_at)?,
                modified_at: instant(modified_at)?,
            })
        })
        .collect()
}

/// Every account, oldest first.
pub fn list(connection: &mut Session) -> Result<Vec<Account>> {
    let rows = accounts::table
        .filter(accounts::deleted_at.is_null())
        .order(accounts::key)
        .select(AccountRow::as_select())
        .load(connection)?;
    with_roles(connection, rows)
}

/// A page of accounts that pass a filter, oldest first, and the total. Call it in a snapshot.
pub fn page(
    connection: &mut Session,
    filter: &AccountFilter,
    window: Window,
) -> Result<(Vec<Account>, i64)> {
    let AccountFilter { name, status, role } = filter;
    let named = |name: &NameFilter| match name {
        NameFilter::Exactly(name) => {
            let keys = account_keys(name).map(|key| (i32::MAX, key));
            Vec::from(keys)
        }
        NameFilter::Beginning(start) => account_keys(start)
            .into_iter()
            .map(|key| (i32::try_from(key.chars().count()).unwrap_or(i32::MAX), key))
            .collect(),
    };
    let named: Vec<(i32, String)> = name.as_ref().map(named).unwrap_or_default();
    let held = role.as_ref().map(|role| {
        account_roles::table
            .inner_join(roles::table.on(roles::key.eq(account_roles::role_key)))
            .filter(roles::name.eq(role.clone()))
            .select(account_roles::account_key)
    });
    // As often as it is needed, since a boxed query runs once.
    let wanted = || {
        let mut query = accounts::table
            .filter(accounts::deleted_at.is_null())
            .into_boxed();
        if let [(length, key), (other_length, other)] = named.as_slice() {
            let is = substr(accounts::name_key, 1, *length).eq(key.clone());
            query =
                query.filter(is.or(substr(accounts::name_key, 1, *other_length).eq(other.clone())));
        }
        if let Some(status) = status {
            query = query.filter(accounts::status.eq(status.as_str()));
        }
        if let Some(held) = &held {
            query = query.filter(accounts::key.eq_any(held.clone()));
        }
        query
    };
    let total = wanted().count().get_result(connection)?;
    let rows = wanted()
        .order(accounts::key)
        .offset(window.offset)
        .limit(window.limit)
        .select(AccountRow::as_select())
        .load(connection)?;
    Ok((with_roles(connection, rows)?, total))
}

/// Finds an account by its public id.
pub fn find(connection: &mut Session, id: AccountId) -> Result<Option<Account>> {
    let row: Option<AccountRow> = accounts::table
        .filter(
            accounts::uuid
                .eq(bytes(id.0))
                .and(accounts::deleted_at.is_null()),
        )
        .select(AccountRow::as_select())
        .get_result(connection)
        .optional()?;
    Ok(with_roles(connection, row.into_iter().collect())?.pop())
}

/// Finds an account by its internal key.
pub fn find_by_key(connection: &mut Session, key: AccountKey) -> Result<Option<Account>> {
    let row: Option<AccountRow> = accounts::table
        .filter(accounts::key.eq(key.0).and(accounts::deleted_at.is_null()))
        .select(AccountRow::as_select())
        .get_result(connection)
        .optional()?;
    Ok(with_roles(connection, row.into_iter().collect())?.pop())
}

/// Finds an account by its name, without regard to case.
pub fn find_named(connection: &mut Session, name: &str) -> Result<Option<Account>> {
    let rows: Vec<(String, AccountRow)> = accounts::table
        .filter(
            accounts::name_key
                .eq_any(account_keys(name))
                .and(accounts::deleted_at.is_null()),
        )
        .select((accounts::name_key, AccountRow::as_select()))
        .load(connection)?;
    Ok(with_roles(connection, meant(name, rows).into_iter().collect())?.pop())
}

/// Returns true if an older release made an account whose name differs only in case. Its key is not folded, so the
/// index does not see it. In ASCII the old key and the new one are the same.
fn has_unfolded(connection: &mut Session, key: &str) -> Result<bool> {
    let beyond_ascii = sql::<Bool>("octet_length(name_key) <> length(name_key)");
    let keys: Vec<String> = accounts::table
        .filter(accounts::deleted_at.is_null().and(beyond_ascii))
        .select(accounts::name_key)
        .load(connection)?;
    Ok(keys.iter().any(|old| folded(old) == key))
}

/// Adds an account with its roles.
pub fn insert(connection: &mut Session, new: &NewAccount) -> Result<AccountKey> {
    let (name, key) = (new.name.as_str(), new.name.key());
    if has_unfolded(connection, &key)? {
        return Err(Error::name_taken(What::Account, name));
    }
    let inserted = diesel::insert_into(accounts::table)
        .values((
            accounts::uuid.eq(bytes(new.id.0)),
            accounts::name.eq(name),
            accounts::name_key.eq(key),
            accounts::kind.eq("password"),
            accounts::password_hash.eq(&new.password_hash),
            accounts::password_form.eq(OPAQUE),
            accounts::refresh_id.eq(bytes(new.refresh_id)),
            accounts::status.eq(new.status.as_str()),
            accounts::description.eq(&new.description),
            accounts::version.eq(1),
            accounts::created_at.eq(micros(new.at)),
            accounts::modified_at.eq(micros(new.at)),
        ))
        .returning(accounts::key)
        .get_result::<i64>(connection);
    let key = on_unique(inserted, || Error::name_taken(What::Account, name))?;
    give(connection, AccountKey(key), &new.roles)?;
    Ok(AccountKey(key))
}

/// Gives roles, in their order, to an account that has none.
fn give(connection: &mut Session, account: AccountKey, names: &[String]) -> Result<()> {
    for (position, role) in (0_i64..).zip(role_keys(connection, names)?) {
        diesel::insert_into(account_roles::table)
            .values((
                account_roles::account_key.eq(account.0),
                account_roles::position.eq(position),
                account_roles::role_key.eq(role),
            ))
            .execute(connection)?;
    }
    Ok(())
}

/// The keys of roles, in the order of their names.
fn role_keys(connection: &mut Session, names: &[String]) -> Result<Vec<i64>> {
    let known: Vec<(String, i64)> = roles::table
        .order(roles::key)
        .select((roles::name, roles::key))
        .load(connection)?;
    let key = |name: &String| {
        let found = known.iter().find(|(known, _)| known == name);
        found.map(|(_, key)| *key).ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
            Error::invalid(
                Field::Roles,
                format!(
                    "there is no role {}; the roles are {}",
                    quoted(name),
                    names.join(", ")
                ),
            )
        })
    };
    names.iter().map(key).collect()
}

/// The combined permissions of roles.
pub fn permissions_of_roles(connection: &mut Session, names: &[String]) -> Result<Permissions> {
    let keys = role_keys(connection, names)?;
    let rows: Vec<(String, i64)> = role_permissions::table
        .filter(role_permissions::role_key.eq_any(keys))
        .select((role_permissions::resource, role_permissions::level))
        .load(connection)?;
    let mut permissions = Permissions::default();
    for (resource, level) in rows {
        if let Some(level) = Level::from_stored(level) {
            permissions.grant(resource, level);
        }
    }
    Ok(permissions)
}

/// A change of an account; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// A new password, by its bcrypt hash.
    pub password_hash: Option<String>,
    /// Enables the account, or disables it and ends its refresh tokens by another id for them.
    pub status: Option<(Status, Uuid)>,
    /// Replaces all roles, by their names.
    pub roles: Option<Vec<String>>,
    /// Changes the text for people.
    pub description: Patch<String>,
}

impl Change {
    /// Returns true if it changes nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let Self {
            password_hash,
            status,
            roles,
            description,
        } = self;
        password_hash.is_none() && status.is_none() && roles.is_none() && description.is_keep()
    }
}

/// Changes an account.
pub fn update(
    connection: &mut Session,
    account: AccountKey,
    change: &Change,
    now: DateTime<Utc>,
) -> Result<()> {
    let Change {
        password_hash,
        status,
        roles,
        description,
    } = change;
    diesel::update(accounts::table.find(account.0))
        .set((
            accounts::version.eq(accounts::version + 1),
            accounts::modified_at.eq(micros(now)),
            password_hash.as_ref().map(|hash| {
                (
                    accounts::password_hash.eq(hash),
                    accounts::password_form.eq(OPAQUE),
                )
            }),
            status.map(|(status, _)| accounts::status.eq(status.as_str())),
            status
                .filter(|(status, _)| *status == Status::Disabled)
                .map(|(_, id)| accounts::refresh_id.eq(bytes(id))),
            description
                .clone()
                .change()
                .map(|text| accounts::description.eq(text)),
        ))
        .execute(connection)?;
    if let Some(roles) = roles {
        diesel::delete(account_roles::table.filter(account_roles::account_key.eq(account.0)))
            .execute(connection)?;
        give(connection, account, roles)?;
    }
    Ok(())
}

/// Deletes an account: the row stays for the things that name it, the name is free again.
pub fn delete(connection: &mut Session, account: AccountKey, now: DateTime<Utc>) -> Result<()> {
    diesel::update(accounts::table.find(account.0))
        .set((
            accounts::version.eq(accounts::version + 1),
            accounts::modified_at.eq(micros(now)),
            accounts::deleted_at.eq(micros(now)),
            accounts::password_hash.eq(None::<String>),
        ))
        .execute(connection)?;
    Ok(())
}

/// The name of an enabled account with a role: the preferred name, or else the oldest account's.
pub fn first_enabled_with_role(
    connection: &mut Session,
    role: &str,
    preferred: &str,
) -> Result<Option<String>> {
    Ok(accounts::table
        .inner_join(account_roles::table.on(account_roles::account_key.eq(accounts::key)))
        .inner_join(roles::table.on(roles::key.eq(account_roles::role_key)))
        .filter(
            roles::name
                .eq(role)
                .and(accounts::status.eq(Status::Enabled.as_str()))
                .and(accounts::deleted_at.is_null()),
        )
        .order((accounts::name.eq(preferred).desc(), accounts::key))
        .select(accounts::name)
        .first(connection)
        .optional()?)
}

/// The number of enabled accounts with a role: the last Admin must stay.
pub fn count_enabled_with_role(connection: &mut Session, role: &str) -> Result<i64> {
    Ok(accounts::table
        .inner_join(account_roles::table.on(account_roles::account_key.eq(accounts::key)))
        .inner_join(roles::table.on(roles::key.eq(account_roles::role_key)))
        .filter(
            roles::name
                .eq(role)
                .and(accounts::status.eq(Status::Enabled.as_str()))
                .and(accounts::deleted_at.is_null()),
        )
        .count()
        .get_result(connection)?)
}
