//! The slow part of people's passwords: bcrypt, in a few threads behind a fair queue.
//!
//! A check takes a good part of a second on purpose, so a flood of wrong passwords must neither occupy the request
//! threads nor make others wait. Checks wait in a queue for each source, and sources take turns. Sources that failed
//! within the last minutes come after all others, and lose their places to them when the queue is full. Among the
//! others, sources that succeeded within the last hour come first, three turns of four. Each queue is bounded.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::domain::network::network;
use crate::error::{Error, Result};
use crate::metrics;

/// Checks of one source that may wait.
const SOURCE_QUEUE: usize = 16;
/// Checks that may wait in all.
const QUEUE: usize = 512;
/// The time for which a success moves a source to the front.
const FAVOUR: Duration = Duration::from_hours(1);
/// Sources that can be in favour at once; the least recently used fall out.
const FAVOURED: u64 = 10_000;
/// The time for which a failure moves a source to the end. Such a source waits behind others for no longer.
const FAILED: Duration = Duration::from_mins(5);
/// Sources whose failures are remembered at once; the least recently used fall out.
const FAILURES: u64 = 100_000;
/// Each so many checks, sources that are not in favour come first, so that they do not wait for ever.
const TURN: u32 = 4;

/// One password against one hash.
struct Check {
    password: SecretString,
    hash: String,
    answer: oneshot::Sender<bool>,
}

/// The recent results of a source. The least value is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Priority {
    /// A check of it failed.
    failed: bool,
    /// None of it succeeded.
    stranger: bool,
}

/// Checks that wait, in a queue for each source.
#[derive(Default)]
struct State {
    /// In all queues.
    waiting: usize,
    /// The sources, in the order in which they came or were last served.
    order: VecDeque<IpAddr>,
    queues: HashMap<IpAddr, VecDeque<Check>>,
    served: u32,
    closed: bool,
}

impl State {
    fn waiting_of(&self, source: IpAddr) -> usize {
        self.queues.get(&source).map_or(0, VecDeque::len)
    }

    fn push(&mut self, source: IpAddr, check: Check) {
        let queue = self.queues.entry(source).or_default();
        if queue.is_empty() {
            self.order.push_back(source);
        }
        queue.push_back(check);
        self.waiting += 1;
    }

    /// The next check: of the sources of the best priority, the one that waits longest for its turn. Priorities are
    /// looked up now, since a source whose first guess just failed may have more of them here.
    fn pop(&mut self, standing: impl Fn(IpAddr) -> Priority) -> Option<(IpAddr, Check)> {
        self.served = self.served.wrapping_add(1);
        let strangers_first = self.served.is_multiple_of(TURN);
        let (place, _) = self.order.iter().enumerate().min_by_key(|(_, source)| {
            let standing = standing(**source);
            (standing.failed, standing.stranger != strangers_first)
        })?;
        let source = self.order.remove(place)?;
        let check = self.take(source, VecDeque::pop_front)?;
        if self.queues.contains_key(&source) {
            self.order.push_back(source);
        }
        Some((source, check))
    }

    /// Removes a check to make room for one of `newcomer`: the last one of the source of the worst priority, or of the
    /// longest queue among such sources. `None` if that source is no worse off than the newcomer would be.
    fn displace(
        &mut self,
        newcomer: IpAddr,
        standing: impl Fn(IpAddr) -> Priority,
    ) -> Option<Check> {
        let place = |source: &IpAddr| (standing(*source), self.waiting_of(*source));
        let worst = self.order.iter().copied().max_by_key(place)?;
        let (own, waiting) = place(&newcomer);
        if (own, waiting + 1) >= place(&worst) {
            return None;
        }
        let check = self.take(worst, VecDeque::pop_back);
        if !self.queues.contains_key(&worst) {
            self.order.retain(|source| *source != worst);
        }
        check
    }

    fn take(
        &mut self,
        source: IpAddr,
        end: impl FnOnce(&mut VecDeque<Check>) -> Option<Check>,
    ) -> Option<Check> {
        let queue = self.queues.get_mut(&source)?;
        let check = end(queue)?;
        if queue.is_empty() {
            self.queues.remove(&source);
        }
        self.waiting -= 1;
        Some(check)
    }
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    clock: Arc<dyn Clock>,
    in_favour: moka::sync::Cache<IpAddr, ()>,
    /// When a check of a source last failed.
    failed: moka::sync::Cache<IpAddr, Instant>,
    checks: AtomicU64,
    counts: metrics::Passwords,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self, source: IpAddr, now: Instant) -> Priority {
        let failed = self.failed.get(&source);
        Priority {
            failed: failed.is_some_and(|at| now.duration_since(at) < FAILED),
            stranger: !self.in_favour.contains_key(&source),
        }
    }
}

/// Threads that check passwords. They end when this is dropped.
pub struct Passwords {
    shared: Arc<Shared>,
    cost: u32,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Passwords {
    /// Starts the threads. `cost` is bcrypt's, for new hashes and for names that do not exist.
    pub fn start(threads: usize, cost: u32, clock: Arc<dyn Clock>) -> Result<Self> {
        let in_favour = moka::sync::Cache::builder()
            .max_capacity(FAVOURED)
            .time_to_live(FAVOUR)
            .build();
        let failed = moka::sync::Cache::builder()
            .max_capacity(FAILURES)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            clock,
            in_favour,
            failed,
            checks: AtomicU64::new(0),
            counts: metrics::Passwords::default(),
        });
        shared.counts.started(threads);
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("passwords-{number}"))
                .spawn(move || serve(&shared))
                .map_err(Error::internal)?;
        }
        Ok(Self { shared, cost })
    }

    /// Checks a password. Without a hash, as for a name that does not exist, it takes as long and fails.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] if the source has too many checks waiting. [`Error::Unavailable`] if the queue is full
    /// and this source has no better priority than the others, or if another source took its place.
    pub async fn check(
        &self,
        source: IpAddr,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| unmatched_hash(self.cost));
        let (answer, result) = oneshot::channel();
        self.push(
            source,
            Check {
                password,
                hash,
                answer,
            },
        )?;
        Ok(result.await.map_err(|_| Error::busy())? && known)
    }

    /// The number of checks begun since the start.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.shared.checks.load(Ordering::Relaxed)
    }

    /// The counts of checks, as they are now.
    pub(super) fn counts(&self) -> &metrics::Passwords {
        let state = self.shared.lock();
        self.shared.counts.waiting(state.waiting);
        &self.shared.counts
    }

    fn push(&self, source: IpAddr, check: Check) -> Result<()> {
        let source = network(source);
        let now = self.shared.clock.instant();
        let mut state = self.shared.lock();
        if state.waiting_of(source) >= SOURCE_QUEUE {
            self.shared.counts.refused_source();
            return Err(Error::RateLimited {
                retry_after: Error::RETRY_AFTER,
            });
        }
        if state.closed {
            return Err(Error::busy());
        }
        if state.waiting >= QUEUE {
            self.shared.counts.refused_full();
            // The caller of a dropped check gets the error that there is no room.
            let standing = |source| self.shared.standing(source, now);
            state.displace(source, standing).ok_or_else(Error::busy)?;
        }
        state.push(source, check);
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }
}

fn serve(shared: &Shared) {
    loop {
        let mut state = shared.lock();
        let (source, check) = loop {
            if state.closed {
                return;
            }
            let now = shared.clock.instant();
            match state.pop(|source| shared.standing(source, now)) {
                Some(next) => break next,
                None => {
                    state = shared
                        .wake
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        drop(state);
        if check.answer.is_closed() {
            continue;
        }
        shared.checks.fetch_add(1, Ordering::Relaxed);
        let right = shared.counts.run(|| verify(&check.password, &check.hash));
        if right {
            shared.in_favour.insert(source, ());
        } else {
            shared.failed.insert(source, shared.clock.instant());
        }
        // The caller may have gone away meanwhile.
        let _ = check.answer.send(right);
    }
}

fn verify(password: &SecretString, hash: &str) -> bool {
    // A password that is too long was never set; it is cut here only to take as long as any other.
    let bytes = password.expose_secret().as_bytes();
    let whole = bytes.len() <= crate::domain::account::PASSWORD_MAXIMUM;
    let checked = bytes
        .get(..crate::domain::account::PASSWORD_MAXIMUM)
        .unwrap_or(bytes);
    match bcrypt::verify(checked, hash) {
        Ok(right) => right && whole,
        Err(error) => {
            tracing::error!(%error, "a stored password hash cannot be read; give the account a new password");
            false
        }
    }
}

/// A well-formed hash of this cost that no password is known to match: its digest was not computed from one.
fn unmatched_hash(cost: u32) -> String {
    format!(
        "$2b${cost:02}${}{}",
        "wharfingerwharfingerwu", "nobodyhasthispasswordnobodyhasu"
    )
}

/// Hashes a password for storage. Takes long: not for request threads.
pub fn hash(password: &SecretString, cost: u32, salt: [u8; 16]) -> Result<String> {
    let parts = bcrypt::non_truncating_hash_with_salt(password.expose_secret(), cost, salt)
        .map_err(Error::internal)?;
    Ok(parts.to_string())
}

/// The most passwords that are hashed, one at a time, or wait to be.
pub(super) const SETTING: usize = 16;

/// [`hash`] on a blocking thread.
pub async fn hash_apart(password: &SecretString, cost: u32, salt: [u8; 16]) -> Result<String> {
    let password = password.clone();
    tokio::task::spawn_blocking(move || hash(&password, cost, salt))
        .await
        .map_err(Error::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: oneshot::Sender<bool>) -> Check {
        Check {
            password: "p".to_owned().into(),
            hash: String::new(),
            answer,
        }
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    const PROVEN: Priority = Priority {
        failed: false,
        stranger: false,
    };
    const STRANGER: Priority = Priority {
        failed: false,
        stranger: true,
    };

    fn after_a_failure(standing: Priority) -> Priority {
        Priority {
            failed: true,
            ..standing
        }
    }

    /// Lets checks of these sources wait.
    fn waiting(sources: impl IntoIterator<Item = u8>) -> State {
        let mut state = State::default();
        for from in sources {
            state.push(source(from), check(oneshot::channel().0));
        }
        state
    }

    /// The order in which the sources are served.
    fn served(state: &mut State, standing: impl Fn(IpAddr) -> Priority) -> Vec<IpAddr> {
        let order = std::iter::from_fn(|| state.pop(&standing));
        let order = order.map(|(from, _)| from).collect();
        assert!(state.queues.is_empty() && state.order.is_empty());
        assert_eq!(state.waiting, 0);
        order
    }

    #[test]
    fn sources_take_turns() {
        let mut state = waiting([1, 1, 1, 2, 3]);
        let order = served(&mut state, |_| STRANGER);
        assert_eq!(order, [1, 2, 3, 1, 1].map(source));
    }

    #[test]
    fn favoured_sources_come_first_but_not_always() {
        let mut state = waiting([1, 2].repeat(6));
        let order = served(&mut state, |from| {
            if from == source(1) { PROVEN } else { STRANGER }
        });
        assert_eq!(order, [1, 1, 1, 2, 1, 1, 1, 2, 2, 2, 2, 2].map(source));
    }

    #[test]
    fn sources_that_failed_come_after_all_others() {
        let mut state = waiting([1, 1, 2, 2, 3, 4].repeat(2));
        let order = served(&mut state, |from| match from {
            from if from == source(1) => after_a_failure(STRANGER),
            from if from == source(2) => after_a_failure(PROVEN),
            from if from == source(3) => STRANGER,
            _ => PROVEN,
        });
        // Those that once succeeded come first among them too.
        assert_eq!(order, [4, 4, 3, 3, 2, 2, 2, 1, 2, 1, 1, 1].map(source));
    }

    #[test]
    fn a_guess_that_fails_moves_the_others_of_its_source_to_the_end() {
        let mut state = waiting((1..=40).flat_map(|from| [from; 14]).take(500));
        let failed = std::cell::RefCell::new(std::collections::HashSet::new());
        let standing = |from| {
            if failed.borrow().contains(&from) {
                after_a_failure(STRANGER)
            } else {
                STRANGER
            }
        };
        // Each source guesses once, and is served no more while another has not failed.
        let sources = state.order.len();
        for _ in 0..sources {
            let (from, _) = state.pop(standing).unwrap();
            assert!(failed.borrow_mut().insert(from), "{from} was served twice");
        }
        // Then newcomers wait for nobody.
        for from in 100..124 {
            state.push(source(from), check(oneshot::channel().0));
        }
        for from in 100..124 {
            assert_eq!(state.pop(standing).unwrap().0, source(from));
        }
        assert!(failed.borrow().contains(&state.pop(standing).unwrap().0));
    }

    #[test]
    fn a_full_queue_gives_the_worst_place_away() {
        let standing = |from| match from {
            from if from == source(1) => after_a_failure(STRANGER),
            from if from == source(2) || from == source(9) => STRANGER,
            _ => PROVEN,
        };
        let mut state = waiting([1, 2, 2, 2, 3, 3, 3, 3]);
        let mut displaced = |newcomer| {
            let before = [1, 2, 3, 9].map(|from| state.waiting_of(source(from)));
            let check = state.displace(source(newcomer), standing);
            assert_eq!(
                check.is_some(),
                state.waiting + 1 == before.iter().sum::<usize>()
            );
            let after = [1, 2, 3, 9].map(|from| state.waiting_of(source(from)));
            before
                .iter()
                .zip(after)
                .position(|(before, after)| *before != after)
        };
        // One that failed has no right to a place of anybody else.
        assert_eq!(displaced(1), None);
        // First the one that failed goes, then strangers with more than the newcomer would have, then nobody.
        assert_eq!(displaced(9), Some(0));
        assert_eq!(displaced(9), Some(1));
        assert_eq!(displaced(9), Some(1));
        assert_eq!(displaced(9), None);
        // For one that proved itself every stranger goes, and those who did so too while they have more.
        assert_eq!(displaced(4), Some(1));
        assert_eq!(displaced(4), Some(2));
        assert_eq!(displaced(3), None);
    }

    /// A pool without threads: what is pushed stays.
    fn held() -> Passwords {
        Passwords::start(0, 4, Arc::new(crate::clock::SystemClock)).unwrap()
    }

    #[test]
    fn first_logins_find_a_place_among_forty_guessers() {
        let pool = held();
        let mut answers = Vec::new();
        let mut push = |from: IpAddr| {
            let (answer, result) = oneshot::channel();
            answers.push((from, result));
            pool.push(from, check(answer))
        };
        let places = (0..14).flat_map(|_| 1..=40).take(QUEUE);
        for from in places {
            push(source(from)).unwrap();
        }
        assert!(matches!(push(source(1)), Err(Error::Unavailable { .. })));
        for from in 101..=124 {
            push(source(from)).unwrap();
        }
        assert_eq!(pool.shared.lock().waiting, QUEUE);
        // Only guessers lost a place, and each of them has more left than those who came.
        for (from, result) in &mut answers {
            let lost = result.try_recv() == Err(oneshot::error::TryRecvError::Closed);
            assert!(!lost || *from <= source(40), "{from} lost its place");
        }
        for from in 1..=40 {
            assert!(pool.shared.lock().waiting_of(source(from)) >= 11);
        }
    }

    #[test]
    fn a_source_is_a_stranger_until_it_succeeds_and_has_failed_for_a_while() {
        let pool = Passwords::start(0, 4, Arc::new(crate::clock::SystemClock)).unwrap();
        let now = Instant::now();
        let standing = |at| pool.shared.standing(source(1), at);
        assert_eq!(standing(now), STRANGER);
        pool.shared.failed.insert(source(1), now);
        assert_eq!(standing(now), after_a_failure(STRANGER));
        pool.shared.in_favour.insert(source(1), ());
        assert_eq!(standing(now), after_a_failure(PROVEN));
        assert_eq!(standing(now + FAILED), PROVEN);
    }

    #[test]
    fn an_unknown_name_costs_a_whole_check() {
        let hash = unmatched_hash(4);
        assert_eq!(hash.len(), 60);
        assert!(
            !bcrypt::verify("password", &hash).unwrap(),
            "the hash is well-formed, and matches nothing"
        );
    }

    #[test]
    fn hashes_match_their_password_alone() {
        let password = SecretString::from("pass:wörd".to_owned());
        let hash = hash(&password, 4, [5; 16]).unwrap();
        assert!(verify(&password, &hash));
        assert!(!verify(&"pass:word".to_owned().into(), &hash));
        let long = format!("{}x", "y".repeat(71));
        let cut = super::hash(&"y".repeat(71).into(), 4, [5; 16]).unwrap();
        assert!(
            !verify(&long.into(), &cut),
            "a password that begins like the right one was cut"
        );
    }
}
