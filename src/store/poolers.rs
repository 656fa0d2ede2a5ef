//! Poolers in front of PostgreSQL: those that would break this service's promises are refused.
//!
//! A pooler that gives a connection another session of the server for each transaction (`pool_mode=transaction` of `PgBouncer`)
//! loses settings and prepared statements. pgpool sends reads to standbys, which accept tokens that were revoked.

use super::session::{Purpose, Session, Target};
use crate::error::{Error, Field, Result};

/// A part of the error of a query that found what it was asked to find.
const FOUND: &str = "session-of-another-connection";

/// Refuses a database behind an unfit pooler. `process` is a text that no other process has.
///
/// # Errors
///
/// [`Error::Invalid`] says which setting of the pooler to change.
pub(super) fn refuse(target: &Target, process: &str) -> Result<()> {
    if target.is_sqlite() {
        return Ok(());
    }
    let refused = |why: &str| {
        Err(Error::invalid(
            Field::Setting,
            format!("--database-url: {why}"),
        ))
    };
    let mut one = Session::open(target, Purpose::Migrate)?;
    if is_pgpool(&mut one) {
        return refused(
            "pgpool in front of the database can send reads to standbys, which may still accept a token that was revoked: \
             name the database servers themselves",
        );
    }
    let mut other = Session::open(target, Purpose::Migrate)?;
    if changes_sessions(&mut one, &mut other, process)? {
        return refused(
            "a pooler in front of the database gives a connection another session for each transaction, so settings and \
             prepared statements are lost: set pool_mode = session there for this database, or name the database servers \
             themselves",
        );
    }
    Ok(())
}

/// Returns true if this is pgpool. Its setting `load_balance_mode` cannot be asked for in the protocol that is spoken here.
fn is_pgpool(session: &mut Session) -> bool {
    // PostgreSQL does not know this setting.
    session.execute_batch("SHOW pool_version").is_ok()
}

/// Returns true if a setting of one connection is seen by another one that holds a transaction open, or is gone meanwhile.
/// Only simple queries, since prepared statements are among the things that get lost.
fn changes_sessions(one: &mut Session, other: &mut Session, process: &str) -> Result<bool> {
    let process = process.replace('\'', "''");
    let fails_if = |condition: &str| {
        format!(
            "SELECT CAST(CASE WHEN current_setting('wharfinger.process', true) {condition} '{process}' \
             THEN '{FOUND}' ELSE '0' END AS INTEGER)"
        )
    };
    let finds = |session: &mut Session, query: &str| match session.execute_batch(query) {
        Ok(()) => Ok(false),
        Err(error) if error.to_string().contains(FOUND) => Ok(true),
        Err(error) => Err(Error::from(error)),
    };
    one.execute_batch(&format!("SET wharfinger.process = '{process}'"))?;
    // With a session for each statement there are no transactions.
    if other.execute_batch("BEGIN").is_err() {
        return Ok(true);
    }
    // If the other one has the only session, this one would wait for it.
    let changes = finds(other, &fails_if("="))? || finds(one, &fails_if("IS DISTINCT FROM"))?;
    if !changes {
        other.execute_batch("ROLLBACK")?;
        one.execute_batch("RESET wharfinger.process")?;
    }
    Ok(changes)
}
