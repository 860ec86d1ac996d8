//! What the manifest and the exports claim, and the passed cases that show it.

use std::collections::BTreeSet;

use mantle_model::capabilities::Capabilities;
use mantle_sandbox::{Plugin, Rehearsal};
use serde_json::Value;

use crate::{Claim, Passed};

/// Cases that are named for one claim: enough to look one up.
const NAMED_MAX: usize = 3;

pub(crate) fn claims(plugin: &Plugin, rehearsal: &Rehearsal, passed: &Passed<'_>) -> Vec<Claim> {
    let mut claims = vec![
        claim(passed, "reads messages", |call| {
            call.receives() && call.finds("/result/events", |event| event.pointer("/body/message").is_some())
        }),
        claim(passed, "reads nothing that is malformed as if it were good", |call| {
            call.receives()
                && (call.outcome.get("error").is_some() || call.outcome.pointer("/result/malformed").is_some())
        }),
        claim(passed, "sends text", |call| call.sends("text")),
    ];
    claims.extend(of_manifest(plugin.capabilities(), passed));
    if plugin.registers_webhook() {
        claims.push(claim(passed, "wires its webhook itself", |call| {
            call.calls("lifecycle", "connect") && call.is_good()
        }));
    }
    let exports = [
        ("lifecycle", "identify", "proves its credentials"),
        ("lifecycle", "check", "tells how the channel is"),
        ("inbound-media", "fetch", "fetches inbound files"),
        ("reconcile", "find-sent", "finds what it has sent"),
        ("profile", "look-up", "looks people up"),
        ("templates", "list-page", "lists templates"),
    ];
    for (interface, function, words) in exports {
        if rehearsal.exports(interface) {
            claims.push(claim(passed, words, |call| {
                call.calls(interface, function) && call.is_good()
            }));
        }
    }
    claims
}

fn of_manifest(capabilities: &Capabilities, passed: &Passed<'_>) -> Vec<Claim> {
    let mut claims = Vec::new();
    let kinds: BTreeSet<String> = capabilities
        .attachments
        .iter()
        .filter_map(|rule| spelled(&rule.kind))
        .collect();
    for kind in kinds {
        claims.push(claim(passed, &format!("sends files as {kind}"), |call| {
            call.is_good() && call.given("/content/attachment/kind") == Some(&kind)
        }));
    }
    if capabilities.caption.is_some() {
        claims.push(claim(passed, "sends captions with files", |call| {
            call.is_good() && call.given("/content/attachment/caption/text").is_some()
        }));
    }
    if capabilities.delivery.templates {
        claims.push(claim(passed, "sends templates", |call| call.sends("template")));
    }
    for report in &capabilities.delivery.receipts {
        let Some(word) = spelled(report) else { continue };
        claims.push(claim(passed, &format!("tells that messages are {word}"), |call| {
            let state = |event: &Value| event.pointer("/body/status/state").and_then(Value::as_str) == Some(&word);
            call.receives() && call.finds("/result/events", state)
        }));
    }
    claims
}

/// As cases spell it.
fn spelled(value: &impl serde::Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Some(word),
        _ => None,
    }
}

/// A passed case, to be asked what it shows.
struct Call<'a> {
    case: &'a crate::case::Case,
    outcome: &'a Value,
}

impl Call<'_> {
    fn calls(&self, interface: &str, function: &str) -> bool {
        self.case.called.is(interface, function)
    }

    fn receives(&self) -> bool {
        self.calls("connector", "receive")
    }

    fn is_good(&self) -> bool {
        self.outcome.get("error").is_none()
    }

    /// A good send of this kind of content.
    fn sends(&self, kind: &str) -> bool {
        self.calls("connector", "send") && self.is_good() && self.argument(&format!("/content/{kind}")).is_some()
    }

    fn argument(&self, place: &str) -> Option<&Value> {
        self.case.called.given.first()?.pointer(place)
    }

    fn given(&self, place: &str) -> Option<&str> {
        self.argument(place).and_then(Value::as_str)
    }

    fn finds(&self, list: &str, wanted: impl Fn(&Value) -> bool) -> bool {
        let items = self.outcome.pointer(list).and_then(Value::as_array);
        items.is_some_and(|items| items.iter().any(wanted))
    }
}

fn claim(passed: &Passed<'_>, words: &str, shows: impl Fn(Call<'_>) -> bool) -> Claim {
    let shown = passed.iter().filter(|(case, outcome)| shows(Call { case, outcome }));
    Claim {
        claim: words.to_owned(),
        shown_by: shown.take(NAMED_MAX).map(|(case, _)| case.name.clone()).collect(),
    }
}
