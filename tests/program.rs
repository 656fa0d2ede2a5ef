//! The program for a new user: its files, its output, its refusals and its commands.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};

use crate::commands::commands;
use crate::harness::{ADMIN_PASSWORD, Actor, Backend, Database, Program, Watchdog};

/// The `PATH` for the small tools that tests call.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program with nothing but environment variables for settings, and with no secret given.
pub fn bare(database: &Database) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
    command
        .env_clear()
        .env("WHARFINGER_LISTEN", "127.0.0.1:0")
        .env("WHARFINGER_DATA_DIR", data(database))
        .env("WHARFINGER_DATABASE_URL", &database.url)
        .env("WHARFINGER_BCRYPT_COST", "4")
        .env("WHARFINGER_WORKERS", "1")
        .env("WHARFINGER_READERS", "2");
    command
}

/// The program with the settings of a server that runs.
pub fn beside(database: &Database) -> Command {
    let mut command = bare(database);
    command.env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=");
    command
}

/// A folder that the program has to make.
pub fn data(database: &Database) -> PathBuf {
    database.folder().join("new/data")
}

/// The result of a command that ends by itself.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub fn end(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ended {
    /// Asserts success and returns the output.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Asserts a refusal with this status, in a sentence that has all these parts and no marks of a crash.
    pub fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let said = self
            .err
            .lines()
            .filter(|line| !line.starts_with('{'))
            .collect::<Vec<_>>()
            .join("\n");
        for part in parts {
            assert!(said.contains(part), "{part:?} is missing in: {said}");
        }
        for crash in [
            "panicked",
            "RUST_BACKTRACE",
            "Os {",
            "Error {",
            "internal error",
        ] {
            assert!(!self.err.contains(crash), "{}", self.err);
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// All files below a folder.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// A start could change accounts, their roles, and keys. Each is one number here, which any change moves.
pub fn fingerprint(database: &Database) -> Vec<i64> {
    let versions = "SELECT COALESCE(SUM(version * 1000 + LENGTH(password_hash)), 0) FROM accounts";
    let changed = "SELECT COALESCE(SUM(modified_at), 0) FROM accounts";
    let mut numbers = vec![database.number(versions), database.number(changed)];
    for table in [
        "accounts",
        "account_roles",
        "roles",
        "data_keys",
        "registries",
        "meta",
    ] {
        numbers.push(database.number(&format!("SELECT COUNT(*) FROM {table}")));
    }
    numbers
}

/// Runs the line that the greeting offers, as pasted into a shell.
pub fn paste(greeting: &str) -> Value {
    let line = greeting
        .lines()
        .find(|line| line.starts_with("  curl "))
        .unwrap();
    let output = Command::new("sh")
        .args(["-c", line])
        .env_clear()
        .env("PATH", PATH)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{line}: {output:?}"))
}

#[rstest]
fn the_first_start_makes_what_is_missing_and_later_ones_change_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let data = data(&database);
    let (key, written) = (data.join("server-key"), data.join("admin-password"));
    if backend == Backend::Postgres {
        end(&mut bare(&database)).refused(1, &["server key", "wharfinger keys init"]);
        assert!(!key.exists());
        end(bare(&database).args(["keys", "init"])).ok();
    }

    let first = Program::spawn(&database, bare(&database));
    assert_eq!(mode(&data), 0o700);
    assert_eq!((mode(&key), mode(&written)), (0o600, 0o600));
    if backend == Backend::Sqlite {
        assert_eq!(mode(&database.file()), 0o600);
    }
    let password = std::fs::read_to_string(&written)
        .unwrap()
        .trim_end()
        .to_owned();
    assert!(password.len() >= 24, "{password}");
    assert!(
        first.greeting.contains(written.to_str().unwrap()),
        "{}",
        first.greeting
    );
    assert!(!first.greeting.contains(&password));
    assert_eq!(paste(&first.greeting)["type"], "collection");
    first.signal("TERM");
    let (status, log) = first.wait();
    assert!(status.success(), "{status}: {log}");
    assert!(
        log.contains(written.to_str().unwrap()),
        "the log does not name the file: {log}"
    );
    assert!(!log.contains(&password));

    let (files_before, rows_before) = (files(&data), fingerprint(&database));
    let mut command = bare(&database);
    // Settings for a first start are ignored later.
    command.env("WHARFINGER_ADMIN_PASSWORD", "another-password");
    let later = Program::spawn(&database, command);
    assert!(
        !later.greeting.contains("Made the account"),
        "{}",
        later.greeting
    );
    assert!(!later.greeting.contains(&password));
    assert_eq!(paste(&later.greeting)["type"], "collection");
    later.signal("TERM");
    let (_, log) = later.wait();
    assert!(
        !log.contains(&password) && !log.contains("first account"),
        "{log}"
    );
    assert_eq!(files(&data), files_before);
    assert_eq!(fingerprint(&database), rows_before);

    // Another key: refused. None: refused, and none is made in its place.
    let mut other = bare(&database);
    other.env("WHARFINGER_SERVER_KEY", "E".repeat(43) + "=");
    end(&mut other).refused(1, &["this database belongs to another server key"]);
    std::fs::rename(&key, data.join("kept")).unwrap();
    end(&mut bare(&database)).refused(1, &["there is no server key at", key.to_str().unwrap()]);
    assert!(!key.exists());
    std::fs::rename(data.join("kept"), &key).unwrap();
    drop(Program::spawn(&database, bare(&database)));
    assert_eq!(fingerprint(&database), rows_before);
}

#[test]
fn a_terminal_is_shown_the_password_once_and_no_file_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let command = format!(
        "exec {} --listen 127.0.0.1:0 --bcrypt-cost 4 --data-dir {}",
        env!("CARGO_BIN_EXE_wharfinger"),
        folder.path().join("data").display()
    );
    let start = || {
        let mut terminal = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .env_clear()
            .env("PATH", PATH)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(terminal.stdout.take().unwrap());
        let mut seen = String::new();
        // It may say nothing, or something else for ever.
        let watchdog = Watchdog::over(&terminal);
        while !seen.contains("  curl ") {
            assert_ne!(lines.read_line(&mut seen).unwrap(), 0, "it ended: {seen}");
        }
        drop(watchdog);
        (terminal, lines, seen.replace('\r', ""))
    };
    let stop = |mut terminal: Child, mut lines: BufReader<ChildStdout>, seen: &str| {
        // Once it answers it minds signals.
        let base = seen.split("Wharfinger is at ").nth(1).unwrap();
        let alive = format!("{}/healthz", base.split(". Try").next().unwrap());
        assert!(
            Command::new("curl")
                .args(["-sf", &alive])
                .output()
                .unwrap()
                .status
                .success()
        );
        let children = format!("/proc/{0}/task/{0}/children", terminal.id());
        let program = std::fs::read_to_string(children).unwrap();
        let kill = Command::new("kill")
            .args(["-TERM", program.trim()])
            .status();
        assert!(kill.unwrap().success());
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert!(terminal.wait().unwrap().success(), "{rest}");
    };

    let (terminal, lines, seen) = start();
    let shown = "Made the account admin. Its password, shown only now: ";
    let password = seen.lines().find_map(|line| line.strip_prefix(shown));
    let password = password.unwrap_or_else(|| panic!("{seen}")).to_owned();
    assert_eq!(paste(&seen)["type"], "collection");
    for (path, contents) in files(folder.path()) {
        let found = contents
            .windows(password.len())
            .any(|window| window == password.as_bytes());
        assert!(!found, "{} has the password", path.display());
    }
    assert!(!folder.path().join("data/admin-password").exists());
    stop(terminal, lines, &seen);

    let (terminal, lines, seen) = start();
    assert!(
        !seen.contains(&password) && !seen.contains("password"),
        "{seen}"
    );
    stop(terminal, lines, &seen);
}

#[actix_web::test]
async fn a_start_that_fails_makes_no_password_that_nobody_saw() {
    let database = Arc::new(Database::fresh(Backend::Sqlite));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = bare(&database);
    command.env("WHARFINGER_LISTEN", &address);
    end(&mut command).refused(1, &["--listen", &address]);
    assert_eq!(database.number("SELECT COUNT(*) FROM accounts"), 0);
    assert!(!data(&database).join("admin-password").exists());
    let program = Program::spawn(&database, bare(&database));
    assert!(program.greeting.contains("Made the account admin"));
}

#[rstest]
#[actix_web::test]
async fn the_first_password_can_be_given(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("variable", "variable-file", "flag", "flag-file")] way: &str,
) {
    let database = Arc::new(Database::fresh(backend));
    let given = "given: pässword";
    let file = database.folder().join("given");
    std::fs::write(&file, format!("{given}\n")).unwrap();
    let mut command = bare(&database);
    command.env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=");
    match way {
        "variable" => command.env("WHARFINGER_ADMIN_PASSWORD", given),
        "variable-file" => command.env("WHARFINGER_ADMIN_PASSWORD_FILE", &file),
        "flag" => command.args(["--admin-password", given]),
        _ => command.arg("--admin-password-file").arg(&file),
    };
    let program = Program::spawn(&database, command);
    let admin = Actor::of(&program.base, "admin", given);
    assert_eq!(admin.get("/registries").await.status, 200);
    assert!(
        program.greeting.contains("with the password you gave"),
        "{}",
        program.greeting
    );
    assert!(!program.greeting.contains(given));
    let mut made: Vec<_> = files(&data(&database)).into_keys().collect();
    made.retain(|path| !path.ends_with("databases"));
    assert!(made.is_empty(), "a given secret was written down: {made:?}");
}

#[test]
fn a_server_key_is_made_once_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    for (place, arguments) in [
        ("data/server-key", ["--data-dir", "data"]),
        ("elsewhere", ["--server-key-file", "elsewhere"]),
    ] {
        let init = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_wharfinger"));
            end(command
                .env_clear()
                .current_dir(folder.path())
                .args(["keys", "init"])
                .args(arguments))
        };
        let path = folder.path().join(place);
        assert!(init().ok().contains(place));
        let made = std::fs::read(&path).unwrap();
        assert_eq!((mode(&path), made.len()), (0o600, 45));
        init().refused(1, &[place, "already"]);
        assert_eq!(std::fs::read(&path).unwrap(), made);
    }
}

/// A certificate for this machine and its key, as files.
pub fn certificate(folder: &Path) -> [String; 2] {
    let paths =
        ["certificate.pem", "key.pem"].map(|name| folder.join(name).to_str().unwrap().to_owned());
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost".split(' '))
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .args(["-out", &paths[0], "-keyout", &paths[1]])
        .output()
        .expect("openssl is needed to make a certificate");
    assert!(made.status.success(), "{made:?}");
    paths
}

#[rstest]
fn passwords_travel_in_clear_only_where_that_was_asked_for(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    end(bare(&database).args(["keys", "init"])).ok();
    let open = |more: &[&str]| {
        let mut command = bare(&database);
        command.args(["--listen", "0.0.0.0:0"]).args(more);
        command
    };
    end(&mut open(&[])).refused(1, &["--listen", "--tls-cert", "--tls-key", "--plain-http"]);
    assert_eq!(
        files(&data(&database)).len(),
        1,
        "refused before anything is made"
    );

    let program = Program::spawn(&database, open(&["--plain-http"]));
    assert_eq!(paste(&program.greeting)["type"], "collection");
    drop(program);
    let mut by_variable = open(&[]);
    by_variable.env("WHARFINGER_PLAIN_HTTP", "1");
    drop(Program::spawn(&database, by_variable));

    let [certificate, key] = certificate(database.folder());
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let program = Program::spawn(&database, open(&tls));
    assert!(
        program.base.starts_with("https://127.0.0.1:"),
        "{}",
        program.base
    );
    // The line has --cacert with the certificate, and asks over TLS.
    assert!(
        program
            .greeting
            .contains(&format!("--cacert {certificate}"))
    );
    assert_eq!(paste(&program.greeting)["type"], "collection");
    // A page of our own may write, and links say https.
    let (_, file) = program.greeting.split_once("$(cat ").unwrap();
    let password = std::fs::read_to_string(file.split_once(')').unwrap().0).unwrap();
    let account = format!("admin:{}", password.trim_end());
    let asked = std::process::Command::new("curl")
        .args(["-sS", "--cacert", &certificate, "-u"])
        .arg(&account)
        .args(["-H", &format!("Origin: {}", program.base)])
        .args([
            "-H",
            "Sec-Fetch-Site: same-origin",
            "-H",
            "Content-Type: application/json",
        ])
        .args([
            "-d",
            r#"{"properties": {"name": "own-page", "location": "de/fra"}}"#,
        ])
        .args([
            "-w",
            " %{http_version} %{http_code}",
            &format!("{}/registries", program.base),
        ])
        .args(["--next", "-sS", "--cacert", &certificate, "-u"])
        .arg(&account)
        .arg(format!("{}/registries", program.base))
        .output()
        .unwrap();
    let asked = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.contains(" 1.1 201"), "{asked}");
    assert!(
        asked.contains(&format!(r#""self":"{}/registries?"#, program.base)),
        "{asked}"
    );
    let address = program.base.trim_start_matches("https://");
    let healthcheck = |more: &[&str]| {
        end(bare(&database)
            .args(["healthcheck", "--listen", address])
            .args(more))
    };
    assert_eq!(healthcheck(&tls).ok(), "ok\n");
    healthcheck(&[]).refused(1, &[address]);
    let [other, _] = self::certificate(&data(&database));
    healthcheck(&["--tls-cert", &other, "--tls-key", &key]).refused(1, &[address, "--tls-cert"]);
}

#[rstest]
fn a_healthcheck_tells_by_its_status(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let program = Program::start(&database);
    let address = program.base.trim_start_matches("http://").to_owned();
    let healthcheck = |more: &[&str]| {
        end(bare(&database)
            .args(["healthcheck", "--listen", &address])
            .args(more))
    };
    assert_eq!(healthcheck(&[]).ok(), "ok\n");
    assert_eq!(healthcheck(&["--ready"]).ok(), "ok\n");
    // As after a roll-back of the tables: alive, and not ready.
    database.execute("DELETE FROM __diesel_schema_migrations WHERE version = '20261121000400'");
    assert_eq!(healthcheck(&[]).ok(), "ok\n");
    healthcheck(&["--ready"]).refused(1, &[&address, "/readyz", "503"]);
    program.kill();
    healthcheck(&[]).refused(1, &[&address, "does not answer"]);
}

#[rstest]
fn migrations_that_run_at_once_take_turns(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    let running: Vec<_> = (0..6)
        .map(|_| {
            bare(&database)
                .arg("migrate")
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut process in running {
        assert!(process.wait().unwrap().success());
    }
}

#[rstest]
fn migrating_is_a_command_of_its_own(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    for _ in 0..2 {
        let said = end(bare(&database).arg("migrate")).ok();
        assert!(said.starts_with("The database is current: "), "{said}");
        assert!(
            !said.contains("Sqlite(") && !said.contains("Postgres("),
            "{said}"
        );
    }
    assert_eq!(database.number("SELECT COUNT(*) FROM accounts"), 0);
    assert!(files(&data(&database)).is_empty());
    drop(Program::start(&database));
}

#[rstest]
#[actix_web::test]
async fn the_first_account_can_be_added_before_the_first_start(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    end(bare(&database).arg("migrate")).ok();
    let add = ["account", "add", "root", "--role", "Admin"];
    end(bare(&database).args(add)).refused(1, &["server key", "wharfinger keys init"]);
    end(bare(&database).args(["keys", "init"])).ok();
    let added = end(bare(&database).args(add)).ok();
    let password = added.rsplit_once("shown only now: ").unwrap().1.trim_end();
    let program = Program::spawn(&database, bare(&database));
    assert!(!program.greeting.contains("Made the account"));
    let root = Actor::of(&program.base, "root", password);
    assert_eq!(root.get("/registries").await.status, 200);
    assert_eq!(database.number("SELECT COUNT(*) FROM accounts"), 1);
}

/// A running server, and the commands beside it.
struct Beside {
    database: Arc<Database>,
    program: Program,
}

impl Beside {
    /// The password in a file that Windows wrote.
    const FROM_FILE: &str = "from: ä file";

    fn new(backend: Backend) -> Self {
        let database = Arc::new(Database::fresh(backend));
        let program = Program::start(&database);
        std::fs::write(
            database.folder().join("password"),
            "\u{feff}from: ä file\r\n",
        )
        .unwrap();
        Self { database, program }
    }

    fn account(&self, arguments: &[&str]) -> Ended {
        end(beside(&self.database).arg("account").args(arguments))
    }

    /// The same with the password of the file.
    fn account_from_file(&self, arguments: &[&str]) -> Ended {
        let file = self.database.folder().join("password");
        let file = ["--password-file", file.to_str().unwrap()];
        self.account(&[arguments, &file].concat())
    }

    async fn status(&self, name: &str, password: &str) -> u16 {
        let actor = Actor::of(&self.program.base, name, password);
        actor.get("/registries").await.status
    }
}

/// The password that a command showed.
fn shown(said: &str) -> &str {
    said.rsplit_once("shown only now: ").unwrap().1.trim_end()
}

#[rstest]
#[actix_web::test]
async fn accounts_are_added_and_listed_beside_a_running_server(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let beside = Beside::new(backend);
    let said = beside
        .account(&["add", "Alice@example.com", "--role", "Analyst"])
        .ok();
    assert_eq!(beside.status("alice@example.com", shown(&said)).await, 200);
    let roles = ["--role", "Admin", "--role", "Analyst", "--role", "Admin"];
    let said = beside.account_from_file(&[&["add", "bob"], &roles[..]].concat());
    assert!(!said.ok().contains(Beside::FROM_FILE));
    assert_eq!(beside.status("bob", Beside::FROM_FILE).await, 200);

    let list = beside.account(&["list"]).ok();
    let rows: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().skip(1).collect())
        .collect();
    assert_eq!(
        rows,
        [
            vec!["STATUS", "ROLES", "NAME"],
            vec!["enabled", "Admin", "admin"],
            vec!["enabled", "Analyst", "Alice@example.com"],
            vec!["enabled", "Admin,Analyst", "bob"],
        ]
    );
    assert_eq!(beside.database.number("SELECT COUNT(*) FROM accounts"), 3);
}

#[rstest]
#[actix_web::test]
async fn passwords_are_replaced_beside_a_running_server(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let beside = Beside::new(backend);
    let said = beside.account(&["add", "Alice@example.com"]).ok();
    let renewed = beside.account(&["passwd", "ALICE@example.com"]).ok();
    for (said, status) in [(said, 401), (renewed, 200)] {
        assert_eq!(
            beside.status("alice@example.com", shown(&said)).await,
            status
        );
    }
    beside
        .account_from_file(&["add", "bob", "--role", "Admin"])
        .ok();
    let mut from_input = self::beside(&beside.database)
        .args(["account", "passwd", "bob", "--password-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let typed = "\u{feff}typed in\n".as_bytes();
    from_input.stdin.take().unwrap().write_all(typed).unwrap();
    assert!(from_input.wait().unwrap().success());
    for (password, status) in [(Beside::FROM_FILE, 401), ("typed in", 200)] {
        assert_eq!(beside.status("bob", password).await, status, "{password}");
    }
}

#[rstest]
#[actix_web::test]
async fn an_admin_is_left_whatever_commands_do(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let beside = Beside::new(backend);
    let bob = ("bob", Beside::FROM_FILE);
    let last = "last enabled account";
    beside
        .account_from_file(&["add", "bob", "--role", "Admin"])
        .ok();
    beside.account(&["disable", "bob"]).ok();
    assert_eq!(beside.status(bob.0, bob.1).await, 401);
    for command in ["disable", "delete"] {
        let said = beside.account(&[command, "admin"]);
        said.refused(1, &["admin", "last enabled account with the role Admin"]);
        let status = beside.status("admin", ADMIN_PASSWORD).await;
        assert_eq!(status, 200, "{command}");
    }
    let said = beside.account(&["role", "admin", "--role", "Analyst"]);
    said.refused(1, &[last]);
    beside.account(&["enable", "bob"]).ok();
    assert_eq!(beside.status(bob.0, bob.1).await, 200);
    beside.account(&["delete", "admin"]).ok();
    assert_eq!(beside.status("admin", ADMIN_PASSWORD).await, 401);
    beside.account(&["delete", "bob"]).refused(1, &[last]);
}

#[rstest]
#[actix_web::test]
async fn roles_and_memberships_bite_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let beside = Beside::new(backend);
    let account = |arguments: &[&str]| beside.account(arguments);
    let program = &beside.program;
    let registry = program.admin().create_registry("team-a").await;
    let path = format!("/registries/{registry}");
    let carol = Actor::of(&program.base, "carol", Beside::FROM_FILE);
    beside.account_from_file(&["add", "carol"]).ok();
    assert_eq!(carol.get(&path).await.status, 404);
    let grant = ["grant", "CAROL", "--registry", "team-a", "--level"];
    for (level, read, write) in [("reader", 200, 403), ("owner", 200, 200)] {
        account(&[&grant[..], &[level]].concat()).ok();
        let patch = carol.patch(&path, serde_json::json!({})).await;
        assert_eq!((carol.get(&path).await.status, patch.status), (read, write));
    }
    let shown = account(&["show", "carol"]).ok();
    let words: Vec<_> = shown.split_whitespace().skip(2).collect();
    let expected = [
        "NAME", "carol", "STATUS", "enabled", "ROLES", "OWNER", "team-a",
    ];
    assert_eq!(words, expected);
    let revoke = ["revoke", "carol", "--registry", "team-a"];
    account(&revoke).ok();
    assert_eq!(carol.get(&path).await.status, 404);
    account(&revoke).refused(1, &["member carol of team-a not found"]);
    account(&["grant", "carol", "--registry", "team-b", "--level", "owner"])
        .refused(1, &["registry \"team-b\" not found"]);
    account(&[&grant[..], &["admin"]].concat()).refused(2, &["owner, maintainer, reader"]);
    account(&["role", "carol", "--role", "Analyst"]).ok();
    assert_eq!(carol.get(&path).await.status, 200);
    account(&["role", "carol", "--role", "nobody"]).refused(1, &["no role \"nobody\""]);
    account(&["role", "carol", "--none"]).ok();
    assert_eq!(carol.get(&path).await.status, 404);
}

#[rstest]
#[actix_web::test]
async fn api_tokens_of_an_account_end_only_if_that_is_said(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let beside = Beside::new(backend);
    let database = &beside.database;
    let account = |arguments: &[&str]| beside.account(arguments);
    let carol = Actor::of(&beside.program.base, "carol", Beside::FROM_FILE);
    beside
        .account_from_file(&["add", "carol", "--role", "Admin"])
        .ok();
    // A new password leaves its API tokens alone, unless they are to end with it.
    let revoked =
        "SELECT COUNT(*) FROM api_tokens WHERE revoked_at IS NOT NULL AND revoked_by IS NULL";
    let generate = async |name: &str| {
        let made = carol
            .post("/v1/apitokens/generate", serde_json::json!({"name": name}))
            .await;
        assert_eq!(made.status, 200, "{made:?}");
    };
    generate("first").await;
    let kept = beside.account_from_file(&["passwd", "carol"]).ok();
    assert!(kept.contains("go on working"), "{kept}");
    assert_eq!(database.number(revoked), 0);
    let ended = beside
        .account_from_file(&["passwd", "carol", "--revoke-tokens"])
        .ok();
    assert!(ended.contains("have ended"), "{ended}");
    assert_eq!(database.number(revoked), 1);
    // They keep an account, unless they are to go with it.
    for name in ["one", "two"] {
        generate(name).await;
    }
    account(&["delete", "carol"])
        .refused(1, &["carol has 2 API tokens in force", "--revoke-tokens"]);
    assert_eq!(carol.get("/registries").await.status, 200);
    account(&["delete", "carol", "--revoke-tokens"]).ok();
    assert_eq!(database.number(revoked), 3);
}

#[rstest]
#[actix_web::test]
async fn commands_that_break_a_rule_change_no_account(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let beside = Beside::new(backend);
    let account = |arguments: &[&str]| beside.account(arguments);
    let file = beside.database.folder().join("password");
    beside
        .account_from_file(&["add", "bob", "--role", "Admin"])
        .ok();
    account(&["add", "BOB", "--role", "Admin"]).refused(1, &["BOB already exists"]);
    account(&["add", "a:b", "--role", "Admin"]).refused(1, &["a:b", "without colon"]);
    account(&["add", "dave", "--role", "admin"])
        .refused(1, &["no role \"admin\"", "Admin, Analyst"]);
    account(&["passwd", "nobody"]).refused(1, &["account nobody not found"]);
    std::fs::write(&file, "short").unwrap();
    beside
        .account_from_file(&["passwd", "bob"])
        .refused(1, &["shorter than 8 characters"]);
    std::fs::write(&file, "x".repeat(72)).unwrap();
    beside
        .account_from_file(&["passwd", "bob"])
        .refused(1, &["72 bytes", "71"]);
    assert_eq!(beside.status("bob", Beside::FROM_FILE).await, 200);
    assert_eq!(beside.database.number("SELECT COUNT(*) FROM accounts"), 2);
}

/// Arguments that are wrong by themselves, and the text that the refusal has to name.
const BAD_ARGUMENTS: &[(&[&str], &[&str])] = &[
    (&["--bcrypt-cost", "3"], &["--bcrypt-cost", "4..=20"]),
    (&["--listen", "nowhere"], &["--listen", "nowhere"]),
    (&["--public-url", "ftp://x"], &["--public-url", "https://"]),
    (&["--registry-domain", "a..b"], &["--registry-domain"]),
    (&["--locations", "fra"], &["--locations", "de/fra"]),
    (&["--head-timeout", "0s"], &["--head-timeout", "10s"]),
    (&["--body-timeout", "soon"], &["--body-timeout"]),
    (
        &["--server-key", "A", "--server-key-file", "B"],
        &["--server-key", "--server-key-file", "cannot be used with"],
    ),
    (
        &["--admin-password", "A", "--admin-password-file", "B"],
        &["--admin-password", "--admin-password-file"],
    ),
    (
        &[
            "--secret-scanning-token",
            "A",
            "--secret-scanning-token-file",
            "B",
        ],
        &["--secret-scanning-token", "--secret-scanning-token-file"],
    ),
    (
        &["--leaked-tokens", "keep"],
        &["--leaked-tokens", "disable"],
    ),
    (
        &["--metrics-token", "A", "--metrics-token-file", "B"],
        &["--metrics-token", "--metrics-token-file"],
    ),
    (&["--metrics-listen", "9100"], &["--metrics-listen"]),
    (&["--tls-cert", "CERTIFICATE"], &["--tls-key"]),
    (&["--colour"], &["--colour"]),
    (&["--notice-repeat", "59s"], &["--notice-repeat", "from 1m"]),
    (
        &["--notice-window", "3651d"],
        &["--notice-window", "from 0s"],
    ),
];

/// Arguments that are wrong by what they mean. `FOLDER`, `TEXT`, `CERTIFICATE` and `KEY` stand for paths of such things.
const BAD_SETTINGS: &[(&[&str], &[&str])] = &[
    (
        &["--secret-scanning-token", "hidden-word"],
        &["--secret-scanning-token", "32"],
    ),
    (
        &["--secret-scanning-token-file", "TEXT"],
        &["--secret-scanning-token-file", "32"],
    ),
    (
        &["--secret-scanning-token-file", "FOLDER"],
        &["--secret-scanning-token-file", "FOLDER"],
    ),
    (
        &["--metrics-token", "hidden-word"],
        &["--metrics-token", "32"],
    ),
    (
        &["--metrics-token-file", "TEXT"],
        &["--metrics-token-file", "32"],
    ),
    (
        &["--database-url", "mysql://localhost/x"],
        &["--database-url", "postgres://"],
    ),
    (&["--database-url", "postgres://[x"], &["--database-url"]),
    (
        &["--database-url", "postgres://db.example.com/x"],
        &["--database-url", "postgres-tls", "sslmode=disable"],
    ),
    (
        &["--database-url", "postgres://u:hidden-word@127.0.0.1:1/x"],
        &["--database-url", "refused"],
    ),
    (&["--database-url", "FOLDER"], &["--database-url", "FOLDER"]),
    (&["--database-url", "TEXT"], &["--database-url", "TEXT"]),
    (&["--data-dir", "TEXT"], &["--data-dir", "TEXT"]),
    (
        &["--server-key", "hidden-word"],
        &["server key", "base64", "keys init"],
    ),
    (&["--server-key-file", "TEXT"], &["server key", "base64"]),
    (
        &["--server-key-file", "FOLDER"],
        &["--server-key-file", "FOLDER"],
    ),
    (
        &["--admin-password", "hidden"],
        &["--admin-password", "shorter than 8"],
    ),
    (
        &["--admin-password-file", "/nowhere"],
        &["--admin-password-file", "/nowhere"],
    ),
    (
        &["--tls-cert", "/nowhere", "--tls-key", "KEY"],
        &["--tls-cert", "/nowhere"],
    ),
    (
        &["--tls-cert", "TEXT", "--tls-key", "KEY"],
        &["--tls-cert", "TEXT", "no certificate"],
    ),
    (
        &["--tls-cert", "CERTIFICATE", "--tls-key", "/nowhere"],
        &["--tls-key", "/nowhere"],
    ),
    (
        &["--tls-cert", "CERTIFICATE", "--tls-key", "TEXT"],
        &["--tls-key", "TEXT"],
    ),
    (&["--log", "a=b=c"], &["--log", "a=b=c"]),
    (&["--log", "warning"], &["--log", "warning", "warn, info"]),
    (
        &["--log", "info,http,wharfinger=debug"],
        &["--log", "http is no level"],
    ),
    (
        &["--default-token-life", "90d", "--maximum-token-life", "30d"],
        &[
            "--default-token-life",
            "P90D",
            "--maximum-token-life",
            "P30D",
        ],
    ),
];

#[test]
fn bad_settings_are_refused_in_a_sentence_that_names_them() {
    let database = Database::fresh(Backend::Sqlite);
    let folder = database.folder().to_str().unwrap();
    let text = database.folder().join("text");
    std::fs::write(&text, "not what it should be").unwrap();
    let [certificate, key] = certificate(database.folder());
    let paths = [
        ("FOLDER", folder),
        ("TEXT", text.to_str().unwrap()),
        ("CERTIFICATE", &certificate),
        ("KEY", &key),
    ];
    let with_paths = |words: &[&'static str]| -> Vec<&str> {
        let path = |word: &&str| paths.iter().find(|(name, _)| name == word);
        let words = words.iter();
        words
            .map(|word| path(word).map_or(*word, |(_, path)| *path))
            .collect()
    };
    // The status is 2 where the command line itself is at fault, as everywhere.
    let arguments = BAD_ARGUMENTS.iter().map(|case| (2, case));
    let settings = BAD_SETTINGS.iter().map(|case| (1, case));
    for (number, (code, (arguments, parts))) in arguments.chain(settings).enumerate() {
        let (arguments, parts) = (with_paths(arguments), with_paths(parts));
        let mut command = bare(&database);
        if arguments[0] == "--database-url" {
            // Else a missing key would be told before the database is looked at.
            command.env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=");
        } else {
            command.env_remove("WHARFINGER_DATABASE_URL");
        }
        let data = database.folder().join(number.to_string());
        command.env("WHARFINGER_DATA_DIR", data);
        let ended = end(command.args(arguments));
        ended.refused(code, &parts);
        let repeated = ended.err.contains("hidden");
        assert!(!repeated, "a secret is repeated: {}", ended.err);
    }
}

#[rstest]
#[actix_web::test]
async fn a_log_that_cannot_be_written_stops_nothing(
    // A full disk, and a pipe whose reader has ended.
    #[values("/dev/full", ">(:)")] log: &str,
) {
    let database = Arc::new(Database::fresh(Backend::Sqlite));
    let runner = format!("exec \"$@\" 2> {log}");
    let command = Program::through(
        &["bash", "-c", &runner, "bash"],
        Program::command(&database).args(["--log", "debug"]),
    );
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    assert_eq!(admin.get(&tokens).await.status, 200);
    program.signal("TERM");
    let (status, _) = program.wait();
    assert!(status.success(), "{status}");
}

#[rstest]
#[actix_web::test]
async fn the_audit_trail_is_verified_beside_a_running_server(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let program = Program::start(&database);
    let command = |arguments: &[&str]| end(beside(&database).args(arguments));
    command(&["account", "add", "bob"]).ok();
    program.admin().create_registry("team-a").await;
    let said = command(&["audit", "verify"]).ok();
    // The first account and the registry by the server, the second account by the command.
    assert_eq!(said, "Nothing was changed: 3 events in 2 chains.\n");
    database.execute("DELETE FROM audit_events WHERE subject_kind = 'registry'");
    let said = command(&["audit", "verify"]);
    said.refused(1, &["the audit trail was changed", "2 events in 2 chains"]);
    assert!(
        said.out.contains("chain 1: events 2 to 2 are missing"),
        "{said:?}"
    );
}

#[test]
fn the_help_of_every_command_explains_every_flag() {
    let database = Database::fresh(Backend::Sqlite);
    let all = commands().into_iter().map(|(name, _)| name);
    let groups = ["", "account", "audit", "keys", "registry"].map(str::to_owned);
    for name in all.chain(groups) {
        let mut command = bare(&database);
        command.args(name.split(' ').filter(|word| !word.is_empty()));
        let help = end(command.arg("--help")).ok();
        let lines: Vec<_> = help.lines().collect();
        let mut flags = 0;
        for (at, line) in lines.iter().enumerate() {
            let entry = line.trim_start();
            if !entry.starts_with("--") && !entry.starts_with("-h") && !entry.starts_with('<') {
                continue;
            }
            flags += 1;
            // In the long form the text is on the next line, in the short form on the same.
            let explained = entry.contains("  ")
                || lines
                    .get(at + 1)
                    .is_some_and(|next| next.starts_with("          "));
            assert!(explained, "{name}: {line}");
        }
        assert!(flags > 20, "{name} shows {flags} flags: {help}");
        assert!(
            help.contains("WHARFINGER_BODY_TIMEOUT"),
            "{name} names no variables"
        );
    }
}

#[test]
fn the_documents_are_printed_by_surface() {
    let database = Database::fresh(Backend::Sqlite);
    let print = |surface: Option<&str>| {
        let mut command = bare(&database);
        end(command.arg("openapi").args(surface))
    };
    let committed = |name: &str| std::fs::read_to_string(format!("openapi/{name}.json")).unwrap();
    assert!(print(None).ok() == committed("wharfinger"));
    for name in wharfinger::http::document_names() {
        assert!(print(Some(name)).ok() == committed(name), "{name}");
    }
    let mut command = bare(&database);
    command.args([
        "openapi",
        "quay",
        "--version",
        "3.0",
        "--public-url",
        "https://cr.example.com/w",
    ]);
    let older: Value = serde_json::from_str(&end(&mut command).ok()).unwrap();
    assert_eq!(older["openapi"], "3.0.3");
    assert_eq!(older["servers"][0]["url"], "https://cr.example.com/w");
    print(Some("nope")).refused(1, &["no surface \"nope\"", "registries, registry-access"]);
}

#[rstest]
#[actix_web::test]
async fn replicas_that_start_at_once_make_one_first_account(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    end(bare(&database).args(["keys", "init"])).ok();
    let start = || {
        let database = Arc::clone(&database);
        std::thread::spawn(move || {
            let command = bare(&database);
            Program::spawn(&database, command)
        })
    };
    let starting = [start(), start(), start()];
    let started = starting.map(|thread| thread.join().unwrap());
    let made = started
        .iter()
        .filter(|program| program.greeting.contains("Made the account"))
        .count();
    assert_eq!(made, 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM accounts"), 1);
    let password = std::fs::read_to_string(data(&database).join("admin-password")).unwrap();
    for program in &started {
        let admin = Actor::of(&program.base, "admin", password.trim_end());
        let answer = admin.post("/registries", json!({})).await;
        assert_eq!(answer.status, 400, "let in, and told what is missing");
    }
}
