//! The table `trust_refusals`: the last refused workloads of each trust, for its owner.
//!
//! A workload that is refused again changes its row, so that one that tries each minute drives out no other.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::{ExpressionMethods, QueryDsl, RunQueryDsl, sql_query};

use super::rows::{from_json, instant, micros, to_json};
use super::schema::trust_refusals;
use super::session::Session;
use crate::domain::id::TrustKey;
use crate::domain::trust_refusal::{RefusalDetail, TrustRefusal};
use crate::error::{Error, Result};

/// The rows that a trust keeps.
pub const KEPT: i64 = 20;

/// Keeps the refusal of a workload, and removes the oldest one beyond 20. A trust that is gone keeps nothing.
/// `identity` is a hash of the claims that name the workload.
pub fn record(
    connection: &mut Session,
    trust: TrustKey,
    identity: &[u8],
    refusal: &TrustRefusal,
) -> Result<()> {
    // A job that deletes the trust meanwhile waits for its row, and then removes the refusal too.
    let guard = match connection {
        Session::Sqlite(_) => "",
        Session::Postgres(_) => "FOR KEY SHARE",
    };
    let address = refusal.address.map(|address| address.to_string());
    let kept = sql_query(format!(
        "INSERT INTO trust_refusals (trust_key, identity, refused_at, times, address, detail) \
         SELECT key, $1, $2, $3, $4, $5 FROM trusts WHERE key = $6 {guard} \
         ON CONFLICT (trust_key, identity) DO UPDATE SET refused_at = excluded.refused_at, \
         times = trust_refusals.times + excluded.times, address = excluded.address, detail = excluded.detail"
    ))
    .bind::<Binary, _>(identity.to_vec())
    .bind::<BigInt, _>(micros(refusal.at))
    .bind::<BigInt, _>(refusal.times)
    .bind::<Nullable<Text>, _>(address)
    .bind::<Text, _>(to_json(&refusal.detail)?)
    .bind::<BigInt, _>(trust.0)
    .execute(connection)?;
    if kept > 0 {
        sql_query(
            "DELETE FROM trust_refusals WHERE trust_key = $1 AND identity IN (SELECT identity FROM trust_refusals \
             WHERE trust_key = $1 ORDER BY refused_at DESC, identity LIMIT 1000 OFFSET $2)",
        )
        .bind::<BigInt, _>(trust.0)
        .bind::<BigInt, _>(KEPT)
        .execute(connection)?;
    }
    Ok(())
}

/// The refusals of a trust, the last one first.
pub fn list(connection: &mut Session, trust: TrustKey) -> Result<Vec<TrustRefusal>> {
    let rows: Vec<(i64, i64, Option<String>, String)> = trust_refusals::table
        .filter(trust_refusals::trust_key.eq(trust.0))
        .order((trust_refusals::refused_at.desc(), trust_refusals::identity))
        .limit(KEPT)
        .select((
            trust_refusals::refused_at,
            trust_refusals::times,
            trust_refusals::address,
            trust_refusals::detail,
        ))
        .load(connection)?;
    rows.into_iter()
        .map(|(at, times, address, detail)| refusal(instant(at)?, times, address, &detail))
        .collect()
}

fn refusal(
    at: DateTime<Utc>,
    times: i64,
    address: Option<String>,
    detail: &str,
) -> Result<TrustRefusal> {
    let address: Option<IpAddr> = address
        .map(|address| address.parse())
        .transpose()
        .map_err(Error::internal)?;
    let detail: RefusalDetail = from_json(detail)?;
    Ok(TrustRefusal {
        at,
        times,
        address,
        detail,
    })
}
