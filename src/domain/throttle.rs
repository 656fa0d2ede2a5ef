//! How many failures in a minute are borne before further ones have to wait.
//!
//! The arithmetic alone: one instant for each account of failures, up to which they are paid for (the generic cell rate
//! algorithm, ITU-T I.371). Instants are durations since a start that the caller chooses, on a clock that never goes back.
//! Refuses to know whose failures they are. Ready-made limiters, such as the crate governor,
//! count every try, and here only failures count, which are known afterwards.

use std::time::Duration;

/// The time in which the failures are counted.
const MINUTE: Duration = Duration::from_mins(1);

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
    fn each(self) -> Duration {
        Duration::from_micros(60_000_000 / u64::from(self.0))
    }

    /// How long to wait until there is room for one more failure; nothing if there is.
    #[must_use]
    pub fn wait(self, paid_until: Duration, now: Duration) -> Duration {
        (paid_until + self.each()).saturating_sub(now + MINUTE)
    }

    /// Until when the failures are paid for with one more, if there is room for it.
    #[must_use]
    pub fn add(self, paid_until: Duration, now: Duration) -> Option<Duration> {
        let room = self.wait(paid_until, now).is_zero();
        room.then(|| paid_until.max(now) + self.each())
    }

    /// The same with one less, which turned out to be none.
    #[must_use]
    pub fn give_back(self, paid_until: Duration) -> Duration {
        paid_until.saturating_sub(self.each())
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
    }

    proptest! {
        /// Whoever tries as often as is borne gets no more through than the burst and what the time gives.
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
