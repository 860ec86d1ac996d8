//! Measurements as a table for people, in Markdown.

use serde_json::{Map, Value};

/// What has a column of its own: heading and key.
const COLUMNS: [(&str, &str); 5] = [
    ("per second", "per_second"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("max ms", "max_ms"),
    ("syncs/s", "syncs_per_second"),
];
/// What every line has alike, or what is beside the point in a table.
const LEFT_OUT: [&str; 12] = [
    "measurement",
    "profile",
    "cores",
    "os",
    "arch",
    "version",
    "p90_ms",
    "p999_ms",
    "customers",
    "connections",
    "cpu_us_per_message",
    "hook_bytes",
];

/// One row for each measurement; what has no column stands in the last one.
#[must_use]
pub fn markdown(measurements: &[Value]) -> String {
    let mut text = String::from("| measurement |");
    for (heading, _) in COLUMNS {
        text.push_str(&format!(" {heading} |"));
    }
    text.push_str(" host CPU µs | more |\n|---|");
    text.push_str(&"---|".repeat(COLUMNS.len() + 2));
    text.push('\n');
    for measurement in measurements {
        let Some(figures) = measurement.as_object() else {
            continue;
        };
        text.push_str(&row(figures));
    }
    text
}

fn row(figures: &Map<String, Value>) -> String {
    let name = figures.get("measurement").and_then(Value::as_str).unwrap_or_default();
    let mut row = format!("| `{name}` |");
    for (_, key) in COLUMNS {
        row.push_str(&format!(" {} |", figures.get(key).map(short).unwrap_or_default()));
    }
    let cpu = figures.get("cpu_us_per_message").and_then(|cpu| cpu.get("host"));
    row.push_str(&format!(" {} |", cpu.map(short).unwrap_or_default()));
    let mut more = Vec::new();
    for (key, value) in figures {
        let has_column = COLUMNS.iter().any(|(_, column)| column == key);
        if !has_column && !LEFT_OUT.contains(&key.as_str()) {
            tell(key, value, &mut more);
        }
    }
    row.push_str(&format!(" {} |\n", more.join(", ")));
    row
}

fn tell(key: &str, value: &Value, more: &mut Vec<String>) {
    match value {
        Value::Null | Value::Array(_) => {}
        Value::Object(inner) => {
            for (name, value) in inner {
                let is_left_out = LEFT_OUT.contains(&name.as_str());
                if !is_left_out {
                    tell(&format!("{key}.{name}"), value, more);
                }
            }
        }
        scalar => more.push(format!("{key} {}", short(scalar))),
    }
}

/// As many places as people read.
fn short(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.abs() >= 100.0 => format!("{float:.0}"),
            Some(float) if float.fract() == 0.0 => format!("{float:.0}"),
            Some(float) => format!("{float:.2}"),
            None => number.to_string(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_column_stands_in_the_last_one() {
        let line = json!({"measurement": "drain", "per_second": 1234.567, "p99_ms": 3.456, "p90_ms": 2.0,
            "syncs_per_second": 4000.0, "cpu_us_per_message": {"host": 250.5, "load": 1.0},
            "others": {"p99_ms": 9.87, "messages": 12}, "database": "sqlite", "asked_per_second": null});
        let expected = "\
| measurement | per second | p50 ms | p99 ms | max ms | syncs/s | host CPU µs | more |
|---|---|---|---|---|---|---|---|
| `drain` | 1235 |  | 3.46 |  | 4000 | 250 | database sqlite, others.messages 12, others.p99_ms 9.87 |
";
        assert_eq!(markdown(&[line]), expected);
    }
}
