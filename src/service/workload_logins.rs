//! Logins of workloads at a registry: by their JWTs, and by the passwords that they got for one.

use std::sync::Arc;

use chrono::TimeDelta;
use secrecy::ExposeSecret as _;

use super::access::Presented;
use super::grants::{Grants, ProvenLogin, Purpose, Witnessed};
use super::holders::referred;
use super::jwt::Verifier;
use super::workloads::{self, WorkloadPassword, trust_of};
use crate::domain::audit::{Reason, Refusal};
use crate::domain::tenant::Tenant;
use crate::domain::trust::LONGEST_LIFE;
use crate::domain::workload_jwt::WorkloadJwt;
use crate::error::{Error, Result};
use crate::store::{Session, signing_keys};

impl Grants<'_> {
    /// A login with a workload's JWT, or with the password that it got for one in either form.
    pub(super) async fn by_workload(
        &self,
        presented: Presented,
        service: &str,
        purpose: Purpose,
    ) -> Result<Witnessed<ProvenLogin>> {
        if workloads::is_password(&presented.password) {
            let password = WorkloadPassword::open_short(self.core, &presented.password);
            let password = password.ok_or(Error::Unauthenticated)?;
            return self
                .by_given(presented, service, purpose, password, None)
                .await;
        }
        let jwt = WorkloadJwt::read(&presented.password).ok_or(Error::Unauthenticated)?;
        if jwt.issuer == self.core.policy.jwt_issuer {
            let text = jwt.text().expose_secret();
            let (verifier, claims) = self.own_jwt(text, service).await?;
            let password = WorkloadPassword::open(self.core, &claims.jti);
            let password = password.ok_or(Error::Unauthenticated)?;
            return self
                .by_given(presented, service, purpose, password, Some(verifier))
                .await;
        }
        self.by_workload_jwt(presented, jwt, service, purpose).await
    }

    /// A login with a password that a workload got for its JWT: in the short form, or in that of a JWT of ours, with the
    /// key that signed it.
    async fn by_given(
        &self,
        presented: Presented,
        service: &str,
        purpose: Purpose,
        password: WorkloadPassword,
        signed: Option<Arc<Verifier>>,
    ) -> Result<Witnessed<ProvenLogin>> {
        let now = self.core.clock.now();
        let since = now - TimeDelta::seconds(LONGEST_LIFE.seconds());
        let look = move |connection: &mut Session, tenant: Tenant, seen: &mut Refusal| {
            if let Some(verifier) = &signed
                && (verifier.registry != tenant.key
                    || !signing_keys::stands(connection, tenant.key, verifier.number, since)?)
            {
                return Err(Error::Unauthenticated);
            }
            let (reference, source) = (&password.reference, presented.source);
            let holder = referred(connection, &tenant, reference, now, source, seen)?;
            let name = workloads::trust_name(&presented.name, &tenant);
            let holder = password.bound(holder, name)?;
            if password.end <= now {
                return Err(seen.because(Reason::Expired));
            }
            ProvenLogin::read(connection, tenant, holder, purpose)
        };
        self.witnessed(service, look).await
    }

    async fn by_workload_jwt(
        &self,
        presented: Presented,
        jwt: WorkloadJwt,
        service: &str,
        purpose: Purpose,
    ) -> Result<Witnessed<ProvenLogin>> {
        let (now, source) = (self.core.clock.now(), presented.source);
        let host: Arc<str> = service.into();
        let user: Arc<str> = presented.name.into();
        let mut proven = Arc::new(workloads::prove(self.core, jwt).await?);
        for last in [false, true] {
            let (tried, user, host) = (Arc::clone(&proven), Arc::clone(&user), Arc::clone(&host));
            let look = move |connection: &mut Session, tenant: Tenant, seen: &mut Refusal| {
                let trust = trust_of(connection, &tenant, &user)?;
                let trust = trust.ok_or(Error::Unauthenticated)?;
                if tried.is_outdated(&trust) {
                    return Ok(None);
                }
                let holder = tried.holder(trust, (&tenant, &host), now, source, seen)?;
                ProvenLogin::read(connection, tenant, holder, purpose).map(Some)
            };
            match self.witnessed(service, look).await? {
                Ok(Some(standing)) => return Ok(Ok(standing)),
                Ok(None) if last => break,
                Ok(None) => {
                    let jwt = Arc::clone(&proven.jwt);
                    proven = Arc::new(workloads::prove_anew(self.core, jwt).await?);
                }
                Err(seen) => return Ok(Err(seen)),
            }
        }
        // The issuer changes faster than its keys can tell.
        Err(Error::busy())
    }
}
