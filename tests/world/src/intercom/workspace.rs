//! What a test sees of a workspace, and what happens in it without us.

use std::time::Duration;

use serde_json::{Value, json};

use super::teammate::Teammate;
use super::{Admin, ContactState, Conversation, Region, Workspace, WorkspaceState, people, threads};
use crate::multipart::File;
use crate::scene::random_hex;
use crate::webhooks::Delivered;

impl Workspace {
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn with<T>(&self, then: impl FnOnce(&mut WorkspaceState) -> T) -> Option<T> {
        self.intercom.with_workspace(&self.id, then)
    }

    /// The access token that the Developer Hub shows.
    #[must_use]
    pub fn token(&self) -> String {
        self.with(|state| state.token.clone()).unwrap_or_default()
    }

    /// The app is removed: every call answers 401 from now on.
    pub fn revoke_token(&self) {
        self.with(|state| state.token = format!("revoked-{}", random_hex(12)));
    }

    pub fn set_region(&self, region: Region) {
        self.with(|state| state.region = region);
    }

    /// How far the search index lags behind writes.
    pub fn index_lag(&self, lag: Duration) {
        self.with(|state| state.index_lag_ms = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX));
    }

    /// Requests with more file bytes than this are answered 413.
    pub fn file_limit(&self, bytes: usize) {
        self.with(|state| state.file_bytes_max = bytes);
    }

    pub fn add_admin(&self, id: &str, name: &str, has_inbox_seat: bool) -> Teammate {
        let admin = Admin {
            id: id.to_owned(),
            name: name.to_owned(),
            email: format!("{}@shop.example", name.to_lowercase().replace(' ', ".")),
            has_inbox_seat,
        };
        self.with(|state| state.admins.push(admin));
        self.admin(id)
    }

    /// The teammate leaves the workspace.
    pub fn remove_admin(&self, id: &str) {
        self.with(|state| state.admins.retain(|admin| admin.id != id));
    }

    #[must_use]
    pub fn admin(&self, id: &str) -> Teammate {
        Teammate::new(self.clone(), "admin", id)
    }

    /// A bot of the workspace: Operator, Fin, a workflow.
    #[must_use]
    pub fn bot(&self) -> Teammate {
        Teammate::new(self.clone(), "bot", "5551")
    }

    /// Conversations that were not deleted, oldest first.
    #[must_use]
    pub fn conversations(&self) -> Vec<Conversation> {
        self.with(|state| {
            state
                .conversations
                .values()
                .filter(|known| !known.deleted)
                .cloned()
                .collect()
        })
        .unwrap_or_default()
    }

    #[must_use]
    pub fn conversation(&self, id: &str) -> Option<Conversation> {
        self.with(|state| state.conversations.get(id).cloned()).flatten()
    }

    /// Contacts that are neither merged nor archived, as the API shows them.
    #[must_use]
    pub fn contacts(&self) -> Vec<Value> {
        let alive = |known: &&ContactState| known.merged_into.is_none() && !known.archived;
        self.with(|state| {
            state
                .contacts
                .values()
                .filter(alive)
                .map(|known| known.value.clone())
                .collect()
        })
        .unwrap_or_default()
    }

    #[must_use]
    pub fn contact(&self, id: &str) -> Option<Value> {
        self.with(|state| state.contacts.get(id).map(|known| known.value.clone()))
            .flatten()
    }

    /// A contact that was there before us. Custom attributes in it need not be defined.
    pub fn add_contact(&self, fields: &Value) -> String {
        let now = self.intercom.0.scene.now_ms();
        self.with(|state| people::insert(state, fields, now))
            .unwrap_or_default()
    }

    /// A teammate gives a contact another name.
    pub fn rename_contact(&self, id: &str, name: &str) {
        let now = self.intercom.0.scene.now();
        self.with(|state| {
            if let Some(known) = state.contacts.get_mut(id) {
                known.value["name"] = json!(name);
                known.value["updated_at"] = json!(now);
            }
        });
    }

    /// Somebody archives a contact.
    pub fn archive_contact(&self, id: &str) {
        self.with(|state| {
            if let Some(known) = state.contacts.get_mut(id) {
                known.archived = true;
            }
        });
    }

    /// A teammate merges a lead into a user; conversations move along.
    pub async fn merge_contacts(&self, from: &str, into: &str) -> Option<Delivered> {
        let item = self.with(|state| people::merge(state, from, into)).flatten()?;
        self.intercom.notify(&self.id, "contact.merged", item).await
    }

    /// A contact begins a conversation in Intercom's own messenger. Answers with its id.
    pub async fn begin_conversation(&self, contact: &str, text: &str) -> String {
        let now = self.intercom.0.scene.now();
        let id = self.with(|state| {
            let author = threads::contact_author(state, contact)?;
            let source = threads::part(state, author, "comment", text, now);
            Some(threads::start(state, contact, source, now))
        });
        let id = id.flatten().unwrap_or_default();
        let item = json!({"type": "conversation", "id": id,
            "source": {"id": "1", "author": {"type": "user", "id": contact}}});
        self.intercom.notify(&self.id, "conversation.user.created", item).await;
        id
    }

    /// A teammate deletes a conversation.
    pub async fn delete_conversation(&self, id: &str) -> Option<Delivered> {
        self.with(|state| {
            if let Some(known) = state.conversations.get_mut(id) {
                known.deleted = true;
            }
        });
        let item = json!({"type": "conversation", "id": id, "deleted": true});
        self.intercom.notify(&self.id, "conversation.deleted", item).await
    }

    /// Puts a file where replies can name it in an `<img src>`.
    pub fn host_file(&self, file: &File) -> String {
        let now = self.intercom.0.scene.now_ms();
        self.with(|state| {
            let id = state.keep(file.clone());
            state.address(&id, now)
        })
        .unwrap_or_default()
    }

    /// Names of the contact attributes that were defined by somebody.
    #[must_use]
    pub fn contact_attributes(&self) -> Vec<String> {
        let custom = |list: &[Value]| {
            list.iter()
                .filter(|known| known["custom"] == true)
                .map(|known| known["name"].as_str().unwrap_or("").to_owned())
                .collect()
        };
        self.with(|state| custom(&state.contact_attributes)).unwrap_or_default()
    }

    /// Sends any topic with any item, signed.
    pub async fn notify(&self, topic: &str, item: Value) -> Option<Delivered> {
        self.intercom.notify(&self.id, topic, item).await
    }
}
