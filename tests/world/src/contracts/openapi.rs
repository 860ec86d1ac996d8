//! Checks values against schemas inside an OpenAPI file, 3.0 or 3.1.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use crate::scene::lock;

/// More problems than this help nobody.
const PROBLEMS_MAX: usize = 8;

pub(super) struct OpenApi {
    file: Value,
    compiled: Mutex<HashMap<String, Arc<Validator>>>,
}

impl OpenApi {
    pub(super) fn new(mut file: Value) -> Self {
        modernise(&mut file);
        Self {
            file,
            compiled: Mutex::default(),
        }
    }

    /// The schema at this JSON pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        self.file.pointer(pointer)
    }

    pub(super) fn check_component(&self, name: &str, value: &Value) -> Vec<String> {
        let pointer = format!("/components/schemas/{name}");
        if self.at(&pointer).is_none() {
            return vec![format!("the contract knows no {name}")];
        }
        self.check(&pointer, value)
    }

    /// Checks by the branch that the value's `type` names: a base schema with a `discriminator` alone lets everything
    /// pass. `base` is the end of its name, since some publishers put a hash before it that changes.
    pub(super) fn check_branch(&self, base: &str, value: &Value) -> Vec<String> {
        let Some(name) = self.component(base) else {
            return vec![format!("the contract knows no {base}")];
        };
        let kind = value["type"].as_str().unwrap_or("");
        let mapping = &self.file["components"]["schemas"][&name]["discriminator"]["mapping"];
        match mapping[kind]
            .as_str()
            .and_then(|to| to.strip_prefix("#/components/schemas/"))
        {
            Some(branch) => self.check_component(branch, value),
            None => vec![format!("{base} has no type `{kind}`")],
        }
    }

    /// The name of the schema that is called so, or ends so behind a dot.
    pub(super) fn component(&self, end: &str) -> Option<String> {
        let schemas = self.file["components"]["schemas"].as_object()?;
        let named = |name: &&String| {
            name.strip_suffix(end)
                .is_some_and(|hash| hash.is_empty() || hash.ends_with('.'))
        };
        schemas.keys().find(named).cloned()
    }

    /// What is wrong with the value; empty when it is right.
    pub(super) fn check(&self, pointer: &str, value: &Value) -> Vec<String> {
        let validator = match self.validator(pointer) {
            Ok(validator) => validator,
            Err(problem) => return vec![problem],
        };
        let worded = |error: jsonschema::ValidationError<'_>| {
            let place = error.instance_path().to_string();
            let mut text = error.to_string();
            if text.len() > 300 {
                text = text.chars().take(300).collect();
            }
            format!("{} {text}", if place.is_empty() { "body" } else { &place })
        };
        validator.iter_errors(value).take(PROBLEMS_MAX).map(worded).collect()
    }

    /// What is wrong with a form for `POST` of this path as the file writes it.
    pub(super) fn check_form(&self, path: &str, form: &[(String, String)]) -> Vec<String> {
        let pointer = format!(
            "/paths/{}/post/requestBody/content/application~1x-www-form-urlencoded/schema",
            path.replace('/', "~1")
        );
        let Some(schema) = self.at(&pointer) else {
            return vec![format!("the contract has no POST {path}")];
        };
        let mut problems = Vec::new();
        let mut object = Map::new();
        for (name, value) in form {
            let property = &schema["properties"][name];
            match property["type"].as_str() {
                None if property.is_null() => problems.push(format!("unknown parameter `{name}`")),
                Some("array") => {
                    let list = object.entry(name.clone()).or_insert_with(|| json!([]));
                    if let Value::Array(list) = list {
                        list.push(json!(value));
                    }
                }
                Some("integer") => {
                    object.insert(
                        name.clone(),
                        value
                            .parse::<i64>()
                            .map_or_else(|_| json!(value), |number| json!(number)),
                    );
                }
                Some("boolean") => {
                    object.insert(
                        name.clone(),
                        value
                            .parse::<bool>()
                            .map_or_else(|_| json!(value), |truth| json!(truth)),
                    );
                }
                _ => {
                    object.insert(name.clone(), json!(value));
                }
            }
        }
        problems.extend(self.check(&pointer, &Value::Object(object)));
        problems
    }

    /// The path as the file writes it; the one with the most fixed words wins.
    pub(super) fn template(&self, path: &str) -> Option<String> {
        let paths = self.file["paths"].as_object()?;
        let fits = |known: &&String| {
            let (mut wanted, mut given) = (known.split('/'), path.split('/'));
            loop {
                match (wanted.next(), given.next()) {
                    (None, None) => return true,
                    (Some(wanted), Some(given)) if piece_fits(wanted, given) => {}
                    _ => return false,
                }
            }
        };
        paths
            .keys()
            .filter(fits)
            .min_by_key(|known| known.matches('{').count())
            .cloned()
    }

    fn validator(&self, pointer: &str) -> Result<Arc<Validator>, String> {
        if let Some(known) = lock(&self.compiled).get(pointer) {
            return Ok(known.clone());
        }
        let schema = self.at(pointer).cloned().unwrap_or(Value::Bool(true));
        let mut parts = Map::new();
        self.gather(&schema, &mut parts);
        let document = json!({"allOf": [schema], "components": {"schemas": parts}});
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(false)
            .build(&document)
            .map_err(|error| format!("the contract's schema at {pointer} cannot be used: {error}"))?;
        let validator = Arc::new(validator);
        lock(&self.compiled).insert(pointer.to_owned(), validator.clone());
        Ok(validator)
    }

    /// The named schemas that this one leads to, so that the rest of the file is not compiled.
    fn gather(&self, schema: &Value, parts: &mut Map<String, Value>) {
        match schema {
            Value::Object(fields) => {
                if let Some(name) = fields
                    .get("$ref")
                    .and_then(Value::as_str)
                    .and_then(|to| to.strip_prefix("#/components/schemas/"))
                    && !parts.contains_key(name)
                    && let Some(found) = self.file["components"]["schemas"].get(name)
                {
                    parts.insert(name.to_owned(), found.clone());
                    self.gather(found, parts);
                }
                fields.values().for_each(|value| self.gather(value, parts));
            }
            Value::Array(items) => items.iter().for_each(|item| self.gather(item, parts)),
            _ => {}
        }
    }
}

/// `{Sid}.json` fits `SM1.json`.
fn piece_fits(wanted: &str, given: &str) -> bool {
    match wanted.split_once('{').zip(wanted.rsplit_once('}')) {
        Some(((before, _), (_, after))) => {
            let inner = given.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            inner.is_some_and(|inner| !inner.is_empty() && (!after.is_empty() || !inner.ends_with(".json")))
        }
        None => wanted == given,
    }
}

/// `nullable: true` of OpenAPI 3.0 in the words of JSON Schema; examples, which are no schemas, are dropped.
fn modernise(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if !fields
                .get("example")
                .is_some_and(|example| example.get("type").is_some_and(Value::is_string))
            {
                fields.remove("example");
            }
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
                if let Some(Value::String(kind)) = fields.get("type").cloned() {
                    fields.insert("type".to_owned(), json!([kind, "null"]));
                }
                if let Some(Value::Array(values)) = fields.get_mut("enum") {
                    values.push(Value::Null);
                }
            }
            fields.values_mut().for_each(modernise);
        }
        Value::Array(items) => items.iter_mut().for_each(modernise),
        _ => {}
    }
}
