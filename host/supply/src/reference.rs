//! `oci://registry/name:tag` and `oci://registry/name@sha256:…`.

use std::fmt;

/// The registry that is meant by `docker.io` answers under another name.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// Of the distribution specification: a repository's name, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Of the distribution specification: a tag, in characters.
const TAG_CHARS_MAX: usize = 128;

/// A component in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host, and port if it is another than 443.
    pub registry: String,
    pub name: String,
    pub pointer: Pointer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointer {
    /// May be moved to other content by whoever may push.
    Tag(String),
    /// SHA-256 of the manifest, hex: always the same content.
    Digest(String),
}

impl Pointer {
    /// As the distribution protocol writes it.
    pub(crate) fn in_path(&self) -> String {
        match self {
            Self::Tag(tag) => tag.clone(),
            Self::Digest(hex) => format!("sha256:{hex}"),
        }
    }
}

impl Reference {
    /// Reads what follows `oci://`.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how it is written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "`oci://{text}` {what}. Write registry, name and tag, such as \"oci://ghcr.io/owner/telegram:1.2.0\", \
                 or \"@sha256:…\" in place of the tag"
            )
        };
        let (registry, rest) = text.split_once('/').ok_or_else(|| wrong("names no component"))?;
        if !is_registry(registry) {
            return Err(wrong("has no name of a registry in front"));
        }
        let (name, pointer) = if let Some((name, digest)) = rest.split_once('@') {
            let hex = digest.strip_prefix("sha256:").filter(|hex| is_digest(hex));
            let hex = hex.ok_or_else(|| wrong("has a digest that is not `sha256:` and 64 hexadecimal characters"))?;
            // A tag beside a digest is for people.
            let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
            (name, Pointer::Digest(hex.to_ascii_lowercase()))
        } else {
            let (name, tag) = rest.rsplit_once(':').ok_or_else(|| wrong("has no tag"))?;
            if !is_tag(tag) {
                return Err(wrong("has a tag with characters that no tag has"));
            }
            (name, Pointer::Tag(tag.to_owned()))
        };
        if !is_name(name) {
            return Err(wrong("has a name with characters that no name has"));
        }
        Ok(Self {
            registry: registry.to_ascii_lowercase(),
            name: name.to_owned(),
            pointer,
        })
    }

    /// Where the registry answers.
    pub(crate) fn host(&self) -> &str {
        if self.registry == DOCKER_HUB.0 {
            DOCKER_HUB.1
        } else {
            &self.registry
        }
    }

    /// The same place, with this content.
    #[must_use]
    pub fn at(&self, manifest: &str) -> Self {
        Self {
            pointer: Pointer::Digest(manifest.to_owned()),
            ..self.clone()
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, name, .. } = self;
        match &self.pointer {
            Pointer::Tag(tag) => write!(f, "oci://{registry}/{name}:{tag}"),
            Pointer::Digest(hex) => write!(f, "oci://{registry}/{name}@sha256:{hex}"),
        }
    }
}

pub(crate) fn is_digest(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "443"));
    port.parse::<u16>().is_ok_and(|port| port > 0)
        && host.contains('.')
        && !host.starts_with(['.', '-'])
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
}

/// Parts in small letters and digits with `.`, `_`, `__` or `-` between them, as the specification has it.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
            && !part.contains("..")
    };
    name.len() <= NAME_CHARS_MAX && name.split('/').all(part)
}

fn is_tag(tag: &str) -> bool {
    (1..=TAG_CHARS_MAX).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_alike() {
        let hex = "ab".repeat(32);
        for text in [
            "ghcr.io/owner/telegram:1.2.0",
            "registry.example:5000/a/b/c:latest",
            &format!("ghcr.io/owner/telegram@sha256:{hex}"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), format!("oci://{text}"));
        }
        let both = Reference::parse(&format!("ghcr.io/owner/telegram:1.0@sha256:{hex}")).unwrap();
        assert_eq!(both.pointer, Pointer::Digest(hex));
        assert_eq!(both.name, "owner/telegram");
        assert_eq!(
            Reference::parse("docker.io/owner/x:1").unwrap().host(),
            "registry-1.docker.io"
        );
    }

    #[test]
    fn what_is_no_reference_says_how_one_is_written() {
        for (text, what) in [
            ("ghcr.io", "names no component"),
            ("telegram/x:1", "no name of a registry"),
            ("ghcr.io/owner/telegram", "has no tag"),
            ("ghcr.io/Owner/telegram:1", "a name with characters"),
            ("ghcr.io/a/../b:1", "a name with characters"),
            ("ghcr.io//b:1", "a name with characters"),
            ("ghcr.io/a/b:1/2", "a tag with characters"),
            ("ghcr.io/a/b@sha256:12", "a digest that is not"),
            ("ghcr.io:99999/a/b:1", "no name of a registry"),
        ] {
            let problem = Reference::parse(text).unwrap_err();
            assert!(
                problem.contains(what) && problem.contains("such as \"oci://"),
                "{problem}"
            );
        }
    }
}
