//! What happens between the apps that share the account: notices, not messages.

use mantle_sdk::Host;
use mantle_sdk::values::{Event, EventBody, Notice, NoticeLevel};

use super::event::Item;
use super::{Unread, short};
use crate::wire::{Loose, ThreadControl};

pub fn passed(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(control) = item.parts.take::<ThreadControl>("pass_thread_control", unread) else {
        return Vec::new();
    };
    let (from, to) = (app(&control.previous_owner_app_id), app(&control.new_owner_app_id));
    let message = format!("A conversation of the account went from {from} to {to}.");
    vec![notice(item, NoticeLevel::Info, "thread-passed", message)]
}

pub fn taken(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(control) = item.parts.take::<ThreadControl>("take_thread_control", unread) else {
        return Vec::new();
    };
    let from = app(&control.previous_owner_app_id);
    let message = format!("Another app took a conversation of the account over from {from}.");
    vec![notice(item, NoticeLevel::Info, "thread-taken", message)]
}

pub fn requested(item: &Item<'_>, _host: &dyn Host, unread: &mut Unread) -> Vec<Event> {
    let Some(control) = item.parts.take::<ThreadControl>("request_thread_control", unread) else {
        return Vec::new();
    };
    let by = app(&control.requested_owner_app_id);
    let message = format!("A conversation of the account is asked for by {by}. It stays here.");
    vec![notice(item, NoticeLevel::Info, "thread-requested", message)]
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
