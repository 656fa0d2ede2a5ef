//! Issued tokens: the API tokens and app tokens of all accounts, as lists show them, and the filters of these lists.
//!
//! Owns the states of issued tokens and the form of filters. Refuses to know who may see which.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Attribution;
use super::id::{AccountId, RegistryId};
use super::period::Period;
use super::precondition::Tag;
use super::registry_api_token::TokenLevel;
use super::text::{has_control, quoted};
use crate::error::{Error, Field, Result};

/// The longest text of a filter, in characters: that of an API token's name.
const TEXT_LENGTH: usize = 1024;

/// The state of an issued token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuedState {
    /// It is in force.
    Enabled,
    /// It has ended by itself.
    Expired,
    /// It was revoked. An app token that is revoked is gone.
    Revoked,
}

impl IssuedState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Expired, Self::Revoked];
    /// Those of an app token.
    pub const OF_APP_TOKENS: [Self; 2] = [Self::Enabled, Self::Expired];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// Reads a state as a caller sends it, one of those that tokens of a kind can have.
    pub fn parse(text: &str, possible: &[Self]) -> Result<Self> {
        let found = possible.iter().find(|state| state.as_str() == text);
        found.copied().ok_or_else(|| {
            let words: Vec<_> = possible.iter().map(|state| state.as_str()).collect();
            Error::invalid(
                Field::State,
                format!("state {} is none of {}", quoted(text), words.join(", ")),
            )
        })
    }
}

/// An account by its id or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountText {
    /// By its id.
    Id(AccountId),
    /// By its name.
    Name(String),
}

impl AccountText {
    /// Reads an account. A text in the form of an id is one.
    pub fn parse(parameter: &str, field: Field, text: String) -> Result<Self> {
        if let Ok(id) = AccountId::parse(&text) {
            return Ok(Self::Id(id));
        }
        plain(parameter, field, &text)?;
        Ok(Self::Name(text))
    }
}

/// A name, or the beginning of names. ASCII letters are compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// The text, in lower case.
    pub text: String,
    /// True if names that go on after the text match too.
    pub begins: bool,
}

impl NamePattern {
    /// Reads a name, or the beginning of names with `*` after it.
    pub fn parse(text: &str) -> Result<Self> {
        plain("name", Field::Name, text)?;
        let (text, begins) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        Ok(Self {
            text: text.to_ascii_lowercase(),
            begins,
        })
    }
}

fn plain(parameter: &str, field: Field, text: &str) -> Result<()> {
    if !has_control(text) && text.chars().count() <= TEXT_LENGTH {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!(
            "{parameter} {} has more than {TEXT_LENGTH} characters, or control characters among them",
            quoted(text)
        ),
    ))
}

/// A filter of issued tokens, relative to the time of the request. Tokens must meet all given conditions; none is all
/// tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuedFilter {
    /// The account that the token acts for.
    pub owner: Option<AccountText>,
    /// The account that made it.
    pub created_by: Option<AccountText>,
    /// Its name.
    pub name: Option<NamePattern>,
    /// Tokens neither made nor used within this time before now.
    pub unused_since: Option<Period>,
    /// Tokens in force that end within this time.
    pub expiring_within: Option<Period>,
    /// Its state.
    pub state: Option<IssuedState>,
    /// True for tokens that were never used, false for those that were.
    pub never_used: Option<bool>,
    /// Registry API tokens of this registry.
    pub registry: Option<RegistryId>,
    /// API tokens of this type.
    pub r#type: Option<ApiTokenType>,
}

/// A type of API tokens, as a filter names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiTokenType {
    /// With roles.
    ApiToken,
    /// With a registry and a level.
    RegistryApiToken,
}

impl ApiTokenType {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ApiToken, Self::RegistryApiToken];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiToken => "api-token",
            Self::RegistryApiToken => "registry-api-token",
        }
    }

    /// Reads a type as a caller sends it.
    pub fn parse(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == text);
        found.ok_or_else(|| {
            Error::invalid(
                Field::Type,
                format!(
                    "type {} is neither \"api-token\" nor \"registry-api-token\"",
                    quoted(text)
                ),
            )
        })
    }
}

impl IssuedFilter {
    /// The latest instant at which a token may have been made or used, if there is one.
    #[must_use]
    pub fn unused_since(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let since = TimeDelta::from(self.unused_since?);
        Some(
            now.checked_sub_signed(since)
                .unwrap_or(DateTime::<Utc>::MIN_UTC),
        )
    }

    /// The latest end that a token in force may have, if there is one.
    #[must_use]
    pub fn expiring_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let within = TimeDelta::from(self.expiring_within?);
        Some(
            now.checked_add_signed(within)
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
        )
    }
}

/// The kind of an issued token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuedKind {
    /// An API token, with the names of its roles.
    ApiToken(Vec<String>),
    /// A registry API token.
    RegistryApiToken {
        /// Its registry.
        registry: RegistryId,
        /// The name of the registry.
        name: String,
        /// Its level.
        level: TokenLevel,
    },
    /// An app token.
    AppToken,
}

/// An issued token, as lists show it. It has no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// Internal key.
    pub key: i64,
    /// Public id.
    pub id: Uuid,
    /// Its kind.
    pub kind: IssuedKind,
    /// Its name; the title of an app token.
    pub name: String,
    /// A text for people.
    pub description: Option<String>,
    /// The account that it acts for, by id and present name.
    pub owner: (AccountId, String),
    /// The account that made it, and the time.
    pub created: Attribution,
    /// Its end; never if none.
    pub expires_at: Option<DateTime<Utc>>,
    /// True if it was revoked.
    pub revoked: bool,
    /// Its last use, as far as it is written.
    pub used_at: Option<DateTime<Utc>>,
}

impl IssuedToken {
    /// The tag of its state at an instant. It is never changed, but it ends.
    #[must_use]
    pub fn tag_at(&self, now: DateTime<Utc>) -> Tag {
        Tag {
            key: self.key,
            version: 1,
            state: match self.state_at(now) {
                IssuedState::Enabled => 0,
                IssuedState::Expired => 1,
                IssuedState::Revoked => 2,
            },
        }
    }

    /// Its state at an instant.
    #[must_use]
    pub fn state_at(&self, now: DateTime<Utc>) -> IssuedState {
        if self.revoked {
            IssuedState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            IssuedState::Expired
        } else {
            IssuedState::Enabled
        }
    }
}

/// A page of issued tokens.
#[derive(Debug, Clone)]
pub struct IssuedPage {
    /// In creation order.
    pub tokens: Vec<IssuedToken>,
    /// All that the filter lets pass.
    pub total: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_or_begin() {
        let parse = |text: &str| NamePattern::parse(text).unwrap();
        for (text, expected, begins) in [
            ("CI", "ci", false),
            ("Ci-*", "ci-", true),
            ("*", "", true),
            ("a*b", "a*b", false),
            ("Ä", "Ä", false),
        ] {
            let pattern = parse(text);
            assert_eq!((pattern.text.as_str(), pattern.begins), (expected, begins));
        }
        for wrong in ["a\0", &"x".repeat(1025)] {
            assert!(NamePattern::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn an_account_is_meant_by_its_id_or_its_name() {
        let parse = |text: &str| AccountText::parse("owner", Field::Owner, text.to_owned());
        let id = "7ee77dcf-093f-48e6-9a14-161c73568589";
        let expected = AccountText::Id(AccountId::parse(id).unwrap());
        assert_eq!(parse(id).unwrap(), expected);
        assert_eq!(
            parse("alice").unwrap(),
            AccountText::Name("alice".to_owned())
        );
        assert!(parse("a\0").is_err());
    }

    #[test]
    fn states_and_types_are_what_they_are_called() {
        for state in IssuedState::ALL {
            assert_eq!(
                IssuedState::parse(state.as_str(), &IssuedState::ALL).unwrap(),
                state
            );
        }
        assert!(IssuedState::parse("revoked", &IssuedState::OF_APP_TOKENS).is_err());
        let words = IssuedState::ALL.map(IssuedState::as_str);
        assert_eq!(words, ["enabled", "expired", "revoked"]);
        for r#type in ApiTokenType::ALL {
            assert_eq!(ApiTokenType::parse(r#type.as_str()).unwrap(), r#type);
        }
        assert!(ApiTokenType::parse("app-token").is_err());
    }

    #[test]
    fn a_token_is_revoked_or_else_ends() {
        let at = |hours| DateTime::UNIX_EPOCH + TimeDelta::hours(hours);
        for (revoked, expires_at, state) in [
            (false, None, IssuedState::Enabled),
            (false, Some(at(11)), IssuedState::Enabled),
            (false, Some(at(10)), IssuedState::Expired),
            (true, Some(at(9)), IssuedState::Revoked),
            (true, None, IssuedState::Revoked),
        ] {
            let owner = AccountId(Uuid::nil());
            let token = IssuedToken {
                key: 1,
                id: Uuid::nil(),
                kind: IssuedKind::AppToken,
                name: "ci".to_owned(),
                description: None,
                owner: (owner, "alice".to_owned()),
                created: Attribution {
                    at: at(0),
                    by: owner,
                    by_name: "alice".to_owned(),
                },
                expires_at,
                revoked,
                used_at: None,
            };
            assert_eq!(token.state_at(at(10)), state, "{revoked} {expires_at:?}");
        }
        let day = Some(Period::of_days(1));
        let filter = IssuedFilter {
            unused_since: day,
            expiring_within: day,
            ..IssuedFilter::default()
        };
        assert_eq!(filter.unused_since(at(30)), Some(at(6)));
        assert_eq!(filter.expiring_until(at(30)), Some(at(54)));
        let all = IssuedFilter::default();
        assert_eq!(
            (all.unused_since(at(30)), all.expiring_until(at(30))),
            (None, None)
        );
    }
}
