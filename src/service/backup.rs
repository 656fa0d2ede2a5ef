//! Backups: one file with all that a database has, sealed by the server key.
//!
//! The file is the same for both databases, so that a backup of one restores into the other. It begins with a public
//! header: the mark of a backup, and the id of the server key that seals it. The rest is sealed under a key of its own:
//! the contents, then the compressed rows of each table. It is sealed in pieces, each with its number and a mark of the
//! last (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár): a changed, cut off, omitted or moved piece
//! does not open. Owns that form, and the conditions for a database to restore into. Refuses to know files.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::data_keys;
use super::data_keys::{ID, KEY, ServerKey};
use super::restored;
use super::restored::Restored;
use crate::clock::{Clock, Random};
use crate::error::{Error, Field, Result};
use crate::store::dump::{self, Table};
use crate::store::{self, Session, Target, migrations};

/// The first bytes of a backup.
const MAGIC: &[u8; 18] = b"wharfinger backup\n";
/// The version of the form, which follows.
const FORM: u8 = 1;
/// Bytes of the file's own key, sealed.
const SEALED_KEY: usize = 1 + NONCE_LEN + KEY + TAG;
/// Bytes that are sealed at once.
const PIECE: usize = 64 * 1024;
/// Bytes that sealing adds.
const TAG: usize = 16;
/// Bytes of rows that a database is given at once.
const BATCH: usize = 1024 * 1024;

/// The contents of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// The release that made it.
    pub release: String,
    /// The migrations of its tables.
    pub migrations: Vec<String>,
    /// Its tables, in the order of their rows.
    pub tables: Vec<Table>,
}

impl Contents {
    /// The number of things in a table, without those that are deleted.
    #[must_use]
    pub fn living(&self, table: &str) -> i64 {
        let found = self.tables.iter().find(|known| known.name == table);
        found.map_or(0, |table| table.rows - table.deleted)
    }
}

/// Writes a backup of a database, which may be in use.
///
/// # Errors
///
/// [`Error::Invalid`] if the database belongs to another server key, or to a newer release.
pub fn write(
    target: &Target,
    server_key: &ServerKey,
    clock: &dyn Clock,
    random: &dyn Random,
    mut output: impl Write,
) -> Result<Contents> {
    let (key, nonce) = (
        Zeroizing::new(random.bytes::<KEY>()?),
        random.bytes::<NONCE_LEN>()?,
    );
    if !dump::is_there(target)? {
        let message =
            format!("--database-url: {target} has no tables: no server was ever started on it");
        return Err(Error::invalid(Field::Setting, message));
    }
    dump::read(target, |connection| {
        data_keys::require_key(connection, server_key)?;
        let contents = contents(connection, clock.now())?;
        let id = server_key.id_bytes();
        let sealed_key = server_key.seal_file_key(nonce, &key)?;
        for part in [&MAGIC[..], &[FORM], &id, &sealed_key] {
            output.write_all(part).map_err(|error| unwritable(&error))?;
        }
        let mut lines = DeflateEncoder::new(Sealing::new(output, &key)?, Compression::fast());
        let mut line = |text: &[u8]| {
            let written = lines.write_all(text).and_then(|()| lines.write_all(b"\n"));
            written.map_err(|error| unwritable(&error))
        };
        line(&serde_json::to_vec(&contents).map_err(Error::internal)?)?;
        for table in &contents.tables {
            let mut rows = 0;
            dump::rows(connection, table, |row| {
                rows += 1;
                line(row.as_bytes())
            })?;
            if rows != table.rows {
                let message = format!("{} has {rows} rows, not {}", table.name, table.rows);
                return Err(Error::internal(message));
            }
        }
        let finished = lines.finish().and_then(Sealing::finish);
        finished.map_err(|error| unwritable(&error))?;
        Ok(contents)
    })
}

fn contents(connection: &mut Session, made_at: DateTime<Utc>) -> Result<Contents> {
    let migrations = migrations::applied(connection)?;
    if let Some(newer) = migrations::unknown(&migrations)? {
        return Err(Error::invalid(
            Field::Setting,
            format!(
                "a newer release migrated this database ({newer}), and may have added tables that this one does not know: \
                 make the backup with that release"
            ),
        ));
    }
    Ok(Contents {
        made_at,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        migrations,
        tables: dump::tables(connection)?,
    })
}

/// Reads a backup from beginning to end, and changes nothing.
///
/// # Errors
///
/// [`Error::Invalid`] if the input is not a backup, is damaged, or was sealed by another server key.
pub fn check(server_key: &ServerKey, input: impl Read) -> Result<Contents> {
    let mut backup = Backup::open(server_key, input)?;
    let contents = backup.contents.clone();
    for table in &contents.tables {
        backup.rows(table, |_| Ok(()))?;
    }
    backup.finish()?;
    Ok(contents)
}

/// Restores a backup into a database that has no data yet, and freezes the database.
///
/// The tables are made as they were, filled, and then migrated to this release.
///
/// # Errors
///
/// [`Error::Invalid`] as for [`check`], if the database is in use, or if the backup is of a newer release.
pub fn restore(
    target: &Target,
    server_key: &ServerKey,
    clock: &Arc<dyn Clock>,
    random: &dyn Random,
    input: impl Read,
) -> Result<Contents> {
    let mut backup = Backup::open(server_key, input)?;
    let contents = backup.contents.clone();
    if let Some(newer) = migrations::unknown(&contents.migrations)? {
        let message = format!(
            "this backup comes from a newer release, as its tables have the migration {newer}; restore it with that \
             release"
        );
        return Err(Error::invalid(Field::Setting, message));
    }
    let holder = store::leases::holder(random)?;
    // Before a migration, not only before the rows.
    if dump::is_there(target)? {
        dump::read(target, require_empty)?;
    }
    let last = contents.migrations.last().map(String::as_str);
    store::migrate_until(target, clock, &holder, last)?;
    dump::write(target, |connection| {
        require_empty(connection)?;
        if migrations::applied(connection)? != contents.migrations {
            return Err(Error::invalid(
                Field::Setting,
                "--database-url: this database has other tables than the backup; use an empty database",
            ));
        }
        for table in &contents.tables {
            dump::prepare(connection, table)?;
            let mut rows = Rows::default();
            backup.rows(table, |row| match rows.add(row) {
                Some(full) => dump::insert(connection, table, &full),
                None => Ok(()),
            })?;
            if let Some(last) = rows.take() {
                dump::insert(connection, table, &last)?;
            }
            dump::skip_ahead(connection, table)?;
        }
        backup.finish()?;
        data_keys::require_key(connection, server_key)?;
        let restored = Restored {
            lost_events: None,
            made_at: contents.made_at,
            restored_at: clock.now(),
        };
        restored::freeze(connection, &restored)
    })?;
    store::migrate(target, clock, &holder)?;
    Ok(contents)
}

/// Refuses a database with data. Keys alone do not count: a start that failed at its address leaves them. All other
/// data was made by an account, which stays when it is deleted, or is in the audit trail.
fn require_empty(connection: &mut Session) -> Result<()> {
    for table in ["accounts", "registries", "audit_events"] {
        if dump::has_any(connection, table)? {
            return Err(Error::invalid(
                Field::Setting,
                "--database-url: this database is in use, as it has accounts, registries or an audit trail; use a \
                 database without these",
            ));
        }
    }
    Ok(())
}

/// Rows on their way into a database: a JSON array of them.
#[derive(Default)]
struct Rows(String);

impl Rows {
    /// Adds a row. Returns all rows if they are enough for a batch.
    fn add(&mut self, row: &str) -> Option<String> {
        self.0.push(if self.0.is_empty() { '[' } else { ',' });
        self.0.push_str(row);
        (self.0.len() >= BATCH).then(|| self.take()).flatten()
    }

    /// All rows added since the last time, if there are any.
    fn take(&mut self) -> Option<String> {
        let mut rows = std::mem::take(&mut self.0);
        rows.push(']');
        (rows.len() > 1).then_some(rows)
    }
}

struct Backup<R> {
    contents: Contents,
    lines: BufReader<DeflateDecoder<BufReader<Opening<R>>>>,
}

impl<R: Read> Backup<R> {
    fn open(server_key: &ServerKey, mut input: R) -> Result<Self> {
        let mut head = [0; MAGIC.len() + 1 + ID];
        let none = || Error::invalid(Field::Setting, "the file is no backup of this service");
        input.read_exact(&mut head).map_err(|_| none())?;
        let rest = head.strip_prefix(MAGIC).ok_or_else(none)?;
        let (form, id) = rest.split_first().ok_or_else(none)?;
        if *form != FORM {
            let message = format!(
                "this backup has the format {form}, and this release reads {FORM}; restore it with the release that \
                 made it, or a later one"
            );
            return Err(Error::invalid(Field::Setting, message));
        }
        if id != server_key.id_bytes() {
            let message = format!(
                "this backup was sealed by the server key {}, and the one given is {}; give the key that sealed it",
                data_keys::short(id),
                server_key.id()
            );
            return Err(Error::invalid(Field::Setting, message));
        }
        let mut sealed_key = [0; SEALED_KEY];
        input.read_exact(&mut sealed_key).map_err(unreadable)?;
        let key = server_key
            .open_file_key(&sealed_key)?
            .ok_or_else(|| unreadable(damaged()))?;
        let opening = BufReader::new(Opening::new(input, &key)?);
        let mut lines = BufReader::new(DeflateDecoder::new(opening));
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).map_err(unreadable)?;
        // The seal was right, so the bytes are as written: an unknown form comes from a later release.
        let contents = serde_json::from_slice(&line).map_err(|error| {
            let message = format!("the description in this backup cannot be read: {error}");
            Error::invalid(Field::Setting, message)
        })?;
        Ok(Self { contents, lines })
    }

    /// Passes every row of the next table to `give`.
    fn rows(&mut self, table: &Table, mut give: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut line = String::new();
        for _ in 0..table.rows {
            line.clear();
            self.lines.read_line(&mut line).map_err(unreadable)?;
            match line.strip_suffix('\n') {
                Some(row) => give(row)?,
                None => return Err(unreadable(damaged())),
            }
        }
        Ok(())
    }

    /// Checks that nothing follows, and that the file was whole.
    fn finish(&mut self) -> Result<()> {
        let mut more = [0];
        let after_lines = self.lines.read(&mut more).map_err(unreadable)?;
        let opening = self.lines.get_mut().get_mut();
        let after_all = opening.read(&mut more).map_err(unreadable)?;
        if after_lines + after_all > 0 {
            return Err(unreadable(damaged()));
        }
        Ok(())
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is damaged; a part of it is missing or was changed",
    )
}

fn unreadable(error: io::Error) -> Error {
    let why = if error.kind() == io::ErrorKind::UnexpectedEof {
        damaged()
    } else {
        error
    };
    Error::invalid(Field::Setting, format!("this backup cannot be read: {why}"))
}

fn unwritable(error: &io::Error) -> Error {
    Error::invalid(
        Field::Setting,
        format!("the backup cannot be written: {error}"),
    )
}

/// The key of a file, and how many pieces it sealed or opened.
struct Pieces {
    key: LessSafeKey,
    count: u32,
}

impl Pieces {
    fn new(key: &[u8; KEY]) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(Error::internal)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            count: 0,
        })
    }

    /// The next piece's nonce. The key seals this file alone, so that numbers are never used twice.
    fn nonce(&mut self, last: bool) -> io::Result<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        let [.., a, b, c, d, end] = &mut nonce;
        [*a, *b, *c, *d] = self.count.to_be_bytes();
        *end = u8::from(last);
        self.count = self.count.checked_add(1).ok_or_else(damaged)?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

/// Seals what is written.
struct Sealing<W> {
    output: W,
    pieces: Pieces,
    piece: Vec<u8>,
}

impl<W: Write> Sealing<W> {
    fn new(output: W, key: &[u8; KEY]) -> Result<Self> {
        Ok(Self {
            output,
            pieces: Pieces::new(key)?,
            piece: Vec::with_capacity(PIECE + TAG),
        })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.pieces.nonce(last)?;
        self.pieces
            .key
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut self.piece)
            .map_err(io::Error::other)?;
        self.output.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    /// Seals the last piece: without it the others do not count.
    fn finish(mut self) -> io::Result<()> {
        self.seal(true)?;
        self.output.flush()
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only further data shows that this piece is not the last.
        if self.piece.len() == PIECE {
            self.seal(false)?;
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend(bytes.iter().take(taken));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Opens what was sealed so.
struct Opening<R> {
    input: R,
    pieces: Pieces,
    /// The piece to be opened next: it is the last if none follows.
    next: Vec<u8>,
    opened: io::Cursor<Vec<u8>>,
    done: bool,
}

impl<R: Read> Opening<R> {
    fn new(mut input: R, key: &[u8; KEY]) -> Result<Self> {
        let next = sealed_piece(&mut input).map_err(unreadable)?;
        Ok(Self {
            input,
            pieces: Pieces::new(key)?,
            next,
            opened: io::Cursor::default(),
            done: false,
        })
    }

    fn open(&mut self) -> io::Result<()> {
        let after = sealed_piece(&mut self.input)?;
        let mut piece = std::mem::replace(&mut self.next, after);
        self.done = self.next.is_empty();
        let nonce = self.pieces.nonce(self.done)?;
        let opened = self
            .pieces
            .key
            .open_in_place(nonce, Aad::empty(), &mut piece);
        let length = opened.map_err(|_| damaged())?.len();
        piece.truncate(length);
        self.opened = io::Cursor::new(piece);
        Ok(())
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.opened.read(bytes)?;
            if read > 0 || self.done || bytes.is_empty() {
                return Ok(read);
            }
            self.open()?;
        }
    }
}

/// The next piece as it was sealed; a shorter one only at the end.
fn sealed_piece(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE + TAG);
    let most = u64::try_from(PIECE + TAG).map_err(io::Error::other)?;
    input.take(most).read_to_end(&mut piece)?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let mut sealing = Sealing::new(&mut output, &[7; KEY]).unwrap();
        sealing.write_all(bytes).unwrap();
        sealing.finish().unwrap();
        output
    }

    fn opened(sealed: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut opening = Opening::new(sealed, &[7; KEY]).ok()?;
        opening.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    #[test]
    fn pieces_open_in_their_order_and_all_or_not_at_all() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 5] {
            let bytes: Vec<_> = (0..length)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            let whole = sealed(&bytes);
            assert_eq!(opened(&whole).unwrap(), bytes, "{length}");
            // Cut off, also where a piece ends, and drawn out.
            let step = PIECE + TAG;
            for end in (0..whole.len()).filter(|end| end % step < 2 || end % 9_973 == 0) {
                assert!(opened(&whole[..end]).is_none(), "{length} cut at {end}");
            }
            assert!(opened(&[&whole[..], b"x"].concat()).is_none());
            for at in (0..whole.len()).step_by(9_973) {
                let mut altered = whole.clone();
                altered[at] ^= 1;
                assert!(opened(&altered).is_none(), "{length} changed at {at}");
            }
            // Another order, a piece twice, a piece left out.
            let pieces: Vec<_> = whole.chunks(step).collect();
            if pieces.len() > 2 {
                for order in [&[1, 0, 2][..], &[0, 0, 1, 2], &[0, 2], &[1, 2]] {
                    let moved: Vec<_> = order.iter().map(|at| pieces[*at]).collect();
                    let rest = pieces[3..].concat();
                    assert!(opened(&[moved.concat(), rest].concat()).is_none());
                }
            }
        }
        assert!(opened(&[]).is_none());
    }
}
