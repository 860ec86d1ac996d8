//! Who a set of aliases names, and what an identity goes by. Runs inside the writer's transaction.

use crate::sql::{Connection, built, sql};
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId};
use mantle_model::inbound::{Alias, AliasKind};

use super::Context;
use super::rows::{Of, alias_number, bytes};
use crate::StoreError;

/// What an arriving event says about its sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    pub channel: ChannelId,
    pub aliases: &'a [Alias],
    pub name: Option<&'a str>,
    pub language: Option<&'a str>,
    /// Set when the event opens the window.
    pub wrote_at: Option<Time>,
}

/// Finds the identity or makes it, gives it the aliases that nobody has, refreshes name, language and window.
pub(super) async fn resolve(
    tx: &mut Connection,
    context: &Context,
    sender: Sender<'_>,
) -> Result<IdentityId, StoreError> {
    let now = context.now();
    let owners = owners(tx, sender.channel, sender.aliases).await?;
    let Some(identity) = best(sender.aliases, &owners) else {
        let identity = IdentityId(context.next_id());
        create(tx, identity, sender, now).await?;
        add_aliases(tx, (sender.channel, identity), sender.aliases, &owners, now).await?;
        return Ok(identity);
    };
    add_aliases(tx, (sender.channel, identity), sender.aliases, &owners, now).await?;
    refresh(tx, identity, sender).await?;
    Ok(identity)
}

/// The identity that each alias names now, in the order of the aliases.
pub(super) async fn owners(
    tx: &mut Connection,
    channel: ChannelId,
    aliases: &[Alias],
) -> Result<Vec<Option<IdentityId>>, StoreError> {
    let mut owners = vec![None; aliases.len()];
    if aliases.is_empty() {
        return Ok(owners);
    }
    // One question for all: each is a trip to SQLite's thread and back. The text holds numbers of ours alone.
    let looks = (0..aliases.len()).map(|place| {
        let (kind, value) = (2 + 2 * place, 3 + 2 * place);
        format!(
            "select {place} as place, identity_id from alias where channel_id = $1 and kind = ${kind} and value = ${value}"
        )
    });
    let mut query = built(looks.collect::<Vec<_>>().join(" union all ")).bind(channel.0);
    for alias in aliases {
        query = query.bind(alias_number(alias.kind)).bind(alias.value.as_bytes());
    }
    for row in &query.fetch_all(tx).await? {
        let row = Of { table: "alias", row };
        let place = usize::try_from(row.int("place")?).map_err(|_| row.wrong("place"))?;
        if let Some(owner) = owners.get_mut(place) {
            *owner = Some(IdentityId(row.int("identity_id")?));
        }
    }
    Ok(owners)
}

/// When aliases name different people the lasting id decides, then the wider one, then the phone number, which
/// changes hands. A handle names nobody.
pub(super) fn best(aliases: &[Alias], owners: &[Option<IdentityId>]) -> Option<IdentityId> {
    aliases
        .iter()
        .zip(owners)
        .filter(|(alias, _)| alias.kind != AliasKind::Handle)
        .filter_map(|(alias, owner)| owner.map(|owner| (alias.kind, owner)))
        .min_by_key(|(kind, _)| *kind)
        .map(|(_, owner)| owner)
}

async fn create(tx: &mut Connection, identity: IdentityId, sender: Sender<'_>, now: Time) -> Result<(), StoreError> {
    sql(
        r"insert into identity (id, channel_id, name, language, last_inbound_at, created_at)
          values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(identity.0)
    .bind(sender.channel.0)
    .bind(bytes(sender.name))
    .bind(bytes(sender.language))
    .bind(sender.wrote_at.map(Time::unix_ms))
    .bind(now.unix_ms())
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes nothing when nothing changes, which is the case for most messages but for their time.
async fn refresh(tx: &mut Connection, identity: IdentityId, sender: Sender<'_>) -> Result<(), StoreError> {
    sql(r"update identity
          set name = coalesce($2, name),
              language = coalesce($3, language),
              last_inbound_at = case when $4 is null then last_inbound_at
                                     else max(coalesce(last_inbound_at, $4), $4) end,
              window_closed = case when $4 is null then window_closed else 0 end
          where id = $1
            and (($2 is not null and name is distinct from $2)
              or ($3 is not null and language is distinct from $3)
              or ($4 is not null and (coalesce(last_inbound_at, $4 - 1) < $4 or window_closed <> 0)))")
    .bind(identity.0)
    .bind(bytes(sender.name))
    .bind(bytes(sender.language))
    .bind(sender.wrote_at.map(Time::unix_ms))
    .execute(tx)
    .await?;
    Ok(())
}

/// The customer wrote in a lane that is addressed by identity.
pub(super) async fn open_window(tx: &mut Connection, identity: IdentityId, at: Time) -> Result<(), StoreError> {
    sql(r"update identity
          set last_inbound_at = max(coalesce(last_inbound_at, $2), $2), window_closed = 0
          where id = $1")
    .bind(identity.0)
    .bind(at.unix_ms())
    .execute(tx)
    .await?;
    Ok(())
}

/// Adds what has no owner. What another identity has stays there, but for handles: those move on with their user.
pub(super) async fn add_aliases(
    tx: &mut Connection,
    (channel, identity): (ChannelId, IdentityId),
    aliases: &[Alias],
    owners: &[Option<IdentityId>],
    now: Time,
) -> Result<(), StoreError> {
    for (alias, owner) in aliases.iter().zip(owners) {
        let take = match owner {
            None => true,
            Some(owner) => *owner != identity && alias.kind == AliasKind::Handle,
        };
        if take {
            sql(
                r"insert into alias (channel_id, kind, value, identity_id, since) values ($1, $2, $3, $4, $5)
                  on conflict (channel_id, kind, value)
                  do update set identity_id = excluded.identity_id, since = excluded.since where alias.kind = 3",
            )
            .bind(channel.0)
            .bind(alias_number(alias.kind))
            .bind(alias.value.as_bytes())
            .bind(identity.0)
            .bind(now.unix_ms())
            .execute(&mut *tx)
            .await?;
        }
    }
    Ok(())
}

/// Follows an identity that was joined into an older one. None: there is no such identity.
pub(super) async fn present(tx: &mut Connection, identity: IdentityId) -> Result<Option<IdentityId>, StoreError> {
    let row = sql(r"select id, joined_into from identity where id = $1")
        .bind(identity.0)
        .fetch_optional(tx)
        .await?;
    row.map(|row| {
        let row = Of {
            table: "identity",
            row: &row,
        };
        Ok(row.get::<Option<i64>>("joined_into")?.map_or(identity, IdentityId))
    })
    .transpose()
}
