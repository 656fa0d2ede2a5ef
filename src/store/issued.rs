//! Issued tokens: pages of the tables `api_tokens` and `app_tokens`, with the accounts that they act for.
//!
//! Owns the translation of their filters to SQL. The texts of a filter are bound values. A filter reads all rows of its
//! table once, but for those of one account, which an index finds; the limits on their numbers bound both.

use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, HasSqlType, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl, sql_query};
use uuid::Uuid;

use super::rows::{bytes, from_json, instant, micros, stamp, uuid};
use super::session::{Session, direct};
use crate::domain::account::account_keys;
use crate::domain::id::{AccountId, AccountKey, RegistryId, RegistryKey};
use crate::domain::issued::{
    AccountText, ApiTokenType, IssuedFilter, IssuedKind, IssuedPage, IssuedState, IssuedToken,
    NamePattern,
};
use crate::domain::page::Window;
use crate::domain::registry_api_token::TokenLevel;
use crate::error::Result;

/// A table of issued tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// API tokens.
    ApiTokens,
    /// App tokens.
    AppTokens,
}

/// The tokens of a table that a caller asks for, whatever the filter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    /// Only those of this account.
    pub owner: Option<AccountKey>,
    /// The registry API tokens among API tokens.
    pub confined: Confined,
    /// Only the one with this id.
    pub id: Option<Uuid>,
}

impl Extent {
    /// The API tokens of a registry.
    #[must_use]
    pub fn of_registry(registry: RegistryKey) -> Self {
        Self {
            confined: Confined::Of(registry),
            ..Self::default()
        }
    }
}

/// The registry API tokens of an extent.
#[derive(Debug, Clone, Copy, Default)]
pub enum Confined {
    /// They belong to it.
    #[default]
    With,
    /// They do not.
    Without,
    /// Only those of this registry do.
    Of(RegistryKey),
}

/// The words for a table in SQL.
struct Words {
    /// The table, with the registries that its tokens are bound to.
    table: &'static str,
    /// The condition of tokens whose registry is there, if they are bound to one.
    living: Option<&'static str>,
    /// The columns of [`Row`]; `t` is the token, `o` its account.
    columns: &'static str,
    name: &'static str,
    created_at: &'static str,
    /// The id of the account that made the token, without a join.
    created_by: Option<&'static str>,
    has_revoked: bool,
}

const API_TOKENS: Words = Words {
    table: "api_tokens t LEFT JOIN registries r ON r.key = t.registry_key AND r.deleted_at IS NULL",
    living: Some("(t.registry_key IS NULL OR r.key IS NOT NULL)"),
    columns: "t.key, t.uuid, t.name, t.description, t.roles, t.created_by, t.created_by_name, \
              t.issued_at AS created_at, t.expires_at, t.revoked_at, t.used_at, r.uuid AS registry, \
              r.name AS registry_name, t.level",
    name: "t.name",
    created_at: "t.issued_at",
    created_by: Some("t.created_by"),
    has_revoked: true,
};
const APP_TOKENS: Words = Words {
    table: "app_tokens t",
    living: None,
    columns: "t.key, t.uuid, t.title AS name, CAST(NULL AS TEXT) AS description, CAST(NULL AS TEXT) AS roles, \
              o.uuid AS created_by, o.name AS created_by_name, t.created_at, t.expires_at, \
              CAST(NULL AS BIGINT) AS revoked_at, t.used_at, NULL AS registry, \
              CAST(NULL AS TEXT) AS registry_name, CAST(NULL AS TEXT) AS level",
    name: "t.title",
    created_at: "t.created_at",
    created_by: None,
    has_revoked: false,
};

impl Table {
    fn words(self) -> &'static Words {
        match self {
            Self::ApiTokens => &API_TOKENS,
            Self::AppTokens => &APP_TOKENS,
        }
    }
}

/// A bound value.
enum Value {
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Conditions and the values of their placeholders.
struct Conditions {
    text: Vec<String>,
    values: Vec<Value>,
    /// The form in which names are compared: ASCII letters in lower case.
    lower: fn(&str) -> String,
}

impl Conditions {
    fn of(connection: &Session) -> Self {
        // Each database has another function that leaves letters beyond ASCII as they are.
        let lower: fn(&str) -> String = match connection {
            Session::Sqlite(_) => |column| format!("lower({column})"),
            Session::Postgres(_) => |column| format!("lower({column} COLLATE \"C\")"),
        };
        Self {
            text: Vec::new(),
            values: Vec::new(),
            lower,
        }
    }

    /// Binds a value. Returns its placeholder.
    fn bind(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn number(&mut self, instant: DateTime<Utc>) -> String {
        self.bind(Value::Number(micros(instant)))
    }

    /// The accounts that a text means, by one of their columns. A name means deleted accounts too.
    fn accounts(&mut self, column: &str, account: &AccountText) -> String {
        match account {
            AccountText::Id(id) => {
                let id = self.bind(Value::Bytes(bytes(id.0)));
                format!("(SELECT {column} FROM accounts WHERE uuid = {id})")
            }
            AccountText::Name(name) => {
                let [folded, older] = account_keys(name);
                let (folded, older) = (
                    self.bind(Value::Text(folded)),
                    self.bind(Value::Text(older)),
                );
                format!("(SELECT {column} FROM accounts WHERE name_key IN ({folded}, {older}))")
            }
        }
    }

    fn name(&mut self, column: &str, pattern: &NamePattern) -> String {
        let NamePattern { text, begins } = pattern;
        let column = (self.lower)(column);
        if !begins {
            let text = self.bind(Value::Text(text.clone()));
            return format!("{column} = {text}");
        }
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let length = self.bind(Value::Number(length));
        let text = self.bind(Value::Text(text.clone()));
        // Not LIKE, whose wildcards would have to be escaped.
        format!("substr({column}, 1, CAST({length} AS INTEGER)) = {text}")
    }

    fn add(&mut self, words: &Words, filter: &IssuedFilter, now: DateTime<Utc>) {
        let in_force = |conditions: &mut Self| {
            let now = conditions.number(now);
            if words.has_revoked {
                format!("t.revoked_at IS NULL AND t.expires_at > {now}")
            } else {
                format!("(t.expires_at IS NULL OR t.expires_at > {now})")
            }
        };
        if let Some(owner) = &filter.owner {
            let accounts = self.accounts("key", owner);
            self.text.push(format!("t.account_key IN {accounts}"));
        }
        if let Some(maker) = &filter.created_by {
            let condition = if let Some(column) = words.created_by {
                format!("{column} IN {}", self.accounts("uuid", maker))
            } else {
                format!("t.account_key IN {}", self.accounts("key", maker))
            };
            self.text.push(condition);
        }
        if let Some(pattern) = &filter.name {
            let condition = self.name(words.name, pattern);
            self.text.push(condition);
        }
        if let Some(since) = filter.unused_since(now) {
            let since = self.number(since);
            let made = words.created_at;
            self.text
                .push(format!("COALESCE(t.used_at, {made}) <= {since}"));
        }
        if let Some(until) = filter.expiring_until(now) {
            let condition = in_force(self);
            let until = self.number(until);
            self.text
                .push(format!("{condition} AND t.expires_at <= {until}"));
        }
        if let Some(never) = filter.never_used {
            let word = if never { "IS NULL" } else { "IS NOT NULL" };
            self.text.push(format!("t.used_at {word}"));
        }
        if let Some(registry) = filter.registry {
            let id = self.bind(Value::Bytes(bytes(registry.0)));
            self.text.push(format!("r.uuid = {id}"));
        }
        if let Some(r#type) = filter.r#type {
            let word = match r#type {
                ApiTokenType::ApiToken => "IS NULL",
                ApiTokenType::RegistryApiToken => "IS NOT NULL",
            };
            self.text.push(format!("t.registry_key {word}"));
        }
        let condition = match filter.state {
            None => return,
            Some(IssuedState::Enabled) => in_force(self),
            Some(IssuedState::Expired) => {
                let now = self.number(now);
                let unrevoked = if words.has_revoked {
                    "t.revoked_at IS NULL AND "
                } else {
                    ""
                };
                format!("{unrevoked}t.expires_at <= {now}")
            }
            Some(IssuedState::Revoked) if words.has_revoked => {
                "t.revoked_at IS NOT NULL".to_owned()
            }
            Some(IssuedState::Revoked) => "1 = 0".to_owned(),
        };
        self.text.push(condition);
    }

    fn bound_by(&mut self, words: &Words, extent: Extent) {
        let Extent {
            owner,
            confined,
            id,
        } = extent;
        if let Some(owner) = owner {
            let key = self.bind(Value::Number(owner.0));
            self.text.push(format!("t.account_key = {key}"));
        }
        match (confined, words.living) {
            (_, None) => {}
            (Confined::With, Some(living)) => self.text.push(living.to_owned()),
            (Confined::Without, Some(_)) => self.text.push("t.registry_key IS NULL".to_owned()),
            (Confined::Of(registry), Some(_)) => {
                let key = self.bind(Value::Number(registry.0));
                self.text.push(format!("t.registry_key = {key}"));
            }
        }
        if let Some(id) = id {
            let id = self.bind(Value::Bytes(bytes(id)));
            self.text.push(format!("t.uuid = {id}"));
        }
    }

    fn clause(&self) -> String {
        if self.text.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.text.join(" AND "))
        }
    }
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = Binary)]
    uuid: Vec<u8>,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    description: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    roles: Option<String>,
    #[diesel(sql_type = Binary)]
    created_by: Vec<u8>,
    #[diesel(sql_type = Text)]
    created_by_name: String,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    expires_at: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    revoked_at: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    used_at: Option<i64>,
    #[diesel(sql_type = Nullable<Binary>)]
    registry: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Text>)]
    registry_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    level: Option<String>,
    #[diesel(sql_type = Binary)]
    owner: Vec<u8>,
    #[diesel(sql_type = Text)]
    owner_name: String,
}

impl Row {
    fn read(self) -> Result<IssuedToken> {
        let level = self.level.as_deref().and_then(TokenLevel::from_stored);
        Ok(IssuedToken {
            key: self.key,
            id: uuid(&self.uuid)?,
            kind: match (self.registry.zip(level), self.roles) {
                (Some((registry, level)), _) => IssuedKind::RegistryApiToken {
                    registry: RegistryId(uuid(&registry)?),
                    name: self.registry_name.unwrap_or_default(),
                    level,
                },
                (None, Some(roles)) => IssuedKind::ApiToken(from_json(&roles)?),
                (None, None) => IssuedKind::AppToken,
            },
            name: self.name,
            description: self.description,
            owner: (AccountId(uuid(&self.owner)?), self.owner_name),
            created: stamp(self.created_at, &self.created_by, self.created_by_name)?,
            expires_at: self.expires_at.map(instant).transpose()?,
            revoked: self.revoked_at.is_some(),
            used_at: self.used_at.map(instant).transpose()?,
        })
    }
}

/// A page of a table's tokens in creation order, and the number of all that are in the extent and pass the filter at an
/// instant. Call it in a snapshot.
pub fn page(
    connection: &mut Session,
    (table, extent): (Table, Extent),
    filter: &IssuedFilter,
    window: Window,
    now: DateTime<Utc>,
) -> Result<IssuedPage> {
    let words = table.words();
    let mut conditions = Conditions::of(connection);
    conditions.bound_by(words, extent);
    conditions.add(words, filter, now);
    let (table, clause) = (words.table, conditions.clause());
    let count = format!("SELECT COUNT(*) AS number FROM {table}{clause}");
    let total: Counted = direct!(connection, |direct| bound(&count, &conditions.values)
        .get_result(direct))?;
    // In the order in which the statement names them, as SQLite counts.
    let limit = conditions.bind(Value::Number(window.limit));
    let offset = conditions.bind(Value::Number(window.offset));
    let columns = words.columns;
    let list = format!(
        "SELECT {columns}, o.uuid AS owner, o.name AS owner_name FROM {table} \
         JOIN accounts o ON o.key = t.account_key{clause} ORDER BY t.key LIMIT {limit} OFFSET {offset}"
    );
    let rows: Vec<Row> = direct!(connection, |direct| bound(&list, &conditions.values)
        .load(direct))?;
    let tokens = rows.into_iter().map(Row::read);
    Ok(IssuedPage {
        tokens: tokens.collect::<Result<_>>()?,
        total: total.number,
    })
}

fn bound<'a, DB>(statement: &str, values: &'a [Value]) -> BoxedSqlQuery<'a, DB, SqlQuery>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text> + HasSqlType<Binary>,
    i64: ToSql<BigInt, DB>,
    str: ToSql<Text, DB>,
    [u8]: ToSql<Binary, DB>,
{
    let query = sql_query(statement).into_boxed();
    values.iter().fold(query, |query, value| match value {
        Value::Number(number) => query.bind::<BigInt, _>(*number),
        Value::Text(text) => query.bind::<Text, _>(text.as_str()),
        Value::Bytes(bytes) => query.bind::<Binary, _>(bytes.as_slice()),
    })
}
