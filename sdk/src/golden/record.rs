//! Values as golden files show them.

use serde_json::{Value, json};

use crate::exchange::{find_header, form_pairs};
use crate::http::{Body, Part, PartContent, Request};

/// A request, complete: whoever reads the out file can hold it against the provider's contract.
pub fn request(request: &Request, download: bool) -> Value {
    let headers: Vec<Value> = request
        .headers
        .iter()
        .map(|(name, value)| json!([name, value]))
        .collect();
    pruned(json!({
        "method": request.method,
        "url": request.url,
        "headers": headers,
        "body": body(request),
        "credential": request.credential,
        "timeout_ms": request.timeout_ms,
        "keep": request.keep.iter().map(|kept| json!([kept.secret, kept.pointer])).collect::<Vec<_>>(),
        "download": download.then_some(true),
    }))
}

fn body(request: &Request) -> Value {
    match &request.body {
        Body::None => Value::Null,
        Body::Media(file) => json!({ "media": file }),
        Body::Multipart(parts) => json!({"multipart": parts.iter().map(part).collect::<Vec<_>>()}),
        Body::Bytes(bytes) => {
            let content_type = find_header(&request.headers, "content-type").unwrap_or_default();
            if content_type.starts_with("application/json")
                && let Ok(value) = serde_json::from_slice::<Value>(bytes)
            {
                return json!({ "json": value });
            }
            if content_type.starts_with("application/x-www-form-urlencoded") {
                return json!({"form": form_pairs(bytes)});
            }
            bytes_shown(bytes)
        }
    }
}

fn part(part: &Part) -> Value {
    let content = match &part.content {
        PartContent::Text(text) => json!({ "text": text }),
        PartContent::Bytes(bytes) => bytes_shown(bytes),
        PartContent::Media(file) => json!({ "media": file }),
    };
    pruned(json!({
        "name": part.name,
        "filename": part.filename,
        "content_type": part.content_type,
        "content": content,
    }))
}

fn bytes_shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "bytes": bytes }),
    }
}

/// Without absent values and empty lists in objects: what is left is what is there. A request's JSON body is kept whole.
pub fn pruned(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, field)| !field.is_null() && field.as_array().is_none_or(|list| !list.is_empty()))
            .map(|(name, field)| {
                let field = if name == "json" { field } else { pruned(field) };
                (name, field)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(pruned).collect(),
        other => other,
    }
}

/// One line for every place where two values differ.
pub fn differences(place: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            for (name, value) in left {
                differences(
                    &format!("{place}/{name}"),
                    value,
                    right.get(name).unwrap_or(&Value::Null),
                    lines,
                );
            }
            for (name, value) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
                differences(&format!("{place}/{name}"), &Value::Null, value, lines);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (value, other)) in left.iter().zip(right).enumerate() {
                differences(&format!("{place}/{index}"), value, other, lines);
            }
        }
        _ if expected == found => {}
        _ => lines.push(format!("{place}: expected {expected}, found {found}")),
    }
}
