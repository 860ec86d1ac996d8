//! What Twilio's REST API does with a call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::send::send;
use super::{CallSeen, Media, Message, NumberState, Service, Twilio};
use crate::scene::{lock, random_hex};
use crate::wire::{Call, Reply};

/// How long the store's address of a file is good.
const TICKET_MS: i64 = 4 * 3600 * 1000;

pub(super) fn error(status: u16, code: i64, message: &str) -> Reply {
    let info = format!("https://www.twilio.com/docs/errors/{code}");
    Reply::json(
        status,
        &json!({"code": code, "message": message, "more_info": info, "status": status}),
    )
}

pub(super) fn operation(call: &Call) -> &'static str {
    let path = &call.path;
    match () {
        () if path.contains("/Media") => "media",
        () if path.ends_with("/Messages.json") && call.method == Method::POST => "send",
        () if path.ends_with("/Messages.json") => "list",
        () if path.contains("/Messages/") => "message",
        () if path.contains("/IncomingPhoneNumbers") => "number",
        () if path.starts_with("/v1/Services") => "service",
        () => "account",
    }
}

pub(super) async fn answer(twilio: &Twilio, call: Call) -> Reply {
    let operation = operation(&call);
    let reply = route(twilio, &call, operation).await;
    lock(&twilio.0.state).calls.push(CallSeen {
        operation: operation.to_owned(),
        method: call.method.to_string(),
        path: call.path.clone(),
        form: call.form(),
        status: reply.status,
    });
    twilio.0.scene.ring();
    reply
}

/// User and password of Basic authentication.
fn basic(call: &Call) -> Option<(String, String)> {
    let encoded = call.header("authorization").strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

async fn route(twilio: &Twilio, call: &Call, operation: &'static str) -> Reply {
    let Some((user, password)) = basic(call) else {
        return error(401, 20_003, "Authenticate");
    };
    let proven = twilio.with_account(&user, |account| {
        (account.auth_token == password, account.status == "active")
    });
    match proven {
        Some((true, true)) => {}
        Some((true, false)) => return error(403, 20_005, "Account not active"),
        Some((false, _)) => return error(401, 20_003, "Authenticate"),
        None => return error(401, 20_003, "Authentication Error - invalid username"),
    }
    if call.method == Method::POST
        && !call
            .header("content-type")
            .starts_with("application/x-www-form-urlencoded")
    {
        twilio.0.scene.violation(
            "twilio",
            operation,
            "a request body must be application/x-www-form-urlencoded",
        );
        return error(400, 20_001, "Unsupported content type");
    }
    let pieces = call.pieces();
    let names: Vec<&str> = pieces.iter().map(String::as_str).collect();
    if let ["v1", "Services", service, rest @ ..] = names.as_slice() {
        return service_call(twilio, &user, service, rest, call);
    }
    let ["2010-04-01", "Accounts", account, rest @ ..] = names.as_slice() else {
        return error(404, 20_404, "The requested resource was not found");
    };
    let account = account.trim_end_matches(".json");
    if account != user {
        return error(404, 20_404, "The requested resource was not found");
    }
    match (call.method.as_str(), rest) {
        ("GET", []) => twilio
            .with_account(&user, |state| {
                Reply::json(
                    200,
                    &json!({"sid": state.sid, "status": state.status, "friendly_name": "Shop", "type": "Full"}),
                )
            })
            .unwrap_or_default(),
        ("POST", ["Messages.json"]) => send(twilio, &user, call),
        ("GET", ["Messages.json"]) => list(twilio, &user, call),
        (method, ["Messages", message]) => one(twilio, &user, message.trim_end_matches(".json"), (method, call)),
        ("GET", ["Messages", message, "Media.json"]) => media_list(twilio, &user, message),
        (method, ["Messages", message, "Media", media]) => media_one(twilio, &user, message, (method, media)),
        ("GET", ["IncomingPhoneNumbers.json"]) => numbers(twilio, &user, call),
        ("POST", ["IncomingPhoneNumbers", sid]) => number(twilio, &user, sid.trim_end_matches(".json"), call),
        _ => {
            twilio.0.scene.violation(
                "twilio",
                operation,
                format!("{} {} is not played or does not exist", call.method, call.path),
            );
            error(404, 20_404, "The requested resource was not found")
        }
    }
}

fn service_call(twilio: &Twilio, account: &str, sid: &str, rest: &[&str], call: &Call) -> Reply {
    let fields = call.form();
    let seen = twilio.with_account(account, |state| {
        let numbers = state.numbers.clone();
        let service = state.services.get_mut(sid)?;
        if rest == ["PhoneNumbers"] {
            let of = |number: &&NumberState| service.numbers.contains(&number.number);
            let list: Vec<_> = numbers
                .iter()
                .filter(of)
                .map(|number| json!({"sid": number.sid, "phone_number": number.number}))
                .collect();
            return Some(json!({"phone_numbers": list, "meta": {"page": 0, "page_size": 50, "key": "phone_numbers"}}));
        }
        for (name, value) in &fields {
            match name.as_str() {
                "InboundRequestUrl" => service.inbound_url.clone_from(value),
                "InboundMethod" => service.inbound_method.clone_from(value),
                "StatusCallback" => service.status_callback.clone_from(value),
                "UseInboundWebhookOnNumber" => service.use_number = value == "true",
                _ => {}
            }
        }
        Some(describe_service(account, sid, service))
    });
    seen.flatten().map_or_else(
        || error(404, 20_404, "The requested resource was not found"),
        |body| Reply::json(200, &body),
    )
}

fn describe_service(account: &str, sid: &str, service: &Service) -> Value {
    let or_null = |text: &str| if text.is_empty() { Value::Null } else { json!(text) };
    json!({"sid": sid, "account_sid": account, "friendly_name": "Shop", "inbound_request_url": or_null(&service.inbound_url),
        "inbound_method": service.inbound_method, "status_callback": or_null(&service.status_callback),
        "use_inbound_webhook_on_number": service.use_number})
}

fn describe_number(number: &NumberState) -> Value {
    json!({"sid": number.sid, "phone_number": number.number, "friendly_name": number.number, "sms_url": number.sms_url,
        "sms_method": number.sms_method, "status_callback": number.status_callback,
        "capabilities": {"sms": true, "mms": true, "voice": false}})
}

fn numbers(twilio: &Twilio, account: &str, call: &Call) -> Reply {
    let wanted = call.parameter("PhoneNumber");
    let list = twilio.with_account(account, |state| {
        let fits = |number: &&NumberState| wanted.as_ref().is_none_or(|wanted| number.number == *wanted);
        state
            .numbers
            .iter()
            .filter(fits)
            .map(describe_number)
            .collect::<Vec<_>>()
    });
    Reply::json(
        200,
        &json!({"incoming_phone_numbers": list, "page": 0, "page_size": 50, "next_page_uri": null}),
    )
}

fn number(twilio: &Twilio, account: &str, sid: &str, call: &Call) -> Reply {
    let fields = call.form();
    let path = "/2010-04-01/Accounts/{AccountSid}/IncomingPhoneNumbers/{Sid}.json";
    for problem in twilio.0.scene.contracts().twilio_form(path, &fields) {
        twilio.0.scene.violation("twilio", "number", problem);
    }
    let changed = twilio.with_account(account, |state| {
        let number = state.numbers.iter_mut().find(|number| number.sid == sid)?;
        for (name, value) in &fields {
            match name.as_str() {
                "SmsUrl" => number.sms_url.clone_from(value),
                "SmsMethod" => number.sms_method.clone_from(value),
                "StatusCallback" => number.status_callback.clone_from(value),
                _ => {}
            }
        }
        Some(describe_number(number))
    });
    changed.flatten().map_or_else(
        || error(404, 20_404, "The requested resource was not found"),
        |body| Reply::json(200, &body),
    )
}

fn list(twilio: &Twilio, account: &str, call: &Call) -> Reply {
    let (to, from) = (call.parameter("To"), call.parameter("From"));
    let size = call
        .parameter("PageSize")
        .and_then(|size| size.parse::<usize>().ok())
        .unwrap_or(50)
        .min(1000);
    let now = twilio.0.scene.now_ms();
    let list = twilio.with_account(account, |state| {
        let shown_until = now.saturating_sub(state.list_lag_ms);
        let fits = |message: &&Message| {
            message.at_ms <= shown_until
                && to.as_ref().is_none_or(|to| message.to == *to)
                && from.as_ref().is_none_or(|from| message.from == *from)
        };
        state
            .messages
            .iter()
            .rev()
            .filter(fits)
            .take(size)
            .map(|message| message.json(account))
            .collect::<Vec<_>>()
    });
    Reply::json(
        200,
        &json!({"messages": list, "page": 0, "page_size": size, "next_page_uri": null}),
    )
}

fn one(twilio: &Twilio, account: &str, sid: &str, (method, call): (&str, &Call)) -> Reply {
    let redacted = method == "POST"
        && call
            .form()
            .iter()
            .any(|(name, value)| name == "Body" && value.is_empty());
    let found = twilio.with_account(account, |state| {
        let at = state.messages.iter().position(|message| message.sid == sid)?;
        if method == "DELETE" {
            state.messages.remove(at);
            return Some(Reply::empty(204));
        }
        if redacted {
            state.messages[at].body.clear();
        }
        Some(Reply::json(200, &state.messages[at].json(account)))
    });
    found
        .flatten()
        .unwrap_or_else(|| error(404, 20_404, "The requested resource was not found"))
}

fn describe_media(account: &str, sid: &str, media: &Media) -> Value {
    json!({"sid": sid, "account_sid": account, "parent_sid": media.message, "content_type": media.file.content_type,
        "uri": format!("/2010-04-01/Accounts/{account}/Messages/{}/Media/{sid}.json", media.message)})
}

fn media_list(twilio: &Twilio, account: &str, message: &str) -> Reply {
    let list = twilio.with_account(account, |state| {
        let of = state.media.iter().filter(|(_, media)| media.message == message);
        of.map(|(sid, media)| describe_media(account, sid, media))
            .collect::<Vec<_>>()
    });
    Reply::json(
        200,
        &json!({"media_list": list, "page": 0, "page_size": 50, "next_page_uri": null}),
    )
}

fn media_one(twilio: &Twilio, account: &str, message: &str, (method, media): (&str, &str)) -> Reply {
    let (sid, as_json) = media.strip_suffix(".json").map_or((media, false), |sid| (sid, true));
    let now = twilio.0.scene.now_ms();
    let found = twilio.with_account(account, |state| {
        if method == "DELETE" {
            return state.media.remove(sid).map(|_| Reply::empty(204));
        }
        let known = state.media.get_mut(sid).filter(|known| known.message == message)?;
        if as_json {
            return Some(Reply::json(200, &describe_media(account, sid, known)));
        }
        let ticket = random_hex(24);
        known.tickets.push((ticket.clone(), now + TICKET_MS));
        let place = format!(
            "https://mms.twiliocdn.com/{account}/{sid}?Expires={}&Signature={ticket}",
            (now + TICKET_MS) / 1000
        );
        Some(Reply::empty(307).with("location", place))
    });
    found
        .flatten()
        .unwrap_or_else(|| error(404, 20_404, "The requested resource was not found"))
}

/// The open store: the ticket is the only proof, and a credential does not belong here.
pub(super) fn from_store(twilio: &Twilio, call: &Call) -> Reply {
    if call.headers.contains_key("authorization") {
        twilio.0.scene.violation(
            "twilio",
            "media store",
            "the account's credential was sent to another host",
        );
        return Reply::empty(400);
    }
    let pieces = call.pieces();
    let (account, sid) = (
        pieces.first().map_or("", String::as_str),
        pieces.get(1).map_or("", String::as_str),
    );
    let ticket = call.parameter("Signature").unwrap_or_default();
    let now = twilio.0.scene.now_ms();
    let found = twilio.with_account(account, |state| {
        let media = state.media.get(sid)?;
        let good = media
            .tickets
            .iter()
            .any(|(known, until)| *known == ticket && *until > now);
        good.then(|| media.file.clone())
    });
    found.flatten().map_or_else(
        || Reply::empty(403),
        |file| Reply::typed(200, &file.content_type, file.bytes),
    )
}

/// `Thu, 01 Jan 2026 00:00:00 +0000`
pub(super) fn rfc2822(unix: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, seconds) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    // Days to a date of the Gregorian calendar, counted from 1 March of the year 0.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let pick = |list: &[&'static str], at: i64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| list.get(at).copied())
            .unwrap_or("")
    };
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} +0000",
        pick(&DAYS, days.rem_euclid(7)),
        pick(&MONTHS, month - 1),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::rfc2822;

    #[test]
    fn dates_are_written_as_rfc_2822() {
        let check = |unix, expected: &str| assert_eq!(rfc2822(unix), expected);
        check(0, "Thu, 01 Jan 1970 00:00:00 +0000");
        check(1_767_225_600, "Thu, 01 Jan 2026 00:00:00 +0000");
        check(1_709_210_096, "Thu, 29 Feb 2024 12:34:56 +0000");
    }
}
