//! The tables: the same on both databases, the same as the program knows them, made once however many start.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use diesel_migrations::{FileBasedMigrations, MigrationHarness as _};
use rstest::rstest;
use wharfinger::clock::{Clock, SystemClock};
use wharfinger::store::{self, Session, Target};

use crate::harness::{Actor, Backend, Database, Program};

fn migrate(database: &Database) -> usize {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    store::migrate(&Target::parse(&database.url).unwrap(), &clock, "test").unwrap()
}

fn migrated(backend: Backend) -> Database {
    let database = Database::fresh(backend);
    migrate(&database);
    database
}

/// The migrations' own tables are none of the schema.
const OWN: &str = "('leases', '__diesel_schema_migrations')";

/// A line per column: `tokens.name TEXT NOT NULL`, with the types that both databases share.
fn columns(database: &Database) -> BTreeSet<String> {
    let sql = match database.backend {
        Backend::Sqlite => format!(
            "SELECT t.name || '.' || c.name || ' ' || CASE c.type WHEN 'INTEGER' THEN 'BIGINT' ELSE c.type END \
             || CASE c.\"notnull\" WHEN 1 THEN ' NOT NULL' ELSE '' END AS line \
             FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c \
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT IN {OWN}"
        ),
        Backend::Postgres => format!(
            "SELECT table_name || '.' || column_name || ' ' \
             || CASE data_type WHEN 'bytea' THEN 'BLOB' ELSE upper(data_type) END \
             || CASE is_nullable WHEN 'NO' THEN ' NOT NULL' ELSE '' END AS line \
             FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name NOT IN {OWN}"
        ),
    };
    database.lines(&sql).into_iter().collect()
}

/// A line per index: `registries (name) unique where deleted_at is null`; primary keys too.
fn indexes(database: &Database) -> BTreeSet<String> {
    let sql = match database.backend {
        Backend::Sqlite => format!(
            "SELECT t.name || ' (' || (SELECT group_concat(name, ',') FROM (SELECT i.name FROM pragma_index_info(x.name) AS i ORDER BY i.seqno)) || ')' \
             || CASE WHEN x.origin = 'pk' THEN ' primary' WHEN x.\"unique\" THEN ' unique' ELSE '' END \
             || COALESCE((SELECT substr(m.sql, instr(m.sql, ' WHERE ')) FROM sqlite_master AS m \
                 WHERE m.type = 'index' AND m.name = x.name AND x.partial), '') AS line \
             FROM sqlite_master AS t JOIN pragma_index_list(t.name) AS x \
             WHERE t.type = 'table' AND t.name NOT IN {OWN} \
             UNION ALL \
             SELECT t.name || ' (' || c.name || ') primary' FROM sqlite_master AS t \
             JOIN pragma_table_info(t.name) AS c \
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND c.type = 'INTEGER' AND c.pk = 1 AND t.name NOT IN {OWN}"
        ),
        Backend::Postgres => format!(
            "SELECT t.relname || ' (' || (SELECT string_agg(a.attname, ',' ORDER BY k.place) \
                 FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place) \
                 JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.number) || ')' \
             || CASE WHEN x.indisprimary THEN ' primary' WHEN x.indisunique THEN ' unique' ELSE '' END \
             || COALESCE(' WHERE ' || pg_get_expr(x.indpred, t.oid), '') AS line \
             FROM pg_index AS x JOIN pg_class AS t ON t.oid = x.indrelid \
             WHERE t.relnamespace = current_schema()::regnamespace AND t.relname NOT IN {OWN}"
        ),
    };
    // PostgreSQL puts a condition in parentheses.
    let plain = |line: String| match line.split_once(" WHERE ") {
        Some((index, condition)) => {
            // PostgreSQL says of every text that it is one.
            let condition = condition.replace("::text", "");
            format!("{index} WHERE {}", condition.trim_matches(['(', ')']))
        }
        None => line,
    };
    database.lines(&sql).into_iter().map(plain).collect()
}

/// Every row of every table, as text.
fn dump(database: &Database) -> BTreeSet<String> {
    let tables: BTreeSet<_> = columns(database)
        .iter()
        .map(|line| line.split('.').next().unwrap().to_owned())
        .chain(["leases".to_owned()])
        .collect();
    tables
        .iter()
        .flat_map(|table| {
            let row = match database.backend {
                Backend::Postgres => format!("CAST({table} AS TEXT)"),
                Backend::Sqlite => database
                    .lines(&format!(
                        "SELECT 'quote(' || name || ')' AS line FROM pragma_table_info('{table}')"
                    ))
                    .join(" || ',' || "),
            };
            database.lines(&format!("SELECT '{table}: ' || {row} AS line FROM {table}"))
        })
        .collect()
}

#[test]
fn both_sides_have_the_same_migrations() {
    let names = |side: &str| -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("migrations")
            .join(side);
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                for file in ["up.sql", "down.sql"] {
                    assert!(entry.path().join(file).is_file(), "{entry:?} has no {file}");
                }
                entry.file_name().into_string().unwrap()
            })
            .collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
    assert!(names("sqlite").len() >= 4);
}

#[rstest]
fn both_databases_get_the_same_tables(#[values(Backend::Postgres)] other: Backend) {
    let (sqlite, postgres) = (migrated(Backend::Sqlite), migrated(other));
    assert_eq!(columns(&sqlite), columns(&postgres));
    assert_eq!(indexes(&sqlite), indexes(&postgres));
    // The queries above find columns and indexes.
    assert!(columns(&sqlite).contains("registries.deleted_at BIGINT"));
    assert!(columns(&sqlite).contains("tokens.secret_digest BLOB NOT NULL"));
    for index in [
        "registries (name) unique WHERE deleted_at IS NULL",
        "tokens (key) primary",
        "tokens (registry_key,position) unique",
        "token_counts (registry_key,bucket) primary",
        "tokens (registry_key,expires_at,key)",
        "token_uses (registry_key,seen_at,token_key)",
        "tokens (registry_key,created_at,key,first_used_at) WHERE first_used_at IS NULL",
        "registry_members (registry_key,account_key) primary",
        "registry_members (account_key)",
        "registries (created_by) WHERE deleted_at IS NULL",
        "api_tokens (revoked_at,expires_at)",
    ] {
        assert!(
            indexes(&sqlite).contains(index),
            "{index}: {:#?}",
            indexes(&sqlite)
        );
    }
}

/// The columns and primary keys of `src/store/schema.rs`, as the lines of [`columns`] and [`indexes`].
fn known() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut columns, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut table = "";
    for line in include_str!("../src/store/schema.rs")
        .lines()
        .map(str::trim)
    {
        if let Some((name, key)) = line
            .strip_suffix(") {")
            .and_then(|line| line.split_once(" ("))
        {
            table = name;
            keys.insert(format!("{name} ({}) primary", key.replace(", ", ",")));
        } else if let Some((column, kind)) = line
            .strip_suffix(',')
            .and_then(|line| line.split_once(" -> "))
        {
            let bare = kind.trim_start_matches("Nullable<").trim_end_matches('>');
            let null = if bare == kind { " NOT NULL" } else { "" };
            let kind = match bare {
                "BigInt" => "BIGINT",
                "Text" => "TEXT",
                "Binary" => "BLOB",
                other => panic!("{other} is no type that both databases share"),
            };
            columns.insert(format!("{table}.{column} {kind}{null}"));
        }
    }
    (columns, keys)
}

#[rstest]
fn the_program_knows_the_tables_as_they_are(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = migrated(backend);
    let (columns_known, keys_known) = known();
    assert_eq!(columns(&database), columns_known);
    let keys: BTreeSet<_> = indexes(&database)
        .into_iter()
        .filter(|line| line.ends_with(" primary"))
        .collect();
    assert_eq!(keys, keys_known);
}

#[rstest]
fn what_goes_up_comes_down_and_goes_up_again(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Database::fresh(backend);
    assert!(migrate(&database) >= 4);
    let rows_before = dump(&database);
    assert_eq!(migrate(&database), 0, "a second run has nothing to do");

    let folder = match backend {
        Backend::Sqlite => "migrations/sqlite",
        Backend::Postgres => "migrations/postgres",
    };
    let migrations =
        FileBasedMigrations::from_path(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let mut connection = database.connect();
    // One step at a time: the fall of a table would hide that a later step left a column or an index.
    let mut states = vec![(columns(&database), indexes(&database))];
    while states
        .last()
        .is_some_and(|(columns, _)| !columns.is_empty())
    {
        match &mut connection {
            Session::Sqlite(sqlite) => sqlite.revert_last_migration(migrations.clone()).map(drop),
            Session::Postgres(postgres) => {
                postgres.revert_last_migration(migrations.clone()).map(drop)
            }
        }
        .unwrap();
        states.push((columns(&database), indexes(&database)));
    }
    assert_eq!(states.pop(), Some((BTreeSet::new(), BTreeSet::new())));
    while let Some(state) = states.pop() {
        let step = match &mut connection {
            Session::Sqlite(sqlite) => sqlite.run_next_migration(migrations.clone()),
            Session::Postgres(postgres) => postgres.run_next_migration(migrations.clone()),
        }
        .unwrap();
        assert_eq!((columns(&database), indexes(&database)), state, "{step}");
    }
    assert_eq!(dump(&database), rows_before, "built-in rows differ");
}

/// Several programs start at once on an empty database; each must come to serve. Returns them, each with its folder.
fn start_at_once(database: &Arc<Database>) -> Vec<(Program, tempfile::TempDir)> {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let database = Arc::clone(database);
            std::thread::spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                let mut command = Program::command(&database);
                // The password is made, as at any first start; on SQLite the key too.
                command.env_remove("WHARFINGER_ADMIN_PASSWORD");
                match database.backend {
                    Backend::Sqlite => drop(command.env_remove("WHARFINGER_SERVER_KEY")),
                    // Replicas share no folder; the later argument would be a second one, so it goes by variable.
                    Backend::Postgres => {
                        command = in_folder(&command, folder.path());
                    }
                }
                (Program::spawn(&database, command), folder)
            })
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

/// The same command with another data folder.
fn in_folder(command: &std::process::Command, folder: &Path) -> std::process::Command {
    let mut moved = std::process::Command::new(command.get_program());
    moved.env_clear();
    let mut is_folder = false;
    for argument in command.get_args() {
        moved.arg(if is_folder {
            folder.as_os_str()
        } else {
            argument
        });
        is_folder = argument == "--data-dir";
    }
    moved.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    moved
}

#[rstest]
#[actix_web::test]
async fn several_start_at_once_and_a_later_start_changes_nothing(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let database = Arc::new(Database::fresh(backend));
    let programs = start_at_once(&database);
    assert_eq!(database.number("SELECT COUNT(*) FROM accounts"), 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM data_keys"), 4);
    assert_eq!(
        database.number("SELECT COUNT(DISTINCT purpose) FROM data_keys"),
        4
    );

    // One password was made that counts, it is in one file, and it opens every replica.
    let mut folders = vec![database.folder()];
    folders.extend(programs.iter().map(|(_, folder)| folder.path()));
    let written: Vec<_> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("admin-password"))
        .collect();
    assert_eq!(written.len(), 1, "{written:?}");
    let password = std::fs::read_to_string(&written[0]).unwrap();
    for (program, _) in &programs {
        let admin = Actor::of(&program.base, "admin", password.trim_end());
        assert_eq!(admin.get("/registries").await.status, 200);
    }
    let drafts = std::fs::read_dir(database.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("server-key."))
        .count();
    assert_eq!(drafts, 0);

    let mut before = dump(&database);
    drop(programs);
    let mut command = Program::command(&database);
    command.env_remove("WHARFINGER_ADMIN_PASSWORD");
    if backend == Backend::Sqlite {
        command.env_remove("WHARFINGER_SERVER_KEY");
    }
    let again = Program::spawn(&database, command);
    let admin = Actor::of(&again.base, "admin", password.trim_end());
    assert_eq!(admin.get("/registries").await.status, 200);
    // The janitor's first look at the clock may have come later, and each process has heartbeats.
    let mut after = dump(&database);
    for rows in [&mut before, &mut after] {
        rows.retain(|row| !row.starts_with("janitor_clock: ") && !row.starts_with("heartbeats: "));
    }
    assert_eq!(after, before, "a later start changed something");
}

/// A database of a release that kept no looks at the clock has its events.
#[rstest]
fn the_janitor_remembers_the_last_event_of_an_older_release(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(&[], &[300, 100])] events: &[i64],
) {
    let database = migrated(backend);
    let folder = match backend {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgres",
    };
    let migration = format!("migrations/{folder}/2026-11-29-000500_watch_the_clock/down.sql");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(migration);
    database.execute(&std::fs::read_to_string(path).unwrap());
    database.execute("DELETE FROM __diesel_schema_migrations WHERE version = '20261129000500'");
    for (sequence, at) in events.iter().enumerate() {
        database.execute(&format!(
            "INSERT INTO audit_events (chain, sequence, at, kind, outcome, subject_kind, request_id, detail, mac) \
             VALUES (1, {sequence}, {at}, 'create', 'success', 'token', '', '{{}}', 'mac')"
        ));
    }
    assert_eq!(migrate(&database), 1);
    let kept = database.lines(
        "SELECT CAST(key AS TEXT) || ' ' || CAST(believed_at AS TEXT) AS line FROM janitor_clock",
    );
    let expected: &[&str] = if events.is_empty() { &[] } else { &["1 300"] };
    assert_eq!(kept, expected);
}
