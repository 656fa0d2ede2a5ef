//! PostgreSQL servers of a test's own, and a proxy in front of them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix_web::rt::task::yield_now;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, sql_query};

use super::PATIENCE;

/// A PostgreSQL server of the test's own, ended when dropped.
pub struct Cluster {
    folder: PathBuf,
    pub url: String,
}

impl Cluster {
    fn script(folder: &Path) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/postgres"));
        command
            .env("POSTGRES_DIR", folder)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        command
    }

    /// Starts one. A run that was killed may have left another in the same folder.
    pub fn start(name: &str, more: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        assert!(
            Self::script(&folder)
                .arg("stop")
                .status()
                .unwrap()
                .success()
        );
        let started = Self::script(&folder)
            .arg("start")
            .args(more)
            .output()
            .unwrap();
        assert!(started.status.success(), "scripts/postgres start failed");
        let url = String::from_utf8(started.stdout).unwrap().trim().to_owned();
        Self { folder, url }
    }

    pub fn port(&self) -> u16 {
        url::Url::parse(&self.url).unwrap().port().unwrap()
    }

    /// The folder of its socket.
    pub fn socket(&self) -> String {
        let run = std::fs::read_to_string(self.folder.join("record/run")).unwrap();
        run.trim().to_owned()
    }

    /// The log since the server's start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    pub fn execute(&self, sql: &str) {
        let mut connection = PgConnection::establish(&self.url).unwrap();
        connection.batch_execute(sql).unwrap();
    }

    /// The one value that a query answers, as a text.
    pub fn ask(&self, sql: &str) -> String {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            value: String,
        }
        let mut connection = PgConnection::establish(&self.url).unwrap();
        sql_query(format!("SELECT CAST(({sql}) AS TEXT) AS value"))
            .get_result::<Row>(&mut connection)
            .unwrap()
            .value
    }

    pub async fn until(&self, sql: &str, wanted: &str) {
        let begun = Instant::now();
        while self.ask(sql) != wanted {
            assert!(begun.elapsed() < PATIENCE, "{sql}");
            yield_now().await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = Self::script(&self.folder).arg("stop").status();
    }
}

/// One port in front of the servers. A proxy in front of a cluster does the same.
pub struct Front {
    pub port: u16,
    behind: Arc<AtomicU16>,
    /// True if new connections are silent, too.
    silent: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<Open>>>,
}

/// A connection through it.
struct Open {
    streams: [TcpStream; 2],
    /// True if it passes nothing on any more, as if the server were frozen. All that it takes is lost.
    silent: Arc<AtomicBool>,
}

impl Front {
    pub fn of(server: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = Self {
            port: listener.local_addr().unwrap().port(),
            behind: Arc::new(AtomicU16::new(server.port())),
            silent: Arc::default(),
            open: Arc::default(),
        };
        let (behind, open) = (Arc::clone(&front.behind), Arc::clone(&front.open));
        let all_silent = Arc::clone(&front.silent);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let port = behind.load(Ordering::SeqCst);
                // A server that is gone is a connection that ends.
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                // Locked until it is among the open ones, so that none is forgotten.
                let mut open = open.lock().unwrap();
                let silent = Arc::new(AtomicBool::new(all_silent.load(Ordering::SeqCst)));
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let silent = Arc::clone(&silent);
                    std::thread::spawn(move || pass_on(from, to, &silent));
                }
                let streams = [client, server];
                open.push(Open { streams, silent });
            }
        });
        front
    }

    /// Leads to another server from now on, and closes the open connections.
    pub fn exchange(&self, server: &Cluster) {
        self.behind.store(server.port(), Ordering::SeqCst);
        for connection in self.open.lock().unwrap().drain(..) {
            for stream in connection.streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Has all connections pass on nothing any more. They stay open, as those to a frozen server do.
    pub fn silence(&self) {
        let open = self.open.lock().unwrap();
        self.silent.store(true, Ordering::SeqCst);
        for connection in open.iter() {
            connection.silent.store(true, Ordering::SeqCst);
        }
    }

    /// Ends the silence for new connections.
    pub fn speak(&self) {
        self.silent.store(false, Ordering::SeqCst);
    }
}

/// Copies from one stream to another.
fn pass_on(mut from: TcpStream, mut to: TcpStream, silent: &AtomicBool) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if !silent.load(Ordering::SeqCst) && to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
