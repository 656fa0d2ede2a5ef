//! The tables `roles` and `role_permissions`, for lookups of roles without an account.

use std::collections::BTreeSet;

use diesel::{ExpressionMethods, JoinOnDsl, NullableExpressionMethods, QueryDsl, RunQueryDsl};

use super::schema::{account_roles, role_permissions, roles};
use super::session::{Session, direct};
use crate::domain::id::AccountKey;
use crate::domain::permission::Level;
use crate::domain::role::{Permissions, Role};
use crate::domain::text::has_control;
use crate::error::Result;

/// A role's name, and one of its permissions.
type Row = (String, Option<String>, Option<i64>);

/// Every role, oldest first.
pub fn list(connection: &mut Session) -> Result<Vec<Role>> {
    let rows: Vec<Row> = roles::table
        .left_join(role_permissions::table.on(role_permissions::role_key.eq(roles::key)))
        .order((roles::key, role_permissions::resource))
        .select((
            roles::name,
            role_permissions::resource.nullable(),
            role_permissions::level.nullable(),
        ))
        .load(connection)?;
    Ok(collect(rows))
}

/// The roles of these names that exist, oldest first.
pub fn named(connection: &mut Session, names: &[String]) -> Result<Vec<Role>> {
    // PostgreSQL refuses a NUL in a text, and no role has one in its name.
    let names: BTreeSet<_> = names.iter().filter(|name| !has_control(name)).collect();
    let mut found: Vec<(i64, Row)> = Vec::new();
    // One by one: they are few, and SQLite would plan a list of them anew each time.
    for name in names {
        let rows = direct!(connection, |direct| roles::table
            .left_join(role_permissions::table.on(role_permissions::role_key.eq(roles::key)))
            .filter(roles::name.eq(name))
            .order(role_permissions::resource)
            .select((
                roles::key,
                (
                    roles::name,
                    role_permissions::resource.nullable(),
                    role_permissions::level.nullable(),
                ),
            ))
            .load::<(i64, Row)>(direct))?;
        found.extend(rows);
    }
    found.sort_by_key(|(key, _)| *key);
    Ok(collect(found.into_iter().map(|(_, row)| row).collect()))
}

/// The roles of an account, in their order.
pub fn of_account(connection: &mut Session, account: AccountKey) -> Result<Vec<Role>> {
    let rows: Vec<Row> = account_roles::table
        .inner_join(roles::table.on(roles::key.eq(account_roles::role_key)))
        .left_join(role_permissions::table.on(role_permissions::role_key.eq(roles::key)))
        .filter(account_roles::account_key.eq(account.0))
        .order((account_roles::position, role_permissions::resource))
        .select((
            roles::name,
            role_permissions::resource.nullable(),
            role_permissions::level.nullable(),
        ))
        .load(connection)?;
    Ok(collect(rows))
}

/// Rows of one role follow each other.
fn collect(rows: Vec<Row>) -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::new();
    for (name, resource, level) in rows {
        if roles.last().is_none_or(|role| role.name != name) {
            roles.push(Role {
                name,
                permissions: Permissions::default(),
            });
        }
        if let (Some(role), Some(resource), Some(level)) = (
            roles.last_mut(),
            resource,
            level.and_then(Level::from_stored),
        ) {
            role.permissions.grant(resource, level);
        }
    }
    roles
}
