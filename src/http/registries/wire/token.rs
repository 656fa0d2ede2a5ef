//! Tokens and their scopes on the wire.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::labels::{LabelsSchema, SentLabels, to_labels};
use super::{Links, Metadata, nullable_list, rfc3339};
use crate::domain::allow_list::AllowList;
use crate::domain::description::parse_description;
use crate::domain::id::RegistryId;
use crate::domain::labels::Labels;
use crate::domain::patch::Patch;
use crate::domain::scope_warning::ScopeWarning;
use crate::domain::status::Status;
use crate::domain::token;
use crate::domain::token::{NewToken, TokenName, TokenPatch, VerbatimScopes, parse_expiry};
use crate::domain::token_scope;
use crate::domain::token_scope::check_scopes;
use crate::error::{Error, Result, Violations};
use crate::http::pieces::Items;
use crate::http::schema::{PRINTABLE, described_word, text};
use crate::http::shown::Shown;

/// Why a scope, or a part of it, grants nothing
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScopeWarning)]
pub(in super::super) struct WarningView {
    /// The scope's place among the token's scopes, from 0
    #[schema(example = 0)]
    scope: usize,
    /// The reason, and the right way, for people
    #[schema(example = "the action \"Pull\" grants nothing; did you mean pull?")]
    message: String,
}

impl From<ScopeWarning> for WarningView {
    fn from(ScopeWarning { scope, message }: ScopeWarning) -> Self {
        Self { scope, message }
    }
}

/// The actions that a token may do on a resource; kept as sent and in order
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Scope {
    /// The actions
    #[serde(deserialize_with = "nullable_list")]
    #[schema(value_type = Option<Vec<ScopeText>>, required = true, max_items = 20, example = json!(["pull", "push"]))]
    actions: Vec<String>,
    /// The name of the resource, or a pattern
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

/// A part of a scope.
struct ScopeText;

impl PartialSchema for ScopeText {
    fn schema() -> RefOr<Schema> {
        text(
            "Any text without control characters",
            256,
            PRINTABLE,
            "pull",
        )
        .into()
    }
}

impl ToSchema for ScopeText {}

/// A token's scopes in an answer. They are stored in the form in which they are shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in super::super) enum Scopes {
    Read(Vec<token_scope::Scope>),
    Verbatim(VerbatimScopes),
}

impl From<Vec<token_scope::Scope>> for Scopes {
    fn from(scopes: Vec<token_scope::Scope>) -> Self {
        Self::Read(scopes)
    }
}

impl From<VerbatimScopes> for Scopes {
    fn from(scopes: VerbatimScopes) -> Self {
        Self::Verbatim(scopes)
    }
}

pub(super) fn to_scopes(scopes: Vec<Scope>) -> Result<Vec<token_scope::Scope>> {
    let scopes: Vec<_> = scopes
        .into_iter()
        .map(|scope| token_scope::Scope {
            actions: scope.actions,
            name: scope.name,
            r#type: scope.r#type,
        })
        .collect();
    check_scopes(&scopes).map(|()| scopes)
}

/// The user name and password for the registry
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
    /// Addresses and networks that may use the token; absent if all may that its registry allows
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false, example = json!(["0.0.0.0/0", "::/0"]))]
    allowed_cidrs: Vec<String>,
    credentials: Credentials,
    /// When the token expires; null if never
    #[schema(required, format = DateTime, example = "2027-01-13T16:27:42Z")]
    expiry_date: Option<String>,
    /// A text for people; absent without one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Pushes from the nightly build")]
    description: Option<String>,
    /// The labels of the token; absent without any
    #[serde(skip_serializing_if = "Labels::is_empty")]
    #[schema(value_type = LabelsSchema, required = false)]
    labels: Labels,
    /// The token's name, unique in the registry
    #[schema(example = "push-token")]
    name: String,
    #[schema(value_type = Vec<Scope>)]
    scopes: Scopes,
    /// The status of the token
    #[schema(value_type = TokenStatus)]
    status: &'static str,
}

/// The status of a token.
struct TokenStatus;

impl PartialSchema for TokenStatus {
    fn schema() -> RefOr<Schema> {
        let words = Status::ALL.into_iter().map(Status::as_str);
        described_word("The status of a token", words, "enabled").into()
    }
}

impl ToSchema for TokenStatus {}

/// A token
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenResponse)]
pub(in super::super) struct TokenView {
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
    /// A token as it is shown at a time, with the secret in the only answer that shows it.
    pub(in super::super) fn new(
        token: token::Token<impl Into<Scopes>>,
        secret: Option<&SecretString>,
        now: DateTime<Utc>,
    ) -> Self {
        let state = token.state_at(now);
        let token::Token {
            key: _,
            id,
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
            version: _,
            created,
            modified,
            last_used,
        } = token;
        let created_at = created.at;
        Self {
            id: id.0,
            r#type: "token",
            href: "",
            metadata: Metadata::new(created, modified, state)
                .opened_by(secrets, created_at, now)
                .used(last_used),
            properties: TokenProperties {
                allowed_cidrs: allowed_cidrs.entries().to_vec(),
                credentials: Credentials {
                    username: name.clone(),
                    password: secret.cloned().map(Shown::from).unwrap_or_default(),
                },
                expiry_date: expiry_date.map(rfc3339),
                description,
                labels,
                name,
                scopes: scopes.into(),
                status: status.as_str(),
            },
        }
    }
}

impl TokenView {
    /// Adds the registry, in a list of several: its id and its name.
    pub(in super::super) fn of(mut self, registry: Option<&(RegistryId, String)>) -> Self {
        if let Some((id, name)) = registry {
            self.metadata.registry_id = Some(id.0);
            self.metadata.registry_name = Some(name.clone());
        }
        self
    }

    /// Adds warnings about its scopes.
    pub(in super::super) fn warned(mut self, warnings: Vec<ScopeWarning>) -> Self {
        self.metadata.warnings = warnings.into_iter().map(WarningView::from).collect();
        self
    }
}

/// A page of tokens
#[derive(Serialize, ToSchema)]
#[schema(as = TokensResponse)]
pub(in super::super) struct TokenList<'a> {
    #[schema(required = false, example = "tokens")]
    pub(in super::super) id: &'static str,
    #[schema(required = false, example = "collection")]
    pub(in super::super) r#type: &'static str,
    #[schema(required = false, example = "")]
    pub(in super::super) href: &'static str,
    /// Tokens before this page
    #[schema(example = 0)]
    pub(in super::super) offset: i64,
    /// The most tokens on this page
    #[schema(example = 100)]
    pub(in super::super) limit: i64,
    /// Tokens on this page
    #[schema(example = 1)]
    pub(in super::super) count: usize,
    /// All tokens of the registry; in a list of all registries, of all of them; with conditions, all that meet them, counted up to 100000
    #[schema(example = 1)]
    pub(in super::super) total: i64,
    /// False if there are more tokens than were counted; absent without conditions
    #[serde(rename = "totalIsExact", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = true)]
    pub(in super::super) total_is_exact: Option<bool>,
    #[schema(value_type = Vec<TokenView>)]
    pub(in super::super) items: Items<'a, TokenView>,
    #[serde(rename = "_links")]
    pub(in super::super) links: Links,
}

/// The properties of a new token, or of one that is replaced
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostTokenInput)]
pub(in super::super) struct CreateToken {
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
    /// When the token expires; null: never. Absent: after the default life of the registry or the service, or never without one. With a default or a maximum, a token that is replaced keeps its date
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Patch<String>,
    /// A text for people; null is no text. Absent: no text for a new token, unchanged for one that is replaced
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$", example = "Pulls for the nightly build")]
    description: Patch<String>,
    /// Null and `{}` are none. Absent: none for a new token, unchanged for one that is replaced
    #[serde(default)]
    #[schema(value_type = Option<LabelsSchema>)]
    labels: Patch<SentLabels>,
    /// The scopes of the token
    #[schema(max_items = 100)]
    scopes: Option<Vec<Scope>>,
    /// The status of the token; enabled if absent
    #[schema(value_type = Option<TokenStatus>, nullable = false)]
    status: Option<String>,
    /// Up to 25 addresses or networks that may use the token, kept as sent; an empty list is no restriction. Absent:
    /// empty for a new token, unchanged for one that is replaced
    #[schema(max_items = 25, example = json!(["0.0.0.0/0", "::/0"]))]
    allowed_cidrs: Option<Vec<String>>,
    #[serde(default)]
    #[schema(ignore)]
    credentials: SentBack,
}

/// The credentials of an answer, sent back.
#[derive(Debug, Default)]
pub(in super::super) struct SentBack {
    with_password: bool,
}

impl<'de> Deserialize<'de> for SentBack {
    /// Accepts any value, since an error would quote what may be a secret.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let sent = serde_json::Value::deserialize(deserializer)?;
        let password = sent.get("password");
        Ok(Self {
            with_password: password.is_some_and(|password| !password.is_null() && password != ""),
        })
    }
}

impl SentBack {
    /// Returns true if it has a password. The caller of a POST would expect that it works.
    pub(in super::super) fn with_password(&self) -> bool {
        self.with_password
    }
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
            description,
            labels,
        } = body.properties;
        let mut violations = Violations::default();
        let name = violations.take(TokenName::parse(&name));
        let expiry_date = violations.take(expiry_date.try_map(|date| parse_expiry(&date)));
        let description = violations.take(description.try_map(parse_description));
        let labels = violations.take(to_labels(labels));
        let scopes = violations.take(to_scopes(scopes.unwrap_or_default()));
        let status = violations.take(status.as_deref().map_or(Ok(Status::Enabled), Status::parse));
        let allowed_cidrs = violations.take(allowed_cidrs.map(AllowList::of_token).transpose());
        let new = (|| {
            Some(Self {
                name: name?,
                description: description?,
                labels: labels?,
                expiry_date: expiry_date?,
                scopes: scopes?,
                allowed_cidrs: allowed_cidrs?,
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
pub(in super::super) struct PatchToken {
    /// When the token expires; null removes the expiry, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Patch<String>,
    /// Replaces the text for people; null removes it, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$", example = "Pulls for the nightly build")]
    description: Patch<String>,
    /// Replaces all labels; null and `{}` remove them, absent leaves them as they are
    #[serde(default)]
    #[schema(value_type = Option<LabelsSchema>)]
    labels: Patch<SentLabels>,
    /// Replaces all scopes; null and absent leave them as they are
    #[schema(max_items = 100)]
    scopes: Option<Vec<Scope>>,
    /// Enables or disables the token
    #[schema(value_type = Option<TokenStatus>, nullable = false)]
    status: Option<String>,
    /// Replaces the addresses and networks that may use the token; an empty list lifts the restriction, null and absent leave it as it is
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
        let PatchToken {
            expiry_date,
            description,
            labels,
            scopes,
            status,
            allowed_cidrs,
            name,
            _credentials: _,
            _id: _,
            _type: _,
            _href: _,
            _metadata: _,
        } = body;
        let mut violations = Violations::default();
        let expiry_date = violations.take(expiry_date.try_map(|date| parse_expiry(&date)));
        let description = violations.take(description.try_map(parse_description));
        let labels = violations.take(to_labels(labels));
        let scopes = violations.take(scopes.map(to_scopes).transpose());
        let status = violations.take(status.as_deref().map(Status::parse).transpose());
        let allowed_cidrs = violations.take(allowed_cidrs.map(AllowList::of_token).transpose());
        let patch = (|| {
            Some(Self {
                name,
                description: description?,
                labels: labels?,
                expiry_date: expiry_date?,
                scopes: scopes?,
                allowed_cidrs: allowed_cidrs?,
                status: status?,
            })
        })();
        violations.finish(patch)
    }
}
