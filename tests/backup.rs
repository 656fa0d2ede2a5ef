//! Backups: whole, sealed, of either database into either. A restored database is frozen until an operator confirms it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use wharfinger::clock::{Clock, Random, SystemClock, SystemRandom};
use wharfinger::domain::id::TrustKey;
use wharfinger::domain::trust_refusal::{RefusalDetail, RefusalReason, TrustRefusal};
use wharfinger::service::backup;
use wharfinger::service::data_keys::ServerKey;
use wharfinger::store::dump::{GAP, LEFT_OUT, TABLES};
use wharfinger::store::{self, Target, exchanged_jwts};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Database, Program, Server, fill};

/// The server key of the tests.
fn key() -> String {
    "A".repeat(43) + "="
}

fn parsed(key: &str) -> ServerKey {
    ServerKey::parse(&SecretString::from(key.to_owned())).unwrap()
}

fn run(database: &Database, arguments: &[&str]) -> Output {
    let mut command = Program::command(database);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    output.unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command that has to succeed.
fn ok(database: &Database, arguments: &[&str]) -> String {
    let output = run(database, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that has to be refused, with these words.
fn refused(database: &Database, arguments: &[&str], words: &[&str]) {
    let output = run(database, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for word in words {
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    }
}

/// A backup of a database in a file.
fn back_up(database: &Database, name: &str) -> String {
    let file = database.folder().join(name).to_str().unwrap().to_owned();
    ok(database, &["backup", &file]);
    file
}

/// A fresh database with a backup restored into it, frozen.
fn restored(backend: Backend, file: &str) -> Arc<Database> {
    let database = Arc::new(Database::fresh(backend));
    ok(&database, &["restore", file]);
    database
}

/// The tables of a database and their columns with their types.
fn columns(database: &Database) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let sql = match database.backend {
        Backend::Sqlite => {
            "SELECT t.name || ' ' || c.name || ' ' || c.type AS line FROM sqlite_master AS t \
             JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'"
        }
        Backend::Postgres => {
            "SELECT table_name || ' ' || column_name || ' ' || upper(data_type) AS line \
             FROM information_schema.columns WHERE table_schema = current_schema()"
        }
    };
    let mut tables = BTreeMap::<_, BTreeSet<_>>::new();
    for line in database.lines(sql) {
        let [table, name, kind] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let column = (name.to_owned(), kind.to_owned());
        tables.entry(table.to_owned()).or_default().insert(column);
    }
    tables
}

/// Every row of every table as a text that is the same on both databases. `hops` is how often it was restored.
fn dump(database: &Database, hops: i64) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for (table, columns) in columns(database) {
        if LEFT_OUT.iter().any(|(name, _)| *name == table) {
            continue;
        }
        let values: Vec<_> = columns
            .iter()
            .map(|(name, kind)| {
                let text = match (kind.as_str(), database.backend) {
                    ("BLOB", _) => format!("lower(hex({name}))"),
                    ("BYTEA", _) => format!("encode({name}, 'hex')"),
                    _ if name.ends_with("version") || name == "generation" => {
                        format!("CAST({name} - {} AS TEXT)", hops * GAP)
                    }
                    _ => format!("CAST({name} AS TEXT)"),
                };
                format!("'{name}=' || CASE WHEN {name} IS NULL THEN 'NULL' ELSE '''' || {text} || '''' END")
            })
            .collect();
        let row = values.join(" || ' ' || ");
        let sql = format!("SELECT '{table}: ' || {row} AS line FROM {table}");
        rows.extend(database.lines(&sql));
    }
    rows.retain(|row| !row.starts_with("meta: name='frozen'"));
    rows
}

/// A server before its backup, with its ids and secrets.
struct Filled {
    server: Server,
    registry: String,
    token: String,
    /// The path of a trust.
    trust: String,
    secret: String,
    app_token: String,
    api_token: String,
}

/// A server with something in every table.
async fn filled(backend: Backend) -> Filled {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let deleted = admin.create_registry("team-b").await;
    admin.create_token(&deleted, "gone").await;
    admin.delete(&format!("/registries/{deleted}")).await;
    let account = admin
        .create_account("bob", &["Continuous Integration"])
        .await;
    admin.set_member(&registry, &account, "reader").await;
    let body = json!({"properties": {"name": "ci", "expiryDate": "2027-01-01T00:00:00Z",
        "scopes": [{"type": "repository", "name": "a", "actions": ["pull"]}]}});
    let tokens = format!("/registries/{registry}/tokens");
    let made = admin.post(&tokens, body).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let token = text(&made.json["id"]);
    let secret = text(&made.json["properties"]["credentials"]["password"]);
    admin.create_token(&registry, "for-ever").await;
    assert_eq!(log_in(&server, &secret).await.status, 200);
    let made = admin
        .post(
            "/api/v1/user/apptoken",
            json!({"title": "quote ' and \u{1f980}"}),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let app_token = text(&made.json["token"]["token_code"]);
    let body = json!({"name": "api", "roles": ["Admin"]});
    let made = admin.post("/v1/apitokens/generate", body).await;
    let bearer = text(&made.json["token"]);
    let trust = trusted(&server, &registry).await;
    // The background jobs have nothing left to do.
    server.service.janitor().run("test").await.unwrap();
    server.service.flush_usage().await.unwrap();
    server.service.flush_refused_workloads().await.unwrap();
    server.service.flush_audit(true).await.unwrap();
    Filled {
        server,
        registry,
        token,
        trust,
        secret,
        app_token,
        api_token: bearer,
    }
}

/// Makes a trust with a refused workload and an exchanged JWT. Returns its path.
async fn trusted(server: &Server, registry: &str) -> String {
    let admin = server.admin();
    let body = json!({"properties": {"url": "https://ci.example.com", "kind": "other"}});
    let issuer = admin.post("/issuers", body).await.json["id"].clone();
    let trusts = format!("/registries/{registry}/trusts");
    let body = json!({"properties": {"name": "wi", "issuer": issuer, "claims": {"sub": "a"}}});
    let made = admin.post(&trusts, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let now = server.clock.now();
    let refusal = TrustRefusal {
        at: now,
        times: 1,
        address: None,
        detail: RefusalDetail {
            reason: RefusalReason::Claims,
            identity: vec![("sub".to_owned(), "b".to_owned())],
            verdicts: Vec::new(),
        },
    };
    server
        .service
        .refused_workloads()
        .note(TrustKey(1), refusal);
    let mut connection = server.database.connect();
    let until = now + TimeDelta::hours(1);
    let exchanged = exchanged_jwts::insert(&mut connection, b"jwt", until);
    assert!(exchanged.unwrap());
    format!("{trusts}/{}", made.json["id"].as_str().unwrap())
}

async fn log_in(server: &Server, secret: &str) -> Answer {
    let path = "/token?service=team-a.localhost&scope=repository:a:pull";
    server.actor("ci", secret).get(path).await
}

#[rstest]
#[actix_web::test]
async fn every_row_comes_back_in_either_database(
    #[values(Backend::Sqlite, Backend::Postgres)] first: Backend,
    #[values(Backend::Sqlite, Backend::Postgres)] second: Backend,
) {
    let Filled { server, .. } = filled(first).await;
    // While it runs.
    let file = back_up(&server.database, "backup");
    let rows = dump(&server.database, 0);
    for table in TABLES {
        let of_table = format!("{table}: ");
        assert!(
            rows.iter().any(|row| row.starts_with(&of_table)),
            "this test has nothing in {table}"
        );
    }
    let there = restored(second, &file);
    assert_eq!(dump(&there, 1), rows);
    // And back.
    let back = restored(first, &back_up(&there, "again"));
    assert_eq!(dump(&back, 2), rows);
    back.check_totals();
    let verified = ok(&back, &["audit", "verify"]);
    assert!(verified.starts_with("Nothing was changed"), "{verified}");
}

#[rstest]
fn every_table_is_in_a_backup_or_left_out_for_a_reason(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    ok(&database, &["migrate"]);
    let left_out = LEFT_OUT.iter().map(|(name, _)| *name);
    let named: BTreeSet<_> = TABLES.iter().copied().chain(left_out).collect();
    let columns = columns(&database);
    let there: BTreeSet<_> = columns.keys().map(String::as_str).collect();
    assert_eq!(named, there);
}

#[rstest]
#[actix_web::test]
async fn secrets_and_keys_work_as_before_once_it_is_confirmed(
    #[values(Backend::Sqlite, Backend::Postgres)] first: Backend,
    #[values(Backend::Sqlite, Backend::Postgres)] second: Backend,
) {
    let filled = filled(first).await;
    let bundle = format!("/registries/{}/auth-bundle.pem", filled.registry);
    let trusted = filled.server.admin().get(&bundle).await.text;
    let file = back_up(&filled.server.database, "backup");
    // Obtained after the backup with secrets that are in the backup: the holder has nothing else.
    let mut kept = Vec::new();
    for (name, secret) in [
        ("ci", filled.secret.as_str()),
        ("$app", &filled.app_token),
        ("admin", ADMIN_PASSWORD),
    ] {
        let path = "/token?service=team-a.localhost&offline_token=true";
        let answer = filled.server.actor(name, secret).get(path).await;
        kept.push(answer.json["refresh_token"].as_str().unwrap().to_owned());
    }
    let database = restored(second, &file);
    ok(&database, &["restore", "confirm"]);
    let server = Server::start_on(&database).await;
    for refresh in &kept {
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", "team-a.localhost"),
            ("refresh_token", refresh),
        ];
        let answer = server.anonymous().form("/token", &fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // Before a use, which would keep a lookup that was lost.
    let lookup = json!({"secret": filled.secret});
    let found = server.admin().post("/tokens/lookup", lookup).await;
    assert_eq!(found.json["name"], "ci", "{found:?}");
    let lost =
        "SELECT COUNT(*) FROM tokens WHERE lookup IS NULL OR lookup_version <> secret_version";
    assert_eq!(database.number(lost), 0);
    assert_eq!(log_in(&server, &filled.secret).await.status, 200);
    let app = server.actor("$app", &filled.app_token);
    let path = "/token?service=team-a.localhost&scope=repository:a:pull";
    assert_eq!(app.get(path).await.status, 200);
    let bearer = server.bearer(&filled.api_token);
    assert_eq!(bearer.get("/registries").await.status, 200);
    assert_eq!(server.admin().get(&bundle).await.text, trusted);
    assert_eq!(server.admin().get("/registries").await.status, 200);
    let verified = ok(&database, &["audit", "verify"]);
    assert!(verified.starts_with("Nothing was changed"), "{verified}");
    let events = database.lines(
        "SELECT subject_kind || ' ' || outcome || ' ' || detail AS line FROM audit_events WHERE kind = 'restore'",
    );
    assert_eq!(events.len(), 1);
    assert!(events[0].starts_with("service success "), "{events:?}");
    let detail: Value =
        serde_json::from_str(events[0].trim_start_matches("service success ")).unwrap();
    assert_eq!(detail["credential"]["kind"], "command");
    assert_eq!(detail["after"]["disabledTokens"], 0);
}

/// Checks that a frozen server allows reading and nothing else.
async fn check_frozen(server: &Server, filled: &Filled) {
    let admin = server.admin();
    for path in ["/registries", "/accounts", "/audit", "/locations"] {
        assert_eq!(admin.get(path).await.status, 200, "{path}");
    }
    let tokens = format!("/registries/{}/tokens", filled.registry);
    assert_eq!(admin.get(&tokens).await.json["total"], 2);
    assert_eq!(server.anonymous().get("/healthz").await.status, 200);
    assert_eq!(server.anonymous().get("/openapi.json").await.status, 200);
    let ready = server.anonymous().get("/readyz").await;
    assert_eq!(
        (ready.status, &ready.json["checks"]["backup"]),
        (503, &json!("unconfirmed"))
    );
    // Nobody else, and nothing else.
    let analyst = server.analyst();
    let bearer = server.bearer(&filled.api_token);
    let by_token = server.actor("ci", &filled.secret);
    let app = server.actor("$app", &filled.app_token);
    let token = "/token?service=team-a.localhost&scope=repository:a:pull";
    let one = format!("{tokens}/{}", filled.token);
    let asked: [(&Actor, Method, &str, Option<Value>); 15] = [
        (&analyst, Method::GET, "/registries", None),
        (&bearer, Method::GET, "/registries", None),
        (
            &admin,
            Method::POST,
            "/registries",
            Some(json!({"properties": {"name": "new", "location": "de/fra"}})),
        ),
        (&admin, Method::DELETE, &one, None),
        (
            &admin,
            Method::PATCH,
            &one,
            Some(json!({"status": "disabled"})),
        ),
        (&by_token, Method::GET, token, None),
        (&app, Method::GET, token, None),
        (&admin, Method::GET, token, None),
        (
            &server.anonymous(),
            Method::GET,
            "/token?service=team-a.localhost",
            None,
        ),
        (
            &by_token,
            Method::GET,
            "/v2/check?service=team-a.localhost",
            None,
        ),
        (&admin, Method::GET, "/v1/apitokens", None),
        (&bearer, Method::GET, "/v1/auth/status", None),
        (
            &admin,
            Method::POST,
            "/v1/apitokens/generate",
            Some(json!({"name": "x", "roles": ["Admin"]})),
        ),
        (&admin, Method::GET, "/api/v1/user/apptoken", None),
        (&server.anonymous(), Method::GET, "/csrf_token", None),
    ];
    for (actor, method, path, body) in asked {
        let request = actor.request(method.clone(), path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = actor.send(request).await;
        assert_eq!(answer.status, 503, "{method} {path}: {answer:?}");
        let said = answer
            .text
            .contains("restored from a backup, or lost changes, and is frozen");
        assert!(said, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("retry-after"), "", "{answer:?}");
        let native = path.starts_with("/registries");
        assert!(!native || answer.codes() == ["frozen"], "{answer:?}");
    }
    // Keys that do not exist yet are made by no look.
    let later = admin.get("/registries").await.json["items"][0]["id"].clone();
    let jwks = format!("/registries/{}/jwks.json", later.as_str().unwrap());
    assert!(matches!(admin.get(&jwks).await.status, 200 | 503));
    let wrong = server
        .actor("admin", "wrong-password")
        .get("/registries")
        .await;
    assert_eq!(wrong.status, 401);
}

#[rstest]
#[actix_web::test]
async fn what_was_restored_is_frozen_on_every_replica_until_it_is_confirmed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let filled = filled(backend).await;
    let database = restored(backend, &back_up(&filled.server.database, "backup"));
    let rows = dump(&database, 1);
    let one = Server::start_on(&database).await;
    let two = one.replica().await;
    for server in [&one, &two] {
        check_frozen(server, &filled).await;
        // The background jobs write nothing either.
        server.clock.advance(TimeDelta::days(400));
        assert!(server.service.janitor().run("test").await.is_err());
        assert_eq!(server.service.flush_usage().await.unwrap(), 0);
        assert_eq!(server.service.flush_audit(true).await.unwrap(), 0);
        server.clock.set(TimeDelta::days(-400));
    }
    assert_eq!(dump(&database, 1), rows, "something was written");

    ok(&database, &["restore", "confirm"]);
    for server in [&one, &two] {
        assert_eq!(log_in(server, &filled.secret).await.status, 200);
        let bearer = server.bearer(&filled.api_token);
        assert_eq!(bearer.get("/registries").await.status, 200);
        assert_eq!(server.analyst().get("/registries").await.status, 200);
        assert_eq!(server.anonymous().get("/readyz").await.status, 200);
    }
    one.admin().create_registry("made-after").await;
    refused(&database, &["restore", "confirm"], &["is not frozen"]);
    assert_eq!(
        ok(&database, &["restore", "status"]),
        "This database is not frozen.\n"
    );
}

#[rstest]
#[actix_web::test]
async fn a_frozen_replica_notices_by_any_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("token", "bearer", "read", "write", "ready")] way: &str,
) {
    let filled = filled(backend).await;
    let database = restored(backend, &back_up(&filled.server.database, "backup"));
    let server = Server::start_on(&database).await;
    ok(&database, &["restore", "confirm"]);
    let status = match way {
        "token" => log_in(&server, &filled.secret).await.status,
        "bearer" => {
            server
                .bearer(&filled.api_token)
                .get("/registries")
                .await
                .status
        }
        "read" => server.analyst().get("/registries").await.status,
        "ready" => server.anonymous().get("/readyz").await.status,
        _ => {
            let path = format!("/registries/{}/tokens/{}", filled.registry, filled.token);
            let gone = server.admin().delete(&path).await.status;
            assert_eq!(gone, 204);
            200
        }
    };
    assert_eq!(status, 200);
}

#[rstest]
#[actix_web::test]
async fn it_is_told_how_old_a_backup_is_and_what_it_would_revive(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let filled = filled(backend).await;
    let admin = filled.server.admin();
    let file = back_up(&filled.server.database, "backup");
    // Taken away after it.
    let token = format!("/registries/{}/tokens/{}", filled.registry, filled.token);
    assert_eq!(admin.delete(&token).await.status, 204);
    let database = Arc::new(Database::fresh(backend));
    let told = ok(&database, &["restore", &file]);
    let status = ok(&database, &["restore", "status"]);
    for text in [&told, &status] {
        for part in [
            "FROZEN",
            " minutes ago",
            "deleted, disabled or revoked since are back",
            "           3  accounts",
            "           2  registry tokens, 1 of which never expire",
            "           1  trusts of workloads",
            "           1  app tokens, 1 of which never expire",
            "           1  API tokens",
            "wharfinger restore confirm",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let confirmed = ok(&database, &["restore", "confirm", "--disable-tokens"]);
    assert!(
        confirmed.contains("2 registry tokens were disabled"),
        "{confirmed}"
    );
    let server = Server::start_on(&database).await;
    assert_eq!(log_in(&server, &filled.secret).await.status, 401);
    for path in [&token, &filled.trust] {
        let shown = server.admin().get(path).await;
        assert_eq!(shown.json["properties"]["status"], "disabled", "{shown:?}");
    }
    let enabled = server
        .admin()
        .patch(&token, json!({"status": "enabled"}))
        .await;
    assert_eq!(enabled.status, 200);
    assert_eq!(log_in(&server, &filled.secret).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn nothing_from_after_the_backup_fits_what_is_made_after_its_restoring(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let filled = filled(backend).await;
    let old = &filled.server;
    let file = back_up(&old.database, "backup");
    let keys = |database: &Database| -> BTreeMap<&str, i64> {
        [
            "tokens",
            "registries",
            "accounts",
            "app_tokens",
            "api_tokens",
            "issuers",
            "trusts",
        ]
        .map(|table| {
            (
                table,
                database.number(&format!("SELECT MAX(key) FROM {table}")),
            )
        })
        .into()
    };
    let before = keys(&old.database);
    // The password changes, once here and once there: the same number of times, and a session of here is none there.
    let change = async |server: &Server| {
        let bob = server.admin().get("/accounts").await.json["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|account| account["properties"]["name"] == "bob")
            .unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let body = json!({"password": "another-password"});
        let changed = server
            .admin()
            .patch(&format!("/accounts/{bob}"), body)
            .await;
        assert_eq!(changed.status, 200, "{changed:?}");
    };
    change(old).await;
    let refresh_tokens = async |server: &Server| {
        let body = json!({"properties": {"name": "later",
            "scopes": [{"type": "repository", "name": "a", "actions": ["pull"]}]}});
        let tokens = format!("/registries/{}/tokens", filled.registry);
        let made = server.admin().post(&tokens, body).await.json;
        let secret = &made["properties"]["credentials"]["password"];
        let mut kept = Vec::new();
        for (name, secret) in [
            ("later", secret.as_str().unwrap()),
            ("bob", "another-password"),
        ] {
            let path = "/token?service=team-a.localhost&offline_token=true";
            let answer = server.actor(name, secret).get(path).await;
            kept.push(answer.json["refresh_token"].as_str().unwrap().to_owned());
        }
        kept
    };
    let lost = refresh_tokens(old).await;
    let ticket = old.sign_in("bob", "another-password").await;
    let path = "/api/v1/user/apptoken";
    assert_eq!(old.session(&ticket).get(path).await.status, 200);

    let database = restored(backend, &file);
    ok(&database, &["restore", "confirm"]);
    let server = Server::start_on(&database).await;
    change(&server).await;
    assert_eq!(server.session(&ticket).get(path).await.status, 401);
    let again = server.sign_in("bob", "another-password").await;
    assert_eq!(server.session(&again).get(path).await.status, 200);
    // A second restore of the same backup gives its things the very keys and versions that the first one gave.
    let first = refresh_tokens(&server).await;
    let database = restored(backend, &file);
    ok(&database, &["restore", "confirm"]);
    let server = Server::start_on(&database).await;
    change(&server).await;
    let second = refresh_tokens(&server).await;
    for (refresh, status) in lost
        .iter()
        .chain(&first)
        .map(|refresh| (refresh, 401))
        .chain(second.iter().map(|refresh| (refresh, 200)))
    {
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", "team-a.localhost"),
            ("refresh_token", refresh),
        ];
        let answer = server.anonymous().form("/token", &fields).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }

    let admin = server.admin();
    let registry = admin.create_registry("later").await;
    admin.create_token(&registry, "later").await;
    let body = json!({"properties": {"url": "https://later.example.com", "kind": "other"}});
    let issuer = admin.post("/issuers", body).await.json["id"].clone();
    let body = json!({"properties": {"name": "wi", "issuer": issuer, "claims": {"sub": "a"}}});
    let trusts = format!("/registries/{registry}/trusts");
    assert_eq!(admin.post(&trusts, body).await.status, 201);
    admin.create_account("later", &[]).await;
    let title = json!({"title": "later"});
    assert_eq!(admin.post("/api/v1/user/apptoken", title).await.status, 201);
    let body = json!({"name": "later", "roles": ["Admin"]});
    assert_eq!(admin.post("/v1/apitokens/generate", body).await.status, 200);
    for (table, key) in keys(&database) {
        assert!(key > before[table] + GAP, "{table}: {key}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_backup_of_a_database_that_is_being_written_is_one_state_of_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let registry = server.admin().create_registry("team-a").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (admin, registry) = (server.admin(), registry.clone());
            let stop = Arc::clone(&stop);
            actix_web::rt::spawn(async move {
                let mut made = 0;
                while !stop.load(Ordering::Relaxed) {
                    let id = admin
                        .create_token(&registry, &format!("t-{writer}-{made}"))
                        .await;
                    if made % 2 == 0 {
                        let path = format!("/registries/{registry}/tokens/{id}");
                        assert_eq!(admin.delete(&path).await.status, 204);
                    }
                    made += 1;
                }
                made
            })
        })
        .collect();
    let mut files = Vec::new();
    for number in 0..3 {
        let database = Arc::clone(&server.database);
        let backup = move || back_up(&database, &format!("backup-{number}"));
        files.push(actix_web::rt::task::spawn_blocking(backup).await.unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    let mut made = 0;
    for writer in writers {
        made += writer.await.unwrap();
    }
    assert!(made > 4, "the writers wrote only {made} tokens");
    for file in files {
        let database = restored(backend, &file);
        database.check_totals();
        let verified = ok(&database, &["audit", "verify"]);
        assert!(verified.starts_with("Nothing was changed"), "{verified}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_backup_shows_nothing_and_opens_by_its_server_key_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let filled = filled(backend).await;
    let database = &filled.server.database;
    let file = back_up(database, "backup");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let bytes = std::fs::read(&file).unwrap();
    let mut secrets = vec![vec![0; 32], key().into_bytes()];
    for text in ["team-a", "bob", "tokens", "admin", "repository", "made_at"] {
        secrets.push(text.as_bytes().to_vec());
    }
    for text in [&filled.secret, &filled.app_token, &filled.api_token] {
        secrets.push(text.as_bytes().to_vec());
    }
    for secret in secrets {
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(
            !found,
            "{:?} is in the file",
            String::from_utf8_lossy(&secret)
        );
    }

    // A dry run lists the contents and changes nothing. Both forms need the key.
    let empty = Database::fresh(backend);
    let told = ok(&empty, &["restore", "--dry-run", &file]);
    assert!(told.contains("is whole: made 2"), "{told}");
    assert!(told.contains("           1  app_tokens"), "{told}");
    if backend == Backend::Sqlite {
        assert!(!empty.file().exists(), "a look made a database");
    }
    for arguments in [&["restore", "--dry-run", &file][..], &["restore", &file]] {
        let mut command = Program::command(&empty);
        command
            .args(arguments)
            .env("WHARFINGER_SERVER_KEY", "B".repeat(42) + "A=");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said(&output).contains("was sealed by the server key"));
    }
    let mut command = Program::command(database);
    command
        .args(["backup", "-"])
        .env("WHARFINGER_SERVER_KEY", "B".repeat(42) + "A=");
    let output = command.output().unwrap();
    assert!(said(&output).contains("belongs to another server key"));
    assert!(output.stdout.is_empty());
}

#[rstest]
#[actix_web::test]
async fn what_is_damaged_is_refused_and_leaves_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let filled = filled(backend).await;
    let file = back_up(&filled.server.database, "backup");
    let whole = std::fs::read(&file).unwrap();
    let check = |bytes: &[u8]| backup::check(&parsed(&key()), bytes);
    assert!(check(&whole).is_ok());
    let random: &dyn Random = &SystemRandom;
    let mut places: Vec<usize> = (0..whole.len()).step_by(1024).collect();
    places.extend(0..200);
    for _ in 0..200 {
        let place = u64::from_be_bytes(random.bytes().unwrap());
        places.push(usize::try_from(place % whole.len() as u64).unwrap());
    }
    for at in places {
        assert!(check(&whole[..at]).is_err(), "cut off at {at}");
        let mut altered = whole.clone();
        altered[at] ^= 1 << (at % 8);
        let error = check(&altered).expect_err(&format!("changed at {at}"));
        assert!(!error.to_string().contains("internal"), "{error}");
    }
    assert!(check(&[&whole[..], b"\0"].concat()).is_err());
    assert!(check(&[&whole[..], &whole[..]].concat()).is_err());
    assert!(check(b"").is_err());

    // The end is missing in a file that is read in several pieces: nothing of the beginning stays.
    let large = filled.server.admin().create_registry("large").await;
    fill(&filled.server, &large, 1_500).await;
    let file = back_up(&filled.server.database, "large");
    let whole = std::fs::read(&file).unwrap();
    assert!(whole.len() > 65 * 1024, "{}", whole.len());
    let cut = filled.server.database.folder().join("cut");
    std::fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    let database = Arc::new(Database::fresh(backend));
    refused(&database, &["restore", cut.to_str().unwrap()], &["damaged"]);
    assert_eq!(database.number("SELECT COUNT(*) FROM accounts"), 0);
    assert_eq!(database.number("SELECT COUNT(*) FROM meta"), 1);
    ok(&database, &["restore", &file]);
    assert_eq!(dump(&database, 1), dump(&filled.server.database, 0));
    let nothing = filled.server.database.folder().join("nothing");
    std::fs::write(&nothing, "SQLite format 3").unwrap();
    refused(
        &database,
        &["restore", nothing.to_str().unwrap()],
        &["no backup of this service"],
    );
}

#[rstest]
#[actix_web::test]
async fn a_backup_is_restored_into_an_empty_database_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let filled = filled(backend).await;
    let file = back_up(&filled.server.database, "backup");
    let rows = dump(&filled.server.database, 0);
    refused(&filled.server.database, &["restore", &file], &["in use"]);
    assert_eq!(dump(&filled.server.database, 0), rows);
    let other = Database::fresh(backend);
    ok(&other, &["migrate"]);
    ok(&other, &["account", "add", "somebody"]);
    refused(&other, &["restore", &file], &["in use"]);
    let migrated = Database::fresh(backend);
    ok(&migrated, &["migrate"]);
    ok(&migrated, &["restore", &file]);
    assert_eq!(dump(&migrated, 1), rows);
    refused(&migrated, &["restore", &file], &["in use"]);
    refused(
        &migrated,
        &["restore", "/nowhere/backup"],
        &["/nowhere/backup cannot be read"],
    );
}

/// Takes the newest migration back, as if a release before it had made the database. Returns its version.
fn revert_last(database: &Database) -> String {
    let side = match database.backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(side);
    let entries = std::fs::read_dir(&folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let last = names.max().unwrap();
    let down = std::fs::read_to_string(folder.join(&last).join("down.sql")).unwrap();
    let (day, _) = last.split_once('_').unwrap();
    let version = day.replace('-', "");
    database.execute(&format!(
        "{down}; DELETE FROM __diesel_schema_migrations WHERE version = '{version}'"
    ));
    version
}

#[rstest]
#[actix_web::test]
async fn an_older_backup_is_brought_to_the_tables_of_today(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let filled = filled(backend).await;
    let database = &filled.server.database;
    let target = Target::parse(&database.url).unwrap();
    let newest = "SELECT MAX(version) AS line FROM __diesel_schema_migrations";
    let last = revert_last(database);
    assert!(database.lines(newest)[0] < last);
    let mut file = Vec::new();
    let (key, clock) = (parsed(&key()), Arc::new(SystemClock) as Arc<dyn Clock>);
    let contents = backup::write(&target, &key, &SystemClock, &SystemRandom, &mut file).unwrap();
    assert_eq!(
        contents.migrations,
        database.lines("SELECT version AS line FROM __diesel_schema_migrations ORDER BY version")
    );
    let there = Database::fresh(backend);
    let into = Target::parse(&there.url).unwrap();
    backup::restore(&into, &key, &clock, &SystemRandom, &file[..]).unwrap();
    assert_eq!(there.lines(newest), [last]);

    // A restore into newer tables is refused, since it would skip the changes that a migration makes to rows.
    let current = Database::fresh(backend);
    store::migrate(&Target::parse(&current.url).unwrap(), &clock, "test").unwrap();
    let into = Target::parse(&current.url).unwrap();
    let error = backup::restore(&into, &key, &clock, &SystemRandom, &file[..]).unwrap_err();
    assert!(
        error.to_string().contains("other tables than the backup"),
        "{error}"
    );

    store::migrate(&target, &clock, "test").unwrap();
    assert_eq!(columns(&there), columns(database));
    assert_eq!(dump(&there, 1), dump(database, 0));

    // A newer release may have tables that this one does not know.
    database.execute(
        "INSERT INTO __diesel_schema_migrations (version, run_on) VALUES ('99990101000000', CURRENT_TIMESTAMP)",
    );
    let error = backup::write(&target, &key, &SystemClock, &SystemRandom, Vec::new()).unwrap_err();
    assert!(error.to_string().contains("newer release"), "{error}");
}

#[rstest]
#[actix_web::test]
async fn files_are_replaced_on_demand_alone_and_pipes_will_do(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let filled = filled(backend).await;
    let database = &filled.server.database;
    let file = back_up(database, "backup");
    let before = std::fs::read(&file).unwrap();
    refused(database, &["backup", &file], &["exists already", "--force"]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    ok(database, &["backup", &file, "--force"]);
    assert_ne!(std::fs::read(&file).unwrap(), before);
    refused(
        database,
        &["backup", "/nowhere/backup"],
        &["/nowhere/backup"],
    );
    let drafts = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.to_str().unwrap().contains("backup."))
            .collect()
    };
    assert!(drafts(database.folder()).is_empty());

    let piped = run(database, &["backup", "-"]);
    assert!(piped.status.success(), "{piped:?}");
    let there = Database::fresh(backend);
    let mut restore = Program::command(&there)
        .args(["restore", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = restore.stdin.take().unwrap();
    input.write_all(&piped.stdout).unwrap();
    drop(input);
    assert!(restore.wait().unwrap().success());
    assert_eq!(dump(&there, 1), dump(database, 0));
    // A database on which no server was ever started has nothing to keep.
    let empty = Database::fresh(backend);
    ok(&empty, &["migrate"]);
    refused(&empty, &["backup", "-"], &["has no keys"]);
}
