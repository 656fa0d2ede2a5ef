//! Issuers: services that sign JWTs for workloads, such as a CI service or a cluster.
//!
//! Owns what an issuer is, and its rights for the rule against privilege escalation. `key_source` has the rules for its URL,
//! keys and algorithms.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Attribution;
use super::audit::{Recorded, SubjectKind};
use super::escalation::{Changeable, Credential, Holder};
use super::id::{IssuerId, IssuerKey};
use super::issuer_kind::IssuerKind;
use super::key_source::{Authorities, IssuerUrl, Jwks, JwksUrl, JwtAlgorithm, KeySource};
use super::membership::Rights;
use super::patch::Patch;
use super::precondition::Tag;
use super::status::Status;
use super::text::quoted;
use crate::error::{Error, Field, Result};

/// The most issuers of a service.
const ISSUERS: i64 = 100;
/// An issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// Internal key.
    pub key: IssuerKey,
    /// Public id.
    pub id: IssuerId,
    /// Its URL. No two issuers have one.
    pub url: IssuerUrl,
    /// Its kind.
    pub kind: IssuerKind,
    /// The place of its keys.
    pub keys: KeySource,
    /// Authorities for its server, beside those that the service trusts anyway; none with keys inline.
    pub ca: Option<Authorities>,
    /// The algorithms of its JWTs.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The status.
    pub status: Status,
    /// Counts every change.
    pub version: i64,
    /// The account that made it, and the time.
    pub created: Attribution,
    /// The account that last changed it, and the time.
    pub modified: Option<Attribution>,
}

/// An issuer, as far as the check of a JWT needs it: all but its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRules {
    /// Internal key.
    pub key: IssuerKey,
    /// Public id.
    pub id: IssuerId,
    /// Its URL.
    pub url: IssuerUrl,
    /// Its kind.
    pub kind: IssuerKind,
    /// The algorithms of its JWTs.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The status.
    pub status: Status,
    /// Counts every change. Keys are kept for one version.
    pub version: i64,
}

impl IssuerRules {
    /// Returns true if its JWTs may have the algorithm of this name.
    #[must_use]
    pub fn has_algorithm(&self, name: &str) -> bool {
        let mut all = self.algorithms.iter();
        all.any(|known| known.as_str() == name)
    }
}

/// An issuer as lists show it: without its keys and authorities, which are long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedIssuer {
    /// All else.
    pub rules: IssuerRules,
    /// The place of its keys, if it is a URL.
    pub jwks_url: Option<JwksUrl>,
    /// The account that made it, and the time.
    pub created: Attribution,
    /// The account that last changed it, and the time.
    pub modified: Option<Attribution>,
}

impl Issuer {
    /// The tag of its state.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag {
            key: self.key.0,
            version: self.version,
            state: 0,
        }
    }

    /// Replaces all but the URL and the kind. Returns true if anything changed.
    pub fn replace(&mut self, new: NewIssuer) -> Result<bool> {
        let NewIssuer {
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
        } = new;
        let (jwks_url, jwks) = match keys {
            KeySource::Discovery => (Patch::Clear, Patch::Clear),
            KeySource::JwksUrl(url) => (Patch::Set(url), Patch::Clear),
            KeySource::Inline(jwks) => (Patch::Clear, Patch::Set(jwks)),
        };
        self.update(IssuerPatch {
            url: Some(url.as_str().to_owned()),
            kind: Some(kind),
            jwks_url,
            jwks,
            ca: ca.into(),
            algorithms: Some(algorithms),
            status: Some(status),
        })
    }

    /// Applies a patch. Returns true if anything changed.
    pub fn update(&mut self, patch: IssuerPatch) -> Result<bool> {
        let IssuerPatch {
            url,
            kind,
            jwks_url,
            jwks,
            ca,
            algorithms,
            status,
        } = patch;
        if let Some(url) = url.filter(|url| url.as_str() != self.url.as_str()) {
            return Err(Error::invalid(
                Field::Url,
                format!(
                    "\"url\" cannot be changed: this issuer's is {}, not {}; make another issuer",
                    self.url.as_str(),
                    quoted(&url)
                ),
            ));
        }
        if let Some(kind) = kind.filter(|kind| *kind != self.kind) {
            return Err(Error::invalid(
                Field::Kind,
                format!(
                    "\"kind\" cannot be changed: this issuer's is {}, not {kind}; its trusts pin the claims of its kind",
                    self.kind
                ),
            ));
        }
        let before = self.clone();
        match (jwks_url, jwks, &self.keys) {
            (Patch::Set(url), Patch::Set(jwks), _) => {
                self.keys = KeySource::of(Some(url), Some(jwks))?;
            }
            (Patch::Set(url), _, _) => self.keys = KeySource::JwksUrl(url),
            (_, Patch::Set(jwks), _) => self.keys = KeySource::Inline(jwks),
            (Patch::Clear, _, KeySource::JwksUrl(_)) | (_, Patch::Clear, KeySource::Inline(_)) => {
                self.keys = KeySource::Discovery;
            }
            _ => {}
        }
        if let Some(ca) = ca.change() {
            self.ca = ca;
        }
        if let Some(algorithms) = algorithms {
            self.algorithms = algorithms;
        }
        if let Some(status) = status {
            self.status = status;
        }
        check_ca(&self.keys, self.ca.as_ref())?;
        Ok(before != *self)
    }
}

fn check_ca(keys: &KeySource, ca: Option<&Authorities>) -> Result<()> {
    if matches!(keys, KeySource::Inline(_)) && ca.is_some() {
        return Err(Error::invalid(
            Field::Ca,
            "ca is for an issuer whose keys are fetched, and jwks gives the keys themselves; leave one of them out",
        ));
    }
    Ok(())
}

/// An account that chooses the keys of an issuer can sign for any workload of any trust, on every registry.
impl Credential for Issuer {
    type Held = Holder<Rights>;

    fn require_held(&self, held: &Holder<Rights>) -> Result<()> {
        if !held.rights.is_full() {
            return Err(Error::Forbidden(
                "whoever chooses the keys of an issuer can open every registry that trusts it; this needs all rights on \
                 every registry"
                    .to_owned(),
            ));
        }
        if held.until.is_some() {
            return Err(Error::Forbidden(
                "the change to the issuer would outlast this API token; send the request with a password"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

impl Changeable for Issuer {
    fn is_wider_than(&self, before: &Self) -> bool {
        let enabled = (before.status, self.status) == (Status::Disabled, Status::Enabled);
        let fewer = self
            .algorithms
            .iter()
            .all(|known| before.algorithms.contains(known));
        enabled || !fewer || self.keys != before.keys || self.ca != before.ca
    }
}

/// Refuses an issuer to a service that has `made`.
pub fn admit_issuer(made: i64) -> Result<()> {
    if made < ISSUERS {
        return Ok(());
    }
    Err(Error::Full(format!(
        "this service has {made} issuers, and no more than {ISSUERS} are allowed; delete one that is not needed any more"
    )))
}

impl Recorded for Issuer {
    const KIND: SubjectKind = SubjectKind::Issuer;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        let Self {
            key: _,
            id: _,
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
            version,
            created: _,
            modified: _,
        } = self;
        let algorithms: Vec<_> = algorithms.iter().map(|known| known.as_str()).collect();
        let mut record = json!({
            "url": url.as_str(),
            "kind": kind.as_str(),
            "keys": keys.as_str(),
            "algorithms": algorithms,
            "status": status.as_str(),
            "version": version,
        });
        let told = match keys {
            KeySource::Discovery => None,
            KeySource::JwksUrl(url) => Some(("jwksUrl", url.as_str())),
            KeySource::Inline(jwks) => Some(("jwks", jwks.as_str())),
        };
        let ca = ca.as_ref().map(|ca| ("ca", ca.as_str()));
        if let Value::Object(record) = &mut record {
            let told = told.into_iter().chain(ca);
            record.extend(told.map(|(name, text)| (name.to_owned(), text.into())));
        }
        record
    }
}

/// A new issuer, or the replacement of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIssuer {
    /// Its URL.
    pub url: IssuerUrl,
    /// Its kind.
    pub kind: IssuerKind,
    /// The place of its keys.
    pub keys: KeySource,
    /// Authorities for its server.
    pub ca: Option<Authorities>,
    /// The algorithms of its JWTs.
    pub algorithms: Vec<JwtAlgorithm>,
    /// The status.
    pub status: Status,
}

impl NewIssuer {
    /// The issuer, before the store gives it a key.
    pub fn made(self, id: IssuerId, created: &Attribution) -> Result<Issuer> {
        let Self {
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
        } = self;
        check_ca(&keys, ca.as_ref())?;
        Ok(Issuer {
            key: IssuerKey(0),
            id,
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
            version: 1,
            created: created.clone(),
            modified: None,
        })
    }
}

/// Changes to an issuer; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuerPatch {
    /// The URL that the caller read. It cannot be changed, so another one is refused.
    pub url: Option<String>,
    /// The kind that the caller read, likewise.
    pub kind: Option<IssuerKind>,
    /// Fetches the keys from another place; without one, by discovery.
    pub jwks_url: Patch<JwksUrl>,
    /// Replaces the keys that are kept here; without them, the keys are fetched by discovery.
    pub jwks: Patch<Jwks>,
    /// Changes the authorities.
    pub ca: Patch<Authorities>,
    /// Replaces the algorithms.
    pub algorithms: Option<Vec<JwtAlgorithm>>,
    /// Changes the status.
    pub status: Option<Status>,
}

impl IssuerPatch {
    /// Returns true if it disables the issuer and changes nothing else.
    #[must_use]
    pub fn only_disables(&self) -> bool {
        let Self {
            url: _,
            kind: _,
            jwks_url,
            jwks,
            ca,
            algorithms,
            status,
        } = self;
        let same_keys = jwks_url.is_keep() && jwks.is_keep() && ca.is_keep();
        same_keys && algorithms.is_none() && *status == Some(Status::Disabled)
    }
}
