//! Rates: the failures in a minute, or changes in an hour, that are allowed before further ones have to wait.
//!
//! The arithmetic alone: one instant for each account of events, up to which they are paid for (the generic cell rate
//! algorithm, ITU-T I.371). Instants are durations since a start that the caller chooses, on a clock that never goes
//! back. Refuses to know the source of events. Existing limiters, such as the crate governor, count every try, and here
//! only failures and changes count, which are known afterwards.

use std::time::Duration;

/// A number of events in a time: all at once or one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time for which one event counts.
    each: Duration,
    /// The time in which events are counted.
    period: Duration,
}

impl Rate {
    /// `events` a minute, at least one.
    #[must_use]
    pub fn per_minute(events: u32) -> Self {
        Self::of(events, Duration::from_mins(1))
    }

    /// `events` an hour, at least one.
    #[must_use]
    pub fn per_hour(events: u32) -> Self {
        Self::of(events, Duration::from_hours(1))
    }

    fn of(events: u32, period: Duration) -> Self {
        Self {
            each: period / events.max(1),
            period,
        }
    }

    /// The wait until there is room for one more; nothing if there is room.
    #[must_use]
    pub fn wait(self, paid_until: Duration, now: Duration) -> Duration {
        (paid_until + self.each).saturating_sub(now + self.period)
    }

    /// The instant until which the events are paid for with so many more, even without room for them.
    #[must_use]
    pub fn owe(self, paid_until: Duration, now: Duration, events: u32) -> Duration {
        paid_until.max(now) + self.each.saturating_mul(events)
    }

    /// The instant until which the events are paid for with one more, if there is room for it.
    #[must_use]
    pub fn add(self, paid_until: Duration, now: Duration) -> Option<Duration> {
        let room = self.wait(paid_until, now).is_zero();
        room.then(|| self.owe(paid_until, now, 1))
    }

    /// The instant with one event less, which turned out to be none.
    #[must_use]
    pub fn give_back(self, paid_until: Duration) -> Duration {
        paid_until.saturating_sub(self.each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// When the test begins; nobody failed before.
    const START: Duration = Duration::from_hours(3);

    #[test]
    fn a_burst_is_borne_and_the_next_waits_its_share_of_a_minute() {
        let rate = Rate::per_minute(10);
        let mut paid = Duration::ZERO;
        for _ in 0..10 {
            assert_eq!(rate.wait(paid, START), Duration::ZERO);
            paid = rate.add(paid, START).unwrap();
        }
        assert_eq!(rate.wait(paid, START), Duration::from_secs(6));
        assert_eq!(rate.add(paid, START), None);
        let later = START + Duration::from_secs(6);
        assert_eq!(rate.wait(paid, later), Duration::ZERO);
        paid = rate.add(paid, later).unwrap();
        assert_eq!(rate.wait(paid, later), Duration::from_secs(6));
        paid = rate.give_back(paid);
        assert_eq!(rate.wait(paid, later), Duration::ZERO);
        // One event was given back, not all of them.
        paid = rate.add(paid, later).unwrap();
        assert_eq!(rate.add(paid, later), None);
    }

    proptest! {
        /// A client that tries as often as allowed gets no more through than the burst and the share of the time.
        #[test]
        fn no_more_than_the_rate(limit in 1_u32..500, pauses in prop::collection::vec(0_u64..5_000_000, 1..400)) {
            let rate = Rate::per_minute(limit);
            let (mut now, mut paid, mut through) = (START, Duration::ZERO, 0_u128);
            for pause in pauses {
                now += Duration::from_micros(pause);
                if let Some(more) = rate.add(paid, now) {
                    paid = more;
                    through += 1;
                }
            }
            let time = now.saturating_sub(START).as_micros();
            let share = 60_000_000 / u128::from(limit);
            // Sixty seconds may not be a whole number of shares: then one more fits.
            prop_assert!(through <= u128::from(limit) + 1 + time / share);
        }
    }
}
