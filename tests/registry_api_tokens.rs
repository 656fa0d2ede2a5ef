//! Registry API tokens: who makes, sees and ends them, and that they act on one registry alone, within their level and
//! within what their maker holds there at the time.

use chrono::TimeDelta;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Server, scopes};

const END: &str = "2027-01-01T00:00:00Z";

fn wish(name: &str, level: &str) -> Value {
    json!({"properties": {"name": name, "level": level, "expiryDate": END}})
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A registry API token just made.
struct Made {
    bearer: Actor,
    secret: String,
    id: String,
    /// Its path in the registries API.
    path: String,
}

async fn make(server: &Server, maker: &Actor, registry: &str, level: &str) -> Made {
    let tokens = format!("/registries/{registry}/api-tokens");
    let answer = maker.post(&tokens, wish("nightly", level)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let secret = text(&answer.json["properties"]["token"]);
    let id = text(&answer.json["id"]);
    Made {
        bearer: server.bearer(&secret),
        secret,
        path: format!("{tokens}/{id}"),
        id,
    }
}

/// A server with a registry `team-a` and a member of each level, named after it.
struct Team {
    server: Server,
    admin: Actor,
    registry: String,
    accounts: [String; 3],
}

impl Team {
    async fn start(backend: Backend) -> Self {
        Self::start_with(backend, &[]).await
    }

    async fn start_with(backend: Backend, flags: &[&str]) -> Self {
        let server = Server::start_with(backend, flags).await;
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let mut accounts = Vec::new();
        for level in ["reader", "maintainer", "owner"] {
            let account = admin.create_account(level, &[]).await;
            admin.set_member(&registry, &account, level).await;
            accounts.push(account);
        }
        Self {
            admin,
            registry,
            accounts: accounts.try_into().unwrap(),
            server,
        }
    }

    fn member(&self, level: &str) -> Actor {
        self.server.actor(level, "right-password")
    }

    fn path(&self, below: &str) -> String {
        format!("/registries/{}{below}", self.registry)
    }

    async fn make(&self, maker: &Actor, level: &str) -> Made {
        make(&self.server, maker, &self.registry, level).await
    }

    async fn mint(&self, bearer: &Actor, name: &str, scope: &str) -> Answer {
        let properties = json!({"name": name, "scopes": scopes(&[scope])});
        let tokens = self.path("/tokens");
        bearer
            .post(&tokens, json!({"properties": properties}))
            .await
    }

    async fn audit(&self, query: &str) -> Vec<Value> {
        self.server.service.flush_audit(true).await.unwrap();
        let answer = self.admin.get(&format!("/audit/export?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[rstest]
#[actix_web::test]
async fn an_owner_makes_one_that_manages_tokens_and_is_shown_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let owner = team.member("owner");
    let tokens = team.path("/api-tokens");
    let mut body = wish("nightly", "maintainer");
    body["properties"]["description"] = json!("Makes tokens for the nightly build");
    let made = owner.post(&tokens, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("cache-control"), "no-store");
    assert_eq!(made.json["type"], "registry-api-token");
    let properties = &made.json["properties"];
    assert_eq!(properties["name"], "nightly");
    assert_eq!(properties["level"], "maintainer");
    assert_eq!(properties["registryId"], team.registry);
    assert_eq!(properties["expiryDate"], END);
    assert_eq!(properties["ownerName"], "owner");
    assert_eq!(made.json["metadata"]["createdBy"], "owner");
    assert_eq!(made.json["metadata"]["state"], "enabled");

    let secret = text(&properties["token"]);
    let bearer = team.server.bearer(&secret);
    assert_eq!(
        team.mint(&bearer, "ci", "repository:a:pull,push")
            .await
            .status,
        201
    );
    let path = format!("{tokens}/{}", text(&made.json["id"]));
    let shown = owner.get(&path).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(
        shown.json["properties"]["description"],
        "Makes tokens for the nightly build"
    );
    let list = owner.get(&tokens).await;
    assert_eq!(list.json["total"], 1);
    assert_eq!(list.json["items"][0], shown.json);
    for answer in [&shown, &list] {
        assert!(!answer.text.contains(&secret), "{answer:?}");
        assert!(answer.json["properties"].get("token").is_none());
    }
    assert_eq!(shown.header("etag"), made.header("etag"));
}

#[rstest]
#[actix_web::test]
async fn it_does_what_its_level_permits_and_no_more(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let token = team.admin.create_token(&team.registry, "old").await;
    let account = &team.accounts[0];
    for (level, may_write) in [("reader", false), ("maintainer", true)] {
        let made = team.make(&team.admin, level).await;
        let bearer = &made.bearer;
        let expect = async |method: Method, below: &str, body: Value, status: u16| {
            let path = team.path(below);
            let request = bearer.request(method.clone(), &path).json(&body);
            let answer = bearer.send(request).await;
            assert_eq!(answer.status, status, "{level}: {method} {path} {answer:?}");
        };
        let write = |status: u16| if may_write { status } else { 403 };
        let null = Value::Null;
        expect(Method::GET, "", null.clone(), 200).await;
        expect(Method::GET, "/tokens", null.clone(), 200).await;
        expect(Method::GET, "/auth-bundle.pem", null.clone(), 200).await;
        let one = format!("/tokens/{token}");
        expect(
            Method::PATCH,
            &one,
            json!({"status": "disabled"}),
            write(200),
        )
        .await;
        let rotate = format!("{one}/rotate");
        expect(
            Method::POST,
            &rotate,
            json!({"gracePeriod": "PT1H"}),
            write(200),
        )
        .await;
        // A maintainer deletes no images, so neither does a token that this one makes.
        let deletes = team.mint(bearer, "deletes", "repository:a:delete").await;
        assert_eq!(deletes.status, 403, "{deletes:?}");
        let new = json!({"apiSubnetAllowList": ["10.0.0.0/8"]});
        expect(Method::PATCH, "", new, 403).await;
        let put = json!({"properties": {"name": "team-a", "location": "de/fra"}});
        expect(Method::PUT, "", put, 403).await;
        expect(Method::DELETE, "", null.clone(), 403).await;
        expect(Method::GET, "/members", null.clone(), 403).await;
        let member = format!("/members/{account}");
        expect(Method::PUT, &member, json!({"level": "reader"}), 403).await;
        expect(Method::DELETE, &member, null.clone(), 403).await;
        expect(Method::GET, "/api-tokens", null.clone(), 403).await;
        expect(Method::POST, "/api-tokens", wish("more", "reader"), 403).await;
        let own = format!("/api-tokens/{}", made.id);
        expect(Method::GET, &own, null.clone(), 403).await;
        expect(Method::DELETE, &own, null, 403).await;
    }
}

#[rstest]
#[actix_web::test]
async fn it_sees_no_other_registry_and_nothing_beyond(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let other = team.admin.create_registry("team-b").await;
    team.admin.create_token(&other, "theirs").await;
    team.admin.create_token(&team.registry, "ours").await;
    for account in &team.accounts {
        team.admin.set_member(&other, account, "owner").await;
    }
    for maker in [&team.admin, &team.member("owner")] {
        let made = team.make(maker, "maintainer").await;
        let bearer = &made.bearer;
        let list = bearer.get("/registries").await;
        assert_eq!(list.status, 200, "{list:?}");
        assert_eq!(list.json["items"].as_array().unwrap().len(), 1);
        assert_eq!(list.json["items"][0]["id"], team.registry);
        let found = bearer.get("/registries?filter.name=team-b").await;
        assert_eq!(found.json["items"], json!([]));
        let all = bearer.get("/tokens").await;
        assert_eq!((all.status, &all.json["total"]), (200, &json!(1)));
        assert_eq!(
            all.json["items"][0]["metadata"]["registryId"],
            team.registry
        );
        let theirs = bearer.get(&format!("/tokens?registryId={other}")).await;
        assert_eq!(theirs.codes(), ["registry-not-found"]);
        for below in ["", "/tokens", "/members", "/api-tokens", "/auth-bundle.pem"] {
            let hidden = bearer.get(&format!("/registries/{other}{below}")).await;
            assert_eq!(hidden.status, 404, "{below}: {hidden:?}");
            assert_eq!(hidden.codes(), ["registry-not-found"]);
        }
        let new = json!({"properties": {"name": "xy"}});
        let tokens = format!("/registries/{other}/tokens");
        assert_eq!(bearer.post(&tokens, new).await.status, 404);
        let me = text(&bearer.get("/me").await.json["id"]);
        for path in [
            "/accounts",
            &format!("/accounts/{me}"),
            "/audit",
            "/locations",
            "/api-tokens",
            "/app-tokens",
            "/me/api-tokens",
            "/me/app-tokens",
            "/api/v1/user/apptoken",
            "/v1/apitokens",
            "/v1/apitokens/generate/allowed-roles",
            "/v1/auth/status",
        ] {
            let refused = bearer.get(path).await;
            assert_eq!(refused.status, 403, "{path}: {refused:?}");
            let why = "this is a registry API token, which acts on its registry alone";
            assert!(
                refused.text.contains(why) || path.starts_with("/api/v1"),
                "{path}: {refused:?}"
            );
        }
        let named = bearer.request(Method::HEAD, "/names/team-b");
        assert_eq!(bearer.send(named).await.status, 403);
        let registry = json!({"properties": {"name": "team-c", "location": "de/fra"}});
        assert_eq!(bearer.post("/registries", registry).await.status, 403);
        let app = bearer.post("/api/v1/user/apptoken", json!({"title": "t"}));
        assert_eq!(app.await.status, 403);
        let more = bearer.post("/v1/apitokens/generate", json!({"name": "t"}));
        assert_eq!(more.await.status, 403);
    }
}

#[rstest]
#[actix_web::test]
async fn it_opens_no_registry_for_clients(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let made = team.make(&team.admin, "maintainer").await;
    let service = [("service", "team-a.localhost")];
    for client in [
        made.bearer.clone(),
        team.server.actor("admin", &made.secret),
        team.server.actor("nightly", &made.secret),
    ] {
        assert_eq!(client.ask("/token", &service).await.status, 401);
        let check = client
            .request(Method::GET, "/v2/check?service=team-a.localhost")
            .header("x-original-method", "GET")
            .header("x-original-uri", "/v2/");
        assert_eq!(client.send(check).await.status, 401);
    }
}

#[rstest]
#[actix_web::test]
async fn it_says_what_it_is(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let team = Team::start(backend).await;
    let made = team.make(&team.admin, "maintainer").await;
    let me = made.bearer.get("/me").await;
    let credential = json!({
        "kind": "registry-api-token", "id": made.id, "name": "nightly", "registryId": team.registry,
        "registryName": "team-a", "level": "maintainer", "expiryDate": END,
        "permissions": {"Registry": "read", "Token": "write", "Access": "none", "Image": "read"},
    });
    assert_eq!(me.json["properties"]["credential"], credential);
    // What its maker may do elsewhere is not its business.
    assert_eq!(me.json["properties"]["roles"], json!([]));
    assert_eq!(me.json["properties"]["memberships"], json!([]));
    let permissions = me.json["properties"]["permissions"].as_array().unwrap();
    for permission in permissions {
        assert_eq!(permission["everywhere"], "none", "{permission}");
        let expected = match permission["resource"].as_str().unwrap() {
            "Token" => "write",
            "Registry" | "Image" => "read",
            _ => "none",
        };
        assert_eq!(permission["asMember"], expected, "{permission}");
    }
    let refused = made.bearer.put(
        "/me/password",
        json!({"properties": {"presentPassword": "a-password", "password": "another-password"}}),
    );
    assert_eq!(refused.await.status, 403);
}

#[rstest]
#[actix_web::test]
async fn it_says_what_its_maker_lost(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(&[], &["Continuous Integration"], &["Admin"])] roles: &[&str],
) {
    let team = Team::start(backend).await;
    let account = team.admin.create_account("maker", roles).await;
    let member = team.path(&format!("/members/{account}"));
    team.admin
        .set_member(&team.registry, &account, "owner")
        .await;
    let made = team.make(&team.member("maker"), "maintainer").await;
    for (demoted, expected) in [
        (
            Some("reader"),
            if roles.is_empty() { "read" } else { "write" },
        ),
        (None, if roles == ["Admin"] { "write" } else { "none" }),
    ] {
        match demoted {
            Some(level) => team.admin.set_member(&team.registry, &account, level).await,
            None => assert_eq!(team.admin.delete(&member).await.status, 204),
        }
        let me = made.bearer.get("/me").await;
        let permissions = me.json["properties"]["permissions"].as_array().unwrap();
        let token = permissions.iter().find(|one| one["resource"] == "Token");
        assert_eq!(token.unwrap()["asMember"], expected, "{demoted:?} {me:?}");
        let own = &me.json["properties"]["credential"]["permissions"];
        let expected_own = (expected != "none").then_some(expected);
        assert_eq!(own["Token"].as_str(), expected_own, "{demoted:?} {me:?}");
        let minted = team.mint(&made.bearer, "ci", "repository:a:pull").await;
        let status = match expected {
            "write" => 201,
            "read" => 403,
            _ => 404,
        };
        assert_eq!(minted.status, status, "{demoted:?} {minted:?}");
        if status == 201 {
            let id = text(&minted.json["id"]);
            team.admin
                .delete(&team.path(&format!("/tokens/{id}")))
                .await;
        }
    }
}

#[rstest]
#[actix_web::test]
async fn members_make_their_own_up_to_their_level(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    team.admin.create_account("stranger", &[]).await;
    let tokens = team.path("/api-tokens");
    for (maker, reader, maintainer) in [
        ("reader", 201, 403),
        ("maintainer", 201, 201),
        ("owner", 201, 201),
        ("stranger", 404, 404),
    ] {
        let actor = team.member(maker);
        for (level, status) in [("reader", reader), ("maintainer", maintainer)] {
            let answer = actor.post(&tokens, wish(maker, level)).await;
            assert_eq!(answer.status, status, "{maker} {level}: {answer:?}");
        }
        let owner = actor.post(&tokens, wish(maker, "owner")).await;
        if maker == "stranger" {
            assert_eq!(actor.get(&tokens).await.status, 404);
        } else {
            assert_eq!(owner.codes(), ["invalid-level"], "{owner:?}");
        }
    }
    // By a role that sees registries and pulls nothing there is none to give.
    let analyst = team
        .server
        .analyst()
        .post(&tokens, wish("a", "reader"))
        .await;
    assert_eq!(analyst.status, 403, "{analyst:?}");
    for (viewer, count) in [("reader", 1), ("maintainer", 2), ("owner", 5)] {
        let list = team.member(viewer).get(&tokens).await;
        assert_eq!(list.json["total"], count, "{viewer}: {list:?}");
    }
}

#[rstest]
#[actix_web::test]
async fn its_maker_an_owner_and_an_admin_end_it_and_nobody_else(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let maintainer = team.member("maintainer");
    for ender in [&maintainer, &team.member("owner"), &team.admin] {
        let made = team.make(&maintainer, "maintainer").await;
        assert_eq!(made.bearer.get(&team.path("")).await.status, 200);
        let reader = team.member("reader");
        for method in [Method::GET, Method::DELETE] {
            let request = reader.request(method.clone(), &made.path);
            let hidden = reader.send(request).await;
            assert_eq!(hidden.codes(), ["api-token-not-found"], "{method}");
        }
        assert_eq!(team.server.analyst().delete(&made.path).await.status, 404);
        let stale = ender.request(Method::DELETE, &made.path);
        let stale = ender.send(stale.header("if-match", "\"1-7\"")).await;
        assert_eq!(stale.status, 412, "{stale:?}");
        assert_eq!(ender.delete(&made.path).await.status, 204);
        assert_eq!(made.bearer.get(&team.path("")).await.status, 401);
        let state = maintainer.get(&made.path).await;
        assert_eq!(state.json["metadata"]["state"], "revoked");
        // Once more is no error, and no event.
        assert_eq!(ender.delete(&made.path).await.status, 204);
        let events = team.audit(&format!("subject={}", made.id)).await;
        let kinds: Vec<_> = events.iter().map(|event| text(&event["kind"])).collect();
        assert_eq!(kinds, ["create", "revoke", "refuse"], "{events:?}");
        assert_eq!(events[0]["registry"], team.registry);
        assert_eq!(events[0]["detail"]["after"]["level"], "maintainer");
    }
}

#[rstest]
#[actix_web::test]
async fn an_api_token_makes_and_ends_them_only_if_it_manages_members(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let made = team.make(&team.admin, "reader").await;
    let tokens = team.path("/api-tokens");
    for (role, list, post, delete) in [
        ("Continuous Integration", 403, 403, 403),
        ("Analyst", 200, 403, 403),
        ("Admin", 200, 201, 204),
    ] {
        let wanted = json!({"name": "t", "role": role, "expiration": "2026-12-24T00:00:00Z"});
        let answer = team.admin.post("/v1/apitokens/generate", wanted).await;
        let bearer = team.server.bearer(answer.json["token"].as_str().unwrap());
        assert_eq!(bearer.get(&tokens).await.status, list, "{role}");
        let answer = bearer.post(&tokens, wish("t", "reader")).await;
        assert_eq!(answer.status, post, "{role}: {answer:?}");
        assert_eq!(bearer.delete(&made.path).await.status, delete, "{role}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_bounded_api_token_makes_none_that_outlasts_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start_with(backend, &["--bounded-delegation"]).await;
    let wanted = json!({"name": "t", "role": "Admin", "expiration": "2026-12-24T00:00:00Z"});
    let answer = team.admin.post("/v1/apitokens/generate", wanted).await;
    let bearer = team.server.bearer(answer.json["token"].as_str().unwrap());
    let tokens = team.path("/api-tokens");
    let refused = bearer.post(&tokens, wish("t", "reader")).await;
    assert_eq!(refused.codes(), ["invalid-expiry-date"], "{refused:?}");
    let mut body = wish("t", "reader");
    body["properties"]["expiryDate"] = json!("2026-12-24T00:00:00Z");
    assert_eq!(bearer.post(&tokens, body).await.status, 201);
    // What it makes itself does not outlast it either.
    let made = team.make(&team.admin, "maintainer").await;
    let forever = team.mint(&made.bearer, "ci", "repository:a:pull").await;
    assert_eq!(forever.codes(), ["invalid-expiry-date"], "{forever:?}");
}

#[rstest]
#[actix_web::test]
async fn it_loses_what_its_maker_loses_on_the_next_request(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let replica = team.server.replica().await;
    let maintainer = team.member("maintainer");
    let account = &team.accounts[1];
    let made = team.make(&maintainer, "maintainer").await;
    let there = replica.bearer(&made.secret);
    let (member, path) = (team.path(&format!("/members/{account}")), team.path(""));
    let mints = async |number: usize, status: u16| {
        let name = format!("ci-{number}");
        for (bearer, suffix) in [(&made.bearer, "here"), (&there, "there")] {
            let name = format!("{name}-{suffix}");
            let answer = team.mint(bearer, &name, "repository:a:push").await;
            assert_eq!(answer.status, status, "{number}: {answer:?}");
        }
    };
    mints(0, 201).await;
    // Demoted: it may still look.
    team.admin
        .set_member(&team.registry, account, "reader")
        .await;
    mints(1, 403).await;
    assert_eq!(made.bearer.get(&path).await.status, 200);
    // Promoted: it gets no more than its level.
    team.admin
        .set_member(&team.registry, account, "owner")
        .await;
    mints(2, 201).await;
    assert_eq!(made.bearer.get(&team.path("/members")).await.status, 403);
    // Removed: the registry does not exist for it.
    assert_eq!(team.admin.delete(&member).await.status, 204);
    mints(3, 404).await;
    assert_eq!(there.get(&path).await.codes(), ["registry-not-found"]);
    let list = there.get("/registries").await;
    assert_eq!(list.json["items"], json!([]));
    let me = there.get("/me").await;
    assert!(!me.text.contains(&team.registry), "{me:?}");
    team.admin
        .set_member(&team.registry, account, "maintainer")
        .await;
    mints(4, 201).await;
    // Disabled, and enabled again.
    let own = format!("/accounts/{account}");
    for (status, expected) in [("disabled", 401), ("enabled", 201)] {
        let changed = team.admin.patch(&own, json!({"status": status})).await;
        assert_eq!(changed.status, 200);
        mints(5, expected).await;
    }
    // Deleted: like an API token, it has to be given up first.
    assert_eq!(team.admin.delete(&own).await.status, 409);
    let deleted = team.admin.delete(&format!("{own}?revokeTokens=true")).await;
    assert_eq!(deleted.status, 204);
    mints(6, 401).await;
}

#[rstest]
#[actix_web::test]
async fn an_admin_that_is_no_admin_any_more_leaves_it_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let account = team.admin.create_account("second", &["Admin"]).await;
    let second = team.member("second");
    let made = team.make(&second, "maintainer").await;
    assert_eq!(made.bearer.get(&team.path("/tokens")).await.status, 200);
    let own = format!("/accounts/{account}");
    let demoted = team.admin.patch(&own, json!({"roles": ["Analyst"]})).await;
    assert_eq!(demoted.status, 200);
    assert_eq!(made.bearer.get(&team.path("/tokens")).await.status, 200);
    let minted = team.mint(&made.bearer, "ci", "repository:a:pull").await;
    assert_eq!(minted.status, 403, "{minted:?}");
    let demoted = team.admin.patch(&own, json!({"roles": []})).await;
    assert_eq!(demoted.status, 200);
    assert_eq!(made.bearer.get(&team.path("/tokens")).await.status, 404);
    // A change with revokeTokens ends it.
    let path = format!("{own}?revokeTokens=true");
    assert_eq!(team.admin.patch(&path, json!({})).await.status, 200);
    assert_eq!(made.bearer.get("/me").await.status, 401);
}

#[rstest]
#[actix_web::test]
async fn it_ends_at_its_end(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let team = Team::start(backend).await;
    let tokens = team.path("/api-tokens");
    let now = team.server.service.now();
    let date = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339();
    let mut body = wish("short", "reader");
    body["properties"]["expiryDate"] = json!(date(now));
    let past = team.admin.post(&tokens, body.clone()).await;
    assert_eq!(past.codes(), ["invalid-expiry-date"], "{past:?}");
    body["properties"]["expiryDate"] = json!(date(now + TimeDelta::minutes(2)));
    let made = team.admin.post(&tokens, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let bearer = team.server.bearer(&text(&made.json["properties"]["token"]));
    team.server.clock.advance(TimeDelta::minutes(1));
    assert_eq!(bearer.get(&team.path("")).await.status, 200);
    team.server.clock.advance(TimeDelta::minutes(1));
    assert_eq!(bearer.get(&team.path("")).await.status, 401);
    let path = format!("{tokens}/{}", text(&made.json["id"]));
    let shown = team.admin.get(&path).await;
    assert_eq!(shown.json["metadata"]["state"], "expired");
    // Without an end it lasts a year.
    let body = json!({"properties": {"name": "long", "level": "reader"}});
    let made = team.admin.post(&tokens, body).await;
    let end = text(&made.json["properties"]["expiryDate"]);
    let end: chrono::DateTime<chrono::Utc> = end.parse().unwrap();
    let days = (end - now).num_days();
    assert!((364..=365).contains(&days), "{end}");
}

#[rstest]
#[actix_web::test]
async fn stackrox_clients_do_not_know_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start_with(backend, &["--maximum-api-tokens", "1"]).await;
    let made = team.make(&team.admin, "maintainer").await;
    let missing = "11111111-1111-4111-8111-111111111111";
    for query in ["", "?revoked=false", "?revoked=true"] {
        let list = team.admin.get(&format!("/v1/apitokens{query}")).await;
        assert_eq!(list.json["tokens"], json!([]), "{list:?}");
    }
    let answer = async |method: Method, path: &str, id: &str| {
        let path = path.replace("{id}", id);
        let request = team.admin.request(method, &path).json(&json!({}));
        let answer = team.admin.send(request).await;
        (answer.status, answer.text.replace(id, "{id}"))
    };
    for (method, path) in [
        (Method::GET, "/v1/apitokens/{id}"),
        (Method::PATCH, "/v1/apitokens/revoke/{id}"),
    ] {
        let known = answer(method.clone(), path, &made.id).await;
        assert_eq!(known, answer(method, path, missing).await);
    }
    assert_eq!(made.bearer.get(&team.path("")).await.status, 200);
    // Nor does it take a place of theirs.
    let wanted = json!({"name": "t", "role": "Analyst"});
    let generated = team.admin.post("/v1/apitokens/generate", wanted).await;
    assert_eq!(generated.status, 200, "{generated:?}");
}

#[rstest]
#[actix_web::test]
async fn an_older_release_lets_it_do_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let made = team.make(&team.admin, "maintainer").await;
    let kept = "SELECT roles || ' ' || level AS line FROM api_tokens";
    assert_eq!(team.server.database.lines(kept), ["[] maintainer"]);
    // That release knows no registry of it, and to it this is a token without roles.
    team.server
        .database
        .execute("UPDATE api_tokens SET registry_key = NULL, level = NULL");
    for path in ["/registries", &team.path(""), "/me", "/v1/auth/status"] {
        let refused = made.bearer.get(path).await;
        assert_eq!(refused.status, 401, "{path}: {refused:?}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_level_of_a_later_release_permits_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let made = team.make(&team.admin, "maintainer").await;
    for level in ["'owner'", "'other'", "NULL"] {
        let change = format!("UPDATE api_tokens SET level = {level}");
        team.server.database.execute(&change);
        assert_eq!(made.bearer.get("/me").await.status, 401, "{level}");
    }
}

#[rstest]
#[actix_web::test]
async fn it_ends_with_its_registry_and_another_of_the_same_id_does_not_revive_it(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let made = team.make(&team.admin, "maintainer").await;
    let path = team.path("");
    assert_eq!(team.admin.delete(&path).await.status, 204);
    assert_eq!(made.bearer.get("/me").await.status, 401);
    let count = "SELECT COUNT(*) AS number FROM api_tokens";
    assert_eq!(team.server.database.number(count), 0);
    let again = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    assert_eq!(team.admin.put(&path, again.clone()).await.status, 201);
    assert_eq!(made.bearer.get(&path).await.status, 401);
    assert_eq!(team.admin.get(&made.path).await.status, 404);

    // An older release deletes a registry and leaves the rows.
    let made = team.make(&team.admin, "maintainer").await;
    team.server
        .database
        .execute("UPDATE registries SET deleted_at = 1 WHERE deleted_at IS NULL");
    assert_eq!(made.bearer.get("/me").await.status, 401);
    assert_eq!(team.admin.put(&path, again).await.status, 201);
    assert_eq!(made.bearer.get(&path).await.status, 401);
    assert_eq!(team.admin.get(&made.path).await.status, 404);
    for list in ["/api-tokens", "/me/api-tokens", &team.path("/api-tokens")] {
        assert_eq!(team.admin.get(list).await.json["total"], 0, "{list}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_repeated_request_makes_one_and_answers_the_same(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let owner = team.member("owner");
    let tokens = team.path("/api-tokens");
    let ask = async |body: Value| {
        let request = owner.request(Method::POST, &tokens).json(&body);
        owner.send(request.header("idempotency-key", "one")).await
    };
    let first = ask(wish("nightly", "reader")).await;
    let second = ask(wish("nightly", "reader")).await;
    assert_eq!((first.status, second.status), (201, 201), "{second:?}");
    assert_eq!(first.json, second.json);
    assert_eq!(second.header("idempotency-replayed"), "true");
    assert_eq!(owner.get(&tokens).await.json["total"], 1);
    let id = text(&first.json["id"]);
    let events = team.audit(&format!("subject={id}")).await;
    let kinds: Vec<_> = events.iter().map(|event| text(&event["kind"])).collect();
    assert_eq!(kinds, ["create", "reveal"]);
    assert_eq!(
        ask(wish("other", "reader")).await.codes(),
        ["idempotency-key-reused"]
    );
    // Whoever lost the rights gets no secret by asking again.
    let account = &team.accounts[2];
    let member = team.path(&format!("/members/{account}"));
    assert_eq!(team.admin.delete(&member).await.status, 204);
    assert_eq!(ask(wish("nightly", "reader")).await.status, 404);
    team.admin
        .set_member(&team.registry, account, "owner")
        .await;
    assert_eq!(owner.delete(&format!("{tokens}/{id}")).await.status, 204);
    assert_eq!(
        ask(wish("nightly", "reader")).await.codes(),
        ["answer-outdated"]
    );
}

#[rstest]
#[actix_web::test]
async fn a_registry_has_no_more_in_force_than_members_are_allowed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start_with(backend, &["--maximum-members", "3"]).await;
    let tokens = team.path("/api-tokens");
    let mut last = String::new();
    for _ in 0..3 {
        last = team.make(&team.admin, "reader").await.path;
    }
    let full = team.admin.post(&tokens, wish("more", "reader")).await;
    assert_eq!(full.codes(), ["quota-exceeded"], "{full:?}");
    assert_eq!(
        full.message(),
        "this registry has 3 API tokens in force, and no more than 3 are allowed; revoke one that is not needed any more"
    );
    let other = team.admin.create_registry("team-b").await;
    make(&team.server, &team.admin, &other, "reader").await;
    assert_eq!(team.admin.delete(&last).await.status, 204);
    team.make(&team.admin, "reader").await;
}

#[rstest]
#[actix_web::test]
async fn a_member_does_not_take_the_places_of_all(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let tokens = team.path("/api-tokens");
    let reader = team.member("reader");
    for _ in 0..20 {
        let made = reader.post(&tokens, wish("mine", "reader")).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let full = reader.post(&tokens, wish("mine", "reader")).await;
    assert_eq!(full.codes(), ["quota-exceeded"], "{full:?}");
    assert_eq!(
        full.message(),
        "your account has made 20 API tokens in force of this registry, and no more than 20 are allowed; revoke one that \
         is not needed any more"
    );
    for _ in 0..21 {
        team.make(&team.admin, "reader").await;
    }
}

#[rstest]
#[actix_web::test]
async fn what_is_wrong_with_a_wish_is_told(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let tokens = team.path("/api-tokens");
    for (member, value, code) in [
        ("name", json!(""), "invalid-name"),
        ("name", json!("a\u{0}"), "invalid-name"),
        ("name", json!("x".repeat(1025)), "invalid-name"),
        (
            "name",
            json!(format!("whrt_{}", "a".repeat(39))),
            "invalid-name",
        ),
        ("level", json!("Maintainer"), "invalid-level"),
        ("expiryDate", json!("tomorrow"), "invalid-expiry-date"),
        ("expiryDate", Value::Null, "invalid-expiry-date"),
        ("description", json!("x".repeat(201)), "invalid-description"),
        ("role", json!("Admin"), "invalid-body"),
    ] {
        let mut body = wish("nightly", "reader");
        body["properties"][member] = value;
        let refused = team.admin.post(&tokens, body).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (400, vec![code]),
            "{member}"
        );
    }
    let body = json!({"properties": {"name": "n", "level": "reader", "labels": {}}});
    let refused = team.admin.post(&tokens, body).await;
    assert!(!refused.message().contains("did you mean"), "{refused:?}");
    let malformed = team.admin.get(&format!("{tokens}/x")).await;
    assert_eq!(malformed.codes(), ["invalid-api-token-id"]);
    assert_eq!(team.admin.get(&tokens).await.json["total"], 0);
}

#[rstest]
#[actix_web::test]
async fn its_use_and_its_acts_are_told(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let made = team.make(&team.member("maintainer"), "maintainer").await;
    let minted = team.mint(&made.bearer, "ci", "repository:a:pull").await;
    assert_eq!(minted.status, 201, "{minted:?}");
    assert_eq!(minted.json["metadata"]["createdBy"], "maintainer");
    let events = team
        .audit(&format!("subject={}", text(&minted.json["id"])))
        .await;
    let credential = json!({"kind": "api-token", "id": made.id});
    assert_eq!(events[0]["detail"]["credential"], credential);
    team.server.service.flush_usage().await.unwrap();
    let shown = team.admin.get(&made.path).await;
    assert!(
        shown.json["metadata"]["lastUsedDate"].is_string(),
        "{shown:?}"
    );
    // It is among the tokens of its maker, and among all of them for those who may know all registries.
    let own = team.member("maintainer").get("/me/api-tokens").await;
    assert_eq!(own.json["items"][0], shown.json);
    assert_eq!(team.admin.get("/api-tokens").await.json["total"], 1);
}

#[rstest]
#[actix_web::test]
async fn the_list_of_all_finds_it_by_its_type_and_its_registry(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let other = team.admin.create_registry("team-b").await;
    let wanted = json!({"name": "with-roles", "role": "Analyst", "expiration": END});
    assert_eq!(
        team.admin
            .post("/v1/apitokens/generate", wanted)
            .await
            .status,
        200
    );
    let made = team.make(&team.admin, "reader").await;
    let theirs = make(&team.server, &team.admin, &other, "reader").await;
    let list = team
        .admin
        .get(&format!("/api-tokens?registryId={}", team.registry))
        .await;
    assert_eq!(list.json["total"], 1, "{list:?}");
    assert_eq!(list.json["items"][0]["id"], made.id);
    assert_eq!(
        list.json["items"][0]["properties"]["registryName"],
        "team-a"
    );
    let list = team.admin.get("/api-tokens?type=registry-api-token").await;
    assert_eq!(list.json["total"], 2, "{list:?}");
    assert_eq!(list.json["items"][1]["id"], theirs.id);
    let list = team
        .admin
        .get("/api-tokens?type=api-token&neverUsed=true")
        .await;
    assert_eq!(list.json["total"], 1, "{list:?}");
    assert_eq!(
        list.json["items"][0]["properties"].get("registryName"),
        None
    );
    // Revoked ones are told apart.
    assert_eq!(team.admin.delete(&made.path).await.status, 204);
    for path in [&team.path("/api-tokens"), "/me/api-tokens?offset=1"] {
        let list = team.admin.get(path).await;
        assert_eq!(
            list.json["items"][0]["metadata"]["state"], "revoked",
            "{path}: {list:?}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn the_list_of_all_api_tokens_reveals_no_registry(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::start(backend).await;
    let made = team.make(&team.admin, "reader").await;
    let database = &team.server.database;
    database.execute("INSERT INTO roles (name, description, built_in) VALUES ('Clerk', '', 0)");
    database.execute(
        "INSERT INTO role_permissions (role_key, resource, level) \
         SELECT key, 'Integration', 2 FROM roles WHERE name = 'Clerk'",
    );
    team.server
        .add_account("clerk", "right-password", "Clerk")
        .await;
    let clerk = team.member("clerk");
    let list = clerk.get("/api-tokens").await;
    assert_eq!((list.status, &list.json["total"]), (200, &json!(0)));
    let path = format!("/api-tokens/{}", made.id);
    assert_eq!(clerk.delete(&path).await.status, 404);
    assert_eq!(made.bearer.get("/me").await.status, 200);
    assert_eq!(team.admin.delete(&path).await.status, 204);
    assert_eq!(made.bearer.get("/me").await.status, 401);
}
