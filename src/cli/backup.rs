//! The commands that write backups and read them.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::output::{print, print_as};
use super::service::{clock, open_service};
use crate::app::{self, Makes};
use crate::clock::{Clock as _, Random, SystemClock, SystemRandom};
use crate::config::{Output, RestoreCommand, Settings};
use crate::error::{Error, Field, Result};
use crate::service::backup::{self, Contents};
use crate::service::freeze::{LiveCredentials, RestoredTokens};
use crate::service::restored::Restored;

/// Standard output or input in place of a file.
const DASH: &str = "-";

/// Writes a backup.
pub(super) fn write(settings: &Settings, file: &Path, replace: bool) -> Result<()> {
    app::require_database(settings)?;
    let target = settings.target()?;
    let key = app::server_key(settings).map_err(|error| app::naming(&target, error))?;
    let write = |output: &mut dyn Write| {
        backup::write(&target, &key, &SystemClock, &SystemRandom, output)
            .map_err(|error| app::naming(&target, error))
    };
    if file == Path::new(DASH) {
        // Standard output may carry nothing else.
        return write(&mut std::io::stdout().lock()).map(drop);
    }
    let unwritable = |error: std::io::Error| {
        let message = format!("{} cannot be written: {error}", file.display());
        Error::invalid(Field::Setting, message)
    };
    if file.exists() && !replace {
        let message = format!(
            "{} exists already; use --force to replace it",
            file.display()
        );
        return Err(Error::invalid(Field::Setting, message));
    }
    let draft = Draft::create(file).map_err(unwritable)?;
    let mut output = BufWriter::new(&draft.file);
    let contents = write(&mut output)?;
    output.flush().map_err(unwritable)?;
    drop(output);
    draft.keep(file, replace).map_err(unwritable)?;
    app::sync_folder(file)?;
    print(&format!("Wrote {}: {}", file.display(), told(&contents)))
}

/// A file that gets its name when it is complete, and is removed otherwise.
struct Draft {
    file: File,
    path: PathBuf,
}

impl Draft {
    fn create(beside: &Path) -> std::io::Result<Self> {
        let id = (&SystemRandom as &dyn Random).uuid();
        let mut path = beside.as_os_str().to_owned();
        path.push(format!(".{}", id.map_err(std::io::Error::other)?));
        let path = PathBuf::from(path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { file, path })
    }

    fn keep(self, name: &Path, replace: bool) -> std::io::Result<()> {
        self.file.sync_all()?;
        if replace {
            std::fs::rename(&self.path, name)
        } else {
            // Unlike a rename, a link never replaces a file that appeared meanwhile.
            std::fs::hard_link(&self.path, name)
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Restores a backup, or only reads it.
pub(super) fn restore(
    settings: &Settings,
    file: &Path,
    dry_run: bool,
    output: Output,
) -> Result<()> {
    let key = app::server_key(settings)?;
    let mut input: Box<dyn Read> = if file == Path::new(DASH) {
        Box::new(std::io::stdin())
    } else {
        Box::new(BufReader::new(File::open(file).map_err(|error| {
            let message = format!("{} cannot be read: {error}", file.display());
            Error::invalid(Field::Setting, message)
        })?))
    };
    if dry_run {
        let contents = backup::check(&key, &mut input)?;
        let tables = contents.tables.iter();
        let shown = json!({
            "madeAt": contents.made_at,
            "release": contents.release,
            "migration": contents.migrations.last(),
            "accounts": contents.living("accounts"),
            "registries": contents.living("registries"),
            "tokens": contents.living("tokens"),
            "tables": tables.clone().map(|table| json!({"name": table.name, "rows": table.rows}))
                .collect::<Vec<_>>(),
        });
        return print_as(output, &shown, || {
            let lines = tables.map(|table| format!("\n{:>12}  {}", table.rows, table.name));
            let lines: String = lines.collect();
            format!("{} is whole: {}{lines}", file.display(), told(&contents))
        });
    }
    app::make_data_folder(settings)?;
    let target = settings.target()?;
    let contents = backup::restore(&target, &key, &clock(), &SystemRandom, &mut input)?;
    if output == Output::Text {
        print(&format!("Restored into {target}: {}", told(&contents)))?;
    }
    actix_web::rt::System::new().block_on(status(settings, output))
}

fn told(contents: &Contents) -> String {
    format!(
        "made {} by release {}, with {}, {} and {}; its tables are of {}.",
        second(contents.made_at),
        contents.release,
        counted(contents.living("accounts"), "account", "accounts"),
        counted(contents.living("registries"), "registry", "registries"),
        counted(
            contents.living("tokens"),
            "registry token",
            "registry tokens"
        ),
        contents
            .migrations
            .last()
            .map_or("no version", String::as_str),
    )
}

fn counted(number: i64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn second(at: DateTime<Utc>) -> String {
    at.format("%F %T UTC").to_string()
}

/// Runs a command about a restored database.
pub(super) async fn about(settings: &Settings, command: RestoreCommand) -> Result<()> {
    match command {
        RestoreCommand::Status { output } => status(settings, output.output).await,
        RestoreCommand::Confirm { disable_tokens } => {
            let tokens = if disable_tokens {
                RestoredTokens::Disable
            } else {
                RestoredTokens::Keep
            };
            let service = open_service(settings, Makes::Nothing).await?;
            let confirmed = service.freeze().confirm(tokens).await;
            service.close();
            print(&match (confirmed?, tokens) {
                (_, RestoredTokens::Keep) => {
                    "Confirmed: the database is in use from now on.".to_owned()
                }
                (disabled, RestoredTokens::Disable) => format!(
                    "Confirmed: the database is in use from now on, and {disabled} registry tokens were disabled, with all trusts."
                ),
            })
        }
    }
}

async fn status(settings: &Settings, output: Output) -> Result<()> {
    let service = open_service(settings, Makes::Nothing).await?;
    let standing = service.freeze().standing().await;
    service.close();
    let Some((restored, standing)) = standing? else {
        let shown = json!({"frozen": false});
        return print_as(output, &shown, || "This database is not frozen.".to_owned());
    };
    let shown = json!({
        "frozen": true,
        "madeAt": restored.made_at,
        "restoredAt": restored.restored_at,
        "opens": {
            "accounts": standing.accounts,
            "tokens": standing.tokens,
            "lastingTokens": standing.lasting_tokens,
            "trusts": standing.trusts,
            "appTokens": standing.app_tokens,
            "lastingAppTokens": standing.lasting_app_tokens,
            "apiTokens": standing.api_tokens,
        },
    });
    let shown = match (restored.lost_events, shown) {
        (Some(lost), Value::Object(mut members)) => {
            members.insert("lostEvents".to_owned(), lost.into());
            Value::Object(members)
        }
        (_, shown) => shown,
    };
    print_as(output, &shown, || {
        warning(&restored, standing, SystemClock.now())
    })
}

/// A warning that lists the credentials that an old backup would revive.
fn warning(restored: &Restored, standing: LiveCredentials, now: DateTime<Utc>) -> String {
    let (made, since) = (second(restored.made_at), second(restored.restored_at));
    let origin = match restored.lost_events {
        None => format!("restored {since}"),
        Some(1) => format!("1 change is lost, as was found {since}"),
        Some(lost) => format!("{lost} changes are lost, as was found {since}"),
    };
    let LiveCredentials {
        accounts,
        tokens,
        lasting_tokens,
        trusts,
        app_tokens,
        lasting_app_tokens,
        api_tokens,
    } = standing;
    format!(
        "This database is FROZEN: nobody is let in and nothing is changed until its state is confirmed.\n\
         It has the state of {made}, {} ago ({origin}). All later changes are undone:\n\
         - Tokens that were deleted, disabled or revoked since are back. Secrets that were replaced work again.\n\
         - Accounts that were disabled or deleted since are back, with the roles and passwords of that time.\n\
         - Tokens and accounts that were made since are gone, and their secrets open nothing.\n\
         Once it is confirmed, these credentials work:\n\
         {accounts:>12}  accounts\n\
         {tokens:>12}  registry tokens, {lasting_tokens} of which never expire\n\
         {trusts:>12}  trusts of workloads\n\
         {app_tokens:>12}  app tokens, {lasting_app_tokens} of which never expire\n\
         {api_tokens:>12}  API tokens, all of which expire\n\
         End again what was ended since; administrators can read everything now, and `account` commands work.\n\
         Then run `wharfinger restore confirm`; with --disable-tokens it disables all registry tokens and trusts.",
        age(now - restored.made_at),
    )
}

/// A time in the largest unit of which it has at least two.
fn age(time: TimeDelta) -> String {
    match (time.num_days(), time.num_hours(), time.num_minutes()) {
        (days @ 2.., ..) => format!("{days} days"),
        (_, hours @ 2.., _) => format!("{hours} hours"),
        (.., minutes) => format!("{minutes} minutes"),
    }
}
