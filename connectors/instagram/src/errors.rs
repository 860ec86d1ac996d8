//! The provider's error codes and subcodes in one table. They decide, never the HTTP status: the status speaks only
//! for codes that nobody knows.

use mantle_sdk::values::{CallError, Refusal, RefusalReason};

use crate::wire::Problem;

const MINUTE_MS: u64 = 60_000;
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
    /// The provider's own words name what is wrong: worth showing.
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

/// The table of the provider's error pages. A subcode says more than its code. None: a code it does not list.
fn known(problem: &Problem) -> Option<Meaning> {
    of_thread(problem)
        .or_else(|| of_person(problem))
        .or_else(|| of_content(problem))
        .or_else(|| of_account(problem))
        .or_else(|| general(problem.code))
}

/// Whether another app must hand the conversation over first.
pub fn is_held_by_another_app(problem: &Problem) -> bool {
    [problem.code, problem.error_subcode]
        .iter()
        .any(|code| matches!(code, 2_018_300 | 2_018_321 | 2_534_037))
}

/// Whether the time for free answers is over.
pub fn is_window_closed(problem: &Problem) -> bool {
    matches!(
        (problem.code, problem.error_subcode),
        (10, 2_018_278 | 2_018_065 | 2_534_022)
    )
}

/// Whether Instagram failed to fetch a file, which the next try may mend.
pub fn is_file_unfetched(problem: &Problem) -> bool {
    (problem.code, problem.error_subcode) == (100, 2_018_008)
}

fn of_thread(problem: &Problem) -> Option<Meaning> {
    use Class::No;
    if is_held_by_another_app(problem) {
        return Some(meaning(
            No(RefusalReason::Account),
            "Another app controls the conversation with this person.",
            "Make this app the default app of the account's conversation routing, or answer in the other app.",
        ));
    }
    if is_window_closed(problem) {
        return Some(meaning(
            No(RefusalReason::WindowClosed),
            "More than 24 hours have passed since the customer last wrote, and the app may not answer later.",
            "Ask Meta for the feature Human Agent to answer for 7 days, or wait until the customer writes again.",
        ));
    }
    None
}

fn of_person(problem: &Problem) -> Option<Meaning> {
    use Class::No;
    Some(match (problem.code, problem.error_subcode) {
        (10, 2_018_108) | (551, _) | (200, 1_545_041) => meaning(
            No(RefusalReason::Unreachable),
            "This person cannot be written to: they blocked the account, deleted their own or turned messages off.",
            "Reach the customer another way.",
        ),
        (100, 2_018_001) | (9010, _) | (_, 2_534_014) => meaning(
            No(RefusalReason::Unreachable),
            "Instagram knows no such person for this account.",
            "Wait until the customer writes to this account.",
        ),
        (_, 2_534_001) | (2_534_001, _) => meaning(
            No(RefusalReason::Unreachable),
            "The conversation is archived or deleted.",
            "Wait until the customer writes again.",
        ),
        (230, _) => meaning(
            No(RefusalReason::Policy),
            "This person has not consented to it.",
            "Wait until the customer writes.",
        ),
        (_, 2_018_218 | 2_018_247) => meaning(
            No(RefusalReason::Other),
            "Instagram does not tell this person's profile.",
            "Go on without it.",
        ),
        _ => return None,
    })
}

fn of_content(problem: &Problem) -> Option<Meaning> {
    use Class::No;
    Some(match (problem.code, problem.error_subcode) {
        (100, 2_018_109) => meaning(
            No(RefusalReason::TooLarge),
            "The file is larger than Instagram takes (8 MB for pictures, 25 MB for all else).",
            "Send a smaller file or a link.",
        ),
        (100, 2_018_047 | 2_018_074 | 2_018_164 | 2_018_014) => detailed(
            No(RefusalReason::Unsupported),
            "Instagram could not take the file.",
            "Check its format: pictures, videos, audio and PDF files.",
        ),
        (100, 2_018_008 | 2_018_294) => detailed(
            No(RefusalReason::Invalid),
            "Instagram could not fetch the file.",
            "Send the file again.",
        ),
        (_, 2_534_015) | (2_534_015, _) => detailed(
            No(RefusalReason::Invalid),
            "Instagram found fault with the message.",
            "Shorten the text to 1,000 bytes, or write it in other words.",
        ),
        (_, 2_534_025) | (2_534_025, _) => meaning(
            No(RefusalReason::Invalid),
            "The comment cannot be answered by a message.",
            "Wait until the customer writes.",
        ),
        (_, 2_534_068) | (2_534_068, _) => meaning(
            No(RefusalReason::Unsupported),
            "Instagram does not take several pictures in one message here.",
            "Send them one by one.",
        ),
        (9_000_001, _) | (_, 9_000_001) => meaning(
            No(RefusalReason::Invalid),
            "The message that this one is about was deleted.",
            "Send it without the quote.",
        ),
        (10, 1_404_170 | 1_893_015) | (10_303 | 36_103, _) => detailed(
            No(RefusalReason::Policy),
            "Meta does not let this message through.",
            "Write it in other words.",
        ),
        _ => return None,
    })
}

fn of_account(problem: &Problem) -> Option<Meaning> {
    use Class::{No, Wait};
    let no = || No(RefusalReason::Account);
    Some(match (problem.code, problem.error_subcode) {
        (613, 2_018_338) => meaning(
            Wait(Some(HOUR_MS)),
            "Meta judges the account's sending as abusive and holds it back.",
            "Look at the account's status in the Instagram app.",
        ),
        (9, 2_018_352) => passing(Wait(None), "The account sends faster than Instagram allows."),
        (10, 1_893_063) => meaning(
            no(),
            "Meta has restricted the account for a time.",
            "See the account's status in the Instagram app.",
        ),
        (_, 2_534_077) => meaning(
            no(),
            "Meta asks for the account's link or for two-factor authentication first.",
            "Follow what Meta Business Suite asks for.",
        ),
        (_, 2_534_041) => meaning(
            no(),
            "The owner has switched off access to messages.",
            "In the Instagram app switch on “Allow access to messages”, under Messages and story replies.",
        ),
        (_, 2_534_013) | (2_534_013, _) => meaning(
            no(),
            "The Page is not linked to a professional Instagram account.",
            "Link them in the Page's settings, Linked accounts.",
        ),
        (_, 2_534_029) | (2_534_029, _) => meaning(
            no(),
            "Meta has blocked the business on Instagram.",
            "See the account's status in the Instagram app.",
        ),
        (_, 2_534_122) | (2_534_122, _) => meaning(
            no(),
            "Meta restricts the account.",
            "See the account's status in the Instagram app.",
        ),
        (368 | 2022, _) => meaning(
            no(),
            "Meta has blocked the account's messaging because of its rules.",
            "See the account's status in the Instagram app.",
        ),
        _ => return None,
    })
}

fn general(code: i64) -> Option<Meaning> {
    use Class::{Again, No, Token, Wait};
    Some(match code {
        190 => meaning(
            Token,
            "Instagram no longer accepts the access token.",
            "Log in again and enter a new access token.",
        ),
        4 | 17 | 32 | 613 | 80_004 => passing(Wait(None), "The account has made more calls than Meta allows for now."),
        1 | 2 | 99 | 1200 => passing(Again, "Instagram had a temporary fault."),
        3 | 10 | 200..=299 => meaning(
            No(RefusalReason::Account),
            "The access token lacks a permission for this, or the app is not approved for this person.",
            "Give the app instagram_business_manage_messages, or by the Page's login instagram_manage_messages and \
             pages_manage_metadata.",
        ),
        100 => detailed(
            No(RefusalReason::Invalid),
            "Instagram found fault with the request.",
            "Change the message and send it again.",
        ),
        _ => return None,
    })
}

/// An error that came as the answer to a call: the provider surely did not do it.
/// `wait_ms` is what the usage headers say.
pub fn call_error(problem: &Problem, status: u16, wait_ms: Option<u64>) -> CallError {
    let code = problem.name();
    let Some(known) = known(problem) else {
        return unknown(problem, status, wait_ms);
    };
    let message = sentence(&known, problem);
    match known.class {
        Class::Token => CallError::unauthorized(code, message),
        Class::Wait(own) => CallError::rate_limited(wait_ms.or(own), code, message),
        Class::Again => CallError::transient(code, message),
        Class::No(reason) => {
            let refusal = Refusal::new(reason, code, message);
            match known.next_step {
                Some(step) => refusal.next_step(step).into(),
                None => refusal.into(),
            }
        }
    }
}

fn unknown(problem: &Problem, status: u16, wait_ms: Option<u64>) -> CallError {
    let (code, message) = (problem.name(), in_their_words(problem));
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

fn sentence(known: &Meaning, problem: &Problem) -> String {
    match problem.words() {
        Some(words) if known.detail => format!("{} It says: {words}", known.sentence),
        _ => known.sentence.to_owned(),
    }
}

fn in_their_words(problem: &Problem) -> String {
    match problem.words() {
        Some(words) => format!("Instagram refused it and says: {words}"),
        None => format!("Instagram refused it with the code {} and no reason.", problem.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: i64, error_subcode: i64) -> Problem {
        Problem {
            code,
            error_subcode,
            ..Problem::default()
        }
    }

    /// Every row of the provider file's table, and what comes of it.
    #[test]
    fn out_9_every_listed_refusal_has_its_reason() {
        use RefusalReason as No;
        let refused: [(&[(i64, i64)], No); 10] = [
            (&[(10, 2_018_278), (10, 2_018_065), (10, 2_534_022)], No::WindowClosed),
            (
                &[
                    (10, 2_018_108),
                    (100, 2_018_001),
                    (551, 0),
                    (551, 1_545_041),
                    (200, 1_545_041),
                    (100, 2_534_014),
                    (9010, 0),
                    (100, 2_534_001),
                    (2_534_001, 0),
                ],
                No::Unreachable,
            ),
            (
                &[(10, 1_404_170), (10, 1_893_015), (230, 0), (10_303, 0), (36_103, 0)],
                No::Policy,
            ),
            (
                &[
                    (10, 0),
                    (200, 0),
                    (200, 2_018_028),
                    (200, 2_018_027),
                    (200, 2_018_021),
                    (3, 0),
                ],
                No::Account,
            ),
            (
                &[
                    (10, 1_893_063),
                    (10, 2_534_077),
                    (200, 2_534_041),
                    (368, 0),
                    (2022, 0),
                    (2_018_300, 0),
                    (100, 2_018_321),
                    (100, 2_534_037),
                    (100, 2_534_013),
                    (100, 2_534_029),
                    (2_534_122, 0),
                ],
                No::Account,
            ),
            (
                &[(100, 0), (100, 33), (100, 2_018_008), (100, 2_018_294), (9_000_001, 0)],
                No::Invalid,
            ),
            (
                &[
                    (100, 2_018_047),
                    (100, 2_018_074),
                    (100, 2_018_164),
                    (100, 2_018_014),
                    (2_534_068, 0),
                ],
                No::Unsupported,
            ),
            (&[(100, 2_534_015), (100, 2_534_025)], No::Invalid),
            (&[(100, 2_018_109)], No::TooLarge),
            (&[(100, 2_018_218), (100, 2_018_247)], No::Other),
        ];
        for (codes, reason) in refused {
            for (code, subcode) in codes {
                let CallError::Refused(refusal) = call_error(&told(*code, *subcode), 400, None) else {
                    panic!("{code}/{subcode} is refused");
                };
                assert_eq!(refusal.reason, reason, "{code}/{subcode}");
                assert!(refusal.next_step.is_some(), "{code}/{subcode} has a next step");
            }
        }
    }

    #[test]
    fn out_9_what_may_pass_is_tried_again() {
        for subcode in [0, 463, 458, 459, 460, 464, 467] {
            let error = call_error(&told(190, subcode), 401, None);
            assert!(matches!(error, CallError::Unauthorized(_)), "190/{subcode}");
        }
        for (code, subcode) in [
            (4, 0),
            (4, 2_018_354),
            (613, 0),
            (613, 1_893_016),
            (613, 2_534_040),
            (613, 2_018_338),
            (9, 2_018_352),
            (17, 0),
            (32, 0),
            (80_004, 0),
        ] {
            let error = call_error(&told(code, subcode), 400, None);
            assert!(matches!(error, CallError::RateLimited(_)), "{code}/{subcode}");
        }
        for (code, subcode) in [
            (1, 0),
            (99, 0),
            (1, 1_357_046),
            (2, 2_018_344),
            (2, 0),
            (2, 1_545_133),
            (1200, 0),
        ] {
            let error = call_error(&told(code, subcode), 400, None);
            assert!(matches!(error, CallError::Transient(_)), "{code}/{subcode}");
        }
    }

    #[test]
    fn what_the_provider_asks_to_wait_comes_before_our_own_guess() {
        let CallError::RateLimited(limit) = call_error(&told(613, 2_018_338), 400, Some(90_000)) else {
            panic!("613 is a rate limit");
        };
        assert_eq!(limit.retry_after_ms, Some(90_000));
    }
}
