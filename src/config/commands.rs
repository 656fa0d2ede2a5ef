//! The commands and their options.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use secrecy::SecretString;

use super::values::secret;
use crate::domain::auth_config::Product;

/// The commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until told to stop (the default)
    Serve,
    /// Migrate the database to this version, make it if there is none, and end
    Migrate,
    /// Manage accounts; works beside a running server
    Account {
        /// The subcommand.
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Set up registries to take this service's tokens, and freeze them; works beside a running server
    Registry {
        /// The subcommand.
        #[command(subcommand)]
        command: RegistryCommand,
    },
    /// Find out which credential a secret belongs to, and end that; works beside a running server
    Token {
        /// The subcommand.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Manage the server key and the keys that registries trust
    Keys {
        /// The subcommand.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Write the whole database to a file, sealed by the server key; works beside running servers
    Backup {
        /// The file; `-` is standard output
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(long)]
        force: bool,
    },
    /// Restore a backup into an SQLite or PostgreSQL database without data; the database stays frozen until `restore confirm`
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Restore {
        /// The file; `-` is standard input
        #[arg(required = true)]
        file: Option<PathBuf>,
        /// Only read the backup to its end and print a summary
        #[arg(long)]
        dry_run: bool,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
        /// The subcommand for a restored database.
        #[command(subcommand)]
        command: Option<RestoreCommand>,
    },
    /// Look at the audit trail; works beside a running server
    Audit {
        /// The subcommand.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Print the OpenAPI document of this version
    Openapi {
        /// The surface to print, such as stackrox; all if absent
        surface: Option<String>,
        /// The version of OpenAPI: 3.0 for tools that do not read 3.1
        #[arg(long, value_name = "VERSION", default_value = "3.1")]
        version: OpenapiVersion,
    },
    /// Check that the server with the same settings is alive; the exit status tells
    Healthcheck {
        /// Check that it is ready to serve, not only alive
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

/// The commands for accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an enabled account; a password is made and shown if none is given
    Add {
        /// The account's name: no colon, unique without regard to case
        name: String,
        /// A role, such as Admin or Analyst; can be given several times, or not at all for a mere member of registries
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// The source of its password
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
        /// The account's name
        name: String,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Replace the roles of an account, or show the account if no role is given
    Role {
        /// The account's name
        name: String,
        /// A role to set in place of all others; can be given several times
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
        /// The account's name
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
        /// The account's name
        name: String,
        /// The registry's name
        #[arg(long)]
        registry: String,
    },
    /// Set an account's password; one is made and shown if none is given
    ///
    /// The account's API tokens and app tokens go on working. --revoke-tokens ends them too.
    Passwd {
        /// The account's name
        name: String,
        /// Also revoke its API tokens that are in force and delete its app tokens
        #[arg(long)]
        revoke_tokens: bool,
        /// The source of the new password
        #[command(flatten)]
        password: PasswordSource,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Enable an account again
    Enable {
        /// The account's name
        name: String,
    },
    /// Disable an account from its next request on
    Disable {
        /// The account's name
        name: String,
    },
    /// Delete an account; what it made stays
    Delete {
        /// The account's name
        name: String,
        /// Revoke its API tokens that are in force; without this, such tokens prevent the deletion
        #[arg(long)]
        revoke_tokens: bool,
    },
}

/// The form of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For scripts
    Json,
}

/// The option for the form of the output.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputChoice {
    /// The form of the output
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub output: Output,
}

/// The source of a password.
#[derive(Debug, Args)]
pub struct PasswordSource {
    /// Read the password from this file, `-` for standard input; one line end at its end is dropped
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// The commands for a secret that was found. They read it from standard input, at a terminal without showing it:
/// arguments show in lists of processes.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Show which credential the secret on standard input belongs to, what that opens, and when it was last used
    Lookup {
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// End the credential that the secret on standard input belongs to, from the next request on
    ///
    /// A registry token is disabled, or its previous secret ended if the secret is that one. An app token is deleted, and
    /// an API token revoked.
    End {
        /// Delete a registry token instead of disabling it
        #[arg(long)]
        delete: bool,
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
}

/// The commands for keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a server key if there is none: in the file of --server-key-file, or else in the data folder
    Init,
    /// Seal the database's keys with another server key; running servers go on until their restart
    ///
    /// The settings name the old server key. The change is atomic: no token changes, and no server has to stop.
    /// Restart each server with the new key afterwards; no server can start with the old one. Keep the old key as
    /// long as you keep backups from before.
    Rewrap {
        /// The new server key, base64 of 32 bytes; better given by file
        #[arg(long, env = "WHARFINGER_NEW_SERVER_KEY", hide_env_values = true, value_name = "KEY", value_parser = secret)]
        new_server_key: Option<SecretString>,
        /// A file that holds the new server key; made with a new key if it is not there
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
    /// A registry with the token verifier `x5c` needs no change. Give a `pinned` registry the new bundle and restart
    /// it: until then it refuses every token.
    Rotate {
        /// The names of the registries
        #[arg(required_unless_present = "all", value_name = "REGISTRY")]
        registries: Vec<String>,
        /// Rotate for every registry with the token verifier x5c
        #[arg(long, conflicts_with_all = ["registries", "authority"])]
        all: bool,
        /// Replace the certificate authority too, as after a theft: give the registry the new bundle and restart it
        #[arg(long)]
        authority: bool,
    },
}

/// The commands for a restored database.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Print the age of the backup, and which old credentials it would revive
    Status {
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
    /// Put the database into use; running servers notice at once
    Confirm {
        /// Disable every registry token and trust first; enable them again one by one
        #[arg(long)]
        disable_tokens: bool,
    },
}

/// The commands for the audit trail.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Find events that were changed, removed, inserted or cut off; the exit status tells
    Verify {
        /// The form of the output
        #[command(flatten)]
        output: OutputChoice,
    },
}

/// The commands for registries.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Print the configuration that makes a registry take this service's tokens
    AuthConfig {
        /// The registry's name
        registry: String,
        /// The registry's product
        #[arg(long = "for", value_name = "PRODUCT", value_parser = PossibleValuesParser::new(Product::ALL.map(|(name, _)| name)))]
        product: String,
        /// The path of the bundle on the registry's machine
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
    /// Let nothing open a registry from the next request on: no token, account or JWT, until it is thawed
    ///
    /// A registry that checks JWTs itself accepts those that were given out before until they end.
    Freeze {
        /// The registry's name or id
        registry: String,
    },
    /// Let a frozen registry be opened again
    Thaw {
        /// The registry's name or id
        registry: String,
    },
}
