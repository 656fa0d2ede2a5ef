//! API tokens: made, listed, revoked, and the identity of a caller that comes with one.
//!
//! Owns the permissions that each operation needs and the order of checks: the caller first, then its permissions, then
//! its wish. Refuses to know how a token is signed and how faults are worded.

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::access::{Caller, confined};
use super::api_keys::ApiKeys;
use super::core::Length;
use super::core::{Core, Done};
use crate::domain::account::Actor;
use crate::domain::api_token::{ApiToken, Wish, allowed_roles};
use crate::domain::audit::Change;
use crate::domain::id::ApiTokenId;
use crate::domain::permission::{Level, Resource};
use crate::domain::role::Role;
use crate::error::{Error, Result, What};
use crate::store::{Lock, Session, api_tokens as table, roles};

/// A new token with its secret, which is never shown again.
#[derive(Debug)]
pub struct Generated {
    /// The stored part of it.
    pub token: ApiToken,
    /// The token itself.
    pub secret: SecretString,
}

/// The identity of a caller.
#[derive(Debug, Clone)]
pub struct Whoami {
    /// The account, and the token that it came with.
    pub actor: Actor,
    /// The roles: of the token, if it came with one, else of the account.
    pub roles: Vec<Role>,
}

/// API token use cases.
#[derive(Debug)]
pub struct ApiTokens<'a> {
    core: &'a Core,
}

impl<'a> ApiTokens<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Makes a token within the caller's own permissions.
    pub async fn generate(&self, caller: &Caller, wish: Wish) -> Result<Generated> {
        let keys = ApiKeys::new(self.core);
        // First, so that no row is kept of a token that cannot be signed.
        keys.prepare().await?;
        let now = self.core.clock.now();
        let id = ApiTokenId(self.core.random.uuid_at(now)?);
        let (bounded, caps) = (self.core.policy.bounded_delegation, self.core.policy.caps);
        let made = self
            .core
            // Guards the count of tokens and the deletion of accounts: no account goes while a token of it is made.
            .write(caller, Lock::Catalog, move |connection, actor| {
                let permissions = &actor.permissions;
                permissions.require(Resource::Access, Level::Read)?;
                permissions.require(Resource::Integration, Level::Write)?;
                let known = roles::named(connection, &wish.roles()?)?;
                let new = wish.clone().grant(id, actor, &known, bounded, now)?;
                caps.admit_api_token(table::count_in_force(connection, now)?)?;
                table::insert(connection, &new)?;
                let change = Change::created(&new.token);
                Ok(Done::told(new, change))
            })
            .await?;
        tracing::info!(
            id = %made.token.id,
            name = ?made.token.name,
            roles = ?made.token.roles,
            by = ?made.created.by_name,
            expires = %made.token.expires_at,
            "an API token was created"
        );
        Ok(Generated {
            secret: keys.sign(&made.token).await?,
            token: made.token,
        })
    }

    /// Every token, or only the revoked or the unrevoked ones, as `present` transforms them on the reader's thread.
    ///
    /// The list has no pages, so few are read at once.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if too many of those lists wait already; the error of `present`.
    pub async fn list<P, F>(&self, caller: &Caller, revoked: Option<bool>, present: F) -> Result<P>
    where
        P: Send + 'static,
        F: Fn(&mut dyn Iterator<Item = ApiToken>) -> Result<P> + Clone + Send + 'static,
    {
        self.core
            .read_list(caller, Length::Long, move |connection, actor| {
                actor
                    .permissions
                    .require(Resource::Integration, Level::Read)?;
                table::list(connection, revoked, &present)
            })
            .await
    }

    /// One token, by its id as the caller has it. A malformed id is that of no token.
    pub async fn show(&self, caller: &Caller, id: String) -> Result<ApiToken> {
        self.core
            .read(caller, move |connection, actor| {
                actor
                    .permissions
                    .require(Resource::Integration, Level::Read)?;
                find(connection, &id)
            })
            .await
    }

    /// Revokes a token: it fails from the next request on. A token that is already revoked or expired is no error.
    pub async fn revoke(&self, caller: &Caller, id: String) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .end(caller, Lock::Nothing, move |connection, actor| {
                actor
                    .permissions
                    .require(Resource::Integration, Level::Write)?;
                let token = find(connection, &id)?;
                if token.revoked {
                    return Ok(Done::nothing(()));
                }
                table::revoke(connection, token.id, Some(actor.id), now)?;
                Ok(Done::told((), Change::revoked(&token)))
            })
            .await
    }

    /// The roles of which the caller may make tokens.
    pub async fn allowed_roles(&self, caller: &Caller) -> Result<Vec<String>> {
        self.core
            .read(caller, |connection, actor| {
                actor.permissions.require(Resource::Access, Level::Read)?;
                Ok(allowed_roles(&roles::list(connection)?, &actor.permissions))
            })
            .await
    }

    /// The identity of the caller.
    pub async fn whoami(&self, caller: &Caller) -> Result<Whoami> {
        self.core
            .read(caller, |connection, actor| {
                if actor.confined().is_some() {
                    return Err(confined());
                }
                let roles = match &actor.bearer {
                    Some(bearer) => bearer.roles.clone(),
                    None => roles::of_account(connection, actor.key)?,
                };
                Ok(Whoami {
                    actor: actor.clone(),
                    roles,
                })
            })
            .await
    }
}

/// A token by its id as a caller has it. A malformed id is that of no token.
fn find(connection: &mut Session, id: &str) -> Result<ApiToken> {
    let found = match ApiTokenId::parse(id) {
        Ok(id) => table::find(connection, id)?,
        Err(_) => None,
    };
    // Registry API tokens are unknown to StackRox's clients, and no business of theirs.
    found
        .filter(|found| found.confinement.is_none())
        .map(|found| found.token)
        .ok_or_else(|| Error::not_found(What::ApiToken, id))
}

impl Whoami {
    /// When it ends; never for a password.
    #[must_use]
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.actor.bearer.as_ref().map(|bearer| bearer.expires_at)
    }
}
