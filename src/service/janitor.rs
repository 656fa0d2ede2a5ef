//! Rounds of the work in the background: chores (`service/chores.rs`) remove rows, and signing keys are replaced.
//!
//! One replica works at a time, by a lease, in small batches, so that it never holds the writer for long.
//!
//! Expired things are removed for good, so the janitor keeps the time of its last look at the wall clock. After a jump it
//! does nothing by the clock until the clock can be believed again (`domain/clock_check.rs`).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

pub use super::chores::Round;
use super::chores::{Batch, CHORES, Effect, Surroundings};
use super::core::Core;
use super::signing_keys::{Reason, SigningKeys, Walk};
use crate::domain::clock_check::{ClockCheck, Doubt};
use crate::error::Result;
use crate::store::leases::{self, Lease};
use crate::store::{Lock, Session, janitor_clock};

/// The lease that the working replica holds, and renews with every batch.
const LEASE: Lease = Lease {
    name: "janitor",
    life: TimeDelta::seconds(60),
    longest: None,
};

/// The next thing to do.
enum Work {
    /// Keep a look at the clock.
    KeepLook,
    /// A batch of a chore.
    Batch(Batch),
}

/// The state of a round in this process.
#[derive(Debug)]
struct Shift {
    /// The name of this process.
    holder: String,
    /// True if this process holds the lease.
    held: bool,
    /// Audit chains of which nothing could be cut: they are not tried again, or the round would never end.
    uncut: Vec<i64>,
    walk: Walk,
}

/// Janitor use cases.
#[derive(Debug)]
pub struct Janitor<'a> {
    core: &'a Core,
}

impl<'a> Janitor<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Does all work. `None` if another replica holds the lease. `holder` names this process.
    pub async fn run(&self, holder: &str) -> Result<Option<Round>> {
        let mut round = Round::default();
        let mut shift = Shift {
            holder: holder.to_owned(),
            held: false,
            uncut: Vec::new(),
            walk: Walk::default(),
        };
        while let Some(more) = self.batch(&mut shift, &mut round).await? {
            if !more {
                // Without work there is no lease to give back, and nothing to write.
                if !shift.held {
                    return Ok(Some(round));
                }
                let store = &self.core.store;
                store
                    .write(Lock::Nothing, move |connection| {
                        leases::release(connection, LEASE, &shift.holder)
                    })
                    .await?;
                return Ok(Some(round));
            }
        }
        Ok(None)
    }

    /// Does a batch. Returns true if there is more, or `None` without the lease.
    async fn batch(&self, shift: &mut Shift, round: &mut Round) -> Result<Option<bool>> {
        let now = self.core.clock.now();
        let (work, doubt) = self.look(now, shift.uncut.clone()).await?;
        round.doubt = doubt;
        match work {
            Some(Work::KeepLook) => self.keep_look(now).await?,
            Some(Work::Batch(batch)) => {
                let Some(effect) = self.leased(shift, batch).await? else {
                    return Ok(None);
                };
                effect(round, &mut shift.uncut);
            }
            // Without the lease: of several replicas that make the same key one is heard. Last, so that a key which
            // cannot be made keeps nothing else waiting.
            None => {
                let keys = SigningKeys::new(self.core);
                let rotated = keys.rotate_next(&mut shift.walk).await?;
                round.rotated += u64::from(rotated.is_some());
                round.early += u64::from(rotated == Some(Reason::Early));
                return Ok(Some(rotated.is_some()));
            }
        }
        Ok(Some(true))
    }

    /// Without the lease, as a replica without work may be the first to see a jump.
    async fn keep_look(&self, now: DateTime<Utc>) -> Result<()> {
        self.core
            .store
            .write(Lock::Nothing, move |connection| {
                janitor_clock::look(connection, now)
            })
            .await
    }

    /// Writes under the lease, which is renewed by that. `None` if another replica has it.
    async fn leased(
        &self,
        shift: &mut Shift,
        Batch { lock, mut job }: Batch,
    ) -> Result<Option<Effect>> {
        let (holder, now) = (shift.holder.clone(), self.core.clock.now());
        let done = self
            .core
            .store
            .write(lock, move |connection| {
                if !leases::acquire(connection, LEASE, &holder, now)? {
                    return Ok(None);
                }
                job(connection).map(Some)
            })
            .await?;
        shift.held |= done.is_some();
        Ok(done)
    }

    /// Finds work, and says if the clock is doubted. Looking first keeps an idle service from writing.
    async fn look(
        &self,
        now: DateTime<Utc>,
        uncut: Vec<i64>,
    ) -> Result<(Option<Work>, Option<Doubt>)> {
        let around = Surroundings {
            now,
            policy: Arc::clone(&self.core.policy),
            data_keys: Arc::clone(&self.core.data_keys),
            uncut,
        };
        self.core
            .store
            .read(move |connection| {
                let kept = janitor_clock::read(connection)?;
                let seen = ClockCheck::look(kept, now);
                let next = |connection: &mut Session, by_clock| -> Result<_> {
                    let chores = CHORES
                        .iter()
                        .filter(|chore| chore.is_by_clock() == by_clock);
                    for chore in chores {
                        if let Some(batch) = chore.find(connection, &around)? {
                            return Ok(Some(Work::Batch(batch)));
                        }
                    }
                    Ok(None)
                };
                let mut work = next(connection, false)?;
                if work.is_none() && !kept.is_some_and(|kept| seen.adds_little_to(&kept)) {
                    work = Some(Work::KeepLook);
                }
                if work.is_none() && seen.doubt.is_none() {
                    work = next(connection, true)?;
                }
                Ok((work, seen.doubt))
            })
            .await
    }
}
