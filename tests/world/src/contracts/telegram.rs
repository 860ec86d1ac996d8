//! Checks calls of the Bot API against its machine-readable description.

use serde_json::{Map, Value};

pub(crate) struct BotApi(Value);

impl BotApi {
    pub(super) fn new(file: Value) -> Self {
        Self(file)
    }

    /// The method's name as it is written, whatever the case of the call.
    pub(crate) fn method(&self, name: &str) -> Option<&str> {
        let methods = self.0["methods"].as_object()?;
        methods
            .keys()
            .find(|known| known.eq_ignore_ascii_case(name))
            .map(String::as_str)
    }

    /// What the contract says of a parameter's types; none: not a parameter.
    pub(crate) fn types(&self, method: &str, parameter: &str) -> Option<Vec<&str>> {
        types(
            self.fields("methods", method)?
                .iter()
                .find(|field| field["name"] == parameter)?,
        )
    }

    /// What is wrong with the parameters. Files that came beside them are named in `uploads`.
    pub(crate) fn check(&self, method: &str, parameters: &Map<String, Value>, uploads: &[String]) -> Vec<String> {
        let Some(fields) = self.fields("methods", method) else {
            return if parameters.is_empty() {
                Vec::new()
            } else {
                vec![format!("{method} takes no parameters")]
            };
        };
        let mut problems = Vec::new();
        self.check_fields(fields, parameters, uploads, method, &mut problems);
        problems
    }

    fn fields(&self, section: &str, name: &str) -> Option<&Vec<Value>> {
        self.0[section][name]["fields"].as_array()
    }

    fn check_fields(
        &self,
        fields: &[Value],
        values: &Map<String, Value>,
        uploads: &[String],
        place: &str,
        problems: &mut Vec<String>,
    ) {
        for field in fields {
            let name = field["name"].as_str().unwrap_or("");
            let uploaded = uploads.iter().any(|upload| upload == name);
            if field["required"] == true && !values.contains_key(name) && !uploaded {
                problems.push(format!("{place}: `{name}` is required"));
            }
        }
        for (name, value) in values {
            let Some(field) = fields.iter().find(|field| field["name"] == name.as_str()) else {
                problems.push(format!("{place}: there is no `{name}`"));
                continue;
            };
            let types = types(field).unwrap_or_default();
            if let Some(problem) = self.first_problem(&types, value, &format!("{place}.{name}")) {
                problems.push(problem);
            }
        }
    }

    /// None when the value fits one of the types.
    fn first_problem(&self, types: &[&str], value: &Value, place: &str) -> Option<String> {
        let mut nearest = None;
        for kind in types {
            let mut problems = Vec::new();
            self.check_type(kind, value, place, &mut problems);
            if problems.is_empty() {
                return None;
            }
            nearest.get_or_insert(problems.remove(0));
        }
        nearest
    }

    fn check_type(&self, kind: &str, value: &Value, place: &str, problems: &mut Vec<String>) {
        if let Some(item) = kind.strip_prefix("Array of ") {
            let Some(items) = value.as_array() else {
                problems.push(format!("{place} must be an array"));
                return;
            };
            for (at, value) in items.iter().enumerate() {
                self.check_type(item, value, &format!("{place}[{at}]"), problems);
            }
            return;
        }
        let fits = match kind {
            "Integer" => value.is_i64() || value.is_u64(),
            "Float" => value.is_number(),
            "String" | "InputFile" => value.is_string(),
            "Boolean" => value.is_boolean(),
            _ => return self.check_object(kind, value, place, problems),
        };
        if !fits {
            problems.push(format!("{place} must be {kind}, not {value}"));
        }
    }

    fn check_object(&self, kind: &str, value: &Value, place: &str, problems: &mut Vec<String>) {
        let Some(values) = value.as_object() else {
            problems.push(format!("{place} must be an object ({kind})"));
            return;
        };
        if let Some(fields) = self.fields("types", kind) {
            self.check_fields(fields, values, &[], place, problems);
            return;
        }
        let subtypes = self.0["types"][kind]["subtypes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let names: Vec<&str> = subtypes.iter().filter_map(Value::as_str).collect();
        if !names.is_empty()
            && let Some(problem) = self.first_problem(&names, value, place)
        {
            problems.push(problem);
        }
    }
}

fn types(field: &Value) -> Option<Vec<&str>> {
    Some(field["types"].as_array()?.iter().filter_map(Value::as_str).collect())
}
