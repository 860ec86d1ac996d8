//! Golden cases as they lie in a folder; the format is described in `sdk/src/golden.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

const INPUT_SUFFIX: &str = ".in.json";
const OUTPUT_SUFFIX: &str = ".out.json";
/// The present of a case that names none: 2026-11-18T11:06:40Z.
const NOW: i64 = 1_795_000_000_000;
const HOOK_URL: &str = "https://bridge.example.com/hooks/connector/chn_1";
/// A case is a page or two; the largest that providers' batches make is some hundred KiB.
const CASE_BYTES_MAX: u64 = 4 << 20;
/// More cases than the richest connector has, by far.
const CASES_MAX: usize = 5_000;

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub name: String,
    pub surroundings: Surroundings,
    pub called: Called,
    /// The whole outcome; None: there is no `out` file.
    pub expected: Option<Value>,
}

/// What a component finds around it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub fields: BTreeMap<String, String>,
    pub hook_url: String,
    pub now: i64,
    pub kv: BTreeMap<String, String>,
    pub media: BTreeMap<u32, File>,
    /// What the provider answers, in order.
    pub exchanges: Vec<Exchange>,
    /// `receive` makes no calls.
    pub pure: bool,
}

/// A call of an exported function.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    pub interface: &'static str,
    pub function: String,
    pub given: Vec<Value>,
}

impl Called {
    pub(crate) fn is(&self, interface: &str, function: &str) -> bool {
        self.interface == interface && self.function == function
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub bytes: u64,
    pub content_type: String,
    pub name: Option<String>,
    /// What `media.read` gives; without it, zeros.
    pub text: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    pub status: Option<u16>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Value,
    pub file: Option<File>,
    pub error: Option<Broken>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broken {
    pub kind: String,
    #[serde(default)]
    pub request_sent: bool,
    pub message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(rename = "note")]
    _note: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    hook_url: Option<String>,
    now: Option<i64>,
    #[serde(default)]
    kv: BTreeMap<String, String>,
    #[serde(default)]
    media: BTreeMap<u32, File>,
    #[serde(default)]
    exchanges: Vec<Exchange>,
    hook: Option<Hook>,
    send: Option<Value>,
    call: Option<String>,
    fetch: Option<String>,
    find_sent: Option<Value>,
    look_up: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    list_page: Option<Value>,
}

/// `"list_page": null` is a call without a cursor, not the absence of a call.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hook {
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    query: Pairs,
    #[serde(default)]
    headers: Pairs,
    body: Option<Body>,
    received_at: Option<i64>,
}

fn post() -> String {
    "POST".to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Json(Value),
    Text(String),
    Form(Pairs),
}

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

impl Hook {
    fn into_value(self, now: i64) -> Value {
        let body = match self.body {
            None => Vec::new(),
            Some(Body::Json(value)) => value.to_string().into_bytes(),
            Some(Body::Text(text)) => text.into_bytes(),
            Some(Body::Form(pairs)) => form_urlencoded::Serializer::new(String::new())
                .extend_pairs(Vec::from(pairs))
                .finish()
                .into_bytes(),
        };
        let lower = |(name, value): (String, String)| (name.to_ascii_lowercase(), value);
        json!({
            "method": self.method,
            "query": Vec::from(self.query),
            "headers": Vec::from(self.headers).into_iter().map(lower).collect::<Vec<_>>(),
            "body": body,
            "received_at": self.received_at.unwrap_or(now),
        })
    }
}

/// All cases of a folder, by name.
pub(crate) fn read_all(folder: &Path) -> Result<Vec<Case>, String> {
    let listed = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(INPUT_SUFFIX).map(str::to_owned));
    }
    names.sort();
    if names.is_empty() {
        return Err(format!(
            "{} holds no <case>{INPUT_SUFFIX}; record a hook and a message of your provider there first",
            folder.display()
        ));
    }
    if names.len() > CASES_MAX {
        return Err(format!("{} holds more than {CASES_MAX} cases", folder.display()));
    }
    names.into_iter().map(|name| read(folder, name)).collect()
}

fn read(folder: &Path, name: String) -> Result<Case, String> {
    let input = json_of(&folder.join(format!("{name}{INPUT_SUFFIX}")))?;
    let output = folder.join(format!("{name}{OUTPUT_SUFFIX}"));
    let expected = output.exists().then(|| json_of(&output)).transpose()?;
    let input: Input = serde_json::from_value(input).map_err(|error| format!("{name}{INPUT_SUFFIX}: {error}"))?;
    let now = input.now.unwrap_or(NOW);
    let mut called = Vec::new();
    let mut call = |interface, function: &str, given| {
        called.push(Called {
            interface,
            function: function.to_owned(),
            given,
        });
    };
    let pure = input.hook.is_some();
    if let Some(hook) = input.hook {
        call("connector", "receive", vec![hook.into_value(now)]);
    }
    if let Some(message) = input.send {
        call("connector", "send", vec![message]);
    }
    if let Some(function) = input.call {
        call("lifecycle", &function, Vec::new());
    }
    if let Some(source) = input.fetch {
        call("inbound-media", "fetch", vec![source.into()]);
    }
    if let Some(query) = input.find_sent {
        call("reconcile", "find-sent", vec![query]);
    }
    if let Some(aliases) = input.look_up {
        call("profile", "look-up", vec![aliases]);
    }
    if let Some(cursor) = input.list_page {
        call("templates", "list-page", vec![cursor]);
    }
    let (Some(called), true) = (called.pop(), called.is_empty()) else {
        return Err(format!(
            "{name}{INPUT_SUFFIX} must have exactly one of hook, send, call, fetch, find_sent, look_up, list_page"
        ));
    };
    Ok(Case {
        name,
        surroundings: Surroundings {
            fields: input.fields,
            hook_url: input.hook_url.unwrap_or_else(|| HOOK_URL.to_owned()),
            now,
            kv: input.kv,
            media: input.media,
            exchanges: input.exchanges,
            pure,
        },
        called,
        expected,
    })
}

fn json_of(path: &Path) -> Result<Value, String> {
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = fs::metadata(path).map_err(|error| problem(&error))?.len();
    if bytes > CASE_BYTES_MAX {
        return Err(problem(&format!(
            "it has {bytes} bytes, at most {CASE_BYTES_MAX} are read"
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| problem(&error))?;
    serde_json::from_str(&text).map_err(|error| problem(&error))
}
