//! Callers and registries as a group of writes has read them. Jobs that change tokens alone leave both as they are, so the
//! next of them need not read them again.
//!
//! The group reads after it began, and so after the requests of all its jobs had come: a change that another replica
//! commits meanwhile is at the same time as they are.

use std::collections::HashMap;

use super::members;
use super::session::Session;
use crate::domain::account::Actor;
use crate::domain::id::{AccountKey, ApiTokenId, RegistryId};
use crate::domain::membership::Membership;
use crate::domain::tenant::TokenRules;
use crate::error::Result;

/// The proof by which a caller was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proven {
    /// The proof of an account in a version.
    Account(AccountKey, i64),
    /// An API token.
    ApiToken(ApiTokenId),
}

/// A registry as far as work on its tokens needs it, and an account's membership there.
type Home = Option<(TokenRules, Option<Membership>)>;

#[derive(Default)]
pub(super) struct Standings {
    actors: HashMap<Proven, Actor>,
    homes: HashMap<(RegistryId, AccountKey), Home>,
}

impl Standings {
    pub(super) fn actor(&self, proven: Proven) -> Option<&Actor> {
        self.actors.get(&proven)
    }

    pub(super) fn keep_actor(&mut self, proven: Proven, actor: &Actor) {
        self.actors.insert(proven, actor.clone());
    }

    pub(super) fn home(
        &mut self,
        session: &mut Session,
        id: RegistryId,
        account: AccountKey,
    ) -> Result<Home> {
        if let Some(home) = self.homes.get(&(id, account)) {
            return Ok(*home);
        }
        let home = members::home(session, id, account)?;
        self.homes.insert((id, account), home);
        Ok(home)
    }
}
