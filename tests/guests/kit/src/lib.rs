//! What every guest of the tests is made of: the bindings, the manifest, and a few values.

wit_bindgen::generate!({
    path: "../../../wit",
    world: "minimal",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_connector",
});

pub use exports::mantle::connector::connector::{Guest, Hook, Inbound, ReceiveError};
pub use mantle::connector::http::{Body, Error, Kept, Method, Request, Response};
pub use mantle::connector::values::{
    Alias, AliasKind, Author, CallError, Chat, Content, Event, EventBody, Failure, Message, Outgoing, OutgoingContent,
    Person, Sent,
};

/// Exports the type as a connector and embeds the manifest of all guests.
#[macro_export]
macro_rules! guest {
    ($guest:ident) => {
        $crate::export_connector!($guest with_types_in $crate);

        const MANIFEST: &[u8] = include_bytes!("../../connector.toml");
        #[used]
        #[unsafe(link_section = "mantle:manifest")]
        static MANIFEST_SECTION: [u8; MANIFEST.len()] = {
            let mut bytes = [0; MANIFEST.len()];
            bytes.copy_from_slice(MANIFEST);
            bytes
        };
    };
}

/// A hook that brought these events.
pub fn inbound(events: Vec<Event>) -> Inbound {
    Inbound {
        events,
        malformed: Vec::new(),
        answer: None,
    }
}

/// A message of this text by the person 42.
pub fn text_event(key: &str, text: &str) -> Event {
    Event {
        key: key.to_owned(),
        at: 1_795_000_000_000,
        account: None,
        body: EventBody::Message(Message {
            id: key.to_owned(),
            person: Person {
                aliases: vec![Alias {
                    kind: AliasKind::Id,
                    value: "42".to_owned(),
                }],
                name: None,
                language: None,
            },
            chat: Chat::Direct,
            author: Author::Customer,
            content: vec![Content::Text(text.to_owned())],
            quote: None,
            referral: None,
            forwarded: false,
            correlation: None,
        }),
    }
}

/// The words of the hook's body.
pub fn words(hook: &Hook) -> String {
    String::from_utf8_lossy(&hook.body).into_owned()
}

/// The words of a text message.
pub fn words_of(message: &Outgoing) -> String {
    match &message.content {
        OutgoingContent::Text(text) => text.text.clone(),
        _ => String::new(),
    }
}

pub fn request(method: Method, url: &str, body: &str) -> Request {
    Request {
        method,
        url: url.to_owned(),
        headers: Vec::new(),
        body: if body.is_empty() {
            Body::None
        } else {
            Body::Bytes(body.as_bytes().to_vec())
        },
        credential: None,
        timeout_ms: None,
        keep: Vec::new(),
    }
}

pub fn sent(id: String) -> Sent {
    Sent {
        id,
        aliases: Vec::new(),
        extras: Vec::new(),
    }
}

/// The error as the interface spells it, in a refusal that tests can read.
pub fn told(error: &Error) -> CallError {
    CallError::Transient(Failure {
        code: format!("{:?}", error.kind)
            .trim_start_matches("ErrorKind::")
            .to_lowercase(),
        message: format!("{} (sent: {})", error.message, error.request_sent),
    })
}
