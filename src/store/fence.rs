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
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::heartbeats;
use super::session::{Purpose, Session, Target};
use super::watch::Seat;
use crate::error::{Error, Outage, Result};

/// The time between two heartbeats.
const BEAT: Duration = Duration::from_secs(1);
/// The time for which the first work waits for the first heartbeat.
const FIRST: Duration = Duration::from_secs(2);

/// The standing of a connection's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The number of outages before it was opened. After a further one it may lead to a silent server.
    outages: u64,
    /// The last instant at which its server was the primary for sure.
    proven: Option<Instant>,
}

/// The fence of this process, which is open until it is [closed](Self::close).
#[derive(Debug, Default)]
pub(super) struct Fence {
    connections: AtomicU64,
    outages: AtomicU64,
    terms: OnceLock<Terms>,
    beats: Mutex<Beats>,
    /// Told when a heartbeat was committed, and when the process stops.
    news: Condvar,
}

#[derive(Debug)]
struct Terms {
    /// The age beyond which an answer may not be out of date.
    period: Duration,
    /// The number of this process among all that serve.
    process: i64,
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
    /// Lets through from now on only work on connections with a proof.
    pub(super) fn close(&self, period: Duration, process: i64) {
        // A process begins to serve once.
        let _ = self.terms.set(Terms { period, process });
    }

    /// The standing of a connection that is opened now.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            outages: self.outages.load(Ordering::Relaxed),
            proven: None,
        }
    }

    /// Returns true if there was no outage since a connection was opened.
    pub(super) fn is_current(&self, standing: Standing) -> bool {
        standing.outages == self.outages.load(Ordering::Relaxed)
    }

    /// Notes an outage: a heartbeat failed, or a server is silent.
    pub(super) fn note_outage(&self) {
        self.outages.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a connection was opened.
    pub(super) fn note_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of connections that were opened.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Refuses a connection without a proof of the last moments, after an attempt to get one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], after which the connection is worth nothing.
    pub(super) fn admit(&self, session: &mut Session, standing: &mut Standing) -> Result<()> {
        let terms = self.terms.get();
        terms.map_or(Ok(()), |terms| {
            self.require(terms, session, standing, terms.period / 2)
        })
    }

    /// Refuses an answer that came so late that the proof before it is too old, unless the server proves itself again.
    ///
    /// # Errors
    ///
    /// As [`Fence::admit`].
    pub(super) fn confirm(&self, session: &mut Session, standing: &mut Standing) -> Result<()> {
        let terms = self.terms.get();
        terms.map_or(Ok(()), |terms| {
            self.require(terms, session, standing, terms.period)
        })
    }

    fn require(
        &self,
        terms: &Terms,
        session: &mut Session,
        standing: &mut Standing,
        most: Duration,
    ) -> Result<()> {
        let is_recent =
            |proven: Option<Instant>, most| proven.is_some_and(|at| at.elapsed() <= most);
        if is_recent(standing.proven, most) {
            return Ok(());
        }
        self.wait_for_first();
        let number = heartbeats::read(session, terms.process)?;
        standing.proven = number.and_then(|number| self.begun(number));
        if is_recent(standing.proven, terms.period) {
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
    fn begin(&self, terms: &Terms) -> i64 {
        let mut beats = self.lock();
        let is_old = |(_, begun): &(i64, Instant)| begun.elapsed() > terms.period;
        while beats.begun.front().is_some_and(is_old) {
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
        let Some(terms) = self.terms.get() else {
            return;
        };
        let mut session = None;
        loop {
            let written = seat.work(|| self.write(terms, target, seat, &mut session));
            let Some(written) = written else { return };
            if let Err(error) = written {
                session = None;
                self.note_outage();
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
            let _ = seat.work(|| heartbeats::remove(&mut session, terms.process));
        }
    }

    fn write(
        &self,
        terms: &Terms,
        target: &Target,
        seat: &Seat,
        session: &mut Option<Session>,
    ) -> Result<()> {
        let session = if let Some(session) = session {
            session
        } else {
            // Others go on to connect to where the last heartbeat was answered.
            if self.lock().unanswered {
                target.skip_server();
            }
            let opened = session.insert(Session::open(target, Purpose::Write)?);
            self.note_connection();
            opened
        };
        // Else the one that took this place would leave a server that has just answered.
        if seat.is_given_up() {
            return Err(Error::busy());
        }
        heartbeats::write(session, terms.process, self.begin(terms))
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
