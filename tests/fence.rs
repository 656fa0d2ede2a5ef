//! Servers of a cluster that answer what is no longer true, or nothing at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::spawn;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Actor, Backend, Cluster, Database, Front, Minted, PATIENCE, Patience, Program,
};
use crate::standby::statuses;

const TOKENS: usize = 4;

/// The program with a read fence, on a server of its own.
fn serve(url: &str, fence: &str) -> Program {
    let database = Arc::new(Database::at(Backend::Postgres, url.to_owned()));
    let mut command = Program::command(&database);
    command.args(["--read-fence", fence]);
    Program::spawn(&database, command)
}

async fn mint(admin: &Actor) -> Vec<Minted> {
    let registry = admin.create_registry("team-a").await;
    let mut tokens = Vec::new();
    for number in 0..TOKENS {
        let name = format!("t{number}");
        tokens.push(admin.mint(&registry, &name, &["repository:a:pull"]).await);
    }
    tokens
}

/// The standby is promoted while its primary goes on, as when the network between them was cut.
#[rstest]
#[actix_web::test]
async fn a_primary_that_was_replaced_answers_nothing_after_the_fence(
    #[values("3s", "off")] fence: &str,
) {
    let name = format!("fence-{fence}");
    let primary = Cluster::start(&format!("{name}-primary"), &[]);
    let standby = Cluster::start(&name, &["--standby-of", &primary.url]);
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.execute("SELECT pg_reload_conf()");
    let synchronous = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    primary.until(synchronous, "1").await;
    let before = serve(&primary.url, fence);
    let tokens = mint(&before.admin()).await;
    assert_eq!(statuses(&before, &tokens).await, [200; TOKENS]);

    standby.execute("SELECT pg_promote()");
    standby.until("NOT pg_is_in_recovery()", "true").await;
    let after = serve(&standby.url, fence);
    let admin = after.admin();
    for token in &tokens {
        let patched = admin
            .patch(&token.path, json!({"status": "disabled"}))
            .await;
        assert_eq!(patched.status, 200, "{patched:?}");
    }
    let disabled = Instant::now();
    assert_eq!(statuses(&after, &tokens).await, [401; TOKENS]);

    let patience = Patience::new();
    let mut rounds = 0;
    while rounds < 3 {
        patience.spend("the fence does not close");
        let late = disabled.elapsed() > Duration::from_secs(3);
        let answers = statuses(&before, &tokens).await;
        if late {
            rounds += 1;
            // Without the fence, tokens that were disabled go on to work.
            let wanted = if fence == "off" { 200 } else { 503 };
            assert_eq!(answers, [wanted; TOKENS]);
        }
    }
    if fence != "off" {
        let anybody = Actor::anonymous_of(&before.base);
        assert_eq!(anybody.get("/readyz").await.status, 503);
        assert_eq!(anybody.get("/healthz").await.status, 200);
        assert_eq!(statuses(&after, &tokens).await, [401; TOKENS]);
    }
}

#[rstest]
#[actix_web::test]
async fn a_silent_server_keeps_nobody_waiting_for_ever(
    #[values(Backend::Postgres)] backend: Backend,
) {
    let server = Cluster::start("fence-silent", &[]);
    let front = Front::of(&server);
    let url = server.url.replace(
        &format!(":{}/", server.port()),
        &format!(":{}/", front.port),
    );
    let database = Arc::new(Database::at(backend, url));
    let mut program = Program::start(&database);
    let tokens = Arc::new(mint(&program.admin()).await);
    let (admin, anybody) = (program.admin(), Actor::anonymous_of(&program.base));
    assert_eq!(statuses(&program, &tokens).await, [200; TOKENS]);

    // More than there are readers.
    front.silence();
    let reads: Vec<_> = tokens
        .iter()
        .map(|token| {
            let client = Actor::of(&program.base, &token.name, &token.secret);
            spawn(async move { client.get(crate::standby::PATH).await })
        })
        .collect();
    let write = {
        let (admin, path) = (admin.clone(), tokens[0].path.clone());
        spawn(async move { admin.patch(&path, json!({"status": "disabled"})).await })
    };
    assert_eq!(anybody.get("/readyz").await.status, 503);
    assert!(reads.iter().all(|read| !read.is_finished()));
    for read in reads {
        let answer = read.await.unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(write.await.unwrap().status, 503);

    front.speak();
    // New connections get through. The threads that wait for the old ones are given up.
    let patience = Patience::new();
    while statuses(&program, &tokens[1..]).await != [200; TOKENS - 1] {
        patience.spend("no thread took the place of one that waits");
    }
    while admin
        .patch(&tokens[0].path, json!({"status": "disabled"}))
        .await
        .status
        != 200
    {
        patience.spend("no thread took the place of the one that writes");
    }
    assert_eq!(statuses(&program, &tokens[..1]).await, [401]);
    assert_eq!(anybody.get("/readyz").await.status, 200);

    front.silence();
    program.signal("TERM");
    let begun = Instant::now();
    while program.child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "the program does not end");
        actix_web::rt::task::yield_now().await;
    }
}

/// The standby has not received the last changes when it takes the place of its primary.
#[rstest]
#[actix_web::test]
async fn changes_that_a_failover_lost_are_noticed(#[values("continue", "freeze")] on_loss: &str) {
    let name = format!("loss-{on_loss}");
    let primary = Cluster::start(&format!("{name}-primary"), &[]);
    let standby = Cluster::start(&name, &["--standby-of", &primary.url]);
    let front = Front::of(&primary);
    let url = primary.url.replace(
        &format!(":{}/", primary.port()),
        &format!(":{}/", front.port),
    );
    let database = Arc::new(Database::at(Backend::Postgres, url));
    let start = || {
        let mut command = Program::command(&database);
        command.args(["--on-loss", on_loss]);
        Program::spawn(&database, command)
    };
    let program = start();
    // Each would freeze the service for its own loss, so that case has one.
    let replica = (on_loss == "continue").then(start);
    let (admin, anybody) = (program.admin(), Actor::anonymous_of(&program.base));
    let tokens = mint(&admin).await;
    let reached = primary.ask("pg_current_wal_flush_lsn()");
    let replayed = format!("pg_last_wal_replay_lsn() >= '{reached}'");
    standby.until(&replayed, "true").await;
    standby.execute("ALTER SYSTEM SET primary_conninfo = ''");
    standby.execute("SELECT pg_reload_conf()");
    let receives = "SELECT COUNT(*) FROM pg_stat_wal_receiver";
    standby.until(receives, "0").await;
    for token in &tokens {
        let patched = admin
            .patch(&token.path, json!({"status": "disabled"}))
            .await;
        assert_eq!(patched.status, 200, "{patched:?}");
    }
    assert_eq!(statuses(&program, &tokens).await, [401; TOKENS]);
    if let Some(replica) = &replica {
        let other = json!({"properties": {"name": "team-b", "location": "de/fra"}});
        assert_eq!(replica.admin().post("/registries", other).await.status, 201);
    }

    standby.execute("SELECT pg_promote()");
    standby.until("NOT pg_is_in_recovery()", "true").await;
    drop(primary);
    front.exchange(&standby);
    let patience = Patience::new();
    let noticed = async |anybody: &Actor| loop {
        patience.spend("the loss is not noticed");
        let ready = anybody.get("/readyz").await;
        if ready.json["checks"]["lossDetected"].is_string() {
            break ready;
        }
    };
    let ready = noticed(&anybody).await;
    if let Some(replica) = &replica {
        noticed(&Actor::anonymous_of(&replica.base)).await;
    }
    let data = database.folder();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_wharfinger"))
            .env_clear()
            .env("WHARFINGER_DATA_DIR", data)
            .env("WHARFINGER_DATABASE_URL", &database.url)
            .env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    if on_loss == "freeze" {
        while anybody.get("/readyz").await.json["checks"]["backup"] != "unconfirmed" {
            patience.spend("the service is not frozen");
        }
        assert_eq!(statuses(&program, &tokens).await, [503; TOKENS]);
        let said = run(&["restore", "status", "--output", "json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&said["frozen"], &said["opens"]["tokens"]),
            (&json!(true), &json!(TOKENS))
        );
        assert!(
            said["lostEvents"].as_u64().unwrap() >= TOKENS as u64,
            "{said}"
        );
        run(&["restore", "confirm", "--disable-tokens"]);
        while anybody.get("/readyz").await.status != 200 {
            patience.spend("the service stays frozen");
        }
        assert_eq!(statuses(&program, &tokens).await, [401; TOKENS]);
    } else {
        assert_eq!(ready.status, 200, "{ready:?}");
        // The revocations are lost. A request that waited for a connection may still be refused.
        let answers = loop {
            patience.spend("the service does not answer again");
            let answers = statuses(&program, &tokens).await;
            if !answers.contains(&503) {
                break answers;
            }
        };
        assert_eq!(answers, [200; TOKENS]);
        let patched = admin
            .patch(&tokens[0].path, json!({"status": "disabled"}))
            .await;
        assert_eq!(patched.status, 200, "{patched:?}");
        assert_eq!(statuses(&program, &tokens[..1]).await, [401]);
    }
    let found = admin.get("/audit?kind=loss").await;
    let events = found.json["items"].as_array().unwrap();
    assert_eq!(
        events.len(),
        1 + usize::from(replica.is_some()),
        "{events:?}"
    );
    let mut most = 0;
    for event in events {
        let (id, lost) = (event["id"].as_str().unwrap(), &event["detail"]["after"]);
        assert!(id.ends_with(".1"), "{id} is not the first of its chain");
        let number = |name: &str| lost[name].as_u64().unwrap();
        let lost = number("lostEvents");
        assert_eq!(number("lostTo") - number("lostFrom") + 1, lost);
        most = most.max(lost);
    }
    assert!(most >= TOKENS as u64, "{events:?}");
    let said = run(&["audit", "verify"]);
    assert!(said.contains("Nothing was changed"), "{said}");
}
