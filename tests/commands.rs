//! Commands: the things that they make and do not make, the places they look in, and their output for scripts.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::CommandFactory as _;
use diesel::connection::SimpleConnection as _;
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::config::Cli;

use crate::harness::{ADMIN_PASSWORD, Actor, Backend, Database, Program, Watchdog};
use crate::lookups;
use crate::program::{bare, beside, certificate, data, end, files, fingerprint, paste};

/// The commands that make what they miss.
const MAKES: [&str; 4] = ["keys init", "migrate", "restore", "serve"];
/// Those that ask no database.
const ASKS_NONE: [&str; 2] = ["healthcheck", "openapi"];
/// Another server key than that of the tests.
const OTHER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Every command that does something, with a value for whatever it takes.
pub fn commands() -> Vec<(String, Vec<String>)> {
    fn add(command: &clap::Command, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
        for command in command.get_subcommands() {
            let words = [before, &[command.get_name().to_owned()]].concat();
            if command.get_name() == "help" {
                continue;
            }
            add(command, &words, found);
            if !command.is_subcommand_required_set() {
                found.push((words.join(" "), [words, values(command)].concat()));
            }
        }
    }
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    add(&root, &[], &mut found);
    found
}

/// A value for each argument of a command's own that does not shut out one before it.
fn values(command: &clap::Command) -> Vec<String> {
    let mut given: Vec<&clap::Arg> = Vec::new();
    let mut words = Vec::new();
    for argument in command.get_arguments() {
        let conflict = |one, other| command.get_arg_conflicts_with(one).contains(other);
        if argument.is_global_set()
            || !argument.get_action().takes_values()
            || given
                .iter()
                .any(|one| conflict(*one, &argument) || conflict(argument, one))
        {
            continue;
        }
        given.push(argument);
        if let Some(flag) = argument.get_long() {
            words.push(format!("--{flag}"));
        }
        let possible = argument.get_possible_values();
        let first = possible.first().map_or("a", |value| value.get_name());
        words.push(first.to_owned());
    }
    words
}

/// The commands that need a database with data.
fn needing_data() -> Vec<Vec<String>> {
    let all = commands();
    let names: BTreeSet<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    for name in MAKES.iter().chain(&ASKS_NONE) {
        assert!(names.contains(name), "there is no command {name}");
    }
    let needs = all
        .into_iter()
        .filter(|(name, _)| ![&MAKES[..], &ASKS_NONE].concat().contains(&name.as_str()));
    let needs: Vec<_> = needs.map(|(_, words)| words).collect();
    assert!(needs.len() > 15, "{needs:?}");
    needs
}

/// The existing files, without SQLite's temporary ones.
fn names(folder: &Path) -> BTreeSet<PathBuf> {
    let passing = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with("-wal") || name.ends_with("-shm")
    };
    let names = files(folder).into_keys();
    names.filter(|path| !passing(path)).collect()
}

#[rstest]
fn a_command_without_a_database_says_where_it_looked_and_makes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(true, false)] with_key: bool,
) {
    let database = Database::fresh(backend);
    let looked = match backend {
        Backend::Sqlite => database.file().display().to_string(),
        Backend::Postgres => "there is no database in postgres".to_owned(),
    };
    for arguments in needing_data() {
        let mut command = if with_key {
            beside(&database)
        } else {
            bare(&database)
        };
        let ended = end(command.current_dir(database.folder()).args(&arguments));
        ended.refused(1, &["there is no database in", &looked, "wharfinger serve"]);
        assert!(
            names(database.folder()).is_empty() && !data(&database).exists(),
            "{arguments:?} made {:?}",
            names(database.folder())
        );
        if backend == Backend::Postgres {
            let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema()";
            assert_eq!(database.number(tables), 0, "{arguments:?} made tables");
        }
    }
}

#[test]
fn a_command_in_an_empty_folder_makes_nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    let asking_none = ASKS_NONE.map(|name| vec![name.to_owned()]);
    for arguments in needing_data().into_iter().chain(asking_none) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
        command.env_clear().env("WHARFINGER_LISTEN", "127.0.0.1:1");
        let ended = end(command.current_dir(folder.path()).args(&arguments));
        if !ASKS_NONE.contains(&arguments[0].as_str()) {
            ended.refused(
                1,
                &["there is no database in the SQLite file ./data/wharfinger.db"],
            );
        }
        let made = files(folder.path());
        assert!(made.is_empty(), "{arguments:?} made {made:?}");
        assert!(!folder.path().join("data").exists(), "{arguments:?}");
    }
}

/// Tables alone are no data, whichever command looks.
#[rstest]
fn a_command_on_tables_alone_makes_no_key(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(true, false)] with_key: bool,
) {
    let database = Database::fresh(backend);
    end(beside(&database).arg("migrate")).ok();
    let before = (names(database.folder()), fingerprint(&database));
    for arguments in needing_data() {
        // With a key it adds the first account, which has to be of a name and with a password.
        if with_key && arguments[1] == "add" {
            continue;
        }
        let mut command = if with_key {
            beside(&database)
        } else {
            bare(&database)
        };
        let ended = end(command.current_dir(database.folder()).args(&arguments));
        let looked = match backend {
            Backend::Sqlite => database.file().display().to_string(),
            Backend::Postgres => "postgres".to_owned(),
        };
        ended.refused(1, &[&looked]);
        let after = (names(database.folder()), fingerprint(&database));
        assert_eq!(after, before, "{arguments:?}");
    }
}

#[rstest]
fn a_command_with_a_wrong_key_names_the_database_and_makes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let server = Program::spawn(&database, beside(&database));
    server.signal("TERM");
    server.wait();
    let other = database.folder().join("other-key");
    std::fs::write(&other, OTHER_KEY).unwrap();
    let before = (names(database.folder()), fingerprint(&database));
    let looked = match backend {
        Backend::Sqlite => database.file().display().to_string(),
        Backend::Postgres => "postgres".to_owned(),
    };
    for (key, said) in [
        ("not-there", "there is no server key at"),
        ("other-key", "another server key"),
    ] {
        for arguments in needing_data() {
            let mut command = bare(&database);
            command
                .current_dir(database.folder())
                .args(["--server-key-file", key])
                .env("WHARFINGER_DATA_DIR", database.folder().join("nowhere"));
            let ended = end(command.args(&arguments));
            ended.refused(1, &[said, &looked]);
            let after = (names(database.folder()), fingerprint(&database));
            assert_eq!(after, before, "{arguments:?}");
        }
    }
    // The right key, and another data folder: what is there is found, and no folder is made.
    let mut command = beside(&database);
    command.env("WHARFINGER_DATA_DIR", database.folder().join("nowhere"));
    end(command.args(["account", "list"])).ok();
    assert_eq!(names(database.folder()), before.0);
    assert!(!database.folder().join("nowhere").exists());
}

#[rstest]
#[actix_web::test]
async fn a_backup_is_restored_into_a_database_that_has_keys_and_nothing_else(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let source = Arc::new(Database::fresh(backend));
    let server = Program::start(&source);
    server.admin().create_registry("team-a").await;
    let file = source.folder().join("backup");
    let file = file.to_str().unwrap();
    end(beside(&source).args(["backup", file])).ok();
    drop(server);

    // A start that fails at its address has made keys.
    let database = Arc::new(Database::fresh(backend));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = beside(&database);
    command.env("WHARFINGER_LISTEN", taken.local_addr().unwrap().to_string());
    end(&mut command).refused(1, &["--listen"]);
    assert!(database.number("SELECT COUNT(*) FROM data_keys") > 0);

    let said = end(beside(&database).args(["restore", file])).ok();
    assert!(said.contains("This database is FROZEN"), "{said}");
    end(beside(&database).args(["restore", "confirm"])).ok();
    let server = Program::start(&database);
    let registries = server.admin().get("/registries").await;
    assert_eq!(registries.json["items"][0]["properties"]["name"], "team-a");
    drop(server);
    // One that has anything else is in use.
    end(beside(&database).args(["restore", file])).refused(1, &["in use"]);
}

/// A start that is held up before it makes the first account, by whoever restores meanwhile.
#[test]
fn a_start_ends_when_its_database_is_restored_into_meanwhile() {
    let database = Database::fresh(Backend::Sqlite);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = beside(&database);
    command.env("WHARFINGER_LISTEN", &address);
    end(&mut command).refused(1, &["--listen"]);
    drop(taken);
    let wharfinger::store::Session::Sqlite(mut restoring) = database.connect() else {
        panic!("another database");
    };
    restoring.batch_execute("BEGIN IMMEDIATE").unwrap();
    let server = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let watchdog = Watchdog::over(&server);
    // It listens before it makes the account.
    while std::net::TcpStream::connect(&address).is_err() {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let restored = r#"{"madeAt": "2026-11-22T00:00:00Z", "restoredAt": "2026-11-29T00:00:00Z"}"#;
    let statements = format!(
        "INSERT INTO meta (name, value) VALUES ('frozen', CAST('{restored}' AS BLOB)); \
         INSERT INTO accounts (uuid, name, name_key, kind, status, version, created_at, modified_at) \
         VALUES (x'00', 'root', 'root', 'user', 'enabled', 1, 0, 0); COMMIT"
    );
    restoring.batch_execute(&statements).unwrap();
    let output = server.wait_with_output().unwrap();
    drop(watchdog);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("was restored into this database during this start"),
        "{said}"
    );
}

#[rstest]
#[actix_web::test]
async fn roles_are_shown_without_a_role_and_taken_away_on_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let _server = Program::start(&database);
    let account = |arguments: &[&str]| end(beside(&database).arg("account").args(arguments));
    account(&["add", "bob", "--role", "Analyst"]).ok();
    let versions = "SELECT SUM(version) FROM accounts";
    let before = database.number(versions);
    assert_eq!(
        account(&["role", "bob"]).ok(),
        account(&["show", "bob"]).ok()
    );
    assert!(account(&["role", "bob"]).ok().contains("Analyst"));
    assert_eq!(database.number(versions), before);
    account(&["role", "bob", "--none", "--role", "Admin"]).refused(2, &["--none", "--role"]);
    assert_eq!(
        account(&["role", "bob", "--none"]).ok(),
        "bob has no role.\n"
    );
    assert!(!account(&["role", "bob"]).ok().contains("Analyst"));
    let said = account(&["role", "bob", "--role", "Admin", "--output", "json"]).ok();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["roles"], json!(["Admin"]));
    account(&["role", "nobody"]).refused(1, &["account nobody not found"]);
}

#[rstest]
#[actix_web::test]
async fn a_start_without_an_admin_says_how_to_make_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    end(bare(&database).args(["keys", "init"])).ok();
    end(bare(&database).arg("migrate")).ok();
    let add = |name: &str, role: &str| {
        let mut command = bare(&database);
        end(command.args(["account", "add", name, "--role", role])).ok()
    };
    add("ops", "Analyst");
    let greeting = Program::spawn(&database, bare(&database)).greeting.clone();
    assert!(!greeting.contains("curl"), "{greeting}");
    assert!(
        greeting.contains("No account has the role Admin"),
        "{greeting}"
    );
    assert!(
        greeting.contains("  wharfinger account add NAME --role Admin"),
        "{greeting}"
    );
    // One of another name is who asks.
    let said = add("root", "Admin");
    let password = said.rsplit_once("shown only now: ").unwrap().1.trim_end();
    let server = Program::spawn(&database, bare(&database));
    assert!(
        server.greeting.contains("curl -u \"root\" "),
        "{}",
        server.greeting
    );
    let root = Actor::of(&server.base, "root", password);
    assert_eq!(root.get("/registries").await.status, 200);
}

/// Runs a server whose log and output go to one file, until it has said all that it says. Returns that.
fn said_by(database: &Arc<Database>) -> String {
    let path = database.folder().join("said");
    let file = File::create(&path).unwrap();
    let mut server = bare(database)
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let watchdog = Watchdog::over(&server);
    let said = || std::fs::read_to_string(&path).unwrap();
    while !said().contains("  curl ") {
        assert!(server.try_wait().unwrap().is_none(), "{}", said());
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    assert_eq!(paste(&said())["type"], "collection");
    let mut kill = Command::new("kill");
    assert!(
        kill.args(["-TERM", &server.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert!(server.wait().unwrap().success());
    drop(watchdog);
    said()
}

#[rstest]
fn the_first_start_says_the_password_and_the_line_last_and_together(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    if backend == Backend::Postgres {
        end(bare(&database).args(["keys", "init"])).ok();
    }
    let said = said_by(&database);
    let lines: Vec<_> = said.lines().collect();
    let first = lines
        .iter()
        .position(|line| line.starts_with("Made the account admin."));
    let first = first.unwrap_or_else(|| panic!("{said}"));
    assert!(lines[first + 1].starts_with("Wharfinger is at "), "{said}");
    assert!(lines[first + 2].starts_with("  curl "), "{said}");
    let place = |word: &str| lines.iter().position(|line| line.contains(word)).unwrap();
    assert!(
        place("the database was migrated") < first && place("the service is ready") < first,
        "{said}"
    );
    assert!(lines[first + 3].contains("the service stops"), "{said}");
}

#[rstest]
fn of_several_replicas_each_says_which_has_the_first_password(
    #[values(Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let folder = |name: &str| database.folder().join(name);
    let start = |name: &str| {
        let mut command = beside(&database);
        command.env("WHARFINGER_DATA_DIR", folder(name));
        Program::spawn(&database, command)
    };
    let first = start("first");
    let second = start("second");
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_str().unwrap();
    let file = folder("first").join("admin-password");
    for program in [&first, &second] {
        for part in [machine, file.to_str().unwrap()] {
            assert!(program.greeting.contains(part), "{}", program.greeting);
        }
    }
    let process = format!("process {}", first.child.id());
    assert!(second.greeting.contains(&process), "{}", second.greeting);
    assert!(!folder("second").join("admin-password").exists());
    // Another password was set, so the old password does not work any more.
    end(beside(&database).args(["account", "passwd", "admin"])).ok();
    let third = start("third");
    assert!(!third.greeting.contains("password"), "{}", third.greeting);
}

#[rstest]
fn a_healthcheck_says_what_it_met_instead(#[values(true, false)] tls: bool) {
    let database = Arc::new(Database::fresh(Backend::Sqlite));
    let [certificate, key] = certificate(database.folder());
    let mut command = Program::command(&database);
    let with_tls = ["--tls-cert", &certificate, "--tls-key", &key];
    if tls {
        command.args(with_tls);
    }
    let server = Program::spawn(&database, command);
    let (_, address) = server.base.split_once("://").unwrap();
    let mut command = bare(&database);
    command.args(["healthcheck", "--listen", address]);
    if tls {
        let parts = [address, "speaks TLS", "--tls-cert"];
        end(&mut command).refused(1, &parts);
    } else {
        command.args(with_tls);
        let parts = [address, "does not speak TLS", "leave out --tls-cert"];
        end(&mut command).refused(1, &parts);
    }
}

#[test]
fn a_healthcheck_knows_another_service() {
    let database = Database::fresh(Backend::Sqlite);
    for (answer, said) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        ("", "without an answer"),
    ] {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = other.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = other.accept().unwrap();
            drop(stream.read(&mut [0; 1024]));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let mut command = bare(&database);
        end(command.args(["healthcheck", "--listen", &address])).refused(1, &[&address, said]);
        serving.join().unwrap();
    }
}

/// A value as its members and types, so that a sample can be compared with what is printed.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("truth"),
        Value::Null => Value::Null,
    }
}

/// The examples of docs/OPERATIONS.md for each command: the blocks marked `json COMMAND, COMMAND`.
fn documented() -> Vec<(String, Value)> {
    let page = std::fs::read_to_string("docs/OPERATIONS.md").unwrap();
    let mut samples = Vec::new();
    for block in page.split("```json ").skip(1) {
        let (names, rest) = block.split_once('\n').unwrap();
        let (sample, _) = rest.split_once("```").unwrap();
        let sample = serde_json::from_str(sample);
        let sample: Value = sample.unwrap_or_else(|error| panic!("{names}: {error}"));
        samples.extend(
            names
                .split(", ")
                .map(|name| (name.to_owned(), sample.clone())),
        );
    }
    samples
}

#[rstest]
#[actix_web::test]
async fn what_is_listed_and_shown_is_json_on_request_as_documented(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let server = Program::start(&database);
    let registry = server.admin().create_registry("team-a").await;
    let token = server
        .admin()
        .mint(&registry, "ci", &["repository:a:pull"])
        .await;
    let run = |database: &Database, arguments: &[&str]| {
        let mut command = beside(database);
        command.args(arguments);
        if arguments[0] != "backup" {
            command.args(["--output", "json"]);
        }
        let said = end(&mut command).ok();
        serde_json::from_str(&said).unwrap_or(Value::Null)
    };
    let mut seen = vec![(
        "account add",
        run(&database, &["account", "add", "bob", "--role", "Analyst"]),
    )];
    assert!(seen[0].1["password"].as_str().unwrap().len() >= 24);
    let grant = [
        "account",
        "grant",
        "bob",
        "--registry",
        "team-a",
        "--level",
        "reader",
    ];
    end(beside(&database).args(grant)).ok();
    seen.push((
        "account passwd",
        run(&database, &["account", "passwd", "bob"]),
    ));
    seen.push(("account show", run(&database, &["account", "show", "bob"])));
    seen.push(("account role", run(&database, &["account", "role", "bob"])));
    seen.push(("account list", run(&database, &["account", "list"])));
    seen.push(("audit verify", run(&database, &["audit", "verify"])));
    for name in ["token end", "token lookup"] {
        let words: Vec<_> = name.split(' ').chain(["--output", "json"]).collect();
        let said = lookups::run(&database, &words, &token.secret);
        seen.push((name, serde_json::from_slice(&said.stdout).unwrap()));
    }
    let thawed = run(&database, &["restore", "status"]);
    assert_eq!(thawed, json!({"frozen": false}));
    let file = database.folder().join("backup");
    let file = file.to_str().unwrap();
    run(&database, &["backup", file]);
    seen.push((
        "restore --dry-run",
        run(&database, &["restore", "--dry-run", file]),
    ));
    let second = Database::fresh(backend);
    let restored = run(&second, &["restore", file]);
    let status = run(&second, &["restore", "status"]);
    assert_eq!(restored, status);
    seen.push(("restore status", status));
    drop(server);

    let bob = &seen[2].1;
    assert_eq!(
        (&bob["name"], &bob["roles"], &bob["memberships"]),
        (
            &json!("bob"),
            &json!(["Analyst"]),
            &json!([{"registry": "team-a", "level": "reader"}])
        )
    );
    assert_eq!(&seen[3].1, bob);
    let listed = seen[4].1.as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|account| &account["name"]).collect();
    assert_eq!(names, ["admin", "bob"]);
    let documented = documented();
    for (name, printed) in &seen {
        let sample = documented.iter().find(|(shown, _)| shown == name);
        let (_, sample) = sample.unwrap_or_else(|| panic!("{name} is not documented"));
        assert_eq!(shape(printed), shape(sample), "{name}");
    }
    let shown: BTreeSet<_> = documented.iter().map(|(name, _)| name.as_str()).collect();
    let tried: BTreeSet<_> = seen.iter().map(|(name, _)| *name).collect();
    assert_eq!(tried, shown, "documented, and not tried");
    // Whoever has the flag is among them.
    for (name, words) in commands() {
        if words.contains(&"--output".to_owned()) {
            assert!(
                tried.iter().any(|tried| tried.starts_with(&name)),
                "{name} is not tried"
            );
        }
    }
}

#[rstest]
#[actix_web::test]
async fn what_was_changed_in_the_trail_is_told_as_json_too(
    #[values(Backend::Sqlite)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let server = Program::start(&database);
    server.admin().create_registry("team-a").await;
    database.execute("DELETE FROM audit_events WHERE subject_kind = 'registry'");
    let ended = end(beside(&database).args(["audit", "verify", "--output", "json"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(said["faults"].as_array().unwrap().len(), 1, "{said}");
}

#[rstest]
#[actix_web::test]
async fn a_backup_counts_what_the_lists_have(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let server = Program::start(&database);
    end(beside(&database).args(["account", "add", "bob"])).ok();
    end(beside(&database).args(["account", "delete", "bob"])).ok();
    drop(server);
    let file = database.folder().join("backup");
    let file = file.to_str().unwrap();
    for arguments in [&["backup", file][..], &["restore", "--dry-run", file]] {
        let said = end(beside(&database).args(arguments)).ok();
        assert!(said.contains("with 1 account, 0 registries"), "{said}");
    }
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_and_those_of_kubernetes_are_not() {
    let database = Database::fresh(Backend::Sqlite);
    end(bare(&database).arg("migrate")).ok();
    let with = |name: &str, value: &str| end(bare(&database).env(name, value).arg("migrate"));
    for (name, nearest) in [
        ("WHARFINGER_PUBLIC_UR", "WHARFINGER_PUBLIC_URL"),
        ("WHARFINGER_DATADIR", "WHARFINGER_DATA_DIR"),
        ("WHARFINGER_public_url", "WHARFINGER_PUBLIC_URL"),
        (
            "WHARFINGER_NEW_SERVER_KEYFILE",
            "WHARFINGER_NEW_SERVER_KEY_FILE",
        ),
    ] {
        let ended = with(name, "hidden-word");
        ended.refused(1, &[name, &format!("did you mean {nearest}?")]);
        assert!(!ended.err.contains("hidden"), "{ended:?}");
    }
    with("WHARFINGER_ZZZ", "x").refused(1, &["WHARFINGER_ZZZ", "wharfinger --help"]);
    with("WHARFINGER_DB_PORT", "x").refused(1, &["WHARFINGER_DB_PORT"]);
    for name in [
        "WHARFINGER_SERVICE_HOST",
        "WHARFINGER_SERVICE_PORT",
        "WHARFINGER_SERVICE_PORT_HTTP",
        "WHARFINGER_PORT",
        "WHARFINGER_PORT_8080_TCP",
        "WHARFINGER_PORT_8080_TCP_ADDR",
        "WHARFINGER_NEW_SERVER_KEY",
    ] {
        with(name, "tcp://10.0.0.1:8080").ok();
    }
    // A Service beside it, such as that of its database.
    let mut command = bare(&database);
    command.env("WHARFINGER_DB_SERVICE_HOST", "10.0.0.2");
    command.env("WHARFINGER_DB_PORT", "tcp://10.0.0.2:5432");
    end(command
        .env("WHARFINGER_DB_PORT_5432_TCP", "x")
        .arg("migrate"))
    .ok();
    // Help is there for whoever has one wrong.
    end(bare(&database)
        .env("WHARFINGER_PUBLIC_UR", "x")
        .arg("--help"))
    .ok();
}

#[rstest]
#[actix_web::test]
async fn a_given_password_is_not_said_to_be_anywhere(
    #[values(Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let first = Program::start(&database);
    let second = Program::start(&database);
    assert!(first.greeting.contains("with the password you gave"));
    assert!(!second.greeting.contains("password"), "{}", second.greeting);
    let admin = Actor::of(&second.base, "admin", ADMIN_PASSWORD);
    assert_eq!(admin.get("/registries").await.status, 200);
}
