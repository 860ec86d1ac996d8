//! Secrets: values that do not print.

use std::collections::BTreeMap;
use std::fmt;

pub use secrecy::ExposeSecret;
use secrecy::SecretString;

/// A token, key or password. Wiped when dropped, `[secret]` in every format.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(SecretString::from(value))
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
/// being rotated: the first is used to send, all are accepted when verifying.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<String, Vec<Secret>>);

impl Secrets {
    /// Adds a value behind the ones already there.
    pub fn add(&mut self, name: impl Into<String>, secret: Secret) {
        self.0.entry(name.into()).or_default().push(secret);
    }

    /// The one in use.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name).and_then(|all| all.first())
    }

    /// All that are still accepted.
    #[must_use]
    pub fn all(&self, name: &str) -> &[Secret] {
        self.0.get(name).map_or(&[], Vec::as_slice)
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
        self.0.values().flatten()
    }
}
