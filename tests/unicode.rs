//! Texts that look the same but are not the same bytes: passwords, names of accounts, and secrets in white space.

use reqwest::Method;
use rstest::rstest;
use serde_json::json;
use wharfinger::service::passwords;

use crate::harness::{Backend, Server};

/// An ö as macOS types it into files, and as most keyboards do.
const APART: &str = "correct ho\u{308}rse";
const COMPOSED: &str = "correct hörse";
const SERVICE: &str = "team-a.localhost";

#[rstest]
#[actix_web::test]
async fn a_password_opens_in_each_form_and_costs_one_check(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--failures-per-identity", "1000"]).await;
    let admin = server.admin();
    let statuses = async |name: &str| {
        let mut statuses = Vec::new();
        for password in [APART, COMPOSED, "correct\u{a0}hörse", "correct horse"] {
            let checks = server.service.password_checks();
            let answer = server.actor(name, password).get("/registries").await;
            assert_eq!(server.service.password_checks(), checks + 1, "{password:?}");
            statuses.push(answer.status);
        }
        statuses
    };
    for (name, password) in [("ann", APART), ("bob", COMPOSED)] {
        let properties = json!({"name": name, "password": password, "roles": ["Analyst"]});
        let answer = admin
            .post("/accounts", json!({"properties": properties}))
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(statuses(name).await, [200, 200, 200, 401]);
    }

    // An older release kept a hash of the password as it was sent. It opens with that alone.
    let id = admin.create_account("eve", &["Analyst"]).await;
    let hash = passwords::hash(&APART.to_owned().into(), 4, [7; 16]).unwrap();
    server.database.execute(&format!(
        "UPDATE accounts SET password_hash = '{hash}', password_form = NULL, version = version + 1 WHERE name = 'eve'"
    ));
    assert_eq!(statuses("eve").await, [200, 401, 401, 401]);
    // From the next change on, it opens in each form.
    let answer = admin
        .patch(&format!("/accounts/{id}"), json!({"password": COMPOSED}))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(statuses("eve").await, [200, 200, 200, 401]);
}

#[rstest]
#[actix_web::test]
async fn names_that_look_alike_are_the_same_or_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let create = async |name: &str| {
        let properties = json!({"name": name, "password": "right-password", "roles": ["Analyst"]});
        admin
            .post("/accounts", json!({"properties": properties}))
            .await
    };
    let opens = async |name: &str| {
        let actor = server.actor(name, "right-password");
        actor.get("/registries").await.status == 200
    };
    for hidden in [
        "ad\u{200b}min",
        "nimda\u{202e}",
        "\u{feff}admin",
        "a\u{ad}dmin",
    ] {
        let answer = create(hidden).await;
        assert_eq!(answer.status, 400, "{hidden:?}: {answer:?}");
        assert!(
            answer.message().contains("invisible character"),
            "{answer:?}"
        );
    }

    let made = create("JO\u{308}RG").await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json["properties"]["name"], "JÖRG");
    for same in ["jörg", "jo\u{308}rg", "JÖRG"] {
        assert_eq!(create(same).await.status, 409, "{same:?}");
        assert!(opens(same).await, "{same:?}");
    }
    assert!(!opens("jorg").await);

    // An older release kept a name as it was sent, under a key that knows the case of ASCII alone.
    admin.create_account("old", &["Analyst"]).await;
    server
        .database
        .execute("UPDATE accounts SET name = 'ÄNNE', name_key = 'Änne' WHERE name = 'old'");
    assert!(opens("ÄNNE").await && opens("Änne").await);
    assert!(!opens("änne").await);
    assert_eq!(create("änne").await.status, 409);
    let shown = server
        .service
        .account_commands()
        .show("ÄNNE".to_owned())
        .await;
    assert_eq!(shown.unwrap().0.name, "ÄNNE");
    // Both kinds beside each other: a name means the old account only where it is written as it always was.
    server.database.execute(
        "UPDATE accounts SET name = 'ÖDE', name_key = 'Öde' WHERE name = 'ÄNNE'; \
         UPDATE accounts SET name = 'öde', name_key = 'öde' WHERE name = 'JÖRG'",
    );
    let named = async |name: &str| {
        let shown = server
            .service
            .account_commands()
            .show(name.to_owned())
            .await;
        shown.unwrap().0.name
    };
    assert_eq!(named("ÖDE").await, "ÖDE");
    assert_eq!(named("öde").await, "öde");
}

#[rstest]
#[actix_web::test]
async fn guesses_under_one_name_count_together_however_it_is_written(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--failures-per-identity", "3"]).await;
    let mut statuses = Vec::new();
    for name in ["jörg", "JÖRG", "jo\u{308}rg", "JÖrg"] {
        let guess = server.actor(name, "wrong-password");
        statuses.push(guess.get("/registries").await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429]);
}

#[rstest]
#[actix_web::test]
async fn white_space_around_a_secret_is_cut_off_before_anything_is_counted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let limits = ["--failures-per-identity", "3", "--failures-per-source", "6"];
    let server = Server::start_with(backend, &limits).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let session = server.session(
        &server
            .sign_in("admin", crate::harness::ADMIN_PASSWORD)
            .await,
    );
    let made = session
        .post("/api/v1/user/apptoken", json!({"title": "laptop"}))
        .await;
    let code = made.json["token"]["token_code"].as_str().unwrap();
    let query = [("service", SERVICE)];
    for (before, after) in [("", "\n"), ("\u{2003} ", "\r\n"), ("", &" ".repeat(16))] {
        for (name, secret) in [("ci", token.secret.as_str()), ("$app", code)] {
            let around = format!("{before}{secret}{after}");
            let client = server.actor(name, &around);
            let by_basic = client.ask("/token", &query).await;
            assert_eq!(
                by_basic.status, 200,
                "{name} {before:?}{after:?}: {by_basic:?}"
            );
            let form = [
                ("grant_type", "password"),
                ("service", SERVICE),
                ("username", name),
                ("password", &around),
            ];
            let by_form = server.anonymous().form("/token", &form).await;
            assert_eq!(
                by_form.status, 200,
                "{name} {before:?}{after:?}: {by_form:?}"
            );
            let held_back = client
                .request(Method::GET, &format!("/v2/check?service={SERVICE}"))
                .header("x-original-method", "GET")
                .header("x-original-uri", "/v2/");
            let checked = client.send(held_back).await;
            assert_eq!(
                checked.status, 200,
                "{name} {before:?}{after:?}: {checked:?}"
            );
        }
    }
    // Nothing was counted: three failures are borne, and no more.
    let wide = server.actor("ci", &format!("{}{}", token.secret, " ".repeat(17)));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(wide.ask("/token", &query).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429]);

    // A password that would be such a secret is refused when it is set.
    for password in [
        format!("{} ", token.secret),
        format!("\u{a0}{}", token.secret),
    ] {
        let properties = json!({"name": "eve", "password": password, "roles": ["Analyst"]});
        let answer = admin
            .post("/accounts", json!({"properties": properties}))
            .await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer.message().contains("the form of a token"),
            "{answer:?}"
        );
    }
}
