//! The number or messaging service that the channel is, as Twilio has it.

use mantle_sdk::Host;
use mantle_sdk::http::Request;
use mantle_sdk::values::CallError;
use serde_json::Value;

use crate::api::{self, Repeat};
use crate::fields::{self, Sender};
use crate::wire::{MessagingService, Number, Numbers};

/// Twilio's own placeholder on every new number.
const DEMO: &str = "https://demo.twilio.com/";

pub struct Found {
    /// As the field `from` spells it: it is what inbound events name as their account.
    pub external_id: String,
    pub name: String,
    pub can_text: bool,
    webhook: Option<String>,
    /// Something beside the address decides where messages go, so that the address alone would not help.
    bypassed: bool,
    place: Place,
}

enum Place {
    /// The address of the number's resource.
    Number(String),
    /// The address of the service's resource.
    Service(String),
}

/// None: the account has no such number or service.
pub fn look_up(host: &dyn Host) -> Result<Option<Found>, CallError> {
    match fields::sender(host)? {
        Sender::Number(number) => look_up_number(&number, host),
        Sender::MessagingService(sid) => look_up_service(sid, host),
    }
}

fn look_up_number(number: &str, host: &dyn Host) -> Result<Option<Found>, CallError> {
    let account_sid = fields::account_sid(host)?;
    let url = api::account_url(&account_sid, "/IncomingPhoneNumbers.json");
    let listed: Numbers = api::call(
        host,
        Request::get(url).query([("PhoneNumber", number)]),
        Repeat::Harmless,
    )?;
    // The parameter is a pattern: it finds longer numbers too.
    let found = listed
        .incoming_phone_numbers
        .into_iter()
        .find(|listed| listed.phone_number == number);
    Ok(found.map(|found: Number| Found {
        external_id: number.to_owned(),
        name: found
            .friendly_name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| number.to_owned()),
        can_text: found.capabilities.and_then(|can| can.sms) != Some(false),
        webhook: found.sms_url.filter(|url| !url.is_empty()),
        bypassed: found.sms_application_sid.is_some_and(|sid| !sid.is_empty()),
        place: Place::Number(api::account_url(
            &account_sid,
            &format!("/IncomingPhoneNumbers/{}.json", found.sid),
        )),
    }))
}

fn look_up_service(sid: String, host: &dyn Host) -> Result<Option<Found>, CallError> {
    let url = api::service_url(&sid);
    let service: MessagingService = match api::call(host, Request::get(url.as_str()), Repeat::Harmless) {
        Err(CallError::Refused(refusal)) if matches!(refusal.code.as_str(), "404" | "20404") => return Ok(None),
        other => other?,
    };
    Ok(Some(Found {
        name: service
            .friendly_name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| sid.clone()),
        external_id: sid,
        can_text: true,
        webhook: service.inbound_request_url.filter(|url| !url.is_empty()),
        bypassed: service.use_inbound_webhook_on_number,
        place: Place::Service(url),
    }))
}

impl Found {
    pub fn points_to(&self, hook_url: &str) -> bool {
        !self.bypassed
            && self
                .webhook
                .as_deref()
                .is_some_and(|url| api::is_same_address(url, hook_url))
    }

    /// An address that somebody else has set on purpose.
    pub fn foreign_webhook(&self, hook_url: &str) -> Option<String> {
        let url = self.webhook.as_deref()?;
        let is_foreign = !api::is_same_address(url, hook_url) && !url.starts_with(DEMO);
        is_foreign.then(|| url.to_owned())
    }

    pub fn point_here(&self, host: &dyn Host) -> Result<(), CallError> {
        let address = api::with_retry_rules(&host.hook_url());
        match &self.place {
            Place::Number(url) => {
                let mut form = vec![("SmsUrl", address.as_str()), ("SmsMethod", "POST")];
                if self.bypassed {
                    form.push(("SmsApplicationSid", ""));
                }
                change(url, &form, host)
            }
            Place::Service(url) => change(
                url,
                &[
                    ("InboundRequestUrl", address.as_str()),
                    ("InboundMethod", "POST"),
                    ("UseInboundWebhookOnNumber", "false"),
                ],
                host,
            ),
        }
    }

    pub fn clear(&self, host: &dyn Host) -> Result<(), CallError> {
        match &self.place {
            Place::Number(url) => change(url, &[("SmsUrl", "")], host),
            Place::Service(url) => change(url, &[("InboundRequestUrl", "")], host),
        }
    }
}

fn change(url: &str, form: &[(&str, &str)], host: &dyn Host) -> Result<(), CallError> {
    api::call::<Value>(host, Request::post(url).form(form.iter().copied()), Repeat::Harmless).map(|_| ())
}
