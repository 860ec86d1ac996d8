//! Instagram's direct messages through Meta's Graph API: one professional account is one channel.
//!
//! Two logins lead to it, with hosts and tokens of their own: Instagram's, whose token lives 60 days and is renewed here
//! (`token`), and that of the linked Facebook Page. `graph` alone knows their addresses and the API's version.
//! `receive` reads webhooks, `send` makes messages, `reconcile` looks for one whose answer was lost, `lifecycle`
//! subscribes the account and watches token and subscription, `media` fetches the files of customers, `profile` asks for
//! their names. The table of error codes is in `errors`. The rules come from Meta's documents; the README names them.

mod errors;
mod fields;
mod graph;
mod lifecycle;
mod media;
mod profile;
mod receive;
mod reconcile;
mod send;
mod token;
mod wire;

use mantle_sdk::Host;
use mantle_sdk::connector::{
    Account, ConnectError, Connection, Connector, Details, Fetched, Finding, Hook, Inbound, InboundMedia, Lifecycle,
    Profile, Query, ReceiveError, Reconcile, Report,
};
use mantle_sdk::values::{Alias, CallError, Outgoing, Sent};

mantle_sdk::export!(
    Instagram,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, reconcile, profile]
);

pub struct Instagram;

impl Connector for Instagram {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::receive(&hook, host)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::send(&message, host)
    }
}

impl Lifecycle for Instagram {
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

impl InboundMedia for Instagram {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Reconcile for Instagram {
    fn find_sent(query: Query, host: &dyn Host) -> Result<Finding, CallError> {
        reconcile::find_sent(&query, host)
    }
}

impl Profile for Instagram {
    fn look_up(aliases: Vec<Alias>, host: &dyn Host) -> Result<Option<Details>, CallError> {
        profile::look_up(&aliases, host)
    }
}
