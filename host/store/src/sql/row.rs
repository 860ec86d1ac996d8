//! Rows, whichever database they come from.

use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Row as _};

use crate::StoreError;

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
}

/// A column by its name or by its place.
pub(crate) trait Column: ColumnIndex<SqliteRow> + Copy {}

impl<T: ColumnIndex<SqliteRow> + Copy> Column for T {}

impl Row {
    pub(crate) fn get<T: FromColumn>(&self, column: impl Column) -> Result<T, StoreError> {
        T::from_column(self, column)
    }

    fn int(&self, column: impl Column) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.try_get(column)?),
        }
    }

    /// Words are bytes too.
    fn bytes(&self, column: impl Column) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.try_get(column)?),
        }
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
    StoreError::Database(sqlx::Error::Decode("a value was expected and there is none".into()))
}
