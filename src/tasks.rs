//! The work in the background of a server: every loop, started and stopped together.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::task::JoinHandle;
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use crate::domain::id::SigningKeyNumber;
use crate::error::{Error, Result};
use crate::service::Service;
use crate::service::janitor::Round;
use crate::tls::Identity;

/// How often the janitor looks.
const JANITOR_PAUSE: Duration = Duration::from_secs(10);
/// How often logins and refusals are written: a killed process forgets those since the last time.
const AUDIT_PAUSE: Duration = Duration::from_secs(1);
/// How often uses of tokens are written that are their first, or the first in a while.
const FIRST_USES_PAUSE: Duration = Duration::from_secs(1);
/// How often all other uses are written: each token at most once in this time.
const USES_PAUSE: Duration = Duration::from_mins(1);
/// How long a stop waits for each of the last writes.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// How long a count holds, at least.
const REST: Duration = Duration::from_mins(1);
/// How many times as long as a count took it rests after it.
const SHARE: u32 = 500;

/// The running tasks.
#[derive(Debug)]
pub struct Tasks {
    service: Service,
    /// They only read, so a stop does not wait for them.
    readers: Vec<JoinHandle<()>>,
    /// They hold what the last writes of a stop are to take.
    writers: Vec<JoinHandle<()>>,
}

impl Tasks {
    /// Starts the tasks of a service. `holder` names this process. `certificate` is followed at each signal; `counts`
    /// says that a monitor reads what is counted. To be called in an actix system.
    #[must_use]
    pub fn start(
        service: Service,
        holder: String,
        certificate: Option<(Arc<Identity>, Signal)>,
        counts: bool,
    ) -> Self {
        let mut readers = vec![spawn(run_janitor(service.clone(), holder))];
        if let Some((identity, hangups)) = certificate {
            readers.push(spawn(identity.follow(hangups)));
        }
        if counts {
            readers.push(spawn(count(service.clone())));
        }
        let writers = vec![
            spawn(write_uses(service.clone())),
            spawn(write_audit(service.clone())),
        ];
        Self {
            service,
            readers,
            writers,
        }
    }

    /// Stops all of them and writes what waits. A database that is away does not keep the process from ending.
    pub async fn stop(self) {
        for task in self.readers.iter().chain(&self.writers) {
            task.abort();
        }
        for task in self.writers {
            let _ = task.await;
        }
        report_uses(in_time(self.service.flush_usage()).await);
        report_audit(in_time(self.service.flush_audit(true)).await);
    }
}

fn spawn(task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    actix_web::rt::spawn(task)
}

async fn in_time(write: impl Future<Output = Result<usize>>) -> Result<usize> {
    let done = tokio::time::timeout(LAST_WRITE, write).await;
    done.unwrap_or_else(|_| Err(Error::busy()))
}

fn ticks(pause: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Writes uses of tokens: first ones and all others, each at their pause by the service's clock. A failure is logged, and
/// what was not written waits for the next time.
async fn write_uses(service: Service) {
    let mut ticks = ticks(FIRST_USES_PAUSE / 2);
    let (mut began, mut last) = (service.instant(), service.instant());
    loop {
        ticks.tick().await;
        let now = service.instant();
        if now.saturating_duration_since(began) >= USES_PAUSE {
            (began, last) = (now, now);
            report_uses(service.flush_usage().await);
        } else if now.saturating_duration_since(last) >= FIRST_USES_PAUSE {
            last = now;
            report_uses(service.flush_first_usage().await);
        }
    }
}

fn report_uses(done: Result<usize>) {
    match done {
        Ok(0) => {}
        Ok(tokens) => tracing::debug!(tokens, "wrote last uses"),
        Err(Error::Unavailable { outage, .. }) => {
            tracing::warn!(%outage, "the last uses of tokens could not be written");
        }
        Err(error) => tracing::error!(error = error.chain(), "writing last uses failed"),
    }
}

/// Writes logins and refusals to the audit trail. A failure is logged, and what was not written waits for the next time.
async fn write_audit(service: Service) {
    let mut ticks = ticks(AUDIT_PAUSE);
    loop {
        ticks.tick().await;
        report_audit(service.flush_audit(false).await);
    }
}

fn report_audit(done: Result<usize>) {
    match done {
        Ok(_) => {}
        Err(Error::Unavailable { outage, .. }) => {
            tracing::warn!(%outage, "logins and refusals could not be written to the audit trail");
        }
        Err(error) => tracing::error!(error = error.chain(), "writing the audit trail failed"),
    }
}

/// Counts what is in the database, and rests the longer the more there was to count.
async fn count(service: Service) {
    loop {
        let begun = Instant::now();
        match service.metrics().refresh().await {
            Ok(()) => {}
            Err(Error::Unavailable { outage, .. }) => {
                tracing::debug!(%outage, "what is in the database cannot be counted now");
            }
            Err(error) => {
                tracing::error!(
                    error = error.chain(),
                    "what is in the database cannot be counted"
                );
            }
        }
        tokio::time::sleep(REST.max(begun.elapsed() * SHARE)).await;
    }
}

/// Runs rounds of the janitor. A failure is logged, and the next round tries again.
async fn run_janitor(service: Service, holder: String) {
    let mut ticks = ticks(JANITOR_PAUSE);
    let mut told = Told::default();
    loop {
        ticks.tick().await;
        // Nobody may be asking this process; then it is the janitor who notices that all is confirmed.
        if service.is_frozen() && !matches!(service.freeze().heed().await, Ok(None)) {
            continue;
        }
        let done = async {
            told.early_authorities(&service).await?;
            if let Some(round) = service.janitor().run(&holder).await? {
                told.round(&round);
            }
            Ok(())
        };
        match done.await {
            Ok(()) => {}
            Err(Error::Unavailable { outage, .. }) => {
                tracing::warn!(%outage, "the janitor has to wait for the database");
            }
            Err(error) => tracing::error!(error = error.chain(), "the janitor failed"),
        }
    }
}

/// Things that the log was told and is not told again.
#[derive(Debug, Default)]
struct Told {
    doubt: bool,
    early: Vec<SigningKeyNumber>,
}

impl Told {
    fn round(&mut self, round: &Round) {
        match round.doubt {
            Some(doubt) if !self.doubt => tracing::warn!(
                clock = %doubt.looked_at,
                until = %doubt.until(),
                "the clock jumped by more than a day since the janitor last looked, or no server ran for so long; \
                 nothing that expired is removed until then. If the clock is wrong, set it right before"
            ),
            None if self.doubt => tracing::info!("the janitor believes the clock again"),
            _ => {}
        }
        self.doubt = round.doubt.is_some();
        if round.early > 0 {
            tracing::warn!(
                keys = round.early,
                "certificates of signing keys were not valid yet and were made anew; the clock was ahead, or is behind"
            );
        }
        if !round.is_idle() {
            tracing::info!(
                registries = round.registries,
                tokens = round.tokens,
                expired = round.expired,
                rotated = round.rotated,
                forgotten = round.forgotten,
                api_tokens = round.over,
                notices = round.ending,
                app_tokens = round.app_tokens,
                events = round.events,
                answers = round.answers,
                "purged rows and rotated keys"
            );
        }
    }

    /// Nobody but the operator can mend an authority, since registries have to be given the new bundle.
    async fn early_authorities(&mut self, service: &Service) -> Result<()> {
        let early = service.signing_keys().early_authorities().await?;
        for authority in &early {
            if !self.early.contains(&authority.number) {
                tracing::warn!(registry = %authority.registry, "{}", authority.advice(service.now()));
            }
        }
        self.early = early.iter().map(|authority| authority.number).collect();
        Ok(())
    }
}
