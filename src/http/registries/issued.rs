//! `/api-tokens`, `/app-tokens`, and those of the caller below `/me`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, delete, get};
use serde::Deserialize;
use url::form_urlencoded::Serializer;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::ids::{ApiTokenPath, AppTokenPath};
use super::me::{CsrfHeader, Session};
use super::token::{Page, window_links};
use super::token_query::parse_boolean;
use super::wire::{IssuedList, IssuedView};
use super::{Answer, Call, listed};
use crate::domain::id::{ApiTokenId, AppTokenId, RegistryId};
use crate::domain::issued::{
    AccountText, ApiTokenType, IssuedFilter, IssuedPage, IssuedState, NamePattern,
};
use crate::domain::page::Window;
use crate::domain::period::Period;
use crate::error::{Field, Result, Violations};
use crate::http::call::{Head, Query, Raw};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, Errors};
use crate::http::schema::one_of;
use crate::http::state::State;
use crate::service::issued::Whose;

/// The conditions of a list of API tokens, and the beginning of a page of it.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct ApiTokenQuery {
    /// The first element (from the complete list of the elements) to include in the response (used together with limit for pagination)
    #[param(default = "0", pattern = "^0*[0-9]{1,18}$")]
    offset: Option<String>,
    /// The maximum number of elements to return (used together with offset for pagination)
    #[param(default = "100", pattern = "^0*([0-9]{1,3}|1000)$")]
    limit: Option<String>,
    /// Only tokens that act for this account, by its id or its name
    #[param(max_length = 1024, pattern = r"^[^\x00-\x1F\x7F]*$")]
    owner: Option<String>,
    /// Only tokens that this account made, by its id or its name
    #[param(max_length = 1024, pattern = r"^[^\x00-\x1F\x7F]*$")]
    created_by: Option<String>,
    /// Only tokens of this name, or with * at its end those whose name begins so; without regard to the case of ASCII letters
    #[param(max_length = 1024, pattern = r"^[^\x00-\x1F\x7F]*$")]
    name: Option<String>,
    /// Only tokens neither made nor used within this time before now, such as P90D
    #[param(pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$")]
    unused_since: Option<String>,
    /// Only tokens in force that end within this time from now, such as P14D
    #[param(pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$")]
    expiring_within: Option<String>,
    /// Only tokens in this state
    #[param(value_type = Option<StateWord>, inline, nullable = false)]
    state: Option<String>,
    /// True: only tokens that were never used. False: only tokens that were
    #[param(value_type = Option<bool>)]
    never_used: Option<String>,
    /// Only registry API tokens of this registry
    #[param(format = Uuid, pattern = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")]
    registry_id: Option<String>,
    /// Only API tokens of this type
    #[param(value_type = Option<TypeWord>, inline, nullable = false)]
    r#type: Option<String>,
}

/// The conditions of a list of app tokens, and the beginning of a page of it.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct AppTokenQuery {
    /// The first element (from the complete list of the elements) to include in the response (used together with limit for pagination)
    #[param(default = "0", pattern = "^0*[0-9]{1,18}$")]
    offset: Option<String>,
    /// The maximum number of elements to return (used together with offset for pagination)
    #[param(default = "100", pattern = "^0*([0-9]{1,3}|1000)$")]
    limit: Option<String>,
    /// Only tokens that act for this account, by its id or its name
    #[param(max_length = 1024, pattern = r"^[^\x00-\x1F\x7F]*$")]
    owner: Option<String>,
    /// Only tokens that this account made, by its id or its name
    #[param(max_length = 1024, pattern = r"^[^\x00-\x1F\x7F]*$")]
    created_by: Option<String>,
    /// Only tokens of this title, or with * at its end those whose title begins so; without regard to the case of ASCII letters
    #[param(max_length = 1024, pattern = r"^[^\x00-\x1F\x7F]*$")]
    name: Option<String>,
    /// Only tokens neither made nor used within this time before now, such as P90D
    #[param(pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$")]
    unused_since: Option<String>,
    /// Only tokens in force that end within this time from now, such as P14D
    #[param(pattern = "^P([0-9]+W|([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?)$")]
    expiring_within: Option<String>,
    /// Only tokens in this state
    #[param(value_type = Option<AppTokenStateWord>, inline, nullable = false)]
    state: Option<String>,
    /// True: only tokens that were never used. False: only tokens that were
    #[param(value_type = Option<bool>)]
    never_used: Option<String>,
}

impl From<AppTokenQuery> for ApiTokenQuery {
    fn from(query: AppTokenQuery) -> Self {
        Self {
            offset: query.offset,
            limit: query.limit,
            owner: query.owner,
            created_by: query.created_by,
            name: query.name,
            unused_since: query.unused_since,
            expiring_within: query.expiring_within,
            state: query.state,
            never_used: query.never_used,
            registry_id: None,
            r#type: None,
        }
    }
}

/// A type of API tokens.
struct TypeWord;

impl PartialSchema for TypeWord {
    fn schema() -> RefOr<Schema> {
        one_of(ApiTokenType::ALL.into_iter().map(ApiTokenType::as_str)).into()
    }
}

impl ToSchema for TypeWord {}

/// A state of app tokens.
struct AppTokenStateWord;

impl PartialSchema for AppTokenStateWord {
    fn schema() -> RefOr<Schema> {
        let words = IssuedState::OF_APP_TOKENS.into_iter();
        one_of(words.map(IssuedState::as_str)).into()
    }
}

impl ToSchema for AppTokenStateWord {}

/// A state of API tokens.
struct StateWord;

impl PartialSchema for StateWord {
    fn schema() -> RefOr<Schema> {
        one_of(IssuedState::ALL.into_iter().map(IssuedState::as_str)).into()
    }
}

impl ToSchema for StateWord {}

/// A page of all tokens that a filter lets pass.
struct Listing {
    window: Window,
    filter: IssuedFilter,
    /// The filter, as it ends a link.
    suffix: String,
}

impl Listing {
    fn parse(query: ApiTokenQuery, states: &[IssuedState]) -> Result<Self> {
        let suffix = query.suffix();
        let mut violations = Violations::default();
        let window = Window::parse(query.offset.as_deref(), query.limit.as_deref());
        let window = violations.take(window);
        let account = |parameter, field, text: Option<String>| {
            text.map(|text| AccountText::parse(parameter, field, text))
                .transpose()
        };
        let owner = violations.take(account("owner", Field::Owner, query.owner));
        let created_by = account("createdBy", Field::CreatedBy, query.created_by);
        let created_by = violations.take(created_by);
        let name = query.name.as_deref().map(NamePattern::parse).transpose();
        let name = violations.take(name);
        let period = |parameter, field, text: Option<String>| {
            text.map(|text| Period::parse(parameter, field, &text))
                .transpose()
        };
        let unused_since = period("unusedSince", Field::UnusedSince, query.unused_since);
        let unused_since = violations.take(unused_since);
        let within = query.expiring_within;
        let expiring_within = period("expiringWithin", Field::ExpiringWithin, within);
        let expiring_within = violations.take(expiring_within);
        let state = query.state.as_deref();
        let state = state.map(|text| IssuedState::parse(text, states));
        let state = violations.take(state.transpose());
        let parse = |text| parse_boolean("neverUsed", Field::NeverUsed, text);
        let never_used = query.never_used.as_deref().map(parse);
        let never_used = violations.take(never_used.transpose());
        let registry = query.registry_id.as_deref().map(RegistryId::parse);
        let registry = violations.take(registry.transpose());
        let r#type = query.r#type.as_deref().map(ApiTokenType::parse);
        let r#type = violations.take(r#type.transpose());
        let listing = (|| {
            Some(Self {
                window: window?,
                filter: IssuedFilter {
                    owner: owner?,
                    created_by: created_by?,
                    name: name?,
                    unused_since: unused_since?,
                    expiring_within: expiring_within?,
                    state: state?,
                    never_used: never_used?,
                    registry: registry?,
                    r#type: r#type?,
                },
                suffix,
            })
        })();
        violations.finish(listing)
    }
}

/// A page of API tokens.
struct ApiTokens(Listing);

impl Head for ApiTokens {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(query) = Query::<ApiTokenQuery>::read(request)?;
        Listing::parse(query, &IssuedState::ALL).map(Self)
    }

    fn parameters() -> Vec<Parameter> {
        Query::<ApiTokenQuery>::parameters()
    }
}

/// A page of app tokens.
struct AppTokens(Listing);

impl Head for AppTokens {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(query) = Query::<AppTokenQuery>::read(request)?;
        Listing::parse(query.into(), &IssuedState::OF_APP_TOKENS).map(Self)
    }

    fn parameters() -> Vec<Parameter> {
        Query::<AppTokenQuery>::parameters()
    }
}

impl ApiTokenQuery {
    /// The parameters of the filter, as they end a link.
    fn suffix(&self) -> String {
        let parameters = [
            ("owner", &self.owner),
            ("createdBy", &self.created_by),
            ("name", &self.name),
            ("unusedSince", &self.unused_since),
            ("expiringWithin", &self.expiring_within),
            ("state", &self.state),
            ("neverUsed", &self.never_used),
            ("registryId", &self.registry_id),
            ("type", &self.r#type),
        ];
        let given = parameters
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let pairs = Serializer::new(String::new()).extend_pairs(given).finish();
        if pairs.is_empty() {
            pairs
        } else {
            format!("&{pairs}")
        }
    }
}

/// A page in an answer.
pub(super) fn shown(
    state: &State,
    id: &'static str,
    page: IssuedPage,
    (window, suffix, request): (Window, &str, &HttpRequest),
) -> Answer {
    let now = state.service.now();
    let items = page.tokens.into_iter();
    let items: Vec<_> = items.map(|token| IssuedView::new(token, now)).collect();
    listed(
        state,
        &IssuedList {
            id,
            r#type: "collection",
            href: "",
            offset: window.offset,
            limit: window.limit,
            count: items.len(),
            total: page.total,
            items,
            links: window_links(&links::here(request), window, page.total, suffix),
        },
    )
}

/// List my API tokens
///
/// Lists the API tokens that act for the caller's account, in the order they were made. They are made at /v1/apitokens/generate
///
/// * an account needs no role for its own; an API token needs read permission for Integration
#[utoipa::path(
    operation_id = "meApiTokensGet", tag = "Me", params(Page),
    responses((status = 200, description = "OK", body = IssuedList), Errors),
)]
#[get("/api-tokens")]
pub(super) async fn own_api_tokens(
    state: Data<State>,
    call: Call<(Session, (Window, Raw))>,
) -> Answer {
    let (_, (window, Raw(request))) = call.head;
    let issued = state.service.issued();
    let filter = IssuedFilter::default();
    let page = issued
        .api_tokens(&call.caller, Whose::Own, filter, window)
        .await?;
    shown(&state, "api-tokens", page, (window, "", &request))
}

/// Revoke my API token
///
/// Revokes an API token that acts for the caller's account: it fails from the next request on, and stays listed for a while
///
/// * an account needs no role for its own; an API token needs write permission for Integration
#[utoipa::path(
    operation_id = "meApiTokensDelete", tag = "Me", params(ApiTokenPath, CsrfHeader),
    responses((status = 204, description = "No content"), (status = 404, description = "The caller's account has no such API token", body = ApiErrorResponse), Errors),
)]
#[delete("/api-tokens/{apiTokenId}")]
pub(super) async fn revoke_own_api_token(
    state: Data<State>,
    call: Call<(Session, ApiTokenId)>,
) -> Answer {
    let issued = state.service.issued();
    issued
        .revoke_api_token(&call.caller, Whose::Own, call.head.1)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// List my app tokens
///
/// Lists the app tokens of the caller's account, in the order they were made. They are made at /api/v1/user/apptoken
///
/// * an API token needs all the rights of its account
#[utoipa::path(
    operation_id = "meAppTokensGet", tag = "Me", params(Page),
    responses((status = 200, description = "OK", body = IssuedList), Errors),
)]
#[get("/app-tokens")]
pub(super) async fn own_app_tokens(
    state: Data<State>,
    call: Call<(Session, (Window, Raw))>,
) -> Answer {
    let (_, (window, Raw(request))) = call.head;
    let issued = state.service.issued();
    let filter = IssuedFilter::default();
    let page = issued
        .app_tokens(&call.caller, Whose::Own, filter, window)
        .await?;
    shown(&state, "app-tokens", page, (window, "", &request))
}

/// Delete my app token
///
/// Deletes an app token of the caller's account: its code opens nothing from the next request on
///
/// * an API token needs all the rights of its account, and a session a fresh sign-in
#[utoipa::path(
    operation_id = "meAppTokensDelete", tag = "Me", params(AppTokenPath, CsrfHeader),
    responses((status = 204, description = "No content"), (status = 404, description = "The caller's account has no such app token", body = ApiErrorResponse), Errors),
)]
#[delete("/app-tokens/{appTokenId}")]
pub(super) async fn delete_own_app_token(
    state: Data<State>,
    call: Call<(Session, AppTokenId)>,
) -> Answer {
    let issued = state.service.issued();
    issued
        .delete_app_token(&call.caller, Whose::Own, call.head.1)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// List all API tokens
///
/// Lists the API tokens of all accounts, in the order they were made. Needs read permission for Integration
#[utoipa::path(
    operation_id = "apiTokensGet", tag = "Issued tokens", params(ApiTokenQuery),
    responses((status = 200, description = "OK", body = IssuedList), Errors),
)]
#[get("/api-tokens")]
pub(super) async fn api_tokens(state: Data<State>, call: Call<(ApiTokens, Raw)>) -> Answer {
    let (ApiTokens(listing), Raw(request)) = call.head;
    let (window, suffix) = (listing.window, listing.suffix);
    let issued = state.service.issued();
    let page = issued
        .api_tokens(&call.caller, Whose::All, listing.filter, window)
        .await?;
    shown(&state, "api-tokens", page, (window, &suffix, &request))
}

/// Revoke an API token
///
/// Revokes an API token of any account. Needs write permission for Integration
#[utoipa::path(
    operation_id = "apiTokensDelete", tag = "Issued tokens", params(ApiTokenPath),
    responses((status = 204, description = "No content"), (status = 404, description = "The API token does not exist", body = ApiErrorResponse), Errors),
)]
#[delete("/api-tokens/{apiTokenId}")]
pub(super) async fn revoke_api_token(state: Data<State>, call: Call<ApiTokenId>) -> Answer {
    let issued = state.service.issued();
    issued
        .revoke_api_token(&call.caller, Whose::All, call.head)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// List all app tokens
///
/// Lists the app tokens of all accounts, in the order they were made. Needs read permission for Access; an API token also needs all the rights of its account
#[utoipa::path(
    operation_id = "appTokensGet", tag = "Issued tokens", params(AppTokenQuery),
    responses((status = 200, description = "OK", body = IssuedList), Errors),
)]
#[get("/app-tokens")]
pub(super) async fn app_tokens(state: Data<State>, call: Call<(AppTokens, Raw)>) -> Answer {
    let (AppTokens(listing), Raw(request)) = call.head;
    let (window, suffix) = (listing.window, listing.suffix);
    let issued = state.service.issued();
    let page = issued
        .app_tokens(&call.caller, Whose::All, listing.filter, window)
        .await?;
    shown(&state, "app-tokens", page, (window, &suffix, &request))
}

/// Delete an app token
///
/// Deletes an app token of any account. Needs write permission for Access, and all the rights of that account
#[utoipa::path(
    operation_id = "appTokensDelete", tag = "Issued tokens", params(AppTokenPath),
    responses((status = 204, description = "No content"), (status = 404, description = "The app token does not exist", body = ApiErrorResponse), Errors),
)]
#[delete("/app-tokens/{appTokenId}")]
pub(super) async fn delete_app_token(state: Data<State>, call: Call<AppTokenId>) -> Answer {
    let issued = state.service.issued();
    issued
        .delete_app_token(&call.caller, Whose::All, call.head)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
