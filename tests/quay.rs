//! App tokens for Quay's clients: every row of the table of behaviour that they rely on, and their sequences of calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use wharfinger::domain::account::NewPassword;
use wharfinger::domain::status::Status;
use wharfinger::service::account_rules::{IssuedTokens, LiveTokens};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server};

const TOKENS: &str = "/api/v1/user/apptoken";
const ALL: &str = "/api/v1/superuser/apptokens";
const SIGN_IN: &str = "/api/v1/signin";
const SIGN_OUT: &str = "/api/v1/signout";
/// An id of no token.
const NOBODY: &str = "/api/v1/user/apptoken/5a0c3b57-7a0f-4c2e-9a1c-8f1a60b7e2d4";
/// When tests begin, as Quay prints it.
const BEGINNING: &str = "Sat, 21 Nov 2026 12:00:00 -0000";

const CSRF_ERROR: &str = r#"{"error":"CSRF token was invalid or missing."}"#;

impl Server {
    fn api_error(&self, status: u16, title: &str, detail: &str) -> Value {
        json!({
            "status": status,
            "type": format!("http://{}/api/v1/error/{title}", self.address),
            "title": title,
            "error_type": title,
            "detail": detail,
            "error_message": detail,
        })
    }

    fn unauthenticated(&self) -> Value {
        self.api_error(401, "invalid_token", "Requires authentication")
    }

    fn not_found(&self) -> Value {
        self.api_error(404, "not_found", "Not Found")
    }

    fn unauthorized(&self) -> Value {
        self.api_error(403, "insufficient_scope", "Unauthorized")
    }
}

impl Answer {
    /// Checks a whole answer: each has these headers, and no other that gives browsers access.
    fn is(&self, status: u16, body: &Value, what: &str) {
        assert_eq!((self.status, &self.json), (status, body), "{what}");
        assert_eq!(self.header("content-type"), "application/json", "{what}");
        self.is_dressed(what);
    }

    fn is_dressed(&self, what: &str) {
        assert_eq!(self.header("cache-control"), "no-store", "{what}");
        assert!(!self.header("x-request-id").is_empty(), "{what}");
        for name in ["www-authenticate", "access-control-allow-origin"] {
            assert!(!self.headers.contains_key(name), "{what}: {name}");
        }
    }
}

/// Makes a token and returns its id and its code.
async fn create(actor: &Actor, title: &str) -> (String, String) {
    let answer = actor.post(TOKENS, json!({"title": title})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let text = |name: &str| answer.json["token"][name].as_str().unwrap().to_owned();
    (text("uuid"), text("token_code"))
}

/// The titles of a list, in its order.
async fn titles(actor: &Actor, path: &str) -> Vec<String> {
    let answer = actor.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let tokens = answer.json["tokens"].as_array().unwrap().iter();
    tokens
        .map(|token| token["title"].as_str().unwrap().to_owned())
        .collect()
}

/// An API token with these roles.
async fn bearer(server: &Server, maker: &Actor, roles: &[&str]) -> Actor {
    let wish = json!({"name": "quay", "roles": roles});
    let answer = maker.post("/v1/apitokens/generate", wish).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    server.bearer(answer.json["token"].as_str().unwrap())
}

/// A client that keeps a cookie, and the CSRF token that it was last given.
struct Browser {
    actor: Actor,
    cookie: Option<String>,
    csrf: Option<String>,
}

impl Browser {
    fn new(server: &Server) -> Self {
        Self {
            actor: server.anonymous(),
            cookie: None,
            csrf: None,
        }
    }

    /// A browser that has signed in.
    async fn signed_in(server: &Server, name: &str, password: &str) -> Self {
        let mut browser = Self::new(server);
        browser.visit().await;
        let answer = browser.sign_in(name, password).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        browser
    }

    async fn visit(&mut self) -> Answer {
        let answer = self.send(Method::GET, "/csrf_token", None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.csrf = Some(answer.json["csrf_token"].as_str().unwrap().to_owned());
        answer
    }

    async fn sign_in(&mut self, name: &str, password: &str) -> Answer {
        let body = json!({"username": name, "password": password});
        self.send(Method::POST, SIGN_IN, Some(body)).await
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.actor.request(method, path);
        if let Some(cookie) = &self.cookie {
            request = request.header(
                "cookie",
                format!("session=a-neighbour-s; wharfinger-session={cookie}"),
            );
        }
        if let Some(csrf) = &self.csrf {
            request = request.header("x-csrf-token", csrf);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = self.actor.send(request).await;
        if let Some(kept) = answer.headers.get("set-cookie") {
            let kept = kept.to_str().unwrap();
            let (name, value) = kept.split(';').next().unwrap().split_once('=').unwrap();
            assert_eq!(name, "wharfinger-session");
            self.cookie = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
        if answer.headers.contains_key("x-next-csrf-token") {
            self.csrf = Some(answer.header("x-next-csrf-token").to_owned());
        }
        answer
    }
}

#[rstest]
#[actix_web::test]
async fn a_token_is_made_listed_shown_again_and_revoked(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let empty = json!({"tokens": [], "only_expiring": null});
    admin.get(TOKENS).await.is(200, &empty, "nothing yet");

    let made = admin
        .post(TOKENS, json!({"title": "ci-puller", "friendlyName": 5}))
        .await;
    let id = made.json["token"]["uuid"].as_str().unwrap().to_owned();
    assert_eq!(uuid::Uuid::parse_str(&id).unwrap().to_string(), id);
    let code = made.json["token"]["token_code"].as_str().unwrap();
    assert_eq!(code.len(), 120);
    assert!(
        code.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()),
        "{code}"
    );
    let mut token = json!({
        "uuid": id,
        "title": "ci-puller",
        "last_accessed": null,
        "created": BEGINNING,
        "expiration": null,
    });
    let with_code = |token: &Value| {
        let mut token = token.clone();
        token["token_code"] = json!(code);
        json!({"token": token})
    };
    made.is(201, &with_code(&token), "made");

    let path = format!("{TOKENS}/{id}");
    for _ in 0..2 {
        let shown = admin.get(&path).await;
        shown.is(200, &with_code(&token), "shown");
    }
    let listed = |token: &Value| json!({"tokens": [token], "only_expiring": null});
    admin.get(TOKENS).await.is(200, &listed(&token), "listed");
    admin
        .get(ALL)
        .await
        .is(200, &listed(&token), "listed to all");

    // Looking is no use of it, opening a registry is.
    admin.create_registry("team-a").await;
    server.clock.advance(TimeDelta::hours(30));
    let service = [("service", "team-a.localhost")];
    let opened = server.actor("$app", code).ask("/token", &service).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    server.service.flush_usage().await.unwrap();
    token["last_accessed"] = json!("Sun, 22 Nov 2026 18:00:00 -0000");
    admin.get(&path).await.is(200, &with_code(&token), "used");
    admin.get(TOKENS).await.is(200, &listed(&token), "used");

    let gone = admin.delete(&path).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    gone.is_dressed("revoked");
    admin.get(&path).await.is(404, &server.not_found(), "gone");
    let again = admin.delete(&path).await;
    again.is(404, &server.not_found(), "revoked again");
    admin.get(TOKENS).await.is(200, &empty, "gone");
}

#[rstest]
#[actix_web::test]
async fn creation_answers_with_the_status_of_the_setting(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    for status in [201, 200] {
        let flags = ["--quay-create-status", &status.to_string()];
        let server = Server::start_with(backend, &flags).await;
        let made = server.admin().post(TOKENS, json!({"title": "t"})).await;
        assert_eq!(made.status, status);
    }
}

#[rstest]
#[actix_web::test]
async fn a_server_that_shows_codes_once_has_none_to_show_again(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--app-token-reveal", "false"]).await;
    let admin = server.admin();
    let (id, code) = create(&admin, "t").await;
    assert_eq!(code.len(), 120);
    let shown = admin.get(&format!("{TOKENS}/{id}")).await;
    let token = json!({
        "uuid": id,
        "title": "t",
        "last_accessed": null,
        "created": BEGINNING,
        "expiration": null,
        "token_code": null,
    });
    shown.is(200, &json!({"token": token}), "shown");
}

#[rstest]
#[actix_web::test]
async fn expiring_is_absent_true_or_false(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    create(&admin, "for ever").await;
    let cases = [
        ("", None),
        ("?other=true", None),
        ("?Expiring=true", None),
        ("?expiring=false", Some(false)),
        ("?expiring=False", Some(false)),
        ("?expiring=FALSE", Some(false)),
        ("?expiring=0", Some(false)),
        ("?expiring=null", Some(false)),
        ("?expiring=", Some(false)),
        ("?expiring", Some(false)),
        ("?expiring=false&expiring=true", Some(false)),
        ("?expiring=true", Some(true)),
        ("?expiring=True", Some(true)),
        ("?expiring=1", Some(true)),
        ("?expiring=no", Some(true)),
        ("?x=1&expiring=%20", Some(true)),
    ];
    for (query, expiring) in cases {
        for path in [TOKENS, ALL] {
            let answer = admin.get(&format!("{path}{query}")).await;
            let what = format!("{path}{query}");
            assert_eq!(answer.status, 200, "{what}");
            assert_eq!(answer.json["only_expiring"], json!(expiring), "{what}");
            // A token without an end does not expire soon.
            let count = answer.json["tokens"].as_array().unwrap().len();
            assert_eq!(count, usize::from(expiring != Some(true)), "{what}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_token_that_ends_is_told_before_and_found_after(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    // A tenth of its life is soon: ten seconds.
    let server = Server::start_with(backend, &["--app-token-life", "100s"]).await;
    let admin = server.admin();
    let (id, _) = create(&admin, "ends").await;
    let path = format!("{TOKENS}/{id}");
    let shown = admin.get(&path).await;
    let end = "Sat, 21 Nov 2026 12:01:40 -0000";
    assert_eq!(shown.json["token"]["expiration"], end);
    let expiring = format!("{TOKENS}?expiring=true");
    let all_expiring = format!("{ALL}?expiring=true");
    for (seconds, soon, found) in [
        (0, false, 200),
        (89, false, 200),
        (1, true, 200),
        (9, true, 200),
        (1, false, 404),
        (1, false, 404),
    ] {
        server.clock.advance(TimeDelta::seconds(seconds));
        let listed: &[&str] = if soon { &["ends"] } else { &[] };
        assert_eq!(titles(&admin, &expiring).await, listed);
        assert_eq!(titles(&admin, &all_expiring).await, listed);
        assert_eq!(titles(&admin, TOKENS).await, ["ends"]);
        assert_eq!(titles(&admin, ALL).await, ["ends"]);
        assert_eq!(admin.get(&path).await.status, found);
    }
    // Over, and still there to be cleared away.
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(titles(&admin, TOKENS).await, [""; 0]);
}

#[rstest]
#[actix_web::test]
async fn titles_are_kept_as_they_were_sent(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let longest = "ä".repeat(255);
    let sent = ["z", "", "  a\u{a0}", "z", &longest, "a", "$app:\"'<b>"];
    for title in sent {
        create(&admin, title).await;
        server.clock.advance(TimeDelta::milliseconds(1));
    }
    // In the order in which they were made, those of one title too.
    assert_eq!(titles(&admin, TOKENS).await, sent);
    for (title, detail) in [
        (
            "ä".repeat(256),
            "the title is longer than 255 characters".to_owned(),
        ),
        (
            "a\0".to_owned(),
            "title \"a\\0\" contains a control character".to_owned(),
        ),
    ] {
        let answer = admin.post(TOKENS, json!({"title": title})).await;
        let error = server.api_error(400, "invalid_request", &detail);
        answer.is(400, &error, &title);
    }
    assert_eq!(titles(&admin, TOKENS).await, sent);
}

const JSON: &str = "application/json";

/// Sends a body of this type, or of none.
async fn send(actor: &Actor, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    let mut request = actor.request(Method::POST, TOKENS);
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    actor.send(request.body(body)).await
}

#[actix_web::test]
async fn bodies_are_refused_in_the_words_of_quay() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    for (body, detail) in [
        ("null", "Missing JSON body"),
        ("{}", "'title' is a required property"),
        (r#"{"friendlyName": "x"}"#, "'title' is a required property"),
        (r#"{"title": 1}"#, "1 is not of type 'string'"),
        (r#"{"title": 1.5}"#, "1.5 is not of type 'string'"),
        (r#"{"title": null}"#, "None is not of type 'string'"),
        (r#"{"title": true}"#, "True is not of type 'string'"),
        (r#"{"title": []}"#, "[] is not of type 'string'"),
        ("[]", "[] is not of type 'object'"),
        (r#"["title"]"#, "[\"title\"] is not of type 'object'"),
        ("1", "1 is not of type 'object'"),
        (r#""title""#, "'title' is not of type 'object'"),
        ("false", "False is not of type 'object'"),
    ] {
        let answer = send(&admin, JSON, body).await;
        let error = server.api_error(400, "invalid_request", detail);
        answer.is(400, &error, body);
    }
    let large = format!(r#"{{"title": "{}"}}"#, "x".repeat(1024 * 1024));
    let answer = send(&admin, JSON, large).await;
    let detail = "the request body is larger than 1048576 bytes";
    let error = server.api_error(413, "request_too_large", detail);
    answer.is(413, &error, "large");
    assert_eq!(titles(&admin, TOKENS).await, [""; 0]);
}

#[actix_web::test]
async fn bodies_that_are_no_json_are_refused_in_the_words_of_quay() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let malformed = json!({
        "message": "The browser (or proxy) sent a request that this server could not understand."
    });
    let deep = format!(r#"{{"title": "t", "x": {}}}"#, "[".repeat(10_000));
    for body in ["", " ", "{", "nonsense", r#"{"title": "t"} {}"#, &deep] {
        let answer = send(&admin, JSON, body.to_owned()).await;
        answer.is(400, &malformed, body);
    }
    let unsupported = json!({
        "message": "Did not attempt to load JSON data because the request Content-Type was not 'application/json'."
    });
    let right = r#"{"title": "t"}"#;
    for kind in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "nonsense",
    ] {
        let answer = send(&admin, kind, right).await;
        answer.is(415, &unsupported, kind);
    }
    assert_eq!(titles(&admin, TOKENS).await, [""; 0]);
}

#[actix_web::test]
async fn json_by_another_name_is_read() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let right = r#"{"title": "t"}"#;
    for kind in [
        JSON,
        "Application/JSON; charset=utf-8",
        "application/problem+json",
    ] {
        let answer = send(&admin, kind, right).await;
        assert_eq!(answer.status, 201, "{kind}: {answer:?}");
    }
}

#[actix_web::test]
async fn a_body_that_does_not_come_is_told_so() {
    let server = Server::start_with(Backend::Sqlite, &["--body-timeout", "2s"]).await;
    let head = format!(
        "POST {TOKENS} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {}\r\nContent-Type: application/json\r\n\
         Content-Length: 14\r\n\r\n{{",
        server.address,
        STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"))
    );
    let answer = server.raw(head.as_bytes());
    let detail = "the request body did not arrive in time";
    let error = server.api_error(408, "request_timeout", detail);
    answer.is(408, &error, "half a body");
}

/// Every call that needs credentials, with a body where it takes one.
fn calls() -> Vec<(Method, &'static str, Option<Value>)> {
    vec![
        (Method::GET, TOKENS, None),
        (Method::POST, TOKENS, Some(json!({"title": "t"}))),
        (Method::GET, NOBODY, None),
        (Method::DELETE, NOBODY, None),
        (Method::GET, ALL, None),
    ]
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// `Authorization` headers that open nothing.
async fn wrong_credentials(server: &Server) -> Vec<Vec<String>> {
    let admin = server.admin();
    let (_, code) = create(&admin, "t").await;
    server
        .add_account("disabled", "right-password", "Admin")
        .await;
    server
        .service
        .account_commands()
        .set_status("disabled".to_owned(), Status::Disabled)
        .await
        .unwrap();
    let wish = json!({"name": "t", "role": "Admin", "expiration": "2026-11-21T12:30:00Z"});
    let made = admin.post("/v1/apitokens/generate", wish).await;
    let ended = made.json["token"].as_str().unwrap().to_owned();
    server.clock.advance(TimeDelta::hours(1));
    let right = basic("admin", ADMIN_PASSWORD);
    let one = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer x".to_owned(),
        "bearer x".to_owned(),
        "Bearer eyJ0eXAiOiJKV1QifQ.e30.x".to_owned(),
        format!("Bearer {ended}"),
        "Digest x".to_owned(),
        "Basic nonsense".to_owned(),
        format!("{right} x"),
        basic("admin", "wrong-password"),
        basic("nobody", ADMIN_PASSWORD),
        basic("disabled", "right-password"),
        // A code opens registries, not the routes that make codes.
        basic("$app", &code),
        basic("admin", &code),
        format!("Bearer {code}"),
    ];
    let mut all = vec![Vec::new(), vec![right; 2]];
    all.extend(one.map(|header| vec![header]));
    all
}

#[actix_web::test]
async fn who_is_nobody_is_401_for_every_method() {
    let server = Server::start(Backend::Sqlite).await;
    let cases = wrong_credentials(&server).await;
    let right = basic("admin", ADMIN_PASSWORD);
    let anonymous = server.anonymous();
    for headers in &cases {
        for (method, path, body) in calls() {
            let mut request = anonymous.request(method.clone(), path);
            for header in headers {
                request = request.header("authorization", header);
            }
            // Whatever else is wrong is not looked at.
            let request = match body {
                Some(_) => request.body("{"),
                None => request,
            };
            let answer = anonymous.send(request).await;
            let what = format!("{method} {path} with {headers:?}");
            answer.is(401, &server.unauthenticated(), &what);
        }
        // Nor does the code open any other API.
        if headers.iter().all(|header| !header.contains(&right)) {
            for path in ["/registries", "/v1/apitokens"] {
                let request = headers
                    .iter()
                    .fold(anonymous.request(Method::GET, path), |request, header| {
                        request.header("authorization", header)
                    });
                let answer = anonymous.send(request).await;
                assert_eq!(answer.status, 401, "{path} with {headers:?}");
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn bearers_and_passwords_are_taken(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let wish = json!({"name": "t", "role": "Admin"});
    let made = admin.post("/v1/apitokens/generate", wish).await;
    let token = made.json["token"].as_str().unwrap();
    let password = STANDARD.encode(format!("admin:{ADMIN_PASSWORD}"));
    let anonymous = server.anonymous();
    for header in [
        format!("Bearer {token}"),
        format!("bEARER  {token} "),
        format!("Basic {password}"),
        format!("basic {password}"),
    ] {
        let request = anonymous
            .request(Method::POST, TOKENS)
            .header("authorization", &header)
            .json(&json!({"title": "t"}));
        assert_eq!(anonymous.send(request).await.status, 201, "{header}");
    }
    // A bearer's tokens belong to its account.
    assert_eq!(titles(&admin, TOKENS).await.len(), 4);
    // Neither ages as a session does.
    server.clock.advance(TimeDelta::days(30));
    assert_eq!(
        titles(&server.bearer(token), TOKENS).await,
        ["t", "t", "t", "t"]
    );
    create(&server.bearer(token), "later").await;
}

#[rstest]
#[actix_web::test]
async fn a_bearer_that_may_less_than_its_account_lacks_the_scope(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let (id, _) = create(&admin, "secret").await;
    let narrow = bearer(&server, &admin, &["Analyst", "Continuous Integration"]).await;
    let own = format!("{TOKENS}/{id}");
    for (method, path) in [
        (Method::GET, TOKENS),
        (Method::POST, TOKENS),
        (Method::GET, own.as_str()),
        (Method::DELETE, &own),
        (Method::GET, NOBODY),
        (Method::DELETE, NOBODY),
        (Method::GET, ALL),
    ] {
        // Before the body and before the id.
        for body in ["", "{", r#"{"title": 1}"#, r#"{"title": "t"}"#] {
            let request = narrow
                .request(method.clone(), path)
                .header("content-type", "application/json")
                .body(body);
            let answer = narrow.send(request).await;
            let what = format!("{method} {path} {body}");
            answer.is(403, &server.unauthorized(), &what);
        }
    }
    assert_eq!(titles(&admin, TOKENS).await, ["secret"]);
}

#[rstest]
#[actix_web::test]
async fn accounts_see_their_own_tokens_only(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server.add_account("alice", "right-password", "None").await;
    server.add_account("bob", "right-password", "None").await;
    let (alice, bob) = (
        server.actor("alice", "right-password"),
        server.actor("bob", "right-password"),
    );
    let (admin, analyst) = (server.admin(), server.analyst());
    let (hers, code) = create(&alice, "hers").await;
    server.clock.advance(TimeDelta::seconds(1));
    create(&bob, "his").await;
    let path = format!("{TOKENS}/{hers}");
    // Superusers see their own there, too.
    for other in [&bob, &admin, &analyst] {
        for (method, path) in [(Method::GET, &path), (Method::DELETE, &path)] {
            let answer = other.send(other.request(method, path)).await;
            answer.is(404, &server.not_found(), "foreign");
        }
    }
    assert_eq!(titles(&alice, TOKENS).await, ["hers"]);
    assert_eq!(titles(&bob, TOKENS).await, ["his"]);
    assert_eq!(titles(&admin, TOKENS).await, [""; 0]);
    // All of them, for an account that may read accounts, and without codes.
    for reader in [&admin, &analyst] {
        assert_eq!(titles(reader, ALL).await, ["hers", "his"]);
        let listed = reader.get(ALL).await;
        assert!(!listed.text.contains("token_code") && !listed.text.contains(&code));
    }
    for other in [&alice, &bob] {
        let answer = other.get(ALL).await;
        answer.is(403, &server.unauthorized(), "no superuser");
    }
    let upper = format!("{TOKENS}/{}", hers.to_uppercase());
    assert_eq!(alice.get(&upper).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn quays_own_expectations_hold(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server
        .add_account("devtable", "right-password", "None")
        .await;
    let (anonymous, user) = (
        server.anonymous(),
        server.actor("devtable", "right-password"),
    );
    for (method, path, body, nobody, known) in [
        ("GET", TOKENS, None, 401, 200),
        ("POST", TOKENS, Some("{}"), 401, 400),
        ("GET", "/api/v1/user/apptoken/someuuid", None, 401, 404),
        ("DELETE", "/api/v1/user/apptoken/someuuid", None, 401, 404),
        ("GET", ALL, None, 401, 403),
    ] {
        for (actor, status) in [(&anonymous, nobody), (&user, known)] {
            let request = actor
                .request(method.parse().unwrap(), path)
                .header("content-type", "application/json");
            let request = match body {
                Some(body) => request.body(body),
                None => request,
            };
            assert_eq!(actor.send(request).await.status, status, "{method} {path}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_session_signs_in_works_and_signs_out(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let mut browser = Browser::new(&server);
    let visited = browser.visit().await;
    let csrf = browser.csrf.clone().unwrap();
    visited.is(200, &json!({"csrf_token": csrf}), "visited");
    let cookie = browser.cookie.clone().unwrap();
    assert_eq!(
        visited.header("set-cookie"),
        format!("wharfinger-session={cookie}; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax")
    );
    // The same again, for a client that comes back.
    browser.visit().await;
    assert_eq!(
        (&browser.cookie, &browser.csrf),
        (&Some(cookie.clone()), &Some(csrf.clone()))
    );
    // Nobody's yet.
    for (method, path, body) in calls() {
        let answer = browser.send(method, path, body).await;
        answer.is(401, &server.unauthenticated(), path);
    }

    let signed_in = browser.sign_in("admin", ADMIN_PASSWORD).await;
    signed_in.is(200, &json!({"success": true}), "signed in");
    let next = signed_in.header("x-next-csrf-token");
    assert!(!next.is_empty() && next != csrf);
    let own = browser.cookie.clone().unwrap();
    assert_ne!(own, cookie);
    assert_eq!(
        signed_in.header("set-cookie"),
        format!("wharfinger-session={own}; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax")
    );
    browser.visit().await;
    assert_eq!(
        (&browser.cookie, browser.csrf.as_deref()),
        (&Some(own.clone()), Some(next))
    );

    let made = browser
        .send(Method::POST, TOKENS, Some(json!({"title": "t"})))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json["token"]["uuid"].as_str().unwrap().to_owned();
    let path = format!("{TOKENS}/{id}");
    assert_eq!(browser.get(&path).await.json, made.json);
    assert_eq!(browser.get(TOKENS).await.status, 200);
    assert_eq!(browser.get(ALL).await.status, 200);
    assert_eq!(browser.send(Method::DELETE, &path, None).await.status, 204);

    let signed_out = browser.send(Method::POST, SIGN_OUT, Some(json!({}))).await;
    signed_out.is(200, &json!({"success": true}), "signed out");
    assert_eq!(
        signed_out.header("set-cookie"),
        "wharfinger-session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
    );
    let after = browser.get(TOKENS).await;
    after.is(401, &server.unauthenticated(), "signed out");
    // Once more is no error.
    browser.csrf = None;
    let again = browser.send(Method::POST, SIGN_OUT, None).await;
    again.is(200, &json!({"success": true}), "signed out again");
}

#[rstest]
#[actix_web::test]
async fn a_cookie_alone_changes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let (id, _) = create(&admin, "kept").await;
    let path = format!("{TOKENS}/{id}");
    let mut browser = Browser::signed_in(&server, "admin", ADMIN_PASSWORD).await;
    let own = browser.csrf.clone().unwrap();
    let other = Browser::signed_in(&server, "admin", ADMIN_PASSWORD).await;
    let refused: Value = serde_json::from_str(CSRF_ERROR).unwrap();
    for csrf in [
        None,
        Some(String::new()),
        Some("nonsense".to_owned()),
        Some(format!("{own}x")),
        other.csrf.clone(),
    ] {
        browser.csrf = csrf;
        for (method, path, body) in [
            (Method::POST, TOKENS, Some(json!({"title": "t"}))),
            // Before the body is looked at.
            (Method::POST, TOKENS, Some(json!({}))),
            (Method::DELETE, path.as_str(), None),
            (Method::POST, SIGN_OUT, None),
            (
                Method::POST,
                SIGN_IN,
                Some(json!({"username": "admin", "password": ADMIN_PASSWORD})),
            ),
        ] {
            let answer = browser.send(method.clone(), path, body).await;
            answer.is(403, &refused, &format!("{method} {path}"));
            assert!(!answer.headers.contains_key("set-cookie"));
        }
        // Looking needs none.
        assert_eq!(browser.get(TOKENS).await.status, 200);
        assert_eq!(browser.get(&path).await.status, 200);
    }
    assert_eq!(titles(&admin, TOKENS).await, ["kept"]);
    // Nor does a client with other credentials, with or without a cookie.
    let cookie = format!("wharfinger-session={}", browser.cookie.clone().unwrap());
    for actor in [admin.clone(), bearer(&server, &admin, &["Admin"]).await] {
        let request = actor
            .request(Method::POST, TOKENS)
            .header("cookie", &cookie)
            .json(&json!({"title": "t"}));
        assert_eq!(actor.send(request).await.status, 201);
    }
    // A header that counts as absent leaves the cookie.
    let anonymous = server.anonymous();
    for (header, status) in [("Bearer a b", 200), ("Bearer", 200), ("Bearer a", 401)] {
        let request = anonymous
            .request(Method::GET, TOKENS)
            .header("cookie", &cookie)
            .header("authorization", header);
        assert_eq!(anonymous.send(request).await.status, status, "{header}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_sign_in_is_refused_in_the_shape_of_quay(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let (_, code) = create(&server.admin(), "t").await;
    server
        .add_account("disabled", "right-password", "Admin")
        .await;
    server
        .service
        .account_commands()
        .set_status("disabled".to_owned(), Status::Disabled)
        .await
        .unwrap();
    let refused = json!({
        "needsEmailVerification": false,
        "invalidCredentials": true,
        "message": "Invalid Username or Password",
    });
    let mut browser = Browser::new(&server);
    browser.visit().await;
    for (name, password) in [
        ("admin", "wrong-password"),
        ("nobody", ADMIN_PASSWORD),
        ("disabled", "right-password"),
        ("$app", &code),
        ("admin", &code),
        ("", ""),
    ] {
        let answer = browser.sign_in(name, password).await;
        answer.is(403, &refused, name);
        for header in ["set-cookie", "x-next-csrf-token"] {
            assert!(!answer.headers.contains_key(header), "{name}: {header}");
        }
    }
    // Without a session before it a foreign page could sign a browser in.
    let csrf_error: Value = serde_json::from_str(CSRF_ERROR).unwrap();
    let mut stranger = Browser::new(&server);
    let answer = stranger.sign_in("admin", ADMIN_PASSWORD).await;
    answer.is(403, &csrf_error, "no session");
    stranger.csrf = browser.csrf.clone();
    let answer = stranger.sign_in("admin", ADMIN_PASSWORD).await;
    answer.is(403, &csrf_error, "no cookie");
    stranger.cookie = Some("nonsense".to_owned());
    let answer = stranger.sign_in("admin", ADMIN_PASSWORD).await;
    answer.is(403, &csrf_error, "a cookie that does not hold");
    let answer = stranger
        .send(Method::POST, "/api/v1/signin", Some(json!(null)))
        .await;
    answer.is(
        403,
        &csrf_error,
        "a cookie that does not hold, before the body",
    );

    for (body, detail) in [
        (json!(null), "Missing JSON body"),
        (json!({}), "'username' is a required property"),
        (json!({"username": 1}), "'password' is a required property"),
        (
            json!({"username": "a", "password": 12345}),
            "what was sent is not of type 'string'",
        ),
        (json!(["hunter2"]), "what was sent is not of type 'object'"),
    ] {
        let answer = browser.send(Method::POST, SIGN_IN, Some(body)).await;
        let error = server.api_error(400, "invalid_request", detail);
        answer.is(400, &error, detail);
    }
}

#[rstest]
#[actix_web::test]
async fn what_matters_needs_a_fresh_sign_in(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--fresh-login", "5m"]).await;
    let mut browser = Browser::signed_in(&server, "admin", ADMIN_PASSWORD).await;
    server.clock.advance(TimeDelta::minutes(5));
    let made = browser
        .send(Method::POST, TOKENS, Some(json!({"title": "t"})))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    server.clock.advance(TimeDelta::seconds(1));
    let stale = server.api_error(401, "fresh_login_required", "Requires fresh login");
    for (method, path, body) in calls() {
        let answer = browser.send(method.clone(), path, body).await;
        if (&method, path) == (&Method::GET, TOKENS) {
            assert_eq!(answer.status, 200);
        } else {
            answer.is(401, &stale, &format!("{method} {path}"));
        }
    }
    // Before the body.
    let answer = browser.send(Method::POST, TOKENS, Some(json!([]))).await;
    answer.is(401, &stale, "a body");
    // Signing in again makes it fresh, without a visit in between.
    let again = browser.sign_in("admin", ADMIN_PASSWORD).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(browser.get(ALL).await.status, 200);
    // An hour, and the session is over.
    server.clock.advance(TimeDelta::minutes(59));
    assert_eq!(browser.get(TOKENS).await.status, 200);
    server.clock.advance(TimeDelta::minutes(1));
    let over = browser.get(TOKENS).await;
    over.is(401, &server.unauthenticated(), "over");
    let over = browser
        .send(Method::POST, TOKENS, Some(json!({"title": "t"})))
        .await;
    over.is(401, &server.unauthenticated(), "over");
}

#[rstest]
#[actix_web::test]
async fn a_session_ends_with_what_its_account_was(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    for name in [
        "changed",
        "promoted",
        "disabled",
        "enabled again",
        "deleted",
        "remade",
    ] {
        server.add_account(name, "right-password", "None").await;
        let mut browser = Browser::signed_in(&server, name, "right-password").await;
        // Wherever it asks.
        browser.actor = replica.anonymous();
        assert_eq!(browser.get(TOKENS).await.status, 200);
        let accounts = server.service.account_commands();
        match name {
            "changed" => {
                let password = SecretString::from("other-password".to_owned());
                let password = NewPassword::parse(password).unwrap();
                accounts
                    .set_password(name.to_owned(), &password, IssuedTokens::Keep)
                    .await
                    .unwrap();
            }
            "promoted" => accounts
                .set_roles(name.to_owned(), vec!["Admin".to_owned()])
                .await
                .unwrap(),
            "disabled" => accounts
                .set_status(name.to_owned(), Status::Disabled)
                .await
                .unwrap(),
            "enabled again" => {
                for status in [Status::Disabled, Status::Enabled] {
                    accounts.set_status(name.to_owned(), status).await.unwrap();
                }
            }
            _ => accounts
                .delete(name.to_owned(), LiveTokens::Revoke)
                .await
                .unwrap(),
        }
        if name == "remade" {
            server.add_account(name, "right-password", "None").await;
        }
        let answer = browser.get(TOKENS).await;
        answer.is(401, &replica.unauthenticated(), name);
    }
}

#[rstest]
#[actix_web::test]
async fn a_session_of_a_replica_whose_clock_is_ahead_holds(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let mut browser = Browser::signed_in(&server, "admin", ADMIN_PASSWORD).await;
    server.clock.set(TimeDelta::seconds(-30));
    assert_eq!(browser.get(TOKENS).await.status, 200);
    assert_eq!(browser.sign_in("admin", ADMIN_PASSWORD).await.status, 200);
    server.clock.set(TimeDelta::seconds(-31));
    let answer = browser.get(TOKENS).await;
    answer.is(401, &server.unauthenticated(), "from the future");
}

#[rstest]
#[actix_web::test]
async fn a_session_is_nothing_elsewhere(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let mut browser = Browser::signed_in(&server, "admin", ADMIN_PASSWORD).await;
    assert_eq!(browser.get(TOKENS).await.status, 200);
    for (method, path) in [
        (Method::GET, "/registries"),
        (Method::POST, "/registries"),
        (Method::GET, "/containerregistries/accounts"),
        (Method::GET, "/v1/apitokens"),
        (Method::GET, "/v1/auth/status"),
        (Method::POST, "/v1/apitokens/generate"),
        (Method::GET, "/token?service=a.localhost"),
        (Method::GET, "/v2/auth?service=a.localhost"),
    ] {
        let body = (method == Method::POST).then(|| json!({}));
        let answer = browser.send(method, path, body).await;
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
        assert!(!answer.headers.contains_key("set-cookie"), "{path}");
    }
}

#[actix_web::test]
async fn addresses_are_those_that_clients_use() {
    let server = Server::start(Backend::Sqlite).await;
    let anonymous = server.anonymous();
    for (host, base) in [
        ("localhost:1234", "http://localhost:1234"),
        ("[::1]:8080", "http://[::1]:8080"),
        // Anybody's word alone.
        ("evil.example.com", ""),
    ] {
        let request = |path| anonymous.request(Method::GET, path).header("host", host);
        let answer = anonymous.send(request(TOKENS)).await;
        let address = format!("{base}/api/v1/error/invalid_token");
        assert_eq!(answer.json["type"], address);
        let page = anonymous.send(request("/api/v1/error/invalid_token")).await;
        assert_eq!(page.json["type"], address);
    }
    let flags = ["--public-url", "https://wharf.example.com/base/"];
    let public = Server::start_with(Backend::Sqlite, &flags).await;
    let anonymous = public.anonymous();
    let answer = anonymous.get(TOKENS).await;
    let address = "https://wharf.example.com/base/api/v1/error/invalid_token";
    assert_eq!(answer.json["type"], address);
    let visited = anonymous.get("/csrf_token").await;
    assert!(
        visited
            .header("set-cookie")
            .ends_with("; SameSite=Lax; Secure"),
        "{visited:?}"
    );
}

#[actix_web::test]
async fn other_methods_are_refused_in_the_words_of_quay() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let message = json!({"message": "The method is not allowed for the requested URL."});
    for (method, path, allow) in [
        ("PUT", TOKENS, "GET, HEAD, POST"),
        ("DELETE", TOKENS, "GET, HEAD, POST"),
        ("POST", NOBODY, "GET, HEAD, DELETE"),
        ("PATCH", NOBODY, "GET, HEAD, DELETE"),
        ("POST", ALL, "GET, HEAD"),
        ("GET", SIGN_IN, "POST"),
        ("GET", SIGN_OUT, "POST"),
        ("POST", "/csrf_token", "GET, HEAD"),
        ("POST", "/api/v1/error/not_found", "GET, HEAD"),
        ("OPTIONS", TOKENS, "GET, HEAD, POST"),
    ] {
        let answer = admin
            .send(admin.request(method.parse().unwrap(), path))
            .await;
        answer.is(405, &message, &format!("{method} {path}"));
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[actix_web::test]
async fn unknown_paths_are_refused_in_the_words_of_quay() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    for path in [
        "/api/v1",
        "/api/v1/",
        "/api/v1/user",
        "/api/v1/user/apptoken/",
        "/api/v1/user/apptoken/a/b",
        "/api/v1/superuser/apptokens/",
        "/api/v1/repository",
        "/api/v1/error/",
        "/api/v1/error/nonsense",
        "/csrf_token/",
    ] {
        for actor in [&admin, &server.anonymous()] {
            actor.get(path).await.is(404, &server.not_found(), path);
        }
    }
    // The router decodes the path and finds this surface, so the errors and the cache headers are this surface's too.
    let (uuid, code) = create(&admin, "a").await;
    let path = format!("/%61pi/v1/user/apptoken/{uuid}");
    let answer = admin.get(&path).await;
    assert_eq!(answer.json["token"]["token_code"], code);
    answer.is_dressed(&path);
    for path in ["/%61pi/v1/user/apptoken/nonsense", "/api/%76%31/nonsense"] {
        admin.get(path).await.is(404, &server.not_found(), path);
    }
    // Another surface's, by its words.
    for path in [
        "/api/v2",
        "/api/v10",
        "/csrf_tokens",
        "/containerregistries/api/v1/user/apptoken",
    ] {
        let answer = admin.get(path).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (404, vec!["path-not-found"])
        );
    }
}

#[actix_web::test]
async fn every_title_is_explained() {
    let server = Server::start(Backend::Sqlite).await;
    let anonymous = server.anonymous();
    for title in [
        // Quay's own, and then ours.
        "external_service_timeout",
        "invalid_request",
        "invalid_response",
        "invalid_token",
        "expired_token",
        "insufficient_scope",
        "fresh_login_required",
        "exceeds_license",
        "not_found",
        "downstream_issue",
        "foreign_origin",
        "request_timeout",
        "request_too_large",
        "too_many_requests",
        "unavailable",
        "internal_error",
    ] {
        let path = format!("/api/v1/error/{title}");
        let answer = anonymous.get(&path).await;
        let description = answer.json["description"].as_str().unwrap();
        assert!(!description.is_empty());
        let body = json!({
            "type": format!("http://{}{path}", server.address),
            "title": title,
            "description": description,
        });
        answer.is(200, &body, title);
    }
}

#[actix_web::test]
async fn foreign_pages_are_refused_before_anything_is_read() {
    let server = Server::start(Backend::Sqlite).await;
    let mut browser = Browser::signed_in(&server, "admin", ADMIN_PASSWORD).await;
    let detail = "a web page of another origin may not send this request; \
                  if that origin is the address of this service, set --public-url to it";
    let error = server.api_error(403, "foreign_origin", detail);
    let cookie = format!("wharfinger-session={}", browser.cookie.clone().unwrap());
    let csrf = browser.csrf.clone().unwrap();
    for (name, value) in [
        ("origin", "https://evil.example.com"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for path in [TOKENS, SIGN_IN, SIGN_OUT, "/api/v1/nonsense"] {
            let request = browser
                .actor
                .request(Method::POST, path)
                .header("cookie", &cookie)
                .header("x-csrf-token", &csrf)
                .header(name, value)
                .json(&json!({"title": "t"}));
            let answer = browser.actor.send(request).await;
            answer.is(403, &error, &format!("{path} {name}: {value}"));
        }
    }
    let listed = browser.get(TOKENS).await;
    assert_eq!(listed.json["tokens"], json!([]));
}

#[rstest]
#[actix_web::test]
async fn failures_of_ours_say_no_more(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    server
        .database
        .execute("ALTER TABLE app_tokens RENAME TO elsewhere");
    let answer = admin.get(TOKENS).await;
    // The two databases class it differently, so that both kinds are seen here.
    let (status, title, detail, retry) = match backend {
        Backend::Sqlite => (
            500,
            "internal_error",
            "an internal error happened; the log has its cause under the id of this request",
            "",
        ),
        Backend::Postgres => (
            503,
            "unavailable",
            "the service cannot answer right now; try again in 1 s",
            "1",
        ),
    };
    let error = server.api_error(status, title, detail);
    answer.is(status, &error, "no table");
    assert_eq!(answer.header("retry-after"), retry);
    server
        .database
        .execute("ALTER TABLE elsewhere RENAME TO app_tokens");
    assert_eq!(admin.get(TOKENS).await.status, 200);
}

/// The Ansible module `quay_docker_token`: it says that every request is JSON, and reads the first match of a title.
async fn ansible(actor: &Actor, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = actor
        .request(method, path)
        .header("content-type", "application/json")
        .header("accept", "application/json");
    let request = match body {
        Some(body) => request.body(body.to_string()),
        None => request,
    };
    actor.send(request).await
}

#[rstest]
#[actix_web::test]
async fn the_ansible_module_works(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    // With a token, as a task that is run twice and then undone.
    let actor = bearer(&server, &server.admin(), &["Admin"]).await;
    let mut codes = Vec::new();
    for run in 0..2 {
        let listed = ansible(&actor, Method::GET, TOKENS, None).await;
        assert_eq!(listed.status, 200);
        let tokens = listed.json["tokens"].as_array().unwrap();
        let first = tokens.iter().find(|token| token["title"] == "ansible");
        assert_eq!(first.is_some(), run == 1);
        let answer = if let Some(token) = first {
            let path = format!("{TOKENS}/{}", token["uuid"].as_str().unwrap());
            let answer = ansible(&actor, Method::GET, &path, None).await;
            assert_eq!(answer.status, 200);
            answer
        } else {
            let body = json!({"title": "ansible"});
            let answer = ansible(&actor, Method::POST, TOKENS, Some(body)).await;
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
            answer
        };
        codes.push(answer.json["token"]["token_code"].clone());
    }
    assert!(codes[0].is_string() && codes[0] == codes[1]);
    create(&actor, "ansible").await;
    create(&actor, "other").await;
    let listed = ansible(&actor, Method::GET, TOKENS, None).await;
    for token in listed.json["tokens"].as_array().unwrap() {
        if token["title"] == "ansible" {
            let path = format!("{TOKENS}/{}", token["uuid"].as_str().unwrap());
            assert_eq!(
                ansible(&actor, Method::DELETE, &path, None).await.status,
                204
            );
        }
    }
    assert_eq!(titles(&actor, TOKENS).await, ["other"]);

    // With a password: the cookie of each answer, and the CSRF token in the answer.
    let mut browser = Browser::new(&server);
    browser.visit().await;
    let answer = browser.sign_in("admin", ADMIN_PASSWORD).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.header("x-next-csrf-token").is_empty());
    let made = browser
        .send(Method::POST, TOKENS, Some(json!({"title": "by password"})))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let listed = browser.get(TOKENS).await;
    assert_eq!(listed.json["tokens"][1]["title"], "by password");
    let out = browser.send(Method::POST, SIGN_OUT, Some(json!({}))).await;
    assert_eq!(out.status, 200);
}

#[rstest]
#[actix_web::test]
async fn the_bootstrap_script_works(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    // It takes no status but 200, so it needs the setting.
    let server = Server::start_with(backend, &["--quay-create-status", "200"]).await;
    let actor = bearer(&server, &server.admin(), &["Admin"]).await;
    let listed = actor.get(TOKENS).await;
    assert_eq!((listed.status, &listed.json["tokens"]), (200, &json!([])));
    let made = actor.post(TOKENS, json!({"title": "bootstrap"})).await;
    assert_eq!(made.status, 200);
    let id = made.json["token"]["uuid"].as_str().unwrap();
    let shown = actor.get(&format!("{TOKENS}/{id}")).await;
    assert_eq!(shown.status, 200);
    // The code in a pull secret logs in.
    let code = shown.json["token"]["token_code"].as_str().unwrap();
    server.admin().create_registry("team-a").await;
    let service = [("service", "team-a.localhost")];
    let opened = server.actor("$app", code).ask("/v2/auth", &service).await;
    assert_eq!(opened.status, 200, "{opened:?}");
}

#[rstest]
#[actix_web::test]
async fn the_service_account_script_works(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let mut browser = Browser::new(&server);
    browser.visit().await;
    let first = browser.csrf.clone();
    let answer = browser.sign_in("admin", ADMIN_PASSWORD).await;
    assert_eq!(answer.status, 200);
    // It does not know the header, and asks again.
    browser.csrf = first;
    browser.visit().await;
    let made = browser
        .send(Method::POST, TOKENS, Some(json!({"title": "service"})))
        .await;
    assert!(matches!(made.status, 200 | 201), "{made:?}");
}
