//! The state of the open database, beyond its answers.
//!
//! SQLite goes on with the file that it has open when the file at its path is replaced or removed: it reads and writes
//! as before, and all of that is lost with the process. So the file's device and inode are compared with those at the
//! start. The same holds for its write-ahead log, which alone holds the last commits. SQLite also trusts its file as it
//! is, so a file that was left by a crash is checked.
//!
//! On PostgreSQL all this is for the server to know, except for failed writes.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::sql_types::Text;
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use super::priority::{Errand, rank};
use super::session::{Index, Purpose, Session, Target};
use crate::error::{Error, Result};

/// The state of the database, as this process last saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// The file at the path of SQLite's file.
    pub file: FileState,
    /// The state of the content of SQLite's file.
    pub integrity: Integrity,
    /// True if the last write failed for a reason of the database: a full disk, a lock, a loss.
    pub writes_fail: bool,
}

impl Health {
    /// Returns true if this process's answers can be relied on.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.file == FileState::Same && self.integrity != Integrity::Broken
    }
}

/// The file at the path of SQLite's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// The file that is open.
    Same,
    /// Another file.
    Replaced,
    /// No visible file.
    Missing,
    /// The file that is open, but not the write-ahead log that is open.
    LogGone,
}

impl FileState {
    /// The reason for which nothing is written, for the log.
    fn fault(self) -> Option<&'static str> {
        match self {
            Self::Same => None,
            Self::Replaced => Some("the file of the database was replaced by another"),
            Self::Missing => Some("the file of the database is gone"),
            Self::LogGone => Some("the write-ahead log of the database was removed or replaced"),
        }
    }
}

/// The state of the content of SQLite's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// No known fault.
    Assumed,
    /// The process before was killed, and the check has not ended.
    Unknown,
    /// A check found a fault.
    Broken,
}

/// Keeps watch over the database of a store.
#[derive(Debug)]
pub(super) struct Condition {
    /// SQLite's file as it was at the start.
    file: Option<Identity>,
    /// SQLite's write-ahead log, once the writer's connection has committed to it.
    log: Mutex<Option<Identity>>,
    health: Mutex<Health>,
    /// The note of this process, while it serves.
    note: Mutex<Option<PathBuf>>,
}

/// A file, even after a rename.
#[derive(Debug, Clone)]
struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> std::io::Result<Self> {
        let found = path.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        })
    }

    /// Compares the file at the path with this one.
    fn look(&self) -> FileState {
        match Self::of(&self.path) {
            Ok(found) if (found.device, found.inode) == (self.device, self.inode) => {
                FileState::Same
            }
            Ok(_) => FileState::Replaced,
            Err(_) => FileState::Missing,
        }
    }
}

impl Condition {
    /// Remembers the database's file.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if there is none.
    pub(super) fn watch(target: &Target) -> Result<Arc<Self>> {
        let file = match target {
            Target::Postgres(_) => None,
            Target::Sqlite(path) => {
                let found = Identity::of(path).map_err(|error| Error::Unavailable {
                    outage: crate::error::Outage::Gone,
                    source: Some(format!("{}: {error}", path.display()).into()),
                })?;
                Some(found)
            }
        };
        Ok(Arc::new(Self {
            file,
            log: Mutex::new(None),
            health: Mutex::new(Health {
                file: FileState::Same,
                integrity: Integrity::Assumed,
                writes_fail: false,
            }),
            note: Mutex::new(None),
        }))
    }

    pub(super) fn health(&self) -> Health {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the file at the path is still the open one, and logs a change.
    ///
    /// # Errors
    ///
    /// A phrase for the fault.
    pub(super) fn look(&self) -> std::result::Result<(), &'static str> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let log_is_open = log.as_ref().is_none_or(|log| log.look() == FileState::Same);
        drop(log);
        let place = match file.look() {
            FileState::Same if !log_is_open => FileState::LogGone,
            place => place,
        };
        let before = std::mem::replace(&mut self.lock().file, place);
        match place.fault() {
            None if before == place => Ok(()),
            None => {
                tracing::warn!(
                    file = %file.path.display(),
                    "the file of the database is back, so writes are accepted again"
                );
                Ok(())
            }
            Some(fault) => {
                if before != place {
                    tracing::error!(
                        file = %file.path.display(),
                        "{fault}; all writes are refused, as they would be lost when this process ends. Put the file \
                         back, or restart to use what is there"
                    );
                }
                Err(fault)
            }
        }
    }

    /// Notes a commit of the writer: from now on the log is watched. SQLite makes the log at its first use.
    pub(super) fn note_log(&self) {
        let Some(file) = &self.file else {
            return;
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.is_none() {
            // A file system without shared memory has no log.
            *log = Identity::of(&beside(&file.path, "-wal")).ok();
        }
    }

    /// Notes that the writer closes its connection. If that is the last one, SQLite removes the log with it.
    pub(super) fn forget_log(&self) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns true if the file is known to be replaced or gone.
    pub(super) fn is_moved(&self) -> bool {
        self.health().file != FileState::Same
    }

    /// Notes the result of the last write.
    pub(super) fn note_write(&self, failed: bool) {
        self.lock().writes_fail = failed;
    }

    /// Leaves a note beside SQLite's file that a server runs, which a clean end removes. If an earlier server left one,
    /// that server or its machine was stopped by force, and a thread checks the file in the background.
    pub(super) fn begin(self: &Arc<Self>, target: &Target, index: Index) {
        let Some(file) = &self.file else {
            return;
        };
        let note = beside(&file.path, "-running");
        match leave(&note) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.lock().integrity = Integrity::Unknown;
                let (condition, target) = (Arc::clone(self), target.clone());
                let thread = std::thread::Builder::new().name("store-check".to_owned());
                // Not waited for at the end: the note stays if the check has not ended.
                let started = thread.spawn(move || condition.check(&target, index));
                if let Err(error) = started {
                    tracing::warn!(%error, "the check of the database failed; restart to check it again");
                }
            }
            // The only consequence is that a later start does not check.
            Err(error) => {
                tracing::warn!(
                    %error,
                    file = %note.display(),
                    "the file could not be written, so a later start does not check the database; make its folder \
                     writable"
                );
            }
        }
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
    }

    /// Removes the note at a clean end, unless the file still has to be checked.
    pub(super) fn end(&self) {
        let mut note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(note) = note.take() else {
            return;
        };
        let health = self.health();
        if self.look().is_ok() && health.integrity == Integrity::Assumed {
            let _ = std::fs::remove_file(note);
        }
    }

    fn check(&self, target: &Target, index: Index) {
        rank(Errand::Read);
        let found = find_fault(target, index);
        // Else another file was checked.
        if self.look().is_err() {
            return;
        }
        match found {
            Ok(None) => {
                self.lock().integrity = Integrity::Assumed;
                tracing::info!(
                    "the previous process did not close the database; the check found it intact"
                );
            }
            Ok(Some(fault)) => {
                self.lock().integrity = Integrity::Broken;
                tracing::error!(
                    fault,
                    "the database is damaged; stop the service and restore a backup"
                );
            }
            Err(error) => tracing::warn!(
                error = error.chain(),
                "the check of the database failed; restart to check it again"
            ),
        }
    }
}

/// The path of a file beside the database's, with a suffix.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Makes a new file and makes its name durable, since it is for the time after a power cut.
fn leave(note: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(note)?;
    let folder = note.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

/// The first fault that SQLite finds in its file, if there is one.
fn find_fault(target: &Target, index: Index) -> Result<Option<String>> {
    let check = || -> Result<Vec<Line>> {
        let mut connection = Session::open_with(target, Purpose::Dump, index)?;
        Ok(sql_query("PRAGMA quick_check(1)").load(&mut connection)?)
    };
    match check() {
        Ok(lines) => {
            let mut lines = lines.into_iter().map(|found| found.quick_check);
            Ok(lines.find(|line| line != "ok"))
        }
        Err(error) => {
            let text = error.chain();
            let broken = ["malformed", "not a database"];
            if broken.iter().any(|known| text.contains(known)) {
                return Ok(Some(text));
            }
            Err(error)
        }
    }
}
