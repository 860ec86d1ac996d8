//! SMS and MMS through Twilio: one number, or one messaging service, is one channel.
//!
//! `receive` reads webhooks, `send` makes messages, `lifecycle` sets the webhook and watches the account, `media` fetches
//! the files of customers, `reconcile` looks for a message whose answer was lost. The table of error codes is in `errors`, and `api` alone knows Twilio's addresses. Keeps no
//! state. The rules come from Twilio's documents; the README names them.

mod api;
mod errors;
mod fields;
mod lifecycle;
mod media;
mod receive;
mod reconcile;
mod send;
mod wire;

use mantle_sdk::Host;
use mantle_sdk::connector::{
    Account, ConnectError, Connection, Connector, Fetched, Finding, Hook, Inbound, InboundMedia, Lifecycle, Query,
    ReceiveError, Reconcile, Report,
};
use mantle_sdk::values::{CallError, Outgoing, Sent};

mantle_sdk::export!(
    TwilioSms,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, reconcile]
);

pub struct TwilioSms;

impl Connector for TwilioSms {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::receive(&hook, host)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::send(&message, host)
    }
}

impl Lifecycle for TwilioSms {
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

impl InboundMedia for TwilioSms {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Reconcile for TwilioSms {
    fn find_sent(query: Query, host: &dyn Host) -> Result<Finding, CallError> {
        reconcile::find_sent(&query, host)
    }
}
