//! What must hold when everything has come to rest: the invariants I1 to I4, and one contact for each person.

use std::collections::BTreeMap;

use mantle_model::delivery::OutboundState;
use mantle_model::ids::WorkspaceId;
use mantle_store::intake::Direction;
use mantle_store::ledger::MessageState;

use crate::inbox::Who;
use crate::life::held;
use crate::scenario::{Customer, World};

/// Ok: how many messages crossed.
pub(crate) fn of(world: &World) -> Result<usize, String> {
    let mut wrong = Vec::new();
    let mut crossed = 0;
    for (number, customer) in world.customers.iter().enumerate() {
        crossed += customer.acknowledged.len() + customer.replies.len();
        inbound(world, number, customer, &mut wrong);
        outbound(world, number, customer, &mut wrong);
    }
    lanes(world, &mut wrong);
    contacts(world, &mut wrong);
    if wrong.is_empty() {
        Ok(crossed)
    } else {
        Err(wrong.join("\n"))
    }
}

/// I1, I2, I3 towards the inbox: what was acknowledged is in the customer's conversations once and in order.
fn inbound(world: &World, number: usize, customer: &Customer, wrong: &mut Vec<String>) {
    let memory = held(&world.memory);
    let desk = held(&world.desk);
    let theirs: Vec<&str> = memory
        .threads
        .values()
        .filter(|thread| {
            memory
                .people
                .get(&thread.identity)
                .is_some_and(|person| person.channel == Some(customer.channel))
                && memory.aliases.iter().any(|((channel, alias), owner)| {
                    *channel == customer.channel && alias.value == customer.phone && *owner == thread.identity
                })
        })
        .map(|thread| thread.conversation.as_str())
        .collect();
    let shown: Vec<&str> = desk
        .lines
        .iter()
        .filter(|line| line.who == Who::Customer && theirs.contains(&line.conversation.as_str()))
        .map(|line| line.text.as_str())
        .collect();
    let wanted: Vec<&str> = customer.acknowledged.iter().map(String::as_str).collect();
    if shown != wanted {
        wrong.push(format!(
            "I2/I3 customer {number} wrote {wanted:?}, the inbox shows {shown:?}"
        ));
    }
    if theirs.len() > 1 {
        wrong.push(format!("TH-6 customer {number} has {} conversations", theirs.len()));
    }
}

/// I2, I3 towards the customer: every reply once and in order, but for those that are said to be unknown.
fn outbound(world: &World, number: usize, customer: &Customer, wrong: &mut Vec<String>) {
    let memory = held(&world.memory);
    let phones = held(&world.phones);
    let received: Vec<&str> = phones
        .iter()
        .filter(|(channel, to, _)| *channel == customer.channel && *to == customer.phone)
        .map(|(_, _, text)| text.as_str())
        .collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in &received {
        *counts.entry(text).or_default() += 1;
    }
    for reply in &customer.replies {
        let count = counts.remove(reply.as_str()).unwrap_or_default();
        let said_unknown = memory.events.iter().any(|(id, row)| {
            row.direction == Direction::Out
                && row.kind == "reply"
                && String::from_utf8_lossy(&row.payload).contains(&format!("{reply}\""))
                && memory.state(*id) == Some(MessageState::Out(OutboundState::Unknown))
        });
        match (count, said_unknown) {
            (1, _) | (0, true) => {}
            (count, _) => wrong.push(format!("I2 customer {number} received {reply:?} {count} times")),
        }
    }
    for (stray, count) in counts {
        wrong.push(format!(
            "I2 customer {number} received {stray:?} {count} times, which nobody wrote to them"
        ));
    }
    let order: Vec<usize> = received
        .iter()
        .filter_map(|text| customer.replies.iter().position(|reply| reply == text))
        .collect();
    if !order.is_sorted() {
        wrong.push(format!("I3 customer {number} received {received:?}"));
    }
}

/// I4: every lane is worked to its end, no effect is left open but those of replies said to be unknown.
fn lanes(world: &World, wrong: &mut Vec<String>) {
    let memory = held(&world.memory);
    for (id, lane) in &memory.lanes {
        if lane.head != lane.tail || lane.ready_at.is_some() {
            wrong.push(format!(
                "I4 lane {id} ({}) stands at {} of {}",
                lane.key, lane.head, lane.tail
            ));
        }
    }
    let dead = memory
        .endings
        .iter()
        .filter(|(_, ending)| matches!(ending, mantle_store::lanes::Ending::Dead { .. }));
    for (message, _) in dead {
        wrong.push(format!(
            "I4 message {message} was given up although all went well at last"
        ));
    }
}

/// IN-3, CT-4: one contact for each phone number, one conversation for each identity, and nobody else's.
fn contacts(world: &World, wrong: &mut Vec<String>) {
    let desk = held(&world.desk);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for label in desk.contacts() {
        *counts.entry(label).or_default() += 1;
    }
    for (label, count) in counts.iter().filter(|(_, count)| **count > 1) {
        wrong.push(format!("CT-4 {label} is {count} contacts"));
    }
    let memory = held(&world.memory);
    for (conversation, label) in desk.conversations() {
        if !memory.threads.contains_key(&(WorkspaceId(1), conversation.to_owned())) {
            wrong.push(format!("IN-3 {conversation} of {label} belongs to nobody"));
        }
    }
    if world.channels().is_empty() {
        wrong.push("the run has no channel".to_owned());
    }
}
