//! Leaked secrets, as a secret scanner reports them.
//!
//! Owns the right to report, the form of a string before the database is asked, the search for its owner, and the
//! response. The reporter learns nothing: not if a string was a secret, nor of what. Refuses to know how reports
//! travel.
//!
//! The secret of a registry token cannot be looked up: its stored digest is bound to its row. So one report at a time
//! compares all rows, in parts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::api_keys::ApiKeys;
use super::core::{Core, Done, is_same};
use super::data_keys::DataKeys;
use super::references::{Reference, Who};
use super::refresh_tokens::RefreshToken;
use crate::domain::Attribution;
use crate::domain::audit::{By, Change, Kind, Origin, SubjectKind};
use crate::domain::id::{AccountId, AccountKey, ApiTokenId, AppTokenId, RegistryId, TokenKey};
use crate::domain::rotation::Generation;
use crate::domain::secret::SecretKind;
use crate::domain::status::Status;
use crate::domain::text::has_control;
use crate::error::{Error, Field, Result, Violations, What};
use crate::store::credentials::StoredSecret;
use crate::store::{
    Lock, Session, Transaction, accounts, api_tokens, app_tokens, credentials, registries, tokens,
};

/// The most strings of a report.
const STRINGS: usize = 100;
/// The longest string that may be a secret, in characters.
const TOKEN_LENGTH: usize = 4096;
/// The longest other text, in characters.
const TEXT_LENGTH: usize = 1024;
/// Tokens that are compared at once.
const BATCH: i64 = 1000;
/// The most reports that compare the tokens or wait for their turn.
pub(super) const WALKS: usize = 4;
/// The actor that disabled a token, in place of an account. Its id is nil.
const SCANNER: &str = "secret scanner";

/// The place and the type of a string, in the scanner's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whereabouts {
    /// The type that the scanner took it for.
    pub r#type: Option<String>,
    /// The place.
    pub url: Option<String>,
    /// The kind of that place.
    pub source: Option<String>,
}

impl Whereabouts {
    fn texts(&self) -> [(Field, Option<&String>); 3] {
        [
            (Field::Type, self.r#type.as_ref()),
            (Field::Url, self.url.as_ref()),
            (Field::Source, self.source.as_ref()),
        ]
    }

    /// Adds the report's texts to a change, without the leaked secrets in them and the passwords of URLs.
    fn tell(&self, mut change: Change, secrets: &[SecretString]) -> Change {
        for (field, text) in self.texts() {
            let Some(text) = text else { continue };
            let text = secrets.iter().fold(text.clone(), |text, secret| {
                text.replace(secret.expose_secret(), "[secret]")
            });
            let text = if field == Field::Url {
                without_credentials(text)
            } else {
                text
            };
            change
                .beside
                .insert(field.as_str().to_owned(), Value::String(text));
        }
        change
    }
}

/// A string that a scanner found.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The string.
    pub token: SecretString,
    /// The place and the type.
    pub place: Whereabouts,
}

/// The report of a scanner.
#[derive(Debug)]
pub struct Report(Vec<Sighting>);

impl Report {
    /// Takes a report that is neither empty nor too large, without control characters in it.
    pub fn new(sightings: Vec<Sighting>) -> Result<Self> {
        if sightings.is_empty() || sightings.len() > STRINGS {
            return Err(Error::invalid(
                Field::Body,
                format!(
                    "the body is an array of {}; 1 to {STRINGS} are allowed",
                    sightings.len()
                ),
            ));
        }
        let mut violations = Violations::default();
        let mut check = |place: usize, field: Field, text: &str, most: usize| {
            let name = field.as_str();
            let length = text.chars().count();
            if length > most {
                violations.push(
                    field,
                    format!("[{place}].{name} has {length} characters; at most {most} are allowed"),
                );
            } else if has_control(text) {
                violations.push(
                    field,
                    format!("[{place}].{name} contains a control character"),
                );
            }
        };
        for (place, sighting) in sightings.iter().enumerate() {
            let token = sighting.token.expose_secret();
            check(place, Field::Token, token, TOKEN_LENGTH);
            for (field, text) in sighting.place.texts() {
                check(place, field, text.map_or("", String::as_str), TEXT_LENGTH);
            }
        }
        // People copy surrounding white space.
        let trimmed = sightings.into_iter().map(|sighting| Sighting {
            token: sighting.token.expose_secret().trim().into(),
            ..sighting
        });
        violations.finish(Some(Self(trimmed.collect())))
    }
}

/// A scanner with the operator's token.
#[derive(Debug)]
pub struct Scanner {
    origin: Origin,
}

/// The form of a string, as far as it is known without the stored rows of tokens.
#[derive(Debug)]
enum Form {
    /// The secret of some registry token.
    Secret,
    /// The code of some app token.
    Code,
    /// An API token with our signature.
    ApiToken(ApiTokenId),
    /// A credential that a login to a registry gave.
    Refresh(RefreshToken),
    /// A secret of a registry token that is known.
    Reference(Reference),
}

/// A leaked credential, in force or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leaked {
    Token {
        registry: RegistryId,
        token: TokenKey,
        /// The version of its secret.
        version: i64,
    },
    AppToken(AccountKey, AppTokenId),
    ApiToken(ApiTokenId),
    /// A refresh token issued for the account's password.
    Account(AccountId),
}

/// Leak use cases.
#[derive(Debug)]
pub struct Leaks<'a> {
    core: &'a Core,
}

impl<'a> Leaks<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Checks that the caller is the operator's scanner. No account is the scanner, and its token opens nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the operator has none.
    pub fn admit(&self, token: Option<&SecretString>, origin: Origin) -> Result<Scanner> {
        let Some(own) = &self.core.policy.secret_scanner else {
            return Err(off());
        };
        if is_same(token.ok_or(Error::Unauthenticated)?, own) {
            return Ok(Scanner { origin });
        }
        Err(self
            .core
            .refused(Error::Unauthenticated, By::nobody(origin)))
    }

    /// Ends the leaked credentials of a report, if the operator wants that, and tells the audit trail and the log.
    pub async fn report(&self, scanner: &Scanner, report: Report) -> Result<()> {
        let found = self.find(report).await?;
        let secrets: Vec<_> = found.iter().map(|(_, found)| found.token.clone()).collect();
        let mut leaks: BTreeMap<Leaked, BTreeSet<Whereabouts>> = BTreeMap::new();
        for (leaked, sighting) in found {
            leaks.entry(leaked).or_default().insert(sighting.place);
        }
        let secrets: Arc<[SecretString]> = secrets.into();
        for (leaked, places) in leaks {
            self.answer(scanner, leaked, places, Arc::clone(&secrets))
                .await?;
        }
        Ok(())
    }

    /// The strings that are, or were, secrets of ours, with their credentials.
    async fn find(&self, report: Report) -> Result<Vec<(Leaked, Sighting)>> {
        let mut suspects = Vec::new();
        for sighting in report.0 {
            if let Some(form) = self.form(&sighting.token).await? {
                suspects.push((form, sighting));
            }
        }
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        // Each secret once, however often it was seen: every one is compared with every token.
        let mut secrets: Vec<SecretString> = Vec::new();
        for (form, sighting) in &suspects {
            if matches!(form, Form::Secret) && !secrets.iter().any(|known| same(known, sighting)) {
                secrets.push(sighting.token.clone());
            }
        }
        for (secret, reference) in self.walk(secrets).await? {
            for (form, sighting) in &mut suspects {
                if matches!(form, Form::Secret) && same(&secret, sighting) {
                    *form = Form::Reference(reference);
                }
            }
        }
        let vault = Arc::clone(&self.core.data_keys);
        self.core
            .store
            .read(move |connection| {
                let mut found = Vec::new();
                for (form, sighting) in &suspects {
                    let leaked = behind(connection, &vault, form, &sighting.token)?;
                    found.extend(leaked.map(|leaked| (leaked, sighting.clone())));
                }
                Ok(found)
            })
            .await
    }

    /// The form of a string: by its checksum, its seal or its signature.
    async fn form(&self, token: &SecretString) -> Result<Option<Form>> {
        match SecretKind::of(token.expose_secret()) {
            Some(SecretKind::RegistryToken) => return Ok(Some(Form::Secret)),
            Some(SecretKind::AppToken) => return Ok(Some(Form::Code)),
            None => {}
        }
        if let Some(token) = RefreshToken::open(self.core, token) {
            return Ok(Some(Form::Refresh(token)));
        }
        let id = ApiKeys::new(self.core).verify(token).await?;
        Ok(id.map(Form::ApiToken))
    }

    /// Finds the tokens of secrets. It compares all rows even after a match, so that the time says nothing.
    async fn walk(&self, secrets: Vec<SecretString>) -> Result<Vec<(SecretString, Reference)>> {
        let (mut beyond, mut found) = (TokenKey(0), Vec::new());
        if secrets.is_empty() {
            return Ok(found);
        }
        let _turn = self.core.walks.wait().await?;
        let secrets: Arc<[_]> = secrets.into();
        loop {
            let store = &self.core.store;
            let kept = store
                .read(move |connection| credentials::secrets(connection, beyond, BATCH))
                .await?;
            let Some(last) = kept.last() else {
                return Ok(found);
            };
            beyond = last.key;
            let (vault, secrets) = (Arc::clone(&self.core.data_keys), Arc::clone(&secrets));
            // Neither on a thread of the store nor on one that answers requests.
            let matched = tokio::task::spawn_blocking(move || matching(&vault, &secrets, &kept));
            found.extend(matched.await.map_err(Error::internal)?);
        }
    }

    async fn answer(
        &self,
        scanner: &Scanner,
        leaked: Leaked,
        places: BTreeSet<Whereabouts>,
        secrets: Arc<[SecretString]>,
    ) -> Result<()> {
        let lock = match leaked {
            Leaked::Token { registry, .. } => Lock::Registry(registry),
            Leaked::AppToken(..) | Leaked::ApiToken(_) | Leaked::Account(_) => Lock::Nothing,
        };
        let (ends, now) = (self.core.policy.end_leaked_tokens, self.core.clock.now());
        let refresh_id = self.core.random.uuid()?;
        let by = By::scanner(scanner.origin.clone());
        let (count, job) = (places.len(), move |connection: &mut Transaction<'_>| {
            let change = end(connection, leaked, ends, (now, refresh_id))?;
            let told = change.iter().flat_map(|change| {
                let places = places.iter();
                places.map(|place| place.tell(change.clone(), &secrets))
            });
            let told: Vec<_> = told.collect();
            Ok(Done::of(change, told))
        });
        if let Some(change) = self.core.write_by(by, lock, job).await? {
            for _ in 0..count {
                warn(&change);
            }
        }
        Ok(())
    }
}

/// The error of a service without a scanner's token.
#[must_use]
pub fn off() -> Error {
    Error::not_found(
        What::Path,
        "/secret-scanning/report, which is served only with --secret-scanning-token,",
    )
}

fn same(secret: &SecretString, sighting: &Sighting) -> bool {
    secret.expose_secret() == sighting.token.expose_secret()
}

/// An address without the name and the password that some hold.
fn without_credentials(address: String) -> String {
    match Url::parse(&address) {
        Ok(mut url) if !url.username().is_empty() || url.password().is_some() => {
            // An address that has them can also be without.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.into()
        }
        _ => address,
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

/// The credential of a string, if it is still there and the string is not an outdated secret of it.
fn behind(
    connection: &mut Session,
    vault: &DataKeys,
    form: &Form,
    secret: &SecretString,
) -> Result<Option<Leaked>> {
    Ok(match form {
        // The secret of no token here.
        Form::Secret => None,
        Form::Code => app_tokens::credential_for(connection, secret.expose_secret())?
            .filter(|found| vault.matches(SecretKind::AppToken, found.id.0, secret, &found.secret))
            .map(|found| Leaked::AppToken(found.account, found.id)),
        Form::ApiToken(id) => Some(Leaked::ApiToken(*id)),
        Form::Refresh(token) => behind_refresh_token(connection, token)?,
        Form::Reference(reference) => referred(connection, *reference)?,
    })
}

fn behind_refresh_token(connection: &mut Session, token: &RefreshToken) -> Result<Option<Leaked>> {
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
fn referred(connection: &mut Session, reference: Reference) -> Result<Option<Leaked>> {
    Ok(match reference.who {
        Who::Token(token) => {
            registries::find_id(connection, reference.registry)?.map(|registry| Leaked::Token {
                registry,
                token,
                version: reference.version,
            })
        }
        Who::AppToken(token) => app_tokens::credential(connection, token)?
            .map(|found| Leaked::AppToken(found.account, found.id)),
        Who::Account(account) => accounts::standing(connection, account)?
            .filter(|standing| standing.actor.version == reference.version)
            .map(|standing| Leaked::Account(standing.actor.id)),
    })
}

/// Ends a leaked credential, if that is wanted and it is in force. Returns its change; `None` if it is gone meanwhile.
fn end(
    connection: &mut Session,
    leaked: Leaked,
    wanted: bool,
    (now, refresh_id): (DateTime<Utc>, Uuid),
) -> Result<Option<Change>> {
    let lasts = |end: Option<DateTime<Utc>>| wanted && end.is_none_or(|end| now < end);
    let change = match leaked {
        Leaked::Token {
            registry,
            token,
            version,
        } => {
            let Some(tenant) = registries::tenant(connection, registry)? else {
                return Ok(None);
            };
            let home = tenant.home();
            let known = credentials::credential(connection, home, token)?;
            let known = known.and_then(|(known, _)| Some((known.id, known.generation(version)?)));
            let Some((id, generation)) = known else {
                return Ok(None);
            };
            let Some(mut token) = tokens::find(connection, home, id)? else {
                return Ok(None);
            };
            let before = token.clone();
            let stamp = Attribution {
                at: now,
                by: AccountId(Uuid::nil()),
                by_name: SCANNER.to_owned(),
            };
            match generation {
                Generation::Current => {
                    if token.status == Status::Enabled && lasts(token.expiry_date) {
                        token.status = Status::Disabled;
                        tokens::update(connection, &mut token, stamp)?;
                        tokens::end_refresh_tokens(connection, token.key, refresh_id)?;
                    }
                }
                // A client that has replaced it goes on with the new one.
                Generation::Previous => {
                    if lasts(token.secrets.previous.map(|previous| previous.until)) {
                        tokens::end_previous(connection, &mut token, stamp)?;
                    }
                }
            }
            Change::updated(&before, &token).within(registry)
        }
        Leaked::AppToken(account, id) => {
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
        Leaked::ApiToken(id) => {
            let Some(standing) = api_tokens::find(connection, id)? else {
                return Ok(None);
            };
            let token = standing.token;
            let change = Change::updated(&token, &token);
            if !token.revoked && lasts(Some(token.expires_at)) {
                api_tokens::revoke(connection, id, None, now)?;
                change.with("status", "revoked")
            } else {
                change
            }
        }
        Leaked::Account(id) => {
            let Some(account) = accounts::find(connection, id)? else {
                return Ok(None);
            };
            Change::updated(&account, &account)
        }
    };
    Ok(Some(Change {
        kind: Kind::Leak,
        ..change
    }))
}

/// Logs the change, by ids alone.
fn warn(change: &Change) {
    let id = change.subject.map(tracing::field::display);
    let registry = change.registry.map(tracing::field::display);
    let (kind, ended) = (change.subject_kind.as_str(), change.before != change.after);
    if change.subject_kind == SubjectKind::Account {
        tracing::warn!(
            id,
            "a refresh token of an account has leaked; give the account a new password"
        );
    } else {
        tracing::warn!(
            kind,
            id,
            registry,
            ended,
            "a token has leaked; if it is still in force, disable or revoke it"
        );
    }
}
