//! Puts secrets where a credential says, after the rules were checked, and keeps callers away from the headers
//! that decide where a request ends and whose it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use mantle_model::secret::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Credential, EgressError, Injection};

/// Headers that the client alone sets: they frame the message or name its receiver.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Header lines of one request: more have no honest use, and a map of headers has an end that is a panic.
const HEADERS_MAX: usize = 100;
/// Names and values of all headers of one request, in bytes: as much as is taken of an answer.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// What may stand in one segment of a path as it is (RFC 3986 `pchar` without sub-delimiters that servers split at).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// The caller's headers, checked.
pub fn headers(given: &[(String, String)], credential: Option<&Credential>) -> Result<HeaderMap, EgressError> {
    let bytes = given
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>();
    if given.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(EgressError::invalid(format!(
            "the request has {} headers of {bytes} bytes; {HEADERS_MAX} of {HEADER_BYTES_MAX} are sent",
            given.len()
        )));
    }
    let mut map = HeaderMap::new();
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| EgressError::invalid("a header has a name that HTTP does not allow"))?;
        if FRAMING.contains(&name.as_str()) {
            return Err(EgressError::invalid(format!(
                "the header `{name}` is set by the client alone"
            )));
        }
        if credential.is_some_and(|credential| sets_header(credential, &name)) {
            return Err(EgressError::invalid(format!(
                "the header `{name}` is set by the credential"
            )));
        }
        let value = HeaderValue::from_str(value).map_err(|_| {
            EgressError::invalid(format!("the header `{name}` holds characters that HTTP does not allow"))
        })?;
        map.append(name, value);
    }
    Ok(map)
}

fn sets_header(credential: &Credential, name: &HeaderName) -> bool {
    credential.injections.iter().any(|injection| match injection {
        Injection::Bearer(_) | Injection::Basic { .. } => *name == AUTHORIZATION,
        Injection::Header { name: own, .. } => name.as_str().eq_ignore_ascii_case(own),
        Injection::Query { .. } | Injection::Path { .. } | Injection::Json { .. } => false,
    })
}

/// The headers of the credential, marked as secret so that no debug output shows them.
pub fn credential_headers(credential: &Credential, map: &mut HeaderMap) -> Result<(), EgressError> {
    for injection in &credential.injections {
        let (name, value) = match injection {
            Injection::Bearer(token) => (AUTHORIZATION, format!("Bearer {}", token.expose())),
            Injection::Basic { user, password } => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                (AUTHORIZATION, format!("Basic {pair}"))
            }
            Injection::Header { name, value } => {
                let name = HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| broken(credential, "names a header that HTTP does not allow"))?;
                (name, value.expose().to_owned())
            }
            Injection::Query { .. } | Injection::Path { .. } | Injection::Json { .. } => continue,
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| broken(credential, "holds characters that a header cannot carry"))?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(())
}

/// The path with its placeholders filled. One that stands there twice is refused: the second may be somebody's text.
pub fn path(template: &str, credential: &Credential) -> Result<String, EgressError> {
    let mut filled = template.to_owned();
    for injection in &credential.injections {
        let Injection::Path { placeholder, value } = injection else {
            continue;
        };
        if matches!(value.expose(), "" | "." | "..") {
            return Err(broken(credential, "cannot stand in a path"));
        }
        let place = format!("{{{placeholder}}}");
        if template.matches(&place).nth(1).is_some() {
            return Err(EgressError::invalid(format!(
                "the path has `{place}` more than once; percent-encode what others wrote"
            )));
        }
        let encoded = utf8_percent_encode(value.expose(), SEGMENT).to_string();
        filled = filled.replace(&place, &encoded);
    }
    Ok(filled)
}

/// The query with the credential's pairs behind the caller's.
pub fn query(given: Option<&str>, credential: &Credential) -> Result<Option<String>, EgressError> {
    let mut query = given.map(str::to_owned);
    for injection in &credential.injections {
        let Injection::Query { name, value } = injection else {
            continue;
        };
        let taken = given
            .map(|given| url::form_urlencoded::parse(given.as_bytes()))
            .is_some_and(|mut pairs| pairs.any(|(known, _)| known == name.as_str()));
        if taken {
            return Err(EgressError::invalid(format!(
                "the query already has `{name}`, which the credential sets"
            )));
        }
        let pair = url::form_urlencoded::Serializer::new(String::new())
            .append_pair(name, value.expose())
            .finish();
        query = Some(match query.filter(|query| !query.is_empty()) {
            Some(query) => format!("{query}&{pair}"),
            None => pair,
        });
    }
    Ok(query)
}

/// Whether the credential writes into the body.
pub fn touches_body(credential: &Credential) -> bool {
    credential
        .injections
        .iter()
        .any(|injection| matches!(injection, Injection::Json { .. }))
}

/// The JSON body with the credential's strings set.
pub fn json(body: &Bytes, credential: &Credential) -> Result<Bytes, EgressError> {
    let mut root: serde_json::Value = serde_json::from_slice(body)
        .map_err(|_| EgressError::invalid("the credential goes into a JSON body, but the body is not JSON"))?;
    for injection in &credential.injections {
        if let Injection::Json { pointer, value } = injection {
            set_string(&mut root, pointer, value).ok_or_else(|| {
                EgressError::invalid(format!("the JSON body has no place `{pointer}` for the credential"))
            })?;
        }
    }
    serde_json::to_vec(&root)
        .map(Bytes::from)
        .map_err(|_| EgressError::invalid("the JSON body cannot be written again"))
}

fn set_string(root: &mut serde_json::Value, pointer: &str, value: &Secret) -> Option<()> {
    let (parent, key) = pointer.rsplit_once('/')?;
    let string = serde_json::Value::String(value.expose().to_owned());
    match root.pointer_mut(parent)? {
        serde_json::Value::Object(members) => {
            // RFC 6901: `~1` is a slash, `~0` a tilde, undone in this order.
            members.insert(key.replace("~1", "/").replace("~0", "~"), string);
        }
        serde_json::Value::Array(items) => *items.get_mut(key.parse::<usize>().ok()?)? = string,
        _ => return None,
    }
    Some(())
}

fn broken(credential: &Credential, problem: &str) -> EgressError {
    EgressError::invalid(format!("the credential `{}` {problem}", credential.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(injections: Vec<Injection>) -> Credential {
        Credential {
            name: "bot".into(),
            injections,
        }
    }

    fn secret(value: &str) -> Secret {
        Secret::new(value.to_owned())
    }

    #[test]
    fn framing_and_credential_headers_are_refused_from_callers() {
        let bearer = credential(vec![
            Injection::Bearer(secret("t")),
            Injection::Header {
                name: "X-Api-Key".into(),
                value: secret("k"),
            },
        ]);
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Authorization",
            "x-api-key",
        ] {
            assert!(headers(&[(name.into(), "x".into())], Some(&bearer)).is_err(), "{name}");
        }
        assert!(headers(&[("Authorization".into(), "Basic x".into())], None).is_ok());
        assert!(headers(&[("X-A".into(), "a\r\nhost: evil".into())], None).is_err());
        assert!(headers(&[("X A".into(), "a".into())], None).is_err());
    }

    #[test]
    fn secrets_in_a_path_cannot_leave_their_segment() {
        let check = |value: &str, expected: Option<&str>| {
            let bot = credential(vec![Injection::Path {
                placeholder: "t".into(),
                value: secret(value),
            }]);
            let found = path("/bot{t}/send", &bot);
            assert_eq!(found.ok().as_deref(), expected, "{value}");
        };
        check("123:AA-b_c", Some("/bot123:AA-b_c/send"));
        check("a/../b?c#d%", Some("/bota%2F..%2Fb%3Fc%23d%25/send"));
        check("ü {t}", Some("/bot%C3%BC%20%7Bt%7D/send"));
        check("", None);
        check("..", None);
    }

    #[test]
    fn e14_a_placeholder_in_somebody_s_text_is_not_filled() {
        let bot = credential(vec![Injection::Path {
            placeholder: "t".into(),
            value: secret("s3cret"),
        }]);
        assert!(path("/bot{t}/say/{t}", &bot).is_err());
        let nested = path("/bot{t}/say/{{t}}", &bot);
        assert!(nested.is_err(), "{nested:?}");
        assert_eq!(
            path("/bot{t}/say/%7Bt%7D/{x}", &bot).unwrap(),
            "/bots3cret/say/%7Bt%7D/{x}"
        );
    }

    #[test]
    fn d11_headers_have_an_end() {
        let lines = |count: usize, bytes: usize| {
            (0..count)
                .map(|line| (format!("x-{line}"), "y".repeat(bytes)))
                .collect::<Vec<_>>()
        };
        assert!(headers(&lines(HEADERS_MAX, 1), None).is_ok());
        assert!(headers(&lines(HEADERS_MAX + 1, 1), None).is_err());
        // As many as would make the map panic.
        assert!(headers(&lines(40_000, 1), None).is_err());
        assert!(headers(&lines(2, HEADER_BYTES_MAX / 2), None).is_err());
    }

    #[test]
    fn query_pairs_are_added_once() {
        let key = credential(vec![Injection::Query {
            name: "key".into(),
            value: secret("a&b=c"),
        }]);
        assert_eq!(query(None, &key).unwrap().as_deref(), Some("key=a%26b%3Dc"));
        assert_eq!(
            query(Some("x=%2F"), &key).unwrap().as_deref(),
            Some("x=%2F&key=a%26b%3Dc")
        );
        assert!(query(Some("key=mine"), &key).is_err());
        assert!(query(Some("%6bey=mine"), &key).is_err());
    }

    #[test]
    fn json_strings_are_set_by_pointer() {
        let check = |pointer: &str, body: &str, expected: Option<&str>| {
            let hook = credential(vec![Injection::Json {
                pointer: pointer.into(),
                value: secret("s\""),
            }]);
            let found = json(&Bytes::from(body.to_owned()), &hook);
            assert_eq!(
                found.ok().as_deref(),
                expected.map(str::as_bytes),
                "{pointer} in {body}"
            );
        };
        check("/secret", r#"{"url":"u"}"#, Some(r#"{"secret":"s\"","url":"u"}"#));
        check("/a/b~1c", r#"{"a":{}}"#, Some(r#"{"a":{"b/c":"s\""}}"#));
        check("/a/0", r#"{"a":[null]}"#, Some(r#"{"a":["s\""]}"#));
        check("/a/1", r#"{"a":[null]}"#, None);
        check("/a/b", r#"{"a":"text"}"#, None);
        check("/a/b", "{}", None);
        check("/a", "not json", None);
    }
}
