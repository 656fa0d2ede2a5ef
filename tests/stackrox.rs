//! API tokens for StackRox's clients: every row of the table of behaviour that they rely on, word for word.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::domain::status::Status;

use crate::harness::{Actor, Answer, Backend, Server};

const GENERATE: &str = "/v1/apitokens/generate";
const INVALID_BEARER: &str =
    "credentials not found: token-based: cannot extract identity: token validation failed";

fn error(code: i32, message: &str) -> Value {
    json!({"code": code, "message": message, "details": [], "error": message})
}

/// Makes a token and returns it with its metadata.
async fn generate(actor: &Actor, body: Value) -> (String, Value) {
    let answer = actor.post(GENERATE, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json["token"].as_str().unwrap().to_owned();
    (token, answer.json["metadata"].clone())
}

fn check_error(answer: &Answer, status: u16, body: &Value, what: &str) {
    assert_eq!((answer.status, &answer.json), (status, body), "{what}");
    check_dress(answer, what);
}

fn check_dress(answer: &Answer, what: &str) {
    assert_eq!(answer.header("content-type"), "application/json", "{what}");
    assert_eq!(
        answer.header("cache-control"),
        "no-store, no-cache",
        "{what}"
    );
}

/// Roles that a test needs beside those that are built in.
fn add_role(server: &Server, name: &str, permissions: &[(&str, i32)]) {
    server.database.execute(&format!(
        "INSERT INTO roles (name, description, built_in) VALUES ('{name}', '', 0)"
    ));
    for (resource, level) in permissions {
        server.database.execute(&format!(
            "INSERT INTO role_permissions (role_key, resource, level) \
             SELECT key, '{resource}', {level} FROM roles WHERE name = '{name}'"
        ));
    }
}

#[rstest]
#[actix_web::test]
async fn a_token_is_made_listed_shown_and_revoked(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    assert_eq!(admin.get("/v1/apitokens").await.json, json!({"tokens": []}));
    let answer = admin
        .post(
            GENERATE,
            json!({
                "name": "pipelines-ci-token",
                "roles": ["Continuous Integration"],
                "expiration": "2027-05-01T02:00:00.9+02:00",
            }),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    check_dress(&answer, "generate");
    let id = answer.json["metadata"]["id"].as_str().unwrap().to_owned();
    let mut metadata = json!({
        "id": id,
        "name": "pipelines-ci-token",
        "roles": ["Continuous Integration"],
        "issuedAt": "2026-11-21T12:00:00Z",
        "expiration": "2027-05-01T00:00:00Z",
        "revoked": false,
        "role": "Continuous Integration",
    });
    let token = answer.json["token"].as_str().unwrap();
    assert_eq!(answer.json, json!({"token": token, "metadata": metadata}));

    let part = |number: usize| -> Value {
        let part = token.split('.').nth(number).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let kid = part(0)["kid"].as_str().unwrap().to_owned();
    assert!(kid.starts_with("jwtk"), "{kid}");
    assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": kid}));
    assert_eq!(
        part(1),
        json!({
            "iss": "https://stackrox.io/jwt",
            "aud": ["https://stackrox.io/jwt-sources#api-tokens"],
            "jti": id,
            "iat": 1_795_262_400,
            "exp": 1_809_129_600,
            "name": "pipelines-ci-token",
            "roles": ["Continuous Integration"],
        })
    );

    let path = format!("/v1/apitokens/{id}");
    let shown = admin.get(&path).await;
    assert_eq!((shown.status, &shown.json), (200, &metadata));
    check_dress(&shown, "show");
    assert_eq!(
        admin.get("/v1/apitokens").await.json,
        json!({"tokens": [metadata]})
    );

    let revoke = format!("/v1/apitokens/revoke/{id}");
    for _ in 0..2 {
        let revoked = admin.patch(&revoke, json!({})).await;
        assert_eq!((revoked.status, revoked.text.as_str()), (200, "{}"));
        check_dress(&revoked, "revoke");
    }
    metadata["revoked"] = json!(true);
    assert_eq!(admin.get(&path).await.json, metadata);

    // An id in another case is the same, as for all ids here.
    let upper = format!("/v1/apitokens/{}", id.to_uppercase());
    assert_eq!(admin.get(&upper).await.json, metadata);
}

#[rstest]
#[actix_web::test]
async fn what_is_wrong_with_a_wish_is_told_in_one_order(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    add_role(
        &server,
        "Minter",
        &[("Access", 1), ("Integration", 2), ("Image", 1)],
    );
    add_role(&server, "Pusher", &[("Image", 2), ("Token", 1)]);
    server
        .add_account("minter", "minter-password", "Minter")
        .await;
    let minter = server.actor("minter", "minter-password");
    let escalation = "not authorized: 2 errors occurred:\n\t\
        * resource=Image, access scope=\"Unrestricted\": requested access is READ_WRITE_ACCESS, when user access is READ_ACCESS\n\t\
        * resource=Token, access scope=\"Unrestricted\": requested access is READ_ACCESS, when user access is NO_ACCESS\n\n";
    let past = "2026-11-21T11:59:59.999Z";
    for (body, status, code, message) in [
        (
            json!({"role": "A", "roles": ["B"], "expiration": past}),
            400,
            3,
            "token name cannot be empty: invalid arguments",
        ),
        (
            json!({"name": "n", "role": "A", "roles": ["B"], "expiration": past}),
            400,
            3,
            "must use either role or roles, but not both: invalid arguments",
        ),
        (
            json!({"name": "n", "roles": ["B", "Pusher", "a", "admin"], "expiration": past}),
            400,
            3,
            "role(s) B,a,admin don't exist: invalid arguments",
        ),
        (
            json!({"name": "n", "roles": ["a\0"]}),
            400,
            3,
            "role(s) a\0 don't exist: invalid arguments",
        ),
        (
            json!({"name": "n", "role": "Pusher", "expiration": past}),
            403,
            7,
            escalation,
        ),
        (
            json!({"name": "n", "role": "Minter", "expiration": past}),
            400,
            3,
            "Expiration date cannot be in the past",
        ),
    ] {
        let answer = minter.post(GENERATE, body.clone()).await;
        check_error(&answer, status, &error(code, message), &body.to_string());
    }
    // One lack is one error.
    add_role(&server, "Puller", &[("Image", 2)]);
    let answer = minter
        .post(GENERATE, json!({"name": "n", "role": "Puller"}))
        .await;
    let one = "not authorized: 1 error occurred:\n\t\
        * resource=Image, access scope=\"Unrestricted\": requested access is READ_WRITE_ACCESS, when user access is READ_ACCESS\n\n";
    check_error(&answer, 403, &error(7, one), "one");
    // Admin permits even resources that are not known yet.
    let answer = minter
        .post(GENERATE, json!({"name": "n", "role": "Admin"}))
        .await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(
        answer.json["message"]
            .as_str()
            .unwrap()
            .contains("resource=WatchedImage, access scope"),
        "{answer:?}"
    );
    // The caller's permissions are checked before the request.
    let analyst = server.analyst();
    let answer = analyst.post(GENERATE, json!({})).await;
    let lacks = "not authorized: \"READ_WRITE_ACCESS\" for \"Integration\"";
    check_error(&answer, 403, &error(7, lacks), "analyst");
    assert_eq!(
        server.database.number("SELECT COUNT(*) FROM api_tokens"),
        0,
        "a token that was refused is there"
    );
}

#[rstest]
#[actix_web::test]
async fn odd_wishes_are_granted(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for (body, roles, role) in [
        (json!({"name": " "}), json!([]), ""),
        (json!({"name": "n", "role": ""}), json!([]), ""),
        (
            json!({"name": "n", "role": null, "roles": null, "expiration": null}),
            json!([]),
            "",
        ),
        (
            json!({"name": "n", "roles": ["None"]}),
            json!(["None"]),
            "None",
        ),
        (
            json!({"name": "n", "role": "Admin"}),
            json!(["Admin"]),
            "Admin",
        ),
        (
            json!({"name": "n", "role": "Admin", "roles": []}),
            json!(["Admin"]),
            "Admin",
        ),
        (
            json!({"name": "n", "roles": ["Sensor Creator", "Admin"], "unknown": {"a": [1]}}),
            json!(["Sensor Creator", "Admin"]),
            "",
        ),
    ] {
        let (_, metadata) = generate(&admin, body.clone()).await;
        assert_eq!(
            (&metadata["roles"], &metadata["role"]),
            (&roles, &json!(role)),
            "{body}"
        );
        assert_eq!(metadata["expiration"], "2027-11-21T12:00:00Z", "{body}");
    }
    // Now is not the past, and there is no latest end.
    for (sent, shown) in [
        ("2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ] {
        let (_, metadata) = generate(&admin, json!({"name": "n", "expiration": sent})).await;
        assert_eq!(metadata["expiration"], shown);
    }
    let listed = admin.get("/v1/apitokens").await;
    assert_eq!(listed.json["tokens"].as_array().unwrap().len(), 9);
}

#[rstest]
#[actix_web::test]
async fn bodies_are_decoded_before_anybody_is_asked_who_they_are(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    for actor in [server.anonymous(), server.admin(), server.analyst()] {
        for body in [
            "{",
            "[]",
            "null",
            "\"x\"",
            "{}{}",
            "nonsense",
            r#"{"name": 5}"#,
            r#"{"name": "n", "roles": "Admin"}"#,
            r#"{"name": "n", "roles": [1]}"#,
            r#"{"name": "n", "roles": [null]}"#,
            r#"{"name": "n", "role": ["Admin"]}"#,
            r#"{"name": "n", "expiration": 5}"#,
            // In the year 10000 and before the year 1, where no client could read it.
            r#"{"name": "n", "expiration": "9999-12-31T23:59:59-01:00"}"#,
            r#"{"name": "n", "expiration": "0000-01-01T00:00:00Z"}"#,
            r#"{"name": "n", "expiration": ""}"#,
            r#"{"name": "n", "expiration": "2027-05-01"}"#,
            r#"{"name": "n", "expiration": "2027-05-01T00:00:00"}"#,
        ] {
            let request = actor.request(Method::POST, GENERATE).body(body);
            let answer = actor.send(request).await;
            assert_eq!(
                (answer.status, &answer.json["code"]),
                (400, &json!(3)),
                "{body}"
            );
            assert_eq!(answer.json["message"], answer.json["error"], "{body}");
            assert_eq!(answer.json["details"], json!([]), "{body}");
            check_dress(&answer, body);
        }
        let answer = actor.get("/v1/apitokens?revoked=maybe").await;
        let message =
            "parsing field \"revoked\": strconv.ParseBool: parsing \"maybe\": invalid syntax";
        check_error(&answer, 400, &error(3, message), "revoked");
    }
}

/// And none at all is an empty message.
#[rstest]
#[actix_web::test]
async fn bodies_are_decoded_whatever_their_type_says(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let empty = error(3, "token name cannot be empty: invalid arguments");
    for kind in [
        None,
        Some("application/x-www-form-urlencoded"),
        Some("text/plain"),
        Some("application/json"),
        Some("nonsense"),
    ] {
        let request = |body: &'static str| {
            let request = admin.request(Method::POST, GENERATE).body(body);
            match kind {
                Some(kind) => request.header("content-type", kind),
                None => request,
            }
        };
        for body in ["", " \n", "{}"] {
            let answer = admin.send(request(body)).await;
            check_error(&answer, 400, &empty, &format!("{kind:?}"));
        }
        let answer = admin.send(request(r#"{"name":"n","role":"Admin"}"#)).await;
        assert_eq!(answer.status, 200, "{kind:?}: {answer:?}");
    }
}

#[rstest]
#[actix_web::test]
async fn names_that_no_header_carries_and_too_many_roles_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for name in ["a\0b".to_owned(), "a\nb".to_owned(), "x".repeat(1025)] {
        let answer = admin.post(GENERATE, json!({"name": name})).await;
        assert_eq!(
            (answer.status, &answer.json["code"]),
            (400, &json!(3)),
            "{answer:?}"
        );
    }
    let answer = admin
        .post(GENERATE, json!({"name": "n", "roles": vec!["Admin"; 101]}))
        .await;
    let many = error(3, "must not use more than 100 roles: invalid arguments");
    check_error(&answer, 400, &many, "many roles");
}

#[rstest]
#[actix_web::test]
async fn who_is_not_let_in_is_told_in_stackrox_words(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let anonymous = server.anonymous();
    let nothing = "credentials not found".to_owned();
    let failed = |name: &str| {
        format!(
            "credentials not found: basic: cannot extract identity: failed to identify user with username {name}"
        )
    };
    let basic = |credentials: &str| format!("Basic {}", STANDARD.encode(credentials));
    let lower = |credentials: &str| format!("basic {}", STANDARD.encode(credentials));
    let right = format!("admin:{}", crate::harness::ADMIN_PASSWORD);
    let (token, _) = generate(&server.admin(), json!({"name": "n", "role": "Admin"})).await;
    let cases = [
        (vec![], nothing.clone()),
        (vec![basic("admin:wrong-password")], failed("\"admin\"")),
        (
            vec![basic("jörg \"x\"\r\n:wrong")],
            failed(r#""j?rg \"x\"??""#),
        ),
        (
            vec![basic(&format!("{}:wrong", "n".repeat(300)))],
            failed(&format!("\"{}\"", "n".repeat(128))),
        ),
        // `Basic` as it is written, `Bearer` in any case, and never two headers.
        (vec![lower(&right)], nothing.clone()),
        (vec!["Basic nonsense".to_owned()], nothing.clone()),
        (vec!["Digest x".to_owned()], nothing.clone()),
        (
            vec!["Bearer nonsense".to_owned()],
            INVALID_BEARER.to_owned(),
        ),
        (
            vec!["bEARER nonsense".to_owned()],
            INVALID_BEARER.to_owned(),
        ),
        (
            vec![format!("Bearer {token}"), basic(&right)],
            nothing.clone(),
        ),
        (vec![basic(&right), basic(&right)], nothing.clone()),
        (vec![format!("Bearer {token}"); 2], nothing),
    ];
    for (headers, message) in cases {
        for (method, path) in [
            (Method::GET, "/v1/apitokens"),
            (Method::GET, "/v1/apitokens/nope"),
            (Method::GET, "/v1/apitokens/generate/allowed-roles"),
            (Method::POST, GENERATE),
            (Method::PATCH, "/v1/apitokens/revoke/nope"),
            (Method::GET, "/v1/auth/status"),
        ] {
            let mut request = anonymous.request(method.clone(), path);
            for header in &headers {
                request = request.header("authorization", header);
            }
            let answer = anonymous.send(request).await;
            let what = format!("{method} {path} with {headers:?}");
            check_error(&answer, 401, &error(16, &message), &what);
            let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
            assert_eq!(challenges, [message.as_str()], "{what}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn bearer_is_written_in_any_case(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let anonymous = server.anonymous();
    let (token, _) = generate(&server.admin(), json!({"name": "n", "role": "Admin"})).await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = anonymous
            .request(Method::GET, "/v1/apitokens")
            .header("authorization", format!("{scheme} {token}"));
        assert_eq!(anonymous.send(request).await.status, 200, "{scheme}");
    }
}

/// It is issued, whether it has none or one that lets nobody in.
#[rstest]
#[actix_web::test]
async fn a_token_without_a_role_opens_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let shut = "access for this user is not authorized: no valid role, please contact your system administrator";
    add_role(&server, "Fleeting", &[("Integration", 2)]);
    for (roles, gone) in [
        (json!([]), ""),
        (json!(["None"]), ""),
        (json!(["Fleeting"]), "Fleeting"),
    ] {
        let (token, _) = generate(&server.admin(), json!({"name": "n", "roles": roles})).await;
        let bearer = server.bearer(&token);
        if !gone.is_empty() {
            assert_eq!(bearer.get("/v1/apitokens").await.status, 200);
            server
                .database
                .execute(&format!("DELETE FROM roles WHERE name = '{gone}'"));
        }
        let answer = bearer.get("/v1/apitokens").await;
        check_error(&answer, 401, &error(16, shut), "no role");
        assert_eq!(answer.header("www-authenticate"), shut);
        let answer = bearer.get("/registries").await;
        assert_eq!(
            (answer.status, answer.codes()),
            (401, vec!["unauthenticated"])
        );
    }
}

#[rstest]
#[actix_web::test]
async fn each_call_needs_its_own_permission(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let (_, metadata) = generate(&server.admin(), json!({"name": "n"})).await;
    let id = metadata["id"].as_str().unwrap();
    let (show, revoke) = (
        format!("/v1/apitokens/{id}"),
        format!("/v1/apitokens/revoke/{id}"),
    );
    let calls = [
        (Method::POST, GENERATE),
        (Method::GET, "/v1/apitokens/generate/allowed-roles"),
        (Method::GET, "/v1/apitokens"),
        (Method::GET, &show),
        (Method::PATCH, &revoke),
        (Method::GET, "/v1/auth/status"),
    ];
    let lack = |access: &str, resource: &str| {
        Some(format!("not authorized: \"{access}\" for \"{resource}\""))
    };
    let (read, write) = ("READ_ACCESS", "READ_WRITE_ACCESS");
    for (role, permissions, lacks) in [
        (
            "nothing",
            &[("Token", 2)][..],
            [
                lack(read, "Access"),
                lack(read, "Access"),
                lack(read, "Integration"),
                lack(read, "Integration"),
                lack(write, "Integration"),
                None,
            ],
        ),
        (
            "reader",
            &[("Access", 1), ("Integration", 1)],
            [
                lack(write, "Integration"),
                None,
                None,
                None,
                lack(write, "Integration"),
                None,
            ],
        ),
        (
            "integrator",
            &[("Integration", 2)],
            [
                lack(read, "Access"),
                lack(read, "Access"),
                None,
                None,
                None,
                None,
            ],
        ),
        (
            "minter",
            &[("Integration", 2), ("Access", 1)],
            [None, None, None, None, None, None],
        ),
    ] {
        add_role(&server, role, permissions);
        server.add_account(role, "some-password", role).await;
        let password = server.actor(role, "some-password");
        // A token of that role says the same.
        let (token, _) = generate(&server.admin(), json!({"name": "t", "role": role})).await;
        let bearer = server.bearer(&token);
        for actor in [&password, &bearer] {
            for ((method, path), lack) in calls.iter().zip(&lacks) {
                let request = actor.request(method.clone(), path).body(r#"{"name": "m"}"#);
                let answer = actor.send(request).await;
                let what = format!("{role}: {method} {path}");
                match lack {
                    Some(lack) => check_error(&answer, 403, &error(7, lack), &what),
                    None => assert_eq!(answer.status, 200, "{what}: {answer:?}"),
                }
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn tokens_are_listed_by_gos_booleans(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let (_, kept) = generate(&admin, json!({"name": "kept"})).await;
    let (_, revoked) = generate(&admin, json!({"name": "revoked"})).await;
    let soon = json!({"name": "expired", "expiration": "2026-11-21T12:00:01Z"});
    let (_, expired) = generate(&admin, soon).await;
    server.clock.advance(TimeDelta::hours(2));
    // Expired tokens are listed, and can be revoked.
    for metadata in [&revoked, &expired] {
        let path = format!("/v1/apitokens/revoke/{}", metadata["id"].as_str().unwrap());
        let names = admin.get("/v1/apitokens?revoked=false").await.json;
        assert!(names["tokens"].as_array().unwrap().contains(metadata));
        assert_eq!(admin.patch(&path, json!({})).await.status, 200);
    }
    let listed = async |query: &str| {
        let answer = admin.get(&format!("/v1/apitokens{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let tokens = answer.json["tokens"].as_array().unwrap().clone();
        tokens
            .iter()
            .map(|token| token["id"].clone())
            .collect::<Vec<_>>()
    };
    let (kept, gone) = (
        vec![kept["id"].clone()],
        vec![revoked["id"].clone(), expired["id"].clone()],
    );
    let all = [kept.clone(), gone.clone()].concat();
    for query in ["", "?", "?Revoked=true", "?other=1&revoke=true"] {
        assert_eq!(listed(query).await, all, "{query}");
    }
    for value in ["1", "t", "T", "true", "TRUE", "True"] {
        assert_eq!(listed(&format!("?revoked={value}")).await, gone, "{value}");
    }
    for value in ["0", "f", "F", "false", "FALSE", "False"] {
        assert_eq!(
            listed(&format!("?x=y&revoked={value}")).await,
            kept,
            "{value}"
        );
    }
    for value in ["maybe", "", "tRUE", "yes", "2", "null"] {
        let answer = admin.get(&format!("/v1/apitokens?revoked={value}")).await;
        let message = format!(
            "parsing field \"revoked\": strconv.ParseBool: parsing \"{value}\": invalid syntax"
        );
        check_error(&answer, 400, &error(3, &message), value);
    }
    let answer = admin.get("/v1/apitokens?revoked=true&revoked=false").await;
    let message = "too many values for field \"revoked\": true, false";
    check_error(&answer, 400, &error(3, message), "twice");
}

#[rstest]
#[actix_web::test]
async fn unknown_ids_paths_and_methods_are_told_as_by_the_gateway(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for id in [
        "nope",
        "generate",
        "862ba387-230e-4a27-929d-ac48fa3e4916",
        "a%00b",
        "%20",
    ] {
        let shown = match id {
            "a%00b" => "a\0b",
            "%20" => " ",
            id => id,
        };
        let answer = admin.get(&format!("/v1/apitokens/{id}")).await;
        let message = format!("token with id '{shown}' does not exist: invalid arguments");
        check_error(&answer, 400, &error(3, &message), id);
        let answer = admin
            .patch(&format!("/v1/apitokens/revoke/{id}"), json!({}))
            .await;
        let message = format!("token with id '{shown}' does not exist");
        check_error(&answer, 500, &error(13, &message), id);
    }
    for path in [
        "/v1",
        "/v1/",
        "/v1/nowhere",
        "/v1/apitokens/",
        "/v1/apitokens/a/b",
        "/v1/apitokens/revoke/",
    ] {
        let answer = server.anonymous().get(path).await;
        let known = path == "/v1/apitokens/revoke/";
        if !known {
            check_error(&answer, 404, &error(5, "Not Found"), path);
        }
    }
    for (path, methods) in [
        ("/v1/apitokens", "POST PUT PATCH DELETE OPTIONS"),
        ("/v1/apitokens/x", "POST PUT PATCH DELETE"),
        (GENERATE, "PUT PATCH DELETE"),
        ("/v1/apitokens/generate/allowed-roles", "POST PUT DELETE"),
        ("/v1/apitokens/revoke/x", "GET POST PUT DELETE"),
        ("/v1/ping", "POST DELETE"),
        ("/v1/auth/status", "POST DELETE"),
    ] {
        for method in methods.split(' ') {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = admin.send(admin.request(method.clone(), path)).await;
            let what = format!("{method} {path}");
            check_error(&answer, 501, &error(12, "Method Not Allowed"), &what);
        }
    }
    // A web page of another origin is refused in these words too.
    let request = admin
        .request(Method::POST, GENERATE)
        .header("origin", "https://evil.example");
    let answer = admin.send(request).await;
    assert_eq!((answer.status, &answer.json["code"]), (403, &json!(7)));
    check_dress(&answer, "origin");
    // Paths outside this surface keep their error format.
    assert_eq!(admin.get("/v1x").await.codes(), ["path-not-found"]);
}

#[rstest]
#[actix_web::test]
async fn answers_are_pretty_and_compressed_if_asked(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let wish = json!({"name": "n".repeat(1024), "roles": ["Admin"]});
    assert_eq!(admin.post("/v1/apitokens/generate", wish).await.status, 200);
    for (path, status) in [
        ("/v1/apitokens", 200),
        ("/v1/apitokens/generate/allowed-roles", 200),
        ("/v1/apitokens/nope", 400),
        ("/v1/nowhere", 404),
    ] {
        let plain = admin.get(path).await;
        assert_eq!(plain.status, status);
        assert!(!plain.text.contains('\n'));
        for query in ["?pretty", "?pretty=", "?pretty=false", "?a=b&pretty=true"] {
            let pretty = admin.get(&format!("{path}{query}")).await;
            assert_eq!(pretty.json, plain.json);
            assert!(pretty.text.starts_with("{\n  \""), "{}", pretty.text);
            check_dress(&pretty, query);
        }
        for (accepted, zipped) in [
            ("gzip", true),
            ("gzip, deflate, br", true),
            ("*", false),
            ("gzip;q=0", false),
            ("identity", false),
            ("br", false),
        ] {
            // A small answer gains nothing.
            let zipped = zipped && plain.text.len() >= 1024;
            let request = admin
                .request(Method::GET, path)
                .header("accept-encoding", accepted);
            let response = request.send().await.unwrap();
            assert_eq!(
                response.headers().get("content-encoding").is_some(),
                zipped,
                "{accepted}"
            );
            assert_eq!(response.headers()["vary"], "Accept-Encoding");
            let bytes = response.bytes().await.unwrap();
            let mut text = String::new();
            if zipped {
                flate2::read::GzDecoder::new(&*bytes)
                    .read_to_string(&mut text)
                    .unwrap();
            } else {
                text = String::from_utf8(bytes.to_vec()).unwrap();
            }
            assert_eq!(text, plain.text, "{accepted}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn roles_that_may_be_given_are_those_that_permit_no_more(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let allowed = async |actor: &Actor| {
        let answer = actor.get("/v1/apitokens/generate/allowed-roles").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    };
    let all = json!({"roleNames": [
        "Admin", "Analyst", "Configuration Controller", "Continuous Integration", "Network Graph Viewer",
        "Sensor Creator", "Vulnerability Management Approver", "Vulnerability Management Requester",
        "Vulnerability Report Creator",
    ]});
    assert_eq!(allowed(&server.admin()).await, all);
    let reads = json!({"roleNames": ["Analyst", "Network Graph Viewer"]});
    assert_eq!(allowed(&server.analyst()).await, reads);
    let (token, _) = generate(&server.admin(), json!({"name": "n", "role": "Analyst"})).await;
    assert_eq!(allowed(&server.bearer(&token)).await, reads);
    add_role(&server, "all by name", &[("*", 1), ("Administration", 2)]);
    server
        .add_account("watcher", "some-password", "all by name")
        .await;
    let watcher = server.actor("watcher", "some-password");
    assert_eq!(
        allowed(&watcher).await,
        json!({"roleNames": ["Analyst", "Network Graph Viewer", "all by name"]})
    );
}

#[rstest]
#[actix_web::test]
async fn probes_say_that_it_works_and_who_asks(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let pong = server.anonymous().get("/v1/ping").await;
    assert_eq!(
        (pong.status, pong.text.as_str()),
        (200, r#"{"status":"ok"}"#)
    );
    check_dress(&pong, "ping");
    add_role(&server, "Puller", &[("Image", 1), ("Token", 2)]);
    server.add_account("alice", "some-password", "Puller").await;
    let alice = server
        .actor("alice", "some-password")
        .get("/v1/auth/status")
        .await;
    let permits = json!({"Image": "READ_ACCESS", "Token": "READ_WRITE_ACCESS"});
    assert_eq!(
        alice.json,
        json!({
            "userId": "alice", "expires": null, "refreshUrl": "", "authProvider": null,
            "userInfo": {
                "username": "alice", "friendlyName": "alice",
                "permissions": {"resourceToAccess": permits},
                "roles": [{"name": "Puller", "resourceToAccess": permits}],
            },
            "userAttributes": [], "idpToken": "",
        })
    );
    let (token, metadata) = generate(
        &server.admin(),
        json!({"name": "ci", "role": "Continuous Integration"}),
    )
    .await;
    let permits = json!({"Detection": "READ_ACCESS", "Image": "READ_WRITE_ACCESS", "Token": "READ_WRITE_ACCESS"});
    assert_eq!(
        server.bearer(&token).get("/v1/auth/status").await.json,
        json!({
            "userId": format!("auth-token:{}", metadata["id"].as_str().unwrap()),
            "expires": "2027-11-21T12:00:00Z", "refreshUrl": "", "authProvider": null,
            "userInfo": {
                "username": "admin", "friendlyName": "ci",
                "permissions": {"resourceToAccess": permits},
                "roles": [{"name": "Continuous Integration", "resourceToAccess": permits}],
            },
            "userAttributes": [], "idpToken": "",
        })
    );
}

/// The requests of the Ansible modules of `infra.rhacs_configuration`, in order.
#[rstest]
#[actix_web::test]
async fn the_ansible_module_keeps_one_token_of_a_name(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let wish = json!({"name": "ci", "roles": ["Continuous Integration"], "expiration": "2027-05-01T00:00:00.000Z"});
    let find = async || {
        let listed = admin.get("/v1/apitokens?revoked=False").await;
        let tokens = listed.json["tokens"].as_array().unwrap().clone();
        tokens.into_iter().find(|token| {
            token["name"] == "ci" && token["roles"] == json!(["Continuous Integration"])
        })
    };
    assert_eq!(find().await, None);
    let (first, made) = generate(&admin, wish.clone()).await;
    assert_eq!(find().await, Some(made.clone()));
    let request = admin
        .request(
            Method::PATCH,
            &format!("/v1/apitokens/revoke/{}", made["id"].as_str().unwrap()),
        )
        .header("content-type", "application/json");
    assert_eq!(admin.send(request).await.status, 200);
    assert_eq!(find().await, None);
    let (second, again) = generate(&admin, wish).await;
    assert_eq!(find().await, Some(again));
    assert_eq!(
        server.bearer(&first).get("/v1/auth/status").await.status,
        401
    );
    assert_eq!(
        server.bearer(&second).get("/v1/auth/status").await.status,
        200
    );
}

/// The requests of scripts with `curl -d`, of the load suite, and of the console when somebody revokes many at once.
#[rstest]
#[actix_web::test]
async fn scripts_and_the_console_get_what_they_expect(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let form = "application/x-www-form-urlencoded";
    let mut ids = Vec::new();
    for body in [
        r#"{"name": "curl", "role": "Admin"}"#,
        r#"{"name":"jenkins","role":null,"roles":["Continuous Integration"]}"#,
        r#"{"name":"ui","roles":["Analyst"],"expiration":"2027-01-31T23:00:00.000Z"}"#,
    ] {
        let request = admin
            .request(Method::POST, GENERATE)
            .header("content-type", form)
            .body(body);
        let answer = admin.send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.json.get("error").is_none());
        assert!(answer.json["token"].as_str().unwrap().starts_with("eyJ"));
        ids.push(answer.json["metadata"]["id"].as_str().unwrap().to_owned());
    }
    let revoke = async |id: &str| {
        let path = format!("/v1/apitokens/revoke/{id}");
        admin.send(admin.request(Method::PATCH, &path)).await.status
    };
    let (one, two, three) = tokio::join!(revoke(&ids[0]), revoke(&ids[1]), revoke(&ids[2]));
    assert_eq!([one, two, three], [200; 3]);
    let left = admin.get("/v1/apitokens").await.json;
    let left = left["tokens"].as_array().unwrap();
    assert!(
        left.iter().all(|token| token["revoked"] == true),
        "{left:?}"
    );
}

#[rstest]
#[actix_web::test]
async fn an_account_that_is_shut_out_looks_like_a_wrong_password(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server.add_account("bob", "some-password", "Admin").await;
    let bob = server.actor("bob", "some-password");
    assert_eq!(bob.get("/v1/auth/status").await.status, 200);
    server
        .service
        .account_commands()
        .set_status("bob".to_owned(), Status::Disabled)
        .await
        .unwrap();
    let wrong = server
        .actor("bob", "wrong-password")
        .get("/v1/auth/status")
        .await;
    let disabled = bob.get("/v1/auth/status").await;
    assert_eq!(
        (disabled.status, &disabled.json),
        (wrong.status, &wrong.json)
    );
    assert_eq!(disabled.status, 401);
}
