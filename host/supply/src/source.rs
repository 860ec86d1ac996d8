//! What `component = ` may say.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::reference::Reference;

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File {
        /// As the configuration writes it.
        text: String,
        path: PathBuf,
    },
    Https(Url),
    Registry(Reference),
}

impl Source {
    /// An address of `plugins.toml`; None: it is the path of a file.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how it is written.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        if let Some(rest) = text.strip_prefix("oci://") {
            return Some(Reference::parse(rest).map(Self::Registry));
        }
        let (scheme, _) = text.split_once("://")?;
        if scheme != "https" {
            return Some(Err(format!(
                "`{text}` is no address that components are taken from. Write a path, an https:// address with `sha256`, \
                 or oci://registry/name:tag"
            )));
        }
        let url = Url::parse(text).ok().filter(|url| {
            url.has_host() && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
        });
        let wrong = || {
            format!(
                "`{text}` cannot be read. Write an address without user and fragment, such as \
                 \"https://example.com/telegram.wasm\""
            )
        };
        Some(url.map(Self::Https).ok_or_else(wrong))
    }

    /// Whether it lies elsewhere: what is locked of it must not change by itself.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::File { .. })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { text, .. } => f.write_str(text),
            Self::Https(url) => url.fmt(f),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}
