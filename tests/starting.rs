//! Starts after another process or a full disk left something behind, and the needs of a start.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection as _;
use rstest::rstest;
use serde_json::json;
use wharfinger::store::{self, Target};

use crate::harness::{ADMIN_PASSWORD, Actor, Backend, Database, PATIENCE, Program};

/// No test waits longer than this for anything.
const BOUND: Duration = PATIENCE;

/// The time for all processes that share the database, in microseconds.
fn shared_time(database: &Database) -> i64 {
    match database.backend {
        Backend::Postgres => database.number("EXTRACT(EPOCH FROM clock_timestamp()) * 1000000"),
        Backend::Sqlite => {
            #[expect(
                clippy::disallowed_methods,
                reason = "the program runs by the system's clock, and so does the lease that it finds"
            )]
            let now = Utc::now();
            now.timestamp_micros()
        }
    }
}

/// Leaves the lease of a process that took it for so many seconds and died.
fn leave_lease(database: &Database, seconds: i64) {
    let until = shared_time(database) + seconds * 1_000_000;
    database.execute(&format!(
        "CREATE TABLE IF NOT EXISTS leases (name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, until BIGINT NOT NULL); \
         DELETE FROM leases; INSERT INTO leases VALUES ('migrate', 'the dead one', {until})"
    ));
}

fn lease(database: &Database) -> Vec<String> {
    database.lines("SELECT holder || ' ' || until AS line FROM leases WHERE name = 'migrate'")
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn migrate(database: &Database) -> String {
    let output = run(Program::command(database).arg("migrate"));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[rstest]
fn a_start_with_nothing_to_migrate_takes_no_lease_and_waits_for_none(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    Program::start(&database).kill();
    leave_lease(&database, 20);
    let before = lease(&database);
    let program = Program::start(&database);
    assert_eq!(lease(&database), before);
    program.signal("TERM");
    let (status, log) = program.wait();
    assert!(status.success(), "{log}");
    assert!(
        !log.contains("another process migrates the database"),
        "{log}"
    );
}

#[rstest]
fn who_waits_says_for_whom_and_follows_a_dead_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    leave_lease(&database, 3);
    let log = migrate(&database);
    let waiting: Vec<_> = log
        .lines()
        .filter(|line| line.contains("another process migrates the database"))
        .collect();
    assert_eq!(waiting.len(), 1, "{log}");
    assert!(waiting[0].contains("the dead one"), "{log}");
    assert!(lease(&database).is_empty(), "it was not given back");
}

#[rstest]
fn a_lease_of_a_clock_that_was_ahead_is_void(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    leave_lease(&database, 3600);
    let log = migrate(&database);
    assert!(
        !log.contains("another process migrates the database"),
        "{log}"
    );
}

/// A clock that is wrong by years.
#[derive(Debug)]
struct Far;

impl wharfinger::clock::Clock for Far {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(4_102_444_800_000_000).unwrap()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// On PostgreSQL, whose clock all go by. SQLite's one lock keeps everybody else from writing meanwhile.
#[rstest]
fn a_lease_is_renewed_by_the_databases_clock_while_a_migration_runs(
    #[values(Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    let target = Target::parse(&database.url).unwrap();
    leave_lease(&database, -1);
    // A migration waits for this lock when it is to be noted.
    let mut other = database.connect();
    other
        .batch_execute(
            "CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, \
             run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP); \
             BEGIN; LOCK TABLE __diesel_schema_migrations IN EXCLUSIVE MODE",
        )
        .unwrap();
    let migrating = std::thread::spawn(move || {
        let clock: Arc<dyn wharfinger::clock::Clock> = Arc::new(Far);
        store::migrate(&target, &clock, "the one that migrates")
    });
    let (begun, mut seen) = (Instant::now(), std::collections::BTreeSet::new());
    while seen.len() < 4 {
        assert!(begun.elapsed() < BOUND, "it is not renewed: {seen:?}");
        let held = database.number(
            "SELECT COALESCE((SELECT MAX(until) FROM leases WHERE holder = 'the one that migrates'), 0)",
        );
        if held > 0 {
            let ahead = held - shared_time(&database);
            assert!(ahead < 60_000_000, "by its own clock: {ahead}");
            seen.insert(held);
        }
        assert!(!migrating.is_finished(), "it ended: {:?}", migrating.join());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    other.batch_execute("ROLLBACK").unwrap();
    assert!(migrating.join().unwrap().unwrap() > 10);
    assert!(lease(&database).is_empty());
}

async fn asked(admin: &Actor, registry: &str) -> (u16, u16) {
    let tokens = format!("/registries/{registry}/tokens");
    let body = json!({"properties": {"name": "while-full"}});
    let written = admin.post(&tokens, body).await.status;
    (admin.get(&tokens).await.status, written)
}

/// No file may grow, as on a disk that is full to the last byte. A clean stop leaves less to start from than a kill: the
/// file by which processes share SQLite's database has to be made anew.
#[rstest]
#[actix_web::test]
async fn a_start_on_a_full_disk_serves_reads(
    #[values(Backend::Sqlite)] backend: Backend,
    #[values("TERM", "KILL")] end: &str,
) {
    let database = Arc::new(Database::fresh(backend));
    let program = Program::start(&database);
    let registry = program.admin().create_registry("team-a").await;
    program.signal(end);
    program.wait();
    let command = Program::through(
        &[
            "sh",
            "-c",
            "trap '' XFSZ; ulimit -S -f 0; exec \"$@\"",
            "sh",
        ],
        &Program::command(&database),
    );
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    assert_eq!(asked(&admin, &registry).await, (200, 503));
    let ready = admin.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json["checks"]["writes"]),
        (200, &json!("failing")),
        "{ready:?}"
    );
    // There is room again.
    let lifted = Command::new("prlimit")
        .args([
            "--pid",
            &program.child.id().to_string(),
            "--fsize=unlimited:",
        ])
        .status();
    assert!(lifted.unwrap().success());
    assert_eq!(asked(&admin, &registry).await, (200, 201));
    let ready = admin.get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json["checks"]["writes"]),
        (200, &json!(null))
    );
    program.signal("TERM");
    let (status, log) = program.wait();
    assert!(status.success(), "{log}");
    let again = Program::start(&database);
    let tokens = again
        .admin()
        .get(&format!("/registries/{registry}/tokens"))
        .await;
    assert_eq!(tokens.json["total"], 1);
}

/// A server with so many workers, and with a limit on open files if one is given.
fn server(database: &Database, workers: &str, limit: Option<u64>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
    command
        .env_clear()
        .env("WHARFINGER_LISTEN", "127.0.0.1:0")
        .env("WHARFINGER_METRICS_LISTEN", "127.0.0.1:0")
        .env("WHARFINGER_DATA_DIR", database.folder())
        .env("WHARFINGER_DATABASE_URL", &database.url)
        .env("WHARFINGER_BCRYPT_COST", "4")
        .env("WHARFINGER_WORKERS", workers)
        .env("WHARFINGER_ADMIN_PASSWORD", ADMIN_PASSWORD)
        .env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=");
    match limit {
        None => command,
        Some(limit) => {
            let script = format!("ulimit -n {limit}; exec \"$@\"");
            Program::through(&["sh", "-c", &script, "sh"], &command)
        }
    }
}

/// A number of the log's line about open files.
fn told(log: &str, name: &str) -> u64 {
    let line = log
        .lines()
        .find(|line| line.contains("the limit of open files, less"));
    let line: serde_json::Value =
        serde_json::from_str(line.unwrap_or_else(|| panic!("{log}"))).unwrap();
    line[name].as_u64().unwrap()
}

#[rstest]
#[actix_web::test]
async fn too_few_open_files_are_refused_in_a_sentence_and_enough_are_enough(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("1", "3")] workers: &str,
) {
    let database = Arc::new(Database::fresh(backend));
    for limit in [24, 40] {
        let refused = run(&mut server(&database, workers, Some(limit)));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        for part in [
            &format!("may have {limit} open files"),
            "ulimit -n",
            "LimitNOFILE",
        ] {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
    }
    assert!(!database.file().exists(), "refused before anything is made");

    let program = Program::spawn(&database, server(&database, workers, None));
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    for _ in 0..20 {
        let path = format!("/registries/{registry}/tokens");
        assert_eq!(admin.get(&path).await.status, 200);
    }
    let open = std::fs::read_dir(format!("/proc/{}/fd", program.child.id()));
    let open = u64::try_from(open.unwrap().count()).unwrap();
    program.signal("TERM");
    let (_, log) = program.wait();
    let own = told(&log, "own");
    // One connection, and whatever the test's own process leaves open for its children.
    assert!(open <= own, "{open} are open, {own} were foreseen");
    assert!(own < open + 24, "{open} are open, {own} were foreseen");
    assert_eq!(told(&log, "connections"), told(&log, "limit") - own);

    // As few as it asks for.
    let program = Program::spawn(&database, server(&database, workers, Some(own + 16)));
    let admin = program.admin();
    assert_eq!(admin.get("/readyz").await.status, 200);
    admin.create_token(&registry, "ci").await;
}

#[test]
fn the_soft_limit_on_open_files_is_raised_to_the_hard_one() {
    let database = Arc::new(Database::fresh(Backend::Sqlite));
    let command = Program::through(
        &[
            "sh",
            "-c",
            "ulimit -S -n 40; ulimit -H -n 300; exec \"$@\"",
            "sh",
        ],
        &Program::command(&database),
    );
    let program = Program::spawn(&database, command);
    program.signal("TERM");
    let (_, log) = program.wait();
    assert_eq!(told(&log, "limit"), 300);
}
