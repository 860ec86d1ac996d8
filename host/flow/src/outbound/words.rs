//! What the team reads when a reply did not reach the customer.

use mantle_model::failure::{Cause, Reason, Refusal};
use mantle_model::ids::MessageId;
use mantle_model::text::snippet;

use crate::note::{self, SNIPPET_CHARS};

/// Marks a file's effect; what follows is its name.
const FILE_MARK: &str = "file:";

/// How the effect of a file unit remembers which file it was.
pub(crate) fn file_mark(name: &str) -> String {
    format!("{FILE_MARK}{name}")
}

/// What was not delivered: the file of the effect, else a snippet of the reply.
pub(crate) fn named(fingerprint: &str, text: &str) -> String {
    match fingerprint.strip_prefix(FILE_MARK) {
        Some(file) => format!("File: {file}."),
        None => quoted(text),
    }
}

pub(crate) fn quoted(text: &str) -> String {
    let words = snippet(text, SNIPPET_CHARS);
    if words.is_empty() {
        String::new()
    } else {
        format!("“{words}”")
    }
}

/// One note per message, whenever and however often its failure is told.
pub(crate) fn note_key(message: MessageId) -> String {
    format!("failed:{message}")
}

/// A final no.
pub(crate) fn refused(title: &str, what: &str, refusal: &Refusal) -> String {
    let reason = format!("{} (code {})", trimmed(&refusal.cause.message), refusal.cause.code);
    let next = refusal.next_step.as_deref().unwrap_or_else(|| advice(refusal.reason));
    note::html(
        &headline(title),
        &[what, &format!("Reason: {reason}."), &note::sentence(next)],
    )
}

/// Given up after many tries.
pub(crate) fn given_up(title: &str, what: &str, cause: &Cause) -> String {
    let reason = format!("Reason: {} (code {}).", trimmed(&cause.message), cause.code);
    note::html(
        &headline(title),
        &[
            what,
            &reason,
            "It was tried again and again; send it once more if it still matters.",
        ],
    )
}

/// Nobody knows.
pub(crate) fn unknown(title: &str, what: &str, cause: &Cause) -> String {
    let headline = format!("This message may not have been delivered ({title}).");
    let reason = format!("Reason: {} (code {}).", trimmed(&cause.message), cause.code);
    let next = "It is not sent again by itself, so that the customer does not get it twice. Ask, or send it once more.";
    note::html(&headline, &[what, &reason, next])
}

/// Some files of a reply cannot go; each line says why.
pub(crate) fn files_left_out(title: &str, lines: &[String]) -> String {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    note::html(&headline(title), &lines)
}

fn headline(title: &str) -> String {
    format!("Not delivered ({title}).")
}

fn trimmed(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}

fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::Unreachable => "Reach the customer another way.",
        Reason::OptedOut => "Wait until the customer writes again.",
        Reason::WindowClosed => "Wait until the customer writes again.",
        Reason::TooLarge => "Send a smaller file, or a link.",
        Reason::Unsupported => "Send it in another form.",
        Reason::Invalid => "Check what was sent and send it again.",
        Reason::Template => "Check the template and its variables.",
        Reason::Policy => "Change the words, or ask the provider.",
        Reason::Account => "Somebody must look at the account at the provider.",
        Reason::Other => "Send it again, or reach the customer another way.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_11_a_note_has_snippet_reason_code_and_next_step() {
        let refusal = Refusal {
            reason: Reason::Unreachable,
            cause: Cause::new("131026", "The number is not on WhatsApp."),
            next_step: None,
        };
        let text = "Your order has been shipped and will arrive on Tuesday.";
        assert_eq!(
            refused("WhatsApp", &named("", text), &refusal),
            "<p><b>Not delivered (WhatsApp).</b><br>“Your order has been shipped and will ar…”<br>\
             Reason: The number is not on WhatsApp (code 131026).<br>Reach the customer another way.</p>"
        );
        assert_eq!(named(&file_mark("plan.pdf"), text), "File: plan.pdf.");
    }

    #[test]
    fn out_10_an_unknown_outcome_is_called_that() {
        let html = unknown("SMS", "“Hi”", &Cause::new("timeout", "No answer came"));
        assert!(html.contains("may not have been delivered"), "{html}");
    }
}
