//! The parameters of lists of tokens.

use actix_web::HttpRequest;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::ArrayBuilder;
use utoipa::openapi::{RefOr, Required, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::labelled::Labelled;
use crate::domain::filter::{
    Action, Maker, NameFilter, Order, TokenFilter, TokenState, parse_part,
};
use crate::domain::id::RegistryId;
use crate::domain::page::Window;
use crate::domain::period::Period;
use crate::domain::scope::Opening;
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result, Violations};
use crate::http::call::{Head, Query, repeated};
use crate::http::schema::{matching, one_of};
use crate::service::token_lists::{Listing, Start};

/// The most text of a query without its cursor, in bytes: the cursor of the next page has the filter in it, and an
/// address has to fit where addresses go.
const QUERY: usize = 4096;
/// The most registries of a filter.
const REGISTRIES: usize = 50;
/// The parameter that names them.
const REGISTRY_ID: &str = "registryId";
/// An id.
const ID: &str = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$";

/// Which tokens.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct TokenConditions {
    /// Only tokens with this name, or with names that begin so: `ci-*`. Without regard to case
    #[param(
        pattern = r"^[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9]|[-A-Za-z0-9]{0,62}\*)$",
        max_length = 64
    )]
    pub(super) name: Option<String>,
    /// Only tokens whose description contains this, without regard to the case of ASCII letters
    #[param(min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1F\x7F]*$")]
    pub(super) description: Option<String>,
    /// Only tokens in this state, as `metadata.state` shows it
    #[param(value_type = Option<StateWord>, inline, nullable = false)]
    pub(super) state: Option<String>,
    /// Only tokens that this account made: its id, or its name at that time, without regard to the case of ASCII letters
    #[param(min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1F\x7F]*$")]
    pub(super) created_by: Option<String>,
    /// Only tokens that expire within this time from now, such as P14D; the first to expire comes first
    #[param(pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$")]
    pub(super) expiring_within: Option<String>,
    /// Only tokens that expired this time ago or earlier, such as P30D; PT0S is all that have expired. The first to expire comes first
    #[param(pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$")]
    pub(super) expired_since: Option<String>,
    /// Only tokens neither made nor used within this time before now, such as P90D; the longest unused comes first
    #[param(pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$")]
    pub(super) unused_since: Option<String>,
    /// True: only tokens that were never used. False: only tokens that were
    #[param(value_type = Option<bool>)]
    pub(super) never_used: Option<String>,
    /// Only tokens made before this instant, RFC 3339
    #[param(format = DateTime)]
    pub(super) created_before: Option<String>,
    /// Only tokens made at this instant or later, RFC 3339
    #[param(format = DateTime)]
    pub(super) created_after: Option<String>,
    /// Only tokens whose scopes grant all of this access, by the rules of `/token`, such as `repository:team/app:push`. Scopes alone decide: not the token's state, nor addresses
    #[param(
        pattern = r"^[a-z0-9]+(\([a-z0-9]+\))?:[\x21-\x7E]*:[a-z,*]+$",
        max_length = 512
    )]
    pub(super) can_open: Option<String>,
    /// Only tokens with a scope that carries this action, such as `delete`. The action `*` on repositories carries pull, push and delete
    #[param(pattern = r"^([a-z]{1,63}|\*)$")]
    pub(super) carries: Option<String>,
}

/// The state of a token.
struct StateWord;

impl PartialSchema for StateWord {
    fn schema() -> RefOr<Schema> {
        one_of(TokenState::ALL.into_iter().map(TokenState::as_str)).into()
    }
}

impl ToSchema for StateWord {}

/// The order of a list, and where a page of it begins.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct TokenPart {
    /// The first element (from the complete list of the elements) to include in the response (used together with limit for pagination)
    #[param(default = "0", pattern = "^0*[0-9]{1,18}$")]
    offset: Option<String>,
    /// The maximum number of elements to return (used together with offset for pagination)
    #[param(default = "100", pattern = "^0*([0-9]{1,3}|1000)$")]
    limit: Option<String>,
    /// The order of the elements; with `-` before it, the reverse
    #[param(value_type = Option<OrderWord>, inline, nullable = false)]
    order_by: Option<String>,
    /// The `pagination.token` from the header `Link` of the previous page; not together with offset
    #[serde(rename = "pagination.token")]
    #[param(rename = "pagination.token")]
    token: Option<String>,
}

/// An order.
struct OrderWord;

impl PartialSchema for OrderWord {
    fn schema() -> RefOr<Schema> {
        one_of(
            [
                "name",
                "-name",
                "createdDate",
                "-createdDate",
                "expiryDate",
                "-expiryDate",
                "lastUsedDate",
                "-lastUsedDate",
            ]
            .into_iter(),
        )
        .into()
    }
}

impl ToSchema for OrderWord {}

impl TryFrom<TokenConditions> for TokenFilter {
    type Error = Error;

    fn try_from(sent: TokenConditions) -> Result<Self> {
        let TokenConditions {
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
        } = sent;
        let period = |name, field| move |text: &str| Period::parse(name, field, text);
        let mut violations = Violations::default();
        let all = &mut violations;
        let filter = Self {
            registries: Vec::new(),
            name: read(name, NameFilter::parse, all),
            description: read(description, parse_part, all),
            state: read(state, TokenState::parse, all),
            created_by: read(created_by, Maker::parse, all),
            expiring_within: read(
                expiring_within,
                period("expiringWithin", Field::ExpiringWithin),
                all,
            ),
            expired_since: read(
                expired_since,
                period("expiredSince", Field::ExpiredSince),
                all,
            ),
            unused_since: read(unused_since, period("unusedSince", Field::UnusedSince), all),
            never_used: read(
                never_used,
                |text| parse_boolean("neverUsed", Field::NeverUsed, text),
                all,
            ),
            created_before: read(
                created_before,
                |text| parse_instant("createdBefore", Field::CreatedBefore, text),
                all,
            ),
            created_after: read(
                created_after,
                |text| parse_instant("createdAfter", Field::CreatedAfter, text),
                all,
            ),
            can_open: read(can_open, Opening::parse, all),
            carries: read(carries, Action::parse, all),
            labels: Vec::new(),
        };
        violations.finish(Some(filter))
    }
}

/// Reads a parameter, if it is there.
fn read<T>(
    text: Option<String>,
    read: impl FnOnce(&str) -> Result<T>,
    violations: &mut Violations,
) -> Option<T> {
    text.and_then(|text| violations.take(read(&text)))
}

/// Reads a parameter that is true or false.
pub(super) fn parse_boolean(name: &str, field: Field, text: &str) -> Result<bool> {
    text.parse().map_err(|_| {
        let message = format!("{name} {} is neither true nor false", quoted(text));
        Error::invalid(field, message)
    })
}

fn parse_instant(name: &str, field: Field, text: &str) -> Result<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .map(|instant| instant.to_utc())
        .map_err(|_| {
            Error::invalid(
                field,
                format!(
                    "{name} {} is no RFC 3339 instant such as 2026-11-21T00:00:00Z; in a URL, write + as %2B",
                    quoted(text)
                ),
            )
        })
}

impl Head for Listing {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(conditions) = Query::<TokenConditions>::read(request)?;
        let Query(part) = Query::<TokenPart>::read(request)?;
        let mut violations = Violations::default();
        violations.take(bounded(request));
        let window = Window::parse(part.offset.as_deref(), part.limit.as_deref());
        let window = violations.take(window);
        let filter = violations.take(TokenFilter::try_from(conditions));
        let labels = violations.take(Labelled::read(request));
        let order = part.order_by.as_deref().map(Order::parse).transpose();
        let order = violations.take(order);
        let token = part.token.filter(|token| !token.is_empty());
        if token.is_some() && part.offset.is_some() {
            violations.push(
                Field::PaginationToken,
                "offset and pagination.token both say where to begin; send one of them".to_owned(),
            );
        }
        let listing = (|| {
            let (window, Labelled(labels)) = (window?, labels?);
            Some(Self {
                filter: TokenFilter { labels, ..filter? },
                order: order?,
                limit: window.limit,
                start: token.map_or(Start::Offset(window.offset), Start::Token),
            })
        })();
        violations.finish(listing)
    }

    fn parameters() -> Vec<Parameter> {
        let mut all = Query::<TokenPart>::parameters();
        all.extend(Query::<TokenConditions>::parameters());
        all.extend(Labelled::parameters());
        all
    }
}

/// Refuses a query that is too long to be repeated in a link.
fn bounded(request: &HttpRequest) -> Result<()> {
    let sent = url::form_urlencoded::parse(request.query_string().as_bytes());
    let sizes = sent
        .filter(|(name, _)| name != "pagination.token")
        .map(|(name, value)| name.len() + value.len());
    let size: usize = sizes.sum();
    if size <= QUERY {
        return Ok(());
    }
    Err(Error::invalid(
        Field::Query,
        format!("the parameters are {size} bytes long; at most {QUERY} are allowed"),
    ))
}

/// The registries that a list of tokens of several is bounded to.
#[derive(Debug)]
pub(super) struct AmongRegistries(pub(super) Vec<RegistryId>);

impl AmongRegistries {
    /// Reads their ids; the same one twice counts once.
    pub(super) fn parse(texts: &[String]) -> Result<Self> {
        if texts.len() > REGISTRIES {
            return Err(Error::invalid(
                Field::RegistryId,
                format!(
                    "{REGISTRY_ID} is there {} times; at most {REGISTRIES} are allowed",
                    texts.len()
                ),
            ));
        }
        let mut violations = Violations::default();
        let mut ids: Vec<_> = texts
            .iter()
            .filter_map(|text| violations.take(RegistryId::parse(text)))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        violations.finish(Some(Self(ids)))
    }
}

impl Head for AmongRegistries {
    fn read(request: &HttpRequest) -> Result<Self> {
        Self::parse(&repeated(request, REGISTRY_ID))
    }

    fn parameters() -> Vec<Parameter> {
        Self::into_params(|| None)
    }
}

impl IntoParams for AmongRegistries {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        // Without the format: Swagger UI has no field for lists of that.
        let id = matching(ID);
        let ids = ArrayBuilder::new()
            .items(id)
            .max_items(Some(REGISTRIES))
            .build();
        let parameter = ParameterBuilder::new()
            .name(REGISTRY_ID)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(
                "Only tokens of this registry; of several, of any of them. Each in a parameter of its own",
            ))
            .style(Some(ParameterStyle::Form))
            .explode(Some(true))
            .schema(Some(ids))
            .build();
        vec![parameter]
    }
}

/// The query parameters of a link to a page by offset, for what comes after offset and limit.
pub(super) fn filter_parameters(filter: &TokenFilter, order: Option<Order>) -> String {
    let order = order.map(|order| ("orderBy", order.to_string()));
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(filter.parameters().into_iter().chain(order));
    let query = query.finish();
    if query.is_empty() {
        query
    } else {
        format!("&{query}")
    }
}
