//! Lists of a registry's tokens: all or some, a page at a time.
//!
//! Owns the content of a page cursor. The order of each list is the store's.

use std::sync::Arc;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::core::Length;
use super::tokens::{Tokens, enter};
use crate::domain::filter::{ListPosition, Sought, TokenFilter};
use crate::domain::id::RegistryId;
use crate::domain::page::Window;
use crate::domain::period::Period;
use crate::domain::permission::{Level, Resource};
use crate::domain::registry::TokenRules;
use crate::domain::text::quoted;
use crate::domain::token::{Token, VerbatimScopes};
use crate::error::{Error, Field, Result};
use crate::store::{Session, counters, token_filters, token_pages};

/// The most filtered lists that are counted or wait for their turn.
pub(super) const COUNTING: usize = 32;
/// The most long pages and lists without pages that are read or wait for their turn.
pub(super) const LONG_LISTS: usize = 64;
/// The number of these that are read at once. Each holds its rows in memory until it is JSON: with scopes of the
/// greatest length, two at once took the process to 201 MB, and strangers and members must not take it to 200.
pub(super) const READING: usize = 1;

/// The list that a cursor belongs to.
const LIST: &str = "tokens";
/// The layout of cursors.
const LAYOUT: u8 = 1;

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
    /// The most tokens of the page.
    pub limit: i64,
    /// The start of the page.
    pub start: Start,
}

/// A page of tokens.
#[derive(Debug, Clone)]
pub struct TokenPage {
    /// In creation order; with a filter, in the order of the filtered instants.
    pub tokens: Vec<Token<VerbatimScopes>>,
    /// The number of all tokens of the registry, or of all that the filter lets pass.
    pub total: i64,
    /// The number of tokens listed before these.
    pub offset: i64,
    /// The filter: a cursor brings its filter along.
    pub filter: TokenFilter,
    /// The cursor of the next page; none on the last.
    pub next: Option<String>,
}

/// The content of a page cursor. The names are short for the sake of URLs; `v` tells later layouts apart.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Cursor {
    #[serde(rename = "v")]
    layout: u8,
    /// The registry's key: its id can come back.
    #[serde(rename = "r")]
    registry: i64,
    /// The number of tokens listed so far.
    #[serde(rename = "n")]
    listed: i64,
    /// The position of the last of them: its instant, or in the whole list its position, and its key.
    #[serde(rename = "a")]
    at: i64,
    #[serde(rename = "k")]
    key: i64,
    /// The filter, in seconds, and the time of the first page, in microseconds since 1970.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    expiring_within: Option<i64>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    unused_since: Option<i64>,
    #[serde(rename = "t")]
    begun: i64,
}

impl Cursor {
    fn filter(&self) -> TokenFilter {
        TokenFilter {
            expiring_within: self.expiring_within.and_then(Period::of_seconds),
            unused_since: self.unused_since.and_then(Period::of_seconds),
        }
    }

    fn place(self) -> ListPosition {
        ListPosition {
            at: self.at,
            key: self.key,
        }
    }
}

/// A page as a job found it, with the place of its last token if there are more.
struct Found {
    tokens: Vec<Token<VerbatimScopes>>,
    total: i64,
    more_after: Option<ListPosition>,
}

/// The start of a page: after so many, or, by a cursor, beyond a place.
#[derive(Debug, Clone, Copy)]
enum Beginning {
    Offset(i64),
    Beyond(ListPosition),
}

impl Tokens<'_> {
    /// A page of a registry's tokens, as `present` makes it.
    ///
    /// `present` runs on the reader's thread: a long page takes milliseconds, which would delay other requests.
    ///
    /// By cursors each token that is there throughout is listed once, in spite of creations and removals meanwhile. A
    /// filter stays at the instant of the first page; a token that is used or changed meanwhile may begin or cease to
    /// pass it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a cursor that is not one of this list, or comes beside another filter.
    pub async fn list<P, F>(
        &self,
        caller: &Caller,
        registry: RegistryId,
        listing: Listing,
        present: F,
    ) -> Result<P>
    where
        P: Send + 'static,
        F: Fn(TokenPage) -> Result<P> + Clone + Send + 'static,
    {
        let Listing {
            filter,
            limit,
            start,
        } = listing;
        let (cursor, beginning, offset) = match start {
            Start::Offset(offset) => (None, Beginning::Offset(offset), offset),
            Start::Token(token) => {
                let cursor = self.open_cursor(&token, filter)?;
                let beginning = Beginning::Beyond(cursor.place());
                (Some(cursor), beginning, cursor.listed)
            }
        };
        let begun = match &cursor {
            Some(cursor) => DateTime::from_timestamp_micros(cursor.begun).unwrap_or_default(),
            None => self.core.clock.now(),
        };
        let filter = cursor.as_ref().map_or(filter, Cursor::filter);
        let sought = filter.at(begun);
        // Counting takes time in proportion to the matches: one count runs at a time, so that others find a reader.
        let _turn = match sought {
            Some(_) => Some(self.core.counting.wait().await?),
            None => None,
        };
        let (vault, random) = (
            Arc::clone(&self.core.data_keys),
            Arc::clone(&self.core.random),
        );
        self.core
            .read_list(caller, Length::of_page(limit), move |connection, actor| {
                let (home, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Read)?;
                if cursor.is_some_and(|cursor| cursor.registry != home.key.0) {
                    return Err(Error::invalid(
                        Field::PaginationToken,
                        "pagination.token belongs to the list of another registry; start without one",
                    ));
                }
                let found = connection
                    .snapshot(|connection| find_page(connection, home, sought, beginning, limit))?;
                let count = i64::try_from(found.tokens.len()).map_err(Error::internal)?;
                let next = found.more_after.map(|last| {
                    let cursor = Cursor {
                        layout: LAYOUT,
                        registry: home.key.0,
                        listed: offset.saturating_add(count),
                        at: last.at,
                        key: last.key,
                        expiring_within: filter.expiring_within.map(Period::seconds),
                        unused_since: filter.unused_since.map(Period::seconds),
                        begun: begun.timestamp_micros(),
                    };
                    let bytes = serde_json::to_vec(&cursor).map_err(Error::internal)?;
                    vault.seal_cursor(&*random, LIST, &bytes)
                });
                present(TokenPage {
                    tokens: found.tokens,
                    total: found.total,
                    offset,
                    filter,
                    next: next.transpose()?,
                })
            })
            .await
    }

    /// The filter is part of the cursor; naming another one beside it is an error.
    fn open_cursor(&self, token: &str, filter: TokenFilter) -> Result<Cursor> {
        let cursor = self
            .core
            .data_keys
            .open_cursor(LIST, token)
            .and_then(|bytes| serde_json::from_slice::<Cursor>(&bytes).ok())
            .filter(|cursor| cursor.layout == LAYOUT)
            .ok_or_else(|| not_given(token))?;
        if filter != TokenFilter::default() && filter != cursor.filter() {
            return Err(Error::invalid(
                Field::PaginationToken,
                "pagination.token belongs to a list with another filter; leave expiringWithin and unusedSince out or as they were",
            ));
        }
        Ok(cursor)
    }
}

fn not_given(token: &str) -> Error {
    Error::invalid(
        Field::PaginationToken,
        format!(
            "pagination.token {} is not one that this service gave; start without one",
            quoted(token)
        ),
    )
}

fn find_page(
    connection: &mut Session,
    home: TokenRules,
    sought: Option<Sought>,
    beginning: Beginning,
    limit: i64,
) -> Result<Found> {
    let Some(sought) = sought else {
        return match beginning {
            Beginning::Offset(offset) => {
                let window = Window { offset, limit };
                let (tokens, total) = token_pages::page(connection, home, window)?;
                let more = window.next(total).and(tokens.last()).map(place);
                Ok(Found {
                    tokens,
                    total,
                    more_after: more,
                })
            }
            Beginning::Beyond(last) => {
                let total = counters::total(connection, home.key)?;
                // One more than asked for tells whether there is a next page.
                let tokens = token_pages::page_after(connection, home, last.at, limit + 1)?;
                let tokens = tokens.into_iter().map(|token| (place(&token), token));
                cut(tokens.collect(), total, limit)
            }
        };
    };
    let total = token_filters::count(connection, home.key, sought)?;
    let (after, offset) = match beginning {
        Beginning::Offset(offset) => (None, offset),
        Beginning::Beyond(last) => (Some(last), 0),
    };
    let found = token_filters::page(connection, home, sought, after, offset, limit + 1)?;
    cut(found, total, limit)
}

/// The position of a token in the whole list.
fn place(token: &Token<VerbatimScopes>) -> ListPosition {
    ListPosition {
        at: token.position,
        key: token.key.0,
    }
}

/// Cuts a page from a list that has one token more, if there are more.
fn cut(
    mut found: Vec<(ListPosition, Token<VerbatimScopes>)>,
    total: i64,
    limit: i64,
) -> Result<Found> {
    let limit = usize::try_from(limit).map_err(Error::internal)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more).map(|(place, _)| *place);
    Ok(Found {
        tokens: found.into_iter().map(|(_, token)| token).collect(),
        total,
        more_after: last,
    })
}
