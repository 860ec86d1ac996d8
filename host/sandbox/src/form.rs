//! The set-up form of a channel, and whether what somebody filled in fits it.

use std::collections::BTreeMap;

use mantle_model::secret::Secrets;
use regex::Regex;

use crate::limits::FIELD_BYTES_MAX;

/// A field of the set-up form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub label: String,
    pub help: String,
    pub kind: FieldKind,
    pub secret: bool,
    pub required: bool,
    /// Anchored regular expression that a value must match.
    pub pattern: Option<String>,
    pub example: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    Text,
    Choice(Vec<String>),
}

/// All fields with their compiled patterns.
#[derive(Debug)]
pub(crate) struct Form {
    fields: Vec<Field>,
    /// One for each field.
    patterns: Vec<Option<Regex>>,
}

/// The field that is wrong, and one sentence with the fix.
pub type FieldProblem = (String, String);

impl Form {
    pub(crate) fn new(fields: Vec<(Field, Option<Regex>)>) -> Self {
        let (fields, patterns) = fields.into_iter().unzip();
        Self { fields, patterns }
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Judges filled-in values; a secret that `shared` has may be left out.
    pub(crate) fn check(&self, values: &BTreeMap<String, String>, shared: &Secrets) -> Result<(), FieldProblem> {
        if let Some(unknown) = values
            .keys()
            .find(|name| !self.fields.iter().any(|field| field.name == **name))
        {
            let names = self.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>();
            return Err((
                unknown.clone(),
                format!("There is no such field. The fields are: {}.", names.join(", ")),
            ));
        }
        for (field, pattern) in self.fields.iter().zip(&self.patterns) {
            let value = values.get(&field.name).map(String::as_str).unwrap_or_default();
            let shared = field.secret && shared.contains(&field.name);
            let problem = if value.is_empty() {
                (field.required && !shared).then(|| format!("{} is needed. {}", field.label, field.help))
            } else {
                field.problem_of(value, pattern.as_ref())
            };
            if let Some(problem) = problem {
                return Err((field.name.clone(), problem.trim_end().to_owned()));
            }
        }
        Ok(())
    }
}

impl Field {
    fn problem_of(&self, value: &str, pattern: Option<&Regex>) -> Option<String> {
        if value.len() > FIELD_BYTES_MAX {
            return Some(format!("{} is longer than {FIELD_BYTES_MAX} bytes.", self.label));
        }
        if value.chars().any(char::is_control) || value.trim() != value {
            return Some(format!(
                "{} has spaces around it or line breaks in it. Paste it without them.",
                self.label
            ));
        }
        if let FieldKind::Choice(choices) = &self.kind
            && !choices.iter().any(|choice| choice == value)
        {
            return Some(format!("{} must be one of: {}.", self.label, choices.join(", ")));
        }
        if pattern.is_some_and(|pattern| !pattern.is_match(value)) {
            let example = self.example.as_ref();
            let example = example.map_or(String::new(), |example| format!(" It looks like {example}."));
            return Some(format!("{} does not have the right form.{example}", self.label));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use mantle_model::secret::Secret;

    use super::*;

    fn field(name: &str, secret: bool, kind: FieldKind, pattern: Option<&str>) -> (Field, Option<Regex>) {
        let field = Field {
            name: name.to_owned(),
            label: name.to_uppercase(),
            help: "Look there.".to_owned(),
            kind,
            secret,
            required: true,
            pattern: pattern.map(str::to_owned),
            example: Some("12".to_owned()),
        };
        (field, pattern.map(|pattern| Regex::new(pattern).unwrap()))
    }

    #[test]
    fn values_are_judged_by_field() {
        let form = Form::new(vec![
            field("id", false, FieldKind::Text, Some("^[0-9]+$")),
            field(
                "mode",
                false,
                FieldKind::Choice(vec!["a".to_owned(), "b".to_owned()]),
                None,
            ),
            field("token", true, FieldKind::Text, None),
        ]);
        let check = |values: &[(&str, &str)], shared: &Secrets, expected: Result<(), &str>| {
            let values = values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let found = form.check(&values, shared);
            assert_eq!(
                found.as_ref().map_err(|(field, _)| field.as_str()).copied(),
                expected,
                "{found:?}"
            );
        };
        let none = Secrets::default();
        let mut shared = Secrets::default();
        shared.add("token", Secret::new("t".to_owned()));
        check(&[("id", "1"), ("mode", "a"), ("token", "t")], &none, Ok(()));
        check(&[("id", "1"), ("mode", "a")], &shared, Ok(()));
        check(&[("id", "1"), ("mode", "a")], &none, Err("token"));
        check(&[("id", "x"), ("mode", "a"), ("token", "t")], &none, Err("id"));
        check(&[("id", "1"), ("mode", "c"), ("token", "t")], &none, Err("mode"));
        check(&[("id", "1"), ("mode", "a"), ("token", " t")], &none, Err("token"));
        check(
            &[("id", "1"), ("mode", "a"), ("token", "t"), ("x", "")],
            &none,
            Err("x"),
        );
    }
}
