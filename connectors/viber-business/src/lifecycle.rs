//! Proving the key, subscribing the channel's address, and watching both.
//!
//! A subscription, its profile (the address) and its security (user and password) have ids of the channel's own, so that
//! connecting again finds them, and disconnecting takes away nobody else's.

use mantle_sdk::Host;
use mantle_sdk::connector::{Account, ConnectError, Connection, Health, Readiness, Report};
use mantle_sdk::http::{ErrorKind, Method, Request};
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{self, Repeat};
use crate::fields;

/// The credentials that also write the webhook's password into the body, where each call wants it.
const SUBSCRIBE: &str = "subscribe";
const SECURE: &str = "secure";
/// Stands where the host puts the password.
const PASSWORD: &str = "filled in by the host";

const EVENTS: [&str; 3] = ["INBOUND_MESSAGE", "DELIVERY", "SEEN"];
/// Longest address of a webhook, in characters.
const ADDRESS_MAX: usize = 512;
/// Longest name of a subscription, in characters.
const NAME_MAX: usize = 255;

#[derive(Deserialize)]
struct Profile {
    webhook: Option<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    #[serde(default)]
    notify_url: String,
}

/// What the channel has at Infobip, and how it is called there.
struct Names {
    subscription: String,
    profile: String,
    security: String,
}

impl Names {
    /// After the channel, whose id ends the address of its hook.
    fn of(host: &dyn Host) -> Self {
        let hook_url = host.hook_url();
        let channel = hook_url.rsplit('/').next().unwrap_or_default();
        Self {
            subscription: format!("mantle-{channel}"),
            profile: format!("mantle-{channel}-profile"),
            security: format!("mantle-{channel}-auth"),
        }
    }

    fn subscription_path(&self) -> String {
        format!(
            "/subscriptions/1/subscription/VIBER/{}",
            api::segment(&self.subscription)
        )
    }

    fn profile_path(&self) -> String {
        format!("/subscriptions/1/profiles/{}", api::segment(&self.profile))
    }

    fn security_path(&self) -> String {
        format!("/subscriptions/1/security/{}", api::segment(&self.security))
    }
}

pub fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
    let sender = fields::sender(host)?;
    logs(host, &sender).map_err(wrong_field)?;
    Ok(Account {
        name: format!("{sender} (Viber)"),
        external_id: sender,
        // Several subscriptions may live side by side: nobody's is in the way.
        foreign_webhook: None,
    })
}

/// The one reading call that consumes nothing: reports, once fetched, are lost to others.
fn logs(host: &dyn Host, sender: &str) -> Result<(), CallError> {
    let request = api::request(host, Method::Get, "/viber/2/logs")?.query([("sender", sender), ("limit", "1")]);
    let _any: Value = api::call(host, request, Repeat::Harmless)?;
    Ok(())
}

pub fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
    let hook_url = host.hook_url();
    if hook_url.len() > ADDRESS_MAX {
        return by_hand(
            "address-too-long",
            &format!("Infobip takes webhook addresses of at most {ADDRESS_MAX} characters; shorten `public_url`."),
        );
    }
    match subscribe(host, &hook_url) {
        Ok(()) => Ok(Connection {
            readiness: Readiness::Connected,
            notices: Vec::new(),
        }),
        Err(CallError::Unauthorized(failure)) if failure.code == "401" => {
            Err(wrong_field(CallError::Unauthorized(failure)))
        }
        // A key without `subscriptions:manage` still sends; somebody else has to subscribe the address.
        Err(CallError::Unauthorized(failure)) => by_hand(&failure.code, &in_hand(host, &failure.message)),
        Err(CallError::Refused(refusal)) => by_hand(&refusal.code, &in_hand(host, &refusal.message)),
        Err(error) => Err(error.into()),
    }
}

fn subscribe(host: &dyn Host, hook_url: &str) -> Result<(), CallError> {
    let names = Names::of(host);
    let user = fields::hook_user(host)?;
    let webhook = json!({ "notifyUrl": hook_url, "contentType": "application/json" });
    let security = json!({
        "type": "BASIC",
        "credentials": { "username": user, "password": PASSWORD },
    });
    if is_there(host, &names.subscription_path())? {
        // User, password and address may be other ones than before.
        let secure = api::request(host, Method::Put, &names.security_path())?
            .credential(SECURE)
            .json(&security);
        api::make(host, secure)?;
        let profile = json!({ "webhook": webhook, "security": { "authId": names.security } });
        return api::make(
            host,
            api::request(host, Method::Put, &names.profile_path())?.json(&profile),
        );
    }
    let name: String = format!("Mantle, {}", fields::sender(host)?)
        .chars()
        .take(NAME_MAX)
        .collect();
    let mut named = security;
    named["authId"] = json!(names.security);
    let body = json!({
        "subscriptionId": names.subscription,
        "name": name,
        "events": EVENTS,
        "profile": { "profileId": names.profile, "webhook": webhook, "security": named },
    });
    let request = api::request(host, Method::Post, "/subscriptions/1/subscription/VIBER")?
        .credential(SUBSCRIBE)
        .json(&body);
    api::make(host, request)
}

fn is_there(host: &dyn Host, path: &str) -> Result<bool, CallError> {
    match api::make(host, api::request(host, Method::Get, path)?) {
        Ok(()) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &CallError) -> bool {
    matches!(error, CallError::Refused(refusal) if refusal.code == "404")
}

/// What to do comes first: the end may be cut.
fn in_hand(host: &dyn Host, why: &str) -> String {
    format!(
        "Ask Infobip's support to send the sender's messages and reports to {} with Basic authentication, the user and \
         password of this channel. They could not be subscribed: {why}",
        host.hook_url()
    )
}

fn by_hand(code: &str, message: &str) -> Result<Connection, ConnectError> {
    Ok(Connection {
        readiness: Readiness::Pending,
        notices: vec![Notice::new(NoticeLevel::Broken, code, message)],
    })
}

/// Only what points here is taken away.
pub fn disconnect(host: &dyn Host) -> Result<(), CallError> {
    let names = Names::of(host);
    let hook_url = host.hook_url();
    if address(host, &names)?.is_none_or(|address| address != hook_url) {
        return Ok(());
    }
    // A subscription lives upon its profile, and the profile upon its security.
    for path in [names.subscription_path(), names.profile_path(), names.security_path()] {
        match api::make(host, api::request(host, Method::Delete, &path)?) {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Where the channel's subscription leads. None: there is none.
fn address(host: &dyn Host, names: &Names) -> Result<Option<String>, CallError> {
    let request: Request = api::request(host, Method::Get, &names.profile_path())?;
    match api::call::<Profile>(host, request, Repeat::Harmless) {
        Ok(profile) => Ok(profile.webhook.map(|webhook| webhook.notify_url)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn check(host: &dyn Host) -> Result<Report, CallError> {
    match look(host) {
        Ok(notice) => Ok(Report {
            health: if notice.is_some() {
                Health::Pending
            } else {
                Health::Connected
            },
            notices: notice.into_iter().collect(),
        }),
        Err(CallError::Unauthorized(failure)) => Ok(trouble(Health::Disconnected, NoticeLevel::Broken, failure)),
        Err(CallError::Transient(failure)) => Ok(trouble(Health::Offline, NoticeLevel::Warning, failure)),
        Err(CallError::Refused(refusal)) => {
            let failure = Failure::new(refusal.code, refusal.message);
            Ok(trouble(Health::Pending, NoticeLevel::Broken, failure))
        }
        // Too many calls say nothing about the channel.
        Err(other) => Err(other),
    }
}

fn trouble(health: Health, level: NoticeLevel, failure: Failure) -> Report {
    Report {
        health,
        notices: vec![Notice::new(level, failure.code, failure.message)],
    }
}

/// An address that Infobip's support has set cannot be looked at: without a subscription nothing is held against it.
fn look(host: &dyn Host) -> Result<Option<Notice>, CallError> {
    logs(host, &fields::sender(host)?)?;
    let found = match address(host, &Names::of(host)) {
        Err(CallError::Unauthorized(failure)) if failure.code == "403" => return Ok(None),
        other => other?,
    };
    let is_elsewhere = found.is_some_and(|address| address != host.hook_url());
    Ok(is_elsewhere.then(|| {
        Notice::new(
            NoticeLevel::Broken,
            "webhook-elsewhere",
            "Infobip sends the sender's messages to another address. Connect the channel again to take them back.",
        )
    }))
}

/// The field that Infobip refuses.
fn wrong_field(error: CallError) -> ConnectError {
    let nowhere = [ErrorKind::Dns.code(), ErrorKind::Tls.code()];
    match error {
        CallError::Unauthorized(failure) if failure.code == "403" => ConnectError::field(
            "api_key",
            failure.code,
            "The API key needs message:send and viber-bm:logs:read, and subscriptions:manage to set the webhook; if it has \
             them, this host's address is not on its list.",
        ),
        CallError::Unauthorized(failure) => ConnectError::field("api_key", failure.code, failure.message),
        CallError::Refused(refusal) if refusal.code == "404" => {
            ConnectError::field("api_base", refusal.code, "Infobip has no Viber API at this address.")
        }
        CallError::Transient(failure) if nowhere.contains(&failure.code.as_str()) => {
            ConnectError::field("api_base", failure.code, "There is no such address at Infobip.")
        }
        other => other.into(),
    }
}
