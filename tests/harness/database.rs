//! A fresh database for each test: a file in a folder of its own, or a schema of its own on the given server.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use tempfile::TempDir;

/// Which database a test runs on. The name of a test on PostgreSQL contains the word, for `--skip Postgres`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// An empty database, gone with its last user.
#[derive(Debug)]
pub struct Database {
    pub backend: Backend,
    /// The folder for server keys and, on SQLite, the database file.
    pub folder: TempDir,
    /// What `--database-url` gets.
    pub url: String,
    schema: Option<String>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

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

impl Database {
    pub fn fresh(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        match backend {
            Backend::Sqlite => {
                let url = format!("sqlite:{}", folder.path().join("wharfinger.db").display());
                Self {
                    backend,
                    folder,
                    url,
                    schema: None,
                }
            }
            Backend::Postgres => {
                let schema = format!(
                    "test_{}_{}",
                    std::process::id(),
                    NUMBER.fetch_add(1, Ordering::Relaxed)
                );
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
                    schema: Some(schema),
                }
            }
        }
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
                wharfinger::store::Session::Postgres(PgConnection::establish(&self.url).unwrap())
            }
        }
    }

    /// Runs statements behind the service's back.
    pub fn execute(&self, sql: &str) {
        use wharfinger::store::Session;
        match self.connect() {
            Session::Sqlite(mut connection) => connection.batch_execute(sql).unwrap(),
            Session::Postgres(mut connection) => connection.batch_execute(sql).unwrap(),
        }
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
        if let Some(schema) = &self.schema
            && let Ok(mut connection) = PgConnection::establish(&server_url())
        {
            let _ = connection.batch_execute(&format!("DROP SCHEMA {schema} CASCADE"));
        }
    }
}
