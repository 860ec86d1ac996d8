//! Twilio's error codes, in one table for answers and for failed statuses alike. The HTTP status decides first and the
//! code where it is known; the prose is shown only where the code says nothing by itself.

use mantle_sdk::values::{CallError, Refusal, RefusalReason};

use crate::wire::Problem;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What an error means for the next step.
enum Class {
    Credentials,
    /// None: the host's own back-off.
    Wait(Option<u64>),
    Again,
    No(RefusalReason),
}

struct Meaning {
    class: Class,
    sentence: &'static str,
    next_step: &'static str,
}

const fn meaning(class: Class, sentence: &'static str, next_step: &'static str) -> Meaning {
    Meaning {
        class,
        sentence,
        next_step,
    }
}

const LATER: &str = "Send it again later.";
const ANOTHER_WAY: &str = "Reach the customer another way.";

/// The table. None: a code it does not list.
fn known(code: i64) -> Option<Meaning> {
    passing(code)
        .or_else(|| of_message(code))
        .or_else(|| of_file(code))
        .or_else(|| of_account(code))
}

fn passing(code: i64) -> Option<Meaning> {
    use Class::{Again, Wait};
    Some(match code {
        20429 => meaning(Wait(None), "Twilio asks to slow down.", LATER),
        21611 | 30001 => meaning(Wait(Some(MINUTE_MS)), "Twilio's queue for this number is full.", LATER),
        30022 => meaning(
            Wait(Some(MINUTE_MS)),
            "The number sends faster than the carrier allows.",
            LATER,
        ),
        30023 | 30027 | 63038 => meaning(
            Wait(Some(HOUR_MS)),
            "The day's limit of messages is used up.",
            "Send it again tomorrow.",
        ),
        20500 | 20503 => meaning(Again, "Twilio had a temporary fault.", LATER),
        30003 => meaning(
            Again,
            "The phone could not be reached: off, or without a network.",
            LATER,
        ),
        30008 => meaning(Again, "The carrier failed without a reason.", "Send it again."),
        30017 | 30410 => meaning(Again, "The carrier is overloaded.", LATER),
        _ => return None,
    })
}

fn of_message(code: i64) -> Option<Meaning> {
    use Class::No;
    use RefusalReason::{Invalid, OptedOut, Policy, TooLarge, Unreachable, Unsupported};
    Some(match code {
        21610 => meaning(
            No(OptedOut),
            "The customer has unsubscribed from this number by writing STOP.",
            "Wait until the customer writes START.",
        ),
        21211 => meaning(
            No(Unreachable),
            "The customer's number is not a phone number.",
            "Correct the number.",
        ),
        21614 => meaning(
            No(Unreachable),
            "The customer's number is not a mobile number.",
            ANOTHER_WAY,
        ),
        21612 => meaning(
            No(Unreachable),
            "Twilio has no route from this number to the customer's.",
            ANOTHER_WAY,
        ),
        30005 => meaning(
            No(Unreachable),
            "The carrier does not know the customer's number.",
            "Correct the number.",
        ),
        30006 => meaning(
            No(Unreachable),
            "The customer's number is a landline or its carrier cannot be reached.",
            ANOTHER_WAY,
        ),
        30004 => meaning(
            No(Policy),
            "The customer's phone or carrier blocks messages from this number.",
            ANOTHER_WAY,
        ),
        30007 | 30450 => meaning(
            No(Policy),
            "The carrier filtered the message as unwanted.",
            "Write it in other words, without shortened links.",
        ),
        21602 => meaning(No(Invalid), "The message is empty.", "Write a text or attach a file."),
        21604 => meaning(
            No(Invalid),
            "The message has no recipient.",
            "Correct the customer's number.",
        ),
        21617 | 21658 => meaning(
            No(TooLarge),
            "The text is longer than Twilio takes (1,600 characters).",
            "Shorten it.",
        ),
        21618 => meaning(
            No(Invalid),
            "Twilio does not take this text.",
            "Write it in other words.",
        ),
        30018 | 30024 | 30032 | 30033 | 30034 | 30035 => meaning(
            No(RefusalReason::Account),
            "The number is not registered for sending to this country, or its registration is suspended or still in \
             work.",
            "Register the number in the Twilio Console under Trust Hub or A2P 10DLC.",
        ),
        30009 => meaning(
            No(Unsupported),
            "Parts of a long message were lost on the way.",
            "Send it again.",
        ),
        _ => return None,
    })
}

fn of_file(code: i64) -> Option<Meaning> {
    use Class::{Again, No};
    use RefusalReason::{Invalid, TooLarge, Unsupported};
    Some(match code {
        11751 | 30019 => meaning(
            No(TooLarge),
            "The files are larger than the carrier takes (5 MB in all).",
            "Send a link instead.",
        ),
        21620 => meaning(
            No(Invalid),
            "Twilio does not take the file's address.",
            "Send the file again.",
        ),
        21621 | 21622 | 30011 => meaning(
            No(Unsupported),
            "Pictures and files cannot be sent between these two numbers, only text.",
            "Send a link instead.",
        ),
        21623 => meaning(
            No(TooLarge),
            "A message takes ten files at most.",
            "Send the files in several messages.",
        ),
        11200 | 11205 => meaning(
            Again,
            "Twilio could not fetch the file from this server.",
            "Send it again.",
        ),
        12300 => meaning(
            No(Unsupported),
            "Twilio does not take files of this type.",
            "Send it in another format.",
        ),
        _ => return None,
    })
}

fn of_account(code: i64) -> Option<Meaning> {
    use Class::{Credentials, No};
    use RefusalReason::Account;
    Some(match code {
        20003 => meaning(
            Credentials,
            "Twilio does not accept the account SID and auth token, or the account is suspended.",
            "Enter the account's present auth token.",
        ),
        20005 | 10001 | 30002 => meaning(
            No(Account),
            "The Twilio account is not active.",
            "See the notices in the Twilio Console.",
        ),
        20404 => meaning(
            No(Account),
            "Twilio does not know the account or the number.",
            "Check the channel's fields.",
        ),
        21212 | 21601 | 21603 | 21606 | 21659 | 21660 => meaning(
            No(Account),
            "The channel's number cannot send messages, or is not a number of this Twilio account.",
            "Check the number in the Twilio Console.",
        ),
        21408 => meaning(
            No(Account),
            "The Twilio account may not send to this country.",
            "Allow the country in the Twilio Console, Messaging, Geo permissions.",
        ),
        21608 => meaning(
            No(Account),
            "A trial account sends to verified numbers only.",
            "Verify the customer's number in the Twilio Console, or upgrade the account.",
        ),
        21609 => meaning(
            No(Account),
            "Twilio does not take this server's public address for statuses.",
            "Use a public host name without underscores as public_url.",
        ),
        21701..=21705 => meaning(
            No(Account),
            "The messaging service is missing or has no number that can send.",
            "Check the messaging service in the Twilio Console.",
        ),
        _ => return None,
    })
}

/// An error that came as an answer with a body of Twilio's. Faults of Twilio itself (5xx) are the caller's to judge.
pub fn call_error(problem: &Problem, status: u16, wait_ms: Option<u64>) -> CallError {
    let code = code(problem, status);
    // Never processed, whatever the code says.
    if status == 429 {
        return CallError::rate_limited(wait_ms, code, "Twilio asks to slow down.");
    }
    let Some(known) = problem.code.and_then(known) else {
        return unknown(problem, status);
    };
    match known.class {
        Class::Credentials => CallError::unauthorized(code, with_their_words(known.sentence, problem)),
        Class::Wait(own) => CallError::rate_limited(wait_ms.or(own), code, known.sentence),
        Class::Again => CallError::transient(code, known.sentence),
        Class::No(reason) => Refusal::new(reason, code, with_their_words(known.sentence, problem))
            .next_step(known.next_step)
            .into(),
    }
}

fn words(problem: &Problem) -> Option<&str> {
    let words = problem.message.as_deref().map(str::trim);
    words.filter(|words| !words.is_empty())
}

fn unknown(problem: &Problem, status: u16) -> CallError {
    let code = code(problem, status);
    match status {
        401 => CallError::unauthorized(
            code,
            with_their_words("Twilio does not accept the account SID and auth token.", problem),
        ),
        403 => Refusal::new(RefusalReason::Account, code, "The Twilio account may not do this.")
            .next_step("See the notices in the Twilio Console.")
            .into(),
        404 => Refusal::new(
            RefusalReason::Account,
            code,
            "Twilio does not know the account or the number.",
        )
        .next_step("Check the channel's fields.")
        .into(),
        _ => CallError::refused(RefusalReason::Other, code, in_their_words(problem)),
    }
}

/// Our sentence first: the end may be cut.
fn with_their_words(sentence: &str, problem: &Problem) -> String {
    match words(problem) {
        Some(words) => format!("{sentence} Twilio says: {words}"),
        None => sentence.to_owned(),
    }
}

fn in_their_words(problem: &Problem) -> String {
    match words(problem) {
        Some(words) => format!("Twilio refused it and says: {words}"),
        None => "Twilio refused it without a reason.".to_owned(),
    }
}

fn code(problem: &Problem, status: u16) -> String {
    problem.code.map_or_else(|| status.to_string(), |code| code.to_string())
}

/// The error of a failed status: the message is not delivered and will not be by itself.
pub fn refusal(code: Option<&str>) -> Refusal {
    let number = code.and_then(|code| code.parse().ok());
    let Some(known) = number.and_then(known) else {
        let message = match code {
            Some(code) => {
                format!("Twilio could not deliver the message. The error {code} is explained in its dictionary.")
            }
            None => "Twilio could not deliver the message and gave no reason.".to_owned(),
        };
        return Refusal::new(RefusalReason::Other, code.unwrap_or("undelivered"), message);
    };
    let reason = match known.class {
        Class::No(reason) => reason,
        Class::Credentials => RefusalReason::Account,
        Class::Wait(_) => RefusalReason::Policy,
        // The phone was off: the person is not reachable now.
        Class::Again if number == Some(30003) => RefusalReason::Unreachable,
        Class::Again => RefusalReason::Other,
    };
    Refusal::new(reason, code.unwrap_or_default(), known.sentence).next_step(known.next_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: i64) -> Problem {
        Problem {
            code: Some(code),
            message: None,
        }
    }

    /// As the provider's dictionary classes them.
    #[test]
    fn out_9_every_listed_code_has_its_outcome() {
        use RefusalReason as No;
        let refused: [(&[i64], No); 7] = [
            (&[21610], No::OptedOut),
            (&[21211, 21614, 21612, 30005, 30006], No::Unreachable),
            (&[30004, 30007, 30450], No::Policy),
            (&[21602, 21604, 21618, 21620], No::Invalid),
            (&[21617, 21658, 21623, 11751, 30019], No::TooLarge),
            (&[21621, 21622, 30011, 12300, 30009], No::Unsupported),
            (
                &[
                    20005, 10001, 30002, 20404, 21212, 21601, 21603, 21606, 21659, 21660, 21408, 21608, 21609, 21701,
                    21703, 21705, 30018, 30024, 30032, 30033, 30034, 30035,
                ],
                No::Account,
            ),
        ];
        for (codes, reason) in refused {
            for code in codes {
                let refusal = refusal(Some(&code.to_string()));
                assert_eq!(refusal.reason, reason, "{code}");
                assert!(refusal.next_step.is_some(), "{code} has a next step");
                assert_eq!(
                    call_error(&told(*code), 400, None),
                    CallError::Refused(refusal),
                    "{code}"
                );
            }
        }
        assert!(matches!(
            call_error(&told(20003), 401, None),
            CallError::Unauthorized(_)
        ));
        for code in [20429, 21611, 30001, 30022, 30023, 30027, 63038] {
            assert!(
                matches!(call_error(&told(code), 400, None), CallError::RateLimited(_)),
                "{code}"
            );
        }
        for code in [20500, 20503, 30003, 30008, 30017, 30410, 11200, 11205] {
            assert!(
                matches!(call_error(&told(code), 400, None), CallError::Transient(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn ch_3_twilios_own_words_stand_beside_ours() {
        let problem = Problem {
            code: Some(21211),
            message: Some("The 'To' number +49 is not a valid phone number.".to_owned()),
        };
        let CallError::Refused(refusal) = call_error(&problem, 400, None) else {
            panic!("21211 is a refusal");
        };
        assert_eq!(
            refusal.message,
            "The customer's number is not a phone number. Twilio says: The 'To' number +49 is not a valid phone number."
        );
        assert_eq!(refusal.code, "21211");
    }

    #[test]
    fn a_429_was_never_processed_whatever_its_code() {
        assert!(matches!(
            call_error(&told(21610), 429, Some(1)),
            CallError::RateLimited(_)
        ));
    }
}
