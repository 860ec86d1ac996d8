//! Telegram: one bot, private chats, groups it is a member of, and business chats it is connected to.
//!
//! Chats and messages have names of this connector's own, unique within the bot: see [`wire::ChatName`] and
//! [`wire::MessageName`]. The bot's token never passes through here: addresses carry `{bot_token}`, which the host fills in.

mod answer;
mod content;
mod lifecycle;
mod media;
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
    Telegram,
    manifest = "connector.toml",
    with = [lifecycle, inbound_media, profile]
);

#[derive(Debug)]
pub struct Telegram;

impl Connector for Telegram {
    fn receive(hook: Hook, host: &dyn Host) -> Result<Inbound, ReceiveError> {
        receive::update(&hook, host)
    }

    fn send(message: Outgoing, host: &dyn Host) -> Result<Sent, CallError> {
        send::message(&message, host)
    }
}

impl Lifecycle for Telegram {
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

impl InboundMedia for Telegram {
    fn fetch(source: String, host: &dyn Host) -> Result<Fetched, CallError> {
        media::fetch(&source, host)
    }
}

impl Profile for Telegram {
    fn look_up(aliases: Vec<Alias>, host: &dyn Host) -> Result<Option<Details>, CallError> {
        media::look_up(&aliases, host)
    }
}
