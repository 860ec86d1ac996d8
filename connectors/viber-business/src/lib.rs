//! Viber Business Messages through Infobip: one sender is one channel.
//!
//! Viber sells these through partners alone. All that is Infobip's stands in three places, so that another partner could
//! take its place: `api` and `errors` (calls, and what their answers mean), `receive` (webhooks), `send` (messages).
//! `lifecycle` subscribes the channel's address, `media` fetches files, `templates` lists what Viber has approved. Keeps
//! no state.

mod api;
mod errors;
mod fields;
mod lifecycle;
mod media;
mod names;
mod receive;
mod send;
mod templates;

use mantle_sdk::Host;
use mantle_sdk::connector::{
    Account, ConnectError, Connection, Connector, Fetched, Hook, Inbound, InboundMedia, Lifecycle, Page, ReceiveError,
    Report, Templates,
};
use mantle_sdk::values::{CallError, Outgoing, Sent};

mantle_sdk::export!(
    ViberBusiness,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, templates]
);

#[derive(Debug)]
pub struct ViberBusiness;

impl Connector for ViberBusiness {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::receive(&hook, host)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::send(&message, host)
    }
}

impl Lifecycle for ViberBusiness {
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

impl InboundMedia for ViberBusiness {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Templates for ViberBusiness {
    fn list_page(cursor: Option<String>, host: &dyn Host) -> Result<Page, CallError> {
        templates::list_page(cursor.as_deref(), host)
    }
}
