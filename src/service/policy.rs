//! The rules that an operator sets, as use cases ask for them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use super::throttle::Limits;
use crate::domain::account::Actor;
use crate::domain::caps::Caps;
use crate::domain::escalation::Holder;
use crate::domain::life::Lives;
use crate::domain::membership::Rights;
use crate::domain::registry::RegistryName;
use crate::domain::signing::Algorithm;

/// Rules that an operator sets.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Policy {
    /// The end of registries' host names.
    pub registry_domain: String,
    /// The locations of registries.
    pub locations: Vec<String>,
    /// The cost of bcrypt for new passwords.
    pub bcrypt_cost: u32,
    /// Threads that check passwords.
    pub password_threads: usize,
    /// How long tokens last, as far as their registry does not say.
    pub lives: Lives,
    /// How long expired tokens stay listed; `None` is for ever.
    pub expired_token_retention: Option<Duration>,
    /// What registries know this service by: the issuer of JWTs.
    pub jwt_issuer: String,
    /// How long a JWT lasts, unless the token behind it ends sooner.
    pub jwt_life: Duration,
    /// A client that asks for a refresh token gets one.
    pub refresh_tokens: bool,
    /// How new keys sign.
    pub jwt_algorithm: Algorithm,
    /// How old the signing key of an `x5c` registry gets.
    pub key_rotation: Duration,
    /// How long expired API tokens stay listed.
    pub api_token_retention: Duration,
    /// How long before its end the log speaks of an API token; not at all, if that is no time.
    pub notice_window: Duration,
    /// How long the log does not speak of it again.
    pub notice_repeat: Duration,
    /// Whether what an API token makes ends no later than itself.
    pub bounded_delegation: bool,
    /// How long app tokens last; for ever if none.
    pub app_token_life: Option<Duration>,
    /// How long expired app tokens stay listed; `None` is for ever.
    pub app_token_retention: Option<Duration>,
    /// Whether the codes of app tokens are kept sealed, to be shown again.
    pub app_token_reveal: bool,
    /// How long events stay in the audit trail; `None` is for ever.
    pub audit_retention: Option<Duration>,
    /// How recent a sign-in has to be for what shows or changes codes.
    pub fresh_login: Duration,
    /// How many there may be of what is made.
    pub caps: Caps,
    /// Changes that an account may make in an hour.
    pub changes_per_hour: u32,
    /// How many failures are borne.
    pub failures: Limits,
    /// What the operator's secret scanner comes with; without it there is none.
    pub secret_scanner: Option<SecretString>,
    /// What the operator's monitor comes with; without it there is none.
    pub monitor: Option<SecretString>,
    /// Whether what is reported as leaked opens nothing any more.
    pub end_leaked_tokens: bool,
}

impl Policy {
    /// The host name of a registry, by which clients and the registry itself name it.
    #[must_use]
    pub fn service_name(&self, registry: &str) -> String {
        format!("{registry}.{}", self.registry_domain)
    }

    /// The name of the registry that a host name belongs to.
    #[must_use]
    pub fn registry_name<'a>(&self, service: &'a str) -> Option<&'a str> {
        let name = service
            .strip_suffix(self.registry_domain.as_str())?
            .strip_suffix('.')?;
        RegistryName::parse(name).ok().map(|_| name)
    }

    /// When all has to end that somebody makes or learns, if they came with an API token and that is to bound it.
    pub(super) fn bound(&self, actor: &Actor) -> Option<DateTime<Utc>> {
        let bearer = actor.bearer.as_ref();
        bearer
            .filter(|_| self.bounded_delegation)
            .map(|bearer| bearer.expires_at)
    }

    /// The rights of this actor on a registry.
    pub(super) fn holder(&self, actor: &Actor, rights: Rights) -> Holder<Rights> {
        Holder {
            rights,
            until: self.bound(actor),
        }
    }

    pub(super) fn jwt_life(&self) -> TimeDelta {
        TimeDelta::from_std(self.jwt_life).unwrap_or(TimeDelta::MAX)
    }

    pub(super) fn key_rotation(&self) -> TimeDelta {
        TimeDelta::from_std(self.key_rotation).unwrap_or(TimeDelta::MAX)
    }
}
