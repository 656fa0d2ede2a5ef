//! Callers that want the same thing at the same moment, at one server and at two.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::rt::spawn;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, Backend, Server};

/// Sends all requests at once and returns the answers in their order.
async fn at_once(requests: Vec<(Actor, Method, String, Value)>) -> Vec<Answer> {
    let sent: Vec<_> = requests
        .into_iter()
        .map(|(actor, method, path, body)| {
            spawn(async move {
                let request = actor.request(method, &path).json(&body);
                actor.send(request).await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for answer in sent {
        answers.push(answer.await.unwrap());
    }
    answers
}

fn statuses(answers: &[Answer]) -> BTreeMap<u16, usize> {
    let mut statuses = BTreeMap::new();
    for answer in answers {
        *statuses.entry(answer.status).or_default() += 1;
    }
    statuses
}

/// Checks that the chains hold, and that the trail has exactly this number of events of the kind.
async fn check_trail(server: &Server, done: &str, times: usize) {
    let report = server.service.audit().verify().await.unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    let (kind, subject) = done.split_once(' ').unwrap();
    let told = server.database.number(&format!(
        "SELECT COUNT(*) FROM audit_events WHERE kind = '{kind}' AND subject_kind = '{subject}'"
    ));
    assert_eq!(usize::try_from(told).unwrap(), times, "{done}");
}

fn named(name: &str) -> Value {
    json!({"properties": {"name": name}})
}

fn registry(name: &str) -> Value {
    json!({"properties": {"name": name, "location": "de/fra"}})
}

#[rstest]
#[actix_web::test]
async fn twenty_creates_of_one_token_name_make_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let tokens = format!(
        "/registries/{}/tokens",
        admin.create_registry("team-a").await
    );
    let requests = (0..20)
        .map(|_| (admin.clone(), Method::POST, tokens.clone(), named("ci")))
        .collect();
    let answers = at_once(requests).await;
    assert_eq!(statuses(&answers), BTreeMap::from([(201, 1), (409, 19)]));
    assert_eq!(admin.get(&tokens).await.json["total"], 1);
    server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn twenty_creates_of_one_registry_name_make_one(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let requests = (0..20)
        .map(|_| {
            let path = "/registries".to_owned();
            (admin.clone(), Method::POST, path, registry("team-a"))
        })
        .collect();
    let answers = at_once(requests).await;
    assert_eq!(statuses(&answers), BTreeMap::from([(201, 1), (409, 19)]));
    let listed = admin.get("/registries").await;
    assert_eq!(listed.json["items"].as_array().unwrap().len(), 1);
    let database = &server.database;
    assert_eq!(database.number("SELECT COUNT(*) FROM registries"), 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM registry_counters"), 1);
}

/// Each server gets the same names in the opposite order, over two registries, so that their groups cross.
#[rstest]
#[actix_web::test]
async fn two_replicas_with_crossing_names_agree(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const NAMES: usize = 40;
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let (here, there) = (server.admin(), replica.admin());
    let lists = [
        format!(
            "/registries/{}/tokens",
            here.create_registry("team-a").await
        ),
        format!(
            "/registries/{}/tokens",
            here.create_registry("team-b").await
        ),
    ];
    let mut requests = Vec::new();
    for number in 0..NAMES {
        for (list, other) in [(0, 1), (1, 0)] {
            let name = named(&format!("ci-{number}"));
            requests.push((here.clone(), Method::POST, lists[list].clone(), name));
            let name = named(&format!("ci-{}", NAMES - 1 - number));
            requests.push((there.clone(), Method::POST, lists[other].clone(), name));
        }
    }
    // And registries of the same names through both.
    for number in 0..10 {
        let path = "/registries".to_owned();
        let body = registry(&format!("both-{number}"));
        requests.push((here.clone(), Method::POST, path.clone(), body));
        let body = registry(&format!("both-{}", 9 - number));
        requests.push((there.clone(), Method::POST, path, body));
    }
    let answers = at_once(requests).await;
    assert_eq!(
        statuses(&answers),
        BTreeMap::from([(201, 2 * NAMES + 10), (409, 2 * NAMES + 10)])
    );
    for list in &lists {
        for actor in [&here, &there] {
            let listed = actor.get(&format!("{list}?limit=1000")).await;
            assert_eq!(listed.json["total"], NAMES);
            let names: BTreeSet<_> = listed.json["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["properties"]["name"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(names.len(), NAMES);
        }
    }
    server.database.check_totals();
    assert_eq!(
        server.database.number("SELECT COUNT(*) FROM registries"),
        12
    );
    check_trail(&server, "create token", 2 * NAMES).await;
    check_trail(&server, "create registry", 12).await;
}

#[rstest]
#[actix_web::test]
async fn requests_that_fail_leave_their_neighbours_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let tokens = format!(
        "/registries/{}/tokens",
        admin.create_registry("team-a").await
    );
    admin
        .create_token(tokens.split('/').nth(2).unwrap(), "taken")
        .await;
    let nowhere = "/registries/00000000-0000-4000-8000-000000000000/tokens";
    let missing = format!("{tokens}/00000000-0000-4000-8000-000000000000");
    let mut requests = Vec::new();
    for number in 0..20 {
        let good = named(&format!("good-{number}"));
        requests.push((admin.clone(), Method::POST, tokens.clone(), good));
        requests.push((admin.clone(), Method::POST, tokens.clone(), named("taken")));
        requests.push((admin.clone(), Method::POST, nowhere.to_owned(), named("ci")));
        requests.push((admin.clone(), Method::DELETE, missing.clone(), Value::Null));
        requests.push((server.analyst(), Method::POST, tokens.clone(), named("no")));
    }
    let answers = at_once(requests).await;
    for (position, answer) in answers.iter().enumerate() {
        let expected = [201, 409, 404, 404, 403][position % 5];
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    assert_eq!(admin.get(&tokens).await.json["total"], 21);
    server.database.check_totals();
    check_trail(&server, "create token", 21).await;
}

#[rstest]
#[actix_web::test]
async fn one_of_many_puts_of_an_id_creates_and_the_others_replace(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let admin = server.admin();
    let tokens = format!(
        "/registries/{}/tokens",
        admin.create_registry("team-a").await
    );
    let token = format!("{tokens}/11111111-1111-4111-8111-111111111111");
    let requests = (0..20)
        .map(|number| {
            let actor = if number % 2 == 0 { &server } else { &replica }.admin();
            let state = if number % 3 == 0 {
                "enabled"
            } else {
                "disabled"
            };
            let body = json!({"properties": {"name": "ci", "status": state}});
            (actor, Method::PUT, token.clone(), body)
        })
        .collect();
    let answers = at_once(requests).await;
    assert_eq!(
        statuses(&answers),
        BTreeMap::from([(200, 19), (201, 1)]),
        "{answers:?}"
    );
    assert_eq!(admin.get(&tokens).await.json["total"], 1);

    // Creating and deleting the same id repeatedly: after any last request, totals and rows agree.
    let mut requests = Vec::new();
    for number in 0..30 {
        let actor = if number % 2 == 0 { &server } else { &replica }.admin();
        requests.push((actor.clone(), Method::PUT, token.clone(), named("ci")));
        requests.push((actor, Method::DELETE, token.clone(), Value::Null));
    }
    let answers = at_once(requests).await;
    let seen = statuses(&answers);
    assert!(
        seen.keys()
            .all(|status| [200, 201, 204, 404].contains(status)),
        "{seen:?}"
    );
    let (made, removed) = (seen.get(&201).unwrap_or(&0), seen.get(&204).unwrap_or(&0));
    let left = admin.get(&tokens).await.json["total"].as_u64().unwrap();
    assert_eq!(u64::try_from(1 + made - removed).unwrap(), left);
    server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn no_account_goes_whose_api_token_is_just_being_made(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let replica = server.replica().await;
    let admin = server.admin();
    // The key that signs is made at the first use.
    let wish = |name: &str| json!({"name": name, "role": "Admin"});
    let first = admin.post("/v1/apitokens/generate", wish("first")).await;
    assert_eq!(first.status, 200, "{first:?}");
    for round in 0..10 {
        let name = format!("bob-{round}");
        let account = admin.create_account(&name, &["Admin"]).await;
        let bob = replica.actor(&name, "right-password");
        assert_eq!(bob.get("/locations").await.status, 200);
        let path = format!("/accounts/{account}");
        let mut requests = vec![(admin.clone(), Method::DELETE, path, Value::Null)];
        requests.extend((0..4).map(|_| {
            let path = "/v1/apitokens/generate".to_owned();
            (bob.clone(), Method::POST, path, wish(&name))
        }));
        let answers = at_once(requests).await;
        let made = answers[1..].iter().filter(|made| made.status == 200);
        let expected = if made.count() == 0 { 204 } else { 409 };
        assert_eq!(answers[0].status, expected, "{:?}", statuses(&answers));
    }
}

/// Both servers get twice as many as there may be of everything that is counted, all at the same moment.
#[rstest]
#[actix_web::test]
async fn of_what_is_counted_no_more_are_made_than_the_cap_by_two_replicas_at_once(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    type Make<'a> = Box<dyn Fn(usize) -> (Method, String, Value) + 'a>;
    const CAP: usize = 6;
    let flags = [
        "--maximum-registries",
        "--maximum-tokens",
        "--maximum-members",
        "--maximum-trusts",
        "--maximum-app-tokens",
        "--maximum-api-tokens",
    ]
    .map(|flag| [flag, "6"]);
    let flags = flags.as_flattened();
    let server = Server::start_with(backend, flags).await;
    let replica = server.replica_with(flags).await;
    let (here, there) = (server.admin(), replica.admin());
    let one = here.create_registry("team-a").await;
    let mut members = Vec::new();
    for number in 0..4 * CAP {
        members.push(here.create_account(&format!("member-{number}"), &[]).await);
    }
    // Of those that there are none of yet; the key that signs API tokens is made at its first use.
    let wish = |name: &str| json!({"name": name, "role": "None"});
    let first = here.post("/v1/apitokens/generate", wish("first")).await;
    assert_eq!(first.status, 200, "{first:?}");

    let issuer = json!({"properties": {"url": "https://ci.example.com", "kind": "other"}});
    let issuer = here.post("/issuers", issuer).await.json["id"].clone();
    let create = |list: String, number: usize, body: Value| {
        let id = format!("11111111-1111-4111-8111-{number:012}");
        if number.is_multiple_of(2) {
            (Method::POST, list, body)
        } else {
            (Method::PUT, format!("{list}/{id}"), body)
        }
    };
    let kinds: [(&str, usize, u16, Make<'_>); 6] = [
        (
            "registries",
            CAP - 1,
            409,
            Box::new(|number| {
                let body = registry(&format!("r-{number}"));
                create("/registries".to_owned(), number, body)
            }),
        ),
        (
            "tokens",
            CAP,
            409,
            Box::new(|number| {
                let list = format!("/registries/{one}/tokens");
                create(list, number, named(&format!("t-{number}")))
            }),
        ),
        (
            "registry_members",
            CAP,
            409,
            Box::new(|number| {
                let path = format!("/registries/{one}/members/{}", members[number]);
                (Method::PUT, path, json!({"level": "reader"}))
            }),
        ),
        (
            "trusts",
            CAP,
            409,
            Box::new(|number| {
                let list = format!("/registries/{one}/trusts");
                let name = format!("w-{number}");
                let body =
                    json!({"properties": {"name": name, "issuer": issuer, "claims": {"sub": "a"}}});
                create(list, number, body)
            }),
        ),
        (
            "app_tokens",
            CAP,
            409,
            Box::new(|number| {
                let path = "/api/v1/user/apptoken".to_owned();
                (Method::POST, path, json!({"title": number.to_string()}))
            }),
        ),
        (
            "api_tokens",
            CAP - 1,
            400,
            Box::new(|number| {
                let path = "/v1/apitokens/generate".to_owned();
                (Method::POST, path, wish(&number.to_string()))
            }),
        ),
    ];
    for (table, room, full, make) in kinds {
        let requests = (0..4 * CAP)
            .map(|number| {
                let actor = if number % 4 < 2 { &here } else { &there };
                let (method, path, body) = make(number);
                (actor.clone(), method, path, body)
            })
            .collect();
        let answers = at_once(requests).await;
        let seen = statuses(&answers);
        assert_eq!(
            seen.get(&full),
            Some(&(4 * CAP - room)),
            "{table}: {seen:?}"
        );
        let made = answers.iter().filter(|answer| answer.status < 300).count();
        assert_eq!(made, room, "{table}: {seen:?}");
        let rows = server
            .database
            .number(&format!("SELECT COUNT(*) FROM {table}"));
        assert_eq!(usize::try_from(rows).unwrap(), CAP, "{table}");
    }
    server.database.check_totals();
}
