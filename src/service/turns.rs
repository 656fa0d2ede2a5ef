//! Turns: one or a few costly jobs run at a time, while a few wait.
//!
//! Accounts come one after the other, however many jobs each has waiting. When all places are taken, the account with the
//! most waiting loses its last one to an account with fewer, so that none keeps others out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::domain::id::AccountKey;
use crate::error::{Error, Result};

/// The account that a job is for; none for the operator's scanner.
type Account = Option<AccountKey>;

/// The turns and the places to wait for one.
#[derive(Debug)]
pub struct Turns(Arc<Shared>);

/// The right to run, until it is dropped.
#[derive(Debug)]
pub struct Turn(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The most jobs that run or wait.
    places: usize,
    /// The most that run.
    working: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The jobs that run. While some wait, as many as may run do.
    running: usize,
    /// Those that wait, by account, in the order in which the accounts come. No queue is empty.
    queues: VecDeque<(Account, VecDeque<oneshot::Sender<Turn>>)>,
}

/// The answer to a job that comes.
#[derive(Debug)]
enum Entry {
    Turn(Turn),
    Waits(oneshot::Receiver<Turn>),
}

impl Turns {
    /// Makes `places` places, of which `working` run at once.
    #[must_use]
    pub fn new(places: usize, working: usize) -> Self {
        Self(Arc::new(Shared {
            places,
            working,
            state: Mutex::default(),
        }))
    }

    /// A turn that is free.
    #[must_use]
    pub fn free(&self) -> Option<Turn> {
        let begun = self.0.lock().begin(&self.0);
        begun.then(|| Turn(Arc::clone(&self.0)))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if too many wait already and no other account has more of them, or if an account with fewer
    /// took the place.
    pub async fn wait(&self, account: Account) -> Result<Turn> {
        match self.enter(account)? {
            Entry::Turn(turn) => Ok(turn),
            Entry::Waits(turn) => turn.await.map_err(|_| Error::busy()),
        }
    }

    fn enter(&self, account: Account) -> Result<Entry> {
        let mut state = self.0.lock();
        if state.begin(&self.0) {
            return Ok(Entry::Turn(Turn(Arc::clone(&self.0))));
        }
        if state.is_full(&self.0) {
            state.forget();
        }
        if state.is_full(&self.0) {
            state.displace(account).ok_or_else(Error::busy)?;
        }
        let (turn, waits) = oneshot::channel();
        state.push(account, turn);
        Ok(Entry::Waits(waits))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let next = state.pop();
        if next.is_none() {
            state.running -= 1;
        }
        drop(state);
        if let Some(next) = next {
            // If that one has gone away, its turn comes back, is dropped here, and goes to the one after it.
            drop(next.send(Self(Arc::clone(&self.0))));
        }
    }
}

impl State {
    /// Takes a turn, if one is free.
    fn begin(&mut self, shared: &Shared) -> bool {
        let free = self.running < shared.working;
        self.running += usize::from(free);
        free
    }

    fn is_full(&self, shared: &Shared) -> bool {
        let waiting: usize = self.queues.iter().map(|(_, queue)| queue.len()).sum();
        self.running + waiting >= shared.places
    }

    fn push(&mut self, account: Account, turn: oneshot::Sender<Turn>) {
        let mut queues = self.queues.iter_mut();
        match queues.find(|(whose, _)| *whose == account) {
            Some((_, queue)) => queue.push_back(turn),
            None => self.queues.push_back((account, VecDeque::from([turn]))),
        }
    }

    /// The next job. Its account comes again after all others.
    fn pop(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (account, mut queue) = self.queues.pop_front()?;
        let next = queue.pop_front();
        if !queue.is_empty() {
            self.queues.push_back((account, queue));
        }
        next
    }

    /// Forgets those that have gone away.
    fn forget(&mut self) {
        for (_, queue) in &mut self.queues {
            queue.retain(|turn| !turn.is_closed());
        }
        self.queues.retain(|(_, queue)| !queue.is_empty());
    }

    /// Makes room for a job of an account: the last of the account with the most waiting goes. `None` if the newcomer
    /// would then have as many.
    fn displace(&mut self, newcomer: Account) -> Option<()> {
        let mut queues = self.queues.iter();
        let own = queues.find(|(whose, _)| *whose == newcomer);
        let own = own.map_or(0, |(_, queue)| queue.len());
        let queues = self.queues.iter_mut();
        let (_, longest) = queues.max_by_key(|(_, queue)| queue.len())?;
        if longest.len() <= own + 1 {
            return None;
        }
        longest.pop_back().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Account = Some(AccountKey(1));
    const BOB: Account = Some(AccountKey(2));
    const CLEO: Account = Some(AccountKey(3));

    fn run(turns: &Turns, account: Account) -> Turn {
        match turns.enter(account).unwrap() {
            Entry::Turn(turn) => turn,
            Entry::Waits(_) => panic!("{account:?} has to wait"),
        }
    }

    fn wait(turns: &Turns, account: Account) -> oneshot::Receiver<Turn> {
        match turns.enter(account).unwrap() {
            Entry::Waits(waits) => waits,
            Entry::Turn(_) => panic!("{account:?} does not have to wait"),
        }
    }

    fn is_displaced(waits: &mut oneshot::Receiver<Turn>) -> bool {
        matches!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed))
    }

    #[test]
    fn one_account_may_take_all_places_and_no_more() {
        let turns = Turns::new(3, 2);
        let (_one, _other) = (run(&turns, ANN), run(&turns, ANN));
        let _third = wait(&turns, ANN);
        let refused = turns.enter(ANN).unwrap_err();
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    }

    #[test]
    fn accounts_come_one_after_the_other() {
        let turns = Turns::new(8, 1);
        let mut running = run(&turns, ANN);
        let order = [ANN, ANN, ANN, BOB, BOB, CLEO];
        let mut waiting: Vec<_> = order
            .into_iter()
            .map(|account| (account, wait(&turns, account)))
            .collect();
        let mut came = Vec::new();
        while !waiting.is_empty() {
            drop(running);
            let mut places = waiting.iter_mut().enumerate();
            let next = places.find_map(|(place, (_, waits))| Some((place, waits.try_recv().ok()?)));
            let (place, turn) = next.unwrap();
            running = turn;
            came.push(waiting.remove(place).0);
        }
        assert_eq!(came, [ANN, BOB, CLEO, ANN, BOB, ANN]);
    }

    #[test]
    fn an_account_that_fills_the_places_loses_them_to_others() {
        let turns = Turns::new(5, 1);
        let running = run(&turns, ANN);
        let mut anns: Vec<_> = (0..4).map(|_| wait(&turns, ANN)).collect();
        let mut bobs: Vec<_> = (0..2).map(|_| wait(&turns, BOB)).collect();
        let displaced: Vec<_> = anns.iter_mut().map(is_displaced).collect();
        assert_eq!(displaced, [false, false, true, true]);
        // With as many as the other, neither makes the other go.
        assert!(turns.enter(BOB).is_err() && turns.enter(ANN).is_err());
        // A third finds a place all the same.
        let mut cleo = wait(&turns, CLEO);
        let left = [&mut anns[0], &mut bobs[0], &mut cleo].map(is_displaced);
        assert_eq!(left, [false; 3]);
        assert!(is_displaced(&mut anns[1]) ^ is_displaced(&mut bobs[1]));
        drop(running);
        assert!(anns[0].try_recv().is_ok());
    }

    #[test]
    fn those_that_went_away_take_neither_turn_nor_place() {
        let turns = Turns::new(3, 1);
        let running = run(&turns, ANN);
        drop(wait(&turns, BOB));
        drop(wait(&turns, CLEO));
        let mut waits = wait(&turns, ANN);
        let gone = wait(&turns, BOB);
        drop((gone, running));
        let turn = waits.try_recv().unwrap();
        // Given to one that goes away without having looked, it goes on too.
        let (first, mut second) = (wait(&turns, BOB), wait(&turns, CLEO));
        drop(turn);
        drop(first);
        drop(second.try_recv().unwrap());
        drop(run(&turns, ANN));
    }
}
