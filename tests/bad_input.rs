//! Bad input: each gets the surface's error, with the right status and code, and changes nothing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server};
use crate::openapi::{document, members_of, operations};

const TOKEN: &str = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10";
/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";
const BODY_LIMIT: usize = 1024 * 1024;
/// Methods, paths and good bodies of all that writes, or is sent like it, with `R` for the registry and `T` for its
/// token.
const WRITES: [(&str, &str, &str); 11] = [
    (
        "POST",
        "/registries",
        r#"{"properties": {"name": "team-b", "location": "de/fra"}}"#,
    ),
    (
        "PUT",
        "/registries/R",
        r#"{"properties": {"name": "team-a", "location": "de/fra", "apiSubnetAllowList": ["::1"]}}"#,
    ),
    (
        "PATCH",
        "/registries/R",
        r#"{"apiSubnetAllowList": ["::1"]}"#,
    ),
    ("DELETE", "/registries/R", ""),
    (
        "POST",
        "/registries/R/tokens",
        r#"{"properties": {"name": "deploy"}}"#,
    ),
    (
        "PUT",
        "/registries/R/tokens/T",
        r#"{"properties": {"name": "ci", "status": "disabled"}}"#,
    ),
    (
        "PATCH",
        "/registries/R/tokens/T",
        r#"{"status": "disabled"}"#,
    ),
    ("DELETE", "/registries/R/tokens/T", ""),
    (
        "POST",
        "/registries/R/tokens/T/evaluate",
        r#"{"scope": "repository:a:pull"}"#,
    ),
    (
        "POST",
        "/registries/R/tokens/T/rotate",
        r#"{"gracePeriod": "PT1H"}"#,
    ),
    ("DELETE", "/registries/R/tokens/T/previous-secret", ""),
];

/// A server with one registry and one token in it, which no request of these tests may change.
struct Bench {
    server: Server,
    admin: Actor,
    registry: String,
    before: Vec<Value>,
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend).await;
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let mut bench = Self {
            server,
            admin,
            registry,
            before: Vec::new(),
        };
        let body = json!({"properties": {"name": "ci", "expiryDate": "2027-01-01T00:00:00Z",
            "scopes": [{"actions": ["pull"], "name": "a", "type": "repository"}]}});
        let made = bench
            .admin
            .put(&bench.path("/registries/R/tokens/T"), body)
            .await;
        assert_eq!(made.status, 201);
        bench.before = bench.state().await;
        bench
    }

    fn path(&self, path: &str) -> String {
        path.replace('R', &self.registry).replace('T', TOKEN)
    }

    /// All there is to see: lists show whole registries and tokens.
    async fn state(&self) -> Vec<Value> {
        let mut state = Vec::new();
        for path in ["/registries", "/registries/R/tokens"] {
            let answer = self.admin.get(&self.path(path)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            state.push(answer.json);
        }
        state
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let mut request = self
            .admin
            .request(method.parse().unwrap(), &self.path(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.admin.send(request.body(body.into())).await
    }

    /// Sends JSON, which must be refused.
    async fn refuse(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Vec<u8>>,
        status: u16,
        codes: &[&str],
    ) -> Answer {
        let body = body.into();
        let text = String::from_utf8_lossy(&body);
        let what = format!(
            "{method} {path} {}",
            text.chars().take(200).collect::<String>()
        );
        let answer = self
            .send(method, path, &[("content-type", "application/json")], body)
            .await;
        self.check(&what, &answer, status, codes).await;
        answer
    }

    /// Sends JSON with an unknown member, and checks the refusal.
    async fn refuse_unknown(&self, method: &str, path: &str, body: &str, told: &str) {
        let answer = self.refuse(method, path, body, 400, &["invalid-body"]);
        assert_eq!(answer.await.message(), format!("unknown member {told}"));
    }

    /// Sends properties that break a rule to all routes that make a token.
    async fn refuse_new_token(&self, properties: &Value, codes: &[&str]) {
        let body = json!({"properties": properties}).to_string();
        for (method, path) in [
            ("POST", "/registries/R/tokens"),
            ("PUT", "/registries/R/tokens/T"),
            ("PUT", &format!("/registries/R/tokens/{NOBODY}")),
        ] {
            self.refuse(method, path, body.clone(), 400, codes).await;
        }
    }

    /// Sends properties that break a rule to all routes that make or change a token.
    async fn refuse_token(&self, properties: &Value, code: &str) {
        for (method, path, name) in [
            ("POST", "/registries/R/tokens", "deploy"),
            ("PUT", "/registries/R/tokens/T", "ci"),
            ("PUT", &format!("/registries/R/tokens/{NOBODY}"), "deploy"),
        ] {
            let mut named = properties.clone();
            named["name"] = json!(name);
            let body = json!({"properties": named}).to_string();
            self.refuse(method, path, body, 400, &[code]).await;
        }
        let (path, body) = ("/registries/R/tokens/T", properties.to_string());
        self.refuse("PATCH", path, body, 400, &[code]).await;
    }

    /// Sends properties that break a rule to all routes that make a registry. An existing registry refuses a wrong
    /// location first because the location differs from its own.
    async fn refuse_new_registry(&self, properties: &Value, codes: &[&str]) {
        let body = json!({"properties": properties}).to_string();
        for (method, path) in [
            ("POST", "/registries"),
            ("PUT", &format!("/registries/{NOBODY}")),
            ("PUT", "/registries/R"),
        ] {
            if path != "/registries/R" || codes != ["invalid-location"] {
                self.refuse(method, path, body.clone(), 400, codes).await;
            }
        }
    }

    /// Sends properties that break a rule to all routes that make or change a registry.
    async fn refuse_registry(&self, properties: &Value, code: &str) {
        for (method, path, name) in [
            ("POST", "/registries", "team-b"),
            ("PUT", "/registries/R", "team-a"),
            ("PUT", &format!("/registries/{NOBODY}"), "team-b"),
        ] {
            let mut named = properties.clone();
            (named["name"], named["location"]) = (json!(name), json!("de/fra"));
            let body = json!({"properties": named}).to_string();
            self.refuse(method, path, body, 400, &[code]).await;
        }
        let (path, body) = ("/registries/R", properties.to_string());
        self.refuse("PATCH", path, body, 400, &[code]).await;
    }

    /// Checks a refusal: its status and codes, its form, and that nothing changed.
    async fn check(&self, what: &str, answer: &Answer, status: u16, codes: &[&str]) {
        // One thing may have several faults.
        let mut found = answer.codes();
        if codes.len() == 1 {
            found.dedup();
        }
        assert_eq!(
            (answer.status, found),
            (status, codes.to_vec()),
            "{what}: {}",
            answer.text
        );
        assert_eq!(answer.header("content-type"), "application/json", "{what}");
        assert!(!answer.header("x-request-id").is_empty(), "{what}");
        let messages: Vec<_> = answer.json["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| json!({"errorCode": message["errorCode"].as_str().unwrap(), "message": message["message"].as_str().unwrap()}))
            .collect();
        assert_eq!(
            answer.json,
            json!({"httpStatus": status, "messages": messages}),
            "{what}"
        );
        let message = answer.message();
        assert!(
            !message.is_empty() && message.chars().count() < 1000 * codes.len(),
            "{what}: {message}"
        );
        // Names of our types are no business of the caller, control characters none of his terminal.
        assert!(
            !message.contains("struct ") && !message.contains(char::is_control),
            "{what}: {message}"
        );
        assert_eq!(self.state().await, self.before, "{what} changed something");
    }
}

/// Bodies that no object can be read from.
fn no_objects() -> Vec<Vec<u8>> {
    let texts = [
        "",
        " ",
        "{",
        "}",
        "nonsense",
        "{} {}",
        "{}x",
        "{'name': 1}",
        "{\"id\": 1,}",
        "\u{feff}",
        "\u{feff}\u{feff}{}",
        "null",
        "true",
        "5",
        "\"{}\"",
        "name=ci",
        "{\"id\": \"\\ud800\"}",
        "{\"id\": 1, \"id\": 2}",
        "{\"id\": \"a\nb\"}",
        "{\"id\": NaN}",
        "{\"id\": 1e999}",
        // An array of a struct's members in their order is no object, though serde would read it.
        "[]",
        "[null, null, null]",
        r#"[{"name": "deploy", "location": "de/fra"}]"#,
        r#"[["deploy", null, null, null]]"#,
        r#"["2028-01-01T00:00:00Z", [], "disabled"]"#,
        r#"[null, null, ["::1"]]"#,
        r#"{"properties": ["deploy", null, null, null]}"#,
    ];
    let bytes = [
        b"{\"id\": \"\xff\"}".as_slice(),
        b"\xff\xfe{\0}\0",
        b"{\"id\": \"\0\"}",
    ];
    let texts = texts.iter().map(|text| text.as_bytes());
    texts.chain(bytes).map(<[u8]>::to_vec).collect()
}

fn deep_array() -> String {
    format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))
}

fn deep_object() -> String {
    format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000))
}

#[actix_web::test]
async fn bodies_that_are_no_json_object_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let mut bodies = no_objects();
    bodies.extend([
        deep_array().into_bytes(),
        deep_object().into_bytes(),
        // Nested where the content is ignored, too.
        format!(r#"{{"id": {}}}"#, deep_array()).into_bytes(),
        format!(r#"{{"metadata": {}}}"#, deep_object()).into_bytes(),
        "[".repeat(500_000).into_bytes(),
    ]);
    for (method, path, good) in WRITES {
        for body in bodies.iter().filter(|_| !good.is_empty()) {
            // An error after an empty object comes after the errors for its missing members.
            let rotates = good.contains("gracePeriod");
            let codes = match serde_json::from_slice(body) {
                _ if rotates && body.starts_with(b"{}") => &["invalid-grace-period"][..],
                Ok(Value::Object(_)) if rotates => &["invalid-body", "invalid-grace-period"],
                _ => &["invalid-body"],
            };
            bench.refuse(method, path, body.clone(), 400, codes).await;
        }
    }
}

#[actix_web::test]
async fn nesting_is_bounded_in_members_that_are_read() {
    let bench = Bench::new(Backend::Sqlite).await;
    let scopes = format!(r#"{{"scopes": {}}}"#, deep_array());
    let expiry = format!(r#"{{"expiryDate": {}}}"#, deep_object());
    let features = format!(
        r#"{{"features": {{"vulnerabilityScanning": {{"enabled": true, "properties": {}}}}}}}"#,
        deep_object()
    );
    let (token, registry) = ("/registries/R/tokens/T", "/registries/R");
    for (path, body, code) in [
        (token, scopes, "invalid-scopes"),
        (token, expiry, "invalid-expiry-date"),
        (registry, features, "invalid-body"),
    ] {
        bench.refuse("PATCH", path, body, 400, &[code]).await;
    }
}

#[actix_web::test]
async fn token_names_outside_their_pattern_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let long = "a".repeat(64);
    for wrong in [
        "",
        "a",
        "1a",
        "-a",
        "a-",
        "a_b",
        "a.b",
        "a b",
        "a:b",
        "a/b",
        "äb",
        "ab\n",
        "ab ",
        " ab",
        "a\0b",
        "ab\0",
        "Ａb",
        "ab\u{200b}",
        &long,
    ] {
        bench
            .refuse_new_token(&json!({"name": wrong}), &["invalid-name"])
            .await;
    }
    for wrong in [
        json!({}),
        json!({"name": null}),
        json!({"name": 5}),
        json!({"name": ["ci"]}),
    ] {
        bench.refuse_new_token(&wrong, &["invalid-name"]).await;
    }
}

#[actix_web::test]
async fn every_broken_rule_of_a_token_is_told_at_once() {
    let bench = Bench::new(Backend::Sqlite).await;
    let scopes = json!([{"actions": ["\u{7f}"], "name": "a", "type": "a"}]);
    let codes = [
        "invalid-name",
        "invalid-expiry-date",
        "invalid-scopes",
        "invalid-status",
    ];
    let wrong = json!({"name": "a b", "expiryDate": "x", "status": "x", "scopes": scopes});
    bench.refuse_new_token(&wrong, &codes).await;
}

#[actix_web::test]
async fn scopes_that_are_none_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    for wrong in [
        json!("pull"),
        json!({}),
        json!([1]),
        json!([null]),
        json!([{}]),
        json!([["pull"]]),
        json!([[["pull"], "a", "repository"]]),
        json!([{"name": "a", "type": "a"}]),
        json!([{"actions": [], "name": "a"}]),
        json!([{"actions": [], "type": "a"}]),
        json!([{"actions": "pull", "name": "a", "type": "a"}]),
        json!([{"actions": [5], "name": "a", "type": "a"}]),
        json!([{"actions": [null], "name": "a", "type": "a"}]),
        json!([{"actions": [], "name": null, "type": "a"}]),
        json!([{"actions": ["a\0"], "name": "a", "type": "a"}]),
        json!([{"actions": [], "name": "a\0", "type": "a"}]),
        json!([{"actions": [], "name": "a", "type": "\u{1b}[2J"}]),
    ] {
        bench
            .refuse_token(&json!({"scopes": wrong}), "invalid-scopes")
            .await;
    }
}

#[actix_web::test]
async fn expiry_dates_that_are_no_later_instant_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let texts = [
        "",
        "tomorrow",
        "2031-01-01",
        "2031-01-01T02:03:04",
        "2031-01-01 02:03:04",
        "02:03:04Z",
        "2031-13-01T00:00:00Z",
        "2031-02-29T00:00:00Z",
        "2031-01-01T24:00:00Z",
        "2031-01-01T00:00Z",
        "2031-01-01T00:00:00+25:00",
        "2031-01-01T00:00:00Z\0",
        " 2031-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-00:01",
        "-2031-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00Z",
        "2026-11-21T12:00:00Z",
        "2026-11-21T13:00:00+01:00",
        "2025-01-01T00:00:00Z",
        "1900000000",
    ];
    let others = [
        json!(1_900_000_000),
        json!({}),
        json!(["2028-01-01T00:00:00Z"]),
    ];
    for wrong in texts.map(|text| json!(text)).into_iter().chain(others) {
        bench
            .refuse_token(&json!({"expiryDate": wrong}), "invalid-expiry-date")
            .await;
    }
}

#[actix_web::test]
async fn statuses_that_are_none_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let texts = ["", "Enabled", "enabled ", "expired", "revoked", "enabled\0"];
    for wrong in texts
        .map(|text| json!(text))
        .into_iter()
        .chain([json!(true)])
    {
        bench
            .refuse_token(&json!({"status": wrong}), "invalid-status")
            .await;
    }
}

#[actix_web::test]
async fn tokens_without_properties_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    for body in [
        r"{}",
        r#"{"properties": null}"#,
        r#"{"properties": "ci"}"#,
        r#"{"properties": []}"#,
        r#"{"metadata": {}}"#,
    ] {
        bench
            .refuse("POST", "/registries/R/tokens", body, 400, &["invalid-body"])
            .await;
    }
}

#[actix_web::test]
async fn registry_names_outside_their_pattern_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let long = "a".repeat(64);
    for wrong in [
        "", "ab", "Abc", "1bc", "-bc", "ab-", "a_c", "a.c", "a/c", "a c", "abc\n", "ab\0c", "äbc",
        &long,
    ] {
        let wrong = json!({"name": wrong, "location": "de/fra"});
        bench.refuse_new_registry(&wrong, &["invalid-name"]).await;
    }
    for wrong in [
        json!({"location": "de/fra"}),
        json!({"name": 5, "location": "de/fra"}),
    ] {
        bench.refuse_new_registry(&wrong, &["invalid-name"]).await;
    }
}

#[actix_web::test]
async fn locations_that_are_not_listed_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let mut wrong = vec![
        json!({"name": "team-b"}),
        json!({"name": "team-b", "location": null}),
        json!({"name": "team-b", "location": 5}),
    ];
    for location in ["", "de", "de/fr", "DE/FRA", "de/fra\0", "de/fra "] {
        wrong.push(json!({"name": "team-b", "location": location}));
    }
    for wrong in wrong {
        bench
            .refuse_new_registry(&wrong, &["invalid-location"])
            .await;
    }
}

#[actix_web::test]
async fn every_broken_rule_of_a_registry_is_told_at_once() {
    let bench = Bench::new(Backend::Sqlite).await;
    let schedule = json!({"days": ["Montag", "monday"], "time": "noon"});
    let wrong = json!({"name": "A", "location": "de/fra", "garbageCollectionSchedule": schedule,
        "apiSubnetAllowList": ["x"]});
    let codes = [
        "invalid-name",
        "invalid-garbage-collection-schedule",
        "invalid-garbage-collection-schedule",
        "invalid-garbage-collection-schedule",
        "invalid-api-subnet-allow-list",
    ];
    bench.refuse_new_registry(&wrong, &codes).await;
}

#[actix_web::test]
async fn schedules_that_are_none_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let mut wrong = vec![
        json!("x"),
        json!({}),
        json!([["Monday"], "10:00:00Z"]),
        json!({"days": ["Monday"]}),
        json!({"time": "10:00:00Z"}),
        json!({"days": "Monday", "time": "10:00:00Z"}),
        json!({"days": [1], "time": "10:00:00Z"}),
        json!({"days": [null], "time": "10:00:00Z"}),
        json!({"days": ["Monday\0"], "time": "10:00:00Z"}),
        json!({"days": ["MONDAY"], "time": "10:00:00Z"}),
        json!({"days": [], "time": null}),
    ];
    for time in [
        "",
        "Z",
        "noon",
        "10:00",
        "24:00:00",
        "10:60:00",
        "1:00:00",
        "10:00:00+1",
        "10:00:00 Z",
        "10:00:00Z\0",
        "2026-11-21T10:00:00Z",
    ] {
        wrong.push(json!({"days": [], "time": time}));
    }
    for wrong in wrong {
        let wrong = json!({"garbageCollectionSchedule": wrong});
        bench
            .refuse_registry(&wrong, "invalid-garbage-collection-schedule")
            .await;
    }
}

#[actix_web::test]
async fn features_that_are_none_and_scanning_that_is_off_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    for wrong in [
        json!("x"),
        json!([]),
        json!([[true, null]]),
        json!({"vulnerabilityScanning": {}}),
        json!({"vulnerabilityScanning": true}),
        json!({"vulnerabilityScanning": [true, null]}),
        json!({"vulnerabilityScanning": {"enabled": "true"}}),
        json!({"vulnerabilityScanning": {"enabled": null}}),
        json!({"vulnerabilityScanning": {"enabled": true, "properties": []}}),
    ] {
        bench
            .refuse_registry(&json!({"features": wrong}), "invalid-features")
            .await;
    }
    // It is on from the start, and a new registry may have it off.
    let off = r#"{"features": {"vulnerabilityScanning": {"enabled": false}}}"#;
    bench
        .refuse("PATCH", "/registries/R", off, 400, &["invalid-features"])
        .await;
}

#[actix_web::test]
async fn subnets_that_are_none_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let mut wrong = vec![
        json!("10.0.0.1"),
        json!({}),
        json!([1]),
        json!([null]),
        json!(vec!["10.0.0.1"; 26]),
    ];
    for subnet in [
        "",
        "x",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "::1/129",
        ":::",
        "1.2.3.4 ",
        "1.2.3.4\0",
        "::1%eth0",
    ] {
        wrong.push(json!(["10.0.0.1", subnet]));
    }
    for wrong in wrong {
        let wrong = json!({"apiSubnetAllowList": wrong});
        bench
            .refuse_registry(&wrong, "invalid-api-subnet-allow-list")
            .await;
    }
}

#[actix_web::test]
async fn token_verifiers_that_are_none_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let code = "invalid-token-verifier";
    for wrong in [
        json!(""),
        json!("X5C"),
        json!("x5c\0"),
        json!("jwks"),
        json!(5),
        json!([]),
        json!({"x5c": true}),
    ] {
        bench
            .refuse_registry(&json!({"tokenVerifier": wrong}), code)
            .await;
    }
    let wrong = r#"{"tokenVerifier": "jwks"}"#;
    let answer = bench
        .refuse("PATCH", "/registries/R", wrong, 400, &[code])
        .await;
    assert_eq!(
        answer.message(),
        r#"tokenVerifier "jwks" is neither "x5c" nor "pinned""#
    );
}

#[actix_web::test]
async fn unknown_members_of_a_token_are_named_with_the_nearest_known_one() {
    let bench = Bench::new(Backend::Sqlite).await;
    let (tokens, one) = ("/registries/R/tokens", "/registries/R/tokens/T");
    for (member, told) in [
        (
            r#""expirydate": null"#,
            r#""expirydate" in properties; did you mean "expiryDate"?"#,
        ),
        (
            r#""expiry": null"#,
            r#""expiry" in properties; did you mean "expiryDate"?"#,
        ),
        (
            r#""scope": []"#,
            r#""scope" in properties; did you mean "scopes"?"#,
        ),
        (
            r#""state": "disabled""#,
            r#""state" in properties; did you mean "status"?"#,
        ),
        (
            r#""scopes": [{"action": [], "name": "a", "type": "a"}]"#,
            r#""action" in properties.scopes[0]; did you mean "actions"?"#,
        ),
    ] {
        let body = format!(r#"{{"properties": {{"name": "ci", {member}}}}}"#);
        bench.refuse_unknown("POST", tokens, &body, told).await;
        bench.refuse_unknown("PUT", one, &body, told).await;
    }
    for (method, path, body, told) in [
        (
            "POST",
            tokens,
            r#"{"properties": {"name": "deploy"}, "propertys": {}}"#,
            r#""propertys"; did you mean "properties"?"#,
        ),
        (
            "PATCH",
            one,
            r#"{"ExpiryDate": null}"#,
            r#""ExpiryDate"; did you mean "expiryDate"?"#,
        ),
    ] {
        bench.refuse_unknown(method, path, body, told).await;
    }
}

#[actix_web::test]
async fn unknown_members_of_a_registry_are_named_with_the_nearest_known_one() {
    let bench = Bench::new(Backend::Sqlite).await;
    for (member, told) in [
        (
            r#""feature": {}"#,
            r#""feature" in properties; did you mean "features"?"#,
        ),
        (
            r#""apiSubnetAllowlist": []"#,
            r#""apiSubnetAllowlist" in properties; did you mean "apiSubnetAllowList"?"#,
        ),
        (
            r#""features": {"vulnerabilityScanning": {"enable": true}}"#,
            r#""enable" in properties.features.vulnerabilityScanning; did you mean "enabled"?"#,
        ),
    ] {
        let properties = format!(r#"{{"name": "team-a", "location": "de/fra", {member}}}"#);
        let body = format!(r#"{{"properties": {properties}}}"#);
        for (method, path) in [("POST", "/registries"), ("PUT", "/registries/R")] {
            bench.refuse_unknown(method, path, &body, told).await;
        }
    }
    let body = r#"{"garbageCollectionSchedul": null}"#;
    let told = r#""garbageCollectionSchedul"; did you mean "garbageCollectionSchedule"?"#;
    bench
        .refuse_unknown("PATCH", "/registries/R", body, told)
        .await;
}

#[actix_web::test]
async fn members_in_the_wrong_place_are_told_where_they_belong() {
    let bench = Bench::new(Backend::Sqlite).await;
    let tokens = "/registries/R/tokens";
    let mixed = r#"{"expiryDate": null, "properties": {"name": "deploy"}}"#;
    let name = r#"{"name": "other"}"#;
    let inside = r#"put it inside "properties""#;
    for (method, path, body, member, hint) in [
        ("POST", tokens, name, "name", inside),
        ("POST", tokens, mixed, "expiryDate", inside),
    ] {
        let told = format!(r#""{member}"; {hint}"#);
        bench.refuse_unknown(method, path, body, &told).await;
    }
}

/// An answer that is edited and sent back has everything in it that an answer has.
#[rstest]
#[actix_web::test]
async fn a_patch_takes_what_was_read(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let account = bench.admin.create_account("bob", &["Analyst"]).await;
    let account = format!("/accounts/{account}");
    for path in ["/registries/R", "/registries/R/tokens/T", &account] {
        let path = bench.path(path);
        let read = bench.admin.get(&path).await;
        let mut properties = read.json["properties"].clone();
        let again = bench.admin.patch(&path, properties.clone()).await;
        assert_eq!(again.status, 200, "{path}: {again:?}");
        assert_eq!(again.header("etag"), read.header("etag"), "{path}");
        properties["name"] = json!("other");
        let named = bench.admin.patch(&path, properties).await;
        assert_eq!(
            (named.status, named.codes()),
            (400, vec!["invalid-name"]),
            "{path}"
        );
        assert!(
            named.message().contains("cannot be changed"),
            "{path}: {}",
            named.message()
        );
    }
    let moved = json!({"location": "de/txl"});
    let moved = bench.admin.patch(&bench.path("/registries/R"), moved).await;
    assert_eq!(
        (moved.status, moved.codes()),
        (400, vec!["invalid-location"])
    );
}

#[actix_web::test]
async fn a_password_among_the_credentials_of_something_new_is_refused_and_not_repeated() {
    let bench = Bench::new(Backend::Sqlite).await;
    let account = bench.admin.create_account("bob", &[]).await;
    let account = format!("/accounts/{account}");
    let secret = "a-secret-that-nobody-else-has";
    let made = format!("/registries/R/tokens/{NOBODY}");
    for (method, path, name) in [
        ("POST", "/registries/R/tokens", "deploy"),
        ("PUT", &made, "other"),
        ("POST", "/accounts", "eve"),
        // A token or account that is there keeps its own, and is sent back as the answer was that made it.
        ("PUT", "/registries/R/tokens/T", "ci"),
        ("PATCH", "/registries/R/tokens/T", "ci"),
        ("PATCH", &account, "bob"),
    ] {
        let makes = !matches!(name, "ci" | "bob");
        let send = async |password: Value| {
            let credentials = json!({"username": "x", "password": password});
            let properties = json!({"name": name, "credentials": credentials});
            let wrapped = method != "PATCH";
            let body = if wrapped {
                json!({"properties": properties})
            } else {
                properties
            };
            let json = [("content-type", "application/json")];
            bench.send(method, path, &json, body.to_string()).await
        };
        for password in [json!(secret), json!([secret]), json!({"x": secret})] {
            let answer = send(password).await;
            assert!(!answer.text.contains(secret), "{}", answer.text);
            let status = if makes { 400 } else { 200 };
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            if makes {
                assert_eq!(answer.codes(), ["invalid-password"], "{method} {path}");
            }
        }
        for password in [json!(""), json!(null)] {
            let answer = send(password).await;
            assert!(
                answer.status < 300 || answer.status == 409,
                "{method} {path}: {answer:?}"
            );
        }
    }
}

#[actix_web::test]
async fn unknown_members_that_are_like_none_are_told_with_all_known_ones() {
    let bench = Bench::new(Backend::Sqlite).await;
    let (one, home) = ("/registries/R/tokens/T", "/registries/R");
    for (path, body, told, schema) in [
        (one, r#"{"": 1}"#, r#""""#, "PatchTokenInput"),
        (
            one,
            r#"{"a\n`, expected `b": 1}"#,
            r#""a\n`, expected `b""#,
            "PatchTokenInput",
        ),
        (
            home,
            r#"{"features": {"scanning": true}}"#,
            r#""scanning" in features"#,
            "RegistryFeatures",
        ),
        (
            home,
            r#"{"garbageCollectionSchedule": {"days": [], "time": "10:00:00Z", "zone": 1}}"#,
            r#""zone" in garbageCollectionSchedule"#,
            "WeeklySchedule",
        ),
    ] {
        let answer = bench
            .refuse("PATCH", path, body, 400, &["invalid-body"])
            .await;
        let message = answer.message();
        let (said, listed) = message.split_once("; known are ").unwrap();
        assert_eq!(said, format!("unknown member {told}"));
        let listed: BTreeSet<_> = listed.split(", ").map(str::to_owned).collect();
        assert_eq!(listed, members_of(schema));
    }
}

#[actix_web::test]
async fn ids_of_any_other_form_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    let bare = TOKEN.replace('-', "");
    let groups = [
        &bare[..7],
        &bare[7..12],
        &bare[12..16],
        &bare[16..20],
        &bare[20..],
    ];
    let forms = [
        bare.clone(),
        format!("%7B{TOKEN}%7D"),
        format!("urn:uuid:{TOKEN}"),
        format!("{TOKEN}0"),
        TOKEN[1..].to_owned(),
        format!("%20{TOKEN}"),
        format!("{TOKEN}%00"),
        format!("{TOKEN}%0A"),
        TOKEN.replace('a', "g"),
        TOKEN.replace('-', "_"),
        format!("{}-{}", &bare[..16], &bare[16..]),
        groups.join("-"),
        TOKEN.replace('5', "%EF%BC%95"),
        "1".to_owned(),
        "-1".to_owned(),
        "null".to_owned(),
        "%FF".to_owned(),
        "a%2Fb".to_owned(),
        "'%20OR%201=1--".to_owned(),
    ];
    let reads = [
        ("GET", "/registries/R", ""),
        ("GET", "/registries/R/tokens", ""),
        ("GET", "/registries/R/tokens/T", ""),
    ];
    for form in &forms {
        for (method, path, body) in WRITES.into_iter().chain(reads) {
            let mut asked = Vec::new();
            if path.contains('R') {
                asked.push((path.replace('R', form), "invalid-registry-id"));
            }
            if path.contains('T') {
                asked.push((path.replace('T', form), "invalid-token-id"));
                // Only the first error is reported; the second would need a look-up.
                asked.push((path.replace(['R', 'T'], form), "invalid-registry-id"));
            }
            for (path, code) in asked {
                bench.refuse(method, &path, body, 400, &[code]).await;
            }
        }
    }
}

#[actix_web::test]
async fn offsets_and_limits_are_digits_in_range() {
    let bench = Bench::new(Backend::Sqlite).await;
    let huge = "9".repeat(1000);
    let tokens = "/registries/R/tokens";
    for wrong in [
        "",
        "-1",
        "+1",
        "%2B1",
        "1.0",
        "1e1",
        "0x1",
        "one",
        "null",
        "%201",
        "1%20",
        "%00",
        "1%00",
        "%D9%A1",
        "9223372036854775808",
        &huge,
    ] {
        for (query, code) in [
            (format!("{tokens}?offset={wrong}"), "invalid-offset"),
            (format!("{tokens}?limit={wrong}"), "invalid-limit"),
            (format!("/registries?limit={wrong}"), "invalid-limit"),
        ] {
            bench.refuse("GET", &query, "", 400, &[code]).await;
        }
    }
    for (query, codes) in [
        ("/registries/R/tokens?limit=1001", &["invalid-limit"][..]),
        (
            "/registries/R/tokens?limit=9223372036854775807",
            &["invalid-limit"],
        ),
        ("/registries/R/tokens?limit=1&limit=2", &["invalid-query"]),
        ("/registries?limit=1001", &["invalid-limit"]),
        ("/registries?filter.name=a%00", &["invalid-filter-name"]),
        ("/registries?filter.name=%1B", &["invalid-filter-name"]),
        (
            "/registries/R/tokens?offset=x&limit=x",
            &["invalid-offset", "invalid-limit"],
        ),
    ] {
        bench.refuse("GET", query, "", 400, codes).await;
    }
}

#[actix_web::test]
async fn wrong_methods_learn_the_right_ones() {
    let bench = Bench::new(Backend::Sqlite).await;
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get",
    ];
    let body = r#"{"properties": {"name": "deploy"}}"#;
    for (path, allow) in [
        ("/locations", "GET, HEAD"),
        ("/names/team-a", "HEAD"),
        ("/registries", "GET, HEAD, POST"),
        ("/%72egistries", "GET, HEAD, POST"),
        ("/registries/R", "GET, HEAD, PUT, PATCH, DELETE"),
        ("/registries/R/tokens", "GET, HEAD, POST"),
        ("/registries/R/tokens/T", "GET, HEAD, PUT, PATCH, DELETE"),
        ("/registries/R/tokens/T/evaluate", "POST"),
        ("/registries/R/tokens/T/rotate", "POST"),
        ("/registries/R/tokens/T/previous-secret", "DELETE"),
        ("/secret-scanning/report", "POST"),
    ] {
        let wrong = |method: &&str| !allow.split(", ").any(|allowed| allowed == *method);
        for method in methods.into_iter().filter(wrong) {
            for prefix in ["", "/containerregistries"] {
                let path = format!("{prefix}{path}");
                let what = format!("{method} {path}");
                let answer = bench.send(method, &path, &[], body).await;
                assert_eq!(
                    (answer.status, answer.header("allow")),
                    (405, allow),
                    "{what}"
                );
                // An answer to HEAD has no body.
                if method != "HEAD" {
                    let codes = ["method-not-allowed"];
                    bench.check(&what, &answer, 405, &codes).await;
                }
            }
        }
    }
}

#[actix_web::test]
async fn unknown_paths_are_told_so() {
    let bench = Bench::new(Backend::Sqlite).await;
    for path in [
        "/nowhere",
        "/registries/",
        "/registries//tokens",
        "/registries/R/",
        "/registries/R/token",
        "/registries/R/tokens/",
        "/registries/R/tokens/T/",
        "/registries/R/tokens/T/password",
        "/names",
        "/names/",
        "/names/a/b",
        "/Registries",
        "/%72egistries%2F",
        "/containerregistries",
        "/containerregistries/",
        "/containerregistries/nowhere",
        "/containerregistries/containerregistries/registries",
        "/containerregistriesx/registries",
        "//registries",
        "/vulnerabilities",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            bench
                .refuse(method, path, "{}", 404, &["path-not-found"])
                .await;
        }
    }
}

#[actix_web::test]
async fn a_path_with_a_slip_is_told_the_right_one() {
    let bench = Bench::new(Backend::Sqlite).await;
    for (path, meant) in [
        ("/registries/", "/registries"),
        ("//registries", "/registries"),
        ("/Locations", "/locations"),
        ("/registries/R/token", "/registries/R/tokens"),
        ("/registries/R/tokens/T/", "/registries/R/tokens/T"),
        ("/registries//R//tokens", "/registries/R/tokens"),
        (
            "/containerregistries/registrys",
            "/containerregistries/registries",
        ),
        ("/nowhere", ""),
        ("/registries/R/tokens/T/password", ""),
        ("/vulnerabilities", ""),
    ] {
        let answer = bench.send("GET", path, &[], "").await;
        assert_eq!(answer.status, 404, "{path}");
        let told = bench.path(&format!("; did you mean \"{meant}\"?"));
        let text = answer.text.replace("\\\"", "\"");
        assert_eq!(text.contains(&told), !meant.is_empty(), "{path}: {text}");
        assert_eq!(
            text.contains("did you mean"),
            !meant.is_empty(),
            "{path}: {text}"
        );
    }
}

#[actix_web::test]
async fn messages_say_what_would_be_right() {
    let bench = Bench::new(Backend::Sqlite).await;
    let token = "/registries/R/tokens/T";
    let rotate = "/registries/R/tokens/T/rotate";
    for (method, path, body, told) in [
        (
            "PATCH",
            token,
            r#"{"properties": {"status": "disabled"}}"#,
            "a PATCH has no \"properties\"",
        ),
        (
            "POST",
            rotate,
            "",
            r#"send a JSON object with "gracePeriod""#,
        ),
        (
            "POST",
            "/registries",
            "",
            r#"send a JSON object with "properties""#,
        ),
        ("PATCH", token, "", "the body is empty; send a JSON object"),
        (
            "POST",
            rotate,
            r#"{"gracePeriod": "P99999W"}"#,
            "at most P30D is allowed",
        ),
        (
            "GET",
            "/registries/R/auth-config?for=docker&bundle=/a",
            "",
            "distribution2",
        ),
        (
            "GET",
            "/registries?limit=1&limit=2",
            "",
            "limit is there more than once",
        ),
        ("GET", "/names/team-a", "", "200 for a name that is taken"),
    ] {
        let json = [("content-type", "application/json")];
        let answer = bench.send(method, path, &json, body).await;
        assert!(
            matches!(answer.status, 400 | 405),
            "{method} {path}: {answer:?}"
        );
        assert!(
            answer.message().contains(told),
            "{method} {path}: {}",
            answer.message()
        );
    }
}

/// The members of one body that are of a wrong type, missing or unknown.
#[actix_web::test]
async fn mistakes_of_form_are_told_all_at_once() {
    let bench = Bench::new(Backend::Sqlite).await;
    let tokens = "/registries/R/tokens";
    for (path, body, codes, messages) in [
        (
            tokens,
            r#"{"propertie": 1, "properties": {"expirydate": "x", "status": 5, "scopes": [
                {"name": 7, "type": "repository", "action": ["pull"]}, "*"]}, "metadata": 1}"#,
            &["body", "body", "body", "scopes", "scopes", "status", "name"][..],
            &[
                r#"unknown member "propertie"; did you mean "properties"?"#,
                r#"unknown member "expirydate" in properties; did you mean "expiryDate"?"#,
                r#"unknown member "action" in properties.scopes[0]; did you mean "actions"?"#,
                "properties.scopes[0].name: a text is needed, not 7",
                r#"properties.scopes[1]: an object is needed, not the text "*""#,
                "properties.status: a text is needed, not 5",
                "properties: missing field `name`",
            ][..],
        ),
        (
            "/accounts",
            r#"{"properties": {"password": 5, "roles": "Admin"}}"#,
            &["password", "roles", "name"],
            &[
                "properties.password: a password is a text",
                r#"properties.roles: a list is needed, not the text "Admin""#,
                "properties: missing field `name`",
            ],
        ),
        // Nothing is missing but the member around these.
        (
            "/registries",
            r#"{"name": "team-x", "location": "de/fra"}"#,
            &["body", "body"],
            &[
                r#"unknown member "name"; put it inside "properties""#,
                r#"unknown member "location"; put it inside "properties""#,
            ],
        ),
        (
            "/registries",
            "{}",
            &["body"],
            &["the body: missing field `properties`"],
        ),
    ] {
        let answer = bench
            .send("POST", path, &[("content-type", "application/json")], body)
            .await;
        let found = answer.json["messages"].as_array().unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|one| one["message"].as_str().unwrap())
            .collect();
        assert_eq!(found, messages, "{path}");
        let codes: Vec<_> = codes.iter().map(|code| format!("invalid-{code}")).collect();
        assert_eq!(answer.codes(), codes, "{path}");
    }
    // Each mistake costs a reading, so their number has a bound, and so has what is read again.
    let many = format!(
        r#"{{"properties": {{"scopes": [{}]}}}}"#,
        ["1"; 300].join(",")
    );
    for (padding, expected) in [(0, 20), (256 * 1024, 1)] {
        let body = format!("{}{many}", " ".repeat(padding));
        let answer = bench
            .send(
                "POST",
                tokens,
                &[("content-type", "application/json")],
                body,
            )
            .await;
        assert_eq!(answer.codes().len(), expected);
    }
}

#[actix_web::test]
async fn bodies_of_another_type_are_refused_unread() {
    let bench = Bench::new(Backend::Sqlite).await;
    for (method, path, body) in WRITES.into_iter().filter(|write| !write.2.is_empty()) {
        for sent in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "text/json",
            "application/jsonx",
            "application/+json",
            "application/json-seq",
            "json",
            "",
            "*/*",
            "application/octet-stream",
            "image/svg+json",
        ] {
            for (body, status, code) in [
                (body, 415, "unsupported-media-type"),
                ("nonsense", 415, "unsupported-media-type"),
                // Without a body the type does not matter: the error is the missing body.
                ("", 400, "invalid-body"),
            ] {
                let headers = [("content-type", sent)];
                let answer = bench.send(method, path, &headers, body).await;
                let what = format!("{method} {path} {sent:?} {body:?}");
                bench.check(&what, &answer, status, &[code]).await;
            }
        }
    }
}

#[actix_web::test]
async fn compressed_bodies_are_refused_unread() {
    let bench = Bench::new(Backend::Sqlite).await;
    for (method, path, body) in WRITES.into_iter().filter(|write| !write.2.is_empty()) {
        for encoding in ["gzip", "br", "identity, gzip"] {
            let headers = [
                ("content-type", "application/json"),
                ("content-encoding", encoding),
            ];
            let answer = bench.send(method, path, &headers, body).await;
            let what = format!("{method} {path} {encoding}");
            let codes = ["unsupported-media-type"];
            bench.check(&what, &answer, 415, &codes).await;
        }
    }
}

#[actix_web::test]
async fn json_by_another_name_is_read() {
    let bench = Bench::new(Backend::Sqlite).await;
    for headers in [
        &[("content-type", "application/json")][..],
        &[("content-type", "Application/JSON; charset=utf-8")],
        &[("content-type", "application/merge-patch+json")],
        &[("content-type", "application/vnd.x+JSON;v=1")],
        &[("content-encoding", "identity")],
        &[],
    ] {
        let answer = bench.send("PATCH", "/registries/R", headers, "{}").await;
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
    }
}

/// Editors and shells of Windows put one there.
#[actix_web::test]
async fn a_byte_order_mark_before_a_body_is_passed_over() {
    let scanner = "a-secret-scanner-that-never-comes";
    let server = Server::start_with(Backend::Sqlite, &["--secret-scanning-token", scanner]).await;
    let (admin, scanner) = (server.admin(), server.bearer(scanner));
    let visitor = server.session(&server.visit().await);
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let token = format!("{tokens}/{}", admin.create_token(&registry, "ci").await);
    let account = admin.create_account("bob", &[]).await;
    let account = format!("/accounts/{account}");
    let sign_in = json!({"username": "bob", "password": "right-password"});
    let leak = json!([{"token": "x", "type": "t", "url": "u", "source": "s"}]);
    let id = "9d3c4a52-6b0e-4f7a-8c1d-2e5f7a9b0c13";
    let (issuer, trusts) = (
        format!("/issuers/{id}"),
        format!("/registries/{registry}/trusts"),
    );
    let trust = format!("{trusts}/{id}");
    let trusted =
        |name: &str| json!({"properties": {"name": name, "issuer": id, "claims": {"sub": "a"}}});
    let mut sent = BTreeSet::new();
    for (actor, method, path, body, status) in [
        (
            &admin,
            "POST",
            "/registries",
            json!({"properties": {"name": "team-b", "location": "de/fra"}}),
            201,
        ),
        (
            &admin,
            "PUT",
            &format!("/registries/{registry}"),
            json!({"properties": {"name": "team-a", "location": "de/fra"}}),
            200,
        ),
        (
            &admin,
            "PATCH",
            &format!("/registries/{registry}"),
            json!({}),
            200,
        ),
        (
            &admin,
            "POST",
            &tokens,
            json!({"properties": {"name": "deploy"}}),
            201,
        ),
        (
            &admin,
            "PUT",
            &token,
            json!({"properties": {"name": "ci"}}),
            200,
        ),
        (&admin, "PATCH", &token, json!({}), 200),
        (
            &admin,
            "POST",
            &format!("{token}/evaluate"),
            json!({"scope": "repository:a:pull"}),
            200,
        ),
        (
            &admin,
            "POST",
            &format!("{token}/rotate"),
            json!({"gracePeriod": "PT1H"}),
            200,
        ),
        (
            &admin,
            "POST",
            "/accounts",
            json!({"properties": {"name": "carol"}}),
            201,
        ),
        (&admin, "PATCH", &account, json!({}), 200),
        (
            &admin,
            "PUT",
            &format!("/registries/{registry}/members{}", &account[9..]),
            json!({"level": "reader"}),
            201,
        ),
        (
            &admin,
            "POST",
            "/tokens/bulk",
            json!({"properties": {"filter": {"name": "ci"}, "action": "disable", "dryRun": true}}),
            200,
        ),
        (&scanner, "POST", "/secret-scanning/report", leak, 202),
        (
            &admin,
            "POST",
            &format!("/registries/{registry}/api-tokens"),
            json!({"properties": {"name": "nightly", "level": "reader"}}),
            201,
        ),
        (
            &admin,
            "PUT",
            "/me/password",
            json!({"properties": {"password": ADMIN_PASSWORD, "presentPassword": ADMIN_PASSWORD}}),
            204,
        ),
        (
            &admin,
            "POST",
            "/issuers",
            json!({"properties": {"url": "https://a.example.com", "kind": "other"}}),
            201,
        ),
        (
            &admin,
            "PUT",
            &issuer,
            json!({"properties": {"url": "https://ci.example.com", "kind": "other"}}),
            201,
        ),
        (&admin, "PATCH", &issuer, json!({}), 200),
        (&admin, "POST", &trusts, trusted("job"), 201),
        (&admin, "PUT", &trust, trusted("pod"), 201),
        (&admin, "PATCH", &trust, json!({}), 200),
        (
            &admin,
            "POST",
            &format!("{trust}/evaluate"),
            json!({"claims": {}}),
            200,
        ),
        // The secret of nothing.
        (
            &admin,
            "POST",
            "/tokens/lookup",
            json!({"secret": "eyJ.a.b"}),
            404,
        ),
        (
            &admin,
            "POST",
            "/v1/apitokens/generate",
            json!({"name": "x", "roles": ["Analyst"]}),
            200,
        ),
        (
            &admin,
            "POST",
            "/api/v1/user/apptoken",
            json!({"title": "x"}),
            201,
        ),
        (&visitor, "POST", "/api/v1/signin", sign_in, 200),
    ] {
        let request = actor.request(method.parse().unwrap(), path);
        let request = request.header("content-type", "application/json");
        let answer = actor.send(request.body(format!("\u{feff}{body}"))).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        sent.insert(format!("{method} {path}"));
    }
    let operations = operations(&document());
    let json =
        |operation: &Value| operation["requestBody"]["content"]["application/json"].is_object();
    let known = operations.iter().filter(|(.., operation)| json(operation));
    assert_eq!(sent.len(), known.count(), "{sent:?}");
}

#[actix_web::test]
async fn parameters_that_an_operation_does_not_have_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    for (method, path, said) in [
        (
            "GET",
            "/registries/R/tokens?unusedsince=P90D",
            "did you mean unusedSince?",
        ),
        (
            "GET",
            "/registries/R/tokens?status=disabled",
            "did you mean state?",
        ),
        (
            "GET",
            "/registries/R/tokens?foo=disabled",
            "known are offset, limit, ",
        ),
        (
            "GET",
            "/registries/R/tokens?limit=1&Limit=1",
            "did you mean limit?",
        ),
        ("GET", "/registries?filter.location=x", "filter.name"),
        (
            "GET",
            "/registries?orderBy=name",
            "known are filter.name, name, location, frozen, limit, pagination.token, label",
        ),
        ("GET", "/audit?outcomes=forbidden", "did you mean outcome?"),
        ("GET", "/locations?limit=1", "this operation has none"),
        (
            "DELETE",
            "/accounts/A?revoketokens=true",
            "did you mean revokeTokens?",
        ),
    ] {
        let path = path.replace('A', "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11");
        let answer = bench.send(method, &path, &[], "").await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec!["invalid-query"]),
            "{path}: {answer:?}"
        );
        assert!(answer.text.contains(said), "{path}: {answer:?}");
    }
}

/// Python's client does so.
#[actix_web::test]
async fn requests_without_a_body_may_name_the_type_of_one() {
    let bench = Bench::new(Backend::Sqlite).await;
    for sent in ["application/json", "text/plain"] {
        let headers = [("content-type", sent), ("x-contract-number", "x")];
        for path in [
            "/locations",
            "/registries",
            "/registries/R",
            "/registries/R/tokens?depth=1",
            "/registries/R/tokens/T",
        ] {
            let answer = bench.send("GET", path, &headers, "").await;
            assert_eq!(answer.status, 200, "{sent} {path}");
        }
        let id = bench.admin.create_token(&bench.registry, "deploy").await;
        let path = format!("/registries/R/tokens/{id}");
        let answer = bench.send("DELETE", &path, &headers[..1], "").await;
        assert_eq!(answer.status, 204, "{sent}");
    }
}

/// Sends bytes as they are and reads what comes until the server closes.
fn raw(server: &Server, head: &str, body: &[u8]) -> (u16, Value) {
    let credentials = base64::engine::general_purpose::STANDARD.encode("admin:correct: hörse");
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let head = format!(
        "{head}\r\nHost: {}\r\nAuthorization: Basic {credentials}\r\nConnection: close\r\n\r\n",
        server.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A server that answered early may have closed.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let _ = stream.shutdown(Shutdown::Both);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_default();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[actix_web::test]
async fn bodies_over_the_limit_are_refused() {
    let bench = Bench::new(Backend::Sqlite).await;
    for (method, path, body) in WRITES.into_iter().filter(|write| !write.2.is_empty()) {
        // A good body with space at its end, so that nothing but its size is wrong.
        let large = format!("{body}{}", " ".repeat(BODY_LIMIT + 1 - body.len()));
        bench
            .refuse(method, path, large.clone(), 413, &["too-large"])
            .await;
        let head = format!(
            "{method} {} HTTP/1.1\r\nContent-Type: application/json\r\n",
            bench.path(path)
        );
        let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        for (sent, body) in [
            // Announced as too large, it is refused before a byte of it came.
            (format!("Content-Length: {}", BODY_LIMIT + 1), ""),
            ("Content-Length: 9223372036854775807".to_owned(), ""),
            ("Transfer-Encoding: chunked".to_owned(), chunked.as_str()),
        ] {
            let (status, answer) = raw(&bench.server, &format!("{head}{sent}"), body.as_bytes());
            assert_eq!(
                (status, &answer["messages"][0]["errorCode"]),
                (413, &json!("too-large")),
                "{method} {path} {sent}"
            );
            assert_eq!(bench.state().await, bench.before, "{method} {path} {sent}");
        }
    }
    let full = format!("{{}}{}", " ".repeat(BODY_LIMIT - 2));
    let answer = bench
        .send(
            "PATCH",
            "/registries/R",
            &[("content-type", "application/json")],
            full,
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The headers of requests that a web page of another origin made a browser send to the service at this address.
fn foreign(address: SocketAddr) -> Vec<Vec<(&'static str, String)>> {
    let own = format!("http://{address}");
    let evil = "https://evil.example.com".to_owned();
    let mut foreign = vec![
        vec![
            ("sec-fetch-site", "same-origin".to_owned()),
            ("origin", evil.clone()),
        ],
        vec![("origin", own.clone()), ("origin", "null".to_owned())],
    ];
    let (port, sub, tail) = (
        format!("http://127.0.0.1:{}", address.port() ^ 1),
        format!("http://x.{address}"),
        format!("{own}.example.com"),
    );
    foreign.extend([evil, port, sub, tail].map(|origin| vec![("origin", origin)]));
    for origin in ["null", "", "nonsense", "file://", "http://localhost"] {
        foreign.push(vec![("origin", origin.to_owned())]);
    }
    for site in ["cross-site", "same-site", "", "Same-Origin", "nonsense"] {
        let site = ("sec-fetch-site", site.to_owned());
        foreign.push(vec![site.clone()]);
        foreign.push(vec![site, ("origin", own.clone())]);
    }
    foreign
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[actix_web::test]
async fn web_pages_of_other_origins_may_not_write() {
    let bench = Bench::new(Backend::Sqlite).await;
    for headers in foreign(bench.server.address) {
        let headers = borrowed(&headers);
        for (method, path, body) in WRITES {
            for prefix in ["", "/containerregistries"] {
                let path = format!("{prefix}{path}");
                let answer = bench.send(method, &path, &headers, body).await;
                let what = format!("{method} {path} {headers:?}");
                bench.check(&what, &answer, 403, &["forbidden"]).await;
            }
        }
        let read = bench.send("GET", "/registries", &headers, "").await;
        assert_eq!(read.status, 200, "reading, {headers:?}");
    }
}

#[actix_web::test]
async fn the_origin_is_looked_at_before_the_body_and_the_password() {
    let bench = Bench::new(Backend::Sqlite).await;
    for (method, path, _) in WRITES {
        // The answer comes though the body does not.
        let head = format!(
            "{method} {} HTTP/1.1\r\nContent-Length: 10\r\nOrigin: null",
            bench.path(path)
        );
        let (status, answer) = raw(&bench.server, &head, b"");
        assert_eq!(
            (status, &answer["messages"][0]["errorCode"]),
            (403, &json!("forbidden")),
            "{method} {path}"
        );
        let stranger = bench.server.anonymous();
        let request = stranger
            .request(method.parse().unwrap(), &bench.path(path))
            .header("origin", "null");
        assert_eq!(stranger.send(request).await.status, 403, "{method} {path}");
    }
    assert_eq!(bench.state().await, bench.before);
}

#[actix_web::test]
async fn web_pages_of_the_services_own_origin_may_write() {
    let bench = Bench::new(Backend::Sqlite).await;
    let own = format!("http://{}", bench.server.address);
    for headers in [
        vec![("origin", own.as_str())],
        vec![("sec-fetch-site", "same-origin"), ("origin", &own)],
        vec![("sec-fetch-site", "none")],
    ] {
        let answer = bench.send("PATCH", "/registries/R", &headers, "{}").await;
        assert_eq!(answer.status, 200, "{headers:?}");
    }
    let arguments = ["--public-url", "https://cr.example.com/base"];
    let public = Server::start_with(Backend::Sqlite, &arguments).await;
    let admin = public.admin();
    for (origin, status) in [
        ("https://cr.example.com", 404),
        ("http://cr.example.com", 403),
        ("https://cr.example.com:444", 403),
        ("https://example.com", 403),
    ] {
        let request = admin.request(Method::DELETE, &format!("/registries/{NOBODY}"));
        let answer = admin.send(request.header("origin", origin)).await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

/// A page can be loaded under a name that leads elsewhere afterwards, to this service: then its `Origin` equals `Host`.
#[rstest]
#[case::without_a_public_url(&[], [403, 403, 404, 404, 404])]
#[case::with_a_public_url(&["--public-url", "https://cr.example.com"], [403, 404, 404, 404, 403])]
#[actix_web::test]
async fn a_name_that_was_rebound_to_this_service_may_not_write(
    #[case] flags: &[&str],
    #[case] expected: [u16; 5],
) {
    let server = Server::start_with(Backend::Sqlite, flags).await;
    let admin = server.admin();
    let port = server.address.port();
    let hosts = [
        format!("rebound.example.com:{port}"),
        "cr.example.com".to_owned(),
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "192.0.2.7".to_owned(),
    ];
    for (host, status) in hosts.iter().zip(expected) {
        let origin = match host.as_str() {
            "cr.example.com" => format!("https://{host}"),
            _ => format!("http://{host}"),
        };
        let request = admin
            .request(Method::DELETE, &format!("/registries/{NOBODY}"))
            .header("host", host)
            .header("origin", &origin);
        assert_eq!(admin.send(request).await.status, status, "{host}");
    }
    // Anybody can send a proxy's headers.
    let forwarded = "rebound.example.com";
    let request = admin
        .request(Method::DELETE, &format!("/registries/{NOBODY}"))
        .header("origin", format!("https://{forwarded}"))
        .header("x-forwarded-host", forwarded)
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-prefix", "/")
        .header("forwarded", format!("host={forwarded};proto=https"));
    assert_eq!(admin.send(request).await.status, 403);
}

#[rstest]
#[actix_web::test]
async fn a_taken_name_is_told_with_the_id_of_what_has_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let account = bench.admin.create_account("bob", &[]).await;
    let of_token = json!({"properties": {"name": "CI"}});
    let of_registry = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    let of_account = json!({"properties": {"name": "Bob"}});
    let put_token = format!("/registries/R/tokens/{NOBODY}");
    let put_registry = format!("/registries/{NOBODY}");
    for (method, path, body, noun, id) in [
        (
            "POST",
            "/registries/R/tokens",
            &of_token,
            "a token named CI",
            TOKEN,
        ),
        ("PUT", &put_token, &of_token, "a token named CI", TOKEN),
        (
            "POST",
            "/registries",
            &of_registry,
            "a registry named team-a",
            &bench.registry,
        ),
        (
            "PUT",
            &put_registry,
            &of_registry,
            "a registry named team-a",
            &bench.registry,
        ),
        (
            "POST",
            "/accounts",
            &of_account,
            "an account named Bob",
            &account,
        ),
    ] {
        let json = [("content-type", "application/json")];
        let answer = bench.send(method, path, &json, body.to_string()).await;
        assert_eq!(answer.status, 409, "{method} {path}");
        assert_eq!(
            answer.message(),
            format!("{noun}, with the id {id}, already exists")
        );
    }
}
