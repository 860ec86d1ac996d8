//! What was written while no webhook reached us: conversations that changed, and the words in them.

use http::Method;
use mantle_model::clock::Time;
use serde_json::json;

use super::api::{Api, Call};
use super::trouble::Trouble;
use super::webhook;
use super::wire::Conversations;
use crate::{Access, Changed, ChangedConversation, InboxError, InboxEvent};

/// The most that one page holds (search of conversations, 2.16).
const PAGE: u8 = 150;
/// Some searches match dates by the day in the workspace's time zone and begin with the next one; asking for a day
/// more finds all of the day that is meant, whichever way this one counts.
const SEARCH_MARGIN_SECONDS: i64 = 24 * 60 * 60;

impl Api {
    pub async fn changed_conversations(
        &self,
        access: &Access,
        since: Time,
        page: Option<&str>,
    ) -> Result<Changed, Trouble> {
        let from = since.unix_seconds() - SEARCH_MARGIN_SECONDS;
        let mut body = json!({
            "query": {"operator": "AND", "value": [{"field": "updated_at", "operator": ">", "value": from}]},
            "pagination": {"per_page": PAGE},
        });
        if let Some(page) = page {
            body["pagination"]["starting_after"] = json!(page);
        }
        let call = Call::harmless(Method::POST, "/conversations/search", &body);
        let found: Conversations = self.ask(access, call).await?;
        let conversations = found
            .conversations
            .into_iter()
            .map(|conversation| ChangedConversation {
                id: conversation.id,
                at: Time::from_unix_seconds(conversation.updated_at),
            })
            // The answer has full seconds, whatever the search made of the date.
            .filter(|changed| changed.at.unix_seconds() >= since.unix_seconds())
            .collect();
        Ok(Changed {
            conversations,
            next: found.pages.next.map(|next| next.starting_after),
        })
    }

    /// The first message is not among them: conversations of ours begin with the customer's words or our own.
    pub async fn told_in(
        &self,
        access: &Access,
        platform_id: &str,
        conversation: &str,
    ) -> Result<Vec<InboxEvent>, InboxError> {
        let present = self.read_conversation(access, conversation).await?;
        let changed_at = Time::from_unix_seconds(present.updated_at);
        let parts = present.sorted_parts().into_iter();
        Ok(parts
            .filter_map(|part| webhook::told(platform_id, conversation, part, changed_at))
            .collect())
    }
}
