//! LINE through the Messaging API: one Official Account is one channel.
//!
//! `receive` reads webhooks, `send` makes messages, `lifecycle` sets the webhook and watches token and quota, `media`
//! fetches the files of customers, `profile` their names and pictures. What LINE's errors mean stands in `errors`, and
//! `api` alone knows its addresses. Keeps no state but what `kv` holds of replies in doubt.

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
    Line,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, profile]
);

#[derive(Debug)]
pub struct Line;

impl Connector for Line {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::receive(&hook, host)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::send(&message, host)
    }
}

impl Lifecycle for Line {
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

impl InboundMedia for Line {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Profile for Line {
    fn look_up(aliases: Vec<Alias>, host: &dyn Host) -> Result<Option<Details>, CallError> {
        profile::look_up(&aliases, host)
    }
}
