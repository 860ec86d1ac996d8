//! Reading what Slack sends, member by member: one of a wrong shape is named with its place and costs itself alone.

use std::cell::RefCell;

use mantle_sdk::connector::Malformed;
use serde_json::{Map, Value};

/// What could not be read so far.
#[derive(Default)]
pub struct Problems(RefCell<Vec<Malformed>>);

impl Problems {
    pub fn note(&self, place: impl Into<String>, problem: &str) {
        self.0.borrow_mut().push(Malformed::new(place, problem));
    }

    pub fn into_inner(self) -> Vec<Malformed> {
        self.0.into_inner()
    }
}

/// An object and where it stands.
pub struct Fields<'a> {
    place: String,
    members: &'a Map<String, Value>,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    pub fn of(value: &'a Value, place: String, problems: &'a Problems) -> Option<Self> {
        let Some(members) = value.as_object() else {
            problems.note(place, "Expected an object.");
            return None;
        };
        Some(Self {
            place,
            members,
            problems,
        })
    }

    /// None where it is absent, null or empty, which mean the same here.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.read(name, "Expected text.", Value::as_str)
            .filter(|text| !text.is_empty())
    }

    pub fn needed_text(&self, name: &str) -> Option<&'a str> {
        self.needed(name, self.text(name))
    }

    pub fn count(&self, name: &str) -> Option<u64> {
        self.read(name, "Expected a whole number.", Value::as_u64)
    }

    /// Seconds since 1970 and the like.
    pub fn whole(&self, name: &str) -> Option<i64> {
        self.read(name, "Expected a whole number.", Value::as_i64)
    }

    /// Anything but `true` is no.
    pub fn is_true(&self, name: &str) -> bool {
        self.members.get(name).and_then(Value::as_bool) == Some(true)
    }

    pub fn list(&self, name: &str) -> Option<&'a Vec<Value>> {
        self.read(name, "Expected a list.", Value::as_array)
    }

    pub fn object(&self, name: &str) -> Option<Self> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        Self::of(value, self.place_of(name), self.problems)
    }

    pub fn needed_object(&self, name: &str) -> Option<Self> {
        self.needed(name, self.object(name))
    }

    /// The objects of a list; what is none is noted with its place, and the others stay.
    pub fn objects(&self, name: &str) -> Vec<Self> {
        let items = self.list(name).map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| Self::of(item, format!("{}[{index}]", self.place_of(name)), self.problems))
            .collect()
    }

    pub fn first_object(&self, name: &str) -> Option<Self> {
        let first = self.list(name)?.first()?;
        Self::of(first, format!("{}[0]", self.place_of(name)), self.problems)
    }

    fn read<T>(&self, name: &str, problem: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        let found = read(value);
        if found.is_none() {
            self.problems.note(self.place_of(name), problem);
        }
        found
    }

    /// What has a wrong shape has been noted already.
    fn needed<T>(&self, name: &str, found: Option<T>) -> Option<T> {
        let is_absent = match self.members.get(name) {
            None | Some(Value::Null) => true,
            Some(value) => value.as_str().is_some_and(str::is_empty),
        };
        if found.is_none() && is_absent {
            self.problems.note(self.place_of(name), "It is missing.");
        }
        found
    }

    fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() {
            return name.to_owned();
        }
        format!("{}.{name}", self.place)
    }
}
