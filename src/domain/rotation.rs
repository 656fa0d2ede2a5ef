//! The secrets of a token: the current one, and for a while the previous one.
//!
//! Decides when each ends: the previous one at the end of its grace period, and both at the greatest age that their
//! registry allows. Never sees the values of the secrets.

use chrono::{DateTime, TimeDelta, Utc};

use super::period::Period;
use super::text::quoted;
use crate::error::{Error, Field, Result};

/// One of a token's two secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The last one made.
    Current,
    /// The one before.
    Previous,
}

/// The times at which the secrets of a token were made, and their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secrets {
    /// When the current one was made.
    pub made_at: DateTime<Utc>,
    /// The previous one; it may have ended.
    pub previous: Option<Previous>,
    /// The greatest age of a secret that its registry allows now.
    pub maximum_age: Option<Period>,
}

/// The previous secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// The end of its grace period.
    pub until: DateTime<Utc>,
}

impl Secrets {
    /// The end of the current one; `None` is never.
    #[must_use]
    pub fn end(&self) -> Option<DateTime<Utc>> {
        self.too_old(self.made_at)
    }

    /// The end of the previous one; `None` without one.
    #[must_use]
    pub fn previous_end(&self) -> Option<DateTime<Utc>> {
        self.previous.map(|previous| {
            let too_old = self.too_old(previous.made_at);
            too_old.map_or(previous.until, |end| end.min(previous.until))
        })
    }

    /// The end of one of them; `None` is never.
    #[must_use]
    pub fn end_of(&self, generation: Generation) -> Option<DateTime<Utc>> {
        match generation {
            Generation::Current => self.end(),
            Generation::Previous => self.previous_end(),
        }
    }

    /// Replaces the current one by another, which works from now on. The current one becomes the previous one, even
    /// without a grace period: a client that still sends it, or a report of its leak, can then be told of by the
    /// token's id. The previous one is gone.
    pub fn rotate(&mut self, grace: Grace, now: DateTime<Utc>) {
        let made_at = std::mem::replace(&mut self.made_at, now);
        let until = now + TimeDelta::from(grace.0);
        self.previous = Some(Previous { made_at, until });
    }

    fn too_old(&self, made_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let age = self.maximum_age?;
        made_at.checked_add_signed(age.into())
    }
}

/// The time for which a replaced secret goes on working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(Period);

impl Grace {
    const LONGEST: Period = Period::of_days(30);

    /// Reads a grace period: none, or up to 30 days.
    pub fn parse(text: &str) -> Result<Self> {
        let longest = Self::LONGEST;
        Period::parse_up_to(longest, "gracePeriod", Field::GracePeriod, text).map(Self)
    }
}

/// Reads the greatest age of a secret: an hour or more, so that there is time to replace it.
pub fn parse_maximum_age(text: &str) -> Result<Period> {
    let period = Period::parse("maximumSecretAge", Field::MaximumSecretAge, text)?;
    if period >= Period::HOUR {
        return Ok(period);
    }
    Err(Error::invalid(
        Field::MaximumSecretAge,
        format!(
            "maximumSecretAge: {} is shorter than {}; a secret has to last until it is replaced",
            quoted(text),
            Period::HOUR
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    fn grace(text: &str) -> Grace {
        Grace::parse(text).unwrap()
    }

    fn made(hours: i64) -> Secrets {
        Secrets {
            made_at: at(hours),
            previous: None,
            maximum_age: None,
        }
    }

    #[test]
    fn the_secret_before_works_for_its_grace_and_the_one_before_that_not_at_all() {
        let mut secrets = made(0);
        assert_eq!((secrets.end(), secrets.previous_end()), (None, None));
        secrets.rotate(grace("PT24H"), at(10));
        assert_eq!(
            (secrets.end(), secrets.previous_end()),
            (None, Some(at(34)))
        );
        secrets.rotate(grace("PT1H"), at(11));
        assert_eq!(secrets.previous_end(), Some(at(12)));
        assert_eq!(secrets.previous.unwrap().made_at, at(10));
        secrets.rotate(grace("PT0S"), at(12));
        assert_eq!(
            (secrets.made_at, secrets.previous_end()),
            (at(12), Some(at(12)))
        );
    }

    #[test]
    fn none_gets_older_than_its_registry_lets_it() {
        let mut secrets = made(0);
        secrets.rotate(grace("PT24H"), at(10));
        for (age, current, previous) in [
            ("PT30H", 40, 30),
            ("PT34H", 44, 34),
            ("PT40H", 50, 34),
            ("PT1H", 11, 1),
        ] {
            secrets.maximum_age = Some(parse_maximum_age(age).unwrap());
            assert_eq!(
                secrets.end_of(Generation::Current),
                Some(at(current)),
                "{age}"
            );
            assert_eq!(
                secrets.end_of(Generation::Previous),
                Some(at(previous)),
                "{age}"
            );
        }
    }

    #[test]
    fn a_grace_is_at_most_thirty_days_and_an_age_at_least_an_hour() {
        for right in ["PT0S", "PT1S", "P30D", "PT720H"] {
            assert!(Grace::parse(right).is_ok(), "{right}");
        }
        for long in ["P30DT1S", "P99999W"] {
            let error = Grace::parse(long).unwrap_err().to_string();
            let told = format!("gracePeriod: {long:?} is too long; at most P30D is allowed");
            assert_eq!(error, told);
        }
        for right in ["PT1H", "P90D", "P36500D"] {
            assert!(parse_maximum_age(right).is_ok(), "{right}");
        }
        let short = parse_maximum_age("PT59M59S").unwrap_err().to_string();
        assert_eq!(
            short,
            "maximumSecretAge: \"PT59M59S\" is shorter than PT1H; a secret has to last until it is replaced"
        );
        for wrong in ["", "30 days", "P1M"] {
            assert!(
                Grace::parse(wrong).is_err() && parse_maximum_age(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
