//! `/issuers`.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use actix_web::{delete, get, patch, post, put};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::path::Parameter;

use super::ids::IssuerPath;
use super::precondition::{IfAbsent, IfChanged, IfMatch, looked, tagged};
use super::repeat::{Keyed, marked};
use super::token::{Page, window_links};
use super::wire::{CreateIssuer, IssuerList, IssuerView, PatchIssuer};
use super::{Answer, Call, Conditional, Reused, Unchanged, listed};
use crate::domain::id::IssuerId;
use crate::domain::issuer::{Issuer, IssuerPatch, NewIssuer};
use crate::domain::page::Window;
use crate::domain::precondition::Precondition;
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result};
use crate::http::call::{Head, Json, Query, Raw, Repeatable};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::state::State;
use crate::service::Put;
use crate::service::issuers::LiveTrusts;

/// How an issuer is to be deleted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    /// Delete the trusts of the issuer too, in all registries. Without this, an issuer with trusts cannot be deleted
    #[param(value_type = Option<bool>, default = false)]
    delete_trusts: Option<String>,
}

impl Head for LiveTrusts {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(deletion) = Query::<Deletion>::read(request)?;
        match deletion.delete_trusts.as_deref() {
            None | Some("false") => Ok(Self::Refuse),
            Some("true") => Ok(Self::Delete),
            Some(other) => Err(Error::invalid(
                Field::DeleteTrusts,
                format!("deleteTrusts {} is neither true nor false", quoted(other)),
            )),
        }
    }

    fn parameters() -> Vec<Parameter> {
        Query::<Deletion>::parameters()
    }
}

/// List all issuers
///
/// Lists issuers in the order they were made. At most 1000 elements are returned at once.
///
/// * a caller that may not administer the service sees id, URL, kind and status
///
/// * jwks and ca are in the answer on one issuer alone
#[utoipa::path(
    operation_id = "issuersGet", tag = "Issuers", params(Page),
    responses((status = 200, description = "OK", body = IssuerList), Errors),
)]
#[get("/issuers")]
pub(super) async fn list(state: Data<State>, call: Call<(Window, Raw)>) -> Answer {
    let (window, Raw(request)) = call.head;
    let page = state.service.issuers().list(&call.caller, window).await?;
    let view = |issuer| IssuerView::listed(issuer, page.whole);
    let items: Vec<IssuerView> = page.issuers.into_iter().map(view).collect();
    listed(
        &state,
        &IssuerList {
            id: "issuers",
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

/// Create issuer
///
/// Makes an issuer, so that registries can trust its workloads
///
/// * nothing is fetched until a workload comes
#[utoipa::path(
    operation_id = "issuersPost", tag = "Issuers", params(Keyed), request_body = CreateIssuer,
    responses(
        (status = 201, description = "The issuer", body = IssuerView),
        (status = 409, description = "An issuer of this URL exists, the service has the maximum number of issuers, or the issuer of an earlier request with this key has changed", body = ApiErrorResponse),
        Reused, BodyErrors, Errors,
    ),
)]
#[post("/issuers")]
pub(super) async fn create(
    state: Data<State>,
    call: Call<(), Repeatable<CreateIssuer, NewIssuer>>,
) -> Answer {
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let issuers = state.service.issuers();
    let once = issuers.create(&call.caller, command, attempt).await?;
    Ok(marked(
        shown(StatusCode::CREATED, once.value),
        once.repeated,
    ))
}

fn shown(status: StatusCode, issuer: Issuer) -> HttpResponse {
    tagged(status, issuer.tag(), IssuerView::whole(issuer))
}

/// Get an issuer
///
/// Gets what the caller may know of an issuer
#[utoipa::path(
    operation_id = "issuersFindById", tag = "Issuers", params(IssuerPath, IfMatch, IfChanged),
    responses((status = 200, description = "OK", body = IssuerView), (status = 404, description = "The issuer does not exist", body = ApiErrorResponse), Unchanged, Conditional, Errors),
)]
#[get("/{issuerId}")]
pub(super) async fn show(state: Data<State>, call: Call<(IssuerId, Precondition)>) -> Answer {
    let (id, condition) = call.head;
    let issuers = state.service.issuers();
    let look = issuers.show(&call.caller, id, condition).await?;
    Ok(looked(look, IssuerView::new))
}

/// Create or replace issuer
///
/// Create/replace an issuer
///
/// * "url" and "kind" cannot be changed
///
/// * what was issued for its workloads before ends with the change
#[utoipa::path(
    operation_id = "issuersPut", tag = "Issuers", params(IssuerPath, IfMatch, IfAbsent, Keyed), request_body = CreateIssuer,
    responses(
        (status = 200, description = "The replaced issuer", body = IssuerView),
        (status = 201, description = "The created issuer", body = IssuerView),
        (status = 409, description = "Another issuer has this URL, the service has the maximum number of issuers, or the issuer of an earlier request with this key has changed", body = ApiErrorResponse),
        Conditional, Reused, BodyErrors, Errors,
    ),
)]
#[put("/{issuerId}")]
pub(super) async fn replace(
    state: Data<State>,
    call: Call<(IssuerId, Precondition), Repeatable<CreateIssuer, NewIssuer>>,
) -> Answer {
    let (id, condition) = call.head;
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let put = state
        .service
        .issuers()
        .replace(&call.caller, id, command, condition, attempt)
        .await?;
    Ok(match put {
        Put::Created(once) => marked(shown(StatusCode::CREATED, once.value), once.repeated),
        Put::Replaced(issuer) => shown(StatusCode::OK, issuer),
    })
}

/// Update issuer
///
/// Changes what the body names
///
/// * what was issued for its workloads before ends with the change
#[utoipa::path(
    operation_id = "issuersPatch", tag = "Issuers", params(IssuerPath, IfMatch), request_body = PatchIssuer,
    responses((status = 200, description = "OK", body = IssuerView), (status = 404, description = "The issuer does not exist", body = ApiErrorResponse), Conditional, BodyErrors, Errors),
)]
#[patch("/{issuerId}")]
pub(super) async fn update(
    state: Data<State>,
    call: Call<(IssuerId, Precondition), Json<PatchIssuer, IssuerPatch>>,
) -> Answer {
    let (id, condition) = call.head;
    let issuers = state.service.issuers();
    let issuer = issuers
        .update(&call.caller, id, call.body.0, condition)
        .await?;
    Ok(shown(StatusCode::OK, issuer))
}

/// Delete issuer
///
/// Deletes an issuer. With deleteTrusts its trusts are deleted too.
#[utoipa::path(
    operation_id = "issuersDelete", tag = "Issuers", params(IssuerPath, Deletion, IfMatch),
    responses(
        (status = 204, description = "No content"),
        (status = 404, description = "The issuer does not exist", body = ApiErrorResponse),
        (status = 409, description = "The issuer has trusts", body = ApiErrorResponse),
        Conditional, Errors,
    ),
)]
#[delete("/{issuerId}")]
pub(super) async fn delete(
    state: Data<State>,
    call: Call<(IssuerId, (LiveTrusts, Precondition))>,
) -> Answer {
    let (id, (live, condition)) = call.head;
    let issuers = state.service.issuers();
    issuers.delete(&call.caller, id, live, condition).await?;
    Ok(HttpResponse::NoContent().finish())
}
