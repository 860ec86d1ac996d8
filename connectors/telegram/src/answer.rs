//! Calls to the Bot API and what its answers mean.
//!
//! Every answer is `{"ok":true,"result":…}` or `{"ok":false,"error_code":…,"description":…,"parameters":…}`. Errors are
//! told apart by code, then by lower-cased parts of the description, whose wording may change: what no row of the table
//! knows keeps the meaning of its code.

use mantle_sdk::http::{Request, Response};
use mantle_sdk::values::{CallError, Refusal, RefusalReason};
use mantle_sdk::{Host, http};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The manifest's credential that fills in `{bot_token}`.
pub const BOT: &str = "bot";

#[derive(Debug, Deserialize)]
struct Envelope {
    ok: bool,
    result: Option<Value>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    migrate_to_chat_id: Option<i64>,
    /// Seconds.
    retry_after: Option<u64>,
}

/// A clear no of the Bot API: surely nothing was done.
#[derive(Debug)]
pub struct No {
    pub code: u16,
    pub description: String,
    pub migrate_to_chat_id: Option<i64>,
    retry_after_ms: Option<u64>,
}

/// How a call ended that did not end well.
#[derive(Debug)]
pub enum Trouble {
    No(No),
    /// No clear answer.
    Unclear(CallError),
}

pub fn method(name: &str) -> Request {
    Request::post(format!("https://api.telegram.org/bot{{bot_token}}/{name}")).credential(BOT)
}

/// A call that changes nothing, or nothing twice: without a clear answer it may simply be made again.
pub fn ask<T: DeserializeOwned>(host: &dyn Host, request: Request) -> Result<T, Trouble> {
    let response = host
        .fetch(request)
        .map_err(|error| Trouble::Unclear(CallError::reading(error)))?;
    read(&response, host).map_err(|trouble| match trouble {
        Trouble::Unclear(CallError::Ambiguous(failure)) => Trouble::Unclear(CallError::Transient(failure)),
        other => other,
    })
}

/// A call that makes something: without a clear answer nobody knows.
pub fn make<T: DeserializeOwned>(host: &dyn Host, request: Request) -> Result<T, Trouble> {
    let response = host
        .fetch(request)
        .map_err(|error: http::Error| Trouble::Unclear(error.into()))?;
    read(&response, host)
}

fn read<T: DeserializeOwned>(response: &Response, host: &dyn Host) -> Result<T, Trouble> {
    let envelope: Option<Envelope> = response.json().ok();
    match envelope {
        Some(Envelope { ok: true, result, .. }) => T::deserialize(result.unwrap_or_default()).map_err(|error| {
            let problem = format!("Telegram did it, but its answer cannot be read: {error}.");
            Trouble::Unclear(CallError::ambiguous("unreadable-answer", problem))
        }),
        Some(envelope) => Err(refused(envelope, response, host)),
        None => Err(not_telegram(response, host)),
    }
}

fn refused(envelope: Envelope, response: &Response, host: &dyn Host) -> Trouble {
    let code = envelope.error_code.unwrap_or(response.status);
    let description = envelope
        .description
        .unwrap_or_else(|| "Telegram gives no reason.".to_owned());
    let parameters = envelope.parameters.unwrap_or_default();
    if code == 503 {
        let named = parameters.retry_after.and_then(|seconds| seconds.checked_mul(1000));
        let wait = named.or_else(|| response.retry_after_ms(host.now()));
        return Trouble::Unclear(not_let_in(wait, &words(&description)));
    }
    // A gateway in front of the Bot API speaks its JSON too, but does not know what became of the request.
    if matches!(code, 502 | 504) {
        return Trouble::Unclear(CallError::ambiguous(code.to_string(), words(&description)));
    }
    // The Bot API itself says that it failed: it has not made the message.
    if code >= 500 {
        return Trouble::Unclear(CallError::transient(code.to_string(), words(&description)));
    }
    Trouble::No(No {
        code,
        description,
        migrate_to_chat_id: parameters.migrate_to_chat_id,
        retry_after_ms: parameters
            .retry_after
            .and_then(|seconds| seconds.checked_mul(1000))
            .or_else(|| response.retry_after_ms(host.now())),
    })
}

/// An answer of something that stands before the Bot API, or half an answer.
fn not_telegram(response: &Response, host: &dyn Host) -> Trouble {
    let status = response.status;
    let retry_after_ms = response.retry_after_ms(host.now());
    match status {
        200..=299 => Trouble::Unclear(CallError::ambiguous(
            "unreadable-answer",
            "Telegram's answer is cut off or is not JSON.",
        )),
        // A 503 that names a time has not let the request in.
        503 if retry_after_ms.is_some() => {
            Trouble::Unclear(not_let_in(retry_after_ms, "Telegram is not available for a while."))
        }
        // Plain enough from whoever says it.
        413 | 429 => Trouble::No(No {
            code: status,
            description: format!("Status {status} without a reason"),
            migrate_to_chat_id: None,
            retry_after_ms,
        }),
        // Not in the API's words: a 404 of a proxy says nothing of the token, nor of what became of the request.
        _ => Trouble::Unclear(CallError::ambiguous(
            status.to_string(),
            format!("Something other than the Bot API answered with status {status}."),
        )),
    }
}

/// A 503 of the Bot API itself says that the request was not let in: nothing was done.
fn not_let_in(retry_after_ms: Option<u64>, problem: &str) -> CallError {
    match retry_after_ms {
        Some(_) => CallError::rate_limited(retry_after_ms, "503", problem),
        None => CallError::transient("503", problem),
    }
}

impl No {
    /// Whether the description has these words, in any case.
    pub fn says(&self, words: &str) -> bool {
        self.description.to_ascii_lowercase().contains(words)
    }

    /// Telegram refuses the token itself: 404 is a token that is none.
    pub fn is_about_the_token(&self) -> bool {
        matches!(self.code, 401 | 404)
    }

    fn outcome(self) -> CallError {
        let code = self.code.to_string();
        let message = words(&self.description);
        match self.code {
            429 => CallError::rate_limited(self.retry_after_ms, code, message),
            401 | 404 => CallError::unauthorized(code, message),
            // A data centre that the bot has just moved from.
            421 => CallError::transient(code, message),
            _ => {
                let (reason, next_step) = self.reason();
                CallError::Refused(Refusal {
                    next_step: next_step.map(str::to_owned),
                    ..Refusal::new(reason, code, message)
                })
            }
        }
    }

    fn reason(&self) -> (RefusalReason, Option<&'static str>) {
        let row = TABLE.iter().find(|row| row.code == self.code && self.says(row.words));
        row.map_or((RefusalReason::Other, None), |row| (row.reason, row.next_step))
    }
}

impl From<Trouble> for CallError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::No(no) => no.outcome(),
            Trouble::Unclear(error) => error,
        }
    }
}

struct Row {
    code: u16,
    words: &'static str,
    reason: RefusalReason,
    next_step: Option<&'static str>,
}

const fn row(code: u16, words: &'static str, reason: RefusalReason, next_step: &'static str) -> Row {
    Row {
        code,
        words,
        reason,
        next_step: Some(next_step),
    }
}

const START: &str = "Telegram bots cannot write first: ask the customer to open the bot and press Start.";
const GROUP: &str = "Somebody in the group must add the bot again.";
const RIGHTS: &str = "An administrator of the group must allow the bot to write this.";
const SHORTEN: &str = "Shorten it and send it again.";
const MEND: &str = "Change the message and send it again.";
const OTHER_FILE: &str = "Send another file, or the same one as a document.";

/// The first row with this code and these words. Words are lower case; the last row of a code has none.
const TABLE: &[Row] = &[
    row(400, "chat not found", RefusalReason::Unreachable, START),
    row(400, "user not found", RefusalReason::Unreachable, START),
    row(400, "peer_id_invalid", RefusalReason::Unreachable, START),
    row(400, "not enough rights", RefusalReason::Account, RIGHTS),
    row(400, "have no rights", RefusalReason::Account, RIGHTS),
    row(400, "need administrator rights", RefusalReason::Account, RIGHTS),
    row(400, "is too long", RefusalReason::TooLarge, SHORTEN),
    row(
        400,
        "file is too big",
        RefusalReason::TooLarge,
        "Files above 20 MB cannot be fetched: ask for a link.",
    ),
    row(400, "too large", RefusalReason::TooLarge, SHORTEN),
    row(400, "text is empty", RefusalReason::Invalid, MEND),
    row(400, "must be non-empty", RefusalReason::Invalid, MEND),
    row(400, "can't parse entities", RefusalReason::Invalid, MEND),
    row(
        400,
        "reaction_invalid",
        RefusalReason::Unsupported,
        "Telegram takes only the emoji of its own list as a reaction.",
    ),
    row(
        400,
        "message to react not found",
        RefusalReason::Invalid,
        "The message is gone.",
    ),
    row(
        400,
        "voice_messages_forbidden",
        RefusalReason::Policy,
        "The customer does not accept voice messages: write, or send an audio file.",
    ),
    row(400, "photo_", RefusalReason::Invalid, OTHER_FILE),
    row(400, "image_process_failed", RefusalReason::Invalid, OTHER_FILE),
    row(400, "wrong file identifier", RefusalReason::Invalid, OTHER_FILE),
    row(
        400,
        "wrong type of the web page content",
        RefusalReason::Invalid,
        OTHER_FILE,
    ),
    row(
        400,
        "failed to get http url content",
        RefusalReason::Invalid,
        OTHER_FILE,
    ),
    row(400, "can't upload file", RefusalReason::Invalid, OTHER_FILE),
    row(400, "", RefusalReason::Invalid, MEND),
    row(
        403,
        "blocked by the user",
        RefusalReason::Unreachable,
        "The customer has blocked the bot. Reach them on another channel, or wait until they unblock it.",
    ),
    row(
        403,
        "user is deactivated",
        RefusalReason::Unreachable,
        "The Telegram account no longer exists. Reach the customer on another channel.",
    ),
    row(403, "can't initiate conversation", RefusalReason::Unreachable, START),
    row(403, "kicked from", RefusalReason::Unreachable, GROUP),
    row(403, "not a member", RefusalReason::Unreachable, GROUP),
    row(
        403,
        "was deleted",
        RefusalReason::Unreachable,
        "The group no longer exists. Write to its members one by one.",
    ),
    row(
        403,
        "",
        RefusalReason::Policy,
        "Telegram does not let the bot write here. Reach the customer on another channel.",
    ),
    row(
        406,
        "",
        RefusalReason::Account,
        "Telegram has frozen the account that owns the bot. Open Telegram with it and follow the instructions.",
    ),
    row(
        409,
        "",
        RefusalReason::Account,
        "Another program uses this bot. Stop it, then connect the channel again.",
    ),
    row(
        413,
        "",
        RefusalReason::TooLarge,
        "The file is larger than Telegram takes: send a link instead.",
    ),
];

fn words(description: &str) -> String {
    format!("Telegram: {}", description.trim_end_matches('.'))
}
