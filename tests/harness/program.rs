//! The real program as a process of its own, to be signalled and killed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::server::ADMIN_PASSWORD;
use super::{Actor, Database};

/// A running `wharfinger serve`, killed when dropped.
pub struct Program {
    pub child: Child,
    /// Where it serves.
    pub base: String,
    /// Its standard output up to the address.
    pub greeting: String,
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
        let mut greeting = String::new();
        let base = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                let mut log = String::new();
                child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut log)
                    .unwrap();
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
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
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
