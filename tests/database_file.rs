//! The file of SQLite: the open file is not replaced, not made anew, and not damaged.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::task::yield_now;
use rstest::rstest;
use serde_json::json;

use crate::harness::{Actor, Answer, Backend, Database, PATIENCE, Patience, Program};

/// No test waits longer than this for anything.
const BOUND: Duration = PATIENCE;

fn new_token(name: &str) -> serde_json::Value {
    json!({"properties": {"name": name}})
}

fn check<'a>(ready: &'a Answer, name: &str) -> &'a serde_json::Value {
    &ready.json["checks"][name]
}

/// Asks until the readiness check has this status.
async fn until_ready(admin: &Actor, status: u16) -> Answer {
    let begun = Instant::now();
    loop {
        let ready = admin.get("/readyz").await;
        if ready.status == status {
            return ready;
        }
        assert!(begun.elapsed() < BOUND, "{ready:?}");
        yield_now().await;
    }
}

/// The path of the database's write-ahead log.
fn log_of(database: &Database) -> std::path::PathBuf {
    let mut name = database.file().into_os_string();
    name.push("-wal");
    name.into()
}

/// Puts another file, or none, where the database's is, or where its log is.
fn take_away(database: &Database, how: &str) {
    let file = database.file();
    match how {
        "replaced" => {
            let copy = database.folder().join("copy");
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
            std::fs::copy(&file, &copy).unwrap();
            std::fs::rename(copy, file).unwrap();
        }
        "log gone" => std::fs::remove_file(log_of(database)).unwrap(),
        _ => std::fs::remove_file(file).unwrap(),
    }
}

#[rstest]
#[actix_web::test]
async fn no_write_is_acknowledged_that_would_be_lost_with_the_process(
    #[values(Backend::Sqlite)] backend: Backend,
    #[values("replaced", "missing", "log gone")] how: &str,
) {
    let database = Arc::new(Database::fresh(backend));
    let program = Program::start(&database);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    admin.create_token(&registry, "before").await;
    let ready = admin.get("/readyz").await;
    assert_eq!(
        (ready.status, check(&ready, "databaseFile")),
        (200, &json!(null))
    );

    take_away(&database, how);
    // The very next one, before anything else has looked.
    for name in ["after-1", "after-2", "after-3"] {
        let answer = admin.post(&tokens, new_token(name)).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.codes(), ["unavailable"]);
    }
    assert_eq!(admin.get(&tokens).await.status, 200);
    let ready = admin.get("/readyz").await;
    assert_eq!(
        (ready.status, check(&ready, "databaseFile")),
        (503, &json!(how)),
        "{ready:?}"
    );
    assert_eq!(admin.get("/healthz").await.status, 200);
    program.signal("TERM");
    let (status, log) = program.wait();
    assert!(status.success(), "{log}");
    let said = |words| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(said("all writes are refused"), 1, "{log}");

    if how == "missing" {
        return;
    }
    // A copy is served as it was, without changes from the old file's log.
    let again = Program::start(&database);
    let names: Vec<_> = again.admin().get(&tokens).await.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["properties"]["name"].as_str().unwrap().to_owned())
        .collect();
    // Without its log nothing is lost either: the process that had it open has folded it.
    assert!(names.starts_with(&["before".to_owned()]), "{names:?}");
    assert!(how == "log gone" || names.len() == 1, "{names:?}");
    assert_eq!(
        database.lines("SELECT quick_check AS line FROM pragma_quick_check"),
        ["ok"]
    );
    again.admin().create_token(&registry, "in-the-copy").await;
}

#[rstest]
#[actix_web::test]
async fn an_idle_server_notices_too_and_goes_on_when_the_file_is_back(
    #[values(Backend::Sqlite)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let program = Program::start(&database);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let (file, away) = (database.file(), database.folder().join("away"));
    std::fs::rename(&file, &away).unwrap();
    let ready = until_ready(&admin, 503).await;
    assert_eq!(check(&ready, "databaseFile"), "missing");
    std::fs::write(&file, "").unwrap();
    let begun = Instant::now();
    while check(&admin.get("/readyz").await, "databaseFile") != "replaced" {
        assert!(begun.elapsed() < BOUND);
        yield_now().await;
    }
    std::fs::rename(&away, &file).unwrap();
    until_ready(&admin, 200).await;
    // So with the log, in which the last commits are alone.
    admin.create_token(&registry, "in-the-log").await;
    let (log, away) = (log_of(&database), database.folder().join("log-away"));
    std::fs::rename(&log, &away).unwrap();
    let ready = until_ready(&admin, 503).await;
    assert_eq!(check(&ready, "databaseFile"), "log gone");
    std::fs::rename(&away, &log).unwrap();
    until_ready(&admin, 200).await;
    admin.create_token(&registry, "back").await;
}

async fn registries(program: &Program) -> usize {
    let list = program.admin().get("/registries").await;
    list.json["items"].as_array().unwrap().len()
}

fn run(database: &Database, arguments: &[&str]) -> Output {
    let mut command = Program::command(database);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs a command that must refuse, and returns its message.
fn refused(database: &Database, arguments: &[&str]) -> String {
    let output = run(database, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[rstest]
#[actix_web::test]
async fn a_database_that_was_there_is_not_made_anew_unless_that_is_meant(
    #[values(Backend::Sqlite)] backend: Backend,
    #[values("absent", "empty")] gone: &str,
) {
    let database = Arc::new(Database::fresh(backend));
    // A key that was made before is no sign of a database.
    let key = database.folder().join("server-key");
    let key = key.to_str().unwrap();
    let command = || {
        let mut command = Program::command(&database);
        command
            .env_remove("WHARFINGER_SERVER_KEY")
            .env("WHARFINGER_SERVER_KEY_FILE", key);
        command
    };
    assert!(
        command()
            .args(["keys", "init"])
            .output()
            .unwrap()
            .status
            .success()
    );
    let program = Program::spawn(&database, command());
    program.admin().create_registry("team-a").await;
    let backup = database.folder().join("backup");
    let backup = backup.to_str().unwrap();
    assert!(
        command()
            .args(["backup", backup])
            .output()
            .unwrap()
            .status
            .success()
    );
    program.signal("TERM");
    program.wait();

    let file = database.file();
    std::fs::remove_file(&file).unwrap();
    if gone == "empty" {
        std::fs::write(&file, "").unwrap();
    }
    let list = database.folder().join("databases");
    for arguments in [&[][..], &["serve"], &["migrate"]] {
        let said = refused(&database, arguments);
        for part in [
            file.to_str().unwrap(),
            "put it back",
            list.to_str().unwrap(),
        ] {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
    }
    assert_eq!(
        file.metadata().map_or(0, |file| file.len()),
        0,
        "it was made"
    );

    // A restored one is meant.
    let restored = command().args(["restore", backup]).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    assert!(
        command()
            .args(["restore", "confirm"])
            .output()
            .unwrap()
            .status
            .success()
    );
    let program = Program::spawn(&database, command());
    assert_eq!(registries(&program).await, 1);
    program.signal("TERM");
    program.wait();

    // So is one whose line is removed.
    std::fs::remove_file(&file).unwrap();
    let text = std::fs::read_to_string(&list).unwrap();
    assert_eq!(
        text.lines().filter(|line| *line == "wharfinger.db").count(),
        1,
        "{text}"
    );
    std::fs::write(&list, text.replace("\nwharfinger.db\n", "\n")).unwrap();
    let program = Program::spawn(&database, command());
    assert_eq!(registries(&program).await, 0);
}

/// A data folder that is moved as a whole keeps its memory, and another database with the same folder is another one.
#[rstest]
fn the_list_of_databases_names_them_by_their_place(#[values(Backend::Sqlite)] backend: Backend) {
    let database = Arc::new(Database::fresh(backend));
    drop(Program::start(&database));
    let folder = tempfile::tempdir().unwrap();
    let serve = |data: &Path, url: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
        command
            .env_clear()
            .env("WHARFINGER_LISTEN", "127.0.0.1:0")
            .env("WHARFINGER_BCRYPT_COST", "4")
            .env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=")
            .env("WHARFINGER_DATA_DIR", data);
        if let Some(url) = url {
            command.env("WHARFINGER_DATABASE_URL", url);
        }
        command
    };
    let moved = folder.path().join("moved");
    std::fs::create_dir(&moved).unwrap();
    std::fs::copy(database.folder().join("databases"), moved.join("databases")).unwrap();
    let output = serve(&moved, None).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("put it back"), "{said}");
    let other = folder.path().join("other.db");
    drop(Program::spawn(&database, serve(&moved, Some(&other))));
    std::fs::remove_file(&other).unwrap();
    let output = serve(&moved, Some(&other))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("put it back"), "{said}");
}

#[rstest]
#[actix_web::test]
async fn a_file_that_a_kill_left_is_checked_and_a_broken_one_is_not_ready(
    #[values(Backend::Sqlite)] backend: Backend,
    #[values(false, true)] broken: bool,
) {
    let database = Arc::new(Database::fresh(backend));
    let note = beside(&database.file(), "-running");
    let program = Program::start(&database);
    let registry = program.admin().create_registry("team-a").await;
    assert!(note.exists());
    program.signal("TERM");
    program.wait();
    assert!(!note.exists(), "a clean stop leaves nothing to check");

    let program = Program::start(&database);
    program.admin().create_token(&registry, "ci").await;
    program.kill();
    assert!(note.exists());
    // Beside the kill: rows that a command folds in still have to be checked.
    assert!(run(&database, &["account", "list"]).status.success());
    if broken {
        break_a_page(&database);
    }
    let said = if broken {
        "the database is damaged"
    } else {
        "the check found it intact"
    };
    let patience = Patience::new();
    loop {
        patience.spend("no start has had the time for the check");
        let program = Program::start(&database);
        let admin = program.admin();
        let ready = until_ready(&admin, if broken { 503 } else { 200 }).await;
        let integrity = if broken { json!("broken") } else { json!(null) };
        assert_eq!(check(&ready, "integrity"), &integrity, "{ready:?}");
        assert_eq!(admin.get("/healthz").await.status, 200);
        program.signal("TERM");
        let (_, log) = program.wait();
        // A stop before the check has ended leaves it to the next start.
        if log.contains(said) || broken {
            assert_eq!(
                log.lines().filter(|line| line.contains(said)).count(),
                1,
                "{log}"
            );
            break;
        }
        assert!(note.exists(), "{log}");
    }
    assert_eq!(note.exists(), broken);
}

/// Writes nonsense over a page of an index that no start reads.
fn break_a_page(database: &Database) {
    use std::os::unix::fs::FileExt as _;
    let page = database.number(
        "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'token_uses' LIMIT 1",
    );
    let size = database.number("SELECT page_size FROM pragma_page_size");
    let at = u64::try_from((page - 1) * size).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(database.file())
        .unwrap();
    file.write_all_at(&[0xA5; 64], at).unwrap();
}
