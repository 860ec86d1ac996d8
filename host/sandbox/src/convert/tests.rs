//! What guests may return and what makes their answer garbage.

use mantle_model::failure::Reason;
use mantle_model::inbound::{Content, DeliveryReport, EventBody};

use super::*;

fn person(kind: values::AliasKind) -> values::Person {
    values::Person {
        aliases: vec![values::Alias {
            kind,
            value: "42".to_owned(),
        }],
        name: Some("Ada".to_owned()),
        language: None,
    }
}

fn message(content: Vec<values::Content>) -> values::Message {
    values::Message {
        id: "m1".to_owned(),
        person: person(values::AliasKind::Id),
        chat: values::Chat::Direct,
        author: values::Author::Customer,
        content,
        quote: None,
        referral: None,
        forwarded: false,
        correlation: None,
    }
}

fn event(key: &str, body: values::EventBody) -> values::Event {
    values::Event {
        key: key.to_owned(),
        at: -5,
        account: None,
        body,
    }
}

fn text_event(key: &str, text: &str) -> values::Event {
    event(
        key,
        values::EventBody::Message(message(vec![values::Content::Text(text.to_owned())])),
    )
}

fn taken(events: Vec<values::Event>) -> Result<Inbound, Garbage> {
    inbound(guest::Inbound {
        events,
        malformed: Vec::new(),
        answer: None,
    })
}

#[track_caller]
fn check_garbage(events: Vec<values::Event>, expected: &str) {
    let problem = taken(events).unwrap_err();
    assert!(problem.contains(expected), "{problem}");
}

#[test]
fn a_good_event_is_taken_and_its_time_clamped() {
    let inbound = taken(vec![text_event("k1", "hello")]).unwrap();
    assert_eq!(inbound.events[0].at, Time::from_unix_ms(0));
    let EventBody::Message(message) = &inbound.events[0].body else {
        panic!("not a message")
    };
    assert_eq!(message.content, [Content::Text("hello".to_owned())]);
    assert_eq!(message.person.alias(AliasKind::Id), Some("42"));
}

#[test]
fn xt_2_what_breaks_the_rules_is_garbage() {
    check_garbage(
        vec![text_event("k", "a"), text_event("k", "b")],
        "events[1].key: two events",
    );
    check_garbage(vec![text_event("", "a")], "key: is empty");
    check_garbage(
        vec![text_event("k", &"x".repeat(limits::TEXT_BYTES_MAX + 1))],
        "content[0].text: longer than",
    );
    let many = (0..=limits::EVENTS_MAX)
        .map(|n| text_event(&n.to_string(), "a"))
        .collect();
    check_garbage(many, &format!("{} events from one hook", limits::EVENTS_MAX + 1));
    check_garbage(
        vec![event("k", values::EventBody::Message(message(Vec::new())))],
        "content: is empty",
    );
    let mut nameless = message(vec![values::Content::Text("a".to_owned())]);
    nameless.person = person(values::AliasKind::Handle);
    check_garbage(
        vec![event("k", values::EventBody::Message(nameless))],
        "person.aliases: no alias but a handle",
    );
    let nowhere = values::Location {
        latitude: f64::NAN,
        longitude: 0.0,
        name: None,
        address: None,
    };
    check_garbage(
        vec![event(
            "k",
            values::EventBody::Message(message(vec![values::Content::Location(nowhere)])),
        )],
        "location: no such place on earth",
    );
}

#[test]
fn long_names_are_cut_on_a_character() {
    let mut long = message(vec![values::Content::Text("a".to_owned())]);
    long.person.name = Some("ü".repeat(limits::LABEL_BYTES_MAX));
    let inbound = taken(vec![event("k", values::EventBody::Message(long))]).unwrap();
    let name = inbound.events[0].body.person().unwrap().name.clone().unwrap();
    assert_eq!(name, "ü".repeat(limits::LABEL_BYTES_MAX / 2));
}

#[test]
fn a_failed_status_always_has_a_reason() {
    let status = values::Status {
        message_id: "m1".to_owned(),
        correlation: None,
        state: values::DeliveryState::Failed,
        refusal: None,
    };
    let inbound = taken(vec![event("k", values::EventBody::Status(status))]).unwrap();
    let EventBody::Status(status) = &inbound.events[0].body else {
        panic!("not a status")
    };
    assert_eq!(status.report, DeliveryReport::Failed);
    assert_eq!(status.refusal.as_ref().unwrap().reason, Reason::Other);
}

#[test]
fn answers_must_be_answers() {
    let answered = |status, content_type: Option<&str>| {
        let answer = guest::Answer {
            status,
            content_type: content_type.map(str::to_owned),
            body: Vec::new(),
        };
        inbound(guest::Inbound {
            events: Vec::new(),
            malformed: Vec::new(),
            answer: Some(answer),
        })
    };
    assert_eq!(answered(200, Some("text/xml")).unwrap().answer.unwrap().status, 200);
    assert!(answered(99, None).unwrap_err().contains("99 is no status"));
    assert!(
        answered(200, Some("a\r\nb"))
            .unwrap_err()
            .contains("not the value of a header")
    );
}

#[test]
fn words_of_errors_are_one_line_without_secrets() {
    let mut secrets = Secrets::default();
    secrets.add(
        "token",
        mantle_model::secret::Secret::new("0123456789abcdef0123".to_owned()),
    );
    let failure = values::Failure {
        code: "400".to_owned(),
        message: format!("bad\ntoken 0123456789abcdef0123 {}", "x".repeat(400)),
    };
    let error = call_error(&secrets, values::CallError::Transient(failure));
    let CallError::Provider(mantle_model::failure::Failure::Transient(cause)) = error else {
        panic!("{error:?}")
    };
    assert!(cause.message.starts_with("bad token [secret] xxx"), "{}", cause.message);
    assert!(cause.message.chars().count() <= limits::FAILURE_CHARS_MAX);
}
