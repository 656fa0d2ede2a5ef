//! Settings and commands: every setting is a flag and an environment variable.
//!
//! A secret should come from a file (`…_FILE`): other processes of the same user can read command lines and
//! environments.

mod commands;
mod values;
mod variables;
mod version;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory as _, Parser, ValueEnum};
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;
use zeroize::Zeroizing;

use crate::domain::account::NewPassword;
use crate::domain::period::Period;
use crate::domain::signing::Algorithm;
use crate::domain::unicode::BYTE_ORDER_MARK;
use crate::error::{Error, Field, Result};
use crate::store::{self, Target};

pub use self::commands::{
    AccountCommand, AuditCommand, Command, KeysCommand, OpenapiVersion, Output, OutputChoice,
    PasswordSource, RegistryCommand, RestoreCommand, TokenCommand,
};
pub use self::values::{ReadFence, Retention};
use self::values::{
    algorithm, app_token_life, bound, domain, http_url, issuer, jwt_life, key_rotation, location,
    network, notice_repeat, notice_window, read_fence, retention, secret, token_life,
};

/// The minimum length of a token that an operator chooses, so that nobody can guess it.
const CHOSEN_TOKEN: usize = 32;

/// A self-hosted service that manages the tokens of container registries.
///
/// Without a command it serves: it makes its data folder, its database, its key and the account `admin` if they are
/// missing, and prints its URL.
#[derive(Debug, Parser)]
#[command(name = "wharfinger", version, long_version = version::long(), about, long_about, max_term_width = 100)]
pub struct Cli {
    /// The command; serve if absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise
    Auto,
    /// For people
    Text,
    /// For machines
    Json,
}

/// The action on tokens that are reported as leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LeakedTokens {
    /// Disable them, and report it in the audit trail and the log
    Disable,
    /// Only report it in the audit trail and the log
    Report,
}

/// The answer to a database that lost changes after a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LossPolicy {
    /// Report it in the audit trail, the log, the metrics and /readyz
    Continue,
    /// Also let nobody in until `restore confirm`
    Freeze,
}

/// Every setting.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Settings {
    /// The IP address and port to listen on
    #[arg(
        long,
        env = "WHARFINGER_LISTEN",
        default_value = "127.0.0.1:8080",
        global = true,
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// The folder for the database, the server key and the first password
    #[arg(
        long,
        env = "WHARFINGER_DATA_DIR",
        default_value = "./data",
        global = true,
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
    /// The database: postgres://… or sqlite:PATH [default: wharfinger.db in the data folder]
    #[arg(long, env = "WHARFINGER_DATABASE_URL", hide_env_values = true, global = true, value_name = "URL", value_parser = secret)]
    pub database_url: Option<SecretString>,
    /// A file that holds the database URL
    #[arg(
        long,
        env = "WHARFINGER_DATABASE_URL_FILE",
        global = true,
        value_name = "FILE",
        conflicts_with = "database_url"
    )]
    pub database_url_file: Option<PathBuf>,
    /// The server key, base64 of 32 bytes; better given by file
    #[arg(long, env = "WHARFINGER_SERVER_KEY", hide_env_values = true, global = true, value_name = "KEY", value_parser = secret)]
    pub server_key: Option<SecretString>,
    /// A file that holds the server key [default: server-key in the data folder]
    #[arg(
        long,
        env = "WHARFINGER_SERVER_KEY_FILE",
        global = true,
        value_name = "FILE",
        conflicts_with = "server_key"
    )]
    pub server_key_file: Option<PathBuf>,
    /// The password of the account admin at the first start; better given by file
    #[arg(long, env = "WHARFINGER_ADMIN_PASSWORD", hide_env_values = true, global = true, value_name = "PASSWORD", value_parser = secret)]
    pub admin_password: Option<SecretString>,
    /// A file that holds the password of the account admin at the first start
    #[arg(
        long,
        env = "WHARFINGER_ADMIN_PASSWORD_FILE",
        global = true,
        value_name = "FILE",
        conflicts_with = "admin_password"
    )]
    pub admin_password_file: Option<PathBuf>,
    /// The public URL of this service, for links, the realm of registries, and the check of browsers' origins
    #[arg(long, env = "WHARFINGER_PUBLIC_URL", global = true, value_name = "URL", value_parser = http_url)]
    pub public_url: Option<Url>,
    /// The domain of the registries' host names
    #[arg(long, env = "WHARFINGER_REGISTRY_DOMAIN", default_value = "localhost", global = true, value_name = "DOMAIN", value_parser = domain)]
    pub registry_domain: String,
    /// The locations of registries, separated by commas
    #[arg(long, env = "WHARFINGER_LOCATIONS", default_value = "de/fra,de/txl,es/vit", value_delimiter = ',', global = true, value_name = "LIST", value_parser = location)]
    pub locations: Vec<String>,
    /// The bcrypt cost of password hashes: each step doubles the time of a check
    #[arg(long, env = "WHARFINGER_BCRYPT_COST", default_value = "12", global = true, value_name = "COST", value_parser = clap::value_parser!(u32).range(4..=20))]
    pub bcrypt_cost: u32,
    /// Threads that check passwords [default: half the cores, at least one]
    #[arg(long, env = "WHARFINGER_PASSWORD_THREADS", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub password_threads: Option<u16>,
    /// The lifetime of tokens that are made without an expiry, such as 90d [default: for ever]
    #[arg(long, env = "WHARFINGER_DEFAULT_TOKEN_LIFE", global = true, value_name = "TIME", value_parser = token_life)]
    pub default_token_life: Option<Period>,
    /// The longest lifetime of a token, such as 365d, even if its registry allows more [default: for ever]
    #[arg(long, env = "WHARFINGER_MAXIMUM_TOKEN_LIFE", global = true, value_name = "TIME", value_parser = token_life)]
    pub maximum_token_life: Option<Period>,
    /// The time that expired tokens stay listed, such as 30d or 0s, or `forever`
    #[arg(long, env = "WHARFINGER_EXPIRED_TOKEN_RETENTION", default_value = "30d", global = true, value_name = "TIME", value_parser = retention)]
    pub expired_token_retention: Retention,
    /// The issuer (`iss`) of the JWTs that this service signs for registries
    #[arg(long, env = "WHARFINGER_JWT_ISSUER", default_value = "wharfinger", global = true, value_name = "NAME", value_parser = issuer)]
    pub jwt_issuer: String,
    /// The lifetime of JWTs for registries, 1m to 24h; a revoked token can open a registry for that long
    #[arg(long, env = "WHARFINGER_JWT_LIFE", default_value = "5m", global = true, value_name = "TIME", value_parser = jwt_life)]
    pub jwt_life: Duration,
    /// Give clients of registries a refresh token when they ask for one; Docker then keeps it in place of the password
    #[arg(long, env = "WHARFINGER_REFRESH_TOKENS", global = true, value_parser = BoolishValueParser::new())]
    pub refresh_tokens: bool,
    /// The algorithm of new signing keys: es256 or rs256
    #[arg(long, env = "WHARFINGER_JWT_ALGORITHM", default_value = "es256", global = true, value_name = "NAME", value_parser = algorithm)]
    pub jwt_algorithm: Algorithm,
    /// The age at which a registry's signing key is replaced, 1h to 90d; only with the token verifier x5c
    #[arg(long, env = "WHARFINGER_KEY_ROTATION", default_value = "30d", global = true, value_name = "TIME", value_parser = key_rotation)]
    pub key_rotation: Duration,
    /// The time that expired API tokens stay listed, such as 24h; revoked ones go within the hour
    #[arg(long, env = "WHARFINGER_API_TOKEN_RETENTION", default_value = "24h", global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub api_token_retention: Duration,
    /// The time before an API token expires at which the log warns of it; 0s for never
    #[arg(long, env = "WHARFINGER_NOTICE_WINDOW", default_value = "7d", global = true, value_name = "TIME", value_parser = notice_window)]
    pub notice_window: Duration,
    /// The time between two such warnings of the same API token, at least 1m
    #[arg(long, env = "WHARFINGER_NOTICE_REPEAT", default_value = "24h", global = true, value_name = "TIME", value_parser = notice_repeat)]
    pub notice_repeat: Duration,
    /// Let nothing made with an API token outlast it: it makes no token that lasts longer, and gives no account a password, a role or a membership, nor enables one
    #[arg(long, env = "WHARFINGER_BOUNDED_DELEGATION", global = true, value_parser = BoolishValueParser::new())]
    pub bounded_delegation: bool,
    /// The lifetime of new app tokens, such as 4w [default: for ever]
    #[arg(long, env = "WHARFINGER_APP_TOKEN_LIFE", global = true, value_name = "TIME", value_parser = app_token_life)]
    pub app_token_life: Option<Duration>,
    /// The time that expired app tokens stay listed, such as 1d or 0s, or `forever`
    #[arg(long, env = "WHARFINGER_APP_TOKEN_RETENTION", default_value = "1d", global = true, value_name = "TIME", value_parser = retention)]
    pub app_token_retention: Retention,
    /// Let users see the code of an app token again; with `false` it is shown once, and kept as a hash only
    #[arg(long, env = "WHARFINGER_APP_TOKEN_REVEAL", default_value = "true", global = true, value_name = "BOOL", value_parser = BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub app_token_reveal: bool,
    /// The time that events stay in the audit trail, such as 90d, or `forever`
    #[arg(long, env = "WHARFINGER_AUDIT_RETENTION", default_value = "365d", global = true, value_name = "TIME", value_parser = retention)]
    pub audit_retention: Retention,
    /// The Bearer token with which the operator's secret scanner reports leaked secrets: at least 32 characters; better given by file
    #[arg(long, env = "WHARFINGER_SECRET_SCANNING_TOKEN", hide_env_values = true, global = true, value_name = "TOKEN", value_parser = secret)]
    pub secret_scanning_token: Option<SecretString>,
    /// A file that holds the secret scanner's Bearer token
    #[arg(
        long,
        env = "WHARFINGER_SECRET_SCANNING_TOKEN_FILE",
        global = true,
        value_name = "FILE",
        conflicts_with = "secret_scanning_token"
    )]
    pub secret_scanning_token_file: Option<PathBuf>,
    /// The address and port to serve metrics on, without TLS and without authentication: use one that only a private network reaches
    #[arg(
        long,
        env = "WHARFINGER_METRICS_LISTEN",
        global = true,
        value_name = "ADDRESS"
    )]
    pub metrics_listen: Option<SocketAddr>,
    /// The Bearer token with which a monitor reads `/metrics` on the main address: at least 32 characters; better given by file
    #[arg(long, env = "WHARFINGER_METRICS_TOKEN", hide_env_values = true, global = true, value_name = "TOKEN", value_parser = secret)]
    pub metrics_token: Option<SecretString>,
    /// A file that holds the monitor's Bearer token
    #[arg(
        long,
        env = "WHARFINGER_METRICS_TOKEN_FILE",
        global = true,
        value_name = "FILE",
        conflicts_with = "metrics_token"
    )]
    pub metrics_token_file: Option<PathBuf>,
    /// The action on tokens that are reported as leaked: disable or report
    #[arg(
        long,
        env = "WHARFINGER_LEAKED_TOKENS",
        default_value = "disable",
        global = true,
        value_name = "POLICY"
    )]
    pub leaked_tokens: LeakedTokens,
    /// The time after sign-in in which a session may make, show and delete app tokens, and list all
    #[arg(long, env = "WHARFINGER_FRESH_LOGIN", default_value = "10m", global = true, value_name = "TIME", value_parser = bound)]
    pub fresh_login: Duration,
    /// The maximum of registries that an account has made and not deleted
    #[arg(long, env = "WHARFINGER_MAXIMUM_REGISTRIES", default_value = "1000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_registries: u32,
    /// The maximum of tokens of a registry
    #[arg(long, env = "WHARFINGER_MAXIMUM_TOKENS", default_value = "1000000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_tokens: u32,
    /// The maximum of members of a registry, and of its registry API tokens in force
    #[arg(long, env = "WHARFINGER_MAXIMUM_MEMBERS", default_value = "1000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_members: u32,
    /// The maximum of trusts of a registry
    #[arg(long, env = "WHARFINGER_MAXIMUM_TRUSTS", default_value = "1000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_trusts: u32,
    /// The maximum of app tokens of an account, including expired ones that are still listed
    #[arg(long, env = "WHARFINGER_MAXIMUM_APP_TOKENS", default_value = "500", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_app_tokens: u32,
    /// The maximum of API tokens of all accounts together, without revoked and expired ones and those of one registry
    #[arg(long, env = "WHARFINGER_MAXIMUM_API_TOKENS", default_value = "10000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_api_tokens: u32,
    /// The maximum of wrong passwords and wrong tokens from one address in a minute; an IPv6 address counts with its /64
    #[arg(long, env = "WHARFINGER_FAILURES_PER_SOURCE", default_value = "100", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub failures_per_source: u32,
    /// The maximum of these for one name
    #[arg(long, env = "WHARFINGER_FAILURES_PER_IDENTITY", default_value = "10", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub failures_per_identity: u32,
    /// The maximum of changes by one account in an hour, also all at once: each adds to the audit trail
    #[arg(long, env = "WHARFINGER_CHANGES_PER_HOUR", default_value = "36000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub changes_per_hour: u32,
    /// The proxies whose `X-Forwarded-For` says where requests come from: addresses and networks, separated by commas
    #[arg(long, env = "WHARFINGER_TRUSTED_PROXIES", value_delimiter = ',', global = true, value_name = "LIST", value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Networks outside of the internet that may be asked for the keys of issuers, such as 10.1.0.0/16 or 127.0.0.0/8, separated by commas
    #[arg(long, env = "WHARFINGER_OUTGOING_NETWORKS", value_delimiter = ',', global = true, value_name = "LIST", value_parser = network)]
    pub outgoing_networks: Vec<IpNet>,
    /// A file with the certificates of authorities, as PEM, that issuers' servers may have theirs from, beside those of the system
    #[arg(long, env = "WHARFINGER_CA_FILE", global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The status code for a new app token: 201, as Quay's document says, or 200, as Quay does
    #[arg(long, env = "WHARFINGER_QUAY_CREATE_STATUS", default_value = "201", global = true, value_name = "STATUS", value_parser = ["200", "201"])]
    pub quay_create_status: String,
    /// The certificate chain for TLS, PEM
    #[arg(
        long,
        env = "WHARFINGER_TLS_CERT",
        global = true,
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate, PEM
    #[arg(
        long,
        env = "WHARFINGER_TLS_KEY",
        global = true,
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Serve without TLS on an address that others can reach: for use behind a proxy that ends TLS
    #[arg(long, env = "WHARFINGER_PLAIN_HTTP", global = true, value_parser = BoolishValueParser::new())]
    pub plain_http: bool,
    /// Threads that handle requests [default: the cores]
    #[arg(long, env = "WHARFINGER_WORKERS", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Threads that read the database, each with a connection [default: the cores, 2 to 4, on SQLite; 16 on PostgreSQL]
    #[arg(long, env = "WHARFINGER_READERS", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub readers: Option<u16>,
    /// The maximum of requests that wait for the database, fewer if it is slow; further ones get 503
    #[arg(long, env = "WHARFINGER_QUEUE", default_value = "4096", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue: u32,
    /// On PostgreSQL, the time after which a server that was replaced as the primary answers nothing more, 3s to 60s; off
    /// if there is one server alone
    #[arg(long, env = "WHARFINGER_READ_FENCE", default_value = "5s", global = true, value_name = "TIME", value_parser = read_fence)]
    pub read_fence: ReadFence,
    /// The answer to changes that the database lost after a failover: continue, or freeze until `restore confirm`
    #[arg(
        long,
        env = "WHARFINGER_ON_LOSS",
        default_value = "continue",
        global = true,
        value_name = "POLICY"
    )]
    pub on_loss: LossPolicy,
    /// The time limit for the head of a request to arrive
    #[arg(long, env = "WHARFINGER_HEAD_TIMEOUT", default_value = "10s", global = true, value_name = "TIME", value_parser = bound)]
    pub head_timeout: Duration,
    /// The time limit for the body of a request to arrive
    #[arg(long, env = "WHARFINGER_BODY_TIMEOUT", default_value = "15s", global = true, value_name = "TIME", value_parser = bound)]
    pub body_timeout: Duration,
    /// The time for which a client may read nothing of its answer, or less than 16 KiB a second if it is larger than 64 KiB
    #[arg(long, env = "WHARFINGER_ANSWER_TIMEOUT", default_value = "30s", global = true, value_name = "TIME", value_parser = bound)]
    pub answer_timeout: Duration,
    /// Memory for all large answers together; beyond it, an answer of more than 64 KiB is replaced by 503
    #[arg(
        long,
        env = "WHARFINGER_ANSWER_MEMORY",
        default_value = "64MiB",
        global = true,
        value_name = "SIZE"
    )]
    pub answer_memory: ByteSize,
    /// Memory for all request bodies together, at most a quarter of it for callers that are not yet authenticated. Beyond it, a body of more than 4 KiB gets 503
    #[arg(
        long,
        env = "WHARFINGER_BODY_MEMORY",
        default_value = "16MiB",
        global = true,
        value_name = "SIZE"
    )]
    pub body_memory: ByteSize,
    /// The maximum of open connections; beyond it, the one that has waited longest for its client is closed, or else the new one
    #[arg(long, env = "WHARFINGER_MAX_CONNECTIONS", default_value = "2048", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// The maximum of open connections from one address or IPv6 /64; trusted proxies may have all
    #[arg(long, env = "WHARFINGER_CONNECTIONS_PER_SOURCE", default_value = "512", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_per_source: u32,
    /// The time that running requests have to finish after a signal to stop
    #[arg(long, env = "WHARFINGER_SHUTDOWN_TIMEOUT", default_value = "30s", global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub shutdown_timeout: Duration,
    /// Write a core dump after a crash, for debugging; it contains secrets
    #[arg(long, env = "WHARFINGER_CORE_DUMPS", global = true, value_parser = BoolishValueParser::new())]
    pub core_dumps: bool,
    /// The log filter: a level, or directives such as `info,wharfinger::http=debug`
    #[arg(
        long,
        env = "WHARFINGER_LOG",
        default_value = "info",
        global = true,
        value_name = "FILTER"
    )]
    pub log: String,
    /// The format of log lines: auto, text or json
    #[arg(
        long,
        env = "WHARFINGER_LOG_FORMAT",
        default_value = "auto",
        global = true,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

/// Refuses variables with the prefix that are no settings: otherwise a mistyped one would be ignored.
///
/// # Errors
///
/// [`Error::Invalid`] names each.
pub fn check_variables(names: impl Iterator<Item = OsString>) -> Result<()> {
    variables::check(&Cli::command(), names)
}

impl Settings {
    /// The database, by URL, by file or by default.
    pub fn target(&self) -> Result<Target> {
        use secrecy::ExposeSecret as _;
        match (&self.database_url, &self.database_url_file) {
            (Some(url), _) => Target::parse(url.expose_secret()),
            (None, Some(file)) => {
                Target::parse(read_secret("--database-url-file", file)?.expose_secret())
            }
            (None, None) => Ok(Target::Sqlite(self.data_dir.join("wharfinger.db"))),
        }
    }

    /// The number of threads that read the database.
    #[must_use]
    pub fn reader_threads(&self, target: &Target) -> usize {
        self.readers
            .map_or_else(|| store::Settings::default_readers(target), usize::from)
    }

    /// The file of the server key.
    #[must_use]
    pub fn server_key_path(&self) -> PathBuf {
        self.server_key_file
            .clone()
            .unwrap_or_else(|| self.data_dir.join("server-key"))
    }

    /// The password given for the first account, if one is.
    pub fn given_admin_password(&self) -> Result<Option<NewPassword>> {
        let (setting, password) = match (&self.admin_password, &self.admin_password_file) {
            (Some(password), _) => ("--admin-password", password.clone()),
            (None, Some(file)) => {
                let setting = "--admin-password-file";
                (setting, read_secret(setting, file)?)
            }
            (None, None) => return Ok(None),
        };
        let parsed = NewPassword::parse(password);
        parsed
            .map(Some)
            .map_err(|error| Error::invalid(Field::Setting, format!("{setting}: {error}")))
    }

    /// The secret scanner's Bearer token, if one is set.
    pub fn given_secret_scanning_token(&self) -> Result<Option<SecretString>> {
        let (token, file) = (
            &self.secret_scanning_token,
            &self.secret_scanning_token_file,
        );
        chosen_token("--secret-scanning-token", token.as_ref(), file.as_deref())
    }

    /// The monitor's Bearer token, if one is set.
    pub fn given_metrics_token(&self) -> Result<Option<SecretString>> {
        let (token, file) = (&self.metrics_token, &self.metrics_token_file);
        chosen_token("--metrics-token", token.as_ref(), file.as_deref())
    }

    /// The file for the generated password of the first account, used if there is no terminal to show it on.
    #[must_use]
    pub fn admin_password_path(&self) -> PathBuf {
        self.data_dir.join("admin-password")
    }

    /// Refuses to listen without TLS beyond loopback, unless a setting allows it.
    pub fn check_listen(&self) -> Result<()> {
        if self.listen.ip().is_loopback() || self.tls_cert.is_some() || self.plain_http {
            return Ok(());
        }
        Err(Error::invalid(
            Field::Setting,
            format!(
                "--listen {} is not a loopback address, so passwords would be sent in clear text; set --tls-cert and \
                 --tls-key, or --plain-http if a reverse proxy ends TLS",
                self.listen
            ),
        ))
    }
}

/// A token that the operator chose for a machine, given as a value or by file.
fn chosen_token(
    setting: &str,
    token: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>> {
    use secrecy::ExposeSecret as _;
    let (named, token) = match (token, file) {
        (Some(token), _) => (setting.to_owned(), token.clone()),
        (None, Some(file)) => {
            let named = format!("{setting}-file");
            let token = read_secret(&named, file)?;
            (named, token)
        }
        (None, None) => return Ok(None),
    };
    let text = token.expose_secret();
    // A header cannot carry other characters.
    let sendable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.len() < CHOSEN_TOKEN || !sendable {
        return Err(Error::invalid(
            Field::Setting,
            format!(
                "{named}: at least {CHOSEN_TOKEN} ASCII characters without spaces are needed, such as from \
                 `openssl rand -hex 32`"
            ),
        ));
    }
    Ok(Some(token))
}

/// Reads the secret of a setting from a file.
pub fn read_secret(setting: &str, path: &Path) -> Result<SecretString> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    text.map(|text| secret_of_file(&text)).map_err(|error| {
        Error::invalid(
            Field::Setting,
            format!("{setting}: {} cannot be read: {error}", path.display()),
        )
    })
}

/// The secret in the text of a file, without the byte order mark and the line end that editors add.
#[must_use]
pub fn secret_of_file(text: &str) -> SecretString {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text).into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_and_a_variable() {
        for argument in Settings::augment_args(clap::Command::new("settings")).get_arguments() {
            let flag = argument.get_long().unwrap();
            let variable = argument.get_env().unwrap().to_str().unwrap();
            assert_eq!(
                variable,
                format!("WHARFINGER_{}", flag.replace('-', "_").to_uppercase())
            );
            assert!(argument.get_help().is_some(), "--{flag} is not explained");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let cli = Cli::parse_from([
            "wharfinger",
            "--server-key",
            "hunter22",
            "--admin-password",
            "hunter22",
            "--secret-scanning-token",
            "hunter22",
            "--metrics-token",
            "hunter22",
        ]);
        assert!(!format!("{cli:?}").contains("hunter22"));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_secret() {
        use secrecy::ExposeSecret as _;
        let given = |arguments: [&str; 3]| {
            let settings = Cli::parse_from(arguments).settings;
            let password = settings.given_admin_password().unwrap().unwrap();
            password.secret().expose_secret().to_owned()
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "\u{feff}correct horse\n").unwrap();
        let by_file = given([
            "wharfinger",
            "--admin-password-file",
            file.to_str().unwrap(),
        ]);
        let by_value = given(["wharfinger", "--admin-password", "\u{feff}correct horse"]);
        assert_eq!(by_file, "correct horse");
        assert_eq!(by_value, "correct horse");
    }

    #[test]
    fn passwords_do_not_travel_in_clear_unasked() {
        let check = |arguments: &[&str]| {
            Cli::parse_from(std::iter::once("wharfinger").chain(arguments.iter().copied()))
                .settings
                .check_listen()
        };
        assert!(check(&["--listen", "127.0.0.1:1"]).is_ok());
        assert!(check(&["--listen", "[::1]:1"]).is_ok());
        assert!(check(&["--listen", "0.0.0.0:1"]).is_err());
        assert!(check(&["--listen", "0.0.0.0:1", "--plain-http"]).is_ok());
        assert!(check(&["--listen", "0.0.0.0:1", "--tls-cert", "c", "--tls-key", "k"]).is_ok());
    }
}
