//! Signing keys: made when first needed, rotated on schedule or on command, exported in the forms that registries read.
//!
//! Every registry has keys of its own, so no token of one opens another, nor a namesake made later. With the verifier
//! `x5c` it trusts an authority for good, and the leaf that signs can change at any time; with `pinned` it holds the
//! very key, which changes on command alone. Owns the times when keys are made and the choice of the one that signs.
//! Refuses to know what is signed. Keys are made on a thread of their own, never on the writer's.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::JwkSet;
use secrecy::{ExposeSecret as _, SecretBox};

use super::access::Caller;
use super::certificates::{self, Authority, Made, Subject};
use super::core::Core;
use super::data_keys;
use super::jwt::{self, Signer, Verifier};
use super::visible;
use crate::domain::account::Actor;
use crate::domain::audit::{By, Credential, Event, Kind, Outcome, SubjectKind};
use crate::domain::auth_config::{self, BundlePath, Facts, Product};
use crate::domain::id::{RegistryId, RegistryKey, SigningKeyNumber};
use crate::domain::permission::{Level, Resource};
use crate::domain::signing::{Algorithm, KeyRole};
use crate::domain::tenant::Tenant;
use crate::domain::text::quoted;
use crate::domain::token_verifier::TokenVerifier;
use crate::error::{Error, Result, What};
use crate::store::data_keys::Sealed;
use crate::store::signing_keys::{
    self, Current, EarlyAuthority, LeafPosition, NewSigningKey, SigningKey,
};
use crate::store::{Lock, Session, members, registries};

/// The number of attempts to make a key before it fails with the error that others are faster.
const ATTEMPTS: usize = 3;
/// Authorities that are named at once.
const NAMED: i64 = 100;

/// The keys to replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The key that signs. An `x5c` registry needs no change.
    Signer,
    /// All that the registry trusts: it has to be given the new bundle. Earlier signatures are worth nothing.
    Authority,
}

/// The consequence of a rotation for the registry's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing is to be done.
    None,
    /// The registry refuses all tokens until it has the new bundle and was restarted.
    Restart,
}

/// The position of a round through the leaves to be replaced.
#[derive(Debug, Default)]
pub(super) struct Walk {
    due: Option<LeafPosition>,
    early: Option<LeafPosition>,
}

/// The reason to replace a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It signed for long enough.
    Due,
    /// Its certificate is not valid yet.
    Early,
}

impl EarlyAuthority {
    /// The advice for the operator.
    #[must_use]
    pub fn advice(&self, now: DateTime<Utc>) -> String {
        let Self {
            registry,
            not_before,
            ..
        } = self;
        format!(
            "the authority of the registry {registry} is valid from {not_before} on, and the clock says {now}: until then \
             the registry refuses every token. If the clock is right, run `wharfinger keys rotate {registry} --authority`, \
             give the registry the bundle that `wharfinger registry auth-bundle {registry}` prints, and restart it"
        )
    }
}

/// Key use cases.
#[derive(Debug)]
pub struct SigningKeys<'a> {
    core: &'a Core,
}

impl<'a> SigningKeys<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// The certificates that a registry has to trust, as PEM.
    pub async fn bundle(&self, caller: &Caller, registry: RegistryId) -> Result<String> {
        let (tenant, held) = self.held(caller, registry, Half::Anchor).await?;
        let keys = self.complete(&tenant, Half::Anchor, held).await?;
        Ok(bundle_of_keys(&keys))
    }

    /// The public keys of a registry as a JSON Web Key Set (RFC 7517): the one in use, and those that signed JWTs which
    /// may still be in force. A `pinned` registry has exactly one, since zot takes no more.
    pub async fn key_set(&self, caller: &Caller, registry: RegistryId) -> Result<JwkSet> {
        let (tenant, held) = self.held(caller, registry, Half::Signer).await?;
        let keys = self.complete(&tenant, Half::Signer, held).await?;
        key_set_of_keys(&keys)
    }

    /// The configuration of a registry product that makes it take a registry's tokens. `realm` is the address of the
    /// token endpoint for clients, if that is known.
    pub async fn config(
        &self,
        caller: &Caller,
        registry: RegistryId,
        product: Product,
        bundle: BundlePath,
        realm: Option<String>,
    ) -> Result<String> {
        let tenant = self.visible(caller, registry).await?;
        let realm = realm.ok_or_else(auth_config::no_address)?;
        self.config_of(&tenant, product, bundle, realm)
    }

    /// The registry of a name, for the operator of the machine.
    pub async fn tenant(&self, name: &str) -> Result<Tenant> {
        let wanted = name.to_owned();
        self.core
            .store
            .read(move |connection| registries::tenant_named(connection, &wanted))
            .await?
            .ok_or_else(|| Error::not_found(What::Registry, quoted(name)))
    }

    /// Every registry with the verifier `x5c` that has keys, for the operator of the machine.
    pub async fn tenants_with_leaf(&self) -> Result<Vec<Tenant>> {
        let tenants = self
            .core
            .store
            .read(|connection| registries::tenants_with_key(connection, KeyRole::Leaf))
            .await?;
        Ok(tenants
            .into_iter()
            .filter(|tenant| tenant.verifier == TokenVerifier::X5c)
            .collect())
    }

    /// See [`SigningKeys::bundle`].
    pub async fn bundle_of(&self, tenant: &Tenant) -> Result<String> {
        let keys = self.complete(tenant, Half::Anchor, Vec::new()).await?;
        Ok(bundle_of_keys(&keys))
    }

    /// See [`SigningKeys::key_set`].
    pub async fn key_set_of(&self, tenant: &Tenant) -> Result<JwkSet> {
        let keys = self.complete(tenant, Half::Signer, Vec::new()).await?;
        key_set_of_keys(&keys)
    }

    /// See [`SigningKeys::config`].
    pub fn config_of(
        &self,
        tenant: &Tenant,
        product: Product,
        bundle: BundlePath,
        realm: String,
    ) -> Result<String> {
        let facts = Facts {
            realm,
            service: self.core.policy.service_name(&tenant.name),
            issuer: self.core.policy.jwt_issuer.clone(),
            bundle,
            verifier: tenant.verifier,
        };
        auth_config::render(product, &facts)
    }

    /// Replaces a registry's keys now.
    pub async fn rotate(&self, tenant: &Tenant, rotation: Rotation) -> Result<Consequence> {
        let state = self.state(tenant).await?;
        let (_, consequence) = self
            .make(tenant, state, rotation, Credential::Command)
            .await?;
        Ok(consequence)
    }

    /// The authorities whose certificates are not valid yet, for the operator of the machine; not more than a hundred.
    pub async fn early_authorities(&self) -> Result<Vec<EarlyAuthority>> {
        let now = self.core.clock.now();
        self.core
            .store
            .read(move |connection| signing_keys::early_authorities(connection, now, NAMED))
            .await
    }

    /// Replaces the leaf of the next registry that is due, or whose certificate is not valid yet; `walk` is the
    /// position of the round. Returns the reason. A leaf that cannot be replaced is logged and left to the next round,
    /// so that it keeps no other waiting.
    pub(super) async fn rotate_next(&self, walk: &mut Walk) -> Result<Option<Reason>> {
        let now = self.core.clock.now();
        let until = now - self.core.policy.key_rotation();
        let (due, early) = (walk.due, walk.early);
        let found = self
            .core
            .store
            .read(move |connection| {
                let (reason, next) = match signing_keys::next_due(connection, until, due)? {
                    Some(next) => (Reason::Due, Some(next)),
                    None => (
                        Reason::Early,
                        signing_keys::next_early(connection, now, early)?,
                    ),
                };
                let Some((id, place)) = next else {
                    return Ok(None);
                };
                let tenant = registries::tenant(connection, id)?;
                Ok(tenant.map(|tenant| (tenant, reason, place)))
            })
            .await?;
        let Some((tenant, reason, place)) = found else {
            return Ok(None);
        };
        match reason {
            Reason::Due => walk.due = Some(place),
            Reason::Early => walk.early = Some(place),
        }
        // A `pinned` registry may keep a leaf from before it was that.
        let tenant = Tenant {
            verifier: TokenVerifier::X5c,
            ..tenant
        };
        let state = self.state(&tenant).await?;
        let by = Credential::Service;
        match self.make(&tenant, state, Rotation::Signer, by).await {
            Ok(_) => {}
            Err(error @ Error::Unavailable { .. }) => return Err(error),
            Err(error) => {
                tracing::error!(
                    registry = %tenant.id,
                    error = error.chain(),
                    "a signing key could not be replaced; the janitor tries again. Report this defect"
                );
            }
        }
        Ok(Some(reason))
    }

    /// The key that signs for a registry, made if there is no usable one. `current` is the key that the request read.
    pub(super) async fn signer(
        &self,
        tenant: &Tenant,
        current: Option<Current>,
    ) -> Result<Arc<Signer>> {
        let number = match current {
            Some(current) if self.will_do(tenant.verifier, &current) => current.number,
            _ => self.ensure(tenant).await?,
        };
        if let Some(signer) = self.core.signing_key_cache.ready_signer(number) {
            return Ok(signer);
        }
        let registry = tenant.key;
        let key = self
            .core
            .store
            .read(move |connection| signing_keys::find(connection, registry, number))
            .await?
            // Replaced between two reads, by a command that distrusts it.
            .ok_or_else(Error::busy)?;
        let private = self.unseal(&key)?;
        let signer = Arc::new(Signer::new(&key, private.expose_secret())?);
        self.core
            .signing_key_cache
            .signers
            .insert(number, Arc::clone(&signer));
        Ok(signer)
    }

    /// The verifier for JWTs that name a key, if it exists. The request's own read finds out if it is still to be
    /// trusted.
    pub(super) async fn verifier(&self, kid: String) -> Result<Option<Arc<Verifier>>> {
        if let Some(verifier) = self.core.signing_key_cache.ready_verifier(&kid) {
            return Ok(Some(verifier));
        }
        let wanted = kid.clone();
        let found = self
            .core
            .store
            .read(move |connection| signing_keys::find_by_kid(connection, &wanted))
            .await?;
        let Some(key) = found.filter(|key| key.role != KeyRole::Authority) else {
            return Ok(None);
        };
        let verifier = Arc::new(Verifier::new(&key)?);
        self.core
            .signing_key_cache
            .verifiers
            .insert(kid, Arc::clone(&verifier));
        Ok(Some(verifier))
    }

    async fn visible(&self, caller: &Caller, registry: RegistryId) -> Result<Tenant> {
        self.core
            .read(caller, move |connection, actor| {
                visible(connection, actor, registry)
            })
            .await
    }

    /// A registry and its keys.
    async fn held(
        &self,
        caller: &Caller,
        registry: RegistryId,
        half: Half,
    ) -> Result<(Tenant, Vec<SigningKey>)> {
        let (now, life) = (self.core.clock.now(), self.core.policy.jwt_life());
        self.core
            .read(caller, move |connection, actor| {
                let tenant = visible(connection, actor, registry)?;
                let keys = half.list(connection, &tenant, now, life)?;
                Ok((tenant, keys))
            })
            .await
    }

    /// The keys of a registry, or those that are made for it now if it has no usable one.
    async fn complete(
        &self,
        tenant: &Tenant,
        half: Half,
        held: Vec<SigningKey>,
    ) -> Result<Vec<SigningKey>> {
        let (now, life) = (self.core.clock.now(), self.core.policy.jwt_life());
        let is_valid = |key: &SigningKey| self.is_valid(key.role, key.not_before, key.not_after);
        if held.first().is_some_and(is_valid) {
            return Ok(held);
        }
        self.ensure(tenant).await?;
        let tenant = tenant.clone();
        self.core
            .store
            .read(move |connection| half.list(connection, &tenant, now, life))
            .await
    }

    /// Returns true if the signer's certificate is valid now, and for the life of a JWT that is signed now.
    fn will_do(&self, verifier: TokenVerifier, current: &Current) -> bool {
        let role = KeyRole::of_signer(verifier);
        self.is_valid(role, current.not_before, current.not_after)
    }

    /// Only a leaf is replaced because it begins too late: a new anchor would have to be given to the registry.
    fn is_valid(&self, role: KeyRole, not_before: DateTime<Utc>, not_after: DateTime<Utc>) -> bool {
        let now = self.core.clock.now();
        not_after > now + self.core.policy.jwt_life()
            && (role != KeyRole::Leaf || not_before <= now)
    }

    async fn ensure(&self, tenant: &Tenant) -> Result<SigningKeyNumber> {
        let turn = self
            .core
            .signing_key_cache
            .making
            .get_with(tenant.key, Arc::default);
        let _turn = turn.lock().await;
        let state = self.state(tenant).await?;
        match state.signer {
            Some(current) if self.will_do(tenant.verifier, &current) => Ok(current.number),
            _ => {
                let by = Credential::Service;
                Ok(self.make(tenant, state, Rotation::Signer, by).await?.0)
            }
        }
    }

    async fn state(&self, tenant: &Tenant) -> Result<State> {
        let (registry, verifier) = (tenant.key, tenant.verifier);
        self.core
            .store
            .read(move |connection| State::read(connection, registry, verifier))
            .await
    }

    /// Makes the keys of a rotation, unless another process did since `state` was read. Returns the present signer.
    async fn make(
        &self,
        tenant: &Tenant,
        mut state: State,
        rotation: Rotation,
        by: Credential,
    ) -> Result<(SigningKeyNumber, Consequence)> {
        let by = By {
            credential: Some(by),
            ..By::command()
        };
        let pen = self.core.ledger().await?;
        let verifier = tenant.verifier;
        for _ in 0..ATTEMPTS {
            let fresh = self.generate(tenant, &state, rotation).await?;
            let (seen, tenant, now) = (state.numbers(), tenant.clone(), self.core.clock.now());
            let (pen, by) = (pen.clone(), by.clone());
            let done = self
                .core
                .store
                .write(Lock::Registry(tenant.id), move |connection| {
                    if registries::find_key(connection, tenant.id)? != Some(tenant.key) {
                        return Err(Error::not_found(What::Registry, tenant.id));
                    }
                    let held = State::read(connection, tenant.key, tenant.verifier)?;
                    if held.numbers() != seen {
                        return Ok(Err(Box::new(held)));
                    }
                    // The registry may hold any of them, those of another verifier too.
                    let known = signing_keys::any(connection, tenant.key)?;
                    if rotation == Rotation::Authority {
                        signing_keys::delete_all(connection, tenant.key)?;
                    }
                    let anchored = fresh.iter().any(|key| key.role != KeyRole::Leaf);
                    let consequence = if known && anchored {
                        Consequence::Restart
                    } else {
                        Consequence::None
                    };
                    let mut signer = None;
                    for key in &fresh {
                        signing_keys::retire(connection, tenant.key, key.role, now)?;
                        signer = Some(signing_keys::insert(connection, key)?);
                    }
                    let signer = signer.ok_or_else(|| Error::internal("no key was made"))?;
                    let (subject, by) = ((SubjectKind::SigningKey, None), by.clone());
                    let mut event = Event::of(Kind::Rotate, Outcome::Success, subject, by, now);
                    event.registry = Some(tenant.id);
                    connection.tell(&pen, [event]);
                    Ok(Ok((signer, consequence)))
                })
                .await?;
            match done {
                Ok(made) => return Ok(made),
                Err(held) => match held.signer {
                    // Another replica made the wanted key.
                    Some(current)
                        if rotation == Rotation::Signer && self.will_do(verifier, &current) =>
                    {
                        return Ok((current.number, Consequence::None));
                    }
                    _ => state = *held,
                },
            }
        }
        Err(Error::busy())
    }

    /// Makes the keys of a rotation, the one that signs last.
    async fn generate(
        &self,
        tenant: &Tenant,
        state: &State,
        rotation: Rotation,
    ) -> Result<Vec<NewSigningKey>> {
        let algorithm = self.core.policy.jwt_algorithm;
        let now = self.core.clock.now();
        let subject = Subject {
            service: self.core.policy.service_name(&tenant.name),
            registry: tenant.id.to_string(),
        };
        let serials = (self.core.random.bytes()?, self.core.random.bytes()?);
        let verifier = tenant.verifier;
        let anchor = match &state.anchor {
            Some(anchor)
                if rotation == Rotation::Signer
                    && verifier == TokenVerifier::X5c
                    && anchor.not_after > now + self.core.policy.jwt_life() =>
            {
                Some((anchor.algorithm, self.unseal(anchor)?, anchor.not_after))
            }
            _ => None,
        };
        let _turn = self
            .core
            .signing_key_cache
            .generating
            .acquire()
            .await
            .map_err(Error::internal)?;
        let made = tokio::task::spawn_blocking(move || -> Result<Vec<Made>> {
            let anchored =
                |role| certificates::make_anchor(role, algorithm, &subject, serials.0, now);
            let leaf = |algorithm_of: Algorithm, private: &SecretBox<Vec<u8>>, not_after| {
                let authority = Authority {
                    algorithm: algorithm_of,
                    private,
                    not_after,
                };
                certificates::make_leaf(&authority, algorithm, &subject, serials.1, now)
            };
            match (verifier, anchor) {
                (TokenVerifier::Pinned, _) => Ok(vec![anchored(KeyRole::Pinned)?]),
                (TokenVerifier::X5c, Some((algorithm_of, private, not_after))) => {
                    Ok(vec![leaf(algorithm_of, &private, not_after)?])
                }
                (TokenVerifier::X5c, None) => {
                    let authority = anchored(KeyRole::Authority)?;
                    let leaf = leaf(authority.algorithm, &authority.private, authority.not_after)?;
                    Ok(vec![authority, leaf])
                }
            }
        })
        .await
        .map_err(Error::internal)??;
        made.into_iter()
            .map(|made| self.seal(tenant.key, made, now))
            .collect()
    }

    fn seal(&self, registry: RegistryKey, made: Made, now: DateTime<Utc>) -> Result<NewSigningKey> {
        let sealed = self.core.data_keys.seal(
            &*self.core.random,
            &context(registry, made.role, &made.kid),
            made.private.expose_secret(),
        )?;
        Ok(NewSigningKey {
            registry,
            role: made.role,
            algorithm: made.algorithm,
            kid: made.kid,
            certificate: made.certificate,
            public_key: made.public_key,
            sealed_private: sealed.bytes,
            seal_key: sealed.key,
            not_before: made.not_before,
            not_after: made.not_after,
            active_from: now,
        })
    }

    fn unseal(&self, key: &SigningKey) -> Result<SecretBox<Vec<u8>>> {
        let sealed = Sealed {
            bytes: key.sealed_private.clone(),
            key: key.seal_key,
        };
        self.core
            .data_keys
            .open_sealed(&context(key.registry, key.role, &key.kid), &sealed)
            .map(data_keys::boxed)
            .ok_or_else(|| Error::internal(format!("signing key {} does not open", key.number.0)))
    }
}

/// One of a registry's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// The key or authority that the registry holds.
    Anchor,
    /// The key that signs.
    Signer,
}

impl Half {
    /// The valid keys at an instant, the one in use first.
    fn list(
        self,
        connection: &mut Session,
        tenant: &Tenant,
        now: DateTime<Utc>,
        life: TimeDelta,
    ) -> Result<Vec<SigningKey>> {
        let (role, grace) = match (self, tenant.verifier) {
            (Self::Anchor, verifier) => (KeyRole::of_anchor(verifier), TimeDelta::zero()),
            (Self::Signer, TokenVerifier::X5c) => (KeyRole::Leaf, life),
            (Self::Signer, TokenVerifier::Pinned) => (KeyRole::Pinned, TimeDelta::zero()),
        };
        signing_keys::list(connection, tenant.key, role, now - grace)
    }
}

fn visible(connection: &mut Session, actor: &Actor, registry: RegistryId) -> Result<Tenant> {
    let found = members::tenant(connection, registry, actor.key)?;
    let (tenant, rights) = visible::visible(actor, registry, found)?;
    rights.require(Resource::Registry, Level::Read)?;
    Ok(tenant)
}

fn bundle_of_keys(keys: &[SigningKey]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let encode = |key: &SigningKey| {
        let certificate = pem::Pem::new("CERTIFICATE", key.certificate.clone());
        pem::encode_config(&certificate, config)
    };
    keys.iter().map(encode).collect()
}

fn key_set_of_keys(keys: &[SigningKey]) -> Result<JwkSet> {
    Ok(JwkSet {
        keys: keys.iter().map(jwt::web_key).collect::<Result<_>>()?,
    })
}

/// The context of a seal: the fingerprint stands for the row, whose number is not known before the insert.
fn context(registry: RegistryKey, role: KeyRole, kid: &str) -> String {
    format!("signing-key/{}/{}/{kid}", registry.0, role.as_str())
}

/// The keys of a registry.
#[derive(Debug)]
struct State {
    signer: Option<Current>,
    anchor: Option<SigningKey>,
}

impl State {
    fn read(
        connection: &mut Session,
        registry: RegistryKey,
        verifier: TokenVerifier,
    ) -> Result<Self> {
        let signer = signing_keys::current(connection, registry, KeyRole::of_signer(verifier))?;
        let anchor = signing_keys::current(connection, registry, KeyRole::of_anchor(verifier))?;
        let anchor = match anchor {
            Some(anchor) => signing_keys::find(connection, registry, anchor.number)?,
            None => None,
        };
        Ok(Self { signer, anchor })
    }

    /// The numbers that show a change by another process.
    fn numbers(&self) -> (Option<SigningKeyNumber>, Option<SigningKeyNumber>) {
        (
            self.signer.map(|signer| signer.number),
            self.anchor.as_ref().map(|anchor| anchor.number),
        )
    }
}
