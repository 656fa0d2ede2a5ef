//! Bad input: each gets the surface's error, with the right status and code, and changes nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Server};

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

    /// Checks a refusal: its status and codes, its form, and that nothing changed.
    async fn check(&self, what: &str, answer: &Answer, status: u16, codes: &[&str]) {
        assert_eq!(
            (answer.status, answer.codes()),
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

#[rstest]
#[actix_web::test]
async fn bodies_that_are_no_json_object_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "}",
        "nonsense",
        "{} {}",
        "{}x",
        "{'name': 1}",
        "{\"id\": 1,}",
        "\u{feff}{}",
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
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        b"{\"id\": \"\xff\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        b"{\"id\": \"\0\"}".to_vec(),
        deep.clone().into_bytes(),
        deep_objects.clone().into_bytes(),
        // Nested where the content is ignored, too.
        format!(r#"{{"id": {deep}}}"#).into_bytes(),
        format!(r#"{{"metadata": {deep_objects}}}"#).into_bytes(),
        "[".repeat(500_000).into_bytes(),
    ])
    .collect();
    for (method, path, good) in WRITES {
        for body in bodies.iter().filter(|_| !good.is_empty()) {
            // What follows an empty object comes after what that lacks.
            let lacking = good.contains("gracePeriod") && body.starts_with(b"{}");
            let code = if lacking {
                "invalid-grace-period"
            } else {
                "invalid-body"
            };
            bench.refuse(method, path, body.clone(), 400, &[code]).await;
        }
    }
    // The same nesting in members that are read.
    for (path, body, code) in [
        (
            "/registries/R/tokens/T",
            format!(r#"{{"scopes": {deep}}}"#),
            "invalid-scopes",
        ),
        (
            "/registries/R/tokens/T",
            format!(r#"{{"expiryDate": {deep_objects}}}"#),
            "invalid-expiry-date",
        ),
        (
            "/registries/R",
            format!(
                r#"{{"features": {{"vulnerabilityScanning": {{"enabled": true, "properties": {deep_objects}}}}}}}"#
            ),
            "invalid-body",
        ),
    ] {
        bench.refuse("PATCH", path, body, 400, &[code]).await;
    }
}

#[rstest]
#[actix_web::test]
async fn tokens_that_break_a_rule_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let long = "a".repeat(64);
    let name = |name: &str| json!({"name": name});
    // Wrong in what makes a token only.
    let mut making = vec![
        (json!({}), vec!["invalid-name"]),
        (json!({"name": null}), vec!["invalid-name"]),
        (json!({"name": 5}), vec!["invalid-name"]),
        (json!({"name": ["ci"]}), vec!["invalid-name"]),
        (
            json!({"name": "a b", "expiryDate": "x", "status": "x", "scopes": [{"actions": ["\u{7f}"], "name": "a", "type": "a"}]}),
            vec![
                "invalid-name",
                "invalid-expiry-date",
                "invalid-scopes",
                "invalid-status",
            ],
        ),
    ];
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
        making.push((name(wrong), vec!["invalid-name"]));
    }
    // Wrong wherever it is sent.
    let mut anywhere = vec![
        (json!({"scopes": "pull"}), vec!["invalid-scopes"]),
        (json!({"scopes": {}}), vec!["invalid-scopes"]),
        (json!({"scopes": [1]}), vec!["invalid-scopes"]),
        (json!({"scopes": [null]}), vec!["invalid-scopes"]),
        (json!({"scopes": [{}]}), vec!["invalid-scopes"]),
        (json!({"scopes": [["pull"]]}), vec!["invalid-scopes"]),
        (
            json!({"scopes": [[["pull"], "a", "repository"]]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"name": "a", "type": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": [], "name": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": [], "type": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": "pull", "name": "a", "type": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": [5], "name": "a", "type": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": [null], "name": "a", "type": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": [], "name": null, "type": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": ["a\0"], "name": "a", "type": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": [], "name": "a\0", "type": "a"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"scopes": [{"actions": [], "name": "a", "type": "\u{1b}[2J"}]}),
            vec!["invalid-scopes"],
        ),
        (
            json!({"expiryDate": 1_900_000_000}),
            vec!["invalid-expiry-date"],
        ),
        (json!({"expiryDate": {}}), vec!["invalid-expiry-date"]),
        (
            json!({"expiryDate": ["2028-01-01T00:00:00Z"]}),
            vec!["invalid-expiry-date"],
        ),
        (json!({"status": true}), vec!["invalid-status"]),
    ];
    for wrong in ["", "Enabled", "enabled ", "expired", "revoked", "enabled\0"] {
        anywhere.push((json!({"status": wrong}), vec!["invalid-status"]));
    }
    for wrong in [
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
    ] {
        anywhere.push((json!({"expiryDate": wrong}), vec!["invalid-expiry-date"]));
    }
    for (properties, codes) in &making {
        let body = json!({"properties": properties}).to_string();
        for (method, path) in [
            ("POST", "/registries/R/tokens".to_owned()),
            ("PUT", "/registries/R/tokens/T".to_owned()),
            ("PUT", format!("/registries/R/tokens/{NOBODY}")),
        ] {
            bench.refuse(method, &path, body.clone(), 400, codes).await;
        }
    }
    for (properties, codes) in &anywhere {
        let named = |name: &str| {
            let mut properties = properties.clone();
            properties["name"] = json!(name);
            json!({"properties": properties}).to_string()
        };
        bench
            .refuse("POST", "/registries/R/tokens", named("deploy"), 400, codes)
            .await;
        bench
            .refuse("PUT", "/registries/R/tokens/T", named("ci"), 400, codes)
            .await;
        bench
            .refuse(
                "PUT",
                &format!("/registries/R/tokens/{NOBODY}"),
                named("deploy"),
                400,
                codes,
            )
            .await;
        bench
            .refuse(
                "PATCH",
                "/registries/R/tokens/T",
                properties.to_string(),
                400,
                codes,
            )
            .await;
    }
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

#[rstest]
#[actix_web::test]
async fn registries_that_break_a_rule_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let long = "a".repeat(64);
    let mut making = vec![
        (json!({"location": "de/fra"}), vec!["invalid-name"]),
        (json!({"name": "team-b"}), vec!["invalid-location"]),
        (
            json!({"name": "team-b", "location": null}),
            vec!["invalid-location"],
        ),
        (
            json!({"name": "team-b", "location": 5}),
            vec!["invalid-location"],
        ),
        (
            json!({"name": 5, "location": "de/fra"}),
            vec!["invalid-name"],
        ),
        (
            json!({"name": "A", "location": "de/fra", "garbageCollectionSchedule": {"days": ["Montag", "monday"], "time": "noon"}, "apiSubnetAllowList": ["x"]}),
            vec![
                "invalid-name",
                "invalid-garbage-collection-schedule",
                "invalid-garbage-collection-schedule",
                "invalid-garbage-collection-schedule",
                "invalid-api-subnet-allow-list",
            ],
        ),
    ];
    for wrong in [
        "", "ab", "Abc", "1bc", "-bc", "ab-", "a_c", "a.c", "a/c", "a c", "abc\n", "ab\0c", "äbc",
        &long,
    ] {
        making.push((
            json!({"name": wrong, "location": "de/fra"}),
            vec!["invalid-name"],
        ));
    }
    for wrong in ["", "de", "de/fr", "DE/FRA", "de/fra\0", "de/fra "] {
        making.push((
            json!({"name": "team-b", "location": wrong}),
            vec!["invalid-location"],
        ));
    }
    let mut anywhere = vec![
        (
            json!({"garbageCollectionSchedule": "x"}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {}}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": [["Monday"], "10:00:00Z"]}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {"days": ["Monday"]}}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {"time": "10:00:00Z"}}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {"days": "Monday", "time": "10:00:00Z"}}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {"days": [1], "time": "10:00:00Z"}}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {"days": [null], "time": "10:00:00Z"}}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {"days": ["Monday\0"], "time": "10:00:00Z"}}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {"days": ["MONDAY"], "time": "10:00:00Z"}}),
            "invalid-garbage-collection-schedule",
        ),
        (
            json!({"garbageCollectionSchedule": {"days": [], "time": null}}),
            "invalid-garbage-collection-schedule",
        ),
        (json!({"features": "x"}), "invalid-features"),
        (json!({"features": []}), "invalid-features"),
        (json!({"features": [[true, null]]}), "invalid-features"),
        (
            json!({"features": {"vulnerabilityScanning": {}}}),
            "invalid-features",
        ),
        (
            json!({"features": {"vulnerabilityScanning": true}}),
            "invalid-features",
        ),
        (
            json!({"features": {"vulnerabilityScanning": [true, null]}}),
            "invalid-features",
        ),
        (
            json!({"features": {"vulnerabilityScanning": {"enabled": "true"}}}),
            "invalid-features",
        ),
        (
            json!({"features": {"vulnerabilityScanning": {"enabled": null}}}),
            "invalid-features",
        ),
        (
            json!({"features": {"vulnerabilityScanning": {"enabled": true, "properties": []}}}),
            "invalid-features",
        ),
        (
            json!({"apiSubnetAllowList": "10.0.0.1"}),
            "invalid-api-subnet-allow-list",
        ),
        (
            json!({"apiSubnetAllowList": {}}),
            "invalid-api-subnet-allow-list",
        ),
        (
            json!({"apiSubnetAllowList": [1]}),
            "invalid-api-subnet-allow-list",
        ),
        (
            json!({"apiSubnetAllowList": [null]}),
            "invalid-api-subnet-allow-list",
        ),
        (
            json!({"apiSubnetAllowList": vec!["10.0.0.1"; 26]}),
            "invalid-api-subnet-allow-list",
        ),
    ];
    for wrong in [
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
        anywhere.push((
            json!({"garbageCollectionSchedule": {"days": [], "time": wrong}}),
            "invalid-garbage-collection-schedule",
        ));
    }
    for wrong in [
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
        anywhere.push((
            json!({"apiSubnetAllowList": ["10.0.0.1", wrong]}),
            "invalid-api-subnet-allow-list",
        ));
    }
    for wrong in [
        json!(""),
        json!("X5C"),
        json!("x5c\0"),
        json!("jwks"),
        json!(5),
        json!([]),
        json!({"x5c": true}),
    ] {
        anywhere.push((json!({"tokenVerifier": wrong}), "invalid-token-verifier"));
    }
    for (properties, codes) in &making {
        let body = json!({"properties": properties}).to_string();
        bench
            .refuse("POST", "/registries", body.clone(), 400, codes)
            .await;
        bench
            .refuse(
                "PUT",
                &format!("/registries/{NOBODY}"),
                body.clone(),
                400,
                codes,
            )
            .await;
        if codes != &["invalid-location"] {
            bench.refuse("PUT", "/registries/R", body, 400, codes).await;
        }
    }
    for (properties, code) in &anywhere {
        let named = |name: &str| {
            let mut properties = properties.clone();
            (properties["name"], properties["location"]) = (json!(name), json!("de/fra"));
            json!({"properties": properties}).to_string()
        };
        bench
            .refuse("POST", "/registries", named("team-b"), 400, &[code])
            .await;
        bench
            .refuse("PUT", "/registries/R", named("team-a"), 400, &[code])
            .await;
        bench
            .refuse(
                "PUT",
                &format!("/registries/{NOBODY}"),
                named("team-b"),
                400,
                &[code],
            )
            .await;
        bench
            .refuse(
                "PATCH",
                "/registries/R",
                properties.to_string(),
                400,
                &[code],
            )
            .await;
    }
    let message = bench
        .refuse(
            "PATCH",
            "/registries/R",
            r#"{"tokenVerifier": "jwks"}"#,
            400,
            &["invalid-token-verifier"],
        )
        .await
        .message();
    assert_eq!(
        message,
        r#"tokenVerifier "jwks" is neither "x5c" nor "pinned""#
    );
    let off = r#"{"features": {"vulnerabilityScanning": {"enabled": false}}}"#;
    bench
        .refuse("PATCH", "/registries/R", off, 400, &["invalid-features"])
        .await;
}

#[rstest]
#[actix_web::test]
async fn unknown_members_are_named_with_the_nearest_known_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let token = |member: &str| format!(r#"{{"properties": {{"name": "ci", {member}}}}}"#);
    let registry = |member: &str| {
        format!(r#"{{"properties": {{"name": "team-a", "location": "de/fra", {member}}}}}"#)
    };
    let (tokens, one, registries, home) = (
        "/registries/R/tokens",
        "/registries/R/tokens/T",
        "/registries",
        "/registries/R",
    );
    for (method, path, body, message) in [
        (
            "POST",
            tokens,
            token(r#""expirydate": null"#),
            r#"unknown member "expirydate" in properties; did you mean "expiryDate"?"#,
        ),
        (
            "POST",
            tokens,
            token(r#""expiry": null"#),
            r#"unknown member "expiry" in properties; did you mean "expiryDate"?"#,
        ),
        (
            "PUT",
            one,
            token(r#""scope": []"#),
            r#"unknown member "scope" in properties; did you mean "scopes"?"#,
        ),
        (
            "PUT",
            one,
            token(r#""state": "disabled""#),
            r#"unknown member "state" in properties; did you mean "status"?"#,
        ),
        (
            "POST",
            tokens,
            token(r#""scopes": [{"action": [], "name": "a", "type": "a"}]"#),
            r#"unknown member "action" in properties.scopes[0]; did you mean "actions"?"#,
        ),
        (
            "POST",
            tokens,
            r#"{"properties": {"name": "deploy"}, "propertys": {}}"#.into(),
            r#"unknown member "propertys"; did you mean "properties"?"#,
        ),
        (
            "POST",
            tokens,
            r#"{"name": "deploy"}"#.into(),
            r#"unknown member "name"; put it inside "properties""#,
        ),
        (
            "POST",
            tokens,
            r#"{"expiryDate": null, "properties": {"name": "deploy"}}"#.into(),
            r#"unknown member "expiryDate"; put it inside "properties""#,
        ),
        (
            "PATCH",
            one,
            r#"{"name": "other"}"#.into(),
            r#"unknown member "name"; "name" cannot be changed"#,
        ),
        (
            "PATCH",
            one,
            r#"{"name": "ci", "status": "disabled"}"#.into(),
            r#"unknown member "name"; "name" cannot be changed"#,
        ),
        (
            "PATCH",
            one,
            r#"{"ExpiryDate": null}"#.into(),
            r#"unknown member "ExpiryDate"; did you mean "expiryDate"?"#,
        ),
        (
            "PATCH",
            one,
            r#"{"properties": {"status": "disabled"}}"#.into(),
            r#"unknown member "properties"; known are expiryDate, scopes, status, allowedCidrs"#,
        ),
        (
            "PATCH",
            one,
            r#"{"": 1}"#.into(),
            r#"unknown member ""; known are expiryDate, scopes, status, allowedCidrs"#,
        ),
        (
            "PATCH",
            one,
            r#"{"a\n`, expected `b": 1}"#.into(),
            r#"unknown member "a\n`, expected `b"; known are expiryDate, scopes, status, allowedCidrs"#,
        ),
        (
            "POST",
            registries,
            registry(r#""feature": {}"#),
            r#"unknown member "feature" in properties; did you mean "features"?"#,
        ),
        (
            "PUT",
            home,
            registry(r#""apiSubnetAllowlist": []"#),
            r#"unknown member "apiSubnetAllowlist" in properties; did you mean "apiSubnetAllowList"?"#,
        ),
        (
            "PUT",
            home,
            registry(r#""features": {"vulnerabilityScanning": {"enable": true}}"#),
            r#"unknown member "enable" in properties.features.vulnerabilityScanning; did you mean "enabled"?"#,
        ),
        (
            "PUT",
            home,
            registry(
                r#""garbageCollectionSchedule": {"days": [], "time": "10:00:00Z", "zone": 1}"#,
            ),
            r#"unknown member "zone" in properties.garbageCollectionSchedule; known are days, time"#,
        ),
        (
            "PATCH",
            home,
            r#"{"garbageCollectionSchedul": null}"#.into(),
            r#"unknown member "garbageCollectionSchedul"; did you mean "garbageCollectionSchedule"?"#,
        ),
        (
            "PATCH",
            home,
            r#"{"name": "other"}"#.into(),
            r#"unknown member "name"; "name" cannot be changed"#,
        ),
        (
            "PATCH",
            home,
            r#"{"location": "de/txl"}"#.into(),
            r#"unknown member "location"; "location" cannot be changed"#,
        ),
        (
            "PATCH",
            home,
            r#"{"features": {"scanning": true}}"#.into(),
            r#"unknown member "scanning" in features; known are vulnerabilityScanning"#,
        ),
    ] {
        let answer = bench
            .refuse(method, path, body, 400, &["invalid-body"])
            .await;
        assert_eq!(answer.message(), message);
    }
}

#[rstest]
#[actix_web::test]
async fn ids_of_any_other_form_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let bare = TOKEN.replace('-', "");
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
        format!(
            "{}-{}-{}-{}-{}",
            &bare[..7],
            &bare[7..12],
            &bare[12..16],
            &bare[16..20],
            &bare[20..]
        ),
        TOKEN.replace('5', "%EF%BC%95"),
        "1".to_owned(),
        "-1".to_owned(),
        "null".to_owned(),
        "%FF".to_owned(),
        "a%2Fb".to_owned(),
        "'%20OR%201=1--".to_owned(),
    ];
    for form in &forms {
        for (method, path, body) in WRITES.into_iter().chain([
            ("GET", "/registries/R", ""),
            ("GET", "/registries/R/tokens", ""),
            ("GET", "/registries/R/tokens/T", ""),
        ]) {
            if path.contains('R') {
                bench
                    .refuse(
                        method,
                        &path.replace('R', form),
                        body,
                        400,
                        &["invalid-registry-id"],
                    )
                    .await;
            }
            if path.contains('T') {
                bench
                    .refuse(
                        method,
                        &path.replace('T', form),
                        body,
                        400,
                        &["invalid-token-id"],
                    )
                    .await;
                // The first is told; nothing is looked up to tell the second.
                bench
                    .refuse(
                        method,
                        &path.replace(['R', 'T'], form),
                        body,
                        400,
                        &["invalid-registry-id"],
                    )
                    .await;
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn offsets_and_limits_are_digits_in_range(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let huge = "9".repeat(1000);
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
        bench
            .refuse(
                "GET",
                &format!("/registries/R/tokens?offset={wrong}"),
                "",
                400,
                &["invalid-offset"],
            )
            .await;
        bench
            .refuse(
                "GET",
                &format!("/registries/R/tokens?limit={wrong}"),
                "",
                400,
                &["invalid-limit"],
            )
            .await;
        bench
            .refuse(
                "GET",
                &format!("/registries?limit={wrong}"),
                "",
                400,
                &["invalid-limit"],
            )
            .await;
    }
    for (query, code) in [
        ("/registries/R/tokens?limit=1001", "invalid-limit"),
        (
            "/registries/R/tokens?limit=9223372036854775807",
            "invalid-limit",
        ),
        ("/registries/R/tokens?limit=1&limit=2", "invalid-query"),
        ("/registries?limit=1001", "invalid-limit"),
        ("/registries?filter.name=a%00", "invalid-filter-name"),
        ("/registries?filter.name=%1B", "invalid-filter-name"),
    ] {
        bench.refuse("GET", query, "", 400, &[code]).await;
    }
    let both = "/registries/R/tokens?offset=x&limit=x";
    bench
        .refuse("GET", both, "", 400, &["invalid-offset", "invalid-limit"])
        .await;
}

#[rstest]
#[actix_web::test]
async fn wrong_methods_learn_the_right_ones_and_unknown_paths_are_told_so(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    for (path, allow) in [
        ("/locations", "GET"),
        ("/names/team-a", "HEAD"),
        ("/registries", "GET, POST"),
        ("/registries/R", "GET, PUT, PATCH, DELETE"),
        ("/registries/R/tokens", "GET, POST"),
        ("/registries/R/tokens/T", "GET, PUT, PATCH, DELETE"),
        ("/registries/R/tokens/T/evaluate", "POST"),
        ("/registries/R/tokens/T/rotate", "POST"),
        ("/registries/R/tokens/T/previous-secret", "DELETE"),
        ("/secret-scanning/report", "POST"),
    ] {
        for prefix in ["", "/containerregistries"] {
            let path = format!("{prefix}{path}");
            for method in [
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
                "get",
            ] {
                if allow.split(", ").any(|allowed| allowed == method) {
                    continue;
                }
                let answer = bench
                    .send(method, &path, &[], r#"{"properties": {"name": "deploy"}}"#)
                    .await;
                assert_eq!(
                    (answer.status, answer.header("allow")),
                    (405, allow),
                    "{method} {path}"
                );
                // An answer to HEAD has no body.
                if method != "HEAD" {
                    bench
                        .check(
                            &format!("{method} {path}"),
                            &answer,
                            405,
                            &["method-not-allowed"],
                        )
                        .await;
                }
            }
        }
    }
    for path in [
        "/",
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

#[rstest]
#[actix_web::test]
async fn bodies_of_another_type_are_refused_unread(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let wrong = [
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
    ];
    for (method, path, body) in WRITES.into_iter().filter(|write| !write.2.is_empty()) {
        for sent in wrong {
            for body in [body, "nonsense"] {
                let answer = bench
                    .send(method, path, &[("content-type", sent)], body)
                    .await;
                bench
                    .check(
                        &format!("{method} {path} {sent:?}"),
                        &answer,
                        415,
                        &["unsupported-media-type"],
                    )
                    .await;
            }
            // Without a body its type is nobody's business: that there is none is what is wrong.
            let answer = bench
                .send(method, path, &[("content-type", sent)], "")
                .await;
            bench
                .check(
                    &format!("{method} {path} {sent:?} without body"),
                    &answer,
                    400,
                    &["invalid-body"],
                )
                .await;
        }
        for encoding in ["gzip", "br", "identity, gzip"] {
            let headers = [
                ("content-type", "application/json"),
                ("content-encoding", encoding),
            ];
            let answer = bench.send(method, path, &headers, body).await;
            bench
                .check(
                    &format!("{method} {path} {encoding}"),
                    &answer,
                    415,
                    &["unsupported-media-type"],
                )
                .await;
        }
    }
    // What is JSON by another name, and requests that carry none but say so, as Python's client does.
    for sent in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/merge-patch+json",
        "application/vnd.x+JSON;v=1",
    ] {
        let answer = bench
            .send("PATCH", "/registries/R", &[("content-type", sent)], "{}")
            .await;
        assert_eq!(answer.status, 200, "{sent}: {answer:?}");
    }
    assert_eq!(
        bench
            .send(
                "PATCH",
                "/registries/R",
                &[("content-encoding", "identity")],
                "{}"
            )
            .await
            .status,
        200
    );
    assert_eq!(
        bench.send("PATCH", "/registries/R", &[], "{}").await.status,
        200
    );
    for sent in ["application/json", "text/plain"] {
        for path in [
            "/locations",
            "/registries",
            "/registries/R",
            "/registries/R/tokens?depth=1",
            "/registries/R/tokens/T",
        ] {
            let headers = [("content-type", sent), ("x-contract-number", "x")];
            assert_eq!(
                bench.send("GET", path, &headers, "").await.status,
                200,
                "{sent} {path}"
            );
        }
        let id = bench.admin.create_token(&bench.registry, "deploy").await;
        let path = format!("/registries/R/tokens/{id}");
        assert_eq!(
            bench
                .send("DELETE", &path, &[("content-type", sent)], "")
                .await
                .status,
            204,
            "{sent}"
        );
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

#[rstest]
#[actix_web::test]
async fn bodies_over_the_limit_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
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

#[rstest]
#[actix_web::test]
async fn web_pages_of_other_origins_may_not_write(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let address = bench.server.address;
    let own = format!("http://{address}");
    let (port, sub, tail) = (
        format!("http://127.0.0.1:{}", address.port() ^ 1),
        format!("http://x.{address}"),
        format!("{own}.example.com"),
    );
    let mut foreign = vec![
        vec![
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://evil.example.com"),
        ],
        vec![("origin", &own), ("origin", "null")],
    ];
    for origin in [
        "https://evil.example.com",
        "null",
        "",
        "nonsense",
        "file://",
        "http://localhost",
        &port,
        &sub,
        &tail,
    ] {
        foreign.push(vec![("origin", origin)]);
    }
    for site in ["cross-site", "same-site", "", "Same-Origin", "nonsense"] {
        foreign.push(vec![("sec-fetch-site", site)]);
        foreign.push(vec![("sec-fetch-site", site), ("origin", &own)]);
    }
    for (method, path, body) in WRITES {
        for prefix in ["", "/containerregistries"] {
            for headers in &foreign {
                let path = format!("{prefix}{path}");
                let answer = bench.send(method, &path, headers, body).await;
                bench
                    .check(
                        &format!("{method} {path} {headers:?}"),
                        &answer,
                        403,
                        &["forbidden"],
                    )
                    .await;
            }
        }
        // Before the body is read: the answer comes though the body does not. Before the password, too.
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
    for headers in &foreign {
        assert_eq!(
            bench.send("GET", "/registries", headers, "").await.status,
            200,
            "reading, {headers:?}"
        );
    }
    for headers in [
        vec![("origin", own.as_str())],
        vec![("sec-fetch-site", "same-origin"), ("origin", &own)],
        vec![("sec-fetch-site", "none")],
    ] {
        assert_eq!(
            bench
                .send("PATCH", "/registries/R", &headers, "{}")
                .await
                .status,
            200,
            "{headers:?}"
        );
    }

    let public =
        Server::start_with(backend, &["--public-url", "https://cr.example.com/base"]).await;
    let admin = public.admin();
    for (origin, status) in [
        ("https://cr.example.com", 404),
        ("http://cr.example.com", 403),
        ("https://cr.example.com:444", 403),
        ("https://example.com", 403),
    ] {
        let request = admin.request(Method::DELETE, &format!("/registries/{NOBODY}"));
        assert_eq!(
            admin.send(request.header("origin", origin)).await.status,
            status,
            "{origin}"
        );
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
