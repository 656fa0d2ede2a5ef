//! For how long a test waits before it fails rather than hang.

use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// No machine takes longer for anything that a test waits for.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Counts the time of a loop that waits.
#[derive(Debug)]
pub struct Patience(Instant);

impl Patience {
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Fails with a sentence when nothing has come for so long.
    pub fn spend(&self, complaint: &str) {
        assert!(
            self.0.elapsed() < PATIENCE,
            "after {} s {complaint}",
            PATIENCE.as_secs()
        );
    }
}

/// Waits for something that comes from elsewhere, or fails with a sentence.
pub async fn within_patience<T>(coming: impl Future<Output = T>, complaint: &str) -> T {
    tokio::time::timeout(PATIENCE, coming)
        .await
        .unwrap_or_else(|_| panic!("after {} s {complaint}", PATIENCE.as_secs()))
}

/// Ends a process unless this is dropped in time, so that readers and waiters of the process see its end.
#[derive(Debug)]
pub struct Watchdog {
    _in_time: mpsc::Sender<()>,
}

impl Watchdog {
    pub fn over(child: &Child) -> Self {
        let (in_time, dropped) = mpsc::channel::<()>();
        let process = child.id().to_string();
        std::thread::spawn(move || {
            if dropped.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let mut kill = std::process::Command::new("kill");
                drop(kill.args(["-KILL", &process]).status());
            }
        });
        Self { _in_time: in_time }
    }
}
