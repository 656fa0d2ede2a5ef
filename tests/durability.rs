//! Acknowledged writes stay, whatever happens to the process or the database, and the service recovers by itself.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_web::rt::spawn;
use actix_web::rt::task::{JoinHandle, yield_now};
use diesel::connection::SimpleConnection as _;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use crate::harness::{
    Actor, Answer, Backend, Database, PATIENCE, Patience, Program, Server, on_server,
};

/// The answers that clients got.
#[derive(Debug, Default)]
struct Told {
    /// Ids of tokens whose creation was acknowledged.
    created: BTreeSet<String>,
    /// Ids of tokens whose removal was acknowledged.
    deleted: BTreeSet<String>,
    /// Ids of tokens whose removal was asked for.
    doomed: BTreeSet<String>,
    /// Names asked for whose answer was 503.
    refused: BTreeSet<String>,
    /// Names asked for without an answer.
    unanswered: BTreeSet<String>,
    /// Any other answer.
    strange: Vec<String>,
}

/// Clients that create tokens, and delete every third of their own, until they get no answer.
struct Load {
    told: Rc<RefCell<Told>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(admin: &Actor, registry: &str, label: &str, clients: usize) -> Self {
        let told = Rc::new(RefCell::new(Told::default()));
        let clients = (0..clients)
            .map(|client| {
                let (admin, told) = (admin.clone(), Rc::clone(&told));
                let tokens = format!("/registries/{registry}/tokens");
                let label = format!("{label}-{client}");
                spawn(async move {
                    for number in 0.. {
                        let name = format!("{label}-{number}");
                        if !one(&admin, &tokens, name, number % 3 == 0, &told).await {
                            return;
                        }
                    }
                })
            })
            .collect();
        Self { told, clients }
    }

    /// Waits until so many creations were acknowledged.
    async fn until_created(&self, count: usize) {
        let begun = Instant::now();
        while self.told.borrow().created.len() < count {
            assert!(begun.elapsed() < PATIENCE, "too slow: {:?}", self.told);
            yield_now().await;
        }
    }

    async fn end(self) -> Told {
        for client in self.clients {
            client.await.unwrap();
        }
        Rc::try_unwrap(self.told).unwrap().into_inner()
    }
}

/// Creates a token, and deletes it again if told to. Returns false once there is no answer.
async fn one(
    admin: &Actor,
    tokens: &str,
    name: String,
    doomed: bool,
    told: &RefCell<Told>,
) -> bool {
    let body = json!({"properties": {"name": name}});
    let request = admin.request(Method::POST, tokens).json(&body);
    let Ok(answer) = admin.try_send(request).await else {
        told.borrow_mut().unanswered.insert(name);
        return false;
    };
    match answer.status {
        201 => {}
        503 => {
            told.borrow_mut().refused.insert(name);
            return true;
        }
        _ => {
            told.borrow_mut().strange.push(format!("{answer:?}"));
            return false;
        }
    }
    let id = answer.json["id"].as_str().unwrap().to_owned();
    told.borrow_mut().created.insert(id.clone());
    if doomed {
        told.borrow_mut().doomed.insert(id.clone());
        let request = admin.request(Method::DELETE, &format!("{tokens}/{id}"));
        match admin.try_send(request).await {
            Ok(answer) if answer.status == 204 => drop(told.borrow_mut().deleted.insert(id)),
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => told.borrow_mut().strange.push(format!("{answer:?}")),
            Err(_) => return false,
        }
    }
    true
}

/// Ids and names of all tokens of a registry, through the API, with the total checked.
async fn listed(admin: &Actor, registry: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    let patience = Patience::new();
    loop {
        patience.spend("the list has not ended");
        let path = format!(
            "/registries/{registry}/tokens?limit=1000&offset={}",
            ids.len()
        );
        let answer = admin.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.json["items"].as_array().unwrap();
        for item in items {
            assert!(ids.insert(item["id"].as_str().unwrap().to_owned()));
            names.insert(item["properties"]["name"].as_str().unwrap().to_owned());
        }
        if items.len() < 1000 {
            assert_eq!(answer.json["total"], ids.len());
            return (ids, names);
        }
    }
}

fn check(told: &Told, ids: &BTreeSet<String>) {
    assert!(told.strange.is_empty(), "{:#?}", told.strange);
    let lost: Vec<_> = told
        .created
        .iter()
        .filter(|id| !told.doomed.contains(*id) && !ids.contains(*id))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let back: Vec<_> = told.deleted.intersection(ids).collect();
    assert!(
        back.is_empty(),
        "acknowledged as deleted and there: {back:?}"
    );
}

#[rstest]
#[actix_web::test]
async fn kill_9_under_load_loses_nothing_acknowledged(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let mut rounds = Vec::new();
    let mut registry = String::new();
    for round in 0..5 {
        let program = Program::start(&database);
        let admin = program.admin();
        if round == 0 {
            registry = admin.create_registry("team-a").await;
        }
        let load = Load::start(&admin, &registry, &format!("r{round}"), 12);
        load.until_created(60 + 17 * round).await;
        program.kill();
        rounds.push(load.end().await);
    }
    let program = Program::start(&database);
    let (ids, _) = listed(&program.admin(), &registry).await;
    for told in &rounds {
        check(told, &ids);
        assert!(!told.deleted.is_empty());
    }
    database.check_totals();
    // And it serves on.
    program.admin().create_token(&registry, "after").await;
}

#[rstest]
#[actix_web::test]
async fn sigterm_under_load_answers_whatever_it_accepted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let program = Program::start(&database);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let load = Load::start(&admin, &registry, "ci", 12);
    load.until_created(100).await;
    program.signal("TERM");
    let told = load.end().await;
    let (status, log) = program.wait();
    assert!(status.success(), "{status}: {log}");

    let program = Program::start(&database);
    let (ids, names) = listed(&program.admin(), &registry).await;
    check(&told, &ids);
    // Requests without an answer came when the server no longer listened, so nothing was done for them.
    let done: Vec<_> = told.unanswered.intersection(&names).collect();
    assert!(done.is_empty(), "done and not answered: {done:?}");
    let done: Vec<_> = told.refused.intersection(&names).collect();
    assert!(done.is_empty(), "done and refused: {done:?}");
    database.check_totals();
}

/// The refusal that a client can read: the surface's JSON, and when to come back.
fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.json["httpStatus"], 503);
    assert_eq!(answer.codes(), ["unavailable"], "{answer:?}");
    // Nothing of the database's own words.
    for word in ["database", "disk", "lock", "sql", "connect"] {
        assert!(!answer.text.to_lowercase().contains(word), "{answer:?}");
    }
}

fn new_token(name: &str) -> serde_json::Value {
    json!({"properties": {"name": name}})
}

/// Asks again until it is created, for as long as a client would, and no restart.
async fn assert_recovers(admin: &Actor, registry: &str) {
    let begun = Instant::now();
    loop {
        let tokens = format!("/registries/{registry}/tokens");
        let answer = admin.post(&tokens, new_token("recovered")).await;
        if answer.status == 201 {
            break;
        }
        assert_unavailable(&answer);
        assert!(begun.elapsed() < PATIENCE, "it does not come back");
    }
    assert_eq!(admin.get("/readyz").await.status, 200);
}

/// Limits how large a file the program may make: a write that would go beyond fails, as on a disk that is full.
fn limit_files(program: &Program, bytes: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &program.child.id().to_string()])
        .arg(format!("--fsize={bytes}:"))
        .status()
        .expect("prlimit of util-linux is needed");
    assert!(status.success());
}

#[rstest]
#[actix_web::test]
async fn a_disk_that_fills_inside_a_group_tells_nobody_yes(
    #[values(Backend::Sqlite)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let program = Program::start(&database);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let load = Load::start(&admin, &registry, "ci", 32);
    load.until_created(100).await;
    let log = database.file().with_extension("db-wal");
    limit_files(
        &program,
        &(log.metadata().unwrap().len() + 20_000).to_string(),
    );
    let begun = Instant::now();
    while load.told.borrow().refused.len() < 100 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", load.told);
        yield_now().await;
    }
    // Reading goes on, and the refusal is a proper one.
    let tokens = format!("/registries/{registry}/tokens");
    assert_unavailable(&admin.post(&tokens, new_token("refused")).await);
    assert_eq!(admin.get(&tokens).await.status, 200);
    assert_eq!(admin.get("/healthz").await.status, 200);

    // While the load goes on, it comes back.
    limit_files(&program, "unlimited");
    let created = load.told.borrow().created.len();
    load.until_created(created + 100).await;
    program.signal("TERM");
    let told = load.end().await;
    let (status, log) = program.wait();
    assert!(status.success(), "{status}: {log}");

    let program = Program::start(&database);
    let (ids, names) = listed(&program.admin(), &registry).await;
    check(&told, &ids);
    let done: Vec<_> = told.refused.intersection(&names).collect();
    assert!(done.is_empty(), "refused and done: {done:?}");
    assert!(!names.contains("refused"));
    database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn a_locked_database_refuses_writes_and_recovers(
    #[values(Backend::Sqlite)] backend: Backend,
    #[values("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE")] begin: &str,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let mut other = server.database.connect();
    other.batch_execute(begin).unwrap();
    // More than two groups: no request waits for the time-outs of earlier ones.
    let begun = Instant::now();
    let waiting: Vec<_> = (0..300)
        .map(|number| {
            let (admin, tokens) = (admin.clone(), tokens.clone());
            spawn(async move { admin.post(&tokens, new_token(&format!("n{number}"))).await })
        })
        .collect();
    for answer in waiting {
        assert_unavailable(&answer.await.unwrap());
    }
    // One after the other they would wait for ten minutes.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(admin.get(&tokens).await.status, 200);
    other.batch_execute("ROLLBACK").unwrap();
    assert_recovers(&admin, &registry).await;
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
}

/// Root may write in spite of the modes, unless the process gives up that right.
fn bound_by_modes(command: Command, database: &Database) -> Command {
    if database.folder().metadata().unwrap().uid() != 0 {
        return command;
    }
    let rights = "-dac_override,-dac_read_search";
    Program::through(
        &["setpriv", "--bounding-set", rights, "--inh-caps", rights],
        &command,
    )
}

#[rstest]
#[actix_web::test]
async fn a_read_only_file_refuses_writes_and_recovers(#[values(Backend::Sqlite)] backend: Backend) {
    let database = Arc::new(Database::fresh(backend));
    let command = bound_by_modes(Program::command(&database), &database);
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let files: Vec<_> = ["db", "db-wal", "db-shm"]
        .map(|extension| database.file().with_extension(extension))
        .into();
    let set_modes = |mode| {
        for file in &files {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    // Open files stay writable: the writer opens anew after it was refused once.
    let mut other = database.connect();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    set_modes(0o400);
    assert_unavailable(&admin.post(&tokens, new_token("locked")).await);
    other.batch_execute("ROLLBACK").unwrap();
    assert_unavailable(&admin.post(&tokens, new_token("read-only")).await);
    assert_unavailable(&admin.delete(&format!("/registries/{registry}")).await);
    assert_eq!(admin.get(&tokens).await.json["total"], 0);
    set_modes(0o600);
    assert_recovers(&admin, &registry).await;
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
}

#[rstest]
#[actix_web::test]
async fn a_file_that_is_gone_is_not_made_anew(#[values(Backend::Sqlite)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    // The writer opens anew after it was refused once.
    let mut other = server.database.connect();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    assert_unavailable(&admin.post(&tokens, new_token("locked")).await);
    other.batch_execute("ROLLBACK").unwrap();

    let away = server.database.folder().join("away");
    std::fs::create_dir(&away).unwrap();
    let names = ["wharfinger.db", "wharfinger.db-wal", "wharfinger.db-shm"];
    for name in names {
        std::fs::rename(server.database.folder().join(name), away.join(name)).unwrap();
    }
    assert_unavailable(&admin.post(&tokens, new_token("gone")).await);
    assert!(
        !server.database.file().exists(),
        "an empty database was made"
    );
    assert_eq!(admin.get("/healthz").await.status, 200);
    for name in names {
        std::fs::rename(away.join(name), server.database.folder().join(name)).unwrap();
    }
    drop(other);
    assert_recovers(&admin, &registry).await;
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
}

fn end_sessions(database: &Database) {
    on_server(&format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE datname = '{}' AND pid <> pg_backend_pid()",
        database.name()
    ));
}

#[rstest]
#[actix_web::test]
async fn a_read_only_server_refuses_writes_and_recovers(
    #[values(Backend::Postgres)] backend: Backend,
    #[values(None, Some("primary"))] sessions: Option<&str>,
) {
    let mut database = Database::apart(backend);
    if let Some(sessions) = sessions {
        database.url = format!("{}&target_session_attrs={sessions}", database.url);
    }
    let database = Arc::new(database);
    let server = Server::start_on(&database).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let name = database.name();
    on_server(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    end_sessions(&database);
    assert_unavailable(&admin.post(&tokens, new_token("read-only")).await);
    assert_unavailable(&admin.delete(&format!("/registries/{registry}")).await);
    let read = admin.get(&tokens).await;
    if sessions.is_some() {
        assert_eq!(read.json["total"], 0);
    } else {
        // It could be the old primary of a cluster, kept from writes by just this setting.
        assert_unavailable(&read);
    }
    on_server(&format!(
        "ALTER DATABASE {name} RESET default_transaction_read_only"
    ));
    assert_recovers(&admin, &registry).await;
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
}

/// As on a full disk: the statements of a group pass, its commit fails. The error is the one PostgreSQL gives then.
#[rstest]
#[actix_web::test]
async fn a_server_whose_disk_fills_at_the_commit_tells_nobody_yes(
    #[values(Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    server.database.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$; \
         CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON tokens DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION full_disk()",
    );
    let sent: Vec<_> = (0..50)
        .map(|number| {
            let (admin, tokens) = (admin.clone(), tokens.clone());
            spawn(async move { admin.post(&tokens, new_token(&format!("n{number}"))).await })
        })
        .collect();
    for answer in sent {
        assert_unavailable(&answer.await.unwrap());
    }
    assert_eq!(admin.get(&tokens).await.json["total"], 0);
    server.database.execute("DROP TRIGGER full_disk ON tokens");
    assert_recovers(&admin, &registry).await;
    server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn a_server_that_is_gone_is_waited_for(#[values(Backend::Postgres)] backend: Backend) {
    let database = Arc::new(Database::apart(backend));
    let server = Server::start_on(&database).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let name = database.name();

    // A restart between two requests is not even noticed.
    end_sessions(&database);
    assert_eq!(admin.get(&tokens).await.status, 200);
    end_sessions(&database);
    assert_eq!(admin.post(&tokens, new_token("before")).await.status, 201);

    on_server(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    end_sessions(&database);
    let begun = Instant::now();
    let sent: Vec<_> = (0..300)
        .map(|number| {
            let (admin, tokens) = (admin.clone(), tokens.clone());
            spawn(async move {
                match number % 2 {
                    0 => admin.post(&tokens, new_token(&format!("n{number}"))).await,
                    _ => admin.get(&tokens).await,
                }
            })
        })
        .collect();
    for answer in sent {
        assert_unavailable(&answer.await.unwrap());
    }
    // One after the other they would wait for ten minutes.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(admin.get("/healthz").await.status, 200);
    let ready = admin.get("/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");

    on_server(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    assert_recovers(&admin, &registry).await;
    assert_eq!(admin.get(&tokens).await.json["total"], 2);
}

#[rstest]
#[actix_web::test]
async fn a_crowd_is_turned_away_and_probes_are_answered(
    #[values(Backend::Postgres)] backend: Backend,
) {
    // More than what the janitor and its like may want at the same time as the first of these requests.
    let monitor = "a-monitor-of-integration-tests-0001";
    let flags = ["--queue", "8", "--metrics-token", monitor];
    let server = Server::start_with(backend, &flags).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    // Nobody is let in who is not read from there.
    let mut other = server.database.connect();
    let lock = "BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).unwrap();
    let mut crowd = Vec::new();
    let crowded = async |crowd: &mut Vec<_>| {
        let patience = Patience::new();
        while !server.service.is_full() {
            patience.spend("the queue of readers is not full");
            // Some may come while both readers are about to take what waits.
            if crowd.len() < 50 {
                let (admin, tokens) = (admin.clone(), tokens.clone());
                crowd.push(spawn(async move { admin.get(&tokens).await }));
            }
            yield_now().await;
        }
    };
    crowded(&mut crowd).await;
    let turned_away = async || {
        let told = server.bearer(monitor).get("/metrics").await.text;
        let name = r#"wharfinger_store_refused_total{door="read"} "#;
        let count = told.lines().find_map(|line| line.strip_prefix(name));
        count.unwrap().parse::<usize>().unwrap()
    };
    let before = turned_away().await;
    // More than the crowd itself can still become.
    for _ in 0..60 {
        // Those that wait too long give up their places.
        crowded(&mut crowd).await;
        assert_unavailable(&admin.get(&tokens).await);
    }
    assert!(turned_away().await >= before + 60);
    let refused = server.anonymous().get("/token?service=x").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(admin.get(probe).await.status, 200, "{probe}");
    }
    other.batch_execute("ROLLBACK").unwrap();
    for answer in crowd {
        let answer = answer.await.unwrap();
        if answer.status != 200 {
            assert_unavailable(&answer);
        }
    }
    assert_eq!(admin.get(&tokens).await.status, 200);
}
