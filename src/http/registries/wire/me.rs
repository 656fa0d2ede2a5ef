//! The caller's own account in bodies.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::account::{AccountMetadata, AccountStatus, Password, RoleName};
use super::issued::TokenLevel;
use super::member::Level;
use super::rfc3339;
use crate::domain::account::{Bearer, NewPassword};
use crate::domain::id::RegistryId;
use crate::domain::membership::{Membership, Rights};
use crate::domain::permission::{self, Resource};
use crate::error::{Error, Result};
use crate::http::schema::prefixed_word;
use crate::service::me::{CameBy, Identity, PasswordChange};

/// A kind of credential.
struct CredentialKind;

impl PartialSchema for CredentialKind {
    fn schema() -> RefOr<Schema> {
        let words = ["password", "api-token", "registry-api-token", "session"];
        let description = "The kind of the credential";
        prefixed_word(description, "CREDENTIAL", &words, "api-token").into()
    }
}

impl ToSchema for CredentialKind {}

/// The effective level on each resource of one registry, by roles and membership, or of a registry API token by its level
/// and its maker
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = RegistryPermissions)]
struct RegistryPermissions {
    /// On the registry and its settings
    #[schema(value_type = PermissionLevel)]
    registry: &'static str,
    /// On its tokens
    #[schema(value_type = PermissionLevel)]
    token: &'static str,
    /// On its members
    #[schema(value_type = PermissionLevel)]
    access: &'static str,
    /// On its images: read is pull, write is push and delete; push without delete counts as read
    #[schema(value_type = PermissionLevel)]
    image: &'static str,
}

impl From<Rights> for RegistryPermissions {
    fn from(rights: Rights) -> Self {
        Self {
            registry: word(rights.level(Resource::Registry)),
            token: word(rights.level(Resource::Token)),
            access: word(rights.level(Resource::Access)),
            image: word(rights.level(Resource::Image)),
        }
    }
}

/// The credential that the request came with
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnCredential {
    #[schema(value_type = CredentialKind)]
    kind: &'static str,
    /// The API token's id; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = Uuid, example = "4c2f4f0e-6a0e-4f0a-9a53-0d6f3f1c2b11")]
    id: Option<String>,
    /// The API token's name; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "nightly")]
    name: Option<String>,
    /// Id of the registry that a registry API token acts on; absent for others, and while its maker may not see the
    /// registry
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry_id: Option<String>,
    /// Name of that registry; absent likewise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "team-a")]
    registry_name: Option<String>,
    /// The most that a registry API token may do there; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TokenLevel>, nullable = false)]
    level: Option<&'static str>,
    /// The rights of the registry API token there now: its level within the rights of its maker. Absent for others, and while
    /// its maker may not see the registry
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    permissions: Option<RegistryPermissions>,
    /// Names of the API token's roles; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<RoleName>>, nullable = false, example = json!(["Analyst"]))]
    roles: Option<Vec<String>>,
    /// When the session began; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-22T06:30:00Z")]
    signed_in_date: Option<String>,
    /// When the API token or the session ends. A session also ends when its account changes. Absent for a password,
    /// which has no end
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2027-01-13T16:27:42Z")]
    expiry_date: Option<String>,
}

impl From<CameBy> for OwnCredential {
    fn from(came_by: CameBy) -> Self {
        match came_by {
            CameBy::Password => Self {
                kind: "password",
                ..Self::default()
            },
            CameBy::ApiToken(bearer) => {
                let Bearer {
                    id,
                    name,
                    roles,
                    expires_at,
                    confined,
                } = bearer;
                let own = Self {
                    kind: "api-token",
                    id: Some(id.to_string()),
                    name: Some(name),
                    expiry_date: Some(rfc3339(expires_at)),
                    ..Self::default()
                };
                let Some(confined) = confined else {
                    return Self {
                        roles: Some(roles.into_iter().map(|role| role.name).collect()),
                        ..own
                    };
                };
                let seen = confined.rights.visible;
                Self {
                    kind: "registry-api-token",
                    registry_id: seen.then(|| confined.id.to_string()),
                    registry_name: Some(confined.name).filter(|_| seen),
                    level: Some(confined.level.as_str()),
                    ..own
                }
            }
            CameBy::Session {
                signed_in_at,
                ends_at,
            } => Self {
                kind: "session",
                signed_in_date: Some(rfc3339(signed_in_at)),
                expiry_date: Some(rfc3339(ends_at)),
                ..Self::default()
            },
        }
    }
}

/// A level of permission, or none.
struct PermissionLevel;

impl PartialSchema for PermissionLevel {
    fn schema() -> RefOr<Schema> {
        let words = ["none", "read", "write"];
        prefixed_word("A level of permission", "PERMISSION", &words, "read").into()
    }
}

impl ToSchema for PermissionLevel {}

/// The permission for a resource, as far as roles give it
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnPermission {
    /// The resource
    #[schema(example = "Token")]
    resource: &'static str,
    /// The level that roles give on every registry, and on what belongs to no registry
    #[schema(value_type = PermissionLevel)]
    everywhere: &'static str,
    /// The level that roles give on the registries that the account is a member of, without what the membership adds: see
    /// the permissions of each membership. Of a registry API token, its effective level on its registry
    #[schema(value_type = PermissionLevel)]
    as_member: &'static str,
}

/// A resource, and its levels everywhere and on registries of which the account is a member.
type Held = (
    Resource,
    Option<permission::Level>,
    Option<permission::Level>,
);

fn word(level: Option<permission::Level>) -> &'static str {
    level.map_or("none", permission::Level::verb)
}

type Belonging = (RegistryId, String, Membership);

/// A registry that an account is a member of
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AccountMembership)]
pub(in super::super) struct MembershipView {
    /// The registry's id
    #[schema(format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry_id: String,
    /// Its name
    #[schema(example = "team-a")]
    registry_name: String,
    #[schema(value_type = Level)]
    level: &'static str,
}

impl From<Belonging> for MembershipView {
    fn from((id, name, level): Belonging) -> Self {
        Self {
            registry_id: id.to_string(),
            registry_name: name,
            level: level.as_str(),
        }
    }
}

/// A registry that the account is a member of
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OwnMembership {
    /// The registry's id
    #[schema(format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry_id: String,
    /// Its name
    #[schema(example = "team-a")]
    registry_name: String,
    #[schema(value_type = Level)]
    level: &'static str,
    permissions: RegistryPermissions,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IdentityProperties {
    /// The account's name
    #[schema(example = "alice@example.com")]
    name: String,
    #[schema(value_type = AccountStatus)]
    status: &'static str,
    /// A text for people; absent without one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Deploys the nightly build")]
    description: Option<String>,
    /// Names of the account's roles
    #[schema(value_type = Vec<RoleName>, example = json!(["Analyst"]))]
    roles: Vec<String>,
    credential: OwnCredential,
    /// The permissions of the request by roles: those of the account, and through an API token those of the token
    /// too
    permissions: Vec<OwnPermission>,
    /// The registries that the account is a member of, in the order they were made; the first 100
    memberships: Vec<OwnMembership>,
    /// The number of registries that the account is a member of
    #[schema(example = 1)]
    membership_total: i64,
}

/// The account that a request acts for
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IdentityResponse)]
pub(in super::super) struct IdentityView {
    /// The account's id
    #[schema(format = Uuid, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    id: String,
    #[schema(example = "me")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    metadata: AccountMetadata,
    properties: IdentityProperties,
}

impl From<Identity> for IdentityView {
    fn from(identity: Identity) -> Self {
        let Identity {
            account,
            came_by,
            levels,
            confined,
            memberships,
            membership_total,
        } = identity;
        let permission = |(resource, everywhere, as_member): Held| OwnPermission {
            resource: resource.name(),
            everywhere: word(everywhere),
            as_member: word(as_member),
        };
        let membership = |((id, name, level), rights): (Belonging, Rights)| OwnMembership {
            registry_id: id.to_string(),
            registry_name: name,
            level: level.as_str(),
            permissions: rights.into(),
        };
        let credential = OwnCredential {
            permissions: confined.map(RegistryPermissions::from),
            ..came_by.into()
        };
        Self {
            id: account.id.to_string(),
            r#type: "me",
            href: "",
            metadata: AccountMetadata::of(&account),
            properties: IdentityProperties {
                status: account.status.as_str(),
                name: account.name,
                description: account.description,
                roles: account.roles,
                credential,
                permissions: levels.into_iter().map(permission).collect(),
                memberships: memberships.into_iter().map(membership).collect(),
                membership_total,
            },
        }
    }
}

/// Another password for the caller's account
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutPasswordInput)]
pub(in super::super) struct PutPassword {
    properties: PutPasswordProperties,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PutPasswordProperties {
    /// The new password: 8 characters to 71 bytes, in NFC
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 71, pattern = r"^[^\x00-\x1F\x7F]*$", example = "correct horse battery")]
    password: Password,
    /// The present password of the account
    #[schema(value_type = String, format = Password, example = "present horse battery")]
    present_password: Password,
}

impl TryFrom<PutPassword> for PasswordChange {
    type Error = Error;

    fn try_from(body: PutPassword) -> Result<Self> {
        let PutPasswordProperties {
            password,
            present_password,
        } = body.properties;
        Ok(Self {
            present: SecretString::from(present_password),
            new: NewPassword::parse(password.into())?,
        })
    }
}
