//! Secrets: values that do not print.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

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
pub struct Secrets(Arc<BTreeMap<String, Held>>);

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
        let held = Arc::make_mut(&mut self.0).entry(name.into()).or_default();
        held.values.push(secret);
        held.ends.push(until);
    }

    /// The one in use.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.all(name).first()
    }

    /// All that are still accepted.
    #[must_use]
    pub fn all(&self, name: &str) -> &[Secret] {
        self.0.get(name).map_or(&[], |held| held.values.as_slice())
    }

    /// All of the name, each with when it ends.
    pub fn with_ends(&self, name: &str) -> impl Iterator<Item = (&Secret, Option<Time>)> {
        let held = self.0.get(name).into_iter();
        held.flat_map(|held| held.values.iter().zip(held.ends.iter().copied()))
    }

    /// Those that are accepted at this time.
    #[must_use]
    pub fn at(&self, now: Time) -> Self {
        let ended = |until: &Option<Time>| until.is_some_and(|until| until <= now);
        if !self.0.values().flat_map(|held| &held.ends).any(ended) {
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
        self.0.contains_key(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Every value, for scanning what must not hold one.
    pub fn values(&self) -> impl Iterator<Item = &Secret> {
        self.0.values().flat_map(|held| &held.values)
    }
}
