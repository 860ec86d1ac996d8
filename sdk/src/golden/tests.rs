use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Abilities, Exported, run_all};
use crate::connector::{Connector, Hook, Inbound, ReceiveError};
use crate::host::Host;
use crate::http::Request;
use crate::values::{CallError, Outgoing, RefusalReason, Sent};

/// Posts every message, and calls out in `receive` when the hook asks for it.
struct Echo;

impl Connector for Echo {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        match hook.query("call") {
            Some(url) => {
                let refused = host.fetch(Request::get(url)).is_err();
                Err(ReceiveError::malformed(format!("refused: {refused}")))
            }
            None => Ok(Inbound::nothing()),
        }
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        let response = host.fetch(Request::post("https://api.example/send").json(&json!({"id": message.id})))?;
        match response.is_success() {
            true => Ok(Sent::new(response.text())),
            false => Err(CallError::refused(RefusalReason::Other, "no", response.text())),
        }
    }
}

impl Exported for Echo {
    fn abilities() -> Abilities {
        Abilities::default()
    }
}

fn send(exchanges: &Value) -> Value {
    json!({"send": {"id": "m1", "content": {"text": {"text": "Hello"}}}, "exchanges": exchanges})
}

/// What the folder with this one case says.
fn failures(input: &Value, output: Option<&Value>) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "case.in.json", input);
    if let Some(output) = output {
        write(folder.path(), "case.out.json", output);
    }
    run_all::<Echo>(folder.path(), false).expect("a folder with a case")
}

fn write(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).expect("written");
}

fn sent() -> Value {
    json!({
        "requests": [{
            "method": "POST",
            "url": "https://api.example/send",
            "headers": [["content-type", "application/json"]],
            "body": {"json": {"id": "m1"}},
        }],
        "result": {"id": "p1"},
    })
}

#[test]
fn the_whole_outcome_must_be_the_same() {
    let input = send(&json!([{"status": 200, "body": "p1"}]));
    assert_eq!(failures(&input, Some(&sent())), Vec::<String>::new());

    let mut other = sent();
    other["requests"][0]["credential"] = "token".into();
    other["result"]["id"] = "p2".into();
    let found = failures(&input, Some(&other)).join("");
    assert!(
        found.contains("/requests/0/credential: expected \"token\", found null"),
        "{found}"
    );
    assert!(found.contains("/result/id: expected \"p2\", found \"p1\""), "{found}");
}

#[test]
fn a_missing_file_is_a_failure_on_either_side() {
    let input = send(&json!([{"status": 200, "body": "p1"}]));
    assert!(failures(&input, None).join("").contains("MANTLE_BLESS=1"));

    let folder = tempfile::tempdir().expect("a folder");
    assert!(run_all::<Echo>(folder.path(), false).is_err());
    write(folder.path(), "lonely.out.json", &json!({}));
    write(folder.path(), "case.in.json", &input);
    let found = run_all::<Echo>(folder.path(), true)
        .expect("a folder with a case")
        .join("");
    assert!(found.contains("there is no lonely.in.json"), "{found}");
    let blessed = fs::read_to_string(folder.path().join("case.out.json")).expect("blessed");
    assert_eq!(serde_json::from_str::<Value>(&blessed).expect("JSON"), sent());
}

#[test]
fn the_script_must_be_played_to_its_end_and_no_further() {
    let found = failures(&send(&json!([])), Some(&sent())).join("");
    assert!(
        found.contains("no exchange is left for https://api.example/send"),
        "{found}"
    );
    let found = failures(&send(&json!([{"body": "p1"}, {"body": "p2"}])), Some(&sent())).join("");
    assert!(found.contains("1 of the exchanges were not asked for"), "{found}");
}

#[test]
fn receive_is_held_to_making_no_calls() {
    let input = json!({"hook": {"query": {"call": "https://api.example"}}});
    let found = failures(&input, Some(&json!({}))).join("");
    assert!(found.contains("`receive` made a call"), "{found}");
}

#[test]
fn what_is_not_understood_is_not_passed_over() {
    let found = failures(&json!({"hook": {"boddy": {}}}), Some(&json!({}))).join("");
    assert!(found.contains("unknown field `boddy`"), "{found}");
    let found = failures(&json!({}), Some(&json!({}))).join("");
    assert!(found.contains("exactly one of"), "{found}");
    let found = failures(&json!({"call": "identify"}), Some(&json!({}))).join("");
    assert!(found.contains("exports no lifecycle"), "{found}");
}
