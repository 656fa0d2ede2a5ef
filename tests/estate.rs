//! Tokens of all registries: found by any conditions in any order, within what the caller may read.

use std::collections::BTreeSet;

use actix_web::rt::spawn;
use actix_web::rt::task::JoinHandle;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::clock::Clock as _;
use wharfinger::domain::filter::{Order, TokenFilter};
use wharfinger::domain::id::{RegistryKey, TokenKey};
use wharfinger::domain::period::Period;
use wharfinger::domain::scope::{granted, parse_requested};
use wharfinger::domain::token_scope::Scope;
use wharfinger::error::Field;
use wharfinger::service::token_lists::{Way, Within, way};
use wharfinger::service::usage::Used;
use wharfinger::store::Dialect;
use wharfinger::store::token_walks::{self, Wanted};

use crate::harness::{Actor, Backend, Server, encoded, fill, scopes};
use crate::lists::{names, next, plan, walk};

/// Three registries of an Admin with tokens of many kinds. The accounts `ann` and `bob` made some of them.
struct Estate {
    server: Server,
    admin: Actor,
    registries: Vec<String>,
    /// Each as the plain list of its registry shows it, with its registry, in the order of `GET /tokens`.
    tokens: Vec<(usize, Value)>,
}

/// Scopes that tokens have, worded as clients ask for them.
const SCOPES: [&[&str]; 7] = [
    &[],
    &["repository:app/web:pull"],
    &["repository:app/web:push", "repository:app/*:pull"],
    &["repository:**:pull,push,delete"],
    &["repository:*:*"],
    &["registry:catalog:*", "other:app/web:delete"],
    &["repository:app/w*b:push", "repository:we\"ird\\:pull"],
];
const DESCRIPTIONS: [Option<&str>; 4] = [
    None,
    Some("Nightly build"),
    Some("100%_sure"),
    Some("Ä-Bau"),
];
const LABELS: [&str; 3] = [
    "{}",
    r#"{"team":"payments"}"#,
    r#"{"example.com/team":"payments","team":"search","env":""}"#,
];

impl Estate {
    async fn new(backend: Backend, count: usize) -> Self {
        let server = Server::start(backend).await;
        let admin = server.admin();
        let makers = [
            admin.clone(),
            maker(&server, "ann").await,
            maker(&server, "bob").await,
        ];
        let mut registries = Vec::new();
        for name in ["team-a", "team-b", "team-c"] {
            registries.push(admin.create_registry(name).await);
        }
        for number in 0..count {
            if number % 3 == 0 {
                server.clock.advance(TimeDelta::hours(5));
            }
            let name = ["ci", "CI-web", "deploy", "ci-"][number % 4];
            let name = format!("{}{}n{number}", name, if number % 8 > 3 { "-" } else { "" });
            let hours = [None, Some(60), Some(400), Some(4_000)][number * 7 % 4];
            let ends = hours.map(|hours| {
                server.clock.now() + TimeDelta::hours(hours + i64::try_from(number).unwrap() % 5)
            });
            let mut properties = json!({
                "name": name,
                "expiryDate": ends,
                "description": DESCRIPTIONS[number * 5 % 4],
                "labels": serde_json::from_str::<Value>(LABELS[number % 3]).unwrap(),
                "scopes": scopes(SCOPES[number * 11 % 7]),
            });
            if number % 5 == 2 {
                properties["status"] = json!("disabled");
            }
            let registry = &registries[number * 13 % 17 % 3];
            makers[number % 3].mint_with(registry, properties).await;
            if number % 4 == 1 {
                let used = server.database.number("SELECT MAX(key) FROM tokens");
                let used = used - i64::try_from(number * 3 % 5).unwrap();
                let sql =
                    format!("SELECT COALESCE(MAX(registry_key), 0) FROM tokens WHERE key = {used}");
                let home = RegistryKey(server.database.number(&sql));
                let now = server.clock.now();
                server
                    .service
                    .uses()
                    .note(Used::Token(TokenKey(used), home), now, None, None);
                server.service.flush_usage().await.unwrap();
            }
        }
        server.clock.advance(TimeDelta::hours(100));
        let mut estate = Self {
            server,
            admin,
            registries,
            tokens: Vec::new(),
        };
        estate.read().await;
        estate
    }

    async fn read(&mut self) {
        self.tokens.clear();
        for (place, registry) in self.registries.iter().enumerate() {
            let path = format!("/registries/{registry}/tokens?limit=1000");
            let list = self.admin.get(&path).await;
            let items = list.json["items"].as_array().unwrap();
            self.tokens
                .extend(items.iter().map(|token| (place, token.clone())));
        }
    }
}

/// An Admin of this name.
async fn maker(server: &Server, name: &str) -> Actor {
    server.add_account(name, "right-password", "Admin").await;
    server.actor(name, "right-password")
}

fn instant(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str().map(|text| text.parse().unwrap())
}

/// The conditions of a request, as its parameters.
type Conditions = Vec<(&'static str, String)>;

/// Whether a token meets a condition: slow and obvious.
fn meets(token: &Value, (name, value): &(&'static str, String), now: DateTime<Utc>) -> bool {
    let (properties, metadata) = (&token["properties"], &token["metadata"]);
    let delta = || TimeDelta::from(Period::parse("span", Field::Setting, value).unwrap());
    let at = || value.parse::<DateTime<Utc>>().unwrap();
    let (ends, made) = (
        instant(&properties["expiryDate"]),
        instant(&metadata["createdDate"]).unwrap(),
    );
    let used = instant(&metadata["lastUsedDate"]);
    let scopes: Vec<Scope> = serde_json::from_value(properties["scopes"].clone()).unwrap();
    match *name {
        "name" => {
            let (own, value) = (
                properties["name"].as_str().unwrap().to_lowercase(),
                value.to_lowercase(),
            );
            value
                .strip_suffix('*')
                .map_or(own == value, |start| own.starts_with(start))
        }
        "description" => properties["description"].as_str().is_some_and(|text| {
            text.to_ascii_lowercase()
                .contains(&value.to_ascii_lowercase())
        }),
        "state" => metadata["state"] == **value,
        "createdBy" => {
            let name = metadata["createdBy"].as_str().unwrap();
            name.eq_ignore_ascii_case(value) || metadata["createdByUserId"] == **value
        }
        "expiringWithin" => ends.is_some_and(|end| now < end && end <= now + delta()),
        "expiredSince" => ends.is_some_and(|end| end <= now - delta()),
        "unusedSince" => used.unwrap_or(made) <= now - delta(),
        "neverUsed" => used.is_none() == (value == "true"),
        "createdBefore" => made < at(),
        "createdAfter" => made >= at(),
        "canOpen" => {
            let asked = &parse_requested([value.as_str()]).unwrap()[0];
            let actions = asked.actions.iter().map(|action| match action.as_str() {
                "*" if asked.r#type == "repository" => 3,
                _ => 1,
            });
            granted(&scopes, asked).len() == actions.sum::<usize>()
        }
        "carries" => scopes.iter().any(|scope| {
            let all = scope.r#type == "repository" && scope.actions.contains(&"*".to_owned());
            scope.actions.contains(value) || all
        }),
        "label" => {
            let (name, value) = value.split_once('=').unwrap();
            properties["labels"][name] == value
        }
        other => panic!("{other}"),
    }
}

/// The value by which a token is ordered. Times are in microseconds.
fn rank(token: &Value, by: &str) -> (i64, String) {
    let (properties, metadata) = (&token["properties"], &token["metadata"]);
    let micros = |value: &Value| instant(value).map(|at| at.timestamp_micros());
    let number = match by {
        "name" => {
            let name = properties["name"].as_str().unwrap();
            return (0, name.to_ascii_lowercase());
        }
        "createdDate" => 0,
        "expiryDate" => micros(&properties["expiryDate"]).unwrap_or(i64::MAX),
        "lastUsedDate" => micros(&metadata["lastUsedDate"]).unwrap_or(i64::MIN),
        "seen" => micros(&metadata["lastUsedDate"])
            .unwrap_or_else(|| micros(&metadata["createdDate"]).unwrap()),
        other => panic!("{other}"),
    };
    (number, String::new())
}

impl Estate {
    /// The names that a request should list.
    fn expected(
        &self,
        among: &[usize],
        conditions: &Conditions,
        order: Option<&str>,
    ) -> Vec<String> {
        let now = self.server.clock.now();
        let mut found: Vec<_> = self
            .tokens
            .iter()
            .filter(|(registry, _)| among.contains(registry))
            .filter(|(_, token)| {
                conditions
                    .iter()
                    .all(|condition| meets(token, condition, now))
            })
            .collect();
        let has = |name| conditions.iter().any(|(known, _)| *known == name);
        let order = order.or(if has("expiringWithin") || has("expiredSince") {
            Some("expiryDate")
        } else if has("unusedSince") {
            Some("seen")
        } else {
            None
        });
        if let Some(order) = order {
            // Names say the order in which the tokens were made.
            let made = |token: &Value| {
                let name = token["properties"]["name"].as_str().unwrap();
                name.rsplit_once('n').unwrap().1.parse::<u32>().unwrap()
            };
            let by = order.trim_start_matches('-');
            found.sort_by_cached_key(|(_, token)| (rank(token, by), made(token)));
            if order.starts_with('-') {
                found.reverse();
            }
        }
        let name =
            |(_, token): &(usize, Value)| token["properties"]["name"].as_str().unwrap().to_owned();
        found.into_iter().map(name).collect()
    }

    /// Asks for conditions in an order, all at once, by offset and by cursor.
    async fn check(
        &self,
        registry: Option<usize>,
        conditions: &Conditions,
        order: Option<&str>,
    ) -> usize {
        let (path, among) = match registry {
            Some(place) => (
                format!("/registries/{}/tokens", self.registries[place]),
                vec![place],
            ),
            None => ("/tokens".to_owned(), vec![0, 1, 2]),
        };
        let mut pairs: Vec<_> = conditions
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        pairs.extend(order.map(|order| ("orderBy", order)));
        let query = encoded(&pairs);
        let all = self.expected(&among, conditions, order);
        let answer = self.admin.get(&format!("{path}?{query}&limit=1000")).await;
        assert_eq!(names(&answer), all, "{path}?{query}");
        assert_eq!(answer.json["total"], all.len(), "{query}");
        let exact = if conditions.is_empty() {
            Value::Null
        } else {
            json!(true)
        };
        assert_eq!(answer.json["totalIsExact"], exact, "{query}");
        assert_eq!(next(&answer), None, "{query}");
        let answer = self
            .admin
            .get(&format!("{path}?{query}&offset=3&limit=4"))
            .await;
        let page: Vec<_> = all.iter().skip(3).take(4).cloned().collect();
        assert_eq!(names(&answer), page, "{path}?{query}");
        let first = format!("{path}?{query}&limit=7");
        assert_eq!(walk(&self.admin, &first, all.len()).await, all, "{query}");
        all.len()
    }
}

/// A condition, drawn.
fn condition(estate: &Estate) -> impl Strategy<Value = (&'static str, String)> + use<> {
    let now = estate.server.clock.now();
    let at = move |hours: i64| {
        (now - TimeDelta::hours(hours)).to_rfc3339_opts(SecondsFormat::Secs, true)
    };
    let maker = estate.tokens[1].1["metadata"]["createdByUserId"]
        .as_str()
        .unwrap()
        .to_owned();
    let of = |name: &'static str, values: &[&str]| {
        let values: Vec<_> = values.iter().map(|value| (*value).to_owned()).collect();
        prop::sample::select(values).prop_map(move |value| (name, value))
    };
    let spans = ["PT0S", "PT6H", "P3D", "P5D", "P14D", "P400D"];
    prop_oneof![
        of("name", &["ci*", "CI-W*", "ci-n3", "Cin0", "deploy-*", "x*"]),
        of("description", &["night", "%", "_", "ä", "Ä", "BUILD"]),
        of("state", &["enabled", "disabled", "expired"]),
        of("createdBy", &["ann", "ADMIN", "nobody", &maker]),
        of("expiringWithin", &spans),
        of("expiredSince", &spans),
        of("unusedSince", &spans),
        of("neverUsed", &["true", "false"]),
        (0..200_i64).prop_map(move |hours| ("createdBefore", at(hours))),
        (0..200_i64).prop_map(move |hours| ("createdAfter", at(hours))),
        of(
            "canOpen",
            &[
                "repository:app/web:push",
                "repository:app/web:pull,push",
                "repository:app/web:*",
                "repository:other/x:delete",
                "registry:catalog:*",
                "repository::pull",
            ]
        ),
        of("carries", &["delete", "push", "pull"]),
        of(
            "label",
            &[
                "team=payments",
                "team=search",
                "env=",
                "example.com/team=payments",
                "x=y"
            ]
        ),
    ]
}

#[rstest]
#[actix_web::test]
async fn any_conditions_in_any_order_find_what_a_plain_search_finds(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend, 60).await;
    let mut drawn = TestRunner::new(Config::default());
    let orders = [
        "name",
        "-name",
        "createdDate",
        "-createdDate",
        "expiryDate",
        "-expiryDate",
        "lastUsedDate",
        "-lastUsedDate",
    ];
    let order = prop::option::weighted(0.6, prop::sample::select(orders.to_vec()));
    let conditions = prop::collection::vec(condition(&estate), 0..3);
    let wish = (prop::option::weighted(0.4, 0..3_usize), conditions, order);
    let mut sizes = BTreeSet::new();
    for _ in 0..150 {
        let (registry, mut conditions, order) = wish.new_tree(&mut drawn).unwrap().current();
        let mut seen = BTreeSet::new();
        conditions.retain(|(name, value)| {
            // Labels alone may come several times.
            seen.insert(if *name == "label" {
                value.clone()
            } else {
                (*name).to_owned()
            })
        });
        sizes.insert(estate.check(registry, &conditions, order).await);
    }
    assert!(sizes.len() >= 12, "the cases are too much alike: {sizes:?}");
}

#[rstest]
#[actix_web::test]
async fn each_condition_alone_finds_some_and_leaves_some_out(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend, 60).await;
    let at = (estate.server.clock.now() - TimeDelta::hours(150))
        .to_rfc3339_opts(SecondsFormat::Secs, true);
    for (name, value) in [
        ("name", "CI-*"),
        ("description", "nightly"),
        ("state", "expired"),
        ("createdBy", "ann"),
        ("expiringWithin", "P20D"),
        ("expiredSince", "P2D"),
        ("unusedSince", "P6D"),
        ("neverUsed", "false"),
        ("createdBefore", &at),
        ("createdAfter", &at),
        ("canOpen", "repository:app/web:push"),
        ("carries", "delete"),
        ("label", "team=payments"),
    ] {
        let conditions = vec![(name, value.to_owned())];
        let found = estate.check(None, &conditions, None).await;
        assert!((1..60).contains(&found), "{name}={value}: {found}");
    }
    let both = vec![
        ("label", "example.com/team=payments".to_owned()),
        ("label", "team=search".to_owned()),
    ];
    assert_eq!(estate.check(None, &both, None).await, 20);
}

#[rstest]
#[actix_web::test]
async fn a_list_of_several_registries_names_the_registry_of_each(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend, 12).await;
    let all = estate.admin.get("/tokens").await;
    assert_eq!(all.json["total"], 12);
    for (item, (place, token)) in all.json["items"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&estate.tokens)
    {
        let mut item = item.clone();
        let metadata = item["metadata"].as_object_mut().unwrap();
        assert_eq!(
            metadata.remove("registryId"),
            Some(json!(estate.registries[*place]))
        );
        let name = ["team-a", "team-b", "team-c"][*place];
        assert_eq!(metadata.remove("registryName"), Some(json!(name)));
        // The rest is what the registry's own list shows, and that names none.
        assert_eq!(item, *token);
    }
    // Of some registries, in any order.
    let [a, _, c] = &estate.registries[..] else {
        panic!()
    };
    for query in [
        format!("registryId={c}&registryId={a}"),
        format!("registryId={c}&registryId={a}&registryId={c}"),
    ] {
        let some = estate.admin.get(&format!("/tokens?{query}")).await;
        assert_eq!(names(&some), estate.expected(&[0, 2], &Vec::new(), None));
        assert_eq!(some.json["totalIsExact"], Value::Null);
    }
    // The same under the prefix, whose links keep it.
    let prefixed = estate
        .admin
        .get("/containerregistries/tokens?limit=5")
        .await;
    assert_eq!(
        prefixed.json["items"],
        json!(all.json["items"].as_array().unwrap()[..5])
    );
    let link = prefixed.json["_links"]["self"].as_str().unwrap();
    assert!(
        link.ends_with("/containerregistries/tokens?offset=0&limit=5"),
        "{link}"
    );
}

#[rstest]
#[actix_web::test]
async fn a_members_list_neither_shows_nor_counts_the_tokens_of_others(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend, 40).await;
    let admin = &estate.admin;
    let account = admin.create_account("carol", &[]).await;
    let carol = estate.server.actor("carol", "right-password");
    // A member of nothing sees nothing.
    for query in [
        "",
        "?state=enabled",
        "?expiringWithin=P400D",
        "?orderBy=-name&canOpen=repository:app/web:push",
    ] {
        let none = carol.get(&format!("/tokens{query}")).await;
        assert_eq!(
            (names(&none), &none.json["total"]),
            (Vec::new(), &json!(0)),
            "{query}"
        );
    }
    admin
        .set_member(&estate.registries[0], &account, "reader")
        .await;
    admin
        .set_member(&estate.registries[2], &account, "owner")
        .await;
    for (name, value) in [
        ("name", "ci*"),
        ("state", "enabled"),
        ("unusedSince", "PT1H"),
        ("expiringWithin", "P400D"),
        ("carries", "pull"),
        ("label", "team=payments"),
    ] {
        let conditions = vec![(name, value.to_owned())];
        let query = encoded(&[(name, value)]);
        let own = estate.expected(&[0, 2], &conditions, None);
        let all = estate.expected(&[0, 1, 2], &conditions, None);
        assert!(!own.is_empty() && own.len() < all.len(), "{query}");
        let first = format!("/tokens?{query}&limit=5");
        assert_eq!(walk(&carol, &first, own.len()).await, own, "{query}");
        // What an Admin began, a member cannot go on with: its total is the Admin's.
        let begun = next(&admin.get(&first).await).unwrap();
        let answer = carol.get(&begun).await;
        if answer.status == 200 {
            assert_eq!(answer.json["total"], own.len(), "{query}");
        } else {
            assert_eq!(answer.codes(), ["invalid-pagination-token"], "{query}");
        }
    }
    // What the caller may not see does not exist.
    let theirs = carol
        .get(&format!("/tokens?registryId={}", estate.registries[1]))
        .await;
    assert_eq!(
        (theirs.status, theirs.codes()),
        (404, vec!["registry-not-found"])
    );
    let nobody = carol
        .get("/tokens?registryId=00000000-0000-4000-8000-000000000000")
        .await;
    assert_eq!(
        (nobody.status, nobody.codes()),
        (404, vec!["registry-not-found"])
    );
    // From the next request on.
    let path = format!("/registries/{}/members/{account}", estate.registries[0]);
    assert_eq!(admin.delete(&path).await.status, 204);
    let left = carol.get("/tokens").await;
    assert_eq!(names(&left), estate.expected(&[2], &Vec::new(), None));
}

#[rstest]
#[actix_web::test]
async fn tokens_of_a_deleted_registry_are_in_no_list(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend, 30).await;
    let path = format!("/registries/{}", estate.registries[1]);
    assert_eq!(estate.admin.delete(&path).await.status, 204);
    // Its rows are still there.
    assert_eq!(
        estate.server.database.number("SELECT COUNT(*) FROM tokens"),
        30
    );
    for (name, value) in [
        ("state", "enabled"),
        ("expiringWithin", "P400D"),
        ("unusedSince", "PT0S"),
        ("name", "ci*"),
    ] {
        let conditions = vec![(name, value.to_owned())];
        let left = estate.expected(&[0, 2], &conditions, None);
        let answer = estate.admin.get(&format!("/tokens?{name}={value}")).await;
        assert_eq!(names(&answer), left);
        assert_eq!(answer.json["total"], left.len());
    }
}

#[rstest]
#[actix_web::test]
async fn totals_are_counted_up_to_a_hundred_thousand(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    fill(&server, &registry, 100_002).await;
    let list = format!("/registries/{registry}/tokens");
    for (query, total, exact) in [
        ("", 100_002, Value::Null),
        ("orderBy=name", 100_002, Value::Null),
        ("state=enabled", 100_000, json!(false)),
        ("unusedSince=PT0S", 100_000, json!(false)),
        ("state=enabled&orderBy=-name", 100_000, json!(false)),
        ("name=t*&createdBy=filler", 100_000, json!(false)),
        ("name=t1*", 11_111 + 2, json!(true)),
    ] {
        for path in [&list, "/tokens"] {
            let answer = admin.get(&format!("{path}?{query}&limit=2")).await;
            let told = (&answer.json["total"], &answer.json["totalIsExact"]);
            assert_eq!(told, (&json!(total), &exact), "{path}?{query}");
            // By cursor the list goes on.
            let answer = admin.get(&next(&answer).unwrap()).await;
            let told = (&answer.json["total"], &answer.json["totalIsExact"]);
            assert_eq!(told, (&json!(total), &exact), "{path}?{query}");
            assert_eq!(names(&answer).len(), 2);
        }
    }
    let deep = admin.get("/tokens?offset=100001&state=enabled").await;
    assert_eq!((deep.status, deep.codes()), (400, vec!["invalid-offset"]));
    let deep = admin.get("/tokens?offset=100001").await;
    assert_eq!(names(&deep), ["t100001"]);
}

#[rstest]
#[actix_web::test]
async fn a_walk_ends_at_its_bound_and_goes_on_from_there(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let ids = fill(&server, &registry, 16_000).await;
    // 200 000 tokens in each of four buckets, as far as the walk can tell.
    server
        .database
        .execute("UPDATE token_counts SET live = 200000");
    let list = format!("/registries/{registry}/tokens");
    for (path, of_all) in [(list.clone(), false), ("/tokens".to_owned(), true)] {
        // In creation order, and in another, in which each part is ordered by itself.
        for order in ["", "&orderBy=-name"] {
            let mut page = Some(format!("{path}?description=none{order}"));
            let mut pages = 0;
            while let Some(asked) = page {
                let answer = admin.get(&asked).await;
                assert_eq!(names(&answer), Vec::<String>::new());
                let told = (&answer.json["total"], &answer.json["totalIsExact"]);
                assert_eq!(told, (&json!(0), &json!(false)), "{of_all} {asked}");
                page = next(&answer);
                pages += 1;
            }
            assert_eq!(pages, 2, "{path}{order}");
        }
    }
    server
        .database
        .execute("UPDATE tokens SET description = 'some' WHERE position IN (1, 5000, 9000, 15000)");
    for (order, expected) in [
        ("", ["t0", "t4999", "t8999", "t14999"]),
        ("&orderBy=-name", ["t4999", "t0", "t8999", "t14999"]),
    ] {
        let mut listed = Vec::new();
        let mut page = Some(format!("{list}?description=some{order}&limit=1"));
        while let Some(asked) = page {
            let answer = admin.get(&asked).await;
            assert_eq!(answer.json["totalIsExact"], false);
            listed.extend(names(&answer));
            page = next(&answer);
        }
        assert_eq!(listed, expected, "{order}");
    }
    assert_eq!(ids.len(), 16_000);
}

/// Scopes of some 20 KB that let push, as the database keeps them.
fn long_scopes() -> String {
    let scopes: Vec<_> = (0..80)
        .map(|number| {
            let name = format!("{number}{}", "/long".repeat(40));
            json!({"type": "repository", "name": name, "actions": ["pull", "push"]})
        })
        .collect();
    json!(scopes).to_string()
}

/// The most that a statement of a walk looks at, and the weight of a token with long scopes.
const STATEMENT: i64 = 32_768;
const WEIGHT: i64 = 80;

#[rstest]
#[actix_web::test]
async fn a_walk_over_long_scopes_ends_at_its_bound_and_tells_so(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    fill(&server, &registry, 4_095 + 1_300).await;
    // The second bucket has long scopes, and the first as many tokens, as far as the walk can tell, as leave it some of them.
    server.database.execute(&format!(
        "UPDATE tokens SET scopes = '{}' WHERE position > 4095; \
         UPDATE token_counts SET live = 250000 WHERE bucket = 0",
        long_scopes()
    ));
    let list = format!("/registries/{registry}/tokens");
    // The names lead to too much to be read at once.
    for path in [
        format!("{list}?"),
        "/tokens?".to_owned(),
        format!("{list}?name=t*&"),
    ] {
        let answer = admin.get(&format!("{path}carries=push&limit=1")).await;
        let total = answer.json["total"].as_i64().unwrap();
        assert_eq!(names(&answer), ["t4095"], "{path}");
        assert_eq!(answer.json["totalIsExact"], false, "{path} {total}");
        assert!(
            (300_000 - 250_000) / (WEIGHT * 2) < total && total < 2 * STATEMENT / WEIGHT,
            "{path} {total}"
        );
    }
    // An index leads to few of them.
    let few = admin.get(&format!("{list}?name=t5000&carries=push")).await;
    let told = (&few.json["total"], &few.json["totalIsExact"]);
    assert_eq!(told, (&json!(1), &json!(true)));
    // The next pages go on from there.
    let mut listed = Vec::new();
    let mut page = Some(format!(
        "{list}?name=t5*&createdBy=filler&carries=push&limit=90&orderBy=-createdDate"
    ));
    while let Some(asked) = page {
        let answer = admin.get(&asked).await;
        listed.extend(names(&answer));
        page = next(&answer);
    }
    let expected: Vec<_> = (5_000..5_395)
        .rev()
        .map(|number| format!("t{number}"))
        .collect();
    assert_eq!(listed, expected);
}

#[rstest]
#[actix_web::test]
async fn a_statement_of_a_walk_reads_a_bounded_amount_of_scopes(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for (name, count) in [
        ("team-a", 300),
        ("team-b", 500),
        ("team-c", 600),
        ("team-d", 100),
    ] {
        let registry = admin.create_registry(name).await;
        fill(&server, &registry, count).await;
    }
    let long = long_scopes();
    server.database.execute(&format!(
        "UPDATE tokens SET scopes = '{long}' WHERE registry_key NOT IN (SELECT MIN(key) FROM registries)"
    ));
    let mut session = server.database.connect();
    let keys: Vec<_> = (0..4)
        .map(|place| {
            let key = format!("SELECT key FROM registries ORDER BY key LIMIT 1 OFFSET {place}");
            RegistryKey(server.database.number(&key))
        })
        .collect();
    let buckets = token_walks::buckets(&mut session, &keys).unwrap();
    let carries = wharfinger::domain::filter::Action::parse("push").unwrap();
    let filter = TokenFilter {
        carries: Some(carries),
        ..TokenFilter::default()
    };
    let sought = filter.at(server.clock.now()).unwrap();
    for descending in [false, true] {
        let mut order = TokenFilter::default().order();
        order.descending = descending;
        let wanted = Wanted {
            sought: Some(&sought),
            order,
        };
        let stretches = token_walks::stretches(&buckets, None, descending);
        assert_eq!(stretches.len(), 1);
        let parts = token_walks::weighed(&mut session, &stretches[0], wanted).unwrap();
        assert!(parts.len() >= 4, "{parts:?}");
        let mut finder = token_walks::Finder::default();
        let mut found = Vec::new();
        for part in &parts {
            let matches = finder.in_stretch(&mut session, part, wanted, 9).unwrap();
            let weight = WEIGHT * i64::try_from(matches.len()).unwrap();
            assert!(
                weight <= part.tokens && part.tokens <= STATEMENT,
                "{part:?}"
            );
            found.extend(matches);
        }
        let whole = finder
            .in_stretch(&mut session, &stretches[0], wanted, 9)
            .unwrap();
        assert_eq!((found.len(), found == whole), (1_200, true));
    }
}

/// Asks so many times at once for the same.
fn at_once(actor: &Actor, path: &str, times: usize) -> Vec<JoinHandle<u16>> {
    let ask = |_| {
        let (actor, path) = (actor.clone(), path.to_owned());
        spawn(async move { actor.get(&path).await.status })
    };
    (0..times).map(ask).collect()
}

#[rstest]
#[actix_web::test]
async fn an_account_that_asks_for_many_lists_at_once_keeps_no_other_out(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    fill(&server, &registry, 4_400).await;
    let account = admin.create_account("ann", &[]).await;
    admin.set_member(&registry, &account, "reader").await;
    let member = server.actor("ann", "right-password");
    let path = "/tokens?description=none&limit=1";
    assert_eq!(member.get(path).await.status, 200);
    let flood = at_once(&member, path, 48);
    let lists = at_once(&admin, path, 6);
    let wish = json!({"filter": {"registryId": [registry]}, "action": "disable", "dryRun": true});
    let dry = admin
        .post("/tokens/bulk", json!({"properties": wish}))
        .await;
    assert_eq!(dry.status, 200, "{dry:?}");
    for list in lists {
        assert_eq!(list.await.unwrap(), 200);
    }
    let mut statuses = BTreeSet::new();
    for answer in flood {
        statuses.insert(answer.await.unwrap());
    }
    assert!(
        statuses.is_subset(&BTreeSet::from([200, 503])),
        "{statuses:?}"
    );
}

#[rstest]
#[actix_web::test]
async fn who_sees_no_registry_waits_for_nobody(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    admin.create_registry("team-a").await;
    admin.create_account("ann", &[]).await;
    let stranger = server.actor("ann", "right-password");
    for path in [
        "/tokens?description=none",
        "/tokens?unusedSince=P1D",
        "/me/api-tokens",
    ] {
        let answers = at_once(&stranger, path, 48);
        for answer in answers {
            assert_eq!(answer.await.unwrap(), 200, "{path}");
        }
    }
}

#[rstest]
#[actix_web::test]
async fn odd_conditions_are_told_what_would_be_right(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let long = "x".repeat(201);
    let secret = format!("whrt_{}", "a".repeat(39));
    let many = "label=a=b&".repeat(17);
    for path in [
        format!("/registries/{registry}/tokens"),
        "/tokens".to_owned(),
    ] {
        for (query, code, right) in [
            ("name=ci_*", "invalid-name", "ci-*"),
            ("name=", "invalid-name", "ci-*"),
            ("name=*", "invalid-name", "ci-*"),
            ("name=c*i", "invalid-name", "ci-*"),
            ("description=", "invalid-description", "200"),
            ("description=%00", "invalid-description", "one line"),
            (
                &format!("description=a+{secret}"),
                "invalid-description",
                "lookup",
            ),
            (
                &format!("createdBy={secret}"),
                "invalid-created-by",
                "lookup",
            ),
            (&format!("description={long}"), "invalid-description", "200"),
            ("state=Expired", "invalid-state", "expired"),
            ("createdBy=", "invalid-created-by", "createdByUserId"),
            ("createdBy=%0A", "invalid-created-by", "createdBy"),
            ("expiredSince=30", "invalid-expired-since", "P14D"),
            ("neverUsed=yes", "invalid-never-used", "true"),
            (
                "createdBefore=2026-11-21",
                "invalid-created-before",
                "2026-11-21T00:00:00Z",
            ),
            (
                "createdAfter=P1D",
                "invalid-created-after",
                "2026-11-21T00:00:00Z",
            ),
            (
                "canOpen=app/web",
                "invalid-can-open",
                "repository:team/app:push",
            ),
            (
                "canOpen=repository:app/web:Push",
                "invalid-can-open",
                "repository:team/app:push",
            ),
            (
                "canOpen=repository:app/web:pusch",
                "invalid-can-open",
                "pull, push or delete",
            ),
            (
                "canOpen=repository:app/web:",
                "invalid-can-open",
                "pull, push or delete",
            ),
            (
                "canOpen=repository:app/*:push",
                "invalid-can-open",
                "name one repository",
            ),
            (
                "canOpen=repository:App/Web:push",
                "invalid-can-open",
                "did you mean \"app/web\"",
            ),
            (
                "canOpen=repository:host.example:5000/app/web:push",
                "invalid-can-open",
                "leave that out: \"app/web\"",
            ),
            (
                "canOpen=other:app/web:pull",
                "invalid-can-open",
                "repository",
            ),
            ("carries=Delete", "invalid-carries", "delete"),
            ("carries=", "invalid-carries", "delete"),
            ("label=team", "invalid-label", "name=value"),
            (&many, "invalid-label", "16"),
            ("orderBy=date", "invalid-order-by", "createdDate"),
            ("orderBy=+name", "invalid-order-by", "createdDate"),
            ("orderBy=", "invalid-order-by", "createdDate"),
            ("state=enabled&state=enabled", "invalid-query", "once"),
            ("stat=enabled", "invalid-query", "state"),
            (
                &format!("x={}", "y".repeat(5000)),
                "invalid-query",
                "known are",
            ),
            (
                &format!("createdBy={}&carries={}", "y".repeat(4097), "z"),
                "invalid-query",
                "4096",
            ),
        ] {
            let answer = admin.get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, 400, "{query}: {answer:?}");
            assert!(answer.codes().contains(&code), "{query}: {answer:?}");
            assert!(answer.message().contains(right), "{query}: {answer:?}");
        }
    }
    let registries = format!("registryId={registry}&").repeat(51);
    for (query, right) in [
        ("registryId=team-a", "an id looks like"),
        (registries.as_str(), "at most 50"),
    ] {
        let answer = admin.get(&format!("/tokens?{query}")).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec!["invalid-registry-id"]),
            "{query}"
        );
        assert!(answer.message().contains(right), "{answer:?}");
    }
    let answer = admin
        .get(&format!(
            "/registries/{registry}/tokens?registryId={registry}"
        ))
        .await;
    assert_eq!(
        (answer.status, answer.codes()),
        (400, vec!["invalid-query"])
    );
    let all = admin
        .get("/tokens?state=x&carries=X&orderBy=x&limit=x&registryId=x")
        .await;
    assert_eq!(all.codes().len(), 4, "{all:?}");
}

#[rstest]
#[actix_web::test]
async fn a_cursor_brings_its_conditions_and_its_order(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let estate = Estate::new(backend, 30).await;
    let admin = &estate.admin;
    let first = admin
        .get("/tokens?carries=pull&orderBy=-name&limit=4")
        .await;
    let page = next(&first).unwrap();
    let all = estate.expected(
        &[0, 1, 2],
        &vec![("carries", "pull".to_owned())],
        Some("-name"),
    );
    assert_eq!(names(&admin.get(&page).await), all[4..8]);
    assert_eq!(
        names(
            &admin
                .get(&format!("{page}&carries=pull&orderBy=-name"))
                .await
        ),
        all[4..8]
    );
    let token = page.split("pagination.token=").nth(1).unwrap();
    let registry = &estate.registries[0];
    for path in [
        format!("{page}&carries=push"),
        format!("{page}&orderBy=name"),
        format!("{page}&state=enabled"),
        format!("{page}&registryId={registry}"),
        format!("/registries/{registry}/tokens?pagination.token={token}"),
        format!("/registries?pagination.token={token}"),
    ] {
        let answer = admin.get(&path).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec!["invalid-pagination-token"]),
            "{path}"
        );
    }
    // The conditions are those of the instant of the first page.
    let list = "/tokens?state=expired&limit=2";
    let (first, before) = (
        admin.get(list).await,
        estate.expected(&[0, 1, 2], &vec![("state", "expired".to_owned())], None),
    );
    estate.server.clock.advance(TimeDelta::days(1000));
    let second = admin.get(&next(&first).unwrap()).await;
    assert_eq!(names(&second), before[2..4]);
    assert_eq!(second.json["total"], before.len());
    assert!(admin.get(list).await.json["total"].as_u64() > first.json["total"].as_u64());
}

#[test]
fn the_way_to_a_page_depends_on_conditions_order_and_registries() {
    let plain = TokenFilter::default();
    let one = Within::Registry(
        wharfinger::domain::id::RegistryId::parse("0b6c7c1e-2f57-4d6e-9f0a-5f5d2a0f7c11").unwrap(),
    );
    let instants = TokenFilter {
        unused_since: Some(Period::HOUR),
        ..plain.clone()
    };
    let named = TokenFilter {
        never_used: Some(true),
        ..instants.clone()
    };
    let by_name = Order::parse("name").unwrap();
    for (within, registries, filter, order, expected) in [
        (one, 1, &plain, plain.order(), Way::Whole),
        (one, 1, &plain, by_name, Way::Walk),
        (one, 1, &instants, instants.order(), Way::Index),
        (one, 1, &instants, by_name, Way::Walk),
        (one, 1, &named, named.order(), Way::Walk),
        (Within::All, 200, &instants, instants.order(), Way::Index),
        (Within::All, 201, &instants, instants.order(), Way::Walk),
        (Within::All, 1, &plain, plain.order(), Way::Walk),
    ] {
        assert_eq!(
            way(within, registries, filter, order),
            expected,
            "{filter:?} {order}"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn walks_read_a_stretch_and_few_names_and_ends_are_found_by_their_index(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    fill(&server, &registry, 60_000).await;
    let at = server.clock.now().timestamp_micros();
    server.database.execute(&format!(
        "UPDATE tokens SET expires_at = {at} + position * 1000000 WHERE position % 20 = 0; \
         INSERT INTO token_uses (token_key, registry_key, seen_at, used_at) \
             SELECT key, registry_key, {at}, {at} FROM tokens WHERE position % 2 = 0; ANALYZE"
    ));
    let key = RegistryKey(server.database.number("SELECT key FROM registries"));
    let mut session = server.database.connect();
    let dialect = Dialect::of(&session);
    let buckets = token_walks::buckets(&mut session, &[key]).unwrap();
    let stretches = token_walks::stretches(&buckets, None, false);
    assert_eq!(stretches.len(), 4, "{stretches:?}");
    let now = server.clock.now();
    let parse = |name| wharfinger::domain::filter::NameFilter::parse(name).unwrap();
    let none = TokenFilter::default();
    for (filter, index) in [
        (
            TokenFilter {
                never_used: Some(true),
                ..none.clone()
            },
            None,
        ),
        (
            TokenFilter {
                description: Some("x".to_owned()),
                unused_since: Some(Period::HOUR),
                ..none.clone()
            },
            None,
        ),
        (
            TokenFilter {
                name: Some(parse("t777")),
                ..none.clone()
            },
            Some(["autoindex_tokens_2", "name_key_key"]),
        ),
        (
            TokenFilter {
                name: Some(parse("t77*")),
                ..none.clone()
            },
            (dialect == Dialect::Sqlite).then_some(["name_key>", ""]),
        ),
        (
            TokenFilter {
                expiring_within: Some(Period::HOUR),
                never_used: Some(true),
                ..none.clone()
            },
            Some(["expires_at", ""]),
        ),
    ] {
        let sought = filter.at(now).unwrap();
        let wanted = Wanted {
            sought: Some(&sought),
            order: none.order(),
        };
        let statements = token_walks::statements(dialect, &stretches[1], wanted);
        let plans: Vec<_> = statements
            .iter()
            .map(|statement| plan(&server.database, statement))
            .collect();
        let all = plans.join("\n\n");
        assert!(
            !all.contains("Seq Scan") && !all.contains("SCAN tokens"),
            "{filter:?}\n{all}"
        );
        if dialect == Dialect::Sqlite {
            for plan in &plans[..3] {
                assert!(plan.contains("position>? AND position<?"), "{plans:?}");
            }
        }
        assert_eq!(
            plans.len(),
            if index.is_some() { 6 } else { 3 },
            "{filter:?}"
        );
        for (plan, index) in plans[3..].iter().zip(index.iter().cycle()) {
            assert!(
                index
                    .iter()
                    .any(|index| !index.is_empty() && plan.contains(index)),
                "{plan}"
            );
        }
    }
}

#[rstest]
#[actix_web::test]
async fn registries_and_accounts_are_found_by_conditions_too(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    for name in ["team-a", "team-b", "team", "ci-a"] {
        let name = if name == "team" { "tea-m" } else { name };
        let id = admin.create_registry(name).await;
        let frozen = json!({"frozen": name == "team-b"});
        admin.patch(&format!("/registries/{id}"), frozen).await;
    }
    let listed = async |path: &str| {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let items = answer.json["items"].as_array().unwrap().iter();
        let name = |item: &Value| item["properties"]["name"].as_str().unwrap().to_owned();
        (items.map(name).collect::<Vec<_>>(), answer)
    };
    for (query, expected) in [
        ("name=team-*", vec!["team-a", "team-b"]),
        ("name=TEAM-B", vec!["team-b"]),
        ("name=team", vec![]),
        ("name=team_*", vec![]),
        ("name=%25*", vec![]),
        ("location=de/fra&name=c*", vec!["ci-a"]),
        ("location=de/txl", vec![]),
        ("frozen=true", vec!["team-b"]),
        ("frozen=false&name=team-*", vec!["team-a"]),
        ("filter.name=a&name=te*", vec!["team-a", "team-b", "tea-m"]),
    ] {
        assert_eq!(
            listed(&format!("/registries?{query}")).await.0,
            expected,
            "{query}"
        );
    }
    // The cursor carries them.
    let (first, answer) = listed("/registries?name=te*&location=de/fra&limit=2").await;
    assert_eq!(first, ["team-a", "team-b"]);
    let token = answer.json["pagination"]["token"].as_str().unwrap();
    assert_eq!(
        listed(&format!("/registries?pagination.token={token}"))
            .await
            .0,
        ["tea-m"]
    );
    for other in ["name=team-*", "location=de/txl", "frozen=true"] {
        let answer = admin
            .get(&format!("/registries?{other}&pagination.token={token}"))
            .await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec!["invalid-pagination-token"])
        );
    }

    admin.create_account("Ann", &["Analyst"]).await;
    let bob = admin.create_account("bob%", &[]).await;
    admin
        .create_account("\u{c4}nne", &["Analyst", "Continuous Integration"])
        .await;
    let disabled = json!({"status": "disabled"});
    assert_eq!(
        admin
            .patch(&format!("/accounts/{bob}"), disabled)
            .await
            .status,
        200
    );
    for (query, expected) in [
        ("name=ann", vec!["Ann"]),
        ("name=ANN*", vec!["Ann"]),
        ("name=%C3%A4*", vec!["\u{c4}nne"]),
        ("name=b_b*", vec![]),
        ("name=bob%25", vec!["bob%"]),
        ("status=disabled", vec!["bob%"]),
        ("role=Analyst&status=enabled&name=*", vec![]),
    ] {
        if query.ends_with("name=*") {
            let answer = admin.get(&format!("/accounts?{query}")).await;
            assert_eq!((answer.status, answer.codes()), (400, vec!["invalid-name"]));
            continue;
        }
        let (names, answer) = listed(&format!("/accounts?{query}")).await;
        assert_eq!(names, expected, "{query}");
        assert_eq!(answer.json["total"], expected.len(), "{query}");
    }
    let (analysts, answer) = listed("/accounts?role=Analyst&limit=1&offset=1").await;
    let total = answer.json["total"].as_u64().unwrap();
    assert!(analysts.len() == 1 && total > 1, "{answer:?}");
    let links = &answer.json["_links"];
    assert!(
        links["self"]
            .as_str()
            .unwrap()
            .ends_with("?offset=1&limit=1&role=Analyst"),
        "{links}"
    );
    for (query, code) in [
        ("role=Analist", "invalid-roles"),
        ("status=expired", "invalid-status"),
        ("name=", "invalid-name"),
        ("role=%00", "invalid-roles"),
    ] {
        let answer = admin.get(&format!("/accounts?{query}")).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec![code]),
            "{query}"
        );
    }
    for (query, code) in [
        ("location=", "invalid-location"),
        ("frozen=yes", "invalid-frozen"),
        ("name=*", "invalid-name"),
        ("name=%0A", "invalid-name"),
    ] {
        let answer = admin.get(&format!("/registries?{query}")).await;
        assert_eq!(
            (answer.status, answer.codes()),
            (400, vec![code]),
            "{query}"
        );
    }
}
