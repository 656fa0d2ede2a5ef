//! Turns: costly work that anybody can ask for is done one at a time, or a few, while a few wait.

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
    /// Lets `places` be there at once, of which `working` work.
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
