//! The tables `accounts`, `account_roles`, `roles` and `role_permissions`.

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, NullableExpressionMethods,
    OptionalExtension, QueryDsl, RunQueryDsl,
};

use super::failure::on_unique;
use super::rows::{bytes, instant, micros, uuid};
use super::schema::{account_roles, accounts, role_permissions, roles};
use super::session::Session;
use crate::domain::account::{Account, Actor, NewAccount, name_key};
use crate::domain::id::{AccountId, AccountKey};
use crate::domain::role::{Level, Permissions};
use crate::domain::status::Status;
use crate::domain::text::quoted;
use crate::error::{Error, Result, What};

/// What verifying a password needs of an account.
#[derive(Debug, Clone)]
pub struct Login {
    /// Whose.
    pub key: AccountKey,
    /// The account's version, which changes with the password.
    pub version: i64,
    /// The bcrypt hash; none for an account without password.
    pub password_hash: Option<String>,
}

/// An account as it stands now, with what it may do.
#[derive(Debug, Clone)]
pub struct Standing {
    /// On whose behalf.
    pub actor: Actor,
    /// In use or not.
    pub status: Status,
}

/// Finds what verifying a password needs. The name is compared without regard to ASCII case.
pub fn login(connection: &mut Session, name: &str) -> Result<Option<Login>> {
    let row: Option<(i64, i64, Option<String>)> = accounts::table
        .filter(
            accounts::name_key
                .eq(name_key(name))
                .and(accounts::deleted_at.is_null()),
        )
        .select((accounts::key, accounts::version, accounts::password_hash))
        .first(connection)
        .optional()?;
    Ok(row.map(|(key, version, password_hash)| Login {
        key: AccountKey(key),
        version,
        password_hash,
    }))
}

/// Reads an account with all its roles permit, in one query: every request does this. None once it is deleted.
pub fn standing(connection: &mut Session, key: AccountKey) -> Result<Option<Standing>> {
    type Row = (Vec<u8>, String, String, i64, Option<String>, Option<i64>);
    let rows: Vec<Row> = accounts::table
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
        .load(connection)?;
    let mut standing: Option<Standing> = None;
    for (id, name, status, version, resource, level) in rows {
        let standing = match &mut standing {
            Some(standing) => standing,
            none => none.insert(Standing {
                actor: Actor {
                    key,
                    id: AccountId(uuid(&id)?),
                    name,
                    version,
                    permissions: Permissions::default(),
                },
                status: Status::from_stored(&status),
            }),
        };
        if let (Some(resource), Some(level)) = (resource, level.and_then(Level::from_stored)) {
            standing.actor.permissions.grant(resource, level);
        }
    }
    Ok(standing)
}

/// Is there any account, deleted ones included? None means a first start.
pub fn any_ever(connection: &mut Session) -> Result<bool> {
    Ok(accounts::table
        .select(accounts::key)
        .limit(1)
        .first::<i64>(connection)
        .optional()?
        .is_some())
}

/// Every account, oldest first.
pub fn list(connection: &mut Session) -> Result<Vec<Account>> {
    type Row = (i64, Vec<u8>, String, String, i64, i64);
    let rows: Vec<Row> = accounts::table
        .filter(accounts::deleted_at.is_null())
        .order(accounts::key)
        .select((
            accounts::key,
            accounts::uuid,
            accounts::name,
            accounts::status,
            accounts::version,
            accounts::created_at,
        ))
        .load(connection)?;
    let held: Vec<(i64, String)> = account_roles::table
        .inner_join(roles::table.on(roles::key.eq(account_roles::role_key)))
        .order((account_roles::account_key, account_roles::position))
        .select((account_roles::account_key, roles::name))
        .load(connection)?;
    rows.into_iter()
        .map(|(key, id, name, status, version, created_at)| {
            let roles = held
                .iter()
                .filter(|(account, _)| *account == key)
                .map(|(_, role)| role.clone())
                .collect();
            Ok(Account {
                key: AccountKey(key),
                id: AccountId(uuid(&id)?),
                name,
                status: Status::from_stored(&status),
                version,
                roles,
                created_at: instant(created_at)?,
            })
        })
        .collect()
}

/// Adds an enabled account with its roles.
pub fn insert(connection: &mut Session, new: &NewAccount) -> Result<AccountKey> {
    let inserted = diesel::insert_into(accounts::table)
        .values((
            accounts::uuid.eq(bytes(new.id.0)),
            accounts::name.eq(new.name.as_str()),
            accounts::name_key.eq(new.name.key()),
            accounts::kind.eq("password"),
            accounts::password_hash.eq(&new.password_hash),
            accounts::status.eq(Status::Enabled.as_str()),
            accounts::version.eq(1),
            accounts::created_at.eq(micros(new.at)),
            accounts::modified_at.eq(micros(new.at)),
        ))
        .returning(accounts::key)
        .get_result::<i64>(connection);
    let key = on_unique(inserted, || {
        Error::name_taken(What::Account, new.name.as_str())
    })?;
    let known: Vec<(String, i64)> = roles::table
        .order(roles::key)
        .select((roles::name, roles::key))
        .load(connection)?;
    for (position, name) in (0_i64..).zip(&new.roles) {
        let Some((_, role)) = known.iter().find(|(known, _)| known == name) else {
            let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::invalid(
                "role",
                format!(
                    "there is no role {}; there are {}",
                    quoted(name),
                    names.join(", ")
                ),
            ));
        };
        diesel::insert_into(account_roles::table)
            .values((
                account_roles::account_key.eq(key),
                account_roles::position.eq(position),
                account_roles::role_key.eq(role),
            ))
            .execute(connection)?;
    }
    Ok(AccountKey(key))
}

/// What can be changed of an account.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new password, by its bcrypt hash.
    Password(String),
    /// Enables or disables.
    Status(Status),
    /// Deletes: the row stays for those whose work names it, the name is free again.
    Delete,
}

/// Changes an account found by name.
pub fn update(
    connection: &mut Session,
    name: &str,
    change: &Change,
    now: DateTime<Utc>,
) -> Result<()> {
    let account = accounts::table.filter(
        accounts::name_key
            .eq(name_key(name))
            .and(accounts::deleted_at.is_null()),
    );
    let stamp = (
        accounts::version.eq(accounts::version + 1),
        accounts::modified_at.eq(micros(now)),
    );
    let changed = match change {
        Change::Password(hash) => diesel::update(account)
            .set((accounts::password_hash.eq(hash), stamp))
            .execute(connection)?,
        Change::Status(status) => diesel::update(account)
            .set((accounts::status.eq(status.as_str()), stamp))
            .execute(connection)?,
        Change::Delete => diesel::update(account)
            .set((
                accounts::deleted_at.eq(micros(now)),
                accounts::password_hash.eq(None::<String>),
                stamp,
            ))
            .execute(connection)?,
    };
    if changed == 0 {
        Err(Error::not_found(What::Account, name))
    } else {
        Ok(())
    }
}

/// How many enabled accounts hold a role: the last Admin must stay.
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
