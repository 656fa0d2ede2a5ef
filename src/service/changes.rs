//! The limit on the events that an account adds to the audit trail: kept for a year, they must not fill the disk.
//!
//! An account may make a number of changes an hour, all at once or one by one; further ones have to wait. A change that
//! ends something is counted and never refused: it must not wait, and no more can be ended than was made. Each process
//! counts for itself, by accounts. Owns the counts, and bounds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::throttle::{Buckets, buckets, micros, seconds};
use crate::domain::id::AccountKey;
use crate::domain::throttle::Rate;
use crate::error::{Error, Result};

/// The time after which a count is forgotten. An hour pays for the limit. Changes that were under way when the room
/// ended are paid for within another.
const IDLE: Duration = Duration::from_hours(2);

/// The changes of the last hour.
#[derive(Debug)]
pub(super) struct Changes {
    /// The start of the time count.
    began: Instant,
    rate: Rate,
    /// The instant until which the changes of an account are paid for, in microseconds since the start.
    accounts: Buckets<AccountKey, AtomicU64>,
}

impl Changes {
    /// Starts with no changes. `limit` is the number of changes that an account may make in an hour.
    pub(super) fn new(limit: u32, began: Instant) -> Self {
        Self {
            began,
            rate: Rate::per_hour(limit),
            accounts: buckets(IDLE),
        }
    }

    /// Refuses one more change if there is no room for it.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyChanges`] with the seconds until there is room.
    pub(super) fn require_room(&self, account: AccountKey, now: Instant) -> Result<()> {
        let Some(paid) = self.accounts.get(&account) else {
            return Ok(());
        };
        let paid = Duration::from_micros(paid.load(Ordering::Relaxed));
        match seconds(self.rate.wait(paid, self.since_beginning(now))) {
            Some(retry_after) => Err(Error::TooManyChanges { retry_after }),
            None => Ok(()),
        }
    }

    /// Counts changes that were made. Changes beyond the room use up room of later.
    pub(super) fn count(&self, account: AccountKey, changes: usize, now: Instant) {
        if changes == 0 {
            return;
        }
        let (now, changes) = (
            self.since_beginning(now),
            u32::try_from(changes).unwrap_or(u32::MAX),
        );
        let more = |paid| {
            let paid = Duration::from_micros(paid);
            Some(micros(self.rate.owe(paid, now, changes)))
        };
        let paid = self.accounts.get_with(account, Arc::default);
        // It never gives up, as there is always a value before.
        let _ = paid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn since_beginning(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: AccountKey = AccountKey(1);
    const BOB: AccountKey = AccountKey(2);

    #[test]
    fn an_hours_changes_may_be_made_at_once_and_then_one_by_one() {
        let began = Instant::now();
        let changes = Changes::new(10, began);
        for _ in 0..10 {
            changes.require_room(ANN, began).unwrap();
            changes.count(ANN, 1, began);
        }
        let wait = |account, seconds| {
            let now = began + Duration::from_secs(seconds);
            match changes.require_room(account, now) {
                Err(Error::TooManyChanges { retry_after }) => retry_after,
                other => other.map(|()| 0).unwrap(),
            }
        };
        assert_eq!((wait(ANN, 0), wait(BOB, 0)), (360, 0));
        assert_eq!((wait(ANN, 359), wait(ANN, 360)), (1, 0));
        // One that was under way is owed.
        changes.count(ANN, 2, began + Duration::from_mins(6));
        assert_eq!((wait(ANN, 360), wait(ANN, 1080)), (720, 0));
        // A job without changes counts nothing.
        changes.count(BOB, 0, began);
        assert_eq!(wait(BOB, 0), 0);
    }
}
