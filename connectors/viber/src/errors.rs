//! Viber's table of status codes. The number decides; the words beside it vary.

use mantle_sdk::values::{CallError, Refusal, RefusalReason};

/// The bot has no webhook, and cannot send without one.
pub const WEBHOOK_NOT_SET: i64 = 10;
/// The address of the webhook did not answer, or has no good certificate.
pub const INVALID_URL: i64 = 1;
/// So many questions about one person, or so many messages.
pub const TOO_MANY: i64 = 12;
/// No such person, for this bot.
pub const NOT_REGISTERED: i64 = 5;
/// The person has unsubscribed, or never subscribed.
pub const NOT_SUBSCRIBED: i64 = 6;
const INVALID_TOKEN: i64 = 2;

/// A clear no.
pub struct No {
    pub status: i64,
    /// Of Viber; may be empty.
    pub words: String,
}

impl No {
    /// Viber refuses the token itself, and not what is done with it.
    pub fn is_about_the_token(&self) -> bool {
        self.status == INVALID_TOKEN
    }

    fn after(&self, sentence: &str) -> String {
        match self.words.trim() {
            "" => format!("{sentence}."),
            words => format!("{sentence} and says: {words}"),
        }
    }
}

pub fn of(no: &No) -> CallError {
    let code = no.status.to_string();
    match no.status {
        INVALID_TOKEN => CallError::unauthorized(code, "Viber no longer accepts the auth token."),
        7 => CallError::unauthorized(code, "Viber has blocked the bot. See the Viber Admin Panel."),
        8 => CallError::unauthorized(code, "Viber does not know the bot any more. See the Viber Admin Panel."),
        9 => CallError::unauthorized(code, "Viber has suspended the bot. See the Viber Admin Panel."),
        15 => CallError::unauthorized(
            code,
            "Viber does not allow the bot to do this. See the Viber Admin Panel.",
        ),
        WEBHOOK_NOT_SET => CallError::transient(
            code,
            "The bot has no webhook, without which Viber lets it send nothing, and it could not be set just now.",
        ),
        TOO_MANY => CallError::rate_limited(None, code, "Viber asks to slow down."),
        _ => match refusal(no) {
            Some((reason, sentence, step)) => Refusal::new(reason, code, sentence).next_step(step).into(),
            // A general error: surely not done, and it may pass.
            None => CallError::transient(code, no.after("Viber had a fault")),
        },
    }
}

/// Why not, and what a person can do. None: a code that Viber does not list.
fn refusal(no: &No) -> Option<(RefusalReason, String, &'static str)> {
    use RefusalReason::{Account, Invalid, OptedOut, Policy, Unreachable, Unsupported, WindowClosed};
    let (reason, sentence, step) = match no.status {
        INVALID_URL => (
            Account,
            "Viber does not take the address of the webhook",
            "Check `public_url`: it must be reached from outside and have a certificate that everybody trusts.",
        ),
        3 | 4 => {
            return Some((
                Invalid,
                no.after("Viber found fault with the message"),
                "Change the message and send it again.",
            ));
        }
        NOT_REGISTERED => (
            Unreachable,
            "This person is not on Viber any more",
            "Reach the customer another way.",
        ),
        NOT_SUBSCRIBED => (
            OptedOut,
            "The customer has unsubscribed from the bot",
            "Wait until the customer writes again, or reach them another way.",
        ),
        11 => (
            Unreachable,
            "The customer has no device that can show messages of bots",
            "Reach the customer another way.",
        ),
        13 | 14 => (
            Unsupported,
            "The customer's Viber is too old for this kind of message",
            "Send it as plain text.",
        ),
        16 => (
            Policy,
            "Viber does not allow bots to answer inside this chat",
            "Reach the customer another way.",
        ),
        17 | 18 => (
            Account,
            "The bot is not set up for chats",
            "See the bot's settings in the Viber Admin Panel.",
        ),
        19 | 20 => (
            Policy,
            "The bot may not send broadcasts",
            "Write to each customer directly.",
        ),
        21 => (
            Policy,
            "Viber does not let the bot write to people of this country",
            "Reach the customer another way.",
        ),
        22 => (
            Unsupported,
            "Viber does not support the payment",
            "Send a link to pay by instead.",
        ),
        23 => (
            WindowClosed,
            "The bot has used up its free messages, and the customer has not written within 24 hours",
            "Wait until the customer writes again, or until next month.",
        ),
        24 => (
            Account,
            "The bot's balance is used up",
            "Top up the bot's balance with Viber or your partner.",
        ),
        _ => return None,
    };
    Some((reason, format!("{sentence}."), step))
}
