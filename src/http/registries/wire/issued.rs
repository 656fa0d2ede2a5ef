//! Issued tokens in bodies: API tokens and app tokens.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::account::RoleName;
use super::{Links, rfc3339};
use crate::domain::api_token::{NewRegistryApiToken, check_name, check_no_secret};
use crate::domain::description::parse_description;
use crate::domain::issued::{IssuedKind, IssuedState, IssuedToken};
use crate::domain::patch::Patch;
use crate::domain::registry_api_token;
use crate::domain::token::parse_expiry;
use crate::error::{Error, Field, Result, Violations};
use crate::http::schema::prefixed_word;
use crate::http::shown::Shown;

/// The state of an issued token.
struct State;

impl PartialSchema for State {
    fn schema() -> RefOr<Schema> {
        let words = IssuedState::ALL.map(IssuedState::as_str);
        let description = "The state of the token: enabled if it is in force";
        prefixed_word(description, "ISSUED", &words, "enabled").into()
    }
}

impl ToSchema for State {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("IssuedTokenState")
    }
}

/// The level of a registry API token.
pub(in super::super) struct TokenLevel;

impl PartialSchema for TokenLevel {
    fn schema() -> RefOr<Schema> {
        let mut words =
            registry_api_token::TokenLevel::ALL.map(registry_api_token::TokenLevel::as_str);
        words.reverse();
        let description = "The most that a registry API token may do: a reader sees the registry and its tokens; a \
                           maintainer manages tokens too";
        prefixed_word(description, "API_TOKEN", &words, "reader").into()
    }
}

impl ToSchema for TokenLevel {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("RegistryApiTokenLevel")
    }
}

/// The account that made a token, its last use, and its state
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IssuedMetadata {
    /// Name of the account that made the token
    #[schema(example = "alice@example.com")]
    created_by: String,
    /// Id of the account that made the token
    #[schema(format = Uuid, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    created_by_user_id: String,
    /// When the token was made
    #[schema(format = DateTime, example = "2026-11-21T21:48:08Z")]
    created_date: String,
    /// When the token was last used, shown within a minute; absent until then
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-22T06:30:00Z")]
    last_used_date: Option<String>,
    #[schema(value_type = State)]
    state: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IssuedProperties {
    /// The token's name; the title of an app token
    #[schema(example = "nightly")]
    name: String,
    /// A text for people; absent without one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Reads the estate for the nightly report")]
    description: Option<String>,
    /// Id of the account that the token acts for
    #[schema(format = Uuid, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    owner_id: String,
    /// Name of the account that the token acts for
    #[schema(example = "alice@example.com")]
    owner_name: String,
    /// Id of the registry that a registry API token acts on; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry_id: Option<String>,
    /// Name of that registry; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "team-a")]
    registry_name: Option<String>,
    /// The most that a registry API token may do there; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TokenLevel>, nullable = false)]
    level: Option<&'static str>,
    /// The token itself, to be sent as Bearer; only in the answer that made it
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, example = "eyJhbGciOiJSUzI1NiJ9.ZXhhbXBsZQ.ZXhhbXBsZQ")]
    token: Option<Shown>,
    /// Names of the roles of an API token; absent for registry API tokens, and for app tokens, which may do all that
    /// their account may
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RoleName>>, nullable = false, example = json!(["Analyst"]))]
    roles: Option<Vec<String>>,
    /// When the token ends; null if never
    #[schema(required, format = DateTime, example = "2027-01-13T16:27:42Z")]
    expiry_date: Option<String>,
}

/// An API token or an app token, without its secret
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IssuedTokenResponse)]
pub(in super::super) struct IssuedView {
    /// The token's id
    #[schema(format = Uuid, example = "4c2f4f0e-6a0e-4f0a-9a53-0d6f3f1c2b11")]
    id: String,
    /// api-token, registry-api-token or app-token
    #[schema(example = "api-token")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    metadata: IssuedMetadata,
    properties: IssuedProperties,
}

impl IssuedView {
    /// A token as it is shown at a time.
    pub(in super::super) fn new(token: IssuedToken, now: DateTime<Utc>) -> Self {
        let state = token.state_at(now).as_str();
        let IssuedToken {
            key: _,
            id,
            kind,
            name,
            description,
            owner: (owner_id, owner_name),
            created,
            expires_at,
            revoked: _,
            used_at,
        } = token;
        let (r#type, roles, confined) = match kind {
            IssuedKind::ApiToken(roles) => ("api-token", Some(roles), None),
            IssuedKind::RegistryApiToken {
                registry,
                name,
                level,
            } => ("registry-api-token", None, Some((registry, name, level))),
            IssuedKind::AppToken => ("app-token", None, None),
        };
        let (registry, registry_name, level) = match confined {
            None => (None, None, None),
            Some((registry, name, level)) => (Some(registry), Some(name), Some(level)),
        };
        Self {
            id: id.to_string(),
            r#type,
            href: "",
            metadata: IssuedMetadata {
                created_by: created.by_name,
                created_by_user_id: created.by.to_string(),
                created_date: rfc3339(created.at),
                last_used_date: used_at.map(rfc3339),
                state,
            },
            properties: IssuedProperties {
                name,
                description,
                owner_id: owner_id.to_string(),
                owner_name,
                registry_id: registry.map(|registry| registry.to_string()),
                registry_name,
                level: level.map(registry_api_token::TokenLevel::as_str),
                token: None,
                roles,
                expiry_date: expires_at.map(rfc3339),
            },
        }
    }
}

impl IssuedView {
    /// The same with the token itself.
    pub(in super::super) fn with_secret(mut self, secret: SecretString) -> Self {
        self.properties.token = Some(secret.into());
        self
    }
}

/// The properties of a new registry API token
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostRegistryApiTokenInput)]
pub(in super::super) struct PostRegistryApiToken {
    properties: PostRegistryApiTokenProperties,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PostRegistryApiTokenProperties {
    /// The token's name. It need not be unique
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = r"^[^\x00-\x1F\x7F]+$",
        example = "nightly"
    )]
    name: String,
    /// A text for people: one line of at most 200 characters, without a secret
    #[schema(
        nullable = false,
        max_length = 200,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "Makes tokens for the nightly build"
    )]
    description: Option<String>,
    #[schema(value_type = TokenLevel)]
    level: String,
    /// When the token ends; a year from now if absent. It always ends
    #[serde(default)]
    #[schema(value_type = Option<String>, nullable = false, format = DateTime, example = "2027-01-13T16:27:42Z")]
    expiry_date: Patch<String>,
}

impl TryFrom<PostRegistryApiToken> for NewRegistryApiToken {
    type Error = Error;

    fn try_from(body: PostRegistryApiToken) -> Result<Self> {
        let PostRegistryApiTokenProperties {
            name,
            description,
            level,
            expiry_date,
        } = body.properties;
        let mut violations = Violations::default();
        let named = violations.take(check_name(&name).and_then(|()| check_no_secret(&name)));
        let description = description.map(parse_description).transpose();
        let description = violations.take(description);
        let level = violations.take(registry_api_token::TokenLevel::parse(&level));
        let expires_at = match expiry_date {
            Patch::Keep => Ok(None),
            Patch::Set(end) => parse_expiry(&end).map(Some),
            Patch::Clear => Err(Error::invalid(
                Field::ExpiryDate,
                "expiryDate is null, but a registry API token always ends; leave it out for a year from now, or send \
                 an instant",
            )),
        };
        let expires_at = violations.take(expires_at);
        let new = (|| {
            named?;
            Some(Self {
                name,
                description: description?,
                level: level?,
                expires_at: expires_at?,
            })
        })();
        violations.finish(new)
    }
}

/// A page of API tokens or app tokens
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IssuedTokensResponse)]
pub(in super::super) struct IssuedList {
    #[schema(example = "api-tokens")]
    pub(in super::super) id: &'static str,
    #[schema(example = "collection")]
    pub(in super::super) r#type: &'static str,
    #[schema(example = "")]
    pub(in super::super) href: &'static str,
    /// The number of elements before this page
    #[schema(example = 0)]
    pub(in super::super) offset: i64,
    /// The most elements on this page
    #[schema(example = 100)]
    pub(in super::super) limit: i64,
    /// Elements on this page
    #[schema(example = 1)]
    pub(in super::super) count: usize,
    /// Tokens in all; with a filter, those that pass it
    #[schema(example = 1)]
    pub(in super::super) total: i64,
    pub(in super::super) items: Vec<IssuedView>,
    #[serde(rename = "_links")]
    pub(in super::super) links: Links,
}
