//! How many failures in a minute are borne before further ones have to wait.
//!
//! The arithmetic alone: one instant for each account of failures, up to which they are paid for (the generic cell rate
//! algorithm, ITU-T I.371). Refuses to know whose failures they are. Ready-made limiters, such as the crate governor,
//! count every try, and here only failures count, which are known afterwards.

use chrono::{DateTime, TimeDelta, Utc};

/// The time in which the failures are counted.
const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// So many failures a minute: all at once or one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u32);

impl Rate {
    /// `failures` a minute, at least one.
    #[must_use]
    pub fn per_minute(failures: u32) -> Self {
        Self(failures.max(1))
    }

    /// How long one failure counts.
    fn each(self) -> TimeDelta {
        TimeDelta::microseconds(60_000_000 / i64::from(self.0))
    }

    /// How long to wait until there is room for one more failure; nothing if there is.
    #[must_use]
    pub fn wait(self, paid_until: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
        // No more than a minute is ever owed, whatever happened to the clock meanwhile.
        let paid_until = paid_until.min(now + MINUTE);
        (paid_until + self.each() - MINUTE - now).max(TimeDelta::zero())
    }

    /// Until when the failures are paid for with one more, if there is room for it.
    #[must_use]
    pub fn add(self, paid_until: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let room = self.wait(paid_until, now).is_zero();
        room.then(|| paid_until.max(now) + self.each())
    }

    /// The same with one less, which turned out to be none.
    #[must_use]
    pub fn give_back(self, paid_until: DateTime<Utc>) -> DateTime<Utc> {
        paid_until - self.each()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_262_400, 0).unwrap()
    }

    #[test]
    fn a_burst_is_borne_and_the_next_waits_its_share_of_a_minute() {
        let rate = Rate::per_minute(10);
        let mut paid = DateTime::UNIX_EPOCH;
        for _ in 0..10 {
            assert_eq!(rate.wait(paid, start()), TimeDelta::zero());
            paid = rate.add(paid, start()).unwrap();
        }
        assert_eq!(rate.wait(paid, start()), TimeDelta::seconds(6));
        assert_eq!(rate.add(paid, start()), None);
        let later = start() + TimeDelta::seconds(6);
        assert_eq!(rate.wait(paid, later), TimeDelta::zero());
        paid = rate.add(paid, later).unwrap();
        assert_eq!(rate.wait(paid, later), TimeDelta::seconds(6));
        paid = rate.give_back(paid);
        assert_eq!(rate.wait(paid, later), TimeDelta::zero());
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_for_it() {
        let rate = Rate::per_minute(10);
        let earlier = start() - TimeDelta::hours(5);
        assert_eq!(rate.wait(start(), earlier), TimeDelta::seconds(6));
    }

    proptest! {
        /// Whoever tries as often as is borne gets no more through than the burst and what the time gives.
        #[test]
        fn no_more_than_the_rate(limit in 1_u32..500, pauses in prop::collection::vec(0_i64..5_000_000, 1..400)) {
            let rate = Rate::per_minute(limit);
            let (mut now, mut paid, mut through) = (start(), DateTime::UNIX_EPOCH, 0_i64);
            for pause in pauses {
                now += TimeDelta::microseconds(pause);
                if let Some(more) = rate.add(paid, now) {
                    paid = more;
                    through += 1;
                }
            }
            let time = (now - start()).num_microseconds().unwrap();
            let share = 60_000_000 / i64::from(limit);
            // Sixty seconds may not be a whole number of shares: then one more fits.
            prop_assert!(through <= i64::from(limit) + 1 + time / share);
        }
    }
}
