//! Looks for a write whose outcome is unknown.
//!
//! What is compared is a multiset: equal author, words, time and files. If more equal ones are there than we know
//! to have arrived, ours arrived; two honest "ok" in one second stay two. What was written as the team has an author
//! and a time of the inbox's choosing: there anybody of the team counts, from the announcement on.

use std::time::Duration;

use http::Method;
use mantle_model::clock::Time;
use serde_json::json;

use super::api::{Api, Call};
use super::conversations::sent_at;
use super::files::{body_text, safe_name};
use super::html;
use super::wire::{Conversations, Part};
use crate::{Access, InboxError, Opened, Trail};

/// The newest conversations of a contact that are looked at.
const CONVERSATIONS_MAX: u8 = 50;
/// Search rounds dates; a margin of two days finds what lies on the edge.
const SEARCH_MARGIN_SECONDS: i64 = 2 * 24 * 60 * 60;
/// How far the inbox's clock may be behind ours: a note has the inbox's time, and an older equal one is not it.
const CLOCKS_APART: Duration = Duration::from_secs(5);

/// What an arrived write looks like.
struct Wanted<'a> {
    /// None: anybody of the team.
    contact: Option<&'a str>,
    /// The contact's words as they are; the team's as they are, and what is left of them if they are HTML.
    words: Vec<String>,
    files: Vec<String>,
    /// None: the time that was sent was cut, and nobody knows to what.
    at: Option<i64>,
    not_before: i64,
}

impl<'a> Wanted<'a> {
    fn new(trail: &'a Trail, now: Time) -> Self {
        let mut files: Vec<String> = trail.files.iter().map(|name| safe_name(name)).collect();
        let text = body_text(&trail.text, &files);
        let mut words = vec![html::comparable(&text)];
        files.sort();
        if trail.as_team {
            words.push(html::comparable(&html::words(&text)));
            return Self {
                contact: None,
                words,
                files,
                at: None,
                not_before: trail.at.min(now).before(CLOCKS_APART).unix_seconds(),
            };
        }
        let was_cut = sent_at(trail.at, now) != trail.at;
        Self {
            contact: Some(&trail.contact),
            words,
            files,
            at: (!was_cut).then(|| trail.at.unix_seconds()),
            not_before: trail.at.min(now).unix_seconds(),
        }
    }

    fn is_by_words(&self, part: &Part) -> bool {
        let author = match self.contact {
            Some(contact) => part.author.id == contact,
            None => part.author.r#type == "admin",
        };
        author && self.words.contains(&html::comparable(&html::words(&part.body)))
    }

    fn is(&self, part: &Part) -> bool {
        let time = match self.at {
            Some(at) => part.created_at == at,
            None => part.created_at >= self.not_before,
        };
        let mut files: Vec<String> = part.attachments.iter().map(|file| safe_name(&file.name)).collect();
        files.sort();
        time && files == self.files && self.is_by_words(part)
    }
}

impl Api {
    pub async fn locate(&self, access: &Access, trail: &Trail) -> Result<Option<Opened>, InboxError> {
        let wanted = Wanted::new(trail, self.now());
        match &trail.conversation {
            Some(conversation) => self.locate_part(access, conversation, &wanted, trail.known_equal).await,
            None => self.locate_opening(access, &wanted, trail).await,
        }
    }

    async fn locate_part(
        &self,
        access: &Access,
        conversation: &str,
        wanted: &Wanted<'_>,
        known_equal: u32,
    ) -> Result<Option<Opened>, InboxError> {
        let present = self.read_conversation(access, conversation).await?;
        let equal = present.sorted_parts().into_iter().filter(|part| wanted.is(part));
        Ok(equal.into_iter().nth(known_equal as usize).map(|part| Opened {
            conversation: conversation.to_owned(),
            part: Some(part.id.clone()),
        }))
    }

    /// The first message has neither files nor, in every version, a time of its own: the conversation's is taken.
    async fn locate_opening(
        &self,
        access: &Access,
        wanted: &Wanted<'_>,
        trail: &Trail,
    ) -> Result<Option<Opened>, InboxError> {
        let body = json!({
            "query": {"operator": "AND", "value": [
                {"field": "contact_ids", "operator": "=", "value": wanted.contact},
                {"field": "created_at", "operator": ">", "value": wanted.not_before - SEARCH_MARGIN_SECONDS},
            ]},
            "pagination": {"per_page": CONVERSATIONS_MAX},
        });
        let call = Call::harmless(Method::POST, "/conversations/search", &body);
        let mut found: Conversations = self.ask(access, call).await?;
        found.conversations.sort_by_key(|conversation| conversation.created_at);
        let open = found.conversations.into_iter();
        let open = open.filter(|conversation| !trail.except.contains(&conversation.id));
        let equal = open.filter_map(|conversation| {
            let source = conversation.source.filter(|source| wanted.is_by_words(source))?;
            (conversation.created_at.max(source.created_at) >= wanted.not_before).then_some(Opened {
                conversation: conversation.id,
                part: Some(source.id).filter(|id| !id.is_empty()),
            })
        });
        Ok(equal.into_iter().nth(trail.known_equal as usize))
    }
}
