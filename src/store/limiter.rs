//! The limit on concurrent jobs: as many as are done in a moment.
//!
//! A fixed number cannot bound the wait of a caller, as jobs differ a hundredfold. So the limit follows the time that
//! jobs take: a job that took too long, its wait included, lowers it; a job that took less than half of that, while the
//! limit was well used, raises it by one. A job beyond the limit is refused before any work is done for it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// The least limit: none of so many jobs waits for long, unless the database is in trouble.
const LEAST: usize = 64;
/// The limit at the start, and again when no job is inside.
const FIRST: usize = 512;

/// The limit of one queue.
#[derive(Debug)]
pub(super) struct ConcurrencyLimiter {
    inside: AtomicUsize,
    room: AtomicUsize,
    most: usize,
    /// The longest time that a job may take, its wait included, before the limit is lowered.
    moment: Duration,
    /// The last time at which the limit was lowered. Jobs that entered before say nothing about the limit since.
    shrunk: Mutex<Option<Instant>>,
}

/// A job that is inside until this is dropped.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    gate: &'a ConcurrencyLimiter,
    since: Instant,
}

impl ConcurrencyLimiter {
    /// A limiter that never admits more than `most`.
    pub(super) fn new(most: usize, moment: Duration) -> Self {
        Self {
            inside: AtomicUsize::new(0),
            room: AtomicUsize::new(FIRST.min(most)),
            most,
            moment,
            shrunk: Mutex::new(None),
        }
    }

    /// Admits a job if the limit allows it.
    pub(super) fn enter(&self, now: Instant) -> Result<Inside<'_>> {
        let before = self.inside.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            // The crowd for which the limit was lowered is gone, and a burst is no crowd.
            self.room.fetch_max(FIRST.min(self.most), Ordering::Relaxed);
        }
        if before >= self.room() {
            self.inside.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::busy());
        }
        Ok(Inside {
            gate: self,
            since: now,
        })
    }

    /// The present limit.
    pub(super) fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    /// Returns true if a job would be refused.
    pub(super) fn is_full(&self) -> bool {
        self.inside.load(Ordering::Relaxed) >= self.room.load(Ordering::Relaxed)
    }

    /// Learns from a job that entered at `since` and is done.
    fn learn(&self, since: Instant, now: Instant) {
        let room = self.room.load(Ordering::Relaxed);
        let took = now.duration_since(since);
        if took <= self.moment {
            let used = self.inside.load(Ordering::Relaxed);
            // Every job raises the limit, and few find it too high: so it is not raised until it is just right.
            if took * 2 <= self.moment && used * 2 >= room && room < self.most {
                self.room.store(room + 1, Ordering::Relaxed);
            }
            return;
        }
        let mut shrunk = self.shrunk.lock().unwrap_or_else(PoisonError::into_inner);
        if shrunk.is_none_or(|shrunk| shrunk <= since) {
            let fewer = (room - room / 4).max(LEAST.min(self.most));
            self.room.store(fewer, Ordering::Relaxed);
            *shrunk = Some(now);
        }
    }
}

impl Inside<'_> {
    /// Notes that the job is done. A job whose caller went away is not noted.
    pub(super) fn done(self, now: Instant) {
        self.gate.learn(self.since, now);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::store::limiter::*;

    const MOMENT: Duration = Duration::from_millis(100);

    /// Admits as many jobs as the limit allows, has all of them take so long, and returns their number.
    fn crowd(gate: &ConcurrencyLimiter, from: Instant, took: Duration) -> usize {
        let inside: Vec<_> = std::iter::from_fn(|| gate.enter(from).ok()).collect();
        let many = inside.len();
        assert!(gate.is_full());
        for job in inside {
            job.done(from + took);
        }
        assert!(!gate.is_full());
        many
    }

    #[test]
    fn a_crowd_that_waits_too_long_makes_room_for_fewer_once() {
        let (gate, from) = (ConcurrencyLimiter::new(4096, MOMENT), Instant::now());
        let stays = gate.enter(from).unwrap();
        assert_eq!(crowd(&gate, from, MOMENT * 2), FIRST - 1);
        assert_eq!(
            crowd(&gate, from + MOMENT * 3, MOMENT * 2),
            FIRST / 4 * 3 - 1
        );
        // With the last of them the crowd is gone.
        drop(stays);
        assert_eq!(crowd(&gate, from + MOMENT * 6, MOMENT), FIRST);
    }

    #[test]
    fn there_is_always_room_for_some() {
        let (gate, mut from) = (ConcurrencyLimiter::new(4096, MOMENT), Instant::now());
        let _stays = gate.enter(from).unwrap();
        for _ in 0..100 {
            crowd(&gate, from, MOMENT * 2);
            from += MOMENT * 3;
        }
        assert_eq!(crowd(&gate, from, MOMENT), LEAST - 1);
    }

    #[test]
    fn quick_crowds_make_room_for_more_up_to_the_most() {
        let (gate, from) = (ConcurrencyLimiter::new(1000, MOMENT), Instant::now());
        for _ in 0..10 {
            crowd(&gate, from, MOMENT / 2);
        }
        assert_eq!(crowd(&gate, from, MOMENT), 1000);
    }

    #[test]
    fn few_quick_jobs_change_nothing() {
        let (gate, from) = (ConcurrencyLimiter::new(4096, MOMENT), Instant::now());
        for _ in 0..10_000 {
            gate.enter(from).unwrap().done(from + MOMENT / 2);
        }
        assert_eq!(crowd(&gate, from, MOMENT), FIRST);
    }

    #[test]
    fn whoever_goes_away_leaves_room() {
        let (gate, from) = (ConcurrencyLimiter::new(1, MOMENT), Instant::now());
        let inside = gate.enter(from).unwrap();
        assert!(gate.enter(from).is_err());
        drop(inside);
        assert!(gate.enter(from).is_ok());
    }
}
