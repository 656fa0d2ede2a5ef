//! Losses: changes that the database acknowledged and does not have any more, after a failover to a standby without them.
//!
//! Every change adds an event to the chain of its process. So a chain that is shorter than its process knows tells of a
//! loss. A lost change can be a revocation, and then a token works again. Owns the search for losses and the answer
//! to them. A write to the chain finds them too.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::core::Core;
use super::loss_log::Loss;
use super::policy::OnLoss;
use super::restored::{self, Restored};
use crate::error::Result;
use crate::store::Lock;

/// Loss use cases, of a process that serves.
#[derive(Debug)]
pub struct Losses<'a> {
    core: &'a Core,
}

impl<'a> Losses<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Compares the database with what this process knows if there was a new connection since the last look, and answers
    /// a loss.
    pub async fn look(&self) -> Result<()> {
        if self.core.store.is_frozen() {
            return Ok(());
        }
        let looked = &self.core.connections_looked_at;
        let connections = self.core.store.connections();
        if looked.load(Ordering::Relaxed) != connections {
            self.compare().await?;
            looked.store(connections, Ordering::Relaxed);
        }
        let freezes = self.core.policy.on_loss == OnLoss::Freeze;
        if let Some(loss) = self.core.losses.unanswered() {
            if freezes {
                self.freeze(loss).await?;
            }
            self.core.losses.answer(loss);
        } else if freezes {
            // Another replica may have found one.
            restored::heed(&self.core.store).await?;
        }
        Ok(())
    }

    /// Writes to a chain that is too short, which notes the loss.
    async fn compare(&self) -> Result<()> {
        let Some(ledger) = self.core.trail.opened() else {
            return Ok(());
        };
        let (known, store) = (Arc::clone(&ledger), &self.core.store);
        if store
            .read(move |connection| known.is_behind(connection))
            .await?
        {
            store
                .write(Lock::Catalog, move |transaction| {
                    transaction.tell(&ledger, []);
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    /// Freezes the database, for all replicas.
    async fn freeze(&self, loss: Loss) -> Result<()> {
        let store = &self.core.store;
        store
            .write(Lock::Catalog, move |connection| {
                let before = restored::find(connection)?;
                let others = before.and_then(|restored| restored.lost_events);
                let restored = Restored {
                    made_at: loss.kept_at,
                    restored_at: loss.found_at,
                    lost_events: Some(others.unwrap_or(0) + loss.events()),
                };
                restored::freeze(connection, &restored)
            })
            .await?;
        store.freeze(true);
        Ok(())
    }
}
