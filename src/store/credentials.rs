//! The secrets of registry tokens, as logins need them.

use chrono::{DateTime, Utc};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, RunQueryDsl,
    SelectableHelper,
};
use uuid::Uuid;

use super::rows::{Id, from_json, instant, uuid};
use super::schema::tokens;
use super::session::{Session, direct};
use crate::domain::account::name_key;
use crate::domain::allow_list::AllowList;
use crate::domain::id::{TokenId, TokenKey};
use crate::domain::period::Period;
use crate::domain::rotation::{Generation, Previous, Secrets};
use crate::domain::secret::Lookup;
use crate::domain::status::Status;
use crate::domain::tenant::TokenRules;
use crate::domain::token_scope::Scope;
use crate::error::Result;

/// The stored digest of a secret.
#[derive(Debug, Clone)]
pub struct SecretDigest {
    /// The keyed hash.
    pub digest: Vec<u8>,
    /// The data key that made it.
    pub key: i64,
}

/// A new secret of a token, as it is stored.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// Its digest.
    pub digest: SecretDigest,
    /// The value that finds it.
    pub lookup: Lookup,
}

/// The times at which the secrets of a row were made and end.
pub(super) fn secrets_of(
    maximum_age: Option<Period>,
    made_at: i64,
    previous_at: Option<i64>,
    previous_until: Option<i64>,
) -> Result<Secrets> {
    let previous = match (previous_at, previous_until) {
        (Some(made_at), Some(until)) => Some(Previous {
            made_at: instant(made_at)?,
            until: instant(until)?,
        }),
        _ => None,
    };
    Ok(Secrets {
        made_at: instant(made_at)?,
        previous,
        maximum_age,
    })
}

/// The part of a token that its use needs.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Internal key.
    pub key: TokenKey,
    /// Public id.
    pub id: TokenId,
    /// The user name it logs in with.
    pub name: String,
    /// The status.
    pub status: Status,
    /// The end of the token.
    pub expires_at: Option<DateTime<Utc>>,
    /// The digest of its secret.
    pub secret: SecretDigest,
    /// The digest of the previous secret, if there is one; it may have ended.
    pub previous: Option<SecretDigest>,
    /// The times at which the two were made and end.
    pub secrets: Secrets,
    /// The id that refresh tokens are bound to, beside the hash of a secret; none in rows of earlier releases.
    pub refresh_id: Option<Uuid>,
    /// The number of the current secret.
    secret_version: i64,
    /// True if the lookups of the current and of the previous secret are there.
    found_by_lookup: (bool, bool),
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = tokens)]
pub(super) struct CredentialRow {
    key: i64,
    uuid: Vec<u8>,
    name: String,
    status: String,
    expires_at: Option<i64>,
    secret_digest: Vec<u8>,
    secret_key: i64,
    secret_version: i64,
    secret_at: i64,
    previous_digest: Option<Vec<u8>>,
    previous_key: Option<i64>,
    previous_at: Option<i64>,
    previous_until: Option<i64>,
    refresh_id: Option<Id>,
    lookup_version: Option<i64>,
    #[diesel(select_expression = tokens::lookup.is_not_null())]
    has_lookup: bool,
    #[diesel(select_expression = tokens::previous_lookup.is_not_null())]
    has_previous_lookup: bool,
}

impl CredentialRow {
    pub(super) fn credential(self, home: TokenRules) -> Result<Credential> {
        let Self {
            key,
            uuid: id,
            name,
            status,
            expires_at,
            secret_digest,
            secret_key,
            secret_version,
            secret_at,
            previous_digest,
            previous_key,
            previous_at,
            previous_until,
            refresh_id,
            lookup_version,
            has_lookup,
            has_previous_lookup,
        } = self;
        let of_this_secret = lookup_version == Some(secret_version);
        let secrets = secrets_of(
            home.maximum_secret_age,
            secret_at,
            previous_at,
            previous_until,
        )?;
        Ok(Credential {
            key: TokenKey(key),
            id: TokenId(uuid(&id)?),
            name,
            status: Status::from_stored(&status),
            expires_at: expires_at.map(instant).transpose()?,
            secret: SecretDigest {
                digest: secret_digest,
                key: secret_key,
            },
            // Without an end there is no previous secret.
            previous: secrets
                .previous
                .and_then(|_| secret_before(previous_digest, previous_key)),
            secrets,
            refresh_id: refresh_id.map(|id| id.0),
            secret_version,
            found_by_lookup: (
                of_this_secret && has_lookup,
                of_this_secret && has_previous_lookup,
            ),
        })
    }
}

/// The digest of the previous secret, if there is one.
pub(super) fn secret_before(digest: Option<Vec<u8>>, key: Option<i64>) -> Option<SecretDigest> {
    let (digest, key) = (digest?, key?);
    Some(SecretDigest { digest, key })
}

impl Credential {
    /// The number of one of its secrets. Each has its own for the life of the token.
    #[must_use]
    pub fn version_of(&self, generation: Generation) -> i64 {
        match generation {
            Generation::Current => self.secret_version,
            Generation::Previous => self.secret_version - 1,
        }
    }

    /// Returns true if the lookup of one of its secrets is missing, or may be of another secret.
    #[must_use]
    pub fn lacks_lookup(&self, generation: Generation) -> bool {
        let (current, previous) = self.found_by_lookup;
        match generation {
            Generation::Current => !current,
            Generation::Previous => !previous,
        }
    }

    /// The one of the stored secrets with this number.
    #[must_use]
    pub fn generation(&self, version: i64) -> Option<Generation> {
        match self.secret_version - version {
            0 => Some(Generation::Current),
            1 if self.previous.is_some() => Some(Generation::Previous),
            _ => None,
        }
    }
}

/// The stored scopes and allow list of a token.
#[derive(Debug, Clone, diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = tokens)]
pub struct Opening {
    pub(super) scopes: String,
    pub(super) cidrs: String,
}

impl Opening {
    /// The scopes.
    pub fn scopes(&self) -> Result<Vec<Scope>> {
        from_json(&self.scopes)
    }

    /// The addresses from which it may be used.
    pub fn allowed_cidrs(&self) -> Result<AllowList> {
        from_json(&self.cidrs)
    }
}

/// The scopes of a token. Read them only after the proof of its secret: scopes can be long, and the time to read them
/// would reveal existing names.
pub fn opening(connection: &mut Session, home: TokenRules, token: TokenKey) -> Result<Opening> {
    Ok(direct!(connection, |direct| tokens::table
        .filter(
            tokens::registry_key
                .eq(home.key.0)
                .and(tokens::key.eq(token.0)),
        )
        .select(Opening::as_select())
        .get_result::<Opening>(direct))?)
}

/// The credential with a token's name. The name is compared without regard to ASCII case, as everywhere.
pub fn credential_named(
    connection: &mut Session,
    home: TokenRules,
    name: &str,
) -> Result<Option<Credential>> {
    direct!(connection, |direct| tokens::table
        .filter(
            tokens::registry_key
                .eq(home.key.0)
                .and(tokens::name_key.eq(name_key(name))),
        )
        .select(CredentialRow::as_select())
        .get_result::<CredentialRow>(direct))
    .optional()?
    .map(|row| row.credential(home))
    .transpose()
}

/// The credential with a token's key, for a login with a reference: a reference is proven before anything is read.
pub fn credential(
    connection: &mut Session,
    home: TokenRules,
    token: TokenKey,
) -> Result<Option<(Credential, Opening)>> {
    direct!(connection, |direct| tokens::table
        .filter(
            tokens::registry_key
                .eq(home.key.0)
                .and(tokens::key.eq(token.0)),
        )
        .select((CredentialRow::as_select(), Opening::as_select()))
        .get_result::<(CredentialRow, Opening)>(direct))
    .optional()?
    .map(|(row, opening)| Ok((row.credential(home)?, opening)))
    .transpose()
}
