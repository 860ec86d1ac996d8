//! [`People`] in SQL.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::sql::{Connection, sql};
use async_trait::async_trait;
use mantle_model::ids::{ChannelId, IdentityId, WorkspaceId};
use mantle_model::inbound::Alias;

use super::rows::{self, Of, id_list};
use super::{SqlStore, identities, touch};
use crate::StoreError;
use crate::people::{ContactLink, ConversationOwner, Identity, People, ThreadLink};

#[async_trait]
impl People for SqlStore {
    async fn identity(&self, id: IdentityId) -> Result<Option<Identity>, StoreError> {
        let mut found = all(&mut self.readers.acquire().await?, &[id]).await?;
        Ok(found.remove(&id))
    }

    async fn identity_of(&self, channel: ChannelId, aliases: &[Alias]) -> Result<Option<Identity>, StoreError> {
        let mut connection = self.readers.acquire().await?;
        let owners = identities::owners(&mut connection, channel, aliases).await?;
        match identities::best(aliases, &owners) {
            Some(id) => Ok(all(&mut connection, &[id]).await?.remove(&id)),
            None => Ok(None),
        }
    }

    async fn conversation_owner(
        &self,
        workspace: WorkspaceId,
        conversation: &str,
    ) -> Result<Option<ConversationOwner>, StoreError> {
        let row = sql(r"select identity.id, identity.channel_id,
                     case when identity.thread_workspace = thread.workspace_id
                               and identity.thread_conversation = thread.conversation then 1 else 0 end as current
              from thread join identity on identity.id = thread.identity_id
              where thread.workspace_id = $1 and thread.conversation = $2")
        .bind(workspace.0)
        .bind(conversation.as_bytes())
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let row = Of {
            table: "thread",
            row: &row,
        };
        Ok(Some(ConversationOwner {
            identity: IdentityId(row.int("id")?),
            channel: ChannelId(row.int("channel_id")?),
            current: row.int("current")? != 0,
        }))
    }

    async fn is_own_part(&self, workspace: WorkspaceId, part: &str) -> Result<bool, StoreError> {
        let own = sql(r"select exists (select 1 from own_part where workspace_id = $1 and part = $2)")
            .bind(workspace.0)
            .bind(part.as_bytes())
            .scalar(&self.readers)
            .await?;
        Ok(own)
    }

    async fn relink_contact(&self, workspace: WorkspaceId, from: &str, into: Option<&str>) -> Result<u32, StoreError> {
        let (from, into) = (from.as_bytes().to_vec(), into.map(|into| into.as_bytes().to_vec()));
        self.write(async move |tx: &mut Connection| {
            super::single::moved(tx, workspace, &from, into.as_deref()).await?;
            // The name written to a contact that is gone says nothing about the other one's.
            let moved = sql(r"update identity set contact = $3, written_name = null
                  where contact = $2 and channel_id in (select id from channel where workspace_id = $1)")
            .bind(workspace.0)
            .bind(from.as_slice())
            .bind(into.as_deref())
            .execute(tx)
            .await?;
            Ok(u32::try_from(moved).unwrap_or(u32::MAX))
        })
        .await
    }

    async fn join_aliases(
        &self,
        channel: ChannelId,
        was: &[Alias],
        now: &[Alias],
    ) -> Result<Option<IdentityId>, StoreError> {
        let touches = touch::aliases(channel, was)
            .chain(touch::aliases(channel, now))
            .collect();
        let (was, now, context) = (was.to_vec(), now.to_vec(), self.context.clone());
        self.write_touching(touches, async move |tx: &mut Connection| {
            let before = identities::best(&was, &identities::owners(tx, channel, &was).await?);
            let owners = identities::owners(tx, channel, &now).await?;
            let after = identities::best(&now, &owners);
            let identity = match (before, after) {
                (Some(before), Some(after)) if before != after => {
                    // Ids rise with time: the lower one is the older.
                    let (older, younger) = (before.min(after), before.max(after));
                    join(tx, older, younger).await?;
                    older
                }
                (Some(known), _) | (None, Some(known)) => known,
                (None, None) => return Ok(None),
            };
            let owners = identities::owners(tx, channel, &now).await?;
            identities::add_aliases(tx, (channel, identity), &now, &owners, context.now()).await?;
            Ok(Some(identity))
        })
        .await
    }

    async fn find_identities(&self, channel: Option<ChannelId>, customer: &str) -> Result<Vec<IdentityId>, StoreError> {
        let ids: Vec<i64> = sql(r"select distinct identity_id from alias
              where value = $2 and ($1 is null or channel_id = $1)
              order by identity_id")
        .bind(channel.map(|channel| channel.0))
        .bind(customer.as_bytes())
        .scalars(&self.readers)
        .await?;
        Ok(ids.into_iter().map(IdentityId).collect())
    }
}

/// The identities as known now, by the ids that were asked for: an identity that was joined into another is that one. One
/// question for all: a row for each alias, the newest of each kind first, since an old handle is not how somebody is
/// called.
pub(super) async fn all(
    connection: &mut Connection,
    asked: &[IdentityId],
) -> Result<HashMap<IdentityId, Identity>, StoreError> {
    let mut found: HashMap<IdentityId, Identity> = HashMap::with_capacity(asked.len());
    if asked.is_empty() {
        return Ok(found);
    }
    let rows = sql(
        r"select asked.id as asked_id, identity.id, identity.channel_id, identity.name, identity.language,
                 identity.reach, identity.last_inbound_at, identity.window_closed, identity.contact,
                 identity.written_name, thread.workspace_id, thread.conversation, thread.opened_at,
                 thread.last_part_at, thread.parts, alias.kind, alias.value
          from json_each($1) wanted
          join identity asked on asked.id = wanted.value
          join identity on identity.id = coalesce(asked.joined_into, asked.id)
          left join thread on thread.workspace_id = identity.thread_workspace
                          and thread.conversation = identity.thread_conversation
          left join alias on alias.identity_id = identity.id
          order by asked.id, alias.kind, alias.since desc, alias.value",
    )
    .bind(id_list(asked.iter().map(|identity| identity.0)))
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let row = Of { table: "identity", row };
        let id = IdentityId(row.int("asked_id")?);
        let known = match found.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(identity(row)?),
        };
        if row.get::<Option<i64>>("kind")?.is_some() {
            known.aliases.push(Alias {
                kind: row.case("kind", rows::alias_kind)?,
                value: row.text("value")?,
            });
        }
    }
    Ok(found)
}

/// Without its aliases.
fn identity(row: Of<'_>) -> Result<Identity, StoreError> {
    let id = IdentityId(row.int("id")?);
    let contact = row.text_opt("contact")?;
    let written_name = row.text_opt("written_name")?;
    Ok(Identity {
        id,
        channel: ChannelId(row.int("channel_id")?),
        aliases: Vec::new(),
        name: row.text_opt("name")?,
        language: row.text_opt("language")?,
        reach: row.case("reach", rows::reach)?,
        last_inbound_at: row.time_opt("last_inbound_at")?,
        window_closed: row.int("window_closed")? != 0,
        contact: contact.map(|contact| ContactLink {
            identity: id,
            contact,
            written_name,
        }),
        thread: thread(row, id)?,
    })
}

fn thread(row: Of<'_>, identity: IdentityId) -> Result<Option<ThreadLink>, StoreError> {
    let Some(workspace) = row.get::<Option<i64>>("workspace_id")? else {
        return Ok(None);
    };
    Ok(Some(ThreadLink {
        identity,
        workspace: WorkspaceId(workspace),
        conversation: row.text("conversation")?,
        opened_at: row.time("opened_at")?,
        last_part_at: row.time("last_part_at")?,
        parts: row.count("parts")?,
    }))
}

/// Everything of the younger identity becomes the older one's; what only the younger knows is kept. Its id still
/// leads to the older one, since payloads and chores in the queue name it.
async fn join(tx: &mut Connection, older: IdentityId, younger: IdentityId) -> Result<(), StoreError> {
    sql(r"update alias set identity_id = $1 where identity_id = $2;
          update lane set identity_id = $1 where identity_id = $2;
          update thread set identity_id = $1 where identity_id = $2;
          update identity as older
          set name = coalesce(older.name, younger.name),
              language = coalesce(older.language, younger.language),
              last_inbound_at = nullif(max(coalesce(older.last_inbound_at, 0),
                                           coalesce(younger.last_inbound_at, 0)), 0),
              window_closed = min(older.window_closed, younger.window_closed),
              contact = coalesce(older.contact, younger.contact),
              written_name = case when older.contact is null then younger.written_name else older.written_name end,
              thread_workspace = coalesce(older.thread_workspace, younger.thread_workspace),
              thread_conversation = coalesce(older.thread_conversation, younger.thread_conversation)
          from identity as younger
          where older.id = $1 and younger.id = $2;
          update identity set joined_into = $1 where id = $2 or joined_into = $2")
    .bind(older.0)
    .bind(younger.0)
    .execute(tx)
    .await?;
    Ok(())
}
