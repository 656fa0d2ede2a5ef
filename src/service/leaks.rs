//! Leaked secrets, as a secret scanner reports them.
//!
//! Owns the right to report and the response. The reporter learns nothing: not if a string was a secret, nor of what.
//! Refuses to know how reports travel, and how credentials are found and ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::core::{Core, Done, is_same};
use super::found_secrets::{Ender, Form, Found, behind, end, walk};
use crate::domain::Attribution;
use crate::domain::audit::{By, Change, Kind, Origin, SubjectKind};
use crate::domain::id::AccountId;
use crate::domain::lookup::Ending;
use crate::domain::text::has_control;
use crate::error::{Error, Field, Result, Violations, What};
use crate::store::Transaction;

/// The most strings of a report.
const STRINGS: usize = 100;
/// The longest string that may be a secret, in characters.
const TOKEN_LENGTH: usize = 4096;
/// The longest other text, in characters.
const TEXT_LENGTH: usize = 1024;
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
        let mut leaks: BTreeMap<Found, BTreeSet<Whereabouts>> = BTreeMap::new();
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
    async fn find(&self, report: Report) -> Result<Vec<(Found, Sighting)>> {
        let mut suspects = Vec::new();
        for sighting in report.0 {
            if let Some(form) = Form::of(self.core, &sighting.token).await? {
                suspects.push((form, sighting));
            }
        }
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        // Each secret once, however often it was seen: every one is compared with every token that the walk finds.
        let mut secrets: Vec<SecretString> = Vec::new();
        for (form, sighting) in &suspects {
            if matches!(form, Form::Secret) && !secrets.iter().any(|known| same(known, sighting)) {
                secrets.push(sighting.token.clone());
            }
        }
        for (secret, reference) in walk(self.core, &self.core.walks, None, secrets).await? {
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
                    let behind = behind(connection, &vault, form, &sighting.token)?;
                    found.extend(behind.map(|behind| (behind, sighting.clone())));
                }
                Ok(found)
            })
            .await
    }

    async fn answer(
        &self,
        scanner: &Scanner,
        leaked: Found,
        places: BTreeSet<Whereabouts>,
        secrets: Arc<[SecretString]>,
    ) -> Result<()> {
        let how = self
            .core
            .policy
            .end_leaked_tokens
            .then_some(Ending::Disable);
        let ender = Ender {
            stamp: Attribution {
                at: self.core.clock.now(),
                by: AccountId(Uuid::nil()),
                by_name: SCANNER.to_owned(),
            },
            account: None,
            refresh_id: self.core.random.uuid()?,
        };
        let by = By::scanner(scanner.origin.clone());
        let (count, job) = (places.len(), move |connection: &mut Transaction<'_>| {
            let change = end(connection, leaked, how, &ender)?.map(|change| Change {
                kind: Kind::Leak,
                ..change
            });
            let told = change.iter().flat_map(|change| {
                let places = places.iter();
                places.map(|place| place.tell(change.clone(), &secrets))
            });
            let told: Vec<_> = told.collect();
            Ok(Done::of(change, told))
        });
        if let Some(change) = self.core.write_by(by, leaked.lock(), job).await? {
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
