//! Statements and rows, the same for both databases.
//!
//! A statement is one text with `$n` parameters, or two texts side by side where the databases differ. Values are
//! integers, bytes, words of ours and lists of ids, and nothing else: what both databases store, compare and sort
//! alike. Every value has a type even when it is null, since PostgreSQL asks for it. Statements are prepared once per
//! connection and kept.

mod connection;
mod fault;
mod given;
mod row;
mod sqlite;

use std::borrow::Cow;

pub(crate) use self::connection::{Connection, Pool, Target, Way};
pub(crate) use self::fault::Fault;
pub(crate) use self::given::Given;
pub(crate) use self::row::{FromColumn, Row};
pub(crate) use self::sqlite::{Sqlite, SqlitePool};
use crate::StoreError;

/// What a parameter can be.
#[derive(Debug, Clone)]
pub(crate) enum Value<'q> {
    Int(Option<i64>),
    Bytes(Option<Cow<'q, [u8]>>),
    Text(Cow<'q, str>),
    /// A list for `json_each($n)`, which SQLite has and our PostgreSQL schema defines.
    Ids(Cow<'q, [i64]>),
    /// Places of messages, lane and seq.
    Places(Cow<'q, [(i64, i64)]>),
    /// A list of bytes; hexadecimal words on SQLite, whose lists are JSON.
    Keys(Vec<Vec<u8>>),
}

/// A list of bytes, as a parameter.
#[derive(Debug, Clone)]
pub(crate) struct Keys(pub Vec<Vec<u8>>);

/// A list of ids, as a parameter.
#[derive(Debug, Clone)]
pub(crate) struct Ids(pub Vec<i64>);

/// A list of lanes and seqs, as a parameter.
#[derive(Debug, Clone)]
pub(crate) struct Places(pub Vec<(i64, i64)>);

macro_rules! int_value {
    ($($int:ty),*) => {
        $(impl From<$int> for Value<'_> {
            fn from(int: $int) -> Self {
                Self::Int(Some(i64::from(int)))
            }
        })*
    };
}
int_value!(i64, u32, u16, u8, bool);

impl From<Option<i64>> for Value<'_> {
    fn from(int: Option<i64>) -> Self {
        Self::Int(int)
    }
}

impl<'q> From<&'q [u8]> for Value<'q> {
    fn from(bytes: &'q [u8]) -> Self {
        Self::Bytes(Some(Cow::Borrowed(bytes)))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Some(Cow::Owned(bytes)))
    }
}

impl<'q> From<Option<&'q [u8]>> for Value<'q> {
    fn from(bytes: Option<&'q [u8]>) -> Self {
        Self::Bytes(bytes.map(Cow::Borrowed))
    }
}

impl<'q> From<&'q str> for Value<'q> {
    fn from(text: &'q str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Ids> for Value<'_> {
    fn from(ids: Ids) -> Self {
        Self::Ids(Cow::Owned(ids.0))
    }
}

impl<'q> From<&'q Ids> for Value<'q> {
    fn from(ids: &'q Ids) -> Self {
        Self::Ids(Cow::Borrowed(&ids.0))
    }
}

impl From<Keys> for Value<'_> {
    fn from(keys: Keys) -> Self {
        Self::Keys(keys.0)
    }
}

impl<'q> From<&'q Places> for Value<'q> {
    fn from(places: &'q Places) -> Self {
        Self::Places(Cow::Borrowed(&places.0))
    }
}

/// The text of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Ours(&'static str),
    /// Where the databases differ.
    Either {
        sqlite: &'static str,
        postgres: &'static str,
    },
    /// Put together at run time, of words of ours and numbers.
    Built(String),
    /// Reads many rows.
    Given {
        sqlite: &'static str,
        postgres: &'static str,
    },
}

/// A statement with its parameters, to be run on a connection or a pool.
#[derive(Debug, Clone)]
pub(crate) struct Statement<'q> {
    text: Text,
    values: Vec<Value<'q>>,
    given: Given<'q>,
}

/// A statement that reads the same for both databases. Several statements in one text, parted by semicolons, share
/// the parameters and run one after the other. The rows are those of the last.
pub(crate) fn sql<'q>(text: &'static str) -> Statement<'q> {
    Statement {
        text: Text::Ours(text),
        values: Vec::new(),
        given: Given::default(),
    }
}

/// The same statement in the words of each database.
pub(crate) fn either<'q>(sqlite: &'static str, postgres: &'static str) -> Statement<'q> {
    Statement {
        text: Text::Either { sqlite, postgres },
        values: Vec::new(),
        given: Given::default(),
    }
}

/// A statement put together at run time, of words of ours and numbers.
pub(crate) fn built<'q>(text: String) -> Statement<'q> {
    Statement {
        text: Text::Built(text),
        values: Vec::new(),
        given: Given::default(),
    }
}

/// A statement over many rows, which it reads as `{rows}`. Without rows it does nothing. On SQLite it may run several
/// times, each for some of the rows in their order.
pub(crate) fn over<'q>(text: &'static str, given: Given<'q>) -> Statement<'q> {
    over_either(text, text, given)
}

/// The same in the words of each database.
pub(crate) fn over_either<'q>(sqlite: &'static str, postgres: &'static str, given: Given<'q>) -> Statement<'q> {
    Statement {
        text: Text::Given { sqlite, postgres },
        values: Vec::new(),
        given,
    }
}

impl<'q> Statement<'q> {
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Tells how many rows were written.
    pub(crate) async fn execute<'c>(self, on: impl Into<Target<'c>>) -> Result<u64, StoreError> {
        on.into().execute(&self).await
    }

    pub(crate) async fn fetch_all<'c>(self, on: impl Into<Target<'c>>) -> Result<Vec<Row>, StoreError> {
        on.into().fetch_all(&self).await
    }

    pub(crate) async fn fetch_optional<'c>(self, on: impl Into<Target<'c>>) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    pub(crate) async fn fetch_one<'c>(self, on: impl Into<Target<'c>>) -> Result<Row, StoreError> {
        self.fetch_optional(on)
            .await?
            .ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }

    /// The first column of the only row.
    pub(crate) async fn scalar<'c, T: FromColumn>(self, on: impl Into<Target<'c>>) -> Result<T, StoreError> {
        self.fetch_one(on).await?.get(0)
    }

    /// The first column of the first row, if there is one.
    pub(crate) async fn scalar_optional<'c, T: FromColumn>(
        self,
        on: impl Into<Target<'c>>,
    ) -> Result<Option<T>, StoreError> {
        self.fetch_optional(on).await?.map(|row| row.get(0)).transpose()
    }

    /// The first column of every row.
    pub(crate) async fn scalars<'c, T: FromColumn>(self, on: impl Into<Target<'c>>) -> Result<Vec<T>, StoreError> {
        self.fetch_all(on).await?.iter().map(|row| row.get(0)).collect()
    }
}
