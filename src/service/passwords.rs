//! The slow part of people's passwords: bcrypt, in a few threads behind a fair queue.
//!
//! A check takes a good part of a second on purpose, so a flood of wrong passwords must neither occupy the request
//! threads nor make others wait: work is queued per source and served in turn, sources that recently succeeded first,
//! and every queue is bounded.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use super::turns::Turns;
use crate::domain::network::network;
use crate::error::{Error, Result};
use crate::metrics;

/// Checks of one source that may wait.
const SOURCE_QUEUE: usize = 16;
/// Checks that may wait in all, of sources in favour and of the others each: strangers, however many, never fill the
/// places of those who proved themselves.
const QUEUE: usize = 512;
/// How long a success moves a source to the front.
const FAVOUR: Duration = Duration::from_hours(1);
/// Sources that can be in favour at once; the least recently used fall out.
const FAVOURED: u64 = 10_000;
/// Every so many checks one comes from the sources out of favour, so that none waits for ever.
const TURN: u32 = 4;

/// One password against one hash.
struct Check {
    password: SecretString,
    hash: String,
    answer: oneshot::Sender<bool>,
}

/// Queues of sources, in the order they are served.
#[derive(Default)]
struct Ring {
    /// Checks in all queues.
    waiting: usize,
    order: VecDeque<IpAddr>,
    queues: HashMap<IpAddr, VecDeque<Check>>,
}

impl Ring {
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

    /// The next check of the source whose turn it is; the source goes to the end of the line.
    fn pop(&mut self) -> Option<(IpAddr, Check)> {
        let source = self.order.pop_front()?;
        let queue = self.queues.get_mut(&source)?;
        let check = queue.pop_front()?;
        self.waiting -= 1;
        if queue.is_empty() {
            self.queues.remove(&source);
        } else {
            self.order.push_back(source);
        }
        Some((source, check))
    }
}

#[derive(Default)]
struct State {
    favoured: Ring,
    others: Ring,
    served: u32,
    closed: bool,
}

impl State {
    fn pop(&mut self) -> Option<(IpAddr, Check)> {
        self.served = self.served.wrapping_add(1);
        if self.served.is_multiple_of(TURN) {
            self.others.pop().or_else(|| self.favoured.pop())
        } else {
            self.favoured.pop().or_else(|| self.others.pop())
        }
    }
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    in_favour: moka::sync::Cache<IpAddr, ()>,
    checks: AtomicU64,
    counts: metrics::Passwords,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub fn start(threads: usize, cost: u32) -> Result<Self> {
        let in_favour = moka::sync::Cache::builder()
            .max_capacity(FAVOURED)
            .time_to_live(FAVOUR)
            .build();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            in_favour,
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
    /// [`Error::RateLimited`] if the source has too many checks waiting, [`Error::Unavailable`] if all have.
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

    /// How many checks were begun since the start.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.shared.checks.load(Ordering::Relaxed)
    }

    /// What is counted of the checks, as it is now.
    pub(super) fn counts(&self) -> &metrics::Passwords {
        let state = self.shared.lock();
        let waiting = state.favoured.waiting + state.others.waiting;
        self.shared.counts.waiting(waiting);
        &self.shared.counts
    }

    fn push(&self, source: IpAddr, check: Check) -> Result<()> {
        let source = network(source);
        let favoured = self.shared.in_favour.contains_key(&source);
        let mut state = self.shared.lock();
        if state.favoured.waiting_of(source) + state.others.waiting_of(source) >= SOURCE_QUEUE {
            self.shared.counts.refused_source();
            return Err(Error::RateLimited {
                retry_after: Error::RETRY_AFTER,
            });
        }
        let closed = state.closed;
        let ring = if favoured {
            &mut state.favoured
        } else {
            &mut state.others
        };
        if closed || ring.waiting >= QUEUE {
            self.shared.counts.refused_full();
            return Err(Error::busy());
        }
        ring.push(source, check);
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
            match state.pop() {
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
        }
        // The caller may have gone away meanwhile, which is its right.
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
            tracing::error!(%error, "a stored password hash cannot be checked");
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

/// Passwords that wait to be hashed, at most.
const SETTING: usize = 16;

/// Hashes passwords that are set over the API: one at a time, since anybody with an account can ask for it and only then
/// is told that he may not.
#[derive(Debug)]
pub struct Hashing(Turns);

impl Default for Hashing {
    fn default() -> Self {
        Self(Turns::new(SETTING, 1))
    }
}

impl Hashing {
    /// Waits for its turn and hashes, on a thread that nobody else waits for.
    pub async fn hash(&self, password: &SecretString, cost: u32, salt: [u8; 16]) -> Result<String> {
        let _turn = self.0.wait().await?;
        let password = password.clone();
        tokio::task::spawn_blocking(move || hash(&password, cost, salt))
            .await
            .map_err(Error::internal)?
    }
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

    #[test]
    fn sources_take_turns() {
        let mut ring = Ring::default();
        for from in [1, 1, 1, 2, 3] {
            ring.push(source(from), check(oneshot::channel().0));
        }
        let order: Vec<_> = std::iter::from_fn(|| ring.pop())
            .map(|(from, _)| from)
            .collect();
        assert_eq!(order, [1, 2, 3, 1, 1].map(source));
        assert!(ring.queues.is_empty() && ring.order.is_empty());
    }

    #[test]
    fn favoured_sources_come_first_but_not_always() {
        let mut state = State::default();
        for _ in 0..6 {
            state.favoured.push(source(1), check(oneshot::channel().0));
            state.others.push(source(2), check(oneshot::channel().0));
        }
        let order: Vec<_> = std::iter::from_fn(|| state.pop())
            .map(|(from, _)| from)
            .collect();
        assert_eq!(order, [1, 1, 1, 2, 1, 1, 1, 2, 2, 2, 2, 2].map(source));
        assert_eq!((state.favoured.waiting, state.others.waiting), (0, 0));
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
