//! Pools of connections: they open connections and drop spent ones.

use std::sync::Arc;

use super::condition::Condition;
use super::fence::{Fence, Standing};
use super::session::{Index, Purpose, Session, Target};

/// Opens connections for a pool and drops the spent ones.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) target: Target,
    pub(super) purpose: Purpose,
    pub(super) index: Index,
    pub(super) condition: Arc<Condition>,
    pub(super) fence: Arc<Fence>,
}

/// A pooled connection, and whether it is to be thrown away.
pub(super) struct Checkout {
    pub(super) connection: Session,
    pub(super) standing: Standing,
    pub(super) spent: bool,
}

impl diesel::r2d2::ManageConnection for Manager {
    type Connection = Checkout;
    type Error = diesel::ConnectionError;

    fn connect(&self) -> std::result::Result<Checkout, Self::Error> {
        // Before too: opening another database would reuse the log that this one has left beside it.
        let same = || {
            let looked = self.condition.look();
            looked.map_err(|cause| diesel::ConnectionError::BadConnection(cause.to_owned()))
        };
        same()?;
        let standing = self.fence.standing();
        let connection = Session::open_with(&self.target, self.purpose, self.index)?;
        same()?;
        self.fence.note_connection();
        Ok(Checkout {
            connection,
            standing,
            spent: false,
        })
    }

    /// No ping: a round trip on every check-out gains nothing, as the connection can die right after it.
    fn is_valid(&self, checkout: &mut Checkout) -> std::result::Result<(), Self::Error> {
        if self.fence.is_current(checkout.standing) {
            return Ok(());
        }
        let old = "the connection was opened before an outage";
        Err(diesel::ConnectionError::BadConnection(old.to_owned()))
    }

    fn has_broken(&self, checkout: &mut Checkout) -> bool {
        checkout.spent || std::thread::panicking()
    }
}
