//! Lists of tokens: filtered by end and by last use, and walked by cursor while others write.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::Connection as _;
use diesel::connection::InstrumentationEvent;
use rstest::rstest;
use serde_json::{Value, json};
use wharfinger::clock::Clock as _;
use wharfinger::domain::filter::TokenFilter;
use wharfinger::domain::id::{RegistryKey, TokenKey};
use wharfinger::domain::life::Lives;
use wharfinger::domain::period::Period;
use wharfinger::domain::tenant::TokenRules;
use wharfinger::error::Field;
use wharfinger::service::usage::Used;
use wharfinger::store::{Dialect, Session, token_filters, token_pages};

use crate::harness::{Actor, Answer, Backend, Database, Patience, Server, fill};

/// A token as a test knows it.
#[derive(Debug)]
struct Known {
    name: String,
    key: i64,
    made: DateTime<Utc>,
    ends: Option<DateTime<Utc>>,
    used: Option<DateTime<Utc>>,
}

impl Known {
    fn seen(&self) -> DateTime<Utc> {
        self.used.unwrap_or(self.made)
    }
}

pub fn names(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json["items"].as_array().unwrap();
    assert_eq!(answer.json["count"], items.len());
    items
        .iter()
        .map(|item| item["properties"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The next page by the header `Link`.
pub fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link");
    (!link.is_empty()).then(|| {
        let url = link.strip_prefix('<').unwrap();
        let url = url.strip_suffix(">; rel=\"next\"").unwrap();
        let from = url
            .find("/registries/")
            .or_else(|| url.find("/tokens"))
            .unwrap();
        url[from..].to_owned()
    })
}

/// All names of a list by its cursors, each page of the same total.
pub async fn walk(actor: &Actor, first: &str, total: usize) -> Vec<String> {
    let mut listed = Vec::new();
    let mut page = Some(first.to_owned());
    let patience = Patience::new();
    while let Some(path) = page {
        patience.spend("the list has not ended");
        let answer = actor.get(&path).await;
        assert_eq!(answer.json["offset"], listed.len(), "{path}");
        let found = names(&answer);
        assert_eq!(answer.json["total"], total, "{path}");
        page = next(&answer);
        if path.contains("pagination.token") {
            let links = &answer.json["_links"];
            assert!(links["self"].as_str().unwrap().ends_with(&path));
            assert_eq!(links["previous"], "");
            let next = links["next"].as_str().unwrap();
            assert_eq!(next.is_empty(), page.is_none());
            assert!(next.ends_with(page.as_deref().unwrap_or_default()));
        }
        listed.extend(found);
    }
    listed
}

async fn make(server: &Server, registry: &str, name: &str, ends: Option<DateTime<Utc>>) -> Known {
    let body = json!({"properties": {"name": name, "expiryDate": ends}});
    let path = format!("/registries/{registry}/tokens");
    let answer = server.admin().post(&path, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let sql = format!("SELECT key FROM tokens WHERE name = '{name}'");
    Known {
        name: name.to_owned(),
        key: server.database.number(&sql),
        made: server.clock.now(),
        ends,
        used: None,
    }
}

async fn use_now(server: &Server, token: &mut Known) {
    let sql = format!("SELECT registry_key FROM tokens WHERE key = {}", token.key);
    let registry = RegistryKey(server.database.number(&sql));
    let used = Used::Token(TokenKey(token.key), registry);
    let now = server.clock.now();
    server.service.uses().note(used, now, None, None);
    server.service.flush_usage().await.unwrap();
    token.used = Some(now);
}

/// The entries that a filter selects, in its order.
fn expected(
    known: &[Known],
    now: DateTime<Utc>,
    within: Option<TimeDelta>,
    unused: Option<TimeDelta>,
) -> Vec<String> {
    let mut found: Vec<_> = known
        .iter()
        .filter(|token| unused.is_none_or(|unused| token.seen() <= now - unused))
        .filter_map(|token| {
            let at = match within {
                None => token.seen(),
                Some(within) => token
                    .ends
                    .filter(|end| (now..=now + within).contains(end) && *end > now)?,
            };
            Some((at, token.key, token.name.clone()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, _, name)| name).collect()
}

#[rstest]
#[actix_web::test]
async fn filters_find_what_a_plain_search_finds(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    // Another registry's tokens are in no list of this one.
    let other = admin.create_registry("team-b").await;
    let began = server.clock.now();
    make(&server, &other, "theirs", Some(began + TimeDelta::days(3))).await;
    let mut known = Vec::new();
    for number in 0..60_i64 {
        // Several are made in the same instant, and end in the same.
        if number % 4 == 0 {
            server.clock.advance(TimeDelta::hours(7));
        }
        let ends = (number % 3 != 0).then(|| began + TimeDelta::days(10 + number * 7 % 30));
        known.push(make(&server, &registry, &format!("t{number}"), ends).await);
        // Some are used, some again, some of them at the very instant.
        for used in [number * 5 % 13, number * 3 % 29] {
            if number % 2 == 0
                && let Some(token) = usize::try_from(used)
                    .ok()
                    .and_then(|used| known.get_mut(used))
            {
                use_now(&server, token).await;
            }
        }
    }
    server.clock.advance(TimeDelta::hours(5));
    let now = server.clock.now();
    let list = format!("/registries/{registry}/tokens");
    let spans = [
        "PT0S", "PT5H", "P1D", "P3DT8H", "P14D", "P2W", "P31D", "P36500D",
    ];
    let delta = |span: &str| TimeDelta::from(Period::parse("span", Field::Setting, span).unwrap());
    let mut seen = BTreeSet::new();
    for within in spans.iter().map(Some).chain([None]) {
        for unused in spans.iter().map(Some).chain([None]) {
            let mut query = String::from("limit=1000");
            for (name, span) in [("expiringWithin", within), ("unusedSince", unused)] {
                if let Some(span) = span {
                    query = format!("{query}&{name}={span}");
                }
            }
            let all = match (within, unused) {
                (None, None) => known.iter().map(|token| token.name.clone()).collect(),
                _ => expected(
                    &known,
                    now,
                    within.map(|s| delta(s)),
                    unused.map(|s| delta(s)),
                ),
            };
            let answer = admin.get(&format!("{list}?{query}")).await;
            assert_eq!(names(&answer), all, "{query}");
            assert_eq!(answer.json["total"], all.len(), "{query}");
            assert_eq!(next(&answer), None);
            seen.insert(all.len());
            // The same by offset and by cursor.
            let short = query.replace("limit=1000", "limit=7");
            let answer = admin.get(&format!("{list}?offset=7&{short}")).await;
            let page: Vec<_> = all.iter().skip(7).take(7).cloned().collect();
            assert_eq!(names(&answer), page, "{query}");
            assert_eq!(
                walk(&admin, &format!("{list}?{short}"), all.len()).await,
                all
            );
        }
    }
    assert!(seen.len() >= 10, "the cases are too much alike: {seen:?}");

    // Links by offset keep the filter.
    let answer = admin
        .get(&format!(
            "{list}?offset=3&limit=3&expiringWithin=P4W&unusedSince=PT1H"
        ))
        .await;
    let links = &answer.json["_links"];
    for (link, offset) in [("previous", 0), ("self", 3), ("next", 6)] {
        let end = format!("{list}?offset={offset}&limit=3&expiringWithin=P28D&unusedSince=PT1H");
        assert!(links[link].as_str().unwrap().ends_with(&end), "{links}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_use_that_an_older_release_noted_counts(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let registry = server.admin().create_registry("team-a").await;
    let mut old = make(&server, &registry, "old", None).await;
    make(&server, &registry, "never", None).await;
    server.clock.advance(TimeDelta::days(10));
    use_now(&server, &mut old).await;
    assert_eq!(
        server
            .database
            .number("SELECT COUNT(*) FROM tokens WHERE first_used_at IS NULL"),
        1
    );
    server
        .database
        .execute("UPDATE tokens SET first_used_at = NULL");
    server.clock.advance(TimeDelta::days(1));
    let list = format!("/registries/{registry}/tokens?unusedSince=");
    for (since, expected) in [("P5D", vec!["never"]), ("P1D", vec!["never", "old"])] {
        let answer = server.admin().get(&format!("{list}{since}")).await;
        assert_eq!(names(&answer), expected);
        assert_eq!(answer.json["total"], expected.len());
    }
    // The next use that this release notes mends it.
    use_now(&server, &mut old).await;
    assert_eq!(
        server
            .database
            .number("SELECT COUNT(*) FROM tokens WHERE first_used_at IS NULL"),
        1
    );
}

#[rstest]
#[actix_web::test]
async fn by_cursor_what_stays_is_listed_once_whatever_comes_and_goes(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let list = format!("/registries/{registry}/tokens");
    let ids = fill(&server, &registry, 400).await;
    let (staying, going): (Vec<_>, Vec<_>) =
        (0..400).partition(|number: &usize| number.is_multiple_of(3));
    let mut going = going.into_iter().rev();
    let mut listed = Vec::new();
    let mut path = Some(format!("{list}?limit=23"));
    let mut made = 0;
    let patience = Patience::new();
    while let Some(page) = path {
        patience.spend("the list has not ended");
        let answer = admin.get(&page).await;
        assert_eq!(answer.json["offset"], listed.len());
        listed.extend(names(&answer));
        path = next(&answer);
        // Before and behind the listed tokens, others are deleted, created, created again under their ids, and changed.
        for _ in 0..9 {
            if let Some(gone) = going.next() {
                assert_eq!(
                    admin.delete(&format!("{list}/{}", ids[gone])).await.status,
                    204
                );
                if gone % 5 == 0 {
                    let body = json!({"properties": {"name": format!("back-{gone}")}});
                    let put = admin.put(&format!("{list}/{}", ids[gone]), body).await;
                    assert_eq!(put.status, 201);
                }
            }
        }
        for _ in 0..3 {
            if made < 60 {
                made += 1;
                admin.create_token(&registry, &format!("new-{made}")).await;
            }
        }
        let changed = json!({"status": "disabled"});
        let kept = staying[made % staying.len()];
        admin.patch(&format!("{list}/{}", ids[kept]), changed).await;
    }
    let distinct: BTreeSet<_> = listed.iter().collect();
    assert_eq!(distinct.len(), listed.len(), "a token is listed twice");
    for number in staying {
        assert!(
            distinct.contains(&format!("t{number}")),
            "t{number} is missing"
        );
    }
}

#[rstest]
#[actix_web::test]
async fn a_filter_stays_at_its_instant_while_pages_are_read(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let now = server.clock.now();
    for day in 1..=6 {
        make(
            &server,
            &registry,
            &format!("d{day}"),
            Some(now + TimeDelta::days(day)),
        )
        .await;
    }
    let list = format!("/registries/{registry}/tokens?limit=2&expiringWithin=P5D");
    let first = admin.get(&list).await;
    assert_eq!(names(&first), ["d1", "d2"]);
    server.clock.advance(TimeDelta::days(2));
    let second = admin.get(&next(&first).unwrap()).await;
    assert_eq!(names(&second), ["d3", "d4"]);
    assert_eq!(second.json["total"], 5);
    // Asked anew, it is another day.
    assert_eq!(names(&admin.get(&list).await), ["d3", "d4"]);
    let third = admin.get(&next(&second).unwrap()).await;
    assert_eq!(names(&third), ["d5"]);
    assert_eq!(next(&third), None);
}

#[rstest]
#[actix_web::test]
async fn cursors_belong_to_one_list(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let other = admin.create_registry("team-b").await;
    for name in ["aa", "bb", "cc"] {
        admin.create_token(&registry, name).await;
    }
    let list = format!("/registries/{registry}/tokens");
    let first = admin.get(&format!("{list}?limit=1")).await;
    let page = next(&first).unwrap();
    let token = page.split("pagination.token=").nth(1).unwrap();
    assert_eq!(names(&admin.get(&page).await), ["bb"]);
    // Another limit is no other list.
    let all = admin.get(&format!("{list}?pagination.token={token}")).await;
    assert_eq!(names(&all), ["bb", "cc"]);
    // An empty one is the beginning.
    assert_eq!(
        names(&admin.get(&format!("{list}?pagination.token=")).await).len(),
        3
    );

    let mut forged = token.to_owned();
    forged.replace_range(20..21, if &token[20..21] == "A" { "B" } else { "A" });
    let registries = admin.get("/registries?limit=1").await.json["pagination"]["token"].clone();
    for path in [
        format!("/registries/{other}/tokens?pagination.token={token}"),
        format!("{list}?pagination.token={forged}"),
        format!("{list}?pagination.token=eyJvIjoxfQ"),
        format!("{list}?pagination.token={}", registries.as_str().unwrap()),
        format!("{list}?pagination.token={token}&unusedSince=P1D"),
        format!("/registries?pagination.token={token}"),
    ] {
        let answer = admin.get(&path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert_eq!(answer.codes(), ["invalid-pagination-token"], "{path}");
    }
    let both = admin
        .get(&format!("{list}?offset=0&pagination.token={token}"))
        .await;
    assert_eq!(both.status, 400);
    assert!(both.message().contains("send one of them"), "{both:?}");

    // A registry that is made under the same id is another one.
    let path = format!("/registries/{registry}");
    assert_eq!(admin.delete(&path).await.status, 204);
    let again = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    assert_eq!(admin.put(&path, again).await.status, 201);
    let answer = admin.get(&page).await;
    assert_eq!(answer.codes(), ["invalid-pagination-token"], "{answer:?}");
}

#[rstest]
#[actix_web::test]
async fn odd_filters_are_told_what_would_be_right(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let list = format!("/registries/{registry}/tokens");
    for (query, code) in [
        ("expiringWithin=", "invalid-expiring-within"),
        ("expiringWithin=14", "invalid-expiring-within"),
        ("expiringWithin=P1M", "invalid-expiring-within"),
        ("expiringWithin=-P1D", "invalid-expiring-within"),
        ("unusedSince=P1Y", "invalid-unused-since"),
        ("unusedSince=P99999999D", "invalid-unused-since"),
        ("unusedSince=2026-11-22", "invalid-unused-since"),
    ] {
        let answer = admin.get(&format!("{list}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
        assert_eq!(answer.codes(), [code], "{query}");
        assert!(answer.message().contains('P'), "{query}: {answer:?}");
    }
    let both = admin
        .get(&format!("{list}?expiringWithin=x&unusedSince=y&limit=z"))
        .await;
    assert_eq!(both.codes().len(), 3, "{both:?}");
    assert_eq!(both.json["items"], Value::Null);
}

/// How the database would go about a statement.
pub fn plan(database: &Database, statement: &str) -> String {
    use diesel::sql_types::Text;
    use diesel::{QueryableByName, RunQueryDsl as _, sql_query};
    #[derive(QueryableByName)]
    struct Step {
        #[diesel(sql_type = Text)]
        detail: String,
    }
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
        line: String,
    }
    let steps: Vec<_> = match database.connect() {
        Session::Sqlite(mut connection) => {
            let explain = sql_query(format!("EXPLAIN QUERY PLAN {statement}"));
            let steps: Vec<Step> = explain.load(&mut connection).unwrap();
            steps.into_iter().map(|step| step.detail).collect()
        }
        Session::Postgres(mut connection) => {
            let explain = sql_query(format!("EXPLAIN (COSTS OFF) {statement}"));
            let lines: Vec<Line> = explain.load(&mut connection).unwrap();
            lines.into_iter().map(|line| line.line).collect()
        }
    };
    steps.join("\n")
}

#[rstest]
#[actix_web::test]
async fn filters_are_counted_and_found_by_indexes_in_order(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let registry = server.admin().create_registry("team-a").await;
    fill(&server, &registry, 20_000).await;
    let now = server.clock.now();
    let at = now.timestamp_micros();
    // A twentieth ends some time, a half was used some time; the planner of PostgreSQL has to know.
    server.database.execute(&format!(
        "UPDATE tokens SET created_at = {at} - position * 1000000; \
         UPDATE tokens SET expires_at = {at} + position * 1000000 WHERE position % 20 = 0; \
         UPDATE tokens SET first_used_at = {at} WHERE position % 2 = 0; \
         INSERT INTO token_uses (token_key, registry_key, seen_at) \
             SELECT key, registry_key, created_at + 1 FROM tokens WHERE position % 2 = 0; \
         ANALYZE"
    ));
    let key = server.database.number("SELECT key FROM registries");
    let hours = |hours: i64| Period::of_seconds(hours * 3600);
    let sought = |expiring_within, unused_since| {
        let filter = TokenFilter {
            expiring_within,
            unused_since,
            ..TokenFilter::default()
        };
        filter.at(now).unwrap()
    };
    let (soon, long_ago) = (hours(2), hours(5));
    let cases = [
        (sought(soon, None), "tokens_registry_expires_at"),
        (sought(soon, long_ago), "tokens_registry_expires_at"),
        (
            sought(None, long_ago),
            "token_uses_registry_seen_at_key tokens_never_used",
        ),
    ];
    for (sought, indexes) in cases {
        let dialect = Dialect::of(&server.database.connect());
        let statements = token_filters::statements(dialect, &[RegistryKey(key)], &sought, 100);
        let plans: Vec<_> = statements
            .iter()
            .map(|statement| plan(&server.database, statement))
            .collect();
        let all = plans.join("\n\n");
        for index in indexes.split(' ') {
            let uses = plans.iter().filter(|plan| plan.contains(index)).count();
            assert_eq!(uses, 2, "once to count, once to find: {index}\n{all}");
        }
        // Nothing reads a table from end to end, nor sorts more than the page can need of each part.
        for bad in ["SCAN tok", "Seq Scan"] {
            assert!(!all.contains(bad), "{bad}\n{all}");
        }
        let page = plans.last().unwrap();
        let sorts = page.contains("->  Sort") || page.contains("TEMP B-TREE");
        assert!(!sorts || sought.ends().is_none(), "{page}");
    }
}

#[rstest]
#[actix_web::test]
async fn a_filtered_page_reads_its_own_tokens_alone(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    let registry = server.admin().create_registry("team-a").await;
    fill(&server, &registry, 20_000).await;
    let now = server.clock.now();
    let soon = now + TimeDelta::hours(1);
    let at = soon.timestamp_micros();
    server.database.execute(&format!(
        "UPDATE tokens SET expires_at = {at} WHERE position % 200 = 0; \
         INSERT INTO token_uses (token_key, registry_key, seen_at) SELECT key, registry_key, created_at FROM tokens"
    ));
    // The service never runs ANALYZE on SQLite, which then guesses; PostgreSQL runs it by itself.
    if matches!(backend, Backend::Postgres) {
        server.database.execute("ANALYZE");
    }
    let home = TokenRules {
        key: RegistryKey(server.database.number("SELECT key FROM registries")),
        lives: Lives::default(),
        maximum_secret_age: None,
    };
    let filter = TokenFilter {
        expiring_within: Period::of_seconds(3600),
        ..TokenFilter::default()
    };
    let sought = filter.at(now).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut session = server.database.connect();
    let notes = Arc::clone(&asked);
    let note = move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            notes.lock().unwrap().push(query.to_string());
        }
    };
    match &mut session {
        Session::Sqlite(connection) => connection.set_instrumentation(note),
        Session::Postgres(connection) => connection.set_instrumentation(note),
    }
    let found = token_filters::find(&mut session, &[home.key], &sought, None, (0, 20)).unwrap();
    let keys: Vec<_> = found.iter().map(|(place, _)| TokenKey(place.key)).collect();
    let page = token_pages::with_keys(&mut session, &[home], &keys).unwrap();
    assert_eq!(page.len(), 20);

    // The last statement reads the tokens, whose keys are known.
    let asked = asked.lock().unwrap();
    let (statement, _) = asked.last().unwrap().split_once(" -- binds:").unwrap();
    let keys: Vec<_> = keys.iter().map(|key| key.0).collect();
    // EXPLAIN takes no values on PostgreSQL; SQLite plans without them.
    let statement = statement
        .replace("$1", &format!("'{{{}}}'::bigint[]", list(&keys)))
        .replace("$2", &format!("'{{{}}}'::bigint[]", home.key.0));
    let plan = plan(&server.database, &statement);
    let by_key = ["SEARCH tokens USING INTEGER PRIMARY KEY", "tokens_pkey"];
    assert!(by_key.iter().any(|how| plan.contains(how)), "{plan}");
    for bad in ["SCAN tok", "Seq Scan", "tokens_registry"] {
        assert!(!plan.contains(bad), "{bad}\n{plan}\n{statement}");
    }
}

/// Numbers as a list of SQL.
fn list(keys: &[i64]) -> String {
    let keys: Vec<_> = keys.iter().map(i64::to_string).collect();
    keys.join(",")
}
