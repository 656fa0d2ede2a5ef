//! The tables `tokens` and `token_counts`.
//!
//! List order is creation order, by a position that the writer hands out per registry. Live tokens are counted per
//! bucket of 4 096 positions, in the transaction that adds or removes them, so a total is a short sum and a deep
//! offset walks buckets instead of rows.

use chrono::{DateTime, Utc};
use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::sql_types::{BigInt, Nullable};
use diesel::{
    BoolExpressionMethods, ExpressionMethods, JoinOnDsl, OptionalExtension, QueryDsl, QueryResult,
    RunQueryDsl, SelectableHelper, sql_query,
};
use uuid::Uuid;

use super::failure::on_unique;
use super::prepared::Prepared;
use super::rows::{Id, Json, Stated, bytes, from_json, instant, micros, to_json, uuid};
use super::schema::{registries, token_counts, token_uses, tokens};
use super::session::{Session, direct};
use super::token_uses::{self as uses, UseRow};
use super::transaction::Transaction;
use crate::domain::Stamp;
use crate::domain::account::name_key;
use crate::domain::allow_list::AllowList;
use crate::domain::caps::Caps;
use crate::domain::id::{AccountId, RegistryId, RegistryKey, TokenId, TokenKey};
use crate::domain::page::{DEFAULT_LIMIT, Window};
use crate::domain::period::Period;
use crate::domain::registry::Home;
use crate::domain::rotation::{Generation, Previous, Secrets};
use crate::domain::status::Status;
use crate::domain::token::{NewToken, Scope, Token, VerbatimScopes};
use crate::error::{Error, Result, What};

/// Positions a bucket, as a power of two.
const BUCKET_BITS: u32 = 12;
/// The tokens of all buckets, summed by the database: a large registry has thousands, and each row that leaves it costs ten
/// times as much. PostgreSQL's sum of integers of eight bytes is one of any size.
const SUM: &str = "CAST(COALESCE(SUM(live), 0) AS BIGINT)";

/// What is kept of a secret.
#[derive(Debug, Clone)]
pub struct SecretDigest {
    /// The keyed hash.
    pub digest: Vec<u8>,
    /// The data key it was made with.
    pub key: i64,
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = tokens)]
struct TokenRow {
    key: i64,
    uuid: Id,
    position: i64,
    name: String,
    status: Stated,
    expires_at: Option<i64>,
    scopes: Json<VerbatimScopes>,
    cidrs: Json<AllowList>,
    secret_at: i64,
    previous_at: Option<i64>,
    previous_until: Option<i64>,
    version: i64,
    created_at: i64,
    created_by: Id,
    created_by_name: String,
    modified_at: Option<i64>,
    modified_by: Option<Id>,
    modified_by_name: Option<String>,
}

/// With its last use, if there was one.
type UsedRow = (TokenRow, Option<UseRow>);

/// When the secrets of a row were made and when they end.
fn secrets_of(
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

impl TokenRow {
    fn token(self, used: Option<UseRow>, home: Home) -> Result<Token<VerbatimScopes>> {
        let row = self;
        let stamp = |at, by: Id, by_name| -> Result<_> {
            let (at, by) = (instant(at)?, AccountId(by.0));
            Ok(Stamp { at, by, by_name })
        };
        let modified = match (row.modified_at, row.modified_by, row.modified_by_name) {
            (Some(at), Some(by), Some(by_name)) => Some(stamp(at, by, by_name)?),
            _ => None,
        };
        Ok(Token {
            key: TokenKey(row.key),
            id: TokenId(row.uuid.0),
            registry: home.key,
            position: row.position,
            name: row.name,
            status: row.status.0,
            expires_at: row.expires_at.map(instant).transpose()?,
            scopes: row.scopes.0,
            allowed: row.cidrs.0,
            secrets: secrets_of(
                home.maximum_secret_age,
                row.secret_at,
                row.previous_at,
                row.previous_until,
            )?,
            version: row.version,
            created: stamp(row.created_at, row.created_by, row.created_by_name)?,
            modified,
            last_used: used.map(UseRow::last_use).transpose()?.flatten(),
        })
    }
}

impl TryFrom<Token<VerbatimScopes>> for Token {
    type Error = Error;

    fn try_from(kept: Token<VerbatimScopes>) -> Result<Self> {
        Ok(Self {
            scopes: from_json(kept.scopes.get())?,
            key: kept.key,
            id: kept.id,
            registry: kept.registry,
            position: kept.position,
            name: kept.name,
            status: kept.status,
            expires_at: kept.expires_at,
            allowed: kept.allowed,
            secrets: kept.secrets,
            version: kept.version,
            created: kept.created,
            modified: kept.modified,
            last_used: kept.last_used,
        })
    }
}

/// Finds a token of a registry by its public id.
pub fn find(connection: &mut Session, home: Home, id: TokenId) -> Result<Option<Token>> {
    show(connection, home, id)?.map(Token::try_from).transpose()
}

/// Finds a token of a registry by its public id, to be shown.
pub fn show(
    connection: &mut Session,
    home: Home,
    id: TokenId,
) -> Result<Option<Token<VerbatimScopes>>> {
    direct!(connection, |direct| tokens::table
        .left_join(token_uses::table.on(token_uses::token_key.eq(tokens::key)))
        .filter(
            tokens::registry_key
                .eq(home.key.0)
                .and(tokens::uuid.eq(bytes(id.0))),
        )
        .select((TokenRow::as_select(), Option::<UseRow>::as_select()))
        .get_result::<UsedRow>(direct))
    .optional()?
    .map(|(row, used)| row.token(used, home))
    .transpose()
}

/// A token as far as its use needs it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Internal key.
    pub key: TokenKey,
    /// Public id.
    pub id: TokenId,
    /// The user name it logs in with.
    pub name: String,
    /// In use or not.
    pub status: Status,
    /// When it stops to work.
    pub expires_at: Option<DateTime<Utc>>,
    /// What is kept of its secret.
    pub secret: SecretDigest,
    /// What is kept of the secret before, if there is one; it may have ended.
    pub previous: Option<SecretDigest>,
    /// When the two were made and when they end.
    pub secrets: Secrets,
    /// The id that refresh tokens are bound to, beside the hash of a secret; none in rows of earlier releases.
    pub refresh_id: Option<Uuid>,
    /// Counts its secrets: that of the current one.
    secret_version: i64,
}

#[derive(diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = tokens)]
struct CredentialRow {
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
}

impl CredentialRow {
    fn credential(self, home: Home) -> Result<Credential> {
        let row = self;
        let secrets = secrets_of(
            home.maximum_secret_age,
            row.secret_at,
            row.previous_at,
            row.previous_until,
        )?;
        Ok(Credential {
            key: TokenKey(row.key),
            id: TokenId(uuid(&row.uuid)?),
            name: row.name,
            status: Status::from_stored(&row.status),
            expires_at: row.expires_at.map(instant).transpose()?,
            secret: SecretDigest {
                digest: row.secret_digest,
                key: row.secret_key,
            },
            // Without an end it would have none.
            previous: secrets
                .previous
                .and_then(|_| secret_before(row.previous_digest, row.previous_key)),
            secrets,
            refresh_id: row.refresh_id.map(|id| id.0),
            secret_version: row.secret_version,
        })
    }
}

/// What is kept of the secret before, if there is one.
fn secret_before(digest: Option<Vec<u8>>, key: Option<i64>) -> Option<SecretDigest> {
    let (digest, key) = (digest?, key?);
    Some(SecretDigest { digest, key })
}

impl Credential {
    /// The number of one of its secrets: each has its own, for as long as there is the token.
    #[must_use]
    pub fn version_of(&self, generation: Generation) -> i64 {
        match generation {
            Generation::Current => self.secret_version,
            Generation::Previous => self.secret_version - 1,
        }
    }

    /// Which of its secrets has this number, if it is one of those that are kept.
    #[must_use]
    pub fn generation(&self, version: i64) -> Option<Generation> {
        match self.secret_version - version {
            0 => Some(Generation::Current),
            1 if self.previous.is_some() => Some(Generation::Previous),
            _ => None,
        }
    }
}

/// The scopes and the allow list of a token, as they are kept.
#[derive(Debug, Clone, diesel::Queryable, diesel::Selectable)]
#[diesel(table_name = tokens)]
pub struct Opening {
    scopes: String,
    cidrs: String,
}

impl Opening {
    /// What it opens.
    pub fn scopes(&self) -> Result<Vec<Scope>> {
        from_json(&self.scopes)
    }

    /// Where it may be used from.
    pub fn allowed(&self) -> Result<AllowList> {
        from_json(&self.cidrs)
    }
}

/// The scopes of a token. Read them once its secret is proven: scopes can be long, and the time that reading them takes
/// would tell which names there are.
pub fn opening(connection: &mut Session, home: Home, token: TokenKey) -> Result<Opening> {
    Ok(direct!(connection, |direct| tokens::table
        .filter(
            tokens::registry_key
                .eq(home.key.0)
                .and(tokens::key.eq(token.0)),
        )
        .select(Opening::as_select())
        .get_result::<Opening>(direct))?)
}

/// What a login with a token's name needs. The name is compared without regard to ASCII case, as everywhere.
pub fn credential_named(
    connection: &mut Session,
    home: Home,
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

/// The columns that a login with a reference to a token needs: a reference is proven before anything is read.
pub fn credential(
    connection: &mut Session,
    home: Home,
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

/// What is kept of a secret, and whose it is.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Internal key.
    pub key: TokenKey,
    /// Public id, to which the secret is bound.
    pub id: TokenId,
    /// The registry that it opens, or did.
    pub registry: RegistryKey,
    /// The keyed hash.
    pub secret: SecretDigest,
    /// Counts its token's secrets.
    pub secret_version: i64,
}

/// What is kept of the secrets of all registries' tokens, in the order of the tokens' keys: those of up to `limit` tokens,
/// beyond a key. Secrets before the current ones are among them, whether they have ended or not, and those of deleted
/// registries until they are purged.
pub fn secrets(connection: &mut Session, beyond: TokenKey, limit: i64) -> Result<Vec<Kept>> {
    type Before = (Option<Vec<u8>>, Option<i64>);
    type Row = (i64, Vec<u8>, i64, Vec<u8>, i64, i64, Before);
    let rows: Vec<Row> = tokens::table
        .filter(tokens::key.gt(beyond.0))
        .order(tokens::key)
        .limit(limit)
        .select((
            tokens::key,
            tokens::uuid,
            tokens::registry_key,
            tokens::secret_digest,
            tokens::secret_key,
            tokens::secret_version,
            (tokens::previous_digest, tokens::previous_key),
        ))
        .load(connection)?;
    let mut kept = Vec::with_capacity(rows.len());
    for (key, id, registry, digest, secret_key, version, before) in rows {
        let id = TokenId(uuid(&id)?);
        let of = |secret, secret_version| Kept {
            key: TokenKey(key),
            id,
            registry: RegistryKey(registry),
            secret,
            secret_version,
        };
        let current = SecretDigest {
            digest,
            key: secret_key,
        };
        kept.push(of(current, version));
        let before = secret_before(before.0, before.1);
        kept.extend(before.map(|before| of(before, version - 1)));
    }
    Ok(kept)
}

/// Loads the tokens of a query, `most` at the most. libpq holds a whole result, and the C library keeps the memory of it
/// for the thread that asked: so the rows of a long page come one by one, which costs some microseconds each.
macro_rules! load {
    ($session:expr, $home:expr, $most:expr, $query:expr) => {{
        let most = $most;
        match $session {
            Session::Postgres(connection) if most > DEFAULT_LIMIT => $query
                .load_iter::<UsedRow, PgRowByRowLoadingMode>(connection)
                .map_err(Error::from)
                .and_then(|rows| read(rows, $home, most)),
            session => direct!(session, |direct| $query
                .load_iter::<UsedRow, DefaultLoadingMode>(direct)
                .map_err(Error::from)
                .and_then(|rows| read(rows, $home, most))),
        }
    }};
}

/// A page of a registry's tokens in creation order, and how many there are in all. To be called in a snapshot.
pub fn page(
    connection: &mut Session,
    home: Home,
    window: Window,
) -> Result<(Vec<Token<VerbatimScopes>>, i64)> {
    let (total, first) = match window.offset {
        0 => beginning(connection, home.key)?,
        offset => beyond(connection, home.key, offset)?,
    };
    let Some(first) = first else {
        return Ok((Vec::new(), total));
    };
    let found = load!(
        connection,
        home,
        window.limit.min(total),
        tokens::table
            .left_join(token_uses::table.on(token_uses::token_key.eq(tokens::key)))
            .filter(
                tokens::registry_key
                    .eq(home.key.0)
                    .and(tokens::position.ge(first)),
            )
            .order(tokens::position)
            .limit(window.limit)
            .select((TokenRow::as_select(), Option::<UseRow>::as_select()))
    )?;
    Ok((found, total))
}

/// Makes tokens of rows as they come, `most` at the most: a list of rows made first would be as large again, and moved as
/// it grew.
fn read(
    rows: impl Iterator<Item = QueryResult<UsedRow>>,
    home: Home,
    most: i64,
) -> Result<Vec<Token<VerbatimScopes>>> {
    let mut tokens = Vec::with_capacity(usize::try_from(most).map_err(Error::internal)?);
    for row in rows {
        let (row, used) = row?;
        tokens.push(row.token(used, home)?);
    }
    Ok(tokens)
}

/// How many tokens a registry has, and a position with none of them before it, if there are any. One statement finds both,
/// however many buckets there are. The position is that of a bucket with tokens: from an earlier one PostgreSQL would walk over
/// what was deleted and is not yet cleared away.
fn beginning(connection: &mut Session, registry: RegistryKey) -> Result<(i64, Option<i64>)> {
    let first = sql::<Nullable<BigInt>>(
        "(SELECT bucket FROM token_counts WHERE live > 0 AND registry_key = ",
    )
    .bind::<BigInt, _>(registry.0)
    .sql(" ORDER BY bucket LIMIT 1)");
    let (total, bucket): (i64, Option<i64>) = direct!(connection, |direct| Prepared(
        token_counts::table
            .filter(token_counts::registry_key.eq(registry.0))
            .select((sql::<BigInt>(SUM), first))
    )
    .get_result(direct))?;
    Ok((total, bucket.map(|bucket| bucket << BUCKET_BITS)))
}

/// How many tokens a registry has, and a position with so many of them before it, if there are more.
fn beyond(
    connection: &mut Session,
    registry: RegistryKey,
    offset: i64,
) -> Result<(i64, Option<i64>)> {
    let buckets: Vec<(i64, i64)> = direct!(connection, |direct| token_counts::table
        .filter(token_counts::registry_key.eq(registry.0))
        .order(token_counts::bucket)
        .select((token_counts::bucket, token_counts::live))
        .load(direct))?;
    let total = buckets.iter().map(|(_, live)| live).sum();
    let mut skip = offset;
    let bucket = buckets.iter().find_map(|(bucket, live)| {
        let here = skip < *live;
        if !here {
            skip -= live;
        }
        here.then_some(*bucket)
    });
    let first = match bucket {
        Some(bucket) => position_after(connection, registry, bucket << BUCKET_BITS, skip)?,
        None => None,
    };
    Ok((total, first))
}

/// The position of a registry's token that comes so many after the first from a position on. By the index alone, since
/// a bucket has thousands to skip.
fn position_after(
    connection: &mut Session,
    registry: RegistryKey,
    from: i64,
    skip: i64,
) -> Result<Option<i64>> {
    if skip == 0 {
        return Ok(Some(from));
    }
    Ok(direct!(connection, |direct| tokens::table
        .filter(
            tokens::registry_key
                .eq(registry.0)
                .and(tokens::position.ge(from)),
        )
        .order(tokens::position)
        .offset(skip)
        .limit(1)
        .select(tokens::position)
        .get_result(direct))
    .optional()?)
}

/// The first `limit` tokens of a registry beyond a position, in creation order.
pub fn page_after(
    connection: &mut Session,
    home: Home,
    position: i64,
    limit: i64,
) -> Result<Vec<Token<VerbatimScopes>>> {
    load!(
        connection,
        home,
        limit,
        tokens::table
            .left_join(token_uses::table.on(token_uses::token_key.eq(tokens::key)))
            .filter(
                tokens::registry_key
                    .eq(home.key.0)
                    .and(tokens::position.gt(position)),
            )
            .order(tokens::position)
            .limit(limit)
            .select((TokenRow::as_select(), Option::<UseRow>::as_select()))
    )
}

/// How many tokens a registry has.
pub fn total(connection: &mut Session, registry: RegistryKey) -> Result<i64> {
    Ok(direct!(connection, |direct| Prepared(
        token_counts::table
            .filter(token_counts::registry_key.eq(registry.0))
            .select(sql::<BigInt>(SUM))
    )
    .get_result(direct))?)
}

/// Tokens of a registry by their keys, in any order.
pub(super) fn with_keys(
    connection: &mut Session,
    home: Home,
    keys: impl IntoIterator<Item = TokenKey>,
) -> Result<Vec<Token<VerbatimScopes>>> {
    let keys: Vec<_> = keys.into_iter().map(|key| key.0).collect();
    let most = i64::try_from(keys.len()).map_err(Error::internal)?;
    // The plus keeps SQLite from an index that begins with the registry: it would read all of its tokens for a few.
    let registry = sql::<BigInt>("+tokens.registry_key");
    load!(
        connection,
        home,
        most,
        tokens::table
            .left_join(token_uses::table.on(token_uses::token_key.eq(tokens::key)))
            .filter(tokens::key.eq_any(keys).and(registry.eq(home.key.0)),)
            .select((TokenRow::as_select(), Option::<UseRow>::as_select()))
    )
}

/// Adds a token at the end of its registry's order, unless the registry is full.
pub fn insert(
    transaction: &mut Transaction<'_>,
    home: Home,
    id: TokenId,
    new: &NewToken,
    (secret, refresh_id): (&SecretDigest, Uuid),
    created: &Stamp,
    caps: Caps,
) -> Result<Token> {
    let (registry, name) = (home.key, new.name.as_str());
    let allowed = new.allowed.clone().unwrap_or_default();
    let expires_at = new.expires_at.flatten();
    let position = transaction.next_position(registry)?;
    // There are no more tokens than positions were handed out, so most registries need not be asked.
    if position > caps.tokens {
        caps.admit_token(transaction.total(registry)?)?;
    }
    let (scopes, cidrs) = (to_json(&new.scopes)?, to_json(&allowed)?);
    let inserted = direct!(&mut **transaction, |direct| diesel::insert_into(
        tokens::table
    )
    .values((
        tokens::uuid.eq(bytes(id.0)),
        tokens::registry_key.eq(registry.0),
        tokens::position.eq(position),
        tokens::name.eq(name),
        tokens::name_key.eq(name_key(name)),
        tokens::status.eq(new.status.as_str()),
        tokens::expires_at.eq(expires_at.map(micros)),
        tokens::scopes.eq(&scopes),
        tokens::cidrs.eq(&cidrs),
        tokens::secret_digest.eq(&secret.digest),
        tokens::secret_key.eq(secret.key),
        tokens::secret_version.eq(1),
        tokens::secret_at.eq(micros(created.at)),
        tokens::refresh_id.eq(bytes(refresh_id)),
        tokens::version.eq(1),
        tokens::created_at.eq(micros(created.at)),
        tokens::created_by.eq(bytes(created.by.0)),
        tokens::created_by_name.eq(&created.by_name),
    ))
    .returning(tokens::key)
    .get_result::<i64>(direct));
    // A taken id is looked for by the caller and a position is never handed out twice: what remains is the name.
    let key = on_unique(inserted, || Error::name_taken(What::Token, name))?;
    transaction.count(registry, bucket(position), 1);
    Ok(Token {
        key: TokenKey(key),
        id,
        registry,
        position,
        name: name.to_owned(),
        status: new.status,
        expires_at,
        scopes: new.scopes.clone(),
        allowed,
        secrets: Secrets {
            made_at: created.at,
            previous: None,
            maximum_age: home.maximum_secret_age,
        },
        version: 1,
        created: created.clone(),
        modified: None,
        last_used: None,
    })
}

/// Keeps a changed token, and who changed it.
pub fn update(connection: &mut Session, token: &mut Token, modified: Stamp) -> Result<()> {
    token.version += 1;
    let row = tokens::table.filter(
        tokens::registry_key
            .eq(token.registry.0)
            .and(tokens::key.eq(token.key.0)),
    );
    let update = diesel::update(row).set((
        tokens::status.eq(token.status.as_str()),
        tokens::expires_at.eq(token.expires_at.map(micros)),
        tokens::scopes.eq(to_json(&token.scopes)?),
        tokens::cidrs.eq(to_json(&token.allowed)?),
        tokens::version.eq(token.version),
        tokens::modified_at.eq(micros(modified.at)),
        tokens::modified_by.eq(bytes(modified.by.0)),
        tokens::modified_by_name.eq(&modified.by_name),
    ));
    direct!(connection, |direct| Prepared(update).execute(direct))?;
    token.modified = Some(modified);
    Ok(())
}

/// Ends the refresh tokens that were given for a token.
pub fn end_refresh_tokens(
    connection: &mut Session,
    token: TokenKey,
    refresh_id: Uuid,
) -> Result<()> {
    diesel::update(tokens::table.find(token.0))
        .set(tokens::refresh_id.eq(bytes(refresh_id)))
        .execute(connection)?;
    Ok(())
}

/// What is kept of the secret before the current one; nothing of it by default.
#[derive(Default, diesel::AsChangeset)]
#[diesel(table_name = tokens, treat_none_as_null = true)]
struct Before {
    #[diesel(column_name = previous_digest)]
    digest: Option<Vec<u8>>,
    #[diesel(column_name = previous_key)]
    key: Option<i64>,
    #[diesel(column_name = previous_at)]
    made_at: Option<i64>,
    #[diesel(column_name = previous_until)]
    until: Option<i64>,
}

/// Keeps a token whose secret was replaced by another one, and who did that. What was kept of the one before is moved.
pub fn rotate(
    connection: &mut Session,
    token: &mut Token,
    secret: &SecretDigest,
    modified: Stamp,
) -> Result<()> {
    let row = tokens::table.find(token.key.0);
    let before = match token.secrets.previous {
        Some(previous) => {
            let (digest, key) = row
                .select((tokens::secret_digest, tokens::secret_key))
                .get_result(connection)?;
            Before {
                digest: Some(digest),
                key: Some(key),
                made_at: Some(micros(previous.made_at)),
                until: Some(micros(previous.until)),
            }
        }
        None => Before::default(),
    };
    diesel::update(row)
        .set((
            before,
            tokens::secret_digest.eq(&secret.digest),
            tokens::secret_key.eq(secret.key),
            tokens::secret_version.eq(tokens::secret_version + 1),
            tokens::secret_at.eq(micros(token.secrets.made_at)),
        ))
        .execute(connection)?;
    update(connection, token, modified)
}

/// Ends the secret before a token's current one now, and keeps who did that. The secret stays known for one that has ended.
pub fn end_previous(connection: &mut Session, token: &mut Token, modified: Stamp) -> Result<()> {
    if let Some(previous) = &mut token.secrets.previous {
        previous.until = previous.until.min(modified.at);
        diesel::update(tokens::table.find(token.key.0))
            .set(tokens::previous_until.eq(micros(previous.until)))
            .execute(connection)?;
    }
    update(connection, token, modified)
}

/// Removes a token of a registry by its public id. Returns whether there was one.
pub fn delete(
    transaction: &mut Transaction<'_>,
    registry: RegistryKey,
    id: TokenId,
) -> Result<bool> {
    let gone: Option<(i64, i64)> = direct!(&mut **transaction, |direct| diesel::delete(
        tokens::table.filter(
            tokens::registry_key
                .eq(registry.0)
                .and(tokens::uuid.eq(bytes(id.0))),
        ),
    )
    .returning((tokens::key, tokens::position))
    .get_result(direct))
    .optional()?;
    if let Some((key, position)) = gone {
        uses::delete(transaction, key)?;
        transaction.count(registry, bucket(position), -1);
    }
    Ok(gone.is_some())
}

/// A living registry with a token that expired at or before an instant: the one with the oldest expiry.
pub fn next_expired(
    connection: &mut Session,
    until: DateTime<Utc>,
) -> Result<Option<(RegistryId, RegistryKey)>> {
    let row: Option<(Vec<u8>, i64)> = tokens::table
        .inner_join(registries::table.on(registries::key.eq(tokens::registry_key)))
        .filter(
            tokens::expires_at
                .le(micros(until))
                .and(registries::deleted_at.is_null()),
        )
        .order(tokens::expires_at)
        .select((registries::uuid, registries::key))
        .first(connection)
        .optional()?;
    row.map(|(id, key)| Ok((RegistryId(uuid(&id)?), RegistryKey(key))))
        .transpose()
}

/// Removes up to `limit` tokens of a registry that expired at or before an instant. Returns how many.
pub fn delete_expired(
    transaction: &mut Transaction<'_>,
    registry: RegistryKey,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<i64> {
    let found: Vec<(i64, i64)> = tokens::table
        .filter(
            tokens::registry_key
                .eq(registry.0)
                .and(tokens::expires_at.le(micros(until))),
        )
        .order(tokens::expires_at)
        .limit(limit)
        .select((tokens::key, tokens::position))
        .load(&mut **transaction)?;
    let keys = found.iter().map(|(key, _)| *key);
    diesel::delete(tokens::table.filter(tokens::key.eq_any(keys.clone())))
        .execute(&mut **transaction)?;
    uses::delete_many(transaction, keys)?;
    for (_, position) in &found {
        transaction.count(registry, bucket(*position), -1);
    }
    i64::try_from(found.len()).map_err(Error::internal)
}

/// Removes up to `limit` tokens of a deleted registry. Returns how many it removed; fewer than `limit` means all. Their
/// last uses go apart, see [`uses::purge`].
pub fn purge(transaction: &mut Transaction<'_>, registry: RegistryKey, limit: i64) -> Result<i64> {
    let removed = sql_query(
        "DELETE FROM tokens WHERE key IN (SELECT key FROM tokens WHERE registry_key = $1 LIMIT $2)",
    )
    .bind::<BigInt, _>(registry.0)
    .bind::<BigInt, _>(limit)
    .execute(&mut **transaction)?;
    let removed = i64::try_from(removed).map_err(Error::internal)?;
    if removed < limit {
        transaction.forget_counts(registry)?;
    }
    Ok(removed)
}

/// Where a position is counted.
fn bucket(position: i64) -> i64 {
    position >> BUCKET_BITS
}
