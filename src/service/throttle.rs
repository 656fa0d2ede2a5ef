//! Failures of a source, and of a source with one identity: after so many in a minute further ones have to wait.
//!
//! Only failures count, and only they wait: a password that proved right at the same source in the last hour passes, in
//! spite of other failures of that source, and a machine secret is always looked up, as that is cheap and nobody
//! guesses one. There is no account of an identity alone, so nobody can lock another one out from elsewhere. A client
//! that has to wait is told at once. A neighbour of an owner could learn by such answers which password passes, so they
//! are bounded: beyond the bound no password passes at that source under that name, the right one included, until the
//! guessing ends. A right password that passes in spite of it would be an oracle without a bound, since nothing else
//! tells its owner from a guesser.
//!
//! Each process counts for itself: to share the counts, every failure would be a write and every check of a password
//! one more read. Owns the counts, and bounds them.
//! more read. Owns the counts, and bounds them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use moka::policy::EvictionPolicy;

use crate::domain::audit::told_name;
use crate::domain::network::network;
use crate::domain::throttle::Rate;
use crate::domain::unicode::folded;
use crate::metrics;

/// Sources, and sources with an identity, that are remembered at once; the least recently used fall out.
const BUCKETS: u64 = 100_000;
/// The number of times its failures that a source may be told to wait under one identity, in a minute. Beyond that
/// nothing passes there under that name: a client at the owner's address could else try passwords until one does.
const TOLD: u32 = 10;
/// A minute pays for all failures, so after this an account is as good as empty.
const IDLE: Duration = Duration::from_mins(2);

/// The allowed failures in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one source, under any identity.
    pub source: u32,
    /// Of one source under one identity.
    pub identity: u32,
}

/// The kind of credential tried. Counted apart, so that a pipeline with an ended token does not lock out its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tried {
    /// A password, which people choose and others can guess.
    Password,
    /// A generated secret, which nobody can guess.
    Secret,
}

/// The source of failures.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Source {
    tried: Tried,
    network: IpAddr,
}

/// A source and the digest of the given name: names can be long, and anybody can invent them.
type Identity = (Source, [u8; 32]);
pub(super) type Buckets<K, V> = moka::sync::Cache<K, Arc<V>>;

/// The instant until which failures are paid for, in microseconds since the throttle began.
#[derive(Debug, Default)]
struct Bucket(AtomicU64);

impl Bucket {
    fn wait(&self, rate: Rate, now: Duration) -> Duration {
        rate.wait(Duration::from_micros(self.0.load(Ordering::Relaxed)), now)
    }

    /// Adds one failure. Returns true if there was room for it.
    fn add(&self, rate: Rate, now: Duration) -> bool {
        let more = |paid| Some(micros(rate.add(Duration::from_micros(paid), now)?));
        let added = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        added.is_ok()
    }

    fn give_back(&self, rate: Rate) {
        let less = |paid| Some(micros(rate.give_back(Duration::from_micros(paid))));
        // It never gives up, as there is always a value before.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// A source under one identity.
#[derive(Debug, Default)]
struct Pair {
    failures: Bucket,
    told_to_wait: Bucket,
}

/// The failures of the last minute.
#[derive(Debug)]
pub struct Throttle {
    /// The start of its time count.
    began: Instant,
    per_source: Rate,
    per_identity: Rate,
    told: Rate,
    sources: Buckets<Source, Bucket>,
    identities: Buckets<Identity, Pair>,
    /// The last instant, in microseconds since it began, at which any source may have been told to wait too often.
    crowded_until: AtomicU64,
    waiting: metrics::Throttled,
}

impl Throttle {
    /// A throttle without failures, which counts time from `began`.
    #[must_use]
    pub fn new(limits: Limits, began: Instant) -> Self {
        Self {
            began,
            per_source: Rate::per_minute(limits.source),
            per_identity: Rate::per_minute(limits.identity),
            told: Rate::per_minute(limits.identity.saturating_mul(TOLD)),
            sources: buckets(IDLE),
            identities: buckets(IDLE),
            crowded_until: AtomicU64::new(0),
            waiting: metrics::Throttled::default(),
        }
    }

    /// The counts of clients told to wait.
    pub(super) fn counts(&self) -> &metrics::Throttled {
        &self.waiting
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Counts a client that is told to wait.
    fn count(&self, tried: Tried, wait: Option<u64>) -> Option<u64> {
        if wait.is_some() {
            match tried {
                Tried::Password => self.waiting.password(),
                Tried::Secret => self.waiting.secret(),
            }
        }
        wait
    }

    /// Seconds to wait if there is no room for one more failure.
    pub(super) fn wait(
        &self,
        tried: Tried,
        address: IpAddr,
        identity: &str,
        now: Instant,
    ) -> Option<u64> {
        let (identity, now) = (identity_of(tried, address, identity), self.since(now));
        let source = self.sources.get(&identity.0);
        let source = source.map(|source| source.wait(self.per_source, now));
        let pair = self.identities.get(&identity);
        let pair = pair.map(|pair| pair.failures.wait(self.per_identity, now));
        self.count(tried, source.max(pair).and_then(seconds))
    }

    /// Counts a failure, if there is room for it; else returns the seconds until there is room.
    pub(super) fn fail(
        &self,
        tried: Tried,
        address: IpAddr,
        identity: &str,
        now: Instant,
    ) -> Option<u64> {
        let (key, now) = (identity_of(tried, address, identity), self.since(now));
        let source = self.sources.get_with(key.0.clone(), Arc::default);
        let pair = self.identities.get_with(key, Arc::default);
        // In one step each, or guesses that are made side by side would all find the same room.
        if !pair.failures.add(self.per_identity, now) {
            let wait = seconds(pair.failures.wait(self.per_identity, now)).or(Some(1));
            return self.count(tried, wait);
        }
        if !source.add(self.per_source, now) {
            pair.failures.give_back(self.per_identity);
            let wait = seconds(source.wait(self.per_source, now)).or(Some(1));
            return self.count(tried, wait);
        }
        None
    }

    /// Takes back a count that was no failure.
    pub(super) fn give_back(&self, tried: Tried, address: IpAddr, identity: &str) {
        let key = identity_of(tried, address, identity);
        if let Some(source) = self.sources.get(&key.0) {
            source.give_back(self.per_source);
        }
        if let Some(pair) = self.identities.get(&key) {
            pair.failures.give_back(self.per_identity);
        }
    }

    /// Counts that a source was told to wait under an identity.
    pub(super) fn told_to_wait(&self, address: IpAddr, identity: &str, now: Instant) {
        let (key, now) = (
            identity_of(Tried::Password, address, identity),
            self.since(now),
        );
        let pair = self.identities.get_with(key, Arc::default);
        if !pair.told_to_wait.add(self.told, now) {
            let until = micros(now + Duration::from_mins(1));
            self.crowded_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// Seconds to wait if a source was told so too often under this identity, with any credential.
    pub(super) fn crowded(&self, address: IpAddr, identity: &str, now: Instant) -> Option<u64> {
        let now = self.since(now);
        if self.crowded_until.load(Ordering::Relaxed) <= micros(now) {
            return None;
        }
        let key = identity_of(Tried::Password, address, identity);
        let pair = self.identities.get(&key)?;
        let wait = seconds(pair.told_to_wait.wait(self.told, now));
        self.count(Tried::Password, wait)
    }
}

/// Buckets of events. A bucket is forgotten after `idle` without an event.
pub(super) fn buckets<K, V>(idle: Duration) -> Buckets<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    moka::sync::Cache::builder()
        .max_capacity(BUCKETS)
        .time_to_idle(idle)
        // The default policy keeps frequent keys, so a newcomer would not be counted beside many known ones.
        .eviction_policy(EvictionPolicy::lru())
        .build()
}

fn identity_of(tried: Tried, address: IpAddr, name: &str) -> Identity {
    // As the audit trail tells it, since some know it only from there.
    let name = folded(&told_name(name).unwrap_or_default());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, name.as_bytes()).as_ref());
    let network = network(address);
    (Source { tried, network }, hash)
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whole seconds, rounded up, so that there is room after the wait.
pub(super) fn seconds(wait: Duration) -> Option<u64> {
    Some(micros(wait).div_ceil(1_000_000)).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle() -> (Throttle, Instant) {
        let limits = Limits {
            source: 5,
            identity: 2,
        };
        let now = Instant::now();
        (Throttle::new(limits, now), now)
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_identity_waits_at_one_source_alone() {
        let (throttle, now) = throttle();
        for _ in 0..2 {
            assert_eq!(throttle.fail(Tried::Password, source(1), "Ann", now), None);
        }
        let wait = |tried, from, name| throttle.wait(tried, source(from), name, now);
        assert_eq!(wait(Tried::Password, 1, "ann"), Some(30));
        assert_eq!(wait(Tried::Password, 1, "bob"), None);
        assert_eq!(wait(Tried::Password, 2, "ann"), None);
        assert_eq!(wait(Tried::Secret, 1, "ann"), None);
        let later = now + Duration::from_secs(30);
        assert_eq!(
            throttle.wait(Tried::Password, source(1), "ann", later),
            None
        );
    }

    #[test]
    fn a_source_waits_whoever_it_says_it_is() {
        let (throttle, now) = throttle();
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(throttle.fail(Tried::Secret, source(1), name, now), None);
        }
        assert_eq!(throttle.fail(Tried::Secret, source(1), "f", now), Some(12));
        assert_eq!(throttle.fail(Tried::Secret, source(2), "f", now), None);
        assert_eq!(throttle.fail(Tried::Password, source(1), "f", now), None);
    }

    #[test]
    fn what_was_no_failure_is_given_back() {
        let (throttle, now) = throttle();
        for _ in 0..50 {
            assert_eq!(throttle.fail(Tried::Password, source(1), "ann", now), None);
            throttle.give_back(Tried::Password, source(1), "ann");
        }
    }

    #[test]
    fn who_is_told_too_often_is_crowded() {
        let (throttle, now) = throttle();
        for _ in 0..20 {
            assert_eq!(throttle.crowded(source(1), "ann", now), None);
            throttle.told_to_wait(source(1), "ann", now);
        }
        throttle.told_to_wait(source(1), "ann", now);
        assert_eq!(throttle.crowded(source(1), "ann", now), Some(3));
        assert_eq!(throttle.crowded(source(1), "bob", now), None);
        assert_eq!(throttle.crowded(source(2), "ann", now), None);
        let later = now + Duration::from_secs(3);
        assert_eq!(throttle.crowded(source(1), "ann", later), None);
    }

    #[test]
    fn what_has_to_wait_does_not_lengthen_the_wait() {
        let (throttle, now) = throttle();
        for _ in 0..50 {
            throttle.fail(Tried::Password, source(1), "ann", now);
        }
        assert_eq!(
            throttle.wait(Tried::Password, source(1), "ann", now),
            Some(30)
        );
    }
}
