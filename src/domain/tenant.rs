//! A registry as logins and work on its tokens know it: the few facts that they need.

use super::allow_list::AllowList;
use super::id::{RegistryId, RegistryKey};
use super::life::Lives;
use super::period::Period;
use super::token_verifier::TokenVerifier;

/// The reason for which nothing opens a frozen registry.
const FROZEN: &str = "the registry is frozen, so nothing opens it";

/// A registry, as far as logins need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Internal key.
    pub key: RegistryKey,
    /// Public id.
    pub id: RegistryId,
    /// Name, and the first part of its host name.
    pub name: String,
    /// The trust anchor for JWTs.
    pub verifier: TokenVerifier,
    /// The addresses from which its tokens may be used.
    pub api_subnet_allow_list: AllowList,
    /// The greatest age of its tokens' secrets.
    pub maximum_secret_age: Option<Period>,
    /// True if nothing opens it.
    pub frozen: bool,
}

impl Tenant {
    /// The reason for which no credential opens the registry, if there is one, for a caller over HTTP.
    #[must_use]
    pub fn shut(&self) -> Option<String> {
        let reason = format!("{FROZEN}; PATCH it with \"frozen\": false to thaw it");
        self.frozen.then_some(reason)
    }

    /// The same for the operator of the machine.
    #[must_use]
    pub fn shut_for_operator(&self) -> Option<String> {
        let reason = format!(
            "{FROZEN}; thaw it by `wharfinger registry thaw {}`",
            self.name
        );
        self.frozen.then_some(reason)
    }

    /// The registry, as far as work on its tokens needs it.
    #[must_use]
    pub fn home(&self) -> TokenRules {
        TokenRules {
            key: self.key,
            lives: Lives::default(),
            maximum_secret_age: self.maximum_secret_age,
        }
    }
}

/// A registry, as far as work on its tokens needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRules {
    /// Internal key.
    pub key: RegistryKey,
    /// The registry's own rules for the life of its tokens. [`Tenant::home`] has none: logins need none.
    pub lives: Lives,
    /// The greatest age of its tokens' secrets.
    pub maximum_secret_age: Option<Period>,
}

/// A registry, as far as lists of tokens of several registries name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Public id.
    pub id: RegistryId,
    /// Name.
    pub name: String,
    /// The registry, as far as work on its tokens needs it.
    pub rules: TokenRules,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_opens_a_frozen_registry() {
        for frozen in [false, true] {
            let tenant = Tenant {
                key: RegistryKey(1),
                id: RegistryId(uuid::Uuid::nil()),
                name: "prod".to_owned(),
                verifier: TokenVerifier::X5c,
                api_subnet_allow_list: AllowList::default(),
                maximum_secret_age: Some(Period::of_days(9)),
                frozen,
            };
            assert_eq!(tenant.shut().is_some(), frozen);
            let told = tenant.shut_for_operator();
            assert_eq!(told.is_some(), frozen);
            assert!(told.is_none_or(|told| told.contains("registry thaw prod")));
            assert_eq!(tenant.home().maximum_secret_age, tenant.maximum_secret_age);
        }
    }
}
