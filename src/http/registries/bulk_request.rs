//! The body of `/tokens/bulk`, and the words that its answers have too.

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::{Object, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::token_query::{AmongRegistries, TokenConditions};
use super::wire::given;
use crate::domain::bulk::{Action, RunState, Wish};
use crate::domain::filter::{TokenFilter, TokenState};
use crate::domain::labels::Label;
use crate::domain::patch::Patch;
use crate::domain::token::parse_expiry;
use crate::error::{Error, Field, Result, Violations};
use crate::http::schema::described_word;
use crate::service::bulk::Confirmation;

/// The conditions on tokens, as the parameters of `GET /tokens`; a token has to meet all that are given
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = TokenFilter, min_properties = 1, example = json!({"name": "ci-*", "unusedSince": "P90D"}))]
pub(super) struct Filter {
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
pub(super) struct ActionWord;

impl PartialSchema for ActionWord {
    fn schema() -> RefOr<Schema> {
        let description = "The change: `expire` ends a token at `expiryDate`, or at once without one, and leaves an earlier \
                           end; `setExpiry` sets its end, also to a later one";
        described_word(description, Action::WORDS.into_iter(), "disable").into()
    }
}

impl ToSchema for ActionWord {}

/// The state of a run.
pub(super) struct RunStateWord;

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

/// A request of `/tokens/bulk`.
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
