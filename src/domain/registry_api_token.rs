//! Registry API tokens: API tokens that act on one registry alone, at most as a maintainer.
//!
//! Owns their levels and the rights that they carry. They are API tokens in all else, and their stored part is in
//! [`api_token`](super::api_token).

use chrono::{DateTime, Utc};

use super::escalation::{Credential, Holder, is_later};
use super::id::RegistryKey;
use super::membership::{Membership, Rights};
use super::role::Permissions;
use super::text::quoted;
use crate::error::{Error, Field, Result};

/// The registry that a registry API token is bound to. The key never comes back, so no later registry revives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// The registry.
    pub registry: RegistryKey,
    /// The most that the token may do there; `None`, which is nothing, if a later release wrote another level.
    pub level: Option<TokenLevel>,
}

/// The level of a registry API token: that of a membership, but never owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLevel(Membership);

impl TokenLevel {
    /// Every level, the lowest first.
    pub const ALL: [Self; 2] = [Self(Membership::Reader), Self(Membership::Maintainer)];

    /// The word on the wire and in the tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0.as_str()
    }

    /// The level of a stored word. An unknown word is none, and so permits nothing.
    #[must_use]
    pub fn from_stored(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }

    /// Reads a level as a caller sends it.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_stored(text).ok_or_else(|| {
            Error::invalid(
                Field::Level,
                format!(
                    "level {} is neither \"maintainer\" nor \"reader\"; no registry API token acts as an owner",
                    quoted(text)
                ),
            )
        })
    }

    /// The membership that has the same rights.
    #[must_use]
    pub fn membership(self) -> Membership {
        self.0
    }

    /// The most that a token of this level may do.
    #[must_use]
    pub fn rights(self) -> Rights {
        Permissions::default().on(Some(self.0))
    }
}

/// The rights that a registry API token carries, and its end.
#[derive(Debug, Clone, Copy)]
pub struct ConfinedGrant {
    /// The level.
    pub level: TokenLevel,
    /// The end.
    pub expires_at: DateTime<Utc>,
}

impl Credential for ConfinedGrant {
    type Held = Holder<Rights>;

    fn require_held(&self, held: &Holder<Rights>) -> Result<()> {
        let lacks = held.rights.lacks_of(self.level.rights());
        if !lacks.is_empty() {
            return Err(Error::Forbidden(format!(
                "the token would get rights on this registry that you lack: {}; nobody obtains more rights than they \
                 have",
                lacks.join(", ")
            )));
        }
        let Some(bound) = held
            .until
            .filter(|_| is_later(Some(self.expires_at), held.until))
        else {
            return Ok(());
        };
        Err(Error::invalid(
            Field::ExpiryDate,
            format!(
                "the token would last longer than the API token that it is made with; give an expiry date up to {}",
                bound.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn holder(membership: Membership, until: Option<DateTime<Utc>>) -> Holder<Rights> {
        Holder {
            rights: Permissions::default().on(Some(membership)),
            until,
        }
    }

    #[test]
    fn no_level_is_an_owners() {
        for level in TokenLevel::ALL {
            assert_eq!(TokenLevel::parse(level.as_str()).unwrap(), level);
            assert!(level.membership() < Membership::Owner);
        }
        for wrong in ["", "owner", "Reader"] {
            assert_eq!(TokenLevel::from_stored(wrong), None);
            assert!(TokenLevel::parse(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn a_token_carries_no_more_than_its_maker_holds() {
        let now = DateTime::from_timestamp(0, 0).unwrap();
        for membership in Membership::ALL {
            for level in TokenLevel::ALL {
                let grant = ConfinedGrant {
                    level,
                    expires_at: now,
                };
                let held = grant.require_held(&holder(membership, None)).is_ok();
                assert_eq!(
                    held,
                    level.membership() <= membership,
                    "{membership} {level:?}"
                );
            }
        }
        let grant = ConfinedGrant {
            level: TokenLevel::ALL[0],
            expires_at: now,
        };
        let bounded = |until| grant.require_held(&holder(Membership::Owner, Some(until)));
        assert!(bounded(now).is_ok());
        assert!(bounded(now - TimeDelta::seconds(1)).is_err());
    }
}
