//! The rules of changes to accounts, whoever makes them: by a command or over the API.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use crate::clock::Random;
use crate::domain::account::Account;
use crate::domain::audit;
use crate::domain::id::AccountId;
use crate::domain::membership::Membership;
use crate::error::{Error, Result};
use crate::store::accounts::{self as table, Change};
use crate::store::{Session, api_tokens, app_tokens, members};

/// The role that must never be without an enabled account.
pub(super) const ADMIN: &str = "Admin";

/// The fate of an account's API tokens in force when the account is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveTokens {
    /// They keep it from being deleted: their users may not know the account.
    Refuse,
    /// They are revoked with it.
    Revoke,
}

/// The fate of an account's API tokens and app tokens when the account is changed. They work without its password,
/// so a new password alone does not end them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuedTokens {
    /// They go on working.
    Keep,
    /// API tokens in force are revoked, app tokens deleted.
    Revoke,
}

/// A random password: 24 characters that need no quoting in a shell, 143 bits.
pub(super) fn generate_password(random: &dyn Random) -> Result<SecretString> {
    use base64::Engine as _;
    let bytes: [u8; 18] = random.bytes()?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD
        .encode(bytes)
        .replace(['-', '_'], "x")
        .into())
}

/// The change of an account for the audit trail, without a new password or the tokens that ended with the change.
pub(super) fn account_change(
    before: &Account,
    after: &Account,
    change: &Change,
    ended: bool,
) -> audit::Change {
    let mut told = audit::Change::updated(before, after);
    if change.password_hash.is_some() {
        told = told.with("password", "changed");
    }
    if ended {
        told = told.with("tokens", "revoked");
    }
    told
}

/// Ends the tokens that an account made to act for itself, if that is wanted. Returns true if there were any.
pub(super) fn end_issued(
    connection: &mut Session,
    account: &Account,
    tokens: IssuedTokens,
    by: Option<AccountId>,
    now: DateTime<Utc>,
) -> Result<bool> {
    if tokens == IssuedTokens::Keep {
        return Ok(false);
    }
    let deleted = app_tokens::remove_all_of_account(connection, account.key)?;
    let revoked = api_tokens::revoke_all_of_account(connection, account.key, by, now)?;
    Ok(deleted + revoked > 0)
}

/// The audit trail's event for a change of an account's level on a registry; none if the level is unchanged.
pub(super) fn level_change(
    account: AccountId,
    before: Option<Membership>,
    after: Membership,
) -> Option<audit::Change> {
    match before {
        None => Some(audit::Change::created(&(account, after))),
        Some(before) if before == after => None,
        Some(before) => Some(audit::Change::updated(
            &(account, before),
            &(account, after),
        )),
    }
}

/// A role given twice is held once.
pub(super) fn distinct(mut roles: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    roles.retain(|role| seen.insert(role.clone()));
    roles
}

/// Removes an account and all rows that mean nothing without it; rows of later features are to be removed here too.
/// `by` is the actor, if it is no command. Needs the catalog's lock, as does code that makes API tokens.
pub(super) fn remove(
    connection: &mut Session,
    account: &Account,
    tokens: LiveTokens,
    by: Option<AccountId>,
    now: DateTime<Utc>,
) -> Result<()> {
    keep_an_admin(connection, &account.name, |connection| {
        members::remove_all_of_account(connection, account.key)?;
        app_tokens::remove_all_of_account(connection, account.key)?;
        table::delete(connection, account.key, now)
    })?;
    match api_tokens::revoke_all_of_account(connection, account.key, by, now)? {
        0 => Ok(()),
        _ if tokens == LiveTokens::Revoke => Ok(()),
        count => Err(has_tokens(&account.name, count)),
    }
}

fn has_tokens(name: &str, count: usize) -> Error {
    let (tokens, them) = if count == 1 {
        ("token", "it")
    } else {
        ("tokens", "them")
    };
    Error::Unsuited(format!(
        "{name} has {count} API {tokens} in force; revoke {them} first, or delete the account with ?revokeTokens=true, \
         in the command with --revoke-tokens"
    ))
}

/// Makes a change to an account, unless it takes the last enabled Admin away. The caller must hold the catalog's lock,
/// so that the second of two such changes sees the first.
pub(super) fn keep_an_admin(
    connection: &mut Session,
    name: &str,
    change: impl FnOnce(&mut Session) -> Result<()>,
) -> Result<()> {
    let before = table::count_enabled_with_role(connection, ADMIN)?;
    change(connection)?;
    if before > 0 && table::count_enabled_with_role(connection, ADMIN)? == 0 {
        return Err(last_admin(name));
    }
    Ok(())
}

/// The error for the last enabled Admin: one account must be left that may do everything.
#[must_use]
pub fn last_admin(name: &str) -> Error {
    Error::Unsuited(format!(
        "{name} is the last enabled account with the role {ADMIN}; enable or add another one first"
    ))
}
