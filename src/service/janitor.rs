//! Background work: removes the rows of deleted registries, of expired tokens and app tokens, and of API tokens that
//! are over; gives notice of API tokens that end soon; rotates signing keys.
//!
//! One replica works at a time, by a lease, in small batches, so that it never holds the writer for long. Everything
//! here can be done twice or stop half-way without harm.
//!
//! Expired things are removed for good, so the janitor remembers when it last looked at the wall clock. After a jump it
//! does nothing by the clock until that can be believed again (`domain/clock_check.rs`).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};

use super::chain;
use super::core::Core;
use super::signing_keys::{Reason, SigningKeys, Walk};
use crate::domain::api_token::{ApiToken, days_until};
use crate::domain::clock_check::{ClockCheck, Doubt};
use crate::domain::id::{RegistryId, RegistryKey};
use crate::error::Result;
use crate::store::api_tokens::{self, Deadlines, Soon};
use crate::store::leases::{self, Lease};
use crate::store::{
    Lock, Session, Transaction, app_tokens, audit, idempotency, janitor_clock, registries,
    signing_keys, token_uses, tokens,
};

/// The lease that the working replica holds, and renews with every batch.
const LEASE: Lease = Lease {
    name: "janitor",
    life: TimeDelta::seconds(60),
    longest: None,
};
/// Rows in a batch.
const BATCH: i64 = 1000;

/// The time for which a signing key is kept after its last signature: longer than a JWT can last.
const RETIRED: TimeDelta = TimeDelta::days(2);

/// The next work.
enum Work {
    /// Remove rows of a deleted registry.
    Deleted(RegistryKey),
    /// Keep the look at the clock.
    Clock(DateTime<Utc>),
    /// Remove tokens of a registry that expired by then.
    Expired(RegistryId, RegistryKey, DateTime<Utc>),
    /// Remove signing keys that were retired by then.
    Retired(DateTime<Utc>),
    /// Remove API tokens that were over by then.
    Over(Deadlines),
    /// Log API tokens that end soon.
    Ending(Soon),
    /// Remove app tokens that expired by then.
    ExpiredAppTokens(DateTime<Utc>),
    /// Remove answers that were kept until then.
    OldAnswers(DateTime<Utc>),
    /// Remove audit events of a chain from before then.
    OldEvents(i64, DateTime<Utc>),
}

/// The results of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Deleted registries whose last rows were removed.
    pub registries: u64,
    /// Token rows that were removed with them.
    pub tokens: i64,
    /// Expired tokens that were removed.
    pub expired: i64,
    /// Signing keys that were replaced.
    pub rotated: u64,
    /// Those of them whose certificates were not valid yet.
    pub early: u64,
    /// Signing keys that were removed long after that.
    pub forgotten: usize,
    /// API tokens that were over and were removed.
    pub over: usize,
    /// API tokens that were logged as ending soon.
    pub ending: usize,
    /// Expired app tokens that were removed.
    pub app_tokens: usize,
    /// Audit events that were removed.
    pub events: usize,
    /// Answers that cannot be given again any more and were removed.
    pub answers: usize,
    /// The reason for which nothing was done by the clock.
    pub doubt: Option<Doubt>,
}

/// The memory of a process during a round.
#[derive(Debug)]
struct Shift {
    holder: String,
    /// True if it has taken the lease.
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

    /// Does all the work. `None` if another replica works. `holder` names this process.
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
            Some(Work::Deleted(registry)) => {
                let purge = move |connection: &mut Transaction<'_>| {
                    let removed = tokens::purge(connection, registry, BATCH)?;
                    let uses = token_uses::purge(connection, registry, BATCH)?;
                    // Another replica may have finished it since the look.
                    let finished =
                        removed.max(uses) < BATCH && registries::purge(connection, registry)?;
                    Ok((removed, finished))
                };
                let Some((removed, finished)) = self.leased(shift, Lock::Nothing, purge).await?
                else {
                    return Ok(None);
                };
                round.tokens += removed;
                round.registries += u64::from(finished);
            }
            Some(Work::Clock(now)) => {
                self.keep_look(now).await?;
            }
            Some(Work::Expired(id, registry, deadline)) => {
                let delete = move |connection: &mut Transaction<'_>| {
                    tokens::delete_expired(connection, registry, deadline, BATCH)
                };
                let Some(removed) = self.leased(shift, Lock::Registry(id), delete).await? else {
                    return Ok(None);
                };
                round.expired += removed;
            }
            Some(Work::Retired(until)) => {
                let delete = move |connection: &mut Transaction<'_>| {
                    signing_keys::delete_retired(connection, until, BATCH)
                };
                let Some(removed) = self.leased(shift, Lock::Nothing, delete).await? else {
                    return Ok(None);
                };
                round.forgotten += removed;
            }
            Some(Work::Over(until)) => {
                let delete = move |connection: &mut Transaction<'_>| {
                    api_tokens::delete_over(connection, until, BATCH)
                };
                let Some(removed) = self.leased(shift, Lock::Nothing, delete).await? else {
                    return Ok(None);
                };
                round.over += removed;
            }
            Some(Work::Ending(soon)) => {
                let note = move |connection: &mut Transaction<'_>| {
                    api_tokens::note_ending(connection, soon, BATCH)
                };
                let Some(ending) = self.leased(shift, Lock::Nothing, note).await? else {
                    return Ok(None);
                };
                for token in &ending {
                    give_notice(token, now);
                }
                round.ending += ending.len();
            }
            Some(Work::ExpiredAppTokens(before)) => {
                let delete = move |connection: &mut Transaction<'_>| {
                    app_tokens::delete_expired(connection, before, BATCH)
                };
                let Some(removed) = self.leased(shift, Lock::Nothing, delete).await? else {
                    return Ok(None);
                };
                round.app_tokens += removed;
            }
            Some(Work::OldEvents(chain, before)) => {
                let vault = Arc::clone(&self.core.vault);
                let cut = move |connection: &mut Transaction<'_>| {
                    chain::cut(connection, &vault, chain, before)
                };
                let Some(removed) = self.leased(shift, Lock::Nothing, cut).await? else {
                    return Ok(None);
                };
                shift.uncut.extend((removed == 0).then_some(chain));
                round.events += removed;
            }
            Some(Work::OldAnswers(until)) => {
                let delete = move |connection: &mut Transaction<'_>| {
                    idempotency::delete_expired(connection, until, BATCH)
                };
                let Some(removed) = self.leased(shift, Lock::Nothing, delete).await? else {
                    return Ok(None);
                };
                round.answers += removed;
            }
            // Without the lease: of several replicas that make the same key, the database keeps one. Last, so that a
            // key which cannot be made keeps nothing else waiting.
            None => {
                let rotated = SigningKeys::new(self.core)
                    .rotate_next(&mut shift.walk)
                    .await?;
                round.rotated += u64::from(rotated.is_some());
                round.early += u64::from(rotated == Some(Reason::Early));
                return Ok(Some(rotated.is_some()));
            }
        }
        Ok(Some(true))
    }

    /// Keeps a look at the clock. Needs no lease, as a replica without work may be the first to see a jump.
    async fn keep_look(&self, now: DateTime<Utc>) -> Result<()> {
        self.core
            .store
            .write(Lock::Nothing, move |connection| {
                janitor_clock::look(connection, now)
            })
            .await
    }

    /// Writes under the lease and renews it. `None` if another replica has it.
    async fn leased<T, F>(&self, shift: &mut Shift, lock: Lock, mut job: F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    {
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

    /// Finds the next work, and any doubt about the clock. Looking first keeps an idle service from writing. Chains
    /// that are `uncut` are no work.
    async fn look(
        &self,
        now: DateTime<Utc>,
        uncut: Vec<i64>,
    ) -> Result<(Option<Work>, Option<Doubt>)> {
        let policy = &self.core.policy;
        let times = Times {
            now,
            tokens: before(now, policy.expired_token_retention),
            retired: now - RETIRED,
            api_tokens: self.api_token_deadlines(),
            soon: self.soon(now),
            app_tokens: before(now, policy.app_token_retention),
            events: before(now, policy.audit_retention),
        };
        self.core
            .store
            .read(move |connection| {
                let kept = janitor_clock::read(connection)?;
                let seen = ClockCheck::look(kept, now);
                let work = if let Some(registry) = registries::next_deleted(connection)? {
                    Some(Work::Deleted(registry))
                } else if !kept.is_some_and(|kept| seen.adds_little_to(&kept)) {
                    Some(Work::Clock(now))
                } else if seen.doubt.is_some() {
                    None
                } else {
                    times.next(connection, &uncut)?
                };
                Ok((work, seen.doubt))
            })
            .await
    }

    /// API tokens are removed at the full hour, at most once in one as in StackRox: a caller that revokes a token and
    /// then looks finds it. That needs no memory of the last time, which replicas would have to share.
    fn api_token_deadlines(&self) -> Option<Deadlines> {
        let retention = TimeDelta::from_std(self.core.policy.api_token_retention).ok()?;
        let hour = self
            .core
            .clock
            .now()
            .duration_trunc(TimeDelta::hours(1))
            .ok()?;
        Some(Deadlines {
            revoked: hour,
            expired: hour.checked_sub_signed(retention)?,
        })
    }

    fn soon(&self, now: DateTime<Utc>) -> Option<Soon> {
        let policy = &self.core.policy;
        let window = TimeDelta::from_std(policy.notice_window).ok()?;
        let repeat = TimeDelta::from_std(policy.notice_repeat).ok()?;
        Some(Soon {
            now,
            until: now.checked_add_signed(window)?,
            silent_since: now.checked_sub_signed(repeat)?,
        })
    }
}

/// The work that depends on the clock, and the instant that counts for it.
#[derive(Debug, Clone, Copy)]
struct Times {
    now: DateTime<Utc>,
    /// Tokens that expired by then are removed; none, if they are kept for ever. So are app tokens and events.
    tokens: Option<DateTime<Utc>>,
    retired: DateTime<Utc>,
    api_tokens: Option<Deadlines>,
    soon: Option<Soon>,
    app_tokens: Option<DateTime<Utc>>,
    events: Option<DateTime<Utc>>,
}

impl Times {
    fn next(&self, connection: &mut Session, uncut: &[i64]) -> Result<Option<Work>> {
        if let Some(deadline) = self.tokens
            && let Some((id, key)) = tokens::next_expired(connection, deadline)?
        {
            return Ok(Some(Work::Expired(id, key, deadline)));
        }
        if signing_keys::any_retired(connection, self.retired)? {
            return Ok(Some(Work::Retired(self.retired)));
        }
        if let Some(over) = self.api_tokens
            && api_tokens::any_over(connection, over)?
        {
            return Ok(Some(Work::Over(over)));
        }
        if let Some(soon) = self.soon
            && api_tokens::any_ending(connection, soon)?
        {
            return Ok(Some(Work::Ending(soon)));
        }
        if let Some(before) = self.app_tokens
            && app_tokens::any_expired(connection, before)?
        {
            return Ok(Some(Work::ExpiredAppTokens(before)));
        }
        if idempotency::any_expired(connection, self.now)? {
            return Ok(Some(Work::OldAnswers(self.now)));
        }
        if let Some(before) = self.events
            && let Some(chain) = audit::due(connection, before, uncut)?
        {
            return Ok(Some(Work::OldEvents(chain, before)));
        }
        Ok(None)
    }
}

/// The instant such that rows expired by then have been kept long enough.
fn before(now: DateTime<Utc>, retention: Option<Duration>) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(TimeDelta::from_std(retention?).ok()?)
}

/// Logs the words of StackRox about such a token.
fn give_notice(token: &ApiToken, now: DateTime<Utc>) {
    let days = days_until(token.expires_at, now);
    let unit = if days == 1 { "day" } else { "days" };
    tracing::warn!(
        id = %token.id,
        name = ?token.name,
        expires = %token.expires_at,
        "API Token will expire in less than {days} {unit}"
    );
}

impl Round {
    /// Returns true if there was nothing to do.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let idle = Self {
            doubt: self.doubt,
            ..Self::default()
        };
        *self == idle
    }
}
