//! Messages of StackRox's API token service: proto3 as JSON. Answers always have all members.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::access;
use crate::domain::api_token::{ApiToken, Wish};
use crate::domain::role::{Permissions, Role};
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result};
use crate::http::pieces::Items;
use crate::http::shown::Shown;
use crate::service::api_tokens::{Generated, Whoami};

/// An error
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GooglerpcStatus)]
pub(super) struct Status {
    /// The code of gRPC
    #[schema(example = 3)]
    pub code: i32,
    /// The mistake, for people
    #[schema(example = "token with id 'nope' does not exist: invalid arguments")]
    pub message: String,
    /// Always empty
    #[schema(example = json!([]))]
    pub details: Vec<ProtobufAny>,
    /// The message again, under the name that older clients read
    #[schema(example = "token with id 'nope' does not exist: invalid arguments")]
    pub error: String,
}

/// A message of any type; there are none here
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProtobufAny)]
pub(super) struct ProtobufAny {
    /// A URL that names the type
    #[serde(rename = "@type")]
    #[schema(example = "type.googleapis.com/google.protobuf.Duration")]
    pub r#type: String,
}

/// A request for a token. Members that are null or unknown are ignored
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = V1GenerateTokenRequest)]
pub(super) struct GenerateToken {
    /// Its name, which need not be unique
    #[schema(value_type = Option<String>, example = "pipelines-ci-token")]
    name: Option<String>,
    /// One role; deprecated in favour of `roles`, and not to be used beside it
    #[schema(value_type = Option<String>, deprecated, example = "")]
    role: Option<String>,
    /// Its roles
    #[schema(value_type = Option<Vec<String>>, example = json!(["Continuous Integration"]))]
    roles: Option<Vec<String>>,
    /// When it ends; after 365 days if absent
    #[schema(value_type = Option<String>, format = DateTime, example = "2027-03-31T00:00:00Z")]
    expiration: Option<String>,
}

impl TryFrom<GenerateToken> for Wish {
    type Error = Error;

    /// In proto3 an empty text is the same as an absent one.
    fn try_from(wire: GenerateToken) -> Result<Self> {
        let read = |text: String| {
            DateTime::parse_from_rfc3339(&text)
                .ok()
                .map(|instant| instant.to_utc())
                // The range of proto3: clients cannot read times outside of it, and an offset can lead there.
                .filter(|instant| (1..=9999).contains(&instant.year()))
                .ok_or_else(|| {
                    Error::invalid(
                        Field::Body,
                        format!(
                            "expiration {} is no time such as 2027-03-31T00:00:00Z",
                            quoted(&text)
                        ),
                    )
                })
        };
        Ok(Self {
            name: wire.name.unwrap_or_default(),
            role: wire.role.filter(|role| !role.is_empty()),
            roles: wire.roles.unwrap_or_default(),
            expires_at: wire.expiration.map(read).transpose()?,
        })
    }
}

/// The metadata of a token
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StorageTokenMetadata, description = "Next available tag: 8")]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenMetadata {
    /// Its id, which is the `jti` of the token
    #[schema(example = "862ba387-230e-4a27-929d-ac48fa3e4916")]
    id: String,
    /// Its name
    #[schema(example = "pipelines-ci-token")]
    name: String,
    /// Its roles, in their order
    #[schema(example = json!(["Continuous Integration"]))]
    roles: Vec<String>,
    /// When it was made
    #[schema(format = DateTime, example = "2026-11-21T21:40:02Z")]
    issued_at: String,
    /// When it ends
    #[schema(format = DateTime, example = "2027-03-31T00:00:00Z")]
    expiration: String,
    /// True if it was revoked
    #[schema(example = false)]
    revoked: bool,
    /// The role if there is just one, else empty; deprecated in favour of `roles`
    #[schema(deprecated, example = "Continuous Integration")]
    role: String,
}

impl From<ApiToken> for TokenMetadata {
    fn from(token: ApiToken) -> Self {
        let ApiToken {
            id,
            name,
            roles,
            issued_at,
            expires_at,
            revoked,
        } = token;
        let role = match roles.as_slice() {
            [role] => role.clone(),
            _ => String::new(),
        };
        Self {
            id: id.to_string(),
            name,
            roles,
            issued_at: seconds(issued_at),
            expiration: seconds(expires_at),
            revoked,
            role,
        }
    }
}

fn seconds(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A token, shown this once
#[derive(Serialize, ToSchema)]
#[schema(as = V1GenerateTokenResponse)]
pub(super) struct GeneratedToken {
    /// The token, to be sent as `Authorization: Bearer …`
    #[schema(value_type = String, example = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsImtpZCI6Imp3dGs0In0.e30.c2lnbmF0dXJl")]
    token: Shown,
    /// The metadata of the token
    metadata: TokenMetadata,
}

impl From<Generated> for GeneratedToken {
    fn from(generated: Generated) -> Self {
        Self {
            token: generated.secret.into(),
            metadata: generated.token.into(),
        }
    }
}

/// Tokens
#[derive(Serialize, ToSchema)]
#[schema(as = V1GetAPITokensResponse)]
pub(super) struct TokenList<'a> {
    /// All of them
    #[schema(value_type = Vec<TokenMetadata>)]
    pub tokens: Items<'a, TokenMetadata>,
}

/// Roles that the caller may give a token
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = V1ListAllowedTokenRolesResponse)]
#[serde(rename_all = "camelCase")]
pub(super) struct AllowedRoles {
    /// Their names, in the order of their bytes
    #[schema(example = json!(["Admin", "Analyst", "Continuous Integration"]))]
    pub role_names: Vec<String>,
}

/// An answer that says only that the request succeeded
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = V1PongMessage)]
pub(super) struct Pong {
    /// The state of the service
    #[schema(example = "ok")]
    pub status: &'static str,
}

/// The user of the credentials
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = V1AuthStatus)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthStatus {
    /// Names the account, or the API token
    #[schema(example = "admin")]
    user_id: String,
    /// When the API token ends; null for a password
    #[schema(required, format = DateTime, example = "2027-03-31T00:00:00Z")]
    expires: Option<String>,
    /// Always empty
    #[schema(example = "")]
    refresh_url: &'static str,
    /// Always null
    #[schema(required, value_type = Option<Object>, example = json!(null))]
    auth_provider: Option<()>,
    /// The user
    user_info: UserInfo,
    /// Always empty
    #[schema(value_type = Vec<Object>, example = json!([]))]
    user_attributes: [(); 0],
    /// Always empty
    #[schema(example = "")]
    idp_token: &'static str,
}

/// A user
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StorageUserInfo)]
#[serde(rename_all = "camelCase")]
struct UserInfo {
    /// The account on whose behalf a request acts
    #[schema(example = "admin")]
    username: String,
    /// The account's name, or the API token's
    #[schema(example = "admin")]
    friendly_name: String,
    /// The permissions of the credentials
    permissions: ResourceToAccess,
    /// The roles of the account, or of the API token
    roles: Vec<UserRole>,
}

/// The permissions
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserInfoResourceToAccess)]
#[serde(rename_all = "camelCase")]
struct ResourceToAccess {
    /// By resource: `READ_ACCESS` or `READ_WRITE_ACCESS`
    #[schema(example = json!({"Image": "READ_WRITE_ACCESS"}))]
    resource_to_access: BTreeMap<String, &'static str>,
}

/// A role
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserInfoRole)]
#[serde(rename_all = "camelCase")]
struct UserRole {
    /// Its name
    #[schema(example = "Continuous Integration")]
    name: String,
    /// The permissions of the role
    #[schema(example = json!({"Image": "READ_WRITE_ACCESS"}))]
    resource_to_access: BTreeMap<String, &'static str>,
}

fn resource_to_access(permissions: &Permissions) -> BTreeMap<String, &'static str> {
    let levels = permissions.by_resource().into_iter();
    levels
        .map(|(resource, level)| (resource, access(level.into())))
        .collect()
}

impl From<Role> for UserRole {
    fn from(role: Role) -> Self {
        Self {
            resource_to_access: resource_to_access(&role.permissions),
            name: role.name,
        }
    }
}

impl From<Whoami> for AuthStatus {
    fn from(whoami: Whoami) -> Self {
        let expires = whoami.expires_at().map(seconds);
        let actor = whoami.actor;
        let (user_id, friendly_name) = match &actor.bearer {
            // StackRox's id of an API token as a user.
            Some(bearer) => (format!("auth-token:{}", bearer.id), bearer.name.clone()),
            None => (actor.name.clone(), actor.name.clone()),
        };
        Self {
            user_id,
            expires,
            refresh_url: "",
            auth_provider: None,
            user_info: UserInfo {
                friendly_name,
                permissions: ResourceToAccess {
                    resource_to_access: resource_to_access(&actor.permissions),
                },
                username: actor.name,
                roles: whoami.roles.into_iter().map(UserRole::from).collect(),
            },
            user_attributes: [],
            idp_token: "",
        }
    }
}

/// Nothing
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Empty {}
