//! Trusts of a registry: made by those who may write its tokens, within what they hold, under names of their own.

use actix_web::rt::spawn;
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::clock::Clock as _;
use wharfinger::domain::claims::{ClaimRules, identity};
use wharfinger::domain::id::TrustKey;
use wharfinger::domain::issuer_kind::IssuerKind;
use wharfinger::domain::trust_refusal::{RefusalDetail, RefusalReason, TrustRefusal};

use crate::harness::{Actor, Backend, Database, Server, scopes};
use crate::issuers::{GITHUB, create_issuer, with};

const ID: &str = "22222222-2222-4222-8222-222222222222";
const NOBODY: &str = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11";

fn trust(name: &str, issuer: &str) -> Value {
    json!({"properties": {
        "name": name,
        "issuer": issuer,
        "claims": {"repository_id": "74", "ref": ["refs/heads/main", "refs/tags/*"]},
        "scopes": scopes(&["repository:app/*:pull,push"]),
    }})
}

/// A server with a registry and an issuer.
struct Place {
    server: Server,
    admin: Actor,
    registry: String,
    issuer: String,
    path: String,
}

impl Place {
    async fn make(backend: Backend) -> Self {
        Self::make_with(backend, &[]).await
    }

    async fn make_with(backend: Backend, flags: &[&str]) -> Self {
        let server = Server::start_with(backend, flags).await;
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let issuer = create_issuer(&admin, GITHUB, "github").await;
        let path = format!("/registries/{registry}/trusts");
        Self {
            server,
            admin,
            registry,
            issuer,
            path,
        }
    }

    async fn trust(&self, name: &str) -> String {
        let made = self.admin.post(&self.path, trust(name, &self.issuer)).await;
        assert_eq!(made.status, 201, "{made:?}");
        format!("{}/{}", self.path, made.json["id"].as_str().unwrap())
    }

    /// The row's number that ends what was issued before.
    fn generation(&self, name: &str) -> i64 {
        let sql = format!("SELECT generation FROM trusts WHERE name = '{name}'");
        self.server.database.number(&sql)
    }
}

#[rstest]
#[actix_web::test]
async fn a_trust_is_made_shown_changed_and_deleted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let admin = &place.admin;
    let body = trust("app-ci", &place.issuer);
    let made = admin.post(&place.path, body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let mut whole = body["properties"].clone();
    let defaults = json!({
        "audience": "team-a.localhost", "maximumLife": "PT1H", "status": "enabled", "expiryDate": null,
    });
    whole
        .as_object_mut()
        .unwrap()
        .extend(defaults.as_object().unwrap().clone());
    assert_eq!(made.json["properties"], whole);
    assert_eq!(
        (&made.json["type"], &made.json["metadata"]["state"]),
        (&json!("trust"), &json!("enabled"))
    );
    let path = format!("{}/{}", place.path, made.json["id"].as_str().unwrap());
    let shown = admin.get(&path).await;
    assert_eq!((shown.status, &shown.json), (200, &made.json));
    let list = admin.get(&place.path).await;
    assert_eq!(
        (&list.json["items"], &list.json["total"]),
        (&json!([made.json]), &json!(1))
    );

    let change = json!({
        "audience": "https://ci.example.com",
        "claims": {"repository_id": 75, "ref_protected": true},
        "scopes": scopes(&["repository:app/web:pull"]),
        "allowedCidrs": ["192.0.2.0/24"],
        "maximumLife": "PT15M",
        "expiryDate": "2027-01-01T00:00:00Z",
    });
    let patched = admin.patch(&path, change.clone()).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    for (name, value) in change.as_object().unwrap() {
        let value = match name.as_str() {
            // Numbers and booleans are kept as their text.
            "claims" => &json!({"repository_id": "75", "ref_protected": "true"}),
            _ => value,
        };
        assert_eq!(&patched.json["properties"][name], value);
    }
    // An answer can be sent back, and changes nothing.
    let same = admin.put(&path, patched.json.clone()).await;
    assert_eq!(
        (same.status, same.header("etag")),
        (200, patched.header("etag"))
    );
    // A member that a PUT leaves out has its default.
    let put = admin.put(&path, body).await;
    assert_eq!(put.json["properties"], whole);
    let cleared = admin
        .patch(
            &path,
            json!({"audience": null, "maximumLife": null, "expiryDate": null}),
        )
        .await;
    assert_eq!(
        (cleared.status, cleared.header("etag")),
        (200, put.header("etag"))
    );

    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.get(&path).await.codes(), ["trust-not-found"]);
    assert_eq!(admin.delete(&path).await.status, 404);
}

#[rstest]
#[actix_web::test]
async fn a_trust_without_a_claim_that_names_a_workload_is_refused_and_told_which_to_add(
    #[values(Backend::Sqlite)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let admin = &place.admin;
    for (kind, first) in [
        ("github", "repository_id"),
        ("gitlab", "project_id"),
        ("kubernetes", "kubernetes.io.serviceaccount.uid"),
        ("buildkite", "pipeline_id"),
        ("circleci", "oidc.circleci.com/project-id"),
        ("forgejo", "repository_id"),
        ("spiffe", "sub"),
        ("other", "sub"),
    ] {
        let issuer = create_issuer(admin, &format!("https://{kind}.example.com"), kind).await;
        for claims in [
            json!({}),
            json!({"ref": "main"}),
            json!({"repository": "a/b"}),
        ] {
            let body = with(trust("app-ci", &issuer), json!({"claims": claims}));
            let refused = admin.post(&place.path, body).await;
            assert_eq!(
                (refused.status, refused.codes()),
                (400, vec!["invalid-claims"])
            );
            assert!(
                refused.message().contains(&format!("add {first}")),
                "{kind}: {refused:?}"
            );
        }
        for open in ["*", ""] {
            let body = with(trust("app-ci", &issuer), json!({"claims": {first: open}}));
            let refused = admin.post(&place.path, body).await;
            assert_eq!(refused.codes(), ["invalid-claims"], "{kind}");
        }
        let body = with(
            trust(&format!("ci-{kind}"), &issuer),
            json!({"claims": {first: "74"}}),
        );
        let made = admin.post(&place.path, body).await;
        assert_eq!(made.status, 201, "{kind}: {made:?}");
    }
    // A change can take it away neither.
    let path = place.trust("app-ci").await;
    let refused = admin.patch(&path, json!({"claims": {"ref": "main"}})).await;
    assert_eq!(refused.codes(), ["invalid-claims"]);
    let gitlab = create_issuer(admin, "https://gitlab.com", "gitlab").await;
    let refused = admin.patch(&path, json!({"issuer": gitlab})).await;
    assert!(refused.message().contains("add project_id"), "{refused:?}");
}

#[rstest]
#[actix_web::test]
async fn bad_input_is_named_and_makes_nothing(#[values(Backend::Sqlite)] backend: Backend) {
    let place = Place::make(backend).await;
    let admin = &place.admin;
    for (more, code) in [
        (json!({"name": "-a"}), "invalid-name"),
        (json!({"issuer": "github"}), "invalid-issuer"),
        (json!({"issuer": NOBODY}), "invalid-issuer"),
        (json!({"audience": ""}), "invalid-audience"),
        (json!({"audience": "a".repeat(257)}), "invalid-audience"),
        (json!({"audience": "a\n"}), "invalid-audience"),
        (json!({"claims": {"repository_id": []}}), "invalid-claims"),
        (
            json!({"claims": {"repository_id": "74", "aud": "x"}}),
            "invalid-claims",
        ),
        (
            json!({"claims": {"repository_id": {"a": 1}}}),
            "invalid-claims",
        ),
        (json!({"claims": "x"}), "invalid-claims"),
        (json!({"maximumLife": "PT61M"}), "invalid-maximum-life"),
        (json!({"maximumLife": "PT59S"}), "invalid-maximum-life"),
        (json!({"maximumLife": "1h"}), "invalid-maximum-life"),
        (
            json!({"expiryDate": "2020-01-01T00:00:00Z"}),
            "invalid-expiry-date",
        ),
        (json!({"allowedCidrs": ["x"]}), "invalid-allowed-cidrs"),
        (
            json!({"scopes": scopes(&["repository:*a*b*c*d*:pull"])}),
            "invalid-scopes",
        ),
        (json!({"status": "off"}), "invalid-status"),
        (json!({"subject": "x"}), "invalid-body"),
    ] {
        let body = with(trust("app-ci", &place.issuer), more.clone());
        let refused = admin.post(&place.path, body.clone()).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (400, vec![code]),
            "{more}"
        );
        let put = admin.put(&format!("{}/{ID}", place.path), body).await;
        assert_eq!(put.codes(), [code], "{more}");
    }
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for claims in [
        r#"{"repository_id": "74", "repository_id": "75"}"#.to_owned(),
        format!(r#"{{"a": {deep}}}"#),
    ] {
        let body = format!(
            r#"{{"properties": {{"name": "ci", "issuer": "{}", "claims": {claims}}}}}"#,
            place.issuer
        );
        let request = admin.request(Method::POST, &place.path);
        let request = request
            .header("Content-Type", "application/json")
            .body(body);
        let refused = admin.send(request).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (400, vec!["invalid-claims"]),
            "{claims:.60}"
        );
    }
    assert_eq!(admin.get(&place.path).await.json["total"], 0);
    assert_eq!(
        admin.get(&format!("{}?name=a", place.path)).await.codes(),
        ["invalid-query"]
    );
}

#[rstest]
#[actix_web::test]
async fn a_name_is_that_of_a_token_or_of_a_trust(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let admin = &place.admin;
    let tokens = format!("/registries/{}/tokens", place.registry);
    let token = admin.create_token(&place.registry, "Pull-CI").await;
    let path = place.trust("App-CI").await;
    let id = path.rsplit('/').next().unwrap();

    for refused in [
        admin
            .post(&place.path, trust("pull-ci", &place.issuer))
            .await,
        admin
            .put(
                &format!("{}/{ID}", place.path),
                trust("PULL-CI", &place.issuer),
            )
            .await,
    ] {
        assert_eq!(
            (refused.status, refused.codes()),
            (409, vec!["token-exists"])
        );
        assert!(refused.message().contains(&token), "{refused:?}");
    }
    for refused in [
        admin
            .post(&tokens, json!({"properties": {"name": "app-ci"}}))
            .await,
        admin
            .put(
                &format!("{tokens}/{ID}"),
                json!({"properties": {"name": "APP-CI"}}),
            )
            .await,
    ] {
        assert_eq!(
            (refused.status, refused.codes()),
            (409, vec!["trust-exists"]),
            "{refused:?}"
        );
    }
    let again = admin
        .post(&place.path, trust("app-ci", &place.issuer))
        .await;
    assert_eq!((again.status, again.codes()), (409, vec!["trust-exists"]));
    assert!(again.message().contains(id), "{again:?}");
    // Another registry has names of its own, and a name that is given up is free.
    let other = admin.create_registry("team-b").await;
    admin.create_token(&other, "app-ci").await;
    assert_eq!(admin.delete(&path).await.status, 204);
    admin.create_token(&place.registry, "app-ci").await;
    assert_eq!(admin.delete(&format!("{tokens}/{token}")).await.status, 204);
    place.trust("pull-ci").await;
}

/// Both replicas make a token and a trust of each name, all at the same moment.
#[rstest]
#[actix_web::test]
async fn of_a_token_and_a_trust_of_one_name_only_one_is_made_by_two_replicas_at_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const NAMES: usize = 12;
    let place = Place::make(backend).await;
    let replica = place.server.replica().await;
    let there = replica.admin();
    let tokens = format!("/registries/{}/tokens", place.registry);
    let mut requests = Vec::new();
    for number in 0..NAMES {
        let name = format!("ci-{number}");
        for (path, body) in [
            (&tokens, json!({"properties": {"name": name}})),
            (&place.path, trust(&name, &place.issuer)),
        ] {
            for who in [&place.admin, &there] {
                let request = who.request(Method::POST, path).json(&body);
                let who = who.clone();
                requests.push(spawn(async move { who.send(request).await }));
            }
        }
    }
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.unwrap());
    }
    for answers in answers.chunks(4) {
        let made = answers.iter().filter(|answer| answer.status == 201);
        assert_eq!(made.count(), 1, "{answers:?}");
        let refused = answers.iter().filter(|answer| answer.status == 409);
        assert_eq!(refused.count(), 3, "{answers:?}");
    }
    place.server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn conditions_and_repeats_hold_for_trusts(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let admin = &place.admin;
    let path = format!("{}/{ID}", place.path);
    let send = async |method: Method, path: &str, header: (&str, &str), body: &Value| {
        let request = admin.request(method, path).header(header.0, header.1);
        admin.send(request.json(body)).await
    };
    let body = trust("app-ci", &place.issuer);
    assert_eq!(
        send(Method::PUT, &path, ("If-Match", "*"), &body)
            .await
            .status,
        412
    );
    let key = ("Idempotency-Key", "one");
    let made = send(Method::PUT, &path, key, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let repeated = send(Method::PUT, &path, key, &body).await;
    assert_eq!((repeated.status, &repeated.json), (201, &made.json));
    assert_eq!(repeated.header("idempotency-replayed"), "true");
    let first = made.header("etag").to_owned();
    let expiring = json!({"expiryDate": "2026-11-22T12:00:00Z"});
    let changed = send(Method::PATCH, &path, ("If-Match", &first), &expiring).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        send(Method::PATCH, &path, ("If-Match", &first), &expiring)
            .await
            .status,
        412
    );
    assert_eq!(
        send(Method::PUT, &path, key, &body).await.codes(),
        ["answer-outdated"]
    );
    // The end of a trust is another state.
    let known = changed.header("etag").to_owned();
    let look = async || send(Method::GET, &path, ("If-None-Match", &known), &Value::Null).await;
    assert_eq!(look().await.status, 304);
    place.server.clock.advance(TimeDelta::days(2));
    let ended = look().await;
    assert_eq!(
        (ended.status, &ended.json["metadata"]["state"]),
        (200, &json!("expired"))
    );
    assert_eq!(
        send(Method::DELETE, &path, ("If-Match", &known), &Value::Null)
            .await
            .status,
        412
    );

    let post = ("Idempotency-Key", "two");
    let body = trust("app-two", &place.issuer);
    let made = send(Method::POST, &place.path, post, &body).await;
    assert_eq!(
        send(Method::POST, &place.path, post, &body).await.json,
        made.json
    );
    let other = trust("app-three", &place.issuer);
    assert_eq!(
        send(Method::POST, &place.path, post, &other).await.status,
        422
    );
}

/// Passwords that a trust gave end with a change of the workloads that it admits, and when it is disabled.
#[rstest]
#[actix_web::test]
async fn another_generation_begins_with_issuer_audience_claims_and_the_end_of_use(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let path = place.trust("app-ci").await;
    let other = create_issuer(&place.admin, "https://ghes.example.com", "github").await;
    let mut generation = place.generation("app-ci");
    for (change, ends) in [
        (json!({"issuer": other}), true),
        (json!({"issuer": other}), false),
        (json!({"audience": "a"}), true),
        (json!({"audience": null}), true),
        (json!({"audience": "team-a.localhost"}), false),
        (json!({"claims": {"repository_id": "75"}}), true),
        (json!({"claims": {"repository_id": 75}}), false),
        (json!({"scopes": []}), false),
        (json!({"allowedCidrs": ["192.0.2.0/24"]}), false),
        (json!({"maximumLife": "PT5M"}), false),
        (json!({"expiryDate": "2027-01-01T00:00:00Z"}), false),
        (json!({"status": "disabled"}), true),
        (json!({"status": "enabled"}), false),
    ] {
        let changed = place.admin.patch(&path, change.clone()).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        let now = place.generation("app-ci");
        assert_eq!(now - generation, i64::from(ends), "{change}");
        generation = now;
    }
}

#[rstest]
#[actix_web::test]
async fn nobody_makes_or_widens_a_trust_beyond_their_own_rights(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let admin = &place.admin;
    let account = admin.create_account("mia", &[]).await;
    admin
        .set_member(&place.registry, &account, "maintainer")
        .await;
    let mia = place.server.actor("mia", "right-password");
    let deleting = json!({"scopes": scopes(&["repository:app/*:pull,delete"])});
    let refused = mia
        .post(
            &place.path,
            with(trust("a1", &place.issuer), deleting.clone()),
        )
        .await;
    assert_eq!((refused.status, refused.codes()), (403, vec!["forbidden"]));
    let own = mia.post(&place.path, trust("a1", &place.issuer)).await;
    assert_eq!(own.status, 201, "{own:?}");
    // One that the administrator made, and that may delete.
    let path = place.trust("a2").await;
    assert_eq!(admin.patch(&path, deleting.clone()).await.status, 200);
    let other = create_issuer(admin, "https://ghes.example.com", "github").await;
    for wider in [
        json!({"issuer": other}),
        json!({"audience": "mine"}),
        json!({"claims": {"repository_id": "666"}}),
        // Nobody can tell that these are fewer.
        json!({"claims": {"repository_id": "74", "ref": "refs/heads/main"}}),
        json!({"scopes": scopes(&["repository:**:pull,delete"])}),
    ] {
        let refused = mia.patch(&path, wider.clone()).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (403, vec!["forbidden"]),
            "{wider}"
        );
    }
    for narrower in [
        json!({"allowedCidrs": ["192.0.2.0/24"]}),
        json!({"maximumLife": "PT5M"}),
        json!({"expiryDate": "2027-01-01T00:00:00Z"}),
        json!({"status": "disabled"}),
    ] {
        assert_eq!(
            mia.patch(&path, narrower.clone()).await.status,
            200,
            "{narrower}"
        );
    }
    for wider in [
        json!({"allowedCidrs": []}),
        json!({"maximumLife": "PT6M"}),
        json!({"expiryDate": null}),
        json!({"status": "enabled"}),
    ] {
        assert_eq!(mia.patch(&path, wider.clone()).await.status, 403, "{wider}");
    }
    assert_eq!(mia.delete(&path).await.status, 204);
}

/// With `--bounded-delegation` nothing outlasts the API token that made it.
#[rstest]
#[actix_web::test]
async fn a_trust_does_not_outlast_a_bounded_api_token(#[values(Backend::Sqlite)] backend: Backend) {
    let place = Place::make_with(backend, &["--bounded-delegation"]).await;
    let wish = json!({"name": "ci", "role": "Admin"});
    let generated = place.admin.post("/v1/apitokens/generate", wish).await;
    let bearer = place
        .server
        .bearer(generated.json["token"].as_str().unwrap());
    let endless = bearer
        .post(&place.path, trust("app-ci", &place.issuer))
        .await;
    assert_eq!(endless.codes(), ["invalid-expiry-date"], "{endless:?}");
    let end = place.server.clock.now() + TimeDelta::hours(1);
    let bounded = with(
        trust("app-ci", &place.issuer),
        json!({"expiryDate": end.to_rfc3339()}),
    );
    assert_eq!(bearer.post(&place.path, bounded).await.status, 201);
    let issuer = json!({"properties": {"url": "https://a.example", "kind": "other"}});
    assert_eq!(bearer.post("/issuers", issuer).await.codes(), ["forbidden"]);
}

#[rstest]
#[actix_web::test]
async fn a_trust_is_of_its_registry_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let admin = &place.admin;
    let path = place.trust("app-ci").await;
    let id = path.rsplit('/').next().unwrap();
    let other = admin.create_registry("team-b").await;
    let account = admin.create_account("eve", &[]).await;
    admin.set_member(&other, &account, "owner").await;
    let eve = place.server.actor("eve", "right-password");
    let (theirs, ours) = (format!("/registries/{other}/trusts/{id}"), &path);
    for (place, code) in [(&theirs, "trust-not-found"), (ours, "registry-not-found")] {
        for missing in [
            eve.get(place).await,
            eve.patch(place, json!({"status": "disabled"})).await,
            eve.delete(place).await,
            eve.get(&format!("{place}/refusals")).await,
            eve.post(&format!("{place}/evaluate"), json!({"claims": {}}))
                .await,
        ] {
            assert_eq!((missing.status, missing.codes()), (404, vec![code]));
        }
    }
    assert_eq!(eve.get(&place.path).await.status, 404);
    // An id is of its registry: a PUT there makes another trust.
    let put = eve.put(&theirs, trust("app-ci", &place.issuer)).await;
    assert_eq!(put.status, 201, "{put:?}");
    assert_eq!(eve.delete(&theirs).await.status, 204);
    assert_eq!(admin.get(&path).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn trusts_go_with_their_registry(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let path = place.trust("app-ci").await;
    let database = &place.server.database;
    note(
        &place.server,
        database,
        "app-ci",
        &json!({"repository_id": "75"}),
        1,
    );
    place
        .server
        .service
        .flush_refused_workloads()
        .await
        .unwrap();
    let kept = place.admin.create_registry("team-b").await;
    let other = format!("/registries/{kept}/trusts");
    let made = place
        .admin
        .post(&other, trust("app-ci", &place.issuer))
        .await;
    assert_eq!(made.status, 201);
    let registry = format!("/registries/{}", place.registry);
    assert_eq!(place.admin.delete(&registry).await.status, 204);
    assert_eq!(place.admin.get(&path).await.status, 404);
    let rows = |table: &str| database.number(&format!("SELECT COUNT(*) FROM {table}"));
    place.server.service.janitor().run("test").await.unwrap();
    // The server's own janitor may have been faster.
    assert_eq!((rows("trusts"), rows("trust_refusals")), (1, 0));
    assert_eq!(place.admin.get(&other).await.json["total"], 1);
}

#[rstest]
#[actix_web::test]
async fn pages_of_trusts_are_in_the_order_of_their_making(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make_with(backend, &["--maximum-trusts", "5"]).await;
    for number in 0..5 {
        place.trust(&format!("ci-{number}")).await;
    }
    let page = place
        .admin
        .get(&format!("{}?offset=2&limit=2", place.path))
        .await;
    let names: Vec<_> = page.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["properties"]["name"])
        .collect();
    assert_eq!(names, ["ci-2", "ci-3"]);
    assert_eq!(
        (&page.json["count"], &page.json["total"]),
        (&json!(2), &json!(5))
    );
    let next = page.json["_links"]["next"].as_str().unwrap();
    assert!(next.ends_with("/trusts?offset=4&limit=2"), "{next}");
    let full = place
        .admin
        .post(&place.path, trust("ci-5", &place.issuer))
        .await;
    assert_eq!((full.status, full.codes()), (409, vec!["quota-exceeded"]));
    assert!(
        full.message().starts_with("this registry has 5 trusts"),
        "{full:?}"
    );
}

#[rstest]
#[actix_web::test]
async fn an_evaluation_says_which_claim_does_not_fit(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    use base64::Engine as _;
    let place = Place::make(backend).await;
    let path = place.trust("app-ci").await;
    let claims = include_str!("../examples/workload/claims/github.json");
    let claims: Value = serde_json::from_str(claims).unwrap();
    let evaluate = async |body: Value| place.admin.post(&format!("{path}/evaluate"), body).await;
    let misfits = |answer: &Value| -> Vec<String> {
        let verdicts = answer["claims"].as_array().unwrap().iter();
        let misfits = verdicts.filter(|verdict| verdict["fits"] == false);
        misfits
            .map(|verdict| verdict["claim"].as_str().unwrap().to_owned())
            .collect()
    };
    let scope = "repository:app/web:pull,delete";
    let fits = evaluate(json!({"claims": claims, "scope": scope})).await;
    assert_eq!(fits.status, 200, "{fits:?}");
    assert_eq!(
        (&fits.json["usable"], &fits.json["scope"]),
        (&json!(true), &json!("repository:app/web:pull"))
    );
    assert_eq!(misfits(&fits.json), [""; 0]);
    // The same as a JWT, whatever signed it and however old it is.
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let jwt_with = |head: Value| {
        let parts = [head.to_string(), claims.to_string(), "x".to_owned()];
        parts.map(encode).join(".")
    };
    let jwt = jwt_with(json!({"alg": "RS256"}));
    assert_eq!(
        evaluate(json!({"jwt": jwt, "scope": scope})).await.json,
        fits.json
    );
    // No key makes these right.
    let shared = evaluate(json!({"jwt": jwt_with(json!({"alg": "HS256"})), "scope": scope})).await;
    assert_eq!(
        (&shared.json["usable"], &shared.json["scope"]),
        (&json!(false), &json!(""))
    );
    assert_eq!(
        shared.json["reason"],
        "the JWT's algorithm \"HS256\" is none of its issuer's algorithms"
    );
    for (name, value) in [
        ("repository_id", json!("75")),
        ("ref", json!("refs/heads/other")),
        ("iss", json!("https://ghes.example.com")),
        ("aud", json!(["team-a.localhost", "other"])),
        ("aud", Value::Null),
        ("event_name", json!("pull_request_target")),
    ] {
        let mut altered = claims.clone();
        altered[name] = value;
        let refused = evaluate(json!({"claims": altered, "scope": scope})).await;
        assert_eq!(misfits(&refused.json), [name], "{refused:?}");
        assert_eq!(
            (&refused.json["usable"], &refused.json["scope"]),
            (&json!(false), &json!(""))
        );
        assert_eq!(
            refused.json["reason"],
            format!("the claim {name} does not fit")
        );
    }
    place
        .admin
        .patch(&path, json!({"allowedCidrs": ["192.0.2.0/24"]}))
        .await;
    let away = evaluate(json!({"claims": claims, "address": "198.51.100.1"})).await;
    assert_eq!(
        away.json["reason"],
        "the trust's allowedCidrs do not contain 198.51.100.1"
    );
    place
        .admin
        .patch(
            &format!("/issuers/{}", place.issuer),
            json!({"status": "disabled"}),
        )
        .await;
    let disabled = evaluate(json!({"claims": claims})).await;
    assert_eq!(disabled.json["reason"], "the trust's issuer is disabled");
    for (body, code) in [
        (json!({}), "invalid-claims"),
        (json!({"claims": {}, "jwt": jwt}), "invalid-jwt"),
        (json!({"jwt": "x"}), "invalid-jwt"),
        (json!({"jwt": jwt_with(json!({}))}), "invalid-jwt"),
        (
            json!({"jwt": jwt_with(json!({"alg": "RS256", "crit": []}))}),
            "invalid-jwt",
        ),
        (json!({"claims": {}, "scope": "x"}), "invalid-scopes"),
        (json!({"claims": {}, "address": "x"}), "invalid-address"),
    ] {
        assert_eq!(evaluate(body.clone()).await.codes(), [code], "{body}");
    }
}

/// Notes a refusal as the token endpoint does.
fn note(server: &Server, database: &Database, name: &str, claims: &Value, times: i64) {
    let key = database.number(&format!(
        "SELECT MAX(key) FROM trusts WHERE name = '{name}'"
    ));
    let kind = IssuerKind::Github;
    let identity = identity(kind, claims).into_iter();
    let rules = json!({"repository_id": "74"}).as_object().unwrap().clone();
    let detail = RefusalDetail {
        reason: RefusalReason::Claims,
        identity: identity
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        verdicts: ClaimRules::parse(rules).unwrap().verdicts(kind, claims),
    };
    let refusal = TrustRefusal {
        at: server.clock.now(),
        times,
        address: Some("192.0.2.17".parse().unwrap()),
        detail,
    };
    server
        .service
        .refused_workloads()
        .note(TrustKey(key), refusal);
}

#[rstest]
#[actix_web::test]
async fn the_last_twenty_refused_workloads_are_listed_each_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let path = place.trust("app-ci").await;
    let list = async || place.admin.get(&format!("{path}/refusals")).await.json["items"].clone();
    assert_eq!(list().await, json!([]));
    let refuse = async |id: u32| {
        place.server.clock.advance(TimeDelta::seconds(1));
        let claims = json!({"repository_id": id.to_string()});
        note(&place.server, &place.server.database, "app-ci", &claims, 1);
        note(&place.server, &place.server.database, "app-ci", &claims, 1);
        place
            .server
            .service
            .flush_refused_workloads()
            .await
            .unwrap();
    };
    for id in 100..125 {
        refuse(id).await;
    }
    refuse(110).await;
    let items = list().await;
    let ids: Vec<_> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["identity"]["repository_id"].as_str().unwrap())
        .collect();
    let mut expected: Vec<_> = (105..125)
        .rev()
        .filter(|id| *id != 110)
        .map(|id| id.to_string())
        .collect();
    expected.insert(0, "110".to_owned());
    assert_eq!(ids, expected);
    assert_eq!(
        (&items[0]["times"], &items[1]["times"]),
        (&json!(4), &json!(2))
    );
    let verdict =
        json!([{"claim": "repository_id", "wanted": ["74"], "found": "110", "fits": false}]);
    assert_eq!(
        (&items[0]["claims"], &items[0]["reason"]),
        (&verdict, &json!("claims"))
    );
    assert_eq!(items[0]["address"], "192.0.2.17");
    // A trust that is gone keeps nothing.
    note(
        &place.server,
        &place.server.database,
        "app-ci",
        &json!({"repository_id": "1"}),
        1,
    );
    assert_eq!(place.admin.delete(&path).await.status, 204);
    place
        .server
        .service
        .flush_refused_workloads()
        .await
        .unwrap();
    assert_eq!(
        place
            .server
            .database
            .number("SELECT COUNT(*) FROM trust_refusals"),
        0
    );
}

#[rstest]
#[actix_web::test]
async fn changes_of_issuers_and_trusts_are_told(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let place = Place::make(backend).await;
    let path = place.trust("app-ci").await;
    let disable = json!({"status": "disabled"});
    place.admin.patch(&path, disable.clone()).await;
    place.admin.patch(&path, disable.clone()).await;
    place.admin.delete(&path).await;
    place
        .admin
        .patch(&format!("/issuers/{}", place.issuer), disable)
        .await;
    let events = place.admin.get("/audit?limit=100").await.json["items"].clone();
    let told: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .filter(|event| ["issuer", "trust"].contains(&event["subjectKind"].as_str().unwrap()))
        .collect();
    let lines: Vec<_> = told
        .iter()
        .map(|event| {
            format!(
                "{} {}",
                event["kind"].as_str().unwrap(),
                event["subjectKind"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "create issuer",
            "create trust",
            "update trust",
            "delete trust",
            "update issuer"
        ]
    );
    let page = include_str!("../docs/AUDIT.md");
    for event in told {
        let start = format!("| {} |", event["subjectKind"].as_str().unwrap());
        let row = page.lines().find(|row| row.starts_with(&start)).unwrap();
        let registry = (event["subjectKind"] == "trust").then_some(place.registry.as_str());
        assert_eq!(event["registry"], json!(registry));
        for state in ["before", "after"] {
            for member in event["detail"][state]
                .as_object()
                .into_iter()
                .flat_map(serde_json::Map::keys)
            {
                assert!(
                    row.contains(&format!("`{member}`")),
                    "docs/AUDIT.md: {member}"
                );
            }
        }
    }
}

const PAGE: &str = include_str!("../docs/WORKLOAD.md");

/// The bodies that the page sends, in its order.
fn bodies_of_the_page() -> Vec<String> {
    let mut bodies = Vec::new();
    for start in ["<<'EOF'\n", "<<EOF\n"] {
        for (at, _) in PAGE.match_indices(start) {
            let (body, _) = PAGE[at + start.len()..].split_once("\nEOF\n").unwrap();
            bodies.push((at, body.to_owned()));
        }
    }
    bodies.sort();
    bodies.into_iter().map(|(_, body)| body).collect()
}

/// Each issuer and trust of docs/WORKLOAD.md is taken, and fits the claims of its provider.
#[rstest]
#[actix_web::test]
async fn the_issuers_and_trusts_of_the_page_are_taken_and_fit(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let bodies = bodies_of_the_page();
    let golden = [
        include_str!("../examples/workload/claims/github.json"),
        include_str!("../examples/workload/claims/gitlab.json"),
        include_str!("../examples/workload/claims/kubernetes.json"),
        include_str!("../examples/workload/claims/buildkite.json"),
        include_str!("../examples/workload/claims/circleci.json"),
        include_str!("../examples/workload/claims/forgejo.json"),
        include_str!("../examples/workload/claims/spiffe.json"),
    ];
    assert_eq!(bodies.len(), 2 * golden.len());
    for (number, (bodies, claims)) in bodies.chunks(2).zip(golden).enumerate() {
        let issuer: Value = serde_json::from_str(&bodies[0]).unwrap();
        let made = admin.post("/issuers", issuer).await;
        assert_eq!(made.status, 201, "{made:?}");
        let body = bodies[1].replace("$issuer", made.json["id"].as_str().unwrap());
        let registry = admin.create_registry(&format!("team-{number}")).await;
        let path = format!("/registries/{registry}/trusts");
        let body: Value = serde_json::from_str(&body).unwrap();
        let made = admin.post(&path, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let mut claims: Value = serde_json::from_str(claims).unwrap();
        claims["aud"] = json!(format!("team-{number}.localhost"));
        let path = format!("{path}/{}/evaluate", made.json["id"].as_str().unwrap());
        let evaluated = admin.post(&path, json!({"claims": claims})).await;
        assert_eq!(evaluated.json["usable"], true, "{evaluated:?}");
    }
}

#[test]
fn the_pipelines_of_the_page_are_the_files() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workload");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        let file = std::fs::read_to_string(&path).unwrap();
        assert!(
            PAGE.contains(&format!("\n{file}```\n")),
            "{}",
            path.display()
        );
        found += 1;
    }
    assert_eq!(found, 8);
}
