//! Identities, contacts, conversations.

use async_trait::async_trait;
use mantle_model::ids::{ChannelId, IdentityId, WorkspaceId};
use mantle_model::inbound::{Alias, Reach};
use mantle_store::StoreError;
use mantle_store::people::{ContactLink, ConversationOwner, Identity, People};

use super::{Memory, MemoryStore};

#[async_trait]
impl People for MemoryStore {
    async fn identity(&self, id: IdentityId) -> Result<Option<Identity>, StoreError> {
        self.transact(move |memory, _| Ok(memory.present(id).and_then(|id| memory.identity(id))))
            .await
    }

    async fn identity_of(&self, channel: ChannelId, aliases: &[Alias]) -> Result<Option<Identity>, StoreError> {
        let aliases = aliases.to_vec();
        self.transact(move |memory, _| Ok(memory.named(channel, &aliases).and_then(|id| memory.identity(id))))
            .await
    }

    async fn conversation_owner(
        &self,
        workspace: WorkspaceId,
        conversation: &str,
    ) -> Result<Option<ConversationOwner>, StoreError> {
        let place = (workspace, conversation.to_owned());
        self.transact(move |memory, _| {
            let Some(thread) = memory.threads.get(&place) else {
                return Ok(None);
            };
            let Some(identity) = memory.identity(thread.identity) else {
                return Ok(None);
            };
            let current = identity.thread.is_some_and(|now| now.conversation == place.1);
            Ok(Some(ConversationOwner {
                identity: identity.id,
                channel: identity.channel,
                current,
            }))
        })
        .await
    }

    async fn is_own_part(&self, workspace: WorkspaceId, part: &str) -> Result<bool, StoreError> {
        let part = (workspace, part.to_owned());
        self.transact(move |memory, _| Ok(memory.own_parts.contains(&part)))
            .await
    }

    async fn relink_contact(&self, workspace: WorkspaceId, from: &str, into: Option<&str>) -> Result<u32, StoreError> {
        let (from, into) = (from.to_owned(), into.map(str::to_owned));
        self.transact(move |memory, _| {
            memory.moved(workspace, &from, into.as_deref());
            let Memory { people, channels, .. } = memory;
            let mut moved = 0;
            for (id, person) in people.iter_mut() {
                let here = person.channel.and_then(|channel| channels.get(&channel));
                let here = here.is_some_and(|channel| channel.workspace == workspace);
                if here && person.contact.as_ref().is_some_and(|link| link.contact == from) {
                    person.contact = into.clone().map(|contact| ContactLink {
                        identity: *id,
                        contact,
                        written_name: None,
                    });
                    moved += 1;
                }
            }
            Ok(moved)
        })
        .await
    }

    async fn join_aliases(
        &self,
        channel: ChannelId,
        was: &[Alias],
        now: &[Alias],
    ) -> Result<Option<IdentityId>, StoreError> {
        let (was, now) = (was.to_vec(), now.to_vec());
        self.transact(move |memory, _| {
            let identity = match (memory.named(channel, &was), memory.named(channel, &now)) {
                (Some(before), Some(after)) if before != after => {
                    let (older, younger) = (before.min(after), before.max(after));
                    memory.join(older, younger);
                    older
                }
                (Some(known), _) | (None, Some(known)) => known,
                (None, None) => return Ok(None),
            };
            memory.add_aliases(channel, identity, &now);
            Ok(Some(identity))
        })
        .await
    }

    async fn find_identities(&self, channel: Option<ChannelId>, customer: &str) -> Result<Vec<IdentityId>, StoreError> {
        let customer = customer.to_owned();
        self.transact(move |memory, _| {
            let named = memory
                .aliases
                .iter()
                .filter(|((on, alias), _)| alias.value == customer && channel.is_none_or(|channel| channel == *on));
            let mut found: Vec<IdentityId> = named.map(|(_, identity)| *identity).collect();
            found.sort();
            found.dedup();
            Ok(found)
        })
        .await
    }
}

impl Memory {
    pub(super) fn identity(&self, id: IdentityId) -> Option<Identity> {
        let person = self.people.get(&id)?;
        let aliases = self.aliases.iter().filter(|(_, owner)| **owner == id);
        let mut aliases: Vec<Alias> = aliases.map(|((_, alias), _)| alias.clone()).collect();
        aliases.sort_by_key(|alias| alias.kind);
        Some(Identity {
            id,
            channel: person.channel?,
            aliases,
            name: person.name.clone(),
            language: person.language.clone(),
            reach: person.reach.map_or(Reach::Reachable, |(reach, _)| reach),
            last_inbound_at: person.last_inbound_at,
            window_closed: person.window_closed,
            contact: person.contact.clone(),
            thread: person
                .thread
                .as_ref()
                .and_then(|place| self.threads.get(place))
                .cloned(),
        })
    }

    fn join(&mut self, older: IdentityId, younger: IdentityId) {
        let Some(gone) = self.people.get_mut(&younger) else {
            return;
        };
        gone.joined_into = Some(older);
        let (contact, thread, at) = (gone.contact.take(), gone.thread.take(), gone.last_inbound_at);
        if let Some(stays) = self.people.get_mut(&older) {
            stays.contact = stays.contact.take().or(contact);
            stays.thread = stays.thread.take().or(thread);
            stays.last_inbound_at = stays.last_inbound_at.max(at);
        }
        self.aliases
            .values_mut()
            .filter(|owner| **owner == younger)
            .for_each(|owner| *owner = older);
        for lane in self.lanes.values_mut().filter(|lane| lane.identity == Some(younger)) {
            lane.identity = Some(older);
        }
        for thread in self.threads.values_mut().filter(|thread| thread.identity == younger) {
            thread.identity = older;
        }
    }
}
