//! The bodies of this surface, and their translation to and from the domain.
//!
//! Unknown members are refused, since a mistyped `expiryDate` must not make a token that never expires. Members of an
//! answer that a client sends back are read and ignored. Each body lists them itself: serde's `flatten` accepts unknown
//! members in spite of `deny_unknown_fields`.

mod account;
mod bulk;
mod issued;
mod issuer;
mod labels;
mod me;
mod member;
mod registry;
mod token;
mod trust;
mod trust_question;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub(super) use self::account::{AccountList, AccountView, PatchAccount, PostAccount};
pub(super) use self::bulk::{BulkList, BulkView, PreviewView};
pub(super) use self::issued::{IssuedList, IssuedView, PostRegistryApiToken, TokenLevel};
pub(super) use self::issuer::{CreateIssuer, IssuerList, IssuerView, PatchIssuer};
pub(super) use self::me::{IdentityView, MembershipView, PutPassword};
pub(super) use self::member::{MemberList, MemberView, PutMember};
pub(super) use self::registry::{
    CreateRegistry, Pagination, PatchRegistry, RegistryList, RegistryView,
};
pub(super) use self::token::{
    CreateToken, PatchToken, Scope, SentBack, TokenList, TokenView, WarningView,
};
pub(super) use self::trust::{CreateTrust, PatchTrust, TrustList, TrustView};
pub(super) use self::trust_question::{
    EvaluateTrust, RefusalList, TrustEvaluationView, TrustQuestion,
};
use crate::domain::Attribution;
use crate::domain::rotation::Secrets;
use crate::domain::token::LastUse;

/// Reads a member that may be absent, but not null: that has no meaning, and a script's missing value must not count as
/// left out.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Formats a time as RFC 3339 in UTC with a literal `Z`: the Go SDK 2.x appends a `Z` to a time without one, so it
/// could not read an offset.
pub(super) fn rfc3339(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The accounts that made and changed a resource, and its state
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
    /// When the token's secret reaches the maximum age of its registry and opens nothing more; absent if there is no
    /// maximum
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2027-02-19T22:10:00Z")]
    secret_expiry_date: Option<String>,
    /// When the previous secret ends; absent unless it still works
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-22T22:10:00Z")]
    previous_secret_expiry_date: Option<String>,
    /// Scopes of the token that grant nothing, as far as their text tells. Only in answers that made or changed the
    /// token; absent if there are none
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<WarningView>,
    /// The id of the token's registry; absent but in the list of all registries
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry_id: Option<Uuid>,
    /// The name of the token's registry; absent but in the list of all registries
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "team-a")]
    registry_name: Option<String>,
    /// The state of the resource
    #[schema(example = "enabled")]
    state: &'static str,
}

impl Metadata {
    fn new(created: Attribution, modified: Option<Attribution>, state: &'static str) -> Self {
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
            registry_id: None,
            registry_name: None,
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
        // Most tokens never get a second secret.
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

/// The locations of registries
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

/// Go clients send `null` for an empty list.
pub(super) fn nullable_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
