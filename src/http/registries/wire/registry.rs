//! Registries on the wire.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::labels::{LabelsSchema, SentLabels, to_labels};
use super::{Links, Metadata, nullable_list};
use crate::domain::allow_list::AllowList;
use crate::domain::description::parse_description;
use crate::domain::labels::Labels;
use crate::domain::life::{Lives, LivesPatch, parse_life};
use crate::domain::patch::Patch;
use crate::domain::period::Period;
use crate::domain::registry::{self, NewRegistry, RegistryName, RegistryPatch};
use crate::domain::rotation::parse_maximum_age;
use crate::domain::token_verifier::TokenVerifier;
use crate::error::{Error, Field, Result, Violations};
use crate::http::schema::described_word;

/// When a registry collects garbage; kept as sent
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WeeklySchedule)]
pub(in super::super) struct Schedule {
    /// English names of days
    #[serde(deserialize_with = "nullable_list")]
    #[schema(value_type = Option<Vec<Weekday>>, required = true, max_items = 7, example = json!(["Monday", "Tuesday"]))]
    days: Vec<String>,
    /// UTC time of day
    #[schema(
        pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?$",
        example = "05:19:00+00:00"
    )]
    time: String,
}

/// A day of the week.
struct Weekday;

impl PartialSchema for Weekday {
    fn schema() -> RefOr<Schema> {
        described_word("A day of the week", registry::DAYS.into_iter(), "Monday").into()
    }
}

impl ToSchema for Weekday {}

impl TryFrom<Schedule> for registry::Schedule {
    type Error = Error;

    fn try_from(schedule: Schedule) -> Result<Self> {
        let schedule = Self {
            days: schedule.days,
            time: schedule.time,
        };
        schedule.check().map(|()| schedule)
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = RegistryFeatures)]
struct Features {
    #[schema(nullable = false)]
    vulnerability_scanning: Option<VulnerabilityScanning>,
}

/// Scanning for vulnerabilities; cannot be switched off once on
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeatureVulnerabilityScanning)]
struct VulnerabilityScanning {
    #[schema(example = true)]
    enabled: bool,
    /// Kept, up to 4096 bytes of JSON; absent if none were sent
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::HashMap<String, serde_json::Value>>, nullable = false)]
    properties: Option<serde_json::Map<String, serde_json::Value>>,
}

impl TryFrom<Features> for registry::Features {
    type Error = Error;

    fn try_from(features: Features) -> Result<Self> {
        let Some(scanning) = features.vulnerability_scanning else {
            return Ok(Self::default());
        };
        let features = Self {
            vulnerability_scanning: registry::VulnerabilityScanning {
                enabled: scanning.enabled,
                properties: scanning.properties,
            },
        };
        features.check().map(|()| features)
    }
}

impl From<registry::Features> for Features {
    fn from(features: registry::Features) -> Self {
        let registry::VulnerabilityScanning {
            enabled,
            properties,
        } = features.vulnerability_scanning;
        Self {
            vulnerability_scanning: Some(VulnerabilityScanning {
                enabled,
                properties,
            }),
        }
    }
}

/// How much a registry stores
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StorageUsage {
    /// Always 0: images are the registry's own data
    #[schema(example = 0)]
    bytes: i64,
}

/// The description of [`Verifier`] in the document.
const VERIFIER: &str = "The key that the registry trusts when it verifies a JWT of this service.\n\n* `x5c`: this registry's CA, for good, since a JWT carries its certificate. The signing key rotates on schedule, with no restart. Distribution 2.8 and 3.\n\n* `pinned`: one key, since a JWT carries only a key id. The key changes only on command, and then the registry has to be given the new one and restarted. zot, or Distribution with `jwks` only.";

/// How a registry verifies a JWT.
// Without `default`: a generated client would send it, and lock out a registry that trusts one key.
struct Verifier;

impl PartialSchema for Verifier {
    fn schema() -> RefOr<Schema> {
        let words = TokenVerifier::ALL.into_iter().map(TokenVerifier::as_str);
        described_word(VERIFIER, words, "x5c").into()
    }
}

impl ToSchema for Verifier {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("TokenVerifier")
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegistryProperties {
    /// The registry's name
    #[schema(example = "team-a")]
    name: String,
    /// The location
    #[schema(example = "de/fra")]
    location: String,
    /// The host that clients log in to; empty in the answer that made the registry
    #[schema(example = "team-a.localhost")]
    hostname: String,
    /// When it collects garbage; null if it has no schedule
    #[schema(required)]
    garbage_collection_schedule: Option<Schedule>,
    storage_usage: StorageUsage,
    features: Features,
    /// Addresses and networks that may use its tokens; an empty list is no restriction
    #[schema(example = json!(["0.0.0.0/0", "::/0"]))]
    api_subnet_allow_list: Vec<String>,
    #[schema(value_type = Verifier)]
    token_verifier: &'static str,
    /// The life of a token that is made without an expiry date; absent without such a rule
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "P90D")]
    default_token_life: Option<String>,
    /// How far ahead a token's end may lie when it is set; absent without such a rule
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "P3650D")]
    maximum_token_life: Option<String>,
    /// How old the secret of a token may become; absent if it may be of any age
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "P90D")]
    maximum_secret_age: Option<String>,
    /// True if the registry is frozen, so that nothing opens it; absent if it is not
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = true)]
    frozen: Option<bool>,
    /// A text for people; absent without one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Images of the payments team")]
    description: Option<String>,
    /// The labels of the registry; absent without any
    #[serde(skip_serializing_if = "Labels::is_empty")]
    #[schema(value_type = LabelsSchema, required = false)]
    labels: Labels,
}

/// A registry
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryResponse)]
pub(in super::super) struct RegistryView {
    /// The registry's id
    #[schema(format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    id: String,
    #[schema(example = "registry")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    metadata: Metadata,
    properties: RegistryProperties,
}

impl RegistryView {
    /// A new registry: `New` and without host name, as in the product, in the first answer only. Neither is stored.
    pub(in super::super) fn created(registry: registry::Registry) -> Self {
        Self::with_state(registry, "New", String::new())
    }

    /// A registry in all later answers. Terraform waits for this state.
    pub(in super::super) fn new(registry: registry::Registry, hostname: String) -> Self {
        Self::with_state(registry, "Running", hostname)
    }

    fn with_state(registry: registry::Registry, state: &'static str, hostname: String) -> Self {
        let registry::Registry {
            key: _,
            id,
            name,
            location,
            schedule,
            features,
            api_subnet_allow_list,
            verifier,
            lives: Lives { default, maximum },
            maximum_secret_age,
            frozen_at,
            description,
            labels,
            version: _,
            created,
            modified,
        } = registry;
        Self {
            id: id.to_string(),
            r#type: "registry",
            href: "",
            metadata: Metadata::new(created, modified, state),
            properties: RegistryProperties {
                name,
                location,
                hostname,
                garbage_collection_schedule: schedule.map(|schedule| Schedule {
                    days: schedule.days,
                    time: schedule.time,
                }),
                storage_usage: StorageUsage { bytes: 0 },
                features: features.into(),
                api_subnet_allow_list: api_subnet_allow_list.entries().to_vec(),
                token_verifier: verifier.as_str(),
                default_token_life: default.map(|life| life.to_string()),
                maximum_token_life: maximum.map(|life| life.to_string()),
                maximum_secret_age: maximum_secret_age.map(|age| age.to_string()),
                frozen: frozen_at.map(|_| true),
                description,
                labels,
            },
        }
    }
}

/// The position of the next page
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Pagination {
    /// The most elements on this page
    #[schema(example = 100)]
    pub(in super::super) limit: i64,
    /// `pagination.token` of the next page; empty on the last
    #[schema(example = "")]
    pub(in super::super) token: String,
}

/// A page of registries
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistriesResponse)]
pub(in super::super) struct RegistryList {
    #[schema(example = "registries")]
    pub(in super::super) id: &'static str,
    #[schema(example = "collection")]
    pub(in super::super) r#type: &'static str,
    #[schema(example = "")]
    pub(in super::super) href: &'static str,
    pub(in super::super) items: Vec<RegistryView>,
    pub(in super::super) pagination: Pagination,
    #[serde(rename = "_links")]
    pub(in super::super) links: Links,
}

/// The properties of a new registry, or of one that is replaced
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostRegistryInput)]
pub(in super::super) struct CreateRegistry {
    properties: CreateRegistryProperties,
    #[serde(default, rename = "id")]
    #[schema(ignore)]
    _id: IgnoredAny,
    #[serde(default, rename = "type")]
    #[schema(ignore)]
    _type: IgnoredAny,
    #[serde(default, rename = "href")]
    #[schema(ignore)]
    _href: IgnoredAny,
    #[serde(default, rename = "metadata")]
    #[schema(ignore)]
    _metadata: IgnoredAny,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PostRegistryProperties)]
struct CreateRegistryProperties {
    /// The registry's name, unique in this service; cannot be changed
    #[schema(
        pattern = r"^[a-z][-a-z0-9]{1,61}[a-z0-9]$",
        min_length = 3,
        max_length = 63,
        example = "team-a"
    )]
    name: String,
    /// The location, one of `/locations`; cannot be changed
    #[schema(pattern = "^[-A-Za-z0-9]+/[-A-Za-z0-9]+$", example = "de/fra")]
    location: String,
    garbage_collection_schedule: Option<Schedule>,
    /// Scanning is on if absent
    #[schema(nullable = false)]
    features: Option<Features>,
    /// Up to 25 addresses or networks that may use its tokens, kept as sent; an empty list is no restriction
    #[schema(max_items = 25, example = json!(["0.0.0.0/0", "::/0"]))]
    api_subnet_allow_list: Option<Vec<String>>,
    /// The key that verifies its JWTs. Absent: `x5c` for a new registry, unchanged for one that is replaced
    #[schema(value_type = Option<Verifier>, nullable = false)]
    token_verifier: Option<String>,
    /// The life of a token that is made without an expiry date; null is no rule, absent leaves the rule as it is
    #[serde(default)]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    default_token_life: Patch<String>,
    /// How far ahead a token's end may lie when it is set; null is no rule, absent leaves the rule as it is
    #[serde(default)]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P3650D"
    )]
    maximum_token_life: Patch<String>,
    /// How old the secret of a token may become, from PT1H; an older secret opens nothing. Null is any age, absent leaves it as it is
    #[serde(default)]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    maximum_secret_age: Patch<String>,
    /// True freezes the registry: no token, account or JWT opens it at `/token` or `/v2/check`. False thaws it. Absent: a new registry is open, one that is replaced stays as it is
    #[schema(nullable = false, example = false)]
    frozen: Option<bool>,
    /// A text for people; null is no text. Absent: no text for a new registry, unchanged for one that is replaced
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$", example = "Images of the team for accounts")]
    description: Patch<String>,
    /// Null and `{}` are none. Absent: none for a new registry, unchanged for one that is replaced
    #[serde(default)]
    #[schema(value_type = Option<LabelsSchema>)]
    labels: Patch<SentLabels>,
    /// The product once had it; clients of that time still send it.
    #[serde(default, rename = "maintenanceWindow")]
    #[schema(ignore)]
    _maintenance_window: IgnoredAny,
    #[serde(default, rename = "hostname")]
    #[schema(ignore)]
    _hostname: IgnoredAny,
    #[serde(default, rename = "storageUsage")]
    #[schema(ignore)]
    _storage_usage: IgnoredAny,
}

impl TryFrom<CreateRegistry> for NewRegistry {
    type Error = Error;

    fn try_from(body: CreateRegistry) -> Result<Self> {
        let CreateRegistryProperties {
            name,
            location,
            garbage_collection_schedule,
            features,
            api_subnet_allow_list,
            token_verifier,
            default_token_life,
            maximum_token_life,
            maximum_secret_age,
            frozen,
            description,
            labels,
            _maintenance_window: _,
            _hostname: _,
            _storage_usage: _,
        } = body.properties;
        let mut violations = Violations::default();
        let name = violations.take(RegistryName::parse(&name));
        let schedule = garbage_collection_schedule.map(registry::Schedule::try_from);
        let schedule = violations.take(schedule.transpose());
        let api_subnet_allow_list = api_subnet_allow_list.unwrap_or_default();
        let api_subnet_allow_list = violations.take(AllowList::of_registry(api_subnet_allow_list));
        let features = features.map(registry::Features::try_from);
        let features = violations.take(features.transpose());
        let verifier = violations.take(to_verifier(token_verifier.as_deref()));
        let lives = violations.take(to_lives(default_token_life, maximum_token_life));
        let maximum_secret_age = violations.take(to_maximum_age(maximum_secret_age));
        let description = violations.take(description.try_map(parse_description));
        let labels = violations.take(to_labels(labels));
        let new = (|| {
            Some(Self {
                name: name?,
                location,
                schedule: schedule?,
                features: features?.unwrap_or_default(),
                api_subnet_allow_list: api_subnet_allow_list?,
                verifier: verifier?,
                lives: lives?,
                maximum_secret_age: maximum_secret_age?,
                frozen,
                description: description?,
                labels: labels?,
            })
        })();
        violations.finish(new)
    }
}

fn to_verifier(text: Option<&str>) -> Result<Option<TokenVerifier>> {
    text.map(TokenVerifier::parse).transpose()
}

fn to_maximum_age(sent: Patch<String>) -> Result<Patch<Period>> {
    sent.try_map(|age| parse_maximum_age(&age))
}

fn to_lives(default: Patch<String>, maximum: Patch<String>) -> Result<LivesPatch> {
    let mut violations = Violations::default();
    let mut read = |member, field, sent: Patch<String>| {
        violations.take(sent.try_map(|text| parse_life(member, field, &text)))
    };
    let default = read("defaultTokenLife", Field::DefaultTokenLife, default);
    let maximum = read("maximumTokenLife", Field::MaximumTokenLife, maximum);
    let patch = (|| {
        Some(LivesPatch {
            default: default?,
            maximum: maximum?,
        })
    })();
    violations.finish(patch)
}

/// Changes to a registry; what is absent stays
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PatchRegistryInput)]
pub(in super::super) struct PatchRegistry {
    /// Replaces the schedule; null removes it, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<Schedule>)]
    garbage_collection_schedule: Patch<Schedule>,
    #[schema(nullable = false)]
    features: Option<Features>,
    /// Replaces the allow list; an empty one lifts the restriction, null and absent leave it as it is
    #[schema(max_items = 25, example = json!(["0.0.0.0/0", "::/0"]))]
    api_subnet_allow_list: Option<Vec<String>>,
    /// Changes the key that verifies its JWTs
    #[schema(value_type = Option<Verifier>, nullable = false)]
    token_verifier: Option<String>,
    /// The life of a token that is made without an expiry date; null is no rule, absent leaves the rule as it is
    #[serde(default)]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    default_token_life: Patch<String>,
    /// How far ahead a token's end may lie when it is set; null is no rule, absent leaves the rule as it is
    #[serde(default)]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P3650D"
    )]
    maximum_token_life: Patch<String>,
    /// Changes how old the secret of a token may become, from PT1H; null is any age, absent leaves it as it is
    #[serde(default)]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    maximum_secret_age: Patch<String>,
    /// True freezes the registry: from the next request on no token, account or JWT opens it at `/token` or `/v2/check`. False thaws it
    #[schema(nullable = false, example = false)]
    frozen: Option<bool>,
    /// Replaces the text for people; null removes it, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$", example = "Images of the team for accounts")]
    description: Patch<String>,
    /// Replaces all labels; null and `{}` remove them, absent leaves them as they are
    #[serde(default)]
    #[schema(value_type = Option<LabelsSchema>)]
    labels: Patch<SentLabels>,
    #[schema(ignore)]
    name: Option<String>,
    #[schema(ignore)]
    location: Option<String>,
    #[serde(default, rename = "hostname")]
    #[schema(ignore)]
    _hostname: IgnoredAny,
    #[serde(default, rename = "storageUsage")]
    #[schema(ignore)]
    _storage_usage: IgnoredAny,
    #[serde(default, rename = "maintenanceWindow")]
    #[schema(ignore)]
    _maintenance_window: IgnoredAny,
    #[serde(default, rename = "id")]
    #[schema(ignore)]
    _id: IgnoredAny,
    #[serde(default, rename = "type")]
    #[schema(ignore)]
    _type: IgnoredAny,
    #[serde(default, rename = "href")]
    #[schema(ignore)]
    _href: IgnoredAny,
    #[serde(default, rename = "metadata")]
    #[schema(ignore)]
    _metadata: IgnoredAny,
}

impl TryFrom<PatchRegistry> for RegistryPatch {
    type Error = Error;

    fn try_from(body: PatchRegistry) -> Result<Self> {
        let PatchRegistry {
            name,
            location,
            garbage_collection_schedule,
            features,
            api_subnet_allow_list,
            token_verifier,
            default_token_life,
            maximum_token_life,
            maximum_secret_age,
            frozen,
            description,
            labels,
            _maintenance_window: _,
            _hostname: _,
            _storage_usage: _,
            _id: _,
            _type: _,
            _href: _,
            _metadata: _,
        } = body;
        let mut violations = Violations::default();
        let schedule = garbage_collection_schedule.try_map(registry::Schedule::try_from);
        let schedule = violations.take(schedule);
        let api_subnet_allow_list = api_subnet_allow_list.map(AllowList::of_registry);
        let api_subnet_allow_list = violations.take(api_subnet_allow_list.transpose());
        // In a PATCH, features without scanning leave it unchanged.
        let features = features
            .filter(|features| features.vulnerability_scanning.is_some())
            .map(registry::Features::try_from);
        let features = violations.take(features.transpose());
        let verifier = violations.take(to_verifier(token_verifier.as_deref()));
        let lives = violations.take(to_lives(default_token_life, maximum_token_life));
        let maximum_secret_age = violations.take(to_maximum_age(maximum_secret_age));
        let description = violations.take(description.try_map(parse_description));
        let labels = violations.take(to_labels(labels));
        let patch = (|| {
            Some(Self {
                name,
                location,
                schedule: schedule?,
                features: features?,
                api_subnet_allow_list: api_subnet_allow_list?,
                verifier: verifier?,
                lives: lives?,
                maximum_secret_age: maximum_secret_age?,
                frozen,
                description: description?,
                labels: labels?,
            })
        })();
        violations.finish(patch)
    }
}
