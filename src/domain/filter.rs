//! Which tokens of a registry are listed.

use chrono::{DateTime, TimeDelta, Utc};

use super::period::Period;

/// Which tokens are asked for, told from whenever it is asked; both is what both say. Nothing is all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// Tokens that work and end within this time, disabled ones included.
    pub expiring_within: Option<Period>,
    /// Tokens that have not been used for this time: those never used have been there at least as long.
    pub unused_since: Option<Period>,
}

impl TokenFilter {
    /// The same at an instant; `None` is all tokens.
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

/// Which tokens are listed: at least one of the two is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sought {
    /// Those that end after the one instant and not after the other, in the order in which they end.
    pub expiring: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Those that were neither used nor made after this, in the order of their last use, or else of their making.
    pub unused_since: Option<DateTime<Utc>>,
}

/// Where something stands in a list that is ordered by instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListPosition {
    /// Its instant, in microseconds since 1970.
    pub at: i64,
    /// Its internal key, which orders what has the same instant.
    pub key: i64,
}
