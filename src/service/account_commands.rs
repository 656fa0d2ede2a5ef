//! Accounts, as the operator of the machine manages them: by commands, with no caller to check.

use secrecy::SecretString;

use super::account_rules::{
    ADMIN, IssuedTokens, LiveTokens, account_change, distinct, end_issued, generate_password,
    keep_an_admin, level_change, remove,
};
use super::core::{Core, Done};
use super::passwords;
use crate::domain::account::{Account, AccountName, NewAccount, NewPassword};
use crate::domain::audit;
use crate::domain::id::AccountId;
use crate::domain::membership::Membership;
use crate::domain::status::Status;
use crate::domain::tenant::Tenant;
use crate::domain::text::quoted;
use crate::error::{Error, Result, What};
use crate::store::accounts::{self as table, Change};
use crate::store::{Lock, Session, data_keys, members, registries};

/// The name of the first account.
pub const FIRST: &str = "admin";
/// The name, among the data set's facts, of the holder of the first password.
const FIRST_PASSWORD: &str = "first-password";

/// Account use cases.
#[derive(Debug)]
pub struct AccountCommands<'a> {
    core: &'a Core,
}

impl<'a> AccountCommands<'a> {
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
            description: None,
            at: self.core.clock.now(),
        })
    }
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
