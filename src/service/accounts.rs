//! Accounts, as the operator of the machine manages them: by commands, with no caller to check.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::core::{Core, Done};
use super::passwords;
use crate::clock::Random;
use crate::domain::account::{Account, AccountName, NewAccount, NewPassword};
use crate::domain::audit;
use crate::domain::id::AccountId;
use crate::domain::membership::Membership;
use crate::domain::registry::Tenant;
use crate::domain::status::Status;
use crate::domain::text::quoted;
use crate::error::{Error, Result, What};
use crate::store::accounts::{self as table, Change};
use crate::store::{Lock, Session, api_tokens, app_tokens, data_keys, members, registries};

/// The role that must never be without an enabled account.
const ADMIN: &str = "Admin";
/// The name of the first account.
pub const FIRST: &str = "admin";
/// The name, among the data set's facts, of the holder of the first password.
const FIRST_PASSWORD: &str = "first-password";

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

/// Account use cases.
#[derive(Debug)]
pub struct Accounts<'a> {
    core: &'a Core,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A random password: 24 characters that need no quoting in a shell, 143 bits.
    pub fn generate_password(&self) -> Result<SecretString> {
        generate_password(&*self.core.random)
    }

    /// Every account, oldest first.
    pub async fn list(&self) -> Result<Vec<Account>> {
        self.core.store.read(table::list).await
    }

    /// Adds an enabled account.
    pub async fn create(
        &self,
        name: AccountName,
        password: &NewPassword,
        roles: Vec<String>,
    ) -> Result<()> {
        let new = self.prepare(name, password, roles)?;
        self.core
            .command(Lock::Catalog, move |connection| {
                table::insert(connection, &new)?;
                let account = find_named(connection, new.name.as_str())?;
                Ok(Done::told((), audit::Change::created(&account)))
            })
            .await
    }

    /// Returns true on a first start: there has never been an account.
    pub async fn none_ever(&self) -> Result<bool> {
        self.core
            .store
            .read(|connection| Ok(!table::any_ever(connection)?))
            .await
    }

    /// Adds the first account, with the role Admin. Returns false, and adds none, if there is one already: of several
    /// replicas that start at once, one wins. For a generated password, `kept` tells the other replicas its holder.
    pub async fn create_first(&self, password: &NewPassword, kept: Option<String>) -> Result<bool> {
        let new = self.prepare(AccountName::parse(FIRST)?, password, vec![ADMIN.to_owned()])?;
        self.core
            .command(Lock::Catalog, move |connection| {
                if table::any_ever(connection)? {
                    return Ok(Done::nothing(false));
                }
                table::insert(connection, &new)?;
                if let Some(kept) = &kept {
                    data_keys::set_fact(connection, FIRST_PASSWORD, kept.as_bytes())?;
                }
                let account = find_named(connection, FIRST)?;
                Ok(Done::told(true, audit::Change::created(&account)))
            })
            .await
    }

    /// The holder of the password that was made for the first account, as long as that account is as it was made.
    pub async fn first_password(&self) -> Result<Option<String>> {
        self.core
            .store
            .read(|connection| {
                let first = table::find_named(connection, FIRST)?;
                if first.is_none_or(|first| first.modified_at != first.created_at) {
                    return Ok(None);
                }
                let kept = data_keys::fact(connection, FIRST_PASSWORD)?;
                Ok(kept.map(|kept| String::from_utf8_lossy(&kept).into_owned()))
            })
            .await
    }

    /// The name of an enabled account with the role Admin, if there is one: the first, or else the oldest.
    pub async fn an_admin(&self) -> Result<Option<String>> {
        let find =
            |connection: &mut Session| table::first_enabled_with_role(connection, ADMIN, FIRST);
        self.core.store.read(find).await
    }

    /// Sets a password, and ends the account's other credentials if that is wanted. The old one fails from now on.
    pub async fn set_password(
        &self,
        name: String,
        password: &NewPassword,
        tokens: IssuedTokens,
    ) -> Result<()> {
        let hash = passwords::hash(
            password.secret(),
            self.core.policy.bcrypt_cost,
            self.core.random.bytes()?,
        )?;
        let change = Change {
            password_hash: Some(hash),
            ..Change::default()
        };
        self.update(name, change, tokens).await
    }

    /// Enables or disables an account.
    pub async fn set_status(&self, name: String, status: Status) -> Result<()> {
        let change = Change {
            status: Some((status, self.core.random.uuid()?)),
            ..Change::default()
        };
        self.update(name, change, IssuedTokens::Keep).await
    }

    /// Replaces the roles of an account.
    pub async fn set_roles(&self, name: String, roles: Vec<String>) -> Result<()> {
        let change = Change {
            roles: Some(distinct(roles)),
            ..Change::default()
        };
        self.update(name, change, IssuedTokens::Keep).await
    }

    /// Deletes an account. The things that it made stay and keep its name.
    pub async fn delete(&self, name: String, tokens: LiveTokens) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .command(Lock::Catalog, move |connection| {
                let account = find_named(connection, &name)?;
                remove(connection, &account, tokens, None, now)?;
                Ok(Done::told((), audit::Change::deleted(&account)))
            })
            .await
    }

    /// Makes an account a member of a registry, or changes its level there.
    pub async fn grant(&self, name: String, registry: String, level: Membership) -> Result<()> {
        let registry = self.find_registry(registry).await?;
        self.core
            .command(Lock::CatalogAndRegistry(registry.id), move |connection| {
                let account = find_named(connection, &name)?;
                still_there(connection, &registry)?;
                let before = members::level(connection, registry.key, account.key)?;
                members::set(connection, registry.key, account.key, level)?;
                let change = level_change(account.id, before, level);
                Ok(Done::of(
                    (),
                    change.map(|change| change.within(registry.id)),
                ))
            })
            .await
    }

    /// Ends an account's membership of a registry.
    pub async fn revoke(&self, name: String, registry: String) -> Result<()> {
        let registry = self.find_registry(registry).await?;
        self.core
            .command(Lock::CatalogAndRegistry(registry.id), move |connection| {
                let account = find_named(connection, &name)?;
                let missing = || {
                    let which = format!("{} of {}", account.name, registry.name);
                    Error::not_found(What::Member, which)
                };
                let level = members::level(connection, registry.key, account.key)?;
                let level = level.ok_or_else(missing)?;
                members::remove(connection, registry.key, account.key)?;
                let change = audit::Change::deleted(&(account.id, level));
                Ok(Done::told((), change.within(registry.id)))
            })
            .await
    }

    /// An account, and the registries that it is a member of by name.
    pub async fn show(&self, name: String) -> Result<(Account, Vec<(String, Membership)>)> {
        self.core
            .store
            .read(move |connection| {
                let account = find_named(connection, &name)?;
                let memberships = members::of_account(connection, account.key)?
                    .into_iter()
                    .map(|(_, registry, level)| (registry, level))
                    .collect();
                Ok((account, memberships))
            })
            .await
    }

    async fn find_registry(&self, name: String) -> Result<Tenant> {
        let missing = Error::not_found(What::Registry, quoted(&name));
        let found = self
            .core
            .store
            .read(move |connection| registries::tenant_named(connection, &name))
            .await?;
        found.ok_or(missing)
    }

    async fn update(&self, name: String, change: Change, tokens: IssuedTokens) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .command(Lock::Catalog, move |connection| {
                let before = find_named(connection, &name)?;
                keep_an_admin(connection, &before.name, |connection| {
                    table::update(connection, before.key, &change, now)
                })?;
                let ended = end_issued(connection, &before, tokens, None, now)?;
                let after = find_named(connection, &name)?;
                let told = account_change(&before, &after, &change, ended);
                Ok(Done::told((), told))
            })
            .await
    }

    fn prepare(
        &self,
        name: AccountName,
        password: &NewPassword,
        roles: Vec<String>,
    ) -> Result<NewAccount> {
        Ok(NewAccount {
            id: AccountId(self.core.random.uuid()?),
            name,
            password_hash: passwords::hash(
                password.secret(),
                self.core.policy.bcrypt_cost,
                self.core.random.bytes()?,
            )?,
            refresh_id: self.core.random.uuid()?,
            roles: distinct(roles),
            status: Status::Enabled,
            at: self.core.clock.now(),
        })
    }
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

fn find_named(connection: &mut Session, name: &str) -> Result<Account> {
    let missing = || Error::not_found(What::Account, name);
    table::find_named(connection, name)?.ok_or_else(missing)
}

/// Refuses a registry that was deleted since it was looked for.
fn still_there(connection: &mut Session, registry: &Tenant) -> Result<()> {
    if registries::find_key(connection, registry.id)? == Some(registry.key) {
        return Ok(());
    }
    Err(Error::not_found(What::Registry, quoted(&registry.name)))
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
        "{name} has {count} API {tokens} in force; revoke {them} first, or let the deletion do it: \
         with ?revokeTokens=true, by the command with --revoke-tokens"
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
