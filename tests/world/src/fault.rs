//! How a stand-in misbehaves when told to. Faults queue up for the next calls, or hold until cleared.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use crate::scene::lock;
use crate::wire::Reply;

/// What happens to a call instead of, or after, what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this status and an error body of the provider's; nothing is done.
    Refuse(u16),
    /// Does what was asked and then answers with this status all the same.
    RefuseAfter(u16),
    /// A gateway in front of the provider answers with this status and a page; nothing is done.
    Gateway(u16),
    /// Does what was asked, but a gateway in front answers with this status and a page.
    GatewayAfter(u16),
    /// 429 with this `Retry-After`, word for word. None: without the header.
    Limit(Option<String>),
    /// Says nothing for so long, then closes the connection; nothing is done.
    Hold(Duration),
    /// Does what was asked, then says nothing for so long and closes the connection.
    HoldAfter(Duration),
    /// Closes the connection at once; nothing is done.
    Reset,
    /// Does what was asked and closes the connection without an answer.
    ResetAfter,
    /// Does what was asked; the answer is an HTML page with status 200.
    Garbage,
    /// Does what was asked; the answer comes one byte at a time with this pause.
    Slow(Duration),
    /// Nothing is done; the answer never ends.
    Endless,
    /// Answers correctly, so much later.
    Late(Duration),
    /// Nothing is done; the answer leads to this address.
    Redirect(String),
}

impl Fault {
    /// The switches of the demo page: name, label.
    pub const SWITCHES: [(&'static str, &'static str); 9] = [
        ("refuse", "503, not applied"),
        ("refuse-after", "502, but applied"),
        ("limit", "429 with Retry-After: 2"),
        ("hold", "time-out, not applied"),
        ("hold-after", "time-out, but applied"),
        ("reset", "connection reset, not applied"),
        ("reset-after", "connection reset, but applied"),
        ("garbage", "HTML instead of JSON"),
        ("slow", "slow answer"),
    ];

    /// The fault behind a switch.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        /// Longer than any caller waits.
        const LONG: Duration = Duration::from_secs(40);
        Some(match name {
            "refuse" => Self::Refuse(503),
            "refuse-after" => Self::GatewayAfter(502),
            "limit" => Self::Limit(Some("2".to_owned())),
            "hold" => Self::Hold(LONG),
            "hold-after" => Self::HoldAfter(LONG),
            "reset" => Self::Reset,
            "reset-after" => Self::ResetAfter,
            "garbage" => Self::Garbage,
            "slow" => Self::Slow(Duration::from_millis(15)),
            _ => return None,
        })
    }
}

/// A provider's refusal for too many calls, with the header that all of them use.
pub(crate) fn limited(refusal: Reply, retry_after: Option<&str>) -> Reply {
    match retry_after {
        Some(after) => refusal.with("retry-after", after),
        None => refusal,
    }
}

#[derive(Debug, Default)]
struct State {
    next: VecDeque<(Option<String>, Fault)>,
    always: Vec<(Option<String>, Fault)>,
    struck: usize,
}

/// The faults of one stand-in. An *operation* is the stand-in's name of a call: `sendMessage`, `messages`, `reply`;
/// each stand-in's documentation lists its own.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

impl Faults {
    /// The next call of any kind.
    pub fn next(&self, fault: Fault) {
        lock(&self.0).next.push_back((None, fault));
    }

    /// The next call of this operation.
    pub fn next_on(&self, operation: &str, fault: Fault) {
        lock(&self.0).next.push_back((Some(operation.to_owned()), fault));
    }

    /// Every call from now on.
    pub fn always(&self, fault: Fault) {
        lock(&self.0).always.push((None, fault));
    }

    /// Every call of this operation from now on.
    pub fn always_on(&self, operation: &str, fault: Fault) {
        lock(&self.0).always.push((Some(operation.to_owned()), fault));
    }

    /// All is well again.
    pub fn clear(&self) {
        let mut state = lock(&self.0);
        *state = State {
            struck: state.struck,
            ..State::default()
        };
    }

    /// How many calls a fault has met so far: those that were kept from being done are seen nowhere else.
    #[must_use]
    pub fn struck(&self) -> usize {
        lock(&self.0).struck
    }

    /// How many queued faults have not happened yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.0).next.len()
    }

    pub(crate) fn take(&self, operation: &str) -> Option<Fault> {
        let mut state = lock(&self.0);
        let fits = |wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| wanted == operation);
        let next = state.next.iter().position(|(wanted, _)| fits(wanted));
        let fault = match next.and_then(|at| state.next.remove(at)) {
            Some((_, fault)) => Some(fault),
            None => state
                .always
                .iter()
                .find(|(wanted, _)| fits(wanted))
                .map(|(_, fault)| fault.clone()),
        };
        state.struck += usize::from(fault.is_some());
        fault
    }
}
