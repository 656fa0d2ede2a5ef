//! Limits on the number of things that clients can make. The operator sets the numbers, the messages are here; code
//! that adds a thing counts in the same transaction.

use crate::error::{Error, Result};

/// The registry API tokens in force that one account makes for itself in a registry whose members it does not manage: it
/// must not take the places of all.
pub const OWN_REGISTRY_API_TOKENS: i64 = 20;

/// The most of each kind at once. A lowered limit removes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Living registries that one account made.
    pub registries: i64,
    /// Tokens of one registry.
    pub tokens: i64,
    /// Members of one registry, and also its registry API tokens in force.
    pub members: i64,
    /// Trusts of one registry.
    pub trusts: i64,
    /// App tokens of one account, expired ones that are still listed included.
    pub app_tokens: i64,
    /// API tokens that are neither revoked nor expired, of all accounts.
    pub api_tokens: i64,
}

impl Caps {
    /// Refuses a registry to an account that made `made`.
    pub fn admit_registry(self, made: i64) -> Result<()> {
        let full = "your account has made";
        admit(made, self.registries, full, "registries", "delete")
    }

    /// Refuses a token to a registry that has `held`.
    pub fn admit_token(self, held: i64) -> Result<()> {
        admit(held, self.tokens, "this registry has", "tokens", "delete")
    }

    /// Refuses a member to a registry that has `held`.
    pub fn admit_member(self, held: i64) -> Result<()> {
        admit(held, self.members, "this registry has", "members", "remove")
    }

    /// Refuses a registry API token to a registry that has `in_force` in force.
    pub fn admit_registry_api_token(self, in_force: i64) -> Result<()> {
        let full = "this registry has";
        admit(
            in_force,
            self.members,
            full,
            "API tokens in force",
            "revoke",
        )
    }

    /// Refuses a registry API token to an account that has made `in_force` in a registry whose members it does not manage.
    pub fn admit_own_registry_api_token(self, in_force: i64) -> Result<()> {
        let full = "your account has made";
        let most = self.members.min(OWN_REGISTRY_API_TOKENS);
        let things = "API tokens in force of this registry";
        admit(in_force, most, full, things, "revoke")
    }

    /// Refuses a trust to a registry that has `held`.
    pub fn admit_trust(self, held: i64) -> Result<()> {
        admit(held, self.trusts, "this registry has", "trusts", "delete")
    }

    /// Refuses an app token to an account that has `held`.
    pub fn admit_app_token(self, held: i64) -> Result<()> {
        let full = "your account has";
        admit(held, self.app_tokens, full, "app tokens", "delete")
    }

    /// Refuses an API token if `in_force` are in force.
    pub fn admit_api_token(self, in_force: i64) -> Result<()> {
        let full = "this service has";
        admit(
            in_force,
            self.api_tokens,
            full,
            "API tokens in force",
            "revoke",
        )
    }
}

fn admit(count: i64, most: i64, full: &str, things: &str, remedy: &str) -> Result<()> {
    if count < most {
        return Ok(());
    }
    Err(Error::Full(format!(
        "{full} {count} {things}, and no more than {most} are allowed; {remedy} one that is not needed any more"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_given_and_no_more() {
        let caps = Caps {
            registries: 3,
            tokens: 3,
            members: 3,
            trusts: 3,
            app_tokens: 3,
            api_tokens: 3,
        };
        for admit in [
            Caps::admit_registry,
            Caps::admit_token,
            Caps::admit_member,
            Caps::admit_trust,
            Caps::admit_app_token,
            Caps::admit_api_token,
            Caps::admit_registry_api_token,
            Caps::admit_own_registry_api_token,
        ] {
            assert!(admit(caps, 2).is_ok());
            // A number that was lowered leaves more than it allows.
            for count in [3, 4] {
                let refused = admit(caps, count).unwrap_err();
                assert!(matches!(refused, Error::Full(_)), "{refused:?}");
                let text = refused.to_string();
                assert!(text.contains(&format!(" {count} ")), "{text}");
                assert!(text.contains("more than 3 are"), "{text}");
            }
        }
    }
}
