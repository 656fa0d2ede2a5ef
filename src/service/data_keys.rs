//! Keys: the server key, the data keys it seals, and what they are used for.
//!
//! The *server key* comes from outside and only seals random *data keys* kept in the database, so changing it touches
//! no token. Every digest and sealed value names the data key it used. The database keeps the server key's
//! fingerprint: a process with another key refuses to start, since it could only do damage.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use aws_lc_rs::aead::{
    AES_256_GCM, AES_256_GCM_SIV, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::clock::{Clock, Random};
use crate::domain::secret::{self, Lookup, SecretKind};
use crate::error::{Error, Field, Result};
use crate::store::credentials::SecretDigest;
use crate::store::data_keys::Sealed;
use crate::store::{Lock, Session, Store, data_keys};

/// Bytes in every key.
pub(super) const KEY: usize = 32;
/// Bytes of a fingerprint that name a key.
pub(super) const ID: usize = 8;
/// The name of the fingerprint among the data set's facts.
const FINGERPRINT: &str = "server-key";
/// The name of its changes there.
const CHANGES: &str = "server-key-changes";
/// The layout of sealed values: this byte, the nonce, the ciphertext with its tag.
const SEALED_VERSION: u8 = 1;

/// The key that seals data keys. Its `Debug` shows nothing of it.
pub struct ServerKey(SecretBox<[u8; KEY]>);

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(…)")
    }
}

impl ServerKey {
    /// Makes a key.
    pub fn generate(random: &dyn Random) -> Result<Self> {
        Ok(Self(SecretBox::new(Box::new(random.bytes()?))))
    }

    /// Reads a key: the base64 of 32 bytes, white space around it ignored.
    pub fn parse(text: &SecretString) -> Result<Self> {
        let decoded = STANDARD.decode(text.expose_secret().trim());
        let decoded = Zeroizing::new(decoded.unwrap_or_default());
        let key = <[u8; KEY]>::try_from(decoded.as_slice()).map_err(|_| {
            Error::invalid(
                Field::Setting,
                "the server key is not the base64 of 32 bytes; `wharfinger keys init` makes one",
            )
        })?;
        Ok(Self(SecretBox::new(Box::new(key))))
    }

    /// The form that [`ServerKey::parse`] reads.
    #[must_use]
    pub fn encode(&self) -> SecretString {
        STANDARD.encode(self.0.expose_secret()).into()
    }

    /// Derives a key for one use: the same bytes never serve two algorithms.
    fn derive(&self, label: &str) -> hmac::Tag {
        hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, self.0.expose_secret()),
            label.as_bytes(),
        )
    }

    fn sealing(&self) -> Result<Sealer> {
        Sealer::new(self.derive("seal data keys").as_ref())
    }

    /// Seals the key of a backup.
    pub(super) fn seal_file_key(&self, nonce: [u8; NONCE_LEN], key: &[u8; KEY]) -> Result<Vec<u8>> {
        Sealer::new(self.derive("seal backups").as_ref())?.seal(nonce, "backup", key)
    }

    /// Opens the key of a backup; `None` if it was altered, or sealed by another server key.
    pub(super) fn open_file_key(&self, sealed: &[u8]) -> Result<Option<Zeroizing<[u8; KEY]>>> {
        let opened = Sealer::new(self.derive("seal backups").as_ref())?.open("backup", sealed);
        Ok(opened.and_then(|key| {
            <[u8; KEY]>::try_from(key.as_slice())
                .ok()
                .map(Zeroizing::new)
        }))
    }

    /// The fingerprint by which the database recognises the key.
    fn fingerprint(&self) -> Vec<u8> {
        self.derive("fingerprint").as_ref().to_vec()
    }

    /// The id of the key in rows and messages.
    #[must_use]
    pub fn id(&self) -> String {
        short(&self.fingerprint())
    }

    pub(super) fn id_bytes(&self) -> Vec<u8> {
        self.fingerprint().into_iter().take(ID).collect()
    }
}

/// A fingerprint's first bytes in hexadecimal.
pub(super) fn short(fingerprint: &[u8]) -> String {
    fingerprint
        .iter()
        .take(ID)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A change of the server key. The database keeps every one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// The old key's id.
    pub from: String,
    /// The new one's.
    pub to: String,
    /// The time.
    pub at: DateTime<Utc>,
}

/// The purpose of a data key. One purpose, one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// Digests of machine secrets.
    Digest,
    /// Page cursors.
    Cursor,
    /// Values that only this service reads again: private keys, refresh tokens.
    Seal,
    /// The chains of the audit trail.
    Audit,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Digest, Self::Cursor, Self::Seal, Self::Audit];

    fn name(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Cursor => "cursor",
            Self::Seal => "seal",
            Self::Audit => "audit",
        }
    }
}

/// An opened value, wiped when it is dropped.
pub type Opened = Zeroizing<Vec<u8>>;

/// Authenticated encryption under one key.
struct Sealer(LessSafeKey);

impl Sealer {
    fn new(key: &[u8]) -> Result<Self> {
        Self::of(&AES_256_GCM, key)
    }

    /// For more values than random nonces of 96 bits are good for: with a repeated nonce, this algorithm reveals only
    /// that the values were equal (RFC 8452).
    fn for_many(key: &[u8]) -> Result<Self> {
        Self::of(&AES_256_GCM_SIV, key)
    }

    fn of(algorithm: &'static Algorithm, key: &[u8]) -> Result<Self> {
        let key = UnboundKey::new(algorithm, key)
            .map_err(|_| Error::internal("a sealing key has the wrong length"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals a value to a context: only the same context opens it.
    fn seal(&self, nonce: [u8; NONCE_LEN], context: &str, value: &[u8]) -> Result<Vec<u8>> {
        let mut body = value.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut body,
            )
            .map_err(|_| Error::internal("sealing failed"))?;
        let mut sealed = vec![SEALED_VERSION];
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens a sealed value; `None` if it was altered, or sealed to another context or by another key.
    fn open(&self, context: &str, sealed: &[u8]) -> Option<Opened> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .0
            .open_in_place(nonce, Aad::from(context.as_bytes()), &mut body)
            .ok()?
            .len();
        body.truncate(opened);
        (*version == SEALED_VERSION).then_some(body)
    }
}

/// The purpose of the keys that sign API tokens. They are not random bytes, and are made when first needed.
pub const API_JWT: &str = "api-jwt";

/// The open data keys.
pub struct DataKeys {
    /// Seals new data keys, under the server key that is named beside it.
    server: Sealer,
    server_key_id: String,
    digest: BTreeMap<i64, hmac::Key>,
    cursor: BTreeMap<i64, Sealer>,
    seal: BTreeMap<i64, Sealer>,
    audit: BTreeMap<i64, hmac::Key>,
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("digest", &self.digest.keys())
            .field("cursor", &self.cursor.keys())
            .field("seal", &self.seal.keys())
            .field("audit", &self.audit.keys())
            .finish_non_exhaustive()
    }
}

impl DataKeys {
    /// Opens the data keys with the server key. Makes missing ones, which is all of them at the first start.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the data set belongs to another server key.
    pub async fn open(
        store: &Store,
        server_key: &ServerKey,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<Self> {
        let fingerprint = server_key.fingerprint();
        let found = store
            .read(|connection| {
                // The server key may be changed at this very moment.
                connection.snapshot(|connection| {
                    Ok((
                        data_keys::fact(connection, FINGERPRINT)?,
                        data_keys::list(connection)?,
                    ))
                })
            })
            .await?;
        let complete = Purpose::ALL
            .iter()
            .all(|purpose| found.1.iter().any(|key| key.purpose == purpose.name()));
        let (known, sealed) = if found.0.is_some() && complete {
            found
        } else {
            Self::make_missing(store, server_key, clock, random).await?
        };
        if known.is_none_or(|known| {
            constant_time::verify_slices_are_equal(&known, &fingerprint).is_err()
        }) {
            let given = server_key.id();
            return Err(store
                .read(move |connection| foreign_key(connection, &given))
                .await?);
        }
        Self::unseal(server_key, sealed)
    }

    async fn make_missing(
        store: &Store,
        server_key: &ServerKey,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<(Option<Vec<u8>>, Vec<data_keys::SealedKey>)> {
        let (fingerprint, id, now) = (server_key.fingerprint(), server_key.id(), clock.now());
        let sealer = server_key.sealing()?;
        let fresh = Purpose::ALL
            .iter()
            .map(|purpose| {
                Ok((
                    *purpose,
                    Zeroizing::new(random.bytes::<KEY>()?),
                    random.bytes::<NONCE_LEN>()?,
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        store
            .write(Lock::Catalog, move |connection| {
                // Another replica may have been faster: the lock makes this look the decisive one.
                let known = data_keys::fact(connection, FINGERPRINT)?;
                if known.as_ref().is_some_and(|known| *known != fingerprint) {
                    return Ok((known, Vec::new()));
                }
                if known.is_none() {
                    data_keys::note_fact(connection, FINGERPRINT, &fingerprint)?;
                }
                let present = data_keys::list(connection)?;
                for (purpose, material, nonce) in &fresh {
                    if !present.iter().any(|key| key.purpose == purpose.name()) {
                        data_keys::insert(connection, purpose.name(), &id, now, |key| {
                            sealer.seal(*nonce, &data_key_context(purpose.name(), key), &**material)
                        })?;
                    }
                }
                Ok((Some(fingerprint.clone()), data_keys::list(connection)?))
            })
            .await
    }

    fn unseal(server_key: &ServerKey, sealed: Vec<data_keys::SealedKey>) -> Result<Self> {
        let opener = server_key.sealing()?;
        let mut vault = Self {
            server: server_key.sealing()?,
            server_key_id: server_key.id(),
            digest: BTreeMap::new(),
            cursor: BTreeMap::new(),
            seal: BTreeMap::new(),
            audit: BTreeMap::new(),
        };
        for key in sealed {
            let material = opener
                .open(&data_key_context(&key.purpose, key.key), &key.sealed)
                .ok_or_else(|| not_opening(key.key))?;
            match key.purpose.as_str() {
                "digest" => drop(vault.digest.insert(key.key, mac_key(&material))),
                "audit" => drop(vault.audit.insert(key.key, mac_key(&material))),
                "cursor" => drop(vault.cursor.insert(key.key, Sealer::new(&material)?)),
                "seal" => drop(vault.seal.insert(key.key, Sealer::for_many(&material)?)),
                // Opened where they are used; or the purpose of a newer release that runs beside this one.
                _ => {}
            }
        }
        Ok(vault)
    }

    /// The key of new chains of the audit trail, and its number.
    pub fn newest_audit_key(&self) -> Result<(i64, &hmac::Key)> {
        newest(&self.audit)
    }

    /// The key of a chain of the audit trail.
    #[must_use]
    pub fn audit_key(&self, number: i64) -> Option<&hmac::Key> {
        self.audit.get(&number)
    }

    /// The stored digest of a token's secret, under the newest digest key. It belongs to the token with this id.
    pub fn digest(
        &self,
        kind: SecretKind,
        token: Uuid,
        secret: &SecretString,
    ) -> Result<SecretDigest> {
        let (number, key) = newest(&self.digest)?;
        Ok(SecretDigest {
            digest: secret::digest(key, kind, token, secret),
            key: number,
        })
    }

    /// Returns true if this is the secret of a digest. Takes the same time in either case.
    #[must_use]
    pub fn matches(
        &self,
        kind: SecretKind,
        token: Uuid,
        secret: &SecretString,
        stored: &SecretDigest,
    ) -> bool {
        self.digest.get(&stored.key).is_some_and(|key| {
            let digest = secret::digest(key, kind, token, secret);
            constant_time::verify_slices_are_equal(&digest, &stored.digest).is_ok()
        })
    }

    /// The value by which a registry token's secret finds its row, under the newest digest key.
    pub fn lookup(&self, secret: &SecretString) -> Result<Lookup> {
        let (_, key) = newest(&self.digest)?;
        Ok(secret::lookup(key, secret))
    }

    /// The values by which its row may be found: one for each digest key, as a row does not say which it has.
    #[must_use]
    pub fn lookups(&self, secret: &SecretString) -> Vec<Lookup> {
        let keys = self.digest.values();
        keys.map(|key| secret::lookup(key, secret)).collect()
    }

    /// Seals every data key with another server key. `nonce` is random, made before the store job.
    ///
    /// Running processes go on: they hold the keys that the first server key opened. Keys that they have not opened yet
    /// are left to them under a data key that they hold.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the data set is sealed by another key than this process has, or by the new one already.
    pub fn rewrap(
        &self,
        connection: &mut Session,
        new: &ServerKey,
        nonce: [u8; NONCE_LEN],
        now: DateTime<Utc>,
    ) -> Result<KeyChange> {
        self.require_own(connection)?;
        let change = KeyChange {
            from: self.server_key_id.clone(),
            to: new.id(),
            at: now,
        };
        if change.from == change.to {
            let message =
                "the new server key is the one that the database has already; give another";
            return Err(Error::invalid(Field::Setting, message));
        }
        let next = new.sealing()?;
        for key in data_keys::every(connection)? {
            let material = self.unwrap_key(&key)?;
            let nonce = numbered(nonce, key.key);
            if !Purpose::ALL.iter().any(|known| known.name() == key.purpose) {
                let copy = self.seal_with(nonce, &copy_context(key.key), &material)?;
                data_keys::keep_copy(connection, key.key, &copy)?;
            }
            let context = data_key_context(&key.purpose, key.key);
            let sealed = next.seal(nonce, &context, &material)?;
            data_keys::reseal(connection, key.key, &sealed, &change.to)?;
        }
        data_keys::set_fact(connection, FINGERPRINT, &new.fingerprint())?;
        let mut changes = changes(connection)?;
        changes.push(change.clone());
        let told = serde_json::to_vec(&changes).map_err(Error::internal)?;
        data_keys::set_fact(connection, CHANGES, &told)?;
        Ok(change)
    }

    /// Refuses if the server key was changed since this process began: nobody could open a value that it seals now.
    fn require_own(&self, connection: &mut Session) -> Result<()> {
        let known = data_keys::fact(connection, FINGERPRINT)?;
        if known.is_some_and(|known| short(&known) == self.server_key_id) {
            return Ok(());
        }
        Err(foreign_key(connection, &self.server_key_id)?)
    }

    /// Adds a data key of a purpose that is not opened at the start; `nonce` is random, made before the store job.
    pub fn insert_data_key(
        &self,
        connection: &mut Session,
        purpose: &str,
        material: &[u8],
        nonce: [u8; NONCE_LEN],
        now: DateTime<Utc>,
    ) -> Result<()> {
        self.require_own(connection)?;
        data_keys::insert(connection, purpose, &self.server_key_id, now, |key| {
            self.server
                .seal(nonce, &data_key_context(purpose, key), material)
        })
    }

    /// Opens the data keys of such a purpose, each with its number; also if another server key seals them by now.
    pub fn open_data_keys(
        &self,
        connection: &mut Session,
        purpose: &str,
    ) -> Result<Vec<(i64, SecretBox<Vec<u8>>)>> {
        let mut opened = Vec::new();
        for key in data_keys::list(connection)? {
            if key.purpose != purpose {
                continue;
            }
            let material = if key.server_key_id == self.server_key_id {
                self.unwrap_key(&key)?
            } else {
                data_keys::copy(connection, key.key)?
                    .and_then(|copy| self.open_sealed(&copy_context(key.key), &copy))
                    .ok_or_else(|| not_opening(key.key))?
            };
            opened.push((key.key, boxed(material)));
        }
        Ok(opened)
    }

    fn unwrap_key(&self, key: &data_keys::SealedKey) -> Result<Opened> {
        self.server
            .open(&data_key_context(&key.purpose, key.key), &key.sealed)
            .ok_or_else(|| not_opening(key.key))
    }

    /// Seals a value for a row of the database. Its context says what it is and whose.
    pub fn seal(&self, random: &dyn Random, context: &str, value: &[u8]) -> Result<Sealed> {
        self.seal_with(random.bytes()?, context, value)
    }

    /// Seals a value in a store job. `nonce` was made before, as a job draws no random bytes.
    pub fn seal_with(&self, nonce: [u8; NONCE_LEN], context: &str, value: &[u8]) -> Result<Sealed> {
        let (number, sealer) = newest(&self.seal)?;
        Ok(Sealed {
            bytes: sealer.seal(nonce, context, value)?,
            key: number,
        })
    }

    /// Opens the value of a row; `None` if it was altered or belongs elsewhere.
    #[must_use]
    pub fn open_sealed(&self, context: &str, sealed: &Sealed) -> Option<Opened> {
        self.seal.get(&sealed.key)?.open(context, &sealed.bytes)
    }

    /// Seals a value for a client: URL-safe text, opaque, and of no use in another context.
    pub fn seal_text(&self, random: &dyn Random, context: &str, value: &[u8]) -> Result<String> {
        to_text(newest(&self.seal)?, random, context, value)
    }

    /// Opens a value that came back; `None` if it is none of ours or of another context.
    #[must_use]
    pub fn open_text(&self, context: &str, text: &str) -> Option<Opened> {
        from_text(&self.seal, context, text)
    }

    /// Seals a page cursor for a list: URL-safe, opaque, and of no use to another list.
    pub fn seal_cursor(&self, random: &dyn Random, list: &str, cursor: &[u8]) -> Result<String> {
        to_text(newest(&self.cursor)?, random, &cursor_context(list), cursor)
    }

    /// Opens a page cursor; `None` if it is not one of this list's.
    #[must_use]
    pub fn open_cursor(&self, list: &str, text: &str) -> Option<Opened> {
        from_text(&self.cursor, &cursor_context(list), text)
    }
}

/// Moves an opened value into a box that never shows it, without leaving a copy behind.
#[must_use]
pub fn boxed(mut opened: Opened) -> SecretBox<Vec<u8>> {
    SecretBox::new(Box::new(std::mem::take(&mut *opened)))
}

fn mac_key(material: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, material)
}

fn newest<K>(keys: &BTreeMap<i64, K>) -> Result<(i64, &K)> {
    keys.last_key_value()
        .map(|(number, sealer)| (*number, sealer))
        .ok_or_else(|| Error::internal("a data key is missing"))
}

/// The number of the data key, then the sealed value.
fn to_text(
    (number, sealer): (i64, &Sealer),
    random: &dyn Random,
    context: &str,
    value: &[u8],
) -> Result<String> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend(sealer.seal(random.bytes()?, context, value)?);
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn from_text(keys: &BTreeMap<i64, Sealer>, context: &str, text: &str) -> Option<Opened> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (number, sealed) = bytes.split_first_chunk::<8>()?;
    keys.get(&i64::from_be_bytes(*number))?
        .open(context, sealed)
}

/// Returns true if the data set already belongs to a server key.
pub async fn is_claimed(store: &Store) -> Result<bool> {
    store
        .read(|connection| Ok(data_keys::fact(connection, FINGERPRINT)?.is_some()))
        .await
}

/// Refuses a data set of another server key, and one that has none yet.
pub(super) fn require_key(connection: &mut Session, server_key: &ServerKey) -> Result<()> {
    match data_keys::fact(connection, FINGERPRINT)? {
        None => Err(Error::invalid(
            Field::Setting,
            "--database-url: this database has no keys: no server was ever started on it",
        )),
        Some(known) if known == server_key.fingerprint() => Ok(()),
        Some(_) => Err(foreign_key(connection, &server_key.id())?),
    }
}

/// The error for a server key that is not the data set's.
fn foreign_key(connection: &mut Session, given: &str) -> Result<Error> {
    let known = short(&data_keys::fact(connection, FINGERPRINT)?.unwrap_or_default());
    let replaced = changes(connection)?
        .into_iter()
        .rfind(|change| change.from == given);
    let message = match replaced {
        Some(change) => format!(
            "this database belongs to another server key: {given} was replaced on {} by {}; start with {known}",
            change.at.format("%F %T UTC"),
            change.to,
        ),
        None => format!(
            "this database belongs to another server key: {given} was given; start with {known}, which it was made with"
        ),
    };
    Ok(Error::invalid(Field::Setting, message))
}

/// Every change of the server key, oldest first.
fn changes(connection: &mut Session) -> Result<Vec<KeyChange>> {
    match data_keys::fact(connection, CHANGES)? {
        Some(told) => serde_json::from_slice(&told).map_err(Error::internal),
        None => Ok(Vec::new()),
    }
}

/// Derives a nonce for each number from a random one.
fn numbered(mut nonce: [u8; NONCE_LEN], number: i64) -> [u8; NONCE_LEN] {
    for (byte, part) in nonce.iter_mut().zip(number.to_be_bytes()) {
        *byte ^= part;
    }
    nonce
}

fn not_opening(key: i64) -> Error {
    Error::internal(format!("data key {key} does not open with its server key"))
}

fn copy_context(key: i64) -> String {
    format!("data-key-copy/{key}")
}

fn data_key_context(purpose: &str, key: i64) -> String {
    format!("data-key/{purpose}/{key}")
}

fn cursor_context(list: &str) -> String {
    format!("cursor/{list}")
}

#[cfg(test)]
mod tests {
    use crate::service::data_keys::*;

    #[test]
    fn a_seal_opens_only_in_its_own_context() {
        for make in [Sealer::new, Sealer::for_many] {
            let key = make(&[7; KEY]).unwrap();
            let sealed = key.seal([1; NONCE_LEN], "a", b"value").unwrap();
            assert_eq!(key.open("a", &sealed).unwrap().as_slice(), b"value");
            assert!(key.open("b", &sealed).is_none());
            assert!(make(&[8; KEY]).unwrap().open("a", &sealed).is_none());
            for at in 0..sealed.len() {
                let mut altered = sealed.clone();
                altered[at] ^= 1;
                assert!(
                    key.open("a", &altered).is_none(),
                    "a change at {at} went unnoticed"
                );
            }
            assert!(key.open("a", &[]).is_none());
        }
    }

    #[test]
    fn a_lookup_of_each_digest_key_finds_a_row_and_the_newest_makes_it() {
        let keys = [(3, [3; KEY]), (7, [7; KEY])];
        let vault = DataKeys {
            server: Sealer::new(&[1; KEY]).unwrap(),
            server_key_id: String::new(),
            digest: keys.map(|(number, key)| (number, mac_key(&key))).into(),
            cursor: BTreeMap::new(),
            seal: BTreeMap::new(),
            audit: BTreeMap::new(),
        };
        let secret = secret::token_secret([9; secret::TOKEN_ENTROPY]);
        let of = |key: [u8; KEY]| secret::lookup(&mac_key(&key), &secret);
        assert_eq!(vault.lookups(&secret), keys.map(|(_, key)| of(key)));
        assert_eq!(vault.lookup(&secret).unwrap(), of([7; KEY]));
    }

    #[test]
    fn server_keys_are_read_as_written_and_never_shown() {
        let key = ServerKey(SecretBox::new(Box::new([3; KEY])));
        let read =
            ServerKey::parse(&format!(" {}\n", key.encode().expose_secret()).into()).unwrap();
        assert_eq!(read.fingerprint(), key.fingerprint());
        assert_eq!(format!("{key:?}"), "ServerKey(…)");
        for wrong in ["", "AAAA", "not base64!"] {
            assert!(
                ServerKey::parse(&wrong.to_owned().into()).is_err(),
                "{wrong:?} was accepted"
            );
        }
    }
}
