//! One golden file read and run.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::record::pruned;
use super::script::{Script, Surroundings};
use super::{Abilities, Exported};
use crate::connector::{Hook, Query};
use crate::values::{Alias, Outgoing};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// For the reader of the file.
    #[serde(rename = "note")]
    _note: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    hook_url: Option<String>,
    now: Option<i64>,
    #[serde(default)]
    kv: BTreeMap<String, String>,
    #[serde(default)]
    media: BTreeMap<u32, Value>,
    #[serde(default)]
    exchanges: Vec<Value>,
    hook: Option<HookSpec>,
    send: Option<Outgoing>,
    call: Option<String>,
    fetch: Option<String>,
    find_sent: Option<Query>,
    look_up: Option<Vec<Alias>>,
    #[serde(default, deserialize_with = "present")]
    list_page: Option<Option<String>>,
}

/// `"list_page": null` is a call without a cursor, not the absence of a call.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HookSpec {
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    query: Pairs,
    #[serde(default)]
    headers: Pairs,
    body: Option<BodySpec>,
    received_at: Option<i64>,
}

fn post() -> String {
    "POST".to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BodySpec {
    Json(Value),
    Text(String),
    Form(Pairs),
}

/// `{"a":"1"}`, or `[["a","1"]]` where order or repetition matter.
#[derive(Deserialize)]
#[serde(untagged)]
enum Pairs {
    Ordered(Vec<(String, String)>),
    Named(BTreeMap<String, String>),
}

impl Default for Pairs {
    fn default() -> Self {
        Self::Ordered(Vec::new())
    }
}

impl From<Pairs> for Vec<(String, String)> {
    fn from(pairs: Pairs) -> Self {
        match pairs {
            Pairs::Ordered(pairs) => pairs,
            Pairs::Named(pairs) => pairs.into_iter().collect(),
        }
    }
}

impl HookSpec {
    fn into_hook(self, now: i64) -> Hook {
        let body = match self.body {
            None => Vec::new(),
            Some(BodySpec::Json(value)) => value.to_string().into_bytes(),
            Some(BodySpec::Text(text)) => text.into_bytes(),
            Some(BodySpec::Form(pairs)) => form_urlencoded::Serializer::new(String::new())
                .extend_pairs(Vec::from(pairs))
                .finish()
                .into_bytes(),
        };
        Hook {
            method: self.method,
            query: self.query.into(),
            headers: Vec::from(self.headers)
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect(),
            body,
            received_at: self.received_at.unwrap_or(now),
        }
    }
}

/// Runs the case and gives everything that came of it.
pub fn run<T: Exported>(input: &Value) -> Result<Value, String> {
    let mut case: Case = serde_json::from_value(input.clone()).map_err(|error| format!("the in file: {error}"))?;
    let script = Script::new(Surroundings {
        fields: std::mem::take(&mut case.fields),
        hook_url: case.hook_url.take(),
        now: case.now,
        kv: std::mem::take(&mut case.kv),
        media: std::mem::take(&mut case.media),
        exchanges: std::mem::take(&mut case.exchanges),
        pure: case.hook.is_some(),
    })?;
    let result = call::<T>(case, &script)?;
    let mut out = script.finish()?;
    match result {
        Ok(value) => out.insert("result".to_owned(), pruned(value)),
        Err(error) => out.insert("error".to_owned(), pruned(error)),
    };
    Ok(Value::Object(out))
}

type Outcome = Result<Result<Value, Value>, String>;

fn call<T: Exported>(case: Case, script: &Script) -> Outcome {
    let mut outcomes: Vec<Outcome> = Vec::new();
    if let Some(hook) = case.hook {
        outcomes.push(receive::<T>(hook, script));
    }
    if let Some(message) = case.send {
        outcomes.push(told(T::send(message, script)));
    }
    let abilities = T::abilities();
    if let Some(name) = case.call {
        outcomes.push(lifecycle(&name, abilities, script));
    }
    if let Some(source) = case.fetch {
        let fetch = abilities.fetch.ok_or("the connector exports no inbound_media")?;
        outcomes.push(told(fetch(source, script)));
    }
    if let Some(query) = case.find_sent {
        let find_sent = abilities.find_sent.ok_or("the connector exports no reconcile")?;
        outcomes.push(told(find_sent(query, script)));
    }
    if let Some(aliases) = case.look_up {
        let look_up = abilities.look_up.ok_or("the connector exports no profile")?;
        outcomes.push(told(look_up(aliases, script)));
    }
    if let Some(cursor) = case.list_page {
        let list_page = abilities.list_page.ok_or("the connector exports no templates")?;
        outcomes.push(told(list_page(cursor, script)));
    }
    match (outcomes.pop(), outcomes.is_empty()) {
        (Some(outcome), true) => outcome,
        _ => Err(
            "the in file must have exactly one of hook, send, call, fetch, find_sent, look_up, list_page".to_owned(),
        ),
    }
}

fn receive<T: Exported>(hook: HookSpec, script: &Script) -> Outcome {
    let received = T::receive(hook.into_hook(crate::host::Host::now(script)), script);
    told(received.map(|inbound| {
        let answer = inbound.answer.map(|answer| {
            json!({
                "status": answer.status,
                "content_type": answer.content_type,
                "body": String::from_utf8_lossy(&answer.body),
            })
        });
        let malformed: Vec<Value> = inbound
            .malformed
            .iter()
            .map(|item| json!({"place": item.place, "problem": item.problem}))
            .collect();
        json!({"events": inbound.events, "malformed": malformed, "answer": answer})
    }))
}

fn lifecycle(name: &str, abilities: Abilities, script: &Script) -> Outcome {
    let calls = abilities.lifecycle.ok_or("the connector exports no lifecycle")?;
    match name {
        "identify" => told((calls.identify)(script)),
        "connect" => told((calls.connect)(script)),
        "disconnect" => told((calls.disconnect)(script)),
        "check" => told((calls.check)(script)),
        other => Err(format!(
            "call {other:?} is none of identify, connect, disconnect, check"
        )),
    }
}

fn told<T: Serialize, E: Serialize>(result: Result<T, E>) -> Outcome {
    let value = |value: Result<Value, serde_json::Error>| value.map_err(|error| error.to_string());
    Ok(match result {
        Ok(good) => Ok(value(serde_json::to_value(good))?),
        Err(bad) => Err(value(serde_json::to_value(bad))?),
    })
}

/// The keys that every out file starts from.
pub type Out = Map<String, Value>;
