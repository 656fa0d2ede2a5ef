//! Use cases: the operations for callers, each in one store call.
//!
//! Owns the permissions, the values made before a store job (ids, secrets, the time) and the content of a job. Refuses
//! to know about HTTP and SQL: surfaces translate to and from these methods, the store runs them.

pub mod access;
pub mod account_commands;
pub mod account_rules;
pub mod accounts;
mod api_key_cache;
pub mod api_keys;
pub mod api_tokens;
pub mod app_tokens;
pub mod audit;
pub mod audit_buffer;
pub mod backup;
pub mod bulk;
mod bulk_tokens;
mod bulk_work;
pub mod certificates;
pub mod chain;
mod changes;
mod chores;
mod core;
pub mod data_keys;
pub mod exchanges;
mod found_secrets;
pub mod freeze;
pub mod grants;
mod holders;
pub mod idempotency;
pub mod issued;
mod issuer_key_set;
mod issuer_keys;
pub mod issuers;
pub mod janitor;
pub mod jwt;
mod known_permissions;
pub mod leaks;
pub mod lookups;
mod loss_log;
pub mod losses;
pub mod me;
pub mod members;
pub mod metrics;
pub mod passwords;
mod policy;
mod references;
mod refresh_tokens;
pub mod refused_workloads;
pub mod registries;
pub mod registry_api_tokens;
pub mod restored;
pub mod server_keys;
pub mod sessions;
mod signing_key_cache;
pub mod signing_keys;
pub mod throttle;
mod token_cursors;
pub mod token_lists;
mod token_logins;
mod token_walk;
pub mod tokens;
pub mod trusts;
pub mod turns;
pub mod usage;
mod visible;
mod workload_logins;
mod workloads;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::sync::Notify;

use self::access::{Access, Caller, Presented};
use self::account_commands::AccountCommands;
use self::accounts::Accounts;
use self::api_key_cache::ApiKeyCache;
use self::api_keys::ApiKeys;
use self::api_tokens::ApiTokens;
use self::app_tokens::AppTokens;
use self::audit::Audit;
use self::audit_buffer::AuditBuffer;
use self::bulk::{Bulk, SURVEYING};
use self::chain::Trail;
use self::changes::Changes;
use self::core::Core;
pub use self::core::Put;
use self::data_keys::{DataKeys, ServerKey};
use self::exchanges::Exchanges;
use self::found_secrets::WALKS;
use self::freeze::Freeze;
use self::grants::Grants;
use self::issued::Issued;
use self::issuer_keys::IssuerKeys;
use self::issuers::Issuers;
use self::janitor::Janitor;
use self::leaks::Leaks;
use self::lookups::Lookups;
use self::loss_log::LossLog;
use self::losses::Losses;
use self::me::Me;
use self::members::Members;
use self::metrics::Metrics;
use self::passwords::{Passwords, SETTING};
pub use self::policy::{OnLoss, Policy};
use self::refused_workloads::RefusedWorkloads;
use self::registries::Registries;
use self::registry_api_tokens::RegistryApiTokens;
use self::server_keys::ServerKeys;
use self::sessions::Sessions;
use self::signing_key_cache::SigningKeyCache;
use self::signing_keys::SigningKeys;
use self::throttle::Throttle;
use self::token_lists::{COUNTING, LONG_LISTS, READING, WALKING};
use self::tokens::Tokens;
use self::trusts::Trusts;
use self::turns::Turns;
use self::usage::UsageRecorder;
use crate::clock::{Clock, Random};
use crate::domain::audit::{By, Origin};
use crate::domain::clock_check::ClockCheck;
use crate::error::{Error, Result};
use crate::metrics::{Caches, Counts};
use crate::outgoing::Outgoing;
pub use crate::store::{FileState, Health, Integrity};
use crate::store::{Store, janitor_clock, migrations, signing_keys as signing_key_table};

/// All use cases. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service {
    core: Arc<Core>,
}

impl Service {
    /// Opens the keys of an open store and starts the password threads.
    pub async fn start(
        store: Store,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        server_key: &ServerKey,
        policy: Policy,
        outgoing: Outgoing,
    ) -> Result<Self> {
        let data_keys = DataKeys::open(&store, server_key, &*clock, &*random).await?;
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
        let losses = Arc::new(LossLog::default());
        let trail = Trail::new(Arc::clone(&clock), Arc::clone(&random), Arc::clone(&losses))?;
        let changes = Arc::new(Changes::new(policy.changes_per_hour, clock.instant()));
        let audit_buffer = AuditBuffer::new(clock.instant());
        let issuer_keys = IssuerKeys::new(outgoing, Arc::clone(&clock));
        Ok(Self {
            core: Arc::new(Core {
                store,
                clock,
                random,
                policy: Arc::new(policy),
                data_keys: Arc::new(data_keys),
                signing_key_cache: SigningKeyCache::new(&caches),
                permissions: Arc::default(),
                api_key_cache: ApiKeyCache::default(),
                issuer_keys,
                access,
                throttle,
                hashing: Turns::new(SETTING, 1),
                usage: UsageRecorder::default(),
                refused_workloads: RefusedWorkloads::default(),
                trail,
                losses,
                connections_looked_at: AtomicU64::new(0),
                changes,
                audit_buffer,
                bulk_begun: Notify::new(),
                walks: Turns::new(WALKS, 1),
                lookup_walks: Turns::new(WALKS, 1),
                counting: Turns::new(COUNTING, 1),
                walking: Turns::new(WALKING, 1),
                surveying: Turns::new(SURVEYING, 1),
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

    /// Proves by its signature that a request's API token is ours. The request's own work reads if it is in force.
    pub async fn identify_bearer(&self, token: &SecretString, origin: Origin) -> Result<Caller> {
        self.core.require_thaw().await?;
        let id = ApiKeys::new(&self.core).verify(token).await?;
        let proven = id.map(Caller::by_token).ok_or(Error::Unauthenticated);
        let refuse = |error| self.core.refused(error, By::nobody(origin.clone()));
        Ok(proven.map_err(refuse)?.from(origin))
    }

    /// Checks that the caller's account is still let in. For answers that need nothing else of the database.
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

    /// API tokens that act on one registry.
    #[must_use]
    pub fn registry_api_tokens(&self) -> RegistryApiTokens<'_> {
        RegistryApiTokens::new(&self.core)
    }

    /// API tokens and app tokens, as accounts and those that manage them look after them.
    #[must_use]
    pub fn issued(&self) -> Issued<'_> {
        Issued::new(&self.core)
    }

    /// The audit trail of changes and refusals.
    #[must_use]
    pub fn audit(&self) -> Audit<'_> {
        Audit::new(&self.core)
    }

    /// Leaked secrets.
    #[must_use]
    pub fn leaks(&self) -> Leaks<'_> {
        Leaks::new(&self.core)
    }

    /// Changes that the database lost.
    #[must_use]
    pub fn losses(&self) -> Losses<'_> {
        Losses::new(&self.core)
    }

    /// Lookups of secrets.
    #[must_use]
    pub fn lookups(&self) -> Lookups<'_> {
        Lookups::new(&self.core)
    }

    /// Returns true if there is a monitor with a token.
    #[must_use]
    pub fn has_monitor(&self) -> bool {
        self.core.policy.monitor.is_some()
    }

    /// Metrics for a monitor.
    #[must_use]
    pub fn metrics(&self) -> Metrics<'_> {
        Metrics::new(&self.core)
    }

    /// Sessions of clients that sign in.
    #[must_use]
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions::new(&self.core)
    }

    /// The rights of tokens and accounts on registries, and the proof of them.
    #[must_use]
    pub fn grants(&self) -> Grants<'_> {
        Grants::new(&self.core)
    }

    /// Passwords that workloads get for their JWTs.
    #[must_use]
    pub fn exchanges(&self) -> Exchanges<'_> {
        Exchanges::new(&self.core)
    }

    /// Keys that registries trust.
    #[must_use]
    pub fn signing_keys(&self) -> SigningKeys<'_> {
        SigningKeys::new(&self.core)
    }

    /// The freeze of a restored database, until it is confirmed.
    #[must_use]
    pub fn freeze(&self) -> Freeze<'_> {
        Freeze::new(&self.core)
    }

    /// Returns true if this process lets nobody in and writes nothing. See [`Freeze::heed`].
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
    pub fn account_commands(&self) -> AccountCommands<'_> {
        AccountCommands::new(&self.core)
    }

    /// Accounts, as callers with permission manage them.
    #[must_use]
    pub fn accounts(&self) -> Accounts<'_> {
        Accounts::new(&self.core)
    }

    /// The caller's own account.
    #[must_use]
    pub fn me(&self) -> Me<'_> {
        Me::new(&self.core)
    }

    /// Members of registries.
    #[must_use]
    pub fn members(&self) -> Members<'_> {
        Members::new(&self.core)
    }

    /// Changes of many tokens at once.
    #[must_use]
    pub fn bulk(&self) -> Bulk<'_> {
        Bulk::new(&self.core)
    }

    /// Waits until a bulk run begins in this process.
    pub async fn bulk_begun(&self) {
        self.core.bulk_begun.notified().await;
    }

    /// Issuers of workloads' JWTs.
    #[must_use]
    pub fn issuers(&self) -> Issuers<'_> {
        Issuers::new(&self.core)
    }

    /// Trusts of registries in issuers.
    #[must_use]
    pub fn trusts(&self) -> Trusts<'_> {
        Trusts::new(&self.core)
    }

    /// Refused workloads that are not written yet.
    #[must_use]
    pub fn refused_workloads(&self) -> &RefusedWorkloads {
        &self.core.refused_workloads
    }

    /// Writes the noted refusals of workloads, see [`RefusedWorkloads::flush`].
    pub async fn flush_refused_workloads(&self) -> Result<usize> {
        if self.is_frozen() {
            return Ok(0);
        }
        self.core.refused_workloads.flush(&self.core.store).await
    }

    /// The background work.
    #[must_use]
    pub fn janitor(&self) -> Janitor<'_> {
        Janitor::new(&self.core)
    }

    /// The uses of tokens that are not written yet.
    #[must_use]
    pub fn uses(&self) -> &UsageRecorder {
        &self.core.usage
    }

    /// Writes the noted uses of tokens, see [`UsageRecorder::flush`].
    pub async fn flush_usage(&self) -> Result<usize> {
        if self.is_frozen() {
            return Ok(0);
        }
        self.core.usage.flush(&self.core.store).await
    }

    /// Writes the first uses of tokens, see [`UsageRecorder::flush_first`].
    pub async fn flush_first_usage(&self) -> Result<usize> {
        if self.is_frozen() {
            return Ok(0);
        }
        self.core.usage.flush_first(&self.core.store).await
    }

    /// Writes events that changed nothing to the audit trail, see [`AuditBuffer`]; at a stop with all sums.
    pub async fn flush_audit(&self, last: bool) -> Result<usize> {
        if self.is_frozen() {
            return Ok(0);
        }
        let core = &self.core;
        let ledger = async || core.ledger().await;
        let now = core.clock.instant();
        core.audit_buffer
            .flush(&core.store, ledger, now, last)
            .await
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

    /// Checks the database's answer and migrations, the dates of the signing certificates, and the clock.
    pub async fn readiness(&self) -> Result<Readiness> {
        // Within the probe: another read could wait longer than a monitor does.
        let frozen = self.core.store.is_frozen();
        let now = self.core.clock.now();
        let loss_detected = self.core.losses.last().map(|loss| loss.found_at);
        let readiness = self
            .core
            .store
            .probe(move |connection| {
                let mut readiness = Readiness {
                    migrations: migrations::is_current(connection)?,
                    thawed: !frozen || restored::find(connection)?.is_none(),
                    loss_detected,
                    signing_certificates_end: None,
                    signing_certificates_begin: None,
                    removals_wait_until: None,
                };
                // The tables may be among what is missing.
                if readiness.migrations {
                    readiness.signing_certificates_end =
                        signing_key_table::earliest_end(connection)?;
                    readiness.signing_certificates_begin =
                        signing_key_table::latest_begin(connection, now)?;
                    let kept = janitor_clock::read(connection)?;
                    let doubt = ClockCheck::look(kept, now).doubt;
                    readiness.removals_wait_until = doubt.map(|doubt| doubt.until());
                }
                Ok(readiness)
            })
            .await?;
        if frozen && readiness.thawed {
            self.core.store.freeze(false);
        }
        Ok(readiness)
    }

    /// Refuses a request that needs the database, if the store would turn it away.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if it would.
    pub fn require_room(&self) -> Result<()> {
        self.core.store.require_room()
    }

    /// Returns true if the store would turn away a request that needs the database.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.core.store.is_full()
    }

    /// The number of store jobs asked for since the start.
    #[must_use]
    pub fn store_calls(&self) -> u64 {
        self.core.store.calls()
    }

    /// The number of passwords checked by bcrypt since the start.
    #[must_use]
    pub fn password_checks(&self) -> u64 {
        self.core.access.password_checks()
    }

    /// Notes that this process serves the database until it is closed, see [`Store::begin_serving`].
    pub fn begin_serving(&self) -> Result<()> {
        // The last half of an id is random.
        let (_, process) = self.core.random.uuid()?.as_u64_pair();
        self.core.store.begin_serving(process.cast_signed())
    }

    /// The state of the database beyond its answers, as far as this process saw. It asks nobody.
    #[must_use]
    pub fn database_health(&self) -> Health {
        self.core.store.health()
    }

    /// Finishes the running store jobs and ends the store's threads. Blocks.
    pub fn close(&self) {
        self.core.store.close();
    }
}

/// The result of a readiness check; the database answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// The database has every migration of this version.
    pub migrations: bool,
    /// True if the database is in use: not restored, or confirmed.
    pub thawed: bool,
    /// When changes were found missing that the database had acknowledged, since the start.
    pub loss_detected: Option<DateTime<Utc>>,
    /// The end of the first signing certificate in use that ends; none while no registry has keys.
    pub signing_certificates_end: Option<DateTime<Utc>>,
    /// The latest beginning of the certificates that are not valid yet; none while all are.
    pub signing_certificates_begin: Option<DateTime<Utc>>,
    /// The instant until which the janitor removes nothing, since the clock jumped.
    pub removals_wait_until: Option<DateTime<Utc>>,
}
