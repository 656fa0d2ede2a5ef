//! Nobody obtains more than they hold, by any road: named attempts, and random calls of random callers.

use std::collections::BTreeSet;

use actix_web::rt::System;
use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{ADMIN_PASSWORD, Actor, Answer, Backend, Database, Server, claims};

const NOBODY: &str = "0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11";

/// Roles as other surfaces bring them.
fn add_roles(database: &Database) {
    for (name, permissions) in [
        ("Builder", &[("Token", 2), ("Image", 2)] as &[_]),
        ("Manager", &[("Access", 2)]),
        ("Registrar", &[("Registry", 2)]),
        (
            "Steward",
            &[
                ("Access", 2),
                ("Integration", 2),
                ("Registry", 1),
                ("Token", 2),
                ("Image", 1),
            ],
        ),
    ] {
        database.execute(&format!(
            "INSERT INTO roles (name, description, built_in) VALUES ('{name}', '', 0)"
        ));
        for (resource, level) in permissions {
            database.execute(&format!(
                "INSERT INTO role_permissions (role_key, resource, level) \
                 SELECT key, '{resource}', {level} FROM roles WHERE name = '{name}'"
            ));
        }
    }
}

fn scopes(name: &str, actions: &[&str]) -> Value {
    json!([{"type": "repository", "name": name, "actions": actions}])
}

fn secret_of(answer: &Answer) -> String {
    let password = &answer.json["properties"]["credentials"]["password"];
    password.as_str().unwrap().to_owned()
}

fn refused(answer: &Answer, what: &str) {
    let found = (answer.status, answer.codes());
    assert_eq!(found, (403, vec!["forbidden"]), "{what}: {answer:?}");
    assert!(
        answer.message().contains("nobody obtains more"),
        "{what}: {answer:?}"
    );
}

async fn api_token(actor: &Actor, role: &str) -> String {
    let wish = json!({"name": "t", "role": role});
    let made = actor.post("/v1/apitokens/generate", wish).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.json["token"].as_str().unwrap().to_owned()
}

/// A registry with an owner's token that deletes, and a caller who writes tokens and may not delete.
struct Bench {
    server: Server,
    registry: String,
    tokens: String,
    token: String,
    secret: String,
    maintainer: Actor,
    sensor: Actor,
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend).await;
        add_roles(&server.database);
        let admin = server.admin();
        let registry = admin.create_registry("team-a").await;
        let account = admin.create_account("maintainer", &[]).await;
        admin.set_member(&registry, &account, "maintainer").await;
        let tokens = format!("/registries/{registry}/tokens");
        let actions = ["pull", "push", "delete"];
        let properties = json!({"name": "owners", "scopes": scopes("*", &actions), "expiryDate": "2027-01-01T00:00:00Z",
            "allowedCidrs": ["127.0.0.0/8", "10.0.0.0/8"]});
        let made = admin.post(&tokens, json!({"properties": properties})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let sensor = api_token(&admin, "Sensor Creator").await;
        Self {
            token: format!("{tokens}/{}", made.json["id"].as_str().unwrap()),
            secret: secret_of(&made),
            maintainer: server.actor("maintainer", "right-password"),
            sensor: server.bearer(&sensor),
            server,
            registry,
            tokens,
        }
    }

    async fn opens(&self, secret: &str) -> bool {
        let client = self.server.actor("owners", secret);
        let query = [("service", "team-a.localhost")];
        client.ask("/token", &query).await.status == 200
    }
}

#[rstest]
#[actix_web::test]
async fn who_writes_tokens_gets_no_secret_of_one_that_carries_more(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let before = bench.server.admin().get(&bench.token).await.json;
    for (who, caller) in [
        ("a maintainer", &bench.maintainer),
        ("a token of Sensor Creator", &bench.sensor),
    ] {
        for grace in ["PT0S", "PT1H"] {
            let path = format!("{}/rotate", bench.token);
            let answer = caller.post(&path, json!({"gracePeriod": grace})).await;
            refused(&answer, who);
            assert!(answer.message().contains("delete") || who != "a maintainer");
        }
        for id in [NOBODY, bench.token.rsplit('/').next().unwrap()] {
            let properties =
                json!({"name": "owners", "scopes": scopes("*", &["delete"]), "status": "enabled"});
            let path = format!("{}/{id}", bench.tokens);
            let answer = caller.put(&path, json!({"properties": properties})).await;
            refused(&answer, who);
        }
    }
    assert_eq!(bench.server.admin().get(&bench.token).await.json, before);
    assert!(bench.opens(&bench.secret).await, "the owner's job goes on");
}

#[rstest]
#[actix_web::test]
async fn a_credential_that_carries_more_is_narrowed_and_ended_and_never_widened(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = bench.server.admin();
    let some = |name: &str| scopes(name, &["pull", "delete"]);
    // Each change that narrows; then changes that would undo it, and more.
    for (narrower, wider) in [
        (
            json!({"status": "disabled"}),
            vec![json!({"status": "enabled"})],
        ),
        (
            json!({"expiryDate": "2026-12-01T00:00:00Z"}),
            vec![
                json!({"expiryDate": "2026-12-01T00:00:01Z"}),
                json!({"expiryDate": null}),
            ],
        ),
        (
            json!({"scopes": some("team/*")}),
            vec![
                json!({"scopes": scopes("team/*", &["pull", "delete", "push"])}),
                json!({"scopes": some("**")}),
                json!({"scopes": some("other/*")}),
            ],
        ),
        (
            json!({"allowedCidrs": ["10.1.0.0/16"]}),
            vec![
                json!({"allowedCidrs": ["10.1.0.0/16", "192.0.2.1"]}),
                json!({"allowedCidrs": []}),
            ],
        ),
    ] {
        let narrowed = bench.maintainer.patch(&bench.token, narrower.clone()).await;
        assert_eq!(narrowed.status, 200, "{narrower}: {narrowed:?}");
        for wider in wider {
            for caller in [&bench.maintainer, &bench.sensor] {
                let answer = caller.patch(&bench.token, wider.clone()).await;
                refused(&answer, &wider.to_string());
            }
            // Together with a narrowing too.
            let mut both = wider.clone();
            both["scopes"] = both.get("scopes").cloned().unwrap_or(some("team/app"));
            refused(&bench.maintainer.patch(&bench.token, both).await, "both");
            for patch in [&wider, &narrower] {
                let allowed = admin.patch(&bench.token, patch.clone()).await;
                assert_eq!(allowed.status, 200, "{patch}: {allowed:?}");
            }
        }
    }
    // A caller may do everything within its own rights, to any account's tokens.
    let own = json!({"scopes": scopes("*", &["pull", "push"]), "status": "enabled", "expiryDate": null, "allowedCidrs": []});
    assert_eq!(bench.maintainer.patch(&bench.token, own).await.status, 200);
    let rotate = format!("{}/rotate", bench.token);
    let rotated = bench
        .maintainer
        .post(&rotate, json!({"gracePeriod": "PT1H"}))
        .await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let whole = json!({"scopes": scopes("*", &["*"])});
    assert_eq!(admin.patch(&bench.token, whole).await.status, 200);
    for path in [format!("{}/previous-secret", bench.token), bench.token] {
        assert_eq!(bench.maintainer.delete(&path).await.status, 204, "{path}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_repeat_shows_no_secret_that_carries_more_than_its_caller_holds_by_then(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = bench.server.admin();
    let account = admin.create_account("owner", &[]).await;
    admin.set_member(&bench.registry, &account, "owner").await;
    let owner = bench.server.actor("owner", "right-password");
    let create = json!({"properties": {"name": "new", "scopes": scopes("*", &["delete"])}});
    let put = json!({"properties": {"name": "put", "scopes": scopes("*", &["delete"])}});
    let requests = [
        (Method::POST, bench.tokens.clone(), create),
        (Method::PUT, format!("{}/{NOBODY}", bench.tokens), put),
        (
            Method::POST,
            format!("{}/rotate", bench.token),
            json!({"gracePeriod": "PT1H"}),
        ),
    ];
    let send = async |number: usize| {
        let (method, path, body) = &requests[number];
        let request = owner.request(method.clone(), path).json(body);
        owner
            .send(request.header("Idempotency-Key", format!("key-{number}")))
            .await
    };
    let mut first = Vec::new();
    for number in 0..requests.len() {
        let answer = send(number).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        first.push(secret_of(&answer));
    }
    for (level, shown) in [("owner", true), ("maintainer", false), ("owner", true)] {
        admin.set_member(&bench.registry, &account, level).await;
        for (number, first) in first.iter().enumerate() {
            let answer = send(number).await;
            if shown {
                assert_eq!(answer.header("idempotency-replayed"), "true", "{answer:?}");
                assert_eq!(secret_of(&answer), *first);
            } else {
                refused(&answer, &requests[number].1);
            }
        }
    }
}

#[rstest]
#[actix_web::test]
async fn a_membership_gives_no_account_more_than_its_giver_holds(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = bench.server.admin();
    let members = format!("/registries/{}/members", bench.registry);
    let manager = admin.create_account("manager", &["Manager"]).await;
    admin
        .set_member(&bench.registry, &manager, "maintainer")
        .await;
    let manager = bench.server.actor("manager", "right-password");
    // A role counts where its account is a member: a reader with the role Builder may delete.
    let builder = admin.create_account("builder", &["Builder"]).await;
    let plain = admin.create_account("plain", &[]).await;
    let set = async |account: &str, level: &str| {
        let path = format!("{members}/{account}");
        manager.put(&path, json!({"level": level})).await
    };
    refused(&set(&builder, "reader").await, "a reader who builds");
    refused(&set(&plain, "owner").await, "an owner");
    assert_eq!(set(&plain, "maintainer").await.status, 201);
    // A membership with more rights can be lowered, removed, and sent again as it is.
    admin.set_member(&bench.registry, &plain, "owner").await;
    admin
        .set_member(&bench.registry, &builder, "maintainer")
        .await;
    assert_eq!(set(&plain, "owner").await.status, 200);
    for account in [&plain, &builder] {
        assert_eq!(set(account, "reader").await.status, 200);
    }
    refused(&set(&plain, "owner").await, "an owner again");
    for account in [&plain, &builder] {
        let path = format!("{members}/{account}");
        assert_eq!(manager.delete(&path).await.status, 204);
    }
}

#[rstest]
#[actix_web::test]
async fn who_lifts_a_registrys_restrictions_holds_all_that_its_tokens_may(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let bench = Bench::new(backend).await;
    let admin = bench.server.admin();
    let path = format!("/registries/{}", bench.registry);
    let registrar = admin.create_account("registrar", &["Registrar"]).await;
    admin
        .set_member(&bench.registry, &registrar, "maintainer")
        .await;
    let registrar = bench.server.actor("registrar", "right-password");
    for (narrower, wider) in [
        (
            json!({"apiSubnetAllowList": ["10.0.0.0/8"]}),
            json!({"apiSubnetAllowList": []}),
        ),
        (
            json!({"maximumSecretAge": "P1D"}),
            json!({"maximumSecretAge": "P2D"}),
        ),
        (
            json!({"maximumSecretAge": "PT1H"}),
            json!({"maximumSecretAge": null}),
        ),
    ] {
        let answer = registrar.patch(&path, narrower.clone()).await;
        assert_eq!(answer.status, 200, "{narrower}: {answer:?}");
        refused(&registrar.patch(&path, wider.clone()).await, "wider");
        let properties = json!({"name": "team-a", "location": "de/fra"});
        let put = registrar
            .put(&path, json!({"properties": properties}))
            .await;
        let lifts = narrower.get("apiSubnetAllowList").is_some();
        assert_eq!(put.status, if lifts { 403 } else { 200 }, "{put:?}");
        assert_eq!(admin.patch(&path, wider).await.status, 200);
    }
}

/// The secrets that a caller knows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Secret {
    /// Of a registry token: its registry by number, its name, its secret.
    Token(usize, String, String),
    AppToken(String),
    ApiToken(String),
    /// An account's name and password.
    Password(String, String),
}

/// A request of a caller. Tokens and accounts are chosen by their number, round and round.
#[derive(Debug, Clone)]
enum Call {
    Create {
        registry: usize,
        name: usize,
        reach: usize,
        key: Option<usize>,
    },
    Put {
        registry: usize,
        token: usize,
        reach: usize,
        enabled: bool,
        key: Option<usize>,
    },
    Patch {
        registry: usize,
        token: usize,
        body: Value,
    },
    Rotate {
        registry: usize,
        token: usize,
        key: Option<usize>,
    },
    Delete {
        registry: usize,
        token: usize,
    },
    SetMember {
        registry: usize,
        account: usize,
        level: &'static str,
    },
    RemoveMember {
        registry: usize,
        account: usize,
    },
    PatchAccount {
        account: usize,
        body: Value,
    },
    CreateAccount {
        roles: Vec<&'static str>,
    },
    Generate {
        role: &'static str,
    },
    CreateAppToken,
    ShowAppToken,
}

/// One step: a caller sends a request, a caller learns the secret of an existing token, or time passes.
#[derive(Debug, Clone)]
enum Step {
    Call(usize, Call),
    Learn(usize, usize),
    Pass(i64),
}

/// The actions of a token's scopes, from none to all.
const REACHES: [&[&str]; 4] = [
    &[],
    &["pull"],
    &["pull", "push"],
    &["pull", "push", "delete"],
];
const LEVELS: [&str; 3] = ["reader", "maintainer", "owner"];
const ROLES: [&str; 6] = [
    "Admin",
    "Analyst",
    "Builder",
    "Manager",
    "Steward",
    "Sensor Creator",
];
const REGISTRIES: [&str; 2] = ["team-a", "team-b"];
/// Accounts that call by their passwords; after them two API tokens of the Admin, then the Admin.
const PEOPLE: [&str; 4] = ["p0", "p1", "p2", "p3"];
const BEARERS: [&str; 2] = ["Sensor Creator", "Steward"];
const ADMIN: usize = PEOPLE.len() + BEARERS.len();

fn call() -> impl Strategy<Value = Call> {
    let registry = || 0..REGISTRIES.len();
    let (token, account, reach) = (|| 0..4_usize, || 0..PEOPLE.len(), || 0..REACHES.len());
    let key = || prop::option::of(0..2_usize);
    let roles = || prop::collection::vec(prop::sample::select(&ROLES[..]), 0..2);
    let patch = prop_oneof![
        any::<bool>().prop_map(|on| json!({"status": if on { "enabled" } else { "disabled" }})),
        reach().prop_map(|reach| json!({"scopes": scopes("**", REACHES[reach])})),
        reach().prop_map(|reach| json!({"scopes": scopes("a/*", REACHES[reach])})),
        any::<bool>().prop_map(
            |open| json!({"allowedCidrs": if open { vec![] } else { vec!["10.0.0.0/8"] }})
        ),
        Just(json!({"expiryDate": null})),
        Just(json!({"expiryDate": "2026-11-22T12:00:00Z"})),
    ];
    let of_account = prop_oneof![
        Just(json!({"password": "another-password"})),
        any::<bool>().prop_map(|on| json!({"status": if on { "enabled" } else { "disabled" }})),
        roles().prop_map(|roles| json!({"roles": roles})),
    ];
    prop_oneof![
        3 => (registry(), 0..3_usize, reach(), key())
            .prop_map(|(registry, name, reach, key)| Call::Create { registry, name, reach, key }),
        2 => (registry(), token(), reach(), any::<bool>(), key())
            .prop_map(|(registry, token, reach, enabled, key)| Call::Put { registry, token, reach, enabled, key }),
        6 => (registry(), token(), patch)
            .prop_map(|(registry, token, body)| Call::Patch { registry, token, body }),
        5 => (registry(), token(), key())
            .prop_map(|(registry, token, key)| Call::Rotate { registry, token, key }),
        1 => (registry(), token()).prop_map(|(registry, token)| Call::Delete { registry, token }),
        4 => (registry(), account(), prop::sample::select(&LEVELS[..]))
            .prop_map(|(registry, account, level)| Call::SetMember { registry, account, level }),
        1 => (registry(), account())
            .prop_map(|(registry, account)| Call::RemoveMember { registry, account }),
        4 => (account(), of_account).prop_map(|(account, body)| Call::PatchAccount { account, body }),
        1 => roles().prop_map(|roles| Call::CreateAccount { roles }),
        2 => prop::sample::select(&ROLES[..]).prop_map(|role| Call::Generate { role }),
        1 => Just(Call::CreateAppToken),
        1 => Just(Call::ShowAppToken),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..ADMIN, call()).prop_map(|(caller, call)| Step::Call(caller, call)),
        5 => call().prop_map(|call| Step::Call(ADMIN, call)),
        4 => (0..ADMIN, any::<usize>()).prop_map(|(caller, secret)| Step::Learn(caller, secret)),
        1 => (1..20_i64).prop_map(Step::Pass),
    ]
}

struct World {
    server: Server,
    /// By number: the names are those of [`REGISTRIES`].
    registries: Vec<String>,
    /// By number: the names are those of [`PEOPLE`].
    accounts: Vec<String>,
    passwords: Vec<String>,
    bearers: Vec<String>,
    /// The secrets of each caller, the Admin too.
    known: Vec<Vec<Secret>>,
    /// Every secret of a registry token there was.
    secrets: Vec<Secret>,
    /// The last app token that each caller made.
    app_tokens: Vec<Option<String>>,
    made: usize,
}

impl World {
    async fn new(backend: Backend) -> Self {
        let server = Server::start(backend).await;
        add_roles(&server.database);
        let admin = server.admin();
        let (mut registries, mut accounts, mut bearers) = (Vec::new(), Vec::new(), Vec::new());
        for name in REGISTRIES {
            registries.push(admin.create_registry(name).await);
        }
        for (name, roles) in PEOPLE.into_iter().zip([
            &[] as &[&str],
            &["Builder"],
            &["Manager"],
            &["Manager", "Analyst"],
        ]) {
            accounts.push(admin.create_account(name, roles).await);
        }
        for (registry, account, level) in [
            (0, 0, "maintainer"),
            (0, 1, "reader"),
            (0, 2, "maintainer"),
            (1, 0, "owner"),
            (1, 3, "reader"),
        ] {
            admin
                .set_member(&registries[registry], &accounts[account], level)
                .await;
        }
        for role in BEARERS {
            bearers.push(api_token(&admin, role).await);
        }
        let passwords = vec!["right-password".to_owned(); PEOPLE.len()];
        let mut known = vec![Vec::new(); ADMIN + 1];
        for (known, (name, password)) in known.iter_mut().zip(PEOPLE.iter().zip(&passwords)) {
            known.push(Secret::Password((*name).to_owned(), password.clone()));
        }
        let mut world = Self {
            registries,
            accounts,
            passwords,
            bearers,
            known,
            secrets: Vec::new(),
            app_tokens: vec![None; ADMIN + 1],
            made: 0,
            server,
        };
        // A token of every reach in each registry.
        for registry in 0..REGISTRIES.len() {
            for reach in [1, 3] {
                let name = reach;
                let key = None;
                let call = Call::Create {
                    registry,
                    name,
                    reach,
                    key,
                };
                world.take(Step::Call(ADMIN, call)).await;
            }
        }
        world
    }

    fn actor(&self, caller: usize) -> Actor {
        match (self.passwords.get(caller), PEOPLE.get(caller)) {
            (Some(password), Some(name)) => self.server.actor(name, password),
            _ if caller == ADMIN => self.server.admin(),
            _ => self.server.bearer(&self.bearers[caller - PEOPLE.len()]),
        }
    }

    /// The path of a token by its number; of one that is not there if there is none.
    async fn token(&self, registry: usize, token: usize) -> (String, String) {
        let list = format!("/registries/{}/tokens", self.registries[registry]);
        let answer = self.server.admin().get(&list).await;
        let items = answer.json["items"].as_array().unwrap();
        let chosen = items.get(token % items.len().max(1));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match chosen {
            Some(item) => (
                format!("{list}/{}", text(&item["id"])),
                text(&item["properties"]["name"]),
            ),
            None => (format!("{list}/{NOBODY}"), "put".to_owned()),
        }
    }

    /// The request of a call, and the registry that it is about.
    async fn request(
        &mut self,
        caller: usize,
        call: &Call,
    ) -> (Method, String, Value, Option<usize>, Option<usize>) {
        let place = |registry: usize| format!("/registries/{}", self.registries[registry]);
        let properties = |name: &str, reach: usize, enabled: bool| {
            let status = if enabled { "enabled" } else { "disabled" };
            json!({"properties": {"name": name, "scopes": scopes("**", REACHES[reach]), "status": status}})
        };
        match call {
            Call::Create {
                registry,
                name,
                reach,
                key,
            } => {
                let path = format!("{}/tokens", place(*registry));
                let body = properties(&format!("token-{name}"), *reach, true);
                (Method::POST, path, body, *key, Some(*registry))
            }
            Call::Put {
                registry,
                token,
                reach,
                enabled,
                key,
            } => {
                let (path, name) = self.token(*registry, *token).await;
                let body = properties(&name, *reach, *enabled);
                (Method::PUT, path, body, *key, Some(*registry))
            }
            Call::Patch {
                registry,
                token,
                body,
            } => {
                let (path, _) = self.token(*registry, *token).await;
                (Method::PATCH, path, body.clone(), None, Some(*registry))
            }
            Call::Rotate {
                registry,
                token,
                key,
            } => {
                let (path, _) = self.token(*registry, *token).await;
                let body = json!({"gracePeriod": "PT10H"});
                let path = format!("{path}/rotate");
                (Method::POST, path, body, *key, Some(*registry))
            }
            Call::Delete { registry, token } => {
                let (path, _) = self.token(*registry, *token).await;
                (Method::DELETE, path, json!({}), None, None)
            }
            Call::SetMember {
                registry,
                account,
                level,
            } => {
                let path = format!("{}/members/{}", place(*registry), self.accounts[*account]);
                (Method::PUT, path, json!({"level": level}), None, None)
            }
            Call::RemoveMember { registry, account } => {
                let path = format!("{}/members/{}", place(*registry), self.accounts[*account]);
                (Method::DELETE, path, json!({}), None, None)
            }
            Call::PatchAccount { account, body } => {
                let path = format!("/accounts/{}", self.accounts[*account]);
                (Method::PATCH, path, body.clone(), None, None)
            }
            Call::CreateAccount { roles } => {
                self.made += 1;
                let name = format!("new-{}", self.made);
                let body = json!({"properties": {"name": name, "password": "new-password", "roles": roles}});
                (Method::POST, "/accounts".to_owned(), body, None, None)
            }
            Call::Generate { role } => {
                let path = "/v1/apitokens/generate".to_owned();
                let body = json!({"name": "t", "role": role});
                (Method::POST, path, body, None, None)
            }
            Call::CreateAppToken => {
                let path = "/api/v1/user/apptoken".to_owned();
                (Method::POST, path, json!({"title": "t"}), None, None)
            }
            Call::ShowAppToken => {
                let id = self.app_tokens[caller].clone();
                let id = id.unwrap_or_else(|| NOBODY.to_owned());
                let path = format!("/api/v1/user/apptoken/{id}");
                (Method::GET, path, json!({}), None, None)
            }
        }
    }

    /// Carries out a step, and fails if the secrets that its caller knows open more than the caller may open.
    async fn take(&mut self, step: Step) {
        let (caller, call) = match step {
            Step::Pass(hours) => return self.server.clock.advance(TimeDelta::hours(hours)),
            Step::Learn(caller, number) => {
                let count = self.secrets.len().max(1);
                let secret = self.secrets.get(number % count).cloned();
                return self.known[caller].extend(secret);
            }
            Step::Call(caller, call) => (caller, call),
        };
        let actor = self.actor(caller);
        let (method, path, body, key, registry) = self.request(caller, &call).await;
        // The Admin may open everything.
        let watched = caller != ADMIN;
        let (mut held, mut before) = (BTreeSet::new(), Vec::new());
        if watched {
            held = self.held(caller).await;
            for secret in self.recent(caller) {
                before.push((self.opened(&secret).await, secret));
            }
        }
        let mut request = actor.request(method.clone(), &path).json(&body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", format!("key-{key}"));
        }
        let answer = actor.send(request).await;
        assert!(answer.status < 500, "{method} {path} {body}: {answer:?}");
        let gained = self.gained(&answer, registry, &call, &body);
        if let Some(id) = answer.json["token"]["uuid"].as_str() {
            self.app_tokens[caller] = Some(id.to_owned());
        }
        for secret in &gained {
            if matches!(secret, Secret::Token(..)) {
                self.secrets.push(secret.clone());
            }
            before.push((BTreeSet::new(), secret.clone()));
        }
        self.known[caller].extend(gained);
        if !watched || !matches!(answer.status, 200..300) {
            return;
        }
        for (before, secret) in before {
            let after = self.opened(&secret).await;
            let beyond: Vec<_> = after
                .difference(&before)
                .filter(|opened| !held.contains(*opened))
                .collect();
            assert!(
                beyond.is_empty(),
                "caller {caller}, who could open {held:?}, sent {method} {path} {body}, was answered {}, and by \
                 {secret:?} opens {beyond:?} too",
                answer.status
            );
        }
    }

    /// The last secret that a caller knows.
    fn recent(&self, caller: usize) -> Vec<Secret> {
        self.known[caller].iter().rev().take(6).cloned().collect()
    }

    /// The secrets that a caller learns by a call: those in the answer, and those that they chose themselves.
    fn gained(
        &mut self,
        answer: &Answer,
        registry: Option<usize>,
        call: &Call,
        body: &Value,
    ) -> Vec<Secret> {
        let mut gained = Vec::new();
        if !matches!(answer.status, 200..300) {
            assert!(
                !answer.text.contains("whrt_") && !answer.text.contains("token_code"),
                "{answer:?}"
            );
            return gained;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let credentials = &answer.json["properties"]["credentials"];
        let secret = text(&credentials["password"]).filter(|secret| !secret.is_empty());
        if let (Some(registry), Some(secret)) = (registry, secret) {
            let name = text(&credentials["username"]).unwrap();
            gained.push(Secret::Token(registry, name, secret));
        }
        gained.extend(text(&answer.json["token"]["token_code"]).map(Secret::AppToken));
        gained.extend(text(&answer.json["token"]).map(Secret::ApiToken));
        if let (Call::PatchAccount { account, .. }, Some(password)) =
            (call, body["password"].as_str())
        {
            password.clone_into(&mut self.passwords[*account]);
            let name = PEOPLE[*account].to_owned();
            gained.push(Secret::Password(name, password.to_owned()));
        }
        if matches!(call, Call::CreateAccount { .. }) {
            let name = text(&body["properties"]["name"]).unwrap();
            gained.push(Secret::Password(name, "new-password".to_owned()));
        }
        gained
    }

    /// The things that a caller can open.
    async fn held(&self, caller: usize) -> BTreeSet<String> {
        if let (Some(password), Some(name)) = (self.passwords.get(caller), PEOPLE.get(caller)) {
            let own = Secret::Password((*name).to_owned(), password.clone());
            return self.opened(&own).await;
        }
        let number = caller - PEOPLE.len();
        let mut held = self.on_api(&self.actor(caller)).await;
        // An API token opens no registry by itself; what it holds there is what its account, the Admin, and its role
        // both permit.
        let pulls = BEARERS[number] == "Steward";
        let admin = Secret::Password("admin".to_owned(), ADMIN_PASSWORD.to_owned());
        for opened in self.opened(&admin).await {
            if pulls && opened.ends_with(" pull") {
                held.insert(opened);
            }
        }
        held
    }

    /// The things that a secret opens, asked of the service itself: images of registries, and its own APIs.
    async fn opened(&self, secret: &Secret) -> BTreeSet<String> {
        let mut opened = BTreeSet::new();
        let actor = match secret {
            Secret::Token(_, name, secret) => self.server.actor(name, secret),
            Secret::AppToken(code) => self.server.actor("$app", code),
            Secret::ApiToken(token) => return self.on_api(&self.server.bearer(token)).await,
            Secret::Password(name, password) => {
                let actor = self.server.actor(name, password);
                opened = self.on_api(&actor).await;
                actor
            }
        };
        for (number, name) in REGISTRIES.into_iter().enumerate() {
            if !matches!(secret, Secret::Token(registry, ..) if *registry != number) {
                let service = format!("{name}.localhost");
                let query = [
                    ("service", service.as_str()),
                    ("scope", "repository:a/b:* repository:c:*"),
                ];
                let answer = actor.ask("/token", &query).await;
                assert!(matches!(answer.status, 200 | 401), "{answer:?}");
                if answer.status == 200 {
                    opened.extend(granted(name, &answer));
                }
            }
        }
        opened
    }

    /// The rights of a caller on the APIs, by requests that are refused or change nothing.
    async fn on_api(&self, actor: &Actor) -> BTreeSet<String> {
        let mut opened = BTreeSet::new();
        let mut requests = vec![
            (Method::GET, "/accounts".to_owned(), json!({})),
            (Method::PATCH, format!("/accounts/{NOBODY}"), json!({})),
            (Method::GET, "/v1/apitokens".to_owned(), json!({})),
            (
                Method::POST,
                "/v1/apitokens/generate".to_owned(),
                json!({"name": ""}),
            ),
        ];
        for registry in &self.registries {
            let place = format!("/registries/{registry}");
            requests.extend([
                (Method::GET, place.clone(), json!({})),
                (Method::PATCH, place.clone(), json!({})),
                (Method::GET, format!("{place}/tokens"), json!({})),
                (
                    Method::DELETE,
                    format!("{place}/tokens/{NOBODY}"),
                    json!({}),
                ),
                (Method::GET, format!("{place}/members"), json!({})),
                (
                    Method::DELETE,
                    format!("{place}/members/{NOBODY}"),
                    json!({}),
                ),
            ]);
        }
        for (method, path, body) in requests {
            let answer = actor
                .send(actor.request(method.clone(), &path).json(&body))
                .await;
            let hidden = answer.codes() == ["registry-not-found"];
            if !hidden && !matches!(answer.status, 401 | 403) {
                opened.insert(format!("{method} {path}"));
            }
        }
        opened
    }
}

/// The grants of a JWT, a text for each action.
fn granted(registry: &str, answer: &Answer) -> Vec<String> {
    let claims = claims(answer.json["token"].as_str().unwrap());
    let mut granted = Vec::new();
    for access in claims["access"].as_array().unwrap() {
        for action in access["actions"].as_array().unwrap() {
            let (name, action) = (access["name"].as_str(), action.as_str());
            granted.push(format!("{registry}/{} {}", name.unwrap(), action.unwrap()));
        }
    }
    granted
}

#[rstest]
fn whoever_calls_whatever_gets_nothing_that_opens_more_than_they_could(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let config = Config {
        // Each step asks for much, and PostgreSQL answers more slowly.
        cases: match backend {
            Backend::Sqlite => 5,
            Backend::Postgres => 2,
        },
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let sequences = prop::collection::vec(step(), 30..50);
    TestRunner::new(config)
        .run(&sequences, |steps| {
            System::new().block_on(async move {
                let mut world = World::new(backend).await;
                for step in steps {
                    world.take(step).await;
                }
            });
            Ok(())
        })
        .unwrap();
}
