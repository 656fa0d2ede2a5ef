//! The token endpoint: requests of registry clients, and the answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::rt::spawn;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use wharfinger::domain::account::NewPassword;
use wharfinger::domain::status::Status;
use wharfinger::service::account_rules::{IssuedTokens, LiveTokens};

use crate::harness::{
    ADMIN_PASSWORD, Actor, Answer, Backend, Database, Minted, Program, Server, WITHOUT_BACKGROUND,
    WITHOUT_REFRESH_TOKENS, claims, encoded,
};

const FORM: &str = "application/x-www-form-urlencoded";
const PATHS: [&str; 2] = ["/token", "/v2/auth"];
const SERVICE: &str = "team-a.localhost";
const CHALLENGE: &str = r#"Basic realm="wharfinger", charset="UTF-8""#;
/// When the clock of the tests stands still, in seconds since 1970.
const NOON: i64 = 1_795_262_400;

/// A server with one registry and one token in it.
struct Bench {
    server: Server,
    admin: Actor,
    registry: String,
    token: Minted,
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        Self::with(Server::start(backend).await).await
    }

    async fn with(server: Server) -> Self {
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let scopes = [
            "repository:team/*:pull,push",
            "repository:own:*",
            "repository:host:5000/a:pull",
            "registry:catalog:*",
            "backup:x:read",
        ];
        let token = admin.mint(&registry, "Ci-push", &scopes).await;
        Self {
            server,
            admin,
            registry,
            token,
        }
    }

    fn client(&self) -> Actor {
        self.server.client(&self.token)
    }

    async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.server.anonymous().form(path, fields).await
    }

    /// Logs in by a form as this token's or account's client.
    async fn login(&self, name: &str, secret: &str, more: &[(&str, &str)]) -> Answer {
        let mut fields = vec![
            ("grant_type", "password"),
            ("service", SERVICE),
            ("client_id", "test"),
            ("username", name),
            ("password", secret),
        ];
        fields.extend(more);
        self.form("/token", &fields).await
    }

    /// Logs in by a refresh token.
    async fn refresh(&self, path: &str, service: &str, token: &str) -> Answer {
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", "test"),
            ("refresh_token", token),
            ("scope", "repository:own:pull"),
        ];
        self.form(path, &fields).await
    }
}

/// An answer with everything that differs from run to run replaced, if it is as it must be, and the claims of its JWT.
fn read(answer: &Answer) -> (Value, Value) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let mut body = answer.json.clone();
    assert_eq!(body["token"], body["access_token"]);
    let mut claims = claims(body["token"].as_str().unwrap());
    body["token"] = "[jwt]".into();
    body["access_token"] = "[jwt]".into();
    if let Some(refresh) = body.get_mut("refresh_token") {
        let text = refresh.as_str().unwrap();
        assert!(text.starts_with("whrr_") && text.len() > 60, "{text}");
        *refresh = "[refresh]".into();
    }
    assert!(claims["jti"].as_str().unwrap().len() > 60, "{claims}");
    claims["jti"] = "[jti]".into();
    (body, claims)
}

fn refresh_token(answer: &Answer) -> String {
    answer.json["refresh_token"].as_str().unwrap().to_owned()
}

/// The grant in the notation of requested scopes.
fn granted(answer: &Answer) -> String {
    let (_, claims) = read(answer);
    let texts: Vec<_> = claims["access"]
        .as_array()
        .unwrap()
        .iter()
        .map(|access| {
            assert_eq!(access.as_object().unwrap().len(), 3, "{access}");
            let actions = access["actions"].as_array().unwrap().iter();
            let actions: Vec<_> = actions.map(|action| action.as_str().unwrap()).collect();
            format!(
                "{}:{}:{}",
                access["type"].as_str().unwrap(),
                access["name"].as_str().unwrap(),
                actions.join(",")
            )
        })
        .collect();
    texts.join(" ")
}

fn unauthorized(what: &str, answer: &Answer) {
    answer.refused(what, 401, "UNAUTHORIZED", None);
    assert_eq!(answer.header("www-authenticate"), CHALLENGE, "{what}");
}

#[rstest]
#[actix_web::test]
async fn answers_are_what_old_and_new_clients_read(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("/token", "/v2/auth")] path: &str,
) {
    let bench = Bench::new(backend).await;
    let said = |access: Value| {
        json!({"iss": "wharfinger", "sub": "Ci-push", "aud": SERVICE, "exp": NOON + 300, "nbf": NOON - 30,
            "iat": NOON - 30, "jti": "[jti]", "access": access})
    };
    let team = json!([{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}]);
    let common = json!({"token": "[jwt]", "access_token": "[jwt]", "expires_in": 300, "issued_at": "2026-11-21T12:00:00Z"});
    let with = |more: &[(&str, &str)]| {
        let mut body = common.clone();
        for (name, value) in more {
            body[*name] = (*value).into();
        }
        body
    };

    // Docker's question after a challenge, and its login.
    let asked = [
        ("service", SERVICE),
        ("scope", "repository:team/app:pull,push"),
        ("account", "ci-push"),
    ];
    let answer = bench.client().ask(path, &asked).await;
    assert_eq!(read(&answer), (with(&[]), said(team.clone())));
    let login = [
        ("account", "Ci-push"),
        ("client_id", "docker"),
        ("offline_token", "true"),
        ("service", SERVICE),
    ];
    let answer = bench.client().ask(path, &login).await;
    let offline = with(&[("refresh_token", "[refresh]")]);
    assert_eq!(read(&answer), (offline, said(json!([]))));
    for other in ["false", "1", "", "TRUE"] {
        let asked = [("service", SERVICE), ("offline_token", other)];
        let answer = bench.client().ask(path, &asked).await;
        assert_eq!(read(&answer).0, common, "{other}");
    }

    // containerd's form.
    let mut fields = vec![
        ("grant_type", "password"),
        ("service", SERVICE),
        ("client_id", "containerd-client"),
        ("username", "Ci-push"),
        ("password", &bench.token.secret),
    ];
    let answer = bench.form(path, &fields).await;
    assert_eq!(
        read(&answer),
        (with(&[("scope", "")]), said(json!([]))),
        "a login has an empty scope, which POST must name"
    );
    fields.push(("scope", "repository:team/app:pull,push"));
    let scope = ("scope", "repository:team/app:pull,push");
    let answer = bench.form(path, &fields).await;
    assert_eq!(read(&answer), (with(&[scope]), said(team.clone())));
    fields.push(("access_type", "offline"));
    let answer = bench.form(path, &fields).await;
    let body = with(&[scope, ("refresh_token", "[refresh]")]);
    assert_eq!(read(&answer), (body.clone(), said(team.clone())));
    fields.pop();
    fields.extend([("access_type", "online"), ("offline_token", "true")]);
    let answer = bench.form(path, &fields).await;
    assert_eq!(read(&answer).0, with(&[scope]));

    // The media type may carry a charset. The client's id is required of clients, not by us.
    let request = bench
        .server
        .anonymous()
        .request(Method::POST, path)
        .header(
            "content-type",
            "Application/X-WWW-Form-URLencoded; charset=utf-8",
        )
        .body(encoded(&[
            ("grant_type", "password"),
            ("service", SERVICE),
            ("username", "Ci-push"),
            ("password", &bench.token.secret),
            ("access_type", "offline"),
        ]));
    let answer = bench.admin.send(request).await;
    assert_eq!(
        read(&answer).0,
        with(&[("scope", ""), ("refresh_token", "[refresh]")])
    );

    // And with the refresh token in place of the password, from which another one can be asked for.
    let refresh = refresh_token(&answer);
    let mut fields = vec![
        ("grant_type", "refresh_token"),
        ("service", SERVICE),
        ("client_id", "docker"),
        ("refresh_token", &refresh),
        scope,
    ];
    let answer = bench.form(path, &fields).await;
    assert_eq!(read(&answer), (with(&[scope]), said(team.clone())));
    fields.push(("access_type", "offline"));
    let answer = bench.form(path, &fields).await;
    assert_eq!(read(&answer), (body, said(team)));

    // No two of anything are alike.
    let again = bench.client().ask(path, &login).await;
    let id = |answer: &Answer| claims(answer.json["token"].as_str().unwrap())["jti"].clone();
    assert_ne!(id(&again), id(&answer));
    assert_ne!(refresh_token(&again), refresh_token(&answer));
}

#[rstest]
#[actix_web::test]
async fn what_is_granted_is_what_was_asked_for_and_is_allowed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let cases: [(&[&str], &str); 26] = [
        (&[], ""),
        (&[""], ""),
        (&["  "], ""),
        (&["repository:team/a:pull"], "repository:team/a:pull"),
        (
            &["repository:team/a:push,pull"],
            "repository:team/a:pull,push",
        ),
        (
            &["repository:team/a:pull,push,delete"],
            "repository:team/a:pull,push",
        ),
        (&["repository:team/a:*"], "repository:team/a:pull,push"),
        (&["repository:team/a:delete"], ""),
        (&["repository:own:*"], "repository:own:pull,push,delete"),
        (&["repository:own:pull,pull,,"], "repository:own:pull"),
        (&["repository:own:read,pull"], "repository:own:pull"),
        (&["repository:own:"], ""),
        (&["repository:other:pull"], ""),
        (
            &[
                "repository:team:pull",
                "repository:team-x/a:pull",
                "repository:team/a/b:pull",
            ],
            "",
        ),
        (&["repository:*:pull"], ""),
        // Several, by spaces and by repetition; those of one name are one.
        (
            &[
                "repository:team/a:pull  repository:own:delete ",
                "registry:catalog:*",
            ],
            "repository:team/a:pull repository:own:delete registry:catalog:*",
        ),
        (
            &[
                "repository:own:pull",
                "repository:x:pull",
                "repository:own:delete,pull",
            ],
            "repository:own:pull,delete",
        ),
        (
            &["repository:team/b:pull repository:team/a:pull"],
            "repository:team/b:pull repository:team/a:pull",
        ),
        (
            &["repository:host:5000/a:pull,push"],
            "repository:host:5000/a:pull",
        ),
        (&["repository(plugin):own:pull"], "repository:own:pull"),
        // The catalog, as Distribution asks and as zot does.
        (&["registry:catalog:*"], "registry:catalog:*"),
        (&["registry:catalog:pull"], ""),
        (&["registry:other:*"], ""),
        (&["repository::pull"], "repository::pull"),
        (&["repository::pull,push"], "repository::pull"),
        (&["backup:x:read"], ""),
    ];
    let bare = bench
        .admin
        .mint(&bench.registry, "bare", &["repository:own:*"])
        .await;
    for (scopes, expected) in cases {
        let mut asked: Vec<_> = scopes.iter().map(|scope| ("scope", *scope)).collect();
        asked.push(("service", SERVICE));
        let answer = bench.client().ask("/token", &asked).await;
        assert_eq!(granted(&answer), expected, "GET {scopes:?}");
        assert_eq!(answer.json.get("scope"), None);
        let more = [("scope", scopes.join(" "))];
        let more: Vec<_> = more.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let (name, secret) = (&bench.token.name, &bench.token.secret);
        let answer = bench.login(name, secret, &more).await;
        assert_eq!(granted(&answer), expected, "POST {scopes:?}");
        assert_eq!(answer.json["scope"], expected, "POST {scopes:?}");
        // Every repository is not the catalog.
        let answer = bench.server.client(&bare).ask("/token", &asked).await;
        assert!(!granted(&answer).contains("catalog"));
        assert!(!granted(&answer).contains("::"));
    }
    // The token's current scopes count.
    let none = json!({"scopes": []});
    assert_eq!(bench.admin.patch(&bench.token.path, none).await.status, 200);
    let asked = [("service", SERVICE), ("scope", "repository:own:pull")];
    assert_eq!(granted(&bench.client().ask("/token", &asked).await), "");
}

#[rstest]
#[actix_web::test]
async fn accounts_get_what_their_roles_allow(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let all = "repository:any/thing:pull,push,delete registry:catalog:* repository::pull";
    for (name, password, expected) in [
        ("admin", ADMIN_PASSWORD, all),
        ("ADMIN", ADMIN_PASSWORD, all),
        ("analyst@example.com", "analyst:pässword", ""),
    ] {
        let asked = [("service", SERVICE), ("scope", all)];
        let answer = bench
            .server
            .actor(name, password)
            .ask("/token", &asked)
            .await;
        assert_eq!(granted(&answer), expected, "{name}");
        assert_eq!(read(&answer).1["sub"], name.to_lowercase());
        let answer = bench.login(name, password, &[("scope", all)]).await;
        assert_eq!(granted(&answer), expected, "{name}");
        assert_eq!(answer.json["scope"], expected);
    }
}

impl Bench {
    /// The answer without credentials.
    async fn told_to_nobody(&self) -> Answer {
        let nobody = self.server.anonymous();
        let told = nobody.ask("/token", &[("service", SERVICE)]).await;
        unauthorized("none", &told);
        told
    }

    /// Checks that these credentials get the same answer as no credentials.
    async fn opens_nothing(&self, what: &str, name: &str, secret: &str) {
        let expected = self.told_to_nobody().await.text;
        for scope in ["", "repository:own:pull"] {
            let query = [("service", SERVICE), ("scope", scope)];
            for path in PATHS {
                let answer = self.server.actor(name, secret).ask(path, &query).await;
                unauthorized(what, &answer);
                assert_eq!(answer.text, expected, "{what}");
            }
            let answer = self.login(name, secret, &[("scope", scope)]).await;
            unauthorized(what, &answer);
            assert_eq!(answer.text, expected, "{what}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn credentials_that_open_nothing_all_look_alike(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let other = bench.admin.create_registry("team-b").await;
    let namesake = bench
        .admin
        .mint(&other, "Ci-push", &["repository:own:*"])
        .await;
    let neighbour = bench.admin.mint(&bench.registry, "neighbour", &[]).await;
    let secret = bench.token.secret.as_str();
    let mut mistyped = secret.to_owned();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'a' { 'b' } else { 'a' });
    let white = format!("{secret}{}", " ".repeat(17));
    let own = "Ci-push";
    for (what, name, secret) in [
        ("of a neighbour", own, neighbour.secret.as_str()),
        ("of a namesake elsewhere", own, &namesake.secret),
        ("mistyped", own, &mistyped),
        ("in small letters", own, &secret.to_lowercase()),
        ("with more white space than is cut off", own, &white),
        ("none", own, " "),
        ("an account's password", own, ADMIN_PASSWORD),
        ("for an unknown name", "nobody", secret),
        ("for an odd name", "ci-push\0", secret),
        ("for a name with a blank", "Ci-push ", secret),
        ("for a long name", &"a".repeat(2000), secret),
        ("for an account", "admin", secret),
        ("of the admin, wrong", "admin", "guessed-password"),
        ("of nobody", "nobody@example.com", "guessed-password"),
    ] {
        bench.opens_nothing(what, name, secret).await;
    }
}

#[rstest]
#[actix_web::test]
async fn credentials_that_opened_something_once_look_like_those_that_never_did(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, admin, registry) = (&bench.server, &bench.admin, &bench.registry);
    let make = |name: &str| json!({"name": name, "expiryDate": "2026-11-21T13:00:00Z"});
    let expired = admin.mint_with(registry, make("expired")).await;
    let disabled = admin
        .mint_with(registry, json!({"name": "disabled", "status": "disabled"}))
        .await;
    let deleted = admin.mint(registry, "deleted", &[]).await;
    assert_eq!(admin.delete(&deleted.path).await.status, 204);
    let recreated = admin.mint(registry, "recreated", &[]).await;
    assert_eq!(admin.delete(&recreated.path).await.status, 204);
    let body = json!({"properties": {"name": "recreated"}});
    assert_eq!(admin.put(&recreated.path, body).await.status, 201);
    server
        .add_account("gone@example.com", "gone-password", "Admin")
        .await;
    server
        .add_account("off@example.com", "off-password", "Admin")
        .await;
    let accounts = server.service.account_commands();
    accounts
        .delete("gone@example.com".to_owned(), LiveTokens::Refuse)
        .await
        .unwrap();
    let off = "off@example.com".to_owned();
    accounts.set_status(off, Status::Disabled).await.unwrap();
    server.clock.advance(TimeDelta::hours(1));
    for (what, name, secret) in [
        ("expired", "expired", expired.secret.as_str()),
        ("disabled", "disabled", &disabled.secret),
        ("deleted", "deleted", &deleted.secret),
        ("deleted and recreated", "recreated", &recreated.secret),
        ("of a deleted account", "gone@example.com", "gone-password"),
        ("of a disabled account", "off@example.com", "off-password"),
    ] {
        bench.opens_nothing(what, name, secret).await;
    }
}

#[rstest]
#[actix_web::test]
async fn headers_that_are_no_credentials_look_like_none(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, admin) = (&bench.server, &bench.admin);
    let expected = bench.told_to_nobody().await;
    // These are no HTTP Basic at all.
    for header in [
        "Basic",
        "Basic Y2k6",
        "Basic ====",
        "Bearer x",
        "Digest username=\"Ci-push\"",
        "",
        " ",
        &format!("Basic {}", "A".repeat(9000)),
    ] {
        let request = server
            .anonymous()
            .request(Method::GET, &format!("/token?service={SERVICE}"))
            .header("authorization", header);
        let answer = admin.send(request).await;
        unauthorized(header, &answer);
        assert_eq!(answer.text, expected.text, "{header:?}");
    }
    // Two headers may name two clients.
    let request = bench
        .client()
        .request(Method::GET, &format!("/token?service={SERVICE}"))
        .header("authorization", "Basic Y2k6");
    unauthorized("two headers", &admin.send(request).await);
}

/// And shown as it was given.
#[rstest]
#[actix_web::test]
async fn a_tokens_name_is_compared_without_case(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (server, secret) = (&bench.server, bench.token.secret.as_str());
    for name in ["Ci-push", "ci-push", "CI-PUSH"] {
        let query = [("service", SERVICE)];
        let answer = server.actor(name, secret).ask("/token", &query).await;
        assert_eq!(read(&answer).1["sub"], "Ci-push");
    }
}

#[rstest]
#[actix_web::test]
async fn a_deleted_registry_takes_its_tokens_along(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (admin, registry) = (&bench.admin, &bench.registry);
    let expected = bench.told_to_nobody().await;
    let path = format!("/registries/{registry}");
    assert_eq!(admin.delete(&path).await.status, 204);
    let gone = bench.client().ask("/token", &[("service", SERVICE)]).await;
    gone.refused("deleted registry", 400, "UNSUPPORTED", Some("service"));
    let body = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    assert_eq!(admin.put(&path, body).await.status, 201);
    let answer = bench.client().ask("/token", &[("service", SERVICE)]).await;
    unauthorized("a namesake of the registry", &answer);
    assert_eq!(answer.text, expected.text);
}

impl Bench {
    /// The fields of a good form.
    fn good_form(&self) -> [(&'static str, &str); 7] {
        [
            ("grant_type", "password"),
            ("service", SERVICE),
            ("client_id", "test"),
            ("username", &self.token.name),
            ("password", &self.token.secret),
            ("access_type", "online"),
            ("scope", "repository:own:pull"),
        ]
    }

    /// Asks in a query and in a form, on both paths, and checks that the error names this parameter.
    async fn refused_for(&self, parameter: &str, pairs: &[(&str, &str)]) {
        let what = format!("{pairs:?}");
        let login = [
            ("grant_type", "password"),
            ("username", self.token.name.as_str()),
            ("password", &self.token.secret),
        ];
        let form = [&login, pairs].concat();
        for path in PATHS {
            let answer = self.client().ask(path, pairs).await;
            answer.refused(&what, 400, "UNSUPPORTED", Some(parameter));
            let answer = self.form(path, &form).await;
            answer.refused(&what, 400, "UNSUPPORTED", Some(parameter));
        }
    }
}

/// 64 KiB and a byte, in scopes that are good one by one.
fn large_scope() -> String {
    let large = "repository:own:pull ".repeat(3276) + &" ".repeat(17);
    assert_eq!(large.len(), 64 * 1024 + 1);
    large
}

fn scopes_of(count: usize) -> String {
    let scopes: Vec<_> = (0..count)
        .map(|n| format!("repository:r{n}:pull"))
        .collect();
    scopes.join(" ")
}

#[rstest]
#[actix_web::test]
async fn questions_for_no_service_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let twice = [("service", SERVICE), ("service", SERVICE)];
    for pairs in [&[][..], &[("service", "")], &twice] {
        bench.refused_for("service", pairs).await;
    }
    for wrong in [
        "team-b.localhost",
        "team-a",
        "team-a.",
        "team-a.localhost.",
        "TEAM-A.localhost",
        "team-a.localhost:5000",
        "x.team-a.localhost",
        ".localhost",
        "localhost",
        "team-a.localhost\0",
        "\0.localhost",
        "é.localhost",
        "%.localhost",
    ] {
        bench.refused_for("service", &[("service", wrong)]).await;
    }
}

#[rstest]
#[actix_web::test]
async fn questions_that_make_no_sense_are_refused_with_the_parameter(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let pairs = [("service", SERVICE), ("scope", &scopes_of(101))];
    bench.refused_for("scope", &pairs).await;
    let large = large_scope();
    for path in PATHS {
        let mut form = bench.good_form().to_vec();
        form.push(("scope", &large));
        let answer = bench.form(path, &form).await;
        answer.refused("too long", 400, "UNSUPPORTED", Some("scope"));
    }
    let twice = [
        ("service", SERVICE),
        ("offline_token", "true"),
        ("offline_token", "true"),
    ];
    for path in PATHS {
        let answer = bench.client().ask(path, &twice).await;
        answer.refused("twice", 400, "UNSUPPORTED", Some("offline_token"));
    }
}

#[rstest]
#[actix_web::test]
async fn forms_without_a_field_or_with_one_twice_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let good = bench.good_form();
    let secret = bench.token.secret.as_str();
    for left_out in ["grant_type", "service", "username", "password"] {
        let fields: Vec<_> = good
            .iter()
            .copied()
            .filter(|(n, _)| *n != left_out)
            .collect();
        let answer = bench.form("/token", &fields).await;
        let message = answer.refused(left_out, 400, "UNSUPPORTED", Some(left_out));
        assert!(message.contains("is missing"), "{message}");
        let mut empty = fields.clone();
        empty.push((left_out, ""));
        let answer = bench.form("/token", &empty).await;
        answer.refused(left_out, 400, "UNSUPPORTED", Some(left_out));
    }
    for (doubled, value) in good {
        let mut fields = good.to_vec();
        fields.push((doubled, value));
        let answer = bench.form("/token", &fields).await;
        if matches!(doubled, "scope" | "client_id") {
            assert_eq!(granted(&answer), "repository:own:pull", "{doubled}");
        } else {
            let message = answer.refused(doubled, 400, "UNSUPPORTED", Some(doubled));
            assert!(message.contains("twice") && !message.contains(secret));
        }
    }
}

#[rstest]
#[actix_web::test]
async fn forms_for_another_grant_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let good = bench.good_form();
    for wrong in [
        "client_credentials",
        "Password",
        "authorization_code",
        "refresh-token",
        "\u{1b}[31m",
    ] {
        let mut fields = good.to_vec();
        fields[0].1 = wrong;
        let answer = bench.form("/token", &fields).await;
        answer.refused(wrong, 400, "UNSUPPORTED", Some("grant_type"));
    }
    let fields = [("grant_type", "refresh_token"), ("service", SERVICE)];
    let answer = bench.form("/token", &fields).await;
    answer.refused(
        "no refresh token",
        400,
        "UNSUPPORTED",
        Some("refresh_token"),
    );
}

/// A client may ask for scopes that only another product knows, and still gets the scopes that this product knows.
#[rstest]
#[actix_web::test]
async fn a_scope_that_cannot_be_read_is_dropped_and_the_others_are_granted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let long = format!("repository:{}:pull", "x".repeat(257));
    for wrong in [
        "*",
        "repository",
        "repository:own",
        ":own:pull",
        "Repository:own:pull",
        "repository:own:PULL",
        "repository:own:push;pull",
        "repository:own:push\0",
        "repository:ö:pull",
        "repository:o\0n:pull",
        "repository:own:push\nrepository:own:push",
        "repository():own:push",
        "repository:own:**",
        "aws.cognito.signin.user.admin",
        &long,
    ] {
        let beside = format!("{wrong} repository:own:pull {wrong}");
        for (scope, expected) in [(wrong, ""), (beside.as_str(), "repository:own:pull")] {
            let query = [("service", SERVICE), ("scope", scope)];
            let answer = bench.client().ask("/token", &query).await;
            assert_eq!(granted(&answer), expected, "{scope:?}");
            let form = [("scope", scope)];
            let answer = bench
                .login(&bench.token.name, &bench.token.secret, &form)
                .await;
            assert_eq!(granted(&answer), expected, "{scope:?}");
        }
    }
}

/// Nor are 400 copies of one, or of two, or a name of 256 bytes.
#[rstest]
#[actix_web::test]
async fn a_hundred_scopes_are_not_too_many(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let name = format!("repository:{}:pull", "x".repeat(256));
    let long = format!("repository:own/{}:pull ", "x".repeat(100)).repeat(400);
    for scope in [scopes_of(100), scopes_of(2).repeat(200), name, long] {
        let asked = [("service", SERVICE), ("scope", scope.as_str())];
        assert_eq!(bench.client().ask("/token", &asked).await.status, 200);
    }
    // A URL has at most 64 KiB in all, a form more.
    let large = &large_scope()[..64 * 1024];
    let form = [("scope", large)];
    let answer = bench
        .login(&bench.token.name, &bench.token.secret, &form)
        .await;
    assert_eq!(granted(&answer), "repository:own:pull");
}

impl Bench {
    /// A good form, in full.
    fn good_body(&self) -> String {
        encoded(&[
            ("grant_type", "password"),
            ("service", SERVICE),
            ("username", &self.token.name),
            ("password", &self.token.secret),
        ])
    }

    async fn send(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = self.server.anonymous().request(Method::POST, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.admin.send(request.body(body)).await
    }

    /// The head of a form, but for the line that says how long it is.
    fn head(&self, path: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {FORM}\r\nConnection: close\r\n",
            self.server.address
        )
    }
}

/// The form, made as long as this.
fn filled(form: &str, length: usize) -> String {
    let mut body = format!("{form}&x=");
    body.push_str(&"x".repeat(length - body.len()));
    body
}

#[rstest]
#[actix_web::test]
async fn bodies_that_are_no_form_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let form = bench.good_body();
    for path in PATHS {
        for sent in [
            "application/json",
            "multipart/form-data; boundary=x",
            "text/plain",
            "application/x-www-form-urlencodedx",
            "x-www-form-urlencoded",
            "",
            "*/*",
        ] {
            let answer = bench
                .send(path, &[("content-type", sent)], form.clone().into())
                .await;
            answer.refused(sent, 415, "UNSUPPORTED", None);
        }
        let answer = bench.send(path, &[], form.clone().into()).await;
        answer.refused("no type", 415, "UNSUPPORTED", None);
        for encoding in ["gzip", "br", "identity, gzip", "x"] {
            let headers = [("content-type", FORM), ("content-encoding", encoding)];
            let answer = bench.send(path, &headers, form.clone().into()).await;
            answer.refused(encoding, 415, "UNSUPPORTED", None);
        }
        let headers = [("content-type", FORM), ("content-encoding", "identity")];
        assert_eq!(
            bench.send(path, &headers, form.clone().into()).await.status,
            200
        );
        for body in [
            vec![],
            b"\0".to_vec(),
            b"\xff\xfe=%ff".to_vec(),
            b"{}".to_vec(),
            b"&&&==&=".to_vec(),
            b"&".repeat(60_000),
        ] {
            let answer = bench.send(path, &[("content-type", FORM)], body).await;
            answer.refused("nonsense", 400, "UNSUPPORTED", Some("grant_type"));
        }
    }
}

#[rstest]
#[actix_web::test]
async fn forms_that_are_too_large_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let form = bench.good_body();
    for path in PATHS {
        // As large as it may be, and a byte more; a megabyte, announced or not.
        let answer = bench
            .send(
                path,
                &[("content-type", FORM)],
                filled(&form, 256 * 1024).into(),
            )
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for length in [256 * 1024 + 1, 1024 * 1024] {
            let answer = bench
                .send(
                    path,
                    &[("content-type", FORM)],
                    filled(&form, length).into(),
                )
                .await;
            answer.refused("too large", 413, "SIZE_INVALID", None);
        }
        let head = bench.head(path);
        let large = filled(&form, 1024 * 1024);
        let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        for (sent, body) in [
            ("Content-Length: 1048576", ""),
            ("Content-Length: 9223372036854775807", ""),
            ("Transfer-Encoding: chunked", chunked.as_str()),
        ] {
            let answer = bench
                .server
                .raw(format!("{head}{sent}\r\n\r\n{body}").as_bytes());
            answer.refused(sent, 413, "SIZE_INVALID", None);
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_form_that_never_arrives_is_told_so(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--body-timeout", "2s"]).await;
    let bench = Bench::with(server).await;
    let form = bench.good_body();
    for path in PATHS {
        let (head, length) = (bench.head(path), form.len());
        let half = format!("{head}Content-Length: {length}\r\n\r\n{}", &form[..20]);
        let answer = bench.server.raw(half.as_bytes());
        answer.refused("half a body", 408, "UNSUPPORTED", None);
    }
}

#[rstest]
#[actix_web::test]
async fn nothing_is_answered_with_403_since_containerd_would_give_up(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let fields = [
        ("grant_type", "password"),
        ("service", SERVICE),
        ("username", &bench.token.name),
        ("password", &bench.token.secret),
    ];
    for path in PATHS {
        for (name, value) in [
            ("origin", "https://evil.example.com"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let request = bench
                .server
                .anonymous()
                .request(Method::POST, path)
                .header("content-type", FORM)
                .header(name, value)
                .body(encoded(&fields));
            let answer = bench.admin.send(request).await;
            answer.refused(value, 400, "DENIED", None);
        }
        let own = format!("http://{}", bench.server.address);
        let request = bench
            .server
            .anonymous()
            .request(Method::POST, path)
            .header("content-type", FORM)
            .header("origin", own)
            .body(encoded(&fields));
        assert_eq!(bench.admin.send(request).await.status, 200);
        // Reading is harmless: without CORS the page does not see the answer.
        let request = bench
            .client()
            .request(Method::GET, &format!("{path}?service={SERVICE}"))
            .header("origin", "https://evil.example.com");
        let answer = bench.admin.send(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}

#[rstest]
#[actix_web::test]
async fn paths_and_methods_that_do_not_exist_are_told_in_the_shape_of_registries(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = &bench.admin;
    let unknown = [
        "/v2",
        "/v2/",
        "/v2/auth/",
        "/v2/auth/x",
        "/v2/token",
        "/v2/team/app/manifests/latest",
        "/v2/_catalog",
        "/v2/checks",
        "/v2/check/",
        "/v2/check/team-a.localhost",
        "/token/",
        "/token/x",
        "/v2/%00",
    ];
    for path in unknown {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let what = format!("{method} {path}");
            let answer = admin.send(admin.request(method, path)).await;
            answer.refused(&what, 404, "UNSUPPORTED", None);
        }
    }
    for path in PATHS {
        for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"] {
            let request = admin.request(method.parse().unwrap(), path);
            let answer = admin.send(request).await;
            assert_eq!(answer.header("allow"), "GET, HEAD, POST", "{method} {path}");
            let message = answer.refused(method, 405, "UNSUPPORTED", None);
            assert!(message.contains(method), "{message}");
        }
    }
    // Neighbours keep their own dialect.
    for path in ["/tokenx", "/v2x", "/v3/auth"] {
        assert_eq!(admin.get(path).await.codes(), ["path-not-found"], "{path}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_jwt_never_outlives_its_token(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let properties = json!({"name": "short", "expiryDate": "2026-11-21T12:10:00.75Z"});
    let token = bench.admin.mint_with(&bench.registry, properties).await;
    let end = NOON + 600;
    let ask = async || {
        let query = [("service", SERVICE), ("offline_token", "true")];
        bench.server.client(&token).ask("/token", &query).await
    };
    let refresh = refresh_token(&ask().await);
    // Milliseconds since noon, and the seconds that a JWT then lasts.
    for (at, lasts) in [
        (0, 300),
        (1, 300),
        (299_999, 300),
        (300_000, 300),
        (300_999, 300),
        (301_000, 299),
        (590_500, 10),
        (599_999, 1),
    ] {
        let now = NOON * 1000 + at;
        let moved =
            now * 1000 - wharfinger::clock::Clock::now(&*bench.server.clock).timestamp_micros();
        bench.server.clock.advance(TimeDelta::microseconds(moved));
        let by_refresh = bench.refresh("/token", SERVICE, &refresh).await;
        for answer in [ask().await, by_refresh] {
            let (body, claims) = read(&answer);
            assert_eq!(body["expires_in"], lasts, "{at}");
            let issued = now / 1000;
            assert_eq!(claims["exp"], issued + lasts, "{at}");
            assert!(claims["exp"].as_i64().unwrap() <= end, "{at}");
            assert_eq!(claims["iat"], issued - 30);
            assert_eq!(claims["nbf"], issued - 30);
            let said = chrono::DateTime::from_timestamp(issued, 0).unwrap();
            let said = said.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            assert_eq!(body["issued_at"], said);
        }
    }
    // In the last fraction of a second a JWT would last for none.
    for moved in [1, 749, 1] {
        bench.server.clock.advance(TimeDelta::milliseconds(moved));
        unauthorized("ended", &ask().await);
        let answer = bench.refresh("/token", SERVICE, &refresh).await;
        unauthorized("ended", &answer);
    }
    // Given more time it goes on, the refresh token too.
    let body = json!({"expiryDate": "2026-11-22T12:00:00Z"});
    assert_eq!(bench.admin.patch(&token.path, body).await.status, 200);
    assert_eq!(read(&ask().await).0["expires_in"], 300);
    let answer = bench.refresh("/token", SERVICE, &refresh).await;
    assert_eq!(answer.status, 200);
}

#[rstest]
#[actix_web::test]
async fn the_life_of_jwts_and_the_name_of_the_issuer_are_settings() {
    let flags = [
        "--jwt-life",
        "1h",
        "--jwt-issuer",
        "Prüfer \"eins\"",
        "--registry-domain",
        "cr.example.com",
    ];
    let server = Server::start_with(Backend::Sqlite, &flags).await;
    let bench = Bench::with(server).await;
    let query = [("service", "team-a.cr.example.com")];
    let (body, claims) = read(&bench.client().ask("/token", &query).await);
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(claims["exp"], NOON + 3600);
    assert_eq!(claims["iss"], "Prüfer \"eins\"");
    assert_eq!(claims["aud"], "team-a.cr.example.com");
    let answer = bench.client().ask("/token", &[("service", SERVICE)]).await;
    let message = answer.refused("default domain", 400, "UNSUPPORTED", Some("service"));
    assert!(message.contains("cr.example.com"), "{message}");
}

/// A server and another one on its database.
struct Replicas {
    bench: Bench,
    replica: Server,
}

impl Replicas {
    async fn new(backend: Backend) -> Self {
        let bench = Bench::new(backend).await;
        let replica = bench.server.replica().await;
        Self { bench, replica }
    }

    /// Signs in for a refresh token.
    async fn login(&self, name: &str, secret: &str) -> String {
        let offline = [("access_type", "offline")];
        refresh_token(&self.bench.login(name, secret, &offline).await)
    }

    /// Does a refresh token give something? All say the same.
    async fn works(&self, token: &str) -> bool {
        let mut granted_by = Vec::new();
        for path in PATHS {
            for by in [&self.bench.server, &self.replica] {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("service", SERVICE),
                    ("refresh_token", token),
                    ("scope", "repository:own:pull"),
                ];
                let answer = by.anonymous().form(path, &fields).await;
                if answer.status != 200 {
                    unauthorized("a dead refresh token", &answer);
                }
                granted_by.push(answer.status == 200);
            }
        }
        assert!(granted_by.windows(2).all(|pair| pair[0] == pair[1]));
        granted_by[0]
    }
}

#[rstest]
#[actix_web::test]
async fn refresh_tokens_end_with_what_they_were_made_by(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let two = Replicas::new(backend).await;
    let (bench, admin) = (&two.bench, &two.bench.admin);
    let (name, secret) = (bench.token.name.as_str(), bench.token.secret.as_str());
    let refresh = two.login(name, secret).await;
    assert!(two.works(&refresh).await);
    admin.create_registry("team-b").await;
    let answer = bench.refresh("/token", "team-b.localhost", &refresh).await;
    unauthorized("of another registry", &answer);

    // Disabling ends it for good, though not the secret.
    for state in ["disabled", "enabled"] {
        let body = json!({ "status": state });
        assert_eq!(admin.patch(&bench.token.path, body).await.status, 200);
        assert!(!two.works(&refresh).await, "{state}");
    }
    let refresh = two.login(name, secret).await;
    assert!(two.works(&refresh).await);
    for state in ["disabled", "enabled"] {
        let body = json!({"properties": {"name": name, "status": state}});
        assert_eq!(admin.put(&bench.token.path, body).await.status, 200);
        assert!(!two.works(&refresh).await, "{state}");
    }
    // It rests on the hash of the secret and on the id beside it, and not on numbers, which change with a restore.
    let refresh = two.login(name, secret).await;
    for column in ["secret_digest", "refresh_id"] {
        for (change, works) in [
            ("previous_digest = {}, {} = created_by", false),
            ("{} = previous_digest, previous_digest = NULL", true),
        ] {
            let change = format!("UPDATE tokens SET {}", change.replace("{}", column));
            bench.server.database.execute(&change);
            assert_eq!(two.works(&refresh).await, works, "{change}");
        }
    }
    let number = "UPDATE tokens SET secret_version = secret_version + 1, version = version + 1";
    bench.server.database.execute(number);
    assert!(two.works(&refresh).await);
    // A token of a release before has no such id.
    bench
        .server
        .database
        .execute("UPDATE tokens SET refresh_id = NULL");
    assert!(!two.works(&refresh).await);
    let refresh = two.login(name, secret).await;
    assert!(two.works(&refresh).await);
    // Replacing gives no new secret and ends nothing.
    let body = json!({"properties": {"name": name, "expiryDate": "2026-11-21T13:00:00Z"}});
    assert_eq!(admin.put(&bench.token.path, body).await.status, 200);
    assert!(two.works(&refresh).await);
    // The token's current scopes count.
    let answer = bench.refresh("/token", SERVICE, &refresh).await;
    assert_eq!(granted(&answer), "");
}

#[rstest]
#[actix_web::test]
async fn refresh_tokens_are_worth_nothing_for_a_namesake_of_their_token(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let two = Replicas::new(backend).await;
    let (bench, admin) = (&two.bench, &two.bench.admin);
    let (name, secret) = (bench.token.name.as_str(), bench.token.secret.as_str());
    let refresh = two.login(name, secret).await;
    assert!(two.works(&refresh).await);
    // Another token has the name, then the same id, then both.
    assert_eq!(admin.delete(&bench.token.path).await.status, 204);
    assert!(!two.works(&refresh).await);
    let second = admin
        .mint(&bench.registry, name, &["repository:own:*"])
        .await;
    assert!(!two.works(&refresh).await, "another token of the name");
    let of_second = two.login(name, &second.secret).await;
    assert!(two.works(&of_second).await);
    assert_eq!(admin.delete(&second.path).await.status, 204);
    for name in ["another", name] {
        let body = json!({"properties": {"name": name}});
        assert_eq!(admin.put(&bench.token.path, body).await.status, 201);
        assert!(!two.works(&refresh).await, "another token of the id");
        assert_eq!(admin.delete(&bench.token.path).await.status, 204);
    }
    assert!(!two.works(&of_second).await);
}

#[rstest]
#[actix_web::test]
async fn refresh_tokens_end_with_the_password_and_the_account(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let two = Replicas::new(backend).await;
    let (bench, server) = (&two.bench, &two.bench.server);
    let (person, password) = ("person@example.com", "first-password");
    server.add_account(person, password, "Admin").await;
    let first = two.login(person, password).await;
    assert!(two.works(&first).await);
    let accounts = server.service.account_commands();
    let new = NewPassword::parse(SecretString::from("second-password".to_owned())).unwrap();
    accounts
        .set_password(person.to_owned(), &new, IssuedTokens::Keep)
        .await
        .unwrap();
    assert!(!two.works(&first).await, "after a new password");
    unauthorized("old", &bench.login(person, password, &[]).await);
    let later = two.login(person, "second-password").await;
    assert!(two.works(&later).await && !two.works(&first).await);
    // Other roles change its access, and no more.
    let roles = ["Admin", "Analyst"].map(str::to_owned).to_vec();
    accounts.set_roles(person.to_owned(), roles).await.unwrap();
    assert!(two.works(&later).await, "after another role");
    let set = async |status| {
        let accounts = server.service.account_commands();
        accounts
            .set_status(person.to_owned(), status)
            .await
            .unwrap();
    };
    set(Status::Disabled).await;
    assert!(!two.works(&later).await);
    set(Status::Enabled).await;
    assert!(!two.works(&later).await, "after it was disabled");
    let third = two.login(person, "second-password").await;
    assert!(two.works(&third).await);
    accounts
        .delete(person.to_owned(), LiveTokens::Refuse)
        .await
        .unwrap();
    assert!(!two.works(&third).await);
    server.add_account(person, "second-password", "Admin").await;
    assert!(!two.works(&third).await, "another account of the name");
}

/// Docker would keep a refresh token in place of the password, and other clients could not use that.
#[rstest]
#[actix_web::test]
async fn no_refresh_token_is_given_unless_that_is_set(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &[WITHOUT_REFRESH_TOKENS]).await;
    let bench = Bench::with(server).await;
    let (name, secret) = (bench.token.name.as_str(), bench.token.secret.as_str());
    for path in PATHS {
        let query = [("service", SERVICE), ("offline_token", "true")];
        let answer = bench.client().ask(path, &query).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json.get("refresh_token"), None);
    }
    let offline = [("access_type", "offline")];
    let answer = bench.login(name, secret, &offline).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json.get("refresh_token"), None);
    // One that was given while it was set goes on.
    let giving = bench.server.replica().await;
    let query = [("service", SERVICE), ("offline_token", "true")];
    let refresh = refresh_token(&giving.client(&bench.token).ask("/token", &query).await);
    let answer = bench.refresh("/token", SERVICE, &refresh).await;
    assert_eq!(granted(&answer), "repository:own:pull");
}

/// As credential helpers of Docker hand them out, and as clients of Azure's registry send them.
#[rstest]
#[actix_web::test]
async fn a_refresh_token_is_a_password_at_its_registry_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const SCOPE: (&str, &str) = ("scope", "repository:own:pull");
    let bench = Bench::new(backend).await;
    let server = &bench.server;
    bench.admin.create_registry("team-b").await;
    let code = bench
        .admin
        .post("/api/v1/user/apptoken", json!({"title": "a"}));
    let code = code.await.json["token"]["token_code"]
        .as_str()
        .unwrap()
        .to_owned();
    let check = async |actor: &Actor, registry: &str| {
        let request = actor
            .request(Method::GET, &format!("/v2/check?service={registry}"))
            .header("x-original-method", "GET")
            .header("x-original-uri", "/v2/own/tags/list");
        actor.send(request).await.status
    };
    let offline = [("access_type", "offline")];
    for (name, secret) in [
        (bench.token.name.as_str(), bench.token.secret.as_str()),
        ("$app", &code),
        ("admin", ADMIN_PASSWORD),
    ] {
        let refresh = refresh_token(&bench.login(name, secret, &offline).await);
        for user in ["<token>", "00000000-0000-0000-0000-000000000000"] {
            let client = server.actor(user, &refresh);
            for path in PATHS {
                let answer = client.ask(path, &[("service", SERVICE), SCOPE]).await;
                assert_eq!(granted(&answer), "repository:own:pull", "{name}");
                let elsewhere = [("service", "team-b.localhost"), SCOPE];
                unauthorized(name, &client.ask(path, &elsewhere).await);
            }
            let answer = bench.login(user, &refresh, &[SCOPE]).await;
            assert_eq!(granted(&answer), "repository:own:pull", "{name}");
            assert_eq!(check(&client, SERVICE).await, 200, "{name}");
            assert_eq!(check(&client, "team-b.localhost").await, 401, "{name}");
            for api in ["/registries", "/v1/apitokens", "/api/v1/user/apptoken"] {
                assert_eq!(client.get(api).await.status, 401, "{api}");
                assert_eq!(server.bearer(&refresh).get(api).await.status, 401, "{api}");
            }
        }
        for user in [name, "token", "", "<TOKEN>"] {
            let client = server.actor(user, &refresh);
            let answer = client.ask("/token", &[("service", SERVICE), SCOPE]).await;
            assert_eq!(answer.status, 401, "{user}");
            assert_eq!(check(&client, SERVICE).await, 401, "{user}");
        }
    }
    let guess = server.actor("<token>", "whrr_guess");
    unauthorized(
        "a guess",
        &guess.ask("/token", &[("service", SERVICE)]).await,
    );
}

/// And are worth nothing for a namesake of the same id.
#[rstest]
#[actix_web::test]
async fn refresh_tokens_end_with_their_registry(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let two = Replicas::new(backend).await;
    let (bench, admin, registry) = (&two.bench, &two.bench.admin, &two.bench.registry);
    let token = admin.mint(registry, "last", &[]).await;
    let last = two.login("last", &token.secret).await;
    let of_admin = two.login("admin", ADMIN_PASSWORD).await;
    assert!(two.works(&last).await && two.works(&of_admin).await);
    let path = format!("/registries/{registry}");
    assert_eq!(admin.delete(&path).await.status, 204);
    let answer = bench.refresh("/token", SERVICE, &last).await;
    answer.refused("deleted registry", 400, "UNSUPPORTED", Some("service"));
    let body = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    assert_eq!(admin.put(&path, body).await.status, 201);
    assert!(!two.works(&last).await && !two.works(&of_admin).await);
}

#[rstest]
#[actix_web::test]
async fn what_is_issued_right_after_a_change_of_the_account_works(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let (person, password) = ("person@example.com", "a-password");
    bench.server.add_account(person, password, "Admin").await;
    let offline = [("access_type", "offline")];
    // The password is remembered from here on.
    assert_eq!(bench.login(person, password, &offline).await.status, 200);
    let accounts = bench.server.service.account_commands();
    for status in [Status::Disabled, Status::Enabled] {
        accounts
            .set_status(person.to_owned(), status)
            .await
            .unwrap();
    }
    let answer = bench.login(person, password, &offline).await;
    let refreshed = bench
        .refresh("/token", SERVICE, &refresh_token(&answer))
        .await;
    assert_eq!(granted(&refreshed), "repository:own:pull");
    let request = bench
        .server
        .anonymous()
        .request(Method::GET, &format!("/v2/check/{SERVICE}/v2/"))
        .bearer_auth(answer.json["token"].as_str().unwrap());
    assert_eq!(bench.admin.send(request).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn refresh_tokens_cannot_be_made_up(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    for number in 0..3 {
        bench.admin.create_registry(&format!("more-{number}")).await;
    }
    let offline = [("access_type", "offline")];
    let (name, secret) = (&bench.token.name, &bench.token.secret);
    let answer = bench.login(name, secret, &offline).await;
    let refresh = refresh_token(&answer);
    let jwt = answer.json["token"].as_str().unwrap().to_owned();
    let id = claims(&jwt)["jti"].as_str().unwrap().to_owned();
    let listed = bench.admin.get("/registries?limit=1").await;
    let cursor = listed.json["pagination"]["token"].as_str().unwrap();
    assert!(!cursor.is_empty(), "{listed:?}");
    let bare = refresh.strip_prefix("whrr_").unwrap();
    let mut wrong = vec![
        jwt.clone(),
        // Sealed by us, for something else.
        id.clone(),
        format!("whrr_{id}"),
        format!("whrr_{cursor}"),
        cursor.to_owned(),
        bare.to_owned(),
        format!("WHRR_{bare}"),
        format!("whrr_{refresh}"),
        format!("{refresh} "),
        format!("{refresh}="),
        format!("{refresh}{refresh}"),
        "whrr_".to_owned(),
        "x".repeat(50_000),
        format!("whrr_{}", "A".repeat(50_000)),
        "whrr_\0".to_owned(),
        secret.clone(),
    ];
    for length in [6, 10, 20, refresh.len() - 10, refresh.len() - 1] {
        wrong.push(refresh[..length].to_owned());
    }
    for at in (5..refresh.len()).step_by(7) {
        let mut altered = refresh.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        wrong.push(String::from_utf8(altered).unwrap());
    }
    for token in wrong {
        let answer = bench.refresh("/token", SERVICE, &token).await;
        unauthorized(&token, &answer);
    }
    // Nor is it a password, or the other way round.
    unauthorized("password", &bench.login(name, &refresh, &[]).await);
    let answer = bench.refresh("/token", SERVICE, &refresh).await;
    assert_eq!(answer.status, 200);
}

#[rstest]
#[actix_web::test]
async fn guesses_do_not_keep_tokens_from_working(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("guessed-password", "machine-secret")] guess: &'static str,
) {
    // Together they are fewer than there always is room for, however slow the machine is.
    const GUESSERS: usize = 40;
    const GUESSES: usize = 8;
    let bench = Bench::new(backend).await;
    let other = bench.admin.create_registry("team-b").await;
    let foreign = bench.admin.mint(&other, "other", &[]).await.secret;
    let ask = async |actor: &Actor| {
        let asked = [("service", SERVICE), ("scope", "repository:own:pull")];
        actor.ask("/token", &asked).await
    };
    let guessers = (0..GUESSERS).map(|guesser| {
        let actors = (0..GUESSES).map(|number| {
            let secret = match guess {
                "machine-secret" => foreign.clone(),
                guess => format!("{guess}-{guesser}-{number}"),
            };
            bench.server.actor("admin", &secret)
        });
        let actors: Vec<_> = actors.collect();
        spawn(async move {
            let mut answers = Vec::new();
            for actor in actors {
                answers.push(ask(&actor).await);
            }
            answers
        })
    });
    let guessers: Vec<_> = guessers.collect();
    let clients = (0..5).map(|_| {
        let client = bench.client();
        spawn(async move {
            for _ in 0..20 {
                assert_eq!(granted(&ask(&client).await), "repository:own:pull");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let mut statuses = BTreeMap::new();
    for guesser in guessers {
        for answer in guesser.await.unwrap() {
            match answer.status {
                429 => drop(answer.refused("guess", 429, "TOOMANYREQUESTS", None)),
                _ => unauthorized("guess", &answer),
            }
            *statuses.entry(answer.status).or_insert(0) += 1;
        }
    }
    if guess == "machine-secret" {
        assert_eq!(statuses, BTreeMap::from([(401, GUESSERS * GUESSES)]));
        assert_eq!(bench.server.service.password_checks(), 1, "the admin's own");
    }
    let sum = statuses.values().sum::<usize>();
    assert_eq!(sum, GUESSERS * GUESSES, "{statuses:?}");
}

#[rstest]
#[actix_web::test]
async fn a_known_client_costs_one_store_call(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::with(Server::start_with(backend, &[WITHOUT_BACKGROUND]).await).await;
    let query = [("service", SERVICE), ("offline_token", "true")];
    let refresh = refresh_token(&bench.client().ask("/token", &query).await);
    let service = &bench.server.service;
    assert_eq!(bench.admin.ask("/token", &query).await.status, 200);
    for way in ["secret", "form", "refresh token", "account"] {
        let (calls, checks) = (service.store_calls(), service.password_checks());
        let answer = match way {
            "secret" => bench.client().ask("/token", &query).await,
            "form" => {
                let (name, secret) = (&bench.token.name, &bench.token.secret);
                bench.login(name, secret, &[]).await
            }
            "refresh token" => bench.refresh("/token", SERVICE, &refresh).await,
            _ => bench.admin.ask("/token", &query).await,
        };
        assert_eq!(answer.status, 200, "{way}");
        let counted = (
            service.store_calls() - calls,
            service.password_checks() - checks,
        );
        assert_eq!(counted, (1, 0), "{way}");
    }
    // A text without a refresh token's form is not looked up.
    let calls = service.store_calls();
    let answer = bench.refresh("/token", SERVICE, "whrr_guess").await;
    unauthorized("guess", &answer);
    assert_eq!(service.store_calls(), calls);
}

#[rstest]
#[actix_web::test]
async fn no_jwt_and_no_refresh_token_is_ever_written(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let mut command = Program::command(&database);
    command.args(["--log", "trace", "--log-format", "json", "--refresh-tokens"]);
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &["repository:own:*"]).await;
    let client = Actor::of(&program.base, "ci", &token.secret);
    let query = [
        ("service", SERVICE),
        ("offline_token", "true"),
        ("scope", "repository:own:pull"),
    ];
    let answer = client.ask("/token", &query).await;
    let jwt = answer.json["token"].as_str().unwrap().to_owned();
    let refresh = refresh_token(&answer);
    let fields = |password| {
        [
            ("grant_type", "password"),
            ("service", SERVICE),
            ("username", "ci"),
            ("password", password),
        ]
    };
    let mut said = Vec::new();
    for password in [token.secret.as_str(), &refresh, &jwt, "guessed-password"] {
        said.push(client.form("/token", &fields(password)).await);
        let actor = Actor::of(&program.base, "ci", password);
        said.push(actor.ask("/token", &query[..1]).await);
        // A client should not put the password in these places.
        said.push(client.ask("/token", &[("service", password)]).await);
        let request = client
            .request(Method::GET, &format!("/v2/check?service={SERVICE}"))
            .header("x-original-method", "GET")
            .header("x-original-uri", "/v2/");
        said.push(client.send(request).await);
        for bearer in [password.to_owned(), format!("{password}x")] {
            let request = Actor::anonymous_of(&program.base)
                .request(Method::GET, &format!("/v2/check?service={SERVICE}"))
                .header("x-original-method", "GET")
                .header("x-original-uri", "/v2/")
                .header("authorization", format!("Bearer {bearer}"));
            said.push(client.send(request).await);
        }
        let fields = [
            ("grant_type", "refresh_token"),
            ("service", SERVICE),
            ("refresh_token", password),
        ];
        said.push(client.form("/token", &fields).await);
    }
    // A defect, as far as the service can tell.
    database.execute("ALTER TABLE tokens RENAME TO tokens_away");
    for answer in [
        client.ask("/token", &query).await,
        client.form("/token", &fields(&token.secret)).await,
    ] {
        let (status, code) = match database.backend {
            Backend::Sqlite => (500, "UNKNOWN"),
            // To PostgreSQL a statement that was prepared for another table is an outage.
            Backend::Postgres => (503, "UNAVAILABLE"),
        };
        answer.refused("broken", status, code, None);
        assert!(!answer.text.contains("tokens"), "{}", answer.text);
    }
    database.execute("ALTER TABLE tokens_away RENAME TO tokens");
    program.signal("TERM");
    let (status, log) = program.wait();
    assert!(status.success(), "{log}");

    let basic = STANDARD.encode(format!("ci:{}", token.secret));
    let signature = jwt.rsplit('.').next().unwrap();
    let payload = jwt.split('.').nth(1).unwrap();
    let secrets = [
        token.secret.as_str(),
        &refresh,
        signature,
        payload,
        &basic,
        "guessed-password",
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "the log has {secret}");
        for answer in said.iter().filter(|answer| answer.status != 200) {
            // Only the value sent as the service's name comes back, cut short.
            let echoed = answer.json["errors"][0]["detail"]["parameter"] == "service";
            assert!(echoed || !answer.text.contains(secret), "{}", answer.text);
        }
    }
}

/// To read long scopes takes a while, which would tell strangers the names that there are. SQLite keeps a text that is no
/// UTF-8, which fails when it is fetched; PostgreSQL does not, so there it fails when it is read as JSON.
#[rstest]
#[actix_web::test]
async fn what_a_token_opens_is_read_once_its_secret_is_proven(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("scopes", "cidrs")] column: &str,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.mint(&registry, "ci", &["repository:a:pull"]).await;
    let other = admin.mint(&registry, "other", &["repository:a:pull"]).await;
    let unreadable = match backend {
        Backend::Sqlite => "CAST(x'FF' AS TEXT)",
        Backend::Postgres => "'no JSON'",
    };
    let damage = format!("UPDATE tokens SET {column} = {unreadable} WHERE name = 'ci'");
    server.database.execute(&damage);
    let login = [("service", "team-a.localhost")];
    for name in ["ci", "nobody"] {
        let wrong = server.actor(name, &other.secret);
        let answer = wrong.ask("/token", &login).await;
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
    }
    let answer = server.client(&token).ask("/token", &login).await;
    assert!(answer.status >= 500, "{answer:?}");
    // A thief who may not enter must not learn that the secret is right.
    let elsewhere = json!({"apiSubnetAllowList": ["192.0.2.1"]});
    let restricted = admin
        .patch(&format!("/registries/{registry}"), elsewhere)
        .await;
    assert_eq!(restricted.status, 200, "{restricted:?}");
    let answer = server.client(&token).ask("/token", &login).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}
