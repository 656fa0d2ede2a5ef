//! Settings and commands: every setting is a flag and an environment variable.
//!
//! Owns names, defaults and help texts. A secret can also come from a file (`…_FILE`), which is how it should come:
//! command lines and environments are readable by other processes of the same user.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;
use zeroize::Zeroizing;

use crate::domain::account::NewPassword;
use crate::domain::period::Period;
use crate::domain::signing::Algorithm;
use crate::domain::text::{nearest, quoted};
use crate::domain::unicode::BYTE_ORDER_MARK;
use crate::error::{Error, Field, Result, Violations};
use crate::store::{self, Target};

/// The fewest characters of a token that an operator chooses: nobody guesses so many.
const CHOSEN_TOKEN: usize = 32;

/// A self-hosted service that manages the tokens of container registries.
///
/// Without a command it serves: it makes its data folder, its database, its key and the account `admin` when they are
/// missing, and prints where it is reached.
#[derive(Debug, Parser)]
#[command(name = "wharfinger", version, about, long_about, max_term_width = 100)]
pub struct Cli {
    /// What to do; serve if left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to do it.
    #[command(flatten)]
    pub settings: Settings,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until told to stop (the default)
    Serve,
    /// Bring the database to this version's tables, make it if there is none, and end
    Migrate,
    /// Manage accounts; works beside a running server
    Account {
        /// What to do with accounts.
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Set up registries to take this service's tokens; works beside a running server
    Registry {
        /// What to do with registries.
        #[command(subcommand)]
        command: RegistryCommand,
    },
    /// Manage the server key and the keys that registries trust
    Keys {
        /// What to do with keys.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Write all that the database has to a file, sealed by the server key; works beside running servers
    Backup {
        /// The file; `-` is standard output
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Restore a backup into an empty database, of either kind, which stays frozen until that is confirmed
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Restore {
        /// The file; `-` is standard input
        #[arg(required = true)]
        file: Option<PathBuf>,
        /// Only read it to its end, and say what it has
        #[arg(long)]
        dry_run: bool,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
        /// What to do about a database that was restored.
        #[command(subcommand)]
        command: Option<RestoreCommand>,
    },
    /// Look at the audit trail; works beside a running server
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Print the OpenAPI document of this version
    Openapi {
        /// The surface that it is to be about, such as stackrox; all if left out
        surface: Option<String>,
        /// The version of OpenAPI: 3.0 for tools that do not read 3.1
        #[arg(long, value_name = "VERSION", default_value = "3.1")]
        version: OpenapiVersion,
    },
    /// Ask a server with the same settings whether it is well; the exit status tells
    Healthcheck {
        /// Ask whether it is ready to serve, not only alive
        #[arg(long)]
        ready: bool,
    },
}

/// The versions of OpenAPI that documents come in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OpenapiVersion {
    /// OpenAPI 3.1
    #[value(name = "3.1")]
    Three1,
    /// OpenAPI 3.0
    #[value(name = "3.0")]
    Three0,
}

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an enabled account; a password is made and shown if none is given
    Add {
        /// Its name: no colon, unique without regard to case
        name: String,
        /// Its role, such as Admin or Analyst; can be given several times, or not at all for a mere member of registries
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// How to get its password
        #[command(flatten)]
        password: PasswordSource,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// List accounts
    List {
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Show an account, with the registries that it is a member of
    Show {
        /// Which
        name: String,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Replace the roles of an account, or show it if no role is given
    Role {
        /// Whose
        name: String,
        /// A role that it has from now on, and none else; can be given several times
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// Take every role away
        #[arg(long, conflicts_with = "roles")]
        none: bool,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Make an account a member of a registry, or change its level there
    Grant {
        /// Whom
        name: String,
        /// The registry's name
        #[arg(long)]
        registry: String,
        /// A reader sees and pulls; a maintainer also manages tokens and pushes; an owner may do everything there
        #[arg(long, value_parser = ["owner", "maintainer", "reader"])]
        level: String,
    },
    /// End an account's membership of a registry
    Revoke {
        /// Whose
        name: String,
        /// The registry's name
        #[arg(long)]
        registry: String,
    },
    /// Set an account's password; one is made and shown if none is given
    ///
    /// The account's API tokens and app tokens go on working. --revoke-tokens ends them too.
    Passwd {
        /// Whose
        name: String,
        /// Also revoke its API tokens that are in force and delete its app tokens
        #[arg(long)]
        revoke_tokens: bool,
        /// How to get the new password
        #[command(flatten)]
        password: PasswordSource,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Let an account in again
    Enable {
        /// Which
        name: String,
    },
    /// Keep an account out from its next request on
    Disable {
        /// Which
        name: String,
    },
    /// Delete an account; what it made stays
    Delete {
        /// Which
        name: String,
        /// Revoke its API tokens that are in force; without this they keep it from being deleted
        #[arg(long)]
        revoke_tokens: bool,
    },
}

/// For whom a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For scripts
    Json,
}

/// The choice of what a command prints.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputChoice {
    /// The form of the output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: Output,
}

/// Where a command gets a password from.
#[derive(Debug, Args)]
pub struct PasswordSource {
    /// Read the password from this file, `-` for standard input; one line end at its end is dropped
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a server key where there is none: in the file of --server-key-file, else in the data folder
    Init,
    /// Seal the database's keys with another server key; works beside running servers, which go on until their restart
    ///
    /// The settings name the old server key. All is done or nothing: no token changes, and no server has to stop.
    /// Restart each server with the new key afterwards; with the old one none starts any more. Keep the old key as
    /// long as you keep backups from before.
    Rewrap {
        /// The new server key, base64 of 32 bytes; better given by file
        #[arg(long, env = "WHARFINGER_NEW_SERVER_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret)]
        new_server_key: Option<SecretString>,
        /// A file that holds the new server key; made with one if it is not there
        #[arg(
            long,
            env = "WHARFINGER_NEW_SERVER_KEY_FILE",
            value_name = "FILE",
            required_unless_present = "new_server_key",
            conflicts_with = "new_server_key"
        )]
        new_server_key_file: Option<PathBuf>,
    },
    /// Replace the key that signs the JWTs of registries; works beside a running server, from its next JWT on
    ///
    /// With the token verifier `x5c` the registry notices nothing. A `pinned` registry has to be given the new bundle
    /// and restarted: until then it refuses every token.
    Rotate {
        /// The names of the registries
        #[arg(required_unless_present = "all", value_name = "REGISTRY")]
        registries: Vec<String>,
        /// Every registry whose verifier is x5c
        #[arg(long, conflicts_with_all = ["registries", "authority"])]
        all: bool,
        /// Replace all that the registry trusts, as after a theft: it has to be given the new bundle and restarted
        #[arg(long)]
        authority: bool,
    },
}

/// What can be done about a database that was restored.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Say how old the backup is, and what it would let in
    Status {
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Put the database into use; running servers notice at once
    Confirm {
        /// Disable every registry token first; each is enabled again by itself
        #[arg(long)]
        disable_tokens: bool,
    },
}

/// What can be done with the audit trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Find events that were changed, removed, put in between or cut off; the exit status tells
    Verify {
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
}

/// What can be done with registries.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Print the configuration that makes a registry take this service's tokens
    AuthConfig {
        /// The registry's name
        registry: String,
        /// The registry's product
        #[arg(long = "for", value_name = "PRODUCT", value_parser = ["distribution2", "distribution3", "zot"])]
        product: String,
        /// Where the bundle will lie on the registry's machine
        #[arg(long, value_name = "PATH")]
        bundle: String,
    },
    /// Print the certificate that the registry has to trust, PEM
    AuthBundle {
        /// The registry's name
        registry: String,
    },
    /// Print the public keys of the registry's JWTs, a JSON Web Key Set
    Jwks {
        /// The registry's name
        registry: String,
    },
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise
    Auto,
    /// For people
    Text,
    /// For machines
    Json,
}

/// What becomes of tokens that are reported as leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LeakedTokens {
    /// They open nothing any more, and the audit trail and the log tell
    Disable,
    /// The audit trail and the log tell
    Report,
}

/// Every setting.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Settings {
    /// Where to listen
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
    /// The password that the account admin gets at the first start; better given by file
    #[arg(long, env = "WHARFINGER_ADMIN_PASSWORD", hide_env_values = true, global = true, value_name = "PASSWORD", value_parser = secret)]
    pub admin_password: Option<SecretString>,
    /// A file that holds the password that the account admin gets at the first start
    #[arg(
        long,
        env = "WHARFINGER_ADMIN_PASSWORD_FILE",
        global = true,
        value_name = "FILE",
        conflicts_with = "admin_password"
    )]
    pub admin_password_file: Option<PathBuf>,
    /// The URL that clients reach this service by, for links and the check of browsers' origins
    #[arg(long, env = "WHARFINGER_PUBLIC_URL", global = true, value_name = "URL", value_parser = http_url)]
    pub public_url: Option<Url>,
    /// What the host names of registries end in
    #[arg(long, env = "WHARFINGER_REGISTRY_DOMAIN", default_value = "localhost", global = true, value_name = "DOMAIN", value_parser = domain)]
    pub registry_domain: String,
    /// Where registries can be made, separated by commas
    #[arg(long, env = "WHARFINGER_LOCATIONS", default_value = "de/fra,de/txl,es/vit", value_delimiter = ',', global = true, value_name = "LIST", value_parser = location)]
    pub locations: Vec<String>,
    /// How slow passwords are to check: each step doubles the time
    #[arg(long, env = "WHARFINGER_BCRYPT_COST", default_value = "12", global = true, value_name = "COST", value_parser = clap::value_parser!(u32).range(4..=20))]
    pub bcrypt_cost: u32,
    /// Threads that check passwords [default: half the cores, at least one]
    #[arg(long, env = "WHARFINGER_PASSWORD_THREADS", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub password_threads: Option<u16>,
    /// How long tokens last for whose end nobody asks, such as 90d [default: for ever]
    #[arg(long, env = "WHARFINGER_DEFAULT_TOKEN_LIFE", global = true, value_name = "TIME", value_parser = token_life)]
    pub default_token_life: Option<Period>,
    /// How far ahead a token's end may lie, such as 365d, whatever its registry allows [default: for ever]
    #[arg(long, env = "WHARFINGER_MAXIMUM_TOKEN_LIFE", global = true, value_name = "TIME", value_parser = token_life)]
    pub maximum_token_life: Option<Period>,
    /// How long expired tokens stay listed, such as 30d or 0s, or `forever`
    #[arg(long, env = "WHARFINGER_EXPIRED_TOKEN_RETENTION", default_value = "30d", global = true, value_name = "TIME", value_parser = retention)]
    pub expired_token_retention: Retention,
    /// What registries know this service by: the issuer of the JWTs that it signs for them
    #[arg(long, env = "WHARFINGER_JWT_ISSUER", default_value = "wharfinger", global = true, value_name = "NAME", value_parser = issuer)]
    pub jwt_issuer: String,
    /// How long a JWT for a registry lasts, 1m to 24h; a revoked token opens the registry that long at most
    #[arg(long, env = "WHARFINGER_JWT_LIFE", default_value = "5m", global = true, value_name = "TIME", value_parser = jwt_life)]
    pub jwt_life: Duration,
    /// Give clients of registries a refresh token when they ask for one; Docker then keeps it in place of the password
    #[arg(long, env = "WHARFINGER_REFRESH_TOKENS", global = true, value_parser = BoolishValueParser::new())]
    pub refresh_tokens: bool,
    /// How the signing keys that are made from now on sign: es256 or rs256
    #[arg(long, env = "WHARFINGER_JWT_ALGORITHM", default_value = "es256", global = true, value_name = "NAME", value_parser = algorithm)]
    pub jwt_algorithm: Algorithm,
    /// How old the signing key of a registry with the token verifier x5c gets, 1h to 90d
    #[arg(long, env = "WHARFINGER_KEY_ROTATION", default_value = "30d", global = true, value_name = "TIME", value_parser = key_rotation)]
    pub key_rotation: Duration,
    /// How long expired API tokens stay listed, such as 24h; revoked ones go within the hour
    #[arg(long, env = "WHARFINGER_API_TOKEN_RETENTION", default_value = "24h", global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub api_token_retention: Duration,
    /// How long before its end the log speaks of an API token; 0s for never
    #[arg(long, env = "WHARFINGER_NOTICE_WINDOW", default_value = "7d", global = true, value_name = "TIME", value_parser = notice_window)]
    pub notice_window: Duration,
    /// How long the log does not speak of that API token again, at least 1m
    #[arg(long, env = "WHARFINGER_NOTICE_REPEAT", default_value = "24h", global = true, value_name = "TIME", value_parser = notice_repeat)]
    pub notice_repeat: Duration,
    /// Let nothing made with an API token last longer than it: no token of any kind, and nothing that an account is given: a password, a role, a membership, or being enabled
    #[arg(long, env = "WHARFINGER_BOUNDED_DELEGATION", global = true, value_parser = BoolishValueParser::new())]
    pub bounded_delegation: bool,
    /// How long app tokens last that are made from now on, such as 4w [default: for ever]
    #[arg(long, env = "WHARFINGER_APP_TOKEN_LIFE", global = true, value_name = "TIME", value_parser = app_token_life)]
    pub app_token_life: Option<Duration>,
    /// How long expired app tokens stay listed, such as 1d or 0s, or `forever`
    #[arg(long, env = "WHARFINGER_APP_TOKEN_RETENTION", default_value = "1d", global = true, value_name = "TIME", value_parser = retention)]
    pub app_token_retention: Retention,
    /// Whether the code of an app token can be seen again; with `false` it is shown once, and kept as a hash only
    #[arg(long, env = "WHARFINGER_APP_TOKEN_REVEAL", default_value = "true", global = true, value_name = "BOOL", value_parser = BoolishValueParser::new(), action = clap::ArgAction::Set)]
    pub app_token_reveal: bool,
    /// How long events stay in the audit trail, such as 90d, or `forever`
    #[arg(long, env = "WHARFINGER_AUDIT_RETENTION", default_value = "365d", global = true, value_name = "TIME", value_parser = retention)]
    pub audit_retention: Retention,
    /// What the operator's secret scanner comes with, as Bearer, to report leaked secrets: at least 32 characters; better given by file
    #[arg(long, env = "WHARFINGER_SECRET_SCANNING_TOKEN", hide_env_values = true, global = true, value_name = "TOKEN", value_parser = secret)]
    pub secret_scanning_token: Option<SecretString>,
    /// A file that holds what the secret scanner comes with
    #[arg(
        long,
        env = "WHARFINGER_SECRET_SCANNING_TOKEN_FILE",
        global = true,
        value_name = "FILE",
        conflicts_with = "secret_scanning_token"
    )]
    pub secret_scanning_token_file: Option<PathBuf>,
    /// Where to serve metrics, in clear and to everybody: for an address that only a private network reaches
    #[arg(
        long,
        env = "WHARFINGER_METRICS_LISTEN",
        global = true,
        value_name = "ADDRESS"
    )]
    pub metrics_listen: Option<SocketAddr>,
    /// What a monitor comes with, as Bearer, to read metrics where all is served: at least 32 characters; better given by file
    #[arg(long, env = "WHARFINGER_METRICS_TOKEN", hide_env_values = true, global = true, value_name = "TOKEN", value_parser = secret)]
    pub metrics_token: Option<SecretString>,
    /// A file that holds what a monitor comes with
    #[arg(
        long,
        env = "WHARFINGER_METRICS_TOKEN_FILE",
        global = true,
        value_name = "FILE",
        conflicts_with = "metrics_token"
    )]
    pub metrics_token_file: Option<PathBuf>,
    /// What becomes of tokens that are reported as leaked
    #[arg(
        long,
        env = "WHARFINGER_LEAKED_TOKENS",
        default_value = "disable",
        global = true,
        value_name = "POLICY"
    )]
    pub leaked_tokens: LeakedTokens,
    /// How long after its sign-in a session may make, show and delete app tokens, and list all
    #[arg(long, env = "WHARFINGER_FRESH_LOGIN", default_value = "10m", global = true, value_name = "TIME", value_parser = bound)]
    pub fresh_login: Duration,
    /// The most registries that an account can have made and not deleted
    #[arg(long, env = "WHARFINGER_MAXIMUM_REGISTRIES", default_value = "1000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_registries: u32,
    /// The most tokens of a registry
    #[arg(long, env = "WHARFINGER_MAXIMUM_TOKENS", default_value = "1000000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_tokens: u32,
    /// The most members of a registry
    #[arg(long, env = "WHARFINGER_MAXIMUM_MEMBERS", default_value = "1000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_members: u32,
    /// The most app tokens of an account, expired ones that are still listed included
    #[arg(long, env = "WHARFINGER_MAXIMUM_APP_TOKENS", default_value = "500", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_app_tokens: u32,
    /// The most API tokens that are neither revoked nor expired, of all accounts
    #[arg(long, env = "WHARFINGER_MAXIMUM_API_TOKENS", default_value = "10000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub maximum_api_tokens: u32,
    /// How many wrong passwords, and wrong tokens, an address may send in a minute; an IPv6 address counts with its /64
    #[arg(long, env = "WHARFINGER_FAILURES_PER_SOURCE", default_value = "100", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub failures_per_source: u32,
    /// How many of these under one and the same name
    #[arg(long, env = "WHARFINGER_FAILURES_PER_IDENTITY", default_value = "10", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub failures_per_identity: u32,
    /// How many changes an account may make in an hour, all at once or one by one: each is kept in the audit trail
    #[arg(long, env = "WHARFINGER_CHANGES_PER_HOUR", default_value = "36000", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub changes_per_hour: u32,
    /// The proxies whose `X-Forwarded-For` says where requests come from: addresses and networks, separated by commas
    #[arg(long, env = "WHARFINGER_TRUSTED_PROXIES", value_delimiter = ',', global = true, value_name = "LIST", value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// What answers the creation of an app token: 201, as Quay's document says, or 200, as Quay does
    #[arg(long, env = "WHARFINGER_QUAY_CREATE_STATUS", default_value = "201", global = true, value_name = "STATUS", value_parser = ["200", "201"])]
    pub quay_create_status: String,
    /// The certificate chain to serve TLS with, PEM
    #[arg(
        long,
        env = "WHARFINGER_TLS_CERT",
        global = true,
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM
    #[arg(
        long,
        env = "WHARFINGER_TLS_KEY",
        global = true,
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Serve without TLS on an address that others can reach: for a proxy that ends TLS in front
    #[arg(long, env = "WHARFINGER_PLAIN_HTTP", global = true, value_parser = BoolishValueParser::new())]
    pub plain_http: bool,
    /// Threads that handle requests [default: the cores]
    #[arg(long, env = "WHARFINGER_WORKERS", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Threads that read the database, each with a connection [default: the cores, 2 to 4, on SQLite; 16 on PostgreSQL]
    #[arg(long, env = "WHARFINGER_READERS", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub readers: Option<u16>,
    /// Requests that may wait for the database at the most before others are turned away with 503; fewer if it is slow
    #[arg(long, env = "WHARFINGER_QUEUE", default_value = "4096", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue: u32,
    /// How long a connection may take to send the head of a request
    #[arg(long, env = "WHARFINGER_HEAD_TIMEOUT", default_value = "10s", global = true, value_name = "TIME", value_parser = bound)]
    pub head_timeout: Duration,
    /// How long the body of a request may take to arrive
    #[arg(long, env = "WHARFINGER_BODY_TIMEOUT", default_value = "15s", global = true, value_name = "TIME", value_parser = bound)]
    pub body_timeout: Duration,
    /// How long a client may take nothing of its answer, or less than 16 KiB a second of one that is larger than 64 KiB
    #[arg(long, env = "WHARFINGER_ANSWER_TIMEOUT", default_value = "30s", global = true, value_name = "TIME", value_parser = bound)]
    pub answer_timeout: Duration,
    /// Memory that large answers take together; an answer of more than 64 KiB that finds no room is 503
    #[arg(
        long,
        env = "WHARFINGER_ANSWER_MEMORY",
        default_value = "64MiB",
        global = true,
        value_name = "SIZE"
    )]
    pub answer_memory: ByteSize,
    /// Memory that request bodies take together, a quarter of it at most before their callers are known; a body of more than 4 KiB that finds no room is 503
    #[arg(
        long,
        env = "WHARFINGER_BODY_MEMORY",
        default_value = "16MiB",
        global = true,
        value_name = "SIZE"
    )]
    pub body_memory: ByteSize,
    /// Connections that are open at once; beyond them the one is closed that has waited for its client longest, or else the new one
    #[arg(long, env = "WHARFINGER_MAX_CONNECTIONS", default_value = "2048", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// How many of these may come from one address, or from one IPv6 network of 64 bits; trusted proxies may have all
    #[arg(long, env = "WHARFINGER_CONNECTIONS_PER_SOURCE", default_value = "512", global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_per_source: u32,
    /// How long requests under way may go on after a signal to stop
    #[arg(long, env = "WHARFINGER_SHUTDOWN_TIMEOUT", default_value = "30s", global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub shutdown_timeout: Duration,
    /// Let a crash leave the memory of the process behind, secrets included, for who debugs it
    #[arg(long, env = "WHARFINGER_CORE_DUMPS", global = true, value_parser = BoolishValueParser::new())]
    pub core_dumps: bool,
    /// What to log: a level, or directives such as `info,wharfinger::http=debug`
    #[arg(
        long,
        env = "WHARFINGER_LOG",
        default_value = "info",
        global = true,
        value_name = "FILTER"
    )]
    pub log: String,
    /// How log lines look
    #[arg(
        long,
        env = "WHARFINGER_LOG_FORMAT",
        default_value = "auto",
        global = true,
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Until somebody deletes it.
    Forever,
    /// So long.
    For(Duration),
}

impl From<Retention> for Option<Duration> {
    fn from(retention: Retention) -> Self {
        match retention {
            Retention::Forever => None,
            Retention::For(time) => Some(time),
        }
    }
}

impl Settings {
    /// Which database, by URL, by file or by default.
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

    /// Threads that read the database.
    #[must_use]
    pub fn reader_threads(&self, target: &Target) -> usize {
        self.readers
            .map_or_else(|| store::Settings::default_readers(target), usize::from)
    }

    /// The file that the server key is read from and made in.
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

    /// What the secret scanner comes with, if there is one.
    pub fn given_secret_scanning_token(&self) -> Result<Option<SecretString>> {
        let (token, file) = (
            &self.secret_scanning_token,
            &self.secret_scanning_token_file,
        );
        chosen_token("--secret-scanning-token", token.as_ref(), file.as_deref())
    }

    /// What a monitor comes with, if metrics are served to one.
    pub fn given_metrics_token(&self) -> Result<Option<SecretString>> {
        let (token, file) = (&self.metrics_token, &self.metrics_token_file);
        chosen_token("--metrics-token", token.as_ref(), file.as_deref())
    }

    /// The file that a made password of the first account goes to when there is no terminal to show it on.
    #[must_use]
    pub fn admin_password_path(&self) -> PathBuf {
        self.data_dir.join("admin-password")
    }

    /// Refuses to serve passwords in clear to others unless that was asked for.
    pub fn check_listen(&self) -> Result<()> {
        if self.listen.ip().is_loopback() || self.tls_cert.is_some() || self.plain_http {
            return Ok(());
        }
        Err(Error::invalid(
            Field::Setting,
            format!(
                "--listen {} can be reached by others, and passwords would travel in clear: give --tls-cert and --tls-key, \
                 or --plain-http if a proxy in front ends TLS",
                self.listen
            ),
        ))
    }
}

/// A token that the operator chose for a machine, given itself or by file.
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
    // A header carries no others.
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

/// The beginning of the names of settings' variables.
const PREFIX: &str = "WHARFINGER_";

/// Refuses variables that look like settings and are none: a mistyped one would be as if it were not there.
///
/// Kubernetes sets variables for each Service. Those of a Service named as this program are passed over, and those of one
/// whose name begins so if its host is among them.
///
/// # Errors
///
/// [`Error::Invalid`] names each, and the one that it may have meant, without its value.
pub fn check_variables(names: impl Iterator<Item = OsString>) -> Result<()> {
    let names: Vec<_> = names
        .filter_map(|name| Some(name.to_string_lossy().strip_prefix(PREFIX)?.to_owned()))
        .collect();
    let hosts = names
        .iter()
        .filter_map(|name| name.strip_suffix("SERVICE_HOST"));
    let services: Vec<_> = hosts.chain([""]).collect();
    let mut known = Vec::new();
    note_variables(&Cli::command(), &mut known);
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let mut violations = Violations::default();
    for name in &names {
        let of_service = |service: &&str| name.strip_prefix(*service).is_some_and(is_of_kubernetes);
        if known.contains(&name.as_str()) || services.iter().any(of_service) {
            continue;
        }
        let hint = match nearest(&known, name) {
            Some(near) => format!("did you mean {PREFIX}{near}?"),
            None => "`wharfinger --help` lists them".to_owned(),
        };
        let shown = quoted(name).to_string();
        let message = format!(
            "there is no variable {PREFIX}{}; {hint}",
            shown.trim_matches('"')
        );
        violations.push(Field::Setting, message);
    }
    violations.finish(Some(()))
}

/// Notes the variables of a command and of those below it, without the prefix.
fn note_variables(command: &clap::Command, known: &mut Vec<String>) {
    let variables = command.get_arguments().filter_map(clap::Arg::get_env);
    let variables = variables.filter_map(|name| name.to_str()?.strip_prefix(PREFIX));
    known.extend(variables.map(str::to_owned));
    for command in command.get_subcommands() {
        note_variables(command, known);
    }
}

/// Is this the name of a variable that Kubernetes sets for a Service, after the name of that?
fn is_of_kubernetes(name: &str) -> bool {
    let numbered = |port: &str| {
        let number = port.split_once('_').map(|(number, _)| number);
        number.is_some_and(|number| number.parse::<u16>().is_ok())
    };
    matches!(name, "SERVICE_HOST" | "SERVICE_PORT" | "PORT")
        || name.starts_with("SERVICE_PORT_")
        || name.strip_prefix("PORT_").is_some_and(numbered)
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

/// The secret that a file holds, without what editors add: a byte order mark before it and a line end after it.
#[must_use]
pub fn secret_of_file(text: &str) -> SecretString {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text).into()
}

type Parsed<T> = std::result::Result<T, String>;

#[expect(
    clippy::unnecessary_wraps,
    reason = "what a value parser of clap looks like"
)]
fn secret(text: &str) -> Parsed<SecretString> {
    // A variable that was made of a file may begin as the file does.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    Ok(text.to_owned().into())
}

fn http_url(text: &str) -> Parsed<Url> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        return Ok(url);
    }
    Err(
        "a URL such as https://tokens.example.com is needed, without user, query and fragment"
            .to_owned(),
    )
}

fn domain(text: &str) -> Parsed<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    // A registry's name adds up to 63 characters and a dot to the 253 that a host name may have.
    if text.len() <= 189 && text.split('.').all(label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a domain such as registry.example.com is needed".to_owned())
}

fn location(text: &str) -> Parsed<String> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match text.split_once('/') {
        Some((country, place)) if part(country) && part(place) => Ok(text.to_owned()),
        _ => Err("a location such as de/fra is needed".to_owned()),
    }
}

/// A time that something may take. None at all is no bound but an outage.
fn bound(text: &str) -> Parsed<Duration> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => {
            Err("a time such as 10s is needed, more than none".to_owned())
        }
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// A time between two others, ends included.
fn between(text: &str, least: &str, most: &str) -> Parsed<Duration> {
    let read = |text: &str| humantime::parse_duration(text).map_err(|error| error.to_string());
    let time = read(text)?;
    if time < read(least)? || time > read(most)? {
        return Err(format!("a time from {least} to {most} is needed"));
    }
    Ok(time)
}

/// Clients take a JWT that lasts less than a minute for one that lasts a minute (the token specification's least), and
/// what lasts for days cannot be revoked.
fn jwt_life(text: &str) -> Parsed<Duration> {
    between(text, "1m", "24h")
}

/// Well below the life of the certificates, so that a service which was off for months still has a key.
fn key_rotation(text: &str) -> Parsed<Duration> {
    between(text, "1h", "90d")
}

/// Shorter ones could hardly be used.
fn app_token_life(text: &str) -> Parsed<Duration> {
    between(text, "1m", "100y")
}

/// In whole seconds, as the API shows it.
fn token_life(text: &str) -> Parsed<Period> {
    let life = between(text, "1m", "36500d")?;
    let seconds = i64::try_from(life.as_secs()).ok();
    seconds
        .and_then(Period::of_seconds)
        .ok_or_else(|| "a time of 1m to 36500d is needed".to_owned())
}

fn notice_window(text: &str) -> Parsed<Duration> {
    between(text, "0s", "3650d")
}

/// A round of the janitor ends when nothing is due any more: by then nothing may be due again.
fn notice_repeat(text: &str) -> Parsed<Duration> {
    between(text, "1m", "3650d")
}

/// An address is the network that has it alone.
fn network(text: &str) -> Parsed<IpNet> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse::<IpNet>().ok().or_else(alone);
    network.ok_or_else(|| {
        "an address or network such as 10.1.0.0/16 or 2001:db8::1 is needed".to_owned()
    })
}

/// It stands in every JWT and in the configuration of every registry.
fn issuer(text: &str) -> Parsed<String> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err("a name of 1 to 255 bytes without control characters is needed".to_owned());
    }
    Ok(text.to_owned())
}

fn algorithm(text: &str) -> Parsed<Algorithm> {
    Algorithm::parse(text).map_err(|error| error.to_string())
}

fn retention(text: &str) -> Parsed<Retention> {
    if text == "forever" {
        return Ok(Retention::Forever);
    }
    humantime::parse_duration(text)
        .map(Retention::For)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
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
