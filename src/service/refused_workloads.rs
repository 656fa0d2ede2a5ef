//! Refused workloads that wait to be written for the owners of trusts.
//!
//! Noting one is a short lock and no store call, and what a stranger can make wait has a bound. A workload that is
//! refused again before the write is one row with a count.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::TrustKey;
use crate::domain::trust_refusal::TrustRefusal;
use crate::error::{Error, Result};
use crate::store::{Lock, Store, trust_refusals};

/// The most workloads that wait. Refusals of further ones are in the audit trail alone.
const WAITING: usize = 1_000;
/// The most rows of a write.
const BATCH: usize = 50;

/// A workload of a trust, by a hash of the claims that name it.
type Workload = (TrustKey, Vec<u8>);

/// The waiting refusals of a process.
#[derive(Debug, Default)]
pub struct RefusedWorkloads {
    waiting: Mutex<HashMap<Workload, TrustRefusal>>,
    /// Held while refusals are written.
    writing: tokio::sync::Mutex<()>,
}

impl RefusedWorkloads {
    /// Notes that a workload of a trust was refused once. Call it only for a JWT whose signature fits: anybody can make
    /// up another one.
    pub fn note(&self, trust: TrustKey, refusal: TrustRefusal) {
        let mut waiting = self.lock();
        let full = waiting.len() >= WAITING;
        match waiting.entry((trust, refusal.detail.identity_hash())) {
            Entry::Occupied(mut entry) => {
                let times = entry.get().times + refusal.times;
                entry.insert(TrustRefusal { times, ..refusal });
            }
            Entry::Vacant(_) if full => {}
            Entry::Vacant(entry) => {
                entry.insert(refusal);
            }
        }
    }

    /// Writes the waiting refusals. Returns their number. Those that the database refuses for now wait on.
    pub async fn flush(&self, store: &Store) -> Result<usize> {
        let _writing = self.writing.lock().await;
        let mut taken: Vec<_> = std::mem::take(&mut *self.lock()).into_iter().collect();
        // Replicas meet in one order.
        taken.sort_by(|one, other| one.0.cmp(&other.0));
        let mut written = 0;
        while !taken.is_empty() {
            let count = taken.len().min(BATCH);
            let batch: Arc<[_]> = taken.drain(..count).collect();
            let rows = Arc::clone(&batch);
            let done = store
                .write(Lock::Nothing, move |connection| {
                    for ((trust, identity), refusal) in rows.iter() {
                        trust_refusals::record(connection, *trust, identity, refusal)?;
                    }
                    Ok(())
                })
                .await;
            match done {
                Ok(()) => written += count,
                Err(error @ Error::Unavailable { .. }) => {
                    for ((trust, _), refusal) in batch.iter().cloned().chain(taken) {
                        self.note(trust, refusal);
                    }
                    return Err(error);
                }
                // A defect comes again with the same rows: they must not block the others for ever.
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Workload, TrustRefusal>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
