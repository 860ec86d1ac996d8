//! Recorded requests against the published contracts: which contract a request belongs to, and what it says.

use serde_json::{Map, Value};

use super::openapi::OpenApi;
use super::{BotApi, Contracts};

/// What the contracts say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    Fits,
    /// Each problem in words.
    Against(Vec<String>),
    /// No contract describes such a call: the method and the template of its address.
    Uncovered(String),
    /// The contract is not on this machine.
    Absent,
}

/// Judges a request as golden files record it: `method`, `url`, and a `body` of `json`, `form` or `multipart`.
#[must_use]
pub fn judge(request: &Value) -> Judgement {
    let contracts = Contracts::load();
    let method = request["method"].as_str().unwrap_or("");
    let address = request["url"].as_str().unwrap_or("");
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let Some((host, path)) = address
        .strip_prefix("https://")
        .and_then(|rest| rest.find('/').map(|at| rest.split_at(at)))
    else {
        return Judgement::Against(vec![format!("`{address}` is no https address with a path")]);
    };
    let call = Call {
        method,
        path,
        query,
        body: &request["body"],
    };
    let uncovered = || Judgement::Uncovered(format!("{method} {host}"));
    match host {
        "api.telegram.org" => contracts
            .0
            .telegram
            .as_ref()
            .map_or(Judgement::Absent, |api| call.at_telegram(api)),
        "graph.facebook.com" => match &contracts.0.whatsapp {
            None => Judgement::Absent,
            Some(api) => call.at_graph(&contracts, api),
        },
        "api.twilio.com" => contracts
            .0
            .twilio
            .as_ref()
            .map_or(Judgement::Absent, |api| call.at_twilio(api)),
        "messaging.twilio.com" => {
            let api = contracts.0.twilio_messaging.as_ref();
            api.map_or(Judgement::Absent, |api| call.at_twilio(api))
        }
        "api.line.me" | "api-data.line.me" => {
            let tokens = path.starts_with("/oauth2/");
            let api = if tokens {
                &contracts.0.line_tokens
            } else {
                &contracts.0.line
            };
            api.as_ref().map_or(Judgement::Absent, |api| call.at_line(api))
        }
        _ if host.ends_with(".infobip.com") && path.starts_with("/subscriptions/") => {
            let api = contracts.0.infobip_subscriptions.as_ref();
            api.map_or(Judgement::Absent, |api| call.at_infobip_subscriptions(api))
        }
        _ if host.ends_with(".infobip.com") => {
            let api = contracts.0.infobip_viber.as_ref();
            api.map_or(Judgement::Absent, |api| call.at_infobip_viber(api))
        }
        _ => uncovered(),
    }
}

struct Call<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    body: &'a Value,
}

struct Operation {
    /// The path as the contract writes it.
    template: String,
    pointer: String,
    /// What is wrong with the query.
    problems: Vec<String>,
}

fn told(problems: Vec<String>) -> Judgement {
    if problems.is_empty() {
        Judgement::Fits
    } else {
        Judgement::Against(problems)
    }
}

impl Call<'_> {
    fn uncovered(&self, what: &str) -> Judgement {
        Judgement::Uncovered(format!("{} {what}", self.method))
    }

    fn at_telegram(&self, api: &BotApi) -> Judgement {
        let Some((_, name)) = self.path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) else {
            return self.uncovered("api.telegram.org/file");
        };
        let Some(method) = api.method(name).map(str::to_owned) else {
            return Judgement::Against(vec![format!("the Bot API has no {name}")]);
        };
        let (parameters, uploads) = self.telegram_parameters(api, &method);
        told(api.check(&method, &parameters, &uploads))
    }

    /// Parameters as the Bot API reads them, and the names of files.
    fn telegram_parameters(&self, api: &BotApi, method: &str) -> (Map<String, Value>, Vec<String>) {
        if let Some(fields) = self.body["json"].as_object() {
            return (fields.clone(), Vec::new());
        }
        let (mut parameters, mut uploads) = (Map::new(), Vec::new());
        for part in self.body["multipart"].as_array().into_iter().flatten() {
            let name = part["name"].as_str().unwrap_or("").to_owned();
            let Some(text) = part["content"]["text"].as_str() else {
                uploads.push(name);
                continue;
            };
            let types = api.types(method, &name).unwrap_or_default();
            let plain = types.contains(&"String") && !types.contains(&"Integer");
            let value = if plain { None } else { serde_json::from_str(text).ok() };
            parameters.insert(name, value.unwrap_or_else(|| Value::String(text.to_owned())));
        }
        (parameters, uploads)
    }

    fn at_graph(&self, contracts: &Contracts, api: &OpenApi) -> Judgement {
        let pieces: Vec<&str> = self.path.split('/').skip(2).collect();
        match (self.method, pieces.as_slice()) {
            // Reading and typing marks belong to no branch of the schema.
            ("POST", [_, "messages"]) if self.body["json"].get("status").is_some() => self.uncovered("messages (read)"),
            ("POST", [_, "messages"]) => told(contracts.whatsapp_message(&self.body["json"])),
            ("POST", [_, "media"]) => {
                let pointer =
                    "/paths/~1{Version}~1{Phone-Number-ID}~1media/post/requestBody/content/multipart~1form-data/schema";
                told(api.check(pointer, &self.parts()))
            }
            (_, [_]) => self.uncovered("a node of the Graph API"),
            (_, [_, edge]) => self.uncovered(&format!("graph …/{edge}")),
            _ => Judgement::Against(vec![format!("the Graph API has no {}", self.path)]),
        }
    }

    /// The parts of a form with files; a file is its name.
    fn parts(&self) -> Value {
        let parts = self.body["multipart"].as_array().into_iter().flatten();
        let named = parts.map(|part| {
            let text = part["content"]["text"].as_str().or(part["filename"].as_str());
            (part["name"].as_str().unwrap_or("").to_owned(), Value::from(text))
        });
        Value::Object(named.collect())
    }

    fn at_twilio(&self, api: &OpenApi) -> Judgement {
        let operation = match self.operation(api) {
            Ok(operation) => operation,
            Err(judgement) => return judgement,
        };
        let mut problems = operation.problems;
        if self.method == "POST" {
            problems.extend(api.check_form(&operation.template, &self.form()));
        }
        told(problems)
    }

    /// Files are served from another host, which the contract says of each path and nobody checks: it has one path for one
    /// thing.
    fn at_line(&self, api: &OpenApi) -> Judgement {
        let operation = match self.operation(api) {
            Ok(operation) => operation,
            Err(judgement) => return judgement,
        };
        let mut problems = operation.problems;
        problems.extend(self.json_problems(api, &operation.pointer));
        for (number, message) in self.messages().enumerate() {
            let wrong = api.check_branch("Message", message);
            problems.extend(wrong.into_iter().map(|problem| format!("messages[{number}] {problem}")));
        }
        told(problems)
    }

    fn at_infobip_viber(&self, api: &OpenApi) -> Judgement {
        let operation = match self.operation(api) {
            Ok(operation) => operation,
            Err(judgement) => return judgement,
        };
        let mut problems = operation.problems;
        problems.extend(self.json_problems(api, &operation.pointer));
        for (number, message) in self.messages().enumerate() {
            let wrong = api.check_branch("ViberOutboundContent", &message["content"]);
            problems.extend(
                wrong
                    .into_iter()
                    .map(|problem| format!("messages[{number}].content {problem}")),
            );
        }
        told(problems)
    }

    /// The branches of a new subscription overlap, so that not even the contract's own example fits exactly one.
    fn at_infobip_subscriptions(&self, api: &OpenApi) -> Judgement {
        let operation = match self.operation(api) {
            Ok(operation) => operation,
            Err(judgement) => return judgement,
        };
        let mut problems = operation.problems;
        if self.method == "POST" {
            let branch = api.component("ViberSubscriptionRequest").unwrap_or_default();
            problems.extend(api.check_component(&branch, &self.body["json"]));
        } else {
            problems.extend(self.json_problems(api, &operation.pointer));
        }
        told(problems)
    }

    fn messages(&self) -> impl Iterator<Item = &Value> {
        self.body["json"]["messages"].as_array().into_iter().flatten()
    }

    /// What the contract describes of this call.
    fn operation(&self, api: &OpenApi) -> Result<Operation, Judgement> {
        let Some(template) = api.template(self.path) else {
            return Err(self.uncovered(&pattern(self.path)));
        };
        let method = self.method.to_lowercase();
        let pointer = format!("/paths/{}/{method}", template.replace('/', "~1"));
        let Some(operation) = api.at(&pointer) else {
            return Err(Judgement::Against(vec![format!(
                "{} {template} is not allowed",
                self.method
            )]));
        };
        let known = |name: &str| {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            parameters.into_iter().any(|one| one["name"] == name)
        };
        let problems = form_urlencoded::parse(self.query.as_bytes())
            .filter(|(name, _)| !known(name))
            .map(|(name, _)| format!("{template} has no parameter `{name}`"))
            .collect();
        Ok(Operation {
            template,
            pointer,
            problems,
        })
    }

    /// What is wrong with the JSON body, where the contract wants one.
    fn json_problems(&self, api: &OpenApi, operation: &str) -> Vec<String> {
        let schema = format!("{operation}/requestBody/content/application~1json/schema");
        match api.at(&schema) {
            Some(_) => api.check(&schema, &self.body["json"]),
            None if self.body.is_null() => Vec::new(),
            None => vec![format!("{} takes no JSON body", self.path)],
        }
    }

    fn form(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let pairs = self.body["form"].as_array().into_iter().flatten();
        pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }
}

/// The address with ids as `*`.
fn pattern(path: &str) -> String {
    let is_id = |piece: &str| piece.len() == 34 && piece.chars().all(|letter| letter.is_ascii_alphanumeric());
    let pieces = path.split('/').map(|piece| if is_id(piece) { "*" } else { piece });
    pieces.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn push(message: &Value) -> Judgement {
        judge(&json!({
            "method": "POST",
            "url": "https://api.line.me/v2/bot/message/push",
            "body": {"json": {"to": "U1", "messages": [message]}},
        }))
    }

    fn viber(content: &Value) -> Judgement {
        judge(&json!({
            "method": "POST",
            "url": "https://xyz12.api.infobip.com/viber/2/messages",
            "body": {"json": {"messages": [{"sender": "a", "destinations": [{"to": "38"}], "content": content}]}},
        }))
    }

    fn subscription(profile: &Value) -> Judgement {
        judge(&json!({
            "method": "POST",
            "url": "https://xyz12.api.infobip.com/subscriptions/1/subscription/VIBER",
            "body": {"json": {"subscriptionId": "a", "events": ["SEEN"], "profile": profile}},
        }))
    }

    /// A base schema with a discriminator alone would let each of the wrong ones pass.
    #[test]
    fn messages_are_checked_by_the_branch_that_their_type_names() {
        let contracts = Contracts::load();
        if !contracts.missing().is_empty() {
            crate::needs::leave_out("contracts", "a check of the contracts", &contracts.missing().join("; "));
            return;
        }
        for good in [
            push(&json!({"type": "text", "text": "Hi"})),
            push(&json!({"type": "audio", "originalContentUrl": "https://a/b", "duration": 7})),
            viber(&json!({"type": "TEXT", "text": "Hi"})),
            subscription(&json!({"profileId": "a", "webhook": {"notifyUrl": "https://a/b"}})),
        ] {
            assert_eq!(good, Judgement::Fits);
        }
        for wrong in [
            push(&json!({"type": "text"})),
            push(&json!({"type": "hologram"})),
            push(&json!({"type": "audio", "originalContentUrl": "https://a/b"})),
            viber(&json!({"type": "TEXT", "text": "x".repeat(1001)})),
            viber(&json!({"type": "FILE", "mediaUrl": "https://a/b", "fileName": "a.zip"})),
            viber(&json!({"type": "HOLOGRAM"})),
            subscription(&json!({"profileId": "a", "webhook": {}})),
        ] {
            assert!(matches!(wrong, Judgement::Against(_)), "{wrong:?}");
        }
    }
}
