//! An address as a caller wrote it, taken apart once and judged for tricks before anything else looks at it.
//!
//! Paths are kept as written, placeholders unfilled, because rules speak of the unfilled path. Whatever two
//! parsers could read differently (userinfo, backslashes, dot segments, a trailing dot) is refused.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::EgressError;

/// Longer addresses are not sent, in bytes. Signed media addresses stay below 4 KiB.
const URL_BYTES_MAX: usize = 16 * 1024;

/// Scheme, host and port, in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub scheme: String,
    pub host: Host,
    pub port: u16,
}

impl Origin {
    /// None for schemes without a host or port.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// Where a request is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub origin: Origin,
    /// Begins with a slash; placeholders unfilled.
    pub path: String,
    pub query: Option<String>,
}

impl Destination {
    /// # Errors
    /// `Invalid` for what is no address, `Denied` for what tries to be two.
    pub fn parse(raw: &str) -> Result<Self, EgressError> {
        if raw.len() > URL_BYTES_MAX {
            return Err(EgressError::invalid(format!(
                "the address is longer than {URL_BYTES_MAX} bytes"
            )));
        }
        if raw.chars().any(|c| c.is_control() || c == ' ') {
            return Err(EgressError::invalid(
                "the address holds a space or a control character; percent-encode it",
            ));
        }
        let raw = raw.split('#').next().unwrap_or_default();
        let (scheme, rest) = raw
            .split_once("://")
            .ok_or_else(|| EgressError::invalid("the address is not absolute: it has no `scheme://`"))?;
        let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (tail, None),
        };
        Ok(Self {
            origin: origin(scheme, authority)?,
            path: checked_path(path)?,
            query,
        })
    }

    /// The address to dial: the origin given, the path with its placeholders filled.
    pub fn to_url(&self, path: &str, query: Option<&str>) -> Result<Url, EgressError> {
        let origin = &self.origin;
        let mut url = Url::parse(&format!("{}://{}:{}{path}", origin.scheme, origin.host, origin.port))
            .map_err(|_| EgressError::invalid(format!("the path for {} cannot be sent", origin.host)))?;
        url.set_query(query);
        Ok(url)
    }
}

fn origin(scheme: &str, authority: &str) -> Result<Origin, EgressError> {
    if authority.contains(['@', '%']) {
        return Err(EgressError::denied(
            "the address holds userinfo or percent signs before its path",
        ));
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    if host.ends_with('.') {
        return Err(EgressError::denied("the host ends with a dot; write it without"));
    }
    let url = Url::parse(&format!("{scheme}://{authority}/"))
        .map_err(|_| EgressError::invalid("the address has no readable host"))?;
    // Full-width dots and the like only become a trailing dot in canonical form.
    if url.host_str().is_some_and(|host| host.ends_with('.')) {
        return Err(EgressError::denied("the host ends with a dot; write it without"));
    }
    Origin::of(&url).ok_or_else(|| EgressError::denied(format!("the scheme `{}` is not allowed", url.scheme())))
}

fn checked_path(path: &str) -> Result<String, EgressError> {
    if path.contains('\\') {
        return Err(EgressError::denied("the path holds a backslash"));
    }
    let decoded = percent_decode_str(path).collect::<Vec<u8>>();
    let dots = decoded
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|segment| matches!(segment, b"." | b".."));
    if dots || decoded.iter().any(u8::is_ascii_control) {
        return Err(EgressError::denied(
            "the path holds dot segments or encoded control characters",
        ));
    }
    Ok(if path.is_empty() {
        "/".to_owned()
    } else {
        path.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_addresses_with_two_readings_are_refused() {
        for raw in [
            "https://ok.example@evil.example/",
            "https://ok.example:pw@evil.example/",
            "https://api.example./x",
            "https://api.example.:443/x",
            "https://api.example。/x",
            "https://api.example%00.evil.example/",
            "https://api.example/a/../b",
            "https://api.example/a/%2e%2e/b",
            "https://api.example/a/%2E./b",
            "https://api.example/a/..%2fb",
            "https://api.example/a/..%5cb",
            "https://api.example/a\\..\\b",
            "https://api.example\\@evil.example/",
            "https://api.example/%00",
            "https://api.example/%0d%0ahost:evil",
            "https://api.example/a b",
            "https://api.example/a\tb",
            "/relative",
            "api.example/x",
            "file:///etc/passwd",
            "data:text/plain,x",
            "gopher://api.example/",
            "https://",
            "https:///x",
        ] {
            assert!(Destination::parse(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn d9_numbers_are_read_in_every_spelling() {
        let check = |raw: &str, expected: &str| {
            let found = Destination::parse(raw).unwrap();
            assert_eq!(found.origin.host.to_string(), expected, "{raw}");
        };
        check("https://2852039166/", "169.254.169.254");
        check("https://0xa9fea9fe/", "169.254.169.254");
        check("https://0251.0376.0251.0376/", "169.254.169.254");
        check("https://169.254.43518/", "169.254.169.254");
        check("https://0/", "0.0.0.0");
        check("https://127.1/", "127.0.0.1");
        check("https://[::ffff:127.0.0.1]/", "[::ffff:7f00:1]");
        check("https://[::1]:8443/", "[::1]");
    }

    #[test]
    fn paths_are_kept_as_written() {
        let found = Destination::parse("HTTPS://API.Example/bot{bot_token}/send?x={y}&z=%2F#end").unwrap();
        assert_eq!(found.origin.to_string(), "https://api.example:443");
        assert_eq!(found.path, "/bot{bot_token}/send");
        assert_eq!(found.query.as_deref(), Some("x={y}&z=%2F"));
        assert_eq!(Destination::parse("https://api.example").unwrap().path, "/");
        assert_eq!(Destination::parse("https://api.example?x=1").unwrap().path, "/");
    }
}
