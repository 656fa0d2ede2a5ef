//! Holders: tokens and accounts that logged in to a registry, and the reasons to refuse them.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use uuid::Uuid;

use super::data_keys::DataKeys;
use super::references::{Reference, Who};
use crate::domain::account::Actor;
use crate::domain::audit::{Reason, Refusal, SubjectKind};
use crate::domain::id::{AccountId, RegistryId};
use crate::domain::rotation::Generation;
use crate::domain::secret::SecretKind;
use crate::domain::status::Status;
use crate::domain::tenant::Tenant;
use crate::domain::token_scope::Scope;
use crate::domain::trust::Trust;
use crate::domain::trust_refusal::RefusalReason;
use crate::error::{Error, Result};
use crate::store::credentials::{Credential, Opening, SecretDigest};
use crate::store::token_lookups::UsedSecret;
use crate::store::{Session, accounts, app_tokens, credentials, members, trusts};

/// A token or account that logged in, as the database has it now.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) registry: RegistryId,
    pub(super) name: String,
    /// The subject: a token, or the account itself.
    pub(super) subject: (SubjectKind, Uuid),
    /// The account on whose behalf it comes, if there is one.
    pub(super) account: Option<AccountId>,
    pub(super) scopes: Vec<Scope>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    /// For a workload with its JWT: the claims that name it.
    pub(super) claims: Vec<(&'static str, String)>,
    /// The reference that is sealed into its credentials.
    pub(super) reference: Reference,
    /// The secret that it came with, if the lookup of that is missing.
    pub(super) secret: Option<UsedSecret>,
}

impl Holder {
    /// The facts about a refusal of it.
    pub(super) fn seen(&self) -> Refusal {
        Refusal {
            registry: Some(self.registry),
            registry_name: None,
            subject: Some(self.subject),
            name: Some(self.name.clone()),
            reason: None,
            workload: None,
        }
    }
}

/// Checks that the registry may be entered now, and from the client's address. A refusal looks like that of a wrong
/// secret: a thief who has the right one must not learn that it is.
pub(super) fn may_enter(tenant: &Tenant, source: IpAddr, seen: &mut Refusal) -> Result<()> {
    if tenant.frozen {
        return Err(seen.because(Reason::RegistryFrozen));
    }
    if tenant.api_subnet_allow_list.admits(source) {
        return Ok(());
    }
    Err(seen.because(Reason::RegistryAddress))
}

/// Notes the owner of a secret.
pub(super) fn is_of_token(found: &Credential, seen: &mut Refusal) {
    seen.subject = Some((SubjectKind::Token, found.id.0));
    seen.name = Some(found.name.clone());
}

/// Notes the trust by which a workload comes.
pub(super) fn is_of_trust(found: &Trust, seen: &mut Refusal) {
    seen.subject = Some((SubjectKind::Trust, found.id.0));
    seen.name = Some(found.name.clone());
}

/// Notes the owner of the secret behind a credential, if that owner is still there.
pub(super) fn is_of(
    connection: &mut Session,
    tenant: &Tenant,
    who: Who,
    seen: &mut Refusal,
) -> Result<()> {
    match who {
        Who::Token(token) => {
            let found = credentials::credential(connection, tenant.home(), token)?;
            if let Some((found, _)) = found {
                is_of_token(&found, seen);
            }
        }
        Who::Account(account) => {
            let found = accounts::standing(connection, account)?;
            seen.subject = found.map(|found| (SubjectKind::Account, found.actor.id.0));
        }
        Who::AppToken(token) => {
            let found = app_tokens::credential(connection, token)?;
            seen.subject = found.map(|found| (SubjectKind::AppToken, found.id.0));
        }
        Who::Trust(trust) => {
            if let Some(found) = trusts::keyed(connection, tenant.key, trust)? {
                is_of_trust(&found, seen);
            }
        }
    }
    seen.reason = seen.subject.map(|_| Reason::Ended);
    Ok(())
}

/// Returns true if this is the secret of a token, found by its id. A missing token costs as much as a wrong secret.
pub(super) fn is_right(
    vault: &DataKeys,
    kind: SecretKind,
    secret: &SecretString,
    known: Option<(Uuid, &SecretDigest)>,
) -> Result<bool> {
    let Some((token, stored)) = known else {
        vault.digest(kind, Uuid::nil(), secret)?;
        return Ok(false);
    };
    Ok(vault.matches(kind, token, secret, stored))
}

/// The number of the token's secret that equals this one, if any does. Both secrets are always compared.
pub(super) fn generation_of(
    vault: &DataKeys,
    secret: &SecretString,
    known: Option<&Credential>,
) -> Result<Option<Generation>> {
    let kind = SecretKind::RegistryToken;
    let current = known.map(|known| (known.id.0, &known.secret));
    let current = is_right(vault, kind, secret, current)?;
    let previous = known.is_some_and(|known| {
        let before = known.previous.as_ref();
        before.is_some_and(|before| vault.matches(kind, known.id.0, secret, before))
    });
    let current = current.then_some(Generation::Current);
    Ok(current.or(previous.then_some(Generation::Previous)))
}

/// The lookup of a secret that was right, if it is missing.
pub(super) fn missing_lookup(
    vault: &DataKeys,
    secret: &SecretString,
    found: &Credential,
    generation: Generation,
) -> Result<Option<UsedSecret>> {
    if !found.lacks_lookup(generation) {
        return Ok(None);
    }
    Ok(Some(UsedSecret {
        generation,
        version: found.version_of(generation),
        lookup: vault.lookup(secret)?,
    }))
}

/// The holder for a token, if the token and its secret are in use and the client's address is allowed. The secret, or a
/// reference to it, was right.
pub(super) fn token_holder(
    (found, generation, opening): (Credential, Generation, Opening),
    tenant: &Tenant,
    now: DateTime<Utc>,
    source: IpAddr,
    seen: &mut Refusal,
) -> Result<Holder> {
    let secret_ends = found.secrets.end_of(generation);
    let over = |end: Option<DateTime<Utc>>| end.is_some_and(|end| end <= now);
    let grace = found.secrets.previous.map(|previous| previous.until);
    let reason = if found.status != Status::Enabled {
        Some(Reason::Disabled)
    } else if over(found.expires_at) {
        Some(Reason::Expired)
    } else if generation == Generation::Previous && over(grace) {
        Some(Reason::Ended)
    } else if over(secret_ends) {
        Some(Reason::TooOld)
    } else if !opening.allowed_cidrs()?.admits(source) {
        Some(Reason::Address)
    } else {
        None
    };
    if let Some(reason) = reason {
        return Err(seen.because(reason));
    }
    let ends = [found.expires_at, secret_ends];
    Ok(Holder {
        registry: tenant.id,
        subject: (SubjectKind::Token, found.id.0),
        account: None,
        reference: Reference {
            registry: tenant.key,
            who: Who::Token(found.key),
            version: found.version_of(generation),
        },
        scopes: opening.scopes()?,
        name: found.name,
        expires_at: ends.into_iter().flatten().min(),
        secret: None,
        claims: Vec::new(),
    })
}

/// An account with the rights of its roles and its membership of the registry. A registry that the account may not know
/// of is refused, as to a token of another registry.
pub(super) fn account_holder(
    connection: &mut Session,
    actor: &Actor,
    tenant: &Tenant,
    seen: &mut Refusal,
) -> Result<Holder> {
    let membership = members::level(connection, tenant.key, actor.key)?;
    let rights = actor.on(tenant.key, membership);
    if !rights.visible {
        return Err(seen.because(Reason::NoMember));
    }
    Ok(Holder {
        registry: tenant.id,
        name: actor.name.clone(),
        subject: (SubjectKind::Account, actor.id.0),
        account: Some(actor.id),
        scopes: rights.images.scopes(),
        expires_at: None,
        claims: Vec::new(),
        reference: Reference {
            registry: tenant.key,
            who: Who::Account(actor.key),
            version: actor.version,
        },
        secret: None,
    })
}

/// The account of an app token whose code or reference was right, if both are in use.
pub(super) fn app_token_holder(
    connection: &mut Session,
    found: &app_tokens::Credential,
    tenant: &Tenant,
    now: DateTime<Utc>,
    seen: &mut Refusal,
) -> Result<Holder> {
    if found.expires_at.is_some_and(|end| end <= now) {
        return Err(seen.because(Reason::Expired));
    }
    let owner = accounts::standing(connection, found.account)?.ok_or(Error::Unauthenticated)?;
    if owner.status != Status::Enabled {
        return Err(seen.because(Reason::AccountDisabled));
    }
    Ok(Holder {
        subject: (SubjectKind::AppToken, found.id.0),
        expires_at: found.expires_at,
        reference: Reference {
            registry: tenant.key,
            who: Who::AppToken(found.key),
            version: 0,
        },
        ..account_holder(connection, &owner.actor, tenant, seen)?
    })
}

/// The reason for which a trust opens nothing now, or nothing to this address.
pub(super) fn fault_of(trust: &Trust, now: DateTime<Utc>, source: IpAddr) -> Option<RefusalReason> {
    if trust.status != Status::Enabled {
        Some(RefusalReason::Disabled)
    } else if trust.issuer.status != Status::Enabled {
        Some(RefusalReason::IssuerDisabled)
    } else if trust.expiry_date.is_some_and(|end| end <= now) {
        Some(RefusalReason::TrustExpired)
    } else if !trust.allowed_cidrs.admits(source) {
        Some(RefusalReason::Address)
    } else {
        None
    }
}

/// The same reason in the words of the audit trail.
pub(super) fn told_reason(reason: RefusalReason) -> Option<Reason> {
    Some(match reason {
        RefusalReason::Issuer => Reason::Issuer,
        RefusalReason::Audience => Reason::Audience,
        RefusalReason::Expired => Reason::JwtExpired,
        RefusalReason::NotYetValid => Reason::JwtEarly,
        RefusalReason::Claims => Reason::Claims,
        RefusalReason::Disabled => Reason::Disabled,
        RefusalReason::IssuerDisabled => Reason::IssuerDisabled,
        RefusalReason::TrustExpired => Reason::Expired,
        RefusalReason::Address => Reason::Address,
        RefusalReason::Exchanged => Reason::Exchanged,
        RefusalReason::RegistryFrozen => Reason::RegistryFrozen,
        RefusalReason::Other => return None,
    })
}

/// The holder for a trust in which no fault was found.
pub(super) fn trust_holder(trust: Trust, tenant: &Tenant) -> Holder {
    Holder {
        registry: tenant.id,
        subject: (SubjectKind::Trust, trust.id.0),
        account: None,
        reference: Reference::of_trust(&trust),
        expires_at: trust.expiry_date,
        secret: None,
        claims: Vec::new(),
        scopes: trust.scopes,
        name: trust.name,
    }
}

/// The holder for the token that a reference names, as it was found, if its secret is unchanged since the reference was
/// made, and both are in use.
pub(super) fn referred_token(
    found: Option<(Credential, Opening)>,
    tenant: &Tenant,
    reference: &Reference,
    now: DateTime<Utc>,
    source: IpAddr,
    seen: &mut Refusal,
) -> Result<Holder> {
    if reference.registry != tenant.key {
        return Err(Error::Unauthenticated);
    }
    let (found, opening) = found.ok_or(Error::Unauthenticated)?;
    is_of_token(&found, seen);
    may_enter(tenant, source, seen)?;
    let generation = found.generation(reference.version);
    let generation = generation.ok_or_else(|| seen.because(Reason::Ended))?;
    token_holder((found, generation, opening), tenant, now, source, seen)
}

/// The holder that a reference names, if it is unchanged since the reference was made, and in use.
pub(super) fn referred(
    connection: &mut Session,
    tenant: &Tenant,
    reference: &Reference,
    now: DateTime<Utc>,
    source: IpAddr,
    seen: &mut Refusal,
) -> Result<Holder> {
    if reference.registry != tenant.key {
        return Err(Error::Unauthenticated);
    }
    match reference.who {
        Who::Token(token) => {
            let found = credentials::credential(connection, tenant.home(), token)?;
            referred_token(found, tenant, reference, now, source, seen)
        }
        Who::Account(account) => {
            let standing =
                accounts::standing(connection, account)?.ok_or(Error::Unauthenticated)?;
            seen.subject = Some((SubjectKind::Account, standing.actor.id.0));
            may_enter(tenant, source, seen)?;
            if standing.status != Status::Enabled {
                return Err(seen.because(Reason::Disabled));
            }
            if standing.actor.version != reference.version {
                return Err(seen.because(Reason::Ended));
            }
            account_holder(connection, &standing.actor, tenant, seen)
        }
        Who::AppToken(token) => {
            let found = app_tokens::credential(connection, token)?.ok_or(Error::Unauthenticated)?;
            seen.subject = Some((SubjectKind::AppToken, found.id.0));
            may_enter(tenant, source, seen)?;
            app_token_holder(connection, &found, tenant, now, seen)
        }
        Who::Trust(trust) => {
            let found =
                trusts::keyed(connection, tenant.key, trust)?.ok_or(Error::Unauthenticated)?;
            is_of_trust(&found, seen);
            may_enter(tenant, source, seen)?;
            if let Some(fault) = fault_of(&found, now, source) {
                seen.reason = told_reason(fault);
                return Err(Error::Unauthenticated);
            }
            if Reference::of_trust(&found) != *reference {
                return Err(seen.because(Reason::Ended));
            }
            Ok(trust_holder(found, tenant))
        }
    }
}
