//! The life of tokens: its limit and its default.

use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};

use super::patch::Patch;
use super::period::Period;
use crate::error::{Error, Field, Result};

/// Changes to the rules of a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LivesPatch {
    /// The life of a token whose caller gives no end.
    pub default: Patch<Period>,
    /// The longest time from now to an end that is set.
    pub maximum: Patch<Period>,
}

/// Reads a life of tokens, which is longer than zero.
pub fn parse_life(member: &str, field: Field, text: &str) -> Result<Period> {
    let life = Period::parse(member, field, text)?;
    if life > Period::ZERO {
        return Ok(life);
    }
    Err(Error::invalid(
        field,
        format!(
            "{member}: {life} is zero; send a longer period, such as P90D, or null for no rule"
        ),
    ))
}

/// The rules of a server or of a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lives {
    /// The life of a token whose caller gives no end.
    pub default: Option<Period>,
    /// The longest time from now to an end that is set.
    pub maximum: Option<Period>,
}

impl Lives {
    /// A registry's rules on a server with these: the registry's own default, and the shorter maximum.
    #[must_use]
    pub fn within(self, server: Self) -> Self {
        let maximum = match (self.maximum, server.maximum) {
            (Some(own), Some(servers)) => Some(own.min(servers)),
            (own, servers) => own.or(servers),
        };
        // A caller that gives no end may be unable to: it gets as much as it could ask for.
        let default = self.default.or(server.default).or(maximum);
        Self {
            default: default.map(|default| maximum.map_or(default, |most| default.min(most))),
            maximum,
        }
    }

    /// These rules with the patch applied.
    #[must_use]
    pub fn changed(self, patch: LivesPatch) -> Self {
        Self {
            default: patch.default.applied_to(self.default),
            maximum: patch.maximum.applied_to(self.maximum),
        }
    }

    /// Refuses a registry's default that no token would get: one beyond its own maximum or that of its server.
    pub fn check(self, server: Self) -> Result<()> {
        let beyond = |maximum: Option<Period>| maximum.filter(|most| self.default > Some(*most));
        let (whose, maximum) = match (beyond(self.maximum), beyond(server.maximum)) {
            (Some(own), _) => ("maximumTokenLife", own),
            (None, Some(servers)) => ("the service's --maximum-token-life", servers),
            (None, None) => return Ok(()),
        };
        let default = self.default.unwrap_or(maximum);
        Err(Error::invalid(
            Field::DefaultTokenLife,
            format!(
                "defaultTokenLife {default} is longer than {whose} {maximum}; make it as long or shorter"
            ),
        ))
    }

    /// Returns true if these rules limit or set a token's end.
    #[must_use]
    pub fn rule(self) -> bool {
        self != Self::default()
    }

    /// The end of a token made at an instant without a wanted end, in whole seconds as clients show it; `None` is
    /// never.
    #[must_use]
    pub fn end(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let end = now.checked_add_signed(TimeDelta::from(self.default?))?;
        Some(end.trunc_subsecs(0))
    }

    /// Refuses an end that lies too far ahead, and no end if the rules require one.
    pub fn admit(self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<()> {
        let Some(wrong) = self.excess(end, now) else {
            return Ok(());
        };
        let latest = self.latest(now).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Err(Error::invalid(
            Field::ExpiryDate,
            format!(
                "{wrong}; send one up to {}, or leave it out",
                shown(latest.trunc_subsecs(0))
            ),
        ))
    }

    /// The reason to refuse an end, if there is one.
    #[must_use]
    pub fn excess(self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<String> {
        let (maximum, latest) = self.maximum.zip(self.latest(now))?;
        let wrong = match end {
            Some(end) if end <= latest => return None,
            Some(end) => format!("expiryDate {} is too late", shown(end)),
            None => "expiryDate null would let the token last for ever".to_owned(),
        };
        Some(format!(
            "{wrong}: tokens of this registry last {maximum} at most"
        ))
    }

    /// The latest end that can be set at an instant.
    fn latest(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let latest = now.checked_add_signed(TimeDelta::from(self.maximum?));
        Some(latest.unwrap_or(DateTime::<Utc>::MAX_UTC))
    }
}

fn shown(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(default: Option<u16>, maximum: Option<u16>) -> Lives {
        Lives {
            default: default.map(Period::of_days),
            maximum: maximum.map(Period::of_days),
        }
    }

    #[test]
    fn a_registry_is_bound_by_its_server() {
        for (own, server, both) in [
            ((None, None), (None, None), (None, None)),
            ((Some(5), None), (None, None), (Some(5), None)),
            ((None, None), (Some(7), None), (Some(7), None)),
            ((Some(5), None), (Some(7), None), (Some(5), None)),
            ((None, Some(9)), (None, None), (Some(9), Some(9))),
            ((None, Some(9)), (None, Some(4)), (Some(4), Some(4))),
            ((Some(6), Some(9)), (None, Some(4)), (Some(4), Some(4))),
            ((Some(2), None), (Some(3), Some(4)), (Some(2), Some(4))),
        ] {
            let lives = |(default, maximum)| lives(default, maximum);
            assert_eq!(
                lives(own).within(lives(server)),
                lives(both),
                "{own:?} in {server:?}"
            );
        }
    }

    #[test]
    fn ends_are_whole_seconds_and_not_too_late() {
        let now = DateTime::from_timestamp_micros(1_700_000_000_900_000).unwrap();
        let rules = lives(Some(1), Some(2));
        let end = rules.end(now).unwrap();
        assert_eq!(end, DateTime::from_timestamp(1_700_086_400, 0).unwrap());
        assert!(rules.admit(Some(end), now).is_ok());
        let latest = now + TimeDelta::days(2);
        assert!(rules.admit(Some(latest), now).is_ok());
        assert!(
            rules
                .admit(Some(latest + TimeDelta::microseconds(1)), now)
                .is_err()
        );
        let told = rules.admit(None, now).unwrap_err().to_string();
        assert!(
            told.contains("send one up to 2023-11-16T22:13:20Z"),
            "{told}"
        );
        assert!(lives(Some(1), None).admit(None, now).is_ok());
        assert_eq!(lives(None, None).end(now), None);
    }

    #[test]
    fn a_registry_has_no_default_that_no_token_would_get() {
        for (own, server, taken) in [
            ((None, None), (None, None), true),
            ((Some(9), None), (None, None), true),
            ((Some(9), Some(9)), (None, Some(9)), true),
            ((Some(9), Some(8)), (None, None), false),
            ((Some(9), None), (None, Some(8)), false),
            ((None, Some(9)), (None, Some(8)), true),
        ] {
            let rules = |(default, maximum)| lives(default, maximum);
            assert_eq!(
                rules(own).check(rules(server)).is_ok(),
                taken,
                "{own:?} in {server:?}"
            );
        }
        assert!(!lives(None, None).rule());
        assert!(lives(Some(1), None).rule() && lives(None, Some(1)).rule());
    }

    #[test]
    fn a_life_is_longer_than_zero() {
        let parse = |text| parse_life("defaultTokenLife", Field::DefaultTokenLife, text);
        assert_eq!(parse("P90D").unwrap(), Period::of_days(90));
        assert!(parse("PT1S").is_ok());
        assert!(parse("PT0S").is_err());
    }
}
