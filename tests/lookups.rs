//! The lookup of a secret that was found: who is told of it, its end in the same call, and how it finds its token.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Output, Stdio};
use std::sync::Arc;

use actix_web::rt::spawn;
use chrono::TimeDelta;
use rstest::rstest;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use wharfinger::clock::{Random, SystemRandom};
use wharfinger::domain::secret::token_secret;

use crate::harness::{
    ADMIN_PASSWORD, Actor, Answer, Backend, Database, Minted, Program, Server, WITHOUT_BACKGROUND,
    fill,
};

const PATH: &str = "/tokens/lookup";
const SERVICE: &str = "team-a.localhost";
const PULL: &str = "repository:a:pull";
/// Tokens without lookups.
const WITHOUT: &str = "SELECT COUNT(*) FROM tokens WHERE lookup IS NULL OR lookup_version <> secret_version \
    OR (previous_digest IS NOT NULL AND previous_lookup IS NULL)";
/// Makes every token one of a release that knew no lookups.
const FORGET: &str =
    "UPDATE tokens SET lookup = NULL, lookup_version = NULL, previous_lookup = NULL";

/// A server with a registry and a token in it.
struct Bench {
    server: Server,
    admin: Actor,
    registry: String,
    token: Minted,
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        Self::with(Server::start_with(backend, &[WITHOUT_BACKGROUND]).await).await
    }

    async fn with(server: Server) -> Self {
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let token = admin.mint(&registry, "ci", &[PULL]).await;
        Self {
            server,
            admin,
            registry,
            token,
        }
    }

    /// The registry's token with another secret.
    async fn rotate(&self, grace: &str) -> Minted {
        let path = format!("{}/rotate", self.token.path);
        let answer = self.admin.post(&path, json!({"gracePeriod": grace})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let secret = &answer.json["properties"]["credentials"]["password"];
        Minted {
            secret: secret.as_str().unwrap().to_owned(),
            ..self.token.clone()
        }
    }

    /// The status of a login, whose use is then written.
    async fn log_in(&self, token: &Minted) -> u16 {
        let answer = self
            .server
            .client(token)
            .ask("/token", &[("service", SERVICE)])
            .await;
        self.server.service.flush_usage().await.unwrap();
        answer.status
    }

    fn without_lookup(&self) -> i64 {
        self.server.database.number(WITHOUT)
    }

    /// An account that is a member of the registry, or of none.
    async fn member(&self, name: &str, level: Option<&str>) -> Actor {
        let account = self.admin.create_account(name, &[]).await;
        if let Some(level) = level {
            self.admin.set_member(&self.registry, &account, level).await;
        }
        self.server.actor(name, "right-password")
    }
}

async fn look(actor: &Actor, secret: &str) -> Answer {
    actor.post(PATH, json!({"secret": secret})).await
}

async fn end(actor: &Actor, secret: &str, action: &str) -> Answer {
    let answer = actor
        .post(PATH, json!({"secret": secret, "action": action}))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json["ended"], true, "{answer:?}");
    assert_eq!(answer.json["usable"], false, "{answer:?}");
    answer
}

async fn found(actor: &Actor, secret: &str) -> Value {
    let answer = look(actor, secret).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

async fn is_unknown(actor: &Actor, secret: &str) -> bool {
    let answer = look(actor, secret).await;
    assert!([200, 404].contains(&answer.status), "{answer:?}");
    answer.status == 404
}

/// An answer without the headers that differ between any two answers.
fn shape(answer: &Answer) -> (u16, BTreeMap<String, String>, String) {
    let headers = answer.headers.iter().filter_map(|(name, value)| {
        let own = name == "date" || name == "x-request-id";
        (!own).then(|| (name.to_string(), value.to_str().unwrap().to_owned()))
    });
    (answer.status, headers.collect(), answer.text.clone())
}

/// A secret in the right form that opens nothing.
fn unknown() -> String {
    let random: &dyn Random = &SystemRandom;
    let secret = token_secret(random.bytes().unwrap());
    secret.expose_secret().to_owned()
}

async fn events(admin: &Actor, query: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/audit/export?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = answer.text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn app_token(actor: &Actor, title: &str) -> String {
    let made = actor
        .post("/api/v1/user/apptoken", json!({"title": title}))
        .await;
    made.json["token"]["token_code"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn api_token(actor: &Actor, role: &str) -> String {
    let wish = json!({"name": "t", "role": role});
    let made = actor.post("/v1/apitokens/generate", wish).await;
    made.json["token"].as_str().unwrap().to_owned()
}

/// What a login to the registry gives: a JWT and a refresh token.
async fn login(client: &Actor) -> [String; 2] {
    let asked = [("service", SERVICE), ("offline_token", "true")];
    let answer = client.ask("/token", &asked).await;
    let text = |name: &str| answer.json[name].as_str().unwrap().to_owned();
    [text("token"), text("refresh_token")]
}

#[rstest]
#[actix_web::test]
async fn a_registry_token_is_told_of_whole(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("", "/containerregistries")] prefix: &str,
) {
    let bench = Bench::new(backend).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let body = json!({"name": "cd", "expiryDate": "2027-01-13T16:27:42Z", "scopes": []});
    let token = admin.mint_with(&bench.registry, body).await;
    let made = admin.get(&token.path).await.json;
    assert_eq!(bench.log_in(&token).await, 200);
    // White space around it is the sender's.
    let body = json!({"secret": format!(" {}\n", token.secret)});
    let answer = admin.post(&format!("{prefix}{PATH}"), body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json,
        json!({
            "kind": "registry-token",
            "subjectKind": "token",
            "id": token.path.rsplit('/').next().unwrap(),
            "name": "cd",
            "registryId": bench.registry,
            "registryName": "team-a",
            "accountId": made["metadata"]["createdByUserId"],
            "accountName": "admin",
            "state": "enabled",
            "usable": true,
            "reason": null,
            "expiryDate": "2027-01-13T16:27:42Z",
            "scopes": made["properties"]["scopes"],
            "lastUsedDate": "2026-11-21T12:00:00Z",
            "lastUsedAddress": "127.0.0.1",
            "ended": false,
        })
    );
    assert_eq!(bench.log_in(&token).await, 200);
    let told = events(admin, "kind=lookup").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["actorName"], "admin");
    assert_eq!(told[0]["registry"], json!(bench.registry));
    assert_eq!(told[0]["subject"], answer.json["id"]);
    assert_eq!(told[0]["requestId"], answer.header("x-request-id"));
    assert_eq!(told[0]["detail"]["secretKind"], "registry-token");
    assert_eq!(
        server.service.audit().verify().await.unwrap().faults,
        Vec::<String>::new()
    );
}

#[rstest]
#[actix_web::test]
async fn every_other_kind_of_secret_is_found(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let code = app_token(admin, "first").await;
    let api_token = api_token(admin, "Analyst").await;
    let of_token = login(&server.client(&bench.token)).await;
    let of_app_token = login(&server.actor("$app", &code)).await;
    let of_account = login(admin).await;
    let [token, app, api, account] = ["token", "app-token", "api-token", "account"];
    let cases = [
        (&code, "app-token", app, "first", json!(["Admin"])),
        (&api_token, "api-token", api, "t", json!(["Analyst"])),
        (&of_token[0], "jwt", token, "ci", Value::Null),
        (&of_token[1], "refresh-token", token, "ci", Value::Null),
        (&of_app_token[0], "jwt", app, "first", json!(["Admin"])),
        (
            &of_app_token[1],
            "refresh-token",
            app,
            "first",
            json!(["Admin"]),
        ),
        (&of_account[0], "jwt", account, "admin", json!(["Admin"])),
        (
            &of_account[1],
            "refresh-token",
            account,
            "admin",
            json!(["Admin"]),
        ),
    ];
    for (secret, kind, subject_kind, name, roles) in cases {
        let told = found(admin, secret).await;
        assert_eq!(told["kind"], kind, "{told}");
        assert_eq!(told["subjectKind"], subject_kind, "{told}");
        assert_eq!(told["name"], name, "{told}");
        assert_eq!(told["roles"], roles, "{told}");
        assert_eq!(told["accountName"], "admin", "{told}");
        assert_eq!(told["usable"], true, "{told}");
        assert_eq!(told["scopes"].is_array(), subject_kind == token, "{told}");
        let event = events(admin, "kind=lookup").await.pop().unwrap();
        assert_eq!(event["subjectKind"], subject_kind, "{event}");
        assert_eq!(event["subject"], told["id"], "{event}");
        assert_eq!(event["detail"]["secretKind"], kind, "{event}");
    }
}

#[rstest]
#[actix_web::test]
async fn the_previous_secret_is_told_of_until_the_next_rotation(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let first = &bench.token;
    let second = bench.rotate("PT1H").await;
    let told = found(&bench.admin, &first.secret).await;
    assert_eq!(
        (&told["kind"], &told["usable"]),
        (&json!("previous-secret"), &json!(true))
    );
    // The end of this secret; the token itself has none.
    assert_eq!(told["secretExpiryDate"], "2026-11-21T13:00:00Z");
    assert_eq!(told["expiryDate"], Value::Null);
    let told = found(&bench.admin, &second.secret).await;
    assert_eq!(told.get("secretExpiryDate"), None, "{told}");
    assert_eq!(
        (&told["kind"], &told["usable"]),
        (&json!("registry-token"), &json!(true))
    );

    bench.server.clock.advance(TimeDelta::hours(1));
    let told = found(&bench.admin, &first.secret).await;
    assert_eq!(told["usable"], false);
    assert_eq!(
        told["reason"],
        "the secret was replaced and ended at 2026-11-21T13:00:00Z"
    );
    assert_eq!(told["state"], "enabled");

    let third = bench.rotate("PT0S").await;
    assert!(is_unknown(&bench.admin, &first.secret).await);
    assert_eq!(found(&bench.admin, &second.secret).await["usable"], false);
    assert_eq!(found(&bench.admin, &third.secret).await["usable"], true);
    assert_eq!(bench.without_lookup(), 0);
}

#[rstest]
#[actix_web::test]
async fn a_secret_of_somebody_else_looks_like_one_of_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(true, false)] walked: bool,
) {
    let bench = Bench::new(backend).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let code = app_token(admin, "first").await;
    let [jwt, refresh] = login(&server.client(&bench.token)).await;
    let api_token = api_token(admin, "Analyst").await;
    let [_, of_account] = login(admin).await;
    let callers = [
        bench.member("reader", Some("reader")).await,
        bench.member("nobody", None).await,
        server.analyst(),
        server.bearer(&self::api_token(admin, "Analyst").await),
    ];
    if walked {
        server.database.execute(FORGET);
    }
    let secrets = [
        &bench.token.secret,
        &code,
        &api_token,
        &refresh,
        &jwt,
        &of_account,
    ];
    for caller in &callers {
        // The first request proves the password.
        let expected = shape(&look(caller, &unknown()).await);
        assert_eq!(expected.0, 404);
        server.service.flush_audit(true).await.unwrap();
        let calls = server.service.store_calls();
        look(caller, &unknown()).await;
        let calls = server.service.store_calls() - calls;
        for secret in secrets {
            for body in [
                json!({"secret": secret}),
                json!({"secret": secret, "action": "delete"}),
            ] {
                let before = server.service.store_calls();
                assert_eq!(shape(&caller.post(PATH, body).await), expected);
                let made = server.service.store_calls() - before;
                if *secret == bench.token.secret {
                    assert_eq!(made, calls);
                }
            }
        }
    }
    assert_eq!(events(admin, "kind=lookup").await, Vec::<Value>::new());
    assert_eq!(bench.log_in(&bench.token).await, 200);
}

#[rstest]
#[actix_web::test]
async fn an_account_is_told_of_what_it_may_write(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let maintainer = bench.member("maintainer", Some("maintainer")).await;
    let nobody = bench.member("nobody", None).await;
    let (code, other) = (
        app_token(&nobody, "own").await,
        app_token(&maintainer, "own").await,
    );
    let told = found(&maintainer, &bench.token.secret).await;
    assert_eq!(
        (&told["name"], &told["accountName"]),
        (&json!("ci"), &json!("admin"))
    );
    assert_eq!(found(&nobody, &code).await["accountName"], "nobody");
    assert!(is_unknown(&nobody, &other).await);
    for code in [&code, &other] {
        assert_eq!(found(&bench.admin, code).await["subjectKind"], "app-token");
    }
    // A role that manages tokens everywhere is enough for those, and for nothing else.
    let builder = bench
        .server
        .bearer(&api_token(&bench.admin, "Continuous Integration").await);
    assert_eq!(found(&builder, &bench.token.secret).await["name"], "ci");
    assert!(is_unknown(&builder, &app_token(&bench.admin, "own").await).await);
    // An own API token, whatever its role.
    let own = api_token(&bench.admin, "Analyst").await;
    assert!(is_unknown(&builder, &own).await);
    assert_eq!(found(&bench.admin, &own).await["kind"], "api-token");
}

/// Makes a registry API token and returns it with its id.
async fn registry_api_token(maker: &Actor, registry: &str, level: &str) -> (String, String) {
    let path = format!("/registries/{registry}/api-tokens");
    let body = json!({"properties": {"name": "nightly", "level": level}});
    let made = maker.post(&path, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        text(&made.json["properties"]["token"]),
        text(&made.json["id"]),
    )
}

#[rstest]
#[actix_web::test]
async fn a_registry_api_token_is_told_of_with_its_registry_and_its_level(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let maintainer = bench.member("maintainer", Some("maintainer")).await;
    let (secret, id) = registry_api_token(&maintainer, &bench.registry, "maintainer").await;
    let told = found(&bench.admin, &secret).await;
    for (member, expected) in [
        ("kind", json!("registry-api-token")),
        ("subjectKind", json!("api-token")),
        ("id", json!(id)),
        ("registryId", json!(bench.registry)),
        ("registryName", json!("team-a")),
        ("level", json!("maintainer")),
        ("accountName", json!("maintainer")),
        ("state", json!("enabled")),
        ("usable", json!(true)),
    ] {
        assert_eq!(told[member], expected, "{member}: {told}");
    }
    assert_eq!(told.get("roles"), None, "{told}");
    let event = events(&bench.admin, "kind=lookup").await.pop().unwrap();
    assert_eq!(event["registry"], bench.registry, "{event}");
    assert_eq!(event["detail"]["secretKind"], "registry-api-token");
    assert_eq!(event["detail"]["after"]["level"], "maintainer", "{event}");
    assert_eq!(event["detail"]["after"].get("roles"), None, "{event}");

    // A maker who lost the registry has a token that opens nothing.
    let account = told["accountId"].as_str().unwrap();
    let path = format!("/registries/{}/members/{account}", bench.registry);
    assert_eq!(bench.admin.delete(&path).await.status, 204);
    let told = found(&bench.admin, &secret).await;
    assert_eq!(told["usable"], false);
    assert_eq!(
        told["reason"],
        "its maker may not see the registry any more"
    );
    // An other token has no such members.
    let told = found(&bench.admin, &api_token(&bench.admin, "Analyst").await).await;
    assert_eq!(told["kind"], "api-token");
    for absent in ["level", "registryId", "registryName", "memberships"] {
        assert_eq!(told.get(absent), None, "{absent}: {told}");
    }
}

#[rstest]
#[actix_web::test]
async fn whoever_may_revoke_a_registry_api_token_may_look_it_up_and_end_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let other = bench.admin.create_registry("team-b").await;
    let maintainer = bench.member("maintainer", Some("maintainer")).await;
    let owner = bench.member("owner", Some("owner")).await;
    let elsewhere = bench.admin.create_account("elsewhere", &[]).await;
    bench.admin.set_member(&other, &elsewhere, "owner").await;
    let elsewhere = bench.server.actor("elsewhere", "right-password");
    let colleague = bench.member("colleague", Some("maintainer")).await;
    let registry = &bench.registry;
    let (own, _) = registry_api_token(&maintainer, registry, "reader").await;
    let strangers = [
        elsewhere,
        colleague,
        bench.server.analyst(),
        bench.server.bearer(&own),
    ];
    for ender in [&maintainer, &owner, &bench.admin] {
        let (secret, id) = registry_api_token(&maintainer, registry, "maintainer").await;
        for stranger in &strangers {
            assert!(is_unknown(stranger, &secret).await);
        }
        assert_eq!(found(ender, &secret).await["id"], json!(id));
        let answer = end(ender, &secret, "disable").await;
        assert_eq!(answer.json["state"], "revoked");
        assert_eq!(bench.server.bearer(&secret).get("/me").await.status, 401);
    }
}

#[rstest]
#[actix_web::test]
async fn a_revocation_is_one_event_of_one_shape_on_every_road(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (admin, registry) = (&bench.admin, &bench.registry);
    let mut details = Vec::new();
    for road in ["registry", "all", "own", "lookup"] {
        let (secret, id) = registry_api_token(admin, registry, "reader").await;
        let path = match road {
            "registry" => format!("/registries/{registry}/api-tokens/{id}"),
            "all" => format!("/api-tokens/{id}"),
            _ => format!("/me/api-tokens/{id}"),
        };
        if road == "lookup" {
            end(admin, &secret, "disable").await;
        } else {
            assert_eq!(admin.delete(&path).await.status, 204, "{road}");
        }
        let told = events(admin, &format!("kind=revoke&subject={id}")).await;
        assert_eq!(told.len(), 1, "{road}: {told:?}");
        assert_eq!(told[0]["registry"], json!(registry), "{road}");
        let mut detail = told[0]["detail"].clone();
        assert_eq!(detail["after"]["status"], "revoked", "{road}: {detail}");
        assert_eq!(detail["after"]["level"], "reader", "{road}: {detail}");
        detail["credential"] = Value::Null;
        details.push(detail);
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
    let secret = api_token(admin, "Analyst").await;
    let id = end(admin, &secret, "disable").await.json["id"].clone();
    let told = events(
        admin,
        &format!("kind=revoke&subject={}", id.as_str().unwrap()),
    )
    .await;
    assert_eq!(told[0]["detail"]["after"]["roles"], json!(["Analyst"]));
}

#[rstest]
#[actix_web::test]
async fn what_acts_for_an_account_is_told_of_with_the_registries_that_it_opens(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let member = bench.member("member", Some("reader")).await;
    let code = app_token(&member, "laptop").await;
    let membership =
        json!([{"registryId": bench.registry, "registryName": "team-a", "level": "reader"}]);
    let [of_app, of_account] = [
        login(&server.actor("$app", &code)).await,
        login(&member).await,
    ];
    for (secret, is_login, ends) in [
        (&code, false, false),
        (&of_app[0], true, true),
        (&of_app[1], true, false),
        (&of_account[0], true, true),
        (&of_account[1], true, false),
    ] {
        for viewer in [admin, &member] {
            let told = found(viewer, secret).await;
            assert_eq!(told["memberships"], membership, "{told}");
            assert_eq!(told["membershipTotal"], 1, "{told}");
            let expected = is_login.then_some("team-a");
            assert_eq!(told["registryName"].as_str(), expected, "{told}");
            let expected = ends.then_some("2026-11-21T12:05:00Z");
            assert_eq!(told["secretExpiryDate"].as_str(), expected, "{told}");
        }
    }
    // An account that may end the tokens of all accounts and knows of no registry is told of none.
    server
        .database
        .execute("INSERT INTO roles (name, description, built_in) VALUES ('Clerk', '', 0)");
    server.database.execute(
        "INSERT INTO role_permissions (role_key, resource, level) \
         SELECT key, 'Access', 2 FROM roles WHERE name = 'Clerk'",
    );
    server.add_account("clerk", "right-password", "Clerk").await;
    let clerk = server.actor("clerk", "right-password");
    for secret in [&code, &of_account[1]] {
        let told = found(&clerk, secret).await;
        assert_eq!(told["accountName"], "member");
        for absent in [
            "memberships",
            "membershipTotal",
            "registryId",
            "registryName",
        ] {
            assert_eq!(told.get(absent), None, "{absent}: {told}");
        }
    }
    // A login to a frozen registry opens nothing.
    let frozen = json!({"frozen": true});
    let path = format!("/registries/{}", bench.registry);
    assert_eq!(admin.patch(&path, frozen).await.status, 200);
    assert_eq!(found(admin, &of_account[1]).await["usable"], false);
    assert_eq!(found(admin, &code).await["usable"], true);
}

#[rstest]
#[actix_web::test]
async fn a_token_ends_in_the_same_call(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let replica = server.replica().await;
    // May not push, and ends a token that does.
    let maintainer = bench.member("maintainer", Some("maintainer")).await;
    let token = admin
        .mint(&bench.registry, "cd", &["repository:a:delete"])
        .await;
    let [jwt, refresh] = login(&server.client(&token)).await;
    let answer = end(&maintainer, &token.secret, "disable").await;
    assert_eq!(answer.json["state"], "disabled");
    assert_eq!(answer.json["reason"], "this request ended it");
    let login = [("service", SERVICE)];
    assert_eq!(
        replica.client(&token).ask("/token", &login).await.status,
        401
    );
    let shown = admin.get(&token.path).await.json;
    assert_eq!(shown["metadata"]["lastModifiedBy"], "maintainer");
    // A JWT leads to its token for its few minutes, a refresh token has ended for good.
    assert_eq!(found(admin, &jwt).await["reason"], "the token is disabled");
    assert!(is_unknown(admin, &refresh).await);

    // Again, it has nothing left to end.
    let again = json!({"secret": token.secret, "action": "disable"});
    let again = maintainer.post(PATH, again).await;
    assert_eq!((again.status, &again.json["ended"]), (200, &json!(false)));
    assert_eq!(again.json["reason"], "the token is disabled");
    let answer = end(&maintainer, &token.secret, "delete").await;
    assert_eq!(answer.json["state"], "deleted");
    assert_eq!(admin.get(&token.path).await.status, 404);
    assert!(is_unknown(admin, &token.secret).await);

    let subject = format!("subject={}", answer.json["id"].as_str().unwrap());
    let kinds: Vec<_> = events(admin, &subject).await;
    let kinds: Vec<_> = kinds
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect();
    let told = [
        "create", "login", "lookup", "update", "refuse", "lookup", "lookup", "lookup", "delete",
    ];
    let changes = |kinds: &[&str]| {
        let kinds = kinds
            .iter()
            .filter(|kind| !["login", "refuse"].contains(kind));
        kinds.map(|kind| (*kind).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(changes(&kinds), changes(&told));
    server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn a_previous_secret_ends_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let second = bench.rotate("PT1H").await;
    assert_eq!(bench.log_in(&bench.token).await, 200);
    let answer = end(&bench.admin, &bench.token.secret, "disable").await;
    assert_eq!(answer.json["kind"], "previous-secret");
    assert_eq!(answer.json["state"], "enabled");
    assert_eq!(bench.log_in(&bench.token).await, 401);
    assert_eq!(bench.log_in(&second).await, 200);
}

#[rstest]
#[actix_web::test]
async fn other_credentials_end_as_their_kind_does(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("disable", "delete")] action: &str,
) {
    let bench = Bench::new(backend).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let (code, api_token) = (
        app_token(admin, "first").await,
        api_token(admin, "Admin").await,
    );
    let answer = end(admin, &code, action).await;
    assert_eq!(answer.json["state"], "deleted");
    let asked = [("service", SERVICE)];
    assert_eq!(
        server
            .actor("$app", &code)
            .ask("/token", &asked)
            .await
            .status,
        401
    );
    let answer = end(admin, &api_token, action).await;
    assert_eq!(answer.json["state"], "revoked");
    assert_eq!(
        server.bearer(&api_token).get("/registries").await.status,
        401
    );
    let revoked = events(admin, "kind=revoke").await;
    assert_eq!(
        (revoked.len(), &revoked[0]["actorName"]),
        (1, &json!("admin"))
    );
    // An account's password is not the business of this call.
    for secret in login(admin).await {
        let answer = admin
            .post(PATH, json!({"secret": secret, "action": action}))
            .await;
        assert_eq!(
            (answer.status, answer.codes()),
            (409, vec!["conflict"]),
            "{answer:?}"
        );
    }
    assert_eq!(admin.get("/registries").await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn a_token_of_an_earlier_release_is_walked_to_until_it_is_used(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let before = admin.create_registry("before").await;
    fill(server, &before, 1_010).await;
    let second = bench.rotate("PT1H").await;
    let other = admin.mint(&bench.registry, "cd", &[PULL]).await;
    server.database.execute(FORGET);
    let secrets = [&bench.token, &second, &other];
    for token in secrets {
        assert_eq!(found(admin, &token.secret).await["usable"], true);
    }
    assert_eq!(bench.without_lookup(), 1_012);
    // A use of either secret keeps its lookup, and none of a refused use.
    for (token, without) in [(&bench.token, 1_012), (&second, 1_011), (&other, 1_010)] {
        assert_eq!(bench.log_in(token).await, 200);
        assert_eq!(bench.without_lookup(), without);
    }
    // The lookups are those by which the index finds them: nothing is left to be walked.
    server.database.execute("UPDATE tokens SET lookup_version = secret_version, lookup = secret_digest WHERE lookup IS NULL");
    assert_eq!(bench.without_lookup(), 0);
    for token in secrets {
        assert_eq!(found(admin, &token.secret).await["usable"], true);
    }
    let versions = server.database.number("SELECT MAX(version) FROM tokens");
    assert_eq!(versions, 2, "a use changed a version");
}

#[rstest]
#[actix_web::test]
async fn a_secret_of_a_frozen_registry_is_told_of_and_opens_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let path = format!("/registries/{}", bench.registry);
    let frozen = bench.admin.patch(&path, json!({"frozen": true})).await;
    assert_eq!(frozen.status, 200);
    let told = found(&bench.admin, &bench.token.secret).await;
    assert_eq!(
        (&told["usable"], &told["state"]),
        (&json!(false), &json!("enabled"))
    );
    assert!(
        told["reason"].as_str().unwrap().contains("frozen"),
        "{told}"
    );
}

#[rstest]
#[actix_web::test]
async fn a_refused_use_keeps_no_lookup(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    bench.server.database.execute(FORGET);
    let wrong = Minted {
        secret: unknown(),
        ..bench.token.clone()
    };
    assert_eq!(bench.log_in(&wrong).await, 401);
    let patch = json!({"status": "disabled"});
    assert_eq!(
        bench.admin.patch(&bench.token.path, patch).await.status,
        200
    );
    assert_eq!(bench.log_in(&bench.token).await, 401);
    assert_eq!(bench.without_lookup(), 1);
}

#[rstest]
#[actix_web::test]
async fn a_note_of_a_use_never_lands_on_a_rotated_token(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    bench.server.database.execute(FORGET);
    let asked = [("service", SERVICE)];
    let used = bench
        .server
        .client(&bench.token)
        .ask("/token", &asked)
        .await;
    assert_eq!(used.status, 200);
    let second = bench.rotate("PT1H").await;
    bench.server.service.flush_usage().await.unwrap();
    // The rotation took no lookup along, and the note came too late.
    assert_eq!(bench.without_lookup(), 1);
    for token in [&bench.token, &second] {
        assert_eq!(found(&bench.admin, &token.secret).await["usable"], true);
    }
    assert_eq!(bench.log_in(&bench.token).await, 200);
    assert_eq!(bench.without_lookup(), 0);
    for token in [&bench.token, &second] {
        assert_eq!(found(&bench.admin, &token.secret).await["usable"], true);
    }
}

/// Rotates as an earlier release does beside this one: without a look at the lookups.
async fn rotate_by_an_earlier_release(bench: &Bench, grace: &str) -> Minted {
    let hex = match bench.server.database.backend {
        Backend::Sqlite => "hex(lookup)",
        Backend::Postgres => "encode(lookup, 'hex')",
    };
    let kept = format!("SELECT lookup_version || ' ' || {hex} AS line FROM tokens");
    let kept = bench.server.database.lines(&kept).remove(0);
    let (version, lookup) = kept.split_once(' ').unwrap();
    let lookup = match bench.server.database.backend {
        Backend::Sqlite => format!("X'{lookup}'"),
        Backend::Postgres => format!("'\\x{lookup}'"),
    };
    let token = bench.rotate(grace).await;
    bench.server.database.execute(&format!(
        "UPDATE tokens SET lookup = {lookup}, lookup_version = {version}, previous_lookup = NULL"
    ));
    token
}

#[rstest]
#[actix_web::test]
async fn a_rotation_by_an_earlier_release_leaves_no_secret_unfound(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let second = rotate_by_an_earlier_release(&bench, "PT1H").await;
    let known = async |token: &Minted, kind: &str| {
        assert_eq!(found(&bench.admin, &token.secret).await["kind"], kind);
    };
    assert_eq!(bench.without_lookup(), 1);
    known(&bench.token, "previous-secret").await;
    known(&second, "registry-token").await;
    // A use of the new secret keeps its lookup, and that of the old one moves on.
    assert_eq!(bench.log_in(&second).await, 200);
    assert_eq!(bench.without_lookup(), 0);
    known(&bench.token, "previous-secret").await;
    known(&second, "registry-token").await;

    // Between a rotation by an earlier release and one by this, a secret has no lookup.
    let third = rotate_by_an_earlier_release(&bench, "PT1H").await;
    let fourth = bench.rotate("PT1H").await;
    assert_eq!(bench.without_lookup(), 1);
    known(&third, "previous-secret").await;
    known(&fourth, "registry-token").await;
    assert!(is_unknown(&bench.admin, &second.secret).await);
    assert_eq!(bench.log_in(&third).await, 200);
    assert_eq!(bench.without_lookup(), 0);
    known(&third, "previous-secret").await;
    known(&fourth, "registry-token").await;
}

#[rstest]
#[actix_web::test]
async fn a_lookup_finds_and_proves_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let other = bench.admin.mint(&bench.registry, "cd", &[PULL]).await;
    // The lookup of one token in the row of another.
    bench.server.database.execute(
        "UPDATE tokens SET lookup = (SELECT lookup FROM tokens WHERE name = 'ci') WHERE name = 'cd'",
    );
    assert_eq!(found(&bench.admin, &bench.token.secret).await["name"], "ci");
    assert!(is_unknown(&bench.admin, &other.secret).await);
    bench
        .server
        .database
        .execute("DELETE FROM tokens WHERE name = 'ci'");
    assert!(is_unknown(&bench.admin, &bench.token.secret).await);
}

#[rstest]
#[actix_web::test]
async fn what_has_not_the_form_of_a_secret_is_refused_unread(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = &bench.admin;
    let secret = &bench.token.secret;
    let typo = format!("{secret}x");
    let long = format!("eyJ.a.{}", "a".repeat(8192));
    let mut cases: Vec<(Value, Vec<&str>)> = [
        "",
        "hunter22",
        ADMIN_PASSWORD,
        "whrr_",
        "eyJ.a",
        &typo,
        &long,
        &secret[1..],
    ]
    .into_iter()
    .map(|text| (json!({"secret": text}), vec!["invalid-secret"]))
    .collect();
    cases.extend([
        (
            json!({"secret": "hunter22", "action": "hunter23"}),
            vec!["invalid-action", "invalid-secret"],
        ),
        (
            json!({"secret": secret, "action": null}),
            vec!["invalid-action"],
        ),
        (
            json!({"secret": secret, "action": [secret]}),
            vec!["invalid-action"],
        ),
        (json!({"secret": [secret]}), vec!["invalid-secret"]),
        (json!({"action": "disable"}), vec!["invalid-secret"]),
        (
            json!({"hunter22": secret, "secret": secret}),
            vec!["invalid-body"],
        ),
        (json!({secret.as_str(): "hunter22"}), vec!["invalid-body"]),
        (json!("hunter22"), vec!["invalid-body"]),
        (json!(secret), vec!["invalid-body"]),
        (json!([secret]), vec!["invalid-body"]),
        (json!(null), vec!["invalid-body"]),
    ]);
    look(admin, secret).await;
    for (body, codes) in cases {
        bench.server.service.flush_audit(true).await.unwrap();
        let calls = bench.server.service.store_calls();
        let answer = admin.post(PATH, body.clone()).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, codes),
            "{body}: {answer:?}"
        );
        // The account is looked at, and no row of a token is.
        assert_eq!(bench.server.service.store_calls() - calls, 1, "{body}");
        for hidden in [&secret[..30], "hunter22", ADMIN_PASSWORD] {
            assert!(!answer.text.contains(hidden), "{body}: {answer:?}");
        }
    }
    let nobody = bench.server.anonymous();
    for body in [json!({"secret": "hunter22"}), json!({"secret": secret})] {
        assert_eq!(nobody.post(PATH, body).await.status, 401);
    }
}

#[rstest]
#[actix_web::test]
async fn no_more_than_a_few_wait_to_walk_the_tokens(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let before = bench.admin.create_registry("before").await;
    fill(&bench.server, &before, 4_400).await;
    bench
        .server
        .database
        .execute("UPDATE tokens SET lookup = NULL WHERE name <> 'ci'");
    assert_eq!(look(&bench.admin, &bench.token.secret).await.status, 200);
    let lookups: Vec<_> = (0..24)
        .map(|_| {
            let admin = bench.admin.clone();
            spawn(async move { look(&admin, &unknown()).await })
        })
        .collect();
    let (mut unknown, mut busy) = (0, 0);
    for answer in lookups {
        let answer = answer.await.unwrap();
        match answer.status {
            404 => unknown += 1,
            503 => {
                busy += 1;
                assert_eq!(answer.header("retry-after"), "1");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(
        unknown >= 4 && busy > 0,
        "{unknown} were answered, {busy} were not"
    );
    // What the index finds waits for nobody.
    assert_eq!(look(&bench.admin, &bench.token.secret).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn lookups_are_bounded_as_changes_are_and_ends_never(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = ["--changes-per-hour", "6"];
    let bench = Bench::with(Server::start_with(backend, &flags).await).await;
    let mut last = look(&bench.admin, &bench.token.secret).await;
    for _ in 0..6 {
        last = look(&bench.admin, &bench.token.secret).await;
    }
    assert_eq!(
        (last.status, last.codes()),
        (429, vec!["too-many-changes"]),
        "{last:?}"
    );
    end(&bench.admin, &bench.token.secret, "disable").await;
    // A token that has ended cannot be ended again, so this is no more than a look.
    let again = json!({"secret": bench.token.secret, "action": "disable"});
    let again = bench.admin.post("/tokens/lookup", again).await;
    assert_eq!(again.codes(), ["too-many-changes"], "{again:?}");
}

#[rstest]
#[actix_web::test]
async fn tokens_without_lookups_are_counted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let monitor = "a-monitor-of-these-tests-0123456789";
    let bench = Bench::with(Server::start_with(backend, &["--metrics-token", monitor]).await).await;
    let counted = async || {
        bench.server.service.metrics().refresh().await.unwrap();
        let scrape = bench.server.bearer(monitor).get("/metrics").await.text;
        let mut lines = scrape.lines();
        let line = lines.find_map(|line| line.strip_prefix("wharfinger_tokens_without_lookup "));
        line.unwrap().to_owned()
    };
    assert_eq!(counted().await, "0");
    let before = bench.admin.create_registry("before").await;
    // More than are counted at once.
    fill(&bench.server, &before, 10_100).await;
    bench
        .server
        .database
        .execute("UPDATE tokens SET lookup = NULL WHERE name <> 'ci'");
    assert_eq!(counted().await, "10100");
}

/// Runs a command with a secret on standard input.
pub fn run(database: &Database, arguments: &[&str], input: &str) -> Output {
    let mut command = Program::command(database);
    let command = command.args(arguments);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // A command that refuses may not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[rstest]
#[actix_web::test]
async fn the_commands_read_the_secret_from_standard_input(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::with(Server::start(backend).await).await;
    let (database, secret) = (&bench.server.database, &bench.token.secret);
    let input = format!("{secret}\n");
    let done = run(database, &["token", "lookup"], &input);
    assert!(done.status.success(), "{done:?}");
    for words in [
        "KIND        registry-token\nUSABLE      yes\nID ",
        "ci",
        "team-a (",
        "admin (",
        PULL,
    ] {
        assert!(said(&done).contains(words), "{words}: {}", said(&done));
    }
    let done = run(database, &["token", "end", "--output", "json"], &input);
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let answered = found(&bench.admin, secret).await;
    for member in [
        "kind",
        "id",
        "name",
        "registryId",
        "registryName",
        "accountId",
        "scopes",
        "state",
    ] {
        assert_eq!(told[member], answered[member], "{member}");
    }
    assert_eq!(
        (&told["ended"], &told["usable"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(bench.log_in(&bench.token).await, 401);
    let shown = bench.admin.get(&bench.token.path).await.json;
    assert_eq!(shown["metadata"]["lastModifiedBy"], "command");
    let done = run(database, &["token", "end", "--delete"], &input);
    assert!(
        done.status.success() && said(&done).contains("deleted"),
        "{done:?}"
    );
    for (input, words) in [
        (input.as_str(), "nothing here has this secret"),
        ("hunter22", "form of a secret"),
        ("", "form of a secret"),
    ] {
        let refused = run(database, &["token", "lookup"], input);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(said(&refused).contains(words), "{}", said(&refused));
        assert!(!said(&refused).contains("hunter22"), "{refused:?}");
    }
    let told = events(&bench.admin, "kind=lookup").await;
    let by_command = told
        .iter()
        .filter(|event| event["detail"]["credential"]["kind"] == "command");
    assert_eq!(by_command.count(), 3, "{told:?}");
}

#[rstest]
#[actix_web::test]
async fn the_commands_say_what_people_ask_for(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::with(Server::start(backend).await).await;
    let database = &bench.server.database;
    let (secret, _) = registry_api_token(&bench.admin, &bench.registry, "reader").await;
    let shown = said(&run(database, &["token", "lookup"], &secret));
    assert!(
        shown.starts_with("KIND        registry-api-token\nUSABLE      yes\nID"),
        "{shown}"
    );
    assert!(shown.contains("\nREGISTRY    team-a ("), "{shown}");
    assert!(shown.contains("\nLEVEL       reader\n"), "{shown}");
    for absent in ["ROLES", "OF ", "ENDED"] {
        assert!(!shown.contains(absent), "{absent}: {shown}");
    }
    let json = run(database, &["token", "lookup", "--output", "json"], &secret);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&json["level"], &json["registryName"]),
        (&json!("reader"), &json!("team-a"))
    );
    for (time, ended) in ["by this command", "before"].into_iter().enumerate() {
        let done = run(database, &["token", "end"], &secret);
        assert!(done.status.success(), "{done:?}");
        assert!(
            said(&done).contains(&format!("\nENDED       {ended}\n")),
            "{time}: {done:?}"
        );
    }

    let frozen = run(database, &["registry", "freeze", "team-a"], "");
    assert!(
        said(&frozen).contains("that were given out before"),
        "{frozen:?}"
    );
    let shown = said(&run(database, &["token", "lookup"], &bench.token.secret));
    assert!(
        shown.contains("USABLE      no: the registry is frozen"),
        "{shown}"
    );
    assert!(
        shown.contains("`wharfinger registry thaw team-a`"),
        "{shown}"
    );
    assert!(!shown.contains("PATCH"), "{shown}");

    let member = bench.member("member", Some("reader")).await;
    let code = app_token(&member, "laptop").await;
    let shown = said(&run(database, &["token", "lookup"], &code));
    assert!(shown.contains("\nMEMBER OF   team-a (reader)"), "{shown}");
    assert!(!shown.contains("ROLES"), "{shown}");
}

#[actix_web::test]
async fn a_secret_that_is_typed_at_a_terminal_is_not_shown() {
    let bench = Bench::with(Server::start(Backend::Sqlite).await).await;
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let terminal = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = || {
        let options = File::options().read(true).write(true).clone();
        options.open(&terminal).unwrap()
    };
    let mut command = Program::command(&bench.server.database);
    let mut child = command
        .args(["token", "lookup"])
        .stdin(terminal())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut prompt = [0; 32];
    // Once the prompt is there, nothing is shown any more.
    stderr.read_exact(&mut prompt).unwrap();
    assert_eq!(&prompt, b"The secret, which is not shown: ");
    let kept = terminal();
    let mut master = File::from(master);
    // A slip, which is taken back, and the line end, which ends it.
    writeln!(master, "x\u{7f}{}", bench.token.secret).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(
        said(&done).contains("KIND        registry-token"),
        "{done:?}"
    );
    let modes = tcgetattr(&kept).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON));
    // All that the terminal showed of what was typed.
    writeln!(&kept, "end").unwrap();
    let mut shown = BufReader::new(master).lines();
    let shown = shown.find(|line| !line.as_ref().unwrap().trim().is_empty());
    assert_eq!(shown.unwrap().unwrap().trim(), "end");
}

#[rstest]
#[actix_web::test]
async fn no_secret_is_written_anywhere(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let mut command = Program::command(&database);
    command.args(["--log", "trace", "--log-format", "json", "--refresh-tokens"]);
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &[PULL]).await;
    let [jwt, refresh] = login(&admin).await;
    let typo = token.secret.replacen("whrt_", "whrt_x", 1);
    let strange = "a-secret-of-another-service-0123456789".to_owned();
    let secrets = [token.secret.clone(), refresh, jwt, unknown(), typo, strange];
    for secret in &secrets {
        look(&admin, secret).await;
        let key = [("idempotency-key", "once")];
        let request = admin
            .request(reqwest::Method::POST, PATH)
            .header(key[0].0, key[0].1);
        admin.send(request.json(&json!({"secret": secret}))).await;
        for body in [
            json!({secret.as_str(): 1}),
            json!(secret),
            json!({"secret": secret, "action": secret}),
        ] {
            assert_eq!(admin.post(PATH, body).await.status, 400);
        }
    }
    end(&admin, &token.secret, "disable").await;
    assert!(
        run(
            &database,
            &["--log", "trace", "token", "lookup"],
            &token.secret
        )
        .status
        .success()
    );
    let told = events(&admin, "").await;
    assert!(told.iter().any(|event| event["kind"] == "lookup"));
    let rows = match backend {
        Backend::Sqlite => Vec::new(),
        Backend::Postgres => ["audit_events", "tokens", "idempotency"]
            .iter()
            .flat_map(|table| {
                database.lines(&format!(
                    "SELECT CAST({table} AS TEXT) AS line FROM {table}"
                ))
            })
            .collect(),
    };
    program.signal("TERM");
    let (status, log) = program.wait();
    assert!(status.success());

    let mut places = vec![("the log".to_owned(), log.into_bytes())];
    places.push(("the rows".to_owned(), rows.join("\n").into_bytes()));
    places.push(("the trail".to_owned(), json!(told).to_string().into_bytes()));
    for entry in std::fs::read_dir(database.folder()).unwrap() {
        let path = entry.unwrap().path();
        places.push((
            path.display().to_string(),
            std::fs::read(&path).unwrap_or_default(),
        ));
    }
    for (place, bytes) in places {
        for secret in &secrets {
            let piece = &secret.as_bytes()[..30.min(secret.len())];
            let piece = if secret.starts_with("eyJ") {
                secret.as_bytes()
            } else {
                piece
            };
            let found = bytes.windows(piece.len()).any(|window| window == piece);
            assert!(!found, "{place} has {secret}");
        }
    }
}
