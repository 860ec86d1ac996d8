//! Viber's REST Bot API: one bot is one channel.
//!
//! `receive` reads callbacks, `send` makes messages, `lifecycle` sets the webhook and watches it, `media` fetches the files
//! of customers, `profile` asks for their pictures. Every answer of Viber is an HTTP 200: what it means stands in its
//! `status`, and the table in `errors`. Keeps nothing but the bot's name, which every message has to tell.

mod api;
mod errors;
mod lifecycle;
mod media;
mod profile;
mod receive;
mod send;

use mantle_sdk::Host;
use mantle_sdk::connector::{
    Account, ConnectError, Connection, Connector, Details, Fetched, Hook, Inbound, InboundMedia, Lifecycle, Profile,
    ReceiveError, Report,
};
use mantle_sdk::values::{Alias, CallError, Outgoing, Sent};

mantle_sdk::export!(
    Viber,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, profile]
);

#[derive(Debug)]
pub struct Viber;

impl Connector for Viber {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::receive(&hook, host)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::send(&message, host)
    }
}

impl Lifecycle for Viber {
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

impl InboundMedia for Viber {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Profile for Viber {
    fn look_up(aliases: Vec<Alias>, host: &dyn Host) -> Result<Option<Details>, CallError> {
        profile::look_up(&aliases, host)
    }
}
