//! What the operator's machinery asks: is it alive, is it ready.

use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpResponse, route};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::registries::Registries;
use super::surface::Answer;
use super::{State, metrics};
use crate::error::Error;

/// The methods of these paths, which no document lists.
pub(super) const METHODS: [(&str, &str); 2] = [("/healthz", "GET, HEAD"), ("/readyz", "GET, HEAD")];

/// Is this asked by the operator's machinery?
pub(super) fn owns(path: &str) -> bool {
    let mut own = METHODS.iter().chain(&metrics::METHODS);
    own.any(|(own, _)| *own == path)
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(healthz).service(readyz);
}

/// Health of this process, for machines.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Checks>,
}

#[derive(Default, Serialize)]
struct Checks {
    database: &'static str,
    migrations: &'static str,
    /// What becomes of the backup that this was restored from.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'static str>,
    /// When the first signing certificate in use ends.
    #[serde(
        rename = "signingCertificatesEnd",
        skip_serializing_if = "Option::is_none"
    )]
    signing_certificates_end: Option<String>,
    /// When the last of those begins that are not valid yet.
    #[serde(
        rename = "signingCertificatesBegin",
        skip_serializing_if = "Option::is_none"
    )]
    signing_certificates_begin: Option<String>,
    /// Until when the janitor removes nothing, since the clock jumped.
    #[serde(rename = "removalsWaitUntil", skip_serializing_if = "Option::is_none")]
    removals_wait_until: Option<String>,
}

/// Alive: this process answers. Asks nobody else, so that a database's failure restarts no server.
#[route("/healthz", method = "GET", method = "HEAD")]
async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health {
        status: "ok",
        checks: None,
    })
}

fn shown(at: Option<DateTime<Utc>>) -> Option<String> {
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// Ready: the database answers, has the tables of this version, and is in use.
#[route("/readyz", method = "GET", method = "HEAD")]
async fn readyz(state: Data<State>) -> Answer<Registries> {
    let (checks, ready) = match state.service.readiness().await {
        Ok(readiness) if readiness.migrations => (
            Checks {
                database: "ok",
                migrations: "ok",
                backup: (!readiness.thawed).then_some("unconfirmed"),
                signing_certificates_end: shown(readiness.signing_certificates_end),
                signing_certificates_begin: shown(readiness.signing_certificates_begin),
                removals_wait_until: shown(readiness.removals_wait_until),
            },
            readiness.thawed,
        ),
        Ok(_) => (
            Checks {
                database: "ok",
                migrations: "pending",
                ..Checks::default()
            },
            false,
        ),
        Err(Error::Unavailable { outage, .. }) => {
            tracing::warn!(%outage, "not ready");
            (
                Checks {
                    database: "unavailable",
                    migrations: "unknown",
                    ..Checks::default()
                },
                false,
            )
        }
        Err(error) => return Err(error.into()),
    };
    let health = Health {
        status: if ready { "ready" } else { "not ready" },
        checks: Some(checks),
    };
    Ok(if ready {
        HttpResponse::Ok().json(health)
    } else {
        HttpResponse::ServiceUnavailable()
            .insert_header(("Retry-After", Error::RETRY_AFTER))
            .json(health)
    })
}
