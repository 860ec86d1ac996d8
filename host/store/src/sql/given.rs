//! Many rows as one parameter, so that a group of jobs costs as few statements as one job.
//!
//! A text reads them as `{rows}`: `with given (id, key) as ({rows}) insert into …`. PostgreSQL gets one array for each
//! column. SQLite has no arrays; it gets the rows written out, in runs whose lengths are powers of two, so that a few
//! prepared statements serve every number of rows.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::sqlite::positional;

/// Rows of one run on SQLite: a statement of the widest table then has some 800 parameters, far from the limit of 32,766.
const RUN_MAX: usize = 64;

/// The rows, by columns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given<'q> {
    len: usize,
    columns: Vec<Column<'q>>,
}

#[derive(Debug, Clone)]
pub(super) enum Column<'q> {
    Ints(Vec<Option<i64>>),
    Bytes(Vec<Option<&'q [u8]>>),
    Texts(Vec<&'q str>),
}

impl<'q> Given<'q> {
    /// So many rows, without columns yet.
    pub(crate) fn rows(len: usize) -> Self {
        Self {
            len,
            columns: Vec::new(),
        }
    }

    /// The next column. Every column has a value for each row.
    pub(crate) fn ints<T: Into<Option<i64>>>(mut self, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.columns.push(Column::Ints(values));
        self
    }

    pub(crate) fn bytes<T: Into<Option<&'q [u8]>>>(mut self, values: impl IntoIterator<Item = T>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.columns.push(Column::Bytes(values));
        self
    }

    pub(crate) fn texts(mut self, values: impl IntoIterator<Item = &'q str>) -> Self {
        self.columns.push(Column::Texts(values.into_iter().collect()));
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn columns(&self) -> &[Column<'q>] {
        &self.columns
    }

    /// Where each run begins and how long it is.
    pub(super) fn runs(&self) -> Vec<(usize, usize)> {
        let mut runs = Vec::new();
        let mut from = 0;
        while from < self.len {
            let left = self.len - from;
            let run = RUN_MAX.min(1 << left.ilog2());
            runs.push((from, run));
            from += run;
        }
        runs
    }
}

/// What `{rows}` stands for, by the text, the parameters before the rows, and the length of the run (0: arrays).
type Texts = HashMap<(&'static str, usize, usize, usize), Arc<str>>;

/// Bounded by the texts of this room times the few lengths of a run.
static TEXTS: LazyLock<Mutex<Texts>> = LazyLock::new(Mutex::default);

const ROWS: &str = "{rows}";
const INSERT: &str = "insert into ";
const UPDATE: &str = "update ";

/// The text with the rows of a run written out. A write that fails leaves what it has done: whoever runs a group undoes
/// all of the job or of the group, and SQLite need not copy each page aside before the statement changes it.
pub(super) fn written_out(text: &'static str, before: usize, columns: usize, rows: usize) -> Arc<str> {
    filled(text, (before, columns, rows), || {
        let row = |row: usize| {
            let places: Vec<String> = (0..columns)
                .map(|column| format!("?{}", before + row * columns + column + 1))
                .collect();
            format!("({})", places.join(","))
        };
        let rows = (0..rows).map(row).collect::<Vec<_>>().join(",");
        unguarded(&positional(text)).replace(ROWS, &format!("values {rows}"))
    })
}

fn unguarded(text: &str) -> String {
    let (plain, unguarded) = if text.contains(INSERT) {
        (INSERT, "insert or fail into ")
    } else {
        (UPDATE, "update or fail ")
    };
    text.replacen(plain, unguarded, 1)
}

/// The text with the rows as arrays.
pub(super) fn as_arrays(text: &'static str, before: usize, columns: usize) -> Arc<str> {
    filled(text, (before, columns, 0), || {
        let places: Vec<String> = (0..columns).map(|column| format!("${}", before + column + 1)).collect();
        text.replace(ROWS, &format!("select * from unnest({})", places.join(",")))
    })
}

fn filled(
    text: &'static str,
    (before, columns, rows): (usize, usize, usize),
    fill: impl FnOnce() -> String,
) -> Arc<str> {
    // Nothing that holds it can panic half-way through a change.
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = texts
        .entry((text, before, columns, rows))
        .or_insert_with(|| fill().into());
    Arc::clone(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_powers_of_two_and_cover_every_row() {
        for len in [0, 1, 2, 3, 63, 64, 65, 200] {
            let runs = Given::rows(len).runs();
            let mut next = 0;
            for (from, run) in runs {
                assert_eq!(from, next);
                assert!(run.is_power_of_two() && run <= RUN_MAX);
                next += run;
            }
            assert_eq!(next, len);
        }
    }

    #[test]
    fn a_write_is_not_undone_by_itself() {
        let check = |text, expected| assert_eq!(&*written_out(text, 0, 1, 1), expected);
        check(
            "with given (a) as ({rows}) insert into t (a) select a from given where true on conflict (a) do update set b = 1",
            "with given (a) as (values (?1)) insert or fail into t (a) select a from given where true on conflict (a) do update set b = 1",
        );
        check(
            "with given (a) as ({rows}) update t set b = 1 from given where t.a = given.a",
            "with given (a) as (values (?1)) update or fail t set b = 1 from given where t.a = given.a",
        );
    }

    #[test]
    fn rows_are_numbered_behind_the_other_parameters() {
        let text = "with given (a, b) as ({rows}) select $1, a, b from given";
        assert_eq!(
            &*written_out(text, 1, 2, 2),
            "with given (a, b) as (values (?2,?3),(?4,?5)) select ?1, a, b from given"
        );
        assert_eq!(
            &*as_arrays(text, 1, 2),
            "with given (a, b) as (select * from unnest($2,$3)) select $1, a, b from given"
        );
    }
}
