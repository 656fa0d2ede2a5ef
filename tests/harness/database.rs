//! A database for each test: a file in a folder of its own, or a schema or database of its own on the given server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once, OnceLock};

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, PgConnection, RunQueryDsl as _, sql_query};
use tempfile::TempDir;
use wharfinger::clock::{Clock, SystemClock};
use wharfinger::store::{Target, migrate};

use super::PATIENCE;

/// Which database a test runs on. The name of a test on PostgreSQL contains the word, for `--skip Postgres`.
///
/// Tests of how a request is read and how an answer is worded run on SQLite alone: another database would change
/// nothing in what they see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// A database, gone with its last user.
#[derive(Debug)]
pub struct Database {
    pub backend: Backend,
    /// The folder for server keys and, on SQLite, the database file.
    pub folder: TempDir,
    /// The value of `--database-url`.
    pub url: String,
    /// The PostgreSQL database to drop at the end.
    leftover: Option<String>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);
/// The file of a migrated SQLite database, and the name of a migrated PostgreSQL database.
static FILE: OnceLock<Vec<u8>> = OnceLock::new();
static TEMPLATE: OnceLock<String> = OnceLock::new();
static SWEPT: Once = Once::new();

#[derive(diesel::QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The start of the names of this process's schemas and databases. Processes of two containers can have one number, so the
/// name has the namespace of the number too.
fn name_of_process() -> String {
    format!("{}{}_", prefix(), std::process::id())
}

fn prefix() -> String {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits = namespace
        .to_string_lossy()
        .replace(|c: char| !c.is_ascii_digit(), "");
    format!("test_{digits}_")
}

/// Drops the schemas and databases of killed runs of this machine: those named after a process that has ended.
fn sweep() {
    let mut server = PgConnection::establish(&server_url()).unwrap();
    let prefix = prefix();
    for (kind, how, query) in [
        (
            "SCHEMA",
            "CASCADE",
            "SELECT nspname::text AS name FROM pg_namespace WHERE nspname ~ '^test_[0-9]+_[0-9]+_[0-9]+$'",
        ),
        (
            "DATABASE",
            "WITH (FORCE)",
            "SELECT datname::text AS name FROM pg_database WHERE datname ~ '^test_[0-9]+_[0-9]+_[0-9]+$'",
        ),
    ] {
        let names: Vec<Name> = sql_query(query).load(&mut server).unwrap();
        for Name { name } in names {
            let process = name
                .strip_prefix(&prefix)
                .and_then(|rest| rest.split('_').next());
            // An earlier container may have had a process with the number of this one, which has made none yet.
            let own = std::process::id().to_string();
            let ended = |process| process == own || !Path::new("/proc").join(process).exists();
            if process.is_some_and(ended) {
                // Another run may be faster.
                let drop = format!("DROP {kind} IF EXISTS {name} {how}");
                server.batch_execute(&drop).unwrap();
            }
        }
    }
}

fn server_url() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "where a test finds its server is no setting of the program"
    )]
    let url = std::env::var("TEST_DATABASE_URL");
    url.expect(
        "TEST_DATABASE_URL names no PostgreSQL server. `scripts/test integration` starts one and runs these tests; \
         or run `export TEST_DATABASE_URL=$(scripts/postgres start)` first, or leave them out with `-- --skip Postgres`",
    )
}

/// Runs statements on the PostgreSQL server, outside any test's database.
pub fn on_server(sql: &str) {
    PgConnection::establish(&server_url())
        .unwrap()
        .batch_execute(sql)
        .unwrap();
}

/// A name that no other test of this machine has.
fn unique_name() -> String {
    SWEPT.call_once(sweep);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{}{number}", name_of_process())
}

/// The URL of another database on the PostgreSQL server.
fn url_of(name: &str) -> String {
    let mut url = url::Url::parse(&server_url()).unwrap();
    url.set_path(name);
    url.into()
}

fn make_tables(url: &str) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    migrate(&Target::parse(url).unwrap(), &clock, "test").unwrap();
}

impl Database {
    /// One with the tables of this release: a copy, as making them takes longer than most tests do.
    pub fn migrated(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => {
                let bytes = FILE.get_or_init(|| {
                    let first = Self::fresh(backend);
                    make_tables(&first.url);
                    std::fs::read(first.file()).unwrap()
                });
                let database = Self::fresh(backend);
                std::fs::write(database.file(), bytes).unwrap();
                let owner_alone = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(database.file(), owner_alone).unwrap();
                database
            }
            Backend::Postgres => {
                let template = TEMPLATE.get_or_init(|| {
                    let name = unique_name();
                    on_server(&format!("CREATE DATABASE {name}"));
                    make_tables(&url_of(&name));
                    name
                });
                Self::named(&format!("TEMPLATE {template}"))
            }
        }
    }

    /// One without tables.
    pub fn fresh(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        match backend {
            Backend::Sqlite => {
                let url = format!("sqlite:{}", folder.path().join("wharfinger.db").display());
                Self {
                    backend,
                    folder,
                    url,
                    leftover: None,
                }
            }
            Backend::Postgres => {
                let schema = unique_name();
                let server = server_url();
                PgConnection::establish(&server)
                    .unwrap()
                    .batch_execute(&format!("CREATE SCHEMA {schema}"))
                    .unwrap();
                let separator = if server.contains('?') { '&' } else { '?' };
                let url = format!("{server}{separator}options=-csearch_path%3D{schema}");
                Self {
                    backend,
                    folder,
                    url,
                    leftover: Some(format!("SCHEMA {schema} CASCADE")),
                }
            }
        }
    }

    /// One without tables that is a database of its own even on PostgreSQL, for tests that get in everybody's way there.
    pub fn apart(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::fresh(backend),
            Backend::Postgres => Self::named(""),
        }
    }

    /// A database of its own on PostgreSQL.
    fn named(options: &str) -> Self {
        let name = unique_name();
        on_server(&format!("CREATE DATABASE {name} {options}"));
        Self {
            backend: Backend::Postgres,
            folder: tempfile::tempdir().unwrap(),
            url: url_of(&name),
            leftover: Some(format!("DATABASE {name} WITH (FORCE)")),
        }
    }

    /// One on a PostgreSQL server of the test's making, which is gone with that.
    pub fn at(backend: Backend, url: String) -> Self {
        Self {
            backend,
            folder: tempfile::tempdir().unwrap(),
            url,
            leftover: None,
        }
    }

    /// The name of a database of its own on PostgreSQL.
    pub fn name(&self) -> String {
        let url = url::Url::parse(&self.url).unwrap();
        url.path().trim_start_matches('/').to_owned()
    }

    /// The database file of SQLite.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("wharfinger.db")
    }

    /// The folder for the server key.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection for looking behind the service's back, or for getting in its way.
    pub fn connect(&self) -> wharfinger::store::Session {
        use diesel::SqliteConnection;
        match self.backend {
            Backend::Sqlite => {
                let mut connection =
                    SqliteConnection::establish(self.file().to_str().unwrap()).unwrap();
                connection
                    .batch_execute("PRAGMA busy_timeout = 5000")
                    .unwrap();
                wharfinger::store::Session::Sqlite(connection)
            }
            Backend::Postgres => {
                let mut connection = PgConnection::establish(&self.url).unwrap();
                connection
                    .batch_execute(&format!("SET statement_timeout = {}", PATIENCE.as_millis()))
                    .unwrap();
                wharfinger::store::Session::Postgres(connection)
            }
        }
    }

    /// Runs statements behind the service's back.
    pub fn execute(&self, sql: &str) {
        use wharfinger::store::Session;
        match self.connect() {
            Session::Sqlite(mut connection) => connection.batch_execute(sql).unwrap(),
            Session::Postgres(mut connection) => {
                // A change of many rows takes as long as the machine needs.
                let unbounded = connection.batch_execute("SET statement_timeout = 0");
                unbounded
                    .and_then(|()| connection.batch_execute(sql))
                    .unwrap();
            }
        }
    }

    /// The rows of a query for one text, asked behind the service's back.
    pub fn lines(&self, sql: &str) -> Vec<String> {
        use diesel::sql_types::Text;
        use diesel::{QueryableByName, RunQueryDsl, sql_query};
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            line: String,
        }
        sql_query(format!("SELECT line FROM ({sql}) AS lines"))
            .load::<Row>(&mut self.connect())
            .unwrap()
            .into_iter()
            .map(|row| row.line)
            .collect()
    }

    /// Fails unless every registry's maintained total equals its rows.
    pub fn check_totals(&self) {
        let wrong = self.lines(
            "SELECT CAST(r.key AS TEXT) AS line FROM registries AS r \
             WHERE (SELECT COALESCE(SUM(live), 0) FROM token_counts WHERE registry_key = r.key) \
                <> (SELECT COUNT(*) FROM tokens WHERE registry_key = r.key) \
             UNION ALL SELECT CAST(c.registry_key AS TEXT) AS line FROM token_counts AS c \
             WHERE c.live <> (SELECT COUNT(*) FROM tokens AS t \
                WHERE t.registry_key = c.registry_key AND t.position / 4096 = c.bucket)",
        );
        assert!(wrong.is_empty(), "totals are wrong in registries {wrong:?}");
    }

    /// The one number that a query answers, asked behind the service's back.
    pub fn number(&self, sql: &str) -> i64 {
        use diesel::sql_types::BigInt;
        use diesel::{QueryableByName, RunQueryDsl, sql_query};
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            number: i64,
        }
        sql_query(format!("SELECT CAST(({sql}) AS BIGINT) AS number"))
            .get_result::<Row>(&mut self.connect())
            .unwrap()
            .number
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(leftover) = &self.leftover
            && let Ok(mut connection) = PgConnection::establish(&server_url())
        {
            let _ = connection.batch_execute(&format!("DROP {leftover}"));
        }
    }
}
