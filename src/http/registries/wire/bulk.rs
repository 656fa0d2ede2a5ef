//! Bulk runs and their dry runs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Links, rfc3339};
use crate::domain::bulk::{Action, NamedToken, Refused, Run, STOPPED, Wish};
use crate::http::registries::bulk_request::{ActionWord, Filter, RunStateWord};
use crate::service::bulk::{Preview, Report};

/// A token and its registry
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BulkToken {
    /// The token's id
    #[schema(value_type = String, format = Uuid, example = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10")]
    id: Uuid,
    /// The token's name
    #[schema(example = "push-token")]
    name: String,
    /// The registry's id
    #[schema(value_type = String, format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry_id: Uuid,
    /// The registry's name
    #[schema(example = "team-a")]
    registry_name: String,
    /// Why it was not changed; absent in a dry run
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = "you may not do this on this registry; it needs write permission for Token, from a membership as maintainer or from a role"
    )]
    reason: Option<String>,
}

impl BulkToken {
    fn new(token: NamedToken, reason: Option<String>) -> Self {
        Self {
            id: token.id.0,
            name: token.name,
            registry_id: token.registry.0,
            registry_name: token.registry_name,
            reason,
        }
    }
}

impl From<Refused> for BulkToken {
    fn from(Refused { token, reason }: Refused) -> Self {
        Self::new(token, Some(reason))
    }
}

/// The number of tokens that may not be changed for a reason
#[derive(Debug, Serialize, ToSchema)]
struct BulkReason {
    /// The reason
    #[schema(
        example = "you may not do this on this registry; it needs write permission for Token, from a membership as maintainer or from a role"
    )]
    reason: String,
    /// The number of the tokens
    #[schema(example = 3)]
    count: i64,
}

/// The effect that a run would have
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PreviewProperties {
    filter: Filter,
    #[schema(value_type = ActionWord)]
    action: &'static str,
    /// The end of the tokens; absent for an action without one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Option<Value>,
    #[schema(example = true)]
    dry_run: bool,
    /// The tokens that the filter finds among those that the caller may read
    #[schema(example = 17)]
    found: i64,
    /// Those of them that the caller may change
    #[schema(example = 14)]
    permitted: i64,
    /// Those of the permitted that have the change already
    #[schema(example = 0)]
    unchanged: i64,
    /// The others, by the reason; up to 20 reasons are told apart
    refused: Vec<BulkReason>,
    /// The first hundred that were found
    tokens: Vec<BulkToken>,
    /// The text that confirms exactly this, for this account
    #[schema(example = "AAAAAAAAAAMB")]
    confirmation: String,
    /// When the confirmation ends
    #[schema(format = DateTime, example = "2026-11-21T22:25:00Z")]
    confirmation_expiry_date: String,
}

/// The answer to a dry run
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BulkPreviewResponse)]
pub(in super::super) struct PreviewView {
    #[schema(example = "bulk-preview")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    properties: PreviewProperties,
}

/// Null is no end.
fn shown_expiry(action: Action) -> Option<Value> {
    let end = action.expiry_date().change()?;
    Some(json!(end.map(rfc3339)))
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        let Preview {
            wish,
            found,
            permitted,
            unchanged,
            refused,
            tokens,
            confirmation,
            confirmable_until,
        } = preview;
        let refused = refused.into_iter();
        let tokens = tokens.into_iter();
        Self {
            r#type: "bulk-preview",
            href: "",
            properties: PreviewProperties {
                filter: Filter::from(&wish.filter),
                action: wish.action.as_str(),
                expiry_date: shown_expiry(wish.action),
                dry_run: true,
                found,
                permitted,
                unchanged,
                refused: refused
                    .map(|(reason, count)| BulkReason { reason, count })
                    .collect(),
                tokens: tokens.map(|token| BulkToken::new(token, None)).collect(),
                confirmation,
                confirmation_expiry_date: rfc3339(confirmable_until),
            },
        }
    }
}

/// The account that began a run, and its state
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BulkMetadata {
    /// Name of the account that began the run
    #[schema(example = "alice@example.com")]
    created_by: String,
    /// Id of the account that began the run
    #[schema(value_type = String, format = Uuid, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    created_by_user_id: Uuid,
    /// When the run began
    #[schema(format = DateTime, example = "2026-11-21T22:10:00Z")]
    created_date: String,
    /// When the run ended; absent until then
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime, example = "2026-11-21T22:10:09Z")]
    finished_date: Option<String>,
    #[schema(value_type = RunStateWord)]
    state: &'static str,
}

/// A run, and how far it is
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BulkProperties {
    filter: Filter,
    #[schema(value_type = ActionWord)]
    action: &'static str,
    /// The end of the tokens; absent for an action without one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Option<Value>,
    /// Tokens that were found when it began; it grows if the run meets more
    #[schema(example = 17)]
    found: i64,
    /// Tokens that it changed
    #[schema(example = 14)]
    changed: i64,
    /// Tokens that it left as they were: they had the change already, were deleted, or ceased to meet the conditions
    #[schema(example = 0)]
    unchanged: i64,
    /// Tokens that it was not permitted to change
    #[schema(example = 3)]
    refused: i64,
    /// Tokens that met the conditions when it began, but were made after the dry run; it does not touch them
    #[schema(example = 0)]
    made_since: i64,
    /// Why it stopped; absent unless it did
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        nullable = false,
        example = json!(STOPPED)
    )]
    reason: Option<String>,
    /// The first 1000 tokens that it was not permitted to change; absent in lists, and in the answer that began it
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refused_tokens: Option<Vec<BulkToken>>,
}

/// A bulk run
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BulkResponse)]
pub(in super::super) struct BulkView {
    /// The run's id
    #[schema(value_type = String, format = Uuid, example = "c1b3a0de-7c62-4a8e-9d54-2f0f6b7a1e90")]
    id: Uuid,
    #[schema(example = "bulk")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    metadata: BulkMetadata,
    properties: BulkProperties,
}

impl BulkView {
    pub(in super::super) fn new(run: Run, refused: Option<Vec<Refused>>) -> Self {
        let date = |at: DateTime<Utc>| rfc3339(at);
        let Wish { filter, action } = &run.confirmed.wish;
        let refused = refused.map(|tokens| tokens.into_iter().map(Into::into).collect());
        Self {
            id: run.id.0,
            r#type: "bulk",
            href: "",
            properties: BulkProperties {
                filter: Filter::from(filter),
                action: action.as_str(),
                expiry_date: shown_expiry(*action),
                found: run.tally.found,
                changed: run.tally.changed,
                unchanged: run.tally.unchanged,
                refused: run.tally.refused,
                made_since: run.made_since,
                reason: run.reason,
                refused_tokens: refused,
            },
            metadata: BulkMetadata {
                created_by: run.created.by_name,
                created_by_user_id: run.created.by.0,
                created_date: date(run.created.at),
                finished_date: run.finished_at.map(date),
                state: run.state.as_str(),
            },
        }
    }
}

impl From<Report> for BulkView {
    fn from(Report { run, refused }: Report) -> Self {
        Self::new(run, Some(refused))
    }
}

/// A page of bulk runs
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BulkListResponse)]
pub(in super::super) struct BulkList {
    #[schema(example = "bulk")]
    pub(in super::super) id: &'static str,
    #[schema(example = "collection")]
    pub(in super::super) r#type: &'static str,
    #[schema(example = "")]
    pub(in super::super) href: &'static str,
    /// Runs before this page
    #[schema(example = 0)]
    pub(in super::super) offset: i64,
    /// The most runs on this page
    #[schema(example = 100)]
    pub(in super::super) limit: i64,
    /// Runs on this page
    #[schema(example = 1)]
    pub(in super::super) count: usize,
    /// All runs that the caller may see
    #[schema(example = 1)]
    pub(in super::super) total: i64,
    pub(in super::super) items: Vec<BulkView>,
    #[serde(rename = "_links")]
    pub(in super::super) links: Links,
}
