//! The bodies of an evaluation, and their translation to and from the domain.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::wire::{WarningView, given, nullable_list};
use crate::domain::evaluation::{Decision, Evaluation, Question, parse_address, parse_wanted};
use crate::domain::scope::joined;
use crate::domain::token_scope::Scope;
use crate::error::{Error, Result, Violations};
use crate::http::schema::text;

/// The example of what a token is to be evaluated for.
pub(super) const WANTED: &str = "repository:team/app:pull,push registry:catalog:*";

/// The question about a token: at least one resource in `scope` or `scopes`, and the two together where both are
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EvaluateTokenInput, min_properties = 1)]
pub(super) struct EvaluateToken {
    /// Resources, by their own names: `*` stands for itself
    #[serde(default, deserialize_with = "given")]
    #[schema(max_items = 100, nullable = false)]
    scopes: Option<Vec<WantedScope>>,
    /// The same as text: what follows `scope=` in a registry's challenge, or in a client's request
    #[serde(default, deserialize_with = "given")]
    #[schema(
        nullable = false,
        max_length = 65536,
        pattern = r"^ *([a-z0-9]+(\([a-z0-9]+\))?:[!-~]{0,256}:([a-z]*|\*)(,([a-z]*|\*))*( +[a-z0-9]+(\([a-z0-9]+\))?:[!-~]{0,256}:([a-z]*|\*)(,([a-z]*|\*))*)* *)?$",
        example = json!(WANTED)
    )]
    scope: Option<String>,
    /// The address that the token would be used from; without it allow lists are not checked
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "10.1.2.3")]
    address: Option<String>,
}

/// A resource, and the wanted actions on it
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedScope {
    /// The actions
    #[serde(deserialize_with = "nullable_list")]
    #[schema(value_type = Option<Vec<WantedAction>>, required = true, max_items = 20, example = json!(["pull", "push"]))]
    actions: Vec<String>,
    /// The name of the resource; empty in zot's question for the catalog
    #[schema(max_length = 256, pattern = "^[!-~]*$", example = "team/app")]
    name: String,
    /// The resource's type
    #[schema(max_length = 256, pattern = "^[a-z0-9]+$", example = "repository")]
    r#type: String,
}

/// An action on a resource.
struct WantedAction;

impl PartialSchema for WantedAction {
    fn schema() -> RefOr<Schema> {
        let description = "The actions on a resource; `*` is every action";
        text(description, 256, r"^([a-z]*|\*)$", "pull").into()
    }
}

impl ToSchema for WantedAction {}

impl TryFrom<EvaluateToken> for Question {
    type Error = Error;

    fn try_from(body: EvaluateToken) -> Result<Self> {
        let objects: Option<Vec<_>> = body.scopes.map(|scopes| {
            let scopes = scopes.into_iter();
            scopes
                .map(|scope| Scope {
                    actions: scope.actions,
                    name: scope.name,
                    r#type: scope.r#type,
                })
                .collect()
        });
        let mut violations = Violations::default();
        let wanted = violations.take(parse_wanted(objects.as_deref(), body.scope.as_deref()));
        let address = violations.take(body.address.as_deref().map(parse_address).transpose());
        let question = (|| {
            Some(Self {
                wanted: wanted?,
                address: address?,
            })
        })();
        violations.finish(question)
    }
}

/// The grant that a token would get now, and the reasons
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EvaluationResponse)]
pub(super) struct EvaluationView {
    /// True if the token opens anything at all now
    #[schema(example = true)]
    usable: bool,
    /// Why the token opens nothing; null if it is usable
    #[schema(required, example = "the token is disabled")]
    reason: Option<String>,
    /// The scope that would be granted, as a token endpoint says it; empty if nothing
    #[schema(example = "repository:team/app:pull")]
    scope: String,
    /// One for each action of each resource; `*` on a repository is decided action by action
    decisions: Vec<DecisionView>,
    /// Scopes of the token that grant nothing, as far as their text tells; absent without such
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<WarningView>,
}

/// The decision on one action on one resource
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScopeDecision)]
pub(super) struct DecisionView {
    /// The action
    #[schema(example = "pull")]
    action: String,
    /// True if it would be granted
    #[schema(example = true)]
    granted: bool,
    /// The resource's name
    #[schema(example = "team/app")]
    name: String,
    /// The reason, for people
    #[schema(example = "granted by scopes[0]")]
    reason: String,
    #[schema(required)]
    rule: Option<RuleView>,
    /// The resource's type
    #[schema(example = "repository")]
    r#type: String,
}

/// The token's scope that grants the action, or would if the token were usable; null if no scope does
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScopeRule)]
struct RuleView {
    /// Its place among the token's scopes, from 0
    #[schema(example = 0)]
    index: usize,
    #[schema(example = json!(["pull"]))]
    actions: Vec<String>,
    #[schema(example = "team/*")]
    name: String,
    #[schema(example = "repository")]
    r#type: String,
}

impl From<Evaluation> for EvaluationView {
    fn from(evaluation: Evaluation) -> Self {
        Self {
            usable: evaluation.unusable.is_none(),
            scope: joined(&evaluation.granted),
            reason: evaluation.unusable,
            decisions: evaluation
                .decisions
                .into_iter()
                .map(DecisionView::from)
                .collect(),
            warnings: evaluation
                .warnings
                .into_iter()
                .map(WarningView::from)
                .collect(),
        }
    }
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        Self {
            action: decision.action,
            granted: decision.granted,
            name: decision.name,
            reason: decision.reason,
            rule: decision.rule.map(|rule| RuleView {
                index: rule.index,
                actions: rule.scope.actions,
                name: rule.scope.name,
                r#type: rule.scope.r#type,
            }),
            r#type: decision.r#type,
        }
    }
}
