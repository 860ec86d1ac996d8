//! A stage that plays from a case and writes down what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mantle_sandbox::Stage;
use serde_json::{Map, Value, json};

use crate::case::{Exchange, File, Surroundings};
use crate::outcome;

/// Files that the component downloads are numbered from here, clear of those that a case gives.
const FIRST_DOWNLOAD: u32 = 1001;
/// As the interface says of `media.read`.
const READ_BYTES_MAX: u64 = 65_536;

/// One half goes to the component, the other is asked afterwards.
#[derive(Clone)]
pub(crate) struct Script(Arc<Mutex<Played>>);

struct Played {
    around: Surroundings,
    exchanges: VecDeque<Exchange>,
    kv: BTreeMap<String, Vec<u8>>,
    requests: Vec<Value>,
    downloads: u32,
    logs: Vec<Value>,
    problems: Vec<String>,
}

impl Script {
    pub(crate) fn new(around: Surroundings) -> Self {
        let kv = around
            .kv
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        Self(Arc::new(Mutex::new(Played {
            exchanges: around.exchanges.clone().into(),
            kv: kv.collect(),
            around,
            requests: Vec::new(),
            downloads: FIRST_DOWNLOAD,
            logs: Vec::new(),
            problems: Vec::new(),
        })))
    }

    fn played(&self) -> MutexGuard<'_, Played> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked, without what the call itself gave, and what went wrong with the script.
    pub(crate) fn finish(&self) -> (Map<String, Value>, Vec<String>) {
        let mut played = self.played();
        let mut problems = std::mem::take(&mut played.problems);
        if !played.exchanges.is_empty() {
            problems.push(format!(
                "{} of the exchanges were not asked for",
                played.exchanges.len()
            ));
        }
        let mut out = Map::new();
        if !played.requests.is_empty() {
            out.insert("requests".to_owned(), std::mem::take(&mut played.requests).into());
        }
        let changed = played.changed();
        if !changed.is_empty() {
            out.insert("kv".to_owned(), changed.into());
        }
        if !played.logs.is_empty() {
            out.insert("log".to_owned(), std::mem::take(&mut played.logs).into());
        }
        (out, problems)
    }

    /// How many requests were made.
    pub(crate) fn requests(&self) -> usize {
        self.played().requests.len()
    }
}

impl Stage for Script {
    fn asked(&mut self, interface: &str, function: &str, given: Vec<Value>) -> Result<Value, String> {
        let mut played = self.played();
        let text = |place: usize| given.get(place).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(match (interface, function) {
            ("http", "fetch") => played.fetch(&given),
            ("http", "download") => played.download(&given),
            ("media", _) => played.media(function, &given),
            ("kv", _) => played.kv(function, &text(0), &given),
            // Not a true HMAC: readable in the out file, and different for different input.
            ("crypto", "hmac") => {
                let algorithm = if text(1) == "sha1" { "Sha1" } else { "Sha256" };
                let data = given.get(2).map(outcome::bytes_of).unwrap_or_default();
                let words = format!("Algorithm::{algorithm}:{}:{}", text(0), String::from_utf8_lossy(&data));
                json!({ "ok": words.into_bytes() })
            }
            ("config", "get") => json!(played.around.fields.get(&text(0))),
            ("config", "hook-url") => json!(played.around.hook_url),
            ("config", "now") => json!(played.around.now),
            ("log", "write") => {
                let line = json!([text(0), text(1)]);
                played.logs.push(line);
                Value::Null
            }
            _ => return Err(format!("{interface}.{function} is not played")),
        })
    }
}

impl Played {
    fn changed(&self) -> Map<String, Value> {
        let before = |key: &str| self.around.kv.get(key).map(String::as_bytes);
        let written = self
            .kv
            .iter()
            .filter(|(key, value)| before(key) != Some(value))
            .map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).into()));
        let gone = self.around.kv.keys().filter(|key| !self.kv.contains_key(*key));
        written.chain(gone.map(|key| (key.clone(), Value::Null))).collect()
    }

    fn exchange(&mut self, given: &[Value], download: bool) -> Result<Exchange, Value> {
        if self.around.pure {
            self.problems.push("`receive` made a call".to_owned());
            return Err(denied("`receive` makes no calls"));
        }
        let asked = given.first().unwrap_or(&Value::Null);
        self.requests.push(outcome::request(asked, download));
        let Some(exchange) = self.exchanges.pop_front() else {
            self.problems.push(format!("no exchange is left for {}", asked["url"]));
            return Err(denied("the script ends here"));
        };
        match exchange.error {
            Some(broken) => Err(json!({ "error": {
                "kind": broken.kind,
                "message": broken.message.unwrap_or_else(|| "The exchange broke off.".to_owned()),
                "request_sent": broken.request_sent,
            } })),
            None => Ok(exchange),
        }
    }

    fn fetch(&mut self, given: &[Value]) -> Value {
        match self.exchange(given, false) {
            Err(error) => error,
            Ok(mut exchange) => {
                let status = exchange.status.unwrap_or(200);
                if (200..300).contains(&status) {
                    take_out(given, &mut exchange.body);
                }
                json!({ "ok": {
                    "status": status,
                    "headers": pairs(&exchange.headers),
                    "body": body(&exchange.body),
                } })
            }
        }
    }

    fn download(&mut self, given: &[Value]) -> Value {
        let exchange = match self.exchange(given, true) {
            Err(error) => return error,
            Ok(exchange) => exchange,
        };
        let status = exchange.status.unwrap_or(200);
        let held = match &exchange.file {
            Some(_) if (200..300).contains(&status) => {
                let id = self.downloads;
                self.downloads += 1;
                json!({ "media": id })
            }
            _ => json!({ "bytes": body(&exchange.body) }),
        };
        json!({ "ok": { "status": status, "headers": pairs(&exchange.headers), "body": held } })
    }

    fn file(&self, given: &[Value]) -> Option<&File> {
        let id = given.first()?.as_u64()?;
        self.around.media.get(&u32::try_from(id).ok()?)
    }

    fn media(&self, function: &str, given: &[Value]) -> Value {
        let Some(file) = self.file(given) else {
            return json!({ "error": "unknown" });
        };
        match function {
            "stat" => json!({ "ok": { "bytes": file.bytes, "content_type": file.content_type, "name": file.name } }),
            "link" => json!({ "ok": format!("https://bridge.example.com/media/{}", given[0]) }),
            _ => {
                let number = |place: usize| given.get(place).and_then(Value::as_u64).unwrap_or_default();
                let (from, length) = (number(1), number(2).min(READ_BYTES_MAX));
                if from > file.bytes {
                    return json!({ "error": "out_of_range" });
                }
                let content = file.text.as_deref().unwrap_or_default().as_bytes();
                let byte = |place: u64| usize::try_from(place).ok().and_then(|place| content.get(place));
                let until = from.saturating_add(length).min(file.bytes);
                let bytes: Vec<u8> = (from..until).map(|place| byte(place).copied().unwrap_or(0)).collect();
                json!({ "ok": bytes })
            }
        }
    }

    fn kv(&mut self, function: &str, key: &str, given: &[Value]) -> Value {
        if self.around.pure {
            self.problems.push("`receive` used kv".to_owned());
            return json!({ "error": "unavailable" });
        }
        let bytes = |place: usize| given.get(place).map(outcome::bytes_of).unwrap_or_default();
        match function {
            "get" => json!({ "ok": self.kv.get(key) }),
            "set" => {
                self.kv.insert(key.to_owned(), bytes(1));
                json!({ "ok": null })
            }
            "compare-and-set" => {
                let expected = given.get(1).filter(|value| !value.is_null()).map(outcome::bytes_of);
                let same = self.kv.get(key) == expected.as_ref();
                if same {
                    self.kv.insert(key.to_owned(), bytes(2));
                }
                json!({ "ok": same })
            }
            _ => {
                self.kv.remove(key);
                json!({ "ok": null })
            }
        }
    }
}

/// As the host does with what it keeps.
fn take_out(given: &[Value], body: &mut Value) {
    for (_, pointer) in given.first().into_iter().flat_map(outcome::kept) {
        if let Some(Value::String(place)) = body.pointer_mut(pointer)
            && !place.is_empty()
        {
            *place = "[secret]".to_owned();
        }
    }
}

fn pairs(headers: &BTreeMap<String, String>) -> Value {
    headers.iter().map(|(name, value)| json!([name, value])).collect()
}

/// A text as it is, anything else as JSON.
fn body(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        value => value.to_string().into_bytes(),
    }
}

fn denied(message: &str) -> Value {
    json!({ "error": { "kind": "denied", "message": message, "request_sent": false } })
}
