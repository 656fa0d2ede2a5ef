//! Statements whose text depends on the request. Values are bound and never part of the text.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::connection::Connection;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, HasSqlType, Text};
use diesel::{QueryResult, RunQueryDsl};

use super::session::Session;

/// The SQL that a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

impl Dialect {
    /// The dialect of a session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        match session {
            Session::Sqlite(_) => Self::Sqlite,
            Session::Postgres(_) => Self::Postgres,
        }
    }
}

#[derive(Debug, Clone)]
enum Part {
    Text(Cow<'static, str>),
    Number(i64),
    Word(String),
    Bytes(Vec<u8>),
}

/// A statement, or a part of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Sql(Vec<Part>);

impl Sql {
    pub(super) fn of(text: impl Into<Cow<'static, str>>) -> Self {
        Self::default().text(text)
    }

    pub(super) fn text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.0.push(Part::Text(text.into()));
        self
    }

    pub(super) fn number(mut self, value: i64) -> Self {
        self.0.push(Part::Number(value));
        self
    }

    pub(super) fn word(mut self, value: impl Into<String>) -> Self {
        self.0.push(Part::Word(value.into()));
        self
    }

    pub(super) fn bytes(mut self, value: Vec<u8>) -> Self {
        self.0.push(Part::Bytes(value));
        self
    }

    /// Numbers, separated by commas; at least one.
    pub(super) fn numbers(mut self, values: impl IntoIterator<Item = i64>) -> Self {
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self = self.text(", ");
            }
            self = self.number(value);
        }
        self
    }

    pub(super) fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The statement whose rows are of the type `T`.
    pub(super) fn returning<T>(self) -> Returning<T> {
        Returning {
            sql: self,
            rows: PhantomData,
        }
    }

    /// The statement with its values written in, to examine its plan.
    pub(super) fn written(&self, dialect: Dialect) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Number(number) => text.push_str(&number.to_string()),
                Part::Word(word) => {
                    text.push('\'');
                    text.push_str(&word.replace('\'', "''"));
                    text.push('\'');
                }
                Part::Bytes(bytes) => {
                    text.push_str(match dialect {
                        Dialect::Sqlite => "X'",
                        Dialect::Postgres => "'\\x",
                    });
                    for byte in bytes {
                        // Writing to a text does not fail.
                        let _ = write!(text, "{byte:02x}");
                    }
                    text.push('\'');
                }
            }
        }
        text
    }
}

/// A statement with the type of its rows.
#[derive(Debug)]
pub(super) struct Returning<T> {
    sql: Sql,
    rows: PhantomData<T>,
}

impl<T, DB> QueryFragment<DB> for Returning<T>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text> + HasSqlType<Binary>,
    i64: ToSql<BigInt, DB>,
    String: ToSql<Text, DB>,
    Vec<u8>: ToSql<Binary, DB>,
{
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        // As many texts as there are filters: a cache of them would grow without need.
        pass.unsafe_to_cache_prepared();
        for part in &self.sql.0 {
            match part {
                Part::Text(text) => pass.push_sql(text),
                Part::Number(number) => pass.push_bind_param::<BigInt, _>(number)?,
                Part::Word(word) => pass.push_bind_param::<Text, _>(word)?,
                Part::Bytes(bytes) => pass.push_bind_param::<Binary, _>(bytes)?,
            }
        }
        Ok(())
    }
}

impl<T> QueryId for Returning<T> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T> Query for Returning<T> {
    type SqlType = T;
}

impl<T, C: Connection> RunQueryDsl<C> for Returning<T> {}
