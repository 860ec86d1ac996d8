//! Contacts and the attributes that they may have.

use serde_json::{Value, json};

use super::api::{Asked, error};
use super::query;
use super::{ContactState, WorkspaceState};
use crate::scene::random_hex;
use crate::wire::Reply;

const PAGE_MAX: usize = 150;

pub(super) fn built_in_attributes() -> Vec<Value> {
    let built_in = |name: &str, kind: &str| {
        json!({"type": "data_attribute", "name": name, "full_name": name, "label": name, "data_type": kind, "model": "contact",
            "custom": false, "archived": false, "api_writable": true, "ui_writable": true})
    };
    vec![
        built_in("name", "string"),
        built_in("email", "string"),
        built_in("phone", "string"),
    ]
}

fn contact_id(state: &mut WorkspaceState) -> String {
    state.next_contact += 1;
    format!("6762f0dd1bb69f9f21{:06x}", state.next_contact)
}

fn stripped_phone(phone: &str) -> String {
    phone
        .chars()
        .filter(|letter| !letter.is_whitespace() && !"-()".contains(*letter))
        .collect()
}

/// Writes the fields that a caller may write.
fn apply(value: &mut Value, fields: &Value) {
    for name in [
        "role",
        "external_id",
        "email",
        "name",
        "avatar",
        "owner_id",
        "signed_up_at",
        "last_seen_at",
    ] {
        if let Some(given) = fields.get(name) {
            value[name] = given.clone();
        }
    }
    if let Some(phone) = fields.get("phone") {
        value["phone"] = phone.as_str().map_or(Value::Null, |phone| json!(stripped_phone(phone)));
        value["formatted_phone"] = phone.clone();
    }
    for (name, given) in fields["custom_attributes"].as_object().into_iter().flatten() {
        value["custom_attributes"][name.as_str()] = given.clone();
    }
}

pub(super) fn insert(state: &mut WorkspaceState, fields: &Value, now_ms: i64) -> String {
    let id = contact_id(state);
    let mut value = json!({"type": "contact", "id": id, "workspace_id": state.id, "role": "user", "external_id": null, "email": null,
        "phone": null, "formatted_phone": null, "name": null, "avatar": null, "owner_id": null, "created_at": now_ms / 1000,
        "updated_at": now_ms / 1000, "last_seen_at": null, "last_contacted_at": null, "last_replied_at": null, "custom_attributes": {}});
    apply(&mut value, fields);
    if value["role"] == "lead" && value["external_id"].is_null() {
        value["external_id"] = json!(format!("{}-{}", random_hex(8), random_hex(12)));
    }
    state.contacts.insert(
        id.clone(),
        ContactState {
            value,
            indexed_at: now_ms + state.index_lag_ms,
            archived: false,
            merged_into: None,
        },
    );
    id
}

/// None: one of them is not there. Else the item of the webhook.
pub(super) fn merge(state: &mut WorkspaceState, from: &str, into: &str) -> Option<Value> {
    let mut item = state.contacts.get(into)?.value.clone();
    state.contacts.get_mut(from)?.merged_into = Some(into.to_owned());
    for conversation in state.conversations.values_mut().filter(|known| known.contact == from) {
        into.clone_into(&mut conversation.contact);
    }
    item["merged_from"] = json!({"type": "contact", "id": from});
    Some(item)
}

/// Custom attributes must be defined, and fit their type.
fn check_attributes(state: &WorkspaceState, fields: &Value) -> Option<Reply> {
    for (name, given) in fields["custom_attributes"].as_object().into_iter().flatten() {
        let known = state
            .contact_attributes
            .iter()
            .find(|known| known["name"] == name.as_str() && known["archived"] == false);
        let Some(known) = known else {
            return Some(error(
                400,
                "parameter_invalid",
                &format!("Custom attribute '{name}' does not exist"),
            ));
        };
        let fits = given.is_null()
            || match known["data_type"].as_str().unwrap_or("string") {
                "integer" | "datetime" | "date" => given.is_i64(),
                "float" => given.is_number(),
                "boolean" => given.is_boolean(),
                _ => given.is_string(),
            };
        if !fits {
            return Some(error(
                400,
                "parameter_invalid",
                &format!("Custom attribute '{name}' has another type"),
            ));
        }
    }
    None
}

fn conflict(state: &WorkspaceState, fields: &Value, but: &str) -> Option<Reply> {
    let same = |known: &&ContactState, name: &str| {
        fields[name].is_string()
            && known.value[name] == fields[name]
            && known.merged_into.is_none()
            && known.value["id"] != but
    };
    let is_user = fields["role"] != "lead";
    let found = state.contacts.values().find(|known| {
        same(known, "external_id") || (is_user && known.value["role"] == "user" && same(known, "email"))
    })?;
    let archived = if found.archived {
        "An archived contact"
    } else {
        "A contact"
    };
    let id = found.value["id"].as_str().unwrap_or("");
    Some(error(
        409,
        "conflict",
        &format!("{archived} matching those details already exists with id={id}"),
    ))
}

pub(super) fn create(state: &mut WorkspaceState, asked: &Asked) -> Reply {
    let fields = &asked.body;
    if ["email", "external_id", "role"]
        .iter()
        .all(|name| fields.get(*name).is_none())
    {
        return error(400, "parameter_not_found", "email, external_id or role is required");
    }
    let role = fields["role"].as_str().unwrap_or("user");
    if role != "user" && role != "lead" {
        return error(400, "parameter_invalid", "role must be user or lead");
    }
    if role == "user" && !fields["email"].is_string() && !fields["external_id"].is_string() {
        return error(400, "parameter_not_found", "a user needs an email or an external_id");
    }
    if let Some(refused) = check_attributes(state, fields).or_else(|| conflict(state, fields, "")) {
        return refused;
    }
    let id = insert(state, fields, asked.now_ms);
    Reply::json(
        200,
        &state
            .contacts
            .get(&id)
            .map(|known| known.value.clone())
            .unwrap_or_default(),
    )
}

/// The contact, or what stands in its way.
fn find<'a>(state: &'a mut WorkspaceState, id: &str) -> Result<&'a mut ContactState, Reply> {
    let Some(known) = state.contacts.get_mut(id) else {
        return Err(error(404, "not_found", "User Not Found"));
    };
    if let Some(into) = &known.merged_into {
        let link = format!("</contacts/{into}>; rel=\"canonical\"");
        return Err(error(410, "contact_merged", "Contact has been merged").with("link", link));
    }
    Ok(known)
}

pub(super) fn get(state: &mut WorkspaceState, id: &str) -> Reply {
    match find(state, id) {
        Ok(known) => Reply::json(200, &known.value),
        Err(refused) => refused,
    }
}

pub(super) fn by_external_id(state: &WorkspaceState, external: &str) -> Reply {
    let fits = |known: &&ContactState| {
        known.value["external_id"] == external && known.merged_into.is_none() && !known.archived
    };
    match state.contacts.values().find(fits) {
        Some(known) if known.value["role"] == "user" => Reply::json(200, &known.value),
        _ => error(404, "not_found", "User Not Found"),
    }
}

pub(super) fn update(state: &mut WorkspaceState, id: &str, asked: &Asked) -> Reply {
    if let Some(refused) = check_attributes(state, &asked.body).or_else(|| conflict(state, &asked.body, id)) {
        return refused;
    }
    let now = asked.now_ms;
    match find(state, id) {
        Ok(known) => {
            apply(&mut known.value, &asked.body);
            known.value["updated_at"] = json!(now / 1000);
            Reply::json(200, &known.value)
        }
        Err(refused) => refused,
    }
}

pub(super) fn archive(state: &mut WorkspaceState, id: &str, archived: bool) -> Reply {
    if !archived && state.contacts.get(id).is_some_and(|known| known.merged_into.is_some()) {
        return error(400, "bad_request", "User has been merged and is not restorable.");
    }
    match find(state, id) {
        Ok(known) => {
            known.archived = archived;
            Reply::json(200, &json!({"type": "contact", "id": id, "archived": archived}))
        }
        Err(refused) => refused,
    }
}

pub(super) fn merge_call(state: &mut WorkspaceState, asked: &Asked) -> Reply {
    let (from, into) = (
        asked.body["from"].as_str().unwrap_or(""),
        asked.body["into"].as_str().unwrap_or(""),
    );
    let role = |id: &str| {
        state
            .contacts
            .get(id)
            .map(|known| known.value["role"].as_str().unwrap_or("").to_owned())
    };
    match (role(from).as_deref(), role(into).as_deref()) {
        (Some("lead"), Some("user")) => Reply::json(200, &merge(state, from, into).unwrap_or_default()),
        (None, _) | (_, None) => error(404, "not_found", "Contact Not Found"),
        _ => error(400, "invalid_merge", "from must be a lead and into a user"),
    }
}

pub(super) fn search(state: &WorkspaceState, asked: &Asked) -> Reply {
    let visible =
        |known: &&ContactState| known.merged_into.is_none() && !known.archived && known.indexed_at <= asked.now_ms;
    let things = state
        .contacts
        .values()
        .filter(visible)
        .map(|known| known.value.clone())
        .collect();
    list(things, &asked.body, 50)
}

/// Filters, sorts and pages; used by both searches.
pub(super) fn list(things: Vec<Value>, body: &Value, page_default: usize) -> Reply {
    let mut found = Vec::new();
    for thing in things {
        match query::fits(&thing, &body["query"]) {
            Ok(true) => found.push(thing),
            Ok(false) => {}
            Err(problem) => return error(400, "parameter_invalid", &problem),
        }
    }
    if let Some(field) = body["sort"]["field"].as_str() {
        found.sort_by_key(|thing| thing[field].as_i64().unwrap_or(0));
        if body["sort"]["order"] != "ascending" {
            found.reverse();
        }
    }
    let size = body["pagination"]["per_page"]
        .as_u64()
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(page_default);
    if size == 0 || size > PAGE_MAX {
        return error(400, "parameter_invalid", "per_page must be between 1 and 150");
    }
    let start = body["pagination"]["starting_after"]
        .as_str()
        .and_then(|cursor| cursor.parse::<usize>().ok())
        .unwrap_or(0);
    let total = found.len();
    let page: Vec<Value> = found.into_iter().skip(start).take(size).collect();
    let end = start + page.len();
    let mut pages =
        json!({"type": "pages", "page": start / size + 1, "per_page": size, "total_pages": total.div_ceil(size)});
    if end < total {
        pages["next"] = json!({"page": start / size + 2, "starting_after": end.to_string()});
    }
    Reply::json(
        200,
        &json!({"type": "list", "data": page, "total_count": total, "pages": pages}),
    )
}

/// `GET` and `POST /data_attributes`, `PUT /data_attributes/{id}`
pub(super) fn attributes(state: &mut WorkspaceState, method: &str, id: Option<&str>, asked: &Asked) -> Reply {
    let known = &mut state.contact_attributes;
    match (method, id) {
        ("GET", None) => {
            let archived = asked.call.parameter("include_archived").as_deref() == Some("true");
            let model = asked.call.parameter("model");
            let shown = |entry: &&Value| {
                (archived || entry["archived"] == false) && model.as_deref().is_none_or(|model| entry["model"] == model)
            };
            let list: Vec<&Value> = known.iter().filter(shown).collect();
            Reply::json(200, &json!({"type": "list", "data": list}))
        }
        ("POST", None) => define(known, &asked.body, "custom_attributes."),
        ("PUT", Some(id)) => match known
            .iter_mut()
            .find(|entry| entry["id"].as_u64().map(|number| number.to_string()).as_deref() == Some(id))
        {
            Some(entry) => {
                for name in ["archived", "description", "label"] {
                    if let Some(given) = asked.body.get(name) {
                        entry[name] = given.clone();
                    }
                }
                Reply::json(200, entry)
            }
            None => error(404, "field_not_found", "We couldn't find that data attribute to update"),
        },
        _ => error(404, "not_found", "Not found"),
    }
}

/// Defines an attribute of contacts or of conversations.
pub(super) fn define(known: &mut Vec<Value>, body: &Value, prefix: &str) -> Reply {
    let name = body["name"].as_str().unwrap_or("");
    let allowed = |letter: char| letter.is_alphanumeric() || "_-$€£ ".contains(letter);
    if name.is_empty() || !name.chars().all(allowed) {
        return error(
            400,
            "parameter_invalid",
            "Your name for this data must only contain alphanumeric characters, currency symbols, and hyphens",
        );
    }
    if known.iter().any(|entry| {
        entry["name"]
            .as_str()
            .is_some_and(|known| known.eq_ignore_ascii_case(name))
    }) {
        return error(
            400,
            "parameter_invalid",
            &format!(
                "You already have '{name}' in your People data. To save this as new people data, use a different name."
            ),
        );
    }
    let entry = json!({"type": "data_attribute", "id": 12_000 + known.len(), "name": name, "full_name": format!("{prefix}{name}"), "label": name,
        "description": body["description"], "data_type": body["data_type"], "model": body["model"].as_str().unwrap_or("conversation"), "custom": true,
        "archived": false, "api_writable": true, "ui_writable": true, "messenger_writable": false});
    known.push(entry.clone());
    Reply::json(200, &entry)
}
