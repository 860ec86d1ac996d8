//! News about the account, the number or its templates: notices for the channel's page, never for a chat.
//! They name the WhatsApp Business Account and mostly no number, so they have no `account` of their own.

use mantle_sdk::values::{Event, EventBody, Notice, NoticeLevel, TimeMs};
use serde_json::Value;

/// None for fields that are not about the channel's health.
pub fn notices(
    field: &str,
    value: &Value,
    waba: Option<&str>,
    told_at: Option<TimeMs>,
    received_at: TimeMs,
) -> Vec<Event> {
    let notices = match field {
        "account_update" => account_update(value).into_iter().collect(),
        "account_alerts" => vec![alert(value)],
        "phone_number_quality_update" => vec![quality(value)],
        "phone_number_name_update" => vec![name(value)],
        "business_capability_update" => vec![Notice::new(
            NoticeLevel::Info,
            "capability",
            format!("Meta changed the account's limits: {}.", fields(value)),
        )],
        "security" => vec![Notice::new(
            NoticeLevel::Warning,
            "security",
            format!(
                "A security setting of the number changed: {}.",
                words(text(value, "event").unwrap_or("unknown"))
            ),
        )],
        "message_template_status_update" => vec![template_status(value)],
        "message_template_quality_update" => vec![template_quality(value)],
        "message_template_components_update" => {
            vec![Notice::new(
                NoticeLevel::Info,
                "template-changed",
                format!("{} was changed.", template(value)),
            )]
        }
        "template_category_update" => vec![template_category(value)],
        "user_preferences" => preferences(value),
        // Address books, old chats, calls and the administration of groups are not for an inbox.
        _ => Vec::new(),
    };
    let account = value.pointer("/metadata/phone_number_id").and_then(Value::as_str);
    let mark = fingerprint(value);
    notices
        .into_iter()
        .enumerate()
        .map(|(number, notice)| {
            // These have no id: the account, the provider's time and the content make them the same when told again.
            let key = format!(
                "{field}:{}:{}:{mark:016x}:{number}",
                waba.unwrap_or("-"),
                told_at.unwrap_or_default()
            );
            let event = Event::new(key, told_at.unwrap_or(received_at), EventBody::Notice(notice));
            match account {
                Some(account) => event.of_account(account),
                None => event,
            }
        })
        .collect()
}

fn account_update(value: &Value) -> Option<Notice> {
    let event = text(value, "event").unwrap_or("unknown");
    let (level, message) = match event {
        "ACCOUNT_RESTRICTION" => (
            NoticeLevel::Warning,
            format!(
                "Meta restricted the WhatsApp account: {}.",
                each(value, "restriction_info", "restriction_type")
            ),
        ),
        "ACCOUNT_VIOLATION" => {
            let violation = value.pointer("/violation_info/violation_type").and_then(Value::as_str);
            let violation = violation.unwrap_or("unknown").to_lowercase();
            (
                NoticeLevel::Warning,
                format!("Meta reports a violation of its rules: {violation}."),
            )
        }
        "DISABLED_UPDATE" => match value.pointer("/ban_info/waba_ban_state").and_then(Value::as_str) {
            Some("REINSTATE") => (NoticeLevel::Info, "Meta reinstated the WhatsApp account.".to_owned()),
            Some("SCHEDULE_FOR_DISABLE") => (
                NoticeLevel::Warning,
                "Meta is about to disable the WhatsApp account. Appeal in WhatsApp Manager.".to_owned(),
            ),
            _ => (
                NoticeLevel::Broken,
                "Meta disabled the WhatsApp account. Appeal in WhatsApp Manager.".to_owned(),
            ),
        },
        "ACCOUNT_DELETED" => (NoticeLevel::Broken, "The WhatsApp account was deleted.".to_owned()),
        "PARTNER_REMOVED" | "ACCOUNT_OFFBOARDED" => (NoticeLevel::Broken, removed(value)),
        "PARTNER_APP_UNINSTALLED" => (
            NoticeLevel::Broken,
            "The app was taken off the WhatsApp account. Connect the channel again.".to_owned(),
        ),
        "ACCOUNT_RECONNECTED" => (NoticeLevel::Info, "The WhatsApp account is connected again.".to_owned()),
        // Prices, partners, certificates: nothing that stops a message.
        _ => return None,
    };
    Some(Notice::new(level, event.to_lowercase(), message))
}

fn removed(value: &Value) -> String {
    let reason = value.pointer("/disconnection_info/reason").and_then(Value::as_str);
    let why = match reason {
        Some("PRIMARY_INACTIVITY") => ": the phone with the WhatsApp Business app was not used for too long",
        Some("COMPANION_INACTIVITY") => ": the connection was not used for too long",
        Some("CHANGE_NUMBER") => ": the phone has a new number",
        Some("USER_RE_REGISTERED") => ": the number was registered on another phone",
        Some("BUSINESS_DOWNGRADE") => ": the number moved to a private WhatsApp account",
        Some("ACCOUNT_DISCONNECTED") => ": it was disconnected in the WhatsApp Business app",
        _ => "",
    };
    format!("The number was disconnected from the Cloud API{why}. Connect it again.")
}

fn alert(value: &Value) -> Notice {
    let level = match text(value, "alert_severity") {
        Some("CRITICAL") => NoticeLevel::Broken,
        Some("WARNING") => NoticeLevel::Warning,
        _ => NoticeLevel::Info,
    };
    let words = text(value, "alert_description")
        .or(text(value, "alert_type"))
        .unwrap_or("an alert without words");
    Notice::new(level, "account-alert", format!("Meta says about the account: {words}"))
}

fn quality(value: &Value) -> Notice {
    let event = text(value, "event").unwrap_or("unknown");
    let level = match event {
        "FLAGGED" | "DOWNGRADE" => NoticeLevel::Warning,
        _ => NoticeLevel::Info,
    };
    let limit = text(value, "current_limit").map(|limit| format!("; its limit is {}", words(limit)));
    Notice::new(
        level,
        "number-quality",
        format!(
            "WhatsApp rates the number anew: {}{}.",
            words(event),
            limit.unwrap_or_default()
        ),
    )
}

fn name(value: &Value) -> Notice {
    let decision = text(value, "decision").unwrap_or("unknown");
    let level = if decision == "APPROVED" {
        NoticeLevel::Info
    } else {
        NoticeLevel::Warning
    };
    Notice::new(
        level,
        "number-name",
        format!("WhatsApp's decision about the number's name: {}.", words(decision)),
    )
}

fn template_status(value: &Value) -> Notice {
    let event = text(value, "event").unwrap_or("unknown");
    let level = match event {
        "APPROVED" | "PENDING" | "REINSTATED" | "UNARCHIVED" => NoticeLevel::Info,
        _ => NoticeLevel::Warning,
    };
    let told = value
        .pointer("/rejection_info/reason")
        .and_then(Value::as_str)
        .or(text(value, "reason"));
    let why = told
        .filter(|reason| *reason != "NONE")
        .map(|reason| format!(": {}", words(reason)));
    let sentence = format!("{} is now {}{}", template(value), words(event), why.unwrap_or_default());
    Notice::new(level, "template-status", format!("{}.", sentence.trim_end_matches('.')))
}

fn template_quality(value: &Value) -> Notice {
    let new = text(value, "new_quality_score").unwrap_or("unknown");
    let level = match new {
        "YELLOW" | "RED" => NoticeLevel::Warning,
        _ => NoticeLevel::Info,
    };
    Notice::new(
        level,
        "template-quality",
        format!("{} is now of {} quality.", template(value), words(new)),
    )
}

fn template_category(value: &Value) -> Notice {
    let category = text(value, "new_category")
        .or(text(value, "correct_category"))
        .unwrap_or("unknown");
    Notice::new(
        NoticeLevel::Info,
        "template-category",
        format!("{} is of the category {} now.", template(value), words(category)),
    )
}

/// Stopping marketing leaves every other message allowed, so nobody becomes unreachable by it.
fn preferences(value: &Value) -> Vec<Notice> {
    let items = value.get("user_preferences").and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(|item| {
            let message = match text(item, "value")? {
                "stop" => "A customer stopped marketing templates; other messages still arrive.",
                "resume" | "signup" => "A customer allowed marketing templates again.",
                _ => return None,
            };
            Some(Notice::new(NoticeLevel::Info, "marketing-preference", message))
        })
        .collect()
}

fn template(value: &Value) -> String {
    let name = text(value, "message_template_name").unwrap_or("without a name");
    match text(value, "message_template_language") {
        Some(language) => format!("The template “{name}” ({language})"),
        None => format!("The template “{name}”"),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// `RESTRICTED_BIZ_INITIATED_MESSAGING` as people write it.
fn words(code: &str) -> String {
    let is_code = code
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if is_code {
        code.to_lowercase().replace('_', " ")
    } else {
        code.to_owned()
    }
}

fn each(value: &Value, list: &str, name: &str) -> String {
    let items = value.get(list).and_then(Value::as_array).into_iter().flatten();
    let told: Vec<String> = items.filter_map(|item| text(item, name)).map(words).collect();
    if told.is_empty() {
        "no details are given".to_owned()
    } else {
        told.join(", ")
    }
}

fn fields(value: &Value) -> String {
    let told: Vec<String> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), value.to_string().trim_matches('"')))
        .collect();
    if told.is_empty() {
        "no details are given".to_owned()
    } else {
        told.join(", ")
    }
}

/// FNV-1a, 64 bits: tells two bodies apart; nothing rests on it being hard to forge.
fn fingerprint(value: &Value) -> u64 {
    value.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
