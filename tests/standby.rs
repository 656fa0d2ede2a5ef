//! A primary and a standby that are exchanged behind one address, as a proxy in front of a cluster exchanges them.
//!
//! A standby that has not replayed everything still has tokens that were revoked: nothing may be read from it.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use actix_web::rt::spawn;
use rstest::rstest;
use serde_json::json;

use crate::harness::{Actor, Backend, Cluster, Database, Front, Minted, PATIENCE, Program};

const TOKENS: usize = 10;
pub const PATH: &str = "/token?service=team-a.localhost&scope=repository:a:pull";

/// Asks for a JWT by each token, all at once.
pub async fn statuses(program: &Program, tokens: &[Minted]) -> Vec<u16> {
    let asked: Vec<_> = tokens
        .iter()
        .map(|token| {
            let client = Actor::of(&program.base, &token.name, &token.secret);
            spawn(async move { client.get(PATH).await.status })
        })
        .collect();
    let mut statuses = Vec::new();
    for asked in asked {
        statuses.push(asked.await.unwrap());
    }
    statuses
}

/// Runs a command of the program on a database. Returns its success and its output.
fn run(database: &Database, url: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wharfinger"))
        .env_clear()
        .env("PGTARGETSESSIONATTRS", "any")
        .env("WHARFINGER_DATA_DIR", database.folder())
        .env("WHARFINGER_DATABASE_URL", url)
        .env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=")
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[rstest]
#[actix_web::test]
async fn nothing_is_read_from_a_standby(#[values(Backend::Postgres)] backend: Backend) {
    let primary = Cluster::start("standby-primary", &[]);
    let standby = Cluster::start("standby", &["--standby-of", &primary.url]);
    let front = Front::of(&primary);
    let database = Arc::new(Database::at(
        backend,
        primary.url.replace(
            &format!(":{}/", primary.port()),
            &format!(":{}/", front.port),
        ),
    ));
    let mut command = Program::command(&database);
    // The environment of an operator does not count.
    command.env("PGTARGETSESSIONATTRS", "any");
    let program = Program::spawn(&database, command);
    let admin = program.admin();
    let registry = admin.create_registry("team-a").await;
    let mut tokens = Vec::new();
    for number in 0..TOKENS {
        let name = format!("t{number}");
        tokens.push(admin.mint(&registry, &name, &["repository:a:pull"]).await);
    }
    assert_eq!(statuses(&program, &tokens).await, [200; TOKENS]);

    // The standby has them, and learns nothing more.
    let reached = primary.ask("pg_current_wal_flush_lsn()");
    let replayed = format!("pg_last_wal_replay_lsn() >= '{reached}'");
    standby.until(&replayed, "true").await;
    standby.execute("SELECT pg_wal_replay_pause()");
    standby
        .until("pg_get_wal_replay_pause_state()", "paused")
        .await;
    for token in &tokens {
        let patched = admin
            .patch(&token.path, json!({"status": "disabled"}))
            .await;
        assert_eq!(patched.status, 200, "{patched:?}");
    }
    assert_eq!(statuses(&program, &tokens).await, [401; TOKENS]);
    let enabled = "SELECT COUNT(*) FROM tokens WHERE status = 'enabled'";
    assert_eq!(standby.ask(enabled), TOKENS.to_string());

    front.exchange(&standby);
    for _ in 0..2 {
        assert_eq!(statuses(&program, &tokens).await, [503; TOKENS]);
    }
    let anybody = Actor::anonymous_of(&program.base);
    assert_eq!(anybody.get("/readyz").await.status, 503);
    assert_eq!(anybody.get("/healthz").await.status, 200);

    // Commands and starts look for the primary, too.
    let list: &[&str] = &["account", "list"];
    for (arguments, part) in [
        (list, "this server is a standby"),
        (&["migrate"], "this server is a standby"),
        (&[], "this server is a standby"),
        (&["backup", "-"], "session is read-only"),
    ] {
        let (done, said) = run(&database, &standby.url, arguments);
        assert!(!done && said.contains(part), "{said}");
    }
    let (first, second) = (standby.port(), primary.port());
    let (here, there) = (standby.socket(), primary.socket());
    for url in [
        format!("postgres://wharfinger@127.0.0.1:{first},127.0.0.1:{second}/wharfinger"),
        format!("postgres://127.0.0.1,127.0.0.1/wharfinger?user=wharfinger&port={first},{second}"),
        format!("postgres:///wharfinger?user=wharfinger&host={here},{there}&port={first},{second}"),
    ] {
        let (done, said) = run(&database, &url, list);
        assert!(done && said.contains("admin"), "{url}: {said}");
    }

    // The standby becomes the primary.
    drop(primary);
    standby.execute("SELECT pg_wal_replay_resume()");
    standby.execute("SELECT pg_promote()");
    standby.until("NOT pg_is_in_recovery()", "true").await;
    let begun = Instant::now();
    while anybody.get("/readyz").await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "never ready");
    }
    // Requests that waited for a connection in the meantime may still be refused, and all that wait beside them.
    let answers = loop {
        let answers = statuses(&program, &tokens).await;
        if !answers.contains(&503) || begun.elapsed() >= PATIENCE {
            break answers;
        }
    };
    assert_eq!(answers, [401; TOKENS]);
    // The writer may find only now that its server is gone.
    let patched = loop {
        let patched = admin
            .patch(&tokens[0].path, json!({"status": "enabled"}))
            .await;
        if patched.status != 503 || begun.elapsed() >= PATIENCE {
            break patched;
        }
    };
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(statuses(&program, &tokens[..1]).await, [200]);
}
