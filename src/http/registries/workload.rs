//! `/registries/{registryId}/trusts`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{delete, get, patch, post, put};

use super::ids::{RegistryPath, TrustPath};
use super::precondition::{IfAbsent, IfChanged, IfMatch, looked, tagged};
use super::repeat::{Keyed, marked};
use super::token::{Page, window_links};
use super::wire::{
    CreateTrust, EvaluateTrust, PatchTrust, RefusalList, TrustEvaluationView, TrustList,
    TrustQuestion, TrustView,
};
use super::{Answer, Call, Conditional, Reused, Unchanged, listed};
use crate::domain::id::{RegistryId, TrustId};
use crate::domain::page::Window;
use crate::domain::precondition::Precondition;
use crate::domain::trust::{NewTrust, TrustPatch};
use crate::http::call::{Json, Raw, Repeatable};
use crate::http::links;
use crate::http::native::{ApiErrorResponse, BodyErrors, Errors};
use crate::http::state::State;
use crate::service::Put;
use crate::service::trusts::SeenTrust;

/// List the trusts of a registry
///
/// Lists the trusts of a registry in the order they were made. At most 1000 elements are returned at once.
#[utoipa::path(
    operation_id = "registriesTrustsGet", tag = "Trusts", params(RegistryPath, Page),
    responses((status = 200, description = "OK", body = TrustList), (status = 404, description = "The registry does not exist", body = ApiErrorResponse), Errors),
)]
#[get("/{registryId}/trusts")]
pub(super) async fn list(state: Data<State>, call: Call<(RegistryId, (Window, Raw))>) -> Answer {
    let (registry, (window, Raw(request))) = call.head;
    let trusts = state.service.trusts();
    let page = trusts.list(&call.caller, registry, window).await?;
    let now = state.service.now();
    let items: Vec<TrustView> = page
        .trusts
        .into_iter()
        .map(|trust| {
            let audience = trust.audience.clone();
            let audience = audience.unwrap_or_else(|| page.audience.clone());
            TrustView::new(SeenTrust { trust, audience }, now)
        })
        .collect();
    listed(
        &state,
        &TrustList {
            id: "trusts",
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

/// Create trust
///
/// Lets the workloads of an issuer open the registry, if their claims fit
///
/// * claims has to have a claim that its issuer never gives to another workload
#[utoipa::path(
    operation_id = "registriesTrustsPost", tag = "Trusts", params(RegistryPath, Keyed), request_body = CreateTrust,
    responses(
        (status = 201, description = "The trust", body = TrustView),
        (status = 404, description = "The registry does not exist", body = ApiErrorResponse),
        (status = 409, description = "A trust or a token of this name exists, the registry has the maximum number of trusts, or the trust of an earlier request with this key has changed", body = ApiErrorResponse),
        Reused, BodyErrors, Errors,
    ),
)]
#[post("/{registryId}/trusts")]
pub(super) async fn create(
    state: Data<State>,
    call: Call<RegistryId, Repeatable<CreateTrust, NewTrust>>,
) -> Answer {
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let trusts = state.service.trusts();
    let once = trusts
        .create(&call.caller, call.head, command, attempt)
        .await?;
    let answer = shown(&state, StatusCode::CREATED, once.value);
    Ok(marked(answer, once.repeated))
}

/// The answer to a change of a trust, even if nothing had to change.
fn shown(state: &State, status: StatusCode, seen: SeenTrust) -> HttpResponse {
    let now = state.service.now();
    let warnings = state.service.tokens().scope_warnings(&seen.trust.scopes);
    let tag = seen.trust.tag_at(now);
    tagged(status, tag, TrustView::new(seen, now).warned(warnings))
}

/// Get a trust
///
/// Gets all information on a trust
#[utoipa::path(
    operation_id = "registriesTrustsFindById", tag = "Trusts", params(RegistryPath, TrustPath, IfMatch, IfChanged),
    responses((status = 200, description = "OK", body = TrustView), (status = 404, description = "The registry or the trust does not exist", body = ApiErrorResponse), Unchanged, Conditional, Errors),
)]
#[get("/{registryId}/trusts/{trustId}")]
pub(super) async fn show(
    state: Data<State>,
    call: Call<(RegistryId, (TrustId, Precondition))>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let trusts = state.service.trusts();
    let look = trusts.show(&call.caller, registry, id, condition).await?;
    let now = state.service.now();
    Ok(looked(look, |seen| TrustView::new(seen, now)))
}

/// Create or replace trust
///
/// Create/replace a trust
///
/// * "name" cannot be changed
///
/// * a change of issuer, audience or claims ends what was issued for the trust before
#[utoipa::path(
    operation_id = "registriesTrustsPut", tag = "Trusts", params(RegistryPath, TrustPath, IfMatch, IfAbsent, Keyed), request_body = CreateTrust,
    responses(
        (status = 200, description = "The replaced trust", body = TrustView),
        (status = 201, description = "The created trust", body = TrustView),
        (status = 404, description = "The registry does not exist", body = ApiErrorResponse),
        (status = 409, description = "Another trust or a token has this name, the registry has the maximum number of trusts, or the trust of an earlier request with this key has changed", body = ApiErrorResponse),
        Conditional, Reused, BodyErrors, Errors,
    ),
)]
#[put("/{registryId}/trusts/{trustId}")]
pub(super) async fn replace(
    state: Data<State>,
    call: Call<(RegistryId, (TrustId, Precondition)), Repeatable<CreateTrust, NewTrust>>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let Repeatable {
        command, attempt, ..
    } = call.body;
    let put = state
        .service
        .trusts()
        .replace(&call.caller, registry, id, command, condition, attempt)
        .await?;
    Ok(match put {
        Put::Created(once) => marked(
            shown(&state, StatusCode::CREATED, once.value),
            once.repeated,
        ),
        Put::Replaced(seen) => shown(&state, StatusCode::OK, seen),
    })
}

/// Update trust
///
/// Changes what the body names
///
/// * a change of issuer, audience or claims ends what was issued for the trust before
#[utoipa::path(
    operation_id = "registriesTrustsPatch", tag = "Trusts", params(RegistryPath, TrustPath, IfMatch), request_body = PatchTrust,
    responses((status = 200, description = "OK", body = TrustView), (status = 404, description = "The registry or the trust does not exist", body = ApiErrorResponse), Conditional, BodyErrors, Errors),
)]
#[patch("/{registryId}/trusts/{trustId}")]
pub(super) async fn update(
    state: Data<State>,
    call: Call<(RegistryId, (TrustId, Precondition)), Json<PatchTrust, TrustPatch>>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let trusts = state.service.trusts();
    let seen = trusts
        .update(&call.caller, registry, id, call.body.0, condition)
        .await?;
    Ok(shown(&state, StatusCode::OK, seen))
}

/// Delete trust
///
/// Deletes a trust. Its workloads open nothing from then on
#[utoipa::path(
    operation_id = "registriesTrustsDelete", tag = "Trusts", params(RegistryPath, TrustPath, IfMatch),
    responses((status = 204, description = "No content"), (status = 404, description = "The registry or the trust does not exist", body = ApiErrorResponse), Conditional, Errors),
)]
#[delete("/{registryId}/trusts/{trustId}")]
pub(super) async fn delete(
    state: Data<State>,
    call: Call<(RegistryId, (TrustId, Precondition))>,
) -> Answer {
    let (registry, (id, condition)) = call.head;
    let trusts = state.service.trusts();
    trusts.delete(&call.caller, registry, id, condition).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Evaluate a trust
///
/// Says what a workload with these claims would be granted now, and which claim does not fit. Makes no JWT and changes nothing
///
/// * the signature and the times of a JWT are not looked at, so an old one will do
#[utoipa::path(
    operation_id = "registriesTrustsEvaluate", tag = "Trusts", params(RegistryPath, TrustPath), request_body = EvaluateTrust,
    responses((status = 200, description = "The comparison of each claim, and the access that would be granted", body = TrustEvaluationView), (status = 404, description = "The registry or the trust does not exist", body = ApiErrorResponse), BodyErrors, Errors),
)]
#[post("/{registryId}/trusts/{trustId}/evaluate")]
pub(super) async fn evaluate(
    state: Data<State>,
    call: Call<(RegistryId, TrustId), Json<EvaluateTrust, TrustQuestion>>,
) -> Answer {
    let (registry, id) = call.head;
    let TrustQuestion { workload, question } = call.body.0;
    let evaluated = state
        .service
        .trusts()
        .evaluate(&call.caller, registry, id, workload, question)
        .await?;
    Ok(HttpResponse::Ok().json(TrustEvaluationView::from(evaluated)))
}

/// List the refused workloads of a trust
///
/// Lists the last 20 workloads that were refused although the signature of their JWT was right, each once, the last one first
#[utoipa::path(
    operation_id = "registriesTrustsRefusalsGet", tag = "Trusts", params(RegistryPath, TrustPath),
    responses((status = 200, description = "OK", body = RefusalList), (status = 404, description = "The registry or the trust does not exist", body = ApiErrorResponse), Errors),
)]
#[get("/{registryId}/trusts/{trustId}/refusals")]
pub(super) async fn refusals(state: Data<State>, call: Call<(RegistryId, TrustId)>) -> Answer {
    let (registry, id) = call.head;
    let trusts = state.service.trusts();
    let refusals = trusts.refusals(&call.caller, registry, id).await?;
    listed(&state, &RefusalList::from(refusals))
}
