//! The change of the server key: with replicas running, all of it or nothing, and told.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use serde_json::json;

use crate::harness::{Backend, Database, Program, Server};

/// The program with a database's settings and this server key.
fn with_key(database: &Database, key: &str) -> Command {
    let mut command = Program::command(database);
    command.env("WHARFINGER_SERVER_KEY", key);
    command
}

fn first_key() -> String {
    "A".repeat(43) + "="
}

fn other_key(letter: &str) -> String {
    letter.repeat(42) + "A="
}

fn end(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Makes a database under this server key.
fn begin(database: &Database, key: &str) {
    for arguments in [
        &["migrate"][..],
        &["keys", "init"],
        &["account", "add", "first"],
    ] {
        let ended = end(with_key(database, key).args(arguments));
        assert!(ended.status.success(), "{ended:?}");
    }
}

/// Changes the key; panics if that fails.
fn rewrap(database: &Database, from: &str, to: &str) -> String {
    let mut command = with_key(database, from);
    let output = end(command
        .args(["keys", "rewrap"])
        .env("WHARFINGER_NEW_SERVER_KEY", to));
    assert!(output.status.success(), "{output:?}");
    said(&output)
}

/// Every sealed data key, with the key that sealed it.
fn seals(database: &Database) -> Vec<String> {
    let hexadecimal = match database.backend {
        Backend::Sqlite => "hex(sealed)",
        Backend::Postgres => "encode(sealed, 'hex')",
    };
    database.lines(&format!(
        "SELECT server_key_id || ' ' || {hexadecimal} AS line FROM data_keys ORDER BY key"
    ))
}

/// The keys that seal data keys; one, unless something went wrong.
fn sealing(database: &Database) -> Vec<String> {
    database.lines("SELECT DISTINCT server_key_id AS line FROM data_keys")
}

async fn api_token(server: &Server, name: &str) -> String {
    let body = json!({"name": name, "roles": ["Admin"]});
    let answer = server.admin().post("/v1/apitokens/generate", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["token"].as_str().unwrap().to_owned()
}

/// Makes a registry with a token, and lets the token in.
async fn serves_everything(server: &Server, name: &str) -> (String, String) {
    let registry = server.admin().create_registry(name).await;
    let body = json!({"properties": {"name": "ci"}});
    let path = format!("/registries/{registry}/tokens");
    let made = server.admin().post(&path, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let secret = made.json["properties"]["credentials"]["password"].as_str();
    let secret = secret.unwrap().to_owned();
    logs_in(server, name, &secret).await;
    (registry, secret)
}

async fn logs_in(server: &Server, registry: &str, secret: &str) {
    let path = format!("/token?service={registry}.localhost&scope=repository:a:pull");
    let answer = server.actor("ci", secret).get(&path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[rstest]
#[case::whose_keys_were_all_made_before(true)]
#[case::whose_last_key_is_made_by_the_change(false)]
#[actix_web::test]
async fn replicas_serve_everything_until_they_are_restarted_one_by_one(
    #[case] api_key_before: bool,
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let one = Server::start(backend).await;
    let two = one.replica().await;
    let (_, secret) = serves_everything(&one, "before").await;
    // Made by the second replica: the first has not opened the key that signs API tokens when the server key changes.
    let before = if api_key_before {
        Some(api_token(&two, "before").await)
    } else {
        None
    };
    let seals_before = seals(&one.database);

    rewrap(&one.database, &first_key(), &other_key("B"));
    for seal in seals(&one.database) {
        assert!(!seals_before.contains(&seal), "a data key was left out");
    }
    assert_eq!(sealing(&one.database).len(), 1);

    serves_everything(&one, "after-by-old").await;
    let by_old = api_token(&one, "by old").await;
    let restarted = one.replica_with(&["--server-key", &other_key("B")]).await;
    let (_, by_new_secret) = serves_everything(&restarted, "after-by-new").await;
    let by_new = api_token(&restarted, "by new").await;
    for server in [&one, &two, &restarted] {
        logs_in(server, "before", &secret).await;
        logs_in(server, "after-by-new", &by_new_secret).await;
        for token in [Some(&by_old), Some(&by_new), before.as_ref()]
            .into_iter()
            .flatten()
        {
            let answer = server.bearer(token).get("/registries").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.json["items"].as_array().unwrap().len(), 3);
        }
    }
    drop((one, two));
    let last = restarted
        .replica_with(&["--server-key", &other_key("B")])
        .await;
    logs_in(&last, "before", &secret).await;
    assert_eq!(
        last.bearer(&by_old).get("/registries").await.status,
        200,
        "the key of API tokens opens under the new server key"
    );
}

#[rstest]
fn a_replica_with_the_old_key_does_not_start_and_says_why(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    let list = |key: &str| end(with_key(&database, key).args(["account", "list"]));
    begin(&database, &first_key());
    let old = sealing(&database);
    let told = rewrap(&database, &first_key(), &other_key("B"));
    let new = sealing(&database);
    assert!(told.contains(&old[0]) && told.contains(&new[0]), "{told}");

    let day = chrono::DateTime::from_timestamp_micros(
        database.number("SELECT at FROM audit_events WHERE kind = 'rotate'"),
    );
    let day = day.unwrap().format("%F %T UTC").to_string();
    let mut serve = with_key(&database, &first_key());
    let refused = end(&mut serve);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    for part in [
        "belongs to another server key",
        &old[0],
        &new[0],
        &day,
        "was replaced",
    ] {
        assert!(said(&refused).contains(part), "{part}: {}", said(&refused));
    }
    // The same once more: the output gives the way from the first key to the last.
    rewrap(&database, &other_key("B"), &other_key("C"));
    let last = sealing(&database);
    let refused = said(&list(&first_key()));
    assert!(
        refused.contains(&last[0]) && refused.contains(&new[0]),
        "{refused}"
    );
    // A key that never was one.
    let refused = said(&list(&other_key("Z")));
    assert!(refused.contains("belongs to another server key"));
    assert!(refused.contains(&last[0]) && !refused.contains("was replaced"));
    assert!(list(&other_key("C")).status.success());
    for key in [first_key(), other_key("B"), other_key("C")] {
        assert!(!refused.contains(&key) && !told.contains(&key));
    }
}

#[rstest]
fn the_change_is_in_the_audit_trail(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    begin(&database, &first_key());
    let old = sealing(&database).remove(0);
    rewrap(&database, &first_key(), &other_key("B"));
    let new = sealing(&database).remove(0);
    let events = database.lines(
        "SELECT subject_kind || ' ' || outcome || ' ' || detail AS line FROM audit_events WHERE kind = 'rotate'",
    );
    assert_eq!(events.len(), 1);
    let (head, detail) = events[0].split_at(events[0].find('{').unwrap());
    assert_eq!(head, "service success ");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(detail).unwrap(),
        json!({"credential": {"kind": "command"}, "before": {"serverKey": old}, "after": {"serverKey": new}})
    );
    let verified = end(with_key(&database, &other_key("B")).args(["audit", "verify"]));
    assert!(verified.status.success(), "{verified:?}");
}

/// Makes the change of the last data key fail, or lets it pass again.
fn break_last(database: &Database, broken: bool) {
    match (database.backend, broken) {
        (Backend::Sqlite, true) => database.execute(
            "CREATE TRIGGER broken BEFORE UPDATE ON data_keys WHEN NEW.key = (SELECT MAX(key) FROM data_keys) \
             BEGIN SELECT RAISE(ABORT, 'broken by a test'); END",
        ),
        (Backend::Postgres, true) => database.execute(
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.key = (SELECT MAX(key) FROM data_keys) THEN RAISE 'broken by a test'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER broken BEFORE UPDATE ON data_keys FOR EACH ROW EXECUTE FUNCTION broken()",
        ),
        (Backend::Sqlite, false) => database.execute("DROP TRIGGER broken"),
        (Backend::Postgres, false) => {
            database.execute("DROP TRIGGER broken ON data_keys; DROP FUNCTION broken()");
        }
    }
}

#[rstest]
fn an_interrupted_change_leaves_all_old_or_all_new(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    let list = |key: &str| end(with_key(&database, key).args(["account", "list"]));
    begin(&database, &first_key());
    // The key of API tokens, which the change would make.
    rewrap(&database, &first_key(), &other_key("B"));
    let before = seals(&database);
    break_last(&database, true);
    let failed = end(with_key(&database, &other_key("B"))
        .args(["keys", "rewrap"])
        .env("WHARFINGER_NEW_SERVER_KEY", other_key("C")));
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    break_last(&database, false);
    assert_eq!(seals(&database), before);
    assert!(list(&other_key("B")).status.success());

    // Killed at any moment.
    let (mut key, mut next) = (other_key("B"), other_key("C"));
    for milliseconds in [10, 20, 30, 40, 50, 60, 80, 100, 150] {
        let mut command = with_key(&database, &key);
        command
            .args(["keys", "rewrap"])
            .env("WHARFINGER_NEW_SERVER_KEY", &next);
        let after = format!("0.{milliseconds:03}");
        end(&mut Program::through(
            &["/usr/bin/timeout", "-s", "KILL", &after],
            &command,
        ));
        assert_eq!(sealing(&database).len(), 1, "after {milliseconds} ms");
        if !list(&key).status.success() {
            std::mem::swap(&mut key, &mut next);
            assert!(list(&key).status.success(), "no key opens it");
        }
    }
}

#[rstest]
fn of_two_changes_at_once_one_counts(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    begin(&database, &first_key());
    let both = ["B", "C"].map(|letter| {
        let mut command = with_key(&database, &first_key());
        command
            .args(["keys", "rewrap"])
            .env("WHARFINGER_NEW_SERVER_KEY", other_key(letter))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        (letter, command.spawn().unwrap())
    });
    let both = both.map(|(letter, child)| (letter, child.wait_with_output().unwrap()));
    let done: Vec<_> = both
        .iter()
        .filter(|(_, end)| end.status.success())
        .collect();
    assert_eq!(done.len(), 1, "{both:?}");
    for (_, other) in both.iter().filter(|(_, end)| !end.status.success()) {
        assert!(said(other).contains("another server key"), "{other:?}");
    }
    let list = end(with_key(&database, &other_key(done[0].0)).args(["account", "list"]));
    assert!(list.status.success(), "{list:?}");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_new_key_is_made_in_its_file_or_taken_from_it_and_nothing_is_replaced() {
    let database = Database::fresh(Backend::Sqlite);
    let data = database.folder();
    let command = |arguments: &[&str]| {
        let mut command = Program::command(&database);
        end(command.env_remove("WHARFINGER_SERVER_KEY").args(arguments))
    };
    for arguments in [
        &["migrate"][..],
        &["keys", "init"],
        &["account", "add", "first"],
    ] {
        assert!(command(arguments).status.success());
    }
    let (key, new) = (data.join("server-key"), data.join("server-key.new"));
    let old = std::fs::read(&key).unwrap();
    let path = new.to_str().unwrap();

    let made = command(&["keys", "rewrap", "--new-server-key-file", path]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(
        (mode(&new), std::fs::read(&new).unwrap().len()),
        (0o600, 45)
    );
    assert_eq!(std::fs::read(&key).unwrap(), old, "the old key stays");
    assert!(said(&command(&["account", "list"])).contains("was replaced on"));
    let with_new = ["account", "list", "--server-key-file", path];
    assert!(command(&with_new).status.success());

    // The key in the file is read; the key in use is refused as a new key.
    let again = command(&[
        "keys",
        "rewrap",
        "--server-key-file",
        path,
        "--new-server-key-file",
        path,
    ]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("the one that the database has already"));
    let back = command(&[
        "keys",
        "rewrap",
        "--server-key-file",
        path,
        "--new-server-key-file",
        key.to_str().unwrap(),
    ]);
    assert!(back.status.success(), "{back:?}");
    assert!(command(&["account", "list"]).status.success());

    std::fs::write(&new, "AAAA").unwrap();
    let wrong = said(&command(&["keys", "rewrap", "--new-server-key-file", path]));
    assert!(wrong.contains("not the base64 of 32 bytes"), "{wrong}");
    let none = command(&["keys", "rewrap"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}
