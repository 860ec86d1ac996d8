//! What happens to the Page and between the apps that share it: notices, not messages.

use mantle_sdk::Host;
use mantle_sdk::values::{Event, EventBody, Notice, NoticeLevel};
use serde_json::{Map, Value};

use super::event::Item;
use super::{Unread, short};
use crate::wire::{Enforcement, Loose, ThreadControl};

pub fn enforcement(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(enforced) = item.parts.take::<Enforcement>("policy_enforcement", unread) else {
        return Vec::new();
    };
    let reason = enforced.reason.as_deref().map(short).unwrap_or_default();
    let (level, what) = match enforced.action.as_str() {
        "unblock" => (NoticeLevel::Info, "Meta lets the Page send messages again."),
        "block" => (NoticeLevel::Broken, "Meta has blocked the Page from sending messages."),
        _ => (NoticeLevel::Warning, "Meta has enforced its rules on the Page."),
    };
    let message = match reason.is_empty() {
        true => what.to_owned(),
        false => format!("{what} It says: {reason}"),
    };
    vec![notice(item, level, "policy-enforcement", message)]
}

pub fn passed(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(control) = item.parts.take::<ThreadControl>("pass_thread_control", unread) else {
        return Vec::new();
    };
    let (from, to) = (app(&control.previous_owner_app_id), app(&control.new_owner_app_id));
    let message = format!("A conversation of the Page went from {from} to {to}.");
    vec![notice(item, NoticeLevel::Info, "thread-passed", message)]
}

pub fn taken(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(control) = item.parts.take::<ThreadControl>("take_thread_control", unread) else {
        return Vec::new();
    };
    let from = app(&control.previous_owner_app_id);
    let message =
        format!("Another app took a conversation of the Page over from {from}. The next reply takes it back.");
    vec![notice(item, NoticeLevel::Info, "thread-taken", message)]
}

pub fn requested(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(control) = item.parts.take::<ThreadControl>("request_thread_control", unread) else {
        return Vec::new();
    };
    let by = app(&control.requested_owner_app_id);
    let message = format!("A conversation of the Page is asked for by {by}. It stays here.");
    vec![notice(item, NoticeLevel::Info, "thread-requested", message)]
}

pub fn roles(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    if item.parts.take::<Map<String, Value>>("app_roles", unread).is_none() {
        return Vec::new();
    }
    let message = "The roles of the apps that share the Page have changed: see its conversation routing.";
    vec![notice(item, NoticeLevel::Info, "app-roles", message.to_owned())]
}

fn app(id: &Loose) -> String {
    match id.as_deref() {
        Some("263902037430900") => "the Page inbox".to_owned(),
        Some(id) => format!("the app {}", short(id)),
        None => "another app".to_owned(),
    }
}

fn notice(item: &Item<'_>, level: NoticeLevel, code: &str, message: String) -> Event {
    item.event(item.unnamed(code), EventBody::Notice(Notice::new(level, code, message)))
}
