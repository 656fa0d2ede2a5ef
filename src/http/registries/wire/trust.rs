//! Trusts in bodies.

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{
    ArrayBuilder, Object as ObjectSchema, ObjectBuilder, OneOfBuilder, RefOr, Schema, Type,
};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::token::{Scope, WarningView, to_scopes};
use super::{Links, Metadata, rfc3339};
use crate::domain::allow_list::AllowList;
use crate::domain::claims::ClaimRules;
use crate::domain::id::IssuerId;
use crate::domain::patch::Patch;
use crate::domain::scope_warning::ScopeWarning;
use crate::domain::status::Status;
use crate::domain::strict_json::Object;
use crate::domain::token::{TokenName, parse_expiry};
use crate::domain::token_scope;
use crate::domain::trust::{NewTrust, Trust, TrustPatch, parse_audience, parse_maximum_life};
use crate::error::{Error, Field, Result, Violations};
use crate::http::schema::prefixed_word;
use crate::service::trusts::SeenTrust;

/// The status of a trust.
struct TrustStatus;

impl PartialSchema for TrustStatus {
    fn schema() -> RefOr<Schema> {
        let words = Status::ALL.map(Status::as_str);
        prefixed_word("The status of a trust", "TRUST", &words, "enabled").into()
    }
}

impl ToSchema for TrustStatus {}

pub(super) fn simple(r#type: Type) -> ObjectSchema {
    ObjectBuilder::new().schema_type(r#type).build()
}

fn open(values: Schema, description: &str, example: Value) -> ObjectSchema {
    let mut schema = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(description))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(values))))
        .build();
    schema.example = Some(example);
    schema
}

/// Rules for claims, as they are sent.
struct WantedClaims;

impl PartialSchema for WantedClaims {
    fn schema() -> RefOr<Schema> {
        let value = || {
            OneOfBuilder::new()
                .item(simple(Type::String))
                .item(simple(Type::Integer))
                .item(simple(Type::Boolean))
        };
        let values = value().item(
            ArrayBuilder::new()
                .items(value())
                .min_items(Some(1))
                .max_items(Some(50)),
        );
        let description = "The claims that a JWT has to have, all of them: names with a value, or with a list of values of \
                           which one has to fit. * and ** are wildcards as in scopes";
        let example = json!({"repository_id": "74", "ref": "refs/heads/main"});
        let mut schema = open(values.build().into(), description, example);
        schema.max_properties = Some(32);
        schema.into()
    }
}

impl ToSchema for WantedClaims {}

/// Rules for claims, as they are shown.
struct ShownClaims;

impl PartialSchema for ShownClaims {
    fn schema() -> RefOr<Schema> {
        let texts = ArrayBuilder::new().items(simple(Type::String));
        let values = OneOfBuilder::new().item(simple(Type::String)).item(texts);
        let description =
            "The claims that a JWT has to have, all of them; numbers and booleans as their text";
        let example = json!({"repository_id": "74", "ref": "refs/heads/main"});
        open(values.build().into(), description, example).into()
    }
}

impl ToSchema for ShownClaims {}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TrustProperties {
    /// Addresses and networks that may use the trust; absent if all may that its registry allows
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false, example = json!(["192.0.2.0/24"]))]
    allowed_cidrs: Vec<String>,
    /// The one audience of the JWTs
    #[schema(example = "team-a.localhost")]
    audience: String,
    #[schema(value_type = ShownClaims)]
    claims: ClaimRules,
    /// When the trust ends; null if never
    #[schema(required, format = DateTime, example = "2027-01-13T16:27:42Z")]
    expiry_date: Option<String>,
    /// The id of the issuer
    #[schema(format = Uuid, example = "9d3c4a52-6b0e-4f7a-8c1d-2e5f7a9b0c13")]
    issuer: String,
    /// The longest life of a password for which a JWT is exchanged
    #[schema(example = "PT1H")]
    maximum_life: String,
    /// The trust's name, unique among the trusts and tokens of the registry
    #[schema(example = "app-ci")]
    name: String,
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<token_scope::Scope>,
    #[schema(value_type = TrustStatus)]
    status: &'static str,
}

/// The workloads of an issuer that open a registry
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrustResponse)]
pub(in super::super) struct TrustView {
    /// The trust's id, unique in the registry
    #[schema(value_type = String, format = Uuid, example = "c8a1f0de-3b54-4e67-9a20-71d4c5e6f8b2")]
    id: Uuid,
    #[schema(example = "trust")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    metadata: Metadata,
    properties: TrustProperties,
}

impl TrustView {
    /// A trust as it is shown at a time.
    pub(in super::super) fn new(seen: SeenTrust, now: DateTime<Utc>) -> Self {
        let SeenTrust { trust, audience } = seen;
        let (state, life) = (trust.state_at(now), trust.life());
        let Trust {
            key: _,
            id,
            registry: _,
            name,
            issuer,
            audience: _,
            claims,
            scopes,
            allowed_cidrs,
            maximum_life: _,
            status,
            expiry_date,
            generation: _,
            version: _,
            created,
            modified,
        } = trust;
        Self {
            id: id.0,
            r#type: "trust",
            href: "",
            metadata: Metadata::new(created, modified, state),
            properties: TrustProperties {
                allowed_cidrs: allowed_cidrs.entries().to_vec(),
                audience,
                claims,
                expiry_date: expiry_date.map(rfc3339),
                issuer: issuer.id.to_string(),
                maximum_life: life.to_string(),
                name,
                scopes,
                status: status.as_str(),
            },
        }
    }

    /// Adds warnings about its scopes.
    pub(in super::super) fn warned(mut self, warnings: Vec<ScopeWarning>) -> Self {
        self.metadata.warnings = warnings.into_iter().map(WarningView::from).collect();
        self
    }
}

/// A page of trusts
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrustsResponse)]
pub(in super::super) struct TrustList {
    #[schema(example = "trusts")]
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
    /// Trusts of the registry in all
    #[schema(example = 1)]
    pub(in super::super) total: i64,
    pub(in super::super) items: Vec<TrustView>,
    #[serde(rename = "_links")]
    pub(in super::super) links: Links,
}

/// The properties of a new trust, or of one that is replaced
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostTrustInput)]
pub(in super::super) struct CreateTrust {
    properties: CreateTrustProperties,
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
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PostTrustProperties)]
struct CreateTrustProperties {
    /// Up to 25 addresses or networks that may use the trust, kept as sent; empty if absent, which is no restriction
    #[schema(max_items = 25, example = json!(["192.0.2.0/24"]))]
    allowed_cidrs: Option<Vec<String>>,
    /// The one audience of the JWTs; the registry's host name if absent
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = r"^[^\x00-\x1F\x7F]*$",
        example = "team-a.localhost"
    )]
    audience: Option<String>,
    #[schema(value_type = WantedClaims)]
    claims: Object,
    /// When the trust ends; never if absent or null
    #[schema(format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Option<String>,
    /// The id of the issuer
    #[schema(
        format = Uuid,
        pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
        example = "9d3c4a52-6b0e-4f7a-8c1d-2e5f7a9b0c13"
    )]
    issuer: String,
    /// The longest life of a password for which a JWT is exchanged, PT1M to PT1H; PT1H if absent
    #[schema(
        pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$",
        example = "PT15M"
    )]
    maximum_life: Option<String>,
    /// The trust's name, unique among the trusts and tokens of the registry; cannot be changed
    #[schema(
        pattern = r"^[A-Za-z][-A-Za-z0-9]{0,61}[A-Za-z0-9]$",
        min_length = 2,
        max_length = 63,
        example = "app-ci"
    )]
    name: String,
    /// The scopes that the workloads get
    #[schema(max_items = 100)]
    scopes: Option<Vec<Scope>>,
    /// The status of the trust; enabled if absent
    #[schema(value_type = Option<TrustStatus>, nullable = false)]
    status: Option<String>,
}

/// The issuer of a trust.
fn issuer(text: &str) -> Result<IssuerId> {
    IssuerId::parse(text).map_err(|error| Error::invalid(Field::Issuer, error.to_string()))
}

impl TryFrom<CreateTrust> for NewTrust {
    type Error = Error;

    fn try_from(body: CreateTrust) -> Result<Self> {
        let CreateTrustProperties {
            allowed_cidrs,
            audience,
            claims,
            expiry_date,
            issuer: id,
            maximum_life,
            name,
            scopes,
            status,
        } = body.properties;
        let mut violations = Violations::default();
        let allowed_cidrs = violations.take(AllowList::of_token(allowed_cidrs.unwrap_or_default()));
        let audience = violations.take(audience.map(parse_audience).transpose());
        let claims = violations.take(ClaimRules::parse(claims.0));
        let expiry_date = violations.take(expiry_date.as_deref().map(parse_expiry).transpose());
        let id = violations.take(issuer(&id));
        let life = maximum_life.as_deref().map(parse_maximum_life);
        let maximum_life = violations.take(life.transpose());
        let name = violations.take(TokenName::parse(&name));
        let scopes = violations.take(to_scopes(scopes.unwrap_or_default()));
        let status = violations.take(status.as_deref().map_or(Ok(Status::Enabled), Status::parse));
        let new = (|| {
            Some(Self {
                name: name?,
                issuer: id?,
                audience: audience?,
                claims: claims?,
                scopes: scopes?,
                allowed_cidrs: allowed_cidrs?,
                maximum_life: maximum_life?,
                status: status?,
                expiry_date: expiry_date?,
            })
        })();
        violations.finish(new)
    }
}

/// Changes to a trust; what is absent stays
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PatchTrustInput)]
pub(in super::super) struct PatchTrust {
    /// Replaces the addresses and networks that may use the trust; an empty list lifts the restriction, null and absent leave it as it is
    #[schema(max_items = 25, example = json!(["192.0.2.0/24"]))]
    allowed_cidrs: Option<Vec<String>>,
    /// Replaces the audience; null sets the registry's host name, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1F\x7F]*$", example = "team-a.localhost")]
    audience: Patch<String>,
    /// Replaces all rules for claims; null and absent leave them as they are
    #[schema(value_type = Option<WantedClaims>)]
    claims: Option<Object>,
    /// When the trust ends; null removes the end, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2036-01-13T16:27:42Z")]
    expiry_date: Patch<String>,
    /// Replaces the issuer; null and absent leave it as it is
    #[schema(
        format = Uuid,
        pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
        example = "9d3c4a52-6b0e-4f7a-8c1d-2e5f7a9b0c13"
    )]
    issuer: Option<String>,
    /// Replaces the longest life of a password; null sets PT1H, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$", example = "PT15M")]
    maximum_life: Patch<String>,
    /// Replaces all scopes; null and absent leave them as they are
    #[schema(max_items = 100)]
    scopes: Option<Vec<Scope>>,
    /// Enables or disables the trust
    #[schema(value_type = Option<TrustStatus>, nullable = false)]
    status: Option<String>,
    #[schema(ignore)]
    name: Option<String>,
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

impl TryFrom<PatchTrust> for TrustPatch {
    type Error = Error;

    fn try_from(body: PatchTrust) -> Result<Self> {
        let PatchTrust {
            allowed_cidrs,
            audience,
            claims,
            expiry_date,
            issuer: id,
            maximum_life,
            scopes,
            status,
            name,
            _id: _,
            _type: _,
            _href: _,
            _metadata: _,
        } = body;
        let mut violations = Violations::default();
        let allowed_cidrs = violations.take(allowed_cidrs.map(AllowList::of_token).transpose());
        let audience = violations.take(audience.try_map(parse_audience));
        let rules = claims.map(|claims| ClaimRules::parse(claims.0));
        let claims = violations.take(rules.transpose());
        let expiry_date = violations.take(expiry_date.try_map(|date| parse_expiry(&date)));
        let id = violations.take(id.as_deref().map(issuer).transpose());
        let maximum_life = violations.take(maximum_life.try_map(|life| parse_maximum_life(&life)));
        let scopes = violations.take(scopes.map(to_scopes).transpose());
        let status = violations.take(status.as_deref().map(Status::parse).transpose());
        let patch = (|| {
            Some(Self {
                name,
                issuer: id?,
                audience: audience?,
                claims: claims?,
                scopes: scopes?,
                allowed_cidrs: allowed_cidrs?,
                maximum_life: maximum_life?,
                status: status?,
                expiry_date: expiry_date?,
            })
        })();
        violations.finish(patch)
    }
}
