//! What the API does with conversations.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::api::{Asked, error};
use super::conversation::{Author, Conversation, Part};
use super::{PACKAGE_CODE, WorkspaceState, people};
use crate::multipart::File;
use crate::wire::Reply;

const FILES_MAX: usize = 10;
/// What the API lets pass in one body.
const BODY_MAX: usize = 100_000;

/// A write that is to be told by webhook: topic and item.
pub(super) type Told = Option<(&'static str, Value)>;

fn not_found(what: &str) -> Reply {
    error(404, "not_found", what)
}

fn conversation_missing() -> Reply {
    error(404, "conversation_not_found", "Conversation not found")
}

fn part_id(state: &mut WorkspaceState) -> String {
    state.next_part += 1;
    state.next_part.to_string()
}

/// The contact as an author, if it may write.
pub(super) fn contact_author(state: &WorkspaceState, id: &str) -> Option<Author> {
    let known = state
        .contacts
        .get(id)
        .filter(|known| known.merged_into.is_none() && !known.archived)?;
    Some(Author {
        kind: known.value["role"].as_str().unwrap_or("user").to_owned(),
        id: id.to_owned(),
        name: known.value["name"].as_str().unwrap_or("").to_owned(),
    })
}

pub(super) fn admin_author(state: &WorkspaceState, id: &str) -> Result<Author, Reply> {
    let known = state.admins.iter().find(|admin| admin.id == id);
    let known = known.ok_or_else(|| error(404, "admin_not_found", "Admin not found"))?;
    Ok(Author {
        kind: "admin".to_owned(),
        id: known.id.clone(),
        name: known.name.clone(),
    })
}

/// A part by this author, not yet in any conversation.
pub(super) fn part(state: &mut WorkspaceState, author: Author, part_type: &str, body: &str, at: i64) -> Part {
    Part {
        id: part_id(state),
        part_type: part_type.to_owned(),
        body: body.to_owned(),
        author,
        created_at: at,
        files: Vec::new(),
        app_package_code: None,
        redacted: false,
        file_ids: Vec::new(),
    }
}

pub(super) fn attach(state: &mut WorkspaceState, part: &mut Part, files: Vec<File>) {
    for file in files {
        part.file_ids.push(state.keep(file.clone()));
        part.files.push(file);
    }
}

fn written_at(asked: &Asked) -> Result<i64, Reply> {
    let now = asked.now_ms / 1000;
    match asked.body.get("created_at") {
        None => Ok(now),
        Some(at) => match at.as_i64() {
            // A minute for clocks that disagree.
            Some(at) if at <= now + 60 => Ok(at),
            Some(_) => Err(error(400, "parameter_invalid", "created_at must not be in the future")),
            None => Err(error(
                400,
                "parameter_invalid",
                "created_at must be an integer of seconds",
            )),
        },
    }
}

pub(super) fn start(state: &mut WorkspaceState, contact: &str, source: Part, at: i64) -> String {
    state.next_conversation += 1;
    let id = state.next_conversation.to_string();
    state.conversations.insert(
        id.clone(),
        Conversation {
            id: id.clone(),
            contact: contact.to_owned(),
            state: "open".to_owned(),
            created_at: at,
            updated_at: at,
            title: None,
            custom_attributes: Map::new(),
            tags: Vec::new(),
            admin_assignee: None,
            team_assignee: None,
            read: false,
            source,
            parts: Vec::new(),
            deleted: false,
        },
    );
    id
}

pub(super) fn create(state: &mut WorkspaceState, asked: &Asked) -> (Reply, Told) {
    let contact = asked.body["from"]["id"].as_str().unwrap_or("");
    let body = asked.body["body"].as_str().unwrap_or("");
    if asked.body.get("attachment_files").is_some() {
        return (
            error(
                400,
                "parameter_invalid",
                "attachment_files is not taken when a conversation is created",
            ),
            None,
        );
    }
    if body.trim().is_empty() || body.len() > BODY_MAX {
        return (error(400, "parameter_not_found", "body is required"), None);
    }
    let Some(author) = contact_author(state, contact) else {
        return (not_found("User Not Found"), None);
    };
    let at = match written_at(asked) {
        Ok(at) => at,
        Err(refused) => return (refused, None),
    };
    let mut source = part(state, author, "comment", body, at);
    source.app_package_code = Some(PACKAGE_CODE.to_owned());
    let message = source.id.clone();
    let id = start(state, contact, source, at);
    let reply = json!({"type": "user_message", "id": message, "created_at": at, "body": body, "message_type": "inapp", "conversation_id": id});
    let told = state.conversations.get(&id).cloned().map(|known| {
        (
            "conversation.user.created",
            known.with_parts(state, &[], asked.now_ms, true),
        )
    });
    (Reply::json(200, &reply), told)
}

fn files(state: &WorkspaceState, asked: &Asked) -> Result<Vec<File>, Reply> {
    let invalid = |text: &str| error(400, "parameter_invalid", text);
    let list = asked.body["attachment_files"].as_array().cloned().unwrap_or_default();
    if list.len() > FILES_MAX {
        return Err(invalid("at most 10 attachment_files are allowed"));
    }
    let mut files = Vec::new();
    for entry in &list {
        let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
        let (Some(kind), Some(name), Some(data)) = (text("content_type"), text("name"), text("data")) else {
            return Err(invalid("attachment_files need content_type, name and data"));
        };
        let bytes = STANDARD
            .decode(data)
            .map_err(|_| invalid("data of an attachment file must be plain base64"))?;
        files.push(File::new(name, kind, bytes));
    }
    if files.iter().map(|file| file.bytes.len()).sum::<usize>() > state.file_bytes_max {
        return Err(error(413, "parameter_invalid", "Request Entity Too Large"));
    }
    Ok(files)
}

/// Puts a part at the end and answers with the conversation and that part alone, as the API does.
pub(super) fn append(state: &mut WorkspaceState, id: &str, part: Part, now_ms: i64) -> (Value, Value) {
    let Some(known) = state.conversations.get_mut(id) else {
        return Default::default();
    };
    known.parts.push(part.clone());
    known.updated_at = now_ms / 1000;
    let known = known.clone();
    let answer = known.with_parts(state, &known.parts, now_ms, false);
    let item = known.with_parts(state, &[part], now_ms, true);
    (answer, item)
}

pub(super) fn reply(state: &mut WorkspaceState, id: &str, asked: &Asked) -> (Reply, Told) {
    let refuse = |reply: Reply| (reply, None);
    let Some(known) = state.conversations.get(id).filter(|known| !known.deleted).cloned() else {
        return refuse(conversation_missing());
    };
    let body = asked.body["body"].as_str().unwrap_or("");
    let files = match files(state, asked) {
        Ok(files) => files,
        Err(refused) => return refuse(refused),
    };
    if body.is_empty() && files.is_empty() {
        return refuse(error(400, "parameter_not_found", "body is required"));
    }
    let at = match written_at(asked) {
        Ok(at) => at,
        Err(refused) => return refuse(refused),
    };
    let (author, part_type, topic) = if asked.body["type"] == "admin" {
        let author = match admin_author(state, asked.body["admin_id"].as_str().unwrap_or("")) {
            Ok(author) => author,
            Err(refused) => return refuse(refused),
        };
        match asked.body["message_type"].as_str() {
            Some("note") => (author, "note", "conversation.admin.noted"),
            Some("comment") => (author, "comment", "conversation.admin.replied"),
            _ => return refuse(error(400, "parameter_invalid", "message_type must be comment or note")),
        }
    } else {
        let contact = asked.body["intercom_user_id"].as_str().unwrap_or("");
        let Some(author) = contact_author(state, contact) else {
            return refuse(not_found("User Not Found"));
        };
        if known.contact != contact {
            return refuse(error(
                403,
                "forbidden",
                "The contact is not a participant of the conversation",
            ));
        }
        let part_type = if known.state == "open" { "comment" } else { "open" };
        (author, part_type, "conversation.user.replied")
    };
    let mut written = part(state, author, part_type, body, at);
    written.app_package_code = Some(PACKAGE_CODE.to_owned());
    attach(state, &mut written, files);
    if part_type == "open"
        && let Some(known) = state.conversations.get_mut(id)
    {
        "open".clone_into(&mut known.state);
    }
    let (answer, item) = append(state, id, written, asked.now_ms);
    (Reply::json(200, &answer), Some((topic, item)))
}

/// `POST /conversations/{id}/parts`: close, open, snooze, assign.
pub(super) fn act(state: &mut WorkspaceState, id: &str, asked: &Asked) -> (Reply, Told) {
    let author = match admin_author(state, asked.body["admin_id"].as_str().unwrap_or("")) {
        Ok(author) => author,
        Err(refused) => return (refused, None),
    };
    if state.conversations.get(id).is_none_or(|known| known.deleted) {
        return (conversation_missing(), None);
    }
    let body = asked.body["body"].as_str().unwrap_or("");
    let kind = asked.body["message_type"].as_str().unwrap_or("");
    let topic = match kind {
        "close" => "conversation.admin.closed",
        "open" => "conversation.admin.opened",
        "snoozed" => "conversation.admin.snoozed",
        "assignment" => "conversation.admin.assigned",
        _ => {
            return (
                error(
                    400,
                    "parameter_invalid",
                    "message_type must be close, open, snoozed or assignment",
                ),
                None,
            );
        }
    };
    let to_team = asked.body["type"] == "team";
    let assignee = asked.body["assignee_id"]
        .as_str()
        .filter(|id| *id != "0")
        .map(str::to_owned);
    let mut written = part(state, author, kind, body, asked.now_ms / 1000);
    written.app_package_code = Some(PACKAGE_CODE.to_owned());
    change_state(state, id, kind, assignee, to_team);
    let (answer, item) = append(state, id, written, asked.now_ms);
    (Reply::json(200, &answer), Some((topic, item)))
}

pub(super) fn change_state(state: &mut WorkspaceState, id: &str, kind: &str, assignee: Option<String>, to_team: bool) {
    let Some(known) = state.conversations.get_mut(id) else {
        return;
    };
    match kind {
        "close" => "closed".clone_into(&mut known.state),
        "open" => "open".clone_into(&mut known.state),
        "snoozed" => "snoozed".clone_into(&mut known.state),
        _ if to_team => known.team_assignee = assignee,
        _ => known.admin_assignee = assignee,
    }
}

pub(super) fn get(state: &mut WorkspaceState, id: &str, asked: &Asked) -> Reply {
    let Some(known) = state.conversations.get(id).filter(|known| !known.deleted).cloned() else {
        return conversation_missing();
    };
    let plain = asked.call.parameter("display_as").as_deref() == Some("plaintext");
    Reply::json(200, &known.with_parts(state, &known.parts, asked.now_ms, plain))
}

pub(super) fn update(state: &mut WorkspaceState, id: &str, asked: &Asked) -> Reply {
    let given = asked.body["custom_attributes"].as_object().cloned().unwrap_or_default();
    let defined = |name: &String| {
        state
            .conversation_attributes
            .iter()
            .any(|known| known["name"] == name.as_str())
    };
    if let Some(unknown) = given.keys().find(|name| !defined(name)) {
        return error(
            400,
            "parameter_invalid",
            &format!("Custom attribute '{unknown}' does not exist"),
        );
    }
    let Some(known) = state.conversations.get_mut(id).filter(|known| !known.deleted) else {
        return conversation_missing();
    };
    known.custom_attributes.extend(given);
    if let Some(title) = asked.body["title"].as_str() {
        known.title = Some(title.to_owned());
    }
    if let Some(read) = asked.body["read"].as_bool() {
        known.read = read;
    }
    get(state, id, asked)
}

/// What the search sees: the conversation without parts, with flat ids.
pub(super) fn search(state: &mut WorkspaceState, asked: &Asked) -> Reply {
    let all: Vec<Conversation> = state
        .conversations
        .values()
        .filter(|known| !known.deleted)
        .cloned()
        .collect();
    let mut things = Vec::new();
    for known in &all {
        let mut thing = known.json(state, asked.now_ms, false);
        thing["contact_ids"] = json!([known.contact]);
        things.push(thing);
    }
    let body = if asked.call.method == http::Method::GET {
        let size = asked
            .call
            .parameter("per_page")
            .and_then(|size| size.parse::<u64>().ok())
            .unwrap_or(20);
        json!({"query": {"field": "type", "operator": "=", "value": "conversation"},
            "sort": {"field": "updated_at"}, "pagination": {"per_page": size, "starting_after": asked.call.parameter("starting_after")}})
    } else {
        asked.body.clone()
    };
    let mut reply = people::list(things, &body, 20);
    if let Ok(mut value) = serde_json::from_slice::<Value>(&reply.body)
        && reply.status == 200
    {
        value["type"] = json!("conversation.list");
        value["conversations"] = value["data"].take();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("data");
        }
        reply.body = value.to_string().into();
    }
    reply
}

/// `POST` and `GET /tags`, `POST /conversations/{id}/tags`, `DELETE /conversations/{id}/tags/{tag}`
pub(super) fn tags(state: &mut WorkspaceState, names: &[&str], asked: &Asked) -> Reply {
    let shown = |id: &str, name: &str| json!({"type": "tag", "id": id, "name": name});
    match (asked.call.method.as_str(), names) {
        ("GET", ["tags"]) => {
            let list: Vec<Value> = state.tags.iter().map(|(id, name)| shown(id, name)).collect();
            Reply::json(200, &json!({"type": "list", "data": list}))
        }
        ("POST", ["tags"]) => {
            let Some(name) = asked.body["name"].as_str().filter(|name| !name.is_empty()) else {
                return error(400, "parameter_not_found", "name is required");
            };
            if let Some((id, name)) = state.tags.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)) {
                return Reply::json(200, &shown(id, name));
            }
            let id = (17 + state.tags.len()).to_string();
            state.tags.insert(id.clone(), name.to_owned());
            Reply::json(200, &shown(&id, name))
        }
        (method, ["conversations", id, "tags", rest @ ..]) => {
            let tag = rest.first().map_or_else(
                || asked.body["id"].as_str().unwrap_or("").to_owned(),
                |tag| (*tag).to_owned(),
            );
            if let Err(refused) = admin_author(state, asked.body["admin_id"].as_str().unwrap_or("")) {
                return refused;
            }
            let Some(name) = state.tags.get(&tag).cloned() else {
                return error(404, "tag_not_found", "Tag not found");
            };
            let Some(known) = state.conversations.get_mut(*id).filter(|known| !known.deleted) else {
                return conversation_missing();
            };
            known.tags.retain(|known| *known != name);
            if method == "POST" {
                known.tags.push(name.clone());
            }
            Reply::json(200, &shown(&tag, &name))
        }
        _ => error(404, "not_found", "Not found"),
    }
}

/// `POST /messages`: a teammate starts the conversation.
pub(super) fn message(state: &mut WorkspaceState, asked: &Asked) -> (Reply, Told) {
    let admin = asked.body["from"]["id"]
        .as_i64()
        .map(|id| id.to_string())
        .or(asked.body["from"]["id"].as_str().map(str::to_owned));
    let author = match admin_author(state, &admin.unwrap_or_default()) {
        Ok(author) => author,
        Err(refused) => return (refused, None),
    };
    let contact = asked.body["to"]["id"].as_str().unwrap_or("").to_owned();
    if contact_author(state, &contact).is_none() {
        return (not_found("User Not Found"), None);
    }
    let body = asked.body["body"].as_str().unwrap_or("");
    let mut source = part(state, author, "comment", body, asked.now_ms / 1000);
    source.app_package_code = Some(PACKAGE_CODE.to_owned());
    let reply = json!({"type": "admin_message", "id": source.id, "created_at": source.created_at, "body": body, "message_type": "in_app"});
    if asked.body["create_conversation_without_contact_reply"] == true {
        start(state, &contact, source, asked.now_ms / 1000);
    }
    (Reply::json(200, &reply), None)
}

pub(super) fn redact(state: &mut WorkspaceState, asked: &Asked) -> Reply {
    let (id, part) = (
        asked.body["conversation_id"].as_str().unwrap_or(""),
        asked.body["conversation_part_id"].as_str().unwrap_or(""),
    );
    let Some(known) = state.conversations.get_mut(id) else {
        return conversation_missing();
    };
    let Some(found) = known.parts.iter_mut().find(|known| known.id == part) else {
        return error(
            404,
            "conversation_part_or_message_not_found",
            "Conversation part not found",
        );
    };
    found.redacted = true;
    found.body.clear();
    found.files.clear();
    found.file_ids.clear();
    get(state, id, asked)
}
