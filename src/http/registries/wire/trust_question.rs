//! Questions about trusts: the access of a workload with certain claims, and the workloads that were refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::token::WarningView;
use super::trust::simple;
use super::{given, rfc3339};
use crate::domain::claims::Verdict;
use crate::domain::evaluation::{Question, parse_address};
use crate::domain::scope::{joined, parse_exactly};
use crate::domain::strict_json::Object;
use crate::domain::trust_refusal::{RefusalReason, TrustRefusal};
use crate::domain::workload_jwt::Unproven;
use crate::error::{Error, Field, Result, Violations};
use crate::http::registries::evaluation::DecisionView;
use crate::http::schema::prefixed_word;
use crate::service::trusts::TrustEvaluation;

/// The claims of a JWT.
struct JwtClaims;

impl PartialSchema for JwtClaims {
    fn schema() -> RefOr<Schema> {
        let example = json!({
            "iss": "https://token.actions.githubusercontent.com",
            "aud": "team-a.localhost",
            "repository_id": "74",
            "ref": "refs/heads/main",
        });
        let mut schema = simple(Type::Object);
        schema.description = Some("The claims of a JWT: its payload".to_owned());
        schema.example = Some(example);
        schema.into()
    }
}

impl ToSchema for JwtClaims {}

/// The question about a trust: the claims of a workload, and the access that it wants
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EvaluateTrustInput, min_properties = 1)]
pub(in super::super) struct EvaluateTrust {
    /// The address that the workload comes from; without it allow lists are not checked
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, example = "10.1.2.3")]
    address: Option<String>,
    /// The claims; not with jwt
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<JwtClaims>, nullable = false)]
    claims: Option<Object>,
    /// A JWT with the claims; not with claims. Neither its signature nor its times are looked at
    #[serde(default, deserialize_with = "given")]
    #[schema(
        nullable = false,
        max_length = 6144,
        pattern = r"^[-_A-Za-z0-9]+\.[-_A-Za-z0-9]+\.[-_A-Za-z0-9]*$",
        example = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
    )]
    jwt: Option<String>,
    /// The wanted access: what follows `scope=` in a registry's challenge, or in a client's request
    #[serde(default, deserialize_with = "given")]
    #[schema(
        nullable = false,
        max_length = 65536,
        pattern = r"^ *([a-z0-9]+(\([a-z0-9]+\))?:[!-~]{0,256}:([a-z]*|\*)(,([a-z]*|\*))*( +[a-z0-9]+(\([a-z0-9]+\))?:[!-~]{0,256}:([a-z]*|\*)(,([a-z]*|\*))*)* *)?$",
        example = "repository:team/app:pull,push"
    )]
    scope: Option<String>,
}

/// A question as the domain knows it.
#[derive(Debug)]
pub(in super::super) struct TrustQuestion {
    pub(in super::super) workload: Unproven,
    pub(in super::super) question: Question,
}

impl TryFrom<EvaluateTrust> for TrustQuestion {
    type Error = Error;

    fn try_from(body: EvaluateTrust) -> Result<Self> {
        let EvaluateTrust {
            address,
            claims,
            jwt,
            scope,
        } = body;
        let mut violations = Violations::default();
        let workload = violations.take(match (claims, jwt) {
            (Some(claims), None) => Ok(Unproven {
                claims: Value::Object(claims.0),
                algorithm: None,
            }),
            (None, Some(jwt)) => Unproven::read(&jwt),
            (Some(_), Some(_)) => Err(Error::invalid(
                Field::Jwt,
                "jwt and claims are two forms of the same; send one of them",
            )),
            (None, None) => Err(Error::invalid(
                Field::Claims,
                "there are no claims to compare; send \"jwt\", a JWT, or \"claims\", the object that is its payload",
            )),
        });
        let wanted = violations.take(parse_exactly(scope.as_deref()));
        let address = violations.take(address.as_deref().map(parse_address).transpose());
        let question = (|| {
            Some(Self {
                workload: workload?,
                question: Question {
                    wanted: wanted?,
                    address: address?,
                },
            })
        })();
        violations.finish(question)
    }
}

/// The comparison of a claim with its rule
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClaimVerdict)]
struct VerdictView {
    /// The name of the claim
    #[schema(example = "repository_id")]
    claim: String,
    /// True if it fits
    #[schema(example = false)]
    fits: bool,
    /// The value that was there, cut; null if there was none
    #[schema(required, example = "75")]
    found: Option<String>,
    /// The values that fit
    #[schema(example = json!(["74"]))]
    wanted: Vec<String>,
}

impl From<Verdict> for VerdictView {
    fn from(verdict: Verdict) -> Self {
        let Verdict {
            claim,
            wanted,
            found,
            fits,
        } = verdict;
        Self {
            claim,
            fits,
            found,
            wanted,
        }
    }
}

/// The grant that a workload with the claims would get now, and the reasons
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrustEvaluationResponse)]
pub(in super::super) struct TrustEvaluationView {
    /// True if the workload opens anything at all now
    #[schema(example = false)]
    usable: bool,
    /// Why the workload opens nothing; null if it opens something
    #[schema(required, example = "the claim repository_id does not fit")]
    reason: Option<String>,
    /// One for each claim that is compared: iss and aud, those with a rule, and those that are refused without one
    claims: Vec<VerdictView>,
    /// The scope that would be granted, as a token endpoint says it; empty if nothing
    #[schema(example = "")]
    scope: String,
    /// One for each action of each resource; `*` on a repository is decided action by action
    decisions: Vec<DecisionView>,
    /// Scopes of the trust that grant nothing, as far as their text tells; absent without such
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<WarningView>,
}

impl From<TrustEvaluation> for TrustEvaluationView {
    fn from(evaluated: TrustEvaluation) -> Self {
        let TrustEvaluation {
            verdicts,
            evaluation,
        } = evaluated;
        let decisions = evaluation.decisions.into_iter();
        let warnings = evaluation.warnings.into_iter();
        Self {
            usable: evaluation.unusable.is_none(),
            reason: evaluation.unusable,
            claims: verdicts.into_iter().map(VerdictView::from).collect(),
            scope: joined(&evaluation.granted),
            decisions: decisions.map(DecisionView::from).collect(),
            warnings: warnings.map(WarningView::from).collect(),
        }
    }
}

/// The reason of a refusal.
struct Reason;

impl PartialSchema for Reason {
    fn schema() -> RefOr<Schema> {
        let words = RefusalReason::ALL.map(RefusalReason::as_str);
        let description = "The reason to refuse a workload";
        prefixed_word(description, "REFUSED", &words, "claims").into()
    }
}

impl ToSchema for Reason {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("WorkloadRefusalReason")
    }
}

/// The last refusal of a workload
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkloadRefusal)]
struct RefusalView {
    /// The address that it came from
    #[schema(required, example = "192.0.2.17")]
    address: Option<String>,
    /// One for each compared claim
    claims: Vec<VerdictView>,
    /// The time
    #[schema(format = DateTime, example = "2026-11-30T06:30:00Z")]
    date: String,
    /// The claims that name the workload, with their values, cut
    #[schema(example = json!({"repository_id": "75"}))]
    identity: BTreeMap<String, String>,
    #[schema(value_type = Reason)]
    reason: &'static str,
    /// How often the workload was refused
    #[schema(example = 1)]
    times: i64,
}

/// The last refused workloads of a trust, the last one first
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkloadRefusalsResponse)]
pub(in super::super) struct RefusalList {
    #[schema(example = "refusals")]
    id: &'static str,
    #[schema(example = "collection")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    items: Vec<RefusalView>,
}

impl From<Vec<TrustRefusal>> for RefusalList {
    fn from(refusals: Vec<TrustRefusal>) -> Self {
        let view = |refusal: TrustRefusal| RefusalView {
            address: refusal.address.map(|address| address.to_string()),
            claims: refusal
                .detail
                .verdicts
                .into_iter()
                .map(VerdictView::from)
                .collect(),
            date: rfc3339(refusal.at),
            identity: refusal.detail.identity.into_iter().collect(),
            reason: refusal.detail.reason.as_str(),
            times: refusal.times,
        };
        Self {
            id: "refusals",
            r#type: "collection",
            href: "",
            items: refusals.into_iter().map(view).collect(),
        }
    }
}
