//! What the team reads when a reply did not reach the customer.

use mantle_model::failure::{Cause, Reason, Refusal};
use mantle_model::ids::MessageId;
use mantle_model::text::snippet;

use crate::note::{self, SNIPPET_CHARS};

/// The words of the link that sends a message once more.
const SEND_AGAIN: &str = "Send it again";
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

/// The follow-up of a doubt: exactly one, since an inbox's notes cannot be changed.
pub(crate) fn after_all_key(message: MessageId) -> String {
    format!("after-all:{message}")
}

/// The receipt came after the doubt had been told.
pub(crate) fn delivered_after_all(title: &str, what: &str) -> String {
    let headline = format!("Delivered after all ({title}).");
    let sentence = "The provider has reported it: the message did reach the customer. There is nothing to send again.";
    note::html(&headline, &[what, sentence])
}

/// Whether the same message may go through another time: people and accounts change, files and words do not.
pub(crate) fn may_help(reason: Reason) -> bool {
    match reason {
        Reason::Unreachable | Reason::WindowClosed | Reason::Account | Reason::Other => true,
        Reason::OptedOut
        | Reason::TooLarge
        | Reason::Unsupported
        | Reason::Invalid
        | Reason::Template
        | Reason::Policy => false,
    }
}

/// A final no. `link` sends the message once more, where that may help.
pub(crate) fn refused(title: &str, what: &str, refusal: &Refusal, link: Option<&str>) -> String {
    let reason = format!("{} (code {})", trimmed(&refusal.cause.message), refusal.cause.code);
    let next = refusal.next_step.as_deref().unwrap_or_else(|| advice(refusal.reason));
    let sentences = [what, &format!("Reason: {reason}."), &note::sentence(next)];
    match link {
        Some(link) => note::html_with_link(&headline(title), &sentences, (SEND_AGAIN, link)),
        None => note::html(&headline(title), &sentences),
    }
}

/// Given up after many tries.
pub(crate) fn given_up(title: &str, what: &str, cause: &Cause, link: &str) -> String {
    let reason = format!("Reason: {} (code {}).", trimmed(&cause.message), cause.code);
    let tried = "It was tried again and again; send it once more if it still matters.";
    note::html_with_link(&headline(title), &[what, &reason, tried], (SEND_AGAIN, link))
}

/// Nobody knows.
pub(crate) fn unknown(title: &str, what: &str, cause: &Cause, link: &str) -> String {
    let headline = format!("This message may not have been delivered ({title}).");
    let reason = format!("Reason: {} (code {}).", trimmed(&cause.message), cause.code);
    let next = "It is not sent again by itself, so that the customer does not get it twice. Ask, or send it once more.";
    note::html_with_link(&headline, &[what, &reason, next], (SEND_AGAIN, link))
}

/// It was sent from a conversation that is not the person's present one.
pub(crate) fn moved_on(title: &str, url: &str) -> String {
    let headline = format!("Sent to the customer ({title}).");
    let sentence = "A newer conversation with them has begun since; what they write next appears there.";
    note::html_with_link(&headline, &[sentence], ("Open the newer conversation", url))
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
            refused("WhatsApp", &named("", text), &refusal, None),
            "<p><b>Not delivered (WhatsApp).</b><br>“Your order has been shipped and will ar…”<br>\
             Reason: The number is not on WhatsApp (code 131026).<br>Reach the customer another way.</p>"
        );
        assert_eq!(named(&file_mark("plan.pdf"), text), "File: plan.pdf.");
    }

    #[test]
    fn out_10_an_unknown_outcome_is_called_that() {
        let link = "https://bridge.example/resend/abc?a=1&b=2";
        assert_eq!(
            unknown("SMS", "“Hi”", &Cause::new("timeout", "No answer came"), link),
            "<p><b>This message may not have been delivered (SMS).</b><br>“Hi”<br>Reason: No answer came (code timeout).\
             <br>It is not sent again by itself, so that the customer does not get it twice. Ask, or send it once more.\
             <br><a href=\"https://bridge.example/resend/abc?a=1&amp;b=2\">Send it again</a></p>"
        );
    }
}
