//! The credential behind a secret that came without its name: how it is found, and how it is ended.
//!
//! Checksum, seal and signature are looked at first: a string with none of them asks the database nothing. The secret of
//! a registry token is found by its lookup, and proven by its digest. Tokens of earlier releases that were not used since
//! have no lookup: one search at a time walks these, in parts.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::api_keys::ApiKeys;
use super::core::Core;
use super::data_keys::DataKeys;
use super::references::{Reference, Who};
use super::refresh_tokens::RefreshToken;
use super::registry_api_tokens::api_token_record;
use super::turns::Turns;
use super::workloads::WorkloadPassword;
use crate::domain::Attribution;
use crate::domain::audit::Change;
use crate::domain::id::{
    AccountId, AccountKey, ApiTokenId, AppTokenId, RegistryId, RegistryKey, TokenKey, TrustKey,
};
use crate::domain::lookup::Ending;
use crate::domain::rotation::Generation;
use crate::domain::secret::SecretKind;
use crate::domain::status::Status;
use crate::error::{Error, Result};
use crate::store::token_lookups::{self, StoredSecret};
use crate::store::{
    Lock, Session, Transaction, accounts, api_tokens, app_tokens, credentials, registries, tokens,
    trusts,
};

/// Tokens that are compared at once.
const BATCH: i64 = 1000;
/// The most searches that walk the tokens or wait for their turn.
pub(super) const WALKS: usize = 4;

/// The form of a string, as far as it is known without the stored rows of tokens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// The secret of some registry token.
    Secret,
    /// The code of some app token.
    Code,
    /// An API token with our signature.
    ApiToken(ApiTokenId),
    /// A credential that a login to a registry gave.
    Refresh(RefreshToken),
    /// The password that a workload got for its JWT.
    Workload(WorkloadPassword),
    /// A secret whose owner is known.
    Reference(Reference),
}

impl Form {
    /// The form of a string: by its checksum, its seal or its signature.
    pub(super) async fn of(core: &Core, secret: &SecretString) -> Result<Option<Self>> {
        match SecretKind::of(secret.expose_secret()) {
            Some(SecretKind::RegistryToken) => return Ok(Some(Self::Secret)),
            Some(SecretKind::AppToken) => return Ok(Some(Self::Code)),
            None => {}
        }
        if let Some(token) = RefreshToken::open(core, secret) {
            return Ok(Some(Self::Refresh(token)));
        }
        if let Some(password) = WorkloadPassword::open_short(core, secret) {
            return Ok(Some(Self::Workload(password)));
        }
        let id = ApiKeys::new(core).verify(secret).await?;
        Ok(id.map(Self::ApiToken))
    }
}

/// A credential that was found, in force or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    /// A registry token.
    Token {
        /// Its registry.
        registry: RegistryId,
        /// Its key.
        token: TokenKey,
        /// The version of its secret.
        version: i64,
    },
    /// An app token of an account.
    AppToken(AccountKey, AppTokenId),
    /// An API token.
    ApiToken(ApiTokenId),
    /// A credential issued for the account's password.
    Account(AccountKey, AccountId),
    /// A password that a workload got by a trust.
    Trust(RegistryId, RegistryKey, TrustKey),
}

impl Found {
    /// The lock of a job that ends it.
    pub(super) fn lock(self) -> Lock {
        match self {
            Self::Token { registry, .. } | Self::Trust(registry, ..) => Lock::Registry(registry),
            Self::AppToken(..) | Self::ApiToken(_) | Self::Account(..) => Lock::Nothing,
        }
    }
}

/// Finds the tokens of secrets among those without lookups. It compares all of them even after a match, so that the time
/// says nothing. `account` asks for it, or else the operator's scanner.
pub(super) async fn walk(
    core: &Core,
    turns: &Turns,
    account: Option<AccountKey>,
    secrets: Vec<SecretString>,
) -> Result<Vec<(SecretString, Reference)>> {
    let (mut beyond, mut found) = (TokenKey(0), Vec::new());
    if secrets.is_empty() {
        return Ok(found);
    }
    let _turn = turns.wait(account).await?;
    let secrets: Arc<[_]> = secrets.into();
    loop {
        let kept = core
            .store
            .read(move |connection| token_lookups::without(connection, beyond, BATCH))
            .await?;
        let Some(last) = kept.last() else {
            return Ok(found);
        };
        beyond = last.key;
        let (vault, secrets) = (Arc::clone(&core.data_keys), Arc::clone(&secrets));
        // Neither on a thread of the store nor on one that answers requests.
        let matched = tokio::task::spawn_blocking(move || matching(&vault, &secrets, &kept));
        found.extend(matched.await.map_err(Error::internal)?);
    }
}

/// The pairs of a secret and its token.
fn matching(
    vault: &DataKeys,
    secrets: &[SecretString],
    kept: &[StoredSecret],
) -> Vec<(SecretString, Reference)> {
    let mut found = Vec::new();
    for token in kept {
        for secret in secrets {
            if vault.matches(SecretKind::RegistryToken, token.id.0, secret, &token.secret) {
                let reference = Reference {
                    registry: token.registry,
                    who: Who::Token(token.key),
                    version: token.secret_version,
                };
                found.push((secret.clone(), reference));
            }
        }
    }
    found
}

/// The credential of a string, if it is still there and the string is not an outdated secret of it. A registry token
/// without a lookup is not found: [`walk`] finds it.
pub(super) fn behind(
    connection: &mut Session,
    vault: &DataKeys,
    form: &Form,
    secret: &SecretString,
) -> Result<Option<Found>> {
    Ok(match form {
        Form::Secret => {
            let kept = token_lookups::find(connection, &vault.lookups(secret))?;
            let found = matching(vault, std::slice::from_ref(secret), &kept);
            let found = found.first().map(|(_, reference)| *reference);
            found.map_or(Ok(None), |reference| referred(connection, reference))?
        }
        Form::Code => app_tokens::credential_for(connection, secret.expose_secret())?
            .filter(|found| vault.matches(SecretKind::AppToken, found.id.0, secret, &found.secret))
            .map(|found| Found::AppToken(found.account, found.id)),
        Form::ApiToken(id) => Some(Found::ApiToken(*id)),
        Form::Refresh(token) => behind_refresh_token(connection, token)?,
        Form::Workload(password) => referred(connection, password.reference)?,
        Form::Reference(reference) => referred(connection, *reference)?,
    })
}

fn behind_refresh_token(connection: &mut Session, token: &RefreshToken) -> Result<Option<Found>> {
    let Some(registry) = registries::find_id(connection, token.registry())? else {
        return Ok(None);
    };
    let Some(tenant) = registries::tenant(connection, registry)? else {
        return Ok(None);
    };
    let reference = token.reference(connection, &tenant)?;
    reference.map_or(Ok(None), |reference| referred(connection, reference))
}

/// The owner of the secret that a reference is of, if it is still there.
fn referred(connection: &mut Session, reference: Reference) -> Result<Option<Found>> {
    Ok(match reference.who {
        Who::Token(token) => {
            registries::find_id(connection, reference.registry)?.map(|registry| Found::Token {
                registry,
                token,
                version: reference.version,
            })
        }
        Who::AppToken(token) => app_tokens::credential(connection, token)?
            .map(|found| Found::AppToken(found.account, found.id)),
        Who::Account(account) => accounts::standing(connection, account)?
            .filter(|standing| standing.actor.version == reference.version)
            .map(|standing| Found::Account(account, standing.actor.id)),
        Who::Trust(trust) => {
            let key = reference.registry;
            let found = trusts::keyed(connection, key, trust)?;
            let found = found.filter(|found| Reference::of_trust(found) == reference);
            let home = found.map(|_| registries::find_id(connection, key));
            let home = home.transpose()?.flatten();
            home.map(|registry| Found::Trust(registry, key, trust))
        }
    })
}

/// The actor that ends a credential, and the new id of its refresh tokens.
#[derive(Debug, Clone)]
pub(super) struct Ender {
    pub(super) stamp: Attribution,
    /// The account, if the actor is one.
    pub(super) account: Option<AccountId>,
    pub(super) refresh_id: Uuid,
}

/// Ends a credential, if that is wanted and it is in force. Returns its change, in which before and after are equal if
/// nothing ended; `None` if it is gone meanwhile. A credential of an account stays: it ends with a new password.
pub(super) fn end(
    connection: &mut Transaction<'_>,
    found: Found,
    how: Option<Ending>,
    ender: &Ender,
) -> Result<Option<Change>> {
    let now = ender.stamp.at;
    let lasts = |end: Option<_>| how.is_some() && end.is_none_or(|end| now < end);
    Ok(Some(match found {
        Found::Token {
            registry,
            token,
            version,
        } => return end_token(connection, (registry, token, version), how, ender),
        Found::AppToken(account, id) => {
            let Some((token, _)) = app_tokens::find(connection, account, id)? else {
                return Ok(None);
            };
            if lasts(token.expires_at) {
                app_tokens::delete(connection, account, id)?;
                Change::deleted(&token)
            } else {
                Change::updated(&token, &token)
            }
        }
        Found::ApiToken(id) => {
            let Some(standing) = api_tokens::find(connection, id)? else {
                return Ok(None);
            };
            let record = api_token_record(connection, &standing)?;
            if !record.token.revoked && lasts(Some(record.token.expires_at)) {
                api_tokens::revoke(connection, id, ender.account, now)?;
                Change::revoked(&record)
            } else {
                Change::updated(&record, &record)
            }
        }
        Found::Account(_, id) => {
            let Some(account) = accounts::find(connection, id)? else {
                return Ok(None);
            };
            Change::updated(&account, &account)
        }
        Found::Trust(registry, home, key) => {
            let Some(mut trust) = trusts::keyed(connection, home, key)? else {
                return Ok(None);
            };
            let before = trust.clone();
            if how.is_some() {
                // All passwords that were given for it end, and workloads get new ones.
                trust.generation += 1;
                trusts::update(connection, &mut trust, ender.stamp.clone())?;
            }
            Change::updated(&before, &trust).within(registry)
        }
    }))
}

fn end_token(
    connection: &mut Transaction<'_>,
    (registry, key, version): (RegistryId, TokenKey, i64),
    how: Option<Ending>,
    ender: &Ender,
) -> Result<Option<Change>> {
    let Some(tenant) = registries::tenant(connection, registry)? else {
        return Ok(None);
    };
    let home = tenant.home();
    let known = credentials::credential(connection, home, key)?;
    let known = known.and_then(|(known, _)| Some((known.id, known.generation(version)?)));
    let Some((id, generation)) = known else {
        return Ok(None);
    };
    let Some(mut token) = tokens::find(connection, home, id)? else {
        return Ok(None);
    };
    if how == Some(Ending::Delete) {
        tokens::delete(connection, home.key, id)?;
        return Ok(Some(Change::deleted(&token).within(registry)));
    }
    let (before, stamp) = (token.clone(), ender.stamp.clone());
    let lasts = |end: Option<_>| how.is_some() && end.is_none_or(|end| stamp.at < end);
    match generation {
        Generation::Current => {
            if token.status == Status::Enabled && lasts(token.expiry_date) {
                token.status = Status::Disabled;
                tokens::update(connection, &mut token, stamp)?;
                tokens::end_refresh_tokens(connection, &token, ender.refresh_id)?;
            }
        }
        // A client that has replaced it goes on with the new one.
        Generation::Previous => {
            if lasts(token.secrets.previous.map(|previous| previous.until)) {
                tokens::end_previous(connection, &mut token, stamp)?;
            }
        }
    }
    Ok(Some(Change::updated(&before, &token).within(registry)))
}
