//! Issued tokens, natively: the API tokens and app tokens of the caller, and those of all accounts, listed and ended.
//!
//! They are made by the surfaces of the products that they belong to. The rules for access are those of
//! [`api_tokens`](super::api_tokens) and [`app_tokens`](super::app_tokens). An account needs no role to see and end its
//! own, but an API token that comes on its behalf does.

use super::access::Caller;
use super::accounts::require_account;
use super::app_tokens::{enter, is_stale};
use super::core::{Core, Done, Length};
use super::registry_api_tokens::api_token_record;
use crate::domain::account::{Actor, Sight};
use crate::domain::audit::Change;
use crate::domain::id::{ApiTokenId, AppTokenId};
use crate::domain::issued::{IssuedFilter, IssuedPage};
use crate::domain::page::Window;
use crate::domain::permission::{Level, Resource};
use crate::error::{Error, Result, What};
use crate::store::issued::{self as table, Confined, Extent, Table};
use crate::store::{Lock, Session, accounts, api_tokens, app_tokens};

/// Whose tokens are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Those of the caller's account.
    Own,
    /// Those of all accounts.
    All,
}

impl Whose {
    /// The tokens of these that the actor may know of. Those of registries are known to their owner, and to whoever may
    /// know of all registries.
    fn extent(self, actor: &Actor) -> Extent {
        match self {
            Self::Own => Extent {
                owner: Some(actor.key),
                ..Extent::default()
            },
            Self::All if actor.sight() == Sight::All => Extent::default(),
            Self::All => Extent {
                confined: Confined::Without,
                ..Extent::default()
            },
        }
    }
}

/// Use cases of issued tokens.
#[derive(Debug)]
pub struct Issued<'a> {
    core: &'a Core,
}

impl<'a> Issued<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A page of API tokens.
    pub async fn api_tokens(
        &self,
        caller: &Caller,
        whose: Whose,
        filter: IssuedFilter,
        window: Window,
    ) -> Result<IssuedPage> {
        self.page(
            caller,
            whose,
            (Table::ApiTokens, filter, window),
            move |_, actor| {
                require_integration(actor, whose, Level::Read)?;
                Ok(whose.extent(actor))
            },
        )
        .await
    }

    /// A page of app tokens.
    pub async fn app_tokens(
        &self,
        caller: &Caller,
        whose: Whose,
        filter: IssuedFilter,
        window: Window,
    ) -> Result<IssuedPage> {
        let stale = whose == Whose::All && is_stale(self.core, caller);
        self.page(
            caller,
            whose,
            (Table::AppTokens, filter, window),
            move |connection, actor| {
                enter(connection, actor, stale)?;
                if whose == Whose::All {
                    actor.permissions.require(Resource::Access, Level::Read)?;
                }
                Ok(whose.extent(actor))
            },
        )
        .await
    }

    /// A page of the tokens that `permit` says the caller may see.
    async fn page(
        &self,
        caller: &Caller,
        whose: Whose,
        (table, filter, window): (Table, IssuedFilter, Window),
        permit: impl Fn(&mut Session, &Actor) -> Result<Extent> + Clone + Send + 'static,
    ) -> Result<IssuedPage> {
        let now = self.core.clock.now();
        // Counting reads all that pass, so one count runs at a time. Those of one account have an index of their own.
        let _turn = match whose {
            Whose::Own => None,
            Whose::All => {
                let permit = permit.clone();
                let permitted = move |connection: &mut Session, actor: &Actor| {
                    permit(connection, actor)?;
                    Ok(actor.key)
                };
                let account = self.core.read(caller, permitted).await?;
                Some(self.core.counting.wait(Some(account)).await?)
            }
        };
        self.core
            .read_list(
                caller,
                Length::of_page(window.limit),
                move |connection, actor| {
                    let meant = (table, permit(connection, actor)?);
                    connection
                        .snapshot(|connection| table::page(connection, meant, &filter, window, now))
                },
            )
            .await
    }

    /// Revokes an API token: it fails from the next request on. A token that is already revoked or expired is no error.
    pub async fn revoke_api_token(
        &self,
        caller: &Caller,
        whose: Whose,
        id: ApiTokenId,
    ) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .end(caller, Lock::Nothing, move |connection, actor| {
                require_integration(actor, whose, Level::Write)?;
                let found = api_tokens::find(connection, id)?
                    .filter(|found| match whose {
                        Whose::Own => found.account == actor.key,
                        Whose::All => found.confinement.is_none() || actor.sight() == Sight::All,
                    })
                    .ok_or_else(|| Error::not_found(What::ApiToken, id))?;
                if found.token.revoked {
                    return Ok(Done::nothing(()));
                }
                api_tokens::revoke(connection, id, Some(actor.id), now)?;
                let record = api_token_record(connection, &found)?;
                Ok(Done::told((), Change::revoked(&record)))
            })
            .await
    }

    /// Deletes an app token, expired or not: its code opens nothing from the next request on. That of another account
    /// takes all rights of that account, as ending its other credentials does.
    pub async fn delete_app_token(
        &self,
        caller: &Caller,
        whose: Whose,
        id: AppTokenId,
    ) -> Result<()> {
        let stale = is_stale(self.core, caller);
        self.core
            .end(caller, Lock::Nothing, move |connection, actor| {
                enter(connection, actor, stale)?;
                if whose == Whose::All {
                    actor.permissions.require(Resource::Access, Level::Write)?;
                }
                let missing = || Error::not_found(What::AppToken, id);
                let owner = app_tokens::owner(connection, id)?.ok_or_else(missing)?;
                match whose {
                    Whose::Own if owner != actor.key => return Err(missing()),
                    Whose::Own => {}
                    Whose::All => {
                        let account = accounts::find_by_key(connection, owner)?;
                        require_account(connection, actor, &account.ok_or_else(missing)?)?;
                    }
                }
                let found = app_tokens::find(connection, owner, id)?;
                let (token, _) = found.ok_or_else(missing)?;
                app_tokens::delete(connection, owner, id)?;
                Ok(Done::told((), Change::deleted(&token)))
            })
            .await
    }
}

/// Refuses a caller that may not look at or end API tokens. An account may its own, by itself.
fn require_integration(actor: &Actor, whose: Whose, level: Level) -> Result<()> {
    if whose == Whose::Own && actor.bearer.is_none() {
        return Ok(());
    }
    actor.permissions.require(Resource::Integration, level)
}
