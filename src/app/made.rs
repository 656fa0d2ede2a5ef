//! The list of SQLite databases that a data folder has had. A start does not replace one that is gone.
//!
//! A missing file looks like a first start. If a volume is not mounted or the file was moved, a new database with a
//! new first account would refuse every client. PostgreSQL needs no list: nothing is made there without a server key,
//! and replicas come and go with their folders.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::files::{sync_folder, unwritable};
use super::opening::unopened;
use crate::config::Settings;
use crate::error::{Error, Field, Result};
use crate::store::{Target, dump};

/// The first lines of the list, which explain it to a reader.
const HEAD: &str = "\
# The SQLite databases that `wharfinger serve` has made or served with this data folder. If one of them is gone,
# `wharfinger serve` makes no new one in its place. To make a new one, remove its line.
";

fn list(settings: &Settings) -> PathBuf {
    settings.data_dir.join("databases")
}

/// Refuses to make a database again that is in the list and is gone.
///
/// # Errors
///
/// [`Error::Invalid`] with advice.
pub(super) fn require(settings: &Settings) -> Result<()> {
    let target = settings.target()?;
    let Some(name) = name(settings, &target)? else {
        return Ok(());
    };
    if !read(settings)?.lines().any(|line| line == name)
        || dump::is_there(&target).map_err(|error| unopened(&target, error))?
    {
        return Ok(());
    }
    Err(Error::invalid(
        Field::Setting,
        format!(
            "the database in {target} is gone; put it back, or restore a backup of it. To begin with a new database, \
             remove the line {name} from {}",
            list(settings).display()
        ),
    ))
}

/// Adds the database of the settings to the list. A full disk is no error.
pub(super) fn remember(settings: &Settings) -> Result<()> {
    let target = settings.target()?;
    let Some(name) = name(settings, &target)? else {
        return Ok(());
    };
    let before = read(settings)?;
    if before.lines().any(|line| line == name) {
        return Ok(());
    }
    let path = list(settings);
    let head = if before.is_empty() { HEAD } else { "" };
    let added = add(&path, &format!("{head}{name}\n")).and_then(|()| sync_folder(&path));
    if let Err(error) = added {
        tracing::warn!(
            error = error.chain(),
            "the list of databases could not be written, so a later start would not notice that this database is \
             missing; correct the cause and restart"
        );
    }
    Ok(())
}

/// The name of the database in the list: its path relative to the data folder, so that the folder can be moved, or
/// else its absolute path. None on PostgreSQL.
fn name(settings: &Settings, target: &Target) -> Result<Option<String>> {
    let Target::Sqlite(path) = target else {
        return Ok(None);
    };
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::internal);
    let (path, folder) = (absolute(path)?, absolute(&settings.data_dir)?);
    let inside = path.strip_prefix(folder).unwrap_or(&path);
    Ok(Some(inside.display().to_string()))
}

fn read(settings: &Settings) -> Result<String> {
    let path = list(settings);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        // `make_data_folder` refuses a data folder that is a file.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(String::new())
        }
        Err(error) => Err(Error::invalid(
            Field::Setting,
            format!("--data-dir: {} cannot be read: {error}", path.display()),
        )),
    }
}

fn add(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .map_err(|error| unwritable(path, &error))
}
