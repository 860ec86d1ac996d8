//! From one callback to neutral events. Viber posts one event at a time; a part that cannot be read is named with its
//! place, and the rest goes on. Makes no calls, and answers with nothing: an answer would be sent as a message.

mod content;

use mantle_sdk::Host;
use mantle_sdk::connector::{Hook, Inbound, ReceiveError};
use mantle_sdk::log::Level;
use mantle_sdk::members::{Members, Problems};
use mantle_sdk::values::{
    AliasKind, Content, DeliveryState, Event, EventBody, Message, Person, Reach, Reachability, Referral, Refusal,
    RefusalReason, Status, TimeMs,
};
use serde_json::Value;

pub fn receive(hook: &Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
    let body: Value = hook
        .json()
        .map_err(|error| ReceiveError::malformed(format!("The body is not JSON: {error}.")))?;
    let kind = body
        .get("event")
        .and_then(Value::as_str)
        .ok_or_else(|| ReceiveError::malformed("The body names no event."))?;
    let problems = Problems::default();
    let event = Members::of(&body, String::new(), &problems).and_then(|fields| {
        let callback = Callback {
            at: fields.time_ms("timestamp").unwrap_or(hook.received_at),
            fields,
            kind,
        };
        callback.event(host)
    });
    Ok(Inbound {
        events: event.into_iter().collect(),
        malformed: problems.into_inner(),
        answer: None,
    })
}

struct Callback<'a> {
    fields: Members<'a>,
    kind: &'a str,
    at: TimeMs,
}

impl Callback<'_> {
    fn event(&self, host: &dyn Host) -> Option<Event> {
        match self.kind {
            "message" => self.message(),
            "conversation_started" => self.started(),
            "subscribed" => self.subscribed(),
            "unsubscribed" => self.unsubscribed(),
            "delivered" => self.status(DeliveryState::Delivered),
            "seen" => self.status(DeliveryState::Read),
            "failed" => self.status(DeliveryState::Failed),
            // The handshake: Viber waits for the 200 and for nothing else.
            "webhook" => None,
            other => {
                let kind: String = other.chars().take(40).collect();
                host.log(
                    Level::Debug,
                    &format!("An event of kind {kind} has nothing for an inbox."),
                );
                None
            }
        }
    }

    /// The same when Viber delivers again. A token alone is not enough: it is the same in all that is told of a message.
    fn told(&self, token: &str, person: &str, body: EventBody) -> Event {
        Event::new(format!("{}:{token}:{person}", self.kind), self.at, body)
    }

    /// An unsigned number of 64 bits, above what a floating number holds. Kept as text.
    fn token(&self) -> Option<String> {
        const NAME: &str = "message_token";
        let read = |value: &Value| match value {
            Value::Number(number) => number.as_u64().map(|token| token.to_string()),
            Value::String(text) => text.parse::<u64>().ok().map(|token| token.to_string()),
            _ => None,
        };
        let token = self.fields.read(NAME, "Expected a token of 64 bits.", read);
        self.fields.needed(NAME, token)
    }

    fn message(&self) -> Option<Event> {
        let sender = self.fields.needed_object("sender")?;
        let id = sender.needed_text("id")?;
        let token = self.token()?;
        let content = content::of(&self.fields.needed_object("message")?);
        let message = Message::new(token.clone(), person(id, &sender), content);
        Some(self.told(&token, id, EventBody::Message(message)))
    }

    /// Opened the chat. Worth telling where a link says what led here; anybody else will write, or not.
    fn started(&self) -> Option<Event> {
        let user = self.fields.needed_object("user")?;
        let id = user.needed_text("id")?;
        let token = self.token()?;
        let body = match self.fields.text("context") {
            Some(context) => {
                let opened = vec![Content::Line("Opened the chat.".to_owned())];
                let mut message = Message::new(format!("started:{token}"), person(id, &user), opened);
                message.referral = Some(Referral {
                    summary: format!("Came by the link “{context}”"),
                    url: None,
                    id: Some(context.to_owned()),
                });
                EventBody::Message(message)
            }
            None if self.fields.flag("subscribed") == Some(true) => reach(person(id, &user), Reach::Reachable),
            None => return None,
        };
        Some(self.told(&token, id, body))
    }

    fn subscribed(&self) -> Option<Event> {
        let user = self.fields.needed_object("user")?;
        let id = user.needed_text("id")?;
        let token = self.token()?;
        Some(self.told(&token, id, reach(person(id, &user), Reach::OptedIn)))
    }

    fn unsubscribed(&self) -> Option<Event> {
        let id = self.fields.needed_text("user_id")?;
        let token = self.token()?;
        let person = Person::new([(AliasKind::Id, id)]);
        Some(self.told(&token, id, reach(person, Reach::OptedOut)))
    }

    /// Told for each device, and of messages of customers too; the host knows which ones are its own.
    fn status(&self, state: DeliveryState) -> Option<Event> {
        let token = self.token()?;
        let id = self.fields.needed_text("user_id")?;
        let refusal = (state == DeliveryState::Failed).then(|| failed(self.fields.text("desc")));
        let status = Status {
            message_id: token.clone(),
            correlation: None,
            state,
            refusal,
        };
        Some(self.told(&token, id, EventBody::Status(status)))
    }
}

/// Taken at first, and then too much for the customer's app.
fn failed(words: Option<&str>) -> Refusal {
    let message = match words {
        Some(words) => format!("The customer's Viber could not take the message and says: {words}"),
        None => "The customer's Viber could not take the message and gives no reason.".to_owned(),
    };
    Refusal::new(RefusalReason::Other, "failed", message).next_step("Send it another way, for example as text.")
}

fn person(id: &str, fields: &Members) -> Person {
    Person {
        language: fields.text("language").map(str::to_owned),
        ..Person::new([(AliasKind::Id, id)])
    }
    .named(fields.text("name").map(str::to_owned))
}

fn reach(person: Person, reach: Reach) -> EventBody {
    EventBody::Reachability(Reachability { person, reach })
}
