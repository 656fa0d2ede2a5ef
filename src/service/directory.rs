//! Accounts, as those manage them whom a role permits to: over the API, on behalf of a caller.
//!
//! Owns that nobody gives more than they hold: roles, and the password of an account, which would open all that it
//! may do. What the operator of the machine may do without any caller is in `accounts`.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::access::Caller;
use super::accounts::{
    IssuedTokens, LiveTokens, account_change, distinct, end_issued, keep_an_admin, remove,
};
use super::idempotency::Once;
use super::{Core, Done};
use crate::domain::account::{Account, AccountPatch, Actor, CreateAccount, NewAccount};
use crate::domain::audit;
use crate::domain::id::AccountId;
use crate::domain::idempotency::Attempt;
use crate::domain::membership::Membership;
use crate::domain::page::Window;
use crate::domain::precondition::{Look, Precondition};
use crate::domain::role::{Level, Resource};
use crate::error::{Error, Result, What};
use crate::store::accounts::{self as table, Change};
use crate::store::{Lock, Session, members};

/// A page of accounts.
#[derive(Debug, Clone)]
pub struct AccountPage {
    /// In creation order.
    pub accounts: Vec<Account>,
    /// All accounts.
    pub total: i64,
}

/// Account use cases with a caller.
#[derive(Debug)]
pub struct Directory<'a> {
    core: &'a Core,
}

impl<'a> Directory<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A page of accounts.
    pub async fn list(&self, caller: &Caller, window: Window) -> Result<AccountPage> {
        self.core
            .read(caller, move |connection, actor| {
                actor.permissions.require(Resource::Access, Level::Read)?;
                let (accounts, total) =
                    connection.snapshot(|connection| table::page(connection, window))?;
                Ok(AccountPage { accounts, total })
            })
            .await
    }

    /// One account. Everybody may read their own.
    pub async fn show(
        &self,
        caller: &Caller,
        id: AccountId,
        condition: Precondition,
    ) -> Result<Look<Account>> {
        self.core
            .read(caller, move |connection, actor| {
                if id != actor.id {
                    actor.permissions.require(Resource::Access, Level::Read)?;
                }
                let account = find(connection, id)?;
                condition.look(What::Account, account.tag(), account)
            })
            .await
    }

    /// Makes an account, once for a request that may come again.
    pub async fn create(
        &self,
        caller: &Caller,
        new: CreateAccount,
        attempt: Option<Attempt>,
    ) -> Result<Once<Account>> {
        let new = NewAccount {
            id: AccountId(self.core.random.uuid()?),
            name: new.name,
            password_hash: self.core.hash(&new.password).await?,
            roles: distinct(new.roles),
            status: new.status,
            at: self.core.clock.now(),
        };
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, None)?,
        );
        self.core
            .write(caller, Lock::Catalog, move |connection, actor| {
                actor.permissions.require(Resource::Access, Level::Write)?;
                require_roles(connection, actor, &new.roles)?;
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
            .await
    }

    /// Changes what the patch names, and ends the account's other credentials if that is wanted. What changes nothing
    /// leaves no trace; a password always changes.
    pub async fn update(
        &self,
        caller: &Caller,
        id: AccountId,
        patch: AccountPatch,
        tokens: IssuedTokens,
        condition: Precondition,
    ) -> Result<Account> {
        let password_hash = match &patch.password {
            Some(password) => Some(self.core.hash(password).await?),
            None => None,
        };
        let (roles, status) = (patch.roles.map(distinct), patch.status);
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        self.core
            .write(caller, Lock::Catalog, move |connection, actor| {
                actor.permissions.require(Resource::Access, Level::Write)?;
                let account = find(connection, id)?;
                require_account(connection, actor, &account)?;
                condition.require(What::Account, Some(account.tag()))?;
                if password_hash.is_some() {
                    require_unbounded(policy.bound(actor))?;
                }
                let change = Change {
                    password_hash: password_hash.clone(),
                    roles: roles.clone().filter(|roles| *roles != account.roles),
                    status: status.filter(|status| *status != account.status),
                };
                if let Some(roles) = &change.roles {
                    require_roles(connection, actor, roles)?;
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

    /// Deletes an account with its memberships. What it made stays and keeps its name.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: AccountId,
        tokens: LiveTokens,
        condition: Precondition,
    ) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .write(caller, Lock::Catalog, move |connection, actor| {
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

/// Refuses to set a password, which never ends, on behalf of an API token that all has to end with.
fn require_unbounded(bound: Option<DateTime<Utc>>) -> Result<()> {
    bound.map_or(Ok(()), |_| {
        Err(Error::Forbidden(
            "a password would outlive the API token that it is set with; set it with a password"
                .to_owned(),
        ))
    })
}

/// Refuses to give roles that permit more than one has.
fn require_roles(connection: &mut Session, actor: &Actor, roles: &[String]) -> Result<()> {
    let given = table::permissions_of_roles(connection, roles)?;
    if actor.permissions.cover(&given) {
        return Ok(());
    }
    Err(Error::Forbidden(format!(
        "the roles {} permit more than yours; nobody gives more than they hold",
        roles.join(", ")
    )))
}

/// Refuses to touch an account that may do more than one may oneself: who sets its password can do all that it can.
fn require_account(connection: &mut Session, actor: &Actor, account: &Account) -> Result<()> {
    let theirs = table::standing(connection, account.key)?
        .map(|standing| standing.actor.permissions)
        .unwrap_or_default();
    let mut covered = actor.permissions.cover(&theirs);
    // Whoever may write everything everywhere covers every membership.
    if covered && !actor.permissions.on(None).cover(Membership::Owner) {
        let mine = members::of_account(connection, actor.key)?;
        for (registry, _, level) in members::of_account(connection, account.key)? {
            let own = mine.iter().find(|(key, ..)| *key == registry);
            let rights = actor.on(own.map(|(.., level)| *level));
            covered &= rights.cover(level);
        }
    }
    if covered {
        return Ok(());
    }
    Err(Error::Forbidden(format!(
        "{} may do more than you, by its roles or its memberships; only an account that may do as much can change it",
        account.name
    )))
}
