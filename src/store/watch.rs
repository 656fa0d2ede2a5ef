//! Watches over threads that a silent database can block for ever.
//!
//! The kernel of a frozen server still acknowledges what is sent to it, so no time limit of a connection ends a wait for
//! its answer, and safe code cannot close the connection of a thread that waits. So a thread whose work takes too long
//! is given up: another takes its place, and it ends by itself when its wait is over.
//!
//! Owns the threads of the store. Refuses to know their work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// A thread without work, as its seat says it.
const IDLE: u64 = 0;
/// A thread whose place another one has taken.
const GIVEN_UP: u64 = u64::MAX;

/// The place of a thread among those that do the same work.
#[derive(Debug)]
pub(super) struct Seat {
    /// Milliseconds from `epoch` to the beginning of the present work, and one more; or one of the values above.
    since: AtomicU64,
    epoch: Instant,
}

impl Seat {
    fn new() -> Self {
        Self {
            since: AtomicU64::new(IDLE),
            epoch: Instant::now(),
        }
    }

    /// Does a piece of work that the watch times. Returns nothing if another thread has taken this place meanwhile, and does
    /// nothing if one took it before.
    pub(super) fn work<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let begun = self.epoch.elapsed().as_millis();
        let begun = u64::try_from(begun).unwrap_or(0).saturating_add(1);
        self.turn(IDLE, begun)?;
        let done = work();
        self.turn(begun, IDLE)?;
        Some(done)
    }

    /// Returns true if another thread has taken this place.
    pub(super) fn is_given_up(&self) -> bool {
        self.since.load(Ordering::Acquire) == GIVEN_UP
    }

    /// The beginning of its work, if that takes too long.
    fn late_since(&self, deadline: Duration) -> Option<u64> {
        let since = self.since.load(Ordering::Acquire);
        let works = since != IDLE && since != GIVEN_UP;
        let begun = Duration::from_millis(since.saturating_sub(1));
        (works && self.epoch.elapsed() > begun.saturating_add(deadline)).then_some(since)
    }

    /// Changes the state, unless it is another one by now.
    fn turn(&self, from: u64, to: u64) -> Option<()> {
        let turned = self
            .since
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        turned.ok().map(drop)
    }
}

/// Starts a thread for a place. The number is its position in its crew.
type Start = dyn Fn(usize, Arc<Seat>) -> std::io::Result<JoinHandle<()>> + Send + Sync;

/// Threads that do the same work.
pub(super) struct Crew {
    /// The time that a piece of work may take.
    deadline: Duration,
    /// The most threads that are given up at once.
    most: usize,
    /// Starts a thread. Nothing once the crew ends: what it holds keeps the queue open.
    start: Mutex<Option<Box<Start>>>,
    seats: Mutex<Vec<(Arc<Seat>, JoinHandle<()>)>>,
    given_up: Mutex<Vec<JoinHandle<()>>>,
    blocked: AtomicBool,
}

impl Crew {
    /// Starts `size` threads, of which at most `most` are given up at once.
    pub(super) fn start(
        size: usize,
        most: usize,
        deadline: Duration,
        start: Box<Start>,
    ) -> Result<Self> {
        let seats = (0..size)
            .map(|number| {
                let seat = Arc::new(Seat::new());
                let thread = start(number, Arc::clone(&seat)).map_err(Error::internal)?;
                Ok((seat, thread))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            deadline,
            most,
            start: Mutex::new(Some(start)),
            seats: Mutex::new(seats),
            given_up: Mutex::default(),
            blocked: AtomicBool::new(false),
        })
    }

    /// Returns true if every thread waits for too long, and no more take their places.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Gives up the threads whose work takes too long, and starts others. Returns true if there were any.
    pub(super) fn look(&self) -> bool {
        let start = lock(&self.start);
        let Some(start) = start.as_deref() else {
            return false;
        };
        let mut given_up = lock(&self.given_up);
        given_up.retain(|thread| !thread.is_finished());
        let mut seats = lock(&self.seats);
        let (mut late, mut replaced) = (0, false);
        for (number, (seat, thread)) in seats.iter_mut().enumerate() {
            let Some(since) = seat.late_since(self.deadline) else {
                continue;
            };
            late += 1;
            if given_up.len() >= self.most || seat.turn(since, GIVEN_UP).is_none() {
                continue;
            }
            let fresh = Arc::new(Seat::new());
            match start(number, Arc::clone(&fresh)) {
                Ok(started) => {
                    (late, replaced) = (late - 1, true);
                    *seat = fresh;
                    given_up.push(std::mem::replace(thread, started));
                }
                Err(error) => {
                    // It goes on, unless its wait has just ended.
                    seat.turn(GIVEN_UP, since);
                    tracing::warn!(%error, "a thread that waits for the database could not be replaced");
                }
            }
        }
        self.blocked.store(late == seats.len(), Ordering::Relaxed);
        replaced
    }

    /// Waits for the threads to end, but for none beyond an instant, nor for those that were given up. Returns false if one
    /// has not ended.
    pub(super) fn join(&self, until: Instant) -> bool {
        lock(&self.start).take();
        let seats = std::mem::take(&mut *lock(&self.seats));
        let mut ended = lock(&self.given_up).iter().all(JoinHandle::is_finished);
        for (_, thread) in seats {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            if !thread.is_finished() {
                ended = false;
            } else if thread.join().is_err() {
                tracing::error!("a thread of the store panicked; report this defect");
            }
        }
        ended
    }
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, Sender, unbounded};

    use super::*;

    /// A crew whose work is to wait for what it is sent. Also tells of each piece of work that was done, and whether its thread
    /// was given up.
    fn crew(size: usize, most: usize) -> (Crew, Sender<Receiver<()>>, Receiver<bool>) {
        let (send, work) = unbounded::<Receiver<()>>();
        let (done, told) = unbounded();
        let start = move |_, seat: Arc<Seat>| {
            let (work, done) = (work.clone(), done.clone());
            std::thread::Builder::new().spawn(move || {
                while let Ok(wait) = work.recv() {
                    let kept = seat.work(|| wait.recv()).is_some();
                    let _ = done.send(!kept);
                    if !kept {
                        break;
                    }
                }
            })
        };
        let crew = Crew::start(size, most, Duration::ZERO, Box::new(start)).unwrap();
        (crew, send, told)
    }

    #[test]
    fn a_thread_that_waits_for_too_long_is_given_up_and_ends_by_itself() {
        let (crew, send, told) = crew(1, 1);
        let (release, silence) = unbounded();
        send.send(silence).unwrap();
        // This one needs no wait, and a thread to do it.
        let (answer, ready) = unbounded();
        answer.send(()).unwrap();
        send.send(ready).unwrap();
        while told.is_empty() {
            crew.look();
        }
        assert_eq!(told.recv(), Ok(false));
        release.send(()).unwrap();
        assert_eq!(told.recv(), Ok(true));
        drop(send);
        assert!(crew.join(Instant::now() + Duration::from_mins(1)));
    }

    #[test]
    fn as_many_are_given_up_as_may_be_and_then_the_crew_is_blocked() {
        let (crew, send, told) = crew(2, 3);
        let (release, silence) = unbounded();
        for _ in 0..5 {
            send.send(silence.clone()).unwrap();
        }
        while !crew.is_blocked() {
            crew.look();
        }
        // Two places, and three that were given up.
        assert!(send.is_empty());
        for _ in 0..5 {
            release.send(()).unwrap();
        }
        let given_up = (0..5).filter(|_| told.recv().unwrap()).count();
        assert_eq!(given_up, 3);
        while crew.is_blocked() {
            crew.look();
        }
        drop(send);
        assert!(crew.join(Instant::now() + Duration::from_mins(1)));
    }
}
