//! Registry tokens: made, shown, changed and removed within their registry.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use uuid::Uuid;

use super::access::Caller;
use super::core::{Core, Done, Length, Put, Urgency};
use super::idempotency::{Claim, Once, StoredAnswer};
use super::visible::visible;
use crate::domain::Attribution;
use crate::domain::account::Actor;
use crate::domain::audit::{Change, Kind};
use crate::domain::escalation::{Holder, change, obtain};
use crate::domain::evaluation::{Evaluation, Question, evaluate};
use crate::domain::id::{RegistryId, TokenId};
use crate::domain::idempotency::Attempt;
use crate::domain::membership::Rights;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::{Look, Precondition};
use crate::domain::rotation::Grace;
use crate::domain::scope_warning::{ScopeWarning, scope_warnings};
use crate::domain::secret::{self, SecretKind};
use crate::domain::status::Status;
use crate::domain::tenant::TokenRules;
use crate::domain::token::{NewToken, Token, TokenName, TokenPatch, VerbatimScopes};
use crate::domain::token_scope::Scope;
use crate::error::{Error, Result, What};
use crate::store::credentials::{self, NewSecret};
use crate::store::joined::{self, SeenToken};
use crate::store::tokens as table;
use crate::store::{Lock, Session, Transaction, members};

/// A token just made, with the secret that is never shown again.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub token: Token,
    /// Its secret.
    pub secret: SecretString,
}

impl Minted {
    /// The time when its secret was made. The answer shows the token as of then.
    #[must_use]
    pub fn at(&self) -> DateTime<Utc> {
        minted_at(&self.token)
    }
}

/// A token as a request found it: with its secret, if a repeated request made it before.
type Found = (Token, Option<SecretString>);

/// The answer for a found token, with the secret made for this request if there was none before.
fn shown((token, earlier): Found, secret: SecretString) -> Once<Minted> {
    match earlier {
        Some(secret) => Once::earlier(Minted { token, secret }),
        None => Once::now(Minted { token, secret }),
    }
}

/// Keeps a token for a repeat of the request that it was made for.
fn hold(connection: &mut Session, actor: &Actor, claim: &Claim, token: &Token) -> Result<()> {
    claim.keep(
        connection,
        actor,
        token.id.0,
        token.tag_at(minted_at(token)),
    )
}

fn minted_at(token: &Token) -> DateTime<Utc> {
    token.modified.as_ref().unwrap_or(&token.created).at
}

/// The token and secret that the same request minted before, as they were then, if the actor still holds all its
/// rights. The audit trail records that its secret is shown again.
fn again(
    connection: &mut Session,
    (registry, home): (RegistryId, TokenRules),
    holder: &Holder<Rights>,
    kept: StoredAnswer,
) -> Result<Done<Found>> {
    let found = table::find(connection, home, TokenId(kept.id))?.map(|token| Token {
        // It was not used then.
        last_used: None,
        ..token
    });
    let tag = |token: &Token| token.tag_at(minted_at(token));
    let (token, secret) = kept.still(What::Token, found, tag)?;
    obtain(&token.grant(), holder)?;
    let secret = secret.ok_or_else(|| Error::internal("no secret was kept of a token"))?;
    let change = Change::revealed(&token).within(registry);
    Ok(Done::told((token, Some(secret)), change))
}

/// Token use cases.
#[derive(Debug)]
pub struct Tokens<'a> {
    pub(super) core: &'a Core,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Makes a token, once for a request that may come again.
    pub async fn create(
        &self,
        caller: &Caller,
        registry: RegistryId,
        new: NewToken,
        attempt: Option<Attempt>,
    ) -> Result<Once<Minted>> {
        let now = self.core.clock.now();
        let id = TokenId(self.core.random.uuid_at(now)?);
        let (secret, stored) = self.mint(id)?;
        let refresh_id = self.core.random.uuid()?;
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, Some(&secret))?,
        );
        let (caps, name) = (policy.caps, new.name.clone());
        let found = self
            .core
            .write(caller, Lock::Tokens(registry), move |connection, actor| {
                let (home, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Write)?;
                let holder = policy.holder(actor, rights);
                if let Some(kept) = claim.recall(connection, actor)? {
                    return again(connection, (registry, home), &holder, kept);
                }
                let mut new = new.clone();
                new.settle(home.lives.within(policy.lives), now)?;
                obtain(&new.grant(), &holder)?;
                let (kept, stamp) = ((&stored, refresh_id), actor.stamp(now));
                let token = table::insert(connection, home, id, &new, kept, &stamp, caps)?;
                hold(connection, actor, &claim, &token)?;
                let change = Change::created(&token).within(registry);
                Ok(Done::told((token, None), change))
            })
            .await;
        let found = self.naming_holder(caller, registry, name, found).await?;
        Ok(shown(found, secret))
    }

    /// Adds to a conflict of names the id of the token that has the name.
    async fn naming_holder<T>(
        &self,
        caller: &Caller,
        registry: RegistryId,
        name: TokenName,
        outcome: Result<T>,
    ) -> Result<T> {
        let find = move |connection: &mut Session, actor: &Actor| {
            let found = members::home(connection, registry, actor.key)?;
            let (home, rights) = visible(actor, registry, found)?;
            rights.require(Resource::Token, Level::Read)?;
            let found = credentials::credential_named(connection, home, name.as_str())?;
            Ok(found.map(|found| found.id.0))
        };
        self.core.naming_holder(caller, outcome, find).await
    }

    /// One token.
    pub async fn show(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TokenId,
        condition: Precondition,
    ) -> Result<Look<Token<VerbatimScopes>>> {
        let now = self.core.clock.now();
        self.core
            .read_joined(
                caller,
                Length::Short,
                move |connection, account| joined::token(connection, account, registry, id),
                move |_, actor, found| {
                    let (home, token) = found.unzip();
                    let (_, rights) = visible(actor, registry, home)?;
                    rights.require(Resource::Token, Level::Read)?;
                    let token = token.flatten();
                    let token = token.ok_or_else(|| Error::not_found(What::Token, id))?;
                    condition.look(What::Token, token.tag_at(now), token)
                },
            )
            .await
    }

    /// The access that a token would be granted now, with the reasons. Grants nothing and leaves no trace.
    pub async fn evaluate(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TokenId,
        question: Question,
    ) -> Result<Evaluation> {
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        self.core
            .read(caller, move |connection, actor| {
                let found = members::tenant(connection, registry, actor.key)?;
                let (tenant, rights) = visible(actor, registry, found)?;
                rights.require(Resource::Token, Level::Read)?;
                let token = find(connection, tenant.home(), id)?;
                let closed = || token.closed_to(&tenant, question.address?);
                let unusable = tenant.shut().or_else(|| token.unusable_at(now));
                let unusable = unusable.or_else(closed);
                // Here and not in the worker: 100 scopes and 100 names take milliseconds.
                let domain = &policy.registry_domain;
                Ok(evaluate(&token.scopes, &question.wanted, unusable, domain))
            })
            .await
    }

    /// The scopes that grant nothing here.
    #[must_use]
    pub fn scope_warnings(&self, scopes: &[Scope]) -> Vec<ScopeWarning> {
        scope_warnings(scopes, &self.core.policy.registry_domain)
    }

    /// Makes a token with a given id, once for a request that may come again, or replaces the token that has the id. A
    /// token that is replaced keeps its name and its secret.
    pub async fn replace(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TokenId,
        new: NewToken,
        condition: Precondition,
        attempt: Option<Attempt>,
    ) -> Result<Put<Once<Minted>, Token>> {
        let (secret, stored) = self.mint(id)?;
        let refresh_id = self.core.random.uuid()?;
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        let (caps, claim) = (policy.caps, self.core.claim(attempt, Some(&secret))?);
        let name = new.name.clone();
        let put = self
            .core
            .write(caller, Lock::Tokens(registry), move |connection, actor| {
                let (home, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Write)?;
                // Before the condition: the first request's own change must not make its repeat fail.
                let holder = policy.holder(actor, rights);
                if let Some(kept) = claim.recall(connection, actor)? {
                    let done = again(connection, (registry, home), &holder, kept)?;
                    return Ok(done.map(Put::Created));
                }
                let found = table::find(connection, home, id)?;
                let tag = found.as_ref().map(|token| token.tag_at(now));
                condition.require(What::Token, tag)?;
                let lives = home.lives.within(policy.lives);
                let Some(before) = found else {
                    let mut new = new.clone();
                    new.settle(lives, now)?;
                    obtain(&new.grant(), &holder)?;
                    let (kept, stamp) = ((&stored, refresh_id), actor.stamp(now));
                    let token = table::insert(connection, home, id, &new, kept, &stamp, caps)?;
                    hold(connection, actor, &claim, &token)?;
                    let change = Change::created(&token).within(registry);
                    return Ok(Done::told(Put::Created((token, None)), change));
                };
                let replace = |token: &mut Token| token.replace(new.clone(), lives, now);
                let Some(mut token) = altered(&before, &holder, replace)? else {
                    return Ok(Done::nothing(Put::Replaced(before)));
                };
                let stamp = actor.stamp(now);
                let change = keep(connection, &before, &mut token, (stamp, refresh_id))?;
                Ok(Done::told(Put::Replaced(token), change.within(registry)))
            })
            .await;
        let put = self.naming_holder(caller, registry, name, put).await?;
        Ok(match put {
            Put::Created(found) => Put::Created(shown(found, secret)),
            Put::Replaced(token) => Put::Replaced(token),
        })
    }

    /// Changes the fields that the patch names. A patch that changes nothing leaves no trace.
    pub async fn update(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TokenId,
        patch: TokenPatch,
        condition: Precondition,
    ) -> Result<Token> {
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        let refresh_id = self.core.random.uuid()?;
        let urgency = Urgency::of_an_end(patch.only_disables());
        let find = move |connection: &mut Session, account| {
            joined::token(connection, account, registry, id)
        };
        let decide =
            move |actor: &Actor, found: Option<SeenToken>| -> Result<(Token, Option<Token>)> {
                let (home, token) = found.unzip();
                let (home, rights) = visible(actor, registry, home)?;
                rights.require(Resource::Token, Level::Write)?;
                let token = token.flatten();
                let token = token.ok_or_else(|| Error::not_found(What::Token, id))?;
                let before = table::with_scopes(token)?;
                condition.require(What::Token, Some(before.tag_at(now)))?;
                let (holder, lives) = (
                    policy.holder(actor, rights),
                    home.lives.within(policy.lives),
                );
                let update = |token: &mut Token| token.update(patch.clone(), lives, now);
                let altered = altered(&before, &holder, update)?;
                Ok((before, altered))
            };
        // Of PATCHes that change nothing there are many, and each would wait for the registry's lock behind other replicas.
        // One that ends something is never answered by reads alone.
        if self.core.store.has_replicas() && urgency == Urgency::Change {
            let (decide, changes) = (decide.clone(), Arc::clone(&self.core.changes));
            let instant = self.core.clock.instant();
            let settle = move |_: &mut Session, actor: &Actor, found| {
                let (before, altered) = decide(actor, found)?;
                // An account at its limit is told so, whether or not it would change something.
                let has_room = changes.require_room(actor.key, instant).is_ok();
                Ok((altered.is_none() && has_room).then_some(before))
            };
            let unchanged = self.core.read_joined(caller, Length::Short, find, settle);
            if let Some(token) = unchanged.await? {
                return Ok(token);
            }
        }
        self.core
            .change(
                caller,
                urgency,
                Lock::Tokens(registry),
                move |connection, actor| {
                    let found = find(connection, actor.key)?;
                    let found = found.and_then(|(_, found)| found);
                    let (before, altered) = decide(actor, found)?;
                    let Some(mut token) = altered else {
                        return Ok(Done::nothing(before));
                    };
                    let by = (actor.stamp(now), refresh_id);
                    let change = keep(connection, &before, &mut token, by)?;
                    Ok(Done::told(token, change.within(registry)))
                },
            )
            .await
    }

    /// Removes a token. Its secret opens nothing from now on; its name and id are free.
    pub async fn delete(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TokenId,
        condition: Precondition,
    ) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .end(caller, Lock::Tokens(registry), move |connection, actor| {
                let (home, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Write)?;
                let token = find(connection, home, id)?;
                condition.require(What::Token, Some(token.tag_at(now)))?;
                let change = remove(connection, home, &token)?;
                Ok(Done::told((), change.within(registry)))
            })
            .await
    }

    /// Gives a token a new secret. The old one goes on working for a grace period.
    pub async fn rotate(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TokenId,
        grace: Grace,
        condition: Precondition,
        attempt: Option<Attempt>,
    ) -> Result<Once<Minted>> {
        let (secret, stored) = self.mint(id)?;
        let claim = self.core.claim(attempt, Some(&secret))?;
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        let found = self
            .core
            .write(caller, Lock::Tokens(registry), move |connection, actor| {
                let (home, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Write)?;
                // Before the condition, and before another secret ends the one that the first request made.
                let holder = policy.holder(actor, rights);
                if let Some(kept) = claim.recall(connection, actor)? {
                    return again(connection, (registry, home), &holder, kept);
                }
                let mut token = find(connection, home, id)?;
                obtain(&token.grant(), &holder)?;
                condition.require(What::Token, Some(token.tag_at(now)))?;
                let before = token.clone();
                token.secrets.rotate(grace, now);
                table::rotate(connection, &mut token, &stored, actor.stamp(now))?;
                hold(connection, actor, &claim, &token)?;
                let change = Change {
                    kind: Kind::Rotate,
                    ..Change::updated(&before, &token)
                };
                // As in the answer to a repeat, which knows of no use.
                token.last_used = None;
                Ok(Done::told((token, None), change.within(registry)))
            })
            .await?;
        Ok(shown(found, secret))
    }

    /// Ends the secret before a token's current one. If there is none, or it has ended, this leaves no trace.
    pub async fn end_previous_secret(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TokenId,
        condition: Precondition,
    ) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .end(caller, Lock::Tokens(registry), move |connection, actor| {
                let (home, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Write)?;
                let mut token = find(connection, home, id)?;
                condition.require(What::Token, Some(token.tag_at(now)))?;
                // A secret that is only too old now would come back when its registry allows a longer life.
                let previous = token.secrets.previous;
                if previous.is_none_or(|previous| previous.until <= now) {
                    return Ok(Done::nothing(()));
                }
                let before = token.clone();
                table::end_previous(connection, &mut token, actor.stamp(now))?;
                let change = Change::updated(&before, &token).within(registry);
                Ok(Done::told((), change))
            })
            .await
    }

    /// Makes a secret, and its form to store.
    fn mint(&self, id: TokenId) -> Result<(SecretString, NewSecret)> {
        let secret = secret::token_secret(self.core.random.bytes()?);
        let vault = &self.core.data_keys;
        let stored = NewSecret {
            digest: vault.digest(SecretKind::RegistryToken, id.0, &secret)?,
            lookup: vault.lookup(&secret)?,
        };
        Ok((secret, stored))
    }
}

/// A registry, and the actor's rights on it.
fn enter(
    transaction: &mut Transaction<'_>,
    actor: &Actor,
    id: RegistryId,
) -> Result<(TokenRules, Rights)> {
    visible(actor, id, transaction.home(id, actor.key)?)
}

fn find(connection: &mut Session, home: TokenRules, id: TokenId) -> Result<Token> {
    table::find(connection, home, id)?.ok_or_else(|| Error::not_found(What::Token, id))
}

/// A token after a change, or `None` if nothing changes.
///
/// # Errors
///
/// Those of the change, and of [`change`] if it widens the token beyond the rights of the holder.
pub(super) fn altered(
    before: &Token,
    holder: &Holder<Rights>,
    alter: impl FnOnce(&mut Token) -> Result<bool>,
) -> Result<Option<Token>> {
    let mut token = before.clone();
    if !alter(&mut token)? {
        return Ok(None);
    }
    change(&before.grant(), &token.grant(), holder)?;
    Ok(Some(token))
}

/// Removes a token.
pub(super) fn remove(
    transaction: &mut Transaction<'_>,
    home: TokenRules,
    token: &Token,
) -> Result<Change> {
    table::delete(transaction, home.key, token.id)?;
    Ok(Change::deleted(token))
}

/// Keeps a token that was [altered]. Disabling ends its refresh tokens, by another id for them.
pub(super) fn keep(
    connection: &mut Session,
    before: &Token,
    token: &mut Token,
    (stamp, refresh_id): (Attribution, Uuid),
) -> Result<Change> {
    table::update(connection, token, stamp)?;
    if before.status == Status::Enabled && token.status == Status::Disabled {
        table::end_refresh_tokens(connection, token, refresh_id)?;
    }
    Ok(Change::updated(before, token))
}
