//! The freeze of a restored database: nobody is let in and nothing changes until its operator confirms it.
//!
//! A backup brings back deleted tokens and old passwords. So a server on a restored database answers administrators who
//! look, and nobody else. Owns the scope of the freeze, the right to look, and its end. The store makes sure that
//! nothing is written meanwhile.

use serde_json::json;

use super::core::{Core, Done};
use super::restored::{self, Restored};
use crate::domain::audit::{Change, Kind};
use crate::error::{Error, Field, Result};
pub use crate::store::frozen::LiveCredentials;
use crate::store::{Lock, frozen};

/// The fate of registry tokens when a restored database is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoredTokens {
    /// They are as they were.
    Keep,
    /// All of them are disabled.
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

    /// The origin of this database, if it is frozen. Then this process lets nobody in and writes nothing until a later
    /// look finds that the freeze has ended. For a process that serves.
    pub async fn heed(&self) -> Result<Option<Restored>> {
        restored::heed(&self.core.store).await
    }

    /// The origin of this database, and the credentials that would be let in, if it is frozen.
    pub async fn standing(&self) -> Result<Option<(Restored, LiveCredentials)>> {
        let now = self.core.clock.now();
        self.core
            .store
            .read(move |connection| {
                connection.snapshot(|connection| match restored::find(connection)? {
                    Some(restored) => {
                        let standing = frozen::standing(connection, now)?;
                        Ok(Some((restored, standing)))
                    }
                    None => Ok(None),
                })
            })
            .await
    }

    /// Ends the freeze. Returns the number of tokens disabled before.
    pub async fn confirm(&self, tokens: RestoredTokens) -> Result<usize> {
        self.core
            .store
            .read(restored::find)
            .await?
            .ok_or_else(not_frozen)?;
        let (mut disabled, refresh_id) = (0, self.core.random.uuid()?);
        let mut after = (tokens == RestoredTokens::Disable).then_some(0);
        // In parts, each a transaction: a million tokens take longer than a statement may, and nobody is let in
        // meanwhile.
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
                let restored = restored::find(connection)?.ok_or_else(not_frozen)?;
                let trusts = match tokens {
                    RestoredTokens::Disable => frozen::disable_trusts(connection)?,
                    RestoredTokens::Keep => 0,
                };
                restored::forget(connection)?;
                let after = json!({
                    "backupOf": restored.made_at,
                    "restoredAt": restored.restored_at,
                    "disabledTokens": disabled,
                    "disabledTrusts": trusts,
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
