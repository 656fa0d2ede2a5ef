//! The tokens of a bulk run: found a page at a time, and judged one by one.

use chrono::{DateTime, Utc};

use super::policy::Policy;
use super::token_lists::{known, may_read_tokens};
use super::token_walk::{Walk, WalkStart};
use super::tokens::altered;
use crate::domain::account::Actor;
use crate::domain::bulk::{Action, Confirmed, Effect};
use crate::domain::filter::{Order, OrderBy, Sought};
use crate::domain::id::{RegistryKey, TokenKey};
use crate::domain::membership::Rights;
use crate::domain::permission::{Level, Resource};
use crate::domain::tenant::{Home, TokenRules};
use crate::domain::token::{Token, VerbatimScopes};
use crate::error::{Error, Field, Result};
use crate::store::token_walks::{Match, Place};
use crate::store::{Session, members, token_pages};

/// The filter of a run, at the time of its dry run; `None` is all tokens of its registries.
pub(super) fn sought(confirmed: &Confirmed) -> Option<Sought> {
    let filter = &confirmed.wish.filter;
    let sought = filter.at(confirmed.begun());
    sought.filter(|_| filter.has_conditions())
}

/// A search for the tokens of a run, between two of its jobs.
#[derive(Debug, Clone)]
pub(super) struct Search {
    confirmed: Confirmed,
    /// The most tokens of a page.
    limit: i64,
    walk: Walk,
}

/// The outcome of one job of a search.
pub(super) struct Page {
    /// Tokens in the order of a walk. There may be none, and more later.
    pub matches: Vec<Match>,
    /// Tokens that were made after the dry run, and passed over.
    pub later: i64,
    /// True if all were found.
    pub ended: bool,
}

impl Search {
    /// A search beyond a place, in pages of up to `limit` tokens.
    pub(super) fn new(confirmed: Confirmed, beyond: Option<Place>, limit: i64) -> Self {
        let start = WalkStart {
            beyond,
            after: None,
        };
        let walk = walk(&confirmed, start, limit);
        Self {
            confirmed,
            limit,
            walk,
        }
    }

    /// Goes on in registries, in the order of their keys. Reads a bounded number of rows.
    pub(super) fn go_on(
        &mut self,
        connection: &mut Session,
        registries: &[RegistryKey],
    ) -> Result<Page> {
        let walked = connection.snapshot(|connection| self.walk.go_on(connection, registries))?;
        let Some(walked) = walked else {
            return Ok(Page {
                matches: Vec::new(),
                later: 0,
                ended: false,
            });
        };
        let last = self.confirmed.last();
        let mut matches = walked.matches;
        let all = matches.len();
        matches.retain(|found| found.token <= last);
        let later = i64::try_from(all - matches.len()).map_err(Error::internal)?;
        let ended = walked.next.is_none();
        if let Some(next) = walked.next {
            self.walk = walk(&self.confirmed, next, self.limit);
        }
        Ok(Page {
            matches,
            later,
            ended,
        })
    }
}

fn walk(confirmed: &Confirmed, start: WalkStart, limit: i64) -> Walk {
    let order = Order {
        by: OrderBy::Registry,
        descending: false,
    };
    // The number of all is not asked for.
    Walk::new(sought(confirmed), order, start, (0, limit), Some((0, true)))
}

/// The registries of a run whose tokens an actor may read now. Those that it may not know of any more are left out.
pub(super) fn homes(
    connection: &mut Session,
    actor: &Actor,
    confirmed: &Confirmed,
) -> Result<Vec<Home>> {
    let found = known(connection, actor, &confirmed.wish.filter.registries)?;
    let mut homes: Vec<_> = found
        .into_iter()
        .filter(|(home, membership)| may_read_tokens(actor.on(home.rules.key, *membership)))
        .map(|(home, _)| home)
        .collect();
    homes.sort_by_key(|home| home.rules.key);
    Ok(homes)
}

/// A registry and an actor's rights on it. `None` if the actor may not read its tokens any more.
pub(super) fn enter(
    connection: &mut Session,
    actor: &Actor,
    home: &Home,
) -> Result<Option<(TokenRules, Rights)>> {
    let found = members::home(connection, home.id, actor.key)?;
    let found = found.map(|(rules, membership)| (rules, actor.on(rules.key, membership)));
    // The id can come back with another registry.
    Ok(found.filter(|(rules, rights)| rules.key == home.rules.key && may_read_tokens(*rights)))
}

/// Tokens of a registry by their keys, in this order. Those that are gone are left out.
pub(super) fn load(
    connection: &mut Session,
    rules: TokenRules,
    keys: &[TokenKey],
) -> Result<Vec<Token>> {
    let mut tokens = token_pages::with_keys(connection, &[rules], keys)?;
    tokens.sort_by_key(|token| token.position);
    let read = |token: Token<_>| {
        token.with_scopes(|kept: VerbatimScopes| {
            serde_json::from_str(kept.get()).map_err(Error::internal)
        })
    };
    tokens.into_iter().map(read).collect()
}

/// The decision about a token.
#[derive(Debug)]
pub(super) enum Decision {
    /// It stays as it is.
    Nothing,
    /// It becomes this.
    Change(Box<Token>),
    /// It goes.
    Delete,
}

/// An action of an actor on a registry, at an instant.
pub(super) struct Judge<'a> {
    pub(super) actor: &'a Actor,
    pub(super) policy: &'a Policy,
    pub(super) action: Action,
    pub(super) now: DateTime<Utc>,
    pub(super) rules: TokenRules,
    pub(super) rights: Rights,
}

impl Judge<'_> {
    /// Decides by the rules of a single change.
    ///
    /// # Errors
    ///
    /// Those of a single change; see [`is_refusal`].
    pub(super) fn decide(&self, token: &Token) -> Result<Decision> {
        self.rights.require(Resource::Token, Level::Write)?;
        let holder = self.policy.holder(self.actor, self.rights);
        let lives = self.rules.lives.within(self.policy.lives);
        if let Action::SetExpiry(end) = self.action
            && end != token.expiry_date
            && let Some(wrong) = lives.excess(end, self.now)
        {
            // One cause is one reason, so it has no instant that goes on with time.
            return Err(Error::invalid(Field::ExpiryDate, wrong));
        }
        let after = match self.action.effect(self.now) {
            Effect::Delete => return Ok(Decision::Delete),
            Effect::End(at) => altered(token, &holder, |token| Ok(token.end(at)))?,
            Effect::Patch(patch) => {
                altered(token, &holder, |token| token.update(patch, lives, self.now))?
            }
        };
        Ok(after.map_or(Decision::Nothing, |token| Decision::Change(Box::new(token))))
    }
}

/// Returns true if an error refuses the change of one token and says nothing of others.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Forbidden(_)
            | Error::Unpermitted(_)
            | Error::Excessive(_)
            | Error::Invalid(_)
            | Error::Unsuited(_)
            | Error::Full(_)
    )
}
