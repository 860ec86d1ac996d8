//! From one event to neutral events. Slack tells one thing a call; which channel it is for, each event says by its
//! account: several channels may share the app's one address. Makes no calls.
//!
//! A call that Slack repeats (`x-slack-retry-num`) is read like any other: the first one may never have come.
//!
//! Left out on purpose: reactions in a Slack channel, since Slack does not tell the thread they belong to; messages of
//! bots; conversations of several people with the app (`mpim`); what happens to the Slack channel itself.

mod content;
mod edit;
mod envelope;
mod files;
mod message;
mod post;
mod reaction;
mod team;

use mantle_sdk::Host;
use mantle_sdk::connector::{Answer, Hook, Inbound, ReceiveError};
use mantle_sdk::log::Level;
use mantle_sdk::members::{Members, Problems};
use mantle_sdk::values::Event;
use serde_json::Value;

use envelope::Envelope;

/// Characters of a word of Slack's in a log.
const WORD_CHARS_MAX: usize = 40;

pub fn receive(hook: &Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
    let is_form = hook
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if is_form {
        host.log(Level::Debug, "A tap on a button or a command has nothing for an inbox.");
        return Ok(Inbound::nothing());
    }
    let body: Value = hook
        .json()
        .map_err(|error| ReceiveError::malformed(format!("The body is no call of Slack's Events API: {error}.")))?;
    let problems = Problems::default();
    let Some(fields) = Members::of(&body, String::new(), &problems) else {
        return Err(ReceiveError::malformed("The body is no object."));
    };
    let events: Vec<Event> = match fields.text("type") {
        Some("url_verification") => return challenge(&fields),
        Some("event_callback") => event(&fields, hook, host).into_iter().collect(),
        Some("app_rate_limited") => team::rate_limited(&fields, hook.received_at, host)
            .into_iter()
            .collect(),
        Some(other) => {
            nothing_for_an_inbox(host, "A call", other);
            Vec::new()
        }
        None => {
            return Err(ReceiveError::malformed(
                "The body does not say what kind of call it is.",
            ));
        }
    };
    Ok(Inbound {
        malformed: problems.into_inner(),
        ..Inbound::events(events)
    })
}

/// Slack tries the address when it is entered, and wants its words back.
fn challenge(fields: &Members) -> Result<Inbound, ReceiveError> {
    let Some(challenge) = fields.text("challenge") else {
        return Err(ReceiveError::malformed("The handshake has no challenge."));
    };
    Ok(Inbound {
        answer: Some(Answer::text(200, "text/plain", challenge)),
        ..Inbound::nothing()
    })
}

fn event(fields: &Members, hook: &Hook, host: &dyn Host) -> Option<Event> {
    let envelope = Envelope::read(fields, hook.received_at)?;
    let event = fields.needed_object("event")?;
    match event.needed_text("type")? {
        "message" => message::event(&envelope, &event, host),
        // The twin of a `message`, where an app hears of both: same channel, same `ts`, same key.
        "app_mention" => message::written(&envelope, &event, host),
        "reaction_added" => reaction::event(&envelope, &event, true, host),
        "reaction_removed" => reaction::event(&envelope, &event, false, host),
        "member_joined_channel" => team::membership(&envelope, &event, true),
        "member_left_channel" => team::membership(&envelope, &event, false),
        "channel_id_changed" => team::renamed(&envelope, &event),
        "app_uninstalled" => Some(team::uninstalled(&envelope, host)),
        "tokens_revoked" => team::tokens_revoked(&envelope, &event, host),
        // Slack's own sample of it; its documents put it at the top.
        "app_rate_limited" => team::rate_limited(&event, hook.received_at, host),
        other => {
            nothing_for_an_inbox(host, "An event", other);
            None
        }
    }
}

fn nothing_for_an_inbox(host: &dyn Host, what: &str, kind: &str) {
    let kind: String = kind.chars().take(WORD_CHARS_MAX).collect();
    host.log(
        Level::Debug,
        &format!("{what} of the kind {kind} has nothing for an inbox."),
    );
}
