//! The audit trail: its events, the right to read them, and the detection of tampering.

use std::sync::Arc;

use chrono::TimeDelta;
use diesel::connection::SimpleConnection as _;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::domain::account::AccountName;
use wharfinger::domain::account::NewPassword;
use wharfinger::service::account_rules::{IssuedTokens, LiveTokens};
use wharfinger::service::signing_keys::Rotation;
use wharfinger::tasks::Tasks;

use crate::harness::{
    ADMIN_PASSWORD, Actor, Answer, Backend, Database, Patience, Program, Server,
    WITHOUT_BACKGROUND, within_patience,
};

/// Every event that meets a query, the oldest first.
async fn told(admin: &Actor, query: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/audit/export?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let events = answer.text.lines();
    events
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The words of an event, and its actor's name.
fn line(event: &Value) -> String {
    let word = |name: &str| event[name].as_str().unwrap_or("-");
    format!(
        "{} {} {} {}",
        word("actorName"),
        word("kind"),
        word("subjectKind"),
        word("outcome")
    )
}

fn lines(events: &[Value]) -> Vec<String> {
    events.iter().map(line).collect()
}

async fn faults(server: &Server) -> Vec<String> {
    server.service.audit().verify().await.unwrap().faults
}

#[rstest]
#[actix_web::test]
async fn every_change_is_told_with_who_and_what(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let made = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let token = made.path.rsplit('/').next().unwrap().to_owned();
    let change = async |method: Method, path: &str, body: Value| {
        let request = admin.request(method.clone(), path).json(&body);
        let answer = admin.send(request).await;
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        answer.header("x-request-id").to_owned()
    };
    let disable = json!({"status": "disabled"});
    let request = change(Method::PATCH, &made.path, disable.clone()).await;
    // A request without a change is no event.
    change(Method::PATCH, &made.path, disable).await;
    let path = format!("/registries/{registry}");
    let subnets = json!({"apiSubnetAllowList": ["10.0.0.0/8"]});
    change(Method::PATCH, &path, subnets).await;
    let account = admin.create_account("bob", &[]).await;
    let password = json!({"password": "another-password"});
    change(Method::PATCH, &format!("/accounts/{account}"), password).await;
    let member = format!("{path}/members/{account}");
    for level in ["reader", "reader", "owner"] {
        change(Method::PUT, &member, json!({"level": level})).await;
    }
    change(Method::DELETE, &member, Value::Null).await;
    let wish = json!({"name": "a", "roles": ["Analyst"]});
    let minted = admin.post("/v1/apitokens/generate", wish).await;
    let api_token = minted.json["metadata"]["id"].as_str().unwrap();
    for _ in 0..2 {
        let revoke = format!("/v1/apitokens/revoke/{api_token}");
        change(Method::PATCH, &revoke, Value::Null).await;
    }
    let app_token = admin
        .post("/api/v1/user/apptoken", json!({"title": "t"}))
        .await;
    let uuid = app_token.json["token"]["uuid"].as_str().unwrap();
    let code = app_token.json["token"]["token_code"].as_str().unwrap();
    let app_path = format!("/api/v1/user/apptoken/{uuid}");
    assert_eq!(admin.get(&app_path).await.status, 200);
    // Events without a change are written a moment later. Writing them now makes their place certain.
    server.service.flush_audit(true).await.unwrap();
    change(Method::DELETE, &app_path, Value::Null).await;
    change(Method::DELETE, &made.path, Value::Null).await;
    change(Method::DELETE, &format!("/accounts/{account}"), Value::Null).await;
    change(Method::DELETE, &path, Value::Null).await;

    let who = admin.get("/accounts").await.json["items"][0]["id"].clone();
    let events = told(&admin, &format!("actor={}", who.as_str().unwrap())).await;
    assert_eq!(
        lines(&events),
        [
            "admin create registry success",
            "admin create token success",
            "admin update token success",
            "admin update registry success",
            "admin create account success",
            "admin update account success",
            "admin create member success",
            "admin update member success",
            "admin delete member success",
            "admin create api-token success",
            "admin revoke api-token success",
            "admin create app-token success",
            "admin reveal app-token success",
            "admin delete app-token success",
            "admin delete token success",
            "admin delete account success",
            "admin delete registry success",
        ]
    );
    let page = include_str!("../docs/AUDIT.md");
    for event in &events {
        let subject = event["subjectKind"].as_str().unwrap();
        let subject = subject.replace("api-", "API ").replace('-', " ");
        let start = format!("| {subject} |");
        let row = page.lines().find(|row| row.starts_with(&start)).unwrap();
        let states = ["before", "after"].map(|state| event["detail"][state].as_object());
        for member in states.into_iter().flatten().flat_map(serde_json::Map::keys) {
            let named = [format!("`{member}`"), format!("`\"{member}\": ")];
            assert!(
                named.iter().any(|name| row.contains(name)),
                "docs/AUDIT.md: {member} of {subject}"
            );
        }
    }
    let mut update = events[2].clone();
    assert!(update["id"].as_str().unwrap().contains('.'));
    update["id"] = Value::Null;
    let record = |status: &str, version: i64| json!({"status": status, "version": version});
    let expected = json!({
        "id": null,
        "at": "2026-11-21T12:00:00.000000Z",
        "kind": "update",
        "outcome": "success",
        "actor": who,
        "actorName": "admin",
        "registry": registry,
        "subjectKind": "token",
        "subject": token,
        "address": "127.0.0.1",
        "requestId": request,
        "detail": {
            "credential": {"kind": "password"},
            "before": record("enabled", 1),
            "after": record("disabled", 2),
        },
    });
    assert_eq!(update, expected);
    // The event of a new resource has all members, the event of a change only those that changed.
    let scopes = json!([{"actions": ["pull"], "name": "a", "type": "repository"}]);
    let whole = &events[1]["detail"]["after"];
    for (member, value) in [
        ("name", json!("ci")),
        ("status", json!("enabled")),
        ("expires", Value::Null),
        ("scopes", scopes),
        ("allowed", json!([])),
        ("version", json!(1)),
    ] {
        assert_eq!(whole.get(member), Some(&value), "{member}");
    }
    assert_eq!(events[5]["detail"]["after"]["password"], "changed");
    let everything = Value::Array(events).to_string();
    for secret in [code, &made.secret, "another-password", "right-password"] {
        assert!(!everything.contains(secret), "a secret is told");
    }
    assert_eq!(faults(&server).await, Vec::<String>::new());
}

#[rstest]
#[actix_web::test]
async fn a_change_that_fails_is_not_told(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    admin.create_registry("team-a").await;
    let before = told(&admin, "").await.len();
    let taken = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    assert_eq!(admin.post("/registries", taken).await.status, 409);
    let only = admin.get("/accounts").await.json["items"][0]["id"].clone();
    let path = format!("/accounts/{}", only.as_str().unwrap());
    assert_eq!(admin.delete(&path).await.status, 409);
    assert_eq!(told(&admin, "").await.len(), before);
    assert_eq!(faults(&server).await, Vec::<String>::new());
}

#[rstest]
#[actix_web::test]
async fn commands_and_the_service_itself_are_told(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let accounts = server.service.account_commands();
    let name = || "bob".to_owned();
    let password = NewPassword::parse("right-password".to_owned().into()).unwrap();
    let parsed = AccountName::parse("bob").unwrap();
    accounts.create(parsed, &password, vec![]).await.unwrap();
    accounts
        .set_password(name(), &password, IssuedTokens::Keep)
        .await
        .unwrap();
    let level = wharfinger::domain::membership::Membership::Owner;
    let there = || "team-a".to_owned();
    accounts.grant(name(), there(), level).await.unwrap();
    accounts.grant(name(), there(), level).await.unwrap();
    accounts.revoke(name(), there()).await.unwrap();
    accounts.delete(name(), LiveTokens::Refuse).await.unwrap();
    let login = [("service", "team-a.localhost")];
    assert_eq!(
        server.client(&token).ask("/token", &login).await.status,
        200
    );
    let keys = server.service.signing_keys();
    let tenant = keys.tenant("team-a").await.unwrap();
    keys.rotate(&tenant, Rotation::Signer).await.unwrap();

    let events = told(&admin, "").await;
    let by = |kind: &str| {
        let by: Vec<_> = events
            .iter()
            .filter(|event| event["detail"]["credential"]["kind"] == kind)
            .cloned()
            .collect();
        lines(&by)
    };
    let accounts = [
        // The first account, and the tests' own.
        "- create account success",
        "- create account success",
        "- create account success",
        "- update account success",
        "- create member success",
        "- delete member success",
        "- delete account success",
        "- rotate signing-key success",
    ];
    assert_eq!(by("command"), accounts);
    assert_eq!(by("service"), ["- rotate signing-key success"]);
}

#[rstest]
#[actix_web::test]
async fn logins_and_refusals_are_told_and_summed_up(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &[WITHOUT_BACKGROUND]).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let client = server.client(&token);
    let login = [("service", "team-a.localhost")];
    for _ in 0..3 {
        assert_eq!(client.ask("/token", &login).await.status, 200);
        let wrong = server.actor("admin", "wrong-password");
        assert_eq!(wrong.get("/registries").await.status, 401);
        assert_eq!(
            server
                .actor("ci", "wrong")
                .ask("/token", &login)
                .await
                .status,
            401
        );
        let refused = server.analyst().delete(&token.path).await;
        assert_eq!(refused.status, 403);
        assert_eq!(
            server.bearer("nonsense").get("/registries").await.status,
            401
        );
        let other = server.actor(&token.secret, "pasted in the wrong field");
        assert_eq!(other.get("/registries").await.status, 401);
    }
    // A request without credentials is no refusal: clients ask so to learn which credentials to send.
    assert_eq!(server.anonymous().get("/registries").await.status, 401);
    // Names without a proof make no difference.
    let expected = [
        "admin refuse service unauthenticated",
        "analyst@example.com refuse service forbidden",
        "ci login token success",
    ];
    let since = async || {
        let kinds = ["login", "refuse"].map(|kind| format!("kind={kind}"));
        let mut all = told(&admin, &kinds[0]).await;
        all.extend(told(&admin, &kinds[1]).await);
        all.sort_by_key(|event| (event["detail"]["count"].as_u64(), line(event)));
        all
    };
    // The first of each within a second, the others when their minute is over.
    server.service.flush_audit(false).await.unwrap();
    let first = since().await;
    assert_eq!(lines(&first), expected);
    assert!(first.iter().all(|event| event["detail"]["count"].is_null()));
    assert!(first.iter().all(|event| event["address"] == "127.0.0.1"));
    server.clock.advance(TimeDelta::seconds(59));
    server.service.flush_audit(false).await.unwrap();
    assert_eq!(since().await.len(), expected.len());
    server.clock.advance(TimeDelta::seconds(1));
    server.service.flush_audit(false).await.unwrap();
    let all = since().await;
    let counts = all[expected.len()..].iter().map(|event| {
        let word = event["outcome"].as_str().unwrap();
        (word, event["detail"]["count"].as_u64().unwrap())
    });
    let counts: Vec<_> = counts.collect();
    assert_eq!(
        counts,
        [("forbidden", 2), ("success", 2), ("unauthenticated", 11)]
    );
    assert!(!Value::Array(all).to_string().contains(&token.secret));
    // The sums of a minute that is not over are written at a stop.
    for _ in 0..2 {
        assert_eq!(client.ask("/token", &login).await.status, 200);
    }
    assert_eq!(server.service.flush_audit(true).await.unwrap(), 2);
    assert_eq!(server.service.flush_audit(true).await.unwrap(), 0);
    // A single event in a minute has no sum.
    assert_eq!(client.ask("/token", &login).await.status, 200);
    assert_eq!(server.service.flush_audit(false).await.unwrap(), 1);
    assert_eq!(server.service.flush_audit(true).await.unwrap(), 0);
    // A minute is over when it has passed, however the wall clock was set meanwhile.
    for hours in [-1, 2] {
        for _ in 0..2 {
            assert_eq!(client.ask("/token", &login).await.status, 200);
        }
        server.clock.set(TimeDelta::hours(hours));
        assert_eq!(server.service.flush_audit(false).await.unwrap(), 1);
        server.clock.advance(TimeDelta::minutes(1));
        assert_eq!(server.service.flush_audit(false).await.unwrap(), 1);
    }
    assert_eq!(faults(&server).await, Vec::<String>::new());
}

/// The parts of the newest refusal that matter here: the registry, the reason and the name.
async fn newest_refusal(server: &Server) -> Value {
    server.service.flush_audit(true).await.unwrap();
    let events = told(&server.admin(), "kind=refuse").await;
    let event = events.last().unwrap();
    assert!(event.to_string().len() < 2048, "{event}");
    json!([
        event["registry"],
        event["subjectKind"],
        event["subject"],
        event["detail"]["reason"],
        event["actorName"]
    ])
}

#[rstest]
#[actix_web::test]
async fn a_refused_login_is_told_with_the_registry_and_of_a_right_secret_with_the_reason(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let make = async |name: &str, more: Value| {
        let mut properties = json!({"name": name,
            "scopes": [{"type": "repository", "name": "a", "actions": ["pull"]}]});
        let members = more.as_object().unwrap().clone();
        properties.as_object_mut().unwrap().extend(members);
        let made = admin
            .post(&tokens, json!({ "properties": properties }))
            .await;
        assert_eq!(made.status, 201, "{made:?}");
        let secret = &made.json["properties"]["credentials"]["password"];
        let id = made.json["id"].as_str().unwrap().to_owned();
        (id, secret.as_str().unwrap().to_owned())
    };
    let disable = async |id: &str| {
        let body = json!({"status": "disabled"});
        assert_eq!(
            admin.patch(&format!("{tokens}/{id}"), body).await.status,
            200
        );
    };
    let login = [("service", "team-a.localhost"), ("offline_token", "true")];
    let (disabled, of_disabled) = make("disabled", json!({})).await;
    let holder = server.actor("disabled", &of_disabled);
    let got = holder.ask("/token", &login).await.json;
    let (jwt, refresh) = (
        got["token"].as_str().unwrap(),
        got["refresh_token"].as_str().unwrap(),
    );
    disable(&disabled).await;
    let (elsewhere, of_elsewhere) =
        make("elsewhere", json!({"allowedCidrs": ["192.0.2.0/24"]})).await;
    let (expired, of_expired) =
        make("expired", json!({"expiryDate": "2026-11-21T12:30:00Z"})).await;
    let (rotated, of_rotated) = make("rotated", json!({})).await;
    let body = json!({"gracePeriod": "PT30M"});
    let new = admin
        .post(&format!("{tokens}/{rotated}/rotate"), body)
        .await;
    assert_eq!(new.status, 200, "{new:?}");
    // Tokens whose secret was replaced without a grace, or whose previous secret was ended by hand, are still known.
    let (replaced, of_replaced) = make("replaced", json!({})).await;
    let (ended, of_ended) = make("ended", json!({})).await;
    for (id, grace) in [(&replaced, "PT0S"), (&ended, "PT30M")] {
        let body = json!({"gracePeriod": grace});
        let new = admin.post(&format!("{tokens}/{id}/rotate"), body).await;
        assert_eq!(new.status, 200, "{new:?}");
    }
    let previous = format!("{tokens}/{ended}/previous-secret");
    assert_eq!(admin.delete(&previous).await.status, 204);
    let (_, neighbour) = make("neighbour", json!({})).await;
    let title = json!({"title": "laptop"});
    let app = admin.post("/api/v1/user/apptoken", title).await.json["token"].clone();
    let (app, code) = (
        app["uuid"].as_str().unwrap(),
        app["token_code"].as_str().unwrap(),
    );
    let stranger = admin.create_account("stranger@example.com", &[]).await;
    let gone = admin.create_account("gone@example.com", &["Admin"]).await;
    let status = json!({"status": "disabled"});
    assert_eq!(
        admin
            .patch(&format!("/accounts/{gone}"), status)
            .await
            .status,
        200
    );
    let nothing = json!(null);
    let token = |id: &str, reason: &str, name: &str| json!([registry, "token", id, reason, name]);
    let nobody = |name: Value| json!([registry, "service", nothing, nothing, name]);
    let account =
        |id: &str, reason: &str, name: &str| json!([registry, "account", id, reason, name]);
    let by = |name: &str, secret: &str| server.actor(name, secret);
    let check = async |actor: &Actor| {
        let request = actor
            .request(Method::GET, "/v2/check?service=team-a.localhost")
            .header("x-original-method", "GET")
            .header("x-original-uri", "/v2/a/tags/list");
        actor.send(request).await
    };
    // A JWT is good for minutes.
    for (jwt, expected) in [
        (jwt, token(&disabled, "disabled", "disabled")),
        ("eyJhbGciOiJFUzI1NiJ9.e30.c2ln", nobody(nothing.clone())),
    ] {
        assert_eq!(check(&server.bearer(jwt)).await.status, 401);
        assert_eq!(newest_refusal(&server).await, expected, "a JWT");
        server.clock.advance(TimeDelta::minutes(1));
    }
    server.clock.advance(TimeDelta::hours(1));
    let cases = [
        // Without a proved secret the event names the registry alone.
        (by("ci", "guessed"), nobody(json!("ci"))),
        (by("disabled", &neighbour), nobody(json!("disabled"))),
        (by("admin", "guessed-password"), nobody(json!("admin"))),
        (by("<token>", "whrr_guess"), nobody(json!("<token>"))),
        (by("$app", &code[..119]), nobody(json!("$app"))),
        // The event has the token's own name, however the request spelled the name.
        (
            by("DISABLED", &of_disabled),
            token(&disabled, "disabled", "disabled"),
        ),
        (
            by("<token>", refresh),
            token(&disabled, "secret-ended", "disabled"),
        ),
        (
            by("expired", &of_expired),
            token(&expired, "expired", "expired"),
        ),
        (
            by("rotated", &of_rotated),
            token(&rotated, "secret-ended", "rotated"),
        ),
        (
            by("replaced", &of_replaced),
            token(&replaced, "secret-ended", "replaced"),
        ),
        (
            by("ended", &of_ended),
            token(&ended, "secret-ended", "ended"),
        ),
        (
            by("elsewhere", &of_elsewhere),
            token(&elsewhere, "address", "elsewhere"),
        ),
        (
            by("stranger@example.com", "right-password"),
            account(&stranger, "no-member", "stranger@example.com"),
        ),
        (
            by("gone@example.com", "right-password"),
            account(&gone, "disabled", "gone@example.com"),
        ),
    ];
    for (actor, expected) in &cases {
        let answer = actor.ask("/token", &login).await;
        assert_eq!(answer.status, 401, "{expected}: {answer:?}");
        assert_eq!(&newest_refusal(&server).await, expected, "/token");
        server.clock.advance(TimeDelta::minutes(1));
        assert_eq!(check(actor).await.status, 401, "{expected}");
        assert_eq!(&newest_refusal(&server).await, expected, "/v2/check");
        server.clock.advance(TimeDelta::minutes(1));
    }
    // A request without permission has the same kind of event.
    let request = by("neighbour", &neighbour)
        .request(Method::GET, "/v2/check?service=team-a.localhost")
        .header("x-original-method", "PUT")
        .header("x-original-uri", "/v2/a/manifests/1");
    assert_eq!(admin.send(request).await.status, 403);
    let refused = newest_refusal(&server).await;
    assert_eq!(
        (&refused[0], &refused[1]),
        (&json!(registry), &json!("token"))
    );

    // A secret that is too old for its registry, and a registry that is entered from elsewhere.
    let path = format!("/registries/{registry}");
    for (change, reason) in [
        (json!({"maximumSecretAge": "PT1H"}), "secret-too-old"),
        (
            json!({"maximumSecretAge": null, "apiSubnetAllowList": ["192.0.2.0/24"]}),
            "registry-address",
        ),
    ] {
        let changed = admin.patch(&path, change).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        server.clock.advance(TimeDelta::hours(2));
        let (name, secret) = ("neighbour", &neighbour);
        assert_eq!(by(name, secret).ask("/token", &login).await.status, 401);
        let refused = newest_refusal(&server).await;
        assert_eq!(
            (&refused[1], &refused[3]),
            (&json!("token"), &json!(reason))
        );
    }
    assert_eq!(by("$app", code).ask("/token", &login).await.status, 401);
    let expected = json!([registry, "app-token", app, "registry-address", "$app"]);
    assert_eq!(newest_refusal(&server).await, expected);
    server.clock.advance(TimeDelta::minutes(1));
    let wrong = by("neighbour", &of_disabled).ask("/token", &login).await;
    assert_eq!(wrong.status, 401);
    assert_eq!(newest_refusal(&server).await, nobody(json!("neighbour")));
    for secret in [&of_disabled, &neighbour, refresh, jwt, code] {
        let trail = Value::Array(told(&admin, "").await).to_string();
        assert!(!trail.contains(secret));
    }
    assert_eq!(faults(&server).await, Vec::<String>::new());
}

/// Anybody can make up names of registries; they neither fill the trail nor take the room of others.
#[rstest]
#[actix_web::test]
async fn made_up_registries_make_no_event_each(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let stranger = server.actor("admin", "guessed-password");
    for number in 0..30 {
        let service = format!("made-up-{number}.localhost");
        let answer = stranger.ask("/token", &[("service", &service)]).await;
        assert!(matches!(answer.status, 401 | 429), "{answer:?}");
    }
    server.service.flush_audit(true).await.unwrap();
    let refused = told(&server.admin(), "kind=refuse").await;
    // Wrong requests and excess requests, each with a sum.
    assert!((1..=4).contains(&refused.len()), "{refused:?}");
}

/// A stop waits for a write under way: one that is given up may be committed all the same, and would be written again.
#[actix_web::test]
async fn a_stop_during_a_write_tells_each_event_once() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    // The chain is open.
    admin.create_registry("team-a").await;
    let mut other = server.database.connect();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    for number in 0..20 {
        let stranger = server.actor(&format!("nobody-{number}"), "guessed-password");
        let answer = stranger.get("/registries").await;
        assert!(matches!(answer.status, 401 | 429), "{answer:?}");
    }
    let service = server.service.clone();
    let calls = service.store_calls();
    let tasks = Tasks::start(service.clone(), "test".to_owned(), None, false);
    let patience = Patience::new();
    // The writes wait for the lock.
    while service.store_calls() < calls + 2 {
        patience.spend("no event was written");
        tokio::task::yield_now().await;
    }
    let stop = actix_web::rt::spawn(tasks.stop());
    tokio::task::yield_now().await;
    other.batch_execute("COMMIT").unwrap();
    stop.await.unwrap();
    let refused = told(&admin, "kind=refuse").await;
    let ids: std::collections::BTreeSet<_> = refused
        .iter()
        .map(|event| event["requestId"].to_string())
        .collect();
    assert!(!ids.is_empty());
    assert_eq!(ids.len(), refused.len(), "{refused:?}");
}

/// A sum of refusals names the registry that all of them were for, and none if they were for several.
#[rstest]
#[actix_web::test]
async fn a_sum_of_refusals_names_a_registry_only_if_it_is_that_of_all(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    for (names, shared) in [
        (["team-a"; 4], true),
        (["team-a", "team-a", "team-b", "team-b"], false),
    ] {
        let server = Server::start(backend).await;
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        admin.create_registry("team-b").await;
        let stranger = server.actor("admin", "guessed-password");
        for name in names {
            let service = format!("{name}.localhost");
            let answer = stranger.ask("/token", &[("service", &service)]).await;
            assert_eq!(answer.status, 401, "{answer:?}");
        }
        server.service.flush_audit(true).await.unwrap();
        let refused = told(&admin, "kind=refuse").await;
        let sums: Vec<_> = refused
            .iter()
            .filter(|event| event["detail"]["count"].as_u64() > Some(1))
            .collect();
        let [sum] = sums[..] else {
            panic!("{refused:?}");
        };
        let expected = if shared { json!(registry) } else { json!(null) };
        assert_eq!(sum["registry"], expected, "{sum}");
    }
}

/// At the level `debug`, with ids and no secret.
#[actix_web::test]
async fn the_log_says_why_a_login_was_refused() {
    let database = Arc::new(Database::fresh(Backend::Sqlite));
    let mut command = Program::command(&database);
    command.args(["--log", "debug", "--log-format", "json"]);
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &[]).await;
    let body = json!({"status": "disabled"});
    assert_eq!(admin.patch(&token.path, body).await.status, 200);
    for secret in [token.secret.as_str(), "wrong-password"] {
        let client = Actor::of(&program.base, "ci", secret);
        let answer = client
            .ask("/token", &[("service", "team-a.localhost")])
            .await;
        assert_eq!(answer.status, 401);
    }
    program.signal("TERM");
    let (_, log) = program.wait();
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("a login was refused"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told = |line: &Value, name: &str| {
        let found = line.get(name).or_else(|| line["fields"].get(name));
        found.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let [right, wrong] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(told(right, "registry"), registry);
    assert_eq!(told(right, "kind"), "token");
    assert!(token.path.ends_with(&told(right, "id")), "{right}");
    assert_eq!(told(right, "reason"), "disabled");
    assert_eq!(told(wrong, "service"), "team-a");
    assert_eq!(told(wrong, "id"), "");
    assert!(!log.contains(&token.secret));
}

/// The most bytes of an event.
const EVENT: usize = 2048;

#[rstest]
#[actix_web::test]
async fn no_event_is_longer_than_2_kib(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const SCANNER: &str = "scanner-of-this-test-0123456789abcdef";
    let server = Server::start_with(backend, &["--secret-scanning-token", SCANNER]).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &[]).await;
    let path = token.path;
    // 15 kB of scopes, and others.
    let scopes = |letter: &str| -> Value {
        let scope = |number: usize| json!({"actions": ["pull", "push"], "name": format!("{}{number}", letter.repeat(240)), "type": "repository"});
        (0..58).map(scope).collect()
    };
    for letter in ["a", "b", "a"] {
        let id = "i".repeat(64);
        let request = admin
            .request(Method::PATCH, &path)
            .json(&json!({"scopes": scopes(letter)}));
        let answer = admin.send(request.header("x-request-id", id)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let networks: Vec<_> = (0..25).map(|n| format!("2001:db8:{n:x}::/48")).collect();
    let change = json!({"allowedCidrs": networks, "status": "disabled"});
    assert_eq!(admin.patch(&path, change).await.status, 200);
    let registry_path = format!("/registries/{registry}");
    let subnets = json!({"apiSubnetAllowList": networks});
    assert_eq!(admin.patch(&registry_path, subnets).await.status, 200);
    // Names of many bytes, more of them as JSON.
    let name = format!("{}\"\\", "🦀".repeat(253));
    server.add_account(&name, "right-password", "Admin").await;
    let person = server.actor(&name, "right-password");
    let roles = vec!["Analyst"; 100];
    let wish = json!({"name": "\"".repeat(1024), "roles": roles});
    let minted = person.post("/v1/apitokens/generate", wish).await;
    assert_eq!(minted.status, 200, "{minted:?}");
    let title = json!({"title": "é".repeat(255)});
    assert_eq!(
        person.post("/api/v1/user/apptoken", title).await.status,
        201
    );
    let stranger = server.actor(&"\"".repeat(2000), "wrong-password");
    assert_eq!(stranger.get("/registries").await.status, 401);
    let place = "\\".repeat(1000);
    let report = json!([{"token": token.secret, "type": place, "url": format!("https://example.com/{place}"), "source": place}]);
    let scanner = server.anonymous();
    let request = scanner.request(Method::POST, "/secret-scanning/report");
    let request = request.bearer_auth(SCANNER).json(&report);
    let reported = scanner.send(request).await;
    assert_eq!(reported.status, 202, "{reported:?}");
    server.service.flush_audit(true).await.unwrap();

    let export = admin.get("/audit/export").await;
    for line in export.text.lines() {
        assert!(line.len() <= EVENT, "{} bytes: {line}", line.len());
    }
    let events = told(&admin, "").await;
    let longest = export.text.lines().map(str::len).max().unwrap();
    assert!(longest > EVENT / 2, "nothing was long: {longest}");
    let kinds: std::collections::BTreeSet<_> = events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["create", "leak", "refuse", "update"]
    );
    // The owner of the whole can prove a value that was cut: by the compact JSON with members in the order of their names.
    let whole = scopes("b").to_string();
    let after = &events
        .iter()
        .filter(|event| event["kind"] == "update" && event["subjectKind"] == "token")
        .nth(1)
        .unwrap()["detail"]["after"];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, whole.as_bytes());
    assert_eq!(
        *after,
        json!({
            "version": 3,
            "scopes": {
                "beginning": after["scopes"]["beginning"],
                "bytes": whole.len(),
                "sha256": data_encoding::HEXLOWER.encode(digest.as_ref()),
            },
        })
    );
    assert!(whole.starts_with(after["scopes"]["beginning"].as_str().unwrap()));
    assert_eq!(faults(&server).await, Vec::<String>::new());
}

#[rstest]
#[actix_web::test]
async fn an_account_makes_no_more_changes_than_it_may_and_can_always_end_things(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--changes-per-hour", "6"]).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let wish = json!({"name": "a", "roles": ["Admin"]});
    let minted = admin.post("/v1/apitokens/generate", wish).await;
    let bearer = server.bearer(minted.json["token"].as_str().unwrap());
    let mut paths = Vec::new();
    for name in ["one", "two", "three"] {
        paths.push(admin.mint(&registry, name, &[]).await.path);
    }
    let status = |status: &str| json!({"status": status});
    // A request that changes nothing is no change.
    for _ in 0..10 {
        let answer = admin.patch(&paths[0], status("enabled")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(admin.patch(&paths[0], status("disabled")).await.status, 200);
    // An API token changes on behalf of its account.
    for who in [&admin, &bearer] {
        let refused = who.patch(&paths[0], status("enabled")).await;
        assert_eq!(
            (
                refused.status,
                refused.codes(),
                refused.header("retry-after")
            ),
            (429, vec!["too-many-changes"], "600")
        );
        let body = json!({"name": "a", "roles": ["Admin"]});
        let refused = who.post("/v1/apitokens/generate", body).await;
        assert_eq!((refused.status, &refused.json["code"]), (429, &json!(8)));
    }
    let title = json!({"title": "a"});
    let refused = admin.post("/api/v1/user/apptoken", title).await;
    assert_eq!(
        (refused.status, &refused.json["title"]),
        (429, &json!("too_many_requests"))
    );
    assert_eq!(
        admin.get(&paths[0]).await.json["metadata"]["state"],
        "disabled"
    );
    // Another account is another account.
    server.add_account("bob", "right-password", "Admin").await;
    let bob = server.actor("bob", "right-password");
    assert_eq!(bob.patch(&paths[0], status("enabled")).await.status, 200);
    // Requests that end something go on, and count.
    assert_eq!(admin.delete(&paths[1]).await.status, 204);
    let revoke = format!(
        "/v1/apitokens/revoke/{}",
        minted.json["metadata"]["id"].as_str().unwrap()
    );
    let request = admin.request(Method::PATCH, &revoke);
    assert_eq!(admin.send(request).await.status, 200);
    let refused = admin.patch(&paths[0], status("enabled")).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (429, "1800")
    );
    // Setting the clock changes nothing, and time does.
    server.clock.set(TimeDelta::days(1));
    assert_eq!(admin.patch(&paths[0], status("enabled")).await.status, 429);
    assert_eq!(admin.patch(&paths[0], status("disabled")).await.status, 200);
    server.clock.advance(TimeDelta::minutes(40));
    assert_eq!(admin.patch(&paths[0], status("enabled")).await.status, 200);
    assert_eq!(admin.patch(&paths[0], status("enabled")).await.status, 429);
    server.service.flush_audit(true).await.unwrap();
    let throttled = told(&admin, "outcome=throttled").await;
    assert_eq!(line(&throttled[0]), "admin refuse service throttled");
    assert_eq!(faults(&server).await, Vec::<String>::new());
}

#[rstest]
#[actix_web::test]
async fn enabling_an_account_is_a_change_whatever_comes_with_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--changes-per-hour", "2"]).await;
    let admin = server.admin();
    let account = admin.create_account("ann", &[]).await;
    let path = format!("/accounts/{account}");
    let disabled = admin.patch(&path, json!({"status": "disabled"})).await;
    assert_eq!(disabled.status, 200, "{disabled:?}");
    let both = json!({"status": "enabled", "password": "another-password"});
    assert_eq!(admin.patch(&path, both).await.status, 429);
    let password = json!({"password": "another-password"});
    assert_eq!(admin.patch(&path, password).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn lists_filter_and_go_on(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let start = server.service.now();
    let mut registries = Vec::new();
    for name in ["one", "two", "three"] {
        server.clock.advance(TimeDelta::seconds(1));
        registries.push(admin.create_registry(name).await);
    }
    let names = |answer: &Value| {
        let items = answer["items"].as_array().unwrap().iter();
        let names = items.map(|event| event["detail"]["after"]["name"].as_str().unwrap());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let get = async |query: &str| {
        let answer = admin.get(&format!("/audit?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json
    };
    let mut found = Vec::new();
    let mut page = get("kind=create&limit=2").await;
    let patience = Patience::new();
    loop {
        patience.spend("the list has not ended");
        found.extend(names(&page));
        let next = page["_links"]["next"].as_str().unwrap().to_owned();
        let token = page["pagination"]["token"].as_str().unwrap();
        assert_eq!(next.is_empty(), token.is_empty());
        if next.is_empty() {
            break;
        }
        // New events come before the rest of the list.
        admin
            .create_registry(&format!("later-{}", found.len()))
            .await;
        let (_, query) = next.split_once('?').unwrap();
        page = get(query).await;
    }
    assert_eq!(
        found,
        ["three", "two", "one", "analyst@example.com", "admin"]
    );
    let at = |second: i64| {
        let at = start + TimeDelta::seconds(second);
        at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    };
    for (query, expected) in [
        (format!("registry={}", registries[1]), &["two"][..]),
        (format!("subject={}", registries[0]), &["one"]),
        (format!("since={}&until={}", at(1), at(3)), &["two", "one"]),
        ("kind=delete".to_owned(), &[]),
        ("outcome=forbidden".to_owned(), &[]),
        (format!("actor={}", uuid::Uuid::nil()), &[]),
    ] {
        assert_eq!(names(&get(&query).await), expected, "{query}");
    }
    for (query, code) in [
        ("since=yesterday", "invalid-since"),
        ("until=1", "invalid-until"),
        ("actor=admin", "invalid-account-id"),
        ("registry=one", "invalid-registry-id"),
        ("subject=x", "invalid-subject"),
        ("bulk=x", "invalid-bulk-id"),
        ("kind=made", "invalid-kind"),
        ("outcome=ok", "invalid-outcome"),
        ("limit=1001", "invalid-limit"),
        ("pagination.token=x", "invalid-pagination-token"),
    ] {
        let answer = admin.get(&format!("/audit?{query}")).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec![code]),
            "{query}"
        );
    }
    // A page's token is not valid for another filter.
    let page = get("limit=1").await;
    let token = page["pagination"]["token"].as_str().unwrap();
    let other = admin
        .get(&format!("/audit?kind=create&pagination.token={token}"))
        .await;
    assert_eq!(other.codes(), ["invalid-pagination-token"]);
}

#[rstest]
#[actix_web::test]
async fn only_administrators_look(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let owner = admin.create_account("owner", &[]).await;
    admin.set_member(&registry, &owner, "owner").await;
    let wish = json!({"name": "a", "roles": ["Analyst"]});
    let minted = admin.post("/v1/apitokens/generate", wish).await;
    let narrow = server.bearer(minted.json["token"].as_str().unwrap());
    for path in ["/audit", "/audit/export", "/containerregistries/audit"] {
        assert_eq!(admin.get(path).await.status, 200);
        for other in [
            &server.analyst(),
            &server.actor("owner", "right-password"),
            &narrow,
        ] {
            assert_eq!(other.get(path).await.codes(), ["forbidden"], "{path}");
        }
        assert_eq!(server.anonymous().get(path).await.status, 401);
    }
}

#[rstest]
#[actix_web::test]
async fn an_export_sends_all_in_order(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &[WITHOUT_BACKGROUND]).await;
    let admin = server.admin();
    for number in 0..30 {
        // Several at one instant, and of two processes.
        server.clock.advance(TimeDelta::seconds(number % 2));
        admin.create_registry(&format!("team-{number}")).await;
    }
    let replica = server.replica().await;
    replica.admin().create_registry("of-replica").await;
    // More than are read at once.
    for power in 0..6 {
        let further = 1000 << power;
        server.database.execute(&format!(
            "INSERT INTO audit_events SELECT chain, sequence + {further}, at, kind, outcome, actor, actor_name, \
             registry, subject_kind, subject, address, request_id, detail, mac FROM audit_events"
        ));
    }
    let events = told(&admin, "").await;
    let kept = server.database.number("SELECT COUNT(*) FROM audit_events");
    assert!(kept > 2000, "{kept}");
    assert_eq!(i64::try_from(events.len()).unwrap(), kept);
    let ids: std::collections::BTreeSet<_> =
        events.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), events.len());
    assert!(events.is_sorted_by_key(|event| event["at"].as_str().unwrap().to_owned()));

    // HEAD does not read events, which it would not send.
    let calls = server.service.store_calls();
    let head = admin
        .send(admin.request(Method::HEAD, "/audit/export"))
        .await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), "");
    assert_eq!(server.service.store_calls() - calls, 1);
}

#[rstest]
#[actix_web::test]
async fn what_somebody_does_to_the_rows_is_found(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for name in ["one", "two", "three", "four"] {
        admin.create_registry(name).await;
    }
    let replica = server.replica().await;
    replica.admin().create_registry("of-replica").await;
    assert_eq!(faults(&server).await, Vec::<String>::new());
    let chain = server
        .database
        .number("SELECT MIN(chain) FROM audit_events");
    let last = format!("SELECT MAX(sequence) FROM audit_events WHERE chain = {chain}");
    let last = server.database.number(&last);
    assert!(last >= 5, "{last}");
    let events = "audit_events";
    let kept = "CREATE TABLE kept_events AS SELECT * FROM audit_events";
    let kept_chains = "CREATE TABLE kept_chains AS SELECT * FROM audit_chains";
    server.database.execute(kept);
    server.database.execute(kept_chains);
    let here = format!("chain = {chain}");
    let mac = |sequence: i64| {
        format!("(SELECT mac FROM kept_events WHERE {here} AND sequence = {sequence})")
    };
    let attacks = [
        format!("UPDATE {events} SET outcome = 'forbidden' WHERE {here} AND sequence = 2"),
        format!("UPDATE {events} SET at = at + 1 WHERE {here} AND sequence = 2"),
        format!("UPDATE {events} SET actor_name = 'bob' WHERE {here} AND sequence = 3"),
        format!("UPDATE {events} SET address = NULL WHERE {here} AND sequence = 3"),
        format!("UPDATE {events} SET detail = '{{}}' WHERE {here} AND sequence = {last}"),
        format!(
            "UPDATE {events} SET subject = NULL, registry = NULL WHERE {here} AND sequence = 3"
        ),
        format!(
            "UPDATE {events} SET mac = {} WHERE {here} AND sequence = 3",
            mac(2)
        ),
        format!("DELETE FROM {events} WHERE {here} AND sequence = 3"),
        format!("DELETE FROM {events} WHERE {here} AND sequence = 1"),
        format!("DELETE FROM {events} WHERE {here} AND sequence = {last}"),
        format!("DELETE FROM {events} WHERE {here}"),
        // Two change places.
        format!(
            "UPDATE {events} SET sequence = 5 - sequence + 1000 WHERE {here} AND sequence IN (2, 3); \
                 UPDATE {events} SET sequence = sequence - 1000 WHERE {here} AND sequence > 1000"
        ),
        // One event is put in between, one behind the end.
        format!(
            "INSERT INTO {events} SELECT chain, sequence + 1, at, kind, outcome, actor, actor_name, registry, \
                 subject_kind, subject, address, request_id, detail, mac FROM {events} WHERE {here} AND sequence = {last}"
        ),
        // The end is moved, with the known values of the event there.
        format!(
            "DELETE FROM {events} WHERE {here} AND sequence = {last}; UPDATE audit_chains \
                 SET head_sequence = {0}, head_mac = {1} WHERE {here}",
            last - 1,
            mac(last - 1)
        ),
        // So is the beginning.
        format!(
            "DELETE FROM {events} WHERE {here} AND sequence <= 2; UPDATE audit_chains \
                 SET base_sequence = 2, base_mac = {} WHERE {here}",
            mac(2)
        ),
        // A whole chain goes.
        format!("DELETE FROM {events} WHERE {here}; DELETE FROM audit_chains WHERE {here}"),
        format!("UPDATE audit_chains SET data_key = 4711 WHERE {here}"),
        "DELETE FROM meta WHERE name = 'audit-chains'".to_owned(),
    ];
    let number = "CREATE TABLE kept_meta AS SELECT * FROM meta";
    server.database.execute(number);
    for attack in attacks {
        for statement in attack.split("; ") {
            server.database.execute(statement);
        }
        let found = faults(&server).await;
        assert_eq!(found.len(), 1, "{attack}: {found:?}");
        for (table, kept) in [
            ("audit_events", "kept_events"),
            ("audit_chains", "kept_chains"),
            ("meta", "kept_meta"),
        ] {
            server.database.execute(&format!("DELETE FROM {table}"));
            server
                .database
                .execute(&format!("INSERT INTO {table} SELECT * FROM {kept}"));
        }
        assert_eq!(faults(&server).await, Vec::<String>::new(), "{attack}");
    }
    for kept in ["kept_events", "kept_chains", "kept_meta"] {
        server.database.execute(&format!("DROP TABLE {kept}"));
    }
    // And all goes on.
    admin.create_registry("five").await;
    assert_eq!(faults(&server).await, Vec::<String>::new());
}

#[rstest]
#[actix_web::test]
async fn events_that_are_in_no_chain_are_found(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server.admin().create_registry("one").await;
    let copy = |chain: &str, sequence: &str| {
        format!(
            "INSERT INTO audit_events SELECT {chain}, {sequence}, at, kind, outcome, actor, actor_name, registry, \
             subject_kind, subject, address, request_id, detail, mac FROM audit_events WHERE sequence = 1"
        )
    };
    for (forged, undone) in [
        (copy("99", "1"), "chain = 99"),
        (copy("chain", "0"), "sequence = 0"),
        (copy("chain", "-5"), "sequence = -5"),
    ] {
        server.database.execute(&forged);
        let found = faults(&server).await;
        assert_eq!(
            found,
            ["1 events are in no chain or before the beginning of theirs"],
            "{forged}"
        );
        server
            .database
            .execute(&format!("DELETE FROM audit_events WHERE {undone}"));
    }
    assert_eq!(faults(&server).await, Vec::<String>::new());
}

#[rstest]
#[actix_web::test]
async fn values_of_another_type_which_no_filter_finds_are_found(
    #[values("kind", "outcome", "subject", "detail")] column: &str,
) {
    let server = Server::start(Backend::Sqlite).await;
    server.admin().create_registry("one").await;
    let other = if column == "subject" { "TEXT" } else { "BLOB" };
    server.database.execute(&format!(
        "UPDATE audit_events SET {column} = CAST({column} AS {other}) WHERE sequence = 2"
    ));
    let found = faults(&server).await;
    let fault = "1 events have a value of another type than its column";
    assert!(found.iter().any(|found| found == fault), "{found:?}");
}

#[rstest]
#[actix_web::test]
async fn old_events_go_and_the_rest_holds(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--audit-retention", "1h"]).await;
    let admin = server.admin();
    admin.create_registry("one").await;
    let replica = server.replica().await;
    replica.admin().create_registry("of-replica").await;
    server.clock.advance(TimeDelta::minutes(30));
    admin.create_registry("two").await;
    let kept = told(&admin, "").await.len();
    let janitor = server.service.janitor();
    server.clock.advance(TimeDelta::minutes(30));
    assert_eq!(janitor.run("test").await.unwrap().unwrap().events, 0);
    server.clock.advance(TimeDelta::microseconds(1));
    let gone = janitor.run("test").await.unwrap().unwrap().events;
    assert_eq!(gone, kept - 1);
    assert_eq!(told(&admin, "").await.len(), 1);
    assert_eq!(faults(&server).await, Vec::<String>::new());
    // Both processes go on where they were.
    admin.create_registry("three").await;
    replica.admin().create_registry("of-replica-too").await;
    assert_eq!(faults(&server).await, Vec::<String>::new());
    assert_eq!(told(&admin, "").await.len(), 3);
    // Events that retention removed are no fault; any other missing event is a fault.
    let chain = server
        .database
        .number("SELECT MIN(chain) FROM audit_events");
    server.database.execute(&format!(
        "DELETE FROM audit_events WHERE chain = {chain} AND sequence = (SELECT base_sequence + 1 FROM audit_chains WHERE chain = {chain})"
    ));
    assert_eq!(faults(&server).await.len(), 1);
}

#[rstest]
#[actix_web::test]
async fn replicas_write_side_by_side(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let actors = [server.admin(), replica.admin()];
    let work = actors.iter().enumerate().map(|(place, admin)| {
        let admin = admin.clone();
        actix_web::rt::spawn(async move {
            for number in 0..20 {
                admin
                    .create_registry(&format!("team-{place}-{number}"))
                    .await;
            }
        })
    });
    for work in work.collect::<Vec<_>>() {
        work.await.unwrap();
    }
    let report = server.service.audit().verify().await.unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!(report.chains, 2);
    let made = told(&server.actor("admin", ADMIN_PASSWORD), "kind=create").await;
    let registries = made
        .iter()
        .filter(|event| event["subjectKind"] == "registry");
    assert_eq!(registries.count(), 40);
}

#[rstest]
#[actix_web::test]
async fn a_flood_of_names_and_of_writers_costs_no_more(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let login = [("service", "team-a.localhost")];
    let before = told(&admin, "").await.len();
    // A right form, so that nothing slows it down.
    for number in 0..200 {
        let guess = server.actor(&format!("name-{number}"), &token.secret);
        assert_eq!(guess.ask("/token", &login).await.status, 401);
    }
    assert_eq!(
        server.client(&token).ask("/token", &login).await.status,
        200
    );
    // Several at once write nothing twice.
    let writing = (0..4).map(|_| {
        let service = server.service.clone();
        actix_web::rt::spawn(async move { service.flush_audit(true).await.unwrap() })
    });
    for writing in writing.collect::<Vec<_>>() {
        writing.await.unwrap();
    }
    let events = told(&admin, "").await;
    let refused = told(&admin, "kind=refuse").await;
    let counts = refused
        .iter()
        .map(|event| event["detail"]["count"].as_u64().unwrap_or(1));
    assert_eq!(counts.sum::<u64>(), 200);
    assert!(refused.len() <= 4, "{refused:?}");
    assert_eq!(told(&admin, "kind=login").await.len(), 1);
    // The login, and the keys that it made.
    assert_eq!(events.len(), before + refused.len() + 2);
}

#[rstest]
#[actix_web::test]
async fn a_process_serves_on_though_somebody_changed_the_trail(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server.admin().create_registry("one").await;
    let change = match backend {
        Backend::Sqlite => "UPDATE meta SET value = x'00' WHERE name = 'audit-chains'",
        Backend::Postgres => "UPDATE meta SET value = '\\x00' WHERE name = 'audit-chains'",
    };
    server.database.execute(change);
    let replica = server.replica().await;
    replica.admin().create_registry("two").await;
    assert_eq!(faults(&server).await.len(), 1);
}

/// A column of a table, as the database describes it: its name, its type in small letters, and whether it may be null.
fn columns(server: &Server, table: &str) -> Vec<(String, String, bool)> {
    let described = match server.database.backend {
        Backend::Sqlite => format!(
            "SELECT name || ' ' || lower(type) || ' ' || (CASE WHEN \"notnull\" = 0 THEN 'nullable' ELSE 'whole' END) \
             AS line FROM pragma_table_info('{table}')"
        ),
        Backend::Postgres => format!(
            "SELECT column_name || ' ' || data_type || ' ' || (CASE is_nullable WHEN 'YES' THEN 'nullable' ELSE 'whole' END) \
             AS line FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = '{table}'"
        ),
    };
    let column = |line: String| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut next = || words.next().unwrap();
        (next(), next(), next() == "nullable")
    };
    let lines = server.database.lines(&described);
    lines.into_iter().map(column).collect()
}

#[rstest]
#[actix_web::test]
async fn a_change_of_any_column_of_an_event_is_found(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let account = admin.create_account("bob", &[]).await;
    admin.set_member(&registry, &account, "reader").await;
    assert_eq!(faults(&server).await, Vec::<String>::new());
    server
        .database
        .execute("CREATE TABLE kept_events AS SELECT * FROM audit_events");
    // The membership: it has all that an event can have.
    let victim = "kind = 'create' AND subject_kind = 'member'";
    let all = "actor IS NOT NULL AND actor_name IS NOT NULL AND registry IS NOT NULL AND subject IS NOT NULL AND address IS NOT NULL";
    let whole = format!("SELECT COUNT(*) FROM audit_events WHERE {victim} AND {all}");
    assert_eq!(server.database.number(&whole), 1);
    let columns = columns(&server, "audit_events");
    assert!(columns.len() >= 14, "{columns:?}");
    for (column, r#type, nullable) in columns {
        let mut values = vec![match r#type.as_str() {
            "bigint" => format!("{column} + 1000"),
            "text" => format!("{column} || 'x'"),
            "blob" => format!("zeroblob(length({column}))"),
            "bytea" => format!("decode(repeat('00', length({column})), 'hex')"),
            other => panic!("say here how a column of the type {other} is changed"),
        }];
        if nullable {
            values.push("NULL".to_owned());
        }
        for value in values {
            server.database.execute(&format!(
                "UPDATE audit_events SET {column} = {value} WHERE {victim}"
            ));
            let found = faults(&server).await;
            assert!(!found.is_empty(), "{column} = {value} is not noticed");
            server.database.execute("DELETE FROM audit_events");
            server
                .database
                .execute("INSERT INTO audit_events SELECT * FROM kept_events");
            assert_eq!(faults(&server).await, Vec::<String>::new(), "{column}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn the_number_of_chains_cannot_be_written_by_who_has_no_key(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server.admin().create_registry("one").await;
    let replica = server.replica().await;
    replica.admin().create_registry("two").await;
    assert_eq!(faults(&server).await, Vec::<String>::new());
    // The later chain goes as a whole, and the number, in the second eight bytes, is set to the rest.
    let last = "(SELECT MAX(chain) FROM audit_chains)";
    server
        .database
        .execute(&format!("DELETE FROM audit_events WHERE chain = {last}"));
    server
        .database
        .execute(&format!("DELETE FROM audit_chains WHERE chain = {last}"));
    let left = server.database.number("SELECT COUNT(*) FROM audit_chains");
    let hex = match backend {
        Backend::Sqlite => "hex(value)",
        Backend::Postgres => "encode(value, 'hex')",
    };
    let number = server.database.lines(&format!(
        "SELECT {hex} AS line FROM meta WHERE name = 'audit-chains'"
    ));
    let forged = format!("{}{left:016x}{}", &number[0][..16], &number[0][32..]);
    let forged = match backend {
        Backend::Sqlite => format!("x'{forged}'"),
        Backend::Postgres => format!("decode('{forged}', 'hex')"),
    };
    server.database.execute(&format!(
        "UPDATE meta SET value = {forged} WHERE name = 'audit-chains'"
    ));
    let found = faults(&server).await;
    assert_eq!(
        found,
        ["the number of audit chains was changed outside the service"]
    );
}

#[rstest]
#[actix_web::test]
async fn the_janitor_neither_cuts_nor_seals_a_chain_that_somebody_changed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    // The first two events go, and the row says that it begins behind them: only its seal is as it was. Or it names a key
    // that there is not.
    #[values(
        "SET base_sequence = 2, base_mac = (SELECT mac FROM audit_events AS e WHERE e.chain = audit_chains.chain AND e.sequence = 2)",
        "SET data_key = 4711"
    )]
    change: &str,
) {
    let server = Server::start_with(backend, &["--audit-retention", "1h"]).await;
    let admin = server.admin();
    for name in ["one", "two", "three", "four"] {
        admin.create_registry(name).await;
    }
    let replica = server.replica().await;
    replica.admin().create_registry("of-replica").await;
    let chain = server
        .database
        .number("SELECT MIN(chain) FROM audit_chains");
    let others = format!("SELECT COUNT(*) FROM audit_events WHERE chain <> {chain}");
    let others = server.database.number(&others);
    server.database.execute(&format!(
        "UPDATE audit_chains {change} WHERE chain = {chain}"
    ));
    if change.contains("base_sequence") {
        server.database.execute(&format!(
            "DELETE FROM audit_events WHERE chain = {chain} AND sequence <= 2"
        ));
    }
    let before = faults(&server).await;
    assert_eq!(before.len(), 1, "{before:?}");
    let kept = told(&admin, "").await.len();
    server.clock.advance(TimeDelta::hours(2));
    let janitor = server.service.janitor();
    let round = janitor.run("test");
    let round = within_patience(round, "the round of the janitor has not ended").await;
    // The old events of others go.
    let gone = round.unwrap().unwrap().events;
    assert_eq!(i64::try_from(gone).unwrap(), others);
    assert_eq!(told(&admin, "").await.len(), kept - gone);
    assert_eq!(faults(&server).await, before);
}

/// A secret in force of every kind that people may paste, by its prefix.
async fn live_secrets(server: &Server, registry: &str) -> Vec<(&'static str, String)> {
    let admin = server.admin();
    let token = admin.mint(registry, "ci", &["repository:a:pull"]).await;
    let login = [("service", "team-a.localhost"), ("offline_token", "true")];
    let issued = server.client(&token).ask("/token", &login).await;
    let wish = json!({"name": "a", "roles": ["Admin"]});
    let generated = admin.post("/v1/apitokens/generate", wish).await;
    let title = json!({"title": "t"});
    let titled = admin.post("/api/v1/user/apptoken", title).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let secrets = vec![
        ("whrt_", token.secret),
        ("whrr_", text(&issued.json["refresh_token"])),
        ("eyJ", text(&issued.json["token"])),
        ("eyJ", text(&generated.json["token"])),
        ("WHA", text(&titled.json["token"]["token_code"])),
    ];
    for (beginning, secret) in &secrets {
        assert!(secret.starts_with(beginning), "{beginning} {secret}");
    }
    secrets
}

#[rstest]
#[actix_web::test]
async fn no_event_tells_a_secret_that_somebody_took_for_a_name(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let secrets = live_secrets(&server, &registry).await;
    let before = told(&admin, "").await.len();
    let created = |answer: &Answer| {
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    };
    for (place, (_, secret)) in secrets.iter().enumerate() {
        let wish =
            json!({"name": secret.chars().take(1000).collect::<String>(), "roles": ["Analyst"]});
        created(&admin.post("/v1/apitokens/generate", wish).await);
        // A name and a title hold 255 characters, and a JWT has more.
        let short: String = secret.chars().take(255).collect();
        let title = json!({"title": short});
        created(&admin.post("/api/v1/user/apptoken", title).await);
        let account = json!({"properties": {"name": short, "password": "right-password", "roles": ["Admin"]}});
        created(&admin.post("/accounts", account).await);
        // The account of that name is named in its own events.
        let person = server.actor(&short, "right-password");
        let wish = json!({"name": "by-it", "roles": ["Analyst"]});
        created(&person.post("/v1/apitokens/generate", wish).await);
        let scope = json!({"type": "repository", "name": short, "actions": ["pull", short]});
        let token = json!({"name": format!("token-{place}"), "scopes": [scope]});
        let token = admin.mint_with(&registry, token).await;
        let less = json!({"scopes": []});
        created(&admin.patch(&token.path, less).await);
    }
    server.service.flush_audit(true).await.unwrap();

    let events = told(&admin, "").await;
    let told: Vec<String> = events[before..].iter().map(Value::to_string).collect();
    assert!(told.len() >= 6 * secrets.len(), "{told:?}");
    for (beginning, secret) in &secrets {
        let most: String = secret.chars().take(beginning.len() + 16).collect();
        for event in &told {
            assert!(!event.contains(&most), "{most} in {event}");
        }
        let masked = format!("{beginning}[masked]");
        assert!(
            told.iter().filter(|event| event.contains(&masked)).count() >= 6,
            "{masked} in {told:?}"
        );
    }
    assert_eq!(faults(&server).await, Vec::<String>::new());
}
