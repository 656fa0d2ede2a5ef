//! Frozen registries: nothing opens them, at `/token` and at `/v2/check`, by any credential, until they are thawed.

use std::sync::Arc;

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    ADMIN_PASSWORD, Actor, Answer, Backend, Database, Minted, Program, Server, WITHOUT_BACKGROUND,
    encoded,
};
use crate::program::{beside, end};

const SERVICE: &str = "team-a.localhost";
const SCOPE: &str = "repository:app/web:pull";

/// A server with a registry, one token in it, and one of another registry.
struct Bench {
    server: Server,
    admin: Actor,
    path: String,
    token: Minted,
    elsewhere: Minted,
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        Self::with(Server::start(backend).await).await
    }

    async fn with(server: Server) -> Self {
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let token = admin
            .mint(&registry, "ci", &["repository:app/*:pull,push"])
            .await;
        let other = admin.create_registry("team-b").await;
        let elsewhere = admin
            .mint(&other, "ci", &["repository:app/*:pull,push"])
            .await;
        Self {
            server,
            admin,
            path: format!("/registries/{registry}"),
            token,
            elsewhere,
        }
    }

    async fn set(&self, frozen: bool) -> Answer {
        let answer = self
            .admin
            .patch(&self.path, json!({"frozen": frozen}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(is_frozen(&answer), frozen, "{answer:?}");
        answer
    }
}

/// A registry that is not frozen does not say so.
fn is_frozen(answer: &Answer) -> bool {
    match answer.json["properties"].get("frozen") {
        None => false,
        Some(frozen) => {
            assert_eq!(*frozen, true, "{answer:?}");
            true
        }
    }
}

/// Every kind of a client's credentials: of a token, an account, a member, an app token, and what was issued for them.
struct Clients {
    /// By HTTP Basic.
    basic: Vec<(&'static str, String, String)>,
    /// Refresh tokens.
    refresh: Vec<(&'static str, String)>,
    /// JWTs.
    jwts: Vec<(&'static str, String)>,
}

impl Clients {
    async fn of(bench: &Bench) -> Self {
        let (admin, server) = (&bench.admin, &bench.server);
        let bob = admin.create_account("bob", &[]).await;
        let registry = bench.path.rsplit('/').next().unwrap();
        admin.set_member(registry, &bob, "owner").await;
        let app = admin
            .post("/api/v1/user/apptoken", json!({"title": "laptop"}))
            .await;
        let code = app.json["token"]["token_code"].as_str().unwrap().to_owned();
        let owned = |(what, name, secret): (&'static str, &str, &str)| {
            (what, name.to_owned(), secret.to_owned())
        };
        let basic: Vec<_> = [
            ("token", bench.token.name.as_str(), &*bench.token.secret),
            ("admin", "admin", ADMIN_PASSWORD),
            ("owner", "bob", "right-password"),
            ("app token", "$app", &*code),
        ]
        .map(owned)
        .into();
        let (mut refresh, mut jwts) = (Vec::new(), Vec::new());
        for (what, name, secret) in &basic {
            let query = [
                ("service", SERVICE),
                ("scope", SCOPE),
                ("offline_token", "true"),
            ];
            let answer = server.actor(name, secret).ask("/token", &query).await;
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            let text = |member: &str| answer.json[member].as_str().unwrap().to_owned();
            refresh.push((*what, text("refresh_token")));
            jwts.push((*what, text("token")));
        }
        Self {
            basic,
            refresh,
            jwts,
        }
    }

    /// The status that each credential gets on each road that it can take.
    async fn statuses(&self, server: &Server) -> Vec<(String, u16)> {
        let mut found = Vec::new();
        let query = [("service", SERVICE), ("scope", SCOPE)];
        for (what, name, secret) in &self.basic {
            let client = server.actor(name, secret);
            let form = [&query[..], &password_grant(name, secret)].concat();
            for (road, answer) in [
                ("GET /token", client.ask("/token", &query).await),
                ("GET /v2/auth", client.ask("/v2/auth", &query).await),
                (
                    "POST /token",
                    server.anonymous().form("/token", &form).await,
                ),
                ("/v2/check", check(&client).await),
            ] {
                found.push((format!("{what}: {road}"), answer.status));
            }
        }
        for (what, token) in &self.refresh {
            let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
            let form = [&query[..], &grant, &[("client_id", "test")]].concat();
            let by_form = server.anonymous().form("/token", &form).await;
            let client = server.actor("<token>", token);
            found.push((format!("{what}: refresh, POST"), by_form.status));
            let by_password = client.ask("/token", &query).await;
            found.push((format!("{what}: refresh, GET"), by_password.status));
            let checked = check(&client).await;
            found.push((format!("{what}: refresh, /v2/check"), checked.status));
        }
        for (what, jwt) in &self.jwts {
            let checked = check(&server.bearer(jwt)).await;
            found.push((format!("{what}: JWT, /v2/check"), checked.status));
        }
        found
    }
}

fn password_grant<'a>(name: &'a str, secret: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("grant_type", "password"),
        ("client_id", "test"),
        ("username", name),
        ("password", secret),
    ]
}

/// A proxy's question about a pull.
async fn check(client: &Actor) -> Answer {
    let path = format!("/v2/check?{}", encoded(&[("service", SERVICE)]));
    let request = client
        .request(Method::GET, &path)
        .header("x-original-method", "GET")
        .header("x-original-uri", "/v2/app/web/manifests/latest");
    client.send(request).await
}

fn all(found: &[(String, u16)], status: u16) {
    let others: Vec<_> = found.iter().filter(|(_, got)| *got != status).collect();
    assert!(others.is_empty(), "not {status}: {others:?}");
    assert_eq!(found.len(), 4 * 4 + 4 * 3 + 4);
}

#[rstest]
#[actix_web::test]
async fn nothing_opens_a_frozen_registry_and_all_do_when_it_is_thawed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let clients = Clients::of(&bench).await;
    all(&clients.statuses(&bench.server).await, 200);
    bench.set(true).await;
    all(&clients.statuses(&bench.server).await, 401);
    // Another replica heeds it too, and another registry is open.
    let replica = bench.server.replica().await;
    all(&clients.statuses(&replica).await, 401);
    let query = [("service", "team-b.localhost"), ("scope", SCOPE)];
    let elsewhere = bench.server.client(&bench.elsewhere);
    assert_eq!(elsewhere.ask("/token", &query).await.status, 200);
    bench.set(false).await;
    all(&clients.statuses(&bench.server).await, 200);
}

/// A thief learns nothing about a secret from a frozen registry.
#[rstest]
#[actix_web::test]
async fn a_right_secret_is_refused_like_a_wrong_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    bench.set(true).await;
    let query = [("service", SERVICE), ("scope", SCOPE)];
    let right = bench.server.client(&bench.token);
    let wrong = bench
        .server
        .actor(&bench.token.name, &bench.elsewhere.secret);
    let told = |answer: Answer| {
        let challenge = answer.header("www-authenticate").to_owned();
        (answer.status, answer.text, challenge)
    };
    let answers = [
        told(right.ask("/token", &query).await),
        told(wrong.ask("/token", &query).await),
    ];
    assert_eq!(answers[0], answers[1]);
    assert_eq!(told(check(&right).await), told(check(&wrong).await));
}

#[rstest]
#[actix_web::test]
async fn the_management_of_a_frozen_registry_goes_on(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = &bench.admin;
    bench.set(true).await;
    let shown = admin.get(&bench.path).await;
    assert!(is_frozen(&shown), "{shown:?}");
    let listed = admin.get("/registries").await;
    assert_eq!(listed.json["items"][0]["properties"]["frozen"], true);
    assert_eq!(listed.json["items"][1]["properties"].get("frozen"), None);
    let registry = bench.path.rsplit('/').next().unwrap();
    let made = admin.mint(registry, "new", &["repository:a:pull"]).await;
    let rotate = format!("{}/rotate", made.path);
    let rotated = admin.post(&rotate, json!({"gracePeriod": "PT0S"})).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    assert_eq!(admin.delete(&made.path).await.status, 204);
    let keys = admin.get(&format!("{}/jwks.json", bench.path)).await;
    assert_eq!(keys.status, 200, "{keys:?}");
    assert_eq!(admin.delete(&bench.path).await.status, 204);
}

/// A client that does not know the member, such as Terraform.
#[rstest]
#[actix_web::test]
async fn a_client_that_does_not_know_of_it_does_not_thaw(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = &bench.admin;
    let first = bench.set(true).await;
    bench.server.clock.advance(chrono::TimeDelta::hours(1));
    // Frozen again, nothing changes.
    let again = bench.set(true).await;
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(again.json, first.json);
    let bare = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    for answer in [
        admin.put(&bench.path, bare.clone()).await,
        admin
            .patch(&bench.path, json!({"maximumTokenLife": "P1D"}))
            .await,
        admin.patch(&bench.path, json!({"frozen": null})).await,
        admin.put(&bench.path, first.json.clone()).await,
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(is_frozen(&answer), "{answer:?}");
    }
    let mut open = bare;
    open["properties"]["frozen"] = json!(false);
    let thawed = admin.put(&bench.path, open.clone()).await;
    assert!(!is_frozen(&thawed), "{thawed:?}");
    // A new one may be frozen from the start.
    open["properties"] = json!({"name": "team-c", "location": "de/fra", "frozen": true});
    let made = admin.post("/registries", open).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert!(is_frozen(&made), "{made:?}");
    for wrong in [json!("yes"), json!(1), json!({})] {
        let answer = admin.patch(&bench.path, json!({"frozen": wrong})).await;
        assert_eq!(answer.codes(), ["invalid-frozen"], "{answer:?}");
    }
}

#[rstest]
#[actix_web::test]
async fn the_audit_trail_tells_who_froze_it_and_what_was_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let clients = Clients::of(&bench).await;
    bench.set(true).await;
    clients.statuses(&bench.server).await;
    bench.set(false).await;
    let events = async |query: &str| {
        let answer = bench.admin.get(&format!("/audit?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["items"].as_array().unwrap().clone()
    };
    let updates = events("kind=update").await;
    let changes = |event: &Value| {
        let detail = &event["detail"];
        (
            detail["before"]["frozen"].clone(),
            detail["after"]["frozen"].clone(),
        )
    };
    let told: Vec<_> = updates.iter().map(changes).collect();
    assert_eq!(
        told,
        [(json!(true), Value::Null), (Value::Null, json!(true))]
    );
    bench.server.service.flush_audit(true).await.unwrap();
    let refusals = events("kind=refuse&limit=1000").await;
    let registry = bench.path.rsplit('/').next().unwrap();
    let kinds: std::collections::BTreeSet<_> = refusals
        .iter()
        .filter(|event| event["detail"]["reason"] == "registry-frozen")
        .inspect(|event| assert_eq!(event["registry"], registry, "{event}"))
        .map(|event| event["subjectKind"].as_str().unwrap())
        .collect();
    assert_eq!(Vec::from_iter(kinds), ["account", "app-token", "token"]);
}

#[rstest]
#[actix_web::test]
async fn an_evaluation_says_that_the_registry_is_frozen(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let evaluate = async || {
        let path = format!("{}/evaluate", bench.token.path);
        let answer = bench.admin.post(&path, json!({"scope": SCOPE})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    };
    bench.set(true).await;
    let frozen = evaluate().await;
    assert_eq!(
        (&frozen["usable"], &frozen["scope"]),
        (&json!(false), &json!(""))
    );
    let reason = frozen["reason"].as_str().unwrap();
    assert!(reason.starts_with("the registry is frozen"), "{reason}");
    bench.set(false).await;
    assert_eq!(evaluate().await["usable"], true);
}

/// Its password is right, and elsewhere it has work to do.
#[rstest]
#[actix_web::test]
async fn an_account_that_goes_on_asking_does_not_have_to_wait_elsewhere(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = ["--failures-per-identity", "3", WITHOUT_BACKGROUND];
    let bench = Bench::with(Server::start_with(backend, &flags).await).await;
    bench.set(true).await;
    let query = [("service", SERVICE), ("scope", SCOPE)];
    let service = &bench.server.service;
    let checks = service.password_checks();
    for _ in 0..5 {
        let answer = bench.admin.ask("/token", &query).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    assert_eq!(bench.admin.get(&bench.path).await.status, 200);
    assert_eq!(service.password_checks(), checks);
}

#[rstest]
#[actix_web::test]
async fn owners_and_admins_freeze_and_thaw(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let registry = bench.path.rsplit('/').next().unwrap();
    let (freeze, thaw) = (json!({"frozen": true}), json!({"frozen": false}));
    for (name, role, level, expected) in [
        ("owner", None, Some("owner"), [200, 200]),
        ("maintainer", None, Some("maintainer"), [403, 403]),
        ("reader", None, Some("reader"), [403, 403]),
        ("stranger", None, None, [404, 404]),
        ("analyst", Some("Analyst"), None, [403, 403]),
        ("other-admin", Some("Admin"), None, [200, 200]),
    ] {
        let roles = Vec::from_iter(role);
        let account = bench.admin.create_account(name, &roles).await;
        if let Some(level) = level {
            bench.admin.set_member(registry, &account, level).await;
        }
        let actor = bench.server.actor(name, "right-password");
        let frozen = actor.patch(&bench.path, freeze.clone()).await.status;
        bench.set(true).await;
        let thawed = actor.patch(&bench.path, thaw.clone()).await.status;
        assert_eq!([frozen, thawed], expected, "{name}");
        bench.set(false).await;
    }
}

/// To freeze is to narrow, to thaw is to widen.
#[rstest]
#[actix_web::test]
async fn who_may_not_delete_images_freezes_and_does_not_thaw(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    bench.server.database.execute(
        "INSERT INTO roles (name, description, built_in) VALUES ('Registrar', '', 0); \
         INSERT INTO role_permissions (role_key, resource, level) \
         SELECT key, 'Registry', 2 FROM roles WHERE name = 'Registrar'",
    );
    let bob = bench.admin.create_account("bob", &["Registrar"]).await;
    let registry = bench.path.rsplit('/').next().unwrap();
    bench.admin.set_member(registry, &bob, "maintainer").await;
    let bob = bench.server.actor("bob", "right-password");
    let frozen = bob.patch(&bench.path, json!({"frozen": true})).await;
    assert_eq!(frozen.status, 200, "{frozen:?}");
    let thawed = bob.patch(&bench.path, json!({"frozen": false})).await;
    assert_eq!(thawed.status, 403, "{thawed:?}");
    assert!(thawed.message().contains("thawing"), "{thawed:?}");
    assert!(is_frozen(&bench.admin.get(&bench.path).await));
}

/// An account that made all changes of its hour may still freeze.
#[actix_web::test]
async fn a_freeze_never_waits() {
    let flags = ["--changes-per-hour", "8"];
    let bench = Bench::with(Server::start_with(Backend::Sqlite, &flags).await).await;
    let change = async |number: usize| {
        let body = json!({"description": format!("{number}")});
        bench.admin.patch(&bench.path, body).await.status
    };
    let mut number = 0;
    while change(number).await == 200 {
        number += 1;
    }
    assert_eq!(change(number).await, 429);
    bench.set(true).await;
    let thawed = bench
        .admin
        .patch(&bench.path, json!({"frozen": false}))
        .await;
    assert_eq!(thawed.status, 429, "{thawed:?}");
}

#[rstest]
#[actix_web::test]
async fn commands_freeze_and_thaw_beside_a_running_server(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let server = Program::start(&database);
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let token = admin.mint(&id, "ci", &["repository:app/*:pull"]).await;
    let client = Actor::of(admin.base(), &token.name, &token.secret);
    let query = [("service", SERVICE), ("scope", SCOPE)];
    let command = |arguments: &[&str]| end(beside(&database).arg("registry").args(arguments));
    for (arguments, said, status) in [
        (["freeze", "team-a"], "team-a is frozen: ", 401),
        (["freeze", &id], "team-a is frozen already.", 401),
        (["thaw", &id], "team-a is thawed: ", 200),
        (["thaw", "team-a"], "team-a is not frozen.", 200),
    ] {
        let told = command(&arguments).ok();
        assert!(told.starts_with(said), "{arguments:?}: {told}");
        let answer = client.ask("/token", &query).await;
        assert_eq!(answer.status, status, "{arguments:?}");
    }
    command(&["freeze", "team-b"]).refused(1, &["registry", "team-b", "not found"]);
    let events = admin.get("/audit?kind=update").await;
    let events = events.json["items"].as_array().unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
    let by = |event: &Value| event["detail"]["credential"]["kind"] == "command";
    assert!(events.iter().all(by), "{events:?}");
}
