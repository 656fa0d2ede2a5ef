//! `/registries` by the contract: bodies, rules, pages, and requests of real clients.

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Backend, Patience, Server, masked};

const ID: &str = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11";
/// An id that nothing has.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// A registry as an answer shows it, ids masked: made by `admin` at the test's start, not changed since.
fn shown(state: &str, properties: &Value) -> Value {
    json!({
        "id": "[id]", "type": "registry", "href": "",
        "metadata": {"createdBy": "admin", "createdByUserId": "[user]", "createdDate": "2026-11-21T12:00:00Z", "state": state},
        "properties": properties,
    })
}

fn with(object: &Value, changes: Value) -> Value {
    let mut object = object.clone();
    for (name, value) in changes.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// The registry as it is now.
async fn current(admin: &Actor, id: &str) -> Value {
    let answer = admin.get(&format!("/registries/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["properties"]["name"].as_str().unwrap())
        .collect()
}

#[rstest]
#[actix_web::test]
async fn answers_have_exactly_the_members_of_the_schema(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--registry-domain", "cr.example.com"]).await;
    let admin = server.admin();
    let sent = json!({
        "name": "team-a", "location": "de/fra",
        "garbageCollectionSchedule": {"days": ["Tuesday", "Monday"], "time": "05:19:00+00:00"},
        "features": {"vulnerabilityScanning": {"enabled": false}}, "apiSubnetAllowList": ["10.1.0.0/16"],
    });
    let made = with(
        &sent,
        json!({"hostname": "", "storageUsage": {"bytes": 0}, "tokenVerifier": "x5c"}),
    );
    let running = with(&made, json!({"hostname": "team-a.cr.example.com"}));

    let created = admin.post("/registries", json!({"properties": sent})).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.header("content-type"), "application/json");
    assert_eq!(masked(&created.json), shown("New", &made));

    let path = format!("/registries/{}", created.json["id"].as_str().unwrap());
    let read = admin.get(&path).await;
    assert_eq!(
        (read.status, read.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(masked(&read.json), shown("Running", &running));
    assert_eq!(read.json["id"], created.json["id"]);

    let listed = admin.get("/registries").await;
    assert_eq!(listed.status, 200);
    assert_eq!(
        masked(&listed.json),
        json!({
            "id": "registries", "type": "collection", "href": "",
            "items": [shown("Running", &running)],
            "pagination": {"limit": 100, "token": ""},
            "_links": {"self": format!("http://{}/registries?limit=100", server.address), "next": "", "previous": ""},
        })
    );

    // The first change sets the last modifier and the time. The creator stays.
    server.clock.advance(TimeDelta::milliseconds(3_600_001));
    server
        .add_account("bob@example.com", "bob:pässword", "Admin")
        .await;
    let bob = server.actor("BOB@example.com", "bob:pässword");
    let patched = bob.patch(&path, json!({"apiSubnetAllowList": []})).await;
    let mut changed = shown(
        "Running",
        &with(&running, json!({"apiSubnetAllowList": []})),
    );
    changed["metadata"] = with(
        &changed["metadata"],
        json!({"lastModifiedBy": "bob@example.com", "lastModifiedByUserId": "[user]", "lastModifiedDate": "2026-11-21T13:00:00.001Z"}),
    );
    assert_eq!(
        (patched.status, masked(&patched.json)),
        (200, changed.clone())
    );
    assert_ne!(
        patched.json["metadata"]["lastModifiedByUserId"],
        patched.json["metadata"]["createdByUserId"]
    );

    let replaced = admin.put(&path, json!({"properties": sent})).await;
    changed["properties"] = running;
    changed["metadata"]["lastModifiedBy"] = json!("admin");
    assert_eq!((replaced.status, masked(&replaced.json)), (200, changed));

    let deleted = admin.delete(&path).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
}

#[rstest]
#[actix_web::test]
async fn what_was_sent_comes_back_as_it_was_sent(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let many: Vec<_> = (0..25).map(|n| format!("10.{n}.0.1")).collect();
    // Properties sent beside name and location, and properties shown beside them.
    let cases = [
        (
            json!({}),
            json!({"garbageCollectionSchedule": null, "features": {"vulnerabilityScanning": {"enabled": true}}, "apiSubnetAllowList": []}),
        ),
        (
            json!({"garbageCollectionSchedule": null, "features": null, "apiSubnetAllowList": null}),
            json!({"garbageCollectionSchedule": null, "features": {"vulnerabilityScanning": {"enabled": true}}, "apiSubnetAllowList": []}),
        ),
        // `ionosctl registry replace` without days.
        (
            json!({"garbageCollectionSchedule": {"days": null, "time": "01:23:00+00:00"}}),
            json!({"garbageCollectionSchedule": {"days": [], "time": "01:23:00+00:00"}}),
        ),
        (
            json!({"garbageCollectionSchedule": {"days": ["Sunday", "Monday", "Friday"], "time": "10:00:00Z"}}),
            json!({"garbageCollectionSchedule": {"days": ["Sunday", "Monday", "Friday"], "time": "10:00:00Z"}}),
        ),
        (
            json!({"garbageCollectionSchedule": {"days": [], "time": "10:00:00"}}),
            json!({"garbageCollectionSchedule": {"days": [], "time": "10:00:00"}}),
        ),
        (
            json!({"features": {}}),
            json!({"features": {"vulnerabilityScanning": {"enabled": true}}}),
        ),
        (
            json!({"features": {"vulnerabilityScanning": {"enabled": false, "properties": {"z": [1, {"a": null}], "\u{0}": "\u{0}"}}}}),
            json!({"features": {"vulnerabilityScanning": {"enabled": false, "properties": {"z": [1, {"a": null}], "\u{0}": "\u{0}"}}}}),
        ),
        (
            json!({"apiSubnetAllowList": ["192.168.0.167/24", "2001:0db8:85a3::/24", "10.0.0.1", "::1", "10.0.0.1"]}),
            json!({"apiSubnetAllowList": ["192.168.0.167/24", "2001:0db8:85a3::/24", "10.0.0.1", "::1", "10.0.0.1"]}),
        ),
        (
            json!({"apiSubnetAllowList": many}),
            json!({"apiSubnetAllowList": many}),
        ),
        // Members of a GET's answer, and members that the product once had.
        (
            json!({"hostname": "x", "storageUsage": {"bytes": 7, "updatedAt": null}, "maintenanceWindow": {"days": 5}}),
            json!({"hostname": "", "storageUsage": {"bytes": 0}}),
        ),
    ];
    for (number, (sent, expected)) in cases.into_iter().enumerate() {
        let name = format!("case-{number}");
        let body = json!({"properties": with(&sent, json!({"name": name, "location": "es/vit"}))});
        let created = admin.post("/registries", body).await;
        assert_eq!(created.status, 201, "{sent}: {created:?}");
        let read = current(&admin, created.json["id"].as_str().unwrap()).await;
        for (member, value) in expected.as_object().unwrap() {
            assert_eq!(&created.json["properties"][member], value, "{sent}");
            if member != "hostname" {
                assert_eq!(&read["properties"][member], value, "{sent}");
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_patch_changes_what_it_names_and_nothing_else(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let on = json!({"vulnerabilityScanning": {"enabled": true}});
    // A request and the members that differ after it.
    let cases = [
        (json!({}), json!({})),
        (
            json!({"garbageCollectionSchedule": {"days": ["Friday"], "time": "01:23:00+00:00"}, "apiSubnetAllowList": ["10.0.0.0/8", "::1"]}),
            json!({"garbageCollectionSchedule": {"days": ["Friday"], "time": "01:23:00+00:00"}, "apiSubnetAllowList": ["10.0.0.0/8", "::1"]}),
        ),
        // The same in another order is a change.
        (
            json!({"apiSubnetAllowList": ["::1", "10.0.0.0/8"]}),
            json!({"apiSubnetAllowList": ["::1", "10.0.0.0/8"]}),
        ),
        (
            json!({"apiSubnetAllowList": ["::1", "10.0.0.0/8"]}),
            json!({}),
        ),
        (json!({"apiSubnetAllowList": null}), json!({})),
        (json!({"features": {}}), json!({})),
        (json!({"features": null}), json!({})),
        (json!({"features": on}), json!({})),
        (
            json!({"id": 5, "type": [], "href": "x", "metadata": {"state": "New"}, "maintenanceWindow": null}),
            json!({}),
        ),
        // terraform
        (
            json!({"apiSubnetAllowList": [], "features": on}),
            json!({"apiSubnetAllowList": []}),
        ),
        // `ionosctl registry update` without days
        (
            json!({"garbageCollectionSchedule": {"days": null, "time": "01:23:00+00:00"}}),
            json!({"garbageCollectionSchedule": {"days": [], "time": "01:23:00+00:00"}}),
        ),
        (
            json!({"garbageCollectionSchedule": null}),
            json!({"garbageCollectionSchedule": null}),
        ),
    ];
    let mut expected = current(&admin, &id).await;
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
                json!({"lastModifiedBy": by, "lastModifiedByUserId": user, "lastModifiedDate":
                    format!("2026-11-2{}T{:02}:00:00Z", 1 + hour / 24, hour % 24)}),
            );
        }
        let patched = admin
            .patch(&format!("/registries/{id}"), sent.clone())
            .await;
        assert_eq!((patched.status, &patched.json), (200, &expected), "{sent}");
        assert_eq!(current(&admin, &id).await, expected, "{sent}");
    }
}

/// Properties of a registry that name all that can be chosen.
fn full() -> Value {
    json!({
        "name": "team-a", "location": "de/txl", "garbageCollectionSchedule": {"days": ["Monday"], "time": "10:00:00Z"},
        "features": {"vulnerabilityScanning": {"enabled": false}}, "apiSubnetAllowList": ["10.0.0.1"],
    })
}

/// A registry with nothing but a name and a location.
fn short() -> Value {
    json!({"properties": {"name": "team-a", "location": "de/txl"}})
}

#[rstest]
#[actix_web::test]
async fn a_put_creates_with_the_id_of_the_path_or_replaces(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let path = format!("/registries/{}", ID.to_uppercase());
    let created = admin.put(&path, json!({"properties": full()})).await;
    assert_eq!((created.status, &created.json["id"]), (201, &json!(ID)));
    assert_eq!(created.json["metadata"]["state"], "New");
    assert_eq!(created.json["properties"]["hostname"], "");

    // GET, edit nothing, PUT: nothing happens.
    server.clock.advance(TimeDelta::hours(1));
    let read = current(&admin, ID).await;
    let same = admin.put(&path, read.clone()).await;
    assert_eq!((same.status, same.json), (200, read.clone()));

    // A missing property falls back to its default, so scanning goes on.
    let replaced = admin.put(&path, short()).await;
    assert_eq!(
        (replaced.status, &replaced.json["metadata"]["state"]),
        (200, &json!("Running"))
    );
    assert_eq!(
        replaced.json["properties"],
        json!({"name": "team-a", "location": "de/txl", "hostname": "team-a.localhost", "garbageCollectionSchedule": null,
            "storageUsage": {"bytes": 0}, "features": {"vulnerabilityScanning": {"enabled": true}}, "apiSubnetAllowList": [],
            "tokenVerifier": "x5c"})
    );
    assert_eq!(
        replaced.json["metadata"]["lastModifiedDate"],
        "2026-11-21T13:00:00Z"
    );
}

#[rstest]
#[actix_web::test]
async fn a_put_that_cannot_be_changes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    assert_eq!(
        admin
            .put(&format!("/registries/{ID}"), short())
            .await
            .status,
        201
    );
    let other = admin.create_registry("team-b").await;
    let before = current(&admin, ID).await;
    let refusals = [
        (
            ID,
            json!({"name": "team-c", "location": "es/vit"}),
            400,
            vec!["invalid-name", "invalid-location"],
        ),
        (
            ID,
            json!({"name": "team-a", "location": "moon"}),
            400,
            vec!["invalid-location"],
        ),
        (ID, full(), 400, vec!["invalid-features"]),
        (
            &other,
            json!({"name": "team-a", "location": "de/fra"}),
            400,
            vec!["invalid-name"],
        ),
        (
            NOBODY,
            json!({"name": "team-a", "location": "de/fra"}),
            409,
            vec!["registry-exists"],
        ),
        (
            NOBODY,
            json!({"name": "team-c", "location": "moon"}),
            400,
            vec!["invalid-location"],
        ),
    ];
    for (id, properties, status, codes) in refusals {
        let answer = admin
            .put(
                &format!("/registries/{id}"),
                json!({"properties": properties}),
            )
            .await;
        assert_eq!(
            (answer.status, answer.codes()),
            (status, codes),
            "{properties}"
        );
        assert_eq!(current(&admin, ID).await, before);
    }
    assert_eq!(
        names(&admin.get("/registries").await.json),
        ["team-a", "team-b"]
    );
    let posted = admin.post("/registries", short()).await;
    assert_eq!(
        (posted.status, posted.codes()),
        (409, vec!["registry-exists"])
    );
    let taken = format!("a registry named team-a, with the id {ID}, already exists");
    assert_eq!(posted.message(), taken);
}

#[rstest]
#[actix_web::test]
async fn nothing_is_left_of_a_deleted_registry(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let path = format!("/registries/{ID}");
    assert_eq!(admin.put(&path, short()).await.status, 201);
    admin.create_token(ID, "ci").await;
    admin.create_registry("team-b").await;
    server.clock.advance(TimeDelta::hours(1));
    let change = json!({"apiSubnetAllowList": ["10.0.0.1"]});
    assert_eq!(admin.patch(&path, change).await.status, 200);
    // The id and the name make another, empty one, last in the list.
    assert_eq!(admin.delete(&path).await.status, 204);
    for path in [
        format!("/registries/{ID}"),
        format!("/registries/{ID}/tokens"),
    ] {
        let gone = admin.get(&path).await;
        assert_eq!(
            (gone.status, gone.codes()),
            (404, vec!["registry-not-found"]),
            "{path}"
        );
    }
    for gone in [
        admin.delete(&path).await,
        admin.patch(&path, json!({})).await,
    ] {
        assert_eq!(
            (gone.status, gone.codes()),
            (404, vec!["registry-not-found"])
        );
    }
    let again = admin.put(&path, short()).await;
    assert_eq!(
        (again.status, &again.json["metadata"]["state"]),
        (201, &json!("New"))
    );
    assert_eq!(again.json["metadata"].get("lastModifiedDate"), None);
    assert_eq!(admin.get(&format!("{path}/tokens")).await.json["total"], 0);
    assert_eq!(
        names(&admin.get("/registries").await.json),
        ["team-b", "team-a"]
    );
}

#[rstest]
#[actix_web::test]
async fn what_verifies_a_jwt_changes_only_when_it_is_named(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let path = format!("/registries/{ID}");
    let body = |more: Value| json!({"properties": with(&json!({"name": "team-a", "location": "de/fra"}), more)});

    // Made: `x5c`, unless it says otherwise.
    for (number, (sent, shown)) in [
        (json!({}), "x5c"),
        (json!({"tokenVerifier": null}), "x5c"),
        (json!({"tokenVerifier": "x5c"}), "x5c"),
        (json!({"tokenVerifier": "pinned"}), "pinned"),
    ]
    .into_iter()
    .enumerate()
    {
        let named = with(
            &sent,
            json!({"name": format!("case-{number}"), "location": "de/fra"}),
        );
        let posted = admin
            .post("/registries", json!({"properties": named}))
            .await;
        assert_eq!(
            (posted.status, &posted.json["properties"]["tokenVerifier"]),
            (201, &json!(shown)),
            "{sent}"
        );
        let read = current(&admin, posted.json["id"].as_str().unwrap()).await;
        assert_eq!(read["properties"]["tokenVerifier"], shown, "{sent}");
        let put = admin.put(&path, body(sent.clone())).await;
        assert_eq!(
            (put.status, &put.json["properties"]["tokenVerifier"]),
            (201, &json!(shown)),
            "{sent}"
        );
        assert_eq!(admin.delete(&path).await.status, 204);
    }

    // From then on, by PUT and PATCH: the properties sent, the verifier afterwards, and `true` for a change.
    admin
        .put(&path, body(json!({"tokenVerifier": "pinned"})))
        .await;
    for (sent, shown, changes) in [
        // The product's clients do not know the property and send these.
        (json!({}), "pinned", false),
        (json!({"tokenVerifier": null}), "pinned", false),
        (json!({"tokenVerifier": "pinned"}), "pinned", false),
        (json!({"tokenVerifier": "x5c"}), "x5c", true),
        (json!({}), "x5c", false),
        (json!({"tokenVerifier": "pinned"}), "pinned", true),
    ] {
        for method in ["PUT", "PATCH"] {
            let before = current(&admin, ID).await;
            server.clock.advance(TimeDelta::seconds(1));
            let answer = if method == "PUT" {
                admin.put(&path, body(sent.clone())).await
            } else {
                admin.patch(&path, sent.clone()).await
            };
            assert_eq!(
                (answer.status, &answer.json["properties"]["tokenVerifier"]),
                (200, &json!(shown)),
                "{method} {sent}"
            );
            let after = current(&admin, ID).await;
            assert_eq!(after, answer.json, "{method} {sent}");
            // The second way finds the change of the first already done.
            let changed = changes && method == "PUT";
            assert_eq!(before != after, changed, "{method} {sent}");
        }
    }
    // All else that a PUT leaves out falls back as ever.
    let subnets = json!({"apiSubnetAllowList": ["::1"]});
    admin.patch(&path, subnets).await;
    let replaced = admin.put(&path, body(json!({}))).await;
    assert_eq!(replaced.json["properties"]["apiSubnetAllowList"], json!([]));
    assert_eq!(replaced.json["properties"]["tokenVerifier"], "pinned");
}

/// A server with registries of these names, in the order in which they are listed.
async fn with_registries(backend: Backend, names: &[&str]) -> (Server, Actor) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for name in names {
        admin.create_registry(name).await;
    }
    (server, admin)
}

const TEAMS: [&str; 5] = ["prod-a", "team-b", "team-c", "prod-b", "team-d"];

#[rstest]
#[actix_web::test]
async fn pages_follow_each_other_by_token(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let names_before = ["team-a", "prod-a", "team-b", "team-c", "prod-b"];
    let (server, admin) = with_registries(backend, &names_before).await;
    let base = format!("http://{}", server.address);
    let path = |link: &Value| {
        link.as_str()
            .unwrap()
            .strip_prefix(&base)
            .unwrap()
            .to_owned()
    };

    // Page by page, by `next` and by `pagination.token` alike; changes meanwhile do not shift the pages.
    let mut page = admin.get("/registries?limit=2").await.json;
    assert_eq!(names(&page), ["team-a", "prod-a"]);
    assert_eq!(page["_links"]["self"], format!("{base}/registries?limit=2"));
    let first = page["items"][0]["id"].as_str().unwrap();
    admin.delete(&format!("/registries/{first}")).await;
    admin.create_registry("team-d").await;
    let mut seen = Vec::new();
    let patience = Patience::new();
    loop {
        patience.spend("the list has not ended");
        assert_eq!(page["pagination"]["limit"], 2);
        assert_eq!(page["_links"]["previous"], "");
        let token = page["pagination"]["token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            assert_eq!(page["_links"]["next"], "");
            break;
        }
        let next = format!("/registries?limit=2&pagination.token={token}");
        assert_eq!(path(&page["_links"]["next"]), next);
        page = admin.get(&next).await.json;
        assert_eq!(path(&page["_links"]["self"]), next);
        seen.extend(names(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(seen, ["team-b", "team-c", "prod-b", "team-d"]);
}

/// Without case, and every character as itself.
#[rstest]
#[actix_web::test]
async fn the_filter_finds_names_that_contain_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (_server, admin) = with_registries(backend, &TEAMS).await;
    let long = format!("filter.name={}", "a".repeat(60_000));
    for (query, expected) in [
        ("filter.name=TEAM", vec!["team-b", "team-c", "team-d"]),
        ("filter.name=-b", vec!["team-b", "prod-b"]),
        ("filter.name=", TEAMS.to_vec()),
        ("filter.name=%25", vec![]),
        ("filter.name=_", vec![]),
        ("filter.name=%5C", vec![]),
        ("filter.name=%C3%A4", vec![]),
        (&long, vec![]),
        ("pagination.token=", TEAMS.to_vec()),
        // Clients send these parameters, which have no meaning here.
        ("depth=1&maxResults=1&pretty=true", TEAMS.to_vec()),
        ("limit=0", vec![]),
        ("limit=1000&filter.name=prod", vec!["prod-a", "prod-b"]),
    ] {
        let answer = admin.get(&format!("/registries?{query}")).await;
        let query: String = query.chars().take(80).collect();
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(names(&answer.json), expected, "{query}");
        assert_eq!(answer.json["_links"]["next"], "", "{query}");
        assert_eq!(answer.json["pagination"]["token"], "", "{query}");
    }
}

/// Beside it only the same filter is welcome.
#[rstest]
#[actix_web::test]
async fn the_token_of_a_page_carries_the_filter(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (server, admin) = with_registries(backend, &TEAMS).await;
    let filtered = admin.get("/registries?filter.name=team&limit=1").await.json;
    let token = filtered["pagination"]["token"].as_str().unwrap();
    assert_eq!(names(&filtered), ["team-b"]);
    let plain = admin.get("/registries?limit=1").await.json;
    let plain = plain["pagination"]["token"].as_str().unwrap();
    for (query, expected) in [
        (
            format!("limit=5&pagination.token={token}"),
            vec!["team-c", "team-d"],
        ),
        (
            format!("limit=1&filter.name=Team&pagination.token={token}"),
            vec!["team-c"],
        ),
        (
            format!("limit=1&filter.name=&pagination.token={plain}"),
            vec!["team-b"],
        ),
    ] {
        let answer = admin.get(&format!("/registries?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(names(&answer.json), expected, "{query}");
    }
    let replica = server.replica().await;
    let there = replica
        .admin()
        .get(&format!("/registries?pagination.token={token}"))
        .await;
    assert_eq!(names(&there.json), ["team-c", "team-d"], "another replica");
}

#[rstest]
#[actix_web::test]
async fn tokens_of_pages_that_are_none_or_of_another_filter_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (_server, admin) = with_registries(backend, &TEAMS).await;
    let filtered = admin.get("/registries?filter.name=team&limit=1").await.json;
    let token = filtered["pagination"]["token"].as_str().unwrap();
    assert_eq!(names(&filtered), ["team-b"]);
    let plain = admin.get("/registries?limit=1").await.json;
    let plain = plain["pagination"]["token"].as_str().unwrap();
    let middle = token.len() / 2;
    let flipped = if token.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    let tampered = format!("{}{flipped}{}", &token[..middle], &token[middle + 1..]);
    for bad in [
        format!("pagination.token={token}&filter.name=prod"),
        format!("pagination.token={plain}&filter.name=prod"),
        format!("pagination.token={tampered}"),
        format!("pagination.token={token}A"),
        format!("pagination.token={token}%3D"),
        format!("pagination.token=%20{token}"),
        format!("pagination.token={}", &token[1..]),
        "pagination.token=eyJvIjoxfQ".to_owned(),
        "pagination.token=%00".to_owned(),
        "pagination.token=1".to_owned(),
    ] {
        let answer = admin.get(&format!("/registries?{bad}")).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec!["invalid-pagination-token"]),
            "{bad}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn links_name_the_public_url_or_a_loopback_host_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let local = Server::start(backend).await;
    let public =
        Server::start_with(backend, &["--public-url", "https://cr.example.com/base/"]).await;
    let loopback = format!("http://{}", local.address);
    for (server, host, expected) in [
        (&local, None, loopback.as_str()),
        (&local, Some("localhost:81"), "http://localhost:81"),
        (&local, Some("[::1]:81"), "http://[::1]:81"),
        (&local, Some("evil.example.com"), ""),
        (&local, Some("127.0.0.1.example.com"), ""),
        (&local, Some("127.0.0.1:81#"), ""),
        (&local, Some("user:pw@127.0.0.1"), ""),
        (&local, Some(":pw@127.0.0.1"), ""),
        (&public, None, "https://cr.example.com/base"),
        (
            &public,
            Some("evil.example.com"),
            "https://cr.example.com/base",
        ),
    ] {
        let admin = server.admin();
        for prefix in ["", "/containerregistries"] {
            let mut request = admin.request(
                reqwest::Method::GET,
                &format!("{prefix}/registries?limit=7"),
            );
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let answer = admin.send(request).await;
            assert_eq!(
                answer.json["_links"]["self"],
                format!("{expected}{prefix}/registries?limit=7"),
                "{host:?}: {answer:?}"
            );
        }
    }
}
