//! One connection to one of the two databases.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query,
};

use super::postgres_url::Url;
use crate::error::{Error, Field, Outage, Result};

/// Milliseconds that SQLite waits for another process's lock before it refuses.
const BUSY_TIMEOUT: u32 = 2_000;
/// Milliseconds after which PostgreSQL gives up a statement or a wait for a row's lock.
const STATEMENT_TIMEOUT: u32 = 10_000;

/// The database, by the URL's scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file of this machine.
    Sqlite(PathBuf),
    /// A server, by its URL.
    Postgres(Url),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "the SQLite file {}", path.display()),
            Self::Postgres(url) => write!(f, "{url:?}"),
        }
    }
}

impl Target {
    /// Reads a database URL: `postgres://…`, `postgresql://…`, `sqlite:PATH`, or a bare path.
    pub fn parse(text: &str) -> Result<Self> {
        if Url::is_meant(text) {
            return Url::parse(text).map(Self::Postgres);
        }
        let path = text
            .strip_prefix("sqlite://")
            .or_else(|| text.strip_prefix("sqlite:"))
            .unwrap_or(text);
        // `host=… password=…` is libpq's other way to name a database. As a bare path it would be a file of that name.
        let looks_like_settings = path == text && path.contains('=');
        if path.is_empty() || path.contains("://") || path.contains('\0') || looks_like_settings {
            return Err(Error::invalid(
                Field::Setting,
                "--database-url is neither postgres://…, sqlite:PATH nor a path",
            ));
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }

    /// Has the next connection begin with another server, if there are several.
    pub(super) fn skip_server(&self) {
        if let Self::Postgres(url) = self {
            url.skip();
        }
    }

    /// Returns true if this is a file, which only one machine can serve.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reading only; the database itself refuses writes. `cache` is the size of SQLite's page cache in KiB.
    Read { cache: usize },
    /// The writer.
    Write,
    /// The migrations, which alone may make a missing database file.
    Migrate,
    /// A dump, without a time limit.
    Dump,
}

/// A connection to either database. Only the store looks inside.
#[derive(diesel::MultiConnection)]
pub enum Session {
    /// To SQLite.
    Sqlite(SqliteConnection),
    /// To PostgreSQL.
    Postgres(PgConnection),
}

/// Runs a query on the connection inside a session, of either kind.
///
/// For a query on the session itself, Diesel writes the SQL out each time before it finds the cached statement; that
/// takes longer than most look-ups. The queries of most requests use this macro; their code is generated twice.
macro_rules! direct {
    ($session:expr, |$connection:ident| $run:expr) => {
        match $session {
            $crate::store::session::Session::Sqlite($connection) => $run,
            $crate::store::session::Session::Postgres($connection) => $run,
        }
    };
}
pub(super) use direct;

/// The place of the index of SQLite's write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    /// In the file `-shm`, by which processes share the database.
    Shared,
    /// In this process's memory: no other process can use the database meanwhile. A full disk has no room for the file,
    /// 32 KiB, which the last process that stopped has removed.
    Own,
}

impl Index {
    /// Returns `Own` if an existing database cannot be opened otherwise.
    pub(super) fn find(target: &Target) -> Self {
        let Target::Sqlite(path) = target else {
            return Self::Shared;
        };
        if path.metadata().is_ok_and(|file| file.len() > 0)
            && let Err(error) = Session::open(target, Purpose::Write)
            && ["disk I/O error", "database or disk is full"]
                .iter()
                .any(|known| error.to_string().contains(known))
            && Session::open_with(target, Purpose::Write, Self::Own).is_ok()
        {
            return Self::Own;
        }
        Self::Shared
    }
}

impl Session {
    /// Opens a connection and sets its session up.
    pub(super) fn open(target: &Target, purpose: Purpose) -> diesel::ConnectionResult<Self> {
        Self::open_with(target, purpose, Index::Shared)
    }

    /// [`Self::open`] with an index, which all connections of this process must share.
    ///
    /// The derive's own `establish` tries one database after the other and hides why the first one failed.
    pub(super) fn open_with(
        target: &Target,
        purpose: Purpose,
        index: Index,
    ) -> diesel::ConnectionResult<Self> {
        match target {
            Target::Sqlite(path) => {
                let name = sqlite_name(path, purpose, index);
                let mut connection = SqliteConnection::establish(&name)?;
                connection
                    .batch_execute(&sqlite_session(purpose))
                    .map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
                Ok(Self::Sqlite(connection))
            }
            Target::Postgres(url) => {
                let mut connection = url.connect(PgConnection::establish)?;
                connection
                    .batch_execute(&postgres_session(purpose))
                    .map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
                // Compiling a statement takes longer than running our longest one; the planner does so when it overrates
                // one. Engines that do not compile do not know this setting.
                let _ = connection.batch_execute("SET jit = off");
                Ok(Self::Postgres(connection))
            }
        }
    }

    /// Runs statements without results.
    pub(super) fn execute_batch(&mut self, sql: &str) -> diesel::QueryResult<()> {
        match self {
            Self::Sqlite(connection) => connection.batch_execute(sql),
            Self::Postgres(connection) => connection.batch_execute(sql),
        }
    }

    pub(super) fn has_table(&mut self, name: &str) -> Result<bool> {
        let sql = match self {
            Self::Sqlite(_) => {
                "SELECT COUNT(*) AS number FROM sqlite_master WHERE type = 'table' AND name = $1"
            }
            Self::Postgres(_) => {
                "SELECT COUNT(*) AS number FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_name = $1"
            }
        };
        let Count { number } = sql_query(sql).bind::<Text, _>(name).get_result(self)?;
        Ok(number > 0)
    }

    /// Runs reads that must see one state of the database, such as a page and its total.
    pub fn snapshot<T>(&mut self, reads: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let begin = match self {
            Self::Sqlite(_) => "BEGIN",
            Self::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        self.execute_batch(begin)?;
        let result = reads(self);
        // Nothing was written to lose, but an open transaction would spoil the connection for the next reader.
        match self.execute_batch("COMMIT") {
            Ok(()) => result,
            Err(error) => result.and(Err(Error::Unavailable {
                outage: Outage::Gone,
                source: Some(error.into()),
            })),
        }
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The path as a URI. By default SQLite makes any missing file: a service whose file was moved away would go on with an
/// empty database, and its new data would be lost as soon as the file is brought back.
fn sqlite_name(path: &Path, purpose: Purpose, index: Index) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    // Only with an empty authority can a path begin with two slashes.
    let mut name = String::from(if path.is_absolute() {
        "file://"
    } else {
        "file:"
    });
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    name.push_str(match purpose {
        Purpose::Migrate => "?mode=rwc",
        // Not `ro`, even for readers: the first to open a write-ahead log may have to recover it.
        Purpose::Read { .. } | Purpose::Write | Purpose::Dump => "?mode=rw",
    });
    if index == Index::Own {
        // https://www.sqlite.org/vfs.html, "The unix-excl VFS".
        name.push_str("&vfs=unix-excl");
    }
    name
}

fn sqlite_session(purpose: Purpose) -> String {
    // Page caches are this process's memory: negative sizes are KiB.
    let (cache, guard) = match purpose {
        Purpose::Read { cache } => (cache, "ON"),
        Purpose::Dump => (8 * 1024, "ON"),
        Purpose::Write | Purpose::Migrate => (16 * 1024, "OFF"),
    };
    // A savepoint's journal. By default SQLite writes it to a temporary file, page by page, for each job of a group
    // anew. It need not be durable, as it is worthless after the transaction.
    let temporary = match purpose {
        Purpose::Write => "MEMORY",
        // Building an index sorts all of a table.
        Purpose::Read { .. } | Purpose::Migrate | Purpose::Dump => "DEFAULT",
    };
    format!(
        "PRAGMA busy_timeout = {BUSY_TIMEOUT}; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA cache_size = -{cache}; PRAGMA journal_size_limit = 67108864; PRAGMA temp_store = {temporary}; \
         PRAGMA query_only = {guard};"
    )
}

fn postgres_session(purpose: Purpose) -> String {
    let limits = format!(
        "SET statement_timeout = {STATEMENT_TIMEOUT}; \
         SET idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT};"
    );
    let own = match purpose {
        Purpose::Read { .. } => format!("{limits} SET default_transaction_read_only = on;"),
        Purpose::Write => limits,
        // An index on a large table may take any time.
        Purpose::Migrate => String::new(),
        Purpose::Dump => "SET default_transaction_read_only = on;".to_owned(),
    };
    format!("SET lock_timeout = {STATEMENT_TIMEOUT}; SET client_min_messages = warning; {own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_choose_the_database() {
        assert_eq!(
            Target::parse("sqlite:a.db").unwrap(),
            Target::Sqlite("a.db".into())
        );
        assert_eq!(
            Target::parse("sqlite:///var/a.db").unwrap(),
            Target::Sqlite("/var/a.db".into())
        );
        assert_eq!(
            Target::parse("a.db").unwrap(),
            Target::Sqlite("a.db".into())
        );
        assert!(matches!(
            Target::parse("postgres://localhost/a").unwrap(),
            Target::Postgres(_)
        ));
        assert!(Target::parse("mysql://localhost/a").is_err());
        assert!(Target::parse("").is_err());
        assert!(Target::parse("host=db password=hunter22").is_err());
        assert!(Target::parse("sqlite:a=b.db").is_ok());
    }

    #[test]
    fn sqlite_paths_are_taken_literally() {
        assert_eq!(
            sqlite_name(Path::new("data/a b?c#d%.db"), Purpose::Write, Index::Shared),
            "file:data/a%20b%3Fc%23d%25.db?mode=rw"
        );
        assert_eq!(
            sqlite_name(Path::new("//var/ä.db"), Purpose::Migrate, Index::Shared),
            "file:////var/%C3%A4.db?mode=rwc"
        );
    }

    #[test]
    fn sqlite_is_compiled_as_the_configuration_says() {
        use diesel::{RunQueryDsl as _, select};
        #[diesel::declare_sql_function]
        extern "SQL" {
            fn sqlite_compileoption_used(
                option: diesel::sql_types::Text,
            ) -> diesel::sql_types::Integer;
        }
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let mut used = |option| {
            let used = select(sqlite_compileoption_used(option));
            used.get_result::<i32>(&mut connection).unwrap() == 1
        };
        // See .cargo/config.toml.
        for (option, wanted) in [
            ("ENABLE_QPSG", true),
            ("THREADSAFE=2", true),
            ("DEFAULT_MEMSTATUS=0", true),
            ("ENABLE_MEMORY_MANAGEMENT", false),
            ("ENABLE_API_ARMOR", false),
        ] {
            assert_eq!(used(option), wanted, "{option}");
        }
    }
}
