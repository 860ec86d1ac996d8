//! A conversation and its parts, and how the API and the webhooks show them.

use serde_json::{Map, Value, json};

use super::WorkspaceState;
use crate::multipart::File;

/// Older parts are not shown.
const PARTS_SHOWN_MAX: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// `user`, `lead`, `admin`, `bot`
    pub kind: String,
    pub id: String,
    pub name: String,
}

/// One part, or the first message.
#[derive(Debug, Clone)]
pub struct Part {
    pub id: String,
    /// `comment`, `note`, `open`, `close`, `assignment` …
    pub part_type: String,
    /// As it was written: plain text from a contact, HTML from a teammate.
    pub body: String,
    pub author: Author,
    pub created_at: i64,
    pub files: Vec<File>,
    /// Set when the part was written over the API.
    pub app_package_code: Option<String>,
    pub redacted: bool,
    pub(super) file_ids: Vec<String>,
}

impl Part {
    fn is_plain(&self) -> bool {
        self.author.kind != "admin" && self.author.kind != "bot"
    }

    /// The body as `GET` shows it.
    #[must_use]
    pub fn html(&self) -> String {
        if self.body.is_empty() || !self.is_plain() {
            return self.body.clone();
        }
        let escaped = self
            .body
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        format!("<p>{}</p>", escaped.replace('\n', "<br>"))
    }

    /// The body as webhooks show it: without markup, pictures and files as stand-ins.
    #[must_use]
    pub fn plain(&self) -> String {
        let mut text = if self.is_plain() {
            self.body.clone()
        } else {
            strip(&self.body)
        };
        for file in &self.files {
            let word = if file.content_type.starts_with("image/") {
                "[Image]"
            } else {
                "[Attachment]"
            };
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    fn author_json(&self) -> Value {
        json!({"type": self.author.kind, "id": self.author.id, "name": self.author.name, "email": null,
            "from_ai_agent": false, "is_ai_answer": false})
    }

    fn attachments(&self, state: &mut WorkspaceState, now_ms: i64) -> Value {
        let ids: Vec<(String, File)> = self.file_ids.iter().cloned().zip(self.files.iter().cloned()).collect();
        let shown = ids.into_iter().map(|(id, file)| {
            json!({"type": "upload", "name": file.name, "url": state.address(&id, now_ms), "content_type": file.content_type,
                "filesize": file.bytes.len(), "width": null, "height": null})
        });
        Value::Array(shown.collect())
    }

    pub(super) fn json(&self, state: &mut WorkspaceState, now_ms: i64, plain: bool) -> Value {
        let body = if self.body.is_empty() && self.files.is_empty() {
            Value::Null
        } else {
            json!(if plain { self.plain() } else { self.html() })
        };
        json!({"type": "conversation_part", "id": self.id, "part_type": self.part_type, "body": body,
            "created_at": self.created_at, "updated_at": self.created_at, "notified_at": self.created_at, "assigned_to": null,
            "author": self.author_json(), "attachments": self.attachments(state, now_ms), "external_id": null,
            "redacted": self.redacted, "app_package_code": self.app_package_code})
    }
}

#[derive(Debug, Clone)]
pub struct Conversation {
    pub id: String,
    pub contact: String,
    /// `open`, `closed`, `snoozed`
    pub state: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub title: Option<String>,
    pub custom_attributes: Map<String, Value>,
    /// Names.
    pub tags: Vec<String>,
    pub admin_assignee: Option<String>,
    pub team_assignee: Option<String>,
    pub read: bool,
    /// The first message; not repeated among the parts.
    pub source: Part,
    pub parts: Vec<Part>,
    pub deleted: bool,
}

impl Conversation {
    /// What the customer wrote: first message and parts, oldest first.
    #[must_use]
    pub fn from_customer(&self) -> Vec<Part> {
        let all = std::iter::once(&self.source).chain(&self.parts);
        all.filter(|part| part.is_plain()).cloned().collect()
    }

    #[must_use]
    pub fn notes(&self) -> Vec<Part> {
        self.parts
            .iter()
            .filter(|part| part.part_type == "note")
            .cloned()
            .collect()
    }

    /// Conversation, without its parts.
    pub(super) fn json(&self, state: &mut WorkspaceState, now_ms: i64, plain: bool) -> Value {
        let contact = state
            .contacts
            .get(&self.contact)
            .map(|known| known.value.clone())
            .unwrap_or_default();
        let tag_ids: Vec<Value> = state
            .tags
            .iter()
            .filter(|(_, name)| self.tags.contains(name))
            .map(|(id, name)| json!({"type": "tag", "id": id, "name": name}))
            .collect();
        let number = |id: &Option<String>| id.as_ref().and_then(|id| id.parse::<i64>().ok());
        let source = &self.source;
        let customers = source.is_plain();
        json!({"type": "conversation", "id": self.id, "created_at": self.created_at, "updated_at": self.updated_at,
            "waiting_since": null, "snoozed_until": null, "open": self.state == "open", "state": self.state, "read": self.read,
            "priority": "not_priority", "admin_assignee_id": number(&self.admin_assignee), "team_assignee_id": number(&self.team_assignee),
            "title": self.title, "tags": {"type": "tag.list", "tags": tag_ids}, "custom_attributes": self.custom_attributes,
            "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": self.contact, "external_id": contact["external_id"]}]},
            "teammates": {"type": "admin.list", "teammates": []},
            "source": {"type": "conversation", "id": source.id, "delivered_as": if customers { "customer_initiated" } else { "admin_initiated" },
                "subject": "", "body": if plain { source.plain() } else { source.html() }, "author": source.author_json(),
                "attachments": source.attachments(state, now_ms), "url": null, "redacted": source.redacted}})
    }

    /// Conversation with these parts.
    pub(super) fn with_parts(&self, state: &mut WorkspaceState, parts: &[Part], now_ms: i64, plain: bool) -> Value {
        let newest = &parts[parts.len().saturating_sub(PARTS_SHOWN_MAX)..];
        let shown: Vec<Value> = newest.iter().map(|part| part.json(state, now_ms, plain)).collect();
        let mut value = self.json(state, now_ms, plain);
        value["conversation_parts"] =
            json!({"type": "conversation_part.list", "conversation_parts": shown, "total_count": parts.len()});
        value
    }
}

/// Text of an HTML fragment, blocks on lines of their own, pictures as `[Image]`.
pub(super) fn strip(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('>') else { break };
        let tag = rest[open + 1..open + close].to_lowercase();
        if tag.starts_with("img") {
            text.push_str("[Image]");
        } else if (tag.starts_with("br") || tag.starts_with("/p") || tag.starts_with("/li") || tag.starts_with("/h"))
            && !text.ends_with('\n')
        {
            text.push('\n');
        }
        rest = &rest[open + close + 1..];
    }
    if !rest.starts_with('<') {
        text.push_str(rest);
    }
    let decoded = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&nbsp;", " ");
    decoded.replace("&amp;", "&").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn webhook_bodies_are_plain_text_with_stand_ins() {
        let check = |html: &str, expected: &str| assert_eq!(strip(html), expected);
        check("<p>Yes, <b>blue</b> is in stock.</p>", "Yes, blue is in stock.");
        check("<p>a &amp; b &lt;c&gt;</p><p>next</p>", "a & b <c>\nnext");
        check("<p>look</p><img src=\"https://x/y.png\">", "look\n[Image]");
    }
}
