//! What a connector is: one trait that every connector implements and five that it may.
//!
//! All functions are associated functions: a connector keeps no state between calls, each call is a fresh instance.

pub use crate::bindings::inbound_media::exports::mantle::connector::inbound_media::Fetched;
pub use crate::bindings::lifecycle::exports::mantle::connector::lifecycle::{
    Account, ConnectError, Connection, FieldError, Health, Readiness, Report,
};
pub use crate::bindings::minimal::exports::mantle::connector::connector::{
    Answer, Hook, Inbound, Malformed, ReceiveError,
};
pub use crate::bindings::profile::exports::mantle::connector::profile::Details;
pub use crate::bindings::reconcile::exports::mantle::connector::reconcile::{Finding, Query};
pub use crate::bindings::templates::exports::mantle::connector::templates::{
    Button, ButtonKind, HeaderKind, Page, Template, TemplateState,
};

use crate::host::Host;
use crate::values::{Alias, CallError, Outgoing, Sent};

/// The two functions that make a connector.
pub trait Connector {
    /// Called once for every verified hook, before the provider gets its answer. Pure: no calls, no files, no `kv`.
    ///
    /// # Errors
    /// Only when nothing of the hook can be read. One bad item of a batch belongs into `Inbound::malformed`.
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError>;

    /// Makes one message at the provider. Called in order for one conversation, possibly again after a failure.
    ///
    /// # Errors
    /// The case alone decides what the host does next, see [`CallError`].
    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError>;
}

/// Connecting a channel to the provider and keeping an eye on it.
pub trait Lifecycle {
    /// Proves the credentials and changes nothing.
    ///
    /// # Errors
    /// `ConnectError::Field` when one field of the form can be named.
    fn identify(host: &dyn Host) -> Result<Account, ConnectError>;

    /// Wires the provider's webhook to `host.hook_url()`. May run again on a connected channel.
    ///
    /// # Errors
    /// As [`Lifecycle::identify`].
    fn connect(host: &dyn Host) -> Result<Connection, ConnectError>;

    /// Takes the webhook away, if it is still ours.
    ///
    /// # Errors
    /// See [`CallError`].
    fn disconnect(host: &dyn Host) -> Result<(), CallError>;

    /// Called every few minutes. Trouble that can be told is a report, not an error.
    ///
    /// # Errors
    /// See [`CallError`].
    fn check(host: &dyn Host) -> Result<Report, CallError>;
}

/// Fetching the files of inbound messages.
pub trait InboundMedia {
    /// `source` is what `receive` put into `Attachment::source`.
    ///
    /// # Errors
    /// See [`CallError`].
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError>;
}

/// Finding out what became of a message whose answer was lost.
pub trait Reconcile {
    /// What the provider has made since the announcement that is equal to the message. Changes nothing there.
    ///
    /// # Errors
    /// See [`CallError`].
    fn find_sent(query: Query, host: &dyn Host) -> Result<Finding, CallError>;
}

/// What the provider tells about a person beyond the message.
pub trait Profile {
    /// None: the provider does not know the person, or does not tell.
    ///
    /// # Errors
    /// See [`CallError`].
    fn look_up(aliases: Vec<Alias>, host: &dyn Host) -> Result<Option<Details>, CallError>;
}

/// Message templates that the provider has approved.
pub trait Templates {
    /// Called until there is no next page.
    ///
    /// # Errors
    /// See [`CallError`].
    fn list_page(cursor: Option<String>, host: &dyn Host) -> Result<Page, CallError>;
}
