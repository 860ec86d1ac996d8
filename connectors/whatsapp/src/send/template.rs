//! A template with its filled-in values, as the components that the provider wants.

use mantle_sdk::Host;
use mantle_sdk::values::{
    CallError, Outgoing, OutgoingContent, Refusal, RefusalReason, TemplateParameter, TemplateUse, TemplateValue,
};
use serde_json::{Map, Value, json};

/// Codes of one-tap, zero-tap and copy-code templates go to a phone number only. The provider would answer 131062; the
/// category comes with the message, in its extras.
pub fn refuse_authentication(message: &Outgoing) -> Result<(), CallError> {
    let is_template = matches!(message.content, OutgoingContent::Template(_));
    let category = message
        .extras
        .iter()
        .find(|(name, _)| name == "category")
        .map(|(_, value)| value.as_str());
    if is_template && category.is_some_and(|category| category.eq_ignore_ascii_case("authentication")) {
        return Err(Refusal::new(
            RefusalReason::Unsupported,
            "131062",
            "Authentication templates go to a phone number only, and only a WhatsApp user id of this customer is known.",
        )
        .next_step("Ask the customer for the phone number, or send the code another way.")
        .into());
    }
    Ok(())
}

/// `extras` may name the kind of a button (`button:0` = `quick_reply`); the default is a variable address.
pub fn object(
    used: &TemplateUse,
    extras: &[(String, String)],
    number: &str,
    host: &dyn Host,
) -> Result<Value, CallError> {
    let mut components: Vec<Value> = Vec::new();
    for value in &used.values {
        let (kind, index) = place(value)?;
        let sub_type = index.map(|_| button_kind(&value.place, extras));
        let parameter = parameter(value, sub_type, number, host)?;
        let start = start(kind, index, sub_type);
        let same =
            |component: &&mut Value| component["type"] == start["type"] && component.get("index") == start.get("index");
        let component = match components.iter_mut().find(same) {
            Some(component) => component,
            None => {
                components.push(start);
                let last = components.len() - 1;
                &mut components[last]
            }
        };
        if let Some(parameters) = component["parameters"].as_array_mut() {
            parameters.push(parameter);
        }
    }
    let mut template = json!({ "name": used.name, "language": { "code": used.language } });
    if !components.is_empty() {
        template["components"] = Value::Array(components);
    }
    Ok(template)
}

fn start(kind: &str, index: Option<u8>, sub_type: Option<&str>) -> Value {
    let mut component = json!({ "type": kind, "parameters": [] });
    if let (Some(index), Some(sub_type)) = (index, sub_type) {
        component["sub_type"] = json!(sub_type);
        component["index"] = json!(index.to_string());
    }
    component
}

/// `header`, `body` or `button:N`.
fn place(value: &TemplateValue) -> Result<(&'static str, Option<u8>), CallError> {
    match value.place.split_once(':') {
        None if value.place == "header" => Ok(("header", None)),
        None if value.place == "body" => Ok(("body", None)),
        Some(("button", index)) if index.parse::<u8>().is_ok() => Ok(("button", index.parse().ok())),
        _ => Err(CallError::refused(
            RefusalReason::Template,
            "place",
            format!(
                "A WhatsApp template has no place “{}”: it has header, body and button:0 to button:9.",
                value.place
            ),
        )),
    }
}

fn button_kind<'a>(place: &str, extras: &'a [(String, String)]) -> &'a str {
    extras
        .iter()
        .find(|(name, _)| name == place)
        .map_or("url", |(_, kind)| kind.as_str())
}

fn parameter(value: &TemplateValue, sub_type: Option<&str>, number: &str, host: &dyn Host) -> Result<Value, CallError> {
    let mut parameter = Map::new();
    match (&value.parameter, sub_type) {
        (TemplateParameter::Text(text), sub_type) => {
            let kind = match sub_type {
                Some("quick_reply") => "payload",
                Some("copy_code") => "coupon_code",
                _ => "text",
            };
            parameter.insert("type".to_owned(), json!(kind));
            parameter.insert(kind.to_owned(), json!(text));
        }
        (TemplateParameter::Media(attachment), _) => {
            let kind = super::media_kind(attachment.kind);
            let mut object = super::uploaded(attachment, number, host)?;
            // A header shows the file alone; its caption is the template's body.
            if let Some(fields) = object.as_object_mut() {
                fields.remove("caption");
            }
            parameter.insert("type".to_owned(), json!(kind));
            parameter.insert(kind.to_owned(), object);
        }
    }
    if let Some(name) = &value.name {
        parameter.insert("parameter_name".to_owned(), json!(name));
    }
    Ok(Value::Object(parameter))
}
