//! What the page shows, as JSON.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mantle_world::intercom::{Conversation, Part};
use mantle_world::{Fault, File, Webhooks};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::stage::{Channel, Line, Stage};

/// Faults of webhooks and media, beside those of calls: name, label.
const MORE_SWITCHES: [(&str, &str); 4] = [
    ("media", "files answer 503"),
    ("twice", "webhooks come twice"),
    ("late", "webhooks come 4 s late"),
    ("reversed", "webhooks held, then reversed"),
];
/// Calls and webhooks in the ledger at the foot.
const LEDGER_LINES: usize = 8;

/// Files that the page may fetch, by the digest of their bytes, and the switches that are on.
#[derive(Default)]
pub(crate) struct Shelf {
    files: Mutex<HashMap<String, File>>,
    switches: Mutex<BTreeSet<(String, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    pub(crate) fn get(&self, id: &str) -> Option<File> {
        lock(&self.files).get(id).cloned()
    }

    fn put(&self, file: &File) -> Value {
        let digest = hex::encode(Sha256::digest(&file.bytes));
        let id = digest[..24].to_owned();
        lock(&self.files).entry(id.clone()).or_insert_with(|| file.clone());
        json!({"id": id, "name": file.name, "type": file.content_type, "bytes": file.bytes.len()})
    }

    /// Faults of calls exclude each other; those of webhooks do not.
    pub(crate) fn set_switch(&self, provider: &str, fault: &str, on: bool) {
        let free = ["twice", "late", "reversed"];
        let mut switches = lock(&self.switches);
        if !free.contains(&fault) {
            switches.retain(|(known, name)| known != provider || free.contains(&name.as_str()));
        }
        let key = (provider.to_owned(), fault.to_owned());
        if on {
            switches.insert(key);
        } else {
            switches.remove(&key);
        }
    }
}

pub(crate) fn describe(stage: &Stage, shelf: &Shelf) -> Value {
    let channels: Vec<Value> = Channel::ALL
        .into_iter()
        .map(|channel| {
            let lines: Vec<Value> = stage.phone(channel).iter().map(|line| bubble(line, shelf)).collect();
            json!({"key": channel.key(), "title": channel.title(), "lines": lines})
        })
        .collect();
    let mut conversations: Vec<Conversation> = stage.workspace().conversations();
    conversations
        .sort_by_key(|known| std::cmp::Reverse(known.parts.last().map_or(known.created_at, |part| part.created_at)));
    let conversations: Vec<Value> = conversations
        .iter()
        .map(|known| conversation(stage, known, shelf))
        .collect();
    let switches: Vec<Value> = Fault::SWITCHES
        .iter()
        .chain(&MORE_SWITCHES)
        .map(|(name, label)| json!({"name": name, "label": label}))
        .collect();
    let on: Vec<Value> = lock(&shelf.switches)
        .iter()
        .map(|(provider, fault)| json!([provider, fault]))
        .collect();
    let samples: Vec<Value> = Stage::samples()
        .iter()
        .map(|file| json!({"name": file.name, "type": file.content_type}))
        .collect();
    let violations: Vec<String> = stage.world().violations().iter().map(ToString::to_string).collect();
    json!({"channels": channels, "conversations": conversations, "switches": switches, "on": on, "samples": samples,
        "ledger": ledger(stage), "violations": violations})
}

fn bubble(line: &Line, shelf: &Shelf) -> Value {
    json!({"mine": line.from_customer, "text": line.text, "at": line.at_ms, "answer": line.answer,
        "file": line.file.as_ref().map(|file| shelf.put(file))})
}

fn conversation(stage: &Stage, known: &Conversation, shelf: &Shelf) -> Value {
    let contact = stage.workspace().contact(&known.contact).unwrap_or_default();
    let parts: Vec<Value> = std::iter::once(&known.source)
        .chain(&known.parts)
        .map(|written| part(written, shelf))
        .collect();
    json!({"id": known.id, "state": known.state, "title": known.title, "tags": known.tags, "attributes": known.custom_attributes,
        "contact": {"name": contact["name"], "phone": contact["phone"], "role": contact["role"], "attributes": contact["custom_attributes"]},
        "parts": parts})
}

fn part(written: &Part, shelf: &Shelf) -> Value {
    let text = if written.files.is_empty() {
        written.plain()
    } else {
        words(written)
    };
    let files: Vec<Value> = written.files.iter().map(|file| shelf.put(file)).collect();
    json!({"id": written.id, "kind": written.part_type, "author": written.author.kind, "name": written.author.name,
        "text": text, "files": files, "at": written.created_at * 1000})
}

/// The words of a part without the stand-ins for its files.
fn words(written: &Part) -> String {
    let mut alone = written.clone();
    alone.files.clear();
    alone.plain()
}

fn ledger(stage: &Stage) -> Value {
    let world = stage.world();
    let provider = |key: &str, title: &str, webhooks: &Webhooks, calls: Vec<(String, u16)>| {
        let log = webhooks.log();
        let told: Vec<Value> = log
            .iter()
            .rev()
            .take(LEDGER_LINES)
            .map(|(_, delivered)| json!({"id": delivered.id, "status": delivered.status, "problem": delivered.problem}))
            .collect();
        let last: Vec<Value> = calls
            .iter()
            .rev()
            .take(LEDGER_LINES)
            .map(|(what, status)| json!({"what": what, "status": status}))
            .collect();
        let good = log.iter().filter(|(_, delivered)| delivered.is_good()).count();
        json!({"key": key, "title": title, "webhooks": log.len(), "answered": good, "calls": calls.len(), "told": told, "last": last})
    };
    let telegram = world
        .telegram
        .calls()
        .into_iter()
        .map(|call| (call.method, call.status))
        .collect();
    let whatsapp = world
        .whatsapp
        .calls()
        .into_iter()
        .map(|call| (format!("{} {}", call.method, call.operation), call.status))
        .collect();
    let twilio = world
        .twilio
        .calls()
        .into_iter()
        .map(|call| (format!("{} {}", call.method, call.operation), call.status))
        .collect();
    let intercom = world
        .intercom
        .calls()
        .into_iter()
        .map(|call| (format!("{} {}", call.method, call.operation), call.status))
        .collect();
    json!([
        provider("telegram", "Telegram", world.telegram.webhooks(), telegram),
        provider("whatsapp", "WhatsApp", world.whatsapp.webhooks(), whatsapp),
        provider("sms", "Twilio", world.twilio.webhooks(), twilio),
        provider("intercom", "Intercom", world.intercom.webhooks(), intercom),
    ])
}

/// What a teammate typed, as the inbox's editor would store it.
pub(crate) fn paragraphs(text: &str) -> String {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let lines = escaped.trim().split("\n\n").filter(|paragraph| !paragraph.is_empty());
    lines
        .map(|paragraph| format!("<p>{}</p>", paragraph.replace('\n', "<br>")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_words_never_become_markup() {
        let check = |typed: &str, expected: &str| assert_eq!(paragraphs(typed), expected);
        check(
            "a <b>&\n\"c\"\n\nnext",
            "<p>a &lt;b&gt;&amp;<br>&quot;c&quot;</p><p>next</p>",
        );
        check("  ", "");
    }

    #[test]
    fn faults_of_calls_exclude_each_other() {
        let shelf = Shelf::default();
        shelf.set_switch("telegram", "twice", true);
        shelf.set_switch("telegram", "reset", true);
        shelf.set_switch("telegram", "limit", true);
        let on: Vec<_> = lock(&shelf.switches).iter().map(|(_, fault)| fault.clone()).collect();
        assert_eq!(on, ["limit", "twice"]);
    }
}
