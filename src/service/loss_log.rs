//! The losses of this process: events that the database acknowledged and does not have any more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::domain::audit::Origin;
use crate::domain::audit::{By, Change, Credential, Event, Kind};
use crate::metrics;

/// Events of a chain that the database acknowledged and does not have any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    /// The chain.
    pub chain: i64,
    /// The first lost event's place in it.
    pub first: i64,
    /// The last one's.
    pub last: i64,
    /// The time of the last event of any chain that is left.
    pub kept_at: DateTime<Utc>,
    /// When the loss was found.
    pub found_at: DateTime<Utc>,
}

impl Loss {
    /// The number of lost events.
    #[must_use]
    pub(super) fn events(&self) -> i64 {
        self.last - self.first + 1
    }

    /// The event that tells of it.
    pub(super) fn event(&self) -> Event {
        let lost = json!({
            "lostChain": self.chain,
            "lostFrom": self.first,
            "lostTo": self.last,
            "lostEvents": self.events(),
        });
        let by = By {
            credential: Some(Credential::Service),
            ..By::nobody(Origin::command())
        };
        Event::of_change(
            Change::of_service(Kind::Loss, None, Some(lost)),
            &by,
            self.found_at,
        )
    }
}

/// The losses since the start.
#[derive(Debug, Default)]
pub struct LossLog {
    state: Mutex<State>,
    counts: metrics::Losses,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Loss>,
    /// The last one, until it was answered.
    unanswered: Option<Loss>,
}

impl LossLog {
    /// Notes a loss whose event is durable.
    pub(super) fn note(&self, loss: Loss) {
        tracing::error!(
            chain = loss.chain,
            first = loss.first,
            last = loss.last,
            "the database lost events that it had acknowledged, and the changes that they tell of: tokens that were ended \
             meanwhile may work again; compare the exported audit trail, and end them again"
        );
        self.counts.add(loss.events());
        *self.lock() = State {
            last: Some(loss),
            unanswered: Some(loss),
        };
    }

    /// The last loss.
    pub(super) fn last(&self) -> Option<Loss> {
        self.lock().last
    }

    /// The last loss, if it was not answered.
    pub(super) fn unanswered(&self) -> Option<Loss> {
        self.lock().unanswered
    }

    /// Notes that a loss was answered.
    pub(super) fn answer(&self, loss: Loss) {
        let mut state = self.lock();
        state.unanswered = state.unanswered.filter(|last| *last != loss);
    }

    /// The number of lost events.
    pub(super) fn counts(&self) -> &metrics::Losses {
        &self.counts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
