//! {{title}}: direct chats of one account.
//!
//! `receive` reads a hook and calls nobody; `send` makes one message. Secrets stay with the host: a call names its
//! credential, and the host fills it in.

use mantle_sdk::Host;
use mantle_sdk::connector::{
    Account, ConnectError, Connection, Connector, Health, Hook, Inbound, Lifecycle, Malformed, Readiness, ReceiveError,
    Report,
};
use mantle_sdk::http::{Request, Response};
use mantle_sdk::values::{
    AliasKind, CallError, Content, DeliveryState, Event, EventBody, Message, Notice, NoticeLevel, Outgoing,
    OutgoingContent, Person, Refusal, RefusalReason, Sent, Status,
};
use serde::Deserialize;
use serde_json::{Value, json};

mantle_sdk::export!(Chat, manifest = "connector.toml", with = [lifecycle]);

const API: &str = "https://api.chat.example/v1";

#[derive(Debug)]
pub struct Chat;

impl Connector for Chat {
    fn receive(hook: Hook, _host: &dyn Host) -> Result<Inbound, ReceiveError> {
        let body: Value = hook.json().map_err(|_| ReceiveError::malformed("The body is not JSON."))?;
        let Some(items) = body["events"].as_array() else {
            return Err(ReceiveError::malformed("`events` is no list."));
        };
        let mut inbound = Inbound::nothing();
        for (place, item) in items.iter().enumerate() {
            match read(item) {
                Ok(event) => inbound.events.push(event),
                Err(field) => inbound
                    .malformed
                    .push(Malformed::new(format!("events[{place}]"), format!("`{field}` is missing."))),
            }
        }
        Ok(inbound)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        let (OutgoingContent::Text(text), Some(recipient)) = (&message.content, message.recipient_id()) else {
            let words = "Only texts to known people can be sent.";
            return Err(CallError::refused(RefusalReason::Unsupported, "unsupported", words));
        };
        let mut body = json!({ "to": recipient, "text": text.text, "client_id": message.id });
        if let Some(reply_to) = &message.reply_to {
            body["reply_to"] = json!(reply_to);
        }
        // A broken exchange becomes `transient` or `ambiguous`, by what had been sent.
        let answer = host.fetch(Request::post(format!("{API}/messages")).credential("token").json(&body))?;
        let made: Made = good(&answer, host)?.json().unwrap_or_default();
        // It was taken, so it must not be sent again as if nothing had happened.
        let words = "The provider took the message and gave no id.";
        made.id.map(Sent::new).ok_or_else(|| CallError::ambiguous("no-id", words))
    }
}

impl Lifecycle for Chat {
    fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
        let answer = account(host).map_err(|error| match error {
            CallError::Unauthorized(failure) => ConnectError::field("access_token", failure.code, failure.message),
            error => ConnectError::Call(error),
        })?;
        Ok(Account {
            external_id: answer.id.unwrap_or_default(),
            name: answer.name.unwrap_or_default(),
            foreign_webhook: None,
        })
    }

    fn connect(_host: &dyn Host) -> Result<Connection, ConnectError> {
        let words = "Enter the hook's address in the provider's console, under Webhooks.";
        Ok(Connection {
            readiness: Readiness::Pending,
            notices: vec![Notice::new(NoticeLevel::Info, "enter-webhook", words)],
        })
    }

    fn disconnect(_host: &dyn Host) -> Result<(), CallError> {
        Ok(())
    }

    fn check(host: &dyn Host) -> Result<Report, CallError> {
        let health = match account(host) {
            Ok(_) => Health::Connected,
            Err(CallError::Unauthorized(_)) => Health::Disconnected,
            Err(_) => Health::Offline,
        };
        Ok(Report {
            health,
            notices: Vec::new(),
        })
    }
}

/// What the provider answers when it has made something, or tells of the account.
#[derive(Debug, Default, Deserialize)]
struct Made {
    id: Option<String>,
    name: Option<String>,
}

/// Why it did not.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    code: Option<String>,
    message: Option<String>,
}

fn account(host: &dyn Host) -> Result<Made, CallError> {
    let answer = host.fetch(Request::get(format!("{API}/account")).credential("token"));
    let answer = answer.map_err(CallError::reading)?;
    Ok(good(&answer, host)?.json().unwrap_or_default())
}

/// What the host does next depends on the case alone, so it is told truly.
fn good<'a>(answer: &'a Response, host: &dyn Host) -> Result<&'a Response, CallError> {
    if answer.is_success() {
        return Ok(answer);
    }
    let problem: Problem = answer.json().unwrap_or_default();
    let code = problem.code.unwrap_or_else(|| answer.status.to_string());
    let message = problem
        .message
        .unwrap_or_else(|| format!("The provider answered with status {}.", answer.status));
    Err(match answer.status {
        429 => CallError::rate_limited(answer.retry_after_ms(host.now()), code, message),
        401 | 403 => CallError::unauthorized(code, message),
        500.. => CallError::transient(code, message),
        _ => CallError::refused(RefusalReason::Other, code, message),
    })
}

/// The name of the field that an event cannot do without.
type Missing = &'static str;

fn text<'a>(item: &'a Value, field: Missing) -> Result<&'a str, Missing> {
    item[field].as_str().ok_or(field)
}

fn read(item: &Value) -> Result<Event, Missing> {
    let (kind, id) = (text(item, "type")?, text(item, "id")?);
    let at = || item["at"].as_i64().ok_or("at");
    let state = match kind {
        "delivered" => Some(DeliveryState::Delivered),
        "failed" => Some(DeliveryState::Failed),
        _ => None,
    };
    if let Some(state) = state {
        let refusal = (state == DeliveryState::Failed).then(|| {
            let code = item["code"].as_str().unwrap_or("failed");
            let words = item["reason"].as_str().unwrap_or("The provider gave no reason.");
            Refusal::new(RefusalReason::Other, code, words)
        });
        let status = Status {
            message_id: id.to_owned(),
            correlation: None,
            state,
            refusal,
        };
        return Ok(Event::new(format!("{kind}:{id}"), at()?, EventBody::Status(status)));
    }
    let sender = item.get("from").ok_or("from")?;
    let person = Person::new([(AliasKind::Id, text(sender, "id")?)]).named(sender["name"].as_str().map(str::to_owned));
    let content = match kind {
        "message" => Content::Text(text(item, "text")?.to_owned()),
        other => Content::Unsupported(other.to_owned()),
    };
    let message = Message::new(id, person, vec![content]);
    Ok(Event::new(format!("message:{id}"), at()?, EventBody::Message(message)))
}
