//! The stored record of the backup that a database was restored from, until the restore is confirmed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::account::Actor;
use crate::domain::audit::Credential;
use crate::domain::permission::{Level, Resource};
use crate::error::{Error, Result};
use crate::store::{Session, Store, data_keys};

/// The name of the freeze among the data set's facts.
const FROZEN: &str = "frozen";

/// The origin of a frozen database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// When its backup was made.
    pub made_at: DateTime<Utc>,
    /// When it was restored.
    pub restored_at: DateTime<Utc>,
    /// The number of lost events if it was no restore, but a failover that lost them. Then `made_at` is the time of the
    /// last event that is left, and `restored_at` that at which the loss was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_events: Option<i64>,
}

/// Freezes a database that was restored.
pub(super) fn freeze(connection: &mut Session, restored: &Restored) -> Result<()> {
    let fact = serde_json::to_vec(restored).map_err(Error::internal)?;
    data_keys::set_fact(connection, FROZEN, &fact)
}

/// The origin of a database, if it is frozen.
pub(super) fn find(connection: &mut Session) -> Result<Option<Restored>> {
    let fact = data_keys::fact(connection, FROZEN)?;
    fact.map(|fact| serde_json::from_slice(&fact).map_err(Error::internal))
        .transpose()
}

/// Checks that this account may look at a frozen database. An API token may not: the backup may have brought it back.
pub(super) fn require_operator(actor: &Actor, credential: Credential) -> Result<()> {
    let manages = actor
        .permissions
        .require(Resource::Administration, Level::Write);
    match (credential, manages) {
        (Credential::Password, Ok(())) => Ok(()),
        _ => Err(Error::Frozen),
    }
}

/// Ends the freeze of a database.
pub(super) fn forget(connection: &mut Session) -> Result<()> {
    data_keys::forget_fact(connection, FROZEN)
}

/// The origin of this database, if it is frozen. Then this process lets nobody in and writes nothing until a later look
/// finds that the freeze has ended.
pub(super) async fn heed(store: &Store) -> Result<Option<Restored>> {
    let restored = store.read(find).await?;
    store.freeze(restored.is_some());
    Ok(restored)
}
