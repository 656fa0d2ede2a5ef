//! Registry tokens, which open one registry, by scopes, until an instant or for ever.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Attribution;
use super::allow_list::AllowList;
use super::audit::{Recorded, SubjectKind};
use super::escalation::{Changeable, Credential, Holder, is_later};
use super::id::{RegistryKey, TokenId, TokenKey};
use super::labels::Labels;
use super::life::Lives;
use super::membership::Rights;
use super::patch::Patch;
use super::precondition::Tag;
use super::rotation::Secrets;
use super::scope::are_within;
use super::status::Status;
use super::tenant::{Tenant, TokenRules};
use super::text::quoted;
use super::token_scope::{Scope, check_wildcards};
use crate::error::{Error, Field, Result};

/// A token's name, as sent; two names that differ only in ASCII case are the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenName(String);

impl TokenName {
    /// Reads a name. The pattern of the API: 2 to 63 letters, digits and hyphens, a letter first and no hyphen last.
    /// `^[A-Za-z][-A-Za-z0-9]{0,61}[A-Za-z0-9]$`.
    pub fn parse(text: &str) -> Result<Self> {
        let alphabet = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let ends = text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.ends_with('-');
        if (2..=63).contains(&text.len()) && alphabet && ends {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(
            Field::Name,
            format!(
                "name {} is not 2 to 63 letters, digits and hyphens, a letter first and no hyphen last",
                quoted(text)
            ),
        ))
    }

    /// The name as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Stored scopes, for code that only shows them: parsing and serialising them would be a fifth of a page's cost.
pub type VerbatimScopes = Box<RawValue>;

/// A registry token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token<S = Vec<Scope>> {
    /// Internal key.
    pub key: TokenKey,
    /// Public id, unique in the registry.
    pub id: TokenId,
    /// The registry it opens.
    pub registry: RegistryKey,
    /// Place in the registry's creation order.
    pub position: i64,
    /// Name, and the user name it logs in with.
    pub name: String,
    /// A text for people.
    pub description: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// As set; expiry does not change it.
    pub status: Status,
    /// Its end; `None` is never.
    pub expiry_date: Option<DateTime<Utc>>,
    /// Its scopes.
    pub scopes: S,
    /// The addresses from which it may be used, within the registry's list.
    pub allowed_cidrs: AllowList,
    /// The times at which its secrets were made and end.
    pub secrets: Secrets,
    /// Counts every change.
    pub version: i64,
    /// The account that made it, and the time.
    pub created: Attribution,
    /// The account that last changed it, and the time.
    pub modified: Option<Attribution>,
    /// The last known use; `None` until the first. A use changes nothing else of a token.
    pub last_used: Option<LastUse>,
}

/// The last use of a token: time, address and repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    /// The time.
    pub at: DateTime<Utc>,
    /// The peer of the connection.
    pub address: Option<IpAddr>,
    /// The repository of its last use. A use that names none, such as a login, keeps the one before it.
    pub repository: Option<String>,
}

impl LastUse {
    /// Merges another use of the same token: the later one counts, in any order.
    pub fn merge(&mut self, other: Self) {
        let earlier = if other.at < self.at {
            other
        } else {
            std::mem::replace(self, other)
        };
        if self.repository.is_none() {
            self.repository = earlier.repository;
        }
    }
}

impl<S> Token<S> {
    /// The state that a list shows: disabled, else expired, else enabled.
    #[must_use]
    pub fn state_at(&self, now: DateTime<Utc>) -> &'static str {
        match self.status {
            Status::Disabled => "disabled",
            Status::Enabled if self.expiry_date.is_some_and(|end| end <= now) => "expired",
            Status::Enabled => "enabled",
        }
    }

    /// The tag of its state at an instant. A use does not change it; the end of the token or of a secret does.
    #[must_use]
    pub fn tag_at(&self, now: DateTime<Utc>) -> Tag {
        Tag {
            key: self.key.0,
            version: self.version,
            state: u8::from(self.state_at(now) == "expired")
                | (u8::from(self.secrets.previous_end().is_some_and(|end| now < end)) << 1)
                | (u8::from(self.secrets.end().is_some_and(|end| end <= now)) << 2),
        }
    }

    /// The reason for which the token opens nothing at an instant; `None` if it is usable.
    #[must_use]
    pub fn unusable_at(&self, now: DateTime<Utc>) -> Option<String> {
        match (self.status, self.expiry_date) {
            (Status::Disabled, _) => Some("the token is disabled".to_owned()),
            (Status::Enabled, Some(end)) if end <= now => Some(format!(
                "the token expired at {}",
                end.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
            )),
            (Status::Enabled, _) => self.secret_outlived_at(now),
        }
    }

    /// The reason that the secret is too old; then the previous one, which is older, is too.
    fn secret_outlived_at(&self, now: DateTime<Utc>) -> Option<String> {
        let end = self.secrets.end().filter(|end| *end <= now)?;
        let age = self.secrets.maximum_age?;
        Some(format!(
            "the token's secret reached the registry's maximumSecretAge, {age}, at {}; rotate it",
            end.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
        ))
    }

    /// The reason for which an address may not use the token; `None` if its registry's list and its own admit it.
    #[must_use]
    pub fn closed_to(&self, tenant: &Tenant, address: IpAddr) -> Option<String> {
        if !tenant.api_subnet_allow_list.admits(address) {
            return Some(format!(
                "the registry's apiSubnetAllowList does not contain {address}"
            ));
        }
        (!self.allowed_cidrs.admits(address))
            .then(|| format!("the token's allowedCidrs do not contain {address}"))
    }
}

/// The rights of a token: its scopes, the addresses that may use it, and its end.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    scopes: &'a [Scope],
    /// `None` is everywhere.
    allowed_cidrs: Option<&'a AllowList>,
    status: Status,
    expiry_date: Option<DateTime<Utc>>,
}

impl<'a> Grant<'a> {
    /// The rights of another thing that opens a registry by scopes.
    #[must_use]
    pub fn of(
        scopes: &'a [Scope],
        allowed_cidrs: &'a AllowList,
        status: Status,
        expiry_date: Option<DateTime<Utc>>,
    ) -> Self {
        Self {
            scopes,
            allowed_cidrs: Some(allowed_cidrs),
            status,
            expiry_date,
        }
    }
}

impl Credential for Grant<'_> {
    type Held = Holder<Rights>;

    fn require_held(&self, held: &Holder<Rights>) -> Result<()> {
        held.rights.require_scopes(self.scopes)?;
        let Some(bound) = held
            .until
            .filter(|_| is_later(self.expiry_date, held.until))
        else {
            return Ok(());
        };
        Err(Error::invalid(
            Field::ExpiryDate,
            format!(
                "it would last longer than the API token that it is made with; give an expiry date up to {}",
                bound.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            ),
        ))
    }
}

fn is_within(list: Option<&AllowList>, other: Option<&AllowList>) -> bool {
    match (list, other) {
        (_, None) => true,
        (None, Some(other)) => other.entries().is_empty(),
        (Some(list), Some(other)) => list.is_within(other),
    }
}

impl Changeable for Grant<'_> {
    fn is_wider_than(&self, before: &Self) -> bool {
        let enabled = (before.status, self.status) == (Status::Disabled, Status::Enabled);
        enabled
            || is_later(self.expiry_date, before.expiry_date)
            || !is_within(self.allowed_cidrs, before.allowed_cidrs)
            || !are_within(self.scopes, before.scopes)
    }
}

impl<S> Token<S> {
    /// The same token with its scopes in another form.
    pub fn with_scopes<T>(self, scopes: impl FnOnce(S) -> Result<T>) -> Result<Token<T>> {
        let Self {
            key,
            id,
            registry,
            position,
            name,
            description,
            labels,
            status,
            expiry_date,
            scopes: own,
            allowed_cidrs,
            secrets,
            version,
            created,
            modified,
            last_used,
        } = self;
        Ok(Token {
            key,
            id,
            registry,
            position,
            name,
            description,
            labels,
            status,
            expiry_date,
            scopes: scopes(own)?,
            allowed_cidrs,
            secrets,
            version,
            created,
            modified,
            last_used,
        })
    }
}

impl Recorded for Token {
    const KIND: SubjectKind = SubjectKind::Token;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn record(&self) -> Value {
        let Self {
            key: _,
            id: _,
            registry: _,
            position: _,
            name,
            description,
            labels,
            status,
            expiry_date,
            scopes,
            allowed_cidrs,
            secrets,
            version,
            created: _,
            modified: _,
            last_used: _,
        } = self;
        let mut record = json!({
            "name": name,
            "status": status.as_str(),
            "expires": expiry_date,
            "scopes": scopes,
            "allowed": allowed_cidrs,
            "version": version,
        });
        if let Value::Object(record) = &mut record {
            let ends = secrets.previous.map(|previous| json!(previous.until));
            let description = description.as_ref().map(|text| json!(text));
            let labels = (!labels.is_empty()).then(|| json!(labels));
            let told = [
                ("description", description),
                ("labels", labels),
                ("previousSecretEnds", ends),
            ];
            let told = told
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)));
            record.extend(told);
        }
        record
    }
}

impl Token {
    /// Its scopes.
    #[must_use]
    pub fn grant(&self) -> Grant<'_> {
        Grant {
            scopes: &self.scopes,
            allowed_cidrs: Some(&self.allowed_cidrs),
            status: self.status,
            expiry_date: self.expiry_date,
        }
    }

    /// Replaces all fields but the name; `new` has the default of a missing field.
    ///
    /// Returns true if anything changed.
    pub fn replace(&mut self, new: NewToken, lives: Lives, now: DateTime<Utc>) -> Result<bool> {
        let NewToken {
            name,
            description,
            labels,
            expiry_date,
            scopes,
            allowed_cidrs,
            status,
            with_password: _,
        } = new;
        // If the rules require an end, a missing field does not mean that there is none.
        let expiry_date = match expiry_date {
            Patch::Keep if !lives.rule() => Patch::Clear,
            said => said,
        };
        let patch = TokenPatch {
            name: Some(name.as_str().to_owned()),
            description,
            labels,
            expiry_date,
            scopes: Some(scopes),
            allowed_cidrs,
            status: Some(status),
        };
        self.update(patch, lives, now)
    }

    /// Ends it at an instant, unless it ends earlier. Returns true if anything changed.
    pub fn end(&mut self, at: DateTime<Utc>) -> bool {
        let later = is_later(self.expiry_date, Some(at));
        if later {
            self.expiry_date = Some(at);
        }
        later
    }

    /// Applies a patch. Returns true if anything changed.
    pub fn update(&mut self, patch: TokenPatch, lives: Lives, now: DateTime<Utc>) -> Result<bool> {
        let TokenPatch {
            name,
            description,
            labels,
            expiry_date,
            scopes,
            allowed_cidrs,
            status,
        } = patch;
        if let Some(name) = name.filter(|name| *name != self.name) {
            return Err(Error::invalid(
                Field::Name,
                format!(
                    "\"name\" cannot be changed: this token is named {}, not {}",
                    self.name,
                    quoted(&name)
                ),
            ));
        }
        let before = self.clone();
        if let Some(description) = description.change() {
            self.description = description;
        }
        if let Some(labels) = labels {
            self.labels = labels;
        }
        if let Some(expiry_date) = expiry_date.change() {
            // A script that sends back a value that it read must not fail because time went on.
            if expiry_date != self.expiry_date {
                check_expiry(expiry_date, now)?;
                lives.admit(expiry_date, now)?;
            }
            self.expiry_date = expiry_date;
        }
        if let Some(scopes) = scopes {
            if scopes != self.scopes {
                check_wildcards(&scopes)?;
            }
            self.scopes = scopes;
        }
        if let Some(allowed_cidrs) = allowed_cidrs {
            self.allowed_cidrs = allowed_cidrs;
        }
        if let Some(status) = status {
            self.status = status;
        }
        Ok(before != *self)
    }
}

/// A new token, or the replacement of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name.
    pub name: TokenName,
    /// A text for people.
    pub description: Patch<String>,
    /// Its labels. `None` is none for a new token, and leaves a replaced one as it is.
    pub labels: Option<Labels>,
    /// Its end. [`Patch::Keep`] follows the rules for a new token; a replaced one keeps its end if there are rules, and
    /// loses it if there are none, as the product has it.
    pub expiry_date: Patch<DateTime<Utc>>,
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// The addresses from which it may be used. `None` is everywhere for a new token, and leaves a replaced one as it
    /// is: a client that does not know the field must not open a token to the world.
    pub allowed_cidrs: Option<AllowList>,
    /// The status.
    pub status: Status,
    /// True if the caller sent a password. It would not be used, so no token is made with one. A replaced token keeps
    /// its own, and is often sent as the answer that made it.
    pub with_password: bool,
}

impl NewToken {
    /// An enabled token with this name and defaults.
    #[must_use]
    pub fn named(name: TokenName) -> Self {
        Self {
            name,
            description: Patch::Keep,
            labels: None,
            expiry_date: Patch::Keep,
            scopes: Vec::new(),
            allowed_cidrs: None,
            status: Status::Enabled,
            with_password: false,
        }
    }

    /// The token, before the store gives it a key: the first at its position, with the first secret.
    #[must_use]
    pub fn made(
        &self,
        id: TokenId,
        rules: TokenRules,
        position: i64,
        created: &Attribution,
    ) -> Token {
        let Self {
            name,
            description,
            labels,
            expiry_date,
            scopes,
            allowed_cidrs,
            status,
            with_password: _,
        } = self;
        Token {
            key: TokenKey(0),
            id,
            registry: rules.key,
            position,
            name: name.as_str().to_owned(),
            description: description.clone().value(),
            labels: labels.clone().unwrap_or_default(),
            status: *status,
            expiry_date: expiry_date.value(),
            scopes: scopes.clone(),
            allowed_cidrs: allowed_cidrs.clone().unwrap_or_default(),
            secrets: Secrets {
                made_at: created.at,
                previous: None,
                maximum_age: rules.maximum_secret_age,
            },
            version: 1,
            created: created.clone(),
            modified: None,
            last_used: None,
        }
    }

    /// The rights of the new token. Call it after [`settle`](Self::settle), which sets the end.
    #[must_use]
    pub fn grant(&self) -> Grant<'_> {
        Grant {
            scopes: &self.scopes,
            allowed_cidrs: self.allowed_cidrs.as_ref(),
            status: self.status,
            expiry_date: self.expiry_date.value(),
        }
    }

    /// Sets its end, and refuses an expiry that has passed or is too late, and scopes that no new token may have.
    pub fn settle(&mut self, lives: Lives, now: DateTime<Utc>) -> Result<()> {
        if self.with_password {
            return Err(Error::invalid(
                Field::Password,
                "credentials.password is shown and never read: the service makes the secret of a token, so leave it out and \
                 use the one in the answer",
            ));
        }
        check_wildcards(&self.scopes)?;
        if let Some(end) = self.expiry_date.change() {
            check_expiry(end, now)?;
            lives.admit(end, now)
        } else {
            self.expiry_date = lives.end(now).into();
            Ok(())
        }
    }
}

/// Changes to a token; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenPatch {
    /// The name that the caller read. It cannot be changed, so another one is refused.
    pub name: Option<String>,
    /// Changes the text for people.
    pub description: Patch<String>,
    /// Replaces all labels.
    pub labels: Option<Labels>,
    /// Changes its end.
    pub expiry_date: Patch<DateTime<Utc>>,
    /// Replaces all scopes.
    pub scopes: Option<Vec<Scope>>,
    /// Replaces the addresses from which it may be used; an empty list is everywhere.
    pub allowed_cidrs: Option<AllowList>,
    /// Changes the status.
    pub status: Option<Status>,
}

impl TokenPatch {
    /// Returns true if it disables the token and changes nothing else.
    #[must_use]
    pub fn only_disables(&self) -> bool {
        let Self {
            name: _,
            description,
            labels,
            expiry_date,
            scopes,
            allowed_cidrs,
            status,
        } = self;
        description.is_keep()
            && labels.is_none()
            && expiry_date.is_keep()
            && scopes.is_none()
            && allowed_cidrs.is_none()
            && *status == Some(Status::Disabled)
    }
}

/// Refuses an end that has passed.
pub(super) fn check_expiry(expiry_date: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<()> {
    match expiry_date {
        Some(end) if end <= now => Err(Error::invalid(
            Field::ExpiryDate,
            format!(
                "expiryDate {} is in the past; send a later one, or none for what never expires",
                end.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
            ),
        )),
        _ => Ok(()),
    }
}

/// Reads an instant of RFC 3339 with any offset, up to the year 9999, and keeps whole microseconds.
///
/// An instant without a zone is refused, though some clients send such: guessing a zone would move an expiry by hours.
pub fn parse_expiry(text: &str) -> Result<DateTime<Utc>> {
    let last = DateTime::from_timestamp(253_402_300_800, 0);
    DateTime::parse_from_rfc3339(text)
        .ok()
        .and_then(|instant| DateTime::from_timestamp_micros(instant.timestamp_micros()))
        .filter(|instant| Some(*instant) < last && instant.timestamp() >= 0)
        .ok_or_else(|| {
            Error::invalid(
                Field::ExpiryDate,
                format!(
                    "expiryDate {} is no RFC 3339 date-time with a zone, from 1970 to 9999, such as 2027-01-13T16:27:42Z",
                    quoted(text)
                ),
            )
        })
}

#[cfg(test)]
mod tests;
