//! What people, contacts, conversations and parts have to do with each other.

use crate::sql::{Connection, Given, over, sql};
use mantle_model::clock::Time;
use mantle_model::ids::IdentityId;
use mantle_model::inbound::Reach;

use super::super::identities;
use super::super::rows::{Of, bytes, day, reach_number};
use super::Place;
use crate::people::{ContactLink, ThreadLink};
use crate::{Conflict, StoreError};

pub(super) async fn link_contacts(tx: &mut Connection, links: &[&ContactLink]) -> Result<(), StoreError> {
    let identities = present_or_missing(tx, links.iter().map(|link| link.identity)).await?;
    let given = Given::rows(links.len())
        .ints(identities.iter().map(|identity| identity.0))
        .bytes(links.iter().map(|link| link.contact.as_bytes()))
        .bytes(links.iter().map(|link| bytes(link.written_name.as_deref())));
    over(
        r"with given (id, contact, written_name) as ({rows})
          update identity set contact = given.contact, written_name = given.written_name
          from given where identity.id = given.id",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A conversation never moves from one person to another: two who said the same in the same second, one of them with a
/// lost answer, would else share one.
pub(super) async fn link_threads(tx: &mut Connection, links: &[&ThreadLink]) -> Result<(), StoreError> {
    if tx.is_postgres() && linked_at_once(tx, links).await? {
        return Ok(());
    }
    let identities = present_or_missing(tx, links.iter().map(|link| link.identity)).await?;
    let given = Given::rows(links.len())
        .ints(links.iter().map(|link| link.workspace.0))
        .bytes(links.iter().map(|link| link.conversation.as_bytes()))
        .ints(identities.iter().map(|identity| identity.0))
        .ints(links.iter().map(|link| link.opened_at.unix_ms()))
        .ints(links.iter().map(|link| link.last_part_at.unix_ms()))
        .ints(links.iter().map(|link| i64::from(link.parts)));
    let rows = over(
        r"with given (workspace_id, conversation, identity_id, opened_at, last_part_at, parts) as ({rows})
          insert into thread (workspace_id, conversation, identity_id, opened_at, last_part_at, parts)
          select workspace_id, conversation, identity_id, opened_at, last_part_at, parts from given where true
          on conflict (workspace_id, conversation) do update
          set opened_at = excluded.opened_at, last_part_at = excluded.last_part_at, parts = excluded.parts
          returning workspace_id, conversation, identity_id",
        given,
    )
    .fetch_all(&mut *tx)
    .await?;
    for row in &rows {
        let row = Of { table: "thread", row };
        let (workspace, conversation, owner) = (
            row.int("workspace_id")?,
            row.text("conversation")?,
            IdentityId(row.int("identity_id")?),
        );
        let is_it = |link: &&ThreadLink| link.workspace.0 == workspace && link.conversation == conversation;
        let place = links.iter().position(is_it).ok_or_else(|| row.wrong("conversation"))?;
        if identities[place] != owner {
            return Err(StoreError::Conflict(Conflict::Conversation { by: owner }));
        }
    }
    let given = Given::rows(links.len())
        .ints(identities.iter().map(|identity| identity.0))
        .ints(links.iter().map(|link| link.workspace.0))
        .bytes(links.iter().map(|link| link.conversation.as_bytes()));
    over(
        r"with given (id, workspace_id, conversation) as ({rows})
          update identity set thread_workspace = given.workspace_id, thread_conversation = given.conversation
          from given
          where identity.id = given.id
            and (identity.thread_workspace is distinct from given.workspace_id
              or identity.thread_conversation is distinct from given.conversation)",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The same in one trip to a server. False where somebody is not there or a conversation is another's: what had been
/// written of the others is written again.
async fn linked_at_once(tx: &mut Connection, links: &[&ThreadLink]) -> Result<bool, StoreError> {
    if links.is_empty() {
        return Ok(true);
    }
    let given = Given::rows(links.len())
        .ints(links.iter().map(|link| link.workspace.0))
        .bytes(links.iter().map(|link| link.conversation.as_bytes()))
        .ints(links.iter().map(|link| link.identity.0))
        .ints(links.iter().map(|link| link.opened_at.unix_ms()))
        .ints(links.iter().map(|link| link.last_part_at.unix_ms()))
        .ints(links.iter().map(|link| i64::from(link.parts)));
    let linked: i64 = over(
        r"with given (workspace_id, conversation, identity_id, opened_at, last_part_at, parts) as ({rows}),
               linked as (
                   insert into thread (workspace_id, conversation, identity_id, opened_at, last_part_at, parts)
                   select given.workspace_id, given.conversation, coalesce(identity.joined_into, identity.id),
                          given.opened_at, given.last_part_at, given.parts
                   from given join identity on identity.id = given.identity_id
                   on conflict (workspace_id, conversation) do update
                   set opened_at = excluded.opened_at, last_part_at = excluded.last_part_at, parts = excluded.parts
                   where thread.identity_id = excluded.identity_id
                   returning workspace_id, conversation, identity_id),
               present as (
                   update identity set thread_workspace = linked.workspace_id, thread_conversation = linked.conversation
                   from linked
                   where identity.id = linked.identity_id
                     and (identity.thread_workspace is distinct from linked.workspace_id
                       or identity.thread_conversation is distinct from linked.conversation))
          select count(*) from linked",
        given,
    )
    .scalar(tx)
    .await?;
    Ok(usize::try_from(linked).is_ok_and(|linked| linked == links.len()))
}

/// Whoever the identities are now, in their order.
async fn present_or_missing(
    tx: &mut Connection,
    identities: impl Iterator<Item = IdentityId>,
) -> Result<Vec<IdentityId>, StoreError> {
    let asked: Vec<IdentityId> = identities.collect();
    let present = identities::all_present(tx, &asked).await?;
    asked
        .iter()
        .map(|identity| present.get(identity).copied())
        .collect::<Option<Vec<_>>>()
        .ok_or(StoreError::NotFound("identity"))
}

/// A channel that is not there has no workspace, which the row must have.
pub(super) async fn own_parts(tx: &mut Connection, parts: &[(Place, &str)], now: Time) -> Result<(), StoreError> {
    let given = Given::rows(parts.len())
        .ints(parts.iter().map(|(place, _)| place.channel.0))
        .bytes(parts.iter().map(|(_, part)| part.as_bytes()))
        .ints(parts.iter().map(|_| day(now)));
    over(
        r"with given (channel_id, part, day) as ({rows})
          insert into own_part (workspace_id, part, day)
          select channel.workspace_id, given.part, given.day
          from given left join channel on channel.id = given.channel_id where true
          on conflict (workspace_id, part) do nothing",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// By the provider's time: an older word that comes late does not undo a newer one.
pub(super) async fn set_reach(
    tx: &mut Connection,
    identity: IdentityId,
    reach: Reach,
    at: Time,
) -> Result<(), StoreError> {
    let identity = identities::present(tx, identity)
        .await?
        .ok_or(StoreError::NotFound("identity"))?;
    sql(r"update identity set reach = $2, reach_at = $3 where id = $1 and reach_at <= $3")
        .bind(identity.0)
        .bind(reach_number(reach))
        .bind(at.unix_ms())
        .execute(tx)
        .await?;
    Ok(())
}
