//! `/locations`, `/names`, the registry's own data, and the two prefixes.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Backend, Server, masked};

const ID: &str = "5f0ad6fc-0c3c-4c39-8a8c-0e5d6c2b7a10";

#[rstest]
#[actix_web::test]
async fn locations_are_those_of_the_settings(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let list = |ids: &[&str]| {
        let items: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        json!({"id": "locations", "type": "collection", "href": "", "items": items})
    };
    let server = Server::start(backend).await;
    let answer = server.admin().get("/locations").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(answer.json, list(&["de/fra", "de/txl", "es/vit"]));

    let server = Server::start_with(backend, &["--locations", "xx/one,de/fra"]).await;
    let admin = server.admin();
    assert_eq!(
        admin.get("/locations").await.json,
        list(&["xx/one", "de/fra"])
    );
    for (location, status) in [("xx/one", 201), ("de/txl", 400)] {
        let body = json!({"properties": {"name": "team-a", "location": location}});
        assert_eq!(
            admin.post("/registries", body).await.status,
            status,
            "{location}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn names_are_taken_free_or_invalid(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let taken = admin.create_registry("team-a").await;
    let (longest, long) = ("a".repeat(63), "a".repeat(64));
    for (name, status) in [
        ("team-a", 200),
        ("team-b", 404),
        ("abc", 404),
        (&longest, 404),
        ("ab", 400),
        (&long, 400),
        ("Team-a", 400),
        ("team-", 400),
        ("1team", 400),
        ("team_a", 400),
        ("team%00", 400),
        ("team%2Fa", 400),
        ("team%0A", 400),
        ("t%C3%A4am", 400),
        ("te%FFam", 400),
        ("team-%61", 200),
    ] {
        let answer = admin
            .send(admin.request(Method::HEAD, &format!("/names/{name}")))
            .await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (status, ""),
            "{name}"
        );
    }
    admin.delete(&format!("/registries/{taken}")).await;
    let freed = admin
        .send(admin.request(Method::HEAD, "/names/team-a"))
        .await;
    assert_eq!(freed.status, 404);
}

#[rstest]
#[actix_web::test]
async fn images_are_the_registrys_own_data(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let cases = [
        (
            Method::POST,
            format!("/registries/{registry}/repositories"),
            "repository-not-found",
        ),
        (
            Method::GET,
            format!("/registries/{registry}/repositories/team%2Fapp"),
            "repository-not-found",
        ),
        (
            Method::DELETE,
            format!("/registries/{registry}/repositories/app"),
            "repository-not-found",
        ),
        (
            Method::GET,
            format!("/registries/{registry}/repositories/app/artifacts"),
            "repository-not-found",
        ),
        (
            Method::GET,
            format!("/registries/{registry}/repositories/app/artifacts/sha256:0"),
            "repository-not-found",
        ),
        (
            Method::GET,
            format!("/registries/{registry}/repositories/app/artifacts/sha256:0/vulnerabilities"),
            "repository-not-found",
        ),
        (
            Method::DELETE,
            format!("/registries/{registry}/artifacts"),
            "artifact-not-found",
        ),
        (
            Method::GET,
            "/vulnerabilities/CVE-2026-1".to_owned(),
            "vulnerability-not-found",
        ),
    ];
    for (method, path, code) in cases {
        for prefix in ["", "/containerregistries"] {
            let path = format!("{prefix}{path}");
            let answer = admin.send(admin.request(method.clone(), &path)).await;
            assert_eq!(
                (answer.status, answer.codes()),
                (404, vec![code]),
                "{method} {path}"
            );
            assert!(
                answer.message().contains("ask the registry itself"),
                "{}",
                answer.message()
            );
            let stranger = server.anonymous();
            let answer = stranger.send(stranger.request(method.clone(), &path)).await;
            assert_eq!(answer.status, 401, "{method} {path}");
        }
    }
    for tail in ["repositories", "repositories/app", "artifacts"] {
        for (id, status, code) in [
            ("nonsense", 400, "invalid-registry-id"),
            (ID, 404, "registry-not-found"),
        ] {
            let answer = admin.get(&format!("/registries/{id}/{tail}")).await;
            assert_eq!(
                (answer.status, answer.codes()),
                (status, vec![code]),
                "{id} {tail}"
            );
        }
    }
}

/// `ionosctl`, the SDKs and Ansible's modules take any other answer for a failure.
#[rstest]
#[actix_web::test]
async fn a_registry_has_no_images(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    admin.create_account("bob", &[]).await;
    for (list, parameters) in [
        (
            "repositories",
            "filter.vulnerabilitySeverity=high&orderBy=-lastPush",
        ),
        ("artifacts", "filter.vulnerabilityId=x&orderBy=-pullCount"),
    ] {
        let path = format!("/containerregistries/registries/{registry}/{list}");
        let answer = admin
            .get(&format!("{path}?offset=5&limit=7&{parameters}"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let own = format!("{}{path}", server.admin().base());
        let expected = json!({"id": list, "type": "collection", "href": "", "items": [],
            "offset": 5, "limit": 7, "_links": {"self": own}});
        assert_eq!(answer.json, expected);
        let wrong = admin.get(&format!("{path}?limit=1001")).await;
        assert_eq!((wrong.status, wrong.codes()), (400, vec!["invalid-limit"]));
        // Membership comes first.
        let stranger = server.actor("bob", "right-password").get(&path).await;
        assert_eq!(
            (stranger.status, stranger.codes()),
            (404, vec!["registry-not-found"])
        );
    }
}

/// The answers in a registry's and a token's life under a prefix, without ids and the prefix itself.
async fn life(server: &Server, prefix: &str) -> Vec<(String, u16, String, Value)> {
    let admin = server.admin();
    let created = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    let answer = admin
        .post(&format!("{prefix}/registries"), created.clone())
        .await;
    let registry = answer.json["id"].as_str().unwrap_or_default().to_owned();
    let steps = [
        ("GET", "/locations", json!(null)),
        ("HEAD", "/names/team-a", json!(null)),
        ("HEAD", "/names/team-b", json!(null)),
        ("GET", "/registries?limit=1", json!(null)),
        ("POST", "/registries", created.clone()),
        ("GET", "/registries/R", json!(null)),
        ("PUT", "/registries/R", created.clone()),
        (
            "PUT",
            "/registries/R",
            json!({"properties": {"name": "team-b", "location": "de/fra"}}),
        ),
        (
            "PATCH",
            "/registries/R",
            json!({"apiSubnetAllowList": ["10.0.0.1"]}),
        ),
        (
            "POST",
            "/registries/R/tokens",
            json!({"properties": {"name": "ci"}}),
        ),
        (
            "PUT",
            "/registries/R/tokens/T",
            json!({"properties": {"name": "deploy"}}),
        ),
        ("GET", "/registries/R/tokens?limit=1&offset=1", json!(null)),
        ("GET", "/registries/R/tokens/T", json!(null)),
        (
            "PATCH",
            "/registries/R/tokens/T",
            json!({"status": "disabled"}),
        ),
        (
            "PATCH",
            "/registries/R/tokens/T",
            json!({"state": "disabled"}),
        ),
        (
            "POST",
            "/registries/R/tokens/T/evaluate",
            json!({"scope": "repository:a:pull"}),
        ),
        ("DELETE", "/registries/R/tokens/T", json!(null)),
        ("GET", "/registries/R/tokens/T", json!(null)),
        ("GET", "/registries/R/tokens/nonsense", json!(null)),
        ("PUT", "/registries/R/tokens", json!({})),
        ("GET", "/registries/R/repositories", json!(null)),
        ("GET", "/nowhere", json!(null)),
        ("DELETE", "/registries/R", json!(null)),
        ("GET", "/registries/R", json!(null)),
    ];
    let mut story = vec![(
        "POST".to_owned(),
        answer.status,
        String::new(),
        masked(&answer.json),
    )];
    for (method, path, body) in steps {
        let at = format!("{prefix}{}", path.replace('R', &registry).replace('T', ID));
        let mut request = admin.request(method.parse().unwrap(), &at);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = admin.send(request).await;
        let text = answer.text.replace(&registry, "R");
        let text = if prefix.is_empty() {
            text
        } else {
            text.replace(prefix, "")
        };
        let body = masked(&serde_json::from_str(&text).unwrap_or_default());
        story.push((
            format!("{method} {path}"),
            answer.status,
            answer.header("allow").to_owned(),
            body,
        ));
    }
    story
}

#[rstest]
#[actix_web::test]
async fn both_prefixes_answer_alike(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let bare = life(&server, "").await;
    let prefixed = life(&server, "/containerregistries").await;
    for (one, other) in bare.iter().zip(&prefixed) {
        assert_eq!(one, other);
    }
    let statuses: Vec<_> = bare.iter().map(|step| step.1).collect();
    assert_eq!(
        statuses,
        [
            201, 200, 200, 404, 200, 409, 200, 200, 400, 200, 201, 201, 200, 200, 200, 400, 200,
            204, 404, 400, 405, 200, 404, 204, 404
        ]
    );
}
