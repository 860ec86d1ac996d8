//! A TOML text that is asked for its keys one by one and remembers what was wrong and what nobody asked for.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mantle_model::secret::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Environment, Problem};

/// How alike two keys must be for one to be offered for the other; found by trying usual slips.
const ALIKE: f64 = 0.72;
/// A secret is a token or a key, never a file of this size.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

pub(super) struct Document<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    environment: Environment<'a>,
    problems: RefCell<Vec<Problem>>,
    /// Files that were read besides the document itself.
    files: RefCell<Vec<PathBuf>>,
}

/// What a value should be, in words for an error.
type Wanted = &'static str;

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, environment: Environment<'a>) -> Self {
        Self {
            file,
            text,
            environment,
            problems: RefCell::default(),
            files: RefCell::default(),
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }

    pub(super) fn reads(&self, file: PathBuf) {
        self.files.borrow_mut().push(file);
    }

    /// The problem, with the line that the span begins in.
    pub(super) fn problem(&self, key: &str, span: Range<usize>, message: impl Into<String>) -> Problem {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Problem {
            file: self.file.to_path_buf(),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            key: key.to_owned(),
            message: message.into(),
        }
    }

    /// The problem of a key that stands nowhere: without a line.
    pub(super) fn absent(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem {
            line: 0,
            ..self.problem(key, 0..0, message)
        }
    }

    /// The key that a place belongs to, with its table's name in front: for a text that is no TOML and has no tree.
    pub(super) fn key_at(&self, place: usize) -> String {
        let before = self.text.get(..place).unwrap_or(self.text);
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[begin..].lines().next().unwrap_or_default().trim();
        let header = |line: &str| {
            let inner = line.trim().strip_prefix('[')?.trim_start_matches('[');
            Some(inner.split(']').next().unwrap_or_default().trim().to_owned())
        };
        if let Some(table) = header(line) {
            return table;
        }
        let key = line.split('=').next().unwrap_or_default().trim();
        match self.text[..begin].lines().rev().find_map(header) {
            Some(table) => format!("{table}.{key}"),
            None => key.to_owned(),
        }
    }

    pub(super) fn report(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// A path of the configuration, taken from the folder of the file.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        let folder = self.file.parent().unwrap_or_else(|| Path::new(""));
        folder.join(text)
    }
}

/// One table with the keys that have been asked for.
pub(super) struct Section<'d, 'a, 't> {
    document: &'d Document<'a>,
    /// `plugins.telegram`; empty for the whole document.
    path: String,
    table: &'t DeTable<'t>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d, 'a, 't> Section<'d, 'a, 't> {
    pub(super) fn new(document: &'d Document<'a>, path: impl Into<String>, table: &'t DeTable<'t>) -> Self {
        Self {
            document,
            path: path.into(),
            table,
            asked: RefCell::default(),
        }
    }

    /// `server.listen`
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    pub(super) fn problem(&self, key: &str, span: Range<usize>, message: impl Into<String>) -> Problem {
        self.document.problem(&self.name(key), span, message)
    }

    pub(super) fn report(&self, key: &str, span: Range<usize>, message: impl Into<String>) {
        self.document.report(self.problem(key, span, message));
    }

    pub(super) fn value(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    pub(super) fn string(&self, key: &'static str, example: &str) -> Option<(String, Range<usize>)> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.clone().into_owned(), value.span())),
            other => {
                self.wrong_type(
                    key,
                    value.span(),
                    other,
                    &format!("text in quotes, such as \"{example}\""),
                );
                None
            }
        }
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(truth) => Some(*truth),
            other => {
                self.wrong_type(key, value.span(), other, "`true` or `false`, without quotes");
                None
            }
        }
    }

    pub(super) fn whole_number(&self, key: &'static str, wanted: Wanted) -> Option<(u32, Range<usize>)> {
        let value = self.value(key)?;
        if let DeValue::Integer(number) = value.get_ref()
            && let Ok(number) = u32::from_str_radix(number.as_str(), number.radix())
        {
            return Some((number, value.span()));
        }
        self.wrong_type(key, value.span(), value.get_ref(), wanted);
        None
    }

    /// The section of this key; None if it is absent or no table.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'d, 'a, 't>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.document, self.name(key), table)),
            other => {
                self.wrong_type(key, value.span(), other, &format!("a table: [{}]", self.name(key)));
                None
            }
        }
    }

    /// Every entry, for tables whose keys are the operator's own words.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t str, Range<usize>, &'t Spanned<DeValue<'t>>)> {
        self.table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), key.span(), value))
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.asked.borrow();
        for (key, span, _) in self.entries() {
            if known.contains(&key) {
                continue;
            }
            let nearest = known
                .iter()
                .map(|known| (strsim::jaro_winkler(key, known), *known))
                .filter(|(likeness, _)| *likeness > ALIKE)
                .max_by(|left, right| left.0.total_cmp(&right.0));
            let fix = match nearest {
                Some((_, nearest)) => format!("Did you mean `{nearest}`?"),
                None => format!("Known here: {}.", known.join(", ")),
            };
            self.report(key, span, format!("There is no such key. {fix}"));
        }
    }

    pub(super) fn wrong_type(&self, key: &str, span: Range<usize>, found: &DeValue<'_>, wanted: &str) {
        self.report(key, span, format!("This is {}. Write {wanted}.", kind(found)));
    }
}

/// A secret as it stands in the document.
pub(super) enum SecretError {
    /// The form is wrong: nobody can use the file.
    Form(Problem),
    /// The form is right, and what it names is not there.
    Missing(Problem),
}

impl SecretError {
    pub(super) fn problem(self) -> Problem {
        match self {
            Self::Form(problem) | Self::Missing(problem) => problem,
        }
    }
}

/// Reads `"literal"`, `{ env = "NAME" }` or `{ file = "path" }`.
pub(super) fn secret(document: &Document<'_>, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Secret, SecretError> {
    let form = |found: &str| {
        SecretError::Form(document.problem(
            key,
            value.span(),
            format!("This is {found}. A secret is {{ env = \"NAME\" }}, {{ file = \"path\" }} or text in quotes."),
        ))
    };
    let missing = |message: String| SecretError::Missing(document.problem(key, value.span(), message));
    let text = match value.get_ref() {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Table(table) => {
            let mut entries = table.iter();
            let (Some((source, named)), None) = (entries.next(), entries.next()) else {
                return Err(form("a table of more or less than one key"));
            };
            let DeValue::String(named) = named.get_ref() else {
                return Err(form(kind(named.get_ref())));
            };
            match source.get_ref().as_ref() {
                "env" => (document.environment)(named).ok_or_else(|| {
                    missing(format!(
                        "The environment variable {named} is not set. Set it before starting the host."
                    ))
                })?,
                "file" => secret_file(document, named).map_err(missing)?,
                other => return Err(form(&format!("a table with the key `{other}`"))),
            }
        }
        other => return Err(form(kind(other))),
    };
    if text.trim().is_empty() {
        return Err(missing("The secret is empty. Fill it in.".to_owned()));
    }
    Ok(Secret::new(text))
}

fn secret_file(document: &Document<'_>, named: &str) -> Result<String, String> {
    let path = document.path(named);
    document.reads(path.clone());
    let unreadable = |why: String| {
        format!(
            "The secret's file {} {why}. Create it or correct the path.",
            path.display()
        )
    };
    let size = std::fs::metadata(&path).map_err(|error| unreadable(format!("cannot be read ({error})")))?;
    if size.len() > SECRET_BYTES_MAX {
        return Err(unreadable(format!("is larger than {SECRET_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(format!("cannot be read ({error})")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What a value is, for people who do not think in types.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
