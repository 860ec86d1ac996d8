//! Published sample webhooks, read whole: nothing in them is malformed, and every message shows something.

use std::io::Write;
use std::path::PathBuf;

use mantle_connector_whatsapp::WhatsApp;
use mantle_sdk::connector::{Connector, Hook, Inbound, ReceiveError};
use mantle_sdk::host::Imports;
use mantle_sdk::values::EventBody;
use serde_json::Value;

/// Not part of the repository: somebody else's files.
fn samples() -> Option<PathBuf> {
    let contracts = std::env::var_os("MANTLE_CONTRACTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/contracts")),
        PathBuf::from,
    );
    let folder = contracts.join("whatsapp/inbound-samples");
    folder.is_dir().then_some(folder)
}

fn received(body: &Value) -> Result<Inbound, ReceiveError> {
    let hook = Hook {
        method: "POST".to_owned(),
        query: Vec::new(),
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
        received_at: 1_795_000_000_000,
    };
    // Receiving asks the host for nothing, so its imports are never called.
    WhatsApp::receive(hook, &Imports)
}

#[test]
fn in_13_every_published_sample_is_read() {
    let Some(folder) = samples() else {
        let required = std::env::var("MANTLE_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|one| one.trim() == "contracts"),
            "MANTLE_REQUIRE names contracts, but there are no published samples; MANTLE_CONTRACTS names their folder"
        );
        // Past the harness, which keeps what a test that passes prints to itself.
        let _ = writeln!(
            std::io::stderr().lock(),
            "skipped: published samples of WhatsApp, because they are not there (MANTLE_CONTRACTS names the folder)"
        );
        return;
    };
    let mut messages = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let file: serde_json::Map<String, Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (name, body) in file {
            let place = format!("{}: {name}", path.display());
            let inbound = received(&body).unwrap();
            assert!(inbound.malformed.is_empty(), "{place}: {:?}", inbound.malformed);
            let expected = items(&body);
            let shown = inbound
                .events
                .iter()
                .filter(|event| !matches!(event.body, EventBody::Notice(_)))
                .count();
            assert_eq!(shown, expected, "{place}: every message and status is an event");
            messages += expected;
        }
    }
    assert!(messages > 0, "the samples hold messages");
}

fn items(body: &Value) -> usize {
    let changes = body["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|entry| entry["changes"].as_array());
    changes
        .flatten()
        .filter(|change| change["field"] == "messages" || change["field"] == "smb_message_echoes")
        .flat_map(|change| ["messages", "message_echoes", "statuses"].map(|list| change["value"][list].as_array()))
        .flatten()
        .map(Vec::len)
        .sum()
}
