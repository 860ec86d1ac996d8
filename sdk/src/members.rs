//! Reading JSON member by member: one of a wrong shape is named with its place and costs itself alone.
//!
//! For providers whose hooks carry several things at once: a member that cannot be read goes into
//! [`Inbound::malformed`](crate::connector::Inbound::malformed), and the others become events.

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::connector::Malformed;
use crate::time;
use crate::values::TimeMs;

/// What could not be read so far.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Malformed>>);

impl Problems {
    pub fn note(&self, place: impl Into<String>, problem: &str) {
        self.0.borrow_mut().push(Malformed::new(place, problem));
    }

    #[must_use]
    pub fn into_inner(self) -> Vec<Malformed> {
        self.0.into_inner()
    }
}

/// An object and where it stands. What is absent, null or, as text, empty means the same: there is none. What is of
/// another shape than it is read as is none as well, and is noted.
#[derive(Debug)]
pub struct Members<'a> {
    place: String,
    members: &'a Map<String, Value>,
    problems: &'a Problems,
}

impl<'a> Members<'a> {
    /// `place` is how the object is reached from the body: `events[0].message`; the body itself has none.
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

    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.read(name, "Expected text.", Value::as_str)
            .filter(|text| !text.is_empty())
    }

    #[must_use]
    pub fn needed_text(&self, name: &str) -> Option<&'a str> {
        self.needed(name, self.text(name))
    }

    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.read(name, "Expected a whole number.", Value::as_u64)
    }

    #[must_use]
    pub fn whole(&self, name: &str) -> Option<i64> {
        self.read(name, "Expected a whole number.", Value::as_i64)
    }

    #[must_use]
    pub fn needed_whole(&self, name: &str) -> Option<i64> {
        self.needed(name, self.whole(name))
    }

    #[must_use]
    pub fn needed_number(&self, name: &str) -> Option<f64> {
        self.needed(name, self.read(name, "Expected a number.", Value::as_f64))
    }

    /// A moment as milliseconds since 1970.
    #[must_use]
    pub fn time_ms(&self, name: &str) -> Option<TimeMs> {
        self.read(name, "Expected a time in milliseconds.", Value::as_i64)
    }

    /// A moment as text, see [`time::parse_rfc3339`].
    #[must_use]
    pub fn time_text(&self, name: &str) -> Option<TimeMs> {
        self.read(name, "Expected a time.", |value| {
            value.as_str().and_then(time::parse_rfc3339)
        })
    }

    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.read(name, "Expected true or false.", Value::as_bool)
    }

    /// Anything but `true` is no, and nothing is noted.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.members.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// Whether there is anything of that name, whatever its shape.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.present(name).is_some()
    }

    #[must_use]
    pub fn list(&self, name: &str) -> Option<&'a Vec<Value>> {
        self.read(name, "Expected a list.", Value::as_array)
    }

    #[must_use]
    pub fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.present(name)?, self.place_of(name), self.problems)
    }

    #[must_use]
    pub fn needed_object(&self, name: &str) -> Option<Self> {
        self.needed(name, self.object(name))
    }

    /// The objects of a list; what is none is noted with its place, and the others stay.
    #[must_use]
    pub fn objects(&self, name: &str) -> Vec<Self> {
        let items = self.list(name).map(Vec::as_slice).unwrap_or_default();
        let placed = items.iter().enumerate();
        placed
            .filter_map(|(index, item)| Self::of(item, format!("{}[{index}]", self.place_of(name)), self.problems))
            .collect()
    }

    #[must_use]
    pub fn first_object(&self, name: &str) -> Option<Self> {
        let first = self.list(name)?.first()?;
        Self::of(first, format!("{}[0]", self.place_of(name)), self.problems)
    }

    /// A member of a shape of the provider's own; `problem` is what is noted where `read` finds nothing.
    pub fn read<T>(&self, name: &str, problem: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let found = read(self.present(name)?);
        if found.is_none() {
            self.problems.note(self.place_of(name), problem);
        }
        found
    }

    /// Notes that it is missing, where it is: what has a wrong shape has been noted already.
    pub fn needed<T>(&self, name: &str, found: Option<T>) -> Option<T> {
        let is_absent = self
            .present(name)
            .is_none_or(|value| value.as_str().is_some_and(str::is_empty));
        if found.is_none() && is_absent {
            self.problems.note(self.place_of(name), "It is missing.");
        }
        found
    }

    /// That the object as a whole is none of what is known.
    pub fn note(&self, problem: &str) {
        self.problems.note(self.place.as_str(), problem);
    }

    fn present(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() {
            return name.to_owned();
        }
        format!("{}.{name}", self.place)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Members, Problems};

    #[test]
    fn in_7_what_cannot_be_read_is_named_and_costs_itself_alone() {
        let body = json!({
            "id": "m1", "size": "large", "empty": "", "nothing": null,
            "sender": {"name": 7, "at": "2026-01-01T00:00:00Z"},
            "files": [{"id": "f1"}, "f2", {"id": 3}],
        });
        let problems = Problems::default();
        let fields = Members::of(&body, "events[1]".to_owned(), &problems).expect("an object");
        assert_eq!(fields.needed_text("id"), Some("m1"));
        assert_eq!((fields.text("empty"), fields.text("nothing")), (None, None));
        assert_eq!((fields.has("nothing"), fields.has("size")), (false, true));
        assert_eq!(fields.count("size"), None);
        assert_eq!(fields.needed_whole("size"), None, "noted once for each reading");
        assert_eq!(
            (fields.needed_text("empty"), fields.needed_whole("nothing")),
            (None, None)
        );
        let sender = fields.needed_object("sender").expect("an object");
        assert_eq!(sender.time_text("at"), Some(1_767_225_600_000));
        assert_eq!(sender.needed_text("name"), None);
        let files = fields.objects("files");
        assert_eq!(
            files.iter().filter_map(|file| file.text("id")).collect::<Vec<_>>(),
            ["f1"]
        );
        let told: Vec<_> = problems
            .into_inner()
            .into_iter()
            .map(|one| format!("{}: {}", one.place, one.problem))
            .collect();
        assert_eq!(
            told,
            [
                "events[1].size: Expected a whole number.",
                "events[1].size: Expected a whole number.",
                "events[1].empty: It is missing.",
                "events[1].nothing: It is missing.",
                "events[1].sender.name: Expected text.",
                "events[1].files[1]: Expected an object.",
                "events[1].files[2].id: Expected text.",
            ]
        );
    }

    #[test]
    fn in_7_the_body_itself_has_no_place() {
        let (body, problems) = (json!({"a": []}), Problems::default());
        let fields = Members::of(&body, String::new(), &problems).expect("an object");
        assert!(fields.needed_object("a").is_none() && fields.needed_text("b").is_none());
        let places: Vec<_> = problems.into_inner().into_iter().map(|one| one.place).collect();
        assert_eq!(places, ["a", "b"]);
    }
}
