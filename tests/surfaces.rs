//! One service behind several surfaces: a change on one counts on all, and no surface is a way around another.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Server};

/// Makes an API token and returns it with its id.
async fn generate(actor: &Actor, role: &str) -> (String, String) {
    let wish = json!({"name": "t", "role": role});
    let made = actor.post("/v1/apitokens/generate", wish).await;
    assert_eq!(made.status, 200, "{made:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        text(&made.json["token"]),
        text(&made.json["metadata"]["id"]),
    )
}

const APP_TOKENS: &str = "/api/v1/user/apptoken";
const ALL_APP_TOKENS: &str = "/api/v1/superuser/apptokens";

/// Makes an app token and returns its path with its code.
async fn create_app_token(actor: &Actor) -> (String, String) {
    let made = actor.post(APP_TOKENS, json!({"title": "t"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let text = |name: &str| made.json["token"][name].as_str().unwrap().to_owned();
    (format!("{APP_TOKENS}/{}", text("uuid")), text("token_code"))
}

/// The status of each surface.
async fn statuses(actor: &Actor) -> [u16; 6] {
    [
        actor.get("/registries").await.status,
        actor.get("/containerregistries/registries").await.status,
        actor.get("/v1/apitokens").await.status,
        actor.get("/v1/auth/status").await.status,
        actor.get(APP_TOKENS).await.status,
        actor.get(ALL_APP_TOKENS).await.status,
    ]
}

#[rstest]
#[actix_web::test]
async fn what_ends_a_token_on_one_surface_ends_it_on_all(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_account("bob", &["Admin"]).await;
    let account = format!("/accounts/{id}");
    let bob = server.actor("bob", "right-password");

    // Made on StackRox's surface, used on the registries', revoked on the first.
    let (token, id) = generate(&bob, "Admin").await;
    let bearer = server.bearer(&token);
    let registry = bearer.create_registry("team-a").await;
    bearer.create_token(&registry, "ci").await;
    let revoke = format!("/v1/apitokens/revoke/{id}");
    assert_eq!(admin.patch(&revoke, json!({})).await.status, 200);
    let tokens = format!("/registries/{registry}/tokens");
    let late = json!({"properties": {"name": "late"}});
    assert_eq!(bearer.post(&tokens, late).await.status, 401);
    assert_eq!(statuses(&bearer).await, [401; 6]);

    // Its creator is changed on the registries' surface: that counts on StackRox's.
    let (token, id) = generate(&bob, "Admin").await;
    let bearer = server.bearer(&token);
    for (change, expected) in [
        (json!({"status": "disabled"}), [401; 6]),
        (json!({"status": "enabled"}), [200; 6]),
        // Without a role its account sees the registries that it is a member of, its app tokens, and no API tokens.
        (json!({"roles": []}), [200, 200, 403, 200, 200, 403]),
        (json!({"roles": ["Admin"]}), [200; 6]),
        (json!({"password": "other-password"}), [200; 6]),
    ] {
        let changed = admin.patch(&account, change.clone()).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(statuses(&bearer).await, expected, "{change}");
    }
    let deleted = admin.delete(&format!("{account}?revokeTokens=true")).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(statuses(&bearer).await, [401; 6]);
    let shown = admin.get(&format!("/v1/apitokens/{id}")).await;
    assert_eq!(shown.json["revoked"], true, "{shown:?}");
    // The token that the bearer made stays.
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
}

/// The statuses for registry clients and for the proxy with these credentials.
async fn opened(actor: &Actor) -> [u16; 3] {
    let service = [("service", "team-a.localhost")];
    [
        actor.ask("/token", &service).await.status,
        actor.ask("/v2/auth", &service).await.status,
        checked(actor).await,
    ]
}

/// Would a proxy let it pull?
async fn checked(actor: &Actor) -> u16 {
    let request = actor
        .request(Method::GET, "/v2/check?service=team-a.localhost")
        .header("x-original-method", "GET")
        .header("x-original-uri", "/v2/a/manifests/latest");
    actor.send(request).await.status
}

#[rstest]
#[actix_web::test]
async fn an_api_token_makes_an_app_token_that_outlasts_it_and_ends_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let admin = server.admin();
    admin.create_registry("team-a").await;

    // The API token is made on StackRox's surface. On Quay's it makes an app token, which opens registries.
    let (token, id) = generate(&admin, "Admin").await;
    let bearer = server.bearer(&token);
    let (path, code) = create_app_token(&bearer).await;
    let app = replica.actor("$app", &code);
    assert_eq!(opened(&app).await, [200; 3]);
    let scope = [
        ("service", "team-a.localhost"),
        ("scope", "repository:a:pull"),
    ];
    let given = app.ask("/token", &scope).await;
    let jwt = replica.bearer(given.json["token"].as_str().unwrap());
    assert_eq!(checked(&jwt).await, 200);
    // It is the account's, however it comes.
    let session = server.session(&server.sign_in("admin", ADMIN_PASSWORD).await);
    for actor in [&bearer, &admin, &session] {
        assert_eq!(actor.get(&path).await.json["token"]["token_code"], code);
    }
    // No credential for registries opens the surface on which the credential was made.
    assert_eq!(statuses(&app).await, [401; 6]);
    assert_eq!(statuses(&jwt).await, [401; 6]);

    // Revoked on StackRox's surface, the API token is refused on Quay's. Its app token is the account's and stays.
    let revoke = format!("/v1/apitokens/revoke/{id}");
    assert_eq!(admin.patch(&revoke, json!({})).await.status, 200);
    for bearer in [&bearer, &replica.bearer(&token)] {
        assert_eq!(bearer.get(&path).await.status, 401);
        assert_eq!(bearer.delete(&path).await.status, 401);
        let late = bearer.post(APP_TOKENS, json!({"title": "late"})).await;
        assert_eq!(late.status, 401);
    }
    assert_eq!(opened(&app).await, [200; 3]);
    assert_eq!(checked(&jwt).await, 200);

    // Deleted on Quay's surface, the app token opens no registry, nor do the tokens that it was exchanged for.
    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(opened(&app).await, [401; 3]);
    assert_eq!(checked(&jwt).await, 401);
    let listed = admin.get(ALL_APP_TOKENS).await;
    assert_eq!(listed.json["tokens"], json!([]));
}

/// Sends a request, without a body if that is null.
async fn attempt(caller: &Actor, method: &Method, path: &str, body: &Value) -> Answer {
    let mut request = caller.request(method.clone(), path);
    if !body.is_null() {
        request = request.json(body);
    }
    caller.send(request).await
}

/// Ids and paths that an attempt aims at.
struct Treasure {
    admin: String,
    api_token: String,
    /// The path of an app token of the Admin.
    app_token: String,
    registry: String,
    token: String,
}

impl Treasure {
    /// Requests that would give the account `own` more rights, or others fewer. The right to write tokens is enough for
    /// the second list.
    fn attempts(&self, own: &str) -> [Vec<(Method, String, Value)>; 2] {
        let Self {
            admin,
            api_token,
            registry,
            token,
            ..
        } = self;
        let place = format!("/registries/{registry}");
        let minted = |actions: Value| {
            json!({"properties": {"name": "evil",
                "scopes": [{"type": "repository", "name": "*", "actions": actions}]}})
        };
        let generate = |body: Value| (Method::POST, "/v1/apitokens/generate".to_owned(), body);
        let always = vec![
            generate(json!({"name": "evil", "roles": ["Admin"]})),
            generate(json!({"name": "evil", "roles": ["Analyst", "Admin"]})),
            generate(json!({"name": "evil", "roles": ["Continuous Integration"]})),
            generate(json!({"name": "evil", "role": "Analyst"})),
            generate(json!({"name": "evil"})),
            (
                Method::PATCH,
                format!("/v1/apitokens/revoke/{api_token}"),
                json!({}),
            ),
            (
                Method::POST,
                "/accounts".to_owned(),
                json!({"properties": {"name": "evil", "password": "right-password", "roles": ["Admin"]}}),
            ),
            (
                Method::POST,
                "/accounts".to_owned(),
                json!({"properties": {"name": "evil", "password": "right-password"}}),
            ),
            (
                Method::PATCH,
                format!("/accounts/{own}"),
                json!({"roles": ["Admin", "Analyst"]}),
            ),
            (
                Method::PATCH,
                format!("/accounts/{own}"),
                json!({"password": "evil-password"}),
            ),
            (
                Method::PATCH,
                format!("/accounts/{admin}"),
                json!({"password": "evil-password"}),
            ),
            (
                Method::PATCH,
                format!("/accounts/{admin}"),
                json!({"status": "disabled"}),
            ),
            (
                Method::DELETE,
                format!("/accounts/{admin}?revokeTokens=true"),
                Value::Null,
            ),
            (
                Method::PUT,
                format!("{place}/members/{own}"),
                json!({"level": "owner"}),
            ),
            (
                Method::DELETE,
                format!("{place}/members/{own}"),
                Value::Null,
            ),
            (
                Method::POST,
                "/registries".to_owned(),
                json!({"properties": {"name": "evil", "location": "de/fra"}}),
            ),
            (
                Method::PUT,
                place.clone(),
                json!({"properties": {"name": "team-a", "location": "de/fra", "apiSubnetAllowList": ["10.0.0.0/8"]}}),
            ),
            (
                Method::PATCH,
                place.clone(),
                json!({"apiSubnetAllowList": ["10.0.0.0/8"]}),
            ),
            (Method::DELETE, place.clone(), Value::Null),
        ];
        let tokens = vec![
            (
                Method::POST,
                format!("{place}/tokens"),
                minted(json!(["pull"])),
            ),
            (
                Method::POST,
                format!("{place}/tokens"),
                minted(json!(["pull", "push", "delete"])),
            ),
            (
                Method::PUT,
                format!("{place}/tokens/0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11"),
                minted(json!(["push"])),
            ),
            (
                Method::PATCH,
                format!("{place}/tokens/{token}"),
                json!({"scopes": [{"type": "repository", "name": "*", "actions": ["push"]}]}),
            ),
        ];
        [always, tokens]
    }

    /// Requests that would open registries as the Admin; then requests that all may make for their own app tokens.
    fn app_token_attempts(&self) -> [Vec<(Method, &str, Value)>; 2] {
        let foreign = vec![
            (Method::GET, self.app_token.as_str(), Value::Null),
            (Method::DELETE, &self.app_token, Value::Null),
        ];
        let own = vec![
            (Method::GET, APP_TOKENS, Value::Null),
            (Method::POST, APP_TOKENS, json!({"title": "evil"})),
        ];
        [foreign, own]
    }

    /// All that somebody could have changed.
    async fn state(&self, admin: &Actor) -> Vec<Value> {
        let registry = format!("/registries/{}", self.registry);
        let mut state = Vec::new();
        for path in [
            "/accounts",
            "/registries",
            &registry,
            &format!("{registry}/tokens"),
            &format!("{registry}/members"),
            "/v1/apitokens",
            ALL_APP_TOKENS,
            &self.app_token,
        ] {
            let answer = admin.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            state.push(answer.json);
        }
        state
    }
}

#[rstest]
#[actix_web::test]
async fn no_surface_is_a_way_to_more_than_one_holds(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let listed = admin.get("/accounts").await.json;
    let id = |number: usize| listed["items"][number]["id"].as_str().unwrap().to_owned();
    let (first, analyst) = (id(0), id(1));
    let reader = admin.create_account("reader", &[]).await;
    let registry = admin.create_registry("team-a").await;
    admin.set_member(&registry, &reader, "reader").await;
    let mut bearers = Vec::new();
    for role in ["Analyst", "Continuous Integration", "Sensor Creator"] {
        bearers.push(server.bearer(&generate(&admin, role).await.0));
    }
    let [analyst_token, builder, sensor] = bearers.try_into().unwrap();
    let treasure = Treasure {
        admin: first.clone(),
        api_token: generate(&admin, "Admin").await.1,
        app_token: create_app_token(&admin).await.0,
        token: admin.create_token(&registry, "ci").await,
        registry,
    };
    let before = treasure.state(&admin).await;

    // Of a token it is its creator that is its own account.
    for (who, caller, own, mints) in [
        ("an Analyst", server.analyst(), &analyst, false),
        (
            "a reader",
            server.actor("reader", "right-password"),
            &reader,
            false,
        ),
        ("an Analyst's token", analyst_token, &first, false),
        ("a token of Continuous Integration", builder, &first, true),
        // It may write tokens, and no images: so none that opens any.
        ("a token of Sensor Creator", sensor, &first, false),
    ] {
        let [always, tokens] = treasure.attempts(own);
        let attempts = always.iter().chain(tokens.iter().filter(|_| !mints));
        for (method, path, body) in attempts {
            for prefix in ["", "/containerregistries"] {
                if path.starts_with("/v1/") && !prefix.is_empty() {
                    continue;
                }
                let answer = attempt(&caller, method, &format!("{prefix}{path}"), body).await;
                assert_eq!(
                    answer.status, 403,
                    "{who}: {method} {prefix}{path} {body}: {answer:?}"
                );
            }
        }
        // An account has app tokens of its own, and is not told of others'. A narrow token has no business with any.
        let narrow = own == &first;
        let [foreign, of_its_own] = treasure.app_token_attempts();
        let attempts = foreign.iter().chain(of_its_own.iter().filter(|_| narrow));
        for (method, path, body) in attempts {
            let answer = attempt(&caller, method, path, body).await;
            let expected = if narrow { 403 } else { 404 };
            assert_eq!(
                answer.status, expected,
                "{who}: {method} {path}: {answer:?}"
            );
        }
        let listed = caller.get(ALL_APP_TOKENS).await;
        let expected = if who == "an Analyst" { 200 } else { 403 };
        assert_eq!(listed.status, expected, "{who}: {listed:?}");
        assert!(!listed.text.contains("token_code"), "{who}: {listed:?}");
        assert_eq!(treasure.state(&admin).await, before, "{who}");
    }
    // Nobody reads more than they may.
    let reader = server.actor("reader", "right-password");
    let other = admin.create_registry("team-b").await;
    for (path, status) in [
        ("/accounts".to_owned(), 403),
        (format!("/accounts/{}", treasure.admin), 403),
        ("/v1/apitokens".to_owned(), 403),
        (format!("/v1/apitokens/{}", treasure.api_token), 403),
        (format!("/v1/apitokens/{}", treasure.registry), 403),
        (format!("/registries/{}/members", treasure.registry), 403),
        (format!("/registries/{other}"), 404),
        (format!("/registries/{other}/tokens"), 404),
    ] {
        let answer = reader.get(&path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_narrow_token_of_an_admin_gives_no_more_than_it_may(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let mut tokens = Vec::new();
    for (role, permissions) in [
        ("Minter", [("Access", 1), ("Integration", 2)]),
        ("Manager", [("Access", 2), ("Registry", 1)]),
    ] {
        server.database.execute(&format!(
            "INSERT INTO roles (name, description, built_in) VALUES ('{role}', '', 0)"
        ));
        for (resource, level) in permissions {
            server.database.execute(&format!(
                "INSERT INTO role_permissions (role_key, resource, level) \
                 SELECT key, '{resource}', {level} FROM roles WHERE name = '{role}'"
            ));
        }
        tokens.push(server.bearer(&generate(&admin, role).await.0));
    }
    let [minter, manager] = tokens.try_into().unwrap();
    let first = json!(admin.get("/accounts").await.json["items"][0]["id"]);
    let other = admin.create_account("other", &["Analyst"]).await;
    let registry = admin.create_registry("team-a").await;
    let treasure = Treasure {
        admin: first.as_str().unwrap().to_owned(),
        api_token: generate(&admin, "Admin").await.1,
        app_token: create_app_token(&admin).await.0,
        token: admin.create_token(&registry, "ci").await,
        registry,
    };
    let before = treasure.state(&admin).await;

    let generate = "/v1/apitokens/generate";
    for body in [
        json!({"name": "evil", "role": "Admin"}),
        json!({"name": "evil", "roles": ["Minter", "Analyst"]}),
        json!({"name": "evil", "roles": ["Manager"]}),
        json!({"name": "evil", "roles": ["Sensor Creator"]}),
    ] {
        let answer = minter.post(generate, body.clone()).await;
        assert_eq!(answer.status, 403, "{body}: {answer:?}");
    }
    let account = |roles: Value| json!({"properties": {"name": "evil", "password": "right-password", "roles": roles}});
    let (own, other) = (
        format!("/accounts/{}", treasure.admin),
        format!("/accounts/{other}"),
    );
    let member = format!(
        "/registries/{}/members/{}",
        treasure.registry, treasure.admin
    );
    for (method, path, body) in [
        (Method::POST, "/accounts", account(json!(["Admin"]))),
        (Method::POST, "/accounts", account(json!(["Minter"]))),
        (Method::PATCH, &own, json!({"password": "evil-password"})),
        (Method::PATCH, &own, json!({"status": "disabled"})),
        (Method::PATCH, &other, json!({"roles": ["Admin"]})),
        (Method::PATCH, &other, json!({"password": "evil-password"})),
        (Method::DELETE, &other, json!({})),
        (Method::PUT, &member, json!({"level": "owner"})),
        (Method::POST, generate, json!({"name": "evil"})),
    ] {
        let answer = attempt(&manager, &method, path, &body).await;
        assert_eq!(answer.status, 403, "{method} {path} {body}: {answer:?}");
    }
    for narrow in [&minter, &manager] {
        for (method, path, body) in treasure.app_token_attempts().concat() {
            let answer = attempt(narrow, &method, path, &body).await;
            assert_eq!(answer.status, 403, "{method} {path} {body}: {answer:?}");
        }
        // Not even an account that may read accounts.
        assert_eq!(narrow.get(ALL_APP_TOKENS).await.status, 403);
    }
    assert_eq!(treasure.state(&admin).await, before);

    // Permitted requests succeed.
    let made = minter.post(generate, json!({"name": "t", "role": "Minter"}));
    assert_eq!(made.await.status, 200);
    let made = manager.post("/accounts", account(json!(["Manager"]))).await;
    assert_eq!(made.status, 201, "{made:?}");
}

/// Paths with `{…}` where an id belongs are read with one that does not exist.
#[actix_web::test]
async fn head_is_answered_wherever_get_is() {
    let server = Server::start(Backend::Sqlite).await;
    let admin = server.admin();
    let document = crate::openapi::document();
    let read = crate::openapi::operations(&document).into_iter();
    let documented = read
        // The exchange of a JWT changes something, and has no HEAD.
        .filter(|(method, path, _)| method == "GET" && path != "/oauth2/federation/robot/token")
        .map(|(_, path, _)| path);
    let beside = [
        "/",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/docs/",
        "/docs/page.js",
        "/v2/token",
    ];
    let mut count = 0;
    for path in documented.chain(beside.map(str::to_owned)) {
        let path = path.replace(['{', '}'], "");
        let client = admin.without_redirects();
        let get = client.get(&path).await;
        let head = client.send(client.request(Method::HEAD, &path)).await;
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.text, "", "{path}");
        for name in [
            "content-type",
            "cache-control",
            "www-authenticate",
            "location",
        ] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        let posted = client
            .send(client.request(Method::from_bytes(b"PROPFIND").unwrap(), &path))
            .await;
        if posted.status == 405 {
            assert!(
                posted.header("allow").starts_with("GET, HEAD"),
                "{path}: {posted:?}"
            );
        }
        count += 1;
    }
    assert!(count > 30, "{count}");
}
