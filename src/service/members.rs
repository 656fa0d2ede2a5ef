//! Members of registries: shown, made, changed and removed by owners, and by accounts that manage access.

use std::sync::Arc;

use super::access::Caller;
use super::account_rules::level_change;
use super::accounts::{find, require_unbounded};
use super::core::{Core, Done, Put};
use super::idempotency::Once;
use super::visible::visible;
use crate::domain::account::{Account, Actor};
use crate::domain::audit::Change;
use crate::domain::escalation::{Changeable as _, change, obtain};
use crate::domain::id::{AccountId, RegistryId, RegistryKey};
use crate::domain::idempotency::Attempt;
use crate::domain::membership::{Member, Membership, Rights};
use crate::domain::page::Window;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::Precondition;
use crate::domain::role::MemberRights;
use crate::error::{Error, Result, What};
use crate::store::{Lock, Session, accounts, members as table};

/// A page of members.
#[derive(Debug, Clone)]
pub struct MemberPage {
    /// In the order in which their accounts were made.
    pub members: Vec<Member>,
    /// All members of the registry.
    pub total: i64,
}

/// Member use cases.
#[derive(Debug)]
pub struct Members<'a> {
    core: &'a Core,
}

impl<'a> Members<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A page of a registry's members.
    pub async fn list(
        &self,
        caller: &Caller,
        registry: RegistryId,
        window: Window,
    ) -> Result<MemberPage> {
        self.core
            .read(caller, move |connection, actor| {
                let (key, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Access, Level::Read)?;
                let (members, total) =
                    connection.snapshot(|connection| table::page(connection, key, window))?;
                Ok(MemberPage { members, total })
            })
            .await
    }

    /// Makes an account a member, once for a request that may come again, or changes its level.
    pub async fn set(
        &self,
        caller: &Caller,
        registry: RegistryId,
        account: AccountId,
        level: Membership,
        condition: Precondition,
        attempt: Option<Attempt>,
    ) -> Result<Put<Once<Member>, Member>> {
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, None)?,
        );
        self.core
            .write(
                caller,
                // The account must not be deleted meanwhile.
                Lock::CatalogAndRegistry(registry),
                move |connection, actor| {
                    let (key, rights) = enter(connection, actor, registry)?;
                    rights.require(Resource::Access, Level::Write)?;
                    let account = find(connection, account)?;
                    let standing = accounts::standing(connection, account.key)?;
                    let theirs = standing.map(|standing| standing.actor.permissions);
                    let theirs = theirs.unwrap_or_default();
                    let given = MemberRights::of(&theirs, Some(level));
                    let before = table::level(connection, key, account.key)?;
                    let member = |level| member(key, &account, level);
                    // Before the condition: the first request's own change must not make its repeat fail.
                    if let Some(kept) = claim.recall(connection, actor)? {
                        obtain(&given, &rights)?;
                        let found = before.map(member);
                        let (member, _) = kept.still(What::Member, found, Member::tag)?;
                        return Ok(Done::nothing(Put::Created(Once::earlier(member))));
                    }
                    change(&MemberRights::of(&theirs, before), &given, &rights)?;
                    let tag = before.map(|level| member(level).tag());
                    condition.require(What::Member, tag)?;
                    if before.is_none() {
                        policy.caps.admit_member(table::count(connection, key)?)?;
                    }
                    if given.is_wider_than(&MemberRights::of(&theirs, before)) {
                        require_unbounded(policy.bound(actor))?;
                    }
                    if before != Some(level) {
                        table::set(connection, key, account.key, level)?;
                    }
                    let told = level_change(account.id, before, level);
                    let member = member(level);
                    let put = match before {
                        None => {
                            claim.keep(connection, actor, account.id.0, member.tag())?;
                            Put::Created(Once::now(member))
                        }
                        Some(_) => Put::Replaced(member),
                    };
                    Ok(Done::of(put, told.map(|told| told.within(registry))))
                },
            )
            .await
    }

    /// Ends a membership.
    pub async fn remove(
        &self,
        caller: &Caller,
        registry: RegistryId,
        account: AccountId,
        condition: Precondition,
    ) -> Result<()> {
        self.core
            .end(
                caller,
                Lock::CatalogAndRegistry(registry),
                move |connection, actor| {
                    let (key, rights) = enter(connection, actor, registry)?;
                    rights.require(Resource::Access, Level::Write)?;
                    let missing = || Error::not_found(What::Member, account);
                    let found = accounts::find(connection, account)?.ok_or_else(missing)?;
                    let level = table::level(connection, key, found.key)?.ok_or_else(missing)?;
                    condition.require(What::Member, Some(member(key, &found, level).tag()))?;
                    table::remove(connection, key, found.key)?;
                    let change = Change::deleted(&(found.id, level));
                    Ok(Done::told((), change.within(registry)))
                },
            )
            .await
    }
}

fn member(registry: RegistryKey, account: &Account, level: Membership) -> Member {
    Member {
        registry,
        key: account.key,
        account: account.id,
        name: account.name.clone(),
        status: account.status,
        level,
    }
}

/// A registry, and the actor's rights on it.
fn enter(connection: &mut Session, actor: &Actor, id: RegistryId) -> Result<(RegistryKey, Rights)> {
    visible(actor, id, table::registry_key(connection, id, actor.key)?)
}
