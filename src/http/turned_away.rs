//! The number of refused requests, for the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests that were refused since a queue was full. Under a flood, one log line for each would fill the disk, so one
/// line gives their number.
#[derive(Debug, Default)]
pub(super) struct TurnedAway(Mutex<Untold>);

/// The refused requests that were not logged yet.
#[derive(Debug, Default)]
struct Untold {
    count: u64,
    told_at: Option<Instant>,
}

/// The time between two log lines about refused requests.
const TELLING: Duration = Duration::from_secs(10);

impl TurnedAway {
    /// Counts one. Returns the number to log, if it is time to log it.
    pub(super) fn count(&self, now: Instant) -> Option<u64> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.count += 1;
        let told_at = untold.told_at;
        if told_at.is_some_and(|told| now.duration_since(told) < TELLING) {
            return None;
        }
        untold.told_at = Some(now);
        Some(std::mem::take(&mut untold.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_turned_away_are_told_of_every_ten_seconds() {
        let (away, began) = (TurnedAway::default(), Instant::now());
        let told: Vec<_> = [0, 0, 4, 9, 10, 11, 25]
            .map(|seconds| away.count(began + Duration::from_secs(seconds)))
            .into();
        assert_eq!(told, [Some(1), None, None, None, Some(4), None, Some(2)]);
    }
}
