//! What Intercom answers, and the conversations that it remembers for whoever looks for a write.

use std::collections::{HashMap, VecDeque};

use http::Method;
use serde_json::{Value, json};

/// Parts that a conversation remembers: many more than a host has under way in one of them.
const PARTS_MAX: usize = 100;

/// The workspace.
#[derive(Debug, Default)]
pub struct Desk {
    ids: u64,
    conversations: HashMap<String, Conversation>,
    /// By contact.
    of_contact: HashMap<String, Vec<String>>,
}

#[derive(Debug, Default)]
struct Conversation {
    created_at: Value,
    source: Value,
    parts: VecDeque<Value>,
}

impl Desk {
    /// What a call is answered.
    pub fn act(&mut self, method: &Method, path: &str, asked: &Value) -> Value {
        let pieces: Vec<&str> = path.split('/').filter(|piece| !piece.is_empty()).collect();
        match (method.as_str(), pieces.as_slice()) {
            ("GET", ["me"]) => json!({"type": "admin", "id": "1", "name": "Bench", "email": "bench@shop.example",
                "has_inbox_seat": true, "app": {"type": "app", "id_code": "bench123", "name": "Bench", "region": "US"}}),
            ("GET", ["admins"]) => {
                json!({"type": "admin.list", "admins": [{"type": "admin", "id": "1", "name": "Bench",
                "email": "bench@shop.example", "has_inbox_seat": true}]})
            }
            // Nobody is found: every customer of a measurement is new to the inbox.
            ("POST", ["contacts", "search"]) => json!({"type": "list", "data": []}),
            ("POST", ["contacts"]) => {
                json!({"type": "contact", "id": self.id("c"), "role": "lead", "name": asked["name"], "custom_attributes": {}})
            }
            ("POST", ["conversations"]) => self.open(asked),
            ("POST", ["conversations", "search"]) => self.search(asked),
            ("POST", ["conversations", id, "reply"]) => self.append(id, asked),
            ("GET", ["conversations", id]) if *id != "attributes" => self.show(id),
            ("POST", _) => json!({"id": self.id("")}),
            // Lists of attributes.
            ("GET", _) => json!({"type": "list", "data": []}),
            _ => json!({}),
        }
    }

    fn open(&mut self, asked: &Value) -> Value {
        let (message, id) = (self.id(""), self.id(""));
        let contact = asked["from"]["id"].as_str().unwrap_or_default().to_owned();
        let author = json!({"type": "lead", "id": contact});
        let source = json!({"id": message, "body": asked["body"], "created_at": asked["created_at"], "author": author});
        let conversation = Conversation {
            created_at: asked["created_at"].clone(),
            source,
            parts: VecDeque::new(),
        };
        self.conversations.insert(id.clone(), conversation);
        self.of_contact.entry(contact).or_default().push(id.clone());
        json!({"type": "user_message", "id": message, "conversation_id": id, "body": asked["body"]})
    }

    fn append(&mut self, id: &str, asked: &Value) -> Value {
        let author = json!({"type": "lead", "id": asked["intercom_user_id"]});
        let part = json!({"type": "conversation_part", "id": self.id(""), "part_type": "comment",
            "body": asked["body"], "created_at": asked["created_at"], "author": author});
        if let Some(conversation) = self.conversations.get_mut(id) {
            if conversation.parts.len() >= PARTS_MAX {
                conversation.parts.pop_front();
            }
            conversation.parts.push_back(part.clone());
        }
        json!({"type": "conversation", "id": id, "created_at": asked["created_at"],
            "conversation_parts": {"conversation_parts": [part]}})
    }

    fn show(&self, id: &str) -> Value {
        let Some(conversation) = self.conversations.get(id) else {
            return json!({"type": "conversation", "id": id});
        };
        json!({"type": "conversation", "id": id, "created_at": conversation.created_at, "source": conversation.source,
            "conversation_parts": {"conversation_parts": conversation.parts}})
    }

    /// Of one contact. A search for what changed finds nothing: no teammate writes here.
    fn search(&self, asked: &Value) -> Value {
        let terms = asked["query"]["value"].as_array();
        let contact = terms
            .into_iter()
            .flatten()
            .find(|term| term["field"] == "contact_ids")
            .and_then(|term| term["value"].as_str());
        let known = contact.and_then(|contact| self.of_contact.get(contact));
        let found: Vec<Value> = known.into_iter().flatten().map(|id| self.show(id)).collect();
        json!({"type": "conversation.list", "conversations": found})
    }

    fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}{}", 1000 + self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_by_whoever_looks_for_it() {
        let mut desk = Desk::default();
        let opened = desk.act(
            &Method::POST,
            "/conversations",
            &json!({"from": {"id": "c1"}, "body": "first", "created_at": 7}),
        );
        let id = opened["conversation_id"].as_str().unwrap().to_owned();
        let reply = json!({"intercom_user_id": "c1", "body": "second", "created_at": 8});
        desk.act(&Method::POST, &format!("/conversations/{id}/reply"), &reply);
        let query = json!({"query": {"value": [{"field": "contact_ids", "operator": "=", "value": "c1"}]}});
        let found = desk.act(&Method::POST, "/conversations/search", &query);
        assert_eq!(found["conversations"][0]["id"], id.as_str());
        assert_eq!(found["conversations"][0]["source"]["body"], "first");
        let shown = desk.act(&Method::GET, &format!("/conversations/{id}"), &Value::Null);
        let part = &shown["conversation_parts"]["conversation_parts"][0];
        assert_eq!((&part["body"], &part["author"]["id"]), (&json!("second"), &json!("c1")));
    }
}
