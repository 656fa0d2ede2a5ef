//! The caller's own account: what it is and may do now, and its password.
//!
//! Owns the rule that a new password takes the present one. Refuses to know how callers prove who they are.

use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::access::{Caller, Presented};
use super::account_rules::{IssuedTokens, account_change, end_issued};
use super::accounts::find;
use super::core::{Core, Done};
use super::sessions::SESSION_LIFE;
use crate::domain::account::{Account, Bearer, NewPassword, Sight};
use crate::domain::audit::Credential;
use crate::domain::membership::Rights;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::Precondition;
use crate::error::{Error, Field, Result, What};
use crate::store::accounts::{self as table, Change};
use crate::store::{Lock, members};

/// The most memberships that an identity names.
const MEMBERSHIPS: i64 = 100;

/// The caller, as it is now.
#[derive(Debug)]
pub struct Identity {
    /// The account.
    pub account: Account,
    /// The credential of the request.
    pub came_by: CameBy,
    /// The present level on each resource, everywhere and on registries of which the account is a member; through an API
    /// token what both the account and the token have.
    pub levels: Vec<(Resource, Option<Level>, Option<Level>)>,
    /// The rights of a registry API token on its registry now.
    pub confined: Option<Rights>,
    /// The first registries that the account is a member of, in creation order, with the rights there.
    pub memberships: Vec<(members::Belonging, Rights)>,
    /// The number of registries that it is a member of.
    pub membership_total: i64,
}

/// The credential of a request.
#[derive(Debug)]
pub enum CameBy {
    /// The account's password.
    Password,
    /// An API token.
    ApiToken(Bearer),
    /// A session.
    Session {
        /// The time of the sign-in.
        signed_in_at: DateTime<Utc>,
        /// The end, unless the account changes before.
        ends_at: DateTime<Utc>,
    },
}

/// A wish for another password.
#[derive(Debug, Clone)]
pub struct PasswordChange {
    /// The present password, as it was sent.
    pub present: SecretString,
    /// The new one.
    pub new: NewPassword,
}

/// Use cases of the caller's own account.
#[derive(Debug)]
pub struct Me<'a> {
    core: &'a Core,
}

impl<'a> Me<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// The identity of the caller. Every caller that is let in may see it.
    pub async fn show(&self, caller: &Caller) -> Result<Identity> {
        let signed_in_at = caller.signed_in_at();
        self.core
            .read(caller, move |connection, actor| {
                let mut account = find(connection, actor.id)?;
                let (memberships, membership_total) = match actor.sight() {
                    // The holder of the token need not know what else its maker may do.
                    Sight::One(_) | Sight::None => {
                        account.roles.clear();
                        (Vec::new(), 0)
                    }
                    Sight::All | Sight::Memberships => connection.snapshot(|connection| {
                        members::first_of_account(connection, actor.key, MEMBERSHIPS)
                    })?,
                };
                let memberships = memberships.into_iter().map(|belonging| {
                    let rights = actor.permissions.on(Some(belonging.2));
                    (belonging, rights)
                });
                let confined = actor.confined().map(|confined| confined.rights);
                let level = |resource: Resource| {
                    let permissions = &actor.permissions;
                    let of_members = confined.map_or_else(
                        || permissions.level_of_members(resource),
                        |rights| rights.level(resource).filter(|_| rights.visible),
                    );
                    (resource, permissions.level(resource), of_members)
                };
                let came_by = match (&actor.bearer, signed_in_at) {
                    (Some(bearer), _) => CameBy::ApiToken(bearer.clone()),
                    (None, Some(signed_in_at)) => CameBy::Session {
                        signed_in_at,
                        ends_at: signed_in_at + SESSION_LIFE,
                    },
                    (None, None) => CameBy::Password,
                };
                Ok(Identity {
                    account,
                    came_by,
                    levels: Resource::ALL.into_iter().map(level).collect(),
                    confined: confined.filter(|rights| rights.visible),
                    memberships: memberships.collect(),
                    membership_total,
                })
            })
            .await
    }

    /// Gives the caller's account another password, and ends its other credentials if that is wanted. Its sessions and
    /// refresh tokens end in any case.
    ///
    /// A wrong present password counts as a failed login.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] for an API token, which must not outlive itself by a password.
    pub async fn set_password(
        &self,
        caller: &Caller,
        wish: PasswordChange,
        tokens: IssuedTokens,
        condition: Precondition,
    ) -> Result<()> {
        let PasswordChange { present, new } = wish;
        let proven = self.prove(caller, present).await?;
        let change = Change {
            password_hash: Some(self.core.hash(caller, &new).await?),
            ..Change::default()
        };
        let now = self.core.clock.now();
        // A session is told apart in the audit trail. A password is proven again if the account changes meanwhile.
        let (by, meant) = match caller.credential() {
            Credential::Session => (caller, Some(proven.proven_version())),
            _ => (&proven, None),
        };
        self.core
            // A password in wrong hands has to be changed at once.
            .end(by, Lock::Catalog, move |connection, actor| {
                if meant.is_some_and(|meant| meant != Some((actor.key, actor.version))) {
                    // The account changed between the two proofs.
                    return Err(Error::busy());
                }
                let account = find(connection, actor.id)?;
                condition.require(What::Account, Some(account.tag()))?;
                let ended = end_issued(connection, &account, tokens, Some(actor.id), now)?;
                table::update(connection, account.key, &change, now)?;
                let after = find(connection, actor.id)?;
                let told = account_change(&account, &after, &change, ended);
                Ok(Done::told((), told))
            })
            .await
    }

    /// Proves the present password of the caller's account.
    async fn prove(&self, caller: &Caller, present: SecretString) -> Result<Caller> {
        let name = match caller.credential() {
            Credential::Password => caller.by().actor_name,
            Credential::Session => {
                let name = self
                    .core
                    .read(caller, |_, actor| Ok(actor.name.clone()))
                    .await?;
                Some(name)
            }
            _ => {
                return self.core.read(caller, |_, _| Err(no_bearer())).await;
            }
        };
        let (Some(name), Some(source)) = (name, caller.origin().address) else {
            return Err(Error::internal("a caller without name or address"));
        };
        let presented = Presented::new(name, present, source);
        let proven = self.core.identify(presented, caller.origin().clone()).await;
        if !matches!(proven, Err(Error::Unauthenticated)) {
            return proven;
        }
        // An account that is not let in any more learns nothing of its password.
        self.core.read(caller, |_, _| Ok(())).await?;
        // Not 401, by which clients would take the credentials of the request for wrong ones.
        Err(Error::invalid(
            Field::PresentPassword,
            "presentPassword is not the present password of this account; nothing was changed",
        ))
    }
}

fn no_bearer() -> Error {
    Error::Forbidden(
        "an API token cannot change the password of its account; send the request with HTTP Basic, or sign in".to_owned(),
    )
}
