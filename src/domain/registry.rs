//! Registries: the tenants. Each has its own tokens and a host name that its clients log in to.

use chrono::{DateTime, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Attribution;
use super::allow_list::AllowList;
use super::audit::{Recorded, SubjectKind};
use super::escalation::{Changeable, Credential};
use super::id::{RegistryId, RegistryKey};
use super::labels::Labels;
use super::life::{Lives, LivesPatch};
use super::membership::{Images, Rights};
use super::patch::Patch;
use super::period::Period;
use super::precondition::Tag;
use super::text::quoted;
use super::token_verifier::TokenVerifier;
use crate::error::{Error, Field, Result, Violations};

/// The most JSON in the scanning properties, in bytes.
const PROPERTIES: usize = 4096;
/// The days of the week, as a schedule names them.
pub const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// A registry's name, unique among living registries and part of its host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryName(String);

impl RegistryName {
    /// Reads a name: 3 to 63 lower-case letters, digits and hyphens, a letter first and no hyphen last. API pattern:
    /// `^[a-z][-a-z0-9]{1,61}[a-z0-9]$`.
    pub fn parse(text: &str) -> Result<Self> {
        let alphabet = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let ends = text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-');
        if (3..=63).contains(&text.len()) && alphabet && ends {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(
            Field::Name,
            format!(
                "registry name {} is not 3 to 63 lower-case letters, digits and hyphens, a letter first and no hyphen last",
                quoted(text)
            ),
        ))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The days and the time of day at which the registry collects garbage. Kept verbatim and in order, since clients
/// compare the answer with their request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// English names of days.
    pub days: Vec<String>,
    /// A time of day, such as `05:19:00+00:00`, `10:00:00Z` or `10:00:00`.
    pub time: String,
}

impl Schedule {
    /// Refuses invalid days and times of day.
    pub fn check(&self) -> Result<()> {
        let mut violations = Violations::default();
        if self.days.len() > DAYS.len() {
            violations.push(
                Field::GarbageCollectionSchedule,
                format!(
                    "garbageCollectionSchedule.days has {} entries; a week has {}",
                    self.days.len(),
                    DAYS.len()
                ),
            );
        }
        for day in self.days.iter().take(DAYS.len()) {
            if !DAYS.contains(&day.as_str()) {
                violations.push(
                    Field::GarbageCollectionSchedule,
                    format!(
                        "garbageCollectionSchedule.days: {} is none of {}",
                        quoted(day),
                        DAYS.join(", ")
                    ),
                );
            }
        }
        if !is_time_of_day(&self.time) {
            violations.push(
                Field::GarbageCollectionSchedule,
                format!("garbageCollectionSchedule.time: {} is no time of day such as 05:19:00+00:00 or 10:00:00Z", quoted(&self.time)),
            );
        }
        violations.finish(Some(()))
    }
}

/// RFC 3339's full-time; the zone is optional as clients leave it out. It is kept as sent, so the decimals are bounded.
fn is_time_of_day(text: &str) -> bool {
    if !text.is_ascii() {
        return false;
    }
    let zoned = text.strip_suffix(['Z', 'z']).or_else(|| {
        let (time, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
        let zone = zone.strip_prefix(['+', '-'])?;
        // chrono would take blanks for digits.
        let digits = zone.bytes().all(|b| b.is_ascii_digit() || b == b':');
        (zone.len() == 5 && digits && NaiveTime::parse_from_str(zone, "%H:%M").is_ok())
            .then_some(time)
    });
    let time = zoned.unwrap_or(text);
    // `%S` would take one digit.
    time.get(..8).is_some_and(|hms| {
        hms.bytes().enumerate().all(|(i, b)| {
            if i == 2 || i == 5 {
                b == b':'
            } else {
                b.is_ascii_digit()
            }
        })
    }) && time.len() <= "00:00:00.000000000".len()
        && NaiveTime::parse_from_str(time, "%H:%M:%S%.f").is_ok()
        && !time.ends_with('.')
}

/// The features of a registry beside storing images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// Scans images for vulnerabilities; cannot be switched off once on.
    pub vulnerability_scanning: VulnerabilityScanning,
}

impl Default for Features {
    /// On, as the API's schema says.
    fn default() -> Self {
        Self {
            vulnerability_scanning: VulnerabilityScanning {
                enabled: true,
                properties: None,
            },
        }
    }
}

impl Features {
    /// Refuses properties that are larger than a list of registries can carry.
    pub fn check(&self) -> Result<()> {
        let properties = self.vulnerability_scanning.properties.as_ref();
        let size = properties.map_or(Ok(0), |properties| {
            serde_json::to_string(properties).map(|text| text.len())
        });
        let size = size.map_err(Error::internal)?;
        if size <= PROPERTIES {
            return Ok(());
        }
        Err(Error::invalid(
            Field::Features,
            format!(
                "features.vulnerabilityScanning.properties has {size} bytes of JSON; at most {PROPERTIES} are allowed"
            ),
        ))
    }
}

/// The setting for scans of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VulnerabilityScanning {
    /// True if it is on.
    pub enabled: bool,
    /// Kept; the API gives it no meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// Internal key.
    pub key: RegistryKey,
    /// Public id.
    pub id: RegistryId,
    /// Name.
    pub name: String,
    /// The location; one of the locations of the settings at the time it was made.
    pub location: String,
    /// The schedule of garbage collection.
    pub schedule: Option<Schedule>,
    /// The features beside storing images.
    pub features: Features,
    /// The addresses from which its tokens may be used.
    pub api_subnet_allow_list: AllowList,
    /// The trust anchor for JWTs.
    pub verifier: TokenVerifier,
    /// The rules for the life of its tokens.
    pub lives: Lives,
    /// The greatest age of its tokens' secrets; `None` is no limit.
    pub maximum_secret_age: Option<Period>,
    /// When it was frozen, if nothing opens it.
    pub frozen_at: Option<DateTime<Utc>>,
    /// A text for people.
    pub description: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Counts every change.
    pub version: i64,
    /// The account that made it, and the time.
    pub created: Attribution,
    /// The account that last changed it, and the time.
    pub modified: Option<Attribution>,
}

impl Recorded for Registry {
    const KIND: SubjectKind = SubjectKind::Registry;

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn registry(&self) -> Option<RegistryId> {
        Some(self.id)
    }

    fn record(&self) -> Value {
        let Self {
            key: _,
            id: _,
            name,
            location,
            schedule,
            features,
            api_subnet_allow_list,
            verifier,
            lives,
            maximum_secret_age,
            frozen_at,
            description,
            labels,
            version,
            created: _,
            modified: _,
        } = self;
        let mut record = json!({
            "name": name,
            "location": location,
            "schedule": schedule,
            "features": features,
            "subnets": api_subnet_allow_list,
            "verifier": verifier.as_str(),
            "defaultTokenLife": lives.default.map(|life| life.to_string()),
            "maximumTokenLife": lives.maximum.map(|life| life.to_string()),
            "maximumSecretAge": maximum_secret_age.map(|age| age.to_string()),
            "version": version,
        });
        if let Value::Object(record) = &mut record {
            let description = description.as_ref().map(|text| json!(text));
            let labels = (!labels.is_empty()).then(|| json!(labels));
            let frozen = frozen_at.map(|_| json!(true));
            let told = [
                ("frozen", frozen),
                ("description", description),
                ("labels", labels),
            ];
            let told = told
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)));
            record.extend(told);
        }
        record
    }
}

/// The settings that narrow all credentials of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Restrictions<'a> {
    api_subnet_allow_list: &'a AllowList,
    maximum_secret_age: Option<Period>,
    frozen: bool,
}

impl Credential for Restrictions<'_> {
    type Held = Rights;

    /// Lifting one gives new use to secrets that anybody may have, of tokens that may open all images.
    fn require_held(&self, held: &Rights) -> Result<()> {
        let lacks = held.images.lacks_of(Images::Delete);
        if lacks.is_empty() {
            return Ok(());
        }
        Err(Error::Forbidden(format!(
            "thawing this registry, a wider apiSubnetAllowList or a longer maximumSecretAge extends the use of every \
             token of it, and you may not {} its images; nobody obtains more rights than they have",
            lacks.join(" or ")
        )))
    }
}

impl Changeable for Restrictions<'_> {
    fn is_wider_than(&self, before: &Self) -> bool {
        let older = match (self.maximum_secret_age, before.maximum_secret_age) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(age), Some(before)) => age > before,
        };
        older
            || (before.frozen && !self.frozen)
            || !self
                .api_subnet_allow_list
                .is_within(before.api_subnet_allow_list)
    }
}

impl Registry {
    /// The settings that narrow all its credentials.
    #[must_use]
    pub fn restrictions(&self) -> Restrictions<'_> {
        Restrictions {
            api_subnet_allow_list: &self.api_subnet_allow_list,
            maximum_secret_age: self.maximum_secret_age,
            frozen: self.frozen_at.is_some(),
        }
    }

    /// The tag of its state.
    #[must_use]
    pub fn tag(&self) -> Tag {
        Tag {
            key: self.key.0,
            version: self.version,
            state: 0,
        }
    }

    /// Replaces all fields but the name and the location, which cannot change. Returns true if anything changed.
    pub fn replace(&mut self, new: NewRegistry, server: Lives, now: DateTime<Utc>) -> Result<bool> {
        let NewRegistry {
            name,
            location,
            schedule,
            features,
            api_subnet_allow_list,
            verifier,
            lives,
            maximum_secret_age,
            frozen,
            description,
            labels,
        } = new;
        let patch = RegistryPatch {
            name: Some(name.as_str().to_owned()),
            location: Some(location),
            schedule: schedule.into(),
            features: Some(features),
            api_subnet_allow_list: Some(api_subnet_allow_list),
            verifier,
            lives,
            maximum_secret_age,
            frozen,
            description,
            labels,
        };
        self.update(patch, server, now)
    }

    /// Applies a patch, on a server with these rules. Returns true if anything changed.
    pub fn update(
        &mut self,
        patch: RegistryPatch,
        server: Lives,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let RegistryPatch {
            name,
            location,
            schedule,
            features,
            api_subnet_allow_list,
            verifier,
            lives,
            maximum_secret_age,
            frozen,
            description,
            labels,
        } = patch;
        let mut violations = Violations::default();
        if let Some(name) = name.filter(|name| *name != self.name) {
            violations.push(
                Field::Name,
                format!(
                    "\"name\" cannot be changed: this registry is named {}, not {}",
                    self.name,
                    quoted(&name)
                ),
            );
        }
        if let Some(location) = location.filter(|location| *location != self.location) {
            violations.push(
                Field::Location,
                format!(
                    "\"location\" cannot be changed: this registry is in {}, not {}",
                    self.location,
                    quoted(&location)
                ),
            );
        }
        violations.finish(Some(()))?;
        let before = self.clone();
        if let Some(schedule) = schedule.change() {
            self.schedule = schedule;
        }
        if let Some(features) = features {
            if self.features.vulnerability_scanning.enabled
                && !features.vulnerability_scanning.enabled
            {
                return Err(Error::invalid(
                    Field::Features,
                    "features.vulnerabilityScanning cannot be switched off once it is on; send enabled: true, or leave it out of a PATCH",
                ));
            }
            self.features = features;
        }
        if let Some(api_subnet_allow_list) = api_subnet_allow_list {
            self.api_subnet_allow_list = api_subnet_allow_list;
        }
        if let Some(verifier) = verifier {
            self.verifier = verifier;
        }
        let lives = self.lives.changed(lives);
        // A value that was valid when it was set can be sent back, even if the server's maximum is lower now.
        if lives != self.lives {
            lives.check(server)?;
        }
        self.lives = lives;
        if let Some(maximum_secret_age) = maximum_secret_age.change() {
            self.maximum_secret_age = maximum_secret_age;
        }
        if let Some(frozen) = frozen {
            // Frozen again, it has been frozen since the first time.
            self.frozen_at = frozen.then(|| self.frozen_at.unwrap_or(now));
        }
        if let Some(description) = description.change() {
            self.description = description;
        }
        if let Some(labels) = labels {
            self.labels = labels;
        }
        Ok(before != *self)
    }
}

/// A new registry, or the replacement of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRegistry {
    /// Name.
    pub name: RegistryName,
    /// The location.
    pub location: String,
    /// The schedule of garbage collection.
    pub schedule: Option<Schedule>,
    /// The features beside storing images.
    pub features: Features,
    /// The addresses from which its tokens may be used.
    pub api_subnet_allow_list: AllowList,
    /// The trust anchor for JWTs. `None` is the default for a new registry, and leaves a replaced one as it is: a
    /// client that does not know the field must not lock out a registry that trusts one key.
    pub verifier: Option<TokenVerifier>,
    /// The rules for the life of its tokens. If a field is missing, a new registry gets no such rule, and a replaced one
    /// keeps its rule: a client that does not know the fields must not remove the rules.
    pub lives: LivesPatch,
    /// The greatest age of its tokens' secrets, likewise.
    pub maximum_secret_age: Patch<Period>,
    /// True if nothing is to open it. `None` is open for a new registry, and leaves a replaced one as it is: a client that
    /// does not know the field must not thaw one.
    pub frozen: Option<bool>,
    /// A text for people; [`Patch::Keep`] is none for a new registry, and leaves a replaced one as it is.
    pub description: Patch<String>,
    /// Its labels. `None` is none for a new registry, and leaves a replaced one as it is.
    pub labels: Option<Labels>,
}

impl NewRegistry {
    /// The registry, before the store gives it a key.
    #[must_use]
    pub fn made(&self, id: RegistryId, created: &Attribution) -> Registry {
        let Self {
            name,
            location,
            schedule,
            features,
            api_subnet_allow_list,
            verifier,
            lives,
            maximum_secret_age,
            frozen,
            description,
            labels,
        } = self;
        Registry {
            key: RegistryKey(0),
            id,
            name: name.as_str().to_owned(),
            location: location.clone(),
            schedule: schedule.clone(),
            features: features.clone(),
            api_subnet_allow_list: api_subnet_allow_list.clone(),
            verifier: verifier.unwrap_or_default(),
            lives: Lives::default().changed(*lives),
            maximum_secret_age: maximum_secret_age.value(),
            frozen_at: frozen.unwrap_or(false).then_some(created.at),
            description: description.clone().value(),
            labels: labels.clone().unwrap_or_default(),
            version: 1,
            created: created.clone(),
            modified: None,
        }
    }
}

/// Changes to a registry; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryPatch {
    /// The name that the caller read. It cannot be changed, so another one is refused.
    pub name: Option<String>,
    /// The location that the caller read, likewise.
    pub location: Option<String>,
    /// Changes the schedule.
    pub schedule: Patch<Schedule>,
    /// Replaces the features.
    pub features: Option<Features>,
    /// Replaces the allow list; an empty one lifts the restriction.
    pub api_subnet_allow_list: Option<AllowList>,
    /// Changes the trust anchor for JWTs.
    pub verifier: Option<TokenVerifier>,
    /// Changes the rules for the life of its tokens.
    pub lives: LivesPatch,
    /// Changes the greatest age of its tokens' secrets.
    pub maximum_secret_age: Patch<Period>,
    /// Freezes the registry, or thaws it.
    pub frozen: Option<bool>,
    /// Changes the text for people.
    pub description: Patch<String>,
    /// Replaces all labels.
    pub labels: Option<Labels>,
}

impl RegistryPatch {
    /// Returns true if it freezes the registry and changes nothing else.
    #[must_use]
    pub fn only_freezes(&self) -> bool {
        let frozen = Some(true);
        *self
            == Self {
                frozen,
                ..Self::default()
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_pattern() {
        for right in ["abc", "a-1", &format!("a{}z", "-".repeat(61))] {
            assert!(RegistryName::parse(right).is_ok(), "{right:?} was refused");
        }
        for wrong in [
            "",
            "ab",
            "Abc",
            "1bc",
            "ab-",
            "a_c",
            "a.c",
            "abc\n",
            "a\0c",
            &"a".repeat(64),
        ] {
            assert!(
                RegistryName::parse(wrong).is_err(),
                "{wrong:?} was accepted"
            );
        }
    }

    #[test]
    fn times_of_day_as_clients_send_them() {
        for right in [
            "01:23:00+00:00",
            "05:19:00+00:00",
            "10:00:00Z",
            "10:00:00",
            "10:00:00.5Z",
            "23:59:59-11:30",
        ] {
            assert!(is_time_of_day(right), "{right:?} was refused");
        }
        for wrong in [
            "",
            "Z",
            "10:00",
            "24:00:00",
            "1:00:00",
            "10:00:00+1",
            "10:00:00+25:00",
            "10:00:00.Z",
            "10:00:00.0000000000",
            "10:00:00.0000000000Z",
            "10:00:00 Z",
            "noon",
            "１０:00:00",
        ] {
            assert!(!is_time_of_day(wrong), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn a_week_has_seven_days() {
        let check = |day: &str, count| {
            let schedule = Schedule {
                days: vec![day.to_owned(); count],
                time: "10:00:00.123456789+00:00".to_owned(),
            };
            schedule.check()
        };
        assert!(check("Monday", 7).is_ok());
        let error = check("Monday", 100_000).unwrap_err().to_string();
        assert_eq!(
            error,
            "garbageCollectionSchedule.days has 100000 entries; a week has 7"
        );
        // A message names only a few of many faults.
        assert!(check("", 100_000).unwrap_err().to_string().len() < 2000);
    }

    #[test]
    fn verifiers_are_what_they_are_called_and_the_unknown_rotates_nothing() {
        for verifier in [TokenVerifier::X5c, TokenVerifier::Pinned] {
            assert_eq!(TokenVerifier::parse(verifier.as_str()).unwrap(), verifier);
            assert_eq!(TokenVerifier::from_stored(verifier.as_str()), verifier);
        }
        assert_eq!(TokenVerifier::default(), TokenVerifier::X5c);
        assert_eq!(TokenVerifier::from_stored("later"), TokenVerifier::Pinned);
        for wrong in ["", "X5C", "Pinned", "x5c ", "jwks"] {
            let error = TokenVerifier::parse(wrong).unwrap_err().to_string();
            let expected = format!("tokenVerifier {wrong:?} is neither \"x5c\" nor \"pinned\"");
            assert_eq!(error, expected);
        }
    }
}
