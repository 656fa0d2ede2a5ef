//! Background work: rows of deleted registries, and expired rows.

use std::time::Instant;

use chrono::TimeDelta;
use diesel::connection::SimpleConnection as _;
use rstest::rstest;
use serde_json::json;
use wharfinger::clock::Clock as _;
use wharfinger::service::janitor::Round;
use wharfinger::store::exchanged_jwts;

use crate::harness::{Actor, Backend, PATIENCE, Patience, Server, fill};

/// Keeps each server's own janitor from the work: only the holder of this name may do the work.
fn reserve(server: &Server, holder: &str, life: TimeDelta) {
    let until = (server.clock.now() + life).timestamp_micros();
    server.database.execute(&format!(
        "INSERT INTO leases (name, holder, until) VALUES ('janitor', '{holder}', {until}) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
    ));
}

fn rows(server: &Server, table: &str) -> i64 {
    server
        .database
        .number(&format!("SELECT COUNT(*) FROM {table}"))
}

#[rstest]
#[actix_web::test]
async fn a_large_registry_is_gone_at_once_and_purged_later(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    const TOKENS: usize = 10_000;
    let server = Server::start(backend).await;
    reserve(&server, "test", TimeDelta::days(1));
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    fill(&server, &registry, TOKENS).await;
    let path = format!("/registries/{registry}");

    assert_eq!(admin.delete(&path).await.status, 204);
    assert_eq!(
        rows(&server, "tokens"),
        i64::try_from(TOKENS).unwrap(),
        "the caller waited for the purge"
    );
    assert_eq!(admin.get(&path).await.status, 404);
    assert_eq!(admin.get(&format!("{path}/tokens")).await.status, 404);
    assert_eq!(admin.delete(&path).await.status, 404);

    // Name and id are free at once, and the new one has nothing of the old one's.
    let body = json!({"properties": {"name": "team-a", "location": "de/fra"}});
    assert_eq!(admin.put(&path, body).await.status, 201);
    assert_eq!(admin.get(&format!("{path}/tokens")).await.json["total"], 0);
    let kept = admin.create_token(&registry, "kept").await;

    let round = server.service.janitor().run("test").await.unwrap();
    let done = Round {
        registries: 1,
        tokens: i64::try_from(TOKENS).unwrap(),
        expired: 0,
        ..Round::default()
    };
    assert_eq!(round, Some(done));
    for table in ["tokens", "token_counts", "registry_counters", "registries"] {
        assert_eq!(rows(&server, table), 1, "{table}");
    }
    assert_eq!(rows(&server, "leases"), 0, "the lease was not given back");
    let path = format!("{path}/tokens/{kept}");
    assert_eq!(admin.get(&path).await.status, 200);
    server.database.check_totals();
}

#[rstest]
#[actix_web::test]
async fn one_replica_at_a_time_and_a_dead_one_is_followed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    // A replica that took the lease and died.
    reserve(&server, "dead", TimeDelta::seconds(60));
    let replica = server.replica().await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    fill(&server, &registry, 2_500).await;
    admin.delete(&format!("/registries/{registry}")).await;

    assert_eq!(server.service.janitor().run("here").await.unwrap(), None);
    server.clock.advance(TimeDelta::seconds(59));
    assert_eq!(replica.service.janitor().run("there").await.unwrap(), None);
    assert_eq!(rows(&server, "tokens"), 2_500);

    server.clock.advance(TimeDelta::seconds(1));
    let (here, there) = (server.service.janitor(), replica.service.janitor());
    let (here, there) = tokio::join!(here.run("here"), there.run("there"));
    let rounds = [here.unwrap(), there.unwrap()];
    // Whoever came second was sent away, or found that all was done. The janitors that the servers run by themselves
    // may have come first of all.
    let working = rounds.iter().flatten().filter(|r| !r.is_idle()).count();
    assert!(working <= 1, "{rounds:?}");
    let begun = Instant::now();
    while rows(&server, "registries") > 0 {
        assert!(begun.elapsed() < PATIENCE, "{rounds:?}");
        server.service.janitor().run("here").await.unwrap();
    }
    assert_eq!(rows(&server, "tokens"), 0);
    assert_eq!(rows(&server, "token_counts"), 0);
}

async fn create_until(admin: &Actor, registry: &str, name: &str, expiry: &str) -> String {
    let body = json!({"properties": {"name": name, "expiryDate": expiry}});
    let answer = admin
        .post(&format!("/registries/{registry}/tokens"), body)
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json["id"].as_str().unwrap().to_owned()
}

/// The clock of the tests starts on 2026-11-21 at noon.
#[rstest]
#[actix_web::test]
async fn expired_tokens_are_removed_after_the_retention(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values("1d", "forever")] retention: &str,
) {
    let server = Server::start_with(backend, &["--expired-token-retention", retention]).await;
    reserve(&server, "test", TimeDelta::days(3650));
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    let tokens = format!("/registries/{registry}/tokens");
    create_until(&admin, &registry, "expiring", "2026-11-21T13:00:00Z").await;
    let extended = create_until(&admin, &registry, "extended", "2026-11-21T13:00:00Z").await;
    admin.create_token(&registry, "endless").await;

    // Expired for a microsecond less than a day.
    server
        .clock
        .advance(TimeDelta::hours(25) - TimeDelta::microseconds(1));
    server.believe_clock();
    let early = server.service.janitor().run("test").await.unwrap().unwrap();
    assert!(early.is_idle(), "{early:?}");
    assert_eq!(admin.get(&tokens).await.json["total"], 3);
    let body = json!({"expiryDate": "2027-11-21T13:00:00Z"});
    let patched = admin.patch(&format!("{tokens}/{extended}"), body).await;
    assert_eq!(patched.status, 200, "{patched:?}");

    server.clock.advance(TimeDelta::microseconds(1));
    let due = server.service.janitor().run("test").await.unwrap().unwrap();
    let expected = i64::from(retention == "1d");
    assert_eq!(due.expired, expected);
    assert_eq!(admin.get(&tokens).await.json["total"], 3 - expected);
    assert_eq!(admin.get(&format!("{tokens}/{extended}")).await.status, 200);

    reserve(&server, "test", TimeDelta::days(3650));
    server.clock.advance(TimeDelta::days(1000));
    server.believe_clock();
    server.service.janitor().run("test").await.unwrap().unwrap();
    let left = if retention == "1d" { 1 } else { 3 };
    assert_eq!(admin.get(&tokens).await.json["total"], left);
    server.database.check_totals();
}

/// Makes a row of every token's last use, as old as the token.
fn use_all(server: &Server) {
    server.database.execute(
        "INSERT INTO token_uses (token_key, registry_key, seen_at, used_at) \
         SELECT key, registry_key, created_at, created_at FROM tokens",
    );
}

#[rstest]
#[actix_web::test]
async fn last_uses_go_with_their_tokens(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start_with(backend, &["--expired-token-retention", "1d"]).await;
    reserve(&server, "test", TimeDelta::days(3650));
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    create_until(&admin, &registry, "expiring", "2026-11-21T13:00:00Z").await;
    admin.create_token(&registry, "endless").await;
    let doomed = admin.create_registry("team-b").await;
    fill(&server, &doomed, 1_500).await;
    use_all(&server);
    // An older release left these rows when it deleted tokens: more rows than there are tokens.
    server.database.execute(
        "INSERT INTO token_uses (token_key, registry_key, seen_at, used_at) \
         SELECT key + 1000000, registry_key, created_at, created_at FROM tokens WHERE name LIKE 't%'",
    );
    assert_eq!(rows(&server, "token_uses"), 3_002);

    server.clock.advance(TimeDelta::hours(25));
    server.believe_clock();
    admin.delete(&format!("/registries/{doomed}")).await;
    let round = server.service.janitor().run("test").await.unwrap().unwrap();
    let done = Round {
        registries: 1,
        tokens: 1_500,
        expired: 1,
        ..Round::default()
    };
    assert_eq!(round, done);
    assert_eq!(rows(&server, "registries"), 1);
    let left = "SELECT name AS line FROM tokens JOIN token_uses ON token_key = key";
    assert_eq!(server.database.lines(left), ["endless"]);
    assert_eq!(rows(&server, "token_uses"), 1);
}

#[rstest]
#[actix_web::test]
async fn a_round_without_work_writes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    server.believe_clock();
    // Less than the hour after which a look is written again.
    server.clock.advance(TimeDelta::minutes(59));
    let mut other = server.database.connect();
    other
        .batch_execute(match backend {
            Backend::Sqlite => "BEGIN IMMEDIATE",
            Backend::Postgres => "BEGIN; LOCK TABLE leases IN ACCESS EXCLUSIVE MODE",
        })
        .unwrap();
    // A write would have to wait, and fail.
    let round = server.service.janitor().run("test").await.unwrap();
    assert_eq!(round, Some(Round::default()));
}

/// Settings that keep expired things for a day.
const FOR_A_DAY: [&str; 8] = [
    "--expired-token-retention",
    "1d",
    "--app-token-life",
    "1h",
    "--app-token-retention",
    "1d",
    "--audit-retention",
    "1d",
];

/// A server with something of all that expires: a token, an API token, an app token, and events.
async fn with_old_rows(backend: Backend) -> Server {
    let server = Server::start_with(backend, &FOR_A_DAY).await;
    let admin = server.admin();
    let registry = admin.create_registry("team-a").await;
    create_until(&admin, &registry, "expiring", "2026-11-21T13:00:00Z").await;
    let app_token = json!({"title": "expiring"});
    let made = admin.post("/api/v1/user/apptoken", app_token).await;
    assert_eq!(made.status, 201, "{made:?}");
    let brief = json!({"name": "brief", "role": "Admin", "expiration": "2026-11-21T13:00:00Z"});
    let made = admin.post("/v1/apitokens/generate", brief).await;
    assert_eq!(made.status, 200, "{made:?}");
    server
}

/// The number of rows that can expire.
fn old_rows(server: &Server) -> [i64; 4] {
    let expired = |table: &str| rows(server, &format!("{table} WHERE expires_at IS NOT NULL"));
    // Others come while one looks.
    let events = rows(server, "audit_events WHERE at < 1795276800000000");
    [
        expired("tokens"),
        expired("app_tokens"),
        expired("api_tokens"),
        events.min(1),
    ]
}

/// Lets the janitor do all there is to do. The one that the server runs by itself may have been faster.
async fn work(server: &Server) -> Round {
    let patience = Patience::new();
    loop {
        patience.spend("the janitor of the server still holds the lease");
        if let Some(round) = server.service.janitor().run("test").await.unwrap() {
            return round;
        }
    }
}

/// The word of `/readyz` on removals.
async fn wait(server: &Server) -> serde_json::Value {
    let answer = server.anonymous().get("/readyz").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["checks"]["removalsWaitUntil"].clone()
}

#[rstest]
#[actix_web::test]
async fn a_clock_that_is_ahead_for_a_moment_removes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = with_old_rows(backend).await;
    let replica = server.replica_with(&FOR_A_DAY).await;
    work(&server).await;
    assert_eq!(old_rows(&server), [1; 4]);
    assert!(wait(&server).await.is_null());

    server.clock.set(TimeDelta::days(400));
    for server in [&server, &replica] {
        let round = work(server).await;
        assert!(round.doubt.is_some() && round.is_idle(), "{round:?}");
        assert_eq!(wait(server).await, "2027-12-27T12:00:00Z");
    }
    server.clock.advance(TimeDelta::hours(5));
    assert!(work(&replica).await.doubt.is_some());
    // Further ahead still.
    server.clock.set(TimeDelta::days(400));
    assert!(work(&server).await.doubt.is_some());
    assert_eq!(old_rows(&server), [1; 4]);
    // Deleted resources go all the same.
    let doomed = server.admin().create_registry("team-b").await;
    server
        .admin()
        .delete(&format!("/registries/{doomed}"))
        .await;
    work(&server).await;
    assert_eq!(rows(&server, "registries"), 1);

    server.clock.set(TimeDelta::days(-800));
    assert!(wait(&server).await.is_null());
    assert_eq!(work(&replica).await.doubt, None);
    assert_eq!(old_rows(&server), [1; 4]);
    // Their day comes, an hour or more at a time.
    for _ in 0..3 {
        server.clock.advance(TimeDelta::hours(9));
        work(&server).await;
    }
    assert_eq!(old_rows(&server), [0; 4]);
}

#[rstest]
#[actix_web::test]
async fn a_service_that_was_off_for_a_week_waits_a_day(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = with_old_rows(backend).await;
    work(&server).await;
    server.clock.advance(TimeDelta::days(7));
    let replica = server.replica_with(&FOR_A_DAY).await;
    for (hours, left) in [(0, 1), (10, 1), (13, 1), (1, 0)] {
        server.clock.advance(TimeDelta::hours(hours));
        work(&replica).await;
        assert_eq!(old_rows(&server), [left; 4], "{hours}");
    }
    assert!(wait(&server).await.is_null());
}

/// An exchanged JWT is forgotten when it would be refused anyway, and not before.
#[rstest]
#[actix_web::test]
async fn exchanged_jwts_are_forgotten_when_they_have_ended(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let server = Server::start(backend).await;
    reserve(&server, "test", TimeDelta::days(1));
    let now = server.clock.now();
    let mut connection = server.database.connect();
    for (jwt, minutes) in [(b"a", 0), (b"b", 1)] {
        let until = now + TimeDelta::minutes(minutes);
        for first in [true, false] {
            let kept = exchanged_jwts::insert(&mut connection, jwt, until);
            assert_eq!(kept.unwrap(), first);
        }
    }
    drop(connection);
    let round = server.service.janitor().run("test").await.unwrap();
    let done = Round {
        jwts: 1,
        ..Round::default()
    };
    assert_eq!(round, Some(done));
    assert_eq!(rows(&server, "exchanged_jwts"), 1);
}
