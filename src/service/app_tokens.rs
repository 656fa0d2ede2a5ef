//! App tokens: made, listed, shown again and deleted by the account that they belong to.
//!
//! Owns the rule for access to them: an account by its password, and an API token only if it has all the rights of its
//! account, since a code opens all that the account may open. Refuses to know how codes are presented to registries,
//! which is for [`grants`](super::grants), and how faults are worded.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};

use super::access::{Caller, confined};
use super::core::Length;
use super::core::{Core, Done};
use super::policy::Policy;
use crate::domain::account::Actor;
use crate::domain::app_token::{AppToken, Title, WholeAccount, lookup, notice};
use crate::domain::audit::{Change, Event, Kind, Outcome, SubjectKind};
use crate::domain::escalation::obtain;
use crate::domain::id::{AccountId, AppTokenId};
use crate::domain::permission::{Level, Resource};
use crate::domain::secret::{self, SecretKind};
use crate::domain::text::quoted;
use crate::error::{Error, Result, What};
use crate::store::app_tokens::{self as table, Ending, NewAppToken};
use crate::store::data_keys::Sealed;
use crate::store::{Lock, Session, members};

/// A token with its code.
#[derive(Debug)]
pub struct Revealed {
    /// The stored part of it.
    pub token: AppToken,
    /// The code; `None` if the operator wants codes shown only once, and this is later.
    pub code: Option<SecretString>,
}

/// App token use cases.
#[derive(Debug)]
pub struct AppTokens<'a> {
    core: &'a Core,
}

impl<'a> AppTokens<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Checks that the caller may make, see and delete app tokens now. For answers without other database reads.
    pub async fn admit(&self, caller: &Caller) -> Result<()> {
        let stale = is_stale(self.core, caller);
        self.core
            .read(caller, move |connection, actor| {
                enter(connection, actor, stale)
            })
            .await
    }

    /// The caller's tokens, oldest first, as `present` turns them into the answer on the reader's thread; with
    /// `expiring`, only those that end soon. An account has as many as the caps allow.
    pub async fn list<P, F>(&self, caller: &Caller, expiring: bool, present: F) -> Result<P>
    where
        P: Send + 'static,
        F: Fn(&mut dyn Iterator<Item = AppToken>) -> Result<P> + Clone + Send + 'static,
    {
        let ending = self.ending(expiring);
        self.core
            .read(caller, move |connection, actor| {
                enter(connection, actor, false)?;
                table::list(connection, Some(actor.key), ending, &present)
            })
            .await
    }

    /// Every account's tokens, oldest first, for callers who may read accounts, transformed by `present` likewise.
    ///
    /// The list has no pages, so few are read at once.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if too many of those lists wait already; the error of `present`.
    pub async fn list_all<P, F>(&self, caller: &Caller, expiring: bool, present: F) -> Result<P>
    where
        P: Send + 'static,
        F: Fn(&mut dyn Iterator<Item = AppToken>) -> Result<P> + Clone + Send + 'static,
    {
        let (ending, stale) = (self.ending(expiring), is_stale(self.core, caller));
        self.core
            .read_list(caller, Length::Long, move |connection, actor| {
                enter(connection, actor, stale)?;
                actor.permissions.require(Resource::Access, Level::Read)?;
                table::list(connection, None, ending, &present)
            })
            .await
    }

    /// Makes a token. The service sets its end.
    pub async fn create(&self, caller: &Caller, title: Title) -> Result<Revealed> {
        let (policy, vault) = (
            Arc::clone(&self.core.policy),
            Arc::clone(&self.core.data_keys),
        );
        let random = &self.core.random;
        let now = self.core.clock.now();
        let (id, nonce) = (AppTokenId(random.uuid_at(now)?), random.bytes()?);
        let code = secret::app_token_code(random.bytes()?);
        let digest = vault.digest(SecretKind::AppToken, id.0, &code)?;
        let stale = is_stale(self.core, caller);
        let secret = code.clone();
        let token = self
            .core
            // Guards the count of tokens and the deletion of accounts: no account goes while a token of it is made.
            .write(caller, Lock::Catalog, move |connection, actor| {
                enter(connection, actor, stale)?;
                let held = table::count(connection, actor.key)?;
                policy.caps.admit_app_token(held)?;
                let secret = secret.expose_secret();
                let context = context(id, actor.id);
                let sealed = policy
                    .app_token_reveal
                    .then(|| vault.seal_with(nonce, &context, secret.as_bytes()));
                let new = NewAppToken {
                    id,
                    account: actor.key,
                    title: title.clone(),
                    lookup: lookup(secret).to_owned(),
                    secret: digest.clone(),
                    code: sealed.transpose()?,
                    created_at: now,
                    expires_at: policy.app_token_end(now, actor),
                };
                table::insert(connection, &new)?;
                let token = AppToken::from(new);
                let change = Change::created(&token);
                Ok(Done::told(token, change))
            })
            .await?;
        Ok(Revealed {
            token,
            code: Some(code),
        })
    }

    /// One token of the caller's with its code, by its id as the caller has it. A malformed id is that of no token, and
    /// an expired token is not found.
    pub async fn show(&self, caller: &Caller, id: String) -> Result<Revealed> {
        let (policy, vault) = (
            Arc::clone(&self.core.policy),
            Arc::clone(&self.core.data_keys),
        );
        let (now, stale) = (self.core.clock.now(), is_stale(self.core, caller));
        let revealed: Revealed = self
            .core
            .read(caller, move |connection, actor| {
                enter(connection, actor, stale)?;
                let (token, sealed) = find(connection, actor, &id)?;
                if token.expires_at.is_some_and(|end| end <= now) {
                    return Err(missing(&id));
                }
                let end = policy.bound(actor);
                if end.is_some_and(|end| token.expires_at.is_none_or(|own| own > end)) {
                    return Err(Error::Forbidden(
                        "this app token outlasts the API token that asks for its code; ask with the account's \
                         password".to_owned(),
                    ));
                }
                let context = context(token.id, actor.id);
                let open = |sealed: Sealed| {
                    vault
                        .open_sealed(&context, &sealed)
                        .and_then(|code| Some(SecretString::from(str::from_utf8(&code).ok()?)))
                        .ok_or_else(|| Error::internal("the code of an app token does not open"))
                };
                let sealed = sealed.filter(|_| policy.app_token_reveal);
                let code = sealed.map(open).transpose()?;
                Ok(Revealed { token, code })
            })
            .await?;
        if revealed.code.is_some() {
            let subject = (SubjectKind::AppToken, Some(revealed.token.id.0));
            let event = Event::of(Kind::Reveal, Outcome::Success, subject, caller.by(), now);
            self.core
                .audit_buffer
                .count(event, self.core.clock.instant());
        }
        Ok(revealed)
    }

    /// Deletes a token of the caller's, expired or not: its code opens nothing from the next request on.
    pub async fn delete(&self, caller: &Caller, id: String) -> Result<()> {
        let stale = is_stale(self.core, caller);
        self.core
            .end(caller, Lock::Nothing, move |connection, actor| {
                enter(connection, actor, stale)?;
                let (token, _) = find(connection, actor, &id)?;
                table::delete(connection, actor.key, token.id)?;
                Ok(Done::told((), Change::deleted(&token)))
            })
            .await
    }

    /// The interval in which a token ends soon.
    fn ending(&self, expiring: bool) -> Option<Ending> {
        let now = self.core.clock.now();
        let until = now + notice(self.core.policy.app_token_life());
        expiring.then_some((now, until))
    }
}

impl Policy {
    fn app_token_life(&self) -> Option<TimeDelta> {
        TimeDelta::from_std(self.app_token_life?).ok()
    }

    fn app_token_end(&self, now: DateTime<Utc>, actor: &Actor) -> Option<DateTime<Utc>> {
        let life = self.app_token_life();
        let ends = [
            life.and_then(|life| now.checked_add_signed(life)),
            self.bound(actor),
        ];
        ends.into_iter().flatten().min()
    }
}

/// A token of the actor's by its id as they have it. A malformed id is that of no token.
fn find(connection: &mut Session, actor: &Actor, id: &str) -> Result<(AppToken, Option<Sealed>)> {
    let found = match AppTokenId::parse(id) {
        Ok(id) => table::find(connection, actor.key, id)?,
        Err(_) => None,
    };
    found.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Error {
    Error::not_found(What::AppToken, quoted(id))
}

/// The context that a code is sealed to: moved to another row or another account's, it does not open.
fn context(token: AppTokenId, owner: AccountId) -> String {
    format!("app-token/{token}/{owner}")
}

/// Refuses a caller that may not use app tokens. A code opens all that its account may open, so an API token must have
/// all the rights of the account.
pub(super) fn enter(connection: &mut Session, actor: &Actor, stale: bool) -> Result<()> {
    if actor.confined().is_some() {
        return Err(confined());
    }
    if actor.bearer.is_some() {
        let memberships = members::levels(connection, actor.key)?;
        let code = WholeAccount {
            memberships: &memberships,
        };
        obtain(&code, &actor.permissions)?;
    }
    if stale {
        return Err(Error::StaleLogin);
    }
    Ok(())
}

/// Returns true if the caller's session is too old to show or change codes.
pub(super) fn is_stale(core: &Core, caller: &Caller) -> bool {
    let fresh = TimeDelta::from_std(core.policy.fresh_login).unwrap_or(TimeDelta::MAX);
    caller
        .signed_in_at()
        .is_some_and(|at| core.clock.now() - at > fresh)
}
