//! Bulk actions: a dry run, its confirmation, and the run that follows.
//!
//! Owns the content of a confirmation. A run works in the background (`service/bulk_work.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::{Caller, login};
use super::bulk_tokens::{Decision, Judge, Search, enter, is_refusal, load};
use super::bulk_work::Worker;
use super::core::{Core, Done, Length, Urgency};
use super::policy::Policy;
use super::token_lists;
use crate::domain::account::Actor;
use crate::domain::audit::{Change, Kind};
use crate::domain::bulk::{
    Action, CONFIRMABLE, Census, Confirmed, Mandate, NamedToken, Refused, Run, RunState, TOKENS,
    Tally, Wish, admit_run,
};
use crate::domain::filter::TokenFilter;
use crate::domain::id::{BulkId, BulkKey};
use crate::domain::page::Window;
use crate::domain::tenant::Home;
use crate::domain::token::Token;
use crate::error::{Error, Field, Result, What};
use crate::store::token_walks::Match;
use crate::store::{Lock, Session, Transaction, bulk_runs as table};

/// The most dry runs and starts that look at tokens, one at a time, or wait to.
pub(super) const SURVEYING: usize = 16;

/// The context that confirmations are sealed to.
const CONFIRMATION: &str = "bulk";
/// The tokens that a dry run shows.
const SHOWN: usize = 100;
/// The different reasons that a dry run tells apart.
const REASONS: usize = 20;
/// The reason of the others.
const OTHER_REASONS: &str = "other reasons";
/// The tokens that one job of a dry run looks at closely.
const PAGE: i64 = 1_000;
/// Those of them that are in memory at once: the scopes of a token can take 16 KiB.
const LOADED: usize = 100;

/// The content of a confirmation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sealed {
    /// The run that it begins: a second use finds it.
    #[serde(rename = "i")]
    id: Uuid,
    #[serde(rename = "u")]
    account: i64,
    #[serde(rename = "c")]
    confirmed: Confirmed,
    #[serde(rename = "s")]
    census: Census,
}

/// The result of a dry run.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The wish of the dry run.
    pub wish: Wish,
    /// The tokens that the filter finds among those that the caller may read.
    pub found: i64,
    /// Those that the caller may change.
    pub permitted: i64,
    /// Those of them that have the change already.
    pub unchanged: i64,
    /// The others, by the reason.
    pub refused: BTreeMap<String, i64>,
    /// The first of those that were found.
    pub tokens: Vec<NamedToken>,
    /// The confirmation for the run.
    pub confirmation: String,
    /// The end of its use.
    pub confirmable_until: DateTime<Utc>,
}

/// The confirmation of a dry run.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// As the dry run gave it.
    pub text: String,
    /// The filter and the action, if the caller repeats them.
    pub filter: Option<TokenFilter>,
    /// See `filter`.
    pub action: Option<Action>,
    /// By so many tokens the set may differ from that of the dry run.
    pub maximum_change: i64,
}

/// A run, with the tokens that it was refused, as far as they are listed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The run.
    pub run: Run,
    /// The tokens, in the order of the run.
    pub refused: Vec<Refused>,
}

/// Bulk use cases.
#[derive(Debug)]
pub struct Bulk<'a> {
    core: &'a Core,
}

impl<'a> Bulk<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core }
    }

    /// Looks at what a run would do, and changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a filter without a bound, or one that finds too many tokens; the errors of lists for
    /// registries that the caller may not read.
    pub async fn preview(&self, caller: &Caller, wish: Wish) -> Result<Preview> {
        wish.require_bounds()?;
        let now = self.core.clock.now();
        wish.action.require_future(now)?;
        let (account, survey) = self
            .survey(
                caller,
                Survey::judging(wish, now, Arc::clone(&self.core.policy)),
            )
            .await?;
        let sealed = Sealed {
            id: self.core.random.uuid()?,
            account,
            confirmed: survey.confirmed()?,
            census: survey.census,
        };
        let bytes = serde_json::to_vec(&sealed).map_err(Error::internal)?;
        let random = &*self.core.random;
        let confirmation = self
            .core
            .data_keys
            .seal_text(random, CONFIRMATION, &bytes)?;
        Ok(Preview {
            wish: sealed.confirmed.wish,
            found: sealed.census.found,
            permitted: sealed.census.found - survey.refused.values().sum::<i64>(),
            unchanged: survey.unchanged,
            refused: survey.refused,
            tokens: survey.shown,
            confirmation,
            confirmable_until: now + CONFIRMABLE,
        })
    }

    /// Looks at all tokens of a survey, in several store calls if need be. Returns the account's key too.
    async fn survey(&self, caller: &Caller, mut survey: Survey) -> Result<(i64, Survey)> {
        loop {
            let _turn = self.core.turn(&self.core.surveying, caller).await?;
            let (account, further) = self
                .core
                .read_list(caller, Length::Short, move |connection, actor| {
                    let mut survey = survey.clone();
                    survey.go_on(connection, actor)?;
                    Ok((actor.key.0, survey))
                })
                .await?;
            if further.ended {
                return Ok((account, further));
            }
            survey = further;
        }
    }

    /// Begins the run of a dry run. The same confirmation once more finds the same run.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a confirmation that is not one of this account, is too old or belongs to another filter or
    /// action; [`Error::Unsuited`] if the tokens have changed by more than the caller allows; [`Error::Full`] if too many
    /// runs are under way.
    pub async fn start(&self, caller: &Caller, confirmation: Confirmation) -> Result<Run> {
        let sealed = self.open(&confirmation)?;
        let now = self.core.clock.now();
        let survey = Survey::counting(&sealed, now, Arc::clone(&self.core.policy));
        let (_, survey) = self.survey(caller, survey).await?;
        if let Some(run) = survey.known {
            return Ok(*run);
        }
        let change = sealed.census.change(&survey.census, survey.made);
        change.require_within(confirmation.maximum_change)?;
        let refused: i64 = survey.refused.values().sum();
        // A run that ends nothing adds its events all the same, so it has to wait like other changes.
        let ends =
            sealed.confirmed.wish.action.ends() && survey.census.found > survey.unchanged + refused;
        let counted = (survey.census.found, survey.made);
        let run = self.begin(caller, sealed, counted, ends, now).await?;
        self.core.bulk_begun.notify_one();
        Ok(run)
    }

    async fn begin(
        &self,
        caller: &Caller,
        sealed: Sealed,
        (found, made_since): (i64, i64),
        ends: bool,
        now: DateTime<Utc>,
    ) -> Result<Run> {
        let (credential, origin) = (caller.credential(), caller.origin().clone());
        let urgency = Urgency::of_an_end(ends);
        self.core
            .change(caller, urgency, Lock::Catalog, move |connection, actor| {
                if let Some(run) = table::find(connection, BulkId(sealed.id))? {
                    return Ok(Done::nothing(run));
                }
                let (own, all) = table::under_way(connection, actor.key)?;
                admit_run(own, all, ends)?;
                let mut run = Run {
                    key: BulkKey(0),
                    id: BulkId(sealed.id),
                    created: actor.stamp(now),
                    mandate: Mandate {
                        account: actor.key,
                        version: actor.version,
                        login: login(connection, actor.key)?,
                        credential,
                        origin: origin.clone(),
                    },
                    confirmed: sealed.confirmed.clone(),
                    made_since,
                    state: RunState::Running,
                    reason: None,
                    tally: Tally {
                        found,
                        ..Tally::default()
                    },
                    place: None,
                    finished_at: None,
                };
                let mut changes = vec![Change::done(Kind::Bulk, &run)];
                if found == 0 {
                    (run.state, run.finished_at) = (RunState::Done, Some(now));
                    changes.push(Change::done(Kind::Bulk, &run));
                }
                table::insert(connection, &mut run)?;
                Ok(Done::of(run, changes))
            })
            .await
    }

    /// Opens a confirmation, and compares it with what the caller repeats.
    fn open(&self, confirmation: &Confirmation) -> Result<Sealed> {
        let opened = self
            .core
            .data_keys
            .open_text(CONFIRMATION, &confirmation.text);
        let sealed = opened
            .and_then(|bytes| serde_json::from_slice::<Sealed>(&bytes).ok())
            .ok_or_else(|| {
                invalid(
                    "confirmation is not one that this service gave; send \"dryRun\": true for one",
                )
            })?;
        let wish = &sealed.confirmed.wish;
        let filter = confirmation.filter.as_ref();
        if filter.is_some_and(|filter| *filter != wish.filter)
            || confirmation
                .action
                .is_some_and(|action| action != wish.action)
        {
            return Err(invalid(
                "confirmation is of a dry run with another filter, action or expiryDate; leave them out or as they were",
            ));
        }
        Ok(sealed)
    }

    /// A run that the caller may see.
    pub async fn show(&self, caller: &Caller, id: BulkId) -> Result<Report> {
        let show = move |connection: &mut Session, actor: &Actor| {
            connection.snapshot(|connection| {
                let run = visible(connection, actor, id)?;
                report(connection, run)
            })
        };
        self.core.read_list(caller, Length::Long, show).await
    }

    /// A page of the runs that the caller may see, the newest first, and their number.
    pub async fn list(&self, caller: &Caller, window: Window) -> Result<(Vec<Run>, i64)> {
        let page = move |connection: &mut Session, actor: &Actor| {
            connection.snapshot(|connection| table::page(connection, actor, window))
        };
        let length = Length::of_page(window.limit);
        self.core.read_list(caller, length, page).await
    }

    /// Ends a run before its next batch. A run that has ended stays as it is.
    pub async fn cancel(&self, caller: &Caller, id: BulkId) -> Result<Report> {
        let now = self.core.clock.now();
        let cancel = move |connection: &mut Transaction<'_>, actor: &Actor| {
            let run = visible(connection, actor, id)?;
            let Some(mut run) = table::hold(connection, run.key, now)? else {
                // It may have ended since it was read.
                let run = visible(connection, actor, id)?;
                return Ok(Done::nothing(report(connection, run)?));
            };
            (run.state, run.finished_at) = (RunState::Cancelled, Some(now));
            table::update(connection, &run)?;
            let change = Change::done(Kind::Bulk, &run);
            Ok(Done::told(report(connection, run)?, change))
        };
        self.core.end(caller, Lock::Nothing, cancel).await
    }

    /// Works on all runs, a few batches of each at a time. `holder` names this process. Returns the number of tokens that
    /// were looked at; none if another process works, or a restored database is frozen.
    pub async fn work(&self, holder: &str) -> Result<i64> {
        if self.core.store.is_frozen() {
            return Ok(0);
        }
        let mut worker = Worker::new(self.core, holder);
        let mut looked_at = 0;
        while let Some(tokens) = worker.step().await? {
            looked_at += tokens;
        }
        worker.rest().await?;
        Ok(looked_at)
    }

    /// [`Self::work`] on a few batches of one run. Returns false if there is no more to do now.
    pub async fn step(&self, holder: &str) -> Result<bool> {
        Ok(Worker::new(self.core, holder).step().await?.is_some())
    }
}

fn invalid(message: &str) -> Error {
    Error::invalid(Field::Confirmation, message)
}

fn visible(connection: &mut Session, actor: &Actor, id: BulkId) -> Result<Run> {
    let found = table::find(connection, id)?;
    let found = found.filter(|run| run.is_visible_to(actor));
    found.ok_or_else(|| Error::not_found(What::Bulk, id))
}

fn report(connection: &mut Session, run: Run) -> Result<Report> {
    let refused = table::refused(connection, run.key)?;
    Ok(Report { run, refused })
}

/// A confirmation, as the jobs of its survey check it.
#[derive(Debug, Clone, Copy)]
struct Confirming {
    id: BulkId,
    account: i64,
    too_old: bool,
}

impl Confirming {
    /// The run that it began before.
    fn find(self, connection: &mut Session, actor: &Actor) -> Result<Option<Run>> {
        if actor.key.0 != self.account {
            return Err(invalid("confirmation is of another account's dry run"));
        }
        let known = table::find(connection, self.id)?;
        if known.is_none() && self.too_old {
            return Err(invalid(
                "confirmation is older than 15 minutes; make the dry run once more",
            ));
        }
        Ok(known)
    }
}

/// A look at all tokens of a run, between two of its jobs.
#[derive(Debug, Clone)]
struct Survey {
    wish: Wish,
    begun: DateTime<Utc>,
    /// The rules by which the tokens are judged.
    judged_by: Arc<Policy>,
    /// The confirmation, unless it is a dry run.
    confirming: Option<Confirming>,
    /// The run that it began before.
    known: Option<Box<Run>>,
    /// Begun with the first job, unless it is of an earlier dry run.
    search: Option<(Search, Confirmed)>,
    census: Census,
    /// The tokens that were made after the dry run.
    made: i64,
    unchanged: i64,
    refused: BTreeMap<String, i64>,
    shown: Vec<NamedToken>,
    ended: bool,
}

impl Survey {
    fn judging(wish: Wish, begun: DateTime<Utc>, policy: Arc<Policy>) -> Self {
        Self {
            wish,
            begun,
            judged_by: policy,
            confirming: None,
            known: None,
            search: None,
            census: Census::default(),
            made: 0,
            unchanged: 0,
            refused: BTreeMap::new(),
            shown: Vec::new(),
            ended: false,
        }
    }

    fn counting(sealed: &Sealed, now: DateTime<Utc>, policy: Arc<Policy>) -> Self {
        let confirmed = &sealed.confirmed;
        let search = Search::new(confirmed.clone(), None, PAGE);
        Self {
            confirming: Some(Confirming {
                id: BulkId(sealed.id),
                account: sealed.account,
                too_old: confirmed.begun() + CONFIRMABLE <= now,
            }),
            search: Some((search, confirmed.clone())),
            ..Self::judging(confirmed.wish.clone(), confirmed.begun(), policy)
        }
    }

    fn confirmed(&self) -> Result<Confirmed> {
        let search = self.search.as_ref();
        let confirmed = search.map(|(_, confirmed)| confirmed.clone());
        confirmed.ok_or_else(|| Error::internal("a survey has not begun"))
    }

    fn go_on(&mut self, connection: &mut Session, actor: &Actor) -> Result<()> {
        if let Some(confirming) = &self.confirming {
            self.known = confirming.find(connection, actor)?.map(Box::new);
            if self.known.is_some() {
                self.ended = true;
                return Ok(());
            }
        }
        let ids = &self.wish.filter.registries;
        let homes = token_lists::homes(connection, actor, ids)?;
        let keys: Vec<_> = homes.iter().map(|home| home.rules.key).collect();
        let (mut search, confirmed) = if let Some(begun) = self.search.take() {
            begun
        } else {
            let last = table::last_token(connection)?;
            let confirmed = Confirmed::new(self.wish.clone(), self.begun, last);
            (Search::new(confirmed.clone(), None, PAGE), confirmed)
        };
        let page = search.go_on(connection, &keys)?;
        self.search = Some((search, confirmed));
        self.ended = page.ended;
        self.made += page.later;
        self.count(&page.matches)?;
        for matches in page
            .matches
            .chunk_by(|one, other| one.place.registry == other.place.registry)
        {
            let registry = matches.first().map(|found| found.place.registry);
            let place = |key| homes.binary_search_by_key(&key, |home| home.rules.key).ok();
            let home = registry.and_then(place).and_then(|place| homes.get(place));
            if let Some(home) = home {
                let policy = Arc::clone(&self.judged_by);
                self.judge(connection, actor, &policy, home, matches)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, matches: &[Match]) -> Result<()> {
        for found in matches {
            self.census.count(found.token);
        }
        if self.census.found > TOKENS {
            return Err(Error::invalid(
                Field::Filter,
                format!(
                    "filter finds more than {TOKENS} tokens, which is the most at once; narrow it"
                ),
            ));
        }
        Ok(())
    }

    fn judge(
        &mut self,
        connection: &mut Session,
        actor: &Actor,
        policy: &Policy,
        home: &Home,
        matches: &[Match],
    ) -> Result<()> {
        let Some((rules, rights)) = enter(connection, actor, home)? else {
            return Ok(());
        };
        let judge = Judge {
            actor,
            policy,
            action: self.wish.action,
            now: self.begun,
            rules,
            rights,
        };
        let keys: Vec<_> = matches.iter().map(|found| found.token).collect();
        for keys in keys.chunks(LOADED) {
            let tokens = load(connection, rules, keys)?;
            self.judge_each(&judge, home, tokens)?;
        }
        Ok(())
    }

    fn judge_each(&mut self, judge: &Judge<'_>, home: &Home, tokens: Vec<Token>) -> Result<()> {
        for token in tokens {
            match judge.decide(&token) {
                Ok(Decision::Nothing) => self.unchanged += 1,
                Ok(Decision::Change(_) | Decision::Delete) => {}
                Err(error) if is_refusal(&error) => self.note(error.to_string()),
                Err(error) => return Err(error),
            }
            if self.shown.len() < SHOWN {
                self.shown.push(NamedToken {
                    id: token.id,
                    name: token.name,
                    registry: home.id,
                    registry_name: home.name.clone(),
                });
            }
        }
        Ok(())
    }

    fn note(&mut self, reason: String) {
        let known = self.refused.contains_key(&reason) || self.refused.len() < REASONS;
        let reason = if known {
            reason
        } else {
            OTHER_REASONS.to_owned()
        };
        *self.refused.entry(reason).or_default() += 1;
    }
}
