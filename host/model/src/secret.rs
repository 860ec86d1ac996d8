//! Secrets: values that do not print.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

pub use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::clock::Time;

/// A token, key or password. Wiped when the last clone is dropped, `[secret]` in every format. Clones share the one
/// copy: every hook takes its channel's secrets along.
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

impl Secret {
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Arc::new(SecretString::from(value)))
    }

    /// The value itself: for the wire, never for a log or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The secrets of one channel or plugin by name. For one name there may be several while one is
/// being rotated: the first is used to send, all are accepted when verifying. A clone shares them until one is changed.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    names: BTreeMap<String, Held>,
    /// Made of these values once; see [`Secrets::derived`].
    derived: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Clone for Kept {
    /// To be changed: what was made of the values is made anew.
    fn clone(&self) -> Self {
        Self {
            names: self.names.clone(),
            derived: OnceLock::new(),
        }
    }
}

/// The values of one name, side by side with when each ends.
#[derive(Debug, Clone, Default)]
struct Held {
    values: Vec<Secret>,
    /// None: it does not.
    ends: Vec<Option<Time>>,
}

impl Secrets {
    /// Adds a value behind the ones already there.
    pub fn add(&mut self, name: impl Into<String>, secret: Secret) {
        self.add_until(name, secret, None);
    }

    /// The same for one that is no longer in use, and accepted until then.
    pub fn add_until(&mut self, name: impl Into<String>, secret: Secret, until: Option<Time>) {
        let kept = Arc::make_mut(&mut self.0);
        kept.derived = OnceLock::new();
        let held = kept.names.entry(name.into()).or_default();
        held.values.push(secret);
        held.ends.push(until);
    }

    /// Puts a value before the ones of its name, which are known until then; of more than `held_max` the oldest go.
    pub fn renew(&mut self, name: impl Into<String>, secret: Secret, until: Time, held_max: usize) {
        let name = name.into();
        let before: Vec<_> = self
            .with_ends(&name)
            .filter(|(old, _)| old.expose() != secret.expose())
            .map(|(old, end)| (old.clone(), Some(end.map_or(until, |end| end.min(until)))))
            .collect();
        let kept = Arc::make_mut(&mut self.0);
        kept.derived = OnceLock::new();
        let held = kept.names.entry(name).or_default();
        (held.values, held.ends) = std::iter::once((secret, None)).chain(before).take(held_max).unzip();
    }

    /// What is made of the values, made once for all clones: a room asks for one kind of thing. Another kind is made each
    /// time.
    pub fn derived<T: Any + Send + Sync>(&self, make: impl Fn(&Self) -> T) -> Arc<T> {
        let made = self.0.derived.get_or_init(|| Arc::new(make(self)));
        Arc::clone(made).downcast().unwrap_or_else(|_| Arc::new(make(self)))
    }

    /// The one in use.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.all(name).first()
    }

    /// All that are still accepted.
    #[must_use]
    pub fn all(&self, name: &str) -> &[Secret] {
        self.0.names.get(name).map_or(&[], |held| held.values.as_slice())
    }

    /// All of the name, each with when it ends.
    pub fn with_ends(&self, name: &str) -> impl Iterator<Item = (&Secret, Option<Time>)> {
        let held = self.0.names.get(name).into_iter();
        held.flat_map(|held| held.values.iter().zip(held.ends.iter().copied()))
    }

    /// Those that are accepted at this time.
    #[must_use]
    pub fn at(&self, now: Time) -> Self {
        let ended = |until: &Option<Time>| until.is_some_and(|until| until <= now);
        if !self.0.names.values().flat_map(|held| &held.ends).any(ended) {
            return self.clone();
        }
        let mut accepted = Self::default();
        for name in self.names() {
            let lasting = self
                .with_ends(name)
                .filter(|(_, until)| until.is_none_or(|until| until > now));
            for (secret, until) in lasting {
                accepted.add_until(name, secret.clone(), until);
            }
        }
        accepted
    }

    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.names.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names.keys().map(String::as_str)
    }

    /// Every value, for scanning what must not hold one.
    pub fn values(&self) -> impl Iterator<Item = &Secret> {
        self.0.names.values().flat_map(|held| &held.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(secrets: &Secrets) -> usize {
        *secrets.derived(|secrets| secrets.values().count())
    }

    #[test]
    fn a_renewed_secret_is_in_use_and_the_ones_before_it_are_known_for_a_while() {
        let mut secrets = Secrets::default();
        let value = |text: &str| Secret::new(text.to_owned());
        let (noon, one) = (Time::from_unix_seconds(43_200), Time::from_unix_seconds(46_800));
        assert_eq!(count(&secrets), 0);
        for (text, until) in [("a", noon), ("b", noon), ("b", one), ("c", one), ("d", one)] {
            secrets.renew("token", value(text), until, 3);
        }
        let held: Vec<_> = secrets
            .with_ends("token")
            .map(|(secret, until)| (secret.expose(), until))
            .collect();
        assert_eq!(held, [("d", None), ("c", Some(one)), ("b", Some(one))]);
        assert_eq!(count(&secrets), 3);
    }

    #[test]
    fn what_is_made_of_secrets_is_shared_and_follows_a_change() {
        let mut secrets = Secrets::default();
        secrets.add("a", Secret::new("one".to_owned()));
        let clone = secrets.clone();
        assert_eq!((count(&secrets), count(&clone)), (1, 1));
        let shared = secrets.derived(|_| 0_usize);
        assert!(Arc::ptr_eq(&shared, &clone.derived(|_| 0_usize)));
        secrets.add("b", Secret::new("two".to_owned()));
        assert_eq!((count(&secrets), count(&clone)), (2, 1));
    }
}
