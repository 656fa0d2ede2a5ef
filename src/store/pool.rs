//! Pools of connections: they open connections and drop spent ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::condition::Condition;
use super::session::{Index, Purpose, Session, Target};

/// Opens connections for a pool and drops the spent ones.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) target: Target,
    pub(super) purpose: Purpose,
    pub(super) index: Index,
    pub(super) condition: Arc<Condition>,
    /// The number of connections that were opened.
    pub(super) connections: Arc<AtomicU64>,
    /// The number of outages that were noticed.
    pub(super) outages: Arc<AtomicU64>,
}

/// The instant at which a connection's server was the primary for sure, see [`super::fence`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Proof(pub(super) Option<Instant>);

/// A pooled connection, the last proof that its server is the primary, and whether it is to be thrown away.
pub(super) struct Checkout {
    pub(super) connection: Session,
    pub(super) proof: Proof,
    /// The number of outages before it was opened. After a further one it may lead to a silent server.
    pub(super) outages: u64,
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
        let outages = self.outages.load(Ordering::Relaxed);
        let connection = Session::open_with(&self.target, self.purpose, self.index)?;
        same()?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Checkout {
            connection,
            proof: Proof::default(),
            outages,
            spent: false,
        })
    }

    /// No ping: a round trip on every check-out gains nothing, as the connection can die right after it.
    fn is_valid(&self, checkout: &mut Checkout) -> std::result::Result<(), Self::Error> {
        if checkout.outages == self.outages.load(Ordering::Relaxed) {
            return Ok(());
        }
        let old = "the connection was opened before an outage";
        Err(diesel::ConnectionError::BadConnection(old.to_owned()))
    }

    fn has_broken(&self, checkout: &mut Checkout) -> bool {
        checkout.spent || std::thread::panicking()
    }
}
