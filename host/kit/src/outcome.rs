//! What came of a call, as golden `out` files spell it.

use serde_json::{Map, Value, json};

/// A request, complete, without what is absent.
pub(crate) fn request(request: &Value, download: bool) -> Value {
    let method = request["method"].as_str().unwrap_or_default().to_ascii_uppercase();
    pruned(json!({
        "method": method,
        "url": request["url"],
        "headers": request["headers"],
        "body": body(request),
        "credential": request["credential"],
        "timeout_ms": request["timeout_ms"],
        "keep": kept(request).map(|(secret, pointer)| json!([secret, pointer])).collect::<Vec<_>>(),
        "download": download.then_some(true),
    }))
}

/// Secrets that the host keeps of the answer: names and pointers.
pub(crate) fn kept(request: &Value) -> impl Iterator<Item = (&str, &str)> {
    let listed = request["keep"].as_array().into_iter().flatten();
    listed.filter_map(|kept| Some((kept["secret"].as_str()?, kept["pointer"].as_str()?)))
}

fn body(request: &Value) -> Value {
    let body = &request["body"];
    if let Some(bytes) = body.get("bytes") {
        return bytes_of_type(&bytes_of(bytes), content_type(request));
    }
    if let Some(parts) = body.get("multipart").and_then(Value::as_array) {
        return json!({ "multipart": parts.iter().map(part).collect::<Vec<_>>() });
    }
    match body.get("media") {
        Some(file) => json!({ "media": file }),
        None => Value::Null,
    }
}

fn content_type(request: &Value) -> &str {
    let headers = request["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_it = |header: &&Value| {
        header[0]
            .as_str()
            .is_some_and(|name| name.eq_ignore_ascii_case("content-type"))
    };
    headers
        .iter()
        .find(is_it)
        .and_then(|header| header[1].as_str())
        .unwrap_or_default()
}

fn bytes_of_type(bytes: &[u8], content_type: &str) -> Value {
    if content_type.starts_with("application/json")
        && let Ok(value) = serde_json::from_slice::<Value>(bytes)
    {
        return json!({ "json": value });
    }
    if content_type.starts_with("application/x-www-form-urlencoded") {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(bytes).into_owned().collect();
        return json!({ "form": pairs });
    }
    shown(bytes)
}

fn part(part: &Value) -> Value {
    let content = &part["content"];
    let content = match content.get("bytes") {
        Some(bytes) => shown(&bytes_of(bytes)),
        None => content.clone(),
    };
    pruned(json!({
        "name": part["name"],
        "filename": part["filename"],
        "content_type": part["content_type"],
        "content": content,
    }))
}

fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "bytes": bytes }),
    }
}

/// Bytes that crossed as a list of numbers.
pub(crate) fn bytes_of(value: &Value) -> Vec<u8> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let byte = |item: &Value| item.as_u64().and_then(|byte| u8::try_from(byte).ok());
    items.iter().filter_map(byte).collect()
}

/// What a function gave, under `result` or `error`.
pub(crate) fn told(interface: &str, function: &str, mut value: Value) -> (&'static str, Value) {
    if let Some(error) = value.get_mut("error") {
        return ("error", pruned(error.take()));
    }
    let mut result = value.get_mut("ok").map(Value::take).unwrap_or_default();
    if (interface, function) == ("connector", "receive")
        && let Some(body) = result.pointer_mut("/answer/body")
    {
        *body = String::from_utf8_lossy(&bytes_of(body)).into();
    }
    ("result", pruned(result))
}

/// Without absent values and empty lists in objects. A request's JSON body is kept whole.
pub(crate) fn pruned(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, field)| !field.is_null() && field.as_array().is_none_or(|list| !list.is_empty()))
            .map(|(name, field)| {
                let field = if name == "json" { field } else { pruned(field) };
                (name, field)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(pruned).collect(),
        other => other,
    }
}

/// The first place where two values differ, in words.
pub(crate) fn difference(expected: &Value, found: &Value) -> Option<String> {
    differ("", expected, found)
}

fn differ(place: &str, expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => left
            .keys()
            .chain(right.keys().filter(|name| !left.contains_key(*name)))
            .find_map(|name| {
                let at = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                differ(&format!("{place}/{name}"), &at(left), &at(right))
            }),
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let mut pairs = left.iter().zip(right).enumerate();
            pairs.find_map(|(index, (left, right))| differ(&format!("{place}/{index}"), left, right))
        }
        _ if expected == found => None,
        _ => Some(format!("{place}: expected {}, found {}", cut(expected), cut(found))),
    }
}

/// A value in one line, as far as a person reads on.
fn cut(value: &Value) -> String {
    const CHARS_MAX: usize = 160;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
