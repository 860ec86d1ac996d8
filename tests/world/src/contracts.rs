//! The providers' published contracts, read from the folder in `MANTLE_CONTRACTS` (default: `../shared/contracts`
//! beside the workspace). Where the folder or a file is missing, that check is left out and `missing` says so.
//!
//! The files are material for tests and never part of the product.

mod openapi;
pub mod recorded;
mod telegram;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use openapi::OpenApi;
pub(crate) use telegram::BotApi;

/// Messages of these types have a branch in the schema that can be used; the other interactive ones are newer than it.
const INTERACTIVE_KNOWN: [&str; 2] = ["button", "list"];

#[derive(Clone, Copy)]
pub struct Contracts(&'static Loaded);

#[derive(Default)]
struct Loaded {
    telegram: Option<BotApi>,
    whatsapp: Option<OpenApi>,
    twilio: Option<OpenApi>,
    twilio_messaging: Option<OpenApi>,
    intercom: Option<OpenApi>,
    line: Option<OpenApi>,
    line_tokens: Option<OpenApi>,
    infobip_viber: Option<OpenApi>,
    infobip_subscriptions: Option<OpenApi>,
    missing: Vec<String>,
}

impl Contracts {
    /// Reads the files once in the life of the process.
    pub(crate) fn load() -> Self {
        static LOADED: OnceLock<Loaded> = OnceLock::new();
        Self(LOADED.get_or_init(|| load(&folder())))
    }

    /// One line for each contract that is not checked.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.0.missing
    }

    pub(crate) fn telegram(&self) -> Option<&BotApi> {
        self.0.telegram.as_ref()
    }

    /// What is wrong with the body of `POST /{phone number}/messages`.
    pub(crate) fn whatsapp_message(&self, body: &Value) -> Vec<String> {
        let Some(api) = &self.0.whatsapp else { return Vec::new() };
        let kind = body["type"].as_str().unwrap_or("text");
        let interactive = body["interactive"]["type"].as_str().unwrap_or("");
        if kind == "interactive" && !INTERACTIVE_KNOWN.contains(&interactive) {
            return Vec::new();
        }
        let mut letters = kind.chars();
        let Some(first) = letters.next() else {
            return vec!["`type` is empty".to_owned()];
        };
        let branch = format!("{}{}Message", first.to_uppercase(), letters.as_str());
        api.check_component(&branch, body)
    }

    /// What is wrong with a form, given the path as the file writes it.
    pub(crate) fn twilio_form(&self, path: &str, form: &[(String, String)]) -> Vec<String> {
        let Some(api) = &self.0.twilio else { return Vec::new() };
        api.check_form(path, form)
    }

    /// What is wrong with a JSON body for an Intercom call; `path` as the file writes it.
    pub(crate) fn intercom(&self, method: &str, path: &str, body: &Value) -> Vec<String> {
        let Some(api) = &self.0.intercom else { return Vec::new() };
        let path = path.replace('/', "~1");
        let pointer = format!("/paths/{path}/{method}/requestBody/content/application~1json/schema");
        if api.at(&pointer).is_none() {
            return Vec::new();
        }
        api.check(&pointer, body)
    }
}

fn folder() -> PathBuf {
    std::env::var_os("MANTLE_CONTRACTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/contracts"),
        PathBuf::from,
    )
}

fn load(folder: &Path) -> Loaded {
    let mut missing = Vec::new();
    let mut read = |name: &str| -> Option<Value> {
        let file = folder.join(name);
        let text = std::fs::read_to_string(&file).ok();
        let value = text.and_then(|text| {
            if name.ends_with(".yaml") || name.ends_with(".yml") {
                serde_norway::from_str(&text).ok()
            } else {
                serde_json::from_str(&text).ok()
            }
        });
        if value.is_none() {
            missing.push(format!(
                "{name} is not there or cannot be read: requests are not checked against it"
            ));
        }
        value
    };
    let telegram = read("telegram/api.json");
    let whatsapp = read("whatsapp/business-messaging-api_v23.0.yaml");
    let twilio = read("twilio/twilio_api_v2010.json");
    let twilio_messaging = read("twilio/twilio_messaging_v1.json");
    let intercom = read("intercom/2.16/api.intercom.io.yaml");
    let line = read("line/messaging-api.yml");
    let line_tokens = read("line/channel-access-token.yml");
    let infobip_viber = read("viber-business/infobip/infobip-viber-openapi.json");
    let infobip_subscriptions = read("viber-business/infobip/infobip-subscriptions-api-openapi.json");
    Loaded {
        telegram: telegram.map(BotApi::new),
        whatsapp: whatsapp.map(|mut file| {
            loosen_whatsapp(&mut file);
            OpenApi::new(file)
        }),
        twilio: twilio.map(OpenApi::new),
        twilio_messaging: twilio_messaging.map(OpenApi::new),
        intercom: intercom.map(OpenApi::new),
        line: line.map(OpenApi::new),
        line_tokens: line_tokens.map(OpenApi::new),
        infobip_viber: infobip_viber.map(OpenApi::new),
        infobip_subscriptions: infobip_subscriptions.map(OpenApi::new),
        missing,
    }
}

/// As published the schema rejects nearly every send; these are the loosenings that the folder's SOURCE.txt names.
fn loosen_whatsapp(file: &mut Value) {
    let schemas = &mut file["components"]["schemas"];
    let Some(branches) = schemas.as_object_mut() else {
        return;
    };
    for (name, schema) in branches.iter_mut() {
        if !name.ends_with("Message") {
            continue;
        }
        if let Some(second) = schema.pointer_mut("/allOf/1").and_then(Value::as_object_mut) {
            second.remove("additionalProperties");
        }
    }
    if let Some(base) = branches.get_mut("BaseMessageProperties") {
        base["required"] = json!(["messaging_product", "type"]);
        base["anyOf"] = json!([{"required": ["to"]}, {"required": ["recipient"]}]);
    }
    for axis in ["latitude", "longitude"] {
        for name in ["LocationMessage", "LocationObject"] {
            let Some(schema) = branches.get_mut(name) else { continue };
            for place in ["/allOf/1/properties/location/properties", "/properties"] {
                if let Some(property) = schema.pointer_mut(&format!("{place}/{axis}/type")) {
                    *property = json!(["number", "string"]);
                }
            }
        }
    }
    if let Some(language) = branches.get_mut("LanguageObject") {
        language["required"] = json!(["code"]);
    }
    for name in ["TemplateComponent", "TemplateObject"] {
        if let Some(schema) = branches.get_mut(name) {
            drop_index_pattern(schema);
        }
    }
}

fn drop_index_pattern(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(index) = fields.get_mut("index").and_then(Value::as_object_mut) {
                index.remove("pattern");
            }
            fields.values_mut().for_each(drop_index_pattern);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_index_pattern),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_whatsapp_sends_pass_and_broken_ones_do_not() {
        let contracts = Contracts::load();
        if !contracts.missing().is_empty() {
            crate::needs::leave_out("contracts", "a check of the contracts", &contracts.missing().join("; "));
            return;
        }
        let body = |kind: &str, content: Value| json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": "+4915155501234", "type": kind, kind: content});
        for good in [
            body("text", json!({"body": "Hello", "preview_url": true})),
            body("image", json!({"id": "1013859600285441", "caption": "Label"})),
            body("document", json!({"id": "1", "filename": "a.pdf", "caption": "x"})),
            body("audio", json!({"id": "1", "voice": true})),
            body(
                "location",
                json!({"latitude": 52.52, "longitude": 13.405, "name": "Office"}),
            ),
            body("reaction", json!({"message_id": "wamid.X", "emoji": "x"})),
            body(
                "template",
                json!({"name": "a", "language": {"code": "en_US"}, "components": [{"type": "body", "parameters": [{"type": "text", "text": "J"}]}]}),
            ),
            json!({"messaging_product": "whatsapp", "recipient": "DE.84", "type": "text", "text": {"body": "Hi"}}),
        ] {
            assert_eq!(contracts.whatsapp_message(&good), Vec::<String>::new(), "{good}");
        }
        assert!(!contracts.whatsapp_message(&body("text", json!({"body": 7}))).is_empty());
        assert!(
            !contracts
                .whatsapp_message(&json!({"messaging_product": "whatsapp", "type": "text", "text": {"body": "Hi"}}))
                .is_empty()
        );
    }

    #[test]
    fn intercom_bodies_are_checked_by_their_path() {
        let contracts = Contracts::load();
        if !contracts.missing().is_empty() {
            crate::needs::leave_out("contracts", "a check of the contracts", &contracts.missing().join("; "));
            return;
        }
        let good =
            json!({"from": {"type": "user", "id": "6762f0dd1bb69f9f2193bb83"}, "body": "Hi", "created_at": 1767225600});
        assert_eq!(
            contracts.intercom("post", "/conversations", &good),
            Vec::<String>::new()
        );
        assert!(
            !contracts
                .intercom(
                    "post",
                    "/conversations",
                    &json!({"from": {"type": "user"}, "body": "Hi"})
                )
                .is_empty()
        );
        let note = json!({"message_type": "note", "type": "admin", "admin_id": "814860", "body": "<p>x</p>"});
        assert_eq!(
            contracts.intercom("post", "/conversations/{conversation_id}/reply", &note),
            Vec::<String>::new()
        );
        let contact = json!({"message_type": "comment", "type": "user", "intercom_user_id": "6762f0dd1bb69f9f2193bb83", "body": "x", "attachment_files": [{"content_type": "image/jpeg", "name": "a.jpg", "data": "AAAA"}]});
        assert_eq!(
            contracts.intercom("post", "/conversations/{conversation_id}/reply", &contact),
            Vec::<String>::new()
        );
        let search = json!({"query": {"operator": "OR", "value": [{"field": "phone", "operator": "=", "value": "+44"}, {"field": "custom_attributes.x", "operator": "=", "value": "1"}]}, "sort": {"field": "last_seen_at", "order": "descending"}, "pagination": {"per_page": 5}});
        assert_eq!(
            contracts.intercom("post", "/contacts/search", &search),
            Vec::<String>::new()
        );
        let attribute = json!({"name": "bridge_telegram_id", "model": "contact", "data_type": "string"});
        assert_eq!(
            contracts.intercom("post", "/data_attributes", &attribute),
            Vec::<String>::new()
        );
        assert!(
            !contracts
                .intercom(
                    "post",
                    "/data_attributes",
                    &json!({"name": "a", "model": "conversation", "data_type": "string"})
                )
                .is_empty()
        );
    }

    #[test]
    fn twilio_forms_are_checked_by_name_and_type() {
        let contracts = Contracts::load();
        if !contracts.missing().is_empty() {
            crate::needs::leave_out("contracts", "a check of the contracts", &contracts.missing().join("; "));
            return;
        }
        let path = "/2010-04-01/Accounts/{AccountSid}/Messages.json";
        let form = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect::<Vec<_>>()
        };
        let good = form(&[
            ("To", "+15005550006"),
            ("From", "+15005550010"),
            ("Body", "x"),
            ("MediaUrl", "https://a/b"),
            ("MediaUrl", "https://a/c"),
            ("SmartEncoded", "true"),
        ]);
        assert_eq!(contracts.twilio_form(path, &good), Vec::<String>::new());
        assert!(
            !contracts
                .twilio_form(path, &form(&[("From", "+1"), ("Body", "x")]))
                .is_empty()
        );
        assert!(
            !contracts
                .twilio_form(path, &form(&[("To", "+1"), ("Text", "x")]))
                .is_empty()
        );
    }
}
