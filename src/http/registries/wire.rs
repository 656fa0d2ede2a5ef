//! The bodies of this surface, and their translation to and from the domain.
//!
//! Unknown members are refused, since a mistyped `expiryDate` must not make a token that never expires; members that
//! a client sends back after a GET are read and ignored.

use super::super::pieces::Items;
use super::super::shown::Shown;
use chrono::{DateTime, SecondsFormat, Utc};
use secrecy::SecretString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::Stamp;
use crate::domain::allow_list::AllowList;
use crate::domain::life::{LivesPatch, parse_life};
use crate::domain::period::Period;
use crate::domain::registry::{self, NewRegistry, RegistryName, RegistryPatch, TokenVerifier};
use crate::domain::rotation::{Secrets, parse_maximum_age};
use crate::domain::scope_warning::ScopeWarning;
use crate::domain::status::Status;
use crate::domain::token::{
    self, LastUse, NewToken, TokenName, TokenPatch, VerbatimScopes, check_scopes, parse_expiry,
};
use crate::error::{Error, Field, Result, Violations};

/// RFC 3339 in UTC with a literal `Z`: the Go SDK 2.x appends a `Z` to a time that has none at its end, so an offset
/// would break every read of it.
pub(super) fn rfc3339(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Tells an absent member (`None`) from a null one (`Some(None)`).
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Who made and changed a resource, and its state
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiResourceMetadata)]
pub(super) struct Metadata {
    /// Name of the account that made the resource
    #[schema(example = "alice@example.com")]
    created_by: String,
    /// Id of the account that made the resource
    #[schema(value_type = String, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    created_by_user_id: Uuid,
    /// When the resource was made
    #[schema(format = DateTime, example = "2026-11-21T21:48:08Z")]
    created_date: String,
    /// Name of the account that last changed the resource; absent until then
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "alice@example.com")]
    last_modified_by: Option<String>,
    /// Id of the account that last changed the resource; absent until then
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    last_modified_by_user_id: Option<Uuid>,
    /// When the resource was last changed; absent until then
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2026-11-21T22:10:00Z")]
    last_modified_date: Option<String>,
    /// When the token was last used: the first use is shown within two seconds, later ones within a minute; absent until then, and for registries
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-22T06:30:00Z")]
    last_used_date: Option<String>,
    /// Address from which the token was last used: the other end of the connection; absent until it is used
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "192.0.2.17")]
    last_used_address: Option<String>,
    /// Repository that the token was last used for; a login names none and leaves it as it is; absent until one is named
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "team/app")]
    last_used_repository: Option<String>,
    /// When the token's secret was made; absent for registries
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-21T22:10:00Z")]
    secret_created_date: Option<String>,
    /// When the token's secret is as old as its registry lets it become, and opens nothing more; absent if it may be of
    /// any age
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2027-02-19T22:10:00Z")]
    secret_expiry_date: Option<String>,
    /// When the secret before the current one ends; absent unless it still works
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-22T22:10:00Z")]
    previous_secret_expiry_date: Option<String>,
    /// Scopes of a token that grant nothing, as far as their text tells; absent without such, and only in the answers that
    /// made or changed the token
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<WarningView>,
    /// What the resource is doing
    #[schema(example = "enabled")]
    state: &'static str,
}

/// Why a scope, or a part of it, grants nothing
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScopeWarning)]
pub(super) struct WarningView {
    /// The scope's place among the token's scopes, from 0
    #[schema(example = 0)]
    scope: usize,
    /// Why, and what would be right, for people
    #[schema(example = "the action \"Pull\" grants nothing; did you mean pull?")]
    message: String,
}

impl From<ScopeWarning> for WarningView {
    fn from(ScopeWarning { scope, message }: ScopeWarning) -> Self {
        Self { scope, message }
    }
}

impl Metadata {
    fn new(created: Stamp, modified: Option<Stamp>, state: &'static str) -> Self {
        let (at, by, by_name) = match modified {
            Some(stamp) => (
                Some(rfc3339(stamp.at)),
                Some(stamp.by.0),
                Some(stamp.by_name),
            ),
            None => (None, None, None),
        };
        Self {
            created_by: created.by_name,
            created_by_user_id: created.by.0,
            created_date: rfc3339(created.at),
            last_modified_by: by_name,
            last_modified_by_user_id: by,
            last_modified_date: at,
            last_used_date: None,
            last_used_address: None,
            last_used_repository: None,
            secret_created_date: None,
            secret_expiry_date: None,
            previous_secret_expiry_date: None,
            warnings: Vec::new(),
            state,
        }
    }

    fn opened_by(
        mut self,
        secrets: Secrets,
        created_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Self {
        let made_at = secrets.made_at;
        // Of most tokens the first secret is the only one.
        self.secret_created_date = Some(if made_at == created_at {
            self.created_date.clone()
        } else {
            rfc3339(made_at)
        });
        self.secret_expiry_date = secrets.end().map(rfc3339);
        let previous = secrets.previous_end().filter(|end| *end > now);
        self.previous_secret_expiry_date = previous.map(rfc3339);
        self
    }

    fn used(mut self, last: Option<LastUse>) -> Self {
        if let Some(last) = last {
            self.last_used_date = Some(rfc3339(last.at));
            self.last_used_address = last.address.map(|address| address.to_string());
            self.last_used_repository = last.repository;
        }
        self
    }
}

/// Pages beside this one; an empty string where there is none
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaginationLinks)]
pub(super) struct Links {
    /// The page before
    #[schema(example = "")]
    pub(super) previous: String,
    /// This page
    #[serde(rename = "self")]
    #[schema(example = "http://127.0.0.1:8080/registries?limit=100")]
    pub(super) this: String,
    /// The page after
    #[schema(example = "")]
    pub(super) next: String,
}

/// A place where registries can be made
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Location)]
pub(super) struct LocationItem {
    /// Its id, as registries name it
    #[schema(example = "de/fra")]
    pub(super) id: String,
}

/// Where registries can be made
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LocationsResponse {
    #[schema(example = "locations")]
    pub(super) id: &'static str,
    #[schema(example = "collection")]
    pub(super) r#type: &'static str,
    #[schema(example = "")]
    pub(super) href: &'static str,
    pub(super) items: Vec<LocationItem>,
}

/// What a token may do with which resource; kept as sent and in order
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scope {
    /// What may be done
    #[serde(deserialize_with = "nullable_list")]
    #[schema(value_type = Option<Vec<ScopeText>>, required = true, max_items = 20, example = json!(["pull", "push"]))]
    actions: Vec<String>,
    /// Which resource
    #[schema(max_length = 256, pattern = r"^[^\x00-\x1F\x7F]*$", example = "*")]
    name: String,
    /// The resource's type
    #[schema(
        max_length = 256,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "repository"
    )]
    r#type: String,
}

/// Any text without control characters
#[derive(ToSchema)]
#[schema(max_length = 256, pattern = r"^[^\x00-\x1F\x7F]*$", example = "pull")]
#[expect(dead_code, reason = "only its shape is used")]
struct ScopeText(String);

/// Go clients send `null` for an empty list.
pub(super) fn nullable_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A token's scopes on their way out. They are kept in the form in which they are shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Scopes {
    Read(Vec<token::Scope>),
    Verbatim(VerbatimScopes),
}

impl From<Vec<token::Scope>> for Scopes {
    fn from(scopes: Vec<token::Scope>) -> Self {
        Self::Read(scopes)
    }
}

impl From<VerbatimScopes> for Scopes {
    fn from(scopes: VerbatimScopes) -> Self {
        Self::Verbatim(scopes)
    }
}

fn to_scopes(scopes: Vec<Scope>) -> Result<Vec<token::Scope>> {
    let scopes: Vec<_> = scopes
        .into_iter()
        .map(|scope| token::Scope {
            actions: scope.actions,
            name: scope.name,
            r#type: scope.r#type,
        })
        .collect();
    check_scopes(&scopes).map(|()| scopes)
}

/// What a client logs in to the registry with
#[derive(Debug, Serialize, ToSchema)]
struct Credentials {
    /// The user name: the token's name
    #[schema(example = "push-token")]
    username: String,
    /// The secret; only in the answer that made the token, else an empty string
    #[schema(value_type = String, example = "")]
    password: Shown,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokenProperties {
    /// Addresses and networks that the token may be used from; absent if it may be from all that its registry allows
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false, example = json!(["0.0.0.0/0", "::/0"]))]
    allowed_cidrs: Vec<String>,
    credentials: Credentials,
    /// When the token stops to work; null if never
    #[schema(required, format = DateTime, example = "2027-01-13T16:27:42Z")]
    expiry_date: Option<String>,
    /// The token's name, unique in the registry
    #[schema(example = "push-token")]
    name: String,
    #[schema(value_type = Vec<Scope>)]
    scopes: Scopes,
    /// Whether the token is in use
    #[schema(value_type = TokenStatus)]
    status: &'static str,
}

/// Whether a token is in use
#[derive(ToSchema)]
#[schema(rename_all = "lowercase", example = "enabled")]
#[expect(dead_code, reason = "only its shape is used")]
enum TokenStatus {
    Enabled,
    Disabled,
}

/// A token
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenResponse)]
pub(super) struct TokenView {
    /// The token's id, unique in the registry
    #[schema(value_type = String, required = false, format = Uuid, example = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10")]
    id: Uuid,
    #[schema(required = false, example = "token")]
    r#type: &'static str,
    #[schema(required = false, example = "")]
    href: &'static str,
    metadata: Metadata,
    properties: TokenProperties,
}

impl TokenView {
    /// A token as it is shown at an instant, with the secret if this is the one time it is shown.
    pub(super) fn new(
        token: token::Token<impl Into<Scopes>>,
        secret: Option<&SecretString>,
        now: DateTime<Utc>,
    ) -> Self {
        let (state, created_at) = (token.state_at(now), token.created.at);
        Self {
            id: token.id.0,
            r#type: "token",
            href: "",
            metadata: Metadata::new(token.created, token.modified, state)
                .opened_by(token.secrets, created_at, now)
                .used(token.last_used),
            properties: TokenProperties {
                allowed_cidrs: token.allowed.entries().to_vec(),
                credentials: Credentials {
                    username: token.name.clone(),
                    password: secret.cloned().map(Shown::from).unwrap_or_default(),
                },
                expiry_date: token.expires_at.map(rfc3339),
                name: token.name,
                scopes: token.scopes.into(),
                status: token.status.as_str(),
            },
        }
    }
}

impl TokenView {
    /// The same with what is to be told of its scopes.
    pub(super) fn warned(mut self, warnings: Vec<ScopeWarning>) -> Self {
        self.metadata.warnings = warnings.into_iter().map(WarningView::from).collect();
        self
    }
}

/// A page of tokens
#[derive(Serialize, ToSchema)]
#[schema(as = TokensResponse)]
pub(super) struct TokenList<'a> {
    #[schema(required = false, example = "tokens")]
    pub(super) id: &'static str,
    #[schema(required = false, example = "collection")]
    pub(super) r#type: &'static str,
    #[schema(required = false, example = "")]
    pub(super) href: &'static str,
    /// Tokens before this page
    #[schema(example = 0)]
    pub(super) offset: i64,
    /// The most tokens on this page
    #[schema(example = 100)]
    pub(super) limit: i64,
    /// Tokens on this page
    #[schema(example = 1)]
    pub(super) count: usize,
    /// All tokens of the registry
    #[schema(example = 1)]
    pub(super) total: i64,
    #[schema(value_type = Vec<TokenView>)]
    pub(super) items: Items<'a, TokenView>,
    #[serde(rename = "_links")]
    pub(super) links: Links,
}

/// A token to be made, or what replaces one
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostTokenInput)]
pub(super) struct CreateToken {
    properties: CreateTokenProperties,
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
#[schema(as = PostTokenProperties)]
struct CreateTokenProperties {
    /// The token's name, unique in the registry; cannot be changed
    #[schema(
        pattern = r"^[A-Za-z][-A-Za-z0-9]{0,61}[A-Za-z0-9]$",
        min_length = 2,
        max_length = 63,
        example = "push-token"
    )]
    name: String,
    /// When the token stops to work; null: never. Absent: as the registry and the service have it, or else never; where they have something to say, a token that is replaced keeps its own
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Option<Option<String>>,
    /// What the token may do
    #[schema(max_items = 100)]
    scopes: Option<Vec<Scope>>,
    /// Whether the token is in use; enabled if absent
    #[schema(value_type = Option<TokenStatus>, nullable = false)]
    status: Option<String>,
    /// Up to 25 addresses or networks that it may be used from, kept as sent; none is no restriction. Absent: none for a
    /// token that is made, unchanged for one that is replaced
    #[schema(max_items = 25, example = json!(["0.0.0.0/0", "::/0"]))]
    allowed_cidrs: Option<Vec<String>>,
    #[serde(default)]
    #[schema(ignore)]
    credentials: SentBack,
}

/// The credentials of an answer, sent back.
#[derive(Debug, Default)]
pub(super) struct SentBack {
    with_password: bool,
}

impl<'de> Deserialize<'de> for SentBack {
    /// Takes anything, as an error would repeat what may be a secret.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let sent = serde_json::Value::deserialize(deserializer)?;
        let password = sent.get("password");
        Ok(Self {
            with_password: password.is_some_and(|password| !password.is_null() && password != ""),
        })
    }
}

impl SentBack {
    /// Is there a password in it? Whoever makes something would take it for the one that works.
    pub(super) fn with_password(&self) -> bool {
        self.with_password
    }
}

fn to_expiry(sent: Option<Option<String>>) -> Result<Option<Option<DateTime<Utc>>>> {
    sent.map(|date| date.as_deref().map(parse_expiry).transpose())
        .transpose()
}

impl TryFrom<CreateToken> for NewToken {
    type Error = Error;

    fn try_from(body: CreateToken) -> Result<Self> {
        let CreateTokenProperties {
            name,
            expiry_date,
            scopes,
            status,
            allowed_cidrs,
            credentials,
        } = body.properties;
        let mut violations = Violations::default();
        let name = violations.take(TokenName::parse(&name));
        let expires_at = violations.take(to_expiry(expiry_date));
        let scopes = violations.take(to_scopes(scopes.unwrap_or_default()));
        let status = violations.take(status.as_deref().map_or(Ok(Status::Enabled), Status::parse));
        let allowed = violations.take(allowed_cidrs.map(AllowList::of_token).transpose());
        let new = (|| {
            Some(Self {
                name: name?,
                expires_at: expires_at?,
                scopes: scopes?,
                allowed: allowed?,
                status: status?,
                with_password: credentials.with_password(),
            })
        })();
        violations.finish(new)
    }
}

/// Changes to a token; what is absent stays
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PatchTokenInput)]
pub(super) struct PatchToken {
    /// When the token stops to work; null removes the expiry, absent leaves it as it is
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Option<Option<String>>,
    /// Replaces all scopes; null and absent leave them as they are
    #[schema(max_items = 100)]
    scopes: Option<Vec<Scope>>,
    /// Enables or disables the token
    #[schema(value_type = Option<TokenStatus>, nullable = false)]
    status: Option<String>,
    /// Replaces where the token may be used from; an empty list lifts the restriction, null and absent leave it as it is
    #[schema(max_items = 25, example = json!(["0.0.0.0/0", "::/0"]))]
    allowed_cidrs: Option<Vec<String>>,
    #[schema(ignore)]
    name: Option<String>,
    #[serde(default, rename = "credentials")]
    #[schema(ignore)]
    _credentials: IgnoredAny,
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

impl TryFrom<PatchToken> for TokenPatch {
    type Error = Error;

    fn try_from(body: PatchToken) -> Result<Self> {
        let mut violations = Violations::default();
        let expires_at = violations.take(to_expiry(body.expiry_date));
        let scopes = violations.take(body.scopes.map(to_scopes).transpose());
        let status = violations.take(body.status.as_deref().map(Status::parse).transpose());
        let allowed = violations.take(body.allowed_cidrs.map(AllowList::of_token).transpose());
        let patch = (|| {
            Some(Self {
                name: body.name,
                expires_at: expires_at?,
                scopes: scopes?,
                allowed: allowed?,
                status: status?,
            })
        })();
        violations.finish(patch)
    }
}

/// When a registry collects garbage; kept as sent
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WeeklySchedule)]
pub(super) struct Schedule {
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

/// A day of the week
#[derive(ToSchema)]
#[schema(example = "Monday")]
#[expect(dead_code, reason = "only its shape is used")]
enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

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

/// What the registry trusts when it verifies a JWT of this service.
///
/// * `x5c`: this registry's CA, for good, since a JWT carries its certificate. The signing key rotates on schedule, with no restart. Distribution 2.8 and 3.
///
/// * `pinned`: one key, since a JWT carries only a key id. The key changes only on command, and then the registry has to be given the new one and restarted. zot, or Distribution with `jwks` only.
// Without `default`: a generated client would send it, and lock out a registry that trusts one key.
#[derive(ToSchema)]
#[schema(as = TokenVerifier, rename_all = "lowercase", example = "x5c")]
#[expect(dead_code, reason = "only its shape is used")]
enum Verifier {
    X5c,
    Pinned,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegistryProperties {
    /// The registry's name
    #[schema(example = "team-a")]
    name: String,
    /// Where it is
    #[schema(example = "de/fra")]
    location: String,
    /// What its clients log in to; empty in the answer that made it
    #[schema(example = "team-a.localhost")]
    hostname: String,
    /// When it collects garbage; null if it has no schedule
    #[schema(required)]
    garbage_collection_schedule: Option<Schedule>,
    storage_usage: StorageUsage,
    features: Features,
    /// Addresses and networks that may use its tokens; none is no restriction
    #[schema(example = json!(["0.0.0.0/0", "::/0"]))]
    api_subnet_allow_list: Vec<String>,
    #[schema(value_type = Verifier)]
    token_verifier: &'static str,
    /// How long a token lasts whose maker does not say; absent without such a rule
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
}

/// A registry
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryResponse)]
pub(super) struct RegistryView {
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
    /// A registry just made: `New` and without host name once, as the product answers. Nothing of this is stored.
    pub(super) fn created(registry: registry::Registry) -> Self {
        Self::with_state(registry, "New", String::new())
    }

    /// A registry as it is shown ever after. Terraform waits for this state.
    pub(super) fn new(registry: registry::Registry, hostname: String) -> Self {
        Self::with_state(registry, "Running", hostname)
    }

    fn with_state(registry: registry::Registry, state: &'static str, hostname: String) -> Self {
        Self {
            id: registry.id.to_string(),
            r#type: "registry",
            href: "",
            metadata: Metadata::new(registry.created, registry.modified, state),
            properties: RegistryProperties {
                name: registry.name,
                location: registry.location,
                hostname,
                garbage_collection_schedule: registry.schedule.map(|schedule| Schedule {
                    days: schedule.days,
                    time: schedule.time,
                }),
                storage_usage: StorageUsage { bytes: 0 },
                features: registry.features.into(),
                api_subnet_allow_list: registry.subnets.entries().to_vec(),
                token_verifier: registry.verifier.as_str(),
                default_token_life: registry.lives.default.map(|life| life.to_string()),
                maximum_token_life: registry.lives.maximum.map(|life| life.to_string()),
                maximum_secret_age: registry.maximum_secret_age.map(|age| age.to_string()),
            },
        }
    }
}

/// How to go on
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Pagination {
    /// The most elements on this page
    #[schema(example = 100)]
    pub(super) limit: i64,
    /// `pagination.token` of the next page; empty on the last
    #[schema(example = "")]
    pub(super) token: String,
}

/// A page of registries
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistriesResponse)]
pub(super) struct RegistryList {
    #[schema(example = "registries")]
    pub(super) id: &'static str,
    #[schema(example = "collection")]
    pub(super) r#type: &'static str,
    #[schema(example = "")]
    pub(super) href: &'static str,
    pub(super) items: Vec<RegistryView>,
    pub(super) pagination: Pagination,
    #[serde(rename = "_links")]
    pub(super) links: Links,
}

/// A registry to be made, or what replaces one
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostRegistryInput)]
pub(super) struct CreateRegistry {
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
    /// Where it is to be, one of `/locations`; cannot be changed
    #[schema(pattern = "^[-A-Za-z0-9]+/[-A-Za-z0-9]+$", example = "de/fra")]
    location: String,
    garbage_collection_schedule: Option<Schedule>,
    /// Scanning is on if absent
    #[schema(nullable = false)]
    features: Option<Features>,
    /// Up to 25 addresses or networks that may use its tokens, kept as sent; none is no restriction
    #[schema(max_items = 25, example = json!(["0.0.0.0/0", "::/0"]))]
    api_subnet_allow_list: Option<Vec<String>>,
    /// What verifies its JWTs; absent: `x5c` for a registry that is made, unchanged for one that is replaced
    #[schema(value_type = Option<Verifier>, nullable = false)]
    token_verifier: Option<String>,
    /// How long a token lasts whose maker does not say; null is no rule, absent leaves the rule as it is
    #[serde(default, deserialize_with = "present")]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    default_token_life: Option<Option<String>>,
    /// How far ahead a token's end may lie when it is set; null is no rule, absent leaves the rule as it is
    #[serde(default, deserialize_with = "present")]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P3650D"
    )]
    maximum_token_life: Option<Option<String>>,
    /// How old the secret of a token may become, from PT1H; an older one opens nothing. Null is of any age, absent leaves it as it is
    #[serde(default, deserialize_with = "present")]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    maximum_secret_age: Option<Option<String>>,
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
        let properties = body.properties;
        let mut violations = Violations::default();
        let name = violations.take(RegistryName::parse(&properties.name));
        let schedule = violations.take(
            properties
                .garbage_collection_schedule
                .map(registry::Schedule::try_from)
                .transpose(),
        );
        let subnets = violations.take(AllowList::of_registry(
            properties.api_subnet_allow_list.unwrap_or_default(),
        ));
        let features = properties.features.map(registry::Features::try_from);
        let features = violations.take(features.transpose());
        let verifier = violations.take(to_verifier(properties.token_verifier.as_deref()));
        let lives = violations.take(to_lives(
            properties.default_token_life,
            properties.maximum_token_life,
        ));
        let maximum_secret_age = violations.take(to_maximum_age(properties.maximum_secret_age));
        let new = (|| {
            Some(Self {
                name: name?,
                location: properties.location,
                schedule: schedule?,
                features: features?.unwrap_or_default(),
                subnets: subnets?,
                verifier: verifier?,
                lives: lives?,
                maximum_secret_age: maximum_secret_age?,
            })
        })();
        violations.finish(new)
    }
}

fn to_verifier(text: Option<&str>) -> Result<Option<TokenVerifier>> {
    text.map(TokenVerifier::parse).transpose()
}

fn to_maximum_age(sent: Option<Option<String>>) -> Result<Option<Option<Period>>> {
    sent.map(|age| age.as_deref().map(parse_maximum_age).transpose())
        .transpose()
}

fn to_lives(
    default: Option<Option<String>>,
    maximum: Option<Option<String>>,
) -> Result<LivesPatch> {
    let mut violations = Violations::default();
    let mut read = |member, field, sent: Option<Option<String>>| {
        let read = |text: &str| parse_life(member, field, text);
        let life = sent.map(|life| life.as_deref().map(read).transpose());
        violations.take(life.transpose())
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
pub(super) struct PatchRegistry {
    /// Replaces the schedule; null removes it, absent leaves it as it is
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Schedule>)]
    garbage_collection_schedule: Option<Option<Schedule>>,
    #[schema(nullable = false)]
    features: Option<Features>,
    /// Replaces the allow list; an empty one lifts the restriction, null and absent leave it as it is
    #[schema(max_items = 25, example = json!(["0.0.0.0/0", "::/0"]))]
    api_subnet_allow_list: Option<Vec<String>>,
    /// Changes what verifies its JWTs
    #[schema(value_type = Option<Verifier>, nullable = false)]
    token_verifier: Option<String>,
    /// How long a token lasts whose maker does not say; null is no rule, absent leaves the rule as it is
    #[serde(default, deserialize_with = "present")]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    default_token_life: Option<Option<String>>,
    /// How far ahead a token's end may lie when it is set; null is no rule, absent leaves the rule as it is
    #[serde(default, deserialize_with = "present")]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P3650D"
    )]
    maximum_token_life: Option<Option<String>>,
    /// Changes how old the secret of a token may become, from PT1H; null lets it be of any age, absent leaves it as it is
    #[serde(default, deserialize_with = "present")]
    #[schema(
        value_type = Option<String>,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    maximum_secret_age: Option<Option<String>>,
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
        let mut violations = Violations::default();
        let schedule = body
            .garbage_collection_schedule
            .map(|schedule| schedule.map(registry::Schedule::try_from).transpose());
        let schedule = violations.take(schedule.transpose());
        let subnets = violations.take(
            body.api_subnet_allow_list
                .map(AllowList::of_registry)
                .transpose(),
        );
        // Features without scanning say nothing about it, and in a PATCH that means unchanged.
        let features = body
            .features
            .filter(|features| features.vulnerability_scanning.is_some())
            .map(registry::Features::try_from);
        let features = violations.take(features.transpose());
        let verifier = violations.take(to_verifier(body.token_verifier.as_deref()));
        let lives = violations.take(to_lives(body.default_token_life, body.maximum_token_life));
        let maximum_secret_age = violations.take(to_maximum_age(body.maximum_secret_age));
        let patch = (|| {
            Some(Self {
                name: body.name,
                location: body.location,
                schedule: schedule?,
                features: features?,
                subnets: subnets?,
                verifier: verifier?,
                lives: lives?,
                maximum_secret_age: maximum_secret_age?,
            })
        })();
        violations.finish(patch)
    }
}
