//! WhatsApp through Meta's Cloud API: one business number is one channel.
//!
//! `receive` reads webhooks, `send` makes messages, `lifecycle` sets the webhook and watches the number, `media`
//! fetches the files of customers, `templates` lists what Meta has approved. The table of error codes is in `errors`,
//! and `graph` alone knows the API's address and version. Keeps no state. The rules come from Meta's documents; the
//! README names them.

mod errors;
mod fields;
mod graph;
mod lifecycle;
mod media;
mod phone;
mod receive;
mod send;
mod templates;
mod wire;

use mantle_sdk::Host;
use mantle_sdk::connector::{
    Account, ConnectError, Connection, Connector, Fetched, Hook, Inbound, InboundMedia, Lifecycle, Page, ReceiveError,
    Report, Templates,
};
use mantle_sdk::values::{CallError, Outgoing, Sent};

mantle_sdk::export!(
    WhatsApp,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, templates]
);

pub struct WhatsApp;

impl Connector for WhatsApp {
    fn receive(hook: Hook, _host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::receive(&hook)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::send(&message, host)
    }
}

impl Lifecycle for WhatsApp {
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

impl InboundMedia for WhatsApp {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Templates for WhatsApp {
    fn list_page(cursor: Option<String>, host: &dyn Host) -> Result<Page, CallError> {
        templates::list_page(cursor.as_deref(), host)
    }
}
