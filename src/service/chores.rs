//! The chores of the janitor: each is a type that finds a batch of its work and says how to do it.
//!
//! A new chore is a type and a line in [`CHORES`]. A batch can be done twice or stop half-way without harm.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};

use super::chain;
use super::data_keys::DataKeys;
use super::policy::Policy;
use crate::domain::api_token::{ApiToken, days_until};
use crate::domain::clock_check::Doubt;
use crate::error::Result;
use crate::store::api_tokens::{self, Deadlines, Soon};
use crate::store::{
    Lock, Session, Transaction, app_tokens, audit, bulk_runs, exchanged_jwts, idempotency,
    registries, signing_keys, token_uses, tokens, trusts,
};

/// All chores, the most urgent first.
pub(super) const CHORES: &[&dyn Chore] = &[
    &DeletedRegistries,
    &ExpiredTokens,
    &RetiredSigningKeys,
    &EndedApiTokens,
    &ApiTokenNotices,
    &ExpiredAppTokens,
    &OldAnswers,
    &OldBulkRuns,
    &EndedJwts,
    &OldEvents,
];

/// Rows in a batch.
const BATCH: i64 = 1000;
/// The time for which a signing key is kept after its last signature: longer than a JWT can last.
const RETIRED: TimeDelta = TimeDelta::days(2);

/// The time for which a bulk run that ended is shown.
const BULK_RUNS: TimeDelta = TimeDelta::days(30);
/// Bulk runs in a batch: each has a list of up to 1 000 tokens.
const OLD_RUNS: i64 = 10;

/// The counts of a round of the janitor.
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
    /// The replaced signing keys whose certificates were not valid yet.
    pub early: u64,
    /// Signing keys that were removed long after their replacement.
    pub forgotten: usize,
    /// API tokens that were over and were removed.
    pub over: usize,
    /// API tokens of which the log says that they end soon.
    pub ending: usize,
    /// Expired app tokens that were removed.
    pub app_tokens: usize,
    /// Audit events that were removed.
    pub events: usize,
    /// Answers that cannot be given again any more and were removed.
    pub answers: usize,
    /// Bulk runs that ended long ago and were removed.
    pub bulk_runs: usize,
    /// Exchanged JWTs that have ended and were forgotten.
    pub jwts: usize,
    /// The reason why nothing was done by the clock.
    pub doubt: Option<Doubt>,
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

/// A kind of work that the janitor does.
pub(super) trait Chore: fmt::Debug + Sync {
    /// Returns true if the wall clock decides what is to be done: not while the clock is doubted.
    fn is_by_clock(&self) -> bool {
        true
    }

    /// Finds work. Looking first keeps an idle service from writing.
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>>;
}

/// The facts that chores decide by.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) now: DateTime<Utc>,
    pub(super) policy: Arc<Policy>,
    pub(super) data_keys: Arc<DataKeys>,
    /// Audit chains of which nothing could be cut in this round. They are not tried again, or the round would never end.
    pub(super) uncut: Vec<i64>,
}

impl Surroundings {
    /// The instant before which things have been kept for long enough; `None` if they are kept for ever.
    fn before(&self, retention: Option<Duration>) -> Option<DateTime<Utc>> {
        let retention = TimeDelta::from_std(retention?).ok()?;
        self.now.checked_sub_signed(retention)
    }
}

/// The effect of a batch on the memory of a round.
pub(super) type Effect = Box<dyn FnOnce(&mut Round, &mut Vec<i64>) + Send>;
type Job = dyn FnMut(&mut Transaction<'_>) -> Result<Effect> + Send;

/// A batch of work that was found.
pub(super) struct Batch {
    pub(super) lock: Lock,
    /// Does the work in one transaction. It may run several times.
    pub(super) job: Box<Job>,
}

impl Batch {
    /// A batch that removes rows, and counts them in a round.
    fn removing<T: Send + 'static>(
        lock: Lock,
        mut remove: impl FnMut(&mut Transaction<'_>) -> Result<T> + Send + 'static,
        count: fn(&mut Round, T),
    ) -> Self {
        Self {
            lock,
            job: Box::new(move |connection| {
                let removed = remove(connection)?;
                Ok(Box::new(move |round, _| count(round, removed)))
            }),
        }
    }
}

/// Rows of registries that were deleted.
#[derive(Debug)]
struct DeletedRegistries;

impl Chore for DeletedRegistries {
    fn is_by_clock(&self) -> bool {
        false
    }

    fn find(&self, connection: &mut Session, _: &Surroundings) -> Result<Option<Batch>> {
        let registry = registries::next_deleted(connection)?;
        Ok(registry.map(|registry| {
            let purge = move |connection: &mut Transaction<'_>| {
                let removed = tokens::purge(connection, registry, BATCH)?;
                let uses = token_uses::purge(connection, registry, BATCH)?;
                let trusts = trusts::purge(connection, registry, BATCH)?;
                // Another replica may have finished it since the look.
                let finished = removed.max(uses).max(trusts) < BATCH
                    && registries::purge(connection, registry)?;
                Ok((removed, finished))
            };
            Batch::removing(Lock::Nothing, purge, |round, (removed, finished)| {
                round.tokens += removed;
                round.registries += u64::from(finished);
            })
        }))
    }
}

/// Registry tokens that expired long enough ago.
#[derive(Debug)]
struct ExpiredTokens;

impl Chore for ExpiredTokens {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let Some(until) = around.before(around.policy.expired_token_retention) else {
            return Ok(None);
        };
        let found = tokens::next_expired(connection, until)?;
        Ok(found.map(|(id, key)| {
            Batch::removing(
                Lock::Registry(id),
                move |connection| tokens::delete_expired(connection, key, until, BATCH),
                |round, removed| round.expired += removed,
            )
        }))
    }
}

/// Signing keys that were retired long enough ago.
#[derive(Debug)]
struct RetiredSigningKeys;

impl Chore for RetiredSigningKeys {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let until = around.now - RETIRED;
        let any = signing_keys::any_retired(connection, until)?;
        Ok(any.then(|| {
            Batch::removing(
                Lock::Nothing,
                move |connection| signing_keys::delete_retired(connection, until, BATCH),
                |round, removed| round.forgotten += removed,
            )
        }))
    }
}

/// API tokens that were revoked, or expired long enough ago.
#[derive(Debug)]
struct EndedApiTokens;

impl EndedApiTokens {
    /// They go at the full hour, as in StackRox at most once in one: whoever revokes a token and then looks finds it. That
    /// needs no memory of the last time, which replicas would have to share.
    fn deadlines(around: &Surroundings) -> Option<Deadlines> {
        let retention = TimeDelta::from_std(around.policy.api_token_retention).ok()?;
        let hour = around.now.duration_trunc(TimeDelta::hours(1)).ok()?;
        Some(Deadlines {
            revoked: hour,
            expired: hour.checked_sub_signed(retention)?,
        })
    }
}

impl Chore for EndedApiTokens {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let Some(until) = Self::deadlines(around) else {
            return Ok(None);
        };
        let any = api_tokens::any_over(connection, until)?;
        Ok(any.then(|| {
            Batch::removing(
                Lock::Nothing,
                move |connection| api_tokens::delete_over(connection, until, BATCH),
                |round, removed| round.over += removed,
            )
        }))
    }
}

/// Notices in the log of API tokens that end soon.
#[derive(Debug)]
struct ApiTokenNotices;

impl ApiTokenNotices {
    fn soon(around: &Surroundings) -> Option<Soon> {
        let window = TimeDelta::from_std(around.policy.notice_window).ok()?;
        let repeat = TimeDelta::from_std(around.policy.notice_repeat).ok()?;
        Some(Soon {
            now: around.now,
            until: around.now.checked_add_signed(window)?,
            silent_since: around.now.checked_sub_signed(repeat)?,
        })
    }
}

impl Chore for ApiTokenNotices {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let Some(soon) = Self::soon(around) else {
            return Ok(None);
        };
        let any = api_tokens::any_ending(connection, soon)?;
        Ok(any.then(|| Batch {
            lock: Lock::Nothing,
            job: Box::new(move |connection| {
                let ending = api_tokens::note_ending(connection, soon, BATCH)?;
                Ok(Box::new(move |round, _| {
                    for token in &ending {
                        give_notice(token, soon.now);
                    }
                    round.ending += ending.len();
                }))
            }),
        }))
    }
}

/// In the words of StackRox's log.
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

/// App tokens that expired long enough ago.
#[derive(Debug)]
struct ExpiredAppTokens;

impl Chore for ExpiredAppTokens {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let Some(until) = around.before(around.policy.app_token_retention) else {
            return Ok(None);
        };
        let any = app_tokens::any_expired(connection, until)?;
        Ok(any.then(|| {
            Batch::removing(
                Lock::Nothing,
                move |connection| app_tokens::delete_expired(connection, until, BATCH),
                |round, removed| round.app_tokens += removed,
            )
        }))
    }
}

/// Answers that were kept for repeats of a request, and may go.
#[derive(Debug)]
struct OldAnswers;

impl Chore for OldAnswers {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let now = around.now;
        let any = idempotency::any_expired(connection, now)?;
        Ok(any.then(|| {
            Batch::removing(
                Lock::Nothing,
                move |connection| idempotency::delete_expired(connection, now, BATCH),
                |round, removed| round.answers += removed,
            )
        }))
    }
}

/// Bulk runs that ended long enough ago.
#[derive(Debug)]
struct OldBulkRuns;

impl Chore for OldBulkRuns {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let until = around.now - BULK_RUNS;
        let any = bulk_runs::any_old(connection, until)?;
        Ok(any.then(|| {
            Batch::removing(
                Lock::Nothing,
                move |connection| bulk_runs::delete_old(connection, until, OLD_RUNS),
                |round, removed| round.bulk_runs += removed,
            )
        }))
    }
}

/// Exchanged JWTs that would be refused anyway.
#[derive(Debug)]
struct EndedJwts;

impl Chore for EndedJwts {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let now = around.now;
        let any = exchanged_jwts::any_ended(connection, now)?;
        Ok(any.then(|| {
            Batch::removing(
                Lock::Nothing,
                move |connection| exchanged_jwts::delete_ended(connection, now, BATCH),
                |round, removed| round.jwts += removed,
            )
        }))
    }
}

/// Audit events that were kept for long enough.
#[derive(Debug)]
struct OldEvents;

impl Chore for OldEvents {
    fn find(&self, connection: &mut Session, around: &Surroundings) -> Result<Option<Batch>> {
        let Some(until) = around.before(around.policy.audit_retention) else {
            return Ok(None);
        };
        let data_keys = Arc::clone(&around.data_keys);
        let due = audit::due(connection, until, &around.uncut)?;
        Ok(due.map(|chain| Batch {
            lock: Lock::Nothing,
            job: Box::new(move |connection| {
                let removed = chain::cut(connection, &data_keys, chain, until)?;
                Ok(Box::new(move |round, uncut| {
                    uncut.extend((removed == 0).then_some(chain));
                    round.events += removed;
                }))
            }),
        }))
    }
}
