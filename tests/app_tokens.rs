//! App tokens: the access that their codes give, their ends, and their storage. Quay's calls are in `quay`.

use std::net::{IpAddr, Ipv4Addr};

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use wharfinger::Error;
use wharfinger::domain::app_token::{AppToken, Title};
use wharfinger::domain::audit::Origin;
use wharfinger::domain::secret::SecretKind;
use wharfinger::domain::status::Status;
use wharfinger::service::access::{Caller, Presented};
use wharfinger::service::app_tokens::Revealed;

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server, claims};

const SERVICE: &str = "team-a.localhost";
const APP: &str = "$app";
/// The password of accounts that tests make.
const PASSWORD: &str = "right-password";

/// The caller of an account whose password was proved.
async fn caller(server: &Server, name: &str, password: &str) -> Caller {
    let presented = Presented::new(
        name.to_owned(),
        SecretString::from(password.to_owned()),
        IpAddr::V4(Ipv4Addr::LOCALHOST),
    );
    server
        .service
        .identify(presented, Origin::command())
        .await
        .unwrap()
}

fn title(text: &str) -> Title {
    Title::parse(text.to_owned()).unwrap()
}

fn text(revealed: &Revealed) -> String {
    let code = revealed.code.as_ref().unwrap();
    code.expose_secret().to_owned()
}

async fn create(server: &Server, caller: &Caller, name: &str) -> (AppToken, String) {
    let tokens = server.service.app_tokens();
    let made = tokens.create(caller, title(name)).await.unwrap();
    let code = text(&made);
    (made.token, code)
}

/// Asks for everything in one repository.
async fn login(actor: &Actor, path: &str) -> Answer {
    let query = [
        ("service", SERVICE),
        ("scope", "repository:team/app:pull,push,delete"),
    ];
    actor.ask(path, &query).await
}

/// The actions that were granted, or the status of a refusal.
fn granted(answer: &Answer) -> String {
    if answer.status != 200 {
        return answer.status.to_string();
    }
    let claims = claims(answer.json["token"].as_str().unwrap());
    let access = claims["access"].as_array().unwrap();
    let actions = access
        .iter()
        .filter_map(|access| access["actions"].as_array());
    let actions: Vec<_> = actions
        .flatten()
        .map(|action| action.as_str().unwrap())
        .collect();
    actions.join(",")
}

/// May a proxy let this pass?
async fn check(actor: &Actor, method: &str) -> u16 {
    let request = actor
        .request(Method::GET, &format!("/v2/check?service={SERVICE}"))
        .header("x-original-method", method)
        .header("x-original-uri", "/v2/team/app/manifests/latest");
    actor.send(request).await.status
}

/// All tokens of a list.
#[expect(clippy::unnecessary_wraps, reason = "others fail")]
fn whole(tokens: &mut dyn Iterator<Item = AppToken>) -> Result<Vec<AppToken>, Error> {
    Ok(tokens.collect())
}

#[rstest]
#[actix_web::test]
async fn a_code_opens_what_its_account_may_open(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    admin.create_registry("team-b").await;
    let rows = [
        ("reader", "pull", [200, 403, 403]),
        ("maintainer", "pull,push", [200, 200, 403]),
        ("owner", "pull,push,delete", [200, 200, 200]),
    ];
    for (level, actions, passes) in rows {
        let account = admin.create_account(level, &[]).await;
        admin.set_member(&registry, &account, level).await;
        let owner = caller(&server, level, PASSWORD).await;
        let (_, code) = create(&server, &owner, level).await;
        let app = server.actor(APP, &code);
        for path in ["/token", "/v2/auth"] {
            let answer = login(&app, path).await;
            assert_eq!(granted(&answer), actions, "{level} {path}");
            let jwt = answer.json["token"].as_str().unwrap();
            assert_eq!(claims(jwt)["sub"], level, "the JWT names another account");
            let bearer = server.bearer(jwt);
            for (method, passes) in ["GET", "PUT", "DELETE"].into_iter().zip(passes) {
                assert_eq!(check(&app, method).await, passes, "{level} {method}");
                let expected = if passes == 403 { 403 } else { 200 };
                assert_eq!(check(&bearer, method).await, expected, "{level} {method}");
            }
        }
        // A registry is closed to accounts that are not members.
        let elsewhere = [("service", "team-b.localhost")];
        assert_eq!(app.ask("/token", &elsewhere).await.status, 401, "{level}");
        // Rights are those of now.
        admin.set_member(&registry, &account, "reader").await;
        assert_eq!(granted(&login(&app, "/token").await), "pull", "{level}");
    }
    let everything = caller(&server, "admin", ADMIN_PASSWORD).await;
    let (_, code) = create(&server, &everything, "all").await;
    let app = server.actor(APP, &code);
    assert_eq!(granted(&login(&app, "/token").await), "pull,push,delete");
    // By a form, as newer clients send it, and with a refresh token.
    let form = [
        ("grant_type", "password"),
        ("service", SERVICE),
        ("client_id", "test"),
        ("username", APP),
        ("password", &code),
        ("access_type", "offline"),
    ];
    let answer = server.anonymous().form("/token", &form).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json["refresh_token"].is_string());
}

#[rstest]
#[actix_web::test]
async fn only_a_whole_code_of_the_user_app_opens_anything(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let owner = caller(&server, "admin", ADMIN_PASSWORD).await;
    let (_, code) = create(&server, &owner, "a").await;
    let (_, other) = create(&server, &owner, "b").await;
    let secret = admin
        .mint(&registry, "ci", &["repository:*:*"])
        .await
        .secret;
    // The half by which one token is found, with the secret half of the other, and a right checksum.
    let mixed = {
        let body = format!("{}{}", &code[..60], &other[60..113]);
        let crc = crc32(body.as_bytes());
        format!("{body}{crc}")
    };
    assert_eq!(SecretKind::of(&mixed), Some(SecretKind::AppToken));
    let lower = code.to_lowercase();
    let odd = format!("WHA\0{}", "A".repeat(109));
    let odd = format!("{odd}{}", crc32(odd.as_bytes()));
    let wrong = [
        ("admin", code.as_str()),
        ("$APP", &code),
        ("$app ", &code),
        ("$oauthtoken", &code),
        ("", &code),
        ("ci", &code),
        (APP, &mixed),
        (APP, &code[..60]),
        (APP, &code[..119]),
        (APP, &lower),
        // With a right checksum, and what PostgreSQL refuses in a text.
        (APP, &odd),
        (APP, &format!("{code}{}", " ".repeat(17))),
        (APP, ADMIN_PASSWORD),
        (APP, &secret),
        (APP, ""),
    ];
    for (name, password) in wrong {
        let app = server.actor(name, password);
        for path in ["/token", "/v2/auth"] {
            let answer = login(&app, path).await;
            assert_eq!(answer.status, 401, "{name:?} {password:?}: {answer:?}");
            assert_eq!(answer.json["errors"][0]["code"], "UNAUTHORIZED");
            assert!(!answer.text.contains(password) || password.is_empty());
        }
        assert_eq!(check(&app, "GET").await, 401, "{name:?} {password:?}");
    }
    // It opens registries, and no API.
    for app in [
        server.actor(APP, &code),
        server.actor("admin", &code),
        server.bearer(&code),
    ] {
        for path in ["/registries", "/accounts", "/v1/apitokens"] {
            assert_eq!(app.get(path).await.status, 401, "{path}");
        }
    }
    assert_eq!(check(&server.bearer(&code), "GET").await, 401);
    assert_eq!(login(&server.actor(APP, &code), "/token").await.status, 200);
}

/// The checksum of a code, by another way than the product's: seven digits to the base of 36.
fn crc32(bytes: &[u8]) -> String {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    let mut rest = !crc;
    let mut digits = Vec::new();
    for _ in 0..7 {
        let digit = char::from_digit(rest % 36, 36).unwrap();
        digits.push(digit.to_ascii_uppercase());
        rest /= 36;
    }
    digits.iter().rev().collect()
}

/// Changes that end a token or bring it back.
enum Change {
    Delete,
    Expire,
    Disable,
    Enable,
    RemoveAccount,
}

use Change::{Delete, Disable, Enable, Expire, RemoveAccount};

#[rstest]
#[actix_web::test]
async fn what_ends_a_token_bites_at_the_next_request_on_every_replica(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server =
        Server::start_with(backend, &["--app-token-life", "1h", "--jwt-life", "24h"]).await;
    let replica = server.replica().await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let rows: [(&str, &[(Change, bool)]); 4] = [
        ("deleted", &[(Delete, false)]),
        ("disabled", &[(Disable, false), (Enable, true)]),
        ("removed", &[(RemoveAccount, false)]),
        ("expired", &[(Expire, false)]),
    ];
    for (name, changes) in rows {
        let account = admin.create_account(name, &[]).await;
        admin.set_member(&registry, &account, "owner").await;
        let owner = caller(&server, name, PASSWORD).await;
        let (token, code) = create(&server, &owner, name).await;
        let form = [
            ("grant_type", "password"),
            ("service", SERVICE),
            ("client_id", "test"),
            ("username", APP),
            ("password", &code),
            ("access_type", "offline"),
            ("scope", "repository:team/app:pull"),
        ];
        let answer = server.anonymous().form("/token", &form).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let refresh = answer.json["refresh_token"].as_str().unwrap().to_owned();
        let jwt = answer.json["token"].as_str().unwrap().to_owned();
        assert_eq!(
            claims(&jwt)["exp"],
            1_795_262_400 + 3600,
            "it outlives its token"
        );
        let opens = async |open: bool, refreshed: bool| {
            let (status, pass) = if open { (200, 200) } else { (401, 401) };
            let refreshed = if refreshed { 200 } else { 401 };
            for server in [&server, &replica] {
                let app = server.actor(APP, &code);
                assert_eq!(login(&app, "/token").await.status, status, "{name}");
                assert_eq!(check(&app, "GET").await, pass, "{name}");
                assert_eq!(check(&server.bearer(&jwt), "GET").await, pass, "{name}");
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", SERVICE),
                    ("client_id", "test"),
                    ("refresh_token", &refresh),
                ];
                let answer = server.anonymous().form("/token", &form).await;
                assert_eq!(answer.status, refreshed, "{name}: {answer:?}");
            }
        };
        opens(true, true).await;
        // The end of a code ends its refresh tokens, and enabling the account brings back the code alone.
        let mut refreshed = true;
        for (change, open) in changes {
            let accounts = server.service.account_commands();
            match change {
                Delete => {
                    let tokens = server.service.app_tokens();
                    tokens.delete(&owner, token.id.to_string()).await.unwrap();
                }
                Disable => {
                    let status = Status::Disabled;
                    accounts.set_status(name.to_owned(), status).await.unwrap();
                }
                Enable => {
                    let status = Status::Enabled;
                    accounts.set_status(name.to_owned(), status).await.unwrap();
                }
                RemoveAccount => {
                    let path = format!("/accounts/{account}");
                    assert_eq!(admin.delete(&path).await.status, 204);
                    // A namesake made later has nothing of it.
                    let account = admin.create_account(name, &[]).await;
                    admin.set_member(&registry, &account, "owner").await;
                    let namesake = caller(&server, name, PASSWORD).await;
                    let tokens = server.service.app_tokens();
                    assert_eq!(tokens.list(&namesake, false, whole).await.unwrap(), []);
                }
                Expire => server.clock.advance(TimeDelta::hours(1)),
            }
            refreshed &= open;
            opens(*open, refreshed).await;
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_wrong_code_is_told_in_quays_words(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server.admin().create_registry("team-a").await;
    let owner = caller(&server, "admin", ADMIN_PASSWORD).await;
    let (_, code) = create(&server, &owner, "a").await;
    let words =
        json!({"errors": [{"code": "UNAUTHORIZED", "message": "Invalid token", "detail": {}}]});
    for wrong in ["", "x", ADMIN_PASSWORD, &code[..119]] {
        let app = server.actor(APP, wrong);
        for path in ["/token", "/v2/auth"] {
            let answer = login(&app, path).await;
            assert_eq!((answer.status, &answer.json), (401, &words), "{wrong:?}");
            assert!(answer.header("www-authenticate").starts_with("Basic "));
        }
    }
    // To others it says what would do.
    let answer = login(&server.actor("admin", &code), "/token").await;
    assert_eq!(answer.status, 401);
    assert_ne!(answer.json, words);
}

#[rstest]
#[actix_web::test]
async fn uses_are_noted_once_a_minute_at_the_most(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    admin.create_registry("team-a").await;
    let owner = caller(&server, "admin", ADMIN_PASSWORD).await;
    let (_, code) = create(&server, &owner, "a").await;
    let app = server.actor(APP, &code);
    let used_at = async || {
        let tokens = server
            .service
            .app_tokens()
            .list(&owner, false, whole)
            .await
            .unwrap();
        tokens[0].used_at
    };
    assert_eq!(used_at().await, None);
    // A failed login does not count as a use.
    assert_eq!(
        login(&server.actor("admin", &code), "/token").await.status,
        401
    );
    assert_eq!(server.service.flush_usage().await.unwrap(), 0);
    let first = server.service.now();
    assert_eq!(login(&app, "/token").await.status, 200);
    assert_eq!(login(&app, "/v2/auth").await.status, 200);
    assert_eq!(used_at().await, None, "it was written with the request");
    assert_eq!(server.service.flush_usage().await.unwrap(), 1);
    assert_eq!(used_at().await, Some(first));
    let address = "SELECT COUNT(*) FROM app_tokens WHERE used_address = '127.0.0.1'";
    assert_eq!(server.database.number(address), 1);
    server.clock.advance(TimeDelta::seconds(30));
    assert_eq!(check(&app, "GET").await, 200);
    server.service.flush_usage().await.unwrap();
    assert_eq!(used_at().await, Some(first + TimeDelta::seconds(30)));

    // And those of API tokens.
    let made = admin
        .post(
            "/v1/apitokens/generate",
            json!({"name": "a", "roles": ["Analyst"]}),
        )
        .await;
    let bearer = server.bearer(made.json["token"].as_str().unwrap());
    let used = "SELECT COUNT(*) FROM api_tokens WHERE used_at IS NOT NULL";
    assert_eq!(bearer.get("/registries").await.status, 200);
    assert_eq!(server.service.flush_usage().await.unwrap(), 1);
    assert_eq!(server.database.number(used), 1);
}

#[rstest]
#[actix_web::test]
async fn a_code_is_kept_sealed_to_its_row_and_owner(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    admin.create_registry("team-a").await;
    admin.create_account("bob", &["Admin"]).await;
    let (alice, bob) = (
        caller(&server, "admin", ADMIN_PASSWORD).await,
        caller(&server, "bob", PASSWORD).await,
    );
    let tokens = server.service.app_tokens();
    let (first, code) = create(&server, &alice, "first").await;
    let (second, _) = create(&server, &alice, "second").await;
    let (of_bob, _) = create(&server, &bob, "first").await;
    let shown = tokens.show(&alice, first.id.to_string()).await.unwrap();
    assert_eq!(text(&shown), code);
    assert_eq!(shown.token, first);

    let database = &server.database;
    let everything = database
        .lines("SELECT title || lookup AS line FROM app_tokens")
        .join(" ");
    assert!(everything.contains(&code[..60]));
    assert!(!everything.contains(&code[60..]), "the whole code is kept");
    if backend == Backend::Sqlite {
        let mut kept = std::fs::read(database.file()).unwrap();
        let mut log = database.file().into_os_string();
        log.push("-wal");
        kept.extend(std::fs::read(log).unwrap_or_default());
        let whole = |needle: &[u8]| kept.windows(needle.len()).any(|part| part == needle);
        assert!(whole(&code.as_bytes()[..60]));
        assert!(
            !whole(&code.as_bytes()[60..]),
            "the secret half is in the file"
        );
    }

    // A sealed code moved to another row of the same owner, and a row moved to another owner.
    database.execute(
        "UPDATE app_tokens SET sealed_code = \
         (SELECT sealed_code FROM app_tokens AS other WHERE other.title = 'first' AND other.account_key = app_tokens.account_key) \
         WHERE title = 'second'",
    );
    let moved = tokens.show(&alice, second.id.to_string()).await;
    assert!(matches!(moved, Err(Error::Internal(_))), "{moved:?}");
    database.execute(
        "UPDATE app_tokens SET account_key = (SELECT key FROM accounts WHERE name = 'admin') \
         WHERE account_key = (SELECT key FROM accounts WHERE name = 'bob')",
    );
    let stolen = tokens.show(&alice, of_bob.id.to_string()).await;
    assert!(matches!(stolen, Err(Error::Internal(_))), "{stolen:?}");
    // Nor does another row's hash make a code right.
    database.execute("UPDATE app_tokens SET secret_digest = (SELECT secret_digest FROM app_tokens AS other WHERE other.title = 'second') WHERE title = 'first'");
    assert_eq!(login(&server.actor(APP, &code), "/token").await.status, 401);
}

#[rstest]
#[actix_web::test]
async fn codes_are_shown_once_where_the_operator_wants_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--app-token-reveal", "false"]).await;
    server.admin().create_registry("team-a").await;
    let owner = caller(&server, "admin", ADMIN_PASSWORD).await;
    let (token, code) = create(&server, &owner, "a").await;
    let tokens = server.service.app_tokens();
    let shown = tokens.show(&owner, token.id.to_string()).await.unwrap();
    assert!(shown.code.is_none());
    let sealed =
        "SELECT COUNT(*) FROM app_tokens WHERE sealed_code IS NOT NULL OR seal_key IS NOT NULL";
    assert_eq!(server.database.number(sealed), 0);
    assert_eq!(login(&server.actor(APP, &code), "/token").await.status, 200);

    // Codes that were sealed before the operator turned revealing off are not shown.
    let revealing = server.replica().await;
    let (token, code) = create(&revealing, &owner, "b").await;
    let id = token.id.to_string();
    let there = revealing
        .service
        .app_tokens()
        .show(&owner, id.clone())
        .await;
    assert_eq!(text(&there.unwrap()), code);
    assert!(tokens.show(&owner, id).await.unwrap().code.is_none());
}

#[rstest]
#[actix_web::test]
async fn tokens_end_when_the_service_says_and_then_go(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let flags = ["--app-token-life", "100s", "--app-token-retention", "1h"];
    let server = Server::start_with(backend, &flags).await;
    let unlimited = server.replica().await;
    let owner = caller(&server, "admin", ADMIN_PASSWORD).await;
    let (tokens, start) = (server.service.app_tokens(), server.service.now());
    let (for_ever, _) = create(&unlimited, &owner, "for ever").await;
    assert_eq!(for_ever.expires_at, None);
    let (short, _) = create(&server, &owner, "short").await;
    assert_eq!(short.expires_at, Some(start + TimeDelta::seconds(100)));
    let listed = async |expiring| {
        let listed = tokens.list(&owner, expiring, whole).await.unwrap();
        let all = tokens.list_all(&owner, expiring, whole).await.unwrap();
        assert_eq!(listed, all);
        listed
            .into_iter()
            .map(|token| token.title)
            .collect::<Vec<_>>()
    };
    // The last tenth of its life, the end not included.
    let soon: &[&str] = &["short"];
    for (second, expected) in [(0, &[][..]), (89, &[]), (90, soon), (99, soon), (100, &[])] {
        let now = start + TimeDelta::seconds(second);
        server.clock.advance(now - server.service.now());
        assert_eq!(listed(true).await, expected, "after {second} s");
        assert_eq!(listed(false).await, ["for ever", "short"]);
    }
    let shown = tokens.show(&owner, short.id.to_string()).await;
    assert!(matches!(shown, Err(Error::NotFound { .. })), "{shown:?}");

    let janitor = server.service.janitor();
    server.clock.advance(TimeDelta::hours(1));
    assert_eq!(janitor.run("test").await.unwrap().unwrap().app_tokens, 0);
    server.clock.advance(TimeDelta::microseconds(1));
    assert_eq!(janitor.run("test").await.unwrap().unwrap().app_tokens, 1);
    assert_eq!(listed(false).await, ["for ever"]);
    // One that has expired can be deleted before that.
    let (short, _) = create(&server, &owner, "short").await;
    server.clock.advance(TimeDelta::hours(1));
    tokens.delete(&owner, short.id.to_string()).await.unwrap();
    let again = tokens.delete(&owner, short.id.to_string()).await;
    assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
}

/// The success of `create`, `list`, `show` and `delete` for a caller.
async fn outcomes(server: &Server, caller: &Caller, id: &str) -> [bool; 4] {
    let tokens = server.service.app_tokens();
    let refused = |error: Error| assert!(matches!(error, Error::Forbidden(_)), "{error:?}");
    let created = tokens.create(caller, title("by a bearer")).await;
    let listed = tokens.list(caller, false, whole).await;
    let shown = tokens.show(caller, id.to_owned()).await;
    // Nobody has this one.
    let nobody = uuid::Uuid::nil().to_string();
    let deleted = match tokens.delete(caller, nobody).await {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other,
    };
    [
        created.map(drop).map_err(refused).is_ok(),
        listed.map(drop).map_err(refused).is_ok(),
        shown.map(drop).map_err(refused).is_ok(),
        deleted.map_err(refused).is_ok(),
    ]
}

#[rstest]
#[actix_web::test]
async fn an_api_token_needs_all_that_its_account_may(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    // With Access to read and Integration to write one makes tokens for oneself.
    server
        .database
        .execute("INSERT INTO roles (name, description, built_in) VALUES ('Minter', '', 0)");
    for (resource, level) in [("Access", 1), ("Integration", 2)] {
        server.database.execute(&format!(
            "INSERT INTO role_permissions (role_key, resource, level) \
             SELECT key, '{resource}', {level} FROM roles WHERE name = 'Minter'"
        ));
    }
    admin.create_account("mints", &["Minter"]).await;
    admin.create_account("reads", &["Analyst", "Minter"]).await;
    let rows: [(&str, &str, &[&str], bool); 6] = [
        ("admin", ADMIN_PASSWORD, &["Admin"], true),
        ("admin", ADMIN_PASSWORD, &["Admin", "Analyst"], true),
        (
            "admin",
            ADMIN_PASSWORD,
            &["Analyst", "Continuous Integration"],
            false,
        ),
        ("reads", PASSWORD, &["Analyst", "Minter"], true),
        ("reads", PASSWORD, &["Analyst"], false),
        ("mints", PASSWORD, &["Minter"], true),
    ];
    for (name, password, roles, whole) in rows {
        let owner = caller(&server, name, password).await;
        let (token, _) = create(&server, &owner, "own").await;
        let made = server
            .actor(name, password)
            .post(
                "/v1/apitokens/generate",
                json!({"name": "a", "roles": roles}),
            )
            .await;
        assert_eq!(made.status, 200, "{name} {roles:?}: {made:?}");
        let bearer = SecretString::from(made.json["token"].as_str().unwrap().to_owned());
        let bearer = server
            .service
            .identify_bearer(&bearer, Origin::command())
            .await
            .unwrap();
        let done = outcomes(&server, &bearer, &token.id.to_string()).await;
        assert_eq!(done, [whole; 4], "{name} with {roles:?}");
        let admitted = server.service.app_tokens().admit(&bearer).await;
        assert_eq!(admitted.is_ok(), whole, "{name} with {roles:?}");
    }
    // An account gets more than its token has: by a membership.
    let mints = admin.get("/accounts").await;
    let items = mints.json["items"].as_array().unwrap();
    let account = items
        .iter()
        .find(|item| item["properties"]["name"] == "mints");
    let account = account.unwrap()["id"].as_str().unwrap().to_owned();
    let made = server
        .actor("mints", PASSWORD)
        .post(
            "/v1/apitokens/generate",
            json!({"name": "a", "roles": ["Minter"]}),
        )
        .await;
    let bearer = SecretString::from(made.json["token"].as_str().unwrap().to_owned());
    let bearer = server
        .service
        .identify_bearer(&bearer, Origin::command())
        .await
        .unwrap();
    let nothing = uuid::Uuid::from_u128(1).to_string();
    let tokens = server.service.app_tokens();
    assert!(tokens.admit(&bearer).await.is_ok());
    admin.set_member(&registry, &account, "reader").await;
    let refused = tokens.show(&bearer, nothing).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    let count = "SELECT COUNT(*) FROM app_tokens WHERE title = 'by a bearer'";
    assert_eq!(server.database.number(count), 4);
}

#[rstest]
#[actix_web::test]
async fn bounded_delegation_bounds_codes_too(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--bounded-delegation"]).await;
    let owner = caller(&server, "admin", ADMIN_PASSWORD).await;
    let (for_ever, _) = create(&server, &owner, "for ever").await;
    let end = server.service.now() + TimeDelta::days(2);
    let wish = json!({"name": "a", "roles": ["Admin"], "expiration": end.to_rfc3339()});
    let made = server.admin().post("/v1/apitokens/generate", wish).await;
    let jwt = made.json["token"].as_str().unwrap().to_owned();
    let bearer = SecretString::from(jwt.clone());
    let bearer = server
        .service
        .identify_bearer(&bearer, Origin::command())
        .await
        .unwrap();
    let (made, _) = create(&server, &bearer, "by a bearer").await;
    assert_eq!(made.expires_at, Some(end));
    let tokens = server.service.app_tokens();
    assert!(tokens.show(&bearer, made.id.to_string()).await.is_ok());
    let longer = tokens.show(&bearer, for_ever.id.to_string()).await;
    assert!(matches!(longer, Err(Error::Forbidden(_))), "{longer:?}");
    assert!(tokens.show(&owner, for_ever.id.to_string()).await.is_ok());

    // And all else that could be made with it.
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let with = |expiry: Option<&str>| match expiry {
        Some(expiry) => json!({"properties": {"name": "ci", "expiryDate": expiry}}),
        None => json!({"properties": {"name": "ci"}}),
    };
    let (then, later) = ("2026-11-23T12:00:00Z", "2026-11-23T12:00:01Z");
    let bearer = server.bearer(&jwt);
    for expiry in [None, Some(later)] {
        let answer = bearer.post(&tokens, with(expiry)).await;
        assert_eq!(answer.codes(), ["invalid-expiry-date"], "{expiry:?}");
        let id = uuid::Uuid::from_u128(7);
        let answer = bearer.put(&format!("{tokens}/{id}"), with(expiry)).await;
        assert_eq!(answer.codes(), ["invalid-expiry-date"], "{expiry:?}");
    }
    let made = bearer.post(&tokens, with(Some(then))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = format!("{tokens}/{}", made.json["id"].as_str().unwrap());
    let answer = bearer.patch(&made, json!({"expiryDate": later})).await;
    assert_eq!(answer.codes(), ["invalid-expiry-date"]);
    assert_eq!(
        admin
            .patch(&made, json!({"expiryDate": later}))
            .await
            .status,
        200
    );
    // A token that already has a later end can be changed in other ways.
    let answer = bearer.patch(&made, json!({"status": "disabled"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let account = admin.create_account("bob", &[]).await;
    let path = format!("/accounts/{account}");
    let password = json!({"password": "another-password"});
    assert_eq!(bearer.patch(&path, password.clone()).await.status, 403);
    let person =
        json!({"properties": {"name": "carol", "password": "another-password", "roles": []}});
    assert_eq!(bearer.post("/accounts", person).await.status, 403);
    assert_eq!(
        bearer
            .patch(&path, json!({"status": "disabled"}))
            .await
            .status,
        200
    );
    assert_eq!(admin.patch(&path, password).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn everybody_has_their_own(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    server.admin().create_account("bob", &[]).await;
    let (alice, bob) = (
        caller(&server, "admin", ADMIN_PASSWORD).await,
        caller(&server, "bob", PASSWORD).await,
    );
    let tokens = server.service.app_tokens();
    let (first, _) = create(&server, &alice, "same").await;
    let (second, _) = create(&server, &bob, "same").await;
    let (third, _) = create(&server, &alice, "same").await;
    let ids = async |caller| {
        let listed = tokens.list(caller, false, whole).await.unwrap();
        listed.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&alice).await, [first.id, third.id]);
    assert_eq!(ids(&bob).await, [second.id]);
    // Not even an Admin may read another account's code, or delete the app token.
    for id in [second.id.to_string(), "nonsense".to_owned(), String::new()] {
        let shown = tokens.show(&alice, id.clone()).await;
        assert!(matches!(shown, Err(Error::NotFound { .. })), "{shown:?}");
        let deleted = tokens.delete(&alice, id).await;
        assert!(
            matches!(deleted, Err(Error::NotFound { .. })),
            "{deleted:?}"
        );
    }
    let all = tokens.list_all(&alice, false, whole).await.unwrap();
    let all: Vec<_> = all.into_iter().map(|token| token.id).collect();
    assert_eq!(all, [first.id, second.id, third.id]);
    let refused = tokens.list_all(&bob, false, whole).await;
    assert!(matches!(refused, Err(Error::Unpermitted(_))), "{refused:?}");
}
