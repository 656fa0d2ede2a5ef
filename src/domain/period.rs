//! Spans of time, as ISO 8601 writes them: `P14D`, `P2W`, `PT24H`, `P1DT12H`, `PT0S`.
//!
//! Owns their reading and writing, and nothing of their use. A period is a number of seconds, so it has no years and
//! months, whose length depends on their beginning.

use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::text::quoted;
use crate::error::{Error, Field, Result};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

/// Parts of a period by their letters, each at most once and in this order; parts without a length are refused.
type Units = &'static [(char, Option<i64>)];
const WEEKS: Units = &[('W', Some(WEEK))];
const DATE: Units = &[('Y', None), ('M', None), ('D', Some(DAY))];
const TIME: Units = &[('H', Some(HOUR)), ('M', Some(MINUTE)), ('S', Some(1))];

/// A span of time of whole seconds, from none to [`Period::LONGEST`]. Serialised it is their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Period {
    seconds: i64,
}

/// The fault of a text that is no period.
enum Flaw {
    Form,
    Calendar,
    Length,
}

impl Period {
    /// No time at all.
    pub const ZERO: Self = Self { seconds: 0 };
    /// An hour.
    pub const HOUR: Self = Self { seconds: HOUR };
    /// About a century: it can be added to any accepted instant.
    pub const LONGEST: Self = Self::of_days(36_500);

    /// A period of days.
    #[must_use]
    pub const fn of_days(days: u16) -> Self {
        Self {
            seconds: days as i64 * DAY,
        }
    }

    /// A period of minutes.
    #[must_use]
    pub const fn of_minutes(minutes: u16) -> Self {
        Self {
            seconds: minutes as i64 * MINUTE,
        }
    }

    /// A period of seconds; `None` if they are negative or too many.
    #[must_use]
    pub fn of_seconds(seconds: i64) -> Option<Self> {
        let period = Self { seconds };
        (Self::ZERO..=Self::LONGEST)
            .contains(&period)
            .then_some(period)
    }

    /// Reads a period of `member`, a caller's name for it; `field` is the one in error codes. Weeks stand alone,
    /// numbers are whole and may be of any size: `PT36H` is `P1DT12H`.
    pub fn parse(member: &str, field: Field, text: &str) -> Result<Self> {
        Self::parse_up_to(Self::LONGEST, member, field, text)
    }

    /// Reads a period that may be no longer than `longest`.
    pub fn parse_up_to(longest: Self, member: &str, field: Field, text: &str) -> Result<Self> {
        let period = read(text).and_then(|period| {
            let fits = period <= longest;
            fits.then_some(period).ok_or(Flaw::Length)
        });
        period.map_err(|flaw| {
            let shown = quoted(text);
            let message = match flaw {
                Flaw::Form => {
                    format!("{member}: {shown} is no period such as P14D, P2W, PT24H or P1DT12H")
                }
                Flaw::Calendar => format!(
                    "{member}: {shown} counts in years or months, which have no fixed length; count in days, such as P90D"
                ),
                Flaw::Length => {
                    format!("{member}: {shown} is too long; at most {longest} is allowed")
                }
            };
            Error::invalid(field, message)
        })
    }

    /// The number of seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }
}

impl From<Period> for i64 {
    fn from(period: Period) -> Self {
        period.seconds()
    }
}

impl TryFrom<i64> for Period {
    type Error = Error;

    fn try_from(seconds: i64) -> Result<Self> {
        Self::of_seconds(seconds)
            .ok_or_else(|| Error::internal(format!("{seconds} s is no period")))
    }
}

impl From<Period> for TimeDelta {
    fn from(period: Period) -> Self {
        Self::seconds(period.seconds())
    }
}

impl fmt::Display for Period {
    /// In days, hours, minutes and seconds, without zero parts: equal periods are written alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seconds == 0 {
            return f.write_str("PT0S");
        }
        f.write_str("P")?;
        let mut rest = self.seconds;
        for (units, mark) in [(DATE, ""), (TIME, "T")] {
            let mut mark = mark;
            for (letter, length) in units {
                let Some(length) = length else { continue };
                let count = rest / length;
                rest %= length;
                if count > 0 {
                    write!(f, "{mark}{count}{letter}")?;
                    mark = "";
                }
            }
        }
        Ok(())
    }
}

fn read(text: &str) -> std::result::Result<Period, Flaw> {
    let text = text.strip_prefix('P').ok_or(Flaw::Form)?;
    let seconds = if text.ends_with('W') {
        sum(text, WEEKS)?
    } else {
        match text.split_once('T') {
            None => sum(text, DATE)?,
            Some(("", time)) => sum(time, TIME)?,
            Some((date, time)) => sum(date, DATE)?.saturating_add(sum(time, TIME)?),
        }
    };
    Some(Period { seconds })
        .filter(|period| *period <= Period::LONGEST)
        .ok_or(Flaw::Length)
}

/// The seconds of numbers and their units, of which there is at least one. Too large numbers become the largest number.
fn sum(text: &str, units: Units) -> std::result::Result<i64, Flaw> {
    let (mut text, mut units) = (text, units.iter());
    let mut seconds: i64 = 0;
    loop {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = text.strip_suffix(unit).filter(|number| !number.is_empty());
        let number = number.ok_or(Flaw::Form)?;
        let known =
            |(letter, length): &'static (char, _)| Some((unit.strip_prefix(*letter)?, length));
        let (rest, length) = units.find_map(known).ok_or(Flaw::Form)?;
        // Only digits, so a failure means that the number is too large.
        let number: i64 = number.parse().unwrap_or(i64::MAX);
        let part = number.saturating_mul(length.ok_or(Flaw::Calendar)?);
        seconds = seconds.saturating_add(part);
        if rest.is_empty() {
            return Ok(seconds);
        }
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Period> {
        Period::parse("maximumAge", Field::Other("maximum-age"), text)
    }

    #[test]
    fn a_period_is_read_and_written_in_one_form() {
        for (text, seconds, canonical) in [
            ("P14D", 14 * DAY, "P14D"),
            ("P2W", 14 * DAY, "P14D"),
            ("PT24H", DAY, "P1D"),
            ("P1DT12H", 36 * HOUR, "P1DT12H"),
            ("PT36H", 36 * HOUR, "P1DT12H"),
            ("PT90M", 90 * MINUTE, "PT1H30M"),
            ("P1DT2H3M4S", DAY + 2 * HOUR + 184, "P1DT2H3M4S"),
            ("P007DT00H01S", 7 * DAY + 1, "P7DT1S"),
            ("PT0S", 0, "PT0S"),
            ("P0D", 0, "PT0S"),
            ("P0W", 0, "PT0S"),
            ("P36500D", 36_500 * DAY, "P36500D"),
        ] {
            let period = parse(text).unwrap();
            assert_eq!(period.seconds(), seconds, "{text}");
            assert_eq!(period.to_string(), canonical, "{text}");
            assert_eq!(TimeDelta::from(period).num_seconds(), seconds, "{text}");
        }
        assert_eq!(Period::of_days(14), parse("P14D").unwrap());
    }

    #[test]
    fn what_is_no_period_is_refused_with_the_reason() {
        let form = "is no period such as P14D, P2W, PT24H or P1DT12H";
        for wrong in [
            "",
            "P",
            "PT",
            "T1H",
            "14D",
            "p14d",
            "P14",
            "P14d",
            "P-1D",
            "-P1D",
            "+P1D",
            "P+1D",
            "P1DT",
            "PT1D",
            "P1H",
            "P1D2D",
            "PT1S1M",
            "P1W2D",
            "P2DT1W",
            "P1WT1H",
            "PT1.5S",
            "PT0,5H",
            "P 1D",
            "P1D ",
            "P١D",
            "P1DT1HT1S",
            "86400",
            "P1D\0",
        ] {
            let told = parse(wrong).unwrap_err().to_string();
            let shown = quoted(wrong);
            assert_eq!(told, format!("maximumAge: {shown} {form}"));
        }
        for calendar in ["P1Y", "P1M", "P1Y2M10D", "P3MT1H"] {
            let told = parse(calendar).unwrap_err().to_string();
            assert!(told.contains("no fixed length"), "{told}");
        }
        let endless = format!("P{}D", "9".repeat(100));
        for long in ["P36500DT1S", "P5215W", "PT9223372036854775807H", &endless] {
            let told = parse(long).unwrap_err().to_string();
            assert!(told.ends_with("at most P36500D is allowed"), "{told}");
        }
    }

    #[test]
    fn a_number_of_seconds_is_a_period_within_the_bounds() {
        assert_eq!(Period::of_seconds(0), Some(Period::ZERO));
        let longest = Period::LONGEST.seconds();
        assert_eq!(Period::of_seconds(longest), Some(Period::LONGEST));
        for outside in [-1, longest + 1, i64::MIN, i64::MAX] {
            assert_eq!(Period::of_seconds(outside), None, "{outside}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0..=Period::LONGEST.seconds()) {
            let period = Period::of_seconds(seconds).unwrap();
            let text = period.to_string();
            prop_assert_eq!(parse(&text).unwrap(), period);
        }

        #[test]
        fn parts_add_up(days in 0_i64..1000, hours in 0_i64..1000, minutes in 0_i64..1000, seconds in 0_i64..1000) {
            let text = format!("P{days}DT{hours}H{minutes}M{seconds}S");
            let sum = days * DAY + hours * HOUR + minutes * MINUTE + seconds;
            prop_assert_eq!(parse(&text).unwrap().seconds(), sum);
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC*|P[0-9YMWDTHS.,]*") {
            let _ = parse(&text).map(|period| period.to_string());
        }
    }
}
