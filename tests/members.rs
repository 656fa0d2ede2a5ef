//! Members: the rights of roles and memberships on every surface, and changes that count from the next request.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Patience, Server};

const NOBODY: &str = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11";

fn roles(database: &crate::harness::Database) {
    // Roles as other surfaces bring them: by name, they count only where the account is a member.
    for (name, resource, level) in [
        ("Builder", "Token", 2),
        ("Builder", "Image", 2),
        ("Puller", "Image", 1),
        ("Manager", "Access", 2),
        ("Minter", "Token", 2),
        ("Registrar", "Registry", 2),
    ] {
        database.execute(&format!(
            "INSERT INTO roles (name, description, built_in) VALUES ('{name}', '', 0) ON CONFLICT (name) DO NOTHING"
        ));
        database.execute(&format!(
            "INSERT INTO role_permissions (role_key, resource, level) SELECT key, '{resource}', {level} FROM roles WHERE name = '{name}'"
        ));
    }
}

/// An account's access to registry, tokens and members, each `-`, `r` or `w`, or `!` if the registry is invisible.
async fn on_api(actor: &Actor, registry: &str) -> String {
    let path = format!("/registries/{registry}");
    let mut found = String::new();
    for (read, method, write, body) in [
        (path.clone(), Method::PATCH, path.clone(), json!({})),
        (
            format!("{path}/tokens"),
            Method::DELETE,
            format!("{path}/tokens/{NOBODY}"),
            Value::Null,
        ),
        (
            format!("{path}/members"),
            Method::DELETE,
            format!("{path}/members/{NOBODY}"),
            Value::Null,
        ),
    ] {
        let read = actor.get(&read).await;
        let write = actor.send(actor.request(method, &write).json(&body)).await;
        let hidden = |answer: &Answer| answer.codes() == ["registry-not-found"];
        assert_eq!(hidden(&read), hidden(&write), "{read:?} {write:?}");
        found.push(match (read.status, write.status) {
            _ if hidden(&read) => '!',
            (403, 403) => '-',
            (200, 403) => 'r',
            // 404: it was allowed, and there was no such token or member.
            (200, 200 | 404) => 'w',
            other => panic!("{other:?}: {read:?} {write:?}"),
        });
    }
    found
}

async fn login(actor: &Actor, scope: &str) -> Answer {
    let path = format!("/token?service=team-a.localhost&offline_token=true&scope={scope}");
    actor.get(&path).await
}

/// The grant in the JWT of a token endpoint's answer.
fn granted(answer: &Answer) -> String {
    use base64::Engine as _;
    let jwt = answer.json["token"].as_str().unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(jwt.split('.').nth(1).unwrap())
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let actions = claims["access"].as_array().unwrap().iter();
    let texts: Vec<_> = actions
        .map(|access| {
            let actions = access["actions"].as_array().unwrap().iter();
            let actions: Vec<_> = actions.map(|action| action.as_str().unwrap()).collect();
            format!("{}:{}", access["name"].as_str().unwrap(), actions.join(","))
        })
        .collect();
    texts.join(" ")
}

/// The token endpoint's grant if everything is asked for, or `!` if the endpoint refuses the login.
async fn at_token(actor: &Actor) -> String {
    let answer = login(actor, "repository:a/b:*%20registry:catalog:*").await;
    match answer.status {
        401 => "!".to_owned(),
        200 => granted(&answer),
        _ => panic!("{answer:?}"),
    }
}

fn check(actor: &Actor, method: &str, uri: &str) -> reqwest::RequestBuilder {
    actor
        .request(Method::GET, "/v2/check?service=team-a.localhost")
        .header("X-Original-Method", method)
        .header("X-Original-URI", uri)
}

/// The statuses of pulling, pushing, deleting and listing the catalog behind a proxy.
async fn at_check(actor: &Actor) -> [u16; 4] {
    let mut found = [0; 4];
    for (found, (method, uri)) in found.iter_mut().zip([
        ("GET", "/v2/a/b/manifests/latest"),
        ("PUT", "/v2/a/b/manifests/latest"),
        ("DELETE", "/v2/a/b/manifests/latest"),
        ("GET", "/v2/_catalog"),
    ]) {
        *found = actor.send(check(actor, method, uri)).await.status;
    }
    found
}

const ALL: &str = "a/b:pull,push,delete catalog:*";
const PUSH: &str = "a/b:pull,push catalog:*";
const PULL: &str = "a/b:pull catalog:*";

/// Roles and membership; then registry, tokens, members; then the token endpoint's grant.
const RIGHTS: [(&[&str], &str, &str, &str); 22] = [
    (&[], "", "!!!", "!"),
    (&[], "reader", "rr-", PULL),
    (&[], "maintainer", "rw-", PUSH),
    (&[], "owner", "www", ALL),
    (&["Admin"], "", "www", ALL),
    (&["Admin"], "reader", "www", ALL),
    (&["Analyst"], "", "rrr", ""),
    (&["Analyst"], "reader", "rrr", PULL),
    (&["Analyst"], "maintainer", "rwr", PUSH),
    (&["Analyst"], "owner", "www", ALL),
    (&["Builder"], "", "!!!", "!"),
    (&["Builder"], "reader", "rw-", ALL),
    (&["Builder"], "maintainer", "rw-", ALL),
    (&["Puller"], "", "!!!", "!"),
    (&["Puller"], "maintainer", "rw-", PUSH),
    (&["Manager"], "", "!!!", "!"),
    (&["Manager"], "reader", "rrw", PULL),
    (&["Registrar"], "", "!!!", "!"),
    (&["Registrar"], "reader", "wr-", PULL),
    (&["Analyst", "Builder"], "", "rrr", ""),
    (&["Analyst", "Builder"], "reader", "rwr", ALL),
    (
        &["Puller", "Manager", "Registrar"],
        "maintainer",
        "www",
        PUSH,
    ),
];

#[rstest]
#[actix_web::test]
async fn rights_are_the_same_on_every_surface(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    roles(&server.database);
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let other = admin.create_registry("team-b").await;
    for (number, (roles, level, on_registry, at_endpoint)) in RIGHTS.into_iter().enumerate() {
        let name = format!("account-{number}");
        let account = admin.create_account(&name, roles).await;
        let actor = server.actor(&name, "right-password");
        // A membership of another registry changes nothing here.
        admin.set_member(&other, &account, "owner").await;
        if !level.is_empty() {
            admin.set_member(&registry, &account, level).await;
        }
        let place = format!("{roles:?} {level}");
        assert_eq!(on_api(&actor, &registry).await, on_registry, "{place}");
        assert_eq!(at_token(&actor).await, at_endpoint, "{place}");
        let expected = match at_endpoint {
            "!" => [401; 4],
            ALL => [200; 4],
            PUSH => [200, 200, 403, 200],
            PULL => [200, 403, 403, 200],
            _ => [403; 4],
        };
        assert_eq!(at_check(&actor).await, expected, "{place}");

        // Only accounts that may write all registries may make one, by POST or by PUT.
        let new = json!({"properties": {"name": format!("new-{number}"), "location": "no/where"}});
        let may = roles.contains(&"Admin");
        for answer in [
            actor.post("/registries", new.clone()).await,
            actor.put(&format!("/registries/{NOBODY}"), new).await,
        ] {
            // The Admin learns the error.
            let expected = if may { "invalid-location" } else { "forbidden" };
            assert_eq!(answer.codes(), [expected], "{place}");
        }
        let list = actor.get("/registries").await;
        let seen = list.json["items"].as_array().unwrap().len();
        assert_eq!(seen, 1 + usize::from(on_registry != "!!!"), "{place}");
        // All callers learn that a name is taken, since names are unique among all registries.
        let head = actor.request(Method::HEAD, "/names/team-a");
        assert_eq!(actor.send(head).await.status, 200, "{place}");
        admin.delete(&format!("/accounts/{account}")).await;
    }
}

#[rstest]
#[actix_web::test]
async fn what_is_invisible_answers_as_if_it_did_not_exist(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let token = admin.create_token(&registry, "ci").await;
    let account = admin.create_account("alice", &[]).await;
    let alice = server.actor("alice", "right-password");
    let shape = |mut answer: Answer, id: &str| {
        answer.headers.remove("x-request-id");
        answer.headers.remove("date");
        (answer.status, answer.headers, answer.text.replace(id, "ID"))
    };
    let registry_body = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    let token_body = json!({"properties": {"name": "ci"}});
    for (method, path, body) in [
        (Method::GET, String::new(), Value::Null),
        (Method::PUT, String::new(), registry_body),
        (Method::PATCH, String::new(), json!({})),
        (Method::DELETE, String::new(), Value::Null),
        (Method::GET, "/tokens".to_owned(), Value::Null),
        (Method::POST, "/tokens".to_owned(), token_body.clone()),
        (Method::GET, format!("/tokens/{token}"), Value::Null),
        (Method::PUT, format!("/tokens/{token}"), token_body),
        (Method::PATCH, format!("/tokens/{token}"), json!({})),
        (Method::DELETE, format!("/tokens/{token}"), Value::Null),
        (Method::GET, "/members".to_owned(), Value::Null),
        (
            Method::PUT,
            format!("/members/{account}"),
            json!({"level": "owner"}),
        ),
        (Method::DELETE, format!("/members/{account}"), Value::Null),
        (Method::GET, "/jwks.json".to_owned(), Value::Null),
        (Method::GET, "/repositories".to_owned(), Value::Null),
    ] {
        let mut answers = Vec::new();
        for id in [registry.as_str(), NOBODY] {
            let target = format!("/registries/{id}{path}");
            let request = alice.request(method.clone(), &target);
            let request = if body.is_null() {
                request
            } else {
                request.json(&body)
            };
            answers.push(shape(alice.send(request).await, id));
        }
        assert_eq!(answers[0], answers[1], "{method} {path}");
    }
}

#[rstest]
#[actix_web::test]
async fn what_ends_is_gone_at_the_next_request_everywhere(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let account = admin.create_account("alice", &[]).await;
    let both = [
        server.actor("alice", "right-password"),
        replica.actor("alice", "right-password"),
    ];
    admin.set_member(&registry, &account, "owner").await;
    // These were issued under an earlier membership.
    let issued = login(&both[0], "repository:a/b:*").await;
    assert_eq!(granted(&issued), "a/b:pull,push,delete");
    let jwt = issued.json["token"].as_str().unwrap().to_owned();
    let refresh = issued.json["refresh_token"].as_str().unwrap().to_owned();
    let by_jwt = async |base: &Server, method: &str| {
        let anyone = base.anonymous();
        let request = check(&anyone, method, "/v2/a/b/manifests/latest").bearer_auth(&jwt);
        anyone.send(request).await.status
    };
    let by_refresh = async |base: &Server| {
        let anyone = base.anonymous();
        let form = format!(
            "grant_type=refresh_token&refresh_token={refresh}&service=team-a.localhost&client_id=test&scope=repository:a/b:*"
        );
        let request = anyone
            .request(Method::POST, "/token")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = anyone.send(request).await;
        match answer.status {
            200 => {
                let text = answer.text.replace("\"access_token\"", "\"token\"");
                let json = serde_json::from_str(&text).unwrap();
                granted(&Answer { json, ..answer })
            }
            status => status.to_string(),
        }
    };
    let path = format!("/registries/{registry}/members/{account}");
    for (level, rights, token, manifests, refreshed) in [
        (
            "owner",
            "www",
            "a/b:pull,push,delete catalog:*",
            [200, 200, 200],
            "a/b:pull,push,delete",
        ),
        ("reader", "rr-", PULL, [200, 403, 403], "a/b:pull"),
        ("maintainer", "rw-", PUSH, [200, 200, 403], "a/b:pull,push"),
        ("", "!!!", "!", [401, 401, 401], "401"),
        ("reader", "rr-", PULL, [200, 403, 403], "a/b:pull"),
    ] {
        if level.is_empty() {
            assert_eq!(admin.delete(&path).await.status, 204);
        } else {
            admin.set_member(&registry, &account, level).await;
        }
        for (actor, base) in both.iter().zip([&server, &replica]) {
            assert_eq!(on_api(actor, &registry).await, rights, "{level}");
            assert_eq!(at_token(actor).await, token, "{level}");
            for (method, status) in ["GET", "PUT", "DELETE"].into_iter().zip(manifests) {
                assert_eq!(by_jwt(base, method).await, status, "{level} {method}");
            }
            assert_eq!(by_refresh(base).await, refreshed, "{level}");
        }
    }

    // Neither a registry nor an account that comes back under its id or name has the memberships of the one before.
    let count = "SELECT COUNT(*) FROM registry_members";
    assert_eq!(server.database.number(count), 1);
    let body = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    let target = format!("/registries/{registry}");
    assert_eq!(admin.delete(&target).await.status, 204);
    assert_eq!(server.database.number(count), 0);
    assert_eq!(admin.put(&target, body).await.status, 201);
    assert_eq!(on_api(&both[1], &registry).await, "!!!");
    admin.set_member(&registry, &account, "owner").await;
    assert_eq!(
        admin.delete(&format!("/accounts/{account}")).await.status,
        204
    );
    assert_eq!(server.database.number(count), 0);
    assert_eq!(both[0].get(&target).await.status, 401);
    admin.create_account("alice", &[]).await;
    assert_eq!(both[0].get(&target).await.status, 404);
}

#[rstest]
#[actix_web::test]
async fn nobody_mints_a_token_that_opens_more_than_they_may(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    roles(&server.database);
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    let account = admin.create_account("alice", &[]).await;
    let alice = server.actor("alice", "right-password");
    let scopes =
        |actions: &[&str]| json!([{"type": "repository", "name": "*", "actions": actions}]);
    let body = |name: &str, actions: &[&str]| json!({"properties": {"name": name, "scopes": scopes(actions)}});
    admin.set_member(&registry, &account, "maintainer").await;
    let made = alice
        .post(&tokens, body("push", &["pull", "push", "list"]))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let own = format!("{tokens}/{}", made.json["id"].as_str().unwrap());
    let made = admin.post(&tokens, body("delete", &["*"])).await;
    let theirs = format!("{tokens}/{}", made.json["id"].as_str().unwrap());
    for actions in [&["delete"] as &[&str], &["pull", "*"]] {
        for answer in [
            alice.post(&tokens, body("more", actions)).await,
            alice
                .put(&format!("{tokens}/{NOBODY}"), body("more", actions))
                .await,
            alice.put(&own, body("push", actions)).await,
            alice.patch(&own, json!({"scopes": scopes(actions)})).await,
        ] {
            assert_eq!((answer.status, answer.codes()), (403, vec!["forbidden"]));
            assert!(answer.message().contains("pull, push"), "{answer:?}");
        }
    }
    // Existing rights may stay: a manager of tokens can disable a token and reduce its scopes.
    for patch in [
        json!({"status": "disabled"}),
        json!({"scopes": scopes(&["*"])}),
        json!({"scopes": scopes(&["pull"])}),
    ] {
        assert_eq!(alice.patch(&theirs, patch).await.status, 200);
    }
    let back = alice
        .patch(&theirs, json!({"scopes": scopes(&["*"])}))
        .await;
    assert_eq!(back.status, 403);
    // A role that writes tokens and nothing else lets a reader make tokens that read.
    let builder = admin.create_account("bob", &[]).await;
    admin.set_member(&registry, &builder, "reader").await;
    server
        .database
        .execute("INSERT INTO roles (name, description, built_in) VALUES ('Tokens', '', 0)");
    server.database.execute(
        "INSERT INTO role_permissions (role_key, resource, level) SELECT key, 'Token', 2 FROM roles WHERE name = 'Tokens'",
    );
    let path = format!("/accounts/{builder}");
    assert_eq!(
        admin
            .patch(&path, json!({"roles": ["Tokens"]}))
            .await
            .status,
        200
    );
    let bob = server.actor("bob", "right-password");
    assert_eq!(bob.post(&tokens, body("pull", &["pull"])).await.status, 201);
    assert_eq!(
        bob.post(&tokens, body("pusher", &["push"])).await.status,
        403
    );
}

#[rstest]
#[actix_web::test]
async fn lists_show_what_is_visible_and_cursors_go_on_there(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let account = admin.create_account("alice", &[]).await;
    let alice = server.actor("alice", "right-password");
    let names = |list: &Answer| -> Vec<String> {
        let items = list.json["items"].as_array().unwrap().iter();
        items
            .map(|item| item["properties"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&alice.get("/registries").await), [""; 0]);
    let mut own = Vec::new();
    for number in 0..12 {
        let name = format!("team-{number:02}");
        let registry = admin.create_registry(&name).await;
        if number % 3 == 1 {
            admin.set_member(&registry, &account, "reader").await;
            own.push(name);
        }
    }
    assert_eq!(own.len(), 4);
    assert_eq!(names(&alice.get("/registries").await), own);
    let filtered = alice.get("/registries?filter.name=-1").await;
    assert_eq!(names(&filtered), ["team-10"]);
    for limit in 1..=5 {
        let (mut seen, mut token) = (Vec::new(), String::new());
        let patience = Patience::new();
        loop {
            patience.spend("the list has not ended");
            let page = alice
                .get(&format!(
                    "/registries?limit={limit}&pagination.token={token}"
                ))
                .await;
            seen.extend(names(&page));
            page.json["pagination"]["token"]
                .as_str()
                .unwrap()
                .clone_into(&mut token);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, own, "{limit}");
    }
    // A cursor of an account with more rights shows no more.
    let cursor = admin.get("/registries?limit=2").await;
    let cursor = cursor.json["pagination"]["token"].as_str().unwrap();
    let page = alice
        .get(&format!("/registries?pagination.token={cursor}"))
        .await;
    assert_eq!(names(&page), own[1..]);
}

/// A server with a registry and three accounts: the path of the members and of those that the accounts become.
struct Team {
    server: Server,
    admin: Actor,
    members: String,
    accounts: Vec<String>,
}

impl Team {
    const NAMES: [&str; 3] = ["alice", "bob", "carol"];

    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend).await;
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let mut accounts = Vec::new();
        for name in Self::NAMES {
            accounts.push(admin.create_account(name, &[]).await);
        }
        Self {
            server,
            admin,
            members: format!("/registries/{registry}/members"),
            accounts,
        }
    }

    fn path(&self, account: usize) -> String {
        format!("{}/{}", self.members, self.accounts[account])
    }

    fn actor(&self, account: usize) -> Actor {
        self.server.actor(Self::NAMES[account], "right-password")
    }
}

fn names_of(list: &Answer) -> Vec<&str> {
    let items = list.json["items"].as_array().unwrap().iter();
    items
        .map(|item| item["properties"]["name"].as_str().unwrap())
        .collect()
}

#[rstest]
#[actix_web::test]
async fn members_are_listed_in_the_order_of_accounts(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::new(backend).await;
    let empty = team.admin.get(&team.members).await;
    assert_eq!(empty.json["items"], json!([]));
    assert_eq!(
        (&empty.json["total"], &empty.json["count"]),
        (&json!(0), &json!(0))
    );
    // Whoever came first.
    for (account, level) in [(2, "reader"), (0, "owner"), (1, "maintainer")] {
        for status in [201, 200] {
            let put = team
                .admin
                .put(&team.path(account), json!({"level": level}))
                .await;
            assert_eq!(put.status, status);
            let name = Team::NAMES[account];
            assert_eq!(
                put.json,
                json!({"id": team.accounts[account], "type": "member", "href": "",
                    "properties": {"name": name, "level": level, "status": "enabled"}})
            );
        }
    }
    let alice = team.actor(0);
    let all = alice.get(&team.members).await;
    assert_eq!(names_of(&all), Team::NAMES);
    let second = alice
        .get(&format!("{}?offset=1&limit=1", team.members))
        .await;
    assert_eq!(names_of(&second), ["bob"]);
    assert_eq!(
        (&second.json["total"], &second.json["count"]),
        (&json!(3), &json!(1))
    );
    let next = second.json["_links"]["next"].as_str().unwrap();
    assert!(next.ends_with("/members?offset=2&limit=1"), "{next}");
    for window in ["offset=-1", "limit=1001"] {
        let answer = team.admin.get(&format!("{}?{window}", team.members)).await;
        assert_eq!(answer.status, 400, "{window}");
    }
}

/// An owner gives all there is to give, to himself too, and may leave.
#[rstest]
#[actix_web::test]
async fn members_are_changed_and_removed_by_an_owner(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::new(backend).await;
    let (admin, alice, bob) = (&team.admin, team.actor(0), team.actor(1));
    for (account, level) in [(0, "owner"), (1, "maintainer"), (2, "reader")] {
        let put = admin
            .put(&team.path(account), json!({"level": level}))
            .await;
        assert_eq!(put.status, 201);
    }
    for (account, level) in [(1, "owner"), (2, "maintainer"), (1, "reader")] {
        let put = alice
            .put(&team.path(account), json!({"level": level}))
            .await;
        assert_eq!(put.status, 200);
    }
    let own = bob.put(&team.path(1), json!({"level": "owner"})).await;
    assert_eq!(own.status, 403);
    let leave = team.path(0);
    assert_eq!(alice.delete(&leave).await.status, 204);
    for (actor, code) in [(&alice, "registry-not-found"), (admin, "member-not-found")] {
        let gone = actor.delete(&leave).await;
        assert_eq!((gone.status, gone.codes()), (404, vec![code]));
    }
    assert_eq!(names_of(&admin.get(&team.members).await), ["bob", "carol"]);
}

#[rstest]
#[actix_web::test]
async fn memberships_that_break_a_rule_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let team = Team::new(backend).await;
    let (admin, members, own) = (&team.admin, &team.members, team.path(0));
    let nobody = format!("{members}/{NOBODY}");
    let no_id = format!("{members}/x");
    let nowhere = format!("/registries/{NOBODY}/members/{}", team.accounts[0]);
    let owner = json!({"level": "owner"});
    for (path, body, status, code) in [
        (&nobody, owner.clone(), 404, "account-not-found"),
        (&no_id, owner.clone(), 400, "invalid-account-id"),
        (&own, json!({"level": "Owner"}), 400, "invalid-level"),
        (&own, json!({"level": 3}), 400, "invalid-level"),
        (&own, json!({}), 400, "invalid-level"),
        (&own, json!({"level": "owner", "x": 1}), 400, "invalid-body"),
        (&nowhere, owner, 404, "registry-not-found"),
    ] {
        let answer = admin.put(path, body.clone()).await;
        let told = (answer.status, answer.codes());
        assert_eq!(told, (status, vec![code]), "{path} {body}");
    }
    assert_eq!(admin.get(members).await.json["items"], json!([]));
}

#[rstest]
#[actix_web::test]
async fn accounts_are_made_shown_and_deleted(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let made = admin
        .post(
            "/accounts",
            json!({"properties": {"name": "Alice@example.com", "password": "first-password", "roles": ["Analyst", "Analyst"]}}),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.json["id"].as_str().unwrap();
    let path = format!("/accounts/{id}");
    let expected = json!({"id": id, "type": "account", "href": "",
        "metadata": {"createdDate": "2026-11-21T12:00:00Z", "state": "enabled"},
        "properties": {"name": "Alice@example.com", "roles": ["Analyst"], "status": "enabled"}});
    assert_eq!(made.json, expected);
    assert_eq!(admin.get(&path).await.json, expected);
    let alice = |password: &str| server.actor("alice@example.com", password);
    assert_eq!(alice("first-password").get("/registries").await.status, 200);
    // All may read their own account, with any rights or none.
    assert_eq!(alice("first-password").get(&path).await.json, expected);

    let list = admin.get("/accounts?offset=1&limit=2").await;
    assert_eq!(
        (&list.json["total"], &list.json["count"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(list.json["items"][1]["id"], id);
    assert_eq!(list.json["items"][1]["metadata"]["state"], "enabled");

    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(admin.delete(&path).await.codes(), ["account-not-found"]);
    assert_eq!(admin.get(&path).await.codes(), ["account-not-found"]);
    admin.create_account("alice@EXAMPLE.com", &[]).await;
}

#[rstest]
#[actix_web::test]
async fn accounts_are_changed(#[values(Backend::Sqlite, Backend::Postgres)] backend: Backend) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin
        .create_account("Alice@example.com", &["Analyst"])
        .await;
    let path = format!("/accounts/{id}");
    let alice = |password: &str| server.actor("alice@example.com", password);
    let expected = admin.get(&path).await.json;
    server.clock.advance(chrono::TimeDelta::seconds(5));
    for same in [
        json!({}),
        json!({"status": "enabled", "roles": ["Analyst"]}),
    ] {
        assert_eq!(admin.patch(&path, same).await.json, expected);
    }
    let changed = admin
        .patch(&path, json!({"password": "second-password", "roles": []}))
        .await;
    assert_eq!(changed.status, 200);
    assert_eq!(
        changed.json["metadata"]["lastModifiedDate"],
        "2026-11-21T12:00:05Z"
    );
    assert_eq!(changed.json["properties"]["roles"], json!([]));
    assert!(!changed.text.contains("password"), "{changed:?}");
    assert_eq!(alice("right-password").get(&path).await.status, 401);
    assert_eq!(alice("second-password").get(&path).await.status, 200);
    assert_eq!(alice("second-password").get("/accounts").await.status, 403);
    let off = admin.patch(&path, json!({"status": "disabled"})).await;
    assert_eq!(off.status, 200);
    assert_eq!(alice("second-password").get(&path).await.status, 401);
    let shown = admin.get(&path).await;
    assert_eq!(shown.json["metadata"]["state"], "disabled");
}

#[rstest]
#[actix_web::test]
async fn an_account_that_is_made_without_a_password_is_shown_one_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let send = async || {
        let body = json!({"properties": {"name": "ann", "roles": ["Analyst"]}});
        let request = admin.request(Method::POST, "/accounts").json(&body);
        admin.send(request.header("Idempotency-Key", "ann")).await
    };
    let made = send().await;
    assert_eq!(made.status, 201, "{made:?}");
    let credentials = &made.json["properties"]["credentials"];
    assert_eq!(credentials["username"], "ann");
    let password = credentials["password"].as_str().unwrap();
    assert_eq!(password.len(), 24);
    let ann = server.actor("ann", password);
    assert_eq!(ann.get("/registries").await.status, 200);
    let path = format!("/accounts/{}", made.json["id"].as_str().unwrap());
    for later in [admin.get(&path).await, send().await] {
        assert!(matches!(later.status, 200 | 201), "{later:?}");
        assert_eq!(later.json["properties"]["credentials"], Value::Null);
    }
    let trail = admin.get("/audit").await;
    assert!(!trail.text.contains(password));
}

#[rstest]
#[actix_web::test]
async fn accounts_that_break_a_rule_are_not_made(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    admin.create_account("Alice@example.com", &[]).await;
    for (member, value, status, code) in [
        ("name", json!("ALICE@example.com"), 409, "account-exists"),
        ("name", json!("a:b"), 400, "invalid-name"),
        ("name", json!(""), 400, "invalid-name"),
        ("name", json!("a\0"), 400, "invalid-name"),
        ("password", json!("short"), 400, "invalid-password"),
        ("password", json!("x".repeat(72)), 400, "invalid-password"),
        ("password", json!(12_345_678), 400, "invalid-password"),
        ("password", json!(null), 400, "invalid-password"),
        ("roles", json!(["admin"]), 400, "invalid-roles"),
        ("roles", json!(["a\0"]), 400, "invalid-roles"),
        ("roles", json!("Admin"), 400, "invalid-roles"),
        ("status", json!("off"), 400, "invalid-status"),
    ] {
        let mut properties = json!({"name": "bob", "password": "right-password"});
        properties[member] = value;
        let body = json!({"properties": properties});
        let answer = admin.post("/accounts", body).await;
        let told = (answer.status, answer.codes());
        assert_eq!(told, (status, vec![code]), "{properties}: {answer:?}");
        assert!(!answer.text.contains("12345678"), "{answer:?}");
    }
    // A guess may be wrong, so the error does not repeat a value that does not fit, which may be a password.
    let slip =
        json!({"properties": {"name": "bob", "password": "right-password", "role": "Admin"}});
    let slip = admin.post("/accounts", slip).await;
    assert_eq!((slip.status, slip.codes()), (400, vec!["invalid-body"]));
    let bare = admin.post("/accounts", json!({"name": "bob"})).await;
    assert_eq!((bare.status, bare.codes()), (400, vec!["invalid-body"]));
}

#[rstest]
#[actix_web::test]
async fn changes_of_accounts_that_break_a_rule_are_refused(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin
        .create_account("Alice@example.com", &["Analyst"])
        .await;
    let path = format!("/accounts/{id}");
    let nobody = format!("/accounts/{NOBODY}");
    for (path, body, status, code) in [
        (path.as_str(), json!({"name": "other"}), 400, "invalid-name"),
        (&path, json!({"password": "short"}), 400, "invalid-password"),
        (&path, json!({"roles": ["nobody"]}), 400, "invalid-roles"),
        (&nobody, json!({}), 404, "account-not-found"),
        ("/accounts/x", json!({}), 400, "invalid-account-id"),
    ] {
        let answer = admin.patch(path, body.clone()).await;
        let told = (answer.status, answer.codes());
        assert_eq!(told, (status, vec![code]), "{path} {body}: {answer:?}");
    }
}

/// The API tokens, each with the account that revoked it.
fn revocations(server: &Server) -> Vec<String> {
    server.database.lines(
        "SELECT name || CASE WHEN revoked_at IS NULL THEN '' ELSE ' by ' || \
         COALESCE((SELECT accounts.name FROM accounts WHERE uuid = revoked_by), 'a command') END AS line \
         FROM api_tokens ORDER BY key",
    )
}

#[rstest]
#[actix_web::test]
async fn an_account_with_api_tokens_in_force_goes_only_with_them(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("", "/containerregistries")] prefix: &str,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_account("bob", &["Admin"]).await;
    let (path, bob) = (
        format!("{prefix}/accounts/{id}"),
        server.actor("bob", "right-password"),
    );
    let registry = admin.create_registry("team-a").await;
    admin.set_member(&registry, &id, "reader").await;
    let generate = async |name: &str, end: &str| {
        let wish = json!({"name": name, "role": "Admin", "expiration": end});
        let made = bob.post("/v1/apitokens/generate", wish).await;
        assert_eq!(made.status, 200, "{made:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&made.json["token"]),
            text(&made.json["metadata"]["id"]),
        )
    };
    // One over, one revoked, and one in force to the last microsecond: a single one keeps the account.
    generate("over", "2026-11-21T12:30:00Z").await;
    let (_, revoked) = generate("revoked", "2027-01-01T00:00:00Z").await;
    let (token, _) = generate("live", "2026-11-21T13:00:00Z").await;
    let revoke = format!("/v1/apitokens/revoke/{revoked}");
    assert_eq!(bob.patch(&revoke, json!({})).await.status, 200);
    let last = chrono::TimeDelta::hours(1) - chrono::TimeDelta::microseconds(1);
    server.clock.advance(last);

    let before = ["over", "revoked by bob", "live"];
    for query in ["", "?revokeTokens=false"] {
        let kept = admin.delete(&format!("{path}{query}")).await;
        assert_eq!((kept.status, kept.codes()), (409, vec!["conflict"]));
        assert_eq!(
            kept.message(),
            "bob has 1 API token in force; revoke it first, or delete the account with \
             ?revokeTokens=true, in the command with --revoke-tokens"
        );
    }
    let with_tokens = format!("{path}?revokeTokens=true");
    assert_eq!(server.analyst().delete(&with_tokens).await.status, 403);
    // Nothing of all that changed anything.
    assert_eq!(revocations(&server), before);
    let bearer = server.bearer(&token);
    assert_eq!(bearer.get("/locations").await.status, 200);
    let members = format!("/registries/{registry}/members");
    assert_eq!(admin.get(&members).await.json["total"], 1);

    // Several are counted. A token may end its own account, and itself with it.
    generate("other", "2027-01-01T00:00:00Z").await;
    let kept = bearer.delete(&path).await;
    assert!(
        kept.message()
            .starts_with("bob has 2 API tokens in force; revoke them first"),
        "{kept:?}"
    );
    let deleted = bearer.delete(&with_tokens).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(bearer.get("/locations").await.status, 401);
    let after = ["over", "revoked by bob", "live by bob", "other by bob"];
    assert_eq!(revocations(&server), after);
    let listed = admin.get("/v1/apitokens?revoked=true").await;
    assert_eq!(listed.json["tokens"].as_array().unwrap().len(), 3);
}

#[rstest]
#[actix_web::test]
async fn a_word_that_is_none_deletes_no_account(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("", "/containerregistries")] prefix: &str,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let id = admin.create_account("bob", &["Admin"]).await;
    let path = format!("{prefix}/accounts/{id}");
    for (value, code) in [
        ("", "invalid-revoke-tokens"),
        ("1", "invalid-revoke-tokens"),
        ("True", "invalid-revoke-tokens"),
        ("true%20", "invalid-revoke-tokens"),
        ("true&revokeTokens=true", "invalid-query"),
    ] {
        let refused = admin.delete(&format!("{path}?revokeTokens={value}")).await;
        assert_eq!(
            (refused.status, refused.codes()),
            (400, vec![code]),
            "{value}"
        );
    }
    assert_eq!(admin.get(&path).await.status, 200);
}

#[rstest]
#[actix_web::test]
async fn api_tokens_that_are_over_keep_nobody_and_the_last_admin_stays(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("", "/containerregistries")] prefix: &str,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let carol = admin.create_account("carol", &["Admin"]).await;
    let wish = json!({"name": "carols", "expiration": "2026-11-21T13:00:00Z"});
    let carols = server.actor("carol", "right-password");
    let made = carols.post("/v1/apitokens/generate", wish).await;
    assert_eq!(made.status, 200);
    let wish = json!({"name": "admins", "role": "Admin"});
    let made = admin.post("/v1/apitokens/generate", wish).await;
    assert_eq!(made.status, 200);
    server.clock.advance(chrono::TimeDelta::hours(1));
    let carol = format!("{prefix}/accounts/{carol}");
    assert_eq!(admin.delete(&carol).await.status, 204);
    let own = json!(admin.get("/accounts").await.json["items"][0]["id"]);
    let own = format!("{prefix}/accounts/{}", own.as_str().unwrap());
    for query in ["", "?revokeTokens=true"] {
        let refused = admin.delete(&format!("{own}{query}")).await;
        assert!(
            refused.status == 409 && refused.message().contains("last enabled account"),
            "{refused:?}"
        );
    }
    assert_eq!(revocations(&server), ["carols", "admins"]);
}

#[rstest]
#[actix_web::test]
async fn a_new_password_ends_the_accounts_tokens_only_if_that_is_asked_for(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let id = admin.create_account("bob", &["Admin"]).await;
    let bob = |password: &str| server.actor("bob", password);
    let made = bob("right-password")
        .post(
            "/v1/apitokens/generate",
            json!({"name": "t", "role": "Admin"}),
        )
        .await;
    let bearer = server.bearer(made.json["token"].as_str().unwrap());
    let made = bob("right-password")
        .post("/api/v1/user/apptoken", json!({"title": "t"}))
        .await;
    let app = server.actor("$app", made.json["token"]["token_code"].as_str().unwrap());
    let minted = bob("right-password")
        .mint(&registry, "ci", &["repository:a:pull"])
        .await;
    let token = server.actor(&minted.name, &minted.secret);
    let opened = async || {
        [
            bearer.get("/locations").await.status,
            login(&app, "").await.status,
            login(&token, "").await.status,
        ]
    };
    let path = format!("/accounts/{id}");
    for (query, password) in [
        ("", "second-password"),
        ("?revokeTokens=false", "third-password"),
    ] {
        let patch = json!({"password": password});
        let changed = admin.patch(&format!("{path}{query}"), patch).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        assert_eq!(bob("right-password").get(&path).await.status, 401);
        assert_eq!(bob(password).get(&path).await.status, 200);
        assert_eq!(opened().await, [200; 3], "{query}");
    }
    let refused = admin
        .patch(&format!("{path}?revokeTokens=yes"), json!({}))
        .await;
    assert_eq!(refused.codes(), ["invalid-revoke-tokens"]);
    // A caller who may not change the account ends nothing of it.
    let with_tokens = format!("{path}?revokeTokens=true");
    let analyst = server.analyst();
    assert_eq!(analyst.patch(&with_tokens, json!({})).await.status, 403);
    assert_eq!(opened().await, [200; 3]);

    let patch = json!({"password": "fourth-password"});
    assert_eq!(admin.patch(&with_tokens, patch).await.status, 200);
    // The registry's token is the registry's.
    assert_eq!(opened().await, [401, 401, 200]);
    assert_eq!(bob("fourth-password").get(&path).await.status, 200);
    assert_eq!(revocations(&server), ["t by admin"]);
    let told = admin.get("/audit?kind=update").await;
    let mut events = told.json["items"].as_array().unwrap().iter();
    let revoked = events.any(|event| event["detail"]["after"]["tokens"] == "revoked");
    assert!(revoked, "{told:?}");
    // It does so too where nothing else changes, and where there are none it leaves no trace.
    let wish = json!({"name": "late", "role": "Admin"});
    let late = bob("fourth-password")
        .post("/v1/apitokens/generate", wish)
        .await;
    let late = server.bearer(late.json["token"].as_str().unwrap());
    let total = async || {
        server
            .database
            .number("SELECT COUNT(*) FROM audit_events WHERE kind = 'update'")
    };
    for told in [1, 0] {
        let before = total().await;
        assert_eq!(admin.patch(&with_tokens, json!({})).await.status, 200);
        assert_eq!(late.get("/locations").await.status, 401);
        assert_eq!(total().await - before, told);
    }
}

/// Checks a refusal for wanting more than one holds.
fn refused_more(answer: &Answer, what: &str) {
    let told = (answer.status, answer.codes());
    assert_eq!(told, (403, vec!["forbidden"]), "{what}");
    assert!(answer.message().contains("more"), "{what}: {answer:?}");
}

/// A server with a manager of accounts, an account that may nothing, and the owner of a registry.
struct Managed {
    server: Server,
    admin: Actor,
    manager: Actor,
    registry: String,
    /// Ids by names.
    accounts: std::collections::BTreeMap<String, String>,
}

impl Managed {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend).await;
        roles(&server.database);
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        for (name, roles) in [
            ("manager", &["Manager"][..]),
            ("plain", &[]),
            ("member", &[]),
        ] {
            admin.create_account(name, roles).await;
        }
        let manager = server.actor("manager", "right-password");
        let listed = manager.get("/accounts").await;
        let items = listed.json["items"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let accounts: std::collections::BTreeMap<_, _> = items
            .map(|item| (text(&item["properties"]["name"]), text(&item["id"])))
            .collect();
        admin
            .set_member(&registry, &accounts["member"], "owner")
            .await;
        Self {
            server,
            admin,
            manager,
            registry,
            accounts,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("/accounts/{}", self.accounts[name])
    }
}

#[rstest]
#[actix_web::test]
async fn nobody_gives_more_than_they_hold(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let managed = Managed::new(backend).await;
    let manager = &managed.manager;
    // Roles, one's own included.
    for role in ["Admin", "Analyst", "Builder", "Registrar"] {
        let roles = json!(["Manager", role]);
        let properties = json!({"name": "new", "password": "right-password", "roles": roles});
        let made = manager
            .post("/accounts", json!({"properties": properties}))
            .await;
        refused_more(&made, role);
        for path in [managed.path("plain"), managed.path("manager")] {
            refused_more(&manager.patch(&path, json!({"roles": roles})).await, role);
        }
    }
    // Managers can give and take their own roles and fewer.
    for roles in [json!(["Manager"]), json!([])] {
        let patch = manager
            .patch(&managed.path("plain"), json!({"roles": roles}))
            .await;
        assert_eq!(patch.status, 200);
    }
    // A password opens all that its account may.
    for name in ["admin", "analyst@example.com", "member"] {
        let path = managed.path(name);
        for patch in [
            json!({"password": "stolen-password"}),
            json!({"status": "disabled"}),
            json!({"roles": []}),
        ] {
            refused_more(&manager.patch(&path, patch).await, name);
        }
        refused_more(&manager.delete(&path).await, name);
    }
    let own = json!({"password": "another-password"});
    assert_eq!(manager.patch(&managed.path("plain"), own).await.status, 200);
}

/// A role that has none of them gives none away.
#[rstest]
#[actix_web::test]
async fn nobody_gives_more_of_a_registry_than_they_hold(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let managed = Managed::new(backend).await;
    let manager = &managed.manager;
    let (admin, registry) = (&managed.admin, &managed.registry);
    let (manager_id, plain) = (&managed.accounts["manager"], &managed.accounts["plain"]);
    let own = json!({"password": "another-password"});
    let members = format!("/registries/{registry}/members");
    let path = format!("{members}/{plain}");
    let hidden = manager.put(&path, json!({"level": "reader"})).await;
    assert_eq!(hidden.codes(), ["registry-not-found"]);
    admin.set_member(registry, manager_id, "maintainer").await;
    for (level, status) in [("reader", 201), ("maintainer", 200), ("owner", 403)] {
        let put = manager.put(&path, json!({"level": level})).await;
        assert_eq!(put.status, status, "{level}");
    }
    let itself = format!("{members}/{manager_id}");
    refused_more(
        &manager.put(&itself, json!({"level": "owner"})).await,
        "itself",
    );
    // And where he is as much himself, he may.
    refused_more(
        &manager.patch(&managed.path("member"), own.clone()).await,
        "an owner",
    );
    admin.set_member(registry, manager_id, "owner").await;
    assert_eq!(
        manager.patch(&managed.path("member"), own).await.status,
        200
    );
}

#[rstest]
#[actix_web::test]
async fn reading_accounts_is_not_writing_them(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let managed = Managed::new(backend).await;
    let member = &managed.accounts["plain"];
    let path = format!("/registries/{}/members/{member}", managed.registry);
    let analyst = managed.server.analyst();
    assert_eq!(analyst.get("/accounts").await.status, 200);
    assert_eq!(
        analyst
            .patch(&managed.path("plain"), json!({}))
            .await
            .status,
        403
    );
    assert_eq!(
        analyst.put(&path, json!({"level": "reader"})).await.status,
        403
    );
}

#[rstest]
#[actix_web::test]
async fn an_admin_is_always_left(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("disable", "demote", "delete")] how: &str,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let admin = server.admin();
    let first = admin.get("/accounts").await.json["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut ids = vec![first];
    for number in 0..5 {
        ids.push(
            admin
                .create_account(&format!("admin-{number}"), &["Admin"])
                .await,
        );
    }
    let actor = |number: usize| {
        let base = if number.is_multiple_of(2) {
            &server
        } else {
            &replica
        };
        match number {
            0 => base.admin(),
            _ => base.actor(&format!("admin-{}", number - 1), "right-password"),
        }
    };
    // Each removes itself, all at once.
    let requests: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| {
            let (actor, path, how) = (actor(number), format!("/accounts/{id}"), how.to_owned());
            actix_web::rt::spawn(async move {
                match how.as_str() {
                    "disable" => actor.patch(&path, json!({"status": "disabled"})).await,
                    "demote" => actor.patch(&path, json!({"roles": ["Analyst"]})).await,
                    _ => actor.delete(&path).await,
                }
            })
        })
        .collect();
    let mut refused = Vec::new();
    for (number, request) in requests.into_iter().enumerate() {
        let answer = request.await.unwrap();
        if answer.status == 409 {
            assert_eq!(answer.codes(), ["conflict"]);
            assert!(
                answer
                    .message()
                    .contains("last enabled account with the role Admin")
            );
            refused.push(number);
        } else {
            assert!(matches!(answer.status, 200 | 204), "{answer:?}");
        }
    }
    assert_eq!(refused.len(), 1, "{refused:?}");
    let last = actor(refused[0]);
    assert_eq!(last.get("/accounts").await.status, 200);
    let again = format!("/accounts/{}", ids[refused[0]]);
    for patch in [json!({"status": "disabled"}), json!({"roles": []})] {
        let answer = last.patch(&again, patch).await;
        assert_eq!((answer.status, answer.codes()), (409, vec!["conflict"]));
    }
    assert_eq!(last.delete(&again).await.status, 409);
    // A password is no such matter.
    let patch = last
        .patch(&again, json!({"password": "another-password"}))
        .await;
    assert_eq!(patch.status, 200);
}

/// Refused for want of an action on images, which the message names.
fn lacks_on_images(answer: &Answer, action: &str) {
    assert_eq!(
        (answer.status, answer.codes()),
        (403, vec!["forbidden"]),
        "{answer:?}"
    );
    let lack = format!("the action {action} on its images");
    assert!(answer.message().contains(&lack), "{answer:?}");
}

#[rstest]
#[actix_web::test]
async fn who_manages_access_and_pulls_nothing_makes_no_reader_of_themselves(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    roles(&server.database);
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    // Sees all, manages access, and has nothing of any image.
    let id = admin
        .create_account("keeper", &["Analyst", "Manager"])
        .await;
    let keeper = server.actor("keeper", "right-password");
    let members = format!("/registries/{registry}/members");
    let path = format!("{members}/{id}");
    lacks_on_images(&keeper.put(&path, json!({"level": "reader"})).await, "pull");
    assert_eq!(admin.get(&members).await.json["items"], json!([]));
    assert_eq!(granted(&login(&keeper, "repository:app:pull").await), "");
}

/// A registry with a reader who has all rights of a maintainer but pushing; and an account without roles.
struct Pushless {
    _server: Server,
    admin: Actor,
    registry: String,
    minter: Actor,
    plain: String,
}

impl Pushless {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend).await;
        roles(&server.database);
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let minter = admin.create_account("minter", &["Manager", "Minter"]).await;
        admin.set_member(&registry, &minter, "reader").await;
        Self {
            minter: server.actor("minter", "right-password"),
            plain: admin.create_account("plain", &[]).await,
            _server: server,
            admin,
            registry,
        }
    }
}

#[rstest]
#[actix_web::test]
async fn who_pulls_and_does_not_push_makes_no_maintainer(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let Pushless {
        _server,
        registry,
        minter,
        plain,
        ..
    } = Pushless::new(backend).await;
    let path = format!("/registries/{registry}/members/{plain}");
    let maintainer = json!({"level": "maintainer"});
    lacks_on_images(&minter.put(&path, maintainer.clone()).await, "push");
    assert_eq!(
        minter.put(&path, json!({"level": "reader"})).await.status,
        201
    );
    lacks_on_images(&minter.put(&path, maintainer).await, "push");
}

#[rstest]
#[actix_web::test]
async fn who_pulls_and_does_not_push_sets_no_password_of_who_pushes(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let Pushless {
        _server,
        admin,
        registry,
        minter,
        plain,
    } = Pushless::new(backend).await;
    let path = format!("/accounts/{plain}");
    let password = json!({"password": "another-password"});
    admin.set_member(&registry, &plain, "maintainer").await;
    assert_eq!(minter.patch(&path, password.clone()).await.status, 403);
    admin.set_member(&registry, &plain, "reader").await;
    assert_eq!(minter.patch(&path, password).await.status, 200);
}
