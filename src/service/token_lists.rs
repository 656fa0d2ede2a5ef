//! Lists of tokens, of one registry or of several: all or some, a page at a time.
//!
//! Owns the choice of the way to a page. The order of each list is the store's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::access::Caller;
use super::core::Length;
use super::token_cursors::{Cursor, GENERAL, SIMPLE, WalkCursor};
pub use super::token_walk::COUNTED;
use super::token_walk::Walk;
use super::tokens::Tokens;
use super::turns::Turn;
use super::visible::visible;
use crate::domain::account::{Actor, Sight};
use crate::domain::filter::{ListPosition, Order, OrderBy, Sought, TokenFilter};
use crate::domain::id::{RegistryId, RegistryKey, TokenKey};
use crate::domain::membership::{Membership, Rights};
use crate::domain::page::Window;
use crate::domain::period::Period;
use crate::domain::permission::{Level, Resource};
use crate::domain::tenant::{Home, TokenRules};
use crate::domain::token::{Token, VerbatimScopes};
use crate::error::{Error, Field, Result};
use crate::store::token_walks::Rank;
use crate::store::{Session, joined, members, token_filters, token_pages};
use chrono::{DateTime, Utc};

/// The most filtered lists that are counted or wait for their turn.
pub(super) const COUNTING: usize = 32;
/// The most lists whose tokens are all looked at, or that wait for their turn.
pub(super) const WALKING: usize = 16;
/// The most long pages and lists without pages that are read or wait for their turn.
pub(super) const LONG_LISTS: usize = 64;
/// The number of these that are read at once. Each holds its rows in memory until it is JSON: with scopes of the
/// greatest length, two at once took the process to 201 MB, and strangers and members must not take it to 200.
pub(super) const READING: usize = 1;

/// The most tokens that a filtered list of several registries, or one that is walked, can begin after by an offset.
const OFFSET: i64 = COUNTED;
/// The most registries of a list that is found by an index in order: each adds a part to the statement.
const ORDERED: usize = 200;

/// The registries whose tokens are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// One.
    Registry(RegistryId),
    /// All whose tokens the caller may read, or of them those that the filter names.
    All,
}

/// The way to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The whole list of a registry, in creation order.
    Whole,
    /// By an index in the order of the list.
    Index,
    /// By a walk over all tokens; if an index leads to few that may pass the filter, over those.
    Walk,
}

/// Chooses the way to a page of the tokens of so many registries.
#[must_use]
pub fn way(within: Within, registries: usize, filter: &TokenFilter, order: Order) -> Way {
    let registry = matches!(within, Within::Registry(_));
    if registry && order == TokenFilter::default().order() && !filter.has_conditions() {
        Way::Whole
    } else if filter.is_of_instants() && order == filter.order() && registries <= ORDERED {
        Way::Index
    } else {
        Way::Walk
    }
}

/// The start of a page.
#[derive(Debug, Clone)]
pub enum Start {
    /// After so many tokens.
    Offset(i64),
    /// After the page before, by its cursor.
    Token(String),
}

impl Start {
    /// The cursor of the page before, if the page starts there.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::Offset(_) => None,
            Self::Token(token) => Some(token),
        }
    }
}

/// The wish for a page of tokens.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The filter.
    pub filter: TokenFilter,
    /// The order; `None` is that of the filter.
    pub order: Option<Order>,
    /// The most tokens of the page.
    pub limit: i64,
    /// The start of the page.
    pub start: Start,
}

/// A page of tokens.
#[derive(Debug, Clone)]
pub struct TokenPage {
    /// In the order of the list.
    pub tokens: Vec<Token<VerbatimScopes>>,
    /// The registries of these tokens, in a list of several.
    pub registries: BTreeMap<RegistryKey, (RegistryId, String)>,
    /// The number of all tokens, or of all that the filter lets pass.
    pub total: i64,
    /// In a filtered list: true if the total is the number, false if there are more than were counted.
    pub total_is_exact: Option<bool>,
    /// The number of tokens listed before these.
    pub offset: i64,
    /// The filter: a cursor brings its filter along.
    pub filter: TokenFilter,
    /// The order that was asked for.
    pub order: Option<Order>,
    /// The cursor of the next page; none on the last.
    pub next: Option<String>,
}

/// A request for a page: what is listed, and from where on.
#[derive(Debug, Clone)]
struct Asked {
    within: Within,
    filter: TokenFilter,
    /// The order, if one was asked for, and that of the list.
    order_by: Option<Order>,
    order: Order,
    limit: i64,
    offset: i64,
    cursor: Option<Cursor>,
    begun: DateTime<Utc>,
}

/// A page as a job found it, with the rest of the cursor of the next.
struct Found {
    tokens: Vec<Token<VerbatimScopes>>,
    total: i64,
    total_is_exact: Option<bool>,
    next: Option<Next>,
}

enum Next {
    Beyond(ListPosition),
    Walk(WalkCursor),
}

/// The outcome of one job of a list.
enum Step<P> {
    Page(P),
    More(Box<Walk>),
}

impl Asked {
    fn sought(&self) -> Option<Sought> {
        let sought = self.filter.at(self.begun);
        sought.filter(|_| self.filter.has_conditions())
    }

    fn way(&self, registries: usize) -> Way {
        way(self.within, registries, &self.filter, self.order)
    }

    fn takes_time(&self) -> bool {
        match self.way(1) {
            Way::Whole => false,
            Way::Index => true,
            Way::Walk => self.filter.has_conditions() || self.order.by != OrderBy::Registry,
        }
    }

    fn walk(&self) -> Walk {
        let walk = self.cursor.as_ref().and_then(|cursor| cursor.walk.as_ref());
        let total = walk.map(|walk| (walk.total, walk.exact));
        let start = walk.map(WalkCursor::start).unwrap_or_default();
        let offset = if self.cursor.is_some() {
            0
        } else {
            self.offset
        };
        Walk::new(
            self.sought(),
            self.order,
            start,
            (offset, self.limit),
            total,
        )
    }

    /// The registries of the list, with the actor's rights checked.
    fn homes(&self, connection: &mut Session, actor: &Actor) -> Result<Vec<Home>> {
        match self.within {
            Within::Registry(id) => {
                let found = members::home(connection, id, actor.key)?;
                Ok(vec![home_of(actor, id, found)?])
            }
            Within::All => homes(connection, actor, &self.filter.registries),
        }
    }
}

/// The registry of a list, as it was found, if an actor may read its tokens.
fn home_of(
    actor: &Actor,
    id: RegistryId,
    found: Option<(TokenRules, Option<Membership>)>,
) -> Result<Home> {
    let (rules, rights) = visible(actor, id, found)?;
    rights.require(Resource::Token, Level::Read)?;
    Ok(Home {
        id,
        name: String::new(),
        rules,
    })
}

/// The registries whose tokens an actor may read, in creation order: those with the ids, or all if there are none.
///
/// # Errors
///
/// [`Error::NotFound`] if the actor may not know of one of those with the ids, [`Error::Forbidden`] if it may not read
/// the tokens of one.
pub(super) fn homes(
    connection: &mut Session,
    actor: &Actor,
    ids: &[RegistryId],
) -> Result<Vec<Home>> {
    if actor.confined().is_none() {
        let permissions = &actor.permissions;
        permissions.require_somewhere(Resource::Token, Level::Read)?;
    }
    let found = known(connection, actor, ids)?;
    if ids.is_empty() {
        let readable = found
            .into_iter()
            .filter(|(home, membership)| may_read_tokens(actor.on(home.rules.key, *membership)));
        return Ok(readable.map(|(home, _)| home).collect());
    }
    let mut found: HashMap<_, _> = found
        .into_iter()
        .map(|(home, membership)| (home.id, (home, membership)))
        .collect();
    let mut homes = Vec::with_capacity(found.len());
    for id in ids {
        let (home, rights) = visible(actor, *id, found.remove(id))?;
        rights.require(Resource::Token, Level::Read)?;
        homes.push(home);
    }
    homes.sort_by_key(|home| home.rules.key);
    Ok(homes)
}

/// The registries with the ids, or if there are none those that an actor may know of, with its membership.
pub(super) fn known(
    connection: &mut Session,
    actor: &Actor,
    ids: &[RegistryId],
) -> Result<Vec<(Home, Option<Membership>)>> {
    let confined = actor.confined().map(|confined| confined.id);
    let (ids, own) = match (actor.sight(), confined) {
        (Sight::One(_), Some(id)) if ids.is_empty() => (vec![id], false),
        (Sight::None, _) => return Ok(Vec::new()),
        (sight, _) => (ids.to_vec(), sight == Sight::Memberships),
    };
    members::homes(connection, actor.key, &ids, own)
}

/// Returns true if a list shows the tokens of a registry to somebody with these rights.
pub(super) fn may_read_tokens(rights: Rights) -> bool {
    rights.visible && rights.allow(Resource::Token, Level::Read)
}

impl Tokens<'_> {
    /// A page of tokens, as `present` makes it.
    ///
    /// `present` runs on the reader's thread: a long page takes milliseconds, which would delay other requests.
    ///
    /// By cursors each token that is there throughout is listed once, in spite of creations and removals meanwhile. A
    /// filter stays at the instant of the first page; a token that is used or changed meanwhile may begin or cease to
    /// pass it. A walk takes several store calls, and each reads the caller's rights again.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a cursor that is not one of this list, or comes beside another filter or order.
    pub async fn list<P, F>(
        &self,
        caller: &Caller,
        within: Within,
        listing: Listing,
        present: F,
    ) -> Result<P>
    where
        P: Send + 'static,
        F: Fn(TokenPage) -> Result<P> + Clone + Send + 'static,
    {
        let asked = Arc::new(self.asked(within, listing)?);
        let _turn = self.turn(caller, &asked).await?;
        let (vault, random) = (
            Arc::clone(&self.core.data_keys),
            Arc::clone(&self.core.random),
        );
        let seal = move |cursor: &Cursor| cursor.seal(&vault, &*random);
        let mut walk = asked.walk();
        loop {
            let (asked, seal, present) = (Arc::clone(&asked), seal.clone(), present.clone());
            let length = Length::of_page(asked.limit);
            let job = {
                let asked = Arc::clone(&asked);
                move |connection: &mut Session, actor: &Actor, homes: Vec<Home>| {
                    asked.require_own(actor, &homes)?;
                    let mut walk = walk.clone();
                    let Some(found) = asked.find(connection, actor, &homes, &mut walk)? else {
                        return Ok(Step::More(Box::new(walk)));
                    };
                    let page = asked.page(homes, found, &seal)?;
                    present(page).map(Step::Page)
                }
            };
            let step = match asked.within {
                Within::Registry(id) => {
                    let find = move |connection: &mut Session, account| {
                        joined::home(connection, account, id)
                    };
                    let list = move |connection: &mut Session, actor: &Actor, found| {
                        let home = home_of(actor, id, found)?;
                        job(connection, actor, vec![home])
                    };
                    self.core.read_joined(caller, length, find, list).await?
                }
                Within::All => {
                    let list = move |connection: &mut Session, actor: &Actor| {
                        let homes = homes(connection, actor, &asked.filter.registries)?;
                        job(connection, actor, homes)
                    };
                    self.core.read_list(caller, length, list).await?
                }
            };
            match step {
                Step::Page(page) => return Ok(page),
                Step::More(more) => walk = *more,
            }
        }
    }

    /// The turn of a list that takes time in proportion to what it looks at: one of each kind runs at a time, so that
    /// others find a reader. None is needed where there is nothing to look at.
    async fn turn(&self, caller: &Caller, asked: &Arc<Asked>) -> Result<Option<Turn>> {
        if !asked.takes_time() {
            return Ok(None);
        }
        let before = Arc::clone(asked);
        let read = move |connection: &mut Session, actor: &Actor| {
            let homes = before.homes(connection, actor)?;
            Ok((actor.key, homes.len()))
        };
        let (account, registries) = self.core.read(caller, read).await?;
        if registries == 0 {
            return Ok(None);
        }
        let turns = match asked.way(registries) {
            Way::Index => &self.core.counting,
            Way::Whole | Way::Walk => &self.core.walking,
        };
        turns.wait(Some(account)).await.map(Some)
    }

    /// The request, with its cursor opened.
    fn asked(&self, within: Within, listing: Listing) -> Result<Asked> {
        let Listing {
            filter,
            order,
            limit,
            start,
        } = listing;
        let (cursor, offset) = match start {
            Start::Offset(offset) => (None, offset),
            Start::Token(token) => {
                let cursor = self.open_cursor(&token, &filter, order)?;
                let listed = cursor.listed;
                (Some(cursor), listed)
            }
        };
        let begun = match &cursor {
            Some(cursor) => DateTime::from_timestamp_micros(cursor.begun).unwrap_or_default(),
            None => self.core.clock.now(),
        };
        let order_by = cursor.as_ref().map_or(order, |cursor| cursor.order);
        let filter = cursor.as_ref().map_or(filter, Cursor::filter);
        let mut order = order_by.unwrap_or_else(|| filter.order());
        if order.by == OrderBy::CreatedDate && matches!(within, Within::Registry(_)) {
            order.by = OrderBy::Registry;
        }
        let asked = Asked {
            within,
            filter,
            order_by,
            order,
            limit,
            offset,
            cursor,
            begun,
        };
        let several = within == Within::All && asked.filter.has_conditions();
        let bounded = several || (asked.way(1) == Way::Walk && asked.sought().is_some());
        if bounded && asked.cursor.is_none() && offset > OFFSET {
            return Err(Error::invalid(
                Field::Offset,
                format!(
                    "offset {offset} is more than {OFFSET}, which is the most in this filtered list; follow pagination.token"
                ),
            ));
        }
        Ok(asked)
    }

    /// The filter and the order are part of the cursor; naming others beside it is an error.
    fn open_cursor(
        &self,
        token: &str,
        filter: &TokenFilter,
        order: Option<Order>,
    ) -> Result<Cursor> {
        let cursor = Cursor::open(&self.core.data_keys, token)?;
        let other_filter = *filter != TokenFilter::default() && *filter != cursor.filter();
        if other_filter || (order.is_some() && order != cursor.order) {
            return Err(Error::invalid(
                Field::PaginationToken,
                "pagination.token belongs to a list with another filter or order; leave both out or as they were",
            ));
        }
        Ok(cursor)
    }
}

impl Asked {
    /// Refuses a cursor of another list.
    fn require_own(&self, actor: &Actor, homes: &[Home]) -> Result<()> {
        let Some(cursor) = &self.cursor else {
            return Ok(());
        };
        let wrong = |whose: &str| {
            Err(Error::invalid(
                Field::PaginationToken,
                format!("pagination.token belongs to the list of {whose}; start without one"),
            ))
        };
        let registry = match (self.within, homes) {
            (Within::Registry(_), [home]) => home.rules.key.0,
            _ => 0,
        };
        if cursor.registry != registry {
            return wrong("another registry");
        }
        match &cursor.walk {
            Some(walk) if walk.account != actor.key.0 => wrong("another account"),
            _ => Ok(()),
        }
    }

    /// The page, or `None` if the walk has to go on in another job.
    fn find(
        &self,
        connection: &mut Session,
        actor: &Actor,
        homes: &[Home],
        walk: &mut Walk,
    ) -> Result<Option<Found>> {
        let rules: Vec<_> = homes.iter().map(|home| home.rules).collect();
        match (self.way(homes.len()), rules.as_slice()) {
            (Way::Whole, [home]) => self.find_in_whole(connection, *home).map(Some),
            (Way::Index, _) => connection
                .snapshot(|connection| self.find_by_index(connection, &rules))
                .map(Some),
            _ => {
                connection.snapshot(|connection| self.find_by_walk(connection, actor, &rules, walk))
            }
        }
    }

    fn find_in_whole(&self, connection: &mut Session, home: TokenRules) -> Result<Found> {
        let found = |tokens, total, last: Option<ListPosition>| Found {
            tokens,
            total,
            total_is_exact: None,
            next: last.map(Next::Beyond),
        };
        let Some(cursor) = &self.cursor else {
            let window = Window {
                offset: self.offset,
                limit: self.limit,
            };
            let (tokens, total) = match self.offset {
                0 => token_pages::first_page(connection, home, self.limit)?,
                _ => {
                    connection.snapshot(|connection| token_pages::page(connection, home, window))?
                }
            };
            let more = window.next(total).and(tokens.last()).map(place);
            return Ok(found(tokens, total, more));
        };
        // One more than asked for tells whether there is a next page.
        let (beyond, most) = ((home, cursor.at), self.limit + 1);
        let (mut tokens, total) = token_pages::page_after(connection, beyond, most)?;
        let more = cut(&mut tokens, self.limit)?;
        let last = tokens.last().filter(|_| more).map(place);
        Ok(found(tokens, total, last))
    }

    fn find_by_index(&self, connection: &mut Session, homes: &[TokenRules]) -> Result<Found> {
        let sought = self
            .sought()
            .ok_or_else(|| Error::internal("a list by an index has a filter"))?;
        let registries: Vec<_> = homes.iter().map(|home| home.key).collect();
        let counted = token_filters::count(connection, &registries, &sought, COUNTED + 1)?;
        let (after, offset) = match &self.cursor {
            Some(cursor) => (Some(cursor.place()), 0),
            None => (None, self.offset),
        };
        let bounds = (offset, self.limit + 1);
        let mut found = token_filters::find(connection, &registries, &sought, after, bounds)?;
        let more = cut(&mut found, self.limit)?;
        let last = found.last().filter(|_| more).map(|(place, _)| *place);
        let keys = found
            .iter()
            .map(|(place, home)| (TokenKey(place.key), *home));
        Ok(Found {
            tokens: load(connection, homes, keys.collect())?,
            total: counted.min(COUNTED),
            total_is_exact: Some(counted <= COUNTED),
            next: last.map(Next::Beyond),
        })
    }

    fn find_by_walk(
        &self,
        connection: &mut Session,
        actor: &Actor,
        homes: &[TokenRules],
        walk: &mut Walk,
    ) -> Result<Option<Found>> {
        let registries: Vec<_> = homes.iter().map(|home| home.key).collect();
        let Some(walked) = walk.go_on(connection, &registries)? else {
            return Ok(None);
        };
        let keys = walked
            .matches
            .iter()
            .map(|found| (found.token, found.place.registry));
        let next = walked.next.map(|next| {
            Next::Walk(WalkCursor {
                account: actor.key.0,
                total: walked.total,
                exact: walked.total_is_exact,
                place: next.beyond.map(|place| (place.registry.0, place.position)),
                last: next.after.map(|(rank, key)| match rank {
                    Rank::Number(number) => (Some(number), None, key.0),
                    Rank::Text(text) => (None, Some(text), key.0),
                }),
            })
        });
        Ok(Some(Found {
            tokens: load(connection, homes, keys.collect())?,
            total: walked.total,
            total_is_exact: self
                .filter
                .has_conditions()
                .then_some(walked.total_is_exact),
            next,
        }))
    }

    fn page(
        &self,
        homes: Vec<Home>,
        found: Found,
        seal: &impl Fn(&Cursor) -> Result<String>,
    ) -> Result<TokenPage> {
        let Found {
            tokens,
            total,
            total_is_exact,
            next,
        } = found;
        let count = i64::try_from(tokens.len()).map_err(Error::internal)?;
        let registry = match (self.within, homes.as_slice()) {
            (Within::Registry(_), [home]) => home.rules.key.0,
            _ => 0,
        };
        let next =
            next.map(|next| self.cursor_of(next, registry, self.offset.saturating_add(count)));
        let registries = match self.within {
            Within::Registry(_) => BTreeMap::new(),
            Within::All => homes
                .into_iter()
                .map(|home| (home.rules.key, (home.id, home.name)))
                .collect(),
        };
        Ok(TokenPage {
            tokens,
            registries,
            total,
            total_is_exact,
            offset: self.offset,
            filter: self.filter.clone(),
            order: self.order_by,
            next: next.as_ref().map(seal).transpose()?,
        })
    }

    /// The cursor of the next page.
    fn cursor_of(&self, next: Next, registry: i64, listed: i64) -> Cursor {
        let begun = self.begun.timestamp_micros();
        let cursor = Cursor {
            registry,
            listed,
            begun,
            ..Cursor::default()
        };
        let simple = TokenFilter {
            expiring_within: self.filter.expiring_within,
            unused_since: self.filter.unused_since,
            ..TokenFilter::default()
        };
        let is_simple = registry != 0 && self.filter == simple && self.order_by.is_none();
        match next {
            Next::Beyond(last) if is_simple => Cursor {
                layout: SIMPLE,
                at: last.at,
                key: last.key,
                expiring_within: self.filter.expiring_within.map(Period::seconds),
                unused_since: self.filter.unused_since.map(Period::seconds),
                ..cursor
            },
            next => {
                let (place, walk) = match next {
                    Next::Beyond(last) => (Some(last), None),
                    Next::Walk(walk) => (None, Some(walk)),
                };
                Cursor {
                    layout: GENERAL,
                    at: place.map_or(0, |place| place.at),
                    key: place.map_or(0, |place| place.key),
                    filter: Some(self.filter.clone()),
                    order: self.order_by,
                    walk,
                    ..cursor
                }
            }
        }
    }
}

/// The position of a token in the whole list.
fn place(token: &Token<VerbatimScopes>) -> ListPosition {
    ListPosition {
        at: token.position,
        key: token.key.0,
    }
}

/// Cuts a page from a list that has one more, if there are more. Returns true if there are.
fn cut<T>(found: &mut Vec<T>, limit: i64) -> Result<bool> {
    let limit = usize::try_from(limit).map_err(Error::internal)?;
    let more = found.len() > limit;
    found.truncate(limit);
    Ok(more)
}

/// Loads tokens of registries by their keys, in this order. Those that are gone are left out.
fn load(
    connection: &mut Session,
    homes: &[TokenRules],
    keys: Vec<(TokenKey, RegistryKey)>,
) -> Result<Vec<Token<VerbatimScopes>>> {
    let among: BTreeMap<_, _> = homes.iter().map(|home| (home.key, *home)).collect();
    let mut homes: Vec<_> = keys
        .iter()
        .filter_map(|(_, home)| among.get(home))
        .copied()
        .collect();
    homes.dedup();
    let keys: Vec<_> = keys.into_iter().map(|(token, _)| token).collect();
    let tokens = token_pages::with_keys(connection, &homes, &keys)?;
    let mut tokens: HashMap<_, _> = tokens.into_iter().map(|token| (token.key, token)).collect();
    Ok(keys.iter().filter_map(|key| tokens.remove(key)).collect())
}
