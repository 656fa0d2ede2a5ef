//! Turns: costly work that anybody can ask for is done one at a time, while a few wait.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Error, Result};

/// Who may do the work now, and who waits for it.
#[derive(Debug)]
pub struct Turns {
    places: Semaphore,
    turn: Semaphore,
}

/// The right to do the work, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Turns {
    /// Lets so many be there at once, the one that works included.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            turn: Semaphore::new(1),
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
