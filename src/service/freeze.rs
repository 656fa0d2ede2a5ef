//! The freeze of a restored database: nobody is let in and nothing changes until its operator confirms it.
//!
//! A backup brings back what was taken away since: deleted tokens, old passwords. So a server on what was restored
//! answers administrators who look, and nobody else. Owns what is frozen, who may look, and how it ends. That nothing
//! is written meanwhile is the store's to keep.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Core, Done};
use crate::domain::account::Actor;
use crate::domain::audit::{Change, Credential, Kind};
use crate::domain::role::{Level, Resource};
use crate::error::{Error, Field, Result};
pub use crate::store::frozen::Standing;
use crate::store::{Lock, Session, frozen, keys};

/// The name of the freeze among the data set's facts.
const FROZEN: &str = "frozen";

/// Where a frozen database comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// When its backup was made.
    pub made_at: DateTime<Utc>,
    /// When it was restored.
    pub restored_at: DateTime<Utc>,
}

/// Freezes a database that was restored.
pub(super) fn freeze(connection: &mut Session, restored: &Restored) -> Result<()> {
    let fact = serde_json::to_vec(restored).map_err(Error::internal)?;
    keys::set_fact(connection, FROZEN, &fact)
}

/// Where a database comes from, if it is frozen.
fn find(connection: &mut Session) -> Result<Option<Restored>> {
    let fact = keys::fact(connection, FROZEN)?;
    fact.map(|fact| serde_json::from_slice(&fact).map_err(Error::internal))
        .transpose()
}

/// May this account look at what is frozen? An API token is among what a backup brings back.
pub(super) fn require_operator(actor: &Actor, credential: Credential) -> Result<()> {
    let manages = actor
        .permissions
        .require(Resource::Administration, Level::Write);
    match (credential, manages) {
        (Credential::Password, Ok(())) => Ok(()),
        _ => Err(Error::Frozen),
    }
}

/// What becomes of registry tokens when a restored database is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoredTokens {
    /// They are as they were.
    Keep,
    /// All of them open nothing.
    Disable,
}

/// Freeze use cases.
#[derive(Debug)]
pub struct Freeze<'a> {
    core: &'a Core,
}

impl<'a> Freeze<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Where this database comes from, if it is frozen; then this process lets nobody in and writes nothing, from now on
    /// until a later look finds that it is not frozen any more. For a process that serves.
    pub async fn heed(&self) -> Result<Option<Restored>> {
        let restored = self.core.store.read(find).await?;
        self.core.store.freeze(restored.is_some());
        Ok(restored)
    }

    /// Where this database comes from, and what would be let in, if it is frozen.
    pub async fn standing(&self) -> Result<Option<(Restored, Standing)>> {
        let now = self.core.clock.now();
        self.core
            .store
            .read(move |connection| {
                connection.snapshot(|connection| match find(connection)? {
                    Some(restored) => {
                        let standing = frozen::standing(connection, now)?;
                        Ok(Some((restored, standing)))
                    }
                    None => Ok(None),
                })
            })
            .await
    }

    /// Ends the freeze. Returns how many tokens were disabled before.
    pub async fn confirm(&self, tokens: RestoredTokens) -> Result<usize> {
        self.core.store.read(find).await?.ok_or_else(not_frozen)?;
        let (mut disabled, refresh_id) = (0, self.core.random.uuid()?);
        let mut after = (tokens == RestoredTokens::Disable).then_some(0);
        // In parts, each of its own: a million tokens take longer than a statement may, and nobody is let in meanwhile.
        while let Some(last) = after {
            let (more, next) = self
                .core
                .store
                .write(Lock::Nothing, move |connection| {
                    frozen::disable_tokens(connection, last, refresh_id)
                })
                .await?;
            disabled += more;
            after = next;
        }
        self.core
            .command(Lock::Catalog, move |connection| {
                let restored = find(connection)?.ok_or_else(not_frozen)?;
                keys::forget_fact(connection, FROZEN)?;
                let after = json!({
                    "backupOf": restored.made_at,
                    "restoredAt": restored.restored_at,
                    "disabledTokens": disabled,
                });
                let told = Change::of_service(Kind::Restore, None, Some(after));
                Ok(Done::told(disabled, told))
            })
            .await
    }
}

fn not_frozen() -> Error {
    Error::invalid(
        Field::Setting,
        "this database is not frozen: there is nothing to confirm",
    )
}
