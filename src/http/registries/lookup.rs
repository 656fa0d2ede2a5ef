//! `/tokens/lookup`.

use std::fmt;

use actix_web::web::Data;
use actix_web::{HttpResponse, post};
use secrecy::SecretString;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::wire::{self, rfc3339};
use super::{Answer, Call};
use crate::domain::lookup::{Ending, Suspect};
use crate::domain::registry_api_token::TokenLevel;
use crate::domain::token_scope::Scope;
use crate::error::{Error, Result, Violations};
use crate::http::call::Json;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::schema::prefixed_word;
use crate::http::state::State;
use crate::service::lookups::Finding;

/// The path for lookups.
pub(super) const PATH: &str = "/tokens/lookup";

/// The members of the body.
const MEMBERS: [&str; 2] = ["action", "secret"];

/// A secret, and how its credential is to end
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LookupSecretInput)]
pub(super) struct LookupSecret {
    /// How the credential is to end; absent only to look
    #[serde(default, deserialize_with = "action")]
    #[schema(value_type = Option<EndingWord>, nullable = false)]
    action: Option<String>,
    /// The secret, whole; white space around it is left out
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String, max_length = 8192, example = "whrt_exampleexampleexampleexampleexampleexam")]
    secret: SecretString,
}

/// How the credential of a secret ends.
struct EndingWord;

impl PartialSchema for EndingWord {
    fn schema() -> RefOr<Schema> {
        prefixed_word(
            "`disable`: a registry token is disabled, or its previous secret ended if the secret is that one; an app \
             token is deleted, and an API token revoked. `delete`: the same, but a registry token is deleted",
            "END",
            &Ending::ALL.map(Ending::as_str),
            Ending::Disable.as_str(),
        )
        .into()
    }
}

impl ToSchema for EndingWord {}

/// Reads a text. Errors do not quote other values.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        _ => Err(de::Error::custom("a text is needed")),
    }
}

/// Reads a member that may be absent, but not null.
fn action<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<String>, D::Error> {
    text(deserializer).map(Some)
}

/// Reads a text that is hidden in logs.
fn secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<SecretString, D::Error> {
    text(deserializer).map(SecretString::from)
}

/// The body, with errors that quote nothing of it: a secret may stand in any place of it.
#[derive(Debug)]
pub(super) struct Guarded(LookupSecret);

impl<'de> Deserialize<'de> for Guarded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Guarded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_str<E: de::Error>(self, _: &str) -> std::result::Result<Guarded, E> {
                Err(E::custom("a text; an object is needed"))
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                members: A,
            ) -> std::result::Result<Guarded, A::Error> {
                LookupSecret::deserialize(MapAccessDeserializer::new(Known(members))).map(Guarded)
            }
        }

        deserializer.deserialize_any(Object)
    }
}

/// Members of an object, of which unknown ones are refused without their names.
struct Known<A>(A);

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Known<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, A::Error> {
        match self.0.next_key::<String>()? {
            None => Ok(None),
            Some(name) if MEMBERS.contains(&name.as_str()) => {
                seed.deserialize(name.into_deserializer()).map(Some)
            }
            Some(_) => {
                let known = MEMBERS.join(" and ");
                Err(de::Error::custom(format!(
                    "an unknown member; known are {known}"
                )))
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> std::result::Result<V::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}

/// A lookup as a command.
#[derive(Debug)]
pub(super) struct Lookup {
    suspect: Suspect,
    ending: Option<Ending>,
}

impl TryFrom<Guarded> for Lookup {
    type Error = Error;

    fn try_from(Guarded(body): Guarded) -> Result<Self> {
        let mut violations = Violations::default();
        let ending = violations.take(body.action.as_deref().map(Ending::parse).transpose());
        let suspect = violations.take(Suspect::parse(&body.secret));
        let lookup = (|| {
            Some(Self {
                suspect: suspect?,
                ending: ending?,
            })
        })();
        violations.finish(lookup)
    }
}

/// The credential that a secret belongs to, as it is after the request
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SecretLookupResponse)]
pub(super) struct LookupView {
    /// Id of the account that made a registry token, or that the credential belongs to or is; absent if that is deleted
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    account_id: Option<Uuid>,
    /// Name of that account; absent if that is deleted
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "alice@example.com")]
    account_name: Option<String>,
    /// True if this request ended the credential, or the previous secret
    #[schema(example = false)]
    ended: bool,
    /// When the credential expires; null if never
    #[schema(required, format = DateTime, example = "2027-01-13T16:27:42Z")]
    expiry_date: Option<String>,
    /// Id of the credential
    #[schema(value_type = String, format = Uuid, example = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10")]
    id: Uuid,
    /// The kind of the secret: registry-token, previous-secret (of a registry token), app-token, api-token,
    /// registry-api-token, workload-password, refresh-token or jwt
    #[schema(example = "registry-token")]
    kind: &'static str,
    /// The most that a registry API token may do on its registry; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<wire::TokenLevel>, nullable = false)]
    level: Option<&'static str>,
    /// Address of the last use; absent if it is not known
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "192.0.2.17")]
    last_used_address: Option<String>,
    /// When the credential was last used; absent until then, and for an account
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-22T06:30:00Z")]
    last_used_date: Option<String>,
    /// Repository of the last use; absent if it is not known
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "team/app")]
    last_used_repository: Option<String>,
    /// The registries that the account of an app token or of a login is a member of, in the order they were made; the first
    /// 100. Absent for others, and if the caller may not know of these registries
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    memberships: Option<Vec<wire::MembershipView>>,
    /// The number of registries that this account is a member of; absent likewise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1)]
    membership_total: Option<i64>,
    /// Name of the credential; the title of an app token
    #[schema(example = "push-token")]
    name: String,
    /// Why the secret opens nothing; null if it is usable
    #[schema(required, example = "the token is disabled")]
    reason: Option<String>,
    /// Id of the registry of a registry token, of a registry API token, of a trust, or of a login; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry_id: Option<Uuid>,
    /// Name of that registry; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "team-a")]
    registry_name: Option<String>,
    /// The roles of an API token, or of the account that the credential belongs to or is; absent for a registry token, a
    /// registry API token and a trust
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(["Admin"]))]
    roles: Option<Vec<String>>,
    /// The scopes of a registry token or a trust; absent for others
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<wire::Scope>>, nullable = false)]
    scopes: Option<Vec<Scope>>,
    /// When the secret itself ends, if that is known and still to come: of a JWT, of a previous secret in its grace, and of
    /// a secret that its registry lets grow no older. Absent otherwise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-12-13T16:27:42Z")]
    secret_expiry_date: Option<String>,
    /// The state of the credential: enabled, disabled, expired, revoked or deleted
    #[schema(example = "enabled")]
    state: &'static str,
    /// The kind of the credential: token (a registry token), app-token, api-token, trust or account
    #[schema(example = "token")]
    subject_kind: &'static str,
    /// True if the secret opens anything now
    #[schema(example = true)]
    usable: bool,
}

impl From<Finding> for LookupView {
    fn from(finding: Finding) -> Self {
        let Finding {
            kind,
            subject_kind,
            id,
            name,
            registry,
            level,
            account,
            state,
            unusable,
            expiry_date,
            secret_expiry_date,
            scopes,
            roles,
            memberships,
            last_used,
            ended,
        } = finding;
        let (registry_id, registry_name) = registry.unzip();
        let (account_id, account_name) = account.unzip();
        let (memberships, membership_total) = memberships.unzip();
        let (at, address, repository) = match last_used {
            Some(last) => (Some(last.at), last.address, last.repository),
            None => (None, None, None),
        };
        Self {
            account_id: account_id.map(|id| id.0),
            account_name,
            ended,
            expiry_date: expiry_date.map(rfc3339),
            id,
            kind: kind.as_str(),
            level: level.map(TokenLevel::as_str),
            last_used_address: address.map(|address| address.to_string()),
            last_used_date: at.map(rfc3339),
            last_used_repository: repository,
            memberships: memberships
                .map(|all| all.into_iter().map(wire::MembershipView::from).collect()),
            membership_total,
            name,
            usable: unusable.is_none(),
            reason: unusable,
            registry_id: registry_id.map(|id| id.0),
            registry_name,
            roles,
            scopes,
            secret_expiry_date: secret_expiry_date.map(rfc3339),
            state,
            subject_kind: subject_kind.as_str(),
        }
    }
}

/// Look up a secret
///
/// Says which credential a secret belongs to, what that opens and when it was last used, and ends it in the same call
///
/// * an account is told of what it may write: tokens of registries where it may write tokens, API tokens of registries
///   whose members it manages, its own app tokens, API tokens and logins; all else looks unknown
///
/// * what has not the form of a secret is refused unread
#[utoipa::path(
    operation_id = "tokensLookup", tag = "Tokens", request_body = LookupSecret,
    responses((status = 200, description = "The credential of the secret", body = LookupView), (status = 404, description = "No credential that the caller may write has this secret", body = ApiErrorResponse), (status = 409, description = "The secret was given for the password of an account, and ends with that alone", body = ApiErrorResponse), BodyErrors, Errors),
)]
#[post("/tokens/lookup")]
pub(super) async fn look_up(state: Data<State>, call: Call<(), Json<Guarded, Lookup>>) -> Answer {
    let Lookup { suspect, ending } = call.body.0;
    let finding = state
        .service
        .lookups()
        .look_up(&call.caller, suspect, ending)
        .await?;
    Ok(HttpResponse::Ok().json(LookupView::from(finding)))
}
