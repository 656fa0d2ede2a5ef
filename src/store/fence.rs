//! The fence: a server that the cluster has left behind answers no reads.
//!
//! A primary that was replaced without knowing it, or that was frozen meanwhile, still answers reads, with all the tokens that
//! were revoked since. So this process writes a number of its own every second, each time a higher one, and remembers the
//! instant before it began to write it. A connection that reads this number proves that its server committed it: it was the
//! primary at that instant, or learned from it. Work on a connection without a recent proof is refused.
//!
//! A commit counts only with a synchronous standby: without one, a server that was replaced goes on to commit. A number
//! is never withdrawn while it is committed: PostgreSQL would then show it without waiting for the standby.
//!
//! Instants are monotonic ones of this process, so clocks may differ.
//!
//! After an outage, no connection of before it is used: each would keep a request waiting for a silent server.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::heartbeats;
use super::pool::{Checkout, Proof};
use super::session::{Purpose, Session, Target};
use super::watch::Seat;
use crate::error::{Error, Outage, Result};

/// The time between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);
/// The time for which the first work waits for the first heartbeat.
const FIRST: Duration = Duration::from_secs(2);

/// The fence of this process.
#[derive(Debug)]
pub(super) struct Fence {
    /// The longest time after which an answer can be older than the database.
    period: Duration,
    /// The number of this process among all that serve.
    process: i64,
    beats: Mutex<Beats>,
    /// The number of connections of this process since its start.
    connections: Arc<AtomicU64>,
    /// The number of outages that were noticed.
    outages: Arc<AtomicU64>,
    /// Told when a heartbeat was committed, and when the process stops.
    news: Condvar,
}

#[derive(Debug, Default)]
struct Beats {
    last: i64,
    /// The numbers that still count, with the instants before they were written.
    begun: VecDeque<(i64, Instant)>,
    committed: bool,
    /// True if the last heartbeat failed, or was not answered yet.
    unanswered: bool,
    stopped: bool,
}

impl Fence {
    /// A fence that answers nothing until it has a heartbeat.
    pub(super) fn new(
        period: Duration,
        process: i64,
        connections: Arc<AtomicU64>,
        outages: Arc<AtomicU64>,
    ) -> Self {
        Self {
            period,
            process,
            beats: Mutex::default(),
            connections,
            outages,
            news: Condvar::new(),
        }
    }

    /// Refuses a connection without a proof of the last moments, after an attempt to get one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], after which the connection is worth nothing.
    pub(super) fn admit(&self, checkout: &mut Checkout) -> Result<()> {
        self.require(checkout, self.period / 2)
    }

    /// Refuses an answer that came so late that the proof before it is too old, unless the server proves itself again.
    ///
    /// # Errors
    ///
    /// As [`Fence::admit`].
    pub(super) fn confirm(&self, checkout: &mut Checkout) -> Result<()> {
        self.require(checkout, self.period)
    }

    fn require(&self, checkout: &mut Checkout, most: Duration) -> Result<()> {
        let Checkout {
            connection, proof, ..
        } = checkout;
        let is_recent = |proof: &Proof, most| proof.0.is_some_and(|at| at.elapsed() <= most);
        if is_recent(proof, most) {
            return Ok(());
        }
        self.wait_for_first();
        let number = heartbeats::read(connection, self.process)?;
        *proof = Proof(number.and_then(|number| self.begun(number)));
        if is_recent(proof, self.period) {
            return Ok(());
        }
        Err(Error::Unavailable {
            outage: Outage::Gone,
            source: Some("this database server does not have the last heartbeats of this process, so another may be the primary".into()),
        })
    }

    fn wait_for_first(&self) {
        let beats = self.lock();
        let waits = |beats: &mut Beats| !beats.committed && !beats.stopped;
        drop(self.news.wait_timeout_while(beats, FIRST, waits));
    }

    /// The instant before a number was written, unless it counts no more.
    fn begun(&self, number: i64) -> Option<Instant> {
        let beats = self.lock();
        let found = beats.begun.iter().find(|(known, _)| *known == number);
        found.map(|(_, begun)| *begun)
    }

    /// The next number, from now on remembered.
    fn begin(&self) -> i64 {
        let mut beats = self.lock();
        while beats
            .begun
            .front()
            .is_some_and(|(_, begun)| begun.elapsed() > self.period)
        {
            beats.begun.pop_front();
        }
        beats.unanswered = true;
        beats.last += 1;
        let number = beats.last;
        beats.begun.push_back((number, Instant::now()));
        number
    }

    /// Writes heartbeats until the process stops, or until another thread takes this place.
    pub(super) fn beat(&self, target: &Target, seat: &Seat) {
        let mut session = None;
        loop {
            let written = seat.work(|| self.write(target, seat, &mut session));
            let Some(written) = written else { return };
            if let Err(error) = written {
                session = None;
                self.outages.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(error = error.chain(), "a heartbeat was not written");
            }
            let mut beats = self.lock();
            if session.is_some() {
                (beats.committed, beats.unanswered) = (true, false);
            }
            self.news.notify_all();
            let goes_on = |beats: &mut Beats| !beats.stopped;
            let (beats, _) = self
                .news
                .wait_timeout_while(beats, BEAT, goes_on)
                .unwrap_or_else(PoisonError::into_inner);
            if beats.stopped {
                break;
            }
        }
        if let Some(mut session) = session {
            // A row that stays is removed by another process, a day later.
            let _ = seat.work(|| heartbeats::remove(&mut session, self.process));
        }
    }

    fn write(&self, target: &Target, seat: &Seat, session: &mut Option<Session>) -> Result<()> {
        let session = if let Some(session) = session {
            session
        } else {
            // Others go on to connect to where the last heartbeat was answered.
            if self.lock().unanswered {
                target.skip_server();
            }
            let opened = session.insert(Session::open(target, Purpose::Write)?);
            self.connections.fetch_add(1, Ordering::Relaxed);
            opened
        };
        // Else the one that took this place would leave a server that has just answered.
        if seat.is_given_up() {
            return Err(Error::busy());
        }
        heartbeats::write(session, self.process, self.begin())
    }

    /// Ends the heartbeats.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.news.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
