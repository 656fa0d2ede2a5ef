//! Turns: one or a few costly jobs run at a time, while a few wait.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Error, Result};

/// The turns and the places to wait for one.
#[derive(Debug)]
pub struct Turns {
    places: Semaphore,
    turn: Semaphore,
}

/// The right to run, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Turns {
    /// Makes `places` places, of which `working` run at once.
    #[must_use]
    pub fn new(places: usize, working: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            turn: Semaphore::new(working),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if too many wait already.
    pub async fn wait(&self) -> Result<Turn<'_>> {
        let place = self.places.try_acquire().map_err(|_| Error::busy())?;
        let turn = self.turn.acquire().await.map_err(Error::internal)?;
        Ok(Turn {
            _turn: turn,
            _place: place,
        })
    }
}
