//! Issuers: made by administrators, found by all who may see a registry, and gone with their trusts if that is said.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Server};

pub const GITHUB: &str = "https://token.actions.githubusercontent.com";
const ID: &str = "11111111-1111-4111-8111-111111111111";

/// A public key, of RFC 7515 §A.3.
pub fn key_set() -> Value {
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "example", "alg": "ES256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]})
}

fn authority() -> String {
    rcgen::generate_simple_self_signed(["example.com".to_owned()])
        .unwrap()
        .cert
        .pem()
}

pub fn issuer(url: &str, kind: &str) -> Value {
    json!({"properties": {"url": url, "kind": kind}})
}

/// The body with these members too.
pub fn with(mut body: Value, more: Value) -> Value {
    let members = body["properties"].as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    body
}

pub async fn create_issuer(admin: &Actor, url: &str, kind: &str) -> String {
    let made = admin.post("/issuers", issuer(url, kind)).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json["id"].as_str().unwrap().to_owned()
}

#[rstest]
#[actix_web::test]
async fn an_issuer_is_made_shown_changed_and_deleted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let made = admin.post("/issuers", issuer(GITHUB, "github")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let defaults = json!({
        "url": GITHUB, "kind": "github", "algorithms": ["RS256", "ES256"], "status": "enabled",
    });
    assert_eq!(made.json["properties"], defaults);
    assert_eq!(made.json["type"], "issuer");
    assert_eq!(made.json["metadata"]["createdBy"], "admin");
    let path = format!("/issuers/{}", made.json["id"].as_str().unwrap());
    let shown = admin.get(&path).await;
    assert_eq!((shown.status, &shown.json), (200, &made.json));
    assert_eq!(shown.header("etag"), made.header("etag"));
    let list = admin.get("/issuers").await;
    assert_eq!(list.json["items"], json!([made.json]));
    assert_eq!(
        (&list.json["count"], &list.json["total"]),
        (&json!(1), &json!(1))
    );

    let patched = admin
        .patch(
            &path,
            json!({"algorithms": ["EdDSA"], "ca": authority(), "jwksUrl": "https://a.example/k"}),
        )
        .await;
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(patched.json["properties"]["jwksUrl"], "https://a.example/k");
    assert_eq!(patched.json["properties"]["algorithms"], json!(["EdDSA"]));
    assert_ne!(patched.header("etag"), made.header("etag"));
    // Keys that are here need no authority.
    let refused = admin.patch(&path, json!({"jwks": key_set()})).await;
    assert_eq!(refused.codes(), ["invalid-ca"]);
    let patched = admin
        .patch(&path, json!({"jwks": key_set(), "ca": null}))
        .await;
    assert_eq!(patched.json["properties"]["jwks"], key_set());
    assert_eq!(patched.json["properties"].get("jwksUrl"), None);
    // A null for what is not there changes nothing.
    let same = admin.patch(&path, json!({"jwksUrl": null})).await;
    assert_eq!(same.json, patched.json);
    let found = admin.patch(&path, json!({"jwks": null})).await;
    assert_eq!(found.json["properties"].get("jwks"), None);
    // A member that a PUT leaves out has its default; an answer can be sent back.
    let put = admin.put(&path, made.json.clone()).await;
    assert_eq!((put.status, &put.json["properties"]), (200, &defaults));
    assert_eq!(
        admin.put(&path, made.json.clone()).await.header("etag"),
        put.header("etag")
    );

    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.get(&path).await.codes(), ["issuer-not-found"]);
    assert_eq!(admin.delete(&path).await.status, 404);
    assert_eq!(admin.patch(&path, json!({})).await.status, 404);
}

#[rstest]
#[actix_web::test]
async fn an_issuer_has_its_url_alone_and_for_ever(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = create_issuer(&admin, GITHUB, "github").await;
    for again in [
        admin.post("/issuers", issuer(GITHUB, "other")).await,
        admin
            .put(&format!("/issuers/{ID}"), issuer(GITHUB, "github"))
            .await,
    ] {
        assert_eq!((again.status, again.codes()), (409, vec!["issuer-exists"]));
        assert!(again.message().contains(&id), "{again:?}");
    }
    // Byte by byte: these are other issuers.
    create_issuer(&admin, &format!("{GITHUB}/"), "github").await;
    create_issuer(&admin, &format!("{GITHUB}/octo"), "github").await;
    let path = format!("/issuers/{id}");
    for (body, code) in [
        (json!({"url": "https://gitlab.example.com"}), "invalid-url"),
        (json!({"kind": "other"}), "invalid-kind"),
    ] {
        let refused = admin.patch(&path, body.clone()).await;
        assert_eq!((refused.status, refused.codes()), (400, vec![code]));
        let whole = with(issuer(GITHUB, "github"), body);
        assert_eq!(admin.put(&path, whole).await.codes(), [code]);
    }
    let same = admin
        .patch(&path, json!({"url": GITHUB, "kind": "github"}))
        .await;
    assert_eq!(same.status, 200, "{same:?}");
}

#[rstest]
#[actix_web::test]
async fn bad_input_is_named_and_makes_nothing(#[values(Backend::Sqlite)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let mut private = key_set();
    private["keys"][0]["d"] = json!("hunter2");
    for (more, code) in [
        (json!({"url": "http://ci.example.com"}), "invalid-url"),
        (
            json!({"url": "https://u:hunter2@ci.example.com"}),
            "invalid-url",
        ),
        (
            json!({"url": "https://ci.example.com?a=hunter2"}),
            "invalid-url",
        ),
        (
            json!({"url": format!("https://ci.example.com/{}", "a".repeat(512))}),
            "invalid-url",
        ),
        (json!({"kind": "gitea"}), "invalid-kind"),
        (json!({"algorithms": ["HS256"]}), "invalid-algorithms"),
        (json!({"algorithms": ["none"]}), "invalid-algorithms"),
        (json!({"algorithms": []}), "invalid-algorithms"),
        (json!({"jwksUrl": "file:///etc/passwd"}), "invalid-jwks-url"),
        (json!({"jwks": {}}), "invalid-jwks"),
        (json!({"jwks": private}), "invalid-jwks"),
        (
            json!({"jwks": key_set(), "jwksUrl": "https://a.example"}),
            "invalid-jwks",
        ),
        (json!({"jwks": key_set(), "ca": authority()}), "invalid-ca"),
        (json!({"ca": "hunter2"}), "invalid-ca"),
        (
            json!({"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}),
            "invalid-ca",
        ),
        (json!({"status": "off"}), "invalid-status"),
        (json!({"name": "a"}), "invalid-body"),
    ] {
        let body = with(issuer("https://ci.example.com", "other"), more.clone());
        let refused = admin.post("/issuers", body).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (400, vec![code]),
            "{more}"
        );
        assert!(
            !refused.text.contains("hunter2") || code == "invalid-url",
            "{refused:?}"
        );
    }
    let twice = r#"{"properties": {"url": "https://a.example", "kind": "other", "jwks": {"keys": [], "keys": []}}}"#;
    let request = admin.request(Method::POST, "/issuers");
    let request = request
        .header("Content-Type", "application/json")
        .body(twice);
    assert_eq!(admin.send(request).await.status, 400);
    assert_eq!(admin.get("/issuers").await.json["total"], 0);
    assert_eq!(
        admin.get("/issuers?kind=github").await.codes(),
        ["invalid-query"]
    );
    let odd = admin
        .delete(&format!("/issuers/{ID}?deleteTrusts=yes"))
        .await;
    assert_eq!(odd.codes(), ["invalid-delete-trusts"]);
}

#[rstest]
#[actix_web::test]
async fn conditions_and_repeats_hold_for_issuers(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let path = format!("/issuers/{ID}");
    let send = async |method: Method, path: &str, header: (&str, &str), body: &Value| -> Answer {
        let request = admin.request(method, path).header(header.0, header.1);
        admin.send(request.json(body)).await
    };
    let body = issuer(GITHUB, "github");
    let absent = send(Method::PUT, &path, ("If-Match", "*"), &body).await;
    assert_eq!(absent.status, 412);
    let made = send(Method::PUT, &path, ("If-None-Match", "*"), &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let again = send(Method::PUT, &path, ("If-None-Match", "*"), &body).await;
    assert_eq!(again.status, 412);
    let first = made.header("etag").to_owned();
    let disable = json!({"status": "disabled"});
    let changed = send(Method::PATCH, &path, ("If-Match", &first), &disable).await;
    assert_eq!(changed.status, 200);
    let stale = send(
        Method::PATCH,
        &path,
        ("If-Match", &first),
        &json!({"status": "enabled"}),
    )
    .await;
    assert_eq!(stale.status, 412);
    let known = changed.header("etag").to_owned();
    let unchanged = send(Method::GET, &path, ("If-None-Match", &known), &Value::Null).await;
    assert_eq!(unchanged.status, 304);
    assert_eq!(
        send(Method::DELETE, &path, ("If-Match", &first), &Value::Null)
            .await
            .status,
        412
    );

    let other = issuer("https://gitlab.example.com", "gitlab");
    let key = ("Idempotency-Key", "one");
    let made = send(Method::POST, "/issuers", key, &other).await;
    let repeated = send(Method::POST, "/issuers", key, &other).await;
    assert_eq!((repeated.status, &repeated.json), (201, &made.json));
    assert_eq!(repeated.header("idempotency-replayed"), "true");
    assert_eq!(send(Method::POST, "/issuers", key, &body).await.status, 422);
    assert_eq!(admin.get("/issuers").await.json["total"], 2);
}

/// Every account finds the issuer for a trust; only administrators see its keys.
#[rstest]
#[actix_web::test]
async fn others_see_the_id_the_url_and_the_kind_of_an_issuer(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let body = with(issuer(GITHUB, "github"), json!({"jwks": key_set()}));
    let made = admin.post("/issuers", body.clone()).await;
    let path = format!("/issuers/{}", made.json["id"].as_str().unwrap());
    let account = admin.create_account("mia", &[]).await;
    let mia = server.actor("mia", "right-password");
    assert_eq!(mia.get("/issuers").await.status, 200);
    admin.set_member(&registry, &account, "owner").await;
    let seen = json!({"url": GITHUB, "kind": "github", "status": "enabled"});
    for who in [mia, server.analyst()] {
        let shown = who.get(&path).await;
        assert_eq!(shown.json["properties"], seen, "{shown:?}");
        assert_eq!(
            who.get("/issuers").await.json["items"][0]["properties"],
            seen
        );
        for refused in [
            who.post("/issuers", issuer("https://a.example", "other"))
                .await,
            who.put(&path, body.clone()).await,
            who.patch(&path, json!({"status": "disabled"})).await,
            who.delete(&path).await,
        ] {
            assert_eq!(refused.status, 403, "{refused:?}");
        }
    }
    assert_eq!(admin.get(&path).await.json, made.json);
}

/// The keys of an issuer open every registry that trusts it, so they need more than the permission to administer.
#[rstest]
#[actix_web::test]
async fn nobody_chooses_the_keys_of_an_issuer_without_all_rights(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = create_issuer(&admin, GITHUB, "github").await;
    let path = format!("/issuers/{id}");
    server.database.execute(
        "INSERT INTO roles (name, description, built_in) VALUES ('Keeper', '', 0); \
         INSERT INTO role_permissions (role_key, resource, level) SELECT key, 'Administration', 2 FROM roles WHERE name = 'Keeper'",
    );
    server
        .add_account("keeper", "right-password", "Keeper")
        .await;
    let keeper = server.actor("keeper", "right-password");
    for (method, place, body) in [
        (
            Method::POST,
            "/issuers",
            issuer("https://a.example", "other"),
        ),
        (Method::PATCH, path.as_str(), json!({"jwks": key_set()})),
        (
            Method::PATCH,
            path.as_str(),
            json!({"jwksUrl": "https://a.example"}),
        ),
        (Method::PATCH, path.as_str(), json!({"ca": authority()})),
        (
            Method::PATCH,
            path.as_str(),
            json!({"algorithms": ["RS256", "ES256", "EdDSA"]}),
        ),
    ] {
        let refused = keeper.send(keeper.request(method, place).json(&body)).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (403, vec!["forbidden"]),
            "{body}"
        );
    }
    // A change that narrows needs the permission alone.
    let narrowed = keeper.patch(&path, json!({"algorithms": ["ES256"]})).await;
    assert_eq!(narrowed.status, 200, "{narrowed:?}");
    assert_eq!(
        keeper
            .patch(&path, json!({"status": "disabled"}))
            .await
            .status,
        200
    );
    assert_eq!(
        keeper
            .patch(&path, json!({"status": "enabled"}))
            .await
            .status,
        403
    );
    assert_eq!(keeper.delete(&path).await.status, 204);
}

#[rstest]
#[actix_web::test]
async fn an_issuer_goes_with_its_trusts_only_if_that_is_said(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let (one, other) = (
        create_issuer(&admin, GITHUB, "github").await,
        create_issuer(&admin, "https://ghes.example.com/_services/token", "github").await,
    );
    let mut registries = Vec::new();
    for name in ["team-a", "team-b", "team-c"] {
        let registry = admin.create_registry(name).await;
        for (name, issuer) in [("ours", &one), ("theirs", &other)] {
            let body = json!({"properties": {"name": name, "issuer": issuer, "claims": {"repository_id": "74"}}});
            let made = admin
                .post(&format!("/registries/{registry}/trusts"), body)
                .await;
            assert_eq!(made.status, 201, "{made:?}");
        }
        registries.push(registry);
    }
    // Those of a deleted registry are gone for everybody.
    admin
        .delete(&format!("/registries/{}", registries[2]))
        .await;
    let path = format!("/issuers/{one}");
    let refused = admin.delete(&path).await;
    assert_eq!((refused.status, refused.codes()), (409, vec!["conflict"]));
    assert!(
        refused.message().starts_with("trusts of this issuer: 2"),
        "{refused:?}"
    );
    assert_eq!(
        admin
            .delete(&format!("{path}?deleteTrusts=false"))
            .await
            .status,
        409
    );
    assert_eq!(
        admin
            .delete(&format!("{path}?deleteTrusts=true"))
            .await
            .status,
        204
    );
    for registry in &registries[..2] {
        let left = admin.get(&format!("/registries/{registry}/trusts")).await;
        assert_eq!(left.json["total"], 1);
        assert_eq!(left.json["items"][0]["properties"]["name"], "theirs");
    }
    let events = admin.get("/audit?kind=delete").await;
    let told = &events.json["items"][0];
    assert_eq!(
        (&told["subjectKind"], &told["subject"]),
        (&json!("issuer"), &json!(one))
    );
    assert_eq!(told["detail"]["trusts"], 2);
}

#[rstest]
#[actix_web::test]
async fn a_service_has_a_hundred_issuers(#[values(Backend::Sqlite)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for number in 0..100 {
        create_issuer(&admin, &format!("https://ci-{number}.example.com"), "other").await;
    }
    let full = admin.post("/issuers", issuer(GITHUB, "github")).await;
    assert_eq!((full.status, full.codes()), (409, vec!["quota-exceeded"]));
    let page = admin.get("/issuers?offset=90&limit=20").await;
    assert_eq!(
        (&page.json["count"], &page.json["total"]),
        (&json!(10), &json!(100))
    );
}
