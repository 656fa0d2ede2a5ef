//! Failures of a source, and of a source with one identity: after so many in a minute further ones have to wait.
//!
//! Only failures count, and only they wait: a password that proved right here in the last hour passes, whatever its source
//! did meanwhile, and a machine secret is always looked up, as that is cheap and nobody guesses one. There is no
//! account of an identity alone, so nobody can lock another one out from elsewhere. Each process counts for itself: to
//! share the counts, every failure would be a write and every check of a password one more read. Owns the counts, and
//! bounds them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use chrono::{DateTime, TimeDelta, Utc};
use moka::policy::EvictionPolicy;

use super::passwords::network;
use crate::domain::account::name_key;
use crate::domain::audit::told_name;
use crate::domain::throttle::Rate;

/// Sources, and sources with an identity, that are remembered at once; the least recently used fall out.
const ACCOUNTS: u64 = 100_000;
/// A minute pays for all failures, so after this an account is as good as none.
const IDLE: Duration = Duration::from_mins(2);

/// How many failures a minute are borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one source, whoever it says it is.
    pub source: u32,
    /// Of one source that says it is one and the same.
    pub identity: u32,
}

/// What was tried. Counted apart, so that a pipeline whose token has ended keeps no person of its network out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Tried {
    /// A password, which people choose and others can guess.
    Password,
    /// Something that a service made, which nobody can guess.
    Secret,
}

/// Whose failures they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Source {
    tried: Tried,
    network: IpAddr,
}

/// A source and the digest of the name that it gives itself: names can be long, and anybody can make them up.
type Identity = (Source, [u8; 32]);
type Accounts<K> = moka::sync::Cache<K, Arc<AtomicI64>>;

/// The failures of the last minute.
#[derive(Debug)]
pub struct Throttle {
    per_source: Rate,
    per_identity: Rate,
    sources: Accounts<Source>,
    identities: Accounts<Identity>,
}

impl Throttle {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            per_source: Rate::per_minute(limits.source),
            per_identity: Rate::per_minute(limits.identity),
            sources: accounts(),
            identities: accounts(),
        }
    }

    /// Seconds to wait if there is no room for one more failure.
    pub(super) fn wait(
        &self,
        tried: Tried,
        address: IpAddr,
        identity: &str,
        now: DateTime<Utc>,
    ) -> Option<u64> {
        let identity = identity_of(tried, address, identity);
        let source = self.sources.get(&identity.0);
        let identity = self.identities.get(&identity);
        let waits = [(source, self.per_source), (identity, self.per_identity)];
        let waits = waits.into_iter().filter_map(|(account, rate)| {
            let paid = instant(account?.load(Ordering::Relaxed));
            Some(rate.wait(paid, now))
        });
        waits.max().and_then(seconds)
    }

    /// Counts a failure, if there is room for it; else says how many seconds there will be none.
    pub(super) fn fail(
        &self,
        tried: Tried,
        address: IpAddr,
        identity: &str,
        now: DateTime<Utc>,
    ) -> Option<u64> {
        let wait = self.wait(tried, address, identity, now);
        if wait.is_none() {
            let identity = identity_of(tried, address, identity);
            let source = self.sources.get_with(identity.0.clone(), Arc::default);
            let identity = self.identities.get_with(identity, Arc::default);
            count(&source, self.per_source, now);
            count(&identity, self.per_identity, now);
        }
        wait
    }
}

fn accounts<K: std::hash::Hash + Eq + Send + Sync + 'static>() -> Accounts<K> {
    moka::sync::Cache::builder()
        .max_capacity(ACCOUNTS)
        .time_to_idle(IDLE)
        // The default keeps what is asked for often, so a newcomer would not be counted beside many known ones.
        .eviction_policy(EvictionPolicy::lru())
        .build()
}

fn identity_of(tried: Tried, address: IpAddr, name: &str) -> Identity {
    // As the audit trail tells it, since some know it only from there.
    let name = name_key(&told_name(name).unwrap_or_default());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, name.as_bytes()).as_ref());
    let network = network(address);
    (Source { tried, network }, hash)
}

fn count(account: &AtomicI64, rate: Rate, now: DateTime<Utc>) {
    let more = |paid| Some(rate.add(instant(paid), now).timestamp_micros());
    // It never gives up, as there is always a next value.
    let _ = account.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
}

fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH)
}

/// Whole seconds, rounded up: who waits so long finds room.
fn seconds(wait: TimeDelta) -> Option<u64> {
    let micros = u64::try_from(wait.num_microseconds()?).ok()?;
    Some(micros.div_ceil(1_000_000)).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_262_400, 0).unwrap()
    }

    fn throttle() -> Throttle {
        Throttle::new(Limits {
            source: 5,
            identity: 2,
        })
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_identity_waits_at_one_source_alone() {
        let throttle = throttle();
        for _ in 0..2 {
            assert_eq!(
                throttle.fail(Tried::Password, source(1), "Ann", now()),
                None
            );
        }
        let wait = |tried, from, name| throttle.wait(tried, source(from), name, now());
        assert_eq!(wait(Tried::Password, 1, "ann"), Some(30));
        assert_eq!(wait(Tried::Password, 1, "bob"), None);
        assert_eq!(wait(Tried::Password, 2, "ann"), None);
        assert_eq!(wait(Tried::Secret, 1, "ann"), None);
        let later = now() + TimeDelta::seconds(30);
        assert_eq!(
            throttle.wait(Tried::Password, source(1), "ann", later),
            None
        );
    }

    #[test]
    fn a_source_waits_whoever_it_says_it_is() {
        let throttle = throttle();
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(throttle.fail(Tried::Secret, source(1), name, now()), None);
        }
        assert_eq!(
            throttle.fail(Tried::Secret, source(1), "f", now()),
            Some(12)
        );
        assert_eq!(throttle.fail(Tried::Secret, source(2), "f", now()), None);
        assert_eq!(throttle.fail(Tried::Password, source(1), "f", now()), None);
    }

    #[test]
    fn what_has_to_wait_does_not_lengthen_the_wait() {
        let throttle = throttle();
        for _ in 0..50 {
            throttle.fail(Tried::Password, source(1), "ann", now());
        }
        assert_eq!(
            throttle.wait(Tried::Password, source(1), "ann", now()),
            Some(30)
        );
    }
}
