//! Events as the connector told them become events as the store keeps them: channel, lane and key are decided.

use std::collections::HashMap;
use std::sync::Arc;

use mantle_model::hook::Hook;
use mantle_model::ids::ChannelId;
use mantle_model::inbound::{Alias, AliasKind, Author, Chat, Content, Event, EventBody, Message, Person};
use mantle_sandbox::Verdict;
use mantle_store::directory::{Channel, GroupPolicy};
use mantle_store::intake::{Direction, LaneKey, NewEvent};
use sha2::{Digest, Sha256};

use crate::Flow;
use crate::connector::Connector;
use crate::payload::{InPayload, to_bytes};

/// Statuses are spread over so many lanes of a channel, so that they do not wait for each other.
const STATUS_LANES: u8 = 8;

/// The events that have a channel here; the others are counted as unrouted.
pub(super) fn events(
    flow: &Flow,
    plugin: &dyn Connector,
    channel: &Arc<Channel>,
    hook: &Hook,
    told: Vec<Event>,
) -> Vec<NewEvent> {
    let mut router = Router {
        flow,
        plugin,
        hook,
        proven: HashMap::from([(channel.id, true)]),
    };
    told.into_iter()
        .filter_map(|event| {
            let Some(channel) = router.route(channel, &event) else {
                tracing::warn!(channel.id = %channel.id, "An event belongs to an account that is not connected here");
                flow.metrics().unrouted(&channel.plugin);
                return None;
            };
            Some(stored(flow, &channel, event))
        })
        .collect()
}

/// Whether every event's account is one of ours by what this host knows.
pub(super) fn all_known(flow: &Flow, called: &Channel, told: &[Event]) -> bool {
    let directory = flow.directory();
    let known = |account: &str| {
        let others = directory.channels_of(&called.plugin);
        account == called.external_id || others.iter().any(|other| other.external_id == account)
    };
    told.iter().filter_map(|event| event.account.as_deref()).all(known)
}

/// Finds the channel of each event. Another channel gets an event only if its own secrets prove the hook too:
/// whoever may speak for one account must not speak for its neighbour.
struct Router<'a> {
    flow: &'a Flow,
    plugin: &'a dyn Connector,
    hook: &'a Hook,
    proven: HashMap<ChannelId, bool>,
}

impl Router<'_> {
    fn route(&mut self, called: &Arc<Channel>, event: &Event) -> Option<Arc<Channel>> {
        let Some(account) = event.account.as_deref() else {
            return Some(Arc::clone(called));
        };
        if account == called.external_id {
            return Some(Arc::clone(called));
        }
        let others = self.flow.directory().channels_of(&called.plugin);
        let found = others.into_iter().find(|other| other.external_id == account)?;
        self.proves(&found).then_some(found)
    }

    fn proves(&mut self, channel: &Channel) -> bool {
        if let Some(known) = self.proven.get(&channel.id) {
            return *known;
        }
        let url = format!("{}{}", self.flow.public_url(), self.hook.path_and_query);
        let secrets = self.flow.context(channel, self.plugin).secrets;
        let proven = self.plugin.verify(&secrets, self.hook, &url) == Verdict::Genuine;
        self.proven.insert(channel.id, proven);
        proven
    }
}

fn stored(flow: &Flow, channel: &Channel, event: Event) -> NewEvent {
    // A provider whose clock runs ahead must not open windows in the future.
    let at = event.at.min(flow.now());
    let base = |lane, kind, payload: &InPayload| NewEvent {
        channel: channel.id,
        direction: Direction::In,
        lane,
        key: event.key.clone(),
        kind,
        remote_id: None,
        at,
        payload: to_bytes(payload),
        opens_window: false,
        not_before: None,
    };
    match event.body {
        EventBody::Message(message) => NewEvent {
            // An echo of ours names the reply's own id, which must keep leading to the reply.
            remote_id: (message.author != Author::Ourselves).then(|| message.id.clone()),
            opens_window: opens_window(&message),
            ..base(lane(channel, &message), "message", &InPayload::Message(message))
        },
        EventBody::Reachability(told) => {
            let lane = person_lane(&told.person);
            base(lane, "reachability", &InPayload::Reachability(told))
        }
        EventBody::Status(told) => {
            let lane = LaneKey::Chore(format!("status:{}", shard(&told.message_id)));
            base(lane, "status", &InPayload::Status(told))
        }
        EventBody::IdentityChange(change) => base(
            LaneKey::Chore("account".into()),
            "identity-change",
            &InPayload::IdentityChange(change),
        ),
        EventBody::Notice(notice) => base(LaneKey::Chore("account".into()), "notice", &InPayload::Notice(notice)),
    }
}

fn lane(channel: &Channel, message: &Message) -> LaneKey {
    match (&message.chat, &channel.settings.groups) {
        (Chat::Direct, _) => person_lane(&message.person),
        (Chat::Group(_), GroupPolicy::Refuse) => LaneKey::Chore("groups".into()),
        (Chat::Group(group), GroupPolicy::Group) => LaneKey::Person {
            aliases: vec![Alias::new(AliasKind::Id, group.id.clone())],
            name: group.title.clone(),
            language: None,
        },
    }
}

fn person_lane(person: &Person) -> LaneKey {
    LaneKey::Person {
        aliases: person.aliases.clone(),
        name: person.name.clone(),
        language: person.language.clone(),
    }
}

/// A customer wrote or tapped something. What they took back or what the team wrote opens nothing.
fn opens_window(message: &Message) -> bool {
    let wrote = message
        .content
        .iter()
        .any(|content| !matches!(content, Content::Deletion(_)));
    message.author == Author::Customer && message.chat == Chat::Direct && wrote
}

fn shard(remote_id: &str) -> u8 {
    Sha256::digest(remote_id.as_bytes())
        .first()
        .copied()
        .unwrap_or_default()
        % STATUS_LANES
}
