//! Filters and orders of lists of tokens.
//!
//! Owns the meaning of each condition. `store::token_conditions` is the one translation to SQL.

use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::account::name_key;
use super::id::{AccountId, RegistryId};
use super::labels::Label;
use super::period::Period;
use super::scope::{Opening, carried};
use super::secret::masked;
use super::status::Status;
use super::text::{has_control, quoted};
use super::token_scope::Scope;
use crate::error::{Error, Field, Result};

/// The longest text to look for in descriptions, in characters: the longest description.
const DESCRIPTION: usize = 200;
/// The longest name of an account to look for, in characters.
const ACCOUNT_NAME: usize = 255;
/// The longest action to look for, in characters.
const ACTION: usize = 63;

/// A filter of tokens, relative to the time of the request. Tokens must meet all given conditions; none is all tokens.
///
/// Serialised it is the filter of a page cursor, so its names are short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenFilter {
    /// Tokens of these registries, in a list of several; none is no condition.
    #[serde(rename = "r", skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistryId>,
    /// Tokens with this name, or names that begin so.
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    pub name: Option<NameFilter>,
    /// Tokens whose description contains this, without regard to the case of ASCII letters.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tokens in this state.
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    pub state: Option<TokenState>,
    /// Tokens that this account made.
    #[serde(rename = "b", skip_serializing_if = "Option::is_none")]
    pub created_by: Option<Maker>,
    /// Tokens that work and end within this time, disabled ones included.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    pub expiring_within: Option<Period>,
    /// Tokens that ended at least this time ago, disabled ones included.
    #[serde(rename = "x", skip_serializing_if = "Option::is_none")]
    pub expired_since: Option<Period>,
    /// Tokens that have not been used for this time; unused ones must be at least as old.
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    pub unused_since: Option<Period>,
    /// Tokens that were never used; if false, tokens that were.
    #[serde(rename = "v", skip_serializing_if = "Option::is_none")]
    pub never_used: Option<bool>,
    /// Tokens made before this.
    #[serde(rename = "cb", skip_serializing_if = "Option::is_none")]
    pub created_before: Option<DateTime<Utc>>,
    /// Tokens made at this or later.
    #[serde(rename = "ca", skip_serializing_if = "Option::is_none")]
    pub created_after: Option<DateTime<Utc>>,
    /// Tokens whose scopes open this.
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    pub can_open: Option<Opening>,
    /// Tokens with a scope that carries this action.
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    pub carries: Option<Action>,
    /// Tokens with all of these labels.
    #[serde(rename = "l", skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

impl TokenFilter {
    /// The filter at an instant; `None` is all tokens.
    #[must_use]
    pub fn at(&self, now: DateTime<Utc>) -> Option<Sought> {
        (*self != Self::default()).then(|| Sought {
            filter: self.clone(),
            now,
        })
    }

    /// Returns true if it selects by ends and by last uses alone, apart from the registry.
    #[must_use]
    pub fn is_of_instants(&self) -> bool {
        let instants = Self {
            registries: self.registries.clone(),
            expiring_within: self.expiring_within,
            expired_since: self.expired_since,
            unused_since: self.unused_since,
            ..Self::default()
        };
        *self == instants && (self.has_ends() || self.unused_since.is_some())
    }

    /// Returns true if it has conditions apart from the registry.
    #[must_use]
    pub fn has_conditions(&self) -> bool {
        let registries = Self {
            registries: self.registries.clone(),
            ..Self::default()
        };
        *self != registries
    }

    /// The conditions as parameters of a list.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let Self {
            registries,
            name,
            description,
            state,
            created_by,
            expiring_within,
            expired_since,
            unused_since,
            never_used,
            created_before,
            created_after,
            can_open,
            carries,
            labels,
        } = self;
        let instant = |at: &DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let pairs = [
            ("name", name.as_ref().map(ToString::to_string)),
            ("description", description.clone()),
            ("state", state.map(|state| state.as_str().to_owned())),
            ("createdBy", created_by.as_ref().map(ToString::to_string)),
            (
                "expiringWithin",
                expiring_within.map(|time| time.to_string()),
            ),
            ("expiredSince", expired_since.map(|time| time.to_string())),
            ("unusedSince", unused_since.map(|time| time.to_string())),
            ("neverUsed", never_used.map(|never| never.to_string())),
            ("createdBefore", created_before.as_ref().map(instant)),
            ("createdAfter", created_after.as_ref().map(instant)),
            ("canOpen", can_open.as_ref().map(ToString::to_string)),
            (
                "carries",
                carries.as_ref().map(|action| action.as_str().to_owned()),
            ),
        ];
        let given = pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let labels = labels.iter().map(|label| ("label", label.to_string()));
        let registries = registries.iter().map(|id| ("registryId", id.to_string()));
        given.chain(labels).chain(registries).collect()
    }

    fn has_ends(&self) -> bool {
        self.expiring_within.is_some() || self.expired_since.is_some()
    }

    /// The order of tokens that pass it, unless another is asked for.
    #[must_use]
    pub fn order(&self) -> Order {
        let by = if self.has_ends() {
            OrderBy::ExpiryDate
        } else if self.unused_since.is_some() {
            OrderBy::LastSeen
        } else {
            OrderBy::Registry
        };
        Order {
            by,
            descending: false,
        }
    }
}

/// A filter at an instant, with at least one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    filter: TokenFilter,
    now: DateTime<Utc>,
}

impl Sought {
    /// The filter.
    #[must_use]
    pub fn filter(&self) -> &TokenFilter {
        &self.filter
    }

    /// The instant.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The ends of the tokens: after the first instant, and not after the second.
    #[must_use]
    pub fn ends(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let within = self.filter.expiring_within.map(|within| {
            let end = self.now.checked_add_signed(TimeDelta::from(within));
            (self.now, end.unwrap_or(DateTime::<Utc>::MAX_UTC))
        });
        let since = self.filter.expired_since.map(|since| self.before(since));
        let earliest = DateTime::<Utc>::MIN_UTC;
        match (within, since) {
            (None, None) => None,
            (Some(ends), None) => Some(ends),
            (None, Some(until)) => Some((earliest, until)),
            (Some((after, end)), Some(until)) => Some((after, end.min(until))),
        }
    }

    /// The tokens were neither used nor made after this.
    #[must_use]
    pub fn unused_since(&self) -> Option<DateTime<Utc>> {
        self.filter.unused_since.map(|since| self.before(since))
    }

    fn before(&self, since: Period) -> DateTime<Utc> {
        let start = self.now.checked_sub_signed(TimeDelta::from(since));
        start.unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// The conditions on names and ends alone, to which indexes lead.
    #[must_use]
    pub fn leading(&self) -> Self {
        let filter = TokenFilter {
            name: self.filter.name.clone(),
            expiring_within: self.filter.expiring_within,
            expired_since: self.filter.expired_since,
            ..TokenFilter::default()
        };
        Self {
            filter,
            now: self.now,
        }
    }

    /// Returns true if it has a condition that only the rules of scopes decide, see [`Self::admits`].
    #[must_use]
    pub fn decides_by_scopes(&self) -> bool {
        self.filter.can_open.is_some() || self.filter.carries.is_some()
    }

    /// Returns true if a token with these scopes meets the conditions on scopes.
    #[must_use]
    pub fn admits(&self, scopes: &[Scope]) -> bool {
        let opening = self.filter.can_open.as_ref();
        let action = self.filter.carries.as_ref();
        opening.is_none_or(|opening| opening.is_granted_by(scopes))
            && action.is_none_or(|action| carried(scopes, &action.0))
    }
}

/// A condition on the name of a token, without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameFilter {
    /// The name with this key.
    #[serde(rename = "e")]
    Exactly(String),
    /// Names whose key begins so.
    #[serde(rename = "p")]
    Beginning(String),
}

impl NameFilter {
    /// Reads a name of a registry or of an account, or the beginning of one and `*`. Keeps it as it was sent.
    pub fn of_any(text: &str) -> Result<Self> {
        let (name, begins) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        if name.is_empty() || has_control(name) || name.chars().count() > ACCOUNT_NAME {
            return Err(Error::invalid(
                Field::Name,
                format!(
                    "name {} is neither a name of 1 to {ACCOUNT_NAME} characters nor the beginning of one and *, such as \
                     team-*",
                    quoted(text)
                ),
            ));
        }
        let name = name.to_owned();
        Ok(if begins {
            Self::Beginning(name)
        } else {
            Self::Exactly(name)
        })
    }

    /// Reads a name of a token, or the beginning of one and `*`.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, begins) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        let alphabet = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let long = begins || (name.len() > 1 && !name.ends_with('-'));
        if !alphabet || !letter || !long || name.len() > 63 {
            return Err(Error::invalid(
                Field::Name,
                format!(
                    "name {} is no name of a token, 2 to 63 letters, digits and hyphens, nor the beginning of one and *, \
                     such as ci-*",
                    quoted(text)
                ),
            ));
        }
        let key = name_key(name);
        Ok(if begins {
            Self::Beginning(key)
        } else {
            Self::Exactly(key)
        })
    }
}

impl fmt::Display for NameFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::Beginning(start) => write!(f, "{start}*"),
        }
    }
}

/// A filter of registries. Registries must meet all given conditions; none is all registries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryFilter {
    /// Registries whose name contains this, in lower case.
    pub name_contains: Option<String>,
    /// Registries with this name, or names that begin so.
    pub name: Option<NameFilter>,
    /// Registries in this location.
    pub location: Option<String>,
    /// Registries that are frozen; if false, those that are not.
    pub frozen: Option<bool>,
    /// Registries with all of these labels.
    pub labels: Vec<Label>,
}

/// A filter of accounts. Accounts must meet all given conditions; none is all accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountFilter {
    /// Accounts with this name, or names that begin so, as they were sent.
    pub name: Option<NameFilter>,
    /// Accounts with this status.
    pub status: Option<Status>,
    /// Accounts with this role.
    pub role: Option<String>,
}

/// The state of a token as lists show it; see [`Token::state_at`](super::token::Token::state_at).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenState {
    /// Neither disabled nor expired.
    #[serde(rename = "e")]
    Enabled,
    /// Disabled, expired or not.
    #[serde(rename = "d")]
    Disabled,
    /// Expired and not disabled.
    #[serde(rename = "x")]
    Expired,
}

impl TokenState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Disabled, Self::Expired];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
        }
    }

    /// Reads a state.
    pub fn parse(text: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|state| state.as_str() == text).ok_or_else(|| {
            Error::invalid(
                Field::State,
                format!(
                    "state {} is none of \"enabled\", \"disabled\" and \"expired\"",
                    quoted(text)
                ),
            )
        })
    }
}

/// The account that made a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Maker {
    /// The account with this id.
    #[serde(rename = "i")]
    Id(AccountId),
    /// An account that had this name then, without regard to the case of ASCII letters.
    #[serde(rename = "n")]
    Named(String),
}

impl Maker {
    /// Reads the id of an account, or else its name.
    pub fn parse(text: &str) -> Result<Self> {
        if let Ok(id) = AccountId::parse(text) {
            return Ok(Self::Id(id));
        }
        refuse_secret(text, "createdBy", Field::CreatedBy)?;
        let wrong = text.is_empty() || has_control(text) || text.chars().count() > ACCOUNT_NAME;
        if wrong {
            return Err(Error::invalid(
                Field::CreatedBy,
                format!(
                    "createdBy {} is neither the id nor the name of an account, as metadata.createdByUserId and \
                     metadata.createdBy have them",
                    quoted(text)
                ),
            ));
        }
        Ok(Self::Named(text.to_owned()))
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// An action that a scope may carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action(String);

impl Action {
    /// Reads an action: lower-case letters, or `*`.
    pub fn parse(text: &str) -> Result<Self> {
        let letters = !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
        if (letters || text == "*") && text.len() <= ACTION {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(
            Field::Carries,
            format!(
                "carries {} is no action such as pull, push or delete",
                quoted(text)
            ),
        ))
    }

    /// The action.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Refuses a text with a secret in it: filters are kept with bulk runs, and shown.
fn refuse_secret(text: &str, name: &str, field: Field) -> Result<()> {
    if masked(text) == text {
        return Ok(());
    }
    let message = format!("{name} contains a secret; POST /tokens/lookup finds what it belongs to");
    Err(Error::invalid(field, message))
}

/// Reads a text to look for in descriptions.
pub fn parse_part(text: &str) -> Result<String> {
    refuse_secret(text, "description", Field::Description)?;
    if text.is_empty() || has_control(text) || text.chars().count() > DESCRIPTION {
        return Err(Error::invalid(
            Field::Description,
            format!(
                "description {} is not 1 to {DESCRIPTION} characters on one line, a part of a token's description",
                quoted(text)
            ),
        ));
    }
    Ok(text.to_owned())
}

/// The order of a list of tokens. Equal ones are in the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The value that decides.
    #[serde(rename = "b")]
    pub by: OrderBy,
    /// True for the exact reverse.
    #[serde(rename = "d")]
    pub descending: bool,
}

/// The value that a list of tokens is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderBy {
    /// The registry, and then the order in which the tokens were made in it.
    #[serde(rename = "r")]
    Registry,
    /// The name in lower case, by its bytes.
    #[serde(rename = "n")]
    Name,
    /// The order in which they were made.
    #[serde(rename = "c")]
    CreatedDate,
    /// The end; a token without one is the last.
    #[serde(rename = "e")]
    ExpiryDate,
    /// The last use; a token without one is the first.
    #[serde(rename = "u")]
    LastUsedDate,
    /// The last use, or else the creation.
    #[serde(rename = "s")]
    LastSeen,
}

impl Order {
    /// The orders that a caller can ask for, and their words.
    pub const WORDS: [(&'static str, OrderBy); 4] = [
        ("name", OrderBy::Name),
        ("createdDate", OrderBy::CreatedDate),
        ("expiryDate", OrderBy::ExpiryDate),
        ("lastUsedDate", OrderBy::LastUsedDate),
    ];

    /// Reads an order: one of the words, with `-` before it for the reverse.
    pub fn parse(text: &str) -> Result<Self> {
        let (word, descending) = match text.strip_prefix('-') {
            Some(word) => (word, true),
            None => (text, false),
        };
        let mut words = Self::WORDS.into_iter();
        let known = words.find(|(known, _)| *known == word);
        let (_, by) = known.ok_or_else(|| {
            let words: Vec<_> = Self::WORDS.iter().map(|(word, _)| *word).collect();
            Error::invalid(
                Field::OrderBy,
                format!(
                    "orderBy {} is none of {}, with or without - before it",
                    quoted(text),
                    words.join(", ")
                ),
            )
        })?;
        Ok(Self { by, descending })
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = Self::WORDS.iter();
        let word = words.find(|(_, by)| *by == self.by);
        let minus = if self.descending { "-" } else { "" };
        write!(f, "{minus}{}", word.map_or("", |(word, _)| word))
    }
}

/// The position of an item in a list that is ordered by instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPosition {
    /// Its instant, in microseconds since 1970.
    pub at: i64,
    /// Its internal key, which orders items of the same instant.
    pub key: i64,
}
