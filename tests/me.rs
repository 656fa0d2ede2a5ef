//! The caller's own account: who it is, its password, and the tokens that it issued; and the lists of all issued tokens.

use chrono::TimeDelta;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server, WITHOUT_BACKGROUND, encoded};

const END: &str = "2027-01-01T00:00:00Z";
const PASSWORD: &str = "/me/password";

fn password(present: &str, new: &str) -> Value {
    json!({"properties": {"presentPassword": present, "password": new}})
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Makes an API token and returns it with its id.
async fn generate(actor: &Actor, name: &str, role: &str, end: &str) -> (String, String) {
    let wish = json!({"name": name, "role": role, "expiration": end});
    let made = actor.post("/v1/apitokens/generate", wish).await;
    assert_eq!(made.status, 200, "{made:?}");
    (
        text(&made.json["token"]),
        text(&made.json["metadata"]["id"]),
    )
}

/// Makes an app token and returns its code with its id.
async fn app_token(actor: &Actor, title: &str) -> (String, String) {
    let made = actor
        .post("/api/v1/user/apptoken", json!({"title": title}))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = &made.json["token"];
    (text(&token["token_code"]), text(&token["uuid"]))
}

/// The names of a page's tokens.
fn names(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json["items"].as_array().unwrap().iter();
    items
        .map(|item| item["properties"]["name"].as_str().unwrap())
        .collect()
}

/// The level of a permission, everywhere and as a member.
fn permission<'a>(me: &'a Answer, resource: &str) -> (&'a str, &'a str) {
    let mut all = me.json["properties"]["permissions"]
        .as_array()
        .unwrap()
        .iter();
    let found = all.find(|one| one["resource"] == resource).unwrap();
    (
        found["everywhere"].as_str().unwrap(),
        found["asMember"].as_str().unwrap(),
    )
}

#[rstest]
#[actix_web::test]
async fn everybody_learns_who_they_are_and_what_they_may_do(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let alice = admin
        .create_account("alice", &["Continuous Integration"])
        .await;
    admin.set_member(&registry, &alice, "maintainer").await;
    let me = server.actor("Alice", "right-password").get("/me").await;
    assert_eq!(me.status, 200, "{me:?}");
    assert_eq!(me.json["id"], alice);
    let properties = &me.json["properties"];
    assert_eq!(properties["name"], "alice");
    assert_eq!(properties["status"], "enabled");
    assert_eq!(properties["roles"], json!(["Continuous Integration"]));
    assert_eq!(properties["credential"], json!({"kind": "password"}));
    assert_eq!(permission(&me, "Token"), ("none", "write"));
    assert_eq!(permission(&me, "Access"), ("none", "none"));
    let permissions =
        json!({"Registry": "read", "Token": "write", "Access": "none", "Image": "write"});
    let membership = json!([{
        "registryId": registry, "registryName": "team-a", "level": "maintainer", "permissions": permissions,
    }]);
    assert_eq!(properties["memberships"], membership);
    assert_eq!(properties["membershipTotal"], 1);

    let me = admin.get("/containerregistries/me").await;
    assert_eq!(permission(&me, "Administration"), ("write", "write"));
    assert_eq!(me.json["properties"]["memberships"], json!([]));
}

#[rstest]
#[actix_web::test]
async fn a_member_learns_what_it_may_do_in_each_registry(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let bob = admin.create_account("bob", &[]).await;
    for level in ["reader", "maintainer", "owner"] {
        let registry = admin.create_registry(level).await;
        admin.set_member(&registry, &bob, level).await;
    }
    let actor = server.actor("bob", "right-password");
    let me = actor.get("/me").await;
    // No role gives anything.
    assert_eq!(permission(&me, "Token"), ("none", "none"));
    for membership in me.json["properties"]["memberships"].as_array().unwrap() {
        let level = text(&membership["level"]);
        let [token, access] = match level.as_str() {
            "reader" => ["read", "none"],
            "maintainer" => ["write", "none"],
            _ => ["write", "write"],
        };
        let permissions = &membership["permissions"];
        assert_eq!(
            (&permissions["Token"], &permissions["Access"]),
            (&json!(token), &json!(access))
        );
        let path = format!("/registries/{}/tokens", text(&membership["registryId"]));
        let made = actor
            .post(&path, json!({"properties": {"name": "ci"}}))
            .await;
        assert_eq!(made.status == 201, token == "write", "{level}: {made:?}");
    }
}

#[rstest]
#[actix_web::test]
async fn only_the_first_hundred_memberships_are_named_and_all_are_counted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let bob = admin.create_account("bob", &[]).await;
    for number in 0..101 {
        let registry = admin.create_registry(&format!("team-{number}")).await;
        admin.set_member(&registry, &bob, "reader").await;
    }
    let me = server.actor("bob", "right-password").get("/me").await;
    let properties = &me.json["properties"];
    assert_eq!(properties["memberships"].as_array().unwrap().len(), 100);
    assert_eq!(properties["memberships"][0]["registryName"], "team-0");
    assert_eq!(properties["membershipTotal"], 101);
}

#[rstest]
#[actix_web::test]
async fn a_token_and_a_session_learn_what_they_are_and_when_they_end(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let (token, id) = generate(&server.admin(), "nightly", "Analyst", END).await;
    let me = server.bearer(&token).get("/me").await;
    let credential = json!({
        "kind": "api-token", "id": id, "name": "nightly", "roles": ["Analyst"], "expiryDate": END,
    });
    assert_eq!(me.json["properties"]["credential"], credential);
    assert_eq!(me.json["properties"]["name"], "admin");
    // What the token may do, not what its account may.
    assert_eq!(permission(&me, "Token"), ("read", "read"));

    let ticket = server.sign_in("admin", ADMIN_PASSWORD).await;
    let signed_in_at = server.service.now();
    let me = server.session(&ticket).get("/me").await;
    let date =
        |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    let credential = json!({
        "kind": "session",
        "signedInDate": date(signed_in_at),
        "expiryDate": date(signed_in_at + TimeDelta::hours(1)),
    });
    assert_eq!(me.json["properties"]["credential"], credential);
    server.clock.advance(TimeDelta::hours(1));
    assert_eq!(server.session(&ticket).get("/me").await.status, 401);
}

#[rstest]
#[actix_web::test]
async fn a_member_without_a_role_changes_their_own_password(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let bob = admin.create_account("bob", &[]).await;
    admin.set_member(&registry, &bob, "reader").await;
    let before = server.actor("bob", "right-password");
    let ticket = server.sign_in("bob", "right-password").await;
    let (code, _) = app_token(&before, "laptop").await;
    let path = format!("/registries/{registry}");
    assert_eq!(before.get(&path).await.status, 200);

    let changed = before
        .put(PASSWORD, password("right-password", "another-password"))
        .await;
    assert_eq!((changed.status, changed.text.as_str()), (204, ""));
    assert_eq!(before.get(&path).await.status, 401);
    let after = server.actor("bob", "another-password");
    assert_eq!(after.get(&path).await.status, 200);
    // It gives what the account has, and no more.
    assert_eq!(after.get("/accounts").await.status, 403);
    // The session ended, the app token did not.
    assert_eq!(server.session(&ticket).get("/me").await.status, 401);
    let check = [("service", "team-a.localhost")];
    let opens = server.actor("$app", &code);
    assert_eq!(opens.ask("/token", &check).await.status, 200);

    let revoking = format!("{PASSWORD}?revokeTokens=true");
    let body = password("another-password", "a-third-password");
    assert_eq!(after.put(&revoking, body).await.status, 204);
    assert_eq!(opens.ask("/token", &check).await.status, 401);

    let path = format!("/audit/export?subject={bob}&kind=update");
    let events = admin.get(&path).await;
    let events: Vec<Value> = events
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0]["actorName"], "bob");
    assert_eq!(events[0]["detail"]["after"]["password"], "changed");
    assert_eq!(events[0]["detail"]["credential"]["kind"], "password");
    assert_eq!(events[1]["detail"]["after"]["tokens"], "revoked");
}

#[rstest]
#[actix_web::test]
async fn refresh_tokens_end_with_the_password(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    admin.create_registry("team-a").await;
    let service = ("service", "team-a.localhost");
    let offline = admin
        .ask("/token", &[service, ("offline_token", "true")])
        .await;
    let refresh = text(&offline.json["refresh_token"]);
    let fields = [
        ("grant_type", "refresh_token"),
        service,
        ("client_id", "test"),
        ("refresh_token", &refresh),
    ];
    let again = async || server.anonymous().form("/token", &fields).await.status;
    assert_eq!(again().await, 200);
    let body = password(ADMIN_PASSWORD, "another-password");
    assert_eq!(admin.put(PASSWORD, body).await.status, 204);
    assert_eq!(again().await, 401);
}

#[rstest]
#[actix_web::test]
async fn a_wrong_present_password_changes_nothing_and_counts_as_a_failed_login(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let limits = ["--failures-per-identity", "3", WITHOUT_BACKGROUND];
    let server = Server::start_with(backend, &limits).await;
    let admin = server.admin();
    let bob = admin.create_account("bob", &[]).await;
    let actor = server.actor("bob", "right-password");
    assert_eq!(actor.get("/me").await.status, 200);
    for guess in ["guess-one", "guess-two", "guess-three"] {
        let answer = actor
            .put(PASSWORD, password(guess, "another-password"))
            .await;
        // Not 401: the credentials of the request are right.
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.codes(), ["invalid-present-password"]);
        assert!(!answer.text.contains(guess), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), "");
    }
    let answer = actor
        .put(PASSWORD, password("guess-four", "another-password"))
        .await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_ne!(answer.header("retry-after"), "");
    // The right one still works, as at every login.
    assert_eq!(actor.get("/me").await.status, 200);
    let body = password("right-password", "another-password");
    assert_eq!(actor.put(PASSWORD, body).await.status, 204);

    server.service.flush_audit(true).await.unwrap();
    let refused = admin
        .get("/audit/export?kind=refuse&outcome=unauthenticated")
        .await;
    assert!(refused.text.contains("\"bob\""), "{refused:?}");
    assert!(!refused.text.contains("guess"), "{refused:?}");
    let updates = admin
        .get(&format!("/audit/export?subject={bob}&kind=update"))
        .await;
    assert_eq!(updates.text.lines().count(), 1, "{updates:?}");
}

#[rstest]
#[actix_web::test]
async fn a_password_is_changed_by_a_password_or_a_session_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let (token, _) = generate(&admin, "t", "Admin", END).await;
    let body = password(ADMIN_PASSWORD, "another-password");
    let refused = server.bearer(&token).put(PASSWORD, body.clone()).await;
    assert_eq!((refused.status, refused.codes()), (403, vec!["forbidden"]));
    assert!(refused.message().contains("API token"), "{refused:?}");

    let ticket = server.sign_in("admin", ADMIN_PASSWORD).await;
    let session = server.session(&ticket);
    let wrong = session.put(PASSWORD, password("a-guess", "another-password"));
    assert_eq!(wrong.await.codes(), ["invalid-present-password"]);
    // A page of another site cannot know the CSRF token.
    let mut forged = ticket.clone();
    forged.csrf_token = "bm90LXRoZS10b2tlbg".to_owned();
    let refused = server.session(&forged).put(PASSWORD, body.clone()).await;
    assert_eq!((refused.status, refused.codes()), (403, vec!["forbidden"]));
    assert_eq!(session.put(PASSWORD, body).await.status, 204);
    assert_eq!(session.get("/me").await.status, 401);
    let after = server.actor("admin", "another-password");
    let events = after.get("/audit/export?kind=update").await;
    assert!(events.text.contains(r#""kind":"session""#), "{events:?}");
}

#[rstest]
#[actix_web::test]
async fn a_new_password_follows_the_rules_and_the_condition(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for wrong in ["short", "tab\tinside", &"x".repeat(72)] {
        let answer = admin.put(PASSWORD, password(ADMIN_PASSWORD, wrong)).await;
        assert_eq!(answer.codes(), ["invalid-password"], "{answer:?}");
    }
    for body in [
        json!({"properties": {"password": "another-password"}}),
        json!({"properties": {"password": 1, "presentPassword": ADMIN_PASSWORD}}),
        json!({"password": "another-password", "presentPassword": ADMIN_PASSWORD}),
    ] {
        let answer = admin.put(PASSWORD, body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(!answer.text.contains(ADMIN_PASSWORD), "{answer:?}");
    }
    let id = text(&admin.get("/me").await.json["id"]);
    let tag = admin.get(&format!("/accounts/{id}")).await;
    let tag = tag.header("etag").to_owned();
    let conditional = async |tag: &str| {
        let body = password(ADMIN_PASSWORD, ADMIN_PASSWORD);
        let request = admin.request(reqwest::Method::PUT, PASSWORD).json(&body);
        admin.send(request.header("if-match", tag)).await.status
    };
    assert_eq!(conditional("\"1-99\"").await, 412);
    assert_eq!(conditional(&tag).await, 204);
    assert_eq!(conditional(&tag).await, 412);
}

#[rstest]
#[actix_web::test]
async fn an_account_that_is_not_let_in_learns_nothing_of_its_password(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let bob = admin.create_account("bob", &[]).await;
    let actor = server.actor("bob", "right-password");
    assert_eq!(actor.get("/me").await.status, 200);
    let path = format!("/accounts/{bob}");
    let disabled = admin.patch(&path, json!({"status": "disabled"})).await;
    assert_eq!(disabled.status, 200);
    for present in ["right-password", "a-wrong-one"] {
        let body = password(present, "another-password");
        assert_eq!(actor.put(PASSWORD, body).await.status, 401);
    }
}

#[rstest]
#[actix_web::test]
async fn an_account_sees_and_ends_its_own_tokens_and_no_others(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let (_, foreign) = generate(&admin, "foreign", "Analyst", END).await;
    let (_, foreign_app) = app_token(&admin, "foreign").await;
    server.add_account("ann", "right-password", "Admin").await;
    let ann = server.actor("ann", "right-password");
    let (token, id) = generate(&ann, "own", "Analyst", END).await;
    let (code, app) = app_token(&ann, "laptop").await;
    // Without a role it still may.
    let me = text(&ann.get("/me").await.json["id"]);
    let path = format!("/accounts/{me}");
    let demoted = admin.patch(&path, json!({"roles": []})).await;
    assert_eq!(demoted.status, 200);

    let list = ann.get("/me/api-tokens").await;
    assert_eq!(names(&list), ["own"]);
    assert_eq!(list.json["total"], 1);
    let item = &list.json["items"][0];
    assert_eq!(item["id"], id);
    assert_eq!(item["type"], "api-token");
    assert_eq!(item["metadata"]["state"], "enabled");
    assert_eq!(item["properties"]["roles"], json!(["Analyst"]));
    assert_eq!(item["properties"]["ownerName"], "ann");
    assert_eq!(item["properties"]["expiryDate"], END);
    assert!(!list.text.contains(&token), "{list:?}");
    let apps = ann.get("/me/app-tokens").await;
    assert_eq!(names(&apps), ["laptop"]);
    assert_eq!(apps.json["items"][0]["type"], "app-token");
    assert!(!apps.text.contains(&code), "{apps:?}");

    for (path, code) in [
        (format!("/me/api-tokens/{foreign}"), "api-token-not-found"),
        (
            format!("/me/app-tokens/{foreign_app}"),
            "app-token-not-found",
        ),
    ] {
        let refused = ann.delete(&path).await;
        assert_eq!((refused.status, refused.codes()), (404, vec![code]));
    }
    for _ in 0..2 {
        let revoked = ann.delete(&format!("/me/api-tokens/{id}")).await;
        assert_eq!(revoked.status, 204);
    }
    let list = ann.get("/me/api-tokens").await;
    assert_eq!(list.json["items"][0]["metadata"]["state"], "revoked");
    assert_eq!(server.bearer(&token).get("/me").await.status, 401);
    let path = format!("/me/app-tokens/{app}");
    assert_eq!(ann.delete(&path).await.status, 204);
    assert_eq!(ann.delete(&path).await.status, 404);
    assert_eq!(names(&ann.get("/me/app-tokens").await), Vec::<&str>::new());
}

#[rstest]
#[actix_web::test]
async fn an_api_token_ends_no_more_here_than_on_its_own_surface(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let (whole, id) = generate(&admin, "whole", "Admin", END).await;
    let (reads, _) = generate(&admin, "reads", "Analyst", END).await;
    let (builds, _) = generate(&admin, "builds", "Continuous Integration", END).await;
    let (_, app) = app_token(&admin, "laptop").await;
    let api_token = format!("/me/api-tokens/{id}");
    let app_token = format!("/me/app-tokens/{app}");
    for (token, list, apps) in [(&builds, 403, 403), (&reads, 200, 403)] {
        let bearer = server.bearer(token);
        assert_eq!(bearer.get("/me/api-tokens").await.status, list);
        assert_eq!(bearer.get("/me/app-tokens").await.status, apps);
        assert_eq!(bearer.delete(&api_token).await.status, 403);
        assert_eq!(bearer.delete(&app_token).await.status, 403);
    }
    let bearer = server.bearer(&whole);
    assert_eq!(bearer.get("/me/app-tokens").await.status, 200);
    assert_eq!(bearer.delete(&app_token).await.status, 204);
    assert_eq!(bearer.delete(&api_token).await.status, 204);
    assert_eq!(bearer.get("/me").await.status, 401);
}

#[rstest]
#[actix_web::test]
async fn a_session_sees_its_tokens_and_needs_its_csrf_token_to_end_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--fresh-login", "10m"]).await;
    let admin = server.admin();
    let (_, id) = generate(&admin, "t", "Analyst", END).await;
    let (_, app) = app_token(&admin, "laptop").await;
    let ticket = server.sign_in("admin", ADMIN_PASSWORD).await;
    let session = server.session(&ticket);
    assert_eq!(names(&session.get("/me/api-tokens").await), ["t"]);
    let mut forged = ticket.clone();
    forged.csrf_token = String::new();
    let path = format!("/me/api-tokens/{id}");
    assert_eq!(server.session(&forged).delete(&path).await.status, 403);
    assert_eq!(session.delete(&path).await.status, 204);
    // As at /api/v1, an old sign-in ends no app token.
    server.clock.advance(TimeDelta::minutes(11));
    let path = format!("/me/app-tokens/{app}");
    assert_eq!(session.delete(&path).await.status, 401);
    let fresh = server.session(&server.sign_in("admin", ADMIN_PASSWORD).await);
    assert_eq!(fresh.delete(&path).await.status, 204);
    // Elsewhere in this API a session is no credential.
    assert_eq!(fresh.get("/registries").await.status, 401);
}

/// A server with tokens of two accounts: `admin` made `ci-one`, `CI-two` and `other`, `ann` made `ann's`.
async fn estate(backend: Backend) -> (Server, Vec<String>) {
    let server = Server::start_with(backend, &[WITHOUT_BACKGROUND]).await;
    let admin = server.admin();
    server.add_account("ann", "right-password", "Admin").await;
    let ann = server.actor("ann", "right-password");
    let mut tokens = Vec::new();
    for (actor, name, end) in [
        (&admin, "ci-one", "2026-11-28T00:00:00Z"),
        (&admin, "CI-two", END),
        (&admin, "other", END),
        (&ann, "ann's", END),
    ] {
        tokens.push(generate(actor, name, "Analyst", end).await.0);
        app_token(actor, name).await;
    }
    (server, tokens)
}

#[rstest]
#[actix_web::test]
async fn all_issued_tokens_are_found_by_owner_maker_name_and_state(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (server, _) = estate(backend).await;
    let admin = server.admin();
    let ann = text(&server.actor("ann", "right-password").get("/me").await.json["id"]);
    for path in ["/api-tokens", "/app-tokens"] {
        let found = async |query: &[(&str, &str)]| {
            let answer = admin.ask(path, query).await;
            let found: Vec<_> = names(&answer).into_iter().map(str::to_owned).collect();
            assert_eq!(answer.json["total"], found.len(), "{query:?}");
            found
        };
        let all = ["ci-one", "CI-two", "other", "ann's"];
        assert_eq!(found(&[]).await, all);
        assert_eq!(found(&[("name", "ci-*")]).await, all[..2]);
        assert_eq!(found(&[("name", "CI-ONE")]).await, all[..1]);
        assert_eq!(found(&[("name", "ci-")]).await, [""; 0]);
        assert_eq!(found(&[("name", "*")]).await, all);
        assert_eq!(found(&[("name", "%")]).await, [""; 0]);
        assert_eq!(found(&[("name", "ann's")]).await, all[3..]);
        for parameter in ["owner", "createdBy"] {
            assert_eq!(found(&[(parameter, "Ann")]).await, all[3..]);
            assert_eq!(found(&[(parameter, &ann)]).await, all[3..]);
            assert_eq!(found(&[(parameter, "nobody")]).await, [""; 0]);
        }
        let both = [("owner", "admin"), ("name", "o*")];
        assert_eq!(found(&both).await, all[2..3]);
        assert_eq!(found(&[("state", "enabled")]).await, all);
    }
    let none = admin.get("/api-tokens?state=revoked").await;
    assert_eq!(names(&none), [""; 0]);
}

#[rstest]
#[actix_web::test]
async fn all_issued_tokens_are_found_by_their_end_and_their_use(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (server, tokens) = estate(backend).await;
    let admin = server.admin();
    let found = async |path: &str, query: &[(&str, &str)]| {
        let answer = admin.ask(path, query).await;
        let found: Vec<_> = names(&answer).into_iter().map(str::to_owned).collect();
        found
    };
    let (api, app) = ("/api-tokens", "/app-tokens");
    assert_eq!(found(api, &[("expiringWithin", "P14D")]).await, ["ci-one"]);
    assert_eq!(found(app, &[("expiringWithin", "P1D")]).await, [""; 0]);
    assert_eq!(found(api, &[("unusedSince", "PT1H")]).await, [""; 0]);
    server.clock.advance(TimeDelta::hours(2));
    assert_eq!(server.bearer(&tokens[2]).get("/me").await.status, 200);
    server.service.flush_usage().await.unwrap();
    let unused = found(api, &[("unusedSince", "PT1H")]).await;
    assert_eq!(unused, ["ci-one", "CI-two", "ann's"]);
    assert_eq!(found(app, &[("unusedSince", "PT1H")]).await.len(), 4);
    let never = found(api, &[("neverUsed", "true")]).await;
    assert_eq!(never, ["ci-one", "CI-two", "ann's"]);
    assert_eq!(found(api, &[("neverUsed", "false")]).await, ["other"]);
    assert_eq!(found(app, &[("neverUsed", "true")]).await.len(), 4);
    let used = admin.ask(api, &[("name", "other")]).await;
    let last = &used.json["items"][0]["metadata"]["lastUsedDate"];
    assert!(last.is_string(), "{used:?}");
    server.clock.advance(TimeDelta::days(7));
    assert_eq!(found(api, &[("state", "expired")]).await, ["ci-one"]);
    assert_eq!(found(api, &[("expiringWithin", "P1D")]).await, [""; 0]);
}

#[rstest]
#[actix_web::test]
async fn lists_of_issued_tokens_have_pages_and_refuse_what_they_do_not_know(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let (server, _) = estate(backend).await;
    let admin = server.admin();
    for path in ["/api-tokens", "/app-tokens"] {
        let query = [("limit", "1"), ("owner", "admin"), ("name", "*")];
        let mut next = format!("{path}?{}", encoded(&query));
        let mut seen = Vec::new();
        while !next.is_empty() {
            let page = admin.get(&next).await;
            seen.extend(names(&page).into_iter().map(str::to_owned));
            assert_eq!(page.json["total"], 3);
            let link = text(&page.json["_links"]["next"]);
            next = link
                .strip_prefix(admin.base())
                .unwrap_or_default()
                .to_owned();
        }
        assert_eq!(seen, ["ci-one", "CI-two", "other"]);
        for (query, code) in [
            ("state=disabled", "invalid-state"),
            ("unusedSince=1d", "invalid-unused-since"),
            ("expiringWithin=P", "invalid-expiring-within"),
            ("name=a%00", "invalid-name"),
            ("owner=a%00", "invalid-owner"),
            ("createdBy=a%0A", "invalid-created-by"),
            ("limit=1001", "invalid-limit"),
            ("neverUsed=yes", "invalid-never-used"),
            ("sort=name", "invalid-query"),
            ("name=a&name=b", "invalid-query"),
        ] {
            let refused = admin.get(&format!("{path}?{query}")).await;
            assert_eq!((refused.status, refused.codes()), (400, vec![code]));
        }
    }
    for (query, code) in [
        ("registryId=team-a", "invalid-registry-id"),
        ("type=app-token", "invalid-type"),
    ] {
        let refused = admin.get(&format!("/api-tokens?{query}")).await;
        assert_eq!((refused.status, refused.codes()), (400, vec![code]));
        let refused = admin.get(&format!("/app-tokens?{query}")).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (400, vec!["invalid-query"])
        );
    }
    // No app token is revoked: it is deleted.
    let refused = admin.get("/app-tokens?state=revoked").await;
    assert_eq!(refused.codes(), ["invalid-state"]);
    assert!(
        refused.message().contains("enabled, expired"),
        "{refused:?}"
    );
    let refused = admin.get("/me/api-tokens?owner=admin").await;
    assert_eq!(refused.codes(), ["invalid-query"]);
}

#[rstest]
#[actix_web::test]
async fn issued_tokens_of_others_are_ended_by_those_who_may(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    server.add_account("ann", "right-password", "Admin").await;
    let ann = server.actor("ann", "right-password");
    let (token, id) = generate(&ann, "t", "Analyst", END).await;
    let (_, app) = app_token(&ann, "laptop").await;
    let (api, app) = (format!("/api-tokens/{id}"), format!("/app-tokens/{app}"));
    // Who manages accounts, but holds less than this one does.
    server
        .database
        .execute("INSERT INTO roles (name, description, built_in) VALUES ('Clerk', '', 0)");
    for resource in ["Access", "Integration"] {
        server.database.execute(&format!(
            "INSERT INTO role_permissions (role_key, resource, level) \
             SELECT key, '{resource}', 2 FROM roles WHERE name = 'Clerk'"
        ));
    }
    server.add_account("clerk", "right-password", "Clerk").await;
    let clerk = server.actor("clerk", "right-password");
    assert_eq!(clerk.get("/app-tokens").await.status, 200);
    assert_eq!(clerk.delete(&app).await.status, 403);
    assert_eq!(server.analyst().delete(&api).await.status, 403);
    assert_eq!(server.analyst().delete(&app).await.status, 403);
    assert_eq!(clerk.delete(&api).await.status, 204);
    assert_eq!(server.bearer(&token).get("/me").await.status, 401);
    assert_eq!(admin.delete(&app).await.status, 204);
    assert_eq!(admin.delete(&app).await.codes(), ["app-token-not-found"]);
    let malformed = admin.delete("/api-tokens/x").await;
    assert_eq!(malformed.codes(), ["invalid-api-token-id"]);
}
