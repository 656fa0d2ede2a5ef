//! Logins of registry tokens: by a secret, and by a JWT that was issued for one.

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::access::Presented;
use super::grants::{Grants, ProvenLogin, Purpose, Witnessed, find_registry};
use super::holders::{
    Holder, generation_of, is_of_token, may_enter, missing_lookup, referred, referred_token,
    token_holder,
};
use super::jwt::Claims;
use super::references::Who;
use crate::domain::audit::Refusal;
use crate::domain::tenant::Tenant;
use crate::domain::text::has_control;
use crate::error::{Error, Result};
use crate::store::{Session, credentials, joined, signing_keys};

impl Grants<'_> {
    pub(super) async fn by_secret(
        &self,
        presented: Presented,
        service: &str,
        purpose: Purpose,
    ) -> Result<Witnessed<ProvenLogin>> {
        let (vault, now) = (Arc::clone(&self.core.data_keys), self.core.clock.now());
        let (policy, service) = (Arc::clone(&self.core.policy), service.to_owned());
        let look = move |connection: &mut Session, seen: &mut Refusal| {
            // A NUL is an error to PostgreSQL. No token has a control character in its name, and none has no name.
            let name = Some(presented.name.as_str()).filter(|name| !has_control(name));
            let name = name.unwrap_or_default();
            let lookup = vault.lookup(&presented.password)?;
            let (login, signing) = find_registry(&policy, &service, |registry| match purpose {
                Purpose::Issue { .. } => joined::login_to_sign(connection, registry, name, &lookup),
                Purpose::Check => {
                    let login = joined::login(connection, registry, name, &lookup)?;
                    Ok(login.map(|login| (login, None)))
                }
            })?;
            let (tenant, found) = login;
            seen.registry = Some(tenant.id);
            let (found, opening) = found.unzip();
            let generation = generation_of(&vault, &presented.password, found.as_ref())?;
            let proven = found.zip(opening).zip(generation);
            let ((found, opening), generation) = proven.ok_or(Error::Unauthenticated)?;
            is_of_token(&found, seen);
            may_enter(&tenant, presented.source, seen)?;
            let opening = match opening {
                Some(opening) => opening,
                None => credentials::opening(connection, tenant.home(), found.key)?,
            };
            let secret = missing_lookup(&vault, &presented.password, &found, generation)?;
            let proven = (found, generation, opening);
            let holder = token_holder(proven, &tenant, now, presented.source, seen)?;
            let holder = Holder { secret, ..holder };
            ProvenLogin::signing_with(connection, signing, (tenant, holder), purpose)
        };
        self.look(look).await
    }

    pub(super) async fn by_jwt(
        &self,
        jwt: &SecretString,
        service: &str,
        source: IpAddr,
    ) -> Result<Witnessed<(Holder, Claims)>> {
        let (verifier, claims) = self.own_jwt(jwt.expose_secret(), service).await?;
        let now = self.core.clock.now();
        let reference = self.open(&claims.jti).ok_or(Error::Unauthenticated)?;
        let since = now - self.core.policy.jwt_life();
        let Who::Token(token) = reference.who else {
            let look = move |connection: &mut Session, tenant: Tenant, seen: &mut Refusal| {
                if verifier.registry != tenant.key
                    || !signing_keys::stands(connection, tenant.key, verifier.number, since)?
                {
                    return Err(Error::Unauthenticated);
                }
                referred(connection, &tenant, &reference, now, source, seen)
            };
            let look = self.witnessed(service, look).await?;
            return Ok(look.map(|holder| (holder, claims)));
        };
        let (policy, service) = (Arc::clone(&self.core.policy), service.to_owned());
        let look = move |connection: &mut Session, seen: &mut Refusal| {
            let (login, stands) = find_registry(&policy, &service, |registry| {
                joined::signed_login(connection, registry, (verifier.number, since), token)
            })?;
            let (tenant, found) = login;
            seen.registry = Some(tenant.id);
            if !stands {
                return Err(Error::Unauthenticated);
            }
            referred_token(found, &tenant, &reference, now, source, seen)
        };
        let look = self.look(look).await?;
        Ok(look.map(|holder| (holder, claims)))
    }
}
