//! Intercom's search language: one filter or nested groups of them.

use serde_json::Value;

/// Filters in one group.
const FILTERS_MAX: usize = 15;
/// Groups inside groups.
const DEPTH_MAX: usize = 2;

/// Whether the thing fits; the text says what is wrong with the query.
pub(super) fn fits(thing: &Value, query: &Value) -> Result<bool, String> {
    group(thing, query, 0)
}

fn group(thing: &Value, query: &Value, depth: usize) -> Result<bool, String> {
    let operator = query["operator"].as_str().ok_or("operator is missing")?;
    let Some(filters) = query["value"]
        .as_array()
        .filter(|_| operator == "AND" || operator == "OR")
    else {
        return filter(thing, query, operator);
    };
    if filters.len() > FILTERS_MAX || depth >= DEPTH_MAX {
        return Err("too many filters or nested groups".to_owned());
    }
    let results: Result<Vec<bool>, String> = filters.iter().map(|inner| group(thing, inner, depth + 1)).collect();
    let results = results?;
    Ok(if operator == "AND" {
        results.iter().all(|fits| *fits)
    } else {
        results.iter().any(|fits| *fits)
    })
}

fn filter(thing: &Value, query: &Value, operator: &str) -> Result<bool, String> {
    let field = query["field"].as_str().ok_or("field is missing")?;
    let wanted = query.get("value").ok_or("value is missing")?;
    let found = look_up(thing, field);
    let text = |value: &Value| {
        value.as_str().map_or_else(
            || {
                if value.is_null() {
                    String::new()
                } else {
                    value.to_string()
                }
            },
            str::to_lowercase,
        )
    };
    let any = |test: &dyn Fn(&Value) -> bool| found.iter().any(|value| test(value));
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let ordered = |test: fn(i64, i64) -> bool| {
        any(&|value: &Value| matches!((number(value), number(wanted)), (Some(a), Some(b)) if test(a, b)))
    };
    Ok(match operator {
        "=" => any(&|value| text(value) == text(wanted)),
        "!=" => !any(&|value| text(value) == text(wanted)),
        "IN" | "NIN" => {
            let list = wanted.as_array().ok_or("IN needs an array")?;
            let inside = any(&|value| list.iter().any(|wanted| text(value) == text(wanted)));
            inside == (operator == "IN")
        }
        // Both include equality in the conversations' search.
        ">" | ">=" => ordered(|a, b| a >= b),
        "<" | "<=" => ordered(|a, b| a <= b),
        "~" => any(&|value| text(value).contains(&text(wanted))),
        "!~" => !any(&|value| text(value).contains(&text(wanted))),
        "^" => any(&|value| text(value).starts_with(&text(wanted))),
        "$" => any(&|value| text(value).ends_with(&text(wanted))),
        other => return Err(format!("operator `{other}` is not supported")),
    })
}

/// The values behind a dotted field name; lists give each of their items.
fn look_up<'a>(thing: &'a Value, field: &str) -> Vec<&'a Value> {
    let value = match field.split_once('.') {
        Some((outer, inner)) => return look_up(&thing[outer], inner),
        None => &thing[field],
    };
    match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_and_groups_are_evaluated() {
        let thing = json!({"phone": "+441632960001", "role": "user", "custom_attributes": {"x_id": "77"}, "contact_ids": ["a", "b"], "updated_at": 10});
        let check = |query: Value, expected: bool| assert_eq!(fits(&thing, &query), Ok(expected), "{query}");
        check(
            json!({"field": "phone", "operator": "=", "value": "+441632960001"}),
            true,
        );
        check(
            json!({"field": "custom_attributes.x_id", "operator": "=", "value": "77"}),
            true,
        );
        check(json!({"field": "contact_ids", "operator": "=", "value": "b"}), true);
        check(json!({"field": "phone", "operator": "$", "value": "960001"}), true);
        check(json!({"field": "updated_at", "operator": ">", "value": 11}), false);
        let phone = json!({"field": "phone", "operator": "=", "value": "+1"});
        let role = json!({"field": "role", "operator": "IN", "value": ["user"]});
        check(json!({"operator": "OR", "value": [phone, role]}), true);
        check(json!({"operator": "AND", "value": [phone, role]}), false);
        assert!(fits(&thing, &json!({"field": "phone", "operator": "like", "value": "x"})).is_err());
    }
}
