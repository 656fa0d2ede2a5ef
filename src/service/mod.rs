//! Use cases: what callers can ask for, each in one store call.
//!
//! Owns who may do what, what is made before a store job (ids, secrets, the time) and what a job does. Refuses to
//! know about HTTP and SQL: surfaces translate to and from these methods, the store runs them.

pub mod access;
pub mod accounts;
pub mod api_keys;
pub mod api_tokens;
pub mod app_tokens;
pub mod audit;
pub mod backup;
pub mod certificates;
pub mod chain;
mod changes;
pub mod directory;
pub mod freeze;
pub mod grants;
mod holders;
pub mod idempotency;
pub mod incidents;
pub mod janitor;
pub mod jwt;
pub mod keys;
pub mod leaks;
pub mod members;
pub mod metrics;
pub mod passwords;
mod policy;
mod references;
mod refresh_tokens;
pub mod registries;
pub mod server_keys;
pub mod sessions;
pub mod throttle;
pub mod token_lists;
pub mod tokens;
pub mod turns;
pub mod uses;
pub mod vault;

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use self::access::{Access, Caller, Presented, admit};
use self::accounts::Accounts;
use self::api_keys::{ApiKeys, ReadyApiKeys};
use self::api_tokens::ApiTokens;
use self::app_tokens::AppTokens;
use self::audit::Audit;
use self::chain::Trail;
use self::changes::Changes;
use self::directory::Directory;
use self::freeze::Freeze;
use self::grants::Grants;
use self::incidents::Incidents;
use self::janitor::Janitor;
use self::keys::{Keys, ReadyKeys};
use self::leaks::{Leaks, WALKS};
use self::members::Members;
use self::metrics::Metrics;
use self::passwords::{Hashing, Passwords};
pub use self::policy::Policy;
use self::registries::Registries;
use self::server_keys::ServerKeys;
use self::sessions::Sessions;
use self::throttle::{Throttle, Tried};
use self::token_lists::{COUNTING, LONG_LISTS, Length, READING};
use self::tokens::Tokens;
use self::turns::Turns;
use self::uses::{Used, Uses};
use self::vault::{ServerKey, Vault};
use crate::clock::{Clock, Random};
use crate::domain::account::{Actor, NewPassword};
use crate::domain::audit::{By, Change, Credential, Event, Origin, Outcome, Refusal};
use crate::domain::clock_check::ClockCheck;
use crate::domain::secret::is_machine_secret;
use crate::error::{Error, Result};
use crate::metrics::{Caches, Counts};
pub use crate::store::{Health, Integrity, Place};
use crate::store::{
    Ledger, Lock, Session, Store, Transaction, janitor_clock, migrations, signing_keys,
};

/// The urgency of a change when its account has made too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// It may.
    Change,
    /// It ends something, and is never refused for the number of changes.
    End,
}

impl Urgency {
    fn of_an_end(ends: bool) -> Self {
        if ends { Self::End } else { Self::Change }
    }
}

/// What every use case needs.
#[derive(Debug)]
pub struct Core {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) policy: Arc<Policy>,
    vault: Arc<Vault>,
    ready_keys: ReadyKeys,
    ready_api_keys: ReadyApiKeys,
    access: Access,
    throttle: Arc<Throttle>,
    hashing: Hashing,
    uses: Uses,
    trail: Trail,
    changes: Arc<Changes>,
    incidents: Incidents,
    /// Reports that look through all tokens.
    walks: Turns,
    /// Filtered lists: their totals are counted.
    counting: Turns,
    /// Pages that are long, and lists without pages.
    long_lists: Turns,
    caches: Caches,
    counts: Counts,
}

/// All use cases. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service {
    core: Arc<Core>,
}

impl Service {
    /// Opens the keys of an open store and starts what checks passwords.
    pub async fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        server_key: &ServerKey,
        policy: Policy,
    ) -> Result<Self> {
        let vault = Vault::open(&store, server_key, &*clock, &*random).await?;
        let passwords = Passwords::start(
            policy.password_threads,
            policy.bcrypt_cost,
            Arc::clone(&clock),
        )?;
        let throttle = Arc::new(Throttle::new(policy.failures, clock.instant()));
        let caches = Caches::default();
        let access = Access::new(
            store.clone(),
            Arc::clone(&clock),
            &*random,
            passwords,
            Arc::clone(&throttle),
            caches.cache("passwords"),
        )?;
        let trail = Trail::new(&*random)?;
        let changes = Arc::new(Changes::new(policy.changes_per_hour, clock.instant()));
        let incidents = Incidents::new(clock.instant());
        Ok(Self {
            core: Arc::new(Core {
                store,
                clock,
                random,
                policy: Arc::new(policy),
                vault: Arc::new(vault),
                ready_keys: ReadyKeys::new(&caches),
                ready_api_keys: ReadyApiKeys::default(),
                access,
                throttle,
                hashing: Hashing::default(),
                uses: Uses::default(),
                trail,
                changes,
                incidents,
                walks: Turns::new(WALKS, 1),
                counting: Turns::new(COUNTING, 1),
                long_lists: Turns::new(LONG_LISTS, READING),
                caches,
                counts: Counts::default(),
            }),
        })
    }

    /// Proves a request's password, see [`Access::identify`].
    pub async fn identify(&self, presented: Presented, origin: Origin) -> Result<Caller> {
        self.core.identify(presented, origin).await
    }

    /// Proves that a request's API token is one of ours, by its signature. Whether it is in force is read with the
    /// request's own work.
    pub async fn identify_bearer(&self, token: &SecretString, origin: Origin) -> Result<Caller> {
        self.core.require_thaw().await?;
        let id = ApiKeys::new(&self.core).verify(token).await?;
        let proven = id.map(Caller::by_token).ok_or(Error::Unauthenticated);
        let refuse = |error| self.core.refused(error, By::nobody(origin.clone()));
        Ok(proven.map_err(refuse)?.from(origin))
    }

    /// Is the caller's account still let in? For answers that need nothing else of the database.
    pub async fn admit(&self, caller: &Caller) -> Result<()> {
        self.core.read(caller, |_, _| Ok(())).await
    }

    /// Registries, their names and locations.
    #[must_use]
    pub fn registries(&self) -> Registries<'_> {
        Registries::new(&self.core)
    }

    /// Registry tokens.
    #[must_use]
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens::new(&self.core)
    }

    /// Tokens of this service's own APIs.
    #[must_use]
    pub fn api_tokens(&self) -> ApiTokens<'_> {
        ApiTokens::new(&self.core)
    }

    /// Tokens that open registries on behalf of an account.
    #[must_use]
    pub fn app_tokens(&self) -> AppTokens<'_> {
        AppTokens::new(&self.core)
    }

    /// What was done and refused.
    #[must_use]
    pub fn audit(&self) -> Audit<'_> {
        Audit::new(&self.core)
    }

    /// Secrets that were found where they do not belong.
    #[must_use]
    pub fn leaks(&self) -> Leaks<'_> {
        Leaks::new(&self.core)
    }

    /// Is there a monitor with a token?
    #[must_use]
    pub fn has_monitor(&self) -> bool {
        self.core.policy.monitor.is_some()
    }

    /// What a monitor is told.
    #[must_use]
    pub fn metrics(&self) -> Metrics<'_> {
        Metrics::new(&self.core)
    }

    /// Sessions of clients that sign in.
    #[must_use]
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions::new(&self.core)
    }

    /// What tokens and accounts may do with registries, and the proof of it.
    #[must_use]
    pub fn grants(&self) -> Grants<'_> {
        Grants::new(&self.core)
    }

    /// Keys that registries trust.
    #[must_use]
    pub fn keys(&self) -> Keys<'_> {
        Keys::new(&self.core)
    }

    /// What was restored from a backup, until that is confirmed.
    #[must_use]
    pub fn freeze(&self) -> Freeze<'_> {
        Freeze::new(&self.core)
    }

    /// Does this process let nobody in and write nothing? See [`Freeze::heed`].
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.core.store.is_frozen()
    }

    /// The server key.
    #[must_use]
    pub fn server_keys(&self) -> ServerKeys<'_> {
        ServerKeys::new(&self.core)
    }

    /// Accounts, as the operator of the machine manages them.
    #[must_use]
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts::new(&self.core)
    }

    /// Accounts, as those manage them whom a role permits to.
    #[must_use]
    pub fn directory(&self) -> Directory<'_> {
        Directory::new(&self.core)
    }

    /// Members of registries.
    #[must_use]
    pub fn members(&self) -> Members<'_> {
        Members::new(&self.core)
    }

    /// The work that nobody waits for.
    #[must_use]
    pub fn janitor(&self) -> Janitor<'_> {
        Janitor::new(&self.core)
    }

    /// When and from where tokens were used: what is not written yet.
    #[must_use]
    pub fn uses(&self) -> &Uses {
        &self.core.uses
    }

    /// Writes what was noted of tokens' uses, see [`Uses::flush`].
    pub async fn flush_uses(&self) -> Result<usize> {
        if self.is_frozen() {
            return Ok(0);
        }
        self.core.uses.flush(&self.core.store).await
    }

    /// Writes the first uses of tokens, see [`Uses::flush_first`].
    pub async fn flush_first_uses(&self) -> Result<usize> {
        if self.is_frozen() {
            return Ok(0);
        }
        self.core.uses.flush_first(&self.core.store).await
    }

    /// Writes what happened and changed nothing to the audit trail, see [`Incidents`]; at a stop with all sums.
    pub async fn flush_incidents(&self, last: bool) -> Result<usize> {
        if self.is_frozen() {
            return Ok(0);
        }
        self.core.incidents.flush(&self.core, last).await
    }

    /// The present, as every rule of this service sees it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.core.clock.now()
    }

    /// The present of the monotonic clock, see [`Clock::instant`].
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.core.clock.instant()
    }

    /// Does the database answer, with the tables of this version, and do the signing certificates and the clock hold?
    pub async fn readiness(&self) -> Result<Readiness> {
        let thawed = self.core.thawed().await?;
        let now = self.core.clock.now();
        self.core
            .store
            .probe(move |connection| {
                let mut readiness = Readiness {
                    migrations: migrations::is_current(connection)?,
                    thawed,
                    signing_certificates_end: None,
                    signing_certificates_begin: None,
                    removals_wait_until: None,
                };
                // The tables may be among what is missing.
                if readiness.migrations {
                    readiness.signing_certificates_end = signing_keys::earliest_end(connection)?;
                    readiness.signing_certificates_begin =
                        signing_keys::latest_begin(connection, now)?;
                    let kept = janitor_clock::read(connection)?;
                    let doubt = ClockCheck::look(kept, now).doubt;
                    readiness.removals_wait_until = doubt.map(|doubt| doubt.until());
                }
                Ok(readiness)
            })
            .await
    }

    /// Refuses a request that has to ask the database, and would be turned away there.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if it would.
    pub fn require_room(&self) -> Result<()> {
        self.core.store.require_room()
    }

    /// Would a request be turned away that has to ask the database?
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.core.store.is_full()
    }

    /// How many store jobs were asked for since the start.
    #[must_use]
    pub fn store_calls(&self) -> u64 {
        self.core.store.calls()
    }

    /// How many passwords were checked by bcrypt since the start.
    #[must_use]
    pub fn password_checks(&self) -> u64 {
        self.core.access.password_checks()
    }

    /// Notes that this process serves the database until it is closed, see [`Store::begin_serving`].
    pub fn begin_serving(&self) {
        self.core.store.begin_serving();
    }

    /// The state of the database beyond its answers, as far as this process saw. It asks nobody.
    #[must_use]
    pub fn database_health(&self) -> Health {
        self.core.store.health()
    }

    /// Finishes what is under way in the store and ends its threads. Blocks.
    pub fn close(&self) {
        self.core.store.close();
    }
}

/// What a readiness check found; the database answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// The database has every migration of this version.
    pub migrations: bool,
    /// The database is in use: not restored, or that is confirmed.
    pub thawed: bool,
    /// When the first signing certificate in use ends; none while no registry has keys.
    pub signing_certificates_end: Option<DateTime<Utc>>,
    /// When the last of those begins that are not valid yet; none while all are.
    pub signing_certificates_begin: Option<DateTime<Utc>>,
    /// Until when the janitor removes nothing, since the clock jumped.
    pub removals_wait_until: Option<DateTime<Utc>>,
}

/// Are two secrets the same? Hashes are of one length, and what is compared tells nothing of either.
fn is_same(one: &SecretString, other: &SecretString) -> bool {
    let hash = |secret: &SecretString| digest(&SHA256, secret.expose_secret().as_bytes());
    verify_slices_are_equal(hash(one).as_ref(), hash(other).as_ref()).is_ok()
}

impl Core {
    /// The bcrypt hash of a password to be set. Made before the store call, so that no job waits for it.
    async fn hash(&self, password: &NewPassword) -> Result<String> {
        let (cost, salt) = (self.policy.bcrypt_cost, self.random.bytes()?);
        self.hashing.hash(password.secret(), cost, salt).await
    }

    /// Proves a password, and tells the audit trail where none is right.
    async fn identify(&self, presented: Presented, origin: Origin) -> Result<Caller> {
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

    /// Tells the audit trail what is wrong with a password, which was counted when it was checked.
    fn tell_of_password(&self, error: &Error, refusal: &Refusal, by: By) {
        let credential = Some(Credential::Password);
        self.tell(error, refusal, By { credential, ..by });
    }

    /// What somebody is told who is refused: to wait, if too much failed already. The audit trail is told too.
    fn refused(&self, error: Error, by: By) -> Error {
        self.refused_as(error, &Refusal::default(), by)
    }

    /// The same where more is known of the refusal.
    fn refused_as(&self, error: Error, refusal: &Refusal, by: By) -> Error {
        let error = self.counted(error, &by);
        self.tell(&error, refusal, by);
        error
    }

    /// Tells the audit trail of an error, if it is a refusal.
    fn tell(&self, error: &Error, refusal: &Refusal, by: By) {
        if let Some(outcome) = Outcome::of(error) {
            let event = Event::of_refusal(outcome, refusal, by, self.clock.now());
            self.incidents.count(event, self.clock.instant());
        }
    }

    /// Counts a failure to say who one is.
    fn counted(&self, error: Error, by: &By) -> Error {
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

    /// Reads on behalf of a caller: one store call that first reads what the caller is now.
    async fn read<T, F>(&self, caller: &Caller, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session, &Actor) -> Result<T> + Clone + Send + 'static,
    {
        self.read_list(caller, Length::Short, job).await
    }

    /// The same for a list of this length.
    async fn read_list<T, F>(&self, caller: &Caller, length: Length, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session, &Actor) -> Result<T> + Clone + Send + 'static,
    {
        // Long ones are read one at a time, as each holds its rows in memory.
        let _turn = match length {
            Length::Short => None,
            Length::Long => Some(self.long_lists.wait().await?),
        };
        let mut job = job;
        let done = self
            .look(caller, length, move |connection, actor| {
                job(connection, actor?)
            })
            .await;
        self.concluded(caller, done, &Refusal::default()).await
    }

    /// The same for who concludes from a refusal by themselves: the job is told of one, too.
    async fn look<T, F>(&self, caller: &Caller, length: Length, job: F) -> Result<T>
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
                        freeze::require_operator(&actor, proven.credential())?;
                    }
                    job(connection, Ok(&actor)).map(Some)
                }
                Ok(None) => Ok(None),
                Err(error) => job(connection, Err(error)).map(Some),
            };
            match length {
                Length::Short => self.store.read(job).await,
                Length::Long => self.store.read_long(job).await,
            }
        })
        .await
    }

    /// Adds to a conflict of names the id of the one that has the name, which `find` looks for and says if the caller may
    /// know it. PostgreSQL ends a transaction at a conflict, so it takes another one.
    async fn naming_holder<T, F>(&self, caller: &Caller, outcome: Result<T>, find: F) -> Result<T>
    where
        F: FnMut(&mut Session, &Actor) -> Result<Option<Uuid>> + Clone + Send + 'static,
    {
        let Err(Error::NameTaken { what, name, .. }) = outcome else {
            return outcome;
        };
        let mut find = find;
        // Nothing is concluded from a refusal: the caller did not ask for this.
        let found = self
            .look(caller, Length::Short, move |connection, actor| {
                find(connection, actor?)
            })
            .await;
        let holder = found.ok().flatten();
        Err(Error::NameTaken { what, name, holder })
    }

    /// Is this process free to let everybody in? If not yet, it looks whether it may by now.
    async fn thawed(&self) -> Result<bool> {
        if !self.store.is_frozen() {
            return Ok(true);
        }
        // Boxed, so that every other request does not carry the room for it.
        let restored = Box::pin(Freeze::new(self).heed()).await?;
        Ok(restored.is_none())
    }

    async fn require_thaw(&self) -> Result<()> {
        if self.thawed().await? {
            return Ok(());
        }
        Err(Error::Frozen)
    }

    /// Writes on behalf of a caller: one store call that first reads, in its own transaction, what the caller is now,
    /// and at last tells the audit trail what the job did.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyChanges`] if the account made too many before.
    async fn write<T, F>(&self, caller: &Caller, lock: Lock, job: F) -> Result<T>
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

    /// The same for a change that may be one that ends something.
    async fn change<T, F>(&self, caller: &Caller, urgency: Urgency, lock: Lock, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>, &Actor) -> Result<Done<T>> + Clone + Send + 'static,
    {
        match urgency {
            Urgency::Change => self.write(caller, lock, job).await,
            Urgency::End => self.end(caller, lock, job).await,
        }
    }

    /// The same for a job that ends something: it counts as a change and is never refused for their number.
    async fn end<T, F>(&self, caller: &Caller, lock: Lock, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>, &Actor) -> Result<Done<T>> + Clone + Send + 'static,
    {
        let (ledger, now) = (self.trail.open(self).await?, self.clock.now());
        let written = self.admitted(caller, async |proven| {
            let (mut job, ledger) = (job.clone(), Arc::clone(&ledger));
            self.store
                .write(lock, move |transaction| {
                    let Some(actor) = admit(transaction, &proven, now)? else {
                        return Ok(None);
                    };
                    let done = job(transaction, &actor)?;
                    let changes = done.changes.len();
                    let by = || By::actor(&actor, proven.credential(), proven.origin().clone());
                    let value = done.tell(transaction, &ledger, by, now);
                    Ok(Some((value, actor.key, changes)))
                })
                .await
        });
        let (value, account, changes) = written.await?;
        // Once they are kept: a job can run several times.
        self.changes.count(account, changes, self.clock.instant());
        Ok(value)
    }

    /// Writes on behalf of whoever works on the machine itself, and tells the audit trail.
    async fn command<T, F>(&self, lock: Lock, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<Done<T>> + Send + 'static,
    {
        self.write_by(By::command(), lock, job).await
    }

    /// Writes on behalf of somebody who is no account, and tells the audit trail.
    async fn write_by<T, F>(&self, by: By, lock: Lock, mut job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<Done<T>> + Send + 'static,
    {
        let (ledger, now) = (self.trail.open(self).await?, self.clock.now());
        self.store
            .write(lock, move |transaction| {
                let done = job(transaction)?;
                Ok(done.tell(transaction, &ledger, || by.clone(), now))
            })
            .await
    }

    /// Sends a job through one of the store's doors. If the account changed since the proof, it comes back with nothing:
    /// then the proof is renewed and the job tried once more.
    async fn admitted<T>(
        &self,
        caller: &Caller,
        job: impl AsyncFn(Caller) -> Result<Option<T>>,
    ) -> Result<T> {
        let done = self.attempt(caller, job).await;
        self.concluded(caller, done, &Refusal::default()).await
    }

    /// Concludes from a refusal: a password that opened nothing is forgotten, and the refusal is counted and told.
    async fn concluded<T>(&self, caller: &Caller, done: Result<T>, seen: &Refusal) -> Result<T> {
        if matches!(done, Err(Error::Unauthenticated)) {
            self.access.forget(caller).await;
        }
        done.map_err(|error| self.refused_as(error, seen, caller.by()))
    }

    async fn attempt<T>(
        &self,
        caller: &Caller,
        job: impl AsyncFn(Caller) -> Result<Option<T>>,
    ) -> Result<T> {
        let (mut caller, now) = (caller.clone(), self.clock.now());
        for last in [false, true] {
            match job(caller.clone()).await? {
                Some(done) => {
                    if let Credential::ApiToken(token) = caller.credential() {
                        self.uses.note(Used::ApiToken(token), now, None, None);
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

/// What a write came to, and what the audit trail is to be told of it.
#[derive(Debug)]
struct Done<T> {
    value: T,
    changes: Vec<Change>,
}

impl<T> Done<T> {
    /// Something was changed.
    fn told(value: T, change: Change) -> Self {
        Self::of(value, Some(change))
    }

    /// All was as it was to be.
    fn nothing(value: T) -> Self {
        Self::of(value, None)
    }

    /// This was changed, if anything.
    fn of(value: T, changes: impl IntoIterator<Item = Change>) -> Self {
        Self {
            value,
            changes: changes.into_iter().collect(),
        }
    }

    /// The same, with something made of what the write came to.
    fn map<U>(self, made: impl FnOnce(T) -> U) -> Done<U> {
        Done {
            value: made(self.value),
            changes: self.changes,
        }
    }

    /// Tells it, if anything was changed. Returns what the write came to.
    fn tell(
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

/// What a create-or-replace did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put<C, R> {
    /// There was none: this was made.
    Created(C),
    /// This is what it is now.
    Replaced(R),
}
