//! The hub of all use cases: the store, the clock, the keys, and how a read or a write on behalf of a caller goes.
//!
//! It names no use case; those build on it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use uuid::Uuid;

use super::access::{Access, Caller, Presented, admit, admit_among, affirm, refused_to};
use super::api_key_cache::ApiKeyCache;
use super::audit_buffer::AuditBuffer;
use super::chain::Trail;
use super::changes::Changes;
use super::data_keys::DataKeys;
use super::issuer_keys::IssuerKeys;
use super::known_permissions::KnownPermissions;
use super::loss_log::LossLog;
use super::passwords;
use super::policy::Policy;
use super::refused_workloads::RefusedWorkloads;
use super::restored;
use super::signing_key_cache::SigningKeyCache;
use super::throttle::{Throttle, Tried};
use super::turns::{Turn, Turns};
use super::usage::{UsageRecorder, Used};
use crate::clock::{Clock, Random};
use crate::domain::account::{Actor, NewPassword};
use crate::domain::audit::{By, Change, Credential, Event, Origin, Outcome, Refusal};
use crate::domain::id::AccountKey;
use crate::domain::page::DEFAULT_LIMIT;
use crate::domain::secret::is_machine_secret;
use crate::error::{Error, Result};
use crate::metrics::{Caches, Counts};
use crate::store::joined::FoundAccount;
use crate::store::{Ledger, Lock, Session, Store, Transaction};

/// The kind of a change, for an account that has made too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// It may be refused.
    Change,
    /// It ends something, and is never refused for the number of changes.
    End,
}

impl Urgency {
    pub(super) fn of_an_end(ends: bool) -> Self {
        if ends { Self::End } else { Self::Change }
    }
}

/// The longest page that is not long.
const SHORT: i64 = DEFAULT_LIMIT;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// A page of no more than [`SHORT`].
    Short,
    /// A longer page, or a list without pages.
    Long,
}

impl Length {
    pub(super) fn of_page(limit: i64) -> Self {
        if limit <= SHORT {
            Self::Short
        } else {
            Self::Long
        }
    }
}

/// The parts that every use case needs.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) policy: Arc<Policy>,
    pub(super) data_keys: Arc<DataKeys>,
    pub(super) signing_key_cache: SigningKeyCache,
    pub(super) api_key_cache: ApiKeyCache,
    pub(super) issuer_keys: IssuerKeys,
    pub(super) access: Access,
    pub(super) permissions: Arc<KnownPermissions>,
    pub(super) throttle: Arc<Throttle>,
    /// Passwords set over the API, which every account can ask for before it is refused.
    pub(super) hashing: Turns,
    pub(super) usage: UsageRecorder,
    pub(super) refused_workloads: RefusedWorkloads,
    pub(super) trail: Trail,
    pub(super) losses: Arc<LossLog>,
    /// The number of the store's connections at the last look for a loss.
    pub(super) connections_looked_at: AtomicU64,
    pub(super) changes: Arc<Changes>,
    pub(super) audit_buffer: AuditBuffer,
    /// A bulk run began in this process.
    pub(super) bulk_begun: Notify,
    /// Reports that walk the tokens without lookups.
    pub(super) walks: Turns,
    /// Lookups of secrets by accounts that do so: they do not keep a scanner waiting.
    pub(super) lookup_walks: Turns,
    /// Lists that an index finds, whose totals are counted.
    pub(super) counting: Turns,
    /// Lists for which all tokens are looked at.
    pub(super) walking: Turns,
    /// Dry runs and starts of bulk runs: lists do not keep them waiting.
    pub(super) surveying: Turns,
    /// Pages that are long, and lists without pages.
    pub(super) long_lists: Turns,
    pub(super) caches: Caches,
    pub(super) counts: Counts,
}

/// Returns true if two secrets are equal. Compares hashes of one length, so that the time tells nothing.
pub(super) fn is_same(one: &SecretString, other: &SecretString) -> bool {
    let hash = |secret: &SecretString| digest(&SHA256, secret.expose_secret().as_bytes());
    verify_slices_are_equal(hash(one).as_ref(), hash(other).as_ref()).is_ok()
}

/// The actor of a request that proved an account, and the thing that it asks for. `None` if the proof is to be done again.
fn enter<S>(
    connection: &mut Session,
    caller: &Caller,
    (account, now): (AccountKey, DateTime<Utc>),
    known: &KnownPermissions,
    find: &mut impl FnMut(&mut Session, AccountKey) -> Result<Option<(FoundAccount, S)>>,
) -> Result<Option<(Actor, S)>> {
    let (found, seen) = find(connection, account)?.unzip();
    let modified_at = found.as_ref().map(|found| found.modified_at);
    let actor = affirm(caller, found.map(|found| found.account))?;
    let (Some(mut actor), Some(modified_at), Some(seen)) = (actor, modified_at, seen) else {
        return Ok(None);
    };
    if let Some(permissions) = known.of(&actor, modified_at) {
        actor.permissions = permissions;
        return Ok(Some((actor, seen)));
    }
    let Some(actor) = admit(connection, caller, now)? else {
        return Ok(None);
    };
    known.learn(&actor, modified_at);
    Ok(Some((actor, seen)))
}

impl Core {
    /// The bcrypt hash of a password to be set. Made before the store call, so that no job waits for it.
    pub(super) async fn hash(&self, caller: &Caller, password: &NewPassword) -> Result<String> {
        let (cost, salt) = (self.policy.bcrypt_cost, self.random.bytes()?);
        let _turn = self.turn(&self.hashing, caller).await?;
        passwords::hash_apart(password.secret(), cost, salt).await
    }

    /// A turn for a caller. Only one that has to wait is asked for its account.
    pub(super) async fn turn(&self, turns: &Turns, caller: &Caller) -> Result<Turn> {
        if let Some(turn) = turns.free() {
            return Ok(turn);
        }
        let account = self.account(caller).await?;
        turns.wait(Some(account)).await
    }

    /// The account of a caller. Only for an API token this asks the database.
    pub(super) async fn account(&self, caller: &Caller) -> Result<AccountKey> {
        if let Some((account, _)) = caller.proven_version() {
            return Ok(account);
        }
        // Boxed, so that the futures of all other callers stay small.
        Box::pin(async {
            let found = self.look(caller, Length::Short, |_, actor| Ok(actor?.key));
            let found = found.await;
            self.concluded(caller, found, &Refusal::default()).await
        })
        .await
    }

    /// Proves a password, and reports a failure to the audit trail.
    pub(super) async fn identify(&self, presented: Presented, origin: Origin) -> Result<Caller> {
        let secret = is_machine_secret(presented.password.expose_secret());
        let by = By::named(&presented.name, origin.clone());
        let proven = self.access.identify(presented).await;
        let refuse = |error| {
            if secret {
                return self.refused(error, by);
            }
            self.tell_of_password(&error, &Refusal::default(), by);
            error
        };
        Ok(proven.map_err(refuse)?.from(origin))
    }

    /// Reports a wrong password to the audit trail. The check has counted it already.
    pub(super) fn tell_of_password(&self, error: &Error, refusal: &Refusal, by: By) {
        let credential = Some(Credential::Password);
        self.tell(error, refusal, By { credential, ..by });
    }

    /// The error for a refused client: it has to wait if too many attempts failed. Also reports the refusal to the
    /// audit trail.
    pub(super) fn refused(&self, error: Error, by: By) -> Error {
        self.refused_as(error, &Refusal::default(), by)
    }

    /// [`Self::refused`] with facts about the refusal.
    pub(super) fn refused_as(&self, error: Error, refusal: &Refusal, by: By) -> Error {
        let error = self.counted(error, &by);
        self.tell(&error, refusal, by);
        error
    }

    /// Reports an error to the audit trail, if it is a refusal.
    pub(super) fn tell(&self, error: &Error, refusal: &Refusal, by: By) {
        if let Some(outcome) = Outcome::of(error) {
            let event = Event::of_refusal(outcome, refusal, by, self.clock.now());
            self.audit_buffer.count(event, self.clock.instant());
        }
    }

    /// Counts a failure to authenticate.
    pub(super) fn counted(&self, error: Error, by: &By) -> Error {
        let (Error::Unauthenticated, Some(address)) = (&error, by.origin.address) else {
            return error;
        };
        let tried = match by.credential {
            Some(Credential::Password) => Tried::Password,
            _ => Tried::Secret,
        };
        let identity = match by.credential {
            Some(Credential::ApiToken(id)) => id.to_string(),
            _ => by.actor_name.clone().unwrap_or_default(),
        };
        let wait = self
            .throttle
            .fail(tried, address, &identity, self.clock.instant());
        wait.map_or(error, |retry_after| Error::RateLimited { retry_after })
    }

    /// Reads on behalf of a caller: one store call that first reads the present state of the caller.
    pub(super) async fn read<T, F>(&self, caller: &Caller, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session, &Actor) -> Result<T> + Clone + Send + 'static,
    {
        self.read_list(caller, Length::Short, job).await
    }

    /// [`Self::read`] for a list of this length.
    pub(super) async fn read_list<T, F>(&self, caller: &Caller, length: Length, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session, &Actor) -> Result<T> + Clone + Send + 'static,
    {
        let _turn = self.turn_of(length, caller).await?;
        let mut job = job;
        let done = self
            .look(caller, length, move |connection, actor| {
                job(connection, actor?)
            })
            .await;
        self.concluded(caller, done, &Refusal::default()).await
    }

    /// [`Self::read`] of something that one statement finds together with the caller's account. It is the only statement
    /// for a caller with a password or a session whose permissions are remembered.
    pub(super) async fn read_joined<T, S, F, D>(
        &self,
        caller: &Caller,
        length: Length,
        find: F,
        job: D,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session, AccountKey) -> Result<Option<(FoundAccount, S)>>
            + Clone
            + Send
            + 'static,
        D: FnMut(&mut Session, &Actor, S) -> Result<T> + Clone + Send + 'static,
    {
        let _turn = self.turn_of(length, caller).await?;
        let (now, thawed) = (self.clock.now(), self.thawed().await?);
        self.admitted(caller, async |proven| {
            let (mut find, mut job) = (find.clone(), job.clone());
            let known = Arc::clone(&self.permissions);
            let job = move |connection: &mut Session| {
                let found = match proven.present_account() {
                    Some(account) => enter(connection, &proven, (account, now), &known, &mut find)?,
                    None => match admit(connection, &proven, now)? {
                        Some(actor) => find(connection, actor.key)?.map(|(_, seen)| (actor, seen)),
                        None => None,
                    },
                };
                let Some((actor, seen)) = found else {
                    return Ok(None);
                };
                if !thawed {
                    restored::require_operator(&actor, proven.credential())?;
                }
                let done = job(connection, &actor, seen).map(Some);
                done.map_err(|error| refused_to(&actor, error))
            };
            self.read_as(length, job).await
        })
        .await
    }

    /// The turn of a read. Long ones are read one at a time, as each holds its rows in memory.
    async fn turn_of(&self, length: Length, caller: &Caller) -> Result<Option<Turn>> {
        match length {
            Length::Short => Ok(None),
            Length::Long => self.turn(&self.long_lists, caller).await.map(Some),
        }
    }

    async fn read_as<T: Send + 'static>(
        &self,
        length: Length,
        job: impl FnMut(&mut Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match length {
            Length::Short => self.store.read(job).await,
            Length::Long => self.store.read_long(job).await,
        }
    }

    /// [`Self::read_list`] for a job that handles a refusal itself: the job gets the refusal too.
    pub(super) async fn look<T, F>(&self, caller: &Caller, length: Length, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session, Result<&Actor>) -> Result<T> + Clone + Send + 'static,
    {
        let (now, thawed) = (self.clock.now(), self.thawed().await?);
        self.attempt(caller, async |proven| {
            let mut job = job.clone();
            let job = move |connection: &mut Session| match admit(connection, &proven, now) {
                Ok(Some(actor)) => {
                    if !thawed {
                        restored::require_operator(&actor, proven.credential())?;
                    }
                    let done = job(connection, Ok(&actor)).map(Some);
                    done.map_err(|error| refused_to(&actor, error))
                }
                Ok(None) => Ok(None),
                Err(error) => job(connection, Err(error)).map(Some),
            };
            self.read_as(length, job).await
        })
        .await
    }

    /// Adds to a conflict of names the id of the holder of the name. `find` looks for the id, and returns it if the
    /// caller may know it. PostgreSQL ends a transaction at a conflict, so the search takes another transaction.
    pub(super) async fn naming_holder<T, F>(
        &self,
        caller: &Caller,
        outcome: Result<T>,
        find: F,
    ) -> Result<T>
    where
        F: FnMut(&mut Session, &Actor) -> Result<Option<Uuid>> + Clone + Send + 'static,
    {
        let Err(Error::NameTaken { what, name, .. }) = outcome else {
            return outcome;
        };
        let mut find = find;
        // The refusal is not handled: the caller did not ask for this read.
        let found = self
            .look(caller, Length::Short, move |connection, actor| {
                find(connection, actor?)
            })
            .await;
        let holder = found.ok().flatten();
        Err(Error::NameTaken { what, name, holder })
    }

    /// The ledger that adds events to this process's chain of the audit trail.
    pub(super) async fn ledger(&self) -> Result<Arc<dyn Ledger>> {
        self.trail.open(&self.store, &self.data_keys).await
    }

    /// Returns true if this process is not frozen. A frozen process first looks whether the freeze has ended.
    pub(super) async fn thawed(&self) -> Result<bool> {
        if !self.store.is_frozen() {
            return Ok(true);
        }
        // Boxed, so that the futures of all other requests stay small.
        let restored = Box::pin(restored::heed(&self.store)).await?;
        Ok(restored.is_none())
    }

    pub(super) async fn require_thaw(&self) -> Result<()> {
        if self.thawed().await? {
            return Ok(());
        }
        Err(Error::Frozen)
    }

    /// Writes on behalf of a caller: one store call that first reads, in its own transaction, the present state of the
    /// caller, and at last adds the job's changes to the audit trail.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyChanges`] if the account made too many before.
    pub(super) async fn write<T, F>(&self, caller: &Caller, lock: Lock, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>, &Actor) -> Result<Done<T>> + Clone + Send + 'static,
    {
        let (changes, now) = (Arc::clone(&self.changes), self.clock.instant());
        let mut job = job;
        self.end(caller, lock, move |transaction, actor| {
            changes.require_room(actor.key, now)?;
            job(transaction, actor)
        })
        .await
    }

    /// [`Self::write`] for a change that may be one that ends something.
    pub(super) async fn change<T, F>(
        &self,
        caller: &Caller,
        urgency: Urgency,
        lock: Lock,
        job: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>, &Actor) -> Result<Done<T>> + Clone + Send + 'static,
    {
        match urgency {
            Urgency::Change => self.write(caller, lock, job).await,
            Urgency::End => self.end(caller, lock, job).await,
        }
    }

    /// [`Self::write`] for a job that ends something: it counts as a change and is never refused for their number.
    pub(super) async fn end<T, F>(&self, caller: &Caller, lock: Lock, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>, &Actor) -> Result<Done<T>> + Clone + Send + 'static,
    {
        let (ledger, now) = (self.ledger().await?, self.clock.now());
        let written = self.admitted(caller, async |proven| {
            let (mut job, ledger) = (job.clone(), Arc::clone(&ledger));
            self.store
                .write(lock, move |transaction| {
                    let Some(actor) = admit_among(transaction, &proven, now)? else {
                        return Ok(None);
                    };
                    let done = job(transaction, &actor);
                    let done = done.map_err(|error| refused_to(&actor, error))?;
                    let changes = done.changes.len();
                    let by = || By::actor(&actor, proven.credential(), proven.origin().clone());
                    let value = done.tell(transaction, &ledger, by, now);
                    Ok(Some((value, actor.key, changes)))
                })
                .await
        });
        let (value, account, changes) = written.await?;
        // After the commit: a job can run several times.
        self.changes.count(account, changes, self.clock.instant());
        Ok(value)
    }

    /// Writes on behalf of the operator of the machine, and adds to the audit trail.
    pub(super) async fn command<T, F>(&self, lock: Lock, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<Done<T>> + Send + 'static,
    {
        self.write_by(By::command(), lock, job).await
    }

    /// Writes on behalf of an actor that is no account, and adds to the audit trail.
    pub(super) async fn write_by<T, F>(&self, by: By, lock: Lock, mut job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<Done<T>> + Send + 'static,
    {
        let (ledger, now) = (self.ledger().await?, self.clock.now());
        self.store
            .write(lock, move |transaction| {
                let done = job(transaction)?;
                Ok(done.tell(transaction, &ledger, || by.clone(), now))
            })
            .await
    }

    /// Runs a store job. If it returns nothing, the account changed: the proof is renewed and the job tried once more.
    pub(super) async fn admitted<T>(
        &self,
        caller: &Caller,
        job: impl AsyncFn(Caller) -> Result<Option<T>>,
    ) -> Result<T> {
        let done = self.attempt(caller, job).await;
        self.concluded(caller, done, &Refusal::default()).await
    }

    /// Handles a refusal: a password that opened nothing is forgotten, and the refusal is counted and reported.
    pub(super) async fn concluded<T>(
        &self,
        caller: &Caller,
        done: Result<T>,
        seen: &Refusal,
    ) -> Result<T> {
        if matches!(done, Err(Error::Unauthenticated)) {
            self.access.forget(caller).await;
        }
        done.map_err(|error| self.refused_as(error, seen, caller.by()))
    }

    pub(super) async fn attempt<T>(
        &self,
        caller: &Caller,
        job: impl AsyncFn(Caller) -> Result<Option<T>>,
    ) -> Result<T> {
        let (mut caller, now) = (caller.clone(), self.clock.now());
        for last in [false, true] {
            match job(caller.clone()).await? {
                Some(done) => {
                    if let Credential::ApiToken(token) = caller.credential() {
                        self.usage.note(Used::ApiToken(token), now, None, None);
                    }
                    return Ok(done);
                }
                None if last => break,
                None => caller = self.access.identify_again(&caller).await?,
            }
        }
        // The account changes faster than it can be proven.
        Err(Error::busy())
    }
}

/// The result of a write, with its changes for the audit trail.
#[derive(Debug)]
pub(super) struct Done<T> {
    pub(super) value: T,
    pub(super) changes: Vec<Change>,
}

impl<T> Done<T> {
    /// A result with one change.
    pub(super) fn told(value: T, change: Change) -> Self {
        Self::of(value, Some(change))
    }

    /// A result without a change.
    pub(super) fn nothing(value: T) -> Self {
        Self::of(value, None)
    }

    /// A result with these changes, which may be none.
    pub(super) fn of(value: T, changes: impl IntoIterator<Item = Change>) -> Self {
        Self {
            value,
            changes: changes.into_iter().collect(),
        }
    }

    pub(super) fn map<U>(self, made: impl FnOnce(T) -> U) -> Done<U> {
        Done {
            value: made(self.value),
            changes: self.changes,
        }
    }

    /// Adds the changes to the audit trail. Returns the result.
    pub(super) fn tell(
        self,
        transaction: &mut Transaction<'_>,
        ledger: &Arc<dyn Ledger>,
        by: impl FnOnce() -> By,
        now: DateTime<Utc>,
    ) -> T {
        if !self.changes.is_empty() {
            let (by, changes) = (by(), self.changes.into_iter());
            transaction.tell(
                ledger,
                changes.map(|change| Event::of_change(change, &by, now)),
            );
        }
        self.value
    }
}

/// The outcome of a create-or-replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put<C, R> {
    /// There was none: the new one.
    Created(C),
    /// The present state of the old one.
    Replaced(R),
}
