//! Workloads: the proof of their JWTs, and the passwords that they get for one.
//!
//! A JWT is proven in two steps. Its signature is checked with keys that are at hand for most requests. The request's own
//! store call then reads trust and issuer, and compares the issuer with the one whose keys were used. So nothing that is
//! remembered opens anything by itself.
//!
//! A password holds a [`Reference`] and an end, both sealed. Nothing is stored for it, and it ends with whatever ends
//! the reference. Refuses to know registries' JWTs and the store calls around a login.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};

use super::core::Core;
use super::holders::{Holder, fault_of, is_of_trust, may_enter, told_reason, trust_holder};
use super::issuer_keys::Kept;
use super::references::Reference;
use crate::domain::account::name_key;
use crate::domain::audit::{Reason, Refusal};
use crate::domain::claims;
use crate::domain::issuer::IssuerRules;
use crate::domain::secret::WORKLOAD_PREFIX;
use crate::domain::tenant::Tenant;
use crate::domain::text::has_control;
use crate::domain::trust::Trust;
use crate::domain::trust_refusal::{RefusalDetail, RefusalReason};
use crate::domain::workload_jwt::WorkloadJwt;
use crate::error::{Error, Result};
use crate::store::{Session, issuers, trusts};

/// The context that passwords are sealed to.
const CONTEXT: &str = "workload-password";

/// A JWT that its issuer signed, and the issuer in the version whose keys tell.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) jwt: Arc<WorkloadJwt>,
    pub(super) issuer: IssuerRules,
}

/// The content of a workload's password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkloadPassword {
    pub(super) reference: Reference,
    /// Its end, in whole seconds.
    pub(super) end: DateTime<Utc>,
}

/// Returns true if this is the password of a workload in its short form.
pub(super) fn is_password(password: &SecretString) -> bool {
    password
        .expose_secret()
        .trim_ascii()
        .starts_with(WORKLOAD_PREFIX)
}

impl WorkloadPassword {
    fn to_bytes(self) -> Vec<u8> {
        let end = self.end.timestamp().to_be_bytes();
        [&self.reference.to_bytes()[..], &end].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (reference, end) = bytes.split_at_checked(Reference::LENGTH)?;
        let end = i64::from_be_bytes(end.try_into().ok()?);
        Some(Self {
            reference: Reference::from_bytes(reference)?,
            end: DateTime::from_timestamp(end, 0)?,
        })
    }

    /// Seals it, for the id of a JWT.
    pub(super) fn seal(&self, core: &Core) -> Result<String> {
        let bytes = self.to_bytes();
        core.data_keys.seal_text(&*core.random, CONTEXT, &bytes)
    }

    /// Its short form, which scanners and people recognise.
    pub(super) fn short(&self, core: &Core) -> Result<SecretString> {
        Ok(format!("{WORKLOAD_PREFIX}{}", self.seal(core)?).into())
    }

    /// Opens the id of a JWT, if it is one of ours.
    pub(super) fn open(core: &Core, sealed: &str) -> Option<Self> {
        Self::from_bytes(&core.data_keys.open_text(CONTEXT, sealed)?)
    }

    /// Opens the short form, if it is one of ours.
    pub(super) fn open_short(core: &Core, password: &SecretString) -> Option<Self> {
        let text = password.expose_secret().trim_ascii();
        Self::open(core, text.strip_prefix(WORKLOAD_PREFIX)?)
    }

    /// Bounds the holder that its reference names, if that has this name.
    pub(super) fn bound(self, holder: Holder, name: &str) -> Result<Holder> {
        if name_key(name) != name_key(&holder.name) {
            return Err(Error::Unauthenticated);
        }
        let ends = [holder.expires_at, Some(self.end)];
        Ok(Holder {
            expires_at: ends.into_iter().flatten().min(),
            ..holder
        })
    }
}

/// The name of a trust in a user name: that itself, or `<registry>+<trust>`.
pub(super) fn trust_name<'a>(user: &'a str, tenant: &Tenant) -> &'a str {
    match user.split_once('+') {
        Some((registry, trust)) if registry == tenant.name => trust,
        _ => user,
    }
}

/// The trust that a user name names.
pub(super) fn trust_of(
    connection: &mut Session,
    tenant: &Tenant,
    user: &str,
) -> Result<Option<Trust>> {
    let name = trust_name(user, tenant);
    // A NUL is an error to PostgreSQL, and no trust has one in its name.
    if has_control(name) {
        return Ok(None);
    }
    trusts::named(connection, tenant.key, name)
}

impl Proven {
    /// Returns true if the issuer changed since the proof: its keys have to tell once more.
    pub(super) fn is_outdated(&self, trust: &Trust) -> bool {
        let (now, then) = (&trust.issuer, &self.issuer);
        now.url == then.url && (now.key, now.version) != (then.key, then.version)
    }

    /// The holder for a trust, if the JWT fits. `host` is the registry's host name. Notes a refusal for the trust's owner.
    pub(super) fn holder(
        &self,
        trust: Trust,
        (tenant, host): (&Tenant, &str),
        now: DateTime<Utc>,
        source: IpAddr,
        seen: &mut Refusal,
    ) -> Result<Holder> {
        is_of_trust(&trust, seen);
        let audience = trust.audience.as_deref().unwrap_or(host);
        let kind = trust.issuer.kind;
        if let Err(error) = may_enter(tenant, source, seen) {
            let reason = seen.reason;
            let fault = match reason {
                Some(Reason::RegistryFrozen) => RefusalReason::RegistryFrozen,
                _ => RefusalReason::Address,
            };
            self.refuse(&trust, audience, fault, seen);
            seen.reason = reason;
            return Err(error);
        }
        let fault = if self.issuer.key == trust.issuer.key {
            let fault = fault_of(&trust, now, source);
            let fault = fault.or_else(|| self.jwt.fault_at(audience, now));
            let fits = || trust.claims.admit(kind, &self.jwt.claims);
            fault.or_else(|| (!fits()).then_some(RefusalReason::Claims))
        } else {
            Some(RefusalReason::Issuer)
        };
        if let Some(fault) = fault {
            return Err(self.refuse(&trust, audience, fault, seen));
        }
        let end = self.jwt.end().into_iter().chain(trust.expiry_date).min();
        Ok(Holder {
            claims: claims::identity(kind, &self.jwt.claims),
            expires_at: end,
            ..trust_holder(trust, tenant)
        })
    }

    /// Notes a refusal for the trust's owner. `audience` is that of the trust. Returns the error for the client, which
    /// learns nothing of the reason.
    pub(super) fn refuse(
        &self,
        trust: &Trust,
        audience: &str,
        fault: RefusalReason,
        seen: &mut Refusal,
    ) -> Error {
        let all = &self.jwt.claims;
        let mut verdicts = match fault {
            RefusalReason::Issuer => vec![claims::issuer_verdict(trust.issuer.url.as_str(), all)],
            RefusalReason::Audience => vec![claims::audience_verdict(audience, all)],
            _ => Vec::new(),
        };
        verdicts.extend(trust.claims.verdicts(trust.issuer.kind, all));
        let identity = claims::identity(self.issuer.kind, &self.jwt.claims);
        let identity = identity.into_iter();
        let detail = RefusalDetail {
            reason: fault,
            identity: identity
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            verdicts,
        };
        seen.workload = Some((trust.key, detail));
        seen.reason = told_reason(fault);
        Error::Unauthenticated
    }
}

/// Proves by its signature that the issuer that a JWT names made it.
///
/// # Errors
///
/// [`Error::Unauthenticated`] if no issuer of ours did, [`Error::Unavailable`] if the keys that could tell are away.
pub(super) async fn prove(core: &Core, jwt: WorkloadJwt) -> Result<Proven> {
    let jwt = Arc::new(jwt);
    match core.issuer_keys.signed_at_hand(&jwt) {
        Some(kept) => Ok(Proven {
            issuer: kept.issuer.clone(),
            jwt,
        }),
        None => prove_anew(core, jwt).await,
    }
}

/// [`prove`], with the issuer as it is now: it changed, or its keys are not at hand.
pub(super) async fn prove_anew(core: &Core, jwt: Arc<WorkloadJwt>) -> Result<Proven> {
    // A NUL is an error to PostgreSQL, and no issuer has one in its URL.
    let url = Some(jwt.issuer.clone()).filter(|url| !has_control(url));
    let url = url.ok_or(Error::Unauthenticated)?;
    let found = core
        .store
        .read(move |connection| issuers::named(connection, &url));
    let Some(issuer) = found.await? else {
        core.issuer_keys.forget(&jwt.issuer);
        return Err(Error::Unauthenticated);
    };
    let kept = core
        .issuer_keys
        .kept(&jwt.issuer)
        .filter(|kept| kept.is_of(&issuer));
    let kept = if let Some(kept) = kept {
        kept
    } else {
        let (key, version) = (issuer.key, issuer.version);
        let keys = move |connection: &mut Session| issuers::keys(connection, key, version);
        // It changed between the two reads.
        let (source, ca) = core.store.read(keys).await?.ok_or_else(Error::busy)?;
        let kept = Kept::new(issuer, source, ca, core.clock.instant());
        core.issuer_keys.keep(kept)
    };
    if core.issuer_keys.signed(&kept, &jwt).await? {
        let issuer = kept.issuer.clone();
        return Ok(Proven { jwt, issuer });
    }
    Err(Error::Unauthenticated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{RegistryKey, TrustKey};
    use crate::service::references::Who;

    #[test]
    fn passwords_come_back_as_they_were() {
        let password = WorkloadPassword {
            reference: Reference {
                registry: RegistryKey(3),
                who: Who::Trust(TrustKey(7)),
                version: 12,
            },
            end: DateTime::from_timestamp(1_795_262_400, 0).unwrap(),
        };
        let bytes = password.to_bytes();
        assert_eq!(WorkloadPassword::from_bytes(&bytes), Some(password));
        for wrong in [0, Reference::LENGTH, bytes.len() - 1] {
            assert_eq!(
                WorkloadPassword::from_bytes(&bytes[..wrong]),
                None,
                "{wrong}"
            );
        }
    }
}
