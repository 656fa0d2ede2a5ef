//! Health probes and metrics for the operator.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::dialect::{Answer, Failure};
use super::native::Native;
use super::state::State;
use super::surface::{METRICS, Surface, WhileFrozen};
use crate::error::Error;
use crate::service::{FileState, Health, Integrity};

/// Probes and metrics.
pub(super) static SURFACE: Surface = Surface {
    name: "operations",
    owns: |path| {
        matches!(
            path.split('/').nth(1),
            Some("healthz" | "readyz" | "metrics")
        )
    },
    failure: |_, error| Failure::<Native>::from(error).into(),
    routes: |config| {
        config.service(healthz).service(readyz);
    },
    unlisted: &[("/healthz", "GET"), ("/readyz", "GET"), (METRICS, "GET")],
    any_method: &[],
    changes_by_get: &[],
    dress: None,
    while_frozen: WhileFrozen::All,
    queues: false,
    challenges_scripts: false,
    document: None,
};

/// Health of this process, for machines.
#[derive(Serialize)]
struct Answered {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Checks>,
}

#[derive(Default, Serialize)]
struct Checks {
    database: &'static str,
    migrations: &'static str,
    /// The fault in the place of SQLite's file.
    #[serde(rename = "databaseFile", skip_serializing_if = "Option::is_none")]
    database_file: Option<&'static str>,
    /// The fault inside SQLite's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    integrity: Option<&'static str>,
    /// The fault of writes; reads may go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    writes: Option<&'static str>,
    /// The state of the restore, if the database was restored from a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<&'static str>,
    /// The end of the first signing certificate in use.
    #[serde(
        rename = "signingCertificatesEnd",
        skip_serializing_if = "Option::is_none"
    )]
    signing_certificates_end: Option<String>,
    /// The latest beginning of the signing certificates that are not valid yet.
    #[serde(
        rename = "signingCertificatesBegin",
        skip_serializing_if = "Option::is_none"
    )]
    signing_certificates_begin: Option<String>,
    /// When changes were found missing that the database had acknowledged.
    #[serde(rename = "lossDetected", skip_serializing_if = "Option::is_none")]
    loss_detected: Option<String>,
    /// The time until which the janitor removes nothing, since the clock jumped.
    #[serde(rename = "removalsWaitUntil", skip_serializing_if = "Option::is_none")]
    removals_wait_until: Option<String>,
}

/// Liveness: this process answers. It does not ask the database, whose failure must not restart servers.
#[get("/healthz")]
async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Answered {
        status: "ok",
        checks: None,
    })
}

fn shown(at: Option<DateTime<Utc>>) -> Option<String> {
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

impl Checks {
    fn of(database: &'static str, migrations: &'static str, health: Health) -> Self {
        Self {
            database,
            migrations,
            database_file: match health.file {
                FileState::Same => None,
                FileState::Replaced => Some("replaced"),
                FileState::Missing => Some("missing"),
                FileState::LogGone => Some("log gone"),
            },
            integrity: (health.integrity == Integrity::Broken).then_some("broken"),
            writes: health.writes_fail.then_some("failing"),
            backup: None,
            signing_certificates_end: None,
            signing_certificates_begin: None,
            removals_wait_until: None,
            loss_detected: None,
        }
    }
}

/// Readiness: the database answers, has the schema of this version, is the same as before, and is in use.
#[get("/readyz")]
async fn readyz(state: Data<State>) -> Answer<Native> {
    let found = state.service.readiness().await;
    // After the query, which may have updated the health.
    let health = state.service.database_health();
    let (checks, ready) = match found {
        Ok(readiness) if readiness.migrations => (
            Checks {
                backup: (!readiness.thawed).then_some("unconfirmed"),
                signing_certificates_end: shown(readiness.signing_certificates_end),
                signing_certificates_begin: shown(readiness.signing_certificates_begin),
                removals_wait_until: shown(readiness.removals_wait_until),
                loss_detected: shown(readiness.loss_detected),
                ..Checks::of("ok", "ok", health)
            },
            readiness.thawed && health.is_sound(),
        ),
        Ok(_) => (Checks::of("ok", "pending", health), false),
        Err(Error::Unavailable { outage, .. }) => {
            tracing::warn!(%outage, "/readyz answered 503, as the database does not answer; check the database");
            (Checks::of("unavailable", "unknown", health), false)
        }
        Err(error) => return Err(error.into()),
    };
    let health = Answered {
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
