//! Trusts: a registry opens to the workloads of an issuer whose JWTs have certain claims.
//!
//! Owns what a trust is, its rights for the rule against privilege escalation, and which changes end what was issued
//! for it before. Refuses to know how a JWT is proven.

use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Attribution;
use super::allow_list::AllowList;
use super::audit::{Recorded, SubjectKind};
use super::claims::ClaimRules;
use super::escalation::{Changeable, Credential, Holder};
use super::id::{IssuerId, RegistryKey, TrustId, TrustKey};
use super::issuer::IssuerRules;
use super::membership::Rights;
use super::patch::Patch;
use super::period::Period;
use super::precondition::Tag;
use super::status::Status;
use super::tenant::Tenant;
use super::text::{has_control, quoted};
use super::token::{Grant, TokenName, check_expiry};
use super::token_scope::{Scope, check_wildcards};
use crate::error::{Error, Field, Result};

/// The longest audience, in characters.
const AUDIENCE: usize = 256;
/// The shortest life of a password: the least that clients of registries understand.
const SHORTEST_LIFE: Period = Period::of_minutes(1);
/// The longest life of a password for which a JWT is exchanged, and that of a trust that sets none.
pub const LONGEST_LIFE: Period = Period::of_minutes(60);

/// Reads the audience of a trust: 1 to 256 characters that all show.
pub fn parse_audience(text: String) -> Result<String> {
    let length = text.chars().count();
    if (1..=AUDIENCE).contains(&length) && !has_control(&text) {
        return Ok(text);
    }
    Err(Error::invalid(
        Field::Audience,
        format!(
            "audience {} is not 1 to {AUDIENCE} characters without control characters",
            quoted(&text)
        ),
    ))
}

/// Reads the longest life of a password: a minute to an hour.
pub fn parse_maximum_life(text: &str) -> Result<Period> {
    let life = Period::parse_up_to(LONGEST_LIFE, "maximumLife", Field::MaximumLife, text)?;
    if life >= SHORTEST_LIFE {
        return Ok(life);
    }
    Err(Error::invalid(
        Field::MaximumLife,
        format!("maximumLife: {life} is too short; send {SHORTEST_LIFE} at least"),
    ))
}

/// A life in its one form: the longest is that of a trust that sets none.
fn shortened(life: Option<Period>) -> Option<Period> {
    life.filter(|life| *life != LONGEST_LIFE)
}

/// A trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Internal key.
    pub key: TrustKey,
    /// Public id, unique in the registry.
    pub id: TrustId,
    /// The registry it opens.
    pub registry: RegistryKey,
    /// Name, and the user name that workloads log in with. No token of the registry has it.
    pub name: String,
    /// The issuer of the JWTs.
    pub issuer: IssuerRules,
    /// The one audience of the JWTs; `None` is the registry's host name.
    pub audience: Option<String>,
    /// The rules for the claims of the JWTs.
    pub claims: ClaimRules,
    /// The scopes that the workloads get.
    pub scopes: Vec<Scope>,
    /// The addresses from which it may be used, within the registry's list.
    pub allowed_cidrs: AllowList,
    /// The life of a password for which a JWT is exchanged; `None` is [`LONGEST_LIFE`].
    pub maximum_life: Option<Period>,
    /// As set; expiry does not change it.
    pub status: Status,
    /// Its end; `None` is never.
    pub expiry_date: Option<DateTime<Utc>>,
    /// Rises with each change that ends what was issued before: of issuer, audience or claims, and when it is disabled.
    pub generation: i64,
    /// Counts every change.
    pub version: i64,
    /// The account that made it, and the time.
    pub created: Attribution,
    /// The account that last changed it, and the time.
    pub modified: Option<Attribution>,
}

impl Trust {
    /// The tag of its state at an instant. Its end changes it.
    #[must_use]
    pub fn tag_at(&self, now: DateTime<Utc>) -> Tag {
        Tag {
            key: self.key.0,
            version: self.version,
            state: u8::from(self.state_at(now) == "expired"),
        }
    }

    /// Disabled, else expired, else enabled.
    #[must_use]
    pub fn state_at(&self, now: DateTime<Utc>) -> &'static str {
        match self.status {
            Status::Disabled => "disabled",
            Status::Enabled if self.expiry_date.is_some_and(|end| end <= now) => "expired",
            Status::Enabled => "enabled",
        }
    }

    /// The life of a password for which a JWT is exchanged.
    #[must_use]
    pub fn life(&self) -> Period {
        self.maximum_life.unwrap_or(LONGEST_LIFE)
    }

    /// The reason for which the trust opens nothing at an instant; `None` if it is usable.
    #[must_use]
    pub fn unusable_at(&self, now: DateTime<Utc>) -> Option<String> {
        let end = |end: DateTime<Utc>| {
            let end = end.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            format!("the trust expired at {end}")
        };
        match (self.issuer.status, self.status, self.expiry_date) {
            (_, Status::Disabled, _) => Some("the trust is disabled".to_owned()),
            (Status::Disabled, ..) => Some("the trust's issuer is disabled".to_owned()),
            (.., Some(expired)) if expired <= now => Some(end(expired)),
            _ => None,
        }
    }

    /// The reason for which an address may not use the trust; `None` if its registry's list and its own admit it.
    #[must_use]
    pub fn closed_to(&self, tenant: &Tenant, address: IpAddr) -> Option<String> {
        if !tenant.api_subnet_allow_list.admits(address) {
            return Some(format!(
                "the registry's apiSubnetAllowList does not contain {address}"
            ));
        }
        (!self.allowed_cidrs.admits(address))
            .then(|| format!("the trust's allowedCidrs do not contain {address}"))
    }

    /// Its rights.
    #[must_use]
    pub fn grant(&self) -> TrustGrant<'_> {
        TrustGrant(self)
    }

    /// Replaces all fields but the name. `issuer` is that of `new`. Returns true if anything changed.
    pub fn replace(
        &mut self,
        new: NewTrust,
        issuer: &IssuerRules,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let NewTrust {
            name,
            issuer: _,
            audience,
            claims,
            scopes,
            allowed_cidrs,
            maximum_life,
            status,
            expiry_date,
        } = new;
        let patch = TrustPatch {
            name: Some(name.as_str().to_owned()),
            issuer: Some(issuer.id),
            audience: audience.into(),
            claims: Some(claims),
            scopes: Some(scopes),
            allowed_cidrs: Some(allowed_cidrs),
            maximum_life: maximum_life.into(),
            status: Some(status),
            expiry_date: expiry_date.into(),
        };
        self.update(patch, Some(issuer), now)
    }

    /// Applies a patch. `issuer` is that of the patch, if it has one. Returns true if anything changed.
    pub fn update(
        &mut self,
        patch: TrustPatch,
        issuer: Option<&IssuerRules>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let TrustPatch {
            name,
            issuer: _,
            audience,
            claims,
            scopes,
            allowed_cidrs,
            maximum_life,
            status,
            expiry_date,
        } = patch;
        if let Some(name) = name.filter(|name| *name != self.name) {
            return Err(Error::invalid(
                Field::Name,
                format!(
                    "\"name\" cannot be changed: this trust is named {}, not {}",
                    self.name,
                    quoted(&name)
                ),
            ));
        }
        let before = self.clone();
        if let Some(issuer) = issuer {
            self.issuer = issuer.clone();
        }
        if let Some(audience) = audience.change() {
            self.audience = audience;
        }
        if let Some(claims) = claims {
            self.claims = claims;
        }
        if let Some(scopes) = scopes {
            self.scopes = scopes;
        }
        if let Some(allowed_cidrs) = allowed_cidrs {
            self.allowed_cidrs = allowed_cidrs;
        }
        if let Some(maximum_life) = maximum_life.change() {
            self.maximum_life = shortened(maximum_life);
        }
        if let Some(status) = status {
            self.status = status;
        }
        if let Some(expiry_date) = expiry_date.change() {
            // A script that sends back a value that it read must not fail because time went on.
            if expiry_date != self.expiry_date {
                check_expiry(expiry_date, now)?;
            }
            self.expiry_date = expiry_date;
        }
        check_wildcards(&self.scopes)?;
        self.claims.require_pin(self.issuer.kind)?;
        let disabled = (before.status, self.status) == (Status::Enabled, Status::Disabled);
        if disabled || !self.has_same_workloads(&before) {
            self.generation += 1;
        }
        Ok(before != *self)
    }

    /// Returns true if it admits the JWTs that the other admits, as far as one can tell without reading the rules.
    fn has_same_workloads(&self, other: &Self) -> bool {
        self.issuer.key == other.issuer.key
            && self.audience == other.audience
            && self.claims == other.claims
    }
}

/// The rights of a trust: its scopes, for the workloads that it admits.
#[derive(Debug, Clone, Copy)]
pub struct TrustGrant<'a>(&'a Trust);

impl<'a> TrustGrant<'a> {
    fn grant(self) -> Grant<'a> {
        let Trust {
            scopes,
            allowed_cidrs,
            status,
            expiry_date,
            ..
        } = self.0;
        Grant::of(scopes, allowed_cidrs, *status, *expiry_date)
    }
}

impl Credential for TrustGrant<'_> {
    type Held = Holder<Rights>;

    fn require_held(&self, held: &Holder<Rights>) -> Result<()> {
        self.grant().require_held(held)
    }
}

impl Changeable for TrustGrant<'_> {
    /// Other workloads count as more of them: nobody can tell whether a rule for claims admits fewer.
    fn is_wider_than(&self, before: &Self) -> bool {
        !self.0.has_same_workloads(before.0)
            || self.0.life() > before.0.life()
            || self.grant().is_wider_than(&before.grant())
    }
}

impl Recorded for Trust {
    const KIND: SubjectKind = SubjectKind::Trust;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        let Self {
            key: _,
            id: _,
            registry: _,
            name,
            issuer,
            audience,
            claims,
            scopes,
            allowed_cidrs,
            maximum_life,
            status,
            expiry_date,
            generation: _,
            version,
            created: _,
            modified: _,
        } = self;
        json!({
            "name": name,
            "issuer": issuer.id.to_string(),
            "audience": audience,
            "claims": claims,
            "scopes": scopes,
            "allowed": allowed_cidrs,
            "maximumLife": maximum_life.map(|life| life.to_string()),
            "status": status.as_str(),
            "expires": expiry_date,
            "version": version,
        })
    }
}

/// A new trust, or the replacement of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTrust {
    /// Its name.
    pub name: TokenName,
    /// Its issuer.
    pub issuer: IssuerId,
    /// The one audience of the JWTs; `None` is the registry's host name.
    pub audience: Option<String>,
    /// The rules for the claims of the JWTs.
    pub claims: ClaimRules,
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// The addresses from which it may be used.
    pub allowed_cidrs: AllowList,
    /// The longest life of a password for which a JWT is exchanged.
    pub maximum_life: Option<Period>,
    /// The status.
    pub status: Status,
    /// Its end; `None` is never.
    pub expiry_date: Option<DateTime<Utc>>,
}

impl NewTrust {
    /// The trust, before the store gives it a key. `issuer` is that of this one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an end that has passed, scopes that no new token may have either, and claims that pin none
    /// by which its kind of issuer names a workload.
    pub fn made(
        self,
        (id, registry): (TrustId, RegistryKey),
        issuer: IssuerRules,
        created: &Attribution,
    ) -> Result<Trust> {
        let Self {
            name,
            issuer: _,
            audience,
            claims,
            scopes,
            allowed_cidrs,
            maximum_life,
            status,
            expiry_date,
        } = self;
        check_expiry(expiry_date, created.at)?;
        check_wildcards(&scopes)?;
        claims.require_pin(issuer.kind)?;
        Ok(Trust {
            key: TrustKey(0),
            id,
            registry,
            name: name.as_str().to_owned(),
            issuer,
            audience,
            claims,
            scopes,
            allowed_cidrs,
            maximum_life: shortened(maximum_life),
            status,
            expiry_date,
            generation: 1,
            version: 1,
            created: created.clone(),
            modified: None,
        })
    }
}

/// Changes to a trust; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustPatch {
    /// The name that the caller read. It cannot be changed, so another one is refused.
    pub name: Option<String>,
    /// Replaces the issuer.
    pub issuer: Option<IssuerId>,
    /// Changes the audience.
    pub audience: Patch<String>,
    /// Replaces all rules for claims.
    pub claims: Option<ClaimRules>,
    /// Replaces all scopes.
    pub scopes: Option<Vec<Scope>>,
    /// Replaces the addresses from which it may be used; an empty list is everywhere.
    pub allowed_cidrs: Option<AllowList>,
    /// Changes the longest life of a password.
    pub maximum_life: Patch<Period>,
    /// Changes the status.
    pub status: Option<Status>,
    /// Changes its end.
    pub expiry_date: Patch<DateTime<Utc>>,
}

impl TrustPatch {
    /// Returns true if it disables the trust and changes nothing else.
    #[must_use]
    pub fn only_disables(&self) -> bool {
        let Self {
            name: _,
            issuer,
            audience,
            claims,
            scopes,
            allowed_cidrs,
            maximum_life,
            status,
            expiry_date,
        } = self;
        issuer.is_none()
            && audience.is_keep()
            && claims.is_none()
            && scopes.is_none()
            && allowed_cidrs.is_none()
            && maximum_life.is_keep()
            && expiry_date.is_keep()
            && *status == Some(Status::Disabled)
    }
}

#[cfg(test)]
mod tests;
