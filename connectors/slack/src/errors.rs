//! What Slack's codes mean. They are words, and new ones appear at any time: an unknown one is a plain no.

use mantle_sdk::values::{CallError, Refusal, RefusalReason};

use crate::api::{Problem, Repeat};

/// The workspace's own limit of messages is counted in hours; Slack names no time for it.
const WORKSPACE_LIMIT_MS: u64 = 3_600_000;

/// The codes that a whole class of words has in common.
const CONNECT_BLOCKED: (&str, &str) = ("slack_connect_", "_blocked");

/// The outcome of an answer that says no.
pub fn of(problem: &Problem, repeat: Repeat, wait_ms: Option<u64>) -> CallError {
    let code = problem.error.as_str();
    match code {
        "not_authed"
        | "invalid_auth"
        | "token_revoked"
        | "account_inactive"
        | "not_allowed_token_type"
        | "org_login_required"
        | "two_factor_setup_required"
        | "access_denied"
        | "enterprise_is_restricted"
        | "app_access_restricted"
        | "is_bot" => CallError::unauthorized(code, "Slack no longer accepts the bot token. Install the app again."),
        "token_expired" => CallError::unauthorized(
            code,
            "The bot token has ended. Switch token rotation off at the app, install it again and enter its new token.",
        ),
        "missing_scope" | "no_permission" => CallError::unauthorized(code, lacking(problem)),
        "ratelimited" | "rate_limited" => CallError::rate_limited(wait_ms, code, "Slack asks to slow down."),
        "message_limit_exceeded" => CallError::rate_limited(
            wait_ms.or(Some(WORKSPACE_LIMIT_MS)),
            code,
            "The workspace has reached Slack's limit of messages.",
        ),
        "internal_error" | "request_timeout" | "service_unavailable" => {
            CallError::transient(code, "Slack had a temporary fault.")
        }
        "team_added_to_org" => CallError::transient(
            code,
            "The workspace is moving into an organisation; Slack answers again afterwards.",
        ),
        "ekm_access_denied" => CallError::transient(
            code,
            "The workspace's admins have suspended messages; ask them if this goes on.",
        ),
        "duplicate_message_not_found" | "duplicate_channel_not_found" => {
            CallError::transient(code, "Slack took the message for a repetition and found no first one.")
        }
        // "Some aspect of the operation may have succeeded."
        "fatal_error" => unclear(repeat, code, "Slack broke off in the middle of the call.".to_owned()),
        _ => refusal(problem).into(),
    }
}

/// What a call beside the messages is denied, such as names or files: the channel goes on without it.
pub fn aside(problem: &Problem, error: CallError) -> CallError {
    let code = problem.error.as_str();
    match code {
        "missing_scope" | "no_permission" => Refusal::new(RefusalReason::Account, code, lacking(problem))
            .next_step("Add the scope under OAuth & Permissions and install the app again.")
            .into(),
        "access_denied" => Refusal::new(RefusalReason::Account, code, "Slack does not let the app have this.")
            .next_step("Ask the workspace's admins.")
            .into(),
        _ => error,
    }
}

/// No clear answer came.
pub fn unclear(repeat: Repeat, code: &str, message: String) -> CallError {
    match repeat {
        Repeat::Harmless => CallError::transient(code, message),
        Repeat::Doubles => CallError::ambiguous(code, message),
    }
}

fn lacking(problem: &Problem) -> String {
    match problem.needed.as_deref().filter(|needed| !needed.is_empty()) {
        Some(needed) => format!("The app lacks a scope: {needed}. Add it and install the app again."),
        None => "The app lacks a scope for this. Add it and install the app again.".to_owned(),
    }
}

/// The provider said no, and would again.
pub fn refusal(problem: &Problem) -> Refusal {
    let code = problem.error.as_str();
    channel(code)
        .or_else(|| person(code))
        .or_else(|| file(code))
        .or_else(|| content(problem))
        .unwrap_or_else(|| {
            let shown: String = code.chars().take(100).collect();
            let sentence = match problem.words() {
                Some(words) => format!("Slack refused the call with “{shown}”: {words}"),
                None => format!("Slack refused the call with “{shown}”."),
            };
            Refusal::new(RefusalReason::Other, shown, sentence)
        })
}

/// What is wrong with the place that a message was to go to.
fn channel(code: &str) -> Option<Refusal> {
    let (begin, end) = CONNECT_BLOCKED;
    let (reason, sentence, step) = match code {
        "channel_not_found" | "not_in_channel" | "invalid_channel" => (
            RefusalReason::Account,
            "The app is not a member of this Slack channel.",
            "Write /invite and the app's name in the channel.",
        ),
        "is_archived" => (
            RefusalReason::WindowClosed,
            "The Slack channel is archived.",
            "Unarchive it, or answer another way.",
        ),
        "restricted_action"
        | "restricted_action_read_only_channel"
        | "restricted_action_thread_only_channel"
        | "restricted_action_non_threadable_channel"
        | "restricted_action_thread_locked"
        | "posting_to_channel_denied"
        | "thread_locked" => (
            RefusalReason::WindowClosed,
            "The workspace does not let the app write here.",
            "Ask the workspace's admins, or answer another way.",
        ),
        _ if code.starts_with(begin) && code.ends_with(end) => (
            RefusalReason::Policy,
            "The workspace does not allow this in channels that are shared with other firms.",
            "Ask the workspace's admins, or send it another way.",
        ),
        "messages_tab_disabled" => (
            RefusalReason::Account,
            "People cannot write to the app: its Messages tab is switched off.",
            "Switch it on: the app's settings, App Home, Messages tab, and allow messages from it.",
        ),
        "cannot_reply_to_message" | "thread_not_found" | "message_not_found" => (
            RefusalReason::Invalid,
            "The message that begins this thread is gone.",
            "Ask the customer to write again in the channel.",
        ),
        _ => return None,
    };
    Some(Refusal::new(reason, code, sentence).next_step(step))
}

fn person(code: &str) -> Option<Refusal> {
    let sentence = match code {
        "user_not_found" | "users_not_found" | "user_not_visible" => "Slack does not know this person.",
        "user_disabled" => "This person's Slack account is switched off.",
        "cannot_dm_bot" => "This is a bot, and bots are not written to.",
        "invalid_user_combination" => "The app shares no channel with this person of another firm.",
        _ => return None,
    };
    let refusal = Refusal::new(RefusalReason::Unreachable, code, sentence);
    Some(refusal.next_step("Reach the customer another way."))
}

fn file(code: &str) -> Option<Refusal> {
    let (reason, sentence, step) = match code {
        "file_uploads_disabled" => (
            RefusalReason::Policy,
            "The workspace does not allow files.",
            "Send a link instead.",
        ),
        "file_uploads_except_images_disabled" => (
            RefusalReason::Policy,
            "The workspace allows pictures only.",
            "Send a link instead.",
        ),
        "file_type_not_allowed" => (
            RefusalReason::Policy,
            "The workspace does not allow files of this type.",
            "Send a link, or another type of file.",
        ),
        "file_upload_size_restricted" => (
            RefusalReason::TooLarge,
            "The file is larger than the workspace allows.",
            "Send a link, or a smaller file.",
        ),
        "storage_limit_reached" => (
            RefusalReason::Account,
            "The workspace has no room for more files.",
            "Take a larger Slack plan, or delete files there.",
        ),
        "file_not_found" | "file_update_failed" | "missing_file_data" => {
            (RefusalReason::Other, "Slack has lost the file.", "Send it again.")
        }
        _ => return None,
    };
    Some(Refusal::new(reason, code, sentence).next_step(step))
}

fn content(problem: &Problem) -> Option<Refusal> {
    let code = problem.error.as_str();
    let refusal = match code {
        "msg_too_long" | "msg_blocks_too_long" | "attachment_payload_limit_exceeded" | "metadata_too_large" => {
            Refusal::new(RefusalReason::TooLarge, code, "The message is longer than Slack takes.")
                .next_step("Send it in smaller pieces.")
        }
        "no_text" => Refusal::new(RefusalReason::Invalid, code, "The message holds no words."),
        "invalid_blocks"
        | "invalid_blocks_format"
        | "too_many_attachments"
        | "markdown_text_conflict"
        | "invalid_form_data"
        | "invalid_post_type"
        | "missing_post_type"
        | "invalid_charset"
        | "invalid_array_arg"
        | "invalid_name"
        | "bad_timestamp" => faulty(problem),
        _ if code.starts_with("invalid_metadata_") || code.starts_with("invalid_arg") => faulty(problem),
        "not_reactable" | "too_many_emoji" | "too_many_reactions" => Refusal::new(
            RefusalReason::Invalid,
            code,
            "Slack takes no further reaction to this message.",
        ),
        _ => return None,
    };
    Some(refusal)
}

fn faulty(problem: &Problem) -> Refusal {
    let code = problem.error.as_str();
    let sentence = match problem.words() {
        Some(words) => format!("Slack found fault with the message and says: {words}"),
        None => format!("Slack found fault with the message ({code})."),
    };
    Refusal::new(RefusalReason::Invalid, code, sentence).next_step("Change the message and send it again.")
}
