//! The background tasks of a server, started and stopped together.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::task::JoinHandle;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::domain::id::SigningKeyNumber;
use crate::error::{Error, Outage, Result};
use crate::service::Service;
use crate::service::janitor::Round;
use crate::tls::Identity;

/// The time between rounds of the janitor.
const JANITOR_PAUSE: Duration = Duration::from_secs(10);
/// The time between looks for bulk runs that no process works on.
const BULK_PAUSE: Duration = Duration::from_secs(5);
/// The time between looks for changes that the database lost.
const LOSS_PAUSE: Duration = Duration::from_secs(1);
/// The time between writes of logins and refusals: a killed process loses those since the last one.
const AUDIT_PAUSE: Duration = Duration::from_secs(1);
/// The time between writes of the uses of tokens that are the first, or the first in a while.
const FIRST_USES_PAUSE: Duration = Duration::from_secs(1);
/// The time between writes of all other uses: each token at most once in this time.
const USES_PAUSE: Duration = Duration::from_mins(1);
/// The time limit for each of the last writes at a stop.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// The minimum pause between counts.
const REST: Duration = Duration::from_mins(1);
/// The pause after a count as a multiple of the time that it took.
const SHARE: u32 = 500;

/// The running tasks.
#[derive(Debug)]
pub struct Tasks {
    service: Service,
    /// Tasks that hold nothing for the last writes of a stop. Their work can stop half-way.
    others: Vec<JoinHandle<()>>,
    /// Tasks that hold data for the last writes of a stop.
    writers: Vec<JoinHandle<()>>,
    /// Tells the writers to end.
    stop: watch::Sender<bool>,
}

impl Tasks {
    /// Starts the tasks of a service. `holder` names this process. `certificate` is reloaded at each signal. `counts`
    /// is true if a monitor reads the counts. Has to be called in an actix system.
    #[must_use]
    pub fn start(
        service: Service,
        holder: String,
        certificate: Option<(Arc<Identity>, Signal)>,
        counts: bool,
    ) -> Self {
        let mut others = vec![
            spawn(run_janitor(service.clone(), holder.clone())),
            spawn(run_bulk(service.clone(), holder)),
        ];
        if let Some((identity, hangups)) = certificate {
            others.push(spawn(identity.follow(hangups)));
        }
        others.push(spawn(watch_losses(service.clone())));
        if counts {
            others.push(spawn(count(service.clone())));
        }
        let (stop, stopped) = watch::channel(false);
        let writers = vec![
            spawn(write_uses(service.clone(), stopped.clone())),
            spawn(write_audit(service.clone(), stopped)),
        ];
        Self {
            service,
            others,
            writers,
            stop,
        }
    }

    /// Stops all tasks and writes the pending data. An unavailable database does not keep the process from ending.
    pub async fn stop(self) {
        for task in &self.others {
            task.abort();
        }
        // A write under way is finished: if it were given up, the last one would write the same events again.
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + LAST_WRITE;
        for mut task in self.writers {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                let _ = task.await;
            }
        }
        report_uses(by(deadline, self.service.flush_usage()).await);
        report_audit(by(deadline, self.service.flush_audit(true)).await);
        report_refused(by(deadline, self.service.flush_refused_workloads()).await);
    }
}

fn spawn(task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    actix_web::rt::spawn(task)
}

async fn by(
    deadline: tokio::time::Instant,
    write: impl Future<Output = Result<usize>>,
) -> Result<usize> {
    let done = tokio::time::timeout_at(deadline, write).await;
    done.unwrap_or_else(|_| {
        Err(Error::Unavailable {
            outage: Outage::Gone,
            source: None,
        })
    })
}

/// Waits for a tick. Returns false at a stop.
async fn ticked(ticks: &mut tokio::time::Interval, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        _ = ticks.tick() => true,
        _ = stopped.wait_for(|stopped| *stopped) => false,
    }
}

fn ticks(pause: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Writes uses of tokens: first ones and all others, each at their pause by the service's clock. It logs a failure and
/// tries again the next time.
async fn write_uses(service: Service, mut stopped: watch::Receiver<bool>) {
    let mut ticks = ticks(FIRST_USES_PAUSE / 2);
    let (mut began, mut last) = (service.instant(), service.instant());
    while ticked(&mut ticks, &mut stopped).await {
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
        Ok(tokens) => tracing::debug!(tokens, "the last uses of tokens were written"),
        Err(Error::Unavailable { outage, .. }) => {
            tracing::warn!(
                %outage,
                "the last uses of tokens could not be written and wait for the next round; check the database"
            );
        }
        Err(error) => tracing::error!(
            error = error.chain(),
            "the last uses of tokens could not be written and wait for the next round; report this defect"
        ),
    }
}

/// Writes logins and refusals to the audit trail. It logs a failure and tries again the next time.
async fn write_audit(service: Service, mut stopped: watch::Receiver<bool>) {
    let mut ticks = ticks(AUDIT_PAUSE);
    while ticked(&mut ticks, &mut stopped).await {
        report_audit(service.flush_audit(false).await);
        report_refused(service.flush_refused_workloads().await);
    }
}

fn report_audit(done: Result<usize>) {
    match done {
        Ok(_) => {}
        Err(Error::Unavailable { outage, .. }) => {
            tracing::warn!(
                %outage,
                "logins and refusals could not be written to the audit trail and wait for the next round; check the \
                 database"
            );
        }
        Err(error) => tracing::error!(
            error = error.chain(),
            "logins and refusals could not be written to the audit trail and wait for the next round; report this \
             defect"
        ),
    }
}

fn report_refused(done: Result<usize>) {
    match done {
        Ok(_) => {}
        Err(Error::Unavailable { outage, .. }) => {
            tracing::warn!(
                %outage,
                "the refusals of workloads could not be written and wait for the next round; check the database"
            );
        }
        Err(error) => tracing::error!(
            error = error.chain(),
            "the refusals of some workloads could not be written and were lost; report this defect"
        ),
    }
}

/// Counts tokens and certificates in the database. The longer a count takes, the longer is the pause after it.
async fn count(service: Service) {
    loop {
        let begun = Instant::now();
        match service.metrics().refresh().await {
            Ok(()) => {}
            Err(Error::Unavailable { outage, .. }) => {
                tracing::debug!(%outage, "the tokens and certificates could not be counted for the metrics");
            }
            Err(error) => {
                tracing::error!(
                    error = error.chain(),
                    "the tokens and certificates could not be counted for the metrics; report this defect"
                );
            }
        }
        tokio::time::sleep(REST.max(begun.elapsed() * SHARE)).await;
    }
}

/// Runs rounds of the janitor. It logs a failure and tries again in the next round.
async fn run_janitor(service: Service, holder: String) {
    let mut ticks = ticks(JANITOR_PAUSE);
    let mut told = Told::default();
    loop {
        ticks.tick().await;
        // If no requests come, only the janitor notices that the restore was confirmed.
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
                tracing::warn!(%outage, "the janitor could not work and tries again; check the database");
            }
            Err(error) => tracing::error!(
                error = error.chain(),
                "the janitor failed and tries again; report this defect"
            ),
        }
    }
}

/// Works on bulk runs, when one begins here and at a pause: another process may have left one. It logs a failure and tries
/// again after the pause.
async fn run_bulk(service: Service, holder: String) {
    let mut ticks = ticks(BULK_PAUSE);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = service.bulk_begun() => {}
        }
        match service.bulk().work(&holder).await {
            Ok(0) => {}
            Ok(tokens) => tracing::info!(tokens, "bulk runs looked at tokens"),
            Err(Error::Unavailable { outage, .. }) => {
                tracing::warn!(%outage, "a bulk run could not go on and tries again; check the database");
            }
            Err(error) => tracing::error!(
                error = error.chain(),
                "a bulk run failed and tries again; report this defect"
            ),
        }
    }
}

/// Looks for changes that the database lost. It logs a failure and tries again.
async fn watch_losses(service: Service) {
    let mut ticks = ticks(LOSS_PAUSE);
    loop {
        ticks.tick().await;
        match service.losses().look().await {
            Ok(()) => {}
            Err(Error::Unavailable { outage, .. }) => {
                tracing::debug!(%outage, "the database could not be compared with what this process knows");
            }
            Err(error) => tracing::error!(
                error = error.chain(),
                "the database could not be compared with what this process knows; report this defect"
            ),
        }
    }
}

/// The warnings that were logged and are not logged again.
#[derive(Debug, Default)]
struct Told {
    doubt: bool,
    early: Vec<SigningKeyNumber>,
}

impl Told {
    fn round(&mut self, round: &Round) {
        let Round {
            registries,
            tokens,
            expired,
            rotated,
            early,
            forgotten,
            over,
            ending,
            app_tokens,
            events,
            answers,
            bulk_runs,
            jwts,
            doubt,
        } = *round;
        match doubt {
            Some(doubt) if !self.doubt => tracing::warn!(
                clock = %doubt.looked_at,
                until = %doubt.until(),
                "the clock jumped by more than a day, or no server ran for more than a day; the janitor removes \
                 nothing that expired before the time in `until`. If the clock is wrong, correct it before that time"
            ),
            None if self.doubt => tracing::info!("the janitor trusts the clock again"),
            _ => {}
        }
        self.doubt = doubt.is_some();
        if early > 0 {
            tracing::warn!(
                keys = early,
                "signing keys were replaced, as their certificates were not valid yet; the clock was ahead before or \
                 is behind now, so check it"
            );
        }
        if !round.is_idle() {
            tracing::info!(
                registries,
                tokens,
                expired,
                rotated,
                forgotten,
                api_tokens = over,
                notices = ending,
                app_tokens,
                events,
                answers,
                bulk_runs,
                jwts,
                "the janitor removed rows and rotated keys"
            );
        }
    }

    /// Warns of authorities that need the operator, since registries have to be given the new bundle.
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
