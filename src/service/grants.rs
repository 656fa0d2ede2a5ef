//! The rights of tokens and accounts on a registry, and the proof of them that the registry takes.
//!
//! Owns the login of a registry's clients, and the rights that each is granted: by a registry token's secret, an app
//! token's code, an account's password, a refresh token, a workload's JWT or password, or a JWT that was issued here.
//! Refuses to know HTTP, keys, the wording of JWTs, the basis of refresh tokens, and the proof of workloads' JWTs.
//!
//! Every request's own store call reads the rights of its credential, so disabling, expiry and deletion act at once.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};

use super::access::Presented;
use super::core::Core;
use super::core::Length;
use super::holders::{
    Holder, account_holder, app_token_holder, is_of, is_right, may_enter, referred,
};
use super::jwt::{AccessClaim, Claims, Verifier, named_key};
use super::policy::Policy;
use super::references::{Reference, Who};
use super::refresh_tokens::{self, RefreshToken};
use super::signing_keys::SigningKeys;
use super::usage::Used;
use super::workloads::{self, WorkloadPassword};
use crate::domain::app_token;
use crate::domain::audit::{By, Event, Kind, Origin, Outcome, Reason, Refusal, SubjectKind};
use crate::domain::claims::named_claims;
use crate::domain::scope::{self, Access};
use crate::domain::secret::SecretKind;
use crate::domain::signing::KeyRole;
use crate::domain::tenant::Tenant;
use crate::domain::text::quoted;
use crate::domain::trust::LONGEST_LIFE;
use crate::domain::trust_refusal::TrustRefusal;
use crate::domain::workload_jwt::is_jwt;
use crate::error::{Error, Field, Result};
use crate::store::signing_keys::Current;
use crate::store::{Session, app_tokens, registries, signing_keys};

/// The context that the ids of JWTs are sealed to.
const JWT: &str = "jwt";

/// The credentials of a client of the token endpoint.
#[derive(Debug)]
pub enum Login {
    /// By name and password: those of a registry token, an app token, an account or a workload.
    Password(Presented),
    /// By a refresh token of an earlier login.
    Refresh {
        /// The refresh token.
        token: SecretString,
        /// The source of the request.
        source: IpAddr,
    },
}

/// A request for a JWT.
#[derive(Debug)]
pub struct Ask {
    /// The credentials.
    pub login: Login,
    /// The registry, by its service name.
    pub service: String,
    /// The wanted access; empty at a mere login.
    pub wanted: Vec<Access>,
    /// True if a refresh token is wanted too.
    pub offline: bool,
    /// The origin of the request.
    pub origin: Origin,
}

/// The answer: the granted access, which may be less than was asked for, or nothing.
#[derive(Debug)]
pub struct Granted {
    /// The JWT.
    pub jwt: SecretString,
    /// The granted access.
    pub access: Vec<Access>,
    /// When it was issued, in whole seconds.
    pub issued_at: DateTime<Utc>,
    /// Seconds from then to its end.
    pub expires_in: i64,
    /// The refresh token, if one was asked for.
    pub refresh_token: Option<SecretString>,
}

/// The credentials of a client of a proxy.
#[derive(Debug)]
pub enum Pass {
    /// By name and password.
    Password(Presented),
    /// By a JWT of the token endpoint.
    Jwt {
        /// The JWT.
        jwt: SecretString,
        /// The source of the request.
        source: IpAddr,
    },
}

/// A request that a proxy asks about.
#[derive(Debug)]
pub struct Passage {
    /// The credentials.
    pub pass: Pass,
    /// The registry, by its service name.
    pub service: String,
    /// The access that the request needs, first for its own target, then for the source of a transfer. Empty if any
    /// proven client may make it, `None` if nobody may.
    pub needed: Option<Vec<Access>>,
    /// The origin of the request.
    pub origin: Origin,
}

/// The decision on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Pass,
    /// The JWT does not cover it; one with this access would be granted.
    AskForMore,
    /// It may do what it does, but not take content over from elsewhere: without that it may pass.
    NotFromThere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A JWT, so the key that signs it is looked up too, and the binding of a refresh token if one is to be issued.
    Issue { offline: bool },
    /// A check of the identity.
    Check,
}

/// A registry, the holder that logged in to it, and the key that signs for it.
#[derive(Debug, Clone)]
pub(super) struct ProvenLogin {
    tenant: Tenant,
    holder: Holder,
    signing: Option<Current>,
    refresh_token: Option<RefreshToken>,
}

impl ProvenLogin {
    pub(super) fn read(
        connection: &mut Session,
        tenant: Tenant,
        holder: Holder,
        purpose: Purpose,
    ) -> Result<Self> {
        let mut signing = None;
        if let Purpose::Issue { .. } = purpose {
            let role = KeyRole::of_signer(tenant.verifier);
            signing = signing_keys::current(connection, tenant.key, role)?;
        }
        Self::signing_with(connection, signing, (tenant, holder), purpose)
    }

    /// [`Self::read`] with the key that signs, if there is one.
    pub(super) fn signing_with(
        connection: &mut Session,
        signing: Option<Current>,
        (tenant, holder): (Tenant, Holder),
        purpose: Purpose,
    ) -> Result<Self> {
        let refresh_token = match purpose {
            Purpose::Issue { offline: true } => {
                refresh_tokens::of(connection, &tenant, &holder.reference)?
            }
            Purpose::Issue { offline: false } | Purpose::Check => None,
        };
        Ok(Self {
            tenant,
            holder,
            signing,
            refresh_token,
        })
    }
}

/// The result of a look at a login; for a refusal, with its facts.
pub(super) type Witnessed<T> = std::result::Result<T, Refusal>;

/// Looks at a login, and keeps the known facts when it is refused.
pub(super) fn witness<T>(look: impl FnOnce(&mut Refusal) -> Result<T>) -> Result<Witnessed<T>> {
    let mut seen = Refusal::default();
    match look(&mut seen) {
        Ok(found) => Ok(Ok(found)),
        Err(Error::Unauthenticated) => Ok(Err(seen)),
        Err(error) => Err(error),
    }
}

/// Login and grant use cases.
#[derive(Debug)]
pub struct Grants<'a> {
    pub(super) core: &'a Core,
}

impl<'a> Grants<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Issues a JWT for the allowed part of the wanted access. A subset, even an empty one, is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`] for anything wrong with the credentials, [`Error::Invalid`] for a service that no
    /// registry has.
    pub async fn issue(&self, ask: Ask) -> Result<Granted> {
        let origin = &ask.origin;
        let offline = ask.offline && self.core.policy.refresh_tokens;
        let purpose = Purpose::Issue { offline };
        let service = ask.service.as_str();
        let standing = match ask.login {
            Login::Password(presented) => {
                self.by_password(presented, service, purpose, origin)
                    .await?
            }
            Login::Refresh { token, source } => {
                let standing = self
                    .by_refresh_token(&token, service, source, purpose)
                    .await;
                self.heard(standing, service, By::nobody(origin.clone()))?
            }
        };
        let ProvenLogin {
            tenant,
            holder,
            signing,
            refresh_token,
        } = standing;
        let now = self.core.clock.now();
        let issued_at = now.trunc_subsecs(0);
        let lasting = issued_at + self.core.policy.jwt_life();
        let end = holder
            .expires_at
            .map_or(lasting, |end| end.trunc_subsecs(0).min(lasting));
        if end <= issued_at {
            let mut seen = holder.seen();
            let error = seen.because(Reason::Expired);
            return Err(self
                .core
                .refused_as(error, &seen, By::nobody(origin.clone())));
        }
        let access = scope::grants(&holder.scopes, &ask.wanted);
        let signer = SigningKeys::new(self.core).signer(&tenant, signing).await?;
        let mut claims = Claims::new(
            &self.core.policy.jwt_issuer,
            &holder.name,
            &self.core.policy.service_name(&tenant.name),
            self.seal(&holder.reference)?,
            issued_at,
            end,
        );
        claims.access = access.iter().map(AccessClaim::from).collect();
        let jwt = signer.sign(&claims)?;
        let refresh_token = refresh_token
            .map(|token| token.seal(self.core))
            .transpose()?;
        self.note(&holder, now, origin, &access);
        let by = By {
            actor: holder.account,
            actor_name: Some(holder.name),
            ..By::nobody(ask.origin)
        };
        let (kind, id) = holder.subject;
        let mut login = Event::of(Kind::Login, Outcome::Success, (kind, Some(id)), by, now);
        login.registry = Some(tenant.id);
        if !holder.claims.is_empty() {
            login.detail = login.detail.with("claims", named_claims(&holder.claims));
        }
        self.core
            .audit_buffer
            .count(login, self.core.clock.instant());
        Ok(Granted {
            jwt,
            access,
            issued_at,
            expires_in: (end - issued_at).num_seconds(),
            refresh_token,
        })
    }

    /// Decides on a request that a proxy holds back.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthenticated`] for anything wrong with the credentials, [`Error::Forbidden`] for what they do not
    /// allow, [`Error::Invalid`] for a service that no registry has.
    pub async fn check(&self, passage: Passage) -> Result<Verdict> {
        let (origin, service) = (&passage.origin, passage.service.as_str());
        let (holder, claims) = match passage.pass {
            Pass::Password(presented) => {
                let standing = self
                    .by_password(presented, service, Purpose::Check, origin)
                    .await?;
                (standing.holder, None)
            }
            Pass::Jwt { jwt, source } => {
                let found = self.by_jwt(&jwt, service, source).await;
                let by = By::nobody(origin.clone());
                let (holder, claims) = self.heard(found, service, by)?;
                (holder, Some(claims))
            }
        };
        let verdict = decide(&holder, claims.as_ref(), passage.needed);
        let by = || By {
            actor: holder.account,
            ..By::named(&holder.name, origin.clone())
        };
        let (verdict, needed) =
            verdict.map_err(|error| self.core.refused_as(error, &holder.seen(), by()))?;
        if verdict == Verdict::Pass {
            self.note(&holder, self.core.clock.now(), origin, &needed);
        }
        Ok(verdict)
    }

    /// Counts a refusal, and reports it to the audit trail and the log.
    pub(super) fn heard<T>(&self, look: Result<Witnessed<T>>, service: &str, by: By) -> Result<T> {
        let (error, seen) = match look {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => (Error::Unauthenticated, seen),
            Err(error) => (error, Refusal::default()),
        };
        let mut seen = self.completed(&error, seen, service);
        let address = by.origin.address;
        let error = self.core.refused_as(error, &seen, by);
        if let Some((trust, detail)) = seen.workload.take() {
            let refusal = TrustRefusal {
                at: self.core.clock.now(),
                times: 1,
                address,
                detail,
            };
            self.core.refused_workloads.note(trust, refusal);
        }
        Err(error)
    }

    /// The facts about a refusal, with the registry's name if the login failed before its lookup. Also logs it.
    fn completed(&self, error: &Error, mut seen: Refusal, service: &str) -> Refusal {
        if matches!(error, Error::Unauthenticated) {
            let name = self.core.policy.registry_name(service);
            seen.registry_name = name.filter(|_| seen.registry.is_none()).map(str::to_owned);
            let (kind, id) = seen.subject.unzip();
            tracing::debug!(
                service = name,
                registry = seen.registry.map(tracing::field::display),
                kind = kind.map(SubjectKind::as_str),
                id = id.map(tracing::field::display),
                reason = seen.reason.map(Reason::as_str),
                "a login was refused"
            );
        }
        seen
    }

    /// A password in the form of a machine secret or of a JWT is only tried as one of that kind, any other as an account's.
    async fn by_password(
        &self,
        presented: Presented,
        service: &str,
        purpose: Purpose,
        origin: &Origin,
    ) -> Result<ProvenLogin> {
        let by = By::named(&presented.name, origin.clone());
        if refresh_tokens::is_password(&presented.name, &presented.password) {
            let (token, source) = (presented.password, presented.source);
            let standing = self
                .by_refresh_token(&token, service, source, purpose)
                .await;
            return self.heard(standing, service, by);
        }
        if workloads::is_password(&presented.password) || is_jwt(&presented.password) {
            let standing = self.by_workload(presented, service, purpose).await;
            return self.heard(standing, service, by);
        }
        match SecretKind::of(presented.password.expose_secret()) {
            Some(SecretKind::RegistryToken) => {
                let standing = self.by_secret(presented, service, purpose).await;
                self.heard(standing, service, by)
            }
            Some(SecretKind::AppToken) => {
                let standing = self.by_code(presented, service, purpose).await;
                self.heard(standing, service, by)
            }
            None => self.by_account(presented, service, purpose, by).await,
        }
    }

    async fn by_account(
        &self,
        presented: Presented,
        service: &str,
        purpose: Purpose,
        by: By,
    ) -> Result<ProvenLogin> {
        let (policy, source) = (Arc::clone(&self.core.policy), presented.source);
        let caller = match self.core.access.identify(presented).await {
            Ok(caller) => caller.from(by.origin),
            Err(error) => {
                let seen = self.completed(&error, Refusal::default(), service);
                self.core.tell_of_password(&error, &seen, by);
                return Err(error);
            }
        };
        let (asked, account) = (service.to_owned(), caller.by().actor);
        let look = self
            .core
            .look(&caller, Length::Short, move |connection, actor| {
                witness(|seen| {
                    seen.subject = account.map(|account| (SubjectKind::Account, account.0));
                    let actor = actor.map_err(|error| match error {
                        // Its password was right.
                        Error::Unauthenticated => seen.because(Reason::Disabled),
                        other => other,
                    })?;
                    let tenant = enter(connection, &policy, &asked, seen)?;
                    may_enter(&tenant, source, seen)?;
                    let holder = account_holder(connection, actor, &tenant, seen)?;
                    ProvenLogin::read(connection, tenant, holder, purpose)
                })
            });
        let (error, seen) = match look.await {
            Ok(Ok(standing)) => return Ok(standing),
            Ok(Err(seen)) => (Error::Unauthenticated, seen),
            Err(error) => (error, Refusal::default()),
        };
        let seen = self.completed(&error, seen, service);
        if seen.reason == Some(Reason::RegistryFrozen) {
            // No guess: it must not make the account wait elsewhere, such as at this service's own APIs.
            self.core.tell(&error, &seen, caller.by());
            return Err(error);
        }
        self.core.concluded(&caller, Err(error), &seen).await
    }

    /// Looks at a login in the registry of this service name.
    pub(super) async fn witnessed<T: Send + 'static>(
        &self,
        service: &str,
        mut look: impl FnMut(&mut Session, Tenant, &mut Refusal) -> Result<T> + Send + 'static,
    ) -> Result<Witnessed<T>> {
        let (policy, service) = (Arc::clone(&self.core.policy), service.to_owned());
        self.look(move |connection, seen| {
            let tenant = enter(connection, &policy, &service, seen)?;
            look(connection, tenant, seen)
        })
        .await
    }

    pub(super) async fn look<T: Send + 'static>(
        &self,
        mut look: impl FnMut(&mut Session, &mut Refusal) -> Result<T> + Send + 'static,
    ) -> Result<Witnessed<T>> {
        let job = move |connection: &mut Session| witness(|seen| look(connection, seen));
        self.core.store.read(job).await
    }

    async fn by_code(
        &self,
        presented: Presented,
        service: &str,
        purpose: Purpose,
    ) -> Result<Witnessed<ProvenLogin>> {
        let (vault, now) = (Arc::clone(&self.core.data_keys), self.core.clock.now());
        let look = move |connection: &mut Session, tenant: Tenant, seen: &mut Refusal| {
            let code = presented.password.expose_secret();
            let found = app_tokens::credential_for(connection, code)?;
            let known = found.as_ref().map(|found| (found.id.0, &found.secret));
            let right = is_right(&vault, SecretKind::AppToken, &presented.password, known)?;
            let found = found
                .filter(|_| right && presented.name == app_token::USER)
                .ok_or(Error::Unauthenticated)?;
            seen.subject = Some((SubjectKind::AppToken, found.id.0));
            may_enter(&tenant, presented.source, seen)?;
            let holder = app_token_holder(connection, &found, &tenant, now, seen)?;
            ProvenLogin::read(connection, tenant, holder, purpose)
        };
        self.witnessed(service, look).await
    }

    async fn by_refresh_token(
        &self,
        token: &SecretString,
        service: &str,
        source: IpAddr,
        purpose: Purpose,
    ) -> Result<Witnessed<ProvenLogin>> {
        let token = RefreshToken::open(self.core, token).ok_or(Error::Unauthenticated)?;
        let now = self.core.clock.now();
        let look = move |connection: &mut Session, tenant: Tenant, seen: &mut Refusal| {
            // One state of the account, whose version the second look compares.
            let holder = connection.snapshot(|connection| {
                match token.reference(connection, &tenant)? {
                    Some(reference) => referred(connection, &tenant, &reference, now, source, seen),
                    None if token.registry() == tenant.key => {
                        is_of(connection, &tenant, token.who(), seen)?;
                        Err(Error::Unauthenticated)
                    }
                    None => Err(Error::Unauthenticated),
                }
            })?;
            ProvenLogin::read(connection, tenant, holder, purpose)
        };
        self.witnessed(service, look).await
    }

    /// The owner of the secret that a JWT was issued for, if the JWT is in force, for any registry.
    pub(super) async fn behind_jwt(
        &self,
        jwt: &SecretString,
    ) -> Result<Option<(Reference, DateTime<Utc>)>> {
        let jwt = jwt.expose_secret();
        let Some(kid) = named_key(jwt) else {
            return Ok(None);
        };
        let Some(verifier) = SigningKeys::new(self.core).verifier(kid).await? else {
            return Ok(None);
        };
        let now = self.core.clock.now();
        // The password of a workload may be a JWT that lasts longer.
        let longest = TimeDelta::seconds(LONGEST_LIFE.seconds());
        let since = now - self.core.policy.jwt_life().max(longest);
        let (key, number) = (verifier.registry, verifier.number);
        let home = move |connection: &mut Session| {
            let id = registries::find_id(connection, key)?;
            let tenant = id.map_or(Ok(None), |id| registries::tenant(connection, id))?;
            let stands = signing_keys::stands(connection, key, number, since)?;
            Ok(tenant.filter(|_| stands))
        };
        let Some(tenant) = self.core.store.read(home).await? else {
            return Ok(None);
        };
        let policy = &self.core.policy;
        let service = policy.service_name(&tenant.name);
        let claims = verifier.verify(jwt, &policy.jwt_issuer, &service, now);
        let behind = claims.and_then(|claims| {
            let end = DateTime::from_timestamp(claims.exp, 0)?;
            let workload = || WorkloadPassword::open(self.core, &claims.jti);
            let own = self.open(&claims.jti);
            let reference = own.or_else(|| workload().map(|password| password.reference));
            Some((reference?, end))
        });
        Ok(behind.filter(|(reference, _)| reference.registry == tenant.key))
    }

    /// The claims of a JWT that a key of ours signed for a registry, and the key.
    pub(super) async fn own_jwt(
        &self,
        jwt: &str,
        service: &str,
    ) -> Result<(Arc<Verifier>, Claims)> {
        let kid = named_key(jwt).ok_or(Error::Unauthenticated)?;
        let verifier = SigningKeys::new(self.core)
            .verifier(kid)
            .await?
            .ok_or(Error::Unauthenticated)?;
        let now = self.core.clock.now();
        let claims = verifier
            .verify(jwt, &self.core.policy.jwt_issuer, service, now)
            .ok_or(Error::Unauthenticated)?;
        Ok((verifier, claims))
    }

    fn note(&self, holder: &Holder, now: DateTime<Utc>, origin: &Origin, access: &[Access]) {
        let used = match holder.reference.who {
            Who::Token(token) => Some(Used::Token(token, holder.reference.registry)),
            Who::AppToken(token) => Some(Used::AppToken(token)),
            Who::Account(_) | Who::Trust(_) => None,
        };
        if let Some(used) = used {
            let repository = access
                .iter()
                .find(|access| access.r#type == "repository" && !access.name.is_empty());
            let repository = repository.map(|access| access.name.as_str());
            let usage = &self.core.usage;
            usage.note_with(used, now, origin.address, repository, holder.secret);
        }
    }

    fn seal(&self, reference: &Reference) -> Result<String> {
        self.core
            .data_keys
            .seal_text(&*self.core.random, JWT, &reference.to_bytes())
    }

    pub(super) fn open(&self, text: &str) -> Option<Reference> {
        Reference::from_bytes(&self.core.data_keys.open_text(JWT, text)?)
    }
}

impl From<&Access> for AccessClaim {
    fn from(access: &Access) -> Self {
        Self {
            r#type: access.r#type.clone(),
            name: access.name.clone(),
            actions: access.actions.clone(),
        }
    }
}

fn decide(
    holder: &Holder,
    claims: Option<&Claims>,
    needed: Option<Vec<Access>>,
) -> Result<(Verdict, Vec<Access>)> {
    let needed = needed
        .ok_or_else(|| Error::Forbidden("registry tokens do not open this path".to_owned()))?;
    for (place, need) in needed.iter().enumerate() {
        let allowed = scope::granted(&holder.scopes, need);
        if let Some(action) = need.actions.iter().find(|action| !allowed.contains(action)) {
            if place > 0 {
                return Ok((Verdict::NotFromThere, needed));
            }
            return Err(Error::Forbidden(format!(
                "the scopes of {} do not grant {} on {} {}",
                quoted(&holder.name),
                quoted(action),
                need.r#type,
                quoted(&need.name),
            )));
        }
    }
    let covered = claims.is_none_or(|claims| needed.iter().all(|need| claims.covers(need)));
    let verdict = if covered {
        Verdict::Pass
    } else {
        Verdict::AskForMore
    };
    Ok((verdict, needed))
}

/// The registry that a client logs in to.
pub(super) fn enter(
    connection: &mut Session,
    policy: &Policy,
    service: &str,
    seen: &mut Refusal,
) -> Result<Tenant> {
    let tenant = find_registry(policy, service, |name| {
        registries::tenant_named(connection, name)
    })?;
    seen.registry = Some(tenant.id);
    Ok(tenant)
}

/// Finds the registry of a service name by its name.
pub(super) fn find_registry<T>(
    policy: &Policy,
    service: &str,
    find: impl FnOnce(&str) -> Result<Option<T>>,
) -> Result<T> {
    let unknown = || {
        Error::invalid(
            Field::Other("service"),
            format!(
                "no registry here has the service name {}; send the hostname of a registry, such as {}",
                quoted(service),
                policy.service_name("my-registry"),
            ),
        )
    };
    let name = policy.registry_name(service).ok_or_else(unknown)?;
    find(name)?.ok_or_else(unknown)
}
