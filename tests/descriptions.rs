//! Descriptions of registries and accounts. Those of tokens are in `tokens.rs`.

use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Answer, Backend, Server};

const TEXT: &str = "Abbilder der Buchhaltung 🐳";

fn check(answer: &Answer, expected: Option<&str>) {
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    let shown = answer.json["properties"].get("description");
    assert_eq!(shown.and_then(Value::as_str), expected, "{answer:?}");
    assert_eq!(shown.is_some(), expected.is_some(), "{answer:?}");
}

/// The longest text and one more, a second line, and a secret.
async fn check_bounds(server: &Server, path: &str) {
    let admin = server.admin();
    let before = admin.get(path).await.header("etag").to_owned();
    let longest = "ü".repeat(200);
    let answer = admin.patch(path, json!({"description": longest})).await;
    check(&answer, Some(&longest));
    assert_ne!(answer.header("etag"), before);
    let secret = format!("whrt_{}", "a".repeat(39));
    for wrong in ["ü".repeat(201), "two\nlines".to_owned(), secret.clone()] {
        let answer = admin.patch(path, json!({"description": wrong})).await;
        assert_eq!(answer.codes(), ["invalid-description"], "{answer:?}");
        assert!(!answer.text.contains(&secret), "{answer:?}");
    }
    let same = admin.patch(path, json!({"description": longest})).await;
    assert_eq!(same.header("etag"), answer.header("etag"));
    let events = admin.get("/audit?kind=update&limit=1").await;
    let event = &events.json["items"][0]["detail"]["after"];
    assert_eq!(event["description"], longest, "{event}");
}

#[rstest]
#[actix_web::test]
async fn a_registry_has_a_description(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let new = |description: Value| {
        let properties =
            json!({"name": "team-a", "location": "de/fra", "description": description});
        json!({"properties": properties})
    };
    let bare = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    let made = admin.post("/registries", new(json!(TEXT))).await;
    let path = format!("/registries/{}", made.json["id"].as_str().unwrap());
    for (answer, expected) in [
        (made, Some(TEXT)),
        (admin.get(&path).await, Some(TEXT)),
        (admin.put(&path, bare.clone()).await, Some(TEXT)),
        (
            admin.patch(&path, json!({"maximumTokenLife": "P1D"})).await,
            Some(TEXT),
        ),
        (
            admin.patch(&path, json!({"description": ""})).await,
            Some(""),
        ),
        (admin.patch(&path, json!({"description": null})).await, None),
        (admin.put(&path, new(json!("x"))).await, Some("x")),
        (admin.put(&path, new(json!(null))).await, None),
        (admin.put(&path, bare).await, None),
    ] {
        check(&answer, expected);
    }
    check_bounds(&server, &path).await;
}

#[rstest]
#[actix_web::test]
async fn an_account_has_a_description(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let new = |name: &str, description: Value| {
        let properties =
            json!({"name": name, "password": "right-password", "description": description});
        json!({"properties": properties})
    };
    let without = admin.post("/accounts", new("ann", json!(null))).await;
    check(&without, None);
    let made = admin.post("/accounts", new("bob", json!(TEXT))).await;
    let path = format!("/accounts/{}", made.json["id"].as_str().unwrap());
    for (answer, expected) in [
        (made, Some(TEXT)),
        (admin.get(&path).await, Some(TEXT)),
        (
            admin.patch(&path, json!({"status": "disabled"})).await,
            Some(TEXT),
        ),
        (
            admin.patch(&path, json!({"description": ""})).await,
            Some(""),
        ),
        (admin.patch(&path, json!({"description": null})).await, None),
        (
            admin.patch(&path, json!({"description": "x"})).await,
            Some("x"),
        ),
    ] {
        check(&answer, expected);
    }
    let listed = admin.get("/accounts").await;
    let items = listed.json["items"].as_array().unwrap();
    let shown = items.last().unwrap();
    assert_eq!(shown["properties"]["description"], "x", "{shown}");
    check_bounds(&server, &path).await;
}

/// Whoever may not write accounts changes no text of theirs, not even of their own.
#[actix_web::test]
async fn a_description_of_an_account_needs_the_right_to_write_it() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let bob = admin.create_account("bob", &["Analyst"]).await;
    let path = format!("/accounts/{bob}");
    let bob = server.actor("bob", "right-password");
    let refused = bob.patch(&path, json!({"description": "x"})).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    check(&admin.get(&path).await, None);
}
