//! Who a set of aliases names, and what an identity goes by. Runs inside the writer's transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::sql::{Connection, Given, built, over, sql};
use mantle_model::clock::Time;
use mantle_model::ids::{ChannelId, IdentityId};
use mantle_model::inbound::{Alias, AliasKind};

use super::Context;
use super::rows::{Of, alias_number, bytes, id_list, to_int};
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

/// Finds the identities or makes them, gives them the aliases that nobody has, refreshes name, language and window: as
/// if one sender came after the other.
pub(super) async fn resolve(
    tx: &mut Connection,
    context: &Context,
    senders: &[Sender<'_>],
) -> Result<Vec<IdentityId>, StoreError> {
    let mut book = Book::read(tx, senders).await?;
    let mut news: BTreeMap<IdentityId, News<'_>> = BTreeMap::new();
    let mut identities = Vec::with_capacity(senders.len());
    for sender in senders {
        let owners = book.owners(sender);
        let known = best(sender.aliases, &owners);
        let identity = known.unwrap_or_else(|| IdentityId(context.next_id()));
        book.add(sender, identity, &owners);
        news.entry(identity)
            .or_insert_with(|| News::of(sender.channel, known.is_none()))
            .hear(sender);
        identities.push(identity);
    }
    let (new, known): (Vec<_>, Vec<_>) = news.into_iter().partition(|(_, news)| news.is_new);
    create(tx, &new, context.now()).await?;
    refresh(tx, &known).await?;
    book.write(tx, context.now()).await?;
    Ok(identities)
}

/// An alias as it stands in its table: channel, kind, value.
type Entry<'a> = (i64, i64, &'a str);

/// Who goes by which alias, with what the senders of a group change of it.
struct Book<'a> {
    owners: BTreeMap<Entry<'a>, Option<IdentityId>>,
    taken: BTreeSet<Entry<'a>>,
}

fn entry<'a>(sender: &Sender<'a>, alias: &'a Alias) -> Entry<'a> {
    (sender.channel.0, alias_number(alias.kind), &alias.value)
}

impl<'a> Book<'a> {
    async fn read(tx: &mut Connection, senders: &[Sender<'a>]) -> Result<Self, StoreError> {
        let mut owners: BTreeMap<Entry<'a>, Option<IdentityId>> = BTreeMap::new();
        for sender in senders {
            owners.extend(sender.aliases.iter().map(|alias| (entry(sender, alias), None)));
        }
        let given = Given::rows(owners.len())
            .ints(0..to_int(owners.len()))
            .ints(owners.keys().map(|entry| entry.0))
            .ints(owners.keys().map(|entry| entry.1))
            .bytes(owners.keys().map(|entry| entry.2.as_bytes()));
        let rows = over(
            r"with given (place, channel_id, kind, value) as ({rows})
              select given.place, alias.identity_id
              from given join alias on alias.channel_id = given.channel_id and alias.kind = given.kind
                                   and alias.value = given.value",
            given,
        )
        .fetch_all(tx)
        .await?;
        let mut found = vec![None; owners.len()];
        for row in &rows {
            let row = Of { table: "alias", row };
            found[row.place("place", owners.len())?] = Some(IdentityId(row.int("identity_id")?));
        }
        owners.values_mut().zip(found).for_each(|(owner, found)| *owner = found);
        Ok(Self {
            owners,
            taken: BTreeSet::new(),
        })
    }

    /// In the order of the sender's aliases.
    fn owners(&self, sender: &Sender<'a>) -> Vec<Option<IdentityId>> {
        let owner = |alias| self.owners.get(&entry(sender, alias)).copied().flatten();
        sender.aliases.iter().map(owner).collect()
    }

    fn add(&mut self, sender: &Sender<'a>, identity: IdentityId, owners: &[Option<IdentityId>]) {
        for (alias, owner) in sender.aliases.iter().zip(owners) {
            if takes(alias, *owner, identity) {
                self.owners.insert(entry(sender, alias), Some(identity));
                self.taken.insert(entry(sender, alias));
            }
        }
    }

    async fn write(&self, tx: &mut Connection, now: Time) -> Result<(), StoreError> {
        let taken: Vec<(Entry<'_>, IdentityId)> = self
            .taken
            .iter()
            .filter_map(|entry| Some((*entry, self.owners.get(entry).copied().flatten()?)))
            .collect();
        write_aliases(tx, &taken, now).await
    }
}

/// What is new of one identity.
struct News<'a> {
    channel: ChannelId,
    is_new: bool,
    name: Option<&'a str>,
    language: Option<&'a str>,
    wrote_at: Option<Time>,
}

impl<'a> News<'a> {
    fn of(channel: ChannelId, is_new: bool) -> Self {
        Self {
            channel,
            is_new,
            name: None,
            language: None,
            wrote_at: None,
        }
    }

    fn hear(&mut self, sender: &Sender<'a>) {
        self.name = sender.name.or(self.name);
        self.language = sender.language.or(self.language);
        self.wrote_at = self.wrote_at.max(sender.wrote_at);
    }
}

/// An identity and what is new of it.
type Known<'a> = (IdentityId, News<'a>);

async fn create(tx: &mut Connection, new: &[Known<'_>], now: Time) -> Result<(), StoreError> {
    let given = Given::rows(new.len())
        .ints(new.iter().map(|(identity, _)| identity.0))
        .ints(new.iter().map(|(_, news)| news.channel.0))
        .bytes(new.iter().map(|(_, news)| bytes(news.name)))
        .bytes(new.iter().map(|(_, news)| bytes(news.language)))
        .ints(new.iter().map(|(_, news)| news.wrote_at.map(Time::unix_ms)))
        .ints(new.iter().map(|_| now.unix_ms()));
    over(
        r"with given (id, channel_id, name, language, last_inbound_at, created_at) as ({rows})
          insert into identity (id, channel_id, name, language, last_inbound_at, created_at)
          select id, channel_id, name, language, last_inbound_at, created_at from given",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes nothing where nothing changes, which is the case for most messages but for their time.
async fn refresh(tx: &mut Connection, known: &[Known<'_>]) -> Result<(), StoreError> {
    let given = Given::rows(known.len())
        .ints(known.iter().map(|(identity, _)| identity.0))
        .bytes(known.iter().map(|(_, news)| bytes(news.name)))
        .bytes(known.iter().map(|(_, news)| bytes(news.language)))
        .ints(known.iter().map(|(_, news)| news.wrote_at.map(Time::unix_ms)));
    over(
        r"with given (id, name, language, wrote_at) as ({rows})
          update identity
          set name = coalesce(given.name, identity.name),
              language = coalesce(given.language, identity.language),
              last_inbound_at = case when given.wrote_at is null then identity.last_inbound_at
                                     else max(coalesce(identity.last_inbound_at, given.wrote_at), given.wrote_at) end,
              window_closed = case when given.wrote_at is null then identity.window_closed else 0 end
          from given
          where identity.id = given.id
            and ((given.name is not null and identity.name is distinct from given.name)
              or (given.language is not null and identity.language is distinct from given.language)
              or (given.wrote_at is not null
                  and (coalesce(identity.last_inbound_at, given.wrote_at - 1) < given.wrote_at
                       or identity.window_closed <> 0)))",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Customers wrote in lanes that are addressed by identity.
pub(super) async fn open_windows(tx: &mut Connection, wrote: &[(IdentityId, Time)]) -> Result<(), StoreError> {
    let mut last: BTreeMap<IdentityId, Time> = BTreeMap::new();
    for (identity, at) in wrote {
        let known = last.entry(*identity).or_insert(*at);
        *known = (*known).max(*at);
    }
    let given = Given::rows(last.len())
        .ints(last.keys().map(|identity| identity.0))
        .ints(last.values().map(|at| at.unix_ms()));
    over(
        r"with given (id, at) as ({rows})
          update identity
          set last_inbound_at = max(coalesce(last_inbound_at, given.at), given.at), window_closed = 0
          from given where identity.id = given.id",
        given,
    )
    .execute(tx)
    .await?;
    Ok(())
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
    // One question for all: each is a trip to a server and back. The text holds numbers of ours alone.
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

/// Adds what has no owner. What another identity has stays there, but for handles: those move on with their user.
pub(super) async fn add_aliases(
    tx: &mut Connection,
    (channel, identity): (ChannelId, IdentityId),
    aliases: &[Alias],
    owners: &[Option<IdentityId>],
    now: Time,
) -> Result<(), StoreError> {
    let taken: BTreeMap<Entry<'_>, IdentityId> = aliases
        .iter()
        .zip(owners)
        .filter(|(alias, owner)| takes(alias, **owner, identity))
        .map(|(alias, _)| ((channel.0, alias_number(alias.kind), alias.value.as_str()), identity))
        .collect();
    write_aliases(tx, &taken.into_iter().collect::<Vec<_>>(), now).await
}

fn takes(alias: &Alias, owner: Option<IdentityId>, identity: IdentityId) -> bool {
    match owner {
        None => true,
        Some(owner) => owner != identity && alias.kind == AliasKind::Handle,
    }
}

async fn write_aliases(tx: &mut Connection, taken: &[(Entry<'_>, IdentityId)], now: Time) -> Result<(), StoreError> {
    let given = Given::rows(taken.len())
        .ints(taken.iter().map(|(entry, _)| entry.0))
        .ints(taken.iter().map(|(entry, _)| entry.1))
        .bytes(taken.iter().map(|(entry, _)| entry.2.as_bytes()))
        .ints(taken.iter().map(|(_, identity)| identity.0))
        .ints(taken.iter().map(|_| now.unix_ms()));
    over(
        r"with given (channel_id, kind, value, identity_id, since) as ({rows})
          insert into alias (channel_id, kind, value, identity_id, since)
          select channel_id, kind, value, identity_id, since from given where true
          on conflict (channel_id, kind, value)
          do update set identity_id = excluded.identity_id, since = excluded.since where alias.kind = 3",
        given,
    )
    .execute(tx)
    .await?;
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

/// Follows all of them. Those that are not there are left out.
pub(super) async fn all_present(
    tx: &mut Connection,
    identities: &[IdentityId],
) -> Result<HashMap<IdentityId, IdentityId>, StoreError> {
    let asked: BTreeSet<i64> = identities.iter().map(|identity| identity.0).collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sql(
        "select id, coalesce(joined_into, id) as present from identity where id in (select value from json_each($1))",
    )
    .bind(id_list(asked))
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let row = Of { table: "identity", row };
            Ok((IdentityId(row.int("id")?), IdentityId(row.int("present")?)))
        })
        .collect()
}
