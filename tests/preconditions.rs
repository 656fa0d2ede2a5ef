//! States of things: `ETag`, `If-Match` and `If-None-Match`, on everything that has them.

use actix_web::rt::spawn;
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Server, WITHOUT_BACKGROUND};

const IF_MATCH: &str = "If-Match";
const IF_NONE_MATCH: &str = "If-None-Match";
/// An id that nothing has.
const NOBODY: &str = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11";

/// Sends a request with a header and, unless it is null, a body.
async fn send(
    who: &Actor,
    method: Method,
    path: &str,
    header: (&str, &str),
    body: &Value,
) -> Answer {
    let request = who.request(method, path).header(header.0, header.1);
    if body.is_null() {
        return who.send(request).await;
    }
    who.send(request.json(body)).await
}

fn registry(name: &str) -> Value {
    json!({"properties": {"name": name, "location": "de/fra"}})
}

fn token(name: &str) -> Value {
    json!({"properties": {"name": name}})
}

/// A thing that has states: where it is, what changes it in two ways, and whether it can be looked at by itself.
struct Thing {
    path: String,
    changes: [(Method, Value); 2],
    shown: bool,
}

/// One of each kind, all there.
async fn things(admin: &Actor) -> Vec<Thing> {
    let id = admin.create_registry("team-a").await;
    let minted = admin.mint(&id, "ci", &[]).await;
    let account = admin.create_account("alice", &["Analyst"]).await;
    admin.set_member(&id, &account, "reader").await;
    let put = |body| (Method::PUT, body);
    let patch = |body| (Method::PATCH, body);
    vec![
        Thing {
            path: format!("/registries/{id}"),
            changes: [
                patch(json!({"tokenVerifier": "pinned"})),
                patch(json!({"tokenVerifier": "x5c"})),
            ],
            shown: true,
        },
        Thing {
            path: minted.path,
            changes: [patch(json!({"status": "disabled"})), put(token("ci"))],
            shown: true,
        },
        Thing {
            path: format!("/accounts/{account}"),
            changes: [
                patch(json!({"status": "disabled"})),
                patch(json!({"status": "enabled"})),
            ],
            shown: true,
        },
        Thing {
            path: format!("/registries/{id}/members/{account}"),
            changes: [
                put(json!({"level": "owner"})),
                put(json!({"level": "maintainer"})),
            ],
            shown: false,
        },
    ]
}

/// The state of a resource, by a GET or by a PUT that changes nothing.
async fn state(who: &Actor, thing: &Thing) -> String {
    let answer = if thing.shown {
        who.get(&thing.path).await
    } else {
        let level = json!({"level": "reader"});
        who.put(&thing.path, level).await
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("etag").to_owned()
}

#[rstest]
#[actix_web::test]
async fn every_thing_is_changed_and_removed_in_the_state_that_is_wanted_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for thing in things(&admin).await.into_iter().rev() {
        let place = &thing.path;
        let first = state(&admin, &thing).await;
        assert!(first.starts_with('"') && first.ends_with('"'), "{first}");
        let [(method, body), (second_method, second_body)] = &thing.changes;

        // None of these is the state: nothing changes.
        for stale in ["\"0-0\"", &format!("W/{first}"), "\"\"", "\"1\", \"2\""] {
            for (method, body) in [(method, body), (&Method::DELETE, &Value::Null)] {
                let refused = send(&admin, method.clone(), place, (IF_MATCH, stale), body).await;
                assert_eq!(refused.status, 412, "{method} {place} {stale}: {refused:?}");
                assert_eq!(refused.codes(), ["precondition-failed"], "{place}");
                assert!(
                    refused.message().contains(&first),
                    "{place}: {}",
                    refused.message()
                );
            }
        }
        for named in ["*", &first, &format!("W/{first}")] {
            let refused = send(&admin, method.clone(), place, (IF_NONE_MATCH, named), body).await;
            assert_eq!(refused.status, 412, "{place} {named}: {refused:?}");
        }
        assert_eq!(state(&admin, &thing).await, first, "{place}");

        let list = format!("\"0-0\" ,{first}");
        let changed = send(&admin, method.clone(), place, (IF_MATCH, &list), body).await;
        assert_eq!(changed.status, 200, "{place}: {changed:?}");
        let second = changed.header("etag").to_owned();
        assert_ne!(second, first, "{place}");
        // The same once more is no change, and no further state.
        let same = send(&admin, method.clone(), place, (IF_MATCH, &second), body).await;
        assert_eq!(
            (same.status, same.header("etag")),
            (200, second.as_str()),
            "{place}"
        );
        let late = send(
            &admin,
            second_method.clone(),
            place,
            (IF_MATCH, &first),
            second_body,
        )
        .await;
        assert_eq!(late.status, 412, "{place}");
        let any = send(
            &admin,
            second_method.clone(),
            place,
            (IF_MATCH, "*"),
            second_body,
        )
        .await;
        assert_eq!(any.status, 200, "{place}: {any:?}");
        let third = any.header("etag").to_owned();
        assert_ne!(third, second, "{place}");
        if thing.shown {
            assert_eq!(admin.get(place).await.header("etag"), third, "{place}");
        }

        let late = send(
            &admin,
            Method::DELETE,
            place,
            (IF_MATCH, &second),
            &Value::Null,
        )
        .await;
        assert_eq!(late.status, 412, "{place}");
        // A header that is no list of states is refused, whatever else is asked for.
        for wrong in ["", "1-1", "\"1-1", "*, \"1-1\""] {
            let refused = send(
                &admin,
                Method::DELETE,
                place,
                (IF_MATCH, wrong),
                &Value::Null,
            )
            .await;
            assert_eq!(
                refused.codes(),
                ["invalid-if-match"],
                "{place} {wrong:?}: {refused:?}"
            );
        }
        let gone = send(
            &admin,
            Method::DELETE,
            place,
            (IF_MATCH, &third),
            &Value::Null,
        )
        .await;
        assert_eq!(gone.status, 204, "{place}: {gone:?}");
        // A missing resource is reported as missing, rather than as in another state.
        let again = send(
            &admin,
            Method::DELETE,
            place,
            (IF_MATCH, &third),
            &Value::Null,
        )
        .await;
        assert_eq!(again.status, 404, "{place}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_look_at_what_is_known_is_answered_without_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for thing in things(&admin).await.into_iter().filter(|thing| thing.shown) {
        let place = &thing.path;
        let look = async |header: (&str, &str)| {
            send(&admin, Method::GET, place, header, &Value::Null).await
        };
        let first = state(&admin, &thing).await;
        for known in [
            "*",
            &first,
            &format!("W/{first}"),
            &format!("\"0-0\", {first}"),
        ] {
            let answer = look((IF_NONE_MATCH, known)).await;
            assert_eq!(
                (answer.status, answer.text.as_str()),
                (304, ""),
                "{place} {known}"
            );
            assert_eq!(answer.header("etag"), first, "{place}");
        }
        assert_eq!(
            look((IF_NONE_MATCH, "\"0-0\"")).await.status,
            200,
            "{place}"
        );
        assert_eq!(look((IF_MATCH, &first)).await.status, 200, "{place}");
        assert_eq!(look((IF_MATCH, "\"0-0\"")).await.status, 412, "{place}");
        // A change ends it.
        let (method, body) = &thing.changes[0];
        let changed = admin
            .send(admin.request(method.clone(), place).json(body))
            .await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let answer = look((IF_NONE_MATCH, &first)).await;
        assert_eq!(
            (answer.status, answer.header("etag")),
            (200, changed.header("etag")),
            "{place}"
        );
    }
    // Lists have no state.
    for list in ["/registries", "/accounts"] {
        assert_eq!(admin.get(list).await.header("etag"), "", "{list}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_put_makes_what_is_not_there_and_only_that_if_so_wanted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let account = admin.create_account("alice", &[]).await;
    for (path, body, other) in [
        (
            format!("/registries/{NOBODY}"),
            registry("team-b"),
            json!({"properties": {"name": "team-b", "location": "de/fra", "tokenVerifier": "pinned"}}),
        ),
        (
            format!("/registries/{id}/tokens/{NOBODY}"),
            token("ci"),
            json!({"properties": {"name": "ci", "status": "disabled"}}),
        ),
        (
            format!("/registries/{id}/members/{account}"),
            json!({"level": "reader"}),
            json!({"level": "owner"}),
        ),
    ] {
        let put =
            async |header: (&str, &str), body| send(&admin, Method::PUT, &path, header, body).await;
        for wanted in ["*", "\"1-1\""] {
            let refused = put((IF_MATCH, wanted), &body).await;
            assert_eq!(refused.status, 412, "{path} {wanted}: {refused:?}");
            assert!(
                refused.message().contains("no such"),
                "{}",
                refused.message()
            );
        }
        let created = put((IF_NONE_MATCH, "*"), &body).await;
        assert_eq!(created.status, 201, "{path}: {created:?}");
        let tag = created.header("etag");
        let refused = put((IF_NONE_MATCH, "*"), &other).await;
        assert_eq!(refused.status, 412, "{path}: {refused:?}");
        // Nothing was changed: the resource and its state are the same.
        let same = put((IF_MATCH, tag), &body).await;
        assert_eq!((same.status, same.header("etag")), (200, tag), "{path}");
    }
    server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn what_is_made_anew_under_an_old_id_is_in_another_state(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let account = admin.create_account("alice", &[]).await;
    let inside = format!("/registries/{NOBODY}");
    let minted = format!("/registries/{id}/tokens/{NOBODY}");
    let member = format!("{inside}/members/{account}");
    let level = json!({"level": "reader"});
    let made = async |path: &str, body: &Value| {
        let answer = admin.put(path, body.clone()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.header("etag").to_owned()
    };
    let old = [
        made(&inside, &registry("team-b")).await,
        made(&minted, &token("ci")).await,
        made(&member, &level).await,
    ];
    for path in [&minted, &inside] {
        assert_eq!(admin.delete(path).await.status, 204);
    }
    let new = [
        made(&inside, &registry("team-b")).await,
        made(&minted, &token("ci")).await,
        made(&member, &level).await,
    ];
    for ((old, new), path) in old.iter().zip(&new).zip([&inside, &minted, &member]) {
        assert_ne!(old, new, "{path}");
        let late = send(&admin, Method::DELETE, path, (IF_MATCH, old), &Value::Null).await;
        assert_eq!(late.status, 412, "{path}");
    }
    for (path, old) in [&inside, &minted].into_iter().zip(&old) {
        let look = send(
            &admin,
            Method::GET,
            path,
            (IF_NONE_MATCH, old),
            &Value::Null,
        )
        .await;
        assert_eq!(look.status, 200, "{path}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_use_is_no_change_and_an_expiry_is_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let end = "2026-11-21T13:00:00Z";
    let minted = admin
        .mint_with(&id, json!({"name": "ci", "expiryDate": end}))
        .await;
    let path = minted.path.as_str();
    let first = admin.get(path).await.header("etag").to_owned();

    let login = server
        .client(&minted)
        .ask("/token", &[("service", "team-a.localhost")])
        .await;
    assert_eq!(login.status, 200, "{login:?}");
    server.service.flush_usage().await.unwrap();
    let used = admin.get(path).await;
    assert!(
        used.json["metadata"]["lastUsedDate"].is_string(),
        "{used:?}"
    );
    assert_eq!(used.header("etag"), first);

    let look = async || {
        send(
            &admin,
            Method::GET,
            path,
            (IF_NONE_MATCH, &first),
            &Value::Null,
        )
        .await
    };
    assert_eq!(look().await.status, 304);
    server.clock.advance(TimeDelta::hours(1));
    let expired = look().await;
    assert_eq!(
        (expired.status, &expired.json["metadata"]["state"]),
        (200, &json!("expired"))
    );
    assert_ne!(expired.header("etag"), first);
    // A client that read the token while it worked learns that the token does not work any more.
    let patch = json!({"expiryDate": null});
    let late = send(&admin, Method::PATCH, path, (IF_MATCH, &first), &patch).await;
    assert_eq!(late.status, 412);
    let wanted = (IF_MATCH, expired.header("etag"));
    assert_eq!(
        send(&admin, Method::PATCH, path, wanted, &patch)
            .await
            .status,
        200
    );
}

#[rstest]
#[actix_web::test]
async fn who_may_not_learns_nothing_of_states(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let (admin, analyst) = (server.admin(), server.analyst());
    admin.create_account("stranger", &[]).await;
    let stranger = server.actor("stranger", "right-password");
    let wrong = server.actor("admin", "wrong-password");
    for thing in things(&admin).await {
        let place = &thing.path;
        let tag = state(&admin, &thing).await;
        let (method, body) = &thing.changes[0];
        for (who, look, change) in [
            (&server.anonymous(), 401, 401),
            (&wrong, 401, 401),
            // Only for accounts, a caller that may not read any does not learn of an absence.
            (
                &stranger,
                if place.starts_with("/accounts") {
                    403
                } else {
                    404
                },
                0,
            ),
            (&analyst, 0, 403),
        ] {
            for value in ["*", &tag, "\"0-0\""] {
                if thing.shown && look != 0 {
                    let answer = send(
                        who,
                        Method::GET,
                        place,
                        (IF_NONE_MATCH, value),
                        &Value::Null,
                    )
                    .await;
                    assert_eq!(
                        (answer.status, answer.header("etag")),
                        (look, ""),
                        "{place} {value}"
                    );
                }
                if change != 0 {
                    let answer = send(who, method.clone(), place, (IF_MATCH, value), body).await;
                    assert_eq!(
                        (answer.status, answer.header("etag")),
                        (change, ""),
                        "{place} {value}"
                    );
                }
            }
        }
        if thing.shown && !place.starts_with("/accounts") {
            let answer = send(&stranger, method.clone(), place, (IF_MATCH, &tag), body).await;
            assert_eq!(answer.status, 404, "{place}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn of_two_replicas_that_change_the_same_state_one_is_told_that_it_is_late(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let one = Server::start(backend).await;
    let two = one.replica().await;
    let id = one.admin().create_registry("team-a").await;
    let minted = one.admin().mint(&id, "ci", &[]).await;
    for round in 0..5 {
        let tag = one
            .admin()
            .get(&minted.path)
            .await
            .header("etag")
            .to_owned();
        let mut sent = Vec::new();
        for (number, server) in [&one, &two, &one, &two].into_iter().enumerate() {
            let (admin, path, tag) = (server.admin(), minted.path.clone(), tag.clone());
            let scope = json!({"type": "repository", "name": format!("r{round}-{number}"), "actions": ["pull"]});
            sent.push(spawn(async move {
                send(
                    &admin,
                    Method::PATCH,
                    &path,
                    (IF_MATCH, &tag),
                    &json!({"scopes": [scope]}),
                )
                .await
            }));
        }
        let mut statuses = Vec::new();
        for answer in sent {
            statuses.push(answer.await.unwrap().status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412]);
    }
}

#[actix_web::test]
async fn a_condition_costs_no_further_store_call() {
    let server = Server::start_with(Backend::Sqlite, &[WITHOUT_BACKGROUND]).await;
    let admin = server.admin();
    let id = admin.create_registry("team-a").await;
    let minted = admin.mint(&id, "ci", &[]).await;
    let tag = admin.get(&minted.path).await.header("etag").to_owned();
    for (method, header, body, status) in [
        (Method::GET, IF_NONE_MATCH, Value::Null, 304),
        (Method::PATCH, IF_MATCH, json!({"status": "disabled"}), 200),
        (Method::PUT, IF_NONE_MATCH, token("ci"), 200),
        (Method::DELETE, IF_MATCH, Value::Null, 412),
    ] {
        let before = server.service.store_calls();
        let answer = send(&admin, method, &minted.path, (header, &tag), &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(server.service.store_calls() - before, 1);
    }
}

/// A declarative tool reads the resources and puts those that differ. A second run changes nothing.
#[rstest]
#[actix_web::test]
async fn applying_twice_rotates_nothing_and_duplicates_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let home = format!("/registries/{NOBODY}");
    let path = format!("{home}/tokens/{NOBODY}");
    let body = json!({"properties": {"name": "ci", "status": "enabled", "expiryDate": "2036-01-13T16:27:42Z",
        "scopes": [{"type": "repository", "name": "team/*", "actions": ["pull"]}]}});
    assert_eq!(admin.put(&home, registry("team-a")).await.status, 201);
    let created = admin.put(&path, body.clone()).await;
    assert_eq!(created.status, 201, "{created:?}");
    let secret = created.json["properties"]["credentials"]["password"]
        .as_str()
        .unwrap();
    let tags = (
        admin.get(&home).await.header("etag").to_owned(),
        created.header("etag").to_owned(),
    );
    // The trail has logins too, which are no changes.
    let changes = || {
        let sql = "SELECT kind || ' ' || subject_kind AS line FROM audit_events \
                   WHERE subject_kind IN ('account', 'registry', 'token') AND kind <> 'login'";
        server.database.lines(sql)
    };
    let before = changes();
    for _ in 0..3 {
        let again = admin.put(&home, registry("team-a")).await;
        assert_eq!((again.status, again.header("etag")), (200, tags.0.as_str()));
        let seen = admin.get(&path).await;
        assert_eq!((seen.status, seen.header("etag")), (200, tags.1.as_str()));
        // As an import does: the body that was read is put back, with all read-only members.
        for sent in [body.clone(), seen.json.clone()] {
            let again = admin.put(&path, sent).await;
            assert_eq!(
                (again.status, again.header("etag")),
                (200, tags.1.as_str()),
                "{again:?}"
            );
            assert_eq!(again.json["properties"]["credentials"]["password"], "");
            assert_eq!(again.json["metadata"].get("lastModifiedDate"), None);
        }
        assert_eq!(admin.get(&format!("{home}/tokens")).await.json["total"], 1);
        let client = server.actor("ci", secret);
        let login = client
            .ask("/token", &[("service", "team-a.localhost")])
            .await;
        assert_eq!(login.status, 200, "{login:?}");
    }
    let told = changes();
    assert_eq!(told, before);
    server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn a_membership_is_in_another_state_while_its_account_is_disabled(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let account = admin.create_account("alice", &[]).await;
    admin.set_member(&registry, &account, "reader").await;
    let path = format!("/registries/{registry}/members/{account}");
    let reader = json!({"level": "reader"});
    let state = async || {
        let answer = admin.put(&path, reader.clone()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("etag").to_owned()
    };
    let set_status = async |status: &str| {
        let account = format!("/accounts/{account}");
        let answer = admin.patch(&account, json!({"status": status})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let put = async |tag: &str| {
        let header = (IF_MATCH, tag);
        send(&admin, Method::PUT, &path, header, &reader)
            .await
            .status
    };
    let enabled = state().await;
    set_status("disabled").await;
    assert_eq!(put(&enabled).await, 412);
    let disabled = state().await;
    assert_ne!(disabled, enabled);
    assert_eq!(put(&disabled).await, 200);
    set_status("enabled").await;
    assert_eq!(put(&disabled).await, 412);
    assert_eq!(put(&enabled).await, 200);
}
