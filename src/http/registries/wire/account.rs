//! Accounts in bodies.

use secrecy::SecretString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{Links, SentBack, given, nullable_list, rfc3339};
use crate::domain::account::{Account, AccountName, AccountPatch, CreateAccount, NewPassword};
use crate::domain::description::parse_description;
use crate::domain::patch::Patch;
use crate::domain::status::Status;
use crate::error::{Error, Field, Result, Violations};
use crate::http::schema::{PRINTABLE, one_of, text};
use crate::http::shown::Shown;
use crate::service::accounts::MadeAccount;

/// When an account was made and changed, and its state
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountMetadata {
    /// When the account was made
    #[schema(format = DateTime, example = "2026-11-21T21:48:08Z")]
    created_date: String,
    /// When the account was last changed; absent until then
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-21T22:10:00Z")]
    last_modified_date: Option<String>,
    /// The same as its status
    #[schema(example = "enabled")]
    state: &'static str,
}

impl AccountMetadata {
    pub(super) fn of(account: &Account) -> Self {
        let changed = account.version > 1;
        Self {
            created_date: rfc3339(account.created_at),
            last_modified_date: changed.then(|| rfc3339(account.modified_at)),
            state: account.status.as_str(),
        }
    }
}

/// The status of an account
pub(super) struct AccountStatus;

impl PartialSchema for AccountStatus {
    fn schema() -> RefOr<Schema> {
        // Go has one name space for the words of all enums, and `TokenStatus` has the plain ones.
        let names = json!(["ACCOUNT_ENABLED", "ACCOUNT_DISABLED"]);
        let mut status = one_of(Status::ALL.into_iter().map(Status::as_str));
        status.description = Some("The status of an account".to_owned());
        status.example = Some(json!("enabled"));
        status.extensions = Some(Extensions::builder().add("x-enum-varnames", names).build());
        status.into()
    }
}

impl ToSchema for AccountStatus {}

/// A password as it was sent. Unlike for other members, errors do not quote a value of a wrong type.
#[derive(Debug)]
pub(super) struct Password(SecretString);

impl From<Password> for SecretString {
    fn from(password: Password) -> Self {
        password.0
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text.into())),
            _ => Err(serde::de::Error::custom("a password is a text")),
        }
    }
}

/// The name of a role.
pub(super) struct RoleName;

impl PartialSchema for RoleName {
    fn schema() -> RefOr<Schema> {
        text("The name of a role", 255, PRINTABLE, "Analyst").into()
    }
}

impl ToSchema for RoleName {}

/// The account's name and the password that was made with it
#[derive(Debug, Serialize, ToSchema)]
struct AccountCredentials {
    /// The account's name
    #[schema(example = "alice@example.com")]
    username: String,
    /// Its password, shown in this answer alone
    #[schema(value_type = String, example = "exampleexampleexampleexa")]
    password: Shown,
}

#[derive(Debug, Serialize, ToSchema)]
struct AccountProperties {
    /// Only in the answer that made an account without a password
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    credentials: Option<AccountCredentials>,
    /// The account's name
    #[schema(example = "alice@example.com")]
    name: String,
    /// Names of its roles
    #[schema(value_type = Vec<RoleName>, example = json!(["Analyst"]))]
    roles: Vec<String>,
    /// The status of the account
    #[schema(value_type = AccountStatus)]
    status: &'static str,
    /// A text for people; absent without one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "The robot of the nightly build")]
    description: Option<String>,
}

/// An account
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountResponse)]
pub(in super::super) struct AccountView {
    /// The account's id
    #[schema(format = Uuid, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    id: String,
    #[schema(example = "account")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    metadata: AccountMetadata,
    properties: AccountProperties,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        let metadata = AccountMetadata::of(&account);
        let Account {
            key: _,
            id,
            name,
            status,
            version: _,
            roles,
            description,
            created_at: _,
            modified_at: _,
        } = account;
        Self {
            id: id.to_string(),
            r#type: "account",
            href: "",
            metadata,
            properties: AccountProperties {
                credentials: None,
                name,
                roles,
                status: status.as_str(),
                description,
            },
        }
    }
}

impl From<MadeAccount> for AccountView {
    fn from(made: MadeAccount) -> Self {
        let username = made.account.name.clone();
        let mut view = Self::from(made.account);
        view.properties.credentials = made.password.map(|password| AccountCredentials {
            username,
            password: password.into(),
        });
        view
    }
}

/// A page of accounts
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountsResponse)]
pub(in super::super) struct AccountList {
    #[schema(example = "accounts")]
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
    /// Accounts in all
    #[schema(example = 1)]
    pub(in super::super) total: i64,
    pub(in super::super) items: Vec<AccountView>,
    #[serde(rename = "_links")]
    pub(in super::super) links: Links,
}

/// The properties of a new account
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostAccountInput)]
pub(in super::super) struct PostAccount {
    properties: PostAccountProperties,
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
#[serde(deny_unknown_fields)]
struct PostAccountProperties {
    /// The account's name, unique without regard to case; without colons and invisible characters
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\s:\x00-\x1F\x7F]([^:\x00-\x1F\x7F]*[^\s:\x00-\x1F\x7F])?$",
        example = "alice@example.com"
    )]
    name: String,
    /// The account's password: 8 characters to 71 bytes, in NFC. If absent, the service makes one and shows it once, as
    /// `properties.credentials.password`
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, nullable = false, format = Password, min_length = 8, max_length = 71, pattern = r"^[^\x00-\x1F\x7F]*$", example = "correct horse battery")]
    password: Option<Password>,
    /// Names of its roles; none for an account that is only a member of registries
    #[serde(default, deserialize_with = "nullable_list")]
    #[schema(value_type = Option<Vec<RoleName>>, example = json!(["Analyst"]))]
    roles: Vec<String>,
    /// The status of the account; enabled if absent
    #[schema(value_type = Option<AccountStatus>, nullable = false)]
    status: Option<String>,
    /// A text for people; null and absent are none
    #[schema(value_type = Option<String>, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$", example = "The robot of the nightly build")]
    description: Option<String>,
    #[serde(default)]
    #[schema(ignore)]
    credentials: SentBack,
}

impl TryFrom<PostAccount> for CreateAccount {
    type Error = Error;

    fn try_from(body: PostAccount) -> Result<Self> {
        let PostAccountProperties {
            name,
            password,
            roles,
            status,
            description,
            credentials,
        } = body.properties;
        let mut violations = Violations::default();
        let name = violations.take(AccountName::parse(&name));
        let password = password.map(|sent| NewPassword::parse(sent.0));
        let password = violations.take(password.transpose());
        let status = status.as_deref().map(Status::parse);
        let status = violations.take(status.transpose());
        let description = violations.take(description.map(parse_description).transpose());
        if credentials.with_password() {
            violations.push(
                Field::Password,
                "credentials.password is shown and never read; send \"password\" to choose one",
            );
        }
        let new = (|| {
            Some(Self {
                name: name?,
                password: password?,
                roles,
                status: status?.unwrap_or(Status::Enabled),
                description: description?,
            })
        })();
        violations.finish(new)
    }
}

/// Changes to an account; what is absent stays
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PatchAccountInput)]
pub(in super::super) struct PatchAccount {
    /// A new password: the old one fails from the next request on. API tokens and app tokens go on working, unless
    /// revokeTokens ends them
    #[schema(value_type = Option<String>, nullable = false, format = Password, min_length = 8, max_length = 71, pattern = r"^[^\x00-\x1F\x7F]*$", example = "correct horse battery")]
    password: Option<Password>,
    /// Replaces all roles
    #[schema(value_type = Option<Vec<RoleName>>, nullable = false, example = json!(["Analyst"]))]
    roles: Option<Vec<String>>,
    /// Enables or disables the account
    #[schema(value_type = Option<AccountStatus>, nullable = false)]
    status: Option<String>,
    /// Replaces the text for people; null removes it, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$", example = "The robot of the nightly build")]
    description: Patch<String>,
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

impl TryFrom<PatchAccount> for AccountPatch {
    type Error = Error;

    fn try_from(body: PatchAccount) -> Result<Self> {
        let PatchAccount {
            password,
            roles,
            status,
            description,
            name,
            _credentials: _,
            _id: _,
            _type: _,
            _href: _,
            _metadata: _,
        } = body;
        let mut violations = Violations::default();
        let password = password.map(|password| NewPassword::parse(password.0));
        let password = violations.take(password.transpose());
        let status = violations.take(status.as_deref().map(Status::parse).transpose());
        let description = violations.take(description.try_map(parse_description));
        let patch = (|| {
            Some(Self {
                name,
                password: password?,
                roles,
                status: status?,
                description: description?,
            })
        })();
        violations.finish(patch)
    }
}
