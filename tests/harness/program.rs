//! The real program as a process of its own, to be signalled and killed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::server::ADMIN_PASSWORD;
use super::{Actor, Database, Watchdog};

/// A running `wharfinger serve`, killed when dropped.
pub struct Program {
    pub child: Child,
    /// The URL of its address.
    pub base: String,
    /// Its standard output up to the address.
    pub greeting: String,
    /// Reads the log as it is written: a full pipe would stop the program.
    log: Option<JoinHandle<String>>,
    _database: Arc<Database>,
}

impl Program {
    /// The command with the settings of a test, on the database's folder.
    pub fn command(database: &Database) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
        command
            .env_clear()
            .args([
                "--listen",
                "127.0.0.1:0",
                "--bcrypt-cost",
                "4",
                "--workers",
                "1",
                "--readers",
                "2",
            ])
            .args([
                "--data-dir",
                database.folder().to_str().unwrap(),
                "--database-url",
                &database.url,
            ])
            .env("WHARFINGER_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=");
        command
    }

    /// The same command run by another, such as `sh -c '…; exec "$@"' sh`.
    pub fn through(runner: &[&str], command: &Command) -> Command {
        let mut outer = Command::new(runner[0]);
        outer
            .env_clear()
            .args(&runner[1..])
            .arg(command.get_program())
            .args(command.get_args())
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        outer
    }

    /// Starts it and waits until it says where it serves.
    pub fn start(database: &Arc<Database>) -> Self {
        Self::spawn(database, Self::command(database))
    }

    /// Starts a prepared command and waits until it says where it serves.
    pub fn spawn(database: &Arc<Database>, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut errors = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            errors.read_to_end(&mut log).unwrap();
            String::from_utf8_lossy(&log).into_owned()
        });
        let mut greeting = String::new();
        // It may say nothing, or repeat for ever that it waits.
        let _watchdog = Watchdog::over(&child);
        let base = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                let log = log.join().unwrap();
                panic!("the program ended before it served: {log}");
            }
            greeting.push_str(&line);
            if let Some(rest) = line.strip_prefix("Wharfinger is at ") {
                let base = rest.trim_end().trim_end_matches(". Try:").to_owned();
                // The curl line that follows.
                lines.read_line(&mut greeting).unwrap();
                break base;
            }
        };
        Self {
            child,
            base,
            greeting,
            log: Some(log),
            _database: Arc::clone(database),
        }
    }

    /// The account that may do everything.
    pub fn admin(&self) -> Actor {
        Actor::of(&self.base, "admin", ADMIN_PASSWORD)
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end and returns the exit status and the log.
    pub fn wait(mut self) -> (std::process::ExitStatus, String) {
        let _watchdog = Watchdog::over(&self.child);
        let log = self.log.take().unwrap().join().unwrap();
        (self.child.wait().unwrap(), log)
    }

    /// Ends it as a power cut would end the process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
