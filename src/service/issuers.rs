//! Issuers: services whose JWTs a registry can trust. They are the service's, not a registry's.

use std::sync::Arc;

use super::access::Caller;
use super::core::{Core, Done, Put, Urgency};
use super::idempotency::{Once, StoredAnswer};
use super::issuer_key_set::KeySet;
use super::policy::Policy;
use crate::domain::account::Actor;
use crate::domain::audit::Change;
use crate::domain::escalation::{Holder, change, obtain};
use crate::domain::id::IssuerId;
use crate::domain::idempotency::Attempt;
use crate::domain::issuer::{Issuer, IssuerPatch, ListedIssuer, NewIssuer, admit_issuer};
use crate::domain::key_source::KeySource;
use crate::domain::membership::Rights;
use crate::domain::page::Window;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::{Look, Precondition};
use crate::error::{Error, Field, Result, What};
use crate::store::{Lock, Session, issuers as table, trusts};

/// An issuer as a caller may see it.
#[derive(Debug, Clone)]
pub struct SeenIssuer {
    /// The issuer.
    pub issuer: Issuer,
    /// False for a caller that may know its id, URL, kind and status alone.
    pub whole: bool,
}

/// A page of issuers.
#[derive(Debug, Clone)]
pub struct IssuerPage {
    /// In creation order.
    pub issuers: Vec<ListedIssuer>,
    /// False for a caller that may know their ids, URLs, kinds and statuses alone.
    pub whole: bool,
    /// All issuers.
    pub total: i64,
}

/// The treatment of the trusts of an issuer that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveTrusts {
    /// The issuer is not deleted.
    Refuse,
    /// They are deleted too.
    Delete,
}

/// Issuer use cases.
#[derive(Debug)]
pub struct Issuers<'a> {
    core: &'a Core,
}

impl<'a> Issuers<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A page of issuers.
    pub async fn list(&self, caller: &Caller, window: Window) -> Result<IssuerPage> {
        self.core
            .read(caller, move |connection, actor| {
                let whole = sight(actor)?;
                let (issuers, total) =
                    connection.snapshot(|connection| table::page(connection, window))?;
                Ok(IssuerPage {
                    issuers,
                    whole,
                    total,
                })
            })
            .await
    }

    /// One issuer.
    pub async fn show(
        &self,
        caller: &Caller,
        id: IssuerId,
        condition: Precondition,
    ) -> Result<Look<SeenIssuer>> {
        self.core
            .read(caller, move |connection, actor| {
                let whole = sight(actor)?;
                let issuer = find(connection, id)?;
                condition.look(What::Issuer, issuer.tag(), SeenIssuer { issuer, whole })
            })
            .await
    }

    /// Makes an issuer, once for a request that may come again.
    pub async fn create(
        &self,
        caller: &Caller,
        new: NewIssuer,
        attempt: Option<Attempt>,
    ) -> Result<Once<Issuer>> {
        let now = self.core.clock.now();
        let id = IssuerId(self.core.random.uuid_at(now)?);
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, None)?,
        );
        let url = new.url.clone();
        let made = self
            .core
            .write(caller, Lock::Catalog, move |connection, actor| {
                let holder = writer(actor, &policy)?;
                if let Some(kept) = claim.recall(connection, actor)? {
                    let issuer = again(connection, &holder, kept)?;
                    return Ok(Done::nothing(Once::earlier(issuer)));
                }
                let mut issuer = new.clone().made(id, &actor.stamp(now))?;
                require_usable(&issuer.keys)?;
                insert(connection, &holder, &mut issuer)?;
                claim.keep(connection, actor, id.0, issuer.tag())?;
                let change = Change::created(&issuer);
                Ok(Done::told(Once::now(issuer), change))
            })
            .await;
        self.naming_holder(caller, url.as_str().to_owned(), made)
            .await
    }

    /// Adds to a conflict of URLs the id of the issuer that has the URL.
    async fn naming_holder<T>(
        &self,
        caller: &Caller,
        url: String,
        outcome: Result<T>,
    ) -> Result<T> {
        let find = move |connection: &mut Session, actor: &Actor| {
            sight(actor)?;
            let found = table::named(connection, &url)?;
            Ok(found.map(|found| found.id.0))
        };
        self.core.naming_holder(caller, outcome, find).await
    }

    /// Makes an issuer with a given id, once for a request that may come again, or replaces the one that has it.
    pub async fn replace(
        &self,
        caller: &Caller,
        id: IssuerId,
        new: NewIssuer,
        condition: Precondition,
        attempt: Option<Attempt>,
    ) -> Result<Put<Once<Issuer>, Issuer>> {
        let now = self.core.clock.now();
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, None)?,
        );
        let url = new.url.clone();
        let put = self
            .core
            .write(caller, Lock::Catalog, move |connection, actor| {
                let holder = writer(actor, &policy)?;
                // Before the condition: the first request's own change must not make its repeat fail.
                if let Some(kept) = claim.recall(connection, actor)? {
                    let issuer = again(connection, &holder, kept)?;
                    return Ok(Done::nothing(Put::Created(Once::earlier(issuer))));
                }
                let found = table::find(connection, id)?;
                condition.require(What::Issuer, found.as_ref().map(Issuer::tag))?;
                let Some(mut issuer) = found else {
                    let mut issuer = new.clone().made(id, &actor.stamp(now))?;
                    require_usable(&issuer.keys)?;
                    insert(connection, &holder, &mut issuer)?;
                    claim.keep(connection, actor, id.0, issuer.tag())?;
                    let change = Change::created(&issuer);
                    return Ok(Done::told(Put::Created(Once::now(issuer)), change));
                };
                let before = issuer.clone();
                if !issuer.replace(new.clone())? {
                    return Ok(Done::nothing(Put::Replaced(issuer)));
                }
                require_usable(&issuer.keys)?;
                change(&before, &issuer, &holder)?;
                table::update(connection, &mut issuer, actor.stamp(now))?;
                let change = Change::updated(&before, &issuer);
                Ok(Done::told(Put::Replaced(issuer), change))
            })
            .await;
        self.naming_holder(caller, url.as_str().to_owned(), put)
            .await
    }

    /// Changes the fields that the patch names. A patch that changes nothing leaves no trace.
    pub async fn update(
        &self,
        caller: &Caller,
        id: IssuerId,
        patch: IssuerPatch,
        condition: Precondition,
    ) -> Result<Issuer> {
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        let urgency = Urgency::of_an_end(patch.only_disables());
        self.core
            .change(caller, urgency, Lock::Catalog, move |connection, actor| {
                let holder = writer(actor, &policy)?;
                let mut issuer = find(connection, id)?;
                condition.require(What::Issuer, Some(issuer.tag()))?;
                let before = issuer.clone();
                if !issuer.update(patch.clone())? {
                    return Ok(Done::nothing(issuer));
                }
                require_usable(&issuer.keys)?;
                change(&before, &issuer, &holder)?;
                table::update(connection, &mut issuer, actor.stamp(now))?;
                let change = Change::updated(&before, &issuer);
                Ok(Done::told(issuer, change))
            })
            .await
    }

    /// Deletes an issuer, with its trusts if that is wanted.
    ///
    /// # Errors
    ///
    /// [`Error::Unsuited`] if it has trusts, and they are not to be deleted.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: IssuerId,
        live: LiveTrusts,
        condition: Precondition,
    ) -> Result<()> {
        let policy = Arc::clone(&self.core.policy);
        self.core
            // New trusts take the same lock.
            .end(caller, Lock::Catalog, move |connection, actor| {
                writer(actor, &policy)?;
                let issuer = find(connection, id)?;
                condition.require(What::Issuer, Some(issuer.tag()))?;
                let count = trusts::count_of_issuer(connection, issuer.key)?;
                if count > 0 && live == LiveTrusts::Refuse {
                    return Err(has_trusts(count));
                }
                trusts::delete_of_issuer(connection, issuer.key)?;
                table::delete(connection, issuer.key)?;
                let mut change = Change::deleted(&issuer);
                if count > 0 {
                    change.beside.insert("trusts".to_owned(), count.into());
                }
                Ok(Done::told((), change))
            })
            .await
    }
}

/// The refusal to delete an issuer with trusts.
#[must_use]
pub fn has_trusts(count: i64) -> Error {
    Error::Unsuited(format!(
        "trusts of this issuer: {count}; delete them first, or send deleteTrusts=true to delete them with it"
    ))
}

/// Refuses a caller that may see no registry. Returns true if the caller may see all of an issuer.
fn sight(actor: &Actor) -> Result<bool> {
    let permissions = &actor.permissions;
    let whole = permissions.allow(Resource::Administration, Level::Read);
    if !whole {
        // A trust names its issuer by the id.
        permissions.require_somewhere(Resource::Registry, Level::Read)?;
    }
    Ok(whole)
}

/// Refuses a caller that may write no issuers. Returns the rights that the caller has on every registry.
fn writer(actor: &Actor, policy: &Policy) -> Result<Holder<Rights>> {
    let permissions = &actor.permissions;
    permissions.require(Resource::Administration, Level::Write)?;
    Ok(policy.holder(actor, permissions.on(None)))
}

/// Refuses pasted keys none of which can check a signature.
fn require_usable(keys: &KeySource) -> Result<()> {
    let KeySource::Inline(jwks) = keys else {
        return Ok(());
    };
    KeySet::read(jwks.as_str().as_bytes())
        .map(drop)
        .map_err(|why| Error::invalid(Field::Jwks, format!("jwks cannot be used: {why}")))
}

fn find(connection: &mut Session, id: IssuerId) -> Result<Issuer> {
    table::find(connection, id)?.ok_or_else(|| Error::not_found(What::Issuer, id))
}

fn insert(connection: &mut Session, holder: &Holder<Rights>, issuer: &mut Issuer) -> Result<()> {
    obtain(issuer, holder)?;
    admit_issuer(table::count(connection)?)?;
    table::insert(connection, issuer)
}

/// The issuer that the same request made before.
fn again(connection: &mut Session, holder: &Holder<Rights>, kept: StoredAnswer) -> Result<Issuer> {
    let found = table::find(connection, IssuerId(kept.id))?;
    let (issuer, _) = kept.still(What::Issuer, found, Issuer::tag)?;
    obtain(&issuer, holder)?;
    Ok(issuer)
}
