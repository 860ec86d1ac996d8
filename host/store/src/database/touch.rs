//! What a job touches, so that hosts which touch the same wait for one another in one order.
//!
//! Rows of one customer are touched together: identity, lanes of both directions, aliases. Whoever arrives for the
//! first time has no identity yet, so its aliases stand for it. Only PostgreSQL asks; SQLite has one writer.

use mantle_model::ids::{ChannelId, IdentityId, WorkspaceId};
use mantle_model::inbound::Alias;
use sha2::{Digest, Sha256};

use super::rows::{alias_number, direction_number};
use crate::StoreError;
use crate::intake::{Direction, LaneKey, NewEvent};
use crate::lanes::{Change, ClaimedLane};
use crate::sql::{Connection, Ids, Keys, sql};

/// One thing, as the number of its lock. Two things that share a number wait for one another without need, no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Touch {
    Thing(i64),
    /// And whoever goes by it.
    Alias {
        channel: ChannelId,
        kind: i64,
        value: Vec<u8>,
    },
}

/// Locks what the jobs touch until the end of the transaction, each thing once and in order.
pub(super) async fn lock<'a>(tx: &mut Connection, touches: impl Iterator<Item = &'a Touch>) -> Result<(), StoreError> {
    let mut locks = Vec::new();
    let (mut channels, mut kinds, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for touch in touches {
        match touch {
            Touch::Thing(number) => locks.push(*number),
            Touch::Alias { channel, kind, value } => {
                locks.push(number("alias", &[channel.0, *kind], value));
                channels.push(channel.0);
                kinds.push(*kind);
                values.push(value.clone());
            }
        }
    }
    if values.is_empty() && locks.is_empty() {
        return Ok(());
    }
    // The list is walked in its order, which `offset` keeps before the locks.
    sql(r"select count(pg_advisory_xact_lock(number))
          from (select number from unnest($1) as things (number)
                union
                select alias.identity_id
                from unnest($2, $3, $4) as asked (channel_id, kind, value)
                join alias on alias.channel_id = asked.channel_id and alias.kind = asked.kind
                          and alias.value = asked.value
                order by number offset 0) as touched")
    .bind(Ids(locks))
    .bind(Ids(channels))
    .bind(Ids(kinds))
    .bind(Keys(values))
    .fetch_all(tx)
    .await?;
    Ok(())
}

fn touch(kind: &str, numbers: &[i64], name: &[u8]) -> Touch {
    Touch::Thing(number(kind, numbers, name))
}

fn number(kind: &str, numbers: &[i64], name: &[u8]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    hash.update(name);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_be_bytes(first)
}

/// Its id is its number, so that the server finds it by an alias. Ids rise with time and those of others are hashes.
pub(super) fn identity(identity: IdentityId) -> Touch {
    Touch::Thing(identity.0)
}

fn alias(channel: ChannelId, alias: &Alias) -> Touch {
    Touch::Alias {
        channel,
        kind: alias_number(alias.kind),
        value: alias.value.as_bytes().to_vec(),
    }
}

pub(super) fn aliases(channel: ChannelId, aliases: &[Alias]) -> impl Iterator<Item = Touch> {
    aliases.iter().map(move |known| alias(channel, known))
}

fn chore(channel: ChannelId, direction: Direction, key: &str) -> Touch {
    touch("chore", &[channel.0, direction_number(direction)], key.as_bytes())
}

/// What is being made in the inbox, by its names.
pub(super) fn makings(workspace: WorkspaceId, keys: &[String]) -> impl Iterator<Item = Touch> {
    keys.iter()
        .map(move |key| touch("making", &[workspace.0], key.as_bytes()))
}

pub(super) fn value(channel: ChannelId, key: &[u8]) -> Touch {
    touch("kv", &[channel.0], key)
}

/// All files together: a row is not written while the bytes that it names are taken away.
pub(super) fn files() -> Touch {
    touch("files", &[], b"")
}

/// All accounts together: they change seldom.
pub(super) fn directory() -> Touch {
    touch("directory", &[], b"")
}

pub(super) fn events(events: &[NewEvent]) -> Vec<Touch> {
    events.iter().flat_map(event).collect()
}

fn event(event: &NewEvent) -> Vec<Touch> {
    match &event.lane {
        LaneKey::Person { aliases, .. } => self::aliases(event.channel, aliases).collect(),
        LaneKey::Identity(known) | LaneKey::Ahead(known) => vec![identity(*known)],
        LaneKey::Chore(key) => vec![chore(event.channel, event.direction, key)],
    }
}

/// The lane itself: its customer, or the chore.
pub(super) fn lane(lane: &ClaimedLane) -> Touch {
    match lane.identity {
        Some(known) => identity(known),
        None => chore(lane.channel, lane.direction, &lane.key),
    }
}

/// What the changes touch beyond their own lane. A settled send may lie on a further lane, whose customer is not known
/// here: crossing there is seldom, and mended by running the group again.
pub(super) fn changes(channel: ChannelId, changes: &[Change]) -> Vec<Touch> {
    let mut touches = Vec::new();
    for change in changes {
        match change {
            Change::Contact(link) => touches.push(identity(link.identity)),
            Change::Thread(link) => touches.push(identity(link.identity)),
            Change::Reach { identity: known, .. } | Change::WindowClosed { identity: known } => {
                touches.push(identity(*known));
            }
            Change::Aliases {
                identity: known,
                aliases,
            } => {
                touches.push(identity(*known));
                touches.extend(self::aliases(channel, aliases));
            }
            Change::Making { workspace, keys, .. } | Change::Made { workspace, keys, .. } => {
                touches.extend(makings(*workspace, keys));
            }
            Change::Spawn(spawned) => touches.extend(event(spawned)),
            Change::Effect { .. }
            | Change::Hop { .. }
            | Change::OwnPart { .. }
            | Change::Outgoing { .. }
            | Change::Settle { .. }
            | Change::Report { .. }
            | Change::Finish { .. }
            | Change::Retry { .. }
            | Change::GiveBack => {}
        }
    }
    touches
}
