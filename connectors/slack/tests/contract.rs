//! Every call of the golden files against Slack's own reference of its methods: names of arguments, and those it needs.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
const API: &str = "https://slack.com/api/";

/// Fewer means that the golden files were not read.
const CALLS_MIN: usize = 100;

/// Not part of the repository: somebody else's files.
fn contracts() -> Option<PathBuf> {
    let folder = std::env::var_os("MANTLE_CONTRACTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/contracts")),
        PathBuf::from,
    );
    let folder = folder.join("slack/method-reference");
    folder.is_dir().then_some(folder)
}

/// None: whoever runs this does without, and is told so.
fn required() -> Option<PathBuf> {
    let found = contracts();
    if found.is_none() {
        let required = std::env::var("MANTLE_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|one| one.trim() == "contracts"),
            "MANTLE_REQUIRE names contracts, but Slack's is not there; MANTLE_CONTRACTS names the folder"
        );
        // Past the harness, which keeps what a test that passes prints to itself.
        let _ = writeln!(
            std::io::stderr().lock(),
            "skipped: the contract of Slack, because it is not there (MANTLE_CONTRACTS names the folder)"
        );
    }
    found
}

fn read(path: &Path) -> std::io::Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// The method and the names of the arguments. None: not a call of the Web API.
fn call(request: &Value) -> Option<(String, BTreeSet<String>)> {
    let (method, query) = {
        let address = request["url"].as_str()?.strip_prefix(API)?;
        address.split_once('?').unwrap_or((address, ""))
    };
    let mut names: BTreeSet<String> = query
        .split('&')
        .filter_map(|pair| pair.split('=').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let body = &request["body"];
    names.extend(
        body["json"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone()),
    );
    let form = body["form"].as_array().into_iter().flatten();
    names.extend(form.filter_map(|pair| pair[0].as_str()).map(str::to_owned));
    Some((method.to_owned(), names))
}

/// What is wrong with the call.
fn wrong(folder: &Path, method: &str, names: &BTreeSet<String>) -> Vec<String> {
    let Ok(reference) = read(&folder.join(format!("{method}.json"))) else {
        return vec![format!("Slack's reference has no {method}")];
    };
    let nothing = json!({});
    let known = reference["args"].as_object().or_else(|| nothing.as_object());
    let known = known.into_iter().flatten();
    let needed = known.clone().filter(|(_, about)| about["required"] == true);
    let absent = needed
        .filter(|(name, _)| !names.contains(*name))
        .map(|(name, _)| format!("{method} needs `{name}`"));
    let known: BTreeSet<&String> = known.map(|(name, _)| name).collect();
    let unknown = names
        .iter()
        .filter(|name| !known.contains(name))
        .map(|name| format!("{method} has no `{name}`"));
    absent.chain(unknown).collect()
}

#[test]
fn ch_10_every_call_fits_slacks_reference() -> std::io::Result<()> {
    let Some(folder) = required() else { return Ok(()) };
    let mut calls = 0;
    let mut problems = Vec::new();
    for entry in std::fs::read_dir(GOLDEN)? {
        let path = entry?.path();
        if !path.to_string_lossy().ends_with(".out.json") {
            continue;
        }
        let out = read(&path)?;
        let requests = out["requests"].as_array().into_iter().flatten();
        for (method, names) in requests.filter_map(call) {
            calls += 1;
            let wrong = wrong(&folder, &method, &names);
            problems.extend(
                wrong
                    .into_iter()
                    .map(|problem| format!("{}: {problem}", path.display())),
            );
        }
    }
    assert!(problems.is_empty(), "against the reference: {problems:#?}");
    assert!(calls >= CALLS_MIN, "only {calls} calls were checked");
    Ok(())
}

#[test]
fn ch_10_a_wrong_call_is_noticed() {
    let Some(folder) = required() else { return };
    for (request, expected) in [
        (
            json!({"url": "https://slack.com/api/chat.postMessage", "body": {"json": {"text": "Hi"}}}),
            "chat.postMessage needs `channel`",
        ),
        (
            json!({"url": "https://slack.com/api/chat.postMessage", "body": {"json": {"channel": "C1", "words": "Hi"}}}),
            "chat.postMessage has no `words`",
        ),
        (
            json!({"url": "https://slack.com/api/files.getUploadURLExternal", "body": {"form": [["filename", "a"]]}}),
            "files.getUploadURLExternal needs `length`",
        ),
        (
            json!({"url": "https://slack.com/api/users.info?person=U1&user=U1"}),
            "users.info has no `person`",
        ),
        (
            json!({"url": "https://slack.com/api/chat.sendWords"}),
            "Slack's reference has no chat.sendWords",
        ),
    ] {
        let (method, names) = call(&request).expect("a call of the Web API");
        assert_eq!(wrong(&folder, &method, &names), [expected]);
    }
}
