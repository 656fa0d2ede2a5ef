//! Exchanges: a workload gives its JWT once, and gets a password that may last longer.
//!
//! A push can take longer than a JWT of a CI service lasts. Each JWT is exchanged once, noted in the transaction that
//! grants. Refuses to know the wire forms.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use secrecy::SecretString;
use serde_json::Map;

use super::access::Presented;
use super::core::{Core, Done};
use super::grants::{Grants, Witnessed, enter, witness};
use super::jwt::Claims;
use super::references::Reference;
use super::signing_keys::SigningKeys;
use super::workloads::{self, Proven, WorkloadPassword, trust_of};
use crate::domain::audit::{By, Change, Kind, Origin, Refusal, SubjectKind};
use crate::domain::claims::named_claims;
use crate::domain::signing::KeyRole;
use crate::domain::tenant::Tenant;
use crate::domain::trust_refusal::RefusalReason;
use crate::domain::workload_jwt::WorkloadJwt;
use crate::error::{Error, Result};
use crate::store::signing_keys::Current;
use crate::store::{Lock, Transaction, exchanged_jwts, signing_keys};

/// The time for which an exchanged JWT is known after its end.
const KEPT_LONGER: TimeDelta = TimeDelta::hours(1);

/// The form of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordForm {
    /// A short text with a prefix.
    Short,
    /// A JWT, for clients that read its end in it.
    Jwt,
}

/// A request of a workload for a password.
#[derive(Debug)]
pub struct Exchange {
    /// The trust's name, which may have that of its registry before it, and the JWT.
    pub presented: Presented,
    /// The registry, by its service name.
    pub service: String,
    /// The form of the password.
    pub form: PasswordForm,
    /// The origin of the request.
    pub origin: Origin,
}

/// The answer.
#[derive(Debug)]
pub struct Exchanged {
    /// The password.
    pub password: SecretString,
    /// When it was made, in whole seconds.
    pub issued_at: DateTime<Utc>,
    /// Seconds from then to its end.
    pub expires_in: i64,
}

/// A granted exchange, before the password is made.
#[derive(Debug)]
struct Grant {
    tenant: Tenant,
    name: String,
    password: WorkloadPassword,
    signing: Option<Current>,
}

/// The facts that a job needs of a request.
#[derive(Debug)]
struct Request {
    proven: Proven,
    user: String,
    service: String,
    source: IpAddr,
    form: PasswordForm,
    now: DateTime<Utc>,
}

/// Exchange use cases.
#[derive(Debug)]
pub struct Exchanges<'a> {
    core: &'a Core,
}

impl<'a> Exchanges<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Gives a password for the JWT of a workload.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`] for anything wrong with the JWT, [`Error::Invalid`] for a service that no registry
    /// has, [`Error::Unavailable`] if the keys that could tell are away.
    pub async fn exchange(&self, exchange: Exchange) -> Result<Exchanged> {
        let (form, service) = (exchange.form, exchange.service.clone());
        let by = By::named(exchange.presented.name(), exchange.origin.clone());
        let granted = self.grant(exchange, &by).await;
        let Grant {
            tenant,
            name,
            password,
            signing,
        } = Grants::new(self.core).heard(granted, &service, by)?;
        let issued_at = self.core.clock.now().trunc_subsecs(0);
        let text = match form {
            PasswordForm::Short => password.short(self.core)?,
            PasswordForm::Jwt => {
                let signer = SigningKeys::new(self.core).signer(&tenant, signing).await?;
                let issuer = &self.core.policy.jwt_issuer;
                let id = password.seal(self.core)?;
                // It grants nothing to a registry that reads it.
                signer.sign(&Claims::new(
                    issuer,
                    &name,
                    &service,
                    id,
                    issued_at,
                    password.end,
                ))?
            }
        };
        Ok(Exchanged {
            password: text,
            issued_at,
            expires_in: (password.end - issued_at).num_seconds(),
        })
    }

    /// The service name of the registry in a user name of the form `<registry>+<trust>`.
    pub fn service_of(&self, user: &str) -> Result<String> {
        let (registry, _) = user.split_once('+').ok_or(Error::Unauthenticated)?;
        Ok(self.core.policy.service_name(registry))
    }

    async fn grant(&self, exchange: Exchange, by: &By) -> Result<Witnessed<Grant>> {
        let Exchange {
            presented,
            service,
            form,
            origin: _,
        } = exchange;
        let (user, source) = (presented.name().to_owned(), presented.source);
        let jwt = WorkloadJwt::read(presented.password()).ok_or(Error::Unauthenticated)?;
        let mut proven = workloads::prove(self.core, jwt).await?;
        for last in [false, true] {
            let jwt = Arc::clone(&proven.jwt);
            let request = Arc::new(Request {
                proven,
                user: user.clone(),
                service: service.clone(),
                source,
                form,
                now: self.core.clock.now(),
            });
            let policy = Arc::clone(&self.core.policy);
            let job = move |transaction: &mut Transaction<'_>| {
                let mut change = None;
                let granted = witness(|seen| {
                    let tenant = enter(transaction, &policy, &request.service, seen)?;
                    let granted = request.grant(transaction, tenant, seen)?;
                    Ok(granted.map(|(grant, told)| {
                        change = Some(told);
                        grant
                    }))
                })?;
                Ok(Done::of(granted, change))
            };
            match self.core.write_by(by.clone(), Lock::Nothing, job).await? {
                Ok(Some(grant)) => return Ok(Ok(grant)),
                Ok(None) if last => break,
                Ok(None) => proven = workloads::prove_anew(self.core, jwt).await?,
                Err(seen) => return Ok(Err(seen)),
            }
        }
        // The issuer changes faster than its keys can tell.
        Err(Error::busy())
    }
}

impl Request {
    /// Grants a password, and notes that the JWT was exchanged. `None` if the issuer changed since the proof.
    fn grant(
        &self,
        transaction: &mut Transaction<'_>,
        tenant: Tenant,
        seen: &mut Refusal,
    ) -> Result<Option<(Grant, Change)>> {
        let trust = trust_of(transaction, &tenant, &self.user)?;
        let trust = trust.ok_or(Error::Unauthenticated)?;
        if self.proven.is_outdated(&trust) {
            return Ok(None);
        }
        let registry = (&tenant, self.service.as_str());
        let holder = self
            .proven
            .holder(trust.clone(), registry, self.now, self.source, seen)?;
        let jwt = &self.proven.jwt;
        let until = jwt.end().ok_or(Error::Unauthenticated)?;
        // Longer than any replica takes it, as their clocks may differ.
        let kept = until + KEPT_LONGER;
        if !exchanged_jwts::insert(transaction, &jwt.name(), kept)? {
            let audience = trust.audience.as_deref().unwrap_or(&self.service);
            let fault = RefusalReason::Exchanged;
            return Err(self.proven.refuse(&trust, audience, fault, seen));
        }
        let longest = self.now.trunc_subsecs(0) + TimeDelta::seconds(trust.life().seconds());
        let end = trust
            .expiry_date
            .map_or(longest, |end| end.trunc_subsecs(0).min(longest));
        let password = WorkloadPassword {
            reference: Reference::of_trust(&trust),
            end,
        };
        let signing = match self.form {
            PasswordForm::Short => None,
            PasswordForm::Jwt => {
                let role = KeyRole::of_signer(tenant.verifier);
                signing_keys::current(transaction, tenant.key, role)?
            }
        };
        let beside = [
            ("claims", named_claims(&holder.claims)),
            ("expires", serde_json::json!(end)),
        ];
        let change = Change {
            kind: Kind::Login,
            subject_kind: SubjectKind::Trust,
            subject: Some(trust.id.0),
            registry: Some(tenant.id),
            before: None,
            after: None,
            beside: Map::from_iter(beside.map(|(name, value)| (name.to_owned(), value))),
        };
        let grant = Grant {
            tenant,
            name: trust.name,
            password,
            signing,
        };
        Ok(Some((grant, change)))
    }
}
