//! The account's own token lives 60 days and is renewed every week: Instagram gives a new one for one that is good.
//!
//! The host takes the new one out of the answer, keeps it and uses it from then on. What is kept here, under `kv`, is when
//! that was, and a mark of the token that was filled in: another one filled in has a life of its own.

use mantle_sdk::Host;
use mantle_sdk::crypto::Algorithm;
use mantle_sdk::http::Request;
use mantle_sdk::log::Level;
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel, Refusal, TimeMs};
use serde::{Deserialize, Serialize};

use crate::graph::{self, Repeat};

const KEY: &str = "token";

/// The secret that was filled in; the one that is renewed, where it stands in an answer, and the credential that hands it
/// over.
const FILLED_IN: &str = "access_token";
const RENEWED: &str = "account_token";
const POINTER: &str = "/access_token";
const RENEWAL: &str = "renewal";

/// Not versioned.
const ADDRESS: &str = "https://graph.instagram.com/refresh_access_token";

/// What keeps our sum apart from all others with the same secret.
const PURPOSE: &str = "mantle instagram token";

const DAY_MS: TimeMs = 24 * 60 * 60 * 1_000;
const RENEWED_EVERY_MS: TimeMs = 7 * DAY_MS;
/// A token must be a day old, and Instagram tells no other way that it is not.
const TRIED_EVERY_MS: TimeMs = DAY_MS;
/// How long before its end a token is worth a warning.
const WARNED_MS: TimeMs = 10 * DAY_MS;
/// The first try may come too early in the token's life.
const FAILURES_UNTOLD: u32 = 1;

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Record {
    /// 0: never, or not known. Milliseconds, as all that follows.
    renewed_at: TimeMs,
    expires_at: TimeMs,
    tried_at: TimeMs,
    failures: u32,
    why: String,
    /// Of the token that was filled in.
    mark: String,
}

#[derive(Deserialize)]
struct Renewed {
    /// Never the token itself, which the host keeps; without it nothing was renewed.
    #[serde(rename = "access_token")]
    _token: String,
    /// Seconds.
    #[serde(default)]
    expires_in: i64,
}

/// Renews the token when its time has come. The notices say when that does not work.
pub fn keep_alive(host: &dyn Host) -> Vec<Notice> {
    let now = host.now();
    let mut record = record(host).unwrap_or_default();
    if now - record.renewed_at >= RENEWED_EVERY_MS && now - record.tried_at >= TRIED_EVERY_MS {
        let request = Request::get(ADDRESS)
            .query([("grant_type", "ig_refresh_token")])
            .credential(RENEWAL)
            .keep(RENEWED, POINTER);
        match graph::call::<Renewed>(host, request, Repeat::Harmless) {
            Ok(renewed) => take(&mut record, &renewed, now),
            Err(CallError::Refused(Refusal { message, .. }) | CallError::Unauthorized(Failure { message, .. })) => {
                record.failures = record.failures.saturating_add(1);
                record.why = message;
            }
            // It passes: the next check asks again.
            Err(_) => return notices(&record, now),
        }
        record.tried_at = now;
        keep(host, &mut record);
    }
    notices(&record, now)
}

fn take(record: &mut Record, renewed: &Renewed, now: TimeMs) {
    record.renewed_at = now;
    record.failures = 0;
    record.why.clear();
    record.expires_at = match renewed.expires_in {
        seconds if seconds > 0 => now.saturating_add(seconds.saturating_mul(1_000)),
        _ => 0,
    };
}

fn notices(record: &Record, now: TimeMs) -> Vec<Notice> {
    let left = record.expires_at - now;
    let told = |message: String| message.trim_end().to_owned();
    if record.expires_at > 0 && left < WARNED_MS {
        let days = (left / DAY_MS).max(0);
        return vec![Notice::new(
            NoticeLevel::Warning,
            "token-expires",
            told(format!(
                "The access token ends in {days} days and could not be renewed. Log in again and enter a new one. {}",
                record.why
            )),
        )];
    }
    if record.failures <= FAILURES_UNTOLD {
        return Vec::new();
    }
    let message = format!(
        "Instagram does not renew the access token, which lives 60 days; it is asked again every day. {}",
        record.why
    );
    vec![Notice::new(NoticeLevel::Warning, "token-not-renewed", told(message))]
}

/// None: there is none, or it is of another token than the one filled in now.
fn record(host: &dyn Host) -> Option<Record> {
    let kept = host.kv_get(KEY).ok()??;
    let record: Record = serde_json::from_slice(&kept).ok()?;
    (record.mark == mark(host)?).then_some(record)
}

fn keep(host: &dyn Host, record: &mut Record) {
    record.mark = mark(host).unwrap_or_default();
    let written = serde_json::to_vec(record).is_ok_and(|record| host.kv_set(KEY, &record, None).is_ok());
    if !written {
        // The token is kept by the host; only the next check asks for another one.
        host.log(Level::Warn, "When the access token was renewed could not be kept.");
    }
}

fn mark(host: &dyn Host) -> Option<String> {
    let sum = host.hmac(FILLED_IN, Algorithm::Sha256, PURPOSE.as_bytes()).ok()?;
    Some(sum.iter().map(|byte| format!("{byte:02x}")).collect())
}
