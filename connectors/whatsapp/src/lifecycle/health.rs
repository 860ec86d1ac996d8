//! How the number is, in the words of the channel's page.

use mantle_sdk::Host;
use mantle_sdk::connector::{Health, Report};
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel};
use serde::Deserialize;

use super::webhook;
use crate::fields;
use crate::graph::{self, Repeat};
use crate::wire::Loose;

const FIELDS: &str =
    "id,display_phone_number,verified_name,status,quality_rating,platform_type,name_status,health_status";

#[derive(Deserialize)]
struct Number {
    status: Option<String>,
    quality_rating: Option<String>,
    health_status: Option<HealthStatus>,
}

#[derive(Deserialize)]
struct HealthStatus {
    #[serde(default)]
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
struct Entity {
    #[serde(default)]
    entity_type: String,
    #[serde(default)]
    can_send_message: String,
    #[serde(default)]
    errors: Vec<Obstacle>,
}

#[derive(Deserialize)]
struct Obstacle {
    #[serde(default)]
    error_code: Loose,
    error_description: Option<String>,
    possible_solution: Option<String>,
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    match look(host) {
        Err(CallError::Unauthorized(failure)) => Ok(trouble(Health::Disconnected, NoticeLevel::Broken, failure)),
        Err(CallError::Transient(failure)) => Ok(trouble(Health::Offline, NoticeLevel::Warning, failure)),
        Err(CallError::Refused(refusal)) => {
            let failure = Failure::new(refusal.code, refusal.message);
            Ok(trouble(Health::Pending, NoticeLevel::Broken, failure))
        }
        // Too many calls say nothing about the channel.
        other => other,
    }
}

fn trouble(health: Health, level: NoticeLevel, failure: Failure) -> Report {
    Report {
        health,
        notices: vec![Notice::new(level, failure.code, failure.message)],
    }
}

fn look(host: &dyn Host) -> Result<Report, CallError> {
    let number_id = fields::phone_number_id(host)?;
    let request = graph::get(&number_id).query([("fields", FIELDS)]);
    let number: Number = graph::call(host, request, Repeat::Harmless)?;
    let mut notices: Vec<Notice> = Vec::new();
    let mut health = Health::Connected;

    notices.extend(of_status(number.status.as_deref()));
    if number.quality_rating.as_deref() == Some("RED") {
        notices.push(Notice::new(
            NoticeLevel::Warning,
            "quality-red",
            "WhatsApp rates the number's quality as low. Its limits may be lowered.",
        ));
    }
    for entity in number.health_status.iter().flat_map(|status| &status.entities) {
        notices.extend(of_entity(entity));
    }
    notices.extend(delivery(host, &number_id)?);
    if notices.iter().any(|notice| notice.level == NoticeLevel::Broken) {
        health = Health::Pending;
    }
    Ok(Report { health, notices })
}

fn of_status(status: Option<&str>) -> Option<Notice> {
    let (level, message) = match status? {
        "CONNECTED" => return None,
        "DISCONNECTED" => (
            NoticeLevel::Broken,
            "The number is not connected to the Cloud API. Register it: Meta for Developers, WhatsApp, API Setup."
                .to_owned(),
        ),
        "PENDING" => (
            NoticeLevel::Broken,
            "The number waits for its verification. Finish it in WhatsApp Manager.".to_owned(),
        ),
        "BANNED" => (
            NoticeLevel::Broken,
            "WhatsApp has banned the number. Appeal in WhatsApp Manager.".to_owned(),
        ),
        "FLAGGED" => (
            NoticeLevel::Warning,
            "WhatsApp has flagged the number for its quality. Its limits may be lowered.".to_owned(),
        ),
        "RESTRICTED" => (
            NoticeLevel::Warning,
            "WhatsApp restricts the number: it cannot start conversations for now.".to_owned(),
        ),
        "RATE_LIMITED" => (
            NoticeLevel::Warning,
            "The number sends faster than WhatsApp allows.".to_owned(),
        ),
        other => (
            NoticeLevel::Warning,
            format!("WhatsApp gives the number the status {other}."),
        ),
    };
    Some(Notice::new(level, "number-status", message))
}

fn of_entity(entity: &Entity) -> Vec<Notice> {
    let level = match entity.can_send_message.as_str() {
        "BLOCKED" => NoticeLevel::Broken,
        "LIMITED" => NoticeLevel::Warning,
        _ => return Vec::new(),
    };
    let who = match entity.entity_type.as_str() {
        "PHONE_NUMBER" => "the number",
        "WABA" => "the WhatsApp Business Account",
        "BUSINESS" => "the business",
        "APP" => "the app",
        _ => "a part of the account",
    };
    let verb = if level == NoticeLevel::Broken {
        "blocks"
    } else {
        "limits"
    };
    if entity.errors.is_empty() {
        return vec![Notice::new(
            level,
            "health",
            format!("Meta {verb} sending because of {who}."),
        )];
    }
    entity
        .errors
        .iter()
        .map(|obstacle| {
            let words = [
                obstacle.error_description.as_deref(),
                obstacle.possible_solution.as_deref(),
            ];
            let words = words.into_iter().flatten().map(str::trim).collect::<Vec<_>>().join(" ");
            let code = obstacle.error_code.clone().unwrap_or_else(|| "health".to_owned());
            Notice::new(level, code, format!("Meta {verb} sending because of {who}: {words}"))
        })
        .collect()
}

/// Whether messages of customers find their way here.
fn delivery(host: &dyn Host, number_id: &str) -> Result<Option<Notice>, CallError> {
    let waba = fields::business_account_id(host)?;
    let subscriptions = webhook::subscriptions(host, &waba)?.map_err(|told| told.error)?;
    if subscriptions.data.is_empty() {
        return Ok(Some(Notice::new(
            NoticeLevel::Broken,
            "not-subscribed",
            "No app is subscribed to the WhatsApp Business Account, so no message arrives. Connect the channel again.",
        )));
    }
    let hook_url = host.hook_url();
    if subscriptions.addresses().any(|address| address == hook_url) {
        return Ok(None);
    }
    // A number's own address comes before the account's.
    let own = webhook::of_number(host, number_id);
    let found = own.or_else(|| webhook::of_only_app(&subscriptions));
    Ok(found.filter(|address| *address != hook_url).map(|_| {
        Notice::new(
            NoticeLevel::Broken,
            "webhook-elsewhere",
            "Meta sends the webhooks of this number to another address. Connect the channel again to take them back.",
        )
    }))
}
