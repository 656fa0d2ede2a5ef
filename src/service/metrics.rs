//! Metrics for a monitor: the right to read them, counts of the service's parts, and regular counts of rows.
//!
//! A count of rows walks indexes, in parts that leave room for requests between them. However many rows there are, it
//! takes only a small share of one reader's time: the more it finds, the longer it rests.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use super::core::{Core, is_same};
use crate::domain::audit::{By, Origin};
use crate::domain::id::TokenKey;
use crate::domain::signing::KeyRole;
use crate::error::{Error, Result, What};
use crate::metrics::{Counts, Process, Registry, Soon, Tokens};
use crate::store::counts::{self, Rows, Times};
use crate::store::{Session, token_lookups};

/// Metric use cases.
#[derive(Debug)]
pub struct Metrics<'a> {
    core: &'a Core,
}

impl<'a> Metrics<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Checks that the caller is the operator's monitor. No account is the monitor, and its token opens nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the operator has none.
    pub fn admit(&self, token: Option<&SecretString>, origin: Origin) -> Result<()> {
        let own = self.core.policy.monitor.as_ref();
        let own = own.ok_or_else(|| Error::not_found(What::Path, "/metrics"))?;
        if is_same(token.ok_or(Error::Unauthenticated)?, own) {
            return Ok(());
        }
        Err(self
            .core
            .refused(Error::Unauthenticated, By::nobody(origin)))
    }

    /// Registers all metrics of this service.
    pub fn register(&self, registry: &mut Registry) {
        Process.register(registry);
        self.core.store.counts().register(registry);
        self.core.access.counts().register(registry);
        self.core.throttle.counts().register(registry);
        self.core.caches.register(registry);
        self.core.counts.register(registry);
        self.core.issuer_keys.counts().register(registry);
        self.core.losses.counts().register(registry);
    }

    /// Updates the metrics that are not counted as they happen.
    pub fn sample(&self) {
        let _ = self.core.store.counts();
        let _ = self.core.access.counts();
        let _ = self.core.issuer_keys.counts();
        self.core.signing_key_cache.sample();
    }

    /// Counts rows in the database.
    pub async fn refresh(&self) -> Result<()> {
        let (begun, now) = (Instant::now(), self.core.clock.now());
        let counted = self.count(now).await;
        match &counted {
            Ok(()) => self.core.counts.refreshed(seconds(now), begun.elapsed()),
            Err(_) => self.core.counts.failed(),
        }
        counted
    }

    async fn count(&self, now: DateTime<Utc>) -> Result<()> {
        let counts = &self.core.counts;
        self.registry_tokens(counts, now).await?;
        self.app_tokens(counts, now).await?;
        self.api_tokens(counts, now).await?;
        self.certificates(counts, now).await
    }

    async fn registry_tokens(&self, counts: &Counts, now: DateTime<Utc>) -> Result<()> {
        let total = self.total(Rows::TokenCounts).await?;
        let ends = self.ends(Times::Tokens, now).await?;
        let disabled = self.ends(Times::DisabledTokens, now).await?;
        let lasting = self.core.store.read(counts::disabled_for_ever).await?;
        let off = disabled.soon.month + disabled.later + lasting;
        // Tokens come and go while they are counted.
        let less = |all: i64, some: i64| (all - some).max(0);
        let tokens = Tokens {
            active: less(total, ends.past + off),
            disabled: off,
            expired: ends.past,
            revoked: 0,
            soon: Soon {
                day: less(ends.soon.day, disabled.soon.day),
                week: less(ends.soon.week, disabled.soon.week),
                month: less(ends.soon.month, disabled.soon.month),
            },
        };
        counts.tokens("registry", &["active", "disabled", "expired"], tokens);
        counts.without_lookup(self.without_lookup().await?);
        Ok(())
    }

    /// Counts the tokens without lookups, part by part.
    async fn without_lookup(&self) -> Result<i64> {
        let (mut total, mut beyond) = (0, TokenKey(0));
        loop {
            let part = move |connection: &mut Session| {
                token_lookups::count_without(connection, beyond, counts::PART)
            };
            let (count, last) = self.core.store.read(part).await?;
            total += count;
            match last {
                Some(last) if count == counts::PART => beyond = last,
                _ => return Ok(total),
            }
        }
    }

    async fn app_tokens(&self, counts: &Counts, now: DateTime<Utc>) -> Result<()> {
        let total = self.total(Rows::AppTokens).await?;
        let ends = self.ends(Times::AppTokens, now).await?;
        let tokens = Tokens {
            active: (total - ends.past).max(0),
            expired: ends.past,
            soon: ends.soon,
            ..Tokens::default()
        };
        counts.tokens("app", &["active", "expired"], tokens);
        Ok(())
    }

    async fn api_tokens(&self, counts: &Counts, now: DateTime<Utc>) -> Result<()> {
        let ends = self.ends(Times::ApiTokens, now).await?;
        let tokens = Tokens {
            active: ends.soon.month + ends.later,
            expired: ends.past,
            revoked: self.core.store.read(counts::revoked_api_tokens).await?,
            soon: ends.soon,
            ..Tokens::default()
        };
        counts.tokens("api", &["active", "expired", "revoked"], tokens);
        Ok(())
    }

    async fn certificates(&self, counts: &Counts, now: DateTime<Utc>) -> Result<()> {
        for role in [KeyRole::Authority, KeyRole::Leaf, KeyRole::Pinned] {
            let first = move |connection: &mut Session| counts::first_end(connection, role);
            let first = self.core.store.read(first).await?;
            let ends = self.ends(Times::Certificates(role), now).await?;
            // An ended one counts as one that ends soon.
            let soon = Soon {
                day: ends.past + ends.soon.day,
                week: ends.past + ends.soon.week,
                month: ends.past + ends.soon.month,
            };
            counts.certificates(role.as_str(), first.map(seconds), soon);
        }
        Ok(())
    }

    /// Adds up rows, part by part.
    async fn total(&self, rows: Rows) -> Result<i64> {
        let (mut total, mut after) = (0, None);
        loop {
            let part = move |connection: &mut Session| counts::add_up(connection, rows, after);
            let (sum, last) = self.core.store.read(part).await?;
            total += sum;
            if last.is_none() {
                return Ok(total);
            }
            after = last;
        }
    }

    /// Sorts instants by how far away they are, part by part.
    async fn ends(&self, times: Times, now: DateTime<Utc>) -> Result<Ends> {
        let (mut ends, mut after) = (Ends::default(), None);
        loop {
            // Later ends are only read if nothing else gives their number.
            let until = (!times.all_count()).then_some(now + MONTH);
            let part =
                move |connection: &mut Session| counts::ends(connection, times, after, until);
            let found = self.core.store.read(part).await?;
            for (at, count) in found.ends {
                ends.add(at - now, count);
            }
            if found.last.is_none() {
                return Ok(ends);
            }
            after = found.last;
        }
    }
}

const DAY: TimeDelta = TimeDelta::days(1);
const WEEK: TimeDelta = TimeDelta::days(7);
const MONTH: TimeDelta = TimeDelta::days(30);

/// The numbers of rows by the time to their end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    past: i64,
    soon: Soon,
    /// After 30 days.
    later: i64,
}

impl Ends {
    fn add(&mut self, left: TimeDelta, count: i64) {
        if left <= TimeDelta::zero() {
            self.past += count;
        } else if left > MONTH {
            self.later += count;
        } else {
            self.soon.month += count;
            self.soon.week += if left <= WEEK { count } else { 0 };
            self.soon.day += if left <= DAY { count } else { 0 };
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of centuries fit")]
fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_soon_is_in_all_longer_times() {
        let mut ends = Ends::default();
        for (hours, count) in [
            (-1, 1),
            (0, 2),
            (1, 4),
            (24, 8),
            (25, 16),
            (168, 32),
            (720, 64),
            (721, 128),
        ] {
            ends.add(TimeDelta::hours(hours), count);
        }
        let soon = Soon {
            day: 12,
            week: 60,
            month: 124,
        };
        assert_eq!(
            ends,
            Ends {
                past: 3,
                soon,
                later: 128
            }
        );
    }
}
