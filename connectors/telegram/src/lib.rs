use mantle_sdk::Host;
use mantle_sdk::connector::ReceiveError;
use mantle_sdk::connector::{Account, ConnectError, Connection, Connector, Hook, Inbound, Lifecycle, Report};
use mantle_sdk::values::{CallError, Outgoing, Sent};
pub struct Telegram;
mantle_sdk::export!(Telegram, manifest = "connector.toml", with = [lifecycle]);
impl Connector for Telegram {
    fn receive(_hook: Hook, _host: &dyn Host) -> Result<Inbound, ReceiveError> {
        Ok(Inbound::nothing())
    }
    fn send(message: Outgoing, _host: &dyn Host) -> Result<Sent, CallError> {
        Ok(Sent::new(message.id))
    }
}
impl Lifecycle for Telegram {
    fn identify(host: &dyn Host) -> Result<Account, ConnectError> {
        let _ = host.fetch(mantle_sdk::http::Request::get("x"));
        Err(ConnectError::field("a", "b", "c"))
    }
    fn connect(_: &dyn Host) -> Result<Connection, ConnectError> {
        Err(ConnectError::field("a", "b", "c"))
    }
    fn disconnect(_: &dyn Host) -> Result<(), CallError> {
        Ok(())
    }
    fn check(_: &dyn Host) -> Result<Report, CallError> {
        Err(CallError::transient("a", "b"))
    }
}
