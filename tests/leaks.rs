//! Leaked secrets: the right to report them, the end of their credentials, answers that reveal nothing, and the
//! patterns for scanners.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::rt::spawn;
use chrono::TimeDelta;
use regex::Regex;
use reqwest::Method;
use rstest::rstest;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use wharfinger::clock::{Random, SystemRandom};
use wharfinger::domain::secret::{app_token_code, token_secret};

use crate::harness::{
    ADMIN_PASSWORD, Actor, Answer, Backend, Database, Minted, Program, Server, WITHOUT_BACKGROUND,
    fill,
};
use crate::workload::password_of;

const REPORT: &str = "/secret-scanning/report";
/// The scanner's token.
const SCANNER: &str = "scanner-of-these-tests-0123456789";
const FLAGS: [&str; 2] = ["--secret-scanning-token", SCANNER];
const SERVICE: &str = "team-a.localhost";
const PULL: &str = "repository:a:pull";

/// Everything that can leak, just made.
struct Secrets {
    registry: String,
    token: Minted,
    code: String,
    api_token: String,
    /// Of another registry token, of another app token, and of an account's password.
    refresh: [String; 3],
    /// The token behind the first of those.
    other: Minted,
}

impl Secrets {
    async fn make(server: &Server) -> Self {
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let token = admin.mint(&registry, "ci", &[PULL]).await;
        let other = admin.mint(&registry, "cd", &[PULL]).await;
        let code = async |title: &str| {
            let made = admin
                .post("/api/v1/user/apptoken", json!({"title": title}))
                .await;
            made.json["token"]["token_code"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let wish = json!({"name": "t", "role": "Admin"});
        let made = admin.post("/v1/apitokens/generate", wish).await;
        let second = code("second").await;
        let refresh = [
            refresh_token(&server.client(&other)).await,
            refresh_token(&server.actor("$app", &second)).await,
            refresh_token(&admin).await,
        ];
        Self {
            code: code("first").await,
            api_token: made.json["token"].as_str().unwrap().to_owned(),
            registry,
            token,
            other,
            refresh,
        }
    }

    fn all(&self) -> Vec<&str> {
        let [one, two, three] = &self.refresh;
        vec![
            &self.token.secret,
            &self.code,
            &self.api_token,
            one,
            two,
            three,
        ]
    }

    /// The statuses of a use of each, in that order.
    async fn used(&self, server: &Server) -> Vec<u16> {
        let login = [("service", SERVICE)];
        let mut used = vec![
            server
                .client(&self.token)
                .ask("/token", &login)
                .await
                .status,
            server
                .actor("$app", &self.code)
                .ask("/token", &login)
                .await
                .status,
            server
                .bearer(&self.api_token)
                .get("/registries")
                .await
                .status,
        ];
        for token in &self.refresh {
            let form = [
                ("grant_type", "refresh_token"),
                ("service", SERVICE),
                ("client_id", "test"),
                ("refresh_token", token),
            ];
            used.push(server.anonymous().form("/token", &form).await.status);
        }
        used
    }
}

async fn refresh_token(client: &Actor) -> String {
    let asked = [("service", SERVICE), ("offline_token", "true")];
    let answer = client.ask("/token", &asked).await;
    answer.json["refresh_token"].as_str().unwrap().to_owned()
}

/// A report of strings, as GitHub words it.
fn report(tokens: &[&str]) -> Value {
    let item = |token: &&str| json!({"token": token, "type": "some_type", "url": "https://example.com/x", "source": "content"});
    tokens.iter().map(item).collect()
}

async fn send(server: &Server, body: Value) -> Answer {
    server.bearer(SCANNER).post(REPORT, body).await
}

/// Every event that meets a query, the oldest first.
async fn told(admin: &Actor, query: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/audit/export?{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let events = answer.text.lines();
    events
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn leaks(admin: &Actor) -> Vec<Value> {
    told(admin, "kind=leak").await
}

/// An answer without the headers that differ between any two answers.
fn shape(answer: &Answer) -> (u16, BTreeMap<String, String>, String) {
    let headers = answer.headers.iter().filter_map(|(name, value)| {
        let own = name == "date" || name == "x-request-id";
        (!own).then(|| (name.to_string(), value.to_str().unwrap().to_owned()))
    });
    (answer.status, headers.collect(), answer.text.clone())
}

/// Strings in the right form that open nothing.
fn unknown() -> [String; 2] {
    let random: &dyn Random = &SystemRandom;
    let text = |secret: SecretString| secret.expose_secret().to_owned();
    [
        text(token_secret(random.bytes().unwrap())),
        text(app_token_code(random.bytes().unwrap())),
    ]
}

#[rstest]
#[actix_web::test]
async fn what_leaked_opens_nothing_from_its_next_use_on(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("", "/containerregistries")] prefix: &str,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let replica = server.replica().await;
    let admin = server.admin();
    // More than are looked through at once, before and after.
    let before = admin.create_registry("before").await;
    fill(&server, &before, 1_010).await;
    let secrets = Secrets::make(&server).await;
    let after = admin.create_registry("after").await;
    fill(&server, &after, 1_010).await;
    if prefix.is_empty() {
        // As tokens of an earlier release: a walk over all of them finds the secrets.
        let forget = "UPDATE tokens SET lookup = NULL, lookup_version = NULL";
        server.database.execute(forget);
    }
    assert_eq!(secrets.used(&replica).await, [200; 6]);

    // Spaces around it are the scanner's.
    let mut body = report(&secrets.all());
    body[0]["token"] = json!(format!("  {} ", secrets.token.secret));
    let path = format!("{prefix}{REPORT}");
    let answer = server.bearer(SCANNER).post(&path, body.clone()).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (202, ""),
        "{answer:?}"
    );
    // The account keeps its access.
    assert_eq!(secrets.used(&replica).await, [401, 401, 401, 401, 401, 200]);
    assert_eq!(replica.admin().get("/registries").await.status, 200);
    for token in [&secrets.token, &secrets.other] {
        let shown = admin.get(&token.path).await.json;
        assert_eq!(shown["properties"]["status"], "disabled");
        let metadata = &shown["metadata"];
        assert_eq!(metadata["state"], "disabled");
        assert_eq!(metadata["lastModifiedBy"], "secret scanner");
    }
    let listed = admin.get("/v1/apitokens?revoked=true").await;
    assert_eq!(listed.json["tokens"].as_array().unwrap().len(), 1);
    let listed = admin.get("/api/v1/user/apptoken").await;
    assert_eq!(listed.json["tokens"], json!([]));

    let events = leaks(&admin).await;
    let line = |event: &Value| {
        let kind = event["subjectKind"].as_str().unwrap().to_owned();
        let word = |state: &str| {
            let record = &event["detail"][state];
            record["status"].as_str().unwrap_or("-").to_owned()
        };
        let gone = event["detail"]["after"].is_null();
        format!("{kind} {} {} {gone}", word("before"), word("after"))
    };
    let mut lines: Vec<_> = events.iter().map(line).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "account enabled enabled false",
            "api-token - revoked false",
            "app-token - - true",
            "app-token - - true",
            "token enabled disabled false",
            "token enabled disabled false",
        ]
    );
    for event in &events {
        assert_eq!(event["outcome"], "success");
        assert_eq!(event["actor"], Value::Null);
        assert_eq!(event["actorName"], Value::Null);
        assert_eq!(event["requestId"], answer.header("x-request-id"));
        assert_eq!(event["address"], "127.0.0.1");
        let detail = &event["detail"];
        assert_eq!(detail["credential"], json!({"kind": "secret-scanner"}));
        assert_eq!(detail["type"], "some_type");
        assert_eq!(detail["url"], "https://example.com/x");
        assert_eq!(detail["source"], "content");
        let registry = match event["subjectKind"].as_str().unwrap() {
            "token" => json!(secrets.registry),
            _ => Value::Null,
        };
        assert_eq!(event["registry"], registry);
    }
    let of_token: Vec<_> = events
        .iter()
        .filter(|e| e["subjectKind"] == "token")
        .collect();
    assert_eq!(of_token[0]["detail"]["before"]["version"], 1);
    assert_eq!(of_token[0]["detail"]["after"]["version"], 2);
    assert_eq!(
        server.service.audit().verify().await.unwrap().faults,
        Vec::<String>::new()
    );

    // Again: disabled and revoked credentials stay so and have events. Deleted ones are gone, as are the refresh tokens
    // of disabled ones.
    assert_eq!(send(&replica_of(&server).await, body).await.status, 202);
    let mut again: Vec<_> = leaks(&admin).await[events.len()..]
        .iter()
        .map(line)
        .collect();
    again.sort();
    assert_eq!(
        again,
        [
            "account enabled enabled false",
            "api-token - - false",
            "token disabled disabled false",
        ]
    );
    assert_eq!(
        admin.get(&secrets.token.path).await.json["properties"]["status"],
        "disabled"
    );
    server.database.check_totals();
}

async fn replica_of(server: &Server) -> Server {
    server.replica_with(&FLAGS).await
}

#[rstest]
#[actix_web::test]
async fn a_leaked_registry_api_token_is_told_of_with_its_registry_and_its_level(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let path = format!("/registries/{registry}/api-tokens");
    let wish = json!({"properties": {"name": "nightly", "level": "reader"}});
    let made = admin.post(&path, wish).await;
    let token = made.json["properties"]["token"].as_str().unwrap();
    let body = json!([{"token": token, "type": "t", "url": "", "source": "content"}]);
    assert_eq!(send(&server, body).await.status, 202);
    let events = leaks(&admin).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["subject"], made.json["id"]);
    assert_eq!(events[0]["registry"], registry);
    let detail = &events[0]["detail"];
    assert_eq!(detail["before"]["level"], "reader");
    let after = &detail["after"];
    assert_eq!(
        (&after["level"], &after["status"]),
        (&json!("reader"), &json!("revoked"))
    );
    assert_eq!(server.bearer(token).get("/me").await.status, 401);
}

#[rstest]
#[actix_web::test]
async fn every_report_is_answered_alike(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let secrets = Secrets::make(&server).await;
    let [token, code] = unknown();
    let mut typo = secrets.token.secret.clone();
    typo.replace_range(
        10..11,
        if typo.as_bytes()[10] == b'X' {
            "Y"
        } else {
            "X"
        },
    );
    let altered = format!("{}x", secrets.refresh[0]);
    let forged = format!("{}x", secrets.api_token);
    let jwt = server
        .client(&secrets.token)
        .ask("/token", &[("service", SERVICE)])
        .await;
    let jwt = jwt.json["token"].as_str().unwrap().to_owned();
    let reports: Vec<Vec<&str>> = vec![
        vec![""],
        vec!["hunter22", ADMIN_PASSWORD, SCANNER],
        vec![&typo],
        vec![&token],
        vec![&code],
        vec![&altered],
        vec![&forged],
        vec![&jwt],
        secrets.all(),
        secrets.all(),
    ];
    let mut shapes = Vec::new();
    for strings in reports {
        shapes.push(shape(&send(&server, report(&strings)).await));
    }
    assert_eq!((shapes[0].0, shapes[0].2.as_str()), (202, ""));
    for shape in &shapes {
        assert_eq!(shape, &shapes[0]);
    }
    // Only secrets that were reported whole count.
    let events = leaks(&server.admin()).await;
    assert_eq!(events.len(), 6 + 3, "{events:?}");
}

#[rstest]
#[actix_web::test]
async fn what_has_no_right_form_does_not_reach_the_database(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &[&FLAGS[..], &[WITHOUT_BACKGROUND]].concat()).await;
    let secrets = Secrets::make(&server).await;
    let cut = |text: &str| text[..text.len() - 1].to_owned();
    let mut wrong: Vec<_> = secrets.all().into_iter().map(cut).collect();
    // Cutting a base64 text within its last byte may leave the same bytes; a letter in front always changes them.
    wrong.extend(
        secrets
            .refresh
            .iter()
            .map(|text| text.replacen("whrr_", "whrr_A", 1)),
    );
    wrong.extend(
        [
            "",
            "whrt_",
            "WHA",
            "whrr_",
            "eyJ",
            "a.b.c",
            "ä\u{2028}",
            "hunter22",
        ]
        .map(str::to_owned),
    );
    let wrong: Vec<_> = wrong.iter().map(String::as_str).collect();
    let calls = async |body: Value| {
        // Background writes must not count among a request's calls.
        server.service.flush_audit(true).await.unwrap();
        let before = server.service.store_calls();
        assert_eq!(send(&server, body).await.status, 202);
        server.service.store_calls() - before
    };
    assert_eq!(calls(report(&wrong)).await, 0);
    // A secret's form costs calls: one to find its credential, and one to learn that no token is without a lookup.
    let [token, code] = unknown();
    assert_eq!(calls(report(&[&token])).await, 2);
    assert_eq!(calls(report(&[&code])).await, 1);
    assert_eq!(secrets.used(&server).await, [200; 6]);
}

#[rstest]
#[actix_web::test]
async fn it_is_open_to_the_scanner_alone_who_may_nothing_else(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let secrets = Secrets::make(&server).await;
    let admin = server.admin();
    let body = report(&[&secrets.token.secret]);
    let long = format!("{SCANNER}0");
    let actors = [
        server.anonymous(),
        admin.clone(),
        server.analyst(),
        server.actor("admin", SCANNER),
        server.client(&secrets.token),
        server.actor("$app", &secrets.code),
        server.bearer(&secrets.api_token),
        server.bearer(&secrets.token.secret),
        server.bearer(&SCANNER[1..]),
        server.bearer(&long),
        server.bearer(&SCANNER.to_uppercase()),
        server.bearer(""),
    ];
    let mut refused = Vec::new();
    for actor in &actors {
        // Nobody learns of further errors.
        for body in [&body, &json!({}), &json!([])] {
            refused.push(shape(&actor.post(REPORT, body.clone()).await));
        }
    }
    let (status, headers, _) = &refused[0];
    assert_eq!(*status, 401);
    assert_eq!(headers["www-authenticate"], r#"Bearer realm="wharfinger""#);
    assert_eq!(headers["cache-control"], "no-store");
    assert!(
        refused.iter().all(|other| other == &refused[0]),
        "{refused:?}"
    );
    server.service.flush_audit(true).await.unwrap();
    let events = told(&admin, "kind=refuse").await;
    let count: u64 = events
        .iter()
        .map(|event| event["detail"]["count"].as_u64().unwrap_or(1))
        .sum();
    // Five Bearers are counted; a request without one is no guess.
    assert_eq!(count, 5 * 3);
    assert!(
        events
            .iter()
            .all(|event| event["outcome"] == "unauthenticated")
    );

    let scanner = server.bearer(SCANNER);
    for path in [
        "/registries",
        "/accounts",
        "/audit",
        "/v1/auth/status",
        "/api/v1/user/apptoken",
    ] {
        assert_eq!(scanner.get(path).await.status, 401, "{path}");
    }
    let login = [("service", SERVICE)];
    for name in ["admin", "ci", "$app"] {
        let login = server.actor(name, SCANNER).ask("/token", &login).await;
        assert_eq!(login.status, 401, "{name}");
    }
    assert_eq!(secrets.used(&server).await, [200; 6]);

    // Without the setting the route does not exist for any caller.
    let replica = server.replica().await;
    for actor in [
        replica.anonymous(),
        replica.admin(),
        replica.bearer(SCANNER),
    ] {
        let answer = actor.post(REPORT, body.clone()).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (404, vec!["path-not-found"])
        );
        assert!(
            answer.message().contains("--secret-scanning-token"),
            "{}",
            answer.message()
        );
    }
    assert_eq!(secrets.used(&server).await, [200; 6]);
}

#[rstest]
#[actix_web::test]
async fn a_server_may_be_set_to_tell_and_leave_things_as_they_are(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = [&FLAGS[..], &["--leaked-tokens", "report"]].concat();
    let server = Server::start_with(backend, &flags).await;
    let secrets = Secrets::make(&server).await;
    assert_eq!(send(&server, report(&secrets.all())).await.status, 202);
    assert_eq!(secrets.used(&server).await, [200; 6]);
    let events = leaks(&server.admin()).await;
    assert_eq!(events.len(), 6);
    for event in events {
        assert!(event["detail"]["before"].is_object());
        assert_eq!(event["detail"]["before"], event["detail"]["after"]);
    }
}

#[rstest]
#[actix_web::test]
async fn what_is_over_or_gone_stays_as_it_is(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = [&FLAGS[..], &["--app-token-life", "1h"]].concat();
    let server = Server::start_with(backend, &flags).await;
    let admin = server.admin();
    let secrets = Secrets::make(&server).await;
    let expiring = admin
        .mint_with(
            &secrets.registry,
            json!({"name": "expiring", "expiryDate": "2026-11-21T13:00:00Z"}),
        )
        .await;
    let gone = admin.create_registry("gone").await;
    let gone_token = admin.mint(&gone, "ci", &[PULL]).await;
    assert_eq!(
        admin.delete(&format!("/registries/{gone}")).await.status,
        204
    );
    // A refresh token is worth nothing once the account it was given to has changed.
    let changed = admin.create_account("changed", &["Admin"]).await;
    let refresh = refresh_token(&server.actor("changed", "right-password")).await;
    let patch = json!({"password": "another-password"});
    assert_eq!(
        admin
            .patch(&format!("/accounts/{changed}"), patch)
            .await
            .status,
        200
    );
    // A new token with the id and the name of a deleted token is another token.
    let id = secrets.token.path.clone();
    assert_eq!(admin.delete(&id).await.status, 204);
    let again = json!({"properties": {"name": "ci"}});
    assert_eq!(admin.put(&id, again).await.status, 201);
    server.clock.advance(TimeDelta::hours(2));

    let strings = [
        expiring.secret.as_str(),
        &gone_token.secret,
        &refresh,
        &secrets.token.secret,
        &secrets.code,
    ];
    assert_eq!(send(&server, report(&strings)).await.status, 202);
    let events = leaks(&admin).await;
    let mut kinds: Vec<_> = events.iter().map(|event| &event["subjectKind"]).collect();
    kinds.sort_by_key(ToString::to_string);
    assert_eq!(kinds, ["app-token", "token"]);
    assert!(
        events
            .iter()
            .all(|event| event["detail"]["before"] == event["detail"]["after"])
    );
    for path in [&id, &expiring.path] {
        assert_eq!(
            admin.get(path).await.json["properties"]["status"],
            "enabled"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn one_event_tells_of_one_leak(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let secrets = Secrets::make(&server).await;
    let at = |token: &str, url: &str| json!({"token": token, "url": url});
    let search = format!("https://example.com/search?q={}&x=1", secrets.token.secret);
    let body = json!([
        at(&secrets.code, "https://example.com/1"),
        at(&secrets.code, "https://example.com/1"),
        at(&secrets.code, "https://example.com/2"),
        at(&secrets.token.secret, &search),
        // Members that GitHub adds are ignored.
        {"token": secrets.api_token, "type": null, "url": "", "added": {"later": [1]}},
    ]);
    assert_eq!(send(&server, body).await.status, 202);
    let events = leaks(&server.admin()).await;
    let mut urls: Vec<_> = events
        .iter()
        .map(|event| event["detail"]["url"].as_str().unwrap())
        .collect();
    urls.sort_unstable();
    assert_eq!(
        urls,
        [
            "",
            "https://example.com/1",
            "https://example.com/2",
            "https://example.com/search?q=[secret]&x=1"
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| event["detail"].get("type").is_none())
    );
}

#[rstest]
#[actix_web::test]
async fn reports_that_break_a_rule_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let secret = unknown()[0].clone();
    let many: Vec<_> = vec!["x"; 101];
    let cases = [
        (json!([]), vec!["invalid-body"]),
        (report(&many), vec!["invalid-body"]),
        (json!({}), vec!["invalid-body"]),
        (json!(null), vec!["invalid-body"]),
        (json!(secret), vec!["invalid-body"]),
        (json!([secret]), vec!["invalid-body"]),
        (json!([[secret]]), vec!["invalid-body"]),
        (json!([{}]), vec!["invalid-token"]),
        (json!([{"token": null}]), vec!["invalid-token"]),
        (json!([{"token": [secret]}]), vec!["invalid-token"]),
        (json!([{"token": "x".repeat(4097)}]), vec!["invalid-token"]),
        (
            json!([{"token": format!("{secret}\0")}]),
            vec!["invalid-token"],
        ),
        (json!([{"token": "x", "url": 5}]), vec!["invalid-url"]),
        (
            json!([{"token": secret, "type": "a\u{7f}"}, {"token": "x", "url": "ä".repeat(1025), "source": "a\nb"}]),
            vec!["invalid-type", "invalid-url", "invalid-source"],
        ),
    ];
    for (body, codes) in cases {
        let answer = send(&server, body.clone()).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, codes),
            "{body}: {answer:?}"
        );
        assert!(!answer.text.contains(&secret), "{answer:?}");
    }
    let longest = json!([{"token": "ä".repeat(4096), "type": "ä".repeat(1024), "url": "", "source": "ä".repeat(1024)}]);
    assert_eq!(send(&server, longest).await.status, 202);
    let whole = report(&vec!["x"; 100]);
    assert_eq!(send(&server, whole).await.status, 202);
    let text = server.bearer(SCANNER);
    let request = text
        .request(Method::POST, REPORT)
        .header("content-type", "text/plain")
        .body("[]");
    assert_eq!(text.send(request).await.status, 415);
}

#[rstest]
#[actix_web::test]
async fn reports_wait_for_each_other_and_no_more_than_a_few(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    fill(&server, &registry, 4_400).await;
    server.database.execute("UPDATE tokens SET lookup = NULL");
    let scanner = server.bearer(SCANNER);
    let reports: Vec<_> = (0..24)
        .map(|_| {
            let (scanner, body) = (scanner.clone(), report(&[&unknown()[0]]));
            spawn(async move { scanner.post(REPORT, body).await })
        })
        .collect();
    let (mut taken, mut busy) = (0, 0);
    for answer in reports {
        let answer = answer.await.unwrap();
        match answer.status {
            202 => taken += 1,
            503 => {
                busy += 1;
                assert_eq!(answer.header("retry-after"), "1");
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert!(
        taken >= 4 && busy > 0,
        "{taken} were taken, {busy} were not"
    );
    // A report without a look-up does not wait, and later reports find room.
    assert_eq!(send(&server, report(&[&unknown()[0]])).await.status, 202);
}

#[rstest]
#[actix_web::test]
async fn the_log_warns_by_ids_and_no_secret_is_written(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let mut command = Program::command(&database);
    command.args(["--log", "trace", "--log-format", "json", "--refresh-tokens"]);
    command.env("WHARFINGER_SECRET_SCANNING_TOKEN", SCANNER);
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &[PULL]).await;
    let typo = format!("{}x", token.secret);
    let refresh = refresh_token(&admin).await;
    let url = format!("https://example.com/?q={}", token.secret);
    let body = json!([
        {"token": token.secret, "url": url, "type": token.secret, "source": "content"},
        {"token": typo},
        {"token": refresh, "source": refresh},
    ]);
    let scanner = Actor::anonymous_of(&program.base);
    let request = scanner.request(Method::POST, REPORT).bearer_auth(SCANNER);
    assert_eq!(scanner.send(request.json(&body)).await.status, 202);
    assert_eq!(leaks(&admin).await.len(), 2);
    let events = leaks(&admin).await;
    let rows = match backend {
        Backend::Sqlite => Vec::new(),
        Backend::Postgres => database.lines("SELECT detail AS line FROM audit_events"),
    };
    program.signal("TERM");
    let (status, log) = program.wait();
    assert!(status.success());

    let mut places = vec![("the log".to_owned(), log.clone().into_bytes())];
    places.push(("the rows".to_owned(), rows.join("\n").into_bytes()));
    places.push((
        "the trail".to_owned(),
        json!(events).to_string().into_bytes(),
    ));
    for entry in std::fs::read_dir(database.folder()).unwrap() {
        let path = entry.unwrap().path();
        places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    for (place, bytes) in places {
        for secret in [&token.secret, &refresh, SCANNER] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{place} has {secret}");
        }
    }
    let warnings: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| {
            line["level"] == "WARN" && line["target"] == "wharfinger::service::leaks"
        })
        .collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let text = json!(warnings).to_string();
    let id = token.path.rsplit('/').next().unwrap();
    assert!(text.contains(id) && text.contains(&registry), "{text}");
    assert!(text.contains("give the account a new password"), "{text}");
}

/// The patterns of the rules for scanners, by the kind of secret, with the text that has to be near, in lower case.
fn patterns() -> BTreeMap<String, (Regex, String)> {
    let rules = include_str!("../examples/gitleaks.toml");
    let mut found = BTreeMap::new();
    for rule in rules.split("[[rules]]").skip(1) {
        let value = |begin: &str, end: &str| {
            let (_, rest) = rule.split_once(begin).unwrap();
            rest.split_once(end).unwrap().0.to_owned()
        };
        let pattern = Regex::new(&value("\nregex = '''", "'''\n")).unwrap();
        let keyword = value("\nkeywords = [\"", "\"]\n");
        found.insert(value("\nid = \"", "\"\n"), (pattern, keyword));
    }
    found
}

#[actix_web::test]
async fn scanners_find_every_kind_of_secret_and_nothing_else() {
    let server = Server::start(Backend::Sqlite).await;
    let secrets = Secrets::make(&server).await;
    let workload = password_of(&server, &secrets.registry).await;
    let patterns = patterns();
    let kinds: Vec<(&str, Vec<&str>)> = vec![
        (
            "wharfinger-registry-token",
            vec![&secrets.token.secret, &secrets.other.secret],
        ),
        ("wharfinger-app-token", vec![&secrets.code]),
        (
            "wharfinger-refresh-token",
            secrets.refresh.iter().map(String::as_str).collect(),
        ),
        ("wharfinger-api-token", vec![&secrets.api_token]),
        ("wharfinger-workload-password", vec![&workload]),
    ];
    let names: Vec<_> = kinds.iter().map(|(name, _)| *name).collect();
    let mut known: Vec<_> = patterns.keys().map(String::as_str).collect();
    known.sort_by_key(|name| names.iter().position(|other| other == name));
    assert_eq!(known, names);
    for (name, secrets) in &kinds {
        for secret in secrets {
            for text in [
                (*secret).to_owned(),
                format!("password: \"{secret}\"\n"),
                format!("curl -u ci:{secret} https://example.com"),
                format!("TOKEN={secret}\r\n"),
                format!("({secret})"),
                format!("https://ci:{secret}@example.com/"),
            ] {
                for (other, (pattern, keyword)) in &patterns {
                    assert!(other != name || text.to_lowercase().contains(keyword));
                    let found: Vec<_> = pattern
                        .find_iter(&text)
                        .map(|found| found.as_str())
                        .collect();
                    let expected = if other == name { vec![*secret] } else { vec![] };
                    assert_eq!(found, expected, "{other} in {text:?}");
                }
            }
        }
    }
    let jwt = server
        .client(&secrets.token)
        .ask("/token", &[("service", SERVICE)])
        .await;
    let (token, code) = (&secrets.token.secret, &secrets.code);
    for near in [
        token.replace("whrt_", "whrs_"),
        token[..43].to_owned(),
        format!("{token}0"),
        format!("x{token}"),
        token.to_uppercase(),
        code[..119].to_owned(),
        format!("{code}0"),
        format!("X{code}"),
        code.to_lowercase(),
        code.replacen("WHA", "WHB", 1),
        format!("whrr_{}", "a".repeat(59)),
        secrets.refresh[0].replace("whrr_", "whrx_"),
        secrets.api_token.rsplit_once('.').unwrap().0.to_owned(),
        jwt.json["token"].as_str().unwrap().to_owned(),
        "WHAT IS THIS".to_owned(),
    ] {
        for (name, (pattern, _)) in &patterns {
            assert!(!pattern.is_match(&near), "{name} in {near:?}");
        }
    }
    // The document shows the same patterns.
    let document = include_str!("../docs/SECURITY.md");
    for (name, (pattern, _)) in &patterns {
        let shown = document.contains(&format!("`{pattern}`"));
        assert!(shown || name == "wharfinger-api-token", "{name}: {pattern}");
    }
}

#[rstest]
#[case::name_and_password("https://bob:hunter2@example.com/x?y#z", "https://example.com/x?y#z")]
#[case::password("https://:hunter2@example.com/x", "https://example.com/x")]
#[case::name("https://hunter2@example.com/x", "https://example.com/x")]
#[case::percent_encoded("https://bob:hunter2%40@example.com/x", "https://example.com/x")]
#[case::other_scheme("ssh://git:hunter2@example.com:22/x.git", "ssh://example.com:22/x.git")]
#[case::none("https://example.com/@bob:x", "https://example.com/@bob:x")]
#[actix_web::test]
async fn the_address_of_a_leak_is_told_without_name_and_password(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[case] reported: &str,
    #[case] expected: &str,
) {
    let server = Server::start_with(backend, &FLAGS).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &[PULL]).await;
    let body = json!([{"token": token.secret, "url": reported}]);
    assert_eq!(send(&server, body).await.status, 202);
    let events = leaks(&admin).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["detail"]["url"], expected);
    assert!(!events[0].to_string().contains("hunter2"), "{events:?}");
}
