//! Every call of the golden files against Meta's published lists of edges, those of the Page and those of an Instagram
//! account: names of parameters and words.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// What every reading call takes.
const UNLISTED: &str = "fields";

/// Not part of the repository: somebody else's files.
fn contracts() -> Option<PathBuf> {
    let folder = std::env::var_os("MANTLE_CONTRACTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/contracts")),
        PathBuf::from,
    );
    (folder.join("messenger").is_dir() && folder.join("instagram").is_dir()).then_some(folder)
}

/// None: whoever runs this does without, and is told so.
fn required() -> Option<PathBuf> {
    let found = contracts();
    if found.is_none() {
        let required = std::env::var("MANTLE_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|one| one.trim() == "contracts"),
            "MANTLE_REQUIRE names contracts, but Instagram's is not there; MANTLE_CONTRACTS names the folder"
        );
        // Past the harness, which keeps what a test that passes prints to itself.
        let _ = writeln!(
            std::io::stderr().lock(),
            "skipped: the contract of Instagram, because it is not there (MANTLE_CONTRACTS names the folder)"
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
    fn new(node: &Value, enums: &Value) -> Self {
        let edges = list(&node["apis"]).iter().map(|api| {
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

    /// What is wrong with a call, or nothing. None: it is no call of an edge at this origin.
    fn check(&self, request: &Value, origin: &str) -> Option<Vec<String>> {
        let url = text(&request["url"]).strip_prefix(origin)?;
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
        let given = given.iter().filter(|(name, _)| name != UNLISTED);
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
fn out_10_every_call_is_in_metas_lists() {
    let Some(folder) = required() else { return };
    let enums = read(&folder.join("messenger/enum_types.json")).unwrap();
    let contract = |file: &str| Contract::new(&read(&folder.join(file)).unwrap(), &enums);
    let logins = [
        (
            "https://graph.instagram.com/",
            contract("instagram/IGUserForIGOnlyAPI.json"),
        ),
        ("https://graph.facebook.com/", contract("messenger/Page.json")),
    ];
    for (origin, contract) in logins {
        let mut checked = 0;
        for entry in std::fs::read_dir(GOLDEN).unwrap() {
            let path = entry.unwrap().path();
            if !path.to_string_lossy().ends_with(".out.json") {
                continue;
            }
            for request in list(&read(&path).unwrap()["requests"]) {
                let Some(problems) = contract.check(request, origin) else {
                    continue;
                };
                assert!(problems.is_empty(), "{}: {problems:?}", path.display());
                checked += 1;
            }
        }
        assert!(
            checked > 20,
            "only {checked} calls of {origin} were found in the golden files"
        );
        let foreign = serde_json::json!({
            "method": "POST", "url": format!("{origin}v25.0/1/messages"),
            "body": { "json": { "messaging_type": "GREETING", "to": "7" } },
        });
        let problems = contract.check(&foreign, origin).unwrap_or_default();
        assert_eq!(
            problems,
            ["messaging_type is never GREETING", "POST messages has no parameter to"]
        );
    }
}
