//! From one outgoing message to the call that makes it. Twilio knows no key against doubles: after an unclear answer the
//! message is looked for ([`crate::reconcile`]), or a status names our id, which stands in the address for statuses.

use mantle_sdk::Host;
use mantle_sdk::http::Request;
use mantle_sdk::values::{CallError, Location, MediaId, Outgoing, OutgoingContent, Refusal, RefusalReason, Sent};

use crate::api::{self, Repeat};
use crate::fields::{self, Sender};
use crate::receive::CORRELATION;
use crate::wire::Made;

/// Twilio's own answers come within seconds; the rest of the call's thirty stays unused.
const SEND_TIMEOUT_MS: u32 = 20_000;

pub fn send(message: &Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
    let mut form: Vec<(&str, String)> = vec![("To", recipient(message)?)];
    match fields::sender(host)? {
        Sender::Number(number) => form.push(("From", number)),
        Sender::MessagingService(sid) => form.push(("MessagingServiceSid", sid)),
    }
    let words = body(&message.content)?;
    if !words.is_empty() {
        form.push(("Body", words));
    }
    if let OutgoingContent::Attachment(attachment) = &message.content {
        form.push(("MediaUrl", link(attachment.media, host)?));
    }
    form.push(("StatusCallback", status_callback(&message.id, host)));

    let url = api::account_url(&fields::account_sid(host)?, "/Messages.json");
    let request = Request::post(url).form(form).timeout_ms(SEND_TIMEOUT_MS);
    let made: Made = api::call(host, request, Repeat::Doubles)?;
    if made.sid.is_empty() {
        return Err(CallError::ambiguous(
            "no-message-sid",
            "Twilio accepted the message but did not name it.",
        ));
    }
    Ok(Sent::new(made.sid))
}

/// The words of the message; none for a file without a caption.
pub fn body(content: &OutgoingContent) -> Result<String, CallError> {
    match content {
        OutgoingContent::Text(text) => Ok(text.text.clone()),
        OutgoingContent::Attachment(attachment) => {
            let caption = attachment.caption.as_ref().map(|caption| caption.text.clone());
            Ok(caption.unwrap_or_default())
        }
        OutgoingContent::Location(place) => Ok(map_link(place)),
        OutgoingContent::Template(_) => Err(unsupported("Templates are not part of SMS.")),
        OutgoingContent::Reaction(_) => Err(unsupported("SMS has no reactions.")),
    }
}

pub fn recipient(message: &Outgoing) -> Result<String, CallError> {
    if message.group_id.is_some() {
        return Err(CallError::refused(
            RefusalReason::Unsupported,
            "unsupported",
            "SMS has no groups. Write to the customer directly.",
        ));
    }
    // Without a number it is a short code that wrote to us.
    message
        .recipient_phone()
        .or(message.recipient_id())
        .map(str::to_owned)
        .ok_or_else(|| {
            CallError::refused(
                RefusalReason::Unreachable,
                "no-recipient",
                "No phone number of this customer is known.",
            )
        })
}

/// Twilio fetches the file itself.
fn link(file: MediaId, host: &dyn Host) -> Result<String, CallError> {
    host.media_link(file).map_err(|_| {
        CallError::refused(
            RefusalReason::Other,
            "no-media-link",
            "The file is no longer there for Twilio to fetch.",
        )
    })
}

/// SMS has no locations; every phone opens a map's address.
fn map_link(place: &Location) -> String {
    let address = format!("https://maps.google.com/?q={},{}", place.latitude, place.longitude);
    let lines = [place.name.as_deref(), place.address.as_deref(), Some(&address)];
    lines
        .into_iter()
        .flatten()
        .filter(|line| !line.trim().is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

fn status_callback(id: &str, host: &dyn Host) -> String {
    let address = Request::get(host.hook_url()).query([(CORRELATION, id)]).url;
    api::with_retry_rules(&address)
}

fn unsupported(message: &str) -> CallError {
    Refusal::new(RefusalReason::Unsupported, "unsupported", message)
        .next_step("Send it as text.")
        .into()
}
