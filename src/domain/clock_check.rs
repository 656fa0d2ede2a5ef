//! Checks the wall clock against its earlier times.
//!
//! A clock that is ahead makes everything look expired. Things removed for that reason do not come back when the clock
//! is set right. So after a jump the clock is in doubt until it ran on evenly for a while, or is back. A service that
//! was off for long sees the same jump, and cannot tell the two apart.

use chrono::{DateTime, TimeDelta, Utc};

/// The largest difference to the last look, either way. After a jump the clock has to run on evenly for as long.
const JUMP: TimeDelta = TimeDelta::days(1);
/// The largest age of a kept look. An idle service writes no more often.
const AGE: TimeDelta = TimeDelta::hours(1);

/// The stored looks at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockCheck {
    /// Its time when it was last believed.
    pub believed_at: DateTime<Utc>,
    /// Set while it is not believed.
    pub doubt: Option<Doubt>,
}

/// A clock that jumped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Its time at the first look after the jump.
    pub since: DateTime<Utc>,
    /// Its time at the last look.
    pub looked_at: DateTime<Utc>,
}

impl Doubt {
    /// The time at which the clock is believed again, if it runs on evenly until then.
    #[must_use]
    pub fn until(&self) -> DateTime<Utc> {
        self.since + JUMP
    }
}

impl ClockCheck {
    /// The state to keep after a look. The first look ever believes the clock.
    #[must_use]
    pub fn look(kept: Option<Self>, now: DateTime<Utc>) -> Self {
        let believed = Self {
            believed_at: now,
            doubt: None,
        };
        let Some(kept) = kept else {
            return believed;
        };
        if is_near(kept.believed_at, now) {
            return believed;
        }
        let since = match kept.doubt {
            Some(doubt) if now >= doubt.until() && is_near(doubt.looked_at, now) => {
                return believed;
            }
            Some(doubt) if now >= doubt.since && is_near(doubt.looked_at, now) => doubt.since,
            _ => now,
        };
        Self {
            believed_at: kept.believed_at,
            doubt: Some(Doubt {
                since,
                looked_at: now,
            }),
        }
    }

    /// Returns true if this look need not be kept, as it tells little more than the kept one.
    #[must_use]
    pub fn adds_little_to(&self, kept: &Self) -> bool {
        let same = self.doubt.map(|doubt| doubt.since) == kept.doubt.map(|doubt| doubt.since);
        same && (self.last() - kept.last()).abs() < AGE
    }

    fn last(&self) -> DateTime<Utc> {
        self.doubt.map_or(self.believed_at, |doubt| doubt.looked_at)
    }
}

fn is_near(one: DateTime<Utc>, other: DateTime<Utc>) -> bool {
    (one - other).abs() <= JUMP
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: TimeDelta = TimeDelta::hours(1);
    const MICROSECOND: TimeDelta = TimeDelta::microseconds(1);

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp_secs(1_795_262_400).unwrap()
    }

    /// Looks at these hours after noon, one after the other. Returns the hour since which there is doubt after each.
    fn doubts(hours: &[i64]) -> Vec<Option<i64>> {
        let mut kept = Some(ClockCheck::look(None, noon()));
        hours
            .iter()
            .map(|hour| {
                let seen = ClockCheck::look(kept, noon() + HOUR * i32::try_from(*hour).unwrap());
                kept = Some(seen);
                seen.doubt.map(|doubt| (doubt.since - noon()).num_hours())
            })
            .collect()
    }

    #[test]
    fn a_jump_is_doubted_until_the_clock_ran_on_for_a_day() {
        let year = 9600;
        let on = |hours| Some(year + hours);
        assert_eq!(
            doubts(&[23, 47, year, year + 1, year + 23, year + 24, year + 47]),
            [None, None, on(0), on(0), on(0), None, None]
        );
        // Off for a week.
        assert_eq!(doubts(&[168, 180, 192]), [Some(168), Some(168), None]);
    }

    #[test]
    fn a_clock_that_is_back_is_believed_at_once() {
        let year = 9600;
        assert_eq!(
            doubts(&[year, year + 5, 1, 2]),
            [Some(year), Some(year), None, None]
        );
        assert_eq!(doubts(&[-year, 0]), [Some(-year), None]);
        // Ahead once more, for a moment each time: that is no day.
        assert_eq!(
            doubts(&[year, 1, year + 24]),
            [Some(year), None, Some(year + 24)]
        );
    }

    #[test]
    fn every_further_jump_begins_the_day_anew() {
        assert_eq!(
            doubts(&[1000, 2000, 2024, 5000, 4999, 5023]),
            [Some(1000), Some(2000), None, Some(5000), Some(4999), None]
        );
        assert_eq!(doubts(&[1000, 1025]), [Some(1000), Some(1025)]);
    }

    #[test]
    fn a_day_is_no_jump_and_more_is() {
        let kept = Some(ClockCheck::look(None, noon()));
        for sign in [1, -1] {
            let day = JUMP * sign;
            assert_eq!(ClockCheck::look(kept, noon() + day).doubt, None);
            let more = noon() + day + MICROSECOND * sign;
            assert!(ClockCheck::look(kept, more).doubt.is_some());
        }
    }

    #[test]
    fn what_tells_little_is_not_kept() {
        let kept = ClockCheck::look(None, noon());
        let look = |kept, by| ClockCheck::look(Some(kept), noon() + by);
        assert!(look(kept, HOUR - MICROSECOND).adds_little_to(&kept));
        assert!(look(kept, MICROSECOND - HOUR).adds_little_to(&kept));
        assert!(!look(kept, HOUR).adds_little_to(&kept));
        let doubted = look(kept, HOUR * 100);
        assert!(!doubted.adds_little_to(&kept) && !kept.adds_little_to(&doubted));
        assert!(look(doubted, HOUR * 101 - MICROSECOND).adds_little_to(&doubted));
        assert!(!look(doubted, HOUR * 101).adds_little_to(&doubted));
    }
}
