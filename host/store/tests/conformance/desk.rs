//! What the tests of every area say in a word or two.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::failure::Cause;
use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, IdentityId, MessageId, ReceiptId, WorkspaceId};
use mantle_model::inbound::{Alias, AliasKind};
use mantle_model::secret::{Secret, Secrets};
use mantle_store::Store;
use mantle_store::directory::{Channel, ChannelSettings, ChannelStatus, Platform, Workspace, WorkspaceStatus};
use mantle_store::intake::{AcceptedEvent, Direction, LaneKey, NewEvent, NewReceipt, Origin, ReceiptState};
use mantle_store::lanes::{Change, ClaimedLane, Effect, EffectState, Ending};

pub const CHANNEL: ChannelId = ChannelId(11);
pub const OTHER_CHANNEL: ChannelId = ChannelId(12);
pub const WORKSPACE: WorkspaceId = WorkspaceId(21);

pub struct Desk<'a> {
    pub store: &'a dyn Store,
    pub clock: &'a ManualClock,
    ids: AtomicI64,
}

impl<'a> Desk<'a> {
    pub fn new(store: &'a dyn Store, clock: &'a ManualClock) -> Self {
        Self {
            store,
            clock,
            ids: AtomicI64::new(1000),
        }
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn receipt(&self, body: &str, state: ReceiptState) -> NewReceipt {
        NewReceipt {
            id: ReceiptId(self.ids.fetch_add(1, Ordering::SeqCst)),
            origin: Origin::Channel(CHANNEL),
            hook: Hook {
                method: "POST".into(),
                path_and_query: "/hooks/telegram/chn_x?a=1".into(),
                headers: vec![("x-sign".into(), "s".into()), ("x-sign".into(), "t".into())],
                body: body.as_bytes().to_vec(),
                received_at: self.now(),
            },
            state,
        }
    }

    /// From this person, by lasting id.
    pub fn message(&self, key: &str, person: &str) -> NewEvent {
        NewEvent {
            channel: CHANNEL,
            direction: Direction::In,
            lane: LaneKey::Person {
                aliases: vec![id(person)],
                name: None,
                language: None,
            },
            key: key.into(),
            kind: "message",
            remote_id: Some(format!("remote-{key}")),
            at: self.now(),
            payload: key.as_bytes().to_vec(),
            opens_window: true,
            not_before: None,
        }
    }

    pub fn chore(&self, key: &str, chore: &str) -> NewEvent {
        NewEvent {
            lane: LaneKey::Chore(chore.into()),
            kind: "status",
            opens_window: false,
            ..self.message(key, "nobody")
        }
    }

    pub fn reply(&self, key: &str, identity: IdentityId) -> NewEvent {
        NewEvent {
            direction: Direction::Out,
            lane: LaneKey::Identity(identity),
            kind: "reply",
            opens_window: false,
            ..self.message(key, "nobody")
        }
    }

    /// Stores the event as new.
    pub async fn put(&self, event: NewEvent) -> (MessageId, Option<IdentityId>) {
        let accepted = self.store.enqueue(vec![event]).await.unwrap();
        match accepted.as_slice() {
            [AcceptedEvent::New { message, identity }] => (*message, *identity),
            other => panic!("not stored as one new event: {other:?}"),
        }
    }

    /// A message of a new person, and who that is.
    pub async fn person(&self, key: &str, person: &str) -> (MessageId, IdentityId) {
        let (message, identity) = self.put(self.message(key, person)).await;
        (message, identity.unwrap())
    }

    /// The only ready lane.
    pub async fn claim(&self) -> ClaimedLane {
        let mut lanes = self.store.claim(self.now(), 10).await.unwrap();
        assert_eq!(lanes.len(), 1, "{lanes:?}");
        lanes.pop().unwrap()
    }

    pub async fn nothing_to_claim(&self) {
        let lanes = self.store.claim(self.now(), 10).await.unwrap();
        assert!(lanes.is_empty(), "{lanes:?}");
    }

    /// Claims the only ready lane, commits these changes and the end of its first event, and gives it back.
    pub async fn work(&self, mut changes: Vec<Change>, ending: Ending) -> MessageId {
        let lane = self.claim().await;
        let event = &lane.events[0];
        changes.push(Change::Finish {
            seq: event.id.seq,
            ending,
        });
        self.store.commit(lane.claim, changes).await.unwrap();
        self.store.release(lane.claim).await.unwrap();
        event.id
    }

    pub fn effect(&self, step: &str, state: EffectState) -> Effect {
        Effect {
            step: step.into(),
            state,
            target: "conversation-1".into(),
            fingerprint: "print".into(),
            remote_id: None,
            announced_at: self.now(),
            ended_at: None,
            code: None,
        }
    }

    pub fn new_workspace(&self, id: WorkspaceId, platform_id: &str) -> Workspace {
        Workspace {
            id,
            platform: Platform::Intercom,
            name: "Shop".into(),
            platform_id: platform_id.into(),
            facts: BTreeMap::from([("region".into(), "eu".into())]),
            status: WorkspaceStatus::Active,
            status_cause: None,
            status_since: self.now(),
            added_by: "admin".into(),
            settings: mantle_store::directory::WorkspaceSettings::default(),
            warning: None,
            token: Secret::new("canary-workspace-token".into()),
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub fn new_channel(&self, id: ChannelId, external_id: &str) -> Channel {
        let mut secrets = Secrets::default();
        secrets.add("bot_token", Secret::new("canary-bot-token".into()));
        secrets.add("bot_token", Secret::new("canary-bot-token-before".into()));
        Channel {
            id,
            workspace: WORKSPACE,
            plugin: "telegram".into(),
            name: "Support".into(),
            external_id: external_id.into(),
            external_name: "@shop_bot".into(),
            fields: BTreeMap::from([("from".into(), "+49".into())]),
            secrets,
            status: ChannelStatus::Connecting,
            status_cause: None,
            status_since: self.now(),
            notices: Vec::new(),
            settings: ChannelSettings::default(),
            refused_groups: 0,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// The workspace and its channel, for what needs them.
    pub async fn connect(&self) {
        let workspace = self.new_workspace(WORKSPACE, "app");
        self.store.create_workspace(&workspace).await.unwrap();
        self.store
            .create_channel(&self.new_channel(CHANNEL, "bot"))
            .await
            .unwrap();
    }
}

pub fn alias(kind: AliasKind, value: &str) -> Alias {
    Alias::new(kind, value)
}

pub fn id(value: &str) -> Alias {
    alias(AliasKind::Id, value)
}

pub fn cause(code: &str) -> Cause {
    Cause::new(code, "It did not work.")
}
