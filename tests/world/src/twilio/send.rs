//! Sending: what is refused at once, and what the carrier does afterwards.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::api::error;
use super::{Account, AccountState, Message, Twilio};
use crate::multipart::File;
use crate::scene::random_hex;
use crate::wire::{Call, Reply};

/// Characters.
const BODY_MAX: usize = 1600;
const MEDIA_COUNT_MAX: usize = 10;
/// Body and media together, in bytes.
const MMS_BYTES_MAX: usize = 5 << 20;

struct Wanted {
    to: String,
    from: String,
    service: Option<String>,
    body: String,
    media: Vec<String>,
    callback: Option<String>,
}

pub(super) fn send(twilio: &Twilio, account: &str, call: &Call) -> Reply {
    let form = call.form();
    let path = "/2010-04-01/Accounts/{AccountSid}/Messages.json";
    for problem in twilio.0.scene.contracts().twilio_form(path, &form) {
        twilio.0.scene.violation("twilio", "send", problem);
    }
    let first = |wanted: &str| {
        form.iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
            .filter(|value| !value.is_empty())
    };
    let wanted = Wanted {
        to: first("To").unwrap_or_default(),
        from: first("From").unwrap_or_default(),
        service: first("MessagingServiceSid"),
        body: first("Body").unwrap_or_default(),
        media: form
            .iter()
            .filter(|(name, _)| name == "MediaUrl")
            .map(|(_, value)| value.clone())
            .collect(),
        callback: first("StatusCallback"),
    };
    let now = twilio.0.scene.now_ms();
    let queued = twilio
        .with_account(account, |state| queue(state, wanted, now))
        .unwrap_or(Err((404, 20_404, "no such account")));
    match queued {
        Err((status, code, text)) => error(status, code, text),
        Ok((message, statuses)) => {
            let body = message.json(account);
            carry(twilio, account, message, statuses);
            Reply::json(201, &body)
        }
    }
}

fn is_e164(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or("");
    (4..=15).contains(&digits.len()) && digits.chars().all(|digit| digit.is_ascii_digit())
}

type Refusal = (u16, i64, &'static str);

fn queue(state: &mut AccountState, wanted: Wanted, now: i64) -> Result<(Message, bool), Refusal> {
    if wanted.to.is_empty() {
        return Err((400, 21_604, "A 'To' phone number is required."));
    }
    if !is_e164(&wanted.to) {
        return Err((400, 21_211, "The 'To' number is not a valid phone number."));
    }
    if wanted.body.is_empty() && wanted.media.is_empty() {
        return Err((400, 21_602, "Message body is required."));
    }
    if wanted.body.chars().count() > BODY_MAX {
        return Err((
            400,
            21_617,
            "The concatenated message body exceeds the 1600 character limit.",
        ));
    }
    if wanted.media.len() > MEDIA_COUNT_MAX {
        return Err((400, 21_623, "Number of media files exceeds allowed limit."));
    }
    if wanted.media.iter().any(|url| !url.starts_with("http")) {
        return Err((400, 21_620, "Invalid media URL(s)"));
    }
    if wanted
        .callback
        .as_ref()
        .is_some_and(|url| url::Url::parse(url).is_err())
    {
        return Err((400, 21_609, "The StatusCallback URL is not a valid URL."));
    }
    let from = match &wanted.service {
        Some(sid) => {
            let service = state
                .services
                .get(sid)
                .ok_or((404, 21_701, "The Messaging Service does not exist."))?;
            service
                .numbers
                .first()
                .cloned()
                .ok_or((400, 21_703, "The Messaging Service contains no phone numbers."))?
        }
        None if wanted.from.is_empty() => return Err((400, 21_603, "A 'From' phone number is required.")),
        None if !state.numbers.iter().any(|number| number.number == wanted.from) => {
            return Err((
                400,
                21_606,
                "The 'From' phone number is not a valid, message-capable number of this account.",
            ));
        }
        None => wanted.from,
    };
    if state.opted_out.contains(&wanted.to) {
        return Err((400, 21_610, "Attempt to send to unsubscribed recipient"));
    }
    let message = Message {
        sid: format!(
            "{}{}",
            if wanted.media.is_empty() { "SM" } else { "MM" },
            random_hex(32)
        ),
        outbound: true,
        from,
        to: wanted.to,
        status: if wanted.service.is_some() { "accepted" } else { "queued" }.to_owned(),
        service: wanted.service,
        body: wanted.body,
        error_code: None,
        media_urls: wanted.media,
        files: Vec::new(),
        status_callback: wanted.callback,
        at_ms: now,
    };
    state.messages.push(message.clone());
    Ok((message, state.statuses_by_itself))
}

/// What happens after 201: the media are fetched, the carrier takes the message or not, the callbacks go out.
fn carry(twilio: &Twilio, account: &str, message: Message, statuses: bool) {
    let handle = Account {
        twilio: twilio.clone(),
        sid: account.to_owned(),
    };
    let scene = twilio.0.scene.clone();
    let world = twilio.clone();
    scene.spawn(async move {
        let mut failure = world
            .with_account(&handle.sid, |state| state.fails.get(&message.to).copied())
            .flatten();
        let mut files = Vec::new();
        for url in &message.media_urls {
            match fetch(&world, url).await {
                Ok(file) => files.push(file),
                Err(problem) => {
                    world.0.scene.violation("twilio", "MediaUrl", problem);
                    failure = Some(11_200);
                }
            }
        }
        let total: usize = files.iter().map(|file| file.bytes.len()).sum();
        if total + message.body.len() > MMS_BYTES_MAX {
            failure = Some(11_751);
        }
        world.with_account(&handle.sid, |state| {
            if let Some(known) = state.messages.iter_mut().find(|known| known.sid == message.sid) {
                known.files = files;
                "sent".clone_into(&mut known.status);
            }
        });
        // The answer to the send should be on its way before the first callback.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(code) = failure {
            handle.status(&message.sid, "undelivered", Some(code)).await;
        } else if statuses {
            handle.status(&message.sid, "sent", None).await;
            handle.status(&message.sid, "delivered", None).await;
        }
    });
}

async fn fetch(twilio: &Twilio, url: &str) -> Result<File, String> {
    let client = twilio.0.scene.client();
    let head = client
        .call(Method::HEAD, url, &[], Bytes::new())
        .await
        .map_err(|error| format!("{error:#}"))?;
    if !head.is_good() {
        return Err(format!("HEAD of a media address answers {}", head.status));
    }
    let got = client
        .call(Method::GET, url, &[], Bytes::new())
        .await
        .map_err(|error| format!("{error:#}"))?;
    if !got.is_good() {
        return Err(format!("GET of a media address answers {}", got.status));
    }
    let kind = got.header("content-type").to_owned();
    if kind.is_empty() {
        return Err("a media address answers without a content type".to_owned());
    }
    let disposition = got.header("content-disposition").to_owned();
    let name = disposition
        .split("filename=")
        .nth(1)
        .unwrap_or("")
        .trim_matches('"')
        .to_owned();
    Ok(File::new(&name, &kind, got.body))
}
