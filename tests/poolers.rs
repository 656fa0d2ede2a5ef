//! Poolers in front of PostgreSQL, as Debian has them: those that would break promises are refused at the start.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rstest::rstest;

use crate::harness::{Backend, Database, Patience};

/// A pooler in front of a database, ended when dropped.
struct Pooler {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// Starts one and waits until it accepts connections. `set_up` writes its settings into a folder, and makes its command.
    fn start(database: &Database, set_up: impl FnOnce(&Path, u16, u16) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut url = url::Url::parse(&database.url).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let mut command = set_up(folder.path(), port, url.port().unwrap());
        drop(free);
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = silent.stderr(Stdio::null()).spawn().unwrap();
        url.set_port(Some(port)).unwrap();
        let pooler = Self {
            child,
            url: url.into(),
            _folder: folder,
        };
        let patience = Patience::new();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            patience.spend("the pooler does not listen");
        }
        pooler
    }

    fn pgbouncer(database: &Database, mode: &str) -> Self {
        Self::start(database, |folder, port, server| {
            use std::os::unix::fs::PermissionsExt as _;
            let users = folder.join("users");
            let settings = folder.join("settings");
            std::fs::write(&users, "\"wharfinger\" \"\"\n").unwrap();
            let text = format!(
                "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n",
                users.display()
            );
            std::fs::write(&settings, text).unwrap();
            // It does not run as root.
            let all = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(folder, all).unwrap();
            let mut command = Command::new("/usr/sbin/pgbouncer");
            if rustix::process::geteuid().is_root() {
                command.args(["-u", "nobody"]);
            }
            command.arg(settings);
            command
        })
    }

    fn pgpool(database: &Database) -> Self {
        Self::start(database, |folder, port, server| {
            let (settings, here) = (folder.join("settings"), folder.display());
            let text = format!(
                "backend_clustering_mode = 'streaming_replication'\nlisten_addresses = '127.0.0.1'\nport = {port}\n\
                 unix_socket_directories = '{here}'\npcp_listen_addresses = ''\npcp_socket_dir = '{here}'\n\
                 backend_hostname0 = '127.0.0.1'\nbackend_port0 = {server}\nbackend_weight0 = 1\nenable_pool_hba = off\n\
                 pool_passwd = ''\nnum_init_children = 8\npid_file_name = '{here}/pid'\nlogdir = '{here}'\n\
                 work_dir = '{here}'\nload_balance_mode = on\nsr_check_period = 0\nhealth_check_period = 0\n"
            );
            std::fs::write(&settings, text).unwrap();
            let mut command = Command::new("/usr/sbin/pgpool");
            command.args(["-n", "-a", "/dev/null", "-f"]).arg(settings);
            command
        })
    }

    /// Runs a command of the program through it. Returns its success and its output.
    fn run(&self, database: &Database, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_wharfinger"))
            .env_clear()
            .env("WHARFINGER_DATA_DIR", database.folder())
            .env("WHARFINGER_DATABASE_URL", &self.url)
            .env("WHARFINGER_SERVER_KEY", "A".repeat(43) + "=")
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // pgpool ends its children at this signal.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &id]).status();
        let _ = self.child.wait();
    }
}

#[rstest]
#[case("transaction", Some("pool_mode = session"))]
#[case("statement", Some("pool_mode = session"))]
#[case("session", None)]
fn pgbouncer_has_to_keep_sessions(
    #[values(Backend::Postgres)] backend: Backend,
    #[case] mode: &str,
    #[case] advice: Option<&str>,
) {
    let database = Database::apart(backend);
    let pooler = Pooler::pgbouncer(&database, mode);
    check(&pooler, &database, advice);
}

#[rstest]
fn pgpool_is_refused(#[values(Backend::Postgres)] backend: Backend) {
    let database = Database::apart(backend);
    let pooler = Pooler::pgpool(&database);
    check(&pooler, &database, Some("name the database servers"));
}

/// Tables can be made through it, or it is refused with this advice.
fn check(pooler: &Pooler, database: &Database, advice: Option<&str>) {
    let (done, said) = pooler.run(database, &["migrate"]);
    assert_eq!(done, advice.is_none(), "{said}");
    assert!(
        said.contains(advice.unwrap_or("The database is current")),
        "{said}"
    );
}
