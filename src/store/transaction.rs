//! A writer's transaction as its jobs see it: a [`Session`], and data that is written once for all of them.
//!
//! All jobs add to the audit trail's chain and the counters of tokens. These additions are gathered while the jobs run
//! and written right before the commit. If a job is undone, so are its additions.

use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use diesel::{RunQueryDsl as _, sql_query};

use super::counters::Counters;
use super::session::Session;
use super::standings::{Proven, Standings};
use crate::domain::account::Actor;
use crate::domain::audit::Event;
use crate::domain::id::{AccountKey, RegistryId, RegistryKey};
use crate::domain::membership::Membership;
use crate::domain::tenant::TokenRules;
use crate::error::Result;

/// Writes events to the audit trail.
pub trait Ledger: Debug + Send + Sync {
    /// Adds events in their order: those of all kept jobs of a transaction. Returns the work to do once they are durable.
    fn write(&self, connection: &mut Session, events: Vec<Event>) -> Result<Committed>;

    /// Returns true if the database has fewer events than it has acknowledged.
    fn is_behind(&self, connection: &mut Session) -> Result<bool>;
}

/// Work to do once a transaction is durable, and before anybody is told.
pub type Committed = Box<dyn FnOnce() + Send>;

/// Locks the catalog until the transaction ends. SQLite has one writer at a time.
pub fn lock_catalog(session: &mut Session) -> Result<()> {
    if let Session::Postgres(postgres) = session {
        sql_query("SELECT name FROM meta WHERE name = 'catalog' FOR UPDATE").execute(postgres)?;
    }
    Ok(())
}

/// A transaction, as far as a job may use it.
pub struct Transaction<'a> {
    session: &'a mut Session,
    group: &'a mut Group,
}

impl Deref for Transaction<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        self.session
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn new(session: &'a mut Session, group: &'a mut Group) -> Self {
        Self { session, group }
    }

    /// Adds events, which are kept if the job's changes are. Without events the ledger looks for a loss alone.
    pub fn tell(&mut self, ledger: &Arc<dyn Ledger>, events: impl IntoIterator<Item = Event>) {
        let events = events.into_iter().collect();
        self.group.told.push((Arc::clone(ledger), events));
    }

    /// The actor that an earlier job of the group let in by the same proof, if its standing cannot have changed since.
    #[must_use]
    pub fn actor(&self, proven: Proven) -> Option<&Actor> {
        self.group.standings.actor(proven)
    }

    /// Keeps an actor for the next jobs of the group.
    pub fn keep_actor(&mut self, proven: Proven, actor: &Actor) {
        self.group.standings.keep_actor(proven, actor);
    }

    /// A living registry with an account's membership, as far as work on its tokens needs it.
    pub fn home(
        &mut self,
        id: RegistryId,
        account: AccountKey,
    ) -> Result<Option<(TokenRules, Option<Membership>)>> {
        self.group.standings.home(self.session, id, account)
    }

    pub(super) fn next_position(&mut self, registry: RegistryKey) -> Result<i64> {
        self.group.counters.next_position(self.session, registry)
    }

    /// Adds to the number of a registry's live tokens in a bucket.
    pub(super) fn count(&mut self, registry: RegistryKey, bucket: i64, change: i64) {
        self.group.counters.count(registry, bucket, change);
    }

    /// The number of a registry's live tokens.
    pub(super) fn total(&mut self, registry: RegistryKey) -> Result<i64> {
        self.group.counters.total(self.session, registry)
    }

    /// Removes the counts of a registry.
    pub(super) fn forget_counts(&mut self, registry: RegistryKey) -> Result<()> {
        self.group.counters.forget(self.session, registry)
    }
}

/// The additions of a group's jobs, and what they read for each other.
#[derive(Default)]
pub(super) struct Group {
    told: Vec<(Arc<dyn Ledger>, Vec<Event>)>,
    pub(super) counters: Counters,
    pub(super) standings: Standings,
}

/// The number of additions before a job.
pub(super) struct Mark {
    told: usize,
    counters: super::counters::Mark,
}

impl Group {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            told: self.told.len(),
            counters: self.counters.mark(),
        }
    }

    /// Drops the additions since.
    pub(super) fn undo(&mut self, mark: &Mark) {
        self.told.truncate(mark.told);
        self.counters.undo(&mark.counters);
    }

    /// Writes the additions. Returns the work to do after the commit.
    pub(super) fn write(self, session: &mut Session) -> Result<Vec<Committed>> {
        self.counters.write(session)?;
        let mut committed = Vec::new();
        let mut told = self.told.into_iter().peekable();
        // A process has one ledger, but a job with another one works too.
        while let Some((ledger, mut events)) = told.next() {
            while let Some((_, more)) = told.next_if(|(other, _)| Arc::ptr_eq(other, &ledger)) {
                events.extend(more);
            }
            committed.push(ledger.write(session, events)?);
        }
        Ok(committed)
    }
}
