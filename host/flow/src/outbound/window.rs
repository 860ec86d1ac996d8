//! Whether a free answer may go now: reach and window, decided before any call.

use std::time::Duration;

use mantle_model::capabilities::{Capabilities, Window};
use mantle_model::clock::Time;
use mantle_model::failure::{Cause, Reason, Refusal};
use mantle_model::inbound::Reach;
use mantle_store::people::Identity;

use crate::note;

/// The reason why nothing may go to this person now.
pub(super) fn barred(capabilities: &Capabilities, identity: &Identity, now: Time) -> Option<Refusal> {
    match identity.reach {
        Reach::Blocked => {
            return Some(Refusal {
                reason: Reason::Unreachable,
                cause: Cause::new("blocked", "The customer has blocked this channel or left it."),
                next_step: Some("Reach the customer another way, or wait until they write again.".into()),
            });
        }
        Reach::OptedOut => {
            return Some(Refusal {
                reason: Reason::OptedOut,
                cause: Cause::new("opted-out", "The customer has asked not to get messages here."),
                next_step: Some("Wait until the customer writes again.".into()),
            });
        }
        Reach::Reachable | Reach::OptedIn => {}
    }
    let window = capabilities.window.as_ref()?;
    closed(window, identity, now).then(|| refusal(window, identity, now))
}

/// The window is open up to and including its last millisecond.
fn closed(window: &Window, identity: &Identity, now: Time) -> bool {
    identity.window_closed || closes_at(window, identity).is_none_or(|closes| now > closes)
}

fn closes_at(window: &Window, identity: &Identity) -> Option<Time> {
    let hours = Duration::from_secs(u64::from(window.hours) * 60 * 60);
    Some(identity.last_inbound_at?.after(hours))
}

/// The same words whether we or the provider noticed.
pub(super) fn refusal(window: &Window, identity: &Identity, now: Time) -> Refusal {
    let message = match closes_at(window, identity) {
        // The provider counts otherwise than we do, and its word holds.
        Some(closes) if closes >= now => format!(
            "The provider says that the {} hours for free answers are over; by the customer's last message they would \
             end at {}",
            window.hours,
            note::moment(closes)
        ),
        Some(closes) => format!(
            "The {} hours for free answers ended at {}",
            window.hours,
            note::moment(closes)
        ),
        None => "The customer has never written here".to_owned(),
    };
    Refusal {
        reason: Reason::WindowClosed,
        cause: Cause::new(window.code.clone(), message),
        next_step: Some(window.next_step.clone()),
    }
}

/// A provider's "window closed" reads like our own.
pub(crate) fn worded(window: Option<&Window>, identity: &Identity, refusal: Refusal, now: Time) -> Refusal {
    match (&refusal.reason, window) {
        (Reason::WindowClosed, Some(rule)) => Refusal {
            cause: Cause::new(refusal.cause.code, self::refusal(rule, identity, now).cause.message),
            next_step: Some(rule.next_step.clone()),
            ..refusal
        },
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use mantle_model::capabilities::{Delivery, RetrySafety, TextRule};
    use mantle_model::ids::{ChannelId, IdentityId};

    use super::*;

    fn capabilities() -> Capabilities {
        Capabilities {
            text: TextRule {
                limit: 4096,
                unit: mantle_model::text::Unit::Characters,
                formatting: mantle_model::capabilities::Formatting::Plain,
                markers: None,
            },
            caption: None,
            attachments: Vec::new(),
            refused: Vec::new(),
            window: Some(Window {
                hours: 24,
                code: "window_closed".into(),
                next_step: "Send a template.".into(),
            }),
            delivery: Delivery {
                receipts: Vec::new(),
                proactive: true,
                templates: true,
                retry: RetrySafety::Echo,
                per_recipient_per_second: None,
                per_second: None,
                recipient_limits: Vec::new(),
                unclear_limits: Vec::new(),
            },
        }
    }

    fn identity(last_inbound_at: Option<Time>) -> Identity {
        Identity {
            id: IdentityId(1),
            channel: ChannelId(1),
            aliases: Vec::new(),
            name: None,
            language: None,
            reach: Reach::Reachable,
            last_inbound_at,
            window_closed: false,
            contact: None,
            thread: None,
        }
    }

    #[test]
    fn wi_1_the_window_closes_after_24_hours_to_the_second() {
        let wrote = Time::from_unix_seconds(1_795_132_800);
        let person = identity(Some(wrote));
        let after = |seconds| wrote.after(Duration::from_secs(seconds));
        assert_eq!(barred(&capabilities(), &person, after(86_340)), None);
        assert_eq!(barred(&capabilities(), &person, after(86_400)), None);
        let refusal = barred(&capabilities(), &person, after(86_401)).expect("the window is closed");
        assert_eq!(refusal.cause.code, "window_closed");
        assert_eq!(
            refusal.cause.message,
            "The 24 hours for free answers ended at 2026-11-21 00:00 UTC"
        );
        assert_eq!(refusal.next_step.as_deref(), Some("Send a template."));
    }

    #[test]
    fn wi_2_the_providers_word_counts_more_than_our_measure() {
        let now = Time::from_unix_seconds(1_795_132_800);
        let told = Identity {
            window_closed: true,
            ..identity(Some(now))
        };
        assert_eq!(
            barred(&capabilities(), &told, now).map(|refusal| refusal.reason),
            Some(Reason::WindowClosed)
        );
        assert!(barred(&capabilities(), &identity(None), now).is_some());
    }

    #[test]
    fn in_18_a_blocked_person_gets_nothing() {
        let now = Time::from_unix_seconds(1_795_132_800);
        for (reach, reason) in [
            (Reach::Blocked, Some(Reason::Unreachable)),
            (Reach::OptedOut, Some(Reason::OptedOut)),
            (Reach::OptedIn, None),
        ] {
            let person = Identity {
                reach,
                ..identity(Some(now))
            };
            assert_eq!(
                barred(&capabilities(), &person, now).map(|refusal| refusal.reason),
                reason
            );
        }
    }
}
