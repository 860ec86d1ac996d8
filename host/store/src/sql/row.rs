//! Rows, whichever database they come from.

use rusqlite::types::Value as Stored;
use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{ColumnIndex, Row as _};

use super::sqlite::SqliteRow;
use crate::StoreError;

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A column by its name or by its place.
pub(crate) trait Column: ColumnIndex<PgRow> + Copy {
    fn place(self, row: &SqliteRow) -> Option<usize>;
}

impl Column for usize {
    fn place(self, _row: &SqliteRow) -> Option<usize> {
        Some(self)
    }
}

impl Column for &str {
    fn place(self, row: &SqliteRow) -> Option<usize> {
        row.place(self)
    }
}

impl Row {
    pub(crate) fn get<T: FromColumn>(&self, column: impl Column) -> Result<T, StoreError> {
        T::from_column(self, column)
    }

    fn int(&self, column: impl Column) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => match stored(row, column)? {
                Stored::Null => Ok(None),
                Stored::Integer(int) => Ok(Some(*int)),
                Stored::Real(_) | Stored::Text(_) | Stored::Blob(_) => Err(undecodable("a number was expected")),
            },
            Self::Postgres(row) => binary(row, column)?.map(postgres_int).transpose(),
        }
    }

    /// Words are bytes too.
    fn bytes(&self, column: impl Column) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Sqlite(row) => match stored(row, column)? {
                Stored::Null => Ok(None),
                Stored::Text(text) => Ok(Some(text.as_bytes().to_vec())),
                Stored::Blob(bytes) => Ok(Some(bytes.clone())),
                Stored::Integer(_) | Stored::Real(_) => Err(undecodable("bytes were expected")),
            },
            Self::Postgres(row) => Ok(binary(row, column)?.map(<[u8]>::to_vec)),
        }
    }
}

fn stored(row: &SqliteRow, column: impl Column) -> Result<&Stored, StoreError> {
    column
        .place(row)
        .and_then(|place| row.value(place))
        .ok_or_else(|| undecodable("there is no such column"))
}

/// The bytes of a column as the server sent them; None for null.
fn binary(row: &PgRow, column: impl Column) -> Result<Option<&[u8]>, StoreError> {
    use sqlx::ValueRef as _;
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(None);
    }
    if value.format() != PgValueFormat::Binary {
        return Err(undecodable("the server answered in text"));
    }
    Ok(Some(value.as_bytes().map_err(sqlx::Error::Decode)?))
}

/// Numbers that a statement spells out are narrower than columns, and `exists` is a boolean.
fn postgres_int(bytes: &[u8]) -> Result<i64, StoreError> {
    if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
        return Ok(i64::from_be_bytes(bytes));
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ok(i64::from(i32::from_be_bytes(bytes)));
    }
    if let Ok(bytes) = <[u8; 2]>::try_from(bytes) {
        return Ok(i64::from(i16::from_be_bytes(bytes)));
    }
    match bytes {
        [bit] => Ok(i64::from(*bit)),
        _ => Err(undecodable("a number of no known width")),
    }
}

/// What a column can be read as.
pub(crate) trait FromColumn: Sized {
    fn from_column(row: &Row, column: impl Column) -> Result<Self, StoreError>;
}

impl FromColumn for Option<i64> {
    fn from_column(row: &Row, column: impl Column) -> Result<Self, StoreError> {
        row.int(column)
    }
}

impl FromColumn for i64 {
    fn from_column(row: &Row, column: impl Column) -> Result<Self, StoreError> {
        row.int(column)?.ok_or_else(unexpected_null)
    }
}

impl FromColumn for bool {
    fn from_column(row: &Row, column: impl Column) -> Result<Self, StoreError> {
        Ok(i64::from_column(row, column)? != 0)
    }
}

impl FromColumn for Option<Vec<u8>> {
    fn from_column(row: &Row, column: impl Column) -> Result<Self, StoreError> {
        row.bytes(column)
    }
}

impl FromColumn for Vec<u8> {
    fn from_column(row: &Row, column: impl Column) -> Result<Self, StoreError> {
        row.bytes(column)?.ok_or_else(unexpected_null)
    }
}

fn unexpected_null() -> StoreError {
    undecodable("a value was expected and there is none")
}

fn undecodable(why: &'static str) -> StoreError {
    StoreError::Database(sqlx::Error::Decode(why.into()))
}
