//! What a turn asks of the gates, and what it tells them.
//!
//! A turn into the inbox passes the workspace's gate; one to a customer passes the channel's as well, for it reads
//! the inbox and writes to the provider. News that touch neither side pass none.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use mantle_model::capabilities::LimitScope;
use mantle_model::failure::{Cause, Failure};
use mantle_store::directory::Workspace;
use mantle_store::intake::Direction;

use crate::connector::Connector;
use crate::gates::{Closed, Key, Lesson, Limit, Pass};
use crate::job::Job;

/// The step of an effect that is written to the provider; all others go to the inbox.
const SEND: &str = "send";
/// Codes of failures that tell of this host or of the connector, not of the other side.
const OUR_OWN: [&str; 3] = ["busy", "connector", "shelf"];

/// The keys of a turn's gates, and what was told already.
#[derive(Debug)]
pub(crate) struct Paced {
    inbox: Key,
    /// Made when something is to be sent. None: the connector is away, nothing can be.
    provider: OnceLock<Option<Key>>,
    /// The failure that stops the turn was told when its effect was written down.
    told: AtomicBool,
    sends: AtomicU32,
    /// What people should see of the inbox.
    news: OnceLock<News>,
}

/// What a failure of the inbox means for how its workspace stands.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// The token was refused, for the first time since it was accepted.
    Refused(Cause),
    /// It does not answer, or asks to wait.
    Away(Cause),
}

/// The passes of one turn, given back when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Passes {
    _inbox: Option<Pass>,
    _provider: Option<Pass>,
}

impl Paced {
    pub fn new(workspace: &Workspace) -> Self {
        Self {
            inbox: Key::inbox(workspace),
            provider: OnceLock::new(),
            told: AtomicBool::new(false),
            sends: AtomicU32::new(0),
            news: OnceLock::new(),
        }
    }
}

impl Job<'_> {
    /// Asks for the passes of this turn.
    pub async fn enter(&self) -> Result<Passes, Closed> {
        let now = self.now();
        // Statuses and what the provider tells of people change our own rows alone.
        let calls = match self.lane.direction {
            Direction::In => matches!(self.event.kind.as_str(), "message" | "note" | "late-file"),
            Direction::Out => self.event.kind == "reply",
        };
        let inbox = match calls {
            true => Some(self.flow.enter(self.paced.inbox, None, now).await?),
            false => None,
        };
        let sends = calls && self.lane.direction == Direction::Out;
        let provider = match sends.then(|| self.provider()).flatten() {
            Some(key) => Some(self.flow.enter(key, self.rate(), now).await?),
            None => None,
        };
        Ok(Passes {
            _inbox: inbox,
            _provider: provider,
        })
    }

    /// The gate of what is sent to the customer.
    fn provider(&self) -> Option<Key> {
        *self.paced.provider.get_or_init(|| {
            let plugin = self.flow.plugin_of(&self.channel)?;
            Some(Key::provider(&self.channel, &*plugin))
        })
    }

    /// Calls per second that the manifest allows.
    fn rate(&self) -> Option<f64> {
        let plugin = self.flow.plugin_of(&self.channel)?;
        plugin.capabilities().delivery.per_second
    }

    /// A write was made.
    pub fn written(&self, step: &str) {
        let (gates, now) = (&self.flow.gates, self.now());
        // What is sent was read from the inbox before.
        let phase = gates.good(self.paced.inbox, now);
        self.flow.metrics().breaker("inbox", &self.workspace.id, phase);
        if step == SEND
            && let Some(key) = self.provider()
        {
            if self.paced.sends.fetch_add(1, Ordering::Relaxed) > 0 {
                gates.spend(key);
            }
            let phase = gates.good(key, now);
            self.flow.metrics().breaker("provider", &self.channel.id, phase);
        }
    }

    /// A write was not made, or nobody knows.
    pub fn unwritten(&self, step: &str, failure: &Failure) {
        self.paced.told.store(true, Ordering::Relaxed);
        if step == SEND {
            self.provider_failed(failure);
        } else {
            self.inbox_failed(failure);
        }
    }

    /// The turn stops for this failure of the inbox. Answers what people should see of it.
    pub fn inbox_stopped(&self, failure: &Failure) -> Option<News> {
        if !self.paced.told.load(Ordering::Relaxed) {
            self.inbox_failed(failure);
        }
        self.paced.news.get().cloned()
    }

    fn inbox_failed(&self, failure: &Failure) {
        let Some(lesson) = self.learn(self.paced.inbox, failure, LimitScope::Credential) else {
            return;
        };
        self.show("inbox", &self.workspace.id, &lesson);
        let news = match failure {
            Failure::Unauthorized(cause) => lesson.opened.then(|| News::Refused(cause.clone())),
            _ => lesson.away.map(News::Away),
        };
        if let Some(news) = news {
            let _ = self.paced.news.set(news);
        }
    }

    fn provider_failed(&self, failure: &Failure) {
        let Some(key) = self.provider() else { return };
        let plugin = self.flow.plugin_of(&self.channel);
        let scope = plugin
            .as_deref()
            .map_or(LimitScope::Credential, |plugin: &dyn Connector| {
                plugin.capabilities().delivery.limit_scope(&failure.cause().code)
            });
        if let Some(lesson) = self.learn(key, failure, scope) {
            self.show("provider", &self.channel.id, &lesson);
        }
    }

    fn learn(&self, key: Key, failure: &Failure, scope: LimitScope) -> Option<Lesson> {
        if OUR_OWN.contains(&failure.cause().code.as_str()) {
            return None;
        }
        let limit = Limit {
            lane: self.lane.claim.lane,
            scope,
        };
        Some(self.flow.gates.failed(key, failure, limit, self.now()))
    }

    fn show(&self, target: &str, of: &dyn std::fmt::Display, lesson: &Lesson) {
        let metrics = self.flow.metrics();
        metrics.breaker(target, of, lesson.phase);
        if let Some(wait) = lesson.held {
            metrics.rate_limited(target, of, wait);
        }
        if lesson.opened {
            tracing::warn!(target_side = target, of = %of, "The {target} of {of} is left alone until a probe goes well");
        }
    }
}
