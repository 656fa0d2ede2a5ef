//! `/registries/{registryId}/tokens` by the contract: bodies, rules, pages, and requests of real clients.

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Patience, Server, fill, masked, scopes};

const ID: &str = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10";
/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// A token as an answer shows it, ids and secret masked: made by `admin` at the test's start, not changed since.
fn shown(name: &str, password: &str, expiry: &Value, scopes: &Value, status: &str) -> Value {
    json!({
        "id": "[id]", "type": "token", "href": "",
        "metadata": {"createdBy": "admin", "createdByUserId": "[user]", "createdDate": "2026-11-21T12:00:00Z", "secretCreatedDate": "2026-11-21T12:00:00Z", "state": status},
        "properties": {"name": name, "credentials": {"username": name, "password": password}, "expiryDate": expiry,
            "scopes": scopes, "status": status},
    })
}

fn with(object: &Value, changes: Value) -> Value {
    let mut object = object.clone();
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// The token as it is now.
async fn current(admin: &Actor, path: &str) -> Value {
    let answer = admin.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["properties"]["name"].as_str().unwrap())
        .collect()
}

fn refused(answer: &Answer) -> (u16, Vec<&str>) {
    (answer.status, answer.codes())
}

#[rstest]
#[actix_web::test]
async fn answers_have_exactly_the_members_of_the_schema(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let (expiry, scopes) = (
        json!("2027-01-13T16:27:42Z"),
        json!([{"actions": ["push", "pull", "delete"], "name": "*", "type": "repository"}, {"actions": [], "name": "nume", "type": "repo1"}]),
    );
    let sent =
        json!({"name": "push-Token", "expiryDate": expiry, "scopes": scopes, "status": "disabled"});

    let created = admin.post(&tokens, json!({"properties": sent})).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("content-type"), "application/json");
    assert_eq!(created.header("cache-control"), "no-store");
    let mut made = shown("push-Token", "[secret]", &expiry, &scopes, "disabled");
    let message =
        "the type \"repo1\" grants nothing; the types are repository, and registry for the catalog";
    let warnings = json!([{"scope": 1, "message": message}]);
    made["metadata"]["warnings"] = warnings.clone();
    assert_eq!(masked(&created.json), made);
    // A name is all that is needed.
    let bare = admin
        .post(&tokens, json!({"properties": {"name": "ci"}}))
        .await;
    assert_eq!(bare.status, 201);
    assert_eq!(
        masked(&bare.json),
        shown("ci", "[secret]", &Value::Null, &json!([]), "enabled")
    );
    assert_ne!(
        bare.json["properties"]["credentials"]["password"],
        created.json["properties"]["credentials"]["password"]
    );

    // From now on the password is a key with nothing in it.
    let path = format!("{tokens}/{}", created.json["id"].as_str().unwrap());
    let quiet = shown("push-Token", "", &expiry, &scopes, "disabled");
    let read = admin.get(&path).await;
    assert_eq!((read.status, masked(&read.json)), (200, quiet.clone()));
    assert_eq!(read.json["id"], created.json["id"]);
    let listed = admin.get(&tokens).await;
    assert_eq!(listed.status, 200);
    assert_eq!(
        masked(&listed.json),
        json!({
            "id": "tokens", "type": "collection", "href": "", "offset": 0, "limit": 100, "count": 2, "total": 2,
            "items": [quiet, shown("ci", "", &Value::Null, &json!([]), "enabled")],
            "_links": {"self": format!("http://{}{tokens}?offset=0&limit=100", server.address), "next": "", "previous": ""},
        })
    );

    server.clock.advance(TimeDelta::microseconds(1_000_020));
    server
        .add_account("bob@example.com", "bob:pässword", "Admin")
        .await;
    let bob = server.actor("bob@example.com", "bob:pässword");
    let patched = bob.patch(&path, json!({"status": "enabled"})).await;
    let mut changed = shown("push-Token", "", &expiry, &scopes, "enabled");
    changed["metadata"] = with(
        &changed["metadata"],
        json!({"lastModifiedBy": "bob@example.com", "lastModifiedByUserId": "[user]", "lastModifiedDate": "2026-11-21T12:00:01.000020Z", "warnings": warnings}),
    );
    assert_eq!(
        (patched.status, masked(&patched.json)),
        (200, changed.clone())
    );
    assert_ne!(
        patched.json["metadata"]["lastModifiedByUserId"],
        patched.json["metadata"]["createdByUserId"]
    );

    // Replacing shows no secret either, and missing properties fall back to defaults: `ionosctl token replace`.
    let replaced = admin
        .put(&path, json!({"properties": {"name": "push-Token"}}))
        .await;
    changed["metadata"]["lastModifiedBy"] = json!("admin");
    changed["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("warnings");
    changed["properties"] = with(
        &changed["properties"],
        json!({"expiryDate": null, "scopes": []}),
    );
    assert_eq!((replaced.status, masked(&replaced.json)), (200, changed));

    let deleted = admin.delete(&path).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    assert_eq!(
        refused(&admin.get(&path).await),
        (404, vec!["token-not-found"])
    );
}

#[rstest]
#[actix_web::test]
async fn instants_are_read_as_every_client_writes_them(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let path = format!("/registries/{registry}/tokens/{ID}");
    let cases = [
        ("2026-12-21T21:57:24Z", "2026-12-21T21:57:24Z"),
        (
            "2031-01-01T02:03:04.000567+00:00",
            "2031-01-01T02:03:04.000567Z",
        ),
        ("2031-01-01T02:03:04.123Z", "2031-01-01T02:03:04.123Z"),
        ("2031-01-01T02:03:04.1Z", "2031-01-01T02:03:04.100Z"),
        ("2031-01-01T02:03:04.000Z", "2031-01-01T02:03:04Z"),
        // Whole microseconds are kept.
        (
            "2031-01-02T03:04:05.123456789+02:00",
            "2031-01-02T01:04:05.123456Z",
        ),
        ("2031-01-01T23:30:00-05:30", "2031-01-02T05:00:00Z"),
        ("2031-01-01t02:03:04z", "2031-01-01T02:03:04Z"),
        ("2032-02-29T00:00:00+14:00", "2032-02-28T10:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ];
    for (sent, expected) in cases {
        let body = json!({"properties": {"name": "ci", "expiryDate": sent}});
        let put = admin.put(&path, body.clone()).await;
        assert_eq!(
            put.json["properties"]["expiryDate"], expected,
            "{sent}: {put:?}"
        );
        let stored = current(&admin, &path).await;
        assert_eq!(stored["properties"]["expiryDate"], expected, "{sent}");
        // Another spelling of the same instant is no change, whatever the clock says.
        server.clock.advance(TimeDelta::seconds(1));
        for again in [
            admin.patch(&path, json!({"expiryDate": sent})).await,
            admin.put(&path, body).await,
        ] {
            assert_eq!((again.status, &again.json), (200, &stored), "{sent}");
        }
    }
    for none in [
        json!({"expiryDate": null}),
        json!({"expiryDate": null, "status": "enabled"}),
    ] {
        let patched = admin.patch(&path, none).await;
        assert_eq!(
            (patched.status, &patched.json["properties"]["expiryDate"]),
            (200, &Value::Null)
        );
    }
}

#[rstest]
#[actix_web::test]
async fn scopes_are_kept_verbatim_and_in_order(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let cases = [
        (json!(null), json!([])),
        (json!([]), json!([])),
        (
            json!([{"actions": null, "name": "Scope1", "type": "backup"}]),
            json!([{"actions": [], "name": "Scope1", "type": "backup"}]),
        ),
        (
            json!([{"actions": ["*", "push", "push", "ÄÖ", ""], "name": "", "type": ""}, {"type": "repo", "name": "*", "actions": []},
                {"actions": ["*", "push", "push", "ÄÖ", ""], "name": "", "type": ""}]),
            json!([{"actions": ["*", "push", "push", "ÄÖ", ""], "name": "", "type": ""}, {"actions": [], "name": "*", "type": "repo"},
                {"actions": ["*", "push", "push", "ÄÖ", ""], "name": "", "type": ""}]),
        ),
    ];
    for (number, (sent, expected)) in cases.into_iter().enumerate() {
        let body = json!({"properties": {"name": format!("case-{number}"), "scopes": sent}});
        let created = admin.post(&tokens, body).await;
        assert_eq!(
            (created.status, &created.json["properties"]["scopes"]),
            (201, &expected),
            "{sent}"
        );
        let path = format!("{tokens}/{}", created.json["id"].as_str().unwrap());
        assert_eq!(
            current(&admin, &path).await["properties"]["scopes"],
            expected,
            "{sent}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn a_patch_changes_what_it_names_and_nothing_else(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let path = format!("/registries/{registry}/tokens/{ID}");
    let (one, two) = (
        json!({"actions": ["pull"], "name": "a", "type": "repository"}),
        json!({"actions": ["pull"], "name": "b", "type": "repository"}),
    );
    admin
        .put(&path, json!({"properties": {"name": "ci"}}))
        .await;
    // A request and the members that differ after it.
    let cases = [
        (json!({}), json!({})),
        // terraform sends null in every update of a token without expiry.
        (json!({"expiryDate": null, "status": "enabled"}), json!({})),
        (
            json!({"expiryDate": "2027-01-01T00:00:00Z"}),
            json!({"expiryDate": "2027-01-01T00:00:00Z"}),
        ),
        (json!({"scopes": [one, two]}), json!({"scopes": [one, two]})),
        (
            json!({"scopes": [one, two], "expiryDate": "2027-01-01T01:00:00+01:00", "status": "enabled"}),
            json!({}),
        ),
        (json!({"scopes": null, "status": null}), json!({})),
        (
            json!({"id": 5, "type": [], "href": "x", "metadata": {"state": "New"}}),
            json!({}),
        ),
        // The same in another order is a change.
        (json!({"scopes": [two, one]}), json!({"scopes": [two, one]})),
        (json!({"scopes": [one]}), json!({"scopes": [one]})),
        (json!({"status": "disabled"}), json!({"status": "disabled"})),
        (json!({"status": "disabled"}), json!({})),
        (
            json!({"status": "enabled", "scopes": []}),
            json!({"status": "enabled", "scopes": []}),
        ),
        (json!({"expiryDate": null}), json!({"expiryDate": null})),
    ];
    let mut expected = current(&admin, &path).await;
    let mut hour = 12;
    for (sent, changes) in cases {
        server.clock.advance(TimeDelta::hours(1));
        hour += 1;
        if changes != json!({}) {
            expected["properties"] = with(&expected["properties"], changes);
            let (by, user) = (
                &expected["metadata"]["createdBy"],
                &expected["metadata"]["createdByUserId"],
            );
            expected["metadata"] = with(
                &expected["metadata"],
                json!({"lastModifiedBy": by, "lastModifiedByUserId": user, "state": expected["properties"]["status"], "lastModifiedDate":
                    format!("2026-11-2{}T{:02}:00:00Z", 1 + hour / 24, hour % 24)}),
            );
        }
        let patched = admin.patch(&path, sent.clone()).await;
        assert_eq!((patched.status, &patched.json), (200, &expected), "{sent}");
        assert_eq!(current(&admin, &path).await, expected, "{sent}");
    }
}

/// A description stays where a client does not speak of it, null clears it, and clients that do not know it never see one.
#[rstest]
#[actix_web::test]
async fn a_description_is_kept_cleared_and_bounded(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let text = "Zieht für den nächtlichen Bau 🐳";
    let new =
        |description: Value| json!({"properties": {"name": "ci", "description": description}});
    let made = admin.post(&tokens, new(json!(text))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("{tokens}/{}", made.json["id"].as_str().unwrap());
    let bare = json!({"properties": {"name": "ci"}});
    for (answer, expected) in [
        (made, Some(text)),
        (admin.get(&path).await, Some(text)),
        (admin.put(&path, bare.clone()).await, Some(text)),
        (
            admin.patch(&path, json!({"status": "disabled"})).await,
            Some(text),
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
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        let shown = answer.json["properties"].get("description");
        assert_eq!(shown.and_then(Value::as_str), expected, "{answer:?}");
        assert_eq!(shown.is_some(), expected.is_some(), "{answer:?}");
    }
    // In characters, not in bytes.
    let longest = "ü".repeat(200);
    let answer = admin.patch(&path, json!({"description": longest})).await;
    assert_eq!(answer.json["properties"]["description"], longest);
    for wrong in ["ü".repeat(201), "two\nlines".to_owned()] {
        let answer = admin.patch(&path, json!({"description": wrong})).await;
        assert_eq!(answer.codes(), ["invalid-description"], "{answer:?}");
    }
    let listed = admin.get(&tokens).await;
    assert_eq!(
        listed.json["items"][0]["properties"]["description"],
        longest
    );
    // The audit trail has each of them.
    let events = admin.get("/audit?kind=update").await;
    let told: Vec<_> = events.json["items"].as_array().unwrap().iter().collect();
    assert!(
        told.iter()
            .any(|event| event["detail"]["after"]["description"] == "x"),
        "{told:?}"
    );
}

#[rstest]
#[actix_web::test]
async fn a_put_creates_with_the_id_of_the_path_or_replaces(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let path = format!("{tokens}/{ID}");
    let full = json!({"properties": {"name": "ci", "expiryDate": "2027-01-01T00:00:00Z", "status": "disabled",
        "scopes": [{"actions": ["pull"], "name": "a", "type": "repository"}]}});

    let created = admin
        .put(&format!("{tokens}/{}", ID.to_uppercase()), full.clone())
        .await;
    assert_eq!((created.status, &created.json["id"]), (201, &json!(ID)));
    assert_eq!(created.header("cache-control"), "no-store");
    assert_eq!(
        masked(&created.json)["properties"]["credentials"],
        json!({"username": "ci", "password": "[secret]"})
    );

    // GET, edit nothing, PUT; also with the secret that the first answer showed: nothing happens.
    server.clock.advance(TimeDelta::hours(1));
    let read = current(&admin, &path).await;
    for echo in [&read, &created.json] {
        let same = admin.put(&path, echo.clone()).await;
        assert_eq!((same.status, &same.json), (200, &read));
    }
}

/// It says nothing of the first.
#[rstest]
#[actix_web::test]
async fn the_same_id_and_name_in_another_registry_is_another_token(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let other = admin.create_registry("team-b").await;
    let path = format!("{tokens}/{ID}");
    let full = json!({"properties": {"name": "ci", "expiryDate": "2027-01-01T00:00:00Z", "status": "disabled",
        "scopes": [{"actions": ["pull"], "name": "a", "type": "repository"}]}});

    assert_eq!(admin.put(&path, full).await.status, 201);
    let read = current(&admin, &path).await;
    let there = format!("/registries/{other}/tokens/{ID}");
    let twin = admin
        .put(&there, json!({"properties": {"name": "CI"}}))
        .await;
    assert_eq!((twin.status, &twin.json["id"]), (201, &json!(ID)));
    assert_eq!(twin.json["properties"]["expiryDate"], Value::Null);
    assert_eq!(current(&admin, &path).await, read);

    // Deleting the registry takes its tokens along, and no other's.
    assert_eq!(
        admin
            .delete(&format!("/registries/{registry}"))
            .await
            .status,
        204
    );
    assert_eq!(
        refused(&admin.get(&path).await),
        (404, vec!["registry-not-found"])
    );
    assert_eq!(current(&admin, &there).await["properties"]["name"], "CI");
}

#[rstest]
#[actix_web::test]
async fn a_put_that_cannot_be_changes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let path = format!("{tokens}/{ID}");
    let made = admin
        .put(&path, json!({"properties": {"name": "ci"}}))
        .await;
    assert_eq!(made.status, 201);
    let read = current(&admin, &path).await;
    let unused = format!("{tokens}/{NOBODY}");
    let (nowhere, one_nowhere) = (
        format!("/registries/{NOBODY}/tokens"),
        format!("/registries/{NOBODY}/tokens/{ID}"),
    );
    let refusals = [
        ("PUT", &path, "Ci", 400, "invalid-name"),
        ("PUT", &path, "deploy", 400, "invalid-name"),
        ("PUT", &unused, "ci", 409, "token-exists"),
        ("PUT", &unused, "cI", 409, "token-exists"),
        ("POST", &tokens, "ci", 409, "token-exists"),
        ("POST", &tokens, "CI", 409, "token-exists"),
        ("PUT", &one_nowhere, "ci", 404, "registry-not-found"),
        ("POST", &nowhere, "ci", 404, "registry-not-found"),
    ];
    for (method, at, name, status, code) in refusals {
        let request = admin.request(method.parse().unwrap(), at);
        let answer = admin
            .send(request.json(&json!({"properties": {"name": name}})))
            .await;
        assert_eq!(
            refused(&answer),
            (status, vec![code]),
            "{method} {at} {name}"
        );
        assert_eq!(current(&admin, &path).await, read);
        assert_eq!(admin.get(&tokens).await.json["total"], 1);
    }
}

#[rstest]
#[actix_web::test]
async fn tokens_that_are_nowhere_are_not_found(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let unused = format!("{tokens}/{NOBODY}");
    let nowhere = format!("/registries/{NOBODY}/tokens");
    let one_nowhere = format!("{nowhere}/{ID}");
    for (method, at, code) in [
        ("GET", &unused, "token-not-found"),
        ("PATCH", &unused, "token-not-found"),
        ("DELETE", &unused, "token-not-found"),
        ("GET", &nowhere, "registry-not-found"),
        ("GET", &one_nowhere, "registry-not-found"),
        ("PATCH", &one_nowhere, "registry-not-found"),
        ("DELETE", &one_nowhere, "registry-not-found"),
    ] {
        let request = admin.request(method.parse().unwrap(), at);
        let answer = admin.send(request.json(&json!({}))).await;
        assert_eq!(refused(&answer), (404, vec![code]), "{method} {at}");
    }
}

/// `ionosctl token scope delete` and the way to rotate a secret.
#[rstest]
#[actix_web::test]
async fn a_put_of_a_deleted_id_makes_a_new_token_at_the_end_of_the_list(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let path = format!("{tokens}/{ID}");
    let body = json!({"properties": {"name": "ci", "scopes": [{"actions": ["pull"], "name": "a", "type": "repository"}], "status": "enabled"}});
    let first = admin.put(&path, body.clone()).await;
    admin.create_token(&registry, "deploy").await;
    admin.patch(&path, json!({"status": "disabled"})).await;
    assert_eq!(names(&admin.get(&tokens).await.json), ["ci", "deploy"]);

    server.clock.advance(TimeDelta::hours(1));
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(
        refused(&admin.delete(&path).await),
        (404, vec!["token-not-found"])
    );
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
    let second = admin.put(&path, body).await;
    assert_eq!((second.status, &second.json["id"]), (201, &json!(ID)));
    assert_eq!(
        second.json["metadata"]["createdDate"],
        "2026-11-21T13:00:00Z"
    );
    assert_eq!(second.json["metadata"].get("lastModifiedDate"), None);
    assert_eq!(
        masked(&second.json)["properties"],
        masked(&first.json)["properties"]
    );
    assert_ne!(
        second.json["properties"]["credentials"],
        first.json["properties"]["credentials"]
    );
    let list = admin.get(&tokens).await.json;
    assert_eq!(
        (names(&list), &list["total"]),
        (vec!["deploy", "ci"], &json!(2))
    );
}

/// A token that ends in an hour, and stays listed for another one.
struct Ending {
    server: Server,
    admin: Actor,
    tokens: String,
    path: String,
    /// The body of the request that made the token.
    body: Value,
}

impl Ending {
    const END: &str = "2026-11-21T13:00:00Z";

    async fn new(backend: Backend) -> Self {
        let server = Server::start_with(backend, &["--expired-token-retention", "1h"]).await;
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let tokens = format!("/registries/{registry}/tokens");
        let path = format!("{tokens}/{ID}");
        let body = json!({"properties": {"name": "ci", "expiryDate": Self::END}});
        assert_eq!(admin.put(&path, body.clone()).await.status, 201);
        Self {
            server,
            admin,
            tokens,
            path,
            body,
        }
    }

    /// Its state and its status, shown alike alone and in the list.
    async fn state(&self) -> (String, String) {
        let token = current(&self.admin, &self.path).await;
        let listed = self.admin.get(&self.tokens).await.json;
        assert_eq!(listed["items"][0], token);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (metadata, properties) = (&token["metadata"], &token["properties"]);
        (text(&metadata["state"]), text(&properties["status"]))
    }
}

fn words(state: &str, status: &str) -> (String, String) {
    (state.to_owned(), status.to_owned())
}

#[rstest]
#[actix_web::test]
async fn a_token_expires_and_what_it_was_can_be_applied_again(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let token = Ending::new(backend).await;
    let (admin, clock) = (&token.admin, &token.server.clock);
    clock.advance(TimeDelta::hours(1) - TimeDelta::microseconds(1));
    assert_eq!(token.state().await, words("enabled", "enabled"));
    clock.advance(TimeDelta::microseconds(1));
    assert_eq!(token.state().await, words("expired", "enabled"));

    // The stored date may be sent again, with other changes too.
    assert_eq!(
        admin.put(&token.path, token.body.clone()).await.json["metadata"].get("lastModifiedDate"),
        None
    );
    let disabled = admin
        .patch(
            &token.path,
            json!({"expiryDate": Ending::END, "status": "disabled"}),
        )
        .await;
    assert_eq!(disabled.status, 200, "{disabled:?}");
    assert_eq!(token.state().await, words("disabled", "disabled"));
    assert_eq!(
        admin
            .patch(&token.path, json!({"status": "enabled"}))
            .await
            .json["metadata"]["state"],
        "expired"
    );
}

#[rstest]
#[actix_web::test]
async fn an_expired_token_is_revived_by_a_later_date_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let token = Ending::new(backend).await;
    let (admin, clock) = (&token.admin, &token.server.clock);
    clock.advance(TimeDelta::hours(1));
    let before = current(admin, &token.path).await;
    let (path, new) = (&token.path, format!("{}/{NOBODY}", token.tokens));
    let named = |name: &str, end: &str| json!({"properties": {"name": name, "expiryDate": end}});
    let earlier = "2026-11-21T12:59:59Z";
    let check = async |at: &str, answer: Answer| {
        assert_eq!(refused(&answer), (400, vec!["invalid-expiry-date"]), "{at}");
        assert_eq!(current(admin, &token.path).await, before, "{at}");
        assert_eq!(admin.get(&token.tokens).await.json["total"], 1, "{at}");
    };
    let other = named("other", Ending::END);
    let posted = admin.post(&token.tokens, other.clone()).await;
    check("POST", posted).await;
    check("PUT of a new id", admin.put(&new, other).await).await;
    check("PUT", admin.put(path, named("ci", earlier)).await).await;
    let patch = json!({"expiryDate": earlier});
    check("PATCH", admin.patch(path, patch).await).await;
    clock.advance(TimeDelta::minutes(1));
    let patch = json!({"expiryDate": "2026-11-21T13:01:00Z"});
    let edge = admin.patch(path, patch).await;
    check("PATCH to the future's edge", edge).await;

    // A later date revives it; without one it lives for ever.
    let revived = admin
        .patch(
            &token.path,
            json!({"expiryDate": "2026-11-21T13:01:00.000001Z"}),
        )
        .await;
    assert_eq!(
        (revived.status, &revived.json["metadata"]["state"]),
        (200, &json!("enabled"))
    );
}

/// To the microsecond.
#[rstest]
#[actix_web::test]
async fn an_expired_token_stays_listed_for_the_time_of_the_setting(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let token = Ending::new(backend).await;
    let (admin, clock) = (&token.admin, &token.server.clock);
    clock.advance(TimeDelta::hours(2) - TimeDelta::microseconds(1));
    token.server.service.janitor().run("test").await.unwrap();
    assert_eq!(token.state().await, words("expired", "enabled"));
    clock.advance(TimeDelta::microseconds(1));
    // The server's own janitor may be at it, or may have been.
    let patience = Patience::new();
    while admin.get(&token.path).await.status == 200 {
        patience.spend("the token is still listed");
        token.server.service.janitor().run("test").await.unwrap();
    }
    assert_eq!(admin.get(&token.tokens).await.json["total"], 0);
    assert_eq!(
        admin
            .put(&token.path, json!({"properties": {"name": "ci"}}))
            .await
            .status,
        201
    );
}

/// The query, the window it means, what is in it, and where its neighbours begin.
type Window = (
    &'static str,
    (i64, i64),
    &'static [&'static str],
    Option<i64>,
    Option<i64>,
);

const WINDOWS: [Window; 15] = [
    ("", (0, 100), &["ta", "tb", "td", "te", "tf"], None, None),
    ("?offset=0&limit=2", (0, 2), &["ta", "tb"], None, Some(2)),
    ("?offset=2&limit=2", (2, 2), &["td", "te"], Some(0), Some(4)),
    ("?offset=4&limit=2", (4, 2), &["tf"], Some(2), None),
    (
        "?limit=5",
        (0, 5),
        &["ta", "tb", "td", "te", "tf"],
        None,
        None,
    ),
    ("?limit=4", (0, 4), &["ta", "tb", "td", "te"], None, Some(4)),
    ("?offset=1&limit=2", (1, 2), &["tb", "td"], Some(0), Some(3)),
    ("?offset=3", (3, 100), &["te", "tf"], Some(0), None),
    ("?offset=5&limit=2", (5, 2), &[], Some(3), None),
    ("?offset=50&limit=2", (50, 2), &[], Some(3), None),
    ("?limit=0", (0, 0), &[], None, None),
    ("?offset=3&limit=0", (3, 0), &[], None, None),
    (
        "?limit=1000",
        (0, 1000),
        &["ta", "tb", "td", "te", "tf"],
        None,
        None,
    ),
    (
        "?offset=9223372036854775807&limit=1000",
        (i64::MAX, 1000),
        &[],
        Some(0),
        None,
    ),
    (
        "?depth=1&maxResults=1&limit=01",
        (0, 1),
        &["ta"],
        None,
        Some(1),
    ),
];

#[rstest]
#[actix_web::test]
async fn pages_are_windows_and_totals_are_right(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let mut ids = Vec::new();
    for (made, name) in ["ta", "tb", "tc", "td", "te", "tf"].into_iter().enumerate() {
        ids.push(admin.create_token(&registry, name).await);
        assert_eq!(
            admin.get(&format!("{tokens}?limit=0")).await.json["total"],
            made + 1
        );
    }
    admin.delete(&format!("{tokens}/{}", ids[2])).await;
    let base = format!("http://{}{tokens}", server.address);
    for (query, (offset, limit), expected, previous, next) in WINDOWS {
        let answer = admin.get(&format!("{tokens}{query}")).await;
        let list = &answer.json;
        let link = |offset: Option<i64>| {
            offset.map_or(String::new(), |offset| {
                format!("{base}?offset={offset}&limit={limit}")
            })
        };
        assert_eq!(answer.status, 200, "{query}");
        assert_eq!(names(list), expected, "{query}");
        let numbers = ["offset", "limit", "count", "total"].map(|name| &list[name]);
        let count = expected.len();
        assert_eq!(json!(numbers), json!([offset, limit, count, 5]), "{query}");
        assert_eq!(
            list["_links"],
            json!({"self": link(Some(offset)), "previous": link(previous), "next": link(next)}),
            "{query}"
        );
    }
    // As one page ends another begins, and emptied the list is a list.
    for id in [0, 1, 3, 4, 5] {
        assert_eq!(
            admin.delete(&format!("{tokens}/{}", ids[id])).await.status,
            204
        );
    }
    let empty = admin.get(&tokens).await.json;
    assert_eq!(
        (&empty["items"], &empty["total"], &empty["count"]),
        (&json!([]), &json!(0), &json!(0))
    );
}

#[rstest]
#[actix_web::test]
async fn a_name_has_few_wildcards_unless_it_had_more_before(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let with = |name: &str, pattern: &str| {
        let scopes = scopes(&["repository:a:pull", &format!("repository:{pattern}:pull")]);
        json!({"properties": {"name": name, "scopes": scopes}})
    };
    let (most, more) = ("a*/b*/**/c*", "a*/b*/**/c*d*");
    let refused = "scope name \"a*/b*/**/c*d*\" has 5 wildcards; at most 4 are allowed";
    let made = admin.post(&tokens, with("ci", most)).await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = format!("{tokens}/{}", made.json["id"].as_str().unwrap());
    let patch = |pattern| json!({"scopes": with("ci", pattern)["properties"]["scopes"]});
    let answers = [
        admin.post(&tokens, with("other", more)).await,
        admin
            .put(&format!("{tokens}/{NOBODY}"), with("other", more))
            .await,
        admin.put(&token, with("ci", more)).await,
        admin.patch(&token, patch(more)).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.codes(), ["invalid-scopes"]);
        assert_eq!(answer.message(), refused);
    }
    assert_eq!(admin.get(&tokens).await.json["total"], 1);

    // As a release before this one could leave it.
    server.database.execute(&format!(
        "UPDATE tokens SET scopes = REPLACE(scopes, '{most}', '{more}')"
    ));
    assert_eq!(admin.put(&token, with("ci", more)).await.status, 200);
    assert_eq!(admin.patch(&token, patch(more)).await.status, 200);
    let disabled = admin.patch(&token, json!({"status": "disabled"})).await;
    assert_eq!(disabled.status, 200, "{disabled:?}");
    let kept = &disabled.json["properties"]["scopes"][1]["name"];
    assert_eq!(kept, more);
    assert_eq!(admin.patch(&token, patch(most)).await.status, 200);
    assert_eq!(admin.patch(&token, patch(more)).await.status, 400);
}

/// Public clients send types, actions and names of their own, so these are kept, and told of.
#[rstest]
#[actix_web::test]
async fn scopes_that_grant_nothing_are_kept_and_told_of(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let good = json!({"type": "repository", "name": "app/*", "actions": ["pull"]});
    let wrong =
        json!({"type": "repository", "name": "team-a.localhost/App", "actions": ["push", "Pull"]});
    let both = json!([good, wrong]);
    let warnings = json!([{"scope": 1, "message":
        "the action \"Pull\" grants nothing; did you mean pull?; the scope grants push without pull, which Distribution \
         refuses and zot accepts; the name \"team-a.localhost/App\" begins with a host; leave that out: \"App\""}]);
    let made = admin
        .post(
            &tokens,
            json!({"properties": {"name": "ci", "scopes": both}}),
        )
        .await;
    assert_eq!(made.json["metadata"]["warnings"], warnings, "{made:?}");
    assert_eq!(made.json["properties"]["scopes"], both);
    let token = format!("{tokens}/{}", made.json["id"].as_str().unwrap());
    // Warnings that a client sends back are ignored. The answer to a GET has none.
    let body =
        json!({"metadata": made.json["metadata"], "properties": {"name": "ci", "scopes": both}});
    for answer in [
        admin.put(&token, body).await,
        admin.patch(&token, json!({"status": "disabled"})).await,
        admin
            .post(&format!("{token}/rotate"), json!({"gracePeriod": "PT0S"}))
            .await,
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json["metadata"]["warnings"], warnings, "{answer:?}");
    }
    let read = admin.get(&token).await;
    assert_eq!(read.json["metadata"].get("warnings"), None, "{read:?}");
    let asked = json!({"scope": "repository:app/web:pull"});
    let evaluated = admin
        .post(&format!("{token}/evaluate"), asked.clone())
        .await;
    assert_eq!(evaluated.json["warnings"], warnings, "{evaluated:?}");
    let mended = admin.patch(&token, json!({"scopes": [good]})).await;
    assert_eq!(mended.json["metadata"].get("warnings"), None, "{mended:?}");
    let evaluated = admin.post(&format!("{token}/evaluate"), asked).await;
    assert_eq!(evaluated.json.get("warnings"), None, "{evaluated:?}");
}

/// A change of a column without an index writes no index if its new row finds room on the page of the old one. With an
/// index on a column that each change writes, no change would. How many find room depends on when PostgreSQL tidies a
/// page, so their share is not asked for.
#[rstest]
#[actix_web::test]
async fn a_change_can_stay_on_its_page(#[values(Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let ids = fill(&server, &registry, 40).await;
    let change = async |id: &String, text: &str| {
        let path = format!("/registries/{registry}/tokens/{id}");
        let answer = admin.patch(&path, json!({"description": text})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    for id in &ids {
        change(id, "changed").await;
    }
    let sum = |column| {
        let sql =
            format!("SELECT {column} FROM pg_stat_user_tables WHERE relid = 'tokens'::regclass");
        server.database.number(&sql)
    };
    let patience = Patience::new();
    // A connection reports its numbers once a second, but only when it works.
    for number in 0.. {
        change(&ids[0], &number.to_string()).await;
        if sum("n_tup_upd") >= 40 {
            break;
        }
        patience.spend("the changes are not counted");
    }
    assert!(sum("n_tup_hot_upd") > 0);
}
