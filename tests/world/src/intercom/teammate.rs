//! What teammates and bots do in the inbox, each told to the app by webhook.

use super::conversation::{Author, Part};
use super::threads;
use super::{Workspace, WorkspaceState};
use crate::multipart::File;
use crate::webhooks::Delivered;

/// A part written in the inbox and what became of its webhook.
#[derive(Debug, Clone)]
pub struct Replied {
    pub part: String,
    /// None: the app has no webhook for it.
    pub delivered: Option<Delivered>,
}

/// A person or bot that writes in the inbox. Cheap to copy.
#[derive(Clone)]
pub struct Teammate {
    workspace: Workspace,
    kind: &'static str,
    id: String,
}

impl Teammate {
    pub(super) fn new(workspace: Workspace, kind: &'static str, id: &str) -> Self {
        Self {
            workspace,
            kind,
            id: id.to_owned(),
        }
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn author(&self, state: &WorkspaceState) -> Author {
        let known = state.admins.iter().find(|admin| admin.id == self.id);
        Author {
            kind: self.kind.to_owned(),
            id: self.id.clone(),
            name: known.map_or_else(|| "Operator".to_owned(), |admin| admin.name.clone()),
        }
    }

    /// Sends HTML and files to the customer.
    pub async fn replies(&self, conversation: &str, html: &str, files: &[File]) -> Replied {
        let topic = if self.kind == "bot" {
            "conversation.operator.replied"
        } else {
            "conversation.admin.replied"
        };
        self.writes(conversation, "comment", (html, files), topic).await
    }

    pub async fn notes(&self, conversation: &str, html: &str) -> Replied {
        self.writes(conversation, "note", (html, &[]), "conversation.admin.noted")
            .await
    }

    /// Closes; words make it "send and close".
    pub async fn closes(&self, conversation: &str, html: &str) -> Replied {
        self.writes(conversation, "close", (html, &[]), "conversation.admin.closed")
            .await
    }

    pub async fn reopens(&self, conversation: &str) -> Replied {
        self.writes(conversation, "open", ("", &[]), "conversation.admin.opened")
            .await
    }

    pub async fn snoozes(&self, conversation: &str) -> Replied {
        self.writes(conversation, "snoozed", ("", &[]), "conversation.admin.snoozed")
            .await
    }

    /// None: nobody any more.
    pub async fn assigns(&self, conversation: &str, to: Option<&str>) -> Replied {
        let to = to.map(str::to_owned);
        self.workspace
            .with(|state| threads::change_state(state, conversation, "assignment", to, false));
        self.writes(conversation, "assignment", ("", &[]), "conversation.admin.assigned")
            .await
    }

    /// Assigns to a team, with nobody of it.
    pub async fn assigns_team(&self, conversation: &str, team: &str) -> Replied {
        self.workspace
            .with(|state| threads::change_state(state, conversation, "assignment", Some(team.to_owned()), true));
        self.writes(conversation, "assignment", ("", &[]), "conversation.admin.assigned")
            .await
    }

    /// The customer writes in Intercom's own messenger, not on the channel.
    pub async fn customer_writes_in_messenger(&self, conversation: &str, text: &str) -> Replied {
        self.told(conversation, "conversation.user.replied", |state, now_ms| {
            let contact = state.conversations.get(conversation)?.contact.clone();
            let role = state.contacts.get(&contact)?.value["role"]
                .as_str()
                .unwrap_or("user")
                .to_owned();
            let author = Author {
                kind: role,
                id: contact,
                name: String::new(),
            };
            Some(threads::part(state, author, "comment", text, now_ms / 1000))
        })
        .await
    }

    async fn writes(
        &self,
        conversation: &str,
        kind: &str,
        (html, files): (&str, &[File]),
        topic: &'static str,
    ) -> Replied {
        self.told(conversation, topic, |state, now_ms| {
            let author = self.author(state);
            let mut written = threads::part(state, author, kind, html, now_ms / 1000);
            threads::attach(state, &mut written, files.to_vec());
            if ["close", "open", "snoozed"].contains(&kind) {
                threads::change_state(state, conversation, kind, None, false);
            }
            Some(written)
        })
        .await
    }

    async fn told(
        &self,
        conversation: &str,
        topic: &'static str,
        write: impl FnOnce(&mut WorkspaceState, i64) -> Option<Part>,
    ) -> Replied {
        let now_ms = self.workspace.intercom.0.scene.now_ms();
        let done = self.workspace.with(|state| {
            state.conversations.get(conversation)?;
            let part = write(state, now_ms)?;
            let id = part.id.clone();
            let (_, item) = threads::append(state, conversation, part, now_ms);
            Some((id, item))
        });
        let Some((part, item)) = done.flatten() else {
            return Replied {
                part: String::new(),
                delivered: None,
            };
        };
        let delivered = self.workspace.intercom.notify(&self.workspace.id, topic, item).await;
        Replied { part, delivered }
    }
}
