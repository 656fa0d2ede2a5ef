//! Registry API tokens: made, listed, shown and revoked at their registry.
//!
//! Owns the rule for access to them: whoever manages the members of a registry sees and ends all, and makes them within
//! their rights; a member sees, ends and makes their own. An API token does so only if it manages members. What such a
//! token may do is read anew in each of its requests, by [`access`](super::access).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::access::Caller;
use super::api_keys::ApiKeys;
use super::core::{Core, Done};
use super::idempotency::Once;
use super::visible::visible;
use crate::domain::account::Actor;
use crate::domain::api_token::{ApiToken, ApiTokenRecord, NewApiToken, NewRegistryApiToken};
use crate::domain::audit::Change;
use crate::domain::escalation::obtain;
use crate::domain::id::{ApiTokenId, RegistryId, RegistryKey};
use crate::domain::idempotency::Attempt;
use crate::domain::issued::{IssuedFilter, IssuedKind, IssuedPage, IssuedToken};
use crate::domain::membership::Rights;
use crate::domain::page::Window;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::{Look, Precondition};
use crate::domain::registry_api_token::{ConfinedGrant, Confinement};
use crate::error::{Error, Result, What};
use crate::store::api_tokens::{self as table, CurrentToken};
use crate::store::issued::{self, Extent, Table};
use crate::store::{Lock, Session, members, registries};

/// A registry API token, with the token itself in the answer that made it.
#[derive(Debug)]
pub struct MadeRegistryApiToken {
    /// The stored part of it.
    pub token: IssuedToken,
    /// The token itself.
    pub secret: SecretString,
}

/// Registry API token use cases.
#[derive(Debug)]
pub struct RegistryApiTokens<'a> {
    core: &'a Core,
}

impl<'a> RegistryApiTokens<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Makes a token within the caller's own rights, once for a request that may come again.
    pub async fn create(
        &self,
        caller: &Caller,
        registry: RegistryId,
        new: NewRegistryApiToken,
        attempt: Option<Attempt>,
    ) -> Result<Once<MadeRegistryApiToken>> {
        let keys = ApiKeys::new(self.core);
        let now = self.core.clock.now();
        let id = ApiTokenId(self.core.random.uuid_at(now)?);
        let token = new.token(id, now);
        // First, so that the writer's thread signs nothing, and no row is kept of a token that cannot be signed.
        let secret = keys.sign(&token).await?;
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, Some(&secret))?,
        );
        let grant = ConfinedGrant {
            level: new.level,
            expires_at: token.expires_at,
        };
        let once = self
            .core
            .write(
                caller,
                // The account must not be deleted meanwhile.
                Lock::CatalogAndRegistry(registry),
                move |connection, actor| {
                    let (key, rights) = enter(connection, actor, registry)?;
                    if actor.bearer.is_some() {
                        rights.require(Resource::Access, Level::Write)?;
                    }
                    let manages = rights.allow(Resource::Access, Level::Write);
                    let holder = policy.holder(actor, rights);
                    if let Some(kept) = claim.recall(connection, actor)? {
                        obtain(&grant, &holder)?;
                        let id = ApiTokenId(kept.id);
                        let found = find(connection, Extent::of_registry(key), id, now).ok();
                        let tag = |token: &IssuedToken| token.tag_at(now);
                        let (token, secret) = kept.still(What::ApiToken, found, tag)?;
                        let change = Change::revealed(&recorded(&token));
                        return Ok(Done::told((token, secret), change));
                    }
                    new.check_end(now)?;
                    obtain(&grant, &holder)?;
                    let (all, own) = table::count_of_registry(connection, key, actor.key, now)?;
                    if !manages {
                        policy.caps.admit_own_registry_api_token(own)?;
                    }
                    policy.caps.admit_registry_api_token(all)?;
                    let new = NewApiToken {
                        token: token.clone(),
                        account: actor.key,
                        created: actor.stamp(now),
                        description: new.description.clone(),
                        confinement: Some(Confinement {
                            registry: key,
                            level: Some(new.level),
                        }),
                    };
                    table::insert(connection, &new)?;
                    let token = find(connection, Extent::of_registry(key), id, now)?;
                    claim.keep(connection, actor, id.0, token.tag_at(now))?;
                    let change = Change::created(&recorded(&token));
                    Ok(Done::told((token, None), change))
                },
            )
            .await?;
        let (token, earlier) = once;
        Ok(match earlier {
            Some(secret) => Once::earlier(MadeRegistryApiToken { token, secret }),
            None => Once::now(MadeRegistryApiToken { token, secret }),
        })
    }

    /// A page of a registry's tokens: all for whoever manages its members, else the caller's own.
    pub async fn list(
        &self,
        caller: &Caller,
        registry: RegistryId,
        window: Window,
    ) -> Result<IssuedPage> {
        let now = self.core.clock.now();
        self.core
            .read(caller, move |connection, actor| {
                let extent = extent(connection, actor, registry, Level::Read)?;
                let (meant, filter) = ((Table::ApiTokens, extent), IssuedFilter::default());
                connection
                    .snapshot(|connection| issued::page(connection, meant, &filter, window, now))
            })
            .await
    }

    /// One of these tokens.
    pub async fn show(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: ApiTokenId,
        condition: Precondition,
    ) -> Result<Look<IssuedToken>> {
        let now = self.core.clock.now();
        self.core
            .read(caller, move |connection, actor| {
                let extent = extent(connection, actor, registry, Level::Read)?;
                let token = connection.snapshot(|connection| find(connection, extent, id, now))?;
                condition.look(What::ApiToken, token.tag_at(now), token)
            })
            .await
    }

    /// Revokes a token: it fails from the next request on. A token that is already revoked or expired is no error.
    pub async fn revoke(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: ApiTokenId,
        condition: Precondition,
    ) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .end(caller, Lock::Nothing, move |connection, actor| {
                let extent = extent(connection, actor, registry, Level::Write)?;
                let token = find(connection, extent, id, now)?;
                condition.require(What::ApiToken, Some(token.tag_at(now)))?;
                if token.revoked {
                    return Ok(Done::nothing(()));
                }
                table::revoke(connection, id, Some(actor.id), now)?;
                Ok(Done::told((), Change::revoked(&recorded(&token))))
            })
            .await
    }
}

/// A registry, and the actor's rights on it.
fn enter(connection: &mut Session, actor: &Actor, id: RegistryId) -> Result<(RegistryKey, Rights)> {
    visible(actor, id, members::registry_key(connection, id, actor.key)?)
}

/// The tokens of a registry that the actor may see, or end.
fn extent(
    connection: &mut Session,
    actor: &Actor,
    registry: RegistryId,
    level: Level,
) -> Result<Extent> {
    let (key, rights) = enter(connection, actor, registry)?;
    let all = Extent::of_registry(key);
    if rights.allow(Resource::Access, level) {
        return Ok(all);
    }
    if actor.bearer.is_some() {
        rights.require(Resource::Access, level)?;
    }
    Ok(Extent {
        owner: Some(actor.key),
        ..all
    })
}

fn find(
    connection: &mut Session,
    extent: Extent,
    id: ApiTokenId,
    now: DateTime<Utc>,
) -> Result<IssuedToken> {
    let one = Extent {
        id: Some(id.0),
        ..extent
    };
    let window = Window {
        offset: 0,
        limit: 1,
    };
    let filter = IssuedFilter::default();
    let page = issued::page(connection, (Table::ApiTokens, one), &filter, window, now)?;
    let mut found = page.tokens.into_iter();
    found
        .next()
        .ok_or_else(|| Error::not_found(What::ApiToken, id))
}

/// A token as the audit trail records it.
fn recorded(token: &IssuedToken) -> ApiTokenRecord {
    let (roles, registry, level) = match &token.kind {
        IssuedKind::ApiToken(roles) => (roles.clone(), None, None),
        IssuedKind::RegistryApiToken {
            registry, level, ..
        } => (Vec::new(), Some(*registry), Some(*level)),
        IssuedKind::AppToken => (Vec::new(), None, None),
    };
    ApiTokenRecord {
        token: ApiToken {
            id: ApiTokenId(token.id),
            name: token.name.clone(),
            roles,
            issued_at: token.created.at,
            expires_at: token.expires_at.unwrap_or_default(),
            revoked: token.revoked,
        },
        registry,
        level,
    }
}

/// An API token of either kind as the audit trail records it.
pub(super) fn api_token_record(
    connection: &mut Session,
    found: &CurrentToken,
) -> Result<ApiTokenRecord> {
    let (registry, level) = match found.confinement {
        None => (None, None),
        Some(Confinement { registry, level }) => {
            (registries::find_id(connection, registry)?, level)
        }
    };
    Ok(ApiTokenRecord {
        token: found.token.clone(),
        registry,
        level,
    })
}

/// Returns true if the actor manages the members of a registry, and so sees and ends all of its API tokens.
pub(super) fn manages_members(
    connection: &mut Session,
    actor: &Actor,
    registry: RegistryKey,
) -> Result<bool> {
    let Some(id) = registries::find_id(connection, registry)? else {
        return Ok(false);
    };
    let entered = enter(connection, actor, id);
    Ok(entered.is_ok_and(|(_, rights)| rights.allow(Resource::Access, Level::Write)))
}
