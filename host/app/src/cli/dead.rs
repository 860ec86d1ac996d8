//! `mantle dead`: messages that were given up and raw hooks that nobody could read, looked at and put in line again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use mantle_model::clock::{Clock, SystemClock, Time};
use serde_json::{Value, json};

use super::Common;
use super::output::{Output, table, text};
use super::remote::Remote;

/// States of what did not arrive and can be put in line again, or be looked into.
const GIVEN_UP: [&str; 4] = ["dead", "failed", "unknown", "parked"];
/// What `--all` puts in line again. Whether an unknown one arrived must be asked first, one by one, and what was
/// refused for good is refused again.
const REPLAYED_BY_ALL: [&str; 2] = ["dead", "parked"];
/// Messages of one call: what the API gives at most.
const PAGE_ROWS: usize = 200;
/// Taken at once; the rest comes with the next call of the command, so that it never holds more than some megabytes.
const AT_ONCE_MAX: usize = 50_000;
/// Lines that tell how far it is.
const TOLD_EVERY: usize = 100;

/// Which of them.
#[derive(Debug, Args)]
pub(super) struct Narrowed {
    /// Of this channel alone: `chn_…`.
    #[arg(long)]
    channel: Option<String>,
    /// Accepted since: `2h`, `3d`, or a moment such as 2026-11-20T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Whose reason has these words in it, large or small.
    #[arg(long, value_name = "WORDS")]
    reason: Option<String>,
}

pub(super) async fn list(common: &Common, narrowed: &Narrowed, output: &Output) -> Result<bool> {
    let given_up = given_up(&Remote::new(common)?, &GIVEN_UP, narrowed).await?;
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for message in &given_up.messages {
        *reasons.entry(text(message, "reason")).or_default() += 1;
    }
    let answer = json!({
        "messages": given_up.messages,
        "complete": given_up.complete,
        "reasons": reasons,
    });
    let fields = ["id", "state", "direction", "accepted_at", "channel_id", "reason"];
    let rows: Vec<Vec<String>> = given_up
        .messages
        .iter()
        .map(|message| fields.iter().map(|field| text(message, field)).collect())
        .collect();
    let mut page = table(&["id", "state", "direction", "accepted", "channel", "reason"], &rows);
    page.push_str(&format!("\n{} in all.", rows.len()));
    if !given_up.complete {
        page.push_str(&format!(" There are more; these are the newest {AT_ONCE_MAX}."));
    }
    output.answer(&answer, &page);
    Ok(true)
}

/// One message, or all that are dead or parked, the oldest first: so each lane gets them in the order they had.
pub(super) async fn replay(
    common: &Common,
    message: Option<&str>,
    narrowed: &Narrowed,
    output: &Output,
) -> Result<bool> {
    let remote = Remote::new(common)?;
    let (ids, complete): (Vec<String>, bool) = match message {
        Some(message) => (vec![message.to_owned()], true),
        None => {
            let given_up = given_up(&remote, &REPLAYED_BY_ALL, narrowed).await?;
            let ids = given_up.messages.iter().map(|message| text(message, "id")).collect();
            (ids, given_up.complete)
        }
    };
    let (mut replayed, mut refused) = (Vec::new(), Vec::new());
    for (done, id) in ids.iter().enumerate() {
        match remote.post(&format!("/api/v1/messages/{id}/replay"), &json!({})).await {
            Ok(answer) => replayed.push(answer),
            Err(error) => refused.push(json!({ "id": id, "message": format!("{error:#}") })),
        }
        if (done + 1) % TOLD_EVERY == 0 {
            output.progress(&format!("{} of {} …", done + 1, ids.len()));
        }
    }
    let mut page = format!("{} in line again.", replayed.len());
    for refusal in &refused {
        page.push_str(&format!("\n{}: {}", text(refusal, "id"), text(refusal, "message")));
    }
    if !complete {
        page.push_str("\nThere are more: call the command again.");
    }
    let well = refused.is_empty();
    output.answer(
        &json!({ "replayed": replayed, "refused": refused, "complete": complete }),
        &page,
    );
    Ok(well)
}

struct GivenUp {
    /// Oldest first.
    messages: Vec<Value>,
    /// Whether these are all.
    complete: bool,
}

async fn given_up(remote: &Remote, states: &[&str], narrowed: &Narrowed) -> Result<GivenUp> {
    let mut query = String::new();
    if let Some(channel) = &narrowed.channel {
        query.push_str(&format!("&channel={}", encoded(channel)));
    }
    if let Some(since) = &narrowed.since {
        query.push_str(&format!("&from={}", since_when(since, SystemClock.now())?));
    }
    let reason = narrowed.reason.as_deref().map(str::to_lowercase);
    let wanted = |message: &Value| {
        let told = text(message, "reason").to_lowercase();
        reason.as_ref().is_none_or(|reason| told.contains(reason))
    };
    let (mut messages, mut complete) = (Vec::new(), true);
    for state in states {
        let mut after = String::new();
        loop {
            let page = remote
                .get(&format!(
                    "/api/v1/messages?state={state}&limit={PAGE_ROWS}{query}{after}"
                ))
                .await?;
            let rows = page["messages"].as_array().into_iter().flatten();
            messages.extend(rows.filter(|message| wanted(message)).cloned());
            match page["next"].as_str() {
                Some(_) if messages.len() >= AT_ONCE_MAX => complete = false,
                Some(next) => {
                    after = format!("&after={next}");
                    continue;
                }
                None => {}
            }
            break;
        }
    }
    // Each list comes newest first; those of one moment keep their order too.
    messages.reverse();
    messages.sort_by_key(|message| text(message, "accepted_at"));
    Ok(GivenUp { messages, complete })
}

/// Unix milliseconds, as the API takes them.
fn since_when(since: &str, now: Time) -> Result<i64> {
    if let Ok(moment) = since.parse::<jiff::Timestamp>() {
        return Ok(moment.as_millisecond());
    }
    let seconds = |unit| match unit {
        'm' => Some(60),
        'h' => Some(60 * 60),
        'd' => Some(24 * 60 * 60),
        _ => None,
    };
    let span = since.chars().last().and_then(seconds).and_then(|unit| {
        let count: u64 = since[..since.len() - 1].parse().ok()?;
        count.checked_mul(unit)
    });
    match span {
        Some(span) => Ok(now.before(Duration::from_secs(span)).unix_ms()),
        None => bail!("`--since {since}` is no time. Write 30m, 2h, 3d or a moment such as 2026-11-20T08:00:00Z."),
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_spans_and_moments() {
        let now = Time::from_unix_seconds(1_795_132_800);
        let check = |text: &str, expected: Option<i64>| assert_eq!(since_when(text, now).ok(), expected, "{text}");
        check("2h", Some(now.unix_ms() - 7_200_000));
        check("3d", Some(now.unix_ms() - 3 * 86_400_000));
        check("30m", Some(now.unix_ms() - 1_800_000));
        check("2026-11-20T00:00:00Z", Some(1_795_132_800_000));
        for wrong in ["", "h", "2", "2w", "-1h", "tomorrow", "2ä"] {
            check(wrong, None);
        }
    }
}
