//! Constructors for the values of the interface, so that a connector names what is there and not what is absent.

use crate::values::{
    Alias, AliasKind, Attachment, AttachmentKind, Author, Chat, Content, Event, EventBody, Message, Notice,
    NoticeLevel, Outgoing, Person, RichText, Sent, TimeMs,
};

impl Alias {
    #[must_use]
    pub fn new(kind: AliasKind, value: impl Into<String>) -> Self {
        Self {
            kind,
            value: value.into(),
        }
    }
}

impl Person {
    #[must_use]
    pub fn new<V: Into<String>>(aliases: impl IntoIterator<Item = (AliasKind, V)>) -> Self {
        Self {
            aliases: aliases
                .into_iter()
                .map(|(kind, value)| Alias::new(kind, value))
                .collect(),
            name: None,
            language: None,
        }
    }

    #[must_use]
    pub fn named(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }
}

impl Message {
    /// A message of the customer in a direct chat.
    #[must_use]
    pub fn new(id: impl Into<String>, person: Person, content: Vec<Content>) -> Self {
        Self {
            id: id.into(),
            person,
            chat: Chat::Direct,
            author: Author::Customer,
            content,
            quote: None,
            referral: None,
            forwarded: false,
            correlation: None,
        }
    }
}

impl Event {
    /// `key` is the same when the provider tells the event again, and unique within the channel.
    #[must_use]
    pub fn new(key: impl Into<String>, at: TimeMs, body: EventBody) -> Self {
        Self {
            key: key.into(),
            at,
            account: None,
            body,
        }
    }

    /// The provider's id of the number or page that the event belongs to.
    #[must_use]
    pub fn of_account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }
}

impl Attachment {
    /// `source` is all that `InboundMedia::fetch` needs to find the file.
    #[must_use]
    pub fn new(kind: AttachmentKind, source: impl Into<String>) -> Self {
        Self {
            kind,
            source: source.into(),
            name: None,
            content_type: None,
            bytes: None,
            duration_ms: None,
            caption: None,
            emoji: None,
        }
    }
}

impl Notice {
    #[must_use]
    pub fn new(level: NoticeLevel, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level,
            code: code.into(),
            message: message.into(),
        }
    }
}

impl RichText {
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            spans: Vec::new(),
        }
    }
}

impl Outgoing {
    /// The recipient's first alias of that kind.
    #[must_use]
    pub fn alias(&self, kind: AliasKind) -> Option<&str> {
        self.recipient
            .iter()
            .find(|alias| alias.kind == kind)
            .map(|alias| alias.value.as_str())
    }

    /// The provider's own id of the recipient.
    #[must_use]
    pub fn recipient_id(&self) -> Option<&str> {
        self.alias(AliasKind::Id)
    }

    /// The recipient's phone number in E.164 form.
    #[must_use]
    pub fn recipient_phone(&self) -> Option<&str> {
        self.alias(AliasKind::Phone)
    }
}

impl Sent {
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            aliases: Vec::new(),
            extras: Vec::new(),
        }
    }
}
