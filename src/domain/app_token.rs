//! App tokens, which open every registry that an account may use, on its behalf.
//!
//! Owns titles, the lookup of codes, and the rule for tokens that end soon. The code itself belongs to
//! [`secret`](super::secret). Facts about Quay, whose clients call these tokens app specific, are in `docs/QUAY.md`.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::audit::{Recorded, SubjectKind};
use super::escalation::Credential;
use super::id::AppTokenId;
use super::membership::Membership;
use super::role::Permissions;
use super::text::{has_control, quoted};
use crate::error::{Error, Field, Result};

/// The user name that a code is the password of.
pub const USER: &str = "$app";
/// The number of a code's characters in the lookup: the half that is no secret without the other.
const LOOKUP: usize = 60;
/// The longest title, in characters: that of Quay's column.
const TITLE_LENGTH: usize = 255;
/// The life of which the last tenth counts as soon, if the service sets no life.
const LIFE: TimeDelta = TimeDelta::weeks(4);

/// The title of a token, as it was sent. Others may have the same title, and it may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    /// Reads a title: up to 255 characters, no control characters.
    pub fn parse(text: String) -> Result<Self> {
        if text.chars().count() > TITLE_LENGTH {
            return Err(Error::invalid(
                Field::Other("title"),
                format!("the title is longer than {TITLE_LENGTH} characters"),
            ));
        }
        // PostgreSQL refuses a NUL in a text, and logs and terminals act on the others.
        if has_control(&text) {
            return Err(Error::invalid(
                Field::Other("title"),
                format!("title {} contains a control character", quoted(&text)),
            ));
        }
        Ok(Self(text))
    }

    /// The title as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Title> for String {
    fn from(title: Title) -> Self {
        title.0
    }
}

/// A token as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppToken {
    /// Public id.
    pub id: AppTokenId,
    /// The title.
    pub title: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Its end; never if none.
    pub expires_at: Option<DateTime<Utc>>,
    /// Its last use at a registry, as far as it is written.
    pub used_at: Option<DateTime<Utc>>,
}

/// The rights of an app token: all those of its account.
#[derive(Debug, Clone, Copy)]
pub struct WholeAccount<'a> {
    /// The levels of the account on all registries.
    pub memberships: &'a [Membership],
}

impl Credential for WholeAccount<'_> {
    /// The account's own, through the API token that it came with.
    type Held = Permissions;

    fn require_held(&self, held: &Permissions) -> Result<()> {
        if held.whole(self.memberships) {
            return Ok(());
        }
        Err(Error::Forbidden(
            "an app token opens all that its account may open, and this API token may do less; use an API token with \
             all roles of the account, or the account's password"
                .to_owned(),
        ))
    }
}

/// The part of a code by which its token is looked up.
#[must_use]
pub fn lookup(code: &str) -> &str {
    code.get(..LOOKUP).unwrap_or(code)
}

/// The time before its end in which a token ends soon: a tenth of the life, at least a second.
#[must_use]
pub fn notice(life: Option<TimeDelta>) -> TimeDelta {
    let seconds = life.unwrap_or(LIFE).num_seconds().max(1);
    TimeDelta::seconds((seconds + 9) / 10)
}

impl Recorded for AppToken {
    const KIND: SubjectKind = SubjectKind::AppToken;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        json!({"title": self.title, "expires": self.expires_at})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::Level;

    #[test]
    fn titles_are_kept_as_they_are() {
        for right in ["", " ", " a ", "ä", &"ä".repeat(255)] {
            assert_eq!(Title::parse(right.to_owned()).unwrap().as_str(), right);
        }
        for wrong in ["a\0", "a\nb", &"ä".repeat(256)] {
            assert!(
                Title::parse(wrong.to_owned()).is_err(),
                "{wrong:?} was accepted"
            );
        }
    }

    #[test]
    fn soon_is_a_tenth_of_a_life() {
        let notice = |life| notice(life).num_seconds();
        assert_eq!(notice(None), 241_920);
        for (life, soon) in [(1, 1), (9, 1), (10, 1), (11, 2), (100, 10)] {
            assert_eq!(notice(Some(TimeDelta::seconds(life))), soon, "{life} s");
        }
    }

    #[test]
    fn an_app_token_needs_all_that_its_account_may_do() {
        let permissions = |level| {
            let mut permissions = Permissions::default();
            permissions.grant("*".to_owned(), level);
            permissions
        };
        let made = |held: &Permissions| {
            WholeAccount {
                memberships: &[Membership::Owner],
            }
            .require_held(held)
            .is_ok()
        };
        let account = permissions(Level::Write);
        assert!(made(&account));
        assert!(made(&account.clone().bounded_by(permissions(Level::Write))));
        assert!(!made(&account.bounded_by(permissions(Level::Read))));
    }

    #[test]
    fn a_code_is_looked_up_by_its_beginning() {
        let code = "W".repeat(LOOKUP + 1);
        assert_eq!(lookup(&code), "W".repeat(LOOKUP));
        assert_eq!(lookup("short"), "short");
    }
}
