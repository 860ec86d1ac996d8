//! Conversations and their parts: opening, appending, notes, labels.

use std::time::Duration;

use http::Method;
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Failure};
use mantle_model::inbound::Person;
use serde_json::{Value, json};

use super::api::{Api, Call, Content, segment};
use super::connect::CONVERSATION_ATTRIBUTE;
use super::files::{body_text, safe_name, with_files};
use super::trouble::Trouble;
use super::voice::{OperatorCache, candidates, is_about_author, nobody};
use super::wire::{Conversation, Done, Message, Part, Tag};
use super::{html, wire};
use crate::{Access, ChannelLabel, InboxError, Opened, Upload, Voice, Written};

/// How far back a message may be dated: the inbox orders by this time, and older ones would vanish upwards.
const BACKDATE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Tries with different authors: the one that was chosen, and one more.
const AUTHORS_MAX: usize = 2;

/// How long a new contact may be unknown to some of Intercom's own parts.
const SETTLING: Duration = Duration::from_secs(60);

fn is_settled(contact: &wire::Contact, now: Time) -> bool {
    now.since(Time::from_unix_seconds(contact.created_at)) > SETTLING
}

/// The provider's time as Intercom takes it: not in the future, not long ago.
pub fn sent_at(at: Time, now: Time) -> Time {
    at.min(now).max(now.before(BACKDATE_MAX))
}

impl Api {
    pub async fn open_conversation(&self, access: &Access, part: crate::Part<'_>) -> Result<Opened, InboxError> {
        let names: Vec<String> = part.files.iter().map(|file| safe_name(&file.name)).collect();
        let body = json!({
            "from": {"type": "contact", "id": part.contact},
            "body": body_text(part.text, &names),
            "created_at": sent_at(part.at, self.now()).unix_seconds(),
        });
        match self
            .ask::<Message>(access, Call::doubling("/conversations", Content::Json(&body)))
            .await
        {
            Ok(message) => Ok(Opened {
                conversation: message.conversation_id,
                part: Some(message.id).filter(|id| !id.is_empty()),
            }),
            Err(Trouble::NotFound(cause)) => {
                let present = self.read_contact(access, part.contact).await?;
                if is_settled(&present, self.now()) {
                    // It can be read and yet takes no messages: archived, or being deleted.
                    return Err(InboxError::ContactGone);
                }
                Err(InboxError::Failure(Failure::Transient(cause)))
            }
            Err(trouble) => Err(trouble.into()),
        }
    }

    pub async fn append(
        &self,
        access: &Access,
        conversation: &str,
        part: crate::Part<'_>,
    ) -> Result<Option<String>, InboxError> {
        let names: Vec<String> = part.files.iter().map(|file| safe_name(&file.name)).collect();
        let text = body_text(part.text, &names);
        let reply = json!({
            "message_type": "comment",
            "type": "user",
            "intercom_user_id": part.contact,
            "body": text,
            "created_at": sent_at(part.at, self.now()).unix_seconds(),
        });
        let body = if part.files.is_empty() {
            Content::Json(&reply)
        } else {
            with_files(&reply, part.files)?
        };
        match self
            .ask::<Conversation>(access, Call::doubling(reply_path(conversation), body))
            .await
        {
            Ok(answer) => Ok(newest(&answer, part.contact, &text)),
            Err(Trouble::NotFound(cause)) => Err(self.what_is_gone(access, conversation, part.contact, &cause).await),
            // Taken out of the conversation by somebody.
            Err(trouble) if trouble.cause().code == "forbidden" => Err(self
                .what_is_gone(access, conversation, part.contact, &trouble.cause())
                .await),
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// A reply met nothing: the conversation, the contact, or only their tie is missing.
    async fn what_is_gone(&self, access: &Access, conversation: &str, contact: &str, cause: &Cause) -> InboxError {
        if cause.code != "conversation_not_found" {
            match self.read_contact(access, contact).await {
                Ok(present) if cause.message.contains("User Not Found") && is_settled(&present, self.now()) => {
                    return InboxError::ContactGone;
                }
                // The contact lives, so it is the conversation, or the contact was taken out of it: either
                // way its next message needs another conversation.
                Ok(_) => {}
                Err(gone) => return gone,
            }
        }
        tracing::debug!(conversation, "A conversation is gone from the inbox");
        InboxError::ConversationGone
    }

    pub async fn read_conversation(&self, access: &Access, conversation: &str) -> Result<Conversation, InboxError> {
        let path = format!("/conversations/{}", segment(conversation));
        match self.ask(access, Call::get(path)).await {
            Ok(found) => Ok(found),
            Err(Trouble::NotFound(_)) => Err(InboxError::ConversationGone),
            Err(trouble) => Err(trouble.into()),
        }
    }

    /// A note or a comment, in the first voice that is accepted. `draft` lacks only the author.
    pub async fn write_as_admin(
        &self,
        access: &Access,
        team: &OperatorCache,
        voice: &Voice,
        draft: Draft<'_>,
    ) -> Result<Written, InboxError> {
        let present = self.read_conversation(access, draft.conversation).await?;
        let operators = team.list(self, access).await?;
        let me = access.facts.get("admin").map(String::as_str);
        let order = candidates(voice, &present.admin_assignee_id, &operators, me);
        let mut files = Some(draft.files).filter(|files| !files.is_empty());
        let mut last = nobody();
        for candidate in order.into_iter().take(AUTHORS_MAX) {
            let mut reply = draft.reply.clone();
            reply["admin_id"] = json!(candidate.id);
            let had_files = files.is_some();
            let body = match files.take() {
                Some(files) => with_files(&reply, files)?,
                None => Content::Json(&reply),
            };
            match self
                .ask::<Conversation>(access, Call::doubling(reply_path(draft.conversation), body))
                .await
            {
                Ok(answer) => {
                    return Ok(Written {
                        part: newest(
                            &answer,
                            &candidate.id,
                            &html::words(draft.reply["body"].as_str().unwrap_or_default()),
                        ),
                        fell_back_to: candidate.stands_in,
                    });
                }
                Err(trouble) if is_about_author(&trouble) => {
                    team.forget(access);
                    last = trouble;
                    if had_files {
                        // The files were streamed and are gone; the caller comes again with fresh ones.
                        return Err(InboxError::Failure(Failure::Transient(last.cause())));
                    }
                }
                Err(Trouble::NotFound(_)) => return Err(InboxError::ConversationGone),
                Err(trouble) => return Err(trouble.into()),
            }
        }
        Err(last.into())
    }

    pub async fn label_conversation(
        &self,
        access: &Access,
        team: &OperatorCache,
        conversation: &str,
        mark: Mark<'_>,
    ) -> Result<(), InboxError> {
        let title = format!("{} {} → {}", mark.label.title, mark.person.label(), mark.label.account);
        let path = format!("/conversations/{}", segment(conversation));
        let full = json!({"title": title, "custom_attributes": {CONVERSATION_ATTRIBUTE: mark.label.title}});
        let marked = match self
            .ask::<Done>(access, Call::harmless(Method::PUT, &path, &full))
            .await
        {
            Ok(_) => true,
            Err(Trouble::NotFound(_)) => return Err(InboxError::ConversationGone),
            Err(trouble) if trouble.is_refusal() => {
                // The attribute is what older workspaces do not have; the title they take.
                quiet(
                    self.ask::<Done>(access, Call::harmless(Method::PUT, &path, &json!({"title": title})))
                        .await,
                )?;
                false
            }
            Err(trouble) => return Err(trouble.into()),
        };
        if mark.tag || !marked {
            quiet(self.tag(access, team, conversation, &mark.label.title).await)?;
        }
        Ok(())
    }

    async fn tag(&self, access: &Access, team: &OperatorCache, conversation: &str, name: &str) -> Result<(), Trouble> {
        let operators = team.list(self, access).await?;
        let me = access.facts.get("admin").map(String::as_str);
        let Some(author) = candidates(&Voice::default(), me.unwrap_or_default(), &operators, me)
            .into_iter()
            .next()
        else {
            return Err(nobody());
        };
        let tag: Tag = self
            .ask(access, Call::harmless(Method::POST, "/tags", &json!({"name": name})))
            .await?;
        let path = format!("/conversations/{}/tags", segment(conversation));
        let body = json!({"id": tag.id, "admin_id": author.id});
        self.ask::<Done>(access, Call::harmless(Method::POST, path, &body))
            .await
            .map(drop)
    }
}

/// A note or comment before its author is known.
pub struct Draft<'a> {
    pub conversation: &'a str,
    pub reply: Value,
    pub files: Vec<Upload>,
}

/// What is shown on a conversation.
pub struct Mark<'a> {
    pub label: &'a ChannelLabel,
    pub person: &'a Person,
    pub tag: bool,
}

/// A mark that is refused is no reason to hold a message back.
fn quiet<T>(result: Result<T, Trouble>) -> Result<(), Trouble> {
    match result {
        Err(trouble) if trouble.is_refusal() => Ok(()),
        other => other.map(drop),
    }
}

fn reply_path(conversation: &str) -> String {
    format!("/conversations/{}/reply", segment(conversation))
}

/// Our part in the answer to a reply: by author and words; a reopening part carries another type, so the type
/// does not count.
fn newest(answer: &Conversation, author: &str, text: &str) -> Option<String> {
    let parts = answer.sorted_parts();
    let mut by_author = parts
        .into_iter()
        .rev()
        .filter(|part| part.author.id == author && !part.id.is_empty());
    let words = html::comparable(text);
    let exact = by_author
        .clone()
        .find(|part: &&Part| html::comparable(&html::words(&part.body)) == words);
    exact.or_else(|| by_author.next()).map(|part| part.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_11_times_are_cut_to_now_and_a_day() {
        let now = Time::from_unix_seconds(1_767_225_600);
        let minute = Duration::from_secs(60);
        assert_eq!(sent_at(now.after(minute), now), now);
        assert_eq!(sent_at(now.before(minute * 40), now), now.before(minute * 40));
        assert_eq!(sent_at(now.before(minute * 60 * 48), now), now.before(minute * 60 * 24));
    }
}
