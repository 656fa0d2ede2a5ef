//! The operator's rules, as use cases read them.

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

/// The answer to a database that lost changes which it had acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// The service goes on.
    Continue,
    /// Nobody is let in until an operator confirms the state of the database, as after a restore.
    Freeze,
}

/// The operator's rules.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Policy {
    /// The suffix of registries' host names.
    pub registry_domain: String,
    /// The locations of registries.
    pub locations: Vec<String>,
    /// The cost of bcrypt for new passwords.
    pub bcrypt_cost: u32,
    /// Threads that check passwords.
    pub password_threads: usize,
    /// The life of tokens, unless their registry sets one.
    pub lives: Lives,
    /// The time for which expired tokens stay listed; `None` is for ever.
    pub expired_token_retention: Option<Duration>,
    /// The issuer of JWTs, by which registries know this service.
    pub jwt_issuer: String,
    /// The life of a JWT, unless the token behind it ends sooner.
    pub jwt_life: Duration,
    /// True if a client that asks for a refresh token gets one.
    pub refresh_tokens: bool,
    /// The algorithm of new signing keys.
    pub jwt_algorithm: Algorithm,
    /// The age at which the signing key of an `x5c` registry is replaced.
    pub key_rotation: Duration,
    /// The time for which expired API tokens stay listed.
    pub api_token_retention: Duration,
    /// The time before the end of an API token in which the log gives notice of it; zero is never.
    pub notice_window: Duration,
    /// The time between two notices of one API token.
    pub notice_repeat: Duration,
    /// True if everything that an API token makes ends no later than itself.
    pub bounded_delegation: bool,
    /// The life of app tokens; `None` is for ever.
    pub app_token_life: Option<Duration>,
    /// The time for which expired app tokens stay listed; `None` is for ever.
    pub app_token_retention: Option<Duration>,
    /// True if the codes of app tokens are kept sealed, to be shown again.
    pub app_token_reveal: bool,
    /// The time for which events stay in the audit trail; `None` is for ever.
    pub audit_retention: Option<Duration>,
    /// The greatest age of a sign-in that may show or change codes.
    pub fresh_login: Duration,
    /// The limits on the number of things.
    pub caps: Caps,
    /// Changes that an account may make in an hour.
    pub changes_per_hour: u32,
    /// The limits on failures.
    pub failures: Limits,
    /// The token of the operator's secret scanner; without it there is none.
    pub secret_scanner: Option<SecretString>,
    /// The token of the operator's monitor; without it there is none.
    pub monitor: Option<SecretString>,
    /// True if leaked credentials are ended when they are reported.
    pub end_leaked_tokens: bool,
    /// The answer to a loss.
    pub on_loss: OnLoss,
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

    /// The latest end of everything that the actor makes or learns, if an API token bounds it.
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
