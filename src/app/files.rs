//! Files that survive a crash: written whole, synced, and readable by this user alone.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Random;
use crate::error::{Error, Field, Result};

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(
        Field::Setting,
        format!("{} cannot be written: {error}", path.display()),
    )
}

/// Syncs the folder that contains `path`, so that the new name is durable too.
pub fn sync_folder(path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(|error| unwritable(path, &error))
}

/// Writes a secret to a new file beside `path` that only this user can read. The caller renames or links it to `path`
/// afterwards, so nobody reads half a secret, and processes that start at once do not overwrite each other's.
pub(super) fn write_draft(
    path: &Path,
    secret: &SecretString,
    random: &dyn Random,
) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", random.uuid()?));
    let draft = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(|error| unwritable(path, &error))?;
    writeln!(file, "{}", secret.expose_secret())
        .and_then(|()| file.sync_all())
        .map_err(|error| unwritable(path, &error))?;
    Ok(draft)
}
