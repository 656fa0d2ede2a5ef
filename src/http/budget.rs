//! A limit on the memory of all running requests together.
//!
//! A request takes a share before it allocates, and gives it back afterwards. No request waits for a share, since a
//! waiting request would hold memory, too.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// A number of bytes for all requests together. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget {
    size: usize,
    left: Arc<Semaphore>,
    /// The budget that this one is a part of. Shares are taken from both.
    whole: Option<Arc<Semaphore>>,
}

/// Bytes taken from a budget. Dropping the share gives them back.
#[derive(Debug, Default)]
pub(super) struct Share {
    own: Option<OwnedSemaphorePermit>,
    whole: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of `size` bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let size = size.min(Semaphore::MAX_PERMITS);
        Self {
            size,
            left: Arc::new(Semaphore::new(size)),
            whole: None,
        }
    }

    /// One of `parts` equal parts of this budget. It can be used up while the rest is free.
    #[must_use]
    pub fn part(&self, parts: usize) -> Self {
        Self {
            whole: Some(Arc::clone(&self.left)),
            ..Self::new(self.size / parts.max(1))
        }
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Adds `bytes` to a share of this budget.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if fewer are left. The share stays as it was.
    pub(super) fn add(&self, share: &mut Share, bytes: usize) -> Result<()> {
        let bytes = u32::try_from(bytes).map_err(|_| Error::busy())?;
        let take = |left: &Arc<Semaphore>| {
            Arc::clone(left)
                .try_acquire_many_owned(bytes)
                .map_err(|_| Error::busy())
        };
        let own = take(&self.left)?;
        let whole = self.whole.as_ref().map(take).transpose()?;
        join(&mut share.own, own);
        if let Some(whole) = whole {
            join(&mut share.whole, whole);
        }
        Ok(())
    }
}

fn join(share: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match share {
        Some(share) => share.merge(more),
        None => *share = Some(more),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_when_it_is_dropped() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (Share::default(), Share::default());
        budget.add(&mut one, 60).unwrap();
        budget.add(&mut other, 30).unwrap();
        assert!(budget.add(&mut other, 11).is_err());
        budget.add(&mut other, 10).unwrap();
        drop(one);
        budget.add(&mut other, 60).unwrap();
        assert!(budget.add(&mut Share::default(), 1).is_err());
    }

    #[test]
    fn a_part_is_used_up_before_the_whole() {
        let whole = Budget::new(100);
        let part = whole.part(4);
        let (mut one, mut other) = (Share::default(), Share::default());
        part.add(&mut one, 25).unwrap();
        assert!(part.add(&mut one, 1).is_err());
        whole.add(&mut other, 75).unwrap();
        assert!(whole.add(&mut other, 1).is_err());
        drop(one);
        // The part is free and the whole is not.
        whole.add(&mut other, 20).unwrap();
        assert!(part.add(&mut Share::default(), 6).is_err());
        part.add(&mut Share::default(), 5).unwrap();
    }
}
