//! Facebook Messenger through Meta's Graph API: one Page is one channel.
//!
//! `receive` reads webhooks, `send` makes messages, `lifecycle` subscribes the Page and watches token and subscription,
//! `media` fetches the files of customers, `profile` asks for their names. The table of error codes is in `errors`, and
//! `graph` alone knows the API's address and version. Keeps no state. The rules come from Meta's documents; the README
//! names them.

mod errors;
mod fields;
mod graph;
mod lifecycle;
mod media;
mod profile;
mod receive;
mod send;
mod wire;

use mantle_sdk::Host;
use mantle_sdk::connector::{
    Account, ConnectError, Connection, Connector, Details, Fetched, Hook, Inbound, InboundMedia, Lifecycle, Profile,
    ReceiveError, Report,
};
use mantle_sdk::values::{Alias, CallError, Outgoing, Sent};

mantle_sdk::export!(
    Messenger,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, profile]
);

pub struct Messenger;

impl Connector for Messenger {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::receive(&hook, host)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::send(&message, host)
    }
}

impl Lifecycle for Messenger {
    fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
        lifecycle::identify(host)
    }

    fn connect(host: &dyn Host) -> Result<Connection, ConnectError> {
        lifecycle::connect(host)
    }

    fn disconnect(host: &dyn Host) -> Result<(), CallError> {
        lifecycle::disconnect(host)
    }

    fn check(host: &dyn Host) -> Result<Report, CallError> {
        lifecycle::check(host)
    }
}

impl InboundMedia for Messenger {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Profile for Messenger {
    fn look_up(aliases: Vec<Alias>, host: &dyn Host) -> Result<Option<Details>, CallError> {
        profile::look_up(&aliases, host)
    }
}
