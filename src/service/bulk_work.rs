//! The work on bulk runs in the background, in batches.
//!
//! One process at a time works, by a lease, and any process goes on where another was killed: a batch keeps the place
//! that it has reached, its changes and their events in one transaction. Each batch first reads the rights that the
//! credential of the run gives now.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::access::{Caller, admit};
use super::bulk_tokens::{Decision, Judge, Search, enter, homes, is_refusal, load, sought};
use super::changes::Changes;
use super::core::Core;
use super::policy::Policy;
use super::token_lists::may_read_tokens;
use super::tokens::{keep, remove};
use crate::domain::account::Actor;
use crate::domain::audit::{By, Change, Event, Kind};
use crate::domain::bulk::{NamedToken, Refused, Run, RunState, STOPPED};
use crate::domain::id::{BulkKey, RegistryKey, TokenKey};
use crate::domain::permission::{Level, Resource};
use crate::domain::tenant::Home;
use crate::domain::token::Token;
use crate::error::{Error, Result};
use crate::store::leases::{self, Lease};
use crate::store::token_walks::{self, Match, Place};
use crate::store::{Ledger, Lock, Session, Transaction, bulk_runs as table};

/// The lease that the working process holds, and renews with every batch.
const LEASE: Lease = Lease {
    name: "bulk",
    life: TimeDelta::seconds(15),
    longest: None,
};
/// The tokens that are looked for at once.
const PAGE: i64 = 500;
/// The tokens of a batch, all of one registry: so long it holds the writer.
const BATCH: usize = 100;

/// Works on runs on behalf of a process.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    core: &'a Core,
    holder: String,
    /// True if this process holds the lease.
    held: bool,
    /// Runs whose accounts have no room for more changes now.
    waiting: Vec<BulkKey>,
}

/// The tokens that a run comes to next.
struct Coming {
    run: Run,
    batches: Vec<Batch>,
    /// True if there are no more.
    ended: bool,
}

/// Some tokens of one registry.
#[derive(Debug, Clone)]
struct Batch {
    home: Home,
    matches: Vec<Match>,
}

/// The outcome of a write for a run.
enum Written {
    /// The run is so far.
    Went(Box<Run>),
    /// It is not under way any more, or another process was here.
    Over,
    /// Another process holds the lease.
    Taken,
    /// Its account has no room for more changes now.
    Waits,
}

impl<'a> Worker<'a> {
    pub(super) fn new(core: &'a Core, holder: &str) -> Self {
        Self {
            core,
            holder: holder.to_owned(),
            held: false,
            waiting: Vec::new(),
        }
    }

    /// Works on some batches of the run that has waited longest. Returns the number of tokens that were looked at, or
    /// `None` if there is nothing to do now, or another process does it.
    pub(super) async fn step(&mut self) -> Result<Option<i64>> {
        let waiting = self.waiting.clone();
        let next = move |connection: &mut Session| table::next(connection, &waiting);
        let Some(run) = self.core.store.read(next).await? else {
            return Ok(None);
        };
        let Coming {
            mut run,
            batches,
            ended,
        } = self.look(run).await?;
        let mut looked_at = 0;
        for batch in batches {
            let tokens = i64::try_from(batch.matches.len()).map_err(Error::internal)?;
            let written = self.write(&run, Some(batch)).await?;
            let key = run.key;
            match self.after(key, written) {
                Next::Go(further) => run = *further,
                Next::Leave => return Ok(Some(looked_at)),
                Next::Stop => return Ok(None),
            }
            looked_at += tokens;
        }
        if ended {
            let written = self.write(&run, None).await?;
            if let Next::Stop = self.after(run.key, written) {
                return Ok(None);
            }
        }
        Ok(Some(looked_at))
    }

    /// Gives the lease back.
    pub(super) async fn rest(self) -> Result<()> {
        if !self.held {
            return Ok(());
        }
        let holder = self.holder;
        let release =
            move |connection: &mut Transaction<'_>| leases::release(connection, LEASE, &holder);
        self.core.store.write(Lock::Nothing, release).await
    }

    fn after(&mut self, key: BulkKey, written: Written) -> Next {
        self.held |= !matches!(written, Written::Taken);
        match written {
            Written::Went(run) => Next::Go(run),
            Written::Over => Next::Leave,
            Written::Taken => Next::Stop,
            Written::Waits => {
                self.waiting.push(key);
                Next::Leave
            }
        }
    }

    /// Looks for the tokens that a run comes to next.
    async fn look(&self, run: Run) -> Result<Coming> {
        let beyond = run
            .place
            .map(|(registry, position)| Place { registry, position });
        let mut search = Search::new(run.confirmed.clone(), beyond, PAGE);
        loop {
            let (now, of) = (self.core.clock.now(), run.clone());
            let (found, further) = self
                .core
                .store
                .read(move |connection| {
                    let mut search = search.clone();
                    let Some(actor) = admitted(connection, &of, now)? else {
                        // The write will see it too, and says why.
                        return Ok((Some((Vec::new(), true)), search));
                    };
                    let homes = homes(connection, &actor, &of.confirmed)?;
                    let keys: Vec<_> = homes.iter().map(|home| home.rules.key).collect();
                    let page = search.go_on(connection, &keys)?;
                    let found = (!page.matches.is_empty() || page.ended)
                        .then(|| (batches(&homes, &page.matches), page.ended));
                    Ok((found, search))
                })
                .await?;
            if let Some((batches, ended)) = found {
                return Ok(Coming {
                    run,
                    batches,
                    ended,
                });
            }
            search = further;
        }
    }

    /// Changes the tokens of a batch, or without one ends the run.
    async fn write(&self, run: &Run, batch: Option<Batch>) -> Result<Written> {
        let (ledger, now) = (self.core.ledger().await?, self.core.clock.now());
        let lock = match &batch {
            Some(batch) => Lock::Registry(batch.home.id),
            None => Lock::Nothing,
        };
        let count = batch.as_ref().map_or(0, |batch| batch.matches.len());
        let fresh: Result<Vec<_>> = (0..count).map(|_| self.core.random.uuid()).collect();
        let job = Job {
            key: run.key,
            place: run.place,
            batch,
            fresh: fresh?,
            holder: self.holder.clone(),
            policy: Arc::clone(&self.core.policy),
            changes: Arc::clone(&self.core.changes),
            ledger,
            now,
            instant: self.core.clock.instant(),
        };
        let work = move |connection: &mut Transaction<'_>| job.run(connection);
        let (written, changes) = self.core.store.write(lock, work).await?;
        let instant = self.core.clock.instant();
        // After the commit: a job can run several times.
        self.core
            .changes
            .count(run.mandate.account, changes, instant);
        Ok(written)
    }
}

/// The next move of a step after a write.
enum Next {
    Go(Box<Run>),
    Leave,
    Stop,
}

/// The actor of a run as it is now, or `None` if it may do nothing more.
fn admitted(connection: &mut Session, run: &Run, now: DateTime<Utc>) -> Result<Option<Actor>> {
    let caller = Caller::again(&run.mandate, run.created.by);
    match admit(connection, &caller, now) {
        Ok(actor) => Ok(actor.filter(may_still_read)),
        Err(Error::Unauthenticated | Error::NoRole) => Ok(None),
        Err(error) => Err(error),
    }
}

fn may_still_read(actor: &Actor) -> bool {
    if let Some(confined) = actor.confined() {
        return may_read_tokens(confined.rights);
    }
    let permissions = &actor.permissions;
    permissions
        .require_somewhere(Resource::Token, Level::Read)
        .is_ok()
}

/// Divides tokens into batches, each of one registry.
fn batches(homes: &[Home], matches: &[Match]) -> Vec<Batch> {
    let registries = matches.chunk_by(|one, other| one.place.registry == other.place.registry);
    let batches = registries.flat_map(|matches| matches.chunks(BATCH));
    batches
        .filter_map(|matches| {
            let registry = matches.first()?.place.registry;
            let place = homes.binary_search_by_key(&registry, |home| home.rules.key);
            Some(Batch {
                home: homes.get(place.ok()?)?.clone(),
                matches: matches.to_vec(),
            })
        })
        .collect()
}

/// One write for a run.
struct Job {
    key: BulkKey,
    /// The place that the run has reached, if nobody else was here.
    place: Option<(RegistryKey, i64)>,
    batch: Option<Batch>,
    /// Fresh ids for the refresh tokens of tokens that are disabled.
    fresh: Vec<Uuid>,
    holder: String,
    policy: Arc<Policy>,
    changes: Arc<Changes>,
    ledger: Arc<dyn Ledger>,
    now: DateTime<Utc>,
    instant: Instant,
}

/// The changes of a batch.
#[derive(Default)]
struct Changed {
    changes: Vec<Change>,
    refused: Vec<Refused>,
}

impl Job {
    /// Returns the outcome, and the number of changes.
    fn run(&self, connection: &mut Transaction<'_>) -> Result<(Written, usize)> {
        if !leases::acquire(connection, LEASE, &self.holder, self.now)? {
            return Ok((Written::Taken, 0));
        }
        let held = table::hold(connection, self.key, self.now)?;
        let Some(run) = held.filter(|run| run.place == self.place) else {
            return Ok((Written::Over, 0));
        };
        let Some(actor) = admitted(connection, &run, self.now)? else {
            let stopped = Run {
                reason: Some(STOPPED.to_owned()),
                ..run
            };
            return self.end(connection, stopped, RunState::Stopped);
        };
        let Some(batch) = &self.batch else {
            let done = Run {
                tally: run.tally.complete(),
                ..run
            };
            return self.end(connection, done, RunState::Done);
        };
        let action = run.confirmed.wish.action;
        if !action.ends() && self.changes.require_room(actor.key, self.instant).is_err() {
            return Ok((Written::Waits, 0));
        }
        let changed = self.change(connection, &actor, &run, batch)?;
        self.advance(connection, &actor, run, batch, changed)
    }

    fn end(
        &self,
        connection: &mut Transaction<'_>,
        run: Run,
        state: RunState,
    ) -> Result<(Written, usize)> {
        let run = Run {
            state,
            finished_at: Some(self.now),
            ..run
        };
        table::update(connection, &run)?;
        let by = By {
            actor: Some(run.created.by),
            actor_name: Some(run.created.by_name.clone()),
            credential: Some(run.mandate.credential),
            origin: run.mandate.origin.clone(),
        };
        let event = Event::of_change(Change::done(Kind::Bulk, &run), &by, self.now);
        connection.tell(&self.ledger, [event]);
        Ok((Written::Over, 1))
    }

    /// Changes the tokens that still pass the filter, each by the rules of a single change.
    fn change(
        &self,
        connection: &mut Transaction<'_>,
        actor: &Actor,
        run: &Run,
        batch: &Batch,
    ) -> Result<Changed> {
        let mut changed = Changed::default();
        let home = &batch.home;
        let Some((rules, rights)) = enter(connection, actor, home)? else {
            return Ok(changed);
        };
        let keys: Vec<TokenKey> = batch.matches.iter().map(|found| found.token).collect();
        let sought = sought(&run.confirmed);
        let still = token_walks::among(connection, rules.key, &keys, sought.as_ref())?;
        let judge = Judge {
            actor,
            policy: &self.policy,
            action: run.confirmed.wish.action,
            now: self.now,
            rules,
            rights,
        };
        let tokens = load(connection, rules, &still)?;
        for (token, fresh) in tokens.into_iter().zip(&self.fresh) {
            let change = match judge.decide(&token) {
                Ok(Decision::Nothing) => continue,
                Ok(Decision::Delete) => remove(connection, rules, &token)?,
                Ok(Decision::Change(mut after)) => {
                    let stamp = actor.stamp(self.now);
                    keep(connection, &token, &mut after, (stamp, *fresh))?
                }
                Err(error) if is_refusal(&error) => {
                    changed.refused.push(refusal(token, home, &error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut change = change.within(home.id);
            change
                .beside
                .insert("bulk".to_owned(), run.id.to_string().into());
            changed.changes.push(change);
        }
        Ok(changed)
    }

    /// Keeps the place and the counts, and tells of the changes.
    fn advance(
        &self,
        connection: &mut Transaction<'_>,
        actor: &Actor,
        mut run: Run,
        batch: &Batch,
        Changed { changes, refused }: Changed,
    ) -> Result<(Written, usize)> {
        let number = |count: usize| i64::try_from(count).map_err(Error::internal);
        let (made, denied) = (number(changes.len())?, number(refused.len())?);
        let unchanged = number(batch.matches.len())? - made - denied;
        table::add_refused(connection, run.key, run.tally.refused, &refused)?;
        run.tally = run.tally.and(made, unchanged, denied);
        let last = batch.matches.last().map(|found| found.place);
        run.place = last.map(|place| (place.registry, place.position));
        table::update(connection, &run)?;
        let mandate = &run.mandate;
        let by = By::actor(actor, mandate.credential, mandate.origin.clone());
        let count = changes.len();
        let events = changes
            .into_iter()
            .map(|change| Event::of_change(change, &by, self.now));
        connection.tell(&self.ledger, events);
        Ok((Written::Went(Box::new(run)), count))
    }
}

fn refusal(token: Token, home: &Home, error: &Error) -> Refused {
    Refused {
        token: NamedToken {
            id: token.id,
            name: token.name,
            registry: home.id,
            registry_name: home.name.clone(),
        },
        reason: error.to_string(),
    }
}
