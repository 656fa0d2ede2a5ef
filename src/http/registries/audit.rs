//! `/audit`.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse, get};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::path::Parameter;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use uuid::Uuid;

use super::wire::{Links, Pagination};
use super::{Answer, Call, listed};
use crate::domain::audit::{KeptEvent, Kind, Outcome};
use crate::domain::id::{AccountId, BulkId, RegistryId};
use crate::domain::page::parse_limit;
use crate::domain::text::quoted;
use crate::error::{Error, Field, Result, Violations};
use crate::http::call::{Head, Query, Raw};
use crate::http::links;
use crate::http::native::Errors;
use crate::http::schema::one_of;
use crate::http::state::State;
use crate::service::audit::Filter;

/// Which events are wanted: those that meet all that is given.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Not before this instant, RFC 3339
    #[param(format = DateTime)]
    since: Option<String>,
    /// Before this instant, RFC 3339
    #[param(format = DateTime)]
    until: Option<String>,
    /// The id of the account that acted
    #[param(format = Uuid)]
    actor: Option<String>,
    /// The id of the registry of the event
    #[param(format = Uuid)]
    registry: Option<String>,
    /// The id of the subject: a registry, a token of any kind or an account
    #[param(format = Uuid)]
    subject: Option<String>,
    /// The kind of event
    #[param(value_type = Option<KindWord>, inline, nullable = false)]
    kind: Option<String>,
    /// The outcome
    #[param(value_type = Option<OutcomeWord>, inline, nullable = false)]
    outcome: Option<String>,
    /// The id of a bulk run that changed the token of the event
    #[param(format = Uuid)]
    bulk: Option<String>,
}

/// A kind of event.
struct KindWord;

impl PartialSchema for KindWord {
    fn schema() -> RefOr<Schema> {
        one_of(Kind::ALL.iter().map(|kind| kind.as_str())).into()
    }
}

impl ToSchema for KindWord {}

/// The outcome of it.
struct OutcomeWord;

impl PartialSchema for OutcomeWord {
    fn schema() -> RefOr<Schema> {
        one_of(Outcome::ALL.iter().map(|outcome| outcome.as_str())).into()
    }
}

impl ToSchema for OutcomeWord {}

impl Head for Filter {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(wanted) = Query::<Wanted>::read(request)?;
        Self::try_from(wanted)
    }

    fn parameters() -> Vec<Parameter> {
        Query::<Wanted>::parameters()
    }
}

/// Which of them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// The maximum number of elements to return
    #[param(default = "100", pattern = "^0*([0-9]{1,3}|1000)$")]
    limit: Option<String>,
    /// `pagination.token` of the previous page
    #[serde(rename = "pagination.token")]
    #[param(rename = "pagination.token")]
    token: Option<String>,
}

/// A page of events.
#[derive(Debug)]
pub(super) struct Page {
    limit: i64,
    token: Option<String>,
}

impl Head for Page {
    fn read(request: &HttpRequest) -> Result<Self> {
        let Query(part) = Query::<Part>::read(request)?;
        Ok(Self {
            limit: parse_limit(part.limit.as_deref())?,
            // The last page gives an empty token.
            token: part.token.filter(|token| !token.is_empty()),
        })
    }

    fn parameters() -> Vec<Parameter> {
        Query::<Part>::parameters()
    }
}

impl TryFrom<Wanted> for Filter {
    type Error = Error;

    fn try_from(wanted: Wanted) -> Result<Self> {
        let mut violations = Violations::default();
        let mut instant = |field: Field, text: Option<String>| {
            text.and_then(|text| violations.take(parse_instant(field, &text)))
        };
        let (since, until) = (
            instant(Field::Since, wanted.since),
            instant(Field::Until, wanted.until),
        );
        let mut id = |text: Option<String>, parse: fn(&str) -> Result<Uuid>| {
            text.and_then(|text| violations.take(parse(&text)))
        };
        let actor = id(wanted.actor, |text| Ok(AccountId::parse(text)?.0));
        let registry = id(wanted.registry, |text| Ok(RegistryId::parse(text)?.0));
        let subject = id(wanted.subject, parse_subject);
        let bulk = id(wanted.bulk, |text| Ok(BulkId::parse(text)?.0));
        let kind = wanted
            .kind
            .and_then(|text| violations.take(Kind::parse(&text)));
        let outcome = wanted
            .outcome
            .and_then(|text| violations.take(Outcome::parse(&text)));
        violations.finish(Some(Self {
            since,
            until,
            actor,
            registry,
            subject,
            kind: kind.map(|kind| kind.as_str().to_owned()),
            outcome: outcome.map(|outcome| outcome.as_str().to_owned()),
            bulk,
        }))
    }
}

fn parse_instant(field: Field, text: &str) -> Result<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .map(|instant| instant.to_utc())
        .map_err(|_| {
            Error::invalid(
                field,
                format!(
                    "{} {} is no RFC 3339 instant such as 2026-11-21T00:00:00Z",
                    field.as_str(),
                    quoted(text)
                ),
            )
        })
}

fn parse_subject(text: &str) -> Result<Uuid> {
    // The ids of all kinds of things have the same form.
    AccountId::parse(text).map(|id| id.0).map_err(|_| {
        Error::invalid(
            Field::Subject,
            format!(
                "subject {} is no id; an id looks like 5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10",
                quoted(text)
            ),
        )
    })
}

/// An event
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEvent)]
pub(super) struct EventView {
    /// Its chain and its place there
    #[schema(example = "1.42")]
    id: String,
    /// The time of the event
    #[schema(format = DateTime, example = "2026-11-21T21:40:02.123456Z")]
    at: String,
    /// The kind of event
    #[schema(example = "create")]
    kind: String,
    /// The outcome
    #[schema(example = "success")]
    outcome: String,
    /// The id of the account that acted; null if it is not known
    #[schema(required, format = Uuid, example = "7ee77dcf-093f-48e6-9a14-161c73568589")]
    actor: Option<String>,
    /// The account's name at that time, or the name that was tried
    #[schema(required, example = "admin")]
    actor_name: Option<String>,
    /// The id of the registry of the event
    #[schema(required, format = Uuid, example = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11")]
    registry: Option<String>,
    /// The kind of thing that the event is about
    #[schema(example = "token")]
    subject_kind: String,
    /// The id of that thing
    #[schema(required, format = Uuid, example = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10")]
    subject: Option<String>,
    /// The address that the request came from; null for a command on the machine itself
    #[schema(required, example = "192.0.2.7")]
    address: Option<String>,
    /// `X-Request-Id` of the answer; empty for a command
    #[schema(example = "b4f7d0f6-3c5e-4f0e-9a51-0f6f5f0f2b11")]
    request_id: String,
    /// The credential, the subject before and after, the reason of a refusal, the place of a leak, and the number of equal events
    #[schema(example = json!({"credential": {"kind": "password"}, "after": {"name": "ci", "status": "enabled", "expires": null, "scopes": [], "version": 1}}))]
    detail: Map<String, Value>,
}

impl From<KeptEvent> for EventView {
    fn from(event: KeptEvent) -> Self {
        let said = event.said;
        let id = |id: Option<Uuid>| id.map(|id| id.to_string());
        Self {
            id: format!("{}.{}", event.chain, event.sequence),
            at: said.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            kind: said.kind,
            outcome: said.outcome,
            actor: id(said.actor),
            actor_name: said.actor_name,
            registry: id(said.registry),
            subject_kind: said.subject_kind,
            subject: id(said.subject),
            address: said.address,
            request_id: said.request_id,
            // Text that somebody else wrote may be no JSON object; `audit verify` reports it.
            detail: serde_json::from_str(&said.detail).unwrap_or_default(),
        }
    }
}

/// A page of events
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvents)]
pub(super) struct EventList {
    #[schema(example = "audit")]
    id: &'static str,
    #[schema(example = "collection")]
    r#type: &'static str,
    #[schema(example = "")]
    href: &'static str,
    items: Vec<EventView>,
    pagination: Pagination,
    #[serde(rename = "_links")]
    links: Links,
}

/// List what happened
///
/// Lists what was done and refused, the newest first. It needs a role with Read permission for Administration.
#[utoipa::path(
    operation_id = "auditGet", tag = "Audit", params(Wanted, Part),
    responses((status = 200, description = "OK", body = EventList), Errors),
)]
#[get("/audit")]
pub(super) async fn list(state: Data<State>, call: Call<(Filter, (Page, Raw))>) -> Answer {
    let (filter, (Page { limit, token }, Raw(request))) = call.head;
    let audit = state.service.audit();
    let page = audit
        .list(&call.caller, filter, limit, token.as_deref())
        .await?;
    let next = page.next.as_deref();
    let links = Links {
        previous: String::new(),
        this: link(&request, limit, token.as_deref()),
        next: next
            .map(|token| link(&request, limit, Some(token)))
            .unwrap_or_default(),
    };
    listed(
        &state,
        &EventList {
            id: "audit",
            r#type: "collection",
            href: "",
            items: page.events.into_iter().map(Into::into).collect(),
            pagination: Pagination {
                limit,
                token: page.next.unwrap_or_default(),
            },
            links,
        },
    )
}

/// A link to a page. It keeps the filter, since the token is valid only with it.
fn link(request: &HttpRequest, limit: i64, token: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let sent = url::form_urlencoded::parse(request.query_string().as_bytes());
    query.extend_pairs(sent.filter(|(name, _)| name != "limit" && name != "pagination.token"));
    query.append_pair("limit", &limit.to_string());
    if let Some(token) = token {
        query.append_pair("pagination.token", token);
    }
    format!("{}?{}", links::here(request), query.finish())
}

/// Export what happened
///
/// Sends all that was done and refused, the oldest first, one JSON object a line. It needs a role with Read permission
/// for Administration.
#[utoipa::path(
    operation_id = "auditExport", tag = "Audit", params(Wanted),
    responses(
        (status = 200, description = "One event a line, in the form of the list", body = String, content_type = "application/x-ndjson", example = json!("{\"id\":\"1.42\",\"at\":\"2026-11-21T21:40:02.123456Z\",\"kind\":\"create\",\"outcome\":\"success\",…}\n")),
        Errors,
    ),
)]
#[get("/audit/export")]
pub(super) async fn export(state: Data<State>, call: Call<Filter>) -> Answer {
    let (state, caller, filter) = (state.into_inner(), call.caller, call.head);
    // Before the status is sent, so that a refusal can set it.
    let audit = state.service.audit();
    let first = audit.export(&caller, filter.clone(), None).await?;
    let start = Some((first, caller, filter));
    let lines = stream::try_unfold(start, move |step| {
        let state = std::sync::Arc::clone(&state);
        async move {
            let Some((part, caller, filter)) = step else {
                return Ok::<_, Error>(None);
            };
            let mut lines = Vec::new();
            for event in part.events {
                serde_json::to_writer(&mut lines, &EventView::from(event))
                    .map_err(Error::internal)?;
                lines.push(b'\n');
            }
            let next = match part.next {
                None => None,
                place @ Some(_) => {
                    let audit = state.service.audit();
                    let part = audit.export(&caller, filter.clone(), place).await?;
                    Some((part, caller, filter))
                }
            };
            Ok(Some((Bytes::from(lines), next)))
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("application/x-ndjson")
        .insert_header(("Cache-Control", "no-store"))
        .streaming(lines))
}
