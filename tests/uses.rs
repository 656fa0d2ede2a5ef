//! When, from where and for what a token was last used: noted in memory, written later, shown from the database.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use actix_web::rt::spawn;
use actix_web::rt::task::yield_now;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::SimpleConnection as _;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::Error;
use wharfinger::clock::Clock as _;
use wharfinger::domain::id::{RegistryKey, TokenKey};
use wharfinger::service::usage::Used;

use crate::harness::{
    Actor, Backend, Database, PATIENCE, Patience, Server, WITHOUT_BACKGROUND, fill, remove,
};

/// The token with a name, which is unique in each of these tests.
fn named(server: &Server, name: &str) -> Used {
    let sql = format!("SELECT key FROM tokens WHERE name = '{name}'");
    Used::Token(TokenKey(server.database.number(&sql)), home(server))
}

/// The only registry.
fn home(server: &Server) -> RegistryKey {
    RegistryKey(server.database.number("SELECT key FROM registries"))
}

/// Notes a use by this server at an instant.
fn note(server: &Server, token: Used, at: DateTime<Utc>, from: &str, what: Option<&str>) {
    let address: IpAddr = from.parse().unwrap();
    server.service.uses().note(token, at, Some(address), what);
}

fn rows(server: &Server) -> i64 {
    server.database.number("SELECT COUNT(*) FROM token_uses")
}

/// The token without its last use, and its last use.
fn apart(token: &Value) -> (Value, Value) {
    let (mut rest, mut used) = (token.clone(), json!({}));
    let metadata = rest["metadata"].as_object_mut().unwrap();
    for name in ["lastUsedDate", "lastUsedAddress", "lastUsedRepository"] {
        if let Some(value) = metadata.remove(name) {
            used[name] = value;
        }
    }
    (rest, used)
}

#[rstest]
#[actix_web::test]
async fn a_use_is_shown_once_written_and_changes_nothing_else(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let path = format!("{tokens}/{}", admin.create_token(&registry, "ci").await);
    admin.create_token(&registry, "unused").await;
    let before = admin.get(&path).await.json;
    assert_eq!(apart(&before), (before.clone(), json!({})));

    let token = named(&server, "ci");
    let versions = "SELECT SUM(version) FROM tokens WHERE modified_at IS NULL";
    let began = server.clock.now();
    let second = |second| began + TimeDelta::seconds(second);
    // From a socket for both families.
    note(
        &server,
        token,
        second(10),
        "::ffff:192.0.2.7",
        Some("team/app"),
    );
    assert_eq!(admin.get(&path).await.json, before, "shown before written");
    assert_eq!(server.service.flush_usage().await.unwrap(), 1);
    let (rest, used) = apart(&admin.get(&path).await.json);
    let first = json!({"lastUsedDate": "2026-11-21T12:00:10Z", "lastUsedAddress": "192.0.2.7", "lastUsedRepository": "team/app"});
    assert_eq!((rest, used), (before.clone(), first.clone()));
    assert_eq!(server.database.number(versions), 2, "a version changed");

    // A list shows the last use of used tokens, and the answer to a write does too.
    let list = admin.get(&tokens).await.json;
    assert_eq!(apart(&list["items"][0]).1, first);
    assert_eq!(apart(&list["items"][1]).1, json!({}));
    let same = admin.patch(&path, json!({"status": "enabled"})).await.json;
    assert_eq!(apart(&same), (before.clone(), first.clone()));

    // An earlier use changes nothing, noted before or after.
    note(&server, token, second(9), "192.0.2.8", Some("old"));
    assert_eq!(server.service.flush_usage().await.unwrap(), 0);
    assert_eq!(apart(&admin.get(&path).await.json).1, first);
    // A login names no repository.
    note(
        &server,
        token,
        second(12) + TimeDelta::microseconds(5),
        "2001:db8::7",
        None,
    );
    note(&server, token, second(11), "192.0.2.9", None);
    assert_eq!(server.service.flush_usage().await.unwrap(), 1);
    let login = json!({"lastUsedDate": "2026-11-21T12:00:12.000005Z", "lastUsedAddress": "2001:db8::7", "lastUsedRepository": "team/app"});
    assert_eq!(
        apart(&admin.get(&path).await.json),
        (before.clone(), login.clone())
    );

    let body = json!({"properties": {"name": "ci", "status": "disabled"}});
    let replaced = admin.put(&path, body).await.json;
    assert_eq!(apart(&replaced).1, login);
    assert_eq!(rows(&server), 1);
}

#[rstest]
#[actix_web::test]
async fn without_uses_nothing_is_asked_of_the_database(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &[WITHOUT_BACKGROUND]).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    admin.create_token(&registry, "ci").await;
    let token = named(&server, "ci");
    let calls = server.service.store_calls();
    assert_eq!(server.service.flush_usage().await.unwrap(), 0);
    assert_eq!(server.service.store_calls(), calls);
    for _ in 0..100 {
        note(&server, token, server.clock.now(), "192.0.2.7", None);
    }
    assert_eq!(server.service.store_calls(), calls);
    assert_eq!(server.service.flush_usage().await.unwrap(), 1);
    assert_eq!(server.service.store_calls(), calls + 1);
}

#[rstest]
#[actix_web::test]
async fn replicas_write_at_once_and_the_latest_use_stays(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const TOKENS: usize = 1_300;
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let registry = server.admin().create_registry("team-a").await;
    let ids = fill(&server, &registry, TOKENS).await;
    let home = home(&server);
    let tokens: Vec<_> = server
        .database
        .lines("SELECT CAST(key AS TEXT) AS line FROM tokens")
        .iter()
        .map(|key| key.parse().unwrap())
        .map(|key: i64| (key, Used::Token(TokenKey(key), home)))
        .collect();
    let began = server.clock.now();
    for round in 0..5 {
        let at = began + TimeDelta::seconds(round);
        for (key, token) in &tokens {
            // Each is the later one for half of the tokens.
            let odd = TimeDelta::milliseconds(key % 2);
            note(&server, *token, at + odd, "192.0.2.1", Some("here"));
            let even = TimeDelta::milliseconds(1) - odd;
            note(&replica, *token, at + even, "192.0.2.2", Some("there"));
        }
        let (here, there) =
            tokio::join!(server.service.flush_usage(), replica.service.flush_usage());
        // The second writer writes only later uses.
        let written = here.unwrap() + there.unwrap();
        assert!((TOKENS..=TOKENS * 3 / 2).contains(&written), "{written}");
        let latest = (at + TimeDelta::milliseconds(1)).timestamp_micros();
        let right = format!(
            "SELECT COUNT(*) FROM token_uses WHERE used_at = {latest} AND seen_at = {latest} \
             AND address = CASE token_key % 2 WHEN 1 THEN '192.0.2.1' ELSE '192.0.2.2' END \
             AND repository = CASE token_key % 2 WHEN 1 THEN 'here' ELSE 'there' END"
        );
        assert_eq!(
            server.database.number(&right),
            i64::try_from(TOKENS).unwrap()
        );
    }

    // Deleting while others write leaves nothing behind.
    for (number, (_, token)) in tokens.iter().enumerate() {
        let at = began + TimeDelta::minutes(i64::try_from(number).unwrap() + 1);
        note(&server, *token, at, "192.0.2.1", None);
        note(&replica, *token, at, "192.0.2.2", None);
    }
    let (here, there, ()) = tokio::join!(
        server.service.flush_usage(),
        replica.service.flush_usage(),
        remove(&server, &ids[..600]),
    );
    assert!(here.unwrap() + there.unwrap() >= TOKENS - 600);
    assert_eq!(rows(&server), i64::try_from(TOKENS - 600).unwrap());
    let strays = "SELECT COUNT(*) FROM token_uses WHERE token_key NOT IN (SELECT key FROM tokens)";
    assert_eq!(server.database.number(strays), 0);
}

#[rstest]
#[actix_web::test]
async fn a_deleted_token_leaves_no_row_and_gets_none(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let path = format!("{tokens}/{}", admin.create_token(&registry, "ci").await);
    let other = admin.create_token(&registry, "other").await;
    let now = server.clock.now();
    let (token, kept) = (named(&server, "ci"), named(&server, "other"));
    for token in [token, kept] {
        note(&server, token, now, "192.0.2.7", Some("app"));
    }
    assert_eq!(server.service.flush_usage().await.unwrap(), 2);
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(rows(&server), 1);

    // Used in the minute before, and written beside a token that still exists.
    let now = now + TimeDelta::seconds(1);
    for token in [token, kept] {
        note(&server, token, now, "192.0.2.7", Some("app"));
    }
    assert_eq!(server.service.flush_usage().await.unwrap(), 1);
    assert_eq!(rows(&server), 1);

    // A use names the registry too, or else it finds no token.
    if let Used::Token(token, RegistryKey(home)) = kept {
        let stray = Used::Token(token, RegistryKey(home + 1));
        let later = now + TimeDelta::seconds(1);
        note(&server, stray, later, "192.0.2.7", Some("app"));
    }
    assert_eq!(server.service.flush_usage().await.unwrap(), 0);

    // The next one with this id and name was never used.
    let body = json!({"properties": {"name": "ci"}});
    assert_eq!(admin.put(&path, body).await.status, 201);
    assert_eq!(apart(&admin.get(&path).await.json).1, json!({}));
    let used = admin.get(&format!("{tokens}/{other}")).await.json;
    assert_eq!(used["metadata"]["lastUsedDate"], "2026-11-21T12:00:01Z");
}

/// Another replica's transaction has deleted the token and is not committed yet.
#[rstest]
#[actix_web::test]
async fn a_token_that_is_being_deleted_is_waited_for(
    #[values(Backend::Postgres)] backend: Backend,
    #[values("COMMIT", "ROLLBACK")] end: &str,
) {
    let database = Arc::new(Database::apart(backend));
    let server = Server::start_on(&database).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    admin.create_token(&registry, "ci").await;
    let mut other = database.connect();
    let token = named(&server, "ci");
    note(&server, token, server.clock.now(), "192.0.2.7", None);
    other
        .batch_execute("BEGIN; DELETE FROM tokens; DELETE FROM token_uses")
        .unwrap();
    let service = server.service.clone();
    let flush = spawn(async move { service.flush_usage().await });
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let patience = Patience::new();
    while database.number(waiting) == 0 {
        patience.spend("nobody waits for the lock");
        assert!(!flush.is_finished(), "it did not wait");
        yield_now().await;
    }
    other.batch_execute(end).unwrap();
    let left = usize::from(end == "ROLLBACK");
    assert_eq!(flush.await.unwrap().unwrap(), left);
    assert_eq!(rows(&server), i64::try_from(left).unwrap());
}

#[rstest]
#[actix_web::test]
async fn uses_outlive_a_database_that_refuses(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const TOKENS: i64 = 700;
    let server = Server::start(backend).await;
    let registry = server.admin().create_registry("team-a").await;
    fill(&server, &registry, usize::try_from(TOKENS).unwrap()).await;
    let first = server.database.number("SELECT MIN(key) FROM tokens");
    let now = server.clock.now();
    let home = home(&server);
    for token in first..first + TOKENS {
        let token = Used::Token(TokenKey(token), home);
        note(&server, token, now, "192.0.2.7", Some("app"));
    }
    let mut other = server.database.connect();
    match backend {
        Backend::Sqlite => other.batch_execute("BEGIN IMMEDIATE").unwrap(),
        // As on a full disk: rows written so far stay, later rows are refused.
        Backend::Postgres => server.database.execute(&format!(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.token_key >= {} THEN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END IF; \
             RETURN NEW; END $$; CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON token_uses \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION full_disk()",
            first + 600
        )),
    }
    let refused = server.service.flush_usage().await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    let left = match backend {
        Backend::Sqlite => TOKENS,
        Backend::Postgres => TOKENS - 500,
    };
    assert_eq!(rows(&server), TOKENS - left);
    let later = now + TimeDelta::seconds(1);
    let last = first + TOKENS - 1;
    let used = Used::Token(TokenKey(last), home);
    note(&server, used, later, "192.0.2.8", None);
    match backend {
        Backend::Sqlite => other.batch_execute("ROLLBACK").unwrap(),
        Backend::Postgres => server
            .database
            .execute("DROP TRIGGER full_disk ON token_uses"),
    }
    // A flush at the very moment of a refusal is refused too, and has to be repeated.
    let begun = Instant::now();
    while let Err(error) = server.service.flush_usage().await {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(begun.elapsed() < PATIENCE, "{error:?}");
    }
    assert_eq!(rows(&server), TOKENS);
    let lines = server.database.lines(&format!(
        "SELECT CAST(token_key AS TEXT) || ' ' || address || ' ' || repository AS line FROM token_uses \
         WHERE used_at = {}",
        later.timestamp_micros()
    ));
    assert_eq!(lines, [format!("{last} 192.0.2.8 app")]);
}

/// Nobody has it written: the running server does.
#[rstest]
#[actix_web::test]
async fn the_first_use_is_written_within_two_seconds(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &[]).await;
    let service = ("service", "team-a.localhost");
    let answer = server.client(&token).ask("/token", &[service]).await;
    assert_eq!(answer.status, 200);
    server.clock.advance(TimeDelta::seconds(1));
    let patience = Patience::new();
    while apart(&admin.get(&token.path).await.json).1 == json!({}) {
        patience.spend("the first use is not shown");
        yield_now().await;
    }
}

#[rstest]
#[actix_web::test]
async fn a_stop_writes_what_was_noted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let database = Arc::clone(&server.database);
    let registry = server.admin().create_registry("team-a").await;
    server.admin().create_token(&registry, "ci").await;
    let now = server.clock.now();
    note(&server, named(&server, "ci"), now, "192.0.2.7", Some("app"));
    drop(server);
    let found = database.lines("SELECT address || ' ' || repository AS line FROM token_uses");
    assert_eq!(found, ["192.0.2.7 app"]);
}

#[rstest]
#[actix_web::test]
async fn the_token_endpoint_and_the_check_note_what_they_let_in(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin
        .mint(&registry, "ci", &["repository:team/*:pull"])
        .await;
    let client = server.client(&token);
    let shown = async || {
        server.service.flush_usage().await.unwrap();
        apart(&admin.get(&token.path).await.json).1
    };
    let service = ("service", "team-a.localhost");
    let wrong = server.actor("ci", "wrong-password");
    assert_eq!(wrong.ask("/token", &[service]).await.status, 401);
    assert_eq!(shown().await, json!({}));

    let wanted = ("scope", "repository:team/app:pull,push");
    assert_eq!(client.ask("/token", &[service, wanted]).await.status, 200);
    let first = shown().await;
    assert_eq!(first["lastUsedRepository"], "team/app");
    assert_eq!(first["lastUsedAddress"], "127.0.0.1");

    server.clock.advance(TimeDelta::minutes(1));
    let pass = async |name: &str| {
        let request = client
            .request(reqwest::Method::GET, "/v2/check?service=team-a.localhost")
            .header("x-original-method", "GET")
            .header("x-original-uri", format!("/v2/{name}/tags/list"));
        client.send(request).await.status
    };
    assert_eq!(pass("other/app").await, 403);
    assert_eq!(shown().await, first, "what was refused is no use");
    assert_eq!(pass("team/tool").await, 200);
    let second = shown().await;
    assert_eq!(second["lastUsedRepository"], "team/tool");
    assert_ne!(second["lastUsedDate"], first["lastUsedDate"]);
}

#[rstest]
#[actix_web::test]
async fn a_request_that_is_not_let_in_is_no_use(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin
        .mint(&registry, "ci", &["repository:team/*:pull,push"])
        .await;
    let client = server.client(&token);
    let shown = async || {
        server.service.flush_usage().await.unwrap();
        apart(&admin.get(&token.path).await.json).1
    };
    let service = ("service", "team-a.localhost");
    let check = async |actor: &Actor, method: &str, uri: &str| {
        let request = actor
            .request(Method::GET, "/v2/check?service=team-a.localhost")
            .header("x-original-method", method)
            .header("x-original-uri", uri);
        actor.send(request).await.status
    };
    let tags = |name: &str| format!("/v2/{name}/tags/list");
    let mount = "/v2/team/app/blobs/uploads/?from=other/app&mount=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    // Refused before the first use: the scopes do not grant it, no token opens it, and it is taken over from elsewhere.
    assert_eq!(check(&client, "GET", &tags("other/app")).await, 403);
    assert_eq!(check(&client, "GET", "/v2/_other").await, 403);
    assert_eq!(shown().await, json!({}));

    let wanted = ("scope", "repository:team/app:pull");
    let login = client.ask("/token", &[service, wanted]).await;
    let jwt = server.bearer(login.json["token"].as_str().unwrap());
    let first = shown().await;
    assert_eq!(first["lastUsedRepository"], "team/app");
    server.clock.advance(TimeDelta::minutes(1));
    // The token grants the scope, but this JWT lacks it: the challenge asks for more.
    assert_eq!(check(&jwt, "GET", &tags("team/tool")).await, 401);
    assert_eq!(shown().await, first, "a challenge");
    assert_ne!(check(&client, "POST", mount).await, 200);
    assert_eq!(shown().await, first, "taken over from elsewhere");

    // Nor is it one when the token has ended.
    let disable = json!({"status": "disabled"});
    assert_eq!(admin.patch(&token.path, disable).await.status, 200);
    assert_eq!(client.ask("/token", &[service, wanted]).await.status, 401);
    for actor in [&client, &jwt] {
        assert_eq!(check(actor, "GET", &tags("team/app")).await, 401);
    }
    assert_eq!(shown().await, first, "disabled");
}
