//! `/registries/{registryId}/members`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{delete, get, put};

use super::ids::{AccountPath, RegistryPath};
use super::precondition::{IfAbsent, IfMatch, tagged};
use super::repeat::{Keyed, marked};
use super::token::{Page, window_links};
use super::wire::{MemberList, MemberView, PutMember};
use super::{Answer, Call, Conditional, Reused, listed};
use crate::domain::id::{AccountId, RegistryId};
use crate::domain::membership::{Member, Membership};
use crate::domain::page::Window;
use crate::domain::precondition::Precondition;
use crate::http::call::{Raw, Repeatable};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::state::State;
use crate::service::Put;

/// List the members of a registry
///
/// Lists the accounts that are members of a registry, in the order in which the accounts were made. At most 1000
/// elements are returned at once.
#[utoipa::path(
    operation_id = "registriesMembersGet", tag = "Members", params(RegistryPath, Page),
    responses((status = 200, description = "OK", body = MemberList), (status = 404, description = "The registry does not exist", body = ApiErrorResponse), Errors),
)]
#[get("/{registryId}/members")]
pub(super) async fn list(state: Data<State>, call: Call<(RegistryId, (Window, Raw))>) -> Answer {
    let (registry, (window, Raw(request))) = call.head;
    let members = state.service.members();
    let page = members.list(&call.caller, registry, window).await?;
    let items: Vec<MemberView> = page.members.into_iter().map(Into::into).collect();
    listed(
        &state,
        &MemberList {
            id: "members",
            r#type: "collection",
            href: "",
            offset: window.offset,
            limit: window.limit,
            count: items.len(),
            total: page.total,
            items,
            links: window_links(&links::here(&request), window, page.total, ""),
        },
    )
}

/// Make an account a member of a registry
///
/// Makes an account a member, or changes the level of a member
///
/// * nobody can give a level that permits more than they may do there themselves
#[utoipa::path(
    operation_id = "registriesMembersPut", tag = "Members", params(RegistryPath, AccountPath, IfMatch, IfAbsent, Keyed), request_body = PutMember,
    responses(
        (status = 200, description = "The member, changed", body = MemberView),
        (status = 201, description = "The new member", body = MemberView),
        (status = 404, description = "The registry or the account does not exist", body = ApiErrorResponse),
        (status = 409, description = "The registry has the maximum number of members, or the member of an earlier request with this key has changed", body = ApiErrorResponse),
        Conditional, Reused, BodyErrors, Errors,
    ),
)]
#[put("/{registryId}/members/{accountId}")]
pub(super) async fn set(
    state: Data<State>,
    call: Call<(RegistryId, (AccountId, Precondition)), Repeatable<PutMember, Membership>>,
) -> Answer {
    let (registry, (account, condition)) = call.head;
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let members = state.service.members();
    let put = members
        .set(&call.caller, registry, account, command, condition, attempt)
        .await?;
    Ok(match put {
        Put::Created(once) => marked(shown(StatusCode::CREATED, once.value), once.repeated),
        Put::Replaced(member) => shown(StatusCode::OK, member),
    })
}

fn shown(status: StatusCode, member: Member) -> HttpResponse {
    tagged(status, member.tag(), MemberView::from(member))
}

/// Remove a member from a registry
///
/// Ends a membership. From the next request on, the account has no rights from it
#[utoipa::path(
    operation_id = "registriesMembersDelete", tag = "Members", params(RegistryPath, AccountPath, IfMatch),
    responses((status = 204, description = "No content"), (status = 404, description = "The registry or the member does not exist", body = ApiErrorResponse), Conditional, Errors),
)]
#[delete("/{registryId}/members/{accountId}")]
pub(super) async fn remove(
    state: Data<State>,
    call: Call<(RegistryId, (AccountId, Precondition))>,
) -> Answer {
    let (registry, (account, condition)) = call.head;
    let members = state.service.members();
    members
        .remove(&call.caller, registry, account, condition)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
