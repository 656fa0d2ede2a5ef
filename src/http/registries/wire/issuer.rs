//! Issuers in bodies.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{Links, Metadata};
use crate::domain::issuer::{Issuer, IssuerPatch, ListedIssuer, NewIssuer};
use crate::domain::issuer_kind::IssuerKind;
use crate::domain::key_source::{
    Authorities, IssuerUrl, Jwks, JwksUrl, JwtAlgorithm, KEYS, KeySource,
};
use crate::domain::patch::Patch;
use crate::domain::status::Status;
use crate::domain::strict_json::Object;
use crate::error::{Error, Field, Result, Violations};
use crate::http::schema::prefixed_word;
use crate::service::issuers::SeenIssuer;

/// The kind of an issuer.
struct Kind;

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        let words = IssuerKind::ALL.map(IssuerKind::as_str);
        let description = "The kind of an issuer; it decides which claims name a workload";
        prefixed_word(description, "ISSUER_KIND", &words, "github").into()
    }
}

impl ToSchema for Kind {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("IssuerKind")
    }
}

/// The status of an issuer.
struct IssuerStatus;

impl PartialSchema for IssuerStatus {
    fn schema() -> RefOr<Schema> {
        let words = Status::ALL.map(Status::as_str);
        let description = "The status of an issuer; the trusts of a disabled one open nothing";
        prefixed_word(description, "ISSUER", &words, "enabled").into()
    }
}

impl ToSchema for IssuerStatus {}

/// An algorithm of a JWT.
struct Algorithm;

impl PartialSchema for Algorithm {
    fn schema() -> RefOr<Schema> {
        let words: Vec<_> = JwtAlgorithm::ALL
            .iter()
            .map(|known| known.as_str())
            .collect();
        let description = "An algorithm of a JWT's signature";
        prefixed_word(description, "JWT_ALGORITHM", &words, "RS256").into()
    }
}

impl ToSchema for Algorithm {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("JwtAlgorithm")
    }
}

/// Public keys, as an issuer publishes them.
struct KeySet;

impl PartialSchema for KeySet {
    fn schema() -> RefOr<Schema> {
        let key = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("A public key (RFC 7517 §4)"));
        let keys = ArrayBuilder::new()
            .items(key)
            .min_items(Some(1))
            .max_items(Some(KEYS));
        let example = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "example", "alg": "ES256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        }]});
        let mut schema = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("A set of public keys (RFC 7517 §5), kept as sent"))
            .property("keys", keys)
            .required("keys")
            .build();
        schema.example = Some(example);
        schema.into()
    }
}

impl ToSchema for KeySet {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Jwks")
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IssuerProperties {
    /// The algorithms of its JWTs; absent for a caller that may not administer the service, as are jwksUrl, jwks and ca
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<Algorithm>, required = false, nullable = false)]
    algorithms: Option<Vec<&'static str>>,
    /// Certificates of authorities for its server, as PEM; absent without any, and in lists
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "")]
    ca: Option<String>,
    /// Its keys, if they are kept here; else absent, and in lists
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<KeySet>, nullable = false)]
    jwks: Option<Box<RawValue>>,
    /// The place of its keys, if neither its own document nor jwks says it; else absent
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "https://ci.example.com/keys")]
    jwks_url: Option<String>,
    #[schema(value_type = Kind)]
    kind: &'static str,
    #[schema(value_type = IssuerStatus)]
    status: &'static str,
    /// Its URL: the claim iss of its JWTs
    #[schema(example = "https://token.actions.githubusercontent.com")]
    url: String,
}

/// A service that signs JWTs for workloads
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IssuerResponse)]
pub(in super::super) struct IssuerView {
    /// The issuer's id
    #[schema(format = Uuid, example = "9d3c4a52-6b0e-4f7a-8c1d-2e5f7a9b0c13")]
    id: String,
    #[schema(example = "issuer")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    metadata: Metadata,
    properties: IssuerProperties,
}

impl IssuerView {
    pub(in super::super) fn new(seen: SeenIssuer) -> Self {
        let SeenIssuer { issuer, whole } = seen;
        let Issuer {
            key: _,
            id,
            url,
            kind,
            keys,
            ca,
            algorithms,
            status,
            version: _,
            created,
            modified,
        } = issuer;
        let (jwks_url, jwks) = match keys {
            KeySource::Discovery => (None, None),
            KeySource::JwksUrl(url) => (Some(url.as_str().to_owned()), None),
            // It was JSON when it was stored.
            KeySource::Inline(jwks) => (None, RawValue::from_string(jwks.as_str().to_owned()).ok()),
        };
        let names = algorithms.iter().map(|known| known.as_str());
        Self {
            id: id.to_string(),
            r#type: "issuer",
            href: "",
            metadata: Metadata::new(created, modified, status.as_str()),
            properties: IssuerProperties {
                algorithms: whole.then(|| names.collect()),
                ca: ca.filter(|_| whole).map(|ca| ca.as_str().to_owned()),
                jwks: jwks.filter(|_| whole),
                jwks_url: jwks_url.filter(|_| whole),
                kind: kind.as_str(),
                status: status.as_str(),
                url: url.as_str().to_owned(),
            },
        }
    }

    /// The issuer in a list.
    pub(in super::super) fn listed(issuer: ListedIssuer, whole: bool) -> Self {
        let ListedIssuer {
            rules,
            jwks_url,
            created,
            modified,
        } = issuer;
        let names = rules.algorithms.iter().map(|known| known.as_str());
        let url = jwks_url.filter(|_| whole);
        Self {
            id: rules.id.to_string(),
            r#type: "issuer",
            href: "",
            metadata: Metadata::new(created, modified, rules.status.as_str()),
            properties: IssuerProperties {
                algorithms: whole.then(|| names.collect()),
                ca: None,
                jwks: None,
                jwks_url: url.map(|url| url.as_str().to_owned()),
                kind: rules.kind.as_str(),
                status: rules.status.as_str(),
                url: rules.url.as_str().to_owned(),
            },
        }
    }

    /// The issuer for a caller that may change it.
    pub(in super::super) fn whole(issuer: Issuer) -> Self {
        Self::new(SeenIssuer {
            issuer,
            whole: true,
        })
    }
}

/// A page of issuers
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IssuersResponse)]
pub(in super::super) struct IssuerList {
    #[schema(example = "issuers")]
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
    /// Issuers in all
    #[schema(example = 1)]
    pub(in super::super) total: i64,
    pub(in super::super) items: Vec<IssuerView>,
    #[serde(rename = "_links")]
    pub(in super::super) links: Links,
}

/// The properties of a new issuer, or of one that is replaced
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PostIssuerInput)]
pub(in super::super) struct CreateIssuer {
    properties: CreateIssuerProperties,
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
#[schema(as = PostIssuerProperties)]
struct CreateIssuerProperties {
    /// The algorithms of its JWTs; RS256 and ES256 if absent
    #[schema(value_type = Option<Vec<Algorithm>>, min_items = 1, max_items = 9)]
    algorithms: Option<Vec<String>>,
    /// Certificates of authorities for its server, as PEM, beside those that the service trusts anyway; not with jwks
    #[schema(max_length = 65536, example = json!(null))]
    ca: Option<String>,
    /// Its keys, so that nothing is fetched; not with jwksUrl
    #[schema(value_type = Option<KeySet>)]
    jwks: Option<Object>,
    /// The place of its keys. Without it and jwks they are found by the issuer's own document, `/.well-known/openid-configuration`
    #[schema(
        max_length = 512,
        pattern = r"^https?://[^\x00-\x20\x7F]+$",
        example = "https://ci.example.com/keys"
    )]
    jwks_url: Option<String>,
    #[schema(value_type = Kind)]
    kind: String,
    /// The status of the issuer; enabled if absent
    #[schema(value_type = Option<IssuerStatus>, nullable = false)]
    status: Option<String>,
    /// Its URL: the claim iss of its JWTs, byte by byte. https, without user, query and fragment; cannot be changed
    #[schema(
        max_length = 512,
        pattern = r"^https?://[^\x00-\x20\x7F]+$",
        example = "https://token.actions.githubusercontent.com"
    )]
    url: String,
}

fn jwks(object: &Object) -> Result<Jwks> {
    Jwks::parse(&object.0)
}

impl TryFrom<CreateIssuer> for NewIssuer {
    type Error = Error;

    fn try_from(body: CreateIssuer) -> Result<Self> {
        let CreateIssuerProperties {
            algorithms,
            ca,
            jwks: set,
            jwks_url,
            kind,
            status,
            url,
        } = body.properties;
        let mut violations = Violations::default();
        let algorithms = violations.take(algorithms.map_or_else(
            || Ok(JwtAlgorithm::DEFAULT.to_vec()),
            |names| JwtAlgorithm::parse_list(&names),
        ));
        let ca = violations.take(ca.as_deref().map(Authorities::parse).transpose());
        let set = violations.take(set.as_ref().map(jwks).transpose());
        let jwks_url = violations.take(jwks_url.as_deref().map(JwksUrl::parse).transpose());
        let kind = violations.take(IssuerKind::parse(&kind));
        let status = violations.take(status.as_deref().map_or(Ok(Status::Enabled), Status::parse));
        let url = violations.take(IssuerUrl::parse(&url));
        let keys = match (jwks_url, set) {
            (Some(url), Some(set)) => violations.take(KeySource::of(url, set)),
            _ => None,
        };
        let new = (|| {
            Some(Self {
                url: url?,
                kind: kind?,
                keys: keys?,
                ca: ca?,
                algorithms: algorithms?,
                status: status?,
            })
        })();
        violations.finish(new)
    }
}

/// Changes to an issuer; what is absent stays
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PatchIssuerInput)]
pub(in super::super) struct PatchIssuer {
    /// Replaces the algorithms of its JWTs; null and absent leave them as they are
    #[schema(value_type = Option<Vec<Algorithm>>, min_items = 1, max_items = 9)]
    algorithms: Option<Vec<String>>,
    /// Replaces the certificates of authorities; null removes them, absent leaves them as they are
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 65536, example = json!(null))]
    ca: Patch<String>,
    /// Replaces its keys; null removes those that are kept here, absent leaves them as they are
    #[serde(default)]
    #[schema(value_type = Option<KeySet>)]
    jwks: Patch<Object>,
    /// Replaces the place of its keys; null removes it, absent leaves it as it is
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 512, pattern = r"^https?://[^\x00-\x20\x7F]+$", example = "https://ci.example.com/keys")]
    jwks_url: Patch<String>,
    /// Enables or disables the issuer
    #[schema(value_type = Option<IssuerStatus>, nullable = false)]
    status: Option<String>,
    #[schema(ignore)]
    kind: Option<String>,
    #[schema(ignore)]
    url: Option<String>,
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

impl TryFrom<PatchIssuer> for IssuerPatch {
    type Error = Error;

    fn try_from(body: PatchIssuer) -> Result<Self> {
        let PatchIssuer {
            algorithms,
            ca,
            jwks: set,
            jwks_url,
            status,
            kind,
            url,
            _id: _,
            _type: _,
            _href: _,
            _metadata: _,
        } = body;
        let mut violations = Violations::default();
        if matches!((&jwks_url, &set), (Patch::Set(_), Patch::Set(_))) {
            violations.push(
                Field::Jwks,
                "jwks and jwksUrl are two places of the keys; send one of them",
            );
        }
        let algorithms = violations.take(
            algorithms
                .as_deref()
                .map(JwtAlgorithm::parse_list)
                .transpose(),
        );
        let ca = violations.take(ca.try_map(|ca| Authorities::parse(&ca)));
        let jwks = violations.take(set.try_map(|set| jwks(&set)));
        let jwks_url = violations.take(jwks_url.try_map(|url| JwksUrl::parse(&url)));
        let kind = violations.take(kind.as_deref().map(IssuerKind::parse).transpose());
        let status = violations.take(status.as_deref().map(Status::parse).transpose());
        let patch = (|| {
            Some(Self {
                url,
                kind: kind?,
                jwks_url: jwks_url?,
                jwks: jwks?,
                ca: ca?,
                algorithms: algorithms?,
                status: status?,
            })
        })();
        violations.finish(patch)
    }
}
