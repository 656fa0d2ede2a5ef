//! Labels of tokens and registries: kept, replaced as a whole, bounded, free of secrets, and a filter.

use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::harness::{Answer, Backend, Server};

fn labels(answer: &Answer) -> Option<&Value> {
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.json["properties"].get("labels")
}

/// So many labels.
fn many(count: usize) -> Value {
    let named = |number| (format!("example.com/n{number}"), json!("x"));
    (0..count).map(named).collect::<Map<_, _>>().into()
}

#[rstest]
#[actix_web::test]
async fn labels_stay_where_nobody_speaks_of_them_and_are_replaced_as_a_whole(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let new = |labels: Value| json!({"properties": {"name": "ci", "labels": labels}});
    let bare = json!({"properties": {"name": "ci"}});
    let both = json!({"team": "payments", "example.com/env": ""});
    let made = admin.post(&tokens, new(both.clone())).await;
    let path = format!("{tokens}/{}", made.json["id"].as_str().unwrap());
    let other = json!({"Team": "b_1.2-c"});
    let patch = |labels: &Value| json!({"labels": labels});
    for (answer, expected) in [
        (made, Some(&both)),
        (admin.get(&path).await, Some(&both)),
        (admin.put(&path, bare.clone()).await, Some(&both)),
        (
            admin.patch(&path, json!({"status": "disabled"})).await,
            Some(&both),
        ),
        (admin.patch(&path, patch(&other)).await, Some(&other)),
        (admin.patch(&path, patch(&json!({}))).await, None),
        (admin.put(&path, new(both.clone())).await, Some(&both)),
        (admin.patch(&path, patch(&json!(null))).await, None),
        (admin.put(&path, new(other.clone())).await, Some(&other)),
        (admin.put(&path, new(json!(null))).await, None),
        (admin.put(&path, bare).await, None),
    ] {
        assert_eq!(labels(&answer), expected, "{answer:?}");
    }
    admin.patch(&path, patch(&both)).await;
    let listed = admin.get(&tokens).await;
    assert_eq!(listed.json["items"][0]["properties"]["labels"], both);
}

#[rstest]
#[actix_web::test]
async fn labels_change_the_state_and_are_in_the_audit_trail(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &[]).await.path;
    let before = admin.get(&token).await;
    let body = json!({"labels": {"b": "2", "a": "1"}});
    let labelled = admin.patch(&token, body.clone()).await;
    assert_ne!(labelled.header("etag"), before.header("etag"));
    // In any order they are the same.
    let same = admin
        .patch(&token, json!({"labels": {"a": "1", "b": "2"}}))
        .await;
    assert_eq!(same.header("etag"), labelled.header("etag"));
    let events = admin.get("/audit?kind=update").await;
    let [event] = events.json["items"].as_array().unwrap().as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(event["detail"]["after"]["labels"], body["labels"]);
    let rows = server
        .database
        .number("SELECT COUNT(*) FROM tokens WHERE labels = '{\"a\":\"1\",\"b\":\"2\"}'");
    assert_eq!(rows, 1);
}

#[rstest]
#[actix_web::test]
async fn labels_are_bounded_and_hold_no_secret(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &[]).await;
    let most = admin.patch(&token.path, json!({"labels": many(16)})).await;
    assert_eq!(labels(&most), Some(&many(16)));
    let longest = format!("{}/{}", "a".repeat(253), "b".repeat(63));
    let (value, secret) = ("v".repeat(63), token.secret.as_str());
    let answer = admin
        .patch(&token.path, json!({"labels": {&longest: value}}))
        .await;
    assert_eq!(labels(&answer), Some(&json!({&longest: value})));
    for wrong in [
        many(17),
        json!({"": "x"}),
        json!({"a b": "x"}),
        json!({"a": "b c"}),
        json!({"a": "v".repeat(64)}),
        json!({"a": 5}),
        json!({"a": null}),
        json!([]),
        json!("a=b"),
        json!({"a": secret}),
        json!({secret: "a"}),
    ] {
        for answer in [
            admin.patch(&token.path, json!({"labels": wrong})).await,
            admin
                .put(
                    &token.path,
                    json!({"properties": {"name": "ci", "labels": wrong}}),
                )
                .await,
        ] {
            assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
            assert_eq!(answer.codes(), ["invalid-labels"], "{wrong}: {answer:?}");
            assert!(!answer.text.contains(secret), "{answer:?}");
        }
    }
    let after = admin.get(&token.path).await;
    assert_eq!(labels(&after), Some(&json!({&longest: value})));
}

#[rstest]
#[actix_web::test]
async fn registries_have_labels_too(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let both = json!({"team": "payments", "example.com/env": ""});
    let new = |labels: Value| {
        let properties = json!({"name": "team-a", "location": "de/fra", "labels": labels});
        json!({"properties": properties})
    };
    let bare = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    let made = admin.post("/registries", new(both.clone())).await;
    let path = format!("/registries/{}", made.json["id"].as_str().unwrap());
    let before = admin.get(&path).await;
    let other = json!({"a": "b"});
    for (answer, expected) in [
        (made, Some(&both)),
        (before.clone(), Some(&both)),
        (admin.put(&path, bare.clone()).await, Some(&both)),
        (
            admin.patch(&path, json!({"maximumTokenLife": "P1D"})).await,
            Some(&both),
        ),
        (
            admin.patch(&path, json!({"labels": other})).await,
            Some(&other),
        ),
        (admin.patch(&path, json!({"labels": {}})).await, None),
        (admin.put(&path, new(both.clone())).await, Some(&both)),
        (admin.patch(&path, json!({"labels": null})).await, None),
        (admin.put(&path, bare).await, None),
    ] {
        assert_eq!(labels(&answer), expected, "{answer:?}");
    }
    for wrong in [many(17), json!({"a b": "x"}), json!({"a": "b c"})] {
        let answer = admin.patch(&path, json!({"labels": wrong})).await;
        assert_eq!(answer.codes(), ["invalid-labels"], "{wrong}: {answer:?}");
    }
    assert_ne!(admin.get(&path).await.header("etag"), before.header("etag"));
    let events = admin.get("/audit?kind=update").await;
    let events = events.json["items"].as_array().unwrap();
    let told = |event: &Value| event["detail"]["after"]["labels"] == other;
    assert!(events.iter().any(told), "{events:?}");
}

/// Registries with labels, in the order in which they are made.
const LABELLED: [(&str, &str); 5] = [
    ("reg-one", r#"{"team": "a", "env": "prod"}"#),
    ("reg-two", r#"{"team": "a"}"#),
    ("reg-three", r#"{"a": "team", "example.com/team": "a"}"#),
    ("reg-four", r#"{"team": "", "env": "A"}"#),
    ("reg-five", "{}"),
];

async fn make_labelled(server: &Server) {
    for (name, labels) in LABELLED {
        let labels: Value = serde_json::from_str(labels).unwrap();
        let properties = json!({"name": name, "location": "de/fra", "labels": labels});
        let body = json!({"properties": properties});
        let made = server.admin().post("/registries", body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
}

fn names(page: &Answer) -> Vec<&str> {
    assert_eq!(page.status, 200, "{page:?}");
    let items = page.json["items"].as_array().unwrap().iter();
    items
        .map(|item| item["properties"]["name"].as_str().unwrap())
        .collect()
}

#[rstest]
#[actix_web::test]
async fn registries_are_found_by_their_labels(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    make_labelled(&server).await;
    let admin = server.admin();
    for (query, found) in [
        ("label=team=a", vec!["reg-one", "reg-two"]),
        ("label=team=a&label=env=prod", vec!["reg-one"]),
        ("label=env=prod&label=team=a&label=team=a", vec!["reg-one"]),
        ("label=team=a&filter.name=two", vec!["reg-two"]),
        ("label=team=", vec!["reg-four"]),
        ("label=team%3Da", vec!["reg-one", "reg-two"]),
        ("label=example.com/team=a", vec!["reg-three"]),
        ("label=a=team", vec!["reg-three"]),
        ("label=env=a", vec![]),
        ("label=Team=a", vec![]),
        ("label=te_m=a", vec![]),
    ] {
        let answer = admin.get(&format!("/registries?{query}")).await;
        assert_eq!(names(&answer), found, "{query}");
    }
    // Only among those that the caller may see.
    let bob = admin.create_account("bob", &[]).await;
    let two = admin.get("/registries?filter.name=two").await;
    let two = two.json["items"][0]["id"].as_str().unwrap().to_owned();
    admin.set_member(&two, &bob, "reader").await;
    let bob = server.actor("bob", "right-password");
    let answer = bob.get("/registries?label=team=a").await;
    assert_eq!(names(&answer), ["reg-two"]);
}

#[rstest]
#[actix_web::test]
async fn the_cursor_of_registries_carries_their_labels(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    make_labelled(&server).await;
    let admin = server.admin();
    let cursor = async |query: &str| {
        let page = admin.get(&format!("/registries?limit=1&{query}")).await;
        assert_eq!(names(&page), ["reg-one"]);
        page.json["pagination"]["token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let filtered = cursor("label=team=a").await;
    for query in ["", "&label=team=a"] {
        let page = admin
            .get(&format!("/registries?pagination.token={filtered}{query}"))
            .await;
        assert_eq!(names(&page), ["reg-two"], "{query}");
    }
    let plain = cursor("").await;
    for (cursor, query) in [(&filtered, "label=team="), (&plain, "label=team=a")] {
        let page = admin
            .get(&format!("/registries?pagination.token={cursor}&{query}"))
            .await;
        assert_eq!(page.codes(), ["invalid-pagination-token"], "{page:?}");
    }
}

#[actix_web::test]
async fn a_label_that_no_registry_can_have_is_refused() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let many = vec!["label=a=b"; 17].join("&");
    for wrong in [
        "label",
        "label=",
        "label=a",
        "label==a",
        "label=a=b=c",
        "label=a=%00",
        &many,
    ] {
        let answer = admin.get(&format!("/registries?{wrong}")).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec!["invalid-label"]),
            "{wrong}"
        );
    }
    let answer = admin.get("/registries?labels=a=b").await;
    assert_eq!(answer.codes(), ["invalid-query"], "{answer:?}");
    assert!(
        answer.message().contains("did you mean label?"),
        "{answer:?}"
    );
}
