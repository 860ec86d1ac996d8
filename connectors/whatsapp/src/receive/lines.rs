//! The readable lines for what has no form of its own in an inbox.

use serde_json::Value;

use crate::wire::{CallPermission, FormReply, Order, Product, Referral, System};

/// Longest line, in characters: answers of a form may be pages of text.
const LINE_CHARS_MAX: usize = 2_000;

/// “Ordered: 2 × SKU1 at 30 EUR; total 60 EUR.”
pub fn order(order: &Order) -> String {
    let items: Vec<String> = order
        .product_items
        .iter()
        .map(|item| {
            let product = item.product_retailer_id.as_deref().unwrap_or("a product");
            let quantity = item.quantity.as_deref().unwrap_or("1");
            match (item.item_price.as_deref(), item.currency.as_deref()) {
                (Some(price), Some(currency)) => format!("{quantity} × {product} at {price} {currency}"),
                (Some(price), None) => format!("{quantity} × {product} at {price}"),
                (None, _) => format!("{quantity} × {product}"),
            }
        })
        .collect();
    let mut line = match items.is_empty() {
        true => "Sent an order without products".to_owned(),
        false => format!("Ordered: {}", items.join(", ")),
    };
    if let Some(total) = total(order) {
        line.push_str("; total ");
        line.push_str(&total);
    }
    line.push('.');
    if let Some(note) = order.text.as_deref().filter(|note| !note.trim().is_empty()) {
        line.push_str(" Note: ");
        line.push_str(note);
    }
    bounded(line)
}

/// Only when every item has a number and one currency: a wrong sum is worse than none.
fn total(order: &Order) -> Option<String> {
    let currency = order.product_items.first()?.currency.as_deref()?;
    let mut sum = 0.0;
    for item in &order.product_items {
        if item.currency.as_deref() != Some(currency) {
            return None;
        }
        let price: f64 = item.item_price.as_deref()?.parse().ok()?;
        let quantity: f64 = item.quantity.as_deref()?.parse().ok()?;
        sum += price * quantity;
    }
    let cents = (sum * 100.0).round();
    Some(if cents % 100.0 == 0.0 {
        format!("{sum:.0} {currency}")
    } else {
        format!("{sum:.2} {currency}")
    })
}

/// “Form answered: rating: 4, comment: fine.” `flow_token` is the machine's.
pub fn form(form: &FormReply) -> String {
    let answers = form
        .response_json
        .as_deref()
        .and_then(|json| serde_json::from_str::<Value>(json).ok());
    let told: Vec<String> = match answers {
        Some(Value::Object(fields)) => fields
            .iter()
            .filter(|(name, _)| *name != "flow_token")
            .map(|(name, value)| format!("{}: {}", name.replace('_', " "), plain(value)))
            .collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(other) => vec![plain(&other)],
    };
    bounded(match (told.is_empty(), form.body.as_deref()) {
        (false, _) => format!("Form answered: {}.", told.join(", ")),
        (true, Some(body)) if !body.is_empty() => format!("Form answered: {body}."),
        (true, _) => "Form answered.".to_owned(),
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" and "),
        other => other.to_string(),
    }
}

pub fn call_permission(reply: &CallPermission) -> String {
    match reply.response.as_deref() {
        Some("accept") => "Allowed calls.".to_owned(),
        Some("reject") => "Declined calls.".to_owned(),
        _ => "Answered the question about calls.".to_owned(),
    }
}

pub fn product(product: &Product) -> String {
    let name = product.product_retailer_id.as_deref().unwrap_or("unknown");
    match product.catalog_id.as_deref() {
        Some(catalog) => format!("Asks about the product {name} of the catalogue {catalog}."),
        None => format!("Asks about the product {name}."),
    }
}

/// “Came from the ad “Summer sale”: 20 % off everything”
pub fn referral(referral: &Referral) -> String {
    let source = match referral.source_type.as_deref() {
        Some("ad") => "the ad",
        Some("post") => "the post",
        _ => "an ad or post",
    };
    let filled = |words: &Option<String>| words.clone().filter(|words| !words.trim().is_empty());
    let mut line = format!("Came from {source}");
    if let Some(headline) = filled(&referral.headline) {
        line.push_str(&format!(" “{headline}”"));
    }
    if let Some(body) = filled(&referral.body) {
        line.push_str(&format!(": {body}"));
    }
    bounded(line)
}

pub fn system(system: &System) -> String {
    let told = system.body.clone().filter(|body| !body.trim().is_empty());
    bounded(match (system.kind.as_str(), told) {
        ("customer_identity_changed", _) => {
            "The security code of this chat changed: the customer has a new phone or has installed WhatsApp again."
                .to_owned()
        }
        (_, Some(told)) => told,
        ("user_changed_number" | "customer_changed_number", None) => "The customer has a new phone number.".to_owned(),
        ("user_changed_user_id", None) => "The customer has a new WhatsApp user id.".to_owned(),
        (kind, None) => format!("WhatsApp reports: {}.", kind.replace('_', " ")),
    })
}

fn bounded(line: String) -> String {
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
