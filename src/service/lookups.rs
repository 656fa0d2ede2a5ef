//! The lookup of a secret that was found: the credential that it belongs to, what that opens, and its end in the same
//! call.
//!
//! Owns the right to be told. An account is told of what it may write: registry tokens by its rights on their registry,
//! its own app tokens, API tokens and logins, and those of others with the permissions by which it could end them, as
//! whoever manages the members of a registry ends its registry API tokens. All else looks unknown: the answer is the same, and so are the calls of the store. Each answer that tells something is an
//! event of the audit trail, in one transaction with the end.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::access::Caller;
use super::core::{Core, Done, Urgency};
use super::found_secrets::{Ender, Form, Found, behind, end, walk};
use super::grants::Grants;
use super::registry_api_tokens::{api_token_record, manages_members};
use super::visible::visible;
use crate::domain::Attribution;
use crate::domain::account::{Actor, Sight};
use crate::domain::app_token::WholeAccount;
use crate::domain::audit::{Change, Kind, Recorded, SubjectKind};
use crate::domain::escalation::obtain;
use crate::domain::id::{
    AccountId, AccountKey, ApiTokenId, AppTokenId, RegistryId, RegistryKey, TokenKey, TrustKey,
};
use crate::domain::lookup::{Ending, SecretType, Suspect};
use crate::domain::permission::{Level, Resource};
use crate::domain::registry_api_token::{Confinement, TokenLevel};
use crate::domain::rotation::Generation;
use crate::domain::status::Status;
use crate::domain::tenant::Tenant;
use crate::domain::token::LastUse;
use crate::domain::token_scope::Scope;
use crate::error::{Error, Result, What};
pub use crate::store::members::Belonging;
use crate::store::{
    Lock, Session, Transaction, accounts, api_tokens, app_tokens, credentials, members, registries,
    roles, token_lookups, tokens, trusts,
};

/// The actor that ended a token by a command, in place of an account. Its id is nil.
const COMMAND: &str = "command";

/// The most memberships that a finding names.
const MEMBERSHIPS: i64 = 100;

/// The credential that a secret belongs to, as it is after the call.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The kind of the secret.
    pub kind: SecretType,
    /// The kind of the credential: a token of some kind, or an account.
    pub subject_kind: SubjectKind,
    /// The id of the credential.
    pub id: Uuid,
    /// Its name or title.
    pub name: String,
    /// The registry of a registry token, of a registry API token, of a trust, or of a login.
    pub registry: Option<(RegistryId, String)>,
    /// The level of a registry API token.
    pub level: Option<TokenLevel>,
    /// The account that made a registry token or a trust, or that the credential belongs to or is.
    pub account: Option<(AccountId, String)>,
    /// The state of the credential: `enabled`, `disabled`, `expired`, `revoked` or `deleted`.
    pub state: &'static str,
    /// The reason for which the secret opens nothing now; `None` if it is usable.
    pub unusable: Option<String>,
    /// The end of the credential.
    pub expiry_date: Option<DateTime<Utc>>,
    /// The end of the secret itself, if it has one of its own that is still to come.
    pub secret_expiry_date: Option<DateTime<Utc>>,
    /// The scopes of a registry token or a trust.
    pub scopes: Option<Vec<Scope>>,
    /// The roles of an API token, or of the account.
    pub roles: Option<Vec<String>>,
    /// The first registries that the account of an app token or of a login is a member of, and the number of all.
    pub memberships: Option<(Vec<Belonging>, i64)>,
    /// The last known use of the credential.
    pub last_used: Option<LastUse>,
    /// True if this call ended it.
    pub ended: bool,
}

/// Lookup use cases.
#[derive(Debug)]
pub struct Lookups<'a> {
    core: &'a Core,
}

impl<'a> Lookups<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Tells a caller which credential a secret belongs to, and ends that if it is wanted.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if no credential that the caller may write has it; [`Error::Unsuited`] to end the credential of an
    /// account; [`Error::Unavailable`] if too many walk the tokens already.
    pub async fn look_up(
        &self,
        caller: &Caller,
        suspect: Suspect,
        ending: Option<Ending>,
    ) -> Result<Finding> {
        let (form, end) = self.form(&suspect).await?.unzip();
        let (found, more) = self.seen(caller, &suspect, form).await?;
        let found = match (found, form) {
            (None, Some(Form::Secret)) if more => {
                let account = Some(self.core.account(caller).await?);
                let form = self.walked(account, &suspect).await?;
                self.seen(caller, &suspect, Some(form)).await?.0
            }
            (found, _) => found,
        };
        let (posted, found) = told(form, found, end.flatten()).ok_or_else(unknown)?;
        let lock = ending.map_or(Lock::Nothing, |_| found.lock());
        let (now, refresh_id) = (self.core.clock.now(), self.core.random.uuid()?);
        let urgency = Urgency::of_an_end(ending.is_some());
        let (changes, instant) = (Arc::clone(&self.core.changes), self.core.clock.instant());
        self.core
            .change(caller, urgency, lock, move |connection, actor| {
                if !may_write(connection, actor, found)? {
                    return Err(unknown());
                }
                let ender = Ender {
                    stamp: actor.stamp(now),
                    account: Some(actor.id),
                    refresh_id,
                };
                let viewer = Viewer::Account {
                    key: actor.key,
                    sees_all: actor.sight() == Sight::All,
                };
                let done = conclude(connection, (posted, found), ending, (&ender, viewer))?;
                // It ended nothing, and its event counts as that of a look does.
                if !done.value.ended {
                    changes.require_room(actor.key, instant)?;
                }
                Ok(done)
            })
            .await
    }

    /// The same for the operator of the machine, who is told of everything.
    pub async fn look_up_by_command(
        &self,
        suspect: Suspect,
        ending: Option<Ending>,
    ) -> Result<Finding> {
        let (form, end) = self.form(&suspect).await?.unzip();
        let mut found = self.behind(&suspect, form).await?;
        if found.is_none() && matches!(form, Some(Form::Secret)) {
            let walked = self.walked(None, &suspect).await?;
            found = self.behind(&suspect, Some(walked)).await?;
        }
        let missing = || not_found("nothing here has this secret");
        let (posted, found) = told(form, found, end.flatten()).ok_or_else(missing)?;
        let lock = ending.map_or(Lock::Nothing, |_| found.lock());
        let ender = Ender {
            stamp: Attribution {
                at: self.core.clock.now(),
                by: AccountId(Uuid::nil()),
                by_name: COMMAND.to_owned(),
            },
            account: None,
            refresh_id: self.core.random.uuid()?,
        };
        self.core
            .command(lock, move |connection| {
                conclude(
                    connection,
                    (posted, found),
                    ending,
                    (&ender, Viewer::Operator),
                )
            })
            .await
    }

    /// The form of a secret, and the end of a JWT or of a workload's password.
    async fn form(&self, suspect: &Suspect) -> Result<Option<(Form, Option<DateTime<Utc>>)>> {
        let secret = suspect.secret();
        if let Some(form) = Form::of(self.core, secret).await? {
            let end = match form {
                Form::Workload(password) => Some(password.end),
                _ => None,
            };
            return Ok(Some((form, end)));
        }
        let behind = Grants::new(self.core).behind_jwt(secret).await?;
        Ok(behind.map(|(reference, end)| (Form::Reference(reference), Some(end))))
    }

    /// The credential behind a secret, if the caller may write it. True if tokens without lookups are left to be walked.
    async fn seen(
        &self,
        caller: &Caller,
        suspect: &Suspect,
        form: Option<Form>,
    ) -> Result<(Option<Found>, bool)> {
        let (vault, suspect) = (Arc::clone(&self.core.data_keys), suspect.clone());
        self.core
            .read(caller, move |connection, actor| {
                let (more, _) = token_lookups::count_without(connection, TokenKey(0), 1)?;
                let found = form.map_or(Ok(None), |form| {
                    behind(connection, &vault, &form, suspect.secret())
                })?;
                let found = match found {
                    Some(found) if may_write(connection, actor, found)? => Some(found),
                    _ => None,
                };
                Ok((found, more > 0))
            })
            .await
    }

    async fn behind(&self, suspect: &Suspect, form: Option<Form>) -> Result<Option<Found>> {
        let Some(form) = form else {
            return Ok(None);
        };
        let (vault, suspect) = (Arc::clone(&self.core.data_keys), suspect.clone());
        self.core
            .store
            .read(move |connection| behind(connection, &vault, &form, suspect.secret()))
            .await
    }

    /// The form of the secret of a registry token after a walk. If the walk did not find it, its lookup may have been
    /// kept meanwhile.
    async fn walked(&self, account: Option<AccountKey>, suspect: &Suspect) -> Result<Form> {
        let secrets = vec![suspect.secret().clone()];
        let found = walk(self.core, &self.core.lookup_walks, account, secrets).await?;
        let found = found
            .first()
            .map(|(_, reference)| Form::Reference(*reference));
        Ok(found.unwrap_or(Form::Secret))
    }
}

/// A secret that was posted.
#[derive(Debug, Clone, Copy)]
struct Posted {
    /// Its kind. A registry token's secret may turn out to be the previous one.
    kind: SecretType,
    /// The registry that a login was for.
    registry: Option<RegistryKey>,
    /// The end of a JWT or of a workload's password.
    end: Option<DateTime<Utc>>,
}

/// The reader of a finding.
#[derive(Debug, Clone, Copy)]
enum Viewer {
    /// The operator of the machine.
    Operator,
    /// An account.
    Account {
        key: AccountKey,
        /// True if it may know of every registry.
        sees_all: bool,
    },
}

impl Viewer {
    /// Returns true if it may know of the registries that an account opens.
    fn may_see(self, account: AccountKey) -> bool {
        match self {
            Self::Operator => true,
            Self::Account { key, sees_all } => sees_all || key == account,
        }
    }

    /// The reason for which nothing opens a registry, if there is one, and the remedy at hand.
    fn shut(self, tenant: &Tenant) -> Option<String> {
        match self {
            Self::Operator => tenant.shut_for_operator(),
            Self::Account { .. } => tenant.shut(),
        }
    }
}

fn told(
    form: Option<Form>,
    found: Option<Found>,
    end: Option<DateTime<Utc>>,
) -> Option<(Posted, Found)> {
    let (form, found) = form.zip(found)?;
    let (kind, registry) = match form {
        Form::Secret => (SecretType::RegistryToken, None),
        Form::Code => (SecretType::AppToken, None),
        Form::ApiToken(_) => (SecretType::ApiToken, None),
        Form::Refresh(token) => (SecretType::RefreshToken, Some(token.registry())),
        Form::Workload(_) => (SecretType::WorkloadPassword, None),
        Form::Reference(reference) => (SecretType::Jwt, Some(reference.registry)),
    };
    let posted = Posted {
        kind,
        registry,
        end,
    };
    Some((posted, found))
}

/// The error for the secret of nothing that the caller may write.
#[must_use]
pub fn unknown() -> Error {
    not_found("no credential that you may write has this secret")
}

fn not_found(sentence: &str) -> Error {
    Error::NotFound {
        what: What::Secret,
        which: sentence.to_owned(),
        hint: None,
    }
}

/// The error for the end of what was given for an account's password.
#[must_use]
pub fn of_a_password() -> Error {
    Error::Unsuited(
        "this secret was given for the password of an account, and ends with that; set a new password by PATCH \
         /accounts/{accountId} or `wharfinger account passwd`"
            .to_owned(),
    )
}

/// Returns true if the actor may write a credential, and so end it.
fn may_write(connection: &mut Session, actor: &Actor, found: Found) -> Result<bool> {
    let permits = |resource| actor.permissions.require(resource, Level::Write).is_ok();
    Ok(match found {
        Found::Token { registry, .. } | Found::Trust(registry, ..) => {
            let home = members::home(connection, registry, actor.key)?;
            visible(actor, registry, home)
                .is_ok_and(|(_, rights)| rights.allow(Resource::Token, Level::Write))
        }
        Found::AppToken(account, _) | Found::Account(account, _) => {
            permits(Resource::Access) || (account == actor.key && is_whole(connection, actor)?)
        }
        Found::ApiToken(id) => {
            let Some(token) = api_tokens::find(connection, id)? else {
                return Ok(false);
            };
            if token.account == actor.key && is_whole(connection, actor)? {
                return Ok(true);
            }
            match token.confinement {
                None => permits(Resource::Integration),
                Some(Confinement { registry, .. }) => {
                    (permits(Resource::Integration) && actor.sight() == Sight::All)
                        || manages_members(connection, actor, registry)?
                }
            }
        }
    })
}

/// Returns true if the actor has all the rights of its account: a narrow API token is not to learn of its other tokens.
fn is_whole(connection: &mut Session, actor: &Actor) -> Result<bool> {
    if actor.bearer.is_none() {
        return Ok(true);
    }
    if actor.confined().is_some() {
        return Ok(false);
    }
    let memberships = members::levels(connection, actor.key)?;
    let whole = WholeAccount {
        memberships: &memberships,
    };
    Ok(obtain(&whole, &actor.permissions).is_ok())
}

/// Tells of a credential, and ends it if that is wanted.
fn conclude(
    connection: &mut Transaction<'_>,
    (posted, found): (Posted, Found),
    ending: Option<Ending>,
    (ender, viewer): (&Ender, Viewer),
) -> Result<Done<Finding>> {
    if ending.is_some() && matches!(found, Found::Account(..)) {
        return Err(of_a_password());
    }
    let now = ender.stamp.at;
    let described = describe(connection, posted, found, viewer, now)?;
    let (mut finding, mut event) = described.ok_or_else(unknown)?;
    let secret = Value::String(finding.kind.as_str().to_owned());
    event.beside.insert("secretKind".to_owned(), secret);
    let change = match ending {
        Some(_) => end(connection, found, ending, ender)?,
        None => None,
    };
    let change = change.filter(|change| change.before != change.after);
    if let Some(change) = &change {
        finding.state = match change.kind {
            Kind::Delete => "deleted",
            Kind::Revoke => "revoked",
            _ => describe(connection, posted, found, viewer, now)?
                .map_or(finding.state, |now| now.0.state),
        };
        finding.unusable = Some("this request ended it".to_owned());
        finding.secret_expiry_date = None;
        finding.ended = true;
    }
    Ok(Done::of(finding, [event].into_iter().chain(change)))
}

/// The credential that a secret belongs to, and the event that tells of it. `None` if it is gone.
fn describe(
    connection: &mut Session,
    posted: Posted,
    found: Found,
    viewer: Viewer,
    now: DateTime<Utc>,
) -> Result<Option<(Finding, Change)>> {
    let (account, described) = match found {
        Found::Token {
            registry,
            token,
            version,
        } => {
            return describe_token(connection, posted, (registry, token, version), viewer, now);
        }
        Found::Trust(registry, home, key) => {
            return describe_trust(connection, posted, (registry, home, key), viewer, now);
        }
        Found::ApiToken(id) => return describe_api_token(connection, posted.kind, id, now),
        Found::AppToken(account, id) => {
            let described = describe_app_token(connection, posted.kind, (account, id), now)?;
            (account, described)
        }
        Found::Account(key, id) => (key, describe_account(connection, posted.kind, (key, id))?),
    };
    let Some((finding, event)) = described else {
        return Ok(None);
    };
    let finding = with_registries(connection, finding, posted, account, viewer)?;
    Ok(Some((finding, event)))
}

/// Adds the registries that an account opens, and the one of a login.
fn with_registries(
    connection: &mut Session,
    finding: Finding,
    posted: Posted,
    account: AccountKey,
    viewer: Viewer,
) -> Result<Finding> {
    let finding = Finding {
        secret_expiry_date: posted.end,
        ..finding
    };
    if !viewer.may_see(account) {
        return Ok(finding);
    }
    let memberships = members::first_of_account(connection, account, MEMBERSHIPS)?;
    let id = posted.registry.map_or(Ok(None), |registry| {
        registries::find_id(connection, registry)
    })?;
    let tenant = id.map_or(Ok(None), |id| registries::tenant(connection, id))?;
    let frozen = tenant.as_ref().and_then(|tenant| viewer.shut(tenant));
    Ok(Finding {
        registry: id.zip(tenant.map(|tenant| tenant.name)),
        unusable: finding.unusable.or(frozen),
        memberships: Some(memberships),
        ..finding
    })
}

/// A finding about a thing of which no more is known, and its event.
fn of<T: Recorded>(kind: SecretType, thing: &T, name: &str) -> (Finding, Change) {
    let finding = Finding {
        kind,
        subject_kind: T::KIND,
        id: thing.id(),
        name: name.to_owned(),
        registry: None,
        level: None,
        account: None,
        state: Status::Enabled.as_str(),
        unusable: None,
        expiry_date: None,
        secret_expiry_date: None,
        scopes: None,
        roles: None,
        memberships: None,
        last_used: None,
        ended: false,
    };
    (finding, Change::done(Kind::Lookup, thing))
}

fn describe_token(
    connection: &mut Session,
    posted: Posted,
    (registry, key, version): (RegistryId, TokenKey, i64),
    viewer: Viewer,
    now: DateTime<Utc>,
) -> Result<Option<(Finding, Change)>> {
    let Some(tenant) = registries::tenant(connection, registry)? else {
        return Ok(None);
    };
    let home = tenant.home();
    let known = credentials::credential(connection, home, key)?;
    let known = known.and_then(|(known, _)| Some((known.id, known.generation(version)?)));
    let Some((id, generation)) = known else {
        return Ok(None);
    };
    let Some(token) = tokens::find(connection, home, id)? else {
        return Ok(None);
    };
    let kind = match (posted.kind, generation) {
        (SecretType::RegistryToken, Generation::Previous) => SecretType::PreviousSecret,
        (kind, _) => kind,
    };
    let replaced = token
        .secrets
        .previous_end()
        .filter(|end| generation == Generation::Previous && *end <= now);
    let replaced =
        replaced.map(|end| format!("the secret was replaced and ended at {}", said(end)));
    let ends = [posted.end, token.secrets.end_of(generation)];
    let frozen = viewer.shut(&tenant);
    let (finding, event) = of(kind, &token, &token.name);
    let finding = Finding {
        registry: Some((registry, tenant.name)),
        account: Some((token.created.by, token.created.by_name.clone())),
        state: token.state_at(now),
        unusable: token.unusable_at(now).or(replaced).or(frozen),
        expiry_date: token.expiry_date,
        secret_expiry_date: ends.into_iter().flatten().min().filter(|end| *end > now),
        scopes: Some(token.scopes),
        last_used: token.last_used,
        ..finding
    };
    Ok(Some((finding, event.within(registry))))
}

fn describe_trust(
    connection: &mut Session,
    posted: Posted,
    (registry, home, key): (RegistryId, RegistryKey, TrustKey),
    viewer: Viewer,
    now: DateTime<Utc>,
) -> Result<Option<(Finding, Change)>> {
    let Some(tenant) = registries::tenant(connection, registry)? else {
        return Ok(None);
    };
    let Some(trust) = trusts::keyed(connection, home, key)? else {
        return Ok(None);
    };
    let over = posted.end.filter(|end| *end <= now).map(expired);
    let frozen = viewer.shut(&tenant);
    let (finding, event) = of(posted.kind, &trust, &trust.name);
    let finding = Finding {
        registry: Some((registry, tenant.name)),
        account: Some((trust.created.by, trust.created.by_name.clone())),
        state: trust.state_at(now),
        unusable: trust.unusable_at(now).or(over).or(frozen),
        expiry_date: trust.expiry_date,
        secret_expiry_date: posted.end.filter(|end| *end > now),
        scopes: Some(trust.scopes),
        ..finding
    };
    Ok(Some((finding, event.within(registry))))
}

fn describe_app_token(
    connection: &mut Session,
    kind: SecretType,
    (account, id): (AccountKey, AppTokenId),
    now: DateTime<Utc>,
) -> Result<Option<(Finding, Change)>> {
    let Some((token, _)) = app_tokens::find(connection, account, id)? else {
        return Ok(None);
    };
    let over = token.expires_at.filter(|end| *end <= now);
    let owner = owner(connection, account)?;
    let (finding, event) = of(kind, &token, &token.title);
    let finding = Finding {
        state: if over.is_some() {
            "expired"
        } else {
            finding.state
        },
        unusable: over.map(expired).or(owner.unusable),
        account: owner.account,
        roles: Some(role_names(connection, account)?),
        expiry_date: token.expires_at,
        last_used: token.used_at.map(used),
        ..finding
    };
    Ok(Some((finding, event)))
}

fn describe_api_token(
    connection: &mut Session,
    kind: SecretType,
    id: ApiTokenId,
    now: DateTime<Utc>,
) -> Result<Option<(Finding, Change)>> {
    let Some(found) = api_tokens::find(connection, id)? else {
        return Ok(None);
    };
    let record = api_token_record(connection, &found)?;
    let token = found.token;
    let over = (token.expires_at <= now).then_some(token.expires_at);
    let owner = owner(connection, found.account)?;
    let bound = found.confinement;
    let (kind, registry, closed) = match bound {
        None => (kind, None, None),
        Some(bound) => {
            let registry = registries::named(connection, bound.registry)?;
            let closed = closed(connection, found.account, bound, registry.is_some())?;
            (SecretType::RegistryApiToken, registry, closed)
        }
    };
    let (finding, event) = of(kind, &record, &token.name);
    let revoked = token.revoked.then(|| "the API token is revoked".to_owned());
    let unusable = revoked.or(over.map(expired)).or(owner.unusable);
    let finding = Finding {
        state: match (token.revoked, over) {
            (true, _) => "revoked",
            (false, Some(_)) => "expired",
            (false, None) => finding.state,
        },
        unusable: unusable.or(closed),
        registry,
        level: bound.and_then(|bound| bound.level),
        account: owner.account,
        expiry_date: Some(token.expires_at),
        last_used: api_tokens::used_at(connection, id)?.map(used),
        roles: bound.is_none().then_some(token.roles),
        ..finding
    };
    Ok(Some((finding, event)))
}

/// The reason for which a registry API token opens nothing at its registry, if there is one.
fn closed(
    connection: &mut Session,
    maker: AccountKey,
    Confinement { registry, level }: Confinement,
    exists: bool,
) -> Result<Option<String>> {
    if !exists {
        return Ok(Some("its registry is deleted".to_owned()));
    }
    if level.is_none() {
        return Ok(Some("this release does not know its level".to_owned()));
    }
    let Some(standing) = accounts::standing(connection, maker)? else {
        return Ok(None);
    };
    let membership = members::level(connection, registry, maker)?;
    let visible = standing.actor.on(registry, membership).visible;
    Ok((!visible).then(|| "its maker may not see the registry any more".to_owned()))
}

fn describe_account(
    connection: &mut Session,
    kind: SecretType,
    (key, id): (AccountKey, AccountId),
) -> Result<Option<(Finding, Change)>> {
    let Some(account) = accounts::find(connection, id)? else {
        return Ok(None);
    };
    let owner = owner(connection, key)?;
    let (finding, event) = of(kind, &account, &account.name);
    let finding = Finding {
        state: account.status.as_str(),
        unusable: owner.unusable,
        account: owner.account,
        roles: Some(account.roles),
        ..finding
    };
    Ok(Some((finding, event)))
}

/// The account on whose behalf a credential acts.
struct Owner {
    account: Option<(AccountId, String)>,
    /// The reason for which its credentials open nothing.
    unusable: Option<String>,
}

fn owner(connection: &mut Session, key: AccountKey) -> Result<Owner> {
    let standing = accounts::standing(connection, key)?;
    let unusable = match &standing {
        Some(standing) if standing.status == Status::Enabled => None,
        Some(_) => Some("its account is disabled".to_owned()),
        None => Some("its account is deleted".to_owned()),
    };
    let account = standing.map(|standing| (standing.actor.id, standing.actor.name));
    Ok(Owner { account, unusable })
}

fn role_names(connection: &mut Session, account: AccountKey) -> Result<Vec<String>> {
    let roles = roles::of_account(connection, account)?;
    Ok(roles.into_iter().map(|role| role.name).collect())
}

fn expired(end: DateTime<Utc>) -> String {
    format!("it expired at {}", said(end))
}

fn said(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A use of which no more than the time is known.
fn used(at: DateTime<Utc>) -> LastUse {
    LastUse {
        at,
        address: None,
        repository: None,
    }
}
