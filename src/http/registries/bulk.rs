//! `/tokens/bulk` and `/bulk`.

use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};

use super::bulk_request::{Asked, PostBulk};
use super::ids::BulkPath;
use super::token::{Page, window_links};
use super::wire::{BulkList, BulkView, PreviewView};
use super::{Answer, Call, listed};
use crate::domain::id::BulkId;
use crate::domain::page::Window;
use crate::error::Error;
use crate::http::call::{Json, Raw};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::state::State;

/// The path of the request that begins a run, after the prefix.
const BEGIN: &str = "/tokens/bulk";

/// Change many tokens
///
/// Disables, enables, deletes or ends all tokens that a filter finds, in two steps
///
/// * with "dryRun": true nothing is changed; the answer says how many tokens it would be, shows the first hundred, and has a "confirmation", good for 15 minutes
///
/// * with this confirmation, sent as {"properties": {"confirmation": "…"}}, a run begins in the background, and GET /bulk/{bulkId} says how far it is; the same confirmation again finds the same run
///
/// * each token is changed by the rules of a single change, with the rights that the caller has at that time
///
/// * tokens that were made after the dry run are not touched; each of them counts for maximumChange
#[utoipa::path(
    operation_id = "tokensBulkPost", tag = "Tokens", request_body = PostBulk,
    responses(
        (status = 200, description = "The result of the dry run", body = PreviewView),
        (status = 202, description = "The run", body = BulkView, headers(("Location" = String, description = "The path of the run"))),
        (status = 404, description = "A registry of the filter does not exist", body = ApiErrorResponse),
        (status = 409, description = "The tokens have changed since the dry run by more than maximumChange, or too many runs are under way", body = ApiErrorResponse),
        BodyErrors, Errors,
    ),
)]
#[post("/tokens/bulk")]
pub(super) async fn begin(state: Data<State>, call: Call<Raw, Json<PostBulk, Asked>>) -> Answer {
    let (Raw(request), asked) = (call.head, call.body.0);
    let bulk = state.service.bulk();
    let confirmation = match asked {
        Asked::Preview(wish) => {
            let preview = bulk.preview(&call.caller, wish).await?;
            return Ok(HttpResponse::Ok().json(PreviewView::from(preview)));
        }
        Asked::Start(confirmation) => confirmation,
    };
    let run = bulk.start(&call.caller, confirmation).await?;
    let here = links::here(&request);
    let base = here.strip_suffix(BEGIN).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{base}/bulk/{}", run.id));
    Ok(HttpResponse::Accepted()
        .insert_header((LOCATION, location.map_err(Error::internal)?))
        .json(BulkView::new(run, None)))
}

/// List bulk runs
///
/// Lists the runs that the caller began, the newest first; callers with write permission for Administration see all. At most 1000 elements are returned at once. Runs are removed 30 days after their end.
#[utoipa::path(
    operation_id = "bulkGet", tag = "Tokens", params(Page),
    responses((status = 200, description = "OK", body = BulkList), Errors),
)]
#[get("/bulk")]
pub(super) async fn list(state: Data<State>, call: Call<(Window, Raw)>) -> Answer {
    let (window, Raw(request)) = call.head;
    let (runs, total) = state.service.bulk().list(&call.caller, window).await?;
    let items: Vec<_> = runs
        .into_iter()
        .map(|run| BulkView::new(run, None))
        .collect();
    listed(
        &state,
        &BulkList {
            id: "bulk",
            r#type: "collection",
            href: "",
            offset: window.offset,
            limit: window.limit,
            count: items.len(),
            total,
            items,
            links: window_links(&links::here(&request), window, total, ""),
        },
    )
}

/// Get a bulk run
///
/// Says how far a run is, and what it was not permitted to change
#[utoipa::path(
    operation_id = "bulkFindById", tag = "Tokens", params(BulkPath),
    responses((status = 200, description = "OK", body = BulkView), (status = 404, description = "The run does not exist", body = ApiErrorResponse), Errors),
)]
#[get("/bulk/{bulkId}")]
pub(super) async fn show(state: Data<State>, call: Call<BulkId>) -> Answer {
    let report = state.service.bulk().show(&call.caller, call.head).await?;
    listed(&state, &BulkView::from(report))
}

/// Cancel a bulk run
///
/// Ends a run before its next batch of tokens; what was changed stays changed. A run that has ended stays as it is
#[utoipa::path(
    operation_id = "bulkCancelPost", tag = "Tokens", params(BulkPath),
    responses((status = 200, description = "The run as it is now", body = BulkView), (status = 404, description = "The run does not exist", body = ApiErrorResponse), Errors),
)]
#[post("/bulk/{bulkId}/cancel")]
pub(super) async fn cancel(state: Data<State>, call: Call<BulkId>) -> Answer {
    let report = state.service.bulk().cancel(&call.caller, call.head).await?;
    listed(&state, &BulkView::from(report))
}
