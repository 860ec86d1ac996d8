//! The provider's error codes, in one table for answers and for failed statuses alike. The code decides, never
//! the HTTP status: the status speaks only for codes that nobody knows.

use mantle_sdk::values::{CallError, Refusal, RefusalReason};

use crate::wire::Problem;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What an error means for the next step.
enum Class {
    /// The access token is no longer good.
    Token,
    /// None: the host's own back-off.
    Wait(Option<u64>),
    Again,
    No(RefusalReason),
}

struct Meaning {
    class: Class,
    sentence: &'static str,
    next_step: Option<&'static str>,
    /// The provider's own words name the wrong parameter: worth showing.
    detail: bool,
}

const fn meaning(class: Class, sentence: &'static str, next_step: &'static str) -> Meaning {
    Meaning {
        class,
        sentence,
        next_step: Some(next_step),
        detail: false,
    }
}

const fn detailed(class: Class, sentence: &'static str, next_step: &'static str) -> Meaning {
    Meaning {
        class,
        sentence,
        next_step: Some(next_step),
        detail: true,
    }
}

const fn passing(class: Class, sentence: &'static str) -> Meaning {
    Meaning {
        class,
        sentence,
        next_step: None,
        detail: false,
    }
}

/// The table of the provider's error pages. None: a code it does not list.
fn known(code: i64) -> Option<Meaning> {
    general(code)
        .or_else(|| recipient(code))
        .or_else(|| template(code))
        .or_else(|| account(code))
}

fn general(code: i64) -> Option<Meaning> {
    use Class::{Again, No, Token, Wait};
    Some(match code {
        0 | 190 => meaning(
            Token,
            "WhatsApp no longer accepts the access token.",
            "Enter a new access token.",
        ),
        4 => passing(Wait(None), "The app has made more calls than Meta allows for now."),
        80007 => passing(
            Wait(None),
            "The WhatsApp Business Account has made more calls than Meta allows for now.",
        ),
        130429 => passing(Wait(Some(SECOND_MS)), "The number sends faster than WhatsApp allows."),
        // One message per 6 s to one customer; the pause grows by four each time, which is the host's back-off.
        131056 => passing(Wait(None), "Too many messages went to this customer in a short time."),
        131048 => passing(
            Wait(Some(HOUR_MS)),
            "WhatsApp limits the number because of spam reports.",
        ),
        131064 => passing(
            Wait(Some(HOUR_MS)),
            "WhatsApp's messaging limit is reached because of misclassified templates.",
        ),
        133016 => passing(
            Wait(Some(72 * HOUR_MS)),
            "The number was registered too often; WhatsApp asks to wait three days.",
        ),
        131208 => passing(Wait(None), "Too many messages went to this group in a short time."),
        132069 => passing(Wait(None), "WhatsApp throttles this flow for now."),
        1 | 2 | 131000 | 131016 | 133004 | 2494100 => passing(Again, "WhatsApp had a temporary fault."),
        131057 => passing(Again, "The WhatsApp account is in maintenance for some minutes."),
        33 | 100 | 131008 | 131009 | 135000 => detailed(
            No(RefusalReason::Invalid),
            "WhatsApp found fault with the request.",
            "Change the message and send it again.",
        ),
        131021 => meaning(
            No(RefusalReason::Invalid),
            "Sender and recipient are the same number.",
            "Write from another phone than the business number.",
        ),
        131051 => meaning(
            No(RefusalReason::Unsupported),
            "WhatsApp does not take this kind of message.",
            "Send it another way, for example as text or as a document.",
        ),
        131052 => meaning(
            No(RefusalReason::Unsupported),
            "WhatsApp could not download the customer's file.",
            "Ask the customer to send the file again.",
        ),
        131053 => detailed(
            No(RefusalReason::Unsupported),
            "WhatsApp could not take the file.",
            "Check its format and size, or send it as a document.",
        ),
        138000..=138999 => detailed(
            No(RefusalReason::Unsupported),
            "WhatsApp refused a call.",
            "Calls are not part of this channel.",
        ),
        _ => return None,
    })
}

fn recipient(code: i64) -> Option<Meaning> {
    use Class::No;
    Some(match code {
        131047 => meaning(
            No(RefusalReason::WindowClosed),
            "More than 24 hours have passed since the customer last wrote.",
            "Send an approved template instead, or wait until the customer writes again.",
        ),
        131026 => meaning(
            No(RefusalReason::Unreachable),
            "WhatsApp cannot deliver to this person: not on WhatsApp, an old app, terms not accepted, or we are blocked.",
            "Reach the customer another way.",
        ),
        131030 => meaning(
            No(RefusalReason::Account),
            "This is a test number and the recipient is not on its list.",
            "Add the recipient to the test number's list in Meta for Developers, or use a real number.",
        ),
        131049 => meaning(
            No(RefusalReason::Policy),
            "Meta holds marketing messages to this person back for now.",
            "Try again after 24 hours at the earliest.",
        ),
        131050 => meaning(
            No(RefusalReason::OptedOut),
            "This person stopped marketing messages from your business.",
            "Send no marketing templates until the person allows them again.",
        ),
        130472 => meaning(
            No(RefusalReason::Policy),
            "Meta keeps this person out of marketing messages as part of an experiment.",
            "Wait until the customer writes.",
        ),
        131062 => meaning(
            No(RefusalReason::Unsupported),
            "This message needs the customer's phone number, and only a WhatsApp user id is known.",
            "Ask the customer for the phone number.",
        ),
        137000 => meaning(
            No(RefusalReason::Policy),
            "The customer's security code changed and has not been confirmed.",
            "Confirm the customer's identity in WhatsApp Manager.",
        ),
        130501 | 131020 | 131041 | 131059 | 131201..=131215 => detailed(
            No(RefusalReason::Unsupported),
            "WhatsApp does not take this message in this group.",
            "Write to the customer directly.",
        ),
        139100..=139103 => detailed(
            No(RefusalReason::Other),
            "WhatsApp could not change the block list.",
            "Try it in WhatsApp Manager.",
        ),
        _ => return None,
    })
}

fn template(code: i64) -> Option<Meaning> {
    use Class::No;
    let no = || No(RefusalReason::Template);
    Some(match code {
        132000 => detailed(
            no(),
            "The number of the template's variables does not fit.",
            "Fill in every variable of the template.",
        ),
        132001 => meaning(
            no(),
            "WhatsApp has no approved template of this name in this language.",
            "Choose another template or language.",
        ),
        132005 => meaning(
            no(),
            "The template is too long once its variables are filled in.",
            "Shorten the variables.",
        ),
        132007 => meaning(
            no(),
            "The template breaks WhatsApp's rules.",
            "Choose another template, or change this one.",
        ),
        132008 | 132012 | 132018 => detailed(
            no(),
            "A variable of the template has the wrong form.",
            "Check the values filled into the template.",
        ),
        132015 => meaning(
            no(),
            "WhatsApp has paused the template because of its quality.",
            "Choose another template.",
        ),
        132016 => meaning(
            no(),
            "WhatsApp has disabled the template because of its quality.",
            "Choose another template.",
        ),
        132068 => meaning(
            no(),
            "WhatsApp has blocked the template's flow.",
            "Choose a template without this flow.",
        ),
        2388019 | 2388040 | 2388047 | 2388072 | 2388073 | 2388293 | 2388299 => detailed(
            no(),
            "WhatsApp does not take the template as it is written.",
            "Change the template in WhatsApp Manager.",
        ),
        _ => return None,
    })
}

fn account(code: i64) -> Option<Meaning> {
    use Class::No;
    let no = || No(RefusalReason::Account);
    Some(match code {
        3 | 10 | 200..=299 | 131005 => meaning(
            no(),
            "The access token lacks a permission for this.",
            "Give the system user whatsapp_business_messaging and whatsapp_business_management for this account.",
        ),
        368 | 131031 => meaning(
            no(),
            "Meta has restricted or locked the WhatsApp account.",
            "See the account's quality page in WhatsApp Manager.",
        ),
        130497 => meaning(
            no(),
            "Meta does not let this business write to people in this country.",
            "Reach the customer another way.",
        ),
        131042 | 131044 => meaning(
            no(),
            "The WhatsApp account has a payment problem.",
            "Check the payment method in WhatsApp Manager.",
        ),
        131037 => meaning(
            no(),
            "The number's display name is not approved.",
            "Set the display name in WhatsApp Manager.",
        ),
        131045 => meaning(
            no(),
            "The number's registration is faulty.",
            "Register the number again.",
        ),
        133010 => meaning(
            no(),
            "The number is not registered on the Cloud API.",
            "Register the number: Meta for Developers, WhatsApp, API Setup.",
        ),
        133000 | 133005 | 133006 | 133008 | 133009 | 133015 => detailed(
            no(),
            "The number's registration or its two-step PIN needs attention.",
            "Check the number in WhatsApp Manager.",
        ),
        131055 | 131063 | 134011 | 134100..=134102 => detailed(
            no(),
            "This way of sending is not enabled for the account.",
            "Enable it, or accept its terms, in WhatsApp Manager.",
        ),
        _ => return None,
    })
}

/// An error that came as the answer to a call: the provider surely did not do it.
/// `wait_ms` is what the usage headers say.
pub fn call_error(problem: &Problem, status: u16, wait_ms: Option<u64>) -> CallError {
    let code = problem.code.to_string();
    let Some(known) = known(problem.code) else {
        return unknown(problem, status, wait_ms);
    };
    match known.class {
        Class::Token => CallError::unauthorized(code, sentence(&known, problem)),
        Class::Wait(own) => CallError::rate_limited(wait_ms.or(own), code, sentence(&known, problem)),
        Class::Again => CallError::transient(code, sentence(&known, problem)),
        Class::No(_) => refusal(problem).into(),
    }
}

fn unknown(problem: &Problem, status: u16, wait_ms: Option<u64>) -> CallError {
    let (code, message) = (problem.code.to_string(), in_their_words(problem));
    if problem.is_transient || status >= 500 {
        CallError::transient(code, message)
    } else if status == 429 {
        CallError::rate_limited(wait_ms, code, message)
    } else if status == 401 {
        CallError::unauthorized(code, message)
    } else {
        CallError::refused(RefusalReason::Other, code, message)
    }
}

/// An error of a failed status: the message is not delivered and will not be by itself.
pub fn refusal(problem: &Problem) -> Refusal {
    let code = problem.code.to_string();
    let Some(known) = known(problem.code) else {
        return Refusal::new(RefusalReason::Other, code, in_their_words(problem));
    };
    let message = sentence(&known, problem);
    let (reason, next_step) = match known.class {
        Class::No(reason) => (reason, known.next_step),
        Class::Token => (RefusalReason::Account, known.next_step),
        Class::Wait(_) => (RefusalReason::Policy, Some("Send it again later.")),
        Class::Again => (RefusalReason::Other, Some("Send it again.")),
    };
    let refusal = Refusal::new(reason, code, message);
    match next_step {
        Some(step) => refusal.next_step(step),
        None => refusal,
    }
}

fn sentence(known: &Meaning, problem: &Problem) -> String {
    match problem.words() {
        Some(words) if known.detail => format!("{} It says: {words}", known.sentence),
        _ => known.sentence.to_owned(),
    }
}

fn in_their_words(problem: &Problem) -> String {
    match problem.words() {
        Some(words) => format!("WhatsApp refused it and says: {words}"),
        None => format!("WhatsApp refused it with the code {} and no reason.", problem.code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: i64) -> Problem {
        Problem {
            code,
            ..Problem::default()
        }
    }

    /// `(codes, what comes of them)`, as the provider's pages class them.
    #[test]
    fn out_9_every_listed_code_has_its_outcome() {
        use RefusalReason as No;
        let refused: [(&[i64], No); 12] = [
            (&[131047], No::WindowClosed),
            (&[131026], No::Unreachable),
            (&[131050], No::OptedOut),
            (&[131049, 130472, 137000], No::Policy),
            (&[33, 100, 131008, 131009, 131021, 135000], No::Invalid),
            (
                &[
                    131051, 131052, 131053, 131062, 130501, 131020, 131041, 131059, 131201, 131207, 131215,
                ],
                No::Unsupported,
            ),
            (
                &[
                    132000, 132001, 132005, 132007, 132008, 132012, 132018, 132015, 132016, 132068,
                ],
                No::Template,
            ),
            (
                &[2388019, 2388040, 2388047, 2388072, 2388073, 2388293, 2388299],
                No::Template,
            ),
            (&[3, 10, 200, 299, 131005, 131030], No::Account),
            (&[368, 130497, 131031, 131042, 131037, 131044, 131045], No::Account),
            (&[133000, 133005, 133006, 133008, 133009, 133010, 133015], No::Account),
            (&[131055, 131063, 134011, 134100, 134101, 134102], No::Account),
        ];
        for (codes, reason) in refused {
            for code in codes {
                let refusal = refusal(&told(*code));
                assert_eq!(refusal.reason, reason, "{code}");
                assert!(refusal.next_step.is_some(), "{code} has a next step");
                assert_eq!(
                    call_error(&told(*code), 400, None),
                    CallError::Refused(refusal),
                    "{code}"
                );
            }
        }
        for code in [139100, 139103] {
            assert_eq!(refusal(&told(code)).reason, No::Other, "{code}");
        }
        for code in [138000, 138999] {
            assert_eq!(refusal(&told(code)).reason, No::Unsupported, "{code}");
        }
        for code in [0, 190] {
            assert!(
                matches!(call_error(&told(code), 400, None), CallError::Unauthorized(_)),
                "{code}"
            );
            assert_eq!(refusal(&told(code)).reason, No::Account, "{code}");
        }
        for code in [4, 80007, 130429, 131056, 131048, 131064, 133016, 131208, 132069] {
            assert!(
                matches!(call_error(&told(code), 400, None), CallError::RateLimited(_)),
                "{code}"
            );
        }
        for code in [1, 2, 131000, 131016, 133004, 2494100, 131057] {
            assert!(
                matches!(call_error(&told(code), 400, None), CallError::Transient(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn what_the_provider_asks_to_wait_comes_before_our_own_guess() {
        let CallError::RateLimited(limit) = call_error(&told(130429), 429, Some(90_000)) else {
            panic!("130429 is a rate limit");
        };
        assert_eq!(limit.retry_after_ms, Some(90_000));
    }
}
