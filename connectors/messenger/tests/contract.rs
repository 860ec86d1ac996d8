//! Every call of the golden files against Meta's published list of the Page's edges: names of parameters and words.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// Documented, and not in the list: the file of an upload, and what every reading call takes.
const UNLISTED: [&str; 2] = ["filedata", "fields"];

/// Not part of the repository: somebody else's files.
fn contracts() -> Option<PathBuf> {
    let folder = std::env::var_os("MANTLE_CONTRACTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/contracts")),
        PathBuf::from,
    );
    let folder = folder.join("messenger");
    folder.is_dir().then_some(folder)
}

/// None: whoever runs this does without, and is told so.
fn required() -> Option<PathBuf> {
    let found = contracts();
    if found.is_none() {
        let required = std::env::var("MANTLE_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|one| one.trim() == "contracts"),
            "MANTLE_REQUIRE names contracts, but Messenger's is not there; MANTLE_CONTRACTS names the folder"
        );
        // Past the harness, which keeps what a test that passes prints to itself.
        let _ = writeln!(
            std::io::stderr().lock(),
            "skipped: the contract of Messenger, because it is not there (MANTLE_CONTRACTS names the folder)"
        );
    }
    found
}

fn read(path: &Path) -> std::io::Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

struct Contract {
    /// `POST messages`: the type of each parameter.
    edges: BTreeMap<String, BTreeMap<String, String>>,
    /// The words that a type allows, in small letters: the list writes them large and Meta's pages small.
    words: BTreeMap<String, Vec<String>>,
}

impl Contract {
    fn new(page: &Value, enums: &Value) -> Self {
        let edges = list(&page["apis"]).iter().map(|api| {
            let parameters = list(&api["params"]).iter();
            let parameters = parameters.map(|one| (text(&one["name"]).to_owned(), text(&one["type"]).to_owned()));
            let edge = text(&api["endpoint"]).trim_start_matches('/');
            (format!("{} {edge}", text(&api["method"])), parameters.collect())
        });
        let words = list(enums).iter().map(|one| {
            let words = list(&one["values"]).iter().map(|word| text(word).to_ascii_lowercase());
            (text(&one["name"]).to_owned(), words.collect())
        });
        Self {
            edges: edges.collect(),
            words: words.collect(),
        }
    }

    /// What is wrong with a call, or nothing. None: it is no call of an edge.
    fn check(&self, request: &Value) -> Option<Vec<String>> {
        let url = text(&request["url"]).strip_prefix("https://graph.facebook.com/")?;
        let (route, query) = url.split_once('?').unwrap_or((url, ""));
        let mut steps = route.split('/').skip(2);
        let (Some(edge), None) = (steps.next(), steps.next()) else {
            return None;
        };
        let edge = format!("{} {edge}", text(&request["method"]));
        let Some(known) = self.edges.get(&edge) else {
            return Some(vec![format!("no edge {edge}")]);
        };
        let given = given(query, &request["body"]);
        let given = given.iter().filter(|(name, _)| !UNLISTED.contains(&name.as_str()));
        Some(
            given
                .filter_map(|(name, value)| match known.get(name) {
                    None => Some(format!("{edge} has no parameter {name}")),
                    Some(kind) => self
                        .foreign_word(kind, value)
                        .map(|word| format!("{name} is never {word}")),
                })
                .collect(),
        )
    }

    fn foreign_word(&self, kind: &str, value: &Value) -> Option<String> {
        let kind = kind.trim_start_matches("list<").trim_end_matches('>');
        let known = self.words.get(kind)?;
        let mut said = value.as_str()?.split(',');
        let foreign = said.find(|word| !known.contains(&word.to_ascii_lowercase()));
        foreign.map(str::to_owned)
    }
}

/// What a call hands over: its query, its JSON body, and its parts.
fn given(query: &str, body: &Value) -> Vec<(String, Value)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), Value::String(value.replace("%2C", ","))));
    let parts = list(&body["multipart"]).iter();
    let parts = parts.map(|part| (text(&part["name"]).to_owned(), part["content"].clone()));
    let fields = body["json"].as_object().cloned().unwrap_or_default();
    pairs.chain(parts).chain(fields).collect()
}

#[test]
fn out_10_every_call_is_in_metas_list() {
    let Some(folder) = required() else { return };
    let contract = Contract::new(
        &read(&folder.join("Page.json")).unwrap(),
        &read(&folder.join("enum_types.json")).unwrap(),
    );
    let mut checked = 0;
    for entry in std::fs::read_dir(GOLDEN).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().ends_with(".out.json") {
            continue;
        }
        for request in list(&read(&path).unwrap()["requests"]) {
            let Some(problems) = contract.check(request) else {
                continue;
            };
            assert!(problems.is_empty(), "{}: {problems:?}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} calls were found in the golden files");
    let foreign = serde_json::json!({
        "method": "POST", "url": "https://graph.facebook.com/v25.0/1/messages",
        "body": { "json": { "messaging_type": "GREETING", "to": "7" } },
    });
    let problems = contract.check(&foreign).unwrap_or_default();
    assert_eq!(
        problems,
        ["messaging_type is never GREETING", "POST messages has no parameter to"]
    );
}
