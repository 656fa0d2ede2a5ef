//! Requests that come again: `Idempotency-Key`, and answers that get lost.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use actix_web::rt::spawn;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use data_encoding::HEXLOWER;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server, WITHOUT_BACKGROUND};

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";
/// An id that nothing has.
const NOBODY: &str = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11";

/// Sends a request with a key.
async fn send(who: &Actor, method: &Method, path: &str, key: &str, body: &Value) -> Answer {
    let request = who.request(method.clone(), path).json(body);
    who.send(request.header("Idempotency-Key", key)).await
}

async fn post(who: &Actor, path: &str, key: &str, body: &Value) -> Answer {
    send(who, &Method::POST, path, key, body).await
}

fn registry(name: &str) -> Value {
    json!({"properties": {"name": name, "location": "de/fra"}})
}

fn token(name: &str) -> Value {
    json!({"properties": {"name": name}})
}

fn secret(answer: &Answer) -> &str {
    let secret = &answer.json["properties"]["credentials"]["password"];
    secret.as_str().filter(|secret| !secret.is_empty()).unwrap()
}

/// Checks that a secret opens the registry `team-a`.
async fn opens(server: &Server, name: &str, secret: &str) {
    let client = server.actor(name, secret);
    let login = client
        .ask("/token", &[("service", "team-a.localhost")])
        .await;
    assert_eq!(login.status, 200, "{name}: {login:?}");
}

/// How often the audit trail tells of this.
fn told(server: &Server, kind: &str, subject: &str) -> i64 {
    server.database.number(&format!(
        "SELECT COUNT(*) FROM audit_events WHERE kind = '{kind}' AND subject_kind = '{subject}'"
    ))
}

/// A path whose ids are in capitals.
fn with_ids_in_capitals(path: &str) -> String {
    let part = |part: &str| {
        if part.contains('-') {
            part.to_uppercase()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// A request that makes something: of which kind, how, where, what, and what it would be else.
type Making = (&'static str, Method, String, Value, Value);

/// One for everything that can be made.
async fn makings(admin: &Actor) -> Vec<Making> {
    let id = admin.create_registry("team-a").await;
    let account = admin.create_account("member", &[]).await;
    let tokens = format!("/registries/{id}/tokens");
    let person = |name: &str| json!({"properties": {"name": name, "password": "right-password", "roles": []}});
    let disabled = json!({"properties": {"name": "by-put", "status": "disabled"}});
    let (post, put) = (Method::POST, Method::PUT);
    vec![
        (
            "registry",
            post.clone(),
            "/registries".to_owned(),
            registry("team-b"),
            registry("team-c"),
        ),
        (
            "registry",
            put.clone(),
            format!("/registries/{NOBODY}"),
            registry("team-d"),
            registry("team-e"),
        ),
        (
            "token",
            post.clone(),
            tokens.clone(),
            token("by-post"),
            token("another"),
        ),
        (
            "token",
            put.clone(),
            format!("{tokens}/{NOBODY}"),
            token("by-put"),
            disabled,
        ),
        (
            "account",
            post,
            "/accounts".to_owned(),
            person("alice"),
            person("bob"),
        ),
        (
            "member",
            put,
            format!("/registries/{id}/members/{account}"),
            json!({"level": "reader"}),
            json!({"level": "owner"}),
        ),
    ]
}

#[rstest]
#[actix_web::test]
async fn whatever_is_made_is_made_once_and_answered_alike(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &[WITHOUT_BACKGROUND]).await;
    let admin = server.admin();
    for (kind, method, path, body, other) in makings(&admin).await {
        let place = format!("{method} {path}");
        let before = told(&server, "create", kind);
        let first = send(&admin, &method, &path, KEY, &body).await;
        assert_eq!(first.status, 201, "{place}: {first:?}");
        assert_eq!(first.header("idempotency-replayed"), "", "{place}");
        server.clock.advance(TimeDelta::minutes(1));
        // A password that is looked at anew costs a store call of its own.
        admin.get("/locations").await;
        // A key is one in quotes or bare, and a path one with the prefix or without, however it is spelled.
        let encoded = path.replacen("/t", "/%74", 1).replacen("/r", "/%72", 1);
        for (path, key) in [
            (path.clone(), KEY.to_owned()),
            (path.clone(), format!("\"{KEY}\"")),
            (format!("/containerregistries{path}"), KEY.to_owned()),
            (encoded.clone(), KEY.to_owned()),
            (format!("/%63ontainerregistries{encoded}"), KEY.to_owned()),
            (with_ids_in_capitals(&path), KEY.to_owned()),
            (path.replace('-', "%2D"), KEY.to_owned()),
        ] {
            let calls = server.service.store_calls();
            let again = send(&admin, &method, &path, &key, &body).await;
            assert_eq!(server.service.store_calls() - calls, 1, "{place}");
            assert_eq!((again.status, &again.text), (201, &first.text), "{place}");
            for name in ["etag", "cache-control", "content-type"] {
                assert_eq!(again.header(name), first.header(name), "{place} {name}");
            }
            assert_eq!(again.header("idempotency-replayed"), "true", "{place}");
        }
        assert_eq!(told(&server, "create", kind) - before, 1, "{place}");

        let reused = send(&admin, &method, &path, KEY, &other).await;
        assert_eq!(reused.status, 422, "{place}: {reused:?}");
        assert_eq!(reused.codes(), ["idempotency-key-reused"], "{place}");
        // With another key it is another request, and conflicts with the resource that the first request made.
        let another = send(&admin, &method, &path, "another", &body).await;
        let met = if method == Method::PUT { 200 } else { 409 };
        assert_eq!(another.status, met, "{place}: {another:?}");
        assert_eq!(another.header("idempotency-replayed"), "", "{place}");
        assert_eq!(told(&server, "create", kind) - before, 1, "{place}");
    }
    // The audit trail has an event for the secret that was shown again.
    assert_eq!(told(&server, "reveal", "token"), 14);
    let report = server.service.audit().verify().await.unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn a_refusal_is_not_kept_and_a_use_is_no_change(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{id}/tokens");
    let past = json!({"properties": {"name": "ci", "expiryDate": "2001-01-01T00:00:00Z"}});
    for (body, status) in [(json!({}), 400), (past, 400), (token("-"), 400)] {
        let refused = post(&admin, &tokens, KEY, &body).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    let soon = json!({"properties": {"name": "ci", "expiryDate": "2026-11-21T12:05:00Z"}});
    let first = post(&admin, &tokens, KEY, &soon).await;
    assert_eq!(first.status, 201, "{first:?}");
    opens(&server, "ci", secret(&first)).await;
    server.service.flush_usage().await.unwrap();
    // It has been used, and then its time is up: the answer is of when it was made.
    for minutes in [0, 10] {
        server.clock.advance(TimeDelta::minutes(minutes));
        let again = post(&admin, &tokens, KEY, &soon).await;
        assert_eq!((again.status, &again.text), (201, &first.text), "{minutes}");
        assert_eq!(again.header("etag"), first.header("etag"));
    }
}

#[rstest]
#[actix_web::test]
async fn a_put_that_makes_alone_is_repeated_although_its_thing_is_there(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let path = format!("/registries/{id}/tokens/{NOBODY}");
    let put = async |key: &str| {
        let request = admin.request(Method::PUT, &path).json(&token("ci"));
        let request = request.header("If-None-Match", "*");
        admin.send(request.header("Idempotency-Key", key)).await
    };
    let first = put(KEY).await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = put(KEY).await;
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(put("another").await.status, 412);
    // A replacement makes nothing that could be lost, so its answer is not kept.
    let replaced = send(&admin, &Method::PUT, &path, "third", &token("ci")).await;
    assert_eq!(
        (replaced.status, replaced.header("idempotency-replayed")),
        (200, "")
    );
    let disabled = json!({"properties": {"name": "ci", "status": "disabled"}});
    let replaced = send(&admin, &Method::PUT, &path, "third", &disabled).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
}

#[rstest]
#[actix_web::test]
async fn once_it_has_changed_no_secret_is_shown(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let refused = async |method: &Method, path: &str, body: &Value, why: &str| {
        let late = send(&admin, method, path, KEY, body).await;
        assert_eq!(
            (late.status, late.codes()),
            (409, vec!["answer-outdated"]),
            "{why}: {late:?}"
        );
        assert!(!late.text.contains("whrt_"), "{why}");
        late.message()
    };
    for (_, method, path, body, _) in makings(&admin).await {
        let made = send(&admin, &method, &path, KEY, &body).await;
        assert_eq!(made.status, 201, "{path}: {made:?}");
        let place = match (&method, path.as_str()) {
            (&Method::PUT, _) => path.clone(),
            _ => format!("{path}/{}", made.json["id"].as_str().unwrap()),
        };
        let change = if path.contains("/members/") {
            admin.put(&place, json!({"level": "owner"})).await
        } else if path.ends_with(NOBODY) && !path.contains("/tokens/") || path == "/registries" {
            admin
                .patch(&place, json!({"tokenVerifier": "pinned"}))
                .await
        } else {
            admin.patch(&place, json!({"status": "disabled"})).await
        };
        assert_eq!(change.status, 200, "{change:?}");
        let message = refused(&method, &path, &body, "changed").await;
        assert!(message.contains("rotate"), "{message}");
        assert_eq!(admin.delete(&place).await.status, 204);
        refused(&method, &path, &body, "gone").await;
        if method == Method::PUT && !path.contains("/members/") {
            assert_eq!(admin.put(&place, body.clone()).await.status, 201);
            refused(&method, &path, &body, "made anew under the same id").await;
        }
    }
}

#[rstest]
#[actix_web::test]
async fn who_may_not_any_more_is_not_answered(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{id}/tokens");
    let account = admin.create_account("alice", &[]).await;
    let alice = server.actor("alice", "right-password");
    let body = json!({"properties": {"name": "ci",
        "scopes": [{"type": "repository", "name": "app", "actions": ["pull", "push"]}]}});
    admin.set_member(&id, &account, "maintainer").await;
    let first = post(&alice, &tokens, KEY, &body).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(post(&alice, &tokens, KEY, &body).await.text, first.text);

    // Other accounts make their own resources, and never see hers.
    let others = post(&admin, &tokens, KEY, &body).await;
    assert_eq!((others.status, others.codes()), (409, vec!["token-exists"]));
    // So do tokens that act for her.
    let wish = json!({"name": "tool", "roles": ["Admin"]});
    let generated = admin.post("/v1/apitokens/generate", wish).await;
    let bearer = server.bearer(generated.json["token"].as_str().unwrap());
    let made = post(&admin, &tokens, "of-admin", &token("of-admin")).await;
    assert_eq!(made.status, 201);
    let others = post(&bearer, &tokens, "of-admin", &token("of-admin")).await;
    assert_eq!((others.status, others.codes()), (409, vec!["token-exists"]));
    let own = post(&bearer, &tokens, "of-tool", &token("of-tool")).await;
    assert_eq!(
        post(&bearer, &tokens, "of-tool", &token("of-tool"))
            .await
            .text,
        own.text
    );

    let again = async |status: u16, why: &str| {
        let answer = post(&alice, &tokens, KEY, &body).await;
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        assert!(!answer.text.contains("whrt_"), "{why}");
    };
    admin.set_member(&id, &account, "reader").await;
    again(403, "a reader makes no tokens").await;
    let member = format!("/registries/{id}/members/{account}");
    assert_eq!(admin.delete(&member).await.status, 204);
    again(404, "who is no member does not see the registry").await;
    admin.set_member(&id, &account, "maintainer").await;
    assert_eq!(post(&alice, &tokens, KEY, &body).await.text, first.text);
    let path = format!("/accounts/{account}");
    for (status, expected) in [("disabled", 401), ("enabled", 201)] {
        admin.patch(&path, json!({"status": status})).await;
        let answer = post(&alice, &tokens, KEY, &body).await;
        assert_eq!(answer.status, expected, "{status}: {answer:?}");
    }
    assert_eq!(admin.delete(&format!("/registries/{id}")).await.status, 204);
    again(404, "the registry is gone").await;
}

#[rstest]
#[actix_web::test]
async fn a_request_can_be_repeated_for_a_quarter_of_an_hour(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{id}/tokens");
    let rows = || server.database.number("SELECT COUNT(*) FROM idempotency");
    assert_eq!(
        post(&admin, &tokens, "other", &token("other")).await.status,
        201
    );
    let first = post(&admin, &tokens, KEY, &token("ci")).await;
    server
        .clock
        .advance(TimeDelta::minutes(15) - TimeDelta::seconds(1));
    assert_eq!(
        post(&admin, &tokens, KEY, &token("ci")).await.text,
        first.text
    );
    server.service.janitor().run("test").await.unwrap();
    assert_eq!(rows(), 2);
    // A repeat does not prolong it.
    server.clock.advance(TimeDelta::seconds(1));
    let late = post(&admin, &tokens, KEY, &token("ci")).await;
    assert_eq!((late.status, late.codes()), (409, vec!["token-exists"]));
    // The key is free for another request, whether somebody has cleared it away or not.
    let new = post(&admin, &tokens, KEY, &token("new")).await;
    assert_eq!(new.status, 201, "{new:?}");
    assert_eq!(
        post(&admin, &tokens, KEY, &token("new")).await.text,
        new.text
    );
    server.service.janitor().run("test").await.unwrap();
    assert_eq!(rows(), 1);
    // A request without a key leaves no row.
    admin.create_token(&id, "without").await;
    assert_eq!(rows(), 1);
}

#[rstest]
#[actix_web::test]
async fn twenty_at_once_to_two_replicas_make_one_and_learn_the_same_secret(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let one = Server::start(backend).await;
    let two = one.replica().await;
    let id = one.admin().create_registry("team-a").await;
    let tokens = format!("/registries/{id}/tokens");
    for round in 0..5 {
        let (key, body) = (format!("round-{round}"), token(&format!("ci-{round}")));
        let sent: Vec<_> = (0..20)
            .map(|number| {
                let admin = [&one, &two][number % 2].admin();
                let (tokens, key, body) = (tokens.clone(), key.clone(), body.clone());
                spawn(async move { post(&admin, &tokens, &key, &body).await })
            })
            .collect();
        let (mut texts, mut first) = (BTreeSet::new(), 0);
        for answer in sent {
            let answer = answer.await.unwrap();
            assert_eq!(answer.status, 201, "{answer:?}");
            first += usize::from(answer.header("idempotency-replayed").is_empty());
            opens(&two, &format!("ci-{round}"), secret(&answer)).await;
            texts.insert(answer.text);
        }
        assert_eq!((texts.len(), first), (1, 1));
    }
    assert_eq!(one.admin().get(&tokens).await.json["total"], 5);
    one.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn what_is_kept_is_sealed_to_whom_it_is_for(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{id}/tokens");
    let first = post(&admin, &tokens, KEY, &token("ci")).await;
    let hexadecimal = match backend {
        Backend::Sqlite => "lower(hex(sealed_answer))",
        Backend::Postgres => "encode(sealed_answer, 'hex')",
    };
    let kept = server
        .database
        .lines(&format!("SELECT {hexadecimal} AS line FROM idempotency"));
    let plain = |text: &str| HEXLOWER.encode(text.as_bytes());
    assert_eq!(kept.len(), 1);
    for text in ["whrt_", &secret(&first)[5..20], KEY, "secret"] {
        assert!(!kept[0].contains(&plain(text)), "{text}");
    }
    // In the place of another account's it does not open, and nothing is made in its stead.
    admin.create_account("mallory", &["Admin"]).await;
    server.database.execute(
        "UPDATE idempotency SET account_key = (SELECT key FROM accounts WHERE name = 'mallory')",
    );
    let mallory = server.actor("mallory", "right-password");
    let moved = post(&mallory, &tokens, KEY, &token("ci")).await;
    assert_eq!((moved.status, moved.codes()), (500, vec!["internal"]));
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
}

#[actix_web::test]
async fn what_is_no_key_is_refused_before_anything_is_made() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let long = "x".repeat(256);
    for key in ["", "a b", "\"a", "\"\"", "\"a\";b=1", long.as_str()] {
        let refused = post(&admin, "/registries", key, &registry("team-a")).await;
        assert_eq!(
            refused.codes(),
            ["invalid-idempotency-key"],
            "{key:?}: {refused:?}"
        );
    }
    let twice = admin
        .request(Method::POST, "/registries")
        .json(&registry("team-a"));
    let twice = twice
        .header("Idempotency-Key", "a")
        .header("Idempotency-Key", "b");
    assert_eq!(admin.send(twice).await.codes(), ["invalid-idempotency-key"]);
    assert_eq!(admin.get("/registries").await.json["items"], json!([]));
    let anonymous = server.anonymous();
    let stranger = post(&anonymous, "/registries", "a b", &registry("team-a")).await;
    assert_eq!(stranger.status, 401);
    // Requests that create nothing ignore keys.
    let id = admin.create_registry("team-a").await;
    let minted = admin.mint(&id, "ci", &[]).await;
    let question = json!({"scope": "repository:app:pull"});
    let evaluated = post(
        &admin,
        &format!("{}/evaluate", minted.path),
        "a b",
        &question,
    )
    .await;
    assert_eq!(evaluated.status, 200, "{evaluated:?}");
}

/// Sends a request and reads so many bytes of its answer, or all of it, then hangs up.
fn cut(server: &Server, request: &[u8], length: usize) -> usize {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(request).unwrap();
    let mut read = Vec::new();
    let limit = u64::try_from(length).unwrap();
    (&mut stream).take(limit).read_to_end(&mut read).unwrap();
    read.len()
}

#[rstest]
#[actix_web::test]
async fn an_answer_cut_at_any_byte_loses_no_secret_and_mints_nothing_twice(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{id}/tokens");
    let credentials = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    let request = |number: usize| {
        let body = token(&format!("cut-{number:05}")).to_string();
        format!(
            "POST {tokens} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nIdempotency-Key: {number:05}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut secrets = BTreeSet::new();
    for length in 0.. {
        let read = cut(&server, request(length).as_bytes(), length);
        let name = format!("cut-{length:05}");
        // As a client does that was cut off: once more, until there is an answer.
        let again = admin
            .request(Method::POST, &tokens)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", format!("{length:05}"))
            .body(token(&name).to_string());
        let answer = admin.send(again).await;
        assert_eq!(answer.status, 201, "{length}: {answer:?}");
        if read > 0 {
            // Every answer is sent after the commit, so a client with a byte of the answer has a token.
            assert_eq!(answer.header("idempotency-replayed"), "true", "{length}");
        }
        // A tenth of them is asked, and the whole one.
        if length % 10 == 0 || read < length {
            opens(&server, &name, secret(&answer)).await;
        }
        assert!(secrets.insert(secret(&answer).to_owned()), "{length}");
        if read < length {
            break;
        }
    }
    assert!(secrets.len() > 500, "{}", secrets.len());
    let total = admin.get(&tokens).await.json["total"].as_u64().unwrap();
    assert_eq!(usize::try_from(total).unwrap(), secrets.len());
    server.database.check_totals();
}
