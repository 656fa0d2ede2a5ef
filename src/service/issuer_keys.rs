//! The keys of issuers: kept in memory, and fetched when they are old or when a JWT names one that is not among them.
//!
//! Owns when keys are fetched, and how long they count. A set is built before it takes the place of the last one, and
//! one that cannot be fetched or has no usable key takes nobody's place. Refuses to know trusts. A kept set belongs
//! to a version of an issuer; a job that uses it compares that with the row.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use url::Url;

use super::issuer_key_set::{Check, KeySet};
use crate::clock::Clock;
use crate::domain::issuer::IssuerRules;
use crate::domain::key_source::{Authorities, KeySource};
use crate::domain::status::Status;
use crate::domain::workload_jwt::WorkloadJwt;
use crate::error::{Error, Outage, Result};
use crate::metrics;
use crate::outgoing::Outgoing;

/// The age from which keys are fetched again beside the requests that use them.
const OLD: Duration = Duration::from_mins(10);
/// The age from which requests wait for newer keys, so that a withdrawn one does not count for long.
const TOO_OLD: Duration = Duration::from_hours(1);
/// The age from which keys do not count, however long their issuer is away.
const ENDED: Duration = Duration::from_hours(24);
/// The least time between two fetches of an issuer's keys.
const PAUSE: Duration = Duration::from_mins(1);
/// The time for a fetch, discovery included.
const FETCH: Duration = Duration::from_secs(5);
/// Issuers whose keys are kept: more than there can be, so that none drives out another.
const KEPT: u64 = 1000;
/// Requests that wait for a fetch.
const WAITING: usize = 256;

/// The keys of the issuers whose JWTs came lately.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    outgoing: Outgoing,
    clock: Arc<dyn Clock>,
    /// By the URL of the issuer.
    kept: moka::sync::Cache<String, Arc<Kept>>,
    waiting: Semaphore,
    counts: metrics::IssuerKeys,
}

/// The keys of a version of an issuer.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) issuer: IssuerRules,
    source: KeySource,
    ca: Option<Authorities>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last good set, and the time when it was fetched.
    set: Option<(Arc<KeySet>, Instant)>,
    /// The time when the last fetch began.
    tried: Option<Instant>,
    /// True if the last fetch that ended gave no set.
    failed: bool,
    /// The fetch under way. It closes the channel at its end.
    flight: Option<watch::Receiver<()>>,
}

/// The next step of a check.
enum Step {
    Done(Check),
    Wait(watch::Receiver<()>),
    /// There is no set to check with.
    Away,
}

impl State {
    fn flight(&self) -> Option<watch::Receiver<()>> {
        let flight = self.flight.as_ref()?;
        // An error means that it has ended.
        flight.has_changed().is_ok().then(|| flight.clone())
    }
}

impl Kept {
    /// The keys of an issuer, not fetched yet.
    pub(super) fn new(
        issuer: IssuerRules,
        source: KeySource,
        ca: Option<Authorities>,
        now: Instant,
    ) -> Self {
        let mut state = State::default();
        if let KeySource::Inline(jwks) = &source {
            // Writing refuses one without a usable key. One of an earlier release opens nothing.
            let set = KeySet::read(jwks.as_str().as_bytes()).unwrap_or_default();
            state.set = Some((Arc::new(set), now));
        }
        Self {
            issuer,
            source,
            ca,
            state: Mutex::new(state),
        }
    }

    /// Returns true if this is the issuer in the same version.
    pub(super) fn is_of(&self, issuer: &IssuerRules) -> bool {
        (self.issuer.key, self.issuer.version) == (issuer.key, issuer.version)
    }

    fn is_inline(&self) -> bool {
        matches!(self.source, KeySource::Inline(_))
    }

    /// Returns true if its keys may be fetched. Those of a disabled issuer are not: its server may be in other hands.
    fn is_fetched(&self) -> bool {
        !self.is_inline() && self.issuer.status == Status::Enabled
    }

    /// With the keys of an earlier version of the issuer, if they come from the same place.
    fn after(self, old: &Self) -> Self {
        if self.source == old.source && self.ca == old.ca {
            let old = old.lock();
            let mut state = self.lock();
            (state.set, state.tried) = (old.set.clone(), old.tried);
        }
        self
    }

    fn allows(&self, jwt: &WorkloadJwt) -> bool {
        let allowed = |algorithm| self.issuer.algorithms.contains(&algorithm);
        jwt.algorithm.is_some_and(allowed)
    }

    /// The time since the set was fetched; none without a set, and zero for one that is never fetched.
    fn age(&self, state: &State, now: Instant) -> Option<Duration> {
        let (_, fetched) = state.set.as_ref()?;
        let age = now.saturating_duration_since(*fetched);
        Some(if self.is_inline() {
            Duration::ZERO
        } else {
            age
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IssuerKeys {
    /// Keeps and fetches nothing yet.
    pub(super) fn new(outgoing: Outgoing, clock: Arc<dyn Clock>) -> Self {
        Self {
            outgoing,
            clock,
            kept: moka::sync::Cache::new(KEPT),
            waiting: Semaphore::new(WAITING),
            counts: metrics::IssuerKeys::default(),
        }
    }

    /// The counts of fetches. Also updates the age.
    pub(super) fn counts(&self) -> &metrics::IssuerKeys {
        let now = self.clock.instant();
        let stale = self.kept.iter().filter_map(|(_, kept)| {
            let state = kept.lock();
            kept.age(&state, now).filter(|_| state.failed)
        });
        let oldest = stale.max().unwrap_or_default();
        self.counts.stale(oldest.as_secs_f64());
        &self.counts
    }

    /// The keys of the issuer with this URL, as they were last kept.
    pub(super) fn kept(&self, url: &str) -> Option<Arc<Kept>> {
        self.kept.get(url)
    }

    /// Forgets the keys of an issuer that is not there any more.
    pub(super) fn forget(&self, url: &str) {
        self.kept.invalidate(url);
    }

    /// Keeps the keys of a version of an issuer, unless they are kept already. Those of an earlier version go on if they
    /// come from the same place, or else are dropped.
    pub(super) fn keep(&self, new: Kept) -> Arc<Kept> {
        let url = new.issuer.url.as_str().to_owned();
        let entry = self.kept.entry_by_ref(&url);
        let entry = entry.and_upsert_with(|entry| match entry.map(moka::Entry::into_value) {
            Some(old) if old.is_of(&new.issuer) => old,
            Some(old) => Arc::new(new.after(&old)),
            None => Arc::new(new),
        });
        entry.into_value()
    }

    /// Returns the keys with which the issuer that a JWT names signed it, if they are at hand and not old.
    pub(super) fn signed_at_hand(&self, jwt: &WorkloadJwt) -> Option<Arc<Kept>> {
        let kept = self.kept(&jwt.issuer)?;
        let fits = kept.allows(jwt) && {
            let set = {
                let state = kept.lock();
                let fresh = kept.age(&state, self.clock.instant())? < OLD;
                state.set.as_ref().filter(|_| fresh)?.0.clone()
            };
            set.check(jwt) == Check::Fits
        };
        fits.then_some(kept)
    }

    /// Returns true if the issuer signed a JWT. Fetches its keys if they are too old or lack the one of the JWT.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the keys that could tell are away.
    pub(super) async fn signed(&self, kept: &Arc<Kept>, jwt: &WorkloadJwt) -> Result<bool> {
        if !kept.allows(jwt) {
            return Ok(false);
        }
        for waited in [false, true] {
            match self.step(kept, jwt, waited) {
                Step::Done(check) => return Ok(check == Check::Fits),
                Step::Away => break,
                Step::Wait(mut flight) => {
                    let _place = self.waiting.try_acquire().map_err(|_| Error::busy())?;
                    // An error is the end of the fetch.
                    let _ = flight.changed().await;
                }
            }
        }
        Err(Error::Unavailable {
            outage: Outage::Issuer,
            source: Some(format!("no keys of {}", kept.issuer.url.as_str()).into()),
        })
    }

    fn step(&self, kept: &Arc<Kept>, jwt: &WorkloadJwt, waited: bool) -> Step {
        let now = self.clock.instant();
        let mut state = kept.lock();
        let age = kept.age(&state, now);
        let set = state
            .set
            .clone()
            .filter(|_| age.is_some_and(|age| age < ENDED));
        let check = set.map(|(set, _)| set.check(jwt));
        if !kept.is_fetched() {
            return Step::Done(check.unwrap_or(Check::Unknown));
        }
        let known = check.filter(|check| *check != Check::Unknown);
        let age = age.unwrap_or(ENDED);
        if age < OLD
            && let Some(known) = known
        {
            return Step::Done(known);
        }
        let rested = |tried| now.saturating_duration_since(tried) >= PAUSE;
        let flight = state.flight().or_else(|| {
            let due = !waited && state.tried.is_none_or(rested);
            due.then(|| self.take_off(Arc::clone(kept), &mut state, now))
        });
        match (known, flight) {
            (Some(known), _) if age < TOO_OLD => Step::Done(known),
            (_, Some(flight)) if !waited => Step::Wait(flight),
            (Some(known), _) => Step::Done(known),
            (None, _) if state.failed || check.is_none() => Step::Away,
            (None, _) => Step::Done(Check::Unknown),
        }
    }

    /// Begins to fetch keys.
    fn take_off(&self, kept: Arc<Kept>, state: &mut State, now: Instant) -> watch::Receiver<()> {
        let (flying, flight) = watch::channel(());
        (state.tried, state.flight) = (Some(now), Some(flight.clone()));
        let (outgoing, clock) = (self.outgoing.clone(), Arc::clone(&self.clock));
        let counts = self.counts.clone();
        // A client that hangs up does not end it for the others.
        tokio::spawn(async move {
            let fetched = tokio::time::timeout(FETCH, fetch(&outgoing, &kept)).await;
            let fetched = fetched
                .unwrap_or_else(|_| Err(format!("no keys came within {} s", FETCH.as_secs())));
            counts.fetched(fetched.is_ok());
            let mut state = kept.lock();
            if let Err(error) = &fetched {
                let issuer = kept.issuer.url.as_str();
                if state.set.is_some() {
                    tracing::warn!(
                        issuer,
                        error,
                        "the keys of an issuer could not be fetched; the last ones count for 24 hours"
                    );
                } else {
                    tracing::warn!(
                        issuer,
                        error,
                        "the keys of an issuer could not be fetched; there are none yet, so its JWTs are answered with 503"
                    );
                }
            }
            state.failed = fetched.is_err();
            if let Ok(set) = fetched {
                state.set = Some((Arc::new(set), clock.instant()));
            }
            drop(state);
            drop(flying);
        });
        flight
    }
}

/// Fetches the keys of an issuer. The error is for the log.
async fn fetch(outgoing: &Outgoing, kept: &Kept) -> std::result::Result<KeySet, String> {
    let issuer = kept.issuer.url.as_str();
    let get = async |url: &str| {
        let url: Url = url.parse().map_err(|_| format!("{url} is no URL"))?;
        let ca = kept.ca.as_ref().map(Authorities::as_str);
        let answer = outgoing.get(&url, ca).await;
        answer.map_err(|error| {
            // It may have a key of the issuer's API.
            let mut url = url;
            url.set_query(None);
            format!("{url}: {error}")
        })
    };
    let url = match &kept.source {
        KeySource::JwksUrl(url) => url.as_str().to_owned(),
        KeySource::Inline(_) => return Err("its keys are not fetched".to_owned()),
        KeySource::Discovery => {
            let base = issuer.strip_suffix('/').unwrap_or(issuer);
            let url = format!("{base}/.well-known/openid-configuration");
            let document = get(&url).await?;
            let document: serde_json::Value = serde_json::from_slice(&document)
                .map_err(|error| format!("{url}: the answer is no JSON: {error}"))?;
            let member = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
            if member("issuer") != Some(issuer) {
                return Err(format!(
                    "{url}: the answer is of another issuer than {issuer}"
                ));
            }
            let keys = member("jwks_uri");
            keys.ok_or_else(|| format!("{url}: the answer has no jwks_uri"))?
                .to_owned()
        }
    };
    let set = get(&url).await?;
    KeySet::read(&set).map_err(|error| format!("{url}: {error}"))
}
