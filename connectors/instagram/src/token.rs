//! The account's own token lives 60 days and is renewed every week: Instagram gives a new one for one that is good.
//!
//! The host keeps the token that was filled in; a newer one is kept here, under `kv`. What lies there is not encrypted
//! by the host, so it is sealed with a key made of the filled-in token, which is. Another token filled in makes the
//! record unreadable, and with that forgotten.

use mantle_sdk::Host;
use mantle_sdk::crypto::Algorithm;
use mantle_sdk::http::Request;
use mantle_sdk::log::Level;
use mantle_sdk::values::{CallError, Failure, Notice, NoticeLevel, Refusal, TimeMs};
use serde::{Deserialize, Serialize};

use crate::graph::{self, Repeat};

const KEY: &str = "token";

/// The secret that was filled in, and the credential that hands it over for renewal.
const SECRET: &str = "access_token";
const RENEWAL: &str = "renewal";

/// Not versioned.
const ADDRESS: &str = "https://graph.instagram.com/refresh_access_token";

/// What keeps our sums apart from all others with the same secret.
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
    /// Hexadecimal. None: the token that was filled in is still the one.
    sealed: Option<String>,
    /// 0: never, or not known. Milliseconds, as all that follows.
    renewed_at: TimeMs,
    expires_at: TimeMs,
    tried_at: TimeMs,
    failures: u32,
    why: String,
    /// Over all of the above, with the token that was filled in.
    proof: String,
}

#[derive(Deserialize)]
struct Renewed {
    access_token: String,
    /// Seconds.
    #[serde(default)]
    expires_in: i64,
}

/// The newest token, if it is another than the one that was filled in.
pub fn renewed(host: &dyn Host) -> Option<String> {
    let record = record(host)?;
    let sealed = from_hex(record.sealed.as_deref()?)?;
    String::from_utf8(masked(host, &sealed, record.renewed_at)?).ok()
}

/// Renews the token when its time has come. The notices say when that does not work.
pub fn keep_alive(host: &dyn Host) -> Vec<Notice> {
    let now = host.now();
    let mut record = record(host).unwrap_or_default();
    if now - record.renewed_at >= RENEWED_EVERY_MS && now - record.tried_at >= TRIED_EVERY_MS {
        match graph::call::<Renewed>(host, request(host), Repeat::Harmless) {
            Ok(renewed) => take(host, &mut record, &renewed, now),
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

fn request(host: &dyn Host) -> Request {
    let request = Request::get(ADDRESS).query([("grant_type", "ig_refresh_token")]);
    match renewed(host) {
        Some(token) => request.query([("access_token", token.as_str())]),
        None => request.credential(RENEWAL),
    }
}

fn take(host: &dyn Host, record: &mut Record, renewed: &Renewed, now: TimeMs) {
    record.renewed_at = now;
    record.failures = 0;
    record.why.clear();
    record.expires_at = match renewed.expires_in {
        seconds if seconds > 0 => now.saturating_add(seconds.saturating_mul(1_000)),
        _ => 0,
    };
    let token = renewed.access_token.as_bytes();
    // The host blacks the filled-in token out of answers, in brackets: then it is that one, and lives longer.
    let is_new = !token.is_empty() && token.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'[');
    record.sealed = match is_new {
        true => masked(host, token, now).map(|sealed| hex(&sealed)),
        false => None,
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

/// None: there is none, or it was made with another token than the one filled in now.
fn record(host: &dyn Host) -> Option<Record> {
    let kept = host.kv_get(KEY).ok()??;
    let record: Record = serde_json::from_slice(&kept).ok()?;
    (record.proof == record.sum(host)?).then_some(record)
}

fn keep(host: &dyn Host, record: &mut Record) {
    record.proof = record.sum(host).unwrap_or_default();
    let written = serde_json::to_vec(record).is_ok_and(|record| host.kv_set(KEY, &record, None).is_ok());
    if !written {
        // The token in use stays good for weeks, and the next check asks again.
        host.log(Level::Warn, "The renewed access token could not be kept.");
    }
}

impl Record {
    fn sum(&self, host: &dyn Host) -> Option<String> {
        let sealed = self.sealed.as_deref().unwrap_or("-");
        let (renewed, expires) = (self.renewed_at, self.expires_at);
        let (tried, failures) = (self.tried_at, self.failures);
        let text = format!(
            "{PURPOSE} proof {sealed} {renewed} {expires} {tried} {failures} {}",
            self.why
        );
        let sum = host.hmac(SECRET, Algorithm::Sha256, text.as_bytes()).ok()?;
        Some(hex(&sum))
    }
}

/// Seals and opens: the bytes mixed with a stream that only the filled-in token makes. `at` is never the same twice.
fn masked(host: &dyn Host, bytes: &[u8], at: TimeMs) -> Option<Vec<u8>> {
    let mut stream = Vec::new();
    let mut block = 0;
    while stream.len() < bytes.len() {
        let text = format!("{PURPOSE} stream {at} {block}");
        let next = host.hmac(SECRET, Algorithm::Sha256, text.as_bytes()).ok()?;
        if next.is_empty() {
            return None;
        }
        stream.extend(next);
        block += 1;
    }
    Some(bytes.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let pairs = digits?;
    pairs
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}
