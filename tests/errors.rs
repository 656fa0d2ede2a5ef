//! Every kind of error on every surface, in one table: status, the headers for the next attempt, and the exact body.
//!
//! A surface is a list of errors by kind; a further surface is a line in `surfaces`. Errors that a surface cannot have
//! are not in its list.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server, Ticket};

/// The secret scanner's token.
const SCANNER: &str = "a-secret-scanner-of-this-table-01";
const NOBODY: &str = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11";

/// The kinds of errors, in the order of the table.
const KINDS: [&str; 33] = [
    "no credentials",
    "a wrong password",
    "a token that is none",
    "a token without a role",
    "no right CSRF token",
    "a session that is none",
    "a sign-in too long ago",
    "not permitted",
    "more than one holds",
    "an id of nothing",
    "an id of nothing, to be revoked",
    "an id that is none",
    "a path of nothing",
    "the registry's own data",
    "another method",
    "a query that breaks a rule",
    "no JSON",
    "a body of null",
    "a member of another type",
    "a missing member",
    "an unknown member",
    "a value that breaks a rule",
    "a name that is taken",
    "a state that is not wanted",
    "a key of another request",
    "a key of what has changed",
    "another content type",
    "a content encoding",
    "a body too large",
    "a body that does not arrive",
    "a foreign origin",
    "too many passwords to check",
    "no database",
];

/// A request, byte for byte but for its credentials.
#[derive(Debug, Clone)]
struct Sent {
    who: Who,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

#[derive(Debug, Clone, Copy)]
enum Who {
    Nobody,
    Wrong,
    Nonsense,
    Roleless,
    Delegate,
    Analyst,
    Member,
    Client,
    Admin,
}

/// By an Admin, who may do everything.
fn send(method: &'static str, path: impl Into<String>) -> Sent {
    Sent {
        who: Who::Admin,
        method,
        path: path.into(),
        headers: Vec::new(),
        body: String::new(),
    }
}

impl Sent {
    fn by(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn session(self, ticket: &Ticket) -> Self {
        self.with("Cookie", &ticket.cookie)
            .with("X-CSRF-Token", &ticket.csrf_token)
    }

    /// A body in full.
    fn body(self, kind: &str, body: &str) -> Self {
        let announced = self.announces(kind, body.len());
        Self {
            body: body.to_owned(),
            ..announced
        }
    }

    /// A body of which nothing comes.
    fn announces(self, kind: &str, length: usize) -> Self {
        self.with("Content-Type", kind)
            .with("Content-Length", &length.to_string())
    }
}

/// Ways to go wrong on one surface.
struct Surface {
    name: &'static str,
    errors: Vec<(&'static str, Sent)>,
    /// A request that succeeds with the right credentials; `None` if the surface needs no credentials.
    login: Option<Sent>,
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const FOREIGN: (&str, &str) = ("Origin", "https://evil.example.com");

/// Errors that all JSON bodies have in common.
fn bodies(method: &'static str, path: &str, good: &str) -> Vec<(&'static str, Sent)> {
    let sent = || send(method, path);
    vec![
        ("no JSON", sent().body(JSON, "{")),
        ("a body of null", sent().body(JSON, "null")),
        (
            "a content encoding",
            sent().with("Content-Encoding", "gzip").body(JSON, good),
        ),
        (
            "a body too large",
            sent().announces(JSON, wharfinger::http::BODY_LIMIT + 1),
        ),
        (
            "a body that does not arrive",
            sent().announces(JSON, good.len()),
        ),
        (
            "a foreign origin",
            sent().with(FOREIGN.0, FOREIGN.1).body(JSON, good),
        ),
    ]
}

fn credentials(login: &Sent) -> Vec<(&'static str, Sent)> {
    let by = |who| login.clone().by(who);
    vec![
        ("no credentials", by(Who::Nobody)),
        ("a wrong password", by(Who::Wrong)),
        ("a token that is none", by(Who::Nonsense)),
    ]
}

fn registries(name: &'static str, prefix: &str, registry: &str) -> Surface {
    let all = format!("{prefix}/registries");
    let good = json!({"properties": {"name": "team-b", "location": "de/fra"}}).to_string();
    let account =
        json!({"properties": {"name": "t", "password": "right-password", "roles": ["Admin"]}})
            .to_string();
    let make = |body: &str| send("POST", &all).body(JSON, body);
    let login = send("GET", &all);
    let errors = vec![
        ("a token without a role", login.clone().by(Who::Roleless)),
        ("not permitted", make(&good).by(Who::Analyst)),
        (
            "more than one holds",
            send("POST", format!("{prefix}/accounts"))
                .by(Who::Delegate)
                .body(JSON, &account),
        ),
        ("an id of nothing", send("GET", format!("{all}/{NOBODY}"))),
        ("an id that is none", send("GET", format!("{all}/x"))),
        (
            "a path of nothing",
            send("GET", format!("{prefix}/nothing")),
        ),
        (
            "the registry's own data",
            send("GET", format!("{all}/{registry}/repositories/app")),
        ),
        ("another method", send("PATCH", &all)),
        (
            "a query that breaks a rule",
            send("GET", format!("{all}/{registry}/tokens?limit=x")),
        ),
        (
            "a member of another type",
            make(r#"{"properties": {"name": 1, "location": "de/fra"}}"#),
        ),
        (
            "a missing member",
            make(r#"{"properties": {"name": "team-b"}}"#),
        ),
        (
            "an unknown member",
            make(r#"{"properties": {"name": "team-b", "locatoin": "de/fra"}}"#),
        ),
        (
            "a value that breaks a rule",
            make(r#"{"properties": {"name": "-", "location": "no/where"}}"#),
        ),
        (
            "a name that is taken",
            make(r#"{"properties": {"name": "team-a", "location": "de/fra"}}"#),
        ),
        (
            "a state that is not wanted",
            send("DELETE", format!("{all}/{registry}")).with("If-Match", "\"0-0\""),
        ),
        (
            "a key of another request",
            make(&good).with("Idempotency-Key", "used"),
        ),
        (
            "a key of what has changed",
            make(USED).with("Idempotency-Key", "used"),
        ),
        (
            "another content type",
            send("POST", &all).body("text/plain", &good),
        ),
    ];
    Surface {
        name,
        errors: [credentials(&login), errors, bodies("POST", &all, &good)].concat(),
        login: Some(login),
    }
}

/// The body that made a registry, which has changed since.
const USED: &str = r#"{"properties": {"name": "used", "location": "de/fra"}}"#;

fn scanning() -> Surface {
    let path = "/secret-scanning/report";
    let good = r#"[{"token": "x"}]"#;
    let by_scanner = |sent: Sent| {
        let token = format!("Bearer {SCANNER}");
        sent.by(Who::Nobody).with("Authorization", &token)
    };
    let make = |body: &str| by_scanner(send("POST", path).body(JSON, body));
    let mut errors = credentials(&send("POST", path).body(JSON, good));
    errors.extend([
        ("another method", send("GET", path)),
        ("a member of another type", make(r#"[{"token": 1}]"#)),
        ("a missing member", make("[{}]")),
        ("a value that breaks a rule", make("[]")),
        (
            "another content type",
            by_scanner(send("POST", path).body("text/plain", good)),
        ),
    ]);
    let bodies = bodies("POST", path, good).into_iter();
    errors.extend(bodies.map(|(kind, sent)| (kind, by_scanner(sent))));
    Surface {
        name: "secret scanning",
        errors,
        login: None,
    }
}

fn stackrox() -> Surface {
    let (all, generate) = ("/v1/apitokens", "/v1/apitokens/generate");
    let make = |body: &str| send("POST", generate).body(JSON, body);
    let login = send("GET", all);
    let errors = vec![
        ("a token without a role", login.clone().by(Who::Roleless)),
        ("not permitted", make(r#"{"name": "t"}"#).by(Who::Analyst)),
        (
            "more than one holds",
            make(r#"{"name": "t", "role": "Continuous Integration"}"#).by(Who::Delegate),
        ),
        ("an id of nothing", send("GET", format!("{all}/{NOBODY}"))),
        (
            "an id of nothing, to be revoked",
            send("PATCH", format!("{all}/revoke/{NOBODY}")),
        ),
        ("an id that is none", send("GET", format!("{all}/x"))),
        ("a path of nothing", send("GET", "/v1/nothing")),
        ("another method", send("DELETE", all)),
        (
            "a query that breaks a rule",
            send("GET", format!("{all}?revoked=x")),
        ),
        ("a member of another type", make(r#"{"name": 1}"#)),
        ("a missing member", make("{}")),
        (
            "a value that breaks a rule",
            make(r#"{"name": "t", "roles": ["Nobody"]}"#),
        ),
    ];
    let mut bodies = bodies("POST", generate, r#"{"name": "t"}"#);
    // Bodies are read in spite of their headers.
    bodies.retain(|(kind, _)| *kind != "a content encoding");
    Surface {
        name: "StackRox",
        errors: [credentials(&login), errors, bodies].concat(),
        login: Some(login),
    }
}

fn quay(stale: &Ticket, fresh: &Ticket) -> Surface {
    let all = "/api/v1/user/apptoken";
    let good = r#"{"title": "t"}"#;
    let make = |body: &str| send("POST", all).body(JSON, body);
    let login = send("GET", all);
    let everybodys = || send("GET", "/api/v1/superuser/apptokens");
    let errors = vec![
        ("a token without a role", login.clone().by(Who::Roleless)),
        (
            "no right CSRF token",
            make(good)
                .by(Who::Nobody)
                .with("Cookie", &fresh.cookie)
                .with("X-CSRF-Token", &stale.csrf_token),
        ),
        (
            "a session that is none",
            login
                .clone()
                .by(Who::Nobody)
                .with("Cookie", "session=nonsense"),
        ),
        (
            "a sign-in too long ago",
            make(good).by(Who::Nobody).session(stale),
        ),
        ("not permitted", everybodys().by(Who::Member)),
        ("more than one holds", make(good).by(Who::Delegate)),
        ("an id of nothing", send("GET", format!("{all}/{NOBODY}"))),
        (
            "an id of nothing, to be revoked",
            send("DELETE", format!("{all}/{NOBODY}")),
        ),
        ("an id that is none", send("GET", format!("{all}/x"))),
        ("a path of nothing", send("GET", "/api/v1/nothing")),
        ("another method", send("PUT", all)),
        ("a member of another type", make(r#"{"title": 1}"#)),
        ("a missing member", make("{}")),
        ("a value that breaks a rule", make(r#"{"title": "\u0007"}"#)),
        (
            "another content type",
            send("POST", all).body("text/plain", good),
        ),
    ];
    Surface {
        name: "Quay",
        errors: [credentials(&login), errors, bodies("POST", all, good)].concat(),
        login: Some(login),
    }
}

/// The route to sign in has its own format for refused clients.
fn quays_sign_in(visit: &Ticket) -> Surface {
    let path = "/api/v1/signin";
    let good = json!({"username": "admin", "password": ADMIN_PASSWORD}).to_string();
    let post = || send("POST", path).by(Who::Nobody).session(visit);
    let sent = |body: &str| post().body(JSON, body);
    let errors = vec![
        (
            "a wrong password",
            sent(r#"{"username": "admin", "password": "wrong-password"}"#),
        ),
        ("no right CSRF token", send("POST", path).body(JSON, &good)),
        ("another method", send("GET", path)),
        ("no JSON", sent("{")),
        ("a body of null", sent("null")),
        (
            "a member of another type",
            sent(r#"{"username": 1, "password": "x"}"#),
        ),
        ("a missing member", sent(r#"{"username": "admin"}"#)),
        ("another content type", post().body(FORM, "username=admin")),
        (
            "a content encoding",
            post().with("Content-Encoding", "gzip").body(JSON, &good),
        ),
        (
            "a body too large",
            post().announces(JSON, wharfinger::http::BODY_LIMIT + 1),
        ),
        (
            "a body that does not arrive",
            post().announces(JSON, good.len()),
        ),
        ("a foreign origin", sent(&good).with(FOREIGN.0, FOREIGN.1)),
    ];
    Surface {
        name: "Quay, signing in",
        errors,
        login: Some(sent(&good)),
    }
}

fn token() -> Surface {
    let path = "/token?service=team-a.localhost";
    let form = "grant_type=password&service=team-a.localhost&username=ci&password=x";
    let post = || send("POST", "/token");
    let login = send("GET", path);
    let errors = vec![
        (
            "an id of nothing",
            send("GET", "/token?service=nothing.localhost"),
        ),
        ("a path of nothing", send("GET", "/token/nothing")),
        ("another method", send("PUT", "/token")),
        (
            "a query that breaks a rule",
            send("GET", format!("{path}&offline_token=x&offline_token=x")),
        ),
        (
            "a missing member",
            post().body(FORM, "service=team-a.localhost"),
        ),
        (
            "a value that breaks a rule",
            post().body(FORM, "grant_type=none&service=team-a.localhost"),
        ),
        ("another content type", post().body(JSON, form)),
        (
            "a content encoding",
            post().with("Content-Encoding", "gzip").body(FORM, form),
        ),
        ("a body too large", post().announces(FORM, 256 * 1024 + 1)),
        ("a body that does not arrive", post().announces(FORM, 10)),
        (
            "a foreign origin",
            post().with(FOREIGN.0, FOREIGN.1).body(FORM, form),
        ),
    ];
    Surface {
        name: "/token",
        errors: [credentials(&login), errors].concat(),
        login: Some(login),
    }
}

fn check() -> Surface {
    let ask = |service: &str, repository: &str| {
        send("GET", format!("/v2/check{service}"))
            .with("X-Original-Method", "GET")
            .with("X-Original-URI", &format!("/v2/{repository}/tags/list"))
    };
    let service = "?service=team-a.localhost";
    let login = ask(service, "a");
    let errors = vec![
        ("not permitted", ask(service, "b").by(Who::Client)),
        ("an id of nothing", ask("?service=nothing.localhost", "a")),
        ("a path of nothing", send("GET", "/v2/nothing")),
        (
            "another method",
            send("POST", format!("/v2/check{service}")),
        ),
        ("a missing member", ask("", "a")),
        (
            "a value that breaks a rule",
            send("GET", format!("/v2/check{service}")),
        ),
        (
            "a foreign origin",
            send("POST", "/v2/check").with(FOREIGN.0, FOREIGN.1),
        ),
    ];
    Surface {
        name: "/v2/check",
        errors: [credentials(&login), errors].concat(),
        login: Some(login),
    }
}

/// Pages without credentials, and paths of no surface.
fn pages() -> [Surface; 2] {
    let docs = vec![
        ("a path of nothing", send("GET", "/docs/nothing")),
        ("another method", send("POST", "/docs")),
        (
            "a foreign origin",
            send("POST", "/docs").with(FOREIGN.0, FOREIGN.1),
        ),
    ];
    let nowhere = vec![
        ("no credentials", send("GET", "/nothing").by(Who::Nobody)),
        ("a path of nothing", send("GET", "/nothing/at%20all?x=y")),
        ("no JSON", send("POST", "/nothing").body(JSON, "{")),
        (
            "a body that does not arrive",
            send("POST", "/nothing").announces(JSON, 10),
        ),
        (
            "a foreign origin",
            send("POST", "/nothing").with(FOREIGN.0, FOREIGN.1),
        ),
    ];
    let surface = |name, errors| Surface {
        name,
        errors,
        login: None,
    };
    [surface("pages", docs), surface("nowhere", nowhere)]
}

fn surfaces(bench: &Bench) -> Vec<Surface> {
    let registry = &bench.registry;
    let mut surfaces = vec![
        registries("registries", "", registry),
        registries("registries, prefixed", "/containerregistries", registry),
        scanning(),
        stackrox(),
        quay(&bench.stale, &bench.fresh),
        quays_sign_in(&bench.visit),
        token(),
        check(),
    ];
    surfaces.extend(pages());
    surfaces
}

/// A server with resources, and the callers' secrets.
struct Bench {
    server: Server,
    registry: String,
    roleless: String,
    delegate: String,
    client: String,
    /// Sessions: without an account, signed in too long ago for sensitive requests, and signed in recently.
    visit: Ticket,
    stale: Ticket,
    fresh: Ticket,
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        // The cost makes passwords wait for each other, but not for long.
        let flags = ["--body-timeout", "2s", "--password-threads", "1"];
        let cost = ["--bcrypt-cost", "8"];
        let scanner = ["--secret-scanning-token", SCANNER];
        let flags = [flags.as_slice(), &cost, &scanner].concat();
        let server = Server::start_with(backend, &flags).await;
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let client = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
        admin.create_account("member", &[]).await;
        // It may make accounts and API tokens, and may little itself.
        server.database.execute(
            "INSERT INTO roles (name, description, built_in) VALUES ('Delegate', '', 0); \
             INSERT INTO role_permissions (role_key, resource, level) \
             SELECT key, 'Access', 2 FROM roles WHERE name = 'Delegate' \
             UNION ALL SELECT key, 'Integration', 2 FROM roles WHERE name = 'Delegate'",
        );
        let generate = async |role: &str| {
            let wish = json!({"name": "t", "role": role});
            let made = admin.post("/v1/apitokens/generate", wish).await;
            made.json["token"].as_str().unwrap().to_owned()
        };
        let (roleless, delegate) = (generate("None").await, generate("Delegate").await);
        let stale = server.sign_in("admin", ADMIN_PASSWORD).await;
        server.clock.advance(TimeDelta::minutes(11));
        let used = admin.request(Method::POST, "/registries").body(USED);
        let used = admin.send(used.header("Idempotency-Key", "used")).await;
        let path = format!("/registries/{}", used.json["id"].as_str().unwrap());
        let changed = admin.patch(&path, json!({"tokenVerifier": "pinned"})).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        Self {
            registry,
            roleless,
            delegate,
            client: client.secret,
            visit: server.visit().await,
            fresh: server.sign_in("admin", ADMIN_PASSWORD).await,
            stale,
            server,
        }
    }

    fn authorization(&self, who: Who) -> Option<String> {
        let basic = |name: &str, secret: &str| {
            Some(format!(
                "Basic {}",
                STANDARD.encode(format!("{name}:{secret}"))
            ))
        };
        match who {
            Who::Nobody => None,
            Who::Wrong => basic("admin", "wrong-password"),
            Who::Nonsense => Some("Bearer nonsense".to_owned()),
            Who::Roleless => Some(format!("Bearer {}", self.roleless)),
            Who::Delegate => Some(format!("Bearer {}", self.delegate)),
            Who::Analyst => basic("analyst@example.com", "analyst:pässword"),
            Who::Member => basic("member", "right-password"),
            Who::Client => basic("ci", &self.client),
            Who::Admin => basic("admin", ADMIN_PASSWORD),
        }
    }

    fn send(&self, sent: &Sent) -> Answer {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            sent.method, sent.path, self.server.address
        );
        if let Some(authorization) = self.authorization(sent.who) {
            write!(head, "Authorization: {authorization}\r\n").unwrap();
        }
        for (name, value) in &sent.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let request = format!("{head}\r\n{}", sent.body);
        self.server.raw(request.as_bytes())
    }

    /// One of many unknown clients that come at once, which finds the queue full.
    async fn one_too_many(&self, login: &Sent) -> Answer {
        let crowd: Vec<_> = (0..60)
            .map(|number| {
                let (somebody, login) = (
                    self.server.actor(&format!("nobody-{number}"), "wrong"),
                    login.clone(),
                );
                actix_web::rt::spawn(async move {
                    let method: Method = login.method.parse().unwrap();
                    let mut request = somebody.request(method, &login.path);
                    for (name, value) in &login.headers {
                        request = request.header(*name, value);
                    }
                    // A password in the body has to be wrong too, and as long.
                    let wrong = format!("{number:0>width$}", width = ADMIN_PASSWORD.len());
                    let body = login.body.replace(ADMIN_PASSWORD, &wrong);
                    Actor::send(&somebody, request.body(body)).await
                })
            })
            .collect();
        let mut refused = Vec::new();
        for one in crowd {
            let answer = one.await.unwrap();
            if !matches!(answer.status, 401 | 403) {
                refused.push(answer);
            }
        }
        refused.pop().expect("all of them were let in line")
    }

    /// The parts of an answer that must not change.
    fn show(&self, answer: &Answer) -> String {
        let mut shown = answer.status.to_string();
        for name in ["content-type", "www-authenticate", "retry-after", "allow"] {
            for value in answer.headers.get_all(name) {
                write!(shown, "\n    {name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
        write!(shown, "\n    {}", answer.text).unwrap();
        shown
            .replace(&self.registry, "[registry]")
            .replace(&self.server.address.to_string(), "[host]")
    }
}

#[rstest]
#[actix_web::test]
async fn every_error_on_every_surface(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let surfaces = surfaces(&bench);
    let mut found: Vec<(&str, &str, Answer)> = Vec::new();
    for surface in &surfaces {
        for (kind, sent) in &surface.errors {
            found.push((kind, surface.name, bench.send(sent)));
        }
        if let Some(login) = &surface.login {
            let well = bench.send(login);
            assert_eq!(well.status, 200, "{}: {well:?}", surface.name);
            let answer = bench.one_too_many(login).await;
            found.push(("too many passwords to check", surface.name, answer));
        }
    }
    bench.server.service.close();
    for surface in &surfaces {
        if let Some(login) = &surface.login {
            found.push(("no database", surface.name, bench.send(login)));
        }
    }

    let mut table = String::new();
    for kind in KINDS {
        writeln!(table, "{kind}").unwrap();
        let of_kind: Vec<_> = found.iter().filter(|(of, ..)| *of == kind).collect();
        for (_, surface, answer) in &of_kind {
            let shown = bench.show(answer);
            let same = |other: &Answer| bench.show(other) == shown;
            let (_, first, _) = of_kind.iter().find(|(.., other)| same(other)).unwrap();
            if surface == first {
                writeln!(table, "  {surface}: {shown}").unwrap();
            } else {
                writeln!(table, "  {surface}: as {first}").unwrap();
            }
        }
        writeln!(table).unwrap();
    }
    for (kind, surface, answer) in &found {
        assert!(KINDS.contains(kind), "{kind} is not in the table");
        let place = format!("{kind}, {surface}: {answer:?}");
        assert!(answer.status >= 400, "{place}");
        // The one error of ours that is none: StackRox's word for it.
        let expected = (*kind, *surface) == ("an id of nothing, to be revoked", "StackRox");
        assert_eq!(answer.status == 500, expected, "{place}");
        assert!(!answer.header("x-request-id").is_empty(), "{place}");
        let secrets = [
            ADMIN_PASSWORD,
            &bench.client,
            &bench.roleless,
            &bench.delegate,
            &bench.fresh.cookie,
            &bench.fresh.csrf_token,
        ];
        let told = secrets.iter().any(|secret| answer.text.contains(*secret));
        assert!(!told, "{place}");
    }
    let file = "tests/snapshots/integration__errors__every_error.snap";
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let committed = std::fs::read_to_string(committed).unwrap();
    let (head, expected) = committed.split_once("\n---\n").unwrap();
    if expected.trim_end() != table.trim_end() {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("every_error.snap");
        std::fs::write(&new, format!("{head}\n---\n{}\n", table.trim_end())).unwrap();
        panic!(
            "the errors are not those of {file}; compare it with {}, and replace it if the change is meant",
            new.display()
        );
    }
}
