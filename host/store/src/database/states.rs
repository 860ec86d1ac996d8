//! The state of a message, computed from how it ended, what it did and what the provider reported.
//!
//! Nothing stores a state: the facts are written once each, and every order of writing them gives the same answer.

use std::collections::{BTreeMap, HashMap};

use crate::sql::{Connection, Places, either, sql};
use mantle_model::delivery::{InboundState, OutboundState};
use mantle_model::ids::{LaneId, MessageId};
use mantle_model::inbound::DeliveryReport;

use super::accept::message_id;
use super::rows::{self, Of};
use crate::StoreError;
use crate::intake::Direction;
use crate::lanes::EffectState;
use crate::ledger::MessageState;

/// A message and its replays: one story.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub lane: LaneId,
    /// The first attempt's place.
    pub origin: i64,
    /// The newest attempt's place and number.
    pub newest: i64,
    pub attempt_no: i64,
}

pub(super) async fn family(connection: &mut Connection, message: MessageId) -> Result<Option<Family>, StoreError> {
    let row = sql(
        r"select first.lane_id, first.seq as origin, newest.seq as newest, newest.attempt_no
          from event asked
          join event first on first.lane_id = asked.lane_id and first.seq = coalesce(asked.origin_seq, asked.seq)
          join event newest on newest.lane_id = asked.lane_id and newest.seq = coalesce(
              (select max(seq) from event where lane_id = first.lane_id and origin_seq = first.seq), first.seq)
          where asked.lane_id = $1 and asked.seq = $2",
    )
    .bind(message.lane.0)
    .bind(message.seq)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let row = Of {
        table: "event",
        row: &row,
    };
    Ok(Some(Family {
        lane: message.lane,
        origin: row.int("origin")?,
        newest: row.int("newest")?,
        attempt_no: row.int("attempt_no")?,
    }))
}

/// Whether the newest attempt came to a bad end, by our own finding or by the provider's report.
pub(super) async fn can_be_replayed(connection: &mut Connection, family: &Family) -> Result<bool, StoreError> {
    let newest = MessageId {
        lane: family.lane,
        seq: family.newest,
    };
    let row = sql(r"select direction, head from lane where id = $1")
        .bind(family.lane.0)
        .fetch_one(&mut *connection)
        .await?;
    let row = Of {
        table: "lane",
        row: &row,
    };
    let direction = row.case("direction", rows::direction)?;
    let finished = family.newest <= row.int("head")?;
    let facts = facts(connection, &[newest]).await?.remove(&newest).unwrap_or_default();
    let state = facts.state(direction, finished);
    Ok(matches!(
        state,
        MessageState::In(InboundState::Dead) | MessageState::Out(OutboundState::Failed | OutboundState::Unknown)
    ))
}

/// What is known of one attempt.
#[derive(Debug, Default)]
pub(super) struct Facts {
    ending: Option<Ended>,
    /// (step, state)
    effects: Vec<(String, EffectState)>,
    /// By the provider's id.
    parts: BTreeMap<String, Part>,
}

#[derive(Debug)]
struct Ended {
    case: EndingCase,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndingCase {
    Done,
    Ignored,
    Failed,
    Unknown,
    Dead,
}

fn ending_case(number: i64) -> Option<EndingCase> {
    match number {
        0 => Some(EndingCase::Done),
        1 => Some(EndingCase::Ignored),
        2 => Some(EndingCase::Failed),
        3 => Some(EndingCase::Unknown),
        4 => Some(EndingCase::Dead),
        _ => None,
    }
}

#[derive(Debug, Default)]
struct Part {
    step: String,
    /// In rising rank.
    reports: Vec<(DeliveryReport, Option<String>)>,
}

impl Part {
    /// Folded in rank order, whatever the order of arrival: a message that was seen to arrive did not fail.
    fn state(&self) -> OutboundState {
        self.reports
            .iter()
            .fold(OutboundState::Accepted, |state, (report, _)| state.after(*report))
    }
}

impl Facts {
    pub(super) fn state(&self, direction: Direction, finished: bool) -> MessageState {
        match direction {
            Direction::In => MessageState::In(self.inbound(finished)),
            Direction::Out => MessageState::Out(self.outbound(finished)),
        }
    }

    fn inbound(&self, finished: bool) -> InboundState {
        match self.ending.as_ref().map(|ended| ended.case) {
            _ if !finished => InboundState::Stored,
            None | Some(EndingCase::Done) => InboundState::Posted,
            Some(EndingCase::Ignored) => InboundState::Ignored,
            Some(EndingCase::Failed | EndingCase::Unknown | EndingCase::Dead) => InboundState::Dead,
        }
    }

    fn outbound(&self, finished: bool) -> OutboundState {
        if !finished {
            return if self.effects.is_empty() {
                OutboundState::Queued
            } else {
                OutboundState::Sending
            };
        }
        match self.ending.as_ref().map(|ended| ended.case) {
            Some(EndingCase::Failed | EndingCase::Dead) => OutboundState::Failed,
            // Nothing was to be sent, so nothing is owed.
            Some(EndingCase::Ignored) => OutboundState::Accepted,
            Some(EndingCase::Unknown) => self.of_parts(self.unknown_parts().max(usize::from(self.parts.is_empty()))),
            None | Some(EndingCase::Done) => self.of_parts(0),
        }
    }

    /// Sends that are in doubt and of which no report has come since.
    fn unknown_parts(&self) -> usize {
        let in_doubt = |state| matches!(state, EffectState::Intent | EffectState::Ambiguous);
        self.effects
            .iter()
            .filter(|(step, state)| in_doubt(*state) && !self.parts.values().any(|part| part.step == *step))
            .count()
    }

    /// A message sent in parts is as far as its last part, and has failed if any has.
    fn of_parts(&self, unknown: usize) -> OutboundState {
        let mut states: Vec<OutboundState> = self.parts.values().map(Part::state).collect();
        states.extend(std::iter::repeat_n(OutboundState::Unknown, unknown));
        if states.contains(&OutboundState::Failed) {
            return OutboundState::Failed;
        }
        states.into_iter().min().unwrap_or(OutboundState::Accepted)
    }

    /// Why it failed, is unknown, dead or ignored.
    pub(super) fn reason(&self, state: MessageState) -> Option<String> {
        let bad = matches!(
            state,
            MessageState::In(InboundState::Dead | InboundState::Ignored)
                | MessageState::Out(OutboundState::Failed | OutboundState::Unknown)
        );
        let ignored = self
            .ending
            .as_ref()
            .is_some_and(|ended| ended.case == EndingCase::Ignored);
        if !bad && !ignored {
            return None;
        }
        let own = self
            .ending
            .as_ref()
            .and_then(|ended| match (&ended.message, &ended.code) {
                (Some(message), Some(code)) if !code.is_empty() => Some(format!("{message} ({code})")),
                (Some(message), _) => Some(message.clone()),
                (None, code) => code.clone(),
            });
        own.or_else(|| {
            self.parts
                .values()
                .flat_map(|part| &part.reports)
                .find(|(report, _)| *report == DeliveryReport::Failed)
                .map(|(_, code)| {
                    code.clone()
                        .unwrap_or_else(|| "the provider reported a failure".to_owned())
                })
        })
    }
}

/// A statement on the places in its first parameter, which are named `wanted`.
macro_rules! of_wanted {
    ($columns:literal, $rest:literal) => {
        either(
            concat!(
                $columns,
                "from (select value ->> 0 as lane_id, value ->> 1 as seq from json_each($1)) wanted ",
                $rest
            ),
            concat!($columns, "from places($1) wanted ", $rest),
        )
    };
}

pub(super) use of_wanted;

/// The facts of each of the messages; a message without any is missing.
pub(super) async fn facts(
    connection: &mut Connection,
    messages: &[MessageId],
) -> Result<HashMap<MessageId, Facts>, StoreError> {
    let wanted = wanted(messages);
    let mut facts: HashMap<MessageId, Facts> = HashMap::new();
    let rows = of_wanted!(
        r"select ending.lane_id, ending.seq, ending.state, ending.code, ending.message ",
        r"join ending on ending.lane_id = wanted.lane_id and ending.seq = wanted.seq"
    )
    .bind(&wanted)
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let row = Of { table: "ending", row };
        facts.entry(message_id(row)?).or_default().ending = Some(Ended {
            case: row.case("state", ending_case)?,
            code: row.text_opt("code")?,
            message: row.text_opt("message")?,
        });
    }
    let rows = of_wanted!(
        r"select effect.lane_id, effect.seq, effect.step, effect.state ",
        r"join effect on effect.lane_id = wanted.lane_id and effect.seq = wanted.seq"
    )
    .bind(&wanted)
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let row = Of { table: "effect", row };
        let effect = (row.text("step")?, row.case("state", rows::effect_state)?);
        facts.entry(message_id(row)?).or_default().effects.push(effect);
    }
    add_parts(connection, &wanted, &mut facts).await?;
    Ok(facts)
}

async fn add_parts(
    connection: &mut Connection,
    wanted: &Places,
    facts: &mut HashMap<MessageId, Facts>,
) -> Result<(), StoreError> {
    let rows = of_wanted!(
        r"select outgoing.lane_id, outgoing.seq, outgoing.step, outgoing.remote_id, report.rank, report.code ",
        r"join outgoing on outgoing.lane_id = wanted.lane_id and outgoing.seq = wanted.seq
          left join report on report.channel_id = outgoing.channel_id and report.remote_id = outgoing.remote_id
          order by outgoing.lane_id, outgoing.seq, outgoing.remote_id, report.rank"
    )
    .bind(wanted)
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let row = Of { table: "outgoing", row };
        let facts = facts.entry(message_id(row)?).or_default();
        let part = facts.parts.entry(row.text("remote_id")?).or_default();
        part.step = row.text("step")?;
        if let Some(rank) = row.get::<Option<i64>>("rank")? {
            let report = rows::report(rank).ok_or_else(|| row.wrong("rank"))?;
            part.reports.push((report, row.text_opt("code")?));
        }
    }
    Ok(())
}

/// The messages, as a parameter.
pub(super) fn wanted(messages: &[MessageId]) -> Places {
    Places(messages.iter().map(|message| (message.lane.0, message.seq)).collect())
}

/// The word of a state, as filters give it.
pub(super) fn word(state: MessageState) -> &'static str {
    match state {
        MessageState::In(InboundState::Received) => "received",
        MessageState::In(InboundState::Stored) => "stored",
        MessageState::In(InboundState::Posted) => "posted",
        MessageState::In(InboundState::Parked) => "parked",
        MessageState::In(InboundState::Dead) => "dead",
        MessageState::In(InboundState::Ignored) => "ignored",
        MessageState::Out(OutboundState::Queued) => "queued",
        MessageState::Out(OutboundState::Sending) => "sending",
        MessageState::Out(OutboundState::Unknown) => "unknown",
        MessageState::Out(OutboundState::Accepted) => "accepted",
        MessageState::Out(OutboundState::Sent) => "sent",
        MessageState::Out(OutboundState::Delivered) => "delivered",
        MessageState::Out(OutboundState::Read) => "read",
        MessageState::Out(OutboundState::Failed) => "failed",
    }
}
