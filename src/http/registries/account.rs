//! `/accounts`.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use actix_web::{delete, get, patch, post};
use serde::Deserialize;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::ids::AccountPath;
use super::precondition::{IfChanged, IfMatch, looked, tagged};
use super::repeat::{Keyed, marked};
use super::token::{Page, window_links};
use super::wire::{AccountList, AccountView, PatchAccount, PostAccount};
use super::{Answer, Call, Conditional, Reused, Unchanged, listed};
use crate::domain::account::{Account, AccountPatch, CreateAccount};
use crate::domain::filter::{AccountFilter, NameFilter};
use crate::domain::id::AccountId;
use crate::domain::page::Window;
use crate::domain::precondition::Precondition;
use crate::domain::status::Status;
use crate::domain::text::{has_control, quoted};
use crate::error::{Error, Field, Result, Violations};
use crate::http::call::{Head, Json, Query, Raw, Repeatable};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::schema::one_of;
use crate::http::state::State;
use crate::service::account_rules::{IssuedTokens, LiveTokens};

/// How an account is to be deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    /// Revoke the account's API tokens that are in force. Without this, an account with such tokens cannot be deleted
    #[param(value_type = Option<bool>, default = false)]
    revoke_tokens: Option<String>,
}

/// Options for the change of an account.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alteration {
    /// Revoke the account's API tokens that are in force and delete its app tokens. Without this they go on working,
    /// also when the password changes
    #[param(value_type = Option<bool>, default = false)]
    revoke_tokens: Option<String>,
}

impl Head for LiveTokens {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(deletion) = Query::<Deletion>::read(request)?;
        let revoke = flag(deletion.revoke_tokens.as_deref())?;
        Ok(if revoke { Self::Revoke } else { Self::Refuse })
    }

    fn parameters() -> Vec<Parameter> {
        Query::<Deletion>::parameters()
    }
}

impl Head for IssuedTokens {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(alteration) = Query::<Alteration>::read(request)?;
        let revoke = flag(alteration.revoke_tokens.as_deref())?;
        Ok(if revoke { Self::Revoke } else { Self::Keep })
    }

    fn parameters() -> Vec<Parameter> {
        Query::<Alteration>::parameters()
    }
}

fn flag(revoke_tokens: Option<&str>) -> Result<bool> {
    match revoke_tokens {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Error::invalid(
            Field::RevokeTokens,
            format!("revokeTokens {} is neither true nor false", quoted(other)),
        )),
    }
}

/// The conditions of a list of accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AccountConditions {
    /// Only the account with this name, or those with names that begin so: `ci-*`. Without regard to case
    #[param(pattern = r"^[^\x00-\x1F\x7F]{1,255}\*?$")]
    name: Option<String>,
    /// Only accounts with this status
    #[param(value_type = Option<StatusWord>, inline, nullable = false)]
    status: Option<String>,
    /// Only accounts with this role
    #[param(min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1F\x7F]*$")]
    role: Option<String>,
}

/// The status of an account.
struct StatusWord;

impl PartialSchema for StatusWord {
    fn schema() -> RefOr<Schema> {
        one_of(Status::ALL.into_iter().map(Status::as_str)).into()
    }
}

impl ToSchema for StatusWord {}

impl Head for AccountFilter {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(sent) = Query::<AccountConditions>::read(request)?;
        let mut violations = Violations::default();
        let name = sent.name.as_deref().map(NameFilter::of_any).transpose();
        let name = violations.take(name);
        let status = sent.status.as_deref().map(Status::parse).transpose();
        let status = violations.take(status);
        let role = sent.role;
        if let Some(role) = role.as_deref().filter(|role| has_control(role)) {
            let problem = format!("role {} contains a control character", quoted(role));
            violations.push(Field::Roles, problem);
        }
        let filter = (|| {
            Some(Self {
                name: name?,
                status: status?,
                role,
            })
        })();
        violations.finish(filter)
    }

    fn parameters() -> Vec<Parameter> {
        Query::<AccountConditions>::parameters()
    }
}

/// The query parameters of a link to a page, for what comes after offset and limit.
fn filter_parameters(filter: &AccountFilter) -> String {
    let AccountFilter { name, status, role } = filter;
    let pairs = [
        ("name", name.as_ref().map(NameFilter::to_string)),
        ("status", status.map(|status| status.as_str().to_owned())),
        ("role", role.clone()),
    ];
    let given = pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(given);
    let query = query.finish();
    if query.is_empty() {
        query
    } else {
        format!("&{query}")
    }
}

/// List all accounts
///
/// Lists accounts in the order they were made, or those that meet all conditions. At most 1000 elements are returned at once.
#[utoipa::path(
    operation_id = "accountsGet", tag = "Accounts", params(Page, AccountConditions),
    responses((status = 200, description = "OK", body = AccountList), Errors),
)]
#[get("/accounts")]
pub(super) async fn list(state: Data<State>, call: Call<(AccountFilter, (Window, Raw))>) -> Answer {
    let (filter, (window, Raw(request))) = call.head;
    let links = filter_parameters(&filter);
    let accounts = state.service.accounts();
    let page = accounts.list(&call.caller, filter, window).await?;
    let items: Vec<AccountView> = page.accounts.into_iter().map(Into::into).collect();
    listed(
        &state,
        &AccountList {
            id: "accounts",
            r#type: "collection",
            href: "",
            offset: window.offset,
            limit: window.limit,
            count: items.len(),
            total: page.total,
            items,
            links: window_links(&links::here(&request), window, page.total, &links),
        },
    )
}

/// Create account
///
/// Makes an account with a password, and with roles that permit no more than those of the caller
///
/// * without "password" the service makes a password; only the first answer has it, and no repeat of that answer
#[utoipa::path(
    operation_id = "accountsPost", tag = "Accounts", params(Keyed), request_body = PostAccount,
    responses(
        (status = 201, description = "The account", body = AccountView),
        (status = 409, description = "An account of this name exists, or the account of an earlier request with this key has changed", body = ApiErrorResponse),
        Reused, BodyErrors, Errors,
    ),
)]
#[post("/accounts")]
pub(super) async fn create(
    state: Data<State>,
    call: Call<(), Repeatable<PostAccount, CreateAccount>>,
) -> Answer {
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let accounts = state.service.accounts();
    let once = accounts.create(&call.caller, command, attempt).await?;
    let tag = once.value.account.tag();
    let answer = tagged(StatusCode::CREATED, tag, AccountView::from(once.value));
    Ok(marked(answer, once.repeated))
}

fn shown(status: StatusCode, account: Account) -> HttpResponse {
    tagged(status, account.tag(), AccountView::from(account))
}

/// Get an account
///
/// Gets all information on an account. Every account may read itself.
#[utoipa::path(
    operation_id = "accountsFindById", tag = "Accounts", params(AccountPath, IfMatch, IfChanged),
    responses((status = 200, description = "OK", body = AccountView), (status = 404, description = "The account does not exist", body = ApiErrorResponse), Unchanged, Conditional, Errors),
)]
#[get("/{accountId}")]
pub(super) async fn show(state: Data<State>, call: Call<(AccountId, Precondition)>) -> Answer {
    let accounts = state.service.accounts();
    let (id, condition) = call.head;
    let look = accounts.show(&call.caller, id, condition).await?;
    Ok(looked(look, AccountView::from))
}

/// Update an account
///
/// Changes what the body names
///
/// * a new password ends sessions, refresh tokens and JWTs at once; API tokens and app tokens go on working, unless
///   revokeTokens ends them
///
/// * "name" cannot be changed
///
/// * the last enabled account with the role Admin keeps both
#[utoipa::path(
    operation_id = "accountsPatch", tag = "Accounts", params(AccountPath, Alteration, IfMatch), request_body = PatchAccount,
    responses(
        (status = 200, description = "OK", body = AccountView),
        (status = 404, description = "The account does not exist", body = ApiErrorResponse),
        (status = 409, description = "It is the last enabled account with the role Admin", body = ApiErrorResponse),
        Conditional, BodyErrors, Errors,
    ),
)]
#[patch("/{accountId}")]
pub(super) async fn update(
    state: Data<State>,
    call: Call<(AccountId, (IssuedTokens, Precondition)), Json<PatchAccount, AccountPatch>>,
) -> Answer {
    let (id, (tokens, condition)) = call.head;
    let patch = call.body.0;
    let accounts = state.service.accounts();
    let account = accounts
        .update(&call.caller, id, patch, tokens, condition)
        .await?;
    Ok(shown(StatusCode::OK, account))
}

/// Delete account
///
/// Deletes an account with its memberships. The registries and tokens that it made stay. With revokeTokens its API tokens are revoked.
#[utoipa::path(
    operation_id = "accountsDelete", tag = "Accounts", params(AccountPath, Deletion, IfMatch),
    responses(
        (status = 204, description = "No content"),
        (status = 404, description = "The account does not exist", body = ApiErrorResponse),
        (status = 409, description = "It is the last enabled account with the role Admin, or has API tokens in force", body = ApiErrorResponse),
        Conditional, Errors,
    ),
)]
#[delete("/{accountId}")]
pub(super) async fn delete(
    state: Data<State>,
    call: Call<(AccountId, (LiveTokens, Precondition))>,
) -> Answer {
    let accounts = state.service.accounts();
    let (id, (tokens, condition)) = call.head;
    accounts.delete(&call.caller, id, tokens, condition).await?;
    Ok(HttpResponse::NoContent().finish())
}
