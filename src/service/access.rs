//! Authentication: from the name and password or the API token of a request to the account that it acts for.
//!
//! [`Access::identify`] proves that a password is an account's. A proof is remembered for at most a minute and saves
//! nothing but bcrypt. An API token proves itself by its signature ([`ApiKeys`](super::api_keys)), a session by its
//! seal ([`Sessions`](super::sessions)).
//!
//! `admit` reads the present state and rights of that account and token in the same store call as the request's own
//! work. So a disabled account or a revoked token is refused on the next request, on every replica.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use super::passwords::Passwords;
use super::throttle::{Throttle, Tried};
use crate::clock::{Clock, Random};
use crate::domain::account::{Actor, Bearer, Confined, name_key};
use crate::domain::audit::{By, Credential, Origin};
use crate::domain::bulk::Mandate;
use crate::domain::id::{AccountId, AccountKey, ApiTokenId};
use crate::domain::network::network;
use crate::domain::registry_api_token::Confinement;
use crate::domain::role::Permissions;
use crate::domain::secret;
use crate::domain::status::Status;
use crate::domain::unicode;
use crate::error::{Error, Outage, Result};
use crate::metrics;
use crate::store::{
    Proven, Session, Store, Transaction, accounts, api_tokens, members, registries, roles,
};

/// The time for which a proof is remembered.
const REMEMBERED: Duration = Duration::from_mins(1);
/// Proofs remembered at once.
const PROOFS: u64 = 100_000;
/// The time for which a source is remembered at which a password was right. It tells the owner from a guesser at the
/// same source, and proves nothing.
const FAMILIAR: Duration = Duration::from_hours(1);

/// The credentials that a request presents.
#[derive(Debug)]
pub struct Presented {
    pub(super) name: String,
    pub(super) password: SecretString,
    pub(super) source: IpAddr,
}

impl Presented {
    /// Takes a name, its secret, and the source of the request. White space around a machine secret is removed: a file
    /// mounted from a secret store often ends in a line end.
    #[must_use]
    pub fn new(name: String, password: SecretString, source: IpAddr) -> Self {
        let bare = secret::bare(password.expose_secret()).map(SecretString::from);
        Self {
            name,
            password: bare.unwrap_or(password),
            source,
        }
    }

    /// The name that was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The password, or the secret of a token.
    #[must_use]
    pub fn password(&self) -> &SecretString {
        &self.password
    }
}

/// A request that proved who makes it.
#[derive(Debug, Clone)]
pub struct Caller {
    evidence: Evidence,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Evidence {
    Password {
        proof: Proof,
        presented: Arc<Presented>,
    },
    /// An API token of ours. `admit` finds out if it is in force.
    ApiToken(ApiTokenId),
    /// A session of ours, made at an instant with a right password.
    Session { proof: Proof, at: DateTime<Utc> },
    /// A request that ended, for work in the background: the password or session that it came with.
    Earlier {
        proof: Proof,
        credential: Credential,
        /// The [`login`] of the account at that time.
        login: Option<[u8; 32]>,
    },
}

impl Caller {
    fn new(evidence: Evidence) -> Self {
        Self {
            evidence,
            origin: Origin::command(),
        }
    }

    /// The same caller with the origin of its request, for the audit trail.
    #[must_use]
    pub fn from(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn credential(&self) -> Credential {
        match &self.evidence {
            Evidence::Password { .. } => Credential::Password,
            Evidence::ApiToken(id) => Credential::ApiToken(*id),
            Evidence::Session { .. } => Credential::Session,
            Evidence::Earlier { credential, .. } => *credential,
        }
    }

    /// The actor, as far as it is known without the database.
    pub(super) fn by(&self) -> By {
        let (actor, actor_name) = match &self.evidence {
            Evidence::Password { proof, presented } => {
                (Some(proof.id), Some(presented.name.clone()))
            }
            Evidence::Session { proof, .. } | Evidence::Earlier { proof, .. } => {
                (Some(proof.id), None)
            }
            Evidence::ApiToken(_) => (None, None),
        };
        By {
            actor,
            actor_name,
            credential: Some(self.credential()),
            origin: self.origin.clone(),
        }
    }

    /// Somebody with an API token whose signature was right.
    pub(super) fn by_token(id: ApiTokenId) -> Self {
        Self::new(Evidence::ApiToken(id))
    }

    /// Somebody with a session that was made at an instant.
    pub(super) fn by_session(proof: Proof, at: DateTime<Utc>) -> Self {
        Self::new(Evidence::Session { proof, at })
    }

    /// The time of the sign-in, if the request came with a session.
    pub(super) fn signed_in_at(&self) -> Option<DateTime<Utc>> {
        match &self.evidence {
            Evidence::Session { at, .. } => Some(*at),
            Evidence::Password { .. } | Evidence::ApiToken(_) | Evidence::Earlier { .. } => None,
        }
    }

    /// The account that a password or a session of this very request proved.
    pub(super) fn present_account(&self) -> Option<AccountKey> {
        match &self.evidence {
            Evidence::Password { proof, .. } | Evidence::Session { proof, .. } => {
                Some(proof.account)
            }
            Evidence::ApiToken(_) | Evidence::Earlier { .. } => None,
        }
    }

    /// The account and its version that a password or a session proved.
    pub(super) fn proven_version(&self) -> Option<(AccountKey, i64)> {
        match &self.evidence {
            Evidence::Password { proof, .. }
            | Evidence::Session { proof, .. }
            | Evidence::Earlier { proof, .. } => Some((proof.account, proof.version)),
            Evidence::ApiToken(_) => None,
        }
    }

    /// The caller of an earlier request. [`admit`] lets it in while its API token is in force, or the login of its account
    /// is as it was then.
    pub(super) fn again(mandate: &Mandate, id: AccountId) -> Self {
        let evidence = match mandate.credential {
            Credential::ApiToken(token) => Evidence::ApiToken(token),
            credential => Evidence::Earlier {
                proof: Proof {
                    account: mandate.account,
                    id,
                    version: mandate.version,
                },
                credential,
                login: mandate.login,
            },
        };
        Self::new(evidence).from(mandate.origin.clone())
    }

    /// The proof by which [`admit`] lets this caller in, if that reads nothing else about it.
    fn proven(&self) -> Option<Proven> {
        match &self.evidence {
            Evidence::Password { proof, .. } | Evidence::Session { proof, .. } => {
                Some(Proven::Account(proof.account, proof.version))
            }
            Evidence::ApiToken(id) => Some(Proven::ApiToken(*id)),
            Evidence::Earlier { .. } => None,
        }
    }

    fn by_password(proof: Proof, presented: Arc<Presented>) -> Self {
        Self::new(Evidence::Password { proof, presented })
    }
}

/// The proof that a password was right for a version of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proof {
    pub account: AccountKey,
    pub id: AccountId,
    pub version: i64,
}

/// A proof, the time when it was made, and its source.
#[derive(Debug, Clone, Copy)]
struct Remembered {
    proof: Proof,
    at: Instant,
    network: IpAddr,
}

/// The reason for which there is no proof, in a form that requests waiting for the same check can share.
#[derive(Debug, Clone, thiserror::Error)]
enum Refusal {
    #[error("wrong")]
    Wrong,
    #[error("rate limited for {0} s")]
    RateLimited(u64),
    #[error("unavailable: {1}")]
    Unavailable(Outage, String),
    #[error("internal: {0}")]
    Internal(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        match error {
            Error::RateLimited { retry_after } => Self::RateLimited(retry_after),
            Error::Unavailable { outage, .. } => Self::Unavailable(outage, cause),
            _ => Self::Internal(cause),
        }
    }
}

impl From<&Refusal> for Error {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Wrong => Self::Unauthenticated,
            Refusal::RateLimited(retry_after) => Self::RateLimited {
                retry_after: *retry_after,
            },
            Refusal::Unavailable(outage, cause) => Self::Unavailable {
                outage: *outage,
                source: Some(cause.clone().into()),
            },
            Refusal::Internal(cause) => Self::internal(cause.clone()),
        }
    }
}

/// Proves passwords and remembers the proofs.
#[derive(Debug)]
pub struct Access {
    store: Store,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    throttle: Arc<Throttle>,
    proofs: moka::future::Cache<[u8; 32], Remembered>,
    looked_up: metrics::Cache,
    familiar: moka::sync::Cache<(IpAddr, [u8; 32]), ()>,
    /// Made anew by every process, so that another process cannot turn remembered digests back into passwords.
    key: hmac::Key,
}

impl Access {
    /// Starts with nothing remembered.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
        passwords: Passwords,
        throttle: Arc<Throttle>,
        looked_up: metrics::Cache,
    ) -> Result<Self> {
        Ok(Self {
            store,
            clock,
            passwords,
            throttle,
            proofs: moka::future::Cache::builder()
                .max_capacity(PROOFS)
                .time_to_live(REMEMBERED)
                .build(),
            looked_up,
            familiar: moka::sync::Cache::builder()
                .max_capacity(PROOFS)
                .time_to_live(FAMILIAR)
                .build(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &random.bytes::<32>()?),
        })
    }

    /// Proves that a password is an account's, by memory or by bcrypt. Equal requests that arrive together cost one
    /// check; failures are not remembered.
    ///
    /// A machine secret is never an account's password, so it is refused at once.
    pub async fn identify(&self, presented: Presented) -> Result<Caller> {
        if secret::is_machine_secret(presented.password.expose_secret()) {
            return Err(Error::Unauthenticated);
        }
        let presented = Arc::new(presented);
        let digest = self.digest(&presented);
        let now = self.clock.instant();
        let remembered = self.proofs.get(&digest).await;
        let remembered =
            remembered.filter(|remembered| now.duration_since(remembered.at) < REMEMBERED);
        let remembered = self.looked_up.found(remembered);
        let here = network(presented.source);
        if let Some(remembered) = remembered
            && remembered.network == here
        {
            self.uncrowded(&presented)?;
            return Ok(Caller::by_password(remembered.proof, presented));
        }
        self.admits_guess(&digest, &presented)?;
        if let Some(remembered) = remembered {
            self.familiar.insert((here, digest), ());
            return Ok(Caller::by_password(remembered.proof, presented));
        }
        self.proofs.invalidate(&digest).await;
        self.prove_once(digest, presented).await
    }

    /// Proves a password. Equal requests wait for the first of them.
    async fn prove_once(&self, digest: [u8; 32], presented: Arc<Presented>) -> Result<Caller> {
        let proving = self.prove(digest, Arc::clone(&presented));
        let proven = self.proofs.try_get_with(digest, proving).await;
        let proof = proven.map_err(|refusal| Error::from(&*refusal))?.proof;
        Ok(Caller::by_password(proof, presented))
    }

    /// Forgets that a password was right, for an account that opens nothing: it must tell no more than a guess.
    pub(super) async fn forget(&self, caller: &Caller) {
        if let Evidence::Password { presented, .. } = &caller.evidence {
            let digest = self.digest(presented);
            self.proofs.invalidate(&digest).await;
            self.familiar
                .invalidate(&(network(presented.source), digest));
        }
    }

    /// Proves again, for an account that changed since: only bcrypt can tell if the password was among the changes.
    pub(super) async fn identify_again(&self, caller: &Caller) -> Result<Caller> {
        let Evidence::Password { proof, presented } = &caller.evidence else {
            // The proof of a token or a session never ages.
            return Ok(caller.clone());
        };
        let digest = self.digest(presented);
        if let Some(remembered) = self.proofs.get(&digest).await
            && (remembered.proof.account, remembered.proof.version)
                == (proof.account, proof.version)
        {
            self.proofs.invalidate(&digest).await;
        }
        let renewed = self.prove_once(digest, Arc::clone(presented)).await?;
        Ok(renewed.from(caller.origin.clone()))
    }

    /// The counts of checks, as they are now.
    pub(super) fn counts(&self) -> &metrics::Passwords {
        self.looked_up.entries(self.proofs.entry_count());
        self.passwords.counts()
    }

    pub(super) fn password_checks(&self) -> u64 {
        self.passwords.checks()
    }

    /// Checks a password. A wrong one is counted as a failure of its source.
    async fn prove(
        &self,
        digest: [u8; 32],
        presented: Arc<Presented>,
    ) -> std::result::Result<Remembered, Refusal> {
        let here = network(presented.source);
        let (source, name) = (presented.source, presented.name.as_str());
        // Counted before the check: of parallel checks, a failure would else be known too late. A request that is given
        // up meanwhile stays counted.
        let counted = !self.familiar.contains_key(&(here, digest));
        if counted && let Some(seconds) = self.fail(&presented) {
            return Err(Refusal::RateLimited(seconds));
        }
        let (checked, at) = (self.check(&presented).await, self.clock.instant());
        match &checked {
            Err(Refusal::Wrong) => {
                self.familiar.invalidate(&(here, digest));
                if !counted {
                    self.fail(&presented);
                }
            }
            _ if counted => self.throttle.give_back(Tried::Password, source, name),
            _ => {}
        }
        let proof = checked?;
        self.familiar.insert((here, digest), ());
        Ok(Remembered {
            proof,
            at,
            network: here,
        })
    }

    async fn check(&self, presented: &Presented) -> std::result::Result<Proof, Refusal> {
        let name = presented.name.clone();
        // A NUL is an error to PostgreSQL, and no account has one in its name.
        let known = !crate::domain::text::has_control(&name);
        let login = self
            .store
            .read(move |connection| {
                if known {
                    accounts::login(connection, &name)
                } else {
                    Ok(None)
                }
            })
            .await?;
        let hash = login.as_ref().and_then(|login| login.password_hash.clone());
        // Made in any case, so that all names cost the same.
        let opaque = SecretString::from(unicode::opaque(presented.password.expose_secret()));
        let password = if login.as_ref().is_none_or(|login| login.opaque) {
            opaque
        } else {
            presented.password.clone()
        };
        let right = self
            .passwords
            .check(presented.source, password, hash)
            .await?;
        match login {
            Some(login) if right => Ok(Proof {
                account: login.key,
                id: login.id,
                version: login.version,
            }),
            _ => Err(Refusal::Wrong),
        }
    }

    fn fail(&self, presented: &Presented) -> Option<u64> {
        let (source, name) = (presented.source, presented.name.as_str());
        self.throttle
            .fail(Tried::Password, source, name, self.clock.instant())
    }

    /// Lets a password pass that was right at this source lately, or if its source has room for one more failure.
    fn admits_guess(&self, digest: &[u8; 32], presented: &Presented) -> Result<()> {
        self.uncrowded(presented)?;
        let (source, name, now) = (
            presented.source,
            presented.name.as_str(),
            self.clock.instant(),
        );
        if self.familiar.contains_key(&(network(source), *digest)) {
            return Ok(());
        }
        let wait = self.throttle.wait(Tried::Password, source, name, now);
        wait.map_or(Ok(()), |retry_after| {
            self.throttle.told_to_wait(source, name, now);
            Err(Error::RateLimited { retry_after })
        })
    }

    /// Refuses every request from a source with too many guesses after its wait had begun.
    fn uncrowded(&self, presented: &Presented) -> Result<()> {
        let (source, name) = (presented.source, presented.name.as_str());
        let wait = self.throttle.crowded(source, name, self.clock.instant());
        wait.map_or(Ok(()), |retry_after| {
            Err(Error::RateLimited { retry_after })
        })
    }

    /// The digest by which a proof is remembered. The name's length keeps `a:bc` and `ab:c` apart.
    fn digest(&self, presented: &Presented) -> [u8; 32] {
        let name = name_key(&presented.name);
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&name.len().to_be_bytes());
        context.update(name.as_bytes());
        context.update(presented.password.expose_secret().as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

/// Reads the present state of a proven caller's account. `None` if the account changed or went since the proof. The
/// proof is then to be done again: another account may have the name by now.
///
/// # Errors
///
/// [`Error::Unauthenticated`] if the account is disabled, the API token is not in force or its creator gone, the account
/// has changed since the session was made, or its login since the earlier request;
/// [`Error::NoRole`] if all roles of the token are gone.
pub(super) fn admit(
    connection: &mut Session,
    caller: &Caller,
    now: DateTime<Utc>,
) -> Result<Option<Actor>> {
    match &caller.evidence {
        Evidence::Password { proof, .. } | Evidence::Session { proof, .. } => {
            affirm(caller, accounts::standing(connection, proof.account)?)
        }
        Evidence::ApiToken(id) => admit_token(connection, *id, now).map(Some),
        Evidence::Earlier {
            proof, login: then, ..
        } => {
            if then.is_none() || login(connection, proof.account)? != *then {
                return Err(Error::Unauthenticated);
            }
            let standing = accounts::standing(connection, proof.account)?;
            standing
                .ok_or(Error::Unauthenticated)
                .and_then(enabled)
                .map(Some)
        }
    }
}

/// [`admit`] for a job of a group, which reads the state of a caller once for all jobs that leave it as it is.
pub(super) fn admit_among(
    transaction: &mut Transaction<'_>,
    caller: &Caller,
    now: DateTime<Utc>,
) -> Result<Option<Actor>> {
    let proven = caller.proven();
    let is_in_force = |actor: &&Actor| match &actor.bearer {
        Some(bearer) => now < bearer.expires_at,
        None => true,
    };
    if let Some(actor) = proven.and_then(|proven| transaction.actor(proven))
        && is_in_force(&actor)
    {
        return Ok(Some(actor.clone()));
    }
    let actor = admit(transaction, caller, now)?;
    if let (Some(proven), Some(actor)) = (proven, &actor) {
        transaction.keep_actor(proven, actor);
    }
    Ok(actor)
}

/// [`admit`] for the account that a request proved, as it was found. It needs no permissions for that.
pub(super) fn affirm(
    caller: &Caller,
    found: Option<accounts::CurrentAccount>,
) -> Result<Option<Actor>> {
    let Some((_, version)) = caller.proven_version() else {
        return Err(Error::internal("the request proved no account"));
    };
    let actor = found.map(enabled).transpose()?;
    let actor = actor.filter(|actor| actor.version == version);
    match caller.evidence {
        // A session is of one version of its account, and is not renewed.
        Evidence::Session { .. } => actor.ok_or(Error::Unauthenticated).map(Some),
        _ => Ok(actor),
    }
}

/// A digest of the stored login of an account, for work that goes on after its request. It changes with the password, and
/// when the account is disabled, even if it is enabled again; other changes leave it. `None` once it is deleted.
pub(super) fn login(connection: &mut Session, account: AccountKey) -> Result<Option<[u8; 32]>> {
    let kept = accounts::secret(connection, account)?;
    Ok(kept.map(|kept| {
        let mut context = Context::new(&SHA256);
        context.update(kept.refresh_id.unwrap_or_default().as_bytes());
        context.update(kept.password_hash.unwrap_or_default().as_bytes());
        let mut login = [0; 32];
        login.copy_from_slice(context.finish().as_ref());
        login
    }))
}

/// The creator of a token, within its roles.
fn admit_token(connection: &mut Session, id: ApiTokenId, now: DateTime<Utc>) -> Result<Actor> {
    let found = api_tokens::find(connection, id)?
        .filter(|found| !found.token.revoked && now < found.token.expires_at)
        .ok_or(Error::Unauthenticated)?;
    let creator = accounts::standing(connection, found.account)?.ok_or(Error::Unauthenticated)?;
    let actor = enabled(creator)?;
    if let Some(confinement) = found.confinement {
        let confined = confine(connection, &actor, confinement)?;
        let bearer = Bearer {
            id,
            roles: Vec::new(),
            name: found.token.name,
            expires_at: found.token.expires_at,
            confined: Some(confined),
        };
        return Ok(Actor {
            // It acts on its registry alone: nothing is permitted beyond.
            permissions: Permissions::default().bounded_by(Permissions::default()),
            bearer: Some(bearer),
            ..actor
        });
    }
    let bearer = Bearer {
        id,
        roles: roles::named(connection, &found.token.roles)?,
        name: found.token.name,
        expires_at: found.token.expires_at,
        confined: None,
    };
    if !bearer.has_role() {
        return Err(Error::NoRole);
    }
    Ok(Actor {
        permissions: actor.permissions.bounded_by(bearer.permissions()),
        bearer: Some(bearer),
        ..actor
    })
}

/// The error of an operation beyond the registry of a registry API token.
pub(super) fn confined() -> Error {
    Error::Forbidden(
        "this is a registry API token, which acts on its registry alone; send the request with an account's password \
         or another API token"
            .to_owned(),
    )
}

/// The error of a job as the actor is to be told. A registry API token has no roles that could permit more.
pub(super) fn refused_to(actor: &Actor, error: Error) -> Error {
    match error {
        Error::Unpermitted(_) if actor.confined().is_some() => confined(),
        error => error,
    }
}

/// The registry of a registry API token, and the token's rights there: what its level and its maker both have now.
fn confine(
    connection: &mut Session,
    maker: &Actor,
    Confinement { registry, level }: Confinement,
) -> Result<Confined> {
    let level = level.ok_or(Error::Unauthenticated)?;
    let (id, name) = registries::named(connection, registry)?.ok_or(Error::Unauthenticated)?;
    let membership = members::level(connection, registry, maker.key)?;
    Ok(Confined {
        registry,
        id,
        name,
        level,
        rights: maker.on(registry, membership).within(level.rights()),
    })
}

fn enabled(standing: accounts::CurrentAccount) -> Result<Actor> {
    match standing.status {
        Status::Enabled => Ok(standing.actor),
        Status::Disabled => Err(Error::Unauthenticated),
    }
}
