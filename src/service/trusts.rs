//! Trusts: made, shown, changed and removed within their registry, and the reasons for which workloads are refused.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::access::{Caller, confined};
use super::core::{Core, Done, Put, Urgency};
use super::idempotency::{Once, StoredAnswer};
use super::visible::visible;
use crate::domain::account::Actor;
use crate::domain::audit::Change;
use crate::domain::claims::{Verdict, audience_verdict, issuer_verdict};
use crate::domain::escalation::{Holder, change, obtain};
use crate::domain::evaluation::{Evaluation, Question, evaluate};
use crate::domain::id::{IssuerId, RegistryId, RegistryKey, TrustId};
use crate::domain::idempotency::Attempt;
use crate::domain::issuer::IssuerRules;
use crate::domain::membership::Rights;
use crate::domain::page::Window;
use crate::domain::patch::Patch;
use crate::domain::permission::{Level, Resource};
use crate::domain::precondition::{Look, Precondition};
use crate::domain::tenant::Tenant;
use crate::domain::text::quoted;
use crate::domain::token::TokenName;
use crate::domain::trust::{NewTrust, Trust, TrustPatch};
use crate::domain::trust_refusal::TrustRefusal;
use crate::domain::workload_jwt::Unproven;
use crate::error::{Error, Field, Result, What};
use crate::store::{Lock, Session, credentials, issuers, members, trust_refusals, trusts as table};

/// A page of trusts.
#[derive(Debug, Clone)]
pub struct TrustPage {
    /// In creation order.
    pub trusts: Vec<Trust>,
    /// All trusts of the registry.
    pub total: i64,
    /// The audience of a trust that sets none.
    pub audience: String,
}

/// A trust, with its audience.
#[derive(Debug, Clone)]
pub struct SeenTrust {
    /// The trust.
    pub trust: Trust,
    /// The audience that its JWTs need.
    pub audience: String,
}

/// The result of an evaluation of a trust.
#[derive(Debug)]
pub struct TrustEvaluation {
    /// The comparison of each claim.
    pub verdicts: Vec<Verdict>,
    /// The access that would be granted.
    pub evaluation: Evaluation,
}

/// Trust use cases.
#[derive(Debug)]
pub struct Trusts<'a> {
    core: &'a Core,
}

impl<'a> Trusts<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// A page of a registry's trusts.
    pub async fn list(
        &self,
        caller: &Caller,
        registry: RegistryId,
        window: Window,
    ) -> Result<TrustPage> {
        let policy = Arc::clone(&self.core.policy);
        self.core
            .read(caller, move |connection, actor| {
                let (tenant, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Read)?;
                let (trusts, total) = connection
                    .snapshot(|connection| table::page(connection, tenant.key, window))?;
                Ok(TrustPage {
                    trusts,
                    total,
                    audience: policy.service_name(&tenant.name),
                })
            })
            .await
    }

    /// One trust.
    pub async fn show(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TrustId,
        condition: Precondition,
    ) -> Result<Look<SeenTrust>> {
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        self.core
            .read(caller, move |connection, actor| {
                let (tenant, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Read)?;
                let trust = find(connection, tenant.key, id)?;
                let tag = trust.tag_at(now);
                let seen = seen(trust, &policy.service_name(&tenant.name));
                condition.look(What::Trust, tag, seen)
            })
            .await
    }

    /// Makes a trust, once for a request that may come again.
    pub async fn create(
        &self,
        caller: &Caller,
        registry: RegistryId,
        new: NewTrust,
        attempt: Option<Attempt>,
    ) -> Result<Once<SeenTrust>> {
        let now = self.core.clock.now();
        let id = TrustId(self.core.random.uuid_at(now)?);
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, None)?,
        );
        let name = new.name.clone();
        let made = self
            .core
            .write(
                caller,
                // The issuer must not be deleted meanwhile.
                Lock::CatalogAndRegistry(registry),
                move |connection, actor| {
                    let (tenant, rights) = enter(connection, actor, registry)?;
                    rights.require(Resource::Token, Level::Write)?;
                    require_unconfined(actor)?;
                    let (holder, host) = (
                        policy.holder(actor, rights),
                        policy.service_name(&tenant.name),
                    );
                    if let Some(kept) = claim.recall(connection, actor)? {
                        let trust = again(connection, tenant.key, &holder, kept)?;
                        return Ok(Done::nothing(Once::earlier(seen(trust, &host))));
                    }
                    let made = (id, tenant.key, now);
                    let trust = make(connection, actor, &holder, made, new.clone(), &host)?;
                    policy
                        .caps
                        .admit_trust(table::count(connection, tenant.key)?)?;
                    let trust = insert(connection, trust)?;
                    claim.keep(connection, actor, id.0, trust.tag_at(now))?;
                    let change = Change::created(&trust).within(registry);
                    Ok(Done::told(Once::now(seen(trust, &host)), change))
                },
            )
            .await;
        self.naming_holder(caller, registry, name, made).await
    }

    /// Adds to a conflict of names the id of the trust or the token that has the name.
    async fn naming_holder<T>(
        &self,
        caller: &Caller,
        registry: RegistryId,
        name: TokenName,
        outcome: Result<T>,
    ) -> Result<T> {
        let find = move |connection: &mut Session, actor: &Actor| {
            let (tenant, rights) = enter(connection, actor, registry)?;
            rights.require(Resource::Token, Level::Read)?;
            if let Some(trust) = table::named(connection, tenant.key, name.as_str())? {
                return Ok(Some(trust.id.0));
            }
            let token = credentials::credential_named(connection, tenant.home(), name.as_str())?;
            Ok(token.map(|token| token.id.0))
        };
        self.core.naming_holder(caller, outcome, find).await
    }

    /// Makes a trust with a given id, once for a request that may come again, or replaces the trust that has the id. A
    /// trust that is replaced keeps its name.
    pub async fn replace(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TrustId,
        new: NewTrust,
        condition: Precondition,
        attempt: Option<Attempt>,
    ) -> Result<Put<Once<SeenTrust>, SeenTrust>> {
        let now = self.core.clock.now();
        let (policy, claim) = (
            Arc::clone(&self.core.policy),
            self.core.claim(attempt, None)?,
        );
        let name = new.name.clone();
        let put = self
            .core
            .write(
                caller,
                Lock::CatalogAndRegistry(registry),
                move |connection, actor| {
                    let (tenant, rights) = enter(connection, actor, registry)?;
                    rights.require(Resource::Token, Level::Write)?;
                    require_unconfined(actor)?;
                    let (holder, host) = (
                        policy.holder(actor, rights),
                        policy.service_name(&tenant.name),
                    );
                    // Before the condition: the first request's own change must not make its repeat fail.
                    if let Some(kept) = claim.recall(connection, actor)? {
                        let trust = again(connection, tenant.key, &holder, kept)?;
                        let once = Once::earlier(seen(trust, &host));
                        return Ok(Done::nothing(Put::Created(once)));
                    }
                    let found = table::find(connection, tenant.key, id)?;
                    let tag = found.as_ref().map(|trust| trust.tag_at(now));
                    condition.require(What::Trust, tag)?;
                    let Some(mut trust) = found else {
                        let made = (id, tenant.key, now);
                        let trust = make(connection, actor, &holder, made, new.clone(), &host)?;
                        policy
                            .caps
                            .admit_trust(table::count(connection, tenant.key)?)?;
                        let trust = insert(connection, trust)?;
                        claim.keep(connection, actor, id.0, trust.tag_at(now))?;
                        let change = Change::created(&trust).within(registry);
                        let once = Once::now(seen(trust, &host));
                        return Ok(Done::told(Put::Created(once), change));
                    };
                    let before = trust.clone();
                    let issuer = issuer(connection, new.issuer)?;
                    let mut new = new.clone();
                    new.audience = new.audience.filter(|audience| *audience != host);
                    if !trust.replace(new, &issuer, now)? {
                        return Ok(Done::nothing(Put::Replaced(seen(trust, &host))));
                    }
                    change(&before.grant(), &trust.grant(), &holder)?;
                    table::update(connection, &mut trust, actor.stamp(now))?;
                    let change = Change::updated(&before, &trust).within(registry);
                    Ok(Done::told(Put::Replaced(seen(trust, &host)), change))
                },
            )
            .await;
        self.naming_holder(caller, registry, name, put).await
    }

    /// Changes the fields that the patch names. A patch that changes nothing leaves no trace.
    pub async fn update(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TrustId,
        patch: TrustPatch,
        condition: Precondition,
    ) -> Result<SeenTrust> {
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        let urgency = Urgency::of_an_end(patch.only_disables());
        self.core
            .change(
                caller,
                urgency,
                Lock::CatalogAndRegistry(registry),
                move |connection, actor| {
                    let (tenant, rights) = enter(connection, actor, registry)?;
                    rights.require(Resource::Token, Level::Write)?;
                    if !patch.only_disables() {
                        require_unconfined(actor)?;
                    }
                    let (holder, host) = (
                        policy.holder(actor, rights),
                        policy.service_name(&tenant.name),
                    );
                    let mut trust = find(connection, tenant.key, id)?;
                    condition.require(What::Trust, Some(trust.tag_at(now)))?;
                    let before = trust.clone();
                    let mut patch = patch.clone();
                    patch.audience = match patch.audience {
                        Patch::Set(audience) if audience == host => Patch::Clear,
                        said => said,
                    };
                    let issuer = patch.issuer.map(|id| issuer(connection, id)).transpose()?;
                    if !trust.update(patch, issuer.as_ref(), now)? {
                        return Ok(Done::nothing(seen(trust, &host)));
                    }
                    change(&before.grant(), &trust.grant(), &holder)?;
                    table::update(connection, &mut trust, actor.stamp(now))?;
                    let change = Change::updated(&before, &trust).within(registry);
                    Ok(Done::told(seen(trust, &host), change))
                },
            )
            .await
    }

    /// Removes a trust. From now on it opens nothing, and neither does a password for which a JWT was exchanged.
    pub async fn delete(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TrustId,
        condition: Precondition,
    ) -> Result<()> {
        let now = self.core.clock.now();
        self.core
            .end(
                caller,
                Lock::Registry(registry),
                move |connection, actor| {
                    let (tenant, rights) = enter(connection, actor, registry)?;
                    rights.require(Resource::Token, Level::Write)?;
                    let trust = find(connection, tenant.key, id)?;
                    condition.require(What::Trust, Some(trust.tag_at(now)))?;
                    table::delete(connection, trust.key)?;
                    Ok(Done::told((), Change::deleted(&trust).within(registry)))
                },
            )
            .await
    }

    /// The access that a workload with these claims would be granted now, with the reasons. Neither the signature nor the
    /// times of a JWT are looked at. Grants nothing and leaves no trace.
    pub async fn evaluate(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TrustId,
        workload: Unproven,
        question: Question,
    ) -> Result<TrustEvaluation> {
        let (now, policy) = (self.core.clock.now(), Arc::clone(&self.core.policy));
        self.core
            .read(caller, move |connection, actor| {
                let (tenant, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Read)?;
                let trust = find(connection, tenant.key, id)?;
                let host = policy.service_name(&tenant.name);
                let audience = trust.audience.as_deref().unwrap_or(&host);
                let (issuer, claims) = (&trust.issuer, &workload.claims);
                let mut verdicts = vec![
                    issuer_verdict(issuer.url.as_str(), claims),
                    audience_verdict(audience, claims),
                ];
                verdicts.extend(trust.claims.verdicts(issuer.kind, claims));
                let algorithm = workload.algorithm.as_deref();
                let other = algorithm.filter(|name| !issuer.has_algorithm(name));
                let other = other.map(|name| {
                    let name = quoted(name);
                    format!("the JWT's algorithm {name} is none of its issuer's algorithms")
                });
                let misfit = verdicts.iter().find(|verdict| !verdict.fits);
                let misfit =
                    misfit.map(|verdict| format!("the claim {} does not fit", verdict.claim));
                let closed = || trust.closed_to(&tenant, question.address?);
                let unusable = tenant.shut().or_else(|| trust.unusable_at(now));
                let unusable = unusable.or_else(closed).or(other).or(misfit);
                let domain = &policy.registry_domain;
                let evaluation = evaluate(&trust.scopes, &question.wanted, unusable, domain);
                Ok(TrustEvaluation {
                    verdicts,
                    evaluation,
                })
            })
            .await
    }

    /// The last refused workloads of a trust, the last one first.
    pub async fn refusals(
        &self,
        caller: &Caller,
        registry: RegistryId,
        id: TrustId,
    ) -> Result<Vec<TrustRefusal>> {
        self.core
            .read(caller, move |connection, actor| {
                let (tenant, rights) = enter(connection, actor, registry)?;
                rights.require(Resource::Token, Level::Read)?;
                let trust = find(connection, tenant.key, id)?;
                trust_refusals::list(connection, trust.key)
            })
            .await
    }
}

/// A registry, and the actor's rights on it.
fn enter(connection: &mut Session, actor: &Actor, id: RegistryId) -> Result<(Tenant, Rights)> {
    visible(actor, id, members::tenant(connection, id, actor.key)?)
}

/// Refuses a registry API token: it must not outlive itself by letting workloads in.
fn require_unconfined(actor: &Actor) -> Result<()> {
    match actor.confined() {
        Some(_) => Err(confined()),
        None => Ok(()),
    }
}

fn find(connection: &mut Session, registry: RegistryKey, id: TrustId) -> Result<Trust> {
    table::find(connection, registry, id)?.ok_or_else(|| Error::not_found(What::Trust, id))
}

fn issuer(connection: &mut Session, id: IssuerId) -> Result<IssuerRules> {
    issuers::rules(connection, id)?.ok_or_else(|| {
        Error::invalid(
            Field::Issuer,
            format!("issuer {id} is the id of no issuer; GET /issuers lists them"),
        )
    })
}

fn seen(trust: Trust, host: &str) -> SeenTrust {
    let audience = trust.audience.clone().unwrap_or_else(|| host.to_owned());
    SeenTrust { trust, audience }
}

/// A new trust that the actor may make.
fn make(
    connection: &mut Session,
    actor: &Actor,
    holder: &Holder<Rights>,
    (id, registry, now): (TrustId, RegistryKey, DateTime<Utc>),
    mut new: NewTrust,
    host: &str,
) -> Result<Trust> {
    let issuer = issuer(connection, new.issuer)?;
    // The default has one form, so that naming it changes nothing.
    new.audience = new.audience.filter(|audience| audience != host);
    let trust = new.made((id, registry), issuer, &actor.stamp(now))?;
    obtain(&trust.grant(), holder)?;
    Ok(trust)
}

fn insert(connection: &mut Session, mut trust: Trust) -> Result<Trust> {
    table::insert(connection, &mut trust)?;
    Ok(trust)
}

/// The trust that the same request made before.
fn again(
    connection: &mut Session,
    registry: RegistryKey,
    holder: &Holder<Rights>,
    kept: StoredAnswer,
) -> Result<Trust> {
    let found = table::find(connection, registry, TrustId(kept.id))?;
    let made_at = |trust: &Trust| trust.modified.as_ref().unwrap_or(&trust.created).at;
    let (trust, _) = kept.still(What::Trust, found, |trust| trust.tag_at(made_at(trust)))?;
    obtain(&trust.grant(), holder)?;
    Ok(trust)
}
