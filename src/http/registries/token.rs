//! `/registries/{registryId}/tokens` and `/tokens`.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ContentType, ETAG, HeaderValue, LINK};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, put};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::path::Parameter;

use super::evaluation::{EvaluateToken, EvaluationView};
use super::ids::{PutTokenId, PutTokenPath, RegistryPath, TokenPath};
use super::labelled::Labelled;
use super::precondition::{IfAbsent, IfChanged, IfMatch, looked, tagged};
use super::repeat::{Keyed, marked};
use super::token_query::{AmongRegistries, TokenConditions, TokenPart, filter_parameters};
use super::wire::{CreateToken, Links, PatchToken, TokenList, TokenView};
use super::{Answer, Call, Conditional, Reused, Unchanged};
use crate::domain::evaluation::Question;
use crate::domain::id::{RegistryId, TokenId};
use crate::domain::page::Window;
use crate::domain::precondition::Precondition;
use crate::domain::token::{NewToken, Token, TokenPatch, VerbatimScopes};
use crate::error::{Error, Result};
use crate::http::call::{Head, Json, Query, Raw, Repeatable};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::pieces::{self, Items, Pieces};
use crate::http::state::State;
use crate::service::Put;
use crate::service::access::Caller;
use crate::service::idempotency::Once;
use crate::service::token_lists::{Listing, TokenPage, Within};
use crate::service::tokens::Minted;

/// The approximate size of a page without tokens, and of a token with a scope or two, in bytes.
const PAGE_SIZE: usize = 512;
const TOKEN_SIZE: usize = 768;
/// The longest page, in tokens, that a worker serialises. That takes some tenths of a millisecond, and wakes the worker
/// once for several pages. If readers did it, each page would wake an idle worker, and the reader would lose its core.
const SHORT: usize = 100;
/// The maximum size of the scopes of such a page, in bytes. Pages that wait for their worker take no share of a budget.
const SHORT_SCOPES: usize = 64 * 1024;

/// A page of tokens as the reader thread hands it over.
enum Ready {
    Page(Box<TokenPage>),
    Json(Pieces, Option<String>),
}

/// The start and the length of a page; strings of digits, as the product's schema has them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The first element (from the complete list of the elements) to include in the response (used together with limit for pagination)
    #[param(default = "0", pattern = "^0*[0-9]{1,18}$")]
    offset: Option<String>,
    /// The maximum number of elements to return (used together with offset for pagination)
    #[param(default = "100", pattern = "^0*([0-9]{1,3}|1000)$")]
    limit: Option<String>,
}

impl Head for Window {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(page) = Query::<Page>::read(request)?;
        Self::parse(page.offset.as_deref(), page.limit.as_deref())
    }

    fn parameters() -> Vec<Parameter> {
        Query::<Page>::parameters()
    }
}

/// List all tokens for the container registry
///
/// Lists the tokens of a registry in the order they were made, or those that meet all conditions. At most 1000 elements are returned at once.
///
/// * the header "Link" leads to the next page by "pagination.token": so no token is missed or listed twice, even if tokens are made and deleted meanwhile
#[utoipa::path(
    operation_id = "registriesTokensGet", tag = "Tokens", params(RegistryPath, TokenPart, TokenConditions, Labelled),
    responses((status = 200, description = "OK", body = TokenList<'_>, headers(("Link" = String, description = "The next page, rel=next; absent on the last"))), (status = 404, description = "The registry does not exist", body = ApiErrorResponse), Errors),
)]
#[get("/{registryId}/tokens")]
pub(super) async fn list(state: Data<State>, call: Call<(RegistryId, (Listing, Raw))>) -> Answer {
    let (registry, (listing, Raw(request))) = call.head;
    let within = Within::Registry(registry);
    answer(&state, &call.caller, within, listing, &request).await
}

/// List the tokens of all registries
///
/// Lists the tokens of every registry whose tokens the caller may read, or those that meet all conditions, with the registry of each. Registries come in the order they were made, and the tokens of each too. At most 1000 elements are returned at once.
///
/// * the header "Link" leads to the next page by "pagination.token"
#[utoipa::path(
    operation_id = "tokensGet", tag = "Tokens", params(TokenPart, TokenConditions, Labelled, AmongRegistries),
    responses((status = 200, description = "OK", body = TokenList<'_>, headers(("Link" = String, description = "The next page, rel=next; absent on the last"))), (status = 404, description = "A registry of \"registryId\" does not exist", body = ApiErrorResponse), Errors),
)]
#[get("/tokens")]
pub(super) async fn list_all(
    state: Data<State>,
    call: Call<(Listing, (AmongRegistries, Raw))>,
) -> Answer {
    let (mut listing, (AmongRegistries(registries), Raw(request))) = call.head;
    listing.filter.registries = registries;
    answer(&state, &call.caller, Within::All, listing, &request).await
}

/// The answer with a page of tokens.
async fn answer(
    state: &State,
    caller: &Caller,
    within: Within,
    listing: Listing,
    request: &HttpRequest,
) -> Answer {
    let (limit, token) = (listing.limit, listing.start.token().map(str::to_owned));
    let here = links::here(request);
    let now = state.service.now();
    let budget = state.answers.all.clone();
    let present = move |page: TokenPage| -> Result<(Pieces, Option<String>)> {
        let window = Window {
            offset: page.offset,
            limit,
        };
        // The token carries the filter.
        let cursor = |token: &str| format!("{here}?limit={limit}&pagination.token={token}");
        let next = page.next.as_deref().map(cursor);
        let links = if let Some(token) = &token {
            Links {
                previous: String::new(),
                this: cursor(token),
                next: next.clone().unwrap_or_default(),
            }
        } else {
            let filter = filter_parameters(&page.filter, page.order);
            window_links(&here, window, page.total, &filter)
        };
        let count = page.tokens.len();
        let registries = page.registries;
        // Free each token when it was serialised: a long page would otherwise be in memory twice.
        let view = |token: Token<VerbatimScopes>| {
            let registry = registries.get(&token.registry);
            TokenView::new(token, None, now).of(registry)
        };
        let mut views = page.tokens.into_iter().map(view);
        let shown = TokenList {
            id: "tokens",
            r#type: "collection",
            href: "",
            offset: window.offset,
            limit: window.limit,
            count,
            total: page.total,
            total_is_exact: page.total_is_exact,
            items: Items::new(&mut views),
            links,
        };
        let body = pieces::json(&budget, &shown, PAGE_SIZE + count * TOKEN_SIZE)?;
        Ok((body, next))
    };
    let there = present.clone();
    // Serialising a thousand tokens takes milliseconds, which would block a worker.
    let ready = move |page: TokenPage| {
        let scopes = page.tokens.iter().map(|token| token.scopes.get().len());
        if page.tokens.len() <= SHORT && scopes.sum::<usize>() <= SHORT_SCOPES {
            Ok(Ready::Page(Box::new(page)))
        } else {
            there(page).map(|(body, next)| Ready::Json(body, next))
        }
    };
    let tokens = state.service.tokens();
    let (body, next) = match tokens.list(caller, within, listing, ready).await? {
        Ready::Page(page) => present(*page)?,
        Ready::Json(body, next) => (body, next),
    };
    let mut answer = HttpResponse::Ok();
    answer.content_type(ContentType::json());
    if let Some(next) = next {
        let link = HeaderValue::try_from(format!("<{next}>; rel=\"next\""));
        answer.insert_header((LINK, link.map_err(Error::internal)?));
    }
    Ok(answer.body(body))
}

/// Links by offset to pages of the list at `here`; each ends in `filter`.
pub(super) fn window_links(here: &str, window: Window, total: i64, filter: &str) -> Links {
    let link = |window: Window| {
        format!(
            "{here}?offset={}&limit={}{filter}",
            window.offset, window.limit
        )
    };
    Links {
        previous: window.previous(total).map(link).unwrap_or_default(),
        this: link(window),
        next: window.next(total).map(link).unwrap_or_default(),
    }
}

/// Create token
///
/// Create a token
///
/// * password is only available once in the POST response
#[utoipa::path(
    operation_id = "registriesTokensPost", tag = "Tokens", params(RegistryPath, Keyed), request_body = CreateToken,
    responses(
        (status = 201, description = "The token, with its password", body = TokenView),
        (status = 404, description = "The registry does not exist", body = ApiErrorResponse),
        (status = 409, description = "A token of this name exists, the registry has the maximum number of tokens, or the token of an earlier request with this key has changed", body = ApiErrorResponse),
        Reused, BodyErrors, Errors,
    ),
)]
#[post("/{registryId}/tokens")]
pub(super) async fn create(
    state: Data<State>,
    call: Call<RegistryId, Repeatable<CreateToken, NewToken>>,
) -> Answer {
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let made = state
        .service
        .tokens()
        .create(&call.caller, call.head, command, attempt)
        .await?;
    Ok(minted(&state, StatusCode::CREATED, made))
}

/// The answer with the secret, which no cache may keep.
pub(super) fn minted(state: &State, status: StatusCode, once: Once<Minted>) -> HttpResponse {
    let at = once.value.at();
    let Minted { token, secret } = once.value;
    let tag = token.tag_at(at);
    let warnings = state.service.tokens().scope_warnings(&token.scopes);
    let view = TokenView::new(token, Some(&secret), at).warned(warnings);
    let answer = HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((ETAG, tag.to_string()))
        .json(view);
    marked(answer, once.repeated)
}

/// The answer to a change of a token, even if nothing had to change.
fn kept(state: &State, token: Token) -> HttpResponse {
    let now = state.service.now();
    let warnings = state.service.tokens().scope_warnings(&token.scopes);
    let tag = token.tag_at(now);
    tagged(
        StatusCode::OK,
        tag,
        TokenView::new(token, None, now).warned(warnings),
    )
}

/// Get token information
///
/// Gets all information for a specific token used to access a container registry
#[utoipa::path(
    operation_id = "registriesTokensFindById", tag = "Tokens", params(RegistryPath, TokenPath, IfMatch, IfChanged),
    responses((status = 200, description = "OK", body = TokenView), (status = 404, description = "The registry or the token does not exist", body = ApiErrorResponse), Unchanged, Conditional, Errors),
)]
#[get("/{registryId}/tokens/{tokenId}")]
pub(super) async fn show(
    state: Data<State>,
    call: Call<(RegistryId, (TokenId, Precondition))>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let look = state
        .service
        .tokens()
        .show(&call.caller, registry, id, condition)
        .await?;
    let now = state.service.now();
    Ok(looked(look, |token| TokenView::new(token, None, now)))
}

/// Create or replace token
///
/// Create/replace a token
///
/// * password is only available once in the create response
///
/// * "name" cannot be changed
#[utoipa::path(
    operation_id = "registriesTokensPut", tag = "Tokens", params(RegistryPath, PutTokenPath, IfMatch, IfAbsent, Keyed), request_body = CreateToken,
    responses(
        (status = 200, description = "The replaced token", body = TokenView),
        (status = 201, description = "The created token, with its password", body = TokenView),
        (status = 404, description = "The registry does not exist", body = ApiErrorResponse),
        (status = 409, description = "Another token has this name, the registry has the maximum number of tokens, or the token of an earlier request with this key has changed", body = ApiErrorResponse),
        Conditional, Reused, BodyErrors, Errors,
    ),
)]
#[put("/{registryId}/tokens/{tokenId}")]
pub(super) async fn replace(
    state: Data<State>,
    call: Call<(RegistryId, (PutTokenId, Precondition)), Repeatable<CreateToken, NewToken>>,
) -> Answer {
    let (registry, (PutTokenId(id), condition)) = call.head;
    let Repeatable {
        command, attempt, ..
    } = call.body;
    Ok(
        match state
            .service
            .tokens()
            .replace(&call.caller, registry, id, command, condition, attempt)
            .await?
        {
            Put::Created(made) => minted(&state, StatusCode::CREATED, made),
            Put::Replaced(token) => kept(&state, token),
        },
    )
}

/// Update token
///
/// Update token properties, for example:
///
/// * change status to 'enabled' or 'disabled'
///
/// * change expiry date
#[utoipa::path(
    operation_id = "registriesTokensPatch", tag = "Tokens", params(RegistryPath, TokenPath, IfMatch), request_body = PatchToken,
    responses((status = 200, description = "OK", body = TokenView), (status = 404, description = "The registry or the token does not exist", body = ApiErrorResponse), Conditional, BodyErrors, Errors),
)]
#[patch("/{registryId}/tokens/{tokenId}")]
pub(super) async fn update(
    state: Data<State>,
    call: Call<(RegistryId, (TokenId, Precondition)), Json<PatchToken, TokenPatch>>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let patch = call.body.0;
    let token = state
        .service
        .tokens()
        .update(&call.caller, registry, id, patch, condition)
        .await?;
    Ok(kept(&state, token))
}

/// Delete token
///
/// Deletes a token; its password opens nothing from then on
#[utoipa::path(
    operation_id = "registriesTokensDelete", tag = "Tokens", params(RegistryPath, TokenPath, IfMatch),
    responses((status = 204, description = "No content"), (status = 404, description = "The registry or the token does not exist", body = ApiErrorResponse), Conditional, Errors),
)]
#[delete("/{registryId}/tokens/{tokenId}")]
pub(super) async fn delete(
    state: Data<State>,
    call: Call<(RegistryId, (TokenId, Precondition))>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    state
        .service
        .tokens()
        .delete(&call.caller, registry, id, condition)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Evaluate a token
///
/// Says what the token would be granted now, and why. Makes no JWT and changes nothing
///
/// * "scope" takes what a registry's challenge or a client's request says
///
/// * a token that is disabled or expired, or closed to "address", is granted nothing; the rules are still named
#[utoipa::path(
    operation_id = "registriesTokensEvaluate", tag = "Tokens", params(RegistryPath, TokenPath), request_body = EvaluateToken,
    responses((status = 200, description = "The access that would be granted, action by action", body = EvaluationView), (status = 404, description = "The registry or the token does not exist", body = ApiErrorResponse), BodyErrors, Errors),
)]
#[post("/{registryId}/tokens/{tokenId}/evaluate")]
pub(super) async fn evaluate(
    state: Data<State>,
    call: Call<(RegistryId, TokenId), Json<EvaluateToken, Question>>,
) -> Answer {
    let (registry, id) = call.head;
    let evaluation = state
        .service
        .tokens()
        .evaluate(&call.caller, registry, id, call.body.0)
        .await?;
    Ok(HttpResponse::Ok().json(EvaluationView::from(evaluation)))
}
