//! Puts the program together: settings to store, service and server.
//!
//! This is the only module that knows all others. It makes things at the first start only: later starts change nothing.

mod files;
mod made;
mod opening;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::web::Data;
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

pub use self::files::sync_folder;
use self::files::{unwritable, write_draft};
use self::opening::unopened;
use crate::clock::{Clock, Random};
use crate::config::{LeakedTokens, LossPolicy, Settings, read_secret};
use crate::domain::account::NewPassword;
use crate::domain::caps::Caps;
use crate::domain::life::Lives;
use crate::domain::network::OutgoingNetworks;
use crate::error::{Error, Field, Result, Violation};
use crate::http::{self, Bodies, Bounds, Budget, Memory, Origins, Seats};
use crate::metrics::Registry;
use crate::outgoing::{Outgoing, certificates};
use crate::server;
use crate::service::account_commands::FIRST;
use crate::service::data_keys;
use crate::service::data_keys::ServerKey;
use crate::service::throttle::Limits;
use crate::service::{OnLoss, Policy, Service};
use crate::store::{self, Store, Target, dump, leases};
use crate::tasks::Tasks;
use crate::tls::Identity;

/// A running server.
pub struct App {
    /// The listening server, which runs when it is awaited.
    pub server: Server,
    /// The addresses that it listens on.
    pub addresses: Vec<SocketAddr>,
    /// The use cases behind it.
    pub service: Service,
    /// The origin of the first account's password, at a first start.
    pub first_password: Option<FirstPassword>,
    /// The work in the background.
    pub tasks: Tasks,
}

/// The origin of the password of the account `admin`.
#[derive(Debug)]
pub enum FirstPassword {
    /// The operator gave it.
    Given,
    /// It was generated, and has to be shown now.
    Show(SecretString),
    /// It was generated and written to a file. There may be several machines, so it names this one.
    InFile {
        /// The file.
        path: PathBuf,
        /// The process that generated it, and its machine.
        machine: Option<String>,
    },
    /// Another replica generated it. The text names the replica and the place of the password.
    Elsewhere(String),
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Starts everything. Has to be called in an actix system.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the setting at fault.
    pub async fn start(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self> {
        settings.check_listen()?;
        let holder = leases::holder(&*random)?;
        let identity = match (&settings.tls_cert, &settings.tls_key) {
            (Some(certificate), Some(key)) => Some(Arc::new(Identity::load(certificate, key)?)),
            _ => None,
        };
        let service = open_service_as(settings, &holder, &clock, &random, Makes::All).await?;
        made::remember(settings)?;
        if let Some(restored) = service.freeze().heed().await? {
            tracing::warn!(
                backup = %restored.made_at,
                "the database was restored from a backup, or lost changes, and is frozen; run `wharfinger restore status`, then \
                 `wharfinger restore confirm`"
            );
        }
        let random_ids = Arc::clone(&random);
        let (server, addresses) = listen(settings, &service, random_ids, identity.as_ref())?;
        // This is the last step before the first answer: if an earlier one fails, for example because the port is in
        // use, no password was made and lost.
        let first_password = make_first_account(settings, &service, &*random, &holder).await?;
        // A database that has only keys accepts a restore until it has an account. After a restore, the keys that were
        // opened above are not those of the database.
        if !service.is_frozen() && service.freeze().heed().await?.is_some() {
            return Err(Error::invalid(
                Field::Setting,
                "--database-url: a backup was restored into this database during this start; start again",
            ));
        }
        service.begin_serving()?;
        let certificate = match identity {
            Some(identity) => {
                let hangups = signal(SignalKind::hangup()).map_err(Error::internal)?;
                Some((identity, hangups))
            }
            None => None,
        };
        let counts = settings.metrics_listen.is_some() || service.has_monitor();
        let tasks = Tasks::start(service.clone(), holder, certificate, counts);
        Ok(Self {
            server,
            addresses,
            service,
            first_password,
            tasks,
        })
    }

    /// Serves until its handle stops it, finishes running requests, and drains the writer.
    pub async fn run(self) -> Result<()> {
        let served = self.server.await;
        self.tasks.stop().await;
        self.service.close();
        served.map_err(Error::internal)
    }
}

/// The things that a start or a command may make if they are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Makes {
    /// The data folder, the database, the server key and the data keys. For a server.
    All,
    /// The data keys of a database that has tables and no data yet. For commands that may run before the first start.
    DataKeys,
    /// Nothing. For commands that need existing data.
    Nothing,
}

/// Opens the database and its keys, for a command that works beside a server.
///
/// # Errors
///
/// [`Error::Invalid`] if there is no database, or it has no data, and `makes` does not allow to make it.
pub async fn open_service(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    makes: Makes,
) -> Result<Service> {
    let holder = leases::holder(&*random)?;
    open_service_as(settings, &holder, &clock, &random, makes).await
}

async fn open_service_as(
    settings: &Settings,
    holder: &str,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    makes: Makes,
) -> Result<Service> {
    let target = settings.target()?;
    if makes != Makes::All {
        require_database(settings)?;
    }
    // Before the database, so that a start without its key leaves nothing behind.
    let given_key = given_server_key(settings).map_err(|error| naming(&target, error))?;
    let (policy, outgoing) = (policy(settings)?, outgoing(settings)?);
    if makes == Makes::All {
        make_data_folder(settings)?;
    }
    let store = open_store(settings, clock, holder)?;
    if makes == Makes::Nothing && !data_keys::is_claimed(&store).await? {
        return Err(Error::invalid(
            Field::Setting,
            format!(
                "--database-url: {target} has tables and no data; run `wharfinger serve` or `wharfinger account add`, \
                 which make the first account"
            ),
        ));
    }
    let server_key = match given_key {
        Some(key) => key,
        None => make_server_key(settings, &store, &**random, makes)
            .await
            .map_err(|error| naming(&target, error))?,
    };
    Service::start(
        store,
        Arc::clone(clock),
        Arc::clone(random),
        &server_key,
        policy,
        outgoing,
    )
    .await
    .map_err(|error| naming(&target, error))
}

/// Adds the database to the error: with a wrong key, the database may be the wrong one.
#[must_use]
pub fn naming(target: &Target, error: Error) -> Error {
    let Error::Invalid(violations) = error else {
        return error;
    };
    let named = |Violation { field, message }| {
        Violation::new(field, format!("--database-url: {target}: {message}"))
    };
    Error::Invalid(violations.into_iter().map(named).collect())
}

/// Refuses if there is no database of this service. Makes nothing.
///
/// # Errors
///
/// [`Error::Invalid`] says how to make one.
pub fn require_database(settings: &Settings) -> Result<()> {
    let target = settings.target()?;
    if dump::is_there(&target).map_err(|error| unopened(&target, error))? {
        return Ok(());
    }
    Err(Error::invalid(
        Field::Setting,
        format!(
            "there is no database in {target}; --data-dir and --database-url say where it is. `wharfinger serve` makes one \
             at its first start, `wharfinger migrate` an empty one, and `wharfinger restore` one from a backup"
        ),
    ))
}

fn outgoing(settings: &Settings) -> Result<Outgoing> {
    let networks = OutgoingNetworks::new(settings.outgoing_networks.clone());
    let Some(file) = &settings.ca_file else {
        return Ok(Outgoing::new(networks, Vec::new()));
    };
    let read = std::fs::read(file).map_err(|error| error.to_string());
    let authorities = read.and_then(|pem| certificates(&pem)).map_err(|error| {
        let file = file.display();
        Error::invalid(Field::Setting, format!("--ca-file: {file}: {error}"))
    })?;
    Ok(Outgoing::new(networks, authorities))
}

fn policy(settings: &Settings) -> Result<Policy> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let lives = Lives {
        default: settings.default_token_life,
        maximum: settings.maximum_token_life,
    };
    if let (Some(default), Some(maximum)) = (lives.default, lives.maximum)
        && default > maximum
    {
        return Err(Error::invalid(
            Field::Setting,
            format!(
                "--default-token-life {default} is longer than --maximum-token-life {maximum}; make it as long or shorter"
            ),
        ));
    }
    Ok(Policy {
        registry_domain: settings.registry_domain.clone(),
        locations: settings.locations.clone(),
        bcrypt_cost: settings.bcrypt_cost,
        password_threads: settings
            .password_threads
            .map_or((cores / 2).max(1), usize::from),
        lives,
        expired_token_retention: settings.expired_token_retention.into(),
        jwt_issuer: settings.jwt_issuer.clone(),
        jwt_life: settings.jwt_life,
        refresh_tokens: settings.refresh_tokens,
        jwt_algorithm: settings.jwt_algorithm,
        key_rotation: settings.key_rotation,
        api_token_retention: settings.api_token_retention,
        notice_window: settings.notice_window,
        notice_repeat: settings.notice_repeat,
        bounded_delegation: settings.bounded_delegation,
        app_token_life: settings.app_token_life,
        app_token_retention: settings.app_token_retention.into(),
        app_token_reveal: settings.app_token_reveal,
        audit_retention: settings.audit_retention.into(),
        fresh_login: settings.fresh_login,
        changes_per_hour: settings.changes_per_hour,
        failures: Limits {
            source: settings.failures_per_source,
            identity: settings.failures_per_identity,
        },
        caps: Caps {
            registries: settings.maximum_registries.into(),
            tokens: settings.maximum_tokens.into(),
            members: settings.maximum_members.into(),
            trusts: settings.maximum_trusts.into(),
            app_tokens: settings.maximum_app_tokens.into(),
            api_tokens: settings.maximum_api_tokens.into(),
        },
        secret_scanner: settings.given_secret_scanning_token()?,
        monitor: settings.given_metrics_token()?,
        end_leaked_tokens: settings.leaked_tokens == LeakedTokens::Disable,
        on_loss: match settings.on_loss {
            LossPolicy::Continue => OnLoss::Continue,
            LossPolicy::Freeze => OnLoss::Freeze,
        },
    })
}

/// Opens the database and migrates it.
///
/// # Errors
///
/// [`Error::Invalid`] if it cannot be opened, or if it existed before and is gone.
pub fn open_store(settings: &Settings, clock: &Arc<dyn Clock>, holder: &str) -> Result<Store> {
    made::require(settings)?;
    let target = settings.target()?;
    store::migrate(&target, clock, holder).map_err(|error| unopened(&target, error))?;
    let readers = settings.reader_threads(&target);
    let queue = usize::try_from(settings.queue).map_err(Error::internal)?;
    Store::open(&store::Settings {
        target,
        readers,
        queue,
        read_fence: settings.read_fence.into(),
    })
}

/// Makes the data folder if it is missing, with access for this user only.
pub fn make_data_folder(settings: &Settings) -> Result<()> {
    let folder = &settings.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| {
            Error::invalid(
                Field::Setting,
                format!(
                    "--data-dir: the folder {} cannot be made: {error}",
                    folder.display()
                ),
            )
        })
}

/// The server key of the settings or of its file. `None` if it is missing and may be made: only on SQLite, as all
/// replicas on PostgreSQL need the same key.
fn given_server_key(settings: &Settings) -> Result<Option<ServerKey>> {
    if let Some(text) = &settings.server_key {
        return ServerKey::parse(text).map(Some);
    }
    let path = settings.server_key_path();
    if path.exists() {
        return ServerKey::parse(&read_secret("--server-key-file", &path)?).map(Some);
    }
    if settings.target()?.is_sqlite() {
        return Ok(None);
    }
    Err(missing_server_key(
        &path,
        "on PostgreSQL all replicas need the same one; `wharfinger keys init` makes it",
    ))
}

/// The existing server key of the settings, for commands that make no sense without it.
pub fn server_key(settings: &Settings) -> Result<ServerKey> {
    given_server_key(settings)?.ok_or_else(|| {
        missing_server_key(
            &settings.server_key_path(),
            "a backup is sealed by the server key of its database; give that key",
        )
    })
}

fn missing_server_key(path: &Path, advice: &str) -> Error {
    Error::invalid(
        Field::Setting,
        format!("there is no server key at {}: {advice}", path.display()),
    )
}

/// Makes the server key for a database that has none yet.
async fn make_server_key(
    settings: &Settings,
    store: &Store,
    random: &dyn Random,
    makes: Makes,
) -> Result<ServerKey> {
    let path = settings.server_key_path();
    // Look for the file again: another process that starts at the same moment makes it before it claims the database.
    if data_keys::is_claimed(store).await? && !path.exists() {
        return Err(missing_server_key(
            &path,
            "the database was made with a server key; put that key back, as no other opens the database",
        ));
    }
    if makes != Makes::All {
        return Err(missing_server_key(&path, "`wharfinger keys init` makes it"));
    }
    match init_server_key(settings, random) {
        // That process was faster.
        Err(_) if path.exists() => ServerKey::parse(&read_secret("--server-key-file", &path)?),
        made => made,
    }
}

/// Makes a server key in its file. Fails if the file exists.
pub fn init_server_key(settings: &Settings, random: &dyn Random) -> Result<ServerKey> {
    make_data_folder(settings)?;
    let path = settings.server_key_path();
    if path.exists() {
        return Err(Error::invalid(
            Field::Setting,
            format!(
                "{} already holds a server key, which was kept, as no other opens what it sealed",
                path.display()
            ),
        ));
    }
    make_key_file(&path, random)
}

fn make_key_file(path: &Path, random: &dyn Random) -> Result<ServerKey> {
    let key = ServerKey::generate(random)?;
    let draft = write_draft(path, &key.encode(), random)?;
    // Unlike a rename, a link never replaces an existing key.
    let linked = std::fs::hard_link(&draft, path);
    let _ = std::fs::remove_file(&draft);
    linked.map_err(|error| unwritable(path, &error))?;
    sync_folder(path)?;
    Ok(key)
}

/// Reads the next server key from its file, or makes the file if it is missing. The key is durable before anything is
/// sealed with it.
pub fn next_server_key(path: &Path, random: &dyn Random) -> Result<ServerKey> {
    if !path.exists() {
        return make_key_file(path, random);
    }
    let key = ServerKey::parse(&read_secret("--new-server-key-file", path)?)?;
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| unwritable(path, &error))?;
    sync_folder(path)?;
    Ok(key)
}

async fn make_first_account(
    settings: &Settings,
    service: &Service,
    random: &dyn Random,
    holder: &str,
) -> Result<Option<FirstPassword>> {
    let accounts = service.account_commands();
    // On SQLite there is one machine, and its later starts have nothing to report.
    let elsewhere = async || {
        if settings.target()?.is_sqlite() {
            return Ok(None);
        }
        let kept = accounts.first_password().await?;
        Ok(kept.map(FirstPassword::Elsewhere))
    };
    if !accounts.none_ever().await? {
        return elsewhere().await;
    }
    if let Some(given) = settings.given_admin_password()? {
        let first = accounts.create_first(&given, None).await?;
        return Ok(first.then_some(FirstPassword::Given));
    }
    let password = accounts.generate_password()?;
    let new = NewPassword::parse(password.clone())?;
    if std::io::stdout().is_terminal() {
        let kept = format!("{holder} has shown it");
        let made = accounts.create_first(&new, Some(kept)).await?;
        return if made {
            Ok(Some(FirstPassword::Show(password)))
        } else {
            elsewhere().await
        };
    }
    // Write the file before setting the password: a lost password would lock the operator out. The file has a name of
    // its own, so that replicas that share a data folder and lose the race leave the winner's file alone.
    let path = settings.admin_password_path();
    let draft = write_draft(&path, &password, random)?;
    // If the database's answer is lost, the draft stays: it may hold the password that was set.
    let kept = format!("{holder} has it in its file {}", path.display());
    if accounts.create_first(&new, Some(kept)).await? {
        std::fs::rename(&draft, &path).map_err(|error| {
            Error::invalid(
                Field::Setting,
                format!(
                    "the password of the account {FIRST} is in {}, which cannot be renamed: {error}",
                    draft.display()
                ),
            )
        })?;
        sync_folder(&path)?;
        tracing::info!(
            account = FIRST,
            file = %path.display(),
            "the first account was made; its password is in the file"
        );
        let machine = (!settings.target()?.is_sqlite()).then(|| holder.to_owned());
        return Ok(Some(FirstPassword::InFile { path, machine }));
    }
    // Another replica was faster, so this password is not valid.
    let _ = std::fs::remove_file(&draft);
    elsewhere().await
}

fn listen(
    settings: &Settings,
    service: &Service,
    random: Arc<dyn Random>,
    identity: Option<&Arc<Identity>>,
) -> Result<(Server, Vec<SocketAddr>)> {
    let origins = Origins {
        public_url: settings.public_url.clone(),
        proxies: settings.trusted_proxies.clone(),
        tls: identity.is_some(),
    };
    let mut registry = Registry::default();
    if let Some(identity) = identity {
        identity.counts().register(&mut registry);
    }
    let size = |setting: bytesize::ByteSize| usize::try_from(setting.as_u64());
    let bodies = Budget::new(size(settings.body_memory).map_err(Error::internal)?);
    let bodies = Bodies {
        timeout: settings.body_timeout,
        unproven: bodies.part(4),
        memory: bodies,
    };
    let seats = Seats::new(
        settings.max_connections,
        settings.connections_per_source,
        settings.trusted_proxies.clone(),
    );
    seats.counts().register(&mut registry);
    let bounds = Bounds {
        head: settings.head_timeout,
        answer: settings.answer_timeout,
        heads: bodies.unproven.clone(),
    };
    let state = Data::new(http::state(
        service.clone(),
        random,
        http::Settings {
            origins,
            memory: Memory {
                bodies,
                answers: Budget::new(size(settings.answer_memory).map_err(Error::internal)?),
            },
            quay_created: settings
                .quay_create_status
                .parse()
                .map_err(Error::internal)?,
            monitored: service.has_monitor(),
        },
        registry,
    ));
    let tls = identity.map(Identity::config).transpose()?;
    server::listen(settings, state, bounds, &Arc::new(seats), tls)
}
