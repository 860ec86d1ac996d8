//! One run: hosts, customers who write, teammates who answer, and what goes wrong meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use mantle_flow::metrics::Metrics;
use mantle_flow::{Flow, FlowParts, inbound, outbound};
use mantle_model::clock::{Clock, ManualClock, Time};
use mantle_model::hook::Hook;
use mantle_model::ids::{ChannelId, IdSource, WorkspaceId};
use mantle_model::inbound::{Alias, AliasKind, Author, Chat, Content, Event, EventBody, Message, Person};
use mantle_model::secret::{Secret, Secrets};
use mantle_store::directory::{
    Channel, ChannelSettings, ChannelStatus, Platform, Workspace, WorkspaceSettings, WorkspaceStatus,
};
use prometheus_client::registry::Registry;

use crate::connector::{NoFiles, OneConnector, Received, SimConnector};
use crate::inbox::{Desk, SimInbox};
use crate::life::{Life, held};
use crate::rng::{Rng, dice, seed_dice};
use crate::store::{Memory, MemoryStore};
use crate::verdict;

/// When every run begins: 2026-11-20T00:00:00Z.
const START: Time = Time::from_unix_seconds(1_795_132_800);
/// Rounds in which people write and things go wrong.
const ROUNDS: u64 = 12;
/// How long the host may take to bring everything to its end once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(72 * 60 * 60);
/// Steps of the clock within that time; a run that needs more spins.
const STEPS_MAX: u32 = 5_000;
/// Webhooks of a hundred that are never told.
const WEBHOOKS_LOST: u64 = 15;
/// How often the clock is moved after all is quiet, and by how much: what no webhook told is found within (OUT-3).
const SWEEPS: u32 = 3;
const SWEEP_TIME: Duration = Duration::from_secs(200);

/// Somebody with a phone number who writes on one channel.
pub(crate) struct Customer {
    pub channel: ChannelId,
    pub phone: String,
    /// What the provider has still to deliver, in order, and what was acknowledged.
    pub unsent: Vec<(String, Time)>,
    pub acknowledged: Vec<String>,
    /// Replies that the team wrote to this person, in order.
    pub replies: Vec<String>,
}

/// A webhook of the inbox, and how often it will be told. They come in any order.
struct Webhook {
    body: String,
    times: u64,
}

struct Host {
    flow: Arc<Flow>,
    life: Arc<Life>,
}

pub(crate) struct World {
    rng: Arc<Mutex<Rng>>,
    faults: Arc<Mutex<u64>>,
    pub memory: Arc<Mutex<Memory>>,
    pub desk: Arc<Mutex<Desk>>,
    pub phones: Arc<Mutex<Vec<Received>>>,
    clock: ManualClock,
    hosts: Vec<Host>,
    hosts_made: u64,
    pub customers: Vec<Customer>,
    webhooks: Vec<Webhook>,
    channels: Vec<ChannelId>,
}

/// Plays the seed. Ok tells how many messages crossed; Err names every promise that was broken.
///
/// # Errors
/// What was found wrong, in sentences.
pub fn run(seed: u64) -> Result<usize, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(play(seed))
}

async fn play(seed: u64) -> Result<usize, String> {
    seed_dice(seed);
    let mut world = World::new(seed).await?;
    for _ in 0..ROUNDS {
        world.somebody_writes();
        world.round().await?;
        world.time_passes();
    }
    world.calm_down().await?;
    verdict::of(&world)
}

impl World {
    async fn new(seed: u64) -> Result<Self, String> {
        let mut rng = Rng::new(seed);
        let channels: Vec<ChannelId> = (1..=1 + rng.below(2)).map(|id| ChannelId(id.cast_signed())).collect();
        let people = 1 + rng.below(3);
        let mut customers = Vec::new();
        for person in 0..people {
            for channel in &channels {
                // Some write on both channels with one number, and some say the same in the same second.
                if rng.chance(70) {
                    customers.push(Customer {
                        channel: *channel,
                        phone: format!("+4915155500{person:02}"),
                        unsent: Vec::new(),
                        acknowledged: Vec::new(),
                        replies: Vec::new(),
                    });
                }
            }
        }
        let memory = Memory {
            workspaces: [(WorkspaceId(1), workspace())].into(),
            channels: channels.iter().map(|id| (*id, channel(*id))).collect(),
            ..Memory::default()
        };
        let hosts = 1 + rng.below(3);
        // Every third run is one without faults: what goes wrong there needs no fault to go wrong.
        let faults = rng.pick(&[0, 10, 30]).copied().unwrap_or_default();
        let mut world = Self {
            rng: Arc::new(Mutex::new(rng)),
            faults: Arc::new(Mutex::new(faults)),
            memory: Arc::new(Mutex::new(memory)),
            desk: Arc::default(),
            phones: Arc::default(),
            clock: ManualClock::at(START),
            hosts: Vec::new(),
            hosts_made: 0,
            customers,
            webhooks: Vec::new(),
            channels,
        };
        for _ in 0..hosts {
            let host = world.host().await?;
            world.hosts.push(host);
        }
        Ok(world)
    }

    /// A process begins. In runs with faults it will be killed at one of its next calls.
    async fn host(&mut self) -> Result<Host, String> {
        self.hosts_made += 1;
        let number = self.hosts_made;
        let gates = {
            let deadly = *held(&self.faults) > 0;
            let rng = &mut *held(&self.rng);
            (deadly && rng.chance(60)).then(|| 20 + rng.below(600))
        };
        let life = Life::new(number, Arc::clone(&self.rng));
        let ids = Arc::new(IdSource::salted(u32::try_from(number).unwrap_or(u32::MAX)));
        let store = MemoryStore {
            memory: Arc::clone(&self.memory),
            life: Arc::clone(&life),
            clock: self.clock.clone(),
            ids: Arc::clone(&ids),
        };
        let connector = SimConnector::new(
            Arc::clone(&self.phones),
            Arc::clone(&life),
            Arc::clone(&self.rng),
            Arc::clone(&self.faults),
        );
        let inbox = SimInbox {
            desk: Arc::clone(&self.desk),
            life: Arc::clone(&life),
            clock: self.clock.clone(),
            rng: Arc::clone(&self.rng),
            faults: Arc::clone(&self.faults),
        };
        let inbox: Arc<dyn mantle_inbox::Inbox> = Arc::new(inbox);
        let parts = FlowParts {
            store: Arc::new(store),
            catalog: Arc::new(OneConnector(Arc::new(connector))),
            inboxes: HashMap::from([(Platform::Intercom, inbox)]),
            shelf: Arc::new(NoFiles),
            clock: Arc::new(self.clock.clone()),
            ids,
            metrics: Metrics::register(&mut Registry::default()),
            chance: dice,
            public_url: "https://bridge.example".into(),
            resend_link: Arc::new(|attempt| format!("https://bridge.example/resend/{attempt}")),
        };
        let flow = Flow::open(parts)
            .await
            .map_err(|error| format!("a host does not start: {error}"))?;
        if let Some(gates) = gates {
            life.dies_after(gates);
        }
        Ok(Host { flow, life })
    }

    /// Customers write; teammates answer where there is a conversation.
    fn somebody_writes(&mut self) {
        let now = self.clock.now();
        let rng = &mut *held(&self.rng);
        for (number, customer) in self.customers.iter_mut().enumerate() {
            for _ in 0..rng.below(3) {
                let count = customer.unsent.len() + customer.acknowledged.len();
                // Sometimes the same words as before: two honest "ok" are two messages.
                let text = if rng.chance(20) {
                    "ok".to_owned()
                } else {
                    format!("message {number}.{count}")
                };
                customer.unsent.push((text, now));
            }
        }
        let conversations: Vec<(String, String)> = {
            let desk = held(&self.desk);
            desk.conversations()
                .iter()
                .map(|(id, label)| ((*id).to_owned(), (*label).to_owned()))
                .collect()
        };
        let memory = held(&self.memory);
        for (conversation, _) in conversations {
            if !rng.chance(35) {
                continue;
            }
            let thread = memory.threads.get(&(WorkspaceId(1), conversation.clone()));
            let Some(person) = thread.and_then(|thread| memory.people.get(&thread.identity)) else {
                continue;
            };
            let phone = memory
                .aliases
                .iter()
                .find(|(_, owner)| thread.is_some_and(|thread| thread.identity == **owner));
            let Some(((_, alias), _)) = phone else { continue };
            let Some(customer) = self
                .customers
                .iter_mut()
                .find(|customer| Some(customer.channel) == person.channel && customer.phone == alias.value)
            else {
                continue;
            };
            let text = format!("reply {} to {}", customer.replies.len(), conversation);
            let part = held(&self.desk).teammate_writes(&conversation, &text, now);
            customer.replies.push(text.clone());
            self.webhooks.push(Webhook {
                body: format!("{conversation}|{part}|{text}"),
                // Some are never told: the host finds those by asking.
                times: if rng.chance(WEBHOOKS_LOST) { 0 } else { 1 + rng.below(3) },
            });
        }
    }

    /// Providers and the inbox deliver, hosts work, all at once; then the dead are replaced.
    async fn round(&mut self) -> Result<(), String> {
        let hooks = self.deliveries();
        let hosts: Vec<(Arc<Flow>, Arc<Life>)> = self
            .hosts
            .iter()
            .map(|host| (Arc::clone(&host.flow), Arc::clone(&host.life)))
            .collect();
        let working = hosts.into_iter().map(|(flow, life)| async move {
            tokio::select! {
                biased;
                () = life.died() => Ok(()),
                settled = flow.settle() => settled.map_err(|error| format!("a host stopped working: {error}")),
            }
        });
        let delivering = hooks.into_iter().map(deliver);
        let (worked, delivered) = tokio::join!(join_all(working), join_all(delivering));
        worked.into_iter().collect::<Result<Vec<()>, String>>()?;
        for outcome in delivered.into_iter().flatten() {
            self.taken(&outcome);
        }
        self.bury().await
    }

    /// The next hook of each customer and some webhooks, each to a host of the provider's choosing.
    fn deliveries(&self) -> Vec<Delivery> {
        let rng = &mut *held(&self.rng);
        let mut deliveries = Vec::new();
        let hosts: Vec<(Arc<Flow>, Arc<Life>)> = self
            .hosts
            .iter()
            .map(|host| (Arc::clone(&host.flow), Arc::clone(&host.life)))
            .collect();
        for (number, customer) in self.customers.iter().enumerate() {
            // Told again although it was taken: providers do.
            let again = rng
                .chance(15)
                .then(|| customer.acknowledged.len().checked_sub(1))
                .flatten();
            let next = (!customer.unsent.is_empty()).then_some(customer.acknowledged.len());
            for place in again.into_iter().chain(next) {
                if let Some(host) = rng.pick(&hosts).cloned() {
                    deliveries.push(Delivery {
                        host,
                        what: What::Hook {
                            customer: number,
                            place,
                            body: self.body(number, place),
                        },
                    });
                }
            }
        }
        for (number, webhook) in self.webhooks.iter().enumerate() {
            for _ in 0..webhook.times {
                if let (true, Some(host)) = (rng.chance(60), rng.pick(&hosts).cloned()) {
                    deliveries.push(Delivery {
                        host,
                        what: What::Webhook {
                            number,
                            body: webhook.body.clone(),
                        },
                    });
                }
            }
        }
        deliveries
    }

    /// The hook of the customer's message at this place, the same each time.
    fn body(&self, number: usize, place: usize) -> (ChannelId, Vec<u8>) {
        let customer = &self.customers[number];
        let (text, at) = match customer.acknowledged.get(place) {
            Some(text) => (text.clone(), self.clock.now()),
            None => customer.unsent.first().cloned().unwrap_or_default(),
        };
        let event = Event {
            key: format!("{number}.{place}"),
            at,
            account: None,
            body: EventBody::Message(Message {
                id: format!("in{number}.{place}"),
                person: Person {
                    aliases: vec![Alias::new(AliasKind::Phone, customer.phone.clone())],
                    name: Some(format!("Customer {number}")),
                    language: None,
                },
                chat: Chat::Direct,
                author: Author::Customer,
                content: vec![Content::Text(text)],
                quote: None,
                referral: None,
                forwarded: false,
                correlation: None,
            }),
        };
        (customer.channel, serde_json::to_vec(&vec![event]).unwrap_or_default())
    }

    /// A 2xx came back.
    fn taken(&mut self, what: &What) {
        match what {
            What::Hook { customer, place, .. } => {
                let customer = &mut self.customers[*customer];
                if *place == customer.acknowledged.len() && !customer.unsent.is_empty() {
                    let (text, _) = customer.unsent.remove(0);
                    customer.acknowledged.push(text);
                }
            }
            What::Webhook { number, .. } => {
                if let Some(webhook) = self.webhooks.get_mut(*number) {
                    webhook.times = webhook.times.saturating_sub(1);
                }
            }
        }
    }

    /// Hosts that died are replaced; what they held is free again.
    async fn bury(&mut self) -> Result<(), String> {
        for place in 0..self.hosts.len() {
            if self.hosts[place].life.is_dead() {
                held(&self.memory).free_lanes_of(self.hosts[place].life.host);
                self.hosts[place] = self.host().await?;
            }
        }
        Ok(())
    }

    fn time_passes(&mut self) {
        let step = held(&self.rng).below(20_000);
        self.forward_to(self.clock.now().after(Duration::from_millis(step)));
    }

    fn forward_to(&mut self, time: Time) {
        self.clock.set(time.max(self.clock.now()));
        held(&self.desk).arrive(self.clock.now(), &mut held(&self.rng));
    }

    /// Nothing goes wrong any more: everything must come to its end within [`PATIENCE`].
    async fn calm_down(&mut self) -> Result<(), String> {
        *held(&self.faults) = 0;
        self.hosts.iter().for_each(|host| host.life.spare());
        let end = self.clock.now().after(PATIENCE);
        let mut sweeps = 0;
        for _ in 0..STEPS_MAX {
            self.round().await?;
            let idle = self.customers.iter().all(|customer| customer.unsent.is_empty())
                && self.webhooks.iter().all(|webhook| webhook.times == 0);
            let due = held(&self.memory).next_due();
            let arrival = held(&self.desk).next_arrival();
            let next = due.into_iter().chain(arrival).min();
            match next {
                None if idle && sweeps == SWEEPS => return Ok(()),
                None if idle => {
                    sweeps += 1;
                    self.forward_to(self.clock.now().after(SWEEP_TIME));
                }
                Some(next) if next > end => return Err(format!("work is left for {next}, long after all went well")),
                // What is due already is taken in the next round; a little time must pass for what waits for time.
                Some(next) => self.forward_to(next.max(self.clock.now().after(Duration::from_millis(10)))),
                None => {}
            }
        }
        Err(format!(
            "the work does not come to an end: {STEPS_MAX} steps of the clock"
        ))
    }

    pub fn channels(&self) -> &[ChannelId] {
        &self.channels
    }
}

struct Delivery {
    host: (Arc<Flow>, Arc<Life>),
    what: What,
}

enum What {
    Hook {
        customer: usize,
        place: usize,
        body: (ChannelId, Vec<u8>),
    },
    Webhook {
        number: usize,
        body: String,
    },
}

/// None: it was not taken, and will be told again.
async fn deliver(delivery: Delivery) -> Option<What> {
    let (flow, life) = delivery.host;
    let call = async {
        match &delivery.what {
            What::Hook {
                body: (channel, body), ..
            } => {
                let hook = Hook {
                    method: "POST".into(),
                    path_and_query: format!("/hooks/sim/{channel}"),
                    headers: Vec::new(),
                    body: body.clone(),
                    received_at: flow.now(),
                };
                inbound::receive(&flow, hook, "sim", Some(*channel)).await
            }
            What::Webhook { body, .. } => {
                outbound::receive(&flow, Platform::Intercom, Vec::new(), Bytes::from(body.clone())).await
            }
        }
    };
    let answer = tokio::select! {
        biased;
        () = life.died() => return None,
        answer = call => answer,
    };
    (answer.answer.status == 200).then_some(delivery.what)
}

fn workspace() -> Workspace {
    Workspace {
        id: WorkspaceId(1),
        platform: Platform::Intercom,
        name: "Simulation".into(),
        platform_id: "sim".into(),
        facts: Default::default(),
        status: WorkspaceStatus::Active,
        status_cause: None,
        status_since: START,
        added_by: "Operator".into(),
        settings: WorkspaceSettings {
            default_operator: Some("op".into()),
            ..WorkspaceSettings::default()
        },
        warning: None,
        token: Secret::new("token".into()),
        created_at: START,
        updated_at: START,
    }
}

fn channel(id: ChannelId) -> Channel {
    Channel {
        id,
        workspace: WorkspaceId(1),
        plugin: "sim".into(),
        name: "Line".into(),
        external_id: id.to_string(),
        external_name: id.to_string(),
        fields: Default::default(),
        secrets: Secrets::default(),
        status: ChannelStatus::Connected,
        status_cause: None,
        status_since: START,
        notices: Vec::new(),
        settings: ChannelSettings::default(),
        refused_groups: 0,
        created_at: START,
        updated_at: START,
    }
}
