//! Slack through the Events API and the Web API: one Slack channel whose threads are conversations, or the direct
//! messages that people write to the app.
//!
//! `receive` reads events, `send` makes messages and uploads files, `lifecycle` proves token and channel and watches
//! them, `media` fetches the files of customers, `profile` asks for names, `reconcile` finds what a lost answer made.
//! The table of errors is in `errors`, `api` alone knows the addresses, `mrkdwn` alone the way Slack writes text. Keeps
//! no state but what `kv` holds of direct conversations and of uploads in doubt.

mod api;
mod emoji;
mod errors;
mod fields;
mod files;
mod lifecycle;
mod media;
mod mrkdwn;
mod names;
mod place;
mod profile;
mod receive;
mod reconcile;
mod send;

use mantle_sdk::Host;
use mantle_sdk::connector::{
    Account, ConnectError, Connection, Connector, Details, Fetched, Finding, Hook, Inbound, InboundMedia, Lifecycle,
    Profile, Query, ReceiveError, Reconcile, Report,
};
use mantle_sdk::values::{Alias, CallError, Outgoing, Sent};

mantle_sdk::export!(
    Slack,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, reconcile, profile]
);

#[derive(Debug)]
pub struct Slack;

impl Connector for Slack {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::receive(&hook, host)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::send(&message, host)
    }
}

impl Lifecycle for Slack {
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

impl InboundMedia for Slack {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Reconcile for Slack {
    fn find_sent(query: Query, host: &dyn Host) -> Result<Finding, CallError> {
        reconcile::find_sent(&query, host)
    }
}

impl Profile for Slack {
    fn look_up(aliases: Vec<Alias>, host: &dyn Host) -> Result<Option<Details>, CallError> {
        profile::look_up(&aliases, host)
    }
}
