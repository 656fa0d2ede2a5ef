//! `/tokens/bulk` and `/bulk`.

use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::{Object, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::ids::BulkPath;
use super::token::{Page, window_links};
use super::token_query::{AmongRegistries, TokenConditions};
use super::wire::{Links, rfc3339};
use super::{Answer, Call, listed};
use crate::domain::bulk::{Action, NamedToken, Refused, Run, RunState, STOPPED, Wish};
use crate::domain::filter::{TokenFilter, TokenState};
use crate::domain::id::BulkId;
use crate::domain::labels::Label;
use crate::domain::page::Window;
use crate::domain::patch::Patch;
use crate::domain::token::parse_expiry;
use crate::error::{Error, Field, Result, Violations};
use crate::http::call::{Json, Raw};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::schema::described_word;
use crate::http::state::State;
use crate::service::bulk::{Confirmation, Preview, Report};

/// The path of the request that begins a run, after the prefix.
const BEGIN: &str = "/tokens/bulk";

/// A condition that is left out or given, and not null: a script's missing value must not widen the set.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The conditions on tokens, as the parameters of `GET /tokens`; a token has to meet all that are given
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = TokenFilter, min_properties = 1, example = json!({"name": "ci-*", "unusedSince": "P90D"}))]
struct Filter {
    /// A name, or the beginning of one and `*`; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(
        nullable = false,
        pattern = r"^[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9]|[-A-Za-z0-9]{0,62}\*)$",
        max_length = 64,
        example = "ci-*"
    )]
    name: Option<String>,
    /// A part of the description; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "nightly"
    )]
    description: Option<String>,
    /// The state, as `metadata.state` shows it; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(schema_with = state_word, required = false)]
    state: Option<String>,
    /// The account that made the token: its id, or its name at that time; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "alice@example.com"
    )]
    created_by: Option<String>,
    /// The token expires within this time after the dry run; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(
        nullable = false,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P14D"
    )]
    expiring_within: Option<String>,
    /// The token expired this time before the dry run or earlier; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(
        nullable = false,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P30D"
    )]
    expired_since: Option<String>,
    /// The token was neither made nor used within this time before the dry run; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(
        nullable = false,
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "P90D"
    )]
    unused_since: Option<String>,
    /// True: the token was never used. False: it was; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, example = true)]
    never_used: Option<bool>,
    /// The token was made before this instant; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, format = DateTime, example = "2026-01-13T16:27:42Z")]
    created_before: Option<String>,
    /// The token was made at this instant or later; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, format = DateTime, example = "2026-01-13T16:27:42Z")]
    created_after: Option<String>,
    /// The token's scopes grant all of this access; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(
        nullable = false,
        pattern = r"^[a-z0-9]+(\([a-z0-9]+\))?:[\x21-\x7E]*:[a-z,*]+$",
        max_length = 512,
        example = "repository:app/web:push"
    )]
    can_open: Option<String>,
    /// A scope of the token carries this action; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, pattern = r"^([a-z]{1,63}|\*)$", example = "delete")]
    carries: Option<String>,
    /// Labels of the token, each as `name=value`; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, min_items = 1, max_items = 16)]
    label: Option<Vec<String>>,
    /// The ids of registries; the token is in one of them; any if absent
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(nullable = false, min_items = 1, max_items = 50)]
    registry_id: Option<Vec<String>>,
}

/// The state of a token.
fn state_word() -> Object {
    let words = TokenState::ALL.into_iter().map(TokenState::as_str);
    let description = "The state, as `metadata.state` shows it; any if absent";
    described_word(description, words, "enabled")
}

impl TryFrom<Filter> for TokenFilter {
    type Error = Error;

    fn try_from(sent: Filter) -> Result<Self> {
        let Filter {
            name,
            description,
            state,
            created_by,
            expiring_within,
            expired_since,
            unused_since,
            never_used,
            created_before,
            created_after,
            can_open,
            carries,
            label,
            registry_id,
        } = sent;
        let conditions = TokenConditions {
            name,
            description,
            state,
            created_by,
            expiring_within,
            expired_since,
            unused_since,
            never_used: never_used.map(|never| never.to_string()),
            created_before,
            created_after,
            can_open,
            carries,
        };
        let mut violations = Violations::default();
        let filter = violations.take(Self::try_from(conditions));
        for (field, name, named) in [
            (Field::Label, "label", &label),
            (Field::RegistryId, "registryId", &registry_id),
        ] {
            if named.as_ref().is_some_and(Vec::is_empty) {
                let message = format!("{name} is an empty list; give it a value, or leave it out");
                violations.push(field, message);
            }
        }
        let labels = violations.take(Label::parse_all(&label.unwrap_or_default()));
        let registries = registry_id.unwrap_or_default();
        let registries = violations.take(AmongRegistries::parse(&registries));
        let filter = (|| {
            let AmongRegistries(registries) = registries?;
            Some(Self {
                labels: labels?,
                registries,
                ..filter?
            })
        })();
        violations.finish(filter)
    }
}

impl From<&TokenFilter> for Filter {
    fn from(filter: &TokenFilter) -> Self {
        let mut shown = Self::default();
        for (name, value) in filter.parameters() {
            match name {
                "name" => shown.name = Some(value),
                "description" => shown.description = Some(value),
                "state" => shown.state = Some(value),
                "createdBy" => shown.created_by = Some(value),
                "expiringWithin" => shown.expiring_within = Some(value),
                "expiredSince" => shown.expired_since = Some(value),
                "unusedSince" => shown.unused_since = Some(value),
                "neverUsed" => shown.never_used = filter.never_used,
                "createdBefore" => shown.created_before = Some(value),
                "createdAfter" => shown.created_after = Some(value),
                "canOpen" => shown.can_open = Some(value),
                "carries" => shown.carries = Some(value),
                "label" => shown.label.get_or_insert_default().push(value),
                _ => shown.registry_id.get_or_insert_default().push(value),
            }
        }
        shown
    }
}

/// The change of each token.
struct ActionWord;

impl PartialSchema for ActionWord {
    fn schema() -> RefOr<Schema> {
        let description = "The change: `expire` ends a token at `expiryDate`, or at once without one, and leaves an earlier \
                           end; `setExpiry` sets its end, also to a later one";
        described_word(description, Action::WORDS.into_iter(), "disable").into()
    }
}

impl ToSchema for ActionWord {}

/// The state of a run.
struct RunStateWord;

impl PartialSchema for RunStateWord {
    fn schema() -> RefOr<Schema> {
        let words = RunState::ALL.into_iter().map(RunState::as_str);
        let description = "The state: `stopped` if the credential that confirmed it ended";
        let mut schema = described_word(description, words, "done");
        // Go has one name space for the words of all enums.
        let names = json!([
            "BULK_RUNNING",
            "BULK_DONE",
            "BULK_CANCELLED",
            "BULK_STOPPED"
        ]);
        schema.extensions = Some(Extensions::builder().add("x-enum-varnames", names).build());
        schema.into()
    }
}

impl ToSchema for RunStateWord {}

/// A dry run, or the confirmation of one
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostBulkInput)]
pub(super) struct PostBulk {
    properties: PostBulkProperties,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PostBulkProperties {
    /// The tokens. A dry run needs it, with one condition at least, or with registries; a confirmation may repeat it
    #[serde(default)]
    #[schema(nullable = false)]
    filter: Option<Filter>,
    /// A dry run needs it, a confirmation may repeat it
    #[schema(value_type = Option<ActionWord>, nullable = false)]
    action: Option<String>,
    /// The end of the tokens, of the actions expire and setExpiry; null is no end
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Patch<String>,
    /// True: look what would be changed, and change nothing
    #[schema(nullable = false, default = false, example = true)]
    dry_run: Option<bool>,
    /// The confirmation that a dry run gave; without dryRun it is needed
    #[schema(
        nullable = false,
        max_length = 20000,
        pattern = "^[-A-Za-z0-9_]*$",
        example = "eyJleGFtcGxlIjoidGhlIGRyeSBydW4ncyBvd24ifQ"
    )]
    confirmation: Option<String>,
    /// So many tokens may have left the set or come to it since the dry run, new ones included; 0 if absent. Beside a confirmation only
    #[schema(nullable = false, minimum = 0, example = 0)]
    maximum_change: Option<i64>,
}

/// The longest confirmation, in bytes.
const CONFIRMATION: usize = 20_000;

/// What is asked of `/tokens/bulk`.
#[derive(Debug)]
pub(super) enum Asked {
    /// A dry run.
    Preview(Wish),
    /// The run of a dry run.
    Start(Confirmation),
}

impl TryFrom<PostBulk> for Asked {
    type Error = Error;

    fn try_from(PostBulk { properties }: PostBulk) -> Result<Self> {
        let PostBulkProperties {
            filter,
            action,
            expiry_date,
            dry_run,
            confirmation,
            maximum_change,
        } = properties;
        let mut violations = Violations::default();
        let filter = filter.and_then(|filter| violations.take(TokenFilter::try_from(filter)));
        let without_action = action.is_none() && !expiry_date.is_keep();
        let expiry_date = violations.take(expiry_date.try_map(|date| parse_expiry(&date)));
        let action = action
            .zip(expiry_date)
            .and_then(|(word, expiry)| violations.take(Action::parse(&word, expiry)));
        if without_action {
            let message = "action is missing beside expiryDate; send expire or setExpiry";
            violations.push(Field::Action, message.to_owned());
        }
        if maximum_change.is_some_and(|most| most < 0) {
            let message = "maximumChange is below 0; it is a number of tokens";
            violations.push(Field::MaximumChange, message.to_owned());
        } else if maximum_change.is_some() && dry_run == Some(true) {
            let message = "maximumChange comes beside confirmation; leave it out of a dry run";
            violations.push(Field::MaximumChange, message.to_owned());
        }
        let maximum_change = maximum_change.unwrap_or_default();
        if !dry_run.unwrap_or_default() {
            let message = match &confirmation {
                None => Some(
                    "confirmation is missing; send \"dryRun\": true first, and then the confirmation that it answers"
                        .to_owned(),
                ),
                Some(text) if text.len() > CONFIRMATION => Some(format!(
                    "confirmation is longer than {CONFIRMATION} bytes; send that of a dry run, and nothing else"
                )),
                Some(_) => None,
            };
            let text = confirmation.filter(|_| message.is_none());
            if let Some(message) = message {
                violations.push(Field::Confirmation, message);
            }
            let start = |text| {
                Self::Start(Confirmation {
                    text,
                    filter,
                    action,
                    maximum_change,
                })
            };
            return violations.finish(text.map(start));
        }
        if confirmation.is_some() {
            let message =
                "confirmation comes beside dryRun; a dry run makes one, so leave one of them out";
            violations.push(Field::Confirmation, message.to_owned());
        }
        violations.finish(Some(()))?;
        let filter = filter.unwrap_or_default();
        match action {
            Some(action) => Ok(Self::Preview(Wish { filter, action })),
            None => Err(Error::invalid(
                Field::Action,
                format!("action is missing; known are {}", Action::WORDS.join(", ")),
            )),
        }
    }
}

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

/// What a run would do
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
pub(super) struct PreviewView {
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

/// What a run does, and how far it is
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
pub(super) struct BulkView {
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
    fn new(run: Run, refused: Option<Vec<Refused>>) -> Self {
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
pub(super) struct BulkList {
    #[schema(example = "bulk")]
    id: &'static str,
    #[schema(example = "collection")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    /// Runs before this page
    #[schema(example = 0)]
    offset: i64,
    /// The most runs on this page
    #[schema(example = 100)]
    limit: i64,
    /// Runs on this page
    #[schema(example = 1)]
    count: usize,
    /// All runs that the caller may see
    #[schema(example = 1)]
    total: i64,
    items: Vec<BulkView>,
    #[serde(rename = "_links")]
    links: Links,
}

/// Change many tokens
///
/// Disables, enables, deletes or ends all tokens that a filter finds, in two steps
///
/// * with "dryRun": true nothing is changed; the answer says how many tokens it would be, shows the first hundred, and has a "confirmation", good for 15 minutes
///
/// * with this confirmation, sent as {"properties": {"confirmation": "…"}}, a run begins in the background, and GET /bulk/{bulkId} says how far it is; the same confirmation again finds the same run
///
/// * each token is changed by the rules of a single change, with the rights that the caller has at that time
///
/// * tokens that were made after the dry run are not touched; each of them counts for maximumChange
#[utoipa::path(
    operation_id = "tokensBulkPost", tag = "Tokens", request_body = PostBulk,
    responses(
        (status = 200, description = "The result of the dry run", body = PreviewView),
        (status = 202, description = "The run", body = BulkView, headers(("Location" = String, description = "The path of the run"))),
        (status = 404, description = "A registry of the filter does not exist", body = ApiErrorResponse),
        (status = 409, description = "The tokens have changed since the dry run by more than maximumChange, or too many runs are under way", body = ApiErrorResponse),
        BodyErrors, Errors,
    ),
)]
#[post("/tokens/bulk")]
pub(super) async fn begin(state: Data<State>, call: Call<Raw, Json<PostBulk, Asked>>) -> Answer {
    let (Raw(request), asked) = (call.head, call.body.0);
    let bulk = state.service.bulk();
    let confirmation = match asked {
        Asked::Preview(wish) => {
            let preview = bulk.preview(&call.caller, wish).await?;
            return Ok(HttpResponse::Ok().json(PreviewView::from(preview)));
        }
        Asked::Start(confirmation) => confirmation,
    };
    let run = bulk.start(&call.caller, confirmation).await?;
    let here = links::here(&request);
    let base = here.strip_suffix(BEGIN).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{base}/bulk/{}", run.id));
    Ok(HttpResponse::Accepted()
        .insert_header((LOCATION, location.map_err(Error::internal)?))
        .json(BulkView::new(run, None)))
}

/// List bulk runs
///
/// Lists the runs that the caller began, the newest first; callers with write permission for Administration see all. At most 1000 elements are returned at once. Runs are removed 30 days after their end.
#[utoipa::path(
    operation_id = "bulkGet", tag = "Tokens", params(Page),
    responses((status = 200, description = "OK", body = BulkList), Errors),
)]
#[get("/bulk")]
pub(super) async fn list(state: Data<State>, call: Call<(Window, Raw)>) -> Answer {
    let (window, Raw(request)) = call.head;
    let (runs, total) = state.service.bulk().list(&call.caller, window).await?;
    let items: Vec<_> = runs
        .into_iter()
        .map(|run| BulkView::new(run, None))
        .collect();
    listed(
        &state,
        &BulkList {
            id: "bulk",
            r#type: "collection",
            href: "",
            offset: window.offset,
            limit: window.limit,
            count: items.len(),
            total,
            items,
            links: window_links(&links::here(&request), window, total, ""),
        },
    )
}

/// Get a bulk run
///
/// Says how far a run is, and what it was not permitted to change
#[utoipa::path(
    operation_id = "bulkFindById", tag = "Tokens", params(BulkPath),
    responses((status = 200, description = "OK", body = BulkView), (status = 404, description = "The run does not exist", body = ApiErrorResponse), Errors),
)]
#[get("/bulk/{bulkId}")]
pub(super) async fn show(state: Data<State>, call: Call<BulkId>) -> Answer {
    let report = state.service.bulk().show(&call.caller, call.head).await?;
    listed(&state, &BulkView::from(report))
}

/// Cancel a bulk run
///
/// Ends a run before its next batch of tokens; what was changed stays changed. A run that has ended stays as it is
#[utoipa::path(
    operation_id = "bulkCancelPost", tag = "Tokens", params(BulkPath),
    responses((status = 200, description = "The run as it is now", body = BulkView), (status = 404, description = "The run does not exist", body = ApiErrorResponse), Errors),
)]
#[post("/bulk/{bulkId}/cancel")]
pub(super) async fn cancel(state: Data<State>, call: Call<BulkId>) -> Answer {
    let report = state.service.bulk().cancel(&call.caller, call.head).await?;
    listed(&state, &BulkView::from(report))
}
