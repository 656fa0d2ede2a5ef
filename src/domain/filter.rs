//! Filters of a registry's token list.

use chrono::{DateTime, TimeDelta, Utc};

use super::period::Period;

/// A filter of tokens, relative to the time of the request. Tokens must meet all given conditions; none is all tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// Tokens that work and end within this time, disabled ones included.
    pub expiring_within: Option<Period>,
    /// Tokens that have not been used for this time; unused ones must be at least as old.
    pub unused_since: Option<Period>,
}

impl TokenFilter {
    /// The filter at an instant; `None` is all tokens.
    #[must_use]
    pub fn at(self, now: DateTime<Utc>) -> Option<Sought> {
        let end = |within: Period| now.checked_add_signed(TimeDelta::from(within));
        let start = |since: Period| now.checked_sub_signed(TimeDelta::from(since));
        let sought = Sought {
            expiring: self
                .expiring_within
                .map(|within| (now, end(within).unwrap_or(DateTime::<Utc>::MAX_UTC))),
            unused_since: self
                .unused_since
                .map(|since| start(since).unwrap_or(DateTime::<Utc>::MIN_UTC)),
        };
        (self != Self::default()).then_some(sought)
    }
}

/// A filter at an instant, with at least one condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sought {
    /// Tokens that end after the first instant and not after the second, in the order of their ends.
    pub expiring: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Tokens neither used nor made after this, in the order of their last use, or else of their making.
    pub unused_since: Option<DateTime<Utc>>,
}

/// The position of an item in a list that is ordered by instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPosition {
    /// Its instant, in microseconds since 1970.
    pub at: i64,
    /// Its internal key, which orders items of the same instant.
    pub key: i64,
}
