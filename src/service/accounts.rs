//! Account management over the API, on behalf of a caller with permission.
//!
//! Owns the rule that nobody obtains more than they hold, by roles or by the password of an account. The operator's
//! commands, which need no caller, are in `account_commands`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::access::Caller;
use super::account_rules::{
    IssuedTokens, LiveTokens, account_change, distinct, end_issued, generate_password,
    keep_an_admin, remove,
};
use super::core::{Core, Done, Urgency};
use super::idempotency::Once;
use crate::domain::account::{
    Account, AccountPatch, Actor, CreateAccount, Holdings, NewAccount, NewPassword,
};
use crate::domain::audit;
use crate::domain::escalation::obtain;
use crate::domain::filter::AccountFilter;
use crate::domain::id::{AccountId, AccountKey};
use crate::domain::idempotency::Attempt;
use crate::domain::page::Window;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::{Look, Precondition};
use crate::domain::role::Permissions;
use crate::domain::status::Status;
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result, What};
use crate::store::accounts::{self as table, Change};
use crate::store::{Lock, Session, members};

/// A page of accounts.
#[derive(Debug, Clone)]
pub struct AccountPage {
    /// In creation order.
    pub accounts: Vec<Account>,
    /// All accounts, or all that pass the filter.
    pub total: i64,
}

/// An account that was made.
#[derive(Debug)]
pub struct MadeAccount {
    /// The account.
    pub account: Account,
    /// Its password, if the service made it and this is the first answer.
    pub password: Option<SecretString>,
}

/// Account use cases with a caller.
#[derive(Debug)]
pub struct Accounts<'a> {
    core: &'a Core,
}

impl<'a> Accounts<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A page of the accounts that pass a filter.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a role that there is not.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: AccountFilter,
        window: Window,
    ) -> Result<AccountPage> {
        self.core
            .read(caller, move |connection, actor| {
                actor.permissions.require(Resource::Access, Level::Read)?;
                if let Some(role) = &filter.role {
                    table::permissions_of_roles(connection, std::slice::from_ref(role))?;
                }
                let (accounts, total) =
                    connection.snapshot(|connection| table::page(connection, &filter, window))?;
                Ok(AccountPage { accounts, total })
            })
            .await
    }

    /// One account. Every caller may read their own.
    pub async fn show(
        &self,
        caller: &Caller,
        id: AccountId,
        condition: Precondition,
    ) -> Result<Look<Account>> {
        self.core
            .read(caller, move |connection, actor| {
                if id != actor.id || actor.confined().is_some() {
                    actor.permissions.require(Resource::Access, Level::Read)?;
                }
                let account = find(connection, id)?;
                condition.look(What::Account, account.tag(), account)
            })
            .await
    }

    /// Makes an account, once for a request that may come again. Only the first answer shows a generated password.
    pub async fn create(
        &self,
        caller: &Caller,
        new: CreateAccount,
        attempt: Option<Attempt>,
    ) -> Result<Once<MadeAccount>> {
        let (password, generated) = if let Some(password) = new.password {
            (password, None)
        } else {
            let made = generate_password(&*self.core.random)?;
            (NewPassword::parse(made.clone())?, Some(made))
        };
        let new = NewAccount {
            id: AccountId(self.core.random.uuid()?),
            name: new.name,
            password_hash: self.core.hash(caller, &password).await?,
            refresh_id: self.core.random.uuid()?,
            roles: distinct(new.roles),
            status: new.status,
            description: new.description,
            at: self.core.clock.now(),
        };
        let name = new.name.clone();
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, None)?,
        );
        let once = self
            .core
            .write(caller, Lock::Catalog, move |connection, actor| {
                actor.permissions.require(Resource::Access, Level::Write)?;
                require_roles(connection, actor, None, &new.roles)?;
                require_unbounded(policy.bound(actor))?;
                if let Some(kept) = claim.recall(connection, actor)? {
                    let found = table::find(connection, AccountId(kept.id))?;
                    let (account, _) = kept.still(What::Account, found, Account::tag)?;
                    return Ok(Done::nothing(Once::earlier(account)));
                }
                table::insert(connection, &new)?;
                let account = find(connection, new.id)?;
                claim.keep(connection, actor, new.id.0, account.tag())?;
                let change = audit::Change::created(&account);
                Ok(Done::told(Once::now(account), change))
            })
            .await;
        let find = move |connection: &mut Session, actor: &Actor| {
            actor.permissions.require(Resource::Access, Level::Read)?;
            let found = table::login(connection, name.as_str())?;
            Ok(found.map(|found| found.id.0))
        };
        let once = self.core.naming_holder(caller, once, find).await?;
        Ok(Once {
            value: MadeAccount {
                account: once.value,
                password: generated.filter(|_| !once.repeated),
            },
            repeated: once.repeated,
        })
    }

    /// Changes the fields that the patch names, and ends the account's other credentials if that is wanted. A request
    /// that changes nothing leaves no trace; a password always changes.
    pub async fn update(
        &self,
        caller: &Caller,
        id: AccountId,
        patch: AccountPatch,
        tokens: IssuedTokens,
        condition: Precondition,
    ) -> Result<Account> {
        let password_hash = match &patch.password {
            Some(password) => Some(self.core.hash(caller, password).await?),
            None => None,
        };
        let (name, roles, status) = (patch.name, patch.roles.map(distinct), patch.status);
        let description = patch.description;
        let refresh_id = self.core.random.uuid()?;
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        // A password in wrong hands has to be changed at once.
        let ends = tokens == IssuedTokens::Revoke
            || password_hash.is_some()
            || status == Some(Status::Disabled);
        let gives = roles.is_some() || status == Some(Status::Enabled) || !description.is_keep();
        let urgency = Urgency::of_an_end(ends && !gives);
        self.core
            .change(caller, urgency, Lock::Catalog, move |connection, actor| {
                actor.permissions.require(Resource::Access, Level::Write)?;
                let account = find(connection, id)?;
                require_account(connection, actor, &account)?;
                condition.require(What::Account, Some(account.tag()))?;
                if let Some(name) = name.as_ref().filter(|name| **name != account.name) {
                    return Err(Error::invalid(
                        Field::Name,
                        format!(
                            "\"name\" cannot be changed: this account is named {}, not {}",
                            quoted(&account.name),
                            quoted(name)
                        ),
                    ));
                }
                let status = status.filter(|status| *status != account.status);
                let change = Change {
                    password_hash: password_hash.clone(),
                    roles: roles.clone().filter(|roles| *roles != account.roles),
                    status: status.map(|status| (status, refresh_id)),
                    description: description
                        .clone()
                        .unless_already(account.description.as_ref()),
                };
                let enables = status == Some(Status::Enabled);
                let mut roles = change.roles.iter().flatten();
                let gives = roles.any(|role| !account.roles.contains(role));
                if password_hash.is_some() || gives || enables {
                    require_unbounded(policy.bound(actor))?;
                }
                if let Some(roles) = &change.roles {
                    require_roles(connection, actor, Some(account.key), roles)?;
                }
                let ended = end_issued(connection, &account, tokens, Some(actor.id), now)?;
                if change.is_none() && !ended {
                    return Ok(Done::nothing(account));
                }
                if !change.is_none() {
                    keep_an_admin(connection, &account.name, |connection| {
                        table::update(connection, account.key, &change, now)
                    })?;
                }
                let after = find(connection, id)?;
                let told = account_change(&account, &after, &change, ended);
                Ok(Done::told(after, told))
            })
            .await
    }

    /// Deletes an account with its memberships. The things that it made stay and keep its name.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: AccountId,
        tokens: LiveTokens,
        condition: Precondition,
    ) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .end(caller, Lock::Catalog, move |connection, actor| {
                actor.permissions.require(Resource::Access, Level::Write)?;
                let account = find(connection, id)?;
                require_account(connection, actor, &account)?;
                condition.require(What::Account, Some(account.tag()))?;
                remove(connection, &account, tokens, Some(actor.id), now)?;
                Ok(Done::told((), audit::Change::deleted(&account)))
            })
            .await
    }
}

pub(super) fn find(connection: &mut Session, id: AccountId) -> Result<Account> {
    table::find(connection, id)?.ok_or_else(|| Error::not_found(What::Account, id))
}

/// Refuses to give an account a password, roles or a membership, or to enable it, on behalf of an API token that bounds
/// the life of all that it makes: accounts have no end.
pub(super) fn require_unbounded(bound: Option<DateTime<Utc>>) -> Result<()> {
    bound.map_or(Ok(()), |_| {
        Err(Error::Forbidden(
            "the change to the account would outlast this API token; send the request with a password"
                .to_owned(),
        ))
    })
}

/// The rights of an account with these roles, and those of the actor. Both leave memberships out if the actor may do
/// everything on every registry.
fn holdings(
    connection: &mut Session,
    actor: &Actor,
    permissions: Permissions,
    account: Option<AccountKey>,
) -> Result<(Holdings, Holdings)> {
    let every = actor.permissions.on(None).is_full();
    let mut of = |key: Option<AccountKey>| match key.filter(|_| !every) {
        Some(key) => {
            let found = members::of_account(connection, key)?.into_iter();
            Result::Ok(found.map(|(key, _, level)| (key, level)).collect())
        }
        None => Ok(Vec::new()),
    };
    let theirs = Holdings {
        permissions,
        memberships: of(account)?,
    };
    let held = Holdings {
        permissions: actor.permissions.clone(),
        memberships: of(Some(actor.key))?,
    };
    Ok((theirs, held))
}

/// Refuses to give roles to an account, present or new, that would then hold more than the actor.
fn require_roles(
    connection: &mut Session,
    actor: &Actor,
    account: Option<AccountKey>,
    roles: &[String],
) -> Result<()> {
    let given = table::permissions_of_roles(connection, roles)?;
    let (theirs, held) = holdings(connection, actor, given, account)?;
    obtain(&theirs, &held)
}

/// Refuses to touch an account that holds more than the actor. The rule against escalation asks for less, and lets
/// everybody narrow what they may write. But others rely on an account, so disabling or deleting it needs as much as
/// taking it over.
pub(super) fn require_account(
    connection: &mut Session,
    actor: &Actor,
    account: &Account,
) -> Result<()> {
    let standing = table::standing(connection, account.key)?;
    let theirs = standing.map(|standing| standing.actor.permissions);
    let theirs = theirs.unwrap_or_default();
    let (theirs, held) = holdings(connection, actor, theirs, Some(account.key))?;
    obtain(&theirs, &held)
}
