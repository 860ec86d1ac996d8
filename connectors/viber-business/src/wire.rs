//! Reading what Infobip sends, member by member: one of a wrong shape is named with its place and costs itself alone.

use std::cell::RefCell;
use std::fmt;

use mantle_sdk::connector::Malformed;
use mantle_sdk::time;
use mantle_sdk::values::TimeMs;
use serde_json::{Map, Value};

/// How a message of ours is called at Infobip: by the host's id, and the number of the attempt after the first one.
pub struct MessageName {
    pub id: String,
    pub attempt: u32,
}

/// No id of the host has it.
const ATTEMPT_MARK: char = '~';

impl MessageName {
    /// The host's id in a name that Infobip tells.
    pub fn id_of(name: &str) -> &str {
        name.split(ATTEMPT_MARK).next().unwrap_or(name)
    }
}

impl fmt::Display for MessageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            0 => f.write_str(&self.id),
            attempt => write!(f, "{}{ATTEMPT_MARK}{attempt}", self.id),
        }
    }
}

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

    pub fn whole(&self, name: &str) -> Option<i64> {
        self.read(name, "Expected a whole number.", Value::as_i64)
    }

    pub fn needed_whole(&self, name: &str) -> Option<i64> {
        self.needed(name, self.whole(name))
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.read(name, "Expected true or false.", Value::as_bool)
    }

    /// A time with an offset that has no colon: `2026-01-01T00:00:00.123+0000`. With one it is read too.
    pub fn time(&self, name: &str) -> Option<TimeMs> {
        self.read(name, "Expected a time.", |value| {
            value.as_str().and_then(time::parse_rfc3339)
        })
    }

    /// Whether there is anything of that name.
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    /// That the object is none of what is known.
    pub fn note(&self, problem: &str) {
        self.problems.note(self.place.as_str(), problem);
    }

    pub fn object(&self, name: &str) -> Option<Self> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        Self::of(value, self.place_of(name), self.problems)
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
